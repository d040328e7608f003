/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other buses, measured by the code that measures ours: each is a driver (components/bench) and a
 * server process. Everything is encrypted: CURVE, or TLS 1.3 with certificates of both sides.
 */
#ifndef PEERS_PEER_H
#define PEERS_PEER_H

#include "bench/bench.h"

struct peer_settings {
    const char *folder; /* for sockets, configuration and keys; certificates as tools/bench/compare
                           makes them: ca.pem, peer.pem, peer.key */
    int port;           /* on 127.0.0.1, and the next one */
    enum bench_mode mode;
};

struct peer {
    const char *name;
    const char *link;
    /* Runs in the server's process and does not return unless it fails; the error is on stderr. */
    void (*serve)(const struct peer_settings *settings);
    struct bench_driver driver; /* its context is the settings */
};

/* Up to a NULL name: those that were built in. */
extern const struct peer *const peers[];

extern const struct peer peer_zmq_proxy;
extern const struct peer peer_zmq_router;
extern const struct peer peer_nats;
extern const struct peer peer_mosquitto;

#endif
