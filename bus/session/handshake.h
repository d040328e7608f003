/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The three-message handshake of a channel, PROTOCOL 4. Pure functions over the state of one
 * attempt; whose attempt survives is session/peers.c's business. Not thread-safe, one owner.
 *
 *   Hello1, dialer to listener                       Hello2, listener to dialer
 *     0  u8  version = 1                               0  u8  version = 1
 *     1  u8  type = 1                                  1  u8  type = 2
 *     2  u16 suite = 1                                 2  u16 suite = 1
 *     4  u32 policy                                    4  u32 policy
 *     8  u64 time                                      8  u64 time
 *    16  u64 registry version                         16  u64 registry version
 *    24  16  registry hash                            24  16  registry hash
 *    40  32  identity of the listener                 40  32  H(Hello1)
 *    72  32  identity of the dialer                   72  32  ephemeral key
 *   104  32  ephemeral key                           104  32  challenge
 *   136  32  challenge                               136  64  SIGN "hello2" over NS || 0..135
 *   168  64  SIGN "hello1" over NS || 0..167         200  32  MAC(confirm listener, T)
 *
 *   Hello3   u8 version, u8 type = 3, u16 0, 12 channel id, 32 MAC(confirm dialer, T)
 *   Refuse   u8 version, u8 type = 4, u16 code, u64 time, 32 H(Hello); CHANNEL_UNKNOWN: the channel
 *            id and zeros instead of the hash. Not authenticated: a hint for people.
 */
#ifndef SESSION_HANDSHAKE_H
#define SESSION_HANDSHAKE_H

#include <aico/error.h>

#include "base/clock.h"
#include "base/writer.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "session/guard.h"
#include "session/settings.h"
#include "trust/registry.h"

#define HANDSHAKE_VERSION 1
#define HELLO1_SIZE 232
#define HELLO2_SIZE 232
#define HELLO3_SIZE 48
#define REFUSE_SIZE 44
#define CHANNEL_ID_SIZE 12
#define T0_BEFORE_MS ((int64_t)1 << 20) /* t0 lies this much before Hello2.time */

enum handshake_type {
    HANDSHAKE_HELLO1 = 1,
    HANDSHAKE_HELLO2 = 2,
    HANDSHAKE_HELLO3 = 3,
    HANDSHAKE_REFUSE = 4,
    HANDSHAKE_RESUME1 = 7, /* session/resume.h */
    HANDSHAKE_RESUME2 = 8,
};

/* Who we are and what we know; all borrowed for the call. */
struct handshake_context {
    const struct session_settings *settings;
    const struct identity *self;
    const struct registry *registry;
    uint64_t *verifications; /* rises with every signature checked; may be NULL */
};

/* What is drawn anew for every Hello1 and Hello2. */
struct handshake_random {
    struct secret ephemeral;
    uint8_t challenge[32];
};
void handshake_random_draw(struct hedge *hedge, struct handshake_random *ret_random);
void handshake_random_wipe(struct handshake_random *random);

/* A finished handshake: what a channel is made of. Wipe with channel_keys_wipe(). */
struct channel_keys {
    uint8_t id[CHANNEL_ID_SIZE];
    uint8_t peer[SIGN_PUBLIC_SIZE];
    struct secret send, receive; /* traffic keys of epoch 0 */
    struct secret resume;        /* with allow_key_reuse: session/resume.h; else zeros */
    int64_t t0_ms;               /* base of the envelopes' time field */
    uint64_t time;               /* Hello1.time: orders channels with one peer, with the id */
    uint64_t peer_version;       /* registry version of the peer */
    bool dialer;                 /* we dialled */
    bool resumed;                /* from a channel that was; no handshake */
    int64_t age_ms;              /* since the handshake; 0 unless resumed */
};
void channel_keys_wipe(struct channel_keys *keys);

/* The dialer's side between Hello1 and Hello2. Holds a secret: lives in guarded memory. */
struct dialer {
    uint8_t peer[SIGN_PUBLIC_SIZE];
    uint8_t hello1[HELLO1_SIZE];
    uint8_t continuation[HASH_SIZE]; /* H(Hello1) */
    struct secret ephemeral;
    int64_t deadline_ms; /* boot clock */
};
void dialer_wipe(struct dialer *dialer);

/* The listener's side between Hello2 and Hello3. Holds secrets: lives in guarded memory. */
struct listener {
    struct channel_keys keys;
    struct secret confirm_dialer;
    uint8_t transcript[HASH_SIZE];
    int64_t deadline_ms; /* boot clock */
};
void listener_wipe(struct listener *listener);

