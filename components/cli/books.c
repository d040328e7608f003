/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The books of clients, kept with --ledger and held against the broker's by `ledger --with`. What
 * the broker says of a sender and rule must be what its publishers say was acknowledged; what it
 * says of a reader, delivered or dropped, what that reader says it received, missed or could not
 * open. Only messages by subscription that nobody kept are in the rows of both.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "common/whole_file.h"

int cli_may_keep_books(const struct cli *cli, struct aico_error *err)
{
    struct whole_file file = {0};
    int r = cli->ledger ? whole_file_open(cli->ledger, &file, err) : 0;

    whole_file_discard(&file);
    return r;
}

int cli_keep_books(const struct cli *cli, struct aico_error *err)
{
    struct whole_file file = {0};
    char *text = NULL;
    int r;

    if (!cli->ledger)
        return 0;
    r = aico_client_ledger(cli->client, &text, err);
    if (r == 0)
        r = whole_file_open(cli->ledger, &file, err);
    if (r == 0) {
        (void)fprintf(file.to, "%s\n", text);
        r = whole_file_close(&file, err);
    }
    free(text);
    return r;
}

/* --- comparing -------------------------------------------------------------------------------- */

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text ? text : "";
}

static json_int_t number_of(const json_t *row, const char *key)
{
    return json_integer_value(json_object_get(row, key));
}

static json_int_t sum_of(const json_t *counts)
{
    const json_t *count;
    const char *cause;
    json_int_t sum = 0;

    json_object_foreach((json_t *)(uintptr_t)counts, cause, count) sum += json_integer_value(count);
    return sum;
}

/* Which row of the broker: @reader "" is the sender's own. */
static void key_of(char to[300], const json_t *row, const char *reader)
{
    (void)snprintf(to, 300, "%.80s %" PRId64 " %.80s", text_of(row, "sender"),
                   (int64_t)number_of(row, "rule_line"), reader);
}

static void add(json_t *sums, const char *key, json_int_t count)
{
    json_int_t before = json_integer_value(json_object_get(sums, key));

    (void)json_object_set_new(sums, key, json_integer(before + count));
}

/* Adds one file to @sums, and whose it is to @known. */
static int take_book(const char *path, json_t *sums, json_t *known, struct aico_error *err)
{
    json_error_t cause;
    json_t *book = json_load_file(path, 0, &cause);
    const char *component = text_of(book, "component");
    const json_t *row;
    char key[300];
    size_t i;

    if (!book || !*component || !json_is_array(json_object_get(book, "rows"))) {
        json_decref(book);
        return aico_error_set(err, AICO_EINVAL, "%s: not what --ledger writes%s%s", path,
                              cause.text[0] ? ": " : "", cause.text);
    }
    if (!json_is_true(json_object_get(book, "balanced"))) {
        json_decref(book);
        return aico_error_set(err, AICO_EINVAL, "%s: these books do not balance by themselves",
                              path);
    }
    (void)json_object_set_new(known, component, json_true());
    json_array_foreach(json_object_get(book, "rows"), i, row)
    {
        bool is_own = strcmp(text_of(row, "sender"), component) == 0;

        if ((*text_of(row, "receiver") && !json_is_true(json_object_get(row, "mailbox"))) ||
            number_of(row, "rule_line") == 0)
            continue; /* the broker keeps no row of what goes straight to one component */
        key_of(key, row, is_own ? "" : component);
        add(sums, key,
            is_own ? number_of(row, "acknowledged")
                   : number_of(row, "received") - number_of(row, "kept") +
                         number_of(row, "repeated") + sum_of(json_object_get(row, "missing")) +
                         sum_of(json_object_get(row, "unopened")));
    }
    json_decref(book);
    return 0;
}

/* What was returned may have come, or not: the reader left before it said so. */
static json_int_t differ(json_t *differences, const json_t *row, json_int_t broker,
                         json_int_t client)
{
    json_int_t sure = broker - number_of(row, "returned");
    json_int_t apart = client > broker ? client - broker : client < sure ? sure - client : 0;

    if (apart != 0)
        (void)json_array_append_new(
            differences, json_pack("{s:s, s:I, s:s, s:I, s:I}", "sender", text_of(row, "sender"),
                                   "rule_line", number_of(row, "rule_line"), "reader",
                                   text_of(row, "reader"), "broker", broker, "client", client));
    return apart;
}

/* What clients have of which the broker knows nothing. */
static json_int_t leftover(const json_t *sums, json_t *differences)
{
    const char *key;
    const json_t *count;
    json_int_t sum = 0;

    json_object_foreach((json_t *)(uintptr_t)sums, key, count)
    {
        char sender[81] = "", reader[81] = "";
        int64_t line = 0;
        json_t *row;

        (void)sscanf(key, "%80s %" SCNd64 " %80s", sender, &line, reader);
        row = json_pack("{s:s, s:I, s:s}", "sender", sender, "rule_line", (json_int_t)line,
                        "reader", reader);
        sum += differ(differences, row, 0, json_integer_value(count));
        json_decref(row);
    }
    return sum;
}

int cli_compare_books(const struct cli *cli, json_t *answer, struct aico_error *err)
{
    json_t *sums = json_object(), *known = json_object(), *differences = json_array();
    json_int_t unexplained = 0, unseen = 0;
    const json_t *row;
    char key[300];
    size_t i;
    int r = 0;

    for (i = 0; r == 0 && i < cli->book_count; i++)
        r = take_book(cli->books[i], sums, known, err);
    json_array_foreach(json_object_get(answer, "rows"), i, row)
    {
        const char *reader = text_of(row, "reader");
        json_int_t broker =
            *reader ? number_of(row, "delivered") + sum_of(json_object_get(row, "dropped"))
                    : number_of(row, "published");

        if (number_of(row, "rule_line") == 0)
            continue; /* what the bus says to itself: HEADS */
        if (!json_object_get(known, *reader ? reader : text_of(row, "sender"))) {
            unseen += *reader ? broker : 0;
            continue;
        }
        key_of(key, row, reader);
        unexplained +=
            differ(differences, row, broker, json_integer_value(json_object_get(sums, key)));
        (void)json_object_del(sums, key);
    }
    unexplained += leftover(sums, differences);
    if (r == 0 && cli->book_count > 0) {
        (void)json_object_set_new(answer, "unexplained", json_integer(unexplained));
        (void)json_object_set_new(answer, "unseen", json_integer(unseen));
        (void)json_object_set(answer, "differences", differences);
    }
    json_decref(sums);
    json_decref(known);
    json_decref(differences);
    return r;
}
