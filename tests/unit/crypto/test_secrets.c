/* SPDX-License-Identifier: Apache-2.0 */
/* Guarded memory, key agreement and signatures: what must not be possible with them. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vectors.h"

#include "base/cleanup.h"
#include "crypto/dh.h"
#include "crypto/identity.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"

/* Runs @body in a child and returns its exit status, or -1 when a signal ended it. */
static int in_child(int (*body)(void *), void *argument)
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0) {
        (void)signal(SIGSEGV, SIG_DFL); /* not cmocka's, which would go on with the next test */
        (void)signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO); /* a child that dies on purpose says nothing */
        _exit(body(argument));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int count_set_bytes(void *argument)
{
    uint8_t *at = argument;
    int set = 0;

    for (size_t i = 0; i < 100; i++)
        set += at[i] != 0;
    guarded_free(&at); /* must not crash in the child either */
    return set + (at != NULL);
}

static void guarded_memory_is_zeroed_and_usable(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 4000, 4096, 5000, 100000};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        uint8_t *at = guarded_new(sizes[i]);

        assert_non_null(at);
        assert_int_equal((uintptr_t)at % _Alignof(max_align_t), 0);
        for (size_t j = 0; j < sizes[i]; j++)
            assert_int_equal(at[j], 0);
        memset(at, 0xff, sizes[i]);
        guarded_free(&at);
        assert_null(at);
        guarded_free(&at);
    }
    assert_null(guarded_new(SIZE_MAX));
}

static void a_forked_child_finds_zeros(void **state)
{
    uint8_t *at = guarded_new(100);

    (void)state;
    memset(at, 0xff, 100);
    assert_int_equal(in_child(count_set_bytes, at), 0);
    assert_int_equal(at[0], 0xff);
    assert_int_equal(at[99], 0xff);
    guarded_free(&at);
}

struct stray {
    size_t size;    /* of two objects, side by side if they are small */
    size_t written; /* which of them is written outside of */
    long at;
    size_t freed; /* which of them is freed then */
};

static int write_outside(void *argument)
{
    const struct stray *stray = argument;
    uint8_t *objects[] = {guarded_new(stray->size), guarded_new(stray->size)};

    ((volatile uint8_t *)objects[stray->written])[stray->at] ^= 1;
    guarded_free(&objects[stray->freed]);
    return 0;
}

static void a_write_outside_ends_the_process(void **state)
{
    static const struct stray strays[] = {
        {32, 0, -1, 0},     {32, 1, -1, 1},     {32, 0, -16, 0},      {32, 1, -17, 1},
        {32, 0, 32, 0},     {32, 0, 32, 1},     {32, 0, 127, 0},      {32, 0, 127, 1},
        {1000, 0, 1008, 0}, {1000, 0, 1008, 1}, {50000, 0, 50000, 0}, {50000, 0, -1, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(strays); i++) {
        struct stray stray = strays[i], inside = stray;

        if (in_child(write_outside, &stray) == 0)
            fail_msg("a write to byte %ld of %zu is not found", stray.at, stray.size);
        inside.at = 0;
        assert_int_equal(in_child(write_outside, &inside), 0);
    }
}

static int write_after_free(void *argument)
{
    uint8_t *at = guarded_new(100), *stale = at, *keeps_the_region = guarded_new(100);

    (void)argument;
    guarded_free(&at);
    ((volatile uint8_t *)stale)[5] = 1;
    at = guarded_new(100);
    guarded_free(&keeps_the_region);
    guarded_free(&at);
    return 0;
}

static void a_write_to_what_was_freed_ends_the_process(void **state)
{
    (void)state;
    assert_int_not_equal(in_child(write_after_free, NULL), 0);
}

static int write_behind_the_last(void *argument)
{
    uint8_t *at = NULL;

    (void)argument;
    for (size_t i = 0; i < 4096 / 128; i++) /* a region's first page, and no other */
        at = guarded_new(112);
    ((volatile uint8_t *)at)[112] = 1;
    return 0;
}

static void behind_the_last_object_of_a_region_is_a_guard_page(void **state)
{
    (void)state;
    assert_int_not_equal(in_child(write_behind_the_last, NULL), 0);
}

/* --- many of them ------------------------------------------------------------------------------
 */

#define OBJECTS 20000

static size_t count_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    size_t lines = 0;

    assert_non_null(maps);
    for (int c; (c = fgetc(maps)) != EOF;)
        lines += c == '\n';
    (void)fclose(maps);
    return lines;
}

/* The kernel allows a process 65,530, and ends it soon when it has them all. */
static size_t mappings_of(bool is_disturbed)
{
    static uint8_t *objects[OBJECTS];
    size_t before = count_mappings(), during;

    for (size_t i = 0; i < OBJECTS; i++) {
        uint8_t *passing = is_disturbed ? guarded_new(80) : NULL;

        guarded_free(&passing);
        objects[i] = guarded_new(80);
    }
    during = count_mappings();
    for (size_t i = 0; i < OBJECTS; i++)
        guarded_free(&objects[i]);
    return during > before ? during - before : 0;
}

