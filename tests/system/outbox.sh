#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The outbox with real processes: what a publisher accepted arrives, once and in order, whoever is killed
# and whenever; without a broker it waits in a file that nobody can read; the file has its limit.
. "$(dirname "$0")/lib.sh"
: "${AICO_TEST_BIN:?names the folder with outbox-publisher}"

LIMIT_MS=30000 # nothing here is about speed
bus_up
for name in shop book; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool new boss --role admin -q 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
rule() { aico-keytool rule set "$@" -q --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "rule $1" "$WORK/rule.log"; }
rule 's/**' --publish shop --subscribe book --store age=7d,count=100000 --history
rule 'live/**' --publish shop --subscribe book
rule 'pair/**' --publish shop --subscribe book --seal channel
until_true 20 aico-bus --as boss status >/dev/null 2>&1

bus() { timeout 60 aico-bus "$@" </dev/null; }
lines() { wc -l <"$1"; }
is_gone() { local peers; peers=$(aico-bus --as boss peers 2>/dev/null) && ! grep -q "^$1 " <<<"$peers"; }
shop_is_gone() { is_gone shop; }
book_is_gone() { is_gone book; }

# publisher TOPIC TAG COUNT: in the background, what it accepted in $WORK/accepted
publisher() {
    AICO_IDENTITY=shop "$AICO_TEST_BIN/outbox-publisher" "$@" >>"$WORK/accepted" 2>>"$WORK/publisher.err" </dev/null &
    PUB=$!
    PIDS+=("$PUB")
}
# Until it has accepted N more, or has ended.
has_accepted() { [ "$(lines "$WORK/accepted")" -ge "$1" ] || ! kill -0 "$PUB" 2>/dev/null; }

# killed_at_random TOPIC TAG: kills it between two of its messages, whatever it is doing then.
killed_at_random() {
    publisher "$1" "$2" 100000
    until_true 60 has_accepted $(($(lines "$WORK/accepted") + 1 + RANDOM % 20))
    kill -KILL "$PUB" 2>/dev/null
    wait "$PUB" 2>/dev/null
}

# came_once_in_order RECEIVED KILLS: of what was accepted all came; besides at most the one message of each
# killed publisher that was written and not yet acknowledged to its caller; none twice; in order.
came_once_in_order() {
    awk -v kills="$2" '
        NR == FNR { order[$0] = ++wanted; next }
        seen[$0]++ { print "twice: " $0; bad = 1 }
        !($0 in order) { extra++; next }
        order[$0] <= last { print "out of order: " $0; bad = 1 }
        { last = order[$0]; came++ }
        END {
            if (came != wanted) { print came + 0 " of " wanted " came"; bad = 1 }
            for (text in order) if (!(text in seen)) print "did not come: " text
            if (extra > kills) { print extra " came that were not accepted"; bad = 1 }
            exit bad
        }' "$WORK/accepted" "$1"
}
all_came() { [ "$(sort -u "$1" | grep -cxFf "$WORK/accepted")" -ge "$(lines "$WORK/accepted")" ]; }

# --- stored: publisher and broker are killed ------------------------------------------------------

: >"$WORK/accepted"
start reader aico-bus --as book sub s/a --durable d --since all --raw || failed "the reader starts"
READER=$STARTED
for i in 1 2 3 4 5 6; do
    case $i in
    2 | 5) # the broker dies first, and the publisher goes on without it
        publisher s/a "run$i" 100000
        until_true 60 has_accepted $(($(lines "$WORK/accepted") + 1 + RANDOM % 10))
        kill -KILL "$BROKER_PID"
        wait "$BROKER_PID" 2>/dev/null
        until_true 60 has_accepted $(($(lines "$WORK/accepted") + 1 + RANDOM % 10))
        kill -KILL "$PUB"
        wait "$PUB" 2>/dev/null
        broker_start || failed "the broker starts again" "$WORK/broker.err"
        ;;
    *) killed_at_random s/a "run$i" ;;
    esac
    until_true 60 shop_is_gone || failed "the broker notices that the publisher is gone"
done
publisher s/a last 5
WAIT_S=90 check "the last publisher sends what is left and ends" wait_for "$PUB" 0
[ -s "$WORK/publisher.err" ] && sed 's/^/      /' "$WORK/publisher.err" | tail -3
until_true 60 all_came "$WORK/reader.out"
check "all that was accepted came, once and in order, through 6 kills of the publisher and 2 of the broker" \
    came_once_in_order "$WORK/reader.out" 6
echo "      $(lines "$WORK/accepted") accepted, $(lines "$WORK/reader.out") came"
[ "$(lines "$WORK/accepted")" -ge 30 ] && passed "and that was not little" || failed "and that was not little"

# --- live: the publisher is killed ----------------------------------------------------------------

: >"$WORK/accepted"
kill -TERM "$READER"
wait "$READER" 2>/dev/null
until_true 60 book_is_gone || failed "the broker notices that the reader is gone"
start live aico-bus --as book sub live/a --raw || failed "the live reader starts"
READER=$STARTED
for i in 1 2 3; do
    killed_at_random live/a "live$i"
    until_true 60 shop_is_gone || failed "the broker notices that the publisher is gone"
done
publisher live/a last 5
WAIT_S=90 check "the last live publisher ends" wait_for "$PUB" 0
until_true 60 all_came "$WORK/live.out"
check "live messages came once and in order through 3 kills of the publisher" \
    came_once_in_order "$WORK/live.out" 3

# --- without a broker -----------------------------------------------------------------------------

kill -TERM "$READER"
wait "$READER" 2>/dev/null
until_true 60 shop_is_gone
kill -KILL "$BROKER_PID"
wait "$BROKER_PID" 2>/dev/null
printf 'canary-one\ncanary-two\n' | timeout 60 aico-bus --as shop pub s/b --lines --outbox --timeout 1s >"$WORK/off.out" 2>"$WORK/off.err"
status=$?
[ $status -eq 6 ] && grep -q 'nobody listens there' "$WORK/off.err" && grep -q '2 messages stay in the outbox' "$WORK/off.err" &&
    passed "without a broker what was taken stays, and that is said" || failed "without a broker (exit $status)" "$WORK/off.err"
if grep -qF canary -r "$AICO_HOME/state/shop"; then failed "the file shows nothing of it"; else passed "the file shows nothing of it"; fi
check_exit "a full outbox refuses" 10 aico-bus --as shop pub s/b "$(printf 'x%.0s' $(seq 4000))" --outbox --outbox-limit 2KiB --timeout 1s
check_exit "not for one component" 2 aico-bus --as shop pub s/b x --outbox --to book
check_exit "not where every reader has its own seal" 2 aico-bus --as shop pub pair/b x --outbox
check_exit "the limit needs an outbox" 2 aico-bus --as shop pub s/b x --outbox-limit 1MiB
broker_start || failed "the broker starts again" "$WORK/broker.err"
check "the next one sends it" bus --as shop pub s/b --lines --outbox
bus --as book sub s/b --since all --count 2 --for 30s --raw >"$WORK/b.out" 2>"$WORK/b.err"
printf 'canary-one\ncanary-two\n' | cmp -s - "$WORK/b.out" &&
    passed "and it arrives as it was" || failed "and it arrives as it was" "$WORK/b.out" "$WORK/b.err"
finish
