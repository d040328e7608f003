/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a session: HELLO to BYE, reconnects, keep-alive, drain. */
#include "world.h"

static void hello_is_answered_by_welcome(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    assert_true(a->welcome.window >= 2 * FRAME_SIZE_MAX);
    assert_true(a->welcome.self > COMPONENT_NUMBER_BROKER);
    assert_true(a->welcome.registry_version == 1);
    assert_true(a->welcome.last_id == 0);
    assert_memory_equal(a->welcome_hash, registry_hash(w.registry), 16);
    expect_nothing(a, RECORD_REGISTRY);
    world_deinit(&w);
}

static void a_client_with_an_older_registry_is_sent_the_new_one_at_once(void **state)
{
    struct world w;
    struct client *a;
    struct item *item;
    size_t size = 0;

    (void)state;
    world_init(&w);
    a = client_new(&w, "a");
    client_link(a);
    client_hello(a, 0);
    pump(&w);
    item_free(take(a, RECORD_WELCOME));
    while ((item = take(a, RECORD_REGISTRY)) != NULL) {
        assert_int_equal(item->value, size);
        size += item->size;
        item_free(item);
    }
    assert_int_equal(size, registry_document(w.registry).size);
    world_deinit(&w);
}

static void a_registry_of_a_megabyte_comes_in_pieces(void **state)
{
    struct broker_settings settings;
    struct world w;
    struct client *a;
    struct item *item;
    struct buffer rules = {0};
    size_t size = 0, pieces = 0;

    (void)state;
    for (int i = 0; i < 8000; i++)
        buffer_printf(&rules, "long/filter/number/%d/** publish * subscribe * seal none\n", i);
    buffer_append(&rules, bytes_of("", 1));
    broker_settings_default(&settings);
    world_init_with(&w, &settings, COMPONENTS, (const char *)rules.at);
    a = client_new(&w, "a");
    client_link(a);
    client_hello(a, 0);
    pump(&w);
    while ((item = take(a, RECORD_REGISTRY)) != NULL) {
        assert_int_equal(item->value, size);
        size += item->size;
        pieces++;
        item_free(item);
    }
    assert_int_equal(size, registry_document(w.registry).size);
    assert_true(pieces > 10);
    buffer_deinit(&rules);
    world_deinit(&w);
}

/* The next registry: signed by the owner of seed {@by, 0...}; names {@next, 0...} unless 0. */
static void registry_signed(struct world *w, uint8_t by, uint8_t next)
{
    struct secret owner = {{by}}, successor = {{next}};
    struct registry_draft *draft = registry_draft_new(w->registry, bytes_text("aico"));
    struct registry *registry = NULL;
    struct buffer text = {0};
    uint8_t public[SIGN_PUBLIC_SIZE];

    assert_non_null(draft);
    if (next)
        assert_int_equal(registry_draft_set_owner_next(draft, &owner, &successor), 0);
    assert_int_equal(registry_draft_sign(draft, &owner, 1763668800000, &text), 0);
    sign_public(&owner, public);
    assert_int_equal(
        registry_parse(buffer_view(&text), public, bytes_text("aico"), &registry, NULL), 0);
    buffer_deinit(&text);
    registry_draft_free(&draft);
    broker_set_registry(w->broker, w->now, registry);
    registry_unref(&w->registry);
    w->registry = registry;
    w->version++;
}

/* Whole documents of @versions come, in this order, and no other. */
static void expect_registries(struct client *c, const uint64_t *versions, size_t count)
{
    struct item *item;
    size_t size = 0, seen = 0;

    while ((item = take(c, RECORD_REGISTRY)) != NULL) {
        assert_true(seen < count);
        assert_int_equal(item->id, versions[seen]);
        assert_int_equal(item->value, size);
        size += item->size;
        if (size == item->total) {
            seen++;
            size = 0;
        }
        item_free(item);
    }
    assert_int_equal(seen, count);
}

