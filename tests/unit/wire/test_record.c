/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every record: what is written is read back, and nothing else is. Random fields come from a seed
 * that is printed when a test fails (AICO_TEST_SEED repeats it).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/cleanup.h"
#include "vectors.h"
#include "wire/record.h"

#define ROUNDS 300

static uint64_t seed = 20261120, state_of_random;

static uint64_t random_u64(void)
{
    /* splitmix64 */
    uint64_t z = (state_of_random += 0x9e3779b97f4a7c15u);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t below(uint64_t bound)
{
    return random_u64() % bound;
}

static uint64_t not_zero(void)
{
    return below(4) == 0 ? 1 + below(3) : random_u64() | 1;
}

static uint32_t not_zero_u32(void)
{
    return (uint32_t)(1 + below(UINT32_MAX - 2));
}

static uint8_t noise[FRAGMENT_SIZE_MAX];

static struct bytes some(size_t min, size_t max)
{
    size_t size = min + below(max - min + 1);

    return bytes_of(noise + below(sizeof(noise) - size + 1), size);
}

/* One generator a record type: writes a random valid record. */
static void make_hello(struct writer *w)
{
    record_write_hello(w,
                       &(struct record_hello){WIRE_VERSION, not_zero(), random_u64(), some(16, 16),
                                              not_zero_u32(), some(1, 64), some(0, 255)});
}

static void make_welcome(struct writer *w)
{
    record_write_welcome(w, &(struct record_welcome){not_zero_u32(), not_zero_u32(), random_u64(),
                                                     some(16, 16), random_u64(), random_u64(),
                                                     some(1, 64), some(0, 255)});
}

static void make_bye(struct writer *w)
{
    record_write_bye(w, &(struct record_bye){(uint16_t)below(200), some(0, HINT_SIZE_MAX)});
}

static void make_ping(struct writer *w)
{
    record_write_ping(w, random_u64());
}

static void make_pong(struct writer *w)
{
    record_write_pong(w, random_u64());
}

static void make_credit(struct writer *w)
{
    record_write_credit(w, not_zero_u32());
}

static void make_registry(struct writer *w)
{
    struct bytes piece = some(1, 900);
    uint32_t offset = (uint32_t)below(1000), rest = (uint32_t)below(1000);

    record_write_registry(w, &(struct record_registry){
                                 not_zero(), offset + (uint32_t)piece.size + rest, offset, piece});
}

static void make_component(struct writer *w)
{
    record_write_component(w,
                           &(struct record_component){not_zero_u32(), some(32, 32), some(1, 64)});
}

static void make_topic(struct writer *w)
{
    record_write_topic(w, not_zero_u32(), some(1, 255));
}

static void make_subscribe(struct writer *w)
{
    record_write_subscribe(w,
                           &(struct record_subscribe){not_zero(), not_zero_u32(), (uint8_t)below(4),
                                                      below(2), some(1, 255), some(0, 255)});
}

static void make_unsubscribe(struct writer *w)
{
    record_write_unsubscribe(w, not_zero(), not_zero_u32());
}

static void make_ok(struct writer *w)
{
    record_write_ok(w, not_zero(), (uint32_t)random_u64());
}

static void make_refuse(struct writer *w)
{
    record_write_refuse(w, &(struct record_refuse){(uint16_t)(1 + below(200)), not_zero(),
                                                   (uint32_t)random_u64(), some(0, 255),
                                                   some(0, HINT_SIZE_MAX)});
}

static struct record_publish random_publish(void)
{
    struct record_publish p = {.delivery = (uint8_t)below(7), .id = not_zero()};

    p.payload = below(8) ? some(0, 500) : some(0, FRAGMENT_SIZE_MAX);
    p.topic = below(2) ? not_zero_u32() : 0;
    if (p.topic == 0)
        p.topic_name = some(1, 255);
    /* A mailbox is somebody's. */
    p.to = p.delivery != DELIVERY_MAILBOX && below(2) ? 0
           : below(2)                                 ? not_zero_u32()
                                                      : NUMBER_BY_NAME;
    if (p.to == NUMBER_BY_NAME)
        p.to_name = some(1, 64);
    p.reply = p.delivery == DELIVERY_REPLY;
    p.request = p.reply ? not_zero() : 0;
    p.timeout_ms = p.delivery == DELIVERY_REQUEST && below(2) ? not_zero_u32() : 0;
    p.copy = p.delivery <= DELIVERY_RETAINED && p.to != 0 && below(2);
    if ((p.delivery <= DELIVERY_RETAINED || p.delivery == DELIVERY_MAILBOX) && below(2))
        p.ttl_ms = not_zero_u32();
    p.total = (uint32_t)p.payload.size;
    if (p.payload.size > 0 && below(2)) {
        p.fragment = true;
        p.offset = (uint32_t)below(1000);
        p.total += p.offset + (uint32_t)below(1000);
    }
    if (p.delivery == DELIVERY_EVENT && p.to == 0 && !p.fragment && below(2))
        p.count = (uint16_t)(2 + below(65534));
    p.receipt = p.delivery == DELIVERY_EVENT && p.to == 0 && below(2);
    return p;
}

static void make_publish(struct writer *w)
{
    struct record_publish p = random_publish();
    size_t before = w->size;

    record_write_publish(w, &p);
    assert_int_equal(w->size - before, record_size_publish(&p));
}

static void make_ack(struct writer *w)
{
    record_write_ack(w, not_zero());
}

static struct record_deliver random_deliver(void)
{
    struct record_publish p = random_publish();

    return (struct record_deliver){
        .delivery = p.delivery,
        .id = p.id,
        .topic = p.topic,
        .sender = not_zero_u32(),
        .direct = p.count == 0 && below(2),
        .count = p.count,
        .fragment = p.fragment,
        .total = p.total,
        .offset = p.offset,
        .reply = p.reply,
        .request = p.request,
        .topic_name = p.topic_name,
        .payload = p.payload,
    };
}

static void make_deliver(struct writer *w)
{
    struct record_deliver d = random_deliver();
    size_t before = w->size;

    record_write_deliver(w, &d);
    assert_int_equal(w->size - before, record_size_deliver(&d));
}

static void make_gap(struct writer *w)
{
    struct record_gap g = {(uint16_t)(1 + below(200)), not_zero_u32(), not_zero_u32(), not_zero(),
                           not_zero()};

    if (below(2)) {
        g.topic = 0;
        g.topic_name = some(1, 255);
    }
    g.direct = below(2);
    record_write_gap(w, &g);
}

static void make_resolve(struct writer *w)
{
    record_write_resolve(w, not_zero(), some(1, 255));
}

static void make_resolved(struct writer *w)
{
    record_write_resolved(w, not_zero(), not_zero_u32());
}

static void make_query(struct writer *w)
{
    record_write_query(w, not_zero(), some(1, 255), some(0, 255));
}

static void make_answer(struct writer *w)
{
    struct bytes piece = some(1, 900);
    uint32_t offset = (uint32_t)below(1000), rest = (uint32_t)below(1000);

    record_write_answer(w, &(struct record_answer){not_zero(), offset + (uint32_t)piece.size + rest,
                                                   offset, piece});
}

static void make_will(struct writer *w)
{
    struct record_will m = {.id = not_zero(), .payload = some(0, 900)};

    m.topic = below(2) ? not_zero_u32() : 0;
    if (m.topic == 0)
        m.topic_name = some(1, 255);
    record_write_will(w, &m);
}

static void make_audit(struct writer *w)
{
    record_write_audit_head(w, some(1, AUDIT_HEAD_MAX));
}

static void make_receivers(struct writer *w)
{
    size_t count = below(20);

    record_write_receivers(w, &(struct record_receivers){not_zero(),
                                                         (uint32_t)(count ? count + below(20) : 0),
                                                         some(4 * count, 4 * count)});
}

static void (*const makers[])(struct writer *) = {
    [RECORD_HELLO] = make_hello,
    [RECORD_WELCOME] = make_welcome,
    [RECORD_BYE] = make_bye,
    [RECORD_PING] = make_ping,
    [RECORD_PONG] = make_pong,
    [RECORD_CREDIT] = make_credit,
    [RECORD_REGISTRY] = make_registry,
    [RECORD_COMPONENT] = make_component,
    [RECORD_TOPIC] = make_topic,
    [RECORD_SUBSCRIBE] = make_subscribe,
    [RECORD_UNSUBSCRIBE] = make_unsubscribe,
    [RECORD_OK] = make_ok,
    [RECORD_REFUSE] = make_refuse,
    [RECORD_PUBLISH] = make_publish,
    [RECORD_ACK] = make_ack,
    [RECORD_DELIVER] = make_deliver,
    [RECORD_GAP] = make_gap,
    [RECORD_RESOLVE] = make_resolve,
    [RECORD_RESOLVED] = make_resolved,
    [RECORD_QUERY] = make_query,
    [RECORD_ANSWER] = make_answer,
    [RECORD_WILL] = make_will,
    [RECORD_AUDIT] = make_audit,
    [RECORD_RECEIVERS] = make_receivers,
};

/* The next one after @type that this file makes; some are made elsewhere. */
static size_t next_type(size_t type)
{
    do
        type++;
    while (type < COUNT_OF(makers) && !makers[type]);
    return type;
}

#define REENCODE(name)                                                                             \
    {                                                                                              \
        struct record_##name m;                                                                    \
        int r = record_parse_##name(record, &m);                                                   \
        if (r == 0)                                                                                \
            record_write_##name(w, &m);                                                            \
        return r;                                                                                  \
    }

/* Parses @record by its type and writes what was understood to @w. */
static int reencode(const struct record *record, struct writer *w)
{
    switch (record->type) {
    case RECORD_HELLO:
        REENCODE(hello)
    case RECORD_WELCOME:
        REENCODE(welcome)
    case RECORD_BYE:
        REENCODE(bye)
    case RECORD_PING:
    case RECORD_PONG: {
        struct record_ping m;
        int r = record_parse_ping(record, &m);

        if (r == 0 && record->type == RECORD_PING)
            record_write_ping(w, m.token);
        else if (r == 0)
            record_write_pong(w, m.token);
        return r;
    }
    case RECORD_CREDIT: {
        struct record_credit m;
        int r = record_parse_credit(record, &m);

        if (r == 0)
            record_write_credit(w, m.bytes);
        return r;
    }
    case RECORD_REGISTRY:
        REENCODE(registry)
    case RECORD_COMPONENT:
        REENCODE(component)
    case RECORD_TOPIC: {
        struct record_topic m;
        int r = record_parse_topic(record, &m);

        if (r == 0)
            record_write_topic(w, m.number, m.topic);
        return r;
    }
    case RECORD_SUBSCRIBE:
        REENCODE(subscribe)
    case RECORD_UNSUBSCRIBE: {
        struct record_unsubscribe m;
        int r = record_parse_unsubscribe(record, &m);

        if (r == 0)
            record_write_unsubscribe(w, m.id, m.subscription);
        return r;
    }
    case RECORD_OK: {
        struct record_ok m;
        int r = record_parse_ok(record, &m);

        if (r == 0)
            record_write_ok(w, m.id, m.value);
        return r;
    }
    case RECORD_REFUSE:
        REENCODE(refuse)
    case RECORD_PUBLISH:
        REENCODE(publish)
    case RECORD_ACK: {
        struct record_ack m;
        int r = record_parse_ack(record, &m);

        if (r == 0)
            record_write_ack(w, m.id);
        return r;
    }
    case RECORD_DELIVER:
        REENCODE(deliver)
    case RECORD_GAP:
        REENCODE(gap)
    case RECORD_RESOLVE: {
        struct record_resolve m;
        int r = record_parse_resolve(record, &m);

        if (r == 0)
            record_write_resolve(w, m.id, m.topic);
        return r;
    }
    case RECORD_RESOLVED: {
        struct record_resolved m;
        int r = record_parse_resolved(record, &m);

        if (r == 0)
            record_write_resolved(w, m.id, m.component);
        return r;
    }
    case RECORD_QUERY: {
        struct record_query m;
        int r = record_parse_query(record, &m);

        if (r == 0)
            record_write_query(w, m.id, m.what, m.argument);
        return r;
    }
    case RECORD_ANSWER:
        REENCODE(answer)
    case RECORD_WILL:
        REENCODE(will)
    case RECORD_RECEIVERS:
        REENCODE(receivers)
    case RECORD_AUDIT: {
        struct bytes line;
        int r = record_parse_audit_head(record, &line);

        if (r == 0)
            record_write_audit_head(w, line);
        return r;
    }
    default:
        return AICO_EPROTO;
    }
}

/* Parses @frame of one record; 1 if it was understood, and then it must encode to itself. */
static int understood(struct bytes frame)
{
    static uint8_t room[FRAME_SIZE_MAX];
    struct writer w = writer_over(room, sizeof(room));
    struct reader records;
    struct record record;
    int r = frame_open(frame, &records);

    if (r < 0)
        return 0;
    writer_u8(&w, WIRE_VERSION);
    while ((r = frame_next(&records, &record)) == 1)
        if (reencode(&record, &w) < 0)
            return 0;
    if (r < 0)
        return 0;
    assert_false(w.failed);
    assert_true(bytes_equal(writer_view(&w), frame));
    return 1;
}

/* A frame of one random record of @type in a heap block of its exact size. */
static struct bytes random_frame(size_t type)
{
    static uint8_t room[FRAME_SIZE_MAX];
    struct writer w = writer_over(room, sizeof(room));

    writer_u8(&w, WIRE_VERSION);
    makers[type](&w);
    assert_false(w.failed);
    return bytes_of(exact_copy(writer_view(&w)), w.size);
}

#define FREE(bytes) free((void *)(uintptr_t)(bytes).at)

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    for (size_t type = next_type(0); type < COUNT_OF(makers); type = next_type(type))
        for (size_t i = 0; i < ROUNDS; i++) {
            struct bytes frame = random_frame(type);

            if (!understood(frame))
                fail_msg("record type %zu, round %zu", type, i);
            FREE(frame);
        }
}

