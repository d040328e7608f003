#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The Debian packages and the units under a systemd that runs: installed, started, asked through sockets it
# listens on, reloaded, stopped in the middle, upgraded, removed. The system that boots is this one, in a
# container of systemd-nspawn over an overlay: nothing of it is left.
#
#   AICO_TEST_SYSTEMD=1 AICO_BIN=build/dev/bin tests/system/systemd.sh      as root; systemd-container
#
# By hand: what it takes (mounts, control groups, a systemd to boot) is not everywhere.
# Not under sanitizers: their libraries are not in the packages.
. "$(dirname "$0")/lib.sh"

[ -n "${AICO_TEST_SYSTEMD-}" ] || { echo "left out: AICO_TEST_SYSTEMD=1 boots a systemd for it"; exit 77; }
[ "$(id -u)" -eq 0 ] || { echo "left out: only root can boot a systemd"; exit 77; }
command -v systemd-nspawn >/dev/null || { echo "left out: no systemd-nspawn (package systemd-container)"; exit 77; }

SOURCE=$(cd "$(dirname "$0")/../.." && pwd)
ROOT=$WORK/disk/root
HOME_THERE=/var/lib/aico-bus/home
PACKAGES=(libaicobus libaicobus-dev aico-bus aico-broker)
CONTAINER=
INIT=

# --- a system that runs ----------------------------------------------------------------------------------

power_off() {
    trap '' INT TERM # a second one would leave it running
    [ -z "$INIT" ] || kill -KILL "$INIT" 2>/dev/null
    [ -z "$CONTAINER" ] || wait "$CONTAINER" 2>/dev/null
    umount "$ROOT" 2>/dev/null
    umount "$WORK/disk" 2>/dev/null
    clean_up
}
trap power_off EXIT

