/* SPDX-License-Identifier: Apache-2.0 */
/* One change of the home under a lock, and what an interrupted one left behind. */
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "keytool/keytool.h"
#include "trust/keydoc.h"

#define LOCK_TIMEOUT_MS 10000
#define WORD_NEXT ".key.next-"
#define WORD_UNTIL ".key.until-"

int out_of_memory(struct aico_error *err)
{
    return aico_error_set(err, AICO_ENOMEM, "out of memory");
}

const char *when(int64_t ms, char to[WHEN_SIZE])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;

    to[0] = '\0';
    if (gmtime_r(&seconds, &tm))
        (void)strftime(to, WHEN_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return to;
}

/* printf into memory the caller frees; NULL without. */
static char *joined(const char *format, ...) __attribute__((format(printf, 1, 2)));

static char *joined(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int r;

    va_start(args, format);
    r = vasprintf(&text, format, args);
    va_end(args);
    return r < 0 ? NULL : text;
}

char *owner_key_path(const struct keytool *k)
{
    return k->owner_key ? strdup(k->owner_key) : home_key_path(k->home, OWNER_NAME);
}

/* --- the registry --------------------------------------------------------------------------- */

/* The namespace the home's registry claims; the signature over it is checked right after. */
static int claimed_namespace(struct keytool *k, struct buffer *ret_namespace,
                             struct aico_error *err)
{
    static const char word[] = "aico-registry 1\nnamespace ";
    CLEANUP(free_memory)
    char *path = home_path(k->home, "registry");
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    const uint8_t *at, *end;
    int r;

    if (!path)
        return out_of_memory(err);
    r = file_read(path, FILE_TRUSTED, REGISTRY_SIZE_MAX, &text, err);
    if (r == AICO_ENOTFOUND)
        return aico_error_set(err, r, "%s: no registry there, run: aico-keytool init --home '%s'",
                              path, k->home);
    if (r < 0)
        return r;
    if (text.size < sizeof(word) || memcmp(text.at, word, sizeof(word) - 1) != 0)
        return aico_error_set(err, AICO_EREGISTRY,
                              "%s: not a registry; put the last good one back: cp '%s/state/"
                              "owner/registry' '%s'",
                              path, k->home, path);
    at = text.at + sizeof(word) - 1;
    end = memchr(at, '\n', text.size - (size_t)(at - text.at));
    return buffer_append(ret_namespace, bytes_of(at, end ? (size_t)(end - at)
                                                         : text.size - (size_t)(at - text.at))) < 0
               ? out_of_memory(err)
               : 0;
}

int registry_current(struct keytool *k, struct registry **ret, struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer namespace = {0};
    int r = claimed_namespace(k, &namespace, err);

    return r < 0 ? r : registry_load(k->home, OWNER_NAME, buffer_view(&namespace), ret, err);
}

/* --- key files that come with a version ------------------------------------------------------- */

static char *staged_path(const char *path, uint64_t version)
{
    return joined("%s.next-%" PRIu64, path, version);
}

int key_stage(const char *path, const struct change *change, const struct identity *identity,
              int64_t created_ms, struct bytes passphrase, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *staged = staged_path(path, change->version);

    return staged ? keyfile_save(staged, identity, created_ms, passphrase, false, err)
                  : out_of_memory(err);
}

void key_unstage(const char *path, const struct change *change)
{
    CLEANUP(free_memory)
    char *staged = staged_path(path, change->version);

    if (staged)
        (void)!file_remove(staged, NULL);
}

/* PATH.until-TIME-KEY, or PATH.former-KEY when @until_ms is 0; KEY tells several apart. */
static char *aside_path(const char *path, const uint8_t *public, int64_t until_ms)
{
    char key[2 * 4 + 1], time[WHEN_SIZE];

    hex_write(bytes_of(public, 4), key);
    if (until_ms == 0)
        return joined("%s.former-%s", path, key);
    return joined("%s.until-%s-%s", path, when(until_ms, time), key);
}

/* Where the key at @path goes when it is replaced; *ret_aside NULL: it is not kept. */
static int aside_of(const char *path, const struct registry *registry, char **ret_aside,
                    struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    const struct component *c;
    struct keydoc doc;
    int r = file_read(path, FILE_SECRET, KEYDOC_SIZE_MAX, &text, err);

    if (r == AICO_ENOTFOUND)
        return 0;
    if (r == 0)
        r = keydoc_inspect(buffer_view(&text), &doc, err);
    if (r < 0)
        return r;
    c = registry_find_identity(registry, doc.public);
    if (c && c->replaced_until_ms == INT64_MAX)
        return 0; /* the same identity with another transport key */
    *ret_aside = aside_path(path, doc.public, c ? c->replaced_until_ms : 0);
    return *ret_aside ? 0 : out_of_memory(err);
}

