/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the session manager share. Not included outside bus/session/peers*.c.
 *
 *   peers.c            life, registry, time, and which peer a name is
 *   peers_events.c     the queue of what the caller is told
 *   peers_dial.c       handshakes: who dials, who answers, which attempt survives
 *   peers_resume.c     channels that go on after a restart
 *   peers_channel.c    channels: which one is used, PING, FINAL, control messages, direct messages
 *   peers_publish.c    groups we publish: generations, keys for readers, HEADS
 *   peers_seed.c       format 0 with components marked `peer aico`
 *   peers_ratchet.c    ratchets: prekeys, which one is used, what is stored when
 *   peers_read.c       groups we read: keys, what waits for one, gaps
 */
#ifndef SESSION_PEERS_INTERNAL_H
#define SESSION_PEERS_INTERNAL_H

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/fifo.h"
#include "base/hash.h"
#include "base/pool.h"
#include "base/bucket.h"
#include "session/channel.h"
#include "session/filters.h"
#include "session/group.h"
#include "session/keep.h"
#include "session/level.h"
#include "session/peers.h"
#include "session/stored.h"
#include "session/ratchet.h"
#include "session/resume.h"
#include "session/shelf.h"
#include "wire/record.h"
#include "wire/topic.h"

#define HELD_MAX 64 /* envelopes of one peer that overtook its Hello3, and their bytes */
#define HELD_BYTES_MAX ((size_t)1 << 20)
/* Of one publisher, waiting for a group's key. They are under our credit, so more than the receive
 * window never comes; a busy publisher sends more than 64 while the key is fetched. */
#define WAITING_MAX 65536
#define WAITING_BYTES_MAX ((size_t)32 << 20)
#define ASKS_MAX 16            /* keys of one publisher wanted at a time: a member may invent ids */
#define ASK_AGAIN_MS 1000      /* an unanswered KEY_REQUEST is repeated, at first sooner */
#define HANDSHAKE_AGAIN_MS 300 /* an unanswered Hello1 or Hello3, at first */
#define REDIAL_MS 1000         /* after CHANNEL_UNKNOWN */
#define PREPARE_MS 2000        /* a publisher waits so long for its readers' handshakes */
#define KEY_REQUESTS_RATE 10   /* a second, of one reader */
#define KEY_REQUESTS_BURST 20
#define AGAINS_RATE 20 /* values one reader may ask for, a second */
#define AGAINS_BURST 1000
#define REFUSES_RATE 10 /* hints to one peer a second */
#define REFUSES_BURST 20
#define PINGS_RATE 1000 /* a second to one peer, and at once */
#define PONGS_RATE 1000 /* to one peer; it asks with PINGS_RATE, perhaps as several processes */
#define PONGS_BURST 2000
#define PONGS_ALL_RATE                                                                             \
    1500 /* the broker passes on 2000 control messages a second: the rest is ours */
#define PONGS_ALL_BURST 3000
#define WORDS_RATE 1 /* of one peer that are passed on: its clock, its registry, its refusals */
#define WORDS_BURST 5
#define LATE_MS 60000          /* counted when a message is older */
#define REQUEST_FRESHNESS_S 60 /* requests and replies, whatever the rule says */
#define PINGS_UNANSWERED_MAX 2
#define SEED_LASTING_MAX 65536 /* nonces of format 0 without a timestamp, of one key */
#define SEED_TIMED_MAX 262144  /* and with one: 4300 messages a second at the default bound */

/* A channel and what the manager knows of it. */
struct line {
    struct line *prev, *next;
    struct channel *channel; /* owned */
    bool sendable;           /* false: passed over, refused as unknown, or the link was lost */
    bool link_lost;          /* ours, since this channel stood: what it missed the senders know */
    bool is_dirty;           /* sealed since the last PING: the peer may not know how far we are */
    bool final_sent, final_received;
    int64_t until_ms;    /* boot clock: wiped then; 0: in use */
    int64_t used_ms;     /* last application envelope, either way */
    int64_t sent_ms;     /* last envelope sealed */
    int64_t ping_ms;     /* when PING is due */
    unsigned unanswered; /* PINGs in a row */
    uint64_t pings, pongs;
    int64_t since_ms;  /* boot clock */
    int64_t touch_ms;  /* when it is next looked whether it was used: resume_touch() */
    int64_t repeat_ms; /* Hello3 and PING again, until something opened; 0: not any more */
    bool has_hello3;
    uint8_t hello3[HELLO3_SIZE];
};

