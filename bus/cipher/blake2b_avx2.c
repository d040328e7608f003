/* SPDX-License-Identifier: Apache-2.0 */
/* Four lanes of BLAKE2b by AVX2, which rotates whole bytes by moving them. */
#include "cipher/blake2b_lanes.h"

#include <sodium.h>

#include "base/cleanup.h"

#if defined(__x86_64__)

#define LANES_COMPRESS blake2b_avx2_compress
#define LANES_TARGET "avx2"
#define LANES_REGISTERS 16
#define ROTATE_32(x) _mm256_shuffle_epi32(x, 0xb1)
#define ROTATE_24(x) rotate_bytes(x, 0x0201000706050403, 0x0a09080f0e0d0c0b)
#define ROTATE_16(x) rotate_bytes(x, 0x0100070605040302, 0x09080f0e0d0c0b0a)
#define ROTATE_63(x) XOR(_mm256_srli_epi64(x, 63), ADD(x, x))
#define rotate_bytes(x, even, odd) _mm256_shuffle_epi8(x, _mm256_setr_epi64x(even, odd, even, odd))
#include "cipher/blake2b_rounds.h"

bool blake2b_avx2_is_there(void)
{
    return __builtin_cpu_supports("avx2");
}

/* Apart: a call, behind which no vector register is expected to keep its value. */
LANES __attribute__((noinline)) void blake2b_avx2_wipe(void)
{
    _mm256_zeroall();
    sodium_stackzero(STACK_SIZE);
}

#else

bool blake2b_avx2_is_there(void)
{
    return false;
}

void blake2b_avx2_compress(struct blake2b_lanes *lanes UNUSED, size_t blocks UNUSED)
{
}

void blake2b_avx2_wipe(void)
{
}

#endif
