/* SPDX-License-Identifier: Apache-2.0 */
/* Reads and writes what lies in a home. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "crypto/random.h"
#include "store/home.h"
#include "trust/keydoc.h"

#define PASSPHRASE_MAX 1024

char *home_find(const char *explicit_path, struct aico_error *err)
{
    const char *given = explicit_path ? explicit_path : getenv("AICO_HOME");
    const char *user = getenv("HOME");
    CLEANUP(free_memory)
    char *current = NULL;
    char *path = NULL;
    int r;

    if (given && given[0] == '/') {
        r = asprintf(&path, "%s", given);
    } else if (given && given[0]) {
        current = getcwd(NULL, 0);
        r = current ? asprintf(&path, "%s/%s", current, given) : -1;
    } else if (user && user[0] == '/') {
        r = asprintf(&path, "%s/.aico", user);
    } else {
        (void)aico_error_set(err, AICO_EINVAL, "no home: give --home DIR or set AICO_HOME");
        return NULL;
    }
    if (r < 0) {
        (void)aico_error_set(err, AICO_ENOMEM, "out of memory");
        return NULL;
    }
    while (r > 1 && path[r - 1] == '/')
        path[--r] = '\0';
    return path;
}

char *home_path(const char *home, const char *format, ...)
{
    CLEANUP(free_memory)
    char *name = NULL;
    char *path = NULL;
    va_list args;
    int r;

    va_start(args, format);
    r = vasprintf(&name, format, args);
    va_end(args);
    if (r < 0) {
        name = NULL;
        return NULL;
    }
    return asprintf(&path, "%s/%s", home, name) < 0 ? NULL : path;
}

char *home_key_path(const char *home, const char *name)
{
    if (strcmp(name, OWNER_NAME) == 0 || strcmp(name, BROKER_NAME) == 0)
        return home_path(home, "%s.key", name);
    return home_path(home, "identities/%s.key", name);
}

static int out_of_memory(struct aico_error *err)
{
    return aico_error_set(err, AICO_ENOMEM, "out of memory");
}

/* Of a document of ours a wrong size is one of the ways not to be one. */
static int as_format(int r, int code, struct aico_error *err)
{
    if (r != AICO_ESIZE)
        return r;
    if (err)
        err->code = code;
    return code;
}

int home_owner(const char *home, uint8_t ret_owner[SIGN_PUBLIC_SIZE], struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_path(home, "owner.public");
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct publicdoc doc;
    int r;

    if (!path)
        return out_of_memory(err);
    r = as_format(file_read(path, FILE_TRUSTED, KEYDOC_SIZE_MAX, &text, err), AICO_EPUBLICFILE,
                  err);
    if (r == AICO_ENOTFOUND)
        return aico_error_set(err, r, "%s: no home of a bus, run: aico-keytool init --home '%s'",
                              home, home);
    if (r < 0)
        return r;
    r = publicdoc_parse(buffer_view(&text), &doc, err);
    if (r < 0)
        return aico_error_prefix(err, r, "%s", path);
    if (strcmp(doc.name, OWNER_NAME) != 0)
        return aico_error_set(err, AICO_EPUBLICFILE, "%s: names %s, not " OWNER_NAME, path,
                              doc.name);
    memcpy(ret_owner, doc.public, SIGN_PUBLIC_SIZE);
    return 0;
}

int keyfile_read(const char *path, struct buffer *ret_text, struct aico_error *err)
{
    return as_format(file_read(path, FILE_SECRET, KEYDOC_SIZE_MAX, ret_text, err), AICO_EKEYFILE,
                     err);
}

int keyfile_load(const char *path, struct bytes passphrase, struct identity **ret_identity,
                 struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    int r = keyfile_read(path, &text, err);

    if (r < 0)
        return r;
    r = keydoc_open(buffer_view(&text), passphrase, true, ret_identity, err);
    return r < 0 ? aico_error_prefix(err, r, "%s", path) : 0;
}

