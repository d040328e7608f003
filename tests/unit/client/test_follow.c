/* SPDX-License-Identifier: Apache-2.0 */
/* Following stored messages at the client: what the application has, and what the broker hears. */
#include "world.h"

#define G_X 10 /* topic numbers of say_welcome(): sealed, in clear */
#define N_X 12

static uint32_t follow_as(struct world *w, struct follow_request request)
{
    struct ended ended = {0};
    struct out *out;

    request.deadline_ms = 30000;
    request.window = 256;
    forget_out(w);
    client_follow(w->client, w->now, &request, 1000, &ended);
    pull(w);
    out = sent(w, RECORD_FOLLOW, 0);
    assert_non_null(out);
    say_ok(w, out->id, out->subscription);
    assert_true(ended.ended && ended.code == 0);
    return ended.subscription;
}

static uint32_t follow(struct world *w, const char *durable)
{
    return follow_as(w, (struct follow_request){.filter = bytes_text("**"),
                                                .durable = bytes_text(durable),
                                                .start = FOLLOW_ALL});
}

static void say_item(struct world *w, struct record_item item, const char *payload)
{
    struct writer f = script();

    item.delivery = DELIVERY_STREAM;
    item.sender = 5;
    item.attempt = item.attempt ? item.attempt : 1;
    item.id = 1;
    item.payload = bytes_text(payload);
    item.total = item.total ? item.total : (uint32_t)item.payload.size;
    record_write_item(&f, &item);
    assert_int_equal(say(w, &f), 0);
}

/* In clear. */
static void comes(struct world *w, uint32_t subscription, uint64_t number)
{
    say_item(w, (struct record_item){.subscription = subscription, .number = number, .topic = N_X},
             "text");
}

/* Sealed, @count messages in one envelope, which opens. */
static void comes_sealed(struct world *w, uint32_t subscription, uint64_t number, uint16_t count)
{
    static const uint8_t bob_key[SIGN_PUBLIC_SIZE] = {7};
    struct given *g;

    fake.by_hand = true;
    say_item(w,
             (struct record_item){.subscription = subscription,
                                  .number = number,
                                  .topic = G_X,
                                  .count = count > 1 ? count : 0},
             "AICO-MSGtext");
    g = &fake.given[fake.given_count - 1];
    for (uint16_t i = 0; i < count; i++)
        fake_push((struct session_event){.type = SESSION_MESSAGE,
                                         .identity = bob_key,
                                         .delivery = DELIVERY_STREAM,
                                         .index = i,
                                         .more = i + 1 < count,
                                         .sequence = i,
                                         .generation = number,
                                         .cookie = g->cookie},
                  g->peer, g->topic, g->text);
    pass(w, 0);
}

static void settle(struct world *w, uint32_t subscription, uint64_t number, int code,
                   const char *reason)
{
    forget_out(w);
    client_settle(w->client, subscription, number, code, bytes_text(reason));
    pull(w);
}

/* The only SETTLE sent since forget_out(). */
static void expect_settled(struct world *w, uint64_t number, int code, bool retry,
                           const char *reason)
{
    struct out *out = sent(w, RECORD_SETTLE, 0);

    assert_int_equal(sent_count(w, RECORD_SETTLE), 1);
    assert_int_equal(out->id, number);
    assert_int_equal(-(int)out->code, code);
    assert_int_equal(out->retry, retry);
    assert_string_equal(out->text, reason);
}

static size_t shown(struct world *w)
{
    return told_count(w, AICO_MESSAGE_EVENT);
}

/* --- what the broker is asked for ---------------------------------------------------------------
 */

