/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The outbox of a client: what aico_publish() accepted is in state/NAME/outbox.db until the broker
 * has answered for it, and is sent by the next client of this component that has an outbox.
 *
 *   key     u64 number
 *   value   u8 1, u64 void after (ms since 1970; 0: never), lp8 topic, lp16 header block, payload
 *
 * Sealed row by row with the storage key (store/kept.h). A message is sealed for its readers when
 * it is sent, never before: whoever was removed meanwhile reads none of it. Its number, in the
 * header
 * `$once`, lets a reader know what it had before (docs/decisions/0065).
 *
 * Any thread: a lock of its own, which is held while the file is written.
 */
#ifndef RUNTIME_CLIENT_OUTBOX_H
#define RUNTIME_CLIENT_OUTBOX_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/fifo.h"
#include "crypto/identity.h"
#include "store/former.h"

struct outbox; /* opaque; outbox_open() .. outbox_close() */

/*
 * Opens the file, and puts what it holds, as struct outgoing with ids from 1, into @queue.
 *
 * @former           what is sealed with one of these is sealed anew; NULL: none
 * @last_generation  ms since 1970: numbers begin above it
 *
 * 0, the errors of kept_keeper().load(), AICO_ENOMEM.
 */
AICO_MUST_USE int outbox_open(const char *home, const struct identity *identity,
                              const struct former_keys *former, uint64_t last_generation,
                              struct moment now, struct fifo *queue, struct outbox **ret_outbox,
                              struct aico_error *err);
/* Erases what was answered, and closes. NULL inside is allowed. */
void outbox_close(struct outbox **outbox);

/* For aico_publish(): one message at a time. outbox_begin() takes the lock and gives the number,
 * outbox_end() returns it. Between them outbox_put() writes: the message is accepted when that
 * returns 0. @id of outbox_end(): what it is called until it is answered; 0: it was not accepted.
 * Errors of kept_keeper().commit(), AICO_ENOMEM. */
uint64_t outbox_begin(struct outbox *outbox);
AICO_MUST_USE int outbox_put(struct outbox *outbox, uint64_t number, int64_t until_ms,
                             struct bytes topic, struct bytes headers, struct bytes payload,
                             struct aico_error *err);
void outbox_end(struct outbox *outbox, uint64_t number, uint64_t id, size_t cost);

/* What one message takes of the limit. */
size_t outbox_cost(size_t topic_size, size_t headers_size, size_t payload_size);
/* For the thread: all messages with ids below @before were answered. Returns what they took of the
 * limit. @is_idle: nothing waits, so there is time to write. */
size_t outbox_answered(struct outbox *outbox, uint64_t before, bool is_idle);
/* What was in the file when it was opened: messages, and what they take of the limit. */
size_t outbox_restored(const struct outbox *outbox, size_t *ret_bytes);

#endif
