/* SPDX-License-Identifier: Apache-2.0 */
/* The growing buffer keeps what it was given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include <aico/error.h>

#include "base/buffer.h"

static void what_is_appended_stays_while_it_grows(void **state)
{
    struct buffer buffer = {0};

    (void)state;
    for (int i = 0; i < 5000; i++) {
        uint8_t byte = (uint8_t)(i * 7);

        assert_int_equal(buffer_append(&buffer, bytes_of(&byte, 1)), 0);
    }
    assert_int_equal(buffer.size, 5000);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(buffer.at[i], (uint8_t)(i * 7));
    buffer_deinit(&buffer);
    assert_null(buffer.at);
    assert_int_equal(buffer.size, 0);
}

static void reserved_room_counts_only_when_it_is_used(void **state)
{
    struct buffer buffer = {0};
    uint8_t *at = buffer_reserve(&buffer, 1000);

    (void)state;
    assert_non_null(at);
    memset(at, 1, 1000);
    assert_int_equal(buffer.size, 0);
    assert_true(buffer.capacity >= 1000);
    buffer_deinit(&buffer);
}

static void a_size_no_memory_can_hold_is_refused(void **state)
{
    struct buffer buffer = {0};

    (void)state;
    assert_null(buffer_reserve(&buffer, SIZE_MAX));
    assert_null(buffer_reserve(&buffer, SIZE_MAX / 2));
    assert_int_equal(buffer.size, 0);
    buffer_deinit(&buffer);
}

static void formatted_text_is_appended_without_its_zero(void **state)
{
    struct buffer buffer = {0};

    (void)state;
    assert_int_equal(buffer_append_text(&buffer, "a"), 0);
    assert_int_equal(buffer_printf(&buffer, "%d-%s", 42, "x"), 0);
    assert_true(bytes_equal_text(buffer_view(&buffer), "a42-x"));
    buffer_wipe_deinit(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_appended_stays_while_it_grows),
        cmocka_unit_test(reserved_room_counts_only_when_it_is_used),
        cmocka_unit_test(a_size_no_memory_can_hold_is_refused),
        cmocka_unit_test(formatted_text_is_appended_without_its_zero),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
