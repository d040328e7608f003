/* SPDX-License-Identifier: Apache-2.0 */
/* Delivery kinds at the broker: what may wait how long, and who gets it. */
#include "world.h"

static uint64_t publish_ttl(struct client *c, const char *topic, const char *payload,
                            uint32_t ttl_ms)
{
    return send_publish(c, (struct record_publish){.topic_name = bytes_text(topic),
                                                   .ttl_ms = ttl_ms,
                                                   .payload = bytes_text(payload)});
}

/* The next GAP of @c says that @count are missing for @code. */
#define expect_gap(c, wanted_code, wanted_count)                                                   \
    do {                                                                                           \
        struct item *gap_ = take(c, RECORD_GAP);                                                   \
        if (!gap_)                                                                                 \
            fail_msg("no GAP");                                                                    \
        if (gap_->code != (wanted_code))                                                           \
            fail_msg("GAP of %s", aico_error_name(gap_->code));                                    \
        assert_int_equal(gap_->count, wanted_count);                                               \
        item_free(gap_);                                                                           \
    } while (0)

/* --- time to live --------------------------------------------------------------------------- */

static void what_waits_too_long_becomes_a_gap_in_its_place(void **state UNUSED)
{
    struct broker_totals totals;
    struct world w;
    struct client *a, *b;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    publish_ttl(a, "open/x", "short", 100);
    publish_ttl(a, "open/x", "long", 100000);
    publish_ttl(a, "open/x", "short as well", 120);
    publish(a, "open/x", "for ever");
    pump(&w);
    advance(&w, 300);
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    expect_gap(b, AICO_EEXPIRED, 1);
    expect_delivered(b, "open/x", "a", "long");
    expect_gap(b, AICO_EEXPIRED, 1);
    expect_delivered(b, "open/x", "a", "for ever");
    broker_get_totals(w.broker, &totals);
    assert_int_equal(totals.by_topic.dropped[DROP_EXPIRED], 2);
    assert_int_equal(totals.by_topic.delivered, 2);
    assert_string_equal(broker_drop_name(DROP_EXPIRED), "expired");
    world_deinit(&w);
}

static void what_is_in_time_is_delivered(void **state UNUSED)
{
    struct world w;
    struct client *a, *b;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    publish_ttl(a, "open/x", "just", 100);
    pump(&w);
    advance(&w, 99);
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    expect_delivered(b, "open/x", "a", "just");
    expect_nothing(b, RECORD_GAP);
    world_deinit(&w);
}

/* Nobody has to write for the memory of what is void to come back. */
static void it_is_dropped_without_waiting_for_its_reader(void **state UNUSED)
{
    struct broker_totals totals;
    struct world w;
    struct client *a, *b;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    publish_ttl(a, "open/x", "short", 100);
    pump(&w);
    advance(&w, 200);
    broker_get_totals(w.broker, &totals);
    assert_int_equal(totals.by_topic.dropped[DROP_EXPIRED], 1);
    assert_int_equal(totals.by_topic.queued, 0);
    world_deinit(&w);
}

