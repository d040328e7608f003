/* SPDX-License-Identifier: Apache-2.0 */
/* What waits for a reader: credit, slow readers, gaps, fragments. */
#include "world.h"

static struct broker_settings small_settings(void)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    settings.outbox_limit = 200 * 1024;
    settings.publish_window = 16 * 1024 * 1024;
    settings.keepalive_interval_ms = 1000000;
    return settings;
}

/* --- credit --------------------------------------------------------------------------------- */

static void a_reader_is_sent_no_more_than_its_window(void **state)
{
    struct world w;
    struct client *a, *b;
    size_t before;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = client_new(&w, "b");
    b->window = 100 * 1024;
    b->gives_credit = false;
    client_go(b);
    subscribe(b, "open/#");
    for (int i = 0; i < 20; i++)
        publish_size(a, "open/x", 30000);
    pump(&w);
    assert_int_equal(count_items(b, RECORD_DELIVER), 3);
    assert_true(b->received_bytes <= b->window);
    before = b->received_bytes;
    give_credit(b, (uint32_t)before);
    pump(&w);
    assert_int_equal(count_items(b, RECORD_DELIVER), 6);
    world_deinit(&w);
}

static void direct_messages_and_answers_do_not_wait_for_credit(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = client_new(&w, "b");
    b->window = FRAME_SIZE_MAX;
    b->gives_credit = false;
    client_go(b);
    subscribe(b, "open/#");
    for (int i = 0; i < 5; i++)
        publish_size(a, "open/x", 60000);
    publish_to(a, "b", "open/x", DELIVERY_EVENT, "direct");
    pump(&w);
    assert_int_equal(count_items(b, RECORD_DELIVER), 2);
    subscribe(b, "open/y"); /* answered although messages wait */
    world_deinit(&w);
}

static void a_publisher_gets_its_credit_back_in_large_steps(void **state)
{
    struct world w;
    struct client *a;
    size_t sent = 0, credit = 0;
    struct item *item;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    for (int i = 0; i < 100; i++) {
        publish_size(a, "open/x", 60000);
        sent += 60000 + 30;
        pump(&w);
    }
    assert_int_equal(a->kicked, 1);
    assert_true(count_items(a, RECORD_CREDIT) < 20);
    while ((item = take(a, RECORD_CREDIT)) != NULL) {
        credit += item->value;
        item_free(item);
    }
    assert_true(credit + a->welcome.window / 2 >= sent - 100);
    world_deinit(&w);
}

static void more_than_the_window_ends_the_session(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b;

    (void)state;
    settings.publish_window = 1; /* raised to the least that works */
    settings.outbox_limit = 64 * 1024 * 1024;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/#", SLOW_BLOCK, false);
    b->stalled = true;
    while (a->peer && broker_peer_is_ready(a->peer))
        publish_size(a, "open/x", 60000);
    pump(&w);
    expect_bye(a, AICO_ECREDIT);
    world_deinit(&w);
}

/* --- slow readers --------------------------------------------------------------------------- */

/* What @c got of @sender on @topic: messages, and how many it was told are missing, in order. */
struct story {
    size_t delivered, missing, gaps;
    uint64_t last_id;
    bool in_order;
};

static struct story tell(struct client *c)
{
    struct story story = {.in_order = true};
    struct item *item;

    for (item = c->items; item; item = item->next) {
        if (item->type == RECORD_DELIVER) {
            story.in_order &= item->id > story.last_id;
            story.last_id = item->id;
            story.delivered += !item->fragment || item->value + item->size == item->total;
        } else if (item->type == RECORD_GAP) {
            story.gaps++;
            story.missing += item->count;
            story.in_order &= item->last_id > story.last_id;
            story.last_id = item->last_id;
        }
    }
    return story;
}

static void go_on(struct client *c)
{
    c->stalled = false;
    broker_peer_writable(c->world->broker, c->peer);
    pump(c->world);
}

