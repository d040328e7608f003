#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What two components that have nothing to do with it see of the bus while a hostile one, with a key of its
# own, floods the broker with frames full of small records.
# Not under sanitizers: it measures times.
# Runs alone: it measures times.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/rogue_lib.sh"

SECONDS_EACH=3
bus_up
member r1 hostile
rule 'quiet/**' cli
rule 'flood/**' @reader
until_true 5 aico-bus --as hostile status >"$WORK/status.out" 2>&1
begin peer aico-bus --as r1 sub 'quiet/**'
export AICO_IDENTITY=cli

# pings NAME CMD...: round trips of cli and r1 while CMD is true, 200 a second at most.
pings() {
    local name=$1
    shift
    : >"$WORK/$name.pings"
    while "$@"; do
        timeout 60 aico-bus ping r1 --count 100 --interval 5ms --json >>"$WORK/$name.pings" 2>>"$WORK/$name.err" || return 1
    done
}
show() {
    printf '      %-10s p50 %6d us, p99 %6d us, max %6d us, %d round trips\n' "$1" "$(percentile "$WORK/$1.pings" 50)" \
        "$(percentile "$WORK/$1.pings" 99)" "$(percentile "$WORK/$1.pings" 100)" "$(wc -l <"$WORK/$1.pings")"
}
before_ms() { [ "$(now_ms)" -lt "$END" ]; }

END=$(($(now_ms) + 1000))
check "a pair talks" pings quiet before_ms
show quiet
before_kb=$(rss_kb "$BROKER_PID")
for kind in resolve subscribe publish ping; do
    background "$kind" "$ROGUE" flood "tcp://127.0.0.1:$PORT" "$AICO_HOME" hostile "$kind" $SECONDS_EACH
    flood=$STARTED
    check "it still does during a flood of $kind" pings "$kind" kill -0 "$flood"
    wait "$flood"
    sed 's/^/      /' "$WORK/$kind.out" "$WORK/$kind.err"
    show "$kind"
    check "  there was one" grep -Eq 'sent [0-9]{5,} records' "$WORK/$kind.out"
    # A tenth of it is what is promised; a machine under load gets the rest.
    check "  half of its round trips take less than 0.1 s" test "$(percentile "$WORK/$kind.pings" 50)" -lt 100000
    check "  almost all less than a second" test "$(percentile "$WORK/$kind.pings" 99)" -lt 1000000
done
grown=$(($(rss_kb "$BROKER_PID") - before_kb))
check "the broker has grown by $grown KiB, which is less than 96 MiB" test "$grown" -lt 98304
check "the broker ends in order" broker_stop
finish