/* Waits for its Hello3, or when it goes on from another channel for the first that opens. */
struct half_open {
    struct half_open *next;
    struct listener *state; /* guarded */
};

/* An envelope that waits for its channel or for a group's key. Topic and bytes follow. */
struct held {
    struct held *prev, *next;
    void *cookie;
    int64_t until_ms;
    uint32_t size;
    uint8_t topic_size;
    uint8_t delivery;
    bool direct, has_ref;
    bool stored;       /* an item, not a delivery: in any order, and perhaps again */
    bool is_known;     /* in held_list.known */
    UT_hash_handle hh; /* by nonce */
    uint8_t key_id[ENVELOPE_KEY_ID_SIZE];
    uint8_t ref[SESSION_REF_SIZE];
    uint8_t identity[SIGN_PUBLIC_SIZE];
    uint8_t data[];
};

struct held_list {
    struct held *first;
    struct held *known; /* those a repetition is looked for among */
    size_t count, bytes;
};

/* A key of this peer's group we want, or whose list of topics we want anew. */
struct ask {
    struct ask *next;
    uint8_t id[GROUP_ID_SIZE];
    uint64_t order; /* when the last request was sent; 0: none was */
    uint32_t out;   /* requests that were not answered yet; answers come in their order */
    uint32_t epoch;
    int64_t next_ms, until_ms;
    bool quiet;    /* only for the list: no handshake for it */
    bool in_order; /* what came later under the same rule waits as well */
    uint8_t filter_size;
    char filter[TOPIC_SIZE_MAX];
};

/* An envelope addressed to us. */
struct arrival {
    struct peer *peer;
    const uint8_t *identity;
    struct bytes topic, bytes;
    uint8_t delivery;
    const uint8_t *ref;
    void *cookie;
};

struct seed; /* peers_seed.c */

struct peer {
    UT_hash_handle hh;
    struct line *lines; /* the greatest first */
    struct seed *seeds; /* format 0, one for each of its identities */

    /* our handshake with it */
    bool dialing;
    bool away;             /* the broker says so; the next sign of life ends it */
    struct dialer *dialer; /* guarded; NULL: no Hello1 of ours is out */
    unsigned attempts;
    int64_t hello_ms;       /* next Hello1 of this attempt */
    int64_t attempt_end_ms; /* 0: waiting for the next attempt, due at hello_ms */
    int64_t redial_ms;      /* not before */
    int hint_code;          /* what it, or the broker in its name, claimed last; 0: nothing */
    bool is_met;            /* the identity below is known */
    bool retargeted;        /* this attempt has tried another key of the name already */
    bool resuming;          /* a Resume1 of this attempt is out: */
    uint8_t resume1[RESUME_SIZE];
    uint8_t resumed[SIGN_PUBLIC_SIZE]; /* for the channel with this key of it */
    uint8_t
        met[SIGN_PUBLIC_SIZE]; /* its key as it was met last: during a rotation a name has two */

    /* its handshakes with us */
    struct half_open *half_open;
    size_t half_open_count;
    struct held_list early; /* overtook their Hello3 */
    struct bucket refuses;
    struct bucket resumes;
    struct bucket agains;
    struct bucket pings, pongs;
    struct bucket hints, registries, times; /* what it says that others would have to listen to */

    /* its groups */
    struct group_reader *readers; /* by (identity, id) */
    struct held_list waiting;     /* for a key */
    struct ask *asks;
    size_t windows;
    struct bucket requests;

    /* its ratchets with us */
    struct bond *bonds; /* peers_ratchet.c */
    bool bundle_wanted; /* a ratchet is to be begun; the broker's answer is out: */
    bool bundle_asked;
    int64_t bundle_ms, bundle_until_ms; /* asked again at; given up at */
    int64_t pause_ms;                   /* nothing of its ratchets is opened before */
    int64_t reset_ms;                   /* no RESET before */
    uint8_t resets[4][RATCHET_ID_SIZE]; /* to be said once a channel stands */
    size_t resets_owed;
    struct bucket failures, starts;