/* A batch that is dropped counts for as many messages as its publisher says. */
static void a_dropped_batch_counts_its_messages(void **state)
{
    static const uint8_t zeros[20000];
    struct broker_settings settings = small_settings();
    struct broker_totals totals;
    struct world w;
    struct client *a, *b;
    struct story story;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    for (int i = 0; i < 200; i++)
        send_publish(a, (struct record_publish){.topic_name = bytes_text("open/x"),
                                                .count = 7,
                                                .payload = bytes_of(zeros, sizeof(zeros))});
    pump(&w);
    drop_items(b);
    go_on(b);
    story = tell(b);
    assert_true(story.missing > 0);
    assert_int_equal(story.delivered * 7 + story.missing, 200 * 7);
    broker_get_totals(w.broker, &totals);
    assert_int_equal(totals.published, 200 * 7);
    assert_int_equal(totals.by_topic.delivered, story.delivered * 7);
    world_deinit(&w);
}

static void a_drop_old_reader_loses_the_oldest_and_is_told_in_their_place(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b;
    struct story story;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/#", SLOW_DROP_OLD, false);
    drop_items(b);
    b->stalled = true;
    for (int i = 0; i < 100; i++) {
        publish_size(a, "open/x", 10000);
        pump(&w);
    }
    go_on(b);
    story = tell(b);
    assert_int_equal(story.delivered + story.missing, 100);
    assert_in_range(story.delivered, 15, 20);
    assert_int_equal(story.gaps, 1); /* merged */
    assert_true(story.in_order);
    assert_true(b->items->next->next->type == RECORD_GAP || b->items->type == RECORD_GAP ||
                b->items->next->type == RECORD_GAP); /* before the messages that are left */
    assert_true(story.last_id == a->next_id - 1);
    world_deinit(&w);
}

static void a_drop_new_reader_keeps_the_oldest_and_is_told_at_the_end(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b;
    struct story story;
    struct item *item;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/#", SLOW_DROP_NEW, false);
    drop_items(b);
    b->stalled = true;
    for (int i = 0; i < 100; i++)
        publish_size(a, "open/x", 10000);
    go_on(b);
    story = tell(b);
    assert_int_equal(story.delivered + story.missing, 100);
    assert_in_range(story.delivered, 15, 20);
    assert_int_equal(story.gaps, 1);
    assert_true(story.in_order);
    item = take(b, RECORD_DELIVER);
    assert_true(item->id == 1);
    item_free(item);
    item = take(b, RECORD_GAP);
    assert_int_equal(item->code, AICO_EFULL);
    assert_true(item->last_id == 100);
    item_free(item);
    world_deinit(&w);
}

static void gaps_of_different_topics_are_told_apart(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b;
    struct item *item;
    size_t x = 0, y = 0;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    for (int i = 0; i < 50; i++) {
        publish_size(a, "open/x", 10000);
        publish_size(a, "open/y", 10000);
    }
    go_on(b);
    while ((item = take(b, RECORD_DELIVER)) != NULL) {
        x += strcmp(item->topic, "open/x") == 0;
        y += strcmp(item->topic, "open/y") == 0;
        item_free(item);
    }
    assert_int_equal(count_items(b, RECORD_GAP), 2); /* interleaved losses merge by topic */
    while ((item = take(b, RECORD_GAP)) != NULL) {
        if (strcmp(item->topic, "open/x") == 0)
            x += item->count;
        else
            y += item->count;
        item_free(item);
    }
    assert_int_equal(x, 50);
    assert_int_equal(y, 50);
    world_deinit(&w);
}

static void a_disconnect_reader_is_cut_when_it_is_slow(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/#", SLOW_DISCONNECT, false);
    b->gives_credit = false;
    for (int i = 0; i < 200; i++) {
        publish_size(a, "open/x", 10000);
        pump(&w);
    }
    advance(&w, BROKER_KICK_GRACE_MS);
    expect_bye(b, AICO_ESLOW);
    assert_int_equal(a->kicked, 1);
    world_deinit(&w);
}

