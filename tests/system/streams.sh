#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Stored messages with real processes: acknowledged means stored, whoever is killed; readers that were
# away read when the publisher is gone; the store holds no content; who is removed reads nothing newer.
. "$(dirname "$0")/lib.sh"

LINES=600
LIMIT_MS=60000 # nothing here is about speed
bus_up
for name in shop book other; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool new boss --role admin -q 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool rule set "$@" -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "rule $1" "$WORK/rule.log"; }
rule 's/**' --publish shop --subscribe book,other --store age=7d,count=100000 --history
rule 'few/**' --publish shop --subscribe book --store count=5 --history
rule 'live/**' --publish shop --subscribe book
until_true 10 aico-bus --as boss status >/dev/null 2>&1

bus() { timeout 90 aico-bus "$@" --timeout 60s </dev/null; } # a disk may take its time
# received FILE: the payloads, first deliveries only
firsts() { grep '"attempt":1[,}]' "$1" | sed -E 's/.*"payload":"([^"]*)".*/\1/'; }

# --- what is stored and what is not --------------------------------------------------------------

check_exit "--ack stored where no rule stores is refused" 4 aico-bus --as shop pub live/a x --ack stored
check_exit "who never was here is told about" 0 aico-bus --as shop pub s/early before --ack stored
bus --as book sub 's/**' --durable d --since all --count 1 --for 1s >/dev/null 2>&1
bus --as other sub 's/**' --durable d --since all --count 1 --for 1s >/dev/null 2>&1

check "a message is stored while its reader is away" bus --as shop pub s/a canary-one --ack stored
check "its reader opens it when the publisher is gone" bus --as book sub 's/a' --since all --count 1 --for 60s
grep -q 'canary-one' "$WORK/check.out" && passed "and it is what was said" || failed "and it is what was said" "$WORK/check.out"
check "a durable reader gets it, too" bus --as book sub 's/a' --durable one --since all --count 1 --for 60s
bus --as book sub 's/a' --durable one --since all --count 1 --for 1s >"$WORK/again.out" 2>&1
[ $? -eq 7 ] && passed "and not again once it has acknowledged" || failed "and not again" "$WORK/again.out"

for i in 1 2 3 4 5 6 7 8 9; do bus --as shop pub few/a "$i" --ack stored; done
until_true 60 sh -c "aico-bus --as boss --json stream show 'few/**' | grep -q '\"messages\":5,'" &&
    passed "retention keeps as many as the rule says" || failed "retention"
check "stream list" bus --as boss stream list
check "stream purge" bus --as boss stream purge 'few/**'
check_exit "only an admin sees what is stored" 4 aico-bus --as book stream list

head -c 300000 /dev/urandom | base64 -w 0 >"$WORK/large"
check "a message of several records is stored" sh -c "timeout 60 aico-bus --as shop pub s/large - --ack stored <'$WORK/large'"
bus --as book sub s/large --durable large --since all --count 1 --for 30s --raw >"$WORK/large.out" 2>"$WORK/large.err"
cmp -s "$WORK/large.out" <(cat "$WORK/large"; echo) && passed "and comes as it was" || failed "and comes as it was" "$WORK/large.err"

# --- nobody's death loses what was stored -------------------------------------------------------

# Numbers one after the other, acknowledged by a publisher that lives through broker and reader.
seq 1 $LINES | while read -r n; do
    echo "line-$n"
    [ $((n % 20)) -eq 0 ] && sleep 0.05
