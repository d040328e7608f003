/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the application's queue into frames. A message is sealed at the last moment, when there is
 * credit to send it, so what waits while a reader is removed is sealed under the next generation.
 * Sealed messages stay in the window until the broker has answered; after a lost link those for
 * subscribers are sent again as they are, and the receivers know a repetition by its sequence.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"
#include "crypto/kdf.h"
#include "envelope/headers.h"
#include "session/level.h"

#define PUBLISH_FIELDS_MAX 48   /* of a PUBLISH: all but head, names and payload */
#define BATCH_MESSAGES_MAX 1024 /* of a frame */
/* Of an envelope: with padding and trailer it still fits one record. */
#define BATCH_CONTENT_MAX (48 * 1024)
#define BATCH_PART_MIN (4 * 1024) /* shorter parts would cost more than they spare */
#define BATCH_ROOM 64             /* of it, for the message's number */
#define FRAME_REST (4 * 1024)     /* of a frame: nothing more is sealed for so little room */
/* Of a record: head, names, envelope, trailer; padding adds an eighth. */
#define BATCH_OUTSIDE 700

size_t outgoing_size(const struct outgoing *outgoing)
{
    return sizeof(*outgoing) + outgoing->topic_size + outgoing->to_size + outgoing->headers_size +
           outgoing->payload_size;
}

void outgoing_write(void *block, const struct outgoing *head, struct bytes topic, struct bytes to,
                    struct bytes headers, struct bytes payload)
{
    uint8_t *at = block;

    memcpy(at, head, sizeof(*head));
    at += sizeof(*head);
    bytes_copy(at, topic);
    bytes_copy(at + topic.size, to);
    bytes_copy(at + topic.size + to.size, headers);
    bytes_copy(at + topic.size + to.size + headers.size, payload);
}

/* The four parts behind an outgoing. */
struct outgoing_parts {
    struct bytes topic, to, headers, payload;
};

static struct outgoing_parts parts_of(const struct outgoing *out)
{
    const uint8_t *at = (const uint8_t *)(out + 1);
    struct outgoing_parts parts;

    parts.topic = bytes_of(at, out->topic_size);
    parts.to = bytes_of(at += out->topic_size, out->to_size);
    parts.headers = bytes_of(at += out->to_size, out->headers_size);
    parts.payload = bytes_of(at + out->headers_size, out->payload_size);
    return parts;
}

void client_push(struct client *client, struct fifo *queue)
{
    client->stats.published += queue->count;
    fifo_splice(&client->queue, queue);
}

size_t client_queued(const struct client *client)
{
    return client->queue.count + client->parked_count;
}

size_t client_queued_bytes(const struct client *client)
{
    return client->queue.bytes + client->parked_bytes;
}

size_t client_unacknowledged(const struct client *client)
{
    return client->unacknowledged;
}

/* An application message will not be delivered: told once to the reader and to the next flush. */
static void refuse_app(struct client *client, uint64_t app_id, struct bytes topic,
                       const struct client_component *to, uint8_t delivery, int code,
                       const char *text)
{
    if (app_id == 0) /* a value said again: the application was answered already */
        return;
    ledger_refused(client, client_topic_get(client, topic), to, delivery, code);
    receipts_forget(client, app_id);
    client->stats.refused++;
    if (client->refused_code == 0) {
        client->refused_code = code;
        (void)snprintf(client->refused_text, sizeof(client->refused_text), "%s", text);
    }
    deliver_refused(client, app_id, topic, code, text);
}

/* One reader of a channel-sealed topic did not get its copy of message @app_id: told as well, but
 * the message as a whole is not refused. That it is not there, or does not listen, is no loss. */
static void refuse_copy(struct client *client, uint64_t app_id, struct bytes topic,
                        const struct client_component *to, int code, const char *text)
{
    char cause[HINT_SIZE_MAX + 1];

    receipts_without(client, app_id, to);
    if (code == AICO_EPEERAWAY || code == AICO_EPEERUNKNOWN || code == AICO_ENORESPONDER)
        return;
    ledger_copy_refused(client, client_topic_get(client, topic), to, code);
    (void)snprintf(cause, sizeof(cause), "%s did not get it: %s", to->name, text);
    if (client->refused_code == 0) {
        client->refused_code = code;
        (void)snprintf(client->refused_text, sizeof(client->refused_text), "%s", cause);
    }
    deliver_refused(client, app_id, topic, code, cause);
}

/* The broker will not, or did not, take @sent. */
static void refuse_sent(struct client *client, struct sent *sent, int code, const char *text)
{
    sent->answered = true;
    sent->handed = true;
    if (sent->value > 0)
        values_refused(client, topic_name(sent->topic), sent->value);
    if (sent->app_id == 0)
        return;
    if (sent->quiet) {
        refuse_copy(client, sent->app_id, topic_name(sent->topic), sent->to, code, text);
        return;
    }
    client->unacknowledged -= sent->count;
    for (uint32_t i = 0; i < sent->count; i++)
        refuse_app(client, sent->app_id + i, topic_name(sent->topic), sent->to, sent->delivery,
                   code, text);
}

/* A new block in the window with room for @room payload bytes. */
static struct sent *window_push(struct client *client, struct client_topic *topic, size_t room)
{
    struct sent *sent = fifo_push(&client->window, sizeof(*sent) + room);

