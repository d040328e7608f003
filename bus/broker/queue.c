/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queue groups: each message goes to one member of a group, the one with the least waiting for it.
 *
 * When a member leaves, what still waits for it goes to another one: it surely never had it. What
 * was handed to its transport and not acknowledged may have been worked on; giving it to another
 * one could do the work twice, so it is named lost to one of those that stay (decision 42). So is
 * what was lost for the group while it was this member's, and it cannot be told of any more.
 */
#include "broker/internal.h"

#define HANDED_MAX 65536 /* of one reader; the oldest are then taken to have arrived */

struct queue *queue_get(struct broker *b, struct bytes name)
{
    struct queue *queue = NULL;

    HASH_FIND(hh, b->queues, name.at, name.size, queue);
    if (!queue) {
        queue = calloc(1, sizeof(*queue) + name.size);
        if (!queue)
            return NULL;
        queue->broker = b;
        queue->size = (uint8_t)name.size;
        bytes_copy(queue->name, name);
        HASH_ADD(hh, b->queues, name, name.size, queue);
        if (!HASH_ADDED(hh, queue)) {
            free(queue);
            return NULL;
        }
    }
    queue->refs++;
    return queue;
}

void queue_ref(struct queue *queue)
{
    if (queue)
        queue->refs++;
}

void queue_unref(struct queue *queue)
{
    if (!queue || --queue->refs > 0)
        return;
    HASH_DEL(queue->broker->queues, queue);
    free(queue);
}

/* --- who is in it --------------------------------------------------------------------------- */

struct membership *queue_membership(struct broker_peer *peer, const struct queue *queue)
{
    for (size_t i = 0; i < peer->membership_count; i++)
        if (peer->memberships[i].queue == queue)
            return &peer->memberships[i];
    return NULL;
}

int queue_join(struct broker_peer *peer, struct queue *queue)
{
    struct membership *m = queue_membership(peer, queue);

    if (!m && peer->membership_count == QUEUE_GROUPS_MAX)
        return AICO_EQUOTA;
    if (!peer->memberships)
        peer->memberships = calloc(QUEUE_GROUPS_MAX, sizeof(*peer->memberships));
    if (!peer->memberships)
        return AICO_ENOMEM;
    if (!m) {
        m = &peer->memberships[peer->membership_count++];
        *m = (struct membership){.queue = queue};
    }
    m->subscriptions++;
    return 0;
}

void queue_part(struct broker_peer *peer, const struct queue *queue)
{
    struct membership *m = queue_membership(peer, queue);

    if (--m->subscriptions == 0)
        *m = peer->memberships[--peer->membership_count];
}

/* --- who gets it ---------------------------------------------------------------------------- */

static size_t waits(const struct broker_peer *peer)
{
    return peer->lanes[LANE_TOPIC].bytes + peer->lanes[LANE_TOPIC].inherited;
}

static bool is_better(const struct broker_peer *a, const struct broker_peer *b)
{
    size_t waits_a = waits(a), waits_b = waits(b);

    return waits_a != waits_b ? waits_a < waits_b : a->queue_turn < b->queue_turn;
}

static bool may_get(const struct recipient *reader, const struct broker_peer *from)
{
    return reader->queue && reader->peer != from && reader->peer->state == PEER_READY &&
           !reader->peer->end_noted;
}

/* The best of @queue whom no other group has chosen in this walk; SIZE_MAX: there is none. */
static size_t best_but_chosen(const struct topic *topic, const struct broker_peer *from,
                              const struct queue *queue)
{
    size_t best = SIZE_MAX;

    for (size_t i = 0; i < topic->reader_count; i++) {
        const struct recipient *reader = &topic->readers[i];

        if (reader->queue == queue && may_get(reader, from) &&
            reader->peer->queue_mark != queue->mark &&
            (best == SIZE_MAX || is_better(reader->peer, topic->readers[best].peer)))
            best = i;
    }
    return best;
}

