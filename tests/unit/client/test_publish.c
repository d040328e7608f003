/* SPDX-License-Identifier: Apache-2.0 */
/* From the application's queue to the broker's answer, across credit, refusals and lost links. */
#include "world.h"

/* --- the simple way -----------------------------------------------------------------------------
 */

static void a_message_is_acknowledged_and_counted(void **state UNUSED)
{
    struct aico_client_stats stats;
    struct ended flush = {0};
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = publish(&w, "g/x", "one");
    client_flush(w.client, w.now, id, 1000, &flush);
    assert_false(flush.ended);
    expect_balance(&w);
    pull(&w);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGone");
    assert_int_equal(client_unacknowledged(w.client), 1);
    expect_balance(&w);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    assert_true(flush.ended);
    assert_int_equal(flush.code, 0);
    client_get_stats(w.client, &stats);
    assert_int_equal(stats.acknowledged, 1);
    expect_balance(&w);
    world_deinit(&w);
}

static void ids_rise_and_an_ack_covers_all_below(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    for (int i = 0; i < 5; i++)
        publish(&w, "n/x", "m");
    pull(&w);
    for (size_t i = 1; i < 5; i++)
        assert_true(sent(&w, RECORD_PUBLISH, i)->id > sent(&w, RECORD_PUBLISH, i - 1)->id);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 3)->id);
    assert_int_equal(client_unacknowledged(w.client), 1);
    expect_balance(&w);
    world_deinit(&w);
}

static void an_ack_of_what_was_never_sent_is_a_breach(void **state UNUSED)
{
    struct world w;
    struct writer f = script();

    world_init(&w);
    link_up(&w);
    record_write_ack(&f, 1000);
    assert_int_equal(say(&w, &f), AICO_EPROTO);
    world_deinit(&w);
}

static void nothing_leaves_beyond_the_window(void **state UNUSED)
{
    static uint8_t payload[50000];
    struct world w;
    struct writer f;

    world_init(&w);
    link_with(&w, 120000, 0);
    forget_out(&w);
    for (int i = 0; i < 4; i++)
        push(&w, "n/x", "", bytes_of(payload, sizeof(payload)));
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 2);
    assert_int_equal(client_queued(w.client), 2); /* and is not sealed before it can leave */
    f = script();
    record_write_credit(&f, 60000);
    assert_int_equal(say(&w, &f), 0);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 3);
    world_deinit(&w);
}

static void a_large_message_goes_in_fragments_of_one_id(void **state UNUSED)
{
    static uint8_t payload[200000];
    struct world w;
    size_t offset = 0;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    push(&w, "g/x", "", bytes_of(payload, sizeof(payload)));
    publish(&w, "g/x", "behind it");
    pull(&w);
    id = sent(&w, RECORD_PUBLISH, 0)->id;
    for (size_t i = 0; offset < 8 + sizeof(payload); i++) {
        const struct out *out = sent(&w, RECORD_PUBLISH, i);

        assert_non_null(out);
        assert_true(out->publish.fragment && out->id == id);
        assert_int_equal(out->publish.total, 8 + sizeof(payload));
        assert_int_equal(out->publish.offset, offset);
        assert_true(out->size <= FRAGMENT_SIZE_MAX);
        offset += out->size;
    }
    assert_string_equal(w.out[w.out_count - 1].text, "AICO-MSGbehind it");
    world_deinit(&w);
}

static void an_empty_message_is_one_too(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    publish(&w, "n/x", "");
    pull(&w);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->size, 0);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    assert_int_equal(client_unacknowledged(w.client), 0);
    world_deinit(&w);
}

/* --- sealing ------------------------------------------------------------------------------------
 */

