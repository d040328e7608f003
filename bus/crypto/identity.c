/* SPDX-License-Identifier: Apache-2.0 */
/* A component's keys from its seed, its fingerprint, and seeds from a passphrase. */
#include <errno.h>

#include <sodium.h>

#include "base/cleanup.h"
#include "base/writer.h"
#include "crypto/dh.h"
#include "crypto/identity.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"

bool component_name_is_valid(struct bytes name)
{
    if (name.size < 1 || name.size > COMPONENT_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.at[i];
        bool alphanumeric = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

        if (!alphanumeric && (i == 0 || (c != '.' && c != '_' && c != '-')))
            return false;
    }
    return true;
}

int identity_new(const char *name, const struct secret *seed, uint32_t transport_number,
                 struct identity **ret_identity)
{
    struct identity *identity;
    uint8_t number[4];
    struct writer w = writer_over(number, sizeof(number));

    if (!component_name_is_valid(bytes_text(name)))
        return AICO_EINVAL;
    identity = guarded_new(sizeof(*identity));
    if (!identity)
        return AICO_ENOMEM;

    memcpy(identity->name, name, strlen(name) + 1);
    identity->seed = *seed;
    sign_public(seed, identity->public);
    /* Derived, not converted: the transport key lives in ordinary heap, beside a parser that faces
     * the network, and must not be the scalar that signs (PROTOCOL 2). */
    identity->transport_number = transport_number;
    writer_u32(&w, transport_number);
    kdf(seed, "transport", writer_view(&w), &identity->transport_secret);
    dh_public(&identity->transport_secret, identity->transport_public);
    kdf(seed, "storage", bytes_of(NULL, 0), &identity->storage);

    *ret_identity = identity;
    return 0;
}

void identity_free(struct identity **identity)
{
    guarded_free(identity);
}

/* RFC 4648 base32, lower case, without padding, a dash after every fourth character. */
static void write_base32(struct bytes from, char *to)
{
    static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz234567";
    size_t count = (from.size * 8 + 4) / 5;

    for (size_t i = 0; i < count; i++) {
        size_t bit = i * 5, at = bit / 8;
        unsigned pair = (unsigned)from.at[at] << 8 | (at + 1 < from.size ? from.at[at + 1] : 0u);

        if (i > 0 && i % 4 == 0)
            *to++ = '-';
        *to++ = alphabet[pair >> (11 - bit % 8) & 31];
    }
    *to = '\0';
}

void fingerprint_write(const uint8_t public[SIGN_PUBLIC_SIZE], char to[FINGERPRINT_TEXT_SIZE])
{
    uint8_t hash[16];

    hash_tagged_n("fingerprint", bytes_of(public, SIGN_PUBLIC_SIZE), hash, sizeof(hash));
    memcpy(to, "aico:", 5);
    write_base32(bytes_of(hash, sizeof(hash)), to + 5);
}

int passphrase_key(struct bytes passphrase, const uint8_t salt[16], uint64_t ops,
                   uint64_t mem_bytes, struct secret *ret_key)
{
    CLEANUP(secret_wipe)
    struct secret key;

    _Static_assert(crypto_pwhash_SALTBYTES == 16, "the salt of PROTOCOL 2");
    if (ops < crypto_pwhash_OPSLIMIT_MIN || ops > crypto_pwhash_OPSLIMIT_MAX ||
        mem_bytes < crypto_pwhash_MEMLIMIT_MIN || mem_bytes > crypto_pwhash_MEMLIMIT_MAX)
        return AICO_EINVAL;
    if (crypto_pwhash(key.at, SECRET_SIZE, (const char *)passphrase.at, passphrase.size, salt, ops,
                      (size_t)mem_bytes, crypto_pwhash_ALG_ARGON2ID13) != 0)
        return AICO_ENOMEM;
    *ret_key = key;
    return 0;
}

void master_component_seed(const struct secret *master, const char *name, struct secret *ret_seed)
{
    kdf2(master, "component", bytes_text("transport-"), bytes_text(name), ret_seed);
}
