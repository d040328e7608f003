/* SPDX-License-Identifier: Apache-2.0 */
/* Who gets what: subscriptions, messages, requests, presence, questions. */
#include <jansson.h>

#include "world.h"

/* --- by subscription ------------------------------------------------------------------------ */

static void a_message_reaches_every_subscriber_once_and_not_its_publisher(void **state)
{
    struct world w;
    struct client *a, *b, *c, *d;
    uint64_t id;
    struct item *ack;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    d = connect_as(&w, "d");
    subscribe(a, "open/#");
    subscribe(b, "open/#");
    subscribe(b, "open/x"); /* matches too, and is still one delivery */
    subscribe(c, "open/+");
    subscribe(d, "open/y");
    id = publish(a, "open/x", "hello");
    pump(&w);
    expect_delivered(b, "open/x", "a", "hello");
    expect_delivered(c, "open/x", "a", "hello");
    expect_nothing(a, RECORD_DELIVER);
    expect_nothing(b, RECORD_DELIVER);
    expect_nothing(d, RECORD_DELIVER);
    ack = take(a, RECORD_ACK);
    assert_true(ack && ack->id == id);
    item_free(ack);
    world_deinit(&w);
}

static void a_topic_is_named_once_and_by_number_after_that(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t number = 0;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    publish(a, "open/x", "1");
    pump(&w);
    for (uint32_t i = 0; i < NAMES_MAX; i++)
        if (a->topics[i] && strcmp(a->topics[i], "open/x") == 0)
            number = i;
    assert_true(number > TOPIC_NUMBER_HEADS);
    assert_string_equal(b->topics[number], "open/x"); /* broker-wide */
    send_publish(a, (struct record_publish){.topic = number, .payload = bytes_text("2")});
    pump(&w);
    expect_delivered(b, "open/x", "a", "1");
    expect_delivered(b, "open/x", "a", "2");
    assert_int_equal(count_items(a, RECORD_TOPIC), 1);
    assert_int_equal(count_items(b, RECORD_TOPIC), 1);
    world_deinit(&w);
}

static void a_number_that_was_never_told_is_a_breach(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    publish(a, "open/x", "1");
    pump(&w);
    send_publish(b, (struct record_publish){.topic = 3, .payload = bytes_text("guess")});
    pump(&w);
    expect_bye(b, AICO_EPROTO);
    world_deinit(&w);
}

static void beyond_max_topics_messages_go_by_name_and_none_is_lost(void **state)
{
    struct broker_settings settings;
    struct world w;
    struct client *a, *b;
    char topic[32];

    (void)state;
    broker_settings_default(&settings);
    settings.max_topics = 8;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 20; i++) {
            (void)snprintf(topic, sizeof(topic), "open/%d", i);
            publish(a, topic, topic);
        }
    pump(&w);
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 20; i++) {
            (void)snprintf(topic, sizeof(topic), "open/%d", i);
            expect_delivered(b, topic, "a", topic);
        }
    world_deinit(&w);
}

static void a_denied_publish_names_the_rule_and_reaches_nobody(void **state)
{
    struct world w;
    struct client *a, *b;
    struct item *refusal;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "up/#");
    id = publish(b, "up/x", "b may only read");
    pump(&w);
    refusal = take(b, RECORD_REFUSE);
    assert_non_null(refusal);
    assert_true(refusal->id == id);
    assert_int_equal(refusal->code, AICO_EDENIED);
    assert_string_equal(refusal->topic, "up/**");
    assert_int_equal(refusal->value, registry_rule_for(w.registry, bytes_text("up/x"))->line);
    assert_non_null(strstr(refusal->text, "aico-keytool rule set"));
    item_free(refusal);
    id = publish(a, "elsewhere", "no rule");
    pump(&w);
    refusal = take(a, RECORD_REFUSE);
    assert_true(refusal && refusal->id == id && refusal->code == AICO_EDENIED &&
                refusal->value == 0);
    item_free(refusal);
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void a_refusal_comes_before_the_ack_that_covers_it(void **state)
{
    struct world w;
    struct client *b;
    struct writer frame;
    bool refused = false;

    (void)state;
    world_init(&w);
    b = connect_as(&w, "b");
    drop_items(b);
    frame = frame_begin();
    for (uint64_t id = 1; id <= 3; id++)
        record_write_publish(
            &frame, &(struct record_publish){.id = id,
                                             .topic_name = bytes_text(id == 2 ? "up/x" : "open/x"),
                                             .payload = bytes_text("x")});
    client_send(b, &frame);
    pump(&w);
    assert_int_equal(count_items(b, RECORD_ACK), 1); /* one for the whole frame */
    for (const struct item *item = b->items; item; item = item->next) {
        refused |= item->type == RECORD_REFUSE && item->id == 2;
        if (item->type == RECORD_ACK) {
            assert_true(refused);
            assert_true(item->id == 3);
        }
    }
    world_deinit(&w);
}

