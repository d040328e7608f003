/* SPDX-License-Identifier: Apache-2.0 */
/* The backend's store and its answers, without a bus. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "backend/answers.h"
#include "backend/log_store.h"

struct fixture {
    char folder[64];
    char path[128];
    struct log_store *store;
    uint64_t next;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    (void)snprintf(f->folder, sizeof(f->folder), "/tmp/aico-logs-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->path, sizeof(f->path), "%s/state/backend/logs.db", f->folder);
    assert_int_equal(log_store_open(f->path, &f->store, NULL), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    static const char *const leftovers[] = {"state/backend/logs.db",
                                            "state/backend/logs.db-wal",
                                            "state/backend/logs.db-shm",
                                            "state/backend",
                                            "state",
                                            ""};

    log_store_close(&f->store);
    for (size_t i = 0; i < sizeof(leftovers) / sizeof(leftovers[0]); i++) {
        char path[192];

        (void)snprintf(path, sizeof(path), "%s/%s", f->folder, leftovers[i]);
        (void)remove(path);
    }
    free(f);
    return 0;
}

static void add_from(struct fixture *f, const char *sender, const char *topic, const void *payload,
                     size_t size)
{
    char *copy = malloc(size > 0 ? size : 1);
    struct aico_message message = {.kind = AICO_MESSAGE_EVENT,
                                   .topic = topic,
                                   .sender = sender,
                                   .payload = copy,
                                   .size = size,
                                   .sent_ms = 1700000000000,
                                   .sequence = f->next++};

    memcpy(copy, payload, size);
    assert_int_equal(log_store_add(f->store, &message, 1700000000000 + (int64_t)f->next, NULL), 0);
    free(copy);
}

static void add(struct fixture *f, const char *text)
{
    add_from(f, "cli", "logs/app/v1", text, strlen(text));
}

/* The answer to @question as JSON. */
static json_t *ask(struct fixture *f, const char *question)
{
    size_t size = strlen(question);
    char *copy = malloc(size > 0 ? size : 1), *text = NULL;
    json_t *answer;

    memcpy(copy, question, size);
    assert_int_equal(answer_log_query(f->store, copy, size, &text, NULL), 0);
    free(copy);
    answer = json_loads(text, 0, NULL);
    assert_non_null(answer);
    free(text);
    return answer;
}

static void assert_count(struct fixture *f, const char *question, int expected)
{
    json_t *answer = ask(f, question);
    json_t *count = json_object_get(answer, "count");

    if (!json_is_integer(count) || json_integer_value(count) != expected)
        fail_msg("%s: %s", question, json_dumps(answer, 0));
    json_decref(answer);
}

static void an_answer_counts_what_arrived_before_the_question(void **state)
{
    struct fixture *f = *state;

    add(f, "one");
    add(f, "two");
    assert_int_equal(log_store_pending(f->store), 2);
    assert_count(f, "{\"count_only\":true}", 2);
    assert_int_equal(log_store_pending(f->store), 0);
    assert_count(f, "", 2);
}

static void all_words_must_occur(void **state)
{
    struct fixture *f = *state;

    add(f, "status installed libc6:amd64 2.36");
    add(f, "status half-configured libc6:amd64 2.36");
    add(f, "startup packages configure");
    assert_count(f, "{\"text\":\"status\"}", 2);
    assert_count(f, "{\"text\":\"installed status\"}", 1);
    assert_count(f, "{\"text\":\"libc6:amd64\"}", 2);
    assert_count(f, "{\"text\":\"  \"}", 3);
    assert_count(f, "{\"text\":\"absent\"}", 0);
}

static void words_are_never_the_language_of_the_index(void **state)
{
    static const char *const texts[] = {"NEAR(", "AND",       "a AND",        "\\\"",  "*",
                                        "pay*",  "payload:x", "^x",           "{a b}", "x OR y",
                                        "- -",   "NOT",       "') DROP TABLE"};
    struct fixture *f = *state;

    add(f, "nothing of the kind");
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char question[80];

        (void)snprintf(question, sizeof(question), "{\"text\":\"%s\"}", texts[i]);
        assert_count(f, question, 0);
    }
    assert_count(f, "{}", 1);
}

