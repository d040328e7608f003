/* SPDX-License-Identifier: Apache-2.0 */
/* new, add, revoke, list, show, fingerprint, public. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "crypto/random.h"
#include "keytool/keytool.h"
#include "trust/keydoc.h"

int refuse_name(const char *name, struct aico_error *err)
{
    if (component_name_is_valid(bytes_text(name)) && strcmp(name, OWNER_NAME) != 0 &&
        strcmp(name, BROKER_NAME) != 0)
        return 0;
    return aico_error_set(err, AICO_EINVAL,
                          "'%s' is not a component name: a-z, 0-9, '.', '_', '-'; owner and "
                          "broker are taken",
                          name);
}

int unknown_name(const char *name, struct aico_error *err)
{
    return aico_error_set(err, AICO_EPEERUNKNOWN, "%s is not registered, see: aico-keytool list",
                          name);
}

/* Nobody has the name, or who had it was taken out and makes room. */
static int check_free(const struct change *change, const char *name, struct aico_error *err)
{
    const struct component *c = registry_find_name(change->current, bytes_text(name));

    if (!c || c->state != COMPONENT_ACTIVE)
        return 0;
    return aico_error_set(err, AICO_EEXISTS,
                          "%s is registered already, see: aico-keytool show %s; another key: "
                          "aico-keytool rotate %s",
                          name, name, name);
}

static int draft_add(struct keytool *k, struct change *change, const struct component_line *line,
                     struct aico_error *err)
{
    int r = check_free(change, line->name, err);

    if (r < 0)
        return r;
    if (k->peer && strcmp(k->peer, "aico") != 0)
        return aico_error_set(err, AICO_EINVAL, "--peer: '%s' is unknown, only aico", k->peer);
    if (registry_find_name(change->current, bytes_text(line->name)))
        r = registry_draft_remove(change->draft, line->name);
    if (r == 0)
        r = registry_draft_add(change->draft, line);
    if (r == AICO_EEXISTS)
        return aico_error_set(err, r,
                              "the key of %s is registered under another name, see: aico-keytool "
                              "list",
                              line->name);
    if (r == 0 && k->peer)
        r = registry_draft_set_peer_aico(change->draft, line->name);
    return r < 0 ? aico_error_set(err, r, "%s: %s", line->name, aico_error_string(r)) : 0;
}

static const char *roles_of(const struct keytool *k)
{
    return k->roles.size > 0 ? (const char *)k->roles.at : DEFAULT_ROLE;
}

/* Puts the line of @identity into the draft and its key file beside the place it will have. */
static int stage_identity(struct keytool *k, struct change *change, const char *path,
                          const struct identity *identity, struct bytes passphrase,
                          struct aico_error *err)
{
    bool is_new = !registry_find_name(change->current, bytes_text(identity->name));
    int r;

    if (is_new && access(path, F_OK) == 0)
        return aico_error_set(
            err, AICO_EEXISTS,
            "%s: exists already, not overwritten; register that key: aico-keytool "
            "public %s >FILE, aico-keytool add FILE",
            path, identity->name);
    r = draft_add(k, change,
                  &(struct component_line){
                      .name = identity->name,
                      .identity = identity->public,
                      .transport = identity->transport_public,
                      .roles = roles_of(k),
                      .since_ms = moment_now().real_ms,
                  },
                  err);
    return r < 0 ? r : key_stage(path, change, identity, moment_now().real_ms, passphrase, err);
}

/* The version is in force: the staged key file takes its place. */
static int place_identity(struct keytool *k, const struct change *change, const char *path,
                          const char *name, bool is_protected, struct aico_error *err)
{
    int r = key_place(path, change->version, change->current, err);

    if (r == 0 && !is_protected)
        say(k, "note: %s is not protected by a passphrase, see: aico-keytool passwd %s", path,
            name);
    return r;
}