static void a_follow_says_what_is_wanted(void **state UNUSED)
{
    struct world w;
    struct out *out;

    world_init(&w);
    link_up(&w);
    (void)follow_as(&w, (struct follow_request){.filter = bytes_text("n/*"),
                                                .durable = bytes_text("jobs"),
                                                .queue = bytes_text("workers"),
                                                .start = FOLLOW_TIME,
                                                .value = 12345});
    out = sent(&w, RECORD_FOLLOW, 0);
    assert_string_equal(out->filter, "n/*");
    assert_string_equal(out->name, "jobs");
    assert_string_equal(out->queue, "workers");
    assert_int_equal(out->start, FOLLOW_TIME);
    assert_int_equal(out->value, 12345);
    world_deinit(&w);
}

/* The broker wants it later: as often as it takes, and the application hears nothing of it. */
static void a_follow_that_is_too_much_at_once_is_asked_for_again(void **state UNUSED)
{
    struct ended ended = {0};
    struct world w;
    struct follow_request request = {.filter = bytes_text("**"),
                                     .durable = bytes_text("d"),
                                     .start = FOLLOW_ALL,
                                     .deadline_ms = 30000,
                                     .window = 256};

    world_init(&w);
    link_up(&w);
    client_follow(w.client, w.now, &request, 10000, &ended);
    pull(&w);
    for (int i = 0; i < 3; i++) {
        say_refuse(&w, sent(&w, RECORD_FOLLOW, 0)->id, AICO_ERATE);
        forget_out(&w);
        pass(&w, 900);
        pull(&w);
        assert_int_equal(sent_count(&w, RECORD_FOLLOW), 0);
        pass(&w, 100);
        pull(&w);
        assert_int_equal(sent_count(&w, RECORD_FOLLOW), 1);
    }
    assert_false(ended.ended);
    say_ok(&w, sent(&w, RECORD_FOLLOW, 0)->id, sent(&w, RECORD_FOLLOW, 0)->subscription);
    assert_true(ended.ended && ended.code == 0);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 0);
    world_deinit(&w);
}

static void a_follow_that_is_refused_is_over(void **state UNUSED)
{
    struct follow_request request = {
        .filter = bytes_text("**"), .deadline_ms = 30000, .window = 256};
    struct ended ended = {0};
    struct world w;

    world_init(&w);
    link_up(&w);
    client_follow(w.client, w.now, &request, 1000, &ended);
    pull(&w);
    say_refuse(&w, sent(&w, RECORD_FOLLOW, 0)->id, AICO_EDENIED);
    assert_true(ended.ended);
    assert_int_equal(ended.code, AICO_EDENIED);
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_FOLLOW), 0);
    world_deinit(&w);
}

/* The broker keeps the place of a named one; of the other only we know it. */
static void a_reader_without_a_name_goes_on_behind_what_it_has_settled(void **state UNUSED)
{
    uint32_t nameless, named;
    struct world w;

    world_init(&w);
    link_up(&w);
    nameless = follow(&w, "");
    named = follow(&w, "d");
    for (uint64_t i = 1; i <= 3; i++) {
        comes(&w, nameless, i);
        comes(&w, named, i);
    }
    settle(&w, nameless, 1, 0, "");
    settle(&w, nameless, 3, 0, "");
    settle(&w, named, 1, 0, "");
    lose_link(&w);
    link_with(&w, WINDOW, 0);
    assert_int_equal(sent_count(&w, RECORD_FOLLOW), 2);
    for (size_t i = 0; i < 2; i++) {
        struct out *out = sent(&w, RECORD_FOLLOW, i);
        bool has_name = out->name[0] != '\0';

        assert_int_equal(out->start, has_name ? FOLLOW_ALL : FOLLOW_NUMBER);
        assert_int_equal(out->value, has_name ? 0 : 2);
    }
    world_deinit(&w);
}

/* --- settling -----------------------------------------------------------------------------------
 */

