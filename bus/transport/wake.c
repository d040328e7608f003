/* SPDX-License-Identifier: Apache-2.0 */
/* An eventfd that wakes a thread. */
#include <errno.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "transport/wake.h"

int wake_open(struct wake *ret_wake)
{
    ret_wake->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return ret_wake->fd < 0 ? AICO_ESYSTEM : 0;
}

void wake_close(struct wake *wake)
{
    fd_close(&wake->fd);
}

void wake_signal(const struct wake *wake)
{
    int saved = errno;
    uint64_t one = 1;
    ssize_t r;

    do
        r = write(wake->fd, &one, sizeof(one));
    while (r < 0 && errno == EINTR);
    errno = saved; /* EAGAIN: the counter is full, so it is readable already */
}

void wake_clear(const struct wake *wake)
{
    uint64_t count;
    ssize_t r;

    do
        r = read(wake->fd, &count, sizeof(count));
    while (r < 0 && errno == EINTR);
}