static void a_generation_is_stored_before_anything_sealed_under_it_leaves(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    fake.new_group = true;
    w.frames = 0;
    publish(&w, "g/x", "one");
    pull(&w);
    assert_int_equal(w.persisted, 7);
    assert_int_equal(w.frames_when_persisted, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    world_deinit(&w);
}

static void without_storing_it_nothing_leaves(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    fake.new_group = true;
    w.persist_code = AICO_ESYSTEM;
    publish(&w, "g/x", "one");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    expect_end(&w, AICO_ESYSTEM);
    world_deinit(&w);
}

static void while_readers_get_their_keys_the_queue_waits_in_order(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    fake.prepare_code = AICO_ESTATE;
    publish(&w, "g/x", "one");
    publish(&w, "n/x", "two");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    fake.prepare_code = 0;
    pull(&w);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGone");
    assert_string_equal(sent(&w, RECORD_PUBLISH, 1)->text, "two");
    world_deinit(&w);
}

static void what_cannot_be_sealed_is_refused_and_what_follows_goes_on(void **state UNUSED)
{
    struct ended flush = {0};
    struct world w;
    uint64_t first, last;

    world_init(&w);
    link_up(&w);
    fake.seal_code = AICO_ETOOLARGE;
    first = publish(&w, "g/x", "one");
    pull(&w);
    fake.seal_code = 0;
    last = publish(&w, "nobody/x", "no rule");
    publish(&w, "g/x", "two");
    pull(&w);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 2);
    assert_int_equal(w.told[0]->id, first);
    assert_int_equal(w.told[0]->code, AICO_ETOOLARGE);
    assert_int_equal(w.told[1]->id, last);
    assert_int_equal(w.told[1]->code, AICO_EDENIED);
    client_flush(w.client, w.now, 3, 1000, &flush);
    assert_false(flush.ended);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    assert_true(flush.ended);
    assert_int_equal(flush.code, AICO_ETOOLARGE); /* the first one */
    expect_balance(&w);
    world_deinit(&w);
}

static void add_stored_rule(struct registry_draft *draft, const char *filter, const char *publish)
{
    assert_int_equal(
        registry_draft_set_rule(draft,
                                &(struct rule_line){.filter = bytes_text(filter),
                                                    .publish = publish,
                                                    .subscribe = "*",
                                                    .seal = SEAL_GROUP,
                                                    .authenticity = AUTHENTICITY_SENDER,
                                                    .history = true,
                                                    .store = {.on = true, .count = 9}},
                                NULL),
        0);
}

/* The broker tells reading keys only to who may publish: who may not would wait for ever. */
static void what_the_rules_forbid_does_not_wait_for_reading_keys(void **state UNUSED)
{
    struct registry_draft *draft;
    struct registry *second;
    struct world w;

    world_init(&w);
    link_up(&w);
    draft = world_draft(&w, w.registry);
    add_stored_rule(draft, "his/**", "bob");
    add_stored_rule(draft, "ours/**", "alice");
    second = registry_make(draft);
    assert_int_equal(client_offer_registry(w.client, w.now, registry_document(second)), 0);
    fake.no_readings = true;
    fake.prepare_code = AICO_EDENIED; /* what the sessions say of it */
    publish(&w, "his/x", "one");
    pull(&w);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->code, AICO_EDENIED);
    fake.prepare_code = 0;
    publish(&w, "ours/x", "two");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    fake.no_readings = false;
    pull(&w);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGtwo");
    registry_unref(&second);
    registry_draft_free(&draft);
    world_deinit(&w);
}

static void in_clear_only_where_the_security_level_lets_it(void **state UNUSED)
{
    struct client_settings settings = world_settings();
    struct world w;

    settings.seal_none_allowed = false;
    world_init_with(&w, &settings);
    link_up(&w);
    publish(&w, "n/x", "one");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->code, AICO_EPOLICY);
    world_deinit(&w);
}

/* --- refusals -----------------------------------------------------------------------------------
 */

static void a_refusal_is_told_once_to_the_reader_and_once_to_flush(void **state UNUSED)
{
    struct ended first = {0}, second = {0};
    struct world w;
    uint64_t id, wire;

    world_init(&w);
    link_up(&w);
    id = publish(&w, "g/x", "one");
    pull(&w);
    wire = sent(&w, RECORD_PUBLISH, 0)->id;
    say_refuse(&w, wire, AICO_EFULL);
    say_refuse(&w, wire, AICO_EFULL);
    say_ack(&w, wire);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 1);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->id, id);
    assert_string_equal(told(&w, AICO_MESSAGE_REFUSED)->topic, "g/x");
    client_flush(w.client, w.now, id, 1000, &first);
    assert_int_equal(first.code, AICO_EFULL);
    assert_non_null(strstr(first.text, "as scripted"));
    client_flush(w.client, w.now, id, 1000, &second);
    assert_int_equal(second.code, 0);
    expect_balance(&w);
    world_deinit(&w);
}