/* It would be sent them again after each new link, and never stay. */
static void a_disconnect_reader_is_not_cut_by_the_values_it_finds(void **state)
{
    struct broker_settings settings = small_settings();
    uint8_t payload[10000] = {0};
    struct world w;
    struct client *a, *b;
    size_t shown, values;
    struct item *gap;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    for (int i = 0; i < 30; i++) {
        char topic[16];

        (void)snprintf(topic, sizeof(topic), "open/%d", i);
        send_publish(a, (struct record_publish){.delivery = DELIVERY_RETAINED,
                                                .topic_name = bytes_text(topic),
                                                .payload = bytes_of(payload, sizeof(payload))});
        pump(&w);
    }
    b = connect_as(&w, "b");
    subscribe_with(b, "open/#", SLOW_DISCONNECT, false);
    pump(&w);
    expect_nothing(b, RECORD_BYE);
    values = shown = count_items(b, RECORD_DELIVER);
    assert_in_range(shown, 10, 29);
    while ((gap = take(b, RECORD_GAP)) != NULL) {
        assert_true(gap->kept);
        assert_int_equal(gap->code, AICO_EFULL);
        values += gap->count;
        item_free(gap);
    }
    assert_int_equal(values, 30);
    publish(a, "open/x", "it is still there");
    pump(&w);
    assert_int_equal(count_items(b, RECORD_DELIVER), shown + 1);
    world_deinit(&w);
}

static void a_blocking_reader_loses_nothing_and_holds_the_publishers_credit(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b, *c;
    size_t credit = 0, sent = 0;
    struct item *item;

    (void)state;
    settings.outbox_limit = 64 * 1024 * 1024;
    settings.publish_window = 1024 * 1024;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe_with(b, "open/#", SLOW_BLOCK, false);
    subscribe_with(c, "open/#", SLOW_DROP_OLD, false);
    b->stalled = true;
    for (; sent + 10060 < a->welcome.window; sent += 10030)
        publish_size(a, "open/x", 10000);
    pump(&w);
    expect_nothing(a, RECORD_CREDIT); /* c has everything already, b has not */
    go_on(b);
    while ((item = take(a, RECORD_CREDIT)) != NULL) {
        credit += item->value;
        item_free(item);
    }
    assert_true(credit >= a->welcome.window / 2);
    assert_int_equal(count_items(b, RECORD_DELIVER), count_items(c, RECORD_DELIVER));
    expect_nothing(b, RECORD_GAP);
    world_deinit(&w);
}

static void a_full_blocking_reader_refuses_the_publish_before_anybody_gets_it(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b, *c;
    uint64_t id = 0;
    size_t accepted = 0;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe_with(b, "open/#", SLOW_BLOCK, false);
    subscribe_with(c, "open/#", SLOW_DROP_OLD, false);
    b->stalled = true;
    for (; accepted < 100; accepted++) {
        id = publish_size(a, "open/x", 10000);
        pump(&w);
        if (count_items(a, RECORD_REFUSE) > 0)
            break;
    }
    expect_refused(a, id, AICO_EFULL);
    assert_int_equal(count_items(c, RECORD_DELIVER), accepted);
    go_on(b);
    assert_int_equal(count_items(b, RECORD_DELIVER), accepted);
    world_deinit(&w);
}

static void the_most_careful_of_several_policies_holds(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/#", SLOW_DROP_OLD, false);
    subscribe_with(b, "open/x", SLOW_BLOCK, false);
    b->stalled = true;
    for (int i = 0; i < 100; i++)
        publish_size(a, "open/x", 10000);
    assert_true(count_items(a, RECORD_REFUSE) == 0);
    pump(&w);
    assert_true(count_items(a, RECORD_REFUSE) > 0);
    go_on(b);
    expect_nothing(b, RECORD_GAP);
    world_deinit(&w);
}

static void drop_old_never_drops_what_a_blocking_subscription_brought(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b;
    size_t important = 0;
    struct item *item;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/important", SLOW_BLOCK, false);
    subscribe_with(b, "open/x", SLOW_DROP_OLD, false);
    b->stalled = true;
    for (int i = 0; i < 10; i++)
        publish_size(a, "open/important", 10000);
    for (int i = 0; i < 100; i++)
        publish_size(a, "open/x", 10000);
    go_on(b);
    while ((item = take(b, RECORD_DELIVER)) != NULL) {
        important += strcmp(item->topic, "open/important") == 0;
        item_free(item);
    }
    assert_int_equal(important, 10);
    while ((item = take(b, RECORD_GAP)) != NULL) {
        assert_string_equal(item->topic, "open/x");
        item_free(item);
    }
    world_deinit(&w);
}

