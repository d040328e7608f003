/* SPDX-License-Identifier: Apache-2.0 */
/* What the caller is told, in order, and the envelopes that wait. */
#include "base/buffer.h"
#include "base/secret.h"
#include "envelope/content.h"
#include "envelope/headers.h"
#include "session/peers_internal.h"

/* From so many bytes on what was opened stays where it is until it is taken, and is not copied. */
#define PLAIN_KEPT_MIN ((size_t)4096)

/* What stands in the queue: an event, or all messages of a batch, of which it becomes one after the
 * other. */
struct kept_event {
    struct session_event event;
    struct plain plain;         /* what headers and payload lie in when they are many bytes */
    struct content_cursor rest; /* of a batch: what follows the message in `event` */
    bool has_headers;
};

/* Copies @from to @at and makes @view point there. */
static uint8_t *keep(uint8_t *at, struct bytes from, struct bytes *view)
{
    bytes_copy(at, from);
    *view = bytes_of(at, from.size);
    return at + from.size;
}

static struct kept_event *push(struct sessions *s, const struct session_event *event)
{
    const char *text = event->text ? event->text : "";
    size_t text_size = strlen(text) + 1;
    size_t identity_size = event->identity ? SIGN_PUBLIC_SIZE : 0;
    struct session_event *kept;
    struct kept_event *place = fifo_push(
        &s->events, sizeof(*place) + event->peer.size + event->topic.size + event->bytes.size +
                        event->headers.size + event->payload.size + identity_size + text_size);
    uint8_t *at;

    if (!place) {
        s->out_of_memory = true;
        return NULL;
    }
    place->rest = content_cursor_over(bytes_of(NULL, 0));
    place->plain = (struct plain){0};
    kept = &place->event;
    *kept = *event;
    at = (uint8_t *)(place + 1);
    at = keep(at, event->peer, &kept->peer);
    at = keep(at, event->topic, &kept->topic);
    at = keep(at, event->bytes, &kept->bytes);
    at = keep(at, event->headers, &kept->headers);
    at = keep(at, event->payload, &kept->payload);
    if (event->identity) {
        memcpy(at, event->identity, SIGN_PUBLIC_SIZE);
        kept->identity = at;
    }
    memcpy(at + identity_size, text, text_size);
    kept->text = (const char *)(at + identity_size);
    return place;
}

void event_push(struct sessions *s, const struct session_event *event)
{
    (void)push(s, event);
}

/* As push(), of an event whose headers and payload lie in @plain, which it may take over. */
static struct kept_event *push_opened(struct sessions *s, const struct session_event *event,
                                      struct plain *plain)
{
    struct session_event shell = *event;
    struct kept_event *kept;

    if (!plain || event->headers.size + event->payload.size < PLAIN_KEPT_MIN)
        return push(s, event);
    shell.headers = shell.payload = bytes_of(NULL, 0);
    kept = push(s, &shell);
    if (!kept)
        return NULL;
    kept->event.headers = event->headers;
    kept->event.payload = event->payload;
    kept->plain = *plain;
    *plain = (struct plain){0};
    return kept;
}

static void pop(struct sessions *s, struct kept_event *front)
{
    plain_give(s, &front->plain);
    fifo_pop(&s->events);
}

void events_free(struct sessions *s)
{
    struct kept_event *front;

    while ((front = fifo_front(&s->events, NULL)) != NULL)
        pop(s, front);
    fifo_deinit(&s->events);
}

void event_take_headers(struct session_event *event)
{
    uint64_t ignored;

    event->until_ms = 0;
    event->value = 0;
    event->once = 0;
    event->receipt = (struct header_receipt){0};
    if (event->headers.size == 0)
        return;
    if (event->index == 0 && !event->direct)
        (void)header_take_number(&event->headers, &ignored);
    (void)header_take_value(&event->headers, &event->value);
    (void)header_take_once(&event->headers, &event->once);
    (void)header_take_receipt(&event->headers, &event->receipt);
    (void)header_take_until(&event->headers, &event->until_ms);
}

/* The next message of a batch, which has been checked, in place of the one before. */
static void step(struct kept_event *kept)
{
    struct session_event *event = &kept->event;
    struct bytes content = {0};

    (void)!content_next(&kept->rest, &content);
    (void)!content_split(content, kept->has_headers, &event->headers, &event->payload);
    event_take_headers(event);
    event->more = kept->rest.reader.left > 0;
    event->batch_count = 0;
}

