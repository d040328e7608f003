/* SPDX-License-Identifier: Apache-2.0 */
/* One peer's flood: it is worked off in slices, in order, and the others do not wait for it. */
#include "world.h"

/* A frame full of small PUBLISH records. Returns how many. */
static size_t flood_frame(struct client *c, const char *topic)
{
    struct writer w = frame_begin();
    size_t count = 0;

    while (w.size + 64 < FRAME_SIZE_MAX) {
        record_write_publish(&w, &(struct record_publish){.id = c->next_id++,
                                                          .topic_name = bytes_text(topic),
                                                          .payload = bytes_text("1")});
        count++;
    }
    client_send(c, &w);
    return count;
}

static size_t resolve_frame(struct client *c)
{
    struct writer w = frame_begin();
    size_t count = 0;

    while (w.size + 64 < FRAME_SIZE_MAX) {
        record_write_resolve(&w, c->next_id++, bytes_text("open/x"));
        count++;
    }
    client_send(c, &w);
    return count;
}

static struct broker_settings wide_settings(void)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    settings.outbox_limit = 256 * 1024 * 1024;
    settings.control_limit = 256 * 1024 * 1024;
    settings.publish_window = 64 * 1024 * 1024;
    return settings;
}

static uint64_t published(struct world *w)
{
    struct broker_totals totals;

    broker_get_totals(w->broker, &totals);
    return totals.published;
}

static void a_flood_is_worked_off_in_slices_and_in_order(void **state)
{
    struct broker_settings settings = wide_settings();
    struct world w;
    struct client *a, *b;
    size_t sent = 0, turns = 0, got = 0;
    uint64_t before = 0, last = 0;
    struct item *item;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    b->window = UINT32_MAX;
    (void)subscribe(b, "open/#");
    for (int i = 0; i < 4; i++)
        sent += flood_frame(a, "open/x");
    assert_true(published(&w) < sent / 2);
    while (broker_work(w.broker, w.now)) {
        assert_true(published(&w) - before < 20000);
        before = published(&w);
        turns++;
    }
    assert_true(turns > 1);
    assert_int_equal(published(&w), sent);
    pump(&w);
    while ((item = take(b, RECORD_DELIVER)) != NULL) {
        assert_true(item->id > last);
        last = item->id;
        got++;
        item_free(item);
    }
    assert_int_equal(got, sent);
    last = 0;
    while ((item = take(a, RECORD_ACK)) != NULL) {
        last = item->id;
        item_free(item);
    }
    assert_true(last == a->next_id - 1);
    world_deinit(&w);
}

static void another_is_answered_before_the_flood_is_over(void **state)
{
    struct broker_settings settings = wide_settings();
    struct world w;
    struct client *a, *c;
    size_t sent = 0;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    c = connect_as(&w, "c");
    drop_items(c);
    for (int i = 0; i < 3; i++)
        sent += resolve_frame(a);
    (void)send_subscribe(c, "open/y", SLOW_DROP_OLD, false);
    (void)broker_work(w.broker, w.now);
    assert_true(broker_work(w.broker, w.now)); /* the flood is not over */
    {
        struct broker_peer *peer;
        struct bytes frame;

        while (count_items(c, RECORD_OK) == 0 &&
               broker_next_frame(w.broker, w.now, &peer, &frame)) {
            client_receive(broker_peer_cookie(peer), frame);
            broker_frame_sent(w.broker, peer);
        }
    }
    assert_int_equal(count_items(c, RECORD_OK), 1);
    pump(&w);
    assert_int_equal(count_items(a, RECORD_REFUSE), sent);
    world_deinit(&w);
}

/* A frame full of small records of one kind. */
static void frame_of(struct client *c, const char *kind)
{
    struct writer w = frame_begin();

    while (w.size + 64 < FRAME_SIZE_MAX) {
        uint64_t id = c->next_id++;

        if (strcmp(kind, "resolve") == 0)
            record_write_resolve(&w, id, bytes_text("open/x"));
        else if (strcmp(kind, "ping") == 0)
            record_write_ping(&w, id);
        else if (strcmp(kind, "unsubscribe") == 0)
            record_write_unsubscribe(&w, id, 4711);
        else
            record_write_publish(&w, &(struct record_publish){.id = id,
                                                              .topic_name = bytes_text("open/x"),
                                                              .payload = bytes_text("1")});
    }
    client_send(c, &w);
}

