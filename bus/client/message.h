/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the struct aico_message that applications receive: one block of memory. Any thread. */
#ifndef CLIENT_MESSAGE_H
#define CLIENT_MESSAGE_H

#include <aico/client.h>

#include "base/bytes.h"

/* What a message is made from; everything is copied. */
struct message_parts {
    enum aico_message_kind kind;
    struct bytes topic;
    struct bytes sender;
    struct bytes payload;
    struct bytes headers; /* a header block of an envelope, may be empty */
    struct bytes wire;    /* the envelope as it came; its first 64 bytes are kept */
    const char *text;     /* NULL: none */
};

/* NULL without memory (or when the header block does not parse). The caller fills in the numbers.
 */
struct aico_message *client_message_new(const struct message_parts *parts);

/* Where whoever holds a message keeps the next one of its list; NULL at first. */
struct aico_message **message_link(struct aico_message *message);

/* Not 0: the message is kept on disk until the application took it (client_taken()). */
uint64_t *message_kept(struct aico_message *message);

/* The bytes a message counts for in the receive window. */
size_t message_cost(const struct aico_message *message);

#endif
