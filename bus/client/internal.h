/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the client core share. Not included outside bus/client. */
#ifndef CLIENT_INTERNAL_H
#define CLIENT_INTERNAL_H

#include "base/bucket.h"
#include "base/buffer.h"
#include "base/hash.h"
#include "base/pool.h"
#include "client/client.h"
#include "session/filters.h"
#include "session/peers.h"
#include "wire/stream_record.h"
#include "wire/topic.h"

/* A topic this client has said or heard, by name. Never freed before the client. */
struct client_topic {
    UT_hash_handle hh;
    uint32_t number;           /* the broker's, 0: not known in this session */
    uint64_t seal_generation;  /* client->rule_generation this entry's rule belongs to */
    const struct rule *rule;   /* NULL: no rule decides */
    uint64_t match_generation; /* client->match_generation of `subscribed` */
    bool subscribed;           /* one of our filters matches */
    uint8_t size;
    char name[];
};

/* Who asked for a value that the broker had not answered yet. */
struct value_asker {
    struct value_asker *next;
    struct client_component *to;
};

/* The last value we published on a topic: sealed again for who comes later. */
struct own_value {
    UT_hash_handle hh;        /* by topic; of the last one */
    struct own_value *former; /* stands when this one is refused; NULL: none */
    struct value_asker *askers;
    uint64_t number;
    bool accepted;      /* by a broker, for good */
    bool told;          /* the broker in force has it from us */
    int64_t expires_ms; /* boot clock; 0: never */
    uint16_t headers_size;
    uint32_t payload_size;
    uint8_t topic_size;
    uint8_t data[]; /* topic, headers, payload; wiped */
};

/* A topic whose last value another component has, and what we know of it. */
struct peer_value {
    struct peer_value *next;
    struct client_topic *topic;
    uint64_t generation; /* the latest one a value of a group was sealed in; 0: none was */
    uint64_t number;     /* the last one that was shown; 0: none */
    uint64_t id;         /* in clear: of the last PUBLISH that was shown; 0: none */
    int64_t until_ms;    /* boot clock: it is asked for until then; 0: it is not */
    bool asked;
    bool is_direct; /* what was shown last was sealed for us alone */
};

/* Another component, by name. */
struct client_component {
    UT_hash_handle hh;
    uint32_t number;                    /* the broker's last one, 0: not known in this session */
    uint8_t identity[SIGN_PUBLIC_SIZE]; /* as the broker said with that */
    bool has_identity;
    bool online;             /* by presence; only kept once presence is watched */
    struct parked *parked;   /* waiting for a channel, in order (utlist) */
    struct assembly *direct; /* fragments being put together, by lane */
    struct assembly *topic;
    struct assembly *item;
    uint64_t bundle_id; /* BUNDLE that asked for its prekeys and is out; 0: none */
    struct peer_value *values;
    struct buffer receipts; /* it is owed, for control_next_receipt() */
    /* The same of stored messages, as long as it waits; the first stored_said bytes have left, or
     * wait until it comes back. Of all, stored_unsaid have never left. */
    struct buffer stored_receipts;
    size_t stored_said;
    uint64_t stored_unsaid;
    int64_t stored_until_ms;     /* boot clock; 0: there are none */
    struct claimed_gap *claimed; /* losses told already that the envelopes have not shown yet */
    char name[COMPONENT_NAME_MAX + 1];
};

/* What the broker means by a number in this session. One component has several when its key was
 * rotated: what it sealed with the former one comes by that one's number. */
struct client_number {
    struct client_component *component; /* NULL: nothing yet */
    uint8_t identity[SIGN_PUBLIC_SIZE];
};

/* Fragments of one message. */
struct assembly {
    struct client_topic *topic;
    uint64_t id;
    uint32_t total, size;
    uint8_t payload[];
};

/*
 * @count messages of one sender and topic are known to be lost, by the broker's GAP or because they
 * did not open, and the application was told. They are taken off the jump in the envelopes'
 * sequence that shows the same loss, so that nothing is counted twice. What came later than they
 * (arrival > claim) and opened has shown every jump before it: then a claim is over.
 */
