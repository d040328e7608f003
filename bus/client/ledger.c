/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The books of one client: by sender, rule and receiver what became of each message, and why not of
 * those it did not become of. Kept apart from the counters of <aico/client.h>, so that one can be
 * held against the other.
 */
#include <stdlib.h>

#include "base/json.h"
#include "client/internal.h"

#define ROWS_MAX 4096

struct ledger_key {
    const struct client_component *sender;   /* NULL: we */
    const struct client_component *receiver; /* to whom it was addressed; NULL: to subscribers */
    uint8_t rule[RULE_ID_SIZE];              /* zeros: no rule, or it is not known */
    uint64_t way;                            /* enum ledger_way; no padding */
};

struct ledger_loss {
    struct ledger_loss *next;
    enum ledger_fate fate;
    int code;
    uint64_t count;
};

struct ledger_row {
    UT_hash_handle hh;
    struct ledger_key key;
    struct bytes filter;              /* of the rule, which may be gone; behind the row */
    uint64_t published, acknowledged; /* of ours */
    uint64_t answered;                /* of our requests */
    uint64_t copies;                  /* for one reader of what went to subscribers: acknowledged */
    uint64_t unsure;                  /* the link broke before the broker answered */
    uint64_t received, kept;          /* of others; kept: of them, what our disk had */
    uint64_t repeated;                /* came, and was not shown */
    struct ledger_loss *losses;
};

static struct ledger_row *row_of(struct client *client, const struct client_component *sender,
                                 const struct client_component *receiver, enum ledger_way way,
                                 const struct rule *rule)
{
    struct bytes filter = rule ? rule->filter : bytes_of(NULL, 0);
    struct ledger_key key = {.sender = sender, .receiver = receiver, .way = way};
    struct ledger_row *row = client->ledger_last;

    if (rule)
        memcpy(key.rule, rule->id, sizeof(key.rule));
    if (row && memcmp(&row->key, &key, sizeof(key)) == 0)
        return row;
    HASH_FIND(hh, client->ledger, &key, sizeof(key), row);
    if (!row && HASH_COUNT(client->ledger) < ROWS_MAX &&
        (row = calloc(1, sizeof(*row) + filter.size)) != NULL) {
        row->key = key;
        row->filter = bytes_of(row + 1, filter.size);
        bytes_copy((uint8_t *)(row + 1), filter);
        HASH_ADD(hh, client->ledger, key, sizeof(row->key), row);
        if (!HASH_ADDED(hh, row)) {
            free(row);
            row = NULL;
        }
    }
    if (row)
        client->ledger_last = row;
    else
        client->ledger_lost = true; /* the books have no room: they say so */
    return row;
}

enum ledger_way ledger_way_of(uint8_t delivery, bool is_direct)
{
    switch (delivery) {
    case DELIVERY_MAILBOX:
        return LEDGER_MAILBOX;
    case DELIVERY_REQUEST:
        return LEDGER_REQUEST;
    case DELIVERY_REPLY:
        return LEDGER_REPLY;
    default:
        return is_direct ? LEDGER_DIRECT : LEDGER_BY_TOPIC;
    }
}

static const struct rule *rule_of(struct client *client, struct client_topic *topic)
{
    return topic ? client_topic_rule(client, topic) : NULL;
}

static struct ledger_row *own_row(struct client *client, struct client_topic *topic,
                                  const struct client_component *to, uint8_t delivery)
{
    const struct rule *rule = rule_of(client, topic);
    enum ledger_way way = ledger_way_of(delivery, to != NULL);

    if (way == LEDGER_BY_TOPIC && rule &&
        (rule->seal == SEAL_CHANNEL || rule->seal == SEAL_RATCHET))
        way = LEDGER_COPIES;
    return row_of(client, NULL, to, way, rule);
}

static struct ledger_row *row_from(struct client *client, const struct client_component *sender,
                                   enum ledger_way way, struct client_topic *topic)
{
    const struct client_component *self =
        way == LEDGER_BY_TOPIC ? NULL : component_get(client, bytes_text(client->self->name));

    return row_of(client, sender, self, way, rule_of(client, topic));
}

void ledger_published(struct client *client, struct client_topic *topic,
                      const struct client_component *to, uint8_t delivery, uint64_t count)
{
    struct ledger_row *row = own_row(client, topic, to, delivery);

    if (row)
        row->published += count;
}

void ledger_acknowledged(struct client *client, struct client_topic *topic,
                         const struct client_component *to, uint8_t delivery, uint64_t count)
{
    struct ledger_row *row = own_row(client, topic, to, delivery);

    if (row)
        row->acknowledged += count;
}

