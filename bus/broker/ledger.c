/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The books: by sender and rule what was accepted and refused, and by reader besides what became of
 * it. They are kept apart from the totals, so that one can be held against the other.
 */
#include "base/json.h"
#include "broker/internal.h"

/* --- counting ------------------------------------------------------------------------------- */

/* @rule: NULL, none. */
static struct ledger_row *row_of(struct broker *b, struct ledger_key key, const struct rule *rule)
{
    struct bytes filter = rule ? rule->filter : bytes_of(NULL, 0);
    bool by_topic = key.way == LEDGER_BY_TOPIC;
    /* The table is bounded; what does not fit is counted together. */
    struct ledger_row *rest = by_topic ? &b->ledger_rest : &b->ledger_rest_direct;
    size_t *rows = by_topic ? &b->ledger_rows : &b->ledger_rows_direct;
    size_t rows_max = by_topic ? LEDGER_ROWS_MAX : LEDGER_DIRECT_ROWS_MAX;
    struct ledger_row *row = NULL;

    if (rule)
        memcpy(key.rule, rule->id, sizeof(key.rule));
    HASH_FIND(hh, b->ledger, &key, sizeof(key), row);
    if (row)
        return row;
    row = *rows < rows_max ? calloc(1, sizeof(*row) + filter.size) : NULL;
    if (!row)
        return rest;
    row->key = key;
    row->filter = bytes_of(row + 1, filter.size);
    bytes_copy((uint8_t *)(row + 1), filter);
    HASH_ADD(hh, b->ledger, key, sizeof(row->key), row);
    if (!HASH_ADDED(hh, row)) {
        free(row);
        return rest;
    }
    ++*rows;
    return row;
}

struct ledger_row *ledger_row(struct broker *b, const struct member *sender,
                              const struct rule *rule, const struct member *reader)
{
    return row_of(b,
                  (struct ledger_key){.sender = sender->number,
                                      .reader = reader ? reader->number : 0,
                                      .way = LEDGER_BY_TOPIC},
                  rule);
}

struct ledger_row *direct_row(struct broker *b, const struct member *sender,
                              const struct rule *rule, const struct member *reader,
                              enum ledger_way way)
{
    bool is_own = way == LEDGER_CONTROL;

    return row_of(b,
                  (struct ledger_key){.sender = sender->number,
                                      .reader = reader && !is_own ? reader->number : 0,
                                      .way = way},
                  is_own ? NULL : rule);
}

enum ledger_way direct_way(uint8_t delivery)
{
    switch (delivery) {
    case DELIVERY_CONTROL:
        return LEDGER_CONTROL;
    case DELIVERY_REQUEST:
        return LEDGER_REQUEST;
    case DELIVERY_REPLY:
        return LEDGER_REPLY;
    default:
        return LEDGER_DIRECT;
    }
}

static const struct rule *rule_of(struct broker *b, const struct record_publish *p)
{
    struct topic *topic = p->topic ? topic_by_number(b, p->topic) : topic_find(b, p->topic_name);

    if (topic)
        return topic_rule(b, topic);
    return topic_is_valid(p->topic_name) && !topic_is_internal(p->topic_name)
               ? registry_rule_for(b->registry, p->topic_name)
               : NULL;
}

/* NULL: there is none of that name. */
static const struct member *receiver_of(struct broker *b, const struct record_publish *p)
{
    const struct component *component;

    if (p->to != NUMBER_BY_NAME)
        return member_by_number(b, p->to);
    component = registry_find_name(b->registry, p->to_name);
    return component ? member_get(b, p->to_name, component->identity) : NULL;
}

/* Who has no right there fills no rows: to whom it would have gone is not said. */
static bool is_entitled(const struct member *sender, const struct rule *rule, enum ledger_way way)
{
    return rule && sender->component &&
           rule_allows(rule, sender->component,
                       way == LEDGER_REPLY ? RIGHT_SUBSCRIBE : RIGHT_PUBLISH);
}

