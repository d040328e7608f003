/* SPDX-License-Identifier: Apache-2.0 */
/* A view of bytes somebody else owns, and small helpers on it. Pure, any thread. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *at; /* may be NULL when size is 0 */
    size_t size;
};

static inline struct bytes bytes_of(const void *at, size_t size)
{
    return (struct bytes){at, size};
}

/* The characters of @text without its final zero. */
static inline struct bytes bytes_text(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

/* For public data only: not constant in time. Secrets use crypto's secret_equal(). */
static inline bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size) == 0);
}

static inline bool bytes_equal_text(struct bytes a, const char *text)
{
    return bytes_equal(a, bytes_text(text));
}

/* memcpy that allows (NULL, 0). */
static inline void bytes_copy(void *to, struct bytes from)
{
    if (from.size > 0)
        memcpy(to, from.at, from.size);
}

#endif
