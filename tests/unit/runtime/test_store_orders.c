/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The core's orders, carried out on a store: what comes of each kind, that a batch is stored whole
 * or not at all, and that an order sees what those before it did.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/writer.h"
#include "broker/store.h"
#include "runtime/store_orders.h"
#include "store/streams.h"

#define ORDERS_MAX 8
#define STREAM "a/**"
#define NOW_MS 1763668800000
#define BOX_LIMIT 100

static const uint8_t alice[SIGN_PUBLIC_SIZE] = {1}, bob[SIGN_PUBLIC_SIZE] = {2};
static const uint8_t key_id[STORE_KEY_ID_SIZE] = "key-id-12345";
static char path[] = "/tmp/aico-orders-XXXXXX";
static struct store_hand hand;

/* The batch that is made up next. */
static struct {
    struct store_order items[ORDERS_MAX], *list;
    size_t count;
} batch;

static void clear(void)
{
    for (size_t i = 0; i < batch.count; i++)
        buffer_deinit(&batch.items[i].out);
    memset(&batch, 0, sizeof(batch));
}

static struct store_order *order(enum store_order_kind kind)
{
    struct store_order *o = &batch.items[batch.count++];

    assert_true(batch.count <= ORDERS_MAX);
    o->kind = kind;
    o->now_ms = NOW_MS;
    o->stream = bytes_text(STREAM);
    o->filter = bytes_text(STREAM);
    o->topic = bytes_text("a/x");
    o->sender = bytes_text("alice");
    o->component = bytes_text("bob");
    o->count = 1;
    o->count_max = 100;
    o->bytes_max = 1 << 20;
    o->limit = BOX_LIMIT;
    o->scope[0] = 7;
    memcpy(o->identity, alice, sizeof(alice));
    memcpy(o->receiver, bob, sizeof(bob));
    DL_APPEND(batch.list, o);
    return o;
}

static void carry_out(void)
{
    store_orders_carry_out(&hand, batch.list);
}

static struct store_order *put(uint64_t position, const char *payload)
{
    struct store_order *o = order(STORE_PUT);

    o->position = o->publish_id = position;
    o->data = bytes_text(payload);
    return o;
}

static uint64_t put_one(uint64_t position, const char *payload, int64_t expires_ms)
{
    struct store_order *o;
    uint64_t number;

    clear();
    o = put(position, payload);
    o->expires_ms = expires_ms;
    carry_out();
    assert_int_equal(o->code, 0);
    number = o->number;
    clear();
    return number;
}

static struct store_order *question(const char *name, const char *argument)
{
    struct store_order *o = order(STORE_ASK);

    o->name = bytes_text(name);
    o->filter = bytes_text(argument);
    o->data = bytes_text("bob");
    return o;
}

/* The durable reader "d" of bob, from the beginning. */
static uint64_t follow(void)
{
    struct store_order *o;
    uint64_t reader;

    clear();
    o = order(STORE_FOLLOW);
    o->name = bytes_text("d");
    o->start = STREAMS_ALL;
    carry_out();
    assert_int_equal(o->code, 0);
    assert_true(o->reader > 0);
    reader = o->reader;
    clear();
    return reader;
}

/* The payloads in what an order answered, each in front of a comma. */
static const char *payloads(const struct store_order *o)
{
    static char text[256];
    struct bytes rest = buffer_view(&o->out);
    struct store_row row;
    size_t size = 0;

    text[0] = '\0';
    while (store_row_next(&rest, &row))
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%.*s,", (int)row.payload.size,
                                 (const char *)row.payload.at);
    return text;
}

static size_t count_missed(const struct store_order *o, int code)
{
    struct bytes rest = buffer_view(&o->out);
    struct store_missed missed;
    size_t count = 0;

    while (store_missed_next(&rest, &missed)) {
        assert_int_equal(missed.code, code);
        count += missed.count;
    }
    return count;
}

