/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share and nobody else sees. */
#ifndef TRANSPORT_INTERNAL_H
#define TRANSPORT_INTERNAL_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

/*
 * Waits as @look does, which returns as poll() does and waits for so many ms at most, -1 for ever;
 * for at most @busy_us it is asked again and again before it may sleep.
 */
int wait_for(int (*look)(void *context, int timeout_ms), void *context, int64_t timeout_ms,
             int64_t busy_us);
/* ... by poll(). */
int poll_for(struct pollfd *fds, nfds_t count, int64_t timeout_ms, int64_t busy_us);

#define HOST_MAX 255
/* Takes "HOST:PORT" apart, an address of IPv6 out of its brackets. @ret_port is within @text.
 * False: it is not of that form; what the port is nobody has looked at. */
bool split_address(const char *text, char ret_host[HOST_MAX + 1], const char **ret_port);

#endif
