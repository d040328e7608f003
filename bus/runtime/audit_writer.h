/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes the broker's audit log in a thread of its own, so that no message waits for a disk:
 * entries are signed and saved (fdatasync) within a second of being noted. A disk that fails costs
 * no entry until the queue is full; then those that did not fit are counted by an entry.
 */
#ifndef RUNTIME_AUDIT_WRITER_H
#define RUNTIME_AUDIT_WRITER_H

#include <aico/broker.h>

#include "crypto/identity.h"
#include "wire/record.h"

struct audit_writer;

/* Opens the log of @home, whose lock the caller holds, and starts the thread. Takes @broker (NULL
 * then) also on failure. Errors of audit_log_open(), AICO_ESYSTEM. */
AICO_MUST_USE int audit_writer_start(const char *home, struct bytes namespace,
                                     struct identity **broker, struct audit_writer **ret_writer,
                                     struct aico_error *err);
/* Notes @event at the time of the call if it is of a kind that is audited. Never waits. One thread.
 */
void audit_writer_note(struct audit_writer *writer, const struct aico_broker_event *event);
/* What writing failed of, once for each change: true and @ret_error (code 0: it works again). Any
 * thread. */
bool audit_writer_next_error(struct audit_writer *writer, struct aico_error *ret_error);
/* The line of the newest head that is on the disk, once for each: its size, 0 when there is no
 * newer one. Any thread. */
size_t audit_writer_next_head(struct audit_writer *writer, uint8_t to[AUDIT_HEAD_MAX]);
/* Saves what is there and ends the thread. NULL inside is allowed; set to NULL. */
void audit_writer_stop(struct audit_writer **writer);

#endif
