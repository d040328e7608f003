#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Why: every cause of docs/errors.md with real processes. The caller gets its code, its exit status and
# one line with the repair; the broker's log says the same of its side.
# AICO_TEST_BIN: hostile-broker and skewed-clock.so.
# Not under sanitizers: it judges times, and one process gets another clock by LD_PRELOAD.
: "${AICO_TEST_BIN:?names the folder with hostile-broker}"
SETTINGS='
  max_retained: 0
security:
  transport:
    max_message_size: 65536
    handshake_timeout: 3
    synchrony_bound: 1
'
. "$(dirname "$0")/lib.sh"
LIMIT_MS=30000 # a loaded machine; the times are printed
bus_up
export AICO_IDENTITY=cli
IPC=ipc://$AICO_HOME/run/bus.sock
TCP=tcp://127.0.0.1:$PORT

# cause NAME STATUS CODE CMD...: that exit status, and CODE on stderr with a repair.
cause() {
    local name=$1 status=$2 code=$3 start
    shift 3
    start=$(now_ms)
    check_exit "$name: exit $status ($code)" "$status" "$@"
    echo "      $(($(now_ms) - start)) ms: $(tail -n 1 "$WORK/err")"
    check "  with its code" grep -q "($code)" "$WORK/err"
}
repair() { check "  and a repair" grep -Eq '; |run: |aico-keytool |aico-bus ' "$WORK/err"; }
# log CODE TEXT: the broker said it.
in_log() { grep -E "$1" "$WORK/broker.err" | grep -q "$2"; }
log() { check "  the broker's log: $2" until_true 20 in_log "$1" "$2"; }
SKEW="env LD_PRELOAD=$AICO_TEST_BIN/skewed-clock.so TEST_SKEW_S"
# A home like ours that goes its own way from here; without the owner's key when told so.
home_like() {
    mkdir -m 700 "$WORK/$1" && cp -a "$AICO_HOME/." "$WORK/$1/"
    rm -rf "$WORK/$1/run"
    sed -i "s|ipc://[^ ]*|ipc://$WORK/$1/run/bus.sock|; /tcp:/d" "$WORK/$1/security.yaml"
}

# --- the broker -----------------------------------------------------------------------------------------
cause "no broker there" 6 E_UNREACHABLE aico-bus --broker ipc://"$WORK/nowhere.sock" status
repair
python3 - "$WORK/web.port" <<'PY' &
import http.server, sys
server = http.server.HTTPServer(("127.0.0.1", 0), type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *a: None}))
with open(sys.argv[1] + ".new", "w") as out:
    out.write(str(server.server_address[1]))
import os
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.serve_forever()
PY
PIDS+=($!)
until_true 20 test -s "$WORK/web.port"
cause "not a broker" 6 E_NOT_BROKER aico-bus --broker "tcp://127.0.0.1:$(cat "$WORK/web.port")" status
repair
aico-keytool --home "$WORK/foreign" init --starter -q
cause "another broker's key" 5 E_BROKER_KEY aico-bus --home "$WORK/foreign" --broker "$TCP" status
repair
log E_BROKER_KEY "expected another key"

cause "no room for another value" 10 E_FULL aico-bus pub logs/full/v1 x --retain
repair
check "  it names the setting" grep -q 'raise broker.max_retained' "$WORK/err"

# --- our key ----------------------------------------------------------------------------------------------
home_like stranger
aico-keytool --home "$WORK/stranger" new visitor -q
cause "a key the broker does not know" 5 E_UNKNOWN aico-bus --home "$WORK/stranger" --as visitor --broker "$TCP" status
repair
log E_UNKNOWN "unknown key"
cause "a key there is no file of" 5 E_UNKNOWN aico-bus --as nobody status
repair
home_like away
aico-keytool revoke frontend --reason test -q
until_true 20 in_log registry "version 2 is in force"
cause "revoked, as the home knows" 5 E_REVOKED aico-bus --as frontend status
repair
cause "revoked, as only the broker knows" 5 E_REVOKED aico-bus --home "$WORK/away" --as frontend --broker "$TCP" status
repair
log E_REVOKED frontend
aico-keytool new frontend --role ui -q
until_true 20 in_log registry "version 3 is in force"
start twin aico-bus --as frontend sub 'conversation/**'
TWIN=$STARTED
cause "the same identity twice" 5 E_DUPLICATE aico-bus --as frontend status
repair
log E_DUPLICATE frontend

# --- registry and clock -----------------------------------------------------------------------------------
cp "$WORK/away/registry" "$AICO_HOME/registry"
log E_REGISTRY_OLD "put it back"
cp "$AICO_HOME/state/owner/registry" "$AICO_HOME/registry"
aico-bus status >/dev/null # cli has accepted the newest
home_like older
cp "$WORK/away/registry" "$WORK/older/registry"
rm -rf "$WORK/older/state/broker" "$WORK/older/state/owner"
start broker.older aico-broker --home "$WORK/older"
start old aico-bus --broker "ipc://$WORK/older/run/bus.sock" sub 'logs/**'
check "the broker has an older registry: told" until_true 20 grep -q 'the broker has registry 1, we have 3' "$WORK/old.err"
check "  by its log, too" until_true 20 grep -q 'E_REGISTRY_OLD' "$WORK/broker.older.err"
home_like forked
aico-keytool --home "$WORK/forked" rule set fork/a --publish cli --subscribe cli -q
aico-keytool rule set fork/b --publish cli --subscribe cli -q
until_true 20 in_log registry "version 4 is in force"
start fork aico-bus --home "$WORK/forked" --broker "$TCP" sub 'logs/**'
check "two registries of one version: told" until_true 20 grep -q 'another registry of version 4' "$WORK/fork.err"
log E_EQUIVOCATION cli
kill -TERM "$STARTED"
aico-bus status >/dev/null
cp "$WORK/forked/registry" "$AICO_HOME/registry"
cause "the home's registry is another one of that version" 5 E_EQUIVOCATION aico-bus status
repair
log E_EQUIVOCATION "stays in force"
cp "$AICO_HOME/state/owner/registry" "$AICO_HOME/registry"

