/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads that help one thread with work that comes in equal pieces: it waits until all are done,
 * so that nothing of what the pieces use belongs to two threads at a time.
 */
#ifndef TRANSPORT_CREW_H
#define TRANSPORT_CREW_H

#include <aico/error.h>

#include <stddef.h>

struct crew; /* opaque; crew_start() .. crew_stop() */

/* @helpers: threads beside the caller's, perhaps 0. 0, AICO_ENOMEM, AICO_ESYSTEM. */
AICO_MUST_USE int crew_start(unsigned helpers, struct crew **ret_crew);
/* NULL inside is allowed; set to NULL. */
void crew_stop(struct crew **crew);

/* Calls @work with every index below @count, each once, by the caller and those helpers that come
 * in time, and returns when all have returned. By one thread at a time. */
void crew_do(struct crew *crew, void (*work)(void *context, size_t index), void *context,
             size_t count);

#endif
