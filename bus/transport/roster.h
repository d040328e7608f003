/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may open a link to the broker: a directory of X25519 keys, built once and then handed to the
 * router. It decides what a handler of ZeroMQ's authentication protocol would (ZAP, RFC 27): 200
 * with the User-Id found here, 500 for a key that was valid once and is no more, 400 for one that
 * is not known. Whoever is looked for has proven that he holds the secret of his key.
 *
 * One owner.
 */
#ifndef TRANSPORT_ROSTER_H
#define TRANSPORT_ROSTER_H

#include <aico/error.h>

#include "base/bytes.h"

#define ROSTER_KEY_SIZE 32
#define ROSTER_USER_ID_MAX 95

struct roster; /* opaque; roster_new() .. roster_free() */

/* NULL without memory. */
struct roster *roster_new(void);
void roster_free(struct roster **roster);
/*
 * Lets the owner of @key in as @user_id.
 *
 * @until_ms  real_ms at which that ends; INT64_MAX: never
 * 0, AICO_EINVAL (user_id empty or too long), AICO_EEXISTS (@key is there), AICO_ENOMEM.
 */
AICO_MUST_USE int roster_add(struct roster *roster, const uint8_t key[ROSTER_KEY_SIZE],
                             const char *user_id, int64_t until_ms);
/* Knows @key as one that is valid no more. 0, AICO_EEXISTS (@key is there), AICO_ENOMEM. */
AICO_MUST_USE int roster_add_former(struct roster *roster, const uint8_t key[ROSTER_KEY_SIZE]);

/* 0 with the User-Id, which is @roster's; AICO_EREVOKED; AICO_EUNKNOWN, also with @roster NULL. */
AICO_MUST_USE int roster_find(const struct roster *roster, const uint8_t key[ROSTER_KEY_SIZE],
                              int64_t real_ms, const char **ret_user_id);

#endif
