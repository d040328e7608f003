/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What follows a component to its next key: the storage keys of its former ones, by which the
 * program that starts with the next key opens what it finds in its state and seals it anew
 * (docs/decisions/0120). aico-keytool writes them when it rotates:
 *
 *   state/NAME/former-KEY    sealed (store/sealed.h) for the next key, whose first four bytes are
 *                            KEY: 32 identity || 32 storage key, repeated, the newest first
 *
 * Nobody else can make such a file: who could has the next key. No seed is in it, so it signs
 * nothing and proves nothing. Any thread.
 */
#ifndef STORE_FORMER_H
#define STORE_FORMER_H

#include <aico/error.h>

#include "crypto/identity.h"

#define FORMER_KEYS_MAX 8 /* rotations between two starts; what is older is forgotten */

/* Lives in guarded memory: former_load() .. guarded_free(). */
struct former_keys {
    size_t count;
    /* Each with name, public and storage alone: enough to open its state. */
    struct identity items[FORMER_KEYS_MAX];
};

/* Those of @identity; *ret_former NULL: there are none. 0, AICO_EOPEN and the other errors of
 * sealed_load(), AICO_EFORMAT, AICO_ENOMEM. */
AICO_MUST_USE int former_load(const char *home, const struct identity *identity,
                              struct former_keys **ret_former, struct aico_error *err);
/* @identity is about to be replaced by @renewed: leaves it its storage key, and those that were
 * left for itself. Errors of former_load() and sealed_save(). */
AICO_MUST_USE int former_leave(const char *home, const struct identity *identity,
                               const struct identity *renewed, struct aico_error *err);
/* Erases what was left for the key @public of @name; 0 also when there is nothing. */
AICO_MUST_USE int former_erase(const char *home, const char *name,
                               const uint8_t public[SIGN_PUBLIC_SIZE], struct aico_error *err);

#endif
