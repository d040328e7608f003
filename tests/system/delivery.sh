#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Delivery kinds with the programs as they are: what lives too long, and what becomes of everything when
# the broker is killed: accepted = delivered + named lost, and nothing twice. AICO_TEST_SCALE=full kills
# it more often.
ROUNDS=3 LINES=400
[ "${AICO_TEST_SCALE-}" != full ] || ROUNDS=25 LINES=4000
SETTINGS='security:
  transport:
    keepalive_interval: 10
    synchrony_bound: 1'
. "$(dirname "$0")/lib.sh"
export AICO_IDENTITY=cli LIMIT_MS=60000 # nothing here is a matter of time

begin() {
    start "$@" && return
    failed "$1 gets ready" "$WORK/$1.err"
    finish
}
rule() { aico-keytool -q rule set "$@" || failed "a rule for $1"; }
home_new || { failed "a home" "$WORK/init.out"; finish; }
for name in r1 r2 r3; do
    aico-keytool -q new "$name" --role reader || failed "$name"
done
rule 'd/**' --publish cli,backend --subscribe @reader,cli
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }

# What a reader was told: lines that came, in order and none twice, and how many are named missing.
cat >"$WORK/account.py" <<'PY'
import json, sys
want, came, missing, last = int(sys.argv[1]), 0, 0, 0
for line in sys.stdin:
    record = json.loads(line)
    if "gap" in record:
        missing += record["gap"]["count"]
        continue
    number = int(record["payload"].split()[-1])
    assert number > last, f"{number} after {last}"
    last, came = number, came + 1
print(f"{came} came, {missing} named missing")
assert came + missing == want, f"{came} + {missing} != {want}"
PY
accounted() { python3 "$WORK/account.py" "$2" <"$WORK/$1.out" >"$WORK/account" 2>&1; } # READER PUBLISHED
came() { [ "$(grep -c '"payload"' "$WORK/$1.out")" -ge "$2" ]; }                      # READER COUNT

# --- time to live ----------------------------------------------------------------------------------------
# feed N NAME ARGS...: aico-bus pub --lines as NAME, of what is written to descriptor N.
feed() {
    local n=$1 name=$2
    shift 2
    rm -f "$WORK/feed.$n"
    mkfifo "$WORK/feed.$n"
    aico-bus --as "$name" pub "$@" --lines <"$WORK/feed.$n" >"$WORK/pub.$n.out" 2>"$WORK/pub.$n.err" &
    PIDS+=("$!")
    eval "FEED$n=$! && exec $n>'$WORK/feed.$n'"
}
begin late aico-bus --as r1 sub 'd/ttl/**' --json
LATE=$STARTED
feed 6 cli d/ttl/v1 --ttl 6s
feed 7 backend d/ttl/v1
echo first >&6
echo first >&7
check "two publishers are read" until_true 30 came late 2
stand_still "$LATE"
printf 'gone\ngone\ngone\n' >&6
echo kept >&7
taken() { [ "$(aico-bus --as r2 status | sed -n 's/^published *//p')" -ge 6 ]; }
check "  six are on their way" until_true 60 taken
TAKEN_MS=$(now_ms)
are_over() { [ "$(now_ms)" -gt $((TAKEN_MS + 7000)) ]; }
check "  their time, and the difference of clocks that is allowed, are over" until_true 60 are_over
kill -CONT "$LATE"
check "a reader that could not read meanwhile gets what is still good" until_true 30 grep -q kept "$WORK/late.out"
expired() {
    [ "$(grep -o '"gap":{[^}]*' "$WORK/late.out" | grep E_EXPIRED | grep -o '"count":[0-9]*' | cut -d: -f2 |
        awk '{ n += $1 } END { print n + 0 }')" = 3 ]
}
until_true 30 expired && passed "  and is told of the rest by name" ||
    failed "  and is told of the rest by name" "$WORK/late.out" "$WORK/late.err"
