/* SPDX-License-Identifier: Apache-2.0 */
/* Streams in the broker core, with a store in memory that can be slow, fail and lose its broker. */
#include "stream_world.h"

static void it_is_acknowledged_when_it_is_stored(void **state)
{
    struct world w;
    struct client *a, *b;
    struct item *ack;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    (void)subscribe(b, "st/**");
    drop_items(a);
    id = store_one(a, "st/x", "one");
    pump(&w);
    assert_int_equal(count_items(a, RECORD_ACK), 0);
    assert_int_equal(count_items(b, RECORD_DELIVER), 0);
    work(&w);
    ack = take(a, RECORD_ACK);
    assert_non_null(ack);
    assert_int_equal(ack->id, id);
    item_free(ack);
    assert_int_equal(count_items(b, RECORD_DELIVER), 1);
    assert_int_equal(stored_count, 1);
    world_deinit(&w);
}

/* The numbers of the one RECEIVERS there is, which must be of @id; returns how many. */
static size_t receivers(struct client *c, uint64_t id, uint32_t numbers[8])
{
    struct item *item = take(c, RECORD_RECEIVERS);
    struct reader r;
    size_t count = 0;

    assert_non_null(item);
    assert_int_equal(item->id, id);
    for (r = reader_over(bytes_of(item->payload, item->size)); r.left > 0; count++) {
        assert_true(count < 8);
        numbers[count] = reader_u32(&r);
    }
    assert_int_equal(item->total, count);
    item_free(item);
    return count;
}

static uint64_t ask_receipt(struct client *c, const char *topic)
{
    return send_publish(c, (struct record_publish){.delivery = DELIVERY_STREAM,
                                                   .receipt = true,
                                                   .topic_name = bytes_text(topic),
                                                   .payload = bytes_text("hello")});
}

static void who_is_to_have_it_is_named_once_it_is_stored(void **state)
{
    static const char *const readers[] = {"c", "a", "c", "z", "$crew", "$crew", NULL};
    uint32_t numbers[8];
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    drop_items(a);
    id = ask_receipt(a, "st/x");
    work(&w);
    assert_int_equal(receivers(a, id, numbers), 0);
    assert_int_equal(count_items(a, RECORD_ACK), 1);

    /* c is away, a asks itself, z may read nothing; one that listens, and each group. */
    (void)subscribe(b, "st/**");
    durable_components = readers;
    drop_items(a);
    id = ask_receipt(a, "st/x");
    pump(&w);
    assert_int_equal(count_items(a, RECORD_RECEIVERS), 0); /* it is not stored yet */
    work(&w);
    assert_int_equal(receivers(a, id, numbers), 4);
    assert_true(numbers[0] == 0 && numbers[1] == 0 && numbers[2] > 0 && numbers[3] > numbers[2]);

    /* What is not stored is for nobody. */
    disk = AICO_ESTORE;
    drop_items(a);
    (void)ask_receipt(a, "st/x");
    work(&w);
    assert_int_equal(count_items(a, RECORD_RECEIVERS), 0);
    world_deinit(&w);
}

static void what_cannot_be_stored_is_refused_and_shown_to_nobody(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    (void)subscribe(b, "st/**");
    drop_items(a);
    disk = AICO_ESTOREFULL;
    id = store_one(a, "st/x", "one");
    work(&w);
    expect_refused(a, id, AICO_ESTOREFULL);
    assert_int_equal(count_items(a, RECORD_ACK), 1);
    assert_int_equal(count_items(b, RECORD_DELIVER), 0);
    disk = 0;
    (void)store_one(a, "st/x", "two");
    work(&w);
    assert_int_equal(stored_count, 1);
    assert_int_equal(count_items(b, RECORD_DELIVER), 1);
    world_deinit(&w);
}

static void another_broker_stores_nothing_twice(void **state)
{
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    id = store_one(a, "st/x", "one");
    work(&w);
    (void)id;
    world_deinit(&w);
    begin(&w); /* killed, and started again; the same run of the publisher says it again */
    a = connect_as(&w, "a");
    drop_items(a);
    a->next_id = id;
    (void)store_one(a, "st/x", "one");
    work(&w);
    assert_int_equal(count_items(a, RECORD_ACK), 1);
    assert_int_equal(stored_count, 1);
    world_deinit(&w);
}

