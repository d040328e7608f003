/* SPDX-License-Identifier: Apache-2.0 */
/* aico-bus kick, ledger, reload, drain: what a component with role admin makes the broker do. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "common/text.h"

#define GOODBYE_MS 300000 /* the longest drain_timeout */

static void say(const char *text)
{
    text_write_escaped(stdout, text, strlen(text));
    (void)putchar('\n');
}

static const char *text_in(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text ? text : "";
}

int verb_kick(struct cli *cli)
{
    char argument[256];
    struct aico_error err = {0};
    json_t *answer = NULL;
    int size = snprintf(argument, sizeof(argument), "%s%s%s", cli->command.arguments[0],
                        cli->command.count > 1 ? " " : "",
                        cli->command.count > 1 ? cli->command.arguments[1] : "");
    int r = size < (int)sizeof(argument)
                ? cli_ask(cli, "kick", argument, &answer, &err)
                : aico_error_set(&err, AICO_EINVAL, "the reason is longer than 190 bytes");

    if (r < 0)
        return cli_fail(cli, r, &err);
    if (cli->connect.is_json) {
        cli_print_line(answer);
    } else {
        (void)fputs("kicked ", stdout);
        say(text_in(answer, "kicked"));
    }
    json_decref(answer);
    return 0;
}

/* "drop-old 3, revoked 1" of one object, behind what is there. */
static void name_causes(char text[400], const json_t *causes, const char *what)
{
    size_t used = strlen(text);
    const char *cause;
    const json_t *count;

    json_object_foreach((json_t *)(uintptr_t)causes, cause, count)
    {
        int size = snprintf(text + used, 400 - used, "%s%s%s %lld", used ? ", " : "", what, cause,
                            (long long)json_integer_value(count));

        if (size < 0 || (size_t)size >= 400 - used)
            break;
        used += (size_t)size;
    }
}

/* What was lost on the way, or never got there, in one column. */
static void name_losses(json_t *row)
{
    char text[400] = "";

    name_causes(text, json_object_get(row, "dropped"), "");
    name_causes(text, json_object_get(row, "refused_for"), "refused ");
    name_causes(text, json_object_get(row, "unanswered"), "unanswered ");
    (void)json_object_set_new(row, "dropped", json_string(text));
}

static void print_ledger(json_t *answer)
{
    static const struct cli_column differences[] = {
        {"sender", "SENDER"}, {"rule", "RULE"},     {"way", "WAY"}, {"reader", "READER"},
        {"broker", "BROKER"}, {"client", "CLIENT"}, {NULL, NULL},
    };
    static const struct cli_column columns[] = {
        {"sender", "SENDER"},  {"rule", "RULE"},           {"way", "WAY"},
        {"reader", "READER"},  {"published", "PUBLISHED"}, {"refused", "REFUSED"},
        {"stored", "STORED"},  {"routed", "FOR READERS"},  {"delivered", "DELIVERED"},
        {"queued", "WAITING"}, {"answered", "ANSWERED"},   {"dropped", "LOST"},
        {NULL, NULL},
    };
    json_t *rows = json_object_get(answer, "rows"), *row;
    size_t i;

    json_array_foreach(rows, i, row) name_losses(row);
    cli_print_table(rows, columns);
    if (json_integer_value(json_object_get(answer, "left_out")) > 0)
        (void)printf("and %lld more rows, for which an answer has no room\n",
                     (long long)json_integer_value(json_object_get(answer, "left_out")));
    if (json_array_size(json_object_get(answer, "differences")) > 0)
        cli_print_table(json_object_get(answer, "differences"), differences);
    say(json_is_true(json_object_get(answer, "balanced")) ? "balances" : "does not balance");
    if (json_object_get(answer, "unexplained"))
        (void)printf("%lld messages unexplained, %lld to readers without books\n",
                     (long long)json_integer_value(json_object_get(answer, "unexplained")),
                     (long long)json_integer_value(json_object_get(answer, "unseen")));
    if (json_integer_value(json_object_get(answer, "moved")) > 0)
        (void)printf("%lld messages were on their way when the registry changed, and are under "
                     "another rule in some books\n",
                     (long long)json_integer_value(json_object_get(answer, "moved")));
}

