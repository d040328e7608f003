/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What <aico/client.h> promises when something is wrong with the link: named refusals in time,
 * reconnects without loss or repetition, slow readers, and registries that change meanwhile.
 */
#include "world.h"

#include <arpa/inet.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime/client.h"
#include "store/home.h"

#define TOPIC "logs/test/v1"
#define NAMED_WITHIN_MS (WAIT_MS / 2) /* long before the time for joining is over */

/* --- who does not get in ------------------------------------------------------------------------
 */

/* Joining must fail with @code, quickly, and say @text. */
static void expect_refusal(const char *home, enum person who, const char *endpoint, int code,
                           const char *text)
{
    struct aico_client *client = NULL;
    struct aico_error err = {0};
    int64_t start = clock_ms();
    int r = try_join(home, who, endpoint, WAIT_MS, &client, &err);

    if (r != code)
        fail_msg("%s (%s) instead of %s", aico_error_name(r), err.text, aico_error_name(code));
    assert_null(client);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    assert_true(clock_ms() - start < NAMED_WITHIN_MS);
}

static void an_identity_that_is_not_registered_is_told(void **state)
{
    struct world *world = *state;

    expect_refusal(world->home, DAVE, NULL, AICO_EUNKNOWN, "aico-keytool");
}

/* DAVE's home believes he is registered; the broker does not. */
static void a_key_the_broker_does_not_know_is_told(void **state)
{
    struct world *world = *state;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(world->registry, bytes_text("aico"));
    struct component_line line = {
        .name = names[DAVE],
        .identity = world->identities[DAVE]->public,
        .transport = world->identities[DAVE]->transport_public,
        .roles = "tester",
        .since_ms = 1,
    };
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    char home[80];

    world_copy_home(world, "dave", home);
    assert_int_equal(registry_draft_add(draft, &line), 0);
    assert_int_equal(registry_draft_sign(draft, &world->seeds[OWNER], 1, &document), 0);
    world_write(home, "registry", buffer_view(&document));
    expect_refusal(home, DAVE, NULL, AICO_EUNKNOWN, "does not know our key");
}

static void a_revoked_key_is_told(void **state)
{
    struct world *world = *state;
    struct aico_client *bob;
    char home[80];

    world_copy_home(world, "carol", home); /* which does not know of the revocation */
    bob = join(world, BOB);
    world_revoke(world, CAROL);
    expect_refusal(world->home, CAROL, NULL, AICO_EREVOKED, "revoked");
    for (;;) { /* the broker looks five times a second */
        struct aico_client_stats stats;

        aico_client_get_stats(bob, &stats);
        if (stats.registry_version == 2)
            break;
        (void)usleep(5000);
    }
    expect_refusal(home, CAROL, NULL, AICO_EREVOKED, "is revoked, or was replaced");
    leave(&bob);
}

static void a_broker_with_another_key_is_told(void **state)
{
    struct world *world = *state;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    char home[80];

    /* A home in which DAVE is the broker. */
    world_copy_home(world, "other", home);
    for (int i = ALICE; i <= DAVE; i++) {
        struct component_line line = {
            .name = names[i],
            .identity = world->identities[i]->public,
            .transport = world->identities[i]->transport_public,
            .roles = i == DAVE ? "broker" : "tester",
            .since_ms = 1,
        };

        assert_int_equal(registry_draft_add(draft, &line), 0);
    }
    assert_int_equal(registry_draft_sign(draft, &world->seeds[OWNER], 1, &document), 0);
    world_write(home, "registry", buffer_view(&document));
    expect_refusal(home, ALICE, NULL, AICO_EBROKERKEY, "key");
    expect_refusal(home, ALICE, world->tcp, AICO_EBROKERKEY, "key");
}

static void no_broker_is_told(void **state)
{
    struct world *world = *state;

    world_stop(world, true);
    expect_refusal(world->home, ALICE, NULL, AICO_EUNREACHABLE, "aico-broker");
    expect_refusal(world->home, ALICE, world->tcp, AICO_EUNREACHABLE, "aico-broker");
    expect_refusal(world->home, ALICE, "tcp://nowhere", AICO_EINVAL, "nowhere");
}