struct claimed_gap {
    struct claimed_gap *next;
    struct client_topic *topic; /* NULL: over the channel */
    uint64_t count;
    uint64_t arrival;    /* client->arrival_count when it was made */
    uint64_t generation; /* of the first message after it; 0: none came */
    int64_t until_ms;    /* boot clock: a generation later than that has begun; 0: none has */
};

/* Where a stored message stands. */
struct stored_place {
    uint64_t number;
    uint32_t subscription;
    uint16_t attempt;
    int64_t stored_ms;
};

/* A message from an outbox: its number, and where it was sealed. */
struct once_place {
    uint64_t number, generation, sequence;
};

/* A stored envelope at a durable reader. generation 0: it was in clear, nothing is known of it. */
struct seen_place {
    struct bytes durable; /* borrowed; empty: the reader is not durable */
    const uint8_t *identity;
    const struct client_topic *topic;
    uint64_t generation;
    uint32_t sequence;
};

/* How a message went. COPIES: to subscribers, each of which gets its own, DIRECT. */
enum ledger_way {
    LEDGER_BY_TOPIC,
    LEDGER_COPIES,
    LEDGER_MAILBOX,
    LEDGER_DIRECT,
    LEDGER_REQUEST,
    LEDGER_REPLY,
};

/* What must be known of an envelope when its messages come back out of the sessions. */
struct arrival {
    struct arrival *prev, *next; /* client->arrivals */
    struct client_component *sender;
    struct client_topic *topic;
    uint64_t number;  /* counts arrivals */
    uint64_t request; /* a reply's; 0 otherwise */
    uint32_t count;   /* messages in it, by the sender's word */
    uint64_t id;
    size_t wire_size;
    uint8_t wire[64];
    uint8_t wire_prefix;
    bool direct, kept, mail; /* mail: of our mailbox */
    bool overtaken;          /* stored: the application has it from a later hand-out */
    enum ledger_way way;
    struct stored_place stored; /* number 0: it was no ITEM */
    uint32_t credit;            /* what the broker gets back once it has been dealt with */
};

/* A sealed (or unsealed) message in the window between us and the broker. Payload follows. */
struct sent {
    uint64_t id;     /* on the wire */
    uint64_t app_id; /* of the first message; 0: control */
    uint32_t count;  /* messages: more than 1 in a batch, whose ids follow each other */
    struct client_topic *topic;
    struct client_component *to; /* NULL: to the subscribers */
    uint64_t request;
    uint64_t value; /* retained: its number, if the application said it now; else 0 */
    uint32_t size;  /* payload bytes */
    uint32_t sent;  /* payload bytes already in frames of this session */
    uint32_t timeout_ms;
    int64_t expires_ms; /* boot clock; 0: never */
    uint8_t delivery;
    bool handed;   /* all of it is in frames of this session */
    bool again;    /* a value the former broker had */
    bool answered; /* refused already: skip */
    bool clear;    /* not sealed: its receivers could not tell a repetition */
    bool receipt;  /* the broker is to name its readers */
    bool quiet; /* a copy for one reader of a channel-sealed topic: its being away is no refusal */
};

static inline uint8_t *sent_payload(struct sent *sent)
{
    return (uint8_t *)(sent + 1);
}

/* A direct message or request that waits for a channel; plaintext, wiped with the queue. */
struct parked {
    struct parked *prev, *next;
    bool quiet;
    struct outgoing head; /* its topic, headers and payload follow */
};

struct client_follow; /* follow.c */

