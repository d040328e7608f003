/* SPDX-License-Identifier: Apache-2.0 */
/* The message store: what was committed is there, in order, once, as long as retention says. */
#include "common.h"
#include "vectors.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/streams_internal.h"

#define STREAM "a/**"

static char folder[] = "/tmp/aico-streams-XXXXXX";
static char path[96];
static const uint8_t alice[SIGN_PUBLIC_SIZE] = {1}, bob[SIGN_PUBLIC_SIZE] = {2};

static struct streams *open_store(void)
{
    struct streams *s = NULL;
    struct aico_error err = {0};

    if (streams_open(path, &s, &err) < 0)
        fail_msg("%s", err.text);
    return s;
}

/* Every test has a store of its own. */
static int fresh_path(void **state UNUSED)
{
    static int count;

    (void)snprintf(path, sizeof(path), "%s/s%d.db", folder, count++);
    return 0;
}

static struct stored_message message(const char *topic, uint64_t position, const char *payload)
{
    return (struct stored_message){
        .stream = bytes_text(STREAM),
        .topic = bytes_text(topic),
        .identity = alice,
        .sender = bytes_text("alice"),
        .publish_id = position,
        .stored_ms = 1000 + (int64_t)position,
        .count = 1,
        .scope = {7},
        .position = position,
        .payload = bytes_text(payload),
    };
}

static uint64_t put(struct streams *s, const struct stored_message *m)
{
    uint64_t number = 0;

    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_put(s, m, &number, NULL, NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    return number;
}

static void fill(struct streams *s, uint64_t count)
{
    assert_int_equal(streams_begin(s, NULL), 0);
    for (uint64_t i = 1; i <= count; i++) {
        struct stored_message m = message("a/x", i, "payload");
        uint64_t number;

        assert_int_equal(streams_put(s, &m, &number, NULL, NULL), 0);
        assert_true(number > 0);
    }
    assert_int_equal(streams_commit(s, NULL), 0);
}

struct seen {
    uint64_t numbers[4096], positions[4096];
    size_t count;
    char last_topic[64], last_key[16];
};

static bool take(void *context, const struct stored_message *m)
{
    struct seen *seen = context;

    assert_true(seen->count < COUNT_OF(seen->numbers));
    seen->numbers[seen->count] = m->number;
    seen->positions[seen->count++] = m->publish_id;
    (void)snprintf(seen->last_topic, sizeof(seen->last_topic), "%.*s", (int)m->topic.size,
                   (const char *)m->topic.at);
    (void)snprintf(seen->last_key, sizeof(seen->last_key), "%.*s", (int)m->key.size,
                   (const char *)m->key.at);
    assert_memory_equal(m->identity, alice, sizeof(alice));
    assert_true(bytes_equal_text(m->sender, "alice"));
    return true;
}

static struct seen *read_all(struct streams *s, const char *filter, uint64_t after, uint64_t reader)
{
    static struct seen seen;
    struct streams_query query = {.after = after,
                                  .filter = bytes_text(filter),
                                  .reader = reader,
                                  .identities = bytes_of(bob, SIGN_PUBLIC_SIZE),
                                  .count_max = 4096,
                                  .bytes_max = 1 << 30};
    bool more = true;

    memset(&seen, 0, sizeof(seen));
    while (more)
        assert_int_equal(streams_read(s, &query, take, &seen, &query.after, &more, NULL), 0);
    return &seen;
}

static void what_was_committed_is_there_in_order(void **state UNUSED)
{
    struct streams *s = open_store();
    struct seen *seen;
    uint64_t last = 0, tenth;

    fill(s, 100);
    streams_close(&s);
    s = open_store();
    seen = read_all(s, "a/*", 0, 0);
    assert_int_equal(seen->count, 100);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(seen->positions[i], i + 1);
    assert_int_equal(streams_last(s, &last, NULL), 0);
    assert_int_equal(last, seen->numbers[99]);
    tenth = seen->numbers[9];
    assert_int_equal(read_all(s, "b/**", 0, 0)->count, 0);
    assert_int_equal(read_all(s, "a/x", tenth, 0)->count, 90);
    streams_close(&s);
}

static void what_is_sent_again_is_stored_once(void **state UNUSED)
{
    struct streams *s = open_store();
    struct stored_message m = message("a/x", 5, "one");

    assert_true(put(s, &m) > 0);
    assert_int_equal(put(s, &m), 0);
    m.position = 4;
    assert_int_equal(put(s, &m), 0);
    m.topic = bytes_text("a/y");
    assert_true(put(s, &m) > 0);
    m.scope[0]++;
    assert_true(put(s, &m) > 0);
    streams_close(&s);
    s = open_store();
    assert_int_equal(put(s, &m), 0);
    m.identity = bob;
    assert_true(put(s, &m) > 0);
    streams_close(&s);
}

static void what_was_rolled_back_never_was(void **state UNUSED)
{
    struct streams *s = open_store();
    struct stored_message m = message("a/x", 1, "one");
    uint64_t number;

    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_put(s, &m, &number, NULL, NULL), 0);
    streams_rollback(s);
    assert_int_equal(read_all(s, "**", 0, 0)->count, 0);
    assert_true(put(s, &m) > 0);
    streams_close(&s);
}