static void a_direct_message_expires_as_well(void **state UNUSED)
{
    struct world w;
    struct client *a, *b;
    struct item *gap;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    send_publish(a, (struct record_publish){.to = NUMBER_BY_NAME,
                                            .to_name = bytes_text("b"),
                                            .topic_name = bytes_text("open/x"),
                                            .ttl_ms = 50,
                                            .payload = bytes_text("direct")});
    pump(&w);
    advance(&w, 100);
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    gap = take(b, RECORD_GAP);
    assert_non_null(gap);
    assert_true(gap->direct && gap->code == AICO_EEXPIRED && gap->count == 1);
    item_free(gap);
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void a_large_message_expires_as_a_whole(void **state UNUSED)
{
    static uint8_t bytes[60000];
    struct world w;
    struct client *a, *b;

    world_init(&w);
    a = connect_as(&w, "a");
    b = client_new(&w, "b");
    b->window = FRAME_SIZE_MAX;
    b->gives_credit = false;
    client_go(b);
    subscribe(b, "open/#");
    for (uint32_t at = 0; at < 180000; at += sizeof(bytes)) {
        struct record_publish p = {.id = 50,
                                   .topic_name = bytes_text("open/x"),
                                   .ttl_ms = 100,
                                   .fragment = true,
                                   .total = 180000,
                                   .offset = at,
                                   .payload = bytes_of(bytes, sizeof(bytes))};

        advance(&w, 10);
        send_publish(a, p);
        pump(&w);
    }
    assert_int_equal(count_items(b, RECORD_DELIVER), 1); /* no credit for more */
    advance(&w, 200);
    expect_gap(b, AICO_EEXPIRED, 1);
    give_credit(b, FRAME_SIZE_MAX);
    pump(&w);
    assert_int_equal(count_items(b, RECORD_DELIVER), 1);
    world_deinit(&w);
}

/* --- queue groups --------------------------------------------------------------------------- */

static size_t delivered(const struct client *c)
{
    return count_items(c, RECORD_DELIVER);
}

static void one_member_of_a_group_gets_each_message(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c, *d;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    d = connect_as(&w, "d");
    subscribe_queue(b, "open/#", "workers");
    subscribe_queue(c, "open/x", "workers");
    subscribe(d, "open/x");
    for (int i = 0; i < 10; i++) {
        publish(a, "open/x", "job");
        pump(&w);
    }
    assert_int_equal(delivered(b) + delivered(c), 10);
    assert_int_equal(delivered(b), 5); /* in turn, while nothing waits */
    assert_int_equal(delivered(d), 10);
    world_deinit(&w);
}

static void two_groups_each_get_it_and_a_reader_of_all_once(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe_queue(b, "open/#", "one");
    subscribe_queue(b, "open/#", "two");
    subscribe_queue(c, "open/x", "one");
    subscribe_queue(c, "open/*", "one");
    subscribe(c, "open/x"); /* so the others of the group get what the group gets */
    for (int i = 0; i < 6; i++) {
        publish(a, "open/x", "job");
        pump(&w);
    }
    assert_int_equal(delivered(b), 6);
    assert_int_equal(delivered(c), 6);
    world_deinit(&w);
}

static void it_goes_to_who_has_the_least_waiting(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe_queue(b, "open/#", "workers");
    subscribe_queue(c, "open/#", "workers");
    b->stalled = true;
    for (int i = 0; i < 10; i++) {
        publish(a, "open/x", "job");
        pump(&w);
    }
    assert_int_equal(delivered(c), 9);
    world_deinit(&w);
}

static void what_waits_for_a_member_that_leaves_goes_to_another(void **state UNUSED)
{
    struct broker_totals totals;
    struct world w;
    struct client *a, *b, *c;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_queue(b, "open/#", "workers");
    b->stalled = true;
    for (int i = 0; i < 4; i++)
        publish(a, "open/x", "job");
    pump(&w);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    client_lose_link(b);
    pump(&w);
    assert_int_equal(delivered(c), 4);
    expect_nothing(c, RECORD_GAP);
    broker_get_totals(w.broker, &totals);
    assert_int_equal(totals.by_topic.delivered, 4);
    assert_int_equal(totals.by_topic.routed, 4);
    world_deinit(&w);
}

static void what_was_handed_to_one_that_dies_is_named_to_another(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_queue(b, "open/#", "workers");
    for (int i = 0; i < 5; i++)
        publish(a, "open/x", "job");
    pump(&w);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    send_ack(b, 2);
    client_lose_link(b);
    pump(&w);
    expect_gap(c, AICO_EPEERAWAY, 3);
    assert_int_equal(delivered(c), 0); /* the work may be done already: it is not done twice */
    world_deinit(&w);
}

/* Ten of 40 KB for a member that stands still, in 200 KB. */
static struct client *overflow(struct world *w, struct client *a)
{
    struct client *b = connect_as(w, "b");

    subscribe_queue(b, "open/#", "workers");
    b->stalled = true;
    for (int i = 0; i < 10; i++)
        publish_size(a, "open/x", 40000);
    pump(w);
    return b;
}

static void what_was_dropped_for_one_that_dies_is_named_to_another(void **state UNUSED)
{
    struct broker_settings settings;
    struct world w;
    struct client *a, *b, *c;

    broker_settings_default(&settings);
    settings.outbox_limit = 200 * 1024;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = overflow(&w, a);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    client_lose_link(b);
    pump(&w);
    assert_int_equal(delivered(c), 5);
    expect_gap(c, AICO_ESLOW, 5);
    expect_nothing(c, RECORD_GAP);
    world_deinit(&w);
}

/* The report left, and nobody said that it came. */
static void a_gap_is_told_again_unless_it_was_acknowledged(void **state UNUSED)
{
    struct broker_settings settings;
    struct world w;
    struct client *a, *b, *c;

    broker_settings_default(&settings);
    settings.outbox_limit = 200 * 1024;
    for (int acknowledged = 0; acknowledged < 2; acknowledged++) {
        world_init_with(&w, &settings, COMPONENTS, RULES);
        a = connect_as(&w, "a");
        b = overflow(&w, a);
        b->stalled = false;
        broker_all_writable(w.broker);
        pump(&w);
        expect_gap(b, AICO_ESLOW, 5);
        if (acknowledged)
            send_ack(b, 6); /* the gap, and five messages */
        c = connect_as(&w, "c");
        subscribe_queue(c, "open/#", "workers");
        client_lose_link(b);
        pump(&w);
        if (!acknowledged) {
            expect_gap(c, AICO_ESLOW, 5);
            expect_gap(c, AICO_EPEERAWAY, 5);
        }
        expect_nothing(c, RECORD_GAP);
        world_deinit(&w);
    }
}

static void unsubscribe(struct client *c, uint32_t number)
{
    struct writer f = frame_begin();

    record_write_unsubscribe(&f, c->next_id++, number);
    client_send(c, &f);
    pump(c->world);
}

static struct broker_settings small_outbox(void)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    settings.outbox_limit = 200 * 1024;
    return settings;
}

