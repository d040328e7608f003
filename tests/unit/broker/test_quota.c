/* SPDX-License-Identifier: Apache-2.0 */
/* What one component may take of the broker, and that none takes what belongs to another. */
#include "world.h"

static struct broker_settings tight_settings(void)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    settings.max_connections_per_component = 5;
    settings.max_subscriptions = 10;
    settings.max_requests = 5;
    settings.publish_rate = 100;
    settings.outbox_limit = 200 * 1024;
    settings.publish_window = 16 * 1024 * 1024;
    settings.keepalive_interval_ms = 1000000;
    settings.hello_timeout_ms = 1000000;
    return settings;
}

/* Lines of the log since the last call that have @text. */
static size_t logged(struct world *w, const char *text)
{
    struct broker_event event;
    size_t count = 0;

    while (broker_next_event(w->broker, &event))
        count += strstr(event.text, text) != NULL;
    return count;
}

static uint64_t status_number(struct world *w, const char *group, const char *key)
{
    struct buffer text = {0};
    char name[80];
    const char *at;
    uint64_t value = 0;

    assert_int_equal(
        broker_status_json(w->broker, w->now, bytes_text("status"), bytes_of(NULL, 0), &text), 0);
    assert_int_equal(buffer_append(&text, bytes_of("", 1)), 0);
    at = strstr((const char *)text.at, group);
    assert_non_null(at);
    (void)snprintf(name, sizeof(name), "\"%s\":", key);
    at = strstr(at, name);
    if (at)
        value = strtoull(at + strlen(name), NULL, 10);
    buffer_deinit(&text);
    return value;
}

/* The refusal of @id: E_QUOTA, by the name and value of the key. */
static void expect_quota(struct client *c, uint64_t id, const char *key, const char *value)
{
    struct item *item = take(c, RECORD_REFUSE);

    assert_non_null(item);
    assert_true(item->id == id);
    assert_int_equal(item->code, AICO_EQUOTA);
    assert_non_null(strstr(item->text, key));
    assert_non_null(strstr(item->text, value));
    assert_non_null(strstr(item->text, "security.yaml"));
    item_free(item);
}

static void subscriptions_are_counted_and_warned_about_before_they_end(void **state)
{
    struct broker_settings settings = tight_settings();
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    for (int i = 0; i < 7; i++)
        (void)subscribe(a, "open/x");
    assert_int_equal(logged(&w, "max_subscriptions"), 0);
    (void)subscribe(a, "open/x");
    assert_int_equal(logged(&w, "max_subscriptions: 8 of 10"), 1);
    assert_int_equal(status_number(&w, "quota_warnings", "max_subscriptions"), 1);
    (void)subscribe(a, "open/x");
    (void)subscribe(a, "open/x");
    assert_int_equal(status_number(&w, "quota_refusals", "max_subscriptions"), 0);
    for (int i = 0; i < 3; i++) {
        uint64_t id = send_subscribe(a, "open/x", SLOW_DROP_OLD, false);

        pump(&w);
        expect_quota(a, id, "max_subscriptions", "10 subscriptions");
    }
    assert_int_equal(logged(&w, "is refused more"), 1);
    assert_int_equal(status_number(&w, "quota_refusals", "max_subscriptions"), 3);
    (void)subscribe(b, "open/x"); /* another has its own */
    world_deinit(&w);
}

static void requests_are_counted_and_warned_about_before_they_end(void **state)
{
    struct broker_settings settings = tight_settings();
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/ask", SLOW_DROP_OLD, true);
    for (int i = 0; i < 3; i++)
        (void)publish_to(a, "b", "open/ask", DELIVERY_REQUEST, "?");
    assert_int_equal(logged(&w, "max_requests"), 0);
    (void)publish_to(a, "b", "open/ask", DELIVERY_REQUEST, "?");
    assert_int_equal(logged(&w, "max_requests: 4 of 5"), 1);
    (void)publish_to(a, "b", "open/ask", DELIVERY_REQUEST, "?");
    pump(&w);
    expect_nothing(a, RECORD_REFUSE);
    id = publish_to(a, "b", "open/ask", DELIVERY_REQUEST, "?");
    pump(&w);
    expect_quota(a, id, "max_requests", "5 requests");
    world_deinit(&w);
}

static void links_of_one_component_are_counted_and_others_get_in(void **state)
{
    struct broker_settings settings = tight_settings();
    uint8_t a[32], b[32];
    struct broker_peer *peers[5];
    struct world w;
    int code = 0;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    identity_of("a", a);
    identity_of("b", b);
    for (int i = 0; i < 5; i++) {
        peers[i] =
            broker_peer_open(w.broker, w.now, bytes_text("a"), a, "test:1", &w.clients[0], &code);
        assert_non_null(peers[i]);
        assert_int_equal(logged(&w, "max_connections_per_component"), i == 3 ? 1 : 0);
    }
    assert_null(
        broker_peer_open(w.broker, w.now, bytes_text("a"), a, "test:1", &w.clients[0], &code));
    assert_int_equal(code, AICO_EQUOTA);
    assert_int_equal(status_number(&w, "quota_refusals", "max_connections_per_component"), 1);
    assert_non_null(
        broker_peer_open(w.broker, w.now, bytes_text("b"), b, "test:1", &w.clients[0], &code));
    broker_peer_gone(w.broker, w.now, peers[0]);
    assert_non_null(
        broker_peer_open(w.broker, w.now, bytes_text("a"), a, "test:1", &w.clients[0], &code));
    world_deinit(&w);
}

