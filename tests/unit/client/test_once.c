/* SPDX-License-Identifier: Apache-2.0 */
/* Messages from outboxes: the reader shows each once, the publisher knows what was answered. */
#include "world.h"

#define G_X 10 /* topic numbers of say_welcome() */
#define G_Y 13

static const uint8_t bob_key[SIGN_PUBLIC_SIZE] = {7}, new_bob_key[SIGN_PUBLIC_SIZE] = {8};

static void start(struct world *w)
{
    world_init(w);
    link_up(w);
    subscribe(w, "g/*");
    fake.by_hand = true;
}

/* Number @once of the outbox opens, sealed as @sequence of @generation. */
static void opens_of(struct world *w, const uint8_t *identity, uint32_t topic, uint64_t once,
                     uint64_t generation, uint64_t sequence)
{
    struct given *g;

    say_deliver(w, (struct record_deliver){.topic = topic}, "AICO-MSGtext");
    g = &fake.given[fake.given_count - 1];
    fake_push((struct session_event){.type = SESSION_MESSAGE,
                                     .identity = identity,
                                     .delivery = g->delivery,
                                     .sequence = sequence,
                                     .generation = generation,
                                     .once = once,
                                     .cookie = g->cookie},
              g->peer, g->topic, g->text);
    g->cookie = NULL;
    client_tick(w->client, w->now);
}

static void opens(struct world *w, uint32_t topic, uint64_t once, uint64_t generation,
                  uint64_t sequence)
{
    opens_of(w, bob_key, topic, once, generation, sequence);
}

static void what_was_sealed_again_is_shown_once(void **state UNUSED)
{
    struct world w;

    start(&w);
    for (uint64_t i = 1; i <= 4; i++)
        opens(&w, G_X, i, 1, i - 1);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 4);
    for (uint64_t i = 3; i <= 6; i++) /* its publisher was killed and sends again from 3 on */
        opens(&w, G_X, i, 2, i - 3);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 6);
    assert_int_equal(told(&w, AICO_MESSAGE_STATE)->code, AICO_EREPLAY);
    assert_int_equal(told_count(&w, AICO_MESSAGE_GAP), 0);
    world_deinit(&w);
}

/* Bob's next key, of which the registry of @w says so, after so many @rotations. */
static struct identity *rotate_bob(struct world *w, uint8_t rotations)
{
    struct registry_draft *draft = registry_draft_new(w->registry, bytes_text(NAMESPACE));
    struct identity *former = NULL, *next = NULL;
    struct buffer document = {0};
    struct secret owner;

    owner_seed(&owner);
    for (uint8_t i = 0; i < rotations; i++) {
        const struct secret seed = {{99, i}};

        identity_free(&former);
        former = next;
        next = NULL;
        assert_int_equal(identity_new("bob", &seed, 0, &next), 0);
        assert_int_equal(
            registry_draft_rotate(draft, former ? former : w->bob, next, 1, START_MS + 60000), 0);
    }
    identity_free(&former);
    assert_int_equal(registry_draft_sign(draft, &owner, START_MS, &document), 0);
    registry_draft_free(&draft);
    assert_int_equal(client_offer_registry(w->client, w->now, buffer_view(&document)), 0);
    buffer_deinit(&document);
    return next;
}

/* Its publisher died, and was started with its next key: what it had heard no answer for it seals
 * again. */
static void shows_once_what_was_sealed_again(uint8_t rotations)
{
    struct identity *next;
    struct world w;

    start(&w);
    next = rotate_bob(&w, rotations);
    for (uint64_t i = 1; i <= 4; i++)
        opens_of(&w, w.bob->public, G_X, i, 1, i - 1);
    for (uint64_t i = 3; i <= 6; i++)
        opens_of(&w, next->public, G_X, i, 2, i - 3);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 6);
    opens_of(&w, w.bob->public, G_X, 7, 3, 0); /* nobody else's numbers count */
    opens_of(&w, next->public, G_X, 7, 4, 0);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 7);
    opens(&w, G_X, 7, 5, 0);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 8);
    identity_free(&next);
    world_deinit(&w);
}

static void what_was_sealed_again_with_the_next_key_is_shown_once(void **state UNUSED)
{
    shows_once_what_was_sealed_again(1);
}

static void what_was_sealed_again_some_rotations_later_is_shown_once(void **state UNUSED)
{
    shows_once_what_was_sealed_again(REGISTRY_FORMER_MAX);
}

/* A window lets older envelopes come late: they were sealed before, so they are no repetition. */
static void what_was_sealed_before_may_come_late(void **state UNUSED)
{
    struct world w;

    start(&w);
    opens(&w, G_X, 1, 1, 0);
    opens(&w, G_X, 3, 1, 2);
    opens(&w, G_X, 2, 1, 1);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 3);
    world_deinit(&w);
}

static void topics_and_senders_are_apart(void **state UNUSED)
{
    struct world w;

    start(&w);
    opens(&w, G_X, 5, 1, 0);
    opens(&w, G_Y, 4, 1, 0);
    opens_of(&w, new_bob_key, G_X, 3, 2, 0);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 3);
    opens(&w, G_Y, 4, 2, 0);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 3);
    world_deinit(&w);
}

static void messages_of_no_outbox_have_no_number(void **state UNUSED)
{
    struct world w;

    start(&w);
    opens(&w, G_X, 5, 1, 0);
    opens(&w, G_X, 0, 1, 1);
    opens(&w, G_X, 0, 2, 0);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 3);
    world_deinit(&w);
}

static void what_was_answered_is_known_in_order(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    assert_int_equal(client_answered_before(w.client), 1);
    publish(&w, "g/x", "one");
    assert_int_equal(client_answered_before(w.client), 1); /* queued */
    link_with(&w, WINDOW, 0);
    publish(&w, "g/x", "two");
    pull(&w);
    assert_int_equal(client_answered_before(w.client), 1); /* on their way */
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->publish.id);
    assert_int_equal(client_answered_before(w.client), 2);
    say_refuse(&w, sent(&w, RECORD_PUBLISH, 1)->publish.id, AICO_EQUOTA);
    assert_int_equal(client_answered_before(w.client), 3);
    world_deinit(&w);
}

/* One that waits for a channel holds nobody else up, but what comes after it was not answered. */
static void who_waits_for_a_channel_was_not_answered(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    link_up(&w);
    push(&w, "c/x", "bob", bytes_text("direct"));
    pull(&w);
    publish(&w, "g/x", "two");
    pull(&w);
    say_ack(&w, sent(&w, RECORD_PUBLISH, 0)->publish.id);
    assert_int_equal(client_answered_before(w.client), 1);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_sealed_again_is_shown_once),
        cmocka_unit_test(what_was_sealed_again_with_the_next_key_is_shown_once),
        cmocka_unit_test(what_was_sealed_again_some_rotations_later_is_shown_once),
        cmocka_unit_test(what_was_sealed_before_may_come_late),
        cmocka_unit_test(topics_and_senders_are_apart),
        cmocka_unit_test(messages_of_no_outbox_have_no_number),
        cmocka_unit_test(what_was_answered_is_known_in_order),
        cmocka_unit_test(who_waits_for_a_channel_was_not_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
