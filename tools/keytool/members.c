/* SPDX-License-Identifier: Apache-2.0 */
/* init, new, add, revoke, list, show, fingerprint, public. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "crypto/random.h"
#include "keytool/keytool.h"
#include "trust/keydoc.h"

#define DEFAULT_ROLE "member"

/* A fresh key file at @path and what it holds. */
static int make_key(const char *path, const char *name, struct bytes passphrase,
                    struct identity **ret_identity, struct aico_error *err)
{
    CLEANUP(secret_wipe)
    struct secret seed = {0};
    int r;

    random_system.bytes(random_system.context, seed.at, sizeof(seed.at));
    r = keyfile_create(path, name, &seed, passphrase, err);
    if (r == 0)
        r = identity_new(name, &seed, 0, ret_identity);
    return r;
}

static int draft_add(struct registry_draft *draft, const struct identity *identity,
                     const char *roles, struct aico_error *err)
{
    int r = registry_draft_add(draft, &(struct component_line){
                                          .name = identity->name,
                                          .identity = identity->public,
                                          .transport = identity->transport_public,
                                          .roles = roles,
                                          .since_ms = moment_now().real_ms,
                                      });

    return r < 0 ? aico_error_set(err, r, "%s: %s", identity->name, aico_error_string(r)) : 0;
}

/* What --starter gives a newcomer; the first match decides. */
static int starter_rules(struct registry_draft *draft, struct aico_error *err)
{
    const struct rule_line rules[] = {
        {bytes_text("logs/query/v1"), "@ui,@cli,@admin", "backend", SEAL_CHANNEL,
         AUTHENTICITY_SENDER, false, 60, false},
        {bytes_text("logs/**"), "*", "backend,@admin", SEAL_GROUP, AUTHENTICITY_SENDER, false, 0,
         false},
        {bytes_text("conversation/**"), "*", "*", SEAL_GROUP, AUTHENTICITY_SENDER, true, 0, false},
        {bytes_text("system/**"), "*", "*", SEAL_GROUP, AUTHENTICITY_SENDER, false, 0, false},
    };

    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        int r = registry_draft_set_rule(draft, &rules[i], NULL);

        if (r < 0)
            return aico_error_set(err, r, "%s", aico_error_string(r));
    }
    return 0;
}

static int starter_members(struct keytool *k, const char *home, struct registry_draft *draft,
                           struct aico_error *err)
{
    static const struct {
        const char *name, *roles;
    } members[] = {{"backend", "service"}, {"frontend", "ui"}, {"cli", "cli,admin"}};
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    int r = passphrase_get(k, k->passphrase_file, "identities", false, true, &passphrase, err);

    for (size_t i = 0; i < COUNT_OF(members) && r == 0; i++) {
        CLEANUP(free_memory)
        char *path = home_key_path(home, members[i].name);
        struct identity *identity = NULL;

        r = path ? make_key(path, members[i].name, buffer_view(&passphrase.text), &identity, err)
                 : AICO_ENOMEM;
        if (r == 0)
            r = draft_add(draft, identity, members[i].roles, err);
        identity_free(&identity);
    }
    return r < 0 ? r : starter_rules(draft, err);
}

static int put_file(const char *home, const char *name, mode_t mode, struct bytes content,
                    struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_path(home, "%s", name);

    return path ? file_write(path, mode, false, content, err)
                : aico_error_set(err, AICO_ENOMEM, "out of memory");
}

