/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading keys: every component that reads stored messages hands in the key it wants them sealed
 * for, signed by its identity. The broker keeps the latest of each and tells it to who may publish
 * such messages; whether it is genuine is for them to see.
 */
#include "broker/stream.h"

struct statement {
    UT_hash_handle hh;
    uint8_t identity[SIGN_PUBLIC_SIZE];
    size_t size;
    uint8_t *at;
};

/* A rule that stores for readers who are away and lets @reader read; NULL: there is none. */
static const struct rule *rule_of_reader(const struct broker *b, const struct component *reader)
{
    for (size_t i = 0; reader && i < registry_rule_count(b->registry); i++) {
        const struct rule *rule = registry_rule_at(b->registry, i);

        if (rule->store.on && rule->history && rule_allows(rule, reader, RIGHT_SUBSCRIBE))
            return rule;
    }
    return NULL;
}

/* Whether some rule that stores for readers who are away lets @publisher publish what @reader
 * (NULL: whoever) reads. */
static bool concerns(const struct broker *b, const struct component *publisher,
                     const struct component *reader)
{
    for (size_t i = 0; publisher && i < registry_rule_count(b->registry); i++) {
        const struct rule *rule = registry_rule_at(b->registry, i);

        if (rule->store.on && rule->history && rule_allows(rule, publisher, RIGHT_PUBLISH) &&
            (!reader || rule_allows(rule, reader, RIGHT_SUBSCRIBE)))
            return true;
    }
    return false;
}

static void tell(struct broker *b, struct broker_peer *peer, const uint8_t *identity,
                 struct bytes statement)
{
    struct record_reading record = {bytes_of(identity, SIGN_PUBLIC_SIZE), statement};
    struct writer w =
        control_begin(b, peer, RECORD_HEAD_SIZE + SIGN_PUBLIC_SIZE + 2 + statement.size);

    record_write_reading(&w, &record);
    control_end(b, peer, &w);
}

void statements_tell(struct broker *b, struct broker_peer *peer)
{
    static const uint8_t nobody[SIGN_PUBLIC_SIZE];
    const struct statement *s;

    if (b->settings.has_store && !b->streams.loaded)
        return; /* statements_loaded() tells them */
    if (!concerns(b, peer->member->component, NULL))
        return;
    for (s = b->streams.statements; s; s = s->hh.next) {
        const struct component *reader = registry_find_identity(b->registry, s->identity);

        if (reader && concerns(b, peer->member->component, reader))
            tell(b, peer, s->identity, bytes_of(s->at, s->size));
    }
    tell(b, peer, nobody, bytes_of(NULL, 0));
}

static struct statement *find(struct broker *b, const uint8_t *identity)
{
    struct statement *s = NULL;

    HASH_FIND(hh, b->streams.statements, identity, SIGN_PUBLIC_SIZE, s);
    return s;
}

static bool is_kept(struct broker *b, const uint8_t *identity, struct bytes bytes)
{
    const struct statement *s = find(b, identity);

    return s && bytes_equal(bytes_of(s->at, s->size), bytes);
}

/* Keeps @bytes as the statement of @identity. 0 or AICO_ENOMEM. */
static int keep(struct broker *b, const uint8_t *identity, struct bytes bytes)
{
    struct statement *s = find(b, identity);
    uint8_t *at;

    at = malloc(bytes.size);
    if (!s && at && (s = calloc(1, sizeof(*s))) != NULL) {
        memcpy(s->identity, identity, sizeof(s->identity));
        HASH_ADD(hh, b->streams.statements, identity, sizeof(s->identity), s);
        if (!HASH_ADDED(hh, s)) {
            free(s);
            s = NULL;
        }
    }
    if (!s || !at) {
        free(at);
        return AICO_ENOMEM;
    }
    bytes_copy(at, bytes);
    free(s->at);
    s->at = at;
    s->size = bytes.size;
    return 0;
}

void statements_loaded(struct broker *b, struct store_order *order)
{
    struct bytes rest = buffer_view(&order->out), identity, statement;
    struct broker_peer *peer;

    b->streams.loaded = true;
    while (store_statement_next(&rest, &identity, &statement))
        /* One that was handed in meanwhile is newer. */
        if (!find(b, identity.at) && keep(b, identity.at, statement) < 0)
            order->code = AICO_ENOMEM;
    DL_FOREACH(b->peers, peer)
    if (peer->state == PEER_READY)
        statements_tell(b, peer);
}

static int give_statement(struct broker *b, const uint8_t *identity, struct bytes statement)
{
    struct store_order *order = order_new(STORE_STATEMENT, statement.size);
    size_t used = 0;

    if (!order)
        return AICO_ENOMEM;
    memcpy(order->identity, identity, sizeof(order->identity));
    order->data = order_keep(order, &used, statement);
    order_give(b, order);
    return 0;
}

/* Of a component with a right to read that we do not know of yet, it is kept until we do. */
int on_reading(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    const struct rule *rule = rule_of_reader(b, peer->member->component);
    struct record_reading m;
    struct broker_peer *other, *next;
    int r = record_parse_reading(record, &m);

    if (r < 0)
        return r;
    if (m.statement.size == 0 ||
        !bytes_equal(m.identity, bytes_of(peer->member->identity, SIGN_PUBLIC_SIZE)))
        return AICO_EPROTO;
    if (!b->settings.has_store || is_kept(b, peer->member->identity, m.statement) ||
        !quota_take_scarce(b, peer, SCARCE_READING, rule))
        return 0;
    if (keep(b, peer->member->identity, m.statement) < 0 ||
        give_statement(b, peer->member->identity, m.statement) < 0) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for a reading key");
        return 0;
    }
    HASH_ITER(hh, b->sessions, other, next)
    {
        work_add(b, WORK_PRESENCE);
        if (other != peer && concerns(b, other->member->component, peer->member->component))
            tell(b, other, peer->member->identity, m.statement);
    }
    return 0;
}

void statements_free(struct broker *b)
{
    struct statement *s, *next;

    HASH_ITER(hh, b->streams.statements, s, next)
    {
        HASH_DEL(b->streams.statements, s);
        free(s->at);
        free(s);
    }
}
