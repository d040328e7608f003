#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A queue group on a stream with real processes: workers that are killed at random under load, and the
# broker with them, share one place; every message is worked on, settled once, and twice only where
# that is said.
. "$(dirname "$0")/lib.sh"

LINES=400
LIMIT_MS=60000 # nothing here is about speed
WORKERS="w1 w2 w3"
bus_up
for name in shop $WORKERS; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool new boss --role admin -q 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
aico-keytool rule set 'jobs/**' --publish shop --subscribe w1,w2,w3 --store count=100000 --history -q --before 'logs/**' \
    2>"$WORK/rule.log" </dev/null || failed "rule" "$WORK/rule.log"
until_true 20 aico-bus --as boss status >/dev/null 2>&1

bus() { timeout 60 aico-bus "$@" </dev/null; }
payloads() { cat "$WORK"/w?.out | sed -nE 's/.*"payload":"(job-[0-9]+)".*/\1/p'; }
distinct() { payloads | sort -u | wc -l; }
# A worker that is started again whenever it ends, until the file stop is there.
worker() {
    while [ ! -e "$WORK/stop" ]; do
        aico-bus --as "$1" --json sub 'jobs/**' --durable jobs --queue work --since all --for 60s </dev/null \
            >>"$WORK/$1.out" 2>>"$WORK/$1.err" &
        echo $! >"$WORK/$1.pid"
        wait $!
    done
}

for name in $WORKERS; do # their reading keys are there before the first job
    : >"$WORK/$name.out"
    start "once-$name" aico-bus --as "$name" sub 'jobs/**'
    kill -TERM "$STARTED" && wait "$STARTED" 2>/dev/null
done
for name in $WORKERS; do
    worker "$name" 2>/dev/null &
    PIDS+=("$!")
done
seq 1 $LINES | while read -r n; do
    echo "job-$n"
    [ $((n % 4)) -eq 0 ] && sleep 0.02
done | timeout 200 aico-bus --as shop pub jobs/a --lines --ack stored --timeout 120s >"$WORK/pub.out" 2>"$WORK/pub.err" &
PUB=$!
PIDS+=("$PUB")

# One worker after the other dies while it works; in the middle the broker does.
i=0
for name in w1 w2 w3 w1 w2 w3; do
    i=$((i + 1))
    until_true 60 sh -c "[ \$(cat '$WORK'/w?.out | wc -l) -ge $((i * 40)) ]"
    kill -KILL "$(cat "$WORK/$name.pid")" 2>/dev/null
    if [ "$i" -eq 3 ]; then
        kill -KILL "$BROKER_PID" 2>/dev/null
        wait "$BROKER_PID" 2>/dev/null
        broker_start || failed "the broker starts again" "$WORK/broker.err"
    fi
done
WAIT_S=150 check "all jobs were stored" wait_for "$PUB" 0
all_done() { [ "$(distinct)" -eq $LINES ]; }
until_true 90 all_done && passed "every job was worked on, whoever died" || failed "only $(distinct) of $LINES jobs" "$WORK/w1.err"
# Everything up to the last number, and nothing beyond that.
settled() {
    bus --as boss --json stream show 'jobs/**' >"$WORK/show.out" 2>&1 || return 1
    local last
    last=$(sed -nE 's/.*"last":([0-9]+).*/\1/p' "$WORK/show.out")
    [ -n "$last" ] && grep -q "\"component\":\"\$work\",\"name\":\"jobs\",.*\"settled_up_to\":$last,\"settled_beyond\":0" "$WORK/show.out"
}
until_true 60 settled && passed "and settled, each once" || failed "and settled" "$WORK/show.out"
grep -q '"dead":\[\]' "$WORK/show.out" && passed "none is a dead letter" || failed "none is a dead letter" "$WORK/show.out"
[ -z "$(cat "$WORK"/w?.out | grep '"attempt":1[,}]' | sed -E 's/.*"payload":"([^"]*)".*/\1/' | sort | uniq -d)" ] &&
    passed "none was given to two without saying so" || failed "a job came to two as attempt 1"
busy=0
for name in $WORKERS; do [ "$(grep -c job- "$WORK/$name.out")" -ge 1 ] && busy=$((busy + 1)); done
[ "$busy" -eq 3 ] && passed "all three had work" || failed "$busy of three had work"

touch "$WORK/stop"
for name in $WORKERS; do kill -TERM "$(cat "$WORK/$name.pid")" 2>/dev/null; done
check "nobody follows any more" until_true 40 sh -c "! aico-bus --as boss peers | grep -q '^w[123] '"
check_exit "who is no admin forgets no group" 4 aico-bus --as w1 stream forget jobs --queue work
check "an admin does" bus --as boss stream forget jobs --queue work
check "then it begins anew" bus --as w1 sub 'jobs/**' --durable jobs --queue work --since last --count 1 --for 30s
check_exit "a group has a name for its place" 2 aico-bus --as w1 sub 'jobs/**' --queue work --since all --count 1

finish
