/* SPDX-License-Identifier: Apache-2.0 */
/* What readers will not get: counted exactly, told until they say so, whoever removed it. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/writer.h"
#include "store/streams.h"

#define STREAM "a/**"
#define NOW 5000

static char path[64];
static const uint8_t alice[SIGN_PUBLIC_SIZE] = {1}, bob[SIGN_PUBLIC_SIZE] = {2};

static void remove_files(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char name[96];

    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
}

static struct streams *open_store(void)
{
    struct streams *s = NULL;

    assert_int_equal(streams_open(path, &s, NULL), 0);
    return s;
}

static int fresh(void **state UNUSED)
{
    static int count;

    (void)snprintf(path, sizeof(path), "/tmp/aico-missed-%d-%d.db", (int)getpid(), count++);
    remove_files();
    return 0;
}

static int clear(void **state UNUSED)
{
    remove_files();
    return 0;
}

static void begin(struct streams *s)
{
    assert_int_equal(streams_begin(s, NULL), 0);
}

static void commit(struct streams *s)
{
    assert_int_equal(streams_commit(s, NULL), 0);
}

/* Number @position of @topic, good until @expires_ms. */
static uint64_t say(struct streams *s, const char *topic, uint64_t position, int64_t expires_ms)
{
    struct stored_message m = {
        .stream = bytes_text(STREAM),
        .topic = bytes_text(topic),
        .identity = alice,
        .sender = bytes_text("alice"),
        .publish_id = position,
        .stored_ms = 1000 + (int64_t)position,
        .count = 2,
        .expires_ms = expires_ms,
        .scope = {7},
        .position = position,
        .payload = bytes_text("payload"),
    };
    uint64_t number = 0;

    begin(s);
    assert_int_equal(streams_put(s, &m, &number, NULL, NULL), 0);
    commit(s);
    assert_true(number > 0);
    return number;
}

static uint64_t follow(struct streams *s, const char *name, const char *filter)
{
    struct streams_reader reader;

    begin(s);
    assert_int_equal(streams_follow(s, bytes_text("bob"), bytes_text("bob"), bytes_text(name),
                                    bytes_text(filter), STREAMS_ALL, 0, &reader, NULL),
                     0);
    commit(s);
    return reader.id;
}

struct told {
    size_t rows;
    uint64_t count, token, number, before;
    int code;
    bool one;
    char topic[32];
};

static bool take(void *context, const struct missed *m)
{
    struct told *told = context;

    told->rows++;
    told->count += m->count;
    told->token = m->token;
    told->number = m->number;
    told->before = m->told;
    told->code = m->code;
    told->one = m->one;
    (void)snprintf(told->topic, sizeof(told->topic), "%.*s", (int)m->topic.size,
                   (const char *)m->topic.at);
    assert_true(bytes_equal_text(m->sender, "alice"));
    assert_memory_equal(m->identity, alice, sizeof(alice));
    return true;
}

static struct told tell_but(struct streams *s, uint64_t reader, const uint8_t *box,
                            struct bytes out, struct bytes open)
{
    struct told told = {0};
    bool more = true;

    begin(s);
    assert_int_equal(streams_missed(s, reader, box, out, open, 64, take, &told, &more, NULL), 0);
    commit(s);
    assert_false(more);
    return told;
}

static struct told tell(struct streams *s, uint64_t reader)
{
    return tell_but(s, reader, NULL, bytes_of(NULL, 0), bytes_of(NULL, 0));
}

static uint64_t expire(struct streams *s, int64_t now_ms)
{
    struct streams_removed removed;
    bool more = true, has = false;
    uint64_t missed = 0;

    while (more) {
        begin(s);
        assert_int_equal(streams_expire(s, now_ms, 2, &removed, &more, NULL), 0);
        commit(s);
        missed += removed.missed;
    }
    assert_int_equal(streams_has_void(s, now_ms, &has, NULL), 0);
    assert_false(has);
    return missed;
}

static bool count_row(void *context, const struct stored_message *m UNUSED)
{
    ++*(size_t *)context;
    return true;
}

static size_t readable(struct streams *s, uint64_t reader, int64_t now_ms)
{
    struct streams_query query = {.filter = bytes_text("**"),
                                  .reader = reader,
                                  .now_ms = now_ms,
                                  .count_max = 100,
                                  .bytes_max = 1 << 20};
    uint64_t after;
    size_t count = 0;
    bool more;

    assert_int_equal(streams_read(s, &query, count_row, &count, &after, &more, NULL), 0);
    return count;
}

static void settle(struct streams *s, uint64_t reader, uint64_t number, uint64_t floor)
{
    begin(s);
    assert_int_equal(streams_settle(s, reader, number, floor, NULL), 0);
    commit(s);
}