static void sender_topic_and_time_restrict(void **state)
{
    struct fixture *f = *state;

    add_from(f, "cli", "logs/a/v1", "x", 1);
    add_from(f, "cli", "logs/a/b/v1", "x", 1);
    add_from(f, "ui", "logs/ab/v1", "x", 1);
    assert_count(f, "{\"sender\":\"cli\"}", 2);
    assert_count(f, "{\"topic\":\"logs/a/v1\"}", 1);
    assert_count(f, "{\"topic\":\"logs/a/**\"}", 2);
    assert_count(f, "{\"topic\":\"logs/a/**\",\"text\":\"x\",\"sender\":\"ui\"}", 0);
    assert_count(f, "{\"since_ms\":1700000000003}", 1);
}

static void pages_go_on_where_the_last_one_ended(void **state)
{
    struct fixture *f = *state;
    json_t *answer;
    const json_t *row;
    json_int_t last = 1;
    size_t i, seen = 0;

    for (int n = 0; n < 10; n++)
        add(f, "line");
    answer = ask(f, "{\"limit\":3}");
    row = json_array_get(json_object_get(answer, "rows"), 0);
    assert_int_equal(json_integer_value(json_object_get(row, "id")), 10); /* newest first */
    json_decref(answer);

    while (last < 10) {
        char question[80];

        (void)snprintf(question, sizeof(question),
                       "{\"after_id\":%lld,\"limit\":4,\"text\":\"line\"}", (long long)last);
        answer = ask(f, question);
        json_array_foreach(json_object_get(answer, "rows"), i, row)
        {
            assert_int_equal(json_integer_value(json_object_get(row, "id")), last + 1);
            last++;
            seen++;
        }
        json_decref(answer);
    }
    assert_int_equal(seen, 9);
}

static void a_message_is_stored_once(void **state)
{
    struct fixture *f = *state;

    add(f, "again");
    f->next--;
    add(f, "again");
    assert_count(f, "", 1);
    assert_count(f, "{\"text\":\"again\"}", 1);
    assert_int_equal(log_store_counters(f->store).duplicates, 1);
}

static void binary_payloads_come_back_whole_and_can_be_found(void **state)
{
    static const char binary[] = "\x0a\x07gateway\xff\x00middle";
    struct fixture *f = *state;
    json_t *answer;
    const json_t *row;

    add_from(f, "cli", "logs/app/v1", binary, sizeof(binary) - 1);
    add_from(f, "cli", "logs/app/v1", "", 0);
    answer = ask(f, "{\"text\":\"gateway middle\"}");
    assert_int_equal(json_integer_value(json_object_get(answer, "count")), 1);
    row = json_array_get(json_object_get(answer, "rows"), 0);
    assert_null(json_object_get(row, "payload"));
    assert_string_equal(json_string_value(json_object_get(row, "payload_base64")),
                        "CgdnYXRld2F5/wBtaWRkbGU=");
    json_decref(answer);
    assert_count(f, "", 2);
}

static void a_wrong_question_is_answered_with_its_mistake(void **state)
{
    static const char *const questions[] = {
        "[]",
        "nonsense",
        "{\"text\":5}",
        "{\"limit\":-1}",
        "{\"limit\":1001}",
        "{\"txet\":\"a\"}",
        "{\"limit\":1.5}",
        "{\"limit\":99999999999999999999}",
        "{\"text\":\"a\",\"text\":\"b\"}",
        "{\"count_only\":1}",
        "\xff",
        "{\"\xc3\xa9" /* cut */,
    };
    struct fixture *f = *state;
    char long_question[1200] = "{\"text\":\"";

    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++) {
        json_t *answer = ask(f, questions[i]);

        if (!json_is_string(json_object_get(answer, "error")))
            fail_msg("accepted: %s", questions[i]);
        json_decref(answer);
    }
    memset(long_question + 9, 'a', LOG_TEXT_MAX + 1);
    memcpy(long_question + 9 + LOG_TEXT_MAX + 1, "\"}", 3);
    json_decref(ask(f, long_question));
    memset(long_question, 0, sizeof(long_question));
    (void)strcpy(long_question, "{\"");
    for (size_t i = 0; i < 300; i += 2) /* an unknown name of two-byte characters */
        memcpy(long_question + 2 + i, "\xc3\xa9", 2);
    (void)strcat(long_question, "\":1}");
    json_decref(ask(f, long_question));
}

