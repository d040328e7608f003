/* SPDX-License-Identifier: Apache-2.0 */
/* The allocator of this process. */
#include "common/memory.h"

#include <malloc.h>

#define KEPT_SIZE (8 * 1024 * 1024)   /* an arena gives back what it has free beyond that */
#define GROW_SIZE (1024 * 1024)       /* by so much at least it grows */
#define MAPPED_SIZE (4 * 1024 * 1024) /* blocks from this size on are mapped, and unmapped */

void memory_keep_freed(void)
{
    (void)mallopt(M_TRIM_THRESHOLD, KEPT_SIZE);
    (void)mallopt(M_TOP_PAD, GROW_SIZE);
    (void)mallopt(M_MMAP_THRESHOLD, MAPPED_SIZE);
}
