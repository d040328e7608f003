/* SPDX-License-Identifier: Apache-2.0 */
/* What <aico/client.h> promises, with a broker, sockets and files: messages and answers. */
#include "world.h"

#include <dirent.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#define TOPIC "logs/test/v1"

/* --- publish and subscribe ----------------------------------------------------------------------
 */

static void passes_sealed(struct world *world, const char *endpoint)
{
    struct aico_client *alice = join_at(world, ALICE, endpoint);
    struct aico_client *bob = join_at(world, BOB, endpoint);
    struct aico_message *m;
    struct aico_client_stats stats;

    (void)subscribe(bob, "logs/**");
    publish(alice, TOPIC, "a canary in the coal mine");
    flush(alice);
    m = expect(bob, AICO_MESSAGE_EVENT);
    assert_string_equal(m->topic, TOPIC);
    assert_string_equal(m->sender, "alice");
    assert_int_equal(m->size, 25);
    assert_memory_equal(m->payload, "a canary in the coal mine", 25);
    assert_int_equal(m->header_count, 0);
    assert_true(m->sealed);
    assert_false(m->direct);
    assert_true(m->wire_size >= 52 + 25);
    assert_int_equal(m->wire_prefix, 64);
    assert_memory_equal(m->wire, "AICO-MSG", 8);
    assert_null(memmem(m->wire, m->wire_prefix, "canary", 6));
    assert_true(llabs(m->sent_ms - (int64_t)time(NULL) * 1000) < 5000);
    aico_message_free(&m);
    assert_null(m);
    publish(alice, TOPIC, "");
    expect_text(bob, TOPIC, "alice", "");

    aico_client_get_stats(alice, &stats);
    assert_int_equal(stats.published, 2);
    assert_int_equal(stats.refused, 0);
    assert_true(stats.acknowledged >= 1);
    assert_int_equal(stats.registry_version, 1);
    aico_client_get_stats(bob, &stats);
    assert_int_equal(stats.received, 2);
    assert_int_equal(stats.gaps + stats.unopened, 0);
    assert_string_equal(aico_client_name(bob), "bob");
    leave(&alice);
    leave(&bob);
}

static void a_message_arrives_sealed_with_its_verified_sender(void **state)
{
    passes_sealed(*state, NULL);
}

static void and_over_tcp(void **state)
{
    struct world *world = *state;

    passes_sealed(world, world->tcp);
}

static void the_order_of_a_publisher_is_kept(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    char text[32];

    (void)subscribe(bob, TOPIC);
    for (int i = 0; i < 5000; i++) {
        (void)snprintf(text, sizeof(text), "%d", i);
        publish(alice, TOPIC, text);
    }
    flush(alice);
    for (uint64_t i = 0; i < 5000; i++) {
        struct aico_message *m = expect(bob, AICO_MESSAGE_EVENT);

        (void)snprintf(text, sizeof(text), "%d", (int)i);
        assert_int_equal(m->size, strlen(text));
        assert_memory_equal(m->payload, text, m->size);
        assert_int_equal(m->sequence, i);
        aico_message_free(&m);
    }
    leave(&alice);
    leave(&bob);
}

static void headers_arrive_in_their_order(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_header headers[] = {{"b", "1"}, {"a", ""}, {"b", "\xc3\xa4 = 2"}};
    struct aico_publish_options options = {.headers = headers, .header_count = 3};
    struct aico_message *m;

    (void)subscribe(bob, TOPIC);
    assert_int_equal(aico_publish(alice, TOPIC, "x", 1, &options, NULL, NULL), 0);
    m = expect(bob, AICO_MESSAGE_EVENT);
    assert_int_equal(m->header_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_string_equal(m->headers[i].key, headers[i].key);
        assert_string_equal(m->headers[i].value, headers[i].value);
    }
    aico_message_free(&m);

    headers[1].key = "a=b";
    assert_int_equal(aico_publish(alice, TOPIC, "x", 1, &options, NULL, NULL), AICO_EINVAL);
    options.header_count = 64;
    assert_int_equal(aico_publish(alice, TOPIC, "x", 1, &options, NULL, NULL), AICO_EINVAL);
    leave(&alice);
    leave(&bob);
}

