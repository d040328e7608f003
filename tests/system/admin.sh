#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What an administrator makes a running broker do: reload, kick, drain, and who may.
. "$(dirname "$0")/lib.sh"

export AICO_IDENTITY=cli LIMIT_MS=30000
bus_up
# settings LINE...: what stands below broker: beside the endpoints.
settings() {
    printf '%s\n' 'broker:' "  endpoints: [\"ipc://$AICO_HOME/run/bus.sock\", \"tcp://127.0.0.1:$PORT\"]" \
        "$@" >"$AICO_HOME/security.yaml"
}
says() { grep -qE "$1" "$WORK/broker.err"; }

# --- who may ------------------------------------------------------------------------------------------
for act in reload drain "kick backend" peers topics ledger; do
    # shellcheck disable=SC2086
    check_exit "$act without role admin is exit 4" 4 aico-bus --as frontend $act
    check "  names who may" grep -q 'role admin.*: cli' "$WORK/err"
done
check "  each is in the log" until_true 20 says 'denied: frontend .*drain.*role admin'
check_exit "the broker serves on" 0 aico-bus ping --count 1

# --- reload -------------------------------------------------------------------------------------------
settings '  max_topics: 4711' '  io_threads: 2' 'security:' '  transport:' '    padding: padme'
check_exit "reload is exit 0" 0 aico-bus reload
check "  a limit is applied" grep -qE 'broker.max_topics +1000000 +4711 +applied' "$WORK/out"
check "  threads need a restart" grep -qE 'broker.io_threads +1 +2 +needs restart$' "$WORK/out"
check "  padding one of the components" grep -qE 'padding +none +padme +needs restart of the components' "$WORK/out"
check "  the log has the same" says 'config: broker.max_topics: 1000000 -> 4711: applied'
check "  and who asked" says 'admin: cli .*reload'
check_exit "again: only what is still owed" 0 aico-bus reload --json
check "  not what is in force" bash -c "! grep -q max_topics '$WORK/out'"
check "  io_threads" grep -q '"key":"broker.io_threads","before":"1","after":"2","result":"needs restart"' "$WORK/out"

cp "$AICO_HOME/security.yaml" "$WORK/good.yaml" # for aico-bus, which would not start with the bad one
settings '  max_topics: 9999' '  max_connections: none' '  io_tread: 1'
check_exit "a bad file is exit 3" 3 aico-bus --config "$WORK/good.yaml" reload
check "  each mistake has its place" grep -q 'refused: .*security.yaml:4:20: key `broker.max_connections`' "$WORK/out"
check "  the unknown key too" grep -q 'refused: .*security.yaml:5:3: key `broker.io_tread`: unknown' "$WORK/out"
settings '  max_topics: 4711'
check_exit "  and nothing of it was taken" 0 aico-bus reload --json
check "  max_topics is what it was" bash -c "! grep -q max_topics '$WORK/out'"
settings 'security:' '  transport:' '    namespace: other'
check_exit "another namespace is refused" 3 aico-bus --config "$WORK/good.yaml" reload
check "  with the reason" grep -q 'namespace.*the registry in force is of namespace aico' "$WORK/out"
settings '  log_level: debug'
kill -HUP "$BROKER_PID"
check "HUP prints per key too" until_true 20 says 'config: broker.log_level: info -> debug: applied'

# --- ledger and numbers -------------------------------------------------------------------------------
start books aico-bus --as backend sub 'logs/**' --count 10
BOOKS=$STARTED
check_exit "ten messages" 0 aico-bus pub logs/t/v1 x --count 10
check "  are read" wait_for "$BOOKS" 0
check_exit "the ledger balances" 0 aico-bus ledger
check "  and says so" grep -qx balances "$WORK/out"
check "  what cli published" grep -qE '^cli +logs/\*\* +topic +- +10 ' "$WORK/out"
check_exit "as JSON" 0 aico-bus ledger --json
check "  with the row of its reader" grep -q '"rule":"logs/\*\*","way":"topic","reader":"backend","published":0,"refused":0,"refused_for":{},"stored":0,"routed":10,"delivered":10' "$WORK/out"
check_exit "numbers come on \$bus/stats" 0 aico-bus sub '$bus/stats' --json --count 2
check "  with counts by component" grep -q 'components.*name.*cli.*published' "$WORK/out"
check_exit "  not for everybody" 4 aico-bus --as frontend sub '$bus/stats' --count 1

# --- kick ---------------------------------------------------------------------------------------------
start kicked aico-bus --as backend sub 'logs/**'
KICKED=$STARTED
check_exit "kick is exit 0" 0 aico-bus kick backend 'too loud'
check "  the component ends with 5" wait_for "$KICKED" 5
check "  knows who and why" grep -q 'disconnected by cli: too loud.*E_KICKED' "$WORK/kicked.err"
check "  the log has it" says 'admin: cli .*kick backend'
check_exit "  it may come back" 0 aico-bus --as backend ping --count 1
check_exit "nobody of that name is exit 5" 5 aico-bus kick nobody
check_exit "one that is not connected is exit 8" 8 aico-bus kick backend

# --- drain --------------------------------------------------------------------------------------------
settings '  drain_timeout: 30'
check_exit "a longer drain" 0 aico-bus reload
start reader aico-bus --as backend sub 'logs/**' --json
READER=$STARTED
seq 1 3000 | sed 's/^/line /' >"$WORK/lines"
check_exit "messages wait for a reader" 0 bash -c "aico-bus pub logs/t/v1 --lines <'$WORK/lines'"
check_exit "drain is exit 0" 0 aico-bus drain
check "  says what is held" grep -q 'draining: [0-9]* components' "$WORK/out"
check "the broker ends with 0" wait_for "$BROKER_PID" 0
check "  who asked is in the log" says 'admin: cli .*drain'
check "  the reader has all" until_true 20 holds 3000 '"payload":"line' "$WORK/reader.out"
check "  and was told E_DRAIN" until_true 20 grep -q E_DRAIN "$WORK/reader.err"
kill -TERM "$READER" 2>/dev/null
check_exit "nobody can connect" 6 aico-bus ping --count 1
finish
