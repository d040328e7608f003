/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the broker core share: its objects and who calls whom. One thread; see
 * broker.h.
 *
 * Life of the objects
 *   member    a component that has been linked; has a broker-wide number; lives as long as the
 * broker peer      one link; broker_peer_open() .. broker_peer_gone() instance  one run of a
 * client; outlives its link for BROKER_INSTANCE_KEPT_MS topic     with a number: as long as the
 * broker. Without one: as long as it is referred to message   one DELIVER record, rendered once,
 * counted by the outboxes that hold it entry     its place in one outbox; becomes the GAP when the
 * message is dropped there flight    a message in fragments, from its first fragment until the last
 * entry of it is gone
 *
 * Work is counted in units of about a tenth of a microsecond: the core has no clock. A peer that
 * brings more than WORK_SLICE has it kept, as bytes, and gets further slices in turn with the
 * others (ingress.c). A peer whose link was lost lives on without it until its own was worked off.
 *
 * Nothing ends a peer in the middle of a walk over peers: peer_end_later() notes it, and settle()
 * does it at the end of the public call.
 */
#ifndef BROKER_INTERNAL_H
#define BROKER_INTERNAL_H

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/fifo.h"
#include "base/hash.h"
#include "broker/broker.h"
#include "broker/prekeys.h"
#include "broker/quota.h"
#include "trust/registry.h"
#include "wire/batch.h"
#include "wire/record.h"
#include "wire/topic.h"

#define GAP_COST 128 /* what a GAP in an outbox counts against its limit */
#define GAP_SLOTS 256
#define QUEUE_NAME_MAX 64
#define WILL_GRACE_MS 3000 /* a client that lost its link comes back in this time */
#define REFUSALS_KEPT 256
#define FLIGHT_SUSPENDED_MS 60000
#define REQUEST_TIMEOUT_DEFAULT_MS 30000
#define REQUEST_TIMEOUT_MAX_MS (60 * 60 * 1000)
#define TOKENS_PER_SECOND 2000
#define TOKENS_BURST 10000
#define PAUSE_MS 50         /* of a peer whose component has used up its control messages */
#define LINKS_PER_SECOND 20 /* of one component */
#define LINKS_BURST 100
#define INSTANCES_PER_MEMBER 8 /* remembered while away */
#define EVENTS_KEPT 256
#define ASKS_KEPT 8
#define LEDGER_ROWS_MAX 4096
#define LEDGER_DIRECT_ROWS_MAX 2048 /* besides: who addresses everybody takes no others' rows */
#define SWEEP_MIN_MS 50

#define WORK_SLICE 20000 /* of one peer at a time */
#define WORK_TURN 40000  /* of all as they come, and as much again of what was kept, in one turn */
#define WORK_RECORD 4
#define WORK_PUBLISH 4
#define WORK_READER 2 /* each reader of a message */
#define WORK_REFUSE 8
#define WORK_SUBSCRIBE 16
#define WORK_PRESENCE 20 /* each session told of */
#define WORK_QUERY 100
#define INGRESS_EXTRA ((size_t)4 * 1024 * 1024) /* bytes of records, beyond the publish window */

enum lane_kind { LANE_DIRECT, LANE_TOPIC, LANES };

enum peer_state {
    PEER_NEW = 1,     /* HELLO is awaited */
    PEER_READY = 2,   /* HELLO was accepted */
    PEER_LEAVING = 4, /* its session is over; BYE waits to be sent, then the link is cut */
};

struct member {
    UT_hash_handle hh; /* by identity */
    uint32_t number;
    uint8_t identity[SIGN_PUBLIC_SIZE];
    char name[COMPONENT_NAME_MAX + 1];
    const struct component *component; /* in the registry in force, NULL: not there */
    bool active;
    struct broker_peer *peer; /* its READY session, NULL when away */
    uint64_t instance;        /* of its last session, 0: had none */
    struct quotas quotas;
    uint64_t mailbox_used;   /* bytes, as far as the store has told */
    uint64_t values_used;    /* the same of its stored values */
    struct prekeys *prekeys; /* it left; NULL: none */
    struct bucket bundles;   /* it fetched */
    size_t keys_storing;     /* bytes of KEYS on their way to the store */
    uint64_t read_turn;      /* of its next order that looks at many rows: store.c */
    size_t away_count;       /* of its instances */
};

/* The last value of a topic. */
struct retained {
    UT_hash_handle hh;       /* broker.retained by topic */
    struct message *message; /* as a new subscriber is sent it; counted by us */
};

/* A session as one of a group. */
struct membership {
    struct queue *queue; /* its subscriptions refer to it */
    size_t subscriptions;
    uint64_t mark; /* route.c: in the walk of this number ... */
    size_t index;  /* ... it is the reader with this index */
};

/* Who gets a topic's messages. */
struct recipient {
    struct broker_peer *peer;
    uint8_t policy;         /* the most careful of the subscriptions that match */
    bool serve;             /* one of them answers requests */
    bool chosen;            /* of its queue group, for the message that is being routed */
    struct queue *queue;    /* NULL: gets everything; else it is one of several */
    struct ledger_row *row; /* of row_sender */
    const struct member *row_sender;
};

