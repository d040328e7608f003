/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a benchmark sends: every message names its publisher, number and time, and is known to the
 * last byte, so that one that was lost, doubled, moved or changed is noticed by whoever reads it.
 *
 * In the order of this machine (publisher and reader run on the same one):
 *
 *   u32  publisher
 *   u32  kind        PAYLOAD_DATA or PAYLOAD_WARM
 *   u64  number      0, 1, 2... of the publisher
 *   u64  time_ns     CLOCK_MONOTONIC at which it was due
 *   u64  check       over the above and the size
 *   ...  body        a pattern that begins at a place given by the number
 */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <aico/error.h>

#define PAYLOAD_SIZE_MIN 32

enum payload_kind { PAYLOAD_DATA = 0x61746164, PAYLOAD_WARM = 0x6d726177 };

struct payload {
    uint32_t publisher;
    uint32_t kind;
    uint64_t number;
    uint64_t time_ns;
};

/* The pattern of all bodies up to a size. */
struct payload_pattern {
    uint8_t *at;
    size_t size_max; /* of a whole message */
};

/* 0 or AICO_ENOMEM. */
AICO_MUST_USE int payload_pattern_init(struct payload_pattern *ret_pattern, size_t size_max);
void payload_pattern_deinit(struct payload_pattern *pattern);
/* Writes a message of @size (PAYLOAD_SIZE_MIN..size_max) bytes to @to. */
void payload_write(const struct payload_pattern *pattern, const struct payload *payload, void *to,
                   size_t size);
/* False when it is not @size bytes, or any of them is not what was written; @ret untouched. */
bool payload_read(const struct payload_pattern *pattern, const void *at, size_t got, size_t size,
                  struct payload *ret_payload);

#endif
