/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the verbs of aico-keytool share: the command line, passphrases, key files and one change of
 * the registry.
 *
 *   change.c      the lock, the change, and what an interrupted one left behind
 *   passphrase.c  from a file, a descriptor or a person
 *   keys.c        passwd, export, import, derive
 *   rotate.c      rotate
 *   init.c, members.c, rules.c, sign.c, audit.c, backup.c, inspect.c: the verbs of these names
 */
#ifndef KEYTOOL_KEYTOOL_H
#define KEYTOOL_KEYTOOL_H

#include "base/buffer.h"
#include "store/home.h"
#include "trust/document.h"

#define DEFAULT_ROLE "member"

/* Where a passphrase comes from when nobody is asked. */
struct passphrase_source {
    const char *file;
    int fd; /* -1: none */
};

/* The command line, taken apart. */
struct keytool {
    char *home;
    const char *home_option;
    struct passphrase_source key;    /* of the identity at hand */
    struct passphrase_source owner;  /* of the owner's key */
    struct passphrase_source next;   /* the one a key gets: passwd, export, import */
    struct passphrase_source master; /* derive */
    const char *owner_key;           /* the owner's key file, where it is not the home's */
    bool json, quiet, starter;
    bool unprotected; /* passwd, import */
    bool prepare, switch_over, transport;
    const char *namespace;
    const char *reason;
    const char *peer, *overlap, *as, *by, *out, *signature, *content, *witness, *registry;
    struct buffer roles; /* comma list */
    /* rule set */
    const char *publish, *subscribe, *seal, *authenticity, *padding, *before;
    const char *freshness, *store;
    bool history;
};

extern const unsigned char default_security_yaml[];
extern const size_t default_security_yaml_size;

/* --- passphrases ---------------------------------------------------------------------------- */

/* Secret text, wiped at the end of its scope. */
struct passphrase {
    struct buffer text; /* empty: none */
};
void passphrase_wipe(struct passphrase *passphrase);
static inline struct bytes passphrase_view(const struct passphrase *passphrase)
{
    return buffer_view(&passphrase->text);
}
/* Whether there is somebody to ask. */
bool passphrase_may_ask(void);
/* What @source says. 1; 0 when it says nothing; a negative code, an empty one is AICO_EINVAL. */
int passphrase_given(const struct passphrase_source *source, const char *whose,
                     struct passphrase *ret, struct aico_error *err);
/* Asks for the one of @whose. */
int passphrase_ask(const char *whose, struct passphrase *ret, struct aico_error *err);
/* One to protect a key with: what @source says, else the person, twice; empty when there is
 * neither, or the person wants none. */
int passphrase_choose(const struct passphrase_source *source, const char *whose, bool may_be_empty,
                      struct passphrase *ret, struct aico_error *err);

/* --- key files ------------------------------------------------------------------------------ */

/* A key file that was opened, with what it takes to write it again. */
struct open_key {
    char *path;
    struct identity *identity;
    struct passphrase passphrase; /* empty: unprotected */
    int64_t created_ms;
};
void open_key_close(struct open_key *key);
/* Opens @path, which must hold the key of @name (NULL: of anybody). Its passphrase comes from
 * @source, or from the person, who has three tries. Besides the errors of keydoc_open():
 * AICO_EUNKNOWN (no such file), AICO_EKEYFILEMISMATCH (of another name). */
AICO_MUST_USE int key_open(const char *path, const char *name,
                           const struct passphrase_source *source, struct open_key *ret,
                           struct aico_error *err);
/* The same for the text of a key file that was read already; @path is what to call it. */
AICO_MUST_USE int key_open_text(const char *path, struct bytes text,
                                const struct passphrase_source *source, struct open_key *ret,
                                struct aico_error *err);
/* The owner's key, by its name or --owner-key; the caller frees it. */
char *owner_key_path(const struct keytool *k);

/* --- one change ----------------------------------------------------------------------------- */

