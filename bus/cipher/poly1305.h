/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Poly1305 (RFC 8439, section 2.5) of what is large, by OpenSSL's libcrypto: the bytes of libsodium
 * in a quarter of its time (docs/decisions/0130). Any thread.
 */
#ifndef CIPHER_POLY1305_H
#define CIPHER_POLY1305_H

#include "base/bytes.h"

#define POLY1305_KEY_SIZE 32
#define POLY1305_TAG_SIZE 16

/* Looks whether libcrypto does here what libsodium does; else libsodium will do it. After
 * sodium_init(); the first time before another thread uses the others. */
void poly1305_start(void);

/* Whether libcrypto does it. */
bool poly1305_is_fast(void);

/* The tag of all @parts, one behind the other. @key serves once. */
void poly1305(const uint8_t key[POLY1305_KEY_SIZE], const struct bytes *parts, size_t count,
              uint8_t ret_tag[POLY1305_TAG_SIZE]);

#endif
