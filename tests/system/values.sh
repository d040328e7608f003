#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Stored retained values with real processes: the last value of a topic is there for a late reader while its
# publisher is away, over kill -9 and restored backups, sealed, never an older one after a newer, void after
# its time, gone when it is deleted, and bounded with a warning before.
. "$(dirname "$0")/lib.sh"

SETTINGS="  value_limit: 65536"
bus_up
for name in meter other panel late; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool new boss --role admin -q 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool rule set "$@" -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "rule $1" "$WORK/rule.log"; }
rule 'v/**' --publish meter,other --subscribe panel,late --store count=100 --history
rule 'near/**' --publish meter --subscribe panel,late --store count=100
until_true 20 aico-bus --as boss status >/dev/null 2>&1

bus() { timeout 60 aico-bus "$@" </dev/null; }
say() { bus --as meter pub "$@" --retain --ack stored; }
kill_broker() { { kill -KILL "$BROKER_PID" && wait "$BROKER_PID"; } 2>/dev/null; }
restart() {
    kill_broker
    broker_start || failed "the broker starts again" "$WORK/broker.err"
}
# value READER TOPIC WANT: a late reader sees exactly that.
value() {
    bus --as "$1" --json sub "$2" --count 1 --for 30s >"$WORK/value.out" 2>"$WORK/value.err" || return 1
    grep -q "\"payload\":\"$3\"" "$WORK/value.out"
}
# A topic that is said last, so that whoever has seen it has seen all there is of the others.
none() {
    bus --as "$1" --json sub "$2" v/end --count 1 --for 30s >"$WORK/value.out" 2>"$WORK/value.err" &&
        grep -q '"payload":"end"' "$WORK/value.out"
}
db() { sqlite3 "$AICO_HOME/state/broker/messages.db" "$1"; }

for name in panel late; do # their reading keys are there from now on
    start once aico-bus --as "$name" sub 'v/**'
    kill -TERM "$STARTED" && wait "$STARTED" 2>/dev/null
done

# --- while its publisher is away, over kill -9 -----------------------------------------------------

check "a value is stored" say v/a canary-one
check "a late reader opens it while its publisher is away" value panel v/a canary-one
check "a later one is stored" say v/a canary-two
restart
check "it is there after kill -9 of the broker" value panel v/a canary-two
check "for another reader, too" value late 'v/*' canary-two
[ "$(db 'SELECT count(*) FROM value')" -eq 1 ] && passed "one a topic" || failed "one a topic"
check "another publisher says the value of the topic" sh -c "timeout 60 aico-bus --as other pub v/a three --retain --ack stored </dev/null"
check "which is the one now" value panel v/a three

# A publisher that lives through the death of the broker says its value again, but not over a later one.
stay() { # in the background, with its value, until it is killed
    timeout 120 aico-bus --as meter pub "$@" --retain --ack stored --for 100s </dev/null >"$WORK/stay.out" 2>"$WORK/stay.err" &
    STAYS=$!
    PIDS+=("$STAYS")
}
stay v/b first
until_true 20 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' 'SELECT count(*) FROM value') -eq 2 ]" ||
    failed "the first value of v/b" "$WORK/stay.err"
check "a second publisher says a later one" bus --as other pub v/b second --retain --ack stored
restart
check "the first one is back" until_true 40 sh -c "aico-bus --as boss peers | grep -q '^meter '"
check "and the later value stays" value panel v/b second
kill -TERM "$STAYS" && wait "$STAYS" 2>/dev/null

# Killed at random under load: what was acknowledged, or something later, is there.
seq 1 300 | sed 's/^/load-/' | timeout 120 aico-bus --as meter pub v/load --lines --retain --ack stored --timeout 100s -v >"$WORK/load.out" 2>"$WORK/load.err" &
LOAD=$!
PIDS+=("$LOAD")
for i in 1 2 3; do
    until_true 40 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' \"SELECT count(*) FROM value v JOIN topic t ON t.id=v.topic WHERE t.name='v/load'\") -eq 1 ]"
    restart
done
WAIT_S=100 check "all were acknowledged, through three kills of the broker" wait_for "$LOAD" 0
check "the last one is the value" value panel v/load load-300