check "  and sees none of it" bash -c "! grep '\"payload\":\"gone' '$WORK/late.out'"
exec 6>&- 7>&-
check "  the publishers end" wait_for "$FEED6" 0
check "  both" wait_for "$FEED7" 0
kill -TERM "$LATE"
check "  the reader ends" wait_for "$LATE" 143
check_exit "no time is a mistake" 2 aico-bus pub d/ttl/v1 x --ttl 0s

# --- queue groups ----------------------------------------------------------------------------------------
begin job-r1 aico-bus --as r1 sub 'd/job/**' --json --queue workers
STAYS=$STARTED
begin job-r2 aico-bus --as r2 sub 'd/job/**' --json --queue workers
DIES=$STARTED
begin watch aico-bus --as r3 sub 'd/job/**' --json
WATCH=$STARTED
feed 6 cli d/job/v1
for i in {1..20}; do # one by one: a busy publisher seals many jobs as one, for one member
    echo "job $i" >&6
    until_true 30 came watch "$i"
done
seq 21 100 | sed 's/^/job /' >&6
jobs_of() { grep -ho '"payload":"job [0-9]*"' "$@"; }
shared() {
    came watch "$1" && [ "$(jobs_of "$WORK"/job-r[12].out | sort -u | wc -l)" = "$1" ] &&
        [ "$(jobs_of "$WORK"/job-r[12].out | wc -l)" = "$1" ]
}
check "each of 100 messages goes to one of two members" until_true 60 shared 100
check "  both have some" bash -c "grep -q payload '$WORK/job-r1.out' && grep -q payload '$WORK/job-r2.out'"
check "  and what the other got is no gap" bash -c "! grep -q '\"gap\"' '$WORK'/job-r[12].out"
kill -KILL "$DIES"
check "one is killed" wait_for "$DIES" 137
seq 101 150 | sed 's/^/job /' >&6
exec 6>&-
check "  the publisher ends" wait_for "$FEED6" 0
all_jobs() {
    local has lost
    has=$(jobs_of "$WORK"/job-r[12].out | sort -u | wc -l)
    lost=$(grep -o '"gap":{[^}]*' "$WORK/job-r1.out" | grep -o '"count":[0-9]*' | cut -d: -f2 | awk '{ n += $1 } END { print n + 0 }')
    [ $((has + lost)) -ge 150 ] && [ "$has" -ge 100 ]
}
check "  the other goes on with its share, or what is lost is named to it" until_true 60 all_jobs
check "  nothing is done twice" test "$(jobs_of "$WORK"/job-r[12].out | sort | uniq -d | wc -l)" = 0
check "  who reads all has all" came watch 150
kill -TERM "$WATCH" "$STAYS"
check "  it ends" wait_for "$WATCH" 143
check "  and the member" wait_for "$STAYS" 143

# --- retained values -------------------------------------------------------------------------------------
begin early aico-bus --as r1 sub 'd/value/**' --json
EARLY=$STARTED
feed 6 cli d/value/v1 --retain --for 1h
echo "value 1" >&6
echo "value 2" >&6
exec 6>&-
check "a reader gets values as they come" until_true 30 came early 2
check_exit "who subscribes later gets the last one" 0 aico-bus --as r2 sub d/value/v1 --json --count 1 --for 20s
check "  that one" grep -q '"payload":"value 2"' "$WORK/out"
check "  and the others do not get it again" test "$(grep -c payload "$WORK/early.out")" = 2
kill -KILL "$BROKER_PID"
check "the broker is killed" wait_for "$BROKER_PID" 137
broker_start || { failed "another broker" "$WORK/broker.err"; finish; }
check "  the publisher comes back" until_true 60 grep -q "connected: cli " "$WORK/broker.err"
check "  and the reader" until_true 60 grep -q "connected: r1 " "$WORK/broker.err"
check_exit "  who comes then gets the value still" 0 aico-bus --as r2 sub d/value/v1 --json --count 1 --for 20s
check "  and nobody gets it twice" test "$(grep -c payload "$WORK/early.out")" = 2
kill -TERM "$FEED6"
check "  the publisher ends" wait_for "$FEED6" 143
check_exit "without it the value is named as one that cannot be read" 9 aico-bus --as r2 sub d/value/v1 --json --count 1 --for 5s
check "  by cause" grep -q E_PEER_AWAY "$WORK/out"
kill -TERM "$EARLY"
check "  the reader ends" wait_for "$EARLY" 143