static void a_denied_subscription_names_the_rule(void **state)
{
    struct world w;
    struct client *c;
    struct item *refusal;
    uint64_t id;

    (void)state;
    world_init(&w);
    c = connect_as(&w, "c");
    id = send_subscribe(c, "up/#", SLOW_DROP_OLD, false);
    pump(&w);
    refusal = take(c, RECORD_REFUSE);
    assert_true(refusal && refusal->id == id && refusal->code == AICO_EDENIED);
    assert_string_equal(refusal->topic, "up/**");
    item_free(refusal);
    expect_nothing(c, RECORD_OK);
    world_deinit(&w);
}

static void a_wide_subscription_shows_what_the_rules_allow_and_no_more(void **state)
{
    struct world w;
    struct client *a, *b, *c;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe(b, "#");
    subscribe(c, "#");
    publish(a, "up/x", "secret");
    publish(a, "open/x", "plain");
    pump(&w);
    expect_delivered(b, "up/x", "a", "secret");
    expect_delivered(b, "open/x", "a", "plain");
    expect_delivered(c, "open/x", "a", "plain");
    expect_nothing(c, RECORD_DELIVER);
    for (size_t i = 0; i < NAMES_MAX; i++) /* not even the name of the topic */
        assert_true(!c->topics[i] || strcmp(c->topics[i], "up/x") != 0);
    world_deinit(&w);
}

static void names_of_the_bus_are_closed_to_applications(void **state)
{
    static const char *const filters[] = {"$bus/control", "$bus/#", "$bus/+/x", "$other"};
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    for (size_t i = 0; i < COUNT_OF(filters); i++) {
        id = send_subscribe(a, filters[i], SLOW_DROP_OLD, false);
        pump(&w);
        expect_refused(a, id, AICO_EDENIED);
    }
    id = publish(a, "$bus/presence/b", "{}");
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    id = publish(a, "$bus/control", "x");
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    subscribe(a, "$bus/heads");
    subscribe(a, "$bus/presence/#");
    world_deinit(&w);
}

static void an_invalid_topic_or_filter_is_refused_and_the_session_goes_on(void **state)
{
    static const char *const topics[] = {"a//b", "/a", "a/", "a/*", "a/#", "+"};
    static const char *const filters[] = {"a//b", "a/#/b", "a*", "**/a", "a/+b"};
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    for (size_t i = 0; i < COUNT_OF(topics); i++) {
        id = publish(a, topics[i], "x");
        pump(&w);
        expect_refused(a, id, AICO_ETOPIC);
    }
    for (size_t i = 0; i < COUNT_OF(filters); i++) {
        id = send_subscribe(a, filters[i], SLOW_DROP_OLD, false);
        pump(&w);
        expect_refused(a, id, AICO_ETOPIC);
    }
    subscribe(a, "open/#");
    world_deinit(&w);
}