static void a_channel_topic_reaches_every_reader_that_is_there(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_client *carol = join(*state, CAROL);

    (void)subscribe(bob, "channel/**");
    (void)subscribe(carol, "channel/**");
    publish(alice, "channel/x/v1", "one");
    publish(alice, "channel/x/v1", "two");
    flush(alice);
    for (int i = 0; i < 2; i++) {
        struct aico_client *reader = i == 0 ? bob : carol;

        expect_text(reader, "channel/x/v1", "alice", "one");
        expect_text(reader, "channel/x/v1", "alice", "two");
    }
    leave(&alice);
    leave(&bob);
    leave(&carol);
}

static void a_direct_message_reaches_only_whom_it_names(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_client *carol = join(*state, CAROL);
    struct aico_publish_options options = {.to = "bob"};
    struct aico_message *m;

    (void)subscribe(bob, "logs/**");
    (void)subscribe(carol, "logs/**");
    assert_int_equal(aico_publish(alice, TOPIC, "for bob", 7, &options, NULL, NULL), 0);
    flush(alice);
    m = expect(bob, AICO_MESSAGE_EVENT);
    assert_true(m->direct);
    assert_true(m->sealed);
    assert_memory_equal(m->payload, "for bob", 7);
    aico_message_free(&m);
    publish(alice, TOPIC, "for all");
    expect_text(carol, TOPIC, "alice", "for all"); /* and nothing before */
    leave(&alice);
    leave(&bob);
    leave(&carol);
}

static void an_unsubscribed_topic_comes_no_more(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    uint32_t number = subscribe(bob, TOPIC);

    (void)subscribe(bob, "channel/**");
    publish(alice, TOPIC, "before");
    expect_text(bob, TOPIC, "alice", "before");
    assert_int_equal(aico_unsubscribe(bob, number, WAIT_MS, NULL), 0);
    assert_int_equal(aico_unsubscribe(bob, number, WAIT_MS, NULL), AICO_ENOTFOUND);
    publish(alice, TOPIC, "after");
    flush(alice);
    publish(alice, "channel/x/v1", "the end");
    expect_text(bob, "channel/x/v1", "alice", "the end");
    leave(&alice);
    leave(&bob);
}

static void presence_shows_who_comes_and_goes(void **state)
{
    struct aico_client *bob = join(*state, BOB), *alice;
    struct aico_message *m;

    (void)subscribe(bob, "$bus/presence/alice");
    alice = join(*state, ALICE);
    m = expect(bob, AICO_MESSAGE_RETAINED);
    assert_string_equal(m->topic, "$bus/presence/alice");
    assert_false(m->sealed);
    assert_non_null(memmem(m->payload, m->size, "online", 6));
    aico_message_free(&m);
    leave(&alice);
    m = expect(bob, AICO_MESSAGE_RETAINED);
    assert_non_null(memmem(m->payload, m->size, "offline", 7));
    aico_message_free(&m);
    leave(&bob);
}

static void a_message_of_16_mib_passes_and_one_more_byte_does_not(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    size_t size = 16 * 1024 * 1024;
    uint8_t *payload = malloc(size + 1);
    struct aico_error err = {0};
    struct aico_message *m;

    assert_non_null(payload);
    for (size_t i = 0; i < size + 1; i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 24);
    (void)subscribe(bob, TOPIC);
    assert_int_equal(aico_publish(alice, TOPIC, payload, size, NULL, NULL, &err), 0);
    assert_int_equal(aico_publish(alice, TOPIC, payload, size + 1, NULL, NULL, &err),
                     AICO_ETOOLARGE);
    assert_non_null(strstr(err.text, "16777216"));
    publish(alice, TOPIC, "behind it");
    m = expect(bob, AICO_MESSAGE_EVENT);
    assert_int_equal(m->size, size);
    assert_memory_equal(m->payload, payload, size);
    aico_message_free(&m);
    expect_text(bob, TOPIC, "alice", "behind it");
    flush(alice);
    free(payload);
    leave(&alice);
    leave(&bob);
}

