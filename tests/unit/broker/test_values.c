/* SPDX-License-Identifier: Apache-2.0 */
/* Stored values in the broker core, with a store in memory that outlives brokers. */
#include "world.h"

#include "broker/store.h"
#include "wire/topic.h"
#include "wire/stream_record.h"

#define VALUE_RULES                                                                                \
    "v/** publish a,d subscribe b,c seal group| history store age=1000\n"                          \
    "open/** publish * subscribe * seal none\n"
#define SEALED                                                                                     \
    "AICO-MSG"                                                                                     \
    "keykeykeykey"                                                                                 \
    "............sealed, by its look"
#define KEPT_MAX 16

static struct kept {
    char topic[64], sender[65];
    uint8_t identity[32];
    uint64_t publish_id, number;
    int64_t expires_ms;
    bool again;
} kept[KEPT_MAX];
static size_t kept_count;
static uint64_t last_number, dropped;
static size_t reads; /* orders to read values, ever */

static void put(struct store_order *o)
{
    struct kept *k = kept;

    while (k < kept + kept_count && !bytes_equal_text(o->topic, k->topic))
        k++;
    o->value = kept_count * 100;
    if (o->value + 100 > o->limit) {
        o->code = AICO_EQUOTA;
        return;
    }
    kept_count += k == kept + kept_count;
    *k = (struct kept){.publish_id = o->publish_id,
                       .number = ++last_number,
                       .expires_ms = o->expires_ms,
                       .again = o->again};
    memcpy(k->identity, o->identity, 32);
    bytes_copy(k->topic, o->topic);
    bytes_copy(k->sender, o->sender);
    assert_true(bytes_equal_text(o->data, SEALED));
    o->number = k->number;
    o->value = kept_count * 100;
}

static void read_values(struct store_order *o)
{
    for (size_t i = 0; i < kept_count; i++) {
        const struct kept *k = &kept[i];
        struct store_row row = {.number = k->number,
                                .stored_ms = 1,
                                .publish_id = k->publish_id,
                                .count = 1,
                                .identity = bytes_of(k->identity, 32),
                                .sender = bytes_text(k->sender),
                                .topic = bytes_text(k->topic),
                                .key = bytes_text("opens it"),
                                .payload = bytes_text(SEALED)};

        if (k->number > o->after && filter_matches(o->filter, row.topic))
            assert_int_equal(store_row_put(&o->out, &row), 0);
    }
    o->after = last_number;
}

static void finish(struct world *w, struct store_order *o)
{
    if (o->kind == STORE_VALUE)
        put(o);
    else if (o->kind == STORE_VALUE_READ)
        read_values(o);
    reads += o->kind == STORE_VALUE_READ;
    dropped += o->kind == STORE_VALUE_DROP;
    o->next = NULL;
    o->prev = o;
    broker_orders_done(w->broker, w->now, o);
}

static void work(struct world *w)
{
    struct store_order *o;

    while ((o = broker_next_order(w->broker)) != NULL)
        finish(w, o);
    pump(w);
}

static void begin(struct world *w, size_t limit, bool has_store)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    settings.has_store = has_store;
    settings.value_limit = limit;
    world_init_with(w, &settings, COMPONENTS, VALUE_RULES);
    if (has_store)
        work(w);
}

static uint64_t say(struct client *c, const char *topic, uint32_t ttl_ms, bool again)
{
    uint64_t id = send_publish(c, (struct record_publish){.delivery = DELIVERY_RETAINED,
                                                          .ttl_ms = ttl_ms,
                                                          .again = again,
                                                          .topic_name = bytes_text(topic),
                                                          .payload = bytes_text(SEALED)});

    pump(c->world);
    return id;
}

static void expect_shown(struct client *c, const char *topic, const char *sender, bool is_kept)
{
    struct item *item = take(c, RECORD_DELIVER);

    if (!item)
        fail_msg("nothing came on %s", topic);
    assert_int_equal(item->delivery, DELIVERY_RETAINED);
    assert_string_equal(item->topic, topic);
    assert_string_equal(item->sender, sender);
    assert_int_equal(item->kept, is_kept);
    item_free(item);
}

