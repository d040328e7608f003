#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The two programs of docs/library.md stand there as they are in docs/examples, are short, and work.
# They are compiled against the installed library where AICO_EXAMPLES does not name them compiled.
. "$(dirname "$0")/lib.sh"

SOURCE=$(cd "$(dirname "$0")/../.." && pwd)

# is_verbatim FILE: a code block of docs/library.md is exactly this file.
is_verbatim() {
    local fence='```'
    [[ $(<"$SOURCE/docs/library.md") == *"${fence}c"$'\n'"$(<"$1")"$'\n'"$fence"* ]]
}

for name in subscribe publish; do
    check "$name.c stands in docs/library.md" is_verbatim "$SOURCE/docs/examples/$name.c"
    check "$name.c has under 40 lines" test "$(wc -l <"$SOURCE/docs/examples/$name.c")" -lt 40
done

export PATH="${AICO_EXAMPLES:-$AICO_BIN}:$PATH"
if ! command -v example-subscribe >/dev/null || ! command -v example-publish >/dev/null; then
    failed "example-subscribe and example-publish are built"
    finish
fi

bus_up
AICO_IDENTITY=backend example-subscribe 'logs/example/**' >"$WORK/sub.out" 2>"$WORK/sub.err" </dev/null &
SUB=$!
PIDS+=("$SUB")
check "the subscriber subscribes" until_true 10 grep -qx subscribed "$WORK/sub.err"
check "the publisher publishes" env AICO_IDENTITY=cli example-publish logs/example/v1 'hello, bus'
check "the subscriber prints it" until_true 10 grep -qx 'logs/example/v1 cli hello, bus' "$WORK/sub.out"
AICO_IDENTITY=cli check_exit "a denied topic is exit 4" 4 example-publish nowhere/v1 x
check "the bus goes down" broker_stop
AICO_IDENTITY=cli check_exit "without a broker it is exit 6" 6 example-publish logs/example/v1 x
finish
