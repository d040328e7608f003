/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 with labels: SIGN and VERIFY of PROTOCOL.md section 1. Pure, any thread. */
#ifndef CRYPTO_SIGN_H
#define CRYPTO_SIGN_H

#include "crypto/crypto.h"

/* The public key of @seed (crypto_sign_seed_keypair). */
void sign_public(const struct secret *seed, uint8_t ret_public[SIGN_PUBLIC_SIZE]);
/* SIGN(seed, label, a || b): Ed25519 detached over TAG(label) || a || b. Streams a copy when
 * @a and @b are large (heap); AICO_ENOMEM is the only failure. */
AICO_MUST_USE int sign_make(const struct secret *seed, const char *label, struct bytes a,
                            struct bytes b, uint8_t ret_signature[SIGNATURE_SIZE]);
/* The same at half the cost (16 us) for a caller that keeps @public = sign_public(@seed). It must
 * be that key: two signatures of one message under different public keys give the seed away. */
AICO_MUST_USE int sign_make_as(const struct secret *seed, const uint8_t public[SIGN_PUBLIC_SIZE],
                               const char *label, struct bytes a, struct bytes b,
                               uint8_t ret_signature[SIGNATURE_SIZE]);
/* 0, AICO_ESIGNATURE or AICO_ENOMEM. */
AICO_MUST_USE int sign_verify(const uint8_t public[SIGN_PUBLIC_SIZE], const char *label,
                              struct bytes a, struct bytes b,
                              const uint8_t signature[SIGNATURE_SIZE]);

#endif
