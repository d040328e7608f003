#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The message store of a running broker meets a limit, and a page of its file is overwritten: who
# publishes is told why, what is stored is read, and it goes on by itself or after the command in docs/streams.md.
# Not under sanitizers: the size of every file of the broker is bounded.
. "$(dirname "$0")/lib.sh"

bus_up
for name in shop book; do
    aico-keytool new "$name" -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
aico-keytool rule set 's/**' --publish shop --subscribe book --store age=7d,count=100000 --history -q \
    --before 'logs/**' 2>"$WORK/rule.log" </dev/null || failed "a rule that stores" "$WORK/rule.log"
bus() { timeout 60 aico-bus "$@" </dev/null; }
until_true 20 bus --as shop pub s/first here --ack stored >/dev/null 2>&1
bus --as book sub s/first --since all --count 1 --for 20s >/dev/null 2>&1 # its reading key is there from now on
STORE="$AICO_HOME/state/broker/messages.db"
# stored N: so many lines can be read
stored() { [ "$(bus --as book sub 's/line' --since all --count "$1" --for 30s 2>/dev/null | wc -l)" -eq "$1" ]; }
# Two of them are too large for one record, so each is stored by itself.
FILL=$(head -c 40000 /dev/zero | tr '\0' x)
lines() { for i in $(seq "$1" "$2"); do printf 'line %d %s\n' "$i" "$FILL"; done; }

# --- no room ------------------------------------------------------------------------------------

lines 1 50 | aico-bus --as shop pub s/line --lines --ack stored >"$WORK/pub.out" 2>&1
[ "${PIPESTATUS[1]}" -eq 0 ] && passed "50 lines are stored" || failed "50 lines are stored" "$WORK/pub.out"
SIZE=$(stat -c %s "$STORE-wal")
prlimit --pid "$BROKER_PID" --fsize=$((SIZE + 20000)):unlimited
lines 51 90 | timeout 60 aico-bus --as shop pub s/line --lines --ack stored >"$WORK/full.out" 2>&1
[ "${PIPESTATUS[1]}" -eq 10 ] && grep -q E_STORE_FULL "$WORK/full.out" &&
    passed "who publishes more is refused, with the cause" || failed "who publishes more is refused" "$WORK/full.out"
check "what was stored is read meanwhile" stored 50
check "the broker lives" bus --as cli status
prlimit --pid "$BROKER_PID" --fsize=unlimited:unlimited
check "with room again it goes on by itself" bus --as shop pub s/more there --ack stored
check "and is read" sh -c "timeout 60 aico-bus --as book sub s/more --since all --count 1 --for 20s </dev/null | grep -q there"

# --- a page is not what was written -------------------------------------------------------------

REPAIR=$(sed -n 's/^    \(cd "$AICO_HOME\/state\/broker".*\)/\1/p' "$(dirname "$0")/../../docs/streams.md")
# overwrite PAGE: the broker is down
overwrite() { head -c 4096 /dev/zero | tr '\0' Z | dd of="$STORE" bs=4096 seek=$(($1 - 1)) conv=notrunc status=none; }
items() { sqlite3 "$STORE" "SELECT count(*) FROM item" 2>&1; }

check "the broker stops" broker_stop
BEFORE=$(items)
overwrite "$(sqlite3 "$STORE" "SELECT rootpage FROM sqlite_schema WHERE name='item_stream'")"
check "it starts with a damaged store" broker_start
until_true 20 bus --as cli status >/dev/null 2>&1
check_exit "who publishes is told that it is damaged" 1 aico-bus --as shop pub s/x x --ack stored
grep -q E_STORE_DAMAGED "$WORK/err" && passed "with its own cause" || failed "with its own cause" "$WORK/err"
check "what needs other pages is read" stored 50
check "the broker stops again" broker_stop
[ -n "$REPAIR" ] && check "the command of docs/streams.md" bash -c "$REPAIR"
[ "$(items)" = "$BEFORE" ] && passed "no message is lost by that" || failed "$(items) messages instead of $BEFORE" "$WORK/check.err"
[ "$(stat -c %a "$STORE")" = 600 ] && passed "its mode is kept" || failed "its mode is $(stat -c %a "$STORE")"

# A page with messages on it: they are lost, no other.
LAST=$(sqlite3 "$STORE" "PRAGMA page_count")
PAGE=$(seq 20 "$LAST" | while read -r n; do # the first that is a leaf of a table
    [ "$(dd if="$STORE" bs=4096 skip=$((n - 1)) count=1 status=none | head -c 1 | od -An -tx1)" = " 0d" ] && echo "$n" && break
done)
overwrite "$PAGE"
check "the command once more" bash -c "$REPAIR"
AFTER=$(items)
[ "$AFTER" -lt "$BEFORE" ] && [ "$AFTER" -ge $((BEFORE - 9)) ] && passed "only what was on the page is lost: $AFTER of $BEFORE" ||
    failed "$AFTER messages of $BEFORE are left" "$WORK/check.err"
check "the broker starts" broker_start
until_true 20 bus --as cli status >/dev/null 2>&1
check "what is left is read" stored 40
check "and more is stored" bus --as shop pub s/after repaired --ack stored

finish
