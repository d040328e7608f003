/* SPDX-License-Identifier: Apache-2.0 */
/* X25519. Pure, any thread. */
#include <sodium.h>

#include "base/cleanup.h"
#include "crypto/dh.h"

void dh_public(const struct secret *secret, uint8_t ret_public[DH_PUBLIC_SIZE])
{
    (void)crypto_scalarmult_base(ret_public, secret->at);
}

int dh_shared(const struct secret *a, const uint8_t b[DH_PUBLIC_SIZE], struct secret *ret_shared)
{
    CLEANUP(secret_wipe)
    struct secret shared;

    if (crypto_scalarmult(shared.at, a->at, b) != 0)
        return AICO_EDH;
    *ret_shared = shared;
    return 0;
}
