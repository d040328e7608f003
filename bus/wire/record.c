/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parses and writes the records of the client-broker protocol. The layout of a body stands above
 * its pair of functions; the whole protocol stands in docs/protocol-broker.md. Pure,
 * no allocation, any thread.
 */
#include "wire/record.h"

#include "base/cleanup.h"
#include "wire/record_internal.h"

#define REGISTRY_HASH_BYTES 16
#define IDENTITY_BYTES 32

#define PUBLISH_FLAGS                                                                              \
    (RECORD_FLAG_FRAGMENT | RECORD_FLAG_REPLY | RECORD_FLAG_TIMEOUT | RECORD_FLAG_COPY |           \
     RECORD_FLAG_COUNT | RECORD_FLAG_TTL | RECORD_FLAG_AGAIN)
#define DELIVER_FLAGS                                                                              \
    (RECORD_FLAG_FRAGMENT | RECORD_FLAG_REPLY | RECORD_FLAG_DIRECT | RECORD_FLAG_COUNT |           \
     RECORD_FLAG_KEPT)

/* --- frames and heads ----------------------------------------------------------------------- */

int frame_open(struct bytes frame, struct reader *ret_records)
{
    struct reader r = reader_over(frame);

    if (frame.size == 0 || frame.size > FRAME_SIZE_MAX)
        return AICO_ESIZE;
    if (reader_u8(&r) != WIRE_VERSION)
        return AICO_EVERSION;
    *ret_records = r;
    return 0;
}

int frame_next(struct reader *records, struct record *ret_record)
{
    const uint8_t *begin = records->at;
    struct record record = {0};

    if (!records->failed && records->left == 0)
        return 0;
    record.type = reader_u8(records);
    record.flags = reader_u8(records);
    record.aux = reader_u16(records);
    record.body = reader_bytes(records, reader_u32(records));
    if (records->failed)
        return AICO_EPROTO;
    record.whole = bytes_of(begin, RECORD_HEAD_SIZE + record.body.size);
    *ret_record = record;
    return 1;
}

struct reader record_body(const struct record *record, enum record_type type, uint8_t flags,
                          uint16_t aux)
{
    struct reader r = reader_over(record->body);

    if (record->type != type || (record->flags & ~flags) || (record->aux & ~aux))
        r.failed = true;
    return r;
}

size_t record_begin(struct writer *w, enum record_type type, uint8_t flags, uint16_t aux)
{
    size_t begin = w->size;

    writer_u8(w, (uint8_t)type);
    writer_u8(w, flags);
    writer_u16(w, aux);
    writer_u32(w, 0);
    return begin;
}

void record_end(struct writer *w, size_t begin)
{
    struct writer size;

    if (w->failed)
        return;
    size = writer_over(w->at + begin + RECORD_HEAD_SIZE - 4, 4);
    writer_u32(&size, (uint32_t)(w->size - begin - RECORD_HEAD_SIZE));
}

/* Texts for people are cut rather than lost. */
static struct bytes cut_hint(struct bytes text)
{
    size_t size = MIN(text.size, (size_t)HINT_SIZE_MAX);

    while (size < text.size && size > 0 && (text.at[size] & 0xc0) == 0x80)
        size--; /* not inside a UTF-8 character */
    return bytes_of(text.at, size);
}

void record_write_exact(struct writer *w, struct bytes bytes, size_t size)
{
    if (bytes.size != size)
        w->failed = true;
    writer_bytes(w, bytes);
}

/* --- the session ---------------------------------------------------------------------------- */

/* u16 version, u64 instance, u64 registry version, byte[16] registry hash, u32 window, lp8 name,
 * lp8 software */
int record_parse_hello(const struct record *record, struct record_hello *ret)
{
    struct reader r = record_body(record, RECORD_HELLO, 0, 0);
    struct record_hello h = {0};

    h.version = reader_u16(&r);
    h.instance = reader_u64(&r);
    h.registry_version = reader_u64(&r);
    h.registry_hash = reader_bytes(&r, REGISTRY_HASH_BYTES);
    h.window = reader_u32(&r);
    h.name = reader_lp8(&r);
    h.software = reader_lp8(&r);
    if (!reader_done(&r) || h.instance == 0 || h.window == 0 || h.name.size == 0)
        return AICO_EPROTO;
    *ret = h;
    return 0;
}

