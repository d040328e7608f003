#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A reader that is stopped, under each policy: the others lose nothing and do not wait, the broker holds no
# more than outbox_limit for it, and when it goes on it is told exactly what it missed.
# Not under sanitizers: it bounds memory.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/rogue_lib.sh"

LINES=40000 # of 500 bytes: more than windows, sockets and the outbox hold together
SETTINGS='  outbox_limit: 1MiB'
export WAIT_S=120
bus_up
member r1 r2
rule 'wide/**' cli
rule 'quiet/**' backend
export AICO_IDENTITY=cli
until_true 5 aico-bus --as r2 status >"$WORK/status.out" 2>&1
seq 1 $LINES | awk '{ printf "%0490d line %d\n", 0, $1 }' >"$WORK/lines"

cat >"$WORK/order.py" <<'PY'
# Every line in order, or exactly as many missing as were reported: sys.argv[1] of them.
import json, sys
want, came, missing, last = int(sys.argv[1]), 0, 0, 0
for line in sys.stdin:
    record = json.loads(line)
    if "gap" in record:
        missing += record["gap"]["count"]
        continue
    number = int(record["payload"].split()[-1])
    assert number > last, f"{number} after {last}"
    last = number
    came += 1
print(f"{came} came, {missing} reported missing, {want} published")
assert came + missing == want, f"{came} + {missing} != {want}"
PY
balances() { python3 "$WORK/order.py" $LINES <"$WORK/$1.out" >"$WORK/$1.order" 2>&1; }
has_first() { [ "$(wc -l <"$WORK/$1.out")" -ge 1 ]; }
# The slowest reader in the status of an administrator; the publisher is one, so it is asked as another.
slowest() { aico-bus --as admin2 status --json | grep -o '"slow":\[{"name":"[^"]*"' | cut -d'"' -f6; }
is_slowest() { [ "$(slowest)" = "$1" ]; }
aico-keytool new admin2 --role admin -q 2>"$WORK/new.log" </dev/null || failed "admin2" "$WORK/new.log"
until_true 5 aico-bus --as admin2 status >"$WORK/status.out" 2>&1

# publisher NAME: lines written to descriptor 8 are published until it is closed.
publisher() {
    mkfifo "$WORK/$1.feed"
    aico-bus pub wide/x --lines --timeout 100s <"$WORK/$1.feed" >"$WORK/$1.pub" 2>"$WORK/$1.puberr" &
    PUBLISHER=$!
    PIDS+=("$PUBLISHER")
    exec 8>"$WORK/$1.feed"
}

# stopped POLICY: r1 has read the first line when it is stopped; then come the others, which r2 reads.
stopped() {
    local policy=$1 before at
    begin "$policy" aico-bus --as r1 sub wide/x --json --slow "$policy"
    SLOW=$STARTED
    begin "other-$policy" aico-bus --as r2 sub wide/x --json --slow block --count $LINES
    OTHER=$STARTED
    publisher "$policy"
    head -n 1 "$WORK/lines" >&8
    check "$policy: a reader has the first line" until_true 30 has_first "$policy"
    kill -STOP "$SLOW"
    before=$(rss_kb "$BROKER_PID")
    at=$(now_ms)
    tail -n +2 "$WORK/lines" >&8
    check "  while it stands still the other reader has all" wait_for "$OTHER" 0
    echo "      $LINES lines in $(($(now_ms) - at)) ms"
    check "    in order" balances "other-$policy"
    check "    nothing missing" grep -q ' 0 reported missing' "$WORK/other-$policy.order"
    GROWN=$(($(rss_kb "$BROKER_PID") - before))
    check "  the broker has grown by $GROWN KiB, which is less than 16 MiB" test "$GROWN" -lt 16384
}
ends() {
    exec 8>&-
    check "  the publisher lost nothing" wait_for "$PUBLISHER" 0
    kill -TERM "$SLOW"
    check "  the reader ends" wait_for "$SLOW" 143
}

for policy in drop-old drop-new; do
    stopped "$policy"
    check "  it is the slowest in the status" is_slowest r1
    check "    also for people" bash -c "aico-bus --as admin2 status | grep -A1 '^SLOW READER' | grep -q '^r1 '"
    kill -CONT "$SLOW"
    check "  when it goes on, what came and what is missing make up the whole" until_true 60 balances "$policy"
    sed 's/^/      /' "$WORK/$policy.order"
    check "    and something was missing" bash -c "! grep -q ' 0 reported missing' '$WORK/$policy.order'"
    ends
done

stopped disconnect
check "  the broker has cut it off" until_true 20 grep -q 'E_SLOW' "$WORK/broker.err"
kill -CONT "$SLOW"
check "  when it goes on it is told why" until_true 60 grep -q 'E_SLOW' "$WORK/disconnect.err"
ends

# With block the publisher waits, and nobody else.
begin block aico-bus --as r1 sub wide/x --json --slow block
SLOW=$STARTED
publisher block
head -n 1 "$WORK/lines" >&8
check "block: a reader has the first line" until_true 30 has_first block
kill -STOP "$SLOW"
before=$(rss_kb "$BROKER_PID")
tail -n +2 "$WORK/lines" >&8 &
PIDS+=($!)
check "  while it stands still it becomes the slowest" until_true 60 is_slowest r1
begin quiet aico-bus --as r2 sub quiet/x --count 1 --raw
QUIET=$STARTED
check "  another topic is not held up" aico-bus --as backend pub quiet/x hello
check "    nor its reader" wait_for "$QUIET" 0
check "  its publisher waits" kill -0 "$PUBLISHER"
check "    and says for whom" until_true 60 grep -q 'pub: waiting for r1, which reads slowly' "$WORK/block.puberr"
check "    once" test "$(grep -c 'waiting for' "$WORK/block.puberr")" = 1
GROWN=$(($(rss_kb "$BROKER_PID") - before))
check "  the broker has grown by $GROWN KiB, which is less than 16 MiB" test "$GROWN" -lt 16384
kill -CONT "$SLOW"
check "  when it goes on it has all" until_true 60 balances block
check "    nothing is missing" grep -q ' 0 reported missing' "$WORK/block.order"
ends
check "the broker ends in order" broker_stop
finish
