/* SPDX-License-Identifier: Apache-2.0 */
/* Where the broker listens: sockets on tcp and ipc, and who comes there. */
#ifndef TRANSPORT_LISTEN_H
#define TRANSPORT_LISTEN_H

#include <aico/error.h>

#include <stddef.h>

/*
 * Opens a socket that listens and does not block.
 *
 * @endpoint      "tcp://HOST:PORT" (HOST: an address, [IPv6], a name, of which the first address of
 *                IPv4 is taken, and which may take its time to be found, or *; port 0 or *: any
 * free one) or "ipc:///PATH", whose folder is the caller's affair: what lies at PATH is replaced
 * @inherited     a socket that listens there already, of which a copy is used: nothing is bound,
 *                and an ipc path stays where it is; it does not block any more, for
 *                whoever else has it either; -1: none
 * @ret_endpoint  what it really is; the caller frees it
 * 0, AICO_EEXISTS (address in use), AICO_EINVAL, AICO_ENOMEM, AICO_ESYSTEM.
 */
AICO_MUST_USE int listen_open(const char *endpoint, int inherited, int *ret_fd, char **ret_endpoint,
                              struct aico_error *err);

/*
 * The next connection, which does not block.
 *
 * @limit  a connection that is given this number of a descriptor, or a higher one, is closed at
 *         once: the lowest free number is given, so there are as many open
 * 0; AICO_ENOTFOUND: nobody waits; AICO_EFULL: over the limit, no descriptor is left, or another
 * error: one was turned away, or still waits, and it is of no use to ask again at once.
 */
AICO_MUST_USE int listen_accept(int listener, int limit, int *ret_fd);

#define LISTEN_ADDRESS_SIZE 96
/* Who is at the other end of @fd, for people: "127.0.0.1:40000", or "uid 1000, pid 4711". */
void listen_describe_peer(int fd, char ret_address[LISTEN_ADDRESS_SIZE]);

#endif
