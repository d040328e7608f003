/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor's round through the key files: ours, the broker's and the owner's. Do they open, and
 * are they the keys the registry names? A key that is lost lies perhaps beside its place, else the
 * owner gives the name to another one.
 */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "runtime/doctor.h"
#include "trust/keydoc.h"

#define CHECK "keys"

struct key {
    const char *name;
    const char *path;
    const struct component *component; /* of that name in the registry; NULL */
    bool is_broker;
};

static void find(struct doctor *d, const struct key *key, enum aico_finding_level level, int code,
                 char *repair, const char *text)
{
    doctor_find(d,
                &(struct aico_finding){
                    .level = level,
                    .check = CHECK,
                    .subject = key->path,
                    .code = code,
                    .for_owner = repair && !d->is_owner_here &&
                                 strncmp(repair, "aico-keytool", strlen("aico-keytool")) == 0,
                },
                repair, "%s", text);
}

/* --- repairs -------------------------------------------------------------------------------- */

/* " --role a --role b" as the component has them; memory of the caller. */
static char *roles_of(struct doctor *d, const struct component *component)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r = 0;

    for (size_t i = 0; component && r == 0 && i < component->role_count; i++)
        r = buffer_printf(&text, " --role %s", component->roles[i]);
    if (r == 0)
        r = buffer_append(&text, bytes_of("", 1));
    if (r < 0) {
        d->is_out_of_memory = true;
        return NULL;
    }
    return (char *)STEAL(text.at);
}

/* A file beside @key that holds the registered identity: put aside, staged, or a copy. */
static char *find_beside(const struct key *key)
{
    CLEANUP(free_memory)
    char *folder = strdup(key->path);
    char *slash = folder ? strrchr(folder, '/') : NULL;
    char *found = NULL;
    const struct dirent *entry;
    DIR *stream;

    if (!slash || !key->component)
        return NULL;
    *slash = '\0';
    stream = opendir(folder);
    while (stream && !found && (entry = readdir(stream)) != NULL) {
        CLEANUP(free_memory)
        char *path = NULL;
        CLEANUP(buffer_wipe_deinit)
        struct buffer text = {0};
        struct keydoc doc;

        if (strncmp(entry->d_name, slash + 1, strlen(slash + 1)) != 0 ||
            strcmp(entry->d_name, slash + 1) == 0)
            continue;
        path = home_path(folder, "%s", entry->d_name);
        if (path && file_read(path, FILE_SECRET, KEYDOC_SIZE_MAX, &text, NULL) == 0 &&
            keydoc_inspect(buffer_view(&text), &doc, NULL) == 0 &&
            memcmp(doc.public, key->component->identity, SIGN_PUBLIC_SIZE) == 0)
            found = STEAL(path);
    }
    if (stream)
        (void)closedir(stream);
    return found;
}

/* The key at @key's place is of no use: what puts a good one there. */
static char *repair_lost(struct doctor *d, const struct key *key)
{
    CLEANUP(free_memory)
    char *beside = find_beside(key);
    CLEANUP(free_memory)
    char *roles = roles_of(d, key->component);
    bool exists = access(key->path, F_OK) == 0;

    if (beside)
        return doctor_command(d, "cp -p %q %q", beside, key->path);
    if (key->is_broker || !roles)
        return NULL; /* everybody pins this key: it has to come from a backup */
    if (!d->is_owner_here)
        return doctor_keytool(d, "revoke %s --reason 'key lost' && aico-keytool new %s%s",
                              key->name, key->name, roles);
    if (key->component && key->component->state == COMPONENT_ACTIVE)
        return exists ? doctor_command(d,
                                       "mv %q %q.unusable && aico-keytool --home %q revoke %s "
                                       "--reason 'key lost' && aico-keytool --home %q new %s%s",
                                       key->path, key->path, d->home, key->name, d->home, key->name,
                                       roles)
                      : doctor_keytool(d,
                                       "revoke %s --reason 'key lost' && aico-keytool --home %q "
                                       "new %s%s",
                                       key->name, d->home, key->name, roles);
    return exists ? doctor_command(d, "mv %q %q.unusable && aico-keytool --home %q new %s%s",
                                   key->path, key->path, d->home, key->name, roles)
                  : doctor_keytool(d, "new %s%s", key->name, roles);
}