/* Everything of a new home, in a folder nobody else sees yet. */
static int fill_home(struct keytool *k, const char *home, struct aico_error *err)
{
    static const char *const folders[] = {"identities", "state", "run", "log"};
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text(k->namespace));
    CLEANUP(identity_free)
    struct identity *owner = NULL, *broker = NULL;
    CLEANUP(free_memory)
    char *owner_path = home_key_path(home, OWNER_NAME);
    CLEANUP(free_memory)
    char *broker_path = home_key_path(home, BROKER_NAME);
    CLEANUP(buffer_deinit)
    struct buffer public = {0}, document = {0};
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    CLEANUP(registry_unref)
    struct registry *check = NULL;
    int r;

    if (!draft || !owner_path || !broker_path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        CLEANUP(free_memory)
        char *path = home_path(home, "%s", folders[i]);

        r = path ? folder_make(path, err) : AICO_ENOMEM;
        if (r < 0)
            return r;
    }
    r = passphrase_get(k, k->owner_passphrase_file, OWNER_NAME, true, true, &passphrase, err);
    if (r == 0)
        r = make_key(owner_path, OWNER_NAME, buffer_view(&passphrase.text), &owner, err);
    if (r == 0)
        r = make_key(broker_path, BROKER_NAME, bytes_of(NULL, 0), &broker, err);
    if (r == 0)
        r = draft_add(draft, broker, REGISTRY_ROLE_BROKER, err);
    if (r == 0 && k->starter)
        r = starter_members(k, home, draft, err);
    if (r == 0)
        r = publicdoc_write(owner, &public);
    if (r == 0)
        r = put_file(home, "owner.public", 0644, buffer_view(&public), err);
    if (r == 0)
        r = registry_draft_sign(draft, &owner->seed, moment_now().real_ms, &document);
    if (r == 0)
        r = registry_parse(buffer_view(&document), owner->public, bytes_text(k->namespace), &check,
                           err);
    if (r == 0)
        r = put_file(home, "registry", 0644, buffer_view(&document), err);
    if (r == 0)
        r = put_file(home, "security.yaml", 0644,
                     bytes_of(default_security_yaml, default_security_yaml_size), err);
    if (r == 0 && passphrase.text.size == 0)
        say(k, "note: owner.key is not protected by a passphrase; keep %s private", k->home);
    return r;
}

static void remove_tree(const char *path)
{
    static const char *const files[] = {"owner.key",
                                        "broker.key",
                                        "owner.public",
                                        "registry",
                                        "security.yaml",
                                        "identities/backend.key",
                                        "identities/frontend.key",
                                        "identities/cli.key"};
    static const char *const folders[] = {"identities", "state", "run", "log"};

    for (size_t i = 0; i < COUNT_OF(files); i++) {
        CLEANUP(free_memory)
        char *file = home_path(path, "%s", files[i]);

        if (file)
            (void)unlink(file);
    }
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        CLEANUP(free_memory)
        char *name = home_path(path, "%s", folders[i]);

        if (name)
            (void)rmdir(name);
    }
    (void)rmdir(path);
}