/* The lock is held from begin to the end of the scope. */
struct change {
    int lock; /* -1 when not begun */
    struct registry *current;
    struct registry_draft *draft;
    struct open_key owner;
    uint64_t version; /* of the registry once it is committed */
};
void change_end(struct change *change);
/* Waits for the lock and finishes what an interrupted keytool began. */
AICO_MUST_USE int home_lock(struct keytool *k, int *ret_lock, struct aico_error *err);
AICO_MUST_USE int change_begin(struct keytool *k, struct change *change, struct aico_error *err);
/* Signs, reads back as every component will, and writes HOME/registry. */
AICO_MUST_USE int change_commit(struct keytool *k, struct change *change, struct aico_error *err);
/* The same, signed by the successor of the owner. */
AICO_MUST_USE int change_commit_as(struct keytool *k, struct change *change,
                                   const struct identity *owner, struct aico_error *err);
/* The current registry, for verbs that only look. */
AICO_MUST_USE int registry_current(struct keytool *k, struct registry **ret,
                                   struct aico_error *err);

/* --- why somebody was revoked (reason.c) ----------------------------------------------------- */

/* Whether it can be noted: a line of UTF-8; AICO_EINVAL. */
AICO_MUST_USE int reason_check(const char *reason, struct aico_error *err);
/* Notes why every key of @name that is active goes with @change. */
AICO_MUST_USE int reason_note(const struct keytool *k, const struct change *change,
                              const char *name, struct aico_error *err);
/* *@ret_reason: to be freed, NULL when nothing is noted of @c. */
AICO_MUST_USE int reason_find(const struct keytool *k, const struct component *c, char **ret_reason,
                              struct aico_error *err);

/*
 * A key file that comes with a registry version lies beside its place as PATH.next-VERSION before
 * that version is committed: whoever has the lock next knows by the version alone whether to put it
 * in place or to throw it away.
 *
 * key_stage() writes it, key_place() puts it there. The former key, if there is one, stays aside:
 * as PATH.until-TIME-KEY while the registry lets it live on, as PATH.former-KEY if it does not; it
 * goes when it is the same identity.
 */
AICO_MUST_USE int key_stage(const char *path, const struct change *change,
                            const struct identity *identity, int64_t created_ms,
                            struct bytes passphrase, struct aico_error *err);
void key_unstage(const char *path, const struct change *change);
AICO_MUST_USE int key_place(const char *path, uint64_t version, const struct registry *registry,
                            struct aico_error *err);

/* The same for the owner's key: @next takes the place of @path. */
AICO_MUST_USE int owner_key_place(const char *path, const char *next, struct aico_error *err);

/* Registers @identity under its name, which nobody has, and puts its key file into the home. */
AICO_MUST_USE int register_identity(struct keytool *k, struct change *change,
                                    const struct identity *identity, struct bytes passphrase,
                                    struct aico_error *err);

/* --- sign.c ------------------------------------------------------------------------------------
 */

/* BLAKE2b, 64 bytes, of @file, piece by piece: it may be larger than memory. "-": stdin. */
AICO_MUST_USE int hash_file(const char *file, uint64_t *ret_size, uint8_t ret_hash[64],
                            struct aico_error *err);
/* Whether @public is a key of @by that may still sign: 0, AICO_EUNKNOWN, AICO_EREVOKED. */
AICO_MUST_USE int check_component(const struct registry *registry, const char *by,
                                  const uint8_t *public, struct aico_error *err);

/* --- words ---------------------------------------------------------------------------------- */

/* One line of success or advice on stderr, unless -q. */
void say(const struct keytool *k, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* @text as a JSON string. */
void put_json_text(const char *text, size_t size);
/* "active", "replaced" (valid until its overlap ends), "retired" or "revoked". */
const char *state_word(const struct component *component);
/* "2026-11-20T20:00:00Z" */
#define WHEN_SIZE 32
const char *when(int64_t ms, char to[WHEN_SIZE]);
int out_of_memory(struct aico_error *err);
int unknown_name(const char *name, struct aico_error *err);
int refuse_name(const char *name, struct aico_error *err);

/* The verbs; arguments as CLI.md gives them. Each returns 0 or a code with its cause in @err. */
int verb_init(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_new(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_list(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_show(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_fingerprint(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_public(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_add(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_revoke(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_renew(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_rotate(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_rule_set(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_rule_list(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_rule_remove(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_may(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_passwd(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_export(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_import(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_derive(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_sign(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_audit_verify(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_backup(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_restore(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_verify(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_receipt(struct keytool *k, char **arguments, int count, struct aico_error *err);
int verb_inspect(struct keytool *k, char **arguments, int count, struct aico_error *err);

#endif
