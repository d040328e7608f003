#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# aico-bus top: on a terminal, without one, and while the broker comes and goes.
. "$(dirname "$0")/lib.sh"

export AICO_IDENTITY=ops LIMIT_MS=60000 TERM=xterm
HERE=$(cd "$(dirname "$0")" && pwd)
screen() { python3 "$HERE/screen.py" "$@"; }
bus_up
aico-keytool new ops --role admin -q </dev/null 2>"$WORK/new.log" || failed "an administrator" "$WORK/new.log"
until_true 20 aico-bus ping --count 1 >/dev/null 2>&1 || failed "it is known to the broker"
start reader aico-bus --as backend sub 'logs/**'
aico-bus --as cli pub logs/t/v1 x --count 10 || failed "ten messages"

# --- without a terminal -------------------------------------------------------------------------------
check_exit "without a terminal it prints once" 0 aico-bus top --interval 250ms
check "  how the broker is" grep -qE '^[0-9]+ components, [0-9]+ subscriptions, [0-9]+ topics; published 0\.0/s' "$WORK/out"
check "  components" grep -qE '^backend +0\.0 +0\.0 ' "$WORK/out"
check "  topics" grep -qE '^logs/t/v1 +0\.0 +0 +10 ' "$WORK/out"
check "  no empty table" bash -c "! grep -q 'Slow readers' '$WORK/out'"
check "  nothing that drives a terminal" bash -c "! grep -q $'\x1b' '$WORK/out'"
(until ! kill -0 $$ || [ -e "$WORK/enough" ]; do aico-bus --as cli pub logs/rate/v1 x --count 200; done) >/dev/null 2>&1 &
PIDS+=($!)
check_exit "rates are of what happens" 0 aico-bus top --interval 2s --json
touch "$WORK/enough"
check "  of topics, components, the broker, and they are one" python3 - "$WORK/out" <<'END'
import json, sys
top = json.load(open(sys.argv[1]))
topic, = [row for row in top["topics"] if row["topic"] == "logs/rate/v1"]
reader, = [row for row in top["peers"] if row["name"] == "backend"]
assert 2 <= top["seconds"] < 60, top["seconds"]
assert 0 < topic["messages_s"] <= topic["messages"] / top["seconds"] + 0.1, topic
assert 0 < reader["delivered_s"] and 0 < reader["bytes_out_s"], reader
assert abs(top["status"]["published_s"] * top["seconds"] - round(top["status"]["published_s"] * top["seconds"])) < 1e-3
assert set(top) == {"time", "seconds", "status", "peers", "topics", "slow", "losses"}
END
check_exit "one view, sorted" 0 aico-bus top --once --interval 250ms --view topics --sort messages
check "  it alone" bash -c "grep -q '^Topics' '$WORK/out' && ! grep -q '^Components' '$WORK/out'"
check "  the greatest first" bash -c "grep -E '^logs/' '$WORK/out' | head -n 1 | grep -q '^logs/rate/v1'"
check_exit "--json --count 3" 0 aico-bus top --json --count 3 --interval 250ms
check "  three lines" test "$(wc -l <"$WORK/out")" = 3
check_exit "not without role admin" 4 aico-bus --as frontend top --once
check_exit "what was refused" 0 aico-bus top --once --interval 250ms --view losses
check "  has its cause" grep -qE '^refused +E_DENIED +[1-9]' "$WORK/out"
check_exit "an unknown column is exit 2" 2 aico-bus top --once --sort nothing
check_exit "an unknown view is exit 2" 2 aico-bus top --once --view nothing
check_exit "an interval of nothing is exit 2" 2 aico-bus top --once --interval 1ms

# --- on a terminal ------------------------------------------------------------------------------------
check "q ends it, and the terminal is as it was" bash -c \
    "'$HERE/screen.py' 'see BYTES-IN/S' 'see backend' 'see q quit' 'key q' end -- aico-bus top | grep -qx 'terminal as it was'"
check "views by Tab and number, sorting, reversing" screen --size 30x120 'see [1 peers]' 'see by IN/S' 'key >' \
    'see by OUT/S' 'key r' 'see (reversed)' 'key <' 'key r' 'see by IN/S' 'key \t' 'see [2 topics]' 'see logs/rate/v1' \
    'key 4' 'see E_DENIED' 'key 1' 'see ADDRESS' 'key q' end -- aico-bus top --interval 250ms
check "another size, down to nothing" screen 'see backend' 'size 40x200' 'see ADDRESS' 'size 3x10' 'gone backend' \
    'size 1x1' 'size 24x80' 'see backend' 'key q' end -- aico-bus top --interval 250ms
check "--count ends it too" screen end -- aico-bus top --count 2 --interval 250ms
screen 'see backend' 'key '$'\x03' end -- aico-bus top >"$WORK/out"
check "^C is exit 130" test $? = 130
check "  and the terminal is as it was" grep -qx 'terminal as it was' "$WORK/out"
screen 'see backend' hangup -- aico-bus top >"$WORK/out"
check "a line that is cut ends it" test $? = 129 -o $? = 1
screen end -- aico-bus --as frontend top >"$WORK/out"
check "not without role admin" test $? = 4
check "  says so on a screen that stays" grep -q 'role admin' "$WORK/out"
TERM=dumb screen end -- aico-bus top >"$WORK/out"
check "TERM=dumb is refused" test $? = 2
check "  with what to do" grep -q 'TERM=dumb.*top --once' "$WORK/out"
TERM=no-such-terminal screen end -- aico-bus top >"$WORK/out"
check "an unknown terminal is refused" test $? = 2
check "without input it is one table" bash -c \
    "'$HERE/screen.py' end -- sh -c 'aico-bus top --interval 250ms </dev/null' | grep -q ^backend"

# --- the broker goes and comes ------------------------------------------------------------------------
AGAIN="aico-broker -q </dev/null >/dev/null 2>'$WORK/again.err' & echo \$! >'$WORK/again'"
check "a broker that is killed is waited for" screen --size 24x140 'see backend' "run kill -KILL $BROKER_PID" \
    'see trying again' "run $AGAIN" \
    'gone trying again' 'see NAME' 'key q' end -- aico-bus top --interval 250ms --timeout 2s
BROKER_PID=$(cat "$WORK/again")
PIDS+=("$BROKER_PID")
printf 'open sesame\n' >"$WORK/pass"
chmod 600 "$WORK/pass"
check "a key with a passphrase" aico-keytool passwd ops --new-passphrase-file "$WORK/pass"
check "a broker that drains is waited for with a passphrase that was typed" screen --size 24x140 'wait Enter passphrase' \
    'key open sesame\n' 'see backend' "run kill -TERM $BROKER_PID" \
    'see trying again' "run tail -s 0.1 --pid=$BROKER_PID -f /dev/null; $AGAIN" 'gone trying again' \
    'see NAME' 'key q' end -- aico-bus top --interval 250ms --timeout 2s
BROKER_PID=$(cat "$WORK/again")
PIDS+=("$BROKER_PID")
check "the key without one again" aico-keytool passwd ops --unprotected --passphrase-file "$WORK/pass"
check "who is kicked ends" bash -c "'$HERE/screen.py' 'see NAME' 'run aico-bus --as cli kick ops' end -- aico-bus top --interval 250ms >'$WORK/out'
    [ \$? = 5 ]"
finish