int register_identity(struct keytool *k, struct change *change, const struct identity *identity,
                      struct bytes passphrase, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_key_path(k->home, identity->name);
    int r;

    if (!path)
        return out_of_memory(err);
    r = stage_identity(k, change, path, identity, passphrase, err);
    if (r < 0)
        return r;
    r = change_commit(k, change, err);
    if (r < 0) {
        key_unstage(path, change);
        return r;
    }
    return place_identity(k, change, path, identity->name, passphrase.size > 0, err);
}

/* --- new -------------------------------------------------------------------------------------- */

/* *ret_path: of the key file, the caller's; NULL: nothing is staged. */
static int make_identity(struct keytool *k, struct change *change, const char *name,
                         struct bytes passphrase, char **ret_path, struct aico_error *err)
{
    CLEANUP(secret_wipe)
    struct secret seed = {0};
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(free_memory)
    char *path = home_key_path(k->home, name);
    int r;

    if (!path)
        return out_of_memory(err);
    random_system.bytes(random_system.context, seed.at, sizeof(seed.at));
    r = identity_new(name, &seed, 0, &identity);
    if (r < 0)
        return aico_error_set(err, r, "%s: %s", name, aico_error_string(r));
    r = stage_identity(k, change, path, identity, passphrase, err);
    if (r < 0)
        return r;
    *ret_path = path;
    path = NULL;
    return 0;
}

/* All of them in one version of the registry, or none. */
static int make_identities(struct keytool *k, struct change *change, char **names, int count,
                           struct bytes passphrase, char **paths, struct aico_error *err)
{
    int r = 0, placed;

    for (int i = 0; r == 0 && i < count; i++)
        r = make_identity(k, change, names[i], passphrase, &paths[i], err);
    if (r == 0)
        r = change_commit(k, change, err);
    for (int i = 0; r < 0 && i < count; i++)
        if (paths[i])
            key_unstage(paths[i], change);
    if (r < 0)
        return r;
    for (int i = 0; i < count; i++) { /* what fails is put right by the next change */
        placed = place_identity(k, change, paths[i], names[i], passphrase.size > 0, err);
        r = r < 0 ? r : placed;
        if (placed == 0)
            say(k, "registered %s in version %" PRIu64 "; next: aico-bus --as %s status", names[i],
                change->version, names[i]);
    }
    return r;
}

/* Before anybody is asked for a passphrase. */
static int check_names(const struct change *change, char **names, int count, struct aico_error *err)
{
    int r = 0;

    for (int i = 0; r == 0 && i < count; i++) {
        r = check_free(change, names[i], err);
        for (int k = 0; r == 0 && k < i; k++)
            if (strcmp(names[i], names[k]) == 0)
                r = aico_error_set(err, AICO_EINVAL, "%s is named twice", names[i]);
    }
    return r;
}

int verb_new(struct keytool *k, char **arguments, int count, struct aico_error *err)
{
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    char **paths;
    int r = 0;

    for (int i = 0; r == 0 && i < count; i++)
        r = refuse_name(arguments[i], err);
    if (r == 0)
        r = change_begin(k, &change, err);
    if (r == 0)
        r = check_names(&change, arguments, count, err);
    if (r == 0)
        r = passphrase_choose(&k->key, count == 1 ? arguments[0] : "all of them", true, &passphrase,
                              err);
    if (r < 0)
        return r;
    paths = calloc((size_t)count, sizeof(*paths));
    if (!paths)
        return out_of_memory(err);
    r = make_identities(k, &change, arguments, count, passphrase_view(&passphrase), paths, err);
    for (int i = 0; i < count; i++)
        free(paths[i]);
    free((void *)paths);
    return r;
}

