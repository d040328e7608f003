/* SPDX-License-Identifier: Apache-2.0 */
/* Small documents of `WORD REST\n` lines in a fixed order. Internal to trust; pure, any thread. */
#ifndef TRUST_LINES_H
#define TRUST_LINES_H

#include "base/buffer.h"

#define TIME_TEXT_SIZE 21 /* "2026-11-20T20:00:00Z" */

struct lines {
    struct bytes rest;
    size_t number; /* 1-based, of the line asked for last */
};

/* The rest of the next line, which must begin with @word. */
bool line_is(struct lines *lines, const char *word, struct bytes *ret_value);
/* Canonical decimal: no sign, no leading zero, at most @max. */
bool lines_decimal(struct bytes text, uint64_t max, uint64_t *ret_value);
/* Takes the next word of @text, up to a space or the end. */
struct bytes lines_word(struct bytes *text);
/* "2026-11-20T20:00:00Z" in ms since 1970; negative when it has another form. */
int64_t lines_time(struct bytes text);
/* 0 or AICO_EINVAL (years beyond 9999). */
int time_write(int64_t ms, char to[TIME_TEXT_SIZE]);
/* Appends "WORD HEX\n". 0 or AICO_ENOMEM. */
int put_hex_line(struct buffer *to, const char *word, const void *at, size_t size);
/* Appends a topic or filter as one word: space, '%' and control bytes are written %XX. 0 or
 * AICO_ENOMEM. */
int put_encoded(struct buffer *to, struct bytes text);
/* Undoes that, strictly, into at most @max bytes. */
bool lines_decode(struct bytes text, char *to, size_t max, size_t *ret_size);

#endif