/* --- requests -----------------------------------------------------------------------------------
 */

static void *echo(void *context)
{
    struct aico_client *bob = context;
    struct aico_message *m;

    while (aico_receive(bob, WAIT_MS, &m, NULL) == 0) {
        bool is_last = m->size == 3 && memcmp(m->payload, "end", 3) == 0;

        if (m->kind == AICO_MESSAGE_REQUEST && aico_reply(bob, m, m->payload, m->size, NULL) < 0)
            is_last = true;
        aico_message_free(&m);
        if (is_last)
            break;
    }
    return NULL;
}

static void a_request_is_answered_by_who_serves_it(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_subscribe_options serve = {.serve = true};
    struct aico_message *m = NULL;
    struct aico_error err = {0};
    pthread_t thread;

    assert_int_equal(aico_subscribe(bob, "service/echo/v1", &serve, WAIT_MS, NULL, &err), 0);
    assert_int_equal(pthread_create(&thread, NULL, echo, bob), 0);
    for (int i = 0; i < 20; i++) {
        if (aico_request(alice, "service/echo/v1", "question", 8, WAIT_MS, &m, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(m->kind, AICO_MESSAGE_REPLY);
        assert_string_equal(m->sender, "bob");
        assert_string_equal(m->topic, "service/echo/v1");
        assert_int_equal(m->size, 8);
        assert_memory_equal(m->payload, "question", 8);
        assert_true(m->sealed);
        aico_message_free(&m);
    }
    assert_int_equal(aico_request(alice, "service/echo/v1", "end", 3, WAIT_MS, &m, &err), 0);
    aico_message_free(&m);
    assert_int_equal(pthread_join(thread, NULL), 0);
    expect_nothing(alice);
    leave(&alice);
    leave(&bob);
}

static void nobody_serves_it_is_told_at_once(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_message *m = NULL;
    int64_t start = clock_ms();

    (void)subscribe(bob, "service/**"); /* reads it, does not serve it */
    assert_int_equal(aico_request(alice, "service/echo/v1", "x", 1, WAIT_MS, &m, NULL),
                     AICO_ENORESPONDER);
    assert_true(clock_ms() - start < WAIT_MS); /* it was told */
    leave(&alice);
    leave(&bob);
}

static void an_unanswered_request_ends_in_time_and_a_late_reply_is_nothing(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_subscribe_options serve = {.serve = true};
    struct aico_message *m = NULL, *request;
    int64_t start = clock_ms();

    assert_int_equal(aico_subscribe(bob, "service/**", &serve, WAIT_MS, NULL, NULL), 0);
    assert_int_equal(aico_request(alice, "service/slow/v1", "x", 1, 300, &m, NULL), AICO_ETIMEOUT);
    assert_in_range(clock_ms() - start, 250, WAIT_MS); /* the loops' clocks are a moment behind */
    request = expect(bob, AICO_MESSAGE_REQUEST);
    assert_int_equal(aico_reply(bob, request, "late", 4, NULL), 0);
    (void)!aico_flush(bob, WAIT_MS, NULL); /* the broker may refuse it */
    aico_message_free(&request);
    expect_nothing(alice);
    leave(&alice);
    leave(&bob);
}

static void a_responder_that_leaves_is_told(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_subscribe_options serve = {.serve = true};
    struct aico_message *m = NULL;
    int r;

    assert_int_equal(aico_subscribe(bob, "service/**", &serve, WAIT_MS, NULL, NULL), 0);
    assert_int_equal(aico_request(alice, "service/x/v1", "x", 1, 1, &m, NULL), AICO_ETIMEOUT);
    assert_int_equal(aico_client_close(&bob, 0, NULL), 0);
    /* The question may meet its goodbye on the way. */
    r = aico_request(alice, "service/x/v1", "x", 1, WAIT_MS, &m, NULL);
    assert_true(r == AICO_ENORESPONDER || r == AICO_EPEERAWAY);
    leave(&alice);
}

static void only_requests_are_replied_to(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_message *m;

    (void)subscribe(bob, TOPIC);
    publish(alice, TOPIC, "no question");
    m = expect(bob, AICO_MESSAGE_EVENT);
    assert_int_equal(aico_reply(bob, m, "x", 1, NULL), AICO_EINVAL);
    aico_message_free(&m);
    leave(&alice);
    leave(&bob);
}

/* --- asking the broker --------------------------------------------------------------------------
 */

static void the_broker_answers_questions(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_error err = {0};
    char *json = NULL;
    int64_t us = 0;

    assert_int_equal(aico_query(alice, "status", NULL, WAIT_MS, &json, &err), 0);
    assert_int_equal(json[0], '{');
    assert_non_null(strstr(json, "\"uptime_s\""));
    free(json);
    assert_int_equal(aico_query(alice, "peers", NULL, WAIT_MS, &json, &err), 0);
    assert_non_null(strstr(json, "\"bob\""));
    free(json);
    json = NULL;
    assert_int_equal(aico_query(bob, "peers", NULL, WAIT_MS, &json, &err), AICO_EDENIED);
    assert_int_equal(aico_query(alice, "weather", NULL, WAIT_MS, &json, &err), AICO_EINVAL);
    assert_null(json);
    assert_int_equal(aico_ping(alice, NULL, WAIT_MS, &us, &err), 0);
    assert_in_range(us, 1, 1000000);
    leave(&alice);
    leave(&bob);
}

static void a_component_answers_a_ping_over_its_channel(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_error err = {0};
    int64_t us = 0, start;
    int r;

    for (int i = 0; i < 3; i++) {
        if (aico_ping(alice, "bob", WAIT_MS, &us, &err) < 0)
            fail_msg("%s", err.text);
        assert_in_range(us, 1, 2000000);
    }
    start = clock_ms();
    assert_int_equal(aico_ping(alice, "carol", WAIT_MS, &us, &err), AICO_EPEERAWAY);
    assert_int_equal(aico_ping(alice, "nobody", WAIT_MS, &us, &err), AICO_EPEERUNKNOWN);
    assert_int_equal(aico_ping(alice, "No Name", WAIT_MS, &us, &err), AICO_EPEERUNKNOWN);
    assert_int_equal(aico_ping(alice, "alice", WAIT_MS, &us, &err), AICO_ESELF);
    assert_true(clock_ms() - start < 2000);
    leave(&bob);
    r = aico_ping(alice, "bob", WAIT_MS, &us, &err);
    assert_true(r == AICO_EPEERAWAY || r == AICO_ECLOSED); /* its goodbye may be on its way */
    bob = join(*state, BOB);
    assert_int_equal(aico_ping(alice, "bob", WAIT_MS, &us, &err), 0); /* another process now */
    leave(&bob);
    leave(&alice);
}

/* --- what is refused ----------------------------------------------------------------------------
 */

static void a_denied_topic_names_its_rule(void **state)
{
    struct aico_client *bob = join(*state, BOB), *carol = join(*state, CAROL);
    struct aico_publish_options to_carol = {.to = "carol"};
    struct aico_message *m = NULL;
    struct aico_error err = {0};
    uint32_t number = 0;

    assert_int_equal(aico_publish(bob, "private/x/v1", "x", 1, NULL, NULL, &err), AICO_EDENIED);
    assert_non_null(strstr(err.text, "private/**"));
    assert_non_null(strstr(err.text, "bob"));
    assert_int_equal(aico_publish(bob, "nowhere/v1", "x", 1, NULL, NULL, &err), AICO_EDENIED);
    assert_non_null(strstr(err.text, "aico-keytool rule set 'nowhere/v1'"));
    assert_int_equal(aico_request(bob, "private/x/v1", "x", 1, WAIT_MS, &m, &err), AICO_EDENIED);
    assert_int_equal(aico_subscribe(carol, "private/**", NULL, WAIT_MS, &number, &err),
                     AICO_EDENIED);
    assert_non_null(strstr(err.text, "private/**"));
    assert_int_equal(number, 0);
    assert_int_equal(aico_subscribe(carol, "nowhere/**", NULL, WAIT_MS, &number, &err),
                     AICO_EDENIED);
    leave(&bob);

    bob = join(*state, ALICE);
    assert_int_equal(aico_publish(bob, "private/x/v1", "x", 1, &to_carol, NULL, &err),
                     AICO_EDENIED);
    assert_non_null(strstr(err.text, "carol"));
    leave(&bob);
    leave(&carol);
}

static void what_cannot_be_a_topic_or_receiver_is_refused(void **state)
{
    struct aico_client *alice = join(*state, ALICE);
    struct aico_publish_options to = {.to = "nobody"};
    struct aico_error err = {0};
    uint32_t number;

    assert_int_equal(aico_publish(alice, "logs//x", "x", 1, NULL, NULL, &err), AICO_ETOPIC);
    assert_int_equal(aico_publish(alice, "logs/*", "x", 1, NULL, NULL, &err), AICO_ETOPIC);
    assert_int_equal(aico_publish(alice, "", "x", 1, NULL, NULL, &err), AICO_ETOPIC);
    assert_int_equal(aico_publish(alice, "$bus/control", "x", 1, NULL, NULL, &err), AICO_ETOPIC);
    assert_int_equal(aico_subscribe(alice, "logs/**/x", NULL, WAIT_MS, &number, &err), AICO_ETOPIC);
    assert_int_equal(aico_publish(alice, TOPIC, "x", 1, &to, NULL, &err), AICO_EPEERUNKNOWN);
    assert_non_null(strstr(err.text, "nobody"));
    to.to = "No Name";
    assert_int_equal(aico_publish(alice, TOPIC, "x", 1, &to, NULL, &err), AICO_EPEERUNKNOWN);
    leave(&alice);
}

static void a_later_refusal_comes_as_message_and_by_flush(void **state)
{
    struct aico_client *alice = join(*state, ALICE);
    struct aico_publish_options to_bob = {.to = "bob"};
    struct aico_error err = {0};
    struct aico_client_stats stats;
    struct aico_message *m;
    uint64_t id = 0;

    publish(alice, TOPIC, "this one is fine");
    assert_int_equal(aico_publish(alice, TOPIC, "x", 1, &to_bob, &id, NULL), 0);
    assert_int_equal(id, 2);
    assert_int_equal(aico_flush(alice, WAIT_MS, &err), AICO_EPEERAWAY);
    assert_true(err.text[0]);
    m = expect(alice, AICO_MESSAGE_REFUSED); /* there as soon as the flush is over */
    assert_int_equal(m->id, id);
    assert_string_equal(m->topic, TOPIC);
    assert_int_equal(m->code, AICO_EPEERAWAY);
    assert_true(m->text[0]);
    aico_message_free(&m);
    flush(alice); /* once */
    aico_client_get_stats(alice, &stats);
    assert_int_equal(stats.published, 2);
    assert_int_equal(stats.acknowledged, 1);
    assert_int_equal(stats.refused, 1);
    leave(&alice);
}

/* --- waiting ------------------------------------------------------------------------------------
 */

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    return poll(&p, 1, timeout_ms) == 1;
}

static void the_descriptor_is_readable_while_something_is_there(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_message *m;
    int fd = aico_client_fd(bob);

    (void)subscribe(bob, TOPIC);
    assert_false(is_readable(fd, 0));
    publish(alice, TOPIC, "1");
    publish(alice, TOPIC, "2");
    flush(alice);
    assert_true(is_readable(fd, WAIT_MS));
    expect_text(bob, TOPIC, "alice", "1");
    /* The second may come in another turn; taken, nothing is left. */
    assert_true(is_readable(fd, WAIT_MS));
    expect_text(bob, TOPIC, "alice", "2");
    assert_false(is_readable(fd, 0));
    assert_int_equal(aico_receive(bob, 0, &m, NULL), AICO_ETIMEOUT);
    leave(&alice);
    leave(&bob);
}

struct waiter {
    struct aico_client *client;
    atomic_int id; /* of its thread, from just before it waits */
    int result;
};

static void *receive_for_ever(void *context)
{
    struct waiter *waiter = context;
    struct aico_message *m = NULL;

    atomic_store(&waiter->id, gettid());
    waiter->result = aico_receive(waiter->client, -1, &m, NULL);
    return NULL;
}

static void *ping_for_ever(void *context)
{
    struct waiter *waiter = context;

    atomic_store(&waiter->id, gettid());
    waiter->result = aico_ping(waiter->client, NULL, -1, NULL, NULL);
    return NULL;
}

/* Whether the kernel has put that thread to sleep. */
static bool is_asleep(int id)
{
    char path[64], text[256] = "";
    FILE *file;
    size_t size;

    (void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", id);
    file = fopen(path, "r");
    assert_non_null(file);
    size = fread(text, 1, sizeof(text) - 1, file);
    (void)fclose(file);
    text[size] = '\0';
    return strstr(text, ") S ") != NULL;
}

static void closes_under(struct aico_client *client, void *(*wait)(void *))
{
    struct waiter waiter = {.client = client};
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, wait, &waiter), 0);
    while (atomic_load(&waiter.id) == 0 || !is_asleep(atomic_load(&waiter.id)))
        (void)sched_yield();
    leave(&client);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiter.result, AICO_ECLOSED);
}

