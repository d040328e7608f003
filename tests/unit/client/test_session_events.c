/* SPDX-License-Identifier: Apache-2.0 */
/* What the session manager wants of the client besides messages: prekeys, keys, and what ends it.
 */
#include "world.h"

static uint8_t statement[STATEMENT_SIZE];

static void say_event(struct world *w, struct session_event event, const char *peer)
{
    fake_push(event, peer, "", "");
    pass(w, 0);
    pull(w);
}

/* The sessions want prekeys of @peer; the id of the question the broker is asked. */
static uint64_t asks_for_bundle(struct world *w, const char *peer)
{
    forget_out(w);
    say_event(w, (struct session_event){.type = SESSION_BUNDLE}, peer);
    assert_int_equal(sent_count(w, RECORD_BUNDLE), 1);
    return sent(w, RECORD_BUNDLE, 0)->id;
}

static int say_bundle(struct world *w, uint64_t id, const char *name, uint32_t number)
{
    static const uint8_t public[ONE_TIME_SIZE - 4];
    struct writer f = script();

    record_write_bundle(&f, &(struct record_bundle){id, bytes_text(name),
                                                    bytes_of(statement, sizeof(statement)), number,
                                                    bytes_of(public, sizeof(public))});
    return say(w, &f);
}

/* --- prekeys ------------------------------------------------------------------------------------
 */

static void prekeys_go_to_the_directory_while_there_is_a_link(void **state UNUSED)
{
    struct session_event event = {.type = SESSION_PREKEYS,
                                  .bytes = bytes_of(statement, sizeof(statement))};
    struct writer f;
    struct world w;

    world_init(&w);
    say_event(&w, event, ""); /* no link: they are said again when there is one */
    link_up(&w);
    assert_int_equal(sent_count(&w, RECORD_PREKEYS), 0);
    say_event(&w, event, "");
    assert_int_equal(sent_count(&w, RECORD_PREKEYS), 1);
    f = script();
    record_write_prekeys_left(&f, 1, 17);
    assert_int_equal(say(&w, &f), 0);
    assert_int_equal(fake.prekeys_left, 17);
    world_deinit(&w);
}

static void a_bundle_is_asked_for_and_handed_on(void **state UNUSED)
{
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = asks_for_bundle(&w, "bob");
    assert_int_equal(say_bundle(&w, id, "bob", 7), 0);
    assert_int_equal(fake.bundles, 1);
    assert_int_equal(fake.bundle_number, 7);
    assert_true(fake.bundle_has_key);
    id = asks_for_bundle(&w, "bob");
    assert_int_equal(say_bundle(&w, id, "bob", ONE_TIME_NONE), 0);
    assert_int_equal(fake.bundles, 2);
    assert_false(fake.bundle_has_key);
    world_deinit(&w);
}

static void a_bundle_that_is_refused_is_told_to_the_sessions(void **state UNUSED)
{
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = asks_for_bundle(&w, "bob");
    say_refuse(&w, id + 1, AICO_ENOPREKEY); /* of nothing we asked */
    assert_int_equal(fake.bundle_code, 0);
    say_refuse(&w, id, AICO_ENOPREKEY);
    assert_int_equal(fake.bundle_code, AICO_ENOPREKEY);
    assert_int_equal(say_bundle(&w, id, "bob", 7), AICO_EPROTO); /* too late */
    world_deinit(&w);
}

static void a_bundle_nobody_asked_for_is_a_breach(void **state UNUSED)
{
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = asks_for_bundle(&w, "bob");
    assert_int_equal(say_bundle(&w, id, "carol", 7), AICO_EPROTO); /* another one's keys */
    assert_int_equal(fake.bundles, 0);
    world_deinit(&w);

    world_init(&w);
    link_up(&w);
    id = asks_for_bundle(&w, "bob");
    assert_int_equal(say_bundle(&w, id + 1, "bob", 7), AICO_EPROTO);
    assert_int_equal(fake.bundles, 0);
    world_deinit(&w);
}

static void without_a_link_nobody_is_asked_for_a_bundle(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    lose_link(&w);
    say_event(&w, (struct session_event){.type = SESSION_BUNDLE}, "bob");
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_BUNDLE), 0);
    world_deinit(&w);
}

/* --- what is kept, and what ends us -------------------------------------------------------------
 */

static void keys_for_readers_leave_before_what_they_open(void **state UNUSED)
{
    static const uint8_t body[KEY_ID_BYTES + 1 + 32 + 2 + 4] = {[KEY_ID_BYTES] = 1,
                                                                [KEY_ID_BYTES + 34] = 4};
    struct session_event event = {.type = SESSION_STORE_KEYS,
                                  .bytes = bytes_of(body, sizeof(body))};
    struct world w;
    size_t keys = SIZE_MAX, publish_at = 0;

    world_init(&w);
    say_event(&w, event, ""); /* without a link they are handed in with the next */
    link_up(&w);
    fake_push(event, "", "", "");
    pass(&w, 0);
    publish(&w, "g/x", "text");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_KEYS), 1);
    for (size_t i = 0; i < w.out_count; i++) {
        keys = w.out[i].type == RECORD_KEYS ? i : keys;
        publish_at = w.out[i].type == RECORD_PUBLISH ? i : publish_at;
    }
    assert_true(keys < publish_at);
    world_deinit(&w);
}

static void a_generation_that_cannot_be_kept_ends_the_client(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    w.persist_code = AICO_EFULL;
    say_event(&w, (struct session_event){.type = SESSION_PERSIST_GEN, .generation = 7}, "");
    expect_end(&w, AICO_EFULL);
    world_deinit(&w);
}

