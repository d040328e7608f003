/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus stream: what the broker stores, for those who look after it. */
#include "cli/cli.h"
#include "cli/table.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

static const struct {
    enum cli_verb verb;
    const char *question;
} questions[] = {
    {VERB_STREAM_LIST, "streams"},
    {VERB_STREAM_SHOW, "streams"},
    {VERB_STREAM_PURGE, "purge"},
    {VERB_STREAM_FORGET, "forget"},
};

static json_int_t number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void put_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    text_write_escaped(stdout, text ? text : "-", strlen(text ? text : "-"));
}

static void print_stream(const json_t *stream)
{
    put_text(stream, "stream");
    (void)printf("  messages %" JSON_INTEGER_FORMAT "  bytes %" JSON_INTEGER_FORMAT
                 "  numbers %" JSON_INTEGER_FORMAT "..%" JSON_INTEGER_FORMAT "\n",
                 number(stream, "messages"), number(stream, "bytes"), number(stream, "first"),
                 number(stream, "last"));
}

static void print_reader(const json_t *reader)
{
    (void)printf("  reader ");
    put_text(reader, "component");
    (void)putchar('/');
    put_text(reader, "name");
    (void)printf("  of ");
    put_text(reader, "filter");
    (void)printf("  settled up to %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " beyond\n",
                 number(reader, "settled_up_to"), number(reader, "settled_beyond"));
}

static void print_dead(const json_t *dead)
{
    (void)printf("  dead %" JSON_INTEGER_FORMAT " ", number(dead, "number"));
    put_text(dead, "topic");
    (void)printf("  for ");
    put_text(dead, "component");
    (void)putchar('/');
    put_text(dead, "name");
    (void)printf("  after %" JSON_INTEGER_FORMAT ": ", number(dead, "attempts"));
    put_text(dead, "cause");
    (void)printf(" ");
    put_text(dead, "reason");
    (void)putchar('\n');
}

static void print_streams(const json_t *streams)
{
    size_t i, n;
    const json_t *stream, *row;

    json_array_foreach(streams, i, stream)
    {
        print_stream(stream);
        json_array_foreach(json_object_get(stream, "readers"), n, row) print_reader(row);
        json_array_foreach(json_object_get(stream, "dead"), n, row) print_dead(row);
    }
}

static void print_answer(const struct cli *cli, const json_t *answer)
{
    size_t i;
    const json_t *row;

    if (!cli->connect.is_json && json_is_array(answer)) {
        print_streams(answer);
    } else if (!cli->connect.is_json) {
        if (json_object_get(answer, "removed"))
            cli_note(cli, "%" JSON_INTEGER_FORMAT " messages deleted", number(answer, "removed"));
    } else if (json_is_array(answer)) {
        json_array_foreach(answer, i, row)
        {
            (void)json_dumpf(row, stdout, JSON_COMPACT);
            (void)putchar('\n');
        }
    } else {
        (void)json_dumpf(answer, stdout, JSON_COMPACT);
        (void)putchar('\n');
    }
}

int verb_stream(struct cli *cli)
{
    enum cli_verb verb = (enum cli_verb)(cli->command.verb - cli_program.verbs);
    const char *argument = cli->command.count > 0 ? cli->command.arguments[0] : "";
    const char *question = NULL;
    struct aico_error err = {0};
    char subject[320], *text = NULL;
    json_t *answer;
    int r;

    for (size_t i = 0; i < sizeof(questions) / sizeof(questions[0]); i++)
        if (questions[i].verb == verb)
            question = questions[i].question;
    if (cli->up_to > 0)
        (void)snprintf(subject, sizeof(subject), "%.255s %" PRIu64, argument, cli->up_to);
    else if (cli->queue)
        (void)snprintf(subject, sizeof(subject), "$%.64s\n%.64s", cli->queue, argument);
    else
        (void)snprintf(subject, sizeof(subject), "%.255s", argument);
    r = cli_connect(cli, &err);
    if (r == 0)
        r = aico_query(cli->client, question, subject, cli_timeout(cli), &text, &err);
    if (r < 0)
        return cli_fail(cli, r, &err);
    answer = json_loads(text, 0, NULL);
    free(text);
    if (!answer)
        return cli_fail(cli, AICO_EPROTO, NULL);
    print_answer(cli, answer);
    json_decref(answer);
    return 0;
}
