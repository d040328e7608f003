/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that messages had is used again without asking the system for it. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "common/memory.h"

#define FRAME_SIZE ((size_t)64 * 1024)
#define FRAMES 64 /* 4 MiB, what a broker may send ahead */
#define MESSAGE_SIZE ((size_t)16 * 1024 * 1024)
#define COPIES 3 /* of a message, in an arena */
#define ROUNDS 4
#define PAGE 4096

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

/* Blocks that are there together, and all are gone after it. */
struct burst {
    size_t size, count;
    long faults; /* of ROUNDS after the first */
};

static void happen(const struct burst *burst)
{
    void *blocks[FRAMES];

    for (size_t i = 0; i < burst->count; i++) {
        blocks[i] = malloc(burst->size);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, burst->size);
        __asm__ volatile("" ::"r"(blocks[i]) : "memory");
    }
    for (size_t i = burst->count; i > 0; i--)
        free(blocks[i - 1]);
}

static void *happen_often(void *context)
{
    struct burst *burst = context;
    long before;

    happen(burst);
    before = faults();
    for (int i = 0; i < ROUNDS; i++)
        happen(burst);
    burst->faults = faults() - before;
    return NULL;
}

/* Who gives everything back has ROUNDS times as many. */
static bool is_kept(const struct burst *burst)
{
    return burst->faults < (long)(burst->count * burst->size / PAGE);
}

static void bursts_after_the_first_fault_nothing_in(void **state)
{
    struct burst burst = {FRAME_SIZE, FRAMES};

    (void)state;
    if (!ALLOCATOR_IS_GLIBCS)
        skip();
    memory_keep_freed(MEMORY_OF_FRAMES);
    happen_often(&burst);
    assert_true(is_kept(&burst));
}

/* Threads have arenas of their own. */
static void nor_do_those_of_another_thread(void **state)
{
    struct burst burst = {FRAME_SIZE, FRAMES};
    pthread_t thread;

    (void)state;
    if (!ALLOCATOR_IS_GLIBCS)
        skip();
    memory_keep_freed(MEMORY_OF_FRAMES);
    assert_int_equal(pthread_create(&thread, NULL, happen_often, &burst), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(is_kept(&burst));
}

/* Only where messages are whole: the broker has no use for them. */
static void nor_do_the_largest_messages(void **state)
{
    struct burst burst = {MESSAGE_SIZE, COPIES};
    pthread_t thread;

    (void)state;
    if (!ALLOCATOR_IS_GLIBCS)
        skip();
    memory_keep_freed(MEMORY_OF_FRAMES);
    assert_int_equal(pthread_create(&thread, NULL, happen_often, &burst), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_false(is_kept(&burst));
    memory_keep_freed(MEMORY_OF_MESSAGES);
    assert_int_equal(pthread_create(&thread, NULL, happen_often, &burst), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(is_kept(&burst));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bursts_after_the_first_fault_nothing_in),
        cmocka_unit_test(nor_do_those_of_another_thread),
        cmocka_unit_test(nor_do_the_largest_messages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
