/* SPDX-License-Identifier: Apache-2.0 */
/* Retained values in the message store: one a topic, never an earlier one after a later one,
 * bounded by sender, gone when void, purged or their sender is out. */
#include "common.h"
#include "vectors.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/streams.h"

static char path[] = "/tmp/aico-values-XXXXXX";
static const uint8_t alice[SIGN_PUBLIC_SIZE] = {1}, bob[SIGN_PUBLIC_SIZE] = {2},
                     carol[SIGN_PUBLIC_SIZE] = {3};
#define SEALED "AICO-MSGkeykeykeykey................"

static struct streams *open_store(void)
{
    struct streams *s = NULL;
    struct aico_error err = {0};

    if (streams_open(path, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

struct say {
    const uint8_t *who;
    const char *topic, *payload;
    uint8_t scope;
    uint64_t position, limit;
    int64_t expires_ms;
    bool again;
};

/* What came of it: the number, or a negative code. */
static int64_t say(struct streams *s, struct say what, uint64_t *ret_used)
{
    uint64_t number = 0, used = 0;
    struct stored_value value = {
        .message = {.stream = bytes_text("v/**"),
                    .topic = bytes_text(what.topic),
                    .identity = what.who ? what.who : alice,
                    .sender = bytes_text(what.who == bob ? "bob" : "alice"),
                    .publish_id = what.position,
                    .stored_ms = 1000,
                    .scope = {what.scope},
                    .position = what.position,
                    .payload = bytes_text(what.payload)},
        .expires_ms = what.expires_ms ? what.expires_ms : INT64_MAX,
        .limit = what.limit ? what.limit : 1 << 20,
        .again = what.again,
    };
    int r;

    assert_int_equal(streams_begin(s, NULL), 0);
    r = streams_value_put(s, &value, &number, &used, NULL);
    assert_int_equal(streams_commit(s, NULL), 0);
    if (ret_used)
        *ret_used = used;
    return r < 0 ? r : (int64_t)number;
}

struct seen {
    char texts[16][64];
    char keys[16][16];
    size_t count;
};

static bool see(void *context, const struct stored_message *m)
{
    struct seen *seen = context;

    assert_true(seen->count < 16);
    (void)snprintf(seen->texts[seen->count], 64, "%.*s=%.*s", (int)m->topic.size,
                   (const char *)m->topic.at, (int)m->payload.size, (const char *)m->payload.at);
    (void)snprintf(seen->keys[seen->count], 16, "%.*s", (int)m->key.size, (const char *)m->key.at);
    seen->count++;
    return true;
}

static struct seen look_at(struct streams *s, const char *filter, int64_t now_ms)
{
    struct streams_query query = {.filter = bytes_text(filter),
                                  .identities = bytes_of(carol, SIGN_PUBLIC_SIZE),
                                  .count_max = 2,
                                  .bytes_max = 1 << 20};
    struct seen seen = {0};
    bool more = true;

    while (more)
        assert_int_equal(
            streams_value_read(s, &query, now_ms, see, &seen, &query.after, &more, NULL), 0);
    return seen;
}

static void expect(struct streams *s, const char *filter, const char *text)
{
    struct seen seen = look_at(s, filter, 1000);

    assert_int_equal(seen.count, text ? 1 : 0);
    if (text)
        assert_string_equal(seen.texts[0], text);
}

static void the_last_one_of_a_topic_is_its_value_over_restarts(void **state UNUSED)
{
    struct streams *s = open_store();

    assert_true(say(s, (struct say){.topic = "v/a", .payload = "1", .position = 1}, NULL) > 0);
    assert_true(say(s, (struct say){.topic = "v/a", .payload = "2", .position = 2}, NULL) > 0);
    assert_true(say(s, (struct say){.topic = "v/b", .payload = "3", .position = 3}, NULL) > 0);
    assert_true(say(s, (struct say){.topic = "v/c", .payload = "4", .position = 4}, NULL) > 0);
    streams_close(&s);
    s = open_store();
    expect(s, "v/a", "v/a=2");
    assert_int_equal(look_at(s, "v/*", 1000).count, 3); /* read two at a time */
    expect(s, "w/**", NULL);
    streams_close(&s);
}

static void an_earlier_one_of_a_run_does_not_come_back(void **state UNUSED)
{
    struct streams *s = open_store();

    assert_true(say(s, (struct say){.topic = "v/d", .payload = "2", .position = 2}, NULL) > 0);
    assert_int_equal(say(s, (struct say){.topic = "v/d", .payload = "2", .position = 2}, NULL), 0);
    assert_int_equal(say(s, (struct say){.topic = "v/d", .payload = "1", .position = 1}, NULL), 0);
    expect(s, "v/d", "v/d=2");
    /* Another run of it counts anew. */
    assert_true(
        say(s, (struct say){.topic = "v/d", .payload = "3", .scope = 9, .position = 1}, NULL) > 0);
    expect(s, "v/d", "v/d=3");
    streams_close(&s);
}

static void said_again_it_replaces_nobody_elses(void **state UNUSED)
{
    struct streams *s = open_store();

    assert_true(say(s, (struct say){.topic = "v/e", .payload = "a", .position = 1}, NULL) > 0);
    assert_true(
        say(s, (struct say){.who = bob, .topic = "v/e", .payload = "b", .position = 1}, NULL) > 0);
    assert_int_equal(
        say(s, (struct say){.topic = "v/e", .payload = "a", .position = 2, .again = true}, NULL),
        0);
    expect(s, "v/e", "v/e=b");
    assert_true(
        say(s,
            (struct say){.who = bob, .topic = "v/e", .payload = "b2", .position = 2, .again = true},
            NULL) > 0);
    expect(s, "v/e", "v/e=b2");
    assert_true(say(s, (struct say){.topic = "v/e", .payload = "c", .position = 3}, NULL) > 0);
    expect(s, "v/e", "v/e=c");
    streams_close(&s);
}

static void a_sender_has_its_bound_and_a_refusal_changes_nothing(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t used = 0, before;

    assert_true(say(s, (struct say){.who = bob, .topic = "v/f", .payload = "12345", .position = 1},
                    &used) > 0);
    before = used;
    assert_int_equal(
        say(s,
            (struct say){
                .who = bob, .topic = "v/g", .payload = "12345", .position = 1, .limit = before + 7},
            &used),
        AICO_EQUOTA);
    assert_int_equal(used, before);
    /* In the place of another one it takes only what is more; and what was refused may be sent
     * again. */
    assert_true(say(s,
                    (struct say){.who = bob,
                                 .topic = "v/f",
                                 .payload = "123456",
                                 .position = 2,
                                 .limit = before + 1},
                    &used) > 0);
    assert_int_equal(used, before + 1);
    assert_true(
        say(s,
            (struct say){
                .who = bob, .topic = "v/g", .payload = "12345", .position = 1, .limit = before + 9},
            &used) > 0);
    assert_int_equal(used, before + 9);
    /* What another one takes over is not its any more. */
    assert_true(say(s, (struct say){.topic = "v/g", .payload = "", .position = 1}, NULL) > 0);
    assert_true(
        say(s, (struct say){.who = bob, .topic = "v/h", .payload = "1", .position = 1}, &used) > 0);
    assert_int_equal(used, before + 1 + 4);
    streams_close(&s);
}

static void what_is_void_is_not_found_and_goes(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t removed = 0;
    bool more = true;

    for (uint64_t i = 0; i < 3; i++) {
        char topic[] = "v/t/0";

        topic[4] = (char)('0' + i);
        assert_true(say(s, (struct say){.topic = topic, .payload = "x", .expires_ms = 2000}, NULL) >
                    0);
    }
    assert_int_equal(look_at(s, "v/t/*", 2000).count, 3);
    assert_int_equal(look_at(s, "v/t/*", 2001).count, 0);
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_value_expire(s, 2001, 2, &removed, &more, NULL), 0);
    assert_int_equal(removed, 2);
    assert_true(more);
    assert_int_equal(streams_value_expire(s, 2001, 2, &removed, &more, NULL), 0);
    assert_int_equal(removed, 1);
    assert_false(more);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(look_at(s, "v/t/*", 1000).count, 0);
    streams_close(&s);
}

/* The key of a value stays as long as the value does, however old; that of none goes. */
static void what_opens_a_value_stays_with_it(void **state UNUSED)
{
    static const uint8_t id[STREAMS_KEY_ID_SIZE] = "keykeykeykey", old[STREAMS_KEY_ID_SIZE] = "old";
    const int64_t later = (int64_t)40 * 24 * 3600 * 1000;
    struct streams *s = open_store();
    struct stored_value value = {
        .message = {.stream = bytes_text("v/**"),
                    .topic = bytes_text("v/k"),
                    .identity = alice,
                    .sender = bytes_text("alice"),
                    .publish_id = 1,
                    .stored_ms = 1000,
                    .position = 1,
                    .payload = bytes_text(SEALED)},
        .expires_ms = INT64_MAX,
        .limit = 1 << 20,
    };
    uint64_t number, used;
    struct seen seen;
    sqlite3 *db = NULL;

    memcpy(value.message.scope, id, sizeof(id));
    assert_int_equal(streams_begin(s, NULL), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(streams_put_key(s, alice, bytes_text("alice"), i ? old : id, carol,
                                         bytes_text("opens"), 1000, NULL, NULL),
                         0);
    assert_int_equal(streams_value_put(s, &value, &number, &used, NULL), 0);
    sweep(s, later);
    assert_int_equal(streams_commit(s, NULL), 0);
    seen = look_at(s, "v/k", 1000);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.keys[0], "opens");
    streams_close(&s);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "CREATE TEMP TABLE one(n INTEGER CHECK(n=1)); INSERT INTO one "
                                  "SELECT count(*) FROM key",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    (void)sqlite3_close(db);
}

static void a_purge_and_a_revocation_take_them(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer json = {0};
    struct streams *s = open_store();
    size_t all = look_at(s, "**", 1000).count;
    struct streams_removed purged;
    uint64_t removed = 0, used;

    assert_true(
        say(s, (struct say){.who = bob, .topic = "v/p", .payload = "1", .position = 1}, NULL) > 0);
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_value_drop(s, bob, &removed, NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_true(removed >= 2);
    assert_int_equal(look_at(s, "**", 1000).count, all + 1 - removed);
    assert_int_equal(streams_json(s, bytes_of(NULL, 0), &json, NULL), 0);
    assert_non_null(memmem(json.at, json.size, "\"values\":", 9));
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_purge(s, bytes_text("v/**"), 5, &purged, NULL), 0);
    assert_true(look_at(s, "**", 1000).count > 0); /* a part of the messages is asked for */
    assert_int_equal(streams_purge(s, bytes_text("v/**"), 0, &purged, NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(look_at(s, "**", 1000).count, 0);
    assert_true(say(s, (struct say){.topic = "v/q", .payload = "1", .position = 1}, &used) > 0);
    assert_int_equal(used, 4);
    streams_close(&s);
}

static uint64_t drop_all(struct streams *s, const uint8_t *who)
{
    uint64_t removed = 0;

    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_value_drop(s, who, &removed, NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    return removed;
}

static uint64_t expire(struct streams *s, int64_t now_ms)
{
    uint64_t removed = 0;
    bool more = true;

    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_value_expire(s, now_ms, 10, &removed, &more, NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_false(more);
    return removed;
}

static int64_t say_again(struct streams *s, const char *topic, const char *payload,
                         uint64_t position)
{
    return say(
        s, (struct say){.topic = topic, .payload = payload, .position = position, .again = true},
        NULL);
}

/* What was later than another's value is still later when it is gone, with its sender or by its
 * time. */
static void after_a_later_value_that_is_gone_no_earlier_one_comes_back(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer json = {0};
    struct streams *s = open_store();
    struct say later = {
        .who = bob, .topic = "v/r", .payload = "b", .position = 1, .expires_ms = 2000};
    struct streams_removed purged;
    uint64_t used = 0;

    assert_true(say(s, (struct say){.topic = "v/r", .payload = "a", .position = 1}, NULL) > 0);
    assert_true(say(s, later, NULL) > 0);
    assert_int_equal(drop_all(s, bob), 1);
    assert_int_equal(drop_all(s, bob), 0);
    streams_close(&s);
    s = open_store();
    expect(s, "v/r", NULL);
    assert_int_equal(expire(s, 3000), 0);
    assert_int_equal(look_at(s, "v/*", 1000).count, 1); /* v/q */
    assert_int_equal(streams_json(s, bytes_of(NULL, 0), &json, NULL), 0);
    assert_non_null(memmem(json.at, json.size, "\"values\":1}", 11));
    assert_int_equal(say_again(s, "v/r", "a", 2), 0);
    expect(s, "v/r", NULL);
    /* What it says anew is a value. */
    assert_true(say(s, (struct say){.topic = "v/r", .payload = "c", .position = 3}, &used) > 0);
    assert_int_equal(used, 4 + 4);
    expect(s, "v/r", "v/r=c");

    later.position = 2;
    assert_true(say(s, later, &used) > 0);
    assert_int_equal(used, 4);
    later.position = 3; /* by now it is in the place of its own, and still of another's */
    assert_true(say(s, later, &used) > 0);
    assert_int_equal(used, 4);
    assert_int_equal(expire(s, 2001), 1);
    assert_int_equal(say_again(s, "v/r", "c", 4), 0);
    expect(s, "v/r", NULL);
    assert_int_equal(expire(s, 9000), 0);
    later.position = 4;
    assert_true(say(s, later, &used) > 0);
    assert_int_equal(used, 4);
    expect(s, "v/r", "v/r=b");

    /* A purge takes that too. */
    assert_int_equal(drop_all(s, bob), 1);
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_purge(s, bytes_text("v/**"), 0, &purged, NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(purged.count, 1); /* v/q */
    assert_true(say_again(s, "v/r", "c", 5) > 0);
    expect(s, "v/r", "v/r=c");
    streams_close(&s);
}

/* What stays of values that are gone counts for their sender, and ends after a month. */
static void what_stays_of_values_that_are_gone_is_bounded(void **state UNUSED)
{
    const int64_t day = (int64_t)24 * 3600 * 1000;
    struct streams *s = open_store();
    int64_t r = 0;
    uint64_t used = 0;
    char topic[16];
    int said = 0;

    for (int i = 0; i < 100 && r >= 0; i++) {
        (void)snprintf(topic, sizeof(topic), "g/%d", i);
        assert_true(say(s, (struct say){.topic = topic, .payload = "a", .position = 1}, NULL) > 0);
        r = say(s,
                (struct say){.who = bob,
                             .topic = topic,
                             .payload = "b",
                             .position = 1,
                             .expires_ms = 2000,
                             .limit = 1000},
                NULL);
        if (r > 0)
            assert_int_equal(expire(s, 2001), 1);
        said += r > 0;
    }
    assert_int_equal(r, AICO_EQUOTA);
    assert_in_range(said, 5, 10);
    /* Not before its time. */
    assert_int_equal(streams_begin(s, NULL), 0);
    sweep(s, 29 * day);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(say_again(s, "g/0", "a", 2), 0);
    assert_int_equal(streams_begin(s, NULL), 0);
    sweep(s, 31 * day);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_true(say(s,
                    (struct say){
                        .who = bob, .topic = "g/999", .payload = "b", .position = 1, .limit = 1000},
                    &used) > 0);
    assert_int_equal(used, 6);
    streams_close(&s);
}

/* Nothing stays of a value that was nobody's but its sender's. */
static void of_the_only_senders_value_nothing_stays(void **state UNUSED)
{
    struct streams *s = open_store();
    struct say one = {.topic = "v/s", .payload = "1", .position = 1, .expires_ms = 2000};

    assert_true(say(s, one, NULL) > 0);
    one.position = 2;
    assert_true(say(s, one, NULL) > 0);
    assert_int_equal(expire(s, 2001), 1);
    assert_true(
        say(s, (struct say){.who = bob, .topic = "v/s", .payload = "b", .again = true}, NULL) > 0);
    assert_int_equal(drop_all(s, bob), 1);
    assert_true(say_again(s, "v/s", "1", 3) > 0);
    streams_close(&s);
}

/* A store of the version before has none; it gets them. */
static void a_store_without_values_gets_them(void **state UNUSED)
{
    struct streams *s = NULL;
    sqlite3 *db = NULL;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  UNDO_6
                                  "DROP TABLE value; DROP TABLE held; DROP TABLE prekey; DROP "
                                  "TABLE item_end; DROP TABLE missed; PRAGMA user_version=2;",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    (void)sqlite3_close(db);
    s = open_store();
    assert_true(say(s, (struct say){.topic = "v/a", .payload = "1", .position = 1}, NULL) > 0);
    expect(s, "v/a", "v/a=1");
    streams_close(&s);
}

/* Of a value of the layout before nobody knows whether another one's was there before it. */
static void what_was_there_before_stays_the_last(void **state UNUSED)
{
    struct streams *s = open_store();
    sqlite3 *db = NULL;

    assert_true(say(s,
                    (struct say){.topic = "v/o", .payload = "1", .position = 1, .expires_ms = 2000},
                    NULL) > 0);
    streams_close(&s);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db, UNDO_6 "ALTER TABLE value DROP COLUMN over; PRAGMA user_version=4;", NULL,
                     NULL, NULL),
        SQLITE_OK);
    (void)sqlite3_close(db);
    s = open_store();
    expect(s, "v/o", "v/o=1");
    assert_int_equal(expire(s, 2001), 1);
    assert_int_equal(
        say(s, (struct say){.who = bob, .topic = "v/o", .payload = "b", .again = true}, NULL), 0);
    expect(s, "v/o", NULL);
    streams_close(&s);
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
        cmocka_unit_test(the_last_one_of_a_topic_is_its_value_over_restarts),
        cmocka_unit_test(an_earlier_one_of_a_run_does_not_come_back),
        cmocka_unit_test(said_again_it_replaces_nobody_elses),
        cmocka_unit_test(a_sender_has_its_bound_and_a_refusal_changes_nothing),
        cmocka_unit_test(what_is_void_is_not_found_and_goes),
        cmocka_unit_test(what_opens_a_value_stays_with_it),
        cmocka_unit_test(a_purge_and_a_revocation_take_them),
        cmocka_unit_test(after_a_later_value_that_is_gone_no_earlier_one_comes_back),
        cmocka_unit_test(of_the_only_senders_value_nothing_stays),
        cmocka_unit_test(a_store_without_values_gets_them),
        cmocka_unit_test(what_was_there_before_stays_the_last),
        cmocka_unit_test(what_stays_of_values_that_are_gone_is_bounded),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
