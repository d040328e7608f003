/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Streams in the broker core where they end: messages in pieces, keys that are handed in, limits,
 * a store that fails, readers that go in the middle.
 */
#include "stream_world.h"

#include <malloc.h>

#include "base/hash.h"
#include "broker/quota.h"

#define HISTORY_RULES                                                                              \
    "h/** publish a,d subscribe b seal group| history store count=100\n"                           \
    "open/** publish * subscribe * seal none\n"

static uint64_t piece(struct client *c, uint64_t id, uint32_t total, uint32_t offset,
                      const char *text)
{
    uint64_t used = send_publish(c, (struct record_publish){.id = id,
                                                            .delivery = DELIVERY_STREAM,
                                                            .topic_name = bytes_text("st/x"),
                                                            .fragment = true,
                                                            .total = total,
                                                            .offset = offset,
                                                            .payload = bytes_text(text)});

    work(c->world);
    return used;
}

static void follow_by(struct client *c, struct record_follow m)
{
    struct writer frame = frame_begin();

    m.id = c->next_id++;
    m.deadline_ms = m.deadline_ms ? m.deadline_ms : DEADLINE;
    m.window = 16;
    record_write_follow(&frame, &m);
    client_send(c, &frame);
    work(c->world);
}

static void unfollow(struct client *c, uint32_t subscription)
{
    struct writer frame = frame_begin();

    record_write_unsubscribe(&frame, c->next_id++, subscription);
    client_send(c, &frame);
    work(c->world);
}

static uint64_t ask(struct client *c, const char *what, const char *argument)
{
    struct writer frame = frame_begin();
    uint64_t id = c->next_id++;

    record_write_query(&frame, id, bytes_text(what), bytes_text(argument));
    client_send(c, &frame);
    work(c->world);
    return id;
}

static void hand_in_reading(struct client *c, const char *of, const char *text)
{
    struct writer frame = frame_begin();
    uint8_t identity[32];

    identity_of(of, identity);
    record_write_reading(&frame,
                         &(struct record_reading){bytes_of(identity, 32), bytes_text(text)});
    client_send(c, &frame);
}

/* The next reading key @c is told is @of's @text; @of "": there are no more. */
static void expect_reading(struct client *c, const char *of, const char *text)
{
    struct item *item = take(c, RECORD_READING);

    assert_non_null(item);
    assert_string_equal(item->sender, of);
    assert_string_equal(item->text, text);
    item_free(item);
}

/* --- in pieces ----------------------------------------------------------------------------------
 */

static void a_message_in_pieces_is_stored_when_it_is_whole(void **state)
{
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    drop_items(a);
    id = piece(a, 0, 8, 0, "half");
    (void)piece(a, id, 8, 0, "half"); /* said again */
    assert_int_equal(stored_count, 0);
    (void)piece(a, id, 8, 4, "full");
    assert_int_equal(stored_count, 1);
    assert_string_equal(stored[0].payload, "halffull");
    assert_int_equal(count_items(a, RECORD_ACK), 1);
    world_deinit(&w);
}

static void a_message_that_was_given_up_makes_room_for_the_next(void **state)
{
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)piece(a, 0, 8, 0, "half");
    id = piece(a, 0, 4, 0, "ot");
    (void)piece(a, id, 4, 2, "er");
    assert_int_equal(stored_count, 1);
    assert_string_equal(stored[0].payload, "oter");
    (void)piece(a, 0, 8, 0, "left"); /* is freed with the broker */
    world_deinit(&w);
}

static void pieces_that_do_not_follow_each_other_end_the_link(void **state)
{
    struct world w;
    struct client *a;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    drop_items(a);
    (void)piece(a, 0, 8, 4, "full"); /* begins in the middle */
    expect_bye(a, AICO_EPROTO);
    a->instance++;
    client_go(a);
    drop_items(a);
    id = piece(a, 0, 8, 0, "ha");
    (void)piece(a, id, 8, 4, "full"); /* one is missing */
    expect_bye(a, AICO_EPROTO);
    a->instance++;
    client_go(a);
    drop_items(a);
    id = piece(a, 0, 8, 0, "half");
    (void)piece(a, id, 12, 4, "full"); /* it has grown */
    expect_bye(a, AICO_EPROTO);
    assert_int_equal(stored_count, 0);
    world_deinit(&w);
}

/* --- keys ---------------------------------------------------------------------------------------
 */