static void nobody_is_given_what_is_void(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t number = say(s, "a/x", 1, NOW), reader = follow(s, "d", "a/**");
    bool has = true;
    size_t rows = 0;

    (void)say(s, "a/x", 2, 0);
    assert_int_equal(readable(s, reader, NOW), 2);
    assert_int_equal(readable(s, reader, NOW + 1), 1);
    assert_int_equal(readable(s, 0, NOW + 1), 1); /* before anything removed it, too */
    assert_int_equal(
        streams_read_one(s, number, NOW, bytes_of(bob, SIGN_PUBLIC_SIZE), count_row, &rows, NULL),
        0);
    assert_int_equal(streams_read_one(s, number, NOW + 1, bytes_of(bob, SIGN_PUBLIC_SIZE),
                                      count_row, &rows, NULL),
                     AICO_ENOTFOUND);
    assert_int_equal(streams_has_void(s, NOW, &has, NULL), 0);
    assert_false(has);
    assert_int_equal(expire(s, NOW + 1), 1);
    assert_int_equal(readable(s, reader, 1), 1);
    streams_close(&s);
}

static void what_expired_is_told_to_who_would_have_got_it(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t all = follow(s, "all", "a/**"), y = follow(s, "y", "a/y"), done = follow(s, "c", "**");
    struct told told;

    for (uint64_t i = 1; i <= 5; i++)
        (void)say(s, "a/x", i, NOW);
    settle(s, done, 2, 0); /* out of order */
    settle(s, done, 4, 3);
    assert_int_equal(expire(s, NOW + 1), 5 + 1);
    told = tell(s, all);
    assert_int_equal(told.rows, 1);
    assert_int_equal(told.count, 2 * 5);
    assert_int_equal(told.number, 5);
    assert_int_equal(told.code, AICO_EEXPIRED);
    assert_int_equal(told.before, 0);
    assert_string_equal(told.topic, "a/x");
    assert_int_equal(tell(s, y).rows, 0);
    assert_int_equal(tell(s, done).count, 2); /* number 5 alone */
    streams_close(&s);
}

/* What was told does not grow, is told until it is taken, and never again, also by another broker.
 */
static void a_report_is_told_until_it_is_taken(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t reader = follow(s, "d", "a/**");
    struct told first, second;
    uint8_t open[8];
    struct writer w = writer_over(open, sizeof(open));

    (void)say(s, "a/x", 1, NOW);
    (void)expire(s, NOW + 1);
    first = tell(s, reader);
    (void)say(s, "a/x", 2, NOW);
    (void)expire(s, NOW + 1);
    writer_u64(&w, first.token);
    second = tell_but(s, reader, NULL, bytes_of(NULL, 0), writer_view(&w));
    assert_int_equal(second.rows, 1);
    assert_int_equal(second.count, 2);
    assert_true(second.token != first.token);
    streams_close(&s);

    s = open_store();
    first = tell(s, reader);
    assert_int_equal(first.rows, 2);
    assert_int_equal(first.before, 1);
    begin(s);
    assert_int_equal(streams_missed_take(s, reader + 1, NULL, second.token, NULL), 0); /* not its */
    assert_int_equal(streams_missed_take(s, reader, NULL, second.token, NULL), 0);
    commit(s);
    assert_int_equal(tell(s, reader).rows, 1);
    streams_close(&s);
}

static void what_is_with_its_reader_may_yet_be_settled(void **state UNUSED)
{
    struct streams *s = open_store();
    uint64_t reader = follow(s, "d", "a/**");
    uint8_t out[8];
    struct writer w = writer_over(out, sizeof(out));
    struct told told;

    (void)say(s, "a/x", 1, NOW);
    (void)say(s, "a/x", 2, NOW);
    (void)say(s, "a/x", 3, NOW);
    assert_int_equal(streams_note_handed(s, reader, 2, NULL), 0);
    assert_int_equal(expire(s, NOW + 1), 3);
    settle(s, reader, 1, 1); /* it had it */
    writer_u64(&w, 2);
    told = tell_but(s, reader, NULL, writer_view(&w), bytes_of(NULL, 0));
    assert_int_equal(told.rows, 1); /* number 3, which was never handed out */
    assert_int_equal(told.number, 3);
    assert_false(told.one);
    told = tell(s, reader);
    assert_int_equal(told.rows, 2);
    settle(s, reader, 2, 3);
    told = tell(s, reader);
    assert_int_equal(told.rows, 1);
    assert_int_equal(told.number, 3);
    streams_close(&s);
}

