/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A growing byte buffer on the heap. Zero-initialised is empty; buffer_deinit() frees it.
 * buffer_wipe_deinit() also erases what it held. Not thread-safe.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include "base/bytes.h"

struct buffer {
    uint8_t *at;
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated */
};

void buffer_deinit(struct buffer *buffer);
void buffer_wipe_deinit(struct buffer *buffer);

/* Makes room for @size more bytes and returns where they go, or NULL without memory. Does not
 * change buffer->size: the caller adds what it wrote. */
uint8_t *buffer_reserve(struct buffer *buffer, size_t size);
/* 0 or AICO_ENOMEM, and then nothing was appended. */
int buffer_append(struct buffer *buffer, struct bytes bytes);
int buffer_append_text(struct buffer *buffer, const char *text);
/* printf; 0 or AICO_ENOMEM. */
int buffer_printf(struct buffer *buffer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline struct bytes buffer_view(const struct buffer *buffer)
{
    return (struct bytes){buffer->at, buffer->size};
}

#endif