    if (!sent)
        return NULL;
    memset(sent, 0, sizeof(*sent));
    sent->id = client->next_id++;
    sent->topic = topic;
    sent->count = 1;
    client->last_publish_id = sent->id;
    return sent;
}

static void window_keep(struct client *client, struct sent *sent, size_t size)
{
    sent->size = (uint32_t)size;
    fifo_shrink_last(&client->window, sent, sizeof(*sent) + size);
    if (sent->app_id != 0 && !sent->quiet)
        client->unacknowledged += sent->count;
}

/* Sealing failed: the block stays as an answered one until it is popped. */
static void window_void(struct client *client, struct sent *sent)
{
    sent->answered = true;
    sent->handed = true;
    fifo_shrink_last(&client->window, sent, sizeof(*sent));
}

/* The broker has taken @sent. */
static void count_taken(struct client *client, const struct sent *sent)
{
    if (sent->value > 0)
        values_accepted(client, topic_name(sent->topic), sent->value);
    if (sent->app_id != 0 && !sent->quiet) {
        client->unacknowledged -= sent->count;
        client->stats.acknowledged += sent->count;
        ledger_acknowledged(client, sent->topic, sent->to, sent->delivery, sent->count);
    } else if (sent->delivery == DELIVERY_REQUEST) {
        ledger_acknowledged(client, sent->topic, sent->to, sent->delivery, 1);
    } else if (sent->quiet || sent->again) {
        ledger_copied(client, sent->topic, sent->to, sent->delivery);
    }
}

/* Releases what was answered at the front. */
static void window_release(struct client *client)
{
    struct sent *sent;

    while ((sent = fifo_front(&client->window, NULL)) != NULL) {
        if (!sent->answered && !(sent->handed && sent->id <= client->acked_id))
            return;
        if (!sent->answered)
            count_taken(client, sent);
        if (client->window_sent.chunk) {
            struct fifo_cursor probe = {0};
            void *last = fifo_next(&client->window, &probe);

            if (last == sent && probe.chunk == client->window_sent.chunk &&
                probe.offset == client->window_sent.offset)
                client->window_sent = (struct fifo_cursor){0};
        }
        fifo_pop(&client->window);
    }
}

int publish_control(struct client *client, struct client_component *to, struct client_topic *topic,
                    struct bytes payload)
{
    struct sent *sent = window_push(client, topic, payload.size);

    if (!sent)
        return AICO_ENOMEM;
    sent->delivery = DELIVERY_CONTROL;
    sent->to = to;
    bytes_copy(sent_payload(sent), payload);
    window_keep(client, sent, payload.size);
    return 0;
}

/* What a broker is told: at least 1 ms, so that it is the one to say that it was too late (it may
 * have passed the message on before the link broke). */
static uint32_t time_left(struct moment now, int64_t expires_ms)
{
    if (expires_ms == 0 || expires_ms - now.boot_ms > (int64_t)UINT32_MAX)
        return 0; /* so far away only a rule's age is, which the broker knows */
    return (uint32_t)MAX(expires_ms - now.boot_ms, (int64_t)1);
}

/* Puts what is left of @sent into the frame; true when all of it is in. */
static bool render(struct client *client, struct moment now, struct sent *sent,
                   struct writer *frame)
{
    while (!sent->handed) {
        size_t left = sent->size - sent->sent, piece = MIN(left, (size_t)FRAGMENT_SIZE_MAX);
        bool fragment = sent->size > FRAGMENT_SIZE_MAX;
        struct record_publish publish = {
            .delivery = sent->delivery,
            .id = sent->id,
            .topic = sent->topic->number,
            .fragment = fragment,
            .total = sent->size,
            .offset = sent->sent,
            .reply = sent->delivery == DELIVERY_REPLY,
            .request = sent->request,
            .timeout_ms = sent->timeout_ms,
            .ttl_ms = time_left(now, sent->expires_ms),
            .copy = sent->quiet,
            .again = sent->again,
            .receipt = sent->receipt,
            .count = sent->count > 1 ? (uint16_t)sent->count : 0,
            .topic_name = topic_name(sent->topic),
            .payload = bytes_of(sent_payload(sent) + sent->sent, piece),
        };
        size_t size;

        if (sent->to) {
            publish.to = sent->to->number ? sent->to->number : NUMBER_BY_NAME;
            publish.to_name = bytes_text(sent->to->name);
        }
        size = record_size_publish(&publish);
        if (size > frame->capacity - frame->size ||
            (frame->size > 1 && frame->size + size > FRAME_BATCH_SIZE))
            return false;
        if (sent->delivery != DELIVERY_CONTROL && size > client->send_window)
            return false;
        record_write_publish(frame, &publish);
        if (sent->delivery != DELIVERY_CONTROL)
            client->send_window -= size;
        sent->sent += (uint32_t)piece;
        sent->handed = sent->sent == sent->size;
    }
    return true;
}

/* Frames for everything in the window that has none in this session. */
bool publish_render(struct client *client, struct moment now, struct writer *frame)
{
    struct fifo_cursor cursor = client->window_sent;
    struct sent *sent;

    while ((sent = fifo_next(&client->window, &cursor)) != NULL) {
        if (!sent->answered && !render(client, now, sent, frame))
            return false;
        client->window_sent = cursor;
    }
    return true;
}

