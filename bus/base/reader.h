/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The only door through which foreign bytes are parsed.
 *
 * A read past the end yields zero (or an empty view) and marks the reader failed for good, so a
 * parser reads all fields in a row and checks once. Integers are big-endian. Pure, any thread.
 */
#ifndef BASE_READER_H
#define BASE_READER_H

#include "base/bytes.h"

struct reader {
    const uint8_t *at;
    size_t left;
    bool failed; /* stays failed */
};

static inline struct reader reader_over(struct bytes bytes)
{
    return (struct reader){bytes.at, bytes.size, false};
}

/* Borrows the next @size bytes; an empty view when there are fewer. */
static inline struct bytes reader_bytes(struct reader *r, size_t size)
{
    struct bytes view = {r->at, size};

    if (r->failed || size > r->left) {
        r->failed = true;
        return (struct bytes){NULL, 0};
    }
    if (size > 0)
        r->at += size;
    r->left -= size;
    return view;
}

/* Copies the next @size bytes to @to; zeros when there are fewer. */
static inline void reader_copy(struct reader *r, void *to, size_t size)
{
    struct bytes view = reader_bytes(r, size);

    if (view.size == size)
        bytes_copy(to, view);
    else
        memset(to, 0, size);
}

static inline uint64_t reader_uint(struct reader *r, size_t size)
{
    struct bytes view = reader_bytes(r, size);
    uint64_t value = 0;

    if (view.size == size) /* a loop of a known length is one load */
        for (size_t i = 0; i < size; i++)
            value = value << 8 | view.at[i];
    return value;
}

static inline uint8_t reader_u8(struct reader *r)
{
    return (uint8_t)reader_uint(r, 1);
}

static inline uint16_t reader_u16(struct reader *r)
{
    return (uint16_t)reader_uint(r, 2);
}

static inline uint32_t reader_u32(struct reader *r)
{
    return (uint32_t)reader_uint(r, 4);
}

static inline uint64_t reader_u64(struct reader *r)
{
    return reader_uint(r, 8);
}

/* u8 length || bytes */
static inline struct bytes reader_lp8(struct reader *r)
{
    return reader_bytes(r, reader_u8(r));
}

/* u16 length || bytes */
static inline struct bytes reader_lp16(struct reader *r)
{
    return reader_bytes(r, reader_u16(r));
}

/* Everything that is left. */
static inline struct bytes reader_rest(struct reader *r)
{
    return reader_bytes(r, r->left);
}

/* True when nothing failed and every byte was read. */
static inline bool reader_done(const struct reader *r)
{
    return !r->failed && r->left == 0;
}

#endif
