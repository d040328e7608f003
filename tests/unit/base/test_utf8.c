/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8: every character comes back, and nothing else is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "vectors.h"

static void every_character_comes_back(void **state)
{
    uint8_t at[4];

    (void)state;
    for (uint32_t code = 0; code <= 0x110000; code++) {
        bool exists = code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        size_t size = utf8_write(code, at);
        uint32_t again = 0;

        assert_int_equal(utf8_next(bytes_of(at, size), &again), exists ? size : 0);
        assert_int_equal(exists ? again : code, code);
        assert_int_equal(utf8_next(bytes_of(at, size - 1), NULL), 0);
    }
}

static void what_is_no_character_is_refused(void **state)
{
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xc3",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf5\x80\x80\x80",
                                      "\xff",
                                      "\xc3(",
                                      "\xe2\x82",
                                      "\xe2(\xac"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint8_t *copy = exact_copy(bytes_text(bad[i]));

        assert_int_equal(utf8_next(bytes_of(copy, strlen(bad[i])), NULL), 0);
        assert_false(utf8_is_valid(bytes_of(copy, strlen(bad[i]))));
        free(copy);
    }
    assert_true(utf8_is_valid(bytes_of(NULL, 0)));
    assert_true(utf8_is_valid(bytes_text("a\xc3\xa9\xf0\x9f\x98\x80")));
    assert_false(utf8_is_valid(bytes_text("a\xc3\xa9\xf0\x9f\x98")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_comes_back),
        cmocka_unit_test(what_is_no_character_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