int verb_add(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct publicdoc doc;
    int r = file_read(arguments[0], FILE_TRUSTED, KEYDOC_SIZE_MAX, &text, err);

    if (r < 0)
        return r;
    r = publicdoc_parse(buffer_view(&text), &doc, err);
    if (r < 0)
        return aico_error_prefix(err, r, "%s", arguments[0]);
    if (strcmp(doc.name, OWNER_NAME) == 0)
        return aico_error_set(err, AICO_EINVAL, "%s: the owner is no component", arguments[0]);
    r = change_begin(k, &change, err);
    if (r == 0)
        r = draft_add(k, &change,
                      &(struct component_line){
                          .name = doc.name,
                          .identity = doc.public,
                          .transport = doc.transport,
                          .roles = roles_of(k),
                          .since_ms = moment_now().real_ms,
                      },
                      err);
    if (r == 0)
        r = change_commit(k, &change, err);
    if (r == 0)
        say(k,
            "registered %s in version %" PRIu64
            "; compare its fingerprint with the other side: aico-keytool fingerprint %s",
            doc.name, change.version, doc.name);
    return r;
}

int verb_revoke(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *name = arguments[0];
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    const struct component *component;
    int r;

    r = reason_check(k->reason, err);
    if (r == 0)
        r = change_begin(k, &change, err);
    if (r < 0)
        return r;
    component = registry_find_name(change.current, bytes_text(name));
    if (!component)
        return unknown_name(name, err);
    if (component->state != COMPONENT_ACTIVE)
        return aico_error_set(err, AICO_EEXISTS, "%s is %s already", name, state_word(component));
    if (component_has_role(component, REGISTRY_ROLE_BROKER))
        return aico_error_set(err, AICO_EINVAL,
                              "%s is the broker of this bus: without it nobody could connect; "
                              "another key: aico-keytool rotate %s",
                              name, name);
    r = registry_draft_set_state(change.draft, name, COMPONENT_REVOKED);
    if (r == 0)
        r = reason_note(k, &change, name, err);
    if (r == 0)
        r = change_commit(k, &change, err);
    if (r == 0)
        say(k,
            "revoked %s in version %" PRIu64
            ": %s; the name can be given away: aico-keytool new %s",
            name, change.version, k->reason, name);
    return r;
}

const char *state_word(const struct component *component)
{
    static const char *const words[] = {"active", "revoked", "retired"};

    if (component->state != COMPONENT_ACTIVE || component->replaced_until_ms == INT64_MAX)
        return words[component->state];
    return moment_now().real_ms <= component->replaced_until_ms ? "replaced" : "retired";
}

static void put_roles(const struct component *c, const char *between)
{
    for (size_t i = 0; i < c->role_count; i++)
        (void)printf("%s%s", i > 0 ? between : "", c->roles[i]);
}

/* Why @c was revoked, if this home knows; NULL otherwise. What cannot be read is said. */
static char *reason_of(const struct keytool *k, const struct component *c)
{
    struct aico_error err = {0};
    char *reason = NULL;

    if (c->state == COMPONENT_REVOKED && reason_find(k, c, &reason, &err) < 0)
        (void)fprintf(stderr, "aico-keytool: %s (%s)\n", err.text, aico_error_name(err.code));
    return reason;
}

/* One object, keys in hex, times in ms. */
static void put_json(const struct keytool *k, const struct registry *registry,
                     const struct component *c)
{
    CLEANUP(free_memory)
    char *reason = reason_of(k, c);
    char fingerprint[FINGERPRINT_TEXT_SIZE], identity[65], transport[65];

    fingerprint_write(c->identity, fingerprint);
    hex_write(bytes_of(c->identity, sizeof(c->identity)), identity);
    hex_write(bytes_of(c->transport, sizeof(c->transport)), transport);
    (void)printf("{\"name\":\"%s\",\"state\":\"%s\",\"roles\":[\"", c->name, state_word(c));
    put_roles(c, "\",\"");
    (void)printf("\"],\"fingerprint\":\"%s\",\"identity\":\"%s\",\"transport\":\"%s\","
                 "\"since_ms\":%" PRId64,
                 fingerprint, identity, transport, c->since_ms);
    if (c->replaced_until_ms != INT64_MAX)
        (void)printf(",\"replaced_until_ms\":%" PRId64, c->replaced_until_ms);
    if (c->replaces) {
        fingerprint_write(c->replaces_identity, fingerprint);
        (void)printf(",\"replaces\":\"%s\"", fingerprint);
    }
    if (reason) {
        (void)printf(",\"reason\":");
        put_json_text(reason, strlen(reason));
    }
    (void)printf(",\"peer_aico\":%s,\"registry\":%" PRIu64 "}\n", c->peer_aico ? "true" : "false",
                 registry_version(registry));
}

