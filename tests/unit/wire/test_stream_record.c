/* SPDX-License-Identifier: Apache-2.0 */
/* The records of stored messages: what is written is read, and nothing else is. */
#include "vectors.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "wire/stream_record.h"

#define ROOM 4096

static const uint8_t key_id[KEY_ID_BYTES] = "key-id-12345", identity[32] = {7}, nobody[32];

static void put_follow(struct writer *w)
{
    record_write_follow(w, &(struct record_follow){.id = 7,
                                                   .subscription = 3,
                                                   .start = FOLLOW_TIME,
                                                   .value = 1763668800000,
                                                   .deadline_ms = 30000,
                                                   .attempts = 10,
                                                   .window = 256,
                                                   .name = bytes_text("d"),
                                                   .filter = bytes_text("a/**")});
}

static void put_item(struct writer *w)
{
    record_write_item(w, &(struct record_item){.delivery = DELIVERY_STREAM,
                                               .subscription = 3,
                                               .number = 99,
                                               .stored_ms = 1763668800000,
                                               .attempt = 2,
                                               .id = 5,
                                               .sender = 4,
                                               .fragment = true,
                                               .total = 100,
                                               .offset = 10,
                                               .topic_name = bytes_text("a/b"),
                                               .payload = bytes_text("payload")});
}

static void put_settle(struct writer *w)
{
    record_write_settle(
        w, &(struct record_settle){
               .subscription = 3, .number = 99, .code = 83, .reason = bytes_text("no good")});
}

static void put_told(struct writer *w)
{
    record_write_settle(w, &(struct record_settle){.subscription = 3, .number = 99, .told = true});
}

static void put_missed(struct writer *w)
{
    record_write_missed(w, &(struct record_missed){.cause = 38,
                                                   .subscription = 3,
                                                   .token = 7,
                                                   .attempt = 2,
                                                   .sender = 4,
                                                   .count = 10,
                                                   .number = 99,
                                                   .topic_name = bytes_text("a/b")});
}

static void put_keys(struct writer *w)
{
    uint8_t entry[32 + 2 + 3] = {7};

    entry[33] = 3;
    record_write_keys(w, &(struct record_keys){bytes_of(key_id, sizeof(key_id)), 1,
                                               bytes_of(entry, sizeof(entry))});
}

static void put_key(struct writer *w)
{
    record_write_key(
        w, &(struct record_key){4, bytes_of(key_id, sizeof(key_id)), bytes_text("sealed")});
}

static void put_audit_head(struct writer *w)
{
    record_write_audit_head(w, bytes_text("head of a log"));
}

static void put_reading(struct writer *w)
{
    record_write_reading(
        w, &(struct record_reading){bytes_of(identity, sizeof(identity)), bytes_text("statement")});
}

/* Parses @record and writes it again; negative: refused. */
static int again(const struct record *record, struct writer *w)
{
    struct record_follow follow;
    struct record_item item;
    struct record_settle settle;
    struct record_keys keys;
    struct record_key key;
    struct record_reading reading;
    struct record_missed missed;
    struct bytes head;
    int r = AICO_EPROTO;

    switch (record->type) {
    case RECORD_FOLLOW:
        if ((r = record_parse_follow(record, &follow)) == 0)
            record_write_follow(w, &follow);
        break;
    case RECORD_ITEM:
        if ((r = record_parse_item(record, &item)) == 0)
            record_write_item(w, &item);
        break;
    case RECORD_SETTLE:
        if ((r = record_parse_settle(record, &settle)) == 0)
            record_write_settle(w, &settle);
        break;
    case RECORD_KEYS:
        if ((r = record_parse_keys(record, &keys)) == 0)
            record_write_keys(w, &keys);
        break;
    case RECORD_KEY:
        if ((r = record_parse_key(record, &key)) == 0)
            record_write_key(w, &key);
        break;
    case RECORD_AUDIT:
        if ((r = record_parse_audit_head(record, &head)) == 0)
            record_write_audit_head(w, head);
        break;
    case RECORD_MISSED:
        if ((r = record_parse_missed(record, &missed)) == 0)
            record_write_missed(w, &missed);
        break;
    case RECORD_READING:
        if ((r = record_parse_reading(record, &reading)) == 0)
            record_write_reading(w, &reading);
        break;
    default:
        break;
    }
    return r;
}

static const struct {
    uint8_t type, flags;
    bool has_tail;
    void (*put)(struct writer *);
} records[] = {
    {RECORD_FOLLOW, 0, false, put_follow},
    {RECORD_ITEM, RECORD_FLAG_FRAGMENT | RECORD_FLAG_COUNT, true, put_item},
    {RECORD_SETTLE, RECORD_FLAG_RETRY | RECORD_FLAG_TOLD, false, put_settle},
    {RECORD_KEYS, 0, false, put_keys},
    {RECORD_KEY, 0, false, put_key},
    {RECORD_READING, 0, false, put_reading},
    {RECORD_AUDIT, 0, false, put_audit_head},
    {RECORD_SETTLE, RECORD_FLAG_RETRY | RECORD_FLAG_TOLD, false, put_told},
    {RECORD_MISSED, RECORD_FLAG_ONE, false, put_missed},
};

