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

/* Under AddressSanitizer the pool is malloc(), and says nothing of what was given back. */
static bool is_pool(void)
{
    struct pool_taker taker = {0};
    void *first = pool_take(&taker, 4000), *again;
    bool is_same;

    pool_give(first);
    again = pool_take(&taker, 4000);
    is_same = again == first;
    pool_give(again);
    pool_taker_deinit(&taker);
#if defined(__SANITIZE_ADDRESS__)
    return false;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    return false;
#endif
#endif
    assert_true(is_same);
    return true;
}

static void who_gives_back_takes_the_same_block_again(void **state UNUSED)
{
    struct pool_taker taker = {0};
    void *first, *other;

    if (!is_pool())
        skip();
    first = pool_take(&taker, 3000);
    other = pool_take(&taker, 300);
    pool_give(first);
    assert_ptr_equal(pool_take(&taker, 3000), first);
    pool_give(first);
    pool_give(other); /* of another size: the one before it goes to all */
    first = pool_take(&taker, 3000);
    assert_true(first != other);
    assert_ptr_equal(pool_take(&taker, 300), other);
    pool_give(first);
    pool_give(other);
    pool_taker_deinit(&taker);
}

/* That the block which @run leaves there is the next one to be taken, when its thread has ended. */
static void expect_left_behind(void *(*run)(void *ret_block), size_t size)
{
    struct pool_taker taker = {0};
    pthread_t thread;
    void *block, *mine;

    if (!is_pool())
        skip();
    assert_int_equal(pthread_create(&thread, NULL, run, &block), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    mine = pool_take(&taker, size);
    assert_ptr_equal(mine, block);
    pool_give(mine);
    pool_taker_deinit(&taker);
}

static void *take_and_give(void *context)
{
    struct pool_taker taker = {0};
    void **ret_block = context;

    *ret_block = pool_take(&taker, 1000);
    pool_taker_deinit(&taker);
    pool_give(*ret_block);
    return NULL;
}

static void a_thread_that_ends_leaves_its_block_to_others(void **state UNUSED)
{
    expect_left_behind(take_and_give, 1000);
}

/* What gives back when a thread ends is perhaps called after the pool. */
static void *give_at_end(void *context)
{
    struct pool_taker taker = {0};
    pthread_key_t key;
    void **ret_block = context, *other = pool_take(&taker, 2000);

    *ret_block = pool_take(&taker, 2000);
    pool_taker_deinit(&taker);
    pool_give(other);
    if (pthread_key_create(&key, pool_give) != 0 || pthread_setspecific(key, *ret_block) != 0)
        abort();
    return NULL;
}

static void what_a_thread_gives_back_at_its_end_is_not_lost(void **state UNUSED)
{
    expect_left_behind(give_at_end, 2000);
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
        cmocka_unit_test(who_gives_back_takes_the_same_block_again),
        cmocka_unit_test(a_thread_that_ends_leaves_its_block_to_others),
        cmocka_unit_test(what_a_thread_gives_back_at_its_end_is_not_lost),
        cmocka_unit_test(threads_give_back_what_another_takes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
