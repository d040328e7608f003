/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus top: what happened between two answers of the broker, and in which order it is shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/top.h"

static json_t *parse(const char *text)
{
    json_error_t where;
    json_t *value = json_loads(text, 0, &where);

    assert_non_null(value);
    return value;
}

static void sample_of(struct top_sample *ret, const char *status, const char *peers,
                      const char *topics, int64_t at_ms, const struct top_sample *former)
{
    assert_int_equal(
        top_sample_init(ret, parse(status), parse(peers), parse(topics), at_ms, former), 0);
}

static double real_of(const json_t *row, const char *member)
{
    const json_t *value = json_object_get(row, member);

    assert_true(json_is_real(value));
    return json_real_value(value);
}

static void rates_are_over_the_time_between(void **state)
{
    struct top_sample first, second;

    (void)state;
    sample_of(&first, "{\"uptime_s\":100,\"published\":10}",
              "[{\"name\":\"a\",\"published\":10,\"bytes_in\":1000}]",
              "[{\"topic\":\"t\",\"messages\":10}]", 1000, NULL);
    assert_true(first.seconds == 0);
    assert_true(real_of(first.status, "published_s") == 0);
    assert_true(real_of(json_array_get(first.rows[TOP_PEERS], 0), "published_s") == 0);

    sample_of(&second, "{\"uptime_s\":102,\"published\":16}",
              "[{\"name\":\"new\",\"published\":4,\"bytes_in\":0},"
              "{\"name\":\"a\",\"published\":12,\"bytes_in\":3000}]",
              "[{\"topic\":\"t\",\"messages\":11},{\"topic\":\"u\",\"messages\":5}]", 3000, &first);
    assert_true(second.seconds == 2);
    assert_true(real_of(second.status, "published_s") == 3);
    assert_true(real_of(json_array_get(second.rows[TOP_PEERS], 0), "published_s") == 2);
    assert_true(real_of(json_array_get(second.rows[TOP_PEERS], 1), "published_s") == 1);
    assert_true(real_of(json_array_get(second.rows[TOP_PEERS], 1), "bytes_in_s") == 1000);
    assert_true(real_of(json_array_get(second.rows[TOP_TOPICS], 0), "messages_s") == 0.5);
    assert_true(real_of(json_array_get(second.rows[TOP_TOPICS], 1), "messages_s") == 2.5);
    top_sample_deinit(&first);
    top_sample_deinit(&second);
}

/* Counters of another session, or another broker, began at 0. */
static void what_began_anew_is_never_negative(void **state)
{
    struct top_sample first, second;

    (void)state;
    sample_of(&first, "{\"uptime_s\":100,\"published\":50}", "[{\"name\":\"a\",\"published\":50}]",
              "[]", 1000, NULL);
    sample_of(&second, "{\"uptime_s\":4,\"published\":8}", "[{\"name\":\"a\",\"published\":8}]",
              "[]", 11000, &first);
    assert_true(second.seconds == 4); /* this broker has run no longer */
    assert_true(real_of(second.status, "published_s") == 2);
    assert_true(real_of(json_array_get(second.rows[TOP_PEERS], 0), "published_s") == 2);
    top_sample_deinit(&first);
    top_sample_deinit(&second);
}

static void slow_readers_are_those_with_something_waiting_or_lost(void **state)
{
    struct top_order by_bytes = {.column = 1};
    struct top_sample sample;
    json_t *rows;

    (void)state;
    sample_of(&sample, "{\"uptime_s\":1}",
              "[{\"name\":\"fast\",\"queued_bytes\":0,\"dropped\":0},"
              "{\"name\":\"lost\",\"queued_bytes\":0,\"dropped\":1},"
              "{\"name\":\"full\",\"queued_bytes\":50,\"dropped\":0,\"limits\":["
              "{\"key\":\"max_requests\",\"limit\":10,\"used\":10},"
              "{\"key\":\"outbox_limit\",\"limit\":200,\"used\":50}]}]",
              "[]", 1000, NULL);
    rows = top_sorted(&sample, TOP_SLOW, &by_bytes);
    assert_int_equal(json_array_size(rows), 2);
    assert_string_equal(json_string_value(json_object_get(json_array_get(rows, 0), "name")),
                        "full");
    assert_true(real_of(json_array_get(rows, 0), "full") == 25);
    json_decref(rows);
    top_sample_deinit(&sample);
}