/* --- a batch ---------------------------------------------------------------------------------- */

static void an_order_sees_what_those_before_it_did(void **state UNUSED)
{
    struct store_order *one = put(1, "one"), *again = put(1, "one"), *before = order(STORE_READ);
    struct store_order *two = put(2, "two"), *after = order(STORE_READ);

    carry_out();
    assert_true(one->number > 0);
    assert_int_equal(again->code, 0);
    assert_int_equal(again->number, 0); /* it was there */
    assert_true(two->number > one->number);
    assert_string_equal(payloads(before), "one,");
    assert_string_equal(payloads(after), "one,two,");
    assert_int_equal(after->after, two->number);
    assert_false(after->more);
}

static void a_failure_is_that_of_everything_that_was_to_be_stored_with_it(void **state UNUSED)
{
    struct store_order *before = put(1, "before"), *unknown = order((enum store_order_kind)99);
    struct store_order *behind = put(2, "behind"), *read = order(STORE_READ);
    struct store_order *next = put(3, "next"), *last = order(STORE_READ);

    carry_out();
    assert_int_equal(before->code, AICO_EINTERNAL);
    assert_int_equal(unknown->code, AICO_EINTERNAL);
    assert_int_equal(behind->code, AICO_EINTERNAL);
    assert_true(behind->text[0] != '\0');
    assert_int_equal(read->code, 0);
    assert_string_equal(payloads(read), "");
    assert_int_equal(next->code, 0); /* of the next batch */
    assert_string_equal(payloads(last), "next,");
}

static void a_question_that_is_wrong_costs_the_others_nothing(void **state UNUSED)
{
    struct store_order *one = put(1, "one"), *number = question("purge", STREAM " 1x");
    struct store_order *far = question("purge", STREAM " 99999999999999999999");
    struct store_order *stream = question("purge", "b/**"), *reader = question("forget", "d");
    struct store_order *list = question("streams", "b/**"), *read = order(STORE_READ_ONE);

    read->number = 99;
    carry_out();
    assert_int_equal(one->code, 0);
    assert_int_equal(number->code, AICO_EINVAL);
    assert_int_equal(far->code, AICO_EINVAL);
    assert_int_equal(stream->code, AICO_ENOTFOUND);
    assert_int_equal(reader->code, AICO_ENOTFOUND);
    assert_int_equal(list->code, AICO_ENOTFOUND);
    assert_int_equal(read->code, AICO_ENOTFOUND);
    clear();
    read = order(STORE_READ_ONE);
    read->number = 1;
    carry_out();
    assert_string_equal(payloads(read), "one,");
}

static void purging_says_how_much_went(void **state UNUSED)
{
    uint64_t first = put_one(1, "one", 0);
    struct store_order *some, *all;
    char argument[64];

    (void)put_one(2, "two", 0);
    (void)put_one(3, "three", 0);
    (void)snprintf(argument, sizeof(argument), STREAM " %u", (unsigned)first + 1);
    some = question("purge", argument);
    all = question("purge", STREAM);
    carry_out();
    assert_true(bytes_equal_text(buffer_view(&some->out), "{\"removed\":2}"));
    assert_true(bytes_equal_text(buffer_view(&all->out), "{\"removed\":1}"));
    assert_false(all->missed); /* nobody waited for it */
}

static void a_time_before_the_last_one_is_not_stored(void **state UNUSED)
{
    struct store_order *late = put(1, "late"), *early = put(2, "early"), *read;
    struct bytes rest;
    struct store_row row;

    early->now_ms -= 5000;
    carry_out();
    assert_int_equal(late->code | early->code, 0);
    clear();
    read = order(STORE_READ);
    carry_out();
    rest = buffer_view(&read->out);
    while (store_row_next(&rest, &row))
        assert_int_equal(row.stored_ms, NOW_MS);
}

/* --- readers ---------------------------------------------------------------------------------- */

