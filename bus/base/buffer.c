/* SPDX-License-Identifier: Apache-2.0 */
/* A growing byte buffer. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <aico/error.h>

#include "base/buffer.h"
#include "base/secret.h"

void buffer_deinit(struct buffer *buffer)
{
    free(buffer->at);
    *buffer = (struct buffer){0};
}

void buffer_wipe_deinit(struct buffer *buffer)
{
    if (!buffer->at)
        return;
    memory_wipe(buffer->at, buffer->capacity);
    buffer_deinit(buffer);
}

uint8_t *buffer_reserve(struct buffer *buffer, size_t size)
{
    size_t capacity = buffer->capacity ? buffer->capacity : 64;
    uint8_t *at;

    if (size > SIZE_MAX / 4 - buffer->size)
        return NULL;
    while (capacity < buffer->size + size)
        capacity *= 2;
    if (capacity == buffer->capacity)
        return buffer->at + buffer->size;

    /* Not realloc(): it would leave an unerased copy behind when the buffer holds secrets. */
    at = malloc(capacity);
    if (!at)
        return NULL;
    bytes_copy(at, buffer_view(buffer));
    memory_wipe(buffer->at, buffer->size);
    free(buffer->at);
    buffer->at = at;
    buffer->capacity = capacity;
    return at + buffer->size;
}

int buffer_append(struct buffer *buffer, struct bytes bytes)
{
    uint8_t *to = buffer_reserve(buffer, bytes.size);

    if (!to)
        return AICO_ENOMEM;
    bytes_copy(to, bytes);
    buffer->size += bytes.size;
    return 0;
}

int buffer_append_text(struct buffer *buffer, const char *text)
{
    return buffer_append(buffer, bytes_text(text));
}

int buffer_printf(struct buffer *buffer, const char *format, ...)
{
    va_list args;
    uint8_t *to;
    int size;

    va_start(args, format);
    size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (size < 0)
        return AICO_EINVAL;
    to = buffer_reserve(buffer, (size_t)size + 1);
    if (!to)
        return AICO_ENOMEM;
    va_start(args, format);
    (void)vsnprintf((char *)to, (size_t)size + 1, format, args);
    va_end(args);
    buffer->size += (size_t)size;
    return 0;
}
