/* SPDX-License-Identifier: Apache-2.0 */
/* H, KDF and MAC: BLAKE2b with labels. Pure, any thread. */
#include <assert.h>

#include <sodium.h>

#include "base/cleanup.h"
#include "base/writer.h"
#include "cipher/blake2b.h"
#include "crypto/kdf.h"

_Static_assert(HASHES_AT_ONCE == BLAKE2B_LANES && HASH_SIZE == BLAKE2B_256_SIZE,
               "what is hashed at once is a vector unit's");

_Static_assert(sizeof(crypto_generichash_state) <= sizeof(((struct hasher *)0)->opaque) &&
                   _Alignof(crypto_generichash_state) <= 64,
               "a hasher holds libsodium's state");

static crypto_generichash_state *state_of(struct hasher *h)
{
    return (crypto_generichash_state *)(void *)h->opaque;
}

void hasher_begin(struct hasher *h, size_t out_size)
{
    hasher_begin_keyed(h, NULL, 0, out_size);
}

void hasher_begin_keyed(struct hasher *h, const void *key, size_t key_size, size_t out_size)
{
    assert(out_size >= crypto_generichash_BYTES_MIN && out_size <= crypto_generichash_BYTES_MAX);
    assert(key_size <= crypto_generichash_KEYBYTES_MAX);
    (void)crypto_generichash_init(state_of(h), key, key_size, out_size);
}

void hasher_tag(struct hasher *h, const char *label)
{
    uint8_t size = (uint8_t)(strlen(LABEL_PREFIX) + strlen(label));

    assert(strlen(LABEL_PREFIX) + strlen(label) <= UINT8_MAX);
    hasher_feed(h, bytes_of(&size, 1));
    hasher_feed(h, bytes_text(LABEL_PREFIX));
    hasher_feed(h, bytes_text(label));
}

void hasher_feed(struct hasher *h, struct bytes x)
{
    if (x.size > 0)
        (void)crypto_generichash_update(state_of(h), x.at, x.size);
}

void hasher_feed_u64(struct hasher *h, uint64_t x)
{
    uint8_t be[8];

    for (size_t i = 0; i < sizeof(be); i++)
        be[i] = (uint8_t)(x >> (56 - 8 * i));
    hasher_feed(h, bytes_of(be, sizeof(be)));
}

void hasher_end(struct hasher *h, uint8_t *to, size_t out_size)
{
    (void)crypto_generichash_final(state_of(h), to, out_size);
    memory_wipe(h, sizeof(*h));
}

void hash_n(struct bytes x, uint8_t *to, size_t size)
{
    struct hasher h;

    hasher_begin(&h, size);
    hasher_feed(&h, x);
    hasher_end(&h, to, size);
}

void hash_tagged_n(const char *label, struct bytes x, uint8_t *to, size_t size)
{
    struct hasher h;

    hasher_begin(&h, size);
    hasher_tag(&h, label);
    hasher_feed(&h, x);
    hasher_end(&h, to, size);
}

bool hash_many_is_fast(void)
{
    return blake2b_is_fast();
}

void hash_tagged_many(const char *label, const struct hash_input *inputs, size_t count,
                      uint8_t ret[][HASH_SIZE])
{
    struct blake2b_text texts[BLAKE2B_LANES];
    size_t size = strlen(LABEL_PREFIX) + strlen(label);

    assert(count <= HASHES_AT_ONCE);
    for (size_t i = 0; i < count; i++) {
        struct writer w = writer_over(texts[i].head, sizeof(texts[i].head));

        writer_u8(&w, (uint8_t)size);
        writer_bytes(&w, bytes_text(LABEL_PREFIX));
        writer_bytes(&w, bytes_text(label));
        writer_bytes(&w, inputs[i].a);
        writer_bytes(&w, inputs[i].b);
        assert(!w.failed);
        texts[i].head_size = w.size;
        texts[i].body = inputs[i].body.at;
        texts[i].body_size = inputs[i].body.size;
    }
    blake2b_256(texts, count, ret);
}

void kdf(const struct secret *k, const char *label, struct bytes x, struct secret *ret_out)
{
    kdf2(k, label, x, bytes_of(NULL, 0), ret_out);
}

void kdf2(const struct secret *k, const char *label, struct bytes a, struct bytes b,
          struct secret *ret_out)
{
    struct hasher h;

    hasher_begin_keyed(&h, k->at, SECRET_SIZE, SECRET_SIZE);
    hasher_tag(&h, label);
    hasher_feed(&h, a);
    hasher_feed(&h, b);
    hasher_end(&h, ret_out->at, SECRET_SIZE);
}

void mac(const struct secret *k, struct bytes x, uint8_t ret_mac[HASH_SIZE])
{
    CLEANUP(secret_wipe)
    struct secret out;

    kdf(k, "mac", x, &out);
    memcpy(ret_mac, out.at, HASH_SIZE);
}

bool mac_verify(const struct secret *k, struct bytes x, const uint8_t expected[HASH_SIZE])
{
    CLEANUP(secret_wipe)
    struct secret out;

    kdf(k, "mac", x, &out);
    return secret_equal(out.at, expected, HASH_SIZE);
}
