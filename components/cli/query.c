/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus status, peers, topics, ping: looking around. */
#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/moment.h"

#define LABEL_SIZE 128
#define LABEL_WIDTH 28
#define PINGS 3
#define PING_INTERVAL_MS 1 /* a component answers a thousand a second */

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

/* Members as lines; those of an object inside under "outer.inner". */
static void print_members(json_t *object, const char *prefix)
{
    char label[LABEL_SIZE];
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
        cli_print_member(label, LABEL_WIDTH, value);
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

static void wait_until(int64_t until_ms)
{
    int64_t left = until_ms - steady_ms();
    struct timespec time = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};

    if (left > 0)
        (void)nanosleep(&time, NULL);
}

int verb_ping(struct cli *cli)
{
    const char *peer = cli->command.count > 0 ? cli->command.arguments[0] : NULL;
    uint64_t count = cli->count > 0 ? cli->count : PINGS;
    struct aico_error err = {0};
    int r = cli_connect(cli, &err);

    for (uint64_t i = 0; r == 0 && i < count; i++) {
        int64_t next_ms =
            steady_ms() + (cli->interval_ms > 0 ? cli->interval_ms : PING_INTERVAL_MS);
        int64_t us = 0;

        r = aico_ping(cli->client, peer, cli_timeout(cli), &us, &err);
        if (r < 0)
            break;
        if (cli->connect.is_json)
            (void)printf("{\"peer\":\"%s\",\"us\":%" PRId64 "}\n", peer ? peer : "broker", us);
        else
            (void)printf("%s %" PRId64 " us\n", peer ? peer : "broker", us);
        (void)fflush(stdout);
        if (i + 1 < count)
            wait_until(next_ms);
    }
    return r < 0 ? cli_fail(cli, r, &err) : 0;
}
