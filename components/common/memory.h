/* SPDX-License-Identifier: Apache-2.0 */
/* What a program tells its allocator first. main() only, before a thread runs. */
#ifndef COMMON_MEMORY_H
#define COMMON_MEMORY_H

#include <stddef.h>

#define MEMORY_OF_FRAMES ((size_t)8 << 20)    /* who passes frames on, of 64 KiB at most */
#define MEMORY_OF_MESSAGES ((size_t)64 << 20) /* who has messages as a whole, of 16 MiB at most */

/*
 * Memory that was freed is kept for what comes next, instead of being given back to the system and
 * faulted in again a moment later (docs/decisions/0096). Without effect on allocators other than
 * glibc's.
 *
 * @limit  bytes, at most 64 MiB: so much is kept by each of the allocator's arenas. What is half of
 *         it or more is mapped by itself, and given back.
 */
void memory_keep_freed(size_t limit);

#endif
