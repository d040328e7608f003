/* SPDX-License-Identifier: Apache-2.0 */
/* Who may open a link to the broker: passes made from the registry, and following its file. */
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/hex.h"
#include "runtime/broker.h"
#include "trust/changes.h"

#define STALE_SAY_MS (60 * 60 * 1000)
#define REFUSALS_PER_SECOND 5

/*
 * A User-Id and whom it stands for. A pass keeps its number through all registries and no number is
 * given twice, so a link that was let in under one registry is never somebody else's under the
 * next.
 */
struct pass {
    char user_id[ROSTER_USER_ID_MAX + 1]; /* NAME#SERIAL */
    char name[COMPONENT_NAME_MAX + 1];
    uint8_t identity[SIGN_PUBLIC_SIZE];
    uint8_t transport[DH_PUBLIC_SIZE];
    UT_hash_handle hh;
};

static struct pass *find_pass_of(const struct aico_broker *b, const struct component *component)
{
    for (struct pass *pass = b->passes; pass; pass = pass->hh.next)
        if (memcmp(pass->identity, component->identity, SIGN_PUBLIC_SIZE) == 0 &&
            memcmp(pass->transport, component->transport, DH_PUBLIC_SIZE) == 0 &&
            strcmp(pass->name, component->name) == 0)
            return pass;
    return NULL;
}

static struct pass *pass_of(struct aico_broker *b, const struct component *component)
{
    struct pass *pass = find_pass_of(b, component);

    if (pass)
        return pass;
    pass = calloc(1, sizeof(*pass));
    if (!pass)
        return NULL;
    (void)snprintf(pass->name, sizeof(pass->name), "%s", component->name);
    memcpy(pass->identity, component->identity, SIGN_PUBLIC_SIZE);
    memcpy(pass->transport, component->transport, DH_PUBLIC_SIZE);
    (void)snprintf(pass->user_id, sizeof(pass->user_id), "%s#%" PRIu32, component->name,
                   b->next_serial++);
    HASH_ADD_STR(b->passes, user_id, pass);
    if (!HASH_ADDED(hh, pass)) {
        free(pass);
        return NULL;
    }
    return pass;
}

void broker_free_passes(struct aico_broker *b)
{
    struct pass *pass, *next;

    HASH_ITER(hh, b->passes, pass, next)
    {
        HASH_DEL(b->passes, pass);
        free(pass);
    }
}

bool broker_find_pass(const struct aico_broker *b, const char *user_id, struct bytes *ret_name,
                      const uint8_t **ret_identity)
{
    struct pass *pass;

    HASH_FIND_STR(b->passes, user_id, pass);
    if (!pass)
        return false;
    *ret_name = bytes_text(pass->name);
    *ret_identity = pass->identity;
    return true;
}

int broker_allow(struct aico_broker *b, struct aico_error *err)
{
    const struct registry *registry = b->home.registry;
    CLEANUP(roster_free)
    struct roster *roster = roster_new();
    int64_t now_ms = moment_now().real_ms;

    for (size_t i = 0; roster && i < registry_component_count(registry); i++) {
        const struct component *component = registry_component_at(registry, i);
        const struct pass *pass;
        int r;

        if (component_has_role(component, REGISTRY_ROLE_BROKER))
            continue;
        if (!component_is_active(registry, component, now_ms)) {
            r = roster_add_former(roster, component->transport);
        } else {
            pass = pass_of(b, component);
            r = pass ? roster_add(roster, component->transport, pass->user_id,
                                  component->replaced_until_ms)
                     : AICO_ENOMEM;
        }
        if (r < 0)
            roster_free(&roster);
    }
    if (!roster)
        return aico_error_set(err, AICO_ENOMEM, "list of keys: out of memory");
    router_set_roster(b->router, &roster);
    return 0;
}

static void say_if_stale(struct aico_broker *b, struct moment now)
{
    int64_t max_age_ms = b->home.config->registry_max_age_ms;
    int64_t age_ms = now.real_ms - registry_issued_ms(b->home.registry);

    if (max_age_ms == 0 || age_ms <= max_age_ms || now.boot_ms < b->stale_say_ms)
        return;
    b->stale_say_ms = now.boot_ms + STALE_SAY_MS;
    broker_say(b, AICO_LOG_WARNING, AICO_BROKER_REGISTRY, NULL, NULL, AICO_EREGISTRYSTALE,
               "registry %" PRIu64 " was issued %" PRId64 " s ago, registry_max_age is %" PRId64
               " s: components refuse new handshakes until the owner signs another",
               registry_version(b->home.registry), age_ms / 1000, max_age_ms / 1000);
}

