/* SPDX-License-Identifier: Apache-2.0 */
/* The session with the broker: how it begins, lives, ends, and begins again. */
#include "world.h"

/* --- HELLO and WELCOME --------------------------------------------------------------------------
 */

static void the_first_frame_is_hello_and_nothing_else(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    publish(&w, "n/x", "waits");
    assert_true(client_wants_link(w.client, w.now));
    assert_false(client_wants_link(w.client, w.now)); /* once is enough */
    assert_false(client_has_link(w.client));
    client_link_up(w.client, w.now);
    assert_true(client_has_link(w.client));
    pull(&w);
    assert_int_equal(w.out_count, 1);
    assert_int_equal(w.out[0].type, RECORD_HELLO);
    assert_false(client_is_ready(w.client));
    world_deinit(&w);
}

static void before_welcome_anything_else_is_a_breach(void **state UNUSED)
{
    struct world w;
    struct writer f;

    world_init(&w);
    assert_true(client_wants_link(w.client, w.now));
    client_link_up(w.client, w.now);
    f = script();
    record_write_ack(&f, 1);
    assert_int_equal(say(&w, &f), AICO_EPROTO);
    assert_false(client_has_link(w.client));
    world_deinit(&w);
}

static void a_second_welcome_is_a_breach(void **state UNUSED)
{
    struct world w;
    struct writer f;

    world_init(&w);
    link_up(&w);
    f = script();
    record_write_welcome(
        &f, &(struct record_welcome){.window = WINDOW,
                                     .self = 9,
                                     .registry_version = 1,
                                     .registry_hash = bytes_of(registry_hash(w.registry), 16),
                                     .name = bytes_text("broker")});
    assert_int_equal(say(&w, &f), AICO_EPROTO);
    assert_false(client_has_link(w.client));
    assert_false(client_is_ready(w.client));
    world_deinit(&w);
}

static void a_welcome_that_acknowledges_the_future_is_a_breach(void **state UNUSED)
{
    struct world w;
    struct writer f = script();

    world_init(&w);
    assert_true(client_wants_link(w.client, w.now));
    client_link_up(w.client, w.now);
    record_write_welcome(
        &f, &(struct record_welcome){.window = WINDOW,
                                     .self = 9,
                                     .registry_version = 1,
                                     .registry_hash = bytes_of(registry_hash(w.registry), 16),
                                     .last_id = 1000,
                                     .name = bytes_text("broker")});
    assert_int_equal(say(&w, &f), AICO_EPROTO);
    world_deinit(&w);
}

static void after_welcome_subscriptions_come_before_messages(void **state UNUSED)
{
    struct world w;
    struct ended ended = {0};

    world_init(&w);
    client_subscribe(w.client, w.now, bytes_text("n/#"), SLOW_BLOCK, false, bytes_of(NULL, 0), 1000,
                     &ended);
    publish(&w, "n/x", "one");
    link_with(&w, WINDOW, 0);
    assert_int_equal(w.out[w.out_count - 1].type, RECORD_PUBLISH);
    assert_non_null(sent_filter(&w, "n/**")); /* in the one spelling */
    assert_int_equal(sent_filter(&w, "n/**")->policy, SLOW_BLOCK);
    assert_non_null(sent_filter(&w, TOPIC_HEADS)); /* whoever reads hears how far they are */
    assert_false(ended.ended);
    client_forget(w.client, &ended);
    world_deinit(&w);
}

static void without_an_answer_to_hello_the_link_is_given_up(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    assert_true(client_wants_link(w.client, w.now));
    client_link_up(w.client, w.now);
    assert_true(client_deadline(w.client) <= w.now.boot_ms + 30000);
    pass(&w, 29999);
    assert_true(client_has_link(w.client));
    pass(&w, 1);
    assert_false(client_has_link(w.client));
    world_deinit(&w);
}

/* --- dialling -----------------------------------------------------------------------------------
 */