static void a_reader_goes_on_where_it_was(void **state UNUSED)
{
    uint64_t one = put_one(1, "one", 0), two = put_one(2, "two", 0), reader = follow();
    struct store_order *read, *settle, *again, *other, *nameless;

    read = order(STORE_READ);
    read->reader = reader;
    settle = order(STORE_SETTLE);
    settle->reader = reader;
    settle->number = settle->floor = one;
    again = order(STORE_READ);
    again->reader = reader;
    again->after = one;
    carry_out();
    assert_string_equal(payloads(read), "one,two,");
    assert_int_equal(settle->code, 0);
    assert_string_equal(payloads(again), "two,");
    clear();

    again = order(STORE_FOLLOW);
    again->name = bytes_text("d");
    other = order(STORE_FOLLOW);
    other->name = bytes_text("d");
    other->filter = bytes_text("b/**");
    nameless = order(STORE_FOLLOW);
    nameless->start = STREAMS_ALL;
    carry_out();
    assert_int_equal(again->reader, reader);
    assert_int_equal(again->floor, one);
    assert_int_equal(again->after, two); /* handed out, not settled */
    assert_int_equal(other->code, AICO_EEXISTS);
    assert_int_equal(nameless->code | (int)nameless->reader, 0);
    clear();

    settle = question("forget", "d");
    carry_out();
    assert_int_equal(settle->code, 0);
    assert_true(bytes_equal_text(buffer_view(&settle->out), "{\"forgotten\":true}"));
}

static void what_is_buried_is_told_unless_its_reader_said_so(void **state UNUSED)
{
    uint64_t one = put_one(1, "one", 0), two = put_one(2, "two", 0), reader = follow();
    struct store_order *own, *told, *missed, *read, *take, *after;
    struct store_missed m;
    struct bytes rest;

    own = order(STORE_BURY);
    own->reader = reader;
    own->number = own->floor = one;
    own->bury_code = AICO_EDEADLETTER;
    told = order(STORE_BURY);
    told->reader = reader;
    told->number = told->floor = two;
    told->bury_code = AICO_EDEADLETTER;
    told->again = true;
    missed = order(STORE_MISSED);
    missed->reader = reader;
    read = order(STORE_READ);
    read->reader = reader;
    read->after = two;
    carry_out();
    assert_int_equal(own->code | told->code | missed->code, 0);
    assert_int_equal(count_missed(missed, AICO_EDEADLETTER), 1);
    rest = buffer_view(&missed->out);
    assert_true(store_missed_next(&rest, &m));
    assert_int_equal(m.number, two);
    assert_string_equal(payloads(read), "");
    {
        uint64_t token = m.token;

        clear();
        take = order(STORE_MISSED_TAKE);
        take->reader = reader;
        take->number = token;
    }
    after = order(STORE_MISSED);
    after->reader = reader;
    carry_out();
    assert_int_equal(take->code, 0);
    assert_int_equal(count_missed(after, 0), 0);
}

static void what_is_void_is_missed_before_a_reader_passes_over_it(void **state UNUSED)
{
    uint64_t reader = follow();
    struct store_order *read, *missed, *nameless;

    (void)put_one(1, "void", NOW_MS + 10);
    (void)put_one(2, "lasting", 0);
    nameless = order(STORE_READ);
    nameless->now_ms = NOW_MS + 20;
    read = order(STORE_READ);
    read->reader = reader;
    read->now_ms = NOW_MS + 20;
    missed = order(STORE_MISSED);
    missed->reader = reader;
    missed->now_ms = NOW_MS + 20;
    carry_out();
    assert_string_equal(payloads(nameless), "lasting,");
    assert_string_equal(payloads(read), "lasting,");
    assert_true(read->missed);
    assert_int_equal(count_missed(missed, AICO_EEXPIRED), 1);
}

