/* SPDX-License-Identifier: Apache-2.0 */
/* Which envelopes of a frame are looked at before the first of them is handed to the sessions, and
 * how publishers make them so that there are several. */
#include "sanitized.h"
#include "world.h"

#include "base/pool.h"
#include "client/internal.h"
#include "crypto/kdf.h"

#define SIZE 1000

/* @letter stands where the sessions find it. */
static void write_large(struct writer *f, struct record_deliver d, char letter)
{
    static char text[SIZE + 1];

    memset(text, letter, SIZE);
    memcpy(text, "AICO-MSG", 8);
    if (d.topic == 0 && d.topic_name.size == 0)
        d.topic = 10;
    write_deliver(f, d, text);
}

static void open_world(struct world *w)
{
    world_init(w);
    link_up(w);
    (void)subscribe(w, "g/**");
    forget_out(w);
}

#define assert_looked(expected)                                                                    \
    assert_string_equal(fake.looked, hash_many_is_fast() ? (expected) : "")

static void envelopes_of_a_frame_are_hashed_together(void **state UNUSED)
{
    struct writer f = script();
    struct world w;

    open_world(&w);
    for (char letter = 'a'; letter <= 'f'; letter++)
        write_large(&f, (struct record_deliver){.topic = letter % 2 ? 10 : 13}, letter);
    assert_int_equal(say(&w, &f), 0);
    assert_looked("abcd|ef|");
    assert_int_equal(fake.given_count, 6);
    assert_int_equal(fake.ahead, 0); /* when the frame goes, nothing points there */
    world_deinit(&w);
}

static void only_what_will_be_hashed_is_looked_at(void **state UNUSED)
{
    struct writer f = script();
    struct world w;

    open_world(&w);
    write_large(&f, (struct record_deliver){0}, 'a');
    write_large(&f, (struct record_deliver){.topic = 11, .direct = true}, 'b');
    write_deliver(&f, (struct record_deliver){.topic = 10}, "AICO-MSGc, short");
    write_large(&f, (struct record_deliver){.kept = true, .delivery = DELIVERY_RETAINED}, 'd');
    write_large(&f, (struct record_deliver){.topic_name = bytes_text("g/z")}, 'e');
    record_write_topic(&f, 20, bytes_text("g/w"));
    write_large(&f, (struct record_deliver){.topic = 20}, 'f'); /* a number of this frame */
    write_large(&f, (struct record_deliver){0}, 'g');
    assert_int_equal(say(&w, &f), 0);
    assert_looked("ag|");
    assert_int_equal(fake.ahead, 0);
    world_deinit(&w);
}

/* Nothing is there that could be hashed with it. */
static void one_alone_is_not_looked_at(void **state UNUSED)
{
    struct writer f = script();
    struct world w;

    open_world(&w);
    write_deliver(&f, (struct record_deliver){.topic = 10}, "AICO-MSGshort");
    write_large(&f, (struct record_deliver){0}, 'a');
    write_deliver(&f, (struct record_deliver){.topic = 10}, "AICO-MSGshort");
    assert_int_equal(say(&w, &f), 0);
    assert_looked("");
    assert_int_equal(fake.given_count, 3);
    world_deinit(&w);
}

/* In the middle of a frame the link is over: what was looked at is forgotten as well. */
static void a_frame_that_breaks_off_is_forgotten(void **state UNUSED)
{
    for (int how = 0; how < 2; how++) {
        struct writer f = script();
        struct world w;

        open_world(&w);
        write_large(&f, (struct record_deliver){0}, 'a');
        if (how == 0)
            record_write_bye(&f, &(struct record_bye){0});
        else
            write_large(&f, (struct record_deliver){.sender = 99}, 'x'); /* of nobody */
        write_large(&f, (struct record_deliver){0}, 'b');
        assert_true(say(&w, &f) < 0);
        assert_looked("ab|");
        assert_int_equal(fake.given_count, 1);
        assert_int_equal(fake.ahead, 0);
        world_deinit(&w);
    }
}