/* It stays connected, but drops what it is told of a group it is not in. */
static void who_leaves_a_group_leaves_its_losses_to_the_others(void **state UNUSED)
{
    struct broker_settings settings = small_outbox();
    struct world w;
    struct client *a, *b, *c;

    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = overflow(&w, a);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    unsubscribe(b, b->next_subscription - 1);
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    assert_int_equal(delivered(c), 5);
    expect_gap(c, AICO_ESLOW, 5);
    expect_nothing(b, RECORD_GAP);
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void what_it_was_handed_is_named_when_it_leaves_the_group(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c;
    uint32_t number;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    number = subscribe_queue(b, "open/#", "workers");
    subscribe_queue(b, "open/#", "others");
    for (int i = 0; i < 3; i++)
        publish(a, "open/x", "job");
    pump(&w);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    subscribe_queue(c, "open/#", "others");
    send_ack(b, 1);
    unsubscribe(b, number);
    expect_gap(c, AICO_EPEERAWAY, 2);
    client_lose_link(b);
    pump(&w);
    expect_nothing(c, RECORD_GAP); /* once */
    world_deinit(&w);
}

static void a_large_message_for_one_that_leaves_the_group_is_named(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c, *d;
    uint32_t number;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    number = subscribe_queue(b, "open/#", "workers");
    publish_fragment(a, "open/x", 50, 100000, 0, 60000);
    pump(&w);
    b->stalled = true;
    d = connect_as(&w, "d");
    publish_fragment(d, "open/y", 50, 100000, 0, 60000); /* and one that waits */
    pump(&w);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    unsubscribe(b, number);
    expect_gap(c, AICO_EPEERAWAY, 1);
    expect_gap(c, AICO_EPEERAWAY, 1);
    publish_fragment(a, "open/x", 50, 100000, 60000, 40000);
    publish_fragment(d, "open/y", 50, 100000, 60000, 40000);
    pump(&w);
    expect_nothing(c, RECORD_DELIVER);
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    assert_int_equal(delivered(b), 1); /* the fragment that had left */
    expect_nothing(b, RECORD_GAP);
    world_deinit(&w);
}

static void a_new_registry_gives_a_groups_messages_to_who_may_read_them(void **state UNUSED)
{
    struct registry *registry;
    struct world w;
    struct client *a, *b, *c;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_queue(b, "open/#", "workers");
    b->stalled = true;
    for (int i = 0; i < 4; i++)
        publish(a, "open/x", "job");
    pump(&w);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    registry = registry_make(2, COMPONENTS, "open/** publish * subscribe a,c,d seal none\n");
    broker_set_registry(w.broker, w.now, registry);
    registry_unref(&registry);
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    assert_int_equal(delivered(c), 4);
    expect_nothing(c, RECORD_GAP);
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void nor_when_it_was_the_publisher_that_lost_its_right(void **state UNUSED)
{
    struct registry *registry;
    struct world w;
    struct client *a, *b, *c;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_queue(b, "open/#", "workers");
    b->stalled = true;
    publish(a, "open/x", "job");
    pump(&w);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    registry = registry_make(2, COMPONENTS, "open/** publish d subscribe * seal none\n");
    broker_set_registry(w.broker, w.now, registry);
    registry_unref(&registry);
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    assert_int_equal(delivered(b) + delivered(c), 0);
    expect_gap(b, AICO_EDENIED, 1);
    world_deinit(&w);
}

/* @count messages, each on a topic of its own, that only leave gaps at @b. */
static void leave_gaps(struct client *a, int count)
{
    char topic[32];

    for (int i = 0; i < count; i++) {
        (void)snprintf(topic, sizeof(topic), "open/t%d", i);
        publish_size(a, topic, i < count - 50 ? 400 : 4000);
        if (i % 50 == 49)
            pump(a->world);
    }
    pump(a->world);
}

/* Hundreds of reports that nobody merges are not the slowness of who inherits them. */
static void who_inherits_losses_is_not_ended_for_them(void **state UNUSED)
{
    struct broker_settings settings = small_outbox();
    struct world w;
    struct client *a, *b, *c;

    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_queue(b, "open/#", "workers");
    b->stalled = true;
    leave_gaps(a, 1550);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    client_lose_link(b);
    publish_size(a, "open/z", 60000);
    publish_size(a, "open/z", 60000);
    pump(&w);
    assert_int_equal(c->kicked, 1); /* as each is, once: connected */
    expect_nothing(c, RECORD_BYE);
    assert_true(count_items(c, RECORD_GAP) > 1400);
    world_deinit(&w);
}

static void what_one_inherits_is_bounded(void **state UNUSED)
{
    struct broker_settings settings = small_outbox();
    struct world w;
    struct client *a, *b, *c;

    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = client_new(&w, "b");
    c = connect_as(&w, "c");
    for (int round = 0; round < 4; round++) {
        struct writer f = frame_begin();

        client_go(b);
        subscribe_queue(b, "open/#", "workers");
        b->stalled = true;
        leave_gaps(a, 1550);
        c->stalled = true;
        record_write_subscribe(&f,
                               &(struct record_subscribe){.id = c->next_id++,
                                                          .subscription = c->next_subscription++,
                                                          .filter = bytes_text("open/#"),
                                                          .queue = bytes_text("workers")});
        client_send(c, &f);
        pump(&w);
        client_lose_link(b);
        b->stalled = false;
        unsubscribe(c, c->next_subscription - 1);
        advance(&w, 5000);
    }
    c->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    expect_nothing(c, RECORD_BYE);
    assert_true(count_items(c, RECORD_GAP) > 1400);
    assert_true(count_items(c, RECORD_GAP) <= settings.outbox_limit / 128);
    world_deinit(&w);
}

static void two_groups_have_a_message_each_if_they_can(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c, *d;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_queue(b, "open/#", "one");
    subscribe_queue(b, "open/#", "two");
    c = connect_as(&w, "c");
    d = connect_as(&w, "d");
    subscribe_queue(c, "open/#", "one");
    subscribe_queue(d, "open/#", "two");
    c->stalled = d->stalled = true;
    for (int i = 0; i < 4; i++) { /* what waits for them makes b the better one of both */
        publish(a, "open/x", "job");
        pump(&w);
    }
    c->stalled = d->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    assert_int_equal(delivered(b) + delivered(c) + delivered(d), 8);
    world_deinit(&w);
}

static void a_session_is_in_few_groups(void **state UNUSED)
{
    struct record_subscribe subscribe = {.filter = bytes_text("open/#")};
    struct world w;
    struct client *b;
    char name[16];

    world_init(&w);
    b = connect_as(&w, "b");
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 64; i++) {
            (void)snprintf(name, sizeof(name), "q%d", i);
            subscribe_queue(b, "open/#", name);
            subscribe_queue(b, "open/x", name); /* in the same one */
        }
        subscribe.id = b->next_id++;
        subscribe.subscription = b->next_subscription;
        subscribe.queue = bytes_text("one more");
        {
            struct writer f = frame_begin();

            record_write_subscribe(&f, &subscribe);
            client_send(b, &f);
        }
        pump(&w);
        expect_refused(b, subscribe.id, AICO_EQUOTA);
        for (uint32_t i = 1; i <= 128; i++)
            unsubscribe(b, b->next_subscription - i);
        drop_items(b);
        advance(&w, 10000);
    }
    world_deinit(&w);
}

