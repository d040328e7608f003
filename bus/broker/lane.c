/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two lanes of messages that wait for a peer. Direct: bounded by refusing the sender. Topic:
 * bounded by the policy of the subscription; whatever is dropped there leaves a GAP in its place.
 *
 * A message is rendered once and held by reference. Its place in a lane is an entry, and an entry
 * becomes the gap when its message goes, so that reporting a loss needs no memory.
 */
#include "broker/internal.h"

#define SPARE_MAX 65536
#define DROPPABLE_SEARCH 64 /* entries looked at for one that drop-old may drop */
#define GAP_SEARCH 4

/* --- messages and entries ------------------------------------------------------------------- */

struct message *message_over(size_t size, struct topic *topic, struct member *sender)
{
    struct message *message = malloc(sizeof(*message) + size);

    if (!message)
        return NULL;
    *message = (struct message){
        .refs = 1,
        .size = (uint32_t)size,
        .topic = topic,
        .sender = sender,
        .count = 1,
        .last = true,
    };
    topic_ref(topic);
    return message;
}

struct message *message_new(struct broker *b, const struct record_deliver *deliver,
                            struct topic *topic, struct member *sender)
{
    size_t size = record_size_deliver(deliver);
    struct message *message = message_over(size, topic, sender);
    struct writer w;

    (void)b;
    if (!message)
        return NULL;
    message->id = deliver->id;
    message->delivery = deliver->delivery;
    message->last = !deliver->fragment || deliver->offset + deliver->payload.size == deliver->total;
    w = writer_over(message->record, size);
    record_write_deliver(&w, deliver);
    return message;
}

void message_unref(struct message *message)
{
    if (message && --message->refs == 0) {
        topic_unref(message->topic);
        free(message);
    }
}

int entries_reserve(struct broker *b, size_t count)
{
    while (b->spare_count < count) {
        struct entry *e = malloc(sizeof(*e));

        if (!e)
            return AICO_ENOMEM;
        e->next = b->spare;
        b->spare = e;
        b->spare_count++;
    }
    return 0;
}

static struct entry *entry_take(struct broker *b)
{
    struct entry *e = b->spare;

    if (!e)
        return NULL;
    b->spare = e->next;
    b->spare_count--;
    *e = (struct entry){0};
    return e;
}

static void entry_give(struct broker *b, struct entry *e)
{
    if (b->spare_count >= SPARE_MAX) {
        free(e);
        return;
    }
    e->next = b->spare;
    b->spare = e;
    b->spare_count++;
}

void entries_free(struct broker *b)
{
    while (b->spare)
        free(entry_take(b));
}

/* --- a lane --------------------------------------------------------------------------------- */

static void lane_append(struct lane *lane, struct entry *e)
{
    e->position = ++lane->next_position;
    e->prev = lane->tail;
    e->next = NULL;
    if (lane->tail)
        lane->tail->next = e;
    else
        lane->head = e;
    lane->tail = e;
    if (e->message) {
        lane->last_message = e;
        if (!lane->first_message)
            lane->first_message = e;
    }
}

/* @e stops being a message: the bounds move to its neighbours. */
static void lane_forget_message(struct lane *lane, struct entry *e)
{
    struct entry *other;

    if (lane->first_message == e) {
        for (other = e->next; other && !other->message; other = other->next)
            ;
        lane->first_message = other;
    }
    if (lane->last_message == e) {
        for (other = e->prev; other && !other->message; other = other->prev)
            ;
        lane->last_message = other;
    }
}

static void lane_unlink(struct lane *lane, struct entry *e)
{
    if (e->prev)
        e->prev->next = e->next;
    else
        lane->head = e->next;
    if (e->next)
        e->next->prev = e->prev;
    else
        lane->tail = e->prev;
}

/* The entry's message has gone where it goes; the publisher that waited for it gets its credit. */
static void entry_release(struct broker *b, struct entry *e)
{
    struct message *message = e->message;

    if (e->blocking && --message->blocking == 0 && message->owed > 0) {
        struct broker_peer *publisher = message->sender->peer;

        if (publisher && publisher->serial == message->session)
            owe_credit(b, publisher, message->owed);
        message->owed = 0;
    }
    message_unref(message);
    e->message = NULL;
}

/* Takes a message entry out of its lane and frees it. */
static void entry_remove(struct broker *b, struct lane *lane, struct entry *e)
{
    lane->bytes -= e->message->size;
    lane->own -= e->message->sender == b->self;
    lane_forget_message(lane, e);
    lane_unlink(lane, e);
    queue_unref(e->queue);
    entry_release(b, e);
    entry_give(b, e);
}

