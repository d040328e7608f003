/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The disk under the message store is full, fails, or can only be read: storing is refused with a
 * cause of its own, what was stored stays readable, and when the cause is gone it goes on with what
 * is open.
 */
#include "common.h"
#include "disk.h"
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/cleanup.h"
#include "store/streams.h"

#define STREAM "a/**"
#define ROUNDS 40

static char path[] = "/tmp/aico-faults-XXXXXX";
static const uint8_t alice[SIGN_PUBLIC_SIZE] = {1};
static uint64_t stored; /* positions 1..stored are */

static struct streams *open_store(void)
{
    struct streams *s = NULL;
    struct aico_error err = {0};

    if (streams_open(path, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

/* Stores position stored + 1 .. + @count in one transaction. */
static int store(struct streams *s, uint64_t count, struct aico_error *err)
{
    static uint8_t payload[3000];
    int r = streams_begin(s, err);

    for (uint64_t i = 1; r == 0 && i <= count; i++) {
        struct stored_message m = {
            .stream = bytes_text(STREAM),
            .topic = bytes_text("a/x"),
            .identity = alice,
            .sender = bytes_text("alice"),
            .publish_id = stored + i,
            .stored_ms = 1000,
            .count = 1,
            .scope = {7},
            .position = stored + i,
            .payload = bytes_of(payload, sizeof(payload)),
        };
        uint64_t number = 0;

        r = streams_put(s, &m, &number, NULL, err);
        assert_true(r < 0 || number > 0);
    }
    if (r == 0)
        r = streams_commit(s, err);
    if (r < 0)
        streams_rollback(s);
    else
        stored += count;
    return r;
}

static bool count_up(void *context, const struct stored_message *m)
{
    uint64_t *last = context;

    assert_int_equal(m->publish_id, *last + 1);
    *last = m->publish_id;
    return true;
}

static int look(struct streams *s)
{
    struct streams_query query = {
        .filter = bytes_text("**"), .count_max = 1 << 20, .bytes_max = 1 << 30};
    uint64_t last = 0;
    bool more = true;
    int r = 0;

    while (r == 0 && more)
        r = streams_read(s, &query, count_up, &last, &query.after, &more, NULL);
    if (r == 0)
        assert_int_equal(last, stored);
    return r;
}

static int fresh_disk(void **state UNUSED)
{
    disk_format();
    stored = 0;
    return 0;
}

/* Under load, again and again: refused with @code, all is readable, it goes on; and when the power
 * goes afterwards, nothing that was acknowledged is lost. */
static void try_fault(enum disk_fault fault, int code)
{
    struct streams *s = open_store();

    for (uint64_t round = 1; round <= ROUNDS; round++) {
        struct aico_error err = {0};

        for (uint64_t i = 0; i < round % 7; i++)
            assert_int_equal(store(s, 1 + i, NULL), 0);
        disk_set_fault(fault);
        for (int i = 0; i < 3; i++) {
            /* In what a full disk has already, the first ones may find room. */
            int r = store(s, 20, &err);

            if (r == 0 && fault == DISK_FULL)
                continue;
            if (r != code)
                fail_msg("%d instead of %d: %s", r, code, err.text);
            assert_non_null(strstr(err.text, path));
            assert_int_equal(look(s), 0);
        }
        disk_set_fault(DISK_SOUND);
        assert_int_equal(store(s, 1, NULL), 0);
        if (round % 5 == 0) {
            disk_cut_after(0);
            streams_close(&s);
            disk_restore_power(round);
            s = open_store();
        }
        assert_int_equal(look(s), 0);
    }
    streams_close(&s);
}

static void a_full_disk(void **state UNUSED)
{
    try_fault(DISK_FULL, AICO_ESTOREFULL);
}

static void writing_that_fails(void **state UNUSED)
{
    try_fault(DISK_WRITE_ERROR, AICO_ESTORE);
}

static void syncing_that_fails(void **state UNUSED)
{
    try_fault(DISK_SYNC_ERROR, AICO_ESTORE);
}

/* What was not waited for is lost with a sync that fails; what is committed later is behind it in
 * the log, and must not be lost with it. */
static void a_hole_in_the_log_hides_nothing(void **state UNUSED)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct streams_reader reader = {0};
        struct streams *s;

        (void)fresh_disk(NULL);
        s = open_store();
        assert_int_equal(store(s, 3, NULL), 0);
        assert_int_equal(streams_begin(s, NULL), 0);
        assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text("d"),
                                        bytes_text(STREAM), STREAMS_ALL, 0, &reader, NULL),
                         0);
        assert_int_equal(streams_commit(s, NULL), 0);
        assert_int_equal(streams_note_handed(s, reader.id, 2, NULL), 0);
        disk_set_fault(DISK_SYNC_ERROR);
        assert_int_equal(store(s, 1, NULL), AICO_ESTORE);
        disk_set_fault(DISK_SOUND);
        assert_int_equal(store(s, 2, NULL), 0);
        disk_cut_after(0);
        streams_close(&s);
        disk_restore_power(seed);
        s = open_store();
        assert_int_equal(look(s), 0);
        streams_close(&s);
    }
}

static void reading_that_fails(void **state UNUSED)
{
    struct streams *s = open_store();

    assert_int_equal(store(s, 2000, NULL), 0); /* more than SQLite holds in memory */
    streams_close(&s);
    s = open_store();
    disk_set_fault(DISK_READ_ERROR);
    assert_int_equal(look(s), AICO_ESTORE);
    disk_set_fault(DISK_SOUND);
    assert_int_equal(look(s), 0);
    assert_int_equal(store(s, 1, NULL), 0);
    streams_close(&s);
}

