/* SPDX-License-Identifier: Apache-2.0 */
/* The allocator of this process. */
#include "common/memory.h"

#include <malloc.h>

#define GROW_SIZE (1024 * 1024) /* by so much at least an arena grows */

void memory_keep_freed(size_t limit)
{
    (void)mallopt(M_TRIM_THRESHOLD, (int)limit);
    (void)mallopt(M_TOP_PAD, GROW_SIZE);
    (void)mallopt(M_MMAP_THRESHOLD, (int)(limit / 2));
}
