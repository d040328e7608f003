/* SPDX-License-Identifier: Apache-2.0 */
/* When a publisher is told that its messages were routed. */
#include "world.h"

static struct world w;
static struct client *a, *b;

/* Both know the topics by number, so that nothing else comes for a publisher. */
static void begin(void)
{
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(a, "open/b");
    subscribe(b, "open/a");
    (void)publish(a, "open/a", "first");
    (void)publish(b, "open/b", "first");
    pump(&w);
    advance(&w, ACK_DELAY_MS);
    drop_items(a);
    drop_items(b);
}

static void expect_ack(struct client *c, uint64_t id)
{
    struct item *item = take(c, RECORD_ACK);

    assert_non_null(item);
    assert_true(item->id == id);
    item_free(item);
}

static void it_waits_for_others_of_its_publisher_but_not_for_long(void **state UNUSED)
{
    uint64_t id;

    begin();
    (void)publish(a, "open/a", "1");
    pump(&w);
    expect_delivered(b, "open/a", "a", "1");
    expect_nothing(a, RECORD_ACK);
    advance(&w, ACK_DELAY_MS - 1);
    id = publish(a, "open/a", "2");
    pump(&w);
    expect_nothing(a, RECORD_ACK);
    advance(&w, 1);
    expect_ack(a, id);
    expect_nothing(a, RECORD_ACK);
    assert_true(broker_deadline(w.broker) > w.now.boot_ms + ACK_DELAY_MS);
    world_deinit(&w);
}

static void it_goes_with_the_next_frame(void **state UNUSED)
{
    uint64_t id;

    begin();
    id = publish(a, "open/a", "question");
    pump(&w);
    expect_nothing(a, RECORD_ACK);
    (void)publish(b, "open/b", "answer");
    pump(&w);
    expect_ack(a, id);
    expect_delivered(a, "open/b", "b", "answer");
    expect_nothing(b, RECORD_ACK);
    world_deinit(&w);
}

static void who_asks_gets_it_before_the_answer(void **state UNUSED)
{
    struct writer frame;
    uint64_t id;

    begin();
    id = publish(a, "open/a", "1");
    frame = frame_begin();
    record_write_ping(&frame, 7);
    client_send(a, &frame);
    pump(&w);
    assert_non_null(a->items);
    assert_int_equal(a->items->type, RECORD_ACK);
    expect_ack(a, id);
    expect_nothing(a, RECORD_ACK);
    world_deinit(&w);
}

static void who_publishes_much_does_not_wait(void **state UNUSED)
{
    uint64_t id = 0;

    begin();
    for (int i = 0; i < 7; i++)
        (void)publish(a, "open/a", "little");
    pump(&w);
    expect_nothing(a, RECORD_ACK);
    id = publish(a, "open/a", "many");
    pump(&w);
    expect_ack(a, id);
    id = publish_size(a, "open/a", 16 * 1024);
    pump(&w);
    expect_ack(a, id);
    world_deinit(&w);
}

static void a_goodbye_comes_after_it(void **state UNUSED)
{
    uint64_t id;

    begin();
    id = publish(a, "open/a", "last");
    pump(&w);
    expect_nothing(a, RECORD_ACK);
    assert_true(broker_kick(w.broker, w.now, bytes_text("a"), AICO_EKICKED, "go"));
    pump(&w);
    assert_non_null(a->items);
    assert_int_equal(a->items->type, RECORD_ACK);
    expect_ack(a, id);
    assert_int_equal(count_items(a, RECORD_BYE), 1);
    world_deinit(&w);
}

static void nobody_is_owed_one_who_has_left(void **state UNUSED)
{
    begin();
    (void)publish(a, "open/a", "last");
    (void)publish(b, "open/b", "last");
    client_lose_link(a);
    pump(&w);
    advance(&w, 2 * ACK_DELAY_MS);
    assert_int_equal(count_items(b, RECORD_ACK), 1);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_waits_for_others_of_its_publisher_but_not_for_long),
        cmocka_unit_test(it_goes_with_the_next_frame),
        cmocka_unit_test(who_asks_gets_it_before_the_answer),
        cmocka_unit_test(who_publishes_much_does_not_wait),
        cmocka_unit_test(a_goodbye_comes_after_it),
        cmocka_unit_test(nobody_is_owed_one_who_has_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