static void an_ack_of_what_was_never_sent_is_a_breach(void **state UNUSED)
{
    struct world w;
    struct client *a, *b;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_queue(b, "open/#", "workers");
    publish(a, "open/x", "job");
    pump(&w);
    send_ack(b, 1);
    pump(&w);
    assert_int_equal(b->kicked, 1);
    send_ack(b, 2);
    pump(&w);
    expect_bye(b, AICO_EPROTO);
    world_deinit(&w);
}

static void who_leaves_a_group_leaves_what_waits_to_the_others(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c;
    struct writer f;
    uint32_t number;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    number = subscribe_queue(b, "open/#", "workers");
    b->stalled = true;
    publish(a, "open/x", "job");
    pump(&w);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    f = frame_begin();
    record_write_unsubscribe(&f, b->next_id++, number);
    client_send(b, &f);
    pump(&w);
    assert_int_equal(delivered(c), 1);
    world_deinit(&w);
}

static void a_large_message_for_a_member_that_dies_is_named(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_queue(b, "open/#", "workers");
    publish_fragment(a, "open/x", 50, 100000, 0, 60000);
    pump(&w);
    c = connect_as(&w, "c");
    subscribe_queue(c, "open/#", "workers");
    client_lose_link(b);
    pump(&w);
    expect_gap(c, AICO_EPEERAWAY, 1);
    publish_fragment(a, "open/x", 50, 100000, 60000, 40000);
    pump(&w);
    expect_nothing(c, RECORD_DELIVER);
    world_deinit(&w);
}

