/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the ratchets share. Not included elsewhere.
 *
 *   peers_ratchet.c        which one is used, sealing, opening, RESET
 *   peers_ratchet_begin.c  our prekeys at the broker, and beginning with those of others
 *   peers_ratchet_keep.c   what is stored, loaded, and handed over once more
 */
#ifndef SESSION_PEERS_RATCHET_H
#define SESSION_PEERS_RATCHET_H

#include "session/peers_internal.h"
#include "session/prekey.h"

/* One ratchet with a component. */
struct bond {
    struct bond *prev, *next;
    struct ratchet *ratchet; /* guarded, owned */
    uint64_t time;           /* of its Init: orders the ratchets of a pair, with the id */
    bool dirty;              /* not stored as it is */
    bool is_former;          /* of the key we had before: it opens what is on its way still */
    unsigned failures;       /* openings in a row */
    int64_t newest_ms;       /* sender's clock: nothing opened was sealed later */
    int64_t turn_ms;         /* an empty message is due then, if nothing else goes; 0: none */
};

/* A message that was opened, handed over, or not yet, and not taken. */
struct kept_message {
    struct kept_message *prev, *next;
    uint64_t number;
    bool handed;
    size_t size; /* of a message that was not handed over; it follows */
    uint8_t row[];
};

/* peers_ratchet.c */
/* Whether a ratchet rule gives us @right. */
bool has_ratchet_rule(const struct sessions *s, enum right right);
struct bond *bond_best(const struct peer *peer, const uint8_t *identity, struct moment now);
/* Takes @ratchet over; the oldest of too many goes. NULL without memory. */
struct bond *bond_add(struct sessions *s, struct peer *peer, struct ratchet *ratchet,
                      uint64_t time);
/* The store remembers what @ratchet has opened, which is given up. @newest_ms as of a bond. */
void ratchet_give_up(struct sessions *s, const struct ratchet *ratchet, int64_t newest_ms);
/* For good: also from the store. */
void bond_remove(struct sessions *s, struct peer *peer, struct bond *bond);

/* peers_ratchet_begin.c */
void bundle_over(struct peer *peer);
void bundle_fail(struct sessions *s, struct peer *peer, int code, const char *text);
void bundle_ask(struct sessions *s, struct peer *peer);
int bundle_want(struct sessions *s, struct moment now, struct peer *peer);
void say_ratchet_ready(struct sessions *s, struct peer *peer);
/* A statement when one is due, and the broker told of it, or in any case when @tell. */
void renew_prekeys(struct sessions *s, struct moment now, bool tell);

/* Whether @identity is ours, or was before our key was rotated. */
bool is_or_was_ours(const struct sessions *s, const uint8_t *identity);

/* peers_ratchet_keep.c */
struct bytes bond_key(const struct bond *bond, uint8_t room[KEEP_KEY_MAX]);
/* Everything that has changed, in one commit. A failure ends the sessions: what is in memory must
 * not be used, and nobody can say what is on the disk. */
int bonds_commit(struct sessions *s);
void mark_dirty(struct sessions *s, struct bond *bond);
/* What is stored, once a ratchet rule concerns us. */
int bonds_load(struct sessions *s, struct moment now, struct aico_error *err);
/* Writes the message of @event into the store with the state that opened it. */
void keep_message(struct sessions *s, const struct envelope *e, struct bytes content,
                  struct session_event *event);

#endif
