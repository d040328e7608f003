/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored retained values: the last one of each topic whose rule stores (decision 0085). Storing is
 * that of stream.c. Who subscribes gets what matches, read in steps as far as its outbox has room,
 * each with the key its publisher left for it. What is published meanwhile goes through the store
 * as well, so a value that is read is never older than one that was shown before.
 */
#include "broker/quota.h"
#include "broker/stream.h"

#define READ_COUNT 256 /* values of one step */

int64_t value_expires_ms(const struct broker *b, const struct rule *rule, uint32_t ttl_ms)
{
    int64_t end_ms = INT64_MAX;

    if (rule->store.age_s > 0)
        end_ms = b->now.real_ms + (int64_t)rule->store.age_s * 1000;
    return ttl_ms > 0 ? MIN(end_ms, b->now.real_ms + (int64_t)ttl_ms) : end_ms;
}

void value_stored(struct broker *b, struct store_order *order)
{
    order->member->values_used = order->value;
    quota_watch(b, order->member, NULL, QUOTA_VALUES, order->value);
    retained_forget(b, order->topic_ref); /* of before the rule stored */
}

/* --- to who subscribes ------------------------------------------------------------------------ */

/* Whether something that @component may read is stored. */
static bool may_have_values(const struct broker *b, const struct component *component)
{
    for (size_t i = 0; component && i < registry_rule_count(b->registry); i++) {
        const struct rule *rule = registry_rule_at(b->registry, i);

        if (rule->store.on && rule_allows(rule, component, RIGHT_SUBSCRIBE))
            return true;
    }
    return false;
}

/* One order of a link is out at a time, however many subscriptions it has: the others wait in a
 * row, each knowing how far it is, and what is read takes neither memory nor the store from others.
 */
void values_pump_peer(struct broker *b, struct broker_peer *peer)
{
    struct subscription *s = peer->values;
    struct store_order *order;
    size_t used = 0;

    if (!s || peer->values_reading || peer->state != PEER_READY || b->draining ||
        peer->lanes[LANE_TOPIC].bytes > b->settings.outbox_limit / 2)
        return;
    order = order_new(STORE_VALUE_READ, s->size);
    if (!order) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for the values of its topics");
        return;
    }
    order->filter = order_keep(order, &used, bytes_of(s->filter, s->size));
    order_read_for(b, order, peer->member);
    order->after = s->values_after;
    order->count_max = READ_COUNT;
    order->bytes_max = READ_BYTES;
    order->serial = peer->serial;
    order->handle = s->number;
    order->id = s->id;
    peer->values_reading = true;
    order_give_in_turn(b, peer->member, order);
}

static void wait_in_row(struct subscription *s)
{
    s->values_more = true;
    DL_APPEND2(s->peer->values, s, values_prev, values_next);
}

void values_peer_left(struct broker *b, const struct broker_peer *peer)
{
    (void)orders_withdraw(b, true, peer->serial);
}

void values_forget(struct subscription *s)
{
    if (!s->values_more)
        return;
    s->values_more = false;
    DL_DELETE2(s->peer->values, s, values_prev, values_next);
}

void values_catch_up(struct broker *b, struct broker_peer *peer, struct subscription *s)
{
    if (!b->settings.has_store || s->queue || topic_is_internal(bytes_of(s->filter, s->size)) ||
        !may_have_values(b, peer->member->component))
        return;
    wait_in_row(s);
    values_pump_peer(b, peer);
}

static int hand_out(struct broker *b, struct broker_peer *peer, const struct subscription *s,
                    const struct store_row *row, struct bytes *last_key)
{
    struct member *sender = member_get(b, row->sender, row->identity.at);
    struct topic *topic = topic_get(b, row->topic, true);
    const struct rule *rule = topic ? topic_rule(b, topic) : NULL;
    struct record_deliver deliver = {
        .delivery = DELIVERY_RETAINED,
        .id = row->publish_id,
        .kept = true,
        .total = (uint32_t)row->payload.size,
        .topic_name = row->topic,
        .payload = row->payload,
    };
    struct message *message = NULL;
    const char *reason;
    int r = sender && topic && entries_reserve(b, 1) == 0 ? 0 : AICO_ENOMEM;

    if (r == 0 && sender != peer->member && rule && rule->store.on &&
        stored_forbidden(b, peer, topic, sender, &reason) == 0 &&
        rule_allows(rule, sender->component, RIGHT_PUBLISH)) {
        deliver.topic = topic->number;
        deliver.sender = sender->number;
        message = message_new(b, &deliver, topic, sender);
        r = message ? 0 : AICO_ENOMEM;
    }
    if (message) {
        struct ledger_row *ledger = ledger_row(b, sender, rule, peer->member);

        if (!bytes_equal(*last_key, row->key))
            stored_give_key(b, peer, row, sender);
        *last_key = row->key;
        message->kept = true;
        count_routed(b, peer, ledger, 1);
        lane_push(b, peer, LANE_TOPIC, message, kept_policy(s), ledger, NULL, NULL, 0);
        message_unref(message);
    }
    topic_unref(topic);
    return r;
}

/* What came for @s. 0, AICO_ENOMEM, or as the order ended. */
static int take_values(struct broker *b, struct broker_peer *peer, struct subscription *s,
                       struct store_order *order)
{
    struct bytes rest = buffer_view(&order->out), key = {0};
    struct store_row row;
    int r = 0;

    while (r == 0 && store_row_next(&rest, &row))
        r = hand_out(b, peer, s, &row, &key);
    if (r < 0) {
        peer_end_later(b, peer, r, "no memory for the values of its topics");
        return r;
    }
    if (order->code < 0)
        return order->code;
    s->values_after = order->after;
    values_forget(s);
    if (order->more)
        wait_in_row(s); /* behind the others */
    return 0;
}

void values_read(struct broker *b, struct store_order *order)
{
    struct broker_peer *peer = peer_by_serial(b, order->serial);
    uint32_t number = (uint32_t)order->handle;
    struct subscription *s = NULL;

    if (!peer)
        return;
    peer->values_reading = false;
    if (peer->end_noted)
        return;
    HASH_FIND(hh, peer->subscriptions, &number, sizeof(number), s);
    if (s && s->id == order->id && take_values(b, peer, s, order) < 0) {
        /* Tried again in a while: the log says why. */
        b->streams.retry_ms = b->now.boot_ms + STREAMS_SAY_MS;
        wake_at(b, b->streams.retry_ms);
        return;
    }
    values_pump_peer(b, peer);
}

/* --- in time ---------------------------------------------------------------------------------- */

void values_trim(struct broker *b)
{
    struct store_order *order = deletion_new(b, STORE_VALUE_TRIM, DELETION_VALUES, 0);

    if (order)
        order_give(b, order);
}

void values_recheck(struct broker *b)
{
    for (size_t i = 0; b->settings.has_store && i < registry_component_count(b->registry); i++) {
        const struct component *c = registry_component_at(b->registry, i);
        struct store_order *order =
            c->state == COMPONENT_REVOKED ? order_new(STORE_VALUE_DROP, 0) : NULL;

        if (!order)
            continue;
        memcpy(order->identity, c->identity, sizeof(order->identity));
        order_give(b, order);
    }
}
