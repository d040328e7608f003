/* SPDX-License-Identifier: Apache-2.0 */
/* What a program tells its allocator first. main() only, before a thread runs. */
#ifndef COMMON_MEMORY_H
#define COMMON_MEMORY_H

/* Memory of messages that was freed is kept for the next ones, at most 8 MiB for each of the
 * allocator's arenas, instead of being given back to the system and faulted in again a moment
 * later (docs/decisions/0096). Without effect on allocators other than glibc's. */
void memory_keep_freed(void);

#endif
