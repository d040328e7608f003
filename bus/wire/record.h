/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of the client-broker protocol and the frames that carry them.
 *
 * Source of every byte: docs/protocol-broker.md. One message of ZMTP, of one part, is one frame:
 *
 *   u8  version = 1, then records back to back
 *
 * and a record is
 *
 *   u8   type
 *   u8   flags     unknown bits are refused, not ignored
 *   u16  aux       code, delivery kind or 0, by type
 *   u32  size      of the body that follows
 *
 * Parsing borrows from the frame; writing goes into a struct writer of the caller. Strict: a body
 * must be used up exactly, reserved fields are zero, counts and sizes are within their limits.
 * Pure, no allocation, any thread.
 */
#ifndef WIRE_RECORD_H
#define WIRE_RECORD_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/reader.h"
#include "base/writer.h"

#define WIRE_VERSION 1
#define RECORD_HEAD_SIZE 8
#define FRAME_SIZE_MAX (96 * 1024)           /* the largest message of ZMTP of ours */
#define FRAME_BATCH_SIZE (72 * 1024)         /* a frame of several records is closed at this size */
#define FRAGMENT_SIZE_MAX (65 * 1024)        /* payload bytes of one PUBLISH or DELIVER */
#define MESSAGE_SIZE_MAX (24u * 1024 * 1024) /* payload bytes of a message in all its fragments */
#define HINT_SIZE_MAX 300
#define WILL_SIZE_MAX (16 * 1024)

#define AUDIT_HEAD_MAX 512 /* bytes of the line in AUDIT */

enum record_type {
    RECORD_HELLO = 1,
    RECORD_WELCOME = 2,
    RECORD_BYE = 3,
    RECORD_PING = 4,
    RECORD_PONG = 5,
    RECORD_CREDIT = 6,
    RECORD_REGISTRY = 7,
    RECORD_COMPONENT = 8,
    RECORD_TOPIC = 9,
    RECORD_SUBSCRIBE = 10,
    RECORD_UNSUBSCRIBE = 11,
    RECORD_OK = 12,
    RECORD_REFUSE = 13,
    RECORD_PUBLISH = 14,
    RECORD_ACK = 15,
    RECORD_DELIVER = 16,
    RECORD_GAP = 17,
    RECORD_RESOLVE = 18,
    RECORD_RESOLVED = 19,
    RECORD_QUERY = 20,
    RECORD_ANSWER = 21,
    RECORD_WILL = 22,
    RECORD_PREKEYS = 23,
    RECORD_BUNDLE = 24,
    RECORD_FOLLOW = 25, /* 25 to 30: wire/stream_record.h */
    RECORD_ITEM = 26,
    RECORD_SETTLE = 27,
    RECORD_KEYS = 28,
    RECORD_KEY = 29,
    RECORD_READING = 30,
    RECORD_AUDIT = 36,
    RECORD_RECEIVERS = 40,
    RECORD_MISSED = 45, /* wire/stream_record.h */
};

enum delivery {
    DELIVERY_EVENT = 0,
    DELIVERY_RETAINED = 1,
    DELIVERY_STREAM = 2,
    DELIVERY_REQUEST = 3,
    DELIVERY_REPLY = 4,
    DELIVERY_MAILBOX = 5,
    DELIVERY_CONTROL = 6,
};

/* What happens when this reader's outbox is full; bits of no record, a u8 of SUBSCRIBE. */
enum slow_policy {
    SLOW_DROP_OLD = 0,   /* the oldest waiting messages go, reported by a GAP (default) */
    SLOW_DROP_NEW = 1,   /* the new message goes, reported by a GAP */
    SLOW_BLOCK = 2,      /* publishers get their credit back only when this reader took it */
    SLOW_DISCONNECT = 3, /* the reader is told BYE E_SLOW */
};

/* Fixed numbers. 0 never names anything. */
#define TOPIC_NUMBER_CONTROL 1 /* $bus/control */
#define TOPIC_NUMBER_HEADS 2   /* $bus/heads */
#define TOPIC_CONTROL "$bus/control"
#define TOPIC_HEADS "$bus/heads"
#define TOPIC_STATS "$bus/stats"
#define TOPIC_PRESENCE_PREFIX "$bus/presence/"
#define COMPONENT_NUMBER_BROKER 1
#define NUMBER_BY_NAME UINT32_MAX /* in PUBLISH.to: the name follows */

