#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A publisher of one message and more readers than it greets before it speaks (16): it does not leave before each that
# is there has the key, and names the one that does not answer.
. "$(dirname "$0")/lib.sh"

READERS=18
bus_up
for i in $(seq $READERS); do
    aico-keytool new "r$i" --role reader -q </dev/null || failed "new r$i"
done
aico-keytool rule set 'news/**' --publish cli --subscribe @reader -q </dev/null || failed "a rule"
VERSION=$(aico-keytool inspect "$AICO_HOME/registry" | sed -n 's/^ *version[^0-9]*\([0-9]*\).*/\1/p' | head -n 1)
knows_all() { aico-bus --as cli status 2>/dev/null | grep -Eq "^registry.version +$VERSION\$"; }
check "the broker knows the rule" until_true 30 knows_all

for i in $(seq $READERS); do
    start "r$i" aico-bus --as "r$i" --timeout 60s sub 'news/**' || failed "r$i listens" "$WORK/r$i.err"
    READER=$STARTED
done
# got COUNT TEXT: so many readers have it.
got() { [ "$(cat "$WORK"/r[0-9]*.out | grep -c "$2")" -eq "$1" ]; }

check_exit "one message is published" 0 aico-bus --as cli pub news/one 'the first'
check "  and nobody was left without its key" test ! -s "$WORK/err"
check "  and read by all" until_true 30 got $READERS 'the first'

stand_still "$READER"
LIMIT_MS=30000 check_exit "one reader stands still" 0 aico-bus --as cli pub news/two 'the second'
check "  the publisher names it" grep -q "r$READERS is connected but did not take the key" "$WORK/err"
check "  and the others read" until_true 30 got $((READERS - 1)) 'the second'
kill -CONT "$READER"
told() { grep -q 'news/two: a message of cli did not open: no key for this message (E_KEY)' "$WORK/r$READERS.err"; }
check "  it is told what it cannot read" until_true 60 told
finish