static void what_is_sealed_for_each_reader_has_no_group(void **state UNUSED)
{
    struct broker_settings settings;
    struct world w;
    struct client *b;
    struct writer f;

    broker_settings_default(&settings);
    world_init_with(&w, &settings, COMPONENTS,
                    "pair/** publish * subscribe * seal channel\n"
                    "open/** publish * subscribe * seal none\n");
    b = connect_as(&w, "b");
    f = frame_begin();
    record_write_subscribe(&f, &(struct record_subscribe){.id = 1,
                                                          .subscription = 1,
                                                          .filter = bytes_text("pair/x"),
                                                          .queue = bytes_text("q")});
    client_send(b, &f);
    pump(&w);
    expect_refused(b, 1, AICO_EINVAL);
    b->next_id = 2;
    b->next_subscription = 2;
    subscribe_queue(b, "open/x", "q");
    world_deinit(&w);
}

/* --- retained values ------------------------------------------------------------------------ */

static uint64_t retain(struct client *c, const char *topic, const char *payload, uint32_t ttl_ms)
{
    return send_publish(c, (struct record_publish){.delivery = DELIVERY_RETAINED,
                                                   .topic_name = bytes_text(topic),
                                                   .ttl_ms = ttl_ms,
                                                   .payload = bytes_text(payload)});
}

