/* SPDX-License-Identifier: Apache-2.0 */
/* Four lanes of BLAKE2b by AVX-512's instructions for 256 bits, which rotate at once. */
#include "cipher/blake2b_lanes.h"

#include <sodium.h>

#include "base/cleanup.h"

#if defined(__x86_64__)

#define LANES_COMPRESS blake2b_avx512_compress
#define LANES_TARGET "avx2,avx512f,avx512vl"
#define LANES_REGISTERS 32
#define ROTATE_32(x) _mm256_ror_epi64(x, 32)
#define ROTATE_24(x) _mm256_ror_epi64(x, 24)
#define ROTATE_16(x) _mm256_ror_epi64(x, 16)
#define ROTATE_63(x) _mm256_ror_epi64(x, 63)
#include "cipher/blake2b_rounds.h"

bool blake2b_avx512_is_there(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512vl");
}

#define CLEAR(number) "vpxorq %ymm" #number ", %ymm" #number ", %ymm" #number "\n\t"

/* Apart: a call, behind which no vector register is expected to keep its value. */
LANES __attribute__((noinline)) void blake2b_avx512_wipe(void)
{
    __asm__ volatile("vzeroall\n\t" CLEAR(16) CLEAR(17) CLEAR(18) CLEAR(19) CLEAR(20) CLEAR(21)
                         CLEAR(22) CLEAR(23) CLEAR(24) CLEAR(25) CLEAR(26) CLEAR(27) CLEAR(28)
                             CLEAR(29) CLEAR(30) CLEAR(31));
    sodium_stackzero(STACK_SIZE);
}

#else

bool blake2b_avx512_is_there(void)
{
    return false;
}

void blake2b_avx512_compress(struct blake2b_lanes *lanes UNUSED, size_t blocks UNUSED)
{
}

void blake2b_avx512_wipe(void)
{
}

#endif
