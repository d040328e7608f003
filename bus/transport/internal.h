/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this folder share and nobody else sees. */
#ifndef TRANSPORT_INTERNAL_H
#define TRANSPORT_INTERNAL_H

#include <poll.h>
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

/* poll(), which for at most @busy_us asks again instead of sleeping. @timeout_ms: -1 for ever. */
int poll_for(struct pollfd *fds, nfds_t count, int64_t timeout_ms, int64_t busy_us);

/*
 * Waits for a socket, its monitor and a descriptor with one system call, where zmq_poll() asks each
 * socket before and after it. The descriptor of a socket of ZeroMQ tells of commands that nobody
 * has taken, and every call of the socket may take them. So only who found nothing to receive, and
 * has called nothing since, may wait: waiter_events() is asked before, unless that is known.
 */
struct waiter {
    void *socket, *monitor; /* the owner's */
    int fds[2];             /* of both */
    unsigned passed;        /* calls of waiter_events() since the monitor was looked at */
    bool is_monitor_due; /* it may have events: until waiter_next_event() says that it has none */
    bool is_empty;       /* nothing was there to receive; its descriptor tells of what comes */
    bool is_fresh;       /* a wait ended with input, and nobody has looked for more of it */
    bool is_lone;        /* the input of the last such wait was one frame */
    unsigned taken;      /* frames since that wait */
    int64_t busy_us;     /* so long a wait asks before it sleeps; 0: not at all */
};
/* False when libzmq does not give its descriptors. */
bool waiter_init(struct waiter *waiter, void *socket, void *monitor);
/* ZMQ_EVENTS of the socket as they are now. Who never waits sees its monitor all the same, after
 * some calls. */
int waiter_events(struct waiter *waiter);
/* Whether there is something to receive; asks only if that is not known. */
bool waiter_has_input(struct waiter *waiter);
/* The socket was called: to send, or to receive, which brought a frame or found nothing. */
void waiter_sent(struct waiter *waiter);
void waiter_received(struct waiter *waiter, bool is_frame);
/*
 * After a wait that ended with input: whether it is probably one frame. Who takes only that one
 * spares the look for a second, because it has to look before the next wait anyway.
 */
bool waiter_expects_one(const struct waiter *waiter);
enum waiter_found { WAITER_INPUT = 1, WAITER_MONITOR = 2, WAITER_WOKEN = 4, WAITER_FAILED = 8 };
/*
 * Sleeps until the socket or its monitor may have something or @wake_fd (-1: none) is readable.
 *
 * @fds         of the waiter, which meanwhile may be another thread's, and even end
 * @timeout_ms  -1: for ever
 * @busy_us     of the waiter
 * What was found, for waiter_polled(); WAITER_FAILED (errno) for another reason than a signal.
 */
unsigned waiter_poll(const int fds[2], int wake_fd, int64_t timeout_ms, int64_t busy_us);
void waiter_polled(struct waiter *waiter, unsigned found);
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
