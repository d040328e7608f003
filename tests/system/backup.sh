#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Backup and restore with real processes: taken while everything runs, it brings back members, keys and stored
# messages; an older state is noticed by its versions, and nothing is sealed a second time with a former key.
. "$(dirname "$0")/lib.sh"

LIMIT_MS=30000 # nothing here is about speed
bus_up
for name in shop book guest; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
rule() { aico-keytool rule set "$@" -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "rule $1" "$WORK/rule.log"; }
rule 's/**' --publish shop --subscribe book --store age=7d,count=100000 --history
rule 'pair/**' --publish shop --subscribe book --seal ratchet

bus() { timeout 60 aico-bus "$@" </dev/null; }
version() { sed -n 's/^version //p' "$1"; }
broker_stop() {
    kill -TERM "$BROKER_PID"
    wait_for "$BROKER_PID" 0 >/dev/null || failed "the broker ends"
}
# to_pair TEXT: from shop to book by ratchet, while book is there.
to_pair() {
    start pair aico-bus --as book sub pair/a --count 1 --for 40s --raw || failed "the reader starts"
    bus --as shop pub pair/a "$1" >"$WORK/pair.log" 2>&1 || failed "$1 is sent" "$WORK/pair.log"
    WAIT_S=60 wait_for "$STARTED" 0 >/dev/null
    [ "$(cat "$WORK/pair.out")" = "$1" ]
}

registered() { bus --as book sub s/a --durable d --since all --for 1s >/dev/null 2>&1; }
until_true 30 registered || failed "the reader is there"
check "stored before" bus --as shop pub s/a before --ack stored
to_pair first && passed "a ratchet works" || failed "a ratchet works" "$WORK/pair.err"

# --- taken while a publisher works ----------------------------------------------------------------

seq 1 20000 | aico-bus --as shop pub s/b --lines --ack stored --timeout 60s >/dev/null 2>"$WORK/pub.err" &
PUB=$!
PIDS+=("$PUB")
has_stored() { bus --as book sub s/b --since last --count 1 --for 5s >/dev/null 2>&1; }
until_true 30 has_stored || failed "the publisher works" "$WORK/pub.err"
check "a backup is taken while everything runs" aico-keytool backup "$WORK/copy"
check_exit "and not over another one" 1 aico-keytool backup "$WORK/copy"
find "$WORK/copy" -name '*.key' -perm /077 | grep -q . && failed "its keys are closed" || passed "its keys are closed"
find "$WORK/copy" -name sessions.db | grep -q . && failed "ratchets are left out" || passed "ratchets are left out"
WAIT_S=60 check "and the publisher does not notice" wait_for "$PUB" 0
bus --as shop pub s/a after --ack stored >/dev/null 2>&1 || failed "stored after"

# Another machine goes on: it has what was signed after the backup.
cp -a "$AICO_HOME" "$WORK/elsewhere"
far() { timeout 60 aico-bus --home "$WORK/elsewhere" --broker "ipc://$AICO_HOME/run/bus.sock" "$@" </dev/null; }
check "the owner revokes somebody" aico-keytool revoke guest --reason test -q
newest=$(version "$AICO_HOME/registry")
has_newest() { far --as book sub s/a --since all --count 1 --for 5s >/dev/null 2>&1; [ "$(version "$WORK/elsewhere/state/book/registry")" = "$newest" ]; }
until_true 30 has_newest && passed "a component elsewhere knows" || failed "a component elsewhere knows"
broker_stop
grep '^head' "$AICO_HOME/log/audit" | tail -1 >"$WORK/heads"
generation=$(cat "$AICO_HOME/state/shop/generation")
mv "$AICO_HOME" "$WORK/before"

# --- an older state ------------------------------------------------------------------------------

check "it is restored" aico-keytool restore "$WORK/copy"
check_exit "and not over a home" 1 aico-keytool restore "$WORK/copy"
broker_start || failed "the broker starts" "$WORK/broker.err"
far --as book sub s/a --since all --count 1 --for 20s >"$WORK/far.out" 2>"$WORK/far.err"
grep -q 'E_REGISTRY_OLD' "$WORK/far.err" && passed "whoever has a later registry says that this one is old" ||
    failed "the old registry is noticed" "$WORK/far.err"
aico-keytool audit verify --witness "$WORK/heads" >/dev/null 2>"$WORK/audit.err"
[ $? -eq 5 ] && passed "a witness misses the end of the audit log" || failed "a witness misses the end" "$WORK/audit.err"
broker_stop
rm -rf "$AICO_HOME"

check "with a later registry from elsewhere" aico-keytool restore "$WORK/copy" --registry "$WORK/elsewhere/state/book/registry"
[ "$(version "$AICO_HOME/registry")" = "$newest" ] && passed "it is the latest" || failed "it is the latest"
broker_start || failed "the broker starts" "$WORK/broker.err"
far --as book sub s/a --since all --count 1 --for 20s >"$WORK/far.out" 2>"$WORK/far.err"
grep -q 'E_REGISTRY_OLD' "$WORK/far.err" && failed "nothing is old now" "$WORK/far.err" || passed "nothing is old now"
check_exit "who was revoked after the backup stays out" 5 aico-bus --as guest status

# --- and it works ---------------------------------------------------------------------------------

bus --as book sub s/a --since all --count 1 --for 30s --raw >"$WORK/old.out" 2>"$WORK/old.err"
[ "$(cat "$WORK/old.out")" = before ] && passed "what was stored is read" || failed "what was stored is read" "$WORK/old.out" "$WORK/old.err"
check "a component of the backup publishes" bus --as shop pub s/c again --ack stored
check "and is read" bus --as book sub s/c --since all --count 1 --for 30s
[ "$(cat "$AICO_HOME/state/shop/generation")" -gt "$generation" ] && passed "under a key of its own" ||
    failed "under a key of its own: $(cat "$AICO_HOME/state/shop/generation") after $generation"
to_pair second && passed "ratchets begin anew" || failed "ratchets begin anew" "$WORK/pair.err" "$WORK/pair.log"
check "the owner signs on" aico-keytool renew -q
[ "$(version "$AICO_HOME/registry")" -eq $((newest + 1)) ] && passed "behind what was signed last" || failed "behind what was signed last"

echo x >>"$WORK/copy/files/registry"
rm -rf "$WORK/other"
check_exit "a damaged backup is refused" 5 aico-keytool --home "$WORK/other" restore "$WORK/copy"
[ -e "$WORK/other" ] && failed "and nothing is written" || passed "and nothing is written"
finish