/* Whether the @size bytes at @at, copied to a block of their size, are one record that encodes to
 * itself. */
static bool understood(const uint8_t *at, size_t size)
{
    uint8_t room[ROOM], *exact = malloc(size);
    struct writer w = writer_over(room, sizeof(room));
    struct reader r;
    struct record record;
    bool ok;

    assert_non_null(exact);
    memcpy(exact, at, size);
    r = reader_over(bytes_of(exact, size));
    ok = frame_next(&r, &record) == 1 && r.left == 0 && again(&record, &w) == 0;
    if (ok) {
        assert_false(w.failed);
        assert_true(bytes_equal(writer_view(&w), bytes_of(exact, size)));
    }
    free(exact);
    return ok;
}

static size_t make(size_t i, uint8_t room[ROOM])
{
    struct writer w = writer_over(room, ROOM);

    records[i].put(&w);
    assert_false(w.failed);
    assert_int_equal(room[0], records[i].type);
    return w.size;
}

static void set_body(uint8_t *record, size_t size)
{
    struct writer w = writer_over(record + 4, 4);

    writer_u32(&w, (uint32_t)size);
}

static void what_is_written_is_read(void **state UNUSED)
{
    uint8_t room[ROOM];

    for (size_t i = 0; i < COUNT_OF(records); i++)
        assert_true(understood(room, make(i, room)));
}

static void no_other_size_is_understood(void **state UNUSED)
{
    uint8_t room[ROOM] = {0};

    for (size_t i = 0; i < COUNT_OF(records); i++) {
        size_t size = make(i, room);

        for (size_t cut = RECORD_HEAD_SIZE; cut < size; cut++) {
            assert_false(understood(room, cut));
            set_body(room, cut - RECORD_HEAD_SIZE);
            if (understood(room, cut))
                assert_true(records[i].has_tail);
            set_body(room, size - RECORD_HEAD_SIZE);
        }
        set_body(room, size + 1 - RECORD_HEAD_SIZE);
        if (understood(room, size + 1))
            assert_true(records[i].has_tail);
    }
}

static void an_unknown_flag_is_refused_not_ignored(void **state UNUSED)
{
    uint8_t room[ROOM];

    for (size_t i = 0; i < COUNT_OF(records); i++)
        for (int bit = 0; bit < 8; bit++) {
            size_t size = make(i, room);

            if (records[i].flags & 1 << bit)
                continue;
            room[1] |= (uint8_t)(1 << bit);
            assert_false(understood(room, size));
        }
}

static void every_changed_byte_is_refused_or_another_valid_record(void **state UNUSED)
{
    uint8_t room[ROOM];

    for (size_t i = 0; i < COUNT_OF(records); i++)
        for (size_t at = 0; at < make(i, room); at++)
            for (int value = 0; value < 256; value += 5) {
                size_t size = make(i, room);

                room[at] = (uint8_t)value;
                (void)understood(room, size); /* checks that it encodes to itself */
            }
}

/* Sets a field and expects a refusal. */
static void limits_are_kept(void **state UNUSED)
{
    uint8_t room[ROOM];
    size_t size = make(0, room);
    struct writer w;

    memset(room + RECORD_HEAD_SIZE, 0, 8); /* id 0 */
    assert_false(understood(room, size));
    size = make(0, room);
    room[RECORD_HEAD_SIZE + 12] = FOLLOW_LAST + 1;
    assert_false(understood(room, size));
    size = make(0, room);
    room[RECORD_HEAD_SIZE + 12] = FOLLOW_ALL; /* with a value */
    assert_false(understood(room, size));
    size = make(0, room);
    memset(room + RECORD_HEAD_SIZE + 27, 0xff, 2); /* window */
    assert_false(understood(room, size));
    size = make(2, room);
    room[1] |= RECORD_FLAG_RETRY; /* with a code */
    assert_false(understood(room, size));
    size = make(2, room);
    room[1] |= RECORD_FLAG_TOLD; /* with a code */
    assert_false(understood(room, size));
    size = make(8, room);
    memset(room + 2, 0, 2); /* no cause */
    assert_false(understood(room, size));
    size = make(8, room);
    memset(room + RECORD_HEAD_SIZE + 4, 0, 8); /* token */
    assert_false(understood(room, size));
    size = make(8, room);
    memset(room + RECORD_HEAD_SIZE + 22, 0, 8); /* count */
    assert_false(understood(room, size));
    w = writer_over(room, ROOM);
    record_write_reading(
        &w, &(struct record_reading){bytes_of(nobody, sizeof(nobody)), bytes_text("statement")});
    assert_false(understood(room, w.size));
    w = writer_over(room, ROOM);
    record_write_reading(
        &w, &(struct record_reading){bytes_of(nobody, sizeof(nobody)), bytes_of(NULL, 0)});
    assert_true(understood(room, w.size));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(no_other_size_is_understood),
        cmocka_unit_test(an_unknown_flag_is_refused_not_ignored),
        cmocka_unit_test(every_changed_byte_is_refused_or_another_valid_record),
        cmocka_unit_test(limits_are_kept),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
