/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One established channel: two directions with their epochs, sequences and limits.
 * PROTOCOL 5.1, 5.4 and 6. It lives in guarded memory; in a forked child it reads as zeros and
 * refuses to seal. Which of several channels is used, and what is said on them, is
 * session/peers.c's business. One owner, not thread-safe.
 */
#ifndef SESSION_CHANNEL_H
#define SESSION_CHANNEL_H

#include "base/clock.h"
#include "envelope/envelope.h"
#include "session/chain.h"
#include "session/contexts.h"
#include "session/handshake.h"
#include "session/replay.h"
#include "session/settings.h"

#define CHANNEL_REKEY_ENVELOPES ((uint64_t)1 << 31) /* in one direction */
#define CHANNEL_REKEY_BYTES ((uint64_t)64 << 30)
#define CHANNEL_SEQUENCE_END UINT32_MAX /* never sealed */
#define FAILURES_MAX 1000000            /* openings that failed under one key */

struct channel {
    uint32_t alive; /* CHANNEL_ALIVE; zero after a fork or channel_kill() */
    uint8_t id[CHANNEL_ID_SIZE];
    uint8_t self[SIGN_PUBLIC_SIZE], peer[SIGN_PUBLIC_SIZE];
    struct session_settings settings;
    int64_t t0_ms;
    uint64_t time; /* Hello1.time */
    bool dialer;
    int64_t established_ms; /* boot clock: the handshake, also of one that goes on from another */
    struct {
        struct chain_sender chain;
        struct aead_key key;
        uint64_t next;  /* sequence */
        uint64_t bytes; /* sealed */
    } send;
    struct {
        struct chain_receiver chain;
        struct aead_key key; /* of chain.epoch */
        bool has_key;
        struct replay replay;
        uint64_t bytes; /* opened */
        uint32_t failures;
        bool heard; /* something opened, ever */
    } receive;
    struct contexts *contexts; /* [0] of sending, [1] of receiving; owned */
};

/* @keys is not wiped. @settings is copied. 0 or AICO_ENOMEM. */
AICO_MUST_USE int channel_new(const struct channel_keys *keys, const uint8_t *self,
                              const struct session_settings *settings, struct moment now,
                              struct channel **ret_channel);
void channel_free(struct channel **channel);
/* Erases all keys; the object stays, and refuses everything. */
void channel_kill(struct channel *channel);
bool channel_is_alive(const struct channel *channel);

/* What is sealed or opened. */
struct channel_message {
    uint8_t format; /* ENVELOPE_FORMAT_MESSAGE or _BATCH */
    uint8_t delivery;
    struct bytes topic;
    const uint8_t *ref; /* ENVELOPE_REF_SIZE for a reply, else NULL */
    bool has_headers;
    struct bytes headers, payload;
};

/*
 * Appends one envelope to @out. @ret_ref (ENVELOPE_REF_SIZE, may be NULL): its key id and sequence.
 * 0, AICO_EFORKED, AICO_ESTATE (killed), AICO_ELIMIT (sequence used up) or what envelope_seal()
 * says.
 */
AICO_MUST_USE int channel_seal(struct channel *channel, struct moment now,
                               const struct channel_message *message, struct writer *out,
                               uint8_t *ret_ref);

struct channel_opened {
    struct bytes content; /* borrowed from @plain */
    int64_t sent_ms;      /* sender's clock */
    uint64_t sequence;
};
/*
 * Opens a parsed envelope whose key id is this channel's, into @plain (its ciphertext's size). Gaps
 * go to @sink before it returns.
 *
 * 0; AICO_EFORMAT, AICO_EAUTHENTICITY, AICO_EPADDING (not what the channel allows), AICO_EREPLAY,
 * AICO_EEPOCHJUMP, AICO_EEPOCHBACK, AICO_EOPEN; AICO_ELIMIT: too many failures, the channel was
 * killed; AICO_ESTATE: it is dead. On failure nothing but a counter changed.
 */
AICO_MUST_USE int channel_open(struct channel *channel, struct moment now,
                               const struct envelope *envelope, uint8_t delivery,
                               struct bytes topic, const uint8_t *ref, uint8_t *plain,
                               const struct gap_sink *sink, struct channel_opened *ret_opened);

/* At a count or byte limit. */
bool channel_is_full(const struct channel *channel);
/* At an age, count or byte limit: time for a new handshake. @early_ms: the jitter, 0..10 % of the
 * interval. */
bool channel_is_spent(const struct channel *channel, struct moment now, int64_t early_ms);
/* The greater (time, id) wins; < 0, 0, > 0. */
int channel_compare(const struct channel *a, const struct channel *b);

/* Steps and erasures that are due by time. */
void channel_tick(struct channel *channel, struct moment now, bool backlogged);
int64_t channel_deadline(const struct channel *channel, bool backlogged);

/* The envelopes' time field and back. */
uint32_t time_since(int64_t t0_ms, struct moment now);

#endif
