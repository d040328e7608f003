/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mailboxes: what was said to one component and is kept until it has taken it, whether it was there
 * or not (decision 0060). Storing is that of stream.c, handing out that of durable.c, as to a
 * reader that lasts as long as the session; here is what differs. Everything goes through the
 * store, so that the order is one and a restart of the broker changes nothing.
 */
#include "broker/quota.h"
#include "broker/stream.h"

#define MAIL_WINDOW 256 /* handed out and not taken */

static struct durable *find(struct broker *b, const struct member *member)
{
    struct durable *d;

    DL_FOREACH(b->streams.durables, d)
    if (d->is_mailbox && d->peer && d->peer->member == member)
        return d;
    return NULL;
}

/* Whether some rule lets others leave messages for @component. */
static bool may_have_mail(const struct broker *b, const struct component *component)
{
    for (size_t i = 0; component && i < registry_rule_count(b->registry); i++) {
        const struct rule *rule = registry_rule_at(b->registry, i);

        if (rule->seal == SEAL_RATCHET && rule_allows(rule, component, RIGHT_SUBSCRIBE))
            return true;
    }
    return false;
}

/* What came before its keys were rotated is for it: it has what opens that (decision 0120). */
static void inherit(struct broker *b, const struct member *member)
{
    const struct component *former = member->component;

    while ((former = registry_replaced(b->registry, former)) != NULL) {
        struct store_order *order = order_new(STORE_MAIL_INHERIT, 0);

        if (!order) /* without memory: the next time it comes */
            return;
        memcpy(order->receiver, member->identity, sizeof(order->receiver));
        memcpy(order->identity, former->identity, sizeof(order->identity));
        order_give(b, order);
    }
}

void mailbox_open(struct broker *b, struct broker_peer *peer)
{
    struct durable *d = find(b, peer->member);

    if (!b->settings.has_store || !may_have_mail(b, peer->member->component))
        return;
    if (!d) {
        d = durable_new(b, bytes_text(peer->member->name), bytes_of(NULL, 0), bytes_of(NULL, 0));
        if (!d) {
            peer_end_later(b, peer, AICO_ENOMEM, "no memory for its mailbox");
            return;
        }
        inherit(b, peer->member);
    }
    d->peer = peer;
    d->is_mailbox = d->own.known = d->own.more = true;
    d->subscription = MAILBOX_SUBSCRIPTION;
    d->window = MAIL_WINDOW;
    d->session++; /* what is being read passed over what it listens to only now */
    if (orders_withdraw(b, false, d->handle)) /* else the store has it: durable_read() goes on */
        d->own.reading = false;
    d->own.position = 0;
    d->own.losses.more = true;
    missed_pump(b, d);
    durable_pump(b, d);
}

bool mailbox_wants(struct broker *b, const struct durable *d, struct topic *topic, uint64_t number)
{
    struct handed *h = NULL;

    HASH_FIND(hh, d->handed, &number, sizeof(number), h);
    return !h && route_update(b, topic) == 0 && route_find(topic, d->peer);
}

void mailbox_stored(struct broker *b, struct store_order *order)
{
    struct durable *d = find(b, order->receiver_ref);

    order->receiver_ref->mailbox_used = order->value;
    quota_watch(b, order->receiver_ref, NULL, QUOTA_MAILBOX, order->value);
    if (!d)
        return;
    d->own.more = true;
    durable_pump(b, d);
}

void mailbox_take(struct broker *b, const struct durable *d, uint64_t number, int code)
{
    struct store_order *order = order_new(STORE_MAIL_TAKE, 0);

    if (!order) {
        event(b, BROKER_ERROR, BROKER_EVENT_LIMIT, d->peer, AICO_ENOMEM,
              "no memory to empty a mailbox: message %llu will be delivered again",
              (unsigned long long)number);
        return;
    }
    memcpy(order->receiver, d->peer->member->identity, sizeof(order->receiver));
    order->number = number;
    order->bury_code = code;
    order_give(b, order);
}

void mailboxes_trim(struct broker *b, const struct store_order *former)
{
    struct store_order *order;
    struct durable *d;
    size_t used = 0, count = 0;

    DL_FOREACH(b->streams.durables, d)
    count += d->is_mailbox && d->peer && d->handed_first;
    order = deletion_new(b, STORE_MAIL_TRIM, DELETION_MAIL, count * SIGN_PUBLIC_SIZE);
    if (!order)
        return;
    /* Who has messages in hand has perhaps taken them; it looks itself until when they are good. */
    DL_FOREACH(b->streams.durables, d)
    if (d->is_mailbox && d->peer && d->handed_first)
        (void)order_keep(order, &used, bytes_of(d->peer->member->identity, SIGN_PUBLIC_SIZE));
    order->data = bytes_of(order + 1, used);
    if (former) {
        order->expires_ms = former->expires_ms;
        order->after = former->after;
    }
    order_give(b, order);
}
