/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ciphers have a state of sixteen words of 32 bits, which are added, rotated and XORed. A
 * vector holds the same word of sixteen blocks, so sixteen vectors are sixteen states, and a round
 * is written as for one. No branch and no address depends on a secret.
 */
#include "cipher/stream_avx512.h"

#include <sodium.h>

#include "base/cleanup.h"
#include "base/secret.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw")))
#define AVX512_INLINE AVX512 __attribute__((always_inline)) static inline
#define ROUNDS 20
#define WORDS 16
#define BLOCK_SIZE 64
#define PIECE_SIZE (WORDS * BLOCK_SIZE)
#ifdef __OPTIMIZE__
#define STACK_SIZE 6144 /* more than compilers take for vectors that find no register */
#else
#define STACK_SIZE 49152
#endif

/* The first processors that have it slow their clock down for all that runs beside it; those that
 * have VBMI2 as well (Ice Lake, Zen 4) do not. */
bool stream_avx512_is_there(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vbmi2");
}

static uint32_t word_at(const uint8_t *at)
{
    uint32_t word;

    memcpy(&word, at, sizeof(word)); /* x86 is little-endian, as both ciphers are */
    return word;
}

/* "expand 32-byte k" */
#define SIGMA0 0x61707865
#define SIGMA1 0x3320646e
#define SIGMA2 0x79622d32
#define SIGMA3 0x6b206574

#define ROTATE(vector, bits) _mm512_rol_epi32(vector, bits)
#define XOR(a, b) _mm512_xor_si512(a, b)
#define ADD(a, b) _mm512_add_epi32(a, b)

AVX512_INLINE void chacha20_quarter(__m512i *a, __m512i *b, __m512i *c, __m512i *d)
{
    *a = ADD(*a, *b);
    *d = ROTATE(XOR(*d, *a), 16);
    *c = ADD(*c, *d);
    *b = ROTATE(XOR(*b, *c), 12);
    *a = ADD(*a, *b);
    *d = ROTATE(XOR(*d, *a), 8);
    *c = ADD(*c, *d);
    *b = ROTATE(XOR(*b, *c), 7);
}

AVX512_INLINE void chacha20_rounds(__m512i x[WORDS])
{
    for (int i = 0; i < ROUNDS; i += 2) {
        chacha20_quarter(&x[0], &x[4], &x[8], &x[12]);
        chacha20_quarter(&x[1], &x[5], &x[9], &x[13]);
        chacha20_quarter(&x[2], &x[6], &x[10], &x[14]);
        chacha20_quarter(&x[3], &x[7], &x[11], &x[15]);
        chacha20_quarter(&x[0], &x[5], &x[10], &x[15]);
        chacha20_quarter(&x[1], &x[6], &x[11], &x[12]);
        chacha20_quarter(&x[2], &x[7], &x[8], &x[13]);
        chacha20_quarter(&x[3], &x[4], &x[9], &x[14]);
    }
}

AVX512_INLINE void salsa20_quarter(__m512i *a, __m512i *b, __m512i *c, __m512i *d)
{
    *b = XOR(*b, ROTATE(ADD(*a, *d), 7));
    *c = XOR(*c, ROTATE(ADD(*b, *a), 9));
    *d = XOR(*d, ROTATE(ADD(*c, *b), 13));
    *a = XOR(*a, ROTATE(ADD(*d, *c), 18));
}

AVX512_INLINE void salsa20_rounds(__m512i x[WORDS])
{
    for (int i = 0; i < ROUNDS; i += 2) {
        salsa20_quarter(&x[0], &x[4], &x[8], &x[12]);
        salsa20_quarter(&x[5], &x[9], &x[13], &x[1]);
        salsa20_quarter(&x[10], &x[14], &x[2], &x[6]);
        salsa20_quarter(&x[15], &x[3], &x[7], &x[11]);
        salsa20_quarter(&x[0], &x[1], &x[2], &x[3]);
        salsa20_quarter(&x[5], &x[6], &x[7], &x[4]);
        salsa20_quarter(&x[10], &x[11], &x[8], &x[9]);
        salsa20_quarter(&x[15], &x[12], &x[13], &x[14]);
    }
}

/* From a vector for each word, with a lane for each block, to a vector for each block. */
AVX512_INLINE void transpose(__m512i x[WORDS])
{
    __m512i t[WORDS];

    /* In each quarter of a vector, 4 by 4 words: t[4q + r] has words 4q.. of blocks r, 4 + r.. */
    for (int i = 0; i < WORDS; i += 4) {
        __m512i low01 = _mm512_unpacklo_epi32(x[i], x[i + 1]);
        __m512i low23 = _mm512_unpacklo_epi32(x[i + 2], x[i + 3]);
        __m512i high01 = _mm512_unpackhi_epi32(x[i], x[i + 1]);
        __m512i high23 = _mm512_unpackhi_epi32(x[i + 2], x[i + 3]);

        t[i] = _mm512_unpacklo_epi64(low01, low23);
        t[i + 1] = _mm512_unpackhi_epi64(low01, low23);
        t[i + 2] = _mm512_unpacklo_epi64(high01, high23);
        t[i + 3] = _mm512_unpackhi_epi64(high01, high23);
    }
    /* Then 4 by 4 quarters. */
    for (int r = 0; r < 4; r++) {
        __m512i near01 = _mm512_shuffle_i32x4(t[r], t[4 + r], 0x44);
        __m512i near23 = _mm512_shuffle_i32x4(t[8 + r], t[12 + r], 0x44);
        __m512i far01 = _mm512_shuffle_i32x4(t[r], t[4 + r], 0xee);
        __m512i far23 = _mm512_shuffle_i32x4(t[8 + r], t[12 + r], 0xee);

        x[r] = _mm512_shuffle_i32x4(near01, near23, 0x88);
        x[4 + r] = _mm512_shuffle_i32x4(near01, near23, 0xdd);
        x[8 + r] = _mm512_shuffle_i32x4(far01, far23, 0x88);
        x[12 + r] = _mm512_shuffle_i32x4(far01, far23, 0xdd);
    }
}