/* A broker may wait with an ACK until it has something else to send: who waits for it asks. The
 * answer comes behind the ACK of everything in this frame and before. */
void publish_ask_for_ack(struct client *client, struct writer *frame)
{
    uint64_t last = client->last_publish_id;

    if ((client->flush_count == 0 && !client->is_finishing) || client->acked_id >= last ||
        client->ack_asked_id >= last || frame->size + RECORD_HEAD_SIZE + 8 > frame->capacity)
        return;
    record_write_ping(frame, 0);
    client->ack_asked_id = last;
}

void client_finish(struct client *client)
{
    client->is_finishing = true;
}

/* What became of a queue entry. */
enum taken { TAKEN, TAKEN_NOT_YET };

/* The kind @out has for the readers of its topic: the rule says whether it is stored. */
static uint8_t delivery_of(const struct rule *rule, const struct outgoing *out)
{
    return rule->store.on && out->delivery == DELIVERY_EVENT ? DELIVERY_STREAM : out->delivery;
}

/* What @out wants to hear, from its header block. */
static struct receipt_asked asked_of(const struct outgoing *out, const struct outgoing_parts *parts,
                                     struct client_topic *topic)
{
    struct bytes headers = parts->headers;
    uint64_t once;
    struct receipt_asked asked = {.id = out->id,
                                  .timeout_ms = out->receipt_ms,
                                  .is_addressed = out->to_size > 0,
                                  .topic = topic,
                                  .payload = parts->payload};

    (void)header_take_once(&headers, &once);
    (void)header_take_receipt(&headers, &asked.receipt);
    return asked;
}

/* The first @count of the queue have been sealed for whoever subscribes: the broker names them. */
static int await_readers(struct client *client, struct moment now, struct client_topic *topic,
                         size_t count)
{
    struct fifo_cursor cursor = {0};
    const struct outgoing *out;
    int r = 0;

    while (r == 0 && count-- > 0 && (out = fifo_next(&client->queue, &cursor)) != NULL) {
        struct outgoing_parts parts = parts_of(out);
        struct receipt_asked asked = asked_of(out, &parts, topic);

        r = receipts_begin(client, now, &asked);
    }
    if (r < 0) /* it is sealed, and must not go unwatched */
        client_end(client, r, "out of memory");
    return r;
}

static int seal_group(struct client *client, struct moment now, struct client_topic *topic,
                      const struct outgoing *out, const struct outgoing_parts *parts,
                      uint8_t delivery)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer numbered = {0};
    struct bytes headers = parts->headers;
    uint64_t value = 0;
    struct sent *sent;
    struct writer w;
    size_t room;
    int r = 0;

    if (out->delivery == DELIVERY_RETAINED) {
        r = values_keep(client, now, out, parts->topic, headers, parts->payload, &numbered);
        headers = buffer_view(&numbered);
        value = r == 0 && !out->value ? client->last_value : 0;
    }
    if (r < 0)
        return r;
    room = sessions_envelope_size(client->sessions, headers.size, out->payload_size);
    sent = window_push(client, topic, room);
    if (!sent) {
        values_refused(client, parts->topic, value);
        return AICO_ENOMEM;
    }
    w = writer_over(sent_payload(sent), room);
    r = sessions_seal_group(client->sessions, now, parts->topic, delivery, headers, parts->payload,
                            &w);
    if (r < 0) {
        window_void(client, sent);
        values_refused(client, parts->topic, value);
        return r;
    }
    sent->value = value;
    sent->delivery = delivery;
    sent->app_id = out->id;
    sent->expires_ms = out->expires_ms;
    sent->again = out->value != 0;
    sent->receipt = out->receipt != RECEIPT_NONE;
    window_keep(client, sent, w.size);
    return 0;
}

/* Whether @a and @b, events for the subscribers of one topic, may travel in one envelope. */
static bool is_alike(const struct outgoing *a, const struct outgoing *b)
{
    return b->to_size == 0 && a->delivery == b->delivery && a->topic_size == b->topic_size &&
           (a->expires_ms == 0) == (b->expires_ms == 0) && a->receipt == b->receipt &&
           memcmp(a + 1, b + 1, a->topic_size) == 0;
}

/* Messages from the front of the queue that are sealed now: together, or in parts of about one size
 * that are proven at once. */
struct gathered {
    struct content_item items[BATCH_MESSAGES_MAX];
    size_t count, parts;
    size_t content; /* bytes of all items as content */
    int64_t expires_ms;
};

static size_t item_size(const struct content_item *item)
{
    return content_batch_item_size(true, item->headers.size, item->payload.size);
}

/* Of one envelope. */
static size_t content_limit(const struct client *client)
{
    return MIN(client->settings.session.max_message_size, (size_t)BATCH_CONTENT_MAX);
}

/*
 * The messages at the front of the queue that are sealed together with the first: what waits
 * already, for the same topic, as far as @room in the frame and the broker's window let it go.
 * An idle publisher never has two. Not where order is not enforced: a window counts envelopes.
 */
