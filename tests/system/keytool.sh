#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# aico-keytool as a person runs it. AICO_BIN: folder of the programs. Ends with "N passed, N failed".
set -u
BIN=${AICO_BIN:?folder of the programs}
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
export AICO_HOME=$WORK/home
K=$BIN/aico-keytool
LOG=$WORK/log
: >"$LOG"
passed=0
failed=0

# expect STATUS TITLE COMMAND...: runs without a terminal; output in $WORK/out and $WORK/err.
expect() {
    local want=$1 title=$2 got
    shift 2
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    got=$?
    [ "$1" = "$K" ] && cat "$WORK/out" "$WORK/err" >>"$LOG"
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
expect 0 "new: several" "$K" new many-a many-b many-c --role many
says "new: several in one version" err "registered many-c in version 3"
expect 0 "new: several have their keys" test -s "$AICO_HOME/identities/many-a.key" -a -s "$AICO_HOME/identities/many-c.key"
expect 1 "new: all or none" "$K" new many-d studio many-e
expect 2 "new: one named twice" "$K" new many-d many-d
cp "$AICO_HOME/identities/studio.key" "$AICO_HOME/identities/many-e.key"
expect 1 "new: none if one is there" "$K" new many-d many-e
rm "$AICO_HOME/identities/many-e.key"
expect 0 "new: none was made" test "$(ls "$AICO_HOME/identities" | grep -c 'many-[de]')" -eq 0
expect 0 "new: nor registered" test "$("$K" list | grep -c '^many-')" -eq 3
for name in many-a many-b many-c; do expect 0 "new: it goes again" "$K" revoke "$name" --reason tried; done

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
expect 2 "rule set with a seal that does not exist" "$K" rule set x --publish '*' --subscribe '*' --seal wax
expect 1 "remove of no rule" "$K" rule remove x

expect 2 "revoke without a reason" "$K" revoke studio
expect 0 "revoke" "$K" revoke studio --reason "laptop lost"
expect 1 "revoke twice" "$K" revoke studio --reason again
expect 5 "revoke a stranger" "$K" revoke nobody --reason x
expect 0 "show" "$K" show studio
says "show" out "state        revoked: laptop lost"
expect 0 "show --json" "$K" show studio --json
says "  why too" out '"reason":"laptop lost"'
expect 0 "why is kept" grep -q "^[0-9]* 20[0-9TZ:-]* studio [0-9a-f]* laptop lost$" "$AICO_HOME/revocations"
expect 0 "  for nobody else" test "$(stat -c %a "$AICO_HOME/revocations")" = 600
expect 0 "  one more" "$K" new sold
expect 2 "  in one line" "$K" revoke sold --reason "$(printf 'a\nb')"
expect 2 "  of UTF-8" "$K" revoke sold --reason "$(printf '\377')"
expect 2 "  not too long" "$K" revoke sold --reason "$(printf '%501s' x)"
cp "$AICO_HOME/registry" "$WORK/registry.before"
mkdir "$WORK/revocations" && mv "$AICO_HOME/revocations" "$WORK/revocations/" && mkdir "$AICO_HOME/revocations"
expect 2 "why cannot be noted" "$K" revoke sold --reason 'a "sale"'
expect 0 "  and nothing changed" cmp "$WORK/registry.before" "$AICO_HOME/registry"
rmdir "$AICO_HOME/revocations" && mv "$WORK/revocations/revocations" "$AICO_HOME/"
expect 0 "why is behind what was there" "$K" revoke sold --reason 'a "sale"'
expect 0 "  each a line" test "$(cut -d' ' -f3 "$AICO_HOME/revocations" | tail -n 2 | xargs)" = "studio sold"
expect 0 "  list" "$K" list --json
says "  each its own" out '"reason":"a \"sale\""'
says "  each its own" out '"reason":"laptop lost"'
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
# --- the next key -------------------------------------------------------------------------------------
keys=$AICO_HOME/identities
state() { # NAME STATE: how many lines of the name are in that state
    "$K" list | awk -v n="$1" -v s="$2" '$1 == n && $2 == s' | wc -l
}
fingerprint_of() { "$K" fingerprint "$1" 2>/dev/null; }
backend_first=$(fingerprint_of "$keys/backend.key")
cp "$keys/backend.key" "$WORK/backend.first"
expect 0 "rotate" "$K" rotate backend
says "says until when" err "is valid until"
expect 0 "the new key is in place" test "$(fingerprint_of "$keys/backend.key")" = "$(fingerprint_of backend)"
expect 1 "and is another" test "$backend_first" = "$(fingerprint_of backend)"
expect 0 "with mode 0600" test "$(stat -c %a "$keys/backend.key")" = 600
expect 0 "the former is aside" cmp "$WORK/backend.first" "$(echo "$keys"/backend.key.until-*)"
expect 0 "list shows both" test "$(state backend active) $(state backend replaced)" = "1 1"
expect 0 "show" "$K" show backend
says "show: which is replaced" out "replaces     $backend_first"
says "show: how its key lies here" out "$keys/backend.key, not protected, transport 0"
expect 0 "list --json" "$K" list --json
says "list --json says until when" out '"state":"replaced"'
expect 0 "inspect a registry with a rotation" "$K" inspect "$AICO_HOME/registry"
says "inspect says it" out "component      backend replaced $backend_first until"
expect 0 "rotate with no overlap" "$K" rotate backend --overlap 0
expect 0 "retires the second at once" test "$(state backend active) $(state backend replaced) $(state backend retired)" = "1 1 1"
expect 0 "the next change after that second clears its key away" timeout 20 bash -c "
    until [ \$(ls '$keys'/backend.key.until-* | wc -l) = 1 ]; do
        '$K' -q rule set away/x --publish backend --subscribe backend || exit 1
    done"
expect 0 "rotate a third time" "$K" rotate backend --overlap 7d
expect 0 "each ends at its own time" test "$(state backend active) $(state backend replaced) $(state backend retired)" = "1 2 1"
expect 2 "an overlap without a unit" "$K" rotate backend --overlap 24
expect 2 "an overlap of years" "$K" rotate backend --overlap 500d
expect 5 "rotate a stranger" "$K" rotate nobody
expect 5 "rotate the revoked" "$K" rotate studio
says "says how to go on" err "aico-keytool new studio"
expect 5 "rotate without the key here" "$K" rotate device
says "says what to do" err "aico-keytool revoke device"
cp "$WORK/backend.first" "$keys/frontend.key.saved" && mv "$keys/frontend.key" "$WORK/frontend.key"
mv "$keys/frontend.key.saved" "$keys/frontend.key"
expect 5 "rotate with the key of another" "$K" rotate frontend
says "told as such" err "E_KEYFILE_MISMATCH"
cp "$WORK/frontend.key" "$keys/frontend.key"
expect 0 "revoke both keys of a rotation" "$K" revoke backend --reason test
expect 0 "are revoked" test "$(state backend revoked) $(state backend active)" = "4 0"
expect 0 "the name of the revoked is given away again" "$K" new backend --role service
expect 0 "with one line" test "$(state backend active) $(state backend revoked)" = "1 0"
expect 0 "and the former key aside" test "$(ls "$keys"/backend.key.former-* | wc -l)" = 1

# What was interrupted between the registry and the key file is finished by the next one.
"$K" -q rotate frontend
version=$("$K" inspect --json "$AICO_HOME/registry" | sed 's/.*"version":"\([0-9]*\)".*/\1/')
frontend=$(fingerprint_of frontend)
mv "$keys/frontend.key" "$keys/frontend.key.next-$version"
mv "$keys"/frontend.key.until-* "$keys/frontend.key"
cp "$WORK/frontend.key" "$keys/cli.key.next-$((version + 1))"
cli=$(fingerprint_of "$keys/cli.key")
expect 0 "a change after an interrupted rotation" "$K" rule set away/y --publish backend --subscribe backend
says "finishes it" err "finished what was interrupted"
expect 0 "with the key that is registered" test "$(fingerprint_of "$keys/frontend.key")" = "$frontend"
expect 0 "the former one aside" test "$(ls "$keys"/frontend.key.until-* | wc -l)" = 1
expect 0 "and throws away what was never registered" test "$(fingerprint_of "$keys/cli.key")" = "$cli"
expect 0 "without a trace" test ! -e "$keys/cli.key.next-$((version + 1))"

expect 0 "rotate the broker's transport key" "$K" rotate broker
says "says to restart it" err "restart aico-broker"
expect 0 "inspect it" "$K" inspect "$AICO_HOME/broker.key"
says "it is number 1" out "transport      1"
expect 0 "the registry has it" bash -c "'$K' public broker | grep -q \"transport-public \$('$K' show broker | sed -n 's/^transport  *//p')\""
expect 0 "of the same identity" test "$(fingerprint_of broker)" = "$(fingerprint_of "$AICO_HOME/broker.key")"
expect 0 "rotate a component's transport key alone" "$K" rotate cli --transport
expect 0 "keeps its identity" test "$(fingerprint_of cli)" = "$cli"
cp "$keys/cli.key" "$WORK/cli.first"
expect 0 "rotate it again" "$K" rotate cli --transport
cp "$WORK/cli.first" "$keys/cli.key"
expect 0 "from a key file that was put back" "$K" rotate cli --transport
expect 0 "goes on behind the one that is registered" "$K" inspect "$keys/cli.key"
says "its number" out "transport      3"
version=$("$K" inspect --json "$AICO_HOME/registry" | sed 's/.*"version":"\([0-9]*\)".*/\1/')
expect 0 "renew" "$K" renew
says "renew says the version" err "signed version $((version + 1)), unchanged"

# --- the next owner ---------------------------------------------------------------------------------------
owner_first=$(fingerprint_of owner)
expect 2 "rotate owner says how" "$K" rotate owner
says "in two steps" err "--prepare"
expect 1 "no switch without a next one" "$K" rotate owner --switch
expect 0 "prepare the next owner" "$K" rotate owner --prepare
expect 0 "its key is 0600" test "$(stat -c %a "$AICO_HOME/owner.key.next")" = 600
expect 1 "not twice" "$K" rotate owner --prepare
expect 0 "show owner" "$K" show owner
says "names the next" out "next         $(fingerprint_of "$AICO_HOME/owner.key.next")"
expect 0 "a change keeps it announced" "$K" rule remove away/y
expect 0 "show owner again" "$K" show owner
says "still names it" out "next         aico:"
mv "$AICO_HOME/owner.key.next" "$WORK/owner.key.next"
expect 5 "no switch without its key" "$K" rotate owner --switch
cp "$AICO_HOME/owner.key" "$AICO_HOME/owner.key.next"
expect 5 "nor with another" "$K" rotate owner --switch
says "told as such" err "E_KEYFILE_MISMATCH"
mv "$WORK/owner.key.next" "$AICO_HOME/owner.key.next"
cp "$AICO_HOME/owner.key" "$WORK/owner.first"
expect 0 "switch" "$K" rotate owner --switch
expect 1 "the owner is another" test "$(fingerprint_of owner)" = "$owner_first"
expect 0 "whose key is in place" test "$(fingerprint_of owner)" = "$(fingerprint_of "$AICO_HOME/owner.key")"
expect 0 "and signs" "$K" new after
expect 0 "the pinned key is the first one still" grep -q "^public $(sed -n 's/^public //p' "$WORK/owner.first")" "$AICO_HOME/owner.public"
cp "$AICO_HOME/owner.key" "$WORK/owner.second"
cp "$WORK/owner.first" "$AICO_HOME/owner.key"
expect 5 "the former owner signs nothing" "$K" new never
says "says how to compare" err "aico-keytool fingerprint"
cp "$WORK/owner.second" "$AICO_HOME/owner.key"
# Interrupted after the registry was written: the next change puts the key in place.
"$K" -q rotate owner --prepare
cp "$AICO_HOME/owner.key" "$WORK/owner.second"
"$K" -q rotate owner --switch
mv "$AICO_HOME/owner.key" "$AICO_HOME/owner.key.next"
mv "$(grep -l "^public $(sed -n 's/^public //p' "$WORK/owner.second")" "$AICO_HOME"/owner.key.former-*)" "$AICO_HOME/owner.key"
expect 0 "a change after an interrupted switch" "$K" new third
expect 0 "is signed by the right owner" test "$(fingerprint_of owner)" = "$(fingerprint_of "$AICO_HOME/owner.key")"
mv "$AICO_HOME/owner.key" "$WORK/stick.key"
expect 5 "without the owner's key" "$K" new fourth
says "says where it may be" err "--owner-key FILE"
expect 0 "the owner's key from elsewhere" "$K" new fourth --owner-key "$WORK/stick.key"
mv "$WORK/stick.key" "$AICO_HOME/owner.key"

# A registry put back by hand never makes us sign two of one version.
cp "$AICO_HOME/registry" "$WORK/registry"
expect 0 "a change" "$K" new fifth
cp "$WORK/registry" "$AICO_HOME/registry"
expect 0 "after the registry was put back" "$K" new sixth
expect 0 "nobody is forgotten" "$K" show fifth
sed -i 's/^component backend/component backenD/' "$AICO_HOME/registry"
expect 5 "a registry changed by hand" "$K" list
says "names the repair" err "cp '$AICO_HOME/state/owner/registry' '$AICO_HOME/registry'"
expect 0 "which works" cp "$AICO_HOME/state/owner/registry" "$AICO_HOME/registry"
expect 0 "as it stands" "$K" list

# --- passphrases, carrying keys, master mode ------------------------------------------------------------------
printf 'battery staple\n' >"$WORK/new" && chmod 600 "$WORK/new"
safe=$(fingerprint_of safe)
created=$(grep ^created "$keys/safe.key")
expect 0 "passwd" "$K" passwd safe --passphrase-file "$WORK/pass" --new-passphrase-file "$WORK/new"
expect 0 "the new one opens" "$K" public safe --passphrase-file "$WORK/new"
expect 5 "the old one does not" "$K" public safe --passphrase-file "$WORK/pass"
says "told as such" err "wrong passphrase"
expect 0 "it was made when it was made" test "$created" = "$(grep ^created "$keys/safe.key")"
expect 2 "passwd says what it needs" "$K" passwd safe --passphrase-file "$WORK/new"
expect 0 "a rotation keeps the passphrase" "$K" rotate safe --passphrase-file "$WORK/new"
expect 0 "of the new key" "$K" public safe --passphrase-file "$WORK/new"
expect 0 "passwd from descriptors" bash -c "'$K' passwd safe --passphrase-fd 3 --unprotected 3<'$WORK/new'"
expect 0 "unprotected now" "$K" public safe
expect 0 "passwd of the owner" "$K" passwd owner --new-passphrase-file "$WORK/pass"
expect 5 "the owner's passphrase is asked for" "$K" new seventh
says "by its option" err "--owner-passphrase-file"
expect 0 "and opens" "$K" new seventh --owner-passphrase-file "$WORK/pass"
expect 0 "and off again" "$K" passwd owner --owner-passphrase-file "$WORK/pass" --unprotected
printf '\n' >"$WORK/empty" && chmod 600 "$WORK/empty"
expect 2 "an empty passphrase" "$K" passwd safe --new-passphrase-file "$WORK/empty"

expect 2 "an export is protected" "$K" export safe
expect 0 "export" "$K" export safe --new-passphrase-file "$WORK/pass" --out "$WORK/safe.export"
expect 0 "0600" test "$(stat -c %a "$WORK/safe.export")" = 600
expect 1 "never over another file" "$K" export safe --new-passphrase-file "$WORK/pass" --out "$WORK/safe.export"
expect 0 "inspect it" "$K" inspect "$WORK/safe.export"
says "it is protected" out "argon2id, 3 passes, 256 MiB"
expect 1 "import over a key" "$K" import "$WORK/safe.export" --passphrase-file "$WORK/pass"
mv "$keys/safe.key" "$WORK/safe.key"
expect 5 "import with a wrong passphrase" "$K" import "$WORK/safe.export" --passphrase-file "$WORK/wrong"
expect 0 "import" "$K" import "$WORK/safe.export" --passphrase-file "$WORK/pass"
expect 5 "keeps its passphrase" "$K" public safe
expect 0 "is the same key" test "$(fingerprint_of safe)" = "$(fingerprint_of "$keys/safe.key")"
expect 1 "which it was not before" test "$safe" = "$(fingerprint_of safe)"
rm "$keys/safe.key"
expect 5 "import of the key of another" "$K" import "$WORK/backend.first"
says "told as such" err "registered with another key"
mkdir -m 700 "$WORK/far"
cp "$AICO_HOME/owner.public" "$WORK/far/"
expect 0 "import into a home put together by hand" bash -c "'$K' import --home '$WORK/far' --unprotected - --passphrase-file '$WORK/pass' <'$WORK/safe.export'"
expect 0 "same key there" test "$(fingerprint_of "$WORK/far/identities/safe.key")" = "$(fingerprint_of safe)"
printf '%064d\n' 7 >"$WORK/seed" && chmod 600 "$WORK/seed"
expect 2 "a seed needs a name" "$K" import "$WORK/seed"
expect 0 "a seed of 64 digits" "$K" import "$WORK/seed" --as seed
"$K" public seed >"$WORK/seed.public"
expect 2 "a peer of another kind" "$K" add "$WORK/seed.public" --peer acio
expect 0 "add as a peer of the seed" "$K" add "$WORK/seed.public" --peer aico
expect 0 "show says so" "$K" show seed
says "show says so" out "peer         aico"
echo nonsense >"$WORK/nonsense" && chmod 600 "$WORK/nonsense"
expect 5 "import of something else" "$K" import "$WORK/nonsense"

expect 5 "derive without its passphrase" "$K" derive robot
says "says how" err "--master-passphrase-file"
expect 0 "derive" "$K" derive robot --role ui --master-passphrase-file "$WORK/pass"
expect 0 "inspect the salt" "$K" inspect "$AICO_HOME/master.salt"
says "it is one" out "salt of a master passphrase"
robot=$(fingerprint_of robot)
expect 1 "derive over a key" "$K" derive robot --master-passphrase-file "$WORK/pass"
rm "$keys/robot.key"
expect 5 "another master passphrase" "$K" derive robot --master-passphrase-file "$WORK/new"
says "is told" err "wrong master passphrase"
expect 0 "derive restores a lost key" "$K" derive robot --master-passphrase-file "$WORK/pass"
expect 0 "the same" test "$robot" = "$(fingerprint_of "$keys/robot.key")"
sed -i 's/argon2id 3/argon2id 1/' "$AICO_HOME/master.salt"
expect 5 "a salt that asks for little work" "$K" derive robot2 --master-passphrase-file "$WORK/pass"
says "told as such" err "E_MASTER_FORMAT"

# --- signatures --------------------------------------------------------------------------------------------------
head -c 300000 /dev/urandom >"$WORK/report"
expect 2 "sign needs a name" "$K" sign "$WORK/report"
expect 0 "sign" "$K" sign "$WORK/report" --as cli
expect 1 "never over a signature" "$K" sign "$WORK/report" --as cli
expect 0 "verify" "$K" verify "$WORK/report" --by cli
says "says who" out "was signed by cli, $cli"
expect 0 "verify --json" "$K" verify "$WORK/report" --by cli --json
says "verify --json" out "\"fingerprint\":\"$cli\""
expect 0 "inspect a signature" "$K" inspect "$WORK/report.sig"
expect 5 "not by another" "$K" verify "$WORK/report" --by backend
says "told who it was" err "the key of cli"
expect 0 "by a public identity" bash -c "'$K' public cli >'$WORK/cli.public' && '$K' verify '$WORK/report' --by '$WORK/cli.public'"
expect 5 "not by another's" "$K" verify "$WORK/report" --by "$WORK/seed.public"
expect 5 "by a stranger" "$K" verify "$WORK/report" --by nobody
expect 0 "of standard input" bash -c "'$K' verify - --by cli --signature '$WORK/report.sig' <'$WORK/report'"
echo more >>"$WORK/report"
expect 9 "a file that was changed" "$K" verify "$WORK/report" --by cli
says "told as such" err "not the file that was signed"
sed -i 's/^size 300000/size 300005/' "$WORK/report.sig"
expect 9 "a signature that was changed" "$K" verify "$WORK/report" --by cli
says "told as such" err "E_SIGNATURE"
echo nonsense >"$WORK/report.sig"
expect 9 "no signature at all" "$K" verify "$WORK/report" --by cli
says "told as such" err "E_SIGNATURE_FORMAT"
rm "$WORK/report.sig"
expect 1 "a missing signature" "$K" verify "$WORK/report" --by cli
expect 0 "the owner signs" "$K" sign "$WORK/report" --as owner
expect 0 "by the owner" "$K" verify "$WORK/report" --by owner
expect 0 "sign with a key that is then rotated" "$K" sign "$WORK/report" --as backend --out "$WORK/b.sig"
"$K" -q rotate backend
expect 0 "good as long as the overlap" "$K" verify "$WORK/report" --by backend --signature "$WORK/b.sig"
"$K" -q revoke backend --reason test
expect 5 "not of the revoked" "$K" verify "$WORK/report" --by backend --signature "$WORK/b.sig"
says "told as such" err "E_REVOKED"

# --- on a terminal -------------------------------------------------------------------------------------------------
T="/usr/bin/python3 $(dirname "$0")/terminal.py"
expect 0 "asks twice, and shows nothing" $T --say 'hush hush' --say 'hush hush' -- "$K" new asked
says "asks for it" out "Enter passphrase for asked"
says "asks again" out "Enter same passphrase again"
expect 1 "what was typed is not shown" grep -q hush "$WORK/out"
expect 5 "it is protected" "$K" public asked
expect 0 "is asked for to open" $T --say wrong --say 'hush hush' -- "$K" public asked
says "with another try" out "that was not it"
expect 2 "two that differ" $T --say 'hush hush' --say 'hush hash' -- "$K" new never
says "are told" out "the two passphrases differ"
expect 5 "and nothing was made" "$K" show never
expect 0 "none at all" $T --say '' -- "$K" new open
says "is noted" out "not protected by a passphrase"
expect 130 "interrupted" $T --interrupt -- "$K" new never
says "with the echo back on" out "echo is on"
expect 5 "and nothing made" "$K" show never

secrets() { # no secret and no passphrase in anything that was printed
    grep -hE '^secret' "$AICO_HOME"/*.key "$keys"/*.key | sed 's/^secret //'
    printf 'correct horse\nbattery staple\nhush hush\n'
}
expect 1 "no secret was printed" grep -qFf <(secrets) "$LOG"
expect 0 "no temporary file is left" test -z "$(find "$AICO_HOME" -name '*.next-*' -o -name '*.key.??????' -o -name 'registry.??????')"
expect 0 "all modes are as they should be" test -z "$(find "$AICO_HOME" \( -name '*.key*' ! -perm 600 \) -o \( -type d ! -perm 700 \))"

# --- two at once ---------------------------------------------------------------------------------------------------
expect 7 "one that holds the lock too long" bash -c "exec 9>'$AICO_HOME/state/registry.lock'; flock 9; '$K' new eighth 9>&-"
says "is told" err "another aico-keytool is at work"

expect 0 "--help" "$K" --help
expect 0 "--help of a verb" "$K" rule --help
expect 0 "--version" "$K" --version
expect 2 "no verb" "$K"
expect 2 "an unknown verb" "$K" nonsense
expect 2 "an unknown option" "$K" list --nonsense

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
