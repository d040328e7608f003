#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The audit log of a real broker: what happened stands in it, what was done to it afterwards is found, and a
# broker that was killed, or finds a log that does not verify, goes on.
. "$(dirname "$0")/lib.sh"

LOG=$AICO_HOME/log/audit
verify() { aico-keytool audit verify "$@"; }
noted() { grep -qE "$1" "$LOG"; }

bus_up
check "a message is published" aico-bus --as cli pub logs/x/v1 hello
cp -r "$AICO_HOME" "$WORK/away" # of a machine that has not heard of it
aico-keytool revoke frontend --reason test >"$WORK/out" 2>&1
LIMIT_MS=30000
check "a session is noted" until_true 20 noted '^[0-9]+ [^ ]+ connected cli '
check "another registry is noted" until_true 20 noted '^[0-9]+ [^ ]+ registry '
check_exit "a revoked component is refused" 5 aico-bus --home "$WORK/away" --broker "ipc://$AICO_HOME/run/bus.sock" \
    --as frontend pub logs/x/v1 hello
check "and it is noted" until_true 20 noted '^[0-9]+ [^ ]+ refused '
check "who was revoked is named" until_true 20 noted '^[0-9]+ [^ ]+ revoked frontend - 0 registry [0-9]+: key aico:[^ ]+ is revoked'
aico-keytool new fresh -q >"$WORK/out" 2>&1 </dev/null
aico-keytool rotate cli -q >"$WORK/out" 2>&1 </dev/null || failed "cli is rotated" "$WORK/out"
aico-keytool rule set 'audited/**' --publish cli --subscribe fresh -q >"$WORK/out" 2>&1 </dev/null || failed "a rule" "$WORK/out"
check "who came is named" until_true 20 noted '^[0-9]+ [^ ]+ added fresh - 0 registry [0-9]+: key aico:'
check "who has another key is named" until_true 20 noted '^[0-9]+ [^ ]+ rotated cli - 0 registry [0-9]+: key aico:[^ ]+ takes the place of aico:'
check "and what may be said" until_true 20 noted '^[0-9]+ [^ ]+ registry - - 0 registry [0-9]+: new: rule audited/\*\* publish cli subscribe fresh '
aico-keytool new boss --role admin -q >"$WORK/out" 2>&1 </dev/null || failed boss "$WORK/out"
start fresh aico-bus --as fresh sub 'audited/**' || failed "fresh is there" "$WORK/fresh.err"
check "somebody is kicked" until_true 20 aico-bus --as boss kick fresh
aico-keytool rule set 'kept/**' --publish boss --subscribe boss --store age=1d -q --before 'logs/**' >"$WORK/out" 2>&1 </dev/null || failed "a stored rule" "$WORK/out"
check "something is stored" until_true 20 aico-bus --as boss pub kept/x x --ack stored
check "and purged" aico-bus --as boss stream purge 'kept/**'
check "which is noted" until_true 20 noted '^[0-9]+ [^ ]+ admin boss [^ ]+ 0 purge kept/\*\*$'
check "by whom is named" until_true 20 noted '^[0-9]+ [^ ]+ admin boss [^ ]+ 0 kick fresh$'
check "the log of a running broker verifies" verify
seen() { aico-bus --as cli pub logs/x/v1 again >/dev/null 2>&1 && [ -s "$AICO_HOME/state/cli/witness" ]; }
check "a component keeps the head it was shown" until_true 20 seen
check "what components saw is in the log" verify --witness "$AICO_HOME"
check "the broker stops" broker_stop
check "its end is noted" noted '^[0-9]+ [^ ]+ stopped '
check "the log of a stopped broker verifies" verify
check "nobody else can read it" test "$(stat -c %a "$LOG")" = 600

# --- changes ------------------------------------------------------------------------------------------
grep ^head "$LOG" | tail -1 >"$WORK/witness"
check "a witness finds its head" verify --witness "$WORK/witness"
changed() { # NAME SED...: a copy that is changed by sed is found
    sed "${@:2}" "$LOG" >"$WORK/log"
    cmp -s "$LOG" "$WORK/log" && { failed "$1: nothing was changed"; return; }
    check_exit "$1" 5 aico-keytool audit verify --witness "$WORK/witness" "$WORK/log"
}
changed "another name is found" '0,/ connected cli /s// connected bob /'
changed "another name of who was revoked is found" 's/ revoked frontend / revoked somebody /'
changed "a rotation taken away is found" '/ rotated cli /d'
changed "an entry taken away is found" '/ refused /d'
changed "a head taken away is found" '0,/^head/{/^head/d}'
changed "an entry put in is found" '/ refused /p'
changed "the first line changed is found" '1s/1/2/'
lines=$(wc -l <"$LOG")
changed "the last line gone is found" '$d'
last_but_one=$(grep -n ^head "$LOG" | tail -2 | head -1 | cut -d: -f1)
changed "an end cut off at a head is found" "$((last_but_one + 1)),${lines}d"

# What a component of this home saw needs no hand: an end that is cut off, another log in its place.
cp "$LOG" "$WORK/whole"
first_head=$(grep -n ^head "$LOG" | head -1 | cut -d: -f1)
sed -n "1,${first_head}p" "$WORK/whole" >"$LOG"
check_exit "an end cut off is found by what components saw" 5 aico-keytool audit verify --witness "$AICO_HOME"
check "without them it is not" verify
cp "$WORK/whole" "$LOG"
check "and the whole log has it" verify --witness "$AICO_HOME"
check_exit "a home whose components saw nothing is no witness" 5 aico-keytool audit verify --witness "$WORK"

# --- going on -----------------------------------------------------------------------------------------
aico-keytool revoke fresh --reason test >"$WORK/out" 2>&1 </dev/null || failed "fresh is revoked" "$WORK/out"
check "the broker starts again" broker_start
check "who was revoked while it was down is named" until_true 20 noted '^[0-9]+ [^ ]+ revoked fresh - 0 '
kill -9 "$BROKER_PID"
wait "$BROKER_PID" 2>/dev/null
printf '99 torn' >>"$LOG"
check "it starts after a kill, with a torn line" broker_start
check "the torn line is gone" until_true 20 noted ' torn - - '
check "all of it verifies" verify --witness "$WORK/witness"
check "the broker stops" broker_stop
sed -i 's/ connected cli / connected bob /' "$LOG"
check "it starts with a log that was changed" broker_start
check "and says so in another" until_true 20 noted ' damaged - - '
check "what does not verify is kept" test -f "$(ls "$LOG".damaged-*)"
check "the new log verifies" verify
check_exit "but the witness misses what it saw" 5 aico-keytool audit verify --witness "$WORK/witness"
check "the broker stops" broker_stop
finish
