#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The metrics socket: what it answers, to whom, and that nobody there holds up the broker.
. "$(dirname "$0")/lib.sh"

export AICO_IDENTITY=cli LIMIT_MS=60000
HERE=$(cd "$(dirname "$0")" && pwd)
SOCKET=$AICO_HOME/run/metrics.sock
metrics() { python3 "$HERE/metrics.py" "$SOCKET" "$@"; }
number() { metrics get | awk -v name="aico_bus_$1" '$1 == name { print $2 }'; }
# has NAME OPERATOR NUMBER
has() { test "$(number "$1")" "$2" "$3"; }
# is_as_in_status NAME PLACE
is_as_in_status() {
    has "$1" -eq "$(aico-bus status --json | python3 -c "import json, sys; print(json.load(sys.stdin)$2)")"
}
up() {
    SETTINGS=$1
    broker_start || { failed "a broker" "$WORK/broker.err"; finish; }
}

metrics_socket_is_where_numbers_are_read() {
    up ''
    check "without the key there is no socket" test ! -e "$SOCKET"
    broker_stop || failed "the broker stops"
    up "  metrics_socket: run/other.sock"
    check "a relative path starts at the file's folder" test -S "$AICO_HOME/run/other.sock"
    broker_stop || failed "the broker stops"
    check "it goes with the broker" test ! -e "$AICO_HOME/run/other.sock"
    up "  metrics_socket: $SOCKET"
    check "the socket is there" test -S "$SOCKET"
    check "  for the broker's user alone" test "$(stat -c %a "$SOCKET")" = 600
    check "  and speaks the text format" metrics check
    if command -v curl >/dev/null; then
        check "curl reads it" bash -c "curl -sS --max-time 40 --unix-socket '$SOCKET' http://localhost/metrics | grep -q '^aico_bus_info{'"
    fi
}

has_left() { [ -z "$(number "component_subscriptions{component=\"$1\"}")" ]; }

numbers_are_those_of_the_broker() {
    start reader aico-bus --as backend sub 'logs/**'
    READER=$STARTED
    check "ten messages" aico-bus pub logs/t/v1 hello --count 10
    check "  published" until_true 20 has published_total -ge 10
    check "  reach the reader" until_true 20 has 'component_delivered_total{component="backend"}' -ge 10
    check "  who is connected" until_true 20 has 'component_subscriptions{component="backend"}' -ge 1
    check "  as status says" until_true 20 is_as_in_status published_total '["published"]'
    aico-bus --as frontend topics >/dev/null 2>&1
    check "what was refused, by code" until_true 20 has 'refused_total{code="E_DENIED"}' -ge 1
    check "the registry" until_true 20 is_as_in_status registry_version '["registry"]["version"]'
    kill -TERM "$READER"
    wait "$READER" 2>/dev/null
    check "who has left is no longer there" until_true 20 has_left backend
}

what_is_no_request_is_answered() {
    check "another path is 404" test "$(metrics get / | sed -n 1p)" = 'HTTP/1.0 404 Not Found'
    check "another method is 405" test "$(metrics raw 'POST /metrics HTTP/1.1\r\n\r\n' | sed -n 1p)" = 'HTTP/1.0 405 Method Not Allowed'
    check "something else is 400" test "$(metrics raw 'hello\n\n' | sed -n 1p)" = 'HTTP/1.0 400 Bad Request'
    check "HEAD is the head" test "$(metrics raw 'HEAD /metrics HTTP/1.0\r\n\r\n')" = 'HTTP/1.0 200 OK'
    check "a query is not looked at" test "$(metrics get '/metrics?a=b' | sed -n 1p)" = 'HTTP/1.0 200 OK'
    check "a request too large is 431" test "$(metrics raw "GET /metrics HTTP/1.1\r\nX: $(printf '%05000d' 0)" | sed -n 1p)" = \
        'HTTP/1.0 431 Request Header Fields Too Large'
}

# crowd KIND: many connections that behave badly, until CROWD is killed.
crowd() {
    mkfifo "$WORK/$1.in"
    metrics crowd 300 "$1" <"$WORK/$1.in" >"$WORK/$1.out" 2>"$WORK/$1.err" &
    CROWD=$!
    PIDS+=("$CROWD")
    exec 8>"$WORK/$1.in"
    until_true 40 grep -q ready "$WORK/$1.out" || failed "a crowd of $1 ones" "$WORK/$1.err"
}
descriptors() { find "/proc/$BROKER_PID/fd" -mindepth 1 -maxdepth 1 | wc -l; }
no_more_than() { [ "$(descriptors)" -le "$1" ]; }

bad_clients_hold_up_nobody() {
    local kind before
    before=$(descriptors)
    for kind in silent endless deaf; do
        crowd "$kind"
        check "300 $kind clients: another is answered" metrics check
        check_exit "  and so are components" 0 aico-bus ping --count 1
        check "  few of them are kept" no_more_than $((before + 20))
        exec 8>&-
        wait_for "$CROWD" 0 || failed "  the crowd goes" "$WORK/$kind.err"
        check "  nothing of them stays" until_true 20 no_more_than "$before"
    done
}

a_path_in_use_is_left_alone() {
    kill -KILL "$BROKER_PID"
    { wait "$BROKER_PID"; } 2>/dev/null
    check "a broker that was killed leaves its socket" test -S "$SOCKET"
    up "  metrics_socket: $SOCKET"
    check "  the next one takes its place" metrics check
    broker_stop || failed "the broker stops"
    echo keep >"$SOCKET"
    check_exit "a file there stops the start" 1 aico-broker -q
    check "  with its name and key" grep -q "metrics_socket: $SOCKET: in use" "$WORK/err"
    check "  and stays" grep -qx keep "$SOCKET"
    rm "$SOCKET"
}

home_new || { failed "aico-keytool init --starter" "$WORK/init.out"; finish; }
metrics_socket_is_where_numbers_are_read
numbers_are_those_of_the_broker
what_is_no_request_is_answered
bad_clients_hold_up_nobody
a_path_in_use_is_left_alone
finish