/* A line from a descriptor, byte by byte: what follows is somebody else's. */
static int read_line(int fd, struct buffer *ret_text, struct aico_error *err)
{
    for (size_t size = 0; size < PASSPHRASE_MAX; size++) {
        uint8_t *to = buffer_reserve(ret_text, 1);
        ssize_t got = -1;

        if (!to)
            return out_of_memory(err);
        do
            got = read(fd, to, 1);
        while (got < 0 && errno == EINTR);
        if (got < 0)
            return aico_error_set(err, AICO_EINVAL, "descriptor %d: %s", fd, strerror(errno));
        if (got == 0 || *to == '\n')
            return 0;
        ret_text->size++;
    }
    return aico_error_set(err, AICO_EINVAL, "descriptor %d: longer than %d bytes", fd,
                          PASSPHRASE_MAX);
}

static bool is_credential(const char *file)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");

    return folder && *folder && strncmp(file, folder, strlen(folder)) == 0 &&
           file[strlen(folder)] == '/';
}

int passphrase_read(const char *file, struct buffer *ret_text, struct aico_error *err)
{
    static const char descriptor[] = "/dev/fd/";
    size_t begin = ret_text->size;
    const uint8_t *end;
    char *rest;
    long fd;
    int r;

    if (strncmp(file, descriptor, strlen(descriptor)) == 0) {
        fd = strtol(file + strlen(descriptor), &rest, 10);
        if (file[strlen(descriptor)] < '0' || *rest || fd > 1000000)
            return aico_error_set(err, AICO_EINVAL, "%s: no descriptor", file);
        return read_line((int)fd, ret_text, err);
    }
    r = file_read(file, is_credential(file) ? FILE_CREDENTIAL : FILE_SECRET, PASSPHRASE_MAX,
                  ret_text, err);
    if (r < 0)
        return r;
    end =
        ret_text->size > begin ? memchr(ret_text->at + begin, '\n', ret_text->size - begin) : NULL;
    if (end)
        ret_text->size = (size_t)(end - ret_text->at);
    return 0;
}

int keyfile_open(const char *path, const char *passphrase_file, struct identity **ret_identity,
                 struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer passphrase = {0};
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    CLEANUP(free_memory)
    char *credential = folder ? home_path(folder, "aico.passphrase") : NULL;
    int r = 0;

    if (passphrase_file)
        r = passphrase_read(passphrase_file, &passphrase, err);
    else if (credential && access(credential, F_OK) == 0)
        r = passphrase_read(credential, &passphrase, err);
    if (r < 0)
        return aico_error_prefix(err, r, "passphrase");
    return keyfile_load(path, buffer_view(&passphrase), ret_identity, err);
}

int keyfile_create(const char *path, const char *name, const struct secret *seed,
                   struct bytes passphrase, struct aico_error *err)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    int r = identity_new(name, seed, 0, &identity);

    if (r < 0)
        return aico_error_set(err, r, "%s: %s", name, aico_error_string(r));
    return keyfile_save(path, identity, moment_now().real_ms, passphrase, false, err);
}

int keyfile_save(const char *path, const struct identity *identity, int64_t created_ms,
                 struct bytes passphrase, bool replace, struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    uint8_t salt[16], nonce[AEAD_NONCE_SIZE];
    int r;

    random_system.bytes(random_system.context, salt, sizeof(salt));
    random_system.bytes(random_system.context, nonce, sizeof(nonce));
    r = keydoc_write(identity->name, &identity->seed, identity->transport_number, created_ms,
                     passphrase, KEYDOC_OPS_DEFAULT, KEYDOC_MEM_DEFAULT, salt, nonce, &text);
    if (r < 0)
        return aico_error_set(err, r, "%s: %s", path, aico_error_string(r));
    return file_write(path, 0600, replace, buffer_view(&text), err);
}

int psk_load(const char *path, struct secret *ret_psk, struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    struct bytes hex;
    int r = file_read(path, FILE_SECRET, 128, &text, err);

    if (r < 0)
        return r;
    hex = buffer_view(&text);
    if (hex.size > 0 && hex.at[hex.size - 1] == '\n')
        hex.size--;
    if (!hex_parse(hex, ret_psk->at, SECRET_SIZE))
        return aico_error_set(err, AICO_EKEYFILE, "%s: 64 lower-case hex digits are expected",
                              path);
    return 0;
}

