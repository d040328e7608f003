/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that a program writes for its user: the former one, or the new one, never a part. It is
 * written beside its place and put there at the end. One thread.
 */
#ifndef COMMON_WHOLE_FILE_H
#define COMMON_WHOLE_FILE_H

#include <limits.h>
#include <stdio.h>

#include <aico/error.h>

struct whole_file {
    FILE *to;         /* what is written goes here; NULL: not open */
    const char *path; /* borrowed */
    char beside[PATH_MAX];
};

/*
 * Makes @path.XXXXXX, with the mode of the file that is there now, else as the umask says.
 *
 * @path  borrowed until it is closed
 *
 * Returns 0, AICO_EINVAL (what is there is no regular file: nothing is followed, nothing written
 * to) or AICO_ESYSTEM (with the path and the cause).
 */
AICO_MUST_USE int whole_file_open(const char *path, struct whole_file *ret_file,
                                  struct aico_error *err);
/* Puts it in its place, on the disk. 0 or AICO_ESYSTEM, and then @path is as it was. Nothing to do
 * where it is not open. */
AICO_MUST_USE int whole_file_close(struct whole_file *file, struct aico_error *err);
/* Takes it away; @path is as it was. Nothing to do where it is not open. */
void whole_file_discard(struct whole_file *file);

#endif
