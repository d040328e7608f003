/* SPDX-License-Identifier: Apache-2.0 */
/* Delivery kinds at the client: time to live. */
#include "world.h"

/* --- time to live --------------------------------------------------------------------------- */

static uint64_t publish_ttl(struct world *w, const char *topic, const char *text, int64_t ttl_ms)
{
    struct outgoing head = {.id = w->next_app_id++,
                            .payload_size = (uint32_t)strlen(text),
                            .topic_size = (uint8_t)strlen(topic),
                            .expires_ms = w->now.boot_ms + ttl_ms,
                            .delivery = DELIVERY_EVENT};
    struct fifo queue = {0};

    outgoing_write(fifo_push(&queue, outgoing_size(&head)), &head, bytes_text(topic),
                   bytes_of(NULL, 0), bytes_of(NULL, 0), bytes_text(text));
    client_push(w->client, &queue);
    fifo_deinit(&queue);
    return head.id;
}

static void the_broker_is_told_what_is_left(void **state UNUSED)
{
    struct world w;
    struct out *out;

    world_init(&w);
    link_up(&w);
    fake.prepare_code = AICO_ESTATE;
    publish_ttl(&w, "g/x", "text", 1000);
    pull(&w);
    pass(&w, 400);
    fake.prepare_code = 0;
    pull(&w);
    out = sent(&w, RECORD_PUBLISH, 0);
    assert_int_equal(out->publish.ttl_ms, 600);
    lose_link(&w);
    link_with(&w, WINDOW, 0); /* sent again: the broker says that it is too late */
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.ttl_ms, 1);
    expect_balance(&w);
    world_deinit(&w);
}

static void what_could_not_be_sent_in_time_is_refused_by_name(void **state UNUSED)
{
    const struct aico_message *refused;
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    lose_link(&w);
    id = publish_ttl(&w, "g/x", "text", 500);
    publish(&w, "g/x", "for ever");
    assert_true(client_deadline(w.client) <= w.now.boot_ms + 500);
    pass(&w, 500);
    refused = told(&w, AICO_MESSAGE_REFUSED);
    assert_int_equal(refused->id, id);
    assert_int_equal(refused->code, AICO_EEXPIRED);
    assert_int_equal(client_queued(w.client), 1);
    expect_balance(&w);
    world_deinit(&w);
}

/* Messages that expire and such that do not are never sealed together: the broker has one word for
 * all of an envelope. */
static void only_alike_messages_are_sealed_together(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    publish_ttl(&w, "g/x", "a", 1000);
    publish_ttl(&w, "g/x", "b", 3000);
    publish(&w, "g/x", "c");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 2);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.count, 2);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.ttl_ms, 3000);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 1)->publish.ttl_ms, 0);
    world_deinit(&w);
}

static void opens_until(struct world *w, int64_t until_ms)
{
    struct given *g;

    fake.by_hand = true;
    say_deliver(w, (struct record_deliver){.topic = 10, .id = 3}, "AICO-MSGtext");
    g = &fake.given[fake.given_count - 1];
    fake_push(
        (struct session_event){
            .type = SESSION_MESSAGE, .until_ms = until_ms, .generation = 1, .cookie = g->cookie},
        g->peer, g->topic, g->text);
    pass(w, 0);
}

/* The broker's time to live is a hint; what is sealed in the message is not. Clocks may differ by
 * synchrony_bound. */
static void a_message_held_back_too_long_is_a_gap(void **state UNUSED)
{
    struct world w;
    int64_t bound = 30000;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    opens_until(&w, w.now.real_ms - bound);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 1);
    assert_int_equal(told(&w, AICO_MESSAGE_EVENT)->expires_ms, w.now.real_ms - bound);
    opens_until(&w, w.now.real_ms - bound - 1);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 1);
    assert_int_equal(told(&w, AICO_MESSAGE_GAP)->code, AICO_EEXPIRED);
    assert_int_equal(told(&w, AICO_MESSAGE_GAP)->count, 1);
    world_deinit(&w);
}

/* --- queue groups --------------------------------------------------------------------------- */

static void subscribe_as_one_of(struct world *w, const char *filter, const char *queue)
{
    struct ended ended = {0};
    struct out *out;

    forget_out(w);
    client_subscribe(w->client, w->now, bytes_text(filter), SLOW_DROP_OLD, false, bytes_text(queue),
                     1000, &ended);
    pull(w);
    out = sent_filter(w, filter);
    assert_string_equal(out->queue, queue);
    say_ok(w, out->id, out->subscription);
    assert_true(ended.ended && ended.code == 0);
}