static void the_broker_hears_done_rejected_and_again(void **state UNUSED)
{
    struct world w;
    uint32_t s;

    world_init(&w);
    link_up(&w);
    s = follow(&w, "");
    for (uint64_t i = 1; i <= 3; i++)
        comes(&w, s, i);
    assert_int_equal(shown(&w), 3);
    settle(&w, s, 1, 0, "not said");
    expect_settled(&w, 1, 0, false, "");
    settle(&w, s, 2, AICO_EINVAL, "no such part");
    expect_settled(&w, 2, AICO_EINVAL, false, "no such part");
    settle(&w, s, 3, AICO_ESTATE, "");
    expect_settled(&w, 3, 0, true, "");
    comes(&w, s, 3); /* as it was asked for */
    assert_int_equal(shown(&w), 4);
    settle(&w, s, 3, 0, "");
    expect_settled(&w, 3, 0, false, "");
    world_deinit(&w);
}

static void what_nobody_has_is_not_settled(void **state UNUSED)
{
    struct world w;
    uint32_t s, live;

    world_init(&w);
    link_up(&w);
    s = follow(&w, "");
    live = subscribe(&w, "n/x");
    comes(&w, s, 1);
    settle(&w, s, 2, 0, "");
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);
    settle(&w, live, 1, 0, "");
    settle(&w, live + 1, 1, 0, "");
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);
    settle(&w, s, 1, 0, "");
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 1);
    settle(&w, s, 1, AICO_EINVAL, ""); /* the first word counts */
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);
    world_deinit(&w);
}

static void a_batch_is_settled_when_all_of_it_is(void **state UNUSED)
{
    struct world w;
    uint32_t s;

    world_init(&w);
    link_up(&w);
    s = follow(&w, "d");
    comes_sealed(&w, s, 1, 3);
    assert_int_equal(shown(&w), 3);
    settle(&w, s, 1, AICO_ESTATE, "");
    settle(&w, s, 1, AICO_EINVAL, "the second is wrong");
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);
    settle(&w, s, 1, AICO_EDENIED, "the third as well");
    /* Rejected outweighs wanted again: it would be rejected for ever. The first reason counts. */
    expect_settled(&w, 1, AICO_EINVAL, false, "the second is wrong");

    comes_sealed(&w, s, 2, 2);
    settle(&w, s, 2, AICO_ESTATE, "");
    settle(&w, s, 2, 0, "");
    expect_settled(&w, 2, 0, true, "");
    world_deinit(&w);
}

static void one_that_came_again_before_it_was_settled_is_settled_twice(void **state UNUSED)
{
    struct world w;
    uint32_t s;

    world_init(&w);
    link_up(&w);
    s = follow(&w, "");
    comes(&w, s, 1);
    comes(&w, s, 1); /* its deadline has passed at the broker */
    assert_int_equal(shown(&w), 2);
    settle(&w, s, 1, 0, "");
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);
    settle(&w, s, 1, 0, "");
    expect_settled(&w, 1, 0, false, "");
    forget_out(&w);
    comes(&w, s, 1); /* it had not heard of that yet */
    pull(&w);
    assert_int_equal(shown(&w), 2);
    expect_settled(&w, 1, 0, false, "");
    world_deinit(&w);
}

/* --- over a lost link
 * ----------------------------------------------------------------------------- */

static void what_the_application_holds_is_not_shown_again_after_a_new_link(void **state UNUSED)
{
    struct world w;
    uint32_t s;

    world_init(&w);
    link_up(&w);
    s = follow(&w, "d");
    comes(&w, s, 1);
    comes(&w, s, 2);
    comes(&w, s, 3);
    lose_link(&w);
    settle(&w, s, 2, AICO_EINVAL, "wrong");
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 0); /* to nobody */
    link_with(&w, WINDOW, 0);
    settle(&w, s, 3, 0, ""); /* of the former session: this one has not handed it out */
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);

    comes(&w, s, 1);
    pull(&w);
    assert_int_equal(shown(&w), 3);
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);
    settle(&w, s, 1, 0, "");
    expect_settled(&w, 1, 0, false, "");
    forget_out(&w);
    comes(&w, s, 2);
    pull(&w);
    expect_settled(&w, 2, AICO_EINVAL, false, "wrong");
    forget_out(&w);
    comes(&w, s, 3);
    pull(&w);
    expect_settled(&w, 3, 0, false, "");
    assert_int_equal(shown(&w), 3);
    world_deinit(&w);
}

