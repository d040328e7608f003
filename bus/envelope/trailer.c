/* SPDX-License-Identifier: Apache-2.0 */
/* The hash that trailers prove, and a vector's slot. Pure, any thread. */
#include "crypto/kdf.h"
#include "envelope/layout.h"

void trailer_digest(const struct secret *commit, const uint8_t context[HASH_SIZE],
                    struct bytes signed_part, uint8_t ret[HASH_SIZE])
{
    struct hasher h;

    hasher_begin(&h, HASH_SIZE);
    hasher_tag(&h, TRAILER_LABEL);
    hasher_feed(&h, secret_view(commit));
    hasher_feed(&h, bytes_of(context, HASH_SIZE));
    hasher_feed(&h, signed_part);
    hasher_end(&h, ret, HASH_SIZE);
}

void trailer_slot(const struct secret *reader_key, const uint8_t digest[HASH_SIZE],
                  uint8_t ret[ENVELOPE_SLOT_SIZE])
{
    struct hasher h;

    hasher_begin_keyed(&h, reader_key->at, SECRET_SIZE, ENVELOPE_SLOT_SIZE);
    hasher_feed(&h, bytes_of(digest, HASH_SIZE));
    hasher_end(&h, ret, ENVELOPE_SLOT_SIZE);
}