/* One registry file, verified. */
static int load_one(const char *path, const uint8_t owner[SIGN_PUBLIC_SIZE], struct bytes namespace,
                    struct registry **ret_registry, struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r = as_format(file_read(path, FILE_TRUSTED, REGISTRY_SIZE_MAX, &text, err), AICO_EREGISTRY,
                      err);

    if (r < 0)
        return r;
    r = as_format(registry_parse(buffer_view(&text), owner, namespace, ret_registry, err),
                  AICO_EREGISTRY, err);
    return r < 0 ? aico_error_prefix(err, r, "%s", path) : 0;
}

/* --- succession ----------------------------------------------------------------------------- */

#define SUCCESSIONS_MAX 1000
#define OWNER_HEX_SIZE (2 * SIGN_PUBLIC_SIZE + 1)

void registry_chain_deinit(struct registry_chain *chain)
{
    for (size_t i = 0; i < chain->count; i++)
        registry_unref(&chain->items[i]);
    free(chain->items);
    chain->items = NULL;
    chain->count = 0;
}

/* The document by which @owner named its successor, as @name kept it. 0, AICO_ENOTFOUND. */
static int load_link(const char *home, const char *name, const uint8_t *owner,
                     struct bytes namespace, struct registry **ret_registry, struct aico_error *err)
{
    char hex[OWNER_HEX_SIZE];
    CLEANUP(free_memory)
    char *path = NULL;
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    int r;

    hex_write(bytes_of(owner, SIGN_PUBLIC_SIZE), hex);
    path = home_path(home, "state/%s/succession/%s", name, hex);
    if (!path)
        return out_of_memory(err);
    r = load_one(path, owner, namespace, &registry, err);
    if (r < 0)
        return r;
    if (!registry_owner_next(registry))
        return aico_error_set(err, AICO_EREGISTRY, "%s: names no successor", path);
    *ret_registry = STEAL(registry);
    return 0;
}

static int chain_append(struct registry_chain *chain, struct registry **registry,
                        struct aico_error *err)
{
    struct registry **items;

    if (chain->count >= SUCCESSIONS_MAX ||
        (chain->count > 0 &&
         registry_version(*registry) <= registry_version(chain->items[chain->count - 1])))
        return aico_error_set(err, AICO_EREGISTRY,
                              "the owners' successions kept in state/ are not in order");
    items = realloc(chain->items, (chain->count + 1) * sizeof(struct registry *));
    if (!items)
        return out_of_memory(err);
    chain->items = items;
    chain->items[chain->count++] = STEAL(*registry);
    return 0;
}

static int walk_chain(const char *home, const char *name, const uint8_t *pinned,
                      struct bytes namespace, struct registry_chain *ret_chain,
                      struct aico_error *err)
{
    CLEANUP(registry_chain_deinit)
    struct registry_chain chain = {0};
    const uint8_t *owner = pinned;

    for (;;) {
        CLEANUP(registry_unref)
        struct registry *registry = NULL;
        int r = load_link(home, name, owner, namespace, &registry, err);

        if (r == AICO_ENOTFOUND)
            r = load_link(home, OWNER_NAME, owner, namespace, &registry, err);
        if (r == AICO_ENOTFOUND)
            break;
        if (r == 0)
            r = chain_append(&chain, &registry, err);
        if (r < 0)
            return r;
        owner = registry_owner_next(chain.items[chain.count - 1]);
    }
    *ret_chain = chain;
    memset(&chain, 0, sizeof(chain));
    return 0;
}

int registry_chain_load(const char *home, const char *name, struct bytes namespace,
                        struct registry_chain *ret_chain, struct aico_error *err)
{
    uint8_t pinned[SIGN_PUBLIC_SIZE];
    int r = home_owner(home, pinned, err);

    return r < 0 ? r : walk_chain(home, name, pinned, namespace, ret_chain, err);
}

/* --- registry ------------------------------------------------------------------------------- */

/* Verified by one of the owners from the one of @chain's link @first on: whose word was taken
 * before has none any more. @first 0 is the pinned one. */
static int load_of_chain(const char *path, const uint8_t *pinned,
                         const struct registry_chain *chain, size_t first, struct bytes namespace,
                         struct registry **ret_registry, struct aico_error *err)
{
    int r = AICO_EREGISTRYSIGNATURE;

