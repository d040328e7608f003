/* SPDX-License-Identifier: Apache-2.0 */
/* What blake2b.c and the code for each vector unit share. */
#ifndef CIPHER_BLAKE2B_LANES_H
#define CIPHER_BLAKE2B_LANES_H

#include "cipher/blake2b.h"

/* Four states, word by word, and where the next block of each is. */
struct blake2b_lanes {
    _Alignas(32) uint64_t h[8][BLAKE2B_LANES];
    _Alignas(32) uint64_t size[BLAKE2B_LANES]; /* of the text, with the next block */
    _Alignas(32) uint64_t last[BLAKE2B_LANES]; /* all bits: the next block is the last */
    _Alignas(32) uint64_t live[BLAKE2B_LANES]; /* all bits; none: the state stays as it is */
    const uint8_t *at[BLAKE2B_LANES];
    size_t step[BLAKE2B_LANES]; /* from a block to the next; 0 of a lane that is over */
};

extern const uint64_t blake2b_iv[8];

/* By AVX-512 and by AVX2. Whether this processor and its kernel have it: if not, the others must
 * not be called. */
bool blake2b_avx512_is_there(void);
bool blake2b_avx2_is_there(void);
/* The next @blocks blocks of each lane, at least one; `at` is behind them then, `size` that of the
 * last one. */
void blake2b_avx512_compress(struct blake2b_lanes *lanes, size_t blocks);
void blake2b_avx2_compress(struct blake2b_lanes *lanes, size_t blocks);
/* What it left in vector registers and on the stack. */
void blake2b_avx512_wipe(void);
void blake2b_avx2_wipe(void);

#endif
