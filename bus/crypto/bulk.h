/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ChaCha20-Poly1305 (RFC 8439) by OpenSSL's libcrypto, for payloads of kilobytes: the bytes of
 * libsodium in a third of its time (docs/decisions/0130). Keys are in its memory only while a call
 * runs. Any thread.
 */
#ifndef CRYPTO_BULK_H
#define CRYPTO_BULK_H

#include "crypto/crypto.h"

/* Below so many bytes libsodium is as fast. */
#define BULK_SIZE_MIN 2048

/* Whether libcrypto does here what libsodium does: looked at once, with both, on the first call. */
bool bulk_is_there(void);

/* @to gets plain.size + 16 bytes; it may be plain.at itself. False: nothing was written. */
AICO_MUST_USE bool bulk_seal(const struct secret *key, const uint8_t nonce[12], struct bytes ad1,
                             struct bytes ad2, struct bytes plain, uint8_t *to);

/* @to gets sealed.size - 16 bytes; it may be sealed.at itself. 0; AICO_EOPEN: not genuine, @to is
 * zeroed; AICO_ENOMEM: nothing was written. */
AICO_MUST_USE int bulk_open(const struct secret *key, const uint8_t nonce[12], struct bytes ad1,
                            struct bytes ad2, struct bytes sealed, uint8_t *to);

#endif