    size_t name_size;
    char name[COMPONENT_NAME_MAX + 1];
};

/* The group of ours for one rule. */
struct publication {
    UT_hash_handle hh; /* by filter */
    struct group *group;
    struct group *earlier;    /* the generation before, for who was in it and lacks its key */
    int64_t earlier_until_ms; /* then it is erased */
    bool ready;               /* nobody needs to be waited for any more */
    bool prepared;            /* sessions_prepare_group() has been called */
    bool has_will;            /* of ours: a reader must have the key before we are gone */
    bool has_said;            /* something was sealed that only this key opens */
    int64_t wait_ms;          /* until when, while not ready */
    int64_t heads_ms;         /* HEADS due; 0: nothing to say */
    int64_t early_ms;         /* jitter of its rotation */
    int64_t rotate_by_ms;     /* a rotation waits for new channels, until then; 0: none does */
    struct buffer former;     /* HEADS sections of generations that are over */
    /* The KEYS records of this generation and the one before: u32 size, body, repeated. Handed in
     * again with every link, since the broker may have died before it stored them. */
    struct buffer keys, former_keys;
    uint8_t filter_size;
    char filter[TOPIC_SIZE_MAX];
};

/* Which publication a topic belongs to, as the registry in force says. */
struct published_topic {
    UT_hash_handle hh;
    struct publication *publication;
    uint8_t size;
    char name[];
};

/* A component's reading key. */
struct known_reading {
    UT_hash_handle hh;
    uint8_t identity[SIGN_PUBLIC_SIZE];
    struct reading reading;
};

/* A generation whose stored messages we can open. */
struct stored_reader {
    UT_hash_handle hh;
    uint8_t key[SIGN_PUBLIC_SIZE + GROUP_ID_SIZE]; /* publisher identity, group id */
    struct stored_secret *secret;                  /* guarded */
    struct stored_generation generation;           /* its filter is below */
    uint32_t failures;
    char filter[TOPIC_SIZE_MAX + 1];
};

/* What an envelope is opened into: plain_take(). */
struct plain {
    uint8_t *at;
    size_t size, capacity;
};

struct sessions {
    struct session_settings settings;
    const struct identity *self;
    struct registry *registry;
    struct hedge *hedge;          /* guarded */
    struct trailers_ahead *ahead; /* guarded: of what comes */
    struct trailers_ahead *later; /* guarded: of what was sealed */
    struct random_source random;
    struct guard *guard;
    struct bucket pongs;
    struct peer *peers;
    struct publication *publications;
    struct published_topic *topics;
    struct published_topic *last_topic;
    struct filters heard;  /* what we listen to: order since when */
    struct filters shared; /* the same with the other members of a queue group */
    bool heard_any;        /* sessions_subscribed() was called, ever */
    bool link, backlogged, closed;
    struct known_reading *readings;
    bool readings_known; /* in this session with the broker */
    struct stored_reader *stored;
    struct resumable *resumables; /* peers_resume.c */
    bool resumes_off;             /* another process has them, or the disk has not */
    int64_t resumes_ms;           /* when it is next looked which time is over */
    int64_t resumes_keep_ms;      /* when they are written; 0: none has changed */
    uint64_t last_generation;
    uint64_t order;          /* counts subscriptions and key requests */
    int64_t deadline_ms;     /* a lower bound */
    int64_t recheck_real_ms; /* a key that was replaced is valid no more from then; INT64_MAX */
    struct fifo events;
    bool event_out;           /* the front was handed out */
    bool out_of_memory;       /* an event could not be kept */
    struct pool_taker plains; /* what was opened */
    struct plain large;       /* the last one that was larger than the pool's */

    /* ratchets; NULL: no rule that concerns us needs any, or nobody keeps them */
    struct shelf *shelf;
    struct keep_batch batch;
    bool is_unkept; /* something must be stored before anything of it is seen */
    int broken_code;
    bool broken_told;
    char broken_text[sizeof(((struct aico_error *)0)->text) + 64];
    struct kept_message *inbox; /* utlist, by number */
    size_t inbox_count;
    uint64_t last_inbox;
    struct sessions_stats stats;
};

