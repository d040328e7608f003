/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's numbers on a unix socket, by HTTP: GET /metrics. A thread of its own deals with the
 * clients, so that none of them holds up the broker: the loop makes the text when it is wanted, at
 * most METRICS_PER_S times a second, and never waits.
 */
#ifndef RUNTIME_METRICS_H
#define RUNTIME_METRICS_H

#include "base/buffer.h"
#include "transport/wake.h"

#define METRICS_PER_S 4

struct metrics;

/*
 * Listens at @path, which must be free, for the user of this process alone (mode 0600).
 *
 * @loop  woken when text is wanted; borrowed, must outlive the metrics
 *
 * Returns 0, AICO_EINVAL (@path is too long), AICO_ESYSTEM, AICO_ENOMEM.
 */
AICO_MUST_USE int metrics_start(const char *path, const struct wake *loop,
                                struct metrics **ret_metrics, struct aico_error *err);
/* The loop's thread: whether a text is wanted; it should then be given. NULL: it is not. */
bool metrics_wanted(struct metrics *metrics);
/* The text for all who wait; taken over, @text is empty afterwards. Never waits for a client. */
void metrics_give(struct metrics *metrics, struct buffer *text);
/* Ends the thread and removes the socket. NULL inside is allowed; set to NULL. */
void metrics_stop(struct metrics **metrics);

#endif
