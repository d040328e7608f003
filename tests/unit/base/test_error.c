/* SPDX-License-Identifier: Apache-2.0 */
/* The error table and texts with context. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include <aico/error.h>

static const int codes[] = {
#define CODE(symbol, number, name, exit_status, text) AICO_##symbol,
    AICO_ERRORS(CODE)
#undef CODE
};
#define CODES (sizeof(codes) / sizeof(codes[0]))

static void no_two_errors_share_a_number_or_a_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < CODES; i++)
        for (size_t k = i + 1; k < CODES; k++) {
            assert_int_not_equal(codes[i], codes[k]);
            assert_string_not_equal(aico_error_name(codes[i]), aico_error_name(codes[k]));
        }
}

static void every_error_has_a_text_and_an_exit_status(void **state)
{
    (void)state;
    for (size_t i = 0; i < CODES; i++) {
        assert_true(codes[i] < 0 && codes[i] >= -255);
        assert_string_not_equal(aico_error_string(codes[i]), "unknown error");
        assert_in_range(aico_error_exit_status(codes[i]), 1, 10);
    }
}

static void exit_statuses_are_the_documented_ones(void **state)
{
    (void)state;
    assert_int_equal(aico_error_exit_status(0), 0);
    assert_int_equal(aico_error_exit_status(AICO_ECONFIG), 3);
    assert_int_equal(aico_error_exit_status(AICO_EDENIED), 4);
    assert_int_equal(aico_error_exit_status(AICO_EREVOKED), 5);
    assert_int_equal(aico_error_exit_status(AICO_EUNREACHABLE), 6);
    assert_int_equal(aico_error_exit_status(AICO_ETIMEOUT), 7);
    assert_int_equal(aico_error_exit_status(AICO_ENORESPONDER), 8);
    assert_int_equal(aico_error_exit_status(AICO_EOPEN), 9);
    assert_int_equal(aico_error_exit_status(AICO_EFULL), 10);
}

static void an_unknown_code_is_named_as_unknown(void **state)
{
    (void)state;
    assert_string_equal(aico_error_string(-9999), "unknown error");
    assert_int_equal(aico_error_exit_status(-9999), 1);
    assert_string_equal(aico_error_name(0), "OK");
}

static void a_prefix_goes_before_the_cause(void **state)
{
    struct aico_error err = {0};

    (void)state;
    assert_int_equal(aico_error_set(&err, AICO_EMODE, "mode %o", 0644), AICO_EMODE);
    assert_int_equal(aico_error_prefix(&err, AICO_EMODE, "%s", "broker.key"), AICO_EMODE);
    assert_string_equal(err.text, "broker.key: mode 644");
    assert_int_equal(err.code, AICO_EMODE);
}

static void a_prefix_without_a_cause_does_not_tell_an_older_story(void **state)
{
    struct aico_error err = {0};

    (void)state;
    aico_error_set(&err, AICO_EMODE, "old story");
    aico_error_prefix(&err, AICO_ENOMEM, "new");
    assert_string_equal(err.text, "new: out of memory");
}

static void nobody_who_listens_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(aico_error_set(NULL, AICO_EFULL, "x"), AICO_EFULL);
    assert_int_equal(aico_error_prefix(NULL, AICO_EFULL, "x"), AICO_EFULL);
}

static void a_long_text_is_cut_not_written_past_the_end(void **state)
{
    struct aico_error err = {0};
    char text[2000];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    aico_error_set(&err, AICO_EFULL, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    aico_error_prefix(&err, AICO_EFULL, "%s", text);
    assert_true(strlen(err.text) < sizeof(err.text));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_two_errors_share_a_number_or_a_name),
        cmocka_unit_test(every_error_has_a_text_and_an_exit_status),
        cmocka_unit_test(exit_statuses_are_the_documented_ones),
        cmocka_unit_test(an_unknown_code_is_named_as_unknown),
        cmocka_unit_test(a_prefix_goes_before_the_cause),
        cmocka_unit_test(a_prefix_without_a_cause_does_not_tell_an_older_story),
        cmocka_unit_test(nobody_who_listens_is_allowed),
        cmocka_unit_test(a_long_text_is_cut_not_written_past_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
