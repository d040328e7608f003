/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/box.h"

#include <sodium.h>

_Static_assert(crypto_box_PUBLICKEYBYTES == DH_PUBLIC_SIZE &&
                   crypto_box_BEFORENMBYTES == SECRET_SIZE,
               "libsodium's box has other sizes");

void box_keys(uint8_t ret_public[DH_PUBLIC_SIZE], struct secret *ret_secret)
{
    (void)crypto_box_keypair(ret_public, ret_secret->at);
}

int box_shared(const struct secret *ours, const uint8_t theirs[DH_PUBLIC_SIZE],
               struct secret *ret_key)
{
    return crypto_box_beforenm(ret_key->at, theirs, ours->at) == 0 ? 0 : AICO_EDH;
}
