#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the bus must show, with the programs as they are: large inputs whole at several readers, floods in
# order or with every loss told, content nowhere where the broker could have it, refusals with reasons,
# revocation. AICO_TEST_SCALE=full takes the sizes that are meant for a run by hand.
# Runs alone: it measures times.
. "$(dirname "$0")/lib.sh"

LINES=20000 MIB=20 FLOOD=100000
: "${LIMIT_MS:=2000}" # a refusal takes no longer
case ${AICO_TEST_SCALE-} in
full) MIB=200 FLOOD=1000000 ;;
small) LINES=1000 MIB=2 FLOOD=5000 ;; # under valgrind
esac
export AICO_IDENTITY=cli WAIT_S=240
# start, or the end: without a reader there is nothing to wait for.
begin() {
    start "$@" && return
    failed "$1 gets ready" "$WORK/$1.err"
    finish
}
bus_up
for name in r1 r2 r3 visitor; do
    aico-keytool new "$name" --role reader -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool rule set 'wide/**' --publish cli --subscribe @reader --authenticity sender -q 2>"$WORK/rule.log" </dev/null ||
    failed "a rule" "$WORK/rule.log"
TCP=tcp://127.0.0.1:$PORT
until_true 5 aico-bus --as r1 --broker "$TCP" status >/dev/null 2>&1

# Begun before anything is said: everything that crosses the loopback device.
CAPTURE=
if [ "$(id -u)" -eq 0 ] && command -v tcpdump >/dev/null; then
    tcpdump -i lo -U -s 0 -B 65536 -w "$WORK/capture" "tcp port $PORT" >"$WORK/tcpdump.out" 2>"$WORK/tcpdump.err" &
    CAPTURE=$!
    PIDS+=("$CAPTURE")
    until_true 5 grep -q 'listening on lo' "$WORK/tcpdump.err" || failed "tcpdump" "$WORK/tcpdump.err"
fi

# Not counting what a reader that had all it wanted did not wait for.
dropped() {
    aico-bus status --json | grep -o '"dropped":{[^}]*}' | sed 's/"link lost":[0-9]*//' | grep -oE '[0-9]+' |
        awk '{ n += $1 } END { print n + 0 }'
}
sum() { sha256sum | cut -c 1-64; }