static void a_reading_key_is_told_to_whoever_stores_for_its_owner(void **state)
{
    struct world w;
    struct client *a, *b, *c, *d;

    (void)state;
    empty_store();
    begin_with(&w, HISTORY_RULES);
    work(&w);
    a = connect_as(&w, "a");
    c = connect_as(&w, "c");
    expect_reading(a, "", ""); /* there are none yet */
    b = connect_as(&w, "b");
    hand_in_reading(b, "b", "first");
    work(&w);
    expect_reading(a, "b", "first");
    assert_string_equal(statement, "first");
    hand_in_reading(b, "b", "first"); /* known */
    work(&w);
    assert_null(take(a, RECORD_READING));
    hand_in_reading(b, "b", "second");
    work(&w);
    expect_reading(a, "b", "second");
    hand_in_reading(c, "c", "of one who reads nothing");
    work(&w);
    assert_null(take(a, RECORD_READING));
    assert_null(take(c, RECORD_READING)); /* and who publishes nothing is told nothing */

    d = connect_as(&w, "d"); /* comes later */
    expect_reading(d, "b", "second");
    expect_reading(d, "", "");
    world_deinit(&w);
}

static void a_reading_key_of_another_ends_the_link(void **state)
{
    struct world w;
    struct client *b;

    (void)state;
    empty_store();
    begin_with(&w, HISTORY_RULES);
    work(&w);
    b = connect_as(&w, "b");
    drop_items(b);
    hand_in_reading(b, "c", "text");
    work(&w);
    expect_bye(b, AICO_EPROTO);
    world_deinit(&w);
}

/* Who connects while the store is being read is told when it has been. */
static void stored_reading_keys_are_told_after_a_restart(void **state)
{
    struct world w;
    struct client *a;

    (void)state;
    empty_store();
    strcpy(statement, "stored");
    identity_of("b", statement_of);
    begin_with(&w, HISTORY_RULES);
    a = connect_as(&w, "a");
    assert_null(take(a, RECORD_READING));
    work(&w);
    expect_reading(a, "b", "stored");
    expect_reading(a, "", "");
    world_deinit(&w);
}

static void a_reading_key_is_not_replaced_by_the_one_it_replaced(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    empty_store();
    strcpy(statement, "stored");
    identity_of("b", statement_of);
    begin_with(&w, HISTORY_RULES);
    b = connect_as(&w, "b");
    hand_in_reading(b, "b", "newer"); /* before the store has been read */
    work(&w);
    assert_string_equal(statement, "newer");
    a = connect_as(&w, "a");
    expect_reading(a, "b", "newer");
    expect_reading(a, "", "");
    world_deinit(&w);
}

/* Whoever changes its reading key again and again takes neither the publishers' time nor the room
 * for what they are to be told, and is told why it is sent away; another's key still gets there. */
