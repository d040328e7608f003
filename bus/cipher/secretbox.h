/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XSalsa20-Poly1305 as NaCl's secretbox has it (D. J. Bernstein, "Cryptography in NaCl", sections 9
 * and 10), which is also what "box" does under a shared key: the bytes of libsodium, with its key
 * stream prepared once for all nonces that begin alike. Any thread.
 */
#ifndef CIPHER_SECRETBOX_H
#define CIPHER_SECRETBOX_H

#include "base/secret.h"

#define SECRETBOX_NONCE_SIZE 24
#define SECRETBOX_PREFIX_SIZE 16 /* of a nonce; what the subkey is of */
#define SECRETBOX_TAG_SIZE 16

/* After stream_start() and poly1305_start(): looks whether what is large comes out as libsodium has
 * it; else libsodium will do that too. The first time before another thread uses the others. */
void secretbox_start(void);

/* HSalsa20's subkey of @key for nonces that begin with @prefix. */
void secretbox_subkey(const uint8_t key[SECRET_SIZE], const uint8_t prefix[SECRETBOX_PREFIX_SIZE],
                      struct secret *ret_subkey);

/* @to gets the tag and then @size bytes. @from may be where they come to lie, and may overlap. */
void secretbox_seal(const struct secret *subkey, const uint8_t nonce_tail[8], const uint8_t *from,
                    size_t size, uint8_t *to);
/* @sealed has SECRETBOX_TAG_SIZE + @size bytes. False: not genuine, and @to is as it was. @to may
 * be where they lie behind the tag, and may overlap. */
bool secretbox_open(const struct secret *subkey, const uint8_t nonce_tail[8], const uint8_t *sealed,
                    size_t size, uint8_t *to);

#endif