static void a_store_that_can_only_be_read(void **state UNUSED)
{
    struct streams *s = open_store();
    struct streams_reader reader = {0};

    assert_int_equal(store(s, 10, NULL), 0);
    streams_close(&s);
    s = open_store();
    assert_int_equal(store(s, 10, NULL), 0); /* the log is there */
    disk_cut_after(0);
    streams_close(&s);
    disk_restore_power(1);

    disk_set_fault(DISK_READ_ONLY);
    s = open_store();
    assert_int_equal(look(s), 0);
    assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text(""),
                                    bytes_text(STREAM), STREAMS_ALL, 0, &reader, NULL),
                     0);
    assert_int_equal(store(s, 1, NULL), AICO_ESTOREREADONLY);
    assert_int_equal(look(s), 0);
    streams_close(&s);
    disk_set_fault(DISK_SOUND);
    s = open_store();
    assert_int_equal(store(s, 1, NULL), 0);
    streams_close(&s);
}

/* In bob's mailbox. */
static int leave_mail(struct streams *s, struct aico_error *err)
{
    static const uint8_t bob[SIGN_PUBLIC_SIZE] = {2};
    struct stored_mail m = {
        .message = {.topic = bytes_text("mail/a"),
                    .identity = alice,
                    .sender = bytes_text("alice"),
                    .publish_id = 1,
                    .stored_ms = 1000,
                    .scope = {7},
                    .position = 1,
                    .payload = bytes_text("payload")},
        .receiver = bob,
        .expires_ms = 5000,
    };
    uint64_t number, used;
    int r = streams_begin(s, err);

    if (r == 0)
        r = streams_mail_put(s, &m, &number, &used, err);
    if (r == 0)
        r = streams_commit(s, err);
    if (r < 0)
        streams_rollback(s);
    return r;
}

/* As a broker that was stopped leaves it: without its log, which cannot be made there. */
static void a_store_without_a_log_that_can_only_be_read(void **state UNUSED)
{
    struct streams *s = open_store();

    assert_int_equal(store(s, 10, NULL), 0);
    streams_close(&s);
    disk_set_fault(DISK_READ_ONLY);
    s = open_store();
    assert_int_equal(look(s), 0);
    assert_int_equal(store(s, 1, NULL), AICO_ESTOREREADONLY);
    assert_int_equal(look(s), 0);
    streams_close(&s);
    disk_set_fault(DISK_SOUND);
    s = open_store();
    assert_int_equal(store(s, 1, NULL), 0);
    assert_int_equal(look(s), 0);
    streams_close(&s);
}

/* As a program of that layout left it, its log beside it. */
static void leave_layout(const char *change)
{
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, change, NULL, NULL, NULL), SQLITE_OK);
    disk_cut_after(0);
    (void)sqlite3_close(db);
    disk_restore_power(1);
}

/* It cannot be taken over there; what is stored stays readable, and nothing is taken for stored
 * that would lie beside it. */
static void a_store_of_an_older_layout_that_can_only_be_read(void **state UNUSED)
{
    static const char *const changes[] = {
        UNDO_7 "PRAGMA user_version=6",
        UNDO_6 "PRAGMA user_version=5",
        UNDO_6 "ALTER TABLE value DROP COLUMN over; PRAGMA user_version=4",
        UNDO_6 "ALTER TABLE value DROP COLUMN over; DROP TABLE item_end; DROP TABLE missed;"
               "PRAGMA user_version=3",
        UNDO_6 "DROP TABLE value; DROP TABLE held; DROP TABLE prekey; DROP TABLE item_end;"
               "DROP TABLE missed; PRAGMA user_version=2",
        UNDO_6 "DROP TABLE value; DROP TABLE held; DROP TABLE prekey; DROP TABLE item_end;"
               "DROP TABLE missed; DROP TABLE mail; DROP TABLE box; PRAGMA user_version=1",
    };

    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        struct streams_reader reader = {0};
        struct aico_error err = {0};
        struct streams *s;

        (void)fresh_disk(NULL);
        s = open_store();
        assert_int_equal(store(s, 10, NULL), 0);
        streams_close(&s);
        leave_layout(changes[i]);
        disk_set_fault(DISK_READ_ONLY);
        s = open_store();
        assert_int_equal(look(s), 0);
        assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text(""),
                                        bytes_text(STREAM), STREAMS_ALL, 0, &reader, NULL),
                         0);
        assert_int_equal(store(s, 1, &err), AICO_ESTOREREADONLY);
        assert_non_null(strstr(err.text, "layout"));
        assert_int_equal(leave_mail(s, NULL), AICO_ESTOREREADONLY);
        assert_int_equal(look(s), 0);
        streams_close(&s);
        disk_set_fault(DISK_SOUND);
        s = open_store(); /* it is taken over */
        assert_int_equal(store(s, 1, NULL), 0);
        assert_int_equal(leave_mail(s, NULL), 0);
        assert_int_equal(look(s), 0);
        streams_close(&s);
    }
}

static int set_up(void **state UNUSED)
{
    return disk_begin(path);
}

static int tear_down(void **state UNUSED)
{
    return disk_end(path);
}

#define TEST(name) cmocka_unit_test_setup(name, fresh_disk)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_disk),
        TEST(writing_that_fails),
        TEST(syncing_that_fails),
        TEST(a_hole_in_the_log_hides_nothing),
        TEST(reading_that_fails),
        TEST(a_store_that_can_only_be_read),
        TEST(a_store_without_a_log_that_can_only_be_read),
        TEST(a_store_of_an_older_layout_that_can_only_be_read),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
