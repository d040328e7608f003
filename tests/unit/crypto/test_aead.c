/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Properties of sealing over random inputs: the kept subkey changes nothing, every changed bit is
 * noticed. The seed of a run is printed; AICO_TEST_SEED repeats it.
 */
#include <stdlib.h>

#include <sodium.h>

#include "libcrypto.h"
#include "vectors.h"

#include "random.h"

#include "base/cleanup.h"
#include "crypto/aead.h"
#include "cipher/poly1305.h"

#define ROUNDS 100000
#define PLAIN_MAX 200
#define AD_MAX 400

/* PROTOCOL 14 row 44. The reference is libsodium's own XChaCha20-Poly1305. */
static void subkey_equals_xchacha(void **state)
{
    static uint8_t pool[PLAIN_MAX + AD_MAX];

    (void)state;
    random_fill(pool, sizeof(pool));
    for (size_t round = 0; round < ROUNDS; round++) {
        struct secret key;
        struct aead_key prepared;
        uint8_t nonce[AEAD_NONCE_SIZE];
        uint8_t expected[PLAIN_MAX + AEAD_TAG_SIZE], sealed[PLAIN_MAX + AEAD_TAG_SIZE];
        uint8_t opened[PLAIN_MAX];
        size_t size = random_u64() % (PLAIN_MAX + 1), ad_size = random_u64() % (AD_MAX + 1);
        size_t cut = random_u64() % (ad_size + 1);
        struct bytes plain = {pool + random_u64() % (sizeof(pool) - size + 1), size};
        struct bytes ad1 = {pool, cut}, ad2 = {pool + cut, ad_size - cut};

        random_fill(key.at, SECRET_SIZE);
        random_fill(nonce, sizeof(nonce));
        pool[round % sizeof(pool)] = (uint8_t)random_u64();
        (void)crypto_aead_xchacha20poly1305_ietf_encrypt(expected, NULL, plain.at, plain.size, pool,
                                                         ad_size, NULL, nonce, key.at);
        aead_key_init(&prepared, &key, nonce);
        aead_key_seal(&prepared, nonce + 16, ad1, ad2, plain, sealed);
        assert_memory_equal(sealed, expected, size + AEAD_TAG_SIZE);
        assert_int_equal(aead_key_open(&prepared, nonce + 16, ad1, ad2,
                                       bytes_of(sealed, size + AEAD_TAG_SIZE), opened),
                         0);
        assert_memory_equal(opened, plain.at, size);
    }
}

static void a_message_may_be_sealed_and_opened_in_its_place(void **state)
{
    uint8_t place[100 + AEAD_TAG_SIZE], expected[sizeof(place)], plain[100];
    uint8_t nonce[AEAD_NONCE_SIZE] = {1};
    struct secret key = {{2}};
    struct bytes none = {NULL, 0};

    (void)state;
    random_fill(plain, sizeof(plain));
    memcpy(place, plain, sizeof(plain));
    aead_seal(&key, nonce, none, none, bytes_of(plain, sizeof(plain)), expected);
    aead_seal(&key, nonce, none, none, bytes_of(place, sizeof(plain)), place);
    assert_memory_equal(place, expected, sizeof(place));
    assert_int_equal(aead_open(&key, nonce, none, none, bytes_of(place, sizeof(place)), place), 0);
    assert_memory_equal(place, plain, sizeof(plain));
}

static void the_largest_associated_data_is_bound_too(void **state)
{
    static uint8_t ad[70000];
    uint8_t nonce[AEAD_NONCE_SIZE] = {3}, sealed[1 + AEAD_TAG_SIZE], plain = 9;
    struct secret key = {{4}};

    (void)state;
    random_fill(ad, sizeof(ad));
    aead_seal(&key, nonce, bytes_of(ad, 69968), bytes_of(ad + 69968, 32), bytes_of(&plain, 1),
              sealed);
    assert_int_equal(aead_open(&key, nonce, bytes_of(ad, sizeof(ad)), bytes_of(NULL, 0),
                               bytes_of(sealed, sizeof(sealed)), &plain),
                     0);
    assert_int_equal(plain, 9);
    ad[sizeof(ad) - 1] ^= 1;
    assert_int_equal(aead_open(&key, nonce, bytes_of(ad, 1), bytes_of(ad + 1, sizeof(ad) - 1),
                               bytes_of(sealed, sizeof(sealed)), &plain),
                     AICO_EOPEN);
}