/* Of a nameless reader nobody but us knows what is still to come. What was handed out as often as
 * it may be does not come. */
static void what_is_wanted_again_is_not_passed_over_by_a_new_link(void **state UNUSED)
{
    const struct {
        bool is_down; /* when it is wanted again */
        uint16_t attempts, from;
    } cases[] = {{false, 0, 2}, {true, 0, 2}, {false, 2, 2}, {false, 1, 4}};

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world w;
        uint32_t s;

        world_init(&w);
        link_up(&w);
        s = follow_as(&w, (struct follow_request){.filter = bytes_text("**"),
                                                  .start = FOLLOW_ALL,
                                                  .attempts = cases[i].attempts});
        for (uint64_t number = 1; number <= 3; number++)
            comes(&w, s, number);
        settle(&w, s, 1, 0, "");
        if (cases[i].is_down)
            lose_link(&w);
        settle(&w, s, 2, AICO_ESTATE, "");
        settle(&w, s, 2, 0, ""); /* there is nothing to settle until it comes */
        settle(&w, s, 3, 0, "");
        if (!cases[i].is_down)
            lose_link(&w);
        link_with(&w, WINDOW, 0);
        assert_int_equal(sent(&w, RECORD_FOLLOW, 0)->start, FOLLOW_NUMBER);
        assert_int_equal(sent(&w, RECORD_FOLLOW, 0)->value, cases[i].from);
        forget_told(&w);
        comes(&w, s, 2);
        assert_int_equal(shown(&w), 1);
        /* The broker counts anew, and the application has had it. */
        assert_int_equal(told(&w, AICO_MESSAGE_EVENT)->attempt, cases[i].attempts == 1 ? 1 : 2);
        settle(&w, s, 2, 0, "");
        expect_settled(&w, 2, 0, false, "");
        comes(&w, s, 3);
        assert_int_equal(shown(&w), 1);
        world_deinit(&w);
    }
}

/* Handed out before its key was here, and again, marked, with the key: who had the second does not
 * get the first behind it, which bears no mark, nor is it told that the first did not open. */
static void
an_earlier_copy_that_waits_for_its_key_is_not_shown_behind_a_later_one(void **state UNUSED)
{
    const int codes[] = {0, AICO_EKEY, AICO_EOPEN};

    for (size_t i = 0; i < COUNT_OF(codes); i++) {
        struct record_item item = {.number = 1, .topic = G_X};
        CLEANUP(buffer_deinit)
        struct buffer json = {0};
        struct world w;

        world_init(&w);
        link_up(&w);
        item.subscription = follow(&w, "");
        fake.by_hand = true;
        say_item(&w, item, "AICO-MSGtext");
        lose_link(&w);
        link_with(&w, WINDOW, 0);
        fake.by_hand = true;
        item.attempt = 2;
        say_item(&w, item, "AICO-MSGtext");
        fake_opens(1, 0);
        pass(&w, 0);
        assert_int_equal(shown(&w), 1);
        settle(&w, item.subscription, 1, AICO_ESTATE, ""); /* it wants it once more, marked */
        forget_out(&w);
        if (codes[i] == 0)
            fake_opens(0, 0);
        else
            fake_fails(0, codes[i]);
        pass(&w, 0);
        pull(&w);
        assert_int_equal(shown(&w), 1);
        assert_int_equal(told_count(&w, AICO_MESSAGE_UNOPENED), 0);
        assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);
        assert_int_equal(client_ledger(w.client, &json), 0);
        assert_non_null(
            memmem(json.at, json.size, "\"received\":1,\"kept\":0,\"repeated\":1,", 35));
        world_deinit(&w);
    }
}

