/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codec of the control messages, PROTOCOL 6: content of envelopes on $bus/control and (HEADS)
 * $bus/heads. One byte of type, then
 *
 *   1 GROUP_KEY: u8 authenticity, lp16(filter), u64 generation, u32 epoch, 32 chain key,
 *     12 group id, u8 slot, 32 reader key, u16 count (65535: not listed), count x (lp16(topic),
 *     u32 next), see control_next_stand()
 *   2 KEY_REQUEST: lp16(filter), 12 key id seen, u32 epoch seen, u64 generation known
 *   3 KEY_REFUSE: u16 code, lp16(filter)
 *   4 REGISTRY: the document
 *   5 HEADS: repeated: u64 generation, u16 count, count x (lp16(topic), u32 next)
 *   6 FINAL: u32 next
 *   7 PING, 8 PONG: 12 channel id, u32 next
 *   9 RESET: 12 ratchet id
 *  10 TIME: u64 time
 *  11 AGAIN: lp16(topic)
 *  12 RECEIPT: once or more: u8 level (1 delivered, 2 signed), u64 run, u64 number, u64 time,
 *     signed: 64 signature (trust/receipt.h)
 *
 * Strict: nothing may follow. Pure, any thread.
 */
#ifndef SESSION_CONTROL_H
#define SESSION_CONTROL_H

#include <aico/error.h>

#include "base/reader.h"
#include "base/writer.h"
#include "crypto/crypto.h"

enum control_type {
    CONTROL_GROUP_KEY = 1,
    CONTROL_KEY_REQUEST = 2,
    CONTROL_KEY_REFUSE = 3,
    CONTROL_REGISTRY = 4,
    CONTROL_HEADS = 5,
    CONTROL_FINAL = 6,
    CONTROL_PING = 7,
    CONTROL_PONG = 8,
    CONTROL_RESET = 9,
    CONTROL_TIME = 10,
    CONTROL_AGAIN = 11,
    CONTROL_RECEIPT = 12,
};

#define CONTROL_NOT_LISTED 65535
#define CONTROL_ID_SIZE 12
#define CONTROL_SMALL_MAX 600 /* all but GROUP_KEY, REGISTRY, HEADS and RECEIPT fit */
#define CONTROL_GROUP_KEY_MAX (64 * 1024)
#define CONTROL_RECEIPTS_MAX (16 * 1024) /* entries of a RECEIPT */
#define CONTROL_RECEIPT_SIZE_MAX 89      /* one of them */

/* All of them; which fields mean something is said by the type. Views borrow from the message. */
struct control {
    enum control_type type;
    struct bytes filter;     /* GROUP_KEY, KEY_REQUEST, KEY_REFUSE */
    uint64_t generation;     /* GROUP_KEY; KEY_REQUEST: the one known */
    uint32_t epoch;          /* GROUP_KEY; KEY_REQUEST: the one seen */
    struct bytes id;         /* GROUP_KEY, KEY_REQUEST, PING, PONG, RESET: 12 */
    uint8_t authenticity;    /* GROUP_KEY: enum envelope_trailer */
    struct bytes chain_key;  /* GROUP_KEY: 32 */
    uint8_t slot;            /* GROUP_KEY */
    struct bytes reader_key; /* GROUP_KEY: 32 */
    bool listed;             /* GROUP_KEY: `topics` names all that were used */
    struct bytes topics;     /* GROUP_KEY: control_next_head(); HEADS: control_next_heads() */
    uint16_t code;           /* KEY_REFUSE */
    struct bytes document;   /* REGISTRY */
    uint32_t next;           /* FINAL, PING, PONG */
    uint64_t time;           /* TIME */
    struct bytes topic;      /* AGAIN */
    struct bytes receipts;   /* RECEIPT: control_next_receipt() */
};

/* 0, AICO_ETYPE (unknown type), AICO_EFORMAT. Lists were checked to their end. */
AICO_MUST_USE int control_parse(struct bytes content, struct control *ret_control);

/* Steps through a checked list: false at its end. */
bool control_next_head(struct reader *topics, struct bytes *ret_topic, uint32_t *ret_next);
/*
 * Where a topic stands: the next envelope's sequence, and how many messages the envelopes before it
 * held. A head named `$n`, before that of the topic, tells the latter when the two differ.
 */
struct control_stand {
    struct bytes topic;
    uint32_t next;
    uint32_t messages;
};
bool control_next_stand(struct reader *topics, struct control_stand *ret_stand);
/* Bytes and heads one takes. */
size_t control_stand_size(const struct control_stand *stand);
unsigned control_stand_heads(const struct control_stand *stand);
void control_write_stand(struct writer *to, const struct control_stand *stand);
/* Steps through a checked HEADS: the list of one generation, for control_next_head(). */
bool control_next_heads(struct reader *heads, uint64_t *ret_generation, struct reader *ret_topics);

/* One message that was taken: its reader says so. */
struct control_receipt {
    uint8_t level;          /* enum receipt_level, not 0 */
    uint64_t run, number;   /* of `$receipt` */
    int64_t taken_ms;       /* ms since 1970 by the reader's clock */
    struct bytes signature; /* SIGNATURE_SIZE; empty where none was asked for */
};
/* Steps through a checked list: false at its end. */
bool control_next_receipt(struct reader *receipts, struct control_receipt *ret_receipt);
/* Appends one entry of RECEIPT. */
void control_write_receipt(struct writer *to, const struct control_receipt *receipt);

/* Each appends one message; check writer.failed. GROUP_KEY: the topics (each written by
 * control_write_head()) follow; @count CONTROL_NOT_LISTED: none do. */
void control_write_group_key(struct writer *to, const struct control *control, uint16_t count);
void control_write_head(struct writer *to, struct bytes topic, uint32_t next);
void control_write_key_request(struct writer *to, struct bytes filter,
                               const uint8_t id[CONTROL_ID_SIZE], uint32_t epoch,
                               uint64_t generation);
void control_write_key_refuse(struct writer *to, int code, struct bytes filter);
void control_write_registry(struct writer *to, struct bytes document);
/* The head of one section of HEADS; the type byte comes before the first section. */
void control_write_heads_section(struct writer *to, uint64_t generation, uint16_t count);
void control_write_final(struct writer *to, uint32_t next);
/* @type: CONTROL_PING or CONTROL_PONG. */
void control_write_ping(struct writer *to, enum control_type type,
                        const uint8_t id[CONTROL_ID_SIZE], uint32_t next);
void control_write_reset(struct writer *to, const uint8_t id[CONTROL_ID_SIZE]);
void control_write_time(struct writer *to, uint64_t time);
void control_write_again(struct writer *to, struct bytes topic);

#endif
