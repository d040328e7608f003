/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored messages: the application that reads them durably, what is on its disk, and the promises.
 *
 * What a publisher was not refused is stored, over every death of the broker and every power cut:
 * each durable reader that was entitled all the time has it in the end. What the application has
 * settled never comes again; what it has not comes again with the mark (attempt), which only a
 * power cut may take from it. The broker counts as stored what the disk has said it keeps.
 */
#include "base/keeper.h"
#include "sim.h"
#include "wire/stream_record.h"

#define FILTER "st/*"
#define NAME "book"
#define DEADLINE_MS 20000 /* at most, until what is not settled comes again */

/* Of one message and each reader. */
struct stored_fate {
    uint64_t step[NODES]; /* when its application got it last; 0: never */
};

/* What an application got: a batch of messages, done with when it is with each of them. */
struct book_item {
    struct book_item *next;
    uint64_t number;
    uint32_t left; /* deliveries it has not answered */
    bool again;    /* it wants one of them again */
    uint64_t done; /* node->settles when it was settled; 0: it is not */
};

/* --- the reader's disk: rows, which outlive the process -------------------------------------- */

struct kept_row {
    struct kept_row *next;
    size_t key_size, size;
    uint8_t bytes[]; /* key, value */
};

static int row_compare(const struct kept_row *row, struct bytes key)
{
    int order = memcmp(row->bytes, key.at, MIN(row->key_size, key.size));

    return order ? order : (row->key_size > key.size) - (row->key_size < key.size);
}

void rows_set(struct kept_row **at, const struct keep_change *change)
{
    struct kept_row *row;

    while (*at && row_compare(*at, change->key) < 0)
        at = &(*at)->next;
    if (*at && row_compare(*at, change->key) == 0) {
        row = *at;
        *at = row->next;
        free(row);
    }
    if (!change->value.at)
        return;
    row = malloc(sizeof(*row) + change->key.size + change->value.size);
    if (!row)
        abort();
    *row = (struct kept_row){*at, change->key.size, change->value.size};
    bytes_copy(row->bytes, change->key);
    bytes_copy(row->bytes + row->key_size, change->value);
    *at = row;
}

bool rows_have(const struct kept_row *rows, struct bytes key)
{
    while (rows && row_compare(rows, key) < 0)
        rows = rows->next;
    return rows && row_compare(rows, key) == 0;
}

int rows_read(const struct kept_row *rows,
              int (*take)(void *to, struct bytes key, struct bytes value), void *to)
{
    int r = 0;

    for (const struct kept_row *row = rows; row && r == 0; row = row->next)
        r = take(to, bytes_of(row->bytes, row->key_size),
                 bytes_of(row->bytes + row->key_size, row->size));
    return r;
}

void rows_free(struct kept_row **rows)
{
    while (*rows) {
        struct kept_row *row = *rows;

        *rows = row->next;
        free(row);
    }
}

static int rows_load(void *context, int (*take)(void *to, struct bytes key, struct bytes value),
                     void *to, struct aico_error *err)
{
    const struct node *node = context;

    (void)err;
    return rows_read(node->kept, take, to);
}

static int rows_commit(void *context, const struct keep_change *changes, size_t count,
                       struct aico_error *err)
{
    struct node *node = context;

    (void)err;
    for (size_t i = 0; i < count; i++)
        rows_set(&node->kept, &changes[i]);
    node->kept_settles = node->settles;
    return 0;
}

const struct keeper *book_keeper(struct node *node)
{
    node->keeper = (struct keeper){node, rows_load, rows_commit};
    return &node->keeper;
}

int book_keep_chains(void *context, struct bytes chains)
{
    struct node *node = context;

    node->chains.size = 0;
    return buffer_append(&node->chains, chains);
}

void book_free(struct node *node)
{
    rows_free(&node->kept);
    while (node->items) {
        struct book_item *item = node->items;

        node->items = item->next;
        free(item);
    }
    buffer_deinit(&node->chains);
}

/* --- the application -------------------------------------------------------------------------- */

