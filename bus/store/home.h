/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The folder of one installation and what lies where in it:
 *
 *   owner.key owner.public broker.key identities/NAME.key registry security.yaml
 *   state/ (state/NAME/registry, state/NAME/generation, state/NAME/succession/) run/ log/
 *
 * owner.public is the pinned owner key: a public identity file of the name `owner`. Any thread.
 */
#ifndef STORE_HOME_H
#define STORE_HOME_H

#include "crypto/identity.h"
#include "store/file.h"
#include "trust/registry.h"

#define OWNER_NAME "owner"
#define BROKER_NAME "broker"

/* @explicit_path, else $AICO_HOME, else ~/.aico; absolute. The caller frees it. NULL with @err
 * (AICO_EINVAL: no HOME; AICO_ENOMEM). */
char *home_find(const char *explicit_path, struct aico_error *err);
/* "HOME/" and a printf name; the caller frees it, NULL without memory. */
char *home_path(const char *home, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The key file of @name: owner.key, broker.key or identities/NAME.key; the caller frees it. */
char *home_key_path(const char *home, const char *name);
/* The pinned owner key. 0, AICO_ENOTFOUND (no home there: the repair is in @err), AICO_EPUBLICFILE,
 * AICO_ESIGNATURE, AICO_EMODE... */
AICO_MUST_USE int home_owner(const char *home, uint8_t ret_owner[SIGN_PUBLIC_SIZE],
                             struct aico_error *err);

/* Appends the text of a key file (mode, owner and link checked) to @ret_text: wipe it. Errors of
 * file_read(), but AICO_EKEYFILE for one that is too large. */
AICO_MUST_USE int keyfile_read(const char *path, struct buffer *ret_text, struct aico_error *err);
/* Opens a key file (mode, owner and link checked). Errors of file_read() and keydoc_open(). */
AICO_MUST_USE int keyfile_load(const char *path, struct bytes passphrase,
                               struct identity **ret_identity, struct aico_error *err);
/*
 * Appends the first line of @file to @ret_text (wipe it): a file of mode 0600, "/dev/fd/N" for a
 * descriptor that stays open, or a credential of systemd. Errors of file_read(), AICO_EINVAL (no
 * such descriptor, too long).
 */
AICO_MUST_USE int passphrase_read(const char *file, struct buffer *ret_text,
                                  struct aico_error *err);
/* The same with what passphrase_read() says of @passphrase_file. NULL: unprotected, unless systemd
 * gave a credential of the name aico.passphrase. */
AICO_MUST_USE int keyfile_open(const char *path, const char *passphrase_file,
                               struct identity **ret_identity, struct aico_error *err);
/* A new key file with mode 0600; never overwrites (AICO_EEXISTS). @passphrase empty: unprotected.
 */
AICO_MUST_USE int keyfile_create(const char *path, const char *name, const struct secret *seed,
                                 struct bytes passphrase, struct aico_error *err);
/* The key file of @identity under another @passphrase (empty: unprotected), mode 0600, in one step.
 * @replace false: AICO_EEXISTS when there is one. */
AICO_MUST_USE int keyfile_save(const char *path, const struct identity *identity,
                               int64_t created_ms, struct bytes passphrase, bool replace,
                               struct aico_error *err);
/* 64 hex digits and an optional newline, mode 0600: a pre-shared key. */
AICO_MUST_USE int psk_load(const char *path, struct secret *ret_psk, struct aico_error *err);

/*
 * The documents by which one owner after the other named its successor, from the pinned owner on:
 * of each the newest that was kept. Whoever was away walks them in this order.
 */
struct registry_chain {
    struct registry **items; /* versions rise */
    size_t count;
};
void registry_chain_deinit(struct registry_chain *chain);
/* What @name kept (state/NAME/succession/OWNER), or else the owner's own tool in this home: who was
 * off while the owner changed finds the way there. 0 (also when there are none), AICO_EREGISTRY...
 */
AICO_MUST_USE int registry_chain_load(const char *home, const char *name, struct bytes namespace,
                                      struct registry_chain *ret_chain, struct aico_error *err);

/*
 * The registry a component starts with: the newer of HOME/registry and the copy it accepted last
 * (state/NAME/registry; @name NULL: only the home's). An older home file than the accepted copy is
 * ignored in favour of the copy; one of the same version with other content is AICO_EEQUIVOCATION.
 * The owner is the pinned one until a document of the successor it named was accepted, then that
 * one and no other. The keytool is @name OWNER_NAME: it never signs on from less than it signed.
 * 0 and a reference, AICO_ENOTFOUND, AICO_EREGISTRYSIGNATURE, AICO_EREGISTRY...
 */
AICO_MUST_USE int registry_load(const char *home, const char *name, struct bytes namespace,
                                struct registry **ret_registry, struct aico_error *err);
/* The registry at @path alone, signed by one of the owners of this home, whatever was accepted
 * since. Errors as above, AICO_ENOTFOUND. */
AICO_MUST_USE int registry_load_file(const char *home, const char *name, struct bytes namespace,
                                     const char *path, struct registry **ret_registry,
                                     struct aico_error *err);
/* Keeps @registry as what @name accepted last, and for good if it names a successor of its owner;
 * writes nothing when it is kept already. */
AICO_MUST_USE int registry_keep(const char *home, const char *name, const struct registry *registry,
                                struct aico_error *err);

/* The folder state/NAME, made when missing. */
AICO_MUST_USE int state_folder_make(const char *home, const char *name, struct aico_error *err);

/* A publisher's last generation (state/NAME/generation), 0 when there is none. */
AICO_MUST_USE int generation_load(const char *home, const char *name, uint64_t *ret_generation,
                                  struct aico_error *err);
AICO_MUST_USE int generation_keep(const char *home, const char *name, uint64_t generation,
                                  struct aico_error *err);

#endif
