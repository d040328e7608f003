/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in the place of two functions of libsodium that libzmq calls for every frame. Any thread
 * calls them.
 *
 * crypto_box "afternm" is crypto_secretbox under the shared key: XSalsa20 under HSalsa20's subkey,
 * of which the first 32 bytes are the key of Poly1305 and the rest goes over the message (D. J.
 * Bernstein, "Cryptography in NaCl", sections 9 and 10). Stream and tag of what is large are those
 * of bus/cipher, the rest is libsodium's.
 */
#include "common/curve.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <sodium.h>

#include "cipher/poly1305.h"
#include "cipher/stream.h"

#define MAC_SIZE crypto_secretbox_MACBYTES
/* Bytes of the message that the first block goes over. */
#define FIRST_SIZE (STREAM_BLOCK_SIZE - POLY1305_KEY_SIZE)

static bool is_started;

#define LARGE 2048 /* bytes of a frame; below, libsodium is as fast */
#define LARGE_AVX512 512

static bool is_large(size_t size)
{
    return is_started && size >= (stream_is_fast() ? LARGE_AVX512 : LARGE);
}

/* What both ways begin with. Wiped by who began. */
struct stream {
    uint8_t subkey[STREAM_KEY_SIZE];
    uint8_t first[STREAM_BLOCK_SIZE]; /* the key of Poly1305, and what goes over FIRST_SIZE bytes */
};

static void stream_begin(struct stream *stream, const uint8_t *nonce, const uint8_t *key)
{
    (void)crypto_core_hsalsa20(stream->subkey, nonce, key, NULL);
    (void)crypto_stream_salsa20(stream->first, sizeof(stream->first), nonce + 16, stream->subkey);
}

/* Lays the stream over @size bytes, FIRST_SIZE at least. The places may overlap. */
static void stream_apply(const struct stream *stream, uint8_t *to, const uint8_t *from, size_t size,
                         const uint8_t *nonce)
{
    uintptr_t begin = (uintptr_t)to, other = (uintptr_t)from;

    if (begin != other && begin < other + size && other < begin + size) {
        memmove(to, from, size);
        from = to;
    }
    for (size_t i = 0; i < FIRST_SIZE; i++)
        to[i] = from[i] ^ stream->first[POLY1305_KEY_SIZE + i];
    salsa20_xor(to + FIRST_SIZE, from + FIRST_SIZE, size - FIRST_SIZE, nonce + 16, 1,
                stream->subkey);
}

static void tag_of(const struct stream *stream, const uint8_t *sealed, size_t size,
                   uint8_t ret_tag[MAC_SIZE])
{
    const struct bytes whole = {sealed, size};

    poly1305(stream->first, &whole, 1, ret_tag);
}

static void seal(uint8_t *to, const uint8_t *from, size_t size, const uint8_t *nonce,
                 const uint8_t *key)
{
    struct stream stream;

    stream_begin(&stream, nonce, key);
    stream_apply(&stream, to + MAC_SIZE, from, size, nonce);
    tag_of(&stream, to + MAC_SIZE, size, to);
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
    tag_of(&stream, from + MAC_SIZE, size, tag);
    is_genuine = crypto_verify_16(tag, from) == 0;
    if (is_genuine && to)
        stream_apply(&stream, to, from + MAC_SIZE, size, nonce);
    sodium_memzero(&stream, sizeof(stream));
    return is_genuine;
}

/* --- whether it is there -------------------------------------------------------------------- */

/* Both ways and a forgery beside libsodium, at sizes it is used for. */
static bool is_equal(void)
{
    static uint8_t plain[8191], ours[sizeof(plain) + MAC_SIZE], theirs[sizeof(ours)];
    static const size_t sizes[] = {600, 2048, 4099, sizeof(plain)};
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

void curve_start(void)
{
    if (sodium_init() < 0)
        return;
    poly1305_start();
    stream_start();
    is_started = poly1305_is_fast() && is_equal();
}

/* --- in place of libsodium's ---------------------------------------------------------------- */

__attribute__((visibility("default"))) int
crypto_box_easy_afternm(unsigned char *to, const unsigned char *from, unsigned long long size,
                        const unsigned char *nonce, const unsigned char *key)
{
    if (!is_large(size) || size > crypto_secretbox_MESSAGEBYTES_MAX)
        return crypto_secretbox_easy(to, from, size, nonce, key);
    seal(to, from, (size_t)size, nonce, key);
    return 0;
}

__attribute__((visibility("default"))) int
crypto_box_open_easy_afternm(unsigned char *to, const unsigned char *from, unsigned long long size,
                             const unsigned char *nonce, const unsigned char *key)
{
    if (size < MAC_SIZE || !is_large(size - MAC_SIZE))
        return crypto_secretbox_open_easy(to, from, size, nonce, key);
    return open_sealed(to, from, (size_t)size - MAC_SIZE, nonce, key) ? 0 : -1;
}
