/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets of 32 bytes and how they are erased. A secret lives in a struct secret, never in a bare
 * array; a local one is declared CLEANUP(secret_wipe). Comparison is crypto's secret_equal().
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <string.h>

#include "base/bytes.h"

#define SECRET_SIZE 32

struct secret {
    uint8_t at[SECRET_SIZE];
};

static inline void secret_wipe(struct secret *secret)
{
    explicit_bzero(secret, sizeof(*secret));
}

/* Wipes any memory: for types that hold secrets beside other fields. */
static inline void memory_wipe(void *at, size_t size)
{
    if (size > 0)
        explicit_bzero(at, size);
}

static inline struct bytes secret_view(const struct secret *secret)
{
    return (struct bytes){secret->at, SECRET_SIZE};
}

#endif