static void prekeys_and_bundles_are_read_back_and_nothing_shorter_is(void **state)
{
    static uint8_t room[FRAME_SIZE_MAX];
    const struct record_prekeys prekeys = {some(STATEMENT_SIZE, STATEMENT_SIZE),
                                           some(3 * ONE_TIME_SIZE, 3 * ONE_TIME_SIZE)};
    const struct record_bundle bundle = {not_zero(), some(1, 64),
                                         some(STATEMENT_SIZE, STATEMENT_SIZE), not_zero_u32(),
                                         some(32, 32)};
    struct writer w = writer_over(room, sizeof(room));
    struct reader r;
    struct record record;
    int index = 0;

    (void)state;
    record_write_prekeys(&w, &prekeys);
    record_write_prekeys_left(&w, 7, 24);
    record_write_bundle_ask(&w, 8, bytes_text("backend"));
    record_write_bundle(&w, &bundle);
    assert_false(w.failed);
    for (r = reader_over(writer_view(&w)); frame_next(&r, &record) == 1; index++) {
        struct record_prekeys_left left;
        struct record_bundle_ask ask;
        struct record_prekeys p;
        struct record_bundle b;
        struct bytes whole = record.body;
        int good = 0;

        for (size_t size = 0; size <= whole.size; size++) {
            record.body = bytes_of(exact_copy(bytes_of(whole.at, size)), size);
            good += record_parse_prekeys(&record, &p) == 0;
            good += record_parse_prekeys_left(&record, &left) == 0;
            good += record_parse_bundle_ask(&record, &ask) == 0;
            good += record_parse_bundle(&record, &b) == 0;
            assert_int_equal(good, size == whole.size);
            free((void *)(uintptr_t)record.body.at);
        }
        record.body = whole;
        record.flags |= 0x80;
        assert_int_equal(record_parse_prekeys(&record, &p), AICO_EPROTO);
        assert_int_equal(record_parse_bundle(&record, &b), AICO_EPROTO);
    }
    assert_int_equal(index, 4);
}