static void closing_ends_who_waits(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE), *bob = join(world, BOB);

    closes_under(bob, receive_for_ever);
    world_stop(world, true);
    closes_under(alice, ping_for_ever);
}

#define THREADS 4
#define EACH 2000

struct publisher {
    struct aico_client *client;
    int number;
    int result;
};

static void *publish_many(void *context)
{
    struct publisher *p = context;
    struct aico_publish_options options = {.wait_ms = -1};
    char text[32];

    for (int i = 0; i < EACH && p->result == 0; i++) {
        int size = snprintf(text, sizeof(text), "%d %d", p->number, i);

        p->result = aico_publish(p->client, TOPIC, text, (size_t)size, &options, NULL, NULL);
    }
    if (p->result == 0)
        p->result = aico_flush(p->client, WAIT_MS, NULL);
    return NULL;
}

static void threads_publish_over_one_client(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct publisher publishers[THREADS];
    pthread_t threads[THREADS];
    int next[THREADS] = {0};

    (void)subscribe(bob, TOPIC);
    for (int i = 0; i < THREADS; i++) {
        publishers[i] = (struct publisher){.client = alice, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, publish_many, &publishers[i]), 0);
    }
    for (int i = 0; i < THREADS * EACH; i++) {
        struct aico_message *m = expect(bob, AICO_MESSAGE_EVENT);
        int number, count;

        assert_int_equal(sscanf(m->payload, "%d %d", &number, &count), 2);
        assert_in_range(number, 0, THREADS - 1);
        assert_int_equal(count, next[number]++);
        assert_int_equal(m->sequence, i);
        aico_message_free(&m);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(publishers[i].result, 0);
    }
    expect_nothing(bob);
    leave(&alice);
    leave(&bob);
}

