/* SPDX-License-Identifier: Apache-2.0 */
/* Written beside its place, synced, and renamed. */
#include "common/whole_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int system_error(struct aico_error *err, const char *path)
{
    return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
}

/* The umask cannot be asked without being set; a file that another thread makes meanwhile is
 * closed to others. */
static mode_t new_mode(void)
{
    mode_t mask = umask(077);

    (void)umask(mask);
    return 0666 & ~mask;
}

int whole_file_open(const char *path, struct whole_file *ret_file, struct aico_error *err)
{
    struct whole_file file = {.path = path};
    struct stat st;
    bool is_there = lstat(path, &st) == 0;
    int fd;

    if (is_there && !S_ISREG(st.st_mode))
        return aico_error_set(err, AICO_EINVAL, "%s: is there and is no regular file", path);
    if (snprintf(file.beside, sizeof(file.beside), "%s.XXXXXX", path) >= (int)sizeof(file.beside))
        return aico_error_set(err, AICO_EINVAL, "%.60s...: the path is too long", path);
    fd = mkostemp(file.beside, O_CLOEXEC);
    if (fd < 0)
        return system_error(err, path);
    file.to = fchmod(fd, is_there ? st.st_mode & 0777 : new_mode()) == 0 ? fdopen(fd, "w") : NULL;
    if (!file.to) {
        int r = system_error(err, path);

        (void)close(fd);
        (void)unlink(file.beside);
        return r;
    }
    *ret_file = file;
    return 0;
}

/* The name is on the disk, too. */
static bool sync_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int fd;
    bool is_done;

    (void)snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) + 1 : 1,
                   slash ? path : ".");
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    is_done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return is_done;
}

int whole_file_close(struct whole_file *file, struct aico_error *err)
{
    FILE *to = file->to;
    int r = 0;

    if (!to)
        return 0;
    file->to = NULL;
    if (ferror(to) || fflush(to) != 0 || fsync(fileno(to)) < 0)
        r = system_error(err, file->path);
    if (fclose(to) != 0 && r == 0)
        r = system_error(err, file->path);
    if (r == 0 && rename(file->beside, file->path) < 0)
        r = system_error(err, file->path);
    if (r < 0) {
        (void)unlink(file->beside);
        return r;
    }
    return sync_folder_of(file->path) ? 0 : system_error(err, file->path);
}

void whole_file_discard(struct whole_file *file)
{
    if (!file->to)
        return;
    (void)fclose(file->to);
    (void)unlink(file->beside);
    file->to = NULL;
}