static void who_comes_again_and_again_is_told_so(void **state)
{
    struct broker_settings settings = tight_settings();
    uint8_t identity[32];
    struct world w;
    size_t opened = 0;
    int code = 0;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    identity_of("a", identity);
    for (int i = 0; i < 1000; i++) {
        struct broker_peer *peer = broker_peer_open(w.broker, w.now, bytes_text("a"), identity,
                                                    "test:1", &w.clients[0], &code);

        if (!peer)
            break;
        opened++;
        broker_peer_gone(w.broker, w.now, peer);
    }
    assert_int_equal(code, AICO_ERATE);
    assert_int_equal(opened, 100);
    advance(&w, 1000);
    (void)connect_as(&w, "a");
    world_deinit(&w);
}

static void a_publisher_over_its_rate_is_refused_until_time_has_passed(void **state)
{
    struct broker_settings settings = tight_settings();
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    for (int i = 0; i < 100; i++) {
        (void)publish(a, "open/x", "1");
        assert_int_equal(logged(&w, "publish_rate"), i == 79 ? 1 : 0);
    }
    pump(&w);
    expect_nothing(a, RECORD_REFUSE);
    id = publish(a, "open/x", "1");
    pump(&w);
    expect_quota(a, id, "publish_rate", "100 records");
    (void)publish(b, "open/x", "1");
    pump(&w);
    expect_nothing(b, RECORD_REFUSE);

    advance(&w, 500);
    for (int i = 0; i < 50; i++)
        (void)publish(a, "open/x", "1");
    pump(&w);
    expect_nothing(a, RECORD_REFUSE);
    id = publish(a, "open/x", "1");
    pump(&w);
    expect_quota(a, id, "publish_rate", "100 records");
    world_deinit(&w);
}

static void a_new_link_is_no_new_quota(void **state)
{
    struct broker_settings settings = tight_settings();
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    for (int i = 0; i < 100; i++)
        (void)publish(a, "open/x", "1");
    pump(&w);
    client_lose_link(a);
    client_go(a);
    id = publish(a, "open/x", "1");
    pump(&w);
    expect_quota(a, id, "publish_rate", "100 records");
    world_deinit(&w);
}

static void handshakes_pass_when_messages_do_not(void **state)
{
    struct broker_settings settings = tight_settings();
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    for (int i = 0; i < 100; i++)
        (void)publish(a, "open/x", "1");
    (void)publish_to(a, "b", TOPIC_CONTROL, DELIVERY_CONTROL, "hello");
    pump(&w);
    expect_nothing(a, RECORD_REFUSE);
    expect_delivered(b, TOPIC_CONTROL, "a", "hello");
    world_deinit(&w);
}

static void bytes_that_wait_are_warned_about_before_any_is_dropped(void **state)
{
    struct broker_settings settings = tight_settings();
    struct world w;
    struct client *a, *b;
    struct broker_totals totals;

    (void)state;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    (void)subscribe(b, "open/#");
    b->stalled = true;
    while (logged(&w, "outbox_limit") == 0)
        (void)publish_size(a, "open/x", 5000);
    broker_get_totals(w.broker, &totals);
    assert_int_equal(totals.by_topic.dropped[DROP_SLOW_OLD], 0);
    assert_int_equal(status_number(&w, "quota_warnings", "outbox_limit"), 1);
    world_deinit(&w);
}

/* What is remembered of a lost session is its own: no other identity can push it out. */
static void many_sessions_of_one_component_do_not_make_the_broker_forget_another(void **state)
{
    struct broker_settings settings = tight_settings();
    struct world w;
    struct client *a, *b;
    uint64_t last;

    (void)state;
    settings.max_connections = 5;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    for (int i = 0; i < 5; i++)
        last = publish(a, "open/x", "1");
    pump(&w);
    client_lose_link(a);
    b = client_new(&w, "b");
    for (int i = 0; i < 50; i++) {
        b->instance++;
        client_go(b);
        client_lose_link(b);
        advance(&w, 100);
    }
    client_go(a);
    assert_true(a->welcome.last_id == last);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subscriptions_are_counted_and_warned_about_before_they_end),
        cmocka_unit_test(requests_are_counted_and_warned_about_before_they_end),
        cmocka_unit_test(links_of_one_component_are_counted_and_others_get_in),
        cmocka_unit_test(who_comes_again_and_again_is_told_so),
        cmocka_unit_test(a_publisher_over_its_rate_is_refused_until_time_has_passed),
        cmocka_unit_test(a_new_link_is_no_new_quota),
        cmocka_unit_test(handshakes_pass_when_messages_do_not),
        cmocka_unit_test(bytes_that_wait_are_warned_about_before_any_is_dropped),
        cmocka_unit_test(many_sessions_of_one_component_do_not_make_the_broker_forget_another),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
