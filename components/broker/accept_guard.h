/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps connections from using up the descriptors of the process: libzmq 4.3.4 aborts when an ipc
 * connection finds none left, and spins when a tcp one does. This program therefore defines
 * accept4() itself, which libzmq calls: over the limit a connection is taken and closed at once.
 */
#ifndef BROKER_ACCEPT_GUARD_H
#define BROKER_ACCEPT_GUARD_H

/* Raises the soft limit of descriptors to the hard one and keeps some of them for ourselves. Call
 * it before the first socket exists. */
void accept_guard_start(void);

#endif
