/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A first-in first-out of byte blocks of any size, kept in chunks: no allocation per block in the
 * steady state, addresses never move. Holds the publish queue and the unacknowledged window.
 * Not thread-safe; a block that was pushed may be read by another thread than the one that pushes
 * further ones, as long as push and pop themselves are serialised.
 */
#ifndef BASE_FIFO_H
#define BASE_FIFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fifo_chunk; /* private */

struct fifo {
    struct fifo_chunk *head, *tail;
    struct fifo_chunk *spares; /* emptied chunks, kept */
    unsigned spare_count;
    unsigned more_spares; /* how many are kept beside the first */
    size_t count;         /* blocks */
    size_t bytes;         /* of the blocks, without overhead */
};

/* A place in the queue: {NULL, 0} stands before the first block. Valid until that block is popped.
 */
struct fifo_cursor {
    struct fifo_chunk *chunk;
    size_t offset;
};

/* Frees everything; blocks are wiped, they may hold plaintext. */
void fifo_deinit(struct fifo *fifo);
/* Appends a block of @size (1..2^30) bytes, 8-aligned, contents undefined; NULL without memory. */
void *fifo_push(struct fifo *fifo, size_t size);
/* Gives back the end of the block pushed last. */
void fifo_shrink_last(struct fifo *fifo, void *block, size_t size);
/* The oldest block, NULL when empty. */
void *fifo_front(struct fifo *fifo, size_t *ret_size);
void fifo_pop(struct fifo *fifo);
/* Pops the oldest @count blocks, or all there are. */
void fifo_pop_many(struct fifo *fifo, size_t count);
/* The block after @cursor, which moves to it; NULL at the end (and @cursor stays). */
void *fifo_next(struct fifo *fifo, struct fifo_cursor *cursor);
/* Moves everything in @from behind what is in @to, and the emptied chunks of @to to @from: whoever
 * fills gets back what whoever reads has emptied. */
void fifo_splice(struct fifo *to, struct fifo *from);

#endif