done | aico-bus --as shop pub s/run --lines --ack stored --timeout 120s >"$WORK/pub.out" 2>"$WORK/pub.err" &
PUB=$!
PIDS+=("$PUB")
reader() { # in the background until the file stop exists; killed at random
    while [ ! -e "$WORK/stop" ]; do
        aico-bus --as book --json sub 's/run' --durable run --since all --for 10s </dev/null \
            >>"$WORK/run.out" 2>>"$WORK/run.err" &
        echo $! >"$WORK/reader.pid"
        wait $!
    done
}
reader &
READER=$!
PIDS+=("$READER")
for i in 1 2 3; do
    until_true 60 sh -c "[ \$(wc -l <'$WORK/run.out') -ge $((i * 80)) ]"
    kill -KILL "$(cat "$WORK/reader.pid")" 2>/dev/null
    until_true 60 sh -c "[ \$(wc -l <'$WORK/run.out') -ge $((i * 80 + 40)) ]"
    kill -KILL "$BROKER_PID" 2>/dev/null
    wait "$BROKER_PID" 2>/dev/null
    broker_start || failed "the broker starts again" "$WORK/broker.err"
done
WAIT_S=200 check "all was acknowledged as stored, through three kills of the broker" wait_for "$PUB" 0
[ -s "$WORK/pub.err" ] && sed 's/^/      /' "$WORK/pub.err" | tail -3
seq 1 $LINES | sed 's/^/line-/' | sort >"$WORK/want"
delivered_all() { [ "$(sed -E 's/.*"payload":"([^"]*)".*/\1/' "$WORK/run.out" | grep -x 'line-[0-9]*' | sort -u | wc -l)" -eq $LINES ]; }
until_true 90 delivered_all && passed "every stored message was delivered" || failed "every stored message was delivered" "$WORK/run.err"
touch "$WORK/stop"
kill -TERM "$(cat "$WORK/reader.pid")" 2>/dev/null
[ -z "$(firsts "$WORK/run.out" | sort | uniq -d)" ] &&
    passed "none twice but where a repetition is marked" || failed "a message came twice as attempt 1"

# A publisher that is killed: what the next one says is stored behind what the first has said.
yes x | aico-bus --as shop pub few/dead --lines --ack stored >/dev/null 2>&1 &
PUB=$!
until_true 60 sh -c "aico-bus --as boss --json stream show 'few/**' | grep -q '\"messages\":5,'"
kill -KILL $PUB
wait $PUB 2>/dev/null
until_true 60 sh -c "! aico-bus --as boss peers | grep -q '^shop '"
check "its successor is stored as well" bus --as shop pub few/dead last --ack stored
check "and read" sh -c "timeout 90 aico-bus --as book sub few/dead --since last --count 1 --for 60s </dev/null | grep -q 'last'"

# --- without history: who was there has the key, and keeps it --------------------------------------

rule 'near/**' --publish shop --subscribe book,other --store count=100
{ echo first; until [ -e "$WORK/near.done" ]; do sleep 0.1; done; echo second; } |
    aico-bus --as shop pub near/a --lines --ack stored --timeout 60s >/dev/null 2>"$WORK/near.err" &
PUB=$!
PIDS+=("$PUB")
check "a reader asks the living publisher" bus --as book sub near/a --since all --count 1 --for 30s
touch "$WORK/near.done"
WAIT_S=60 check "the publisher ends" wait_for "$PUB" 0
check "and reads after a restart, when it is gone" bus --as book sub near/a --since all --count 2 --for 30s
bus --as other sub near/a --since all --count 1 --for 2s >"$WORK/other.out" 2>&1
[ $? -ne 0 ] && passed "who was not there does not" || failed "who was not there does not" "$WORK/other.out"

# --- who may read what ---------------------------------------------------------------------------

check "another reader, away all the time, reads" sh -c "timeout 90 aico-bus --as other sub s/a --since all --count 1 --for 60s </dev/null | grep -q canary-one"
check "a reader is revoked" aico-keytool revoke other --reason test -q
check "published after a removal" bus --as shop pub s/a canary-two --ack stored
check "who stays reads it" sh -c "timeout 90 aico-bus --as book sub s/a --since last --count 1 --for 60s </dev/null | grep -q canary-two"
check_exit "who was removed gets nothing" 5 aico-bus --as other sub s/a --since all --count 1 --for 2s
grep -q 'canary\|line-' "$AICO_HOME"/state/broker/messages.db* && failed "the store holds content" || passed "the store holds no content"

finish
