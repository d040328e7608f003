/* SPDX-License-Identifier: Apache-2.0 */
/* From a home to the settings of a client: what is read, and in which order it is missed. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "runtime/client.h"

static int load_identity(const struct aico_client_options *options, const char *name,
                         const char *path, struct identity **ret_identity, struct aico_error *err)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    int r;

    if (access(path, F_OK) < 0 && errno == ENOENT)
        return aico_error_set(err, AICO_EUNKNOWN, "%s: no such key file, run: aico-keytool new %s",
                              path, name);
    r = keyfile_open(path, options->passphrase_file, &identity, err);
    if (r < 0)
        return r;
    if (strcmp(identity->name, name) != 0)
        return aico_error_set(err, AICO_EKEYFILEMISMATCH, "%s: the key of %s, not of %s", path,
                              identity->name, name);
    *ret_identity = STEAL(identity);
    return 0;
}

static int load_psk(const char *path, struct secret **ret_psk, struct aico_error *err)
{
    CLEANUP(guarded_free)
    struct secret *psk = NULL;
    int r;

    if (!path)
        return 0;
    psk = guarded_new(sizeof(*psk));
    if (!psk)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = psk_load(path, psk, err);
    if (r < 0)
        return r;
    *ret_psk = STEAL(psk);
    return 0;
}

/* Whose key a broker must show: pinned by the registry, so without it there is nobody to call. */
static int check_broker(const struct registry *registry, struct aico_error *err)
{
    if (registry_broker(registry))
        return 0;
    return aico_error_set(err, AICO_EBROKERKEY,
                          "registry %" PRIu64 " names no active component of role %s",
                          registry_version(registry), REGISTRY_ROLE_BROKER);
}

void client_home_deinit(struct client_home *home)
{
    identity_free(&home->identity);
    registry_unref(&home->registry);
    aico_config_free(&home->config);
    guarded_free(&home->psk);
    guarded_free(&home->former);
    guarded_free(&home->reading_keys);
    free(home->endpoint);
    free(home->software);
    home->endpoint = home->software = NULL;
}

static int nothing_with(void *to UNUSED, struct bytes key UNUSED, struct bytes value UNUSED)
{
    return 0;
}

/* Opening seals it anew. */
static int open_once(const struct client_home *home, const struct kept_kind *kind)
{
    CLEANUP(kept_free)
    struct kept *kept = NULL;
    CLEANUP(free_memory)
    char *path = home_path(home->config->home, "state/%s/%s.db", home->identity->name, kind->file);
    struct keeper keeper;

    if (!path)
        return AICO_ENOMEM;
    if (access(path, F_OK) < 0)
        return errno == ENOENT ? 0 : AICO_ESYSTEM;
    kept = kept_new(home->config->home, home->identity->name, kind, home->identity, home->former);
    if (!kept)
        return AICO_ENOMEM;
    keeper = kept_keeper(kept);
    return keeper.load(keeper.context, nothing_with, NULL, NULL);
}

/* After the overlap nobody seals with the former key any more: all that there is goes under ours,
 * and what opened it is erased. What cannot be opened now, as another process has it, keeps it
 * until the next start. */
static void settle_former(const struct client_home *home)
{
    static const struct kept_kind *const kinds[] = {&kept_outbox, &kept_replay, &kept_sessions};
    const struct component *c = registry_find_identity(home->registry, home->identity->public);
    int r = 0;

    if (!home->former)
        return;
    while (c && (c = registry_replaced(home->registry, c)) != NULL)
        if (component_is_active(home->registry, c, moment_now().real_ms))
            return;
    for (size_t i = 0; r == 0 && i < COUNT_OF(kinds); i++)
        r = open_once(home, kinds[i]);
    if (r == 0)
        r = client_chains_follow(home);
    if (r == 0)
        (void)!former_erase(home->config->home, home->identity->name, home->identity->public, NULL);
}

