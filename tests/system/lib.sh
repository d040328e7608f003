# SPDX-License-Identifier: Apache-2.0
# What the system tests share: a home and a broker of their own, checks that are counted, and nothing
# left behind. Sourced by bash scripts; AICO_BIN names the folder with the programs.
#
#   . "$(dirname "$0")/lib.sh"
#   bus_up                  a fresh home ($AICO_HOME) with the starter components, and a broker
#   check "what" CMD...     runs CMD, counts whether it succeeds
#   finish                  prints "N passed, N failed" and exits
set -u

: "${AICO_BIN:?names the folder with the programs}"
AICO_BIN=$(cd "$AICO_BIN" && pwd) || exit 2
export PATH="$AICO_BIN:$PATH"
unset AICO_IDENTITY
WORK=$(mktemp -d "${TMPDIR:-/tmp}/aico-test-XXXXXX") || exit 2
export AICO_HOME="$WORK/home"
PIDS=()
PASSED=0
FAILED=0
BROKER_PID=

# Ends what this script started, by its id, and removes its folder.
clean_up() {
    local pid
    for pid in "${PIDS[@]}"; do
        kill -TERM "$pid" 2>/dev/null
    done
    for pid in "${PIDS[@]}"; do
        # The shell reaps its own children; a stuck one is not waited for more than 5 s.
        ( timeout 5 tail -s 0.05 --pid="$pid" -f /dev/null || kill -KILL "$pid" ) >/dev/null 2>&1
    done
    rm -rf "$WORK"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

passed() { PASSED=$((PASSED + 1)); printf 'ok    %s\n' "$1"; }
# failed NAME [FILE...]: shows the files, so that a log tells what happened.
failed() {
    FAILED=$((FAILED + 1))
    printf 'FAIL  %s\n' "$1"
    shift
    local file
    for file in "$@"; do
        [ -s "$file" ] && sed "s|^|      ${file##*/}: |" "$file" | head -n 20
    done
}

# check NAME CMD...
check() {
    local name=$1
    shift
    if "$@" >"$WORK/check.out" 2>"$WORK/check.err"; then
        passed "$name"
    else
        failed "$name" "$WORK/check.out" "$WORK/check.err"
    fi
}

now_ms() { date +%s%3N; }

# check_exit NAME STATUS CMD...: the exit status must be STATUS, within LIMIT_MS (by default 30 s,
# for a machine that does much else), and anything but 0 says why in one line. $WORK/out and $WORK/err hold
# what it printed.
check_exit() {
    local name=$1 want=$2 start status took
    shift 2
    start=$(now_ms)
    timeout $((20 + ${LIMIT_MS:-30000} / 1000)) "$@" >"$WORK/out" 2>"$WORK/err" </dev/null
    status=$?
    took=$(($(now_ms) - start))
    if [ "$status" -ne "$want" ]; then
        echo "exit status $status instead of $want" >>"$WORK/err"
    elif [ "$took" -gt "${LIMIT_MS:-30000}" ]; then
        echo "took $took ms" >>"$WORK/err"
    elif [ "$want" -ne 0 ] && [ "$(grep -vc '^Try: ' "$WORK/err")" -ne 1 ]; then
        echo "the reason is not one line" >>"$WORK/err"
    else
        passed "$name"
        return
    fi
    failed "$name" "$WORK/out" "$WORK/err"
}

# start NAME CMD...: in the background with --ready-fd, output in $WORK/NAME.out and .err; returns when
# it is ready. Its id is in $STARTED.
start() {
    local name=$1 fifo="$WORK/$1.ready" byte
    shift
    rm -f "$fifo"
    mkfifo "$fifo"
    "$@" --ready-fd 9 9>"$fifo" >"$WORK/$name.out" 2>"$WORK/$name.err" </dev/null &
    STARTED=$!
    PIDS+=("$STARTED")
    # Opening waits until the other end is there; the end of the file without a byte: it has ended.
    if ! byte=$(timeout 60 head -c 1 "$fifo" | od -An -tx1) || [ -z "$byte" ]; then
        echo "$name did not get ready"
        sed 's|^|      |' "$WORK/$name.err"
        return 1
    fi
}

# wait_for PID STATUS: it ends by itself within 60 s (WAIT_S) with that status.
wait_for() {
    timeout "${WAIT_S:-60}" tail -s 0.02 --pid="$1" -f /dev/null || return 1
    wait "$1"
    local status=$?
    [ "$status" -eq "$2" ] || { echo "exit status $status instead of $2"; return 1; }
}

# until_true SECONDS CMD...: asks again, twenty times a second, until it is true.
until_true() {
    local end=$(($(now_ms) + $1 * 1000))
    shift
    until "$@"; do
        [ "$(now_ms)" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# stand_still PID: stops it, and waits until each of its threads stands: one that was busy goes on for a
# moment, and may take what comes meanwhile.
stands() { ! grep -h '^State:' "/proc/$1/task/"*/status | grep -qv 'T (stopped)'; }
stand_still() {
    kill -STOP "$1"
    until_true 30 stands "$1" || failed "$1 does not stop"
}

# holds N PATTERN FILE: exactly N lines of it match. For until_true, where "$(grep -c ...)" would be
# what it is before the first look.
holds() { [ "$(grep -c "$2" "$3")" = "$1" ]; }

home_new() {
    aico-keytool init --starter --home "$AICO_HOME" >"$WORK/init.out" 2>&1 || {
        cat "$WORK/init.out"
        return 1
    }
}

# Its own socket and a port of chance: several scripts may run at once. $SETTINGS is what else
# security.yaml has.
broker_start() {
    local try
    for try in 1 2 3 4 5; do
        PORT=${PORT:-$((20000 + RANDOM % 30000))}
        cat >"$AICO_HOME/security.yaml" <<EOF
broker:
  endpoints:
    - ipc://$AICO_HOME/run/bus.sock
    - tcp://127.0.0.1:$PORT
${SETTINGS:-}
EOF
        chmod 600 "$AICO_HOME/security.yaml"
        if start broker aico-broker --home "$AICO_HOME"; then
            BROKER_PID=$STARTED
            return 0
        fi
        grep -qi 'in use' "$WORK/broker.err" || return 1
        PORT=
    done
    return 1
}

broker_stop() {
    kill -TERM "$BROKER_PID" && wait_for "$BROKER_PID" 0
}

bus_up() {
    if ! home_new || ! broker_start; then
        failed "a home and a broker"
        finish
    fi
}

finish() {
    printf '%d passed, %d failed\n' "$PASSED" "$FAILED"
    [ "$FAILED" -eq 0 ] && [ "$PASSED" -gt 0 ]
    exit
}