static void kinds_must_be_those_of_the_rule(void **state)
{
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    drop_items(a);
    id = publish(a, "st/x", "an event");
    work(&w);
    expect_refused(a, id, AICO_ENOTSTORED);
    id = store_one(a, "open/x", "stored");
    work(&w);
    expect_refused(a, id, AICO_ENOTSTORED);
    world_deinit(&w);
}

static void a_durable_reader_gets_everything_once(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    (void)store_one(a, "st/y", "two");
    work(&w);
    b = connect_as(&w, "b");
    s = follow(b, "d");
    expect_item(b, 1, 1);
    expect_item(b, 2, 1);
    (void)store_one(a, "st/x", "three");
    work(&w);
    expect_item(b, 3, 1);
    settle(b, s, 1, 0, false);
    settle(b, s, 3, 0, false); /* out of order */
    assert_int_equal(reader_floor, 1);
    advance(&w, DEADLINE - 1);
    work(&w);
    assert_null(take(b, RECORD_ITEM));
    settle(b, s, 2, 0, false);
    assert_int_equal(reader_floor, 3);
    advance(&w, 10 * DEADLINE);
    work(&w);
    assert_null(take(b, RECORD_ITEM));
    world_deinit(&w);
}

static void what_is_not_settled_comes_again_and_at_last_is_buried(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    work(&w);
    b = connect_as(&w, "b");
    (void)follow(b, "d");
    for (uint64_t attempt = 1; attempt <= 3; attempt++) {
        expect_item(b, 1, attempt);
        advance(&w, DEADLINE);
        work(&w);
    }
    assert_null(take(b, RECORD_ITEM));
    assert_true(buried[1]);
    world_deinit(&w);
}

static void retry_comes_soon_and_reject_goes_to_the_dead_letters(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    work(&w);
    b = connect_as(&w, "b");
    s = follow(b, "d");
    expect_item(b, 1, 1);
    settle(b, s, 1, 0, true);
    advance(&w, 100);
    work(&w);
    expect_item(b, 1, 2);
    settle(b, s, 1, AICO_EOPEN, false);
    assert_true(buried[1]);
    advance(&w, 10 * DEADLINE);
    work(&w);
    assert_null(take(b, RECORD_ITEM));
    world_deinit(&w);
}

/* The books have @text in some row. */
static void expect_row(const struct world *w, const char *text)
{
    struct buffer json = {0};

    assert_int_equal(
        broker_status_json(w->broker, w->now, bytes_text("ledger"), bytes_of(NULL, 0), &json), 0);
    if (!memmem(json.at, json.size, text, strlen(text)))
        fail_msg("%.*s", (int)json.size, (const char *)json.at);
    buffer_deinit(&json);
}

static void a_reader_that_comes_back_goes_on_and_attempts_are_remembered(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    (void)store_one(a, "st/x", "two");
    work(&w);
    b = connect_as(&w, "b");
    s = follow(b, "d");
    expect_item(b, 1, 1);
    expect_item(b, 2, 1);
    settle(b, s, 1, 0, false);
    expect_row(&w, "\"delivered\":2,\"queued\":0,\"dropped\":{},\"returned\":0}");
    client_lose_link(b);
    work(&w);
    expect_row(&w, "\"delivered\":2,\"queued\":0,\"dropped\":{},\"returned\":1}");
    b->instance++;
    client_go(b);
    drop_items(b);
    (void)follow(b, "d");
    expect_item(b, 2, 2);
    assert_null(take(b, RECORD_ITEM));
    world_deinit(&w);
}