static void after_unsubscribe_nothing_more_comes(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t number;
    struct writer frame;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    number = subscribe(b, "open/#");
    frame = frame_begin();
    record_write_unsubscribe(&frame, b->next_id++, number);
    client_send(b, &frame);
    publish(a, "open/x", "x");
    pump(&w);
    assert_int_equal(count_items(b, RECORD_OK), 1);
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void more_subscriptions_than_allowed_are_refused(void **state)
{
    struct broker_settings settings;
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    broker_settings_default(&settings);
    settings.max_subscriptions = 3;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    for (int i = 0; i < 3; i++)
        subscribe(a, "open/#");
    id = send_subscribe(a, "open/#", SLOW_DROP_OLD, false);
    pump(&w);
    expect_refused(a, id, AICO_EQUOTA);
    world_deinit(&w);
}

static void a_mailbox_needs_a_store(void **state)
{
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    id = send_publish(a, (struct record_publish){.delivery = DELIVERY_MAILBOX,
                                                 .to = NUMBER_BY_NAME,
                                                 .to_name = bytes_text("b"),
                                                 .topic_name = bytes_text("open/x"),
                                                 .payload = bytes_text("x")});
    pump(&w);
    expect_refused(a, id, AICO_ESTORE);
    world_deinit(&w);
}

static void nothing_crosses_in_clear_where_a_rule_demands_sealing(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "sealed/#");
    id = publish(a, "sealed/x", "clear text");
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    id = publish(a, "sealed/x", "");
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    id = publish_to(a, "b", "sealed/x", DELIVERY_EVENT, "clear text");
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    publish(a, "sealed/x", "AICO-MSG...");
    pump(&w);
    expect_delivered(b, "sealed/x", "a", "AICO-MSG...");
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void a_message_larger_than_allowed_is_refused_by_its_first_fragment(void **state)
{
    struct broker_settings settings;
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    broker_settings_default(&settings);
    settings.max_message_size = 100000;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    id = publish_fragment(a, "open/x", 0, 300000, 0, 60000);
    publish_fragment(a, "open/x", id, 300000, 60000, 60000); /* was on its way already */
    pump(&w);
    expect_refused(a, id, AICO_ETOOLARGE);
    expect_nothing(a, RECORD_REFUSE);
    assert_int_equal(a->kicked, 1);
    publish(a, "open/x", "goes on");
    pump(&w);
    expect_nothing(a, RECORD_REFUSE);
    world_deinit(&w);
}

static void heads_go_to_their_subscribers_and_control_is_limited(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "$bus/heads");
    send_publish(a, (struct record_publish){.delivery = DELIVERY_CONTROL,
                                            .topic = TOPIC_NUMBER_HEADS,
                                            .payload = bytes_text("AICO-MSG heads")});
    pump(&w);
    expect_delivered(b, "$bus/heads", "a", "AICO-MSG heads");
    world_deinit(&w);
}

/* --- to one component ----------------------------------------------------------------------- */

static void control_reaches_any_connected_component_whatever_the_rules(void **state)
{
    struct world w;
    struct client *c, *d;
    struct broker_totals totals;
    struct item *item;
    uint64_t id;

    (void)state;
    world_init(&w);
    c = connect_as(&w, "c");
    d = connect_as(&w, "d");
    send_publish(c, (struct record_publish){.delivery = DELIVERY_CONTROL,
                                            .topic = TOPIC_NUMBER_CONTROL,
                                            .to = NUMBER_BY_NAME,
                                            .to_name = bytes_text("d"),
                                            .payload = bytes_text("\x01hello")});
    pump(&w);
    item = take(d, RECORD_DELIVER);
    assert_non_null(item);
    assert_true(item->direct && item->delivery == DELIVERY_CONTROL);
    assert_string_equal(item->topic, "$bus/control");
    assert_string_equal(item->sender, "c");
    item_free(item);
    broker_get_totals(w.broker, &totals);
    assert_true(totals.handshakes == 1);

    id = publish_to(c, "a", TOPIC_CONTROL, DELIVERY_CONTROL, "x");
    pump(&w);
    expect_refused(c, id, AICO_EPEERAWAY);
    id = publish_to(c, "nobody", TOPIC_CONTROL, DELIVERY_CONTROL, "x");
    pump(&w);
    expect_refused(c, id, AICO_EPEERUNKNOWN);
    id = publish_to(c, "c", TOPIC_CONTROL, DELIVERY_CONTROL, "x");
    pump(&w);
    expect_refused(c, id, AICO_EINVAL);
    id = publish_to(c, "d", "open/x", DELIVERY_CONTROL, "x");
    pump(&w);
    expect_refused(c, id, AICO_EINVAL);
    world_deinit(&w);
}

static uint64_t publish_copy(struct client *c, const char *to, const char *topic)
{
    return send_publish(c, (struct record_publish){.to = NUMBER_BY_NAME,
                                                   .copy = true,
                                                   .to_name = bytes_text(to),
                                                   .topic_name = bytes_text(topic),
                                                   .payload = bytes_text("copy")});
}

static void a_copy_goes_to_an_entitled_reader_that_has_not_subscribed(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    connect_as(&w, "c");
    publish_copy(a, "b", "up/x");
    pump(&w);
    expect_delivered(b, "up/x", "a", "copy");
    id = publish_copy(a, "c", "up/x");
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    world_deinit(&w);
}

