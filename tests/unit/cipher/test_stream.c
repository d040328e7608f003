/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams are libsodium's, whatever does them: size, first block and place at random. Without
 * AVX-512 (which valgrind hides, too) only libsodium is beside itself; the second test tells. The
 * seed of a run is printed; AICO_TEST_SEED repeats it.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/cleanup.h"
#include "random.h"
#include "cipher/stream.h"
#include "cipher/stream_avx512.h"

#define SIZE_MAX_HERE 20480
#define STACK_SIZE (1 << 20)

static uint8_t plain[SIZE_MAX_HERE], expected[SIZE_MAX_HERE], place[SIZE_MAX_HERE + 64];
static uint8_t key[STREAM_KEY_SIZE], nonce[12];

/* From another place and in its own, anywhere beside a vector's border; nothing behind is touched.
 */
static void check(size_t size, uint64_t block, bool is_salsa)
{
    uint8_t *to = place + random_u64() % 63, behind = (uint8_t)random_u64();

    random_fill(plain, size);
    random_fill(key, sizeof(key));
    random_fill(nonce, sizeof(nonce));
    for (int round = 0; round < 2; round++) {
        const uint8_t *from = round == 0 ? plain : to;

        if (round == 1)
            memcpy(to, plain, size);
        to[size] = behind;
        if (is_salsa) {
            (void)crypto_stream_salsa20_xor_ic(expected, plain, size, nonce, block, key);
            salsa20_xor(to, from, size, nonce, block, key);
        } else {
            (void)crypto_stream_chacha20_ietf_xor_ic(expected, plain, size, nonce, (uint32_t)block,
                                                     key);
            chacha20_xor(to, from, size, nonce, (uint32_t)block, key);
        }
        assert_memory_equal(to, expected, size);
        assert_int_equal(to[size], behind);
    }
}

static void a_stream_is_libsodiums(void **state UNUSED)
{
    for (size_t size = 0; size < 2200; size++) {
        check(size, 1, false);
        check(size, 1, true);
    }
    for (size_t i = 0; i < 3000; i++) {
        check(random_u64() % SIZE_MAX_HERE, random_u64() % (UINT32_MAX - 1000), false);
        check(random_u64() % SIZE_MAX_HERE, random_u64(), true);
    }
}

/* The number of a block is two words of Salsa20's state, and one of ChaCha20's. */
static void block_numbers_carry(void **state UNUSED)
{
    for (uint64_t before = 0; before < 100; before++) {
        check(6000, UINT32_MAX - before, true);
        check(6000, UINT64_MAX - before, true);
        check(6000, UINT32_MAX - 93 - before, false); /* to the last block of a nonce */
    }
}

/* As it was given, and as vectors have it, a word in all lanes. */
static bool has_key(const void *memory, size_t size)
{
    uint8_t lanes[16];

    for (size_t word = 0; word < sizeof(key) / 4; word++) {
        for (size_t lane = 0; lane < 4; lane++)
            memcpy(lanes + 4 * lane, key + 4 * word, 4);
        if (memmem(memory, size, lanes, sizeof(lanes)))
            return true;
    }
    return memmem(memory, size, key, 16) || memmem(memory, size, key + 16, 16);
}

static void work(bool is_salsa)
{
    if (is_salsa)
        salsa20_xor(place, plain, SIZE_MAX_HERE, nonce, 0, key);
    else
        chacha20_xor(place, plain, SIZE_MAX_HERE, nonce, 0, key);
}

/* Below what the end of a thread writes over. */
static __attribute__((noinline)) void work_deep(bool is_salsa)
{
    volatile uint8_t room[16384];

    room[0] = room[sizeof(room) - 1] = 0;
    work(is_salsa);
}

static void *work_alone(void *is_salsa)
{
    work_deep(*(bool *)is_salsa);
    return NULL;
}

/* On a thread's stack that is looked through when it has ended. What libsodium leaves there is not
 * ours. */
static void no_key_stays_on_the_stack(void **state UNUSED)
{
    if (!stream_is_fast())
        skip();
    for (int i = 0; i < 2; i++) {
        uint8_t *stack = aligned_alloc(4096, STACK_SIZE);
        bool is_salsa = i == 0;
        pthread_attr_t attributes;
        pthread_t thread;

        random_fill(key, sizeof(key));
        assert_non_null(stack);
        memset(stack, 0, STACK_SIZE);
        assert_int_equal(pthread_attr_init(&attributes), 0);
        assert_int_equal(pthread_attr_setstack(&attributes, stack, STACK_SIZE), 0);
        assert_int_equal(pthread_create(&thread, &attributes, work_alone, &is_salsa), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_false(has_key(stack, STACK_SIZE));
        (void)pthread_attr_destroy(&attributes);
        free(stack);
    }
}

static void on_signal(int number UNUSED)
{
}

/* A signal writes all registers to its stack. */
static void no_key_stays_in_registers(void **state UNUSED)
{
    stack_t mine = {.ss_size = 1 << 16}, before;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};

    if (!stream_is_fast())
        skip();
    mine.ss_sp = aligned_alloc(4096, mine.ss_size);
    assert_non_null(mine.ss_sp);
    assert_int_equal(sigaltstack(&mine, &before), 0);
    assert_int_equal(sigaction(SIGUSR1, &action, NULL), 0);
    for (int i = 0; i < 2; i++) {
        random_fill(key, sizeof(key));
        memset(mine.ss_sp, 0, mine.ss_size);
        work(i == 0);
        assert_int_equal(raise(SIGUSR1), 0);
        assert_false(has_key(mine.ss_sp, mine.ss_size));
    }
    (void)sigaltstack(&before, NULL);
    free(mine.ss_sp);
}

/* The linker gives us the calls of stream.c (tests/CMakeLists.txt). */
static bool is_broken;
void __real_salsa20_avx512(uint8_t *to, const uint8_t *from, size_t size, const uint8_t n[8],
                           uint64_t block, const uint8_t k[32]);
void __wrap_salsa20_avx512(uint8_t *to, const uint8_t *from, size_t size, const uint8_t n[8],
                           uint64_t block, const uint8_t k[32]);

void __wrap_salsa20_avx512(uint8_t *to, const uint8_t *from, size_t size, const uint8_t n[8],
                           uint64_t block, const uint8_t k[32])
{
    __real_salsa20_avx512(to, from, size, n, block, k);
    to[size - 1] ^= is_broken;
}

/* Before anything else has started it. */
static void what_differs_from_libsodium_is_not_used(void **state UNUSED)
{
    is_broken = true;
    stream_start();
    is_broken = false;
    assert_false(stream_is_fast());
    check(5000, 7, true);
}

static void avx512_is_used_where_it_is_there(void **state UNUSED)
{
    stream_start();
    print_message("AVX-512: %s\n", stream_is_fast() ? "yes" : "no");
    assert_int_equal(stream_is_fast(), stream_avx512_is_there());
}

static int start(void **state UNUSED)
{
    if (sodium_init() < 0)
        return -1;
    random_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_differs_from_libsodium_is_not_used),
        cmocka_unit_test(avx512_is_used_where_it_is_there),
        cmocka_unit_test(a_stream_is_libsodiums),
        cmocka_unit_test(block_numbers_carry),
        cmocka_unit_test(no_key_stays_on_the_stack),
        cmocka_unit_test(no_key_stays_in_registers),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
