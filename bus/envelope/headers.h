/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header block inside the content of a message: sealed with it, in the sender's order.
 *
 *   at most 64 times
 *     u8 + n    key    1..64 printable ASCII characters without '='
 *     u16 + n   value  0..4096 bytes of UTF-8 without U+0000
 *
 * A block is at most 65535 bytes, may be empty, and a key may come more than once. Strict: nothing
 * else parses. Pure, any thread.
 */
#ifndef ENVELOPE_HEADERS_H
#define ENVELOPE_HEADERS_H

#include <aico/error.h>

#include "base/reader.h"
#include "base/writer.h"

#define HEADERS_MAX 64
#define HEADER_KEY_MAX 64
#define HEADER_VALUE_MAX 4096
#define HEADER_BLOCK_MAX 65535

/* Steps through a block: while ((r = header_next(&cursor, &key, &value)) > 0). */
struct header_cursor {
    struct reader reader;
    size_t count; /* headers returned so far */
};
struct header_cursor header_cursor_over(struct bytes block);
/* 1 and the next header (borrowed from the block), 0 at its end, AICO_EFORMAT. */
AICO_MUST_USE int header_next(struct header_cursor *cursor, struct bytes *ret_key,
                              struct bytes *ret_value);

/* The number of headers in @block, or AICO_EFORMAT when it does not parse to its end. */
AICO_MUST_USE int header_block_check(struct bytes block);

/*
 * Keys that begin with `$` are the bus's. `$n`, first in the block of an envelope's first message,
 * is that message's number on its topic in this generation, in decimal. It is there once a batch
 * was sealed, because from then on sequences, which count envelopes, no longer tell it.
 */
#define HEADER_BUS '$'
#define HEADER_NUMBER "$n"
#define HEADER_NUMBER_SIZE_MAX 25 /* of the whole header */
/* `$value`, next: which value of its topic a retained message is, in decimal (decision 43). */
#define HEADER_VALUE "$value"
#define HEADER_VALUE_NUMBER_SIZE_MAX 30
/* `$once`, in the place of `$value`: the publisher's number of a message from an outbox, in
 * decimal. It rises from message to message, also over restarts: what is not above the last one
 * that came on its topic was there before (decision 65). */
#define HEADER_ONCE "$once"
#define HEADER_ONCE_SIZE_MAX 28
/* `$receipt`, in the same place: `d` (delivered) or `s` (signed), then the publisher's run and the
 * message's number in it, 16 hexadecimal digits each: its reader says so over a channel, when its
 * application has taken it (decision 80). Of a message that is stored, 16 more: ms since 1970,
 * until when its publisher waits (decision 115). */
#define HEADER_RECEIPT "$receipt"
#define HEADER_RECEIPT_SIZE_MAX 60
/* `$until`, next: ms since 1970 by the sender's clock, in decimal; later than that the message is
 * void (decision 45). */
#define HEADER_UNTIL "$until"
#define HEADER_UNTIL_SIZE_MAX 29
/* The least room for its own headers that the bus keeps in every block: count and bytes. */
#define HEADERS_RESERVED 3
#define HEADER_BLOCK_RESERVED 120
/* Appends `$n`. */
void header_write_number(struct writer *to, uint64_t number);
/* Takes `$n` off the front of @block (checked): true when it was there. */
bool header_take_number(struct bytes *block, uint64_t *ret_number);
/* The same for `$value`, `$once`, `$receipt` and `$until`. */
void header_write_value(struct writer *to, uint64_t value);
bool header_take_value(struct bytes *block, uint64_t *ret_value);
void header_write_once(struct writer *to, uint64_t number);
bool header_take_once(struct bytes *block, uint64_t *ret_number);
enum receipt_level { RECEIPT_NONE, RECEIPT_DELIVERED, RECEIPT_SIGNED };
struct header_receipt {
    enum receipt_level level;
    uint64_t run, number;
    int64_t until_ms; /* nobody waits later than that; 0: it is not stored */
};
void header_write_receipt(struct writer *to, const struct header_receipt *receipt);
bool header_take_receipt(struct bytes *block, struct header_receipt *ret_receipt);
void header_write_until(struct writer *to, int64_t until_ms);
bool header_take_until(struct bytes *block, int64_t *ret_until_ms);

bool header_key_is_valid(struct bytes key);
bool header_value_is_valid(struct bytes value);
/* Appends one header; 0 or AICO_EINVAL (key or value). Room is the writer's to tell; that there
 * are at most HEADERS_MAX is the caller's, and envelope_seal() checks it. */
AICO_MUST_USE int header_write(struct writer *to, struct bytes key, struct bytes value);

#endif
