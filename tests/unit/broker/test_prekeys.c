/* SPDX-License-Identifier: Apache-2.0 */
/* The directory of prekeys: each key once, ten bundles a minute, nothing of the revoked. */
#include "world.h"

#include "broker/quota.h"
#include "broker/store.h"

/* A statement as far as the broker reads it. */
static struct bytes statement_of(const char *name, uint32_t number)
{
    static uint8_t room[STATEMENT_SIZE];
    struct writer w = writer_over(room, sizeof(room));
    uint8_t identity[32];

    identity_of(name, identity);
    writer_u32(&w, 0x01060001);
    writer_u32(&w, number);
    writer_zeros(&w, 16);
    writer_bytes(&w, bytes_of(identity, sizeof(identity)));
    writer_zeros(&w, STATEMENT_SIZE - w.size);
    return bytes_of(room, sizeof(room));
}

/* Leaves @count one-time keys numbered from @first on; what the broker says is left. */
static int leave(struct client *c, uint32_t statement, uint32_t first, size_t count)
{
    static uint8_t room[PREKEYS_MAX * ONE_TIME_SIZE];
    struct writer keys = writer_over(room, sizeof(room)), w = frame_begin();
    struct item *item;
    int left = -1;

    drop_items(c); /* also what it was told of its own accord */

    for (uint32_t i = 0; i < count; i++) {
        writer_u32(&keys, first + i);
        writer_zeros(&keys, ONE_TIME_SIZE - 4);
    }
    record_write_prekeys(
        &w, &(struct record_prekeys){statement_of(c->name, statement), writer_view(&keys)});
    client_send(c, &w);
    pump(c->world);
    item = take(c, RECORD_PREKEYS);
    if (item) {
        assert_int_equal(item->id, statement);
        left = (int)item->value;
        item_free(item);
    }
    return left;
}

/* The one-time number of a bundle for @name, or the code of the refusal. */
static int64_t fetch(struct client *c, const char *name)
{
    struct writer w = frame_begin();
    struct item *item;
    int64_t result;

    record_write_bundle_ask(&w, c->next_id++, bytes_text(name));
    client_send(c, &w);
    pump(c->world);
    item = take(c, RECORD_BUNDLE);
    if (item) {
        assert_string_equal(item->sender, name);
        result = item->value;
    } else {
        item = take(c, RECORD_REFUSE);
        assert_non_null(item);
        result = item->code;
    }
    assert_int_equal(item->id, c->next_id - 1);
    item_free(item);
    return result;
}

static void each_one_time_key_is_given_once_and_the_owner_hears_when_few_are_left(void **state)
{
    struct world w;
    struct client *a, *b;
    struct item *item;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    assert_int_equal(leave(a, 7, 100, 0), 0);
    assert_int_equal(leave(a, 7, 100, 26), 26);
    assert_int_equal(fetch(b, "a"), 100);
    assert_null(take(a, RECORD_PREKEYS));
    assert_int_equal(fetch(b, "a"), 101);
    item = take(a, RECORD_PREKEYS);
    assert_non_null(item);
    assert_int_equal(item->value, 24);
    item_free(item);
    /* Also while it is away; then without one. */
    client_lose_link(a);
    assert_int_equal(fetch(b, "a"), 102);
    world_deinit(&w);
}

static void an_empty_shelf_still_gives_the_statement(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    assert_int_equal(fetch(b, "a"), AICO_ENOPREKEY);
    assert_int_equal(leave(a, 7, 1, 1), 1);
    assert_int_equal(fetch(b, "a"), 1);
    assert_int_equal(fetch(b, "a"), ONE_TIME_NONE);
    world_deinit(&w);
}

static void a_new_statement_takes_the_place_of_the_former_and_its_keys(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    assert_int_equal(leave(a, 7, 1, 100), 100);
    assert_int_equal(leave(a, 8, 1, 0), 0);
    assert_int_equal(leave(a, 8, 500, 10), 10);
    assert_int_equal(fetch(b, "a"), 500);
    assert_int_equal(leave(a, 8, 600, PREKEYS_MAX), PREKEYS_MAX); /* no more than that */
    world_deinit(&w);
}

static void a_drain_is_stopped_at_ten_a_minute(void **state)
{
    struct world w;
    struct client *a, *b, *c;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    assert_int_equal(leave(a, 7, 0, 100), 100);
    for (int i = 0; i < 10; i++)
        assert_int_equal(fetch(b, "a"), i);
    assert_int_equal(fetch(b, "a"), AICO_ERATE);
    assert_int_equal(fetch(c, "a"), 10); /* nobody else pays for it */
    /* A new link does not help. */
    client_lose_link(b);
    client_go(b);
    assert_int_equal(fetch(b, "a"), AICO_ERATE);
    advance(&w, 7000);
    assert_int_equal(fetch(b, "a"), 11);
    assert_int_equal(fetch(b, "a"), AICO_ERATE);
    world_deinit(&w);
}

static void prekeys_in_another_name_end_the_link(void **state)
{
    struct world w;
    struct client *a, *b;
    struct writer frame = frame_begin();

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    record_write_prekeys(&frame, &(struct record_prekeys){statement_of("b", 1), bytes_of(NULL, 0)});
    (void)send_bytes(a, writer_view(&frame));
    pump(&w);
    assert_int_equal(a->kicked, AICO_EPROTO);
    assert_int_equal(fetch(b, "b"), AICO_ENOPREKEY);
    world_deinit(&w);
}