/* peers.c */
struct handshake_context peers_context(struct sessions *s);
/* The peer called @name; made when @make. NULL: absent, not a name, or no memory. */
struct peer *peer_find(struct sessions *s, struct bytes name, bool make);
struct bytes peer_name(const struct peer *peer);
/* The component a peer is now: the line that dials. NULL when the registry has none. */
/* The line of @peer whose key its process has, as far as is known; else the one that dials. */
const struct component *peer_component(const struct sessions *s, struct moment now,
                                       const struct peer *peer);
/* @peer was met with this key. */
void peer_meet(struct peer *peer, const uint8_t identity[SIGN_PUBLIC_SIZE]);
/* Another key of the same name, valid as well, than @identity: NULL when there is none. */
const struct component *peer_other_component(const struct sessions *s, struct moment now,
                                             const struct peer *peer, const uint8_t *identity);
/* Our own line in the registry in force; NULL: it names us no more. */
const struct component *peers_self(const struct sessions *s);
void peers_wake_at(struct sessions *s, int64_t boot_ms);
int64_t peers_jitter(struct sessions *s, int64_t bound);
bool peers_is_subscribed(const struct sessions *s, struct bytes topic);
/* The same, but only as one of a queue group. */
bool peers_is_shared(const struct sessions *s, struct bytes topic);

/* peers_events.c */
/* One record for @peer on $bus/control. */
void event_send(struct sessions *s, const struct peer *peer, struct bytes bytes);
void event_push(struct sessions *s, const struct session_event *event);
void event_failed(struct sessions *s, struct bytes peer, struct bytes topic, int code,
                  void *cookie);
void event_notice(struct sessions *s, struct bytes peer, int code, const char *text);
/* Where gaps of @topic (empty: of a channel) go. */
struct gap_report {
    struct sessions *s;
    struct bytes peer, topic;
    enum session_gap_cause cause;
    const uint64_t *messages; /* in the gap being reported; NULL, or 0: as many as envelopes */
};
struct gap_sink gap_sink_for(struct gap_report *report);
/* Room of @size bytes for what is opened, a block of the pool; false: there is no memory.
 * plain_give() wipes and sets to {0}, which is allowed, too. */
bool plain_take(struct sessions *s, size_t size, struct plain *ret_plain);
void plain_give(struct sessions *s, struct plain *plain);
/* The messages in an opened envelope, one event each; AICO_EFORMAT when it is not what its format
 * says. @event has everything but headers, payload, index and more. @count: of a batch that was
 * checked already (content_batch_check()); 0: it was not. @plain: what @content lies in; taken over
 * when that spares a copy, and then it is {0}. NULL: it is copied. */
int event_messages(struct sessions *s, const struct envelope *e, struct bytes content, size_t count,
                   struct plain *plain, struct session_event *event);
/* What the headers of ours say; the first message's number was taken with the envelope. */
void event_take_headers(struct session_event *event);
/* All that was not handed out yet, wiped. */
void events_free(struct sessions *s);
/* Whether an envelope sealed at @sent_ms comes too late for @rule and @delivery. */
bool message_is_stale(struct sessions *s, struct moment now, const struct rule *rule,
                      uint8_t delivery, int64_t sent_ms);
struct held *held_push(struct held_list *list, struct moment now, int64_t keep_ms,
                       const uint8_t *identity, struct bytes topic, uint8_t delivery,
                       struct bytes bytes, const uint8_t *ref, bool direct, void *cookie);
/* @held is found by held_find() from now on. False without memory. */
bool held_know(struct held_list *list, struct held *held);
/* One with the same @bytes; NULL. */
const struct held *held_find(const struct held_list *list, struct bytes bytes);
void held_remove(struct held_list *list, struct held *held);

/* peers_dial.c */
int dial_start(struct sessions *s, struct moment now, struct peer *peer);
void dial_stop(struct sessions *s, struct peer *peer);
void dial_fail(struct sessions *s, struct peer *peer, int code);
void dial_tick(struct sessions *s, struct moment now, struct peer *peer);
int64_t dial_deadline(const struct peer *peer);
/* Not in @peer's list yet; NULL without memory. */
struct half_open *half_open_new(void);
void half_open_free(struct half_open *half_open);
/* Into @peer's list, where it may take the place of the oldest. */
void half_open_add(struct sessions *s, struct peer *peer, struct half_open *half_open);
void half_open_drop(struct peer *peer, struct half_open *half_open);
void half_open_drop_all(struct peer *peer);
/* Handshake bytes, or a Refuse. */
void dial_receive(struct sessions *s, struct moment now, struct peer *peer, struct bytes bytes);
/* A hint, @about something of HASH_SIZE. */
void refuse_peer(struct sessions *s, struct moment now, struct peer *peer, int code,
                 const uint8_t about[HASH_SIZE]);