static void gather(struct client *client, struct moment now, const struct outgoing *first,
                   size_t room, struct gathered *ret)
{
    size_t limit = content_limit(client), longest = 0, parts_max, outside, most;
    struct fifo_cursor cursor = {0};
    const struct outgoing *out;
    struct group_form form;

    sessions_get_form(client->sessions, now, parts_of(first).topic, &form);
    parts_max = form.is_hashed ? HASHES_AT_ONCE : 1;
    outside = parts_max * BATCH_OUTSIDE;
    ret->count = ret->content = 0;
    ret->expires_ms = 0;
    most = room > outside ? room - outside : 0;
    if (form.is_padded)
        most = most / 8 * 7;
    if (!form.is_hashed)
        most = MIN(most, limit);
    most = (size_t)MIN((uint64_t)most, client->send_window / 2);
    if (!client->settings.session.strict_ordering || first->delivery != DELIVERY_EVENT)
        most = 0;
    while (ret->count < BATCH_MESSAGES_MAX && (out = fifo_next(&client->queue, &cursor)) != NULL) {
        struct outgoing_parts parts = parts_of(out);
        struct content_item item = {parts.headers, parts.payload};
        size_t size = item_size(&item);

        if (out != first && (!is_alike(first, out) || ret->content + size + BATCH_ROOM > most ||
                             MAX(longest, size) + BATCH_ROOM > limit))
            break;
        longest = MAX(longest, size);
        ret->items[ret->count++] = item;
        ret->expires_ms = MAX(ret->expires_ms, out->expires_ms); /* its reader looks at each */
        ret->content += size;
    }
    ret->parts =
        MIN(parts_max, MAX(ret->content / MAX(longest, (size_t)BATCH_PART_MIN), (size_t)1));
}

/* As seal_group(), for the @count messages of @g from @begin on. */
static int seal_batch(struct client *client, struct moment now, struct client_topic *topic,
                      const struct outgoing *out, const struct gathered *g, size_t begin,
                      size_t count, uint8_t delivery)
{
    const struct content_item *items = g->items + begin;
    size_t bytes = 0, room;
    struct sent *sent;
    struct writer w;
    int r;

    for (size_t i = 0; i < count; i++)
        bytes += items[i].headers.size + items[i].payload.size;
    room = sessions_batch_size(count, bytes);
    sent = window_push(client, topic, room);
    if (!sent)
        return AICO_ENOMEM;
    w = writer_over(sent_payload(sent), room);
    r = sessions_seal_batch(client->sessions, now, topic_name(topic), delivery, items, count,
                            g->parts > 1, &w);
    if (r < 0) {
        window_void(client, sent);
        return r;
    }
    sent->delivery = delivery;
    sent->app_id = out->id + begin;
    sent->count = (uint32_t)count;
    sent->expires_ms = g->expires_ms;
    sent->receipt = out->receipt != RECEIPT_NONE;
    window_keep(client, sent, w.size);
    return 0;
}

/* How many messages of @g from @begin on, before which is @content, go into part @part. */
static size_t part_count(const struct client *client, const struct gathered *g, size_t part,
                         size_t begin, size_t *content)
{
    size_t end = g->content * (part + 1) / g->parts, limit = content_limit(client);
    size_t count = 0, own = 0;

    while (begin + count < g->count) {
        size_t size = item_size(&g->items[begin + count]);

        if (count > 0 && (*content + size / 2 >= end || own + size + BATCH_ROOM > limit))
            break;
        own += size;
        *content += size;
        count++;
    }
    return count;
}

/* Seals what was gathered, of which @out is the first; *ret_count says how much of it, or how much
 * failed. */
static int seal_gathered(struct client *client, struct moment now, struct client_topic *topic,
                         const struct outgoing *out, const struct gathered *g, uint8_t delivery,
                         size_t *ret_count)
{
    size_t done = 0, content = 0;
    int r = 0;

    for (size_t part = 0; r == 0 && part < g->parts && done < g->count; part++) {
        size_t count = part_count(client, g, part, done, &content);

        r = seal_batch(client, now, topic, out, g, done, count, delivery);
        if (r == 0)
            done += count;
    }
    if (g->parts > 1)
        sessions_prove(client->sessions, now, topic_name(topic));
    *ret_count = done > 0 ? done : g->count;
    return done > 0 ? 0 : r;
}

static int seal_none(struct client *client, struct client_topic *topic, const struct outgoing *out,
                     const struct outgoing_parts *parts, uint8_t delivery)
{
    struct bytes headers = parts->headers;
    struct sent *sent;
    int64_t until_ms;

    if (!client->settings.seal_none_allowed || out->receipt)
        return AICO_EPOLICY;
    /* In clear there is nothing that could vouch for it: only the broker counts its time. */
    (void)header_take_until(&headers, &until_ms);
    if (headers.size > 0)
        return AICO_EFORMAT;
    sent = window_push(client, topic, out->payload_size);
    if (!sent)
        return AICO_ENOMEM;
    sent->delivery = delivery;
    sent->app_id = out->id;
    sent->expires_ms = out->expires_ms;
    sent->clear = true;
    bytes_copy(sent_payload(sent), parts->payload);
    window_keep(client, sent, out->payload_size);
    return 0;
}