static void something_that_is_no_broker_is_told(void **state)
{
    struct world *world = *state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char endpoint[64];

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%u", ntohs(address.sin_port));
    expect_refusal(world->home, ALICE, endpoint, AICO_ENOTBROKER, "listens");
    (void)close(fd);
}

static void a_second_process_of_one_identity_is_told(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE);

    expect_refusal(world->home, ALICE, NULL, AICO_EDUPLICATE, "");
    leave(&alice);
    alice = join(world, ALICE);
    leave(&alice);
}

static void a_home_that_is_not_there_is_told(void **state)
{
    struct world *world = *state;
    struct aico_client_options options = {.home = "/nonexistent", .identity = "alice"};
    struct aico_client *client = NULL;
    struct aico_error err = {0};

    assert_int_equal(aico_client_open(&options, WAIT_MS, &client, &err), AICO_ENOTFOUND);
    assert_non_null(strstr(err.text, "aico-keytool init"));
    options.home = world->home;
    options.identity = "nobody";
    assert_int_equal(aico_client_open(&options, WAIT_MS, &client, &err), AICO_EUNKNOWN);
    assert_non_null(strstr(err.text, "aico-keytool new nobody"));
    assert_null(client);
}

/* Stands where the broker will be, until somebody has come in vain. */
static void *start_once_missed(void *context)
{
    struct world *world = context;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = world->ipc + strlen("ipc://");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), visitor;

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    visitor = accept(fd, NULL, NULL);
    assert_true(visitor >= 0);
    assert_int_equal(unlink(path), 0);
    (void)close(visitor);
    (void)close(fd);
    world_start(world);
    return NULL;
}