struct client_subscription {
    UT_hash_handle hh;            /* by number */
    UT_hash_handle hh_by_id;      /* of those that have one */
    struct client_follow *follow; /* of stored messages; NULL: of what comes live */
    uint32_t number;
    uint64_t id;   /* of the SUBSCRIBE in this session; 0: none yet */
    bool live;     /* the broker said OK in this session */
    bool again;    /* it wants to be asked later */
    bool internal; /* ours (presence, heads), not the application's */
    uint8_t policy;
    bool serve;
    uint8_t size;
    char filter[TOPIC_SIZE_MAX + 1];
    uint8_t queue_size; /* 0: reads all */
    char queue[CLIENT_QUEUE_MAX];
};

enum operation_kind {
    OPERATION_SUBSCRIBE,
    OPERATION_UNSUBSCRIBE,
    OPERATION_REQUEST,
    OPERATION_QUERY,
    OPERATION_PING,
    OPERATION_FLUSH,
};

/* Something an application thread waits for. */
struct operation {
    struct operation *prev, *next;
    enum operation_kind kind;
    void *ticket;
    int64_t deadline_ms;  /* boot clock */
    uint64_t id;          /* of the record that will be answered; 0: not sent yet */
    uint64_t resolve_id;  /* request: of the RESOLVE that is out */
    uint64_t pong_number; /* ping of a component: the SESSION_PONG that answers it */
    uint32_t subscription;
    int64_t started_ms;
    struct client_component *peer; /* request: the responder; ping: the component */
    int claim; /* why there is no channel, as the peer or the broker in its name says; 0: nothing */
    bool resolved, reference_known;
    uint8_t reference[16]; /* request: key id and sequence, what the reply is bound to */
    uint64_t flush_id;     /* flush: application id that must be answered */
    uint64_t flush_wire;   /* flush: wire id that must be answered, 0: not known yet */
    struct client_topic *topic;
    struct buffer payload; /* request: plaintext; query: what and argument */
    struct buffer json;    /* query: the pieces of the answer */
};

enum client_state {
    CLIENT_DOWN,    /* no link; wants one from retry_at_ms on */
    CLIENT_DIALING, /* the runtime is dialling */
    CLIENT_HELLO,   /* HELLO sent */
    CLIENT_READY,
    CLIENT_ENDED,
};

struct client {
    struct client_settings settings;
    struct client_host host;
    struct random_source random;
    struct identity *self;
    struct registry *registry;
    struct sessions *sessions;
    enum client_state state;
    int end_code;
    char end_text[HINT_SIZE_MAX + 1];

    /* link */
    int64_t retry_at_ms, hello_deadline_ms;
    int64_t down_since_ms;  /* when the link was lost, or the client made */
    uint32_t attempts;      /* dials since the last success */
    int64_t heard_ms;       /* last frame from the broker */
    int64_t ping_at_ms;     /* when the next PING is due */
    uint32_t pings_pending; /* unanswered */
    bool was_ready;         /* at least once */
    bool broker_key_moved;  /* by a registry that came since we connected */
    bool closed;            /* the last words are said: what is still queued stays there */
    uint32_t self_number;
    uint64_t replays;      /* messages that came again since that was told */
    int64_t replay_say_ms; /* when it may be told again */

    /* output */
    uint64_t send_window;     /* bytes of PUBLISH we may still send */
    uint64_t receive_owed;    /* bytes to give back to the broker */
    bool backlogged;          /* the application does not read */
    struct buffer control;    /* whole records of ours, before any PUBLISH */
    const uint8_t *ahead_end; /* of the frame that is taken: records before it were looked at */
    uint8_t *frame;           /* FRAME_SIZE_MAX */
    size_t frame_size;        /* 0: no frame is out */

    /* publishing */
    struct pool_taker messages;     /* what the application gets */
    struct fifo queue;              /* struct outgoing */
    struct fifo window;             /* struct sent: sealed, not acknowledged */
    struct fifo_cursor window_sent; /* the last block that is wholly in frames of this session */
    uint64_t next_id; /* of the next record that is answered: one count for all kinds */
    uint64_t acked_id;
    uint64_t last_publish_id;
    size_t parked_count, parked_bytes; /* in all components */
    uint64_t unacknowledged;
    size_t flush_count;    /* of operations: who waits for an ACK */
    bool is_finishing;     /* so does the runtime */
    uint64_t ack_asked_id; /* the broker was asked to acknowledge up to it; of this session */
    int refused_code;      /* first refusal since the last flush */
    char refused_text[HINT_SIZE_MAX + 1];