/* Gives out what there is; what was an answer to @c is counted and forgotten. */
static size_t give_and_count(struct world *w, struct client *c)
{
    struct broker_peer *peer;
    struct bytes frame;
    size_t count = 0;

    while (broker_next_frame(w->broker, w->now, &peer, &frame)) {
        client_receive(broker_peer_cookie(peer), frame);
        broker_frame_sent(w->broker, peer);
        count +=
            count_items(c, RECORD_OK) + count_items(c, RECORD_REFUSE) + count_items(c, RECORD_PONG);
        drop_items(c);
    }
    return count;
}

/*
 * A turn of the loop takes in a MiB of the flood, then what another says, and answers. That is
 * 20,000 records of the flood at most, a few milliseconds, however many there are.
 */
static void another_waits_for_so_many_records_of_a_flood_and_no_more(void **state)
{
    static const char *const kinds[] = {"resolve", "ping", "unsubscribe", "publish"};

    (void)state;
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct broker_settings settings = wide_settings();
        struct world w;
        struct client *a, *c;
        uint64_t first;
        size_t done;

        world_init_with(&w, &settings, COMPONENTS, RULES);
        a = connect_as(&w, "a");
        c = connect_as(&w, "c");
        drop_items(a);
        drop_items(c);
        first = a->next_id;
        while (a->next_id - first < 50000)
            frame_of(a, kinds[i]);
        (void)send_subscribe(c, "open/y", SLOW_DROP_OLD, false);
        for (done = 0; count_items(c, RECORD_OK) == 0; done += give_and_count(&w, a))
            (void)broker_work(w.broker, w.now);
        if (done + published(&w) > 20000)
            fail_msg("%s: %zu records of another came before", kinds[i],
                     done + (size_t)published(&w));
        while (broker_work(w.broker, w.now))
            done += give_and_count(&w, a);
        done += give_and_count(&w, a);
        assert_int_equal(done + published(&w), a->next_id - first);
        world_deinit(&w);
    }
}

static void more_than_can_be_kept_ends_the_session(void **state)
{
    struct broker_settings settings = wide_settings();
    struct world w;
    struct client *a;

    (void)state;
    settings.publish_window = 1024 * 1024;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    for (int i = 0; i < 100 && a->peer && broker_peer_is_ready(a->peer); i++)
        (void)resolve_frame(a);
    pump(&w);
    expect_bye(a, AICO_ERATE);
    world_deinit(&w);
}

static void what_was_sent_before_the_link_was_lost_is_still_worked_off(void **state)
{
    struct broker_settings settings = wide_settings();
    struct world w;
    struct client *a, *b;
    size_t sent = 0;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    (void)subscribe(b, "open/#");
    for (int i = 0; i < 4; i++)
        sent += flood_frame(a, "open/x");
    client_lose_link(a);
    pump(&w);
    assert_int_equal(published(&w), sent);
    client_go(a);
    assert_true(a->welcome.last_id == a->next_id - 1);
    world_deinit(&w);
}

/* --- control messages beyond the rate ------------------------------------------------------- */

#define CONTROL_AT_ONCE 10000
#define CONTROL_PER_SECOND 2000

static void send_control(struct client *c, const char *to)
{
    send_publish(c, (struct record_publish){.delivery = DELIVERY_CONTROL,
                                            .topic = TOPIC_NUMBER_CONTROL,
                                            .to = NUMBER_BY_NAME,
                                            .to_name = bytes_text(to),
                                            .payload = bytes_text("\x04x")});
}

/* What @c got from the others since the last time, in order: ids rise. */
static size_t delivered(struct client *c, uint64_t *last)
{
    struct item *item;
    size_t count = 0;

    while ((item = take(c, RECORD_DELIVER)) != NULL) {
        assert_true(item->id > *last);
        *last = item->id;
        count++;
        item_free(item);
    }
    return count;
}

static void control_messages_beyond_the_rate_wait_and_none_is_lost(void **state)
{
    struct broker_settings settings = wide_settings();
    uint64_t last = 0;
    struct world w;
    struct client *a, *b, *c;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    b->window = UINT32_MAX;
    (void)subscribe(b, "open/#");
    for (int i = 0; i < CONTROL_AT_ONCE + 500; i++)
        send_control(a, "b");
    send_publish(a, (struct record_publish){.topic_name = bytes_text("open/x"),
                                            .payload = bytes_text("behind them")});
    pump(&w);
    assert_int_equal(delivered(b, &last), CONTROL_AT_ONCE);

    last = 0;
    send_control(c, "b"); /* another one's do not wait */
    pump(&w);
    assert_int_equal(delivered(b, &last), 1);

    last = 0;
    advance(&w, 200);
    assert_in_range(delivered(b, &last), CONTROL_PER_SECOND / 10, CONTROL_PER_SECOND / 4);
    assert_int_equal(published(&w), 0);
    advance(&w, 200);
    (void)delivered(b, &last);
    assert_int_equal(published(&w), 1);
    assert_int_equal(count_items(a, RECORD_REFUSE), 0);
    world_deinit(&w);
}

