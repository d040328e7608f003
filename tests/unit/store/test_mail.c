/* SPDX-License-Identifier: Apache-2.0 */
/* Mailboxes in the message store: each has its own, what was taken is gone, what is void goes. */
#include "common.h"
#include "vectors.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/streams.h"

static char path[] = "/tmp/aico-mail-XXXXXX";
static const uint8_t alice[SIGN_PUBLIC_SIZE] = {1}, bob[SIGN_PUBLIC_SIZE] = {2},
                     carol[SIGN_PUBLIC_SIZE] = {3};

static struct streams *open_store(void)
{
    struct streams *s = NULL;
    struct aico_error err = {0};

    if (streams_open(path, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

/* Its number; 0: it was there. */
static uint64_t leave(struct streams *s, const uint8_t *receiver, uint64_t position,
                      int64_t expires_ms, uint64_t *ret_used)
{
    uint64_t number = 0;
    struct stored_mail mail = {
        .message = {.topic = bytes_text("mail/a"),
                    .identity = alice,
                    .sender = bytes_text("alice"),
                    .publish_id = position,
                    .stored_ms = 1000,
                    .scope = {7},
                    .position = position,
                    .payload = bytes_text("payload")},
        .receiver = receiver,
        .expires_ms = expires_ms,
    };

    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_mail_put(s, &mail, &number, ret_used, NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    return number;
}

static void take(struct streams *s, const uint8_t *receiver, uint64_t number)
{
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_mail_take(s, receiver, number, NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
}

struct seen {
    uint64_t numbers[64];
    size_t count;
};

static bool see(void *context, const struct stored_message *m)
{
    struct seen *seen = context;

    assert_true(bytes_equal_text(m->payload, "payload"));
    assert_true(bytes_equal_text(m->topic, "mail/a"));
    assert_true(bytes_equal_text(m->sender, "alice"));
    assert_int_equal(m->count, 1);
    seen->numbers[seen->count++] = m->number;
    return true;
}

/* What @receiver finds, three at a time. */
static struct seen look(struct streams *s, const uint8_t *receiver, int64_t now_ms)
{
    struct streams_query query = {
        .identities = bytes_of(receiver, SIGN_PUBLIC_SIZE), .count_max = 3, .bytes_max = 1 << 20};
    struct seen seen = {0};
    bool more = true;

    while (more)
        assert_int_equal(
            streams_mail_read(s, &query, now_ms, see, &seen, &query.after, &more, NULL), 0);
    return seen;
}

static uint64_t used_by(struct streams *s, const uint8_t *receiver)
{
    uint64_t used = 99;

    assert_int_equal(streams_mail_used(s, receiver, &used, NULL), 0);
    return used;
}

static void everybody_finds_his_own_in_order_until_he_has_taken_it(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t used, first;
    struct seen seen;

    first = leave(s, bob, 1, 5000, &used);
    assert_int_equal(used, 7);
    for (uint64_t i = 2; i <= 8; i++)
        (void)leave(s, i % 2 ? bob : carol, i, 5000, &used);
    assert_int_equal(used, 28);
    streams_close(&s);
    s = open_store();
    seen = look(s, bob, 1000);
    assert_int_equal(seen.count, 4);
    assert_int_equal(seen.numbers[0], first);
    assert_int_equal(look(s, carol, 1000).count, 4);
    assert_int_equal(look(s, alice, 1000).count, 0);
    take(s, carol, first); /* not his */
    assert_int_equal(used_by(s, bob), 28);
    take(s, bob, first);
    take(s, bob, first);
    assert_int_equal(used_by(s, bob), 21);
    assert_int_equal(used_by(s, carol), 28);
    assert_int_equal(look(s, bob, 1000).count, 3);
    assert_int_equal(look(s, bob, 1000).numbers[0], seen.numbers[1]);
    streams_close(&s);
}

static bool note_missed(void *context, const struct missed *m)
{
    struct missed *last = context;

    assert_true(bytes_equal_text(m->topic, "mail/a"));
    assert_true(bytes_equal_text(m->sender, "alice"));
    *last = *m;
    return true;
}

/* What is not handed over leaves the mailbox, and its owner is told of what was there. */
static void what_is_buried_is_missed(void **state UNUSED)
{
    struct streams *s = open_store();
    struct missed told = {0};
    uint64_t number, used;
    bool missed = false, more;

    number = leave(s, bob, 700, 5000, &used);
    used = used_by(s, bob);
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_mail_bury(s, bob, number, AICO_EREVOKED, &missed, NULL), 0);
    assert_true(missed);
    assert_int_equal(streams_mail_bury(s, bob, number, AICO_EREVOKED, &missed, NULL), 0);
    assert_false(missed); /* not any more */
    assert_int_equal(streams_missed(s, 0, bob, bytes_of(NULL, 0), bytes_of(NULL, 0), 9, note_missed,
                                    &told, &more, NULL),
                     0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(told.code, AICO_EREVOKED);
    assert_int_equal(told.count, 1);
    assert_int_equal(told.number, number);
    assert_int_equal(told.publish_id, 700);
    assert_int_equal(used_by(s, bob), used - 7);
    streams_close(&s);
}

static void a_mailbox_goes_over_to_the_next_key(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t bobs, carols, bytes;

    for (uint64_t i = 10000; i < 10003; i++)
        (void)leave(s, bob, i, 5000, &bytes);
    (void)leave(s, carol, 10003, 5000, &bytes);
    bobs = look(s, bob, 1000).count;
    carols = look(s, carol, 1000).count;
    bytes = used_by(s, bob) + used_by(s, carol);
    assert_true(bobs >= 3 && carols >= 1);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(streams_begin(s, NULL), 0);
        assert_int_equal(streams_mail_inherit(s, carol, bob, NULL), 0);
        assert_int_equal(streams_commit(s, NULL), 0);
        assert_int_equal(look(s, bob, 1000).count, 0);
        assert_int_equal(look(s, carol, 1000).count, bobs + carols);
        assert_int_equal(used_by(s, bob), 0);
        assert_int_equal(used_by(s, carol), bytes);
    }
    streams_close(&s);
}

static void what_is_sent_again_is_there_once(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t used;

    assert_true(leave(s, bob, 100, 5000, &used) > 0);
    assert_int_equal(leave(s, bob, 100, 5000, &used), 0);
    assert_int_equal(leave(s, bob, 99, 5000, &used), 0);
    assert_true(leave(s, bob, 101, 5000, &used) > 0);
    streams_close(&s);
}

static void what_is_void_is_not_found_and_goes(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t used, before = used_by(s, bob);
    struct streams_removed removed;
    size_t count = look(s, bob, 1000).count;
    struct streams_mail_place place = {0};
    bool more;

    for (uint64_t i = 0; i < 5; i++)
        (void)leave(s, bob, 200 + i, 2000, &used);
    assert_int_equal(look(s, bob, 2000).count, count + 5);
    assert_int_equal(look(s, bob, 2001).count, count);
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(
        streams_mail_expire(s, 2001, 3, bytes_of(NULL, 0), &place, &removed, &more, NULL), 0);
    assert_int_equal(removed.count, 3);
    assert_int_equal(removed.missed, 3);
    assert_true(more);
    assert_int_equal(
        streams_mail_expire(s, 2001, 3, bytes_of(NULL, 0), &place, &removed, &more, NULL), 0);
    assert_int_equal(removed.count, 2);
    assert_false(more);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(used_by(s, bob), before);
    assert_int_equal(look(s, bob, 2000).count, count);
    streams_close(&s);
}

/* What it costs to see that nothing is void, beside @count messages that are not. */
static int steps_to_find_nothing(uint64_t count)
{
    static uint64_t position = 1000000; /* above all others here */
    struct streams *s = open_store();
    struct streams_mail_place place = {0};
    struct streams_removed removed;
    uint64_t used;
    bool more;
    int steps;

    for (uint64_t i = 0; i < count; i++)
        assert_true(leave(s, bob, position++, 9000, &used) > 0);
    assert_int_equal(streams_begin(s, NULL), 0);
    (void)steps_since(s);
    assert_int_equal(
        streams_mail_expire(s, 2001, 3, bytes_of(NULL, 0), &place, &removed, &more, NULL), 0);
    steps = steps_since(s);
    assert_int_equal(removed.count, 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    streams_close(&s);
    return steps;
}

static void mail_that_is_good_costs_no_trim_anything(void **state UNUSED)
{
    int few = steps_to_find_nothing(3), many = steps_to_find_nothing(300);

    assert_in_range(many, 1, 2 * few);
}

/* What it costs to pass over @count that are spared and void at the same time, 10 an order. */
static int steps_to_pass_over(uint64_t count)
{
    static uint64_t position = 2000000;
    struct streams *s = open_store();
    struct streams_mail_place place = {0};
    struct streams_removed removed;
    uint64_t used;
    bool more = true;
    int steps;

    for (uint64_t i = 0; i < count; i++)
        assert_true(leave(s, bob, position++, 2000, &used) > 0);
    assert_int_equal(streams_begin(s, NULL), 0);
    (void)steps_since(s);
    while (more) {
        assert_int_equal(streams_mail_expire(s, 2001, 10, bytes_of(bob, sizeof(bob)), &place,
                                             &removed, &more, NULL),
                         0);
        assert_int_equal(removed.count, 0);
    }
    steps = steps_since(s);
    assert_int_equal(streams_mail_expire(s, 2001, 1000000, bytes_of(NULL, 0),
                                         &(struct streams_mail_place){0}, &removed, &more, NULL),
                     0);
    assert_int_equal(removed.count, count);
    assert_int_equal(streams_commit(s, NULL), 0);
    streams_close(&s);
    return steps;
}

static void mail_that_is_void_at_once_is_passed_over_once(void **state UNUSED)
{
    int few = steps_to_pass_over(40), many = steps_to_pass_over(400);

    assert_in_range(many, few, 12 * few);
}

/* What tells that it was there goes when no mail of its time is kept any more. */
static void nothing_stays_of_mail_that_was_taken(void **state UNUSED)
{
    const int64_t day = (int64_t)24 * 3600 * 1000;
    struct streams *s = open_store();
    sqlite3_stmt *q = NULL;
    sqlite3 *db = NULL;
    uint64_t used, number;

    number = leave(s, bob, 900, 5000, &used);
    assert_true(number > 0);
    take(s, bob, number);
    for (struct seen rest = look(s, bob, 0); rest.count > 0; rest.count--)
        take(s, bob, rest.numbers[rest.count - 1]);
    for (struct seen rest = look(s, carol, 0); rest.count > 0; rest.count--)
        take(s, carol, rest.numbers[rest.count - 1]);
    assert_int_equal(leave(s, bob, 900, 5000, &used), 0);
    assert_int_equal(streams_begin(s, NULL), 0);
    sweep(s, 13 * day);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(leave(s, bob, 900, 5000, &used), 0);
    assert_int_equal(streams_begin(s, NULL), 0);
    sweep(s, 15 * day);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM mark", -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int64(q, 0), 0);
    (void)sqlite3_finalize(q);
    (void)sqlite3_close(db);
    streams_close(&s);
}

/* A store of the version before has no mailboxes; it gets them, and keeps what it had. */
static void a_store_without_mailboxes_gets_them(void **state UNUSED)
{
    struct streams *s = NULL;
    sqlite3 *db = NULL;
    uint64_t used;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     UNDO_6 "DROP TABLE mail; DROP TABLE box; DROP TABLE value; DROP TABLE held; "
                            "DROP TABLE prekey; DROP TABLE item_end; DROP TABLE missed; PRAGMA "
                            "user_version=1;INSERT INTO topic(name) VALUES('kept')",
                     NULL, NULL, NULL),
        SQLITE_OK);
    (void)sqlite3_close(db);
    s = open_store();
    assert_true(leave(s, bob, 300, 5000, &used) > 0);
    assert_int_equal(look(s, bob, 1000).count, 1);
    streams_close(&s);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "INSERT INTO topic(name) VALUES('kept')", NULL, NULL, NULL),
                     SQLITE_CONSTRAINT);
    (void)sqlite3_close(db);
}

static int set_up(void **state UNUSED)
{
    int fd = mkstemp(path);

    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state UNUSED)
{
    char name[64];

    (void)snprintf(name, sizeof(name), "%s-wal", path);
    (void)unlink(name);
    (void)snprintf(name, sizeof(name), "%s-shm", path);
    (void)unlink(name);
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everybody_finds_his_own_in_order_until_he_has_taken_it),
        cmocka_unit_test(what_is_sent_again_is_there_once),
        cmocka_unit_test(what_is_void_is_not_found_and_goes),
        cmocka_unit_test(nothing_stays_of_mail_that_was_taken),
        cmocka_unit_test(a_store_without_mailboxes_gets_them),
        cmocka_unit_test(what_is_buried_is_missed),
        cmocka_unit_test(a_mailbox_goes_over_to_the_next_key),
        cmocka_unit_test(mail_that_is_good_costs_no_trim_anything),
        cmocka_unit_test(mail_that_is_void_at_once_is_passed_over_once),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
