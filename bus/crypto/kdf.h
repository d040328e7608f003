/* SPDX-License-Identifier: Apache-2.0 */
/* H, KDF and MAC of PROTOCOL.md section 1. Pure, any thread. */
#ifndef CRYPTO_KDF_H
#define CRYPTO_KDF_H

#include "crypto/crypto.h"

/* Hn(x): unkeyed BLAKE2b with @size (16..64) bytes of output. */
void hash_n(struct bytes x, uint8_t *to, size_t size);
/* Hn(TAG(label) || x) */
void hash_tagged_n(const char *label, struct bytes x, uint8_t *to, size_t size);

#define HASHES_AT_ONCE 4
/* At once they take the time of so many of the longest, one after the other. */
#define HASHES_AT_ONCE_WORTH 2
/* Whether the processor has what it takes; if not, it is only said another way. */
bool hash_many_is_fast(void);
/* What hash_tagged_many() hashes. @a and @b together at most 64 bytes. */
struct hash_input {
    struct bytes a, b, body;
};
/* H(TAG(label) || a || b || body) of 1..HASHES_AT_ONCE inputs; at most 20 bytes of @label. */
void hash_tagged_many(const char *label, const struct hash_input *inputs, size_t count,
                      uint8_t ret[][HASH_SIZE]);

/* KDF(k, label, x), 32 bytes. @ret_out may be the same object as @k. */
void kdf(const struct secret *k, const char *label, struct bytes x, struct secret *ret_out);
/* KDF over x = a || b, without joining them first. */
void kdf2(const struct secret *k, const char *label, struct bytes a, struct bytes b,
          struct secret *ret_out);
/* MAC(k, x) = KDF(k, "mac", x), and whether @mac (32 bytes) equals it, in constant time. */
void mac(const struct secret *k, struct bytes x, uint8_t ret_mac[HASH_SIZE]);
bool mac_verify(const struct secret *k, struct bytes x, const uint8_t mac[HASH_SIZE]);

/* Incremental H / keyed H, for structured hashes: begin, feed, end. On the caller's stack. */
struct hasher {
    _Alignas(64) uint8_t opaque[384]; /* crypto_generichash_state */
};
void hasher_begin(struct hasher *h, size_t out_size);
void hasher_begin_keyed(struct hasher *h, const void *key, size_t key_size, size_t out_size);
void hasher_tag(struct hasher *h, const char *label); /* feeds TAG(label) */
void hasher_feed(struct hasher *h, struct bytes x);
void hasher_feed_u64(struct hasher *h, uint64_t x);
void hasher_end(struct hasher *h, uint8_t *to, size_t out_size); /* wipes h */

#endif
