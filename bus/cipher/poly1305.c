/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libcrypto is given keys that serve for one message, and nothing else: no key that lives longer,
 * no plaintext. It is asked through a library context of its own, so no configuration file is read
 * and no provider or engine of the machine or the application decides what a tag is.
 */
#include "cipher/poly1305.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sodium.h>

#include "base/cleanup.h"

static EVP_MAC *mac; /* NULL: libcrypto is not used */

static bool by_libcrypto(const uint8_t key[POLY1305_KEY_SIZE], const struct bytes *parts,
                         size_t count, uint8_t ret_tag[POLY1305_TAG_SIZE])
{
    EVP_MAC_CTX *context = EVP_MAC_CTX_new(mac);
    size_t size;
    bool done = context && EVP_MAC_init(context, key, POLY1305_KEY_SIZE, NULL) == 1;

    for (size_t i = 0; done && i < count; i++)
        done = EVP_MAC_update(context, parts[i].at, parts[i].size) == 1;
    done = done && EVP_MAC_final(context, ret_tag, &size, POLY1305_TAG_SIZE) == 1; /* wipes it */
    EVP_MAC_CTX_free(context);
    return done;
}

void poly1305(const uint8_t key[POLY1305_KEY_SIZE], const struct bytes *parts, size_t count,
              uint8_t ret_tag[POLY1305_TAG_SIZE])
{
    crypto_onetimeauth_state state;

    if (mac && by_libcrypto(key, parts, count, ret_tag))
        return;
    (void)crypto_onetimeauth_init(&state, key);
    for (size_t i = 0; i < count; i++)
        (void)crypto_onetimeauth_update(&state, parts[i].at, parts[i].size);
    (void)crypto_onetimeauth_final(&state, ret_tag);
    sodium_memzero(&state, sizeof(state));
}

bool poly1305_is_fast(void)
{
    return mac != NULL;
}

/* At sizes it is used for, in one piece and as of a seal in several, beside libsodium. */
static bool is_equal(void)
{
    static uint8_t text[8191];
    static const size_t sizes[] = {512, 1024, 2048, 4099, sizeof(text)};
    uint8_t key[POLY1305_KEY_SIZE], ours[POLY1305_TAG_SIZE], theirs[POLY1305_TAG_SIZE];

    randombytes_buf(key, sizeof(key));
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * i >> 3);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
        struct bytes whole = {text, sizes[i]};
        struct bytes parts[] = {
            {text, 36}, {text + 36, 32}, {NULL, 0}, {text + 68, 12}, {text + 80, 0}};

        parts[4].size = sizes[i] - 80;
        (void)crypto_onetimeauth(theirs, text, sizes[i], key);
        if (!by_libcrypto(key, &whole, 1, ours) || crypto_verify_16(ours, theirs) != 0 ||
            !by_libcrypto(key, parts, COUNT_OF(parts), ours) || crypto_verify_16(ours, theirs) != 0)
            return false;
    }
    return true;
}

void poly1305_start(void)
{
    OSSL_LIB_CTX *library = mac ? NULL : OSSL_LIB_CTX_new();

    if (!library)
        return;
    mac = EVP_MAC_fetch(library, "POLY1305", NULL);
    if (mac && is_equal())
        return;
    EVP_MAC_free(mac);
    mac = NULL;
    OSSL_LIB_CTX_free(library);
}
