/* SPDX-License-Identifier: Apache-2.0 */
/* A token bucket over the boot clock. Zero-initialised is full. Pure, one owner. */
#ifndef SESSION_BUCKET_H
#define SESSION_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    int64_t spent; /* thousandths of a token that are missing */
    int64_t at_ms; /* when `spent` was true */
};

/* Takes one of at most @burst tokens that come back at @per_second; false when there is none. */
static inline bool bucket_take(struct bucket *bucket, int64_t now_ms, int64_t per_second,
                               int64_t burst)
{
    int64_t elapsed = now_ms - bucket->at_ms;

    if (elapsed > 0) {
        /* Compared by division, so that a clock far ahead cannot overflow. */
        bucket->spent -=
            elapsed > bucket->spent / per_second ? bucket->spent : elapsed * per_second;
        bucket->at_ms = now_ms;
    }
    if (bucket->spent + 1000 > burst * 1000)
        return false;
    bucket->spent += 1000;
    return true;
}

#endif
