/* SPDX-License-Identifier: Apache-2.0 */
/* Start-up and comparison. Any thread. */
#include <sodium.h>

#include "crypto/crypto.h"

int crypto_start(void)
{
    return sodium_init() < 0 ? AICO_EINTERNAL : 0;
}

bool secret_equal(const void *a, const void *b, size_t size)
{
    return sodium_memcmp(a, b, size) == 0;
}
