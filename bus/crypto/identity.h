/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of one component, derived from its seed: PROTOCOL.md section 2. */
#ifndef CRYPTO_IDENTITY_H
#define CRYPTO_IDENTITY_H

#include "crypto/crypto.h"

#define COMPONENT_NAME_MAX 64
#define FINGERPRINT_TEXT_SIZE 38 /* "aico:" + 26 characters + 6 dashes + final zero */

/* Lives in guarded memory: identity_new() .. identity_free(). Read-only after identity_new(), then
 * usable from any thread. */
struct identity {
    char name[COMPONENT_NAME_MAX + 1];
    uint8_t public[SIGN_PUBLIC_SIZE];         /* Ed25519: the identity */
    uint8_t transport_public[DH_PUBLIC_SIZE]; /* X25519 for CURVE */
    uint32_t transport_number;                /* n of the derivation */
    struct secret seed;
    struct secret transport_secret;
    struct secret storage;
};
/* Derives everything from @seed (copied). 0, AICO_EINVAL (name), AICO_ENOMEM. */
AICO_MUST_USE int identity_new(const char *name, const struct secret *seed,
                               uint32_t transport_number, struct identity **ret_identity);
void identity_free(struct identity **identity);

/* 1..64 bytes of [a-z0-9._-], first a letter or digit; "owner" is allowed, "$..." is not. */
bool component_name_is_valid(struct bytes name);
/* "aico:xxxx-xxxx-...-xx" of an Ed25519 public key. */
void fingerprint_write(const uint8_t public[SIGN_PUBLIC_SIZE], char to[FINGERPRINT_TEXT_SIZE]);

/* Master mode. AICO_EINVAL for numbers Argon2id does not know (ops 1..2^32-1, mem 8 KiB..4 TiB),
 * AICO_ENOMEM when it cannot get @mem_bytes. */
AICO_MUST_USE int passphrase_key(struct bytes passphrase, const uint8_t salt[16], uint64_t ops,
                                 uint64_t mem_bytes, struct secret *ret_key);
void master_component_seed(const struct secret *master, const char *name, struct secret *ret_seed);

#endif