static void a_member_says_what_it_has(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe_as_one_of(&w, "g/x", "workers");
    fake.by_hand = true;
    say_deliver(&w, (struct record_deliver){.topic = 10, .id = 3}, "AICO-MSGa");
    say_deliver(&w, (struct record_deliver){.topic = 10, .id = 4}, "AICO-MSGb");
    forget_out(&w);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_ACK), 0); /* not opened: it may not be lost unnamed */
    fake_opens(0, 1);
    fake_fails(1, AICO_EOPEN);
    pass(&w, 0);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_ACK), 1);
    assert_int_equal(sent(&w, RECORD_ACK, 0)->id, 2);
    /* A new session counts anew, and has the group. */
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_string_equal(sent_filter(&w, "g/x")->queue, "workers");
    fake.by_hand = false;
    say_deliver(&w, (struct record_deliver){.topic = 10, .id = 5}, "AICO-MSGc");
    forget_out(&w);
    pull(&w);
    assert_int_equal(sent(&w, RECORD_ACK, 0)->id, 1);
    world_deinit(&w);
}

static void a_member_says_that_it_knows_of_a_loss(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe_as_one_of(&w, "g/x", "workers");
    say_deliver(&w, (struct record_deliver){.topic = 10, .id = 3}, "AICO-MSGa");
    say_gap(&w, 10, 2, 5, true); /* of a direct message: not the group's */
    say_gap(&w, 10, 2, 5, false);
    forget_out(&w);
    pull(&w);
    assert_int_equal(sent(&w, RECORD_ACK, 0)->id, 2);
    world_deinit(&w);
}

/* What came before it left has been handed on, what comes later is dropped: the broker names that.
 */
static void who_leaves_a_group_says_what_it_had(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    uint32_t number;

    world_init(&w);
    link_up(&w);
    subscribe_as_one_of(&w, "g/x", "workers");
    number = sent_filter(&w, "g/x")->subscription;
    subscribe_as_one_of(&w, "g/y", "others"); /* it goes on acknowledging */
    say_deliver(&w, (struct record_deliver){.topic = 10, .id = 3}, "AICO-MSGa");
    forget_out(&w);
    client_unsubscribe(w.client, w.now, number, 1000, &ended);
    say_deliver(&w, (struct record_deliver){.topic = 10, .id = 4}, "AICO-MSGb");
    pull(&w);
    assert_int_equal(sent(&w, RECORD_ACK, 0)->id, 1);
    assert_true(sent(&w, RECORD_ACK, 0) < sent(&w, RECORD_UNSUBSCRIBE, 0));
    assert_true(sent(&w, RECORD_UNSUBSCRIBE, 0) < sent(&w, RECORD_ACK, 1));
    assert_int_equal(sent(&w, RECORD_ACK, 1)->id, 2); /* as one of the other group */
    world_deinit(&w);
}

static void who_is_in_no_group_does_not_say_it(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_deliver(&w, (struct record_deliver){.topic = 10, .id = 3}, "AICO-MSGa");
    forget_out(&w);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_ACK), 0);
    world_deinit(&w);
}

/* --- retained values ------------------------------------------------------------------------ */

static uint64_t retain(struct world *w, const char *topic, const char *text)
{
    struct outgoing head = {.id = w->next_app_id++,
                            .payload_size = (uint32_t)strlen(text),
                            .topic_size = (uint8_t)strlen(topic),
                            .delivery = DELIVERY_RETAINED};
    struct fifo queue = {0};

    outgoing_write(fifo_push(&queue, outgoing_size(&head)), &head, bytes_text(topic),
                   bytes_of(NULL, 0), bytes_of(NULL, 0), bytes_text(text));
    client_push(w->client, &queue);
    fifo_deinit(&queue);
    pull(w);
    return head.id;
}

