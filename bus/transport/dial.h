/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting to an endpoint without waiting for it. Any thread, one at a time. */
#ifndef TRANSPORT_DIAL_H
#define TRANSPORT_DIAL_H

#include <netdb.h>
#include <stdbool.h>
#include <sys/un.h>

#include <aico/error.h>

/* The addresses of an endpoint, of which none was tried or the one before `next`. It stays where it
 * is: one of them may lie in it. */
struct dial {
    struct addrinfo *list, *next;
    struct addrinfo path_info; /* an ipc endpoint is a list of this one */
    struct sockaddr_un path;
    int failure; /* errno of the last one that did not work; 0: none has failed */
};

/*
 * Looks up where @endpoint is ("tcp://HOST:PORT", an IPv6 address in brackets, or "ipc:///PATH"); a
 * host's name may take as long as the resolver does. A name's IPv4 addresses are taken, or those of
 * IPv6 if it has no others. dial_end() frees it, in any case.
 *
 * 0, AICO_EINVAL (not an endpoint), AICO_EUNREACHABLE (no such host).
 */
AICO_MUST_USE int dial_begin(struct dial *ret_dial, const char *endpoint);
/*
 * Begins to connect to the next address. @ret_fd is the caller's: non-blocking, and writable once
 * it is known whether it worked, which dial_is_connected() tells.
 *
 * 0; AICO_EUNREACHABLE: there is none, or none that could be tried; AICO_EFULL: who listens (ipc)
 * has no room for one more now; AICO_ESYSTEM (errno): no descriptor.
 */
AICO_MUST_USE int dial_next(struct dial *dial, int *ret_fd);
/* False: it did not work; the next one may. */
bool dial_is_connected(struct dial *dial, int fd);
/* Addresses that were not tried yet. */
unsigned dial_left(const struct dial *dial);
void dial_end(struct dial *dial);

#endif
