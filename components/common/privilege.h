/* SPDX-License-Identifier: Apache-2.0 */
/* Another user instead of root, for good. main() only, before anything is read or a thread runs. */
#ifndef COMMON_PRIVILEGE_H
#define COMMON_PRIVILEGE_H

#include <aico/error.h>

/*
 * Becomes @user with its groups, without a way back: no saved id, no capability, and nothing that
 * is executed later gets any (no_new_privs). HOME becomes the user's.
 *
 * Returns 0, also where we are that user already; AICO_ENOTFOUND (no such user), AICO_EDENIED (we
 * are neither root nor that user), AICO_ESYSTEM.
 */
AICO_MUST_USE int privilege_drop(const char *user, struct aico_error *err);

#endif
