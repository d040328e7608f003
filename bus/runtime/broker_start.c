/* SPDX-License-Identifier: Apache-2.0 */
/* From a home to a broker that listens: what is read, what is checked, what is taken. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <aico/client.h>

#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "runtime/broker.h"
#include "wire/record.h"

#define SILENT_MS 2000        /* HELLO comes with the end of the handshake */
#define HANDSHAKE_MAX_MS 3000 /* strangers hold a descriptor no longer than that */

/* --- what is read --------------------------------------------------------------------------- */

static int load_identity(const struct aico_broker_options *options, const char *path,
                         struct identity **ret_identity, struct aico_error *err)
{
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return aico_error_set(err, AICO_EUNKNOWN,
                              "%s: no such key file; it came with the home and has to be restored",
                              path);
    return keyfile_open(path, options->passphrase_file, ret_identity, err);
}

/* Components pin the broker's key by the registry: with another they would all be told so. */
static int check_role(const struct broker_home *home, struct aico_error *err)
{
    const struct component *broker = registry_broker(home->registry);

    if (!broker)
        return aico_error_set(err, AICO_EKEYFILEMISMATCH,
                              "registry %" PRIu64 " names no active component of role %s",
                              registry_version(home->registry), REGISTRY_ROLE_BROKER);
    if (memcmp(broker->identity, home->identity->public, SIGN_PUBLIC_SIZE) != 0 ||
        memcmp(broker->transport, home->identity->transport_public, DH_PUBLIC_SIZE) != 0)
        return aico_error_set(
            err, AICO_EKEYFILEMISMATCH, "%s: not the key that registry %" PRIu64 " has for %s",
            home->config->identity_file, registry_version(home->registry), broker->name);
    return 0;
}

void broker_home_deinit(struct broker_home *home)
{
    identity_free(&home->identity);
    registry_unref(&home->registry);
    aico_config_free(&home->config);
    free(home->config_path);
    home->config_path = NULL;
}

int broker_home_load(const struct aico_broker_options *options, struct broker_home *ret_home,
                     struct aico_error *err)
{
    CLEANUP(broker_home_deinit)
    struct broker_home home = {0};
    int r = crypto_start();

    if (r < 0)
        return aico_error_set(err, r, "the cryptographic library does not start");
    if (options->config && !(home.config_path = strdup(options->config)))
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = aico_config_load(options->home, options->config, BROKER_NAME, &home.config, err);
    if (r < 0)
        return r;
    /* The registry first: its errors tell a missing home from a missing key. */
    r = registry_load(home.config->home, BROKER_NAME, bytes_text(home.config->bus_namespace),
                      &home.registry, err);
    if (r < 0)
        return r;
    r = load_identity(options, home.config->identity_file, &home.identity, err);
    if (r < 0)
        return r;
    r = check_role(&home, err);
    if (r < 0)
        return r;
    *ret_home = home;
    memset(&home, 0, sizeof(home));
    return 0;
}

/* --- what is taken -------------------------------------------------------------------------- */