static void unread_direct_messages_are_bounded_and_counted(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_publish_options to_bob = {.to = "bob", .wait_ms = -1};
    size_t size = 1024 * 1024, received = 0, missing = 0;
    struct aico_client_stats stats;
    uint8_t *payload = calloc(1, size);

    assert_non_null(payload);
    (void)subscribe(bob, TOPIC);
    for (uint64_t i = 0; i < 80; i++) {
        int64_t end = clock_ms() + WAIT_MS;

        assert_int_equal(aico_publish(alice, TOPIC, payload, size, &to_bob, NULL, NULL), 0);
        do { /* one at a time: the broker refuses what goes faster than bob's link */
            aico_client_get_stats(bob, &stats);
            (void)usleep(1000);
        } while (stats.received + stats.gaps < i + 1 && clock_ms() < end);
    }
    flush(alice);
    while (received + missing < 80) {
        struct aico_message *m = NULL;

        assert_int_equal(aico_receive(bob, WAIT_MS, &m, NULL), 0);
        if (m->kind == AICO_MESSAGE_EVENT) {
            assert_int_equal(missing, 0); /* those that came first are kept */
            received++;
        } else {
            assert_int_equal(m->kind, AICO_MESSAGE_GAP);
            assert_int_equal(m->code, AICO_EFULL);
            assert_string_equal(m->sender, "alice");
            assert_string_equal(m->topic, TOPIC);
            missing += m->count;
        }
        aico_message_free(&m);
    }
    assert_int_equal(received + missing, 80);
    assert_in_range(received, 60, 70);
    assert_int_equal(stats.received, received);
    assert_int_equal(stats.gaps, missing);
    /* And with room again they come again. */
    assert_int_equal(aico_publish(alice, TOPIC, "x", 1, &to_bob, NULL, NULL), 0);
    expect_text(bob, TOPIC, "alice", "x");
    free(payload);
    leave(&alice);
    leave(&bob);
}