static void a_value_is_sealed_again_for_who_asks(void **state UNUSED)
{
    struct world w;
    struct out *out;

    world_init(&w);
    link_up(&w);
    retain(&w, "g/x", "one");
    retain(&w, "g/x", "two");
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 2); /* each alone, not as a batch */
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.delivery, DELIVERY_RETAINED);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 1)->id);
    fake.has_channel = true;
    forget_out(&w);
    fake_push((struct session_event){.type = SESSION_AGAIN}, "bob", "g/x", "");
    fake_push((struct session_event){.type = SESSION_AGAIN}, "bob", "g/other", "");
    pass(&w, 0);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    out = sent(&w, RECORD_PUBLISH, 0);
    assert_true(out->publish.copy && out->publish.delivery == DELIVERY_RETAINED);
    assert_string_equal(out->text, "AICO-MSGtwo");
    expect_balance(&w);
    world_deinit(&w);
}

static void a_broker_that_does_not_know_us_is_told_our_values_again(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    retain(&w, "g/x", "one");
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGone");
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    expect_balance(&w); /* it is not counted twice */
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 0);
    world_deinit(&w);
}

/* What is said under g/ is stored for a thousand seconds. */
static void store_for_a_while(struct world *w)
{
    struct registry_draft *draft = world_draft(w, w->registry);
    struct registry *second;

    assert_int_equal(
        registry_draft_set_rule(draft,
                                &(struct rule_line){.filter = bytes_text("g/**"),
                                                    .publish = "*",
                                                    .subscribe = "*",
                                                    .seal = SEAL_GROUP,
                                                    .authenticity = AUTHENTICITY_GROUP,
                                                    .store = {.on = true, .age_s = 1000}},
                                NULL),
        0);
    second = registry_make(draft);
    assert_int_equal(client_offer_registry(w->client, w->now, registry_document(second)), 0);
    registry_unref(&second);
    registry_draft_free(&draft);
}

/* The next broker would give it a life of its own. */
static void a_value_older_than_its_rule_says_is_not_said_again(void **state UNUSED)
{
    uint32_t ttl_ms;
    struct world w;

    world_init(&w);
    link_up(&w);
    store_for_a_while(&w);
    retain(&w, "g/x", "one");
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.ttl_ms, 0);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    pass(&w, 400000);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    ttl_ms = sent(&w, RECORD_PUBLISH, 0)->publish.ttl_ms;
    assert_in_range(ttl_ms, 1, 600000);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    pass(&w, ttl_ms);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    expect_balance(&w);
    world_deinit(&w);
}

/* What bob, who asks for the value of g/x, is sent. */
static const char *asked(struct world *w)
{
    fake.has_channel = true;
    forget_out(w);
    fake_push((struct session_event){.type = SESSION_AGAIN}, "bob", "g/x", "");
    pass(w, 0);
    pull(w);
    return sent_count(w, RECORD_PUBLISH) == 1 ? sent(w, RECORD_PUBLISH, 0)->text : "nothing";
}

static void the_value_before_one_that_was_refused_stands(void **state UNUSED)
{
    uint64_t ids[4];
    struct world w;

    world_init(&w);
    link_up(&w);
    retain(&w, "g/x", "one");
    retain(&w, "g/x", "two");
    retain(&w, "g/x", "three");
    retain(&w, "g/x", "four");
    for (int i = 0; i < 4; i++)
        ids[i] = sent(&w, RECORD_PUBLISH, i)->id;
    say_refuse(&w, ids[2], AICO_EQUOTA);
    say_refuse(&w, ids[3], AICO_EQUOTA);
    say_refuse(&w, ids[1], AICO_EQUOTA);
    say_ack(&w, ids[0]);
    assert_string_equal(asked(&w), "AICO-MSGone");
    lose_link(&w);
    forget_out(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGone");
    world_deinit(&w);
}

/* Who asks meanwhile would be shown what is refused then, or what another one took the place of:
 * it is told when that is known. */
static void who_asks_for_a_value_that_has_no_answer_waits_for_it(void **state UNUSED)
{
    uint64_t ids[4];
    struct world w;

    world_init(&w);
    link_up(&w);
    retain(&w, "g/x", "one");
    retain(&w, "g/x", "two");
    retain(&w, "g/x", "three");
    for (int i = 0; i < 3; i++)
        ids[i] = sent(&w, RECORD_PUBLISH, i)->id;
    assert_string_equal(asked(&w), "nothing");
    assert_string_equal(asked(&w), "nothing"); /* it asks twice, and is told once */
    say_refuse(&w, ids[1], AICO_EQUOTA);
    say_refuse(&w, ids[2], AICO_EQUOTA);
    pass(&w, 0);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    say_ack(&w, ids[0]);
    pass(&w, 0);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGone");
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);

    forget_out(&w);
    retain(&w, "g/x", "four");
    retain(&w, "g/x", "five");
    for (int i = 0; i < 2; i++)
        ids[i] = sent(&w, RECORD_PUBLISH, i)->id;
    assert_string_equal(asked(&w), "nothing");
    say_ack(&w, ids[0]);
    say_refuse(&w, ids[1], AICO_EQUOTA);
    pass(&w, 0);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGfour");
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);

    forget_out(&w);
    retain(&w, "g/x", "six");
    ids[0] = sent(&w, RECORD_PUBLISH, 0)->id;
    assert_string_equal(asked(&w), "nothing");
    say_ack(&w, ids[0]);
    pass(&w, 0);
    pull(&w);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGsix");
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    expect_balance(&w);
    world_deinit(&w);
}

