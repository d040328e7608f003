/* SPDX-License-Identifier: Apache-2.0 */
/* What the application is told of what arrives, and of what does not: each loss once. */
#include "world.h"

static uint64_t gaps_told(struct world *w)
{
    uint64_t count = 0;

    for (size_t i = 0; i < w->told_count; i++)
        if (w->told[i]->kind == AICO_MESSAGE_GAP)
            count += w->told[i]->count;
    return count;
}

static void say_sealed(struct world *w, uint32_t topic, uint64_t id, bool direct)
{
    say_deliver(w, (struct record_deliver){.topic = topic, .id = id, .direct = direct},
                "AICO-MSGtext");
}

/* --- messages -----------------------------------------------------------------------------------
 */

static void a_message_comes_with_its_sender_and_topic(void **state UNUSED)
{
    const struct aico_message *m;
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_sealed(&w, 10, 3, false);
    m = told(&w, AICO_MESSAGE_EVENT);
    assert_string_equal(m->sender, "bob");
    assert_string_equal(m->topic, "g/x");
    assert_string_equal(m->payload, "text");
    assert_true(m->sealed && !m->direct && m->id == 3);
    assert_int_equal(m->wire_size, 12);
    world_deinit(&w);
}

static void what_was_not_subscribed_to_is_not_shown(void **state UNUSED)
{
    struct world w;
    uint32_t number;

    world_init(&w);
    link_up(&w);
    say_sealed(&w, 10, 3, false);
    assert_int_equal(fake.given_count, 0);
    say_sealed(&w, 11, 4, true); /* over a channel it counts, all the same */
    assert_int_equal(fake.given_count, 1);
    number = subscribe(&w, "g/x");
    client_unsubscribe(w.client, w.now, number, 1000, NULL);
    say_sealed(&w, 10, 5, false);
    assert_int_equal(w.told_count, 0);
    world_deinit(&w);
}

static void in_clear_only_where_a_rule_says_so(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "n/x");
    subscribe(&w, "g/x");
    say_deliver(&w, (struct record_deliver){.topic = 12}, "clear");
    assert_string_equal(told(&w, AICO_MESSAGE_EVENT)->payload, "clear");
    assert_false(told(&w, AICO_MESSAGE_EVENT)->sealed);
    say_deliver(&w, (struct record_deliver){.topic = 10}, "clear");
    assert_int_equal(told(&w, AICO_MESSAGE_UNOPENED)->code, AICO_EDENIED);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 1);
    world_deinit(&w);
}

static void what_the_broker_says_as_control_from_nobody_is_not_shown(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    say_deliver(&w,
                (struct record_deliver){
                    .delivery = DELIVERY_CONTROL, .topic = TOPIC_NUMBER_CONTROL, .direct = true},
                "handshake");
    say_deliver(&w,
                (struct record_deliver){.delivery = DELIVERY_CONTROL, .topic = TOPIC_NUMBER_HEADS},
                "heads");
    assert_int_equal(fake.given_count, 2);
    assert_string_equal(fake.given[0].topic, TOPIC_CONTROL);
    assert_string_equal(fake.given[1].topic, TOPIC_HEADS);
    assert_null(fake.given[0].cookie);
    assert_int_equal(w.told_count, 0);
    world_deinit(&w);
}

static void presence_is_shown_to_who_asked_for_it(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    say_presence(&w, 14, "online");
    assert_int_equal(w.told_count, 0);
    subscribe(&w, "$bus/presence/*");
    say_presence(&w, 14, "offline");
    assert_string_equal(told(&w, AICO_MESSAGE_RETAINED)->topic, "$bus/presence/bob");
    assert_string_equal(told(&w, AICO_MESSAGE_RETAINED)->sender, "broker");
    world_deinit(&w);
}

/* --- fragments ----------------------------------------------------------------------------------
 */

static void say_fragment(struct world *w, uint32_t topic, uint64_t id, uint32_t total,
                         uint32_t offset, uint32_t size)
{
    static uint8_t bytes[1000];
    struct writer f = script();

    memcpy(bytes, "AICO-MSG", 8);
    record_write_deliver(&f, &(struct record_deliver){.id = id,
                                                      .topic = topic,
                                                      .sender = 5,
                                                      .fragment = true,
                                                      .total = total,
                                                      .offset = offset,
                                                      .payload = bytes_of(bytes, size)});
    assert_int_equal(say(w, &f), 0);
}

