/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state/NAME/sessions.db: what sessions must find again after a restart (session/keep.h), and
 * state/NAME/outbox.db: messages that were accepted and not yet answered (runtime/client_outbox.c),
 * and state/NAME/replay.db: what durable readers have settled (client/seen.c).
 * Each value is sealed with the storage key and bound to its row:
 *
 *   value   nonce (24) || SEAL(KDF(storage, label, ""), nonce, row key, bytes)
 *   label   sessions.db: "kept seal"; outbox.db: "outbox seal"; replay.db: "replay seal"
 *
 * SQLite with a rollback journal that is emptied at every commit, synchronous FULL, secure_delete:
 * a commit is on the disk when it returns, and what it replaced is in no file of ours any more (a
 * write-ahead log would keep former keys). A lock keeps a second process out. A home that was put
 * back to an older state is noticed by the peers (docs/decisions/0052). One owner.
 */
#ifndef STORE_KEPT_H
#define STORE_KEPT_H

#include "base/keeper.h"
#include "crypto/identity.h"
#include "store/former.h"

struct kept; /* opaque; kept_new() .. kept_free() */

/* Which file it is. */
struct kept_kind {
    const char *file;  /* without .db */
    const char *label; /* of the key that seals its rows */
    const char *loss;  /* what moving a damaged one away costs */
    bool is_refused;   /* rows of a key that is none of ours are a mistake; false: erased */
};
extern const struct kept_kind kept_sessions, kept_outbox, kept_replay;

/* Opens nothing yet: the first load() does. @identity, @former (NULL: none): borrowed. NULL without
 * memory. */
struct kept *kept_new(const char *home, const char *name, const struct kept_kind *kind,
                      const struct identity *identity, const struct former_keys *former);
void kept_free(struct kept **kept);
/*
 * load(): AICO_EKEPTLOCKED (another process), AICO_EKEPTDAMAGED (with the repair), AICO_EFULL,
 * AICO_ENOMEM, AICO_ESYSTEM, AICO_EOPEN (is_refused, and there are such rows).
 * commit(): AICO_EFULL, AICO_ENOMEM, AICO_EKEPTDAMAGED, AICO_ESYSTEM.
 */
struct keeper kept_keeper(struct kept *kept);

#endif
