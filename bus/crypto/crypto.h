/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sizes, start-up and secret memory of the crypto layer.
 * Specification of every function here: PROTOCOL.md section 1 (docs/protocol.md).
 */
#ifndef CRYPTO_CRYPTO_H
#define CRYPTO_CRYPTO_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/secret.h"

#define HASH_SIZE 32
#define SIGN_PUBLIC_SIZE 32
#define SIGNATURE_SIZE 64
#define DH_PUBLIC_SIZE 32
#define AEAD_NONCE_SIZE 24
#define AEAD_TAG_SIZE 16
#define LABEL_PREFIX "aico-bus/1 " /* in front of every label inside TAG() */

/* sodium_init() and what bus/cipher looks at, once; 0 or AICO_EINTERNAL. Safe to call from any
 * thread, any number of times. */
AICO_MUST_USE int crypto_start(void);

/* Constant in time; both of @size bytes. */
bool secret_equal(const void *a, const void *b, size_t size);

/*
 * Long-lived secrets: memory between guard pages that is neither dumped nor inherited by fork() (a
 * child reads zeros, MADV_WIPEONFORK). Zeroed at allocation, aligned for every type; NULL without
 * memory. guarded_free() erases, and ends the process when something wrote past the object or
 * before it; takes T **, accepts NULL inside, sets it to NULL. Any thread.
 */
void *guarded_new(size_t size);
void guarded_free(void *pointer_to_pointer);

#endif