void ledger_copied(struct client *client, struct client_topic *topic,
                   const struct client_component *to, uint8_t delivery)
{
    struct ledger_row *row = own_row(client, topic, to, delivery);

    if (row)
        row->copies++;
}

void ledger_unsure(struct client *client, struct client_topic *topic,
                   const struct client_component *to, uint8_t delivery)
{
    struct ledger_row *row = own_row(client, topic, to, delivery);

    if (row)
        row->unsure++;
}

void ledger_received(struct client *client, const struct client_component *sender,
                     struct client_topic *topic, enum ledger_way way, bool is_kept, uint64_t count)
{
    struct ledger_row *row = row_from(client, sender, way, topic);

    if (!row)
        return;
    row->received += count;
    row->kept += is_kept ? count : 0;
}

void ledger_repeated(struct client *client, const struct client_component *sender,
                     struct client_topic *topic, enum ledger_way way, uint64_t count)
{
    struct ledger_row *row = row_from(client, sender, way, topic);

    if (row)
        row->repeated += count;
}

static void lose(struct client *client, struct ledger_row *row, enum ledger_fate fate, int code,
                 uint64_t count)
{
    struct ledger_loss *loss;

    if (!row)
        return;
    LL_FOREACH(row->losses, loss)
    if (loss->fate == fate && loss->code == code)
        break;
    if (!loss) {
        loss = calloc(1, sizeof(*loss));
        if (!loss) {
            client->ledger_lost = true;
            return;
        }
        loss->fate = fate;
        loss->code = code;
        LL_PREPEND(row->losses, loss);
    }
    loss->count += count;
}

void ledger_refused(struct client *client, struct client_topic *topic,
                    const struct client_component *to, uint8_t delivery, int code)
{
    lose(client, own_row(client, topic, to, delivery), LEDGER_REFUSED, code, 1);
}

void ledger_request_ended(struct client *client, struct client_topic *topic,
                          const struct client_component *to, int code)
{
    struct ledger_row *row = own_row(client, topic, to, DELIVERY_REQUEST);

    if (row) {
        row->published++;
        row->answered += code == 0;
    }
    if (code < 0)
        lose(client, row, LEDGER_REFUSED, code, 1);
}

void ledger_copy_refused(struct client *client, struct client_topic *topic,
                         const struct client_component *to, int code)
{
    lose(client, own_row(client, topic, to, DELIVERY_EVENT), LEDGER_COPY_REFUSED, code, 1);
}

void ledger_reply_unopened(struct client *client, const struct client_component *sender,
                           struct client_topic *topic, int code)
{
    lose(client, row_from(client, sender, LEDGER_REPLY, topic), LEDGER_UNOPENED, code, 1);
}

void ledger_missed(struct client *client, enum ledger_fate fate, struct bytes sender,
                   struct bytes topic, enum ledger_way way, int code, uint64_t count)
{
    const struct client_component *from = component_get(client, sender);
    struct client_topic *known = topic.size > 0 ? client_topic_get(client, topic) : NULL;

    lose(client, row_from(client, from, way, known), fate, code, count);
}

/* --- the answer ------------------------------------------------------------------------------- */

static uint64_t lost(const struct ledger_row *row, enum ledger_fate fate)
{
    const struct ledger_loss *loss;
    uint64_t sum = 0;

    LL_FOREACH(row->losses, loss)
    sum += loss->fate == fate ? loss->count : 0;
    return sum;
}

/* Own messages that wait for a channel. */
static uint64_t parked_own(const struct client *client)
{
    const struct client_component *c;
    const struct parked *parked;
    uint64_t count = 0;

    for (c = client->components; c; c = c->hh.next)
        DL_FOREACH(c->parked, parked)
    count += !parked->quiet && parked->head.id != 0;
    return count;
}

static uint64_t open_requests(const struct client *client)
{
    const struct operation *operation;
    uint64_t count = 0;

    DL_FOREACH(client->operations, operation)
    count += operation->kind == OPERATION_REQUEST;
    return count;
}

/* Our requests and what answers them are in no counter of messages. */
static bool is_asking(const struct ledger_row *row)
{
    return row->key.sender ? row->key.way == LEDGER_REPLY : row->key.way == LEDGER_REQUEST;
}

