/* SPDX-License-Identifier: Apache-2.0 */
/* rotate, renew: the next key of a component, of the broker's transport, of the owner. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "common/text.h"
#include "crypto/random.h"
#include "crypto/sign.h"
#include "keytool/keytool.h"
#include "store/former.h"
#include "trust/keydoc.h"

#define OVERLAP_DEFAULT_MS ((int64_t)24 * 60 * 60 * 1000)
#define OVERLAP_MAX_MS ((int64_t)366 * 24 * 60 * 60 * 1000)

static int overlap_end(const struct keytool *k, int64_t now_ms, int64_t *ret_until_ms,
                       struct aico_error *err)
{
    int64_t overlap = OVERLAP_DEFAULT_MS;

    if (k->overlap && strcmp(k->overlap, "0") == 0)
        overlap = 0;
    else if (k->overlap && (!text_duration(k->overlap, &overlap) || overlap > OVERLAP_MAX_MS))
        return aico_error_set(err, AICO_EINVAL,
                              "--overlap: '%s' is no time like 90s, 24h or 7d, up to 366d",
                              k->overlap);
    *ret_until_ms = now_ms + overlap;
    return 0;
}

/* --- components ----------------------------------------------------------------------------- */

/* @key as another identity of the same name. */
static int renew(const struct open_key *key, struct identity **ret_renewed, struct aico_error *err)
{
    CLEANUP(secret_wipe)
    struct secret seed = {0};
    int r;

    random_system.bytes(random_system.context, seed.at, sizeof(seed.at));
    r = identity_new(key->identity->name, &seed, 0, ret_renewed);
    return r < 0 ? aico_error_set(err, r, "%s: %s", key->path, aico_error_string(r)) : 0;
}

/* The same identity with its next transport key: another one than the @registered, which is that of
 * the next number where a key file of before a rotation was put back. */
static int renew_transport(const struct open_key *key, const uint8_t *registered,
                           struct identity **ret_renewed, struct aico_error *err)
{
    CLEANUP(identity_free)
    struct identity *renewed = NULL;
    uint32_t number = key->identity->transport_number;
    int r;

    do {
        identity_free(&renewed);
        if (number == UINT32_MAX)
            return aico_error_set(err, AICO_ELIMIT, "%s: no transport key is left", key->path);
        r = identity_new(key->identity->name, &key->identity->seed, ++number, &renewed);
        if (r < 0)
            return aico_error_set(err, r, "%s: %s", key->path, aico_error_string(r));
    } while (memcmp(renewed->transport_public, registered, DH_PUBLIC_SIZE) == 0);
    *ret_renewed = STEAL(renewed);
    return 0;
}

/* The new key file is there before the registry names it, and with it what opens the state of the
 * former identity, if it is another; it takes the old one's place after. */
static int commit_key(struct keytool *k, struct change *change, const struct open_key *key,
                      const struct identity *renewed, int64_t created_ms, struct aico_error *err)
{
    bool is_another = memcmp(renewed->public, key->identity->public, SIGN_PUBLIC_SIZE) != 0;
    int r =
        key_stage(key->path, change, renewed, created_ms, passphrase_view(&key->passphrase), err);

    if (r < 0)
        return r;
    if (is_another)
        r = former_leave(k->home, key->identity, renewed, err);
    if (r == 0)
        r = change_commit(k, change, err);
    if (r < 0) {
        key_unstage(key->path, change);
        if (is_another)
            (void)!former_erase(k->home, renewed->name, renewed->public, NULL);
        return r;
    }
    if (is_another) /* what was left for the former one is in what it left */
        (void)!former_erase(k->home, renewed->name, key->identity->public, NULL);
    return key_place(key->path, change->version, change->current, err);
}

static int rotate_transport(struct keytool *k, struct change *change, const struct open_key *key,
                            struct aico_error *err)
{
    CLEANUP(identity_free)
    struct identity *renewed = NULL;
    const char *name = key->identity->name;
    const struct component *c = registry_find_identity(change->current, key->identity->public);
    int r = c ? renew_transport(key, c->transport, &renewed, err) : AICO_EINTERNAL;

