/* SPDX-License-Identifier: Apache-2.0 */
/* A system that refuses. */
#include "refuse.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

static size_t left = SIZE_MAX; /* calls that succeed before one fails; SIZE_MAX: none fails */
static bool counts;
static const char *refused; /* the call that failed in this run */

static bool fails(const char *call)
{
    if (!counts || left == SIZE_MAX || refused)
        return false;
    if (left > 0) {
        left--;
        return false;
    }
    refused = call;
    errno = EIO;
    return true;
}

/* Declares NAME twice and says what the wrapped one does. */
#define WRAP(type, name, parameters, arguments)                                                    \
    type __real_##name parameters;                                                                 \
    type __wrap_##name parameters;                                                                 \
    type __wrap_##name parameters                                                                  \
    {                                                                                              \
        return fails(#name) ? (type)-1 : __real_##name arguments;                                  \
    }

WRAP(int, fstat, (int fd, struct stat *st), (fd, st))
WRAP(int, lstat, (const char *path, struct stat *st), (path, st))
WRAP(int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(int, fsync, (int fd), (fd))
WRAP(int, rename, (const char *from, const char *to), (from, to))
WRAP(int, link, (const char *from, const char *to), (from, to))
WRAP(int, unlink, (const char *path), (path))
WRAP(int, mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(int, mkostemp, (char *name, int flags), (name, flags))
WRAP(ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
WRAP(ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))

WRAP(int, stat, (const char *path, struct stat *st), (path, st))
WRAP(int, chmod, (const char *path, mode_t mode), (path, mode))

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path);
struct dirent *__real_readdir(DIR *folder);
struct dirent *__wrap_readdir(DIR *folder);

DIR *__wrap_opendir(const char *path)
{
    return fails("opendir") ? NULL : __real_opendir(path);
}

struct dirent *__wrap_readdir(DIR *folder)
{
    return fails("readdir") ? NULL : __real_readdir(folder);
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
    mode_t mode = 0;

    if (flags & O_CREAT) {
        va_list args;

        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    return fails("open") ? -1 : __real_open(path, flags, mode);
}

void refuse_on(void)
{
    counts = true;
}

void refuse_off(void)
{
    counts = false;
}

size_t refuse_each(int (*work)(void *context),
                   void (*check)(void *context, int r, const char *call), void *context)
{
    for (size_t n = 0;; n++) {
        const char *call;
        int r;

        left = n;
        refused = NULL;
        r = work(context);
        counts = false;
        left = SIZE_MAX;
        call = refused;
        check(context, r, call);
        if (!call)
            return n;
    }
}
