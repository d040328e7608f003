/* SPDX-License-Identifier: Apache-2.0 */
/* What both ZeroMQ peers need: CURVE with keys that the server leaves in the folder. */
#ifndef PEERS_ZMQ_PEER_H
#define PEERS_ZMQ_PEER_H

#include <zmq.h>

#include "peer.h"

/* Makes the server's key pair, and keeps the public one for zmq_secure_client(). */
bool zmq_make_keys(const struct peer_settings *settings, char secret[41]);
bool zmq_secure_server(void *socket, const char secret[41]);
/* With a key pair of its own for every socket. */
bool zmq_secure_client(void *socket, const struct peer_settings *settings);
bool zmq_set(void *socket, int option, int value);
int zmq_fail(struct aico_error *err, const char *what);
/* One frame into @frame, at most @timeout_ms. 0, AICO_ETIMEOUT or an error. */
int zmq_take(void *socket, zmq_msg_t *frame, int64_t timeout_ms, int64_t *timeout_now,
             struct aico_error *err);

#endif
