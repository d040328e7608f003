#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# aico_peer, written from docs/ alone, and our programs on one running bus: each reads and answers
# what the other sealed. The settings make keys step and reports come within a second, and a slow
# reader lose something.
# Exits 77, a skip for ctest, where the Debian packages it needs are missing.
PYTHON=${PYTHON:-/usr/bin/python3}
if ! "$PYTHON" -c 'import nacl.bindings, zmq' 2>/dev/null; then
    echo "skipped: python3-nacl or python3-zmq is not installed (tools/test installs them)"
    exit 77
fi
HERE=$(cd "$(dirname "$0")" && pwd)
SETTINGS='
  outbox_limit: 524288
security:
  transport:
    group_epoch: 1
    keepalive_interval: 1
'
. "$HERE/../system/lib.sh"
set -o pipefail
export PYTHONPATH=$HERE PYTHONDONTWRITEBYTECODE=1

peer() { timeout 60 "$PYTHON" -m aico_peer "$@" | tee "$WORK/peer.out"; }
# The peer in the background: `start` runs a program, not a function.
cat >"$WORK/aico-peer" <<EOF
#!/bin/sh
exec timeout 60 $PYTHON -m aico_peer "\$@"
EOF
chmod +x "$WORK/aico-peer"

# holds NAME PATTERN: that program printed it.
holds() { grep -q -- "$2" "$WORK/$1.out"; }
# counts NAME N PATTERN: in N lines.
counts() {
    local n
    n=$(grep -c -- "$3" "$WORK/$1.out")
    [ "$n" -eq "$2" ] || { echo "$n lines instead of $2"; cat "$WORK/$1.out" "$WORK/$1.err"; return 1; }
}
# missing NAME: the sum of its gaps.
missing() { sed -n 's/^{"gap".*"count": *\([0-9]*\).*/\1/p' "$WORK/$1.out" | paste -sd+ | bc; }

# ends PID: a program that goes on until it is told, gone when this returns.
ends() {
    kill -TERM "$1" 2>/dev/null
    timeout 20 tail --pid="$1" -f /dev/null
}

# c_reads NAME COUNT FILTER...: aico-bus sub as backend.
c_reads() { start "$1" aico-bus --as backend sub --json --for 20s --count "${@:2}"; }
# The peer reads as frontend.
py_reads() { start "$1" "$WORK/aico-peer" --as frontend sub --count "${@:2}"; }

check "the peer agrees with the test vectors" peer vectors "$HERE/../vectors/session-v1.json"

home_new || { failed "a home"; finish; }
registry_version() { sed -n 's/^version //p' "$AICO_HOME/registry"; }
# The broker has the registry of version $SAYS.
under_new() { aico-bus --as cli status --json | grep -q "$SAYS"; }
rules() { aico-keytool -q rule set "$@" >"$WORK/out" 2>&1; }
rules 'solo/**' --publish frontend,backend --subscribe frontend,backend --before 'logs/**'
rules 'signed/**' --publish '*' --subscribe '*' --authenticity signature --before 'logs/**'
rules 'shared/**' --publish '*' --subscribe '*' --authenticity group --before 'logs/**'
rules 'fresh/**' --publish '*' --subscribe '*' --freshness 5 --padding padme --before 'logs/**'
rules 'direct/**' --publish '*' --subscribe '*' --seal channel --before 'logs/**'
rules 'narrow/**' --publish cli --subscribe backend --before 'logs/**'
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }

# rule, what must be due: 0 none, 1 vector, 2 signature
for RULE in solo:0:false system:1:false signed:2:false shared:0:false fresh:1:true; do
    IFS=: read -r RULE TRAILER PADDED <<<"$RULE"
    c_reads "$RULE-c" 2 "$RULE/**"
    READER=$STARTED
    check "$RULE: the peer publishes" peer --as frontend pub "$RULE/a/v1" "to C" 'and \ again' --header of=peer
    check "$RULE:   aico-bus reads both" wait_for "$READER" 0
    check "$RULE:   what was said" holds "$RULE-c" '"payload":"to C","headers":{"of":"peer"}'
    py_reads "$RULE-p" 2 "$RULE/**"
    READER=$STARTED
    check "$RULE: aico-bus publishes" bash -c "printf 'to P\nagain\n' | aico-bus --as backend pub $RULE/b/v1 --lines --header of=C"
    check "$RULE:   the peer reads both" wait_for "$READER" 0
    check "$RULE:   what was said" holds "$RULE-p" '"payload": "to P", "headers": {"of": "C"}'
    check "$RULE:   with the proof that is due" holds "$RULE-p" "\"from\": \"backend\", \"trailer\": $TRAILER, \"format\": [12], \"padded\": $PADDED"