struct ledger_row *refused_row(struct broker *b, const struct member *sender,
                               const struct record_publish *p, const struct rule *rule)
{
    enum ledger_way way = direct_way(p->delivery);

    if (p->to == 0 || p->delivery == DELIVERY_MAILBOX)
        return ledger_row(b, sender, rule, NULL);
    rule = rule_of(b, p);
    return direct_row(b, sender, rule, is_entitled(sender, rule, way) ? receiver_of(b, p) : NULL,
                      way);
}

static struct broker_flow *total_of(struct broker *b, const struct ledger_row *row)
{
    return row->key.way == LEDGER_BY_TOPIC ? &b->totals.by_topic : &b->totals.to_one;
}

static void flow_routed(struct broker_flow *flow, uint64_t count)
{
    flow->routed += count;
    flow->queued += count;
}

void count_routed(struct broker *b, struct broker_peer *peer, struct ledger_row *row,
                  uint64_t count)
{
    (void)peer;
    flow_routed(total_of(b, row), count);
    flow_routed(&row->flow, count);
}

static void flow_moved(struct broker_flow *flow, uint64_t count)
{
    flow->routed -= count;
    flow->queued -= count;
}

void count_moved(struct broker *b, struct ledger_row *row, uint64_t count)
{
    flow_moved(total_of(b, row), count);
    flow_moved(&row->flow, count);
}

static void flow_delivered(struct broker_flow *flow, uint64_t count)
{
    flow->delivered += count;
    flow->queued -= count;
}

void count_delivered(struct broker *b, struct broker_peer *peer, struct ledger_row *row,
                     uint64_t count)
{
    flow_delivered(total_of(b, row), count);
    flow_delivered(&row->flow, count);
    if (row->key.way == LEDGER_BY_TOPIC)
        peer->delivered += count;
}

static void flow_dropped(struct broker_flow *flow, enum broker_drop cause, uint64_t count)
{
    flow->dropped[cause] += count;
    flow->queued -= count;
}

void count_dropped(struct broker *b, struct broker_peer *peer, struct ledger_row *row,
                   enum broker_drop cause, uint64_t count)
{
    flow_dropped(total_of(b, row), cause, count);
    flow_dropped(&row->flow, cause, count);
    if (peer && row->key.way == LEDGER_BY_TOPIC)
        peer->dropped += count;
}

static void causes_free(struct ledger_cause *causes)
{
    while (causes) {
        struct ledger_cause *cause = causes;

        LL_DELETE(causes, cause);
        free(cause);
    }
}

void ledger_free(struct broker *b)
{
    struct ledger_row *row, *next;

    HASH_ITER(hh, b->ledger, row, next)
    {
        HASH_DEL(b->ledger, row);
        causes_free(row->refused_for);
        causes_free(row->left_for);
        free(row);
    }
    causes_free(b->ledger_rest.refused_for);
    causes_free(b->ledger_rest_direct.refused_for);
    causes_free(b->ledger_rest_direct.left_for);
}

struct ledger_row *sender_row(struct broker *b, const struct member *sender,
                              const struct rule *rule)
{
    return sender ? ledger_row(b, sender, rule, NULL) : &b->ledger_rest;
}

void count_published(struct broker *b, const struct member *sender, const struct rule *rule,
                     uint64_t count)
{
    b->totals.published += count;
    sender_row(b, sender, rule)->published += count;
}

void count_stored(struct broker *b, const struct member *sender, const struct rule *rule,
                  uint64_t count)
{
    count_published(b, sender, rule, count);
    b->totals.stored += count;
    sender_row(b, sender, rule)->stored += count;
}

void count_direct(struct broker *b, struct ledger_row *row)
{
    b->totals.direct++;
    row->published++;
}

/* Without memory for a new cause it is counted and not named. */
static void cause_add(struct ledger_cause **causes, int code)
{
    struct ledger_cause *cause;

    LL_FOREACH(*causes, cause)
    if (cause->code == code)
        break;
    if (!cause && (cause = calloc(1, sizeof(*cause))) != NULL) {
        cause->code = code;
        LL_PREPEND(*causes, cause);
    }
    if (cause)
        cause->count++;
}

