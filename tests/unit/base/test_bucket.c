/* SPDX-License-Identifier: Apache-2.0 */
/* The token bucket: how many at once, how fast they come back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/bucket.h"

static void a_new_bucket_is_full(void **state)
{
    struct bucket bucket = {0};

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_true(bucket_take(&bucket, 1000, 10, 5));
    assert_false(bucket_take(&bucket, 1000, 10, 5));
    assert_int_equal(bucket_spent(&bucket), 5);
}

static void tokens_come_back_at_their_rate_and_no_more_than_the_burst(void **state)
{
    struct bucket bucket = {0};

    (void)state;
    assert_true(bucket_take_many(&bucket, 1000, 5, 10, 5));
    assert_false(bucket_take(&bucket, 1099, 10, 5));
    assert_true(bucket_take(&bucket, 1100, 10, 5));
    assert_false(bucket_take(&bucket, 1100, 10, 5));
    assert_true(bucket_take_many(&bucket, 60000, 5, 10, 5));
    assert_false(bucket_take(&bucket, 60000, 10, 5));
}

static void too_many_at_once_take_none(void **state)
{
    struct bucket bucket = {0};

    (void)state;
    assert_false(bucket_take_many(&bucket, 0, 6, 10, 5));
    assert_int_equal(bucket_spent(&bucket), 0);
    assert_true(bucket_take_many(&bucket, 0, 5, 10, 5));
}

static void a_clock_far_ahead_or_back_does_no_harm(void **state)
{
    struct bucket bucket = {0};

    (void)state;
    assert_true(bucket_take_many(&bucket, 0, 5, 100000000, 5));
    assert_true(bucket_take_many(&bucket, INT64_MAX / 2, 5, 100000000, 5));
    assert_false(bucket_take(&bucket, 0, 100000000, 5));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_bucket_is_full),
        cmocka_unit_test(tokens_come_back_at_their_rate_and_no_more_than_the_burst),
        cmocka_unit_test(too_many_at_once_take_none),
        cmocka_unit_test(a_clock_far_ahead_or_back_does_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
