/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The next frame for one peer, from what waits for it, in this order:
 *
 *   control   the broker's own records, as bytes; bounded, and a peer that lets it fill is cut
 *   registry  the document being handed on, by reference
 *   direct    messages addressed to it by name (lane.c)
 *   topic     messages by subscription and gaps (lane.c), within the credit the reader has given
 *
 * A frame is built without taking anything out: outbox_commit() does that when the transport has
 * taken the frame. So a frame that could not be sent costs nothing, and a registry that forbids
 * something finds it still in its lane.
 */
#include "broker/internal.h"

#define PIECE_SIZE (32 * 1024) /* of a registry */
#define CONTROL_KEEP (64 * 1024)

bool outbox_is_empty(const struct broker_peer *peer)
{
    return control_waiting(peer) == 0 && !peer->registry && !peer->lanes[LANE_DIRECT].head &&
           !peer->lanes[LANE_TOPIC].head;
}

/* --- the broker's own records --------------------------------------------------------------- */

size_t control_waiting(const struct broker_peer *peer)
{
    return peer->control.size - peer->control_sent;
}

struct writer control_begin(struct broker *b, struct broker_peer *peer, size_t room)
{
    uint8_t *at = peer->state == PEER_LEAVING ? NULL : buffer_reserve(&peer->control, room);
    struct writer w = writer_over(at, at ? room : 0);

    (void)b;
    w.failed = at == NULL;
    return w;
}

void control_end(struct broker *b, struct broker_peer *peer, const struct writer *w)
{
    if (peer->state == PEER_LEAVING)
        return;
    if (w->failed) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for an answer");
        return;
    }
    peer->control.size += w->size;
    if (control_waiting(peer) > b->settings.control_limit)
        peer_end_later(b, peer, AICO_ESLOW, "answers are not being read");
    outbox_queued(b, peer);
}

int announce_topic(struct broker *b, struct broker_peer *peer, const struct topic *topic)
{
    struct writer w;

    if (topic->number <= TOPIC_NUMBER_HEADS || bitmap_has(&peer->topics_known, topic->number))
        return 0;
    if (bitmap_set(&peer->topics_known, topic->number) < 0)
        return AICO_ENOMEM;
    w = control_begin(b, peer, RECORD_HEAD_SIZE + 4 + 1 + topic->size);
    record_write_topic(&w, topic->number, topic_view(topic));
    control_end(b, peer, &w);
    return 0;
}

static struct record_component component_record(const struct member *member)
{
    return (struct record_component){member->number, bytes_of(member->identity, SIGN_PUBLIC_SIZE),
                                     bytes_text(member->name)};
}

/* Whether @peer knows the number of @member, and that it is still the same process. */
static bool is_told(const struct broker_peer *peer, const struct member *member)
{
    return bitmap_has(&peer->components_known, member->number) &&
           !bitmap_has(&peer->components_renewed, member->number);
}

/* AICO_ENOMEM. Afterwards take_back() needs no memory. */
static int note_told(struct broker_peer *peer, uint32_t number)
{
    if (bitmap_set(&peer->components_known, number) < 0 ||
        bitmap_set(&peer->components_renewed, number) < 0)
        return AICO_ENOMEM;
    bitmap_clear(&peer->components_renewed, number);
    return 0;
}

int announce_member(struct broker *b, struct broker_peer *peer, const struct member *member)
{
    struct record_component record = component_record(member);
    struct writer w;

    if (is_told(peer, member))
        return 0;
    if (note_told(peer, member->number) < 0)
        return AICO_ENOMEM;
    w = control_begin(b, peer, RECORD_HEAD_SIZE + 4 + SIGN_PUBLIC_SIZE + 1 + COMPONENT_NAME_MAX);
    record_write_component(&w, &record);
    control_end(b, peer, &w);
    return 0;
}

/* Credit is returned in large steps: half a window always remains, which holds any record. */
void owe_credit(struct broker *b, struct broker_peer *peer, uint32_t bytes)
{
    struct writer w;

    if (peer->state != PEER_READY || bytes == 0)
        return;
    peer->credit_owed += bytes;
    if (peer->credit_owed < peer->publish_window / 2)
        return;
    w = control_begin(b, peer, RECORD_HEAD_SIZE + 4);
    record_write_credit(&w, peer->credit_owed);
    control_end(b, peer, &w);
    peer->publish_credit += peer->credit_owed;
    peer->credit_owed = 0;
}

