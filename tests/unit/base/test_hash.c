/* SPDX-License-Identifier: Apache-2.0 */
/* The hash table over names that strangers choose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/hash.h"

struct item {
    UT_hash_handle hh;
    uint32_t key;
};

static void the_same_bytes_hash_alike_and_others_do_not(void **state)
{
    uint8_t bytes[64];
    uint64_t seen[65];

    (void)state;
    memset(bytes, 7, sizeof(bytes));
    for (size_t size = 0; size <= sizeof(bytes); size++) {
        seen[size] = hash_bytes(bytes, size);
        assert_true(seen[size] == hash_bytes(bytes, size));
        for (size_t i = 0; i < size; i++)
            assert_true(seen[i] != seen[size]);
    }
}

static void every_bit_of_the_input_counts(void **state)
{
    uint8_t bytes[16] = {0};
    uint64_t before = hash_bytes(bytes, sizeof(bytes));

    (void)state;
    for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_true(hash_bytes(bytes, sizeof(bytes)) != before);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void what_is_added_is_found_until_it_is_removed(void **state)
{
    static struct item items[10000];
    struct item *table = NULL, *found;

    (void)state;
    for (uint32_t i = 0; i < 10000; i++) {
        items[i].key = i * 65537;
        HASH_ADD(hh, table, key, sizeof(items[i].key), &items[i]);
        assert_true(HASH_ADDED(hh, &items[i]));
    }
    for (uint32_t i = 0; i < 10000; i++) {
        uint32_t key = i * 65537;

        HASH_FIND(hh, table, &key, sizeof(key), found);
        assert_ptr_equal(found, &items[i]);
    }
    for (uint32_t i = 0; i < 10000; i++)
        HASH_DEL(table, &items[i]);
    assert_null(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_bytes_hash_alike_and_others_do_not),
        cmocka_unit_test(every_bit_of_the_input_counts),
        cmocka_unit_test(what_is_added_is_found_until_it_is_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
