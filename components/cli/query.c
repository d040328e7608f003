/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus status, peers, topics, ping: looking around. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"

#define COLUMNS_MAX 12
#define CELL_SIZE 128
#define PINGS 3

static const struct cli_column peer_columns[] = {
    {"name", "NAME"},          {"address", "ADDRESS"},     {"software", "SOFTWARE"},
    {"subscriptions", "SUBS"}, {"published", "PUBLISHED"}, {"delivered", "DELIVERED"},
    {"queued", "QUEUED"},      {"dropped", "DROPPED"},     {NULL, NULL},
};

static const struct cli_column topic_columns[] = {
    {"topic", "TOPIC"}, {"rule", "RULE"},       {"messages", "MESSAGES"},
    {"bytes", "BYTES"}, {"readers", "READERS"}, {NULL, NULL},
};

static const struct cli_column slow_columns[] = {
    {"name", "SLOW READER"},        {"queued_bytes", "BYTES WAITING"},
    {"queued", "MESSAGES WAITING"}, {"dropped", "DROPPED"},
    {"address", "ADDRESS"},         {NULL, NULL},
};

/* A value as text for people; an object counts the sum of its numbers ("dropped" by cause). */
static void text_of(const json_t *value, char *to, size_t size)
{
    json_int_t sum = 0;
    const char *name;
    json_t *member;

    to[0] = '\0';
    if (json_is_string(value))
        (void)snprintf(to, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        (void)snprintf(to, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        (void)snprintf(to, size, "%.3f", json_real_value(value));
    else if (json_is_boolean(value))
        (void)snprintf(to, size, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_array(value))
        (void)snprintf(to, size, "%zu", json_array_size(value));
    else if (json_is_object(value)) {
        json_object_foreach((json_t *)(uintptr_t)value, name, member) sum +=
            json_integer_value(member);
        (void)snprintf(to, size, "%" JSON_INTEGER_FORMAT, sum);
    }
    if (to[0] == '\0')
        (void)snprintf(to, size, "-");
}

static void print_cell(const char *text, int width, bool is_number)
{
    int padding = width - (int)strlen(text);

    if (is_number)
        (void)printf("%*s", padding > 0 ? padding : 0, "");
    text_write_escaped(stdout, text, strlen(text));
    if (!is_number)
        (void)printf("%*s", padding > 0 ? padding : 0, "");
}

void cli_print_table(const json_t *rows, const struct cli_column *columns)
{
    int widths[COLUMNS_MAX] = {0};
    bool numbers[COLUMNS_MAX] = {false};
    char cell[CELL_SIZE];
    const json_t *row;
    size_t i;

    for (size_t c = 0; columns[c].member; c++)
        widths[c] = (int)strlen(columns[c].title);
    json_array_foreach(rows, i, row)
    {
        for (size_t c = 0; columns[c].member; c++) {
            const json_t *value = json_object_get(row, columns[c].member);

            text_of(value, cell, sizeof(cell));
            if ((int)strlen(cell) > widths[c])
                widths[c] = (int)strlen(cell);
            numbers[c] = numbers[c] || json_is_number(value) || json_is_object(value);
        }
    }

    for (size_t c = 0; columns[c].member; c++) {
        print_cell(columns[c].title, columns[c + 1].member ? widths[c] : 0, numbers[c]);
        (void)fputs(columns[c + 1].member ? "  " : "\n", stdout);
    }
    json_array_foreach(rows, i, row)
    {
        for (size_t c = 0; columns[c].member; c++) {
            bool is_last = !columns[c + 1].member;

            text_of(json_object_get(row, columns[c].member), cell, sizeof(cell));
            print_cell(cell, is_last && !numbers[c] ? 0 : widths[c], numbers[c]);
            (void)fputs(is_last ? "\n" : "  ", stdout);
        }
    }
}

/* Members as lines; those of an object inside under "outer.inner". */
static void print_members(json_t *object, const char *prefix)
{
    char cell[CELL_SIZE], label[CELL_SIZE];
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        (void)snprintf(label, sizeof(label), "%s%s%s", prefix, *prefix ? "." : "", name);
        if (json_is_array(value))
            continue; /* a table of its own, or for --json */
        if (json_is_object(value) && !*prefix) {
            print_members(value, name);
            continue;
        }
        text_of(value, cell, sizeof(cell));
        print_cell(label, 28, false);
        (void)putchar(' ');
        text_write_escaped(stdout, cell, strlen(cell));
        (void)putchar('\n');
    }
}

void cli_print_line(const json_t *value)
{
    (void)json_dumpf(value, stdout, JSON_COMPACT);
    (void)putchar('\n');
}

static void print_answer(const struct cli *cli, json_t *answer)
{
    const json_t *row;
    size_t i;

    if (cli->connect.is_json && json_is_array(answer)) {
        json_array_foreach(answer, i, row) cli_print_line(row);
    } else if (cli->connect.is_json) {
        cli_print_line(answer);
    } else if (json_is_array(answer)) {
        cli_print_table(answer, strcmp(cli->command.verb->name, "peers") == 0 ? peer_columns
                                                                              : topic_columns);
    } else {
        print_members(answer, "");
        if (json_array_size(json_object_get(answer, "slow")) > 0) {
            (void)putchar('\n');
            cli_print_table(json_object_get(answer, "slow"), slow_columns);
        }
    }
}

int cli_ask(struct cli *cli, const char *what, const char *argument, json_t **ret_answer,
            struct aico_error *err)
{
    json_error_t where;
    char *text = NULL;
    int r = cli->client ? 0 : cli_connect(cli, err);

    if (r == 0)
        r = aico_query(cli->client, what, argument, cli_timeout(cli), &text, err);
    if (r == 0) {
        *ret_answer = json_loads(text, 0, &where);
        if (!*ret_answer)
            r = aico_error_set(err, AICO_EPROTO, "the broker's answer is no JSON: %s", where.text);
    }
    free(text);
    return r;
}

int verb_query(struct cli *cli)
{
    const char *argument = cli->command.count > 0 ? cli->command.arguments[0] : NULL;
    struct aico_error err = {0};
    json_t *answer = NULL;
    int r = cli_ask(cli, cli->command.verb->name, argument, &answer, &err);

    if (r < 0)
        return cli_fail(cli, r, &err);
    print_answer(cli, answer);
    json_decref(answer);
    return 0;
}

int verb_ping(struct cli *cli)
{
    const char *peer = cli->command.count > 0 ? cli->command.arguments[0] : NULL;
    uint64_t count = cli->count > 0 ? cli->count : PINGS;
    struct aico_error err = {0};
    int r = cli_connect(cli, &err);

    for (uint64_t i = 0; r == 0 && i < count; i++) {
        int64_t us = 0;

        r = aico_ping(cli->client, peer, cli_timeout(cli), &us, &err);
        if (r < 0)
            break;
        if (cli->connect.is_json)
            (void)printf("{\"peer\":\"%s\",\"us\":%" PRId64 "}\n", peer ? peer : "broker", us);
        else
            (void)printf("%s %" PRId64 " us\n", peer ? peer : "broker", us);
        (void)fflush(stdout);
    }
    return r < 0 ? cli_fail(cli, r, &err) : 0;
}