static int count_bob(void *context, struct bytes component)
{
    assert_true(bytes_equal_text(component, "bob"));
    ++*(size_t *)context;
    return 0;
}

static size_t readers_of(struct streams *s, const char *topic)
{
    size_t count = 0;

    assert_int_equal(streams_readers_of(s, bytes_text(topic), count_bob, &count, NULL), 0);
    return count;
}

static void a_durable_reader_goes_on_where_it_was(void **state UNUSED)
{
    struct streams *s = open_store();
    struct streams_reader r = {0}, again = {0};
    struct seen *seen;

    fill(s, 10);
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text("d"),
                                    bytes_text("a/**"), STREAMS_ALL, 0, &r, NULL),
                     0);
    assert_false(r.existed);
    assert_int_equal(r.floor, 0);
    assert_int_equal(streams_settle(s, r.id, 5, 0, NULL), 0); /* out of order */
    assert_int_equal(streams_settle(s, r.id, 1, 1, NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    streams_close(&s);

    s = open_store();
    assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text("d"),
                                    bytes_text("a/**"), STREAMS_NEW, 0, &again, NULL),
                     0);
    assert_true(again.existed);
    assert_int_equal(again.floor, 1);
    seen = read_all(s, "a/**", again.floor, again.id);
    assert_int_equal(seen->count, 8);
    assert_int_equal(seen->positions[0], 2);
    for (size_t i = 0; i < seen->count; i++)
        assert_int_not_equal(seen->positions[i], 5);
    assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text("d"),
                                    bytes_text("a/x"), STREAMS_NEW, 0, &again, NULL),
                     AICO_EEXISTS);
    assert_int_equal(readers_of(s, "a/x"), 1);
    assert_int_equal(readers_of(s, "b/x"), 0);
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_settle(s, r.id, 6, 6, NULL), 0);
    assert_int_equal(streams_forget(s, bytes_text("bob"), bytes_text("d"), NULL), 0);
    assert_int_equal(streams_forget(s, bytes_text("bob"), bytes_text("d"), NULL), AICO_ENOTFOUND);
    assert_int_equal(streams_commit(s, NULL), 0);
    streams_close(&s);
}

static uint64_t floor_of(struct streams *s, enum streams_start start, uint64_t value)
{
    struct streams_reader r = {0};

    assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text(""),
                                    bytes_text("a/x"), start, value, &r, NULL),
                     0);
    assert_int_equal(r.id, 0);
    return r.floor;
}

static void a_reader_begins_at_a_time_a_number_all_or_the_last(void **state UNUSED)
{
    struct streams *s = open_store();
    struct stored_message other = message("a/y", 1, "other");

    assert_int_equal(floor_of(s, STREAMS_LAST, 0), 0);
    fill(s, 20); /* stored at 1001..1020 */
    other.stored_ms = 2000;
    assert_int_equal(put(s, &other), 21);
    assert_int_equal(floor_of(s, STREAMS_NEW, 0), 21);
    assert_int_equal(floor_of(s, STREAMS_ALL, 0), 0);
    assert_int_equal(floor_of(s, STREAMS_NUMBER, 7), 6);
    assert_int_equal(floor_of(s, STREAMS_LAST, 0), 19);
    for (uint64_t t = 1001; t <= 1020; t++)
        assert_int_equal(floor_of(s, STREAMS_TIME, t), t - 1001);
    assert_int_equal(floor_of(s, STREAMS_TIME, 0), 0);
    assert_int_equal(floor_of(s, STREAMS_TIME, 3000), 21);
    streams_close(&s);
}

static void trim(struct streams *s, struct rule_store limits, int64_t now_ms, uint64_t expected)
{
    struct streams_removed removed;
    uint64_t sum = 0;
    bool more = true;

    limits.on = true;
    while (more) {
        assert_int_equal(streams_begin(s, NULL), 0);
        assert_int_equal(
            streams_trim(s, bytes_text(STREAM), &limits, now_ms, 7, &removed, &more, NULL), 0);
        assert_int_equal(streams_commit(s, NULL), 0);
        sum += removed.count;
    }
    assert_int_equal(sum, expected);
}