static void dials_grow_apart_up_to_a_bound_and_start_anew_after_success(void **state UNUSED)
{
    struct world w;
    int64_t longest = 0, first = 0;

    world_init(&w);
    for (int i = 0; i < 40; i++) {
        int64_t wait;

        assert_true(client_wants_link(w.client, w.now));
        client_link_down(w.client, w.now, AICO_EUNREACHABLE, "nobody listens");
        assert_false(client_wants_link(w.client, w.now));
        wait = client_deadline(w.client) - w.now.boot_ms;
        assert_in_range(wait, 1, 30001);
        if (i == 0)
            first = wait;
        longest = MAX(longest, wait);
        w.now.boot_ms += wait;
    }
    assert_true(first <= 101);
    assert_true(longest > 5000);
    link_up(&w);
    client_link_down(w.client, w.now, AICO_EUNREACHABLE, "lost");
    assert_in_range(client_deadline(w.client) - w.now.boot_ms, 1, 101);
    world_deinit(&w);
}

static void a_link_that_is_down_already_does_not_break_again(void **state UNUSED)
{
    struct world w;
    int64_t due;

    world_init(&w);
    link_up(&w);
    client_link_down(w.client, w.now, AICO_EUNREACHABLE, "lost");
    due = client_deadline(w.client);
    client_link_down(w.client, w.now, AICO_EUNREACHABLE, "lost"); /* the transport says it, too */
    assert_int_equal(client_deadline(w.client), due);
    assert_int_equal(told_count(&w, AICO_MESSAGE_STATE), 1);
    world_deinit(&w);
}

static void who_does_not_wait_for_the_broker_ends_at_once(void **state UNUSED)
{
    struct client_settings settings = world_settings();
    struct world w;

    settings.wait_for_broker = false;
    world_init_with(&w, &settings);
    assert_true(client_wants_link(w.client, w.now));
    client_link_down(w.client, w.now, AICO_EUNREACHABLE, "nobody listens");
    expect_end(&w, AICO_EUNREACHABLE);
    world_deinit(&w);
}

static void a_link_that_is_lost_before_welcome_is_dialled_again(void **state UNUSED)
{
    struct client_settings settings = world_settings();
    struct world w;

    settings.wait_for_broker = false;
    world_init_with(&w, &settings);
    assert_true(client_wants_link(w.client, w.now));
    client_link_up(w.client, w.now);
    client_link_down(w.client, w.now, AICO_ECLOSED, "the connection was lost");
    pass(&w, 1000);
    assert_true(client_wants_link(w.client, w.now));
    client_link_down(w.client, w.now, AICO_EUNREACHABLE, "nobody listens");
    expect_end(&w, AICO_EUNREACHABLE);
    world_deinit(&w);
}

static void after_so_many_timeouts_the_cause_reaches_the_application(void **state UNUSED)
{
    struct client_settings settings = world_settings();
    struct ended ended = {0};
    const char *text;
    struct world w;
    int code;

    settings.session.connection_retry_limit = 2; /* times 30 s */
    world_init_with(&w, &settings);
    client_query(w.client, w.now, bytes_text("status"), bytes_of(NULL, 0), -1, &ended);
    for (int i = 0; i < 1000 && !client_is_ended(w.client, &code, &text); i++) {
        pass(&w, 100);
        if (client_wants_link(w.client, w.now))
            client_link_down(w.client, w.now, AICO_EUNREACHABLE, "nobody listens");
    }
    expect_end(&w, AICO_EUNREACHABLE);
    assert_true(w.now.boot_ms - moment_at(START_MS + 1000).boot_ms >= 60000);
    assert_true(ended.ended);
    assert_int_equal(ended.code, AICO_EUNREACHABLE);
    world_deinit(&w);
}

