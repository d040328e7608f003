#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Receipts with the programs as they are: a publisher learns who took its message, who did not, and that
# nobody was there; what readers sign is checked later, without the bus.
. "$(dirname "$0")/lib.sh"
export LIMIT_MS=60000 # nothing here is a matter of time

begin() {
    start "$@" && return
    failed "$1 gets ready" "$WORK/$1.err"
    finish
}
BUS=(aico-bus --timeout 30s)
rule() { aico-keytool -q rule set "$@" --before 'logs/**' || failed "a rule for $1"; }
taken_by() { grep -o '"receiver":"[^"]*","time"' "$WORK/out" | cut -d '"' -f 4 | sort | tr '\n' ' '; }
took() { [ "$(taken_by)" = "$2" ] && passed "$1" || failed "$1" "$WORK/out" "$WORK/err"; }

home_new || { failed "a home" "$WORK/init.out"; finish; }
for name in a b c thief; do
    aico-keytool -q new "$name" 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
done
rule 'r/**' --publish cli --subscribe a,b,c
rule 'ch/**' --publish cli --subscribe a,b,c --seal channel
rule 'clear/**' --publish cli --subscribe a --seal none
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }
export AICO_IDENTITY=cli

# --- who took it ---------------------------------------------------------------------------------

check_exit "where nobody reads, that is said at once" 8 "${BUS[@]}" pub r/x one --ack delivered
begin a aico-bus --as a sub 'r/**' 'ch/**' --raw
A=$STARTED
check_exit "one reader says that it took it" 0 "${BUS[@]}" --json pub r/x one --ack delivered
took "and it is named" "a "
begin b aico-bus --as b sub 'r/**' 'ch/**' --raw
B=$STARTED
check_exit "two readers say so" 0 "${BUS[@]}" --json pub r/x two --ack delivered
took "and both are named" "a b "
check_exit "a message to one component" 0 "${BUS[@]}" --json pub r/x three --to b --ack delivered
took "is taken by it alone" "b "
check_exit "a rule that seals for each reader" 0 "${BUS[@]}" --json pub ch/x four --ack delivered
took "has a receipt of each" "a b "
seq 1 300 >"$WORK/lines"
check_exit "300 lines, each by both" 0 sh -c "aico-bus --timeout 60s --json pub r/lines --lines --ack delivered <'$WORK/lines'"
[ "$(grep -c '"time"' "$WORK/out")" -eq 600 ] && passed "are 600 receipts" || failed "600 receipts" "$WORK/out"
head -c 300000 /dev/urandom | base64 -w 0 >"$WORK/large"
check_exit "a message of several records" 0 sh -c "aico-bus --timeout 30s --json pub r/large - --ack delivered <'$WORK/large'"
took "is taken by both" "a b "

# --- who did not ---------------------------------------------------------------------------------

stand_still "$B"
check_exit "a reader that stands still is named" 7 aico-bus --json --timeout 8s pub r/x five --ack delivered </dev/null
took "and the other one has taken it" "a "
grep -q '^aico-bus.*b was sent it and has not said' "$WORK/err" && passed "by its name" || failed "by its name" "$WORK/err"
kill -CONT "$B"
check_exit "who is not there is refused, not waited for" 8 "${BUS[@]}" pub r/x six --to c --ack delivered

# --- through an outbox ---------------------------------------------------------------------------

check_exit "what an outbox sends is taken by both" 0 "${BUS[@]}" --json pub r/x seven --outbox --ack delivered
took "and both are named" "a b "
check_exit "and signed" 0 sh -c "printf eight | aico-bus --timeout 30s pub r/x - --outbox --ack signed --receipt '$WORK/eight'"
printf eight >"$WORK/content"
check "for what was said" aico-keytool receipt "$WORK/eight" --content "$WORK/content"
kill -STOP "$B"
check_exit "who stands still is named" 7 aico-bus --json --timeout 8s pub r/x nine --outbox --ack delivered </dev/null
took "and the other one has taken it" "a "
kill -CONT "$B"
{ kill -KILL "$BROKER_PID" && wait "$BROKER_PID"; } 2>/dev/null
timeout 60 aico-bus --timeout 1s pub r/x ten --outbox --ack delivered >"$WORK/out" 2>"$WORK/err" </dev/null
[ $? -eq 6 ] && passed "without a broker it stays there" || failed "without a broker it stays there" "$WORK/err"
grep -q '1 messages stay in the outbox' "$WORK/err" && passed "which is said" || failed "which is said" "$WORK/err"
broker_start || failed "the broker starts again" "$WORK/broker.err"
is_back() { aico-bus --timeout 10s pub r/x "are you there, $1? $RANDOM$RANDOM" --to "$1" --ack delivered </dev/null; }
both_back() { is_back a && is_back b; }
until_true 60 both_back >/dev/null 2>&1 || failed "both readers are back" "$WORK/a.err" "$WORK/b.err"
check_exit "the next run sends both" 0 "${BUS[@]}" --json pub r/x twelve --outbox --ack delivered
took "and hears of its own, and of what was left" "a a b b "
grep -q ten "$WORK/a.out" && grep -q ten "$WORK/b.out" && passed "which both have" || failed "which both have" "$WORK/a.out" "$WORK/b.out"

