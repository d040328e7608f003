/* SPDX-License-Identifier: Apache-2.0 */
/* The backend's answers: log queries, status, conversation. */
#include "backend/answers.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

#define ROWS_DEFAULT 20
#define ROWS_BYTES_MAX ((size_t)512 * 1024) /* of payloads in one answer */
#define CONVERSATION_ROWS 3
#define CONVERSATION_LINE_MAX 300

/* One member of the question: its JSON type is checked here, its meaning by the store. */
static const struct member {
    const char *name;
    enum { MEMBER_TEXT, MEMBER_NUMBER, MEMBER_FLAG } type;
} members[] = {
    {"text", MEMBER_TEXT},       {"sender", MEMBER_TEXT},     {"topic", MEMBER_TEXT},
    {"since_ms", MEMBER_NUMBER}, {"after_id", MEMBER_NUMBER}, {"limit", MEMBER_NUMBER},
    {"count_only", MEMBER_FLAG},
};

static bool type_fits(const struct member *member, const json_t *value)
{
    if (json_is_null(value))
        return true;
    if (member->type == MEMBER_TEXT)
        return json_is_string(value);
    if (member->type == MEMBER_FLAG)
        return json_is_boolean(value);
    return json_is_integer(value) && json_integer_value(value) >= 0;
}

/* NULL when every member is known and of its type, else what is wrong, in @text. */
static const char *find_mistake(json_t *question, char *text, size_t size)
{
    const char *name;
    json_t *value;

    if (!json_is_object(question))
        return "the question must be a JSON object";

    json_object_foreach(question, name, value)
    {
        const struct member *member = NULL;

        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
            if (strcmp(members[i].name, name) == 0)
                member = &members[i];
        if (!member) /* a cut name might end inside a character: the long ones are not repeated */
            (void)snprintf(text, size, "unknown member%s%s", strlen(name) <= 40 ? " " : "",
                           strlen(name) <= 40 ? name : "");
        else if (!type_fits(member, value))
            (void)snprintf(text, size, "\"%s\" must be a %s", name,
                           member->type == MEMBER_TEXT     ? "string"
                           : member->type == MEMBER_NUMBER ? "number, 0 or more"
                                                           : "true or false");
        else
            continue;
        return text;
    }
    if (json_integer_value(json_object_get(question, "limit")) > LOG_LIMIT_MAX) {
        (void)snprintf(text, size, "\"limit\" is at most %d", LOG_LIMIT_MAX);
        return text;
    }
    return NULL;
}

static struct log_query query_of(json_t *question)
{
    struct log_query query = {
        .text = json_string_value(json_object_get(question, "text")),
        .sender = json_string_value(json_object_get(question, "sender")),
        .topic = json_string_value(json_object_get(question, "topic")),
        .since_ms = json_integer_value(json_object_get(question, "since_ms")),
        .after_id = json_integer_value(json_object_get(question, "after_id")),
        .limit = ROWS_DEFAULT,
    };

    if (json_is_integer(json_object_get(question, "limit")))
        query.limit = (int)json_integer_value(json_object_get(question, "limit"));
    if (json_is_true(json_object_get(question, "count_only")))
        query.limit = 0;
    return query;
}

struct rows {
    json_t *array;
    size_t bytes;
    bool is_truncated;
};

static bool add_row(void *context, const struct log_row *row)
{
    struct rows *rows = context;
    json_t *object;

    rows->bytes += row->size + 200;
    if (rows->bytes > ROWS_BYTES_MAX && json_array_size(rows->array) > 0) {
        rows->is_truncated = true;
        return false;
    }
    object =
        json_pack("{s:I, s:s, s:s, s:I, s:I, s:I}", "id", (json_int_t)row->id, "sender",
                  row->sender, "topic", row->topic, "sequence", (json_int_t)row->sequence,
                  "sent_ms", (json_int_t)row->sent_ms, "received_ms", (json_int_t)row->received_ms);
    if (text_is_utf8(row->payload, row->size)) {
        (void)json_object_set_new(object, "payload", json_stringn(row->payload, row->size));
    } else {
        char *encoded = text_base64(row->payload, row->size);

        (void)json_object_set_new(object, "payload_base64", json_string(encoded ? encoded : ""));
        free(encoded);
    }
    (void)json_array_append_new(rows->array, object);
    return true;
}

/* The text of @object, which is released. NULL only when out of memory. */
static char *dump(json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;

    json_decref(object);
    return text;
}

static int hand_over(char *text, char **ret, struct aico_error *err)
{
    if (!text)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    *ret = text;
    return 0;
}

int answer_log_query(struct log_store *store, const void *question, size_t size, char **ret_json,
                     struct aico_error *err)
{
    char mistake_text[120];
    json_error_t where;
    json_t *parsed =
        size == 0 ? json_object() : json_loadb(question, size, JSON_REJECT_DUPLICATES, &where);
    const char *mistake = parsed ? find_mistake(parsed, mistake_text, sizeof(mistake_text))
                                 : "the question is not JSON";
    struct rows rows = {0};
    struct log_query query;
    uint64_t count = 0;
    json_t *answer;
    int r;

