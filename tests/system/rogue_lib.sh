# SPDX-License-Identifier: Apache-2.0
# For tests with hostile peers; sourced after lib.sh.
ROGUE=${AICO_ROGUE:-$AICO_BIN/../tests/support/aico-rogue}
[ -x "$ROGUE" ] || { echo "no $ROGUE"; exit 2; }

# member NAME...: readers of their own.
member() {
    local name
    for name in "$@"; do
        aico-keytool new "$name" --role reader -q 2>"$WORK/new.log" </dev/null || failed "$name" "$WORK/new.log"
    done
}
# rule FILTER PUBLISH
rule() {
    aico-keytool rule set "$1" --publish "$2" --subscribe @reader -q 2>"$WORK/rule.log" </dev/null ||
        failed "a rule" "$WORK/rule.log"
}
# begin NAME CMD...: start(), or the end: without it there is nothing to test.
begin() {
    start "$@" && return
    failed "$1 gets ready" "$WORK/$1.err"
    finish
}
# background NAME CMD...: its id in $STARTED, output in $WORK/NAME.out.
background() {
    local name=$1
    shift
    "$@" >"$WORK/$name.out" 2>"$WORK/$name.err" </dev/null &
    STARTED=$!
    PIDS+=("$STARTED")
}
rss_kb() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status"; }
# percentile FILE P: of the numbers behind "us": in FILE, in us.
percentile() {
    grep -o '"us":[0-9]*' "$1" | cut -d: -f2 | sort -n |
        awk -v p="$2" '{ v[NR] = $1 } END { i = int(NR * p / 100 + 0.5); if (i < 1) i = 1; if (i > NR) i = NR; print v[i] + 0 }'
}
