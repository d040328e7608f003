#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Receipts of what is stored: readers that were away when it was said, a broker that is killed meanwhile,
# who is silent is named, and what readers sign is checked without the bus.
. "$(dirname "$0")/lib.sh"
export LIMIT_MS=90000 # nothing here is a matter of time

home_new || { failed "a home" "$WORK/init.out"; finish; }
for name in a b w1 w2; do
    aico-keytool -q new "$name" 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
rule() { aico-keytool -q rule set "$@" --before 'logs/**' || failed "a rule for $1"; }
rule 's/**' --publish cli --subscribe a,b --store age=7d --history
rule 'mail/**' --publish cli --subscribe a --seal ratchet
rule 'jobs/**' --publish cli --subscribe w1,w2 --store age=7d --history
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }
restart() {
    { kill -KILL "$BROKER_PID" && wait "$BROKER_PID"; } 2>/dev/null
    broker_start || failed "the broker starts again" "$WORK/broker.err"
}

pub() { aico-bus --as cli --json --timeout 60s pub "$@"; }
# take NAME COUNT: the durable reader of NAME comes, takes so many and leaves.
take() { timeout 80 aico-bus --as "$1" --json --timeout 60s sub "${3:-s/**}" --durable "d$1" "${@:4}" --since all --count "$2" --for 60s </dev/null; }
taken_by() { grep -o '"receiver":"[^"]*","time"' "$1" | cut -d '"' -f 4 | sort | tr '\n' ' '; }
took() { [ "$(taken_by "$2")" = "$3" ] && passed "$1" || failed "$1" "$2" "${2%.out}.err"; }
# wait_in_background NAME ARG...: a publisher that waits; it is waited for until its message is stored.
in_store() { sqlite3 "$AICO_HOME/state/broker/messages.db" "SELECT count(*) FROM item" 2>/dev/null; }
stored_is() { [ "$(in_store)" = "$1" ]; }
wait_in_background() {
    local name=$1 before
    shift
    before=$(in_store)
    pub "$@" >"$WORK/$name.out" 2>"$WORK/$name.err" </dev/null &
    PUB=$!
    PIDS+=("$PUB")
    until_true 60 stored_is $((before + 1)) || failed "$name is stored" "$WORK/$name.err"
}
ends() { WAIT_S=70 wait_for "$PUB" "$1"; }

# --- who is to have it ---------------------------------------------------------------------------

# Each leaves a reading key, so that what is stored while its publisher is there opens later, too.
for name in a b w1 w2; do
    start once aico-bus --as "$name" sub '**' || failed "$name was there" "$WORK/once.err"
    kill -TERM "$STARTED"
    wait "$STARTED"
done
check_exit "where nobody reads durably, that is said at once" 8 aico-bus --as cli --timeout 60s pub s/x zero --ack delivered
check "and it is stored all the same" stored_is 1
check "one reader keeps a place" take a 1
check "and another one" take b 1
start a aico-bus --as a sub 's/**' --durable da --since all --raw || failed "a is there" "$WORK/a.err"
A=$STARTED
start b aico-bus --as b sub 's/**' --durable db --since all --raw || failed "b is there" "$WORK/b.err"
B=$STARTED
check_exit "both are there and say that they took it" 0 aico-bus --as cli --json --timeout 60s pub s/x one --ack delivered
took "and are named" "$WORK/out" "a b "
seq 1 200 >"$WORK/lines"
check_exit "200 lines, each by both" 0 sh -c "aico-bus --as cli --timeout 80s --json pub s/lines --lines --ack delivered <'$WORK/lines'"
[ "$(grep -c '"time"' "$WORK/out")" -eq 400 ] && passed "are 400 receipts" || failed "400 receipts" "$WORK/out"
for pid in "$A" "$B"; do
    kill -TERM "$pid"
    wait "$pid"
done

# --- readers that were away ----------------------------------------------------------------------

wait_in_background late s/x two --ack delivered
check "a reader comes that was away" take a 1
until_true 60 grep -q '"time"' "$WORK/late.out" && passed "and its receipt comes" || failed "its receipt comes" "$WORK/late.err"
check "the other one comes" take b 1
check "then the publisher is done" ends 0
took "with the receipts of both" "$WORK/late.out" "a b "

