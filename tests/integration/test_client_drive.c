/* SPDX-License-Identifier: Apache-2.0 */
/* A thread that waits for a message or an answer does the client's work meanwhile
 * (runtime/client_drive.c): what others ask is still done, whoever leaves leaves nothing undone,
 * and nothing is lost in between.
 */
#include "world.h"

#include <poll.h>

#define TOPIC "logs/test/v1"
#define PING "logs/ping/v1"
#define PONG "logs/pong/v1"

struct echo {
    struct aico_client *client;
    int count;
};

/* Answers every message, from a thread of its own. */
static void *run_echo(void *context)
{
    struct echo *echo = context;

    for (int i = 0; i < echo->count; i++) {
        struct aico_message *m = expect(echo->client, AICO_MESSAGE_EVENT);

        if (aico_publish(echo->client, PONG, m->payload, m->size, NULL, NULL, NULL) < 0)
            return echo;
        aico_message_free(&m);
    }
    return NULL;
}

static void two_that_wait_for_each_other_lose_nothing(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct echo echo = {.client = bob, .count = 500};
    pthread_t thread;
    void *result;
    char text[32];

    (void)subscribe(bob, PING);
    (void)subscribe(alice, PONG);
    assert_int_equal(pthread_create(&thread, NULL, run_echo, &echo), 0);
    for (int i = 0; i < echo.count; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        publish(alice, PING, text);
        if (i % 100 == 99) /* long enough for the client's own thread to take over again */
            (void)poll(NULL, 0, 5);
        expect_text(alice, PONG, "bob", text);
    }
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    leave(&alice);
    leave(&bob);
}

static void *receive_one(void *context)
{
    struct aico_message *m = expect(context, AICO_MESSAGE_EVENT);

    aico_message_free(&m);
    return NULL;
}

static void several_that_wait_get_a_message_each(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    pthread_t threads[4];

    (void)subscribe(bob, TOPIC);
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, receive_one, bob), 0);
        for (size_t i = 0; i < 4; i++)
            publish(alice, TOPIC, "one");
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(pthread_join(threads[i], NULL), 0);
        expect_nothing(bob);
    }
    leave(&alice);
    leave(&bob);
}

static void *receive_until_closed(void *context)
{
    struct aico_message *m = NULL;
    int r;

    while ((r = aico_receive(context, -1, &m, NULL)) == 0)
        aico_message_free(&m);
    return r == AICO_ECLOSED ? NULL : context;
}

static void a_thread_that_waits_serves_the_others(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    pthread_t thread;
    void *result;
    char *json = NULL;

    (void)subscribe(alice, PONG);
    (void)subscribe(bob, TOPIC);
    assert_int_equal(pthread_create(&thread, NULL, receive_until_closed, alice), 0);
    publish(bob, PONG, "wakes it, and it drives from then on");
    flush(bob);
    for (int i = 0; i < 50; i++) {
        publish(alice, TOPIC, "by another thread");
        flush(alice);
        expect_text(bob, TOPIC, "alice", "by another thread");
    }
    assert_int_equal(aico_query(alice, "status", NULL, WAIT_MS, &json, NULL), 0);
    free(json);
    assert_int_equal(aico_ping(alice, "bob", WAIT_MS, NULL, NULL), 0);
    (void)aico_client_close(&alice, WAIT_MS, NULL); /* ends the one that waits */
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    leave(&bob);
}

static void when_nobody_waits_any_more_the_client_works_by_itself(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct pollfd fd = {.events = POLLIN};

    (void)subscribe(bob, TOPIC);
    for (int i = 0; i < 20; i++) {
        publish(alice, TOPIC, "bob waits");
        expect_text(bob, TOPIC, "alice", "bob waits");
    }
    fd.fd = aico_client_fd(bob);
    publish(alice, TOPIC, "bob does not");
    flush(alice);
    assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
    expect_text(bob, TOPIC, "alice", "bob does not");
    expect_nothing(bob);
    assert_int_equal(poll(&fd, 1, 0), 0);
    leave(&alice);
    leave(&bob);
}

static void a_time_that_passes_while_driving_is_kept(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_message *m = NULL;

    (void)subscribe(bob, TOPIC);
    publish(alice, TOPIC, "x");
    expect_text(bob, TOPIC, "alice", "x");
    for (int i = 0; i < 20; i++) {
        int64_t start = clock_ms();

        assert_int_equal(aico_receive(bob, 10, &m, NULL), AICO_ETIMEOUT);
        assert_true(clock_ms() - start >= 9);
    }
    publish(alice, TOPIC, "y");
    expect_text(bob, TOPIC, "alice", "y");
    leave(&alice);
    leave(&bob);
}

