/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state/NAME/witness: heads of the broker's audit log that a component has seen, a line each as
 * they stand in the log (trust/audit.h), oldest first: the newest one, and of what was before one
 * in six hours, WITNESS_LINES at most. `aico-keytool audit verify --witness` finds a log that has
 * not all of them. One owner: the component.
 */
#ifndef STORE_WITNESS_H
#define STORE_WITNESS_H

#include <aico/error.h>

#include "crypto/sign.h"
#include "trust/audit.h"

#define WITNESS_LINES 256

/*
 * Keeps @line, once the broker with @broker has signed it for @namespace. AICO_EAUDIT: it
 * contradicts what was seen before, an earlier end of the same log or another one with as many
 * entries; it is kept beside that. AICO_ESIGNATURE, AICO_ENOMEM, errors of file_read() and
 * file_write().
 */
AICO_MUST_USE int witness_keep(const char *home, const char *name, struct bytes namespace,
                               const uint8_t broker[SIGN_PUBLIC_SIZE], struct bytes line,
                               struct aico_error *err);

#endif
