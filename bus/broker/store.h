/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the broker core wants of a message store: orders. The core has no files; it says what to
 * store, read or settle, whoever runs it does so and brings the orders back in the same order.
 *
 *   while (broker_next_order())     hand over to the store
 *   all orders of a batch are done  broker_orders_done()
 *
 * An order is the caller's between the two. All that is stored, STORE_PUT to STORE_ASK of a batch,
 * may share one transaction; when it fails, every one of them has failed with that code. An order
 * must see what those before it have done.
 */
#ifndef BROKER_STORE_H
#define BROKER_STORE_H

#include "base/buffer.h"
#include "base/clock.h"
#include "broker/broker.h"
#include "crypto/crypto.h"
#include "trust/registry.h"

#define STORE_SCOPE_SIZE 16
#define STORE_KEY_ID_SIZE 12

enum store_order_kind {
    STORE_LOAD,         /* everything below it: what a start needs */
    STORE_LOAD_PREKEYS, /* the same of the directory of prekeys */
    STORE_PREKEYS,      /* data: prekey statement of `identity`; empty: it has none */
    STORE_PUT,          /* a message */
    STORE_KEYS,         /* data: entries of a KEYS record, of `identity` and `key_id`; what does not
                           fit is AICO_EQUOTA, and so is a PUT or VALUE sealed with it */
    STORE_STATEMENT,    /* data: reading key of `identity` */
    STORE_FOLLOW,       /* durable reader of component, name, filter, as one of sender's */
    STORE_SETTLE,       /* reader is done with `number`, and everything up to `floor` */
    STORE_BURY,         /* the same, and it goes to the dead letters: bury_code, attempts, data;
                           `again`: its reader has not said so and is to be told */
    STORE_TRIM,         /* stream, limits */
    STORE_EXPIRE,       /* what is void leaves all streams */
    STORE_MISSED,       /* what `reader`, or if that is 0 `receiver` of a mailbox, has to be told,
                           but messages it has (data: u64 numbers, rising) and tokens it has not
                           answered (name: the same) */
    STORE_MISSED_TAKE,  /* it has been told `number` of these */
    STORE_ASK,          /* a question: name what, filter its argument; data: the component's name */
    STORE_MAIL, /* a message for the mailbox of `receiver` until expires_ms, with at most `limit`
                   bytes in it */
    STORE_MAIL_INHERIT, /* the mailbox of `identity` is that of `receiver` from now on */
    STORE_MAIL_TAKE,    /* `number` leaves the mailbox of `receiver`; bury_code not 0: which misses
                           it, because of that */
    STORE_MAIL_TRIM,    /* what is void and behind expires_ms and `after` leaves all of them but
                           those of data, identities */
    STORE_MAIL_READ,    /* messages above `after` in the mailbox of `receiver` */
    STORE_VALUE, /* the last value of `topic` until expires_ms; the values of its sender have at
                    most `limit` bytes; `again`: it replaces no other sender's */
    STORE_SWEEP, /* some of what belongs to nothing any more goes */
    STORE_VALUE_DROP, /* those of `identity` */
    STORE_VALUE_TRIM, /* what is void */
    STORE_VALUE_READ, /* values above `after` that match filter */
    STORE_READ,       /* messages above `after` that match filter, which reader has not settled */
    STORE_READ_ONE,   /* message `number` */
};

struct store_order {
    struct store_order *prev, *next;
    enum store_order_kind kind;

    /* What to do. Views are into the order itself. */
    struct bytes stream, topic, sender, filter, component, name;
    struct bytes data; /* PUT: the payload */
    uint8_t identity[SIGN_PUBLIC_SIZE];
    uint8_t receiver[SIGN_PUBLIC_SIZE]; /* of a mailbox */
    /* READ, READ_ONE, VALUE_READ: whose keys are looked up: the identity that reads, then those
     * before it. */
    uint8_t readers[(1 + REGISTRY_FORMER_MAX) * SIGN_PUBLIC_SIZE];
    size_t readers_size;
    uint8_t key_id[STORE_KEY_ID_SIZE];
    uint8_t scope[STORE_SCOPE_SIZE];
    uint64_t position, publish_id;
    uint32_t count, attempts;
    uint8_t start;
    uint64_t value, reader, number, after, floor;
    int bury_code;
    size_t count_max, bytes_max;
    struct rule_store limits;
    int64_t now_ms;     /* the broker's clock */
    int64_t expires_ms; /* ms since 1970, that clock; PUT: 0: never */
    uint64_t limit;
    bool again;
    bool names_readers; /* PUT: its publisher wants to know who is to have it */

    /* What came of it. `number` (PUT: 0 when it was stored before; LOAD: the last there is),
     * `reader`, `floor` and `after` (FOLLOW: handed out up to there), `after` (READ, MAIL_TRIM with
     * expires_ms: looked at up to there), `count` (TRIM, EXPIRE, MAIL_TRIM, MISSED: messages that
     * went), `value` (MAIL: bytes in the mailbox; VALUE: of its sender's values; AICO_EQUOTA: it is
     * full; PUT: topics its sender has now, 0: no more than before; PUT, VALUE: UINT64_MAX,
     * AICO_EQUOTA: it is sealed with keys that found no room; KEYS: bytes of its sender's) and
     * `count` (FOLLOW: readers its sender has now, 0: no more than before) are set anew. */
    int code; /* 0 or negative */
    char text[256];
    bool more;
    bool missed;       /* there is something new for STORE_MISSED */
    struct buffer out; /* LOAD, LOAD_PREKEYS: statements; READ: messages, both by store_row_...();
                          MISSED: store_missed_...(); ASK: JSON; PUT with names_readers: lp8 each,
                          the components of durable readers, "$GROUP" for a queue group */

    /* The core's own. */
    uint64_t serial, id, instance, handle, group;
    uint32_t charge;
    uint64_t turn;
    bool in_turn;
    uint8_t delivery;
    struct topic *topic_ref;
    struct member *member, *receiver_ref;
};
void store_order_free(struct store_order **order);

/* --- rows in `out` -------------------------------------------------------------------------- */

struct store_row {
    uint64_t number, stored_ms, publish_id;
    uint32_t count;
    struct bytes identity, sender, topic, key, payload;
};
/* 0 or AICO_ENOMEM. */
AICO_MUST_USE int store_row_put(struct buffer *out, const struct store_row *row);
bool store_row_next(struct bytes *rest, struct store_row *ret_row);
struct store_missed {
    uint64_t token, count, number, publish_id, told;
    int code;
    bool one;
    struct bytes identity, sender, topic;
};
AICO_MUST_USE int store_missed_put(struct buffer *out, const struct store_missed *missed);
bool store_missed_next(struct bytes *rest, struct store_missed *ret_missed);
AICO_MUST_USE int store_statement_put(struct buffer *out, const uint8_t identity[SIGN_PUBLIC_SIZE],
                                      struct bytes statement);
bool store_statement_next(struct bytes *rest, struct bytes *ret_identity,
                          struct bytes *ret_statement);

/* --- the core ------------------------------------------------------------------------------- */

/* The next order, the caller's until broker_orders_done(); NULL: none. Only with
 * settings.has_store. */
struct store_order *broker_next_order(struct broker *broker);
/* The orders in @list (by `next`, as broker_next_order() gave them) are done. */
void broker_orders_done(struct broker *broker, struct moment now, struct store_order *list);

#endif