/* A frame that is full has as many as are hashed at once, of about one size. */
static void what_readers_hash_is_sealed_in_parts_of_a_frame(void **state UNUSED)
{
    for (int hash = 0; hash < 2; hash++) {
        char text[201] = "";
        size_t least = SIZE_MAX, most = 0, messages = 0, count;
        struct world w;

        open_world(&w);
        fake.form.is_hashed = hash;
        memset(text, 'x', 200);
        for (int i = 0; i < 400; i++) /* more than a frame holds */
            publish(&w, "g/x", text);
        pull(&w);
        count = sent_count(&w, RECORD_PUBLISH);
        assert_int_equal(fake.unproven, 0);
        if (hash)
            assert_true(count >= HASHES_AT_ONCE);
        for (size_t i = 0; i < (hash ? HASHES_AT_ONCE : 1); i++) {
            size_t size = sent(&w, RECORD_PUBLISH, i)->size;

            least = MIN(least, size);
            most = MAX(most, size);
            messages += sent(&w, RECORD_PUBLISH, i)->publish.count;
        }
        assert_true(hash ? most < FRAME_BATCH_SIZE / HASHES_AT_ONCE : most > FRAME_BATCH_SIZE / 2);
        assert_true(least > most * 9 / 10);
        assert_true(messages * 201 > FRAME_BATCH_SIZE * (hash ? 9 : 6) / 10);
        /* Nothing is sealed for the little that is left of the first frame. */
        assert_true(sent(&w, RECORD_PUBLISH, hash ? HASHES_AT_ONCE : 2)->size > 1000);
        world_deinit(&w);
    }
}

/* Each part is answered for its own messages. */
static void a_part_that_is_refused_is_refused_alone(void **state UNUSED)
{
    char text[201] = "";
    struct world w;
    uint64_t first = 0, refused = 0;
    size_t before, count;

    open_world(&w);
    fake.form.is_hashed = true;
    memset(text, 'x', 200);
    for (int i = 0; i < 300; i++) {
        uint64_t id = publish(&w, "g/x", text);

        first = i == 0 ? id : first;
    }
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), HASHES_AT_ONCE);
    before = sent(&w, RECORD_PUBLISH, 0)->publish.count;
    count = sent(&w, RECORD_PUBLISH, 1)->publish.count;
    say_refuse(&w, sent(&w, RECORD_PUBLISH, 1)->id, AICO_EDENIED);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), count);
    for (size_t i = 0; i < w.told_count; i++)
        if (w.told[i]->kind == AICO_MESSAGE_REFUSED)
            assert_int_equal(w.told[i]->id, first + before + refused++);
    say_ack(&w, sent(&w, RECORD_PUBLISH, HASHES_AT_ONCE - 1)->id);
    assert_int_equal(client_unacknowledged(w.client), 0);
    expect_balance(&w);
    world_deinit(&w);
}

/* However much waits, no envelope has more than the largest message. */
static void parts_keep_to_the_largest_message_size(void **state UNUSED)
{
    struct client_settings settings = world_settings();
    char text[201] = "";
    struct world w;
    size_t messages = 0;

    settings.session.max_message_size = 2000;
    world_init_with(&w, &settings);
    link_up(&w);
    fake.form.is_hashed = true;
    memset(text, 'x', 200);
    for (int i = 0; i < 300; i++)
        publish(&w, "g/x", text);
    for (int i = 0; i < 20 && messages < 300; i++) {
        pull(&w);
        messages = 0;
        for (size_t k = 0; k < sent_count(&w, RECORD_PUBLISH); k++) {
            const struct out *out = sent(&w, RECORD_PUBLISH, k);

            assert_true(out->size <= 2000);
            messages += out->publish.count ? out->publish.count : 1;
        }
    }
    assert_int_equal(messages, 300);
    world_deinit(&w);
}

