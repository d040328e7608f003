/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps prekeys, gives each one-time key once, and says when few are left. */
#include "broker/stream.h"

#define PREKEYS_LOW 25
/* 10 bundles a minute and component: a token in 6 s, so the bucket's clock runs 6 times slower. */
#define BUNDLE_SLOWNESS 6
#define BUNDLE_BURST 10

void prekeys_forget(struct member *member)
{
    free(member->prekeys);
    member->prekeys = NULL;
}

/* A BUNDLE that came before the store had said what there is. */
struct bundle_asked {
    struct bundle_asked *next;
    uint64_t serial, id;
    uint8_t size;
    char name[COMPONENT_NAME_MAX];
};

static void say_left(struct broker *b, struct broker_peer *peer, const struct prekeys *prekeys)
{
    struct writer w = control_begin(b, peer, RECORD_HEAD_SIZE + 6);

    record_write_prekeys_left(&w, prekeys->number, (uint16_t)prekeys->count);
    control_end(b, peer, &w);
}

/* Number and identity of a statement. */
static uint32_t read_statement(struct bytes statement, struct bytes *ret_identity)
{
    struct reader r = reader_over(statement);
    uint32_t number;

    (void)reader_u32(&r); /* version, type, suite */
    number = reader_u32(&r);
    (void)reader_bytes(&r, 16); /* created, expires */
    *ret_identity = reader_bytes(&r, SIGN_PUBLIC_SIZE);
    return number;
}

static void add_keys(struct prekeys *prekeys, struct bytes keys)
{
    size_t count = MIN(keys.size / ONE_TIME_SIZE, PREKEYS_MAX - prekeys->count);

    bytes_copy(prekeys->keys[prekeys->count], bytes_of(keys.at, count * ONE_TIME_SIZE));
    prekeys->count += count;
}

/* Empty: there is none any more. A failure is in the log; the directory has it all the same. */
static void give_store(struct broker *b, const uint8_t *identity, struct bytes statement)
{
    struct store_order *order =
        b->settings.has_store ? order_new(STORE_PREKEYS, statement.size) : NULL;
    size_t used = 0;

    if (!order)
        return;
    memcpy(order->identity, identity, sizeof(order->identity));
    order->data = order_keep(order, &used, statement);
    order_give(b, order);
}

/* One under which a ratchet may be begun with @peer, which a high security_level does wherever
 * something is sealed. NULL: there is none. */
static const struct rule *rule_of(const struct broker *b, const struct broker_peer *peer)
{
    for (size_t i = 0; i < registry_rule_count(b->registry); i++) {
        const struct rule *rule = registry_rule_at(b->registry, i);

        if (rule->seal != SEAL_NONE && peer->member->component &&
            rule_allows(rule, peer->member->component, RIGHT_SUBSCRIBE))
            return rule;
    }
    return NULL;
}

int on_prekeys(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct member *member = peer->member;
    const struct rule *rule;
    struct record_prekeys m;
    struct bytes identity;
    uint32_t number;
    int r = record_parse_prekeys(record, &m);

    if (r < 0)
        return r;
    number = read_statement(m.statement, &identity);
    if (!bytes_equal(identity, bytes_of(member->identity, SIGN_PUBLIC_SIZE)))
        return AICO_EPROTO;
    rule = rule_of(b, peer);
    if (!rule && !is_ahead(b, peer)) {
        log_unanswered(b, peer, "PREKEYS");
        return 0;
    }
    if (!(member->prekeys &&
          bytes_equal(bytes_of(member->prekeys->statement, STATEMENT_SIZE), m.statement)) &&
        !quota_take_scarce(b, peer, SCARCE_PREKEYS, rule))
        return 0;
    if (!member->prekeys)
        member->prekeys = calloc(1, sizeof(*member->prekeys));
    if (!member->prekeys) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for prekeys");
        return 0;
    }
    if (member->prekeys->number != number)
        member->prekeys->count = 0;
    if (!bytes_equal(bytes_of(member->prekeys->statement, STATEMENT_SIZE), m.statement))
        give_store(b, member->identity, m.statement);
    member->prekeys->number = number;
    bytes_copy(member->prekeys->statement, m.statement);
    add_keys(member->prekeys, m.keys);
    say_left(b, peer, member->prekeys);
    return 0;
}

/* The key of @name that is active: the one that is connected, else any with prekeys. */
static struct member *find(struct broker *b, struct bytes name)
{
    struct member *found = NULL;

    for (size_t i = 1; i <= b->member_count; i++) {
        struct member *member = b->member_by_number[i];

        if (member->active && bytes_equal_text(name, member->name) && member->prekeys &&
            (!found || member->peer))
            found = member;
    }
    return found;
}

