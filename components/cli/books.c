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

/* Who compares with whom. What goes straight to one component is reported to it without its kind
 * and, where the channel shows it, without its topic: there the receiver has one sum of @sender. */
static void key_of(char to[300], const char *sender, int64_t line, const char *reader,
                   const char *way)
{
    bool is_sum = strcmp(way, "any") == 0;

    (void)snprintf(to, 300, "%.80s %" PRId64 " %s %.80s", sender, is_sum ? 0 : line, way, reader);
}

/* What both sides say of one key: between @sure and @sure + @maybe. */
static void add(json_t *sums, const char *key, const char *side, json_int_t sure, json_int_t maybe)
{
    json_t *sum = json_object_get(sums, key);
    char unsure[32];

    if (!sum) {
        sum = json_object();
        (void)json_object_set_new(sums, key, sum);
    }
    (void)snprintf(unsure, sizeof(unsure), "%s maybe", side);
    (void)json_object_set_new(sum, side, json_integer(number_of(sum, side) + sure));
    (void)json_object_set_new(sum, unsure, json_integer(number_of(sum, unsure) + maybe));
}

static bool is_way(const json_t *row, const char *way)
{
    return strcmp(text_of(row, "way"), way) == 0;
}

static bool is_to_one(const json_t *row)
{
    return is_way(row, "direct") || is_way(row, "request") || is_way(row, "reply");
}

/* What @row of its own @component has said. Copies are in the rows of who got them. */
static void take_own_row(json_t *sums, const char *component, const json_t *row)
{
    bool to_one = is_to_one(row);
    char key[300];

    if (is_way(row, "copies") || number_of(row, "rule_line") == 0)
        return;
    key_of(key, component, number_of(row, "rule_line"), to_one ? text_of(row, "receiver") : "",
           to_one ? text_of(row, "way") : "topic");
    add(sums, key, "client", number_of(row, "acknowledged") + number_of(row, "copies"),
        number_of(row, "unsure"));
}

/* What came to @component, or did not. A jump in a channel need not have been a message. */
static void take_row(json_t *sums, const char *component, const json_t *row)
{
    json_int_t count = number_of(row, "received") - number_of(row, "kept") +
                       number_of(row, "repeated") + sum_of(json_object_get(row, "missing")) +
                       sum_of(json_object_get(row, "unopened"));
    bool is_known = number_of(row, "rule_line") != 0;
    char key[300];

    if (!is_known && !is_to_one(row))
        return;
    key_of(key, text_of(row, "sender"), number_of(row, "rule_line"), component,
           is_to_one(row) ? "any" : "topic");
    add(sums, key, "client", is_known ? count : 0, is_known ? 0 : count);
}

/* Adds one file to @sums, and whose it is to @known. */
static int take_book(const char *path, json_t *sums, json_t *known, struct aico_error *err)
{
    json_error_t cause;
    json_t *book = json_load_file(path, 0, &cause);
    const char *component = text_of(book, "component");
    const json_t *row;
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
        if (!*text_of(row, "way")) {
            json_decref(book);
            return aico_error_set(err, AICO_EINVAL, "%s: written by an older aico-bus", path);
        }
        if (strcmp(text_of(row, "sender"), component) == 0)
            take_own_row(sums, component, row);
        else
            take_row(sums, component, row);
    }
    json_decref(book);
    return 0;
}

/* Adds what the broker says of those whose books are @known. Returns what readers got whose are
 * not. */
static json_int_t take_broker(const json_t *rows, json_t *sums, const json_t *known)
{
    json_int_t unseen = 0;
    const json_t *row;
    char key[300];
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *sender = text_of(row, "sender"), *reader = text_of(row, "reader");
        const json_t *dropped = json_object_get(row, "dropped");
        json_int_t line = number_of(row, "rule_line"), maybe = number_of(row, "returned");
        json_int_t got = number_of(row, "delivered") + sum_of(dropped);

        if (line == 0) /* what the bus says to itself */
            continue;
        if ((!*reader || is_to_one(row)) && json_object_get(known, sender)) {
            key_of(key, sender, line, reader, text_of(row, "way"));
            add(sums, key, "broker", number_of(row, "published"), 0);
        }
        if (is_to_one(row)) /* it waited for a link that broke: nobody was told */
            maybe += number_of(dropped, "link lost");
        if (!*reader)
            continue;
        if (!json_object_get(known, reader)) {
            unseen += got;
            continue;
        }
        key_of(key, sender, line, reader, is_to_one(row) ? "any" : "topic");
        add(sums, key, "broker", got - maybe, maybe);
    }
    return unseen;
}

/* How far apart the two sides of a sum are at least. */
static json_int_t apart_of(const json_t *sum)
{
    json_int_t broker = number_of(sum, "broker"), client = number_of(sum, "client");
    json_int_t above = client - (broker + number_of(sum, "broker maybe"));
    json_int_t below = broker - (client + number_of(sum, "client maybe"));

    return above > 0 ? above : below > 0 ? below : 0;
}

static json_int_t differ(const json_t *sums, json_t *differences)
{
    json_int_t all = 0;
    const json_t *sum;
    const char *key;

    json_object_foreach((json_t *)(uintptr_t)sums, key, sum)
    {
        json_int_t apart = apart_of(sum);
        char sender[81] = "", way[16] = "", reader[81] = "";
        int64_t line = 0;

        all += apart;
        if (apart == 0)
            continue;
        (void)sscanf(key, "%80s %" SCNd64 " %15s %80s", sender, &line, way, reader);
        (void)json_array_append_new(
            differences,
            json_pack("{s:s, s:I, s:s, s:s, s:I, s:I}", "sender", sender, "rule_line",
                      (json_int_t)line, "way", way, "reader", reader, "broker",
                      number_of(sum, "broker") + number_of(sum, "broker maybe"), "client",
                      number_of(sum, "client") + number_of(sum, "client maybe")));
    }
    return all;
}

int cli_compare_books(const struct cli *cli, json_t *answer, struct aico_error *err)
{
    json_t *sums = json_object(), *known = json_object(), *differences = json_array();
    int r = 0;

    if (cli->book_count > 0 && number_of(answer, "left_out") > 0)
        r = aico_error_set(err, AICO_ETOOLARGE,
                           "the broker left out %" PRId64 " rows: nothing can be compared",
                           (int64_t)number_of(answer, "left_out"));
    for (size_t i = 0; r == 0 && i < cli->book_count; i++)
        r = take_book(cli->books[i], sums, known, err);
    if (r == 0 && cli->book_count > 0) {
        json_int_t unseen = take_broker(json_object_get(answer, "rows"), sums, known);

        (void)json_object_set_new(answer, "unexplained", json_integer(differ(sums, differences)));
        (void)json_object_set_new(answer, "unseen", json_integer(unseen));
        (void)json_object_set(answer, "differences", differences);
    }
    json_decref(sums);
    json_decref(known);
    json_decref(differences);
    return r;
}