static void it_is_shown_and_acknowledged_when_it_is_stored_and_there_after_a_restart(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    kept_count = 0;
    begin(&w, 10000, true);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "v/**");
    work(&w);
    drop_items(a);
    drop_items(b);
    (void)say(a, "v/x", 0, false);
    assert_int_equal(count_items(a, RECORD_ACK), 0);
    assert_int_equal(count_items(b, RECORD_DELIVER), 0);
    work(&w);
    assert_int_equal(count_items(a, RECORD_ACK), 1);
    expect_shown(b, "v/x", "a", false);
    (void)say(a, "v/y", 0, false);
    (void)say(a, "v/x", 0, false);
    work(&w);
    world_deinit(&w);

    begin(&w, 10000, true);
    b = connect_as(&w, "b");
    drop_items(b);
    subscribe(b, "v/*");
    work(&w);
    /* What opens it comes before; once for what follows with the same key. */
    assert_int_equal(count_items(b, RECORD_KEY), 1);
    assert_int_equal(count_items(b, RECORD_DELIVER), 2);
    expect_shown(b, "v/x", "a", true);
    expect_shown(b, "v/y", "a", true);
    subscribe(b, "v/x");
    work(&w);
    expect_shown(b, "v/x", "a", true);
    world_deinit(&w);
}

static void it_ends_with_its_ttl_or_the_age_of_its_rule(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    kept_count = 0;
    begin(&w, 10000, true);
    a = connect_as(&w, "a");
    (void)say(a, "v/x", 5000, false);
    (void)say(a, "v/y", 0, true);
    (void)say(a, "v/z", 2000000, false);
    work(&w);
    assert_int_equal(kept_count, 3);
    assert_int_equal(kept[0].expires_ms, w.now.real_ms + 5000);
    assert_false(kept[0].again);
    assert_int_equal(kept[1].expires_ms, w.now.real_ms + 1000 * 1000);
    assert_true(kept[1].again);
    assert_int_equal(kept[2].expires_ms, w.now.real_ms + 1000 * 1000);
    world_deinit(&w);
}

static void what_cannot_be_stored_is_refused_and_shown_to_nobody(void **state)
{
    struct world w;
    struct client *a, *b;
    struct broker_event event;
    bool is_warned = false;
    uint64_t id;

    (void)state;
    kept_count = 0;
    begin(&w, 250, true);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "v/**");
    work(&w);
    drop_items(a);
    drop_items(b);
    (void)say(a, "v/1", 0, false);
    (void)say(a, "v/2", 0, false);
    work(&w);
    while (broker_next_event(w.broker, &event))
        is_warned |= strstr(event.text, "value_limit: 200 of 250") != NULL;
    assert_true(is_warned);
    drop_items(b);
    id = say(a, "v/3", 0, false);
    work(&w);
    expect_refused(a, id, AICO_EQUOTA);
    assert_int_equal(count_items(b, RECORD_DELIVER), 0);
    world_deinit(&w);

    begin(&w, 250, false);
    a = connect_as(&w, "a");
    drop_items(a);
    id = say(a, "v/1", 0, false);
    expect_refused(a, id, AICO_ESTORE);
    world_deinit(&w);
}

static void who_was_revoked_has_none_and_who_may_not_read_gets_none(void **state)
{
    static const char revoked[] = "a revoked user\nb active user\nc active user\nd active user\n";
    struct world w;
    struct client *a, *c, *d;

    (void)state;
    kept_count = 0;
    begin(&w, 10000, true);
    a = connect_as(&w, "a");
    d = connect_as(&w, "d");
    (void)say(a, "v/x", 0, false);
    (void)say(d, "v/y", 0, false);
    work(&w);
    drop_items(a);
    subscribe(a, "**"); /* may not read v/, nor hear itself */
    work(&w);
    assert_int_equal(count_items(a, RECORD_DELIVER), 0);
    dropped = 0;
    registry_unref(&w.registry);
    w.registry = registry_make(++w.version, revoked, VALUE_RULES);
    broker_set_registry(w.broker, w.now, w.registry);
    work(&w);
    assert_true(dropped > 0);
    /* Before the store has heard of it, too. */
    c = connect_as(&w, "c");
    drop_items(c);
    subscribe(c, "v/**");
    work(&w);
    assert_int_equal(count_items(c, RECORD_DELIVER), 1);
    expect_shown(c, "v/y", "d", true);
    world_deinit(&w);
}

static void what_its_publisher_may_no_longer_say_is_not_shown(void **state)
{
    static const char users[] = "a active user\nb active user\nc active user\nd active user\n";
    static const char rules[] = "v/** publish d subscribe b,c seal group| history store age=1000\n";
    struct world w;
    struct client *a, *c, *d;

    (void)state;
    kept_count = 0;
    begin(&w, 10000, true);
    a = connect_as(&w, "a");
    d = connect_as(&w, "d");
    (void)say(a, "v/x", 0, false);
    (void)say(d, "v/y", 0, false);
    work(&w);
    registry_unref(&w.registry);
    w.registry = registry_make(++w.version, users, rules);
    broker_set_registry(w.broker, w.now, w.registry);
    work(&w);
    c = connect_as(&w, "c");
    drop_items(c);
    subscribe(c, "v/**");
    work(&w);
    assert_int_equal(count_items(c, RECORD_DELIVER), 1);
    expect_shown(c, "v/y", "d", true);
    world_deinit(&w);
}