static void fragments_become_one_message(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_fragment(&w, 10, 3, 900, 0, 400);
    say_sealed(&w, 10, 4, false); /* a whole one may pass between */
    say_fragment(&w, 10, 3, 900, 400, 500);
    assert_int_equal(fake.given_count, 2);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 2);
    assert_int_equal(w.told[1]->wire_size, 900);
    world_deinit(&w);
}

static void fragments_that_do_not_fit_together_become_nothing(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_fragment(&w, 10, 3, 900, 0, 400);
    say_fragment(&w, 10, 3, 900, 500, 400); /* a hole */
    say_fragment(&w, 10, 4, 900, 0, 400);
    say_fragment(&w, 10, 5, 900, 400, 500); /* of another */
    say_fragment(&w, 10, 6, 900, 0, 400);
    say_fragment(&w, 13, 6, 900, 400, 500); /* on another topic */
    assert_int_equal(fake.given_count, 0);
    world_deinit(&w);
}

static void a_gap_voids_the_fragments_of_its_own_message_only(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/*");
    say_fragment(&w, 10, 3, 900, 0, 400);
    say_gap(&w, 13, 1, 9, false); /* later, on another topic */
    say_fragment(&w, 10, 3, 900, 400, 500);
    assert_int_equal(fake.given_count, 1);
    say_fragment(&w, 10, 11, 900, 0, 400);
    say_gap(&w, 10, 1, 11, false);
    say_fragment(&w, 10, 11, 900, 400, 500);
    assert_int_equal(fake.given_count, 1);
    world_deinit(&w);
}

static void fragments_are_forgotten_with_the_link(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_fragment(&w, 10, 3, 900, 0, 400);
    lose_link(&w);
    link_up(&w);
    say_fragment(&w, 10, 3, 900, 400, 500);
    assert_int_equal(fake.given_count, 0);
    world_deinit(&w);
}

/* --- each loss once -----------------------------------------------------------------------------
 */

static void a_gap_the_broker_names_and_the_jump_it_leaves_are_told_once(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_sealed(&w, 10, 3, false);
    say_gap(&w, 10, 3, 6, false);
    assert_int_equal(gaps_told(&w), 3);
    assert_int_equal(told(&w, AICO_MESSAGE_GAP)->code, AICO_ESLOW);
    fake.by_hand = true;
    say_sealed(&w, 10, 7, false);
    fake_gap("bob", "g/x", 5); /* two more than the broker knew */
    fake_opens(fake.given_count - 1, 1);
    client_tick(w.client, w.now);
    assert_int_equal(gaps_told(&w), 5);
    world_deinit(&w);
}

static void a_jump_nobody_named_is_told(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    fake_gap("bob", "g/x", 4);
    client_tick(w.client, w.now);
    assert_int_equal(gaps_told(&w), 4);
    assert_string_equal(told(&w, AICO_MESSAGE_GAP)->sender, "bob");
    assert_false(told(&w, AICO_MESSAGE_GAP)->direct);
    fake_gap("bob", "", 0); /* a channel ended: how many is unknown */
    client_tick(w.client, w.now);
    assert_int_equal(w.told[1]->kind, AICO_MESSAGE_GAP);
    assert_int_equal(w.told[1]->count, 0);
    assert_true(w.told[1]->direct);
    world_deinit(&w);
}

static void a_claim_is_over_once_something_later_has_opened(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_gap(&w, 10, 3, 6, false); /* the end of a generation that is over */
    say_sealed(&w, 10, 7, false); /* the beginning of the next: no jump */
    fake_gap("bob", "g/x", 2);    /* lost later, and not told yet */
    client_tick(w.client, w.now);
    assert_int_equal(gaps_told(&w), 5);
    world_deinit(&w);
}

static void with_a_window_a_claim_lasts_as_long_as_its_generation(void **state UNUSED)
{
    struct client_settings settings = world_settings();
    struct world w;

    settings.session.strict_ordering = false;
    world_init_with(&w, &settings);
    link_up(&w);
    subscribe(&w, "g/x");
    fake.by_hand = true;
    say_gap(&w, 10, 3, 6, false);
    for (uint64_t generation = 1; generation <= 2; generation++) {
        say_sealed(&w, 10, 6 + generation, false);
        fake_opens(fake.given_count - 1, generation);
        client_tick(w.client, w.now);
    }
    fake_gap("bob", "g/x", 2); /* of the former generation, shown late */
    client_tick(w.client, w.now);
    assert_int_equal(gaps_told(&w), 3);
    pass(&w, 31000);
    say_sealed(&w, 10, 9, false);
    fake_opens(fake.given_count - 1, 2);
    fake_gap("bob", "g/x", 2); /* one claim is left, but of a generation that is forgotten */
    client_tick(w.client, w.now);
    assert_int_equal(gaps_told(&w), 5);
    world_deinit(&w);
}

