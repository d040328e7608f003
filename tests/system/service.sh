#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The programs as services: log formats, what systemd is told, sockets it hands over, another user than
# root, and the units with their hardening. AICO_BIN: bin/ of a build tree.
. "$(dirname "$0")/lib.sh"

SOURCE=$(cd "$(dirname "$0")/../.." && pwd)
SERVICE="/usr/bin/python3 $SOURCE/tests/system/service.py"
UNITS=$SOURCE/config/systemd
export AICO_IDENTITY=cli

# --- units -------------------------------------------------------------------------------------------
for unit in "$UNITS"/*.service "$UNITS"/user/*.service; do
    program=$(basename "$unit" .service)
    "$program" --help >"$WORK/help"
    sed -n 's/^ExecStart=//p' "$unit" | grep -oE -- '--[a-z-]+' | sort -u >"$WORK/used"
    check "${unit#"$UNITS"/}: starts it with options that there are" \
        bash -c "[ -s '$WORK/used' ] && ! grep -vFf <(grep -oE -- '--[a-z-]+' '$WORK/help') '$WORK/used'"
done
if command -v systemd-analyze >/dev/null; then
    for unit in aico-broker aico-backend; do
        check "$unit.service: exposure of at most 1.5" systemd-analyze security --offline=true \
            --no-pager --threshold=15 "$UNITS/$unit.service"
    done
    mkdir "$WORK/units"
    for unit in "$UNITS"/*.service "$UNITS"/*.socket; do
        sed "s|/usr/bin/aico|$AICO_BIN/aico|; s/=aico-bus$/=root/" "$unit" >"$WORK/units/${unit##*/}"
    done
    check "systemd understands every line of the units" bash -c "systemd-analyze verify --man=no \
        --recursive-errors=no '$WORK'/units/* 2>&1 | grep '$WORK' | tee /dev/stderr | wc -l | grep -qx 0"
fi

# --- log ---------------------------------------------------------------------------------------------
home_new || { failed "a home" "$WORK/init.out"; finish; }
check_exit "an unknown format is a usage error" 2 aico-broker --log-format xml
check_exit "so is an unknown level" 2 aico-backend --log-level loud
if [ ! -S /run/systemd/journal/socket ]; then
    check_exit "no journal is an error" 1 aico-broker --log-format journal
    check "  with its place" grep -q /run/systemd/journal/socket "$WORK/err"
fi
printf 'broker:\n  log_format: journal\n' >"$AICO_HOME/security.yaml"
check_exit "--check answers who typed it, whatever log_format is" 0 aico-broker --check
check "  as text" grep -q 'info broker: check: ' "$WORK/err"
SETTINGS='  log_format: json'
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }
# is_json FILE: every line an object with time, level, program and text.
is_json() {
    /usr/bin/python3 -c 'import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert lines and all({"time", "level", "program", "text"} <= set(line) for line in lines)' "$1"
}
check "log_format: json writes objects" is_json "$WORK/broker.err"
check "  with what happened as a member" grep -q '"event":"ready"' "$WORK/broker.err"
start backend aico-backend --as backend --log-format json
BACKEND=$STARTED
check "the backend writes them too" is_json "$WORK/backend.err"
printf 'who\n' >"$WORK/script"
check "the frontend runs a script" aico-frontend --as frontend --log-format json --script "$WORK/script"
echo frob >"$WORK/script"
check_exit "  and tells its end" 2 aico-frontend --as frontend --log-format json --script "$WORK/script"
check "  as an object" is_json "$WORK/err"
check "  with its place" grep -q 'script:1: unknown command' "$WORK/err"
kill "$BACKEND" && check "the backend stops" wait_for "$BACKEND" 0
check "the broker stops" broker_stop
start broker aico-broker --log-format text --log-level warning
BROKER_PID=$STARTED
check "options go before the file, and warning leaves out what is in order" test ! -s "$WORK/broker.err"
check "it stops" broker_stop
SETTINGS=

