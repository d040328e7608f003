/* SPDX-License-Identifier: Apache-2.0 */
/* passwd, export, import, derive: key files change their cover or their place, not their key. */
#include <errno.h>
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
#include "trust/sigdoc.h"

/* The key file of @name, wherever the owner's is, and where its passphrase comes from. */
static char *path_of(const struct keytool *k, const char *name,
                     const struct passphrase_source **ret_source)
{
    bool is_owner = strcmp(name, OWNER_NAME) == 0;

    *ret_source = is_owner && (k->owner.file || k->owner.fd >= 0) ? &k->owner : &k->key;
    return is_owner ? owner_key_path(k) : home_key_path(k->home, name);
}

static int check_name(const char *name, struct aico_error *err)
{
    return component_name_is_valid(bytes_text(name))
               ? 0
               : aico_error_set(err, AICO_EINVAL, "'%s' is not a component name", name);
}

static bool is_given(const struct passphrase_source *source)
{
    return source->file || source->fd >= 0;
}

/* --- passwd --------------------------------------------------------------------------------- */

int verb_passwd(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *name = arguments[0];
    const struct passphrase_source *source;
    CLEANUP(free_memory)
    char *path = path_of(k, name, &source);
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    CLEANUP(open_key_close)
    struct open_key key = {0};
    CLEANUP(fd_close)
    int lock = -1;
    int r = check_name(name, err);

    if (r < 0)
        return r;
    if (!path)
        return out_of_memory(err);
    if (k->unprotected && is_given(&k->next))
        return aico_error_set(err, AICO_EINVAL, "--unprotected or a new passphrase, not both");
    if (!k->unprotected && !is_given(&k->next) && !passphrase_may_ask())
        return aico_error_set(err, AICO_EINVAL,
                              "say the new one: --new-passphrase-file FILE, or --unprotected");
    r = home_lock(k, &lock, err);
    if (r == 0)
        r = key_open(path, name, source, &key, err);
    if (r == 0 && !k->unprotected)
        r = passphrase_choose(&k->next, name, true, &passphrase, err);
    if (r == 0)
        r = keyfile_save(path, key.identity, key.created_ms, passphrase_view(&passphrase), true,
                         err);
    if (r < 0)
        return r;
    if (passphrase.text.size > 0)
        say(k, "%s has a new passphrase; who starts %s needs it", path, name);
    else
        say(k, "note: %s is not protected by a passphrase any more", path);
    return 0;
}

/* --- export --------------------------------------------------------------------------------- */

static int put_out(const struct keytool *k, struct bytes text, struct aico_error *err)
{
    if (k->out)
        return file_write(k->out, 0600, false, text, err);
    (void)fwrite(text.at, 1, text.size, stdout);
    return 0;
}

int verb_export(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *name = arguments[0];
    const struct passphrase_source *source;
    CLEANUP(free_memory)
    char *path = path_of(k, name, &source);
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    CLEANUP(open_key_close)
    struct open_key key = {0};
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    uint8_t salt[16], nonce[24];
    struct bytes cover;
    int r = check_name(name, err);

    if (r < 0)
        return r;
    if (!path)
        return out_of_memory(err);
    r = key_open(path, name, source, &key, err);
    if (r == 0)
        r = passphrase_choose(&k->next, "the export", false, &passphrase, err);
    if (r < 0)
        return r;
    cover = passphrase_view(&passphrase);
    if (cover.size == 0) /* nobody to ask: as it is protected here */
        cover = passphrase_view(&key.passphrase);
    if (cover.size == 0)
        return aico_error_set(err, AICO_EINVAL,
                              "an export is always protected: --new-passphrase-file FILE");
    random_system.bytes(random_system.context, salt, sizeof(salt));
    random_system.bytes(random_system.context, nonce, sizeof(nonce));
    r = keydoc_write(name, &key.identity->seed, key.identity->transport_number, key.created_ms,
                     cover, KEYDOC_OPS_DEFAULT, KEYDOC_MEM_DEFAULT, salt, nonce, &text);
    if (r < 0)
        return aico_error_set(err, r, "%s: %s", name, aico_error_string(r));
    r = put_out(k, buffer_view(&text), err);
    if (r == 0)
        say(k, "on the other machine: aico-keytool import FILE; one identity runs in one process "
               "at a time");
    return r;
}

/* --- import --------------------------------------------------------------------------------- */

#define STDIN_NAME "-"

static int read_import(const char *file, struct buffer *ret_text, struct aico_error *err)
{
    if (strcmp(file, STDIN_NAME) != 0)
        return file_read(file, FILE_SECRET, KEYDOC_SIZE_MAX, ret_text, err);
    for (;;) {
        uint8_t *to = buffer_reserve(ret_text, 512);
        ssize_t got = to ? read(STDIN_FILENO, to, 512) : -1;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return aico_error_set(err, AICO_ESYSTEM, "standard input: %m");
        if (got == 0)
            return 0;
        ret_text->size += (size_t)got;
        if (ret_text->size > KEYDOC_SIZE_MAX)
            return aico_error_set(err, AICO_ESIZE, "standard input: larger than %d bytes",
                                  KEYDOC_SIZE_MAX);
    }
}