/* Until the store has said where it stands, nothing is read from where it stood before. */
static void who_comes_back_is_read_for_from_its_own_place_only(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    for (int i = 0; i < 4; i++)
        (void)store_one(a, "st/x", "m");
    work(&w);
    b = connect_as(&w, "b");
    (void)follow_with(b, "d", 3, 3);
    for (uint64_t number = 1; number <= 3; number++)
        expect_item(b, number, 1);
    client_lose_link(b);
    work(&w);
    b->instance++;
    client_go(b);
    drop_items(b);
    (void)ask_to_follow(b, "d", 3, 4);
    (void)subscribe(b, "open/x"); /* its answer is a frame, behind which there is room */
    work(&w);
    for (uint64_t number = 1; number <= 4; number++)
        expect_item(b, number, number <= 3 ? 2 : 1);
    world_deinit(&w);
}

/* What it had not settled is not out any more: its window is its own again. */
static void who_comes_back_with_a_full_window_is_read_for(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    for (int i = 0; i < 4; i++)
        (void)store_one(a, "st/x", "m");
    work(&w);
    b = connect_as(&w, "b");
    (void)follow_with(b, "d", 3, 2);
    expect_item(b, 1, 1);
    expect_item(b, 2, 1);
    client_lose_link(b);
    work(&w);
    client_go(b);
    drop_items(b);
    s = follow_with(b, "d", 3, 2);
    expect_item(b, 1, 2);
    expect_item(b, 2, 2);
    assert_null(take(b, RECORD_ITEM));
    settle(b, s, 2, 0, false);
    expect_item(b, 3, 1);
    assert_null(take(b, RECORD_ITEM));
    settle(b, s, 1, 0, false);
    settle(b, s, 3, 0, false);
    expect_item(b, 4, 1);
    world_deinit(&w);
}

/* One settled from before, as it comes, is out no more either. */
static void the_window_holds_where_what_was_out_is_settled_on_return(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    for (int i = 0; i < 5; i++)
        (void)store_one(a, "st/x", "m");
    work(&w);
    b = connect_as(&w, "b");
    (void)follow_with(b, "d", 3, 3);
    client_lose_link(b);
    work(&w);
    client_go(b);
    drop_items(b);
    s = follow_with(b, "d", 3, 2);
    settle(b, s, 3, 0, false); /* had before, and not handed out again yet */
    expect_item(b, 1, 2);
    expect_item(b, 2, 2);
    assert_null(take(b, RECORD_ITEM));
    settle(b, s, 1, 0, false);
    expect_item(b, 4, 1);
    assert_null(take(b, RECORD_ITEM));
    world_deinit(&w);
}

static void the_window_bounds_what_is_out(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    for (int i = 0; i < 5; i++)
        (void)store_one(a, "st/x", "m");
    work(&w);
    b = connect_as(&w, "b");
    s = follow_with(b, "d", 3, 2);
    expect_item(b, 1, 1);
    expect_item(b, 2, 1);
    assert_null(take(b, RECORD_ITEM));
    settle(b, s, 1, 0, false);
    expect_item(b, 3, 1);
    assert_null(take(b, RECORD_ITEM));
    world_deinit(&w);
}

static void who_may_not_read_follows_nothing(void **state)
{
    struct world w;
    struct client *a, *d, *b;
    struct item *item;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    work(&w);
    d = connect_as(&w, "d");
    drop_items(d);
    (void)follow_with(d, "d", 3, 2);
    item = take(d, RECORD_REFUSE);
    assert_non_null(item);
    assert_int_equal(item->code, AICO_EDENIED);
    item_free(item);
    assert_null(take(d, RECORD_ITEM));
    b = connect_as(&w, "b");
    (void)follow(b, "d");
    drop_items(b);
    (void)follow_with(b, "d", 3, 2); /* twice at a time */
    item = take(b, RECORD_REFUSE);
    assert_non_null(item);
    assert_int_equal(item->code, AICO_EEXISTS);
    item_free(item);
    world_deinit(&w);
}

static void what_retention_took_is_named(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    work(&w);
    b = connect_as(&w, "b");
    (void)follow(b, "d");
    expect_item(b, 1, 1);
    stored[0].gone = true;
    advance(&w, DEADLINE);
    work(&w);
    assert_null(take(b, RECORD_ITEM));
    assert_false(buried[1]); /* nobody can look at it there */
    assert_int_equal(reader_floor, 1);
    world_deinit(&w);
}

