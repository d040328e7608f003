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

/* --- who gets it ---------------------------------------------------------------------------- */

static bool is_better(const struct broker_peer *a, const struct broker_peer *b)
{
    size_t waits_a = a->lanes[LANE_TOPIC].bytes, waits_b = b->lanes[LANE_TOPIC].bytes;

    return waits_a != waits_b ? waits_a < waits_b : a->queue_turn < b->queue_turn;
}

void queue_choose(struct broker *b, struct topic *topic, const struct broker_peer *from,
                  const struct queue *only)
{
    uint64_t mark = ++b->queue_mark;

    for (size_t i = 0; i < topic->reader_count; i++) {
        struct recipient *reader = &topic->readers[i];
        struct queue *queue = reader->queue;

        reader->chosen = false;
        if (!queue || (only && queue != only) || reader->peer == from ||
            reader->peer->state != PEER_READY || reader->peer->end_noted)
            continue;
        if (queue->mark == mark && !is_better(reader->peer, topic->readers[queue->best].peer))
            continue;
        queue->mark = mark;
        queue->best = i;
    }
    for (size_t i = 0; i < topic->reader_count; i++) {
        struct recipient *reader = &topic->readers[i];
        struct broker_peer *peer = reader->peer;

        /* Once, also when two groups have chosen it. */
        if (!reader->queue || reader->queue->mark != mark || reader->queue->best != i ||
            peer->queue_mark == mark)
            continue;
        reader->chosen = true;
        peer->queue_mark = mark;
        peer->queue_turn = ++b->queue_turn;
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
                                 const struct member *sender)
{
    if (route_update(b, topic) < 0 || entries_reserve(b, 1) < 0)
        return NULL;
    queue_choose(b, topic, sender->peer, queue);
    for (size_t i = 0; i < topic->reader_count; i++)
        if (topic->readers[i].chosen)
            return &topic->readers[i];
    return NULL;
}

void queue_lost(struct broker *b, const struct gap *loss)
{
    struct recipient *to = another(b, loss->topic, loss->queue, loss->sender);

    if (to)
        lane_report_loss(b, to->peer, loss);
}

/* Whether @e, not sent yet, is the last of a message in fragments that will not be complete. */
static bool is_cut_short(const struct broker_peer *peer, const struct entry *e)
{
    return e->flight && e->message->last && e->flight->readers[e->flight_index].peer == peer;
}

static void move(struct broker *b, struct broker_peer *peer, struct entry *e)
{
    struct message *message = e->message;
    struct recipient *to = another(b, message->topic, e->queue, message->sender);
    struct ledger_row *row;

    if (!to || to->peer == peer)
        return; /* it stays, or is counted as lost with its link */
    row = ledger_row(b, message->sender, topic_rule(b, message->topic), to->peer->member);
    count_moved(b, e->row, message->count);
    count_routed(b, to->peer, row, message->count);
    lane_push(b, to->peer, LANE_TOPIC, message, to->policy, row, to->queue, NULL, 0);
    lane_forget(b, peer, e);
}

void queue_left(struct broker *b, struct broker_peer *peer, const struct queue *queue)
{
    struct entry *e, *next;

    for (e = peer->lanes[LANE_TOPIC].head; e; e = next) {
        next = e->next;
        if (!e->message) {
            if (peer->state != PEER_READY && e->gap.queue)
                queue_lost(b, &e->gap);
            continue;
        }
        if (!e->queue || (queue && e->queue != queue))
            continue;
        if (!e->flight)
            move(b, peer, e);
        else if (peer->state != PEER_READY && is_cut_short(peer, e))
            flight_lost(b, e->flight, e->queue);
    }
}

void queue_peer_left(struct broker *b, struct broker_peer *peer)
{
    uint64_t lost = 0;

    queue_left(b, peer, NULL);
    while (peer->handed) {
        struct handed_over *handed = peer->handed;

        queue_lost(b, &handed->loss);
        lost += handed->is_gap ? 0 : handed->loss.count;
        handed_free(peer, handed);
    }
    if (lost > 0)
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, peer, AICO_EPEERAWAY,
              "left as one of a queue group: what became of %llu messages it was handed is not "
              "known",
              (unsigned long long)lost);
}