static void retention_is_by_age_count_and_bytes(void **state UNUSED)
{
    struct streams *s = open_store();
    CLEANUP(buffer_deinit)
    struct buffer json = {0};
    struct streams_removed removed;

    fill(s, 100); /* of 7 bytes each */
    trim(s, (struct rule_store){.count = 90}, 5000, 10);
    trim(s, (struct rule_store){.bytes = 7 * 80 + 3}, 5000, 10);
    trim(s, (struct rule_store){.age_s = 1}, 2031, 10); /* older than 1031 */
    assert_int_equal(read_all(s, "**", 0, 0)->count, 70);
    assert_int_equal(read_all(s, "**", 0, 0)->positions[0], 31);
    assert_int_equal(streams_json(s, bytes_of(NULL, 0), &json, NULL), 0);
    assert_int_equal(buffer_append(&json, bytes_of("", 1)), 0);
    assert_string_equal(
        (char *)json.at,
        "[{\"stream\":\"a/"
        "**\",\"messages\":70,\"bytes\":490,\"first\":31,\"last\":100,\"values\":0}]");
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_purge(s, bytes_text(STREAM), 40, &removed, NULL), 0);
    assert_int_equal(removed.count, 10);
    assert_int_equal(streams_purge(s, bytes_text(STREAM), 0, &removed, NULL), 0);
    assert_int_equal(removed.count, 60);
    assert_int_equal(streams_purge(s, bytes_text("b"), 0, &removed, NULL), AICO_ENOTFOUND);
    assert_int_equal(streams_commit(s, NULL), 0);
    fill(s, 0);
    assert_int_equal(read_all(s, "**", 0, 0)->count, 0);
    /* Numbers are not given out again, and what was stored once is not stored again. */
    struct stored_message m = message("a/x", 100, "again");

    assert_int_equal(put(s, &m), 0);
    m.position = 101;
    assert_int_equal(put(s, &m), 101);
    streams_close(&s);
}

static void a_message_comes_with_the_key_of_who_asks(void **state UNUSED)
{
    struct streams *s = open_store();
    static const uint8_t key_id[STREAMS_KEY_ID_SIZE] = "key-id-12345";
    struct stored_message m = message("a/x", 1, "AICO-MSGkey-id-12345rest");

    assert_true(put(s, &m) > 0);
    assert_string_equal(read_all(s, "**", 0, 0)->last_key, "");
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_put_key(s, alice, bytes_text("alice"), key_id, bob,
                                     bytes_text("for bob"), 9, NULL, NULL),
                     0);
    assert_int_equal(streams_put_key(s, alice, bytes_text("alice"), key_id, alice,
                                     bytes_text("for alice"), 9, NULL, NULL),
                     0);
    assert_int_equal(streams_put_key(s, bob, bytes_text("bob"), key_id, bob, bytes_text("another"),
                                     9, NULL, NULL),
                     0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_string_equal(read_all(s, "**", 0, 0)->last_key, "for bob");
    streams_close(&s);
}

/* The key of a generation is left before its first message. */
static void a_sender_keeps_its_name_when_its_key_came_first(void **state UNUSED)
{
    static const uint8_t key_id[STREAMS_KEY_ID_SIZE] = "key-id-12345";
    struct streams *s = open_store();
    struct stored_message m = message("a/x", 1, "AICO-MSGkey-id-12345rest");

    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_put_key(s, alice, bytes_text("alice"), key_id, bob,
                                     bytes_text("for bob"), 9, NULL, NULL),
                     0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_true(put(s, &m) > 0);
    assert_string_equal(read_all(s, "**", 0, 0)->last_key, "for bob"); /* and checks the name */
    streams_close(&s);
}

static void keys_go_when_their_messages_are_gone(void **state UNUSED)
{
    const int64_t later = (int64_t)3 * 24 * 3600 * 1000;
    struct streams *s = open_store();
    static const uint8_t key_id[STREAMS_KEY_ID_SIZE] = "key-id-12345";
    struct stored_message m = message("a/x", 1, "AICO-MSGkey-id-12345rest");
    struct streams_removed removed;

    memcpy(m.scope, key_id, sizeof(key_id));
    memset(m.scope + sizeof(key_id), 0, sizeof(m.scope) - sizeof(key_id));
    assert_true(put(s, &m) > 0);
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_put_key(s, alice, bytes_text("alice"), key_id, bob,
                                     bytes_text("for bob"), 9, NULL, NULL),
                     0);
    sweep(s, later);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_string_equal(read_all(s, "**", 0, 0)->last_key, "for bob");
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_purge(s, bytes_text(STREAM), 0, &removed, NULL), 0);
    sweep(s, 1000); /* too early */
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(put(s, &m), 0);
    m.stored_ms = later * 2;
    assert_int_equal(streams_begin(s, NULL), 0);
    sweep(s, later);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_true(put(s, &m) > 0); /* the mark is gone */
    assert_string_equal(read_all(s, "**", 0, 0)->last_key, "");
    streams_close(&s);
}

/* --- rows that no key of the settings bounds ----------------------------------------------------
 */

static int follow_as(struct streams *s, const char *component, const char *maker, const char *name,
                     struct streams_reader *ret, struct aico_error *err)
{
    int r;