/* What a component asks of the store waits at its own link: one with many subscriptions has one
 * read out, whose answer is all that is held for it, and another waits for no more than that. */
static void many_subscriptions_read_one_after_the_other(void **state)
{
    struct store_order *orders[8];
    size_t count = 0;
    struct world w;
    struct client *a, *b, *c;
    uint32_t numbers[100];
    uint8_t identity[32];

    (void)state;
    kept_count = 0;
    begin(&w, 10000, true);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    (void)say(a, "v/x", 0, false);
    work(&w);
    drop_items(b);
    drop_items(c);
    for (size_t i = 0; i < COUNT_OF(numbers); i++)
        numbers[i] = subscribe(c, "v/**");
    subscribe(b, "v/**");
    while (count < COUNT_OF(orders) && (orders[count] = broker_next_order(w.broker)) != NULL)
        count++;
    assert_int_equal(count, 2);
    identity_of("b", identity);
    assert_memory_equal(orders[1]->readers, identity, sizeof(identity));

    /* The one that is being read for goes meanwhile, and so does one that waits. */
    for (size_t i = 0; i < 2; i++) {
        struct writer frame = frame_begin();

        record_write_unsubscribe(&frame, c->next_id++, numbers[i]);
        client_send(c, &frame);
    }
    pump(&w);
    reads = 0;
    for (size_t i = 0; i < count; i++)
        finish(&w, orders[i]);
    pump(&w);
    expect_shown(b, "v/x", "a", true);
    work(&w);
    assert_int_equal(reads, 2 + COUNT_OF(numbers) - 2);
    assert_int_equal(count_items(c, RECORD_DELIVER), COUNT_OF(numbers) - 2);
    world_deinit(&w);
}

static void what_lost_its_right_on_the_way_to_the_disk_is_told_and_not_shown(void **state)
{
    static const char revoked[] = "a revoked user\nb active user\nc active user\nd active user\n";
    struct item *gap;
    struct world w;
    struct client *a, *b;

    (void)state;
    kept_count = 0;
    begin(&w, 10000, true);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "v/**");
    work(&w);
    drop_items(b);
    (void)say(a, "v/x", 0, false);
    registry_unref(&w.registry);
    w.registry = registry_make(++w.version, revoked, VALUE_RULES);
    broker_set_registry(w.broker, w.now, w.registry);
    work(&w);
    assert_int_equal(kept_count, 1);
    assert_int_equal(count_items(b, RECORD_DELIVER), 0);
    gap = take(b, RECORD_GAP);
    assert_non_null(gap);
    assert_int_equal(gap->code, AICO_EREVOKED);
    assert_int_equal(gap->count, 1);
    item_free(gap);
    world_deinit(&w);
}

/* Said again to a new broker, in memory: it takes nothing from who has said something since. */
static void a_value_in_memory_that_is_said_again_replaces_nobody_elses(void **state)
{
    struct world w;
    struct client *a, *b, *c;

    (void)state;
    begin(&w, 10000, true);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    (void)send_publish(a, (struct record_publish){.delivery = DELIVERY_RETAINED,
                                                  .topic_name = bytes_text("open/x"),
                                                  .payload = bytes_text("1")});
    (void)send_publish(b, (struct record_publish){.delivery = DELIVERY_RETAINED,
                                                  .topic_name = bytes_text("open/x"),
                                                  .payload = bytes_text("2")});
    pump(&w);
    drop_items(a);
    (void)send_publish(a, (struct record_publish){.delivery = DELIVERY_RETAINED,
                                                  .again = true,
                                                  .topic_name = bytes_text("open/x"),
                                                  .payload = bytes_text("1")});
    advance(&w, ACK_DELAY_MS);
    assert_int_equal(count_items(a, RECORD_ACK), 1);
    c = connect_as(&w, "c");
    drop_items(c);
    subscribe(c, "open/x");
    work(&w);
    expect_shown(c, "open/x", "b", true);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_shown_and_acknowledged_when_it_is_stored_and_there_after_a_restart),
        cmocka_unit_test(it_ends_with_its_ttl_or_the_age_of_its_rule),
        cmocka_unit_test(what_cannot_be_stored_is_refused_and_shown_to_nobody),
        cmocka_unit_test(who_was_revoked_has_none_and_who_may_not_read_gets_none),
        cmocka_unit_test(what_its_publisher_may_no_longer_say_is_not_shown),
        cmocka_unit_test(many_subscriptions_read_one_after_the_other),
        cmocka_unit_test(what_lost_its_right_on_the_way_to_the_disk_is_told_and_not_shown),
        cmocka_unit_test(a_value_in_memory_that_is_said_again_replaces_nobody_elses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