struct topic {
    UT_hash_handle hh;        /* by name, if it has a number */
    uint32_t number;          /* 0: none */
    uint32_t refs;            /* if it has no number */
    uint64_t rule_generation; /* of broker.registry_generation that rule was looked up in */
    const struct rule *rule;
    const struct member *publisher; /* may publish by that rule: the last one asked about */
    uint64_t route_generation;
    struct recipient *readers;
    size_t reader_count, reader_capacity;
    uint32_t next_server;
    uint64_t messages, bytes;
    uint8_t size;
    char name[];
};

struct message {
    uint32_t refs;
    uint32_t size;     /* of record */
    uint32_t blocking; /* entries whose reader the publisher must wait for */
    uint32_t owed;     /* credit returned to it then */
    uint64_t session;  /* serial of the publisher's link */
    struct topic *topic;
    struct member *sender;
    uint64_t id;
    uint32_t count;     /* messages in it: more than 1 in a sealed batch */
    int64_t expires_ms; /* boot clock: void then; 0: never */
    uint8_t delivery;
    bool last; /* not a fragment, or the last one */
    bool kept; /* as in DELIVER */
    uint8_t record[];
};

/* A queue group: each message goes to one of its members. */
struct queue {
    UT_hash_handle hh; /* broker.queues by name */
    struct broker *broker;
    size_t refs;   /* subscriptions, entries, gaps, handed and readers of flights */
    uint64_t mark; /* queue.c: in the walk of this number ... */
    size_t best;   /* ... the reader with this index is the one so far */
    uint8_t size;
    char name[];
};

/* Neighbouring losses of one sender, topic, cause and group. */
struct gap {
    struct topic *topic;
    struct member *sender;
    int cause; /* negative */
    bool kept; /* as in GAP */
    uint64_t count;
    uint64_t last_id;
    struct queue *queue; /* it is a loss of the whole group's; NULL: of this reader's */
    bool inherited;      /* from a member that left: counts in lane.inherited, not in bytes */
};

/* What left for a member of a queue group which has not yet said that it has it: messages, or the
 * report of a loss. */
struct handed_over {
    struct handed_over *prev, *next;
    uint64_t number; /* as topic_sent in its session */
    bool is_gap;
    struct gap loss; /* what another member is told when this one leaves; refers to its topic and
                        queue */
};

struct entry {
    struct entry *prev, *next;
    uint64_t position;       /* rises along the lane */
    struct message *message; /* NULL: a gap */
    union {
        struct gap gap;
        struct {
            struct ledger_row *row;
            struct queue *queue;   /* it came as to one of these; NULL: to everybody */
            struct flight *flight; /* NULL: whole */
            struct entry *flight_next;
            uint32_t flight_index;
            uint8_t policy;
            bool blocking;
        };
    };
};

struct lane {
    struct entry *head, *tail;
    struct entry *first_message, *last_message; /* NULL: only gaps */
    size_t bytes;
    size_t inherited; /* bytes of gaps that others left to it */
    size_t messages;  /* waiting or in flight; in fragments: one */
    size_t own;       /* direct: messages of the broker itself */
    size_t reserved;  /* direct: bytes of the messages in flight that have not come yet */
    uint64_t next_position;
    int64_t expires_ms; /* nothing in it does earlier; 0: nothing does */
};

/* One reader of a message in fragments. */
struct flight_reader {
    struct broker_peer *peer;   /* NULL: gone, or nothing more goes to it */
    struct entry *first, *last; /* of its entries that wait */
    struct ledger_row *row;
    struct queue *queue; /* a reference; NULL: it reads all */
    uint8_t policy;
};

struct flight {
    struct flight *prev, *next; /* broker.flights while more fragments may come */
    uint32_t refs;              /* 1 while in an instance, 1 an entry */
    struct instance *instance;  /* NULL: no more fragments come */
    enum lane_kind lane;
    uint64_t id;
    uint32_t total, routed;
    uint8_t delivery;
    int64_t suspended_until_ms; /* 0: its publisher is linked */
    int64_t expires_ms;         /* as in message */
    struct topic *topic;
    struct member *sender, *to;
    uint64_t request; /* REPLY */
    size_t reader_count;
    struct flight_reader readers[];
};

struct refusal {
    uint64_t id;
    uint32_t rule_line;
    int code;
    int64_t at_ms;
};

/* What is published for a component that went without a word. */
struct will {
    struct topic *topic;
    uint64_t id;
    size_t size;
    uint8_t payload[];
};

struct instance_key {
    uint8_t identity[SIGN_PUBLIC_SIZE];
    uint64_t number;
};

struct instance {
    UT_hash_handle hh;
    struct instance *prev, *next; /* broker.away_instances, oldest first, while without link */
    struct instance_key key;
    struct member *member;
    struct broker_peer *peer; /* NULL: away */
    uint64_t last_id;         /* highest id routed or refused */
    int64_t forget_at_ms;
    struct flight *flights[LANES];
    struct will *will;        /* NULL: none */
    int64_t will_due_ms;      /* boot clock: published then unless it comes back; 0: it is here */
    struct refusal *refusals; /* ring of REFUSALS_KEPT; NULL: never refused anything */
    size_t refusal_count;     /* ever; the ring's next place is its remainder */
    struct fifo storing;      /* u64: ids on their way to the store, which answers in their order */
    struct store_order *storing_part; /* a message to be stored that comes in fragments */
    uint32_t storing_total;
    int untold_code; /* of a BYE that its link did not take; 0: none */
};