/* CHANNEL_UNKNOWN for an envelope of @key_id. */
void refuse_channel(struct sessions *s, struct moment now, struct peer *peer,
                    const uint8_t key_id[CHANNEL_ID_SIZE]);

/* peers_resume.c */
void resumes_start(struct sessions *s, struct moment now);
void resumes_free(struct sessions *s);
/* They cannot be read or written: from now on every channel is a handshake. */
void resumes_give_up(struct sessions *s, int code, const char *why);
/* Those that have changed are written with the next commit. */
void resumes_flush(struct sessions *s);
/* What may not go on any more goes: the registry changed, or it is resumes_ms. */
void resumes_update(struct sessions *s, struct moment now);
/* A channel was made of @keys. */
void resume_keep(struct sessions *s, struct moment now, const struct channel_keys *keys);
/* ... and was used last at @used_ms (boot clock). */
void resume_touch(struct sessions *s, struct moment now, const struct channel *channel,
                  int64_t used_ms);
/* Sends Resume1 to @component, a key of @peer; false: there is nothing to go on from. */
bool resume_dial(struct sessions *s, struct moment now, struct peer *peer,
                 const struct component *component);
/* Whether @about, what @peer does not know, is our Resume1 (its hash). */
bool resume_is_refused(const struct peer *peer, struct bytes about);
/* Resume1 or Resume2. */
void resume_receive(struct sessions *s, struct moment now, struct peer *peer, struct bytes bytes);
/* @e has the key id of @half_open: whether it opens; then the channel stands. */
bool resume_confirm(struct sessions *s, struct moment now, const struct arrival *a,
                    const struct envelope *e, struct half_open *half_open);

/* peers_channel.c */
/* Takes over a finished handshake; @hello3: the dialer's, NULL at the listener. */
int line_add(struct sessions *s, struct moment now, struct peer *peer,
             const struct channel_keys *keys, const uint8_t *hello3);
struct line *line_best(const struct peer *peer);
void line_remove(struct peer *peer, struct line *line);
void lines_tick(struct sessions *s, struct moment now, struct peer *peer);
int64_t lines_deadline(const struct sessions *s, const struct peer *peer);
void lines_close(struct sessions *s, struct moment now, struct peer *peer);
/* One control message to @peer over its best channel; AICO_ESTATE: none stands. */
int control_send(struct sessions *s, struct moment now, struct peer *peer, struct bytes content);
/* Whether the registry lets @component say this to us. */
int direct_may_receive(const struct sessions *s, const struct component *component,
                       const struct rule *rule, uint8_t delivery);
void early_release(struct sessions *s, struct moment now, struct peer *peer);

/* peers_seed.c */
/* Whether direct messages between us and @component (may be NULL) are of format 0. */
bool seed_is_spoken(const struct sessions *s, const struct component *component);
/* As handshake_may_meet(), but AICO_EPEERUNKNOWN: there is no handshake that would check it. */
int seed_may_meet(struct sessions *s, struct moment now, const struct component *component);
void seeds_free(struct peer *peer);
/* The registry changed. */
void seeds_update(struct sessions *s, struct moment now, struct peer *peer);
/* Room that is enough for one message on any topic. */
size_t seed_sealed_size(size_t payload_size);
int seed_seal(struct sessions *s, struct moment now, struct peer *peer,
              const struct component *component, struct bytes topic, struct bytes headers,
              struct bytes payload, struct writer *out, uint8_t *ret_ref);
/* Opens into @plain (e->sealed.size bytes) and delivers, or says why not. */
int seed_receive(struct sessions *s, struct moment now, const struct arrival *a,
                 const struct envelope *e, uint8_t *plain);

