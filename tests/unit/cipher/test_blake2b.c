/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four texts at once are hashed as libsodium hashes each, whatever does it: sizes and places at
 * random. Without AVX2 (which valgrind may hide) only libsodium is beside itself; the second test
 * tells. The seed of a run is printed; AICO_TEST_SEED repeats it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/cleanup.h"
#include "cipher/blake2b.h"
#include "cipher/blake2b_lanes.h"
#include "random.h"

#define BODY_MAX 20000

static uint8_t bodies[BLAKE2B_LANES][BODY_MAX + 64];

static size_t size_at_random(void)
{
    switch (random_u64() % 4) {
    case 0:
        return random_u64() % 300;
    case 1: /* the last block full, or almost */
        return random_u64() % 20 * BLAKE2B_BLOCK_SIZE + random_u64() % 3;
    case 2:
        return random_u64() % BODY_MAX;
    default:
        return 0;
    }
}

static void check(struct blake2b_text *texts, size_t count)
{
    uint8_t hashes[BLAKE2B_LANES][BLAKE2B_256_SIZE], expected[BLAKE2B_LANES][BLAKE2B_256_SIZE];
    static const uint8_t zeros[BLAKE2B_BLOCK_SIZE];

    for (size_t i = 0; i < count; i++) {
        crypto_generichash_state state;

        (void)crypto_generichash_init(&state, NULL, 0, BLAKE2B_256_SIZE);
        (void)crypto_generichash_update(&state, texts[i].head, texts[i].head_size);
        (void)crypto_generichash_update(&state, texts[i].body, texts[i].body_size);
        (void)crypto_generichash_final(&state, expected[i], BLAKE2B_256_SIZE);
    }
    blake2b_256(texts, count, hashes);
    for (size_t i = 0; i < count; i++) {
        assert_memory_equal(hashes[i], expected[i], BLAKE2B_256_SIZE);
        assert_memory_equal(texts[i].head, zeros, sizeof(zeros));
    }
}

static void fill(struct blake2b_text *text, size_t lane, size_t head_size, size_t body_size)
{
    text->head_size = head_size;
    text->body = bodies[lane] + random_u64() % 63;
    text->body_size = body_size;
    random_fill(text->head, sizeof(text->head));
}

static void each_hash_is_libsodiums(void **state UNUSED)
{
    struct blake2b_text texts[BLAKE2B_LANES];

    random_fill(bodies, sizeof(bodies));
    /* Every place at which a block can end. */
    for (size_t size = 0; size <= 4 * (size_t)BLAKE2B_BLOCK_SIZE; size++) {
        for (size_t i = 0; i < BLAKE2B_LANES; i++)
            fill(&texts[i], i, (90 + i * size) % (BLAKE2B_BLOCK_SIZE + 1), size + i);
        check(texts, BLAKE2B_LANES);
    }
    for (size_t round = 0; round < 2000; round++) {
        size_t count = 1 + random_u64() % BLAKE2B_LANES;

        for (size_t i = 0; i < count; i++)
            fill(&texts[i], i, random_u64() % (BLAKE2B_BLOCK_SIZE + 1), size_at_random());
        check(texts, count);
    }
}

/* The unit that is not used here, too: blocks of four texts in step. */
static void both_units_agree(void **state UNUSED)
{
    struct blake2b_lanes by_avx512, by_avx2;

    print_message("four at once: %s\n", blake2b_is_fast() ? "yes" : "no");
    if (!blake2b_avx512_is_there() || !blake2b_avx2_is_there())
        skip();
    for (size_t round = 0; round < 500; round++) {
        size_t blocks = 1 + random_u64() % 20;

        memset(&by_avx512, 0, sizeof(by_avx512));
        random_fill(by_avx512.h, sizeof(by_avx512.h));
        random_fill(by_avx512.size, sizeof(by_avx512.size));
        for (size_t i = 0; i < BLAKE2B_LANES; i++) {
            bool is_live = random_u64() % 3 > 0;

            by_avx512.at[i] = bodies[i];
            by_avx512.step[i] = is_live ? BLAKE2B_BLOCK_SIZE : 0;
            by_avx512.live[i] = is_live ? UINT64_MAX : 0;
            by_avx512.last[i] = random_u64() % 2 ? UINT64_MAX : 0;
        }
        by_avx2 = by_avx512;
        blake2b_avx512_compress(&by_avx512, blocks);
        blake2b_avx2_compress(&by_avx2, blocks);
        assert_memory_equal(&by_avx512, &by_avx2, sizeof(by_avx2));
    }
}

/* As it would if the processor, or this code, were wrong. */
void __real_blake2b_avx512_compress(struct blake2b_lanes *lanes, size_t blocks);
void __wrap_blake2b_avx512_compress(struct blake2b_lanes *lanes, size_t blocks);
void __real_blake2b_avx2_compress(struct blake2b_lanes *lanes, size_t blocks);
void __wrap_blake2b_avx2_compress(struct blake2b_lanes *lanes, size_t blocks);

static bool is_wrong;

void __wrap_blake2b_avx512_compress(struct blake2b_lanes *lanes, size_t blocks)
{
    __real_blake2b_avx512_compress(lanes, blocks);
    lanes->h[2][1] ^= is_wrong;
}

void __wrap_blake2b_avx2_compress(struct blake2b_lanes *lanes, size_t blocks)
{
    __real_blake2b_avx2_compress(lanes, blocks);
    lanes->h[1][3] ^= is_wrong;
}

/* Runs before the others: what was found right is used from then on. */
static void what_is_wrong_is_not_used(void **state UNUSED)
{
    is_wrong = true;
    blake2b_start();
    is_wrong = false;
    assert_false(blake2b_is_fast());
    each_hash_is_libsodiums(NULL);
    blake2b_start();
    assert_int_equal(blake2b_is_fast(), blake2b_avx512_is_there() || blake2b_avx2_is_there());
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
        cmocka_unit_test(what_is_wrong_is_not_used),
        cmocka_unit_test(each_hash_is_libsodiums),
        cmocka_unit_test(both_units_agree),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
