/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's end of one broker link: a CURVE DEALER that lives as long as one session and never
 * reconnects by itself. Whoever wants another session closes it and opens the next.
 *
 *   opened --> up --> down        dealer_wait() tells of each, once it happened
 *        \--------> down          with the reason: see dealer_reason()
 *
 * One thread owns a dealer. Other threads wake it through the descriptor given to dealer_wait().
 */
#ifndef TRANSPORT_DEALER_H
#define TRANSPORT_DEALER_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "transport/context.h"

struct dealer; /* opaque; dealer_open() .. dealer_close() */

struct dealer_settings {
    const char *endpoint;         /* "tcp://host:port" or "ipc:///path"; copied */
    const uint8_t *broker_public; /* 32: the broker's pinned X25519 key; copied */
    const uint8_t *my_public;     /* 32: ours; copied */
    const struct secret
        *my_secret;        /* copied into the socket, which holds it until dealer_close() */
    size_t frame_size_max; /* larger frames of the broker end the link */
    int64_t timeout_ms;    /* for connecting and for the CURVE handshake, each */
};

/*
 * Begins to connect; whether it worked is told by dealer_wait().
 *
 * @transport  borrowed, must outlive the dealer
 * Returns 0, AICO_EINVAL (endpoint), AICO_EUNREACHABLE (host name unknown), AICO_ESYSTEM,
 * AICO_ENOMEM.
 */
AICO_MUST_USE int dealer_open(struct transport *transport, const struct dealer_settings *settings,
                              struct dealer **ret_dealer, struct aico_error *err);

/* Several may be true at once: dealer_wait() returns their sum, and the order of handling is the
 * order here. */
enum dealer_event {
    DEALER_NONE = 0,     /* the time is over */
    DEALER_UP = 1,       /* the link is encrypted and accepted; told once */
    DEALER_FRAME = 2,    /* dealer_receive() has a frame */
    DEALER_WRITABLE = 4, /* after AICO_EFULL: dealer_send() has room again; told once */
    DEALER_WOKEN = 8,    /* @wake_fd is readable; the caller clears it. Only told after a wait, so
                            perhaps not while frames come */
    DEALER_DOWN = 16,    /* over, for the reason of dealer_reason(); told only when every frame
                            that arrived before was taken, and then at every call */
    DEALER_ONE = 32,     /* with DEALER_FRAME: after a wait, and it is probably one, see
                            waiter_expects_one() */
};

/*
 * Waits until something happens.
 *
 * @wake_fd     -1 for none
 * @timeout_ms  0: only look; -1: for ever
 */
unsigned dealer_wait(struct dealer *dealer, int wake_fd, int64_t timeout_ms);
/*
 * Its parts, for who lets another thread use a dealer that is up while it sleeps itself:
 * dealer_look() tells what is true now, and only after one that told nothing may be slept.
 * dealer_sleep() sleeps on descriptors alone, so the dealer may even be closed meanwhile; what it
 * returns is for dealer_slept(), which looks again and adds DEALER_WOKEN.
 */
unsigned dealer_look(struct dealer *dealer);
/* Whether dealer_receive() has a frame, and no more than that: what dealer_look() would have told
 * besides, the next one tells. When there is none, dealer_sleep() wakes for what comes. */
bool dealer_has_frame(struct dealer *dealer);
void dealer_get_fds(const struct dealer *dealer, int ret_fds[2]);
unsigned dealer_sleep(const int fds[2], int wake_fd, int64_t timeout_ms);
unsigned dealer_slept(struct dealer *dealer, unsigned found);
/* From now on dealer_wait() asks for so many microseconds before it sleeps; 0, as it
 * is at first: it sleeps at once. */
void dealer_set_busy_poll(struct dealer *dealer, int64_t us);

/* Whether frames can be sent and received. */
bool dealer_is_up(const struct dealer *dealer);
/*
 * Why the link is down (0: it is not); @err gets the text with cause and repair.
 *
 *   AICO_EUNREACHABLE  nobody listens there, or no connection within timeout_ms
 *   AICO_ENOTBROKER    something listens that is not a broker: no CURVE, no ZeroMQ, or silence
 *   AICO_EBROKERKEY    a broker, but not the one whose key we pin
 *   AICO_EUNKNOWN      the broker does not know our key
 *   AICO_EREVOKED      the broker knows it as one that is valid no more
 *   AICO_ETIMEOUT      a broker that did not finish the handshake within timeout_ms
 *   AICO_ECLOSED       the link was lost, or the broker gave up on a handshake that took too long
 *   AICO_EPROTO        the link was up and the broker sent something that is not a frame
 */
int dealer_reason(const struct dealer *dealer, struct aico_error *err);

/* Sends one frame (copied). 0, AICO_EFULL (nothing was sent; try again after DEALER_WRITABLE),
 * AICO_ECLOSED (not up), AICO_EINVAL (empty), AICO_ENOMEM. Never blocks. */
AICO_MUST_USE int dealer_send(struct dealer *dealer, struct bytes frame);
/* The next frame, borrowed until the next call of any dealer function. 0, AICO_ENOTFOUND when there
 * is none. */
AICO_MUST_USE int dealer_receive(struct dealer *dealer, struct bytes *ret_frame);

/* What was sent and is still in our memory may take @linger_ms to leave: transport_free() waits for
 * it. NULL inside is allowed; set to NULL. */
void dealer_close(struct dealer **dealer, int64_t linger_ms);

#endif
