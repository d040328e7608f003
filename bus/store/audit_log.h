/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's audit log on disk: HOME/log/audit, and HOME/log/audit.1, .2 ... of earlier files
 * (trust/audit.h has their form). One writer at a time: the holder of run/broker.lock. Not
 * thread-safe.
 */
#ifndef STORE_AUDIT_LOG_H
#define STORE_AUDIT_LOG_H

#include "trust/audit.h"

#define AUDIT_FILE_SIZE (16u * 1024 * 1024) /* after which another file is begun */
#define AUDIT_FILE_NAME "log/audit"

struct audit_log;

/*
 * Opens or begins the log of @home; @broker is borrowed until it is closed. A line that a crash
 * tore is cut off. A file that does not verify is put aside as log/audit.damaged-MS and another is
 * begun, whose first entry says so: it never keeps a broker from starting.
 *
 * 0, AICO_ESYSTEM, AICO_EMODE, AICO_EOWNER, AICO_ESYMLINK, AICO_ENOMEM.
 */
AICO_MUST_USE int audit_log_open(const char *home, struct bytes namespace,
                                 const struct identity *broker, int64_t now_ms,
                                 struct audit_log **ret_log, struct aico_error *err);
/* Notes one entry, in memory until it is saved. 0, AICO_EINVAL, AICO_ENOMEM. */
AICO_MUST_USE int audit_log_add(struct audit_log *log, const struct audit_entry *entry);
/* Bytes that wait to be saved. */
size_t audit_log_unsaved(const struct audit_log *log);
/*
 * Signs and writes what was added, and makes it last. On failure what was added is kept for the
 * next time, and nothing of it is in the file (unless only the next file could not be begun).
 * @ret_head: appends the line of the head that was signed, without its end; nothing when there was
 * nothing to save. May be NULL. 0, AICO_ESYSTEM, AICO_ENOMEM.
 */
AICO_MUST_USE int audit_log_save(struct audit_log *log, int64_t now_ms, struct buffer *ret_head,
                                 struct aico_error *err);
/* Forgets what was not saved. NULL inside is allowed; set to NULL. */
void audit_log_close(struct audit_log **log);

/* Reading, by anybody. The files of @home, oldest first; 0, AICO_ENOTFOUND, AICO_ENOMEM. */
struct audit_files {
    char **paths;
    size_t count;
};
AICO_MUST_USE int audit_files_list(const char *home, struct audit_files *ret_files,
                                   struct aico_error *err);
void audit_files_deinit(struct audit_files *files);

#endif
