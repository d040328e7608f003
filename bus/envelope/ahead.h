/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What trailers prove (D of PROTOCOL 5.2), of several envelopes at once before the first of them is
 * opened: docs/decisions/0134. A hash is found again only by all it was made of, so it says nothing
 * else than the hash made when it is needed. One owner, in guarded memory: commits are secrets.
 */
#ifndef ENVELOPE_AHEAD_H
#define ENVELOPE_AHEAD_H

#include "crypto/kdf.h"
#include "envelope/envelope.h"

/* Zero-initialise. */
struct trailers_ahead {
    size_t count;
    bool is_hashed;
    struct {
        struct secret commit;
        uint8_t context[HASH_SIZE];
        struct bytes signed_part; /* borrowed until trailers_ahead_forget() */
        uint8_t *vector;          /* the slots to be written; NULL: it is to be opened */
        uint8_t digest[HASH_SIZE];
    } of[HASHES_AT_ONCE];
};

/* Adds an envelope, whose @signed_part stays where it is and as it is until
 * trailers_ahead_forget(). False: HASHES_AT_ONCE are there, or what is there has been hashed. */
bool trailers_ahead_add(struct trailers_ahead *ahead, const struct secret *commit,
                        const uint8_t context[HASH_SIZE], struct bytes signed_part,
                        uint8_t *vector);
/* Hashes what was added, unless one after the other would not take longer. */
void trailers_ahead_hash(struct trailers_ahead *ahead);
/* D of the envelope of @signed_part; false: it is not known. */
bool trailers_ahead_find(const struct trailers_ahead *ahead, const struct secret *commit,
                         const uint8_t context[HASH_SIZE], struct bytes signed_part,
                         uint8_t ret[HASH_SIZE]);
/* Writes the vectors of what was sealed (envelope_seal_input.later) for these readers, and forgets
 * it. */
void trailers_ahead_prove(struct trailers_ahead *ahead, const struct secret *reader_keys,
                          size_t reader_count);
void trailers_ahead_forget(struct trailers_ahead *ahead);

#endif
