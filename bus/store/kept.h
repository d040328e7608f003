/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state/NAME/sessions.db: what sessions must find again after a restart (session/keep.h), each
 * value sealed with the storage key and bound to its row:
 *
 *   value   nonce (24) || SEAL(KDF(storage, "kept seal", ""), nonce, row key, bytes)
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

struct kept; /* opaque; kept_new() .. kept_free() */

/* Opens nothing yet: the first load() does. @identity: borrowed. NULL without memory. */
struct kept *kept_new(const char *home, const char *name, const struct identity *identity);
void kept_free(struct kept **kept);
/*
 * load(): AICO_EKEPTLOCKED (another process), AICO_EKEPTDAMAGED (with the repair), AICO_EFULL,
 * AICO_ESYSTEM. Rows of a former key of this component are erased: nobody can open them.
 * commit(): AICO_EFULL, AICO_EKEPTDAMAGED, AICO_ESYSTEM.
 */
struct keeper kept_keeper(struct kept *kept);

#endif