static void what_is_void_goes_from_all_streams(void **state UNUSED)
{
    struct store_order *expire;

    (void)put_one(1, "void", NOW_MS + 10);
    (void)put_one(2, "later", NOW_MS + 1000);
    expire = order(STORE_EXPIRE);
    expire->now_ms = NOW_MS + 20;
    carry_out();
    assert_int_equal(expire->code, 0);
    assert_int_equal(expire->count, 1);
    assert_false(expire->missed); /* nobody reads there */
}

/* Who asks what it misses has that looked for; all who ask together, as much as one does. */
static void who_asks_together_has_no_more_deleted_than_who_asks_alone(void **state UNUSED)
{
    enum { STEP = 2, COUNT = 5, ASKING = 3 };
    uint64_t reader = follow(), told = 0;
    struct store_order *asks[ASKING];

    for (uint64_t i = 1; i <= COUNT; i++)
        (void)put_one(i, "void", NOW_MS + 10);
    hand.rows_max = STEP;
    for (uint64_t round = 1; told < COUNT; round++) {
        clear();
        for (size_t i = 0; i < ASKING; i++) {
            asks[i] = order(STORE_MISSED);
            asks[i]->reader = reader;
            asks[i]->now_ms = NOW_MS + 20;
        }
        carry_out();
        told = count_missed(asks[ASKING - 1], AICO_EEXPIRED);
        assert_int_equal(told, MIN(STEP * round, (uint64_t)COUNT));
        /* Readers that did not ask may miss what went, so everybody is asked again. */
        assert_true(asks[0]->missed);
        assert_int_equal(asks[0]->count, told < COUNT ? STEP : COUNT % STEP);
        for (size_t i = 0; i < ASKING; i++) {
            assert_int_equal(asks[i]->code, 0);
            if (i > 0)
                assert_int_equal(asks[i]->missed, told < COUNT);
        }
    }
}

/* In steps, between which others are let in. */
static void retention_deletes_all_there_is_to_delete(void **state UNUSED)
{
    enum { COUNT = 5200, STEP = 1000 };
    uint64_t reader = follow();
    struct store_order *trim;
    size_t deleted = 0;

    assert_int_equal(streams_begin(hand.streams, NULL), 0);
    for (uint64_t i = 1; i <= COUNT; i++) {
        const struct stored_message m = {.stream = bytes_text(STREAM),
                                         .topic = bytes_text("a/x"),
                                         .identity = alice,
                                         .sender = bytes_text("alice"),
                                         .publish_id = i,
                                         .stored_ms = NOW_MS,
                                         .count = 1,
                                         .scope = {7},
                                         .position = i,
                                         .payload = bytes_text("p")};
        uint64_t number;

        assert_int_equal(streams_put(hand.streams, &m, &number, NULL, NULL), 0);
    }
    assert_int_equal(streams_commit(hand.streams, NULL), 0);
    for (bool more = true; more;) {
        trim = order(STORE_TRIM);
        trim->limits = (struct rule_store){.on = true, .count = 1};
        carry_out();
        assert_int_equal(trim->code, 0);
        assert_int_equal(trim->count, MIN((size_t)STEP, COUNT - 1 - deleted));
        assert_true(trim->missed);
        deleted += trim->count;
        more = trim->more;
        clear();
    }
    assert_int_equal(deleted, COUNT - 1);
    trim = order(STORE_MISSED);
    trim->reader = reader;
    carry_out();
    assert_int_equal(count_missed(trim, AICO_ERETENTION), COUNT - 1);
}

/* --- mailboxes and values -----------------------------------------------------------------------
 */

static struct store_order *mail(uint64_t position, const char *payload)
{
    struct store_order *o = order(STORE_MAIL);

    o->position = o->publish_id = position;
    o->data = bytes_text(payload);
    o->expires_ms = NOW_MS + 1000;
    return o;
}

static struct store_order *read_box(int64_t now_ms)
{
    struct store_order *o = order(STORE_MAIL_READ);