static int take_lock(struct aico_broker *b, struct aico_error *err)
{
    const char *home = b->home.config->home;
    CLEANUP(free_memory)
    char *run = home_path(home, "run");
    CLEANUP(free_memory)
    char *path = home_path(home, "run/broker.lock");
    int r;

    if (!run || !path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = folder_make(run, err);
    if (r < 0)
        return r;
    r = file_lock(path, 0, &b->lock_fd, err);
    if (r == AICO_ETIMEOUT)
        return aico_error_set(err, AICO_EEXISTS, "%s is in use: a broker of this home is running",
                              home);
    /* For people and the doctor: whom to signal. */
    if (r == 0 && (ftruncate(b->lock_fd, 0) < 0 || dprintf(b->lock_fd, "%d\n", (int)getpid()) < 0))
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    return r;
}

/*
 * Whatever lies at the path of an ipc socket will be replaced, a living broker's too. So ask first:
 * if somebody answers it is in use, if nobody does it was left by a broker that was killed.
 */
static int clear_stale_socket(const char *path, struct aico_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    CLEANUP(fd_close)
    int fd = -1;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0
                               : aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    if (!S_ISSOCK(st.st_mode))
        return aico_error_set(err, AICO_EEXISTS, "%s: in use by something that is not a socket",
                              path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    /* EAGAIN: a living one whose queue is full. */
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN)
        return aico_error_set(err, AICO_EEXISTS, "%s: in use by another broker", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    return 0;
}

/* Whoever reaches the socket can take descriptors, so its folder is closed to others. */
static int prepare_socket_path(const char *path, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *folder = strdup(path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    int r;

    if (!folder)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    if (!slash || slash == folder)
        return aico_error_set(err, AICO_EINVAL, "%s: a socket needs a folder of its own", path);
    if (strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return aico_error_set(err, AICO_EINVAL, "%s: path too long for a socket (107 bytes)", path);
    *slash = '\0';
    r = folder_make(folder, err);
    return r < 0 ? r : clear_stale_socket(path, err);
}

static int listen_on(struct aico_broker *b, const char *endpoint, struct aico_error *err)
{
    static const char ipc[] = "ipc://";
    int listener = broker_find_inherited(b, endpoint), r = 0;

    if (listener < 0 && strncmp(endpoint, ipc, strlen(ipc)) == 0)
        r = prepare_socket_path(endpoint + strlen(ipc), err);
    if (r == 0)
        r = router_bind(b->router, endpoint, listener, &b->endpoints[b->endpoint_count], err);
    if (r < 0)
        return r;
    b->endpoint_count++;
    return 0;
}

void broker_remove_sockets(struct aico_broker *b)
{
    static const char ipc[] = "ipc://";

    for (size_t i = 0; i < b->endpoint_count; i++)
        if (strncmp(b->endpoints[i], ipc, strlen(ipc)) == 0 &&
            !broker_is_inherited(b, b->endpoints[i]))
            (void)unlink(b->endpoints[i] + strlen(ipc));
}

/* --- start ---------------------------------------------------------------------------------- */

/* What members that were away will be sent before the registry in force. */
static int keep_successions(struct aico_broker *b, struct aico_error *err)
{
    const struct aico_config *config = b->home.config;
    CLEANUP(registry_chain_deinit)
    struct registry_chain chain = {0};
    int r = registry_chain_load(config->home, BROKER_NAME, bytes_text(config->bus_namespace),
                                &chain, err);

    for (size_t i = 0; r == 0 && i < chain.count; i++)
        r = broker_keep_succession(b->core, chain.items[i]);
    return r == AICO_ENOMEM ? aico_error_set(err, r, "out of memory") : r;
}

void broker_settings_of(const struct aico_config *config, struct broker_settings *ret_settings)
{
    struct broker_settings settings;

    broker_settings_default(&settings);
    settings.software = "aico-broker " AICO_VERSION;
    settings.max_connections = (size_t)config->max_connections;
    settings.max_connections_per_component = (size_t)config->max_connections_per_component;
    settings.max_subscriptions = (size_t)config->max_subscriptions;
    settings.max_requests = (size_t)config->max_requests;
    settings.publish_rate = (size_t)config->publish_rate;
    settings.max_topics = (size_t)config->max_topics;
    settings.max_retained = (size_t)config->max_retained;
    settings.retained_limit = (size_t)config->retained_limit_bytes;
    settings.max_message_size = (size_t)config->max_message_size;
    settings.outbox_limit = (size_t)config->outbox_limit_bytes;
    settings.mailbox_limit = (size_t)config->mailbox_limit_bytes;
    settings.value_limit = (size_t)config->value_limit_bytes;
    settings.publish_window = (uint32_t)config->publish_window_bytes;
    settings.keepalive_interval_ms = config->keepalive_interval_ms;
    settings.hello_timeout_ms = MIN(settings.hello_timeout_ms, config->handshake_timeout_ms);
    *ret_settings = settings;
}

static int start_core(struct aico_broker *b, struct aico_error *err)
{
    struct broker_settings settings;
    int r;

    broker_settings_of(b->home.config, &settings);
    settings.has_store = b->store != NULL;
    r = broker_new(&settings, b->home.registry, moment_now(), &b->core);
    return r < 0 ? aico_error_set(err, r, "out of memory") : keep_successions(b, err);
}

static int start_sockets(struct aico_broker *b, struct aico_error *err)
{
    const struct aico_config *config = b->home.config;
    struct router_settings settings = {
        .secret = &b->home.identity->transport_secret,
        .frame_size_max = FRAME_SIZE_MAX,
        .handshake_ms = MIN(config->handshake_timeout_ms, (int64_t)HANDSHAKE_MAX_MS),
        .silent_ms = SILENT_MS,
        .bye_ms = BROKER_BYE_MS,
        .busy_us = config->busy_poll_us,
        .threads = (unsigned)config->io_threads,
    };
    int r = router_new(&settings, &b->router, err);

    if (r == 0) {
        broker_look_before_refusing(b);
        r = broker_allow(b, err);
    }
    b->endpoints = calloc(config->endpoints.count + 1, sizeof(*b->endpoints));
    if (r == 0 && !b->endpoints)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    for (size_t i = 0; r == 0 && i < config->endpoints.count; i++)
        r = listen_on(b, config->endpoints.items[i], err);
    return r < 0 ? r : broker_check_inherited(b, err);
}

static int start_metrics(struct aico_broker *b, struct aico_error *err)
{
    const char *path = b->home.config->metrics_socket;
    int r = path ? prepare_socket_path(path, err) : 0;

    if (path && r == 0)
        r = metrics_start(path, &b->wake, &b->metrics, err);
    return r < 0 ? aico_error_prefix(err, r, "metrics_socket") : 0;
}

static void say_if_few_descriptors(struct aico_broker *b)
{
    struct rlimit limit;
    int64_t links;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
        return;
    links = (int64_t)limit.rlim_cur - ROUTER_DESCRIPTORS_KEPT;
    if (links < b->home.config->max_connections)
        broker_say(b, AICO_LOG_WARNING, AICO_BROKER_LIMIT, NULL, NULL, 0,
                   "max_connections is %" PRId64 ", but this process may open %" PRId64
                   " (ulimit -n)",
                   b->home.config->max_connections, MAX(links, (int64_t)0));
}

int broker_start(struct aico_broker *b, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *former = NULL;
    char fingerprint[FINGERPRINT_TEXT_SIZE];
    int r;

    fingerprint_write(b->home.identity->public, fingerprint);
    broker_say(b, AICO_LOG_INFO, AICO_BROKER_STARTING, NULL, NULL, 0,
               "home %s, registry %" PRIu64 " with %zu components, key %s", b->home.config->home,
               registry_version(b->home.registry), registry_component_count(b->home.registry),
               fingerprint);
    b->registry_path = home_path(b->home.config->home, "registry");
    if (!b->registry_path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = take_lock(b, err);
    if (r == 0) {
        former = broker_former_registry(b);
        r = registry_keep(b->home.config->home, BROKER_NAME, b->home.registry, err);
    }
    if (r == 0)
        r = broker_start_store(b, err);
    if (r == 0)
        r = start_core(b, err);
    if (r == 0)
        r = start_sockets(b, err);
    if (r == 0)
        r = start_metrics(b, err);
    if (r == 0)
        r = audit_writer_start(b->home.config->home, bytes_text(b->home.config->bus_namespace),
                               &b->home.identity, &b->audit, err);
    if (r == 0 && former)
        broker_say_changes(b, former);
    if (r == 0)
        say_if_few_descriptors(b);
    return r;
}
