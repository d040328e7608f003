/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share. A target aborts when a promise is broken. */
#ifndef TEST_FUZZ_H
#define TEST_FUZZ_H

#include <stdlib.h>

#include "base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void require(bool holds)
{
    if (!holds)
        abort();
}

/* A copy of its exact size, so that a sanitizer sees one byte too far. */
static inline uint8_t *copy_of(struct bytes bytes)
{
    uint8_t *copy = malloc(bytes.size ? bytes.size : 1);

    require(copy != NULL);
    bytes_copy(copy, bytes);
    return copy;
}

#endif
