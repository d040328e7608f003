/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON writer: what it writes, another implementation reads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include <jansson.h>

#include "base/json.h"
#include "vectors.h"

static void objects_and_arrays_get_their_commas(void **state)
{
    struct buffer out = {0};
    struct json j = json_over(&out);

    (void)state;
    json_open_object(&j, NULL);
    json_put_u64(&j, "a", UINT64_MAX);
    json_open_array(&j, "b");
    json_put_i64(&j, NULL, -1);
    json_put_bool(&j, NULL, true);
    json_open_object(&j, NULL);
    json_close_object(&j);
    json_open_array(&j, NULL);
    json_close_array(&j);
    json_close_array(&j);
    json_put_text(&j, "c", bytes_text("d"));
    json_close_object(&j);
    assert_false(j.failed);
    assert_true(bytes_equal_text(buffer_view(&out),
                                 "{\"a\":18446744073709551615,\"b\":[-1,true,{},[]],\"c\":\"d\"}"));
    buffer_deinit(&out);
}

/* Parses the text written for @text and returns what jansson understood; free with json_decref. */
static json_t *through(struct bytes text, struct buffer *out)
{
    struct json j = json_over(out);
    json_t *back;

    json_put_text(&j, NULL, text);
    back = json_loadb((const char *)out->at, out->size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert_non_null(back);
    return back;
}

static void every_byte_of_valid_text_survives(void **state)
{
    static const char text[] =
        "\x00\x01\x1f \"\\/\n\r\t\b\f\x7f\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";
    struct buffer out = {0};
    json_t *back = through(bytes_of(text, sizeof(text) - 1), &out);

    (void)state;
    assert_int_equal(json_string_length(back), sizeof(text) - 1);
    assert_memory_equal(json_string_value(back), text, sizeof(text) - 1);
    json_decref(back);
    buffer_deinit(&out);
}

static void bytes_that_are_not_utf8_are_replaced_and_the_rest_stays(void **state)
{
    static const char *const bad[] = {"\x80",         "\xc0\xaf",         "\xe0\x80\x80",
                                      "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff",
                                      "\xc3",         "\xe2\x82"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct buffer out = {0};
        char text[16];
        uint8_t *exact;
        json_t *back;

        (void)snprintf(text, sizeof(text), "a%s", bad[i]);
        exact = exact_copy(bytes_text(text));
        back = through(bytes_of(exact, strlen(text)), &out);
        assert_memory_equal(json_string_value(back), "a\xef\xbf\xbd", 4);
        json_decref(back);
        buffer_deinit(&out);
        free(exact);
    }
}

static void any_two_bytes_give_text_that_parses(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 65536; i++) {
        uint8_t text[2] = {(uint8_t)(i >> 8), (uint8_t)i};
        struct buffer out = {0};

        json_decref(through(bytes_of(text, 2), &out));
        buffer_deinit(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_and_arrays_get_their_commas),
        cmocka_unit_test(every_byte_of_valid_text_survives),
        cmocka_unit_test(bytes_that_are_not_utf8_are_replaced_and_the_rest_stays),
        cmocka_unit_test(any_two_bytes_give_text_that_parses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