static void waiting_for_a_broker_that_comes(void **state)
{
    struct world *world = *state;
    struct aico_client_options options = {
        .home = world->home, .identity = "alice", .wait_for_broker = true};
    struct aico_client *client = NULL;
    struct aico_error err = {0};
    pthread_t thread;
    int64_t start, wait_ms = 200;
    int r;

    world_stop(world, true);
    do { /* ETIMEOUT: no time even to come in vain */
        start = clock_ms();
        wait_ms *= 2;
        r = aico_client_open(&options, wait_ms, &client, &err);
    } while (r == AICO_ETIMEOUT && wait_ms < WAIT_MS);
    assert_int_equal(r, AICO_EUNREACHABLE);
    assert_true(clock_ms() - start >= wait_ms - 10);
    assert_int_equal(pthread_create(&thread, NULL, start_once_missed, world), 0);
    if (aico_client_open(&options, WAIT_MS, &client, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(pthread_join(thread, NULL), 0);
    leave(&client);
}

/* --- reconnecting -------------------------------------------------------------------------------
 */

struct stream {
    struct aico_client *client;
    atomic_uint published;
    atomic_bool is_over;
    int result;
};

static void *publish_until_over(void *context)
{
    struct stream *s = context;
    struct aico_publish_options options = {.wait_ms = -1};

    while (!atomic_load(&s->is_over) && s->result == 0) {
        char text[16];
        unsigned number = atomic_load(&s->published);
        int size = snprintf(text, sizeof(text), "%u", number);

        s->result = aico_publish(s->client, TOPIC, text, (size_t)size, &options, NULL, NULL);
        atomic_store(&s->published, number + 1);
        if (s->result == 0 &&
            number % 500 == 499) /* what waits stays little, however slow we are */
            s->result = aico_flush(s->client, WAIT_MS, NULL);
    }
    return NULL;
}

/* What one reader saw of one publisher. */
struct seen {
    unsigned next, received, gaps, lost_states, found_states;
};

static void take(struct seen *seen, struct aico_message *m)
{
    switch (m->kind) {
    case AICO_MESSAGE_EVENT: {
        unsigned number = (unsigned)strtoul(m->payload, NULL, 10);

        if (number < seen->next)
            fail_msg("%u came after %u: twice, or out of order", number, seen->next - 1);
        seen->next = number + 1;
        seen->received++;
        break;
    }
    case AICO_MESSAGE_GAP:
        assert_int_not_equal(m->count, 0);
        seen->gaps += (unsigned)m->count;
        break;
    case AICO_MESSAGE_STATE:
        if (m->code == 0)
            seen->found_states++;
        else
            seen->lost_states++;
        break;
    default:
        fail_msg("kind %d: %s %s", (int)m->kind, aico_error_name(m->code), m->text);
    }
}

static void take_until_found(struct aico_client *client, struct seen *seen, unsigned found)
{
    int64_t end = clock_ms() + WAIT_MS;

    while (seen->found_states < found || seen->received == 0) {
        struct aico_message *m = NULL;

        assert_true(clock_ms() < end);
        if (aico_receive(client, 100, &m, NULL) == 0) {
            take(seen, m);
            aico_message_free(&m);
        }
    }
}

static void survives_restarts(struct world *world, bool at_once)
{
    struct aico_client *bob = join(world, BOB);
    struct stream stream = {.client = join(world, ALICE)};
    struct aico_client_stats stats;
    struct seen seen = {0};
    pthread_t thread;
    unsigned total;

    (void)subscribe(bob, TOPIC);
    assert_int_equal(pthread_create(&thread, NULL, publish_until_over, &stream), 0);
    for (unsigned i = 0; i < 3; i++) {
        unsigned before = seen.received;

        while (seen.received < before + 200) {
            struct aico_message *m = NULL;

            assert_int_equal(aico_receive(bob, WAIT_MS, &m, NULL), 0);
            take(&seen, m);
            aico_message_free(&m);
        }
        world_stop(world, at_once);
        world_start(world);
        take_until_found(bob, &seen, i + 1);
    }
    atomic_store(&stream.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stream.result, 0);
    flush(stream.client);
    total = atomic_load(&stream.published);
    /* He is told of a gap by what comes after it, so he must have subscribed again before that. */
    assert_int_equal(aico_ping(bob, NULL, WAIT_MS, NULL, NULL), 0);
    publish(stream.client, TOPIC, "4000000000");
    while (seen.next != 4000000001u) {
        struct aico_message *m = NULL;

        assert_int_equal(aico_receive(bob, WAIT_MS, &m, NULL), 0);
        take(&seen, m);
        aico_message_free(&m);
    }
    /* Every message was accepted; what bob did not get, while he was away, he was told of. */
    assert_int_equal(seen.received - 1 + seen.gaps, total);
    assert_int_equal(seen.lost_states, 3);
    aico_client_get_stats(stream.client, &stats);
    assert_int_equal(stats.reconnects, 3);
    assert_int_equal(stats.refused, 0);
    assert_int_equal(stats.published, total + 1);
    aico_client_get_stats(bob, &stats);
    assert_int_equal(stats.received, seen.received);
    assert_int_equal(stats.gaps, seen.gaps);
    assert_int_equal(stats.unopened, 0);
    leave(&stream.client);
    leave(&bob);
}

static void a_restarted_broker_costs_nothing_unsaid(void **state)
{
    survives_restarts(*state, false);
}

static void nor_does_one_that_ends_without_a_word(void **state)
{
    survives_restarts(*state, true);
}

static void a_large_message_needs_half_of_the_room(void **state)
{
    static char large[3 << 20], half[1 << 20];
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE);
    struct aico_unsent unsent;

    flush(alice);
    world_stop(world, false);
    publish(alice, TOPIC, "something waits");
    assert_int_equal(aico_publish(alice, TOPIC, large, sizeof(large), NULL, NULL, NULL), 0);
    assert_int_equal(aico_publish(alice, TOPIC, "a", 1, NULL, NULL, NULL), AICO_EFULL);
    world_start(world);
    flush(alice);
    world_stop(world, false);
    assert_int_equal(aico_publish(alice, TOPIC, half, sizeof(half), NULL, NULL, NULL), 0);
    assert_int_equal(aico_publish(alice, TOPIC, large, sizeof(large), NULL, NULL, NULL),
                     AICO_EFULL);
    world_start(world);
    assert_int_equal(aico_client_close(&alice, WAIT_MS, &unsent), 0);
}

static void a_full_queue_is_told_and_waited_for(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE), *bob = join(world, BOB);
    struct aico_publish_options options = {.wait_ms = 50};
    struct aico_unsent unsent;
    struct aico_message *m;
    static char payload[65536];
    unsigned count = 0, received = 0;
    int64_t start;
    int r;

    (void)subscribe(bob, TOPIC);
    publish(alice, TOPIC, "from here on bob knows how far alice is");
    expect_text(bob, TOPIC, "alice", "from here on bob knows how far alice is");
    world_stop(world, false);
    while ((r = aico_publish(alice, TOPIC, payload, sizeof(payload), NULL, NULL, NULL)) == 0)
        assert_true(++count < 10000);
    assert_int_equal(r, AICO_EFULL);
    assert_in_range(count, 28, 36); /* 2 MiB */
    start = clock_ms();
    assert_int_equal(aico_publish(alice, TOPIC, payload, sizeof(payload), &options, NULL, NULL),
                     AICO_EFULL);
    assert_true(clock_ms() - start >= 45);

    world_start(world);
    options.wait_ms = WAIT_MS;
    assert_int_equal(aico_publish(alice, TOPIC, payload, sizeof(payload), &options, NULL, NULL), 0);
    count++;
    flush(alice);
    assert_int_equal(aico_ping(bob, NULL, WAIT_MS, NULL, NULL), 0); /* he is back */
    assert_int_equal(aico_client_close(&alice, WAIT_MS, &unsent), 0);
    while (received < count) { /* delivered, or missed before bob was back and then a gap */
        if (aico_receive(bob, WAIT_MS, &m, NULL) < 0)
            fail_msg("%u of %u", received, count);
        if (m->kind == AICO_MESSAGE_EVENT)
            received++;
        else if (m->kind == AICO_MESSAGE_GAP)
            received += (unsigned)m->count;
        aico_message_free(&m);
    }
    assert_int_equal(received, count);
    leave(&bob);
}