/* The sockets keep the key they were opened with. */
static void say_if_rotated(struct aico_broker *b, const struct registry *former)
{
    const struct component *was = registry_broker(former);
    const struct component *is = registry_broker(b->home.registry);

    if (was && is && memcmp(was->transport, is->transport, DH_PUBLIC_SIZE) != 0)
        broker_say(b, AICO_LOG_WARNING, AICO_BROKER_REGISTRY, NULL, NULL, AICO_EBROKERKEY,
                   "registry %" PRIu64 " has another transport key for %s: nobody can connect anew "
                   "until this broker is restarted",
                   registry_version(b->home.registry), is->name);
}

static void say_change(void *context, const struct registry_change *change)
{
    static const enum aico_broker_event_kind kinds[] = {
        [CHANGE_ADDED] = AICO_BROKER_ADDED,     [CHANGE_ROTATED] = AICO_BROKER_ROTATED,
        [CHANGE_REVOKED] = AICO_BROKER_REVOKED, [CHANGE_RETIRED] = AICO_BROKER_RETIRED,
        [CHANGE_OTHER] = AICO_BROKER_REGISTRY,
    };

    broker_say(context, AICO_LOG_INFO, kinds[change->kind], change->component, NULL, 0, "%s",
               change->text);
}

void broker_say_changes(struct aico_broker *b, const struct registry *former)
{
    registry_changes(former, b->home.registry, say_change, b);
}

struct registry *broker_former_registry(const struct aico_broker *b)
{
    CLEANUP(free_memory)
    char *path = home_path(b->home.config->home, "state/" BROKER_NAME "/registry");
    struct registry *former = NULL;

    if (!path || registry_load_file(b->home.config->home, BROKER_NAME,
                                    registry_namespace(b->home.registry), path, &former, NULL) < 0)
        return NULL;
    return former;
}

/* From now on @registry is in force (a reference is taken over). */
static int adopt(struct aico_broker *b, struct moment now, struct registry **registry,
                 struct aico_error *err)
{
    const char *home = b->home.config->home;
    struct registry *former = b->home.registry;
    int r = registry_keep(home, BROKER_NAME, *registry, err);

    if (r < 0)
        return r;
    b->home.registry = *registry;
    r = broker_allow(b, err);
    if (r < 0) {
        b->home.registry = former;
        return r;
    }
    *registry = former; /* the caller lets go of it */
    broker_set_registry(b->core, now, b->home.registry);
    broker_say_changes(b, *registry);
    say_if_rotated(b, *registry);
    b->stale_say_ms = 0;
    return 0;
}

/* The owner may have named a successor, who signed already, between two looks. Members get from us
 * one word after the other, so none may be missing. */
static int take_successions(struct aico_broker *b, const struct registry *found,
                            struct aico_error *err)
{
    const char *home = b->home.config->home;
    CLEANUP(registry_chain_deinit)
    struct registry_chain chain = {0};
    int r = 0;