    if (r == 0) {
        r = registry_draft_set_transport(change->draft, renewed);
        if (r < 0)
            return aico_error_set(err, r, "%s: %s", name, aico_error_string(r));
        r = commit_key(k, change, key, renewed, key->created_ms, err);
    }
    if (r < 0)
        return r;
    if (strcmp(name, BROKER_NAME) == 0)
        say(k,
            "the broker's transport key is number %" PRIu32 " in version %" PRIu64
            "; restart aico-broker now: until then nobody can connect anew",
            renewed->transport_number, change->version);
    else
        say(k,
            "the transport key of %s is number %" PRIu32 " in version %" PRIu64
            "; restart %s now: with the former one it cannot connect anew",
            name, renewed->transport_number, change->version, name);
    return 0;
}

static int rotate_identity(struct keytool *k, struct change *change, const struct open_key *key,
                           struct aico_error *err)
{
    CLEANUP(identity_free)
    struct identity *renewed = NULL;
    const char *name = key->identity->name;
    int64_t now_ms = moment_now().real_ms, until_ms = 0;
    char time[WHEN_SIZE];
    int r = overlap_end(k, now_ms, &until_ms, err);

    if (r == 0)
        r = renew(key, &renewed, err);
    if (r == 0) {
        r = registry_draft_rotate(change->draft, key->identity, renewed, now_ms, until_ms);
        if (r < 0)
            return aico_error_set(err, r, "%s: %s", name, aico_error_string(r));
        r = commit_key(k, change, key, renewed, now_ms, err);
    }
    if (r == 0)
        say(k,
            "%s has a new key in version %" PRIu64 "; the former one is valid until %s: restart %s "
            "before",
            name, change->version, when(until_ms, time), name);
    return r;
}

static int rotate_component(struct keytool *k, const char *name, struct aico_error *err)
{
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    CLEANUP(free_memory)
    char *path = home_key_path(k->home, name);
    CLEANUP(open_key_close)
    struct open_key key = {0};
    const struct component *c;
    int r;

    if (!path)
        return out_of_memory(err);
    r = change_begin(k, &change, err);
    if (r < 0)
        return r;
    c = registry_find_name(change.current, bytes_text(name));
    if (!c)
        return unknown_name(name, err);
    if (c->state != COMPONENT_ACTIVE)
        return aico_error_set(err, AICO_EREVOKED,
                              "%s is %s; give the name away again: aico-keytool new %s", name,
                              state_word(c), name);
    r = key_open(path, name, &k->key, &key, err);
    if (r == AICO_EUNKNOWN)
        return aico_error_set(err, r,
                              "%s: no such key file, and only the old key can sign a rotation; if "
                              "it is lost: aico-keytool revoke %s --reason lost, aico-keytool new "
                              "%s",
                              path, name, name);
    if (r < 0)
        return r;
    if (memcmp(key.identity->public, c->identity, SIGN_PUBLIC_SIZE) != 0)
        return aico_error_set(err, AICO_EKEYFILEMISMATCH,
                              "%s: not the key that is registered for %s, compare: aico-keytool "
                              "show %s",
                              path, name, name);
    /* Everybody pins the broker by its identity, so it keeps that. */
    if (k->transport || component_has_role(c, REGISTRY_ROLE_BROKER))
        return rotate_transport(k, &change, &key, err);
    return rotate_identity(k, &change, &key, err);
}

/* --- the owner ------------------------------------------------------------------------------ */

static char *next_path(const char *path)
{
    char *next = NULL;

    return asprintf(&next, "%s.next", path) < 0 ? NULL : next;
}

static int prepare_owner(struct keytool *k, struct change *change, const char *next,
                         struct aico_error *err)
{
    CLEANUP(secret_wipe)
    struct secret seed = {0};
    char fingerprint[FINGERPRINT_TEXT_SIZE];
    uint8_t public[SIGN_PUBLIC_SIZE];
    int r;

