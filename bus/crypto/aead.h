/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XChaCha20-Poly1305. With a struct aead_key the HChaCha20 subkey of the first 16 nonce bytes is
 * kept (PROTOCOL.md 5.1 "Speed": the same bytes, 340 instead of 440 ns). Pure, any thread.
 */
#ifndef CRYPTO_AEAD_H
#define CRYPTO_AEAD_H

#include "crypto/crypto.h"

/* A key prepared for nonces that all begin with the same 16 bytes. Wipe with aead_key_wipe(). */
struct aead_key {
    struct secret subkey;
    uint8_t prefix[16];
};
void aead_key_init(struct aead_key *key, const struct secret *k, const uint8_t prefix[16]);
void aead_key_wipe(struct aead_key *key);

/* @to gets plain.size + AEAD_TAG_SIZE bytes; it may be plain.at itself. @nonce_tail: nonce bytes
 * 16..23. The same bytes as aead_seal() with nonce = prefix || nonce_tail. */
void aead_key_seal(const struct aead_key *key, const uint8_t nonce_tail[8], struct bytes ad1,
                   struct bytes ad2, struct bytes plain, uint8_t *to);
/* @to gets sealed.size - AEAD_TAG_SIZE bytes; 0 or AICO_EOPEN, and then @to is zeroed. */
AICO_MUST_USE int aead_key_open(const struct aead_key *key, const uint8_t nonce_tail[8],
                                struct bytes ad1, struct bytes ad2, struct bytes sealed,
                                uint8_t *to);

/* The plain form: SEAL and OPEN of PROTOCOL.md section 1 with a whole nonce. Associated data is
 * ad1 || ad2; together at most 70,000 bytes (metadata 65535 + header + context). */
void aead_seal(const struct secret *key, const uint8_t nonce[AEAD_NONCE_SIZE], struct bytes ad1,
               struct bytes ad2, struct bytes plain, uint8_t *to);
AICO_MUST_USE int aead_open(const struct secret *key, const uint8_t nonce[AEAD_NONCE_SIZE],
                            struct bytes ad1, struct bytes ad2, struct bytes sealed, uint8_t *to);

#endif