static char *repair_unregistered(struct doctor *d, const struct key *key)
{
    if (!d->is_owner_here)
        return doctor_keytool(d, "add %s.public # made here by: aico-keytool --home %q public %s",
                              key->name, d->home, key->name);
    return doctor_keytool(d,
                          "public %s >%q.public && aico-keytool --home %q add %q.public && rm "
                          "%q.public",
                          key->name, key->path, d->home, key->path, key->path);
}

/* --- judging -------------------------------------------------------------------------------- */

static void judge_unopened(struct doctor *d, const struct key *key, int code, const char *text)
{
    bool is_given = d->options->passphrase_file != NULL;

    if (doctor_is_of_home(code))
        return;
    if (code == AICO_EPASSPHRASE && (!is_given || key->is_broker))
        find(d, key, key->is_broker ? AICO_FINDING_NOTE : AICO_FINDING_ERROR, code, NULL,
             "protected by a passphrase; give it with --passphrase-file");
    else if (code == AICO_EPASSPHRASE || code == AICO_ENOMEM)
        find(d, key, AICO_FINDING_ERROR, code, NULL, text);
    else
        find(d, key, AICO_FINDING_ERROR, code, repair_lost(d, key), text);
}

/* The key opened, and its identity is one the registry has. */
static bool judge_component(struct doctor *d, const struct key *key,
                            const struct identity *identity, const struct component *c)
{
    int64_t now_ms = moment_now().real_ms;
    CLEANUP(free_memory)
    char *roles = NULL;

    if (c->state != COMPONENT_ACTIVE && !key->is_broker) {
        roles = roles_of(d, c);
        find(d, key, AICO_FINDING_ERROR, AICO_EREVOKED,
             roles ? doctor_keytool(d, "new %s%s", key->name, roles) : NULL,
             "the owner has revoked this key");
        return false;
    }
    if (!component_is_active(d->registry, c, now_ms)) {
        find(d, key, AICO_FINDING_ERROR, AICO_EREVOKED, repair_lost(d, key),
             "this is the key of before a rotation, and is valid no more");
        return false;
    }
    if (memcmp(c->transport, identity->transport_public, sizeof(c->transport)) != 0) {
        find(d, key, AICO_FINDING_ERROR, AICO_EKEYFILEMISMATCH,
             doctor_keytool(d, key->is_broker ? "rotate %s" : "rotate %s --transport", key->name),
             "its transport key is not the one the registry names: a file of before a rotation");
        return false;
    }
    if (c->replaced_until_ms != INT64_MAX)
        find(d, key, AICO_FINDING_WARNING, AICO_EREVOKED, NULL,
             "this key was replaced and is valid for some time only; start with the new one");
    return true;
}

static bool judge(struct doctor *d, const struct key *key, const struct identity *identity)
{
    const struct component *c = registry_find_identity(d->registry, identity->public);

    if (strcmp(identity->name, key->name) != 0) {
        find(d, key, AICO_FINDING_ERROR, AICO_EKEYFILEMISMATCH, repair_lost(d, key),
             "holds the key of another component");
        return false;
    }
    if (c)
        return judge_component(d, key, identity, c);
    if (key->component && key->component->state == COMPONENT_ACTIVE)
        find(d, key, AICO_FINDING_ERROR, AICO_EKEYFILEMISMATCH, repair_lost(d, key),
             "another key than the one the registry has for this name");
    else
        find(d, key, AICO_FINDING_ERROR, AICO_EUNKNOWN, repair_unregistered(d, key),
             "the key is not in the registry");
    return false;
}

