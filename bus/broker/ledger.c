/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The books: by sender and rule what was accepted and refused, and by reader besides what became of
 * it. They are kept apart from the totals, so that one can be held against the other.
 */
#include "base/json.h"
#include "broker/internal.h"

/* --- counting ------------------------------------------------------------------------------- */

struct ledger_row *ledger_row(struct broker *b, const struct member *sender,
                              const struct rule *rule, const struct member *reader)
{
    struct ledger_key key = {sender->number, reader ? reader->number : 0, rule ? rule->line : 0};
    struct ledger_row *row = NULL;

    HASH_FIND(hh, b->ledger, &key, sizeof(key), row);
    if (row)
        return row;
    /* The table is bounded; what does not fit is counted together. */
    row = b->ledger_count < LEDGER_ROWS_MAX ? calloc(1, sizeof(*row)) : NULL;
    if (!row)
        return &b->ledger_rest;
    row->key = key;
    HASH_ADD(hh, b->ledger, key, sizeof(row->key), row);
    if (!HASH_ADDED(hh, row)) {
        free(row);
        return &b->ledger_rest;
    }
    b->ledger_count++;
    return row;
}

void count_routed(struct broker *b, struct broker_peer *peer, struct ledger_row *row,
                  uint64_t count)
{
    (void)peer;
    b->totals.routed += count;
    b->totals.queued += count;
    row->routed += count;
}

void count_moved(struct broker *b, struct ledger_row *row, uint64_t count)
{
    b->totals.routed -= count;
    b->totals.queued -= count;
    row->routed -= count;
}

void count_delivered(struct broker *b, struct broker_peer *peer, struct ledger_row *row,
                     uint64_t count)
{
    b->totals.delivered += count;
    b->totals.queued -= count;
    peer->delivered += count;
    row->delivered += count;
}

void count_dropped(struct broker *b, struct broker_peer *peer, struct ledger_row *row,
                   enum broker_drop cause, uint64_t count)
{
    b->totals.dropped[cause] += count;
    b->totals.queued -= count;
    if (peer)
        peer->dropped += count;
    row->dropped[cause] += count;
}

void ledger_free(struct broker *b)
{
    struct ledger_row *row, *next;

    HASH_ITER(hh, b->ledger, row, next)
    {
        HASH_DEL(b->ledger, row);
        free(row);
    }
}

static struct ledger_row *row_of_sender(struct broker *b, const struct member *sender,
                                        const struct rule *rule)
{
    return sender ? ledger_row(b, sender, rule, NULL) : &b->ledger_rest;
}

void count_published(struct broker *b, const struct member *sender, const struct rule *rule,
                     uint64_t count)
{
    b->totals.published += count;
    row_of_sender(b, sender, rule)->published += count;
}

void count_stored(struct broker *b, const struct member *sender, const struct rule *rule,
                  uint64_t count)
{
    count_published(b, sender, rule, count);
    b->totals.stored += count;
    row_of_sender(b, sender, rule)->stored += count;
}

void count_refused(struct broker *b, const struct member *sender, const struct rule *rule)
{
    b->totals.refused++;
    row_of_sender(b, sender, rule)->refused++;
}

/* --- the answer ----------------------------------------------------------------------------- */

static uint64_t dropped_of(const uint64_t dropped[DROP_CAUSES])
{
    uint64_t sum = 0;

    for (int cause = 0; cause < DROP_CAUSES; cause++)
        sum += dropped[cause];
    return sum;
}

static void add(struct ledger_row *sum, const struct ledger_row *row)
{
    sum->published += row->published;
    sum->refused += row->refused;
    sum->stored += row->stored;
    sum->routed += row->routed;
    sum->delivered += row->delivered;
    for (int cause = 0; cause < DROP_CAUSES; cause++)
        sum->dropped[cause] += row->dropped[cause];
}

/* Every message accepted for a reader was delivered, dropped for a cause, or waits; and the rows
 * say the same as the totals. */
static bool is_balanced(const struct broker *b, const struct ledger_row *sum)
{
    const struct broker_totals *t = &b->totals;

    return sum->published == t->published && sum->refused == t->refused &&
           sum->stored == t->stored && sum->routed == t->routed && sum->delivered == t->delivered &&
           memcmp(sum->dropped, t->dropped, sizeof(sum->dropped)) == 0 &&
           sum->routed == sum->delivered + dropped_of(sum->dropped) + t->queued;
}

static struct bytes filter_of(const struct broker *b, uint64_t line)
{
    for (size_t i = 0; line > 0 && i < registry_rule_count(b->registry); i++)
        if (registry_rule_at(b->registry, i)->line == line)
            return registry_rule_at(b->registry, i)->filter;
    return bytes_of(NULL, 0);
}

static void put_row(const struct broker *b, struct json *json, const struct ledger_row *row)
{
    bool rest = row == &b->ledger_rest;
    uint32_t reader = row->key.reader; /* 0: the sender's own row */

    json_open_object(json, NULL);
    json_put_text(json, "sender",
                  bytes_text(rest ? "*" : b->member_by_number[row->key.sender]->name));
    json_put_u64(json, "rule_line", row->key.rule_line);
    json_put_text(json, "rule", filter_of(b, row->key.rule_line));
    json_put_text(json, "reader",
                  bytes_text(rest     ? "*"
                             : reader ? b->member_by_number[reader]->name
                                      : ""));
    json_put_u64(json, "published", row->published);
    json_put_u64(json, "refused", row->refused);
    json_put_u64(json, "stored", row->stored);
    json_put_u64(json, "routed", row->routed);
    json_put_u64(json, "delivered", row->delivered);
    json_put_u64(json, "returned", row->returned);
    json_put_u64(json, "queued", row->routed - row->delivered - dropped_of(row->dropped));
    put_drops(json, row->dropped);
    json_close_object(json);
}

void ledger_json(const struct broker *b, struct json *json)
{
    struct ledger_row sum = b->ledger_rest;
    const struct ledger_row *row;

    for (row = b->ledger; row; row = row->hh.next)
        add(&sum, row);
    json_open_object(json, NULL);
    json_put_bool(json, "balanced", is_balanced(b, &sum));
    json_put_u64(json, "published", sum.published);
    json_put_u64(json, "refused", sum.refused);
    json_put_u64(json, "stored", sum.stored);
    json_put_u64(json, "routed", sum.routed);
    json_put_u64(json, "delivered", sum.delivered);
    json_put_u64(json, "queued", b->totals.queued);
    put_drops(json, sum.dropped);
    json_open_array(json, "rows");
    for (row = b->ledger; row && !is_too_long(json); row = row->hh.next)
        put_row(b, json, row);
    if (b->ledger_rest.routed + b->ledger_rest.published + b->ledger_rest.refused > 0)
        put_row(b, json, &b->ledger_rest);
    json_close_array(json);
    json_close_object(json);
}