static void a_direct_event_needs_the_rule_and_the_receivers_subscription(void **state)
{
    struct world w;
    struct client *a, *b, *c;
    struct item *item;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    id = publish_to(a, "b", "up/x", DELIVERY_EVENT, "not subscribed");
    pump(&w);
    item = take(a, RECORD_REFUSE);
    assert_true(item && item->id == id && item->code == AICO_ENORESPONDER);
    assert_string_equal(item->text, "b is connected but has not subscribed to this topic");
    item_free(item);
    subscribe(b, "up/#");
    subscribe(c, "open/#");
    publish_to(a, "b", "up/x", DELIVERY_EVENT, "for b");
    pump(&w);
    item = take(b, RECORD_DELIVER);
    assert_true(item && item->direct && item->delivery == DELIVERY_EVENT);
    item_free(item);
    id = publish_to(a, "c", "up/x", DELIVERY_EVENT, "c may not read it");
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    id = publish_to(b, "a", "up/x", DELIVERY_EVENT, "b may not write it");
    pump(&w);
    expect_refused(b, id, AICO_EDENIED);
    expect_nothing(c, RECORD_DELIVER);
    world_deinit(&w);
}

static uint64_t send_resolve(struct client *c, const char *topic)
{
    struct writer frame = frame_begin();
    uint64_t id = c->next_id++;

    record_write_resolve(&frame, id, bytes_text(topic));
    client_send(c, &frame);
    pump(c->world);
    return id;
}

static uint64_t send_reply(struct client *c, const char *to, uint64_t request, const char *payload)
{
    return send_publish(c, (struct record_publish){.delivery = DELIVERY_REPLY,
                                                   .to = NUMBER_BY_NAME,
                                                   .to_name = bytes_text(to),
                                                   .topic_name = bytes_text("open/ask"),
                                                   .reply = true,
                                                   .request = request,
                                                   .payload = bytes_text(payload)});
}

static void a_request_is_answered_once_by_the_one_who_was_asked(void **state)
{
    struct world w;
    struct client *a, *b, *c;
    struct item *item;
    uint64_t id, reply;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe_with(b, "open/ask", SLOW_DROP_OLD, true);
    id = publish_to(a, "b", "open/ask", DELIVERY_REQUEST, "question");
    pump(&w);
    item = take(b, RECORD_DELIVER);
    assert_true(item && item->delivery == DELIVERY_REQUEST && item->id == id && item->direct);
    item_free(item);

    reply = send_reply(c, "a", id, "not asked");
    pump(&w);
    expect_refused(c, reply, AICO_ENOREQUEST);
    send_reply(b, "a", id, "answer");
    pump(&w);
    item = take(a, RECORD_DELIVER);
    assert_true(item && item->delivery == DELIVERY_REPLY && item->request == id);
    assert_string_equal(item->sender, "b");
    item_free(item);
    reply = send_reply(b, "a", id, "again");
    pump(&w);
    expect_refused(b, reply, AICO_ENOREQUEST);
    expect_nothing(a, RECORD_DELIVER);
    world_deinit(&w);
}

static void a_request_to_one_who_does_not_serve_is_refused(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#"); /* reads, but does not serve */
    id = publish_to(a, "b", "open/ask", DELIVERY_REQUEST, "question");
    pump(&w);
    expect_refused(a, id, AICO_ENORESPONDER);
    id = publish_to(a, "c", "open/ask", DELIVERY_REQUEST, "question");
    pump(&w);
    expect_refused(a, id, AICO_EPEERAWAY);
    world_deinit(&w);
}

static void a_responder_that_leaves_is_reported_to_the_requester(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/ask", SLOW_DROP_OLD, true);
    id = publish_to(a, "b", "open/ask", DELIVERY_REQUEST, "question");
    pump(&w);
    client_lose_link(b);
    pump(&w);
    expect_refused(a, id, AICO_EPEERAWAY);
    world_deinit(&w);
}

static void a_request_is_forgotten_when_its_time_is_over(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id, reply;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/ask", SLOW_DROP_OLD, true);
    id = send_publish(a, (struct record_publish){.delivery = DELIVERY_REQUEST,
                                                 .to = NUMBER_BY_NAME,
                                                 .to_name = bytes_text("b"),
                                                 .timeout_ms = 500,
                                                 .topic_name = bytes_text("open/ask"),
                                                 .payload = bytes_text("question")});
    advance(&w, 700);
    reply = send_reply(b, "a", id, "too late");
    pump(&w);
    expect_refused(b, reply, AICO_ENOREQUEST);
    world_deinit(&w);
}

