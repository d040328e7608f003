/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/box.h"

#include <sodium.h>

_Static_assert(crypto_box_NONCEBYTES == BOX_NONCE_SIZE && crypto_box_MACBYTES == BOX_TAG_SIZE &&
                   crypto_box_PUBLICKEYBYTES == DH_PUBLIC_SIZE,
               "libsodium's box has other sizes");

void box_keys(uint8_t ret_public[DH_PUBLIC_SIZE], struct secret *ret_secret)
{
    (void)crypto_box_keypair(ret_public, ret_secret->at);
}

int box_seal(const struct secret *ours, const uint8_t theirs[DH_PUBLIC_SIZE],
             const uint8_t nonce[BOX_NONCE_SIZE], const uint8_t *plain, size_t size, uint8_t *to)
{
    return crypto_box_easy(to, plain, size, nonce, theirs, ours->at) == 0 ? 0 : AICO_EDH;
}

int box_open(const struct secret *ours, const uint8_t theirs[DH_PUBLIC_SIZE],
             const uint8_t nonce[BOX_NONCE_SIZE], const uint8_t *sealed, size_t size, uint8_t *to)
{
    return crypto_box_open_easy(to, sealed, size + BOX_TAG_SIZE, nonce, theirs, ours->at) == 0
               ? 0
               : AICO_EAUTHENTICITY;
}

int box_shared(const struct secret *ours, const uint8_t theirs[DH_PUBLIC_SIZE],
               struct secret *ret_key)
{
    return crypto_box_beforenm(ret_key->at, theirs, ours->at) == 0 ? 0 : AICO_EDH;
}
