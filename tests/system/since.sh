#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Where a reader of stored messages begins: all, last, new, a time, some time ago, and a number.
. "$(dirname "$0")/lib.sh"
export LIMIT_MS=60000 # nothing here is a matter of time

bus_up
for name in shop book; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool rule set 's/**' --publish shop --subscribe book --store age=7d,count=1000 --history -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null ||
    failed "a rule" "$WORK/rule.log"
bus() { timeout 90 aico-bus "$@" --timeout 60s </dev/null; }
until_true 20 bus --as book sub 's/**' --for 1s >/dev/null 2>&1 # it leaves a reading key
say() { bus --as shop pub s/a "$@" --ack stored >"$WORK/say.out" 2>&1 || failed "$1 is stored" "$WORK/say.out"; }
seconds_are() { [ "$(date +%s)" -gt "$1" ]; }
# A time later than everything so far and not later than what follows, in whole seconds.
tick() {
    local now
    now=$(date +%s)
    until_true 10 seconds_are "$now"
}

say one
say two
tick
T3=$(date -u +%Y-%m-%dT%H:%M:%SZ)
say three
tick
T4=$(date -u +%Y-%m-%dT%H:%M:%SZ)
say four
say five

# begins WANT ARG...: what comes from there on, in order, is WANT and no more.
begins() {
    local want=$1 got
    shift
    bus --as book sub 's/**' --raw --for 3s "$@" >"$WORK/since.out" 2>"$WORK/since.err"
    got=$(tr '\n' ' ' <"$WORK/since.out")
    [ "$got" = "$want" ] && passed "$*: $want" || failed "$*: $got instead of $want" "$WORK/since.err"
}
begins "one two three four five " --since all
begins "five " --since last
begins "three four five " --since "$T3"
begins "four five " --since "$T4"
begins "one two three four five " --since 10m
begins "" --since new --for 1s
N=$(bus --as book --json sub 's/**' --since all --count 2 --for 60s 2>"$WORK/n.err" | tail -n 1 | grep -o '"number":[0-9]*' | cut -d: -f2)
[ -n "$N" ] && passed "messages have numbers" || failed "messages have numbers" "$WORK/n.err"
begins "two three four five " --since "seq:$N"
begins "four five " --since "seq:$((N + 2))"
begins "" --since seq:1000000 --for 1s

# A durable reader begins there once, and goes on where it was, whatever it says then.
begins "three four five " --durable time --since "$T3"
say six
begins "six " --durable time --since all
begins "five six " --durable number --since "seq:$((N + 3))"
begins "" --durable number --since all --for 1s
start new aico-bus --as book sub 's/**' --durable new --since new --raw || failed "a reader of what is new" "$WORK/new.err"
NEW=$STARTED
say seven
until_true 60 grep -qx seven "$WORK/new.out" && [ "$(cat "$WORK/new.out")" = seven ] && passed "what is new comes, and nothing else" ||
    failed "what is new" "$WORK/new.out" "$WORK/new.err"
kill -TERM "$NEW" && wait "$NEW" 2>/dev/null
begins "seven " --since last --durable lastly

# Numbers and times are the store's: a broker that was killed leaves them as they were.
{ kill -KILL "$BROKER_PID" && wait "$BROKER_PID"; } 2>/dev/null
broker_start || failed "the broker starts again" "$WORK/broker.err"
begins "two three four five six seven " --since "seq:$N"
begins "four five six seven " --since "$T4"
check_exit "what is no place to begin is refused" 2 aico-bus --as book sub 's/**' --since yesterday
check_exit "nor number 0" 2 aico-bus --as book sub 's/**' --since seq:0
finish
