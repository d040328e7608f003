#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A message that kills whoever reads it, with real processes: after ten attempts it goes to the dead letters
# with its reason, its reader is told once, and what comes behind it is read.
. "$(dirname "$0")/lib.sh"
export LIMIT_MS=60000 # nothing here is a matter of time

bus_up
for name in shop book mate; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool new boss --role admin -q 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool rule set "$@" -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "rule $1" "$WORK/rule.log"; }
rule 'jobs/**' --publish shop --subscribe book --store age=7d,count=1000 --history
rule 'crew/**' --publish shop --subscribe book,mate --store age=7d,count=1000 --history
until_true 20 aico-bus --as boss status >/dev/null 2>&1

bus() { timeout 90 aico-bus "$@" --timeout 60s </dev/null; }
show() { aico-bus --as boss --json --timeout 30s stream show "$1" </dev/null; }
for name in book mate; do # each leaves a reading key
    bus --as "$name" sub '**' --for 1s >/dev/null 2>&1
done
# More than a pipe holds: who reads it gets stuck writing it out, has not acknowledged it, and is killed so.
head -c 150000 /dev/urandom | base64 -w 0 >"$WORK/poison"

# dies_of NAME TIMES ARG...: so often a reader takes it and is killed before it is done with it.
dies_of() {
    local name=$1 times=$2 i pid
    shift 2
    for i in $(seq "$times"); do
        rm -f "$WORK/out.fifo"
        mkfifo "$WORK/out.fifo"
        exec 8<>"$WORK/out.fifo"
        timeout 90 aico-bus --as "$name" --timeout 60s sub "$@" --raw >"$WORK/out.fifo" 2>"$WORK/dies.err" </dev/null 8>&- &
        pid=$!
        PIDS+=("$pid")
        # Its own child is the reader: timeout passes the signal on only as TERM.
        timeout 60 head -c 1 <&8 >/dev/null || { failed "attempt $i comes" "$WORK/dies.err"; return 1; }
        pkill -KILL -P "$pid"
        { wait "$pid"; } 2>/dev/null
        exec 8>&-
    done
    return 0
}

# --- one reader -----------------------------------------------------------------------------------

check "a message is stored" sh -c "timeout 60 aico-bus --as shop --timeout 60s pub jobs/x - --ack stored <'$WORK/poison'"
check "its reader dies of it nine times" dies_of book 9 'jobs/**' --durable d --since all
show 'jobs/**' >"$WORK/show" 2>"$WORK/show.err"
grep -q '"dead":\[\]' "$WORK/show" && passed "it is not dead yet" || failed "it is not dead yet" "$WORK/show" "$WORK/show.err"
check "and once more" dies_of book 1 'jobs/**' --durable d --since all
check "another message comes behind it" bus --as shop pub jobs/x next --ack stored
bus --as book --json sub 'jobs/**' --durable d --since all --count 1 --for 60s >"$WORK/d.out" 2>"$WORK/d.err"
grep -q '"payload":"next"' "$WORK/d.out" && passed "which is read" || failed "which is read" "$WORK/d.out" "$WORK/d.err"
is_dead() { show "$1" >"$WORK/show" && grep -q "\"dead\":\[{.*\"cause\":\"E_[A-Z_]*\"" "$WORK/show"; }
check "it lies with the dead letters" until_true 30 is_dead 'jobs/**'
python3 - "$WORK/show" <<'PY' && passed "with number, topic, reader, attempts and cause" || failed "what is said of it" "$WORK/show"
import json, sys
stream = json.loads(open(sys.argv[1]).readline())
(dead,) = stream["dead"]
assert (dead["number"], dead["topic"], dead["component"], dead["name"]) == (1, "jobs/x", "book", "d"), dead
assert dead["attempts"] == 10 and dead["cause"].startswith("E_") and dead["reason"], dead
assert stream["messages"] == 2, stream # it is still there for others
PY
aico-bus --as boss --timeout 30s stream show 'jobs/**' >"$WORK/shown" 2>&1 </dev/null
grep -qE '^  dead 1 jobs/x  for book/d  after 10: E_[A-Z_]+ .+' "$WORK/shown" && passed "for people, too" || failed "for people, too" "$WORK/shown"
for i in 1 2 3; do
    bus --as book --json sub 'jobs/**' --durable d --since all --for 1s >>"$WORK/d.out" 2>>"$WORK/d.err"
done
[ "$(grep -c '"gap":{"topic":"jobs/x","sender":"shop","count":1,"cause":"E_DEAD_LETTER"}' "$WORK/d.out")" -eq 1 ] &&
    passed "its reader is told once what it will not get" || failed "its reader is told once" "$WORK/d.out" "$WORK/d.err"
[ "$(grep -c '"payload"' "$WORK/d.out")" -eq 1 ] && passed "and nothing comes again" || failed "nothing comes again" "$WORK/d.out"
check "another reader still gets it" bash -c "timeout 90 aico-bus --as book --timeout 60s sub 'jobs/**' --durable other --since all --count 1 --for 60s --raw </dev/null | cmp - <(cat '$WORK/poison'; echo)"

# --- over the death of the broker, and a group ------------------------------------------------------

{ kill -KILL "$BROKER_PID" && wait "$BROKER_PID"; } 2>/dev/null
broker_start || failed "the broker starts again" "$WORK/broker.err"
check "the next broker has it, too" until_true 30 is_dead 'jobs/**'
check "a message for a group is stored" sh -c "timeout 60 aico-bus --as shop --timeout 60s pub crew/x - --ack stored <'$WORK/poison'"
check "its members die of it in turn" dies_of book 5 'crew/**' --durable d --queue g --since all
check "all of them" dies_of mate 5 'crew/**' --durable d --queue g --since all
check "and another one is stored" bus --as shop pub crew/x next --ack stored
bus --as mate --json sub 'crew/**' --durable d --queue g --since all --count 1 --for 60s >"$WORK/g.out" 2>"$WORK/g.err"
grep -q '"payload":"next"' "$WORK/g.out" && passed "which is read" || failed "which is read" "$WORK/g.out" "$WORK/g.err"
check "the group's dead letter is shown" until_true 30 is_dead 'crew/**'
grep -q '"attempts":10' "$WORK/show" && grep -qF '"$g"' "$WORK/show" && passed "as the group's" || failed "as the group's" "$WORK/show"
check "a purge takes both" bus --as boss stream purge 'jobs/**'
show 'jobs/**' >"$WORK/show" 2>"$WORK/show.err"
grep -q '"dead":\[{' "$WORK/show" && failed "nothing is left of it" "$WORK/show" || passed "nothing is left of it"
finish