void queue_choose(struct broker *b, struct topic *topic, const struct broker_peer *from,
                  const struct queue *only)
{
    uint64_t mark = ++b->queue_mark;

    for (size_t i = 0; i < topic->reader_count; i++) {
        struct recipient *reader = &topic->readers[i];
        struct queue *queue = reader->queue;

        reader->chosen = false;
        if (!may_get(reader, from) || (only && queue != only))
            continue;
        if (queue->mark == mark && !is_better(reader->peer, topic->readers[queue->best].peer))
            continue;
        queue->mark = mark;
        queue->best = i;
    }
    for (size_t i = 0; i < topic->reader_count; i++) {
        struct queue *queue = topic->readers[i].queue;
        struct recipient *best;

        if (!queue || queue->mark != mark || queue->best != i)
            continue;
        /* One of two groups gets a message once, so each group has its own if it can. */
        if (topic->readers[i].peer->queue_mark == mark)
            queue->best = best_but_chosen(topic, from, queue);
        if (queue->best == SIZE_MAX)
            continue;
        best = &topic->readers[queue->best];
        queue->best = SIZE_MAX; /* done */
        best->chosen = true;
        best->peer->queue_mark = mark;
        best->peer->queue_turn = ++b->queue_turn;
    }
}

bool queue_lets(const struct recipient *reader)
{
    return reader->peer->state == PEER_READY && (!reader->queue || reader->chosen);
}

/* --- what has left -------------------------------------------------------------------------- */

static void handed_free(struct broker_peer *peer, struct handed_over *handed)
{
    DL_DELETE(peer->handed, handed);
    peer->handed_count--;
    topic_unref(handed->loss.topic);
    queue_unref(handed->loss.queue);
    free(handed);
}

void queue_handed(struct broker *b, struct broker_peer *peer, const struct gap *loss, bool is_gap)
{
    struct handed_over *handed;

    if (!loss->queue)
        return;
    handed = calloc(1, sizeof(*handed));
    if (!handed) {
        event(b, BROKER_ERROR, BROKER_EVENT_LIMIT, peer, AICO_ENOMEM,
              "no memory to remember what it was handed as one of a group");
        return;
    }
    *handed = (struct handed_over){.number = peer->topic_sent, .is_gap = is_gap, .loss = *loss};
    queue_ref(loss->queue);
    topic_ref(loss->topic);
    DL_APPEND(peer->handed, handed);
    if (++peer->handed_count > HANDED_MAX)
        handed_free(peer, peer->handed);
}

int on_ack(struct broker *b UNUSED, struct broker_peer *peer, const struct record *record)
{
    struct record_ack ack;
    int r = record_parse_ack(record, &ack);

    if (r < 0)
        return r;
    if (ack.id > peer->topic_sent)
        return AICO_EPROTO;
    while (peer->handed && peer->handed->number <= ack.id)
        handed_free(peer, peer->handed);
    return 0;
}

/* --- when one leaves ------------------------------------------------------------------------ */

/* Another member for what @leaving cannot take any more; NULL: there is none. */
static struct recipient *another(struct broker *b, struct topic *topic, const struct queue *queue,
                                 const struct member *sender, const struct broker_peer *leaving)
{
    if (route_update(b, topic) < 0 || entries_reserve(b, 1) < 0)
        return NULL;
    queue_choose(b, topic, sender->peer, queue);
    for (size_t i = 0; i < topic->reader_count; i++)
        if (topic->readers[i].chosen && topic->readers[i].peer != leaving)
            return &topic->readers[i];
    return NULL;
}

/* What others left to a member to be told of does not count as its own slowness; it is bounded by
 * itself: what has no room adds to @untold. False: nobody is told. */
