/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Format 0, the seed's envelope (PROTOCOL 5.5), spoken only with a component whose registry line
 * says `peer aico`: a random nonce, JSON metadata in clear as associated data, no sequence, no
 * trailer. Keys come from crypto/kx.h; replay protection by `timestamp` and by the nonce is the
 * session's business. Pure, any thread.
 */
#ifndef ENVELOPE_FORMAT0_H
#define ENVELOPE_FORMAT0_H

#include "crypto/random.h"
#include "envelope/envelope.h"

/*
 * Nonces that never repeat: 16 fresh bytes per key and process, then a counter (a system call per
 * nonce would cost 270 ns). Lives in guarded memory (crypto/crypto.h), so that a child after
 * fork() finds zeros and cannot repeat its parent's. Not thread-safe.
 */
struct format0_nonces {
    uint8_t prefix[16];
    uint64_t counter; /* of the next nonce, from 1; 0: forked, or never begun */
};
void format0_nonces_init(struct format0_nonces *nonces, struct hedge *hedge);
/* 0, or AICO_EFORKED. */
AICO_MUST_USE int format0_nonces_next(struct format0_nonces *nonces,
                                      uint8_t ret_nonce[ENVELOPE_NONCE_SIZE]);

/* The size of a whole envelope. */
size_t format0_sealed_size(size_t metadata_size, size_t payload_size);

/*
 * Appends the envelope to @to. @payload may already lie in its place in @to's free room
 * (ENVELOPE_HEAD_SIZE + metadata.size further on), and overlaps it in no other way.
 *
 * Returns 0, AICO_EMETADATA (not canonical, see envelope/metadata.h), AICO_ETOOLARGE (@payload is
 * above @content_max), AICO_ESIZE (no room in @to). On failure @to is unchanged.
 */
AICO_MUST_USE int format0_seal(const struct secret *key, const uint8_t nonce[ENVELOPE_NONCE_SIZE],
                               struct bytes metadata, struct bytes payload, size_t content_max,
                               struct writer *to);

/* Opens @envelope into @plain (envelope->sealed.size - AEAD_TAG_SIZE bytes; may be
 * envelope->sealed.at itself). 0, AICO_EFORMAT (another format) or AICO_EOPEN, and then @plain is
 * zeroed. Whether the metadata can be used is for metadata_parse() to say, afterwards. */
AICO_MUST_USE int format0_open(const struct envelope *envelope, const struct secret *key,
                               uint8_t *plain, struct bytes *ret_payload);

#endif
