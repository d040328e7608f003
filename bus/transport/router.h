/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's end of all links: one CURVE ROUTER on ipc and tcp at once.
 *
 * A link is one connection whose key the ZAP handler let in and that sent a frame. Its name is the
 * User-Id of ZAP and nothing else: routing ids are never shown, and whoever chooses its own is cut.
 * The router notices when a link is gone, by itself; only then, and after everything it had sent
 * was received, the link is named by router_next_gone(), and the owner lets go of it.
 *
 * One thread owns a router and its links.
 */
#ifndef TRANSPORT_ROUTER_H
#define TRANSPORT_ROUTER_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/secret.h"
#include "transport/context.h"

struct router; /* opaque; router_new() .. router_free() */
struct link;   /* opaque; from router_receive() to router_next_gone() */

struct router_settings {
    const struct secret *secret; /* X25519; copied into the socket, which holds it */
    size_t frame_size_max;       /* what one connection may make us hold; larger ends it */
    int64_t handshake_ms;        /* strangers are closed after it */
    int64_t silent_ms;           /* ... and who was let in and sends no frame, so long after that */
    int64_t bye_ms;  /* from router_cut() to the end, should the other side not end it */
    int64_t busy_us; /* so long router_wait() asks before it sleeps; 0: not at all */
};

/* The ZAP handler of the context must have been started. 0, AICO_ENOMEM, AICO_ESYSTEM. */
AICO_MUST_USE int router_new(struct transport *transport, const struct router_settings *settings,
                             struct router **ret_router, struct aico_error *err);
/*
 * Begins to listen.
 *
 * @endpoint      "tcp://ADDRESS:PORT" (port 0 or *: any free one) or "ipc:///PATH", whose folder is
 *                the caller's affair: what lies at PATH is replaced
 * @listener      a socket that listens there already, of which a copy is used: nothing is bound,
 *                and an ipc path stays where it is; -1: none
 * @ret_endpoint  what it really is; the caller frees it
 * 0, AICO_EEXISTS (address in use), AICO_EINVAL, AICO_ENOMEM, AICO_ESYSTEM.
 */
AICO_MUST_USE int router_bind(struct router *router, const char *endpoint, int listener,
                              char **ret_endpoint, struct aico_error *err);

enum router_event {
    ROUTER_NONE = 0,
    ROUTER_INPUT = 1, /* router_receive() has something */
    ROUTER_WOKEN = 2, /* @wake_fd is readable; the caller clears it */
    ROUTER_ONE = 4, /* with ROUTER_INPUT: after a wait, and it is probably one frame. Who takes only
                       that, and waits again, loses nothing: what is left is seen then */
};
/* @timeout_ms: 0 only looks, -1 waits for ever. Returns the sum of what is true; may return
 * ROUTER_NONE early, and while there is input does not look at @wake_fd. */
unsigned router_wait(struct router *router, int wake_fd, int64_t timeout_ms);

/* One frame that came. Everything is borrowed: the frame until the next router_receive(), the rest
 * as long as the link. */
struct router_input {
    struct link *link;
    bool is_new;         /* its first frame: the owner has not seen this link before */
    const char *user_id; /* as ZAP gave it */
    const char *address; /* for people: "127.0.0.1:40000", or "uid 1000, pid 4711" of an ipc peer */
    struct bytes frame;
};
/* 0, or AICO_ENOTFOUND when nothing is waiting, or only what is thrown away came for a while. What
 * is not a frame of a proper link is thrown away inside and counted. */
AICO_MUST_USE int router_receive(struct router *router, struct moment now,
                                 struct router_input *ret_input);

/* Sends one frame (copied); never blocks. 0, AICO_EFULL (nothing was sent), AICO_ECLOSED (the link
 * is gone: router_next_gone() will name it), AICO_ENOMEM. */
AICO_MUST_USE int router_send(struct router *router, struct link *link, struct bytes frame);

/* Ends the connection: its further frames are thrown away, and router_next_gone() names it at last.
 * It has `bye_ms` to be sent what was handed over before, its BYE for one, unless it goes first. */
void router_cut(struct router *router, struct moment now, struct link *link);

/* The next link that is gone; the caller must not use it any more. Also does what time asks for:
 * call it in every turn of the loop. False: no more. */
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
    uint64_t refused_user;   /* ... because they had no User-Id */
    uint64_t refused_shape;  /* messages of several parts, or empty */
    uint64_t refused_cipher; /* handshakes sealed for another key than ours */
    uint64_t refused_silent; /* connections cut that never sent a frame */
    uint64_t refused_unseen; /* links cut for what they send beside frames: parts without end */
    uint64_t late;           /* frames of links that were cut or gone */
};
void router_get_counters(const struct router *router, struct router_counters *ret_counters);

/*
 * Closes everything. NULL inside is allowed; set to NULL.
 *
 * @linger_ms  how long transport_free() may wait for what was sent to leave
 */
void router_free(struct router **router, int64_t linger_ms);

#endif