start echo aico-bus --as backend reply system/status/v1 --echo
ECHO=$STARTED
cause "our clock is off" 5 E_CLOCK $SKEW=30 aico-bus --timeout 2s ping backend
check "  it is a claim of somebody" grep -q 'claims' "$WORK/err"
start late $SKEW=30 aico-bus sub 'conversation/**'
check "  and told as soon as there is a link" until_true 20 grep -q 'our clock is 30 s ahead' "$WORK/late.err"
kill -TERM "$STARTED"
sed 's/synchrony_bound: 1/&\n    registry_max_age: 60/' "$AICO_HOME/security.yaml" >"$WORK/aged.yaml"
cause "the registry is too old to begin with it" 5 E_REGISTRY_STALE $SKEW=120 aico-bus --config "$WORK/aged.yaml" ping backend
sed 's/synchrony_bound: 1/&\n    padding: padme/' "$AICO_HOME/security.yaml" >"$WORK/padded.yaml"
cause "settings of the two ends differ" 5 E_POLICY aico-bus --config "$WORK/padded.yaml" --timeout 2s ping backend

# --- messages ----------------------------------------------------------------------------------------------
cause "no rule lets us publish" 4 E_DENIED aico-bus pub nothing/at/all x
repair
cause "no rule lets us subscribe" 4 E_DENIED aico-bus sub nothing/at/all
repair
log E_DENIED cli
head -c 70000 /dev/zero >"$WORK/big"
cause "larger than we may" 1 E_TOO_LARGE sh -c "aico-bus pub logs/big/v1 - <'$WORK/big'"
repair
sed 's/max_message_size: 65536/max_message_size: 1048576/' "$AICO_HOME/security.yaml" >"$WORK/large.yaml"
head -c 500000 /dev/zero >"$WORK/big"
cause "larger than the broker takes" 1 E_TOO_LARGE sh -c "aico-bus --config '$WORK/large.yaml' pub logs/big/v1 - <'$WORK/big'"
cause "nobody serves it" 8 E_NO_RESPONDER aico-bus request system/other/v1
repair
cause "no such component" 5 E_PEER_UNKNOWN aico-bus ping nobody
repair
kill -TERM "$TWIN"
wait_for "$TWIN" 143
cause "not connected" 8 E_PEER_AWAY aico-bus ping frontend
repair
stand_still "$ECHO"
cause "no answer in time" 7 E_TIMEOUT aico-bus --timeout 1s request system/status/v1
repair
kill -CONT "$ECHO"

# --- what a broker may do to a message -----------------------------------------------------------------------
aico-keytool -q rule set 'prank/**' --publish cli,frontend --subscribe backend --freshness 1
kill -TERM "$ECHO"
wait_for "$ECHO" 143
check "the broker ends" broker_stop
start hostile "$AICO_TEST_BIN/hostile-broker" --home "$AICO_HOME"
begin_pranks() {
    start pranks aico-bus --as backend sub 'prank/**' --json
    mkfifo "$WORK/feed"
    # One publisher for all of it: what it says late must still be of the keys it gave out.
    aico-bus --as frontend pub prank/stale --lines <"$WORK/feed" >"$WORK/stale.out" 2>&1 &
    PIDS+=($!)
    exec 8>"$WORK/feed"
}
begin_pranks
echo late >&8
for prank in fine forged replayed nokey; do
    aico-bus pub "prank/$prank" x >"$WORK/check.out" 2>&1
done
unopened() { grep -q "\"unopened\":{\"topic\":\"prank/$1\".*\"cause\":\"$2\"" "$WORK/pranks.out"; }
check "a message nobody touched comes" until_true 30 grep -q '"topic":"prank/fine"' "$WORK/pranks.out"
check "a forged one: E_OPEN" until_true 30 unopened forged E_OPEN
check "one of a key that was never given: E_KEY" until_true 30 unopened nokey E_KEY
check "a stale one: E_STALE" until_true 30 unopened stale E_STALE
exec 8>&-
check "one that came again comes once" test "$(grep -c '"topic":"prank/replayed"' "$WORK/pranks.out")" = 1
check "  and is told: E_REPLAY" until_true 30 grep -q 'came again.*prank/replayed.*E_REPLAY' "$WORK/pranks.err"
kill -TERM "$STARTED"
wait_for "$STARTED" 143
start alone aico-bus --as backend sub prank/forged --count 1 --for 4s
aico-bus pub prank/forged x
check "who waited for one that did not open ends with 9" wait_for "$STARTED" 9
finish
