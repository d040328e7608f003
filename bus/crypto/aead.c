/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XChaCha20-Poly1305, whole or with a kept subkey. Pure, any thread.
 *
 * What is large is put together from stream and tag of bus/cipher as RFC 8439, section 2.8 says;
 * the rest is libsodium's whole. The bytes are the same.
 */
#include <assert.h>

#include <sodium.h>

#include "base/cleanup.h"
#include "cipher/poly1305.h"
#include "cipher/stream.h"
#include "crypto/aead.h"

#define AD_SMALL 256 /* head and context of an envelope without metadata are 68 bytes */
#define AD_MAX 70000

/* nonce_tail behind four zeros: what is left of an XChaCha20 nonce below the subkey. */
static void short_nonce(const uint8_t tail[8], uint8_t ret_nonce[12])
{
    memset(ret_nonce, 0, 4);
    memcpy(ret_nonce + 4, tail, 8);
}

void aead_key_init(struct aead_key *key, const struct secret *k, const uint8_t prefix[16])
{
    (void)crypto_core_hchacha20(key->subkey.at, prefix, k->at, NULL);
    memcpy(key->prefix, prefix, sizeof(key->prefix));
}

void aead_key_wipe(struct aead_key *key)
{
    memory_wipe(key, sizeof(*key));
}

/* Seals or opens with the associated data in one piece, as libsodium wants it. */
static int run(const struct aead_key *key, const uint8_t tail[8], struct bytes ad, bool seal,
               struct bytes from, uint8_t *to)
{
    uint8_t nonce[12];

    short_nonce(tail, nonce);
    if (seal)
        return crypto_aead_chacha20poly1305_ietf_encrypt(to, NULL, from.at, from.size, ad.at,
                                                         ad.size, NULL, nonce, key->subkey.at);
    return crypto_aead_chacha20poly1305_ietf_decrypt(to, NULL, NULL, from.at, from.size, ad.at,
                                                     ad.size, nonce, key->subkey.at);
}

/* Apart, so that only envelopes with metadata pay for a large stack frame. */
static __attribute__((noinline)) int run_large(const struct aead_key *key, const uint8_t tail[8],
                                               struct bytes ad1, struct bytes ad2, bool seal,
                                               struct bytes from, uint8_t *to)
{
    uint8_t ad[AD_MAX];

    bytes_copy(ad, ad1);
    bytes_copy(ad + ad1.size, ad2);
    return run(key, tail, bytes_of(ad, ad1.size + ad2.size), seal, from, to);
}

static int run_joined(const struct aead_key *key, const uint8_t tail[8], struct bytes ad1,
                      struct bytes ad2, bool seal, struct bytes from, uint8_t *to)
{
    uint8_t ad[AD_SMALL];

    if (ad2.size == 0)
        return run(key, tail, ad1, seal, from, to);
    if (ad1.size + ad2.size > sizeof(ad))
        return run_large(key, tail, ad1, ad2, seal, from, to);
    bytes_copy(ad, ad1);
    bytes_copy(ad + ad1.size, ad2);
    return run(key, tail, bytes_of(ad, ad1.size + ad2.size), seal, from, to);
}

#define LARGE 2048 /* bytes of a payload; below, libsodium's own is as fast */
#define LARGE_AVX512 1024

static bool is_large(size_t size)
{
    return poly1305_is_fast() && size >= (stream_is_fast() ? LARGE_AVX512 : LARGE);
}

/* --- what is large -------------------------------------------------------------------------- */

/* The tag of @sealed, without tag, and its associated data; the stream's first block is its key. */
static void tag_of(const struct aead_key *key, const uint8_t nonce[12], struct bytes ad1,
                   struct bytes ad2, struct bytes sealed, uint8_t ret_tag[AEAD_TAG_SIZE])
{
    static const uint8_t zeros[16];
    uint64_t ad_size = ad1.size + ad2.size;
    uint8_t mac_key[POLY1305_KEY_SIZE], sizes[16];
    struct bytes parts[] = {ad1,
                            ad2,
                            {zeros, -ad_size % 16},
                            sealed,
                            {zeros, -sealed.size % 16},
                            {sizes, sizeof(sizes)}};

