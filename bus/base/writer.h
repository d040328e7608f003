/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes big-endian fields into storage of fixed size. A write past the end writes nothing and
 * marks the writer failed for good; check once at the end. Pure, any thread.
 */
#ifndef BASE_WRITER_H
#define BASE_WRITER_H

#include "base/bytes.h"

struct writer {
    uint8_t *at;
    size_t size;     /* bytes written */
    size_t capacity; /* bytes at `at` */
    bool failed;     /* stays failed */
};

static inline struct writer writer_over(void *at, size_t capacity)
{
    return (struct writer){at, 0, capacity, false};
}

/* Room for @size bytes that the caller fills in at once; NULL when there is none. */
static inline uint8_t *writer_reserve(struct writer *w, size_t size)
{
    uint8_t *at;

    if (w->failed || size > w->capacity - w->size) {
        w->failed = true;
        return NULL;
    }
    at = w->at + w->size;
    w->size += size;
    return at;
}

static inline void writer_bytes(struct writer *w, struct bytes bytes)
{
    uint8_t *to = writer_reserve(w, bytes.size);

    if (to)
        bytes_copy(to, bytes);
}

static inline void writer_zeros(struct writer *w, size_t size)
{
    uint8_t *to = writer_reserve(w, size);

    if (to && size > 0)
        memset(to, 0, size);
}

static inline void writer_uint(struct writer *w, uint64_t value, size_t size)
{
    uint8_t *to = writer_reserve(w, size);

    for (size_t i = 0; to && i < size; i++)
        to[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
}

static inline void writer_u8(struct writer *w, uint8_t value)
{
    writer_uint(w, value, 1);
}

static inline void writer_u16(struct writer *w, uint16_t value)
{
    writer_uint(w, value, 2);
}

static inline void writer_u32(struct writer *w, uint32_t value)
{
    writer_uint(w, value, 4);
}

static inline void writer_u64(struct writer *w, uint64_t value)
{
    writer_uint(w, value, 8);
}

/* u8 length || bytes; fails above 255. */
static inline void writer_lp8(struct writer *w, struct bytes bytes)
{
    if (bytes.size > UINT8_MAX)
        w->failed = true;
    writer_u8(w, (uint8_t)bytes.size);
    writer_bytes(w, bytes);
}

/* u16 length || bytes; fails above 65535. */
static inline void writer_lp16(struct writer *w, struct bytes bytes)
{
    if (bytes.size > UINT16_MAX)
        w->failed = true;
    writer_u16(w, (uint16_t)bytes.size);
    writer_bytes(w, bytes);
}

/* What was written so far. */
static inline struct bytes writer_view(const struct writer *w)
{
    return (struct bytes){w->at, w->size};
}

#endif