static void a_flush_ends_in_time(void **state UNUSED)
{
    struct ended flush = {0};
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = publish(&w, "g/x", "one");
    pull(&w);
    client_flush(w.client, w.now, id, 500, &flush);
    assert_true(client_deadline(w.client) <= w.now.boot_ms + 500);
    pass(&w, 499);
    assert_false(flush.ended);
    pass(&w, 1);
    assert_int_equal(flush.code, AICO_ETIMEOUT);
    world_deinit(&w);
}

/* A broker may keep an ACK back until it has something else to say. */
static void who_waits_for_an_ack_asks_for_it_once(void **state UNUSED)
{
    struct ended flush = {0}, later = {0};
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    (void)publish(&w, "g/x", "one");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PING), 0);
    id = publish(&w, "g/x", "two");
    client_flush(w.client, w.now, id, 1000, &flush);
    forget_out(&w);
    pull(&w);
    assert_int_equal(w.out_count, 2);
    assert_int_equal(w.out[0].type, RECORD_PUBLISH);
    assert_int_equal(w.out[1].type, RECORD_PING);
    client_flush(w.client, w.now, id, 1000, &later);
    forget_out(&w);
    pull(&w);
    assert_int_equal(w.out_count, 0); /* it is on its way */
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 2);
    assert_int_equal(sent_count(&w, RECORD_PING), 1);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 1)->id);
    assert_true(flush.ended && later.ended);
    (void)publish(&w, "g/x", "three");
    forget_out(&w);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PING), 0);
    client_finish(w.client);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PING), 1);
    world_deinit(&w);
}

/* --- lost links ---------------------------------------------------------------------------------
 */

/* One sealing for what waits for one topic; everything is answered message by message. */
static void what_waits_for_one_topic_is_sealed_together(void **state UNUSED)
{
    struct world w;
    uint64_t first, other;

    world_init(&w);
    link_up(&w);
    first = publish(&w, "g/x", "a");
    publish(&w, "g/x", "b");
    publish(&w, "g/x", "c");
    other = publish(&w, "g/y", "d");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 2);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSG|a|b|c");
    assert_string_equal(sent(&w, RECORD_PUBLISH, 1)->text, "AICO-MSGd");
    assert_int_equal(fake.sealed, 2);
    assert_int_equal(client_unacknowledged(w.client), 4);
    say_refuse(&w, sent(&w, RECORD_PUBLISH, 0)->id, AICO_EFULL);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 1)->id);
    assert_int_equal(client_unacknowledged(w.client), 0);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 3);
    for (size_t i = 0, n = 0; i < w.told_count; i++)
        if (w.told[i]->kind == AICO_MESSAGE_REFUSED)
            assert_int_equal(w.told[i]->id, first + n++);
    assert_int_equal(other, first + 3);
    expect_balance(&w);
    world_deinit(&w);
}

static void sealed_messages_without_an_answer_are_sent_again_as_they_were(void **state UNUSED)
{
    struct world w;
    uint64_t ids[3];

    world_init(&w);
    link_up(&w);
    for (int i = 0; i < 3; i++) {
        char text[2] = {(char)('a' + i), '\0'};

        publish(&w, "g/x", text);
        pull(&w);
    }
    for (size_t i = 0; i < 3; i++)
        ids[i] = sent(&w, RECORD_PUBLISH, i)->id;
    say_ack(&w, ids[0]);
    lose_link(&w);
    link_with(&w, WINDOW, ids[1]); /* the broker had taken one more */
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->id, ids[2]);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGc");
    assert_int_equal(fake.sealed, 3); /* not sealed again */
    say_ack(&w, ids[2]);
    assert_int_equal(client_unacknowledged(w.client), 0);
    expect_balance(&w);
    world_deinit(&w);
}