/* What the broker was told to do may be done: a broker of the next start would do it again. */
static void an_act_is_not_repeated_when_the_link_is_lost(void **state UNUSED)
{
    static const char *const acts[] = {"drain", "reload", "kick"};

    for (size_t i = 0; i < COUNT_OF(acts); i++) {
        struct ended asked = {0}, told = {0};
        struct world w;

        world_init(&w);
        link_up(&w);
        client_query(w.client, w.now, bytes_text("status"), bytes_of(NULL, 0), -1, &asked);
        client_query(w.client, w.now, bytes_text(acts[i]), bytes_of(NULL, 0), -1, &told);
        client_link_down(w.client, w.now, AICO_EUNREACHABLE, "link lost");
        assert_true(told.ended);
        assert_int_equal(told.code, AICO_EUNREACHABLE);
        assert_false(asked.ended);
        client_forget(w.client, &asked);
        world_deinit(&w);
    }
}

/* --- BYE ----------------------------------------------------------------------------------------
 */

static int say_bye(struct world *w, int code)
{
    struct writer f = script();

    record_write_bye(&f, &(struct record_bye){(uint16_t)-code, bytes_text("because")});
    return say(w, &f);
}

static void a_named_refusal_is_not_tried_again(void **state UNUSED)
{
    static const int codes[] = {AICO_EREVOKED, AICO_EDUPLICATE, AICO_EKICKED, AICO_EUNKNOWN,
                                AICO_EVERSION};

    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        struct world w;

        world_init(&w);
        link_up(&w);
        assert_int_equal(say_bye(&w, codes[i]), codes[i]);
        expect_end(&w, codes[i]);
        assert_false(client_has_link(w.client));
        world_deinit(&w);
    }
}

static void a_draining_broker_is_dialled_again_and_the_application_told(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    assert_int_equal(say_bye(&w, AICO_EDRAIN), AICO_EDRAIN);
    assert_int_equal(told(&w, AICO_MESSAGE_STATE)->code, AICO_EDRAIN);
    assert_string_equal(told(&w, AICO_MESSAGE_STATE)->text, "because");
    w.now.boot_ms += 60000;
    link_up(&w);
    assert_int_equal(w.told[w.told_count - 1]->kind, AICO_MESSAGE_STATE);
    assert_int_equal(w.told[w.told_count - 1]->code, 0); /* connected again */
    world_deinit(&w);
}

static void nothing_behind_a_bye_is_looked_at(void **state UNUSED)
{
    struct world w;
    struct writer f = script();

    world_init(&w);
    link_up(&w);
    subscribe(&w, "n/x");
    record_write_bye(&f, &(struct record_bye){0, bytes_text("")});
    write_deliver(&f, (struct record_deliver){.topic = 12}, "late");
    assert_int_equal(say(&w, &f), AICO_ECLOSED);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 0);
    world_deinit(&w);
}

/* --- malformed ----------------------------------------------------------------------------------
 */

static void every_truncation_of_a_frame_ends_the_link_but_not_the_client(void **state UNUSED)
{
    struct writer f = script();
    uint8_t frame[256];
    size_t size;

    write_deliver(&f, (struct record_deliver){.topic = 12}, "hello");
    size = f.size;
    memcpy(frame, script_room, size);
    for (size_t cut = 2; cut < size; cut++) {
        struct world w;
        uint8_t *copy = exact_copy(bytes_of(frame, cut));

        world_init(&w);
        link_up(&w);
        assert_int_equal(client_receive(w.client, w.now, bytes_of(copy, cut)), AICO_EPROTO);
        assert_false(client_has_link(w.client));
        pass(&w, 60000);
        assert_true(client_wants_link(w.client, w.now));
        free(copy);
        world_deinit(&w);
    }
}

static void a_number_nobody_told_is_a_breach(void **state UNUSED)
{
    struct world w;
    struct writer f = script();

    world_init(&w);
    link_up(&w);
    write_deliver(&f, (struct record_deliver){.topic = 4000}, "hello");
    assert_int_equal(say(&w, &f), AICO_EPROTO);
    world_deinit(&w);
}

