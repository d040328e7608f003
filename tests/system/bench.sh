#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# aico-bus bench: it runs on a bus of its own, says what it measured, loses nothing, notices loss, and
# leaves nothing behind. Never how fast it is.
. "$(dirname "$0")/lib.sh"

export TMPDIR=$WORK/tmp # its folders are made here, so that what it leaves is seen
mkdir "$TMPDIR"
unset AICO_HOME
nothing_left() { [ -z "$(ls -A "$TMPDIR")" ] && ! grep -lqsa "$TMPDIR" /proc/[0-9]*/cmdline; }
# of EXPRESSION: whether it is true of the object o that was printed.
of() { /usr/bin/python3 -c 'import json, sys; o = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$WORK/out" "$1"; }
run() { # TITLE STATUS ARGUMENT...
    local title=$1 status=$2
    shift 2
    LIMIT_MS=60000 check_exit "$title" "$status" aico-bus bench "$@"
}

run "throughput" 0 throughput --count 3000 --json
check "  every message came" of 'o["lost"] == o["doubled"] == o["corrupted"] == 0 and o["deliveries_per_s"] > 0'
check "  sealed" of 'o["sealed"] is True and o["seal"] == "group"'
check "  percentiles in order" of '0 < o["p50_us"] <= o["p90_us"] <= o["p99_us"] <= o["p999_us"] <= o["max_us"]'
check "  CPU of each kind of process" of 'o["cpu"]["publisher"] > 0 and o["cpu"]["reader"] > 0 and o["cpu"]["broker"] > 0'
check "  and their sum" of 'abs(sum(o["cpu"].values()) - o["cpu_s_per_million"]) < 0.01'
check "  nothing is left" nothing_left
run "several publishers and readers, unsealed, over tcp" 0 throughput --count 1001 --publishers 3 --readers 2 \
    --seal none --link tcp --size 1KiB --json
check "  each reader got each message" of 'abs(o["deliveries_per_s"] / o["messages_per_s"] - 2) < 0.01 and o["count"] == 1001'
check "  unsealed is not called sealed" of 'o["sealed"] is False and o["link"] == "tcp" and o["size"] == 1024'
run "fan-out" 0 fanout --count 500 --readers 3 --json
check "  a message is delivered to each" of 'abs(o["deliveries_per_s"] / o["messages_per_s"] - 3) < 0.01'
run "more readers than connect at once" 0 fanout --count 200 --readers 24 --json
check "  a message is delivered to each" of 'abs(o["deliveries_per_s"] / o["messages_per_s"] - 24) < 0.01 and o["sealed"] is True'
run "round trips on one core" 0 rtt --count 50 --place one --json
check "  as many as asked" of 'o["count"] == 50 and o["place"] == "one" and o["sealed"] is True and o["p50_us"] > 0'
run "latency at a rate, and a picture" 0 latency --count 640 --rate 6400 --readers 1 --svg "$WORK/p.svg" --json
check "  a line of JSON a rate" [ "$(wc -l <"$WORK/out")" -eq 7 ]
check "  the picture is XML" /usr/bin/python3 -c 'import sys, xml.dom.minidom as x; assert len(x.parse(sys.argv[1]).getElementsByTagName("polyline")) == 3' "$WORK/p.svg"
run "round trips beside full load" 0 loaded --count 20 --json
check "  both were there" of '0 < o["messages_per_s"] <= o["deliveries_per_s"] and o["lost"] == 0'
run "stored messages" 0 stored --count 200 --json
check "  are all acknowledged" of 'o["count"] == 200 and o["messages_per_s"] > 0 and o["readers"] == 0'
run "many topics and filters" 0 throughput --count 600 --topics 50 --filters 20 --readers 2 --json
check "  lose nothing" of 'o["topics"] == 50 and o["filters"] == 20 and o["lost"] == o["doubled"] == 0'
run "connections" 0 connect --count 4 --json
check "  each is timed" of 'o["messages_per_s"] > 0 and o["max_us"] > 0'
run "idle connections" 0 idle --count 4 --json
check "  have a size" of 'o["bytes_per_connection"] >= 0 and o["messages_per_s"] >= 0'
run "idle connections beside the work" 0 throughput --count 300 --idle 3 --json
check "  are neither publishers nor readers" of 'o["idle"] == 3 and o["publishers"] == o["readers"] == 1 and o["lost"] == 0'
run "a table for people" 0 rtt --count 20
check "  with its figures" grep -Eq '^  p99 +us +[0-9.]+$' "$WORK/out"
check "nothing is left" nothing_left

run "an unknown workload" 2 speed
run "an option of another workload" 2 rtt --rate 5
run "topics of who publishes on one" 2 rtt --topics 5
run "readers of what nobody reads" 2 stored --readers 2
run "a message too small for its number" 2 throughput --size 8
run "a seal beside a broker that is not ours" 2 rtt --broker tcp://127.0.0.1:1 --seal none
run "a link beside a broker that is not ours" 2 rtt --broker tcp://127.0.0.1:1 --link ipc
run "settings beside a broker that is not ours" 2 rtt --broker tcp://127.0.0.1:1 --io-threads 2
run "more threads than a broker may have" 2 rtt --io-threads 17
check "  by the option" grep -q -e '--io-threads.*1 to 16' "$WORK/err"
run "idle connections beside idle ones" 2 idle --idle 3
run "a rule that does not exist" 1 rtt --seal wax
check "  by name" grep -q wax "$WORK/err"

# On a bus that is there already.
export AICO_HOME="$WORK/home"
bus_up
run "on a bus without its identities" 5 throughput --count 10 --broker "ipc://$AICO_HOME/run/bus.sock"
check "  says how to make them" grep -q 'aico-keytool new bench-' "$WORK/err"
for name in bench-p1 bench-r1; do aico-keytool new "$name" &>/dev/null; done
run "on a bus without its rule" 4 throughput --count 10 --broker "ipc://$AICO_HOME/run/bus.sock" --timeout 20s
aico-keytool rule set 'bench/**' --publish bench-p1 --subscribe bench-r1 &>/dev/null
run "on a bus that is there" 0 throughput --count 500 --broker "ipc://$AICO_HOME/run/bus.sock" --timeout 20s --json
check "  whose broker is not ours to measure" of 'o["cpu"]["broker"] is None and o["lost"] == 0'

# Ended in the middle, it cleans up after itself.
unset AICO_HOME
aico-bus bench throughput --count 100000000 --io-threads 2 --busy-poll 20 --busy-broker 30 >"$WORK/long" 2>&1 &
pid=$!
PIDS+=("$pid")
for _ in $(seq 600); do [ -S "$(echo "$TMPDIR"/aico-bench-*/home/run/bus.sock)" ] && break; sleep 0.1; done
broker_has_io_threads() { # COUNT: its own, and so many less one that help it
    local child
    for child in $(cat "/proc/$pid/task/$pid/children"); do
        [ "$(cat "/proc/$child/comm")" = aico-broker ] || continue
        cat "/proc/$child/task/"*/comm >"$WORK/threads"
        [ "$(grep -cx aico-broker-io "$WORK/threads")" -eq $(($1 - 1)) ]
        return
    done
    return 1
}
check "its broker has as many I/O threads as was said" broker_has_io_threads 2
check "its components poll as was said" grep -qx 'busy_poll: 20' "$TMPDIR"/aico-bench-*/home/config/bench-{p,r}1.yaml
check "  and its broker" grep -qx 'busy_poll: 30' "$TMPDIR"/aico-bench-*/home/config/broker.yaml
kill -TERM "$pid"
wait "$pid"
check "a signal ends it" [ $? -eq 143 ]
check "  and nothing is left" nothing_left
finish