static void a_reader_that_stands_still_for_ever_does_not_grow(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b, *admin;
    char topic[32];

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    admin = connect_as(&w, "admin");
    (void)admin;
    subscribe(b, "open/#");
    b->stalled = true;
    for (int i = 0; i < 20000 && b->peer;
         i++) { /* every loss on another topic: gaps alone pile up */
        (void)snprintf(topic, sizeof(topic), "open/%d", i % 4000);
        publish_size(a, topic, 2000);
        if (i % 100 == 0)
            advance(&w, 10);
    }
    advance(&w, 1000);
    assert_int_equal(b->kicked, AICO_ESLOW);
    world_deinit(&w);
}

static void what_waits_when_the_link_is_lost_is_counted_as_dropped(void **state)
{
    struct broker_totals totals;
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    for (int i = 0; i < 10; i++)
        publish(a, "open/x", "x");
    client_lose_link(b);
    broker_get_totals(w.broker, &totals);
    assert_true(totals.published == 10 && totals.by_topic.routed == 10);
    assert_true(totals.by_topic.dropped[DROP_LINK_LOST] == 10);
    assert_true(totals.by_topic.queued == 0);
    world_deinit(&w);
}

static void a_blocked_frame_is_built_again_and_nothing_is_told_twice(void **state)
{
    struct broker_peer *peer;
    struct bytes frame;
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    publish(a, "open/x", "one");
    while (broker_next_frame(w.broker, w.now, &peer, &frame)) {
        if (broker_peer_cookie(peer) == b)
            break;
        client_receive(broker_peer_cookie(peer), frame);
        broker_frame_sent(w.broker, peer);
    }
    broker_frame_blocked(w.broker, peer);
    publish(a, "open/x", "two");
    pump(&w);
    expect_nothing(b, RECORD_DELIVER);
    broker_all_writable(w.broker);
    pump(&w); /* client_take() fails if the topic were named twice */
    expect_delivered(b, "open/x", "a", "one");
    expect_delivered(b, "open/x", "a", "two");
    world_deinit(&w);
}

static void answers_that_nobody_reads_end_the_session(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a;

    (void)state;
    settings.control_limit = 0; /* raised to the least that works */
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    a->stalled = true;
    for (int i = 0; i < 20000 && broker_peer_is_ready(a->peer); i++) {
        send_subscribe(a, "closed/#", SLOW_DROP_OLD, false);
        (void)broker_work(w.broker, w.now);
    }
    assert_false(broker_peer_is_ready(a->peer));
    advance(&w, 1000);
    assert_int_equal(a->kicked, AICO_ESLOW);
    world_deinit(&w);
}

/* --- fragments ------------------------------------------------------------------------------ */

#define PIECE 50000
#define TOTAL 220000

static uint64_t publish_large(struct client *a, const char *topic, size_t from, size_t to,
                              uint64_t id)
{
    for (size_t offset = from; offset < to; offset += PIECE)
        id = publish_fragment(a, topic, id, TOTAL, offset, MIN((size_t)PIECE, TOTAL - offset));
    return id;
}

/* Puts the fragments of message @id that @c got together; true if they are the whole message. */
static bool is_whole(struct client *c, uint64_t id)
{
    size_t size = 0;

    for (const struct item *item = c->items; item; item = item->next) {
        if (item->type != RECORD_DELIVER || item->id != id)
            continue;
        if (!item->fragment || item->value != size)
            return false;
        for (size_t i = 0; i < item->size; i++)
            if (item->payload[i] != (uint8_t)(size + i))
                return false;
        size += item->size;
    }
    return size == TOTAL;
}

static void fragments_are_forwarded_as_they_come_and_acknowledged_at_the_end(void **state)
{
    struct broker_totals totals;
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    id = publish_large(a, "open/x", 0, 2 * PIECE, 0);
    pump(&w);
    assert_int_equal(count_items(b, RECORD_DELIVER), 2);
    expect_nothing(a, RECORD_ACK);
    broker_get_totals(w.broker, &totals);
    assert_true(totals.published == 0 && totals.by_topic.queued == 1);
    publish_large(a, "open/x", 2 * PIECE, TOTAL, id);
    pump(&w);
    assert_true(is_whole(b, id));
    assert_int_equal(count_items(a, RECORD_ACK), 1);
    broker_get_totals(w.broker, &totals);
    assert_true(totals.published == 1 && totals.by_topic.delivered == 1 &&
                totals.by_topic.queued == 0);
    world_deinit(&w);
}