    for (size_t i = 0; i < 8; i++) {
        sizes[i] = (uint8_t)(ad_size >> 8 * i);
        sizes[8 + i] = (uint8_t)((uint64_t)sealed.size >> 8 * i);
    }
    (void)crypto_stream_chacha20_ietf(mac_key, sizeof(mac_key), nonce, key->subkey.at);
    poly1305(mac_key, parts, COUNT_OF(parts), ret_tag);
    memory_wipe(mac_key, sizeof(mac_key));
}

static void seal_large(const struct aead_key *key, const uint8_t tail[8], struct bytes ad1,
                       struct bytes ad2, struct bytes plain, uint8_t *to)
{
    uint8_t nonce[12];

    short_nonce(tail, nonce);
    chacha20_xor(to, plain.at, plain.size, nonce, 1, key->subkey.at);
    tag_of(key, nonce, ad1, ad2, bytes_of(to, plain.size), to + plain.size);
}

static int open_large(const struct aead_key *key, const uint8_t tail[8], struct bytes ad1,
                      struct bytes ad2, struct bytes sealed, uint8_t *to)
{
    struct bytes text = bytes_of(sealed.at, sealed.size - AEAD_TAG_SIZE);
    uint8_t nonce[12], tag[AEAD_TAG_SIZE];

    short_nonce(tail, nonce);
    tag_of(key, nonce, ad1, ad2, text, tag);
    if (crypto_verify_16(tag, sealed.at + text.size) != 0) {
        memory_wipe(to, text.size);
        return AICO_EOPEN;
    }
    chacha20_xor(to, text.at, text.size, nonce, 1, key->subkey.at);
    return 0;
}

/* -------------------------------------------------------------------------------------------- */

void aead_key_seal(const struct aead_key *key, const uint8_t nonce_tail[8], struct bytes ad1,
                   struct bytes ad2, struct bytes plain, uint8_t *to)
{
    assert(ad1.size <= AD_MAX && ad2.size <= AD_MAX - ad1.size);
    if (is_large(plain.size))
        seal_large(key, nonce_tail, ad1, ad2, plain, to);
    else
        (void)run_joined(key, nonce_tail, ad1, ad2, true, plain, to);
}

int aead_key_open(const struct aead_key *key, const uint8_t nonce_tail[8], struct bytes ad1,
                  struct bytes ad2, struct bytes sealed, uint8_t *to)
{
    assert(ad1.size <= AD_MAX && ad2.size <= AD_MAX - ad1.size);
    if (sealed.size < AEAD_TAG_SIZE)
        return AICO_EOPEN;
    if (is_large(sealed.size - AEAD_TAG_SIZE))
        return open_large(key, nonce_tail, ad1, ad2, sealed, to);
    /* libsodium checks the tag before it writes, and zeroes @to when it does not fit. */
    if (run_joined(key, nonce_tail, ad1, ad2, false, sealed, to) != 0)
        return AICO_EOPEN;
    return 0;
}

void aead_seal(const struct secret *key, const uint8_t nonce[AEAD_NONCE_SIZE], struct bytes ad1,
               struct bytes ad2, struct bytes plain, uint8_t *to)
{
    CLEANUP(aead_key_wipe)
    struct aead_key prepared;

    aead_key_init(&prepared, key, nonce);
    aead_key_seal(&prepared, nonce + 16, ad1, ad2, plain, to);
}

int aead_open(const struct secret *key, const uint8_t nonce[AEAD_NONCE_SIZE], struct bytes ad1,
              struct bytes ad2, struct bytes sealed, uint8_t *to)
{
    CLEANUP(aead_key_wipe)
    struct aead_key prepared;

    aead_key_init(&prepared, key, nonce);
    return aead_key_open(&prepared, nonce + 16, ad1, ad2, sealed, to);
}