struct subscription {
    UT_hash_handle hh;                /* by number, per peer */
    struct subscription *prev, *next; /* of one trie node */
    struct broker_peer *peer;
    struct route_node *node;
    struct queue *queue; /* NULL: none */
    uint64_t id;
    uint32_t number;
    uint8_t policy;
    bool serve;
    bool values_more;      /* there may be more stored values: it is in broker_peer.values */
    uint64_t values_after; /* the last number of them it got */
    struct subscription *values_prev, *values_next;
    uint8_t size;
    char filter[]; /* canonical */
};

/* What becomes of values that were kept and find no room. Who would be disconnected is not slow,
 * and would be sent the same again after the next link. */
static inline uint8_t kept_policy(const struct subscription *s)
{
    return s->policy == SLOW_DISCONNECT ? SLOW_DROP_NEW : s->policy;
}

/* A set of numbers, grown as needed. */
struct bitmap {
    uint64_t *words;
    size_t word_count;
};

struct broker_peer {
    struct broker_peer *prev, *next;           /* broker.peers */
    struct broker_peer *out_prev, *out_next;   /* broker.output */
    struct broker_peer *work_prev, *work_next; /* broker.working, while input waits */
    struct broker_peer *ack_prev, *ack_next;   /* broker.acks, while it is owed one */
    UT_hash_handle hh;                         /* broker.sessions by name, while READY */
    enum peer_state state;
    uint64_t serial;
    void *cookie;
    char address[96];
    char *software;
    struct member *member;
    struct instance *instance;
    uint64_t instance_number; /* of its HELLO, also when it is over */

    int64_t opened_ms, ready_ms, heard_ms;
    int64_t ready_real_ms;
    unsigned pings;
    int64_t denied_logged_ms;
    uint32_t denied_unlogged;
    bool slow_logged;

    uint32_t publish_window; /* as WELCOME said */
    int64_t publish_credit;  /* bytes it may still send */
    uint32_t credit_owed;    /* bytes it has coming back */
    uint64_t window;         /* bytes of DELIVER it may still be sent by subscription */
    bool ack_pending;        /* a PUBLISH came since the last ACK */
    bool in_acks;            /* it goes with the next frame, or at ack_due_ms */
    int64_t ack_due_ms;
    unsigned ack_records; /* PUBLISH records since the last one */
    size_t ack_bytes;     /* of them */

    struct fifo input;          /* ends of frames: what its slices have not reached yet */
    size_t input_taken;         /* bytes of the first one */
    bool in_working, is_orphan; /* its link is gone, its input is not */
    int64_t resume_ms;          /* its input waits until then, 0: it does not */

    struct subscription *subscriptions;
    struct subscription *values; /* those of them that wait for stored values, the next one first */
    bool values_reading;         /* an order of one of them is out */
    size_t subscription_count;
    struct membership *memberships; /* QUEUE_GROUPS_MAX of them; NULL: it was in no group */
    size_t membership_count;
    size_t request_count; /* of its own that wait for a reply */
    uint64_t mark;        /* route.c: in the walk of this number ... */
    size_t mark_index;    /* ... it is the reader with this index */

    uint64_t topic_sent;        /* messages and gaps by subscription handed to the transport */
    uint64_t queue_mark;        /* queue.c: chosen in the walk of this number */
    uint64_t queue_turn;        /* when a queue group chose it last */
    struct handed_over *handed; /* oldest first */
    size_t handed_count;

    bool in_output, blocked;
    struct buffer control;
    size_t control_sent;
    struct registry *registry; /* being sent to it, from registry_sent on */
    size_t registry_sent;
    uint64_t registry_told; /* the version it has: of its HELLO, then the last one sent whole */
    struct lane lanes[LANES];
    struct bitmap topics_known, components_known;
    struct bitmap components_renewed; /* known, but another process since: told again before use */
    struct entry **gap_slots;         /* GAP_SLOTS, to find a gap that grows; NULL until needed */

    int end_code; /* noted by peer_end_later() or told in BYE */
    bool end_noted, kick_reported;
    char end_text[HINT_SIZE_MAX + 1];
    int64_t kick_at_ms;

    uint64_t published, refused, delivered, dropped, bytes_in, bytes_out;
};

struct request_key {
    uint32_t requester; /* member number */
    uint32_t zero;      /* no padding bytes in a hash key */
    uint64_t id;
};

struct request {
    UT_hash_handle hh;
    struct request_key key;
    struct broker_peer *requester, *responder;
    struct ledger_row *row;
    int64_t deadline_ms; /* moves on while the reply comes in fragments */
};

/* How a message goes: by subscription (also when it is stored) or straight to one component. */
enum ledger_way {
    LEDGER_BY_TOPIC,
    LEDGER_DIRECT,
    LEDGER_REQUEST,
    LEDGER_REPLY,
    LEDGER_CONTROL, /* of the bus itself: handshakes, keys, presence */
};

struct ledger_key {
    uint32_t sender, reader;    /* member numbers; by topic, reader 0 has what the sender said */
    uint8_t rule[RULE_ID_SIZE]; /* zeros: none */
    uint64_t way;               /* no padding bytes in a hash key */
};

struct ledger_cause {
    struct ledger_cause *next;
    int code;
    uint64_t count;
};

struct ledger_row {
    UT_hash_handle hh;
    struct ledger_key key;
    struct bytes filter; /* of the rule, which may be gone; behind the row */
    uint64_t published, refused, stored;
    uint64_t asked, answered, unanswered;        /* requests */
    struct ledger_cause *refused_for, *left_for; /* left: unanswered */
    struct broker_flow flow;
    uint64_t returned; /* of the delivered: stored, and not settled when their reader left: not all
                          of them need have come there */
};

