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

static void pump(struct broker *b, struct broker_peer *peer, struct subscription *s)
{
    struct store_order *order;
    size_t used = 0;

    if (!s->values_more || s->values_reading || peer->state != PEER_READY || b->draining ||
        peer->lanes[LANE_TOPIC].bytes > b->settings.outbox_limit / 2)
        return;
    order = order_new(STORE_VALUE_READ, s->size);
    if (!order) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for the values of its topics");
        return;
    }
    order->filter = order_keep(order, &used, bytes_of(s->filter, s->size));
    memcpy(order->identity, peer->member->identity, sizeof(order->identity));
    order->after = s->values_after;
    order->count_max = READ_COUNT;
    order->bytes_max = READ_BYTES;
    order->serial = peer->serial;
    order->handle = s->number;
    order->id = s->id;
    s->values_reading = true;
    order_give(b, order);
}

void values_catch_up(struct broker *b, struct broker_peer *peer, struct subscription *s)
{
    if (!b->settings.has_store || s->queue || topic_is_internal(bytes_of(s->filter, s->size)) ||
        !may_have_values(b, peer->member->component))
        return;
    s->values_more = true;
    peer->values_due = true;
    pump(b, peer, s);
}

void values_pump_peer(struct broker *b, struct broker_peer *peer)
{
    struct subscription *s, *next;

    if (!peer->values_due)
        return;
    peer->values_due = false;
    HASH_ITER(hh, peer->subscriptions, s, next)
    {
        pump(b, peer, s);
        peer->values_due |= s->values_more;
    }
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

void values_read(struct broker *b, struct store_order *order)
{
    struct broker_peer *peer = peer_by_serial(b, order->serial);
    struct bytes rest = buffer_view(&order->out), key = {0};
    uint32_t number = (uint32_t)order->handle;
    struct subscription *s = NULL;
    struct store_row row;
    int r = 0;

    if (peer && !peer->end_noted)
        HASH_FIND(hh, peer->subscriptions, &number, sizeof(number), s);
    if (!s || s->id != order->id)
        return;
    s->values_reading = false;
    while (r == 0 && store_row_next(&rest, &row))
        r = hand_out(b, peer, s, &row, &key);
    if (r < 0) {
        peer_end_later(b, peer, r, "no memory for the values of its topics");
        return;
    }
    peer->values_due |= s->values_more;
    if (order->code < 0) {
        /* Tried again in a while: the log says why. */
        b->streams.retry_ms = b->now.boot_ms + STREAMS_SAY_MS;
        wake_at(b, b->streams.retry_ms);
        return;
    }
    s->values_after = order->after;
    s->values_more = order->more;
    pump(b, peer, s);
}

/* --- in time ---------------------------------------------------------------------------------- */

void values_trim(struct broker *b)
{
    struct store_order *order = order_new(STORE_VALUE_TRIM, 0);

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