static void the_prekeys_of_the_revoked_are_gone(void **state)
{
    struct world w;
    struct client *a, *b;
    struct registry *registry;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    assert_int_equal(leave(a, 7, 0, 100), 100);
    registry = registry_make(2, "a revoked user\nb active user\nadmin active admin\n", RULES);
    broker_set_registry(w.broker, w.now, registry);
    registry_unref(&registry);
    pump(&w);
    drop_items(b);
    assert_int_equal(fetch(b, "a"), AICO_ENOPREKEY);
    world_deinit(&w);
}

/* --- over a restart ----------------------------------------------------------------------------
 */

static struct {
    uint8_t identity[32], statement[STATEMENT_SIZE];
    bool is_there;
} stored;

static void work(struct world *w)
{
    struct store_order *o;

    while ((o = broker_next_order(w->broker)) != NULL) {
        if (o->kind == STORE_PREKEYS && o->data.size > 0) {
            memcpy(stored.identity, o->identity, sizeof(stored.identity));
            bytes_copy(stored.statement, o->data);
        }
        if (o->kind == STORE_PREKEYS)
            stored.is_there = o->data.size > 0;
        if (o->kind == STORE_LOAD_PREKEYS && stored.is_there)
            assert_int_equal(
                store_statement_put(&o->out, stored.identity,
                                    bytes_of(stored.statement, sizeof(stored.statement))),
                0);
        o->prev = o;
        o->next = NULL;
        broker_orders_done(w->broker, w->now, o);
    }
    pump(w);
}

static void begin(struct world *w, const char *components)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    settings.has_store = true;
    world_init_with(w, &settings, components, RULES); /* what it asks the store for is out */
}

static void who_is_away_can_be_written_to_after_a_restart_and_no_key_is_given_twice(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    memset(&stored, 0, sizeof(stored));
    begin(&w, COMPONENTS);
    work(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    assert_int_equal(leave(a, 7, 100, 30), 30);
    work(&w);
    assert_true(stored.is_there);
    assert_int_equal(fetch(b, "a"), 100);
    world_deinit(&w);

    begin(&w, COMPONENTS);
    work(&w);
    b = connect_as(&w, "b");
    assert_int_equal(fetch(b, "a"), ONE_TIME_NONE);
    /* It comes back: it is told that none are left, and leaves others. */
    a = connect_as(&w, "a");
    assert_int_equal(leave(a, 7, 0, 0), 0);
    assert_int_equal(leave(a, 7, 130, 5), 5);
    assert_int_equal(fetch(b, "a"), 130);
    world_deinit(&w);
}

static void a_question_before_the_store_has_spoken_waits_for_it(void **state)
{
    struct world w;
    struct writer frame = frame_begin();
    struct client *b;
    struct item *item;

    (void)state;
    assert_true(stored.is_there);
    begin(&w, COMPONENTS);
    b = connect_as(&w, "b");
    drop_items(b);
    record_write_bundle_ask(&frame, b->next_id++, bytes_text("a"));
    client_send(b, &frame);
    pump(&w);
    assert_null(take(b, RECORD_BUNDLE));
    assert_null(take(b, RECORD_REFUSE));
    work(&w);
    item = take(b, RECORD_BUNDLE);
    assert_non_null(item);
    item_free(item);
    world_deinit(&w);
}

static void what_the_revoked_left_is_not_stored_any_more(void **state)
{
    struct world w;
    struct client *b;

    (void)state;
    assert_true(stored.is_there);
    begin(&w, "a revoked user\nb active user\nadmin active admin\n");
    work(&w);
    assert_false(stored.is_there);
    b = connect_as(&w, "b");
    assert_int_equal(fetch(b, "a"), AICO_ENOPREKEY);
    world_deinit(&w);
}

/* A statement is new once in a week: who changes it without end is sent away, and the prekeys of
 * others are there. Who reads nothing that is sealed leaves none. */
static void a_flood_of_statements_ends_its_sender_and_nobody_else(void **state)
{
    struct world w;
    struct client *a, *b;
    struct item *bye;
    uint32_t count = 0;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    for (int i = 0; i < 100; i++)
        assert_int_equal(leave(b, 7, 100, 100), MIN(100 * (i + 1), PREKEYS_MAX));
    while (count < 1000 && leave(a, count + 1, 1, 1) == 1)
        count++;
    assert_int_equal(count, SCARCE_BURST);
    bye = take(a, RECORD_BYE);
    assert_non_null(bye);
    assert_int_equal(bye->code, AICO_ERATE);
    assert_non_null(strstr(bye->text, "PREKEYS"));
    assert_non_null(strstr(bye->text, "sealed/**"));
    item_free(bye);
    a->instance++;
    client_go(a);
    assert_int_equal(fetch(a, "b"), 100);
    world_deinit(&w);

    world_init_with(&w, &w.settings, COMPONENTS, "open/** publish * subscribe * seal none\n");
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    assert_int_equal(leave(a, 7, 1, 1), -1);
    assert_int_equal(a->kicked, 1);
    assert_int_equal(fetch(b, "a"), AICO_ENOPREKEY);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_one_time_key_is_given_once_and_the_owner_hears_when_few_are_left),
        cmocka_unit_test(an_empty_shelf_still_gives_the_statement),
        cmocka_unit_test(a_flood_of_statements_ends_its_sender_and_nobody_else),
        cmocka_unit_test(a_new_statement_takes_the_place_of_the_former_and_its_keys),
        cmocka_unit_test(a_drain_is_stopped_at_ten_a_minute),
        cmocka_unit_test(prekeys_in_another_name_end_the_link),
        cmocka_unit_test(the_prekeys_of_the_revoked_are_gone),
        cmocka_unit_test(who_is_away_can_be_written_to_after_a_restart_and_no_key_is_given_twice),
        cmocka_unit_test(a_question_before_the_store_has_spoken_waits_for_it),
        cmocka_unit_test(what_the_revoked_left_is_not_stored_any_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