/* --- gaps ----------------------------------------------------------------------------------- */

/* A small table from (sender, topic, cause, ...) to the last gap of that key, so that a reader that
 * stands still collects one GAP a key, not one a message. An entry that is pushed out of it only
 * costs another GAP. */
static size_t gap_slot(const struct gap *gap, size_t i)
{
    uint64_t x = (uint64_t)(uintptr_t)gap->topic / 16 * 0x9e3779b97f4a7c15u;

    x ^= ((uint64_t)gap->sender->number << 16 ^ (uint64_t)(uint32_t)gap->cause) *
         0xbf58476d1ce4e5b9u;
    return (size_t)((x >> 32) + i) % GAP_SLOTS;
}

static bool is_alike(const struct gap *a, const struct gap *b)
{
    return a->topic == b->topic && a->sender == b->sender && a->cause == b->cause &&
           a->kept == b->kept && a->queue == b->queue && a->inherited == b->inherited;
}

/* The last gap of @peer that @gap may join. */
static struct entry *gap_find(struct broker_peer *peer, const struct gap *gap)
{
    if (!peer->gap_slots)
        return NULL;
    for (size_t i = 0; i < GAP_SEARCH; i++) {
        struct entry *e = peer->gap_slots[gap_slot(gap, i)];

        if (e && is_alike(&e->gap, gap))
            return e;
    }
    return NULL;
}

static void gap_forget(struct broker_peer *peer, const struct entry *e)
{
    if (!peer->gap_slots)
        return;
    for (size_t i = 0; i < GAP_SEARCH; i++) {
        size_t slot = gap_slot(&e->gap, i);

        if (peer->gap_slots[slot] == e)
            peer->gap_slots[slot] = NULL;
    }
}

static void gap_remember(struct broker_peer *peer, struct entry *e)
{
    struct entry *older = gap_find(peer, &e->gap);

    if (!peer->gap_slots)
        peer->gap_slots = calloc(GAP_SLOTS, sizeof(struct entry *));
    if (!peer->gap_slots)
        return; /* gaps will not merge; that is all */
    if (older)
        gap_forget(peer, older);
    for (size_t i = 0; i < GAP_SEARCH; i++) {
        size_t slot = gap_slot(&e->gap, i);

        if (!peer->gap_slots[slot]) {
            peer->gap_slots[slot] = e;
            return;
        }
    }
    peer->gap_slots[gap_slot(&e->gap, 0)] = e;
}

static void gap_grow(struct entry *e, const struct gap *gap)
{
    e->gap.count += gap->count;
    e->gap.last_id = MAX(e->gap.last_id, gap->last_id);
}

/* @e, linked and no message, becomes @gap. */
static void gap_begin(struct broker *b, struct broker_peer *peer, struct lane *lane,
                      struct entry *e, const struct gap *gap)
{
    e->gap = *gap;
    topic_ref(gap->topic);
    queue_ref(gap->queue);
    *(gap->inherited ? &lane->inherited : &lane->bytes) += GAP_COST;
    b->totals.gaps++;
    if (lane == &peer->lanes[LANE_TOPIC])
        gap_remember(peer, e);
}

static void gap_remove(struct broker *b, struct broker_peer *peer, struct lane *lane,
                       struct entry *e)
{
    gap_forget(peer, e);
    topic_unref(e->gap.topic);
    queue_unref(e->gap.queue);
    *(e->gap.inherited ? &lane->inherited : &lane->bytes) -= GAP_COST;
    lane_unlink(lane, e);
    entry_give(b, e);
}

/* What @gap describes was lost behind everything that waits. */
static void gap_at_tail(struct broker *b, struct broker_peer *peer, struct lane *lane,
                        const struct gap *gap)
{
    struct entry *e = lane == &peer->lanes[LANE_TOPIC] ? gap_find(peer, gap) : NULL;

    if (e && (!lane->last_message || e->position > lane->last_message->position)) {
        gap_grow(e, gap);
        return;
    }
    e = entry_take(b);
    if (!e) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory to report a loss");
        return;
    }
    lane_append(lane, e);
    gap_begin(b, peer, lane, e, gap);
}

/* What is said when @message does not come. */
static struct gap gap_of(const struct message *message, struct queue *queue, int code)
{
    return (struct gap){.topic = message->topic,
                        .sender = message->sender,
                        .cause = code,
                        .kept = message->kept,
                        .count = message->count,
                        .last_id = message->id,
                        .queue = queue};
}

