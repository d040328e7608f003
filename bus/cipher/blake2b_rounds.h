/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The compression function of RFC 7693, section 3.2, for four states, of vectors of four words: the
 * code of blake2b_avx2.c and blake2b_avx512.c, which differ in the instructions that rotate. They
 * define LANES_COMPRESS (its name), LANES_TARGET, LANES_REGISTERS (how many there are), ROTATE_32,
 * ROTATE_24, ROTATE_16 and ROTATE_63 (right). No branch and no address depends on a text.
 */
#include <immintrin.h>

/* Twice what compilers take for vectors that find no register (it is built with -O3). */
#define STACK_SIZE 4096
#define LANES __attribute__((target(LANES_TARGET)))
#define LANES_INLINE LANES __attribute__((always_inline)) static inline
#define ADD(a, b) _mm256_add_epi64(a, b)
#define XOR(a, b) _mm256_xor_si256(a, b)

LANES_INLINE __m256i load(const void *from)
{
    return _mm256_loadu_si256((const __m256i_u *)from);
}

LANES_INLINE void store(void *to, __m256i words)
{
    _mm256_storeu_si256((__m256i_u *)to, words);
}

/* A block of each lane as vectors of the same word of all. */
LANES_INLINE void load_blocks(__m256i m[16], const struct blake2b_lanes *lanes)
{
    for (size_t i = 0; i < 4; i++) {
        __m256i a = load(lanes->at[0] + 32 * i), b = load(lanes->at[1] + 32 * i);
        __m256i c = load(lanes->at[2] + 32 * i), d = load(lanes->at[3] + 32 * i);
        __m256i ab_even = _mm256_unpacklo_epi64(a, b), ab_odd = _mm256_unpackhi_epi64(a, b);
        __m256i cd_even = _mm256_unpacklo_epi64(c, d), cd_odd = _mm256_unpackhi_epi64(c, d);

        m[4 * i] = _mm256_permute2x128_si256(ab_even, cd_even, 0x20);
        m[4 * i + 1] = _mm256_permute2x128_si256(ab_odd, cd_odd, 0x20);
        m[4 * i + 2] = _mm256_permute2x128_si256(ab_even, cd_even, 0x31);
        m[4 * i + 3] = _mm256_permute2x128_si256(ab_odd, cd_odd, 0x31);
    }
}

/*
 * The function G of four columns of the state, or of four diagonals; @turn is 0 for columns, 1 for
 * diagonals. Each step waits for the one before, so with registers enough all four take a step at a
 * time. Where they are few one after the other is sooner done, and the processor looks ahead.
 */
LANES_INLINE void mix(__m256i v[16], size_t turn, const __m256i x[4], const __m256i y[4])
{
#define A v[i]
#define B v[4 + (i + turn) % 4]
#define C v[8 + (i + 2 * turn) % 4]
#define D v[12 + (i + 3 * turn) % 4]
#define OF_ALL _Pragma("GCC unroll 4") for (size_t i = 0; i < 4; i++)
#define STEPS(of)                                                                                  \
    of A = ADD(A, x[i]);                                                                           \
    of A = ADD(A, B);                                                                              \
    of D = ROTATE_32(XOR(D, A));                                                                   \
    of C = ADD(C, D);                                                                              \
    of B = ROTATE_24(XOR(B, C));                                                                   \
    of A = ADD(A, y[i]);                                                                           \
    of A = ADD(A, B);                                                                              \
    of D = ROTATE_16(XOR(D, A));                                                                   \
    of C = ADD(C, D);                                                                              \
    of B = ROTATE_63(XOR(B, C));
#if LANES_REGISTERS >= 32
    STEPS(OF_ALL)
#else
    OF_ALL
    {
        STEPS()
    }
#endif
}

/* With the words of the block in the order of a row of SIGMA. */
#define ROUND(s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, s10, s11, s12, s13, s14, s15)                \
    do {                                                                                           \
        mix(v, 0, (__m256i[]){m[s0], m[s2], m[s4], m[s6]},                                         \
            (__m256i[]){m[s1], m[s3], m[s5], m[s7]});                                              \
        mix(v, 1, (__m256i[]){m[s8], m[s10], m[s12], m[s14]},                                      \
            (__m256i[]){m[s9], m[s11], m[s13], m[s15]});                                           \
    } while (0)

LANES void LANES_COMPRESS(struct blake2b_lanes *lanes, size_t blocks)
{
    __m256i h[8], m[16], v[16];
    __m256i size = load(lanes->size), last = load(lanes->last), live = load(lanes->live);

    for (size_t i = 0; i < 8; i++)
        h[i] = load(lanes->h[i]);
    for (;;) {
        load_blocks(m, lanes);
        for (size_t i = 0; i < 8; i++) {
            v[i] = h[i];
            v[8 + i] = _mm256_set1_epi64x((long long)blake2b_iv[i]);
        }
        v[12] = XOR(v[12], size);
        v[14] = XOR(v[14], last);
        ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
        ROUND(11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4);
        ROUND(7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8);
        ROUND(9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13);
        ROUND(2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9);
        ROUND(12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11);
        ROUND(13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10);
        ROUND(6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5);
        ROUND(10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0);
        ROUND(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        ROUND(14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3);
        for (size_t i = 0; i < 8; i++)
            h[i] = XOR(h[i], _mm256_and_si256(live, XOR(v[i], v[8 + i])));
        for (size_t i = 0; i < BLAKE2B_LANES; i++)
            lanes->at[i] += lanes->step[i];
        if (--blocks == 0)
            break;
        size = ADD(size, _mm256_set1_epi64x(BLAKE2B_BLOCK_SIZE));
    }
    for (size_t i = 0; i < 8; i++)
        store(lanes->h[i], h[i]);
    store(lanes->size, size);
}
