/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which sequence numbers still may come, PROTOCOL 5.4: strict (each above the last) or a window of
 * 1024 below the next. Only what opened moves it. Everything below `low` was opened or reported
 * missing, so that each number is accounted for once. Plain data, one owner.
 */
#ifndef SESSION_REPLAY_H
#define SESSION_REPLAY_H

#include <aico/error.h>

#include <stdbool.h>
#include <stdint.h>

#define REPLAY_WINDOW 1024

/* Told of every run of missing numbers, in rising order. */
struct gap_sink {
    void (*report)(void *context, uint64_t first, uint64_t last);
    void *context;
};

struct replay {
    bool strict;
    bool begun;                          /* false: replay_start() has not been called */
    uint64_t next;                       /* one above the highest that opened or was announced */
    uint64_t low;                        /* everything below is settled; strict: always `next` */
    uint64_t settled;                    /* window: what `next` was at the last announcement */
    uint64_t opened[REPLAY_WINDOW / 64]; /* bit n % 1024, for low <= n < next */
};

void replay_init(struct replay *replay, bool strict);
/* Nothing below @next will be accepted. */
void replay_start(struct replay *replay, uint64_t next);
/* 0 or AICO_EREPLAY; changes nothing. Before replay_start() everything passes. */
AICO_MUST_USE int replay_check(const struct replay *replay, uint32_t sequence);
/* @sequence (replay_check() passed) opened. Reports what is now known to be missing. */
void replay_move(struct replay *replay, uint32_t sequence, const struct gap_sink *sink);
/* The sender says that @next is the one it will use next. Strict: what did not arrive is missing at
 * once. Window: what was missing at the previous announcement already. */
void replay_announce(struct replay *replay, uint64_t next, const struct gap_sink *sink);
/* The sender says that nothing follows @next: all that did not arrive is missing. */
void replay_finish(struct replay *replay, uint64_t next, const struct gap_sink *sink);
/* From here on numbers up to the next one that opens are not missing (we did not listen). */
void replay_skip(struct replay *replay, uint64_t next);

#endif
