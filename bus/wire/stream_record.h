/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The records of stored messages: a reader follows a filter, gets items, settles each; publishers
 * hand in the keys of their generations, readers the keys they are to be sealed for. Source of
 * every byte: docs/protocol-broker.md. As wire/record.h: pure, no allocation, any thread.
 */
#ifndef WIRE_STREAM_RECORD_H
#define WIRE_STREAM_RECORD_H

#include "wire/record.h"

#define DURABLE_NAME_MAX 64
#define QUEUE_NAME_MAX 64   /* of a group that follows */
#define KEY_ID_BYTES 12     /* of a group, as in its envelopes */
#define STORED_KEY_MAX 1024 /* bytes of one reader's entry in KEYS */
#define STORED_KEYS_MAX 64  /* entries in one KEYS record */
#define STATEMENT_MAX 1024  /* bytes of a READING */
#define FOLLOW_WINDOW_MAX 4096
/* In ITEM and SETTLE: of the mailbox, which nobody follows by a number of its own. */
#define MAILBOX_SUBSCRIPTION UINT32_MAX

/* Where a reader begins that was not there before; as enum streams_start of the store. */
enum follow_start { FOLLOW_NEW, FOLLOW_ALL, FOLLOW_TIME, FOLLOW_NUMBER, FOLLOW_LAST };

#define RECORD_FLAG_QUEUE 0x01 /* FOLLOW: lp8 queue follows the filter */
#define RECORD_FLAG_RETRY 0x01 /* SETTLE: not done with, deliver again; else aux says the end */
#define RECORD_FLAG_TOLD 0x02  /* SETTLE: of a MISSED, whose token `number` is */
#define RECORD_FLAG_ONE 0x01   /* MISSED: item `number` alone, which was sent before */

/* FOLLOW, client to broker; answered by OK (the subscription) or REFUSE. Ended by UNSUBSCRIBE. */
struct record_follow {
    uint64_t id;
    uint32_t subscription; /* as in SUBSCRIBE, of the same numbers */
    uint8_t start;         /* enum follow_start */
    uint64_t value;        /* TIME: ms since 1970; NUMBER: the first; else 0 */
    uint32_t deadline_ms;  /* an item not settled so long after it was sent comes again; not 0 */
    uint16_t attempts;     /* deliveries of an item at most; 0: without end */
    uint16_t window;       /* items not settled at a time, 1..FOLLOW_WINDOW_MAX */
    struct bytes name;     /* lp8: of the durable reader; empty: kept by nobody */
    struct bytes filter;   /* lp8 */
    struct bytes queue;    /* lp8, only with a name: of the group whose members share the place and
                              get each item once; empty: none */
};

/* ITEM, broker to client, aux = delivery << 8: a stored message. */
struct record_item {
    uint8_t delivery;
    uint32_t subscription;
    uint64_t number;    /* of the message in the store */
    uint64_t stored_ms; /* the broker's clock, ms since 1970 */
    uint16_t attempt;   /* 1: the first delivery to this reader */
    uint64_t id;        /* the sender's PUBLISH id */
    uint32_t topic;     /* number, or 0: topic_name */
    uint32_t sender;    /* component number */
    bool fragment;
    uint32_t total, offset;
    uint16_t count; /* as in PUBLISH */
    struct bytes topic_name;
    struct bytes payload;
};

/* SETTLE, client to broker; not answered. aux = 0: the reader is done with it; a code: it never
 * will be, and the message goes to the dead letters. RETRY: it wants it once more. */
struct record_settle {
    uint32_t subscription;
    uint64_t number;
    uint16_t code;
    bool retry;
    bool told;           /* with neither code nor RETRY */
    struct bytes reason; /* lp8, for people */
};

/* MISSED, broker to client, aux = cause: what was stored for a durable reader, or lay in a mailbox,
 * and will not come. Answered by SETTLE with TOLD; told again until that is stored. */
struct record_missed {
    uint16_t cause;
    bool one; /* of item `number` alone: who has it already misses nothing */
    uint32_t subscription;
    uint64_t token;   /* of this report */
    uint16_t attempt; /* 1: it was never told before */
    uint32_t sender, topic;
    uint64_t count;  /* messages; not 0 */
    uint64_t number; /* in the store, of the last one of them */
    struct bytes topic_name;
};

/* KEYS, client to broker: what opens a generation of ours, for each of its readers. Stored before
 * anything that is published behind it. Not answered. */
struct record_keys {
    struct bytes key_id;  /* KEY_ID_BYTES */
    uint8_t count;        /* 1..STORED_KEYS_MAX */
    struct bytes entries; /* count x (byte[32] reader identity, lp16 key) */
};
/* The next entry; false at the end. */
bool record_next_key(struct reader *entries, struct bytes *ret_reader, struct bytes *ret_key);

/* KEY, broker to client, before the first ITEM it opens: our entry of a KEYS record. */
struct record_key {
    uint32_t sender;
    struct bytes key_id;
    struct bytes key; /* lp16, 1..STORED_KEY_MAX */
};

/* READING: the key a component wants stored messages to be sealed for, as it signed it. From a
 * client: its own. From the broker: one of a component whose stored messages the client may
 * publish; an empty one says that all known ones were told. */
struct record_reading {
    struct bytes identity;  /* 32; zeros with an empty statement */
    struct bytes statement; /* lp16, 0..STATEMENT_MAX */
};

/* Each: 0, or AICO_EPROTO for anything docs/protocol-broker.md does not allow. */
AICO_MUST_USE int record_parse_follow(const struct record *, struct record_follow *ret);
AICO_MUST_USE int record_parse_item(const struct record *, struct record_item *ret);
AICO_MUST_USE int record_parse_settle(const struct record *, struct record_settle *ret);
AICO_MUST_USE int record_parse_keys(const struct record *, struct record_keys *ret);
AICO_MUST_USE int record_parse_key(const struct record *, struct record_key *ret);
AICO_MUST_USE int record_parse_reading(const struct record *, struct record_reading *ret);
AICO_MUST_USE int record_parse_missed(const struct record *, struct record_missed *ret);

void record_write_follow(struct writer *, const struct record_follow *);
void record_write_item(struct writer *, const struct record_item *);
void record_write_settle(struct writer *, const struct record_settle *);
void record_write_keys(struct writer *, const struct record_keys *);
void record_write_key(struct writer *, const struct record_key *);
void record_write_reading(struct writer *, const struct record_reading *);
void record_write_missed(struct writer *, const struct record_missed *);

/* Size of the whole record, head included. */
size_t record_size_item(const struct record_item *);

#endif
