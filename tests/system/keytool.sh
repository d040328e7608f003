#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# aico-keytool as a person runs it. AICO_BIN: folder of the programs. Ends with "N passed, N failed".
set -u
BIN=${AICO_BIN:?folder of the programs}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
export AICO_HOME=$WORK/home
passed=0
failed=0

# expect STATUS TITLE COMMAND...: runs without a terminal; output in $WORK/out and $WORK/err.
expect() {
    local want=$1 title=$2 got
    shift 2
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    got=$?
    if [ "$got" -eq "$want" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $title: exit $got instead of $want"
        cat "$WORK/out" "$WORK/err"
    fi
}
says() { # TITLE FILE TEXT: the last command said it
    if grep -qF -- "$3" "$WORK/$2"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAIL $1: no '$3' in:"
        cat "$WORK/$2"
    fi
}
K=$BIN/aico-keytool

expect 1 "no home is told" "$K" list
says "no home is told" err "aico-keytool init"
expect 0 "init" "$K" init --starter
says "init names the next command" err "aico-broker"
for file in owner.key broker.key identities/backend.key identities/frontend.key identities/cli.key; do
    expect 0 "$file is 0600" test "$(stat -c %a "$AICO_HOME/$file")" = 600
done
expect 0 "the home is 0700" test "$(stat -c %a "$AICO_HOME")" = 700
before=$(find "$AICO_HOME" -type f -exec sha256sum {} + | sort)
expect 1 "init refuses a home that exists" "$K" init
expect 0 "and changes nothing in it" test "$before" = "$(find "$AICO_HOME" -type f -exec sha256sum {} + | sort)"
expect 0 "list" "$K" list
says "list names all" out "frontend"
expect 0 "list as JSON" "$K" list --json
says "list as JSON" out '"name":"backend","state":"active","roles":["service"]'

expect 0 "may: yes" "$K" may cli publish logs/a
says "may names the rule" out "rule logs/**"
expect 4 "may: no" "$K" may frontend subscribe 'logs/**'
says "may says no with the rule" out "no: registry line"
expect 4 "may: no rule at all" "$K" may cli publish elsewhere
says "may says why" out "no rule matches"
expect 5 "may of a stranger" "$K" may nobody publish logs/a
expect 2 "may of a bad topic" "$K" may cli publish 'a//b'

expect 0 "new" "$K" new studio --role ui --role admin
says "new names the version" err "version 2"
key=$(sha256sum "$AICO_HOME/identities/studio.key")
expect 1 "new never overwrites" "$K" new studio
expect 0 "and the key is the old one" test "$key" = "$(sha256sum "$AICO_HOME/identities/studio.key")"
expect 2 "a bad name" "$K" new 'Bad Name'
expect 2 "a reserved name" "$K" new owner

expect 0 "public" "$K" public studio
cp "$WORK/out" "$WORK/studio.public"
expect 0 "fingerprint of a name" "$K" fingerprint studio
name_print=$(cat "$WORK/out")
expect 0 "fingerprint of a file" "$K" fingerprint "$WORK/studio.public"
expect 0 "are the same" test "$name_print" = "$(cat "$WORK/out")"
expect 1 "add of a known component" "$K" add "$WORK/studio.public"
expect 0 "another home" "$K" --home "$WORK/other" init
expect 0 "a component made elsewhere" "$K" --home "$WORK/other" new device
"$K" --home "$WORK/other" public device >"$WORK/device.public"
expect 0 "add" "$K" add "$WORK/device.public" --role ui
sed -i 's/name device/name divice/' "$WORK/device.public"
expect 9 "a changed public identity" "$K" add "$WORK/device.public"

expect 0 "rule set" "$K" rule set 'sensors/+/#' --publish @ui --subscribe backend --freshness 30
expect 0 "rule list" "$K" rule list
says "the filter is canonical" out 'sensors/*/**'
expect 0 "rule set before another" "$K" rule set sensors/a/secret --publish backend --subscribe backend --before 'sensors/*/**'
expect 4 "and it decides" "$K" may studio publish sensors/a/secret
expect 0 "rule remove" "$K" rule remove sensors/a/secret
expect 0 "and it is gone" "$K" may studio publish sensors/a/secret
expect 2 "rule set without who" "$K" rule set x/y
expect 2 "rule set with a bad filter" "$K" rule set 'a/**/b' --publish '*' --subscribe '*'
expect 5 "rule set with a bad who" "$K" rule set x --publish 'A,' --subscribe '*'
expect 3 "what comes later is refused" "$K" rule set x --publish '*' --subscribe '*' --seal ratchet
expect 1 "remove of no rule" "$K" rule remove x

expect 2 "revoke without a reason" "$K" revoke studio
expect 0 "revoke" "$K" revoke studio --reason "laptop lost"
expect 1 "revoke twice" "$K" revoke studio --reason again
expect 5 "revoke a stranger" "$K" revoke nobody --reason x
expect 0 "show" "$K" show studio
says "show" out "revoked"
expect 4 "a revoked component may nothing" "$K" may studio publish conversation/a

expect 0 "inspect the registry" "$K" inspect "$AICO_HOME/registry"
says "inspect verified it" out "verified"
expect 0 "inspect a key" "$K" inspect "$AICO_HOME/identities/cli.key"
expect 1 "without its secret" grep -qF "$(sed -n 's/^secret //p' "$AICO_HOME/identities/cli.key")" "$WORK/out"
expect 2 "inspect something else" "$K" inspect "$K"

printf 'correct horse\n' >"$WORK/pass"
expect 5 "a passphrase file others can read" "$K" new safe --passphrase-file "$WORK/pass"
chmod 600 "$WORK/pass"
expect 0 "a protected key" "$K" new safe --passphrase-file "$WORK/pass"
expect 5 "does not open without" "$K" public safe
says "and says how" err "--passphrase-file"
expect 0 "opens with it" "$K" public safe --passphrase-file "$WORK/pass"
printf 'wrong\n' >"$WORK/wrong" && chmod 600 "$WORK/wrong"
expect 5 "not with another" "$K" public safe --passphrase-file "$WORK/wrong"

chmod 640 "$AICO_HOME/owner.key"
expect 5 "an owner key others can read" "$K" new x
says "names the repair" err "chmod 600"
chmod 600 "$AICO_HOME/owner.key"
cp "$AICO_HOME/registry" "$WORK/registry"
sed -i 's/role/role/; s/studio/studjo/' "$AICO_HOME/registry"
expect 5 "a registry changed by hand" "$K" list
cp "$WORK/registry" "$AICO_HOME/registry"
expect 0 "ten at once lose no version" bash -c "
    for i in 1 2 3 4 5 6 7 8 9 10; do '$K' -q new p\$i & done; wait
    test \"\$('$K' list | grep -c '^p[0-9]')\" = 10"
expect 0 "--help" "$K" --help
expect 0 "--help of a verb" "$K" rule --help
expect 0 "--version" "$K" --version
expect 2 "no verb" "$K"
expect 2 "an unknown verb" "$K" nonsense
expect 2 "an unknown option" "$K" list --nonsense

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
