/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker of <aico/broker.h> with real sockets, files and time: homes are made in temporary
 * folders, components are links that speak records. Events are awaited with a deadline.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <ftw.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include <aico/broker.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/crypto.h"
#include "crypto/identity.h"
#include "store/home.h"
#include "transport/dealer.h"
#include "trust/document.h"
#include "trust/keydoc.h"
#include "wire/record.h"

#define DEADLINE_MS 10000
#define SEALED "AICO-MSG a message the broker cannot read"
#define TOPIC "logs/test/v1"
#define LOG_SIZE 65536

enum person { OWNER, BROKER, ALICE, BOB, CAROL, PEOPLE };
static const char *const names[PEOPLE] = {"owner", "broker", "alice", "bob", "carol"};

struct bus {
    char home[64];
    unsigned port;
    struct secret seeds[PEOPLE];
    struct identity *identities[PEOPLE];
    struct registry *registry;
    struct aico_broker *broker;
    pthread_t thread;
    bool is_running;
    int run_result;
    pthread_mutex_t log_lock;
    char log[LOG_SIZE];
    size_t log_size;
};

static int64_t deadline(void)
{
    return moment_now().boot_ms + DEADLINE_MS;
}

static void write_text(const struct bus *bus, const char *name, struct bytes text)
{
    char path[256];
    struct aico_error err = {0};

    (void)snprintf(path, sizeof(path), "%s/%s", bus->home, name);
    if (file_write(path, 0600, true, text, &err) < 0)
        fail_msg("%s", err.text);
}

/* --- a home ----------------------------------------------------------------------------------- */

static void publish_registry(struct bus *bus, struct registry_draft *draft)
{
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    struct registry *registry = NULL;
    struct aico_error err = {0};

    assert_int_equal(
        registry_draft_sign(draft, &bus->seeds[OWNER], moment_now().real_ms, &document), 0);
    write_text(bus, "registry", buffer_view(&document));
    if (registry_parse(buffer_view(&document), bus->identities[OWNER]->public, bytes_text("aico"),
                       &registry, &err) < 0)
        fail_msg("%s", err.text);
    registry_unref(&bus->registry);
    bus->registry = registry;
}

static void first_registry(struct bus *bus)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    struct rule_line rule = {
        .filter = bytes_text("logs/**"), .publish = "*", .subscribe = "*", .seal = SEAL_GROUP};

    for (int i = BROKER; i < PEOPLE; i++) {
        struct component_line line = {
            .name = names[i],
            .identity = bus->identities[i]->public,
            .transport = bus->identities[i]->transport_public,
            .roles = i == BROKER ? "broker" : "tester",
            .since_ms = 1,
        };

        assert_int_equal(registry_draft_add(draft, &line), 0);
    }
    assert_int_equal(registry_draft_set_rule(draft, &rule, NULL), 0);
    publish_registry(bus, draft);
}

static void revoke_now(struct bus *bus, enum person who)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(bus->registry, bytes_text("aico"));

    assert_int_equal(registry_draft_set_state(draft, names[who], COMPONENT_REVOKED), 0);
    publish_registry(bus, draft);
}

/* One that was free a moment ago: the configuration does not know "any". */
static unsigned free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static void configure(const struct bus *bus, const char *more)
{
    char text[1024];

    (void)snprintf(
        text, sizeof(text),
        "broker:\n  endpoints:\n    - ipc://%s/run/bus.sock\n    - tcp://127.0.0.1:%u\n%s",
        bus->home, bus->port, more);
    write_text(bus, "security.yaml", bytes_text(text));
}

