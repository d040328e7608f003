/* SPDX-License-Identifier: Apache-2.0 */
/* By AVX-512 where it is trusted; a short rest, and everything elsewhere, by libsodium. */
#include "cipher/stream.h"

#include <assert.h>
#include <string.h>

#include <sodium.h>

#include "cipher/stream_avx512.h"

#define PIECE_SIZE 1024 /* what AVX-512 does at once */
#define REST_SIZE 192   /* up to here libsodium does the rest of one sooner */

static bool is_fast;

bool stream_is_fast(void)
{
    return is_fast;
}

/* How many of @size bytes are AVX-512's. */
static size_t vector_size(size_t size)
{
    size_t rest = size % PIECE_SIZE;

    if (!is_fast)
        return 0;
    return rest > REST_SIZE ? size : size - rest;
}

void chacha20_xor(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[12],
                  uint32_t block, const uint8_t key[STREAM_KEY_SIZE])
{
    size_t done = vector_size(size);

    assert((size + STREAM_BLOCK_SIZE - 1) / STREAM_BLOCK_SIZE <= (UINT64_C(1) << 32) - block);
    if (done > 0)
        chacha20_avx512(to, from, done, nonce, block, key);
    if (done < size)
        (void)crypto_stream_chacha20_ietf_xor_ic(to + done, from + done, size - done, nonce,
                                                 block + (uint32_t)(done / STREAM_BLOCK_SIZE), key);
}

void salsa20_xor(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[8],
                 uint64_t block, const uint8_t key[STREAM_KEY_SIZE])
{
    size_t done = vector_size(size);

    if (done > 0)
        salsa20_avx512(to, from, done, nonce, block, key);
    if (done < size)
        (void)crypto_stream_salsa20_xor_ic(to + done, from + done, size - done, nonce,
                                           block + done / STREAM_BLOCK_SIZE, key);
}

/* Two pieces and a half beside libsodium; the numbers of Salsa20's blocks need both halves. */
static bool is_equal(void)
{
    uint8_t our_text[2 * PIECE_SIZE + 521], their_text[sizeof(our_text)];
    uint8_t key[STREAM_KEY_SIZE], nonce[12];
    uint64_t block = UINT32_MAX - UINT64_C(20);

    randombytes_buf(key, sizeof(key));
    randombytes_buf(nonce, sizeof(nonce));
    for (size_t i = 0; i < sizeof(our_text); i++)
        our_text[i] = their_text[i] = (uint8_t)(i * i >> 3);
    chacha20_avx512(our_text, our_text, sizeof(our_text), nonce, 1, key);
    (void)crypto_stream_chacha20_ietf_xor_ic(their_text, their_text, sizeof(their_text), nonce, 1,
                                             key);
    if (memcmp(our_text, their_text, sizeof(our_text)) != 0)
        return false;
    salsa20_avx512(our_text, our_text, sizeof(our_text), nonce, block, key);
    (void)crypto_stream_salsa20_xor_ic(their_text, their_text, sizeof(their_text), nonce, block,
                                       key);
    return memcmp(our_text, their_text, sizeof(our_text)) == 0;
}

void stream_start(void)
{
    if (!is_fast)
        is_fast = stream_avx512_is_there() && is_equal();
}