static void what_waits_for_an_answer_is_told_that_the_link_broke(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE);
    struct aico_error err = {0};

    world_stop(world, true);
    assert_int_equal(aico_ping(alice, NULL, 200, NULL, &err), AICO_ETIMEOUT);
    publish(alice, TOPIC, "x");
    assert_int_equal(aico_flush(alice, 200, &err), AICO_ETIMEOUT);
    world_start(world);
    flush(alice);
    leave(&alice);
}

static void *publish_and_wait(void *context)
{
    struct stream *s = context;
    struct aico_publish_options options = {.wait_ms = -1};
    static char payload[65536];

    while (s->result == 0) {
        s->result = aico_publish(s->client, TOPIC, payload, sizeof(payload), &options, NULL, NULL);
        (void)atomic_fetch_add(&s->published, s->result == 0);
    }
    return NULL;
}

/* Closing is promised to end who waits inside, so the test must know that somebody does. */
static bool waits_for_room(struct aico_client *client)
{
    bool result;

    client_lock(client);
    result = client->room_waiters > 0;
    client_unlock(client);
    return result;
}

static void closing_ends_who_waits_for_room(void **state)
{
    struct world *world = *state;
    struct stream stream = {.client = join(world, ALICE)};
    struct aico_client *closing = stream.client;
    struct aico_unsent unsent;
    pthread_t thread;
    struct aico_message *m;

    world_stop(world, true);
    m = expect(stream.client, AICO_MESSAGE_STATE); /* from here on nothing is sent any more */
    aico_message_free(&m);
    assert_int_equal(pthread_create(&thread, NULL, publish_and_wait, &stream), 0);
    while (!waits_for_room(stream.client))
        (void)usleep(5000);
    assert_int_equal(aico_client_close(&closing, 0, &unsent), AICO_ETIMEOUT);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stream.result, AICO_ECLOSED);
    assert_int_equal(unsent.unsent, atomic_load(&stream.published));
}

