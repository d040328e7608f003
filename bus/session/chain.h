/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Epoch keys, k_{i+1} = KDF(k_i, "... step", ""), at both ends of a direction (PROTOCOL 6, 8). The
 * old key is erased when it is left. Both structs hold secrets: they live inside guarded memory.
 * One owner.
 */
#ifndef SESSION_CHAIN_H
#define SESSION_CHAIN_H

#include <aico/error.h>

#include "base/clock.h"
#include "base/secret.h"

#define CHAIN_ENVELOPES_MAX 65536 /* in one epoch */
#define CHAIN_JUMP_MAX 1024       /* steps a receiver goes for one envelope */
#define CHAIN_KEPT 2              /* left epochs a windowed receiver still opens */
#define CHAIN_IDLE_EXTRA_MS 30000

/* The sender's end. */
struct chain_sender {
    const char *label; /* "channel step" or "group step" */
    struct secret key;
    uint32_t epoch;
    uint32_t sealed;    /* envelopes in this epoch */
    int64_t started_ms; /* boot clock of the first of them */
};
void chain_sender_init(struct chain_sender *chain, const char *label, const struct secret *key);
/* Whether the epoch is over at @now. One in which nothing was sealed does not end. */
bool chain_sender_is_due(const struct chain_sender *chain, struct moment now, int64_t epoch_ms);
/* When it will be by time alone; MOMENT_NEVER while nothing was sealed. */
int64_t chain_sender_deadline(const struct chain_sender *chain, int64_t epoch_ms);
/* Erases the key and goes on with the next. */
void chain_sender_step(struct chain_sender *chain);
/* One envelope was sealed. */
void chain_sender_count(struct chain_sender *chain, struct moment now);

/* The receiver's end. */
struct chain_receiver {
    const char *label;
    struct secret key;
    uint32_t epoch;
    bool windowed; /* keeps what it left for a while */
    bool opened;   /* something did, in this epoch */
    int64_t heard_ms;
    struct chain_old {
        struct secret key;
        uint32_t epoch;
        int64_t until_ms; /* boot clock; 0: empty */
    } old[CHAIN_KEPT];
};
void chain_receiver_init(struct chain_receiver *chain, const char *label, const struct secret *key,
                         uint32_t epoch, bool windowed);

/* A key of the chain, derived tentatively. Wipe with chain_key_wipe(). */
struct chain_key {
    uint32_t epoch;
    uint32_t steps; /* ahead of the chain */
    struct secret key;
    struct secret before[CHAIN_KEPT]; /* of the epochs before it, as far as derived on the way */
};
void chain_key_wipe(struct chain_key *key);
/* The key of @epoch: 0, AICO_EEPOCHBACK (erased), AICO_EEPOCHJUMP (more than CHAIN_JUMP_MAX ahead;
 * nothing was derived). The chain does not move. */
AICO_MUST_USE int chain_receiver_find(const struct chain_receiver *chain, struct moment now,
                                      uint32_t epoch, struct chain_key *ret_key);
/* Something opened with @key: the chain moves there. */
void chain_receiver_move(struct chain_receiver *chain, const struct chain_key *key,
                         struct moment now, int64_t keep_ms);
/* Erases what was kept long enough, and steps once out of an epoch in which something opened after
 * @epoch_ms and some of silence (unless @backlogged). True if the chain stepped. */
bool chain_receiver_tick(struct chain_receiver *chain, struct moment now, int64_t epoch_ms,
                         int64_t keep_ms, bool backlogged);
int64_t chain_receiver_deadline(const struct chain_receiver *chain, int64_t epoch_ms,
                                bool backlogged);

#endif