    if (access(next, F_OK) == 0)
        return aico_error_set(err, AICO_EEXISTS,
                              "%s: a next owner is prepared already; switch to it: aico-keytool "
                              "rotate owner --switch",
                              next);
    random_system.bytes(random_system.context, seed.at, sizeof(seed.at));
    sign_public(&seed, public);
    r = registry_draft_set_owner_next(change->draft, &change->owner.identity->seed, &seed);
    if (r < 0)
        return aico_error_set(err, r, "owner-next: %s", aico_error_string(r));
    /* The key before the word about it: a successor nobody has the key of would be of no use. */
    r = keyfile_create(next, OWNER_NAME, &seed, passphrase_view(&change->owner.passphrase), err);
    if (r < 0)
        return r;
    r = change_commit(k, change, err);
    if (r < 0) {
        (void)!file_remove(next, NULL);
        return r;
    }
    fingerprint_write(public, fingerprint);
    say(k,
        "the next owner %s is announced in version %" PRIu64
        "; its key is %s, under the same passphrase; when every component is up to date (aico-bus "
        "status): aico-keytool rotate owner --switch",
        fingerprint, change->version, next);
    return 0;
}

/* Who is away keeps the announcement from the broker; here the owner's own tool keeps it. */
static int switch_owner(struct keytool *k, struct change *change, const char *next,
                        struct aico_error *err)
{
    CLEANUP(open_key_close)
    struct open_key key = {0};
    const struct passphrase_source *source = k->key.file || k->key.fd >= 0 ? &k->key : &k->owner;
    const uint8_t *announced = registry_owner_next(change->current);
    int r;

    if (!announced)
        return aico_error_set(err, AICO_ESTATE,
                              "no next owner is announced; first: aico-keytool rotate owner "
                              "--prepare");
    r = key_open(next, OWNER_NAME, source, &key, err);
    if (r < 0)
        return r;
    if (memcmp(key.identity->public, announced, SIGN_PUBLIC_SIZE) != 0)
        return aico_error_set(err, AICO_EKEYFILEMISMATCH,
                              "%s: not the next owner that version %" PRIu64 " announces", next,
                              registry_version(change->current));
    r = registry_keep(k->home, OWNER_NAME, change->current, err);
    if (r == 0)
        r = change_commit_as(k, change, key.identity, err);
    if (r < 0)
        return r;
    r = owner_key_place(change->owner.path, next, err);
    if (r == 0)
        say(k,
            "the owner is the new one from version %" PRIu64
            " on; the former key signs nothing any more, remove it when all is well: rm "
            "'%s'.former-*",
            change->version, change->owner.path);
    return r;
}

static int rotate_owner(struct keytool *k, struct aico_error *err)
{
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    CLEANUP(free_memory)
    char *next = NULL;
    int r;

    if (k->prepare == k->switch_over)
        return aico_error_set(err, AICO_EINVAL,
                              "the owner changes in two steps: --prepare announces the next one, "
                              "--switch lets it sign");
    r = change_begin(k, &change, err);
    if (r < 0)
        return r;
    next = next_path(change.owner.path);
    if (!next)
        return out_of_memory(err);
    return k->prepare ? prepare_owner(k, &change, next, err) : switch_owner(k, &change, next, err);
}

int verb_rotate(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *name = arguments[0];

    if (strcmp(name, OWNER_NAME) == 0)
        return rotate_owner(k, err);
    if (k->prepare || k->switch_over)
        return aico_error_set(err, AICO_EINVAL, "--prepare and --switch are for: rotate owner");
    if (!component_name_is_valid(bytes_text(name)))
        return aico_error_set(err, AICO_EINVAL, "'%s' is not a component name", name);
    return rotate_component(k, name, err);
}

int verb_renew(struct keytool *k, char **arguments UNUSED, int count UNUSED, struct aico_error *err)
{
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    int r = change_begin(k, &change, err);

    if (r == 0)
        r = change_commit(k, &change, err);
    if (r == 0)
        say(k, "signed version %" PRIu64 ", unchanged", change.version);
    return r;
}