int key_place(const char *path, uint64_t version, const struct registry *registry,
              struct aico_error *err)
{
    CLEANUP(free_memory)
    char *staged = staged_path(path, version);
    CLEANUP(free_memory)
    char *aside = NULL;
    int r;

    if (!staged)
        return out_of_memory(err);
    r = aside_of(path, registry, &aside, err);
    return r < 0 ? r : file_switch(path, staged, aside, err);
}

/* One name found in a folder of keys. */
struct leftover {
    struct keytool *k;
    const char *folder;
    const struct registry *registry;
};

/* NAME.key.next-VERSION: its registry was committed, so it takes its place; or it was not. */
static int settle_staged(const struct leftover *in, const char *name, struct aico_error *err)
{
    const char *number = strstr(name, WORD_NEXT) + sizeof(WORD_NEXT) - 1;
    CLEANUP(free_memory)
    char *staged = home_path(in->folder, "%s", name);
    CLEANUP(free_memory)
    char *path = home_path(in->folder, "%.*s", (int)(number - name) - 6, name);
    char *end;
    uint64_t version = strtoull(number, &end, 10);
    int r;

    if (!staged || !path)
        return out_of_memory(err);
    if (*number < '0' || *number > '9')
        return 0;
    if (*end != '\0') /* NEXT-VERSION.XXXXXX: not even written to its end */
        return file_remove(staged, err);
    if (version > registry_version(in->registry))
        return file_remove(staged, err);
    r = key_place(path, version, in->registry, err);
    if (r == 0)
        say(in->k, "note: finished what was interrupted: %s", path);
    return r;
}

/* NAME.key.until-TIME-KEY: a key of a rotation whose overlap has ended. */
static int drop_expired(const struct leftover *in, const char *name, struct aico_error *err)
{
    const char *time = strstr(name, WORD_UNTIL) + sizeof(WORD_UNTIL) - 1;
    CLEANUP(free_memory)
    char *path = NULL;
    char now[WHEN_SIZE];

    /* Of one form and width, so texts compare as times do. */
    if (strlen(time) < 20 || strncmp(time, when(moment_now().real_ms, now), 20) >= 0)
        return 0;
    path = home_path(in->folder, "%s", name);
    return path ? file_remove(path, err) : out_of_memory(err);
}

static int look_through(const struct leftover *in, const char *word,
                        int (*settle)(const struct leftover *, const char *, struct aico_error *),
                        struct aico_error *err)
{
    DIR *folder = opendir(in->folder);
    struct dirent *entry;
    int r = 0;

    while (r == 0 && folder && (entry = readdir(folder)) != NULL)
        if (strstr(entry->d_name, word))
            r = settle(in, entry->d_name, err);
    if (folder)
        (void)closedir(folder);
    return r;
}

static int look_through_keys(struct keytool *k, const struct registry *registry, const char *word,
                             int (*settle)(const struct leftover *, const char *,
                                           struct aico_error *),
                             struct aico_error *err)
{
    CLEANUP(free_memory)
    char *identities = home_path(k->home, "identities");
    struct leftover in = {k, k->home, registry};
    int r;

    if (!identities)
        return out_of_memory(err);
    r = look_through(&in, word, settle, err);
    in.folder = identities;
    return r < 0 ? r : look_through(&in, word, settle, err);
}

/* The public key in a key file. 0, AICO_ENOTFOUND... */
static int public_of(const char *path, uint8_t ret_public[SIGN_PUBLIC_SIZE], struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    struct keydoc doc;
    int r = file_read(path, FILE_SECRET, KEYDOC_SIZE_MAX, &text, err);

    if (r < 0)
        return r;
    r = keydoc_inspect(buffer_view(&text), &doc, err);
    if (r < 0)
        return aico_error_prefix(err, r, "%s", path);
    memcpy(ret_public, doc.public, SIGN_PUBLIC_SIZE);
    return 0;
}

int owner_key_place(const char *path, const char *next, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *aside = NULL;
    uint8_t public[SIGN_PUBLIC_SIZE];
    int r = public_of(path, public, err);

    if (r == AICO_ENOTFOUND)
        return file_switch(path, next, NULL, err);
    if (r < 0)
        return r;
    aside = aside_path(path, public, 0);
    return aside ? file_switch(path, next, aside, err) : out_of_memory(err);
}

/* owner.key.next signed the registry that is in force, but owner.key is the former one still. */
static int settle_owner(struct keytool *k, const struct registry *registry, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = owner_key_path(k);
    CLEANUP(free_memory)
    char *next = path ? joined("%s.next", path) : NULL;
    uint8_t public[SIGN_PUBLIC_SIZE];
    int r;

    if (!next)
        return out_of_memory(err);
    if (public_of(path, public, NULL) == 0 &&
        memcmp(public, registry_owner(registry), SIGN_PUBLIC_SIZE) == 0)
        return 0;
    r = public_of(next, public, err);
    if (r == AICO_ENOTFOUND)
        return 0;
    if (r < 0 || memcmp(public, registry_owner(registry), SIGN_PUBLIC_SIZE) != 0)
        return r;
    r = owner_key_place(path, next, err);
    if (r == 0)
        say(k, "note: finished what was interrupted: %s", path);
    return r;
}

