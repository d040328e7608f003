#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Broker, publisher or reader is killed at random, again and again, in the middle of stored messages: all
# that the publisher's outbox accepted is delivered, none twice to a reader that lives, and what comes again to the
# next one is marked as a repetition.
# AICO_TEST_SCALE=full: 1,000 kills, as a run by hand; KILLS changes their number.
. "$(dirname "$0")/lib.sh"
: "${AICO_TEST_BIN:?names the folder with outbox-publisher}"

[ "${AICO_TEST_SCALE-}" = full ] && KILLS=${KILLS:-1000} BETWEEN=${BETWEEN:-200}
KILLS=${KILLS:-15} BETWEEN=${BETWEEN:-10} # so many messages from one kill to the next, at most
bus_up
for name in shop book; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool new boss --role admin -q 2>"$WORK/new.log" </dev/null || failed boss "$WORK/new.log"
aico-keytool rule set 's/**' --publish shop --subscribe book --store age=7d,count=10000000 --history -q \
    --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "a rule" "$WORK/rule.log"

: >"$WORK/accepted"
: >"$WORK/received"
RUN=0
publisher() { # COUNT
    RUN=$((RUN + 1))
    AICO_IDENTITY=shop "$AICO_TEST_BIN/outbox-publisher" s/a "run$RUN" "$1" >>"$WORK/accepted" 2>>"$WORK/publisher.err" </dev/null &
    PUB=$!
}
reader() {
    echo "another reader" >>"$WORK/received"
    aico-bus --as book --json sub s/a --durable d --since all --timeout 60s >>"$WORK/received" 2>>"$WORK/reader.err" </dev/null &
    READER=$!
}
kill_it() {
    kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}
lines() { wc -l <"$WORK/$1"; }
has_accepted() { [ "$(lines accepted)" -ge "$1" ] || ! kill -0 "$PUB" 2>/dev/null; }
track() { PIDS=("$BROKER_PID" "$PUB" "$READER"); }

# has_ended NAME PID: only who is killed ends, and who was just connecting when the broker was (exit status 6).
has_ended() {
    local status
    kill -0 "$2" 2>/dev/null && return 1
    wait "$2"
    status=$?
    [ "$status" -eq 6 ] || echo "$1 ended with $status: $(tail -n 1 "$WORK/$1.err")" >>"$WORK/ended"
}

# Nobody opens what was stored before its reader left a key, once its publisher is dead (docs/streams.md).
check_exit "the reader was there once" 0 aico-bus --as book sub s/a --for 1s
DIED=()
: >"$WORK/ended"
publisher 100000000
reader
track
for i in $(seq "$KILLS"); do
    until_true 60 has_accepted $(($(lines accepted) + 1 + RANDOM % BETWEEN)) || failed "something is accepted (kill $i)"
    case $((RANDOM % 3)) in
    0)
        kill_it "$BROKER_PID"
        broker_start || failed "the broker starts again" "$WORK/broker.err"
        DIED[0]=$((${DIED[0]-0} + 1))
        ;;
    1)
        kill_it "$PUB"
        publisher 100000000
        DIED[1]=$((${DIED[1]-0} + 1))
        ;;
    2)
        kill_it "$READER"
        reader
        DIED[2]=$((${DIED[2]-0} + 1))
        ;;
    esac
    has_ended publisher "$PUB" && publisher 100000000
    has_ended reader "$READER" && reader
    track
    [ "$FAILED" -eq 0 ] || break
    [ $((i % 100)) -ne 0 ] || echo "      $i kills, $(lines accepted) accepted, $(lines received) lines came"
done
kill_it "$PUB"
publisher 5
track
WAIT_S=120 check "the last publisher sends what is left and ends" wait_for "$PUB" 0
payloads() { sed -nE 's/.*"payload":"([^"]*)".*/\1/p' "$WORK/received"; }
all_came() { [ "$(sort -u "$WORK/accepted" | comm -23 - <(payloads | sort -u) | wc -l)" -eq 0 ]; }
until_true 120 all_came
check "all $(lines accepted) that were accepted came ($(payloads | wc -l) with repetitions)" all_came
all_came || { grep -oE '"(gap|unopened)":\{[^}]*' "$WORK/received"; sort -u "$WORK/accepted" | comm -23 - <(payloads | sort -u) | head -n 5; } | sed 's/^/      /'
firsts() { grep '"attempt":1[,}]' "$WORK/received" | sed -E 's/.*"payload":"([^"]*)".*/\1/'; }
check "none twice but where a repetition is marked" test -z "$(firsts | sort | uniq -d | head -n 5)"
again() { awk '/^another reader$/ {life++; next} !/"payload":/ {next} {sub(/.*"payload":"/, ""); sub(/".*/, "")} of[$0] == life {print} {of[$0] = life}' "$WORK/received"; }
check "none twice to one reader, whatever died beside it" test -z "$(again | head -n 5)"
check "nobody ended that was not killed" test ! -s "$WORK/ended"
[ ! -s "$WORK/ended" ] || sed 's/^/      /' "$WORK/ended"
check_exit "the ledger balances" 0 aico-bus --as boss ledger
echo "      killed: broker ${DIED[0]-0}, publisher ${DIED[1]-0}, reader ${DIED[2]-0}"
finish
