/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is taken by one thread and given back by others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "base/cleanup.h"
#include "base/pool.h"

#define THREADS 4
#define EACH 20000

static void every_size_is_writable_and_aligned(void **state UNUSED)
{
    struct pool_taker taker = {0};

    for (size_t size = 1; size < 300000; size += 1 + size / 7) {
        for (int again = 0; again < 2; again++) { /* the second time it may be the same block */
            uint8_t *block = pool_take(&taker, size);

            assert_non_null(block);
            assert_int_equal((uintptr_t)block % 16, 0);
            memset(block, 0xa5, size);
            pool_give(block);
        }
    }
    pool_taker_deinit(&taker);
}

static void blocks_that_are_out_do_not_overlap(void **state UNUSED)
{
    struct pool_taker taker = {0};
    uint8_t *blocks[64];

    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 64; i++) {
            blocks[i] = pool_take(&taker, 200 + (size_t)i * 40);
            memset(blocks[i], i, 200 + (size_t)i * 40);
        }
        for (int i = 0; i < 64; i++) {
            for (size_t k = 0; k < 200 + (size_t)i * 40; k++)
                assert_int_equal(blocks[i][k], i);
            pool_give(blocks[i]);
        }
    }
    pool_taker_deinit(&taker);
}

static void without_a_taker_it_is_malloc(void **state UNUSED)
{
    void *block = pool_take(NULL, 500);

    assert_non_null(block);
    pool_give(block);
    pool_give(NULL);
    assert_null(pool_take(NULL, SIZE_MAX));
}

/* One thread takes what others give back. */
static struct lane {
    pthread_mutex_t lock;
    uint64_t *blocks[EACH];
    size_t count;
} lanes[THREADS];

static void *give_back(void *context)
{
    struct lane *lane = context;
    size_t given = 0;

    while (given < EACH) {
        uint64_t *block = NULL;

        (void)pthread_mutex_lock(&lane->lock);
        if (lane->count > 0)
            block = lane->blocks[--lane->count];
        (void)pthread_mutex_unlock(&lane->lock);
        if (!block)
            continue;
        if (block[0] != ~block[1]) /* somebody else has it too */
            abort();
        pool_give(block);
        given++;
    }
    return NULL;
}

static void threads_give_back_what_another_takes(void **state UNUSED)
{
    struct pool_taker taker = {0};
    pthread_t threads[THREADS];

    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_mutex_init(&lanes[i].lock, NULL), 0);
        assert_int_equal(pthread_create(&threads[i], NULL, give_back, &lanes[i]), 0);
    }
    for (uint64_t i = 0; i < (uint64_t)THREADS * EACH; i++) {
        struct lane *lane = &lanes[i % THREADS];
        uint64_t *block = pool_take(&taker, 400);

        assert_non_null(block);
        block[0] = i;
        block[1] = ~i;
        (void)pthread_mutex_lock(&lane->lock);
        lane->blocks[lane->count++] = block;
        (void)pthread_mutex_unlock(&lane->lock);
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    pool_taker_deinit(&taker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_size_is_writable_and_aligned),
        cmocka_unit_test(blocks_that_are_out_do_not_overlap),
        cmocka_unit_test(without_a_taker_it_is_malloc),
        cmocka_unit_test(threads_give_back_what_another_takes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