static void every_field_of_a_publish_survives(void **state)
{
    static uint8_t room[FRAME_SIZE_MAX];

    (void)state;
    for (size_t i = 0; i < 5 * ROUNDS; i++) {
        struct record_publish p = random_publish(), q;
        struct writer w = writer_over(room, sizeof(room));
        struct reader r;
        struct record record;

        record_write_publish(&w, &p);
        r = reader_over(writer_view(&w));
        assert_int_equal(frame_next(&r, &record), 1);
        assert_int_equal(record_parse_publish(&record, &q), 0);
        assert_int_equal(p.delivery, q.delivery);
        assert_true(p.id == q.id && p.topic == q.topic && p.to == q.to && p.total == q.total);
        assert_true(p.fragment == q.fragment && p.offset == q.offset && p.reply == q.reply);
        assert_true(p.request == q.request && p.timeout_ms == q.timeout_ms);
        assert_int_equal(p.count, q.count);
        assert_int_equal(p.ttl_ms, q.ttl_ms);
        assert_true(bytes_equal(p.topic_name, q.topic_name));
        assert_true(bytes_equal(p.to_name, q.to_name));
        assert_true(bytes_equal(p.payload, q.payload));
    }
}

static void every_field_of_a_deliver_survives(void **state)
{
    static uint8_t room[FRAME_SIZE_MAX];

    (void)state;
    for (size_t i = 0; i < 5 * ROUNDS; i++) {
        struct record_deliver p = random_deliver(), q;
        struct writer w = writer_over(room, sizeof(room));
        struct reader r;
        struct record record;

        record_write_deliver(&w, &p);
        r = reader_over(writer_view(&w));
        assert_int_equal(frame_next(&r, &record), 1);
        assert_int_equal(record_parse_deliver(&record, &q), 0);
        assert_int_equal(p.delivery, q.delivery);
        assert_true(p.id == q.id && p.topic == q.topic && p.sender == q.sender);
        assert_true(p.direct == q.direct && p.fragment == q.fragment && p.total == q.total);
        assert_true(p.offset == q.offset && p.reply == q.reply && p.request == q.request);
        assert_true(bytes_equal(p.topic_name, q.topic_name));
        assert_true(bytes_equal(p.payload, q.payload));
    }
}