static void put_line(const struct component *c)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE], time[WHEN_SIZE];

    fingerprint_write(c->identity, fingerprint);
    (void)printf("%-20s %-8s %s ", c->name, state_word(c), fingerprint);
    put_roles(c, ",");
    if (c->state == COMPONENT_ACTIVE && c->replaced_until_ms != INT64_MAX)
        (void)printf(" until %s", when(c->replaced_until_ms, time));
    (void)printf("%s\n", c->peer_aico ? " peer aico" : "");
}

int verb_list(struct keytool *k, char **arguments UNUSED, int count UNUSED, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    int r = registry_current(k, &registry, err);

    for (size_t i = 0; r == 0 && i < registry_component_count(registry); i++) {
        const struct component *c = registry_component_at(registry, i);

        if (k->json)
            put_json(k, registry, c);
        else
            put_line(c);
    }
    return r;
}

/* Whether the key of this line lies in this home, and how it is protected. */
static void put_key_file(struct keytool *k, const struct component *c)
{
    CLEANUP(free_memory)
    char *path = home_key_path(k->home, c->name);
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    struct aico_error err = {0};
    struct keydoc doc = {0};
    int r = path ? file_read(path, FILE_SECRET, KEYDOC_SIZE_MAX, &text, &err) : AICO_ENOMEM;

    if (r == 0)
        r = keydoc_inspect(buffer_view(&text), &doc, &err);
    if (r == AICO_ENOTFOUND)
        (void)printf("key file     not in this home\n");
    else if (r < 0)
        (void)printf("key file     %s (%s)\n", err.text, aico_error_name(r));
    else if (memcmp(doc.public, c->identity, SIGN_PUBLIC_SIZE) != 0)
        (void)printf("key file     %s is of another key\n", path);
    else
        (void)printf("key file     %s, %s, transport %" PRIu32 "\n", path,
                     doc.is_protected ? "protected by a passphrase" : "not protected",
                     doc.transport_number);
}

static void put_component(struct keytool *k, const struct component *c)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE], key[65], time[WHEN_SIZE];
    CLEANUP(free_memory)
    char *reason = reason_of(k, c);

    fingerprint_write(c->identity, fingerprint);
    (void)printf("name         %s\nstate        %s%s%s\nroles        ", c->name, state_word(c),
                 reason ? ": " : "", reason ? reason : "");
    put_roles(c, ",");
    (void)printf("\nsince        %s\n", when(c->since_ms, time));
    if (c->replaced_until_ms != INT64_MAX)
        (void)printf("valid until  %s\n", when(c->replaced_until_ms, time));
    hex_write(bytes_of(c->identity, sizeof(c->identity)), key);
    (void)printf("fingerprint  %s\nidentity     %s\n", fingerprint, key);
    hex_write(bytes_of(c->transport, sizeof(c->transport)), key);
    (void)printf("transport    %s\n", key);
    if (c->replaces) {
        fingerprint_write(c->replaces_identity, fingerprint);
        (void)printf("replaces     %s, valid until %s\n", fingerprint,
                     when(c->replaces_until_ms, time));
    }
    if (c->peer_aico)
        (void)printf("peer         aico: speaks format 0 of the seed, without forward secrecy\n");
    if (c->replaced_until_ms == INT64_MAX)
        put_key_file(k, c);
}