static void a_flood_of_reading_keys_ends_its_sender_and_nobody_else(void **state)
{
    struct broker_event logged;
    struct world w;
    struct client *a, *b, *c;
    struct item *bye;
    char text[16];
    size_t warned = 0;

    (void)state;
    empty_store();
    begin_with(&w, "h/** publish a,d subscribe b,c seal group| history store count=100\n");
    work(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    drop_items(a);
    for (int i = 0; i < 1000; i++) { /* the same one again costs nothing */
        hand_in_reading(c, "c", "mine");
        work(&w);
    }
    expect_reading(a, "c", "mine");
    for (int i = 0; i < 1000 && b->kicked == 1; i++) {
        (void)snprintf(text, sizeof(text), "key %d", i);
        hand_in_reading(b, "b", text);
        work(&w);
        while (i == SCARCE_BURST - 2 && broker_next_event(w.broker, &logged))
            warned += strstr(logged.text, "READING") != NULL;
    }
    assert_int_equal(warned, 1);
    bye = take(b, RECORD_BYE);
    assert_non_null(bye);
    assert_int_equal(bye->code, AICO_ERATE);
    assert_non_null(strstr(bye->text, "READING"));
    assert_non_null(strstr(bye->text, "h/**"));
    item_free(bye);
    assert_int_equal(count_items(a, RECORD_READING), SCARCE_BURST);
    drop_items(a);

    hand_in_reading(c, "c", "another");
    work(&w);
    expect_reading(a, "c", "another");
    b->instance++; /* a new link is no way round it, time is */
    client_go(b);
    drop_items(b);
    hand_in_reading(b, "b", "key once more");
    work(&w);
    expect_bye(b, AICO_ERATE);
    advance(&w, 5000);
    b->instance++;
    client_go(b);
    hand_in_reading(b, "b", "after a while");
    work(&w);
    expect_reading(a, "b", "after a while");
    world_deinit(&w);
}

static void hand_in_keys(struct client *c, uint8_t count)
{
    static const uint8_t key_id[KEY_ID_BYTES] = {7};
    static uint8_t entries[STORED_KEYS_MAX * (32 + 2 + STORED_KEY_MAX)];
    struct writer w = writer_over(entries, sizeof(entries)), frame = frame_begin();

    for (int i = 0; i < count; i++) {
        writer_zeros(&w, 32);
        writer_u16(&w, STORED_KEY_MAX);
        writer_zeros(&w, STORED_KEY_MAX);
    }
    record_write_keys(
        &frame, &(struct record_keys){bytes_of(key_id, sizeof(key_id)), count, writer_view(&w)});
    client_send(c, &frame);
}

static void keys_of_a_generation_go_to_the_store(void **state)
{
    uint8_t identity[32];
    struct world w;
    struct client *a;

    (void)state;
    empty_store();
    begin_with(&w, HISTORY_RULES);
    work(&w);
    a = connect_as(&w, "a");
    hand_in_keys(a, 1);
    work(&w);
    identity_of("a", identity);
    assert_int_equal(keys_size, 32 + 2 + STORED_KEY_MAX);
    assert_memory_equal(keys_of, identity, 32);
    world_deinit(&w);
}

/* Who publishes nothing that is stored with keys leaves none; but who has a later registry than we
 * may have a right that we do not know yet. */
static void keys_of_who_may_not_publish_are_not_stored(void **state)
{
    struct broker_event logged;
    struct world w;
    struct client *b;
    size_t said = 0;

    (void)state;
    empty_store();
    begin_with(&w, HISTORY_RULES);
    work(&w);
    b = connect_as(&w, "b");
    hand_in_keys(b, 1);
    work(&w);
    assert_int_equal(keys_size, 0);
    while (broker_next_event(w.broker, &logged))
        said += strstr(logged.text, "may not send KEYS") != NULL;
    assert_int_equal(said, 1);
    assert_int_equal(b->kicked, 1);
    client_lose_link(b);
    client_link(b);
    client_hello(b, 1000);
    hand_in_keys(b, 1);
    work(&w);
    assert_int_equal(keys_size, 32 + 2 + STORED_KEY_MAX);
    world_deinit(&w);
}

/* The store is slow: what one leaves waits at its own link, and others' come at once. */
static void keys_on_their_way_to_the_store_are_bounded(void **state)
{
    struct store_order *o, *mine, *list = NULL;
    size_t bytes = 0, count = 0;
    struct world w;
    struct client *a, *d;

    (void)state;
    empty_store();
    begin_with(&w, HISTORY_RULES);
    work(&w);
    a = connect_as(&w, "a");
    d = connect_as(&w, "d");
    for (int i = 0; i < 2000 && a->kicked == 1; i++) {
        hand_in_keys(a, STORED_KEYS_MAX);
        pump(&w);
        while ((o = broker_next_order(w.broker)) != NULL) {
            bytes += o->data.size;
            count++;
            DL_APPEND(list, o);
        }
    }
    assert_int_equal(a->kicked, AICO_ERATE); /* that, and what waits, is all that is held for it */
    assert_in_range(bytes, ROWS_KEYS_MAX, 3 * ROWS_KEYS_MAX / 2);

    hand_in_keys(d, 2);
    pump(&w);
    mine = broker_next_order(w.broker);
    assert_non_null(mine);
    assert_int_equal(mine->data.size, 2 * (32 + 2 + STORED_KEY_MAX));
    DL_APPEND(list, mine);
    broker_orders_done(w.broker, w.now, list);
    a->instance++;
    client_go(a);
    hand_in_keys(a, 1);
    work(&w);
    assert_int_equal(keys_size, 32 + 2 + STORED_KEY_MAX);
    world_deinit(&w);
}

static void what_the_store_refuses_to_keep_is_refused_by_name(void **state)
{
    struct world w;
    struct client *b;

    (void)state;
    begin_empty(&w);
    b = connect_as(&w, "b");
    fails = STORE_FOLLOW;
    fails_with = AICO_EQUOTA;
    for (int i = 0; i < 3; i++) {
        struct item *item;

        follow_by(b, (struct record_follow){.subscription = 1,
                                            .name = bytes_text("jobs"),
                                            .filter = bytes_text("st/**"),
                                            .queue = i ? bytes_text("work") : bytes_of(NULL, 0)});
        item = take(b, RECORD_REFUSE);
        assert_non_null(item);
        assert_int_equal(item->code, AICO_EQUOTA);
        item_free(item);
    }
    fails = -1;
    fails_with = AICO_ESTORE;
    world_deinit(&w);
}

/* --- following ----------------------------------------------------------------------------------
 */

static void a_filter_must_be_one(void **state)
{
    struct world w;
    struct client *b;

    (void)state;
    begin_empty(&w);
    b = connect_as(&w, "b");
    drop_items(b);
    follow_by(b, (struct record_follow){.subscription = 1, .filter = bytes_text("st/x*")});
    expect_refused(b, b->next_id - 1, AICO_ETOPIC);
    follow_by(b, (struct record_follow){.subscription = 1, .filter = bytes_text("$bus/**")});
    expect_refused(b, b->next_id - 1, AICO_EDENIED);
    world_deinit(&w);
}

static void a_number_in_use_ends_the_link(void **state)
{
    struct world w;
    struct client *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    b = connect_as(&w, "b");
    s = follow(b, "");
    drop_items(b);
    follow_by(b, (struct record_follow){.subscription = s, .filter = bytes_text("st/**")});
    expect_bye(b, AICO_EPROTO);
    b->instance++;
    client_go(b);
    s = subscribe(b, "open/**");
    drop_items(b);
    follow_by(b, (struct record_follow){.subscription = s, .filter = bytes_text("st/**")});
    expect_bye(b, AICO_EPROTO);
    world_deinit(&w);
}

static void so_many_filters_are_followed_and_no_more(void **state)
{
    enum { LIMIT = 64 };
    struct world w;
    struct client *b;

    (void)state;
    begin_empty(&w);
    b = connect_as(&w, "b");
    for (uint32_t i = 1; i <= LIMIT; i++) {
        follow_by(b, (struct record_follow){.subscription = i, .filter = bytes_text("st/x")});
        advance(&w, 1000); /* questions have a rate */
    }
    assert_int_equal(count_items(b, RECORD_REFUSE), 0);
    follow_by(b, (struct record_follow){.subscription = LIMIT + 1, .filter = bytes_text("st/x")});
    expect_refused(b, b->next_id - 1, AICO_EQUOTA);
    unfollow(b, 1);
    drop_items(b);
    follow_by(b, (struct record_follow){.subscription = LIMIT + 1, .filter = bytes_text("st/x")});
    assert_int_equal(count_items(b, RECORD_REFUSE), 0);
    world_deinit(&w);
}

static void a_place_the_store_cannot_say_is_refused(void **state)
{
    struct world w;
    struct client *b;

    (void)state;
    begin_empty(&w);
    b = connect_as(&w, "b");
    drop_items(b);
    disk = AICO_ESTORE;
    follow_by(b, (struct record_follow){
                     .subscription = 1, .name = bytes_text("d"), .filter = bytes_text("st/**")});
    expect_refused(b, b->next_id - 1, AICO_ESTORE);
    disk = 0;
    (void)follow(b, "d"); /* nobody follows under that name */
    world_deinit(&w);
}

/* The store decides whether a name may have another filter; the core keeps nothing of the former.
 */
static void a_durable_name_comes_back_with_another_filter(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    s = follow(b, "d");
    (void)store_one(a, "st/x", "one");
    work(&w);
    expect_item(b, 1, 1);
    unfollow(b, s);
    drop_items(b);
    follow_by(b, (struct record_follow){.subscription = s + 1,
                                        .start = FOLLOW_ALL,
                                        .name = bytes_text("d"),
                                        .filter = bytes_text("st/x")});
    expect_item(b, 1, 1);
    world_deinit(&w);
}

/* An answer of the store for a reader that has gone meanwhile, or has begun again. */
static void what_was_read_for_a_former_session_is_dropped(void **state)
{
    struct world w;
    struct client *a, *b;
    uint32_t s;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    (void)store_one(a, "st/x", "one");
    work(&w);
    s = ++b->next_subscription;
    {
        struct writer frame = frame_begin();

        record_write_follow(&frame, &(struct record_follow){.id = b->next_id++,
                                                            .subscription = s,
                                                            .start = FOLLOW_ALL,
                                                            .deadline_ms = DEADLINE,
                                                            .window = 16,
                                                            .name = bytes_text("d"),
                                                            .filter = bytes_text("st/**")});
        client_send(b, &frame); /* the store has not answered yet */
    }
    client_lose_link(b);
    work(&w);
    client_go(b);
    drop_items(b);
    (void)follow(b, "d");
    expect_item(b, 1, 1);
    assert_null(take(b, RECORD_ITEM));
    world_deinit(&w);
}

/* What is delivered again may not be readable for a moment. */
static void a_message_that_cannot_be_read_again_now_comes_later(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    work(&w);
    b = connect_as(&w, "b");
    (void)follow(b, "d");
    expect_item(b, 1, 1);
    advance(&w, DEADLINE);
    fails = STORE_READ_ONE;
    work(&w);
    fails = -1;
    assert_null(take(b, RECORD_ITEM));
    advance(&w, 60000);
    work(&w);
    expect_item(b, 1, 2);
    world_deinit(&w);
}

static void a_stream_that_cannot_be_read_now_is_read_later(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    (void)follow(b, "d");
    (void)store_one(a, "st/x", "one");
    fails = STORE_READ;
    work(&w);
    fails = -1;
    assert_null(take(b, RECORD_ITEM));
    advance(&w, 60000);
    work(&w);
    expect_item(b, 1, 1);
    world_deinit(&w);
}

/* --- who may still read -------------------------------------------------------------------------
 */

static void change_rules(struct world *w, const char *components, const char *rules)
{
    struct registry *next = registry_make(++w->version, components, rules);

    broker_set_registry(w->broker, w->now, next);
    registry_unref(&w->registry);
    w->registry = next;
    work(w);
}

static void a_reader_that_may_not_read_any_more_is_told(void **state)
{
    struct world w;
    struct client *a, *b;
    struct item *item;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    (void)follow(b, "d");
    drop_items(b);
    change_rules(&w, COMPONENTS,
                 "st/** publish a subscribe c seal none| store count=100\n"
                 "open/** publish * subscribe * seal none\n");
    item = take(b, RECORD_REFUSE);
    assert_non_null(item);
    assert_int_equal(item->code, AICO_EDENIED);
    item_free(item);
    (void)store_one(a, "st/x", "one");
    work(&w);
    assert_null(take(b, RECORD_ITEM));
    world_deinit(&w);
}

static void what_a_revoked_component_stored_goes_to_the_dead_letters(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "one");
    work(&w);
    change_rules(&w,
                 "a revoked user\nb active user\nc active user\nd active user\n"
                 "admin active admin\n",
                 STREAM_RULES);
    b = connect_as(&w, "b");
    (void)follow(b, "d");
    assert_null(take(b, RECORD_ITEM));
    assert_true(buried[1]);
    world_deinit(&w);
}

