#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# `seal ratchet`: each run of a program goes on with the ratchet its predecessor left, a reader that is
# killed loses nothing it had opened, and a lost disk is repaired by RESET.
. "$(dirname "$0")/lib.sh"

payloads() { sed -n 's/.*"payload":"\([^"]*\)".*/\1/p' "$1"; }
has() { payloads "$1" | grep -qx "$2"; }
exactly() { # FILE LINE...
    local file=$1
    shift
    payloads "$file" | cmp -s - <(printf '%s\n' "$@")
}
say() { aico-bus --as alice pub mail/box/v1 "$1" --timeout 20s; }
state() { echo "$AICO_HOME/state/$1/sessions.db"; }

home_new || { failed "aico-keytool init --starter" "$WORK/init.out"; finish; }
for name in alice bob; do
    aico-keytool -q new "$name" || failed "aico-keytool new $name"
done
check "a rule with seal ratchet" aico-keytool -q rule set 'mail/**' --publish alice,bob \
    --subscribe alice,bob --seal ratchet
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }

# --- runs follow each other -------------------------------------------------------------------------------
start bob aico-bus --as bob sub 'mail/**' --json
BOB=$STARTED
for i in 1 2 3 4; do
    check "run $i of a publisher" say "run $i"
done
check "the reader has all of them once" until_true 20 exactly "$WORK/bob.out" "run 1" "run 2" "run 3" "run 4"
check "no run lost a number" test "$(grep -c '"gap"' "$WORK/bob.out")" = 0
check "the state is readable by its owner only" test "$(stat -c %a "$(state alice)")" = 600
check "no plaintext lies in it" sh -c "! grep -aq 'run 4' '$(state alice)' '$(state bob)'"

# --- kill -9 --------------------------------------------------------------------------------------------
{ kill -KILL "$BOB" && wait "$BOB"; } 2>/dev/null
start bob2 aico-bus --as bob sub 'mail/**' --json
BOB=$STARTED
check "a publisher after the reader was killed" say "after kill"
check "its successor goes on with the same ratchet" until_true 20 has "$WORK/bob2.out" "after kill"
check "and hands nothing over again" sh -c "! grep -q 'run 4' '$WORK/bob2.out'"

# --- a second process with one identity -----------------------------------------------------------------------
check_exit "a second process is named" 5 aico-bus --as bob sub 'mail/**' --count 1

# --- a lost disk ------------------------------------------------------------------------------------------
kill -TERM "$BOB"
wait "$BOB" 2>/dev/null
rm -f "$(state bob)"
start bob3 aico-bus --as bob sub 'mail/**' --json
BOB=$STARTED
mkfifo "$WORK/lines"
aico-bus --as alice pub mail/box/v1 --lines <"$WORK/lines" >"$WORK/lines.out" 2>"$WORK/lines.err" &
PUB=$!
PIDS+=("$PUB")
exec 7>"$WORK/lines"
repaired() { echo "again" >&7 && sleep 0.2 && has "$WORK/bob3.out" "again"; }
check "a reader that lost its disk says RESET and reads again" until_true 40 repaired
check "what it could not open was named" grep -q 'E_RATCHET\|E_PREKEY_OLD' "$WORK/bob3.out" "$WORK/bob3.err"
exec 7>&-
check "the publisher ends" wait_for "$PUB" 0

kill -TERM "$BOB"
wait "$BOB" 2>/dev/null
rm -f "$(state alice)"
start bob4 aico-bus --as bob sub 'mail/**' --json
check "a publisher that lost its disk begins anew" say "from an empty disk"
check "and is read" until_true 20 has "$WORK/bob4.out" "from an empty disk"

# --- a damaged file ------------------------------------------------------------------------------------------
head -c 8192 /dev/zero | tr '\0' 'x' >"$(state alice)"
check_exit "a damaged state is named, with the repair" 5 aico-bus --as alice pub mail/box/v1 x
check "the repair" grep -q 'mv .*sessions.db' "$WORK/err"
finish
