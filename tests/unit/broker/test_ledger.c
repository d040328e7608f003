/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's rows of what goes straight to one component: each loss there has its cause. */
#include <jansson.h>

#include "world.h"

static json_t *books(const struct world *w)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};

    assert_int_equal(
        broker_status_json(w->broker, w->now, bytes_text("ledger"), bytes_of(NULL, 0), &text), 0);
    return json_loadb((const char *)text.at, text.size, 0, NULL);
}

static bool has(const json_t *row, const char *key, const char *value)
{
    return strcmp(json_string_value(json_object_get(row, key)), value) == 0;
}

/* Member @path ("published", "dropped/expired") of the row; 0 where there is none. */
static json_int_t count(const struct world *w, const char *sender, const char *way,
                        const char *reader, const char *path)
{
    json_t *all = books(w), *row;
    char key[64], *slash;
    json_int_t found = 0;
    size_t i;

    (void)snprintf(key, sizeof(key), "%s", path);
    slash = strchr(key, '/');
    if (slash)
        *slash = '\0';
    json_array_foreach(json_object_get(all, "rows"), i, row)
    {
        const json_t *member = json_object_get(row, key);

        if (has(row, "sender", sender) && has(row, "way", way) && has(row, "reader", reader))
            found += json_integer_value(slash ? json_object_get(member, slash + 1) : member);
    }
    json_decref(all);
    return found;
}

static void what_went_to_one_component_is_in_its_row(void **state UNUSED)
{
    struct client *a, *b;
    struct world w;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    publish_to(a, "b", "open/x", DELIVERY_EVENT, "one");
    publish_to(a, "b", "open/x", DELIVERY_EVENT, "two");
    pump(&w);
    assert_int_equal(count(&w, "a", "direct", "b", "published"), 2);
    assert_int_equal(count(&w, "a", "direct", "b", "delivered"), 2);
    publish(a, "open/x", "to all");
    pump(&w);
    assert_int_equal(count(&w, "a", "direct", "b", "rule_line"),
                     count(&w, "a", "topic", "b", "rule_line"));
    assert_int_equal(count(&w, "a", "direct", "b", "delivered"), 2);
    assert_int_equal(count(&w, "a", "topic", "b", "delivered"), 1);
    world_deinit(&w);
}

static void a_refusal_has_its_receiver_and_its_cause(void **state UNUSED)
{
    struct client *a, *b;
    struct world w;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    publish_to(a, "c", "open/x", DELIVERY_EVENT, "away");
    publish_to(a, "b", "open/x", DELIVERY_EVENT, "has not subscribed");
    publish_to(a, "nobody", "open/x", DELIVERY_EVENT, "not in the registry");
    publish_to(b, "a", "up/x", DELIVERY_EVENT, "b may not write it");
    publish_to(a, "b", "sealed/x", DELIVERY_EVENT, "not sealed");
    pump(&w);
    assert_int_equal(count(&w, "a", "direct", "c", "refused_for/E_PEER_AWAY"), 1);
    assert_int_equal(count(&w, "a", "direct", "b", "refused_for/E_NO_RESPONDER"), 1);
    assert_int_equal(count(&w, "a", "direct", "b", "refused_for/E_DENIED"), 1);
    assert_int_equal(count(&w, "a", "direct", "", "refused_for/E_PEER_UNKNOWN"), 1);
    /* Who has no right there fills no rows of others. */
    assert_int_equal(count(&w, "b", "direct", "", "refused_for/E_DENIED"), 1);
    assert_int_equal(count(&w, "a", "direct", "b", "refused"), 2);
    world_deinit(&w);
}

static void what_has_no_room_or_is_too_large_is_named(void **state UNUSED)
{
    struct broker_settings settings;
    struct client *a, *b;
    struct world w;

    broker_settings_default(&settings);
    settings.direct_limit = 10;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    publish_to(a, "b", "open/x", DELIVERY_EVENT, "fills it");
    publish_to(a, "b", "open/x", DELIVERY_EVENT, "has no room");
    send_publish(a, (struct record_publish){.to = NUMBER_BY_NAME,
                                            .to_name = bytes_text("b"),
                                            .topic_name = bytes_text("open/x"),
                                            .fragment = true,
                                            .total = MESSAGE_SIZE_MAX,
                                            .payload = bytes_text("x")});
    pump(&w);
    assert_int_equal(count(&w, "a", "direct", "b", "refused_for/E_FULL"), 1);
    assert_int_equal(count(&w, "a", "direct", "b", "refused_for/E_TOO_LARGE"), 1);
    assert_int_equal(count(&w, "a", "direct", "b", "queued"), 1);
    client_lose_link(b);
    pump(&w);
    assert_int_equal(count(&w, "a", "direct", "b", "dropped/link lost"), 1);
    assert_int_equal(count(&w, "a", "direct", "b", "queued"), 0);
    world_deinit(&w);
}