static void who_was_away_is_sent_every_succession_of_owners_in_order(void **state)
{
    struct world w;
    struct client *here, *away;

    (void)state;
    world_init(&w);
    here = connect_as(&w, "b");
    registry_signed(&w, 7, 8); /* 2: names the next owner */
    registry_signed(&w, 7, 8); /* 3: so does this one, which is enough */
    registry_signed(&w, 8, 0); /* 4 */
    registry_signed(&w, 8, 9); /* 5 */
    registry_signed(&w, 9, 0); /* 6 */
    registry_signed(&w, 9, 0); /* 7 */
    pump(&w);
    expect_registries(here, (const uint64_t[]){3, 5, 7}, 3);

    for (uint64_t had = 1; had < 7; had++) {
        static const uint64_t all[] = {3, 5, 7};
        size_t known = had < 3 ? 0 : had < 5 ? 1 : 2;

        away = client_new(&w, "a");
        client_link(away);
        client_hello(away, had);
        pump(&w);
        expect_registries(away, all + known, 3 - known);
        client_lose_link(away);
    }
    world_deinit(&w);
}

static void nothing_comes_before_hello(void **state)
{
    static const uint8_t types[] = {RECORD_PING,  RECORD_SUBSCRIBE, RECORD_PUBLISH,
                                    RECORD_QUERY, RECORD_CREDIT,    RECORD_RESOLVE};
    struct world w;

    (void)state;
    world_init(&w);
    for (size_t i = 0; i < sizeof(types); i++) {
        struct client *a = client_new(&w, "a");
        uint8_t frame[9] = {WIRE_VERSION, types[i]};

        client_link(a);
        assert_int_equal(send_bytes(a, bytes_of(frame, sizeof(frame))), AICO_ESTATE);
        pump(&w);
        expect_bye(a, AICO_ESTATE);
    }
    world_deinit(&w);
}

/*
 * libzmq gives a SUBSCRIBE or CANCEL command, and what older peers send for it, to a ROUTER as a
 * message (tests/unit/transport/test_guards.c shows it): none of them subscribes.
 */
static void subscribe_commands_of_zeromq_subscribe_nothing(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        int code;
    } commands[] = {
        {"\11SUBSCRIBEopen/", 15, AICO_EVERSION},
        {"\6CANCELopen/", 12, AICO_EVERSION},
        {"\0open/", 6, AICO_EVERSION},
        {"\1open/", 6, AICO_EPROTO}, /* begins as a frame does, and is none */
        {"\1", 1, 0},                /* a frame without a record */
    };
    struct world w;
    struct broker_totals totals;

    (void)state;
    world_init(&w);
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        struct client *a = connect_as(&w, "a");

        assert_int_equal(send_bytes(a, bytes_of(commands[i].bytes, commands[i].size)),
                         commands[i].code);
        pump(&w);
        if (commands[i].code)
            expect_bye(a, commands[i].code);
        broker_get_totals(w.broker, &totals);
        assert_int_equal(totals.subscriptions, 0);
    }
    world_deinit(&w);
}

static void a_second_hello_ends_the_session(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    client_hello(a, 1);
    pump(&w);
    expect_bye(a, AICO_ESTATE);
    world_deinit(&w);
}

static void a_name_that_is_not_the_keys_is_refused(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    world_init(&w);
    a = client_new(&w, "a");
    client_link(a);
    strcpy(a->name, "b");
    client_hello(a, 1);
    pump(&w);
    expect_bye(a, AICO_ESTAMP);
    world_deinit(&w);
}

static void a_link_of_nobody_is_not_opened(void **state)
{
    struct broker_settings settings;
    uint8_t identity[32];
    struct world w;
    int code = 0;

    (void)state;
    broker_settings_default(&settings);
    world_init_with(&w, &settings, "a active user\nold revoked user\n", RULES);
    identity_of("stranger", identity);
    assert_null(
        broker_peer_open(w.broker, w.now, bytes_text("stranger"), identity, "x", NULL, &code));
    assert_int_equal(code, AICO_EUNKNOWN);
    identity_of("a", identity); /* a's key under another name */
    assert_null(broker_peer_open(w.broker, w.now, bytes_text("old"), identity, "x", NULL, &code));
    assert_int_equal(code, AICO_EUNKNOWN);
    identity_of("old", identity);
    assert_null(broker_peer_open(w.broker, w.now, bytes_text("old"), identity, "x", NULL, &code));
    assert_int_equal(code, AICO_EREVOKED);
    world_deinit(&w);
}