/* One record byte by byte: the layout is a promise to other implementations. */
static void a_publish_has_exactly_these_bytes(void **state)
{
    static const uint8_t expected[] = {
        14, 9,   3,   0,    0,    0,    0,    39,   /* PUBLISH, FRAGMENT|TIMEOUT, REQUEST */
        0,  0,   0,   0,    0,    0,    1,    2,    /* id */
        0,  0,   0,   0,    0xff, 0xff, 0xff, 0xff, /* topic by name, to by name */
        0,  1,   0,   0,    0,    0,    0,    5,    /* total, offset */
        0,  0,   3,   0xe8,                         /* timeout 1000 ms */
        3,  'a', '/', 'b',  2,    'm',  'e',  'h',  'i', '!', '.' /* names, payload */
    };
    uint8_t room[64];
    struct writer w = writer_over(room, sizeof(room));

    (void)state;
    record_write_publish(&w, &(struct record_publish){.delivery = DELIVERY_REQUEST,
                                                      .id = 258,
                                                      .to = NUMBER_BY_NAME,
                                                      .fragment = true,
                                                      .total = 65536,
                                                      .offset = 5,
                                                      .timeout_ms = 1000,
                                                      .topic_name = bytes_text("a/b"),
                                                      .to_name = bytes_text("me"),
                                                      .payload = bytes_text("hi!.")});
    assert_int_equal(w.size, sizeof(expected));
    assert_memory_equal(room, expected, sizeof(expected));
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t type = next_type(0); type < COUNT_OF(makers); type = next_type(type))
        for (size_t i = 0; i < 3; i++) {
            struct bytes frame = random_frame(type);

            for (size_t size = 2; size < frame.size; size += 1 + size / 600) {
                uint8_t *copy = exact_copy(bytes_of(frame.at, size));

                assert_false(understood(bytes_of(copy, size)));
                free(copy);
            }
            FREE(frame);
        }
}