/* What the frame handed out by broker_next_frame() is made of; nothing of it is taken out of the
 * lanes before broker_frame_sent(). */
struct build {
    struct broker_peer *peer; /* NULL: no frame is out */
    size_t control, registry, entries[LANES];
    uint64_t window;
    size_t size;
    size_t topic_count, component_count;
    uint32_t topics[FRAME_SIZE_MAX / RECORD_HEAD_SIZE]; /* made known by this frame */
    uint32_t components[FRAME_SIZE_MAX / RECORD_HEAD_SIZE];
};

/* Stored messages: stream.h. */
struct stream_state {
    struct store_order *orders;  /* to be handed out */
    struct store_order *waiting; /* behind them, by turn: those that look at many rows */
    uint64_t turn;               /* of the last of these that was handed out */
    unsigned looking;            /* how many of these the store has */
    struct durable *durables;
    struct statement *statements; /* by identity */
    bool loaded;                  /* those the store held are here */
    uint64_t last_handle;
    size_t assembling; /* bytes of messages in fragments that are not whole yet */
    int64_t trim_ms, sweep_ms, retry_ms, say_ms; /* boot clock; 0: nothing is due */
    int64_t tidy_ms;                             /* what belongs to nothing goes: the next time */
    bool *deleting;       /* by enum deletion, those of registry generation deleting_by: whether an
                             order is on its way */
    uint64_t deleting_by; /* 0: none has been */
};

struct broker {
    struct broker_settings settings;
    char *software;
    char name[COMPONENT_NAME_MAX + 1];
    struct moment now; /* of the public call that runs */
    struct moment started;
    struct registry *registry;
    struct registry **succession; /* succession_count of them: broker_keep_succession() */
    size_t succession_count;
    uint64_t registry_generation;
    int64_t recheck_real_ms; /* a rotation's overlap ends; 0: none */
    int64_t deadline_ms, swept_ms;
    bool draining;
    int64_t drain_until_ms;

    struct member *members;
    struct member **member_by_number;
    size_t member_count, member_capacity; /* numbers below member_count are in use */
    struct member *self;                  /* number 1 */

    struct topic *topics;
    struct topic **topic_by_number;
    size_t topic_count, topic_capacity;

    struct retained *retained;
    size_t retained_bytes;
    int64_t retained_expires_ms; /* nothing of them does earlier; 0: nothing does */
    struct queue *queues;
    uint64_t queue_mark, queue_turn;
    struct route_node *routes;
    uint64_t route_generation, route_mark;
    size_t subscription_count;

    struct broker_peer *peers, *output, *working, *sessions, *acks;
    uint64_t work;      /* units done, ever */
    uint64_t turn_ends; /* the value of work at which this turn's is done */
    size_t peer_count;
    size_t ending;  /* peers that peer_end_later() has noted */
    size_t leaving; /* peers in PEER_LEAVING */
    uint64_t next_serial;
    struct instance *instances, *away_instances;
    struct flight *flights;
    struct request *requests;
    uint64_t next_id; /* of the broker's own messages */

    struct bundle_asked *prekeys_asked;
    bool prekeys_loading; /* the store has not said yet what was left before */
    struct stream_state streams;

    struct entry *spare; /* free list */
    size_t spare_count;
    struct build build;
    uint8_t *frame; /* FRAME_SIZE_MAX */

    struct broker_totals totals;
    uint64_t refused_by_code[256];
    uint64_t quota_warnings[QUOTAS]; /* components that came near */
    uint64_t quota_refusals[QUOTAS];
    int64_t links_warned_ms;
    struct ledger_row *ledger;
    struct ledger_row ledger_rest, ledger_rest_direct; /* what found no room there */
    size_t ledger_rows, ledger_rows_direct;
    struct broker_event events[EVENTS_KEPT];
    size_t event_first, event_count;
    uint64_t events_lost;
    uint8_t audit_head[AUDIT_HEAD_MAX]; /* the line */
    size_t audit_head_size;
    int64_t audit_head_ms; /* when it may be told to everybody again */
    int64_t stats_at_ms;   /* when $bus/stats is published next; 0: nobody reads it */
    struct broker_ask asks[ASKS_KEPT];
    size_t ask_count;
};

/* broker.c */
/* Every public call that has a time begins and ends with these. */
void enter(struct broker *broker, struct moment now);
void settle(struct broker *broker);
void wake_at(struct broker *broker, int64_t boot_ms);
/* ingress.c */
/* Some work was done; see WORK_SLICE. */
static inline void work_add(struct broker *broker, size_t units)
{
    broker->work += units;
}
/* What waits from @peer is forgotten. */
void ingress_forget(struct broker *broker, struct broker_peer *peer);
/* The handler of a record: not now. It is asked again after PAUSE_MS, in its place. */
#define INGRESS_LATER 1
/* Goes on with what paused, now or when its time has come. */
void ingress_resume(struct broker *broker, struct broker_peer *peer);
void ingress_sweep(struct broker *broker, struct broker_peer *peer);
/* names.c */
struct bytes topic_view(const struct topic *topic);
/* The topic of @name (valid) if it has a number. */
struct topic *topic_find(struct broker *broker, struct bytes name);
/* The topic of @name. A new one gets a number if @number asks for it and there is room; one without
 * belongs to the caller: topic_unref(), which does nothing to the others. NULL without memory. */