static void no_more_links_than_allowed_are_opened(void **state)
{
    struct broker_settings settings;
    uint8_t identity[32];
    struct world w;
    int code = 0;

    (void)state;
    broker_settings_default(&settings);
    settings.max_connections = 2;
    world_init_with(&w, &settings, COMPONENTS, RULES);
    client_link(client_new(&w, "a"));
    client_link(client_new(&w, "b"));
    identity_of("c", identity);
    assert_null(broker_peer_open(w.broker, w.now, bytes_text("c"), identity, "x", NULL, &code));
    assert_int_equal(code, AICO_EQUOTA);
    client_lose_link(&w.clients[0]);
    client_link(client_new(&w, "c"));
    world_deinit(&w);
}

static void a_link_that_says_nothing_is_cut(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    world_init(&w);
    a = client_new(&w, "a");
    client_link(a);
    advance(&w, w.settings.hello_timeout_ms - 1);
    assert_int_equal(a->kicked, 1);
    advance(&w, 100);
    expect_bye(a, AICO_ETIMEOUT);
    world_deinit(&w);
}

static void a_second_process_of_one_identity_is_refused_and_the_first_stays(void **state)
{
    struct world w;
    struct client *first, *second;

    (void)state;
    world_init(&w);
    first = connect_as(&w, "a");
    second = client_new(&w, "a");
    client_link(second);
    client_hello(second, 1);
    pump(&w);
    expect_bye(second, AICO_EDUPLICATE);
    assert_true(broker_peer_is_ready(first->peer));
    subscribe(first, "open/#");
    world_deinit(&w);
}

static void the_same_process_may_connect_again_and_its_old_link_is_dropped(void **state)
{
    struct world w;
    struct client *a, *again;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    again = client_new(&w, "a");
    again->instance = a->instance;
    client_go(again);
    assert_int_equal(a->kicked, AICO_EDUPLICATE);
    assert_true(broker_peer_is_ready(again->peer));
    world_deinit(&w);
}

static void a_window_smaller_than_a_frame_is_refused(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    world_init(&w);
    a = client_new(&w, "a");
    a->window = FRAME_SIZE_MAX - 1;
    client_link(a);
    client_hello(a, 1);
    pump(&w);
    expect_bye(a, AICO_EPROTO);
    world_deinit(&w);
}

static void silence_is_pinged_twice_and_then_ends_the_session(void **state)
{
    struct world w;
    struct client *a, *b;
    int64_t interval;

    (void)state;
    world_init(&w);
    interval = w.settings.keepalive_interval_ms;
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    for (int i = 1; i <= 6; i++) { /* b answers, a does not */
        struct item *ping;
        struct writer frame = frame_begin();

        advance(&w, interval / 2);
        ping = take(b, RECORD_PING);
        if (!ping)
            continue;
        record_write_pong(&frame, ping->id);
        client_send(b, &frame);
        item_free(ping);
    }
    assert_int_equal(count_items(a, RECORD_PING), 2);
    expect_bye(a, AICO_EPEERSILENT);
    assert_int_equal(b->kicked, 1);
    world_deinit(&w);
}

static void a_ping_is_answered_by_its_token(void **state)
{
    struct world w;
    struct client *a;
    struct item *pong;
    struct writer frame;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    frame = frame_begin();
    record_write_ping(&frame, 4711);
    client_send(a, &frame);
    pump(&w);
    pong = take(a, RECORD_PONG);
    assert_non_null(pong);
    assert_true(pong->id == 4711);
    item_free(pong);
    world_deinit(&w);
}

static void a_goodbye_ends_the_session_in_order(void **state)
{
    struct world w;
    struct client *a;
    struct writer frame;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    frame = frame_begin();
    record_write_bye(&frame, &(struct record_bye){0});
    client_send(a, &frame);
    pump(&w);
    assert_int_equal(a->kicked, 0);
    expect_nothing(a, RECORD_BYE);
    world_deinit(&w);
}