done

c_reads batch 3 'system/**'
READER=$STARTED
check "a batch of the peer" peer --as frontend pub system/a/v1 one two three --batch
check "  is three messages" wait_for "$READER" 0
check "  in order" test "$(sed 's/.*"payload":"\([a-z]*\)".*/\1/' "$WORK/batch.out" | paste -sd' ')" = "one two three"

c_reads epochs 4 'conversation/**'
READER=$STARTED
check "three epochs on after each message" peer --as frontend pub conversation/a/v1 1 2 3 4 --step 3
check "  are followed" wait_for "$READER" 0
check "  without a gap" counts epochs 0 '"gap"'

c_reads gap 3 'conversation/**'
READER=$STARTED
check "the peer loses two numbers" peer --as frontend pub conversation/a/v1 1 2 3 --lose 2
check "  aico-bus reads the others" wait_for "$READER" 0
check "  and reports two" test "$(missing gap)" = 2

start tail aico-bus --as backend sub --json 'conversation/**'
READER=$STARTED
check "the peer loses the last three" peer --as frontend pub conversation/a/v1 1 --lose-last 3
check "  HEADS tells" until_true 10 holds tail '"gap"'
check "  how many" test "$(missing tail)" = 3
ends "$READER"

start damage aico-bus --as backend sub --json 'conversation/**'
READER=$STARTED
check "a bit is flipped on the way" peer --as frontend pub conversation/a/v1 forged honest --damage 60
check "  the next message comes" until_true 10 holds damage '"honest"'
check "  the damaged one does not" counts damage 0 'forged'
ends "$READER"

c_reads big 2 'conversation/**'
READER=$STARTED
check "300 kB in fragments" peer --as frontend pub conversation/a/v1 large --size 300000 && peer --as frontend pub conversation/a/v1 small
check "  arrive" wait_for "$READER" 0
check "  whole" test "$(head -n 1 "$WORK/big.out" | wc -c)" -gt 300000
py_reads big-p 2 'conversation/**'
READER=$STARTED
head -c 300000 /dev/zero | tr '\0' x >"$WORK/large"
check "300 kB of aico-bus" bash -c "aico-bus --as backend pub conversation/a/v1 <'$WORK/large' && aico-bus --as backend pub conversation/a/v1 small"
check "  arrive" wait_for "$READER" 0
check "  whole" holds big-p '"size": 300000'

mkfifo "$WORK/lines"
py_reads slow 1 'conversation/**' --stall 100 --gaps 100 --total 8000
READER=$STARTED
check "the peer takes nothing for a while" bash -c "seq 1 8000 | sed 's/\$/ $(printf '%3000s' '' | tr ' ' x)/' | aico-bus --as backend pub conversation/slow/v1 --lines"
check "  the broker drops, and says how many" wait_for "$READER" 0
check "  each once" test $(($(grep -c '"payload"' "$WORK/slow.out") + $(missing slow))) = 8000

start stepping "$WORK/aico-peer" --as frontend sub 'conversation/**' --count 3 --epoch 2 --heads 2
READER=$STARTED
aico-bus --as backend pub conversation/a/v1 --lines <"$WORK/lines" &
PUBLISHER=$!
exec 7>"$WORK/lines"
say_until_gone() {
    echo tick >&7
    ! kill -0 "$READER" 2>/dev/null
}
check "the peer follows the epochs and HEADS of aico-bus" until_true 30 say_until_gone
check "  to the end" wait_for "$READER" 0
check "  without a gap" counts stepping 0 '"gap"'
exec 7>&-
check "  and aico-bus ends" wait_for "$PUBLISHER" 0

start answers aico-bus --as backend reply logs/query/v1 --echo
ANSWERS=$STARTED
check "aico-bus answers the peer" peer --as frontend request logs/query/v1 'quick question' --repeat 3
check "  with its words" holds peer '^quick question$'
check "the peer pings aico-bus over the channel" peer --as cli ping backend
check "  and over three later channels" peer --as cli ping backend --redial 3
check "wrong Hellos are refused for what is wrong" peer --as cli probe backend
ends "$ANSWERS"
start answers-p "$WORK/aico-peer" --as backend reply logs/query/v1 --count 2
ANSWERS=$STARTED
check_exit "the peer answers aico-bus" 0 aico-bus --as frontend request logs/query/v1 question --json
check "  with its words, in sealed headers" grep -q '"payload":"question backend","headers":{"answered-by":"backend"}' "$WORK/out"
check_exit "aico-bus pings the peer over the channel" 0 aico-bus --as frontend ping backend
check_exit "and it answers once more" 0 aico-bus --as frontend request logs/query/v1 again
check "  and is done" wait_for "$ANSWERS" 0