    /* names */
    struct client_topic *topics;
    struct client_topic **topic_by_number;
    size_t topic_numbers;
    struct client_component *components;
    struct client_number *component_by_number;
    size_t component_numbers;
    uint64_t rule_generation;  /* rises with every registry */
    uint64_t match_generation; /* rises with every subscription */

    struct buffer will;              /* plaintext; wiped */
    struct client_topic *will_topic; /* NULL: there is none */
    struct group_stamp will_stamp;   /* it was sealed for */
    uint64_t will_id;                /* of the WILL in this session; 0: not given yet */
    struct own_value *values;
    size_t values_bytes;
    uint64_t last_value;
    int64_t subscribe_again_ms; /* boot clock: SUBSCRIBEs that were too many; 0: none */
    int64_t values_due_ms; /* boot clock: a value that was asked for is given up, or (1) one of ours
                              has an answer that is waited for; 0: none is */
    struct client_subscription *subscriptions, *subscriptions_by_id;
    struct filters heard[2]; /* of those that bring what comes live; [1]: to one of a queue group */
    bool has_heads;          /* one of ours is of TOPIC_HEADS */
    uint32_t next_subscription;
    struct operation *operations;
    bool presence_wanted;
    bool presence_coming;  /* subscribed to in this session */
    bool presence_live;    /* who is online is known */
    bool presence_refused; /* it will not be known: everybody is taken to be */

    struct awaited *awaited, *awaited_numbers; /* receipts.c */
    struct missed_report *missed;              /* missed.c */
    int64_t awaited_due_ms;  /* boot clock: a receipt is given up; 0: none is awaited */
    size_t receipts_owed;    /* bytes of them, to all components */
    int64_t receipts_due_ms; /* boot clock: they are sent then; 0: when a channel stands */
    int64_t stored_due_ms;   /* boot clock: those of stored messages are looked at; 0: none are */
    struct bucket receipts_sent;

    struct ledger_row *ledger, *ledger_last; /* ledger.c */
    bool ledger_lost;                        /* something found no room there */
    uint64_t requests;                       /* begun */

    struct once_mark *marks; /* once.c */
    struct seen *seen;       /* seen.c */
    struct seen *seen_dirty; /* not on the disk yet */
    bool seen_loaded, seen_failed;

    uint64_t topic_received;  /* messages and gaps by subscription in this session */
    uint64_t topic_acked;     /* of them, told to the broker as one of a queue group */
    size_t queue_count;       /* subscriptions as one of a queue group */
    struct arrival *arrivals; /* envelopes the sessions have not answered yet */
    size_t arrivals_stored;   /* items among them */
    uint64_t arrival_count;

    struct buffer registry_document; /* REGISTRY pieces */
    uint32_t registry_total;
    uint64_t registry_piece_version;

    struct aico_client_stats stats;
};

/* connection.c */
void client_end(struct client *client, int code, const char *text);
struct writer client_control_begin(struct client *client, size_t room);
void client_control_end(struct client *client, const struct writer *w);
int64_t random_below(struct client *client, int64_t bound);
int accept_registry(struct client *client, struct moment now, struct bytes document);
/* names.c */
struct client_topic *client_topic_get(struct client *client, struct bytes name);
struct client_topic *topic_number_find(struct client *client, uint32_t number);
int topic_number_set(struct client *client, uint32_t number, struct bytes name);
const struct rule *client_topic_rule(struct client *client, struct client_topic *topic);
bool topic_is_subscribed(struct client *client, struct client_topic *topic);
struct bytes topic_name(const struct client_topic *topic);
struct client_component *component_get(struct client *client, struct bytes name);
struct client_component *component_number_find(struct client *client, uint32_t number);
/* The key that number is of; of one that component_number_find() knows. */
const uint8_t *component_number_identity(const struct client *client, uint32_t number);
int component_number_set(struct client *client, struct moment now,
                         const struct record_component *record);