static const char *identity_name(const struct aico_client_options *options)
{
    const char *name = options->identity ? options->identity : getenv("AICO_IDENTITY");

    return name && *name ? name : NULL;
}

int client_home_load(const struct aico_client_options *options, struct client_home *ret_home,
                     struct aico_error *err)
{
    CLEANUP(client_home_deinit)
    struct client_home home = {0};
    const char *name = identity_name(options);
    const char *endpoint;
    int r = crypto_start();

    if (r < 0)
        return aico_error_set(err, r, "the cryptographic library does not start");
    if (!name)
        return aico_error_set(err, AICO_EINVAL,
                              "no identity: name a component (--as NAME) or set AICO_IDENTITY");
    r = aico_config_load(options->home, options->config, name, &home.config, err);
    if (r < 0)
        return r;
    /* The registry first: its errors tell a missing home from a missing key. */
    r = registry_load(home.config->home, name, bytes_text(home.config->bus_namespace),
                      &home.registry, err);
    if (r == 0)
        r = load_identity(options, name, home.config->identity_file, &home.identity, err);
    if (r == 0)
        r = check_broker(home.registry, err);
    if (r == 0)
        r = load_psk(home.config->psk_file, &home.psk, err);
    if (r == 0)
        r = generation_load(home.config->home, name, &home.generation, err);
    if (r == 0)
        r = former_load(home.config->home, home.identity, &home.former, err);
    if (r == 0)
        r = client_reading_load(&home, home.registry, err);
    if (r < 0)
        return r;
    settle_former(&home);
    endpoint = options->broker ? options->broker : home.config->connect_endpoint;
    home.endpoint = strdup(endpoint);
    home.software = strdup(options->software ? options->software : "libaicobus " AICO_VERSION);
    if (!home.endpoint || !home.software)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    *ret_home = home;
    memset(&home, 0, sizeof(home));
    return 0;
}

static struct session_settings session_settings_of(const struct client_home *home)
{
    static const char *const nobody[1];
    const struct aico_config *config = home->config;
    struct session_settings settings = session_settings_default();

    settings.namespace = bytes_text(config->bus_namespace);
    settings.strict_ordering = config->enforce_message_ordering;
    settings.fresh_handshake = config->require_fresh_handshake;
    settings.key_reuse = config->allow_key_reuse;
    settings.padding = config->padding == AICO_PADDING_PADME;
    settings.security_level = (uint8_t)config->security_level;
    settings.psk = home->psk;
    settings.reading_keys = home->reading_keys;
    settings.synchrony_bound_ms = config->synchrony_bound_ms;
    settings.handshake_timeout_ms = config->handshake_timeout_ms;
    settings.keepalive_interval_ms = config->keepalive_interval_ms;
    settings.key_rotation_interval_ms = config->key_rotation_interval_ms;
    settings.session_timeout_ms = config->session_timeout_ms;
    settings.group_epoch_ms = config->group_epoch_ms;
    settings.registry_max_age_ms = config->registry_max_age_ms;
    settings.max_skipped_messages = (size_t)config->max_skipped_messages;
    settings.max_message_size = (size_t)config->max_message_size;
    settings.connection_retry_limit = (uint32_t)config->connection_retry_limit;
    if (config->has_allowed_components) {
        settings.allowed_components = config->allowed_components.count > 0
                                          ? (const char *const *)config->allowed_components.items
                                          : nobody;
        settings.allowed_count = config->allowed_components.count;
    }
    return settings;
}

struct client_settings client_home_settings(const struct client_home *home, bool wait_for_broker)
{
    return (struct client_settings){
        .session = session_settings_of(home),
        .window = CLIENT_RECEIVE_WINDOW,
        .auto_reconnect = home->config->auto_reconnect,
        .wait_for_broker = wait_for_broker,
        .seal_none_allowed = home->config->security_level == AICO_SECURITY_STANDARD,
        .software = home->software,
    };
}