struct topic *topic_get(struct broker *broker, struct bytes name, bool number);
void topic_ref(struct topic *topic);
void topic_unref(struct topic *topic);
struct topic *topic_by_number(struct broker *broker, uint32_t number);
/* NULL: no link ever had that key. */
struct member *member_find(struct broker *broker, const uint8_t identity[32]);
struct member *member_get(struct broker *broker, struct bytes name, const uint8_t identity[32]);
struct member *member_by_number(struct broker *broker, uint32_t number);
bool bitmap_has(const struct bitmap *bitmap, uint32_t number);
int bitmap_set(struct bitmap *bitmap, uint32_t number);
void bitmap_clear(struct bitmap *bitmap, uint32_t number);
/* Looks every member up in the registry in force. */
void members_refresh(struct broker *broker);
/* Begins to send @peer the next registry it does not have: of a succession, else the one in force.
 * broker.c */
void registry_send_next(struct broker *broker, struct broker_peer *peer);
void names_free(struct broker *broker);
/* acl.c */
const struct rule *topic_rule(struct broker *broker, struct topic *topic);
bool may_publish(struct broker *broker, struct broker_peer *peer, struct topic *topic);
bool may_read(struct broker *broker, const struct broker_peer *peer, struct topic *topic);
bool may_subscribe(struct broker *broker, const struct broker_peer *peer, struct bytes filter,
                   const struct rule **ret_rule);
/* Whether a message accepted earlier may still go from @from to @to. */
bool may_go(struct broker *broker, enum lane_kind lane, uint8_t delivery, struct topic *topic,
            const struct member *from, const struct member *to);
bool is_sealed_enough(const struct rule *rule, struct bytes payload);
/* Queues REFUSE @id and counts; @rule may be NULL. */
void refuse(struct broker *broker, struct broker_peer *peer, uint64_t id, int code,
            const struct rule *rule, const char *hint, ...) __attribute__((format(printf, 6, 7)));
/* The same for a PUBLISH: it is counted, and remembered for a client that reconnects. */
void refuse_publish(struct broker *broker, struct broker_peer *peer,
                    const struct record_publish *publish, int code, const struct rule *rule,
                    const char *hint, ...) __attribute__((format(printf, 6, 7)));
/* @publish NULL: it may not subscribe. */
void refuse_denied(struct broker *broker, struct broker_peer *peer, uint64_t id,
                   const struct record_publish *publish, const struct rule *rule,
                   struct bytes topic);
/* The same of a record that is not answered. */
void log_unanswered(struct broker *broker, struct broker_peer *peer, const char *record);
/* @peer has a later registry than we: it may know of rights that we do not know yet. */
bool is_ahead(const struct broker *broker, const struct broker_peer *peer);
/* route.c */
int route_add(struct broker *broker, struct subscription *subscription);
void route_remove(struct broker *broker, struct subscription *subscription);
/* Brings topic->readers up to date; AICO_ENOMEM. */
int route_update(struct broker *broker, struct topic *topic);
struct recipient *route_find(struct topic *topic, const struct broker_peer *peer);
void route_free(struct broker *broker);
/* lane.c */
struct message *message_new(struct broker *broker, const struct record_deliver *deliver,
                            struct topic *topic, struct member *sender);
/* A message whose record, of @size bytes, the caller writes. */
struct message *message_over(size_t size, struct topic *topic, struct member *sender);
void message_unref(struct message *message);
/* Makes sure that @count entries can be taken without failing. */
int entries_reserve(struct broker *broker, size_t count);
/* Puts @message behind what waits for @reader, by its policy; entries must be reserved. @flight
 * NULL: a whole message. */
void lane_push(struct broker *broker, struct broker_peer *peer, enum lane_kind lane,
               struct message *message, uint8_t policy, struct ledger_row *row, struct queue *queue,
               struct flight *flight, uint32_t flight_index);
/* Takes a whole message, or a gap, out of the lane and leaves none: it goes elsewhere. */
void lane_forget(struct broker *broker, struct broker_peer *peer, struct entry *entry);
/* What @loss describes will not come: a GAP behind everything that waits for @peer. One entry must
 * be reserved. */
void lane_report_loss(struct broker *broker, struct broker_peer *peer, const struct gap *loss);
/* Puts @message, the broker's own, in the place of the last one on its topic that waits for @peer
 * among the direct ones; false when there is none. */
bool lane_replace(struct broker_peer *peer, struct message *message);
/* Takes that one out. */
void lane_withdraw(struct broker *broker, struct broker_peer *peer, const struct message *message);
/* Drops everything of @flight for reader @index and leaves a gap; one entry must be reserved. */
void lane_void(struct broker *broker, struct flight *flight, uint32_t index, enum broker_drop cause,
               int code);