/* --- the change ----------------------------------------------------------------------------- */

int home_lock(struct keytool *k, int *ret_lock, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *state = home_path(k->home, "state");
    CLEANUP(free_memory)
    char *path = home_path(k->home, "state/registry.lock");
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(fd_close)
    int lock = -1;
    int r;

    if (!state || !path)
        return out_of_memory(err);
    r = folder_make(state, err);
    if (r == AICO_ENOTFOUND)
        return aico_error_set(err, r, "%s: no home of a bus, run: aico-keytool init --home '%s'",
                              k->home, k->home);
    if (r == 0)
        r = file_lock(path, LOCK_TIMEOUT_MS, &lock, err);
    if (r == AICO_ETIMEOUT)
        return aico_error_set(err, r, "%s: another aico-keytool is at work in this home, try again",
                              path);
    if (r == 0)
        r = registry_current(k, &registry, err);
    if (r == AICO_ENOTFOUND) { /* a home that is being put together by hand */
        *ret_lock = steal_fd(&lock);
        return 0;
    }
    if (r == 0)
        r = look_through_keys(k, registry, WORD_NEXT, settle_staged, err);
    if (r == 0)
        r = settle_owner(k, registry, err);
    if (r < 0)
        return r;
    *ret_lock = steal_fd(&lock);
    return 0;
}

void change_end(struct change *change)
{
    registry_unref(&change->current);
    registry_draft_free(&change->draft);
    open_key_close(&change->owner);
    fd_close(&change->lock);
}

static int open_owner(struct keytool *k, struct change *change, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = owner_key_path(k);
    int r;

    if (!path)
        return out_of_memory(err);
    if (access(path, F_OK) < 0 && errno == ENOENT)
        return aico_error_set(err, AICO_EUNKNOWN,
                              "%s: no such key file; only the owner decides who belongs: give its "
                              "place with --owner-key FILE",
                              path);
    r = key_open(path, OWNER_NAME, &k->owner, &change->owner, err);
    if (r == AICO_EPASSPHRASE)
        return aico_error_prefix(err, r, "owner (--owner-passphrase-file FILE)");
    if (r < 0)
        return r;
    if (memcmp(change->owner.identity->public, registry_owner(change->current), SIGN_PUBLIC_SIZE) !=
        0)
        return aico_error_set(err, AICO_EKEYFILEMISMATCH,
                              "%s: is not the owner of this registry, compare: aico-keytool "
                              "fingerprint owner, aico-keytool fingerprint '%s'",
                              path, path);
    return 0;
}

int change_begin(struct keytool *k, struct change *change, struct aico_error *err)
{
    int r = registry_current(k, &change->current, err); /* tells a missing home first */

    if (r == 0)
        r = home_lock(k, &change->lock, err);
    if (r < 0)
        return r;
    registry_unref(&change->current); /* somebody may have written before we had the lock */
    r = registry_current(k, &change->current, err);
    if (r == 0)
        r = open_owner(k, change, err);
    if (r < 0)
        return r;
    change->draft = registry_draft_new(change->current, bytes_of(NULL, 0));
    if (!change->draft)
        return out_of_memory(err);
    registry_draft_retire_replaced(change->draft, moment_now().real_ms);
    change->version = registry_version(change->current) + 1;
    return 0;
}

int change_commit_as(struct keytool *k, struct change *change, const struct identity *owner,
                     struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_path(k->home, "registry");
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    struct aico_error unkept = {0};
    struct registry *next = NULL;
    int r;

    if (!path)
        return out_of_memory(err);
    r = registry_draft_sign(change->draft, &owner->seed, moment_now().real_ms, &document);
    if (r < 0)
        return aico_error_set(err, r, "%s: %s", path, aico_error_string(r));
    r = registry_parse(buffer_view(&document), owner->public, registry_namespace(change->current),
                       &next, err);
    if (r == 0)
        r = file_write(path, 0644, true, buffer_view(&document), err);
    if (r < 0) {
        registry_unref(&next);
        return r;
    }
    /* In force from here on. What was signed is kept, so that a registry put back by hand never
     * makes us sign two of one version. */
    if (registry_keep(k->home, OWNER_NAME, next, &unkept) < 0)
        say(k, "warning: the registry is in force but was not kept: %s", unkept.text);
    registry_unref(&change->current);
    change->current = next;
    (void)look_through_keys(k, next, WORD_UNTIL, drop_expired, NULL);
    return 0;
}

int change_commit(struct keytool *k, struct change *change, struct aico_error *err)
{
    return change_commit_as(k, change, change->owner.identity, err);
}
