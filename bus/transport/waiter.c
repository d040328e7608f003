/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a socket at the price of one system call. */
#include <errno.h>
#include <poll.h>
#include <time.h>

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

static int64_t now_us(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Asks for at most @busy_us without pause, then sleeps. */
static int poll_busily(struct pollfd *fds, nfds_t count, int64_t timeout_ms, int64_t busy_us)
{
    bool is_bounded = timeout_ms >= 0 && timeout_ms <= busy_us / 1000;
    int64_t end_us = now_us() + (is_bounded ? timeout_ms * 1000 : busy_us);
    int r;

    do
        r = poll(fds, count, 0);
    while (r == 0 && now_us() < end_us);
    if (r != 0 || is_bounded)
        return r;
    if (timeout_ms >= 0)
        timeout_ms -= busy_us / 1000;
    return poll(fds, count, (int)MIN(timeout_ms, (int64_t)INT32_MAX));
}

bool waiter_wait(struct waiter *waiter, int wake_fd, int64_t timeout_ms, bool *ret_is_woken)
{
    struct pollfd fds[] = {
        {.fd = waiter->socket_fd, .events = POLLIN},
        {.fd = waiter->monitor_fd, .events = POLLIN},
        {.fd = wake_fd, .events = POLLIN}, /* a negative one is passed over */
    };
    int r;

    *ret_is_woken = false;
    if (waiter->busy_us > 0)
        r = poll_busily(fds, COUNT_OF(fds), timeout_ms, waiter->busy_us);
    else
        r = poll(fds, COUNT_OF(fds), (int)MIN(timeout_ms, (int64_t)INT32_MAX));
    if (r < 0)
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
