/* SPDX-License-Identifier: Apache-2.0 */
/* NaCl's box, X25519 with XSalsa20-Poly1305, which CurveZMQ is made of. Pure, any thread. */
#ifndef CRYPTO_BOX_H
#define CRYPTO_BOX_H

#include "crypto/crypto.h"

/* A new key pair for one use. */
void box_keys(uint8_t ret_public[DH_PUBLIC_SIZE], struct secret *ret_secret);
/* The key that both sides share, for cipher/secretbox; AICO_EDH when @theirs is of low order. */
AICO_MUST_USE int box_shared(const struct secret *ours, const uint8_t theirs[DH_PUBLIC_SIZE],
                             struct secret *ret_key);

#endif