/* What @c, which listens, sees of a message whose publisher loses its right by @components and
 * @rules while it is on its way to the disk. */
static void expect_withdrawn(const char *components, const char *rules, int code)
{
    struct item *gap;
    struct world w;
    struct client *a, *c;

    begin_empty(&w);
    a = connect_as(&w, "a");
    c = connect_as(&w, "c");
    (void)subscribe(c, "st/**");
    drop_items(c);
    (void)store_one(a, "st/x", "one");
    pump(&w);
    change_rules(&w, components, rules);
    assert_int_equal(stored_count, 1);
    assert_int_equal(count_items(c, RECORD_DELIVER), 0);
    gap = take(c, RECORD_GAP);
    assert_non_null(gap);
    assert_int_equal(gap->code, code);
    assert_int_equal(gap->count, 1);
    item_free(gap);
    world_deinit(&w);
}

static void who_listens_is_not_shown_what_lost_its_right_on_the_way_to_the_disk(void **state)
{
    static const char revoked[] = "a revoked user\nb active user\nc active user\nd active user\n"
                                  "admin active admin\n";
    static const char denied[] = "st/** publish d subscribe b,c seal none| store count=100\n"
                                 "open/** publish * subscribe * seal none\n";

    (void)state;
    expect_withdrawn(revoked, STREAM_RULES, AICO_EREVOKED);
    expect_withdrawn(COMPONENTS, denied, AICO_EDENIED);
}