# --- last wills ------------------------------------------------------------------------------------------
begin heir aico-bus --as r1 sub 'd/will/**' --json
HEIR=$STARTED
feed 6 cli d/will/talk --will 'd/will/v1=cli is gone'
feed 7 backend d/will/talk --will 'd/will/v1=backend is gone'
echo "alive" >&6
echo "alive" >&7
check "two publishers that have made their will are read" until_true 30 came heir 2
exec 7>&-
check "  one ends in order" wait_for "$FEED7" 0
kill -KILL "$FEED6"
check "  one is killed" wait_for "$FEED6" 137
exec 6>&-
check "  its will is published" until_true 30 grep -q '"sender":"cli".*"payload":"cli is gone"' "$WORK/heir.out"
check "  and not that of the other" bash -c "! grep -q 'backend is gone' '$WORK/heir.out'"
check "  and nothing is missing" bash -c "! grep -q '\"gap\"' '$WORK/heir.out'"
kill -TERM "$HEIR"
check "  the reader ends" wait_for "$HEIR" 143

# --- kill -9 of the broker -------------------------------------------------------------------------------
begin survivor aico-bus --as r1 sub 'd/kill/**' --json
feed 8 cli d/kill/v1 --json --timeout 60s
NEXT=1
say() { seq "$NEXT" $((NEXT + $1 - 1)) | sed 's/^/line /' >&8; NEXT=$((NEXT + $1)); }
for round in $(seq "$ROUNDS"); do
    before=$(grep -c '"payload"' "$WORK/survivor.out")
    say "$LINES"
    check "round $round: messages come" until_true 60 came survivor $((before + 1))
    say "$LINES"
    kill -KILL "$BROKER_PID"
    check "  the broker is killed" wait_for "$BROKER_PID" 137
    say "$LINES" # while there is none
    broker_start 8>&- || { failed "  another broker" "$WORK/broker.err"; finish; }
    check "  the reader comes back by itself" until_true 60 grep -q "connected: r1 " "$WORK/broker.err"
done
say "$LINES"
exec 8>&-
WAIT_S=120 check "the publisher ends: all of it acknowledged" wait_for "$FEED8" 0
PUBLISHED=$((NEXT - 1))
check "  $PUBLISHED messages" grep -q "\"published\":$PUBLISHED,\"acknowledged\":$PUBLISHED,\"refused\":0," "$WORK/pub.8.out"
check "each came once, in order, or is named missing" until_true 60 accounted survivor "$PUBLISHED"
sed 's/^/      /' "$WORK/account"
check "  most of them came" came survivor $((PUBLISHED / 4))

# --- connection_retry_limit of a client that runs --------------------------------------------------------
sed 's/synchrony_bound: 1/&\n    handshake_timeout: 1\n    connection_retry_limit: 2/' "$AICO_HOME/security.yaml" >"$WORK/limited.yaml"
chmod 600 "$WORK/limited.yaml"
begin limited aico-bus --as r2 --config "$WORK/limited.yaml" sub 'd/**'
LIMITED=$STARTED
kill -KILL "$BROKER_PID"
check "the broker is killed for good" wait_for "$BROKER_PID" 137
WAIT_S=60 check "who has a limit of attempts gives up: exit 6" wait_for "$LIMITED" 6
check "  and says why" grep -q . "$WORK/limited.err"
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }
check "who has not comes back" until_true 60 grep -q "connected: r1 " "$WORK/broker.err"
check_exit "  with what is new" 0 aico-bus pub d/kill/v1 "line $((PUBLISHED + 1))" --timeout 20s
check "  and reads on" until_true 60 accounted survivor $((PUBLISHED + 1))

check "the broker ends in order" broker_stop
finish