printf 'signed by whom' >"$WORK/content"
py_reads signed-p 2 'conversation/**'
READER=$STARTED
check "the peer says that it took a message" aico-bus --as backend --timeout 30s pub conversation/a/v1 taken --ack delivered
check "and signs it" bash -c "aico-bus --as backend --timeout 30s pub conversation/a/v1 --ack signed --receipt '$WORK/receipt-p' <'$WORK/content'"
check "  aico-keytool finds it good, and whose it is" bash -c "aico-keytool receipt '$WORK/receipt-p' --content '$WORK/content' | grep -q '^good: frontend took'"
check "  the peer is done" wait_for "$READER" 0
c_reads signed-c 1 'conversation/**'
READER=$STARTED
check "aico-bus signs as well" bash -c "aico-bus --as frontend --timeout 30s pub conversation/a/v1 --ack signed --receipt '$WORK/receipt-c' <'$WORK/content'"
check "  the peer finds it good" peer receipt "$WORK/receipt-c" "$WORK/content"
check "  and whose it is" holds peer '^backend$'
sed '/^taken /s/$/0/' "$WORK/receipt-c" >"$WORK/receipt-x"
check "  a changed one it does not" bash -c "! '$WORK/aico-peer' receipt '$WORK/receipt-x' '$WORK/content' 2>'$WORK/no'"
check "  aico-bus is done" wait_for "$READER" 0

c_reads copies 1 'direct/**'
READER=$STARTED
check "the peer publishes over channels" peer --as frontend pub direct/a/v1 "a copy"
check "  one reader is there" holds peer '"copies": 1'
check "  aico-bus reads it" wait_for "$READER" 0
py_reads copies-p 1 'direct/**'
READER=$STARTED
check "aico-bus publishes over channels" aico-bus --as backend pub direct/a/v1 "another"
check "  the peer reads it" wait_for "$READER" 0
c_reads to 1 'system/**'
READER=$STARTED
check "the peer sends to one component" peer --as frontend pub system/a/v1 "for you" --to backend
check "  it reads it" wait_for "$READER" 0

check "what no rule allows is refused to the peer" bash -c "! '$WORK/aico-peer' --as frontend pub narrow/a no 2>'$WORK/no'"
check "  and the broker names the rule" grep -q 'E_DENIED rule line .* narrow/' "$WORK/no"

# Format 0 with a component of the seed: no handshake, messages to one component only.
aico-keytool -q new seed --role ui --peer aico >"$WORK/out" 2>&1
rules 'logs/query/v1' --publish @ui,@cli,@admin --subscribe backend,seed --seal channel --freshness 60
SAYS='"registry":{"version":'$(registry_version)
check "a component of the seed is added" until_true 20 under_new
start seed-c aico-bus --as backend sub --json 'system/**'
READER=$STARTED
seed_says() { peer --as seed pub "$@" --to backend; }
check "format 0 of the peer" seed_says system/a/v1 "from the seed"
check "  is read" until_true 10 holds seed-c '"sender":"seed".*"payload":"from the seed"'
check "  also without a timestamp" seed_says system/a/v1 untimed --metadata '{}'
check "  is read" until_true 10 holds seed-c '"payload":"untimed"'
check "format 0 an hour old" seed_says system/a/v1 stale --metadata '{"timestamp": 1763668800.5}'
check "format 0 with another topic" seed_says system/a/v1 moved --metadata '{"topic": "system/b/v1"}'
check "format 0 said twice" seed_says system/a/v1 twice --twice
check "format 0 of who is not of the seed" peer --as frontend pub system/a/v1 posing --to backend --pose
check "format 0 once more" seed_says system/a/v1 last
check "  is read" until_true 10 holds seed-c '"payload":"last"'
check "  the stale, the moved and the posing are not" counts seed-c 0 'stale\|moved\|posing'
check "  what was said twice is read once" counts seed-c 1 'twice'
for CAUSE in E_STALE E_OPEN E_FORMAT; do
    check "  $CAUSE is told" holds seed-c "\"unopened\".*\"$CAUSE\""
