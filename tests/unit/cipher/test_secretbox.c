/* SPDX-License-Identifier: Apache-2.0 */
/* Secretbox gives libsodium's bytes whatever the size. The seed of a run is printed; AICO_TEST_SEED
 * repeats it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "base/cleanup.h"
#include "random.h"
#include "cipher/poly1305.h"
#include "cipher/secretbox.h"
#include "cipher/stream.h"
#include "libcrypto.h"

#define SIZE_MAX_HERE 70000
#define MAC crypto_box_MACBYTES
#define GAP 64 /* the same place, or one a little further along */

static uint8_t plain[SIZE_MAX_HERE], expected[SIZE_MAX_HERE + MAC];
static uint8_t place[SIZE_MAX_HERE + MAC + GAP];
static uint8_t nonce[crypto_box_NONCEBYTES], key[crypto_box_BEFORENMBYTES];

static void seal(uint8_t *to, const uint8_t *from, size_t size)
{
    struct secret subkey;

    secretbox_subkey(key, nonce, &subkey);
    secretbox_seal(&subkey, nonce + SECRETBOX_PREFIX_SIZE, from, size, to);
}

static bool open_box(uint8_t *to, const uint8_t *from, size_t size)
{
    struct secret subkey;

    secretbox_subkey(key, nonce, &subkey);
    return secretbox_open(&subkey, nonce + SECRETBOX_PREFIX_SIZE, from, size - MAC, to);
}

/* There and back, in another place, the same and a little further along. */
static void check(size_t size)
{
    random_fill(plain, size);
    random_fill(nonce, sizeof(nonce));
    random_fill(key, sizeof(key));
    assert_int_equal(crypto_secretbox_easy(expected, plain, size, nonce, key), 0);
    for (size_t shift = 0; shift <= GAP; shift += 16) {
        memcpy(place + shift, plain, size);
        seal(place, place + shift, size);
        assert_memory_equal(place, expected, size + MAC);
        memcpy(place + shift, expected, size + MAC);
        assert_true(open_box(place, place + shift, size + MAC));
        assert_memory_equal(place, plain, size);
        memcpy(place, expected, size + MAC);
        assert_true(open_box(place + shift, place, size + MAC));
        assert_memory_equal(place + shift, plain, size);
    }
}

static void frames_are_the_same_bytes(void **state UNUSED)
{
    for (size_t size = 0; size < 200; size++)
        check(size);
    for (size_t size = 400; size < 2200; size++)
        check(size);
    for (size_t i = 0; i < 300; i++)
        check(random_u64() % (SIZE_MAX_HERE + 1));
}

static void large_ones_are_libcryptos(void **state UNUSED)
{
    size_t before = libcrypto_asked;

    check(500);
    assert_true(libcrypto_asked == before);
    check(3000);
    assert_true(libcrypto_asked > before);
}

static void without_libcrypto_they_are_the_same_bytes(void **state UNUSED)
{
    libcrypto_is_starved = true;
    for (size_t i = 0; i < 50; i++)
        check(random_u64() % (SIZE_MAX_HERE + 1));
    libcrypto_is_starved = false;
}

static void a_changed_frame_is_refused_and_nothing_written(void **state UNUSED)
{
    const size_t size = 3000;

    check(size);
    for (size_t i = 0; i < size + MAC; i++) {
        expected[i] ^= (uint8_t)(1u << random_u64() % 8);
        memset(place, 1, size);
        assert_false(open_box(place, expected, size + MAC));
        for (size_t at = 0; at < size; at++)
            assert_int_equal(place[at], 1);
        assert_int_equal(crypto_secretbox_easy(expected, plain, size, nonce, key), 0);
    }
    memcpy(place, expected, size + MAC); /* in its place */
    place[0] ^= 1;
    assert_false(open_box(place, place, size + MAC));
    assert_memory_equal(place + 1, expected + 1, size + MAC - 1);
    nonce[23] ^= 1;
    assert_false(open_box(place, expected, size + MAC));
    nonce[23] ^= 1;
    nonce[0] ^= 1;
    assert_false(open_box(place, expected, size + MAC));
}

/* Its tag's key, of which the second half is not changed by Poly1305. */
static void libcrypto_keeps_no_key_of_a_frame(void **state UNUSED)
{
    uint8_t tag_key[32];

    check(50000);
    (void)crypto_stream_xsalsa20(tag_key, sizeof(tag_key), nonce, key);
    assert_false(is_in_heap(tag_key, 16));
    assert_false(is_in_heap(tag_key + 16, 16));
    assert_false(is_in_heap(key, sizeof(key)));
}

static int start(void **state UNUSED)
{
    random_start();
    if (sodium_init() < 0 || !libcrypto_take_memory())
        return -1;
    poly1305_start();
    stream_start();
    secretbox_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_are_the_same_bytes),
        cmocka_unit_test(large_ones_are_libcryptos),
        cmocka_unit_test(without_libcrypto_they_are_the_same_bytes),
        cmocka_unit_test(a_changed_frame_is_refused_and_nothing_written),
        cmocka_unit_test(libcrypto_keeps_no_key_of_a_frame),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