static void publish_of(struct world *w, size_t size)
{
    static char text[20001];

    memset(text, 'x', size);
    text[size] = '\0';
    publish(w, "g/x", text);
}

/* In a batch it would be too large, and what waits behind it with it. */
static void the_largest_message_is_sealed_alone(void **state UNUSED)
{
    struct client_settings settings = world_settings();
    struct world w;

    settings.session.max_message_size = 16384;
    world_init_with(&w, &settings);
    link_up(&w);
    fake.form.is_hashed = true;
    fake.content_max = 16384;
    publish_of(&w, 16384);
    for (int i = 0; i < 30; i++)
        publish_of(&w, 10);
    pull(&w);
    assert_int_equal(told_count(&w, AICO_MESSAGE_REFUSED), 0);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 2);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 0)->publish.count, 0);
    assert_int_equal(sent(&w, RECORD_PUBLISH, 1)->publish.count, 30);
    world_deinit(&w);
}

/* A long message makes a part by itself; nothing short is one. */
static void no_part_is_short_beside_a_long_message(void **state UNUSED)
{
    struct world w;

    open_world(&w);
    fake.form.is_hashed = true;
    publish_of(&w, 12000);
    for (int i = 0; i < 30; i++)
        publish_of(&w, 10);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 1);
    forget_out(&w);
    publish_of(&w, 12000);
    publish_of(&w, 13000);
    for (int i = 0; i < 30; i++)
        publish_of(&w, 10);
    publish_of(&w, 14000);
    pull(&w);
    assert_int_equal(sent_count(&w, RECORD_PUBLISH), 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(sent(&w, RECORD_PUBLISH, i)->size > 12000);
    world_deinit(&w);
}

/* A batch that waited for its key comes when nobody listens any more: it is wiped where it lies.
 * (The sanitizer does not let us look.) */
static void a_batch_that_nobody_gets_is_wiped(void **state UNUSED)
{
    struct pool_taker taker = {0};
    struct world w;
    uint8_t *block = pool_take(&taker, 9000);
    uint32_t number;

    world_init(&w);
    w.client->host.takes_bundles = true;
    link_up(&w);
    number = subscribe(&w, "g/**");
    fake.by_hand = true;
    say_deliver(&w, (struct record_deliver){.topic = 10, .count = 2}, "AICO-MSGbatch");
    client_unsubscribe(w.client, w.now, number, 1000, NULL);
    memset(block, 'p', 9000);
    fake.batch = block;
    fake_push((struct session_event){.type = SESSION_MESSAGE,
                                     .delivery = DELIVERY_EVENT,
                                     .batch = bytes_of(block + 4, 8000),
                                     .batch_count = 2,
                                     .cookie = fake.given[0].cookie},
              fake.given[0].peer, fake.given[0].topic, "");
    pass(&w, 1);
    assert_null(fake.batch);
    assert_int_equal(told_count(&w, AICO_MESSAGE_EVENT), 0);
#if !IS_SANITIZED
    for (size_t i = 4; i < 8004; i++)
        assert_int_equal(((volatile uint8_t *)block)[i], 0);
#endif
    expect_balance(&w);
    world_deinit(&w);
    pool_taker_deinit(&taker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(envelopes_of_a_frame_are_hashed_together),
        cmocka_unit_test(only_what_will_be_hashed_is_looked_at),
        cmocka_unit_test(one_alone_is_not_looked_at),
        cmocka_unit_test(a_frame_that_breaks_off_is_forgotten),
        cmocka_unit_test(what_readers_hash_is_sealed_in_parts_of_a_frame),
        cmocka_unit_test(a_part_that_is_refused_is_refused_alone),
        cmocka_unit_test(parts_keep_to_the_largest_message_size),
        cmocka_unit_test(the_largest_message_is_sealed_alone),
        cmocka_unit_test(no_part_is_short_beside_a_long_message),
        cmocka_unit_test(a_batch_that_nobody_gets_is_wiped),
    };

    if (crypto_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