static void no_more_requests_wait_than_allowed(void **state)
{
    struct broker_settings settings;
    struct world w;
    struct client *a, *b;
    uint64_t id = 0;

    (void)state;
    broker_settings_default(&settings);
    settings.max_requests = 10;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "open/ask", SLOW_DROP_OLD, true);
    for (int i = 0; i < 11; i++)
        id = publish_to(a, "b", "open/ask", DELIVERY_REQUEST, "question");
    pump(&w);
    expect_refused(a, id, AICO_EQUOTA);
    expect_nothing(a, RECORD_REFUSE);
    world_deinit(&w);
}

static void resolve_takes_turns_among_those_who_serve(void **state)
{
    struct world w;
    struct client *a, *b, *c;
    int from_b = 0, from_c = 0;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe_with(b, "open/ask", SLOW_DROP_OLD, true);
    subscribe_with(c, "open/#", SLOW_DROP_OLD, true);
    subscribe_with(a, "open/#", SLOW_DROP_OLD, true); /* never answers itself */
    for (int i = 0; i < 10; i++) {
        uint64_t id = send_resolve(a, "open/ask");
        struct item *item = take(a, RECORD_RESOLVED);

        assert_true(item && item->id == id);
        from_b += strcmp(item->sender, "b") == 0;
        from_c += strcmp(item->sender, "c") == 0;
        item_free(item);
    }
    assert_int_equal(from_b, 5);
    assert_int_equal(from_c, 5);
    world_deinit(&w);
}

static void resolve_says_at_once_that_nobody_serves(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    id = send_resolve(a, "open/ask");
    expect_refused(a, id, AICO_ENORESPONDER);
    id = send_resolve(b, "up/x");
    expect_refused(b, id, AICO_EDENIED);
    id = send_resolve(b, "a//b");
    expect_refused(b, id, AICO_ETOPIC);
    id = send_resolve(b, "$bus/control");
    expect_refused(b, id, AICO_EDENIED);
    world_deinit(&w);
}

static void a_full_direct_lane_is_refused_to_the_sender_and_handshakes_still_pass(void **state)
{
    static uint8_t payload[60000];
    struct broker_settings settings;
    struct world w;
    struct client *a, *b;
    uint64_t id = 0;
    int accepted = 0;

    (void)state;
    broker_settings_default(&settings);
    settings.direct_limit = 300000;
    settings.publish_window = 1 << 24;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    for (; accepted < 100; accepted++) {
        id = send_publish(a, (struct record_publish){.to = NUMBER_BY_NAME,
                                                     .to_name = bytes_text("b"),
                                                     .topic_name = bytes_text("open/x"),
                                                     .payload = bytes_of(payload, 60000)});
        pump(&w);
        if (count_items(a, RECORD_REFUSE) > 0)
            break;
    }
    assert_in_range(accepted, 4, 6);
    expect_refused(a, id, AICO_EFULL);
    publish_to(a, "b", TOPIC_CONTROL, DELIVERY_CONTROL, "handshake");
    pump(&w);
    expect_nothing(a, RECORD_REFUSE);
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    assert_int_equal(count_items(b, RECORD_DELIVER), (size_t)accepted + 1);
    world_deinit(&w);
}

/* --- presence ------------------------------------------------------------------------------- */

static void expect_presence(struct client *c, const char *name, const char *state)
{
    struct item *item = take(c, RECORD_DELIVER);
    json_t *json;
    char topic[100];

    assert_non_null(item);
    (void)snprintf(topic, sizeof(topic), TOPIC_PRESENCE_PREFIX "%s", name);
    assert_string_equal(item->topic, topic);
    assert_string_equal(item->sender, "broker");
    assert_int_equal(item->delivery, DELIVERY_RETAINED);
    json = json_loadb((const char *)item->payload, item->size, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(json, "name")), name);
    assert_string_equal(json_string_value(json_object_get(json, "state")), state);
    assert_true(json_integer_value(json_object_get(json, "since_ms")) > 0);
    json_decref(json);
    item_free(item);
}

