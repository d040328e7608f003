/* SPDX-License-Identifier: Apache-2.0 */
/* Drops what root may do. */
#include "common/privilege.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

/* Root again? Then nothing was dropped. */
static bool may_go_back(uid_t uid)
{
    uid_t real, effective, saved;

    if (uid != 0 && (setuid(0) == 0 || seteuid(0) == 0))
        return true;
    return getresuid(&real, &effective, &saved) < 0 || real != uid || effective != uid ||
           saved != uid;
}

/* From root to all three ids at once; the capabilities go with the last of them. */
static int change(const struct passwd *entry, struct aico_error *err)
{
    if (initgroups(entry->pw_name, entry->pw_gid) < 0 ||
        setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) < 0 ||
        setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "becoming %s: %m", entry->pw_name);
    if (may_go_back(entry->pw_uid))
        return aico_error_set(err, AICO_ESYSTEM, "becoming %s: it could become root again",
                              entry->pw_name);
    return 0;
}

int privilege_drop(const char *user, struct aico_error *err)
{
    const struct passwd *entry;
    int r = 0;

    errno = 0;
    entry = getpwnam(user);
    if (!entry)
        return errno ? aico_error_set(err, AICO_ESYSTEM, "user %s: %m", user)
                     : aico_error_set(err, AICO_ENOTFOUND, "there is no user %s", user);
    if (geteuid() == 0)
        r = change(entry, err);
    else if (geteuid() != entry->pw_uid)
        r = aico_error_set(err, AICO_EDENIED, "only root can become %s", user);
    if (r < 0)
        return r;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "no_new_privs: %m");
    if (setenv("HOME", entry->pw_dir, 1) < 0)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    return 0;
}