/* Once its session is there, and again whenever it lost the subscription. */
void book_follow(struct node *node)
{
    struct world *w = node->world;
    struct subscription *s = &node->subscriptions[SUBSCRIPTION_DURABLE];
    struct follow_request request = {
        .filter = bytes_text(FILTER),
        .durable = bytes_text(NAME),
        .start = FOLLOW_ALL,
        .deadline_ms = 1000 + (uint32_t)dice_below(&w->dice, DEADLINE_MS - 1000),
        .window = (uint16_t)(8 + dice_below(&w->dice, 100)),
    };
    struct ticket *ticket;

    node->follow_ms = MOMENT_NEVER;
    node->follow_deadline_ms = request.deadline_ms;
    *s = (struct subscription){.used = true, .asked_step = w->step, .durable = true};
    (void)snprintf(s->filter, sizeof(s->filter), "%s", FILTER);
    ticket = ticket_new(node, TICKET_SUBSCRIBE, 40000);
    ticket->subscription = SUBSCRIPTION_DURABLE;
    sim_note(w, "%s: follows %s", node->name, FILTER);
    client_follow(node->client, node_moment(node), &request, 40000, ticket);
    node_settle(node);
}

struct pending_settle {
    struct pending_settle *next;
    int64_t due_ms;
    uint64_t item;
    uint32_t subscription;
    bool again;
};

static void forget_pending(struct node *node)
{
    while (node->settling) {
        struct pending_settle *one = node->settling;

        node->settling = one->next;
        free(one);
    }
}

/* What was settled up to the @kept-th time stays so. */
static void items_drop(struct node *node, uint64_t kept)
{
    struct book_item **at = &node->items;

    while (*at) {
        struct book_item *item = *at;

        if (item->done > 0 && item->done <= kept) {
            at = &item->next;
            continue;
        }
        *at = item->next;
        free(item);
    }
}

/* What it had not settled by then it cannot settle any more. */
void book_lost(struct node *node)
{
    forget_pending(node);
    items_drop(node, UINT64_MAX);
    node->follow_ms = node->world->now_ms + 1000 + (int64_t)dice_below(&node->world->dice, 5000);
}

void book_ended(struct node *node)
{
    forget_pending(node);
    items_drop(node, node->kept_settles);
}

int64_t book_settle_due(const struct node *node)
{
    return node->settling ? node->settling->due_ms : MOMENT_NEVER;
}

static struct book_item *item_find(const struct node *node, uint64_t number)
{
    struct book_item *item = node->items;

    while (item && item->number != number)
        item = item->next;
    return item;
}

/* A batch is asked for again as a whole, when all of it was answered. */
static void item_answered(struct node *node, uint64_t number, bool again)
{
    struct book_item *item = item_find(node, number);

    item->again |= again;
    if (--item->left > 0)
        return;
    if (!item->again)
        item->done = ++node->settles;
    item->again = false;
}

void book_settle(struct node *node)
{
    struct pending_settle *one = node->settling;

    node->settling = one->next;
    sim_note(node->world, "%s: %s item %llu", node->name, one->again ? "wants again" : "settles",
             (unsigned long long)one->item);
    item_answered(node, one->item, one->again);
    client_settle(node->client, one->subscription, one->item, one->again ? AICO_ESTATE : 0,
                  bytes_of(NULL, 0));
    free(one);
    node_settle(node);
}

static void settle_later(struct node *node, const struct aico_message *message)
{
    struct world *w = node->world;
    struct pending_settle *one = calloc(1, sizeof(*one)), **at = &node->settling;

    if (!one)
        abort();
    one->due_ms = w->now_ms + (dice_one(&w->dice, 4) ? (int64_t)dice_below(&w->dice, 3000) : 0);
    if (!w->calm && dice_one(&w->dice, 20)) /* so late that it comes again meanwhile */
        one->due_ms += node->follow_deadline_ms;
    one->item = message->number;
    one->subscription = message->subscription;
    one->again = !w->calm && dice_one(&w->dice, 30);
    while (*at && (*at)->due_ms <= one->due_ms)
        at = &(*at)->next;
    one->next = *at;
    *at = one;
}

/* --- the promises ----------------------------------------------------------------------------- */

void book_new(struct sim_message *m)
{
    m->stored = calloc(1, sizeof(*m->stored));
    if (!m->stored)
        abort();
}

static struct book_item *item_of(struct node *reader, uint64_t number)
{
    struct book_item *item = item_find(reader, number);