# --- a restored backup -------------------------------------------------------------------------------

check "a value before the backup" say v/r before
check "which a reader sees" value panel v/r before
check "the store is copied" sqlite3 "$AICO_HOME/state/broker/messages.db" ".backup '$WORK/old.db'"
check "a value after it" say v/r after
check "which the reader sees" value panel v/r after
kill_broker
cp "$WORK/old.db" "$AICO_HOME/state/broker/messages.db" && rm -f "$AICO_HOME"/state/broker/messages.db-*
broker_start || failed "the broker starts with the old store" "$WORK/broker.err"
check "the end" say v/end end
check "who saw the later value is not shown the earlier one again" none panel v/r
check "its publisher says another" say v/r newest
check "and that is shown" value panel v/r newest

# --- deleted, void ----------------------------------------------------------------------------------

check "an empty value deletes" say v/a ''
restart
check "for good" none late v/a
check "a value with a time to live" say v/t void --ttl 2s
END=$(($(now_ms) + 2100))
until_true 20 sh -c "[ \$(date +%s%3N) -gt $END ]"
check "a value after its end" say v/end end
check "it leaves the store" until_true 60 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' \"SELECT count(*) FROM value v JOIN topic t ON t.id=v.topic WHERE t.name='v/t'\") -eq 0 ]"
check "late readers get nothing" none late v/t
check "stream list counts them" sh -c "timeout 60 aico-bus --as boss --json stream list </dev/null | grep -q '\"values\":[1-9]'"

# --- without history: who has met the publisher has the key -----------------------------------------

start panel aico-bus --as panel --json sub near/a
PANEL=$STARTED
check "a value without history" say near/a near-one
check "reaches who is there" until_true 30 grep -q near-one "$WORK/panel.out"
kill -TERM "$PANEL" && wait "$PANEL" 2>/dev/null
restart
check "who was there opens it again when its publisher is away" value panel near/a near-one
stay near/b near-two
check "another value there" until_true 30 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' \"SELECT count(*) FROM value v JOIN topic t ON t.id=v.topic WHERE t.name='near/b'\") -eq 1 ]"
check "who was not asks the publisher" value late near/b near-two
kill -TERM "$STAYS" && wait "$STAYS" 2>/dev/null

# --- bounded -----------------------------------------------------------------------------------------

value_limit_bounds_what_one_says() {
    local i status=0 big
    big=$(head -c 9000 /dev/zero | tr '\0' x)
    for i in 1 2 3 4 5 6 7 8; do
        say "v/full/$i" "$big" >"$WORK/full.out" 2>&1
        status=$?
        [ "$status" -eq 0 ] || break
    done
    [ "$status" -eq 10 ] && grep -q value_limit "$WORK/full.out" && passed "beyond its bound it is refused, by name" || failed "beyond its bound it is refused: $status" "$WORK/full.out"
    check "the log has warned before" grep -q 'value_limit: .* in use by meter' "$WORK/broker.err"
    check "an empty one makes room" say v/full/1 ''
    check "for another" say v/full/1 "$big"
    check "others are not bounded by it" bus --as other pub v/o x --retain --ack stored
}
value_limit_bounds_what_one_says

# --- who may -----------------------------------------------------------------------------------------

check "a publisher is revoked" aico-keytool revoke other --reason test -q
check "its values go" until_true 30 sh -c "[ \$(sqlite3 '$AICO_HOME/state/broker/messages.db' \"SELECT count(*) FROM value v JOIN sender s ON s.id=v.sender WHERE s.name='other' AND v.size>0\") -eq 0 ]"
check "late readers get none of it" none late v/b
check "a reader is removed" aico-keytool revoke late --reason test -q
check "a value after that" say v/a canary-three
check "who stays opens it" value panel v/a canary-three
check_exit "who was removed gets nothing" 5 aico-bus --as late sub v/a --count 1 --for 2s
check "the ledger balances" sh -c "aico-bus --as boss --json ledger | grep -q '\"balanced\":true'"
grep -aq 'canary\|load-\|near-' "$AICO_HOME"/state/broker/messages.db* && failed "the store holds content" || passed "the store holds no content"

finish
