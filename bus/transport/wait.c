/* SPDX-License-Identifier: Apache-2.0 */
/* Waiting, by asking again and again at first. */
#include <sched.h>
#include <stdbool.h>
#include <time.h>

#include "base/cleanup.h"
#include "transport/internal.h"

static int64_t now_us(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* Asks for at most @busy_us without sleeping, then sleeps. Between two looks it gives its core to
 * who waits for it, who may be the one that brings what we wait for. */
static int wait_busily(int (*look)(void *context, int timeout_ms), void *context,
                       int64_t timeout_ms, int64_t busy_us)
{
    bool is_bounded = timeout_ms >= 0 && timeout_ms <= busy_us / 1000;
    int64_t end_us = now_us() + (is_bounded ? timeout_ms * 1000 : busy_us);
    int r;

    while ((r = look(context, 0)) == 0 && now_us() < end_us)
        (void)sched_yield();
    if (r != 0 || is_bounded)
        return r;
    if (timeout_ms >= 0)
        timeout_ms -= busy_us / 1000;
    return look(context, (int)MIN(timeout_ms, (int64_t)INT32_MAX));
}

int wait_for(int (*look)(void *context, int timeout_ms), void *context, int64_t timeout_ms,
             int64_t busy_us)
{
    if (busy_us > 0)
        return wait_busily(look, context, timeout_ms, busy_us);
    return look(context, (int)MIN(timeout_ms, (int64_t)INT32_MAX));
}

struct polled {
    struct pollfd *fds;
    nfds_t count;
};

static int look_at_polled(void *context, int timeout_ms)
{
    const struct polled *polled = context;

    return poll(polled->fds, polled->count, timeout_ms);
}

int poll_for(struct pollfd *fds, nfds_t count, int64_t timeout_ms, int64_t busy_us)
{
    struct polled polled = {fds, count};

    return wait_for(look_at_polled, &polled, timeout_ms, busy_us);
}
