/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and replacing files so that a crash, a stranger or a second process cannot hurt. Any
 * thread. Errors name the path and, where there is one, the command that repairs. */
#ifndef STORE_FILE_H
#define STORE_FILE_H

#include <sys/types.h>

#include "base/buffer.h"
#include <aico/error.h>

enum file_access {
    FILE_SECRET,     /* mode 0600 or stricter, ours, no symbolic link */
    FILE_CREDENTIAL, /* of systemd: ours or root's, closed to others; its group bits are an ACL */
    FILE_TRUSTED,    /* ours or root's, not writable by others */
};

/* Appends the whole regular file to @ret_content (wipe it when @access is FILE_SECRET). 0,
 * AICO_ENOTFOUND, AICO_EMODE, AICO_EOWNER, AICO_ESYMLINK, AICO_ESIZE (over @size_max),
 * AICO_ESYSTEM, AICO_ENOMEM. */
AICO_MUST_USE int file_read(const char *path, enum file_access access, size_t size_max,
                            struct buffer *ret_content, struct aico_error *err);
/*
 * Writes @content to a temporary file beside @path, fsync, rename, fsync of the folder: there is
 * the old file or the new one, never a part. @replace false: AICO_EEXISTS when @path exists, even
 * if it appeared meanwhile.
 */
AICO_MUST_USE int file_write(const char *path, mode_t mode, bool replace, struct bytes content,
                             struct aico_error *err);
/*
 * Puts the file @next in the place of @path, in one step. The former one stays as @aside (NULL: it
 * goes): AICO_EEXISTS when another file lies there, and then nothing has changed. All three in one
 * folder.
 */
AICO_MUST_USE int file_switch(const char *path, const char *next, const char *aside,
                              struct aico_error *err);
/* Removes @path and makes that last. 0, also when there is none. */
AICO_MUST_USE int file_remove(const char *path, struct aico_error *err);
/* mkdir with mode 0700; an existing folder must be ours and closed to others. */
AICO_MUST_USE int folder_make(const char *path, struct aico_error *err);

/* What tells a changed file from the one seen last. Zero: none seen. */
struct file_stamp {
    uint64_t device, inode;
    int64_t size, changed_ns, modified_ns;
};
/* Whether @path differs from @stamp, which then becomes its stamp. A missing file is a stamp of
 * zeros. */
bool file_changed(const char *path, struct file_stamp *stamp);

/* An exclusive lock on @path (created when missing), held until the descriptor is closed. Waits at
 * most @timeout_ms: AICO_ETIMEOUT. */
AICO_MUST_USE int file_lock(const char *path, int64_t timeout_ms, int *ret_fd,
                            struct aico_error *err);

#endif
