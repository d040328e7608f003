/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of memory that one thread takes and another gives back, over and over: messages on their
 * way to the application. malloc() returns what it is given to the system as soon as a queue is
 * empty and asks for it anew, page by page; this keeps up to 8 MiB of each size in a process, and
 * of each thread the block of up to 4 KiB that it gave back last.
 *
 * A block may be given back by any thread at any time, also after its taker is gone. A struct
 * pool_taker belongs to one thread.
 */
#ifndef BASE_POOL_H
#define BASE_POOL_H

#include <stddef.h>

#define POOL_SIZE_MAX ((size_t)256 * 1024)
#define POOL_CLASSES 41 /* sizes, four from one power of two to the next: 256 bytes to 256 KiB */

struct pool_block; /* private */

/* What one thread has taken from all that was given back. {0} at first. */
struct pool_taker {
    struct pool_block *blocks[POOL_CLASSES];
};

/* Gives back what is left there. */
void pool_taker_deinit(struct pool_taker *taker);
/* @size bytes, 16-aligned, contents undefined; NULL without memory. @taker NULL, or a size larger
 * than the pool has: malloc()ed. */
void *pool_take(struct pool_taker *taker, size_t size);
/* @block of pool_take(), or NULL. */
void pool_give(void *block);

#endif