/* --- questions ----------------------------------------------------------------------------------
 */

static void a_reader_that_is_followed_is_not_forgotten(void **state)
{
    struct world w;
    struct client *b, *admin;
    uint32_t s;
    uint64_t id;

    (void)state;
    begin_empty(&w);
    b = connect_as(&w, "b");
    s = follow(b, "d");
    drop_items(b);
    id = ask(b, "forget", "d");
    expect_refused(b, id, AICO_EEXISTS);
    unfollow(b, s);
    drop_items(b);
    (void)ask(b, "forget", "d");
    assert_int_equal(count_items(b, RECORD_REFUSE), 0);
    admin = connect_as(&w, "admin");
    drop_items(admin);
    disk = AICO_ESTORE;
    id = ask(admin, "streams", "");
    expect_refused(admin, id, AICO_ESTORE);
    world_deinit(&w);
}

static void a_broker_without_a_store_answers_no_question_about_it(void **state)
{
    struct broker_settings settings;
    struct world w;
    struct client *b;
    uint64_t id;

    (void)state;
    broker_settings_default(&settings);
    world_init_with(&w, &settings, COMPONENTS, HISTORY_RULES);
    b = connect_as(&w, "b");
    drop_items(b);
    id = ask(b, "forget", "d");
    expect_refused(b, id, AICO_ESTORE);
    hand_in_reading(b, "b", "text"); /* kept by nobody */
    pump(&w);
    assert_int_equal(b->kicked, 1);
    world_deinit(&w);
}

/* --- what looks at much ----------------------------------------------------------------------- */

#define MANY 20   /* filters that b follows, and c one */
#define AT_ONCE 4 /* reads that the store has */

static struct store_order *next_order(struct world *w, enum store_order_kind kind)
{
    struct store_order *o = broker_next_order(w->broker);

    assert_non_null(o);
    assert_int_equal(o->kind, kind);
    return o;
}

static void bring_back(struct world *w, struct store_order *o)
{
    carry_out(o);
    o->next = NULL;
    o->prev = o;
    broker_orders_done(w->broker, w->now, o);
}

