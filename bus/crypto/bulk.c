/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcrypto through a library context of its own: no configuration file is read and no provider of
 * the machine or the application is asked. A cipher context is made for each call and freed, which
 * wipes it, so no key stays in memory that we do not guard.
 */
#include "crypto/bulk.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sodium.h>

#include "base/cleanup.h"

#define TAG_SIZE 16

static EVP_CIPHER *cipher; /* NULL: libcrypto is not used */

static void context_free(EVP_CIPHER_CTX **context)
{
    EVP_CIPHER_CTX_free(*context);
}

/* Ready for the payload; NULL: not to be had. */
static EVP_CIPHER_CTX *begin(const struct secret *key, const uint8_t nonce[12], struct bytes ad1,
                             struct bytes ad2, bool seal)
{
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int size;

    if (context && EVP_CipherInit_ex2(context, cipher, key->at, nonce, seal, NULL) == 1 &&
        (ad1.size == 0 || EVP_CipherUpdate(context, NULL, &size, ad1.at, (int)ad1.size) == 1) &&
        (ad2.size == 0 || EVP_CipherUpdate(context, NULL, &size, ad2.at, (int)ad2.size) == 1))
        return context;
    EVP_CIPHER_CTX_free(context);
    return NULL;
}

bool bulk_seal(const struct secret *key, const uint8_t nonce[12], struct bytes ad1,
               struct bytes ad2, struct bytes plain, uint8_t *to)
{
    CLEANUP(context_free)
    EVP_CIPHER_CTX *context = NULL;
    int size, rest;

    if (plain.size > INT_MAX || !(context = begin(key, nonce, ad1, ad2, true)))
        return false;
    /* It has all it needs. Were it to fail in the middle, @plain might be gone already. */
    if (EVP_CipherUpdate(context, to, &size, plain.at, (int)plain.size) != 1 ||
        EVP_CipherFinal_ex(context, to + size, &rest) != 1 ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, TAG_SIZE, to + plain.size) != 1)
        abort();
    return true;
}

int bulk_open(const struct secret *key, const uint8_t nonce[12], struct bytes ad1, struct bytes ad2,
              struct bytes sealed, uint8_t *to)
{
    CLEANUP(context_free)
    EVP_CIPHER_CTX *context = NULL;
    size_t plain_size = sealed.size - TAG_SIZE;
    uint8_t tag[TAG_SIZE];
    int size, rest;

    if (sealed.size < TAG_SIZE)
        return AICO_EOPEN;
    memcpy(tag, sealed.at + plain_size, TAG_SIZE);
    if (plain_size > INT_MAX || !(context = begin(key, nonce, ad1, ad2, false)) ||
        EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, TAG_SIZE, tag) != 1)
        return AICO_ENOMEM;
    /* It writes before it knows whether the tag fits. */
    if (EVP_CipherUpdate(context, to, &size, sealed.at, (int)plain_size) == 1 &&
        EVP_CipherFinal_ex(context, to + size, &rest) == 1)
        return 0;
    memory_wipe(to, plain_size);
    return AICO_EOPEN;
}

/* --- whether it is there -------------------------------------------------------------------- */

/* Both ways and a forgery, beside libsodium. */
static bool is_equal(void)
{
    static const uint8_t nonce[12] = {1, 2, 3};
    struct secret key = {0};
    uint8_t plain[200], ours[sizeof(plain) + TAG_SIZE], theirs[sizeof(ours)];
    struct bytes ad1 = bytes_text("associated"), ad2 = bytes_text("data");
    struct bytes all = bytes_text("associateddata");

    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)i;
    (void)crypto_aead_chacha20poly1305_ietf_encrypt(theirs, NULL, plain, sizeof(plain), all.at,
                                                    all.size, NULL, nonce, key.at);
    if (!bulk_seal(&key, nonce, ad1, ad2, bytes_of(plain, sizeof(plain)), ours) ||
        !secret_equal(ours, theirs, sizeof(ours)) ||
        bulk_open(&key, nonce, ad1, ad2, bytes_of(theirs, sizeof(theirs)), ours) != 0 ||
        !secret_equal(ours, plain, sizeof(plain)))
        return false;
    theirs[0] ^= 1;
    return bulk_open(&key, nonce, ad1, ad2, bytes_of(theirs, sizeof(theirs)), ours) == AICO_EOPEN;
}

static void look(void)
{
    OSSL_LIB_CTX *library;

    /* Threads of ours may outlive main(): nothing is torn down under them at exit. */
    if (OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) != 1 || !(library = OSSL_LIB_CTX_new()))
        return;
    cipher = EVP_CIPHER_fetch(library, "ChaCha20-Poly1305", NULL);
    if (cipher && is_equal())
        return;
    EVP_CIPHER_free(cipher);
    cipher = NULL;
    OSSL_LIB_CTX_free(library);
}

bool bulk_is_there(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    return pthread_once(&once, look) == 0 && cipher != NULL;
}