    assert_int_equal(streams_begin(s, NULL), 0);
    r = streams_follow(s, bytes_text(component), bytes_text(maker), bytes_text(name),
                       bytes_text(STREAM), STREAMS_NEW, 0, ret, err);
    assert_int_equal(streams_commit(s, NULL), 0);
    return r;
}

/* Also those of queue groups are of who made them, and take nothing from the group's others. */
static void a_component_names_so_many_readers_and_no_more(void **state UNUSED)
{
    struct streams *s = open_store();
    struct streams_reader reader = {0};
    struct aico_error err = {0};

    streams_limit(s, &(struct streams_limits){.readers = 3, .marks = 99, .keys = 999});
    assert_int_equal(follow_as(s, "mallory", "mallory", "1", &reader, NULL), 0);
    assert_int_equal(follow_as(s, "$work", "mallory", "2", &reader, NULL), 0);
    assert_int_equal(follow_as(s, "mallory", "mallory", "3", &reader, NULL), 0);
    assert_int_equal(reader.count, 3);
    assert_int_equal(follow_as(s, "mallory", "mallory", "4", &reader, &err), AICO_EQUOTA);
    assert_non_null(strstr(err.text, "mallory has 3 durable readers"));
    assert_non_null(strstr(err.text, "4 is not"));
    assert_int_equal(follow_as(s, "$work", "mallory", "5", &reader, NULL), AICO_EQUOTA);

    /* What is there goes on, and another has its own. */
    assert_int_equal(follow_as(s, "mallory", "mallory", "3", &reader, NULL), 0);
    assert_true(reader.existed);
    assert_int_equal(follow_as(s, "$work", "bob", "2", &reader, NULL), 0);
    assert_true(reader.existed);
    assert_int_equal(follow_as(s, "$work", "bob", "6", &reader, NULL), 0);
    assert_int_equal(reader.count, 1);

    /* Forgetting one makes room. */
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_forget(s, bytes_text("mallory"), bytes_text("1"), NULL), 0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(follow_as(s, "mallory", "mallory", "4", &reader, NULL), 0);
    streams_close(&s);
}

static uint64_t count_rows(const char *table)
{
    sqlite3_stmt *q = NULL;
    sqlite3 *db = NULL;
    char text[128];
    uint64_t count;

    (void)snprintf(text, sizeof(text), "SELECT count(*) FROM %s", table);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    count = (uint64_t)sqlite3_column_int64(q, 0);
    (void)sqlite3_finalize(q);
    (void)sqlite3_close(db);
    return count;
}

/* Whoever has the store looks at no more than so many at a time. */
static void the_last_message_is_looked_for_in_steps(void **state UNUSED)
{
    enum { OTHERS = 9000 };
    static const struct {
        const char *filter;
        uint64_t floor;
    } cases[] = {{"b/**", 0}, {"none/**", OTHERS + 1}};
    struct streams *s = open_store();
    struct stored_message m = message("b/x", 1, "x");

    assert_int_equal(put(s, &m), 1);
    fill(s, OTHERS);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct streams_reader r = {0};
        int steps = 0;

        do {
            assert_int_equal(streams_begin(s, NULL), 0);
            assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"),
                                            bytes_text(cases[i].filter),
                                            bytes_text(cases[i].filter), STREAMS_LAST, 0, &r, NULL),
                             0);
            assert_int_equal(streams_commit(s, NULL), 0);
            assert_int_equal(r.id == 0, r.below > 0); /* kept when it has a place, not before */
            assert_in_range(++steps, 1, 3);
        } while (r.below > 0);
        assert_int_equal(steps, 3);
        assert_int_equal(r.floor, cases[i].floor);
    }
    streams_close(&s);
}

static int put_on(struct streams *s, const uint8_t *who, const char *topic, uint64_t position,
                  uint64_t *ret_number, uint64_t *ret_marks)
{
    struct stored_message m = message(topic, position, "x");
    int r;

    m.identity = who;
    m.sender = bytes_text(who == bob ? "bob" : "alice");
    assert_int_equal(streams_begin(s, NULL), 0);
    r = streams_put(s, &m, ret_number, ret_marks, NULL);
    assert_int_equal(streams_commit(s, NULL), 0);
    return r;
}

