/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs read from and show to people: durations, numbers, escaped payloads, base64.
 * Pure functions over the caller's memory; any thread.
 */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* "500ms", "5s", "2m", "1h", "7d" in milliseconds. False for anything else, @ret untouched; a bare
 * number is refused because nobody can see its unit. */
bool text_duration(const char *text, int64_t *ret_ms);
/* A duration before now, or "2026-11-28T12:00:00Z", in ms since 1970. */
bool text_moment(const char *text, int64_t *ret_ms);
/* Decimal digits only, @min..@max. */
bool text_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);
/* Bytes: "65536", "64k", "64KiB", "1M", "1MiB", "1G", "1GiB" (powers of 1024). */
bool text_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* Well-formed UTF-8 without NUL. */
bool text_is_utf8(const void *at, size_t size);

/*
 * Writes @at so that it stays on its line and cannot drive a terminal: control characters become
 * \n \t \r or \xNN, so do bytes that are not UTF-8, and characters that reorder or hide text
 * become \u{202e}. All else is written as it stands, a backslash too: for people, not to be undone.
 */
void text_write_escaped(FILE *to, const void *at, size_t size);

/* Text the caller frees; NULL when out of memory. */
char *text_base64(const void *at, size_t size);

#endif
