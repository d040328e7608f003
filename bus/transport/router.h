/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's end of all links, on ipc and tcp at once: what a ROUTER of ZeroMQ with CURVE is to
 * its DEALERs, in the thread of its owner (docs/decisions/0138).
 *
 * A link is one connection whose key the roster let in and that sent a frame. Its name is the
 * User-Id of the roster and nothing else; whoever chooses a routing id is not let in. The router
 * notices when a link is gone, by itself; only then, and after everything it had sent was received,
 * the link is named by router_next_gone(), and the owner lets go of it.
 *
 * One thread owns a router and its links.
 */
#ifndef TRANSPORT_ROUTER_H
#define TRANSPORT_ROUTER_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/secret.h"
#include "transport/listen.h"
#include "transport/roster.h"

struct router; /* opaque; router_new() .. router_free() */
struct link;   /* opaque; from router_receive() to router_next_gone() */

struct router_settings {
    const struct secret *secret; /* X25519; copied */
    size_t frame_size_max;       /* of one connection; larger ends it */
    int64_t handshake_ms;        /* strangers are closed after it */
    int64_t silent_ms;           /* ... and who was let in and sends no frame, so long after that */
    int64_t bye_ms;   /* from router_cut() to the end, should the other side not end it */
    int64_t busy_us;  /* so long router_wait() asks before it sleeps; 0: not at all */
    unsigned threads; /* 0 or 1: the owner's; up to 16: so many less one help it to encrypt */
};

/* So many descriptors of the process (RLIMIT_NOFILE, as it is at router_new()) are left to others:
 * a connection that would take one of them is closed. */
#define ROUTER_DESCRIPTORS_KEPT 64

/* Nobody is let in until router_set_roster(). 0, AICO_ENOMEM, AICO_ESYSTEM. */
AICO_MUST_USE int router_new(const struct router_settings *settings, struct router **ret_router,
                             struct aico_error *err);
/* Begins to listen: listen_open(), whose parameters and errors these are. */
AICO_MUST_USE int router_bind(struct router *router, const char *endpoint, int inherited,
                              char **ret_endpoint, struct aico_error *err);

/* --- who is let in ---------------------------------------------------------------------------- */

/* From now on @roster decides (handed over; set to NULL); the former one is freed. */
void router_set_roster(struct router *router, struct roster **roster);
/*
 * What is done before a key is refused: @look sees whether there is a newer roster, and if so calls
 * router_set_roster(). ROUTER_LOOKS_RATE times a second at most, so strangers cannot make the
 * others wait. It is called within router_receive().
 */
#define ROUTER_LOOKS_RATE 20
void router_set_look(struct router *router, void (*look)(void *context), void *context);

/* A key that was not let in, for the log. */
struct router_refusal {
    uint8_t key[ROSTER_KEY_SIZE];
    char address[LISTEN_ADDRESS_SIZE];
    unsigned long more; /* refusals since the last call that found no room to be remembered */
};
bool router_next_refusal(struct router *router, struct router_refusal *ret_refusal);

/* --- the loop --------------------------------------------------------------------------------- */

enum router_event {
    ROUTER_NONE = 0,
    ROUTER_INPUT = 1, /* router_receive() has something */
    ROUTER_WOKEN = 2, /* @wake_fd is readable; the caller clears it */
};
/*
 * Sends what has not left yet, and waits. A @wake_fd of -1: none; the first other is kept.
 *
 * @timeout_ms  0 only looks, -1 waits for ever
 * Returns the sum of what is true; may return ROUTER_NONE early.
 */
unsigned router_wait(struct router *router, int wake_fd, int64_t timeout_ms);

/* One frame that came. Everything is borrowed: the frame until the next router_receive(), the rest
 * as long as the link. */
struct router_input {
    struct link *link;
    bool is_new;         /* its first frame: the owner has not seen this link before */
    const char *user_id; /* of the roster */
    const char *address; /* for people: "127.0.0.1:40000", or "uid 1000, pid 4711" of an ipc peer */
    struct bytes frame;
};
/* 0, or AICO_ENOTFOUND when nothing is waiting, or only what is thrown away came for a while. What
 * is not a frame of a proper link is thrown away inside and counted. */
AICO_MUST_USE int router_receive(struct router *router, struct moment now,
                                 struct router_input *ret_input);

/* Sends one frame (copied), now or in router_wait(); never blocks. 0, AICO_EFULL (nothing was sent;
 * router_next_writable() will name the link), AICO_ECLOSED (the link is gone: router_next_gone()
 * will name it), AICO_EINVAL (empty or
 * larger than frame_size_max). */
AICO_MUST_USE int router_send(struct router *router, struct link *link, struct bytes frame);

/* The next link that has room again after AICO_EFULL. False: no more. */
bool router_next_writable(struct router *router, struct link **ret_link);

/* Ends the connection: its further frames are thrown away, and router_next_gone() names it at last.
 * It has `bye_ms` to be sent what was handed over before, its BYE for one, unless it goes first. */
void router_cut(struct router *router, struct moment now, struct link *link);

/* The next link that is gone: until the next call it is there for link_owner(), then no more. Also
 * does what time asks for: call it in every turn of the loop. False: no more. */
bool router_next_gone(struct router *router, struct moment now, struct link **ret_link);
/* The boot_ms at which router_next_gone() must be called; MOMENT_NEVER. */
int64_t router_deadline(const struct router *router);

void *link_owner(const struct link *link);
void link_set_owner(struct link *link, void *owner);

/* Since router_new(). */
struct router_counters {
    uint64_t frames_in, frames_out, bytes_in, bytes_out;
    uint64_t links;          /* opened */
    uint64_t refused_id;     /* connections cut because they chose their routing id */
    uint64_t refused_shape;  /* messages of several parts, or empty */
    uint64_t refused_cipher; /* handshakes sealed for another key than ours */
    uint64_t refused_silent; /* connections cut that never sent a frame */
    uint64_t late;           /* frames of links that were cut */
};
void router_get_counters(const struct router *router, struct router_counters *ret_counters);

/*
 * Closes everything. NULL inside is allowed; set to NULL.
 *
 * @linger_ms  how long it may wait for what was sent to leave
 */
void router_free(struct router **router, int64_t linger_ms);

#endif