/* Everything that waits in the lanes is dropped; no gaps: nobody will read them. */
void lane_clear(struct broker *broker, struct broker_peer *peer, enum broker_drop cause);
/* Drops what the registry in force does not allow any more, leaving gaps. */
void lane_recheck(struct broker *broker, struct broker_peer *peer);
/* Drops what waited longer than its publisher wanted, leaving gaps. */
void lane_expire(struct broker *broker, struct broker_peer *peer);
/* The first entry of the lane was handed to the transport. */
void lane_head_sent(struct broker *broker, struct broker_peer *peer, enum lane_kind lane);
void entries_free(struct broker *broker);
/* outbox.c */
void outbox_queued(struct broker *broker, struct broker_peer *peer);
bool outbox_is_empty(const struct broker_peer *peer);
bool outbox_build(struct broker *broker, struct broker_peer *peer, struct bytes *ret_frame);
void outbox_rollback(struct broker *broker);
void outbox_commit(struct broker *broker);
/* lane of the broker's own records */
/* audit.c */
void audit_head_tell(struct broker *b, struct broker_peer *peer);
struct writer control_begin(struct broker *broker, struct broker_peer *peer, size_t room);
void control_end(struct broker *broker, struct broker_peer *peer, const struct writer *w);
size_t control_waiting(const struct broker_peer *peer);
int announce_topic(struct broker *broker, struct broker_peer *peer, const struct topic *topic);
int announce_member(struct broker *broker, struct broker_peer *peer, const struct member *member);
void owe_credit(struct broker *broker, struct broker_peer *peer, uint32_t bytes);
/* publish.c */
int on_publish(struct broker *broker, struct broker_peer *peer, const struct record *record);
/* A message of the broker itself to the subscribers of @topic, or to @only alone. It goes among the
 * direct ones: who does not read must still learn who is there. @last: behind what waits, else in
 * the place of an earlier one on @topic. */
void publish_own(struct broker *broker, struct bytes topic, struct bytes payload,
                 struct broker_peer *only, bool last);
/* Whether a message that is routed now, of @publisher, goes to @reader. */
static inline bool recipient_gets(const struct recipient *reader,
                                  const struct broker_peer *publisher)
{
    return reader->peer != publisher && reader->peer->state == PEER_READY &&
           (!reader->queue || reader->chosen);
}
/* receivers.c */
/* RECEIVERS: the @count readers of @topic to which PUBLISH @id was routed just now. */
void receivers_tell(struct broker *broker, struct broker_peer *publisher, const struct topic *topic,
                    uint64_t id, size_t count);
struct store_order;
/* The same of what was stored: who listens to it now, and whose durable readers match. */
void receivers_tell_stored(struct broker *broker, struct broker_peer *publisher,
                           const struct store_order *order);
/* flight.c */
struct flight *flight_new(struct broker *broker, struct instance *instance, enum lane_kind lane,
                          const struct record_publish *publish, struct topic *topic,
                          struct member *sender, size_t reader_count);
/* No more fragments will come. */
void flight_end(struct broker *broker, struct instance *instance, enum lane_kind lane);
/* As flight_end(), before the message was complete: its readers get a gap. */
void flight_abort(struct broker *broker, struct instance *instance, enum lane_kind lane,
                  enum broker_drop cause, int code);
void flight_unref(struct flight *flight);
/* @peer reads no longer: flights forget it; direct ones are refused to their publisher. */
void flights_forget(struct broker *broker, struct broker_peer *peer);
void flights_recheck(struct broker *broker);
/* retained.c */
/* Whether @publish may be kept as the value of @topic; else it was refused. */
bool retained_has_room(struct broker *broker, struct broker_peer *peer,
                       const struct record_publish *publish, const struct topic *topic);
bool retained_is_of_another(struct broker *broker, const struct topic *topic,
                            const struct member *sender);
/* @deliver is the last value of @topic from now on. AICO_ENOMEM. */
int retained_keep(struct broker *broker, const struct record_deliver *deliver, struct topic *topic,
                  struct member *sender, int64_t expires_ms);
/* @peer, which has just subscribed, gets what is there. */
void retained_catch_up(struct broker *broker, struct broker_peer *peer,
                       const struct subscription *subscription);
/* The value of @topic, if there is one, is kept elsewhere now. */
void retained_forget(struct broker *broker, const struct topic *topic);
/* Forgets what has expired, or what the registry in force no longer lets its publisher say. */
void retained_sweep(struct broker *broker, bool recheck);
void retained_free(struct broker *broker);
/* will.c */
int on_will(struct broker *broker, struct broker_peer *peer, const struct record *record);
/* The session of @instance ended with @code; 0: in order. */
void will_session_ended(struct broker *broker, struct instance *instance, int code);
/* Publishes it now, if there is one. */
void will_publish(struct broker *broker, struct instance *instance);
void will_free(struct instance *instance);
/* queue.c */
#define QUEUE_GROUPS_MAX 64 /* of one session */
/* A subscription of @peer as one of @queue: 0, AICO_EQUOTA or AICO_ENOMEM. */
int queue_join(struct broker_peer *peer, struct queue *queue);
/* One less. */
void queue_part(struct broker_peer *peer, const struct queue *queue);
struct membership *queue_membership(struct broker_peer *peer, const struct queue *queue);
/* The group of that name, made if need be, with a reference; NULL without memory. */
struct queue *queue_get(struct broker *broker, struct bytes name);
void queue_ref(struct queue *queue);
void queue_unref(struct queue *queue);
/* Chooses one reader of each group among topic->readers (up to date) for a message of @from, which
 * may be NULL; @only NULL: of every group. */
void queue_choose(struct broker *broker, struct topic *topic, const struct broker_peer *from,
                  const struct queue *only);
/* After that: whether @reader gets the message; one of no group always does while it is there. */
bool queue_lets(const struct recipient *reader);
/* A message of a group, or the report of a loss of one, was handed to the transport for @peer;
 * @loss is what becomes of it when @peer leaves without having acknowledged it. */
void queue_handed(struct broker *broker, struct broker_peer *peer, const struct gap *loss,
                  bool is_gap);