/* The message entry @e gives its place to a gap, or joins the one that is just before it. */
static void entry_becomes_gap(struct broker *b, struct broker_peer *peer, struct lane *lane,
                              struct entry *e, int code)
{
    bool leads = lane->first_message == e;
    struct gap gap = gap_of(e->message, e->queue, code);
    struct entry *other = leads && lane == &peer->lanes[LANE_TOPIC] ? gap_find(peer, &gap) : NULL;

    lane->bytes -= e->message->size;
    lane_forget_message(lane, e);
    topic_ref(gap.topic);
    entry_release(b, e);
    if (other && other->position < e->position) {
        gap_grow(other, &gap);
        lane_unlink(lane, e);
        entry_give(b, e);
    } else {
        gap_begin(b, peer, lane, e, &gap);
    }
    topic_unref(gap.topic);
    queue_unref(gap.queue); /* of the message */
}

/* --- dropping ------------------------------------------------------------------------------- */

static void count_lost(struct broker *b, struct broker_peer *peer, enum lane_kind lane,
                       struct ledger_row *row, enum broker_drop cause, uint64_t count)
{
    peer->lanes[lane].messages -= count;
    count_dropped(b, peer, row, cause, count);
}

void lane_void(struct broker *b, struct flight *flight, uint32_t index, enum broker_drop cause,
               int code)
{
    struct flight_reader *fr = &flight->readers[index];
    struct broker_peer *peer = fr->peer;
    struct entry *e = fr->first, *next;
    struct gap gap = {.topic = flight->topic,
                      .sender = flight->sender,
                      .cause = code,
                      .count = 1,
                      .last_id = flight->id,
                      .queue = fr->queue};
    struct lane *lane;

    if (!peer)
        return;
    lane = &peer->lanes[flight->lane];
    fr->peer = NULL;
    fr->first = fr->last = NULL;
    if (flight->lane == LANE_DIRECT)
        lane->reserved -= flight->total - flight->routed;
    count_lost(b, peer, flight->lane, fr->row, cause, 1);

    flight->refs++; /* entries let go of it below */
    if (!e)
        gap_at_tail(b, peer, lane, &gap);
    for (bool first = true; e; e = next, first = false) {
        next = e->flight_next;
        if (first)
            entry_becomes_gap(b, peer, lane, e, code);
        else
            entry_remove(b, lane, e);
        flight_unref(flight);
    }
    flight_unref(flight);
    outbox_queued(b, peer);
}

static void drop_entry(struct broker *b, struct broker_peer *peer, enum lane_kind lane,
                       struct entry *e, enum broker_drop cause, int code)
{
    struct ledger_row *row = e->row;
    uint64_t count = e->message->count;

    if (e->flight) {
        lane_void(b, e->flight, e->flight_index, cause, code);
        return;
    }
    entry_becomes_gap(b, peer, &peer->lanes[lane], e, code);
    count_lost(b, peer, lane, row, cause, count);
}

/* Drops the oldest message that a drop-old subscription brought; false when there is none near. */
static bool drop_oldest(struct broker *b, struct broker_peer *peer)
{
    struct entry *e = peer->lanes[LANE_TOPIC].first_message;

    for (int i = 0; e && i < DROPPABLE_SEARCH; i++, e = e->next)
        if (e->message && e->policy == SLOW_DROP_OLD) {
            drop_entry(b, peer, LANE_TOPIC, e, DROP_SLOW_OLD, AICO_ESLOW);
            return true;
        }
    return false;
}

static void log_slow(struct broker *b, struct broker_peer *peer)
{
    if (peer->slow_logged)
        return;
    peer->slow_logged = true;
    event(b, BROKER_WARNING, BROKER_EVENT_SLOW, peer, AICO_ESLOW,
          "cannot keep up: %zu bytes wait for it, messages are being dropped and reported",
          peer->lanes[LANE_TOPIC].bytes);
}

/* The lane is over its bound by @size: whether the new message may still be put behind it. */
static bool make_room(struct broker *b, struct broker_peer *peer, uint8_t policy, size_t size)
{
    struct lane *lane = &peer->lanes[LANE_TOPIC];
    size_t limit = b->settings.outbox_limit;

    quota_watch(b, peer->member, peer, QUOTA_OUTBOX, lane->bytes + size);
    if (lane->bytes + size <= limit || policy == SLOW_BLOCK)
        return true;
    log_slow(b, peer);
    if (policy == SLOW_DISCONNECT) {
        peer_end_later(b, peer, AICO_ESLOW,
                       "reader too slow, and it asked to be disconnected then");
        return false;
    }
    while (policy == SLOW_DROP_OLD && lane->bytes + size > limit && drop_oldest(b, peer))
        ;
    if (lane->bytes + size <= limit)
        return true;
    if (!lane->first_message)
        peer_end_later(b, peer, AICO_ESLOW, "reader too slow: even the reports of losses pile up");
    return false;
}