static void a_sender_says_so_many_topics_and_no_more(void **state UNUSED)
{
    const int64_t later = (int64_t)3 * 24 * 3600 * 1000;
    struct streams *s = open_store();
    struct streams_removed removed;
    uint64_t number, marks, last;
    char topic[16];

    streams_limit(s, &(struct streams_limits){.readers = 9, .marks = 5, .keys = 999});
    for (int i = 0; i < 5; i++) {
        (void)snprintf(topic, sizeof(topic), "a/%d", i);
        assert_int_equal(put_on(s, alice, topic, 1, &number, &marks), 0);
        assert_int_equal(marks, i + 1);
    }
    for (int i = 5; i < 20; i++) {
        (void)snprintf(topic, sizeof(topic), "a/%d", i);
        assert_int_equal(put_on(s, alice, topic, 1, &number, &marks), AICO_EQUOTA);
    }
    assert_int_equal(count_rows("topic"), 5);
    assert_int_equal(count_rows("mark"), 5);
    assert_int_equal(put_on(s, alice, "a/0", 2, &number, &marks), 0); /* what is there goes on */
    assert_int_equal(marks, 0);
    assert_int_equal(put_on(s, bob, "a/9", 1, &last, &marks), 0); /* and so do others */
    assert_int_equal(marks, 1);

    /* What retention takes makes room after a day, and its names go with it. */
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_purge(s, bytes_text(STREAM), number, &removed, NULL), 0);
    sweep(s, 2000); /* too early */
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(count_rows("topic"), 6);
    assert_int_equal(put_on(s, alice, "a/9", 1, &number, &marks), AICO_EQUOTA);
    assert_int_equal(streams_begin(s, NULL), 0);
    sweep(s, later);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(count_rows("topic"), 1); /* bob's message is there */
    assert_int_equal(count_rows("item JOIN topic ON topic.id=item.topic WHERE name='a/9'"), 1);
    assert_int_equal(put_on(s, bob, "a/9", 1, &number, &marks), 0);
    assert_int_equal(number, 0); /* and is known, and numbers go on */
    assert_int_equal(put_on(s, alice, "a/9", 1, &number, &marks), 0);
    assert_int_equal(number, last + 1);
    assert_int_equal(marks, 1);
    streams_close(&s);
}

/* What a store of the layout before holds counts as well. */
static void what_was_there_before_counts(void **state UNUSED)
{
    struct streams *s = open_store();
    struct streams_reader reader = {0};
    uint64_t number, marks;
    sqlite3 *db = NULL;

    assert_int_equal(put_on(s, alice, "a/0", 1, &number, &marks), 0);
    assert_int_equal(put_on(s, alice, "a/1", 1, &number, &marks), 0);
    assert_int_equal(follow_as(s, "bob", "bob", "1", &reader, NULL), 0);
    streams_close(&s);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, UNDO_6 "PRAGMA user_version=5;", NULL, NULL, NULL),
                     SQLITE_OK);
    (void)sqlite3_close(db);
    s = open_store();
    streams_limit(s, &(struct streams_limits){.readers = 1, .marks = 2, .keys = 0});
    assert_int_equal(put_on(s, alice, "a/2", 1, &number, &marks), AICO_EQUOTA);
    assert_int_equal(put_on(s, alice, "a/1", 2, &number, &marks), 0);
    assert_int_equal(follow_as(s, "bob", "bob", "2", &reader, NULL), AICO_EQUOTA);
    assert_int_equal(follow_as(s, "bob", "bob", "1", &reader, NULL), 0);
    streams_close(&s);
}

