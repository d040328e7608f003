/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting for a socket at the price of one system call. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
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
    return get_fd(socket, &waiter->fds[0]) && get_fd(monitor, &waiter->fds[1]);
}

static void looked(struct waiter *waiter, bool is_empty)
{
    waiter->is_empty = is_empty;
    if (!waiter->is_fresh || (waiter->taken == 0 && !is_empty))
        return;
    waiter->is_fresh = false;
    if (waiter->taken > 0)
        waiter->is_lone = is_empty && waiter->taken == 1;
}

int waiter_events(struct waiter *waiter)
{
    int events = 0;
    size_t size = sizeof(events);

    (void)zmq_getsockopt(waiter->socket, ZMQ_EVENTS, &events, &size);
    looked(waiter, !(events & ZMQ_POLLIN));
    if (++waiter->passed >= PASSED_MAX)
        waiter->is_monitor_due = true;
    return events;
}

bool waiter_has_input(struct waiter *waiter)
{
    return !waiter->is_empty && (waiter_events(waiter) & ZMQ_POLLIN);
}

void waiter_sent(struct waiter *waiter)
{
    waiter->is_empty = false;
}

void waiter_received(struct waiter *waiter, bool is_frame)
{
    if (!is_frame) {
        looked(waiter, true);
        return;
    }
    waiter->is_empty = false;
    waiter->taken++;
}

bool waiter_expects_one(const struct waiter *waiter)
{
    return waiter->is_fresh && waiter->is_lone && waiter->taken == 0;
}

static int64_t now_us(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Asks for at most @busy_us without sleeping, then sleeps. Between two looks it gives its core to
 * who waits for it, who may be the one that brings what we wait for. */
static int poll_busily(struct pollfd *fds, nfds_t count, int64_t timeout_ms, int64_t busy_us)
{
    bool is_bounded = timeout_ms >= 0 && timeout_ms <= busy_us / 1000;
    int64_t end_us = now_us() + (is_bounded ? timeout_ms * 1000 : busy_us);
    int r;

    while ((r = poll(fds, count, 0)) == 0 && now_us() < end_us)
        (void)sched_yield();
    if (r != 0 || is_bounded)
        return r;
    if (timeout_ms >= 0)
        timeout_ms -= busy_us / 1000;
    return poll(fds, count, (int)MIN(timeout_ms, (int64_t)INT32_MAX));
}

int poll_for(struct pollfd *fds, nfds_t count, int64_t timeout_ms, int64_t busy_us)
{
    if (busy_us > 0)
        return poll_busily(fds, count, timeout_ms, busy_us);
    return poll(fds, count, (int)MIN(timeout_ms, (int64_t)INT32_MAX));
}

unsigned waiter_poll(const int fds[2], int wake_fd, int64_t timeout_ms, int64_t busy_us)
{
    struct pollfd polled[] = {
        {.fd = fds[0], .events = POLLIN},
        {.fd = fds[1], .events = POLLIN},
        {.fd = wake_fd, .events = POLLIN}, /* a negative one is passed over */
    };
    unsigned found = 0;

    if (poll_for(polled, COUNT_OF(polled), timeout_ms, busy_us) < 0)
        return errno == EINTR ? 0 : WAITER_FAILED;
    for (size_t i = 0; i < COUNT_OF(polled); i++)
        if (polled[i].revents)
            found |= 1u << i; /* in the order of enum waiter_found */
    return found;
}

void waiter_polled(struct waiter *waiter, unsigned found)
{
    if (found & WAITER_MONITOR)
        waiter->is_monitor_due = true;
    if (!(found & WAITER_INPUT))
        return;
    waiter->is_empty = false;
    waiter->is_fresh = true;
    waiter->taken = 0;
}

bool waiter_next_event(struct waiter *waiter, uint16_t *ret_event, uint32_t *ret_value)
{
    if (!waiter->is_monitor_due)
        return false;
    waiter->passed = 0;
    waiter->is_monitor_due = monitor_next(waiter->monitor, ret_event, ret_value);
    return waiter->is_monitor_due;
}