static void fragments_begin_again_after_a_lost_link(void **state UNUSED)
{
    static uint8_t payload[200000];
    struct world w;
    uint64_t id;

    world_init(&w);
    link_with(&w, 150000, 0);
    forget_out(&w);
    push(&w, "g/x", "", bytes_of(payload, sizeof(payload)));
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 2);
    id = sent(&w, RECORD_PUBLISH, 0)->id;
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 4);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->id, id);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.offset, 0);
    world_deinit(&w);
}

static void clear_messages_go_again_only_to_a_broker_that_remembers(void **state UNUSED)
{
    for (int known = 0; known < 2; known++) {
        struct world w;
        uint64_t first, second;

        world_init(&w);
        link_up(&w);
        publish(&w, "n/x", "acknowledged");
        pull(&w);
        first = sent(&w, RECORD_PUBLISH, 0)->id;
        say_ack(&w, first);
        second = publish(&w, "n/x", "in flight");
        pull(&w);
        client_link_down(w.client, w.now, AICO_EUNREACHABLE, "lost");
        publish(&w, "n/x", "never sent");
        w.now.boot_ms += 60000;
        forget_out(&w);
        link_with(&w, WINDOW, known ? first : 0);
        if (known) {
            assert_int_equal(sent_count(&w, RECORD_PUBLISH), 2);
            assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "in flight");
            assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 0);
        } else {
            assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
            assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "never sent");
            assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->id, second);
            assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->code, AICO_ECLOSED);
        }
        expect_balance(&w);
        world_deinit(&w);
    }
}

static void a_direct_message_in_flight_is_named_when_its_channel_is_gone(void **state UNUSED)
{
    struct world w;
    uint64_t id;

    world_init(&w);
    link_up(&w);
    fake.has_channel = true;
    id = push(&w, "c/x", "bob", bytes_text("one"));
    pull(&w);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.to, 5);
    assert_false(sent(&w, RECORD_PUBLISH, 0)->publish.copy);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->id, id);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->code, AICO_ECLOSED);
    expect_balance(&w);
    world_deinit(&w);
}

static void a_direct_message_goes_again_when_channels_outlive_links(void **state UNUSED)
{
    struct client_settings settings = world_settings();
    struct world w;

    settings.session.fresh_handshake = false;
    world_init_with(&w, &settings);
    link_up(&w);
    fake.has_channel = true;
    push(&w, "c/x", "bob", bytes_text("one"));
    pull(&w);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 0);
    world_deinit(&w);
}

/* --- waiting for a channel ----------------------------------------------------------------------
 */

static void a_direct_message_waits_for_its_channel_in_order(void **state UNUSED)
{
    struct ended flush = {0};
    struct world w;

    world_init(&w);
    link_up(&w);
    push(&w, "c/x", "bob", bytes_text("one"));
    push(&w, "c/x", "bob", bytes_text("two"));
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    assert_true(fake.dials > 0);
    assert_int_equal(client_queued(w.client), 2);
    assert_true(client_queued_bytes(w.client) > 0);
    client_flush(w.client, w.now, 2, 1000, &flush);
    fake.has_channel = true;
    fake_push((struct session_event){.type = SESSION_READY}, "bob", "", "");
    client_tick(w.client, w.now);
    pull(&w);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGone");
    assert_string_equal(sent(&w, RECORD_PUBLISH, 1)->text, "AICO-MSGtwo");
    assert_int_equal(client_queued(w.client), 0);
    assert_int_equal(client_queued_bytes(w.client), 0);
    assert_false(flush.ended);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 1)->id);
    assert_true(flush.ended);
    expect_balance(&w);
    world_deinit(&w);
}

