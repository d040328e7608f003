/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many small secrets in few guarded pages: an arena of objects of one size that grows and is freed
 * as a whole. Zero-initialise with the size; one owner, not thread-safe.
 */
#ifndef SESSION_VAULT_H
#define SESSION_VAULT_H

#include <stddef.h>

struct vault {
    size_t size; /* of an object */
    struct vault_chunk {
        void *at; /* guarded */
        size_t count, capacity;
    } * chunks;
    size_t chunk_count;
};

/* A zeroed object, valid until vault_deinit(); NULL without memory. */
void *vault_take(struct vault *vault);
/* Zeroes every object; they stay taken. */
void vault_wipe(struct vault *vault);
void vault_deinit(struct vault *vault);

#endif