/* The one who drives notices that the broker has gone, and the thread makes the connection anew. */
static void a_link_that_is_lost_while_driving_is_made_again(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE), *bob = join(world, BOB);
    struct aico_message *m;

    (void)subscribe(bob, TOPIC);
    for (int i = 0; i < 5; i++) {
        publish(alice, TOPIC, "before");
        expect_text(bob, TOPIC, "alice", "before");
    }
    world_stop(world, false);
    m = expect(bob, AICO_MESSAGE_STATE);
    assert_int_equal(m->code, AICO_EDRAIN);
    aico_message_free(&m);
    world_start(world);
    do {
        m = expect(bob, AICO_MESSAGE_STATE);
        if (m->code == 0)
            break;
        aico_message_free(&m);
    } while (true);
    aico_message_free(&m);
    assert_int_equal(aico_ping(bob, NULL, WAIT_MS, NULL, NULL), 0); /* he has subscribed again */
    publish(alice, TOPIC, "after");
    m = expect(bob, AICO_MESSAGE_EVENT);
    assert_memory_equal(m->payload, "after", 5);
    aico_message_free(&m);
    leave(&alice);
    leave(&bob);
}

/* Answers requests until its client is closed. */
static void *serve(void *context)
{
    struct aico_message *m = NULL;
    int r;

    while ((r = aico_receive(context, -1, &m, NULL)) == 0) {
        if (m->kind == AICO_MESSAGE_REQUEST &&
            aico_reply(context, m, m->payload, m->size, NULL) < 0)
            return context;
        aico_message_free(&m);
    }
    return r == AICO_ECLOSED ? NULL : context;
}

struct asker {
    struct aico_client *client;
    char what[8];
};

static void *ask(void *context)
{
    struct asker *asker = context;

    for (int i = 0; i < 200; i++) {
        struct aico_message *m = NULL;
        char text[32];
        size_t size = (size_t)snprintf(text, sizeof(text), "%s %d", asker->what, i);
        int r = aico_request(asker->client, TOPIC, text, size, WAIT_MS, &m, NULL);
        bool is_mine = r == 0 && m->size == size && memcmp(m->payload, text, size) == 0;

        if (r == 0)
            aico_message_free(&m);
        if (!is_mine)
            return asker;
    }
    return NULL;
}

/* Whoever gets its answer first leaves the other to a driver. */
static void who_asks_drives_alone_or_is_served(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_subscribe_options options = {.serve = true};
    struct asker askers[2] = {{alice, "one"}, {alice, "two"}};
    pthread_t server, threads[2];
    void *result;

    assert_int_equal(aico_subscribe(bob, TOPIC, &options, WAIT_MS, NULL, NULL), 0);
    assert_int_equal(pthread_create(&server, NULL, serve, bob), 0);
    assert_null(ask(&askers[0])); /* alone */
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
    assert_int_equal(aico_ping(alice, "bob", WAIT_MS, NULL, NULL), 0);
    leave(&alice);
    (void)aico_client_close(&bob, WAIT_MS, NULL);
    assert_int_equal(pthread_join(server, &result), 0);
    assert_null(result);
}

/* A client that is closed while another thread drives it, in the middle of traffic. */
static void who_drives_lets_go_of_a_client_that_is_closed(void **state)
{
    struct aico_client *alice = join(*state, ALICE);

    (void)subscribe(alice, PONG);
    for (int i = 0; i < 20; i++) {
        struct aico_client *bob = join(*state, BOB);
        pthread_t thread;
        void *result;

        (void)subscribe(bob, TOPIC);
        assert_int_equal(pthread_create(&thread, NULL, receive_until_closed, bob), 0);
        for (int k = 0; k < i; k++)
            publish(alice, TOPIC, "x");
        publish(bob, PONG, "the last word");
        assert_int_equal(aico_client_close(&bob, WAIT_MS, NULL), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_null(result);
        expect_text(alice, PONG, "bob", "the last word");
    }
    leave(&alice);
}

#define ANSWERED 100

/* Its own thread is parked meanwhile, and nobody waits. */
static void who_publishes_and_never_waits_hears_that_it_was_taken(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_client_stats stats = {0};
    int64_t end = clock_ms() + WAIT_MS;

    (void)subscribe(alice, TOPIC);
    publish(bob, TOPIC, "alice drives");
    expect_text(alice, TOPIC, "bob", "alice drives");
    while (stats.acknowledged < ANSWERED && clock_ms() < end) {
        publish(alice, PING, "again");
        (void)poll(NULL, 0, 1);
        aico_client_get_stats(alice, &stats);
    }
    assert_true(stats.acknowledged >= ANSWERED);
    leave(&alice);
    leave(&bob);
}

#define OFTEN 1500 /* of a round */
#define ROUNDS 9
#define UNHEARD_MAX 500

/* Nobody looks at the link but who publishes, and so often that the thread is never due. A machine
 * may have no time now and then, and a thread that nobody wakes may by chance be up: most rounds
 * tell. */
static void who_publishes_often_hears_meanwhile_that_it_was_taken(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    int unheard = 0;

    (void)subscribe(alice, TOPIC);
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t most = 0;

        for (int i = 0; i < 40; i++) {
            publish(bob, TOPIC, "alice drives");
            publish(alice, PING, "and is alone");
            expect_text(alice, TOPIC, "bob", "alice drives");
        }
        for (int i = 0; i < OFTEN; i++) {
            struct timespec pause = {0, (200 + 100 * (round % 3)) * 1000};
            struct aico_client_stats stats;

            publish(alice, PING, "often");
            (void)nanosleep(&pause, NULL);
            aico_client_get_stats(alice, &stats);
            most = stats.unacknowledged > most ? stats.unacknowledged : most;
        }
        print_message("%d: %lu unheard of %d\n", round, (unsigned long)most, OFTEN);
        unheard += most > UNHEARD_MAX;
    }
    assert_in_range(unheard, 0, ROUNDS / 4);
    leave(&alice);
    leave(&bob);
}

