#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is stored survives the rotation of a component's key: at its readers, at its publishers, in its outbox.
. "$(dirname "$0")/lib.sh"
: "${AICO_TEST_BIN:?names the folder with outbox-publisher}"

LIMIT_MS=60000 # nothing here is about speed
bus_up
for name in shop book away other; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool new boss --role admin -q 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool rule set "$@" -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "rule $1" "$WORK/rule.log"; }
rule 's/**' --publish shop --subscribe book,away --store age=7d,count=100000 --history
rule 'mail/**' --publish shop,other --subscribe away --seal ratchet
rule 'kept/**' --publish shop --subscribe book --store age=7d,count=100
until_true 20 aico-bus --as boss status >/dev/null 2>&1

bus() { timeout 90 aico-bus "$@" --timeout 60s </dev/null; } # a disk may take its time
texts() { sed -nE 's/.*"payload":"([^"]*)".*/\1/p' "$1"; }
# got NAME "TEXT..." READER...: what the reader got is exactly this, in this order, and nothing was lost.
got() {
    local name=$1 want=$2
    shift 2
    timeout 60 aico-bus --json sub "$@" </dev/null >"$WORK/got.out" 2>"$WORK/got.err"
    if [ "$(texts "$WORK/got.out" | xargs)" = "$want" ] && ! grep -qE '"(gap|unopened)"' "$WORK/got.out"; then
        passed "$name"
    else
        failed "$name" "$WORK/got.out" "$WORK/got.err"
    fi
}
left_files() { find "$AICO_HOME/state/$1" -name 'former-*' | wc -l; }
rotated() { aico-keytool -q rotate "$@" >"$WORK/rotate.log" 2>&1 || failed "rotate $1" "$WORK/rotate.log"; }

# --- a reader ------------------------------------------------------------------------------------------------
bus --as book sub 's/**' --durable d --since all --count 1 --for 1s >/dev/null 2>&1
bus --as away sub 's/**' --durable d --since all --count 1 --for 1s >/dev/null 2>&1
bus --as shop pub s/a one --ack stored || failed "a message is stored"
bus --as shop pub s/a two --ack stored || failed "a message is stored"
got "a reader reads the first of what was stored" "one" --as book 's/**' --durable d --count 1 --for 20s
rotated book
check "what opens its state is left for its next key" test "$(left_files book)" -eq 1
check "  for nobody else" test "$(stat -c %a "$AICO_HOME"/state/book/former-*)" = 600
bus --as shop pub s/a three --ack stored || failed "a message is stored"
got "with its next key it goes on where it was, with what was sealed for the former" "two three" \
    --as book 's/**' --durable d --count 2 --for 20s
got "and reads all of it again by another name" "one two three" --as book 's/**' --since all --count 3 --for 20s
check "what opens the former is kept until the overlap ends" test "$(left_files book)" -eq 1

# Killed while it takes its state over: what is there opens with one of both, whenever it happens. And without
# an overlap: what is said before it comes with its new key is sealed for what it has.
for i in 1 2 3 4 5 6; do
    rotated away --overlap 0
    aico-bus --as away sub 's/**' --durable d --count 100 --for 5s </dev/null >/dev/null 2>&1 &
    VICTIM=$!
    sleep "$(printf '0.%03d' $((i * 9)))" # somewhere in its start
    kill -KILL "$VICTIM" 2>/dev/null
    wait "$VICTIM" 2>/dev/null
done
check_exit "a reader that was killed at its starts, key after key, starts" 0 aico-bus --as away status
rotated away --overlap 0
bus --as shop pub s/a four --ack stored || failed "a message is stored"
got "without an overlap it reads what was said before it came with its next key" "four" \
    --as away s/a --durable late --since last --count 1 --for 20s
check "  and nothing of its former keys stays" test "$(left_files away)" -eq 0

# Rotations without a start between them: what was sealed for the first of these keys, and what is sealed meanwhile.
bus --as shop pub s/a before --ack stored || failed "a message is stored"
rotated away --overlap 0
rotated away --overlap 0
bus --as shop pub s/a between --ack stored || failed "a message is stored"
got "it reads what was stored before two rotations and between them" "before between" \
    --as away s/a --durable late --count 2 --for 20s
rotated away --overlap 0
got "  and again after one more" "four before between" --as away s/a --since all --count 3 --for 20s

# --- a publisher ---------------------------------------------------------------------------------------------------
bus --as shop pub s/b former --ack stored || failed "a message is stored"
rotated shop
bus --as shop pub s/c next --ack stored || failed "a message is stored"
got "what a publisher stored opens behind what it stores with its next key" "four before between next former" \
    --as away s/a s/c s/b --since all --count 9 --for 20s
