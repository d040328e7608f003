#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Components that publish and read while others are killed, come, go, freeze and are revoked, the broker is
# told new settings, and a hostile one floods it. Every loss has been named, the books balance, nothing grows.
# AICO_TEST_SCALE=full: two hours of 50 components with 5,000 messages a second, as a run by hand as root;
# SOAK_SECONDS, SOAK_COMPONENTS and SOAK_RATE change one of them. There broker and the pair beside the others are
# scheduled before them (SCHED_RR): 50 processes can fill the cores by themselves, and the pair would measure the kernel.
# Not under sanitizers: it bounds memory.
# Runs alone: it takes the machine for itself.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/rogue_lib.sh"

LIMIT_MS=30000
if [ "${AICO_TEST_SCALE-}" = full ]; then
    LASTS=${SOAK_SECONDS:-7200} COUNT=${SOAK_COMPONENTS:-50} RATE=${SOAK_RATE:-5000} PAUSE=5
else
    LASTS=${SOAK_SECONDS:-15} COUNT=${SOAK_COMPONENTS:-8} RATE=${SOAK_RATE:-400} PAUSE=1
fi
WORKER=$AICO_BIN/../tests/soak/aico-soak-worker
[ -x "$WORKER" ] || { echo "no $WORKER"; exit 2; }

new() { aico-keytool new "$@" -q 2>"$WORK/new.log" </dev/null || failed "new $1" "$WORK/new.log"; }
bus_up
# Teams of 8 and more: who is in a team reads its topics.
TEAMS=$(((COUNT + 9) / 10))
team() { echo "team$(($1 % TEAMS))"; }
mate() { echo "soak/w$((($1 + $2 * TEAMS - 1) % COUNT + 1))"; }
for i in $(seq "$COUNT"); do new "w$i" --role "$(team "$i")"; done
new boss --role admin
new quiet1 --role quiet
new quiet2 --role quiet
new hostile --role hostile
for i in $(seq "$COUNT"); do
    aico-keytool rule set "soak/w$i" --publish "@$(team "$i")" --subscribe "@$(team "$i")" -q </dev/null || failed "a rule"
done
aico-keytool rule set 'quiet/**' --publish @quiet --subscribe @quiet -q </dev/null || failed "a rule"
aico-keytool rule set 'flood/**' --publish @hostile --subscribe @hostile -q </dev/null || failed "a rule"
until_true 20 aico-bus --as boss status >/dev/null 2>&1

# --- who takes part --------------------------------------------------------------------------------------
declare -a AT # process of component i
# come I: component I begins; it reads two others.
come() {
    "$WORKER" "$AICO_HOME" "w$1" $((RATE / COUNT)) "$(mate "$1" 1)" "$(mate "$1" 3)" \
        >>"$WORK/w$1.out" 2>&1 </dev/null &
    AT[$1]=$!
    keep_pids
}
keep_pids() { PIDS=("$BROKER_PID" "${PAIR[@]}" "${AT[@]}"); }
# gone I SIGNAL: it ends by that signal, and is waited for.
gone() {
    kill "-$2" "${AT[$1]}" 2>/dev/null
    wait "${AT[$1]}" 2>/dev/null
    return 0
}
PAIR=()
"$WORKER" "$AICO_HOME" quiet2 0 'quiet/**' >"$WORK/quiet2.out" 2>&1 </dev/null &
PAIR+=($!)
until_true 20 sh -c "aico-bus --as boss peers | grep -q '^quiet2 '"
"$WORKER" "$AICO_HOME" quiet1 ping quiet2 >"$WORK/quiet1.out" 2>&1 </dev/null &
PAIR+=($!)
FIRST=$(now_ms)
if [ "${AICO_TEST_SCALE-}" = full ]; then
    for pid in "$BROKER_PID" "${PAIR[@]}"; do
        chrt --rr --all-tasks --pid 1 "$pid" || failed "broker and pair are scheduled first"
    done
fi
for i in $(seq "$COUNT"); do come "$i"; done
all_there() { [ "$(aico-bus --as boss peers 2>/dev/null | grep -c '^w[0-9]')" -ge "$COUNT" ]; }
check "all $COUNT are there" until_true 60 all_there