int verb_ledger(struct cli *cli)
{
    struct aico_error err = {0};
    json_t *answer = NULL;
    json_int_t unexplained;
    bool is_balanced;
    int r = cli_ask(cli, "ledger", NULL, &answer, &err);

    if (r < 0)
        return cli_fail(cli, r, &err);
    is_balanced = json_is_true(json_object_get(answer, "balanced"));
    r = cli_compare_books(cli, answer, &err);
    unexplained = json_integer_value(json_object_get(answer, "unexplained"));
    if (r == 0 && cli->connect.is_json)
        cli_print_line(answer);
    else if (r == 0)
        print_ledger(answer);
    json_decref(answer);
    if (r < 0)
        return cli_fail(cli, r, &err);
    if (is_balanced && unexplained > 0)
        return cli_fail(cli,
                        aico_error_set(&err, AICO_EUNEXPLAINED,
                                       "%lld message%s in some books and not in others: is one of "
                                       "a run since the broker's start missing here?",
                                       (long long)unexplained, unexplained == 1 ? " is" : "s are"),
                        &err);
    if (is_balanced)
        return 0;
    r = aico_error_set(&err, AICO_EINTERNAL, "the broker's books do not balance");
    return cli_fail(cli, r, &err);
}

static void print_reload(json_t *answer)
{
    static const struct cli_column columns[] = {
        {"key", "KEY"},       {"before", "BEFORE"}, {"after", "AFTER"},
        {"result", "RESULT"}, {NULL, NULL},
    };
    json_t *settings = json_object_get(answer, "settings");
    const json_t *row;
    size_t i;

    if (json_array_size(settings) > 0)
        cli_print_table(settings, columns);
    else if (settings)
        say("nothing has changed");
    json_array_foreach(json_object_get(answer, "refused"), i, row)
    {
        (void)fputs("refused: ", stdout);
        say(json_string_value(row));
    }
}

int verb_reload(struct cli *cli)
{
    struct aico_error err = {0};
    json_t *answer = NULL;
    int r = cli_ask(cli, "reload", NULL, &answer, &err);

    if (r < 0)
        return cli_fail(cli, r, &err);
    if (cli->connect.is_json)
        cli_print_line(answer);
    else
        print_reload(answer);
    if (!json_is_true(json_object_get(answer, "reloaded")))
        r = aico_error_set(&err, AICO_ECONFIG, "nothing was changed: the files are wrong");
    json_decref(answer);
    return r < 0 ? cli_fail(cli, r, &err) : 0;
}

/* The link ends with the broker's goodbye. */
static int wait_for_goodbye(struct cli *cli, struct aico_error *err)
{
    for (;;) {
        struct aico_message *message = NULL;
        int r = aico_receive(cli->client, GOODBYE_MS, &message, err);

        if (r == 0 && message->kind == AICO_MESSAGE_STATE && message->code < 0)
            r = message->code;
        aico_message_free(&message);
        if (r < 0)
            return r == AICO_EDRAIN || r == AICO_ECLOSED ? 0 : r;
    }
}

int verb_drain(struct cli *cli)
{
    struct aico_error err = {0};
    json_t *answer = NULL;
    int r;

    r = cli_ask(cli, "drain", NULL, &answer, &err);
    if (r == 0) {
        if (cli->connect.is_json)
            cli_print_line(answer);
        else
            (void)printf("draining: %lld components, %lld messages held\n",
                         (long long)json_integer_value(json_object_get(answer, "components")),
                         (long long)json_integer_value(json_object_get(answer, "held")));
        json_decref(answer);
        r = wait_for_goodbye(cli, &err);
    }
    return r < 0 ? cli_fail(cli, r, &err) : 0;
}
