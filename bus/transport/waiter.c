/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a socket at the price of one system call. */
#include <errno.h>
#include <poll.h>

#include "base/cleanup.h"
#include "transport/internal.h"

#define PASSED_MAX 16 /* so often a socket may be asked before its monitor is */

static bool get_fd(void *socket, int *ret_fd)
{
    size_t size = sizeof(*ret_fd);

    return zmq_getsockopt(socket, ZMQ_FD, ret_fd, &size) == 0;
}

bool waiter_init(struct waiter *waiter, void *socket, void *monitor)
{
    *waiter = (struct waiter){.socket = socket, .monitor = monitor, .is_monitor_due = true};
    return get_fd(socket, &waiter->socket_fd) && get_fd(monitor, &waiter->monitor_fd);
}

int waiter_events(struct waiter *waiter)
{
    int events = 0;
    size_t size = sizeof(events);

    (void)zmq_getsockopt(waiter->socket, ZMQ_EVENTS, &events, &size);
    if (++waiter->passed >= PASSED_MAX)
        waiter->is_monitor_due = true;
    return events;
}

bool waiter_wait(struct waiter *waiter, int wake_fd, int64_t timeout_ms, bool *ret_is_woken)
{
    struct pollfd fds[] = {
        {.fd = waiter->socket_fd, .events = POLLIN},
        {.fd = waiter->monitor_fd, .events = POLLIN},
        {.fd = wake_fd, .events = POLLIN}, /* a negative one is passed over */
    };

    *ret_is_woken = false;
    if (poll(fds, COUNT_OF(fds), (int)MIN(timeout_ms, (int64_t)INT32_MAX)) < 0)
        return errno == EINTR;
    if (fds[1].revents)
        waiter->is_monitor_due = true;
    *ret_is_woken = fds[2].revents != 0;
    return true;
}

bool waiter_next_event(struct waiter *waiter, uint16_t *ret_event, uint32_t *ret_value)
{
    if (!waiter->is_monitor_due)
        return false;
    waiter->passed = 0;
    waiter->is_monitor_due = monitor_next(waiter->monitor, ret_event, ret_value);
    return waiter->is_monitor_due;
}