static void expect_missed(struct client *c, uint64_t token, uint64_t count, int code,
                          uint64_t attempt)
{
    struct item *item = take(c, RECORD_MISSED);

    assert_non_null(item);
    assert_int_equal(item->id, token);
    assert_int_equal(item->count, count);
    assert_int_equal(item->code, code);
    assert_int_equal(item->value, attempt);
    assert_string_equal(item->sender, "a");
    item_free(item);
}

static void answer(struct client *c, uint32_t subscription, uint64_t token)
{
    struct writer frame = frame_begin();

    record_write_settle(&frame, &(struct record_settle){
                                    .subscription = subscription, .number = token, .told = true});
    client_send(c, &frame);
    work(c->world);
}

static uint64_t drops(struct world *w, enum broker_drop cause)
{
    struct broker_totals totals;

    broker_get_totals(w->broker, &totals);
    return totals.by_topic.dropped[cause];
}

/* Told when it comes, counted once, and told again until it says that it was. */
static void what_a_reader_misses_is_told_until_it_says_so(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    (void)store_one(a, "st/x", "two");
    work(&w);
    lose(1, 1, 1, AICO_EEXPIRED, false);
    b = connect_as(&w, "b");
    s = follow(b, "d");
    expect_missed(b, 1, 1, AICO_EEXPIRED, 1);
    expect_item(b, 2, 1);
    assert_int_equal(drops(&w, DROP_EXPIRED), 0); /* counted when it is known to be told */
    client_lose_link(b);
    client_go(b);
    s = follow(b, "d");
    expect_missed(b, 1, 1, AICO_EEXPIRED, 2);
    answer(b, s, 1);
    answer(b, s, 1);
    assert_int_equal(drops(&w, DROP_EXPIRED), 1);
    assert_int_equal(missed[0].token, 0);
    client_lose_link(b);
    client_go(b);
    (void)follow(b, "d");
    assert_null(take(b, RECORD_MISSED));
    world_deinit(&w);
}

/* What is with its reader is not missing before it has given it up. */
static void what_is_in_hand_is_not_missing_yet(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    (void)store_one(a, "st/x", "two");
    work(&w);
    b = connect_as(&w, "b");
    s = follow(b, "d");
    expect_item(b, 1, 1);
    expect_item(b, 2, 1);
    lose(1, 1, 1, AICO_ERETENTION, true);
    lose(2, 2, 1, AICO_EPURGED, true);
    settle(b, s, 2, 0, false);
    advance(&w, DEADLINE - 1);
    work(&w);
    assert_null(take(b, RECORD_MISSED));
    advance(&w, 1);
    work(&w);
    expect_missed(b, 1, 1, AICO_ERETENTION, 1);
    assert_null(take(b, RECORD_MISSED));
    assert_int_equal(reader_floor, 2);
    answer(b, s, 1);
    assert_int_equal(drops(&w, DROP_RETENTION), 1);
    assert_int_equal(drops(&w, DROP_PURGED), 0);
    world_deinit(&w);
}

static void a_broker_without_a_store_says_so(void **state)
{
    struct broker_settings settings;
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    broker_settings_default(&settings);
    world_init_with(&w, &settings, COMPONENTS, STREAM_RULES);
    a = connect_as(&w, "a");
    drop_items(a);
    id = store_one(a, "st/x", "one");
    pump(&w);
    expect_refused(a, id, AICO_ESTORE);
    world_deinit(&w);
}

/* --- queue groups -------------------------------------------------------------------------------
 */

/* The number of the next item of @c, and which attempt; 0: none. */
static uint64_t next_item(struct client *c, uint64_t *ret_attempt)
{
    struct item *item = take(c, RECORD_ITEM);
    uint64_t number = item ? item->id : 0;

    *ret_attempt = item ? item->count : 0;
    if (item)
        item_free(item);
    return number;
}

