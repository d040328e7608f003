/* SPDX-License-Identifier: Apache-2.0 */
/* What the verbs of aico-keytool share: the command line and one change of the registry. */
#ifndef KEYTOOL_KEYTOOL_H
#define KEYTOOL_KEYTOOL_H

#include "base/buffer.h"
#include "store/home.h"
#include "trust/document.h"

/* The command line, taken apart. */
struct keytool {
    char *home;
    const char *home_option;
    const char *passphrase_file; /* of the identity at hand */
    const char *owner_passphrase_file;
    int passphrase_fd; /* -1: none */
    bool json, quiet, starter;
    const char *namespace;
    const char *reason;
    struct buffer roles; /* comma list */
    /* rule set */
    const char *publish, *subscribe, *seal, *authenticity, *padding, *before;
    const char *freshness;
};

extern const unsigned char default_security_yaml[];
extern const size_t default_security_yaml_size;

/* Secret text, wiped at the end of its scope. */
struct passphrase {
    struct buffer text; /* empty: none */
};
void passphrase_wipe(struct passphrase *passphrase);
/* From --passphrase-fd, @file, or (@ask on a terminal) the person; @twice to catch slips. */
int passphrase_get(const struct keytool *k, const char *file, const char *whose, bool ask,
                   bool twice, struct passphrase *ret, struct aico_error *err);

/* A change: the lock is held from begin to the end of the scope. */
struct change {
    int lock; /* -1 when not begun */
    struct registry *current;
    struct registry_draft *draft;
    struct identity *owner;
};
void change_end(struct change *change);
int change_begin(struct keytool *k, struct change *change, struct aico_error *err);
/* Signs, reads back as every component will, and writes HOME/registry. */
int change_commit(struct keytool *k, struct change *change, uint64_t *ret_version,
                  struct aico_error *err);
/* The current registry, for verbs that only look. */
int registry_current(struct keytool *k, struct registry **ret, struct aico_error *err);

/* One line of success or advice on stderr, unless -q. */
void say(const struct keytool *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* @text as a JSON string. */
void put_json_text(const char *text, size_t size);
const char *state_word(enum component_state state);

/* The verbs; arguments as CLI.md gives them. Each returns 0 or a code with its cause in @err. */
int verb_init(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_new(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_list(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_show(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_fingerprint(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_public(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_add(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_revoke(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_rule(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_may(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_inspect(struct keytool *k, char **arguments, int count, struct aico_error *err);

#endif
