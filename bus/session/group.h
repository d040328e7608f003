/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Groups, PROTOCOL 8: one generation of one publisher's sender key for one topic rule.
 *
 * struct group is the publisher's side. Who may read is decided from the registry alone, and so is
 * how the sender is proven: the number of entitled readers picks the trailer, and a vector has a
 * slot for each of them from the start. So the first message is readable by all of them, whoever
 * has asked for the key so far.
 *
 * struct group_reader is a reader's side, found by (publisher identity, group id): never by the id
 * alone, since a member could hand out somebody's group as its own.
 *
 * Keys live in guarded memory. One owner, not thread-safe.
 */
#ifndef SESSION_GROUP_H
#define SESSION_GROUP_H

#include "base/buffer.h"
#include "base/clock.h"
#include "base/hash.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "envelope/ahead.h"
#include "envelope/content.h"
#include "envelope/envelope.h"
#include "session/chain.h"
#include "session/control.h"
#include "session/replay.h"
#include "session/settings.h"
#include "session/vault.h"
#include "trust/registry.h"
#include "wire/topic.h"

#define GROUP_ID_SIZE ENVELOPE_KEY_ID_SIZE
#define GROUP_TOPICS_MAX 65536 /* of one sender */
#define GROUP_VECTOR_MAX 16    /* readers; more are cheaper with a signature */
#define GROUP_REKEY_SEQUENCE ((uint64_t)1 << 31)
/* Sequences from here on are wills: each is sealed under the next epoch's key, in a row of its own,
 * and no part of what is counted (decision 44). */
#define GROUP_WILL_BASE 0xfff00000u

/* --- the publisher -------------------------------------------------------------------------- */

/* A reader the registry entitles. */
struct group_member {
    uint8_t identity[SIGN_PUBLIC_SIZE];
    uint8_t slot; /* ENVELOPE_NO_SLOT unless the trailer is a vector */
    bool told;    /* GROUP_KEY of this generation was sealed for it */
};

struct topic_secret {
    struct aead_key key;
    struct secret commit;
};

struct group_topic {
    UT_hash_handle hh;
    struct topic_secret *secret; /* in the group's vault; of `epoch` when has_key */
    uint64_t next;               /* sequence, continuous over epochs */
    uint32_t wills;              /* sealed */
    uint64_t messages;           /* sealed: more than `next` once there was a batch */
    uint32_t epoch;
    bool has_key, has_context;
    uint8_t delivery; /* of `context` */
    uint8_t context[HASH_SIZE];
    bool dirty; /* sealed since the last HEADS */
    struct group_topic *dirty_next;
    uint8_t size;
    char name[];
};

struct group_secret {
    uint32_t alive;
    struct chain_sender chain;
    struct secret start;    /* g_0, as long as readers may need it: see group.stored */
    struct secret previous; /* chain key of the epoch before, for late requests */
    struct secret vector;   /* vk */
    struct secret reader_keys[GROUP_VECTOR_MAX];
};

struct group {
    UT_hash_handle hh; /* by filter */
    const struct identity *self;
    struct session_settings settings;
    struct group_secret *secret;
    uint8_t id[GROUP_ID_SIZE];
    uint64_t generation;
    int64_t t0_ms;
    int64_t started_ms;        /* boot clock */
    int64_t previous_until_ms; /* boot clock; 0: no previous chain key */
    uint8_t trailer;           /* enum envelope_trailer */
    bool padded;
    bool stored; /* its messages are stored for readers who are away: they get g_0 */
    enum rule_authenticity authenticity;
    struct group_member *members;
    size_t member_count;
    size_t vector_count; /* slots in use */
    struct vault vault;
    struct group_topic *topics;
    struct group_topic *dirty;
    uint64_t top; /* highest sequence, or number of messages, of any topic */
    uint8_t filter_size;
    char filter[TOPIC_SIZE_MAX + 1];
};

#define GENERATION_MAX ((uint64_t)INT64_MAX / 2) /* ms; times computed from it stay in range */

/* What a generation is drawn from. */
struct group_seed {
    struct secret g0, vector;
    uint64_t generation;
};
void group_seed_draw(struct hedge *hedge, struct moment now, uint64_t last_generation,
                     struct group_seed *ret_seed);
void group_seed_wipe(struct group_seed *seed);

/* The readers @rule entitles besides @self, in the registry's order; *ret_members is the caller's
 * (free()), NULL for none. AICO_ENOMEM. */
AICO_MUST_USE int group_entitled(const struct registry *registry, const struct rule *rule,
                                 const struct identity *self, struct moment now,
                                 struct group_member **ret_members, size_t *ret_count);
/* The id of a group with this secret. */
void group_derive_id(const struct secret *g0, uint64_t generation,
                     const uint8_t publisher[SIGN_PUBLIC_SIZE], struct bytes filter,
                     uint8_t ret_id[GROUP_ID_SIZE]);
