/* SPDX-License-Identifier: Apache-2.0 */
/* Blocks in chunks; each block has a u64 size in front (keeps the alignment). */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fifo.h"
#include "base/secret.h"

/* Room for what was sealed for a full frame, or for a payload of 64 KiB, with the heads; still in a
 * cache when it is emptied and wiped. */
#define CHUNK_SIZE ((size_t)80 * 1024)
#define HEAD_SIZE sizeof(uint64_t)
#define LINE_SIZE ((size_t)64) /* of the processor's caches */
#define AHEAD ((size_t)1024)
#define AHEAD_MAX ((size_t)256) /* bytes of a block that are worth it */

struct fifo_chunk {
    struct fifo_chunk *next;
    size_t capacity;
    size_t begin; /* first block not popped */
    size_t end;   /* behind the last block */
    _Alignas(8) uint8_t data[];
};

static size_t rounded(size_t size)
{
    return HEAD_SIZE + ((size + 7) & ~(size_t)7);
}

static uint64_t *size_at(struct fifo_chunk *chunk, size_t offset)
{
    return (uint64_t *)(void *)(chunk->data + offset);
}

static void chunk_free(struct fifo_chunk *chunk)
{
    if (chunk)
        memory_wipe(chunk->data, chunk->end);
    free(chunk);
}

static struct fifo_chunk *spare_take(struct fifo *fifo)
{
    struct fifo_chunk *chunk = fifo->spares;

    fifo->spares = chunk->next;
    fifo->spare_count--;
    return chunk;
}

void fifo_deinit(struct fifo *fifo)
{
    while (fifo->head) {
        struct fifo_chunk *next = fifo->head->next;

        chunk_free(fifo->head);
        fifo->head = next;
    }
    while (fifo->spares)
        chunk_free(spare_take(fifo));
    *fifo = (struct fifo){.more_spares = fifo->more_spares};
}

static struct fifo_chunk *chunk_new(struct fifo *fifo, size_t need)
{
    struct fifo_chunk *chunk;

    if (fifo->spares && fifo->spares->capacity >= need) {
        chunk = spare_take(fifo);
    } else {
        size_t capacity = MAX(need, CHUNK_SIZE);

        chunk = malloc(sizeof(*chunk) + capacity);
        if (!chunk)
            return NULL;
        chunk->capacity = capacity;
    }
    chunk->next = NULL;
    chunk->begin = chunk->end = 0;
    return chunk;
}

/* Where one of the next blocks will stand: who emptied that memory has it in another core's cache,
 * and what is written there under a lock waits less when it is already on its way. */
static void prefetch(struct fifo_chunk *chunk, size_t size)
{
    size_t at = chunk->end + AHEAD, end = MIN(at + MIN(size, AHEAD_MAX), chunk->capacity);

    for (; at < end; at += LINE_SIZE)
        __builtin_prefetch(chunk->data + at, 1);
}

void *fifo_push(struct fifo *fifo, size_t size)
{
    struct fifo_chunk *chunk = fifo->tail;
    size_t need = rounded(size), offset;

    if (!chunk || chunk->capacity - chunk->end < need) {
        chunk = chunk_new(fifo, need);
        if (!chunk)
            return NULL;
        if (fifo->tail)
            fifo->tail->next = chunk;
        else
            fifo->head = chunk;
        fifo->tail = chunk;
    }
    offset = chunk->end;
    *size_at(chunk, offset) = size;
    chunk->end += need;
    prefetch(chunk, need);
    fifo->count++;
    fifo->bytes += size;
    return chunk->data + offset + HEAD_SIZE;
}

void fifo_shrink_last(struct fifo *fifo, void *block, size_t size)
{
    struct fifo_chunk *chunk = fifo->tail;
    size_t offset = (size_t)((uint8_t *)block - chunk->data) - HEAD_SIZE;
    uint64_t *old = size_at(chunk, offset);

    if (size > *old)
        return;
    fifo->bytes -= *old - size;
    *old = size;
    chunk->end = offset + rounded(size);
}

/* Drops chunks at the head that hold nothing any more. */
static void release_empty(struct fifo *fifo)
{
    while (fifo->head && fifo->head->begin == fifo->head->end) {
        struct fifo_chunk *chunk = fifo->head;

        fifo->head = chunk->next;
        if (!fifo->head)
            fifo->tail = NULL;
        memory_wipe(chunk->data, chunk->end);
        if (fifo->spare_count <= fifo->more_spares && chunk->capacity == CHUNK_SIZE) {
            chunk->end = 0;
            chunk->next = fifo->spares;
            fifo->spares = chunk;
            fifo->spare_count++;
        } else {
            free(chunk);
        }
    }
}

void *fifo_front(struct fifo *fifo, size_t *ret_size)
{
    struct fifo_chunk *chunk = fifo->head;

    if (!chunk)
        return NULL;
    if (ret_size)
        *ret_size = *size_at(chunk, chunk->begin);
    return chunk->data + chunk->begin + HEAD_SIZE;
}

void fifo_pop_many(struct fifo *fifo, size_t count)
{
    struct fifo_chunk *chunk;

    while (count > 0 && (chunk = fifo->head) != NULL) {
        for (; count > 0 && chunk->begin < chunk->end; count--) {
            size_t size = *size_at(chunk, chunk->begin);

            chunk->begin += rounded(size);
            fifo->count--;
            fifo->bytes -= size;
        }
        release_empty(fifo);
    }
}

void fifo_pop(struct fifo *fifo)
{
    fifo_pop_many(fifo, 1);
}

void *fifo_next(struct fifo *fifo, struct fifo_cursor *cursor)
{
    struct fifo_chunk *chunk = cursor->chunk ? cursor->chunk : fifo->head;
    size_t offset;

    if (!chunk)
        return NULL;
    offset =
        cursor->chunk ? cursor->offset + rounded(*size_at(chunk, cursor->offset)) : chunk->begin;
    if (offset == chunk->end) {
        chunk = chunk->next;
        if (!chunk)
            return NULL;
        offset = chunk->begin;
    }
    cursor->chunk = chunk;
    cursor->offset = offset;
    return chunk->data + offset + HEAD_SIZE;
}

static void spares_move(struct fifo *to, struct fifo *from)
{
    while (from->spares) {
        struct fifo_chunk *chunk = spare_take(from);

        chunk->next = to->spares;
        to->spares = chunk;
        to->spare_count++;
    }
}

void fifo_splice(struct fifo *to, struct fifo *from)
{
    if (!from->head)
        return;
    spares_move(from, to);
    if (to->tail)
        to->tail->next = from->head;
    else
        to->head = from->head;
    to->tail = from->tail;
    to->count += from->count;
    to->bytes += from->bytes;
    from->head = from->tail = NULL;
    from->count = from->bytes = 0;
}