int on_ack(struct broker *broker, struct broker_peer *peer, const struct record *record);
/* @peer has left, its subscriptions are gone already. What waits for it as a member of @queue
 * (NULL: of any) goes to another one, and what left for it unacknowledged is named to another one.
 */
void queue_left(struct broker *broker, struct broker_peer *peer, const struct queue *queue);
/* @peer may not have the message @entry any more; whether another of its group takes it. */
bool queue_moved(struct broker *broker, struct broker_peer *peer, struct entry *entry);
/* instance.c */
struct instance *instance_get(struct broker *broker, struct member *member, uint64_t number);
/* NULL when nothing is remembered of it. */
struct instance *instance_find(struct broker *broker, const struct member *member, uint64_t number);
void instance_attach(struct broker *broker, struct instance *instance, struct broker_peer *peer);
void instance_detach(struct broker *broker, struct instance *instance);
void instance_free(struct broker *broker, struct instance **instance);
void instance_refused(struct broker *broker, struct instance *instance, uint64_t id, int code,
                      uint32_t rule_line);
/* Everything up to this id was routed or refused. */
uint64_t instance_acknowledged(const struct instance *instance);
/* What WELCOME says: lower, when refusals may not have reached the client. */
uint64_t instance_welcome_id(const struct broker *broker, const struct instance *instance);
/* Queues those refusals again. */
void instance_repeat_refusals(struct broker *broker, struct instance *instance);
void instances_sweep(struct broker *broker);
void instances_restarted(struct broker *broker, const struct instance *fresh);
/* request.c */
int request_add(struct broker *broker, struct broker_peer *requester, uint64_t id,
                struct broker_peer *responder, uint32_t timeout_ms, struct ledger_row *row);
struct request *request_find(struct broker *broker, const struct member *requester, uint64_t id,
                             const struct broker_peer *responder);
/* @code 0: it was answered. */
void request_end(struct broker *broker, struct request *request, int code);
void requests_peer_left(struct broker *broker, struct broker_peer *peer);
void requests_sweep(struct broker *broker);
/* control.c */
/* Queues OK @id. */
void answer_ok(struct broker *broker, struct broker_peer *peer, uint64_t id, uint32_t value);
int on_hello(struct broker *broker, struct broker_peer *peer, const struct record *record);
int on_bye(struct broker *broker, struct broker_peer *peer, const struct record *record);
int on_ping(struct broker *broker, struct broker_peer *peer, const struct record *record);
int on_pong(struct broker *broker, struct broker_peer *peer, const struct record *record);
int on_credit(struct broker *broker, struct broker_peer *peer, const struct record *record);
int on_subscribe(struct broker *broker, struct broker_peer *peer, const struct record *record);
int on_unsubscribe(struct broker *broker, struct broker_peer *peer, const struct record *record);
int on_resolve(struct broker *broker, struct broker_peer *peer, const struct record *record);
void answer_ok(struct broker *broker, struct broker_peer *peer, uint64_t id, uint32_t value);
void subscriptions_recheck(struct broker *broker, struct broker_peer *peer);
void subscriptions_free(struct broker *broker, struct broker_peer *peer);
/* acks.c */
/* A PUBLISH of @size bytes came. */
void ack_note(struct broker_peer *peer, size_t size);
/* One ACK for the PUBLISH records that were settled, if there were any: now. */
void acknowledge(struct broker *broker, struct broker_peer *peer);
/* The same with the next frame to @peer, or when it is due. */
void acknowledge_soon(struct broker *broker, struct broker_peer *peer);
/* The boot_ms at which the next one is due; MOMENT_NEVER. */
int64_t acks_due_ms(const struct broker *broker);
void acks_send_due(struct broker *broker);
/* @peer is owed none any more. */
void ack_forget(struct broker *broker, struct broker_peer *peer);
/* stream.c */
int on_keys(struct broker *broker, struct broker_peer *peer, const struct record *record);
/* A question for the store; false: it is none. */
bool stream_ask(struct broker *broker, struct broker_peer *peer, const struct record_query *query);
void stream_instance_free(struct broker *broker, struct instance *instance);
/* The lowest id of @instance that is not stored yet; UINT64_MAX: none. */
uint64_t stream_unstored(const struct instance *instance);
struct broker_peer *peer_by_serial(struct broker *broker, uint64_t serial);
void streams_tick(struct broker *broker);
int streams_start(struct broker *broker);
void streams_free(struct broker *broker);
/* mailbox.c */
/* @peer listens to more than before: what waits for it there is handed over. */
void mailbox_open(struct broker *broker, struct broker_peer *peer);
/* values.c */
/* @peer, which has just subscribed, gets the stored values. */
void values_catch_up(struct broker *broker, struct broker_peer *peer,
                     struct subscription *subscription);