static void small_messages_pass_between_fragments(void **state)
{
    struct world w;
    struct client *a, *b;
    struct item *item, *last = NULL;
    uint64_t id, small;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    id = publish_large(a, "open/large", 0, 2 * PIECE, 0);
    small = publish(a, "open/small", "small");
    publish_to(a, "b", "open/small", DELIVERY_EVENT, "direct");
    pump(&w);
    while ((item = take(a, RECORD_ACK)) != NULL) {
        if (last)
            item_free(last);
        last = item;
    }
    assert_true(!last || last->id < id); /* the large one is not answered yet */
    if (last)
        item_free(last);
    publish_large(a, "open/large", 2 * PIECE, TOTAL, id);
    pump(&w);
    assert_true(is_whole(b, id));
    item = take(a, RECORD_ACK);
    assert_true(item && item->id > small);
    item_free(item);
    world_deinit(&w);
}

static void a_second_large_message_does_not_begin_before_the_first_has_ended(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    publish_fragment(a, "open/x", 0, TOTAL, 0, PIECE);
    publish_fragment(a, "open/y", 0, TOTAL, 0, PIECE);
    pump(&w);
    expect_bye(a, AICO_EPROTO);
    world_deinit(&w);
}

static void a_fragment_out_of_order_is_a_breach(void **state)
{
    static const size_t offsets[] = {PIECE + 1, 2 * PIECE, PIECE - 1};
    struct world w;

    (void)state;
    world_init(&w);
    for (size_t i = 0; i < COUNT_OF(offsets); i++) {
        struct client *a = connect_as(&w, "a");
        uint64_t id = publish_fragment(a, "open/x", 0, TOTAL, 0, PIECE);

        publish_fragment(a, "open/x", id, TOTAL, offsets[i], PIECE);
        pump(&w);
        expect_bye(a, AICO_EPROTO);
    }
    world_deinit(&w);
}

static void a_large_message_is_dropped_as_a_whole_and_what_was_sent_is_void(void **state)
{
    struct broker_settings settings = small_settings();
    struct broker_totals totals;
    struct world w;
    struct client *a, *b;
    struct item *gap;
    uint64_t id;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    id = publish_large(a, "open/large", 0, PIECE, 0);
    pump(&w); /* its first fragment is with the reader */
    b->stalled = true;
    publish_large(a, "open/large", PIECE, 3 * PIECE, id);
    for (int i = 0; i < 30; i++)
        publish_size(a, "open/x", 10000);
    publish_large(a, "open/large", 3 * PIECE, TOTAL, id);
    go_on(b);
    assert_int_equal(count_items(b, RECORD_GAP), 2);
    gap = take(b, RECORD_GAP);
    assert_string_equal(gap->topic, "open/large");
    assert_true(gap->count == 1 && gap->last_id == id);
    item_free(gap);
    for (const struct item *item = b->items; item; item = item->next)
        assert_false(item->type == RECORD_DELIVER && item->id == id && item->value > 0);
    broker_get_totals(w.broker, &totals);
    assert_true(totals.published == 31 && totals.by_topic.queued == 0);
    world_deinit(&w);
}

static void a_large_message_goes_on_where_it_was_after_a_reconnect(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    id = publish_large(a, "open/x", 0, 2 * PIECE, 0);
    publish(a, "open/y", "small");
    pump(&w);
    client_lose_link(a);
    advance(&w, 1000);
    client_go(a);
    assert_true(a->welcome.last_id < id);
    publish_large(a, "open/x", 0, TOTAL, id); /* all of it again */
    pump(&w);
    assert_true(is_whole(b, id));
    expect_nothing(b, RECORD_GAP);
    world_deinit(&w);
}

static void a_large_message_whose_publisher_stays_away_is_reported(void **state)
{
    struct broker_totals totals;
    struct world w;
    struct client *a, *b;
    struct item *gap;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    id = publish_large(a, "open/x", 0, 2 * PIECE, 0);
    pump(&w);
    client_lose_link(a);
    advance(&w, 61000);
    gap = take(b, RECORD_GAP);
    assert_true(gap && gap->last_id == id && gap->count == 1);
    item_free(gap);
    broker_get_totals(w.broker, &totals);
    assert_true(totals.by_topic.dropped[DROP_INCOMPLETE] == 1 && totals.by_topic.queued == 0);
    client_go(a);
    expect_refused(a, id, AICO_EEXPIRED);
    world_deinit(&w);
}