/* The window sends the last one as it is; only when that is refused the one before is missing. */
static void another_broker_is_told_what_stands_when_the_last_one_is_refused(void **state UNUSED)
{
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    retain(&w, "g/x", "one");
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    retain(&w, "g/x", "two");
    say_refuse(&w, sent(&w, RECORD_PUBLISH, 1)->id, AICO_EQUOTA);
    retain(&w, "g/x", "three");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 3); /* "one" is there */
    lose_link(&w);
    forget_out(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGthree");
    id = sent(&w, RECORD_PUBLISH, 0)->id;
    forget_out(&w);
    say_refuse(&w, id, AICO_EQUOTA);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGone");
    assert_true(sent(&w, RECORD_PUBLISH, 0)->publish.again);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    expect_balance(&w);
    world_deinit(&w);
}

/* It was told that nobody has it: then nobody gets it later, from us or another broker. */
static void a_value_that_was_refused_is_none(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    retain(&w, "g/x", "too much");
    retain(&w, "g/y", "refused, and said anew");
    say_refuse(&w, sent(&w, RECORD_PUBLISH, 0)->id, AICO_EQUOTA);
    retain(&w, "g/y", "new");
    say_refuse(&w, sent(&w, RECORD_PUBLISH, 1)->id, AICO_EQUOTA);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 2)->id);
    fake.has_channel = true;
    forget_out(&w);
    fake_push((struct session_event){.type = SESSION_AGAIN}, "bob", "g/x", "");
    pass(&w, 0);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGnew");
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    expect_balance(&w);
    world_deinit(&w);
}

/* Said again it would be behind the newer one, and take its place at the broker. */
static void a_value_that_has_a_successor_is_not_told_again(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    retain(&w, "g/x", "one");
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    lose_link(&w);
    retain(&w, "g/x", "two");
    forget_out(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGtwo");
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    expect_balance(&w);
    world_deinit(&w);
}

/* The broker says that there is a value. */
static void say_kept(struct world *w)
{
    say_deliver(w,
                (struct record_deliver){.topic = 10, .delivery = DELIVERY_RETAINED, .kept = true},
                "AICO-MSGold");
}

static void comes_in(struct world *w, uint64_t generation, uint64_t value, bool direct)
{
    struct given *g;

    fake.by_hand = true;
    say_deliver(
        w, (struct record_deliver){.topic = 10, .delivery = DELIVERY_RETAINED, .direct = direct},
        "AICO-MSGvalue");
    g = &fake.given[fake.given_count - 1];
    fake_push((struct session_event){.type = SESSION_MESSAGE,
                                     .delivery = DELIVERY_RETAINED,
                                     .direct = direct,
                                     .value = value,
                                     .generation = generation,
                                     .cookie = g->cookie},
              g->peer, g->topic, g->text);
    pass(w, 0);
}

static void comes(struct world *w, uint64_t value, bool direct)
{
    comes_in(w, 1, value, direct);
}

static void a_kept_value_is_asked_for_and_shown_once(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_kept(&w);
    assert_int_equal(fake.dials, 1);       /* no channel yet */
    assert_int_equal(fake.given_count, 0); /* old bytes are not even tried */
    fake.has_channel = true;
    fake_push((struct session_event){.type = SESSION_READY}, "bob", "", "");
    pass(&w, 0);
    assert_int_equal(fake.asked, 1);
    comes(&w, 7, true);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 1);
    comes(&w, 7, false); /* said again for others */
    comes(&w, 6, true);  /* overtaken */
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 1);
    comes(&w, 8, false);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 2);
    subscribe(&w, "g/*"); /* who asks again is shown again */
    say_kept(&w);
    assert_int_equal(fake.asked, 2);
    comes(&w, 8, true);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 3);
    assert_int_equal(told_count(&w, AICO_MESSAGE_UNOPENED), 0);
    world_deinit(&w);
}

