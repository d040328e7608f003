# SPDX-License-Identifier: Apache-2.0
# Seeded faults for `aico-bus doctor`. Each: a whole home is spoilt in one way, the doctor names it, what
# it printed is run by sh as it stands, and then a message crosses the bus. Sourced after lib.sh.
#
#   fault "name" E_CODE "text in subject or cause" SEED [DOCTOR-OPTION...]
#
# SEED is a function; it finds the home at $AICO_HOME, with its broker running if it calls running.
#   hopeless ...            the same, but the doctor knows no command that helps
WHOLE=$WORK/whole
TIMES=$WORK/times

# The broker that a printed command started is no child of ours; its lock says who it is, and that it
# still is.
end_broker() {
    local lock=$AICO_HOME/run/broker.lock
    [ -e "$lock" ] && ! flock -n "$lock" true || return 0
    kill -KILL "$(cat "$lock")" 2>/dev/null
    flock -w 20 "$lock" true
}
trap 'end_broker; clean_up' EXIT

aico-keytool --home "$AICO_HOME" init --starter -q 2>/dev/null || { failed "a home"; finish; }
sed -i 's|^    endpoints:.*|    endpoints: ["ipc://${AICO_HOME}/run/bus.sock"]|' "$AICO_HOME/security.yaml"
mkdir -m 700 "$AICO_HOME/config"
aico-broker --home "$AICO_HOME" --check 2>"$WORK/err" || { failed "the whole home" "$WORK/err"; finish; }
cp -a "$AICO_HOME" "$WHOLE"

whole_again() {
    end_broker
    rm -rf "$AICO_HOME"
    cp -a "$WHOLE" "$AICO_HOME"
}
running() {
    ( cd / && setsid -f aico-broker --home "$AICO_HOME" </dev/null >/dev/null 2>>"$WORK/broker.err" )
    until_true 20 aico-bus --as cli ping --count 1 >/dev/null 2>&1
}

# From cli to backend, in the order: it listens, it is said, it came.
cross() {
    local fifo="$WORK/cross.ready" reader
    rm -f "$fifo"
    mkfifo "$fifo"
    timeout 60 aico-bus --as backend sub 'logs/**' --count 1 --raw --ready-fd 9 9>"$fifo" >"$WORK/cross.out" 2>"$WORK/cross.err" </dev/null &
    reader=$!
    if [ -z "$(timeout 60 head -c 1 "$fifo" | od -An -tx1)" ]; then
        wait "$reader"
        return 1
    fi
    aico-bus --as cli pub logs/doctor/v1 "as it was" --timeout 20s >>"$WORK/cross.err" 2>&1 || { kill "$reader"; return 1; }
    wait "$reader" && [ "$(cat "$WORK/cross.out")" = "as it was" ]
}
# The broker that was just started may need a moment.
crosses() { until_true 60 cross; }

cat >"$WORK/findings.py" <<'PY'
# findings.py CODE TEXT FINDINGS SCRIPT: exit 0 if one is named so; every repair goes into SCRIPT.
import json, sys
code, text, findings, script = sys.argv[1:]
named = False
with open(script, "w") as out:
    for line in open(findings):
        f = json.loads(line)
        if f["level"] not in ("warning", "error"):
            continue
        print(f["level"], f["check"], f["subject"], f["code"], f["cause"])
        if f["code"] == code and text in f["subject"] + " " + f["cause"]:
            named = True
        if f["repair"] and not f["for_owner"]:
            out.write(f["repair"] + "\n")
sys.exit(not named)
PY

diagnose() { # NAME CODE TEXT SEED OPTIONS...
    local name=$1 code=$2 text=$3 seed=$4 start took
    shift 4
    whole_again
    "$seed" >"$WORK/seed.out" 2>&1
    start=$(now_ms)
    timeout 60 aico-bus doctor --as cli --json "$@" >"$WORK/findings" 2>"$WORK/doctor.err" </dev/null
    took=$(($(now_ms) - start))
    echo "$took $name" >>"$TIMES"
    if ! python3 "$WORK/findings.py" "$code" "$text" "$WORK/findings" "$WORK/repair.sh" >"$WORK/named"; then
        failed "$name: not named $code ($text)" "$WORK/named" "$WORK/doctor.err" "$WORK/seed.out"
        return 1
    fi
    # The promise is 2 s; a loaded machine may take longer than a quiet one.
    [ "$took" -lt 15000 ] || { failed "$name: took $took ms" "$WORK/named"; return 1; }
}
fault() {
    diagnose "$@" || return
    sh "$WORK/repair.sh" >"$WORK/repair.out" 2>&1 </dev/null
    if crosses; then
        passed "$1 ($2)"
    else
        failed "$1: repaired, and still nothing crosses" "$WORK/named" "$WORK/repair.sh" "$WORK/repair.out" "$WORK/cross.err" "$AICO_HOME/log/broker.log"
    fi
}
hopeless() {
    diagnose "$@" || return
    passed "$1 ($2), named"
}
report_times() {
    echo "the doctor took, in ms: $(sort -n "$TIMES" | awk '{t[NR] = $1} END {print "median " t[int((NR + 1) / 2)] ", slowest " t[NR] " of " NR}')"
    sort -rn "$TIMES" | head -n 3 | sed 's/^/      /'
}
own() { echo "$AICO_HOME/identities/cli.key"; }