static void note_expiry(struct broker *b, struct lane *lane, int64_t expires_ms)
{
    if (expires_ms == 0)
        return;
    if (lane->expires_ms == 0 || expires_ms < lane->expires_ms)
        lane->expires_ms = expires_ms;
    wake_at(b, expires_ms);
}

void lane_push(struct broker *b, struct broker_peer *peer, enum lane_kind kind,
               struct message *message, uint8_t policy, struct ledger_row *row, struct queue *queue,
               struct flight *flight, uint32_t index)
{
    struct lane *lane = &peer->lanes[kind];
    struct flight_reader *fr = flight ? &flight->readers[index] : NULL;
    enum broker_drop cause = policy == SLOW_DROP_NEW ? DROP_SLOW_NEW : DROP_SLOW_OLD;
    int code = policy == SLOW_DROP_NEW ? AICO_EFULL : AICO_ESLOW;
    struct entry *e;

    work_add(b, WORK_READER);
    if (!flight)
        lane->messages += message->count;
    if (kind == LANE_TOPIC && (peer->end_noted || !make_room(b, peer, policy, message->size))) {
        if (peer->end_noted)
            cause = DROP_LINK_LOST;
        if (flight) {
            lane_void(b, flight, index, cause, code);
        } else {
            struct gap gap = gap_of(message, queue, code);

            gap_at_tail(b, peer, lane, &gap);
            count_lost(b, peer, kind, row, cause, message->count);
        }
        outbox_queued(b, peer);
        return;
    }
    if (fr && !fr->peer)
        return; /* making room dropped the earlier part of this very message */

    e = entry_take(b);
    if (!e) { /* not reached: the caller has reserved it */
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for a message");
        return;
    }
    e->message = message;
    message->refs++;
    e->row = row;
    e->queue = queue;
    queue_ref(queue);
    e->policy = policy;
    e->blocking = kind == LANE_TOPIC && policy == SLOW_BLOCK;
    if (e->blocking)
        message->blocking++;
    lane_append(lane, e);
    lane->bytes += message->size;
    lane->own += message->sender == b->self;
    note_expiry(b, lane, message->expires_ms);
    if (flight) {
        e->flight = flight;
        e->flight_index = index;
        flight->refs++;
        if (fr->last)
            fr->last->flight_next = e;
        else
            fr->first = e;
        fr->last = e;
    }
    outbox_queued(b, peer);
}

/* The broker's message on the topic of @message that waits in @lane. */
static struct entry *find_own(const struct lane *lane, const struct message *message)
{
    size_t own = lane->own;

    for (struct entry *e = lane->head; e && own > 0; e = e->next) {
        if (!e->message || e->message->sender != message->sender)
            continue;
        if (bytes_equal(topic_view(e->message->topic), topic_view(message->topic)))
            return e;
        own--;
    }
    return NULL;
}

bool lane_replace(struct broker_peer *peer, struct message *message)
{
    struct lane *lane = &peer->lanes[LANE_DIRECT];
    struct entry *e = find_own(lane, message);

    if (!e)
        return false;
    lane->bytes = lane->bytes - e->message->size + message->size;
    message_unref(e->message);
    e->message = message;
    message->refs++;
    return true;
}

void lane_withdraw(struct broker *b, struct broker_peer *peer, const struct message *message)
{
    struct lane *lane = &peer->lanes[LANE_DIRECT];
    struct entry *e = find_own(lane, message);

    if (!e)
        return;
    lane->messages -= e->message->count;
    count_moved(b, e->row, e->message->count);
    entry_remove(b, lane, e);
}

void lane_forget(struct broker *b, struct broker_peer *peer, struct entry *e)
{
    struct lane *lane = &peer->lanes[LANE_TOPIC];

    if (!e->message) {
        gap_remove(b, peer, lane, e);
        return;
    }
    lane->messages -= e->message->count;
    entry_remove(b, lane, e);
}

void lane_report_loss(struct broker *b, struct broker_peer *peer, const struct gap *loss)
{
    gap_at_tail(b, peer, &peer->lanes[LANE_TOPIC], loss);
    outbox_queued(b, peer);
}

