/* SPDX-License-Identifier: Apache-2.0 */
/* What a component with role admin makes the broker do; and nobody else. */
#include "world.h"

static void tell(struct client *c, const char *what, const char *argument)
{
    struct writer frame = frame_begin();

    record_write_query(&frame, c->next_id++, bytes_text(what), bytes_text(argument));
    client_send(c, &frame);
    pump(c->world);
}

static void expect_answer(struct client *c, const char *json)
{
    struct item *item = take(c, RECORD_ANSWER);

    assert_non_null(item);
    assert_int_equal(item->size, strlen(json));
    assert_memory_equal(item->payload, json, item->size);
    item_free(item);
}

/* Whether the log has such an event since it was last asked. */
static bool logged(struct world *w, enum broker_event_kind kind, const char *name, const char *text)
{
    struct broker_event event;
    bool found = false;

    while (broker_next_event(w->broker, &event))
        found = found ||
                (event.kind == kind && strcmp(event.name, name) == 0 && strstr(event.text, text));
    return found;
}

static void only_role_admin_may_and_is_named_to_others(void **state)
{
    static const char *const acts[] = {"kick", "reload", "drain"};
    struct broker_ask ask;
    struct client *a, *b;
    struct world w;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    for (size_t i = 0; i < COUNT_OF(acts); i++) {
        struct item *item;

        tell(a, acts[i], "b");
        item = take(a, RECORD_REFUSE);
        assert_non_null(item);
        assert_int_equal(item->code, AICO_EDENIED);
        assert_non_null(strstr(item->text, "role admin"));
        assert_non_null(strstr(item->text, ": admin"));
        item_free(item);
        assert_true(logged(&w, BROKER_EVENT_DENIED, "a", acts[i]));
        assert_false(broker_next_ask(w.broker, &ask));
    }
    assert_int_equal(b->kicked, 1); /* still there */
    world_deinit(&w);
}

/* The right is looked up when it is used, not when the session began. */
static void a_role_that_was_taken_away_is_gone_at_once(void **state)
{
    struct client *admin;
    struct world w;

    (void)state;
    world_init(&w);
    admin = connect_as(&w, "admin");
    registry_unref(&w.registry);
    w.registry = registry_make(++w.version, "a active user\nadmin active user\n", RULES);
    broker_set_registry(w.broker, w.now, w.registry);
    pump(&w);
    tell(admin, "drain", "");
    expect_refused(admin, admin->next_id - 1, AICO_EDENIED);
    world_deinit(&w);
}

static void whoever_is_kicked_is_told_by_whom_and_why_and_may_come_back(void **state)
{
    struct client *admin, *a;
    struct item *bye;
    struct world w;

    (void)state;
    world_init(&w);
    admin = connect_as(&w, "admin");
    a = connect_as(&w, "a");
    (void)logged(&w, BROKER_EVENT_ADMIN, "", "");
    tell(admin, "kick", "a too loud");
    expect_answer(admin, "{\"kicked\":\"a\"}");
    bye = take(a, RECORD_BYE);
    assert_non_null(bye);
    assert_int_equal(bye->code, AICO_EKICKED);
    assert_string_equal(bye->text, "disconnected by admin: too loud");
    item_free(bye);
    assert_true(logged(&w, BROKER_EVENT_ADMIN, "admin", "kick a"));
    tell(admin, "kick", "a");
    expect_refused(admin, admin->next_id - 1, AICO_EPEERAWAY);
    tell(admin, "kick", "nobody");
    expect_refused(admin, admin->next_id - 1, AICO_EPEERUNKNOWN);
    tell(admin, "kick", "");
    expect_refused(admin, admin->next_id - 1, AICO_EPEERUNKNOWN);
    a = connect_as(&w, "a");
    assert_true(broker_peer_is_ready(a->peer));
    world_deinit(&w);
}

static void an_administrator_may_end_its_own_session(void **state)
{
    struct client *admin;
    struct world w;

    (void)state;
    world_init(&w);
    admin = connect_as(&w, "admin");
    tell(admin, "kick", "admin");
    expect_answer(admin, "{\"kicked\":\"admin\"}");
    expect_bye(admin, AICO_EKICKED);
    world_deinit(&w);
}

static void reload_and_drain_are_handed_on_once_and_answered(void **state)
{
    struct broker_ask ask;
    struct client *admin;
    struct world w;

    (void)state;
    world_init(&w);
    admin = connect_as(&w, "admin");
    tell(admin, "reload", "");
    tell(admin, "drain", "");
    assert_true(broker_next_ask(w.broker, &ask));
    assert_int_equal(ask.act, BROKER_RELOAD);
    assert_string_equal(ask.name, "admin");
    broker_answer_ask(w.broker, w.now, &ask, bytes_text("{}"));
    pump(&w);
    expect_answer(admin, "{}");
    assert_true(broker_next_ask(w.broker, &ask));
    assert_int_equal(ask.act, BROKER_DRAIN);
    assert_false(broker_next_ask(w.broker, &ask));
    client_lose_link(admin);
    broker_answer_ask(w.broker, w.now, &ask, bytes_text("{}")); /* nobody is there any more */
    world_deinit(&w);
}