# --- what happens to them ----------------------------------------------------------------------------------
KILLS=0 LEFT=0 FROZEN=0 REVOKED=0 RELOADS=0 FLOODS=0
trouble() {
    local i=$((RANDOM % COUNT + 1)) kinds=(publish subscribe resolve ping)
    case $((RANDOM % 6)) in
    0) gone "$i" KILL && come "$i" && KILLS=$((KILLS + 1)) ;;
    1) gone "$i" TERM && come "$i" && LEFT=$((LEFT + 1)) ;;
    2) kill -STOP "${AT[$i]}" && sleep 1 && kill -CONT "${AT[$i]}" && FROZEN=$((FROZEN + 1)) ;;
    3)
        aico-keytool revoke "w$i" --reason soak -q 2>>"$WORK/owner.err" </dev/null
        wait_for "${AT[$i]}" 5 || failed "w$i ends with 5 when it is revoked" "$WORK/w$i.out"
        new "w$i" --role "$(team "$i")"
        until_true 20 knows "w$i"
        come "$i"
        REVOKED=$((REVOKED + 1))
        ;;
    4)
        RELOADS=$((RELOADS + 1))
        sed -i "/max_topics/d; s|^broker:|&\n  max_topics: $((500000 + RELOADS))|" "$AICO_HOME/security.yaml"
        kill -HUP "$BROKER_PID"
        ;;
    5)
        "$ROGUE" flood "tcp://127.0.0.1:$PORT" "$AICO_HOME" hostile "${kinds[RANDOM % 4]}" 2 >>"$WORK/flood.out" 2>&1
        FLOODS=$((FLOODS + 1))
        ;;
    esac
}
# The broker has the registry that this home has.
knows() {
    local version
    version=$(aico-keytool inspect "$AICO_HOME/registry" | sed -n 's/^ *version[^0-9]*\([0-9]*\).*/\1/p' | head -n 1)
    aico-bus --as boss status | grep -Eq "^registry.version +$version\$"
}
files() { ls "/proc/$BROKER_PID/fd" | wc -l; }

# What a flood makes the broker grow by once is there before anything is measured.
for kind in publish subscribe resolve ping; do
    "$ROGUE" flood "tcp://127.0.0.1:$PORT" "$AICO_HOME" hostile "$kind" 1 >>"$WORK/flood.out" 2>&1
done
BEGAN=$(now_ms) END=$((BEGAN + LASTS * 1000)) SHOWN=0 RSS=0 FILES=0
while [ "$(now_ms)" -lt "$END" ] && kill -0 "$BROKER_PID" && [ "$FAILED" -eq 0 ]; do
    trouble
    sleep "$PAUSE"
    gone_s=$((($(now_ms) - BEGAN) / 1000))
    if [ "$RSS" -eq 0 ] && [ "$gone_s" -ge $((LASTS / 5)) ]; then # what grows once is there by now
        RSS=$(rss_kb "$BROKER_PID") FILES=$(files)
    fi
    if [ $((gone_s / 60)) -gt "$SHOWN" ]; then
        SHOWN=$((gone_s / 60))
        printf '%4d min: broker %d KiB, %d descriptors; %d killed, %d left, %d frozen, %d revoked, %d reloads, %d floods, %d broken\n' \
            "$SHOWN" "$(rss_kb "$BROKER_PID")" "$(files)" $KILLS $LEFT $FROZEN $REVOKED $RELOADS $FLOODS "$(cat "$WORK"/w*.out | grep -c '^broken')"
    fi
done

# --- what has become of it -------------------------------------------------------------------------------
check "the broker is alive" kill -0 "$BROKER_PID"
all_back() { all_there && [ "$(files)" -le $((FILES + COUNT / 5 + 4)) ]; } # two sockets of the rogue may still be closing
check "all are there" until_true 60 all_there
check "no descriptor is left behind ($FILES, now $(files))" until_true 60 all_back
NOW=$(rss_kb "$BROKER_PID")
check "its memory is flat: $RSS KiB, after it $NOW" test "$NOW" -lt $((RSS + RSS / 10 + 8192 + 16384)) # two arenas keep 8 MiB each (docs/decisions/0096)
check_exit "the ledger balances" 0 aico-bus --as boss ledger
for i in $(seq "$COUNT"); do gone "$i" TERM; done
TOOK=$((($(now_ms) - FIRST) / 1000))
kill -TERM "${PAIR[@]}"
wait "${PAIR[@]}"
cat "$WORK"/w*.out | grep -E '^(broken|ended)' | grep -v 'ended E_REVOKED' >"$WORK/broken"
check "every loss was named, nothing came twice or late" test ! -s "$WORK/broken"
[ -s "$WORK/broken" ] && head -n 20 "$WORK/broken"
cat "$WORK"/w*.out | grep '^refused' | sed 's/^refused [^ ]* //' | sort | uniq -c | sort -rn | head -n 5
# The totals of a process that was killed are up to 10 s old.
cat "$WORK"/w*.out | awk -v s="$TOOK" '/^total/ { p = $3; r = $7; t = $9
    if (p < before) { sp += before; sr += r0; st += t0 } before = p; r0 = r; t0 = t }
    END { sp += before; sr += r0; st += t0
    printf "      %d s: published %d (%d/s), received %d, named missing %d\n", s, sp, sp / s, sr, st }'
echo "      $KILLS killed, $LEFT left, $FROZEN frozen, $REVOKED revoked, $RELOADS reloads, $FLOODS floods"
sed 's/^/      /' "$WORK/quiet1.out"
check "the pair beside it talked" grep -q '^round trips' "$WORK/quiet1.out"
if [ "${AICO_TEST_SCALE-}" = full ]; then
    check "  its p99 is below 20 ms" test "$(sed -n 's/.*p99 \([0-9]*\).*/\1/p' "$WORK/quiet1.out")" -lt 20000
fi
check "the broker ends in order" broker_stop
finish