/* peers_ratchet.c */
/* Loads what is stored if a ratchet rule concerns us. What the keeper says. */
int ratchets_start(struct sessions *s, struct moment now, struct aico_error *err);
void ratchets_free(struct sessions *s);
void bonds_free(struct peer *peer);
/* Stores what has changed. After a failure always that code. */
int ratchets_commit(struct sessions *s);
bool ratchet_is_spoken(const struct sessions *s, struct bytes topic);
int ratchets_seal(struct sessions *s, struct moment now, struct peer *peer,
                  const struct component *component, const struct ratchet_message *message,
                  struct writer *out, uint8_t *ret_ref);
/* Opens into @plain (e->sealed.size bytes) and delivers, or says why not. */
int ratchets_receive(struct sessions *s, struct moment now, const struct arrival *a,
                     const struct envelope *e, uint8_t *plain);
void ratchets_on_reset(struct sessions *s, struct peer *peer, const uint8_t *identity,
                       const struct control *reset);
/* A channel with @peer stands. */
void ratchets_peer_ready(struct sessions *s, struct moment now, struct peer *peer);
void ratchets_heard_more(struct sessions *s, struct bytes filter);
void ratchets_link_up(struct sessions *s, struct moment now);
void ratchets_link_lost(struct peer *peer);
void ratchets_update(struct sessions *s, struct moment now);
void ratchets_renew(struct sessions *s, struct moment now);
void ratchets_tick(struct sessions *s, struct moment now, struct peer *peer);
int64_t ratchets_deadline(const struct sessions *s, struct moment now);
int64_t ratchets_peer_deadline(const struct sessions *s, const struct peer *peer);
void ratchets_close(struct sessions *s);

/* peers_publish.c */
void publications_update(struct sessions *s, struct moment now);
void publications_tick(struct sessions *s, struct moment now);
int64_t publications_deadline(const struct sessions *s);
void publications_close(struct sessions *s, struct moment now);
void publications_free(struct sessions *s);
/* @peer can be sent to, or cannot be reached: it need not be waited for. */
void publications_peer_ready(struct sessions *s, struct moment now, struct peer *peer);
void publications_peer_lost(struct sessions *s, struct peer *peer);
/* Whether some live group still owes @peer its key. */
bool publications_owe(const struct sessions *s, struct moment now, const struct peer *peer);
void publication_on_request(struct sessions *s, struct moment now, struct peer *peer,
                            const uint8_t *identity, const struct control *request);

/* peers_stored.c */
/* A new generation has begun: what opens it is made for every reader, and handed in. */
void stored_begin(struct sessions *s, struct publication *p);
/* The link is up: everything is handed in again. */
void stored_link_up(struct sessions *s);
void stored_free(struct sessions *s);
void stored_update(struct sessions *s, struct moment now);
/* A GROUP_KEY came over a channel: without `history` it is all that opens what is stored. */
void stored_on_key(struct sessions *s, struct moment now, const uint8_t *identity,
                   const struct rule *rule, const struct control *key);
/* Opens @e if its key is here: AICO_EKEY if not. */
int stored_open(struct sessions *s, struct moment now, struct peer *peer,
                const struct component *publisher, struct bytes topic, uint8_t delivery,
                const struct envelope *e, void *cookie);

/* peers_read.c */
/* Keeps an envelope until its key comes, and asks for that. */
void wait_for_key(struct sessions *s, struct moment now, struct peer *peer,
                  const struct component *publisher, struct bytes topic, uint8_t delivery,
                  struct bytes bytes, const struct envelope *e, bool stored, void *cookie);
void readers_update(struct sessions *s, struct moment now);
void readers_tick(struct sessions *s, struct moment now, struct peer *peer);
int64_t readers_deadline(const struct sessions *s, const struct peer *peer);
void readers_free(struct peer *peer);
void readers_peer_ready(struct sessions *s, struct moment now, struct peer *peer);
void readers_link_up(struct moment now, struct peer *peer);
void readers_on_key(struct sessions *s, struct moment now, struct peer *peer,
                    const uint8_t *identity, const struct control *key);
void readers_on_refuse(struct sessions *s, struct moment now, struct peer *peer,
                       const struct control *refuse);
void readers_heard_more(struct sessions *s, struct moment now, struct bytes filter);
/* Topics that match @filter may be heard by fewer filters than before. */
void readers_heard_less(struct sessions *s, struct bytes filter);
/* Nothing was heard until now. */
void readers_heard_none(struct sessions *s);

#endif
