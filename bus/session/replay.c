/* SPDX-License-Identifier: Apache-2.0 */
/* Replay windows and the gaps they reveal. Plain data, one owner. */
#include <string.h>

#include "base/cleanup.h"
#include "session/replay.h"

static bool bit(const struct replay *replay, uint64_t n)
{
    return replay->opened[n % REPLAY_WINDOW / 64] >> n % 64 & 1;
}

static void set_bit(struct replay *replay, uint64_t n)
{
    replay->opened[n % REPLAY_WINDOW / 64] |= (uint64_t)1 << n % 64;
}

static void clear_bit(struct replay *replay, uint64_t n)
{
    replay->opened[n % REPLAY_WINDOW / 64] &= ~((uint64_t)1 << n % 64);
}

/* Joins neighbouring missing numbers into runs. */
struct run {
    const struct gap_sink *sink;
    bool open;
    uint64_t first, last;
};

static void run_end(struct run *run)
{
    if (run->open)
        run->sink->report(run->sink->context, run->first, run->last);
    run->open = false;
}

static void run_missing(struct run *run, uint64_t first, uint64_t last)
{
    if (run->open && run->last + 1 == first) {
        run->last = last;
        return;
    }
    run_end(run);
    *run = (struct run){run->sink, true, first, last};
}

void replay_init(struct replay *replay, bool strict)
{
    *replay = (struct replay){.strict = strict};
}

void replay_start(struct replay *replay, uint64_t next)
{
    replay->begun = true;
    replay->next = replay->low = replay->settled = next;
}

int replay_check(const struct replay *replay, uint32_t sequence)
{
    if (!replay->begun || sequence >= replay->next)
        return 0;
    if (replay->strict || sequence < replay->low || bit(replay, sequence))
        return AICO_EREPLAY;
    return 0;
}

/* Everything below @low that did not open is missing. */
static void settle(struct replay *replay, uint64_t low, struct run *run)
{
    for (; replay->low < low && replay->low < replay->next; replay->low++)
        if (!bit(replay, replay->low))
            run_missing(run, replay->low, replay->low);
    if (replay->low < low) {
        run_missing(run, replay->low, low - 1);
        replay->low = low;
        replay->next = MAX(replay->next, low);
    }
}

/* Makes @next the next one; what falls out of the window is settled. */
static void advance(struct replay *replay, uint64_t next, struct run *run)
{
    if (next <= replay->next)
        return;
    if (replay->strict) {
        run_missing(run, replay->next, next - 1);
        replay->next = replay->low = next;
        return;
    }
    if (next > REPLAY_WINDOW)
        settle(replay, next - REPLAY_WINDOW, run);
    for (; replay->next < next; replay->next++)
        clear_bit(replay, replay->next);
}

void replay_move(struct replay *replay, uint32_t sequence, const struct gap_sink *sink)
{
    struct run run = {.sink = sink};

    if (replay->strict) {
        advance(replay, sequence, &run);
        run_end(&run);
        replay->next = replay->low = (uint64_t)sequence + 1;
        return;
    }
    advance(replay, (uint64_t)sequence + 1, &run);
    run_end(&run);
    set_bit(replay, sequence);
    while (replay->low < replay->next && bit(replay, replay->low))
        replay->low++;
}

void replay_announce(struct replay *replay, uint64_t next, const struct gap_sink *sink)
{
    struct run run = {.sink = sink};

    if (!replay->strict)
        settle(replay, MIN(replay->settled, replay->next), &run);
    advance(replay, next, &run);
    run_end(&run);
    replay->settled = MAX(replay->settled, replay->next);
}

void replay_finish(struct replay *replay, uint64_t next, const struct gap_sink *sink)
{
    struct run run = {.sink = sink};

    advance(replay, next, &run);
    if (!replay->strict)
        settle(replay, replay->next, &run);
    run_end(&run);
}

void replay_skip(struct replay *replay, uint64_t next)
{
    if (next > replay->next)
        replay_start(replay, next);
    replay->low = replay->settled = replay->next;
}
