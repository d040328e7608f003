/* SPDX-License-Identifier: Apache-2.0 */
/* The frontend's idea of filters is the broker's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "frontend/filter.h"

static void one_star_is_exactly_one_level(void **state)
{
    (void)state;
    assert_true(filter_matches("a/*/c", "a/b/c"));
    assert_true(filter_matches("a/+", "a/b"));
    assert_false(filter_matches("a/*", "a"));
    assert_false(filter_matches("a/*", "a/b/c"));
    assert_false(filter_matches("*", "a/b"));
}

static void two_stars_are_any_number_of_levels(void **state)
{
    (void)state;
    assert_true(filter_matches("a/**", "a"));
    assert_true(filter_matches("a/**", "a/b"));
    assert_true(filter_matches("a/#", "a/b/c"));
    assert_true(filter_matches("**", "a/b/c"));
    assert_false(filter_matches("a/**", "ab"));
    assert_false(filter_matches("a/**", "b/a"));
}

static void without_wildcards_a_filter_is_its_topic(void **state)
{
    (void)state;
    assert_true(filter_matches("a/b", "a/b"));
    assert_false(filter_matches("a/b", "a/bc"));
    assert_false(filter_matches("a/bc", "a/b"));
    assert_false(filter_matches("a", "a/b"));
    assert_false(filter_matches("a/b", "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_star_is_exactly_one_level),
        cmocka_unit_test(two_stars_are_any_number_of_levels),
        cmocka_unit_test(without_wildcards_a_filter_is_its_topic),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