/* 64 hex digits: the seed of a peer whose own software derived it. */
static int open_seed(const struct keytool *k, struct bytes text, struct open_key *ret,
                     struct aico_error *err)
{
    CLEANUP(secret_wipe)
    struct secret seed = {0};
    int r;

    if (text.size > 0 && text.at[text.size - 1] == '\n')
        text.size--;
    if (!hex_parse(text, seed.at, SECRET_SIZE))
        return aico_error_set(err, AICO_EKEYFILE,
                              "neither a key file of ours nor a seed of 64 lower-case hex digits");
    if (!k->as)
        return aico_error_set(err, AICO_EINVAL, "a seed has no name, give it one: --as NAME");
    r = identity_new(k->as, &seed, 0, &ret->identity);
    ret->created_ms = moment_now().real_ms;
    return r < 0 ? aico_error_set(err, r, "'%s' is not a component name", k->as) : 0;
}

static int open_import(struct keytool *k, const char *file, struct open_key *ret,
                       struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    int r = read_import(file, &text, err);

    if (r < 0)
        return r;
    if (text.size < 8 || memcmp(text.at, "aico-key", 8) != 0) {
        r = open_seed(k, buffer_view(&text), ret, err);
        return r < 0 ? aico_error_prefix(err, r, "%s", file) : 0;
    }
    r = key_open_text(file, buffer_view(&text), &k->key, ret, err);
    if (r == 0 && k->as && strcmp(k->as, ret->identity->name) != 0)
        r = aico_error_set(err, AICO_EKEYFILEMISMATCH, "%s: the key of %s, not of %s", file,
                           ret->identity->name, k->as);
    return r;
}

/* A key under a name that the registry gives to another key would only fail later. */
static int check_import(const struct registry *registry, const struct identity *identity,
                        bool *ret_is_registered, struct aico_error *err)
{
    const struct component *c = registry_find_name(registry, bytes_text(identity->name));
    bool is_owner = strcmp(identity->name, OWNER_NAME) == 0;
    const uint8_t *expected = is_owner ? registry_owner(registry) : c ? c->identity : NULL;
    char fingerprint[FINGERPRINT_TEXT_SIZE];

    *ret_is_registered = expected != NULL;
    if (!expected || memcmp(expected, identity->public, SIGN_PUBLIC_SIZE) == 0)
        return 0;
    fingerprint_write(expected, fingerprint);
    return aico_error_set(err, AICO_EKEYFILEMISMATCH,
                          "%s is registered with another key, %s; nothing was changed",
                          identity->name, fingerprint);
}

static int make_folders(struct keytool *k, struct aico_error *err)
{
    static const char *const folders[] = {"identities", "state"};
    int r = folder_make(k->home, err);

    for (size_t i = 0; i < COUNT_OF(folders) && r == 0; i++) {
        CLEANUP(free_memory)
        char *path = home_path(k->home, "%s", folders[i]);

        r = path ? folder_make(path, err) : out_of_memory(err);
    }
    return r;
}

int verb_import(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    CLEANUP(open_key_close)
    struct open_key key = {0};
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(free_memory)
    char *path = NULL;
    CLEANUP(fd_close)
    int lock = -1;
    bool is_registered = false, asks = is_given(&k->next);
    struct bytes cover;
    const char *name;
    int r;

    if (k->unprotected && asks)
        return aico_error_set(err, AICO_EINVAL, "--unprotected or a new passphrase, not both");
    r = open_import(k, arguments[0], &key, err);
    if (r == 0)
        r = make_folders(k, err);
    if (r == 0)
        r = home_lock(k, &lock, err);
    if (r == 0)
        r = registry_current(k, &registry, err);
    if (r == 0)
        r = check_import(registry, key.identity, &is_registered, err);
    else if (r == AICO_ENOTFOUND)
        r = 0; /* a home that is being put together by hand: its registry comes later */
    if (r == 0 && asks)
        r = passphrase_choose(&k->next, key.identity->name, true, &passphrase, err);
    if (r < 0)
        return r;
    name = key.identity->name;
    cover = asks             ? passphrase_view(&passphrase)
            : k->unprotected ? bytes_of(NULL, 0)
                             : passphrase_view(&key.passphrase);
    path = home_key_path(k->home, name);
    if (!path)
        return out_of_memory(err);
    r = keyfile_save(path, key.identity, key.created_ms, cover, false, err);
    if (r < 0)
        return r;
    if (cover.size == 0)
        say(k, "note: %s is not protected by a passphrase, see: aico-keytool passwd %s", path,
            name);
    if (is_registered)
        say(k, "imported %s; next: aico-bus --as %s status", path, name);
    else
        say(k,
            "imported %s; to register it: aico-keytool public %s >FILE, and with the owner's key: "
            "aico-keytool add FILE",
            path, name);
    return 0;
}

/* --- derive --------------------------------------------------------------------------------- */