static void a_malformed_record_ends_the_session_and_nothing_else(void **state)
{
    struct world w;
    struct client *a, *b;
    uint8_t frame[] = {WIRE_VERSION, RECORD_PUBLISH, 0x80, 0, 0, 0, 0, 0, 0};

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    assert_int_equal(send_bytes(a, bytes_of(frame, sizeof(frame))), AICO_EPROTO);
    pump(&w);
    expect_bye(a, AICO_EPROTO);
    assert_int_equal(b->kicked, 1);
    world_deinit(&w);
}

static void what_was_right_before_the_mistake_is_acknowledged(void **state)
{
    struct world w;
    struct client *a;
    struct item *ack;
    struct writer frame;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    frame = frame_begin();
    record_write_publish(&frame, &(struct record_publish){.id = 5,
                                                          .topic_name = bytes_text("open/x"),
                                                          .payload = bytes_text("1")});
    record_write_ack(&frame, 1); /* a broker's record */
    client_send(a, &frame);
    pump(&w);
    ack = take(a, RECORD_ACK);
    assert_non_null(ack);
    assert_true(ack->id == 5);
    item_free(ack);
    expect_bye(a, AICO_EPROTO);
    world_deinit(&w);
}

static void a_peer_that_takes_nothing_is_cut_after_the_grace_time(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    a->stalled = true;
    assert_true(broker_kick(w.broker, w.now, bytes_text("a"), AICO_EKICKED, "test"));
    pump(&w);
    assert_int_equal(a->kicked, 1);
    advance(&w, BROKER_KICK_GRACE_MS);
    assert_int_equal(a->kicked, AICO_EKICKED);
    world_deinit(&w);
}