void record_write_hello(struct writer *w, const struct record_hello *h)
{
    size_t begin = record_begin(w, RECORD_HELLO, 0, 0);

    writer_u16(w, h->version);
    writer_u64(w, h->instance);
    writer_u64(w, h->registry_version);
    record_write_exact(w, h->registry_hash, REGISTRY_HASH_BYTES);
    writer_u32(w, h->window);
    writer_lp8(w, h->name);
    writer_lp8(w, h->software);
    record_end(w, begin);
}

/* u32 window, u32 self, u64 registry version, byte[16] registry hash, u64 time, u64 last id,
 * lp8 name, lp8 software */
int record_parse_welcome(const struct record *record, struct record_welcome *ret)
{
    struct reader r = record_body(record, RECORD_WELCOME, 0, 0);
    struct record_welcome m = {0};

    m.window = reader_u32(&r);
    m.self = reader_u32(&r);
    m.registry_version = reader_u64(&r);
    m.registry_hash = reader_bytes(&r, REGISTRY_HASH_BYTES);
    m.time_ms = reader_u64(&r);
    m.last_id = reader_u64(&r);
    m.name = reader_lp8(&r);
    m.software = reader_lp8(&r);
    if (!reader_done(&r) || m.window == 0 || m.self == 0 || m.name.size == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_welcome(struct writer *w, const struct record_welcome *m)
{
    size_t begin = record_begin(w, RECORD_WELCOME, 0, 0);

    writer_u32(w, m->window);
    writer_u32(w, m->self);
    writer_u64(w, m->registry_version);
    record_write_exact(w, m->registry_hash, REGISTRY_HASH_BYTES);
    writer_u64(w, m->time_ms);
    writer_u64(w, m->last_id);
    writer_lp8(w, m->name);
    writer_lp8(w, m->software);
    record_end(w, begin);
}

/* aux: code. lp16 text */
int record_parse_bye(const struct record *record, struct record_bye *ret)
{
    struct reader r = record_body(record, RECORD_BYE, 0, UINT16_MAX);
    struct record_bye m = {.code = record->aux};

    m.text = reader_lp16(&r);
    if (!reader_done(&r) || m.text.size > HINT_SIZE_MAX)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_bye(struct writer *w, const struct record_bye *m)
{
    size_t begin = record_begin(w, RECORD_BYE, 0, m->code);

    writer_lp16(w, cut_hint(m->text));
    record_end(w, begin);
}

/* u64 token */
int record_parse_ping(const struct record *record, struct record_ping *ret)
{
    bool pong = record->type == RECORD_PONG;
    struct reader r = record_body(record, pong ? RECORD_PONG : RECORD_PING, 0, 0);
    struct record_ping m = {reader_u64(&r)};

    if (!reader_done(&r))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_ping(struct writer *w, uint64_t token)
{
    size_t begin = record_begin(w, RECORD_PING, 0, 0);

    writer_u64(w, token);
    record_end(w, begin);
}

void record_write_pong(struct writer *w, uint64_t token)
{
    size_t begin = record_begin(w, RECORD_PONG, 0, 0);

    writer_u64(w, token);
    record_end(w, begin);
}

/* u32 bytes */
int record_parse_credit(const struct record *record, struct record_credit *ret)
{
    struct reader r = record_body(record, RECORD_CREDIT, 0, 0);
    struct record_credit m = {reader_u32(&r)};

    if (!reader_done(&r) || m.bytes == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_credit(struct writer *w, uint32_t bytes)
{
    size_t begin = record_begin(w, RECORD_CREDIT, 0, 0);

    writer_u32(w, bytes);
    record_end(w, begin);
}

/* --- registry and names --------------------------------------------------------------------- */

/* u64 version, u32 total, u32 offset, piece */
int record_parse_registry(const struct record *record, struct record_registry *ret)
{
    struct reader r = record_body(record, RECORD_REGISTRY, 0, 0);
    struct record_registry m = {0};

    m.version = reader_u64(&r);
    m.total = reader_u32(&r);
    m.offset = reader_u32(&r);
    m.piece = reader_rest(&r);
    if (!reader_done(&r) || m.version == 0 || m.piece.size == 0 ||
        m.piece.size > FRAGMENT_SIZE_MAX || m.piece.size > m.total ||
        m.offset > m.total - m.piece.size)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_registry(struct writer *w, const struct record_registry *m)
{
    size_t begin = record_begin(w, RECORD_REGISTRY, 0, 0);

    writer_u64(w, m->version);
    writer_u32(w, m->total);
    writer_u32(w, m->offset);
    writer_bytes(w, m->piece);
    record_end(w, begin);
}

/* u32 number, byte[32] identity, lp8 name */
int record_parse_component(const struct record *record, struct record_component *ret)
{
    struct reader r = record_body(record, RECORD_COMPONENT, 0, 0);
    struct record_component m = {0};

    m.number = reader_u32(&r);
    m.identity = reader_bytes(&r, IDENTITY_BYTES);
    m.name = reader_lp8(&r);
    if (!reader_done(&r) || m.number == 0 || m.number == NUMBER_BY_NAME || m.name.size == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_component(struct writer *w, const struct record_component *m)
{
    size_t begin = record_begin(w, RECORD_COMPONENT, 0, 0);

    writer_u32(w, m->number);
    record_write_exact(w, m->identity, IDENTITY_BYTES);
    writer_lp8(w, m->name);
    record_end(w, begin);
}

/* u32 number, lp8 topic */
int record_parse_topic(const struct record *record, struct record_topic *ret)
{
    struct reader r = record_body(record, RECORD_TOPIC, 0, 0);
    struct record_topic m = {0};

    m.number = reader_u32(&r);
    m.topic = reader_lp8(&r);
    if (!reader_done(&r) || m.number == 0 || m.topic.size == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_topic(struct writer *w, uint32_t number, struct bytes topic)
{
    size_t begin = record_begin(w, RECORD_TOPIC, 0, 0);

    writer_u32(w, number);
    writer_lp8(w, topic);
    record_end(w, begin);
}

/* --- subscriptions and answers -------------------------------------------------------------- */

/* flags: SERVE. u64 id, u32 subscription, u8 policy, lp8 filter, lp8 queue */
int record_parse_subscribe(const struct record *record, struct record_subscribe *ret)
{
    struct reader r = record_body(record, RECORD_SUBSCRIBE, RECORD_FLAG_SERVE, 0);
    struct record_subscribe m = {.serve = record->flags & RECORD_FLAG_SERVE};

    m.id = reader_u64(&r);
    m.subscription = reader_u32(&r);
    m.policy = reader_u8(&r);
    m.filter = reader_lp8(&r);
    m.queue = reader_lp8(&r);
    if (!reader_done(&r) || m.id == 0 || m.subscription == 0 || m.policy > SLOW_DISCONNECT ||
        m.filter.size == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_subscribe(struct writer *w, const struct record_subscribe *m)
{
    size_t begin = record_begin(w, RECORD_SUBSCRIBE, m->serve ? RECORD_FLAG_SERVE : 0, 0);

    writer_u64(w, m->id);
    writer_u32(w, m->subscription);
    writer_u8(w, m->policy);
    writer_lp8(w, m->filter);
    writer_lp8(w, m->queue);
    record_end(w, begin);
}

/* u64 id, u32 subscription */
int record_parse_unsubscribe(const struct record *record, struct record_unsubscribe *ret)
{
    struct reader r = record_body(record, RECORD_UNSUBSCRIBE, 0, 0);
    struct record_unsubscribe m = {0};

    m.id = reader_u64(&r);
    m.subscription = reader_u32(&r);
    if (!reader_done(&r) || m.id == 0 || m.subscription == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_unsubscribe(struct writer *w, uint64_t id, uint32_t subscription)
{
    size_t begin = record_begin(w, RECORD_UNSUBSCRIBE, 0, 0);

    writer_u64(w, id);
    writer_u32(w, subscription);
    record_end(w, begin);
}

/* u64 id, u32 value */
int record_parse_ok(const struct record *record, struct record_ok *ret)
{
    struct reader r = record_body(record, RECORD_OK, 0, 0);
    struct record_ok m = {0};

    m.id = reader_u64(&r);
    m.value = reader_u32(&r);
    if (!reader_done(&r) || m.id == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_ok(struct writer *w, uint64_t id, uint32_t value)
{
    size_t begin = record_begin(w, RECORD_OK, 0, 0);

    writer_u64(w, id);
    writer_u32(w, value);
    record_end(w, begin);
}

/* aux: code, not 0. u64 id, u32 rule line, lp8 filter, lp16 hint */
int record_parse_refuse(const struct record *record, struct record_refuse *ret)
{
    struct reader r = record_body(record, RECORD_REFUSE, 0, UINT16_MAX);
    struct record_refuse m = {.code = record->aux};

    m.id = reader_u64(&r);
    m.rule_line = reader_u32(&r);
    m.filter = reader_lp8(&r);
    m.hint = reader_lp16(&r);
    if (!reader_done(&r) || m.code == 0 || m.id == 0 || m.hint.size > HINT_SIZE_MAX)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_refuse(struct writer *w, const struct record_refuse *m)
{
    size_t begin = record_begin(w, RECORD_REFUSE, 0, m->code);

    writer_u64(w, m->id);
    writer_u32(w, m->rule_line);
    writer_lp8(w, m->filter);
    writer_lp16(w, cut_hint(m->hint));
    record_end(w, begin);
}

/* --- messages ------------------------------------------------------------------------------- */

/* What PUBLISH and DELIVER say in the same way: delivery kind, REPLY flag, fragment. */
static bool message_is_sound(const struct record *record, uint8_t delivery, bool reply,
                             bool fragment, uint32_t total, uint32_t offset, struct bytes payload)
{
    if ((record->aux & 0xff) || delivery > DELIVERY_CONTROL ||
        reply != (delivery == DELIVERY_REPLY) || payload.size > FRAGMENT_SIZE_MAX)
        return false;
    if (!fragment)
        return true;
    return payload.size > 0 && total <= MESSAGE_SIZE_MAX && payload.size <= total &&
           offset <= total - payload.size;
}

/* Of which kinds a batch of several messages may be. */
static bool is_countable(uint8_t delivery)
{
    return delivery == DELIVERY_EVENT || delivery == DELIVERY_STREAM;
}

/* flags: COPY only in an event to one component, AGAIN only in a retained value, RECEIPT (the same
 * bit) only in what is_countable(), both by subscription. aux: delivery
 * << 8. u64 id, u32 topic, u32 to, [FRAGMENT: u32 total, u32 offset], [REPLY: u64 request],
 * [TIMEOUT: u32 ms], [TTL: u32 ms], [COUNT: u16 messages], [topic 0: lp8 name], [to NUMBER_BY_NAME:
 * lp8 name], payload */
int record_parse_publish(const struct record *record, struct record_publish *ret)
{
    struct reader r = record_body(record, RECORD_PUBLISH, PUBLISH_FLAGS, UINT16_MAX);
    bool timeout = record->flags & RECORD_FLAG_TIMEOUT;
    bool counted = record->flags & RECORD_FLAG_COUNT, ttl = record->flags & RECORD_FLAG_TTL;
    struct record_publish m = {
        .delivery = (uint8_t)(record->aux >> 8),
        .fragment = record->flags & RECORD_FLAG_FRAGMENT,
        .reply = record->flags & RECORD_FLAG_REPLY,
        .copy = record->flags & RECORD_FLAG_COPY,
        .again = record->flags & RECORD_FLAG_AGAIN && record->aux >> 8 == DELIVERY_RETAINED,
        .receipt = record->flags & RECORD_FLAG_RECEIPT && is_countable((uint8_t)(record->aux >> 8)),
    };

    m.id = reader_u64(&r);
    m.topic = reader_u32(&r);
    m.to = reader_u32(&r);
    if (m.fragment) {
        m.total = reader_u32(&r);
        m.offset = reader_u32(&r);
    }
    if (m.reply)
        m.request = reader_u64(&r);
    if (timeout)
        m.timeout_ms = reader_u32(&r);
    if (ttl)
        m.ttl_ms = reader_u32(&r);
    if (counted)
        m.count = reader_u16(&r);
    if (m.topic == 0)
        m.topic_name = reader_lp8(&r);
    if (m.to == NUMBER_BY_NAME)
        m.to_name = reader_lp8(&r);
    m.payload = reader_rest(&r);
    if (!m.fragment)
        m.total = (uint32_t)m.payload.size;

    if (!reader_done(&r) || m.id == 0 || (m.reply && m.request == 0) ||
        timeout != (m.timeout_ms != 0) || (timeout && m.delivery != DELIVERY_REQUEST) ||
        ttl != (m.ttl_ms != 0) ||
        (ttl && m.delivery != DELIVERY_EVENT && m.delivery != DELIVERY_RETAINED &&
         m.delivery != DELIVERY_STREAM && m.delivery != DELIVERY_MAILBOX) ||
        (m.delivery == DELIVERY_MAILBOX && m.to == 0) ||
        (record->flags & RECORD_FLAG_AGAIN && ((!m.again && !m.receipt) || m.to != 0)) ||
        (m.copy &&
         ((m.delivery != DELIVERY_EVENT && m.delivery != DELIVERY_RETAINED) || m.to == 0)) ||
        counted != (m.count >= 2) ||
        (counted && (!is_countable(m.delivery) || m.to != 0 || m.fragment)) ||
        (m.topic == 0 && m.topic_name.size == 0) ||
        (m.to == NUMBER_BY_NAME && m.to_name.size == 0) ||
        !message_is_sound(record, m.delivery, m.reply, m.fragment, m.total, m.offset, m.payload))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

static size_t publish_head_size(const struct record_publish *m)
{
    return RECORD_HEAD_SIZE + 8 + 4 + 4 + (m->fragment ? 8 : 0) + (m->reply ? 8 : 0) +
           (m->timeout_ms ? 4 : 0) + (m->ttl_ms ? 4 : 0) + (m->count ? 2 : 0) +
           (m->topic == 0 ? 1 + m->topic_name.size : 0) +
           (m->to == NUMBER_BY_NAME ? 1 + m->to_name.size : 0);
}

size_t record_size_publish(const struct record_publish *m)
{
    return publish_head_size(m) + m->payload.size;
}

uint8_t *record_write_publish_head(struct writer *w, const struct record_publish *m)
{
    uint8_t flags =
        (uint8_t)((m->fragment ? RECORD_FLAG_FRAGMENT : 0) | (m->reply ? RECORD_FLAG_REPLY : 0) |
                  (m->timeout_ms ? RECORD_FLAG_TIMEOUT : 0) | (m->copy ? RECORD_FLAG_COPY : 0) |
                  (m->count ? RECORD_FLAG_COUNT : 0) | (m->ttl_ms ? RECORD_FLAG_TTL : 0) |
                  (m->again ? RECORD_FLAG_AGAIN : 0) | (m->receipt ? RECORD_FLAG_RECEIPT : 0));
    size_t begin = record_begin(w, RECORD_PUBLISH, flags, (uint16_t)(m->delivery << 8));
    uint8_t *payload;

    writer_u64(w, m->id);
    writer_u32(w, m->topic);
    writer_u32(w, m->to);
    if (m->fragment) {
        writer_u32(w, m->total);
        writer_u32(w, m->offset);
    }
    if (m->reply)
        writer_u64(w, m->request);
    if (m->timeout_ms)
        writer_u32(w, m->timeout_ms);
    if (m->ttl_ms)
        writer_u32(w, m->ttl_ms);
    if (m->count)
        writer_u16(w, m->count);
    if (m->topic == 0)
        writer_lp8(w, m->topic_name);
    if (m->to == NUMBER_BY_NAME)
        writer_lp8(w, m->to_name);
    payload = writer_reserve(w, m->payload.size);
    record_end(w, begin);
    return payload;
}

void record_write_publish(struct writer *w, const struct record_publish *m)
{
    uint8_t *payload = record_write_publish_head(w, m);

    if (payload)
        bytes_copy(payload, m->payload);
}

/* u64 id, u32 total, numbers */
int record_parse_receivers(const struct record *record, struct record_receivers *ret)
{
    struct reader r = record_body(record, RECORD_RECEIVERS, 0, 0);
    struct record_receivers m = {0};
    size_t count;

    m.id = reader_u64(&r);
    m.total = reader_u32(&r);
    m.numbers = reader_rest(&r);
    count = m.numbers.size / 4;
    if (!reader_done(&r) || m.id == 0 || m.numbers.size % 4 != 0 || count > RECEIVERS_MAX ||
        count > m.total || (count == 0) != (m.total == 0))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_receivers(struct writer *w, const struct record_receivers *m)
{
    size_t begin = record_begin(w, RECORD_RECEIVERS, 0, 0);

    writer_u64(w, m->id);
    writer_u32(w, m->total);
    writer_bytes(w, m->numbers);
    record_end(w, begin);
}

/* lp16 line */
int record_parse_audit_head(const struct record *record, struct bytes *ret_line)
{
    struct reader r = record_body(record, RECORD_AUDIT, 0, 0);
    struct bytes line = reader_lp16(&r);

    if (!reader_done(&r) || line.size == 0 || line.size > AUDIT_HEAD_MAX)
        return AICO_EPROTO;
    *ret_line = line;
    return 0;
}

void record_write_audit_head(struct writer *w, struct bytes line)
{
    size_t begin = record_begin(w, RECORD_AUDIT, 0, 0);

    writer_lp16(w, line);
    record_end(w, begin);
}

/* u64 id */
int record_parse_ack(const struct record *record, struct record_ack *ret)
{
    struct reader r = record_body(record, RECORD_ACK, 0, 0);
    struct record_ack m = {reader_u64(&r)};

    if (!reader_done(&r) || m.id == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_ack(struct writer *w, uint64_t id)
{
    size_t begin = record_begin(w, RECORD_ACK, 0, 0);

    writer_u64(w, id);
    record_end(w, begin);
}

/* aux: delivery << 8. u64 id, u32 topic, u32 sender, [FRAGMENT: u32 total, u32 offset],
 * [REPLY: u64 request], [topic 0: lp8 name], payload */
int record_parse_deliver(const struct record *record, struct record_deliver *ret)
{
    struct reader r = record_body(record, RECORD_DELIVER, DELIVER_FLAGS, UINT16_MAX);
    bool counted = record->flags & RECORD_FLAG_COUNT;
    struct record_deliver m = {
        .delivery = (uint8_t)(record->aux >> 8),
        .direct = record->flags & RECORD_FLAG_DIRECT,
        .fragment = record->flags & RECORD_FLAG_FRAGMENT,
        .reply = record->flags & RECORD_FLAG_REPLY,
        .kept = record->flags & RECORD_FLAG_KEPT,
    };

    m.id = reader_u64(&r);
    m.topic = reader_u32(&r);
    m.sender = reader_u32(&r);
    if (m.fragment) {
        m.total = reader_u32(&r);
        m.offset = reader_u32(&r);
    }
    if (m.reply)
        m.request = reader_u64(&r);
    if (counted)
        m.count = reader_u16(&r);
    if (m.topic == 0)
        m.topic_name = reader_lp8(&r);
    m.payload = reader_rest(&r);
    if (!m.fragment)
        m.total = (uint32_t)m.payload.size;

    if (!reader_done(&r) || m.id == 0 || m.sender == 0 || m.sender == NUMBER_BY_NAME ||
        counted != (m.count >= 2) ||
        (counted && (!is_countable(m.delivery) || m.direct || m.fragment || m.kept)) ||
        (m.kept && (m.direct || m.fragment ||
                    (m.delivery != DELIVERY_EVENT && m.delivery != DELIVERY_RETAINED))) ||
        (m.reply && m.request == 0) || (m.topic == 0 && m.topic_name.size == 0) ||
        !message_is_sound(record, m.delivery, m.reply, m.fragment, m.total, m.offset, m.payload))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

size_t record_size_deliver(const struct record_deliver *m)
{
    return RECORD_HEAD_SIZE + 8 + 4 + 4 + (m->fragment ? 8 : 0) + (m->reply ? 8 : 0) +
           (m->count ? 2 : 0) + (m->topic == 0 ? 1 + m->topic_name.size : 0) + m->payload.size;
}

void record_write_deliver(struct writer *w, const struct record_deliver *m)
{
    uint8_t flags =
        (uint8_t)((m->fragment ? RECORD_FLAG_FRAGMENT : 0) | (m->reply ? RECORD_FLAG_REPLY : 0) |
                  (m->direct ? RECORD_FLAG_DIRECT : 0) | (m->count ? RECORD_FLAG_COUNT : 0) |
                  (m->kept ? RECORD_FLAG_KEPT : 0));
    size_t begin = record_begin(w, RECORD_DELIVER, flags, (uint16_t)(m->delivery << 8));

    writer_u64(w, m->id);
    writer_u32(w, m->topic);
    writer_u32(w, m->sender);
    if (m->fragment) {
        writer_u32(w, m->total);
        writer_u32(w, m->offset);
    }
    if (m->reply)
        writer_u64(w, m->request);
    if (m->count)
        writer_u16(w, m->count);
    if (m->topic == 0)
        writer_lp8(w, m->topic_name);
    writer_bytes(w, m->payload);
    record_end(w, begin);
}

/* flags: DIRECT. aux: cause, not 0. u32 sender, u32 topic, u64 count, u64 last id, [topic 0: lp8
 * name] */
int record_parse_gap(const struct record *record, struct record_gap *ret)
{
    struct reader r =
        record_body(record, RECORD_GAP, RECORD_FLAG_DIRECT | RECORD_FLAG_KEPT, UINT16_MAX);
    struct record_gap m = {.cause = record->aux,
                           .direct = record->flags & RECORD_FLAG_DIRECT,
                           .kept = record->flags & RECORD_FLAG_KEPT};

    m.sender = reader_u32(&r);
    m.topic = reader_u32(&r);
    m.count = reader_u64(&r);
    m.last_id = reader_u64(&r);
    if (m.topic == 0)
        m.topic_name = reader_lp8(&r);
    if (!reader_done(&r) || m.cause == 0 || (m.direct && m.kept) || m.sender == 0 || m.count == 0 ||
        m.last_id == 0 || (m.topic == 0 && m.topic_name.size == 0))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_gap(struct writer *w, const struct record_gap *m)
{
    size_t begin = record_begin(
        w, RECORD_GAP,
        (uint8_t)((m->direct ? RECORD_FLAG_DIRECT : 0) | (m->kept ? RECORD_FLAG_KEPT : 0)),
        m->cause);

    writer_u32(w, m->sender);
    writer_u32(w, m->topic);
    writer_u64(w, m->count);
    writer_u64(w, m->last_id);
    if (m->topic == 0)
        writer_lp8(w, m->topic_name);
    record_end(w, begin);
}

/* --- questions ------------------------------------------------------------------------------ */

/* u64 id, lp8 topic */
int record_parse_resolve(const struct record *record, struct record_resolve *ret)
{
    struct reader r = record_body(record, RECORD_RESOLVE, 0, 0);
    struct record_resolve m = {0};

    m.id = reader_u64(&r);
    m.topic = reader_lp8(&r);
    if (!reader_done(&r) || m.id == 0 || m.topic.size == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_resolve(struct writer *w, uint64_t id, struct bytes topic)
{
    size_t begin = record_begin(w, RECORD_RESOLVE, 0, 0);

    writer_u64(w, id);
    writer_lp8(w, topic);
    record_end(w, begin);
}

/* u64 id, u32 component */
int record_parse_resolved(const struct record *record, struct record_resolved *ret)
{
    struct reader r = record_body(record, RECORD_RESOLVED, 0, 0);
    struct record_resolved m = {0};

    m.id = reader_u64(&r);
    m.component = reader_u32(&r);
    if (!reader_done(&r) || m.id == 0 || m.component == 0 || m.component == NUMBER_BY_NAME)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_resolved(struct writer *w, uint64_t id, uint32_t component)
{
    size_t begin = record_begin(w, RECORD_RESOLVED, 0, 0);

    writer_u64(w, id);
    writer_u32(w, component);
    record_end(w, begin);
}

/* u64 id, lp8 what, lp8 argument */
int record_parse_query(const struct record *record, struct record_query *ret)
{
    struct reader r = record_body(record, RECORD_QUERY, 0, 0);
    struct record_query m = {0};

    m.id = reader_u64(&r);
    m.what = reader_lp8(&r);
    m.argument = reader_lp8(&r);
    if (!reader_done(&r) || m.id == 0 || m.what.size == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

bool query_is_act(struct bytes what)
{
    return bytes_equal_text(what, "reload") || bytes_equal_text(what, "drain") ||
           bytes_equal_text(what, "kick");
}

void record_write_query(struct writer *w, uint64_t id, struct bytes what, struct bytes argument)
{
    size_t begin = record_begin(w, RECORD_QUERY, 0, 0);

    writer_u64(w, id);
    writer_lp8(w, what);
    writer_lp8(w, argument);
    record_end(w, begin);
}

/* u64 id, u32 topic, [topic 0: lp8 name], payload */
int record_parse_will(const struct record *record, struct record_will *ret)
{
    struct reader r = record_body(record, RECORD_WILL, 0, 0);
    struct record_will m = {0};

    m.id = reader_u64(&r);
    m.topic = reader_u32(&r);
    if (m.topic == 0)
        m.topic_name = reader_lp8(&r);
    m.payload = reader_rest(&r);
    if (!reader_done(&r) || m.id == 0 || (m.topic == 0 && m.topic_name.size == 0) ||
        m.payload.size > WILL_SIZE_MAX)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_will(struct writer *w, const struct record_will *m)
{
    size_t begin = record_begin(w, RECORD_WILL, 0, 0);

    writer_u64(w, m->id);
    writer_u32(w, m->topic);
    if (m->topic == 0)
        writer_lp8(w, m->topic_name);
    writer_bytes(w, m->payload);
    record_end(w, begin);
}

/* u64 id, u32 total, u32 offset, piece */
int record_parse_answer(const struct record *record, struct record_answer *ret)
{
    struct reader r = record_body(record, RECORD_ANSWER, 0, 0);
    struct record_answer m = {0};

    m.id = reader_u64(&r);
    m.total = reader_u32(&r);
    m.offset = reader_u32(&r);
    m.piece = reader_rest(&r);
    if (!reader_done(&r) || m.id == 0 || m.piece.size == 0 || m.piece.size > FRAGMENT_SIZE_MAX ||
        m.piece.size > m.total || m.offset > m.total - m.piece.size)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_answer(struct writer *w, const struct record_answer *m)
{
    size_t begin = record_begin(w, RECORD_ANSWER, 0, 0);

    writer_u64(w, m->id);
    writer_u32(w, m->total);
    writer_u32(w, m->offset);
    writer_bytes(w, m->piece);
    record_end(w, begin);
}

/* --- prekeys -------------------------------------------------------------------------------- */

/* byte[152] statement, u16 count, count x (u32 number, byte[32] key) */
int record_parse_prekeys(const struct record *record, struct record_prekeys *ret)
{
    struct reader r = record_body(record, RECORD_PREKEYS, 0, 0);
    struct record_prekeys m = {0};
    size_t count;

    m.statement = reader_bytes(&r, STATEMENT_SIZE);
    count = reader_u16(&r);
    m.keys = reader_bytes(&r, count * ONE_TIME_SIZE);
    if (!reader_done(&r) || count > PREKEYS_MAX)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_prekeys(struct writer *w, const struct record_prekeys *m)
{
    size_t begin = record_begin(w, RECORD_PREKEYS, 0, 0);

    record_write_exact(w, m->statement, STATEMENT_SIZE);
    writer_u16(w, (uint16_t)(m->keys.size / ONE_TIME_SIZE));
    writer_bytes(w, m->keys);
    record_end(w, begin);
}

/* u32 number, u16 left */
int record_parse_prekeys_left(const struct record *record, struct record_prekeys_left *ret)
{
    struct reader r = record_body(record, RECORD_PREKEYS, RECORD_FLAG_LEFT, 0);
    struct record_prekeys_left m = {0};

    m.number = reader_u32(&r);
    m.left = reader_u16(&r);
    if (!reader_done(&r) || record->flags != RECORD_FLAG_LEFT)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_prekeys_left(struct writer *w, uint32_t number, uint16_t left)
{
    size_t begin = record_begin(w, RECORD_PREKEYS, RECORD_FLAG_LEFT, 0);

    writer_u32(w, number);
    writer_u16(w, left);
    record_end(w, begin);
}

/* u64 id, lp8 name */
int record_parse_bundle_ask(const struct record *record, struct record_bundle_ask *ret)
{
    struct reader r = record_body(record, RECORD_BUNDLE, RECORD_FLAG_ASK, 0);
    struct record_bundle_ask m = {0};

    m.id = reader_u64(&r);
    m.name = reader_lp8(&r);
    if (!reader_done(&r) || record->flags != RECORD_FLAG_ASK || m.id == 0 || m.name.size == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_bundle_ask(struct writer *w, uint64_t id, struct bytes name)
{
    size_t begin = record_begin(w, RECORD_BUNDLE, RECORD_FLAG_ASK, 0);

    writer_u64(w, id);
    writer_lp8(w, name);
    record_end(w, begin);
}

/* u64 id, lp8 name, byte[152] statement, u32 number, byte[32] key */
int record_parse_bundle(const struct record *record, struct record_bundle *ret)
{
    struct reader r = record_body(record, RECORD_BUNDLE, 0, 0);
    struct record_bundle m = {0};

    m.id = reader_u64(&r);
    m.name = reader_lp8(&r);
    m.statement = reader_bytes(&r, STATEMENT_SIZE);
    m.number = reader_u32(&r);
    m.public = reader_bytes(&r, ONE_TIME_SIZE - 4);
    if (!reader_done(&r) || m.id == 0 || m.name.size == 0)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_bundle(struct writer *w, const struct record_bundle *m)
{
    size_t begin = record_begin(w, RECORD_BUNDLE, 0, 0);

    writer_u64(w, m->id);
    writer_lp8(w, m->name);
    record_write_exact(w, m->statement, STATEMENT_SIZE);
    writer_u32(w, m->number);
    record_write_exact(w, m->public, ONE_TIME_SIZE - 4);
    record_end(w, begin);
}