static void without_auto_reconnect_the_first_loss_is_the_end(void **state)
{
    struct world *world = *state;
    struct aico_client *alice;
    struct aico_message *m = NULL;
    struct aico_error err = {0};
    char folder[80];

    (void)snprintf(folder, sizeof(folder), "%s/config", world->home);
    assert_int_equal(mkdir(folder, 0700), 0);
    world_write(world->home, "config/alice.yaml", bytes_text("auto_reconnect: false\n"));
    alice = join(world, ALICE);
    world_stop(world, false);
    assert_int_equal(aico_receive(alice, WAIT_MS, &m, &err), AICO_EDRAIN);
    assert_true(err.text[0]);
    assert_int_equal(aico_publish(alice, TOPIC, "x", 1, NULL, NULL, &err), AICO_EDRAIN);
    assert_int_equal(aico_client_close(&alice, WAIT_MS, NULL), 0);
}

/* --- slow readers -------------------------------------------------------------------------------
 */

#define SLOW_SIZE 4096
#define SLOW_COUNT 8000 /* far more than reader, window and outbox hold together */

/* Reads all that comes for @published messages, the last of which is numbered; nothing else may. */
static void count_everything(struct aico_client *bob, unsigned published, struct seen *seen)
{
    while (seen->received + seen->gaps < published) {
        struct aico_message *m = NULL;

        if (aico_receive(bob, WAIT_MS, &m, NULL) < 0)
            fail_msg("%u received, %u in gaps, of %u", seen->received, seen->gaps, published);
        take(seen, m);
        aico_message_free(&m);
    }
    assert_int_equal(seen->received + seen->gaps, published);
}

static void *publish_slow_count(void *context)
{
    struct stream *s = context;
    struct aico_publish_options options = {.wait_ms = -1};
    static char payload[SLOW_SIZE];

    for (unsigned i = 0; i < SLOW_COUNT && s->result == 0; i++) {
        (void)snprintf(payload, sizeof(payload), "%u", i);
        s->result = aico_publish(s->client, TOPIC, payload, sizeof(payload), &options, NULL, NULL);
        atomic_store(&s->published, i + 1);
    }
    if (s->result == 0)
        s->result = aico_flush(s->client, 6 * WAIT_MS, NULL);
    return NULL;
}

static void a_slow_reader_that_drops_is_told_exactly(void **state)
{
    struct world *world = *state;
    static const enum aico_slow_policy policies[] = {AICO_SLOW_DROP_OLD, AICO_SLOW_DROP_NEW};

    world_stop(world, true);
    world_configure(world->home, world, "  outbox_limit: 1MiB\n");
    world_start(world);
    for (size_t i = 0; i < 2; i++) {
        struct aico_subscribe_options options = {.slow_policy = policies[i]};
        struct aico_client *bob = join(world, BOB);
        struct stream stream = {.client = join(world, ALICE)};
        struct seen seen = {0};

        assert_int_equal(aico_subscribe(bob, TOPIC, &options, WAIT_MS, NULL, NULL), 0);
        (void)publish_slow_count(&stream); /* while bob reads nothing */
        assert_int_equal(stream.result, 0);
        leave(&stream.client); /* says how far it came: losses at the end are seen too */
        count_everything(bob, SLOW_COUNT, &seen);
        assert_true(seen.gaps > 1000);
        assert_true(seen.received > 1000);
        expect_nothing(bob);
        leave(&bob);
    }
}

static void a_slow_reader_that_blocks_loses_nothing(void **state)
{
    struct world *world = *state;
    struct aico_subscribe_options options = {.slow_policy = AICO_SLOW_BLOCK};
    struct aico_client *bob;
    struct stream stream = {0};
    struct seen seen = {0};
    pthread_t thread;
    unsigned stuck = 0;
    int64_t since;

    world_stop(world, true);
    world_configure(world->home, world, "  outbox_limit: 1MiB\n");
    world_start(world);
    bob = join(world, BOB);
    stream.client = join(world, ALICE);
    assert_int_equal(aico_subscribe(bob, TOPIC, &options, WAIT_MS, NULL, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, publish_slow_count, &stream), 0);
    /* Until the publisher is slowed down to a stop. */
    for (since = clock_ms(); clock_ms() - since < 300;) {
        unsigned now = atomic_load(&stream.published);

        if (now != stuck)
            since = clock_ms();
        stuck = now;
        (void)usleep(10000);
    }
    assert_true(stuck < SLOW_COUNT);
    count_everything(bob, SLOW_COUNT, &seen);
    assert_int_equal(seen.gaps, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stream.result, 0);
    leave(&stream.client);
    leave(&bob);
}

