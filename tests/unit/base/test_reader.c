/* SPDX-License-Identifier: Apache-2.0 */
/* The reader never steps outside what it was given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/reader.h"
#include "vectors.h"

static void integers_are_big_endian(void **state)
{
    static const uint8_t wire[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    struct reader r = reader_over(bytes_of(wire, sizeof(wire)));

    (void)state;
    assert_int_equal(reader_u8(&r), 0x01);
    assert_int_equal(reader_u16(&r), 0x0203);
    assert_int_equal(reader_u32(&r), 0x04050607);
    assert_true(reader_u64(&r) == 0x08090a0b0c0d0e0fu);
    assert_true(reader_done(&r));
}

static void a_read_past_the_end_is_zero_and_fails_for_good(void **state)
{
    uint8_t *wire = exact_copy(bytes_of("\xff\xff\xff", 3));
    struct reader r = reader_over(bytes_of(wire, 3));

    (void)state;
    assert_true(reader_u32(&r) == 0);
    assert_true(r.failed);
    assert_int_equal(reader_u8(&r), 0);
    assert_int_equal(reader_bytes(&r, 1).size, 0);
    assert_null(reader_bytes(&r, 0).at);
    assert_false(reader_done(&r));
    free(wire);
}

static void a_copy_past_the_end_is_zeros(void **state)
{
    uint8_t *wire = exact_copy(bytes_of("abc", 3));
    uint8_t to[4] = {9, 9, 9, 9};
    struct reader r = reader_over(bytes_of(wire, 3));

    (void)state;
    reader_copy(&r, to, sizeof(to));
    assert_memory_equal(to, "\0\0\0\0", 4);
    assert_true(r.failed);
    free(wire);
}

static void a_length_larger_than_the_rest_is_refused(void **state)
{
    uint8_t *wire = exact_copy(bytes_of("\x03"
                                        "ab",
                                        3));
    struct reader r = reader_over(bytes_of(wire, 3));

    (void)state;
    assert_int_equal(reader_lp8(&r).size, 0);
    assert_true(r.failed);
    free(wire);
}

static void lengths_and_rest_split_a_text(void **state)
{
    uint8_t *wire = exact_copy(bytes_of("\x02"
                                        "ab"
                                        "\x00\x01"
                                        "c"
                                        "de",
                                        8));
    struct reader r = reader_over(bytes_of(wire, 8));

    (void)state;
    assert_true(bytes_equal_text(reader_lp8(&r), "ab"));
    assert_true(bytes_equal_text(reader_lp16(&r), "c"));
    assert_true(bytes_equal_text(reader_rest(&r), "de"));
    assert_true(reader_done(&r));
    free(wire);
}

static void nothing_left_is_done_only_without_failure(void **state)
{
    struct reader r = reader_over(bytes_of(NULL, 0));

    (void)state;
    assert_true(reader_done(&r));
    assert_int_equal(reader_rest(&r).size, 0);
    assert_true(reader_done(&r));
    (void)reader_u8(&r);
    assert_false(reader_done(&r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(a_read_past_the_end_is_zero_and_fails_for_good),
        cmocka_unit_test(a_copy_past_the_end_is_zeros),
        cmocka_unit_test(a_length_larger_than_the_rest_is_refused),
        cmocka_unit_test(lengths_and_rest_split_a_text),
        cmocka_unit_test(nothing_left_is_done_only_without_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