static void a_sender_leaves_so_many_keys_and_no_more(void **state UNUSED)
{
    const int64_t later = (int64_t)3 * 24 * 3600 * 1000;
    struct streams *s = open_store();
    uint8_t key_id[STREAMS_KEY_ID_SIZE] = {0};
    uint64_t used = 0;

    streams_limit(s, &(struct streams_limits){.readers = 9, .marks = 9, .keys = 4 * (64 + 6)});
    assert_int_equal(streams_begin(s, NULL), 0);
    for (key_id[0] = 0; key_id[0] < 20; key_id[0]++) {
        int r = streams_put_key(s, alice, bytes_text("alice"), key_id, bob, bytes_text("secret"), 9,
                                &used, NULL);

        assert_int_equal(r, key_id[0] < 4 ? 0 : AICO_EQUOTA);
    }
    assert_int_equal(used, 5 * (64 + 6));
    key_id[0] = 1; /* with every link the same ones are left again */
    assert_int_equal(streams_put_key(s, alice, bytes_text("alice"), key_id, bob,
                                     bytes_text("secret"), 9, &used, NULL),
                     0);
    assert_int_equal(used, 4 * (64 + 6));
    key_id[0] = 9;
    assert_int_equal(
        streams_put_key(s, bob, bytes_text("bob"), key_id, bob, bytes_text("key"), 9, NULL, NULL),
        0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(count_rows("key"), 5);
    assert_int_equal(streams_begin(s, NULL), 0);
    sweep(s, later); /* no message was sealed with them */
    assert_int_equal(streams_put_key(s, alice, bytes_text("alice"), key_id, bob,
                                     bytes_text("secret"), 9, &used, NULL),
                     0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(used, 64 + 6);
    streams_close(&s);
}

static void a_full_disk_is_refused_and_what_is_stored_stays(void **state UNUSED)
{
    struct streams *s = open_store();
    struct rlimit unlimited, limit;
    struct aico_error err = {0};
    char *large = calloc(1, 300 * 1024);
    struct stored_message m = message("a/x", 1000, "x");
    uint64_t number;
    int r;

    assert_non_null(large);
    fill(s, 50);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    limit = unlimited;
    limit.rlim_cur = 256 * 1024;
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    m.payload = bytes_of(large, 300 * 1024);
    r = streams_begin(s, &err);
    if (r == 0)
        r = streams_put(s, &m, &number, NULL, &err);
    if (r == 0)
        r = streams_commit(s, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    if (r != AICO_ESTOREFULL)
        fail_msg("%s", err.text);
    streams_rollback(s);
    assert_int_equal(read_all(s, "**", 0, 0)->count, 50);
    assert_true(put(s, &m) > 0); /* there is room again */
    streams_close(&s);
    free(large);
}

/* One page after the other is overwritten: what is not on it is read, the rest is named, and
 * nothing comes that was not stored. */
static void a_damaged_page_is_named(void **state UNUSED)
{
    struct streams *s = open_store();
    struct aico_error err = {0};
    uint8_t page[4096];
    int named = 0, fd;
    struct stat st;

    fill(s, 200);
    streams_close(&s);
    assert_int_equal(stat(path, &st), 0);
    fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (off_t at = 4096; at < st.st_size; at += 4096) {
        static struct seen seen;
        struct streams_query query = {
            .filter = bytes_text("**"), .count_max = 4096, .bytes_max = 1 << 30};
        static const uint8_t garbage[4096] = {0xa5, 0x5a};
        bool more;
        int r;

        assert_int_equal(pread(fd, page, sizeof(page), at), sizeof(page));
        assert_int_equal(pwrite(fd, garbage, sizeof(garbage), at), sizeof(garbage));
        memset(&seen, 0, sizeof(seen));
        r = streams_open(path, &s, &err);
        if (r == 0)
            r = streams_read(s, &query, take, &seen, &query.after, &more, &err);
        if (r < 0) {
            assert_int_equal(r, AICO_ESTOREDAMAGED);
            named++;
        }
        for (size_t i = 0; i < seen.count; i++)
            assert_int_equal(seen.positions[i], seen.numbers[i]);
        streams_close(&s);
        assert_int_equal(pwrite(fd, page, sizeof(page), at), sizeof(page));
    }
    assert_true(named > 0);
    (void)close(fd);
    s = open_store();
    assert_int_equal(read_all(s, "**", 0, 0)->count, 200);
    streams_close(&s);
}

static void a_file_that_is_none_of_ours_is_refused(void **state UNUSED)
{
    struct streams *s = NULL;
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    (void)fputs("this is no database, whatever its name says, and it is long enough to tell", file);
    (void)fclose(file);
    assert_int_equal(streams_open(path, &s, NULL), AICO_EMODE);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(streams_open(path, &s, NULL), AICO_ESTOREDAMAGED);
    assert_null(s);
}

/* A writer is killed at a random moment, again and again: what it said was committed is there, and
 * the rest is there whole or not at all. */
static void kill_loses_nothing_that_was_committed(void **state UNUSED)
{
    uint64_t told = 0;

    for (int round = 0; round < 12; round++) {
        int pipes[2];
        pid_t pid;
        uint64_t position;
        struct streams *s;
        struct seen *seen;

        assert_int_equal(pipe(pipes), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            s = open_store();
            for (position = told + 1; position < 4000; position += 3) {
                uint64_t number;

                (void)!streams_begin(s, NULL);
                for (uint64_t i = position; i < position + 3; i++) {
                    struct stored_message m = message("a/x", i, "payload");

                    (void)!streams_put(s, &m, &number, NULL, NULL);
                }
                if (streams_commit(s, NULL) < 0)
                    _exit(1);
                position += 0;
                uint64_t up_to = position + 2;

                if (write(pipes[1], &up_to, sizeof(up_to)) != sizeof(up_to))
                    _exit(1);
            }
            _exit(0);
        }
        (void)close(pipes[1]);
        for (int i = 0; i < 1 + round * 3; i++)
            if (read(pipes[0], &position, sizeof(position)) == sizeof(position))
                told = position;
        (void)kill(pid, SIGKILL);
        while (read(pipes[0], &position, sizeof(position)) == sizeof(position))
            told = position;
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        (void)close(pipes[0]);
        s = open_store();
        seen = read_all(s, "**", 0, 0);
        assert_true(seen->count >= told);
        assert_int_equal(seen->count % 3, 0);
        for (size_t i = 0; i < seen->count; i++)
            assert_int_equal(seen->positions[i], i + 1);
        told = seen->count;
        streams_close(&s);
    }
    assert_true(told > 0);
}

/* A model in memory takes the same random steps. */
static void random_steps_agree_with_a_model(void **state UNUSED)
{
    struct streams *s = open_store();
    static uint64_t stored[2048];
    size_t first = 0, count = 0;
    uint64_t high = 0;
    unsigned seed = 12345;

    for (int step = 0; step < 400; step++) {
        int what = rand_r(&seed) % 10;

        if (what < 6) {
            struct stored_message m = message("a/x", 1 + (uint64_t)rand_r(&seed) % (high + 3), "p");
            bool is_new = m.position > high;

            assert_int_equal(put(s, &m) > 0, is_new);
            if (is_new)
                stored[count++] = high = m.position;
        } else if (what < 8) {
            struct rule_store limits = {.count = 1 + (uint64_t)rand_r(&seed) % 60};
            size_t over = count - first > limits.count ? count - first - limits.count : 0;

            trim(s, limits, 0, over);
            first += over;
        } else if (what == 8) {
            streams_close(&s);
            s = open_store();
        } else {
            struct seen *seen = read_all(s, "a/**", 0, 0);

            assert_int_equal(seen->count, count - first);
            for (size_t i = 0; i < seen->count; i++)
                assert_int_equal(seen->positions[i], stored[first + i]);
        }
    }
    streams_close(&s);
}

static void dead_letters_are_listed_with_their_reason(void **state UNUSED)
{
    struct streams *s = open_store();
    struct streams_reader r = {0};
    CLEANUP(buffer_deinit)
    struct buffer json = {0};

    fill(s, 3);
    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text("d"),
                                    bytes_text("a/**"), STREAMS_ALL, 0, &r, NULL),
                     0);
    assert_int_equal(streams_bury(s, r.id, 2, AICO_EOPEN, 5, bytes_text("no \"key\""), 77, NULL),
                     0);
    assert_int_equal(streams_commit(s, NULL), 0);
    assert_int_equal(streams_json(s, bytes_text(STREAM), &json, NULL), 0);
    assert_non_null(memmem(json.at, json.size,
                           "\"number\":2,\"topic\":\"a/x\",\"cause\":\"E_OPEN\",\"attempts\":5,"
                           "\"reason\":\"no \\\"key\\\"\"",
                           72));
    assert_int_equal(streams_json(s, bytes_text("nothing"), &json, NULL), AICO_ENOTFOUND);
    streams_close(&s);
}

/* --- starting with much in it -------------------------------------------------------------------
 */

/* A broker that stored @count messages, of which its reader has all but ten, and was killed. */
static void store_and_die(uint64_t count)
{
    pid_t child = fork();
    struct streams_reader r;
    struct streams *s;
    int status;

    if (child != 0) {
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        return;
    }
    s = open_store();
    if (streams_text(s, "PRAGMA synchronous=OFF", NULL) < 0) /* no power goes here */
        _exit(1);
    for (uint64_t i = 1; i <= count; i++) {
        struct stored_message m = message("a/x", i, "payload");
        uint64_t number;

        if ((i % 20 == 1 && streams_begin(s, NULL) < 0) ||
            streams_put(s, &m, &number, NULL, NULL) < 0 ||
            ((i % 20 == 0 || i == count) && streams_commit(s, NULL) < 0))
            _exit(1);
    }
    if (streams_begin(s, NULL) < 0 ||
        streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text("d"), bytes_text("a/**"),
                       STREAMS_NUMBER, count - 9, &r, NULL) < 0 ||
        streams_commit(s, NULL) < 0)
        _exit(1);
    _exit(0);
}