static void state_that_cannot_be_kept_ends_the_client(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    say_event(&w, (struct session_event){.type = SESSION_BROKEN, .code = AICO_EFULL}, "");
    expect_end(&w, AICO_EFULL);
    world_deinit(&w);
}

static void a_registry_of_a_peer_that_does_not_verify_changes_nothing(void **state UNUSED)
{
    static const char text[] = "aico-registry 1\n";
    struct world w;

    world_init(&w);
    link_up(&w);
    say_event(&w, (struct session_event){.type = SESSION_REGISTRY, .bytes = bytes_text(text)},
              "bob");
    assert_int_equal(w.registries, 0);
    assert_true(client_is_ready(w.client));
    world_deinit(&w);
}

/* Only what a person can repair, or has to know, is told to the application. */
static void notices_that_matter_are_told(void **state UNUSED)
{
    static const int told_codes[] = {AICO_ECLOCK,        AICO_EPOLICY,     AICO_ENOTALLOWED,
                                     AICO_EREVOKED,      AICO_EUNKNOWN,    AICO_EREGISTRYSTALE,
                                     AICO_EEQUIVOCATION, AICO_EPEERSILENT, AICO_EHEADSMISSING,
                                     AICO_ENOPREKEY,     AICO_ENOONETIME,  AICO_ERATCHET};
    struct world w;

    world_init(&w);
    link_up(&w);
    say_event(&w, (struct session_event){.type = SESSION_NOTICE, .code = AICO_EAUTHENTICITY},
              "bob");
    assert_int_equal(told_count(&w, AICO_MESSAGE_STATE), 0);
    for (size_t i = 0; i < COUNT_OF(told_codes); i++) {
        forget_told(&w);
        say_event(&w, (struct session_event){.type = SESSION_NOTICE, .code = told_codes[i]}, "bob");
        assert_int_equal(told(&w, AICO_MESSAGE_STATE)->code, told_codes[i]);
        assert_string_equal(told(&w, AICO_MESSAGE_STATE)->sender, "bob");
    }
    world_deinit(&w);
}

/* --- wills that cannot be left ------------------------------------------------------------------
 */

/* It belongs to no delivery of this run. */
static void what_a_former_run_opened_and_may_not_be_shown_is_told(void **state UNUSED)
{
    struct session_event event = {.type = SESSION_FAILED, .code = AICO_EREVOKED, .text = "why"};
    struct world w;

    world_init(&w);
    link_up(&w);
    forget_told(&w);
    fake_push(event, "bob", "c/x", "");
    pass(&w, 0);
    assert_int_equal(w.told_count, 1);
    assert_int_equal(w.told[0]->kind, AICO_MESSAGE_UNOPENED);
    assert_int_equal(w.told[0]->code, AICO_EREVOKED);
    assert_int_equal(w.told[0]->count, 1);
    assert_string_equal(w.told[0]->sender, "bob");
    assert_string_equal(w.told[0]->topic, "c/x");
    world_deinit(&w);
}

static void set_will(struct world *w, const char *topic, size_t size)
{
    static const uint8_t zeros[WILL_SIZE_MAX + 1];

    assert_int_equal(client_set_will(w->client, bytes_text(topic), bytes_of(zeros, size)), 0);
    link_with(w, WINDOW, 0);
}

static void expect_will_refused(struct world *w, int code)
{
    assert_int_equal(sent_count(w, RECORD_WILL), 0);
    assert_int_equal(told(w, AICO_MESSAGE_REFUSED)->code, code);
    world_deinit(w);
}

static void a_will_in_clear_is_left_where_that_is_allowed(void **state UNUSED)
{
    struct client_settings settings = world_settings();
    struct world w;

    world_init_with(&w, &settings);
    assert_int_equal(client_set_will(w.client, bytes_text("n/x"), bytes_text("gone")), 0);
    link_with(&w, WINDOW, 0);
    assert_string_equal(sent(&w, RECORD_WILL, 0)->text, "gone");
    world_deinit(&w);

    settings.seal_none_allowed = false;
    world_init_with(&w, &settings);
    set_will(&w, "n/x", 4);
    expect_will_refused(&w, AICO_EPOLICY);
}

static void a_will_that_cannot_be_left_is_refused_by_name(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    set_will(&w, "no/rule", 4);
    expect_will_refused(&w, AICO_EDENIED);
    world_init(&w);
    set_will(&w, "g/x", WILL_SIZE_MAX);
    expect_will_refused(&w, AICO_ETOOLARGE);
    world_init(&w);
    fake.prepare_code = AICO_EREGISTRYSTALE;
    set_will(&w, "g/x", 4);
    expect_will_refused(&w, AICO_EREGISTRYSTALE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prekeys_go_to_the_directory_while_there_is_a_link),
        cmocka_unit_test(a_bundle_is_asked_for_and_handed_on),
        cmocka_unit_test(a_bundle_that_is_refused_is_told_to_the_sessions),
        cmocka_unit_test(a_bundle_nobody_asked_for_is_a_breach),
        cmocka_unit_test(without_a_link_nobody_is_asked_for_a_bundle),
        cmocka_unit_test(keys_for_readers_leave_before_what_they_open),
        cmocka_unit_test(a_generation_that_cannot_be_kept_ends_the_client),
        cmocka_unit_test(state_that_cannot_be_kept_ends_the_client),
        cmocka_unit_test(a_registry_of_a_peer_that_does_not_verify_changes_nothing),
        cmocka_unit_test(notices_that_matter_are_told),
        cmocka_unit_test(what_a_former_run_opened_and_may_not_be_shown_is_told),
        cmocka_unit_test(a_will_in_clear_is_left_where_that_is_allowed),
        cmocka_unit_test(a_will_that_cannot_be_left_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