/* Seals for one component over its channel or ratchet; AICO_ESTATE: none stands. */
static int seal_direct(struct client *client, struct moment now, struct client_topic *topic,
                       struct client_component *to, const struct outgoing *out,
                       const struct outgoing_parts *parts, bool quiet)
{
    size_t room = sessions_direct_size(client->sessions, now, bytes_text(to->name),
                                       out->headers_size, out->payload_size);
    bool is_reply = out->delivery == DELIVERY_REPLY;
    struct sent *sent;
    struct writer w;
    int r;

    if (!sessions_is_ready(client->sessions, now, bytes_text(to->name), parts->topic))
        return AICO_ESTATE;
    sent = window_push(client, topic, room);
    if (!sent)
        return AICO_ENOMEM;
    w = writer_over(sent_payload(sent), room);
    r = sessions_seal_direct(client->sessions, now, bytes_text(to->name), parts->topic,
                             out->delivery, is_reply ? out->ref : NULL, parts->headers,
                             parts->payload, &w, NULL);
    if (r < 0) {
        window_void(client, sent);
        return r;
    }
    sent->delivery = out->delivery;
    sent->to = to;
    sent->request = out->request;
    sent->quiet = quiet;
    sent->app_id = out->id;
    sent->expires_ms = out->expires_ms;
    window_keep(client, sent, w.size);
    return 0;
}

static void parked_free(struct client *client, struct client_component *to, struct parked *parked)
{
    DL_DELETE(to->parked, parked);
    client->parked_count--;
    client->parked_bytes -= outgoing_size(&parked->head);
    memory_wipe(&parked->head, outgoing_size(&parked->head));
    free(parked);
}

/* Keeps a copy of @out until the channel with @to stands or dialling is over; not when dialling
 * cannot even begin: nothing would wake it. */
static int park(struct client *client, struct moment now, struct client_component *to,
                const struct outgoing *out, bool quiet)
{
    size_t size = outgoing_size(out);
    struct parked *parked = calloc(1, sizeof(*parked) - sizeof(*out) + size);
    int r;

    if (!parked)
        return AICO_ENOMEM;
    memcpy(&parked->head, out, size);
    parked->quiet = quiet;
    DL_APPEND(to->parked, parked);
    client->parked_count++;
    client->parked_bytes += size;
    r = sessions_want(client->sessions, now, bytes_text(to->name), parts_of(out).topic);
    if (r < 0)
        parked_free(client, to, parked);
    return r;
}

static int send_direct(struct client *client, struct moment now, struct client_topic *topic,
                       struct client_component *to, const struct outgoing *out, bool quiet)
{
    struct outgoing_parts parts = parts_of(out);
    int r = to->parked ? AICO_ESTATE : seal_direct(client, now, topic, to, out, &parts, quiet);

    if (r == AICO_ESTATE)
        r = park(client, now, to, out, quiet);
    if (r == 0 && out->receipt)
        r = receipts_expect(client, out->id, to);
    return r;
}

/* To one component, which alone is to have it. */
static int send_to_one(struct client *client, struct moment now, struct client_topic *topic,
                       struct client_component *to, const struct outgoing *out)
{
    struct outgoing_parts parts = parts_of(out);
    struct receipt_asked asked = asked_of(out, &parts, topic);
    int r = out->receipt ? receipts_begin(client, now, &asked) : 0;

    if (r == 0)
        r = send_direct(client, now, topic, to, out, false);
    if (r == 0 && out->receipt)
        receipts_named(client, out->id);
    return r;
}

/* A channel-sealed or ratcheted topic: one copy for each entitled reader that is there. */
static int send_to_readers(struct client *client, struct moment now, struct client_topic *topic,
                           const struct rule *rule, const struct outgoing *out)
{
    struct outgoing_parts parts = parts_of(out);
    struct receipt_asked asked = asked_of(out, &parts, topic);

    if (out->receipt && receipts_begin(client, now, &asked) < 0)
        return AICO_ENOMEM;
    for (size_t i = 0; i < registry_component_count(client->registry); i++) {
        const struct component *c = registry_component_at(client->registry, i);
        struct client_component *to;

        /* During a rotation a name has two lines; it is one reader. */
        if (registry_find_name(client->registry, bytes_text(c->name)) != c ||
            !component_is_active(client->registry, c, now.real_ms) ||
            !rule_allows(rule, c, RIGHT_SUBSCRIBE) || strcmp(c->name, client->self->name) == 0)
            continue;
        to = component_get(client, bytes_text(c->name));
        if (!to)
            return AICO_ENOMEM;
        if (to->online || client->presence_refused) {
            int r = send_direct(client, now, topic, to, out, true);

            if (r == AICO_ENOMEM || r == AICO_ETOOLARGE || r == AICO_EFORMAT)
                return r; /* would be the same for every reader */
            if (r < 0)
                refuse_copy(client, out->id, topic_name(topic), to, r, aico_error_string(r));
        }
    }
    if (out->receipt)
        receipts_named(client, out->id);
    client->stats.acknowledged++;
    ledger_acknowledged(client, topic, NULL, out->delivery, 1);
    return 0;
}

static bool rule_allows_self(struct client *client, const struct rule *rule)
{
    const struct component *me = registry_find_identity(client->registry, client->self->public);

    return me && rule_allows(rule, me, RIGHT_PUBLISH);
}