/* Something of @peer's outbox was sent. */
void values_pump_peer(struct broker *broker, struct broker_peer *peer);
/* @subscription goes. */
void values_forget(struct subscription *subscription);
void values_peer_left(struct broker *broker, const struct broker_peer *peer);
/* Whose components were revoked have no value any more. */
void values_recheck(struct broker *broker);
/* durable.c */
int on_follow(struct broker *broker, struct broker_peer *peer, const struct record *record);
int on_settle(struct broker *broker, struct broker_peer *peer, const struct record *record);
/* Ends the following of @subscription; false: there is none. */
bool durable_unfollow(struct broker *broker, struct broker_peer *peer, uint32_t subscription);
void durables_peer_left(struct broker *broker, struct broker_peer *peer);
void durables_recheck(struct broker *broker, struct broker_peer *peer);
/* Something of @peer's outbox was sent. */
void durables_pump_peer(struct broker *broker, struct broker_peer *peer);
void durables_tick(struct broker *broker);
void durables_free(struct broker *broker);
/* statement.c */
int on_reading(struct broker *broker, struct broker_peer *peer, const struct record *record);
/* Tells @peer the reading keys it has to seal for. */
void statements_tell(struct broker *broker, struct broker_peer *peer);
void statements_free(struct broker *broker);
/* query.c */
int on_query(struct broker *broker, struct broker_peer *peer, const struct record *record);
/* The JSON @text in pieces, or why it cannot be sent now. */
void answer_query(struct broker *broker, struct broker_peer *peer, uint64_t id, struct bytes text);
/* peer.c */
/* Ends the session: BYE, then the link is cut. @code 0 or negative; @text NULL: the code's. */
void peer_end(struct broker *broker, struct broker_peer *peer, int code, const char *text);
/* The same at the end of the public call. */
void peer_end_later(struct broker *broker, struct broker_peer *peer, int code, const char *text);
void peer_become_ready(struct broker *broker, struct broker_peer *peer);
/* The session is over without BYE; the peer stays until broker_peer_gone(). */
void peer_cut(struct broker *broker, struct broker_peer *peer, int code, const char *text);
/* Ends every session of @name at the end of the public call; false when there is none. */
bool kick_name(struct broker *broker, struct bytes name, int code, const char *text);
/* For control messages and questions: TOKENS_PER_SECOND, at most TOKENS_BURST at once. */
bool peer_take_tokens(struct broker *broker, struct broker_peer *peer, unsigned count);
/* Its link is gone and its input worked off: it is freed. */
void peer_orphan_end(struct broker *broker, struct broker_peer *peer);
/* Keep-alive and deadlines of one peer. */
void peer_sweep(struct broker *broker, struct broker_peer *peer);
void peer_free(struct broker *broker, struct broker_peer *peer);
void output_add(struct broker *broker, struct broker_peer *peer);
void output_remove(struct broker *broker, struct broker_peer *peer);
/* presence.c */
void presence_online(struct broker *broker, const struct broker_peer *peer);
void presence_offline(struct broker *broker, const struct broker_peer *peer, int code);
/* Tells @peer, which has just subscribed to @filter, who of it is online. */
void presence_catch_up(struct broker *broker, struct broker_peer *peer, struct bytes filter);
/* stats.c */
struct json;
void put_drops(struct json *json, const uint64_t dropped[DROP_CAUSES]);
bool is_too_long(const struct json *json);
/* Somebody subscribed to $bus/stats. */
void stats_wanted(struct broker *broker);
void stats_tick(struct broker *broker);
/* ledger.c */
void ledger_json(const struct broker *broker, struct json *json);
/* @sender NULL: nobody knows any more. */
void count_published(struct broker *broker, const struct member *sender, const struct rule *rule,
                     uint64_t count);
void count_stored(struct broker *broker, const struct member *sender, const struct rule *rule,
                  uint64_t count);
/* It goes to one component, as @row says. */
void count_direct(struct broker *broker, struct ledger_row *row);
void count_refused(struct broker *broker, struct ledger_row *row, int code);
void count_asked(struct broker *broker, struct ledger_row *row);
/* @code 0: answered. */
void count_request_ended(struct broker *broker, struct ledger_row *row, int code);
/* By topic; @reader NULL: of the sender and rule alone. */
struct ledger_row *ledger_row(struct broker *broker, const struct member *sender,
                              const struct rule *rule, const struct member *reader);
/* What a sender says by topic; NULL: nobody knows any more who it was. */
struct ledger_row *sender_row(struct broker *broker, const struct member *sender,
                              const struct rule *rule);
/* Of what goes straight to @reader; of control messages there is one row a sender. */
struct ledger_row *direct_row(struct broker *broker, const struct member *sender,
                              const struct rule *rule, const struct member *reader,
                              enum ledger_way way);
/* Where a refusal of @publish belongs. */
struct ledger_row *refused_row(struct broker *broker, const struct member *sender,
                               const struct record_publish *publish, const struct rule *rule);
/* The way of a PUBLISH to one component. */
enum ledger_way direct_way(uint8_t delivery);
/* They go to another reader instead: as if they had never been routed to this one. */
void count_moved(struct broker *broker, struct ledger_row *row, uint64_t count);
void count_routed(struct broker *broker, struct broker_peer *peer, struct ledger_row *row,
                  uint64_t count);
void count_delivered(struct broker *broker, struct broker_peer *peer, struct ledger_row *row,
                     uint64_t count);
/* @peer NULL: nobody knows who its readers are; @row is the sender's. */
void count_dropped(struct broker *broker, struct broker_peer *peer, struct ledger_row *row,
                   enum broker_drop cause, uint64_t count);
void ledger_free(struct broker *broker);
int status_json(const struct broker *broker, const struct broker_peer *peer, struct bytes what,
                struct bytes filter, struct buffer *out);
/* events.c */
void event(struct broker *broker, enum broker_event_level level, enum broker_event_kind kind,
           const struct broker_peer *peer, int code, const char *text, ...)
    __attribute__((format(printf, 6, 7)));

#endif
