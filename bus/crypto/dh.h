/* SPDX-License-Identifier: Apache-2.0 */
/* X25519. Pure, any thread. */
#ifndef CRYPTO_DH_H
#define CRYPTO_DH_H

#include "crypto/crypto.h"

/* The public key of @secret (crypto_scalarmult_base). */
void dh_public(const struct secret *secret, uint8_t ret_public[DH_PUBLIC_SIZE]);
/* DH(a, B): 0, or AICO_EDH when B is of low order; @ret_shared is then untouched. */
AICO_MUST_USE int dh_shared(const struct secret *a, const uint8_t b[DH_PUBLIC_SIZE],
                            struct secret *ret_shared);

#endif
