/* SPDX-License-Identifier: Apache-2.0 */
/* What the caller is told, in order, and the envelopes that wait. */
#include "base/secret.h"
#include "envelope/content.h"
#include "envelope/headers.h"
#include "session/peers_internal.h"

/* Copies @from to @at and makes @view point there. */
static uint8_t *keep(uint8_t *at, struct bytes from, struct bytes *view)
{
    bytes_copy(at, from);
    *view = bytes_of(at, from.size);
    return at + from.size;
}

void event_push(struct sessions *s, const struct session_event *event)
{
    const char *text = event->text ? event->text : "";
    size_t text_size = strlen(text) + 1;
    size_t identity_size = event->identity ? SIGN_PUBLIC_SIZE : 0;
    struct session_event *kept = fifo_push(
        &s->events, sizeof(*kept) + event->peer.size + event->topic.size + event->bytes.size +
                        event->headers.size + event->payload.size + identity_size + text_size);
    uint8_t *at;

    if (!kept) {
        s->out_of_memory = true;
        return;
    }
    *kept = *event;
    at = (uint8_t *)(kept + 1);
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
    struct session_event *front;

    if (s->event_out)
        fifo_pop(&s->events);
    s->event_out = false;
    if (ratchets_commit(s) < 0)
        return next_broken(s, ret_event);
    front = fifo_front(&s->events, NULL);
    if (front) {
        *ret_event = *front;
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

void plain_take(struct sessions *s, struct buffer *plain)
{
    *plain = s->plain;
    plain->size = 0;
    s->plain = (struct buffer){0};
}

void plain_give(struct sessions *s, struct buffer *plain, size_t used)
{
    memory_wipe(plain->at, MIN(used, plain->capacity));
    if (s->plain.at) {
        buffer_deinit(plain);
        return;
    }
    s->plain = *plain;
}

/* --- messages ------------------------------------------------------------------------------- */

int event_messages(struct sessions *s, const struct envelope *e, struct bytes content,
                   struct session_event *event)
{
    struct content_cursor cursor = content_cursor_over(content);
    struct bytes one = content;
    uint64_t number = event->sequence, ignored;
    size_t count = 1;
    int r = 0;

    if (e->format == ENVELOPE_FORMAT_BATCH)
        r = content_batch_check(content, e->headers, &count);
    event->type = SESSION_MESSAGE;
    for (event->index = 0; r == 0 && event->index < count; event->index++) {
        if (e->format == ENVELOPE_FORMAT_BATCH)
            (void)!content_next(&cursor, &one); /* checked above */
        r = content_split(one, e->headers, &event->headers, &event->payload);
        if (event->index == 0 && !event->direct)
            (void)header_take_number(&event->headers, &ignored);
        event->until_ms = 0;
        event->value = 0;
        event->once = 0;
        (void)header_take_value(&event->headers, &event->value);
        (void)header_take_once(&event->headers, &event->once);
        (void)header_take_until(&event->headers, &event->until_ms);
        event->sequence = event->direct ? number : number + event->index;
        event->more = event->index + 1 < count;
        if (r == 0)
            event_push(s, event);
    }
    if (r == 0)
        s->stats.opened++;
    return r;
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

void held_remove(struct held_list *list, struct held *held)
{
    DL_DELETE(list->first, held);
    list->count--;
    list->bytes -= held->size;
    free(held);
}