static int take_by_rule(struct client *client, struct moment now, struct client_topic *topic,
                        const struct outgoing *out, size_t room, enum taken *ret_taken,
                        size_t *ret_count)
{
    const struct rule *rule = client_topic_rule(client, topic);
    struct outgoing_parts parts = parts_of(out);
    struct gathered gathered;
    uint8_t delivery;
    int r;

    if (!rule)
        return AICO_EDENIED;
    delivery = delivery_of(rule, out);
    switch (rule->seal) {
    case SEAL_GROUP:
        if ((delivery == DELIVERY_STREAM || delivery == DELIVERY_RETAINED) &&
            !sessions_may_store(client->sessions, parts.topic) && rule_allows_self(client, rule)) {
            *ret_taken = TAKEN_NOT_YET;
            return 0;
        }
        r = sessions_prepare_group(client->sessions, now, parts.topic);
        if (r == AICO_ESTATE) {
            *ret_taken = TAKEN_NOT_YET;
            return 0;
        }
        if (r < 0)
            return r;
        gather(client, now, out, room, &gathered);
        *ret_count = gathered.count;
        r = gathered.count == 1
                ? seal_group(client, now, topic, out, &parts, delivery)
                : seal_gathered(client, now, topic, out, &gathered, delivery, ret_count);
        return r == 0 && out->receipt ? await_readers(client, now, topic, *ret_count) : r;
    case SEAL_CHANNEL:
    case SEAL_RATCHET:
        if (out->delivery == DELIVERY_RETAINED)
            return AICO_EINVAL; /* it has no envelope that could be kept */
        if (!rule_allows_self(client, rule))
            return AICO_EDENIED;
        want_presence(client);
        if (!client->presence_live) {
            *ret_taken = TAKEN_NOT_YET;
            return 0;
        }
        return send_to_readers(client, now, topic, rule, out);
    case SEAL_NONE:
        return seal_none(client, topic, out, &parts, delivery);
    }
    return AICO_EINTERNAL;
}

/* Seals what is at the front of the queue, @out and as much more as goes into @room bytes of the
 * frame, parks it, or refuses it. */
static enum taken take(struct client *client, struct moment now, const struct outgoing *out,
                       size_t room, size_t *ret_count)
{
    struct outgoing_parts parts = parts_of(out);
    struct client_topic *topic = client_topic_get(client, parts.topic);
    struct client_component *to = out->to_size > 0 ? component_get(client, parts.to) : NULL;
    enum taken taken = TAKEN;
    int r;

    *ret_count = 1;
    if (out->value && !values_is_current(client, parts.topic, out->value))
        return TAKEN; /* to be said again, but a newer one went out in between */
    if (out->receipt && !receipts_have_room(client))
        return TAKEN_NOT_YET;
    if (!topic) {
        r = AICO_ENOMEM;
    } else if (out->to_size > 0) {
        r = to ? send_to_one(client, now, topic, to, out) : AICO_EPEERUNKNOWN;
    } else {
        r = take_by_rule(client, now, topic, out, room, &taken, ret_count);
    }
    for (size_t i = 0; r < 0 && i < *ret_count; i++)
        refuse_app(client, out->id + i, parts.topic, to, out->delivery, r, aico_error_string(r));
    if (taken == TAKEN && out->id != 0)
        ledger_published(client, topic, to, out->delivery, *ret_count);
    return taken;
}

static bool is_expired(const struct outgoing *out, struct moment now)
{
    return out->expires_ms > 0 && now.boot_ms >= out->expires_ms;
}

static const char expired_text[] = "it could not be sent within its time to live";

static void expire(struct client *client, const struct outgoing *out)
{
    struct outgoing_parts parts = parts_of(out);
    struct client_component *to = out->to_size > 0 ? component_get(client, parts.to) : NULL;

    if (out->id != 0)
        ledger_published(client, client_topic_get(client, parts.topic), to, out->delivery, 1);
    refuse_app(client, out->id, parts.topic, to, out->delivery, AICO_EEXPIRED, expired_text);
}

void publish_expire(struct client *client, struct moment now)
{
    const struct outgoing *out;

    while ((out = fifo_front(&client->queue, NULL)) != NULL && is_expired(out, now)) {
        expire(client, out);
        fifo_pop(&client->queue);
    }
}

int64_t publish_deadline(const struct client *client)
{
    const struct outgoing *out = fifo_front((struct fifo *)(uintptr_t)&client->queue, NULL);

    return out && out->expires_ms > 0 ? out->expires_ms : MOMENT_NEVER;
}

/* The largest first record @out can become. */
static size_t record_bound(const struct client *client, const struct outgoing *out)
{
    size_t value = out->delivery == DELIVERY_RETAINED ? HEADER_VALUE_NUMBER_SIZE_MAX : 0;
    size_t sealed =
        sessions_envelope_size(client->sessions, out->headers_size + value, out->payload_size);

    return RECORD_HEAD_SIZE + PUBLISH_FIELDS_MAX + out->topic_size + out->to_size +
           MIN(sealed, (size_t)FRAGMENT_SIZE_MAX);
}

