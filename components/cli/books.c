/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The books of clients, kept with --ledger and held against the broker's by `ledger --with`. What
 * the broker says of a sender and rule must be what its publishers say was acknowledged; what it
 * says of a reader, delivered or dropped, what that reader says it received, missed or could not
 * open. Rules are compared by their filters: their lines are other ones in the next registry.
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
 * and, where the channel shows it, without its topic: there the receiver has one sum of @sender,
 * way "any", without rule. */
struct place {
    const char *sender, *rule, *way, *reader;
};

/* What both sides say of one place: between @sure and @sure + @maybe. */
static void add(json_t *sums, const struct place *at, const char *side, json_int_t sure,
                json_int_t maybe)
{
    char group[200], unsure[32];
    json_t *rules, *sum;

    (void)snprintf(group, sizeof(group), "%.80s %s %.80s", at->sender, at->way, at->reader);
    rules = json_object_get(sums, group);
    if (!rules) {
        rules = json_object();
        (void)json_object_set_new(sums, group, rules);
    }
    sum = json_object_get(rules, at->rule);
    if (!sum) {
        sum = json_pack("{s:s, s:s, s:s, s:s}", "sender", at->sender, "rule", at->rule, "way",
                        at->way, "reader", at->reader);
        (void)json_object_set_new(rules, at->rule, sum);
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
    struct place at = {component, text_of(row, "rule"), to_one ? text_of(row, "way") : "topic",
                       to_one ? text_of(row, "receiver") : ""};

    if (is_way(row, "copies") || !*at.rule)
        return;
    add(sums, &at, "client", number_of(row, "acknowledged") + number_of(row, "copies"),
        number_of(row, "unsure"));
}

/* What came to @component, or did not. A jump in a channel need not have been a message. */
static void take_row(json_t *sums, const char *component, const json_t *row)
{
    json_int_t count = number_of(row, "received") - number_of(row, "kept") +
                       number_of(row, "repeated") + sum_of(json_object_get(row, "missing")) +
                       sum_of(json_object_get(row, "unopened"));
    bool is_known = *text_of(row, "rule") != '\0', to_one = is_to_one(row);
    struct place at = {text_of(row, "sender"), to_one ? "" : text_of(row, "rule"),
                       to_one ? "any" : "topic", component};

    if (!is_known && !to_one)
        return;
    add(sums, &at, "client", is_known ? count : 0, is_known ? 0 : count);
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
    size_t i;

    json_array_foreach(rows, i, row)
    {
        const char *reader = text_of(row, "reader");
        struct place at = {text_of(row, "sender"), text_of(row, "rule"), text_of(row, "way"),
                           reader};
        const json_t *dropped = json_object_get(row, "dropped");
        json_int_t maybe = number_of(row, "returned");
        json_int_t got = number_of(row, "delivered") + sum_of(dropped);

        if (!*at.rule) /* what the bus says to itself */
            continue;
        if ((!*reader || is_to_one(row)) && json_object_get(known, at.sender))
            add(sums, &at, "broker", number_of(row, "published"), 0);
        if (is_to_one(row)) /* it waited for a link that broke: nobody was told */
            maybe += number_of(dropped, "link lost");
        if (!*reader)
            continue;
        if (!json_object_get(known, reader)) {
            unseen += got;
            continue;
        }
        at.way = is_to_one(row) ? "any" : "topic";
        at.rule = is_to_one(row) ? "" : at.rule;
        add(sums, &at, "broker", got - maybe, maybe);
    }
    return unseen;
}

/* How many more the clients have of @sum than the broker, at least; negative: the broker. */
static json_int_t excess_of(const json_t *sum)
{
    json_int_t broker = number_of(sum, "broker"), client = number_of(sum, "client");
    json_int_t above = client - (broker + number_of(sum, "broker maybe"));
    json_int_t below = broker - (client + number_of(sum, "client maybe"));

    return above > 0 ? above : below > 0 ? -below : 0;
}

static void differ(const json_t *rules, json_t *differences)
{
    const json_t *sum;
    const char *rule;

    json_object_foreach((json_t *)(uintptr_t)rules, rule, sum)
    {
        json_t *difference;

        if (excess_of(sum) == 0)
            continue;
        difference =
            json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "sender", text_of(sum, "sender"), "rule",
                      rule, "way", text_of(sum, "way"), "reader", text_of(sum, "reader"), "broker",
                      number_of(sum, "broker") + number_of(sum, "broker maybe"), "client",
                      number_of(sum, "client") + number_of(sum, "client maybe"));
        (void)json_array_append_new(differences, difference);
    }
}

/* A registry is in force at the broker a moment before it is at its clients: what was on its way
 * then is under one rule here and under another there. Where @registries changed, that is
 * `moved`, and what is left over is unexplained. */
static void compare(json_t *answer, const json_t *sums)
{
    bool has_moved = number_of(answer, "registries") > 0;
    json_int_t unexplained = 0, moved = 0;
    json_t *differences = json_array();
    const json_t *rules, *sum;
    const char *group, *rule;

    json_object_foreach((json_t *)(uintptr_t)sums, group, rules)
    {
        json_int_t above = 0, below = 0, both;

        json_object_foreach((json_t *)(uintptr_t)rules, rule, sum)
        {
            above += excess_of(sum) > 0 ? excess_of(sum) : 0;
            below -= excess_of(sum) < 0 ? excess_of(sum) : 0;
        }
        both = !has_moved ? 0 : above < below ? above : below;
        moved += both;
        unexplained += above + below - 2 * both;
        if (above + below > 2 * both)
            differ(rules, differences);
    }
    (void)json_object_set_new(answer, "unexplained", json_integer(unexplained));
    (void)json_object_set_new(answer, "moved", json_integer(moved));
    (void)json_object_set_new(answer, "differences", differences);
}

int cli_compare_books(const struct cli *cli, json_t *answer, struct aico_error *err)
{
    json_t *sums = json_object(), *known = json_object();
    int r = 0;

    if (cli->book_count > 0 && number_of(answer, "left_out") > 0)
        r = aico_error_set(err, AICO_ETOOLARGE,
                           "the broker left out %" PRId64 " rows: nothing can be compared",
                           (int64_t)number_of(answer, "left_out"));
    for (size_t i = 0; r == 0 && i < cli->book_count; i++)
        r = take_book(cli->books[i], sums, known, err);
    if (r == 0 && cli->book_count > 0) {
        json_int_t unseen = take_broker(json_object_get(answer, "rows"), sums, known);

        compare(answer, sums);
        (void)json_object_set_new(answer, "unseen", json_integer(unseen));
    }
    json_decref(sums);
    json_decref(known);
    return r;
}
