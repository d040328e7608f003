/* SPDX-License-Identifier: Apache-2.0 */
/* sign and verify: detached signatures of files (trust/sigdoc.h). */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/kdf.h"
#include "keytool/keytool.h"
#include "trust/keydoc.h"
#include "trust/sigdoc.h"

#define STDIN_NAME "-"
#define PIECE_SIZE 65536

int hash_file(const char *file, uint64_t *ret_size, uint8_t ret_hash[FILE_HASH_SIZE],
              struct aico_error *err)
{
    bool is_stdin = strcmp(file, STDIN_NAME) == 0;
    CLEANUP(fd_close)
    int fd = is_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3) : open(file, O_RDONLY | O_CLOEXEC);
    CLEANUP(free_memory)
    uint8_t *piece = malloc(PIECE_SIZE);
    struct hasher hasher;
    uint64_t total = 0;

    if (!piece)
        return out_of_memory(err);
    if (fd < 0)
        return aico_error_set(err, errno == ENOENT ? AICO_ENOTFOUND : AICO_ESYSTEM, "%s: %s", file,
                              strerror(errno));
    hasher_begin(&hasher, FILE_HASH_SIZE);
    for (;;) {
        ssize_t got = read(fd, piece, PIECE_SIZE);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return aico_error_set(err, AICO_ESYSTEM, "%s: %s", file, strerror(errno));
        if (got == 0)
            break;
        hasher_feed(&hasher, bytes_of(piece, (size_t)got));
        total += (uint64_t)got;
    }
    hasher_end(&hasher, ret_hash, FILE_HASH_SIZE);
    *ret_size = total;
    return 0;
}

/* FILE.sig, or what --signature and --out say; NULL without memory. */
static char *signature_path(const char *given, const char *file)
{
    char *path = NULL;

    if (given)
        return strdup(given);
    return asprintf(&path, "%s.sig", file) < 0 ? NULL : path;
}

static int put_signature(struct keytool *k, const char *file, struct bytes text,
                         struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = NULL;
    int r;

    if (!k->out && strcmp(file, STDIN_NAME) == 0) {
        (void)fwrite(text.at, 1, text.size, stdout);
        return 0;
    }
    path = signature_path(k->out, file);
    if (!path)
        return out_of_memory(err);
    r = file_write(path, 0644, false, text, err);
    if (r == 0)
        say(k, "wrote %s; check it: aico-keytool verify '%s' --by %s", path, file, k->as);
    return r;
}

int verb_sign(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *file = arguments[0];
    bool is_owner = k->as && strcmp(k->as, OWNER_NAME) == 0;
    CLEANUP(free_memory)
    char *path = NULL;
    CLEANUP(open_key_close)
    struct open_key key = {0};
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t hash[FILE_HASH_SIZE] = {0};
    uint64_t size = 0;
    int r;

    if (!k->as)
        return aico_error_set(err, AICO_EINVAL, "say whose key signs: --as NAME");
    if (!component_name_is_valid(bytes_text(k->as)))
        return aico_error_set(err, AICO_EINVAL, "'%s' is not a component name", k->as);
    path = is_owner ? owner_key_path(k) : home_key_path(k->home, k->as);
    if (!path)
        return out_of_memory(err);
    r = registry_current(k, &registry, err); /* whose namespace this is for */
    if (r == 0)
        r = hash_file(file, &size, hash, err);
    if (r == 0)
        r = key_open(path, k->as,
                     is_owner && (k->owner.file || k->owner.fd >= 0) ? &k->owner : &k->key, &key,
                     err);
    if (r < 0)
        return r;
    r = sigdoc_write(key.identity, registry_namespace(registry), moment_now().real_ms, size, hash,
                     &text);
    if (r < 0)
        return aico_error_set(err, r, "%s: %s", file, aico_error_string(r));
    return put_signature(k, file, buffer_view(&text), err);
}

/* --- verify --------------------------------------------------------------------------------- */

int check_component(const struct registry *registry, const char *by, const uint8_t *public,
                    struct aico_error *err)
{
    const struct component *c = registry_find_identity(registry, public);
    char fingerprint[FINGERPRINT_TEXT_SIZE];

