#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Strangers and hostile components at the door: 3,000 connections that say nothing, at a broker with 1,024
# descriptors, on tcp and on ipc; a component that says nothing, and one whose message never ends.
# Not under sanitizers: it bounds descriptors, memory and time.
# Runs alone: it measures times.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/rogue_lib.sh"

STRANGERS=3000
# The broker alone has few descriptors.
mkdir "$WORK/bin"
printf '#!/bin/sh\nulimit -n 1024\nexec %q "$@"\n' "$AICO_BIN/aico-broker" >"$WORK/bin/aico-broker"
chmod +x "$WORK/bin/aico-broker"
PATH="$WORK/bin:$PATH"
bus_up
member r1 hostile
rule 'quiet/**' cli
export AICO_IDENTITY=cli
until_true 5 aico-bus --as hostile status >"$WORK/status.out" 2>&1
begin reader aico-bus --as r1 sub 'quiet/**' --raw
mkfifo "$WORK/feed"
aico-bus pub quiet/x --lines <"$WORK/feed" >"$WORK/pub.out" 2>"$WORK/pub.err" &
PUBLISHER=$!
PIDS+=("$PUBLISHER")
exec 8>"$WORK/feed"

# said LINE: the publisher that is connected says it, the reader that is connected reads it.
said() {
    echo "$1" >&8
    until_true 20 grep -qx "$1" "$WORK/reader.out"
}
check "two components talk" said before
alive() { kill -0 "$BROKER_PID"; }

# strangers KIND ENDPOINT
strangers() {
    local kind=$1 endpoint=$2 i pids=() at
    for i in 1 2 3 4 5; do
        mkfifo "$WORK/$kind$i.hold"
        "$ROGUE" stall "$endpoint" $((STRANGERS / 5)) <"$WORK/$kind$i.hold" >"$WORK/$kind$i.out" 2>"$WORK/$kind$i.err" &
        pids+=($!)
        PIDS+=($!)
    done
    # Held open by this shell: the strangers go when it closes them.
    exec 11>"$WORK/${kind}1.hold" 12>"$WORK/${kind}2.hold" 13>"$WORK/${kind}3.hold" 14>"$WORK/${kind}4.hold" \
        15>"$WORK/${kind}5.hold"
    opened() { [ "$(cat "$WORK/$kind"?.out | grep -c '^open ')" -eq 5 ]; }
    check "$STRANGERS strangers connect by $kind and say nothing" until_true 60 opened
    cat "$WORK/$kind"?.out | awk '{ n += $2 } END { print "      " n " connections were taken" }'
    check "  the broker is alive" alive
    at=$(now_ms)
    check "  who is connected is not affected" said "during-$kind"
    echo "      a message took $(($(now_ms) - at)) ms"
    exec 11>&- 12>&- 13>&- 14>&- 15>&-
    for i in "${pids[@]}"; do
        wait "$i"
    done
    at=$(now_ms)
    check "  a new one is served when they have gone" until_true 20 aico-bus --as backend status
    echo "      $(($(now_ms) - at)) ms after they had gone"
    check "  who is connected still is" said "after-$kind"
}
strangers tcp "tcp://127.0.0.1:$PORT"
strangers ipc "ipc://$AICO_HOME/run/bus.sock"

# --- components ------------------------------------------------------------------------------------------
before_kb=$(rss_kb "$BROKER_PID")
check "a message of parts without end is cut off" "$ROGUE" parts "tcp://127.0.0.1:$PORT" "$AICO_HOME" hostile
sed 's/^/      /' "$WORK/check.out"
grown=$(($(rss_kb "$BROKER_PID") - before_kb))
check "  the broker has grown by $grown KiB, which is less than 128 MiB" test "$grown" -lt 131072
check "  the others do not notice" said after-parts
exec 8>&-
check "the publisher lost nothing" wait_for "$PUBLISHER" 0
check "the broker ends in order" broker_stop
finish
