# SPDX-License-Identifier: Apache-2.0
# Sourced by tools/test: stages that run beside each other, each telling what it has to say in one piece.
#
#   run NAME CMD...    one stage, counted as one test
#   at_once CMD...     beside up to JOBS others; all_done waits for them
#   aside CMD...       in the background, with what everything else leaves of the machine; aside_done waits
#   alone CMD...       while that stands still
#   tally GOOD BAD     counts;   totals: "N passed, N failed"
#
# A process of its own is a group of its own, so that it ends with all of its children.
SHARED=$(mktemp -d)
: >"$SHARED/counts"
: >"$SHARED/summary" # what failed, repeated at the end: the end of a long log is what people read
BESIDE=()
ASIDE=

end_children() {
    local pid
    trap '' INT TERM # a second one may come at once
    for pid in $ASIDE "${BESIDE[@]}"; do kill -TERM -- "-$pid" 2>/dev/null && kill -CONT -- "-$pid"; done
}
trap 'end_children; rm -rf "$SHARED"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

in_group() { # CMD...: in the background; its id is in $STARTED.
    set -m
    { trap end_children EXIT && BESIDE=() ASIDE= && "$@"; } </dev/null &
    STARTED=$!
    set +m
}

tally() { echo "$1 $2" >>"$SHARED/counts"; }
totals() { awk '{ good += $1; bad += $2 } END { printf "%d passed, %d failed\n", good, bad; exit bad > 0 || good == 0 }' "$SHARED/counts"; }
remember() { (flock 8 && cat >>"$SHARED/summary") 8>>"$SHARED/turn"; }
# say FORMAT ARGUMENT...: a line of what is printed; with LOG set, that file before it.
say() {
    (
        flock 8
        [ -z "${LOG-}" ] || cat "$LOG"
        # shellcheck disable=SC2059
        printf "$@"
    ) 8>>"$SHARED/turn"
}

run() {
    local name=$1 start=$SECONDS log
    shift
    log=$(mktemp "$SHARED/log.XXXXXX")
    if "$@" >"$log" 2>&1; then
        tally 1 0
        say 'ok    %-44s %4d s\n' "$name" $((SECONDS - start))
    else
        tally 0 1
        LOG=$log say 'FAIL  %-44s %4d s\n' "$name" $((SECONDS - start))
        { echo "FAIL  $name" && tail -n 15 "$log" | sed 's/^/      /'; } | remember
        return 1
    fi
}

at_once() {
    local ended i
    in_group "$@"
    BESIDE+=("$STARTED")
    while [ ${#BESIDE[@]} -ge "$JOBS" ]; do
        wait -n -p ended "${BESIDE[@]}"
        for i in "${!BESIDE[@]}"; do
            [ "${BESIDE[i]}" != "$ended" ] || unset "BESIDE[i]"
        done
    done
}
all_done() {
    [ ${#BESIDE[@]} -eq 0 ] || wait "${BESIDE[@]}"
    BESIDE=()
}

aside() {
    in_group idly "$@"
    ASIDE=$STARTED
}
idly() {
    chrt --idle --pid 0 "$BASHPID" 2>/dev/null || renice -n 19 -p "$BASHPID" >/dev/null
    "$@"
}
# alone CMD...: while what is aside stands still.
alone() {
    local status
    [ -z "$ASIDE" ] || kill -STOP -- "-$ASIDE" 2>/dev/null
    "$@"
    status=$?
    [ -z "$ASIDE" ] || kill -CONT -- "-$ASIDE" 2>/dev/null
    return "$status"
}
aside_done() {
    [ -z "$ASIDE" ] || wait "$ASIDE"
    ASIDE=
}
