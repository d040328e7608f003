/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that messages had is used again without asking the system for it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "common/memory.h"

#define FRAME_SIZE ((size_t)64 * 1024)
#define FRAMES 64 /* 4 MiB, what a broker may send ahead */
#define ROUNDS 4
#define PAGES (FRAMES * FRAME_SIZE / 4096)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ALLOCATOR_IS_GLIBCS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define ALLOCATOR_IS_GLIBCS 0
#endif
#endif
#ifndef ALLOCATOR_IS_GLIBCS
#define ALLOCATOR_IS_GLIBCS 1
#endif

static long faults(void)
{
    struct rusage usage;

    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_minflt;
}

/* A burst: frames are there together, and all are gone after it. */
static void burst(void)
{
    void *frames[FRAMES];

    for (size_t i = 0; i < FRAMES; i++) {
        frames[i] = malloc(FRAME_SIZE);
        assert_non_null(frames[i]);
        memset(frames[i], 1, FRAME_SIZE);
        __asm__ volatile("" ::"r"(frames[i]) : "memory");
    }
    for (size_t i = FRAMES; i > 0; i--)
        free(frames[i - 1]);
}

static void *bursts(void *ret)
{
    long before;

    burst();
    before = faults();
    for (int i = 0; i < ROUNDS; i++)
        burst();
    *(long *)ret = faults() - before;
    return NULL;
}

static void bursts_after_the_first_fault_nothing_in(void **state)
{
    long count = 0;

    (void)state;
    if (!ALLOCATOR_IS_GLIBCS)
        skip();
    bursts(&count);
    assert_true(count < (long)PAGES); /* each gave everything back: ROUNDS times as many */
}

/* Threads have arenas of their own. */
static void nor_do_those_of_another_thread(void **state)
{
    pthread_t thread;
    long count = 0;

    (void)state;
    if (!ALLOCATOR_IS_GLIBCS)
        skip();
    assert_int_equal(pthread_create(&thread, NULL, bursts, &count), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(count < (long)PAGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bursts_after_the_first_fault_nothing_in),
        cmocka_unit_test(nor_do_those_of_another_thread),
    };

    memory_keep_freed();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