/* Flags of PUBLISH, DELIVER and GAP. */
#define RECORD_FLAG_FRAGMENT 0x01 /* u32 total, u32 offset follow */
#define RECORD_FLAG_REPLY 0x02    /* u64 request follows; delivery is DELIVERY_REPLY */
#define RECORD_FLAG_DIRECT 0x04   /* DELIVER, GAP: addressed to this component by name */
#define RECORD_FLAG_COPY 0x10     /* PUBLISH of an event to one component: see record_publish */
#define RECORD_FLAG_TIMEOUT 0x08  /* PUBLISH only: u32 ms follows; delivery is DELIVERY_REQUEST */
#define RECORD_FLAG_COUNT 0x20    /* an event by subscription: u16 messages in it follows */
/* DELIVER, GAP: the broker had kept it, so it is no part of a row */
#define RECORD_FLAG_KEPT 0x40
#define RECORD_FLAG_TTL 0x40 /* PUBLISH only: u32 ms follows; not request, reply, control */
#define RECORD_FLAG_AGAIN                                                                          \
    0x80 /* PUBLISH only, retained: said to another broker before; it does not replace another     \
            sender's value */
/* the same bit of an event or a stored message: RECEIVERS answers */
#define RECORD_FLAG_RECEIPT RECORD_FLAG_AGAIN
/* Flags of PREKEYS and BUNDLE. */
#define RECORD_FLAG_LEFT 0x01 /* PREKEYS, broker to client: what is left of them */
#define RECORD_FLAG_ASK 0x01  /* BUNDLE, client to broker: whose is wanted */
/* Flags of SUBSCRIBE. */
#define RECORD_FLAG_SERVE 0x01 /* this client answers requests on these topics */

/* HELLO, first record of a session, client to broker. */
struct record_hello {
    uint16_t version;           /* WIRE_VERSION */
    uint64_t instance;          /* random, not 0: this run of the client; record ids belong to it */
    uint64_t registry_version;  /* 0: has none */
    struct bytes registry_hash; /* 16 */
    uint32_t window;            /* bytes of DELIVER records (heads included) the broker may send */
    struct bytes name;          /* component name, must equal the User-Id's */
    struct bytes software;      /* lp8, free text for status */
};

/* WELCOME, the broker's answer. */
struct record_welcome {
    uint32_t window;            /* bytes of PUBLISH records (heads included) the client may send */
    uint32_t self;              /* the client's component number */
    uint64_t registry_version;  /* the broker's */
    struct bytes registry_hash; /* 16 */
    uint64_t time_ms;           /* the broker's clock, for people */
    uint64_t last_id;           /* highest PUBLISH id routed for this instance, 0 if none */
    struct bytes name;          /* the broker's component name */
    struct bytes software;
};

/* BYE: the session ends; aux = error code (positive number), 0 for an orderly end. */
struct record_bye {
    uint16_t code;
    struct bytes text; /* lp16, at most HINT_SIZE_MAX: cause and repair, for people */
};

struct record_ping { /* PING and PONG */
    uint64_t token;
};

struct record_credit {
    uint32_t bytes; /* not 0; added to what may be sent */
};

/* REGISTRY: a piece of a registry document. */
struct record_registry {
    uint64_t version;
    uint32_t total;
    uint32_t offset;
    struct bytes piece; /* 1..FRAGMENT_SIZE_MAX */
};

/* COMPONENT: the broker-wide number of a component, before its first use. */
struct record_component {
    uint32_t number;
    struct bytes identity; /* 32: Ed25519, to be checked against the registry */
    struct bytes name;     /* lp8 */
};

struct record_topic {
    uint32_t number;
    struct bytes topic; /* lp8 */
};

struct record_subscribe {
    uint64_t id;           /* answered by OK or REFUSE */
    uint32_t subscription; /* client's own number, not 0, unused in this session */
    uint8_t policy;        /* enum slow_policy */
    bool serve;
    struct bytes filter; /* lp8 */
    struct bytes queue;  /* lp8: queue group, empty for none */
};

