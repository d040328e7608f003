/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A copy of a home, taken while everything runs, and its way back (docs/decisions/0067).
 *
 *   DIR/files/...   what the home holds, under the same names
 *   DIR/manifest    written last:
 *                     aico-backup 1
 *                     created <ms since 1970>
 *                     file <size> <mode, octal> <64 hex: H(TAG("backup file") || content)> <path>
 *                     without <path>
 *                     end
 *
 * Files are copied one by one; each is replaced as a whole by whoever writes it. Databases are
 * copied by SQLite's backup, a state of one moment. `without`: state/NAME/sessions.db, outbox.db,
 * replay.db. What they hold must not come back (ratchet keys, prekeys), or only its owner may read
 * it while it runs; components begin anew. Locks and sockets (run/) are no part of a home's
 * content. Any thread.
 */
#ifndef STORE_BACKUP_H
#define STORE_BACKUP_H

#include <aico/error.h>

#include <stddef.h>
#include <stdint.h>

struct backup_report {
    size_t files, databases, left_out;
    uint64_t bytes;
    int64_t created_ms;
};

/*
 * Makes @dir, which must not exist, mode 0700. On failure what was written stays, without a
 * manifest. AICO_EEXISTS, AICO_ENOTFOUND (no home), AICO_EBACKUP (a name that does not fit, a
 * database that another process holds or that is damaged), errors of file_read() and file_write().
 */
AICO_MUST_USE int backup_make(const char *home, const char *dir, int64_t now_ms,
                              struct backup_report *ret_report, struct aico_error *err);
/*
 * Checks every file of @dir against the manifest, then puts them into @home, which must not exist
 * or be empty: all of them or, whatever fails, none. Meanwhile they are in @home.restoring; what is
 * there of a restore that was killed is deleted. AICO_EBACKUP (damaged, not complete), AICO_EEXISTS
 * (there is something in @home).
 */
AICO_MUST_USE int backup_restore(const char *dir, const char *home,
                                 struct backup_report *ret_report, struct aico_error *err);

#endif