    if (!registry_find_name(registry, bytes_text(by)))
        return unknown_name(by, err);
    fingerprint_write(public, fingerprint);
    if (!c || strcmp(c->name, by) != 0)
        return aico_error_set(err, AICO_EUNKNOWN, "signed by %s, which is %s%s and no key of %s",
                              fingerprint, c ? "the key of " : "unknown here", c ? c->name : "",
                              by);
    if (!component_is_active(registry, c, moment_now().real_ms))
        return aico_error_set(
            err, AICO_EREVOKED,
            "signed by %s, a key of %s that is %s: whoever has it can have signed "
            "this today",
            fingerprint, by, state_word(c));
    return 0;
}

static int check_exact(const uint8_t *expected, const char *by, const uint8_t *public,
                       struct aico_error *err)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE];

    if (memcmp(expected, public, SIGN_PUBLIC_SIZE) == 0)
        return 0;
    fingerprint_write(public, fingerprint);
    return aico_error_set(err, AICO_EUNKNOWN, "signed by %s, which is not the key of %s",
                          fingerprint, by);
}

/* --by a component, the owner or a public identity file. */
static int check_signer(struct keytool *k, const struct sigdoc *doc, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct publicdoc by;
    int r;

    if (strchr(k->by, '/') || access(k->by, F_OK) == 0) {
        r = file_read(k->by, FILE_TRUSTED, KEYDOC_SIZE_MAX, &text, err);
        if (r < 0)
            return r;
        r = publicdoc_parse(buffer_view(&text), &by, err);
        if (r < 0)
            return aico_error_prefix(err, r, "%s", k->by);
        return check_exact(by.public, by.name, doc->public, err);
    }
    r = registry_current(k, &registry, err);
    if (r < 0)
        return r;
    if (!bytes_equal_text(registry_namespace(registry), doc->namespace))
        return aico_error_set(err, AICO_ENAMESPACE, "signed for the namespace %s, ours is %.*s",
                              doc->namespace, (int)registry_namespace(registry).size,
                              (const char *)registry_namespace(registry).at);
    if (strcmp(k->by, OWNER_NAME) == 0)
        return check_exact(registry_owner(registry), k->by, doc->public, err);
    return check_component(registry, k->by, doc->public, err);
}

static int check_content(const char *file, const struct sigdoc *doc, struct aico_error *err)
{
    uint8_t hash[FILE_HASH_SIZE] = {0};
    uint64_t size = 0;
    int r = hash_file(file, &size, hash, err);

    if (r < 0)
        return r;
    if (size != doc->size || memcmp(hash, doc->hash, sizeof(hash)) != 0)
        return aico_error_set(err, AICO_EOPEN,
                              "%s: not the file that was signed (it has %" PRIu64
                              " bytes, the signed one %" PRIu64 ")",
                              file, size, doc->size);
    return 0;
}

static void put_verified(const struct keytool *k, const char *file, const struct sigdoc *doc)
{
    char fingerprint[FINGERPRINT_TEXT_SIZE], time[WHEN_SIZE];

    fingerprint_write(doc->public, fingerprint);
    if (!k->json) {
        (void)printf("good: %s was signed by %s, %s, who says it was at %s\n", file, doc->name,
                     fingerprint, when(doc->created_ms, time));
        return;
    }
    (void)printf("{\"file\":");
    put_json_text(file, strlen(file));
    (void)printf(",\"name\":\"%s\",\"fingerprint\":\"%s\",\"created_ms\":%" PRId64 "}\n", doc->name,
                 fingerprint, doc->created_ms);
}

int verb_verify(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *file = arguments[0];
    CLEANUP(free_memory)
    char *path = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct sigdoc doc;
    int r;

    if (!k->by)
        return aico_error_set(err, AICO_EINVAL,
                              "say who must have signed: --by NAME or a public identity file");
    if (!k->signature && strcmp(file, STDIN_NAME) == 0)
        return aico_error_set(err, AICO_EINVAL, "say where the signature is: --signature FILE");
    path = signature_path(k->signature, file);
    if (!path)
        return out_of_memory(err);
    r = file_read(path, FILE_TRUSTED, SIGDOC_SIZE_MAX, &text, err);
    if (r == AICO_ESIZE)
        return aico_error_set(err, AICO_ESIGNATUREFILE, "%s: not a signature file of ours", path);
    if (r < 0)
        return r;
    r = sigdoc_parse(buffer_view(&text), &doc, err);
    if (r < 0)
        return aico_error_prefix(err, r, "%s", path);
    r = check_signer(k, &doc, err);
    if (r == 0)
        r = check_content(file, &doc, err);
    if (r == 0)
        put_verified(k, file, &doc);
    return r;
}