struct record_unsubscribe {
    uint64_t id;
    uint32_t subscription;
};

struct record_ok {
    uint64_t id;
    uint32_t value; /* SUBSCRIBE: the subscription; else 0 */
};

/* REFUSE: aux = error code. For a SUBSCRIBE or PUBLISH of that id; a subscription that a new
 * registry forbids is refused later under the id of its SUBSCRIBE. */
struct record_refuse {
    uint16_t code;
    uint64_t id;
    uint32_t rule_line;  /* line in the registry of the deciding rule, 0: none */
    struct bytes filter; /* lp8, of that rule */
    struct bytes hint;   /* lp16, at most HINT_SIZE_MAX */
};

/* PUBLISH, aux = delivery << 8. */
struct record_publish {
    uint8_t delivery;
    uint64_t id;    /* rises from message to message of an instance, not always by 1; the same
                       in all fragments. One count with SUBSCRIBE, QUERY...: ids are unique */
    uint32_t topic; /* number, or 0: topic_name */
    uint32_t to;    /* component number, 0: by subscription, NUMBER_BY_NAME: to_name */
    bool fragment;
    uint32_t total;  /* fragment: size of the whole payload; else payload.size */
    uint32_t offset; /* fragment: where this piece begins; else 0 */
    bool reply;
    uint64_t request;    /* reply: id of the request as delivered */
    uint32_t timeout_ms; /* request: how long the requester waits; else 0 */
    bool copy;       /* of what goes to all readers of the topic, each in its own envelope: goes to
                        this one even if it has not subscribed, since a number of its channel
                        that never came would look like a loss */
    bool again;      /* retained: a value that is said again to a new broker */
    uint32_t ttl_ms; /* dropped when it waits longer than that; 0: never. A hint: what is sealed
                        says it for sure */
    uint16_t count;  /* messages in the payload, a sealed batch: 2 or more; 0: one */
    bool receipt;    /* the publisher waits for receipts and wants to know from whom */
    struct bytes topic_name;
    struct bytes to_name;
    struct bytes payload; /* 0..FRAGMENT_SIZE_MAX */
};

/* ACK, aux = 0 (accepted): every PUBLISH up to and with @id was routed or refused; a REFUSE comes
 * before the ACK that covers it. */
struct record_ack {
    uint64_t id;
};

#define RECEIVERS_MAX 1024 /* numbers in one record */

/* RECEIVERS: to whom the broker routed a PUBLISH with RECORD_FLAG_RECEIPT, or for whom it stored
 * it, before the ACK that covers it. Several follow each other until @total numbers have come; none
 * at all is one without any. */
struct record_receivers {
    uint64_t id; /* of the PUBLISH */
    uint32_t total;
    struct bytes numbers; /* u32 each: components, whose COMPONENT records came before; 0 of a
                             stored message: a member of a queue group, one for each group */
};

/* DELIVER, aux = delivery << 8: the same bytes for every receiver of one message. */
struct record_deliver {
    uint8_t delivery;
    uint64_t id;     /* the sender's PUBLISH id */
    uint32_t topic;  /* number, or 0: topic_name */
    uint32_t sender; /* component number */
    bool direct;
    bool fragment;
    uint32_t total;
    uint32_t offset;
    bool reply;
    bool kept;        /* a retained value, sent because of a subscription; or, an event, a will */
    uint64_t request; /* reply: which PUBLISH id of ours it answers */
    uint16_t count;   /* as in PUBLISH: the sender's word; 0: one message */
    struct bytes topic_name;
    struct bytes payload;
};

/* GAP, aux = error code of the cause: messages of one sender and topic this reader will not get,
 * in the place where they would have come. */
struct record_gap {
    uint16_t cause;
    uint32_t sender;
    uint32_t topic;   /* number, or 0: topic_name */
    uint64_t count;   /* messages, not 0 */
    uint64_t last_id; /* PUBLISH id of the last one: a partly received message of it is void */
    bool direct;      /* they were addressed to this component by name */
    bool kept;        /* the broker had kept them: no number is missing */
    struct bytes topic_name;
};