timeout 80 aico-bus --as cli --json --timeout 4s pub s/x three --ack delivered >"$WORK/out" 2>"$WORK/err" </dev/null
[ $? -eq 7 ] && passed "who does not come is waited for as long as was said" || failed "who does not come" "$WORK/err"
grep -q 'stored for a, which has not said' "$WORK/err" && grep -q '"receiver":"b","error":"E_NO_RECEIPT"' "$WORK/out" &&
    passed "and both are named" || failed "both are named" "$WORK/out" "$WORK/err"
check "what nobody waits for any more is read as ever" take a 1
check "by both" take b 1

# --- over the death of a broker ------------------------------------------------------------------

# Each stays, for its publisher may come back after it has read.
stay() { start "$1" aico-bus --as "$1" sub 's/**' --durable "d$1" --since all --raw || failed "$1 is there" "$WORK/$1.err"; }
wait_in_background killed s/x four --ack signed --receipt "$WORK/receipts"
restart
stay a
A=$STARTED
until_true 60 grep -q '"receiver":"a","time"' "$WORK/killed.out" && passed "a reader is heard by a publisher that has come back to another broker" || failed "a is heard" "$WORK/killed.out" "$WORK/killed.err" "$WORK/a.err"
restart
stay b
B=$STARTED
check "and one that comes after the next death" ends 0
for pid in "$A" "$B"; do
    kill -TERM "$pid"
    wait "$pid"
done

# --- signed --------------------------------------------------------------------------------------

[ "$(grep -c '^aico-receipt 1$' "$WORK/receipts")" -eq 2 ] && passed "two signed receipts" || failed "two signed receipts" "$WORK/receipts"
printf four >"$WORK/content"
check "whoever has the registry can check them" aico-keytool receipt "$WORK/receipts" --content "$WORK/content"
printf five >"$WORK/content"
check_exit "for what was said and nothing else" 9 aico-keytool receipt "$WORK/receipts" --content "$WORK/content"

# --- a mailbox ------------------------------------------------------------------------------------

mail_is() { [ "$(sqlite3 "$AICO_HOME/state/broker/messages.db" "SELECT count(*) FROM mail" 2>/dev/null)" = "$1" ]; }
check_exit "--mailbox is that of somebody" 2 aico-bus --as cli pub mail/x x --mailbox --ack delivered
check_exit "under a rule that can seal for who is away" 4 aico-bus --as cli pub s/x x --to a --mailbox --ack delivered
pub mail/x 'no. 7' --to a --mailbox --ack signed --receipt "$WORK/mailed" >"$WORK/mail.out" 2>"$WORK/mail.err" </dev/null &
PUB=$!
PIDS+=("$PUB")
until_true 60 mail_is 1 && passed "it lies in a mailbox" || failed "it lies in a mailbox" "$WORK/mail.err"
check "its receiver comes and takes it" timeout 80 aico-bus --as a --timeout 60s sub 'mail/**' --count 1 --for 60s
check "and the publisher hears of it" ends 0
took "by its name" "$WORK/mail.out" "a "
printf 'no. 7' >"$WORK/content"
check "signed" aico-keytool receipt "$WORK/mailed" --content "$WORK/content"
check_exit "who does not come is named" 7 aico-bus --as cli --timeout 4s pub mail/x x --to a --mailbox --ack delivered
grep -q 'stored for a' "$WORK/err" && passed "as one it is stored for" || failed "by name" "$WORK/err"

# --- a queue group -------------------------------------------------------------------------------

check "a group keeps a place" sh -c "timeout 80 aico-bus --as w1 --timeout 60s sub 'jobs/**' --durable work --queue crew --since all --for 1s --count 1 </dev/null; [ \$? -eq 7 ]"
wait_in_background job jobs/x dig --ack delivered
timeout 80 aico-bus --as w2 --json --timeout 60s sub 'jobs/**' --durable work --queue crew --since all --count 1 --for 60s >"$WORK/w2.out" 2>"$WORK/w2.err" </dev/null ||
    failed "a member takes it" "$WORK/w2.err"
check "one member of the group answers for it" ends 0
took "and is named" "$WORK/job.out" "w2 "
check_exit "a group of which nobody comes is named, too" 7 aico-bus --as cli --timeout 4s pub jobs/x dig --ack delivered
grep -q 'queue group' "$WORK/err" && passed "as that" || failed "as that" "$WORK/err"
finish