/* A setting names a file that is not there, but the usual one is. */
static bool is_misled(struct doctor *d, const struct key *key)
{
    CLEANUP(free_memory)
    char *usual = home_key_path(d->home, key->name);
    CLEANUP(free_memory)
    char *own = home_path(d->home, "config/%s.yaml", key->name);

    if (!usual || !own || strcmp(usual, key->path) == 0 || access(usual, F_OK) < 0)
        return false;
    doctor_find(
        d,
        &(struct aico_finding){
            .level = AICO_FINDING_ERROR, .check = CHECK, .subject = own, .code = AICO_EUNKNOWN},
        doctor_command(d, "sed -i '/^ *identity_file:/s/^/#/' %q", own),
        "identity_file is %s, where no key is; there is one at %s", key->path, usual);
    return true;
}

static void look_at(struct doctor *d, const char *name, const char *path,
                    struct identity **ret_identity)
{
    struct key key = {.name = name, .path = path, .is_broker = strcmp(name, BROKER_NAME) == 0};
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    struct aico_error err = {0};
    int r;

    if (d->registry)
        key.component = registry_find_name(d->registry, bytes_text(name));
    if (access(path, F_OK) < 0 && errno == ENOENT) {
        struct stat st;

        if (lstat(path, &st) < 0 && !is_misled(d, &key) && d->registry)
            find(d, &key, AICO_FINDING_ERROR, AICO_EUNKNOWN, repair_lost(d, &key),
                 "there is no such key file");
        return;
    }
    r = keyfile_open(path, key.is_broker ? NULL : d->options->passphrase_file, &identity, &err);
    if (r < 0) {
        if (d->registry)
            judge_unopened(d, &key, r, err.text);
        return;
    }
    if (!d->registry || !judge(d, &key, identity))
        return;
    doctor_ok(d, CHECK, path, "opens, and is the key that the registry has for %s", name);
    if (ret_identity)
        *ret_identity = STEAL(identity);
}

static void look_at_owner(struct doctor *d)
{
    CLEANUP(free_memory)
    char *path = doctor_path(d, OWNER_NAME ".key");
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    struct key key = {.name = OWNER_NAME, .path = path};
    struct keydoc doc;
    struct aico_error err = {0};
    int r = path ? file_read(path, FILE_SECRET, KEYDOC_SIZE_MAX, &text, &err) : AICO_ENOMEM;

    if (r == 0)
        r = keydoc_inspect(buffer_view(&text), &doc, &err);
    if (r < 0 && !doctor_is_of_home(r))
        find(d, &key, AICO_FINDING_WARNING, r, NULL, err.text);
    else if (r == 0 && memcmp(doc.public, registry_owner(d->registry), SIGN_PUBLIC_SIZE) != 0)
        find(d, &key, AICO_FINDING_WARNING, AICO_EKEYFILEMISMATCH, NULL,
             "is not the key of the owner who signed the registry: nothing can be changed with it");
    else if (r == 0 && !doc.is_protected)
        find(d, &key, AICO_FINDING_NOTE, 0, doctor_keytool(d, "passwd " OWNER_NAME),
             "not protected by a passphrase: who reads it decides who belongs");
}

void doctor_look_at_keys(struct doctor *d)
{
    CLEANUP(free_memory)
    char *broker = doctor_path(d, BROKER_NAME ".key");
    CLEANUP(free_memory)
    char *usual = d->name ? home_key_path(d->home, d->name) : NULL;
    const char *own = d->config && d->config->identity_file ? d->config->identity_file : usual;
    bool has_broker = false;

    /* A home with the owner's key has the broker's; elsewhere only where it lies. */
    if (broker)
        has_broker = d->is_owner_here || access(broker, F_OK) == 0;
    if (d->name && own && strcmp(d->name, BROKER_NAME) != 0)
        look_at(d, d->name, own, &d->identity);
    if (has_broker)
        look_at(d, BROKER_NAME, broker, NULL);
    if (d->is_owner_here && d->registry)
        look_at_owner(d);
}
