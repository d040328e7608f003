#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# tools/quickstart with the programs that are built already: it shows what it promises on any file, and
# leaves nothing behind, however it ends.
. "$(dirname "$0")/lib.sh"

export AICO_BIN TMPDIR=$WORK/tmp # its folders are made here, so that what it leaves is seen
unset AICO_HOME
mkdir "$TMPDIR"
QUICKSTART=$(cd "$(dirname "$0")/../.." && pwd)/tools/quickstart
nothing_left() { [ -z "$(ls -A "$TMPDIR")" ] && ! grep -lqsa "$TMPDIR" /proc/[0-9]*/environ; }
# What it printed of a file with LINES lines.
shows() { # LINES
    grep -Eq "^  sent +$1  " "$WORK/out" && grep -Eq "^  accepted +$1  " "$WORK/out" &&
        grep -Eq "^  delivered +$((3 * $1))  " "$WORK/out" && grep -Eq "^  stored +$1  " "$WORK/out" &&
        grep -Eq '^  dropped +0  ' "$WORK/out" && grep -Eq '^  messages/s +[0-9]+ ' "$WORK/out"
}
# run TITLE LINES FILE
run() {
    LC_ALL=C LIMIT_MS=60000 check_exit "$1" 0 "$QUICKSTART" -- "$3"
    check "  the counts balance" shows "$2"
    check "  nothing is left" nothing_left
}

seq 1 500 | sed 's/^/2026-11-20 22:00:00 status installed package:amd64 1.2./' >"$WORK/small.log"
run "a log file" 500 "$WORK/small.log"
check "  the broker saw an envelope" grep -Eq '^ +4149434f2d4d5347[0-9a-f]+\.\.\.$' "$WORK/out"
check "  the reader a line" grep -Eq '^  the reader opened +"2026-11-20 22:00:00 status installed package:amd64 1.2.1"$' "$WORK/out"
check "  what came out is what went in" grep -q "^  SHA-256 *$(sha256sum <"$WORK/small.log" | cut -c 1-64)\$" "$WORK/out"
check "  the backend found a line" grep -Eq '^  one with "[A-Za-z0-9]+" +"2026-' "$WORK/out"
check "  a publish was denied by a named rule" grep -Eq '^  the rule +logs/audit/\*\* +publish backend' "$WORK/out"
check "  a component was cut off" grep -Eq '^  after +[0-9]+ ms: .*E_REVOKED' "$WORK/out"
check "  no secret of any key was printed" bash -c "! grep -Eq '(^|[^0-9a-f])[0-9a-f]{64}([^0-9a-f.]|\$)' <(grep -v SHA-256 '$WORK/out')"

printf 'first line here\nsecond\n\nlast, without an end' >"$WORK/no end.txt"
run "a file without a final newline, with blanks in its name" 4 "$WORK/no end.txt"
printf '\n\n\n' >"$WORK/-empty"
cd "$WORK" || exit 2
run "nothing but empty lines, named like an option" 3 -empty
head -c 40000 /dev/urandom >"$WORK/junk"
run "binary junk" "$(grep -ac '' "$WORK/junk")" "$WORK/junk"
printf '\t"quotes" \\ \033[31m caf\303\251\r\nnext\n' >"$WORK/odd"
run "control characters" 2 "$WORK/odd"
check "  reach no terminal" bash -c "! grep -q \$'\\033' '$WORK/out'"

check_exit "no such file is exit 2" 2 "$QUICKSTART" "$WORK/nothing"
check_exit "an empty file is exit 2" 2 "$QUICKSTART" /dev/null
check_exit "a folder is exit 2" 2 "$QUICKSTART" "$WORK"
check_exit "an unknown option is exit 2" 2 "$QUICKSTART" --sty
check "nothing is left" nothing_left

# --- --stay, and Ctrl-C ------------------------------------------------------------------------------
# As at a terminal: a foreground process group that gets INT as a whole.
stay() { # FILE
    env --default-signal=INT setsid "$QUICKSTART" --stay "$1" >"$WORK/stay" 2>&1 </dev/null &
    STAY=$!
    PIDS+=("$STAY")
}
group_of() { ps -o pgid= -p "$1" | tr -d ' '; }
stay "$WORK/small.log"
check "--stay keeps the bus up" until_true 60 grep -q 'Ctrl-C ends it' "$WORK/stay"
home=$(sed -n 's/^  export AICO_HOME=\([^ ]*\) .*/\1/p' "$WORK/stay")
check "  the commands it shows work" aico-bus --home "$home" --as cli status
line=$(grep -F 'request logs/query/v1' "$WORK/stay")
check "  the question too" bash -c "AICO_HOME='$home' $line | grep -q '\"count\":500,'"
kill -INT -- "-$(group_of "$STAY")"
check "  Ctrl-C ends it with 0" wait_for "$STAY" 0
check "  nothing is left" nothing_left

for at in 'as sealed messages' 'A bus of its own'; do
    seq 1 50000 >"$WORK/many.log"
    stay "$WORK/many.log"
    check "it is at work: $at" until_true 30 grep -q "$at" "$WORK/stay"
    kill -INT -- "-$(group_of "$STAY")"
    check "  Ctrl-C in the middle ends it with 130" wait_for "$STAY" 130
    check "  nothing is left" nothing_left
done
stay "$WORK/many.log"
check "it is at work" until_true 30 grep -q 'as sealed messages' "$WORK/stay"
kill -TERM "$STAY"
check "  TERM ends it with 143" wait_for "$STAY" 143
check "  nothing is left" nothing_left
finish
