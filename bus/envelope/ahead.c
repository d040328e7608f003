/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes of trailers, several at once. */
#include "envelope/ahead.h"

#include "base/cleanup.h"
#include "envelope/layout.h"

bool trailers_ahead_add(struct trailers_ahead *ahead, const struct secret *commit,
                        const uint8_t context[HASH_SIZE], struct bytes signed_part, uint8_t *vector)
{
    if (ahead->is_hashed || ahead->count == HASHES_AT_ONCE)
        return false;
    ahead->of[ahead->count].commit = *commit;
    memcpy(ahead->of[ahead->count].context, context, HASH_SIZE);
    ahead->of[ahead->count].signed_part = signed_part;
    ahead->of[ahead->count].vector = vector;
    ahead->count++;
    return true;
}

void trailers_ahead_hash(struct trailers_ahead *ahead)
{
    struct hash_input inputs[HASHES_AT_ONCE];
    uint8_t digests[HASHES_AT_ONCE][HASH_SIZE];
    size_t all = 0, longest = 0;

    for (size_t i = 0; i < ahead->count; i++) {
        size_t size = ahead->of[i].signed_part.size;

        inputs[i] = (struct hash_input){secret_view(&ahead->of[i].commit),
                                        bytes_of(ahead->of[i].context, HASH_SIZE),
                                        ahead->of[i].signed_part};
        all += size;
        longest = MAX(longest, size);
    }
    if (all < HASHES_AT_ONCE_WORTH * longest || all == 0 || !hash_many_is_fast())
        return;
    hash_tagged_many(TRAILER_LABEL, inputs, ahead->count, digests);
    for (size_t i = 0; i < ahead->count; i++)
        memcpy(ahead->of[i].digest, digests[i], HASH_SIZE);
    ahead->is_hashed = true;
}

bool trailers_ahead_find(const struct trailers_ahead *ahead, const struct secret *commit,
                         const uint8_t context[HASH_SIZE], struct bytes signed_part,
                         uint8_t ret[HASH_SIZE])
{
    for (size_t i = 0; ahead->is_hashed && i < ahead->count; i++) {
        if (ahead->of[i].signed_part.at != signed_part.at)
            continue;
        if (ahead->of[i].signed_part.size != signed_part.size ||
            memcmp(ahead->of[i].context, context, HASH_SIZE) != 0 ||
            !secret_equal(ahead->of[i].commit.at, commit->at, SECRET_SIZE))
            return false;
        memcpy(ret, ahead->of[i].digest, HASH_SIZE);
        return true;
    }
    return false;
}

void trailers_ahead_prove(struct trailers_ahead *ahead, const struct secret *reader_keys,
                          size_t reader_count)
{
    trailers_ahead_hash(ahead);
    for (size_t i = 0; i < ahead->count; i++) {
        if (!ahead->is_hashed)
            trailer_digest(&ahead->of[i].commit, ahead->of[i].context, ahead->of[i].signed_part,
                           ahead->of[i].digest);
        for (size_t k = 0; k < reader_count; k++)
            trailer_slot(&reader_keys[k], ahead->of[i].digest,
                         ahead->of[i].vector + k * ENVELOPE_SLOT_SIZE);
    }
    trailers_ahead_forget(ahead);
}

void trailers_ahead_forget(struct trailers_ahead *ahead)
{
    if (ahead->count > 0)
        memory_wipe(ahead, sizeof(*ahead));
}