# --- never less than was asked -------------------------------------------------------------------

check_exit "in clear there is no receipt" 2 "${BUS[@]}" pub clear/x x --ack delivered
check_exit "nor of a retained value" 2 "${BUS[@]}" pub r/x x --retain --ack delivered
grep -q 'without retain' "$WORK/err" && passed "with the way round it" || failed "with the way round it" "$WORK/err"
check_exit "--receipt without --ack signed" 2 "${BUS[@]}" pub r/x x --receipt "$WORK/none"

# --- signed --------------------------------------------------------------------------------------

printf 'the contract' >"$WORK/contract"
check_exit "two readers sign" 0 sh -c "aico-bus --timeout 30s pub r/deal - --ack signed --receipt '$WORK/deal' <'$WORK/contract'"
[ "$(grep -c '^aico-receipt 1$' "$WORK/deal")" -eq 2 ] && passed "two receipts" || failed "two receipts" "$WORK/deal"
VERIFY=(aico-keytool receipt)
cp "$WORK/deal" "$WORK/kept"
check_exit "where nothing is signed, the former receipts stay" 8 "${BUS[@]}" pub r/deal x --to c --ack signed --receipt "$WORK/kept"
check "as they were" cmp "$WORK/kept" "$WORK/deal"
ln -s deal "$WORK/link"
check_exit "a symbolic link is not followed" 2 "${BUS[@]}" pub r/deal x --ack signed --receipt "$WORK/link"
check_exit "nor by --ledger" 2 "${BUS[@]}" pub r/deal x --ledger "$WORK/link"
check_exit "nor by that of a reader" 2 aico-bus --as b sub 'r/**' --ledger "$WORK/link"
check "which is as it was" cmp "$WORK/kept" "$WORK/deal"
[ -z "$(compgen -G "$WORK/*.??????")" ] && passed "nothing is left beside them" || failed "nothing is left beside them"
check "whoever has the registry can check them" "${VERIFY[@]}" "$WORK/deal"
grep -q '^good: a took message' "$WORK/check.out" && grep -q '^good: b took' "$WORK/check.out" &&
    passed "and who took it" || failed "and who took it" "$WORK/check.out"
check "they are for what was said" "${VERIFY[@]}" "$WORK/deal" --content "$WORK/contract"
printf 'the contract.' >"$WORK/other"
check_exit "and for nothing else" 9 "${VERIFY[@]}" "$WORK/deal" --content "$WORK/other"
changed=0
for word in namespace sender receiver topic message taken size hash signature; do
    # The last digit or letter of the line becomes another one.
    sed -E "0,/^$word /{/^$word /s/(.)\$/\1#/;/^$word /{s/0#\$/1/;s/1#\$/2/;s/[^#]#\$/0/}}" "$WORK/deal" >"$WORK/forged"
    cmp -s "$WORK/deal" "$WORK/forged" && { failed "$word was not changed"; continue; }
    "${VERIFY[@]}" "$WORK/forged" >"$WORK/forged.out" 2>&1
    case $? in 5 | 9) changed=$((changed + 1)) ;; *) failed "a changed $word is refused" "$WORK/forged.out" ;; esac
done
[ $changed -eq 9 ] && passed "a change of any line is found" || failed "a change of any line is found"
check_exit "receipts go to stdout without a file" 0 "${BUS[@]}" pub r/deal again --to a --ack signed
grep -q '^signature ' "$WORK/out" && passed "as they are" || failed "as they are" "$WORK/out"
cp "$WORK/out" "$WORK/second"
cmp -s <(grep '^message' "$WORK/second") <(grep -m 1 '^message' "$WORK/deal") && failed "each message has its own" || passed "each message has its own"
check "a second one is good, too" "${VERIFY[@]}" "$WORK/second"
aico-keytool revoke a --reason stolen -q </dev/null >"$WORK/revoke" 2>&1 || failed "revoke" "$WORK/revoke"
check_exit "the receipts of a revoked key prove nothing" 5 "${VERIFY[@]}" "$WORK/second"
wait_for "$A" 5 && passed "and it is out" || failed "and it is out" "$WORK/a.err"

kill -TERM "$B" && wait "$B"
[ "$(sort "$WORK/b.out" | uniq -d | head -n 1)" = "" ] && passed "nothing came twice" || failed "nothing came twice" "$WORK/b.out"
finish