/* What was left with it opens it: nobody is asked. */
static void a_stored_value_is_opened_by_itself(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    fake.has_stored_key = fake.by_hand = true;
    subscribe(&w, "g/x");
    say_kept(&w);
    assert_int_equal(fake.dials, 0);
    assert_int_equal(fake.given_count, 1);
    world_deinit(&w);
}

/* A publisher whose clock was set back: its generations rise all the same. */
static void a_value_of_an_earlier_generation_is_not_shown_after_a_later_one(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    comes_in(&w, 10, 100, false);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 1);
    comes_in(&w, 11, 50, false); /* another process */
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 2);
    comes_in(&w, 10, 101, false);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 2);
    comes_in(&w, 12, 50, false); /* the same one, said again under another key */
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 2);
    comes_in(&w, 12, 51, false);
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 3);
    world_deinit(&w);
}

static void a_value_that_nobody_gives_is_named(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    say_kept(&w);
    fake_push((struct session_event){.type = SESSION_LOST, .code = AICO_EPEERAWAY}, "bob", "", "");
    pass(&w, 0);
    assert_int_equal(told(&w, AICO_MESSAGE_UNOPENED)->code, AICO_EPEERAWAY);
    fake.has_channel = true;
    say_kept(&w);
    assert_int_equal(fake.asked, 1);
    pass(&w, 30000); /* it has restarted, and has none */
    assert_int_equal(told_count(&w, AICO_MESSAGE_UNOPENED), 2);
    pass(&w, 60000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_UNOPENED), 2);
    world_deinit(&w);
}

/* --- what is kept of values -------------------------------------------------------------------
 */

static void say_credit(struct world *w, uint32_t bytes)
{
    struct writer f = script();

    record_write_credit(&f, bytes);
    assert_int_equal(say(w, &f), 0);
}

/* A value of 56 KiB of topic @number; false: it was refused. */
static bool retain_large(struct world *w, unsigned number)
{
    static char text[56 * 1024 + 1];
    char topic[16];

    if (text[0] == '\0')
        memset(text, 'v', sizeof(text) - 1);
    (void)snprintf(topic, sizeof(topic), "g/%u", number);
    forget_out(w);
    retain(w, topic, text);
    if (told_count(w, AICO_MESSAGE_REFUSED) > 0) {
        assert_int_equal(told(w, AICO_MESSAGE_REFUSED)->code, AICO_EFULL);
        forget_told(w);
        return false;
    }
    assert_int_equal(sent_count(w, RECORD_PUBLISH), 1);
    say_ack(w, sent(w, RECORD_PUBLISH, 0)->id);
    say_credit(w, 60 * 1024);
    return true;
}

static void values_are_kept_up_to_a_bound_and_what_is_kept_can_change(void **state UNUSED)
{
    struct world w;
    unsigned count = 0;

    world_init(&w);
    link_up(&w);
    while (retain_large(&w, count))
        assert_true(++count < 1200); /* 64 MiB */
    assert_true(count > 1100);
    assert_true(retain_large(&w, 7)); /* in place of the one there is */
    assert_false(retain_large(&w, count));
    expect_balance(&w);
    world_deinit(&w);
}

static void a_value_that_is_over_is_not_said_again(void **state UNUSED)
{
    struct outgoing head = {
        .id = 1, .payload_size = 4, .topic_size = 3, .delivery = DELIVERY_RETAINED};
    struct fifo queue = {0};
    struct world w;

    world_init(&w);
    link_up(&w);
    for (unsigned i = 0; i < 2; i++) {
        head.expires_ms = w.now.boot_ms + 1000;
        outgoing_write(fifo_push(&queue, outgoing_size(&head)), &head, bytes_text("g/x"),
                       bytes_of(NULL, 0), bytes_of(NULL, 0), bytes_text("text"));
        client_push(w.client, &queue);
        pull(&w);
        say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
        forget_out(&w);
        fake.has_channel = true;
        if (i == 0) {
            pass(&w, 1000);
            fake_push((struct session_event){.type = SESSION_AGAIN}, "bob", "g/x", "");
            pass(&w, 0);
            pull(&w);
        } else {
            lose_link(&w);
            link_with(&w, WINDOW, 0);
        }
        assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
        head.id++;
    }
    fifo_deinit(&queue);
    expect_balance(&w);
    world_deinit(&w);
}