void count_refused(struct broker *b, struct ledger_row *row, int code)
{
    b->totals.refused++;
    row->refused++;
    cause_add(&row->refused_for, code);
}

void count_asked(struct broker *b, struct ledger_row *row)
{
    b->totals.requests.asked++;
    row->asked++;
}

void count_request_ended(struct broker *b, struct ledger_row *row, int code)
{
    if (code == 0) {
        b->totals.requests.answered++;
        row->answered++;
        return;
    }
    b->totals.requests.unanswered++;
    row->unanswered++;
    cause_add(&row->left_for, code);
}

/* --- the answer ----------------------------------------------------------------------------- */

uint64_t broker_flow_dropped(const struct broker_flow *flow)
{
    uint64_t sum = 0;

    for (int cause = 0; cause < DROP_CAUSES; cause++)
        sum += flow->dropped[cause];
    return sum;
}

static bool flow_balances(const struct broker_flow *flow)
{
    return flow->routed == flow->delivered + broker_flow_dropped(flow) + flow->queued;
}

bool broker_totals_balance(const struct broker_totals *t)
{
    const struct broker_requests *r = &t->requests;

    return flow_balances(&t->by_topic) && flow_balances(&t->to_one) &&
           r->asked == r->answered + r->unanswered + r->open;
}

/* What the rows of one kind have together. */
struct sums {
    uint64_t published, refused, stored, asked, answered, unanswered;
    struct broker_flow flow;
};

static void add(struct sums *sum, const struct ledger_row *row)
{
    sum->published += row->published;
    sum->refused += row->refused;
    sum->stored += row->stored;
    sum->asked += row->asked;
    sum->answered += row->answered;
    sum->unanswered += row->unanswered;
    sum->flow.routed += row->flow.routed;
    sum->flow.delivered += row->flow.delivered;
    sum->flow.queued += row->flow.queued;
    for (int cause = 0; cause < DROP_CAUSES; cause++)
        sum->flow.dropped[cause] += row->flow.dropped[cause];
}

static void add_all(const struct broker *b, struct sums *topic, struct sums *direct)
{
    const struct ledger_row *row;

    for (row = b->ledger; row; row = row->hh.next)
        add(row->key.way == LEDGER_BY_TOPIC ? topic : direct, row);
    add(topic, &b->ledger_rest);
    add(direct, &b->ledger_rest_direct);
}

/* Whether what is counted as waiting is what lies in the outboxes. */
static bool is_queued(const struct broker *b)
{
    uint64_t waiting[LANES] = {0};
    const struct broker_peer *peer;

    DL_FOREACH(b->peers, peer)
    for (int lane = 0; lane < LANES; lane++)
        waiting[lane] += peer->lanes[lane].messages;
    return waiting[LANE_TOPIC] == b->totals.by_topic.queued &&
           waiting[LANE_DIRECT] == b->totals.to_one.queued;
}

/* Every message accepted for a reader was delivered, dropped for a cause, or waits, every request
 * was answered, will not be for a cause, or waits; and the rows say the same as the totals. */
static bool is_balanced(const struct broker *b, const struct sums *topic, const struct sums *direct)
{
    struct broker_totals t;

    broker_get_totals(b, &t);
    return topic->published == t.published && direct->published == t.direct &&
           topic->refused + direct->refused == t.refused && topic->stored == t.stored &&
           memcmp(&topic->flow, &t.by_topic, sizeof(topic->flow)) == 0 &&
           memcmp(&direct->flow, &t.to_one, sizeof(direct->flow)) == 0 &&
           direct->asked == t.requests.asked && direct->answered == t.requests.answered &&
           direct->unanswered == t.requests.unanswered && broker_totals_balance(&t) && is_queued(b);
}

