/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Double Ratchet of two components, PROTOCOL 9: one state machine over bytes.
 *
 *   root step   rk' = KDF(rk, "ratchet root", dh), chain = KDF(rk, "ratchet chain", dh)
 *   chain step  mk = KDF(ck, "message key", ""), ck' = KDF(ck, "chain step", "")
 *   nonce       ratchet id (12) || u32 PN || u32 time || u32 N
 *   metadata    format 3: ratchet key (32); format 4, until something was heard: Init (224) ||
 *               ratchet key (32)
 *
 * A ratchet seals only numbers the stored state has already passed (ratchet_reserve(), then
 * ratchet_write() and the caller's commit), so a process that is killed uses no key twice. Opening
 * changes the state only if the envelope opens; the caller stores it before it shows the content.
 * It lives in guarded memory; in a forked child it reads as zeros and refuses. One owner, not
 * thread-safe.
 */
#ifndef SESSION_RATCHET_H
#define SESSION_RATCHET_H

#include "base/buffer.h"
#include "base/clock.h"
#include "crypto/random.h"
#include "envelope/envelope.h"
#include "session/settings.h"

#define RATCHET_ID_SIZE ENVELOPE_KEY_ID_SIZE
#define RATCHET_INIT_SIZE 224
#define RATCHET_RESERVE 64        /* numbers one commit makes usable */
#define RATCHET_FORMER 4          /* left keys of the peer that are still told from unknown ones */
#define RATCHET_SKIPPED_MAX 20000 /* twice max_skipped_messages */
#define RATCHET_SKIPPED_KEEP_MS ((int64_t)7 * 24 * 3600 * 1000) /* since it was skipped */
#define RATCHET_UNHEARD_MS ((int64_t)13 * 24 * 3600 * 1000)     /* an Init is taken for 14 days */
#define RATCHET_LIFE_MS ((int64_t)45 * 24 * 3600 * 1000)        /* then a new one is begun */

struct ratchet_chain {
    struct secret key; /* of number `next` */
    uint32_t next;
    bool begun;
};

/* The key of a message that has not come. */
struct ratchet_skipped {
    struct secret key;
    uint8_t public[DH_PUBLIC_SIZE]; /* the sender's ratchet key */
    uint32_t number;
    int64_t until_ms; /* ms since 1970 */
};

struct ratchet {
    uint32_t alive; /* RATCHET_ALIVE; zero after a fork */
    uint8_t id[RATCHET_ID_SIZE];
    uint8_t self[SIGN_PUBLIC_SIZE], peer[SIGN_PUBLIC_SIZE]; /* identities */
    int64_t t0_ms;                                          /* base of the time field */
    struct secret root, secret;                             /* rk; our ratchet key */
    uint8_t public[DH_PUBLIC_SIZE];
    uint8_t peer_public[DH_PUBLIC_SIZE];
    uint8_t former[RATCHET_FORMER][DH_PUBLIC_SIZE]; /* the latest first */
    struct ratchet_chain send, receive;
    uint32_t previous; /* PN: length of our sending chain before this one */
    uint32_t reserved; /* the stored state has passed every number below */
    bool heard;        /* something of the peer opened */
    bool has_init;     /* we began it with prekeys: Init goes along until something was heard */
    bool received;     /* the peer began it with this Init */
    uint8_t init[RATCHET_INIT_SIZE];
    struct ratchet_skipped *skipped; /* the oldest first; guarded memory */
    size_t skipped_count, skipped_capacity;
};

/* How a ratchet begins. All borrowed for the call. */
struct ratchet_start {
    const uint8_t *self, *peer; /* identities */
    const struct secret *root;  /* the first rk */
    int64_t t0_ms;
    const uint8_t *init; /* RATCHET_INIT_SIZE; NULL: it comes from a channel */
};
/* The side that acts first, with a key @secret of its own. 0, AICO_EDH, AICO_ENOMEM. */
AICO_MUST_USE int ratchet_begin(const struct ratchet_start *start,
                                const uint8_t peer_public[DH_PUBLIC_SIZE],
                                const struct secret *secret, struct ratchet **ret_ratchet);
/* The other side: @secret belongs to the public key the first one used. 0 or AICO_ENOMEM. */
AICO_MUST_USE int ratchet_await(const struct ratchet_start *start, const struct secret *secret,
                                struct ratchet **ret_ratchet);
void ratchet_free(struct ratchet **ratchet);
/* The id of the ratchet that begins with @root. */
void ratchet_id(const struct secret *root, uint8_t ret_id[RATCHET_ID_SIZE]);

/* The state as it is to be stored, appended to @to (wipe it): ahead of use by what is reserved. 0
 * or AICO_ENOMEM. */
AICO_MUST_USE int ratchet_write(const struct ratchet *ratchet, struct buffer *to);
/* What ratchet_write() wrote: 0, AICO_EFORMAT, AICO_ENOMEM. */
AICO_MUST_USE int ratchet_parse(struct bytes state, struct ratchet **ret_ratchet);

/* Whether ratchet_seal() needs a ratchet_reserve() and a commit of ratchet_write() first. */
bool ratchet_needs_reserve(const struct ratchet *ratchet);
void ratchet_reserve(struct ratchet *ratchet);
/* Nothing will be sealed before the next ratchet_reserve(): the stored state may be the exact one.
 */
void ratchet_release(struct ratchet *ratchet);
/* Whether it has a sending chain, in a time its nonces can tell. */
bool ratchet_can_seal(const struct ratchet *ratchet, struct moment now);

struct ratchet_message {
    uint8_t delivery;
    struct bytes topic;
    const uint8_t *ref; /* ENVELOPE_REF_SIZE for a reply, else NULL */
    bool has_headers;
    struct bytes headers, payload;
};
/*
 * Appends one envelope to @out. @ret_ref (ENVELOPE_REF_SIZE, may be NULL): what a reply is bound
 * to. @settings: namespace, padding, max_message_size.
 *
 * 0; AICO_EFORKED; AICO_ESTATE (not reserved, or ratchet_can_seal() is false); AICO_ELIMIT (numbers
 * used up); what envelope_seal() says. On failure nothing was used.
 */
AICO_MUST_USE int ratchet_seal(struct ratchet *ratchet, const struct session_settings *settings,
                               struct moment now, const struct ratchet_message *message,
                               struct writer *out, uint8_t *ret_ref);
/* What a reply to this envelope is bound to: numbers repeat from chain to chain, so the ratchet key
 * belongs to it. */
void ratchet_ref(const struct envelope *envelope, uint8_t ret_ref[ENVELOPE_REF_SIZE]);

struct ratchet_opened {
    struct bytes content; /* borrowed from @plain */
    int64_t sent_ms;      /* sender's clock */
    uint32_t number;
    uint64_t passed_over; /* numbers skipped on the way to it */
    bool turned;          /* it came with a new key of the peer: our sending chain is new too */
};
/*
 * Opens a parsed envelope of format 3 or 4 whose key id is this ratchet's into @plain (its
 * ciphertext's size).
 *
 * @max_skipped  most numbers skipped in one chain; twice that are kept, the oldest go first
 * @fresh_secret a key of ours nobody has seen: used (copied) if the peer's is new
 *
 * 0; AICO_EFORKED; AICO_EPADDING (flag); AICO_EREPLAY; AICO_ESKIP; AICO_EDH; AICO_EOPEN;
 * AICO_ENOMEM. On failure nothing changed.
 */
AICO_MUST_USE int ratchet_open(struct ratchet *ratchet, const struct session_settings *settings,
                               struct moment now, const struct envelope *envelope,
                               const struct ratchet_message *expected, size_t max_skipped,
                               const struct secret *fresh_secret, uint8_t *plain,
                               struct ratchet_opened *ret_opened);
/* Below which number all of the peer's first chain, what goes with its Init, was opened or skipped.
 */
uint32_t ratchet_first_numbers(const struct ratchet *ratchet);
/* Erases keys skipped more than seven days ago; true if there were any. */
bool ratchet_expire(struct ratchet *ratchet, struct moment now);

#endif