static void numbers_are_forgotten_with_the_link(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    publish(&w, "n/x", "one");
    pull(&w);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.topic, 12);
    lose_link(&w);
    assert_true(client_wants_link(w.client, w.now));
    client_link_up(w.client, w.now);
    pull(&w);
    forget_out(&w);
    { /* a broker that has told no number yet */
        struct writer f = script();

        record_write_welcome(
            &f, &(struct record_welcome){.window = WINDOW,
                                         .self = 9,
                                         .registry_version = 1,
                                         .registry_hash = bytes_of(registry_hash(w.registry), 16),
                                         .last_id = 1,
                                         .name = bytes_text("broker")});
        assert_int_equal(say(&w, &f), 0);
    }
    publish(&w, "n/x", "two");
    pull(&w);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.topic, 0);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->topic, "n/x");
    world_deinit(&w);
}

/* --- keep-alive and credit ----------------------------------------------------------------------
 */

static void a_ping_is_answered(void **state UNUSED)
{
    struct world w;
    struct writer f = script();

    world_init(&w);
    link_up(&w);
    record_write_ping(&f, 4711);
    assert_int_equal(say(&w, &f), 0);
    pull(&w);
    assert_int_equal(sent(&w, RECORD_PONG, 0)->id, 4711);
    world_deinit(&w);
}

static void a_silent_broker_is_asked_twice_and_left(void **state UNUSED)
{
    struct world w;
    int64_t until;

    world_init(&w);
    link_up(&w);
    until = w.now.boot_ms + 5 * 60000;
    while (client_has_link(w.client) && w.now.boot_ms < until) {
        pass(&w, client_deadline(w.client) - w.now.boot_ms);
        pull(&w);
    }
    assert_false(client_has_link(w.client));
    assert_int_equal(sent_count(&w, RECORD_PING), 2);
    assert_int_equal(told(&w, AICO_MESSAGE_STATE)->code, AICO_EPEERSILENT);
    world_deinit(&w);
}

static void anything_the_broker_says_keeps_the_link(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    for (int i = 0; i < 20; i++) {
        struct writer f = script();

        pass(&w, 50000);
        record_write_credit(&f, 1);
        assert_int_equal(say(&w, &f), 0);
    }
    assert_true(client_has_link(w.client));
    assert_int_equal(sent_count(&w, RECORD_PING), 0);
    world_deinit(&w);
}

static void credit_goes_back_as_the_application_reads(void **state UNUSED)
{
    static char text[40000];
    struct world w;
    size_t given = 0;

    memset(text, 'x', sizeof(text) - 1);
    world_init(&w);
    link_up(&w);
    subscribe(&w, "n/x");
    forget_out(&w);
    client_set_backlogged(w.client, true);
    for (int i = 0; i < 8; i++)
        say_deliver(&w, (struct record_deliver){.topic = 12}, text);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_CREDIT), 0);
    client_set_backlogged(w.client, false);
    pull(&w);
    for (size_t i = 0; sent(&w, RECORD_CREDIT, i); i++)
        given += sent(&w, RECORD_CREDIT, i)->bytes;
    assert_int_equal(given, 8 * (sizeof(text) - 1 + RECORD_HEAD_SIZE + 16));
    /* What is addressed to us by name costs no credit. */
    forget_out(&w);
    fake.by_hand = true;
    for (int i = 0; i < 8; i++)
        say_deliver(&w, (struct record_deliver){.topic = 11, .direct = true}, text);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_CREDIT), 0);
    world_deinit(&w);
}

