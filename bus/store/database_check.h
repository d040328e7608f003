/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a SQLite file of ours is whole, for the doctor: reads, and changes nothing in it. */
#ifndef STORE_DATABASE_CHECK_H
#define STORE_DATABASE_CHECK_H

#include <stdint.h>

#include <aico/error.h>

#define DATABASE_STREAMS 0x6169636f /* application_id of the message store: "aico" */
#define DATABASE_KEPT 0x4149434b    /* ... of what sessions keep: "AICK" */

/*
 * Goes through the file at @path, for at most @timeout_ms.
 *
 * Returns 0; AICO_ETIMEOUT (nothing wrong as far as it came), AICO_EKEPTLOCKED (a process works
 * with it and lets nobody look), AICO_ENOTFOUND, AICO_ESTOREDAMAGED (with the cause: pages, or not
 * a file of @application), AICO_ESYSTEM (it cannot be opened or read), AICO_ENOMEM.
 */
AICO_MUST_USE int database_check(const char *path, uint32_t application, int64_t timeout_ms,
                                 struct aico_error *err);

#endif