/* Adds the state the rounds began with, and lays the stream over @size bytes, at most a piece. */
AVX512_INLINE void finish(__m512i x[WORDS], const __m512i first[WORDS], uint8_t *to,
                          const uint8_t *from, size_t size)
{
    for (int i = 0; i < WORDS; i++)
        x[i] = ADD(x[i], first[i]);
    transpose(x);
    if (size == PIECE_SIZE) {
        for (int i = 0; i < WORDS; i++)
            _mm512_storeu_si512(to + BLOCK_SIZE * i,
                                XOR(x[i], _mm512_loadu_si512(from + BLOCK_SIZE * i)));
        return;
    }
    for (int i = 0; size > 0; i++) {
        size_t count = MIN(size, (size_t)BLOCK_SIZE);
        __mmask64 lanes = UINT64_MAX >> (BLOCK_SIZE - count);

        _mm512_mask_storeu_epi8(to + BLOCK_SIZE * i, lanes,
                                XOR(x[i], _mm512_maskz_loadu_epi8(lanes, from + BLOCK_SIZE * i)));
        size -= count;
    }
}

/* The same word in every lane. */
AVX512_INLINE void spread(const uint32_t words[WORDS], __m512i ret_first[WORDS])
{
    for (int i = 0; i < WORDS; i++)
        ret_first[i] = _mm512_set1_epi32((int)words[i]);
}

AVX512_INLINE __m512i lane_numbers(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

/* Apart, so that wipe() reaches what it leaves on the stack. */
AVX512 __attribute__((noinline)) static void
chacha20_pieces(uint8_t *to, const uint8_t *from, size_t size, const uint32_t words[WORDS])
{
    __m512i first[WORDS], x[WORDS];
    size_t done;

    spread(words, first);
    first[12] = ADD(first[12], lane_numbers());
    for (; size > 0; size -= done, to += done, from += done) {
        done = MIN(size, (size_t)PIECE_SIZE);
        memcpy(x, first, sizeof(x));
        chacha20_rounds(x);
        finish(x, first, to, from, done);
        first[12] = ADD(first[12], _mm512_set1_epi32(WORDS));
    }
}

AVX512 __attribute__((noinline)) static void salsa20_pieces(uint8_t *to, const uint8_t *from,
                                                            size_t size, uint64_t block,
                                                            const uint32_t words[WORDS])
{
    __m512i first[WORDS], x[WORDS];
    size_t done;

    spread(words, first);
    for (; size > 0; size -= done, to += done, from += done) {
        uint32_t low[WORDS], high[WORDS];

        done = MIN(size, (size_t)PIECE_SIZE);
        for (int i = 0; i < WORDS; i++, block++) {
            low[i] = (uint32_t)block;
            high[i] = (uint32_t)(block >> 32);
        }
        first[8] = _mm512_loadu_si512(low);
        first[9] = _mm512_loadu_si512(high);
        memcpy(x, first, sizeof(x));
        salsa20_rounds(x);
        finish(x, first, to, from, done);
    }
}

#define CLEAR(number) "vpxord %zmm" #number ", %zmm" #number ", %zmm" #number "\n\t"

/* What the function before it left on the stack and in registers, of which nobody else clears the
 * upper ones. Apart: a call, behind which no vector register is expected to keep its value. */
AVX512 __attribute__((noinline)) static void wipe(void)
{
    __asm__ volatile("vzeroall\n\t" CLEAR(16) CLEAR(17) CLEAR(18) CLEAR(19) CLEAR(20) CLEAR(21)
                         CLEAR(22) CLEAR(23) CLEAR(24) CLEAR(25) CLEAR(26) CLEAR(27) CLEAR(28)
                             CLEAR(29) CLEAR(30) CLEAR(31));
    sodium_stackzero(STACK_SIZE);
}

void chacha20_avx512(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[12],
                     uint32_t block, const uint8_t key[32])
{
    uint32_t words[WORDS] = {[0] = SIGMA0, SIGMA1, SIGMA2, SIGMA3, [12] = block};

    for (int i = 0; i < 8; i++)
        words[4 + i] = word_at(key + 4 * i);
    for (int i = 0; i < 3; i++)
        words[13 + i] = word_at(nonce + 4 * i);
    chacha20_pieces(to, from, size, words);
    memory_wipe(words, sizeof(words));
    wipe();
}

void salsa20_avx512(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[8],
                    uint64_t block, const uint8_t key[32])
{
    uint32_t words[WORDS] = {[0] = SIGMA0, [5] = SIGMA1, [10] = SIGMA2, [15] = SIGMA3};

    for (int i = 0; i < 4; i++) {
        words[1 + i] = word_at(key + 4 * i);
        words[11 + i] = word_at(key + 16 + 4 * i);
    }
    words[6] = word_at(nonce);
    words[7] = word_at(nonce + 4);
    salsa20_pieces(to, from, size, block, words);
    memory_wipe(words, sizeof(words));
    wipe();
}

#else

bool stream_avx512_is_there(void)
{
    return false;
}

void chacha20_avx512(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[12],
                     uint32_t block, const uint8_t key[32])
{
    (void)crypto_stream_chacha20_ietf_xor_ic(to, from, size, nonce, block, key);
}

void salsa20_avx512(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[8],
                    uint64_t block, const uint8_t key[32])
{
    (void)crypto_stream_salsa20_xor_ic(to, from, size, nonce, block, key);
}

#endif
