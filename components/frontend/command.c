/* SPDX-License-Identifier: Apache-2.0 */
/* Commands of the frontend. Each writes its result as text; the caller prints and keeps it. */
#include "frontend/command.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/moment.h"
#include "common/text.h"
#include "frontend/filter.h"

#define TOPIC_SAY "conversation/user/input/v1"
#define TOPIC_QUERY "logs/query/v1"
#define QUERY_ROWS 10
#define WAIT_MS 5000

static void write_time(FILE *to, int64_t ms)
{
    char text[32];
    time_t seconds = (time_t)(ms / 1000);
    struct tm local;

    if (localtime_r(&seconds, &local) && strftime(text, sizeof(text), "%F %T", &local) > 0)
        (void)fputs(text, to);
}

static int on_say(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                  struct aico_error *err)
{
    int r = aico_publish(session->client, TOPIC_SAY, text, strlen(text), NULL, NULL, err);

    (void)outcome;
    if (r == 0)
        r = aico_flush(session->client, session->timeout_ms, err);
    if (r == 0) {
        (void)fprintf(to, "%s: ", aico_client_name(session->client));
        text_write_escaped(to, text, strlen(text));
        (void)fputc('\n', to);
    }
    return r;
}

/* Asks the log collector; its answer as a JSON object the caller releases. */
static int ask(struct session *session, const char *text, bool is_count_only, json_t **ret_answer,
               struct aico_error *err)
{
    json_t *question = json_pack("{s:s, s:i, s:b}", "text", text, "limit", QUERY_ROWS, "count_only",
                                 (int)is_count_only);
    char *line = question ? json_dumps(question, JSON_COMPACT) : NULL;
    struct aico_message *reply = NULL;
    json_error_t where;
    json_t *answer = NULL;
    int r;

    json_decref(question);
    if (!line)
        return aico_error_set(err, AICO_EINVAL, "that is not UTF-8");
    r = aico_request(session->client, TOPIC_QUERY, line, strlen(line), session->timeout_ms, &reply,
                     err);
    free(line);
    if (r < 0)
        return r;

    answer = json_loadb(reply->payload, reply->size, 0, &where);
    aico_message_free(&reply);
    if (json_is_string(json_object_get(answer, "error")))
        r = aico_error_set(err, AICO_EINVAL, "%s",
                           json_string_value(json_object_get(answer, "error")));
    else if (!json_is_integer(json_object_get(answer, "count")))
        r = aico_error_set(err, AICO_EPROTO, "the answer to a log query is not understood");
    if (r < 0) {
        json_decref(answer);
        return r;
    }
    *ret_answer = answer;
    return 0;
}

static int on_count(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                    struct aico_error *err)
{
    json_t *answer = NULL;
    int r = ask(session, text, true, &answer, err);

    (void)outcome;
    if (r == 0)
        (void)fprintf(to, "%" JSON_INTEGER_FORMAT "\n",
                      json_integer_value(json_object_get(answer, "count")));
    json_decref(answer);
    return r;
}

static void write_row(const json_t *row, FILE *to)
{
    const json_t *payload = json_object_get(row, "payload");
    const char *topic = json_string_value(json_object_get(row, "topic"));
    const char *sender = json_string_value(json_object_get(row, "sender"));

    (void)fputs("  ", to);
    write_time(to, json_integer_value(json_object_get(row, "received_ms")));
    (void)fprintf(to, " %s %s ", topic ? topic : "?", sender ? sender : "?");
    if (json_is_string(payload))
        text_write_escaped(to, json_string_value(payload), json_string_length(payload));
    else
        (void)fputs("(binary)", to);
    (void)fputc('\n', to);
}

static int on_query(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                    struct aico_error *err)
{
    json_t *answer = NULL;
    const json_t *row;
    size_t i;
    int r = ask(session, text, false, &answer, err);

    (void)outcome;
    if (r < 0)
        return r;
    (void)fprintf(to, "%" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT " log lines match\n",
                  json_integer_value(json_object_get(answer, "count")),
                  json_integer_value(json_object_get(answer, "total")));
    json_array_foreach(json_object_get(answer, "rows"), i, row) write_row(row, to);
    json_decref(answer);
    return 0;
}

static int on_who(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                  struct aico_error *err)
{
    int r = session_take(session, err);

    (void)text;
    (void)outcome;
    for (size_t i = 0; i < session->people_count; i++) {
        const struct person *person = &session->people[i];

        if (!person->is_online)
            continue;
        (void)fprintf(to, "%-20s since ", person->name);
        write_time(to, person->since_ms);
        (void)fputc('\n', to);
    }
    return r;
}

static int on_topics(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                     struct aico_error *err)
{
    (void)text;
    (void)outcome;
    (void)err;
    for (size_t i = 0; i < session->filter_count; i++)
        (void)fprintf(to, "%s\n", session->filters[i]);
    return 0;
}

static int on_sub(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                  struct aico_error *err)
{
    int r = session_subscribe(session, text, err);

    (void)outcome;
    if (r == 0)
        (void)fprintf(to, "subscribed to %s\n", text);
    return r;
}