/* --- building a frame ----------------------------------------------------------------------- */

void output_add(struct broker *b, struct broker_peer *peer)
{
    if (peer->in_output)
        return;
    peer->in_output = true;
    DL_APPEND2(b->output, peer, out_prev, out_next);
}

void output_remove(struct broker *b, struct broker_peer *peer)
{
    if (!peer->in_output)
        return;
    peer->in_output = false;
    DL_DELETE2(b->output, peer, out_prev, out_next);
}

void outbox_queued(struct broker *b, struct broker_peer *peer)
{
    if (!peer->blocked)
        output_add(b, peer);
}

/* Both return whether everything that waits there is in the frame now. */
static bool build_control(struct broker *b, struct batch *batch, struct broker_peer *peer)
{
    struct bytes rest = bytes_of(peer->control.at + peer->control_sent, control_waiting(peer));

    while (b->build.control < rest.size) {
        struct reader r =
            reader_over(bytes_of(rest.at + b->build.control + 4, rest.size - b->build.control - 4));
        size_t size = RECORD_HEAD_SIZE + reader_u32(&r);

        if (!batch_add(batch, bytes_of(rest.at + b->build.control, size)))
            return false;
        b->build.control += size;
    }
    return true;
}

static bool build_registry(struct broker *b, struct batch *batch, struct broker_peer *peer)
{
    struct bytes document;

    if (!peer->registry)
        return true;
    document = registry_document(peer->registry);
    while (peer->registry_sent + b->build.registry < document.size) {
        size_t offset = peer->registry_sent + b->build.registry;
        size_t size = MIN(document.size - offset, (size_t)PIECE_SIZE);
        struct writer *w = batch_writer(batch, RECORD_HEAD_SIZE + 8 + 4 + 4 + size);

        if (!w)
            return false;
        record_write_registry(
            w, &(struct record_registry){registry_version(peer->registry), (uint32_t)document.size,
                                         (uint32_t)offset, bytes_of(document.at + offset, size)});
        b->build.registry += size;
    }
    return true;
}

/* Names in a DELIVER or GAP are numbers; the reader learns them just before. */
struct names_needed {
    bool topic, sender;
    size_t size;
};

static struct names_needed names_needed(const struct broker_peer *peer, const struct topic *topic,
                                        const struct member *sender)
{
    struct names_needed n = {
        .topic =
            topic->number > TOPIC_NUMBER_HEADS && !bitmap_has(&peer->topics_known, topic->number),
        .sender = !is_told(peer, sender),
    };

    if (n.topic)
        n.size += RECORD_HEAD_SIZE + 4 + 1 + topic->size;
    if (n.sender)
        n.size += RECORD_HEAD_SIZE + 4 + SIGN_PUBLIC_SIZE + 1 + strlen(sender->name);
    return n;
}

static int names_write(struct broker *b, struct writer *w, struct broker_peer *peer,
                       struct names_needed needed, const struct topic *topic,
                       const struct member *sender)
{
    if (needed.topic) {
        b->build.topics[b->build.topic_count++] = topic->number;
        record_write_topic(w, topic->number, topic_view(topic));
    }
    if (needed.sender) {
        struct record_component record = component_record(sender);

        b->build.components[b->build.component_count++] = sender->number;
        record_write_component(w, &record);
    }
    if ((needed.topic && bitmap_set(&peer->topics_known, topic->number) < 0) ||
        (needed.sender && note_told(peer, sender->number) < 0))
        return AICO_ENOMEM;
    return 0;
}

/* Whether @e went into the frame. */
static bool build_entry(struct broker *b, struct batch *batch, struct broker_peer *peer,
                        enum lane_kind lane, const struct entry *e)
{
    const struct topic *topic = e->message ? e->message->topic : e->gap.topic;
    const struct member *sender = e->message ? e->message->sender : e->gap.sender;
    struct names_needed needed = names_needed(peer, topic, sender);
    size_t gap_size = RECORD_HEAD_SIZE + 4 + 4 + 8 + 8 + (topic->number ? 0 : 1u + topic->size);
    size_t size = e->message ? e->message->size : gap_size;
    struct writer *w;

