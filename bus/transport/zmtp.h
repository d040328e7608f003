/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's half of ZMTP 3.1 (https://rfc.zeromq.org/spec/37/) with CurveZMQ
 * (https://rfc.zeromq.org/spec/26/), of bytes alone: no socket, no clock, no memory of its own.
 * What libzmq's ROUTER speaks at the other end. Everything that comes is a stranger's until
 * WELCOME has been opened, which only who has the broker's secret can make; ERROR is nobody's word,
 * CurveZMQ does not seal it; and from ZMTP_UP on everything is the broker's.
 *
 *   zmtp_begin() --> greeting        <-- greeting        zmtp_shake() takes each and says what to
 *                --> HELLO           <-- WELCOME         answer
 *                --> INITIATE        <-- READY or ERROR
 *                --> MESSAGE ...     <-- MESSAGE ...     zmtp_seal(), zmtp_next() and zmtp_open()
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
#define ZMTP_SHAKE_MAX 1024   /* larger things of a broker that shakes hands are refused */

enum zmtp_state {
    ZMTP_WAITS_GREETING,
    ZMTP_WAITS_WELCOME,
    ZMTP_WAITS_READY, /* it is the broker; whether it lets us in is not known */
    ZMTP_UP,
    ZMTP_FAILED,
};

struct zmtp {
    enum zmtp_state state;
    uint8_t broker_public[32]; /* S */
    uint8_t my_public[32];     /* C */
    struct secret my_secret;   /* c; wiped when INITIATE is made */
    uint8_t once_public[32];   /* C' */
    struct secret once_secret; /* c'; wiped with it */
    struct secret shared;      /* by C' and S, then by C' and S'; wiped at ZMTP_UP */
    struct secret to_broker;   /* subkeys of it, for MESSAGE of each direction */
    struct secret from_broker;
    uint64_t sent, received; /* the numbers of what each side said last */
};

/* Makes the key of this connection and writes our greeting. All keys are copied; wipe with
 * zmtp_wipe(). */
void zmtp_begin(struct zmtp *zmtp, const uint8_t broker_public[32], const uint8_t my_public[32],
                const struct secret *my_secret, struct writer *answer);
void zmtp_wipe(struct zmtp *zmtp);

enum zmtp_shaken {
    ZMTP_MORE,      /* too little has come */
    ZMTP_TAKEN,     /* a step; what is in the answer is to be sent */
    ZMTP_OTHER,     /* this is no broker: not ZMTP 3, no CURVE, or no ROUTER */
    ZMTP_OTHER_KEY, /* it is sealed with another key than that of the broker */
    ZMTP_SPOILED,   /* it was the broker, and what came then is not its */
    ZMTP_REFUSED,   /* with a status of ZAP */
};
/*
 * Takes what is at the front of @input, until the state is ZMTP_UP. After ZMTP_OTHER and what
 * follows it in the list, nothing may be asked any more.
 *
 * @ret_taken   ZMTP_TAKEN: bytes of @input that have served
 * @answer      ZMTP_ANSWER_MAX of room; what is in it is to be sent
 * @ret_status  ZMTP_REFUSED: a number of three digits; the broker's are 300, 400 and 500
 */
enum zmtp_shaken zmtp_shake(struct zmtp *zmtp, struct bytes input, size_t *ret_taken,
                            struct writer *answer, unsigned *ret_status);

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

#define ZMTP_PART_MORE 1 /* further parts follow: nothing that a broker sends */
#define ZMTP_COMMAND 2   /* not for the application: zmtp_pong() */

/*
 * Opens the body of a MESSAGE where it lies.
 *
 * @ret_flags  the byte of the broker with the above and perhaps others
 * @ret_plain  within @body
 * 0, AICO_EPROTO (no MESSAGE, or not the one that follows the last), AICO_EAUTHENTICITY.
 */
AICO_MUST_USE int zmtp_open(struct zmtp *zmtp, uint8_t *body, size_t size, unsigned *ret_flags,
                            struct bytes *ret_plain);

/* Seals one: @plain.size + ZMTP_OVERHEAD bytes of room at @to, returns how many it took. */
size_t zmtp_seal(struct zmtp *zmtp, unsigned flags, struct bytes plain, uint8_t *to);

/* The answer to a command that asks whether we are there; false: @command does not. */
bool zmtp_pong(struct bytes command, struct writer *answer);

#endif
