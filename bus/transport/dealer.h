/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's end of one broker link: a connection that speaks ZMTP with CURVE as a DEALER of
 * ZeroMQ does, lives as long as one session and never reconnects by itself. Whoever wants another
 * session closes it and opens the next. It has no thread: it reads and writes within the calls.
 *
 *   opened --> up --> down        dealer_wait() tells of each, once it happened
 *        \--------> down          with the reason: see dealer_reason()
 *
 * One thread owns a dealer. Other threads wake it through the descriptor given to dealer_wait().
 */
#ifndef TRANSPORT_DEALER_H
#define TRANSPORT_DEALER_H

#include <poll.h>

#include <aico/error.h>

#include "base/bytes.h"
#include "base/secret.h"

struct dealer; /* opaque; dealer_open() .. dealer_close() */

struct dealer_settings {
    const char *endpoint;           /* "tcp://host:port" or "ipc:///path"; copied */
    const uint8_t *broker_public;   /* 32: the broker's pinned X25519 key; copied */
    const uint8_t *my_public;       /* 32: ours; copied */
    const struct secret *my_secret; /* copied, and wiped when the broker has been told who we are */
    size_t frame_size_max;          /* larger frames of the broker end the link */
    int64_t timeout_ms;             /* for connecting and for the CURVE handshake, each */
};

/*
 * Begins to connect; whether it worked is told by dealer_wait(). Looks up the host, which may take
 * as long as the resolver does. 0, AICO_EINVAL (endpoint), AICO_ENOMEM.
 */
AICO_MUST_USE int dealer_open(const struct dealer_settings *settings, struct dealer **ret_dealer,
                              struct aico_error *err);

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
 * dealer_look() tells what is known now, and only after one that told nothing may be slept.
 * dealer_sleep() sleeps on descriptors alone, so the dealer may even be closed meanwhile; what it
 * returns is for dealer_slept(), which looks again and adds DEALER_WOKEN. Whoever leaves something
 * unsent while another sleeps wakes him: his interest has changed.
 */
unsigned dealer_look(struct dealer *dealer);
struct pollfd dealer_interest(const struct dealer *dealer);
unsigned dealer_sleep(struct pollfd interest, int wake_fd, int64_t timeout_ms);
unsigned dealer_slept(struct dealer *dealer, unsigned found);
/* Whether dealer_receive() has a frame of what was read; what came later wakes who sleeps. */
bool dealer_has_frame(struct dealer *dealer);
/* dealer_look(), and reads what has come, which that one only does after a sleep: for whoever
 * called while nobody sleeps. */
unsigned dealer_peek(struct dealer *dealer);
/* Whether there is something to be done as soon as the socket lets us, by who waits for it: what
 * dealer_send() took has not left yet, or cannot. */
bool dealer_has_unsent(const struct dealer *dealer);
/* From now on dealer_wait() asks for so many microseconds before it sleeps; 0, as it
 * is at first: it sleeps at once. */
void dealer_set_busy_poll(struct dealer *dealer, int64_t us);

/* Whether frames can be sent and received. */
bool dealer_is_up(const struct dealer *dealer);
/*
 * Why the link is down (0: it is not); @err gets the text with cause and repair.
 *
 *   AICO_EUNREACHABLE  nobody listens there, or no connection within timeout_ms, or a broker that
 *                      cannot check keys now
 *   AICO_ENOTBROKER    something listens that is not a broker: no CURVE, no ZeroMQ, or silence
 *   AICO_EBROKERKEY    a broker, but not the one whose key we pin
 *   AICO_EUNKNOWN      the broker does not know our key
 *   AICO_EREVOKED      the broker knows it as one that is valid no more
 *   AICO_ETIMEOUT      a broker that did not finish the handshake within timeout_ms
 *   AICO_ECLOSED       the link was lost, or the broker gave up on a handshake that took too long,
 *                      or that was disturbed, or too many connect at the same time
 *   AICO_EPROTO        the link was up and what came is not a frame, or not of the broker
 *   AICO_ESYSTEM       no descriptor, or the system does not let us wait
 *
 * That a key is unknown or revoked is said by a broker before anything of it is sealed: CurveZMQ
 * has it so, and who stands between us and the broker can say it as well.
 */
int dealer_reason(const struct dealer *dealer, struct aico_error *err);

/* Sends one frame (sealed into memory of ours). 0, AICO_EFULL (nothing was sent; try again after
 * DEALER_WRITABLE), AICO_ECLOSED (not up), AICO_EINVAL (empty, or larger than frame_size_max).
 * Never blocks. Of what was taken a rest may wait for room in the socket: see dealer_has_unsent().
 */
AICO_MUST_USE int dealer_send(struct dealer *dealer, struct bytes frame);
/* The next frame, borrowed until the next call of any dealer function. 0, AICO_ENOTFOUND when there
 * is none. */
AICO_MUST_USE int dealer_receive(struct dealer *dealer, struct bytes *ret_frame);

/* Waits at most @linger_ms for what was sent and is still in our memory to leave, and for the
 * broker to end the connection, too: then it has all of it. NULL inside is allowed; set to NULL. */
void dealer_close(struct dealer **dealer, int64_t linger_ms);

#endif
