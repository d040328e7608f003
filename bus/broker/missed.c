/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What readers of stored messages will not get. The store notes it when it removes a message; here
 * it is told (MISSED) to the durable reader, one member of the group or the owner of the mailbox
 * when it is there, and counted in the books. It is told until the reader says that it has been
 * (decision 0113).
 */
#include <stdlib.h>

#include "broker/stream.h"

/* --- asking --------------------------------------------------------------------------------- */

/* Messages that are with their reader at this moment: it may settle them yet. */
static size_t count_out(struct broker *b, const struct durable *whose, uint64_t *numbers)
{
    const struct durable *d;
    const struct handed *h;
    size_t count = 0;

    DL_FOREACH(b->streams.durables, d)
    {
        if (d != whose && d->group != whose)
            continue;
        DL_FOREACH(d->handed_first, h)
        {
            if (d->is_group || h->deadline_ms == MOMENT_NEVER)
                continue; /* with nobody, or of another session */
            if (numbers)
                numbers[count] = h->number;
            count++;
        }
    }
    return count;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* @numbers, sorted by this, behind what is in the order's room. */
static struct bytes put_numbers(struct store_order *order, size_t *used, uint64_t *numbers,
                                size_t count)
{
    uint8_t *at = (uint8_t *)(order + 1) + *used;
    struct writer w = writer_over(at, 8 * count);

    if (count > 1)
        qsort(numbers, count, sizeof(*numbers), compare);
    for (size_t i = 0; i < count; i++)
        writer_u64(&w, numbers[i]);
    *used += w.size;
    return writer_view(&w);
}

/* What is not to be told: with its reader now, or told before. NULL without memory. */
static struct store_order *order_for(struct broker *b, struct durable *whose)
{
    struct durable_losses *losses = &whose->own.losses;
    size_t count = whose->is_mailbox ? 0 : count_out(b, whose, NULL), used = 0;
    struct store_order *order = order_new(STORE_MISSED, 8 * (count + losses->open));
    CLEANUP(free_memory)
    uint64_t *numbers = calloc(count + 1, sizeof(*numbers));
    uint64_t tokens[LOSSES_OPEN_MAX];

    if (!order || !numbers) {
        store_order_free(&order);
        return NULL;
    }
    if (count > 0)
        (void)count_out(b, whose, numbers);
    order->data = put_numbers(order, &used, numbers, count);
    for (size_t i = 0; i < losses->open; i++)
        tokens[i] = losses->losses[i].token;
    order->name = put_numbers(order, &used, tokens, losses->open);
    order->count_max = LOSSES_OPEN_MAX - losses->open;
    order->reader = whose->own.reader;
    return order;
}

static bool is_there(const struct durable *d)
{
    return d->peer && d->peer->state == PEER_READY && !d->peer->end_noted &&
           (d->is_mailbox || !d->group || d->is_member);
}

/* Whom @whose is told by: itself, or some member of the group. */
static struct durable *listener(struct broker *b, struct durable *whose)
{
    struct durable *d;

    if (!whose->is_group)
        return is_there(whose) ? whose : NULL;
    DL_FOREACH(b->streams.durables, d)
    if (d->group == whose && is_there(d))
        return d;
    return NULL;
}

/* What is asked for one session is not for another. A mailbox is as old as its owner's. */
static uint64_t session_of(const struct durable *d)
{
    return !d->peer ? 0 : d->is_mailbox ? d->peer->serial : d->session;
}

void missed_pump(struct broker *b, struct durable *durable)
{
    struct durable *whose = durable->group ? durable->group : durable;
    struct durable_losses *losses = &whose->own.losses;
    struct durable *d = listener(b, whose);
    struct store_order *order;

    if (!d || !whose->own.known || (whose->own.reader == 0 && !whose->is_mailbox) ||
        losses->reading || !losses->more || losses->open >= LOSSES_OPEN_MAX || b->draining)
        return;
    order = order_for(b, whose);
    if (!order) {
        peer_end_later(b, d->peer, AICO_ENOMEM, "no memory to say what it misses");
        return;
    }
    memcpy(order->receiver, d->peer->member->identity, sizeof(order->receiver));
    order->handle = d->handle;
    order->group = d->group ? d->group->handle : 0;
    order->serial = session_of(d);
    losses->reading = true;
    losses->more = false;
    order_give(b, order);
}

void missed_noted(struct broker *b)
{
    struct durable *d;

    DL_FOREACH(b->streams.durables, d)
    {
        if (d->group)
            continue;
        d->own.losses.more = true;
        missed_pump(b, d);
    }
}

/* --- telling -------------------------------------------------------------------------------- */

static enum broker_drop cause_of(int code)
{
    switch (code) {
    case AICO_EEXPIRED:
        return DROP_EXPIRED;
    case AICO_ERETENTION:
        return DROP_RETENTION;
    case AICO_EPURGED:
        return DROP_PURGED;
    case AICO_EREVOKED:
        return DROP_REVOKED;
    case AICO_EDENIED:
        return DROP_DENIED;
    default:
        return DROP_DEAD;
    }
}

/* @peer knows of it: the store forgets it, the books have it. */
static void take(struct broker *b, const struct durable *whose, struct broker_peer *peer,
                 const struct durable_loss *loss)
{
    struct store_order *order = order_new(STORE_MISSED_TAKE, 0);

    if (!order) /* it is told again */
        return;
    memcpy(order->receiver, peer->member->identity, sizeof(order->receiver));
    order->reader = whose->own.reader;
    order->number = loss->token;
    order_give(b, order);
    count_routed(b, peer, loss->row, loss->count);
    count_dropped(b, peer, loss->row, loss->cause, loss->count);
}

static void write_missed(struct broker *b, struct durable *d, const struct store_missed *m,
                         const struct topic *topic, const struct member *sender)
{
    struct record_missed record = {
        .cause = (uint16_t)-m->code,
        .one = m->one,
        .subscription = d->subscription,
        .token = m->token,
        .attempt = (uint16_t)MIN(m->told + 1, (uint64_t)UINT16_MAX),
        .sender = sender->number,
        .topic = topic->number,
        .count = m->count,
        .number = m->number,
        .topic_name = topic_view(topic),
    };
    struct writer w = control_begin(b, d->peer, RECORD_HEAD_SIZE + 64 + topic->size);

    record_write_missed(&w, &record);
    control_end(b, d->peer, &w);
}

/* AICO_ENOMEM. Of what it may not read it is not told either. */
static int tell(struct broker *b, struct durable *d, struct durable *whose,
                const struct store_missed *m)
{
    struct member *sender = member_get(b, m->sender, m->identity.at);
    struct topic *topic = topic_get(b, m->topic, true);
    bool hidden = topic && !may_read(b, d->peer, topic);
    struct durable_loss loss = {
        .token = m->token, .count = m->count, .cause = hidden ? DROP_DENIED : cause_of(m->code)};
    int r = sender && topic ? 0 : AICO_ENOMEM;

    if (r == 0)
        loss.row = ledger_row(b, sender, topic_rule(b, topic), d->peer->member);
    if (r == 0 && !hidden &&
        (announce_topic(b, d->peer, topic) < 0 || announce_member(b, d->peer, sender) < 0))
        r = AICO_ENOMEM;
    if (r == 0 && hidden)
        take(b, whose, d->peer, &loss);
    if (r == 0 && !hidden) {
        write_missed(b, d, m, topic, sender);
        b->totals.gaps++;
        whose->own.losses.losses[whose->own.losses.open++] = loss;
        whose->own.losses.to = d->handle;
    }
    if (r == 0 && m->one && whose == d) /* of another session: nothing reads it again */
        durable_gone(b, d, m->number);
    topic_unref(topic);
    return r;
}

void missed_read(struct broker *b, struct store_order *order)
{
    struct durable *d = durable_by_handle(b, order->handle);
    struct durable *group = order->group ? durable_by_handle(b, order->group) : NULL;
    struct durable *whose = group ? group : d;
    struct bytes rest = buffer_view(&order->out);
    struct store_missed m;
    int r = 0;

    if (!whose || (whose == d && order->serial != session_of(d)))
        return;
    whose->own.losses.reading = false;
    if (!d || !is_there(d) || order->serial != session_of(d) || order->code < 0) {
        whose->own.losses.more = true;
        if (order->code < 0) { /* the log says why */
            b->streams.retry_ms = b->now.boot_ms + STREAMS_SAY_MS;
            wake_at(b, b->streams.retry_ms);
        } else {
            missed_pump(b, whose);
        }
        return;
    }
    while (r == 0 && whose->own.losses.open < LOSSES_OPEN_MAX && store_missed_next(&rest, &m))
        r = tell(b, d, whose, &m);
    if (r < 0) {
        peer_end_later(b, d->peer, r, "no memory to say what it misses");
        return;
    }
    whose->own.losses.more |= order->more;
    missed_pump(b, whose);
}

void missed_told(struct broker *b, struct durable *durable, uint64_t token)
{
    struct durable *whose = durable->group ? durable->group : durable;
    struct durable_losses *losses = &whose->own.losses;

    for (size_t i = 0; i < losses->open; i++)
        if (losses->losses[i].token == token) {
            take(b, whose, durable->peer, &losses->losses[i]);
            losses->losses[i] = losses->losses[--losses->open];
            break;
        }
    missed_pump(b, whose);
}

void missed_left(struct durable *durable)
{
    struct durable *whose = durable->group ? durable->group : durable;
    struct durable_losses *losses = &whose->own.losses;

    losses->reading &= durable->group != NULL;
    if (losses->to != durable->handle)
        return;
    losses->open = 0;
    losses->to = 0;
    losses->more = true;
}
