/* SPDX-License-Identifier: Apache-2.0 */
/* init: a whole home, made where nobody sees it and then put in its place. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "keytool/keytool.h"
#include "trust/keydoc.h"

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
    int r = MIN(passphrase_given(&k->key, "the identities", &passphrase, err), 0);

    for (size_t i = 0; i < COUNT_OF(members) && r == 0; i++) {
        CLEANUP(free_memory)
        char *path = home_key_path(home, members[i].name);
        struct identity *identity = NULL;

        r = path ? make_key(path, members[i].name, passphrase_view(&passphrase), &identity, err)
                 : out_of_memory(err);
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

    return path ? file_write(path, mode, false, content, err) : out_of_memory(err);
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
        return out_of_memory(err);
    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        CLEANUP(free_memory)
        char *path = home_path(home, "%s", folders[i]);

        r = path ? folder_make(path, err) : out_of_memory(err);
        if (r < 0)
            return r;
    }
    r = passphrase_choose(&k->owner, "the owner's key", true, &passphrase, err);
    if (r == 0)
        r = make_key(owner_path, OWNER_NAME, passphrase_view(&passphrase), &owner, err);
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
        r = registry_keep(home, OWNER_NAME, check, err);
    if (r == 0)
        r = put_file(home, "security.yaml", 0644,
                     bytes_of(default_security_yaml, default_security_yaml_size), err);
    if (r == 0 && passphrase.text.size == 0)
        say(k, "note: owner.key is not protected by a passphrase; keep %s private", k->home);
    return r;
}

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED,
                      struct FTW *walk UNUSED)
{
    return remove(path);
}

/* Puts @from in the place of @to, where nothing may be. */
static int put_in_place(const char *from, const char *to, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *parent = strdup(to);
    CLEANUP(fd_close)
    int fd = -1;

    if (!parent)
        return out_of_memory(err);
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) < 0)
        return errno == EEXIST ? aico_error_set(err, AICO_EEXISTS,
                                                "%s: exists already, nothing was changed", to)
                               : aico_error_set(err, AICO_ESYSTEM, "%s: %m", to);
    fd = open(dirname(parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "%s: %m", to);
    return 0;
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
        return out_of_memory(err);
    }
    if (!mkdtemp(temporary))
        return aico_error_set(err, AICO_ESYSTEM, "%s: %m", k->home);
    r = fill_home(k, temporary, err);
    if (r == 0)
        r = put_in_place(temporary, k->home, err);
    if (r < 0) {
        (void)nftw(temporary, remove_one, 8, FTW_DEPTH | FTW_PHYS);
        return r;
    }
    say(k, "made %s; next: %s", k->home,
        k->starter ? "aico-broker" : "aico-keytool new NAME --role ROLE, aico-keytool rule set");
    return 0;
}
