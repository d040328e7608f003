/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key streams of ChaCha20 (RFC 8439, section 2.4) and Salsa20 (D. J. Bernstein, "The Salsa20
 * family of stream ciphers"): the bytes of libsodium, by AVX-512 where the processor has it
 * (docs/decisions/0131). Any thread.
 */
#ifndef CIPHER_STREAM_H
#define CIPHER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_BLOCK_SIZE 64
#define STREAM_KEY_SIZE 32

/* Looks whether the processor has AVX-512 and does with it what libsodium does; else libsodium will
 * do it. After sodium_init(); the first time before another thread uses the others. */
void stream_start(void);

/* Whether AVX-512 does it. */
bool stream_is_fast(void);

/* @size bytes from @from to @to with the stream over them, which begins at its block @block. Both
 * are the same place or do not overlap. Of ChaCha20 a nonce has 2^32 blocks: no more are asked for.
 */
void chacha20_xor(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[12],
                  uint32_t block, const uint8_t key[STREAM_KEY_SIZE]);
void salsa20_xor(uint8_t *to, const uint8_t *from, size_t size, const uint8_t nonce[8],
                 uint64_t block, const uint8_t key[STREAM_KEY_SIZE]);

#endif