static void a_frame_of_several_records_keeps_its_limit(void **state UNUSED)
{
    static char filter[256];
    struct world w;

    world_init(&w);
    memset(filter, 'f', 250);
    for (int i = 0; i < 400; i++) {
        (void)snprintf(filter + 240, 10, "%d", i);
        client_subscribe(w.client, w.now, bytes_text(filter), SLOW_DROP_OLD, false,
                         bytes_of(NULL, 0), 1000, NULL);
    }
    for (int i = 0; i < 30; i++)
        push(&w, "n/x", "", bytes_of(script_room, 30000));
    link_with(&w, 4 * WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_SUBSCRIBE), 401);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 30);
    assert_true(w.largest_frame <= FRAME_BATCH_SIZE);
    world_deinit(&w);
}

/* --- the registry -------------------------------------------------------------------------------
 */

/* Signs @draft; the document, to be freed with buffer_deinit(). */
static struct buffer sign(const struct registry_draft *draft)
{
    struct buffer document = {0};
    struct secret seed;

    owner_seed(&seed);
    assert_int_equal(registry_draft_sign(draft, &seed, START_MS, &document), 0);
    return document;
}

/* In two pieces. */
static int say_registry(struct world *w, struct bytes document, uint64_t version)
{
    struct writer f = script();
    size_t half = document.size / 2;

    record_write_registry(&f, &(struct record_registry){version, (uint32_t)document.size, 0,
                                                        bytes_of(document.at, half)});
    record_write_registry(
        &f, &(struct record_registry){version, (uint32_t)document.size, (uint32_t)half,
                                      bytes_of(document.at + half, document.size - half)});
    return say(w, &f);
}

static void a_newer_registry_is_taken_and_an_older_one_is_not(void **state UNUSED)
{
    struct world w;
    struct registry_draft *draft;
    struct buffer second;

    world_init(&w);
    link_up(&w);
    draft = world_draft(&w, w.registry);
    second = sign(draft);
    assert_int_equal(say_registry(&w, buffer_view(&second), 2), 0);
    assert_int_equal(registry_version(client_registry(w.client)), 2);
    assert_int_equal(w.registries, 1);
    assert_int_equal(fake.registries, 1);
    assert_int_equal(say_registry(&w, registry_document(w.registry), 1), 0);
    assert_int_equal(registry_version(client_registry(w.client)), 2);
    assert_int_equal(w.registries, 1);
    registry_draft_free(&draft);
    buffer_deinit(&second);
    world_deinit(&w);
}

static void a_forged_registry_changes_nothing_and_is_told(void **state UNUSED)
{
    struct world w;
    struct registry_draft *draft;
    struct buffer second;

    world_init(&w);
    link_up(&w);
    draft = world_draft(&w, w.registry);
    second = sign(draft);
    second.at[second.size / 2] ^= 1;
    assert_int_equal(say_registry(&w, buffer_view(&second), 2), 0);
    assert_int_equal(registry_version(client_registry(w.client)), 1);
    assert_int_equal(told(&w, AICO_MESSAGE_STATE)->code, AICO_EREGISTRYSIGNATURE);
    assert_true(client_is_ready(w.client));
    registry_draft_free(&draft);
    buffer_deinit(&second);
    world_deinit(&w);
}

static void a_piece_out_of_its_place_is_a_breach(void **state UNUSED)
{
    struct bytes document;
    struct world w;
    struct writer f = script();

    world_init(&w);
    link_up(&w);
    document = registry_document(w.registry);
    record_write_registry(
        &f, &(struct record_registry){2, (uint32_t)document.size, 5, bytes_of(document.at, 10)});
    assert_int_equal(say(&w, &f), AICO_EPROTO);
    world_deinit(&w);
}

static void whoever_is_revoked_ends(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    struct registry_draft *draft;
    struct buffer second;

    world_init(&w);
    link_up(&w);
    client_flush(w.client, w.now, 99, -1, &ended);
    publish(&w, "n/x", "one");
    draft = world_draft(&w, w.registry);
    assert_int_equal(registry_draft_set_state(draft, "alice", COMPONENT_REVOKED), 0);
    second = sign(draft);
    assert_int_equal(say_registry(&w, buffer_view(&second), 2), AICO_EREVOKED);
    expect_end(&w, AICO_EREVOKED);
    assert_int_equal(w.registries, 1); /* it is kept: the next start ends at once */
    registry_draft_free(&draft);
    buffer_deinit(&second);
    world_deinit(&w);
}