    for (size_t i = chain->count + 1; i > first && r == AICO_EREGISTRYSIGNATURE; i--)
        r = load_one(path, i == 1 ? pinned : registry_owner_next(chain->items[i - 2]), namespace,
                     ret_registry, err);
    return r;
}

/* The place of @registry's owner in the succession. */
static size_t owner_index(const struct registry_chain *chain, const struct registry *registry)
{
    for (size_t i = chain->count; i > 0; i--)
        if (memcmp(registry_owner_next(chain->items[i - 1]), registry_owner(registry),
                   SIGN_PUBLIC_SIZE) == 0)
            return i;
    return 0;
}

/* What @name accepted last; *ret_registry is NULL if there is nothing yet. */
static int load_kept(const char *home, const char *name, const uint8_t *pinned,
                     const struct registry_chain *chain, struct bytes namespace,
                     struct registry **ret_registry, struct aico_error *err)
{
    char hex[OWNER_HEX_SIZE];
    CLEANUP(free_memory)
    char *path = home_path(home, "state/%s/registry", name);
    int r;

    if (!path)
        return out_of_memory(err);
    r = load_of_chain(path, pinned, chain, 0, namespace, ret_registry, err);
    if (r != AICO_ENOTFOUND)
        return r;
    /* Its own links were accepted as well. */
    for (size_t i = chain->count; i > 0; i--) {
        CLEANUP(free_memory)
        char *own = NULL;

        hex_write(bytes_of(registry_owner(chain->items[i - 1]), SIGN_PUBLIC_SIZE), hex);
        own = home_path(home, "state/%s/succession/%s", name, hex);
        if (!own)
            return out_of_memory(err);
        if (access(own, F_OK) < 0)
            continue;
        *ret_registry = registry_ref(chain->items[i - 1]);
        break;
    }
    return 0;
}

static int no_signature(const char *home, const char *path, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *kept = home_path(home, "state/" OWNER_NAME "/registry");

    if (kept && access(kept, F_OK) == 0)
        return aico_error_set(err, AICO_EREGISTRYSIGNATURE,
                              "%s: changed since the owner signed it, or of another owner; put the "
                              "last good one back: cp '%s' '%s'",
                              path, kept, path);
    return aico_error_set(err, AICO_EREGISTRYSIGNATURE,
                          "%s: not signed by the owner of this home (owner.public); get it from "
                          "the owner again",
                          path);
}

int registry_load(const char *home, const char *name, struct bytes namespace,
                  struct registry **ret_registry, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *current = NULL, *kept = NULL;
    CLEANUP(registry_chain_deinit)
    struct registry_chain chain = {0};
    CLEANUP(free_memory)
    char *path = home_path(home, "registry");
    uint8_t pinned[SIGN_PUBLIC_SIZE];
    int r = home_owner(home, pinned, err);

    if (r < 0)
        return r;
    if (!path)
        return out_of_memory(err);
    r = walk_chain(home, name ? name : OWNER_NAME, pinned, namespace, &chain, err);
    if (r == 0 && name)
        r = load_kept(home, name, pinned, &chain, namespace, &kept, err);
    if (r < 0)
        return r;
    r = load_of_chain(path, pinned, &chain, kept ? owner_index(&chain, kept) : 0, namespace,
                      &current, err);
    if (r == AICO_ENOTFOUND && kept)
        r = AICO_EREGISTRYOLD; /* a home of another machine may have only what it accepted */
    else if (r == 0 && kept)
        r = registry_may_replace(kept, 0, NULL, current);
    if (r == AICO_EREGISTRYOLD || r == AICO_EEXISTS) {
        *ret_registry = STEAL(kept);
        return 0;
    }
    if (r == AICO_EEQUIVOCATION)
        return aico_error_set(err, r,
                              "%s: version %" PRIu64 " differs from the one %s accepted; compare: "
                              "aico-keytool inspect '%s', aico-keytool inspect '%s/state/%s/"
                              "registry'",
                              path, registry_version(current), name, path, home, name);
    if (r == AICO_EREGISTRYSIGNATURE)
        return no_signature(home, path, err);
    if (r < 0)
        return r;
    *ret_registry = STEAL(current);
    return 0;
}

