/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in the place of two functions of libsodium that libzmq calls for every frame. Any thread
 * calls them.
 *
 * crypto_box "afternm" is crypto_secretbox under the shared key: XSalsa20 under HSalsa20's subkey,
 * of which the first 32 bytes are the key of Poly1305 and the rest goes over the message (D. J.
 * Bernstein, "Cryptography in NaCl", sections 9 and 10). Stream and comparison are libsodium's.
 * libcrypto is only given keys that serve for one frame, and wipes them.
 */
#include "common/curve.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sodium.h>

#define LARGE 2048 /* bytes of a frame; below, libsodium is as fast */
#define MAC_SIZE crypto_secretbox_MACBYTES
#define MAC_KEY_SIZE 32
#define BLOCK_SIZE 64                          /* of Salsa20 */
#define FIRST_SIZE (BLOCK_SIZE - MAC_KEY_SIZE) /* of the message, in the first block */

static EVP_MAC *mac; /* NULL: libcrypto is not used */

static void tag_of(const uint8_t *at, size_t size, const uint8_t key[MAC_KEY_SIZE],
                   uint8_t ret_tag[MAC_SIZE])
{
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
    size_t got;

    if (!context || EVP_MAC_init(context, key, MAC_KEY_SIZE, NULL) != 1 ||
        EVP_MAC_update(context, at, size) != 1 ||
        EVP_MAC_final(context, ret_tag, &got, MAC_SIZE) != 1) /* wipes it */
        (void)crypto_onetimeauth_poly1305(ret_tag, at, size, key);
    EVP_MAC_CTX_free(context);
}

/* What both ways begin with. Wiped by who began. */
struct stream {
    uint8_t subkey[crypto_stream_salsa20_KEYBYTES];
    uint8_t first[BLOCK_SIZE]; /* the key of Poly1305, and what goes over FIRST_SIZE bytes */
};

static void stream_begin(struct stream *stream, const uint8_t *nonce, const uint8_t *key)
{
    (void)crypto_core_hsalsa20(stream->subkey, nonce, key, NULL);
    (void)crypto_stream_salsa20(stream->first, sizeof(stream->first), nonce + 16, stream->subkey);
}

/* Over @size bytes in their place, FIRST_SIZE at least. */
static void stream_apply(const struct stream *stream, uint8_t *at, size_t size,
                         const uint8_t *nonce)
{
    for (size_t i = 0; i < FIRST_SIZE; i++)
        at[i] ^= stream->first[MAC_KEY_SIZE + i];
    (void)crypto_stream_salsa20_xor_ic(at + FIRST_SIZE, at + FIRST_SIZE, size - FIRST_SIZE,
                                       nonce + 16, 1, stream->subkey);
}

static void seal(uint8_t *to, const uint8_t *from, size_t size, const uint8_t *nonce,
                 const uint8_t *key)
{
    struct stream stream;

    stream_begin(&stream, nonce, key);
    memmove(to + MAC_SIZE, from, size);
    stream_apply(&stream, to + MAC_SIZE, size, nonce);
    tag_of(to + MAC_SIZE, size, stream.first, to);
    sodium_memzero(&stream, sizeof(stream));
}

/* @size is that of the message; @to NULL: only looks. False: not genuine, nothing was written. */
static bool open_sealed(uint8_t *to, const uint8_t *from, size_t size, const uint8_t *nonce,
                        const uint8_t *key)
{
    struct stream stream;
    uint8_t tag[MAC_SIZE];
    bool is_genuine;

    stream_begin(&stream, nonce, key);
    tag_of(from + MAC_SIZE, size, stream.first, tag);
    is_genuine = crypto_verify_16(tag, from) == 0;
    if (is_genuine && to) {
        memmove(to, from + MAC_SIZE, size);
        stream_apply(&stream, to, size, nonce);
    }
    sodium_memzero(&stream, sizeof(stream));
    return is_genuine;
}

/* --- whether it is there -------------------------------------------------------------------- */

/* Both ways and a forgery beside libsodium, at sizes it is used for. */
static bool is_equal(void)
{
    static uint8_t plain[8191], ours[sizeof(plain) + MAC_SIZE], theirs[sizeof(ours)];
    static const size_t sizes[] = {LARGE, 4099, sizeof(plain)};
    uint8_t key[crypto_secretbox_KEYBYTES], nonce[crypto_secretbox_NONCEBYTES];

    randombytes_buf(key, sizeof(key));
    randombytes_buf(nonce, sizeof(nonce));
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * i >> 3);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        (void)crypto_secretbox_easy(theirs, plain, sizes[i], nonce, key);
        seal(ours, plain, sizes[i], nonce, key);
        if (memcmp(ours, theirs, sizes[i] + MAC_SIZE) != 0 ||
            !open_sealed(ours, theirs, sizes[i], nonce, key) || memcmp(ours, plain, sizes[i]) != 0)
            return false;
        theirs[0] ^= 1;
        if (open_sealed(ours, theirs, sizes[i], nonce, key))
            return false;
    }
    return true;
}

void curve_by_libcrypto(void)
{
    /* Of its own: no configuration file, no provider of somebody else's. */
    OSSL_LIB_CTX *library = sodium_init() < 0 ? NULL : OSSL_LIB_CTX_new();

    if (!library)
        return;
    mac = EVP_MAC_fetch(library, "POLY1305", NULL);
    if (mac && is_equal())
        return;
    EVP_MAC_free(mac);
    mac = NULL;
    OSSL_LIB_CTX_free(library);
}

/* --- in place of libsodium's ---------------------------------------------------------------- */

__attribute__((visibility("default"))) int
crypto_box_easy_afternm(unsigned char *to, const unsigned char *from, unsigned long long size,
                        const unsigned char *nonce, const unsigned char *key)
{
    if (size < LARGE || size > crypto_secretbox_MESSAGEBYTES_MAX || !mac)
        return crypto_secretbox_easy(to, from, size, nonce, key);
    seal(to, from, (size_t)size, nonce, key);
    return 0;
}

__attribute__((visibility("default"))) int
crypto_box_open_easy_afternm(unsigned char *to, const unsigned char *from, unsigned long long size,
                             const unsigned char *nonce, const unsigned char *key)
{
    if (size < LARGE + MAC_SIZE || !mac)
        return crypto_secretbox_open_easy(to, from, size, nonce, key);
    return open_sealed(to, from, (size_t)size - MAC_SIZE, nonce, key) ? 0 : -1;
}