struct cost {
    int pages, steps; /* read, and of SQLite's machine */
    off_t log;        /* bytes that are read again to find out what was committed */
};

static int no_statement(void *context UNUSED, const uint8_t identity[SIGN_PUBLIC_SIZE] UNUSED,
                        struct bytes statement UNUSED)
{
    return 0;
}

/* What a broker asks of its store before it has given a reader its first message. */
static struct cost cost_of_start(uint64_t count)
{
    struct streams_query query = {.filter = bytes_text("a/**"), .count_max = 1, .bytes_max = 1000};
    struct cost cost = {0};
    struct seen seen = {0};
    struct streams_reader r;
    struct streams *s;
    struct stat st;
    uint64_t last = 0;
    bool more;
    char log[104];
    int most;

    (void)fresh_path(NULL);
    store_and_die(count);
    (void)snprintf(log, sizeof(log), "%s-wal", path);
    assert_int_equal(stat(log, &st), 0);
    cost.log = st.st_size;
    s = open_store();
    assert_int_equal(streams_statements(s, no_statement, NULL, NULL), 0);
    assert_int_equal(streams_prekeys(s, no_statement, NULL, NULL), 0);
    assert_int_equal(streams_last(s, &last, NULL), 0);
    assert_int_equal(last, count);
    assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text("d"),
                                    bytes_text("a/**"), STREAMS_ALL, 0, &r, NULL),
                     0);
    query.after = r.floor;
    query.reader = r.id;
    assert_int_equal(streams_read(s, &query, take, &seen, &query.after, &more, NULL), 0);
    assert_int_equal(seen.numbers[0], count - 9);
    assert_int_equal(sqlite3_db_status(s->db, SQLITE_DBSTATUS_CACHE_MISS, &cost.pages, &most, 0),
                     SQLITE_OK);
    for (size_t i = 0; i < SQL_COUNT; i++)
        if (s->statements[i])
            cost.steps += sqlite3_stmt_status(s->statements[i], SQLITE_STMTSTATUS_VM_STEP, 0);
    streams_close(&s);
    return cost;
}

