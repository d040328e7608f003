/* SPDX-License-Identifier: Apache-2.0 */
/* Small values and escaping: what a person types, and what a stranger may not do to a terminal. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/text.h"

/* The escaped form of @size bytes, read from a block of exactly that size. */
static char *escaped(const char *text, size_t size)
{
    char *copy = malloc(size > 0 ? size : 1), *result = NULL;
    size_t result_size = 0;
    FILE *to = open_memstream(&result, &result_size);

    assert_non_null(copy);
    assert_non_null(to);
    memcpy(copy, text, size);
    text_write_escaped(to, copy, size);
    (void)fclose(to);
    free(copy);
    return result;
}

static void assert_escaped(const char *text, size_t size, const char *expected)
{
    char *result = escaped(text, size);

    assert_string_equal(result, expected);
    free(result);
}

static void a_duration_needs_its_unit(void **state)
{
    int64_t ms = -7;

    (void)state;
    assert_true(text_duration("500ms", &ms));
    assert_int_equal(ms, 500);
    assert_true(text_duration("5s", &ms));
    assert_int_equal(ms, 5000);
    assert_true(text_duration("2m", &ms));
    assert_int_equal(ms, 120000);
    assert_true(text_duration("0s", &ms));
    ms = -7;
    assert_false(text_duration("5", &ms));
    assert_false(text_duration("", &ms));
    assert_false(text_duration("s", &ms));
    assert_false(text_duration("-5s", &ms));
    assert_false(text_duration("5 s", &ms));
    assert_false(text_duration("5sx", &ms));
    assert_false(text_duration("99999999999999999999s", &ms));
    assert_false(text_duration("9999999999999999999d", &ms));
    assert_int_equal(ms, -7);
}

static void numbers_and_sizes_keep_their_limits(void **state)
{
    uint64_t value = 7;

    (void)state;
    assert_false(text_number("18446744073709551616", 0, UINT64_MAX, &value));
    value = 7;
    assert_false(text_number("0", 1, 10, &value));
    assert_false(text_number("11", 1, 10, &value));
    assert_false(text_number("1x", 1, 10, &value));
    assert_int_equal(value, 7);
    assert_true(text_number("10", 1, 10, &value));
    assert_int_equal(value, 10);
    assert_true(text_size("64KiB", 1, 1 << 20, &value));
    assert_int_equal(value, 65536);
    assert_true(text_size("1M", 1, 1 << 20, &value));
    assert_false(text_size("2M", 1, 1 << 20, &value));
    assert_true(text_size("1G", 1, (uint64_t)1 << 40, &value));
    assert_int_equal(value, 1 << 30);
    assert_true(text_size("3GiB", 1, (uint64_t)1 << 40, &value));
    assert_int_equal(value, (uint64_t)3 << 30);
    assert_false(text_size("17179869185G", 1, UINT64_MAX, &value)); /* 2^64 + 2^30 */
}

static void clean_text_is_written_as_it_stands(void **state)
{
    (void)state;
    assert_escaped("", 0, "");
    assert_escaped("grüße \\ 日本 😀", strlen("grüße \\ 日本 😀"), "grüße \\ 日本 😀");
}

static void nothing_drives_the_terminal(void **state)
{
    (void)state;
    assert_escaped("a\x1b[31mb", 7, "a\\x1b[31mb");
    assert_escaped("one\ntwo\r\tend", 12, "one\\ntwo\\r\\tend");
    assert_escaped("\0", 1, "\\x00");
    assert_escaped("\xc2\x9b", 2, "\\u{9b}");             /* C1: the one-character CSI */
    assert_escaped("\xe2\x80\xae", 3, "\\u{202e}");       /* right-to-left override */
    assert_escaped("\xff\xc3", 2, "\\xff\\xc3");          /* not UTF-8, and cut short */
    assert_escaped("\xc0\xaf", 2, "\\xc0\\xaf");          /* overlong */
    assert_escaped("\xed\xa0\x80", 3, "\\xed\\xa0\\x80"); /* half of a surrogate pair */
}

static void utf8_is_well_formed_and_without_nul(void **state)
{
    (void)state;
    assert_true(text_is_utf8("", 0));
    assert_true(text_is_utf8("\xf0\x9f\x98\x80", 4));
    assert_false(text_is_utf8("\xf0\x9f\x98", 3));
    assert_false(text_is_utf8("a\0b", 3));
    assert_false(text_is_utf8("\xf4\x90\x80\x80", 4));
}

static void base64_follows_rfc_4648(void **state)
{
    static const char *const expected[] = {"",         "Zg==",     "Zm8=",    "Zm9v",
                                           "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};

    (void)state;
    for (size_t size = 0; size <= 6; size++) {
        char *copy = malloc(size > 0 ? size : 1), *text;

        memcpy(copy, "foobar", size);
        text = text_base64(copy, size);
        assert_string_equal(text, expected[size]);
        free(text);
        free(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_duration_needs_its_unit),
        cmocka_unit_test(numbers_and_sizes_keep_their_limits),
        cmocka_unit_test(clean_text_is_written_as_it_stands),
        cmocka_unit_test(nothing_drives_the_terminal),
        cmocka_unit_test(utf8_is_well_formed_and_without_nul),
        cmocka_unit_test(base64_follows_rfc_4648),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