/* Threads of this process, and of them those that may take a TERM. */
static void count_threads(int *ret_all, int *ret_open)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;

    *ret_all = *ret_open = 0;
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL) {
        char path[64 + sizeof(entry->d_name)], line[128];
        unsigned long long blocked = 0;
        FILE *file;

        (void)snprintf(path, sizeof(path), "/proc/self/task/%s/status", entry->d_name);
        file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (!file)
            continue;
        while (fgets(line, sizeof(line), file))
            (void)sscanf(line, "SigBlk: %llx", &blocked);
        (void)fclose(file);
        ++*ret_all;
        *ret_open += !(blocked & 1ull << (SIGTERM - 1));
    }
    (void)closedir(folder);
}

static void no_thread_of_the_library_takes_a_signal(void **state)
{
    int all_before, open_before, all, open;
    struct aico_client *alice = join(*state, ALICE);
    struct sigaction action;

    leave(&alice); /* the broker's thread has begun: only then it takes signals */
    count_threads(&all_before, &open_before);
    alice = join(*state, ALICE);
    count_threads(&all, &open);
    assert_true(all > all_before);
    assert_int_equal(open, open_before);
    assert_int_equal(sigaction(SIGTERM, NULL, &action), 0);
    assert_ptr_equal(action.sa_handler, SIG_DFL);
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_ptr_equal(action.sa_handler, SIG_DFL);
    leave(&alice);
}