/* What was opened is not shown if it cannot be stored that it was. */
static bool next_broken(struct sessions *s, struct session_event *ret_event)
{
    if (s->broken_told)
        return false;
    s->broken_told = true;
    *ret_event = (struct session_event){
        .type = SESSION_BROKEN, .code = s->broken_code, .text = s->broken_text};
    return true;
}

bool sessions_next(struct sessions *s, struct session_event *ret_event)
{
    struct kept_event *front = s->event_out ? fifo_front(&s->events, NULL) : NULL;

    if (front && front->event.more) {
        front->event.index++;
        front->event.sequence += !front->event.direct;
        step(front);
    } else if (front) {
        pop(s, front);
    }
    s->event_out = false;
    if (ratchets_commit(s) < 0)
        return next_broken(s, ret_event);
    front = fifo_front(&s->events, NULL);
    if (front) {
        *ret_event = front->event;
        s->event_out = true;
        return true;
    }
    if (!s->out_of_memory)
        return false;
    s->out_of_memory = false;
    *ret_event = (struct session_event){
        .type = SESSION_NOTICE, .code = AICO_ENOMEM, .text = "no memory for an event"};
    return true;
}

void *sessions_take_batch(struct sessions *s)
{
    struct kept_event *front = s->event_out ? fifo_front(&s->events, NULL) : NULL;
    void *block;

    if (!front)
        return NULL;
    front->event.more = false;
    if (front->plain.capacity > POOL_SIZE_MAX) /* perhaps far larger than the batch */
        return NULL;
    block = front->plain.at;
    front->plain = (struct plain){0};
    return block;
}

void event_send(struct sessions *s, const struct peer *peer, struct bytes bytes)
{
    event_push(s, &(struct session_event){.type = SESSION_SEND,
                                          .peer = peer_name(peer),
                                          .delivery = DELIVERY_CONTROL,
                                          .bytes = bytes});
}

void event_failed(struct sessions *s, struct bytes peer, struct bytes topic, int code, void *cookie)
{
    s->stats.failed++;
    event_push(s, &(struct session_event){.type = SESSION_FAILED,
                                          .peer = peer,
                                          .topic = topic,
                                          .code = code,
                                          .text = aico_error_string(code),
                                          .cookie = cookie});
}

void event_notice(struct sessions *s, struct bytes peer, int code, const char *text)
{
    event_push(s, &(struct session_event){
                      .type = SESSION_NOTICE, .peer = peer, .code = code, .text = text});
}

/* --- gaps ----------------------------------------------------------------------------------- */

static void report_gap(void *context, uint64_t first, uint64_t last)
{
    const struct gap_report *report = context;
    uint64_t count = report->messages ? *report->messages : 0;

    /* Of a queue group others have what is missing here; what none has the broker names. */
    if (report->topic.size > 0 && peers_is_shared(report->s, report->topic))
        return;
    event_push(report->s, &(struct session_event){.type = SESSION_GAP,
                                                  .peer = report->peer,
                                                  .topic = report->topic,
                                                  .direct = report->topic.size == 0,
                                                  .first = first,
                                                  .last = last,
                                                  .count = count ? count : last - first + 1,
                                                  .cause = report->cause,
                                                  .code = AICO_ENOTFOUND,
                                                  .text = "did not arrive"});
}

struct gap_sink gap_sink_for(struct gap_report *report)
{
    return (struct gap_sink){report_gap, report};
}

bool plain_take(struct sessions *s, size_t size, struct plain *ret_plain)
{
    if (size > POOL_SIZE_MAX && s->large.capacity >= size) {
        *ret_plain = s->large;
        ret_plain->size = size;
        s->large = (struct plain){0};
        return true;
    }
    *ret_plain = (struct plain){pool_take(&s->plains, size), size, size};
    return ret_plain->at != NULL;
}

void plain_give(struct sessions *s, struct plain *plain)
{
    if (plain->at)
        memory_wipe(plain->at, plain->size);
    if (plain->capacity > POOL_SIZE_MAX && plain->capacity > s->large.capacity) {
        pool_give(s->large.at);
        s->large = *plain;
    } else {
        pool_give(plain->at);
    }
    *plain = (struct plain){0};
}

/* --- messages ------------------------------------------------------------------------------- */

