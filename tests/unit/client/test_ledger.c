/* SPDX-License-Identifier: Apache-2.0 */
/* The books of a client: what goes straight to one component, requests and their answers. */
#include <jansson.h>

#include "world.h"

/* Member @path ("published", "refused/E_FULL") of the rows of @sender and @way. */
static json_int_t count(struct world *w, const char *sender, const char *way, const char *path)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    json_int_t found = 0;
    char key[64], *slash;
    json_t *all, *row;
    size_t i;

    assert_int_equal(client_ledger(w->client, &text), 0);
    all = json_loadb((const char *)text.at, text.size, 0, NULL);
    assert_true(json_is_true(json_object_get(all, "balanced")));
    (void)snprintf(key, sizeof(key), "%s", path);
    slash = strchr(key, '/');
    if (slash)
        *slash = '\0';
    json_array_foreach(json_object_get(all, "rows"), i, row)
    {
        const json_t *member = json_object_get(row, key);

        if (strcmp(json_string_value(json_object_get(row, "sender")), sender) == 0 &&
            strcmp(json_string_value(json_object_get(row, "way")), way) == 0)
            found += json_integer_value(slash ? json_object_get(member, slash + 1) : member);
    }
    json_decref(all);
    return found;
}

static void a_direct_message_is_in_the_row_of_its_receiver(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    fake.has_channel = true;
    push(&w, "c/x", "bob", bytes_text("one"));
    push(&w, "c/x", "bob", bytes_text("two"));
    pull(&w);
    say_refuse(&w, sent(&w, RECORD_PUBLISH, 1)->id, AICO_EFULL);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 1)->id);
    assert_int_equal(count(&w, "alice", "direct", "published"), 2);
    assert_int_equal(count(&w, "alice", "direct", "acknowledged"), 1);
    assert_int_equal(count(&w, "alice", "direct", "refused/E_FULL"), 1);
    world_deinit(&w);
}

static void a_copy_is_in_the_row_of_who_gets_it(void **state UNUSED)
{
    struct world w;
    struct out *out;

    world_init(&w);
    link_up(&w);
    fake.has_channel = true;
    publish(&w, "c/x", "one");
    pull(&w);
    out = sent_filter(&w, "$bus/presence/*");
    say_ok(&w, out->id, out->subscription);
    say_presence(&w, 14, "online"); /* bob */
    say_presence(&w, 15, "online");
    publish(&w, "c/x", "two");
    pull(&w);
    say_refuse(&w, sent(&w, RECORD_PUBLISH, 1)->id, AICO_EFULL);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 1)->id);
    assert_int_equal(count(&w, "alice", "copies", "acknowledged"), 2);
    assert_int_equal(count(&w, "alice", "direct", "copies"), 1);
    assert_int_equal(count(&w, "alice", "direct", "copies_refused/E_FULL"), 1);
    assert_int_equal(count(&w, "alice", "direct", "published"), 0);
    world_deinit(&w);
}

/* The broker may have taken what it did not answer. */
static void what_broke_off_is_unsure(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    fake.has_channel = true;
    push(&w, "c/x", "bob", bytes_text("one"));
    pull(&w);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(count(&w, "alice", "direct", "unsure"), 1);
    assert_int_equal(count(&w, "alice", "direct", "refused/E_CLOSED"), 1);
    world_deinit(&w);
}

static void what_came_straight_is_in_its_row(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "c/x");
    fake.by_hand = true;
    for (int i = 0; i < 3; i++)
        say_deliver(&w, (struct record_deliver){.topic = 11, .direct = true}, "AICO-MSGx");
    fake_opens(0, 0);
    fake_fails(1, AICO_EOPEN);
    fake_fails(2, AICO_EREPLAY);
    client_tick(w.client, w.now);
    say_gap(&w, 11, 2, 99, true);
    assert_int_equal(count(&w, "bob", "direct", "received"), 1);
    assert_int_equal(count(&w, "bob", "direct", "unopened/E_OPEN"), 1);
    assert_int_equal(count(&w, "bob", "direct", "repeated"), 1);
    assert_int_equal(count(&w, "bob", "direct", "missing/E_SLOW"), 2);
    say_deliver(&w,
                (struct record_deliver){
                    .delivery = DELIVERY_REQUEST, .id = 100, .topic = 11, .direct = true},
                "AICO-MSGx");
    fake_opens(3, 0);
    client_tick(w.client, w.now);
    assert_int_equal(count(&w, "bob", "request", "received"), 1);
    world_deinit(&w);
}

/* It comes all the same: it was sent while we listened. */
static void what_comes_for_a_former_subscription_is_counted(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    say_deliver(&w, (struct record_deliver){.topic = 11, .direct = true}, "AICO-MSGx");
    assert_int_equal(count(&w, "bob", "direct", "received"), 0);
    assert_int_equal(count(&w, "bob", "direct", "repeated"), 1);
    world_deinit(&w);
}

/* What the broker hands out is in its rows, so it is in ours, shown or not. */
static void a_value_is_received_or_repeated(void **state UNUSED)
{
    struct record_deliver value = {.delivery = DELIVERY_RETAINED, .topic = 10};
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_deliver(&w, value, "AICO-MSGnow");
    assert_int_equal(count(&w, "bob", "topic", "received"), 1);
    assert_int_equal(count(&w, "bob", "topic", "kept"), 0);
    value.kept = true;
    say_deliver(&w, value, "AICO-MSGof which there is no key");
    assert_int_equal(count(&w, "bob", "topic", "received"), 1);
    assert_int_equal(count(&w, "bob", "topic", "repeated"), 1);
    world_deinit(&w);
}