start follower aico-bus --as book --json sub s/b s/c s/d --since all
heard() { [ "$(texts "$WORK/follower.out" | sort | xargs)" = "$1" ]; }
check "a reader has read what was stored with both" until_true 20 heard "former next"
bus --as shop pub s/d more --ack stored || failed "a message is stored"
check "and goes on with the next" until_true 20 heard "former more next"
check "  and nothing was lost" sh -c "! grep -qE '\"(gap|unopened)\"' '$WORK/follower.out'"
kill -TERM "$STARTED" && wait_for "$STARTED" 143

# --- chains of messages stored without keys -------------------------------------------------------------------
start live aico-bus --as book --json sub 'kept/**'
bus --as shop pub kept/a first --ack stored || failed "a message is stored"
check "a reader that is there has the chain" until_true 20 grep -q '"payload":"first"' "$WORK/live.out"
kill -TERM "$STARTED" && wait_for "$STARTED" 143
rotated book --overlap 0
got "it has it with its next key as well" "first" --as book 'kept/**' --since all --count 1 --for 20s
check "what opens the first key is kept until its overlap ends too" test "$(left_files book)" -eq 1
check_exit "nor is it missed" 0 aico-bus --as book status

# --- a mailbox -----------------------------------------------------------------------------------------------------
leave() { bus --as shop pub mail/a "$@" --to away --ack stored || failed "mail is left"; }
in_mail() { sqlite3 "$AICO_HOME/state/broker/messages.db" 'SELECT count(*) FROM mail'; }
no_mail() { [ "$(in_mail)" -eq 0 ]; }
start once aico-bus --as away sub 'mail/**' # its prekeys are there from now on
leave begun
check "mail begins a ratchet" until_true 20 grep -q begun "$WORK/once.out"
leave goes-on
check "and goes on" until_true 20 grep -q goes-on "$WORK/once.out"
kill -TERM "$STARTED" && wait_for "$STARTED" 143
leave waits
aico-bus --as other pub mail/a 'begins' --to away --ack stored >"$WORK/other.out" 2>&1 </dev/null || failed "mail of another" "$WORK/other.out"
check "mail waits" test "$(in_mail)" -eq 2
rotated away --overlap 0
got "with its next key it opens, whether it goes on or begins" "waits begins" --as away 'mail/**' --count 2 --for 20s
check "and is taken out" until_true 20 no_mail
check_exit "after it others begin with its next key" 0 aico-bus --as shop pub mail/a new --to away --ack stored --timeout 30s
got "  and it opens that" "new" --as away 'mail/**' --count 1 --for 20s

leave two-before
rotated away --overlap 0
rotated away --overlap 0
got "mail of before two rotations opens" "two-before" --as away 'mail/**' --count 1 --for 20s

leave of-the-former
rotated shop
leave of-the-next
got "mail of a sender opens across its rotation" "of-the-former of-the-next" --as away 'mail/**' --count 2 --for 20s

leave of-the-one-before
rotated shop --overlap 0
rotated shop --overlap 0
got "and when its key is not valid any more" "of-the-one-before" --as away 'mail/**' --count 1 --for 20s

# --- an outbox --------------------------------------------------------------------------------------------------
broker_stop || failed "the broker stops"
AICO_IDENTITY=shop "$AICO_TEST_BIN/outbox-publisher" s/box box 3 >"$WORK/accepted" 2>"$WORK/publisher.err" </dev/null &
PUB=$!
PIDS+=("$PUB")
accepted() { [ "$(wc -l <"$WORK/accepted")" -ge 3 ]; }
check "an outbox accepts messages while there is no broker" until_true 20 accepted
kill -KILL "$PUB" 2>/dev/null
wait "$PUB" 2>/dev/null
rotated shop
broker_start || failed "the broker starts again" "$WORK/broker.err"
check "with its next key the publisher sends what its outbox holds" \
    env AICO_IDENTITY=shop timeout 60 "$AICO_TEST_BIN/outbox-publisher" s/box more 1
got "in order, once" "$(xargs <"$WORK/accepted") more.1" --as book s/box --since all --count 4 --for 20s
# --- revoked ----------------------------------------------------------------------------------------------------------
leave of-one-that-is-revoked
aico-keytool -q revoke shop --reason lost >"$WORK/revoke.log" 2>&1 || failed "revoke shop" "$WORK/revoke.log"
bus --as away --json sub 'mail/**' --for 3s >"$WORK/revoked.out" 2>"$WORK/revoked.err"
grep -q E_REVOKED "$WORK/revoked.out" && passed "mail of one that was revoked is told" || failed "mail of one that was revoked is told" "$WORK/revoked.out" "$WORK/revoked.err"
check "  nor shown" sh -c "! grep -q of-one-that '$WORK/revoked.out'"
finish