/* --- closing ------------------------------------------------------------------------------------
 */

static void closing_sends_what_is_queued(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);

    (void)subscribe(bob, TOPIC);
    for (int i = 0; i < 100; i++)
        publish(alice, TOPIC, "not flushed");
    leave(&alice);
    for (int i = 0; i < 100; i++)
        expect_text(bob, TOPIC, "alice", "not flushed");
    leave(&bob);
}

static void closing_at_once_counts_what_stays_behind(void **state)
{
    struct aico_client *alice = join(*state, ALICE), *bob = join(*state, BOB);
    struct aico_publish_options options = {.wait_ms = -1};
    static char payload[4096];
    struct aico_unsent unsent = {0};
    uint64_t received = 0;

    (void)subscribe(bob, TOPIC);
    publish(alice, TOPIC, "the keys are given");
    flush(alice);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(aico_publish(alice, TOPIC, payload, sizeof(payload), &options, NULL, NULL),
                         0);
    assert_int_equal(aico_client_close(&alice, 0, &unsent), AICO_ETIMEOUT);
    assert_in_range(unsent.unsent, 1, 2000);
    assert_in_range(unsent.unacknowledged, 0, 2000 - unsent.unsent);
    /* Nothing of it arrives, and all else does but what had just left. */
    while (received + unsent.unacknowledged < 2001 - unsent.unsent) {
        struct aico_message *m = expect(bob, AICO_MESSAGE_EVENT);

        received++;
        aico_message_free(&m);
    }
    leave(&bob);
}

