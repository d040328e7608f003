#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# PROTOCOL 14 row 69 with real processes: what waits in the outbox of a running publisher while a reader is
# revoked is sealed under another generation than the ones that reader had, and the others read all of it.
. "$(dirname "$0")/lib.sh"
: "${AICO_TEST_BIN:?names the folder with outbox-publisher}"

LIMIT_MS=30000 # nothing here is about speed
bus_up
for name in shop book thief; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
check "a stored rule with two readers" aico-keytool -q rule set 's/**' --publish shop --subscribe book,thief \
    --store age=7d,count=1000000 --history --before 'logs/**'

lines() { wc -l <"$WORK/accepted"; }
accepts() { until_true 60 more_than $(($(lines) + $1)); }
more_than() { [ "$(lines)" -gt "$1" ]; }
# generations NAME COUNT: "NUMBER KEY-ID" of the first COUNT messages, as the broker saw them and NAME opened them.
generations() {
    timeout 90 aico-bus --as "$1" sub s/a --since all --count "$2" --for 80s --json --wire </dev/null 2>"$WORK/$1.err" |
        sed -nE 's/.*"payload":"w\.([0-9]+)".*"prefix":"4149434f2d4d5347([0-9a-f]{24}).*/\1 \2/p'
}

: >"$WORK/accepted"
for name in book thief; do
    # They leave the keys for which stored messages are sealed.
    check "$name is known to the bus" until_true 30 aico-bus --as "$name" ping --count 1
done
AICO_IDENTITY=shop "$AICO_TEST_BIN/outbox-publisher" s/a w 10000000 >"$WORK/accepted" 2>"$WORK/publisher.err" </dev/null &
PUB=$!
PIDS+=("$PUB")
check "the publisher publishes" accepts 10
generations thief 5 >"$WORK/thief.seen"
check "the reader to be revoked reads it" test "$(wc -l <"$WORK/thief.seen")" -eq 5

kill -KILL "$BROKER_PID"
{ wait "$BROKER_PID"; } 2>/dev/null
check "without a broker it goes on" accepts 50
check "a reader is revoked meanwhile" aico-keytool -q revoke thief --reason test
check "and it goes on" accepts 50
WAITING=$(lines) # accepted since the link broke and before there was another one: not one of them was sent
check "and on" accepts 50
broker_start || failed "the broker starts again" "$WORK/broker.err"
check_exit "the revoked one is refused" 5 aico-bus --as thief sub s/a --since all --count 1 --timeout 5s

generations book $((WAITING + 50)) >"$WORK/book.seen"
check "the other reader has all of them" test "$(wc -l <"$WORK/book.seen")" -eq $((WAITING + 50))
kill -KILL "$PUB"
{ wait "$PUB"; } 2>/dev/null
[ -s "$WORK/publisher.err" ] && sed 's/^/      /' "$WORK/publisher.err" | tail -3
in_order() { awk '$1 != NR { exit 1 }' "$1"; }
check "once and in order" in_order "$WORK/book.seen"
not_under() { awk -v from="$WAITING" 'NR == FNR { had[$2]; next } $1 > from && $2 in had { print; bad = 1 } END { exit bad }' "$1" "$2"; }
check "none that waited is under a generation the revoked one had" not_under "$WORK/thief.seen" "$WORK/book.seen"
finish