static void retention_purge_and_dead_letters_have_their_own_causes(void **state UNUSED)
{
    struct rule_store limits = {.on = true, .count = 6};
    struct streams *s = open_store();
    uint64_t reader = follow(s, "d", "a/**");
    struct streams_removed removed;
    struct told told;
    bool more;

    for (uint64_t i = 1; i <= 5; i++)
        (void)say(s, "a/x", i, i == 5 ? NOW : 0);
    begin(s);
    assert_int_equal(streams_trim(s, bytes_text(STREAM), &limits, NOW, 10, &removed, &more, NULL),
                     0);
    commit(s);
    assert_int_equal(removed.count, 4);
    assert_int_equal(removed.missed, 2);
    told = tell(s, reader);
    assert_int_equal(told.code, AICO_ERETENTION);
    assert_int_equal(told.count, 4);
    begin(s);
    assert_int_equal(streams_missed_take(s, reader, NULL, told.token, NULL), 0);
    assert_int_equal(streams_bury(s, reader, 3, AICO_EDEADLETTER, 10, bytes_text("why"), 1, NULL),
                     0);
    assert_int_equal(streams_bury_untold(s, reader, 3, AICO_EDEADLETTER, NULL), 0);
    assert_int_equal(streams_settle(s, reader, 3, 3, NULL), 0);
    commit(s);
    told = tell(s, reader);
    assert_int_equal(told.code, AICO_EDEADLETTER);
    assert_int_equal(told.count, 2);
    begin(s);
    assert_int_equal(streams_missed_take(s, reader, NULL, told.token, NULL), 0);
    assert_int_equal(streams_purge(s, bytes_text(STREAM), 0, &removed, NULL), 0);
    commit(s);
    told = tell(s, reader);
    assert_int_equal(told.code, AICO_EPURGED);
    assert_int_equal(told.count, 4);         /* the third one had been buried */
    assert_int_equal(expire(s, NOW + 1), 0); /* nothing is left to expire */
    begin(s);
    assert_int_equal(streams_forget(s, bytes_text("bob"), bytes_text("d"), NULL), 0);
    commit(s);
    assert_int_equal(tell(s, reader).rows, 0);
    streams_close(&s);
}

static void the_owner_of_a_mailbox_is_told_what_expired_there(void **state UNUSED)
{
    struct streams *s = open_store();
    struct stored_mail mail = {.message = {.topic = bytes_text("m/x"),
                                           .identity = alice,
                                           .sender = bytes_text("alice"),
                                           .stored_ms = 1,
                                           .count = 1,
                                           .scope = {9},
                                           .payload = bytes_text("sealed")},
                               .receiver = bob,
                               .expires_ms = NOW};
    struct streams_removed removed;
    struct streams_mail_place place = {0}, again = {0};
    uint64_t number, used;
    struct told told;
    bool more;

    begin(s);
    for (uint64_t i = 1; i <= 3; i++) {
        mail.message.publish_id = mail.message.position = i;
        assert_int_equal(streams_mail_put(s, &mail, &number, &used, NULL), 0);
    }
    assert_int_equal(streams_mail_expire(s, NOW + 1, 10, bytes_of(bob, sizeof(bob)), &place,
                                         &removed, &more, NULL),
                     0);
    assert_int_equal(removed.count, 0); /* it has them at this moment */
    assert_int_equal(streams_mail_expire(s, NOW + 1, 10, bytes_of(alice, sizeof(alice)), &again,
                                         &removed, &more, NULL),
                     0);
    commit(s);
    assert_int_equal(removed.count, 3);
    told = tell_but(s, 0, bob, bytes_of(NULL, 0), bytes_of(NULL, 0));
    assert_int_equal(told.rows, 1);
    assert_int_equal(told.count, 3);
    assert_int_equal(told.code, AICO_EEXPIRED);
    assert_int_equal(tell_but(s, 0, alice, bytes_of(NULL, 0), bytes_of(NULL, 0)).rows, 0);
    begin(s);
    assert_int_equal(streams_missed_take(s, 0, bob, told.token, NULL), 0);
    commit(s);
    assert_int_equal(tell_but(s, 0, bob, bytes_of(NULL, 0), bytes_of(NULL, 0)).rows, 0);
    streams_close(&s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fresh, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_is_given_what_is_void),
        TEST(what_expired_is_told_to_who_would_have_got_it),
        TEST(a_report_is_told_until_it_is_taken),
        TEST(what_is_with_its_reader_may_yet_be_settled),
        TEST(retention_purge_and_dead_letters_have_their_own_causes),
        TEST(the_owner_of_a_mailbox_is_told_what_expired_there),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
