/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key agreement of envelope format 0 (PROTOCOL 5.5): crypto_kx over the converted identity
 * keys. It has no forward secrecy and puts the identity into a DH, so only a registry line that
 * says `peer aico` may lead here. Pure, any thread.
 */
#ifndef CRYPTO_KX_H
#define CRYPTO_KX_H

#include "crypto/crypto.h"

/*
 * @seed     our identity's seed
 * @peer     the peer's identity (Ed25519 public key)
 * @dialer   whether we are the dialer, crypto_kx's client
 * @ret_rx   opens what the peer seals
 * @ret_tx   seals what the peer opens
 *
 * Returns 0 or AICO_EDH (no point of the curve, or of low order); the outputs are then untouched.
 */
AICO_MUST_USE int kx_static(const struct secret *seed, const uint8_t peer[SIGN_PUBLIC_SIZE],
                            bool dialer, struct secret *ret_rx, struct secret *ret_tx);

#endif