static void members_share_the_messages_and_each_is_settled_once(void **state)
{
    struct world w;
    struct client *a, *b, *c;
    uint64_t number, attempt, by_b = 0, by_c = 0;
    uint32_t of_b, of_c;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    of_b = join_with(b, 3, 2);
    of_c = join_with(c, 3, 2);
    for (int i = 0; i < 10; i++) {
        (void)store_one(a, "st/x", "job");
        work(&w);
    }
    for (int i = 0; i < 20; i++) {
        if ((number = next_item(b, &attempt)) > 0) {
            assert_int_equal(attempt, 1);
            assert_false(settled[number]);
            by_b++;
            settle(b, of_b, number, 0, false);
        }
        if ((number = next_item(c, &attempt)) > 0) {
            assert_int_equal(attempt, 1);
            assert_false(settled[number]);
            by_c++;
            settle(c, of_c, number, 0, false);
        }
    }
    assert_int_equal(by_b + by_c, 10);
    assert_in_range(by_b, 3, 7);
    assert_int_equal(reader_floor, 10);
    world_deinit(&w);
}

static void what_a_member_held_goes_to_another_when_it_dies_or_is_late(void **state)
{
    struct world w;
    struct client *a, *b, *c;
    uint32_t of_b, of_c;
    uint64_t attempt;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    of_b = join_with(b, 3, 4);
    for (int i = 0; i < 3; i++)
        (void)store_one(a, "st/x", "job");
    work(&w);
    expect_item(b, 1, 1);
    expect_item(b, 2, 1);
    expect_item(b, 3, 1);
    of_c = join_with(c, 3, 4);
    settle(b, of_b, 2, 0, false);
    assert_int_equal(reader_floor, 0); /* the first one is with b */
    client_lose_link(b);
    work(&w);
    expect_item(c, 1, 2);
    expect_item(c, 3, 2);
    settle(c, of_c, 1, 0, false);
    assert_int_equal(reader_floor, 2);

    /* Late: it goes to the other one, and who is late is not heard any more. */
    client_go(b);
    of_b = join_with(b, 3, 4);
    assert_int_equal(next_item(b, &attempt), 0);
    advance(&w, DEADLINE + 10);
    work(&w);
    expect_item(b, 3, 3);
    settle(c, of_c, 3, AICO_EDEADLETTER, false);
    assert_false(buried[3]);
    /* Delivered as often as it may be. */
    settle(b, of_b, 3, 0, true);
    advance(&w, 100);
    work(&w);
    assert_true(buried[3]);
    assert_int_equal(next_item(c, &attempt), 0);
    assert_int_equal(reader_floor, 3);
    world_deinit(&w);
}

/* A message that expired while it was out is nobody's: the group goes on, and hears of it once. */
static void a_group_is_told_by_one_member_and_does_not_wait(void **state)
{
    struct world w;
    struct client *a, *b, *c;
    struct item *item, *other;
    uint32_t of_b, of_c;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    of_b = join_with(b, 0, 16);
    of_c = join_with(c, 0, 16);
    (void)store_one(a, "st/x", "job");
    work(&w);
    lose(1, 1, 1, AICO_EEXPIRED, true);
    advance(&w, DEADLINE);
    work(&w);
    (void)store_one(a, "st/x", "job");
    work(&w);
    item = take(b, RECORD_MISSED);
    other = take(c, RECORD_MISSED);
    assert_true((item == NULL) != (other == NULL));
    answer(item ? b : c, item ? of_b : of_c, 1);
    assert_int_equal(missed[0].token, 0);
    item_free(item ? item : other);
    while ((item = take(b, RECORD_ITEM)) || (item = take(c, RECORD_ITEM))) {
        if (item->id == 2)
            settled[0] = true; /* it came */
        item_free(item);
    }
    assert_true(settled[0]);
    settle(b, of_b, 2, 0, false);
    settle(c, of_c, 2, 0, false);
    assert_int_equal(reader_floor, 2);
    world_deinit(&w);
}