static void what_waits_for_the_rate_is_worked_off_when_its_link_is_lost(void **state)
{
    struct broker_settings settings = wide_settings();
    uint64_t last = 0;
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    for (int i = 0; i < CONTROL_AT_ONCE + 500; i++)
        send_control(a, "b");
    client_lose_link(a);
    pump(&w);
    assert_int_equal(delivered(b, &last), CONTROL_AT_ONCE + 500);
    world_deinit(&w);
}

static void who_sends_on_while_it_waits_is_cut_off(void **state)
{
    struct broker_settings settings = wide_settings();
    struct world w;
    struct client *a;

    (void)state;
    settings.publish_window = 1024 * 1024;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    (void)connect_as(&w, "b");
    for (int i = 0; i < 1000000 && a->peer && broker_peer_is_ready(a->peer); i++)
        send_control(a, "b");
    pump(&w);
    expect_bye(a, AICO_ERATE);
    world_deinit(&w);
}

static void a_mistake_in_a_flood_ends_the_session_in_its_place(void **state)
{
    struct broker_settings settings = wide_settings();
    struct world w;
    struct client *a;
    struct writer bad;
    size_t sent = 0;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    for (int i = 0; i < 5; i++)
        sent += flood_frame(a, "open/x");
    bad = frame_begin();
    writer_u32(&bad, 0xffffffff);
    (void)client_send(a, &bad);
    (void)flood_frame(a, "open/x");
    pump(&w);
    expect_bye(a, AICO_EPROTO);
    assert_int_equal(published(&w), sent);
    world_deinit(&w);
}

static void a_revocation_ends_a_flood_at_once(void **state)
{
    struct broker_settings settings = wide_settings();
    struct registry *registry;
    struct world w;
    struct client *a;
    uint64_t before;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    for (int i = 0; i < 4; i++)
        (void)flood_frame(a, "open/x");
    registry = registry_make(2, "a revoked user\nb active user\n", RULES);
    broker_set_registry(w.broker, w.now, registry);
    registry_unref(&w.registry);
    w.registry = registry;
    before = published(&w);
    pump(&w);
    assert_int_equal(a->kicked, AICO_EREVOKED);
    assert_int_equal(published(&w), before);
    world_deinit(&w);
}

/* Presence is told once a subscription; a reader that takes nothing collects one a component. */
static void presence_does_not_pile_up_for_a_reader_that_takes_nothing(void **state)
{
    struct broker_settings settings = wide_settings();
    struct buffer text = {0};
    struct world w;
    struct client *a;
    const char *at;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    (void)connect_as(&w, "b");
    (void)connect_as(&w, "c");
    drop_items(a);
    a->stalled = true;
    for (int i = 0; i < 1000; i++)
        (void)send_subscribe(a, TOPIC_PRESENCE_PREFIX "*", SLOW_DROP_OLD, false);
    pump(&w);
    assert_int_equal(
        broker_status_json(w.broker, w.now, bytes_text("peers"), bytes_text("a"), &text), 0);
    assert_int_equal(buffer_append(&text, bytes_of("", 1)), 0);
    at = strstr((const char *)text.at, "\"queued\":");
    assert_non_null(at);
    assert_int_equal(strtoul(at + strlen("\"queued\":"), NULL, 10), 3);
    buffer_deinit(&text);
    a->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    assert_int_equal(count_items(a, RECORD_DELIVER), 3);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flood_is_worked_off_in_slices_and_in_order),
        cmocka_unit_test(another_is_answered_before_the_flood_is_over),
        cmocka_unit_test(another_waits_for_so_many_records_of_a_flood_and_no_more),
        cmocka_unit_test(more_than_can_be_kept_ends_the_session),
        cmocka_unit_test(what_was_sent_before_the_link_was_lost_is_still_worked_off),
        cmocka_unit_test(control_messages_beyond_the_rate_wait_and_none_is_lost),
        cmocka_unit_test(what_waits_for_the_rate_is_worked_off_when_its_link_is_lost),
        cmocka_unit_test(who_sends_on_while_it_waits_is_cut_off),
        cmocka_unit_test(a_mistake_in_a_flood_ends_the_session_in_its_place),
        cmocka_unit_test(a_revocation_ends_a_flood_at_once),
        cmocka_unit_test(presence_does_not_pile_up_for_a_reader_that_takes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