/* A region that is empty goes, also when all others of its class are full. */
static void objects_that_come_and_go_make_no_region_small(void **state)
{
    (void)state;
    assert_in_range(mappings_of(true), 0, mappings_of(false) + 40);
}

static void many_objects_take_few_mappings(void **state)
{
    static uint8_t *objects[OBJECTS];
    size_t before = count_mappings(), during;

    (void)state;
    for (size_t i = 0; i < OBJECTS; i++) {
        objects[i] = guarded_new(80 + i % 8 * 100);
        assert_non_null(objects[i]);
        objects[i][0] = 1;
    }
    during = count_mappings();
    for (size_t i = 0; i < OBJECTS; i++)
        guarded_free(&objects[i]);
    assert_in_range(during, before, before + OBJECTS / 20);
    assert_in_range(count_mappings(), 0, before + OBJECTS / 200); /* and they are given back */
}

/* What an object is filled with says which it is, and whose. */
static void fill(uint8_t *at, size_t size, uint8_t mark)
{
    memset(at, mark, size);
}

static bool is_filled(const uint8_t *at, size_t size, uint8_t mark)
{
    for (size_t i = 0; i < size; i++)
        if (at[i] != mark)
            return false;
    return true;
}

struct worker {
    pthread_t thread;
    uint64_t seed;
    const char *failed;
};

static uint32_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*seed >> 33);
}

/* Takes, fills, looks at and gives back, in no order. */
static void *work(void *context)
{
    struct worker *me = context;
    struct {
        uint8_t *at;
        size_t size;
        uint8_t mark;
    } held[200] = {0};

    for (int step = 0; step < 20000 && !me->failed; step++) {
        size_t i = next_random(&me->seed) % COUNT_OF(held);

        if (held[i].at) {
            if (!is_filled(held[i].at, held[i].size, held[i].mark))
                me->failed = "an object is not what was written";
            guarded_free(&held[i].at);
            continue;
        }
        held[i].size = next_random(&me->seed) % (step % 64 == 0 ? 9000 : 1500);
        held[i].mark = (uint8_t)next_random(&me->seed);
        held[i].at = guarded_new(held[i].size);
        if (!held[i].at || !is_filled(held[i].at, held[i].size, 0))
            me->failed = "an object is not zeroed";
        else
            fill(held[i].at, held[i].size, held[i].mark);
    }
    for (size_t i = 0; i < COUNT_OF(held); i++)
        guarded_free(&held[i].at);
    return NULL;
}

static void threads_do_not_get_each_others_objects(void **state)
{
    struct worker workers[4] = {{.seed = 1}, {.seed = 2}, {.seed = 3}, {.seed = 4}};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(workers); i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    for (size_t i = 0; i < COUNT_OF(workers); i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        if (workers[i].failed)
            fail_msg("thread %zu: %s", i, workers[i].failed);
    }
}

static int work_alone(void *argument)
{
    struct worker worker = {.seed = 5};

    (void)argument;
    (void)alarm(20); /* a lock that nobody gives back */
    (void)work(&worker);
    return worker.failed ? 1 : 0;
}

static _Atomic bool is_over;

static void *work_on(void *context)
{
    while (!atomic_load(&is_over))
        (void)work(context);
    return NULL;
}

/* Also one that is made while another thread has the allocator's lock. */
static void a_forked_child_gets_objects_of_its_own(void **state)
{
    struct worker worker = {.seed = 6};
    uint8_t *at = guarded_new(100);

    (void)state;
    fill(at, 100, 0x55);
    assert_int_equal(pthread_create(&worker.thread, NULL, work_on, &worker), 0);
    for (int i = 0; i < 50; i++)
        assert_int_equal(in_child(work_alone, NULL), 0);
    atomic_store(&is_over, true);
    assert_int_equal(pthread_join(worker.thread, NULL), 0);
    assert_null(worker.failed);
    assert_true(is_filled(at, 100, 0x55));
    guarded_free(&at);
}

static void an_identity_is_gone_in_a_forked_child(void **state)
{
    struct secret seed = {{1, 2, 3}};
    CLEANUP(identity_free)
    struct identity *identity = NULL;

    (void)state;
    assert_int_equal(identity_new("backend", &seed, 0, &identity), 0);
    assert_int_equal(in_child(count_set_bytes, identity), 0);
    assert_memory_equal(identity->seed.at, seed.at, SECRET_SIZE);
    assert_int_equal(identity_new("Backend", &seed, 0, &identity), AICO_EINVAL);
}

static void secrets_are_compared_whole(void **state)
{
    struct secret a = {{0}}, b = {{0}};

    (void)state;
    assert_true(secret_equal(&a, &b, SECRET_SIZE));
    for (size_t i = 0; i < SECRET_SIZE; i++) {
        b.at[i] = 0x80;
        assert_false(secret_equal(&a, &b, SECRET_SIZE));
        b.at[i] = 0;
    }
    assert_true(secret_equal(&a, &b, 0));
}