static void an_answer_stays_small_enough_to_send(void **state)
{
    struct fixture *f = *state;
    char *large = calloc(1, 200000);
    json_t *answer;

    memset(large, 'x', 199999);
    for (int i = 0; i < 10; i++)
        add(f, large);
    free(large);
    answer = ask(f, "{\"limit\":10}");
    assert_true(json_is_true(json_object_get(answer, "truncated")));
    assert_int_equal(json_integer_value(json_object_get(answer, "count")), 10);
    assert_in_range(json_array_size(json_object_get(answer, "rows")), 1, 3);
    json_decref(answer);
}

static void what_was_committed_survives_a_restart(void **state)
{
    struct fixture *f = *state;
    struct aico_message gap = {.kind = AICO_MESSAGE_GAP,
                               .topic = "logs/app/v1",
                               .sender = "cli",
                               .count = 7,
                               .code = AICO_EFULL};
    struct log_counters counters;

    add(f, "kept");
    assert_int_equal(log_store_add_loss(f->store, &gap, 1, NULL), 0);
    assert_int_equal(log_store_commit(f->store, NULL), 0);
    add(f, "lost");
    log_store_close(&f->store);
    assert_int_equal(log_store_open(f->path, &f->store, NULL), 0);
    counters = log_store_counters(f->store);
    assert_int_equal(counters.stored, 1);
    assert_int_equal(counters.gaps, 7);
    assert_true(counters.bytes > 0);
}

static void a_file_of_another_program_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct log_store *other = NULL;
    char path[160];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/state/other", f->folder);
    file = fopen(path, "w");
    assert_non_null(file);
    for (int i = 0; i < 200; i++)
        (void)fputs("this is not a database\n", file);
    (void)fclose(file);
    assert_int_equal(log_store_open(path, &other, NULL), AICO_ECONFIG);
    assert_null(other);
    (void)remove(path);
}

static void assert_said(struct fixture *f, const char *line, const char *expected)
{
    char *text = NULL;

    assert_int_equal(answer_conversation(f->store, line, strlen(line), &text, NULL), 0);
    if (!strstr(text, expected))
        fail_msg("%s: %s", line, text);
    free(text);
}

static void the_conversation_is_answered_in_a_line(void **state)
{
    struct fixture *f = *state;

    add(f, "disk is full");
    add(f, "disk is fine");
    assert_said(f, "/count\n", "2 log lines");
    assert_said(f, "disk", "2 log lines match");
    assert_said(f, "full", "1 log line matches");
    assert_said(f, "/find fine", "disk is fine");
    assert_said(f, "/help", "/find WORDS");
    assert_said(f, "", "/find WORDS");
    assert_said(f, "/frob", "unknown command");
    assert_said(f, "\xff\xfe", "no line of text");
}

static void the_status_is_json(void **state)
{
    struct fixture *f = *state;
    struct backend_numbers numbers = {.name = "backend", .received = 3, .uptime_ms = 1500};
    char *text;
    json_t *status;

    add(f, "x");
    text = answer_status(f->store, &numbers);
    status = json_loads(text, 0, NULL);
    assert_non_null(status);
    assert_int_equal(json_integer_value(json_object_get(status, "received")), 3);
    assert_int_equal(json_integer_value(json_object_get(status, "stored")), 0);
    assert_int_equal(json_integer_value(json_object_get(status, "pending")), 1);
    assert_string_equal(json_string_value(json_object_get(status, "component")), "backend");
    json_decref(status);
    free(text);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_answer_counts_what_arrived_before_the_question),
        TEST(all_words_must_occur),
        TEST(words_are_never_the_language_of_the_index),
        TEST(sender_topic_and_time_restrict),
        TEST(pages_go_on_where_the_last_one_ended),
        TEST(a_message_is_stored_once),
        TEST(binary_payloads_come_back_whole_and_can_be_found),
        TEST(a_wrong_question_is_answered_with_its_mistake),
        TEST(an_answer_stays_small_enough_to_send),
        TEST(what_was_committed_survives_a_restart),
        TEST(a_file_of_another_program_is_left_alone),
        TEST(the_conversation_is_answered_in_a_line),
        TEST(the_status_is_json),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