static void a_member_that_is_late_is_heard_while_nobody_else_has_it(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t of_b;
    uint64_t attempt;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    of_b = join_with(b, 0, 1);
    (void)store_one(a, "st/x", "job");
    (void)store_one(a, "st/x", "job");
    work(&w);
    expect_item(b, 1, 1);
    advance(&w, DEADLINE + 10); /* given back, and read again for who is there: b itself */
    settle(b, of_b, 1, 0, false);
    assert_true(settled[1]);
    assert_int_equal(next_item(b, &attempt), 2); /* not the first one again */
    assert_int_equal(next_item(b, &attempt), 0);
    settle(b, of_b, 2, 0, false);
    assert_true(settled[2]);
    assert_int_equal(reader_floor, 2);
    world_deinit(&w);
}

static void a_group_goes_on_after_the_death_of_the_broker(void **state)
{
    struct world w;
    struct client *a, *b, *c;
    uint32_t of_b, of_c;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    of_b = join_with(b, 3, 16);
    for (int i = 0; i < 4; i++)
        (void)store_one(a, "st/x", "job");
    work(&w);
    for (uint64_t i = 1; i <= 4; i++)
        expect_item(b, i, 1);
    settle(b, of_b, 1, 0, false);
    settle(b, of_b, 3, 0, false);
    world_deinit(&w);

    begin(&w);
    c = connect_as(&w, "c");
    of_c = join_with(c, 3, 16);
    expect_item(c, 2, 1);
    expect_item(c, 4, 1);
    settle(c, of_c, 2, 0, false);
    settle(c, of_c, 4, 0, false);
    assert_int_equal(reader_floor, 4);
    world_deinit(&w);
}

static void another_filter_under_the_names_of_a_group_is_refused_while_it_is_read(void **state)
{
    struct writer frame = frame_begin();
    struct world w;
    struct client *b, *c;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    (void)join_with(b, 3, 16);
    drop_items(c);
    id = c->next_id++;
    record_write_follow(&frame, &(struct record_follow){.id = id,
                                                        .subscription = ++c->next_subscription,
                                                        .deadline_ms = DEADLINE,
                                                        .window = 1,
                                                        .name = bytes_text("jobs"),
                                                        .filter = bytes_text("st/x"),
                                                        .queue = bytes_text("work")});
    client_send(c, &frame);
    work(&w);
    expect_refused(c, id, AICO_EEXISTS);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_acknowledged_when_it_is_stored),
        cmocka_unit_test(who_is_to_have_it_is_named_once_it_is_stored),
        cmocka_unit_test(what_cannot_be_stored_is_refused_and_shown_to_nobody),
        cmocka_unit_test(another_broker_stores_nothing_twice),
        cmocka_unit_test(kinds_must_be_those_of_the_rule),
        cmocka_unit_test(a_durable_reader_gets_everything_once),
        cmocka_unit_test(what_is_not_settled_comes_again_and_at_last_is_buried),
        cmocka_unit_test(retry_comes_soon_and_reject_goes_to_the_dead_letters),
        cmocka_unit_test(a_reader_that_comes_back_goes_on_and_attempts_are_remembered),
        cmocka_unit_test(who_comes_back_is_read_for_from_its_own_place_only),
        cmocka_unit_test(who_comes_back_with_a_full_window_is_read_for),
        cmocka_unit_test(the_window_holds_where_what_was_out_is_settled_on_return),
        cmocka_unit_test(the_window_bounds_what_is_out),
        cmocka_unit_test(who_may_not_read_follows_nothing),
        cmocka_unit_test(what_retention_took_is_named),
        cmocka_unit_test(what_a_reader_misses_is_told_until_it_says_so),
        cmocka_unit_test(what_is_in_hand_is_not_missing_yet),
        cmocka_unit_test(a_group_is_told_by_one_member_and_does_not_wait),
        cmocka_unit_test(a_broker_without_a_store_says_so),
        cmocka_unit_test(members_share_the_messages_and_each_is_settled_once),
        cmocka_unit_test(what_a_member_held_goes_to_another_when_it_dies_or_is_late),
        cmocka_unit_test(a_member_that_is_late_is_heard_while_nobody_else_has_it),
        cmocka_unit_test(a_group_goes_on_after_the_death_of_the_broker),
        cmocka_unit_test(another_filter_under_the_names_of_a_group_is_refused_while_it_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