/* Each of our requests was answered, refused, or waits. */
static bool requests_balance(const struct client *client)
{
    uint64_t asked = 0, ended = 0;
    const struct ledger_row *row;

    for (row = client->ledger; row; row = row->hh.next)
        if (!row->key.sender && is_asking(row)) {
            asked += row->published;
            ended += row->answered + lost(row, LEDGER_REFUSED);
        }
    return asked == ended && client->requests == ended + open_requests(client);
}

/* The rows say what the counters say, and of ours each was answered, refused, or waits. */
static bool is_balanced(const struct client *client)
{
    uint64_t published = 0, acknowledged = 0, received = 0, sums[LEDGER_FATES] = {0};
    const struct aico_client_stats *s = &client->stats;
    const struct ledger_row *row;

    for (row = client->ledger; row; row = row->hh.next) {
        if (is_asking(row))
            continue;
        published += row->published;
        acknowledged += row->acknowledged;
        received += row->received;
        for (int fate = 0; fate < LEDGER_FATES; fate++)
            sums[fate] += lost(row, (enum ledger_fate)fate);
    }
    return !client->ledger_lost && requests_balance(client) && acknowledged == s->acknowledged &&
           received == s->received && sums[LEDGER_REFUSED] == s->refused &&
           sums[LEDGER_MISSING] == s->gaps && sums[LEDGER_UNOPENED] == s->unopened &&
           published == acknowledged + s->refused + client->unacknowledged + parked_own(client);
}

static void put_losses(struct json *json, const char *key, const struct ledger_row *row,
                       enum ledger_fate fate)
{
    const struct ledger_loss *loss;

    json_open_object(json, key);
    LL_FOREACH(row->losses, loss)
    if (loss->fate == fate)
        json_put_u64(json, aico_error_name(loss->code), loss->count);
    json_close_object(json);
}

static const char *way_name(enum ledger_way way)
{
    static const char *const names[] = {
        [LEDGER_BY_TOPIC] = "topic", [LEDGER_COPIES] = "copies",   [LEDGER_MAILBOX] = "mailbox",
        [LEDGER_DIRECT] = "direct",  [LEDGER_REQUEST] = "request", [LEDGER_REPLY] = "reply",
    };

    return names[way];
}

static void put_row(const struct client *client, struct json *json, const struct ledger_row *row)
{
    const struct rule *rule = registry_rule_named(client->registry, row->filter);

    json_open_object(json, NULL);
    json_put_text(json, "sender",
                  bytes_text(row->key.sender ? row->key.sender->name : client->self->name));
    json_put_u64(json, "rule_line", rule ? rule->line : 0);
    json_put_text(json, "rule", row->filter);
    json_put_text(json, "receiver", bytes_text(row->key.receiver ? row->key.receiver->name : ""));
    json_put_text(json, "way", bytes_text(way_name((enum ledger_way)row->key.way)));
    json_put_u64(json, "published", row->published);
    json_put_u64(json, "acknowledged", row->acknowledged);
    json_put_u64(json, "answered", row->answered);
    json_put_u64(json, "copies", row->copies);
    put_losses(json, "copies_refused", row, LEDGER_COPY_REFUSED);
    json_put_u64(json, "unsure", row->unsure);
    json_put_u64(json, "received", row->received);
    json_put_u64(json, "kept", row->kept);
    json_put_u64(json, "repeated", row->repeated);
    put_losses(json, "refused", row, LEDGER_REFUSED);
    put_losses(json, "missing", row, LEDGER_MISSING);
    put_losses(json, "unopened", row, LEDGER_UNOPENED);
    json_close_object(json);
}

int client_ledger(const struct client *client, struct buffer *ret_json)
{
    struct json json = json_over(ret_json);
    const struct ledger_row *row;

    json_open_object(&json, NULL);
    json_put_text(&json, "component", bytes_text(client->self->name));
    json_put_bool(&json, "balanced", is_balanced(client));
    json_put_u64(&json, "published", client->stats.published);
    json_put_u64(&json, "waiting",
                 client->queue.count + client->unacknowledged + parked_own(client) +
                     open_requests(client));
    json_open_array(&json, "rows");
    for (row = client->ledger; row; row = row->hh.next)
        put_row(client, &json, row);
    json_close_array(&json);
    json_close_object(&json);
    return json.failed ? AICO_ENOMEM : 0;
}

void ledger_clear(struct client *client)
{
    struct ledger_row *row, *next;

    HASH_ITER(hh, client->ledger, row, next)
    {
        HASH_DEL(client->ledger, row);
        while (row->losses) {
            struct ledger_loss *loss = row->losses;

            LL_DELETE(row->losses, loss);
            free(loss);
        }
        free(row);
    }
}