static void without_a_channel_it_is_refused_with_the_cause(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    push(&w, "c/x", "bob", bytes_text("one"));
    pull(&w);
    fake_push(
        (struct session_event){.type = SESSION_LOST, .code = AICO_ECLOCK, .text = "clocks differ"},
        "bob", "", "");
    client_tick(w.client, w.now);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->code, AICO_ECLOCK);
    assert_string_equal(told(&w, AICO_MESSAGE_REFUSED)->text, "clocks differ");
    fake.dial_code = AICO_EPEERUNKNOWN; /* not even dialled */
    push(&w, "c/x", "bob", bytes_text("two"));
    pull(&w);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 2);
    assert_int_equal(client_queued(w.client), 0);
    expect_balance(&w);
    world_deinit(&w);
}

static void what_waits_for_a_channel_survives_a_lost_link(void **state UNUSED)
{
    struct world w;
    unsigned dials;

    world_init(&w);
    link_up(&w);
    push(&w, "c/x", "bob", bytes_text("one"));
    pull(&w);
    dials = fake.dials;
    client_link_down(w.client, w.now, AICO_EUNREACHABLE, "lost");
    fake_push((struct session_event){.type = SESSION_LOST, .code = AICO_ECLOSED}, "bob", "", "");
    pass(&w, 60000);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 0);
    link_up(&w);
    assert_true(fake.dials > dials);
    fake.has_channel = true;
    fake_push((struct session_event){.type = SESSION_READY}, "bob", "", "");
    client_tick(w.client, w.now);
    pull(&w);
    assert_string_equal(sent(&w, RECORD_PUBLISH, 0)->text, "AICO-MSGone");
    world_deinit(&w);
}

/* --- topics that are sealed by channel ----------------------------------------------------------
 */

/* Publishes on c/x, and the broker agrees that presence be heard. */
static uint64_t publish_to_readers(struct world *w, const char *text)
{
    uint64_t id = publish(w, "c/x", text);
    struct out *out;

    pull(w);
    out = sent_filter(w, "$bus/presence/*");
    assert_non_null(out);
    say_ok(w, out->id, out->subscription);
    return id;
}

static void copies_wait_until_it_is_known_who_is_there(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    fake.has_channel = true;
    say_presence(&w, 15, "online"); /* for another subscription, before this one was asked for */
    publish_to_readers(&w, "one");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    say_presence(&w, 14, "online"); /* bob */
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    say_presence(&w, 15, "online"); /* oneself comes last */
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1); /* carol is not there */
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.to, 5);
    assert_true(sent(&w, RECORD_PUBLISH, 0)->publish.copy);
    expect_balance(&w);
    world_deinit(&w);
}

static void who_is_there_is_asked_anew_after_a_lost_link(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    fake.has_channel = true;
    publish_to_readers(&w, "one");
    say_presence(&w, 14, "online");
    say_presence(&w, 15, "online");
    pull(&w);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->id);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    publish(&w, "c/x", "two");
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    say_ok(&w, sent_filter(&w, "$bus/presence/*")->id, 1);
    say_presence(&w, 15, "online"); /* bob has left meanwhile */
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0);
    assert_int_equal(client_queued(w.client), 0);
    world_deinit(&w);
}

static void if_presence_is_refused_everybody_is_tried(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    fake.has_channel = true;
    publish(&w, "c/x", "one");
    pull(&w);
    say_refuse(&w, sent_filter(&w, "$bus/presence/*")->id, AICO_EQUOTA);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 3); /* bob, carol and the broker's own */
    world_deinit(&w);
}

static void a_copy_that_is_lost_is_named_unless_its_reader_is_away(void **state UNUSED)
{
    struct ended flush = {0};
    struct world w;
    uint64_t id, wire;

    world_init(&w);
    link_up(&w);
    id = publish_to_readers(&w, "one");
    say_presence(&w, 14, "online");
    say_presence(&w, 15, "online");
    pull(&w); /* waits for a channel with bob */
    client_flush(w.client, w.now, id, 1000, &flush);
    assert_false(flush.ended);
    fake_push(
        (struct session_event){.type = SESSION_LOST, .code = AICO_ETIMEOUT, .text = "no answer"},
        "bob", "", "");
    client_tick(w.client, w.now);
    assert_true(flush.ended);
    assert_int_equal(flush.code, AICO_ETIMEOUT);
    assert_int_equal(told(&w, AICO_MESSAGE_REFUSED)->id, id);
    assert_string_equal(told(&w, AICO_MESSAGE_REFUSED)->text, "bob did not get it: no answer");

    fake.has_channel = true;
    publish(&w, "c/x", "two");
    publish(&w, "c/x", "three");
    pull(&w);
    wire = sent(&w, RECORD_PUBLISH, 0)->id;
    say_refuse(&w, wire, AICO_EPEERAWAY);
    say_refuse(&w, sent(&w, RECORD_PUBLISH, 1)->id, AICO_EFULL);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 2);
    assert_int_equal(w.told[1]->code, AICO_EFULL);
    expect_balance(&w);
    world_deinit(&w);
}