/* Whether @rule leaves the keys of its messages at the broker. */
bool rule_leaves_keys(const struct rule *rule);
/* The trailer of a generation with @count entitled readers. */
uint8_t group_trailer(const struct session_settings *settings, const struct rule *rule,
                      size_t count);

/* @self is borrowed; @settings and the rule's words are copied; @members (group_entitled()) is
 * handed over also on failure. 0 or AICO_ENOMEM. */
AICO_MUST_USE int group_new(const struct identity *self, const struct session_settings *settings,
                            const struct rule *rule, const struct group_seed *seed,
                            struct moment now, struct group_member *members, size_t member_count,
                            struct group **ret_group);
void group_free(struct group **group);
struct group_member *group_member_find(struct group *group,
                                       const uint8_t identity[SIGN_PUBLIC_SIZE]);

/* The @next entitled readers take the place of the current ones. True: the group goes on (it
 * stepped if someone was added), @next is taken over. False: this generation is over (someone left,
 * the trailer changes, no slot is left, the rule reads otherwise), nothing changed. */
bool group_update(struct group *group, const struct rule *rule, struct group_member *next,
                  size_t next_count);

/* 0, AICO_EFORKED, AICO_ELIMIT, AICO_ENOMEM, or what envelope_seal() says. Does not allocate once
 * the topic is known. */
AICO_MUST_USE int group_seal(struct group *group, struct moment now, uint8_t format,
                             uint8_t delivery, struct bytes topic, bool has_headers,
                             struct bytes headers, struct bytes payload, struct writer *out);
/* The same for @count messages (1..65535) in one envelope. Also AICO_ETOOLARGE (together above
 * max_message_size). @later: where its trailer may be left to group_prove(), which comes before
 * anything else of the group does; NULL: it is written now. */
AICO_MUST_USE int group_seal_batch(struct group *group, struct moment now, uint8_t delivery,
                                   struct bytes topic, const struct content_item *items,
                                   size_t count, struct trailers_ahead *later, struct writer *out);
void group_prove(const struct group *group, struct trailers_ahead *later);
/* Seals a will of ours: a message for later, which the broker publishes when we are gone. It is
 * readable by who holds the key of this epoch or of the next, and has to be sealed anew when the
 * epoch or the generation is over. As group_seal(). */
AICO_MUST_USE int group_seal_will(struct group *group, struct moment now, struct bytes topic,
                                  struct bytes payload, struct writer *out);
/* Appends GROUP_KEY for @member to @out: of the earliest epoch from @epoch on whose chain key is
 * held, or of the current one. 0, AICO_EFORKED, AICO_ENOMEM. Wipe the buffer. */
AICO_MUST_USE int group_write_key(struct group *group, struct moment now,
                                  const struct group_member *member, uint32_t epoch,
                                  struct buffer *out);
/* The earliest epoch whose chain key is held: for who was to have the key and lacks it still. */
uint32_t group_first_epoch(const struct group *group, struct moment now);
/* Appends one section of HEADS for topics with traffic since the last one, which they leave; true
 * while there was one. */
bool group_take_heads(struct group *group, struct buffer *out);
/* Appends an envelope on $bus/heads around @sections, of this generation or of former ones. 0,
 * AICO_ENOMEM, or what group_seal() says. */
AICO_MUST_USE int group_seal_heads(struct group *group, struct moment now, struct bytes sections,
                                   struct buffer *out);
/* Both at once: one envelope a call, true while there was one. */
bool group_next_heads(struct group *group, struct moment now, struct buffer *out);
bool group_has_traffic(const struct group *group);
/* At a count limit. */
bool group_is_full(const struct group *group);
/* At an age or count limit: time for a new generation. */
bool group_is_spent(const struct group *group, struct moment now, int64_t early_ms);
void group_tick(struct group *group, struct moment now);
int64_t group_deadline(const struct group *group);

/* --- a reader ------------------------------------------------------------------------------- */

struct reader_topic {
    UT_hash_handle hh;
    struct topic_secret *secret;
    uint32_t epoch;
    bool has_key, has_context;
    uint8_t delivery;
    uint8_t context[HASH_SIZE];
    uint64_t listed; /* where GROUP_KEY says the topic stands: envelopes, messages */
    uint64_t listed_messages;
    bool is_uncounted;  /* `messages` is not known until something opens, or HEADS tells */
    bool skip;          /* not listened to meanwhile: the next number is no gap */
    bool shared;        /* read as one of a queue group: a window, and no gaps */
    uint64_t will_next; /* no will below it is opened any more */
    bool is_ruled;      /* the rule of this group is the one that decides for the topic */
    bool is_guessed;    /* the window began at the first number that came, `start` */
    uint64_t start, start_number;
    struct replay replay;
    uint64_t messages; /* strict: those before replay.next, as far as is known */
    uint8_t size;
    char name[];
};

struct reader_secret {
    struct chain_receiver chain;
    struct secret reader_key;
};