static const char *way_name(enum ledger_way way)
{
    static const char *const names[] = {
        [LEDGER_BY_TOPIC] = "topic", [LEDGER_DIRECT] = "direct",   [LEDGER_REQUEST] = "request",
        [LEDGER_REPLY] = "reply",    [LEDGER_CONTROL] = "control",
    };

    return names[way];
}

static void put_causes(struct json *json, const char *key, const struct ledger_cause *causes)
{
    const struct ledger_cause *cause;

    json_open_object(json, key);
    LL_FOREACH(causes, cause)
    json_put_u64(json, aico_error_name(cause->code), cause->count);
    json_close_object(json);
}

static void put_flow(struct json *json, const struct broker_flow *flow)
{
    json_put_u64(json, "routed", flow->routed);
    json_put_u64(json, "delivered", flow->delivered);
    json_put_u64(json, "queued", flow->queued);
    put_drops(json, flow->dropped);
}

static void put_row(const struct broker *b, struct json *json, const struct ledger_row *row)
{
    bool rest = row == &b->ledger_rest || row == &b->ledger_rest_direct;
    uint32_t reader = row->key.reader; /* 0: by topic, the sender's own row */
    const struct rule *rule = registry_rule_named(b->registry, row->filter);

    json_open_object(json, NULL);
    json_put_text(json, "sender",
                  bytes_text(rest ? "*" : b->member_by_number[row->key.sender]->name));
    json_put_u64(json, "rule_line", rule ? rule->line : 0);
    json_put_text(json, "rule", row->filter);
    json_put_text(json, "way", bytes_text(way_name((enum ledger_way)row->key.way)));
    json_put_text(json, "reader",
                  bytes_text(rest     ? "*"
                             : reader ? b->member_by_number[reader]->name
                                      : ""));
    json_put_u64(json, "published", row->published);
    json_put_u64(json, "refused", row->refused);
    put_causes(json, "refused_for", row->refused_for);
    json_put_u64(json, "stored", row->stored);
    put_flow(json, &row->flow);
    json_put_u64(json, "returned", row->returned);
    if (row->asked > 0) {
        json_put_u64(json, "asked", row->asked);
        json_put_u64(json, "answered", row->answered);
        json_put_u64(json, "open", row->asked - row->answered - row->unanswered);
        put_causes(json, "unanswered", row->left_for);
    }
    json_close_object(json);
}

static bool is_used(const struct ledger_row *row)
{
    return row->flow.routed + row->published + row->refused + row->asked > 0;
}

static void put_rows(const struct broker *b, struct json *json)
{
    const struct ledger_row *row;
    uint64_t left_out = 0;

    json_open_array(json, "rows");
    for (row = b->ledger; row; row = row->hh.next)
        if (is_too_long(json))
            left_out++;
        else
            put_row(b, json, row);
    if (is_used(&b->ledger_rest))
        put_row(b, json, &b->ledger_rest);
    if (is_used(&b->ledger_rest_direct))
        put_row(b, json, &b->ledger_rest_direct);
    json_close_array(json);
    json_put_u64(json, "left_out", left_out);
}

void ledger_json(const struct broker *b, struct json *json)
{
    struct sums topic = {0}, direct = {0};

    add_all(b, &topic, &direct);
    json_open_object(json, NULL);
    json_put_bool(json, "balanced", is_balanced(b, &topic, &direct));
    json_put_u64(json, "registries", b->registry_generation - 1);
    json_put_u64(json, "published", topic.published);
    json_put_u64(json, "refused", topic.refused + direct.refused);
    json_put_u64(json, "stored", topic.stored);
    put_flow(json, &topic.flow);
    json_open_object(json, "to_one");
    json_put_u64(json, "published", direct.published);
    put_flow(json, &direct.flow);
    json_close_object(json);
    json_open_object(json, "requests");
    json_put_u64(json, "asked", direct.asked);
    json_put_u64(json, "answered", direct.answered);
    json_put_u64(json, "unanswered", direct.unanswered);
    json_put_u64(json, "open", HASH_COUNT(b->requests));
    json_close_object(json);
    put_rows(b, json);
    json_close_object(json);
}