static void a_slow_reader_that_asked_for_it_is_cut_off(void **state)
{
    struct world *world = *state;
    struct aico_subscribe_options options = {.slow_policy = AICO_SLOW_DISCONNECT};
    struct aico_client *bob;
    struct stream stream = {0};
    bool is_told = false;

    world_stop(world, true);
    world_configure(world->home, world, "  outbox_limit: 1MiB\n");
    world_start(world);
    bob = join(world, BOB);
    stream.client = join(world, ALICE);
    assert_int_equal(aico_subscribe(bob, TOPIC, &options, WAIT_MS, NULL, NULL), 0);
    (void)publish_slow_count(&stream);
    assert_int_equal(stream.result, 0);
    while (!is_told) {
        struct aico_message *m = NULL;

        assert_int_equal(aico_receive(bob, WAIT_MS, &m, NULL), 0);
        is_told = m->kind == AICO_MESSAGE_STATE && m->code == AICO_ESLOW;
        aico_message_free(&m);
    }
    leave(&stream.client);
    leave(&bob);
}

/* --- registries ---------------------------------------------------------------------------------
 */

static void the_revoked_is_told_and_cut_off(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE), *bob = join(world, BOB);
    struct aico_client *carol = join(world, CAROL);
    struct aico_message *m = NULL;
    struct aico_error err = {0};

    (void)subscribe(bob, TOPIC);
    (void)subscribe(carol, TOPIC);
    publish(alice, TOPIC, "before");
    expect_text(bob, TOPIC, "alice", "before");
    expect_text(carol, TOPIC, "alice", "before");
    world_revoke(world, CAROL);
    assert_int_equal(aico_receive(carol, WAIT_MS, &m, &err), AICO_EREVOKED);
    if (!strstr(err.text, "registry"))
        fail_msg("%s", err.text);
    assert_int_equal(aico_receive(carol, 0, &m, &err), AICO_EREVOKED); /* it stays so */
    assert_true(aico_publish(carol, TOPIC, "x", 1, NULL, NULL, &err) < 0);
    assert_int_equal(aico_flush(carol, WAIT_MS, &err), AICO_EREVOKED);
    publish(alice, TOPIC, "after");
    expect_text(bob, TOPIC, "alice", "after"); /* the others lose nothing */
    (void)aico_client_close(&carol, 0, NULL);
    expect_refusal(world->home, CAROL, NULL, AICO_EREVOKED, "revoked");
    leave(&alice);
    leave(&bob);
}