    memcpy(o->identity, bob, sizeof(bob)); /* whose box, whose keys */
    o->now_ms = now_ms;
    return o;
}

static void a_mailbox_is_filled_read_and_emptied(void **state UNUSED)
{
    static char much[BOX_LIMIT + 1];
    struct store_order *one = mail(1, "one"), *full, *two = mail(3, "two"), *read, *take, *trim;
    struct store_order *missed;
    uint64_t number;

    memset(much, 'm', sizeof(much) - 1);
    full = mail(2, much);
    read = read_box(NOW_MS);
    carry_out();
    assert_int_equal(one->code | two->code, 0);
    assert_true(two->value > one->value);
    assert_int_equal(full->code, AICO_EQUOTA); /* its own business */
    assert_string_equal(payloads(read), "one,two,");
    number = one->number;
    clear();

    take = order(STORE_MAIL_TAKE);
    take->number = number;
    read = read_box(NOW_MS);
    trim = order(STORE_MAIL_TRIM);
    trim->now_ms = NOW_MS + 2000;
    trim->data = bytes_of(bob, sizeof(bob)); /* he may have it at this moment */
    carry_out();
    assert_int_equal(take->code, 0);
    assert_string_equal(payloads(read), "two,");
    assert_int_equal(trim->count, 0);
    clear();

    trim = order(STORE_MAIL_TRIM);
    trim->now_ms = NOW_MS + 2000;
    missed = order(STORE_MISSED);
    carry_out();
    assert_int_equal(trim->count, 1);
    assert_true(trim->missed);
    assert_int_equal(count_missed(missed, AICO_EEXPIRED), 1);
}

/* What @o, of which more was left, is to go on with; the others of its batch are gone. */
static struct store_order *go_on(const struct store_order *o)
{
    struct store_order before = *o, *next;

    clear();
    next = order(before.kind);
    next->now_ms = before.now_ms;
    next->data = before.data;
    next->expires_ms = before.expires_ms;
    next->after = before.after;
    return next;
}

/* What may be in its owner's hands is passed over once, and not looked at for ever. */
static void what_is_void_goes_behind_a_mailbox_that_is_spared(void **state UNUSED)
{
    enum { STEP = 2, SPARED = 5, STEPS_MAX = 4 };
    struct store_order *trim;
    size_t count = 0, steps = 0;
    bool more = true;

    for (uint64_t i = 1; i <= SPARED; i++)
        (void)mail(i, "b");
    memcpy(mail(SPARED + 1, "a")->receiver, alice, sizeof(alice));
    carry_out();
    clear();
    hand.rows_max = STEP;
    trim = order(STORE_MAIL_TRIM);
    trim->now_ms = NOW_MS + 2000;
    trim->data = bytes_of(bob, sizeof(bob));
    for (; more && steps < STEPS_MAX; steps++) {
        carry_out();
        assert_int_equal(trim->code, 0);
        count += trim->count;
        more = trim->more;
        trim = go_on(trim);
    }
    assert_int_equal(count, 1);
    assert_false(more);
}

static struct store_order *value(const char *topic, uint64_t position, const char *payload)
{
    struct store_order *o = order(STORE_VALUE);

    o->topic = bytes_text(topic);
    o->position = o->publish_id = position;
    o->data = bytes_text(payload);
    o->expires_ms = NOW_MS + 1000;
    return o;
}

