/* SPDX-License-Identifier: Apache-2.0 */
/* Ed25519 with labels. Pure, any thread. */
#include <sodium.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/sign.h"

#define MESSAGE_ON_STACK 512

/* libsodium's form of a signing key: seed || public key. */
struct sign_key {
    uint8_t at[crypto_sign_SECRETKEYBYTES];
};

static void sign_key_wipe(struct sign_key *key)
{
    memory_wipe(key, sizeof(*key));
}

/* TAG(label) || a || b in one piece: Ed25519 reads its message twice. */
struct message {
    uint8_t small[MESSAGE_ON_STACK];
    uint8_t *large; /* NULL: it fits small */
    struct bytes all;
};

static void message_deinit(struct message *message)
{
    free(message->large);
}

static int message_init(struct message *message, const char *label, struct bytes a, struct bytes b)
{
    size_t label_size = strlen(label), size = 1 + strlen(LABEL_PREFIX) + label_size;
    uint8_t *to = message->small;

    if (a.size > SIZE_MAX / 4 || b.size > SIZE_MAX / 4)
        return AICO_ENOMEM;
    size += a.size + b.size;
    if (size > sizeof(message->small)) {
        message->large = malloc(size);
        if (!message->large)
            return AICO_ENOMEM;
        to = message->large;
    }
    message->all = bytes_of(to, size);
    *to++ = (uint8_t)(strlen(LABEL_PREFIX) + label_size);
    memcpy(to, LABEL_PREFIX, strlen(LABEL_PREFIX));
    to += strlen(LABEL_PREFIX);
    memcpy(to, label, label_size);
    to += label_size;
    bytes_copy(to, a);
    bytes_copy(to + a.size, b);
    return 0;
}

void sign_public(const struct secret *seed, uint8_t ret_public[SIGN_PUBLIC_SIZE])
{
    CLEANUP(sign_key_wipe)
    struct sign_key key;

    (void)crypto_sign_seed_keypair(ret_public, key.at, seed->at);
}

int sign_make(const struct secret *seed, const char *label, struct bytes a, struct bytes b,
              uint8_t ret_signature[SIGNATURE_SIZE])
{
    uint8_t public[SIGN_PUBLIC_SIZE];

    sign_public(seed, public);
    return sign_make_as(seed, public, label, a, b, ret_signature);
}

int sign_make_as(const struct secret *seed, const uint8_t public[SIGN_PUBLIC_SIZE],
                 const char *label, struct bytes a, struct bytes b,
                 uint8_t ret_signature[SIGNATURE_SIZE])
{
    CLEANUP(message_deinit)
    struct message message = {.large = NULL};
    CLEANUP(sign_key_wipe)
    struct sign_key key;
    int r;

    r = message_init(&message, label, a, b);
    if (r < 0)
        return r;
    memcpy(key.at, seed->at, SECRET_SIZE);
    memcpy(key.at + SECRET_SIZE, public, SIGN_PUBLIC_SIZE);
    (void)crypto_sign_detached(ret_signature, NULL, message.all.at, message.all.size, key.at);
    return 0;
}

int sign_verify(const uint8_t public[SIGN_PUBLIC_SIZE], const char *label, struct bytes a,
                struct bytes b, const uint8_t signature[SIGNATURE_SIZE])
{
    CLEANUP(message_deinit)
    struct message message = {.large = NULL};
    int r;

    r = message_init(&message, label, a, b);
    if (r < 0)
        return r;
    if (crypto_sign_verify_detached(signature, message.all.at, message.all.size, public) != 0)
        return AICO_ESIGNATURE;
    return 0;
}