static bool reads_for(const struct store_order *o, const char *component)
{
    uint8_t identity[32];

    identity_of(component, identity);
    return memcmp(o->readers, identity, sizeof(identity)) == 0;
}

/* One message is stored that b, who has MANY to read, and then c, who has one, are waiting for. */
static struct client *much_is_to_be_read(struct world *w, struct client **ret_b)
{
    struct client *a, *c;

    begin_empty(w);
    a = connect_as(w, "a");
    *ret_b = connect_as(w, "b");
    c = connect_as(w, "c");
    for (int i = 0; i < MANY; i++)
        (void)follow_with(*ret_b, "", 3, 16);
    (void)follow_with(c, "", 3, 16);
    (void)store_one(a, "st/x", "one");
    bring_back(w, next_order(w, STORE_PUT));
    return a;
}

static void who_stores_waits_for_few_that_read(void **state)
{
    struct store_order *reads[AT_ONCE];
    struct client *a, *b;
    struct world w;

    (void)state;
    a = much_is_to_be_read(&w, &b);
    for (size_t i = 0; i < COUNT_OF(reads); i++)
        reads[i] = next_order(&w, STORE_READ);
    assert_null(broker_next_order(w.broker));
    (void)store_one(a, "st/x", "two");
    bring_back(&w, next_order(&w, STORE_PUT));
    assert_null(broker_next_order(w.broker));
    bring_back(&w, reads[0]);
    (void)store_one(a, "st/x", "three");
    bring_back(&w, next_order(&w, STORE_PUT)); /* before the read there is room for now */
    for (size_t i = 1; i < AT_ONCE; i++)
        bring_back(&w, reads[i]);
    work(&w);
    assert_int_equal(count_items(b, RECORD_ITEM), 3 * MANY);
    world_deinit(&w);
}

static void who_reads_much_takes_turns_with_who_reads_little(void **state)
{
    struct client *b;
    struct world w;
    int before = 0;

    (void)state;
    (void)much_is_to_be_read(&w, &b);
    for (bool found = false; !found; before += !found) {
        struct store_order *o = next_order(&w, STORE_READ);

        found = reads_for(o, "c");
        bring_back(&w, o);
    }
    assert_in_range(before, 1, 2);
    work(&w);
    world_deinit(&w);
}

static void what_waits_to_be_read_goes_with_its_reader(void **state)
{
    struct store_order *o;
    struct client *b;
    struct world w;

    (void)state;
    (void)much_is_to_be_read(&w, &b);
    client_lose_link(b);
    o = next_order(&w, STORE_READ);
    assert_true(reads_for(o, "c"));
    bring_back(&w, o);
    assert_null(broker_next_order(w.broker));
    world_deinit(&w);
}

/* A member of a group is asked to read for all of them: whichever it is. */
static void what_waits_to_be_read_for_a_group_is_read_for_another_member(void **state)
{
    struct client *a, *members[2];
    struct world w;

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        begin_empty(&w);
        a = connect_as(&w, "a");
        members[0] = connect_as(&w, "b");
        members[1] = connect_as(&w, "c");
        (void)join_with(members[0], 3, 16);
        (void)join_with(members[1], 3, 16);
        (void)store_one(a, "st/x", "one");
        bring_back(&w, next_order(&w, STORE_PUT));
        client_lose_link(members[i]);
        work(&w);
        assert_int_equal(count_items(members[1 - i], RECORD_ITEM), 1);
        world_deinit(&w);
    }
}

/* Into a group of its own and out of it, before the store has heard of it. */
static void look_into_group(struct client *c, int number)
{
    struct writer frame = frame_begin();
    uint32_t subscription = ++c->next_subscription;
    char name[16];

    (void)snprintf(name, sizeof(name), "jobs%d", number);
    record_write_follow(&frame, &(struct record_follow){.id = c->next_id++,
                                                        .subscription = subscription,
                                                        .start = FOLLOW_LAST,
                                                        .deadline_ms = DEADLINE,
                                                        .window = 16,
                                                        .name = bytes_text(name),
                                                        .filter = bytes_text("st/**"),
                                                        .queue = bytes_text("work")});
    record_write_unsubscribe(&frame, c->next_id++, subscription);
    client_send(c, &frame);
    pump(c->world);
    assert_int_equal(count_items(c, RECORD_OK), 1); /* it is out */
    advance(c->world, 1000);                        /* so often it may ask */
    work(c->world);
    drop_items(c);
}

