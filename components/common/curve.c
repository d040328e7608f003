/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stands in the place of two functions of libsodium that libzmq calls for every frame. Any thread
 * calls them. crypto_box "afternm" is crypto_secretbox under the shared key.
 */
#include "common/curve.h"

#include <stddef.h>
#include <stdint.h>

#include <sodium.h>

#include "cipher/poly1305.h"
#include "cipher/secretbox.h"
#include "cipher/stream.h"

void curve_start(void)
{
    if (sodium_init() < 0)
        return;
    poly1305_start();
    stream_start();
    secretbox_start();
}

__attribute__((visibility("default"))) int
crypto_box_easy_afternm(unsigned char *to, const unsigned char *from, unsigned long long size,
                        const unsigned char *nonce, const unsigned char *key)
{
    struct secret subkey;

    if (size > crypto_secretbox_MESSAGEBYTES_MAX)
        return crypto_secretbox_easy(to, from, size, nonce, key);
    secretbox_subkey(key, nonce, &subkey);
    secretbox_seal(&subkey, nonce + SECRETBOX_PREFIX_SIZE, from, (size_t)size, to);
    secret_wipe(&subkey);
    return 0;
}

/* @to NULL: only looks. */
__attribute__((visibility("default"))) int
crypto_box_open_easy_afternm(unsigned char *to, const unsigned char *from, unsigned long long size,
                             const unsigned char *nonce, const unsigned char *key)
{
    struct secret subkey;
    bool is_genuine;

    if (!to || size < SECRETBOX_TAG_SIZE)
        return crypto_secretbox_open_easy(to, from, size, nonce, key);
    secretbox_subkey(key, nonce, &subkey);
    is_genuine = secretbox_open(&subkey, nonce + SECRETBOX_PREFIX_SIZE, from,
                                (size_t)size - SECRETBOX_TAG_SIZE, to);
    secret_wipe(&subkey);
    return is_genuine ? 0 : -1;
}
