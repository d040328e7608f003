#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# aico-backend and aico-frontend on a real bus: logs are stored and found, gaps are none, questions are
# answered, restarts lose nothing that was committed.
. "$(dirname "$0")/lib.sh"

export AICO_IDENTITY=cli
bus_up

if ! start backend aico-backend --as backend; then
    failed "aico-backend gets ready" "$WORK/backend.err"
    finish
fi
BACKEND=$STARTED
passed "aico-backend gets ready"
DB="$AICO_HOME/state/backend/logs.db"
check "its database is for its user only" test "$(stat -c %a "$DB")" = 600

# stored_is N: the backend has N rows.
stored_is() {
    aico-bus request logs/query/v1 '{"count_only":true}' | grep -q "\"total\":$1,"
}

seq 1 20000 | sed 's/^/2026-11-20 22:00:00 status installed package:amd64 1.2./' >"$WORK/lines"
check "20000 lines are published" bash -c "aico-bus pub logs/app/v1 --lines <'$WORK/lines'"
check "and stored, all of them" until_true 20 stored_is 20000
check_exit "a question finds its line" 0 aico-bus request logs/query/v1 '{"text":"1.2.19999"}'
check "  one" grep -q '^{"count":1,"total":20000,"rows":\[{"id":19999,"sender":"cli","topic":"logs/app/v1",' "$WORK/out"
check_exit "a wrong question gets its mistake" 0 aico-bus request logs/query/v1 'nonsense'
check "  named" grep -q '^{"error":' "$WORK/out"
check_exit "the language of the index is not reachable" 0 aico-bus request logs/query/v1 '{"text":"NEAR( * \" OR"}'
check "  no row, no error" grep -q '"count":0' "$WORK/out"
check_exit "system/status/v1" 0 aico-bus request system/status/v1
check "  balances" grep -q '"received":20000,"stored":20000,.*"gaps":0,"unopened":0' "$WORK/out"
check "questions are not stored as logs" stored_is 20000

cat >"$WORK/script" <<'EOF'
# what a person would type
who
expect backend
say /count
wait conversation/ai/output/v1
expect 20000 log lines
count 1.2.777
expect 1
query 1.2.19998
expect status installed package:amd64 1.2.19998
topics
expect conversation/**
quit
expect never reached
EOF
check_exit "aico-frontend --script" 0 aico-frontend --as frontend --script "$WORK/script"
printf 'say hello\nwait conversation/ai/output/v1 5\nexpect never said\n' >"$WORK/script"
check_exit "an expectation that fails is exit 1" 1 aico-frontend --as frontend --script "$WORK/script"
check "  and names its line" grep -q 'script:3: expected "never said"' "$WORK/err"
printf 'frobnicate\n' >"$WORK/script"
check_exit "an unknown command is exit 2" 2 aico-frontend --as frontend --script "$WORK/script"
check "a person types" bash -c "printf '/who\n/quit\n' | timeout 10 aico-frontend --as frontend | grep -q '^backend '"

check "the broker restarts under the backend" broker_stop
broker_start || failed "the broker starts again" "$WORK/broker.err"
check "the backend is back by itself" until_true 20 stored_is 20000
check "and stores again" aico-bus pub logs/app/v1 'after the restart'
check "  the new line" until_true 10 stored_is 20001

kill -TERM "$BACKEND"
check "TERM commits and ends with 0" wait_for "$BACKEND" 0
start backend aico-backend --as backend || failed "aico-backend starts again" "$WORK/backend.err"
check "a restart keeps everything" stored_is 20001
kill -TERM "$STARTED"
check "and ends again" wait_for "$STARTED" 0
printf 'not a database, only text that is long enough to be looked at\n%.0s' {1..100} >"$WORK/other"
check_exit "a database of something else is refused: exit 3" 3 aico-backend --as backend --db "$WORK/other" -q
finish