int event_messages(struct sessions *s, const struct envelope *e, struct bytes content, size_t count,
                   struct plain *plain, struct session_event *event)
{
    bool is_batch = e->format == ENVELOPE_FORMAT_BATCH;
    struct kept_event *kept;
    int r = 0;

    event->type = SESSION_MESSAGE;
    if (is_batch) {
        if (count == 0)
            r = content_batch_check(content, e->headers, &count);
        event->headers = bytes_of(NULL, 0);
        event->payload = content;
    } else {
        r = content_split(content, e->headers, &event->headers, &event->payload);
    }
    if (r < 0)
        return r;
    s->stats.opened++;
    kept = push_opened(s, event, plain);
    if (!kept)
        return 0;
    if (is_batch) {
        kept->has_headers = e->headers;
        kept->rest = content_cursor_over(kept->event.payload);
        kept->event.batch = kept->event.payload;
        step(kept);
        if (kept->event.more && !kept->event.direct && kept->event.headers.size == 0 &&
            kept->event.value + kept->event.once == 0 && kept->event.until_ms == 0 &&
            kept->event.receipt.level == RECEIPT_NONE &&
            content_batch_is_plain(kept->event.batch, e->headers)) {
            kept->event.batch_count = (uint32_t)count;
            kept->event.batch_headers = e->headers;
        }
    } else {
        event_take_headers(&kept->event);
    }
    return 0;
}

bool message_is_stale(struct sessions *s, struct moment now, const struct rule *rule,
                      uint8_t delivery, int64_t sent_ms)
{
    int64_t apart = now.real_ms > sent_ms ? now.real_ms - sent_ms : sent_ms - now.real_ms;
    int64_t limit_s = rule ? rule->freshness_s : 0;

    if (now.real_ms - sent_ms > LATE_MS)
        s->stats.late++;
    if (delivery == DELIVERY_REQUEST || delivery == DELIVERY_REPLY)
        limit_s = MAX(limit_s, (int64_t)REQUEST_FRESHNESS_S);
    else if (delivery != DELIVERY_EVENT)
        return false;
    return limit_s > 0 && apart > limit_s * 1000 + s->settings.synchrony_bound_ms;
}

/* --- envelopes that wait -------------------------------------------------------------------- */

struct held *held_push(struct held_list *list, struct moment now, int64_t keep_ms,
                       const uint8_t *identity, struct bytes topic, uint8_t delivery,
                       struct bytes bytes, const uint8_t *ref, bool direct, void *cookie)
{
    struct held *held = calloc(1, sizeof(*held) + topic.size + bytes.size);

    if (!held)
        return NULL;
    held->cookie = cookie;
    held->until_ms = now.boot_ms + keep_ms;
    held->size = (uint32_t)bytes.size;
    held->topic_size = (uint8_t)topic.size;
    held->delivery = delivery;
    held->direct = direct;
    held->has_ref = ref != NULL;
    if (ref)
        memcpy(held->ref, ref, sizeof(held->ref));
    memcpy(held->key_id, bytes.at + 8, ENVELOPE_KEY_ID_SIZE); /* behind the magic */
    memcpy(held->identity, identity, SIGN_PUBLIC_SIZE);
    bytes_copy(held->data, topic);
    bytes_copy(held->data + topic.size, bytes);
    DL_APPEND(list->first, held);
    list->count++;
    list->bytes += bytes.size;
    return held;
}

static const uint8_t *nonce_of(const uint8_t *envelope)
{
    return envelope + 8; /* behind the magic */
}

bool held_know(struct held_list *list, struct held *held)
{
    HASH_ADD_KEYPTR(hh, list->known, nonce_of(held->data + held->topic_size), ENVELOPE_NONCE_SIZE,
                    held);
    held->is_known = HASH_ADDED(hh, held);
    return held->is_known;
}

const struct held *held_find(const struct held_list *list, struct bytes bytes)
{
    const struct held *held;

    HASH_FIND(hh, list->known, nonce_of(bytes.at), ENVELOPE_NONCE_SIZE, held);
    return held && bytes_equal(bytes_of(held->data + held->topic_size, held->size), bytes) ? held
                                                                                           : NULL;
}

void held_remove(struct held_list *list, struct held *held)
{
    if (held->is_known)
        HASH_DEL(list->known, held);
    DL_DELETE(list->first, held);
    list->count--;
    list->bytes -= held->size;
    free(held);
}