/* RESOLVE: who answers requests on this topic? Answered by RESOLVED or REFUSE (E_NO_RESPONDER). */
struct record_resolve {
    uint64_t id;
    struct bytes topic; /* lp8 */
};

struct record_resolved {
    uint64_t id;
    uint32_t component; /* its COMPONENT record came before */
};

struct record_query {
    uint64_t id;
    struct bytes what;     /* lp8: "status", "peers", "topics" */
    struct bytes argument; /* lp8 */
};

/* WILL: what the broker publishes in the sender's name when its session ends without BYE. It takes
 * the place of the one before; an empty payload withdraws it. Answered by OK or REFUSE. */
struct record_will {
    uint64_t id;
    uint32_t topic; /* number, or 0: topic_name */
    struct bytes topic_name;
    struct bytes payload; /* 0..WILL_SIZE_MAX, an envelope where the rule demands it */
};

/* ANSWER: a piece of the JSON text that answers a QUERY. */
struct record_answer {
    uint64_t id;
    uint32_t total;
    uint32_t offset;
    struct bytes piece;
};

#define STATEMENT_SIZE 152       /* docs/protocol.md; opaque here but for number and identity */
#define ONE_TIME_SIZE 36         /* u32 number || X25519 key */
#define ONE_TIME_NONE UINT32_MAX /* a number: there is none */
#define PREKEYS_MAX 256          /* one-time keys of one record */

/* PREKEYS: what a component leaves in the broker's directory. A statement of another number than
 * the former one replaces it and its one-time keys. */
struct record_prekeys {
    struct bytes statement;
    struct bytes keys; /* ONE_TIME_SIZE each */
};

/* PREKEYS with RECORD_FLAG_LEFT: the answer, and said again when few are left. */
struct record_prekeys_left {
    uint32_t number; /* of the statement */
    uint16_t left;
};

/* BUNDLE with RECORD_FLAG_ASK: answered by BUNDLE or REFUSE. */
struct record_bundle_ask {
    uint64_t id;
    struct bytes name; /* lp8 */
};

struct record_bundle {
    uint64_t id;
    struct bytes name;
    struct bytes statement;
    uint32_t number;     /* of the one-time key; ONE_TIME_NONE */
    struct bytes public; /* 32; zeros without */
};

/* One record of a frame, its body not yet parsed. */
struct record {
    uint8_t type;
    uint8_t flags;
    uint16_t aux;
    struct bytes body;
    struct bytes whole; /* head and body */
};

/* Checks the version byte and returns a reader over the records. 0, AICO_EVERSION, AICO_ESIZE
 * (empty, or larger than FRAME_SIZE_MAX). */
AICO_MUST_USE int frame_open(struct bytes frame, struct reader *ret_records);
/* 1 and the next record, 0 at the end of the frame, AICO_EPROTO when it is cut short. */
AICO_MUST_USE int frame_next(struct reader *records, struct record *ret_record);

