/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share and nobody else sees. */
#ifndef TRANSPORT_INTERNAL_H
#define TRANSPORT_INTERNAL_H

#include <poll.h>
#include <stdint.h>

/*
 * Waits as @look does, which returns as poll() does and waits for so many ms at most, -1 for ever;
 * for at most @busy_us it is asked again and again before it may sleep.
 */
int wait_for(int (*look)(void *context, int timeout_ms), void *context, int64_t timeout_ms,
             int64_t busy_us);
/* ... by poll(). */
int poll_for(struct pollfd *fds, nfds_t count, int64_t timeout_ms, int64_t busy_us);

#endif