/* The head says the shorter size, so only the body's own parser can notice. A record that ends in
 * a payload may be a shorter record of the same kind; everything else is refused. */
static void every_shortened_body_is_refused_or_another_valid_record(void **state)
{
    static const bool has_tail[COUNT_OF(makers)] = {
        [RECORD_REGISTRY] = true, [RECORD_PUBLISH] = true, [RECORD_DELIVER] = true,
        [RECORD_ANSWER] = true,   [RECORD_WILL] = true,    [RECORD_RECEIVERS] = true};

    (void)state;
    for (size_t type = next_type(0); type < COUNT_OF(makers); type = next_type(type))
        for (size_t i = 0; i < 5; i++) {
            struct bytes frame = random_frame(type);
            size_t body = frame.size - 1 - RECORD_HEAD_SIZE;

            for (size_t size = 0; size < body && size < 1500; size++) {
                uint8_t *copy = exact_copy(bytes_of(frame.at, 1 + RECORD_HEAD_SIZE + size));
                struct writer w = writer_over(copy + 1 + 4, 4);

                writer_u32(&w, (uint32_t)size);
                if (understood(bytes_of(copy, 1 + RECORD_HEAD_SIZE + size)))
                    assert_true(has_tail[type]);
                free(copy);
            }
            FREE(frame);
        }
}

