/* SPDX-License-Identifier: Apache-2.0 */
/* Homes, a broker and clients for integration tests. */
#include "world.h"

#include <arpa/inet.h>
#include <ftw.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "store/home.h"
#include "trust/keydoc.h"

const char *const names[PEOPLE] = {"owner", "broker", "alice", "bob", "carol", "dave"};

int64_t clock_ms(void)
{
    return moment_now().boot_ms;
}

void world_write(const char *home, const char *name, struct bytes text)
{
    char path[256];
    struct aico_error err = {0};

    (void)snprintf(path, sizeof(path), "%s/%s", home, name);
    if (file_write(path, 0600, true, text, &err) < 0)
        fail_msg("%s", err.text);
}

/* --- the owner -------------------------------------------------------------------------------- */

void world_publish(struct world *world, struct registry_draft *draft)
{
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    struct registry *registry = NULL;
    struct aico_error err = {0};

    assert_int_equal(
        registry_draft_sign(draft, &world->seeds[OWNER], moment_now().real_ms, &document), 0);
    if (registry_parse(buffer_view(&document), world->identities[OWNER]->public, bytes_text("aico"),
                       &registry, &err) < 0)
        fail_msg("%s", err.text);
    registry_unref(&world->registry);
    world->registry = registry;
    world_write(world->home, "registry", buffer_view(&document));
}

static void draft_rule(struct registry_draft *draft, const char *filter, const char *publish_by,
                       const char *subscribe_by, enum rule_seal seal)
{
    struct rule_line rule = {.filter = bytes_text(filter),
                             .publish = publish_by,
                             .subscribe = subscribe_by,
                             .seal = seal,
                             .authenticity = AUTHENTICITY_SENDER};

    assert_int_equal(registry_draft_set_rule(draft, &rule, NULL), 0);
}

static void first_registry(struct world *world)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));

    for (int i = BROKER; i < DAVE; i++) {
        struct component_line line = {
            .name = names[i],
            .identity = world->identities[i]->public,
            .transport = world->identities[i]->transport_public,
            .roles = i == BROKER  ? "broker"
                     : i == ALICE ? "tester,admin"
                                  : "tester",
            .since_ms = 1,
        };

        assert_int_equal(registry_draft_add(draft, &line), 0);
    }
    draft_rule(draft, "logs/**", "*", "*", SEAL_GROUP);
    draft_rule(draft, "channel/**", "*", "*", SEAL_CHANNEL);
    draft_rule(draft, "service/**", "*", "*", SEAL_CHANNEL);
    draft_rule(draft, "private/**", "alice", "bob", SEAL_GROUP);
    world_publish(world, draft);
}

void world_revoke(struct world *world, enum person who)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(world->registry, bytes_text("aico"));

    assert_int_equal(registry_draft_set_state(draft, names[who], COMPONENT_REVOKED), 0);
    world_publish(world, draft);
}

void world_set_rule(struct world *world, const char *filter, const char *publish_by,
                    const char *subscribe_by, enum rule_seal seal)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(world->registry, bytes_text("aico"));

    draft_rule(draft, filter, publish_by, subscribe_by, seal);
    world_publish(world, draft);
}

void world_replace_broker(struct world *world, enum person who)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(world->registry, bytes_text("aico"));
    struct component_line line = {
        .name = names[who],
        .identity = world->identities[who]->public,
        .transport = world->identities[who]->transport_public,
        .roles = "broker",
        .since_ms = 1,
    };

    assert_int_equal(registry_draft_set_state(draft, names[BROKER], COMPONENT_RETIRED), 0);
    assert_int_equal(registry_draft_add(draft, &line), 0);
    world_publish(world, draft);
}

/* --- homes ------------------------------------------------------------------------------------ */

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

void world_configure(const char *home, const struct world *world, const char *more)
{
    char text[1024];

    (void)snprintf(text, sizeof(text), "broker:\n  endpoints:\n    - %s\n    - %s\n%s", world->ipc,
                   world->tcp, more);
    world_write(home, "security.yaml", bytes_text(text));
}

static void make_home(const struct world *world, const char *home)
{
    CLEANUP(buffer_deinit)
    struct buffer owner = {0};
    struct aico_error err = {0};
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/identities", home);
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = BROKER; i < PEOPLE; i++) {
        CLEANUP(free_memory)
        char *key = home_key_path(home, names[i]);

        if (keyfile_create(key, names[i], &world->seeds[i], bytes_of("", 0), &err) < 0)
            fail_msg("%s", err.text);
    }
    assert_int_equal(publicdoc_write(world->identities[OWNER], &owner), 0);
    world_write(home, "owner.public", buffer_view(&owner));
    world_configure(home, world, "");
}

void world_copy_home(struct world *world, const char *suffix, char home[80])
{
    (void)snprintf(home, 80, "%s/%s", world->home, suffix);
    assert_int_equal(mkdir(home, 0700), 0);
    make_home(world, home);
    world_write(home, "registry", registry_document(world->registry));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    return remove(path);
}