int registry_load_file(const char *home, const char *name, struct bytes namespace, const char *path,
                       struct registry **ret_registry, struct aico_error *err)
{
    CLEANUP(registry_chain_deinit)
    struct registry_chain chain = {0};
    uint8_t pinned[SIGN_PUBLIC_SIZE];
    int r = home_owner(home, pinned, err);

    if (r == 0)
        r = walk_chain(home, name, pinned, namespace, &chain, err);
    return r < 0 ? r : load_of_chain(path, pinned, &chain, 0, namespace, ret_registry, err);
}

int state_folder_make(const char *home, const char *name, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *state = home_path(home, "state");
    CLEANUP(free_memory)
    char *own = home_path(home, "state/%s", name);
    int r;

    if (!state || !own)
        return out_of_memory(err);
    r = folder_make(state, err);
    return r < 0 ? r : folder_make(own, err);
}

static int keep(const char *home, const char *name, const char *file, struct bytes content,
                struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_path(home, "state/%s/%s", name, file);
    int r = state_folder_make(home, name, err);

    if (r < 0)
        return r;
    return path ? file_write(path, 0600, true, content, err) : out_of_memory(err);
}

/* Writes state/NAME/FILE unless it says so already: a start costs no write. */
static int keep_document(const char *home, const char *name, const char *file,
                         const struct registry *registry, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_path(home, "state/%s/%s", name, file);
    CLEANUP(buffer_deinit)
    struct buffer kept = {0};

    if (!path)
        return out_of_memory(err);
    if (file_read(path, FILE_TRUSTED, REGISTRY_SIZE_MAX, &kept, NULL) == 0 &&
        bytes_equal(buffer_view(&kept), registry_document(registry)))
        return 0;
    return keep(home, name, file, registry_document(registry), err);
}

static int keep_link(const char *home, const char *name, const struct registry *registry,
                     struct aico_error *err)
{
    static const char prefix[] = "succession/";
    char file[sizeof(prefix) + OWNER_HEX_SIZE];
    CLEANUP(free_memory)
    char *folder = home_path(home, "state/%s/succession", name);
    int r = state_folder_make(home, name, err);

    if (r < 0)
        return r;
    if (!folder)
        return out_of_memory(err);
    r = folder_make(folder, err);
    if (r < 0)
        return r;
    memcpy(file, prefix, sizeof(prefix));
    hex_write(bytes_of(registry_owner(registry), SIGN_PUBLIC_SIZE), file + strlen(prefix));
    return keep_document(home, name, file, registry, err);
}

int registry_keep(const char *home, const char *name, const struct registry *registry,
                  struct aico_error *err)
{
    int r = 0;

    /* First: what the successor signs is never there without the word of its predecessor. */
    if (registry_owner_next(registry))
        r = keep_link(home, name, registry, err);
    return r < 0 ? r : keep_document(home, name, "registry", registry, err);
}

int generation_load(const char *home, const char *name, uint64_t *ret_generation,
                    struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_path(home, "state/%s/generation", name);
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint64_t value = 0;
    int r;

    if (!path)
        return out_of_memory(err);
    r = file_read(path, FILE_TRUSTED, 32, &text, err);
    if (r == AICO_ENOTFOUND) {
        *ret_generation = 0;
        return 0;
    }
    if (r < 0)
        return r;
    for (size_t i = 0; i < text.size; i++) {
        if (text.at[i] == '\n' && i + 1 == text.size && i > 0)
            break;
        if (text.at[i] < '0' || text.at[i] > '9' || value > (UINT64_MAX - 9) / 10)
            return aico_error_set(err, AICO_ESTATE, "%s: not a number", path);
        value = value * 10 + (uint64_t)(text.at[i] - '0');
    }
    *ret_generation = value;
    return 0;
}

int generation_keep(const char *home, const char *name, uint64_t generation, struct aico_error *err)
{
    char text[32];
    int size = snprintf(text, sizeof(text), "%" PRIu64 "\n", generation);

    return keep(home, name, "generation", bytes_of(text, (size_t)size), err);
}
