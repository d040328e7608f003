/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hash tables over names that strangers choose: uthash with SipHash-2-4 under a key drawn once per
 * process, so that nobody can choose names that fall into one bucket. Include this, never uthash.h.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-2-4 (Aumasson and Bernstein, 2012) of @size bytes under the process's random key. */
uint64_t hash_bytes(const void *at, size_t size);

#define HASH_FUNCTION(key, keylen, hashv) ((hashv) = (unsigned)hash_bytes((key), (keylen)))
/* uthash reports a failed allocation by leaving the element out: see HASH_ADDED. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((void)(element))
#include <uthash.h>
#include <utlist.h>

/* After HASH_ADD...: whether the element really is in the table (memory may have run out). */
#define HASH_ADDED(hh, element) ((element)->hh.tbl != NULL)

#endif
