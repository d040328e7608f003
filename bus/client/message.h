/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the struct aico_message that applications receive: one block of memory, which any thread
 * may free. */
#ifndef CLIENT_MESSAGE_H
#define CLIENT_MESSAGE_H

#include <aico/client.h>

#include "envelope/content.h"
#include "envelope/headers.h"
#include "trust/receipt.h"

struct pool_taker;

/* What is said to the sender of a message that asks for a receipt, when it has been taken. */
struct read_note {
    struct header_receipt receipt;
    char sender[COMPONENT_NAME_MAX + 1];
    uint8_t identity[SIGN_PUBLIC_SIZE]; /* the sender's */
    char topic[TOPIC_SIZE_MAX + 1];
    uint64_t size;
    uint8_t hash[RECEIPT_HASH_SIZE]; /* where it is to be signed */
};

/* Of a GAP that is told until the broker knows that it was taken. token 0: it is none. */
struct missed_place {
    uint64_t token, number, count;
    uint32_t subscription;
};

/* What a message is made from; everything is copied. */
struct message_parts {
    enum aico_message_kind kind;
    struct bytes topic;
    struct bytes sender;
    struct bytes payload;
    struct bytes headers;         /* a header block of an envelope, may be empty */
    struct bytes wire;            /* the envelope as it came; its first 64 bytes are kept */
    const char *text;             /* NULL: none */
    const struct read_note *note; /* NULL: nobody asks */
};

/* NULL without memory (or when the header block does not parse). The caller fills in the numbers.
 * @taker: the memory the thread that makes messages takes again; NULL: it is malloc()ed. */
struct aico_message *client_message_new(struct pool_taker *taker,
                                        const struct message_parts *parts);

/*
 * Several messages of one envelope as one block, which becomes messages when the application takes
 * them: what waits takes little more than its bytes. They differ in payload and sequence only.
 *
 * @parts  of the first; the payload is the batch, which was checked
 * @batch  of the pool, in which the payload lies with a byte behind it: the bundle's, if there
 *         is one. NULL: the payload is copied
 * @count  messages in it
 */
struct aico_message *client_bundle_new(struct pool_taker *taker, const struct message_parts *parts,
                                       void *batch, bool has_headers, uint32_t count);
/* How many messages @message is. */
uint32_t message_count(const struct aico_message *message);
/* Takes the first of several out of @bundle; NULL without memory. */
struct aico_message *message_split(struct pool_taker *taker, struct aico_message *bundle);
/* Makes of a bundle the last message that is left in it; nothing of another message. */
void message_settle(struct aico_message *message);

/* Where whoever holds a message keeps the next one of its list; NULL at first. */
struct aico_message **message_link(struct aico_message *message);

/* Not 0: the message is kept on disk until the application took it (client_taken()). */
uint64_t *message_kept(struct aico_message *message);

/* What is answered when the application has taken it: client_missed_taken(). */
struct missed_place *message_missed(struct aico_message *message);

/* NULL: its sender asks for no receipt. */
const struct read_note *message_note(const struct aico_message *message);

/* The bytes of its block, for which it counts among what is unread. */
size_t message_cost(const struct aico_message *message);

#endif