/* The broker's key was rotated, and the broker that runs has the former one until its restart. */
static void who_heard_of_the_brokers_next_key_waits_for_it(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *renewed = NULL;
    struct world w;
    struct registry_draft *draft;
    struct buffer second;

    world_init(&w);
    assert_int_equal(identity_new("broker", &w.broker->seed, 1, &renewed), 0);
    link_up(&w);
    draft = world_draft(&w, w.registry);
    assert_int_equal(registry_draft_set_transport(draft, renewed), 0);
    second = sign(draft);
    assert_int_equal(say_registry(&w, buffer_view(&second), 2), 0);
    assert_int_equal(registry_version(client_registry(w.client)), 2);

    for (int i = 0; i < 3; i++) {
        client_link_down(w.client, w.now, AICO_EBROKERKEY, "another key");
        w.now.boot_ms += 2000;
        if (i < 2)
            assert_true(client_wants_link(w.client, w.now));
    }
    link_up(&w); /* restarted */
    client_link_down(w.client, w.now, AICO_EUNREACHABLE, "lost");
    w.now.boot_ms += 2000;
    assert_true(client_wants_link(w.client, w.now));
    client_link_down(w.client, w.now, AICO_EBROKERKEY, "another key");
    expect_end(&w, AICO_EBROKERKEY); /* nobody said that this would come */
    registry_draft_free(&draft);
    buffer_deinit(&second);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_frame_is_hello_and_nothing_else),
        cmocka_unit_test(before_welcome_anything_else_is_a_breach),
        cmocka_unit_test(a_second_welcome_is_a_breach),
        cmocka_unit_test(a_welcome_that_acknowledges_the_future_is_a_breach),
        cmocka_unit_test(after_welcome_subscriptions_come_before_messages),
        cmocka_unit_test(without_an_answer_to_hello_the_link_is_given_up),
        cmocka_unit_test(dials_grow_apart_up_to_a_bound_and_start_anew_after_success),
        cmocka_unit_test(a_link_that_is_down_already_does_not_break_again),
        cmocka_unit_test(who_does_not_wait_for_the_broker_ends_at_once),
        cmocka_unit_test(a_link_that_is_lost_before_welcome_is_dialled_again),
        cmocka_unit_test(after_so_many_timeouts_the_cause_reaches_the_application),
        cmocka_unit_test(an_act_is_not_repeated_when_the_link_is_lost),
        cmocka_unit_test(a_named_refusal_is_not_tried_again),
        cmocka_unit_test(a_draining_broker_is_dialled_again_and_the_application_told),
        cmocka_unit_test(nothing_behind_a_bye_is_looked_at),
        cmocka_unit_test(every_truncation_of_a_frame_ends_the_link_but_not_the_client),
        cmocka_unit_test(a_number_nobody_told_is_a_breach),
        cmocka_unit_test(numbers_are_forgotten_with_the_link),
        cmocka_unit_test(a_ping_is_answered),
        cmocka_unit_test(a_silent_broker_is_asked_twice_and_left),
        cmocka_unit_test(anything_the_broker_says_keeps_the_link),
        cmocka_unit_test(credit_goes_back_as_the_application_reads),
        cmocka_unit_test(a_frame_of_several_records_keeps_its_limit),
        cmocka_unit_test(a_newer_registry_is_taken_and_an_older_one_is_not),
        cmocka_unit_test(a_forged_registry_changes_nothing_and_is_told),
        cmocka_unit_test(a_piece_out_of_its_place_is_a_breach),
        cmocka_unit_test(whoever_is_revoked_ends),
        cmocka_unit_test(who_heard_of_the_brokers_next_key_waits_for_it),
    };

    if (crypto_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