# --- what systemd is told ------------------------------------------------------------------------------
told() { grep -qx -- "$1" "$WORK/told"; }
said_in_order() { # LINE...: each after the one before
    tr '\n' ' ' <"$WORK/told" | grep -qE "$(printf '%s .*' "$@")"
}
$SERVICE listen "$WORK/notify" "$WORK/told" &
PIDS+=($!)
check "somebody listens" until_true 20 test -S "$WORK/notify"
export NOTIFY_SOCKET="$WORK/notify" WATCHDOG_USEC=1000000
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }
check "READY=1" until_true 20 told READY=1
check "WATCHDOG=1, again and again" until_true 20 bash -c "[ \$(grep -c WATCHDOG=1 '$WORK/told') -gt 3 ]"
check "STATUS= says what it does" until_true 20 grep -q '^STATUS=0 components' "$WORK/told"
check "a client comes" aico-bus ping --count 1
kill -HUP "$BROKER_PID"
check "HUP: RELOADING=1 with its time, then READY=1" until_true 20 \
    said_in_order READY=1 RELOADING=1 'MONOTONIC_USEC=[0-9]+' READY=1
check "TERM" broker_stop
check "STOPPING=1" until_true 20 told STOPPING=1
: >"$WORK/told"
WATCHDOG_PID=1 broker_start || { failed "a broker" "$WORK/broker.err"; finish; }
check "a watchdog for another process" until_true 20 told READY=1
check "  is not fed" bash -c "! grep WATCHDOG '$WORK/told'"
start backend aico-backend --as backend
BACKEND=$STARTED
check "the backend: WATCHDOG=1 while nothing comes" until_true 20 \
    bash -c "[ \$(grep -c WATCHDOG=1 '$WORK/told') -gt 2 ]"
kill "$BACKEND"
check "  TERM" wait_for "$BACKEND" 0
check "  STOPPING=1" until_true 20 told STOPPING=1
check "the broker stops" broker_stop
: >"$WORK/told"
check "a loop that hangs feeds no watchdog" $SERVICE hang "$WORK/told" aico-broker
unset NOTIFY_SOCKET WATCHDOG_USEC

# --- sockets that are handed over --------------------------------------------------------------------
BUS=$AICO_HOME/run/bus.sock
for way in ipc tcp; do
    rm -f "$BUS"
    $SERVICE activate "$BUS" "$PORT" aico-broker >"$WORK/activated.out" 2>"$WORK/activated.err" &
    BROKER_PID=$!
    PIDS+=("$BROKER_PID")
    check "$way: somebody else listens" until_true 20 grep -q listening "$WORK/activated.out"
    if [ "$way" = ipc ]; then where=ipc://$BUS; else where=tcp://127.0.0.1:$PORT; fi
    check "$way: who comes first starts the broker and is served" \
        aico-bus --broker "$where" ping --count 1 --timeout 20s
    check "$way: so is the second" aico-bus --broker "$where" status --timeout 20s
    check "$way: and one on tcp" aico-bus --broker "tcp://127.0.0.1:$PORT" status --timeout 20s
    check "$way: it stops" broker_stop
    check "$way: the path is left to whoever made it" test -S "$BUS"
done
rm -f "$BUS"
WAIT=no check_exit "a socket that is no endpoint is refused" 2 $SERVICE activate "$WORK/other.sock" "$PORT" \
    aico-broker --log-level error
check "  by its address" grep -q "$WORK/other.sock was handed over" "$WORK/err"
check "a broker starts without them" broker_start
check "  and takes its own path away" bash -c "kill '$BROKER_PID' && tail --pid='$BROKER_PID' -f /dev/null && [ ! -e '$BUS' ]"

# --- another user ------------------------------------------------------------------------------------
check_exit "a user that does not exist is refused" 1 aico-broker --user nobody-of-that-name
check "  by name" grep -q 'no user nobody-of-that-name' "$WORK/err"
if [ "$(id -u)" -eq 0 ]; then
    chmod 711 "$WORK"
    chown -R nobody "$AICO_HOME"
    start broker aico-broker --user nobody || failed "a broker as nobody" "$WORK/broker.err"
    BROKER_PID=$STARTED
    check "all its ids are another's" grep -Eq "^Uid:(	$(id -u nobody)){4}$" "/proc/$BROKER_PID/status"
    check "it has no capability" grep -q '^CapPrm:	0000000000000000$' "/proc/$BROKER_PID/status"
    check "and gets none by what it executes" grep -q '^NoNewPrivs:	1$' "/proc/$BROKER_PID/status"
    check "it writes no core file" grep -Eq '^Max core file size +0 +0 ' "/proc/$BROKER_PID/limits"
    check "its memory is closed to its own user" test "$(stat -c %U "/proc/$BROKER_PID/mem")" = root
    check "it stops" broker_stop
fi
finish