/* Takes the oldest message under @filter out of the inbox; NULL when there is none. */
static struct aico_message *take_from_inbox(struct session *session, const char *filter)
{
    for (size_t i = 0; i < session->inbox_count; i++) {
        struct aico_message *message = session->inbox[i];

        if (!filter_matches(filter, message->topic))
            continue;
        session->inbox_count--;
        memmove(session->inbox + i, session->inbox + i + 1,
                (session->inbox_count - i) * sizeof(*session->inbox));
        return message;
    }
    return NULL;
}

/* A topic nobody subscribed yet is subscribed now; what was said before is missed. */
static int see_to(struct session *session, const char *filter, struct aico_error *err)
{
    for (size_t i = 0; i < session->filter_count; i++)
        if (filter_matches(session->filters[i], filter))
            return 0;
    return session_subscribe(session, filter, err);
}

static int on_wait(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                   struct aico_error *err)
{
    size_t size = strcspn(text, " \t");
    const char *seconds = text + size + strspn(text + size, " \t");
    struct aico_message *message = NULL;
    uint64_t wait_s = WAIT_MS / 1000;
    char *filter;
    int64_t until_ms;
    int r;

    if (*seconds && !text_number(seconds, 0, 86400, &wait_s))
        return aico_error_set(err, AICO_EINVAL, "wait: \"%.20s\" is no number of seconds", seconds);
    filter = strndup(text, size);
    if (!filter)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");

    until_ms = steady_ms() + (int64_t)wait_s * 1000;
    for (r = see_to(session, filter, err); r == 0; r = session_wait(session, until_ms, err)) {
        r = session_take(session, err);
        message = take_from_inbox(session, filter);
        if (message || r < 0)
            break;
    }
    if (message) {
        text_write_escaped(to, message->topic, strlen(message->topic));
        (void)fprintf(to, " %s ", message->sender);
        text_write_escaped(to, message->payload, message->size);
        (void)fputc('\n', to);
        aico_message_free(&message);
        r = 0;
    } else if (r == AICO_ETIMEOUT) {
        *outcome = OUTCOME_UNMET;
        (void)aico_error_set(err, AICO_ETIMEOUT, "nothing came on %s in %" PRIu64 " s", filter,
                             wait_s);
        r = 0;
    }
    free(filter);
    return r;
}

static int on_expect(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                     struct aico_error *err)
{
    (void)to;
    if (session->result && strstr(session->result, text))
        return 0;
    *outcome = OUTCOME_UNMET;
    (void)aico_error_set(err, AICO_ENOTFOUND, "expected \"%.100s\" in \"%.200s\"", text,
                         session->result ? session->result : "");
    return 0;
}

static int on_quit(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                   struct aico_error *err)
{
    (void)session;
    (void)text;
    (void)to;
    (void)err;
    *outcome = OUTCOME_QUIT;
    return 0;
}

static int on_help(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                   struct aico_error *err);

static const struct command_entry {
    const char *name;
    const char *argument; /* "" none; in [] may be missing */
    const char *help;
    int (*run)(struct session *, const char *argument, FILE *to, enum outcome *,
               struct aico_error *);
} commands[] = {
    {"say", "TEXT", "speak in the conversation", on_say},
    {"query", "TEXT", "log lines with all of these words, newest first", on_query},
    {"count", "[TEXT]", "how many log lines there are with all of these words", on_count},
    {"who", "", "who is here", on_who},
    {"topics", "", "the filters that are watched", on_topics},
    {"sub", "FILTER", "watch more topics", on_sub},
    {"wait", "FILTER [SECONDS]", "wait for the next message there (scripts)", on_wait},
    {"expect", "TEXT", "the last result must contain TEXT (scripts)", on_expect},
    {"help", "", "this list", on_help},
    {"quit", "", "leave", on_quit},
};

static int on_help(struct session *session, const char *text, FILE *to, enum outcome *outcome,
                   struct aico_error *err)
{
    (void)session;
    (void)text;
    (void)outcome;
    (void)err;
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        (void)fprintf(to, "%-7s%-17s %s\n", commands[i].name, commands[i].argument,
                      commands[i].help);
    return 0;
}

static const struct command_entry *find(const char *name, size_t size)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strlen(commands[i].name) == size && strncmp(commands[i].name, name, size) == 0)
            return &commands[i];
    return NULL;
}

int command_run(struct session *session, const char *line, enum outcome *ret_outcome,
                struct aico_error *err)
{
    size_t name_size = strcspn(line, " \t");
    const char *argument = line + name_size + strspn(line + name_size, " \t");
    const struct command_entry *entry = find(line, name_size);
    enum outcome outcome = OUTCOME_DONE;
    char *result = NULL;
    size_t size = 0;
    FILE *to;
    int r;

    if (!entry)
        return aico_error_set(err, AICO_EINVAL, "unknown command \"%.*s\"; try help",
                              name_size > 20 ? 20 : (int)name_size, line);
    if (!*argument && *entry->argument && *entry->argument != '[')
        return aico_error_set(err, AICO_EINVAL, "%s needs %s", entry->name, entry->argument);

    to = open_memstream(&result, &size);
    if (!to)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = entry->run(session, argument, to, &outcome, err);
    (void)fclose(to);
    if (r < 0 || size == 0) { /* what "expect" looks into stays */
        free(result);
    } else {
        (void)fputs(result, stdout);
        free(session->result);
        session->result = result;
    }
    (void)fflush(stdout);
    if (r == 0)
        *ret_outcome = outcome;
    return r;
}