static void losses_have_a_row_for_each_cause(void **state)
{
    struct top_sample first, second;
    json_t *row;

    (void)state;
    sample_of(&first, "{\"uptime_s\":1,\"dropped\":{\"drop-old\":3}}", "[]", "[]", 1000, NULL);
    sample_of(&second,
              "{\"uptime_s\":2,\"dropped\":{\"drop-old\":5,\"revoked\":0},"
              "\"refused\":{\"E_DENIED\":1},\"expired\":2,\"gaps\":0}",
              "[]", "[]", 2000, &first);
    assert_int_equal(json_array_size(second.rows[TOP_LOSSES]), 3);
    row = json_array_get(second.rows[TOP_LOSSES], 0);
    assert_string_equal(json_string_value(json_object_get(row, "cause")), "drop-old");
    assert_true(real_of(row, "count_s") == 2);
    top_sample_deinit(&first);
    top_sample_deinit(&second);
}

static void names_in_order(const struct top_sample *sample, const struct top_order *order,
                           const char *expected)
{
    json_t *rows = top_sorted(sample, TOP_PEERS, order);
    char names[64] = "";

    for (size_t i = 0; i < json_array_size(rows); i++)
        strcat(names, json_string_value(json_object_get(json_array_get(rows, i), "name")));
    assert_string_equal(names, expected);
    json_decref(rows);
}

static void numbers_come_from_the_greatest_and_equal_ones_by_name(void **state)
{
    struct top_order order = {0};
    struct top_sample sample;

    (void)state;
    sample_of(&sample, "{\"uptime_s\":1}",
              "[{\"name\":\"c\",\"queued\":1},{\"name\":\"a\",\"queued\":1},"
              "{\"name\":\"d\",\"queued\":7},{\"name\":\"b\",\"queued\":3}]",
              "[]", 1000, NULL);
    names_in_order(&sample, &order, "abcd");
    order.is_reversed = true;
    names_in_order(&sample, &order, "dcba");
    assert_true(top_find_column(TOP_PEERS, "waiting", &order.column));
    names_in_order(&sample, &order, "acbd");
    order.is_reversed = false;
    names_in_order(&sample, &order, "dbac");
    assert_false(top_find_column(TOP_PEERS, "nothing", &order.column));
    top_sample_deinit(&sample);
}

static void an_answer_of_another_kind_is_refused(void **state)
{
    static const char *const bad[][3] = {
        {"[]", "[]", "[]"}, {"{}", "{}", "[]"}, {"{}", "[]", "1"}, {"null", "[]", "[]"}};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct top_sample sample = {0};
        json_error_t where;

        assert_int_equal(top_sample_init(&sample, json_loads(bad[i][0], JSON_DECODE_ANY, &where),
                                         json_loads(bad[i][1], JSON_DECODE_ANY, &where),
                                         json_loads(bad[i][2], JSON_DECODE_ANY, &where), 1, NULL),
                         AICO_EPROTO);
        assert_null(sample.status);
    }
}

static void sizes_are_short(void **state)
{
    static const struct {
        double bytes;
        const char *text;
    } cases[] = {{0, "0"},         {1023, "1023"},        {1024, "1.0K"},
                 {1536, "1.5K"},   {1048576, "1.0M"},     {5.5 * 1073741824, "5.5G"},
                 {1.2e18, "1.0E"}, {1.2e24, "1040834.1E"}};
    char text[16];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cli_size_text(cases[i].bytes, text, sizeof(text));
        assert_string_equal(text, cases[i].text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_over_the_time_between),
        cmocka_unit_test(what_began_anew_is_never_negative),
        cmocka_unit_test(slow_readers_are_those_with_something_waiting_or_lost),
        cmocka_unit_test(losses_have_a_row_for_each_cause),
        cmocka_unit_test(numbers_come_from_the_greatest_and_equal_ones_by_name),
        cmocka_unit_test(an_answer_of_another_kind_is_refused),
        cmocka_unit_test(sizes_are_short),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
