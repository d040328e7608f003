#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the owner has just changed holds for who connects next, without a pause between the two commands.
. "$(dirname "$0")/lib.sh"

ROUNDS=10
bus_up
quietly() { "$@" >"$WORK/quietly.log" 2>&1 </dev/null || failed "$*" "$WORK/quietly.log"; }

check "a component" aico-keytool new newcomer --role reader -q
check_exit "  connects at once" 0 aico-bus --as newcomer ping
for i in $(seq "$ROUNDS"); do
    quietly aico-keytool new "n$i" --role reader -q
    timeout 20 aico-bus --as "n$i" ping >"$WORK/n$i.out" 2>&1 </dev/null || failed "n$i connects" "$WORK/n$i.out"
done
check "$ROUNDS more of them" test "$FAILED" -eq 0

for i in $(seq "$ROUNDS"); do
    quietly aico-keytool rule set "fresh/$i" --publish newcomer --subscribe newcomer -q
    timeout 20 aico-bus --as newcomer pub "fresh/$i" x >"$WORK/r$i.out" 2>&1 </dev/null || failed "rule $i" "$WORK/r$i.out"
done
check "$ROUNDS rules hold for who publishes next" test "$FAILED" -eq 0

quietly aico-keytool revoke newcomer --reason test -q
check_exit "who was revoked does not connect any more" 5 aico-bus --as newcomer ping
check "the broker ends in order" broker_stop
finish