/* Whether our settings and the registry let us have a channel with @component (NULL: not in the
 * registry): 0, AICO_ESELF, AICO_EUNKNOWN, AICO_EREVOKED, AICO_ENOTALLOWED, AICO_EREGISTRYSTALE. */
AICO_MUST_USE int handshake_may_meet(const struct handshake_context *context, struct moment now,
                                     const struct component *component);
/* The same of what @component may have left in our mailbox before: see mail_may_come(). */
AICO_MUST_USE int handshake_may_have_written(const struct handshake_context *context,
                                             struct moment now, const struct component *component);
/* Whether mail of @component may still come: its key is valid, or was replaced no longer ago than
 * mail is kept. Not of one that was revoked (docs/decisions/0120). */
bool mail_may_come(const struct registry *registry, struct moment now,
                   const struct component *component);

/* Writes Hello1 for @peer. @random.ephemeral is copied. 0, AICO_EDH, AICO_ENOMEM. */
AICO_MUST_USE int dialer_begin(const struct handshake_context *context, struct moment now,
                               const uint8_t peer[SIGN_PUBLIC_SIZE],
                               const struct handshake_random *random, struct dialer *ret_dialer);
/*
 * Hello2. In this order: AICO_EDEADLINE (and then @dialer is wiped), AICO_ESIZE, AICO_EVERSION,
 * AICO_ETYPE, AICO_ESUITE, AICO_ECONTINUATION, AICO_ECLOCK, AICO_EPOLICY, AICO_ESIGNATURE,
 * AICO_EEQUIVOCATION, AICO_EDH, AICO_ECONFIRM: the attempt goes on. 0: @dialer is wiped,
 * @ret_hello3 may be sent any number of times.
 */
AICO_MUST_USE int dialer_receive(const struct handshake_context *context, struct moment now,
                                 struct dialer *dialer, struct bytes hello2,
                                 struct channel_keys *ret_keys, uint8_t ret_hello3[HELLO3_SIZE]);

/*
 * Hello1, checked in the order of PROTOCOL 4; nothing before the signature is a public-key
 * operation.
 *
 * @stamp      the sender's name, from the broker
 * @half_open  handshakes of that sender that wait for their Hello3
 *
 * Returns 0; AICO_ESIZE, AICO_EVERSION, AICO_ETYPE, AICO_ESUITE, AICO_ETARGET, AICO_ESELF,
 * AICO_EUNKNOWN, AICO_ESTAMP, AICO_EREVOKED, AICO_ENOTALLOWED, AICO_EREGISTRYSTALE, AICO_ECLOCK,
 * AICO_EPOLICY, AICO_ERATE, AICO_EREPLAY, AICO_ESIGNATURE, AICO_EEQUIVOCATION, AICO_EDH or
 * AICO_ENOMEM.
 */
AICO_MUST_USE int listener_receive(const struct handshake_context *context, struct moment now,
                                   struct guard *guard, struct bytes stamp, size_t half_open,
                                   struct bytes hello1, const struct handshake_random *random,
                                   struct listener *ret_listener, uint8_t ret_hello2[HELLO2_SIZE]);
/* The first two steps alone, for a caller that must decide on the sender before it answers: the
 * identity of the dialer, or NULL when @hello1 has another size, version or type. */
const uint8_t *hello1_dialer(struct bytes hello1);

/* Hello3: AICO_EDEADLINE (and then @listener is wiped), AICO_ESIZE, AICO_EVERSION, AICO_ETYPE,
 * AICO_ECONTINUATION (another channel id), AICO_ECONFIRM; 0: @listener is wiped. */
AICO_MUST_USE int listener_confirm(struct listener *listener, struct moment now,
                                   struct bytes hello3, struct channel_keys *ret_keys);

/* Refuse. @about: HASH_SIZE. */
void refuse_write(int code, struct moment now, const uint8_t about[HASH_SIZE],
                  uint8_t ret_refuse[REFUSE_SIZE]);
struct refuse {
    int code; /* AICO_E..., not necessarily a known one */
    uint64_t time;
    struct bytes about; /* HASH_SIZE, borrowed */
};
/* 0, AICO_ESIZE, AICO_EVERSION, AICO_ETYPE. */
AICO_MUST_USE int refuse_parse(struct bytes bytes, struct refuse *ret_refuse);

#endif