/* One in clear, whose readers could not tell a repetition: its publisher comes back without it.
 * What it says to one component goes another way, and waited for its answer for ever. */
static void a_large_message_that_is_given_up_holds_up_no_answer_for_long(void **state)
{
    struct world w;
    struct client *a, *b;
    struct item *ack;
    uint64_t id, later;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    id = publish_large(a, "open/x", 0, 2 * PIECE, 0);
    pump(&w);
    client_lose_link(a);
    advance(&w, 1000);
    client_go(a);
    later = publish_to(a, "b", "open/y", DELIVERY_EVENT, "small");
    pump(&w);
    assert_true(later > id);
    expect_nothing(a, RECORD_ACK);
    advance(&w, 61000);
    ack = take(a, RECORD_ACK);
    assert_true(ack && ack->id >= later);
    item_free(ack);
    ack = take(b, RECORD_GAP);
    assert_true(ack && ack->last_id == id && ack->count == 1);
    item_free(ack);
    world_deinit(&w);
}

static void a_restarted_publisher_does_not_finish_its_predecessors_message(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    publish_large(a, "open/x", 0, 2 * PIECE, 0);
    client_lose_link(a);
    a->instance++;
    client_go(a);
    assert_int_equal(count_items(b, RECORD_GAP), 1);
    world_deinit(&w);
}

static void a_reader_that_leaves_in_the_middle_harms_nobody(void **state)
{
    struct world w;
    struct client *a, *b, *c;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe(b, "open/#");
    subscribe(c, "open/#");
    c->stalled = true;
    id = publish_large(a, "open/x", 0, 2 * PIECE, 0);
    pump(&w);
    client_lose_link(c);
    publish_large(a, "open/x", 2 * PIECE, TOTAL, id);
    pump(&w);
    assert_true(is_whole(b, id));
    world_deinit(&w);
}

static void a_large_direct_message_ends_with_its_receiver(void **state)
{
    static uint8_t bytes[PIECE];
    struct record_publish p = {.to = NUMBER_BY_NAME,
                               .to_name = bytes_text("b"),
                               .topic_name = bytes_text("open/x"),
                               .fragment = true,
                               .total = TOTAL,
                               .payload = bytes_of(bytes, PIECE)};
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    id = p.id = send_publish(a, p);
    pump(&w);
    client_lose_link(b);
    pump(&w);
    expect_refused(a, id, AICO_EPEERAWAY);
    p.offset = PIECE;
    send_publish(a, p); /* was on its way */
    pump(&w);
    assert_int_equal(a->kicked, 1);
    drop_items(b);
    client_go(b);
    subscribe(b, "open/#");
    p.id = p.offset = 0;
    id = send_publish(a, p);
    for (p.id = id, p.offset = PIECE; p.offset < TOTAL; p.offset += PIECE) {
        p.payload.size = MIN((size_t)PIECE, TOTAL - p.offset);
        send_publish(a, p);
    }
    pump(&w);
    assert_int_equal(count_items(b, RECORD_DELIVER), (TOTAL + PIECE - 1) / PIECE);
    world_deinit(&w);
}

static void a_reply_in_fragments_answers_its_request(void **state)
{
    static uint8_t bytes[PIECE];
    struct record_publish p = {.delivery = DELIVERY_REPLY,
                               .reply = true,
                               .to = NUMBER_BY_NAME,
                               .to_name = bytes_text("a"),
                               .topic_name = bytes_text("open/ask"),
                               .fragment = true,
                               .total = TOTAL};
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/ask", SLOW_DROP_OLD, true);
    p.request = publish_to(a, "b", "open/ask", DELIVERY_REQUEST, "?");
    pump(&w);
    for (; p.offset < TOTAL; p.offset += PIECE) {
        p.payload = bytes_of(bytes, MIN((size_t)PIECE, TOTAL - p.offset));
        p.id = send_publish(b, p);
    }
    pump(&w);
    expect_nothing(b, RECORD_REFUSE);
    assert_int_equal(count_items(a, RECORD_DELIVER), (TOTAL + PIECE - 1) / PIECE);
    p.id = 0;
    p.offset = 0;
    p.payload.size = PIECE;
    p.id = send_publish(b, p);
    pump(&w);
    expect_refused(b, p.id, AICO_ENOREQUEST);
    world_deinit(&w);
}