static void a_value_in_clear_is_shown_once(void **state UNUSED)
{
    struct record_deliver value = {.topic = 12, .delivery = DELIVERY_RETAINED, .id = 5};
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "n/x");
    say_deliver(&w, value, "text");
    say_deliver(&w, value, "text"); /* the broker was told again */
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 1);
    value.id = 6;
    say_deliver(&w, value, "next");
    assert_int_equal(told_count(&w, AICO_MESSAGE_RETAINED), 2);
    world_deinit(&w);
}

static void a_value_whose_publisher_cannot_be_met_is_named(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    subscribe(&w, "g/x");
    fake.dial_code = AICO_EREVOKED;
    say_kept(&w);
    assert_int_equal(told(&w, AICO_MESSAGE_UNOPENED)->code, AICO_EREVOKED);
    lose_link(&w); /* nothing is waited for */
    pass(&w, 60000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_UNOPENED), 1);
    world_deinit(&w);
}

/* --- last wills ----------------------------------------------------------------------------- */

static void a_will_is_given_in_each_session_and_with_each_key(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    assert_int_equal(client_set_will(w.client, bytes_text("g/x"), bytes_text("gone")), 0);
    fake.stamp = (struct group_stamp){.generation = 1};
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_WILL), 1);
    assert_string_equal(sent(&w, RECORD_WILL, 0)->text, "AICO-MSGgone");
    say_ok(&w, sent(&w, RECORD_WILL, 0)->id, 0);
    forget_out(&w);
    publish(&w, "g/y", "text");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_WILL), 0);
    fake.stamp.epoch = 1; /* sealing something began another epoch */
    publish(&w, "g/y", "text");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_WILL), 1);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_WILL), 1);
    expect_balance(&w);
    world_deinit(&w);
}

static void a_will_that_is_refused_is_told_once(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    assert_int_equal(client_set_will(w.client, bytes_text("g/x"), bytes_text("gone")), 0);
    link_with(&w, WINDOW, 0);
    say_refuse(&w, sent(&w, RECORD_WILL, 0)->id, AICO_EDENIED);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->code, AICO_EDENIED);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->id, 0);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_WILL), 0);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 1);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_broker_is_told_what_is_left),
        cmocka_unit_test(what_could_not_be_sent_in_time_is_refused_by_name),
        cmocka_unit_test(only_alike_messages_are_sealed_together),
        cmocka_unit_test(a_message_held_back_too_long_is_a_gap),
        cmocka_unit_test(a_member_says_what_it_has),
        cmocka_unit_test(a_member_says_that_it_knows_of_a_loss),
        cmocka_unit_test(who_leaves_a_group_says_what_it_had),
        cmocka_unit_test(who_is_in_no_group_does_not_say_it),
        cmocka_unit_test(a_value_is_sealed_again_for_who_asks),
        cmocka_unit_test(a_broker_that_does_not_know_us_is_told_our_values_again),
        cmocka_unit_test(a_value_older_than_its_rule_says_is_not_said_again),
        cmocka_unit_test(a_value_that_was_refused_is_none),
        cmocka_unit_test(the_value_before_one_that_was_refused_stands),
        cmocka_unit_test(who_asks_for_a_value_that_has_no_answer_waits_for_it),
        cmocka_unit_test(another_broker_is_told_what_stands_when_the_last_one_is_refused),
        cmocka_unit_test(a_value_that_has_a_successor_is_not_told_again),
        cmocka_unit_test(a_kept_value_is_asked_for_and_shown_once),
        cmocka_unit_test(a_stored_value_is_opened_by_itself),
        cmocka_unit_test(a_value_of_an_earlier_generation_is_not_shown_after_a_later_one),
        cmocka_unit_test(a_value_that_nobody_gives_is_named),
        cmocka_unit_test(values_are_kept_up_to_a_bound_and_what_is_kept_can_change),
        cmocka_unit_test(a_value_that_is_over_is_not_said_again),
        cmocka_unit_test(a_value_in_clear_is_shown_once),
        cmocka_unit_test(a_value_whose_publisher_cannot_be_met_is_named),
        cmocka_unit_test(a_will_is_given_in_each_session_and_with_each_key),
        cmocka_unit_test(a_will_that_is_refused_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
