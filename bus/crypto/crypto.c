/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up and comparison. Any thread. */
#include <pthread.h>

#include <sodium.h>

#include "cipher/blake2b.h"
#include "cipher/poly1305.h"
#include "cipher/secretbox.h"
#include "cipher/stream.h"
#include "crypto/crypto.h"

static void ciphers_start(void)
{
    poly1305_start();
    stream_start();
    secretbox_start();
    blake2b_start();
}

int crypto_start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    if (sodium_init() < 0 || pthread_once(&once, ciphers_start) != 0)
        return AICO_EINTERNAL;
    return 0;
}

bool secret_equal(const void *a, const void *b, size_t size)
{
    return sodium_memcmp(a, b, size) == 0;
}