void names_forget_numbers(struct client *client);
void client_names_free(struct client *client);
/* publish.c */
void publish_fill(struct client *client, struct moment now, struct writer *frame);
int publish_control(struct client *client, struct client_component *to, struct client_topic *topic,
                    struct bytes payload);
int publish_request(struct client *client, struct moment now, struct operation *operation);
void publish_acked(struct client *client, uint64_t id);
void publish_refused(struct client *client, struct moment now, const struct record_refuse *refuse,
                     const char *text);
bool publish_render(struct client *client, struct moment now, struct writer *frame);
void publish_ask_for_ack(struct client *client, struct writer *frame);
/* Refuses what waits at the front longer than it may. */
void publish_expire(struct client *client, struct moment now);
/* When publish_expire() has something to do. */
int64_t publish_deadline(const struct client *client);
void publish_link_up(struct client *client, struct moment now, uint64_t last_id);
void publish_dial_parked(struct client *client, struct moment now);
void publish_link_down(struct client *client);
void publish_channel_ready(struct client *client, struct moment now, struct client_component *peer);
/* No channel, or no ratchet, can be had: what waits for one is refused. */
void publish_channel_lost(struct client *client, struct client_component *peer, bool ratchet,
                          int code, const char *text);
bool topic_is_ratcheted(struct client *client, struct client_topic *topic);
void publish_free(struct client *client);
/* Whether everything up to application id @id was answered. */
bool publish_is_answered(const struct client *client, struct operation *flush);
/* receive.c */
int receive_deliver(struct client *client, struct moment now, const struct record_deliver *deliver);
/* @record comes next, @rest behind it: what is to be hashed of it and of them, at once. */
void receive_look_ahead(struct client *client, struct record record, struct reader rest);
/* The frame is over. */
void receive_forget_ahead(struct client *client);
int receive_gap(struct client *client, struct moment now, const struct record_gap *gap);
int receive_item(struct client *client, struct moment now, const struct record_item *item);
void receive_session_events(struct client *client, struct moment now);
void receive_forget_fragments(struct client *client);
void receive_free(struct client *client);
void deliver_refused(struct client *client, uint64_t app_id, struct bytes topic, int code,
                     const char *text);
void deliver_state(struct client *client, int code, const char *text);
/* receive.c */
/* Tells the application of @record, which it takes as @place. AICO_ENOMEM. */
int deliver_missed(struct client *client, const struct record_missed *record,
                   const struct missed_place *place, struct client_component *sender,
                   struct client_topic *topic);
/* follow.c */
void follow_send(struct client *client, struct client_subscription *s);
void follow_free(struct client_follow **follow);
/* @count messages of the item at @place, the envelope at @seen, are the application's now. */
void follow_handed(struct client *client, const struct stored_place *place, size_t count,
                   const struct seen_place *seen);
/* Which attempt the application is told of a message at @place that it has: a nameless reader's
 * broker counts anew on each link. */
uint16_t follow_attempt(struct client *client, const struct stored_place *place);
/* The places of what the application has, and has not settled, as the reader @durable. */
void follow_visit_open(struct client *client, struct bytes durable,
                       void (*visit)(void *context, const struct seen_place *place), void *context);
/* The durable name of a subscription; empty: it has none. */
struct bytes follow_name(struct client *client, uint32_t subscription);
/* The broker is told that @number is done with, or with a negative @code why it never will be. */
void follow_tell(struct client *client, uint32_t subscription, uint64_t number, int code);
/* Whether the application has it from a session before, and need not be given it again. If it has
 * settled it, the broker, which did not hear of that, is told. */