static void asks_that_nobody_takes_are_refused_at_a_bound(void **state)
{
    struct client *admin;
    struct world w;

    (void)state;
    world_init(&w);
    admin = connect_as(&w, "admin");
    for (int i = 0; i < 8; i++)
        tell(admin, "reload", "");
    expect_nothing(admin, RECORD_REFUSE);
    tell(admin, "reload", "");
    expect_refused(admin, admin->next_id - 1, AICO_EFULL);
    world_deinit(&w);
}

static void other_limits_are_in_force_at_once(void **state)
{
    struct client *a;
    struct world w;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    w.settings.max_connections = 1;
    broker_set_settings(w.broker, w.now, &w.settings);
    {
        uint8_t identity[32];
        int code = 0;

        identity_of("b", identity);
        assert_null(broker_peer_open(w.broker, w.now, bytes_text("b"), identity, "", NULL, &code));
        assert_int_equal(code, AICO_EQUOTA);
    }
    assert_true(broker_peer_is_ready(a->peer)); /* who is there stays */
    world_deinit(&w);
}

/* Credit is counted in the window a session was given, whatever the window of later ones is. */
static void a_session_keeps_the_window_it_was_given(void **state)
{
    struct client *a, *b;
    struct world w;
    uint32_t window;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    window = a->welcome.window;
    w.settings.publish_window = window * 16;
    broker_set_settings(w.broker, w.now, &w.settings);
    b = connect_as(&w, "b");
    assert_int_equal(b->welcome.window, window * 16);
    for (uint32_t sent = 0; sent <= window / 2; sent += 1000) {
        char text[1001] = "";

        memset(text, 'x', 1000);
        publish(a, "open/x", text);
    }
    pump(&w);
    assert_true(count_items(a, RECORD_CREDIT) > 0);
    world_deinit(&w);
}

/* --- $bus/stats ----------------------------------------------------------------------------- */

static void numbers_come_every_second_while_somebody_reads(void **state)
{
    struct client *admin, *a;
    uint32_t subscription;
    struct writer frame;
    struct item *item;
    struct world w;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    admin = connect_as(&w, "admin");
    publish(a, "open/x", "never in the numbers");
    advance(&w, 5000);
    expect_nothing(admin, RECORD_DELIVER);
    subscription = subscribe(admin, "$bus/stats");
    for (int i = 0; i < 3; i++) {
        advance(&w, 1100);
        item = take(admin, RECORD_DELIVER);
        assert_non_null(item);
        assert_string_equal(item->topic, "$bus/stats");
        assert_string_equal(item->sender, "broker");
        assert_non_null(memmem(item->payload, item->size, "\"published\":1", 13));
        assert_non_null(memmem(item->payload, item->size, "\"name\":\"a\"", 10));
        assert_null(memmem(item->payload, item->size, "never", 5));
        item_free(item);
    }
    frame = frame_begin();
    record_write_unsubscribe(&frame, admin->next_id++, subscription);
    client_send(admin, &frame);
    pump(&w);
    drop_items(admin);
    advance(&w, 5000);
    expect_nothing(admin, RECORD_DELIVER);
    world_deinit(&w);
}

static void numbers_are_for_the_role_or_whom_a_rule_names(void **state)
{
    struct client *a, *admin;
    struct world w;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    admin = connect_as(&w, "admin");
    id = send_subscribe(a, "$bus/stats", SLOW_DROP_OLD, false);
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    subscribe(admin, "$bus/stats");
    registry_unref(&w.registry);
    w.registry = registry_make(++w.version, COMPONENTS,
                               "$bus/stats publish broker subscribe a seal none\n" RULES);
    broker_set_registry(w.broker, w.now, w.registry);
    pump(&w);
    subscribe(a, "$bus/stats");
    drop_items(admin);
    advance(&w, 1100);
    assert_true(count_items(a, RECORD_DELIVER) > 0);
    expect_nothing(admin, RECORD_DELIVER);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_role_admin_may_and_is_named_to_others),
        cmocka_unit_test(a_role_that_was_taken_away_is_gone_at_once),
        cmocka_unit_test(whoever_is_kicked_is_told_by_whom_and_why_and_may_come_back),
        cmocka_unit_test(an_administrator_may_end_its_own_session),
        cmocka_unit_test(reload_and_drain_are_handed_on_once_and_answered),
        cmocka_unit_test(asks_that_nobody_takes_are_refused_at_a_bound),
        cmocka_unit_test(other_limits_are_in_force_at_once),
        cmocka_unit_test(a_session_keeps_the_window_it_was_given),
        cmocka_unit_test(numbers_come_every_second_while_somebody_reads),
        cmocka_unit_test(numbers_are_for_the_role_or_whom_a_rule_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