static void presence_begins_with_a_full_picture_and_tells_every_change(void **state)
{
    struct world w;
    struct client *a, *b, *c;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "$bus/presence/*");
    expect_presence(b, "a", "online");
    expect_presence(b, "b", "online");
    subscribe(a, "$bus/presence/*"); /* one's own comes last, whoever came first */
    expect_presence(a, "b", "online");
    expect_presence(a, "a", "online");
    c = connect_as(&w, "c");
    pump(&w);
    expect_presence(b, "c", "online");
    client_lose_link(a);
    pump(&w);
    expect_presence(b, "a", "offline");
    expect_nothing(b, RECORD_DELIVER);
    subscribe(c, "$bus/presence/a"); /* who is away is not told */
    expect_nothing(c, RECORD_DELIVER);
    world_deinit(&w);
}

static void presence_reaches_who_gives_no_credit_and_only_the_newest_waits(void **state)
{
    struct world w;
    struct client *a, *b, *c;

    (void)state;
    world_init(&w);
    a = client_new(&w, "a");
    a->window = FRAME_SIZE_MAX;
    a->gives_credit = false;
    client_go(a);
    b = connect_as(&w, "b");
    subscribe(a, "$bus/presence/*");
    subscribe(a, "open/#");
    for (int i = 0; i < 3; i++)
        publish_size(b, "open/x", 60000);
    pump(&w);
    expect_presence(a, "b", "online");
    expect_presence(a, "a", "online");
    assert_int_equal(count_items(a, RECORD_DELIVER), 1); /* the others wait for credit */
    item_free(take(a, RECORD_DELIVER));
    a->stalled = true;
    c = connect_as(&w, "c");
    client_lose_link(c);
    client_go(c);
    client_lose_link(c);
    publish_to(b, "a", "open/x", DELIVERY_EVENT, "there is room");
    a->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    expect_presence(a, "c", "offline");
    expect_delivered(a, "open/x", "b", "there is room");
    expect_nothing(a, RECORD_DELIVER);
    world_deinit(&w);
}

/* --- questions ------------------------------------------------------------------------------ */

static json_t *ask(struct client *c, const char *what, const char *argument)
{
    struct writer frame = frame_begin();
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct item *item;

    record_write_query(&frame, c->next_id++, bytes_text(what), bytes_text(argument));
    client_send(c, &frame);
    pump(c->world);
    while ((item = take(c, RECORD_ANSWER)) != NULL) {
        assert_int_equal(item->value, text.size);
        buffer_append(&text, bytes_of(item->payload, item->size));
        item_free(item);
    }
    return json_loadb((const char *)text.at, text.size, 0, NULL);
}

static void a_publisher_learns_for_whom_it_waits(void **state)
{
    struct world w;
    struct client *a, *admin;
    json_t *json, *names;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    admin = connect_as(&w, "admin");
    subscribe_with(admin, "up/#", SLOW_BLOCK, false);
    json = ask(a, "status", "");
    assert_int_equal(json_array_size(json_object_get(json, "waits_for")), 0);
    json_decref(json);
    admin->stalled = true;
    publish(a, "up/x", "12345");
    pump(&w);
    json = ask(a, "status", "");
    names = json_object_get(json, "waits_for");
    assert_int_equal(json_array_size(names), 1);
    assert_string_equal(json_string_value(json_array_get(names, 0)), "admin");
    json_decref(json);
    admin->stalled = false;
    broker_peer_writable(w.broker, admin->peer);
    pump(&w);
    json = ask(a, "status", "");
    assert_int_equal(json_array_size(json_object_get(json, "waits_for")), 0);
    json_decref(json);
    world_deinit(&w);
}