static void what_was_held_does_not_end_a_later_claim(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    fake.by_hand = true;
    say_sealed(&w, 10, 3, false); /* waits for its key */
    say_gap(&w, 10, 3, 6, false);
    say_sealed(&w, 10, 7, false);
    fake_opens(0, 1);
    fake_gap("bob", "g/x", 3);
    fake_opens(1, 1);
    client_tick(w.client, w.now);
    assert_int_equal(gaps_told(&w), 3);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 2);
    world_deinit(&w);
}

static void a_claim_outlives_the_link(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_gap(&w, 10, 3, 6, false);
    lose_link(&w);
    link_up(&w);
    fake_gap("bob", "g/x", 4); /* one was lost with the link */
    client_tick(w.client, w.now);
    assert_int_equal(gaps_told(&w), 4);
    world_deinit(&w);
}

static void a_direct_gap_belongs_to_the_channel(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_gap(&w, 10, 2, 6, true);
    assert_true(told(&w, AICO_MESSAGE_GAP)->direct);
    fake_gap("bob", "g/x", 1); /* of the topic: another one */
    fake_gap("bob", "", 2);    /* of the channel: those two */
    client_tick(w.client, w.now);
    assert_int_equal(gaps_told(&w), 3);
    world_deinit(&w);
}

static void what_does_not_open_is_told_and_its_jump_is_not(void **state UNUSED)
{
    struct aico_client_stats stats;
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    fake.by_hand = true;
    say_sealed(&w, 10, 3, false);
    say_sealed(&w, 10, 4, false);
    fake_fails(0, AICO_EKEY);
    fake_gap("bob", "g/x", 1);
    fake_opens(1, 1);
    client_tick(w.client, w.now);
    assert_int_equal(told(&w, AICO_MESSAGE_UNOPENED)->code, AICO_EKEY);
    assert_int_equal(gaps_told(&w), 0);
    client_get_stats(w.client, &stats);
    assert_int_equal(stats.unopened, 1);
    world_deinit(&w);
}

static void a_repetition_is_no_loss(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    fake.by_hand = true;
    say_sealed(&w, 10, 3, false);
    fake_fails(0, AICO_EREPLAY);
    fake_gap("bob", "g/x", 1);
    client_tick(w.client, w.now);
    assert_int_equal(told_count(&w, AICO_MESSAGE_UNOPENED), 0);
    assert_int_equal(gaps_told(&w), 1);
    world_deinit(&w);
}

static void a_message_comes_before_a_gap_that_came_after_it(void **state UNUSED)
{
    struct world w;
    struct writer f = script();

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    write_deliver(&f, (struct record_deliver){.topic = 10, .id = 3}, "AICO-MSGtext");
    record_write_gap(
        &f,
        &(struct record_gap){
            .cause = (uint16_t)-AICO_EFULL, .sender = 5, .topic = 10, .count = 1, .last_id = 4});
    assert_int_equal(say(&w, &f), 0);
    assert_int_equal(w.told[0]->kind, AICO_MESSAGE_EVENT);
    assert_int_equal(w.told[1]->kind, AICO_MESSAGE_GAP);
    world_deinit(&w);
}

static void a_gap_of_heads_or_of_what_is_not_read_is_not_told(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    say_gap(&w, TOPIC_NUMBER_HEADS, 1, 3, false); /* before any message there */
    say_gap(&w, 10, 1, 4, false);
    fake_gap("bob", "g/x", 2);
    client_tick(w.client, w.now);
    assert_int_equal(w.told_count, 0);
    world_deinit(&w);
}

/* --- subscriptions ------------------------------------------------------------------------------
 */

static void a_subscription_the_registry_ends_is_told_and_not_asked_for_again(void **state UNUSED)
{
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    id = sent_filter(&w, "g/x")->id;
    say_refuse(&w, id, AICO_EDENIED);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->id, 0);
    assert_string_equal(told(&w, AICO_MESSAGE_REFUSED)->topic, "g/x");
    assert_int_equal(fake.unsubscribed, 1);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_null(sent_filter(&w, "g/x"));
    world_deinit(&w);
}