static bool inherit(struct broker *b, const struct gap *loss, const struct broker_peer *leaving,
                    uint64_t *untold)
{
    struct recipient *to = another(b, loss->topic, loss->queue, loss->sender, leaving);
    struct gap gap = *loss;

    if (!to)
        return false;
    if (to->peer->lanes[LANE_TOPIC].inherited + GAP_COST > b->settings.outbox_limit) {
        *untold += loss->count;
        return false;
    }
    gap.inherited = true;
    lane_report_loss(b, to->peer, &gap);
    return true;
}

bool queue_moved(struct broker *b, struct broker_peer *peer, struct entry *e)
{
    struct message *message = e->message;
    struct recipient *to =
        e->flight || !e->queue ? NULL : another(b, message->topic, e->queue, message->sender, peer);
    struct ledger_row *row;

    if (!to || !may_go(b, LANE_TOPIC, message->delivery, message->topic, message->sender,
                       to->peer->member))
        return false;
    row = ledger_row(b, message->sender, topic_rule(b, message->topic), to->peer->member);
    count_moved(b, e->row, message->count);
    count_routed(b, to->peer, row, message->count);
    lane_push(b, to->peer, LANE_TOPIC, message, to->policy, row, to->queue, NULL, 0);
    lane_forget(b, peer, e);
    return true;
}

static bool is_of(const struct flight_reader *fr, const struct broker_peer *peer,
                  const struct queue *queue)
{
    return fr->peer == peer && fr->queue && (!queue || fr->queue == queue);
}

/* Messages in fragments for @peer end here: whoever gets their rest could not use it. */
static void end_flights(struct broker *b, struct broker_peer *peer, const struct queue *queue)
{
    struct entry *e = peer->lanes[LANE_TOPIC].head, *before;
    struct flight *flight, *next;

    while (e) {
        if (!e->message || !e->flight ||
            !is_of(&e->flight->readers[e->flight_index], peer, queue)) {
            e = e->next;
            continue;
        }
        before = e->prev; /* of the first one: those behind it go with it */
        (void)entries_reserve(b, 1);
        lane_void(b, e->flight, e->flight_index, DROP_LINK_LOST, AICO_EPEERAWAY);
        e = before ? before->next : peer->lanes[LANE_TOPIC].head;
    }
    DL_FOREACH_SAFE(b->flights, flight, next)
    for (size_t i = 0; i < flight->reader_count; i++)
        if (is_of(&flight->readers[i], peer, queue)) {
            (void)entries_reserve(b, 1);
            lane_void(b, flight, (uint32_t)i, DROP_LINK_LOST, AICO_EPEERAWAY);
        }
}

void queue_left(struct broker *b, struct broker_peer *peer, const struct queue *queue)
{
    struct handed_over *handed, *next_handed;
    struct entry *e, *next;
    uint64_t lost = 0, untold = 0;

    end_flights(b, peer, queue);
    for (e = peer->lanes[LANE_TOPIC].head; e; e = next) {
        const struct queue *of = e->message ? e->queue : e->gap.queue;

        next = e->next;
        if (!of || (queue && of != queue))
            continue;
        /* What nobody else takes stays, or is counted as lost with its link. */
        if (e->message)
            (void)queue_moved(b, peer, e);
        else if (inherit(b, &e->gap, peer, &untold))
            lane_forget(b, peer, e);
    }
    DL_FOREACH_SAFE(peer->handed, handed, next_handed)
    {
        if (queue && handed->loss.queue != queue)
            continue;
        (void)inherit(b, &handed->loss, peer, &untold);
        lost += handed->is_gap ? 0 : handed->loss.count;
        handed_free(peer, handed);
    }
    if (lost > 0)
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, peer, AICO_EPEERAWAY,
              "left as one of a queue group: what became of %llu messages it was handed is not "
              "known",
              (unsigned long long)lost);
    if (untold > 0)
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, peer, AICO_EFULL,
              "left as one of a queue group: there is no room to tell the others of %llu messages "
              "that are lost",
              (unsigned long long)untold);
}
