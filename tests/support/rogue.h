/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hostile peers, for tests only: ZMTP 3.1 and CURVE (https://rfc.zeromq.org/spec/26/) over a plain
 * descriptor, so that every byte can be wrong. Nothing here is used by the library. Blocking, one
 * thread a peer.
 */
#ifndef SUPPORT_ROGUE_H
#define SUPPORT_ROGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ROGUE_MORE 1    /* flags of a message: another part follows */
#define ROGUE_COMMAND 2 /* ... it is a command */

struct rogue {
    int fd; /* -1: closed */
    uint64_t nonce;
    uint8_t shared[32]; /* of the two ephemeral keys */
};

struct rogue_keys {
    const uint8_t *server; /* 32: the broker's public X25519 key */
    const uint8_t *public, *secret;
};

/* A property of the metadata; the list ends with a name of NULL. */
struct rogue_property {
    const char *name, *value;
};

/* "tcp://127.0.0.1:PORT" or "ipc:///PATH": a connected descriptor, or -1. */
int rogue_connect(const char *endpoint);
/* Sends our greeting and reads theirs. */
bool rogue_greet(int fd);
/* @fd becomes the peer's. Up to READY; @properties stand before the usual ones, NULL: none. */
bool rogue_shake(struct rogue *rogue, int fd, const struct rogue_keys *keys,
                 const struct rogue_property *properties);
/* The same with a routing id of its own. */
bool rogue_shake_as(struct rogue *rogue, int fd, const struct rogue_keys *keys,
                    const struct rogue_property *properties, const void *id, size_t id_size);
/* One encrypted message. False when the broker has closed. */
bool rogue_send(struct rogue *rogue, uint8_t flags, const void *at, size_t size);
/* The head of an encrypted message of @size bytes, and nothing of its body. */
bool rogue_claim(int fd, uint64_t size);
/* Reads and throws away what has come; false when the broker has closed. */
bool rogue_drain(int fd);
/* Whether the broker closes within @timeout_ms. */
bool rogue_is_closed(int fd, int timeout_ms);
void rogue_close(struct rogue *rogue);

#endif