static void who_subscribes_later_is_sent_the_last_value(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c;
    struct item *item;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/x");
    retain(a, "open/x", "one", 0);
    retain(a, "open/x", "two", 0);
    retain(a, "open/y", "other", 0);
    pump(&w);
    item = take(b, RECORD_DELIVER);
    assert_true(item->delivery == DELIVERY_RETAINED && !item->kept);
    item_free(item);
    expect_delivered(b, "open/x", "a", "two");
    c = connect_as(&w, "c");
    subscribe(c, "open/x");
    item = take(c, RECORD_DELIVER);
    assert_non_null(item);
    assert_true(item->delivery == DELIVERY_RETAINED && item->kept && !item->direct);
    assert_true(bytes_equal_text(bytes_of(item->payload, item->size), "two"));
    item_free(item);
    expect_nothing(c, RECORD_DELIVER);
    subscribe(c, "open/*");
    assert_int_equal(count_items(c, RECORD_DELIVER), 2);
    subscribe_queue(b, "open/y", "q"); /* one of many has no value of its own */
    expect_nothing(b, RECORD_DELIVER);
    subscribe(a, "open/#"); /* nor is anybody told its own */
    expect_nothing(a, RECORD_DELIVER);
    world_deinit(&w);
}

static void a_value_expires_and_goes_with_the_right_to_say_it(void **state UNUSED)
{
    struct registry *registry;
    struct world w;
    struct client *a, *b;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    retain(a, "open/x", "short", 100);
    retain(a, "up/x", "a may say it", 0);
    pump(&w);
    advance(&w, 200);
    subscribe(b, "open/x");
    expect_nothing(b, RECORD_DELIVER);
    registry = registry_make(2, COMPONENTS,
                             "up/** publish c subscribe b,admin seal none\n"
                             "open/** publish * subscribe * seal none\n");
    broker_set_registry(w.broker, w.now, registry);
    registry_unref(&registry);
    pump(&w);
    subscribe(b, "up/x");
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void values_are_bounded_by_count_and_bytes(void **state UNUSED)
{
    static const uint8_t large[400];
    struct broker_settings settings;
    struct world w;
    struct client *a;
    uint64_t id;

    broker_settings_default(&settings);
    settings.max_retained = 2;
    settings.retained_limit = 300;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    retain(a, "open/1", "x", 0);
    retain(a, "open/2", "x", 0);
    id = retain(a, "open/3", "x", 0);
    pump(&w);
    expect_refused(a, id, AICO_EFULL);
    retain(a, "open/2", "another", 0);
    pump(&w);
    expect_nothing(a, RECORD_REFUSE);
    id = send_publish(a, (struct record_publish){.delivery = DELIVERY_RETAINED,
                                                 .topic_name = bytes_text("open/2"),
                                                 .payload = bytes_of(large, sizeof(large))});
    pump(&w);
    expect_refused(a, id, AICO_EFULL);
    world_deinit(&w);
}

static void fewer_values_from_now_on_forget_none(void **state UNUSED)
{
    struct broker_settings settings;
    struct world w;
    struct client *a, *b;
    uint64_t id;

    broker_settings_default(&settings);
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    retain(a, "open/1", "x", 0);
    retain(a, "open/2", "x", 0);
    pump(&w);
    settings.max_retained = 1;
    broker_set_settings(w.broker, w.now, &settings);
    id = retain(a, "open/3", "x", 0);
    pump(&w);
    expect_refused(a, id, AICO_EFULL);
    retain(a, "open/1", "y", 0); /* a topic that has one may change it */
    pump(&w);
    expect_nothing(a, RECORD_REFUSE);
    subscribe(b, "open/*");
    assert_int_equal(count_items(b, RECORD_DELIVER), 2);
    world_deinit(&w);
}

static void a_value_goes_to_one_only_as_a_copy(void **state UNUSED)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    id = publish_to(a, "b", "open/x", DELIVERY_RETAINED, "value");
    pump(&w);
    expect_refused(a, id, AICO_EINVAL);
    send_publish(a, (struct record_publish){.delivery = DELIVERY_RETAINED,
                                            .to = NUMBER_BY_NAME,
                                            .to_name = bytes_text("b"),
                                            .copy = true,
                                            .topic_name = bytes_text("open/x"),
                                            .payload = bytes_text("value")});
    pump(&w);
    expect_delivered(b, "open/x", "a", "value");
    subscribe(b, "open/x"); /* it was not kept */
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

/* --- last wills ----------------------------------------------------------------------------- */

static void a_will_is_published_when_its_client_dies(void **state UNUSED)
{
    struct world w;
    struct client *a, *b;
    struct item *item;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    send_will(a, "open/x", "first");
    send_will(a, "open/x", "gone"); /* it takes the place of the one before */
    assert_int_equal(count_items(a, RECORD_OK), 2);
    client_lose_link(a);
    pump(&w);
    advance(&w, 2900); /* it may come back */
    expect_nothing(b, RECORD_DELIVER);
    advance(&w, 200);
    item = take(b, RECORD_DELIVER);
    assert_non_null(item);
    assert_true(item->kept && item->delivery == DELIVERY_EVENT && !item->direct);
    assert_string_equal(item->sender, "a");
    assert_true(bytes_equal_text(bytes_of(item->payload, item->size), "gone"));
    item_free(item);
    advance(&w, 700000);
    expect_nothing(b, RECORD_DELIVER); /* once */
    world_deinit(&w);
}

static void who_says_goodbye_or_comes_back_in_time_leaves_none(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c;
    struct writer f;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe(b, "open/#");
    send_will(a, "open/x", "gone");
    f = frame_begin();
    record_write_bye(&f, &(struct record_bye){.code = 0});
    client_send(a, &f);
    pump(&w);
    send_will(c, "open/x", "gone");
    client_lose_link(c);
    pump(&w);
    advance(&w, 2000);
    client_go(c); /* the same process */
    advance(&w, 60000);
    expect_nothing(b, RECORD_DELIVER);
    client_lose_link(c); /* and its will is still there */
    pump(&w);
    advance(&w, 4000);
    expect_delivered(b, "open/x", "c", "gone");
    world_deinit(&w);
}

static void a_new_process_or_a_kick_publishes_it_at_once(void **state UNUSED)
{
    struct world w;
    struct client *a, *b, *c;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe(b, "open/#");
    send_will(a, "open/x", "a is gone");
    client_lose_link(a);
    pump(&w);
    a->instance += 77;
    client_go(a);
    expect_delivered(b, "open/x", "a", "a is gone");
    send_will(c, "open/x", "c is gone");
    assert_true(broker_kick(w.broker, w.now, bytes_text("c"), AICO_EKICKED, NULL));
    pump(&w);
    advance(&w, 100);
    expect_delivered(b, "open/x", "c", "c is gone");
    world_deinit(&w);
}

static void a_will_needs_the_right_to_say_it_then_and_now(void **state UNUSED)
{
    struct registry *registry;
    struct world w;
    struct client *a, *b;
    uint64_t id;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "up/#");
    id = send_will(b, "up/x", "may not");
    expect_refused(b, id, AICO_EDENIED);
    id = send_will(a, "$bus/heads", "may not");
    expect_refused(a, id, AICO_EDENIED);
    id = send_will(a, "sealed/x", "in clear");
    expect_refused(a, id, AICO_EDENIED);
    send_will(a, "up/x", "gone");
    send_will(a, "up/x", ""); /* withdrawn */
    send_will(a, "up/x", "gone");
    registry = registry_make(2, COMPONENTS, "up/** publish c subscribe b,admin seal none\n");
    broker_set_registry(w.broker, w.now, registry);
    registry_unref(&registry);
    client_lose_link(a);
    pump(&w);
    advance(&w, 4000);
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_waits_too_long_becomes_a_gap_in_its_place),
        cmocka_unit_test(what_is_in_time_is_delivered),
        cmocka_unit_test(it_is_dropped_without_waiting_for_its_reader),
        cmocka_unit_test(a_direct_message_expires_as_well),
        cmocka_unit_test(a_large_message_expires_as_a_whole),
        cmocka_unit_test(one_member_of_a_group_gets_each_message),
        cmocka_unit_test(two_groups_each_get_it_and_a_reader_of_all_once),
        cmocka_unit_test(it_goes_to_who_has_the_least_waiting),
        cmocka_unit_test(what_waits_for_a_member_that_leaves_goes_to_another),
        cmocka_unit_test(what_was_handed_to_one_that_dies_is_named_to_another),
        cmocka_unit_test(what_was_dropped_for_one_that_dies_is_named_to_another),
        cmocka_unit_test(a_gap_is_told_again_unless_it_was_acknowledged),
        cmocka_unit_test(who_leaves_a_group_leaves_its_losses_to_the_others),
        cmocka_unit_test(what_it_was_handed_is_named_when_it_leaves_the_group),
        cmocka_unit_test(a_large_message_for_one_that_leaves_the_group_is_named),
        cmocka_unit_test(a_new_registry_gives_a_groups_messages_to_who_may_read_them),
        cmocka_unit_test(nor_when_it_was_the_publisher_that_lost_its_right),
        cmocka_unit_test(who_inherits_losses_is_not_ended_for_them),
        cmocka_unit_test(what_one_inherits_is_bounded),
        cmocka_unit_test(two_groups_have_a_message_each_if_they_can),
        cmocka_unit_test(a_session_is_in_few_groups),
        cmocka_unit_test(an_ack_of_what_was_never_sent_is_a_breach),
        cmocka_unit_test(who_leaves_a_group_leaves_what_waits_to_the_others),
        cmocka_unit_test(a_large_message_for_a_member_that_dies_is_named),
        cmocka_unit_test(what_is_sealed_for_each_reader_has_no_group),
        cmocka_unit_test(who_subscribes_later_is_sent_the_last_value),
        cmocka_unit_test(a_value_expires_and_goes_with_the_right_to_say_it),
        cmocka_unit_test(values_are_bounded_by_count_and_bytes),
        cmocka_unit_test(fewer_values_from_now_on_forget_none),
        cmocka_unit_test(a_value_goes_to_one_only_as_a_copy),
        cmocka_unit_test(a_will_is_published_when_its_client_dies),
        cmocka_unit_test(who_says_goodbye_or_comes_back_in_time_leaves_none),
        cmocka_unit_test(a_new_process_or_a_kick_publishes_it_at_once),
        cmocka_unit_test(a_will_needs_the_right_to_say_it_then_and_now),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