static void a_byte_too_many_is_refused(void **state)
{
    static const bool has_tail[COUNT_OF(makers)] = {[RECORD_REGISTRY] = true,
                                                    [RECORD_PUBLISH] = true,
                                                    [RECORD_DELIVER] = true,
                                                    [RECORD_ANSWER] = true,
                                                    [RECORD_WILL] = true};

    (void)state;
    for (size_t type = next_type(0); type < COUNT_OF(makers); type = next_type(type)) {
        struct bytes frame = random_frame(type);
        uint8_t *longer = calloc(1, frame.size + 1);
        struct writer w;

        assert_non_null(longer);
        memcpy(longer, frame.at, frame.size);
        w = writer_over(longer + 1 + 4, 4);
        writer_u32(&w, (uint32_t)(frame.size - RECORD_HEAD_SIZE));
        if (understood(bytes_of(longer, frame.size + 1)))
            assert_true(has_tail[type]);
        free(longer);
        FREE(frame);
    }
}

static void an_unknown_flag_is_refused_not_ignored(void **state)
{
    static const uint8_t known[COUNT_OF(makers)] = {
        [RECORD_SUBSCRIBE] = RECORD_FLAG_SERVE,
        [RECORD_PUBLISH] = RECORD_FLAG_FRAGMENT | RECORD_FLAG_REPLY | RECORD_FLAG_TIMEOUT |
                           RECORD_FLAG_COPY | RECORD_FLAG_COUNT | RECORD_FLAG_TTL |
                           RECORD_FLAG_RECEIPT,
        [RECORD_DELIVER] = RECORD_FLAG_FRAGMENT | RECORD_FLAG_REPLY | RECORD_FLAG_DIRECT |
                           RECORD_FLAG_COUNT | RECORD_FLAG_KEPT,
        [RECORD_GAP] = RECORD_FLAG_DIRECT | RECORD_FLAG_KEPT,
    };

    (void)state;
    for (size_t type = next_type(0); type < COUNT_OF(makers); type = next_type(type))
        for (int bit = 0; bit < 8; bit++) {
            struct bytes frame = random_frame(type);
            uint8_t *copy = exact_copy(frame);

            if (!(known[type] & 1 << bit)) {
                copy[2] |= (uint8_t)(1 << bit);
                assert_false(understood(bytes_of(copy, frame.size)));
            }
            free(copy);
            FREE(frame);
        }
}