# --- a canary ------------------------------------------------------------------------------------------
CANARY=canary-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
begin canary1 aico-bus --as r1 --broker "$TCP" sub wide/canary/v1 --json --count 3
READER=$STARTED
begin answer aico-bus --as backend --broker "$TCP" reply logs/query/v1 --echo --count 1
ANSWER=$STARTED
check_exit "a secret is published" 0 aico-bus --broker "$TCP" pub wide/canary/v1 "$CANARY in a payload"
check_exit "  and in a header" 0 aico-bus --broker "$TCP" pub wide/canary/v1 x --header "h=$CANARY"
check_exit "  and in a large message" 0 bash -c "for i in {1..5000}; do echo '$CANARY'; done | aico-bus --broker '$TCP' pub wide/canary/v1"
check_exit "  and asked, and answered" 0 aico-bus --broker "$TCP" request logs/query/v1 "$CANARY in a question"
check "  the answer has it" grep -q "$CANARY" "$WORK/out"
check "the reader reads it" wait_for "$READER" 0
check "  everywhere" test "$(grep -o "$CANARY" "$WORK/canary1.out" | wc -l)" = 5002
wait_for "$ANSWER" 0
BROKER_KB=$(sed -n 's/^VmSize:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$BROKER_PID/status")
if [ "${BROKER_KB:-0}" -gt $((64 * 1024 * 1024)) ]; then
    # The shadow of a sanitizer: the image would have terabytes, and fill the disk.
    echo "skip  the broker's memory: built with a sanitizer"
elif [ "$(id -u)" -eq 0 ] && command -v gcore >/dev/null; then
    # The broker cannot be dumped by its own user; root can.
    check "the broker's memory is read" gcore -o "$WORK/image" "$BROKER_PID"
    check "  it knows the topic" grep -qa 'wide/canary/v1' "$WORK/image.$BROKER_PID"
    check "  and not the content" bash -c "! grep -qa '$CANARY' '$WORK/image.$BROKER_PID'"
    check "  nor any component's seed" bash -c "for key in '$AICO_HOME'/identities/*.key; do
        sed -n 's/^secret //p' \"\$key\" | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read().strip()))'; done >'$WORK/seeds'
        python3 -c 'import sys; seeds = open(sys.argv[1], \"rb\").read(); image = open(sys.argv[2], \"rb\").read()
assert len(seeds) >= 5 * 32
sys.exit(any(seeds[i:i+32] in image for i in range(0, len(seeds), 32)))' '$WORK/seeds' '$WORK/image.$BROKER_PID'"
    rm -f "$WORK/image.$BROKER_PID" "$WORK/seeds"
else
    echo "skip  the broker's memory: needs root and gcore"
fi
check "no file of the broker has the content" bash -c "! grep -rqa '$CANARY' '$AICO_HOME' '$WORK/broker.out' '$WORK/broker.err'"
check "  and it left no core file" bash -c "! find '$AICO_HOME' . -maxdepth 1 -name 'core*' | grep -q ."

# --- large things, whole, at three readers ---------------------------------------------------------------
# three TITLE COUNT FILE PUB-OPTIONS...: what every one of three readers got is what went in.
three() {
    local title=$1 count=$2 file=$3 i pids=()
    shift 3
    for i in 1 2 3; do
        begin "wide$i" aico-bus --as "r$i" $([ "$i" = 2 ] && echo --broker "$TCP") sub wide/load/v1 --raw --count "$count" --slow block
        pids+=("$STARTED")
    done
    check "$title" bash -c "aico-bus pub wide/load/v1 --json $* <'$file' >'$WORK/pub.json'"
    check "  all acknowledged" grep -q "\"published\":$count,\"acknowledged\":$count,\"refused\":0," "$WORK/pub.json"
    for i in 1 2 3; do
        check "  reader $i has all of it" wait_for "${pids[i - 1]}" 0
    done
}
seq 1 "$LINES" | sed 's/^/2026-11-20 22:00:00 status installed package:amd64 1.2./' >"$WORK/lines"
three "$LINES lines" "$LINES" "$WORK/lines" --lines
for i in 1 2 3; do check "  SHA-256 of reader $i" cmp "$WORK/lines" "$WORK/wide$i.out"; done
check "  nothing was dropped" test "$(dropped)" = 0

head -c "$((MIB * 1048576))" /dev/urandom >"$WORK/binary"
three "$MIB MiB of binary in messages of 64 KiB" "$((MIB * 16))" "$WORK/binary" --chunk 64KiB
for i in 1 2 3; do
    # Each message comes with a newline behind it.
    python3 -c '
import sys
while piece := sys.stdin.buffer.read(65537):
    sys.stdout.buffer.write(piece[:65536])' <"$WORK/wide$i.out" >"$WORK/wide$i.bin"
    check "  SHA-256 of reader $i" test "$(sum <"$WORK/wide$i.bin")" = "$(sum <"$WORK/binary")"
    rm -f "$WORK/wide$i.bin" "$WORK/wide$i.out"
done
check "  nothing was dropped" test "$(dropped)" = 0
rm -f "$WORK/binary"

# --- as fast as possible, one reader ---------------------------------------------------------------------
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
print(f"{came} came, {missing} reported missing")
assert came + missing == want, f"{came} + {missing} != {want}"
PY
# flood TITLE POLICY
flood() {
    local reader
    begin flood aico-bus --as r1 sub wide/flood/v1 --json --slow "$2"
    reader=$STARTED
    check "$1" bash -c "seq 1 $FLOOD | sed 's/^/line /' | aico-bus pub wide/flood/v1 --lines --json >'$WORK/pub.json'"
    all_there() { python3 "$WORK/order.py" "$FLOOD" <"$WORK/flood.out" >"$WORK/order" 2>&1; }
    check "  all came in order, or the missing ones were counted" until_true "$WAIT_S" all_there
    sed 's/^/      /' "$WORK/order" "$WORK/pub.json"
    kill -TERM "$reader"
    check "  the reader ends" wait_for "$reader" 143
}
flood "$FLOOD lines as fast as possible" drop-old
flood "$FLOOD lines at the pace of the reader" block
check "  none was missing" grep -q " 0 reported missing" "$WORK/order"

# --- the loopback, so far --------------------------------------------------------------------------------
if [ -n "$CAPTURE" ]; then
    check_exit "the capture" 0 bash -c "aico-bus --broker '$TCP' pub wide/canary/v1 '$CANARY at the end'"
    kill -INT "$CAPTURE"
    check "tcpdump ends" wait_for "$CAPTURE" 0
    check "  it has the handshakes" grep -qa 'CURVE' "$WORK/capture"
    check "  and at least what was sent" test "$(stat -c %s "$WORK/capture")" -gt $((MIB * 1048576))
    check "  not the content" bash -c "! grep -qa '$CANARY' '$WORK/capture'"
    check "  not the topic" bash -c "! grep -qa 'wide/canary/v1' '$WORK/capture'"
    check "  no envelope in clear" bash -c "! grep -qa 'AICO-MSG' '$WORK/capture'"
    rm -f "$WORK/capture"
else
    echo "skip  the loopback: needs root and tcpdump"
fi

# --- refusals: each within 2 s, one line, with its repair ------------------------------------------------
repair() { grep -Eq '; |run: |aico-keytool ' "$WORK/err"; }
check_exit "a denied topic is exit 4" 4 aico-bus --as r1 pub wide/load/v1 hello
check "  the rule is named" grep -q 'rule wide/\*\*' "$WORK/err"
check "  and a repair" repair
check_exit "no responder is exit 8" 8 aico-bus request system/status/v1
check "  with a repair" repair
check "a key is revoked" aico-keytool revoke r3 --reason test -q
revoked() { aico-bus --as r3 status >"$WORK/out" 2>"$WORK/err"; [ $? -eq 5 ]; }
until_true 1 revoked
check_exit "a revoked key is exit 5" 5 aico-bus --as r3 status
check "  with a repair" repair
check_exit "no broker is exit 6" 6 aico-bus status --broker tcp://127.0.0.1:1
check "  with a repair" repair

# --- revoked in the middle -------------------------------------------------------------------------------
begin stays aico-bus --as r1 sub wide/live/v1 --raw --count "$LINES" --slow block
STAYS=$STARTED
begin leaves aico-bus --as visitor --broker "$TCP" sub wide/live/v1 --raw
LEAVES=$STARTED
mkfifo "$WORK/feed"
aico-bus pub wide/live/v1 --lines <"$WORK/feed" >"$WORK/live.out" 2>"$WORK/live.err" &
LIVE=$!
PIDS+=("$LIVE")
exec 8>"$WORK/feed"
half=$((LINES / 2))
head -n "$half" "$WORK/lines" >&8
check "a visitor reads along" until_true 30 bash -c "[ \$(wc -l <'$WORK/leaves.out') -gt 0 ]"
at=$(now_ms)
check "it is revoked" aico-keytool revoke visitor --reason test -q
done_at=$(now_ms)
check "  cut off with 5" wait_for "$LEAVES" 5
took=$(($(now_ms) - done_at))
check "  within a second ($took ms after the command, $(($(now_ms) - at)) ms in all)" test "$took" -lt 1000
tail -n +"$((half + 1))" "$WORK/lines" >&8
exec 8>&-
check "the publisher lost nothing" wait_for "$LIVE" 0
check "the other reader neither" wait_for "$STAYS" 0
check "  every line" cmp "$WORK/lines" "$WORK/stays.out"
check "  nothing that was said later reached the revoked" test "$(wc -l <"$WORK/leaves.out")" -le "$half"
check_exit "it cannot come back: exit 5" 5 aico-bus --as visitor --broker "$TCP" sub wide/live/v1
check "the broker ends in order" broker_stop
finish
