/* SPDX-License-Identifier: Apache-2.0 */
/* One change of the registry under a lock, and passphrases. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "keytool/keytool.h"

#define PASSPHRASE_MAX 1024
#define LOCK_TIMEOUT_MS 10000

void passphrase_wipe(struct passphrase *passphrase)
{
    buffer_wipe_deinit(&passphrase->text);
}

static void cut_line(struct buffer *text)
{
    const uint8_t *end = text->size > 0 ? memchr(text->at, '\n', text->size) : NULL;

    if (end)
        text->size = (size_t)(end - text->at);
}

/* Reads one line from @fd. */
static int read_line(int fd, struct buffer *ret_text, struct aico_error *err)
{
    while (ret_text->size < PASSPHRASE_MAX) {
        uint8_t *to = buffer_reserve(ret_text, 1);
        ssize_t got = to ? read(fd, to, 1) : -1;

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return aico_error_set(err, AICO_ESYSTEM, "passphrase: %s", strerror(errno));
        if (got == 0 || *to == '\n')
            return 0;
        ret_text->size++;
    }
    return aico_error_set(err, AICO_EINVAL, "passphrase: longer than %d bytes", PASSPHRASE_MAX);
}

/* Asks on the terminal without echo. */
static int ask_person(const char *prompt, struct buffer *ret_text, struct aico_error *err)
{
    CLEANUP(fd_close)
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    struct termios old, quiet;
    int r;

    if (fd < 0 || tcgetattr(fd, &old) < 0)
        return 0; /* no terminal: no passphrase */
    quiet = old;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    (void)tcsetattr(fd, TCSAFLUSH, &quiet);
    (void)dprintf(fd, "%s: ", prompt);
    r = read_line(fd, ret_text, err);
    (void)tcsetattr(fd, TCSAFLUSH, &old);
    (void)dprintf(fd, "\n");
    return r;
}

static int ask(const char *whose, bool twice, struct passphrase *ret, struct aico_error *err)
{
    CLEANUP(passphrase_wipe)
    struct passphrase again = {0};
    char prompt[128];
    int r;

    (void)snprintf(prompt, sizeof(prompt), "passphrase of %s%s", whose,
                   twice ? " (empty for none)" : "");
    r = ask_person(prompt, &ret->text, err);
    if (r < 0 || !twice || ret->text.size == 0)
        return r;
    r = ask_person("the same again", &again.text, err);
    if (r < 0)
        return r;
    if (!bytes_equal(buffer_view(&ret->text), buffer_view(&again.text)))
        return aico_error_set(err, AICO_EINVAL, "the two passphrases differ");
    return 0;
}

int passphrase_get(const struct keytool *k, const char *file, const char *whose, bool may_ask,
                   bool twice, struct passphrase *ret, struct aico_error *err)
{
    int r = 0;

    if (file) {
        r = file_read(file, FILE_SECRET, PASSPHRASE_MAX, &ret->text, err);
        cut_line(&ret->text);
    } else if (k->passphrase_fd >= 0 && strcmp(whose, OWNER_NAME) != 0) {
        r = read_line(k->passphrase_fd, &ret->text, err);
    } else if (may_ask && isatty(STDIN_FILENO)) {
        return ask(whose, twice, ret, err);
    } else {
        return 0;
    }
    if (r == 0 && ret->text.size == 0)
        return aico_error_set(err, AICO_EINVAL, "the passphrase given for %s is empty", whose);
    return r;
}

/* The namespace the home's registry claims; the signature over it is checked right after. */
static int claimed_namespace(struct keytool *k, struct buffer *ret_namespace,
                             struct aico_error *err)
{
    static const char word[] = "aico-registry 1\nnamespace ";
    CLEANUP(free_memory)
    char *path = home_path(k->home, "registry");
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r;

    if (!path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = file_read(path, FILE_TRUSTED, REGISTRY_SIZE_MAX, &text, err);
    if (r == AICO_ENOTFOUND)
        return aico_error_set(err, r, "%s: no registry there, run: aico-keytool init --home '%s'",
                              path, k->home);
    if (r < 0)
        return r;
    if (text.size < sizeof(word) || memcmp(text.at, word, sizeof(word) - 1) != 0)
        return aico_error_set(err, AICO_EREGISTRY, "%s: not a registry", path);
    r = buffer_append(ret_namespace,
                      bytes_of(text.at + sizeof(word) - 1, text.size - sizeof(word) + 1));
    cut_line(ret_namespace);
    return r;
}

int registry_current(struct keytool *k, struct registry **ret, struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer namespace = {0};
    int r = claimed_namespace(k, &namespace, err);

    return r < 0 ? r : registry_load(k->home, NULL, buffer_view(&namespace), ret, err);
}

void change_end(struct change *change)
{
    registry_unref(&change->current);
    registry_draft_free(&change->draft);
    identity_free(&change->owner);
    fd_close(&change->lock);
}

int change_begin(struct keytool *k, struct change *change, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *lock = home_path(k->home, "state/registry.lock");
    CLEANUP(free_memory)
    char *key = home_key_path(k->home, OWNER_NAME);
    CLEANUP(passphrase_wipe)
    struct passphrase passphrase = {0};
    int r;

    if (!lock || !key)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = registry_current(k, &change->current, err); /* tells a missing home first */
    if (r < 0)
        return r;
    r = file_lock(lock, LOCK_TIMEOUT_MS, &change->lock, err);
    if (r < 0)
        return r;
    registry_unref(&change->current); /* somebody may have written before we had the lock */
    r = registry_current(k, &change->current, err);
    if (r == 0)
        r = passphrase_get(k, k->owner_passphrase_file, OWNER_NAME, false, false, &passphrase, err);
    if (r == 0)
        r = keyfile_load(key, buffer_view(&passphrase.text), &change->owner, err);
    if (r == AICO_EPASSPHRASE && !k->owner_passphrase_file && isatty(STDIN_FILENO)) {
        r = passphrase_get(k, NULL, OWNER_NAME, true, false, &passphrase, err);
        if (r == 0)
            r = keyfile_load(key, buffer_view(&passphrase.text), &change->owner, err);
    }
    if (r < 0)
        return r;
    if (memcmp(change->owner->public, registry_owner(change->current), SIGN_PUBLIC_SIZE) != 0)
        return aico_error_set(err, AICO_EKEYFILEMISMATCH, "%s: is not the owner of this registry",
                              key);
    change->draft = registry_draft_new(change->current, bytes_of(NULL, 0));
    return change->draft ? 0 : aico_error_set(err, AICO_ENOMEM, "out of memory");
}

int change_commit(struct keytool *k, struct change *change, uint64_t *ret_version,
                  struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_path(k->home, "registry");
    CLEANUP(registry_unref)
    struct registry *next = NULL;
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    int r;

    if (!path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = registry_draft_sign(change->draft, &change->owner->seed, moment_now().real_ms, &document);
    if (r < 0)
        return aico_error_set(err, r, "%s: %s", path, aico_error_string(r));
    r = registry_parse(buffer_view(&document), change->owner->public,
                       registry_namespace(change->current), &next, err);
    if (r < 0)
        return r;
    r = file_write(path, 0644, true, buffer_view(&document), err);
    if (r == 0)
        *ret_version = registry_version(next);
    return r;
}