    if (memcmp(registry_owner(found), registry_owner(b->home.registry), SIGN_PUBLIC_SIZE) != 0)
        r = registry_chain_load(home, BROKER_NAME, registry_namespace(found), &chain, err);
    for (size_t i = 0; r == 0 && i < chain.count; i++) {
        struct registry *link = chain.items[i];

        if (registry_version(link) <= registry_version(b->home.registry) ||
            registry_version(link) >= registry_version(found))
            continue;
        r = registry_keep(home, BROKER_NAME, link, err);
        if (r == 0 && broker_keep_succession(b->core, link) < 0)
            r = aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    return r;
}

/* The file was put back to what it was once: what we accepted since stays in force, but whoever
 * starts from that file alone believes the revoked. */
static void say_if_older(struct aico_broker *b)
{
    CLEANUP(registry_unref)
    struct registry *file = NULL;
    const struct registry *ours = b->home.registry;
    const char *home = b->home.config->home;

    if (registry_load_file(home, BROKER_NAME, registry_namespace(ours), b->registry_path, &file,
                           NULL) < 0 ||
        registry_version(file) >= registry_version(ours))
        return;
    broker_say(b, AICO_LOG_WARNING, AICO_BROKER_REGISTRY, NULL, NULL, AICO_EREGISTRYOLD,
               "%s has version %" PRIu64 ", older than %" PRIu64
               ", which stays in force; put it back: cp '%s/state/" BROKER_NAME "/registry' '%s'",
               b->registry_path, registry_version(file), registry_version(ours), home,
               b->registry_path);
}

void broker_look_at_registry(struct aico_broker *b, struct moment now, bool is_asked)
{
    CLEANUP(registry_unref)
    struct registry *found = NULL;
    struct aico_error err = {0};
    int r;

    if (!is_asked && now.boot_ms < b->look_ms)
        return;
    b->look_ms = now.boot_ms + BROKER_LOOK_MS;
    if (!file_changed(b->registry_path, &b->registry_stamp) && !is_asked) {
        say_if_stale(b, now);
        return;
    }
    r = registry_load(b->home.config->home, BROKER_NAME, bytes_text(b->home.config->bus_namespace),
                      &found, &err);
    if (r == 0)
        r = registry_may_replace(b->home.registry, 0, NULL, found);
    if (r == AICO_EEXISTS) { /* the same */
        say_if_older(b);
        return;
    }
    if (r == 0)
        r = take_successions(b, found, &err);
    if (r == 0)
        r = adopt(b, now, &found, &err);
    if (r < 0) {
        broker_say(b, AICO_LOG_ERROR, AICO_BROKER_REGISTRY, NULL, NULL, r,
                   "registry %" PRIu64 " stays in force: %s", registry_version(b->home.registry),
                   *err.text ? err.text : aico_error_string(r));
        /* Perhaps the disk was full: the next look tries again. */
        if (r == AICO_ESYSTEM || r == AICO_ENOMEM)
            memset(&b->registry_stamp, 0, sizeof(b->registry_stamp));
        return;
    }
    say_if_stale(b, now);
}

/* Perhaps the owner has registered the key just now. */
static void look_at_once(void *context)
{
    struct aico_broker *b = context;
    struct moment now = moment_now();

    b->look_ms = now.boot_ms;
    broker_look_at_registry(b, now, false);
}

void broker_look_before_refusing(struct aico_broker *b)
{
    router_set_look(b->router, look_at_once, b);
}

static void say_refusal(struct aico_broker *b, const struct router_refusal *refusal)
{
    const struct component *component = registry_find_transport(b->home.registry, refusal->key);
    char key[2 * 8 + 1];

    if (component) {
        broker_say(b, AICO_LOG_INFO, AICO_BROKER_REFUSED, component->name, refusal->address,
                   AICO_EREVOKED, "its key is no longer valid in registry %" PRIu64,
                   registry_version(b->home.registry));
    } else {
        hex_write(bytes_of(refusal->key, 8), key);
        broker_say(b, AICO_LOG_INFO, AICO_BROKER_REFUSED, NULL, refusal->address, AICO_EUNKNOWN,
                   "unknown key %s... was refused; see: aico-keytool list", key);
    }
}

/* Told from the outside only: who they are, nobody can know. */
static void say_other_keys(struct aico_broker *b)
{
    struct router_counters counters;
    uint64_t fresh;

    router_get_counters(b->router, &counters);
    fresh = counters.refused_cipher - b->other_keys;
    b->other_keys = counters.refused_cipher;
    if (fresh > 0)
        broker_say(b, AICO_LOG_WARNING, AICO_BROKER_REFUSED, NULL, NULL, AICO_EBROKERKEY,
                   "%" PRIu64 " connections expected another key than this broker's: their "
                   "registry is of another bus, or names the key of before or after a rotation",
                   fresh);
}

void broker_say_refusals(struct aico_broker *b, struct moment now)
{
    struct router_refusal refusal;

    if (now.boot_ms >= b->refusals_ms) {
        b->refusals_ms = now.boot_ms + 1000;
        b->refusals_left = REFUSALS_PER_SECOND;
        if (b->refusals_unsaid > 0)
            broker_say(b, AICO_LOG_WARNING, AICO_BROKER_REFUSED, NULL, NULL, AICO_EAUTH,
                       "%lu more connections were refused", b->refusals_unsaid);
        b->refusals_unsaid = 0;
        say_other_keys(b);
    }
    while (router_next_refusal(b->router, &refusal)) {
        b->refusals_unsaid += refusal.more;
        if (b->refusals_left == 0) {
            b->refusals_unsaid++;
            continue;
        }
        b->refusals_left--;
        say_refusal(b, &refusal);
    }
}