int verb_init(struct keytool *k, char **arguments UNUSED, int count UNUSED, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *temporary = NULL;
    size_t namespace_size = strlen(k->namespace);
    struct stat st;
    int r;

    if (namespace_size == 0 || namespace_size > NAMESPACE_MAX || strpbrk(k->namespace, " \n\t"))
        return aico_error_set(err, AICO_EINVAL, "a namespace is 1..%d bytes without blanks",
                              NAMESPACE_MAX);
    if (lstat(k->home, &st) == 0)
        return aico_error_set(err, AICO_EEXISTS, "%s: exists already, nothing was changed",
                              k->home);
    if (asprintf(&temporary, "%s.new-XXXXXX", k->home) < 0) {
        temporary = NULL;
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    if (!mkdtemp(temporary))
        return aico_error_set(err, AICO_ESYSTEM, "%s: %m", k->home);
    r = fill_home(k, temporary, err);
    if (r == 0 && rename(temporary, k->home) < 0)
        r = aico_error_set(err, AICO_ESYSTEM, "%s: %m", k->home);
    if (r < 0) {
        remove_tree(temporary);
        return r;
    }
    say(k, "made %s; next: %s", k->home,
        k->starter ? "aico-broker" : "aico-keytool new NAME --role ROLE, aico-keytool rule set");
    return 0;
}

int verb_new(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *name = arguments[0];
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    CLEANUP(free_memory)
    char *path = NULL;
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    uint64_t version = 0;
    int r;

    if (!component_name_is_valid(bytes_text(name)) || strcmp(name, OWNER_NAME) == 0 ||
        strcmp(name, BROKER_NAME) == 0)
        return aico_error_set(err, AICO_EINVAL,
                              "'%s' is not a component name: a-z, 0-9, '.', '_', '-'; owner and "
                              "broker are taken",
                              name);
    r = change_begin(k, &change, err);
    if (r < 0)
        return r;
    if (registry_find_name(change.current, bytes_text(name)))
        return aico_error_set(err, AICO_EEXISTS, "%s is registered already, see: aico-keytool show",
                              name);
    path = home_key_path(k->home, name);
    if (!path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = passphrase_get(k, k->passphrase_file, name, true, true, &passphrase, err);
    if (r == 0)
        r = make_key(path, name, buffer_view(&passphrase.text), &identity, err);
    if (r < 0)
        return r;
    r = draft_add(change.draft, identity,
                  k->roles.size > 0 ? (const char *)k->roles.at : DEFAULT_ROLE, err);
    if (r == 0)
        r = change_commit(k, &change, &version, err);
    if (r < 0) {
        (void)unlink(path);
        return r;
    }
    if (passphrase.text.size == 0)
        say(k, "note: %s is not protected by a passphrase", path);
    say(k, "registered %s in version %" PRIu64 "; next: aico-bus --as %s status", name, version,
        name);
    return 0;
}

int verb_add(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct publicdoc doc;
    uint64_t version = 0;
    int r = file_read(arguments[0], FILE_TRUSTED, KEYDOC_SIZE_MAX, &text, err);

    if (r < 0)
        return r;
    r = publicdoc_parse(buffer_view(&text), &doc, err);
    if (r < 0)
        return aico_error_prefix(err, r, "%s", arguments[0]);
    r = change_begin(k, &change, err);
    if (r < 0)
        return r;
    r = registry_draft_add(
        change.draft, &(struct component_line){
                          .name = doc.name,
                          .identity = doc.public,
                          .transport = doc.transport,
                          .roles = k->roles.size > 0 ? (const char *)k->roles.at : DEFAULT_ROLE,
                          .since_ms = moment_now().real_ms,
                      });
    if (r == AICO_EEXISTS)
        return aico_error_set(err, r, "%s or its key is registered already", doc.name);
    if (r == 0)
        r = change_commit(k, &change, &version, err);
    if (r == 0)
        say(k, "registered %s in version %" PRIu64 "; compare its fingerprint with the other side",
            doc.name, version);
    return r;
}

static int unknown_name(const char *name, struct aico_error *err)
{
    return aico_error_set(err, AICO_EPEERUNKNOWN, "%s is not registered, see: aico-keytool list",
                          name);
}

int verb_revoke(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *name = arguments[0];
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    const struct component *component;
    uint64_t version = 0;
    int r;

    if (!k->reason || !k->reason[0])
        return aico_error_set(err, AICO_EINVAL, "say why: --reason TEXT");
    r = change_begin(k, &change, err);
    if (r < 0)
        return r;
    component = registry_find_name(change.current, bytes_text(name));
    if (!component)
        return unknown_name(name, err);
    if (component->state != COMPONENT_ACTIVE)
        return aico_error_set(err, AICO_EEXISTS, "%s is %s already", name,
                              state_word(component->state));
    if (component_has_role(component, REGISTRY_ROLE_BROKER))
        return aico_error_set(err, AICO_EINVAL,
                              "%s is the broker of this bus: without it nobody could connect",
                              name);
    r = registry_draft_set_state(change.draft, name, COMPONENT_REVOKED);
    if (r == 0)
        r = change_commit(k, &change, &version, err);
    if (r == 0)
        say(k, "revoked %s in version %" PRIu64 ": %s", name, version, k->reason);
    return r;
}

const char *state_word(enum component_state state)
{
    static const char *const words[] = {"active", "revoked", "retired"};

    return words[state];
}

static void put_roles(const struct component *c, const char *between)
{
    for (size_t i = 0; i < c->role_count; i++)
        (void)printf("%s%s", i > 0 ? between : "", c->roles[i]);
}

static void put_time(int64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    char text[32] = "";
    struct tm tm;

    if (gmtime_r(&seconds, &tm))
        (void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    (void)fputs(text, stdout);
}

/* One object, keys in hex, times in ms. */
static void put_json(const struct registry *registry, const struct component *c)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE], identity[65], transport[65];

    fingerprint_write(c->identity, fingerprint);
    hex_write(bytes_of(c->identity, sizeof(c->identity)), identity);
    hex_write(bytes_of(c->transport, sizeof(c->transport)), transport);
    (void)printf("{\"name\":\"%s\",\"state\":\"%s\",\"roles\":[\"", c->name, state_word(c->state));
    put_roles(c, "\",\"");
    (void)printf("\"],\"fingerprint\":\"%s\",\"identity\":\"%s\",\"transport\":\"%s\","
                 "\"since_ms\":%" PRId64 ",\"registry\":%" PRIu64 "}\n",
                 fingerprint, identity, transport, c->since_ms, registry_version(registry));
}

int verb_list(struct keytool *k, char **arguments UNUSED, int count UNUSED, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    int r = registry_current(k, &registry, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < registry_component_count(registry); i++) {
        const struct component *c = registry_component_at(registry, i);
        char fingerprint[FINGERPRINT_TEXT_SIZE];

        if (k->json) {
            put_json(registry, c);
            continue;
        }
        fingerprint_write(c->identity, fingerprint);
        (void)printf("%-20s %-8s %s ", c->name, state_word(c->state), fingerprint);
        put_roles(c, ",");
        (void)putchar('\n');
    }
    return 0;
}

int verb_show(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    char fingerprint[FINGERPRINT_TEXT_SIZE], key[65];
    int r = registry_current(k, &registry, err), found = 0;

    if (r < 0)
        return r;
    for (size_t i = 0; i < registry_component_count(registry); i++) {
        const struct component *c = registry_component_at(registry, i);

        if (strcmp(c->name, arguments[0]) != 0)
            continue;
        found++;
        if (k->json) {
            put_json(registry, c);
            continue;
        }
        fingerprint_write(c->identity, fingerprint);
        (void)printf("name         %s\nstate        %s\nroles        ", c->name,
                     state_word(c->state));
        put_roles(c, ",");
        (void)printf("\nsince        ");
        put_time(c->since_ms);
        hex_write(bytes_of(c->identity, sizeof(c->identity)), key);
        (void)printf("\nfingerprint  %s\nidentity     %s\n", fingerprint, key);
        hex_write(bytes_of(c->transport, sizeof(c->transport)), key);
        (void)printf("transport    %s\n", key);
    }
    return found > 0 ? 0 : unknown_name(arguments[0], err);
}

/* A file (key or public identity), else a registered name, else the owner. */
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

    if (strcmp(what, OWNER_NAME) == 0)
        return home_owner(k->home, ret_public, err);
    if (!strchr(what, '/') && access(what, F_OK) < 0) {
        r = registry_current(k, &registry, err);
        if (r < 0)
            return r;
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
    CLEANUP(free_memory)
    char *path = home_key_path(k->home, arguments[0]);
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r;

    if (!path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    if (!component_name_is_valid(bytes_text(arguments[0])))
        return aico_error_set(err, AICO_EINVAL, "'%s' is not a component name", arguments[0]);
    r = passphrase_get(k, k->passphrase_file, arguments[0], false, false, &passphrase, err);
    if (r == 0)
        r = keyfile_load(path, buffer_view(&passphrase.text), &identity, err);
    if (r < 0)
        return r;
    r = publicdoc_write(identity, &text);
    if (r < 0)
        return aico_error_set(err, r, "%s", aico_error_string(r));
    (void)fwrite(text.at, 1, text.size, stdout);
    return 0;
}
