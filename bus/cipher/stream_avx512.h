/* SPDX-License-Identifier: Apache-2.0 */
/* Sixteen blocks of a stream at once, by AVX-512. Pure, any thread; only stream.c calls it. */
#ifndef CIPHER_STREAM_AVX512_H
#define CIPHER_STREAM_AVX512_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether this processor and its kernel have it. If not, the others must not be called. */
bool stream_avx512_is_there(void);

/* As in stream.h. A kilobyte is done at once: less takes as long. */
void chacha20_avx512(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[12],
                     uint32_t block, const uint8_t key[32]);
void salsa20_avx512(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[8],
                    uint64_t block, const uint8_t key[32]);

#endif