    if (e->message && lane == LANE_TOPIC && b->build.window + size > peer->window)
        return false;
    w = batch_writer(batch, needed.size + size);
    if (!w)
        return false;
    if (names_write(b, w, peer, needed, topic, sender) < 0) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory to name a topic");
        return false;
    }
    if (e->message) {
        writer_bytes(w, bytes_of(e->message->record, size));
        if (lane == LANE_TOPIC)
            b->build.window += size;
    } else {
        record_write_gap(w, &(struct record_gap){
                                .cause = (uint16_t)-e->gap.cause,
                                .sender = sender->number,
                                .topic = topic->number,
                                .count = e->gap.count,
                                .last_id = e->gap.last_id,
                                .direct = lane == LANE_DIRECT,
                                .kept = e->gap.kept,
                                .topic_name = topic_view(topic),
                            });
    }
    b->build.entries[lane]++;
    return true;
}

/* Whether the whole lane went into the frame. */
static bool build_lane(struct broker *b, struct batch *batch, struct broker_peer *peer,
                       enum lane_kind lane)
{
    const struct entry *e = peer->lanes[lane].head;

    while (e && build_entry(b, batch, peer, lane, e))
        e = e->next;
    return e == NULL;
}

bool outbox_build(struct broker *b, struct broker_peer *peer, struct bytes *ret_frame)
{
    struct batch batch;

    lane_expire(b, peer);
    b->build.peer = peer;
    b->build.control = b->build.registry = 0;
    b->build.entries[LANE_DIRECT] = b->build.entries[LANE_TOPIC] = 0;
    b->build.window = 0;
    b->build.topic_count = b->build.component_count = 0;
    batch_begin(&batch, b->frame);

    (void)(build_control(b, &batch, peer) && build_registry(b, &batch, peer) &&
           build_lane(b, &batch, peer, LANE_DIRECT) && build_lane(b, &batch, peer, LANE_TOPIC));
    if (batch_is_empty(&batch) || peer->end_noted) {
        outbox_rollback(b);
        return false;
    }
    *ret_frame = batch_frame(&batch);
    b->build.size = ret_frame->size;
    return true;
}

void outbox_rollback(struct broker *b)
{
    struct broker_peer *peer = b->build.peer;

    if (!peer)
        return;
    for (size_t i = 0; i < b->build.topic_count; i++)
        bitmap_clear(&peer->topics_known, b->build.topics[i]);
    for (size_t i = 0; i < b->build.component_count; i++)
        (void)bitmap_set(&peer->components_renewed, b->build.components[i]); /* has room */
    b->build.peer = NULL;
}

static void control_taken(struct broker_peer *peer, size_t size)
{
    peer->control_sent += size;
    if (peer->control_sent == peer->control.size) {
        if (peer->control.capacity > CONTROL_KEEP)
            buffer_deinit(&peer->control);
        peer->control.size = peer->control_sent = 0;
    } else if (peer->control_sent > CONTROL_KEEP) {
        peer->control.size -= peer->control_sent;
        memmove(peer->control.at, peer->control.at + peer->control_sent, peer->control.size);
        peer->control_sent = 0;
    }
}

void outbox_commit(struct broker *b)
{
    struct broker_peer *peer = b->build.peer;

    b->build.peer = NULL;
    control_taken(peer, b->build.control);
    if (peer->registry) {
        peer->registry_sent += b->build.registry;
        if (peer->registry_sent == registry_document(peer->registry).size) {
            peer->registry_told = registry_version(peer->registry);
            registry_send_next(b, peer);
        }
    }
    for (int kind = 0; kind < LANES; kind++)
        for (size_t i = 0; i < b->build.entries[kind]; i++)
            lane_head_sent(b, peer, (enum lane_kind)kind);
    peer->window -= b->build.window;
    if (peer->lanes[LANE_TOPIC].messages == 0)
        peer->slow_logged = false;
    peer->bytes_out += b->build.size;
    b->totals.bytes_out += b->build.size;
}