static void what_a_start_costs_does_not_grow_with_what_is_stored(void **state UNUSED)
{
    struct cost few = cost_of_start(1000), many = cost_of_start(50000);

    assert_true(few.pages > 0 && few.steps > 0);
    assert_in_range(many.pages, 0, few.pages + 8); /* a tree is a page or two higher */
    assert_in_range(many.steps, 0, few.steps + 8);
    assert_in_range(many.log, 1, 5000 * 4120); /* 4000 pages, and what one transaction writes */
}

static int set_up(void **state UNUSED)
{
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_one(const char *name, const struct stat *st UNUSED, int type UNUSED,
                      struct FTW *ftw UNUSED)
{
    return remove(name);
}

static int tear_down(void **state UNUSED)
{
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* What one call looks at, at most, where there are @count topics, keys and dead letters, and half
 * of the keys are of no message. */
static int dearest_sweep(uint64_t count)
{
    const int64_t later = (int64_t)3 * 24 * 3600 * 1000;
    struct streams *s = open_store();
    struct streams_reader r;
    int dearest = 0;
    bool more = true;
    uint64_t bytes;

    assert_int_equal(streams_begin(s, NULL), 0);
    assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text("d"),
                                    bytes_text("**"), STREAMS_ALL, 0, &r, NULL),
                     0);
    for (uint64_t i = 1; i <= count; i++) {
        uint8_t key_id[STREAMS_KEY_ID_SIZE] = {(uint8_t)i, (uint8_t)(i >> 8)};
        struct stored_message m;
        char topic[32];
        uint64_t number;

        (void)snprintf(topic, sizeof(topic), "a/%llu", (unsigned long long)i);
        m = message(topic, i, "x");
        if (i % 2)
            memcpy(m.scope, key_id, sizeof(key_id));
        assert_int_equal(streams_put(s, &m, &number, NULL, NULL), 0);
        assert_int_equal(streams_put_key(s, alice, bytes_text("alice"), key_id, bob,
                                         bytes_text("key"), 1000, &bytes, NULL),
                         0);
        assert_int_equal(
            streams_bury(s, r.id, number, AICO_EDEADLETTER, 1, bytes_text("no"), 1000, NULL), 0);
    }
    assert_int_equal(streams_commit(s, NULL), 0);
    (void)steps_since(s);
    while (more) {
        int steps;

        assert_int_equal(streams_sweep(s, later, 100, &more, NULL), 0);
        steps = steps_since(s);
        dearest = MAX(dearest, steps);
    }
    assert_int_equal(count_rows("key"), (count + 1) / 2);
    assert_int_equal(count_rows("mark"), count);
    assert_int_equal(count_rows("topic"), count);
    assert_int_equal(count_rows("dead"), count);
    streams_close(&s);
    return dearest;
}

static void what_a_sweep_costs_does_not_grow_with_what_is_stored(void **state UNUSED)
{
    int few = dearest_sweep(300), many;

    (void)fresh_path(NULL);
    many = dearest_sweep(3000);
    assert_in_range(many, 100, 3 * few / 2);
}

#define TEST(name) cmocka_unit_test_setup(name, fresh_path)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_committed_is_there_in_order),
        TEST(what_is_sent_again_is_stored_once),
        TEST(what_was_rolled_back_never_was),
        TEST(a_durable_reader_goes_on_where_it_was),
        TEST(a_reader_begins_at_a_time_a_number_all_or_the_last),
        TEST(retention_is_by_age_count_and_bytes),
        TEST(a_message_comes_with_the_key_of_who_asks),
        TEST(a_sender_keeps_its_name_when_its_key_came_first),
        TEST(keys_go_when_their_messages_are_gone),
        TEST(dead_letters_are_listed_with_their_reason),
        TEST(a_component_names_so_many_readers_and_no_more),
        TEST(what_a_sweep_costs_does_not_grow_with_what_is_stored),
        TEST(the_last_message_is_looked_for_in_steps),
        TEST(a_sender_says_so_many_topics_and_no_more),
        TEST(what_was_there_before_counts),
        TEST(a_sender_leaves_so_many_keys_and_no_more),
        TEST(a_full_disk_is_refused_and_what_is_stored_stays),
        TEST(a_damaged_page_is_named),
        TEST(a_file_that_is_none_of_ours_is_refused),
        TEST(kill_loses_nothing_that_was_committed),
        TEST(what_a_start_costs_does_not_grow_with_what_is_stored),
        TEST(random_steps_agree_with_a_model),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
