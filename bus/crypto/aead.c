/* SPDX-License-Identifier: Apache-2.0 */
/* XChaCha20-Poly1305, whole or with a kept subkey. Pure, any thread. What is large libcrypto does
 * (bulk.h), the rest libsodium; the bytes are the same. */
#include <assert.h>

#include <sodium.h>

#include "base/cleanup.h"
#include "crypto/aead.h"
#include "crypto/bulk.h"

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

    assert(ad1.size <= AD_MAX && ad2.size <= AD_MAX - ad1.size);
    if (ad2.size == 0)
        return run(key, tail, ad1, seal, from, to);
    if (ad1.size + ad2.size > sizeof(ad))
        return run_large(key, tail, ad1, ad2, seal, from, to);
    bytes_copy(ad, ad1);
    bytes_copy(ad + ad1.size, ad2);
    return run(key, tail, bytes_of(ad, ad1.size + ad2.size), seal, from, to);
}

void aead_key_seal(const struct aead_key *key, const uint8_t nonce_tail[8], struct bytes ad1,
                   struct bytes ad2, struct bytes plain, uint8_t *to)
{
    uint8_t nonce[12];

    if (plain.size >= BULK_SIZE_MIN && bulk_is_there()) {
        short_nonce(nonce_tail, nonce);
        if (bulk_seal(&key->subkey, nonce, ad1, ad2, plain, to))
            return;
    }
    (void)run_joined(key, nonce_tail, ad1, ad2, true, plain, to);
}

int aead_key_open(const struct aead_key *key, const uint8_t nonce_tail[8], struct bytes ad1,
                  struct bytes ad2, struct bytes sealed, uint8_t *to)
{
    uint8_t nonce[12];

    if (sealed.size < AEAD_TAG_SIZE)
        return AICO_EOPEN;
    if (sealed.size >= BULK_SIZE_MIN && bulk_is_there()) {
        int r;

        short_nonce(nonce_tail, nonce);
        r = bulk_open(&key->subkey, nonce, ad1, ad2, sealed, to);
        if (r != AICO_ENOMEM)
            return r;
    }
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
