#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Programs with a protected key: the person at the terminal is asked, a script is told what to give.
. "$(dirname "$0")/lib.sh"

LIMIT_MS=60000 # opening such a key takes a second of work, more on a loaded machine
T="python3 $(cd "$(dirname "$0")" && pwd)/terminal.py"
home_new || { failed "a home" "$WORK/init.out"; finish; }
printf 'open sesame\n' >"$WORK/pass"
chmod 600 "$WORK/pass"
check "a component with a passphrase" aico-keytool new safe --role admin --passphrase-file "$WORK/pass"

# --- components -----------------------------------------------------------------------------------------
broker_start || { failed "a broker" "$WORK/broker.err"; finish; }
check_exit "without a terminal it is exit 5" 5 aico-bus --as safe ping --count 1
check "  with the options" grep -q 'passphrase-file or --passphrase-fd.*E_PASSPHRASE\|E_PASSPHRASE.*passphrase-file or --passphrase-fd' "$WORK/err"
check_exit "a file opens it" 0 aico-bus --as safe ping --count 1 --passphrase-file "$WORK/pass"
check_exit "on a terminal it is asked for" 0 $T --say 'open sesame' -- aico-bus --as safe ping --count 1
check "  by name" grep -q 'Enter passphrase of safe: ' "$WORK/out"
check "  unseen" bash -c "! grep -q sesame '$WORK/out'"
check "  and the echo is on again" grep -qx 'echo is on' "$WORK/out"
check_exit "  again after a wrong one" 0 $T --say wrong --say 'open sesame' -- aico-bus --as safe ping --count 1
check "  which it says" grep -q 'Wrong. Enter passphrase of safe: ' "$WORK/out"
$T --say a --say b --say c -- aico-bus --as safe ping >"$WORK/out"
check "three wrong ones are exit 5" test $? = 5
$T --interrupt -- aico-bus --as safe ping >"$WORK/out"
check "^C ends it" test $? = 130
check "  with the echo on" grep -qx 'echo is on' "$WORK/out"
$T --say never -- aico-bus --as safe --passphrase-file "$WORK/nothing" ping >"$WORK/out"
check "who names a file is not asked" test $? = 5 -o $? = 1
broker_stop || failed "the broker stops"

# --- the broker -----------------------------------------------------------------------------------------
check "the broker's key gets one" aico-keytool passwd broker --new-passphrase-file "$WORK/pass"
check_exit "without a terminal it does not start" 5 aico-broker -q
check_exit "its check asks on a terminal" 0 $T --say 'open sesame' -- aico-broker --check
check "  for the broker's" grep -q 'Enter passphrase of the broker: ' "$WORK/out"
$T --interrupt -- aico-broker >"$WORK/out"
check "^C at the question ends it" test $? = 130
check "  with the echo on" grep -qx 'echo is on' "$WORK/out"
finish
