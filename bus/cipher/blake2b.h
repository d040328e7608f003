/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BLAKE2b-256 without a key (RFC 7693) of four texts at once: each byte's rounds wait for those of
 * the byte before, so one text leaves most of a vector unit idle. The bytes of libsodium
 * (docs/decisions/0134). Any thread.
 */
#ifndef CIPHER_BLAKE2B_H
#define CIPHER_BLAKE2B_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BLAKE2B_LANES 4
#define BLAKE2B_BLOCK_SIZE 128
#define BLAKE2B_256_SIZE 32

/* Looks for AVX-512 or AVX2 and whether the same comes out of it as of libsodium. After
 * sodium_init(); the first time before another thread uses the others. */
void blake2b_start(void);

/* Whether four at once take less time than one after the other. */
bool blake2b_is_fast(void);

/* A text: @head, then @body, which is borrowed. */
struct blake2b_text {
    uint8_t head[BLAKE2B_BLOCK_SIZE];
    size_t head_size;
    const uint8_t *body;
    size_t body_size;
};

/* Of 1 to BLAKE2B_LANES texts of any sizes; takes as long as the longest. Wipes every @head. */
void blake2b_256(struct blake2b_text *texts, size_t count,
                 uint8_t ret[BLAKE2B_LANES][BLAKE2B_256_SIZE]);

#endif