/* --- requests -----------------------------------------------------------------------------------
 */

static uint64_t ask(struct world *w, struct ended *ended)
{
    struct writer f = script();

    fake.has_channel = true;
    forget_out(w);
    client_request(w->client, w->now, bytes_text("c/x"), bytes_text("question"), 1000, ended);
    pull(w);
    record_write_resolved(&f, sent(w, RECORD_RESOLVE, 0)->id, 5);
    assert_int_equal(say(w, &f), 0);
    pull(w);
    return sent(w, RECORD_PUBLISH, 0)->id;
}

static void say_reply(struct world *w, uint64_t request)
{
    say_deliver(w,
                (struct record_deliver){.delivery = DELIVERY_REPLY,
                                        .topic = 11,
                                        .direct = true,
                                        .reply = true,
                                        .request = request},
                "AICO-MSGanswer");
}

static void a_request_is_answered_or_not_for_a_cause(void **state UNUSED)
{
    struct ended answered = {0}, late = {0}, nobody = {0};
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = ask(&w, &answered);
    say_ack(&w, id);
    assert_int_equal(count(&w, "alice", "request", "acknowledged"), 1);
    assert_int_equal(count(&w, "alice", "request", "published"), 0); /* it waits */
    say_reply(&w, id);
    assert_int_equal(count(&w, "alice", "request", "answered"), 1);
    assert_int_equal(count(&w, "bob", "reply", "received"), 1);
    id = ask(&w, &late);
    say_ack(&w, id);
    pass(&w, 1000);
    assert_int_equal(late.code, AICO_ETIMEOUT);
    say_reply(&w, id);
    assert_int_equal(count(&w, "alice", "request", "refused/E_TIMEOUT"), 1);
    assert_int_equal(count(&w, "bob", "reply", "unopened/E_NO_REQUEST"), 1);
    forget_out(&w);
    client_request(w.client, w.now, bytes_text("c/x"), bytes_text("anybody"), 1000, &nobody);
    pull(&w);
    say_refuse(&w, sent(&w, RECORD_RESOLVE, 0)->id, AICO_ENORESPONDER);
    assert_int_equal(count(&w, "alice", "request", "refused/E_NO_RESPONDER"), 1);
    assert_int_equal(count(&w, "alice", "request", "published"), 3);
    assert_int_equal(count(&w, "alice", "request", "acknowledged"), 2);
    world_deinit(&w);
}

static void a_reply_that_does_not_open_is_named(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = ask(&w, &ended);
    fake.by_hand = true;
    say_reply(&w, id);
    fake_fails(0, AICO_EOPEN);
    client_tick(w.client, w.now);
    assert_int_equal(ended.code, AICO_EOPEN);
    assert_int_equal(count(&w, "bob", "reply", "unopened/E_OPEN"), 1);
    assert_int_equal(count(&w, "alice", "request", "refused/E_OPEN"), 1);
    world_deinit(&w);
}

/* Of our row by topic under the rule @filter; -1: there is none. */
static json_int_t said(struct world *w, const char *filter, const char *path)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    json_int_t found = -1;
    json_t *all, *row;
    size_t i;

    assert_int_equal(client_ledger(w->client, &text), 0);
    all = json_loadb((const char *)text.at, text.size, 0, NULL);
    assert_true(json_is_true(json_object_get(all, "balanced")));
    json_array_foreach(json_object_get(all, "rows"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "rule")), filter) == 0 &&
            strcmp(json_string_value(json_object_get(row, "sender")), "alice") == 0)
            found = json_integer_value(json_object_get(row, path));
    }
    json_decref(all);
    return found;
}

static void a_row_keeps_the_name_of_its_rule(void **state UNUSED)
{
    struct registry_draft *draft;
    struct registry *second;
    struct bytes before = bytes_text("g/**");
    struct world w;

    world_init(&w);
    link_up(&w);
    publish(&w, "n/x", "one");
    publish(&w, "g/x", "two");
    pull(&w);
    draft = world_draft(&w, w.registry);
    assert_int_equal(registry_draft_remove_rule(draft, bytes_text("n/**")), 0);
    assert_int_equal(registry_draft_set_rule(draft,
                                             &(struct rule_line){.filter = bytes_text("first/**"),
                                                                 .publish = "*",
                                                                 .subscribe = "*",
                                                                 .seal = SEAL_NONE},
                                             &before),
                     0);
    second = registry_make(draft);
    assert_int_equal(client_offer_registry(w.client, w.now, registry_document(second)), 0);
    publish(&w, "g/x", "three");
    for (int i = 0; i < 3; i++)
        publish(&w, "first/x", "four");
    pull(&w);
    assert_int_equal(said(&w, "first/**", "published"), 3);
    assert_int_equal(said(&w, "g/**", "published"), 2);
    assert_int_equal(said(&w, "n/**", "published"), 1);
    assert_int_equal(said(&w, "n/**", "rule_line"), 0);
    registry_unref(&second);
    registry_draft_free(&draft);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_direct_message_is_in_the_row_of_its_receiver),
        cmocka_unit_test(a_copy_is_in_the_row_of_who_gets_it),
        cmocka_unit_test(what_broke_off_is_unsure),
        cmocka_unit_test(what_came_straight_is_in_its_row),
        cmocka_unit_test(what_comes_for_a_former_subscription_is_counted),
        cmocka_unit_test(a_value_is_received_or_repeated),
        cmocka_unit_test(a_request_is_answered_or_not_for_a_cause),
        cmocka_unit_test(a_reply_that_does_not_open_is_named),
        cmocka_unit_test(a_row_keeps_the_name_of_its_rule),
    };

    if (crypto_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
