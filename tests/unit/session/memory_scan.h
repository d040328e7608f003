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

/* Reads freed, poisoned and foreign bytes, which is the point. */
__attribute__((no_sanitize("address"))) static inline size_t
count_in(const volatile uint8_t *at, size_t size, const uint8_t masked[SECRET_SIZE])
{
    size_t found = 0;

    for (size_t i = 0; i + MIDDLE <= size; i++) {
        size_t same = 0;

        while (same < MIDDLE && (uint8_t)(at[i + same] ^ MASK) == masked[EDGE + same])
            same++;
        found += same == MIDDLE;
    }
    return found;
}

/* Copies of @masked in all writable memory of this process. */
static inline size_t copies_of(const uint8_t masked[SECRET_SIZE])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    size_t found = 0;

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps)) {
        unsigned long long from, to;
        char mode[8];

        if (sscanf(line, "%llx-%llx %7s", &from, &to, mode) != 3 || strncmp(mode, "rw", 2) != 0 ||
            to - from > REGION_MAX)
            continue;
        found += count_in((const volatile uint8_t *)(uintptr_t)from, (size_t)(to - from), masked);
    }
    (void)fclose(maps);
    return found;
}

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
