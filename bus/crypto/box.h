/* SPDX-License-Identifier: Apache-2.0 */
/* NaCl's box, X25519 with XSalsa20-Poly1305, which CurveZMQ is made of. Pure, any thread. */
#ifndef CRYPTO_BOX_H
#define CRYPTO_BOX_H

#include "crypto/crypto.h"

#define BOX_NONCE_SIZE 24
#define BOX_TAG_SIZE 16

/* A new key pair for one use. */
void box_keys(uint8_t ret_public[DH_PUBLIC_SIZE], struct secret *ret_secret);
/* @to has room for @size + BOX_TAG_SIZE bytes; AICO_EDH when @theirs is of low order. */
AICO_MUST_USE int box_seal(const struct secret *ours, const uint8_t theirs[DH_PUBLIC_SIZE],
                           const uint8_t nonce[BOX_NONCE_SIZE], const uint8_t *plain, size_t size,
                           uint8_t *to);
/* @sealed has @size + BOX_TAG_SIZE bytes, @to room for @size; AICO_EAUTHENTICITY when it was not
 * made with these keys and this nonce. */
AICO_MUST_USE int box_open(const struct secret *ours, const uint8_t theirs[DH_PUBLIC_SIZE],
                           const uint8_t nonce[BOX_NONCE_SIZE], const uint8_t *sealed, size_t size,
                           uint8_t *to);
/* The key that both sides share, for cipher/secretbox; AICO_EDH as above. */
AICO_MUST_USE int box_shared(const struct secret *ours, const uint8_t theirs[DH_PUBLIC_SIZE],
                             struct secret *ret_key);

#endif