static void what_was_routed_before_a_reconnect_is_not_routed_again(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t last;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    publish(a, "open/x", "one");
    last = publish(a, "open/x", "two");
    pump(&w);
    drop_items(b);
    client_lose_link(a);
    client_go(a);
    assert_true(a->welcome.last_id == last);
    /* the client had not seen the ACK of the second */
    send_publish(a, (struct record_publish){.id = last,
                                            .topic_name = bytes_text("open/x"),
                                            .payload = bytes_text("two")});
    publish(a, "open/x", "three");
    pump(&w);
    expect_delivered(b, "open/x", "a", "three");
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void another_process_of_the_same_name_starts_at_its_own_first_id(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    publish(a, "open/x", "one");
    client_lose_link(a);
    a->instance++;
    a->next_id = 1;
    client_go(a);
    assert_true(a->welcome.last_id == 0);
    publish(a, "open/x", "two");
    pump(&w);
    expect_delivered(b, "open/x", "a", "one");
    expect_delivered(b, "open/x", "a", "two");
    world_deinit(&w);
}

/* What the former process knew is gone, so those who know its number hear of it once. */
static void another_process_is_announced_to_those_who_know_the_first(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    publish(a, "open/x", "one");
    client_lose_link(a);
    client_go(a); /* the same process: nothing is new */
    publish(a, "open/x", "two");
    pump(&w);
    assert_int_equal(b->renewed, 0);
    client_lose_link(a);
    a->instance++;
    a->next_id = 1;
    client_go(a);
    publish(a, "open/x", "three");
    publish(a, "open/x", "four");
    pump(&w);
    assert_int_equal(b->renewed, 1);
    world_deinit(&w);
}

/* b's key is rotated while it runs, then it restarts with the new one: whoever knows it by the
 * number of the former key hears of it at once, and reaches it by that number as well. */
static void a_rotated_component_is_announced_and_found_by_its_former_number(void **state)
{
    const struct secret seeds[] = {{{91}}, {{92}}};
    CLEANUP(identity_free)
    struct identity *old = NULL, *renewed = NULL;
    struct registry_draft *draft;
    struct client *a, *b, *again;
    struct world w;
    uint32_t number = 0;

    (void)state;
    world_init(&w);
    assert_int_equal(identity_new("b", &seeds[0], 0, &old), 0);
    assert_int_equal(identity_new("b", &seeds[1], 0, &renewed), 0);
    draft = registry_draft_new(w.registry, bytes_of(NULL, 0));
    assert_int_equal(registry_draft_remove(draft, "b"), 0);
    assert_int_equal(
        registry_draft_add(
            draft, &(struct component_line){"b", old->public, old->transport_public, "user", 1}),
        0);
    registry_next(&w, draft);
    a = connect_as(&w, "a");
    b = client_new(&w, "b");
    b->identity = old->public;
    client_go(b);
    publish_to(a, "b", TOPIC_CONTROL, DELIVERY_CONTROL, "one");
    pump(&w);
    expect_delivered(b, TOPIC_CONTROL, "a", "one");
    for (uint32_t i = 0; i < NAMES_MAX; i++)
        if (a->components[i] && strcmp(a->components[i], "b") == 0)
            number = i;
    assert_int_not_equal(number, 0);

    draft = registry_draft_new(w.registry, bytes_of(NULL, 0));
    assert_int_equal(registry_draft_rotate(draft, old, renewed, 1, w.now.real_ms + 60000), 0);
    registry_next(&w, draft);
    pump(&w);
    assert_true(broker_peer_is_ready(b->peer)); /* it runs on */
    client_lose_link(b);
    again = client_new(&w, "b");
    again->identity = renewed->public;
    client_go(again);
    pump(&w);
    assert_non_null(a->components[number]);
    for (uint32_t i = number + 1; i < NAMES_MAX; i++)
        if (a->components[i] && strcmp(a->components[i], "b") == 0)
            number = 0; /* told of the new number without having asked */
    assert_int_equal(number, 0);
    for (uint32_t i = NAMES_MAX; i > 0; i--)
        if (a->components[i - 1] && strcmp(a->components[i - 1], "b") == 0)
            number = i - 1; /* the former one: the smallest */
    send_publish(a, (struct record_publish){.delivery = DELIVERY_CONTROL,
                                            .to = number,
                                            .topic_name = bytes_text(TOPIC_CONTROL),
                                            .payload = bytes_text("two")});
    pump(&w);
    expect_delivered(again, TOPIC_CONTROL, "a", "two");

    /* The overlap ends: the former key is out. */
    client_lose_link(again);
    client_go(b);
    advance(&w, 60100);
    assert_true(!b->peer || !broker_peer_is_ready(b->peer));
    world_deinit(&w);
}

static void a_refusal_that_may_be_lost_is_told_again_after_the_reconnect(void **state)
{
    struct world w;
    struct client *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    b = connect_as(&w, "b");
    b->stalled = true;
    id = publish(b, "up/x", "b may not publish here");
    publish(b, "open/x", "fine");
    client_lose_link(b);
    b->stalled = false;
    client_go(b);
    assert_true(b->welcome.last_id < id); /* not taken for accepted */
    expect_refused(b, id, AICO_EDENIED);
    world_deinit(&w);
}

static void an_instance_is_forgotten_after_ten_minutes(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    publish(a, "open/x", "one");
    pump(&w);
    client_lose_link(a);
    advance(&w, BROKER_INSTANCE_KEPT_MS - 1000);
    client_go(a);
    assert_true(a->welcome.last_id > 0);
    client_lose_link(a);
    advance(&w, BROKER_INSTANCE_KEPT_MS + 1000);
    client_go(a);
    assert_true(a->welcome.last_id == 0);
    world_deinit(&w);
}

static void draining_delivers_what_waits_and_says_goodbye(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    publish(a, "open/x", "one");
    broker_drain(w.broker, w.now, 5000);
    publish(a, "open/x", "too late");
    pump(&w);
    expect_delivered(b, "open/x", "a", "one");
    expect_nothing(b, RECORD_DELIVER);
    expect_bye(a, AICO_EDRAIN);
    expect_bye(b, AICO_EDRAIN);
    assert_true(broker_is_drained(w.broker));
    world_deinit(&w);
}

static void draining_does_not_wait_for_a_stalled_reader_for_ever(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    publish(a, "open/x", "one");
    broker_drain(w.broker, w.now, 5000);
    pump(&w);
    assert_false(broker_is_drained(w.broker));
    advance(&w, 4000);
    assert_false(broker_is_drained(w.broker));
    advance(&w, 1500);
    assert_true(broker_is_drained(w.broker));
    world_deinit(&w);
}

static void an_idle_broker_needs_no_timer_without_links(void **state)
{
    struct world w;

    (void)state;
    world_init(&w);
    assert_true(broker_deadline(w.broker) == MOMENT_NEVER);
    connect_as(&w, "a");
    assert_true(broker_deadline(w.broker) > w.now.boot_ms);
    world_deinit(&w);
}

static void events_tell_what_happened_and_that_some_were_lost(void **state)
{
    struct broker_event e;
    struct world w;
    struct client *a;
    size_t count = 0;
    bool connected = false, lost = false;

    (void)state;
    world_init(&w);
    a = client_new(&w, "a");
    for (int i = 0; i < 400; i++) {
        client_go(a);
        client_lose_link(a);
        advance(&w, 100);
    }
    while (broker_next_event(w.broker, &e)) {
        connected |= e.kind == BROKER_EVENT_CONNECTED && strcmp(e.name, "a") == 0;
        lost |= e.kind == BROKER_EVENT_EVENTS_LOST;
        count++;
    }
    assert_true(connected && lost);
    assert_true(count < 400);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hello_is_answered_by_welcome),
        cmocka_unit_test(a_client_with_an_older_registry_is_sent_the_new_one_at_once),
        cmocka_unit_test(a_registry_of_a_megabyte_comes_in_pieces),
        cmocka_unit_test(who_was_away_is_sent_every_succession_of_owners_in_order),
        cmocka_unit_test(nothing_comes_before_hello),
        cmocka_unit_test(subscribe_commands_of_zeromq_subscribe_nothing),
        cmocka_unit_test(a_second_hello_ends_the_session),
        cmocka_unit_test(a_name_that_is_not_the_keys_is_refused),
        cmocka_unit_test(a_link_of_nobody_is_not_opened),
        cmocka_unit_test(no_more_links_than_allowed_are_opened),
        cmocka_unit_test(a_link_that_says_nothing_is_cut),
        cmocka_unit_test(a_second_process_of_one_identity_is_refused_and_the_first_stays),
        cmocka_unit_test(the_same_process_may_connect_again_and_its_old_link_is_dropped),
        cmocka_unit_test(a_window_smaller_than_a_frame_is_refused),
        cmocka_unit_test(silence_is_pinged_twice_and_then_ends_the_session),
        cmocka_unit_test(a_ping_is_answered_by_its_token),
        cmocka_unit_test(a_goodbye_ends_the_session_in_order),
        cmocka_unit_test(a_malformed_record_ends_the_session_and_nothing_else),
        cmocka_unit_test(what_was_right_before_the_mistake_is_acknowledged),
        cmocka_unit_test(a_peer_that_takes_nothing_is_cut_after_the_grace_time),
        cmocka_unit_test(what_was_routed_before_a_reconnect_is_not_routed_again),
        cmocka_unit_test(another_process_of_the_same_name_starts_at_its_own_first_id),
        cmocka_unit_test(another_process_is_announced_to_those_who_know_the_first),
        cmocka_unit_test(a_rotated_component_is_announced_and_found_by_its_former_number),
        cmocka_unit_test(a_refusal_that_may_be_lost_is_told_again_after_the_reconnect),
        cmocka_unit_test(an_instance_is_forgotten_after_ten_minutes),
        cmocka_unit_test(draining_delivers_what_waits_and_says_goodbye),
        cmocka_unit_test(draining_does_not_wait_for_a_stalled_reader_for_ever),
        cmocka_unit_test(an_idle_broker_needs_no_timer_without_links),
        cmocka_unit_test(events_tell_what_happened_and_that_some_were_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