bool follow_is_done(struct client *client, uint32_t subscription, uint64_t number);
/* Whether @subscription follows; it may have ended while an item was on its way. */
bool is_followed(struct client *client, uint32_t subscription);
/* Item @number will not come: what the application has of it decides. True: it misses nothing; then
 * the report @token is answered, or will be when the item is settled. */
bool follow_has(struct client *client, const struct record_missed *record);
/* The broker need not tell @token again. */
void follow_told(struct client *client, uint32_t subscription, uint64_t token);
/* The item at @place does not open: @code. False: that is not to be shown, since its reader has
 * ended or this process was told already that its key is missing. */
bool follow_failed(struct client *client, const struct stored_place *place, int code);
/* missed.c */
int receive_missed(struct client *client, const struct record_missed *record);
void missed_free(struct client *client);
/* once.c */
/* Whether the message @event, which came as @arrival, was not there before under another seal; it
 * is remembered. */
bool once_is_new(struct client *client, const struct session_event *event,
                 const struct arrival *arrival, const struct seen_place *place);
void once_free(struct client *client);
/* seen.c */
/* What was kept; once, when there is a durable reader. What the keeper says. */
int seen_load(struct client *client, struct aico_error *err);
/* Whether the envelope at @place was settled, in whichever run. */
bool seen_is_settled(struct client *client, const struct seen_place *place);
void seen_settled(struct client *client, const struct seen_place *place);
/* Of the publisher's outbox, the highest at @place; NULL: nothing is kept. */
struct once_place *seen_once(struct client *client, const struct seen_place *place);
/* A value that is stored was sealed at @place: whether no later one was shown, in whichever run; it
 * is remembered. */
bool seen_is_latest(struct client *client, struct seen_place place);
/* What is there to be kept is on the disk, or the application is told. */
void seen_commit(struct client *client);
/* The durable reader begins anew. */
void seen_forget(struct client *client, struct bytes durable);
void seen_free(struct client *client);
/* prekeys.c */
void prekeys_send(struct client *client, struct bytes statement, struct bytes keys);
void bundle_send(struct client *client, struct moment now, struct bytes name);
/* A REFUSE of @id; false: not of a BUNDLE. */
bool bundle_refused(struct client *client, struct moment now, uint64_t id, int code,
                    const char *text);
int receive_prekeys_left(struct client *client, struct moment now, const struct record *record);
int receive_bundle(struct client *client, struct moment now, const struct record *record);
/* will.c */
/* Gives the broker our will where it has none, or one sealed with a key that is over. */
void will_give(struct client *client, struct moment now);
/* Whether @id is that of our will, which was refused: told. */
bool will_refused(struct client *client, uint64_t id, int code, const char *text);
/* values.c */
/* Takes @out, a retained message, as the value of its topic, and writes its header block, with the
 * number, to @ret_headers. 0, AICO_EFULL (too many values), AICO_ENOMEM. */
int values_keep(struct client *client, struct moment now, const struct outgoing *out,
                struct bytes topic, struct bytes headers, struct bytes payload,
                struct buffer *ret_headers);
/* The broker does not know our values: all are published again. */
void values_resend(struct client *client, struct moment now);
/* The value of @topic with this number was acknowledged: those before it are over. */
void values_accepted(struct client *client, struct bytes topic, uint64_t number);
/* It was refused: it is none of ours, and the one it took the place of stands. */
void values_refused(struct client *client, struct bytes topic, uint64_t number);
/* @peer asks for a value of ours. */
/* Whether the value of ours with @number is still the one of @topic. */
bool values_is_current(struct client *client, struct bytes topic, uint64_t number);
void values_again(struct client *client, struct moment now, struct bytes peer, struct bytes topic);
/* There is a value of @sender on @topic: it is asked for. */
void values_want(struct client *client, struct moment now, struct client_component *sender,
                 struct client_topic *topic);
void values_peer_ready(struct client *client, struct moment now, struct client_component *peer);
void values_peer_lost(struct client *client, struct client_component *peer, int code,
                      const char *text);
/* Whether a value that came is to be shown: nothing as new was yet. @generation 0: it came over a
 * channel. */
