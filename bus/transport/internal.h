/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share and nobody else sees. */
#ifndef TRANSPORT_INTERNAL_H
#define TRANSPORT_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include <zmq.h>

#include <aico/error.h>

#include "transport/context.h"

struct transport {
    void *zmq;
    _Atomic unsigned long next_number; /* makes names of inproc endpoints unique */
};

/* What CURVE and ZMTP add to a frame: ZMQ_MAXMSGSIZE counts it (33 bytes), we leave some more. */
#define FRAME_OVERHEAD 64
/* A link that was lost stays lost: the session's owner decides about the next one. Not -1, with
 * which libzmq tears down the pipe and with it frames that arrived and were not yet read, such as
 * the BYE that says why. */
#define RECONNECT_NEVER_MS (24 * 3600 * 1000)

static inline bool socket_set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value)) == 0;
}

/* zmq_close() for CLEANUP. */
static inline void socket_close(void **socket)
{
    if (*socket)
        (void)zmq_close(*socket);
    *socket = NULL;
}

/*
 * Waits for a socket, its monitor and a descriptor with one system call, where zmq_poll() asks each
 * socket before and after it. The descriptor of a socket of ZeroMQ tells of commands that nobody
 * has taken, and every call of the socket may take them. So waiter_events() is asked before every
 * wait, and only who finds there nothing may wait.
 */
struct waiter {
    void *socket, *monitor; /* the owner's */
    int socket_fd, monitor_fd;
    unsigned passed;     /* calls of waiter_events() since the monitor was looked at */
    bool is_monitor_due; /* it may have events: until waiter_next_event() says that it has none */
    int64_t busy_us;     /* so long a wait asks without pause before it sleeps; 0: not at all */
};
/* False when libzmq does not give its descriptors. */
bool waiter_init(struct waiter *waiter, void *socket, void *monitor);
/* ZMQ_EVENTS of the socket as they are now. Who never waits sees its monitor all the same, after
 * some calls. */
int waiter_events(struct waiter *waiter);
/*
 * @wake_fd       -1: none
 * @timeout_ms    -1: for ever
 * @ret_is_woken  whether @wake_fd is readable
 * False when the wait failed (errno), for another reason than a signal.
 */
bool waiter_wait(struct waiter *waiter, int wake_fd, int64_t timeout_ms, bool *ret_is_woken);
/* The next event of the monitor, if it may have one. */
bool waiter_next_event(struct waiter *waiter, uint16_t *ret_event, uint32_t *ret_value);

/* Whether a "tcp://" endpoint is written with an IPv6 address. */
bool endpoint_is_ipv6(const char *endpoint);

/*
 * The monitor of @socket as a PAIR that zmq_poll() can wait for. It has no high-water mark: an
 * undrained one would otherwise stop the I/O thread. NULL on failure.
 */
void *monitor_open(struct transport *transport, void *socket, int events);
/* The next event and its value; false when there is none. */
bool monitor_next(void *monitor, uint16_t *ret_event, uint32_t *ret_value);

#endif