static void both_ends_agree_on_a_secret(void **state)
{
    struct secret a = {{1}}, b = {{2}}, ab, ba;
    uint8_t public_a[DH_PUBLIC_SIZE], public_b[DH_PUBLIC_SIZE];

    (void)state;
    dh_public(&a, public_a);
    dh_public(&b, public_b);
    assert_int_equal(dh_shared(&a, public_b, &ab), 0);
    assert_int_equal(dh_shared(&b, public_a, &ba), 0);
    assert_memory_equal(ab.at, ba.at, SECRET_SIZE);
}

static void low_order_points_give_no_secret(void **state)
{
    static const uint8_t order_8[DH_PUBLIC_SIZE] = {0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae,
                                                    0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a,
                                                    0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd,
                                                    0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00};
    uint8_t zero[DH_PUBLIC_SIZE] = {0}, one[DH_PUBLIC_SIZE] = {1};
    struct secret a = {{1}}, out = {{42}};

    (void)state;
    assert_int_equal(dh_shared(&a, zero, &out), AICO_EDH);
    assert_int_equal(dh_shared(&a, one, &out), AICO_EDH);
    assert_int_equal(dh_shared(&a, order_8, &out), AICO_EDH);
    assert_int_equal(out.at[0], 42);
}

static void a_signature_binds_label_and_message(void **state)
{
    struct secret seed = {{7}};
    uint8_t public[SIGN_PUBLIC_SIZE], other[SIGN_PUBLIC_SIZE], long_message[3000] = {1};
    uint8_t signature[SIGNATURE_SIZE], again[SIGNATURE_SIZE];
    struct bytes a = bytes_text("hello "), b = bytes_text("world"), none = {NULL, 0};
    struct bytes large = bytes_of(long_message, sizeof(long_message));

    (void)state;
    sign_public(&seed, public);
    assert_int_equal(sign_make(&seed, "hello1", a, b, signature), 0);
    assert_int_equal(sign_make_as(&seed, public, "hello1", a, b, again), 0);
    assert_memory_equal(signature, again, SIGNATURE_SIZE);
    assert_int_equal(sign_verify(public, "hello1", a, b, signature), 0);
    assert_int_equal(sign_verify(public, "hello1", bytes_text("hello world"), none, signature), 0);
    assert_int_equal(sign_verify(public, "hello2", a, b, signature), AICO_ESIGNATURE);
    assert_int_equal(sign_verify(public, "hello1", b, a, signature), AICO_ESIGNATURE);
    for (size_t bit = 0; bit < 8 * SIGNATURE_SIZE; bit++) {
        again[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(sign_verify(public, "hello1", a, b, again), AICO_ESIGNATURE);
        again[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(sign_make(&seed, "registry", large, b, signature), 0);
    assert_int_equal(sign_verify(public, "registry", large, b, signature), 0);
    assert_int_equal(sign_verify(public, "registry", large, none, signature), AICO_ESIGNATURE);
    seed.at[0] ^= 1;
    sign_public(&seed, other);
    assert_int_equal(sign_verify(other, "registry", large, b, signature), AICO_ESIGNATURE);
}

static void a_hasher_fed_in_pieces_gives_the_same_hash(void **state)
{
    struct bytes text = bytes_text("one two three");
    uint8_t whole[64], pieces[64], be[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct hasher h;

    (void)state;
    for (size_t size = 16; size <= 64; size += 16) {
        hash_n(text, whole, size);
        hasher_begin(&h, size);
        for (size_t i = 0; i < text.size; i++)
            hasher_feed(&h, bytes_of(text.at + i, 1));
        hasher_end(&h, pieces, size);
        assert_memory_equal(whole, pieces, size);
    }
    hash_tagged_n("transcript", bytes_of(be, sizeof(be)), whole, HASH_SIZE);
    hasher_begin(&h, HASH_SIZE);
    hasher_tag(&h, "transcript");
    hasher_feed_u64(&h, 0x0102030405060708u);
    hasher_end(&h, pieces, HASH_SIZE);
    assert_memory_equal(whole, pieces, HASH_SIZE);
}

static int start(void **state)
{
    (void)state;
    return crypto_start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guarded_memory_is_zeroed_and_usable),
        cmocka_unit_test(a_forked_child_finds_zeros),
        cmocka_unit_test(a_write_outside_ends_the_process),
        cmocka_unit_test(behind_the_last_object_of_a_region_is_a_guard_page),
        cmocka_unit_test(a_write_to_what_was_freed_ends_the_process),
        cmocka_unit_test(many_objects_take_few_mappings),
        cmocka_unit_test(objects_that_come_and_go_make_no_region_small),
        cmocka_unit_test(threads_do_not_get_each_others_objects),
        cmocka_unit_test(a_forked_child_gets_objects_of_its_own),
        cmocka_unit_test(an_identity_is_gone_in_a_forked_child),
        cmocka_unit_test(secrets_are_compared_whole),
        cmocka_unit_test(both_ends_agree_on_a_secret),
        cmocka_unit_test(low_order_points_give_no_secret),
        cmocka_unit_test(a_signature_binds_label_and_message),
        cmocka_unit_test(a_hasher_fed_in_pieces_gives_the_same_hash),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