static void a_subscription_nobody_answers_is_taken_back(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    uint32_t number;

    world_init(&w);
    link_up(&w);
    client_subscribe(w.client, w.now, bytes_text("g/x"), SLOW_DROP_OLD, false, bytes_of(NULL, 0),
                     500, &ended);
    pull(&w);
    number = sent_filter(&w, "g/x")->subscription;
    pass(&w, 500);
    assert_int_equal(ended.code, AICO_ETIMEOUT);
    pull(&w);
    assert_int_equal(sent(&w, RECORD_UNSUBSCRIBE, 0)->subscription, number);
    say_sealed(&w, 10, 3, false);
    assert_int_equal(w.told_count, 0);
    world_deinit(&w);
}

static void one_of_two_equal_subscriptions_goes_on_alone(void **state UNUSED)
{
    struct world w;
    uint32_t first;

    world_init(&w);
    link_up(&w);
    first = subscribe(&w, "g/x");
    subscribe(&w, "g/x");
    client_unsubscribe(w.client, w.now, first, 1000, NULL);
    assert_int_equal(fake.unsubscribed, 0);
    say_sealed(&w, 10, 3, false);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 1);
    world_deinit(&w);
}

static void an_answer_comes_in_pieces(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    struct writer f = script();
    uint64_t id;

    world_init(&w);
    link_up(&w);
    client_query(w.client, w.now, bytes_text("status"), bytes_of(NULL, 0), 1000, &ended);
    pull(&w);
    id = sent(&w, RECORD_QUERY, 0)->id;
    record_write_answer(&f, &(struct record_answer){id, 6, 0, bytes_text("{\"a\"")});
    record_write_answer(&f, &(struct record_answer){id, 6, 4, bytes_text(":1")});
    assert_int_equal(say(&w, &f), 0);
    assert_true(ended.ended);
    assert_string_equal(ended.json, "{\"a\":1");
    world_deinit(&w);
}

static void what_is_still_held_is_freed_with_the_client(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    fake.by_hand = true;
    say_sealed(&w, 10, 3, false);
    say_fragment(&w, 10, 4, 900, 0, 400);
    say_gap(&w, 10, 1, 3, false);
    push(&w, "c/x", "bob", bytes_text("waits for a channel"));
    pull(&w);
    world_deinit(&w); /* ASan sees what is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_with_its_sender_and_topic),
        cmocka_unit_test(what_was_not_subscribed_to_is_not_shown),
        cmocka_unit_test(in_clear_only_where_a_rule_says_so),
        cmocka_unit_test(what_the_broker_says_as_control_from_nobody_is_not_shown),
        cmocka_unit_test(presence_is_shown_to_who_asked_for_it),
        cmocka_unit_test(fragments_become_one_message),
        cmocka_unit_test(fragments_that_do_not_fit_together_become_nothing),
        cmocka_unit_test(a_gap_voids_the_fragments_of_its_own_message_only),
        cmocka_unit_test(fragments_are_forgotten_with_the_link),
        cmocka_unit_test(a_gap_the_broker_names_and_the_jump_it_leaves_are_told_once),
        cmocka_unit_test(a_jump_nobody_named_is_told),
        cmocka_unit_test(a_claim_is_over_once_something_later_has_opened),
        cmocka_unit_test(with_a_window_a_claim_lasts_as_long_as_its_generation),
        cmocka_unit_test(what_was_held_does_not_end_a_later_claim),
        cmocka_unit_test(a_claim_outlives_the_link),
        cmocka_unit_test(a_direct_gap_belongs_to_the_channel),
        cmocka_unit_test(what_does_not_open_is_told_and_its_jump_is_not),
        cmocka_unit_test(a_repetition_is_no_loss),
        cmocka_unit_test(a_message_comes_before_a_gap_that_came_after_it),
        cmocka_unit_test(a_gap_of_heads_or_of_what_is_not_read_is_not_told),
        cmocka_unit_test(a_subscription_the_registry_ends_is_told_and_not_asked_for_again),
        cmocka_unit_test(a_subscription_nobody_answers_is_taken_back),
        cmocka_unit_test(one_of_two_equal_subscriptions_goes_on_alone),
        cmocka_unit_test(an_answer_comes_in_pieces),
        cmocka_unit_test(what_is_still_held_is_freed_with_the_client),
    };

    if (crypto_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