    if (item)
        return item;
    item = calloc(1, sizeof(*item));
    if (!item)
        abort();
    item->number = number;
    item->next = reader->items;
    return reader->items = item;
}

void book_delivered(struct node *reader, const struct aico_message *message, struct sim_message *m)
{
    struct world *w = reader->world;
    struct book_item *item = item_of(reader, message->number);
    uint32_t number = (uint32_t)(m - w->messages);
    uint64_t before = m->stored ? m->stored->step[reader->index] : 0;

    if (m->lane != LANE_STORED)
        sim_fail(w, "%s got message %u as a stored one", reader->name, number);
    else if (item->done > 0)
        sim_fail(w, "%s got message %u of %s again, which it had settled", reader->name, number,
                 message->sender);
    else if (before > w->power_lost_step && message->attempt < 2)
        sim_fail(w, "%s got message %u of %s again without the mark", reader->name, number,
                 message->sender);
    if (w->failed)
        return;
    m->stored->step[reader->index] = w->step;
    item->left++;
    w->stored_deliveries++;
    w->stored_again += before > 0;
    settle_later(reader, message);
}

/* BREAK_REPEAT, BREAK_FORGOTTEN. Whether @message is shown as it is. */
bool book_break(struct node *node, struct aico_message *message)
{
    struct world *w = node->world;

    if (message->number == 0)
        return true;
    if (w->options.breakage == BREAK_REPEAT) {
        oracle_tell(node, message);
        w->broke = message->attempt == 1;
        return true;
    }
    /* The client takes it for delivered, and is told that it is settled. */
    w->broke = w->options.breakage == BREAK_FORGOTTEN;
    if (w->broke)
        client_settle(node->client, message->subscription, message->number, 0, bytes_of(NULL, 0));
    return !w->broke;
}

void book_check_books(struct world *w, const struct broker_totals *totals)
{
    if (w->stores && totals->stored != w->counted_stored)
        sim_fail(w, "broker: counts %llu stored, the disk has said so of %llu",
                 (unsigned long long)totals->stored, (unsigned long long)w->counted_stored);
}

static void account(struct node *reader)
{
    struct world *w = reader->world;

    for (size_t i = 0; i < w->message_count && !w->failed; i++) {
        const struct sim_message *m = &w->messages[i];

        if (m->lane != LANE_STORED || m->refused || !m->settled_step ||
            m->sender == reader->index || !oracle_allowed_throughout(w, m, reader->index))
            continue;
        w->stored_owed++;
        if (!m->stored->step[reader->index])
            sim_fail(w, "%s never got message %zu of %s on %s, which was stored", reader->name, i,
                     owner_node_name(m->sender), sim_topics[m->topic].name);
    }
}

static void expect_balance(struct world *w, const char *name, int r, const struct buffer *json)
{
    if (r < 0 || !memmem(json->at, json->size, "\"balanced\":true", 15))
        sim_fail(w, "the books of %s do not balance: %.*s", name, (int)json->size,
                 (const char *)json->at);
}

/* Those of the broker, row by row, and of each client, by themselves. */
static void check_rows(struct world *w)
{
    CLEANUP(buffer_deinit)
    struct buffer json = {0};

    if (w->broker)
        expect_balance(w, "the broker",
                       broker_status_json(w->broker, broker_moment(w), bytes_text("ledger"),
                                          bytes_of(NULL, 0), &json),
                       &json);
    for (int i = 0; i < NODES && !w->failed; i++) {
        json.size = 0;
        if (w->nodes[i].client)
            expect_balance(w, w->nodes[i].name, client_ledger(w->nodes[i].client, &json), &json);
    }
}

/* Whoever may read does so in calm. */
void book_accounts(struct world *w)
{
    check_rows(w);
    for (int i = 0; i < NODES && !w->failed; i++) {
        struct node *reader = &w->nodes[i];

        if (!reader->is_durable || !reader->client || reader->over ||
            !owner_may_read(w, i, topic_index("st/one")))
            continue;
        if (!reader->subscriptions[SUBSCRIPTION_DURABLE].live)
            sim_fail(w, "%s does not follow in calm", reader->name);
        /* What it could not open, for want of a key that may yet come, may be in the way of more.
         */
        else if (!reader->stored_unopened)
            account(reader);
    }
}
