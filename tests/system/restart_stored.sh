#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A broker with many messages in its store is killed and started again: it is ready, answers, and gives a reader the last
# message, and all of it takes no longer than with few. The times are printed and held against nothing (a machine may do
# much else); that the work does not grow is shown by counting, in tests/unit/store/test_streams.c.
#
# AICO_TEST_SCALE=full stores 1,000,000 messages; STORED says how many, ROUNDS how often it is killed.
. "$(dirname "$0")/lib.sh"

: "${AICO_TEST_BIN:?names the folder with fill-store}"
[ "${AICO_TEST_SCALE-}" = full ] && STORED=${STORED:-1000000} ROUNDS=${ROUNDS:-5}
STORED=${STORED:-20000} ROUNDS=${ROUNDS:-2}
LIMIT_MS=60000
FILE="$AICO_HOME/state/broker/messages.db"

bus_up
for name in shop book; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool rule set 'fill/**' --publish shop --subscribe book --store count=100000000 --history -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null ||
    failed "a rule" "$WORK/rule.log"
bus() { timeout 90 aico-bus "$@" --timeout 60s </dev/null; }
bus --as book sub fill/x --for 1s >"$WORK/sub.out" 2>&1 # it leaves the key it reads with
check "the store is made" until_true 20 bus --as shop pub fill/x first --ack stored
check "the broker ends in order" broker_stop
at=$(now_ms)
check "$STORED messages are stored" "$AICO_TEST_BIN/fill-store" "$FILE" 'fill/**' "$STORED"
echo "      in $(($(now_ms) - at)) ms, $(stat -c %s "$FILE") bytes"
check "the broker starts" broker_start

for round in $(seq "$ROUNDS"); do
    check "one more is acknowledged" bus --as shop pub fill/x "last of $round" --ack stored
    kill -KILL "$BROKER_PID"
    check "the broker is killed" wait_for "$BROKER_PID" 137
    log=$(stat -c %s "$FILE-wal")
    at=$(now_ms)
    check "it starts again" broker_start
    ready=$(($(now_ms) - at))
    check "and answers" bus --as shop ping
    answers=$(($(now_ms) - at))
    check "a reader gets the last message" bus --as book sub fill/x --since last --count 1 --raw --for 60s
    reads=$(($(now_ms) - at))
    grep -qx "last of $round" "$WORK/check.out" && passed "which is the one" || failed "which is the one" "$WORK/check.out"
    echo "      $STORED stored, a log of $log bytes: ready after $ready ms, answered after $answers, read after $reads"
done
check "the broker ends in order" broker_stop
finish
