/* SPDX-License-Identifier: Apache-2.0 */
/* What durable readers have settled, over restarts: a broker that gives it again is noticed. */
#include "world.h"

#include "client/message.h"

#define G_X 10 /* topic number of say_welcome() */
#define ROWS_MAX 64
#define HOLES 600 /* more than are kept of what may have gone */

static const uint8_t bob_key[SIGN_PUBLIC_SIZE] = {7};

/* --- a disk ----------------------------------------------------------------------------------- */

struct row {
    uint8_t key[400], value[16384];
    size_t key_size, value_size;
};

struct disk {
    struct row rows[ROWS_MAX];
    size_t count, commits;
    int code; /* of what is done next */
};

static int disk_load(void *context, int (*take)(void *to, struct bytes key, struct bytes value),
                     void *to, struct aico_error *err)
{
    struct disk *disk = context;
    int r = disk->code;

    for (size_t i = 0; r == 0 && i < disk->count; i++)
        r = take(to, bytes_of(disk->rows[i].key, disk->rows[i].key_size),
                 bytes_of(disk->rows[i].value, disk->rows[i].value_size));
    return r < 0 ? aico_error_set(err, r, "the disk said so") : 0;
}

static struct row *disk_row(struct disk *disk, struct bytes key)
{
    for (size_t i = 0; i < disk->count; i++)
        if (bytes_equal(bytes_of(disk->rows[i].key, disk->rows[i].key_size), key))
            return &disk->rows[i];
    assert_true(disk->count < ROWS_MAX);
    bytes_copy(disk->rows[disk->count].key, key);
    disk->rows[disk->count].key_size = key.size;
    return &disk->rows[disk->count++];
}

static int disk_commit(void *context, const struct keep_change *changes, size_t count,
                       struct aico_error *err)
{
    struct disk *disk = context;

    if (disk->code < 0)
        return aico_error_set(err, disk->code, "the disk said so");
    disk->commits++;
    for (size_t i = 0; i < count; i++) {
        struct row *row = disk_row(disk, changes[i].key);

        if (changes[i].value.at) {
            bytes_copy(row->value, changes[i].value);
            row->value_size = changes[i].value.size;
        } else {
            *row = disk->rows[--disk->count];
        }
    }
    return 0;
}

/* --- a durable reader ------------------------------------------------------------------------- */

struct reading {
    struct world w;
    struct keeper keeper;
    uint32_t subscription;
};

static int try_follow(struct world *w, const char *durable, uint32_t *ret_subscription)
{
    struct follow_request request = {.filter = bytes_text("g/*"),
                                     .durable = bytes_text(durable),
                                     .start = FOLLOW_ALL,
                                     .deadline_ms = 30000,
                                     .attempts = 10,
                                     .window = 256};
    struct ended ended = {0};
    struct out *out;

    forget_out(w);
    client_follow(w->client, w->now, &request, 1000, &ended);
    pull(w);
    out = sent(w, RECORD_FOLLOW, 0);
    if (out)
        say_ok(w, out->id, out->subscription);
    assert_true(ended.ended);
    *ret_subscription = ended.subscription;
    return ended.code;
}

static void start(struct reading *r, struct disk *disk, const char *durable)
{
    struct client_settings settings = world_settings();

    r->keeper = (struct keeper){disk, disk_load, disk_commit};
    settings.replay = &r->keeper;
    world_init_with(&r->w, &settings);
    link_up(&r->w);
    assert_int_equal(try_follow(&r->w, durable, &r->subscription), 0);
    fake.by_hand = true;
    forget_out(&r->w);
}

static void stop(struct reading *r)
{
    world_deinit(&r->w);
}