static void give(struct broker *b, struct broker_peer *peer, const struct record_bundle_ask *m,
                 struct member *member)
{
    static const uint8_t nothing[ONE_TIME_SIZE - 4];
    struct prekeys *prekeys = member->prekeys;
    struct record_bundle bundle = {.id = m->id,
                                   .name = m->name,
                                   .statement = bytes_of(prekeys->statement, STATEMENT_SIZE),
                                   .number = ONE_TIME_NONE,
                                   .public = bytes_of(nothing, sizeof(nothing))};
    struct writer w = control_begin(b, peer, RECORD_HEAD_SIZE + 16 + 256 + STATEMENT_SIZE + 64);

    if (prekeys->count > 0) {
        struct reader r = reader_over(bytes_of(prekeys->keys[0], ONE_TIME_SIZE));

        bundle.number = reader_u32(&r);
        bundle.public = reader_rest(&r);
    }
    record_write_bundle(&w, &bundle);
    control_end(b, peer, &w);
    if (prekeys->count == 0)
        return;
    prekeys->count--;
    memmove(prekeys->keys[0], prekeys->keys[1], prekeys->count * ONE_TIME_SIZE);
    if (prekeys->count < PREKEYS_LOW && member->peer)
        say_left(b, member->peer, prekeys);
}

static void answer(struct broker *b, struct broker_peer *peer, const struct record_bundle_ask *m)
{
    struct member *member = find(b, m->name);

    if (member)
        give(b, peer, m, member);
    else
        refuse(b, peer, m->id, AICO_ENOPREKEY, NULL,
               "%.*s has left no prekeys: it must connect once, with a rule that lets it read",
               (int)m->name.size, (const char *)m->name.at);
}

/* --- over a restart ----------------------------------------------------------------------------
 */

/* Answered when the store has said what there is. */
static void postpone(struct broker *b, struct broker_peer *peer, const struct record_bundle_ask *m)
{
    struct bundle_asked *asked = calloc(1, sizeof(*asked));

    if (!asked) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for its question");
        return;
    }
    asked->serial = peer->serial;
    asked->id = m->id;
    asked->size = (uint8_t)MIN(m->name.size, sizeof(asked->name));
    memcpy(asked->name, m->name.at, asked->size);
    LL_APPEND(b->prekeys_asked, asked);
}

int prekeys_start(struct broker *b)
{
    struct store_order *order = order_new(STORE_LOAD_PREKEYS, 0);

    if (!order)
        return AICO_ENOMEM;
    b->prekeys_loading = true;
    order_give(b, order);
    return 0;
}

/* Whoever has connected meanwhile has left newer ones. */
static void take_stored(struct broker *b, const uint8_t *identity, struct bytes statement)
{
    const struct component *c = registry_find_identity(b->registry, identity);
    struct member *member = c ? member_get(b, bytes_text(c->name), identity) : NULL;
    struct bytes whose;

    if (!member || !member->active || statement.size != STATEMENT_SIZE) {
        give_store(b, identity, bytes_of(NULL, 0));
        return;
    }
    if (!member->prekeys)
        member->prekeys = calloc(1, sizeof(*member->prekeys));
    else
        return;
    if (!member->prekeys)
        return;
    member->prekeys->number = read_statement(statement, &whose);
    bytes_copy(member->prekeys->statement, statement);
}

void prekeys_loaded(struct broker *b, struct store_order *order)
{
    struct bytes rest = buffer_view(&order->out), identity, statement;
    struct bundle_asked *asked;

    b->prekeys_loading = false;
    while (store_statement_next(&rest, &identity, &statement))
        take_stored(b, identity.at, statement);
    while ((asked = b->prekeys_asked) != NULL) {
        struct broker_peer *peer = peer_by_serial(b, asked->serial);
        struct record_bundle_ask m = {.id = asked->id, .name = bytes_of(asked->name, asked->size)};

        LL_DELETE(b->prekeys_asked, asked);
        if (peer)
            answer(b, peer, &m);
        free(asked);
    }
}

void prekeys_free(struct broker *b)
{
    struct bundle_asked *asked, *next;

    LL_FOREACH_SAFE(b->prekeys_asked, asked, next)
    {
        LL_DELETE(b->prekeys_asked, asked);
        free(asked);
    }
}

/* --- questions ----------------------------------------------------------------------------------
 */

int on_bundle(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_bundle_ask m;
    int r = record_parse_bundle_ask(record, &m);

    if (r < 0)
        return r;
    if (!bucket_take(&peer->member->bundles, b->now.boot_ms / BUNDLE_SLOWNESS, 1, BUNDLE_BURST)) {
        refuse(b, peer, m.id, AICO_ERATE, NULL, "at most %d bundles of prekeys a minute",
               BUNDLE_BURST);
        return 0;
    }
    if (b->prekeys_loading)
        postpone(b, peer, &m);
    else
        answer(b, peer, &m);
    return 0;
}
