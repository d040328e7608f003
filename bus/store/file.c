/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files, atomically. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "store/file.h"

static int system_error(struct aico_error *err, const char *path)
{
    int code = errno == ENOENT   ? AICO_ENOTFOUND
               : errno == EEXIST ? AICO_EEXISTS
               : errno == ENOMEM ? AICO_ENOMEM
                                 : AICO_ESYSTEM;

    return aico_error_set(err, code, "%s: %s", path, strerror(errno));
}

static int check_access(const struct stat *st, const char *path, enum file_access access,
                        struct aico_error *err)
{
    static const mode_t refusals[] = {
        [FILE_SECRET] = S_IRWXG | S_IRWXO,
        [FILE_CREDENTIAL] = S_IWGRP | S_IRWXO,
        [FILE_TRUSTED] = S_IWGRP | S_IWOTH,
    };
    mode_t refused = refusals[access];
    bool is_ours = st->st_uid == geteuid() || (access != FILE_SECRET && st->st_uid == 0);

    if (!S_ISREG(st->st_mode))
        return aico_error_set(err, AICO_EINVAL, "%s: not a regular file", path);
    if (!is_ours)
        return aico_error_set(err, AICO_EOWNER, "%s: belongs to user %u, run: chown %u '%s'", path,
                              (unsigned)st->st_uid, (unsigned)geteuid(), path);
    if (st->st_mode & refused)
        return aico_error_set(err, AICO_EMODE, "%s: open to others (mode %03o), run: chmod %s '%s'",
                              path, (unsigned)(st->st_mode & 0777),
                              access == FILE_TRUSTED ? "go-w" : "600", path);
    return 0;
}

int file_read(const char *path, enum file_access access, size_t size_max,
              struct buffer *ret_content, struct aico_error *err)
{
    CLEANUP(fd_close)
    int fd = -1;
    struct stat st;
    int r;

    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | (access != FILE_TRUSTED ? O_NOFOLLOW : 0));
    if (fd < 0 && errno == ELOOP)
        return aico_error_set(err, AICO_ESYMLINK,
                              "%s: is a symbolic link, put the file itself there", path);
    if (fd < 0 || fstat(fd, &st) < 0)
        return system_error(err, path);
    r = check_access(&st, path, access, err);
    if (r < 0)
        return r;
    if (st.st_size < 0 || (uint64_t)st.st_size > size_max)
        return aico_error_set(err, AICO_ESIZE, "%s: larger than %zu bytes", path, size_max);

    for (size_t total = 0;;) {
        uint8_t *to = buffer_reserve(ret_content, 4096);
        ssize_t got;

        if (!to)
            return aico_error_set(err, AICO_ENOMEM, "%s: out of memory", path);
        got = read(fd, to, 4096);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return system_error(err, path);
        if (got == 0)
            return 0;
        total += (size_t)got;
        if (total > size_max)
            return aico_error_set(err, AICO_ESIZE, "%s: larger than %zu bytes", path, size_max);
        ret_content->size += (size_t)got;
    }
}

static int write_all(int fd, struct bytes content)
{
    while (content.size > 0) {
        ssize_t done = write(fd, content.at, content.size);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        content = bytes_of(content.at + done, content.size - (size_t)done);
    }
    return fsync(fd);
}

static int sync_folder_of(const char *path)
{
    CLEANUP(free_memory)
    char *folder = strdup(path);
    CLEANUP(fd_close)
    int fd = -1;
    char *slash;

    if (!folder)
        return -1;
    slash = strrchr(folder, '/');
    if (slash)
        slash[slash == folder] = '\0';
    fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? -1 : fsync(fd);
}

int file_write(const char *path, mode_t mode, bool replace, struct bytes content,
               struct aico_error *err)
{
    CLEANUP(free_memory)
    char *temporary = NULL;
    CLEANUP(fd_close)
    int fd = -1;
    int r;

    if (asprintf(&temporary, "%s.XXXXXX", path) < 0) {
        temporary = NULL;
        return aico_error_set(err, AICO_ENOMEM, "%s: out of memory", path);
    }
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return system_error(err, path);
    if (fchmod(fd, mode) < 0 || write_all(fd, content) < 0) {
        r = system_error(err, path);
        (void)unlink(temporary);
        return r;
    }
    if (replace ? rename(temporary, path) < 0 : link(temporary, path) < 0) {
        r = errno == EEXIST
                ? aico_error_set(err, AICO_EEXISTS, "%s: exists already, not overwritten", path)
                : system_error(err, path);
        (void)unlink(temporary);
        return r;
    }
    if (!replace)
        (void)unlink(temporary);
    return sync_folder_of(path) < 0 ? system_error(err, path) : 0;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;

    return lstat(a, &x) == 0 && lstat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

int file_switch(const char *path, const char *next, const char *aside, struct aico_error *err)
{
    if (aside && link(path, aside) < 0) {
        /* The same file: a switch before this one was interrupted here. */
        if (errno == EEXIST && !is_same_file(path, aside))
            return aico_error_set(err, AICO_EEXISTS, "%s: exists already, nothing was changed",
                                  aside);
        if (errno != EEXIST)
            return system_error(err, path);
    }
    if (rename(next, path) < 0)
        return system_error(err, next);
    return sync_folder_of(path) < 0 ? system_error(err, path) : 0;
}

int file_remove(const char *path, struct aico_error *err)
{
    if (unlink(path) < 0)
        return errno == ENOENT ? 0 : system_error(err, path);
    return sync_folder_of(path) < 0 ? system_error(err, path) : 0;
}

int folder_make(const char *path, struct aico_error *err)
{
    struct stat st;

    if (mkdir(path, 0700) == 0)
        return sync_folder_of(path) < 0 ? system_error(err, path) : 0;
    if (errno != EEXIST || lstat(path, &st) < 0)
        return system_error(err, path);
    if (!S_ISDIR(st.st_mode))
        return aico_error_set(err, AICO_EEXISTS, "%s: is not a folder", path);
    if (st.st_uid != geteuid())
        return aico_error_set(err, AICO_EOWNER, "%s: belongs to user %u", path,
                              (unsigned)st.st_uid);
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return aico_error_set(err, AICO_EMODE,
                              "%s: open to others (mode %03o), run: chmod 700 '%s'", path,
                              (unsigned)(st.st_mode & 0777), path);
    return 0;
}

bool file_changed(const char *path, struct file_stamp *stamp)
{
    struct file_stamp seen;
    struct stat st;

    memset(&seen, 0, sizeof(seen));
    if (stat(path, &st) == 0) {
        seen.device = st.st_dev;
        seen.inode = st.st_ino;
        seen.size = st.st_size;
        seen.changed_ns = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
        seen.modified_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    }
    if (memcmp(&seen, stamp, sizeof(seen)) == 0)
        return false;
    *stamp = seen;
    return true;
}

int file_lock(const char *path, int64_t timeout_ms, int *ret_fd, struct aico_error *err)
{
    int64_t deadline = moment_now().boot_ms + timeout_ms;
    CLEANUP(fd_close)
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return system_error(err, path);
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        const struct timespec pause = {0, 10000000};

        if (errno != EWOULDBLOCK && errno != EINTR)
            return system_error(err, path);
        if (moment_now().boot_ms >= deadline)
            return aico_error_set(err, AICO_ETIMEOUT, "%s: held by another process", path);
        (void)nanosleep(&pause, NULL);
    }
    *ret_fd = steal_fd(&fd);
    return 0;
}