static int show_owner(struct keytool *k, const struct registry *registry)
{
    const uint8_t *next = registry_owner_next(registry);
    char fingerprint[FINGERPRINT_TEXT_SIZE], after[FINGERPRINT_TEXT_SIZE] = "";

    fingerprint_write(registry_owner(registry), fingerprint);
    if (next)
        fingerprint_write(next, after);
    if (k->json)
        (void)printf(
            "{\"name\":\"owner\",\"fingerprint\":\"%s\",\"next\":\"%s\",\"registry\":%" PRIu64
            "}\n",
            fingerprint, after, registry_version(registry));
    else
        (void)printf("name         owner\nfingerprint  %s\nnext         %s\nregistry     %" PRIu64
                     "\n",
                     fingerprint, next ? after : "none is prepared", registry_version(registry));
    return 0;
}

int verb_show(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    int r = registry_current(k, &registry, err), found = 0;

    if (r < 0)
        return r;
    if (strcmp(arguments[0], OWNER_NAME) == 0)
        return show_owner(k, registry);
    for (size_t i = 0; i < registry_component_count(registry); i++) {
        const struct component *c = registry_component_at(registry, i);

        if (strcmp(c->name, arguments[0]) != 0)
            continue;
        if (k->json) {
            put_json(k, registry, c);
        } else {
            if (found > 0)
                (void)putchar('\n');
            put_component(k, c);
        }
        found++;
    }
    return found > 0 ? 0 : unknown_name(arguments[0], err);
}

/* A file (key or public identity), else a registered name or the owner in force. */
static int public_key_of(struct keytool *k, const char *what, uint8_t ret_public[SIGN_PUBLIC_SIZE],
                         struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    const struct component *c;
    struct publicdoc doc;
    struct keydoc key;
    int r;

    if (!strchr(what, '/') && access(what, F_OK) < 0) {
        r = registry_current(k, &registry, err);
        if (r < 0)
            return r;
        if (strcmp(what, OWNER_NAME) == 0) {
            memcpy(ret_public, registry_owner(registry), SIGN_PUBLIC_SIZE);
            return 0;
        }
        c = registry_find_name(registry, bytes_text(what));
        if (!c)
            return unknown_name(what, err);
        memcpy(ret_public, c->identity, SIGN_PUBLIC_SIZE);
        return 0;
    }
    r = file_read(what, FILE_TRUSTED, KEYDOC_SIZE_MAX, &text, err);
    if (r < 0)
        return r;
    if (text.size > 8 && memcmp(text.at, "aico-key", 8) == 0) {
        r = keydoc_inspect(buffer_view(&text), &key, err);
        if (r == 0)
            memcpy(ret_public, key.public, SIGN_PUBLIC_SIZE);
    } else {
        r = publicdoc_parse(buffer_view(&text), &doc, err);
        if (r == 0)
            memcpy(ret_public, doc.public, SIGN_PUBLIC_SIZE);
    }
    return r < 0 ? aico_error_prefix(err, r, "%s", what) : 0;
}

int verb_fingerprint(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE];
    uint8_t public[SIGN_PUBLIC_SIZE];
    int r = public_key_of(k, arguments[0], public, err);

    if (r < 0)
        return r;
    fingerprint_write(public, fingerprint);
    (void)puts(fingerprint);
    return 0;
}

int verb_public(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *name = arguments[0];
    bool is_owner = strcmp(name, OWNER_NAME) == 0;
    CLEANUP(free_memory)
    char *path = is_owner ? owner_key_path(k) : home_key_path(k->home, name);
    CLEANUP(open_key_close)
    struct open_key key = {0};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r;

    if (!path)
        return out_of_memory(err);
    if (!component_name_is_valid(bytes_text(name)))
        return aico_error_set(err, AICO_EINVAL, "'%s' is not a component name", name);
    r = key_open(path, name, is_owner ? &k->owner : &k->key, &key, err);
    if (r < 0)
        return r;
    r = publicdoc_write(key.identity, &text);
    if (r < 0)
        return aico_error_set(err, r, "%s", aico_error_string(r));
    (void)fwrite(text.at, 1, text.size, stdout);
    return 0;
}
