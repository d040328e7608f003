/* SPDX-License-Identifier: Apache-2.0 */
/* Arena of small secrets. One owner. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "session/vault.h"

#define CHUNK_FIRST 16
#define CHUNK_MAX 1024

static struct vault_chunk *grow(struct vault *vault)
{
    size_t capacity = CHUNK_FIRST;
    struct vault_chunk *chunks;

    if (vault->chunk_count > 0)
        capacity = MIN(vault->chunks[vault->chunk_count - 1].capacity * 2, (size_t)CHUNK_MAX);
    chunks = realloc(vault->chunks, (vault->chunk_count + 1) * sizeof(*chunks));
    if (!chunks)
        return NULL;
    vault->chunks = chunks;
    chunks[vault->chunk_count] =
        (struct vault_chunk){.at = guarded_new(capacity * vault->size), .capacity = capacity};
    if (!chunks[vault->chunk_count].at)
        return NULL;
    return &chunks[vault->chunk_count++];
}

void *vault_take(struct vault *vault)
{
    struct vault_chunk *chunk =
        vault->chunk_count > 0 ? &vault->chunks[vault->chunk_count - 1] : NULL;

    if (!chunk || chunk->count == chunk->capacity)
        chunk = grow(vault);
    if (!chunk)
        return NULL;
    return (char *)chunk->at + vault->size * chunk->count++;
}

void vault_wipe(struct vault *vault)
{
    for (size_t i = 0; i < vault->chunk_count; i++)
        memory_wipe(vault->chunks[i].at, vault->chunks[i].count * vault->size);
}

void vault_deinit(struct vault *vault)
{
    for (size_t i = 0; i < vault->chunk_count; i++)
        guarded_free(&vault->chunks[i].at);
    free(vault->chunks);
    vault->chunks = NULL;
    vault->chunk_count = 0;
}