static void closing_says_what_was_not_sent_and_not_read(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE), *bob = join(world, BOB);
    struct aico_message *m;
    struct aico_unsent unsent = {0};
    int64_t start;

    (void)subscribe(bob, TOPIC);
    publish(alice, TOPIC, "read");
    publish(alice, TOPIC, "not read");
    publish(alice, TOPIC, "not read");
    flush(alice);
    expect_text(bob, TOPIC, "alice", "read");
    publish(alice, TOPIC, "not read");
    flush(alice);
    while (aico_ping(bob, NULL, WAIT_MS, NULL, NULL) < 0)
        ;
    world_stop(world, false);
    m = expect(alice, AICO_MESSAGE_STATE);
    assert_int_equal(m->code, AICO_EDRAIN);
    aico_message_free(&m);
    for (int i = 0; i < 7; i++)
        publish(alice, TOPIC, "never sent");
    start = clock_ms();
    assert_int_equal(aico_client_close(&alice, 200, &unsent), AICO_ETIMEOUT);
    assert_in_range(clock_ms() - start, 150, 2000);
    assert_int_equal(unsent.unsent, 7);
    assert_int_equal(unsent.unacknowledged, 0);
    assert_int_equal(unsent.unread, 0);
    assert_int_equal(aico_client_close(&bob, 0, &unsent), 0);
    assert_int_equal(unsent.unread, 3);
    assert_int_equal(aico_client_close(&bob, 0, &unsent), 0);
    assert_int_equal(unsent.unread, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_new, world_free)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(a_message_arrives_sealed_with_its_verified_sender),
        TEST(and_over_tcp),
        TEST(the_order_of_a_publisher_is_kept),
        TEST(headers_arrive_in_their_order),
        TEST(a_channel_topic_reaches_every_reader_that_is_there),
        TEST(a_direct_message_reaches_only_whom_it_names),
        TEST(an_unsubscribed_topic_comes_no_more),
        TEST(presence_shows_who_comes_and_goes),
        TEST(a_message_of_16_mib_passes_and_one_more_byte_does_not),
        TEST(a_request_is_answered_by_who_serves_it),
        TEST(nobody_serves_it_is_told_at_once),
        TEST(an_unanswered_request_ends_in_time_and_a_late_reply_is_nothing),
        TEST(a_responder_that_leaves_is_told),
        TEST(only_requests_are_replied_to),
        TEST(the_broker_answers_questions),
        TEST(a_component_answers_a_ping_over_its_channel),
        TEST(a_denied_topic_names_its_rule),
        TEST(what_cannot_be_a_topic_or_receiver_is_refused),
        TEST(a_later_refusal_comes_as_message_and_by_flush),
        TEST(the_descriptor_is_readable_while_something_is_there),
        TEST(closing_ends_who_waits),
        TEST(threads_publish_over_one_client),
        TEST(unread_direct_messages_are_bounded_and_counted),
        TEST(no_thread_of_the_library_takes_a_signal),
        TEST(closing_sends_what_is_queued),
        TEST(closing_at_once_counts_what_stays_behind),
        TEST(closing_says_what_was_not_sent_and_not_read),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
