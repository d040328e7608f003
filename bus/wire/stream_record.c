/* SPDX-License-Identifier: Apache-2.0 */
/* Parses and writes the records of stored messages. Pure, no allocation, any thread. */
#include "wire/stream_record.h"

#include "base/cleanup.h"
#include "wire/record_internal.h"

#define IDENTITY_BYTES 32
#define ITEM_FLAGS (RECORD_FLAG_FRAGMENT | RECORD_FLAG_COUNT)

/* flags: QUEUE. u64 id, u32 subscription, u8 start, u64 value, u32 deadline ms, u16 attempts,
 * u16 window, lp8 name, lp8 filter, [QUEUE: lp8 queue] */
int record_parse_follow(const struct record *record, struct record_follow *ret)
{
    struct reader r = record_body(record, RECORD_FOLLOW, RECORD_FLAG_QUEUE, 0);
    bool has_queue = record->flags & RECORD_FLAG_QUEUE, has_value;
    struct record_follow m = {0};

    m.id = reader_u64(&r);
    m.subscription = reader_u32(&r);
    m.start = reader_u8(&r);
    m.value = reader_u64(&r);
    m.deadline_ms = reader_u32(&r);
    m.attempts = reader_u16(&r);
    m.window = reader_u16(&r);
    m.name = reader_lp8(&r);
    m.filter = reader_lp8(&r);
    if (has_queue)
        m.queue = reader_lp8(&r);
    has_value = m.start == FOLLOW_TIME || m.start == FOLLOW_NUMBER;
    if (!reader_done(&r) || m.id == 0 || m.subscription == 0 || m.start > FOLLOW_LAST ||
        (m.value != 0 && !has_value) || m.value > INT64_MAX || m.deadline_ms == 0 ||
        m.window == 0 || m.window > FOLLOW_WINDOW_MAX || m.name.size > DURABLE_NAME_MAX ||
        m.filter.size == 0 || has_queue != (m.queue.size > 0) || m.queue.size > QUEUE_NAME_MAX ||
        (has_queue && m.name.size == 0))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_follow(struct writer *w, const struct record_follow *m)
{
    size_t begin = record_begin(w, RECORD_FOLLOW, m->queue.size > 0 ? RECORD_FLAG_QUEUE : 0, 0);

    writer_u64(w, m->id);
    writer_u32(w, m->subscription);
    writer_u8(w, m->start);
    writer_u64(w, m->value);
    writer_u32(w, m->deadline_ms);
    writer_u16(w, m->attempts);
    writer_u16(w, m->window);
    writer_lp8(w, m->name);
    writer_lp8(w, m->filter);
    if (m->queue.size > 0)
        writer_lp8(w, m->queue);
    record_end(w, begin);
}

static bool item_is_sound(const struct record *record, const struct record_item *m, bool counted)
{
    if ((record->aux & 0xff) ||
        (m->delivery != DELIVERY_STREAM && m->delivery != DELIVERY_MAILBOX) ||
        m->subscription == 0 || m->number == 0 || m->attempt == 0 || m->id == 0 || m->sender == 0 ||
        m->sender == NUMBER_BY_NAME || counted != (m->count >= 2) ||
        (m->topic == 0 && m->topic_name.size == 0) || m->payload.size > FRAGMENT_SIZE_MAX)
        return false;
    return !m->fragment || (m->payload.size > 0 && m->total <= MESSAGE_SIZE_MAX &&
                            m->payload.size <= m->total && m->offset <= m->total - m->payload.size);
}

/* aux: delivery << 8. u32 subscription, u64 number, u64 stored ms, u16 attempt, u64 id, u32 topic,
 * u32 sender, [FRAGMENT: u32 total, u32 offset], [COUNT: u16 messages], [topic 0: lp8 name],
 * payload */
int record_parse_item(const struct record *record, struct record_item *ret)
{
    struct reader r = record_body(record, RECORD_ITEM, ITEM_FLAGS, UINT16_MAX);
    bool counted = record->flags & RECORD_FLAG_COUNT;
    struct record_item m = {
        .delivery = (uint8_t)(record->aux >> 8),
        .fragment = record->flags & RECORD_FLAG_FRAGMENT,
    };

    m.subscription = reader_u32(&r);
    m.number = reader_u64(&r);
    m.stored_ms = reader_u64(&r);
    m.attempt = reader_u16(&r);
    m.id = reader_u64(&r);
    m.topic = reader_u32(&r);
    m.sender = reader_u32(&r);
    if (m.fragment) {
        m.total = reader_u32(&r);
        m.offset = reader_u32(&r);
    }
    if (counted)
        m.count = reader_u16(&r);
    if (m.topic == 0)
        m.topic_name = reader_lp8(&r);
    m.payload = reader_rest(&r);
    if (!m.fragment)
        m.total = (uint32_t)m.payload.size;
    if (!reader_done(&r) || !item_is_sound(record, &m, counted))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

size_t record_size_item(const struct record_item *m)
{
    return RECORD_HEAD_SIZE + 4 + 8 + 8 + 2 + 8 + 4 + 4 + (m->fragment ? 8 : 0) +
           (m->count ? 2 : 0) + (m->topic == 0 ? 1 + m->topic_name.size : 0) + m->payload.size;
}

void record_write_item(struct writer *w, const struct record_item *m)
{
    uint8_t flags =
        (uint8_t)((m->fragment ? RECORD_FLAG_FRAGMENT : 0) | (m->count ? RECORD_FLAG_COUNT : 0));
    size_t begin = record_begin(w, RECORD_ITEM, flags, (uint16_t)(m->delivery << 8));

    writer_u32(w, m->subscription);
    writer_u64(w, m->number);
    writer_u64(w, m->stored_ms);
    writer_u16(w, m->attempt);
    writer_u64(w, m->id);
    writer_u32(w, m->topic);
    writer_u32(w, m->sender);
    if (m->fragment) {
        writer_u32(w, m->total);
        writer_u32(w, m->offset);
    }
    if (m->count)
        writer_u16(w, m->count);
    if (m->topic == 0)
        writer_lp8(w, m->topic_name);
    writer_bytes(w, m->payload);
    record_end(w, begin);
}

/* flags: RETRY, TOLD. aux: code. u32 subscription, u64 number, lp8 reason */
int record_parse_settle(const struct record *record, struct record_settle *ret)
{
    struct reader r =
        record_body(record, RECORD_SETTLE, RECORD_FLAG_RETRY | RECORD_FLAG_TOLD, UINT16_MAX);
    struct record_settle m = {.code = record->aux,
                              .retry = record->flags & RECORD_FLAG_RETRY,
                              .told = record->flags & RECORD_FLAG_TOLD};

    m.subscription = reader_u32(&r);
    m.number = reader_u64(&r);
    m.reason = reader_lp8(&r);
    if (!reader_done(&r) || m.subscription == 0 || m.number == 0 || (m.retry && m.code) ||
        (m.told && (m.retry || m.code)) || (m.reason.size > 0 && !m.code))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_settle(struct writer *w, const struct record_settle *m)
{
    uint8_t flags =
        (uint8_t)((m->retry ? RECORD_FLAG_RETRY : 0) | (m->told ? RECORD_FLAG_TOLD : 0));
    size_t begin = record_begin(w, RECORD_SETTLE, flags, m->code);

    writer_u32(w, m->subscription);
    writer_u64(w, m->number);
    writer_lp8(w, m->reason);
    record_end(w, begin);
}

bool record_next_key(struct reader *entries, struct bytes *ret_reader, struct bytes *ret_key)
{
    if (entries->left == 0 || entries->failed)
        return false;
    *ret_reader = reader_bytes(entries, IDENTITY_BYTES);
    *ret_key = reader_lp16(entries);
    if (ret_key->size == 0 || ret_key->size > STORED_KEY_MAX)
        entries->failed = true;
    return !entries->failed;
}

/* byte[12] key id, u8 count, count x (byte[32] reader, lp16 key) */
int record_parse_keys(const struct record *record, struct record_keys *ret)
{
    struct reader r = record_body(record, RECORD_KEYS, 0, 0);
    struct record_keys m = {0};
    struct bytes identity, key;
    struct reader entries;
    unsigned count = 0;

    m.key_id = reader_bytes(&r, KEY_ID_BYTES);
    m.count = reader_u8(&r);
    m.entries = reader_rest(&r);
    entries = reader_over(m.entries);
    while (record_next_key(&entries, &identity, &key))
        count++;
    if (!reader_done(&r) || !reader_done(&entries) || m.count == 0 || m.count > STORED_KEYS_MAX ||
        count != m.count)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_keys(struct writer *w, const struct record_keys *m)
{
    size_t begin = record_begin(w, RECORD_KEYS, 0, 0);

    record_write_exact(w, m->key_id, KEY_ID_BYTES);
    writer_u8(w, m->count);
    writer_bytes(w, m->entries);
    record_end(w, begin);
}

/* u32 sender, byte[12] key id, lp16 key */
int record_parse_key(const struct record *record, struct record_key *ret)
{
    struct reader r = record_body(record, RECORD_KEY, 0, 0);
    struct record_key m = {0};

    m.sender = reader_u32(&r);
    m.key_id = reader_bytes(&r, KEY_ID_BYTES);
    m.key = reader_lp16(&r);
    if (!reader_done(&r) || m.sender == 0 || m.sender == NUMBER_BY_NAME || m.key.size == 0 ||
        m.key.size > STORED_KEY_MAX)
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_key(struct writer *w, const struct record_key *m)
{
    size_t begin = record_begin(w, RECORD_KEY, 0, 0);

    writer_u32(w, m->sender);
    record_write_exact(w, m->key_id, KEY_ID_BYTES);
    writer_lp16(w, m->key);
    record_end(w, begin);
}

/* byte[32] identity, lp16 statement */
int record_parse_reading(const struct record *record, struct record_reading *ret)
{
    static const uint8_t nobody[IDENTITY_BYTES];
    struct reader r = record_body(record, RECORD_READING, 0, 0);
    struct record_reading m = {0};

    m.identity = reader_bytes(&r, IDENTITY_BYTES);
    m.statement = reader_lp16(&r);
    if (!reader_done(&r) || m.statement.size > STATEMENT_MAX ||
        bytes_equal(m.identity, bytes_of(nobody, sizeof(nobody))) != (m.statement.size == 0))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_reading(struct writer *w, const struct record_reading *m)
{
    size_t begin = record_begin(w, RECORD_READING, 0, 0);

    record_write_exact(w, m->identity, IDENTITY_BYTES);
    writer_lp16(w, m->statement);
    record_end(w, begin);
}

/* flags: ONE. aux: cause. u32 subscription, u64 token, u16 attempt, u32 sender, u32 topic, u64
 * count, u64 number, [topic 0: lp8 name] */
int record_parse_missed(const struct record *record, struct record_missed *ret)
{
    struct reader r = record_body(record, RECORD_MISSED, RECORD_FLAG_ONE, UINT16_MAX);
    struct record_missed m = {.cause = record->aux, .one = record->flags & RECORD_FLAG_ONE};

    m.subscription = reader_u32(&r);
    m.token = reader_u64(&r);
    m.attempt = reader_u16(&r);
    m.sender = reader_u32(&r);
    m.topic = reader_u32(&r);
    m.count = reader_u64(&r);
    m.number = reader_u64(&r);
    if (m.topic == 0)
        m.topic_name = reader_lp8(&r);
    if (!reader_done(&r) || m.cause == 0 || m.subscription == 0 || m.token == 0 || m.attempt == 0 ||
        m.sender == 0 || m.sender == NUMBER_BY_NAME || m.count == 0 || m.number == 0 ||
        (m.topic == 0 && m.topic_name.size == 0))
        return AICO_EPROTO;
    *ret = m;
    return 0;
}

void record_write_missed(struct writer *w, const struct record_missed *m)
{
    size_t begin = record_begin(w, RECORD_MISSED, m->one ? RECORD_FLAG_ONE : 0, m->cause);

    writer_u32(w, m->subscription);
    writer_u64(w, m->token);
    writer_u16(w, m->attempt);
    writer_u32(w, m->sender);
    writer_u32(w, m->topic);
    writer_u64(w, m->count);
    writer_u64(w, m->number);
    if (m->topic == 0)
        writer_lp8(w, m->topic_name);
    record_end(w, begin);
}