/* Both waited, and both are shown, as they came: the second bears the mark. */
static void copies_that_wait_for_the_same_key_are_shown_in_their_order(void **state UNUSED)
{
    struct record_item item = {.number = 1, .topic = G_X};
    struct world w;

    world_init(&w);
    link_up(&w);
    item.subscription = follow(&w, "d");
    fake.by_hand = true;
    say_item(&w, item, "AICO-MSGtext");
    item.attempt = 2;
    say_item(&w, item, "AICO-MSGtext");
    fake_opens(0, 0);
    fake_opens(1, 0);
    pass(&w, 0);
    assert_int_equal(shown(&w), 2);
    assert_int_equal(w.told[w.told_count - 2]->attempt, 1);
    assert_int_equal(w.told[w.told_count - 1]->attempt, 2);
    world_deinit(&w);
}

/* The broker may say it again for as long as it has not heard; we remember a bounded number. */
static void the_books_have_what_came_and_what_came_again(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer json = {0};
    uint32_t subscription;
    struct world w;

    world_init(&w);
    link_up(&w);
    subscription = follow(&w, "");
    comes(&w, subscription, 1);
    settle(&w, subscription, 1, 0, "");
    comes(&w, subscription, 1);
    assert_int_equal(shown(&w), 1);
    assert_int_equal(client_ledger(w.client, &json), 0);
    assert_non_null(memmem(json.at, json.size, "\"received\":1,\"kept\":0,\"repeated\":1,", 35));
    world_deinit(&w);
}

static void the_oldest_settled_ones_are_forgotten(void **state UNUSED)
{
    const uint64_t kept = 8192;
    struct world w;
    uint32_t s;

    world_init(&w);
    link_up(&w);
    s = follow(&w, "");
    comes(&w, s, 1); /* open all the time: it is not forgotten */
    for (uint64_t i = 2; i <= kept + 2; i++) {
        comes(&w, s, i);
        forget_told(&w);
        settle(&w, s, i, 0, "");
    }
    comes(&w, s, 3);
    pull(&w);
    assert_int_equal(shown(&w), 0);
    comes(&w, s, 2);
    assert_int_equal(shown(&w), 1);
    assert_int_equal(told(&w, AICO_MESSAGE_EVENT)->attempt, 2); /* it may be a repetition */
    comes(&w, s, kept + 3);
    assert_int_equal(shown(&w), 2);
    settle(&w, s, 1, 0, "");
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 1);
    world_deinit(&w);
}

/* --- what does not reach the application
 * ---------------------------------------------------------- */

static void what_does_not_open_is_told_to_the_broker(void **state UNUSED)
{
    struct record_item item = {.number = 1, .topic = G_X};
    struct world w;

    world_init(&w);
    link_up(&w);
    item.subscription = follow(&w, "d");
    fake.by_hand = true;
    forget_out(&w);
    say_item(&w, item, "AICO-MSGtext");
    fake_fails(0, AICO_EOPEN);
    pass(&w, 0);
    pull(&w);
    expect_settled(&w, 1, AICO_EOPEN, false, aico_error_string(AICO_EOPEN));
    assert_int_equal(told(&w, AICO_MESSAGE_UNOPENED)->code, AICO_EOPEN);
    world_deinit(&w);
}

/* Its key may come later: the item stays at the broker, and the application hears of it once,
 * however often it was handed to a process before. */
static void an_item_whose_key_is_missing_stays_where_it_is(void **state UNUSED)
{
    struct record_item item = {.number = 1, .topic = G_X};

    for (uint16_t first = 1; first <= 2; first++) {
        struct world w;

        world_init(&w);
        link_up(&w);
        item.subscription = follow(&w, "d");
        fake.by_hand = true;
        forget_out(&w);
        for (uint16_t i = 0; i < 2; i++) {
            item.attempt = first + i;
            say_item(&w, item, "AICO-MSGtext");
            fake_fails(i, AICO_EKEY);
            pass(&w, 0);
            pull(&w);
            assert_int_equal(told_count(&w, AICO_MESSAGE_UNOPENED), 1);
        }
        assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);
        world_deinit(&w);
    }
}

