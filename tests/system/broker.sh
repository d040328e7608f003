#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# aico-broker as an operator meets it: start, ready, signals, the second one, mistakes in what it reads.
. "$(dirname "$0")/lib.sh"

export AICO_IDENTITY=cli
# Whole lines: starting, ready, stopped...
says() { grep -q "info broker: $1: " "$WORK/broker.err"; }
port_answers() { (exec 3<>"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; }

check_exit "--help is exit 0" 0 aico-broker --help
check "  and explains the signals" grep -q 'TERM' "$WORK/out"
check_exit "--version is exit 0" 0 aico-broker --version
check_exit "an unknown option is a usage error" 2 aico-broker --chek
check "  and the nearest is named" grep -q 'did you mean --check' "$WORK/err"
check_exit "no home is exit 1" 1 aico-broker
check "  and says what to do" grep -q 'aico-keytool init' "$WORK/err"

home_new || { failed "a home" "$WORK/init.out"; finish; }
PORT=$((20000 + RANDOM % 30000))
# config [LINE...]: security.yaml with endpoints, then lines of the section broker.
config() {
    printf '%s\n' 'broker:' "  endpoints: [\"ipc://$AICO_HOME/run/bus.sock\", \"tcp://127.0.0.1:$PORT\"]" \
        "$@" >"$AICO_HOME/security.yaml"
    chmod 600 "$AICO_HOME/security.yaml"
}
config

# --- what is read, without starting -----------------------------------------------------------------
tree() { (cd "$AICO_HOME" && find . -printf '%p %m %T@ %s\n' | sort); }
tree >"$WORK/before"
check_exit "--check of a good home is exit 0" 0 aico-broker --check
check "  writes nothing" bash -c "cmp '$WORK/before' <(cd '$AICO_HOME' && find . -printf '%p %m %T@ %s\n' | sort)"
check_exit "--print-config is exit 0" 0 aico-broker --print-config
check "  shows every setting with where it comes from" grep -q "max_connections" "$WORK/out"
check "  and what the file says" grep -q "127.0.0.1:$PORT" "$WORK/out"
check "  prints no secret" bash -c "! grep -qF \"\$(sed -n 's/^secret //p' '$AICO_HOME/broker.key')\" '$WORK/out'"

config '  outbox_limitt: 65536'
for how in "" --check --print-config; do
    check_exit "an unknown key is exit 3 ${how}" 3 aico-broker $how
    check "  file:line:column" grep -q "security.yaml:3:3: " "$WORK/err"
    check "  and the nearest known" grep -q 'outbox_limit' "$WORK/err"
done
config '  max_topics: many'
check_exit "a wrong value is exit 3" 3 aico-broker
check "  file:line:column" grep -q 'security.yaml:3:15: ' "$WORK/err"
config '  max_topics: [1'
check_exit "what is not YAML is exit 3" 3 aico-broker
check "  with its place" grep -Eq 'security.yaml:[0-9]+:[0-9]+: ' "$WORK/err"
printf 'broker:\n  max_topics: no\n  outbox_limit: -1\n' >"$AICO_HOME/security.yaml"
aico-broker --check >"$WORK/out" 2>"$WORK/err"
check "--check tells every mistake at once" test "$(grep -c 'security.yaml:[23]:' "$WORK/err")" = 2
check "nothing was left in run/" test ! -e "$AICO_HOME/run/bus.sock"
config

chmod 640 "$AICO_HOME/broker.key"
check_exit "a key that others can read is exit 5" 5 aico-broker
check "  with its repair" grep -q "chmod 600 '$AICO_HOME/broker.key'" "$WORK/err"
chmod 600 "$AICO_HOME/broker.key"
cp "$AICO_HOME/broker.key" "$WORK/broker.key"
sed -i 's/^created 2/created 1/' "$AICO_HOME/broker.key"
check_exit "a damaged key is exit 5" 5 aico-broker
check "  told as such" grep -q 'E_KEYFILE_DAMAGED' "$WORK/err"
rm "$AICO_HOME/broker.key"
check_exit "no key is exit 5" 5 aico-broker
ln -s "$WORK/broker.key" "$AICO_HOME/broker.key"
check_exit "a key behind a link is exit 5" 5 aico-broker
check "  told as such" grep -q 'E_KEYFILE_SYMLINK' "$WORK/err"
rm "$AICO_HOME/broker.key"
cp "$AICO_HOME/identities/backend.key" "$AICO_HOME/broker.key"
check_exit "the key of another is exit 5" 5 aico-broker
check "  told as such" grep -q 'E_KEYFILE_MISMATCH' "$WORK/err"
cp "$WORK/broker.key" "$AICO_HOME/broker.key"
cp "$AICO_HOME/registry" "$WORK/registry"
sed -i 's/ active / actire /' "$AICO_HOME/registry"
check_exit "a registry that was changed is exit 5" 5 aico-broker
check "  told as such" grep -q 'E_REGISTRY_SIGNATURE' "$WORK/err"
cp "$WORK/registry" "$AICO_HOME/registry"

# --- a life -------------------------------------------------------------------------------------------
start broker aico-broker || { failed "aico-broker gets ready" "$WORK/broker.err"; finish; }
BROKER=$STARTED
passed "--ready-fd tells when it listens"
check "  on tcp" port_answers
check "  on ipc, closed to others" test -S "$AICO_HOME/run/bus.sock" -a "$(stat -c %a "$AICO_HOME/run")" = 700
check "  and it says where" grep -q "ready: ipc://$AICO_HOME/run/bus.sock, tcp://127.0.0.1:$PORT" "$WORK/broker.err"
check "no core file" grep -Eq '^Max core file size +0 +0 ' "/proc/$BROKER/limits"
# Of a process that cannot be dumped the kernel gives the files in /proc to root.
[ "$(id -u)" -eq 0 ] || check "no memory image" bash -c "! head -c 1 /proc/$BROKER/environ"
check_exit "both ways serve: ipc" 0 aico-bus ping --count 1
check_exit "both ways serve: tcp" 0 aico-bus ping --count 1 --broker "tcp://127.0.0.1:$PORT"

check_exit "a second broker of this home is exit 1" 1 aico-broker -q
check "  and says why" grep -q "is in use: a broker of this home is running" "$WORK/err"
check_exit "  the first one did not notice" 0 aico-bus ping --count 1
aico-keytool init --starter --home "$WORK/other" >"$WORK/init.out" 2>&1
printf 'broker:\n  endpoints: ["tcp://127.0.0.1:%s"]\n' "$PORT" >"$WORK/other/security.yaml"
check_exit "another home on the same port is exit 1" 1 aico-broker -q --home "$WORK/other"
check "  and names it" grep -q "tcp://127.0.0.1:$PORT: address in use" "$WORK/err"
printf 'broker:\n  endpoints: ["ipc://%s/run/bus.sock"]\n' "$AICO_HOME" >"$WORK/other/security.yaml"
check_exit "another home on the same socket is exit 1" 1 aico-broker -q --home "$WORK/other"
check_exit "  the first one did not notice" 0 aico-bus ping --count 1
printf 'broker:\n  endpoints: ["tcp://127.0.0.1:1"]\n' >"$WORK/other/security.yaml"
check_exit "a component of another bus is exit 5" 5 aico-bus --home "$WORK/other" --as cli ping --broker "ipc://$AICO_HOME/run/bus.sock"
check "  for the broker's key is not the pinned one" grep -q 'E_BROKER_KEY' "$WORK/err"

config '  max_topics: 4711'
kill -HUP "$BROKER"
check "HUP prints what changed" until_true 5 grep -q 'max_topics: .* -> 4711' "$WORK/broker.err"
check "  and that it is in force" grep -q 'max_topics.*4711: applied' "$WORK/broker.err"
check "  and is done" until_true 5 says reloaded
config '  max_topics: many'
kill -HUP "$BROKER"
check "HUP with a wrong file keeps what is in use" until_true 5 grep -q 'refused: .*security.yaml:3:15' "$WORK/broker.err"
config
check_exit "  it still serves" 0 aico-bus ping --count 1
aico-keytool new watcher -q 2>"$WORK/new.log"
check "a new component is let in by itself" until_true 1 aico-bus --as watcher ping --count 1
check "  the registry was logged" grep -q 'registry: registry version [0-9]* is in force' "$WORK/broker.err"

# --- TERM ---------------------------------------------------------------------------------------------
start reader aico-bus --as backend sub 'logs/**' --json --for 60s
READER=$STARTED
seq 1 3000 | sed 's/^/line /' >"$WORK/lines"
check_exit "messages wait for a reader" 0 bash -c "aico-bus pub logs/t/v1 --lines <'$WORK/lines'"
kill -TERM "$BROKER"
check "TERM ends it with 0" wait_for "$BROKER" 0
check "  drained, and said so" says draining
check "  and stopped" says stopped
check "  what it held was delivered" until_true 5 holds 3000 '"payload":"line' "$WORK/reader.out"
check "  its socket is gone" test ! -e "$AICO_HOME/run/bus.sock"
check "  its port is free" bash -c "! (exec 3<>/dev/tcp/127.0.0.1/$PORT) 2>/dev/null"
kill -TERM "$READER" 2>/dev/null
check_exit "nobody there is exit 6" 6 aico-bus ping

# --- killed, INT, systemd, JSON -----------------------------------------------------------------------
start broker aico-broker --json || { failed "aico-broker --json" "$WORK/broker.err"; finish; }
BROKER=$STARTED
kill -KILL "$BROKER"
{ wait "$BROKER"; } 2>/dev/null
check "its log is JSON, line by line" python3 -c "
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert any(line['event'] == 'ready' for line in lines), lines" "$WORK/broker.err"
check "a killed broker leaves its socket" test -S "$AICO_HOME/run/bus.sock"
python3 - "$WORK/notify" >"$WORK/notify.out" <<'PY' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
s.settimeout(30)
while True:
    text = s.recv(4096).decode()
    print(text, flush=True)
    if "STOPPING" in text:
        break
PY
NOTIFIED=$!
PIDS+=("$NOTIFIED")
until_true 5 test -S "$WORK/notify"
start broker env NOTIFY_SOCKET="$WORK/notify" aico-broker || { failed "it starts over a stale socket" "$WORK/broker.err"; finish; }
BROKER=$STARTED
passed "it starts over a stale socket"
check "systemd is told: ready" until_true 5 grep -q '^READY=1' "$WORK/notify.out"
kill -HUP "$BROKER"
check "  reloading" until_true 5 grep -q '^MONOTONIC_USEC=' "$WORK/notify.out"
kill -TERM "$BROKER"
check "TERM" wait_for "$BROKER" 0
check "  stopping" wait_for "$NOTIFIED" 0

check_exit "--config names another file" 3 aico-broker --config "$WORK/nothing.yaml"
check "nothing of it holds a secret" bash -c "! grep -rqF \"\$(sed -n 's/^secret //p' '$WORK/broker.key')\" '$WORK'/*.err '$WORK'/*.out '$AICO_HOME/state'"
finish