/* --- requests -----------------------------------------------------------------------------------
 */

static void say_resolved(struct world *w, uint64_t id)
{
    struct writer f = script();

    record_write_resolved(&f, id, 5);
    assert_int_equal(say(w, &f), 0);
}

static void a_request_is_resolved_sealed_and_answered(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    struct out *out;

    world_init(&w);
    link_up(&w);
    client_request(w.client, w.now, bytes_text("c/x"), bytes_text("question"), 1000, &ended);
    pull(&w);
    say_resolved(&w, sent(&w, RECORD_RESOLVE, 0)->id);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 0); /* dialling */
    fake.has_channel = true;
    fake_push((struct session_event){.type = SESSION_READY}, "bob", "", "");
    client_tick(w.client, w.now);
    pull(&w);
    out = sent(&w, RECORD_PUBLISH, 0);
    assert_int_equal(out->publish.delivery, DELIVERY_REQUEST);
    assert_in_range(out->publish.timeout_ms, 1, 1000);
    say_deliver(&w,
                (struct record_deliver){.delivery = DELIVERY_REPLY,
                                        .topic = 11,
                                        .direct = true,
                                        .reply = true,
                                        .request = out->id},
                "AICO-MSGanswer");
    assert_true(fake.given[fake.given_count - 1].has_ref);
    assert_true(ended.ended);
    assert_int_equal(ended.code, 0);
    assert_string_equal(ended.reply, "answer");
    assert_int_equal(w.told_count, 0);
    world_deinit(&w);
}

/* A request on its way; the id it was sent with. */
static uint64_t ask(struct world *w, struct ended *ended)
{
    fake.has_channel = true;
    client_request(w->client, w->now, bytes_text("c/x"), bytes_text("question"), 1000, ended);
    pull(w);
    say_resolved(w, sent(w, RECORD_RESOLVE, 0)->id);
    pull(w);
    return sent(w, RECORD_PUBLISH, 0)->id;
}

static void write_reply(struct writer *f, uint64_t request, uint32_t sender)
{
    write_deliver(f,
                  (struct record_deliver){.delivery = DELIVERY_REPLY,
                                          .topic = 11,
                                          .sender = sender,
                                          .direct = true,
                                          .reply = true,
                                          .request = request},
                  "AICO-MSGanswer");
}

static void a_reply_that_opens_after_its_request_is_over_is_dropped(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    struct writer f = script();
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = ask(&w, &ended);
    fake.by_hand = true; /* it is held */
    write_reply(&f, id, 5);
    write_refuse(&f, id, AICO_EPEERAWAY);
    assert_int_equal(say(&w, &f), 0);
    assert_int_equal(ended.code, AICO_EPEERAWAY);
    fake_opens(fake.given_count - 1, 0);
    client_tick(w.client, w.now);
    assert_int_equal(w.told_count, 0);
    world_deinit(&w);
}

static void a_late_reply_is_no_loss(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    struct writer f = script();
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = ask(&w, &ended);
    pass(&w, 1000);
    assert_int_equal(ended.code, AICO_ETIMEOUT);
    fake.by_hand = true;
    write_reply(&f, id, 5);
    assert_int_equal(say(&w, &f), 0);
    assert_false(fake.given[fake.given_count - 1].has_ref);
    fake_fails(fake.given_count - 1, AICO_ENOREQUEST);
    client_tick(w.client, w.now);
    assert_int_equal(w.told_count, 0);
    world_deinit(&w);
}