static void what_should_have_been_sealed_is_not_shown_in_clear(void **state UNUSED)
{
    struct world w;
    uint32_t s;

    world_init(&w);
    link_up(&w);
    s = follow(&w, "");
    forget_out(&w);
    say_item(&w, (struct record_item){.subscription = s, .number = 1, .topic = G_X}, "text");
    pull(&w);
    assert_int_equal(shown(&w), 0);
    expect_settled(&w, 1, AICO_EDENIED, false, aico_error_string(AICO_EDENIED));
    world_deinit(&w);
}

static void a_large_item_comes_in_pieces(void **state UNUSED)
{
    struct record_item item = {.number = 1, .topic = N_X, .fragment = true, .total = 8};
    struct world w;

    world_init(&w);
    link_up(&w);
    item.subscription = follow(&w, "");
    say_item(&w, item, "half");
    assert_int_equal(shown(&w), 0);
    item.offset = 4;
    say_item(&w, item, "full");
    assert_int_equal(shown(&w), 1);
    assert_memory_equal(told(&w, AICO_MESSAGE_EVENT)->payload, "halffull", 8);
    world_deinit(&w);
}

/* It could not be settled, and would be shown again to the next reader. */
static void an_item_of_an_ended_reader_is_not_shown(void **state UNUSED)
{
    struct record_item item = {.number = 3, .topic = G_X};
    struct ended ended = {0};
    struct world w;
    uint32_t s;

    world_init(&w);
    link_up(&w);
    s = item.subscription = follow(&w, "");
    fake.by_hand = true;
    say_item(&w, item, "AICO-MSGtext"); /* opens later: its key is on its way */
    client_unsubscribe(w.client, w.now, s, 1000, &ended);
    pull(&w);
    forget_out(&w);
    comes(&w, s, 1); /* the broker had not heard of that yet */
    say_item(&w, item, "AICO-MSGtext");
    assert_int_equal(fake.given_count, 1);
    fake_opens(0, 0);
    pass(&w, 0);
    pull(&w);
    assert_int_equal(shown(&w), 0);
    assert_int_equal(sent_count(&w, RECORD_SETTLE), 0);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_follow_says_what_is_wanted),
        cmocka_unit_test(a_follow_that_is_too_much_at_once_is_asked_for_again),
        cmocka_unit_test(a_follow_that_is_refused_is_over),
        cmocka_unit_test(a_reader_without_a_name_goes_on_behind_what_it_has_settled),
        cmocka_unit_test(the_broker_hears_done_rejected_and_again),
        cmocka_unit_test(what_nobody_has_is_not_settled),
        cmocka_unit_test(a_batch_is_settled_when_all_of_it_is),
        cmocka_unit_test(one_that_came_again_before_it_was_settled_is_settled_twice),
        cmocka_unit_test(what_the_application_holds_is_not_shown_again_after_a_new_link),
        cmocka_unit_test(what_is_wanted_again_is_not_passed_over_by_a_new_link),
        cmocka_unit_test(an_earlier_copy_that_waits_for_its_key_is_not_shown_behind_a_later_one),
        cmocka_unit_test(copies_that_wait_for_the_same_key_are_shown_in_their_order),
        cmocka_unit_test(the_books_have_what_came_and_what_came_again),
        cmocka_unit_test(the_oldest_settled_ones_are_forgotten),
        cmocka_unit_test(what_does_not_open_is_told_to_the_broker),
        cmocka_unit_test(an_item_whose_key_is_missing_stays_where_it_is),
        cmocka_unit_test(what_should_have_been_sealed_is_not_shown_in_clear),
        cmocka_unit_test(a_large_item_comes_in_pieces),
        cmocka_unit_test(an_item_of_an_ended_reader_is_not_shown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
