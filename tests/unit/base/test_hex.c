/* SPDX-License-Identifier: Apache-2.0 */
/* Hexadecimal: lower case, exact, nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/hex.h"

static void every_byte_survives(void **state)
{
    char text[3];
    uint8_t back;

    (void)state;
    for (int i = 0; i < 256; i++) {
        uint8_t byte = (uint8_t)i;

        hex_write(bytes_of(&byte, 1), text);
        assert_int_equal(strlen(text), 2);
        assert_true(hex_parse(bytes_text(text), &back, 1));
        assert_int_equal(back, byte);
    }
}

static void only_the_sixteen_digits_are_digits(void **state)
{
    uint8_t to;

    (void)state;
    for (int c = 0; c < 256; c++) {
        char first[2] = {(char)c, '0'}, second[2] = {'0', (char)c};
        bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');

        assert_int_equal(hex_parse(bytes_of(first, 2), &to, 1), digit);
        assert_int_equal(hex_parse(bytes_of(second, 2), &to, 1), digit);
    }
}

static void another_length_is_refused(void **state)
{
    uint8_t to[2];

    (void)state;
    assert_false(hex_parse(bytes_text("000"), to, 2));
    assert_false(hex_parse(bytes_text("00000"), to, 2));
    assert_false(hex_parse(bytes_text(""), to, 2));
    assert_true(hex_parse(bytes_text(""), to, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_survives),
        cmocka_unit_test(only_the_sixteen_digits_are_digits),
        cmocka_unit_test(another_length_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
