#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tools/bench/compare tries every bus that is installed, with few messages: that it works, never how fast.
# Not under sanitizers: other buses' libraries are not ours to check.
. "$(dirname "$0")/lib.sh"

COMPARE=$(cd "$(dirname "$0")/../.." && pwd)/tools/bench/compare
export TMPDIR=$WORK/tmp
mkdir "$TMPDIR"
LIMIT_MS=120000 check_exit "every bus that is there moves messages" 0 "$COMPARE" --check --bin "$AICO_BIN" --only 64-1to1 --only rtt-kernel
check "  ours and bare ZeroMQ are always there" grep -Eq '^[5-7] of 7 buses tried, 0 failed$' "$WORK/out"
check "  who is missing is named" bash -c "[ \$(grep -c 'compare: without' '$WORK/err') -eq \$((7 - \$(cut -d' ' -f1 '$WORK/out'))) ]"
LIMIT_MS=120000 check_exit "storage, where there is some" 0 "$COMPARE" --check --bin "$AICO_BIN" --only stored
LIMIT_MS=120000 check_exit "growth" 0 "${COMPARE%compare}growth" --check --bin "$AICO_BIN" --only topics --only stream
check "  what was measured is named" grep -q 'us of CPU a message' "$WORK/err"
check_exit "growth of something else" 2 "${COMPARE%compare}growth" --bin "$AICO_BIN" --only moon
check_exit "the budget without perf" 1 env PATH="$WORK/none" "${COMPARE%compare}budget" --bin "$AICO_BIN"
check "  what is missing is named" grep -q linux-perf "$WORK/err"
check_exit "instructions without valgrind" 1 env PATH="$WORK/none" "${COMPARE%compare}instructions" --bin "$AICO_BIN"
check "  what is missing is named" grep -q 'apt-get install valgrind' "$WORK/err"
check "  nothing is left" [ -z "$(ls -A "$TMPDIR")" ]
check_exit "a work that is not there" 2 "$COMPARE" --bin "$AICO_BIN" --only nothing
finish