void publish_fill(struct client *client, struct moment now, struct writer *frame)
{
    size_t count;
    const struct outgoing *out;

    window_release(client);
    while (publish_render(client, now, frame)) {
        /* Seal only what goes out at once: what was sealed and waits could be read by somebody who
         * is removed meanwhile. */
        publish_expire(client, now);
        out = client->closed ? NULL : fifo_front(&client->queue, NULL);
        if (!out || client->send_window < record_bound(client, out))
            break;
        if (frame->size > 1 &&
            frame->size + MAX(record_bound(client, out), (size_t)FRAME_REST) > FRAME_BATCH_SIZE)
            break;
        if (take(client, now, out, FRAME_BATCH_SIZE - frame->size, &count) == TAKEN_NOT_YET)
            break;
        fifo_pop_many(&client->queue, count);
    }
    window_release(client);
}

/* @value for @to alone, which asked for it. */
int publish_value(struct client *client, struct moment now, struct client_component *to,
                  const struct own_value *value, struct bytes headers)
{
    struct bytes topic = bytes_of(value->data, value->topic_size);
    struct client_topic *known = client_topic_get(client, topic);
    struct bytes payload =
        bytes_of(value->data + value->topic_size + value->headers_size, value->payload_size);
    struct outgoing out = {.payload_size = value->payload_size,
                           .headers_size = (uint16_t)headers.size,
                           .topic_size = value->topic_size,
                           .delivery = DELIVERY_RETAINED,
                           .expires_ms = value->expires_ms};
    struct outgoing_parts parts = {topic, bytes_text(to->name), headers, payload};

    return known ? seal_direct(client, now, known, to, &out, &parts, true) : AICO_ENOMEM;
}

/* A request whose responder is known: sealed, or AICO_ESTATE while its channel is dialled. */
int publish_request(struct client *client, struct moment now, struct operation *operation)
{
    struct bytes payload = buffer_view(&operation->payload);
    struct bytes peer = bytes_text(operation->peer->name);
    size_t room = sessions_direct_size(client->sessions, now, peer, 0, payload.size);
    struct sent *sent;
    struct writer w;
    int r;

    if (!sessions_is_ready(client->sessions, now, peer, topic_name(operation->topic))) {
        r = sessions_want(client->sessions, now, peer, topic_name(operation->topic));
        return r < 0 ? r : AICO_ESTATE;
    }
    sent = window_push(client, operation->topic, room);
    if (!sent)
        return AICO_ENOMEM;
    w = writer_over(sent_payload(sent), room);
    r = sessions_seal_direct(client->sessions, now, peer, topic_name(operation->topic),
                             DELIVERY_REQUEST, NULL, bytes_of(NULL, 0), payload, &w,
                             operation->reference);
    if (r < 0) {
        window_void(client, sent);
        return r;
    }
    sent->delivery = DELIVERY_REQUEST;
    sent->to = operation->peer;
    sent->timeout_ms = operation->deadline_ms == MOMENT_NEVER
                           ? 3600000
                           : (uint32_t)MAX(operation->deadline_ms - now.boot_ms, (int64_t)1);
    window_keep(client, sent, w.size);
    operation->id = sent->id;
    operation->reference_known = true;
    return 0;
}

void publish_acked(struct client *client, uint64_t id)
{
    if (id > client->acked_id)
        client->acked_id = id;
    window_release(client);
}

void publish_refused(struct client *client, struct moment now, const struct record_refuse *refuse,
                     const char *text)
{
    int code = -(int)refuse->code;
    struct fifo_cursor cursor = {0};
    struct sent *sent;

    while ((sent = fifo_next(&client->window, &cursor)) != NULL && sent->id < refuse->id)
        ;
    if (!sent || sent->id != refuse->id || sent->answered)
        return;
    if (sent->to && (code == AICO_EPEERAWAY || code == AICO_EPEERUNKNOWN))
        sessions_peer_away(client->sessions, now, bytes_text(sent->to->name), code);
    refuse_sent(client, sent, code, text);
    window_release(client);
}

int receive_receivers(struct client *client, const struct record_receivers *record)
{
    struct fifo_cursor cursor = {0};
    struct sent *sent;
    int r = 0;

    while ((sent = fifo_next(&client->window, &cursor)) != NULL && sent->id < record->id)
        ;
    if (!sent || sent->id != record->id || !sent->receipt || sent->answered)
        return 0;
    for (uint32_t i = 0; i < sent->count && r == 0; i++)
        r = receipts_name(client, sent->app_id + i, record);
    return r;
}

/* Whether @sent, of the session before, is sent again as it is. @known: this broker remembers it.
 */
static bool may_repeat(const struct client *client, const struct sent *sent, bool known)
{
    if (sent->to) {
        /* With fresh handshakes its channel is gone, or will be: the other end could not open it.
         * A request was given up when the link broke. */
        if (sent->delivery == DELIVERY_MAILBOX) /* a ratchet outlives the link */
            return true;
        return !client->settings.session.fresh_handshake && sent->delivery != DELIVERY_REQUEST;
    }
    /* What was sealed can be told from its repetition, what was not cannot; then only the broker
     * keeps them apart. */
    return !sent->clear || sent->sent == 0 || known;
}