void world_remove(const char *folder)
{
    (void)nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

int world_new(void **state)
{
    struct world *world = calloc(1, sizeof(*world));

    assert_non_null(world);
    assert_int_equal(crypto_start(), 0);
    (void)snprintf(world->home, sizeof(world->home), "/tmp/aico-world-XXXXXX");
    assert_non_null(mkdtemp(world->home));
    for (int i = OWNER; i < PEOPLE; i++) {
        memset(world->seeds[i].at, i + 1, SECRET_SIZE);
        assert_int_equal(identity_new(names[i], &world->seeds[i], 0, &world->identities[i]), 0);
    }
    world->port = free_port();
    (void)snprintf(world->ipc, sizeof(world->ipc), "ipc://%s/run/bus.sock", world->home);
    (void)snprintf(world->tcp, sizeof(world->tcp), "tcp://127.0.0.1:%u", world->port);
    make_home(world, world->home);
    first_registry(world);
    world_start(world);
    *state = world;
    return 0;
}

int world_free(void **state)
{
    struct world *world = *state;

    if (world->is_running)
        world_stop(world, true);
    registry_unref(&world->registry);
    for (int i = OWNER; i < PEOPLE; i++)
        identity_free(&world->identities[i]);
    world_remove(world->home);
    free(world);
    return 0;
}

/* --- the broker ------------------------------------------------------------------------------- */

static void *run(void *context)
{
    struct world *world = context;

    world->run_result = aico_broker_run(world->broker, NULL);
    return NULL;
}

static void log_event(void *context, const struct aico_broker_event *event)
{
    (void)context;
    if (getenv("AICO_TEST_LOG"))
        (void)fprintf(stderr, "broker: %s %s %s\n", aico_broker_event_name(event->kind),
                      event->component, event->text);
}

void world_start(struct world *world)
{
    struct aico_broker_options options = {.home = world->home, .log = log_event};
    struct aico_error err = {0};

    if (aico_broker_open(&options, &world->broker, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(pthread_create(&world->thread, NULL, run, world), 0);
    world->is_running = true;
}

void world_stop(struct world *world, bool at_once)
{
    aico_broker_stop(world->broker);
    if (at_once)
        aico_broker_stop(world->broker);
    assert_int_equal(pthread_join(world->thread, NULL), 0);
    world->is_running = false;
    assert_int_equal(world->run_result, 0);
    aico_broker_close(&world->broker);
}

/* --- clients ---------------------------------------------------------------------------------- */

int try_join(const char *home, enum person who, const char *endpoint, int64_t timeout_ms,
             struct aico_client **ret_client, struct aico_error *err)
{
    struct aico_client_options options = {
        .home = home, .identity = names[who], .broker = endpoint, .software = "test"};

    return aico_client_open(&options, timeout_ms, ret_client, err);
}

struct aico_client *join_at(struct world *world, enum person who, const char *endpoint)
{
    struct aico_client *client = NULL;
    struct aico_error err = {0};

    if (try_join(world->home, who, endpoint, WAIT_MS, &client, &err) < 0)
        fail_msg("%s does not connect: %s", names[who], err.text);
    return client;
}

struct aico_client *join(struct world *world, enum person who)
{
    return join_at(world, who, NULL);
}

uint32_t subscribe(struct aico_client *client, const char *filter)
{
    struct aico_error err = {0};
    uint32_t subscription = 0;

    if (aico_subscribe(client, filter, NULL, WAIT_MS, &subscription, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_not_equal(subscription, 0);
    return subscription;
}

void publish(struct aico_client *client, const char *topic, const char *text)
{
    struct aico_publish_options options = {.wait_ms = WAIT_MS};
    struct aico_error err = {0};

    if (aico_publish(client, topic, text, strlen(text), &options, NULL, &err) < 0)
        fail_msg("%s", err.text);
}

void flush(struct aico_client *client)
{
    struct aico_error err = {0};

    if (aico_flush(client, WAIT_MS, &err) < 0)
        fail_msg("%s", err.text);
}

struct aico_message *expect(struct aico_client *client, enum aico_message_kind kind)
{
    struct aico_message *message = NULL;
    struct aico_error err = {0};

    if (aico_receive(client, WAIT_MS, &message, &err) < 0)
        fail_msg("%s", err.text);
    if (message->kind != kind)
        fail_msg("kind %d instead of %d: %s %s %.*s %s %s", (int)message->kind, (int)kind,
                 message->topic, message->sender, (int)message->size,
                 (const char *)message->payload, aico_error_name(message->code), message->text);
    return message;
}

void expect_text(struct aico_client *client, const char *topic, const char *sender,
                 const char *text)
{
    struct aico_message *message = expect(client, AICO_MESSAGE_EVENT);

    assert_string_equal(message->topic, topic);
    assert_string_equal(message->sender, sender);
    assert_int_equal(message->size, strlen(text));
    assert_memory_equal(message->payload, text, message->size);
    aico_message_free(&message);
}

void expect_nothing(struct aico_client *client)
{
    struct aico_message *message = NULL;

    assert_int_equal(aico_receive(client, 0, &message, NULL), AICO_ETIMEOUT);
    assert_null(message);
}

void leave(struct aico_client **client)
{
    struct aico_unsent unsent;

    assert_int_equal(aico_client_close(client, WAIT_MS, &unsent), 0);
    assert_null(*client);
}