static void who_did_not_read_why_it_was_cut_off_is_told_when_it_comes_back(void **state)
{
    struct broker_settings settings = small_settings();
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/#", SLOW_DISCONNECT, false);
    b->stalled = true;
    for (int i = 0; i < 20; i++) {
        publish_size(a, "open/x", 60000);
        pump(&w);
    }
    advance(&w, 2 * BROKER_KICK_GRACE_MS);
    assert_int_equal(b->kicked, AICO_ESLOW);
    expect_nothing(b, RECORD_BYE);

    b->stalled = false;
    client_link(b);
    client_hello(b, w.version);
    pump(&w);
    assert_int_equal(count_items(b, RECORD_WELCOME), 1);
    assert_int_equal(count_items(b, RECORD_BYE), 1);
    /* The transport took it, but nobody left because of it: it was not read. */
    advance(&w, 2 * BROKER_KICK_GRACE_MS);
    expect_bye(b, AICO_ESLOW);
    drop_items(b);
    client_link(b);
    client_hello(b, w.version);
    pump(&w);
    assert_int_equal(count_items(b, RECORD_BYE), 1);
    drop_items(b);
    client_lose_link(b); /* it leaves: once is enough */
    client_go(b);
    assert_int_equal(b->kicked, 1);
    expect_nothing(b, RECORD_BYE);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_is_sent_no_more_than_its_window),
        cmocka_unit_test(direct_messages_and_answers_do_not_wait_for_credit),
        cmocka_unit_test(a_publisher_gets_its_credit_back_in_large_steps),
        cmocka_unit_test(more_than_the_window_ends_the_session),
        cmocka_unit_test(a_dropped_batch_counts_its_messages),
        cmocka_unit_test(a_drop_old_reader_loses_the_oldest_and_is_told_in_their_place),
        cmocka_unit_test(a_drop_new_reader_keeps_the_oldest_and_is_told_at_the_end),
        cmocka_unit_test(gaps_of_different_topics_are_told_apart),
        cmocka_unit_test(a_disconnect_reader_is_cut_when_it_is_slow),
        cmocka_unit_test(who_did_not_read_why_it_was_cut_off_is_told_when_it_comes_back),
        cmocka_unit_test(a_disconnect_reader_is_not_cut_by_the_values_it_finds),
        cmocka_unit_test(a_blocking_reader_loses_nothing_and_holds_the_publishers_credit),
        cmocka_unit_test(a_full_blocking_reader_refuses_the_publish_before_anybody_gets_it),
        cmocka_unit_test(the_most_careful_of_several_policies_holds),
        cmocka_unit_test(drop_old_never_drops_what_a_blocking_subscription_brought),
        cmocka_unit_test(a_reader_that_stands_still_for_ever_does_not_grow),
        cmocka_unit_test(what_waits_when_the_link_is_lost_is_counted_as_dropped),
        cmocka_unit_test(a_blocked_frame_is_built_again_and_nothing_is_told_twice),
        cmocka_unit_test(answers_that_nobody_reads_end_the_session),
        cmocka_unit_test(fragments_are_forwarded_as_they_come_and_acknowledged_at_the_end),
        cmocka_unit_test(small_messages_pass_between_fragments),
        cmocka_unit_test(a_second_large_message_does_not_begin_before_the_first_has_ended),
        cmocka_unit_test(a_fragment_out_of_order_is_a_breach),
        cmocka_unit_test(a_large_message_is_dropped_as_a_whole_and_what_was_sent_is_void),
        cmocka_unit_test(a_large_message_goes_on_where_it_was_after_a_reconnect),
        cmocka_unit_test(a_large_message_whose_publisher_stays_away_is_reported),
        cmocka_unit_test(a_large_message_that_is_given_up_holds_up_no_answer_for_long),
        cmocka_unit_test(a_restarted_publisher_does_not_finish_its_predecessors_message),
        cmocka_unit_test(a_reader_that_leaves_in_the_middle_harms_nobody),
        cmocka_unit_test(a_large_direct_message_ends_with_its_receiver),
        cmocka_unit_test(a_reply_in_fragments_answers_its_request),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