static void status_is_for_everybody_and_the_rest_for_admins(void **state)
{
    struct world w;
    struct client *a, *admin;
    json_t *json;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    admin = connect_as(&w, "admin");
    subscribe(admin, "up/#");
    publish(a, "up/x", "12345");
    publish(a, "nowhere", "x");
    pump(&w);
    json = ask(a, "status", "");
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "broker")), "broker");
    assert_int_equal(json_integer_value(json_object_get(json, "peers")), 2);
    assert_int_equal(json_integer_value(json_object_get(json, "published")), 1);
    assert_int_equal(json_integer_value(json_object_get(json, "delivered")), 1);
    assert_int_equal(
        json_integer_value(json_object_get(json_object_get(json, "refused"), "E_DENIED")), 1);
    assert_string_equal(json_string_value(json_object_get(json_object_get(json, "self"), "name")),
                        "a");
    json_decref(json);
    assert_null(ask(a, "peers", ""));
    drop_items(a);
    json = ask(admin, "peers", "");
    assert_int_equal(json_array_size(json), 2);
    json_decref(json);
    json = ask(admin, "peers", "a");
    assert_int_equal(json_array_size(json), 1);
    json_decref(json);
    json = ask(admin, "topics", "up/+");
    assert_int_equal(json_array_size(json), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(json, 0), "topic")),
                        "up/x");
    assert_int_equal(json_integer_value(json_object_get(json_array_get(json, 0), "messages")), 1);
    json_decref(json);
    json = ask(admin, "ledger", "");
    assert_true(json_is_true(json_object_get(json, "balanced")));
    assert_int_equal(json_integer_value(json_object_get(json, "published")), 1);
    assert_int_equal(json_integer_value(json_object_get(json, "refused")), 1);
    assert_int_equal(json_integer_value(json_object_get(json, "delivered")), 1);
    assert_int_equal(json_array_size(json_object_get(json, "rows")), 3);
    json_decref(json);
    assert_null(ask(admin, "weather", ""));
    expect_refused(admin, admin->next_id - 1, AICO_EINVAL);
    world_deinit(&w);
}

static void questions_are_limited(void **state)
{
    struct world w;
    struct client *a;
    size_t refused;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    for (int i = 0; i < 100; i++)
        json_decref(ask(a, "status", ""));
    refused = count_items(a, RECORD_REFUSE);
    assert_int_equal(refused, 50);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_reaches_every_subscriber_once_and_not_its_publisher),
        cmocka_unit_test(a_topic_is_named_once_and_by_number_after_that),
        cmocka_unit_test(a_number_that_was_never_told_is_a_breach),
        cmocka_unit_test(beyond_max_topics_messages_go_by_name_and_none_is_lost),
        cmocka_unit_test(a_denied_publish_names_the_rule_and_reaches_nobody),
        cmocka_unit_test(a_refusal_comes_before_the_ack_that_covers_it),
        cmocka_unit_test(a_denied_subscription_names_the_rule),
        cmocka_unit_test(a_wide_subscription_shows_what_the_rules_allow_and_no_more),
        cmocka_unit_test(names_of_the_bus_are_closed_to_applications),
        cmocka_unit_test(an_invalid_topic_or_filter_is_refused_and_the_session_goes_on),
        cmocka_unit_test(after_unsubscribe_nothing_more_comes),
        cmocka_unit_test(more_subscriptions_than_allowed_are_refused),
        cmocka_unit_test(a_mailbox_needs_a_store),
        cmocka_unit_test(nothing_crosses_in_clear_where_a_rule_demands_sealing),
        cmocka_unit_test(a_message_larger_than_allowed_is_refused_by_its_first_fragment),
        cmocka_unit_test(heads_go_to_their_subscribers_and_control_is_limited),
        cmocka_unit_test(control_reaches_any_connected_component_whatever_the_rules),
        cmocka_unit_test(a_copy_goes_to_an_entitled_reader_that_has_not_subscribed),
        cmocka_unit_test(a_direct_event_needs_the_rule_and_the_receivers_subscription),
        cmocka_unit_test(a_request_is_answered_once_by_the_one_who_was_asked),
        cmocka_unit_test(a_request_to_one_who_does_not_serve_is_refused),
        cmocka_unit_test(a_responder_that_leaves_is_reported_to_the_requester),
        cmocka_unit_test(a_request_is_forgotten_when_its_time_is_over),
        cmocka_unit_test(no_more_requests_wait_than_allowed),
        cmocka_unit_test(resolve_takes_turns_among_those_who_serve),
        cmocka_unit_test(resolve_says_at_once_that_nobody_serves),
        cmocka_unit_test(a_full_direct_lane_is_refused_to_the_sender_and_handshakes_still_pass),
        cmocka_unit_test(presence_begins_with_a_full_picture_and_tells_every_change),
        cmocka_unit_test(presence_reaches_who_gives_no_credit_and_only_the_newest_waits),
        cmocka_unit_test(a_publisher_learns_for_whom_it_waits),
        cmocka_unit_test(status_is_for_everybody_and_the_rest_for_admins),
        cmocka_unit_test(questions_are_limited),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