/* Each: 0, or AICO_EPROTO for anything docs/protocol-broker.md does not allow. */
AICO_MUST_USE int record_parse_hello(const struct record *, struct record_hello *ret);
AICO_MUST_USE int record_parse_welcome(const struct record *, struct record_welcome *ret);
AICO_MUST_USE int record_parse_bye(const struct record *, struct record_bye *ret);
AICO_MUST_USE int record_parse_ping(const struct record *, struct record_ping *ret);
AICO_MUST_USE int record_parse_credit(const struct record *, struct record_credit *ret);
AICO_MUST_USE int record_parse_registry(const struct record *, struct record_registry *ret);
AICO_MUST_USE int record_parse_component(const struct record *, struct record_component *ret);
AICO_MUST_USE int record_parse_topic(const struct record *, struct record_topic *ret);
AICO_MUST_USE int record_parse_subscribe(const struct record *, struct record_subscribe *ret);
AICO_MUST_USE int record_parse_unsubscribe(const struct record *, struct record_unsubscribe *ret);
AICO_MUST_USE int record_parse_ok(const struct record *, struct record_ok *ret);
AICO_MUST_USE int record_parse_refuse(const struct record *, struct record_refuse *ret);
AICO_MUST_USE int record_parse_publish(const struct record *, struct record_publish *ret);
/* @ret_line: borrowed from @record. */
AICO_MUST_USE int record_parse_audit_head(const struct record *, struct bytes *ret_line);
AICO_MUST_USE int record_parse_ack(const struct record *, struct record_ack *ret);
AICO_MUST_USE int record_parse_receivers(const struct record *, struct record_receivers *ret);
AICO_MUST_USE int record_parse_deliver(const struct record *, struct record_deliver *ret);
AICO_MUST_USE int record_parse_gap(const struct record *, struct record_gap *ret);
AICO_MUST_USE int record_parse_resolve(const struct record *, struct record_resolve *ret);
AICO_MUST_USE int record_parse_resolved(const struct record *, struct record_resolved *ret);
AICO_MUST_USE int record_parse_query(const struct record *, struct record_query *ret);
AICO_MUST_USE int record_parse_prekeys(const struct record *, struct record_prekeys *ret);
AICO_MUST_USE int record_parse_prekeys_left(const struct record *, struct record_prekeys_left *ret);
AICO_MUST_USE int record_parse_bundle_ask(const struct record *, struct record_bundle_ask *ret);
AICO_MUST_USE int record_parse_bundle(const struct record *, struct record_bundle *ret);
AICO_MUST_USE int record_parse_will(const struct record *, struct record_will *ret);
AICO_MUST_USE int record_parse_answer(const struct record *, struct record_answer *ret);

/* Each appends one whole record; check writer.failed afterwards (no room: nothing was kept that a
 * caller may send; callers ask record_size_... or keep FRAME_SIZE_MAX of room). */
void record_write_hello(struct writer *, const struct record_hello *);
void record_write_welcome(struct writer *, const struct record_welcome *);
void record_write_bye(struct writer *, const struct record_bye *);
void record_write_ping(struct writer *, uint64_t token);
void record_write_pong(struct writer *, uint64_t token);
void record_write_credit(struct writer *, uint32_t bytes);
void record_write_registry(struct writer *, const struct record_registry *);
void record_write_component(struct writer *, const struct record_component *);
void record_write_topic(struct writer *, uint32_t number, struct bytes topic);
void record_write_subscribe(struct writer *, const struct record_subscribe *);
void record_write_unsubscribe(struct writer *, uint64_t id, uint32_t subscription);
void record_write_ok(struct writer *, uint64_t id, uint32_t value);
void record_write_refuse(struct writer *, const struct record_refuse *);
/* Writes everything but the payload and returns where its @payload.size bytes go (so that an
 * envelope can be sealed in place); payload.at may be NULL. NULL when there is no room. */
uint8_t *record_write_publish_head(struct writer *, const struct record_publish *);
void record_write_publish(struct writer *, const struct record_publish *);
void record_write_audit_head(struct writer *, struct bytes line);
void record_write_ack(struct writer *, uint64_t id);
void record_write_receivers(struct writer *, const struct record_receivers *);
void record_write_deliver(struct writer *, const struct record_deliver *);
void record_write_gap(struct writer *, const struct record_gap *);
void record_write_resolve(struct writer *, uint64_t id, struct bytes topic);
void record_write_resolved(struct writer *, uint64_t id, uint32_t component);
void record_write_query(struct writer *, uint64_t id, struct bytes what, struct bytes argument);
void record_write_prekeys(struct writer *, const struct record_prekeys *);
void record_write_prekeys_left(struct writer *, uint32_t number, uint16_t left);
void record_write_bundle_ask(struct writer *, uint64_t id, struct bytes name);
void record_write_bundle(struct writer *, const struct record_bundle *);
/* Is it something to be done ("reload", "drain", "kick"), not only answered? Then a client whose
 * link was lost in between does not ask again. */
bool query_is_act(struct bytes what);
void record_write_will(struct writer *, const struct record_will *);
void record_write_answer(struct writer *, const struct record_answer *);

/* Size of the whole record, head included. */
size_t record_size_publish(const struct record_publish *);
size_t record_size_deliver(const struct record_deliver *);

#endif