static void an_aux_that_means_nothing_is_refused(void **state)
{
    static const uint16_t known[COUNT_OF(makers)] = {
        [RECORD_BYE] = 0xffff,     [RECORD_REFUSE] = 0xffff,  [RECORD_GAP] = 0xffff,
        [RECORD_PUBLISH] = 0x0700, [RECORD_DELIVER] = 0x0700,
    };

    (void)state;
    for (size_t type = next_type(0); type < COUNT_OF(makers); type = next_type(type))
        for (int bit = 0; bit < 16; bit++) {
            struct bytes frame = random_frame(type);
            uint8_t *copy = exact_copy(frame);

            if (!(known[type] & 1 << bit)) {
                copy[3 + (bit < 8)] |= (uint8_t)(1 << bit % 8);
                assert_false(understood(bytes_of(copy, frame.size)));
            }
            free(copy);
            FREE(frame);
        }
}

/* understood() itself asserts that whatever parses encodes to the very same bytes. */
static void a_flipped_bit_never_means_two_things(void **state)
{
    (void)state;
    for (size_t type = next_type(0); type < COUNT_OF(makers); type = next_type(type))
        for (size_t i = 0; i < 4; i++) {
            struct bytes frame = random_frame(type);
            size_t bits = MIN(frame.size, (size_t)400) * 8;

            for (size_t bit = 0; bit < bits; bit++) {
                uint8_t *copy = exact_copy(frame);

                copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
                (void)understood(bytes_of(copy, frame.size));
                free(copy);
            }
            FREE(frame);
        }
}

static void an_unknown_type_is_nobodys_record(void **state)
{
    uint8_t frame[1 + RECORD_HEAD_SIZE] = {WIRE_VERSION};

    (void)state;
    for (int type = 0; type < 256; type++) {
        frame[1] = (uint8_t)type;
        assert_false(understood(bytes_of(frame, sizeof(frame))));
    }
}

static void a_frame_of_another_version_is_refused(void **state)
{
    struct reader r;

    (void)state;
    for (int version = 0; version < 256; version++) {
        uint8_t frame[1] = {(uint8_t)version};

        assert_int_equal(frame_open(bytes_of(frame, 1), &r),
                         version == WIRE_VERSION ? 0 : AICO_EVERSION);
    }
}

static void an_empty_and_an_oversized_frame_are_refused(void **state)
{
    uint8_t *frame = calloc(1, FRAME_SIZE_MAX + 1);
    struct reader r;

    (void)state;
    assert_non_null(frame);
    frame[0] = WIRE_VERSION;
    assert_int_equal(frame_open(bytes_of(NULL, 0), &r), AICO_ESIZE);
    assert_int_equal(frame_open(bytes_of(frame, FRAME_SIZE_MAX + 1), &r), AICO_ESIZE);
    assert_int_equal(frame_open(bytes_of(frame, FRAME_SIZE_MAX), &r), 0);
    free(frame);
}