struct group_reader {
    UT_hash_handle hh;
    uint8_t key[SIGN_PUBLIC_SIZE + GROUP_ID_SIZE]; /* publisher identity, group id */
    const uint8_t *self;                           /* our identity, borrowed */
    struct session_settings settings;
    struct reader_secret *secret;
    uint64_t generation;
    int64_t t0_ms;
    int64_t until_ms; /* boot clock: replaced, erased then; 0: current */
    uint8_t trailer, slot;
    bool padded;
    uint64_t missing;   /* while a gap is reported: messages in it; 0: as many as envelopes */
    bool listed;        /* topics not named by GROUP_KEY start at 0 */
    uint64_t listed_at; /* the caller's count when it asked for that list; 0: it did not */
    /* Whether what is missing from the start of @topic is a gap; NULL: group_open()'s @expected. */
    bool (*expects)(void *context, const struct group_reader *reader, struct bytes topic);
    /* Whether we read @topic only as one of a queue group; NULL: never. */
    bool (*shares)(void *context, struct bytes topic);
    void *expects_context;           /* of both */
    const struct registry *registry; /* borrowed; decides which rule a topic has; NULL: not asked */
    uint32_t failures;
    int64_t unheard_ms; /* boot clock of the first envelope since the last HEADS; 0: none */
    bool heads_missed;  /* reported already */
    struct vault vault;
    struct reader_topic *topics;
    const struct trailers_ahead *ahead; /* borrowed; NULL: each envelope is hashed by itself */
    uint8_t filter_size;
    char filter[TOPIC_SIZE_MAX + 1];
};

/* From a GROUP_KEY that came over a channel with @publisher; rights were checked. @settings is
 * copied. @windows: the publisher's count of topics, raised. 0, AICO_ELIMIT, AICO_ENOMEM,
 * AICO_EFORMAT (filter, generation). */
AICO_MUST_USE int group_reader_new(const uint8_t *self, const struct session_settings *settings,
                                   const uint8_t publisher[SIGN_PUBLIC_SIZE], bool padded,
                                   const struct control *group_key, struct moment now,
                                   size_t *windows, struct group_reader **ret_reader);
void group_reader_free(struct group_reader **reader, size_t *windows);
/* A GROUP_KEY of the same group again: an epoch out of the chain's reach or a slot is taken. */
void group_reader_renew(struct group_reader *reader, const struct control *group_key);

struct group_opened {
    struct bytes content; /* borrowed from @plain; a batch was checked */
    int64_t sent_ms;      /* sender's clock */
    uint64_t sequence;
    uint64_t number; /* of its first message on the topic, in this generation */
    size_t count;    /* messages */
    bool will;       /* no part of the row: sequence and number say nothing */
};
/*
 * Opens a parsed envelope of this (publisher, key id) into @plain (its ciphertext's size).
 *
 * @expected  we have listened to @topic since before the key came: what is missing from its start
 *            is a gap
 *
 * 0; AICO_EFORMAT, AICO_EAUTHENTICITY, AICO_EPADDING, AICO_EREPLAY, AICO_EEPOCHJUMP,
 * AICO_EEPOCHBACK, AICO_EOPEN (also: a topic outside the rule), AICO_ESIGNATURE, AICO_ELIMIT
 * (topics, or a million failures: the caller frees the reader), AICO_ENOMEM. On failure only
 * counters change.
 */
AICO_MUST_USE int group_open(struct group_reader *reader, struct moment now,
                             const struct envelope *envelope, uint8_t delivery, struct bytes topic,
                             bool expected, size_t *windows, uint8_t *plain,
                             const struct gap_sink *sink, struct group_opened *ret_opened);
/* Adds what the trailer of @envelope proves to @ahead, if its key is in use, it was not
 * read yet, and there is room. */
bool group_reader_look_ahead(const struct group_reader *reader, const struct envelope *envelope,
                             uint8_t delivery, struct bytes topic, struct trailers_ahead *ahead);
/* Another registry is in force (borrowed): every topic is asked about again. */
void group_reader_set_registry(struct group_reader *reader, const struct registry *registry);
/* A list we asked for after we had subscribed says where a topic stands: all from there on comes
 * or is a gap, what was lost before the first number that came included. */
void group_reader_list(struct group_reader *reader, const struct control_stand *stand,
                       size_t *windows, const struct gap_sink *sink);
/* HEADS says where a topic stands. */
void group_reader_announce(struct group_reader *reader, const struct control_stand *stand,
                           bool expected, size_t *windows, const struct gap_sink *sink);
/* What we subscribed to has changed: asks whether @topic is shared now. */
void group_reader_share(struct group_reader *reader, struct reader_topic *topic);
void group_reader_tick(struct group_reader *reader, struct moment now, bool backlogged);
int64_t group_reader_deadline(const struct group_reader *reader, bool backlogged);

#endif