static void a_group_that_nobody_waited_for_leaves_nothing(void **state)
{
    enum { TIMES = 50, EACH = 256 };
    struct client *a, *b;
    struct world w;
    size_t before;

    (void)state;
    begin_empty(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    drop_items(b);
    look_into_group(b, 0);
    before = mallinfo2().uordblks;
    for (int i = 1; i <= TIMES; i++)
        look_into_group(b, i);
    assert_true(mallinfo2().uordblks < before + (size_t)TIMES * EACH);

    /* Of two that come, one stays. */
    (void)join_with(b, 3, 16);
    look_into_group(b, TIMES + 1);
    (void)store_one(a, "st/x", "one");
    work(&w);
    expect_item(b, 1, 1);
    world_deinit(&w);
}

/* Looking for the last message may take several orders; nothing is answered before the end. */
static void the_last_message_is_looked_for_in_steps(void **state)
{
    struct store_order *o;
    struct client *b;
    struct world w;

    (void)state;
    begin_empty(&w);
    b = connect_as(&w, "b");
    drop_items(b);
    {
        struct writer frame = frame_begin();

        record_write_follow(&frame, &(struct record_follow){.id = b->next_id++,
                                                            .subscription = 77,
                                                            .start = FOLLOW_LAST,
                                                            .deadline_ms = DEADLINE,
                                                            .window = 16,
                                                            .filter = bytes_text("st/**")});
        client_send(b, &frame);
    }
    for (uint64_t below = 9000; below > 1000; below -= 4000) {
        o = next_order(&w, STORE_FOLLOW);
        assert_int_equal(o->position, below == 9000 ? 0 : below);
        o->position = below - 4000;
        o->floor = 9000;
        o->more = true;
        o->next = NULL;
        o->prev = o;
        broker_orders_done(w.broker, w.now, o);
        pump(&w);
        assert_int_equal(count_items(b, RECORD_OK), 0);
    }
    o = next_order(&w, STORE_FOLLOW);
    assert_false(o->more);
    assert_int_equal(o->position, 1000);
    assert_int_equal(o->floor, 9000);
    o->next = NULL;
    o->prev = o;
    broker_orders_done(w.broker, w.now, o);
    pump(&w);
    assert_int_equal(count_items(b, RECORD_OK), 1);
    o = next_order(&w, STORE_READ);
    assert_int_equal(o->after, 9000);
    o->next = NULL;
    o->prev = o;
    broker_orders_done(w.broker, w.now, o);
    world_deinit(&w);
}

/* What is left to delete is another order, unless another registry says otherwise by then. */
static void what_is_left_to_delete_is_deleted_on(void **state)
{
    struct store_order *o;
    struct world w;

    (void)state;
    begin_empty(&w);
    (void)connect_as(&w, "a");
    for (int round = 0; round < 2; round++) {
        advance(&w, 61000);
        while ((o = broker_next_order(w.broker)) != NULL && o->kind != STORE_TRIM)
            bring_back(&w, o);
        assert_non_null(o);
        if (round > 0)
            broker_set_registry(w.broker, w.now, w.registry);
        o->more = true;
        o->next = NULL;
        o->prev = o;
        broker_orders_done(w.broker, w.now, o);
        while ((o = broker_next_order(w.broker)) != NULL && o->kind != STORE_TRIM)
            bring_back(&w, o);
        assert_int_equal(o != NULL, round == 0);
        if (o)
            bring_back(&w, o);
        work(&w);
    }
    world_deinit(&w);
}

static bool deletes(const struct store_order *o)
{
    return o->kind == STORE_EXPIRE || o->kind == STORE_TRIM || o->kind == STORE_MAIL_TRIM ||
           o->kind == STORE_VALUE_TRIM || o->kind == STORE_SWEEP;
}

/* Of those that delete, up to @max that there are; the others are carried out. */
static size_t hold_deletions(struct world *w, struct store_order **held, size_t max)
{
    struct store_order *o;
    size_t count = 0;

    while ((o = broker_next_order(w->broker)) != NULL) {
        if (deletes(o)) {
            assert_true(count < max);
            held[count++] = o;
        } else {
            bring_back(w, o);
        }
    }
    pump(w);
    return count;
}

static void give_back(struct world *w, struct store_order **held, size_t count, bool more)
{
    for (size_t i = 0; i < count; i++) {
        held[i]->more = more;
        held[i]->next = NULL;
        held[i]->prev = held[i];
        broker_orders_done(w->broker, w->now, held[i]);
    }
}

/* A kind and a stream is deleted from by one order at a time, however long that takes. */
static void deletions_do_not_add_up(void **state)
{
    enum { KINDS = 4, STREAMS = 2, ROUNDS = 5 };
    struct store_order *held[(KINDS + STREAMS) * ROUNDS];
    struct client *a;
    struct world w;

    (void)state;
    empty_store();
    begin_with(&w, STREAM_RULES "st2/** publish a subscribe b seal none| store count=100\n");
    work(&w);
    a = connect_as(&w, "a");
    (void)store_one(a, "st/x", "m");
    work(&w);
    advance(&w, 61000);
    assert_int_equal(hold_deletions(&w, held, COUNT_OF(held)), KINDS + STREAMS);
    for (int round = 0; round < ROUNDS; round++) {
        (void)store_one(a, "st/x", "m");
        assert_int_equal(hold_deletions(&w, held + KINDS + STREAMS, COUNT_OF(held)), 0);
        advance(&w, 1100);
        assert_int_equal(hold_deletions(&w, held + KINDS + STREAMS, COUNT_OF(held)), 0);
    }
    give_back(&w, held, KINDS + STREAMS, true);
    assert_int_equal(hold_deletions(&w, held, COUNT_OF(held)), KINDS + STREAMS);

    /* When nothing is left, the next time it is due. */
    give_back(&w, held, KINDS + STREAMS, false);
    (void)store_one(a, "st/x", "m");
    assert_int_equal(hold_deletions(&w, held, COUNT_OF(held)), 0);
    advance(&w, 1100);
    assert_int_equal(hold_deletions(&w, held, COUNT_OF(held)), KINDS - 1 + STREAMS);
    give_back(&w, held, KINDS - 1 + STREAMS, false);
    world_deinit(&w);
}

/* By what another registry says nothing waits for what the former one said. */
static void another_registry_deletes_beside_what_is_on_its_way(void **state)
{
    struct store_order *held[16];
    struct world w;
    size_t count;

    (void)state;
    begin_empty(&w);
    (void)connect_as(&w, "a");
    advance(&w, 61000);
    count = hold_deletions(&w, held, COUNT_OF(held));
    assert_int_equal(count, 5);
    broker_set_registry(w.broker, w.now, w.registry);
    advance(&w, 61000);
    count += hold_deletions(&w, held + count, COUNT_OF(held) - count);
    assert_int_equal(count, 9); /* what belongs to nothing is looked for once an hour */
    give_back(&w, held, count, true);
    count = hold_deletions(&w, held, COUNT_OF(held));
    assert_int_equal(count, 4);
    give_back(&w, held, count, false);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_in_pieces_is_stored_when_it_is_whole),
        cmocka_unit_test(a_message_that_was_given_up_makes_room_for_the_next),
        cmocka_unit_test(pieces_that_do_not_follow_each_other_end_the_link),
        cmocka_unit_test(a_reading_key_is_told_to_whoever_stores_for_its_owner),
        cmocka_unit_test(a_reading_key_of_another_ends_the_link),
        cmocka_unit_test(stored_reading_keys_are_told_after_a_restart),
        cmocka_unit_test(a_reading_key_is_not_replaced_by_the_one_it_replaced),
        cmocka_unit_test(a_flood_of_reading_keys_ends_its_sender_and_nobody_else),
        cmocka_unit_test(keys_of_a_generation_go_to_the_store),
        cmocka_unit_test(keys_of_who_may_not_publish_are_not_stored),
        cmocka_unit_test(keys_on_their_way_to_the_store_are_bounded),
        cmocka_unit_test(what_the_store_refuses_to_keep_is_refused_by_name),
        cmocka_unit_test(a_filter_must_be_one),
        cmocka_unit_test(a_number_in_use_ends_the_link),
        cmocka_unit_test(so_many_filters_are_followed_and_no_more),
        cmocka_unit_test(a_place_the_store_cannot_say_is_refused),
        cmocka_unit_test(a_durable_name_comes_back_with_another_filter),
        cmocka_unit_test(what_was_read_for_a_former_session_is_dropped),
        cmocka_unit_test(a_message_that_cannot_be_read_again_now_comes_later),
        cmocka_unit_test(a_stream_that_cannot_be_read_now_is_read_later),
        cmocka_unit_test(a_reader_that_may_not_read_any_more_is_told),
        cmocka_unit_test(what_a_revoked_component_stored_goes_to_the_dead_letters),
        cmocka_unit_test(who_listens_is_not_shown_what_lost_its_right_on_the_way_to_the_disk),
        cmocka_unit_test(a_reader_that_is_followed_is_not_forgotten),
        cmocka_unit_test(who_stores_waits_for_few_that_read),
        cmocka_unit_test(who_reads_much_takes_turns_with_who_reads_little),
        cmocka_unit_test(what_waits_to_be_read_goes_with_its_reader),
        cmocka_unit_test(what_waits_to_be_read_for_a_group_is_read_for_another_member),
        cmocka_unit_test(the_last_message_is_looked_for_in_steps),
        cmocka_unit_test(a_group_that_nobody_waited_for_leaves_nothing),
        cmocka_unit_test(what_is_left_to_delete_is_deleted_on),
        cmocka_unit_test(deletions_do_not_add_up),
        cmocka_unit_test(another_registry_deletes_beside_what_is_on_its_way),
        cmocka_unit_test(a_broker_without_a_store_answers_no_question_about_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