/* @last_id: up to there the broker has settled everything of this run of ours. */
void publish_link_up(struct client *client, struct moment now, uint64_t last_id)
{
    bool known = last_id > 0 && last_id >= client->acked_id;
    struct fifo_cursor cursor = {0};
    struct sent *sent;

    client->ack_asked_id = 0;
    client->window_sent = (struct fifo_cursor){0};
    while ((sent = fifo_next(&client->window, &cursor)) != NULL) {
        if (sent->answered || sent->id <= last_id) {
            sent->handed = true;
        } else if (may_repeat(client, sent, known)) {
            sent->sent = 0;
            sent->handed = false;
        } else {
            if (sent->to && sent->sent > 0 && sent->delivery != DELIVERY_CONTROL)
                ledger_unsure(client, sent->topic, sent->to, sent->delivery);
            refuse_sent(client, sent, AICO_ECLOSED,
                        "the link broke before the broker answered: it may have been delivered");
        }
    }
    publish_acked(client, last_id);
    if (!known)
        values_resend(client, now);
}

void publish_link_down(struct client *client)
{
    client->window_sent = (struct fifo_cursor){0};
}

static void refuse_parked(struct client *client, struct client_component *peer,
                          struct parked *parked, int code, const char *text)
{
    struct bytes topic = parts_of(&parked->head).topic;

    if (parked->quiet)
        refuse_copy(client, parked->head.id, topic, peer, code, text);
    else
        refuse_app(client, parked->head.id, topic, peer, parked->head.delivery, code, text);
    parked_free(client, peer, parked);
}

bool topic_is_ratcheted(struct client *client, struct client_topic *topic)
{
    return level_ratchets(&client->settings.session, client_topic_rule(client, topic));
}

static bool is_parked_for(struct client *client, const struct parked *parked, bool ratchet)
{
    struct client_topic *topic = client_topic_get(client, parts_of(&parked->head).topic);

    return topic && topic_is_ratcheted(client, topic) == ratchet;
}

void publish_channel_lost(struct client *client, struct client_component *peer, bool ratchet,
                          int code, const char *text)
{
    struct parked *parked, *next;

    DL_FOREACH_SAFE(peer->parked, parked, next)
    if (is_parked_for(client, parked, ratchet))
        refuse_parked(client, peer, parked, code, text);
}

/* Whoever waits behind another message of the same component waits for its turn. */
static int want_first(struct client *client, struct moment now, struct client_component *peer)
{
    return sessions_want(client->sessions, now, bytes_text(peer->name),
                         parts_of(&peer->parked->head).topic);
}

void publish_channel_ready(struct client *client, struct moment now, struct client_component *peer)
{
    while (peer->parked) {
        struct parked *parked = peer->parked;
        struct outgoing_parts parts = parts_of(&parked->head);
        struct client_topic *topic = client_topic_get(client, parts.topic);
        int r = AICO_ENOMEM;

        if (is_expired(&parked->head, now))
            r = AICO_EEXPIRED;
        else if (topic)
            r = seal_direct(client, now, topic, peer, &parked->head, &parts, parked->quiet);
        if (r == AICO_ESTATE) { /* over already, or it waits for the other kind */
            r = want_first(client, now, peer);
            if (r == 0)
                return;
        }
        if (r < 0)
            refuse_parked(client, peer, parked, r, aico_error_string(r));
        else
            parked_free(client, peer, parked);
    }
}

/* The link is up again: what waits for a channel goes on waiting, for a new one. */
void publish_dial_parked(struct client *client, struct moment now)
{
    struct client_component *peer, *next;

    HASH_ITER(hh, client->components, peer, next)
    {
        int r = peer->parked ? want_first(client, now, peer) : 0;

        while (r < 0 && peer->parked) {
            refuse_parked(client, peer, peer->parked, r, aico_error_string(r));
            r = peer->parked ? want_first(client, now, peer) : 0;
        }
    }
}

/* Nothing with an application id up to flush->flush_id is queued, parked or in the window. */
bool publish_is_answered(const struct client *client, struct operation *flush)
{
    struct client *c = (struct client *)client; /* fifo_front() and iteration change nothing */
    struct client_component *peer, *next;
    const struct outgoing *front = fifo_front(&c->queue, NULL);

    if (front && front->id <= flush->flush_id)
        return false;
    HASH_ITER(hh, c->components, peer, next)
    {
        const struct parked *parked;

        DL_FOREACH(peer->parked, parked)
        if (parked->head.id <= flush->flush_id)
            return false;
    }
    if (flush->flush_wire == 0)
        flush->flush_wire = client->last_publish_id;
    return fifo_front(&c->window, NULL) == NULL || client->acked_id >= flush->flush_wire;
}

uint64_t client_answered_before(const struct client *client)
{
    struct client *c = (struct client *)(uintptr_t)client; /* looking changes nothing */
    const struct outgoing *front = fifo_front(&c->queue, NULL);
    uint64_t before = front ? front->id : client->stats.published + 1;
    struct client_component *peer, *next;
    struct fifo_cursor cursor = {0};
    const struct sent *sent;

    HASH_ITER(hh, c->components, peer, next)
    {
        const struct parked *parked;

        DL_FOREACH(peer->parked, parked)
        before = MIN(before, parked->head.id);
    }
    while ((sent = fifo_next(&c->window, &cursor)) != NULL)
        if (!sent->answered && sent->app_id != 0)
            before = MIN(before, sent->app_id);
    return before;
}

void publish_free(struct client *client)
{
    struct client_component *peer, *next;

    HASH_ITER(hh, client->components, peer, next)
    while (peer->parked)
        parked_free(client, peer, peer->parked);
    fifo_deinit(&client->queue);
    fifo_deinit(&client->window);
}
