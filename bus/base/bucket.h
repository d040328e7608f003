/* SPDX-License-Identifier: Apache-2.0 */
/* A token bucket over the boot clock. Zero-initialised is full. Pure, one owner. */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
    int64_t spent; /* thousandths of a token that are missing */
    int64_t at_ms; /* when `spent` was true */
};

/* What came back since the last call at @per_second. */
static inline void bucket_refill(struct bucket *bucket, int64_t now_ms, int64_t per_second)
{
    int64_t elapsed = now_ms - bucket->at_ms;

    if (elapsed <= 0)
        return;
    /* Compared by division, so that a clock far ahead cannot overflow. */
    bucket->spent -= elapsed > bucket->spent / per_second ? bucket->spent : elapsed * per_second;
    bucket->at_ms = now_ms;
}

/* Takes @count of at most @burst tokens that come back at @per_second (not 0); false when there are
 * not so many: then none is taken. */
static inline bool bucket_take_many(struct bucket *bucket, int64_t now_ms, int64_t count,
                                    int64_t per_second, int64_t burst)
{
    bucket_refill(bucket, now_ms, per_second);
    if (bucket->spent + count * 1000 > burst * 1000)
        return false;
    bucket->spent += count * 1000;
    return true;
}

/* The same for one. */
static inline bool bucket_take(struct bucket *bucket, int64_t now_ms, int64_t per_second,
                               int64_t burst)
{
    return bucket_take_many(bucket, now_ms, 1, per_second, burst);
}

/* Tokens that are missing, as of the last call. */
static inline int64_t bucket_spent(const struct bucket *bucket)
{
    return bucket->spent / 1000;
}

#endif