static void what_waited_too_long_is_named(void **state UNUSED)
{
    struct client *a, *b;
    struct world w;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    send_publish(a, (struct record_publish){.to = NUMBER_BY_NAME,
                                            .to_name = bytes_text("b"),
                                            .ttl_ms = 100,
                                            .topic_name = bytes_text("open/x"),
                                            .payload = bytes_text("short")});
    advance(&w, 200);
    assert_int_equal(count(&w, "a", "direct", "b", "dropped/expired"), 1);
    world_deinit(&w);
}

/* --- requests ------------------------------------------------------------------------------- */

static uint64_t ask(struct client *c, uint32_t timeout_ms)
{
    return send_publish(c, (struct record_publish){.delivery = DELIVERY_REQUEST,
                                                   .to = NUMBER_BY_NAME,
                                                   .to_name = bytes_text("b"),
                                                   .timeout_ms = timeout_ms,
                                                   .topic_name = bytes_text("open/ask"),
                                                   .payload = bytes_text("question")});
}

static void reply(struct client *c, uint64_t request)
{
    send_publish(c, (struct record_publish){.delivery = DELIVERY_REPLY,
                                            .to = NUMBER_BY_NAME,
                                            .to_name = bytes_text("a"),
                                            .topic_name = bytes_text("open/ask"),
                                            .reply = true,
                                            .request = request,
                                            .payload = bytes_text("answer")});
}

static void a_request_is_answered_or_not_for_a_cause(void **state UNUSED)
{
    struct client *a, *b;
    struct world w;
    uint64_t late;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/ask", SLOW_DROP_OLD, true);
    reply(b, ask(a, 1000));
    late = ask(a, 500);
    pump(&w);
    assert_int_equal(count(&w, "a", "request", "b", "asked"), 2);
    assert_int_equal(count(&w, "a", "request", "b", "answered"), 1);
    assert_int_equal(count(&w, "a", "request", "b", "open"), 1);
    assert_int_equal(count(&w, "b", "reply", "a", "delivered"), 1);
    advance(&w, 700);
    reply(b, late);
    pump(&w);
    assert_int_equal(count(&w, "a", "request", "b", "unanswered/E_TIMEOUT"), 1);
    assert_int_equal(count(&w, "b", "reply", "a", "refused_for/E_NO_REQUEST"), 1);
    ask(a, 0);
    pump(&w);
    client_lose_link(b);
    pump(&w);
    assert_int_equal(count(&w, "a", "request", "b", "unanswered/E_PEER_AWAY"), 1);
    assert_int_equal(count(&w, "a", "request", "b", "open"), 0);
    assert_int_equal(count(&w, "a", "request", "b", "delivered"), 3);
    world_deinit(&w);
}

static void a_request_whose_asker_left_is_named_too(void **state UNUSED)
{
    struct client *a, *b;
    struct world w;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/ask", SLOW_DROP_OLD, true);
    ask(a, 0);
    pump(&w);
    client_lose_link(a);
    pump(&w);
    assert_int_equal(count(&w, "a", "request", "b", "unanswered/E_CLOSED"), 1);
    world_deinit(&w);
}

static void a_request_that_finds_nobody_is_named(void **state UNUSED)
{
    struct writer frame;
    struct client *a;
    struct world w;

    world_init(&w);
    a = connect_as(&w, "a");
    frame = frame_begin();
    record_write_resolve(&frame, a->next_id++, bytes_text("open/ask"));
    record_write_resolve(&frame, a->next_id++, bytes_text("nowhere"));
    client_send(a, &frame);
    pump(&w);
    assert_int_equal(count(&w, "a", "request", "", "unanswered/E_NO_RESPONDER"), 1);
    assert_int_equal(count(&w, "a", "request", "", "unanswered/E_DENIED"), 1);
    world_deinit(&w);
}

/* --- rows ----------------------------------------------------------------------------------- */

static void the_bus_itself_has_one_row_a_sender(void **state UNUSED)
{
    struct client *a, *b, *c;
    struct world w;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    publish_to(a, "b", TOPIC_CONTROL, DELIVERY_CONTROL, "x");
    publish_to(a, "c", TOPIC_CONTROL, DELIVERY_CONTROL, "x");
    subscribe(b, "$bus/presence/*");
    pump(&w);
    assert_int_equal(count(&w, "a", "control", "", "delivered"), 2);
    assert_true(count(&w, "broker", "control", "", "delivered") > 0);
    b->stalled = true; /* an older word on the same is taken back */
    client_lose_link(c);
    pump(&w);
    send_subscribe(b, "$bus/presence/b", SLOW_DROP_OLD, false);
    send_subscribe(b, "$bus/presence/*", SLOW_DROP_OLD, false);
    pump(&w);
    check_balance(&w);
    world_deinit(&w);
}