bool values_is_new(struct client *client, struct client_component *sender,
                   struct client_topic *topic, uint64_t generation, uint64_t number);
/* The same of one in clear, PUBLISH @id of its sender. */
bool values_is_new_in_clear(struct client *client, struct client_component *sender,
                            struct client_topic *topic, uint64_t id);
/* The application subscribes to @filter: what it has been shown it is shown again. */
void values_forget_shown(struct client *client, struct bytes filter);
/* @peer is another process: its numbers begin anew. */
void values_renewed(struct client_component *peer);
void values_link_down(struct client *client);
void values_tick(struct client *client, struct moment now);
void values_free(struct client *client);
int publish_value(struct client *client, struct moment now, struct client_component *to,
                  const struct own_value *value, struct bytes headers);
/* receive.c: something came that cannot be shown. */
void deliver_unopened(struct client *client, const struct client_component *sender,
                      const struct client_topic *topic, int code, const char *text);
/* ledger.c */
enum ledger_fate {
    LEDGER_REFUSED,
    LEDGER_MISSING,
    LEDGER_UNOPENED,
    LEDGER_COPY_REFUSED,
    LEDGER_FATES
};
enum ledger_way ledger_way_of(uint8_t delivery, bool is_direct);
/* @to NULL: to the subscribers; @topic NULL: without memory for it. */
void ledger_published(struct client *client, struct client_topic *topic,
                      const struct client_component *to, uint8_t delivery, uint64_t count);
void ledger_acknowledged(struct client *client, struct client_topic *topic,
                         const struct client_component *to, uint8_t delivery, uint64_t count);
void ledger_refused(struct client *client, struct client_topic *topic,
                    const struct client_component *to, uint8_t delivery, int code);
/* A copy, or a value somebody asked for, that the broker has taken: no message of its own. */
void ledger_copied(struct client *client, struct client_topic *topic,
                   const struct client_component *to, uint8_t delivery);
/* A copy that its reader will not get. */
void ledger_copy_refused(struct client *client, struct client_topic *topic,
                         const struct client_component *to, int code);
/* It was sent and is not sent again: the broker may have taken it. */
void ledger_unsure(struct client *client, struct client_topic *topic,
                   const struct client_component *to, uint8_t delivery);
/* A request of ours; @code 0: answered. @to NULL: nobody was found. */
void ledger_request_ended(struct client *client, struct client_topic *topic,
                          const struct client_component *to, int code);
/* A reply came that is of no use. */
void ledger_reply_unopened(struct client *client, const struct client_component *sender,
                           struct client_topic *topic, int code);
/* @is_kept: our own disk had kept it, so it is in no row there. */
void ledger_received(struct client *client, const struct client_component *sender,
                     struct client_topic *topic, enum ledger_way way, bool is_kept, uint64_t count);
/* It came, and the application is not told: it had it before, knows that it does not open, or has
 * ended its subscription. */
void ledger_repeated(struct client *client, const struct client_component *sender,
                     struct client_topic *topic, enum ledger_way way, uint64_t count);
/* MISSING and UNOPENED; @topic empty: it is not known. */
void ledger_missed(struct client *client, enum ledger_fate fate, struct bytes sender,
                   struct bytes topic, enum ledger_way way, int code, uint64_t count);
void ledger_clear(struct client *client);
/* receipts.c */
/* A message of ours that asks for receipts, as it leaves. */
struct receipt_asked {
    uint64_t id; /* the application's */
    struct header_receipt receipt;
    uint32_t timeout_ms;
    bool is_addressed;
    struct client_topic *topic;
    struct bytes payload;
};
/* No more are waited for than can be kept: false until some have come. */
bool receipts_have_room(const struct client *client);
/* 0 or AICO_ENOMEM. Then receipts_expect() for each reader and receipts_named(), or what the broker
 * says. */
