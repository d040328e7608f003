#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Mailboxes with real processes: what is said to a component that is away is kept over kill -9 of broker
# and reader, sealed, handed over when it comes, void after its time, and bounded with a warning before.
. "$(dirname "$0")/lib.sh"

SETTINGS="  mailbox_limit: 65536"
bus_up
for name in alice bob carol; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool new boss --role admin -q 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool rule set "$@" -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "rule $1" "$WORK/rule.log"; }
rule 'mail/**' --publish alice --subscribe bob,carol --seal ratchet
rule 'plain/**' --publish alice --subscribe bob
until_true 20 aico-bus --as boss status >/dev/null 2>&1

bus() { timeout 60 aico-bus "$@" </dev/null; }
leave() { bus --as alice pub mail/a "$@" --to bob --ack stored; }
fetch() { bus --as bob --json sub 'mail/**' --count "$1" --for 30s; } # exactly what came
texts() { sed -n 's/.*"payload":"\([^"]*\)".*/\1/p' "$1"; }
in_store() { sqlite3 "$AICO_HOME/state/broker/messages.db" "SELECT count(*) FROM mail"; }
restart() {
    { kill -KILL "$BROKER_PID" && wait "$BROKER_PID"; } 2>/dev/null
    broker_start || failed "the broker starts again" "$WORK/broker.err"
}

# --- who cannot be written to --------------------------------------------------------------------

check_exit "who never was here has no prekeys" 9 aico-bus --as alice pub mail/a x --to carol --ack stored
check_exit "a rule without ratchet has no mailboxes" 4 aico-bus --as alice pub plain/a x --to bob --ack stored
start once aico-bus --as bob sub 'mail/**' # its prekeys are there from now on
kill -TERM "$STARTED" && wait "$STARTED" 2>/dev/null

check "what others begin with is in the store" until_true 20 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' 'SELECT count(*) FROM prekey') -ge 1 ]"
restart

# --- kept, over kill -9, once ---------------------------------------------------------------------

check "a message is stored while its receiver is away" leave canary-one
restart
check "another one behind it, after the broker was killed" leave canary-two
restart
check "the receiver comes" fetch 2
texts "$WORK/check.out" | cmp -s - <(printf 'canary-one\ncanary-two\n') && passed "both, in order" || failed "both, in order" "$WORK/check.out"
grep -q '"gap"' "$WORK/check.out" && failed "a gap was told" "$WORK/check.out" || passed "without a gap"
check "they are taken out" until_true 20 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' 'SELECT count(*) FROM mail') -eq 0 ]"
restart
bus --as bob sub 'mail/**' --count 1 --for 2s >"$WORK/again.out" 2>&1
[ $? -eq 7 ] && passed "and do not come again" || failed "and do not come again" "$WORK/again.out"

start bob aico-bus --as bob --json sub 'mail/**'
BOB=$STARTED
check "who is there gets it at once" leave now
check "and has it" until_true 20 grep -q '"payload":"now"' "$WORK/bob.out"
kill -TERM "$BOB" && wait "$BOB" 2>/dev/null

# A reader and a broker that are killed while it is handed over.
seq 1 60 | sed 's/^/line-/' >"$WORK/lines"
check "sixty are stored" sh -c "timeout 60 aico-bus --as alice pub mail/a --lines --to bob --ack stored <'$WORK/lines'"
for i in 1 2 3; do
    start reader aico-bus --as bob --json sub 'mail/**'
    until_true 20 test -s "$WORK/reader.out"
    { kill -KILL "$STARTED" && wait "$STARTED"; } 2>/dev/null
    cat "$WORK/reader.out" >>"$WORK/all.out"
    [ "$i" -ne 2 ] || restart
done
start reader aico-bus --as bob --json sub 'mail/**'
all() { [ "$(cat "$WORK/all.out" "$WORK/reader.out" | sed -n 's/.*"payload":"\(line-[0-9]*\)".*/\1/p' | sort -u | wc -l)" -eq 60 ]; }
check "all came, whoever was killed" until_true 40 all
kill -TERM "$STARTED" && wait "$STARTED" 2>/dev/null
check "none is left" until_true 20 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' 'SELECT count(*) FROM mail') -eq 0 ]"

# --- a time to live ------------------------------------------------------------------------------

check "a message with a time to live" leave void --ttl 5s
END=$(($(now_ms) + 5500))
until_true 20 sh -c "[ \$(date +%s%3N) -gt $END ]"
check "and one without" leave good
check "only what is not void comes" fetch 1
[ "$(texts "$WORK/check.out")" = good ] && passed "and that is it" || failed "and that is it" "$WORK/check.out"
check "what is void leaves the store" until_true 30 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' 'SELECT count(*) FROM mail') -eq 0 ]"

# --- bounded ------------------------------------------------------------------------------------

mailbox_limit_bounds_what_is_kept() {
    local i kept
    for i in $(seq 1 200); do printf 'fill-%d-%s\n' "$i" "$(head -c 900 /dev/zero | tr '\0' x)"; done >"$WORK/fill"
    timeout 60 aico-bus --as alice pub mail/a --lines --to bob --ack stored <"$WORK/fill" >"$WORK/fill.out" 2>&1
    [ $? -eq 10 ] && grep -q 'mailbox_limit' "$WORK/fill.out" && passed "beyond its bound it is refused, by name" || failed "beyond its bound it is refused" "$WORK/fill.out"
    check "the log has warned before" grep -q 'mailbox_limit: .* in use by bob' "$WORK/broker.err"
    kept=$(in_store)
    [ "$kept" -gt 20 ] && [ "$kept" -lt 200 ] && passed "$kept are kept" || failed "$kept are kept"
    check "which are read" fetch "$kept"
    check "it is empty again" until_true 20 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' 'SELECT bytes FROM box') -eq 0 ]"
}
mailbox_limit_bounds_what_is_kept
check "then there is room again" leave after
check_exit "what is not stored does not reach who is away" 8 aico-bus --as alice pub mail/a x --to bob
check "the ledger balances" sh -c "aico-bus --as boss --json ledger | grep -q '\"balanced\":true'"
grep -aq 'canary\|line-\|fill-' "$AICO_HOME"/state/broker/messages.db* && failed "the store holds content" || passed "the store holds no content"

finish