done
ends "$READER"
start seed-p "$WORK/aico-peer" --as seed sub 'system/**' --count 1
READER=$STARTED
check "format 0 of aico-bus" aico-bus --as backend pub system/a/v1 "to the seed" --to seed
check "  the peer reads it" wait_for "$READER" 0
check "  with topic and timestamp in the clear" holds seed-p '"payload": "to the seed", "metadata": {"topic": "system/a/v1", "timestamp": [0-9]*\.[0-9]*}'
start answers aico-bus --as backend reply logs/query/v1 --echo
ANSWERS=$STARTED
check "aico-bus answers the seed" peer --as seed request logs/query/v1 'in format 0'
check "  with its words" holds peer '^in format 0$'
ends "$ANSWERS"
for AS in "" --as-server; do
    start answers-s "$WORK/aico-peer" --as seed reply logs/query/v1 --count 1 $AS
    ANSWERS=$STARTED
    check_exit "the seed answers aico-bus $AS" 0 aico-bus --as frontend request logs/query/v1 'and you'
    check "  with its words" grep -q 'and you seed' "$WORK/out"
    wait_for "$ANSWERS" 0
done
start seed-p "$WORK/aico-peer" --as seed sub 'conversation/**' --count 9
READER=$STARTED
LIMIT_MS=1500 check_exit "no publisher waits for the seed to shake hands" 0 aico-bus --as backend pub conversation/a/v1 "not for it"
ends "$READER"

# The registry changes under a publisher in Python and its readers.
mkfifo "$WORK/more"
"$WORK/aico-peer" -v --as frontend pub conversation/a/v1 --lines <"$WORK/more" >"$WORK/changing.out" 2>"$WORK/changing.err" &
CHANGING=$!
PIDS+=("$CHANGING")
exec 7>"$WORK/more"
start before aico-bus --as cli sub --json 'conversation/**' 7>&-
FIRST=$STARTED
echo one >&7
check "a reader from the start" until_true 10 holds before '"one"'
aico-keytool -q new studio --role ui >"$WORK/out" 2>&1
said_under() { echo "$2" >&7; until_true 1 holds changing "\"version\": $1"; }
VERSION=$(registry_version)
check "a component is added" until_true 20 said_under "$VERSION" two
start added aico-bus --as studio sub --json 'conversation/**' 7>&-
SECOND=$STARTED
echo three >&7
check "  it reads what comes now" until_true 10 holds added '"three"'
check "  and nothing from before" counts added 0 '"one"'
check "  the first reader goes on" until_true 10 holds before '"three"'
aico-keytool -q revoke studio --reason "the test" >"$WORK/out" 2>&1
VERSION=$(registry_version)
check "it is revoked" until_true 20 said_under "$VERSION" four
echo five >&7
check "  the first reader goes on" until_true 10 holds before '"five"'
check "  the revoked one reads no more" counts added 0 '"five"'
check "  nothing was lost" counts before 0 '"gap"'
exec 7>&-
check "  the publisher is content" wait_for "$CHANGING" 0
ends "$FIRST"

# And under a publisher in C with readers in Python.
mkfifo "$WORK/third"
aico-bus --as backend pub conversation/a/v1 --lines <"$WORK/third" 2>"$WORK/third.err" &
CHANGING=$!
PIDS+=("$CHANGING")
exec 7>"$WORK/third"
start before-p "$WORK/aico-peer" --as frontend sub 'conversation/**' --count 3 7>&-
FIRST=$STARTED
echo one >&7
check "a reader in Python from the start" until_true 10 holds before-p '"one"'
aico-keytool -q new tablet --role ui >"$WORK/out" 2>&1
SAYS='"registry":{"version":'$(registry_version)
check "a component is added" until_true 20 under_new
start added-p "$WORK/aico-peer" --as tablet sub 'conversation/**' --count 2 7>&-
SECOND=$STARTED
say_until_read() { echo later >&7; holds added-p '"later"'; }
check "  it reads what comes now" until_true 20 say_until_read
check "  and nothing from before" counts added-p 0 '"one"'
echo last >&7
check "  it is content" wait_for "$SECOND" 0
check "  the first reader, too" wait_for "$FIRST" 0
check "  nothing was lost" counts before-p 0 '"gap"'
exec 7>&-
check "  the publisher is content" wait_for "$CHANGING" 0

finish