struct speaker {
    struct aico_client *client;
    int count;
};

/* Now and then, so that the client's thread sleeps in between. */
static void *speak(void *context)
{
    struct speaker *speaker = context;

    for (int i = 0; i < speaker->count; i++) {
        struct aico_publish_options options = {.wait_ms = WAIT_MS};

        if (aico_publish(speaker->client, TOPIC, "x", 1, &options, NULL, NULL) < 0)
            return speaker;
        (void)poll(NULL, 0, i % 3);
    }
    return NULL;
}

/* Each may find the drive with the thread, asleep or not, with another one, or with nobody. */
static void several_that_publish_now_and_then_lose_nothing(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct speaker speaker = {alice, 200};
    pthread_t threads[3];
    void *result;

    (void)subscribe(bob, TOPIC);
    (void)subscribe(alice, PONG);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, speak, &speaker), 0);
    for (int i = 0; i < 3 * speaker.count; i++) {
        if (i % 50 == 0)
            publish(bob, PONG, "alice has to look as well");
        expect_text(bob, TOPIC, "alice", "x");
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
    for (int i = 0; i < 3 * speaker.count; i += 50)
        expect_text(alice, PONG, "bob", "alice has to look as well");
    expect_nothing(bob);
    leave(&alice);
    leave(&bob);
}

/* Whoever sends meanwhile may be the one who finds that the broker has gone, while the thread
 * sleeps on descriptors of that link. */
static void a_link_that_is_lost_while_lent_is_made_again(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE), *bob;
    struct speaker speaker = {alice, 300};
    pthread_t thread;
    void *result;

    assert_int_equal(pthread_create(&thread, NULL, speak, &speaker), 0);
    for (int i = 0; i < 3; i++) {
        bool is_up = false;

        world_stop(world, i % 2 == 0);
        world_start(world);
        for (int64_t end = clock_ms() + WAIT_MS; !is_up && clock_ms() < end;)
            is_up = aico_ping(alice, NULL, WAIT_MS, NULL, NULL) == 0; /* or on the way: again */
        assert_true(is_up);
    }
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_null(result);
    bob = join(world, BOB);
    (void)subscribe(bob, PING);
    publish(alice, PING, "after");
    expect_text(bob, PING, "alice", "after");
    leave(&alice);
    leave(&bob);
}

/* Who polls is told without asking, also after others have waited. */
static void who_watches_a_descriptor_is_told_by_the_client(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct pollfd fd = {.events = POLLIN};

    (void)subscribe(bob, TOPIC);
    publish(alice, TOPIC, "unread");
    flush(alice);
    publish(alice, TOPIC, "drives");
    expect_text(bob, TOPIC, "alice", "unread");
    expect_text(bob, TOPIC, "alice", "drives");
    fd.fd = aico_client_fd(bob);
    for (int i = 0; i < 100; i++) {
        struct aico_message *m = NULL;

        publish(alice, TOPIC, "watched");
        assert_int_equal(poll(&fd, 1, WAIT_MS), 1);
        assert_int_equal(aico_receive(bob, 0, &m, NULL), 0);
        aico_message_free(&m);
        assert_int_equal(poll(&fd, 1, 0), 0);
    }
    leave(&alice);
    leave(&bob);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_new, world_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(two_that_wait_for_each_other_lose_nothing),
        TEST(several_that_wait_get_a_message_each),
        TEST(a_thread_that_waits_serves_the_others),
        TEST(when_nobody_waits_any_more_the_client_works_by_itself),
        TEST(a_time_that_passes_while_driving_is_kept),
        TEST(a_link_that_is_lost_while_driving_is_made_again),
        TEST(who_asks_drives_alone_or_is_served),
        TEST(who_drives_lets_go_of_a_client_that_is_closed),
        TEST(who_publishes_and_never_waits_hears_that_it_was_taken),
        TEST(who_publishes_often_hears_meanwhile_that_it_was_taken),
        TEST(several_that_publish_now_and_then_lose_nothing),
        TEST(a_link_that_is_lost_while_lent_is_made_again),
        TEST(who_watches_a_descriptor_is_told_by_the_client),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