/* The broker gives envelope @sequence of @generation as its message @number. */
static void item_until(struct reading *r, uint64_t number, uint64_t generation, uint32_t sequence,
                       uint64_t once, int64_t until_ms)
{
    struct writer f = script();
    struct session_event event = {.type = SESSION_MESSAGE,
                                  .identity = bob_key,
                                  .delivery = DELIVERY_STREAM,
                                  .sequence = sequence,
                                  .generation = generation,
                                  .once = once,
                                  .until_ms = until_ms};
    struct writer ref = writer_over(event.ref + 12, 4);
    struct given *g;

    writer_u32(&ref, sequence);
    record_write_item(&f, &(struct record_item){.delivery = DELIVERY_STREAM,
                                                .subscription = r->subscription,
                                                .number = number,
                                                .attempt = 1,
                                                .id = 1,
                                                .topic = G_X,
                                                .sender = 5,
                                                .total = 12,
                                                .payload = bytes_text("AICO-MSGtext")});
    assert_int_equal(say(&r->w, &f), 0);
    g = &fake.given[fake.given_count - 1];
    event.cookie = g->cookie;
    fake_push(event, g->peer, g->topic, g->text);
    g->cookie = NULL;
    client_tick(r->w.client, r->w.now);
}

static void item(struct reading *r, uint64_t number, uint64_t generation, uint32_t sequence,
                 uint64_t once)
{
    item_until(r, number, generation, sequence, once, 0);
}

static void settle(struct reading *r, uint64_t number)
{
    client_settle(r->w.client, r->subscription, number, 0, bytes_of(NULL, 0));
    pull(&r->w);
}

static size_t shown(struct reading *r)
{
    return told_count(&r->w, AICO_MESSAGE_EVENT);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void what_was_settled_is_not_shown_again_after_both_ends_restarted(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;

    start(&r, &disk, "d");
    for (uint32_t i = 0; i < 5; i++) {
        item(&r, 10 + i, 1, i, 0);
        if (i != 3)
            settle(&r, 10 + i);
    }
    assert_int_equal(shown(&r), 5);
    stop(&r);

    start(&r, &disk, "d");
    item(&r, 11, 1, 1, 0);  /* under its number */
    item(&r, 900, 1, 2, 0); /* under another one */
    pull(&r.w);
    assert_int_equal(shown(&r), 0);
    assert_int_equal(told(&r.w, AICO_MESSAGE_STATE)->code, AICO_EREPLAY);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 2); /* an honest one is told again */
    item(&r, 13, 1, 3, 0);
    item(&r, 15, 1, 5, 0);
    item(&r, 16, 2, 0, 0);
    assert_int_equal(shown(&r), 3); /* what was not settled, and what is new */
    stop(&r);
}

static void the_disk_has_it_before_the_broker_hears_of_it(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;

    start(&r, &disk, "d");
    item(&r, 10, 1, 0, 0);
    client_settle(r.w.client, r.subscription, 10, 0, bytes_of(NULL, 0));
    assert_int_equal(disk.commits, 0);
    pull(&r.w);
    assert_int_equal(disk.commits, 1);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 1);
    stop(&r);
}

static void miss(struct reading *r, uint64_t token, bool one, uint64_t number, int code)
{
    struct writer f = script();

    record_write_missed(&f, &(struct record_missed){.cause = (uint16_t)-code,
                                                    .one = one,
                                                    .subscription = r->subscription,
                                                    .token = token,
                                                    .attempt = 1,
                                                    .sender = 5,
                                                    .topic = G_X,
                                                    .count = 3,
                                                    .number = number});
    assert_int_equal(say(&r->w, &f), 0);
    pull(&r->w);
}