static void values_replace_end_and_are_dropped(void **state UNUSED)
{
    static char much[BOX_LIMIT + 1];
    struct store_order *first = value("a/x", 1, "first"), *second = value("a/x", 2, "second");
    struct store_order *other, *read = order(STORE_VALUE_READ), *trim, *drop, *after;

    memset(much, 'm', sizeof(much) - 1);
    other = value("a/y", 3, much);
    carry_out();
    assert_int_equal(first->code | second->code, 0);
    assert_string_equal(payloads(read), "second,");
    assert_int_equal(other->code, AICO_EQUOTA);
    assert_int_equal(other->value, second->value); /* what there is */
    clear();

    other = value("a/x", 4, "bob's");
    memcpy(other->identity, bob, sizeof(bob));
    other->again = true; /* it is hers */
    read = order(STORE_VALUE_READ);
    carry_out();
    assert_string_equal(payloads(read), "second,");
    clear();

    drop = order(STORE_VALUE_DROP);
    after = order(STORE_VALUE_READ);
    (void)value("a/z", 5, "void");
    trim = order(STORE_VALUE_TRIM);
    trim->now_ms = NOW_MS + 2000;
    carry_out();
    assert_int_equal(drop->code | trim->code, 0);
    assert_string_equal(payloads(after), "");
    assert_int_equal(trim->count, 1);
}

/* --- keys ------------------------------------------------------------------------------------- */

static void what_was_handed_in_is_there_at_the_next_start(void **state UNUSED)
{
    uint8_t room[128];
    struct writer entries = writer_over(room, sizeof(room));
    struct store_order *statement, *prekeys, *keys, *message, *load, *directory, *read;
    struct bytes identity, text, rest;

    writer_bytes(&entries, bytes_of(bob, sizeof(bob)));
    writer_lp16(&entries, bytes_text("what opens it"));
    statement = order(STORE_STATEMENT);
    statement->data = bytes_text("reading key");
    prekeys = order(STORE_PREKEYS);
    prekeys->data = bytes_text("prekeys");
    keys = order(STORE_KEYS);
    memcpy(keys->key_id, key_id, sizeof(key_id));
    keys->data = writer_view(&entries);
    message = put(1, "AICO-MSGkey-id-12345rest"); /* as an envelope begins */
    memset(message->scope, 0, sizeof(message->scope));
    memcpy(message->scope, key_id, sizeof(key_id));
    load = order(STORE_LOAD);
    directory = order(STORE_LOAD_PREKEYS);
    read = order(STORE_READ);
    memcpy(read->readers, bob, sizeof(bob));
    read->readers_size = sizeof(bob);
    carry_out();
    assert_int_equal(statement->code | prekeys->code | keys->code | message->code, 0);
    assert_int_equal(load->number, message->number);
    rest = buffer_view(&load->out);
    assert_true(store_statement_next(&rest, &identity, &text));
    assert_true(bytes_equal_text(text, "reading key"));
    assert_memory_equal(identity.at, alice, sizeof(alice));
    rest = buffer_view(&directory->out);
    assert_true(store_statement_next(&rest, &identity, &text));
    assert_true(bytes_equal_text(text, "prekeys"));
    {
        struct store_row row;

        rest = buffer_view(&read->out);
        assert_true(store_row_next(&rest, &row));
        assert_true(bytes_equal_text(row.key, "what opens it"));
    }
}

/* --- set up ----------------------------------------------------------------------------------- */