static void a_new_registry_arrives_and_is_kept(void **state)
{
    struct world *world = *state;
    CLEANUP(registry_unref)
    struct registry *kept = NULL;
    struct aico_client *alice = NULL;
    struct aico_client_stats stats;
    struct aico_error err = {0};
    int64_t end = clock_ms() + WAIT_MS;
    char home[80];

    /* Another machine: its file stays as it is. */
    world_copy_home(world, "far", home);
    if (try_join(home, ALICE, NULL, WAIT_MS, &alice, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(aico_publish(alice, "new/x/v1", "x", 1, NULL, NULL, NULL), AICO_EDENIED);
    world_set_rule(world, "new/**", "alice", "bob", SEAL_GROUP);
    do {
        aico_client_get_stats(alice, &stats);
        (void)usleep(5000);
    } while (stats.registry_version != 2 && clock_ms() < end);
    assert_int_equal(stats.registry_version, 2);
    publish(alice, "new/x/v1", "allowed now"); /* by what it accepted */
    flush(alice);
    leave(&alice);
    assert_int_equal(registry_load(home, "alice", bytes_text("aico"), &kept, &err), 0);
    assert_int_equal(registry_version(kept), 2);

    /* And it is what the next run starts with. */
    assert_int_equal(try_join(home, ALICE, NULL, WAIT_MS, &alice, &err), 0);
    aico_client_get_stats(alice, &stats);
    assert_int_equal(stats.registry_version, 2);
    leave(&alice);
}

static void a_generation_is_on_disk_before_it_is_used(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE);
    uint64_t first = 0, second = 0;

    publish(alice, TOPIC, "x");
    flush(alice);
    assert_int_equal(generation_load(world->home, "alice", &first, NULL), 0);
    assert_int_not_equal(first, 0);
    leave(&alice);
    alice = join(world, ALICE);
    publish(alice, TOPIC, "x");
    flush(alice);
    assert_int_equal(generation_load(world->home, "alice", &second, NULL), 0);
    assert_true(second > first);
    leave(&alice);
}

static void a_generation_that_cannot_be_kept_ends_the_client(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE), *bob = join(world, BOB);
    struct aico_error err = {0};
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/state/alice/generation", world->home);
    assert_int_equal(mkdir(path, 0700), 0); /* in the way */
    (void)subscribe(bob, TOPIC);
    publish(alice, TOPIC, "must not leave");
    assert_int_equal(aico_flush(alice, WAIT_MS, &err), AICO_ESYSTEM);
    assert_non_null(strstr(err.text, "generation"));
    assert_int_equal(aico_client_close(&alice, 0, NULL), AICO_ETIMEOUT);
    assert_int_equal(aico_ping(bob, NULL, WAIT_MS, NULL, NULL), 0);
    expect_nothing(bob);
    leave(&bob);
}

/* The owner replaces the broker's key: components of this home follow by themselves. */
static void a_new_key_of_the_broker_is_followed(void **state)
{
    struct world *world = *state;
    struct aico_client *alice = join(world, ALICE);
    struct aico_error err = {0};
    struct aico_message *m;
    char path[128];

    world_stop(world, true);
    world_replace_broker(world, DAVE);
    (void)snprintf(path, sizeof(path), "%s/broker.key", world->home);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(keyfile_create(path, names[DAVE], &world->seeds[DAVE], bytes_of("", 0), &err),
                     0);
    world_start(world);
    m = expect(alice, AICO_MESSAGE_STATE);
    assert_int_equal(m->code, AICO_EDRAIN);
    aico_message_free(&m);
    m = expect(alice, AICO_MESSAGE_STATE);
    assert_int_equal(m->code, 0);
    aico_message_free(&m);
    publish(alice, TOPIC, "x");
    flush(alice);
    leave(&alice);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, world_new, world_free)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(an_identity_that_is_not_registered_is_told),
        TEST(a_key_the_broker_does_not_know_is_told),
        TEST(a_revoked_key_is_told),
        TEST(a_broker_with_another_key_is_told),
        TEST(no_broker_is_told),
        TEST(something_that_is_no_broker_is_told),
        TEST(a_second_process_of_one_identity_is_told),
        TEST(a_home_that_is_not_there_is_told),
        TEST(waiting_for_a_broker_that_comes),
        TEST(a_restarted_broker_costs_nothing_unsaid),
        TEST(nor_does_one_that_ends_without_a_word),
        TEST(a_large_message_needs_half_of_the_room),
        TEST(a_full_queue_is_told_and_waited_for),
        TEST(what_waits_for_an_answer_is_told_that_the_link_broke),
        TEST(closing_ends_who_waits_for_room),
        TEST(without_auto_reconnect_the_first_loss_is_the_end),
        TEST(a_slow_reader_that_drops_is_told_exactly),
        TEST(a_slow_reader_that_blocks_loses_nothing),
        TEST(a_slow_reader_that_asked_for_it_is_cut_off),
        TEST(the_revoked_is_told_and_cut_off),
        TEST(a_new_registry_arrives_and_is_kept),
        TEST(a_generation_is_on_disk_before_it_is_used),
        TEST(a_generation_that_cannot_be_kept_ends_the_client),
        TEST(a_new_key_of_the_broker_is_followed),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("client links", tests, NULL, NULL);
}
