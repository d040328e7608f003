/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One ZeroMQ context with its I/O threads: each broker has its own, so nothing is shared between
 * two of them in one process; a client has none. Creating and using it does not touch signal
 * handlers. Do not use it in a forked child.
 */
#ifndef TRANSPORT_CONTEXT_H
#define TRANSPORT_CONTEXT_H

#include <aico/error.h>

struct transport; /* opaque; transport_new() .. transport_free() */

/* @io_threads: 1..16. 0, AICO_EINVAL, AICO_ENOMEM, AICO_ESYSTEM. */
AICO_MUST_USE int transport_new(int io_threads, struct transport **ret_transport);
/* Waits until what was sent before its socket closed has left, at most the linger given there.
 * Every socket of the context must have been closed. */
void transport_free(struct transport **transport);

#endif