static int bus_new(void **state)
{
    struct bus *bus = calloc(1, sizeof(*bus));
    CLEANUP(buffer_deinit)
    struct buffer owner = {0};
    char path[256];
    struct aico_error err = {0};

    assert_non_null(bus);
    assert_int_equal(crypto_start(), 0);
    assert_int_equal(pthread_mutex_init(&bus->log_lock, NULL), 0);
    (void)snprintf(bus->home, sizeof(bus->home), "/tmp/aico-bus-XXXXXX");
    assert_non_null(mkdtemp(bus->home));
    for (int i = OWNER; i < PEOPLE; i++) {
        memset(bus->seeds[i].at, i + 1, SECRET_SIZE);
        assert_int_equal(identity_new(names[i], &bus->seeds[i], 0, &bus->identities[i]), 0);
    }
    (void)snprintf(path, sizeof(path), "%s/broker.key", bus->home);
    assert_int_equal(keyfile_create(path, "broker", &bus->seeds[BROKER], bytes_of("", 0), &err), 0);
    assert_int_equal(publicdoc_write(bus->identities[OWNER], &owner), 0);
    write_text(bus, "owner.public", buffer_view(&owner));
    first_registry(bus);
    bus->port = free_port();
    configure(bus, "");
    *state = bus;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

static int bus_free(void **state)
{
    struct bus *bus = *state;

    if (bus->is_running) {
        aico_broker_stop(bus->broker);
        assert_int_equal(pthread_join(bus->thread, NULL), 0);
    }
    aico_broker_close(&bus->broker);
    registry_unref(&bus->registry);
    for (int i = OWNER; i < PEOPLE; i++)
        identity_free(&bus->identities[i]);
    (void)nftw(bus->home, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    (void)pthread_mutex_destroy(&bus->log_lock);
    free(bus);
    return 0;
}

/* --- a broker --------------------------------------------------------------------------------- */

static void on_event(void *context, const struct aico_broker_event *event)
{
    struct bus *bus = context;

    (void)pthread_mutex_lock(&bus->log_lock);
    if (bus->log_size < sizeof(bus->log) - 1)
        bus->log_size +=
            (size_t)snprintf(bus->log + bus->log_size, sizeof(bus->log) - bus->log_size,
                             "%s %s %s %s\n", aico_broker_event_name(event->kind), event->component,
                             aico_error_name(event->code), event->text);
    (void)pthread_mutex_unlock(&bus->log_lock);
}

static bool log_has(struct bus *bus, const char *text)
{
    bool found;

    (void)pthread_mutex_lock(&bus->log_lock);
    found = strstr(bus->log, text) != NULL;
    (void)pthread_mutex_unlock(&bus->log_lock);
    return found;
}

static void expect_log(struct bus *bus, const char *text)
{
    int64_t end = deadline();

    while (!log_has(bus, text)) {
        if (moment_now().boot_ms > end)
            fail_msg("\"%s\" is not in the log:\n%s", text, bus->log);
        (void)usleep(2000);
    }
}

static struct aico_broker_options options_of(struct bus *bus)
{
    return (struct aico_broker_options){.home = bus->home, .log = on_event, .log_context = bus};
}

static int try_open(struct bus *bus, struct aico_error *err)
{
    struct aico_broker_options options = options_of(bus);

    return aico_broker_open(&options, &bus->broker, err);
}

static void *run(void *context)
{
    struct bus *bus = context;

    bus->run_result = aico_broker_run(bus->broker, NULL);
    return NULL;
}

static void start(struct bus *bus)
{
    struct aico_error err = {0};

    if (try_open(bus, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(pthread_create(&bus->thread, NULL, run, bus), 0);
    bus->is_running = true;
}

static void stop(struct bus *bus)
{
    aico_broker_stop(bus->broker);
    assert_int_equal(pthread_join(bus->thread, NULL), 0);
    bus->is_running = false;
    assert_int_equal(bus->run_result, 0);
}

static void end_broker(struct bus *bus)
{
    stop(bus);
    aico_broker_close(&bus->broker);
}

/* --- a component ------------------------------------------------------------------------------ */

struct member {
    struct bus *bus;
    struct dealer *dealer;
    enum person who;
    uint64_t next_id;
    int bye;         /* 0: none */
    size_t welcomes; /* and what else was told */
    size_t oks, refusals, delivered, gap_count;
    uint64_t acknowledged, registry_version;
    int refusal;
    struct bytes last; /* payload of the last DELIVER, in place */
    uint8_t place[FRAME_SIZE_MAX];
};

static struct dealer *link_to(struct bus *bus, enum person who, size_t endpoint, enum person broker)
{
    struct dealer_settings settings = {
        .endpoint = aico_broker_endpoint(bus->broker, endpoint),
        .broker_public = bus->identities[broker]->transport_public,
        .my_public = bus->identities[who]->transport_public,
        .my_secret = &bus->identities[who]->transport_secret,
        .frame_size_max = FRAME_SIZE_MAX,
        .timeout_ms = 5000,
    };
    struct dealer *dealer = NULL;
    struct aico_error err = {0};

    assert_non_null(settings.endpoint);
    assert_int_equal(dealer_open(&settings, &dealer, &err), 0);
    return dealer;
}

static void note(struct member *member, const struct record *record)
{
    struct record_deliver deliver;
    struct record_refuse refuse;
    struct record_registry piece;
    struct record_gap gap;
    struct record_ack ack;
    struct record_bye bye;

    switch (record->type) {
    case RECORD_WELCOME:
        member->welcomes++;
        return;
    case RECORD_BYE:
        assert_int_equal(record_parse_bye(record, &bye), 0);
        member->bye = -(int)bye.code;
        return;
    case RECORD_OK:
        member->oks++;
        return;
    case RECORD_REFUSE:
        assert_int_equal(record_parse_refuse(record, &refuse), 0);
        member->refusals++;
        member->refusal = -(int)refuse.code;
        return;
    case RECORD_ACK:
        assert_int_equal(record_parse_ack(record, &ack), 0);
        member->acknowledged = ack.id;
        return;
    case RECORD_REGISTRY:
        assert_int_equal(record_parse_registry(record, &piece), 0);
        member->registry_version = piece.version;
        return;
    case RECORD_GAP:
        assert_int_equal(record_parse_gap(record, &gap), 0);
        member->gap_count += gap.count;
        return;
    case RECORD_DELIVER:
        assert_int_equal(record_parse_deliver(record, &deliver), 0);
        member->delivered++;
        bytes_copy(member->place, deliver.payload);
        member->last = bytes_of(member->place, deliver.payload.size);
        return;
    default:
        return;
    }
}

/* Reads what is there, waiting at most @wait_ms; false when the link is down. */
static bool member_read(struct member *member, int64_t wait_ms)
{
    unsigned happened = dealer_wait(member->dealer, -1, wait_ms);
    struct bytes frame;

    while (dealer_receive(member->dealer, &frame) == 0) {
        struct reader records;
        struct record record;

        assert_int_equal(frame_open(frame, &records), 0);
        while (frame_next(&records, &record) > 0)
            note(member, &record);
    }
    return !(happened & DEALER_DOWN);
}

/* Waits until @condition, an expression on `member`, is true. */
#define MEMBER_EXPECT(member, condition)                                                           \
    do {                                                                                           \
        int64_t end_ = deadline();                                                                 \
        while (!(condition)) {                                                                     \
            if (!member_read(member, 10) && !(condition))                                          \
                fail_msg("down with %d while waiting for " #condition,                             \
                         dealer_reason((member)->dealer, NULL));                                   \
            if (moment_now().boot_ms > end_)                                                       \
                fail_msg("in vain: " #condition);                                                  \
        }                                                                                          \
    } while (0)

static void member_send(struct member *member, const struct writer *frame)
{
    int64_t end = deadline();
    int r;

    assert_false(frame->failed);
    while ((r = dealer_send(member->dealer, bytes_of(frame->at, frame->size))) == AICO_EFULL &&
           moment_now().boot_ms < end)
        (void)member_read(member, 10);
    assert_int_equal(r, 0);
}

static struct writer frame_begin(uint8_t *room)
{
    struct writer w = writer_over(room, FRAME_SIZE_MAX);

    writer_u8(&w, WIRE_VERSION);
    return w;
}

static void member_up(struct member *member)
{
    int64_t end = deadline();

    while (!dealer_is_up(member->dealer) && moment_now().boot_ms < end)
        if (dealer_wait(member->dealer, -1, 50) & DEALER_DOWN)
            fail_msg("down: %d", dealer_reason(member->dealer, NULL));
    assert_true(dealer_is_up(member->dealer));
}

/* Joins with a window of @window bytes for what is delivered. */
static struct member *join(struct bus *bus, enum person who, size_t endpoint, uint32_t window)
{
    static uint64_t instances;
    struct member *member = calloc(1, sizeof(*member));
    uint8_t *room = malloc(FRAME_SIZE_MAX);
    struct writer w = frame_begin(room);
    uint8_t no_hash[16] = {0};
    struct record_hello hello = {
        .version = WIRE_VERSION,
        .instance = ++instances,
        .registry_hash = bytes_of(no_hash, sizeof(no_hash)),
        .window = window,
        .name = bytes_text(names[who]),
        .software = bytes_text("test"),
    };

    assert_non_null(member);
    member->bus = bus;
    member->who = who;
    member->next_id = 1;
    member->dealer = link_to(bus, who, endpoint, BROKER);
    member_up(member);
    record_write_hello(&w, &hello);
    member_send(member, &w);
    MEMBER_EXPECT(member, member->welcomes == 1);
    free(room);
    return member;
}

static void leave(struct member **member)
{
    dealer_close(&(*member)->dealer, 0);
    free(*member);
    *member = NULL;
}

static void subscribe(struct member *member, const char *filter, enum slow_policy policy)
{
    uint8_t *room = malloc(FRAME_SIZE_MAX);
    struct writer w = frame_begin(room);
    struct record_subscribe record = {
        .id = member->next_id++,
        .subscription = 1,
        .policy = (uint8_t)policy,
        .filter = bytes_text(filter),
    };
    size_t oks = member->oks;

    record_write_subscribe(&w, &record);
    member_send(member, &w);
    MEMBER_EXPECT(member, member->oks == oks + 1);
    free(room);
}

/* One message of @size bytes; its id. */
static uint64_t publish(struct member *member, const char *topic, size_t size)
{
    uint8_t *room = malloc(FRAME_SIZE_MAX);
    uint8_t *payload = calloc(1, size);
    struct writer w = frame_begin(room);
    struct record_publish record = {
        .id = member->next_id++,
        .topic_name = bytes_text(topic),
        .payload = bytes_of(payload, size),
        .total = (uint32_t)size,
    };

    memcpy(payload, SEALED, MIN(size, strlen(SEALED)));
    record_write_publish(&w, &record);
    member_send(member, &w);
    free(payload);
    free(room);
    return record.id;
}

/* --- tests ------------------------------------------------------------------------------------ */

static void components_meet_over_ipc_and_tcp(void **state)
{
    struct bus *bus = *state;
    struct member *alice, *bob;
    uint64_t id;

    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    bob = join(bus, BOB, 1, 1 << 20);
    subscribe(bob, "logs/**", SLOW_DROP_OLD);
    id = publish(alice, TOPIC, strlen(SEALED));
    MEMBER_EXPECT(alice, alice->acknowledged == id);
    MEMBER_EXPECT(bob, bob->delivered == 1);
    assert_true(bytes_equal_text(bob->last, SEALED));
    id = publish(alice, "secrets/of/others", strlen(SEALED));
    MEMBER_EXPECT(alice, alice->acknowledged == id);
    assert_int_equal(alice->refusal, AICO_EDENIED);
    leave(&alice);
    leave(&bob);
    end_broker(bus);
    assert_true(log_has(bus, "ready"));
    assert_true(log_has(bus, "connected alice"));
    assert_true(log_has(bus, "denied alice E_DENIED"));
}

static void a_newcomer_gets_the_registry(void **state)
{
    struct bus *bus = *state;
    struct member *alice;

    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    MEMBER_EXPECT(alice, alice->registry_version == 1);
    leave(&alice);
}

static void a_revoked_component_is_told_is_cut_and_stays_out(void **state)
{
    struct bus *bus = *state;
    struct member *alice, *bob, *carol;
    struct dealer *again;
    uint64_t id;
    int64_t end = deadline();

    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    bob = join(bus, BOB, 1, 1 << 20);
    carol = join(bus, CAROL, 0, 1 << 20);
    subscribe(carol, "logs/**", SLOW_DROP_OLD);
    MEMBER_EXPECT(alice, alice->registry_version == 1);

    revoke_now(bus, BOB);
    while (member_read(bob, 10) && moment_now().boot_ms < end)
        continue;
    assert_int_equal(bob->bye, AICO_EREVOKED);
    assert_int_equal(dealer_reason(bob->dealer, NULL), AICO_ECLOSED);

    again = link_to(bus, BOB, 0, BROKER);
    while (!(dealer_wait(again, -1, 50) & DEALER_DOWN))
        assert_false(dealer_is_up(again));
    assert_int_equal(dealer_reason(again, NULL), AICO_EREVOKED);
    dealer_close(&again, 0);
    expect_log(bus, "refused bob E_REVOKED");

    MEMBER_EXPECT(alice, alice->registry_version == 2);
    id = publish(alice, TOPIC, strlen(SEALED));
    MEMBER_EXPECT(alice, alice->acknowledged == id);
    MEMBER_EXPECT(carol, carol->delivered == 1);
    leave(&alice);
    leave(&bob);
    leave(&carol);
}

static void a_forged_or_older_registry_is_not_taken(void **state)
{
    struct bus *bus = *state;
    CLEANUP(buffer_deinit)
    struct buffer document = {0}, forged = {0};
    struct member *alice;

    assert_int_equal(buffer_append(&document, registry_document(bus->registry)), 0);
    assert_int_equal(buffer_append(&forged, registry_document(bus->registry)), 0);
    start(bus);
    revoke_now(bus, BOB);
    expect_log(bus, "registry version 2 is in force");

    forged.at[forged.size / 2] ^= 1;
    write_text(bus, "registry", buffer_view(&forged));
    expect_log(bus, "E_REGISTRY_SIGNATURE registry 2 stays in force");
    write_text(bus, "registry", buffer_view(&document));
    aico_broker_reload(bus->broker);
    expect_log(bus, "registry 2 is in force");
    alice = join(bus, ALICE, 0, 1 << 20);
    MEMBER_EXPECT(alice, alice->registry_version == 2);
    leave(&alice);

    /* Nor after a start: what was accepted once is kept. */
    end_broker(bus);
    start(bus);
    assert_true(log_has(bus, "registry 2 with 4 components"));
}

static void two_brokers_of_one_home_do_not_run(void **state)
{
    struct bus *bus = *state;
    struct aico_broker_options options = options_of(bus);
    struct aico_broker *second = NULL;
    struct aico_error err = {0};
    struct member *alice;

    start(bus);
    assert_int_equal(aico_broker_open(&options, &second, &err), AICO_EEXISTS);
    assert_non_null(strstr(err.text, "in use"));
    assert_null(second);
    alice = join(bus, ALICE, 0, 1 << 20); /* the first one's socket is untouched */
    leave(&alice);
}

static void a_living_socket_is_not_taken_and_a_dead_one_is(void **state)
{
    struct bus *bus = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct aico_error err = {0};
    char run[80];
    struct member *alice;

    (void)snprintf(run, sizeof(run), "%s/run", bus->home);
    assert_int_equal(mkdir(run, 0700), 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/bus.sock", run);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(try_open(bus, &err), AICO_EEXISTS);
    assert_non_null(strstr(err.text, "in use by another broker"));
    assert_int_equal(access(address.sun_path, F_OK), 0);

    (void)close(fd);
    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    leave(&alice);
    end_broker(bus);
    assert_int_not_equal(access(address.sun_path, F_OK), 0);
}

static void a_socket_folder_open_to_others_is_refused(void **state)
{
    struct bus *bus = *state;
    struct aico_error err = {0};
    char run[128];

    (void)snprintf(run, sizeof(run), "%s/run", bus->home);
    assert_int_equal(mkdir(run, 0700), 0);
    assert_int_equal(chmod(run, 0755), 0);
    assert_int_equal(try_open(bus, &err), AICO_EMODE);
    assert_non_null(strstr(err.text, "chmod 700"));
}

static void a_port_in_use_is_named(void **state)
{
    struct bus *bus = *state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct aico_error err = {0};
    char text[128];

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(text, sizeof(text), "broker:\n  endpoints: [\"tcp://127.0.0.1:%u\"]\n",
                   (unsigned)ntohs(address.sin_port));
    write_text(bus, "security.yaml", bytes_text(text));
    assert_int_equal(try_open(bus, &err), AICO_EEXISTS);
    assert_non_null(strstr(err.text, "in use"));
    (void)close(fd);
}

static void only_the_key_the_registry_names_serves(void **state)
{
    struct bus *bus = *state;
    struct aico_broker_options options = options_of(bus);
    struct aico_error err = {0};
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/broker.key", bus->home);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(try_open(bus, &err), AICO_EUNKNOWN);
    assert_int_equal(aico_error_exit_status(AICO_EUNKNOWN), 5);
    assert_int_equal(keyfile_create(path, "broker", &bus->seeds[ALICE], bytes_of("", 0), &err), 0);
    assert_int_equal(try_open(bus, &err), AICO_EKEYFILEMISMATCH);
    assert_int_equal(aico_broker_check(&options, &err), AICO_EKEYFILEMISMATCH);
    assert_int_equal(aico_error_exit_status(AICO_EKEYFILEMISMATCH), 5);
}

static void a_wrong_configuration_is_exit_3(void **state)
{
    struct bus *bus = *state;
    struct aico_error err = {0};

    configure(bus, "  outbox_limitt: 65536\n");
    assert_int_equal(try_open(bus, &err), AICO_ECONFIG);
    assert_int_equal(aico_error_exit_status(AICO_ECONFIG), 3);
    assert_non_null(strstr(err.text, "outbox_limit"));
}

/* The broker must not hold it: not even whether it is there is looked at. */
static void the_pre_shared_key_of_components_is_not_read(void **state)
{
    struct bus *bus = *state;

    configure(bus, "security:\n  transport:\n    psk_file: /nowhere/psk\n");
    start(bus);
}

static size_t entries;
static int64_t newest_ns;

static int look(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    int64_t changed_ns = (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;

    (void)path;
    (void)type;
    (void)walk;
    entries++;
    newest_ns = MAX(newest_ns, changed_ns);
    return 0;
}

static void a_check_writes_nothing(void **state)
{
    struct bus *bus = *state;
    struct aico_broker_options options = options_of(bus);
    struct aico_error err = {0};
    size_t entries_before;
    int64_t newest_before;

    entries = 0;
    newest_ns = 0;
    assert_int_equal(nftw(bus->home, look, 8, FTW_PHYS), 0);
    entries_before = entries;
    newest_before = newest_ns;
    entries = 0;
    assert_int_equal(aico_broker_check(&options, &err), 0);
    assert_int_equal(nftw(bus->home, look, 8, FTW_PHYS), 0);
    assert_int_equal(entries, entries_before);
    assert_true(newest_ns == newest_before);
}

static void a_stop_delivers_what_is_held_and_says_goodbye(void **state)
{
    struct bus *bus = *state;
    struct member *alice, *bob;
    enum { COUNT = 50 };
    uint64_t id = 0;
    int64_t end = deadline();

    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    bob = join(bus, BOB, 0, 8 << 20);
    subscribe(bob, "logs/**", SLOW_DROP_OLD);
    for (int i = 0; i < COUNT; i++)
        id = publish(alice, TOPIC, 8000);
    MEMBER_EXPECT(alice, alice->acknowledged == id);
    aico_broker_stop(bus->broker);
    while (member_read(bob, 10) && moment_now().boot_ms < end)
        continue;
    assert_int_equal(bob->delivered, COUNT);
    assert_int_equal(bob->bye, AICO_EDRAIN);
    while (member_read(alice, 10) && moment_now().boot_ms < end)
        continue;
    assert_int_equal(alice->bye, AICO_EDRAIN);
    leave(&alice);
    leave(&bob);
    stop(bus);
    assert_true(log_has(bus, "stopped"));
    assert_true(log_has(bus, "draining"));
}

static void a_reader_that_takes_nothing_holds_up_nobody(void **state)
{
    struct bus *bus = *state;
    struct member *alice, *bob, *carol;
    enum { COUNT = 300, SIZE = 32 * 1024 };
    uint64_t id = 0;

    configure(bus, "  outbox_limit: 1048576\n");
    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    bob = join(bus, BOB, 1, 1u << 30);     /* gives all credit, then never reads */
    carol = join(bus, CAROL, 1, 1u << 30); /* reads */
    subscribe(bob, "logs/**", SLOW_DROP_OLD);
    subscribe(carol, "logs/**", SLOW_DROP_OLD);
    for (int i = 0; i < COUNT; i++) {
        id = publish(alice, TOPIC, SIZE);
        MEMBER_EXPECT(alice, alice->acknowledged == id);
        MEMBER_EXPECT(carol, carol->delivered == (size_t)i + 1);
    }
    assert_int_equal(carol->gap_count, 0);
    /* He is told exactly how much he missed. */
    MEMBER_EXPECT(bob, bob->delivered + bob->gap_count == COUNT);
    leave(&alice);
    leave(&bob);
    leave(&carol);
}

static int count_peers(struct bus *bus)
{
    char *json = NULL, *at;
    int count = -1;

    assert_int_equal(aico_broker_status(bus->broker, "status", NULL, &json), 0);
    at = strstr(json, "\"peers\":");
    if (at)
        count = atoi(at + strlen("\"peers\":"));
    free(json);
    return count;
}

static void a_component_that_vanishes_is_missed(void **state)
{
    struct bus *bus = *state;
    struct member *alice, *bob;
    int64_t end = deadline();

    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    bob = join(bus, BOB, 1, 1 << 20);
    assert_int_equal(count_peers(bus), 2);
    leave(&bob); /* without a goodbye */
    while (count_peers(bus) == 2 && moment_now().boot_ms < end)
        (void)usleep(2000);
    assert_int_equal(count_peers(bus), 1);
    leave(&alice);
}

static void a_second_process_of_one_identity_is_told_so(void **state)
{
    struct bus *bus = *state;
    struct member *alice, second = {.bus = bus, .who = ALICE, .next_id = 1};
    uint8_t *room = malloc(FRAME_SIZE_MAX);
    struct writer w = frame_begin(room);
    uint8_t no_hash[16] = {0};
    struct record_hello hello = {
        .version = WIRE_VERSION,
        .instance = 0x7777,
        .registry_hash = bytes_of(no_hash, sizeof(no_hash)),
        .window = 1 << 20,
        .name = bytes_text("alice"),
    };
    int64_t end = deadline();

    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    second.dealer = link_to(bus, ALICE, 1, BROKER);
    member_up(&second);
    record_write_hello(&w, &hello);
    member_send(&second, &w);
    while (member_read(&second, 10) && moment_now().boot_ms < end)
        continue;
    assert_int_equal(second.bye, AICO_EDUPLICATE);
    dealer_close(&second.dealer, 0);
    publish(alice, TOPIC, 10);
    MEMBER_EXPECT(alice, alice->acknowledged > 0);
    leave(&alice);
    free(room);
}

static void a_link_beyond_the_limit_is_told_so(void **state)
{
    struct bus *bus = *state;
    struct member *alice, second = {.bus = bus, .who = BOB, .next_id = 1};
    uint8_t byte[2] = {WIRE_VERSION, 0};
    struct writer w = writer_over(byte, sizeof(byte));
    int64_t end = deadline();

    configure(bus, "  max_connections: 1\n");
    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    second.dealer = link_to(bus, BOB, 1, BROKER);
    member_up(&second);
    w.size = 1;
    member_send(&second, &w);
    while (member_read(&second, 10) && moment_now().boot_ms < end)
        continue;
    assert_int_equal(second.bye, AICO_EQUOTA);
    dealer_close(&second.dealer, 0);
    leave(&alice);
}

static void a_reload_names_the_settings_that_changed(void **state)
{
    struct bus *bus = *state;

    start(bus);
    configure(bus, "  max_topics: 4711\n");
    aico_broker_reload(bus->broker);
    expect_log(bus, "reloaded");
    assert_true(log_has(bus, "max_topics"));
    assert_true(log_has(bus, "4711: applied"));
    configure(bus, "  max_topics: many\n");
    aico_broker_reload(bus->broker);
    expect_log(bus, "E_CONFIG refused: ");
}

static void an_old_registry_is_mentioned(void **state)
{
    struct bus *bus = *state;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(bus->registry, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer document = {0};

    assert_int_equal(registry_draft_sign(draft, &bus->seeds[OWNER],
                                         moment_now().real_ms - 3600 * 1000, &document),
                     0);
    write_text(bus, "registry", buffer_view(&document));
    configure(bus, "security:\n  transport:\n    registry_max_age: 60\n");
    start(bus);
    expect_log(bus, "E_REGISTRY_STALE");
}

static void status_is_json_from_any_thread(void **state)
{
    struct bus *bus = *state;
    char *json = NULL;
    struct member *alice;

    start(bus);
    alice = join(bus, ALICE, 0, 1 << 20);
    assert_int_equal(aico_broker_status(bus->broker, "peers", NULL, &json), 0);
    assert_non_null(strstr(json, "\"alice\""));
    free(json);
    assert_int_equal(aico_broker_status(bus->broker, "weather", NULL, &json), AICO_EINVAL);
    assert_int_equal(aico_broker_status(bus->broker, "topics", "a//b", &json), AICO_ETOPIC);
    leave(&alice);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, bus_new, bus_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(components_meet_over_ipc_and_tcp),
        TEST(a_newcomer_gets_the_registry),
        TEST(a_revoked_component_is_told_is_cut_and_stays_out),
        TEST(a_forged_or_older_registry_is_not_taken),
        TEST(two_brokers_of_one_home_do_not_run),
        TEST(a_living_socket_is_not_taken_and_a_dead_one_is),
        TEST(a_socket_folder_open_to_others_is_refused),
        TEST(a_port_in_use_is_named),
        TEST(only_the_key_the_registry_names_serves),
        TEST(a_wrong_configuration_is_exit_3),
        TEST(the_pre_shared_key_of_components_is_not_read),
        TEST(a_check_writes_nothing),
        TEST(a_stop_delivers_what_is_held_and_says_goodbye),
        TEST(a_reader_that_takes_nothing_holds_up_nobody),
        TEST(a_component_that_vanishes_is_missed),
        TEST(a_second_process_of_one_identity_is_told_so),
        TEST(a_link_beyond_the_limit_is_told_so),
        TEST(a_reload_names_the_settings_that_changed),
        TEST(an_old_registry_is_mentioned),
        TEST(status_is_json_from_any_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
