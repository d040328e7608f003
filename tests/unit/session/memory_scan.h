/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking for secrets in all memory of the process, stack and freed heap included. What is looked
 * for is kept masked, so that the looking does not leave the copy that is then found. Tests only.
 */
#ifndef TEST_SESSION_MEMORY_SCAN_H
#define TEST_SESSION_MEMORY_SCAN_H

#include "world.h"

#include <pthread.h>

#define MASK 0xa5
/* X25519 clamps the first and the last byte of a secret in its own copy. */
#define EDGE 1
#define MIDDLE (SECRET_SIZE - 2 * EDGE)
#define REGION_MAX ((size_t)1 << 30) /* larger ones are the shadow of a sanitizer */

/* Calls @look for every piece of writable memory of this process. */
static inline void each_region(void (*look)(const volatile uint8_t *at, size_t size, void *context),
                               void *context)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        unsigned long long from, to;
        char mode[8];

        if (sscanf(line, "%llx-%llx %7s", &from, &to, mode) != 3 || strncmp(mode, "rw", 2) != 0 ||
            to - from > REGION_MAX)
            continue;
        look((const volatile uint8_t *)(uintptr_t)from, (size_t)(to - from), context);
    }
    (void)fclose(maps);
}

/* --- one secret ------------------------------------------------------------------------------- */

struct search {
    const uint8_t *masked; /* SECRET_SIZE */
    size_t found;
};

/* Reads freed, poisoned and foreign bytes, which is the point. */
__attribute__((no_sanitize("address"))) static inline void search_in(const volatile uint8_t *at,
                                                                     size_t size, void *context)
{
    struct search *search = context;

    for (size_t i = 0; i + MIDDLE <= size; i++) {
        size_t same = 0;

        while (same < MIDDLE && (uint8_t)(at[i + same] ^ MASK) == search->masked[EDGE + same])
            same++;
        search->found += same == MIDDLE;
    }
}

/* Copies of @masked in all writable memory of this process. */
static inline size_t copies_of(const uint8_t masked[SECRET_SIZE])
{
    struct search search = {masked, 0};

    each_region(search_in, &search);
    return search.found;
}

/* --- many, in one pass ------------------------------------------------------------------------ */

#define RING_MAX 8192

/* Secrets that were seen. Static, or on the heap. */
struct ring {
    struct ring_key {
        const char *what; /* borrowed */
        int64_t seen_ms;  /* by the caller's clock: when it was in use last */
        size_t copies;    /* as of ring_count() */
        uint16_t next;    /* of those with the same two bytes in front, or 0 */
        uint8_t masked[SECRET_SIZE];
    } keys[RING_MAX + 1]; /* from 1 */
    size_t count;
    uint16_t first[1 << 16];
};

static inline size_t ring_place(const uint8_t *masked)
{
    return (size_t)masked[EDGE] << 8 | masked[EDGE + 1];
}

static inline void ring_clear(struct ring *ring)
{
    memset(ring, 0, sizeof(*ring));
}

/* @secret is in use at @now_ms. Byte by byte: no copy but the masked one is made. */
static inline void ring_see(struct ring *ring, const char *what, const struct secret *secret,
                            int64_t now_ms)
{
    const volatile uint8_t *at = secret->at;
    uint8_t masked[SECRET_SIZE];
    uint16_t *first;
    struct ring_key *key;

    for (size_t i = 0; i < SECRET_SIZE; i++)
        masked[i] = (uint8_t)(at[i] ^ MASK);
    first = &ring->first[ring_place(masked)];
    for (uint16_t i = *first; i; i = ring->keys[i].next)
        if (memcmp(ring->keys[i].masked, masked, SECRET_SIZE) == 0) {
            ring->keys[i].seen_ms = now_ms;
            return;
        }
    assert_true(ring->count < RING_MAX);
    key = &ring->keys[++ring->count];
    key->what = what;
    key->seen_ms = now_ms;
    key->next = *first;
    memcpy(key->masked, masked, SECRET_SIZE);
    *first = (uint16_t)ring->count;
}

__attribute__((no_sanitize("address"))) static inline void
ring_search_in(const volatile uint8_t *at, size_t size, void *context)
{
    struct ring *ring = context;

    for (size_t i = 0; i + MIDDLE <= size; i++) {
        size_t place = (size_t)(at[i] ^ MASK) << 8 | (uint8_t)(at[i + 1] ^ MASK);

        for (uint16_t k = ring->first[place]; k; k = ring->keys[k].next) {
            size_t same = 0;

            while (same < MIDDLE &&
                   (uint8_t)(at[i + same] ^ MASK) == ring->keys[k].masked[EDGE + same])
                same++;
            ring->keys[k].copies += same == MIDDLE;
        }
    }
}

/* Counts the copies of each in all writable memory of this process. */
static inline void ring_count(struct ring *ring)
{
    for (size_t i = 1; i <= ring->count; i++)
        ring->keys[i].copies = 0;
    each_region(ring_search_in, ring);
}

/* ---------------------------------------------------------------------------------------------- */

/*
 * Runs @work on a stack of its own that stays as it was left: on the common one the search itself
 * would overwrite what the work left there.
 */
static inline void apart(void *(*work)(void *), void *argument)
{
    static uint8_t stack[512 * 1024] __attribute__((aligned(4096)));
    pthread_attr_t attributes;
    pthread_t thread;

    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstack(&attributes, stack, sizeof(stack)), 0);
    assert_int_equal(pthread_create(&thread, &attributes, work, argument), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_attr_destroy(&attributes), 0);
}

#endif