void lane_clear(struct broker *b, struct broker_peer *peer, enum broker_drop cause)
{
    for (int kind = 0; kind < LANES; kind++) {
        struct lane *lane = &peer->lanes[kind];

        while (lane->head) {
            struct entry *e = lane->head;
            struct flight *flight;

            if (!e->message) {
                gap_remove(b, peer, lane, e);
                continue;
            }
            flight = e->flight;
            if (!flight) {
                count_lost(b, peer, (enum lane_kind)kind, e->row, cause, e->message->count);
            } else if (flight->readers[e->flight_index].peer) {
                struct flight_reader *fr = &flight->readers[e->flight_index];

                count_lost(b, peer, (enum lane_kind)kind, fr->row, cause, 1);
                fr->peer = NULL;
                fr->first = fr->last = NULL;
            }
            entry_remove(b, lane, e);
            if (flight)
                flight_unref(flight);
        }
        lane->messages = lane->reserved = 0;
    }
    registry_unref(&peer->registry);
}

void lane_recheck(struct broker *b, struct broker_peer *peer)
{
    for (int kind = 0; kind < LANES; kind++) {
        struct lane *lane = &peer->lanes[kind];
        struct entry *e = lane->head, *prev;

        while (e) {
            bool revoked =
                e->message && e->message->sender != b->self && !e->message->sender->active;

            if (!e->message ||
                (!revoked && may_go(b, (enum lane_kind)kind, e->message->delivery,
                                    e->message->topic, e->message->sender, peer->member))) {
                e = e->next;
                continue;
            }
            prev = e->prev;
            (void)entries_reserve(b, 1);
            if (revoked || kind != LANE_TOPIC || !queue_moved(b, peer, e))
                drop_entry(b, peer, (enum lane_kind)kind, e, revoked ? DROP_REVOKED : DROP_DENIED,
                           revoked ? AICO_EREVOKED : AICO_EDENIED);
            e = prev ? prev->next : lane->head;
        }
    }
}

static void expire_lane(struct broker *b, struct broker_peer *peer, enum lane_kind kind)
{
    struct lane *lane = &peer->lanes[kind];
    struct entry *e = lane->head, *prev;

    lane->expires_ms = 0;
    while (e) {
        int64_t expires_ms = e->message ? e->message->expires_ms : 0;

        if (expires_ms == 0 || b->now.boot_ms < expires_ms) {
            note_expiry(b, lane, expires_ms);
            e = e->next;
            continue;
        }
        prev = e->prev;
        drop_entry(b, peer, kind, e, DROP_EXPIRED, AICO_EEXPIRED);
        e = prev ? prev->next : lane->head;
    }
}

void lane_expire(struct broker *b, struct broker_peer *peer)
{
    for (int kind = 0; kind < LANES; kind++)
        if (peer->lanes[kind].expires_ms && b->now.boot_ms >= peer->lanes[kind].expires_ms)
            expire_lane(b, peer, (enum lane_kind)kind);
}

/* --- sent ----------------------------------------------------------------------------------- */

/* The head of @lane, a message, was sent. */
static void message_sent(struct broker *b, struct broker_peer *peer, enum lane_kind kind,
                         struct entry *e)
{
    struct lane *lane = &peer->lanes[kind];
    struct flight *flight = e->flight;
    struct ledger_row *row = e->row;
    bool last = e->message->last;
    uint64_t count = e->message->count;

    /* Items of streams are counted and settled by themselves. */
    if (kind == LANE_TOPIC && last && e->message->record[0] == RECORD_DELIVER) {
        struct gap loss = gap_of(e->message, e->queue, AICO_EPEERAWAY);

        peer->topic_sent++;
        queue_handed(b, peer, &loss, false);
    }
    if (flight) {
        struct flight_reader *fr = &flight->readers[e->flight_index];

        fr->first = e->flight_next;
        if (!fr->first)
            fr->last = NULL;
        if (last)
            fr->peer = NULL;
    }
    entry_remove(b, lane, e);
    if (flight)
        flight_unref(flight);
    if (!last)
        return;
    lane->messages -= count;
    count_delivered(b, peer, row, count);
}

void lane_head_sent(struct broker *b, struct broker_peer *peer, enum lane_kind kind)
{
    struct lane *lane = &peer->lanes[kind];

    if (lane->head->message) {
        message_sent(b, peer, kind, lane->head);
        return;
    }
    if (kind == LANE_TOPIC) {
        peer->topic_sent++;
        queue_handed(b, peer, &lane->head->gap, true);
    }
    gap_remove(b, peer, lane, lane->head);
}