static void a_reply_of_another_component_is_bound_to_nothing(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    struct writer f = script();
    uint64_t id;

    world_init(&w);
    link_up(&w);
    id = ask(&w, &ended);
    fake.by_hand = true;
    write_reply(&f, id, 6); /* carol */
    assert_int_equal(say(&w, &f), 0);
    assert_false(fake.given[fake.given_count - 1].has_ref);
    assert_false(ended.ended);
    client_forget(w.client, &ended);
    world_deinit(&w);
}

static void a_request_in_flight_ends_with_the_link_one_that_waits_does_not(void **state UNUSED)
{
    struct ended first = {0}, second = {0};
    struct world w;

    world_init(&w);
    link_up(&w);
    (void)ask(&w, &first);
    fake.has_channel = false;
    client_request(w.client, w.now, bytes_text("c/x"), bytes_text("waits"), 100000, &second);
    lose_link(&w);
    assert_int_equal(first.code, AICO_EUNREACHABLE);
    assert_false(second.ended);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_RESOLVE), 1);
    say_refuse(&w, sent(&w, RECORD_RESOLVE, 0)->id, AICO_ENORESPONDER);
    assert_int_equal(second.code, AICO_ENORESPONDER);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_acknowledged_and_counted),
        cmocka_unit_test(ids_rise_and_an_ack_covers_all_below),
        cmocka_unit_test(an_ack_of_what_was_never_sent_is_a_breach),
        cmocka_unit_test(nothing_leaves_beyond_the_window),
        cmocka_unit_test(a_large_message_goes_in_fragments_of_one_id),
        cmocka_unit_test(an_empty_message_is_one_too),
        cmocka_unit_test(a_generation_is_stored_before_anything_sealed_under_it_leaves),
        cmocka_unit_test(without_storing_it_nothing_leaves),
        cmocka_unit_test(while_readers_get_their_keys_the_queue_waits_in_order),
        cmocka_unit_test(what_cannot_be_sealed_is_refused_and_what_follows_goes_on),
        cmocka_unit_test(what_the_rules_forbid_does_not_wait_for_reading_keys),
        cmocka_unit_test(in_clear_only_where_the_security_level_lets_it),
        cmocka_unit_test(a_refusal_is_told_once_to_the_reader_and_once_to_flush),
        cmocka_unit_test(a_flush_ends_in_time),
        cmocka_unit_test(who_waits_for_an_ack_asks_for_it_once),
        cmocka_unit_test(what_waits_for_one_topic_is_sealed_together),
        cmocka_unit_test(sealed_messages_without_an_answer_are_sent_again_as_they_were),
        cmocka_unit_test(fragments_begin_again_after_a_lost_link),
        cmocka_unit_test(clear_messages_go_again_only_to_a_broker_that_remembers),
        cmocka_unit_test(a_direct_message_in_flight_is_named_when_its_channel_is_gone),
        cmocka_unit_test(a_direct_message_goes_again_when_channels_outlive_links),
        cmocka_unit_test(a_direct_message_waits_for_its_channel_in_order),
        cmocka_unit_test(without_a_channel_it_is_refused_with_the_cause),
        cmocka_unit_test(what_waits_for_a_channel_survives_a_lost_link),
        cmocka_unit_test(copies_wait_until_it_is_known_who_is_there),
        cmocka_unit_test(who_is_there_is_asked_anew_after_a_lost_link),
        cmocka_unit_test(if_presence_is_refused_everybody_is_tried),
        cmocka_unit_test(a_copy_that_is_lost_is_named_unless_its_reader_is_away),
        cmocka_unit_test(a_request_is_resolved_sealed_and_answered),
        cmocka_unit_test(a_reply_that_opens_after_its_request_is_over_is_dropped),
        cmocka_unit_test(a_late_reply_is_no_loss),
        cmocka_unit_test(a_reply_of_another_component_is_bound_to_nothing),
        cmocka_unit_test(a_request_in_flight_ends_with_the_link_one_that_waits_does_not),
    };

    if (crypto_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
