#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What the doctor says of brokers that are gone, stopped, old or somebody else's, of rules, clocks and
# limits. Seeded faults: doctor_lib.sh.
# Not under sanitizers: it judges times.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/doctor_lib.sh"
K="aico-keytool --home $AICO_HOME -q"
SOCK=$AICO_HOME/run/bus.sock

# --- the broker --------------------------------------------------------------------------------------------
killed() { running; kill -KILL "$(cat "$AICO_HOME/run/broker.lock")"; flock -w 20 "$AICO_HOME/run/broker.lock" true; }
stopped() { running; kill -STOP "$(cat "$AICO_HOME/run/broker.lock")"; }
rotated() { running; $K rotate broker; }
socket_gone() { running; rm "$SOCK"; }
socket_is_file() { : >"$SOCK"; }
listener() { # somebody else's, on our socket
    rm -f "$WORK/listens"
    python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(8); open(sys.argv[2], "w").close()
while True: s.accept()[0].close()' "$SOCK" "$WORK/listens" &
    LISTENER=$!
    PIDS+=("$LISTENER")
    until_true 20 test -e "$WORK/listens"
}
foreign_broker() { # of another home
    aico-keytool --home "$WORK/other" init --starter -q
    sed -i "s|^    endpoints:.*|    endpoints: [\"ipc://$WORK/other/run/bus.sock\"]|" "$WORK/other/security.yaml"
    start other aico-broker --home "$WORK/other"
}
fault "the broker was killed" E_UNREACHABLE "bus.sock" killed
fault "the broker is stopped" E_NOT_BROKER "is stopped" stopped
fault "the broker has the key of before a rotation" E_BROKER_KEY "bus.sock" rotated
fault "the socket was removed" E_UNREACHABLE "bus.sock" socket_gone
fault "a file lies where the socket has to be" E_EXISTS "bus.sock" socket_is_file
hopeless "something else listens there" E_NOT_BROKER "bus.sock" listener
kill "$LISTENER"
hopeless "it is the broker of another bus" E_BROKER_KEY "other/run/bus.sock" foreign_broker --broker "ipc://$WORK/other/run/bus.sock"
named_only() { grep -q "\"code\":\"$1\"" "$WORK/findings"; }

# --- rules --------------------------------------------------------------------------------------------------
says() { until_true 20 timeout 20 aico-bus --as cli pub "$1" x; }
hears() { timeout 20 aico-keytool --home "$AICO_HOME" may cli subscribe "$1" >/dev/null; }
no_rule() { running; }
denied_publish() { $K rule set 'sensors/**' --publish backend --subscribe '*' --freshness 30; running; }
denied_subscribe() { $K rule set 'alarms/**' --publish '*' --subscribe backend --authenticity signature; running; }
unsealed() { $K rule set 'logs/**' --publish '*' --subscribe '*' --seal none; running; }
fault "no rule for what it wants to say" E_DENIED "robots/hello no" no_rule --publish robots/hello
check "  now it may" says robots/hello
fault "a rule keeps it from publishing" E_DENIED "sensors/**" denied_publish --publish sensors/a
check "  now it may" says sensors/a
check "  the rule is otherwise as it was" grep -q '^rule sensors/\*\* publish backend,cli subscribe \* .*freshness 30' "$AICO_HOME/registry"
fault "a rule keeps it from subscribing" E_DENIED "alarms/**" denied_subscribe --subscribe 'alarms/#'
check "  now it may" hears 'alarms/#'
fault "a rule asks for clear text" E_POLICY "logs/**" unsealed

# --- clock and limits ---------------------------------------------------------------------------------------
if [ -e "${AICO_TEST_BIN:-}/skewed-clock.so" ]; then
    skewed_doctor() { LD_PRELOAD=$AICO_TEST_BIN/skewed-clock.so TEST_SKEW_S=$1 aico-bus doctor --as cli --json >"$WORK/findings"; }
    whole_again
    running
    check "our clock is an hour ahead: exit 5" bash -c "LD_PRELOAD=$AICO_TEST_BIN/skewed-clock.so TEST_SKEW_S=3600 aico-bus doctor --as cli --json >'$WORK/findings'; [ \$? -eq 5 ]"
    check "  named" named_only E_CLOCK
    check "  with the command" grep -q 'timedatectl set-ntp true' "$WORK/findings"
    check "our clock is an hour behind: exit 5" bash -c "LD_PRELOAD=$AICO_TEST_BIN/skewed-clock.so TEST_SKEW_S=-3600 aico-bus doctor --as cli --json >'$WORK/findings'; [ \$? -eq 5 ]"
    check "  the registry is of the future" grep -q 'signed .* from now' "$WORK/findings"
fi
whole_again
running
check "too few descriptors are told" bash -c "ulimit -Sn 40; aico-bus doctor --as cli --json >'$WORK/findings'; grep -q '\"subject\":\"open files\"' '$WORK/findings'"
check "  with what raises them" bash -c "ulimit -Sn 40; $(sed -n 's/.*"open files".*"repair":"\([^"]*\)".*/\1/p' "$WORK/findings"); aico-bus --as cli status >/dev/null"
long=$WORK/$(printf 'long%.0s' $(seq 1 25))
mkdir -p "$long" && cp -a "$WHOLE" "$long/home"
check "a path too long for a socket" bash -c "aico-bus doctor --home '$long/home' --as cli --json >'$WORK/findings'; grep -q 'the system allows 107' '$WORK/findings'"

check "  with a shorter one" grep -q 'ipc:///tmp/aico-[0-9]*/bus.sock' "$WORK/findings"

# --- what it says when there is nothing to say -----------------------------------------------------------
check "a bus that works: exit 0" bash -c "aico-bus doctor --as cli >'$WORK/out'"
check "  and nothing but ok and notes" bash -c "! grep -E '^(warning|error)' '$WORK/out'"
check "as nobody in particular: exit 0" env -u AICO_IDENTITY aico-bus doctor
check "a home that is none: exit 1" bash -c "aico-bus doctor --home '$WORK/none' --json >'$WORK/findings'; [ \$? -eq 1 ]"
check "  with the command" grep -q "aico-keytool --home '$WORK/none' init" "$WORK/findings"
# Who connects keeps the head of the broker's audit log, as every component does.
files() { find "$AICO_HOME" -type f ! -path '*/log/*' ! -name witness -exec sha256sum {} + | sort; }
before=$(files)
aico-bus doctor --as cli >/dev/null
check "it changes nothing" test "$before" = "$(files)"
report_times
finish