    if (mistake) {
        json_decref(parsed);
        return hand_over(dump(json_pack("{s:s}", "error", mistake)), ret_json, err);
    }

    rows.array = json_array();
    query = query_of(parsed);
    r = log_store_query(store, &query, add_row, &rows, &count, err);
    json_decref(parsed);
    if (r < 0) {
        json_decref(rows.array);
        if (r == AICO_EINVAL)
            return hand_over(dump(json_pack("{s:s}", "error", err ? err->text : "refused")),
                             ret_json, err);
        return r;
    }

    answer = json_pack("{s:I, s:I, s:o}", "count", (json_int_t)count, "total",
                       (json_int_t)log_store_counters(store).stored, "rows", rows.array);
    if (answer && rows.is_truncated)
        (void)json_object_set_new(answer, "truncated", json_true());
    return hand_over(dump(answer), ret_json, err);
}

char *answer_status(const struct log_store *store, const struct backend_numbers *numbers)
{
    struct log_counters counters = log_store_counters(store);

    return dump(json_pack(
        "{s:s, s:s, s:I, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "component",
        numbers->name, "version", AICO_VERSION, "started_ms", (json_int_t)numbers->started_ms,
        "uptime_s", (double)numbers->uptime_ms / 1000, "received", (json_int_t)numbers->received,
        "stored", (json_int_t)counters.stored, "pending", (json_int_t)counters.pending,
        "duplicates", (json_int_t)counters.duplicates, "gaps", (json_int_t)counters.gaps,
        "unopened", (json_int_t)counters.unopened, "db_bytes", (json_int_t)counters.bytes,
        "questions", (json_int_t)numbers->questions, "reconnects",
        (json_int_t)numbers->reconnects));
}

/* Adds the beginning of a row's payload, as a line of its own, to an open memory stream. */
static bool add_line(void *context, const struct log_row *row)
{
    FILE *to = context;
    size_t size = row->size < CONVERSATION_LINE_MAX ? row->size : CONVERSATION_LINE_MAX;

    (void)fprintf(to, "\n  %s %s ", row->topic, row->sender);
    text_write_escaped(to, row->payload, size);
    if (size < row->size)
        (void)fputs("...", to);
    return true;
}

/* "words" or "/find words" into @to: how many log lines hold them, and the newest of those. */
static int find_words(struct log_store *store, const char *words, int limit, FILE *to,
                      struct aico_error *err)
{
    char *lines = NULL;
    size_t size = 0;
    FILE *list = open_memstream(&lines, &size);
    struct log_query query = {.text = words, .limit = limit};
    uint64_t count = 0;
    int r;

    if (!list)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = log_store_query(store, &query, add_line, list, &count, err);
    (void)fclose(list);
    if (r == 0)
        (void)fprintf(to, "%llu log %s \"%s\"%s", (unsigned long long)count,
                      count == 1 ? "line matches" : "lines match", words, lines ? lines : "");
    free(lines);
    return r;
}

static int converse(struct log_store *store, const char *line, FILE *to, struct aico_error *err)
{
    int r;

    line += strspn(line, " \t\r\n");
    if (strcmp(line, "/help") == 0 || line[0] == '\0') {
        (void)fputs("/count: how many log lines are stored; /find WORDS: the newest lines with all "
                    "of these words; or just words, to count them",
                    to);
        return 0;
    }
    if (strcmp(line, "/count") == 0) {
        r = log_store_commit(store, err);
        if (r == 0)
            (void)fprintf(to, "%llu log lines stored",
                          (unsigned long long)log_store_counters(store).stored);
        return r;
    }
    if (strncmp(line, "/find ", 6) == 0)
        return find_words(store, line + 6, CONVERSATION_ROWS, to, err);
    if (line[0] == '/') {
        (void)fputs("unknown command; try /help", to);
        return 0;
    }
    return find_words(store, line, 0, to, err);
}

int answer_conversation(struct log_store *store, const void *line, size_t size, char **ret_text,
                        struct aico_error *err)
{
    char *text = NULL, *copy;
    size_t text_size = 0;
    FILE *to;
    int r;

    if (size > LOG_TEXT_MAX || !text_is_utf8(line, size))
        return hand_over(strdup("that is no line of text I can look for; try /help"), ret_text,
                         err);

    copy = strndup(line, size);
    to = open_memstream(&text, &text_size);
    if (!copy || !to) {
        free(copy);
        if (to)
            (void)fclose(to);
        free(text);
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    while (size > 0 && strchr(" \t\r\n", copy[size - 1]))
        copy[--size] = '\0';
    r = converse(store, copy, to, err);
    (void)fclose(to);
    free(copy);
    if (r < 0) {
        free(text);
        return r;
    }
    return hand_over(text, ret_text, err);
}