inside() { nsenter -t "$INIT" -a env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
user() { inside runuser -u aico-bus -- env AICO_HOME=$HOME_THERE "$@"; }
bus() { user timeout 60 aico-bus --timeout 30s "$@"; }

find_init() {
    INIT=$(ps -o pid= --ppid "$CONTAINER" | tr -d ' ')
    [ -n "$INIT" ]
}
is_up() { inside systemctl is-system-running 2>/dev/null | grep -qE 'running|degraded'; }

boot() {
    mkdir -p "$WORK/disk" && mount -t tmpfs -o size=2g aico-test "$WORK/disk" &&
        mkdir "$WORK"/disk/{upper,work,root} &&
        mount -t overlay aico-test -o "lowerdir=/,upperdir=$WORK/disk/upper,workdir=$WORK/disk/work" "$ROOT" ||
        return 1
    # No service of this machine; and if the packages are installed here, they are not there.
    rm -rf "$ROOT"/etc/systemd/system/*.wants "$ROOT"/etc/systemd/system/*.requires
    : >"$ROOT/etc/machine-id"
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 systemd-nspawn --quiet --register=no --keep-unit --directory="$ROOT" \
        --machine="aico-test-$$" --private-network --console=pipe --boot systemd.unit=basic.target \
        </dev/null >"$WORK/boot.log" 2>&1 &
    CONTAINER=$!
    until_true 60 find_init && until_true 120 is_up
}

# --- what is asked of a unit -----------------------------------------------------------------------------

show() { inside systemctl show --value -p "$2" "$1"; }
has() { [ "$(show "$1" "$2")" = "$3" ]; }
status_of() { inside sed -n "s/^$1:[[:space:]]*//p" "/proc/$(show aico-broker MainPID)/status"; }
journal() { inside journalctl -q -u "$1" -o cat "${@:2}"; }
has_entry() { journal "$@" | grep -q .; }
says() { journal "$1" "${@:3}" | grep -q "$2"; }
not() { ! "$@"; }
is() { check "$1" has "$2" "$3" "$4"; }

install_all() { inside sh -c 'dpkg -i /tmp/debs/*.deb'; }
install_them() {
    check "the packages install" install_all
    is "nothing is started" aico-broker ActiveState inactive
    check "  nor enabled" not inside systemctl is-enabled aico-broker
}

without_a_home() {
    check "without a home the unit is skipped" inside systemctl start aico-broker
    is "  and does not run" aico-broker ActiveState inactive
    is "  for that reason" aico-broker ConditionResult no
}

make_home() {
    check "a home is made by its user" user aico-keytool init --starter --home $HOME_THERE
    check "somebody who may look around" user aico-keytool -q new ops --role admin
    check "somebody who reads" user aico-keytool -q new keeper
    check "a rule that stores" user aico-keytool -q rule set 's/**' --publish cli --subscribe keeper \
        --store count=100 --history --before 'logs/**'
    inside tee $HOME_THERE/security.yaml >/dev/null <<'YAML'
broker:
  metrics_socket: run/metrics.sock
  drain_timeout: 20s
YAML
}

tells_status() { show aico-broker StatusText | grep -q components; }
runs() {
    check "the broker starts, which takes READY=1" inside systemctl start aico-broker
    is "it is active" aico-broker ActiveState active
    check "it says what it does" until_true 30 tells_status
    check "as aico-bus, and as nobody else" test "$(status_of Uid | tr '\t' '\n' | sort -u)" = "$(inside id -u aico-bus)"
    check "without a capability" test "$(status_of CapEff)$(status_of CapBnd)" = 00000000000000000000000000000000
    check "without new privileges, filtered" test "$(status_of NoNewPrivs) $(status_of Seccomp)" = "1 2"
}

sandbox() {
    bus --as keeper sub 's/**' --for 1s 2>/dev/null # its key is there from now on
    check "it stores" bus --as cli pub s/a kept --ack stored
    check "  and gives it out" bus --as keeper sub 's/**' --durable d --since all --count 1
    grep -q '^s/a cli kept' "$WORK/check.out" && passed "  as it was" || failed "  as it was" "$WORK/check.out"
    check "its audit log is right" user aico-keytool audit verify
    check "its numbers are there" user python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
text = b""
while part := s.recv(65536):
    text += part
sys.exit(b"aico_bus_info" not in text)' $HOME_THERE/run/metrics.sock
    check "the doctor finds nothing" user aico-bus --as cli doctor
}

backend() {
    check "the backend starts" inside systemctl start aico-backend
    check "  and collects" bus --as cli pub logs/a/v1 collected
    check "  and answers" bus --as frontend request logs/query/v1 '{"text":"collected"}'
    grep -q collected "$WORK/check.out" && passed "  with it" || failed "  with it" "$WORK/check.out"
}

entries() {
    check "its entries have their fields" has_entry aico-broker AICO_EVENT=ready
    bus --as frontend kick cli >/dev/null 2>&1
    check "  a refusal has its code and component" until_true 30 has_entry aico-broker AICO_CODE=E_DENIED AICO_COMPONENT=frontend
}

reload() {
    inside sed -i 's/drain_timeout: 20s/drain_timeout: 21s/' $HOME_THERE/security.yaml
    check "it is reloaded" inside systemctl reload aico-broker
    check "  and says what changed" until_true 30 says aico-broker drain_timeout AICO_EVENT=config
    is "  and goes on" aico-broker ActiveState active
}

is_replaced() { has aico-broker NRestarts 1 && has aico-broker ActiveState active; }
watchdog() {
    local before
    inside mkdir -p /run/systemd/system/aico-broker.service.d
    inside tee /run/systemd/system/aico-broker.service.d/test.conf >/dev/null <<<$'[Service]\nWatchdogSec=5'
    inside systemctl daemon-reload
    check "it starts again with a shorter watchdog" inside systemctl restart aico-broker
    before=$(show aico-broker MainPID)
    inside kill -STOP "$before"
    check "standing still it is replaced" until_true 120 is_replaced
    check "  by another one" test "$(show aico-broker MainPID)" != "$before"
    check "  because of the watchdog" has_entry aico-broker -g 'Watchdog timeout'
    check "  and serves" bus --as cli status
    check "  what was stored is there" bus --as keeper sub 's/**' --since all --count 1
    inside rm -r /run/systemd/system/aico-broker.service.d
    inside systemctl daemon-reload
}

is_there() { bus --as ops --json peers "$1" | grep -q "$1"; }
drains() {
    inside runuser -u aico-bus -- timeout 100 aico-bus --home $HOME_THERE --as frontend sub 'conversation/**' -v \
        >"$WORK/reader.out" 2>"$WORK/reader.err" </dev/null &
    local reader=$!
    PIDS+=("$reader")
    check "somebody reads" until_true 60 is_there frontend
    check "it stops" inside systemctl stop aico-broker
    is "  in order" aico-broker Result success
    check "  with a word about it" has_entry aico-broker AICO_EVENT=draining
    check "  and is not started again" has aico-broker ActiveState inactive
    # Killing $reader would end nsenter only: it would come again with every broker after this one.
    check "  its reader ends" inside pkill -TERM -u aico-bus -x aico-bus
    wait "$reader"
}

sockets() {
    check "systemd listens for it" inside systemctl enable --now aico-broker.socket
    is "  while it does not run" aico-broker ActiveState inactive
    check "the first connection starts it" bus --as cli pub s/b first --ack stored
    is "  it runs" aico-broker ActiveState active
    inside systemctl stop aico-broker 2>/dev/null
    check "so does one by TCP" bus --as cli --broker tcp://127.0.0.1:8771 status
    is "  it runs" aico-broker ActiveState active
    check "it is restarted" inside systemctl restart aico-broker
    check "  and serves" bus --as cli status
}

wrong() {
    inside sed -i 's/drain_timeout: .*/drain_timeout: soon/' $HOME_THERE/security.yaml
    check "a mistake in the configuration stops the start" not inside systemctl restart aico-broker
    # By what was said: a client that comes back meanwhile has the socket start it anew.
    check "  with its exit status" has_entry aico-broker -g 'code=exited, status=3'
    check "  and its place" has_entry aico-broker -g 'security.yaml.*drain_timeout'
    is "  and is not tried again" aico-broker NRestarts 0
    inside sed -i 's/drain_timeout: .*/drain_timeout: 20s/' $HOME_THERE/security.yaml
    inside systemctl reset-failed aico-broker aico-broker.socket
    check "put right, it starts" inside systemctl start aico-broker.socket aico-broker
}

upgrade() {
    local before
    before=$(show aico-broker MainPID)
    check "an upgrade goes through while it runs" install_all
    is "it runs" aico-broker ActiveState active
    check "  the new one" test "$(show aico-broker MainPID)" != "$before"
    check "  and serves" bus --as cli status
    check "  what was stored is there" bus --as keeper sub 's/**' --since all --count 2
}

failed_units() { inside systemctl --failed -q --plain --no-legend 'aico-*' | grep .; }
links() { inside find /etc/systemd /run/systemd/system -name 'aico-*' | grep .; }
leftovers() {
    inside find /etc /opt /run /usr /var -newer /tmp/debs -name '*aico*' ! -path "$HOME_THERE*" \
        ! -path /var/lib/aico-bus ! -path '/var/log/*' | grep .
}
away() {
    inside systemctl enable -q --now aico-broker aico-backend
    check "they are removed while they run" inside dpkg -r "${PACKAGES[@]}"
    check "  nothing runs any more" not inside pgrep -u aico-bus
    check "  nothing is failed" not failed_units
    check "  no link is left" not links
    check "  the options stay, as Debian keeps them" inside test -e /etc/default/aico-broker
    check "they are purged" inside dpkg -P "${PACKAGES[@]}"
    check "  nothing is left but the home" not leftovers
    check "  whose keys stay" inside test -s $HOME_THERE/owner.key
}

check "the tree is packaged" "$SOURCE/tools/deb" --tree "$(dirname "$AICO_BIN")" "$WORK/debs"
if ! boot; then
    echo "left out: no systemd boots here:"
    tail -n 5 "$WORK/boot.log"
    exit 77
fi
passed "a systemd runs: $(inside systemctl --version | head -n 1)"
inside mkdir /tmp/debs
for deb in "$WORK"/debs/*.deb; do
    inside tee "/tmp/debs/$(basename "$deb")" <"$deb" >/dev/null
done
PARTS=${PARTS:-install_them without_a_home make_home runs sandbox backend entries reload watchdog drains sockets wrong upgrade away}
for part in $PARTS; do
    $part
done
finish