static void a_loss_is_told_once_and_answered_when_it_was_taken(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;
    struct missed_place place;

    start(&r, &disk, "d");
    miss(&r, 7, false, 40, AICO_ERETENTION);
    assert_int_equal(told_count(&r.w, AICO_MESSAGE_GAP), 1);
    assert_int_equal(told(&r.w, AICO_MESSAGE_GAP)->count, 3);
    assert_int_equal(told(&r.w, AICO_MESSAGE_GAP)->code, AICO_ERETENTION);
    assert_int_equal(told(&r.w, AICO_MESSAGE_GAP)->attempt, 1);
    assert_int_equal(told(&r.w, AICO_MESSAGE_GAP)->number, 0); /* nothing to settle */
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 0);
    miss(&r, 7, false, 40, AICO_ERETENTION); /* again, before it was taken */
    assert_int_equal(told_count(&r.w, AICO_MESSAGE_GAP), 1);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 0);
    place = *message_missed((struct aico_message *)(uintptr_t)told(&r.w, AICO_MESSAGE_GAP));
    client_missed_taken(r.w.client, &place);
    pull(&r.w);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 1);
    assert_int_equal(sent(&r.w, RECORD_SETTLE, 0)->id, 7);
    miss(&r, 7, false, 40, AICO_ERETENTION); /* the broker had not heard of it */
    assert_int_equal(told_count(&r.w, AICO_MESSAGE_GAP), 1);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 2);
    stop(&r);
}

/* Removed while its reader had it: that is no loss, and is said when it is settled. */
static void what_the_application_has_is_not_missing(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;

    start(&r, &disk, "d");
    item(&r, 10, 1, 0, 0);
    item(&r, 11, 1, 1, 0);
    settle(&r, 11);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 1);
    miss(&r, 7, true, 10, AICO_EEXPIRED);
    miss(&r, 8, true, 11, AICO_EEXPIRED);
    assert_int_equal(told_count(&r.w, AICO_MESSAGE_GAP), 0);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 2); /* of the second, which is done with */
    settle(&r, 10);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 4);
    assert_int_equal(sent(&r.w, RECORD_SETTLE, 3)->id, 7);
    miss(&r, 9, true, 12, AICO_EEXPIRED); /* never came here */
    assert_int_equal(told_count(&r.w, AICO_MESSAGE_GAP), 1);
    stop(&r);
}

static void a_void_item_is_named_and_settled(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;

    start(&r, &disk, "d");
    item_until(&r, 10, 1, 0, 0, 1);
    pull(&r.w);
    assert_int_equal(shown(&r), 0);
    assert_int_equal(told(&r.w, AICO_MESSAGE_GAP)->code, AICO_EEXPIRED);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 1);
    assert_int_equal(sent(&r.w, RECORD_SETTLE, 0)->id, 10);
    stop(&r);
}

static void who_is_not_durable_begins_anew(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;

    for (int run = 0; run < 2; run++) {
        start(&r, &disk, "");
        item(&r, 10, 1, 0, 0);
        settle(&r, 10);
        assert_int_equal(shown(&r), 1);
        stop(&r);
    }
    assert_int_equal(disk.count, 0);
}

static void durable_readers_are_apart(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;

    start(&r, &disk, "d");
    item(&r, 10, 1, 0, 0);
    settle(&r, 10);
    stop(&r);
    start(&r, &disk, "e");
    item(&r, 10, 1, 0, 0);
    assert_int_equal(shown(&r), 1);
    stop(&r);
}

/* The publisher was killed, sends again under another seal, and the reader was restarted as well.
 */
static void a_repetition_of_an_outbox_is_known_after_a_restart(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;

    start(&r, &disk, "d");
    item(&r, 10, 1, 0, 100);
    item(&r, 11, 1, 1, 101);
    settle(&r, 10);
    settle(&r, 11);
    stop(&r);
    start(&r, &disk, "d");
    item(&r, 12, 2, 0, 101);
    pull(&r.w);
    item(&r, 13, 2, 1, 102);
    assert_int_equal(shown(&r), 1);
    assert_int_equal(sent_count(&r.w, RECORD_SETTLE), 1);
    settle(&r, 13);
    stop(&r);
    start(&r, &disk, "d"); /* and the repetition counts as settled itself */
    item(&r, 12, 2, 0, 101);
    assert_int_equal(shown(&r), 0);
    stop(&r);
}

