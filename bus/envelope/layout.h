/* SPDX-License-Identifier: Apache-2.0 */
/* What parsing, sealing and opening share about the bytes of an envelope; of this folder only. */
#ifndef ENVELOPE_LAYOUT_H
#define ENVELOPE_LAYOUT_H

#include "envelope/envelope.h"

/* Byte 32. */
#define ENVELOPE_BITS_FORMAT 0x0f
#define ENVELOPE_BIT_HEADERS 0x10
#define ENVELOPE_BIT_PADDED 0x20
#define ENVELOPE_SHIFT_TRAILER 6

#define PADDING_HEAD_SIZE 4 /* u32 size of the content, in front of it */

#define TRAILER_LABEL "signature"

/* D of PROTOCOL 5.2: over the ciphertext, so that nobody can test guesses of the content with it,
 * and over the key, which a tag alone does not bind. */
void trailer_digest(const struct secret *commit, const uint8_t context[HASH_SIZE],
                    struct bytes signed_part, uint8_t ret[HASH_SIZE]);
/* One slot of a vector. */
void trailer_slot(const struct secret *reader_key, const uint8_t digest[HASH_SIZE],
                  uint8_t ret[ENVELOPE_SLOT_SIZE]);

#endif