static int set_up(void **state UNUSED)
{
    struct aico_error err = {0};
    int fd;

    (void)snprintf(path, sizeof(path), "/tmp/aico-orders-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)unlink(path);
    memset(&hand, 0, sizeof(hand));
    if (streams_open(path, &hand.streams, &err) < 0)
        fail_msg("%s", err.text);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char name[sizeof(path) + 8];

    clear();
    streams_close(&hand.streams);
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
    return 0;
}

#define ORDERS_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static struct store_order *leave_key(uint8_t generation, char entry[32 + 2 + 6])
{
    struct store_order *o = order(STORE_KEYS);

    memset(entry, 0, 32 + 2 + 6);
    entry[33] = 6;
    memcpy(o->key_id, key_id, sizeof(key_id));
    o->key_id[0] = generation;
    o->data = bytes_of(entry, 32 + 2 + 6);
    return o;
}

static struct store_order *put_sealed(uint8_t generation)
{
    struct store_order *o = put(1, "AICO-MSG");

    memset(o->scope, 0, sizeof(o->scope));
    memcpy(o->scope, key_id, sizeof(key_id));
    o->scope[0] = generation;
    return o;
}

/* A message is not said to be stored where what opens it found no room. */
static void what_is_sealed_with_keys_that_found_no_room_is_refused(void **state UNUSED)
{
    struct store_order *first, *second, *refused[2], *other, *value;
    char entries[2][32 + 2 + 6];

    streams_limit(hand.streams, &(struct streams_limits){.readers = 9, .marks = 9, .keys = 100});
    clear();
    (void)leave_key('1', entries[0]);
    second = leave_key('2', entries[1]);
    first = put_sealed('1');
    refused[0] = put_sealed('2');
    other = put_sealed('2');
    memcpy(other->identity, bob, sizeof(bob));
    value = put_sealed('2');
    value->kind = STORE_VALUE;
    carry_out();
    assert_int_equal(second->code, AICO_EQUOTA);
    assert_int_equal(first->code, 0);
    assert_int_equal(refused[0]->code, AICO_EQUOTA);
    assert_non_null(strstr(refused[0]->text, "alice"));
    assert_int_equal(value->code, AICO_EQUOTA);
    assert_int_equal(other->code, 0); /* who has the same, by chance or not */
    clear();

    /* Left again, with room: by then it is stored. */
    streams_limit(hand.streams, &(struct streams_limits){.readers = 9, .marks = 9, .keys = 999});
    refused[1] = put_sealed('2');
    (void)leave_key('2', entries[1]);
    first = put_sealed('2');
    carry_out();
    assert_int_equal(refused[1]->code, AICO_EQUOTA);
    assert_int_equal(first->code, 0);
    assert_true(first->number > 0);
    clear();
}

static void a_reader_too_many_is_its_own_failure(void **state UNUSED)
{
    struct store_order *follow, *stored;

    streams_limit(hand.streams, &(struct streams_limits){.readers = 0, .marks = 1, .keys = 0});
    clear();
    follow = order(STORE_FOLLOW);
    follow->name = bytes_text("d");
    stored = put(1, "one");
    (void)put(1, "two");
    batch.items[2].topic = bytes_text("a/y");
    carry_out();
    assert_int_equal(follow->code, AICO_EQUOTA);
    assert_int_equal(stored->code, 0);
    assert_true(stored->number > 0);
    assert_int_equal(batch.items[2].code, AICO_EQUOTA);
    clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ORDERS_TEST(what_is_sealed_with_keys_that_found_no_room_is_refused),
        ORDERS_TEST(a_reader_too_many_is_its_own_failure),
        ORDERS_TEST(an_order_sees_what_those_before_it_did),
        ORDERS_TEST(a_failure_is_that_of_everything_that_was_to_be_stored_with_it),
        ORDERS_TEST(a_question_that_is_wrong_costs_the_others_nothing),
        ORDERS_TEST(purging_says_how_much_went),
        ORDERS_TEST(a_time_before_the_last_one_is_not_stored),
        ORDERS_TEST(a_reader_goes_on_where_it_was),
        ORDERS_TEST(what_is_buried_is_told_unless_its_reader_said_so),
        ORDERS_TEST(what_is_void_is_missed_before_a_reader_passes_over_it),
        ORDERS_TEST(what_is_void_goes_from_all_streams),
        ORDERS_TEST(who_asks_together_has_no_more_deleted_than_who_asks_alone),
        ORDERS_TEST(retention_deletes_all_there_is_to_delete),
        ORDERS_TEST(a_mailbox_is_filled_read_and_emptied),
        ORDERS_TEST(what_is_void_goes_behind_a_mailbox_that_is_spared),
        ORDERS_TEST(values_replace_end_and_are_dropped),
        ORDERS_TEST(what_was_handed_in_is_there_at_the_next_start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
