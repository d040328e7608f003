/* SPDX-License-Identifier: Apache-2.0 */
/* accept4() as this program wants it. Called by libzmq's I/O threads. */
#include "broker/accept_guard.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define KEPT 64 /* for files, eventfds and sockets of ours */
#define PAUSE_NS 5000000

static atomic_int limit = INT_MAX; /* descriptors from this number on are given back */

void accept_guard_start(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur <= INT_MAX)
        atomic_store(&limit, (int)files.rlim_cur - KEPT);
}

/* In place of libc's, for libzmq too. */
__attribute__((visibility("default"))) int accept4(int listener, struct sockaddr *address,
                                                   socklen_t *size, int flags)
{
    const struct timespec pause = {0, PAUSE_NS};
    int fd = (int)syscall(SYS_accept4, listener, address, size, flags);

    if (fd >= 0 && fd < atomic_load(&limit))
        return fd;
    if (fd >= 0)
        (void)close(fd);
    else if (errno != EMFILE && errno != ENFILE)
        return -1;
    /* The lowest free number is given, so there are as many open. No faster than they can end. */
    (void)nanosleep(&pause, NULL);
    errno = ECONNABORTED; /* libzmq goes on after this one */
    return -1;
}
