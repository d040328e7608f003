/* SPDX-License-Identifier: Apache-2.0 */
/* Passphrases from a file, a descriptor or a person, and the key files they open. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "common/prompt.h"
#include "keytool/keytool.h"
#include "trust/keydoc.h"

#define TRIES 3

void passphrase_wipe(struct passphrase *passphrase)
{
    buffer_wipe_deinit(&passphrase->text);
}

/* --- a person ------------------------------------------------------------------------------- */

bool passphrase_may_ask(void)
{
    return prompt_may_ask();
}

static int ask(const char *prompt, struct passphrase *ret, struct aico_error *err)
{
    char text[PROMPT_MAX + 1];
    int r = prompt_hidden(prompt, text, err);

    ret->text.size = 0;
    if (r == 0 && buffer_append_text(&ret->text, text) < 0)
        r = out_of_memory(err);
    explicit_bzero(text, sizeof(text));
    return r;
}

int passphrase_ask(const char *whose, struct passphrase *ret, struct aico_error *err)
{
    char prompt[160];

    (void)snprintf(prompt, sizeof(prompt), "Enter passphrase of %s", whose);
    return ask(prompt, ret, err);
}

static int ask_twice(const char *whose, bool may_be_empty, struct passphrase *ret,
                     struct aico_error *err)
{
    CLEANUP(passphrase_wipe)
    struct passphrase again = {0};
    char prompt[160];
    int r;

    (void)snprintf(prompt, sizeof(prompt), "Enter passphrase for %s%s", whose,
                   may_be_empty ? " (empty for no passphrase)" : "");
    r = ask(prompt, ret, err);
    if (r < 0 || (ret->text.size == 0 && may_be_empty))
        return r;
    if (ret->text.size == 0)
        return aico_error_set(err, AICO_EINVAL, "an empty passphrase protects nothing");
    r = ask("Enter same passphrase again", &again, err);
    if (r < 0)
        return r;
    if (!bytes_equal(passphrase_view(ret), passphrase_view(&again)))
        return aico_error_set(err, AICO_EINVAL, "the two passphrases differ, nothing was changed");
    return 0;
}

/* --- sources -------------------------------------------------------------------------------- */

int passphrase_given(const struct passphrase_source *source, const char *whose,
                     struct passphrase *ret, struct aico_error *err)
{
    char descriptor[32];
    int r;

    ret->text.size = 0;
    (void)snprintf(descriptor, sizeof(descriptor), "/dev/fd/%d", source->fd);
    if (!source->file && source->fd < 0)
        return 0;
    r = passphrase_read(source->file ? source->file : descriptor, &ret->text, err);
    if (r < 0)
        return r;
    if (ret->text.size == 0)
        return aico_error_set(err, AICO_EINVAL, "the passphrase given for %s is empty", whose);
    return 1;
}

int passphrase_choose(const struct passphrase_source *source, const char *whose, bool may_be_empty,
                      struct passphrase *ret, struct aico_error *err)
{
    int r = passphrase_given(source, whose, ret, err);

    if (r != 0)
        return MIN(r, 0);
    return passphrase_may_ask() ? ask_twice(whose, may_be_empty, ret, err) : 0;
}

/* --- key files ------------------------------------------------------------------------------ */

void open_key_close(struct open_key *key)
{
    free(key->path);
    identity_free(&key->identity);
    passphrase_wipe(&key->passphrase);
    *key = (struct open_key){0};
}

static int open_by_asking(const char *path, struct bytes text, struct open_key *key,
                          struct aico_error *err)
{
    int r = AICO_EPASSPHRASE;

    for (int i = 0; i < TRIES && r == AICO_EPASSPHRASE; i++) {
        if (i > 0)
            (void)fprintf(stderr, "that was not it\n");
        r = passphrase_ask(path, &key->passphrase, err);
        if (r == 0)
            r = keydoc_open(text, passphrase_view(&key->passphrase), true, &key->identity, err);
    }
    return r;
}

int key_open_text(const char *path, struct bytes text, const struct passphrase_source *source,
                  struct open_key *ret, struct aico_error *err)
{
    CLEANUP(open_key_close)
    struct open_key key = {.path = strdup(path)};
    struct keydoc doc;
    int r, given = 0;

    if (!key.path)
        return out_of_memory(err);
    r = keydoc_inspect(text, &doc, err);
    if (r == 0 && doc.is_protected)
        r = given = passphrase_given(source, path, &key.passphrase, err);
    if (r < 0)
        return aico_error_prefix(err, r, "%s", path);
    if (doc.is_protected && !given && passphrase_may_ask())
        r = open_by_asking(path, text, &key, err);
    else
        r = keydoc_open(text, passphrase_view(&key.passphrase), true, &key.identity, err);
    if (r < 0)
        return aico_error_prefix(err, r, "%s", path);
    key.created_ms = doc.created_ms;
    *ret = key;
    key = (struct open_key){0};
    return 0;
}

int key_open(const char *path, const char *name, const struct passphrase_source *source,
             struct open_key *ret, struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer text = {0};
    int r = keyfile_read(path, &text, err);

    if (r == AICO_ENOTFOUND)
        return aico_error_set(err, AICO_EUNKNOWN,
                              "%s: no such key file; only where it lies can this be done", path);
    if (r == 0)
        r = key_open_text(path, buffer_view(&text), source, ret, err);
    if (r == 0 && name && strcmp(ret->identity->name, name) != 0) {
        r = aico_error_set(err, AICO_EKEYFILEMISMATCH, "%s: the key of %s, not of %s", path,
                           ret->identity->name, name);
        open_key_close(ret);
    }
    return r;
}