static void a_message_in_fragments_is_counted_under_its_rule(void **state UNUSED)
{
    struct client *a, *b;
    struct world w;
    uint64_t id;

    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    id = publish_fragment(a, "open/x", 0, 200, 0, 100);
    publish_fragment(a, "open/x", id, 200, 100, 100);
    pump(&w);
    assert_int_equal(count(&w, "a", "topic", "", "published"), 1);
    assert_int_equal(count(&w, "a", "topic", "", "rule_line"),
                     count(&w, "a", "topic", "b", "rule_line"));
    assert_true(count(&w, "a", "topic", "", "rule_line") > 0);
    world_deinit(&w);
}

/* 2048 rows beside those by topic; what comes then is counted together, under the name "*". */
static void more_rows_than_there_is_room_for_are_one(void **state UNUSED)
{
    enum { RULES_MADE = 60, NAMES_MADE = 41 };
    CLEANUP(buffer_deinit)
    struct buffer components = {0}, rules = {0};
    struct broker_settings settings;
    char to[16], topic[32];
    struct client *a;
    struct world w;

    for (int i = 0; i < NAMES_MADE; i++)
        buffer_printf(&components, "c%d active user\n", i);
    for (int i = 0; i < RULES_MADE; i++)
        buffer_printf(&rules, "r%d/** publish * subscribe * seal none\n", i);
    buffer_append(&components, bytes_of("", 1));
    buffer_append(&rules, bytes_of("", 1));
    broker_settings_default(&settings);
    world_init_with(&w, &settings, (const char *)components.at, (const char *)rules.at);
    a = connect_as(&w, "c0");
    for (int i = 0; i < RULES_MADE; i++) {
        for (int j = 1; j < NAMES_MADE; j++) {
            (void)snprintf(to, sizeof(to), "c%d", j);
            (void)snprintf(topic, sizeof(topic), "r%d/x", i);
            publish_to(a, to, topic, DELIVERY_EVENT, "away");
        }
        pump(&w);
        drop_items(a);
    }
    assert_int_equal(count(&w, "*", "direct", "*", "refused_for/E_PEER_AWAY"),
                     RULES_MADE * (NAMES_MADE - 1) - 2048);
    publish(a, "r0/x", "by topic there is room");
    pump(&w);
    assert_int_equal(count(&w, "c0", "topic", "", "published"), 1);
    world_deinit(&w);
}

/* Of the row with what @sender said by topic under the rule @filter; -1: there is none. */
static json_int_t said(const struct world *w, const char *sender, const char *filter,
                       const char *path)
{
    json_t *all = books(w), *row;
    json_int_t found = -1;
    size_t i;

    json_array_foreach(json_object_get(all, "rows"), i, row)
    {
        if (has(row, "sender", sender) && has(row, "rule", filter) && has(row, "way", "topic") &&
            has(row, "reader", ""))
            found = json_integer_value(json_object_get(row, path));
    }
    json_decref(all);
    return found;
}

/* A registry may have its rules in other lines than the one before. */
static void a_row_keeps_the_name_of_its_rule(void **state UNUSED)
{
    json_int_t line;
    struct client *a;
    struct world w;

    world_init(&w);
    a = connect_as(&w, "a");
    publish(a, "open/x", "one");
    publish(a, "up/x", "two");
    pump(&w);
    line = said(&w, "a", "open/**", "rule_line");
    registry_unref(&w.registry);
    w.registry = registry_make(2, COMPONENTS,
                               "first/** publish * subscribe * seal none\n"
                               "sealed/** publish * subscribe * seal group\n"
                               "open/** publish * subscribe * seal none\n");
    broker_set_registry(w.broker, w.now, w.registry);
    publish(a, "open/x", "three");
    publish(a, "first/x", "four");
    publish(a, "first/x", "five");
    publish(a, "first/x", "six");
    pump(&w);
    assert_int_equal(said(&w, "a", "open/**", "published"), 2);
    assert_int_equal(said(&w, "a", "first/**", "published"), 3);
    assert_int_equal(said(&w, "a", "open/**", "rule_line"), line);
    /* It is gone, and what it let through was let through. */
    assert_int_equal(said(&w, "a", "up/**", "published"), 1);
    assert_int_equal(said(&w, "a", "up/**", "rule_line"), 0);
    check_balance(&w);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_went_to_one_component_is_in_its_row),
        cmocka_unit_test(a_refusal_has_its_receiver_and_its_cause),
        cmocka_unit_test(what_has_no_room_or_is_too_large_is_named),
        cmocka_unit_test(what_waited_too_long_is_named),
        cmocka_unit_test(a_request_is_answered_or_not_for_a_cause),
        cmocka_unit_test(a_request_whose_asker_left_is_named_too),
        cmocka_unit_test(a_request_that_finds_nobody_is_named),
        cmocka_unit_test(the_bus_itself_has_one_row_a_sender),
        cmocka_unit_test(a_message_in_fragments_is_counted_under_its_rule),
        cmocka_unit_test(more_rows_than_there_is_room_for_are_one),
        cmocka_unit_test(a_row_keeps_the_name_of_its_rule),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