/* The salt of this home's master passphrase; made when there is none yet. */
static int load_salt(const char *path, struct masterdoc *ret, bool *ret_is_new,
                     struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r = file_read(path, FILE_TRUSTED, 1024, &text, err);

    *ret_is_new = r == AICO_ENOTFOUND;
    if (r == AICO_ENOTFOUND) {
        *ret = (struct masterdoc){.ops = KEYDOC_OPS_DEFAULT, .mem_bytes = KEYDOC_MEM_DEFAULT};
        random_system.bytes(random_system.context, ret->salt, sizeof(ret->salt));
        return 0;
    }
    if (r == 0)
        r = masterdoc_parse(buffer_view(&text), ret, err);
    return r == AICO_EMASTERFILE ? aico_error_prefix(err, r, "%s", path) : r;
}

/* The master secret of this home. */
static int open_master(struct keytool *k, struct secret *ret_master, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_path(k->home, "master.salt");
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct masterdoc doc = {0};
    uint8_t verifier[sizeof(doc.verifier)];
    bool is_new = false;
    int r = path ? load_salt(path, &doc, &is_new, err) : out_of_memory(err);

    if (r == 0 && is_new)
        r = passphrase_choose(&k->master, "all keys derived in this home", false, &passphrase, err);
    else if (r == 0)
        r = passphrase_given(&k->master, "the master", &passphrase, err);
    if (r == 0 && passphrase.text.size == 0 && passphrase_may_ask())
        r = passphrase_ask("all keys derived in this home", &passphrase, err);
    if (r < 0)
        return r;
    if (passphrase.text.size == 0)
        return aico_error_set(err, AICO_EPASSPHRASE,
                              "the master passphrase is missing: --master-passphrase-file FILE");
    r = master_open(&doc, passphrase_view(&passphrase), ret_master, verifier);
    if (r < 0)
        return aico_error_set(err, r, "Argon2id needs %" PRIu64 " MiB of memory",
                              doc.mem_bytes >> 20);
    if (!is_new)
        return secret_equal(verifier, doc.verifier, sizeof(verifier))
                   ? 0
                   : aico_error_set(err, AICO_EPASSPHRASE,
                                    "wrong master passphrase: it is not the one that %s belongs to",
                                    path);
    memcpy(doc.verifier, verifier, sizeof(verifier));
    r = masterdoc_write(&doc, &text);
    if (r < 0)
        return out_of_memory(err);
    r = file_write(path, 0644, false, buffer_view(&text), err);
    if (r == 0)
        say(k,
            "made %s: not secret, but without it the same passphrase gives other keys: back it "
            "up",
            path);
    return r;
}

/* The registered key of @identity lost its file: it comes back. 1 when that was so, else 0. */
static int restore(struct keytool *k, const struct registry *registry,
                   const struct identity *identity, struct aico_error *err)
{
    const struct component *c = registry_find_name(registry, bytes_text(identity->name));
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    CLEANUP(free_memory)
    char *path = home_key_path(k->home, identity->name);
    bool is_registered;
    int r;

    if (!c || c->state != COMPONENT_ACTIVE)
        return 0;
    if (!path)
        return out_of_memory(err);
    if (access(path, F_OK) == 0)
        return aico_error_set(err, AICO_EEXISTS, "%s: exists already, not overwritten", path);
    r = check_import(registry, identity, &is_registered, err);
    if (r == 0 && memcmp(c->transport, identity->transport_public, DH_PUBLIC_SIZE) != 0)
        r = aico_error_set(err, AICO_EKEYFILEMISMATCH,
                           "%s has a later transport key; make it a new one: aico-keytool revoke, "
                           "then derive",
                           identity->name);
    if (r == 0)
        r = passphrase_choose(&k->key, identity->name, true, &passphrase, err);
    if (r == 0)
        r = keyfile_save(path, identity, moment_now().real_ms, passphrase_view(&passphrase), false,
                         err);
    if (r < 0)
        return r;
    say(k, "restored %s", path);
    return 1;
}

int verb_derive(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *name = arguments[0];
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    CLEANUP(secret_wipe)
    struct secret master = {0};
    CLEANUP(secret_wipe)
    struct secret seed = {0};
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    int r = refuse_name(name, err);

    if (r == 0)
        r = home_lock(k, &change.lock, err);
    if (r == 0)
        r = registry_current(k, &registry, err);
    if (r == 0)
        r = open_master(k, &master, err);
    if (r < 0)
        return r;
    master_component_seed(&master, name, &seed);
    r = identity_new(name, &seed, 0, &identity);
    if (r < 0)
        return aico_error_set(err, r, "%s: %s", name, aico_error_string(r));
    r = restore(k, registry, identity, err);
    if (r != 0)
        return MIN(r, 0);
    fd_close(&change.lock);
    r = change_begin(k, &change, err);
    if (r == 0)
        r = passphrase_choose(&k->key, name, true, &passphrase, err);
    if (r == 0)
        r = register_identity(k, &change, identity, passphrase_view(&passphrase), err);
    if (r == 0)
        say(k, "derived and registered %s in version %" PRIu64 "; next: aico-bus --as %s status",
            name, change.version, name);
    return r;
}