static void a_frame_carries_many_records_in_order(void **state)
{
    uint8_t room[256];
    struct writer w = writer_over(room, sizeof(room));
    struct reader r;
    struct record record;
    struct record_ping ping;

    (void)state;
    writer_u8(&w, WIRE_VERSION);
    for (uint64_t i = 0; i < 10; i++)
        record_write_ping(&w, i);
    assert_int_equal(frame_open(writer_view(&w), &r), 0);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(frame_next(&r, &record), 1);
        assert_int_equal(record.whole.size, RECORD_HEAD_SIZE + 8);
        assert_int_equal(record_parse_ping(&record, &ping), 0);
        assert_true(ping.token == i);
    }
    assert_int_equal(frame_next(&r, &record), 0);
}

static void a_writer_without_room_fails_and_stays_failed(void **state)
{
    static uint8_t room[FRAME_SIZE_MAX];

    (void)state;
    for (size_t type = next_type(0); type < COUNT_OF(makers); type = next_type(type)) {
        struct bytes frame = random_frame(type);
        uint8_t *small = malloc(frame.size - 2);
        struct record record;
        struct reader r;
        struct writer w;

        assert_non_null(small);
        assert_int_equal(frame_open(frame, &r), 0);
        assert_int_equal(frame_next(&r, &record), 1);
        w = writer_over(small, frame.size - 2);
        assert_int_equal(reencode(&record, &w), 0);
        assert_true(w.failed);
        free(small);
        FREE(frame);
    }
    (void)room;
}

static void a_hint_is_cut_between_characters(void **state)
{
    uint8_t room[512];
    char hint[HINT_SIZE_MAX + 10];
    struct writer w = writer_over(room, sizeof(room));
    struct reader r;
    struct record record;
    struct record_bye bye;

    (void)state;
    memset(hint, 'x', sizeof(hint));
    memcpy(hint + HINT_SIZE_MAX - 1, "\xc3\xa9", 2); /* straddles the limit */
    record_write_bye(&w, &(struct record_bye){3, bytes_of(hint, sizeof(hint))});
    r = reader_over(writer_view(&w));
    assert_int_equal(frame_next(&r, &record), 1);
    assert_int_equal(record_parse_bye(&record, &bye), 0);
    assert_int_equal(bye.text.size, HINT_SIZE_MAX - 1);
}

static int seed_random(void **state)
{
    (void)state;
    state_of_random = seed;
    for (size_t i = 0; i < sizeof(noise); i++)
        noise[i] = (uint8_t)random_u64();
    return 0;
}

#define SEEDED(test) cmocka_unit_test_setup(test, seed_random)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEEDED(what_is_written_is_read_back),
        SEEDED(prekeys_and_bundles_are_read_back_and_nothing_shorter_is),
        SEEDED(every_field_of_a_publish_survives),
        SEEDED(every_field_of_a_deliver_survives),
        SEEDED(a_publish_has_exactly_these_bytes),
        SEEDED(every_truncation_is_refused),
        SEEDED(every_shortened_body_is_refused_or_another_valid_record),
        SEEDED(a_byte_too_many_is_refused),
        SEEDED(an_unknown_flag_is_refused_not_ignored),
        SEEDED(an_aux_that_means_nothing_is_refused),
        SEEDED(a_flipped_bit_never_means_two_things),
        SEEDED(an_unknown_type_is_nobodys_record),
        SEEDED(a_frame_of_another_version_is_refused),
        SEEDED(an_empty_and_an_oversized_frame_are_refused),
        SEEDED(a_frame_carries_many_records_in_order),
        SEEDED(a_writer_without_room_fails_and_stays_failed),
        SEEDED(a_hint_is_cut_between_characters),
    };
    const char *given = getenv("AICO_TEST_SEED");
    int failed;

    if (given)
        seed = strtoull(given, NULL, 0);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed)
        (void)fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
    return failed;
}
