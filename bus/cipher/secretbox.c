/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XSalsa20 is Salsa20 under HSalsa20's subkey; of its stream the first 32 bytes are the key of
 * Poly1305 and the rest goes over the message. What is short is done at once in memory of our own:
 * a second call of the cipher costs as much as the first. Stream and tag of what is large are those
 * of stream.h and poly1305.h.
 */
#include "cipher/secretbox.h"

#include <string.h>

#include <sodium.h>

#include "cipher/poly1305.h"
#include "cipher/stream.h"

/* Bytes of the message that the first block goes over. */
#define FIRST_SIZE (STREAM_BLOCK_SIZE - POLY1305_KEY_SIZE)
#define SHORT_SIZE (4 * STREAM_BLOCK_SIZE - POLY1305_KEY_SIZE)
/* From here on libcrypto's Poly1305 is sooner ready, with what it takes to begin. */
#define LARGE 2048
#define LARGE_AVX512 512

static bool is_started;

void secretbox_subkey(const uint8_t key[SECRET_SIZE], const uint8_t prefix[SECRETBOX_PREFIX_SIZE],
                      struct secret *ret_subkey)
{
    (void)crypto_core_hsalsa20(ret_subkey->at, prefix, key, NULL);
}

/* --- short ------------------------------------------------------------------------------------ */

/* The key of Poly1305, and behind it a message with the stream over it. Wiped by who made it. */
struct short_box {
    uint8_t key[POLY1305_KEY_SIZE];
    uint8_t text[SHORT_SIZE];
};

static void short_xor(struct short_box *box, const struct secret *subkey,
                      const uint8_t nonce_tail[8], const uint8_t *from, size_t size)
{
    memset(box->key, 0, sizeof(box->key));
    if (size > 0)
        memcpy(box->text, from, size);
    (void)crypto_stream_salsa20_xor(box->key, box->key, sizeof(box->key) + size, nonce_tail,
                                    subkey->at);
}

static void short_seal(const struct secret *subkey, const uint8_t nonce_tail[8],
                       const uint8_t *from, size_t size, uint8_t *to)
{
    struct short_box box;

    short_xor(&box, subkey, nonce_tail, from, size);
    memcpy(to + SECRETBOX_TAG_SIZE, box.text, size);
    (void)crypto_onetimeauth_poly1305(to, box.text, size, box.key);
    sodium_memzero(box.key, sizeof(box.key));
}

static bool short_open(const struct secret *subkey, const uint8_t nonce_tail[8],
                       const uint8_t *sealed, size_t size, uint8_t *to)
{
    struct short_box box;
    uint8_t tag[SECRETBOX_TAG_SIZE];
    bool is_genuine;

    short_xor(&box, subkey, nonce_tail, sealed + SECRETBOX_TAG_SIZE, size);
    (void)crypto_onetimeauth_poly1305(tag, sealed + SECRETBOX_TAG_SIZE, size, box.key);
    is_genuine = crypto_verify_16(tag, sealed) == 0;
    if (is_genuine && size > 0)
        memcpy(to, box.text, size);
    sodium_memzero(&box, sizeof(box.key) + size);
    return is_genuine;
}

/* --- long ------------------------------------------------------------------------------------- */

static bool is_large(size_t size)
{
    return is_started && size >= (stream_is_fast() ? LARGE_AVX512 : LARGE);
}

static void tag_of(const uint8_t key[POLY1305_KEY_SIZE], const uint8_t *sealed, size_t size,
                   uint8_t ret_tag[SECRETBOX_TAG_SIZE])
{
    const struct bytes whole = {sealed, size};

    if (is_large(size))
        poly1305(key, &whole, 1, ret_tag);
    else
        (void)crypto_onetimeauth_poly1305(ret_tag, sealed, size, key);
}

