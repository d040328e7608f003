#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A broker that gives stored messages again after both ends were restarted: its store is put back to what it
# was before they were read, the worst it can do without forging. Nothing is shown twice.
. "$(dirname "$0")/lib.sh"

LIMIT_MS=30000 # nothing here is about speed
bus_up
for name in shop book; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool rule set 's/**' --publish shop --subscribe book --store age=7d,count=100000 --history -q --before 'logs/**' \
    2>"$WORK/rule.log" </dev/null || failed "rule" "$WORK/rule.log"

bus() { timeout 60 aico-bus "$@" </dev/null; }
broker_stop() {
    kill -TERM "$BROKER_PID"
    wait_for "$BROKER_PID" 0 >/dev/null || failed "the broker ends"
}
# The rule is there once publishing works; the reader has left its key by then.
registered() { timeout 20 aico-bus --as book sub s/a --durable d --since all --for 1s </dev/null >/dev/null 2>&1; }
until_true 30 registered || failed "the reader is there"
printf 'one\ntwo\nthree\n' | timeout 60 aico-bus --as shop pub s/a --lines --ack stored 2>"$WORK/pub.err" ||
    failed "three messages are stored" "$WORK/pub.err"

broker_stop
cp -a "$AICO_HOME/state/broker" "$WORK/earlier"
broker_start || failed "the broker starts again" "$WORK/broker.err"
bus --as book sub s/a --durable d --since all --count 3 --for 30s --raw >"$WORK/first.out" 2>"$WORK/first.err"
printf 'one\ntwo\nthree\n' | cmp -s - "$WORK/first.out" && passed "they are read once" || failed "they are read once" "$WORK/first.out" "$WORK/first.err"

broker_stop
rm -rf "$AICO_HOME/state/broker"
cp -a "$WORK/earlier" "$AICO_HOME/state/broker"
broker_start || failed "the broker starts with its former store" "$WORK/broker.err"
printf 'four\n' | timeout 60 aico-bus --as shop pub s/a --lines --ack stored 2>"$WORK/pub.err" || failed "a fourth is stored" "$WORK/pub.err"
bus --as book sub s/a --durable d --since all --count 1 --for 30s --raw >"$WORK/second.out" 2>"$WORK/second.err"
[ "$(cat "$WORK/second.out")" = four ] && passed "what comes again is not shown again, what is new is" ||
    failed "what comes again" "$WORK/second.out" "$WORK/second.err"
grep -q E_REPLAY "$WORK/second.err" && passed "and it is told" || failed "and it is told" "$WORK/second.err"

bus --as book sub s/a --durable other --since all --count 4 --for 30s --raw >"$WORK/other.out" 2>"$WORK/other.err"
[ "$(wc -l <"$WORK/other.out")" -eq 4 ] && passed "another reader begins anew" || failed "another reader" "$WORK/other.out"
check "a reader is forgotten" bus --as book stream forget d
bus --as book sub s/a --durable d --since all --count 4 --for 30s --raw >"$WORK/anew.out" 2>"$WORK/anew.err"
[ "$(wc -l <"$WORK/anew.out")" -eq 4 ] && passed "and begins anew" || failed "and begins anew" "$WORK/anew.out" "$WORK/anew.err"
finish
