/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ZMTP 3.1 (https://rfc.zeromq.org/spec/37/) with CurveZMQ (https://rfc.zeromq.org/spec/26/), of
 * bytes alone: no socket, no clock, no memory of its own. What libzmq's DEALER and ROUTER speak.
 *
 *   client                                     broker
 *   zmtp_begin() --> greeting                  zmtp_await() --> greeting
 *                --> HELLO                                  --> WELCOME
 *                --> INITIATE                               --> zmtp_admit(): READY,
 *                                                               zmtp_refuse(): ERROR
 *   zmtp_shake() takes what comes, and says    zmtp_serve() does that
 *   what to answer
 *
 * and then both: MESSAGE ..., by zmtp_seal(), zmtp_next() and zmtp_open().
 *
 * Everything that comes to a client is a stranger's until WELCOME has been opened, which only who
 * has the broker's secret can make; ERROR is nobody's word, CurveZMQ does not seal it; and from
 * ZMTP_UP on everything is the broker's. To a broker it is a stranger's until INITIATE has been
 * opened, and with ZMTP_WAITS_VERDICT it is of who holds the secret of `client_public`.
 */
#ifndef TRANSPORT_ZMTP_H
#define TRANSPORT_ZMTP_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "base/writer.h"

#define ZMTP_ANSWER_MAX 512   /* bytes; no answer of zmtp_shake() is longer */
#define ZMTP_BODY_OVERHEAD 33 /* so many are added to a frame, */
#define ZMTP_OVERHEAD 42      /* ... and at most so many with the head */
#define ZMTP_SHAKE_MAX 1024   /* larger things of a handshake are refused */

enum zmtp_state {
    ZMTP_WAITS_GREETING,
    /* client */
    ZMTP_WAITS_WELCOME,
    ZMTP_WAITS_READY, /* it is the broker; whether it lets us in is not known */
    /* both */
    ZMTP_UP,
    ZMTP_FAILED,
    /* broker */
    ZMTP_WAITS_HELLO,
    ZMTP_WAITS_INITIATE,
    ZMTP_WAITS_VERDICT, /* zmtp_admit() or zmtp_refuse() */
};

struct zmtp {
    enum zmtp_state state;
    uint8_t broker_public[32];          /* S */
    uint8_t client_public[32];          /* C */
    struct secret my_secret;            /* client: c; wiped when INITIATE is made */
    const struct secret *broker_secret; /* broker: s, the caller's */
    uint8_t once_public[32];            /* C' of the client, S' of the broker */
    struct secret once_secret;          /* c' or s'; wiped with INITIATE */
    uint8_t peer_once[32];              /* broker: C' */
    uint8_t cookie[96];                 /* broker */
    struct secret shared;               /* by C' and S, then by C' and S'; wiped at ZMTP_UP */
    struct secret outgoing;             /* subkeys of it, for MESSAGE of each direction */
    struct secret incoming;
    uint64_t sent, received; /* the numbers of what each side said last */
};

/* --- client ----------------------------------------------------------------------------------- */

/* Makes the key of this connection and writes our greeting. All keys are copied; wipe with
 * zmtp_wipe(). */
void zmtp_begin(struct zmtp *zmtp, const uint8_t broker_public[32], const uint8_t my_public[32],
                const struct secret *my_secret, struct writer *answer);
void zmtp_wipe(struct zmtp *zmtp);

enum zmtp_shaken {
    ZMTP_MORE,      /* too little has come */
    ZMTP_TAKEN,     /* a step; what is in the answer is to be sent */
    ZMTP_OTHER,     /* this is no broker, or no client: not ZMTP 3, no CURVE, or no ROUTER */
    ZMTP_OTHER_KEY, /* it is sealed with, or for, another key than that of the broker */
    ZMTP_SPOILED,   /* it was one, and what came then is not its */
    ZMTP_REFUSED,   /* client: with a status of ZAP */
    ZMTP_CHOSE_ID,  /* broker: by who is let choose its routing id by others */
};
/*
 * Takes what is at the front of @input, until the state is ZMTP_UP. After ZMTP_OTHER and what
 * follows it in the list, nothing may be asked any more.
 *
 * @ret_taken   ZMTP_TAKEN: bytes of @input that have served
 * @answer      ZMTP_ANSWER_MAX of room; what is in it is to be sent
 * @ret_status  ZMTP_REFUSED: a number of three digits; our broker's are 400 and 500
 */
enum zmtp_shaken zmtp_shake(struct zmtp *zmtp, struct bytes input, size_t *ret_taken,
                            struct writer *answer, unsigned *ret_status);

/* --- broker ----------------------------------------------------------------------------------- */

/* Writes our greeting. @broker_secret stays the caller's and must stay as long as the handshake. */
void zmtp_await(struct zmtp *zmtp, const uint8_t broker_public[32],
                const struct secret *broker_secret, struct writer *answer);
/*
 * Takes what is at the front of @input, until the state is ZMTP_WAITS_VERDICT: then the caller
 * looks whether `client_public` is let in, and says so with one of the two below. Parameters and
 * results are those of zmtp_shake(). HELLO and INITIATE cost two
 * operations of X25519 each.
 */
enum zmtp_shaken zmtp_serve(struct zmtp *zmtp, struct bytes input, size_t *ret_taken,
                            struct writer *answer);
/* It is let in: ZMTP_UP. */
void zmtp_admit(struct zmtp *zmtp, struct writer *answer);
/* It is not, by a @status of ZAP (https://rfc.zeromq.org/spec/27/): ZMTP_FAILED. */
void zmtp_refuse(struct zmtp *zmtp, const char status[4], struct writer *answer);

/* --- when it is up ---------------------------------------------------------------------------- */

/*
 * Whether a whole frame is at the front of @input.
 *
 * @is_command  of the handshake, which a MESSAGE is not
 * @body_max    larger bodies are refused, as soon as their head has come
 * @ret_head    bytes before its body
 * @ret_whole   bytes with it; as soon as the head has come, also with AICO_ENOTFOUND, else 0
 * 0; AICO_ENOTFOUND: not yet; AICO_ETOOLARGE; AICO_EPROTO: not such a frame of ZMTP 3.
 */
AICO_MUST_USE int zmtp_next(struct bytes input, bool is_command, size_t body_max, size_t *ret_head,
                            size_t *ret_whole);

#define ZMTP_PART_MORE 1 /* further parts follow: no frame of the bus has any */
#define ZMTP_COMMAND 2   /* not for the application: zmtp_pong() */

/*
 * Opens the body of a MESSAGE where it lies.
 *
 * @ret_flags  the byte of the other side with the above and perhaps others
 * @ret_plain  within @body
 * 0, AICO_EPROTO (no MESSAGE, or not the one that follows the last), AICO_EAUTHENTICITY.
 */
AICO_MUST_USE int zmtp_open(struct zmtp *zmtp, uint8_t *body, size_t size, unsigned *ret_flags,
                            struct bytes *ret_plain);

/* What zmtp_open() gave for a body that it has opened. */
struct bytes zmtp_opened(const uint8_t *body, size_t size, unsigned *ret_flags);

/* Seals one: @plain.size + ZMTP_OVERHEAD bytes of room at @to, returns how many it took. */
size_t zmtp_seal(struct zmtp *zmtp, unsigned flags, struct bytes plain, uint8_t *to);
/* The same in two steps, of which the second may be another thread's: MESSAGEs are numbered, so
 * they are sealed in the order in which they leave. Both return the bytes of the whole. */
size_t zmtp_write(unsigned flags, struct bytes plain, uint8_t *to);
size_t zmtp_seal_written(struct zmtp *zmtp, uint8_t *at);

/* The answer to a command that asks whether we are there; false: @command does not. */
bool zmtp_pong(struct bytes command, struct writer *answer);

#endif