static void a_reader_that_is_forgotten_begins_anew(void **state UNUSED)
{
    static const char json[] = "{\"forgotten\":true}";
    struct disk disk = {0};
    struct ended ended = {0};
    struct writer f;
    struct reading r;

    start(&r, &disk, "d");
    item(&r, 10, 1, 0, 0);
    settle(&r, 10);
    forget_out(&r.w);
    client_query(r.w.client, r.w.now, bytes_text("forget"), bytes_text("d"), 1000, &ended);
    pull(&r.w);
    f = script();
    record_write_answer(&f, &(struct record_answer){.id = sent(&r.w, RECORD_QUERY, 0)->id,
                                                    .total = sizeof(json) - 1,
                                                    .piece = bytes_text(json)});
    assert_int_equal(say(&r.w, &f), 0);
    assert_int_equal(ended.code, 0);
    stop(&r);
    assert_int_equal(disk.count, 0);
    start(&r, &disk, "d");
    item(&r, 10, 1, 0, 0);
    assert_int_equal(shown(&r), 1);
    stop(&r);
}

/* Every second one is left with the application, which dies with them: they are no repetitions. */
static void what_the_application_holds_stays_open(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;

    start(&r, &disk, "d");
    for (uint32_t i = 0; i < 2 * HOLES; i++) {
        item(&r, 10 + i, 1 + i / HOLES, i, 0);
        if (i % 2 == 0)
            settle(&r, 10 + i);
        forget_out(&r.w);
    }
    assert_int_equal(shown(&r), 2 * HOLES);
    stop(&r);
    start(&r, &disk, "d");
    for (uint32_t i = 0; i < 2 * HOLES; i++) {
        item(&r, 10 + i, 1 + i / HOLES, i, 0);
        forget_out(&r.w);
    }
    assert_int_equal(shown(&r), HOLES);
    stop(&r);
}

/* Every second one never comes: far more holes than are remembered one by one. */
static void holes_are_remembered_up_to_a_bound(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;

    start(&r, &disk, "d");
    item(&r, 9, 1, 0, 0); /* the application holds it */
    for (uint32_t i = 1; i < HOLES; i++) {
        item(&r, 10 + i, 1, 2 * i, 0);
        settle(&r, 10 + i);
        forget_out(&r.w);
    }
    assert_int_equal(shown(&r), HOLES);
    stop(&r);
    start(&r, &disk, "d");
    item(&r, 11, 1, 2, 0); /* settled */
    item(&r, 12, 1, 3, 0); /* long ago a hole: given up */
    assert_int_equal(shown(&r), 0);
    item(&r, 9, 1, 0, 0);
    item(&r, 13, 1, 2 * HOLES - 1, 0);
    item(&r, 14, 1, 2 * HOLES - 3, 0);
    assert_int_equal(shown(&r), 3);
    stop(&r);
}

static void a_disk_that_fails_is_named(void **state UNUSED)
{
    struct disk disk = {0};
    struct reading r;
    uint32_t subscription;

    start(&r, &disk, "d");
    disk.code = AICO_EFULL;
    item(&r, 10, 1, 0, 0);
    settle(&r, 10);
    assert_int_equal(told(&r.w, AICO_MESSAGE_STATE)->code, AICO_EFULL);
    stop(&r);

    disk.code = 0;
    start(&r, &disk, "");
    disk.code = AICO_EKEPTDAMAGED;
    assert_int_equal(try_follow(&r.w, "d", &subscription), AICO_EKEPTDAMAGED);
    stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_settled_is_not_shown_again_after_both_ends_restarted),
        cmocka_unit_test(the_disk_has_it_before_the_broker_hears_of_it),
        cmocka_unit_test(a_loss_is_told_once_and_answered_when_it_was_taken),
        cmocka_unit_test(what_the_application_has_is_not_missing),
        cmocka_unit_test(a_void_item_is_named_and_settled),
        cmocka_unit_test(who_is_not_durable_begins_anew),
        cmocka_unit_test(durable_readers_are_apart),
        cmocka_unit_test(a_repetition_of_an_outbox_is_known_after_a_restart),
        cmocka_unit_test(a_reader_that_is_forgotten_begins_anew),
        cmocka_unit_test(what_the_application_holds_stays_open),
        cmocka_unit_test(holes_are_remembered_up_to_a_bound),
        cmocka_unit_test(a_disk_that_fails_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