static void every_changed_bit_is_noticed_and_leaves_zeros(void **state)
{
    uint8_t plain[20], sealed[sizeof(plain) + AEAD_TAG_SIZE], opened[sizeof(plain)];
    uint8_t zeros[sizeof(plain)] = {0}, nonce[AEAD_NONCE_SIZE] = {5}, ad[10] = {6};
    struct secret key = {{7}};

    (void)state;
    random_fill(plain, sizeof(plain));
    aead_seal(&key, nonce, bytes_of(ad, 10), bytes_of(NULL, 0), bytes_of(plain, sizeof(plain)),
              sealed);
    for (size_t bit = 0; bit < 8 * sizeof(sealed); bit++) {
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        memset(opened, 1, sizeof(opened));
        assert_int_equal(aead_open(&key, nonce, bytes_of(ad, 10), bytes_of(NULL, 0),
                                   bytes_of(sealed, sizeof(sealed)), opened),
                         AICO_EOPEN);
        assert_memory_equal(opened, zeros, sizeof(opened));
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* --- what is large, and libcrypto's --------------------------------------------------------- */

#define SMALL 1000 /* up to here it never is large, */
#define LARGE 2048 /* from here on always */
#define LARGE_MAX 200000

/* Beside libsodium, whole and in its place, there and back. */
static void check_large(size_t size, size_t ad_size)
{
    static uint8_t pool[LARGE_MAX], ad[AD_MAX], expected[LARGE_MAX + AEAD_TAG_SIZE];
    static uint8_t sealed[LARGE_MAX + AEAD_TAG_SIZE], opened[LARGE_MAX];
    struct bytes plain = {pool, size}, all = {sealed, size + AEAD_TAG_SIZE};
    struct bytes ad1 = {ad, random_u64() % (ad_size + 1)};
    struct bytes ad2 = {ad + ad1.size, ad_size - ad1.size};
    uint8_t nonce[AEAD_NONCE_SIZE];
    struct secret key;

    random_fill(pool, size);
    random_fill(ad, ad_size);
    random_fill(nonce, sizeof(nonce));
    random_fill(key.at, SECRET_SIZE);
    (void)crypto_aead_xchacha20poly1305_ietf_encrypt(expected, NULL, pool, size, ad, ad_size, NULL,
                                                     nonce, key.at);
    aead_seal(&key, nonce, ad1, ad2, plain, sealed);
    assert_memory_equal(sealed, expected, all.size);
    assert_int_equal(aead_open(&key, nonce, ad1, ad2, all, opened), 0);
    assert_memory_equal(opened, pool, size);
    assert_int_equal(aead_open(&key, nonce, ad1, ad2, all, sealed), 0);
    assert_memory_equal(sealed, pool, size);
    aead_seal(&key, nonce, ad1, ad2, bytes_of(sealed, size), sealed);
    assert_memory_equal(sealed, expected, all.size);
}

static void large_payloads_are_the_same_bytes(void **state UNUSED)
{
    assert_true(poly1305_is_fast());
    for (size_t size = SMALL - 100; size < LARGE + 300; size++)
        check_large(size, size % (AD_MAX + 1));
    for (size_t i = 0; i < 300; i++)
        check_large(random_u64() % (LARGE_MAX + 1), random_u64() % (AD_MAX + 1));
}

static void without_libcrypto_they_are_the_same_bytes(void **state UNUSED)
{
    libcrypto_is_starved = true;
    for (size_t i = 0; i < 50; i++)
        check_large(random_u64() % (LARGE_MAX + 1), random_u64() % (AD_MAX + 1));
    libcrypto_is_starved = false;
}

static void large_ones_are_libcryptos(void **state UNUSED)
{
    static uint8_t place[LARGE + AEAD_TAG_SIZE];
    uint8_t nonce[AEAD_NONCE_SIZE] = {1};
    struct secret key = {{2}};
    struct bytes none = {NULL, 0};
    size_t before = libcrypto_asked;

    check_large(SMALL, 10);
    assert_true(libcrypto_asked == before);
    aead_seal(&key, nonce, none, none, bytes_of(place, LARGE), place);
    assert_true(libcrypto_asked > before);
    before = libcrypto_asked;
    assert_int_equal(aead_open(&key, nonce, none, none, bytes_of(place, sizeof(place)), place), 0);
    assert_true(libcrypto_asked > before);
}

static void a_change_of_a_large_one_is_noticed_and_leaves_zeros(void **state UNUSED)
{
    static uint8_t plain[5000], sealed[sizeof(plain) + AEAD_TAG_SIZE], opened[sizeof(plain)];
    static const uint8_t zeros[sizeof(plain)];
    uint8_t nonce[AEAD_NONCE_SIZE] = {5}, ad[10] = {6};
    struct secret key = {{7}};
    struct bytes bound = {ad, sizeof(ad)}, none = {NULL, 0}, all = {sealed, sizeof(sealed)};

    random_fill(plain, sizeof(plain));
    aead_seal(&key, nonce, bound, none, bytes_of(plain, sizeof(plain)), sealed);
    for (size_t i = 0; i < sizeof(sealed); i++) {
        uint8_t change = (uint8_t)(1u << random_u64() % 8);

        sealed[i] ^= change;
        memset(opened, 1, sizeof(opened));
        assert_int_equal(aead_open(&key, nonce, bound, none, all, opened), AICO_EOPEN);
        assert_memory_equal(opened, zeros, sizeof(opened));
        sealed[i] ^= change;
    }
    ad[9] ^= 1;
    assert_int_equal(aead_open(&key, nonce, bound, none, all, opened), AICO_EOPEN);
    ad[9] ^= 1;
    nonce[23] ^= 1;
    assert_int_equal(aead_open(&key, nonce, bound, none, all, opened), AICO_EOPEN);
    assert_memory_equal(opened, zeros, sizeof(opened));
    nonce[23] ^= 1;
    sealed[0] ^= 1; /* in its place */
    assert_int_equal(aead_open(&key, nonce, bound, none, all, sealed), AICO_EOPEN);
    assert_memory_equal(sealed, zeros, sizeof(zeros));
}

static void libcrypto_keeps_no_key(void **state UNUSED)
{
    static uint8_t plain[100000], sealed[sizeof(plain) + AEAD_TAG_SIZE];
    uint8_t prefix[16] = {8}, tail[8] = {9}, nonce[12] = {0, 0, 0, 0, 9}, mac_key[32];
    struct secret key;
    struct aead_key prepared;
    struct bytes none = {NULL, 0};

    random_fill(key.at, SECRET_SIZE);
    aead_key_init(&prepared, &key, prefix);
    for (int i = 0; i < 3; i++) {
        aead_key_seal(&prepared, tail, none, none, bytes_of(plain, sizeof(plain)), sealed);
        assert_int_equal(
            aead_key_open(&prepared, tail, none, none, bytes_of(sealed, sizeof(sealed)), plain), 0);
    }
    (void)crypto_stream_chacha20_ietf(mac_key, sizeof(mac_key), nonce, prepared.subkey.at);
    /* The second half is not changed by Poly1305. */
    assert_false(is_in_heap(mac_key, 16));
    assert_false(is_in_heap(mac_key + 16, 16));
    assert_false(is_in_heap(prepared.subkey.at, SECRET_SIZE));
}

static int start(void **state)
{
    (void)state;
    if (!libcrypto_take_memory())
        return -1;
    random_start();
    return crypto_start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subkey_equals_xchacha),
        cmocka_unit_test(a_message_may_be_sealed_and_opened_in_its_place),
        cmocka_unit_test(the_largest_associated_data_is_bound_too),
        cmocka_unit_test(every_changed_bit_is_noticed_and_leaves_zeros),
        cmocka_unit_test(large_payloads_are_the_same_bytes),
        cmocka_unit_test(without_libcrypto_they_are_the_same_bytes),
        cmocka_unit_test(large_ones_are_libcryptos),
        cmocka_unit_test(a_change_of_a_large_one_is_noticed_and_leaves_zeros),
        cmocka_unit_test(libcrypto_keeps_no_key),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
