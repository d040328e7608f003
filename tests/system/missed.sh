#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What a durable reader, a queue group or the owner of a mailbox will not get: never given out after its
# time, told once with count, sender and cause, over restarts of the broker and the reader, and in the books.
. "$(dirname "$0")/lib.sh"

LIMIT_MS=60000 # nothing here is about speed
bus_up
for name in shop book work1 work2; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool new boss --role admin -q 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool rule set "$@" -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "rule $1" "$WORK/rule.log"; }
rule 's/**' --publish shop --subscribe book,work1,work2 --store age=7d,count=100000 --history
rule 'few/**' --publish shop --subscribe book --store count=3 --history
rule 'mail/**' --publish shop --subscribe book --seal ratchet
until_true 20 aico-bus --as boss status >/dev/null 2>&1

bus() { timeout 90 aico-bus "$@" --timeout 60s </dev/null; }
restart() {
    { kill -KILL "$BROKER_PID" && wait "$BROKER_PID"; } 2>/dev/null
    broker_start || failed "the broker starts again" "$WORK/broker.err"
}
# The time to live is what is tested: until one of 1 s is over.
now_ms() { date +%s%3N; }
pass_time() { until_true 30 sh -c "[ \$(date +%s%3N) -gt $(($1 + 1500)) ]"; }
# gaps FILE CAUSE: how many messages that file says are missing because of it
gaps() {
    python3 - "$1" "$2" <<'PY'
import json, sys
told = [json.loads(line)["gap"] for line in open(sys.argv[1]) if '"gap"' in line]
told = [gap for gap in told if sys.argv[2] in json.dumps(gap)]
print(len(told), sum(gap["count"] for gap in told))
PY
}
expect_gaps() { # TEXT FILE CAUSE REPORTS COUNT
    [ "$(gaps "$2" "$3")" = "$4 $5" ] && passed "$1" || { gaps "$2" "$3" >>"$2"; failed "$1" "$2"; }
}
reads() { bus --as book --json sub "$1" --durable "$2" --since all --count "$3" --for 60s; }

# --- a time to live -------------------------------------------------------------------------------

is_there() { bus --as "$1" sub "$2" --durable "$3" --since all --for 1s "${@:4}" >/dev/null 2>"$WORK/there.err" || failed "$1 is there" "$WORK/there.err"; }
say() { seq "$2" "$3" | sed "s/^/$4/" | timeout 90 aico-bus --as shop pub "$1" --lines --timeout 60s --ack stored "${@:5}" >/dev/null 2>"$WORK/say.err" || failed "$4 on $1" "$WORK/say.err"; }
is_there book 's/**' d
say s/a 1 3 old- --ttl 1s
SAID=$(now_ms)
check "and one without end" bus --as shop pub s/a good --ack stored
pass_time "$SAID"
restart
reads 's/**' d 1 >"$WORK/ttl.out" 2>"$WORK/ttl.err"
grep -q '"payload":"good"' "$WORK/ttl.out" && passed "what is good comes" || failed "what is good comes" "$WORK/ttl.out"
grep -q 'old-' "$WORK/ttl.out" && failed "what is void was given out" "$WORK/ttl.out" || passed "what is void is not given out"
expect_gaps "and is told, with count and cause" "$WORK/ttl.out" E_EXPIRED 1 3
grep '"gap"' "$WORK/ttl.out" | grep -q shop && passed "and sender" || failed "and sender" "$WORK/ttl.out"
check "the books have it" sh -c "aico-bus --as boss --timeout 30s --json ledger </dev/null | grep -q '\"expired\":3'"
check "the report is taken" until_true 30 sh -c "[ \$(sqlite3 -cmd '.timeout 5000' '$AICO_HOME/state/broker/messages.db' 'SELECT count(*) FROM missed') -eq 0 ]"
restart
bus --as shop pub s/a more --ack stored
reads 's/**' d 1 >"$WORK/again.out" 2>&1
grep -q '"gap"' "$WORK/again.out" && failed "it was told twice" "$WORK/again.out" || passed "it is told once"

# --- retention and purge --------------------------------------------------------------------------

is_there book 'few/**' few
for i in 1 2 3 4 5; do say few/a $i $i n-; done
until_true 60 sh -c "aico-bus --as boss --json stream show 'few/**' | grep -q '\"messages\":3,'" || failed "retention"
restart
reads 'few/**' few 3 >"$WORK/few.out" 2>"$WORK/few.err"
expect_gaps "what retention took is told" "$WORK/few.out" E_RETENTION 1 2
grep -q '"payload":"n-3"' "$WORK/few.out" && passed "and what is left comes" || failed "and what is left comes" "$WORK/few.out"
say few/b 1 2 n-
check "what is left is purged" bus --as boss stream purge 'few/**'
bus --as shop pub few/b after --ack stored
reads 'few/**' few 1 >"$WORK/purge.out" 2>&1
expect_gaps "and told as purged" "$WORK/purge.out" E_PURGED 1 2

# --- a queue group --------------------------------------------------------------------------------

work() { bus --as "$1" --json sub 's/job' --durable jobs --queue work --since all "${@:2}"; }
for name in work1 work2; do is_there $name 's/job' jobs --queue work; done
say s/job 1 2 old- --ttl 1s
SAID=$(now_ms)
bus --as shop pub s/job fresh --ack stored
pass_time "$SAID"
work work2 --count 1 --for 60s >"$WORK/job.out" 2>&1
grep -q '"payload":"fresh"' "$WORK/job.out" && passed "a group goes on behind what expired" || failed "a group goes on" "$WORK/job.out"
expect_gaps "and hears of it" "$WORK/job.out" E_EXPIRED 1 2

# --- a mailbox ------------------------------------------------------------------------------------

bus --as book sub 'mail/**' --for 1s >/dev/null 2>&1 # its prekeys are there from now on
check "a message without end waits" bus --as shop pub mail/a first --to book --ack stored
say mail/a 1 2 old- --to book --ttl 1s
SAID=$(now_ms)
pass_time "$SAID"
restart # it looks for what is void when it starts to work
bus --as shop pub mail/a last --to book --ack stored
until_true 60 sh -c "[ \$(sqlite3 -cmd '.timeout 5000' '$AICO_HOME/state/broker/messages.db' 'SELECT count(*) FROM mail') -eq 2 ]" || failed "what is void leaves the mailbox"
bus --as book --json sub 'mail/**' --count 2 --for 60s >"$WORK/mail.out" 2>&1
grep -q '"payload":"last"' "$WORK/mail.out" && passed "the owner gets what is good" || failed "the owner gets what is good" "$WORK/mail.out"
expect_gaps "and is told of the rest" "$WORK/mail.out" E_EXPIRED 1 2
expect_gaps "once" "$WORK/mail.out" "" 1 2
finish