int receipts_begin(struct client *client, struct moment now, const struct receipt_asked *asked);
int receipts_expect(struct client *client, uint64_t id, struct client_component *component);
void receipts_named(struct client *client, uint64_t id);
/* @component does not get message @id after all. */
void receipts_without(struct client *client, uint64_t id, const struct client_component *component);
/* It was refused: nothing is waited for. */
void receipts_forget(struct client *client, uint64_t id);
/* The broker names readers of message @id. 0, AICO_EPROTO, AICO_ENOMEM. */
int receipts_name(struct client *client, uint64_t id, const struct record_receivers *record);
void receipts_arrived(struct client *client, struct moment now, const struct session_event *event);
int64_t receipts_deadline(const struct client *client);
void receipts_tick(struct client *client, struct moment now);
void receipts_free(struct client *client);
/* receipts_owed.c */
/* What is owed leaves, as far as channels stand and the broker allows. */
void receipts_send(struct client *client, struct moment now);
void receipts_peer_ready(struct client *client, struct moment now, struct client_component *peer);
/* @peer was away and has come back. */
void receipts_peer_present(struct client *client, struct moment now, struct client_component *peer);
void receipts_peer_lost(struct client *client, struct client_component *peer);
int64_t owed_deadline(const struct client *client);
void owed_tick(struct client *client, struct moment now);
void owed_free(struct client *client);
/* publish.c */
int receive_receivers(struct client *client, const struct record_receivers *record);
/* subscription.c */
struct client_subscription *subscription_new(struct client *client, struct bytes filter,
                                             uint8_t policy, bool serve, struct bytes queue,
                                             bool internal, struct client_follow *follow);
/* The id under which @s is said to the broker next. */
uint64_t subscription_next_id(struct client *client, struct client_subscription *s);
void subscriptions_resend(struct client *client);
struct client_subscription *subscription_add(struct client *client, struct bytes filter,
                                             uint8_t policy, bool serve, struct bytes queue,
                                             bool internal);
void subscription_live(struct client *client, struct moment now, uint64_t id, uint32_t value);
bool subscription_refused(struct client *client, struct moment now, uint64_t id, int code,
                          const char *text);
/* Asks again what was refused because it was too much at once. */
void subscriptions_tick(struct client *client, struct moment now);
/* Nobody was told its number: it is taken back. */
void subscription_give_up(struct client *client, uint32_t number);
void client_subscriptions_free(struct client *client);
void want_presence(struct client *client);
/* request.c */
struct operation *operation_start(struct client *client, struct moment now,
                                  enum operation_kind kind, int64_t timeout_ms, void *ticket);
struct operation *operation_find_id(struct client *client, enum operation_kind kind, uint64_t id);
void operation_end(struct client *client, struct operation *operation,
                   struct client_answer *answer);
void operation_fail(struct client *client, struct operation *operation, int code, const char *text);
void operations_tick(struct client *client, struct moment now);
int64_t operations_deadline(const struct client *client);
void operations_link_up(struct client *client, struct moment now);
void operations_link_down(struct client *client, int code, const char *text);
void operations_free(struct client *client);
void flushes_check(struct client *client);
int receive_resolved(struct client *client, struct moment now,
                     const struct record_resolved *resolved);
int receive_answer(struct client *client, const struct record_answer *answer);
void receive_pong(struct client *client, struct moment now, uint64_t token);
void receive_component_pong(struct client *client, struct moment now, struct bytes name,
                            uint64_t number);
/* A channel (or ratchet) with @peer stands now, or there will be none. */
void operations_peer_ready(struct client *client, struct moment now, struct client_component *peer,
                           bool ratchet);
void operations_peer_lost(struct client *client, struct client_component *peer, bool ratchet,
                          int code, const char *text);
/* @name, or the broker in its name, gave @code as why it makes no channel with us. */
void operations_peer_claims(struct client *client, struct bytes name, int code);
struct operation *operation_find_resolve(struct client *client, uint64_t id);
struct operation *operation_by_reply(struct client *client, uint64_t request);

#endif
