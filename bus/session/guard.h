/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What keeps Hello1 floods cheap and replays out (PROTOCOL 4, listener steps 9 and 11): token
 * buckets and the cache of (dialer, ephemeral key) pairs whose signature verified. One owner, not
 * thread-safe. Lost with the process on purpose: a replayed Hello1 cannot be completed.
 */
#ifndef SESSION_GUARD_H
#define SESSION_GUARD_H

#include <aico/error.h>

#include "base/clock.h"
#include "crypto/crypto.h"

#define HALF_OPEN_MAX 3 /* per dialer */

struct guard; /* opaque; guard_new() .. guard_free() */

/* @keep_ms: how long a pair is remembered, twice the synchrony bound. NULL without memory. */
struct guard *guard_new(int64_t keep_ms);
void guard_free(struct guard **guard);

/* Takes a token of @dialer's bucket and of the common one. @half_open: handshakes of @dialer that
 * wait for their Hello3. 0, AICO_ERATE, AICO_ENOMEM. The caller has found @dialer in the registry,
 * so strangers take no memory. */
AICO_MUST_USE int guard_admit(struct guard *guard, struct moment now,
                              const uint8_t dialer[SIGN_PUBLIC_SIZE], size_t half_open);
bool guard_has_seen(struct guard *guard, struct moment now, const uint8_t dialer[SIGN_PUBLIC_SIZE],
                    const uint8_t ephemeral[DH_PUBLIC_SIZE]);
/* Only after the signature verified, else a forger could burn an honest Hello1. 0 or
 * AICO_ENOMEM. */
AICO_MUST_USE int guard_enter(struct guard *guard, struct moment now,
                              const uint8_t dialer[SIGN_PUBLIC_SIZE],
                              const uint8_t ephemeral[DH_PUBLIC_SIZE]);

#endif