/* Lays the stream over @size bytes, more than FIRST_SIZE, of which @first has the beginning. */
static void stream_apply(const uint8_t first[STREAM_BLOCK_SIZE], const struct secret *subkey,
                         const uint8_t nonce_tail[8], const uint8_t *from, size_t size, uint8_t *to)
{
    uintptr_t begin = (uintptr_t)to, other = (uintptr_t)from;

    if (begin != other && begin < other + size && other < begin + size) {
        memmove(to, from, size);
        from = to;
    }
    for (size_t i = 0; i < FIRST_SIZE; i++)
        to[i] = from[i] ^ first[POLY1305_KEY_SIZE + i];
    salsa20_xor(to + FIRST_SIZE, from + FIRST_SIZE, size - FIRST_SIZE, nonce_tail, 1, subkey->at);
}

static void first_block(uint8_t first[STREAM_BLOCK_SIZE], const struct secret *subkey,
                        const uint8_t nonce_tail[8])
{
    (void)crypto_stream_salsa20(first, STREAM_BLOCK_SIZE, nonce_tail, subkey->at);
}

void secretbox_seal(const struct secret *subkey, const uint8_t nonce_tail[8], const uint8_t *from,
                    size_t size, uint8_t *to)
{
    uint8_t first[STREAM_BLOCK_SIZE];

    if (size <= SHORT_SIZE) {
        short_seal(subkey, nonce_tail, from, size, to);
        return;
    }
    first_block(first, subkey, nonce_tail);
    stream_apply(first, subkey, nonce_tail, from, size, to + SECRETBOX_TAG_SIZE);
    tag_of(first, to + SECRETBOX_TAG_SIZE, size, to);
    sodium_memzero(first, sizeof(first));
}

bool secretbox_open(const struct secret *subkey, const uint8_t nonce_tail[8], const uint8_t *sealed,
                    size_t size, uint8_t *to)
{
    uint8_t first[STREAM_BLOCK_SIZE], tag[SECRETBOX_TAG_SIZE];
    bool is_genuine;

    if (size <= SHORT_SIZE)
        return short_open(subkey, nonce_tail, sealed, size, to);
    first_block(first, subkey, nonce_tail);
    tag_of(first, sealed + SECRETBOX_TAG_SIZE, size, tag);
    is_genuine = crypto_verify_16(tag, sealed) == 0;
    if (is_genuine)
        stream_apply(first, subkey, nonce_tail, sealed + SECRETBOX_TAG_SIZE, size, to);
    sodium_memzero(first, sizeof(first));
    return is_genuine;
}

/* --- whether what is large is there ----------------------------------------------------------- */

/* Both ways and a forgery beside libsodium, at sizes it is used for. */
static bool is_equal(void)
{
    uint8_t text[4099], our_text[sizeof(text) + SECRETBOX_TAG_SIZE], their_text[sizeof(our_text)];
    static const size_t sizes[] = {600, 2048, sizeof(text)};
    uint8_t key[SECRET_SIZE], nonce[SECRETBOX_NONCE_SIZE];
    struct secret subkey;

    randombytes_buf(key, sizeof(key));
    randombytes_buf(nonce, sizeof(nonce));
    secretbox_subkey(key, nonce, &subkey);
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * i >> 3);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        size_t size = sizes[i], sealed_size = size + SECRETBOX_TAG_SIZE;

        (void)crypto_secretbox_easy(their_text, text, size, nonce, key);
        secretbox_seal(&subkey, nonce + SECRETBOX_PREFIX_SIZE, text, size, our_text);
        if (memcmp(our_text, their_text, sealed_size) != 0 ||
            !secretbox_open(&subkey, nonce + SECRETBOX_PREFIX_SIZE, their_text, size, our_text) ||
            memcmp(our_text, text, size) != 0)
            return false;
        their_text[0] ^= 1;
        if (secretbox_open(&subkey, nonce + SECRETBOX_PREFIX_SIZE, their_text, size, our_text))
            return false;
    }
    return true;
}

void secretbox_start(void)
{
    if (is_started)
        return;
    is_started = poly1305_is_fast();
    is_started = is_started && is_equal();
}
