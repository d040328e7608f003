/* SPDX-License-Identifier: Apache-2.0 */
/*
 * --cheap: the same cores over arithmetic that costs a microsecond, for runs of many seeds.
 *
 * Two thirds of a run are X25519, Ed25519 and the guard pages of secrets. The network of the
 * simulator loses, delays and repeats; it forges nothing, and what forging needs is tested
 * elsewhere with the real thing. So the linker hands these calls over to us (tests/CMakeLists.txt)
 * and we take Diffie-Hellman modulo 2^61-1, "signatures" that are hashes under the public key, a
 * hash of two multiplied words, an AEAD of sums, hash tables under no key and ordinary memory, not
 * wiped where it is long. Everything that tells one key, message or transcript from another stays:
 * a wrong key gives another secret, a changed byte another hash.
 */
#include <malloc.h>
#include <sodium.h>
#include <stdlib.h>

#include "sim.h"

#define PRIME ((UINT64_C(1) << 61) - 1)
#define GENERATOR 37

static bool cheap;

void cheap_begin(void)
{
    cheap = true;
    /* Memory that was freed is kept: a run allocates and frees the same megabytes again and again.
     */
    (void)mallopt(M_MMAP_THRESHOLD, 32 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 512 << 20);
    (void)mallopt(M_TOP_PAD, 16 << 20);
}

/* NOLINTBEGIN(bugprone-reserved-identifier): the linker's names */
void *__real_guarded_new(size_t size);
void *__wrap_guarded_new(size_t size);
void __real_guarded_free(void *pointer_to_pointer);
void __wrap_guarded_free(void *pointer_to_pointer);
bool __real_poly1305_is_fast(void);
bool __wrap_poly1305_is_fast(void);
uint64_t __real_hash_bytes(const void *at, size_t size);
uint64_t __wrap_hash_bytes(const void *at, size_t size);
void __real_explicit_bzero(void *at, size_t size);
void __wrap_explicit_bzero(void *at, size_t size);
void __real___explicit_bzero_chk(void *at, size_t size, size_t room);
void __wrap___explicit_bzero_chk(void *at, size_t size, size_t room);
int __real_crypto_generichash_init(crypto_generichash_state *state, const unsigned char *key,
                                   size_t key_size, size_t out_size);
int __wrap_crypto_generichash_init(crypto_generichash_state *state, const unsigned char *key,
                                   size_t key_size, size_t out_size);
int __real_crypto_generichash_update(crypto_generichash_state *state, const unsigned char *in,
                                     unsigned long long size);
int __wrap_crypto_generichash_update(crypto_generichash_state *state, const unsigned char *in,
                                     unsigned long long size);
int __real_crypto_generichash_final(crypto_generichash_state *state, unsigned char *out,
                                    size_t out_size);
int __wrap_crypto_generichash_final(crypto_generichash_state *state, unsigned char *out,
                                    size_t out_size);
int __real_crypto_scalarmult_base(unsigned char *q, const unsigned char *n);
int __wrap_crypto_scalarmult_base(unsigned char *q, const unsigned char *n);
int __real_crypto_scalarmult(unsigned char *q, const unsigned char *n, const unsigned char *p);
int __wrap_crypto_scalarmult(unsigned char *q, const unsigned char *n, const unsigned char *p);
int __real_crypto_sign_seed_keypair(unsigned char *pk, unsigned char *sk,
                                    const unsigned char *seed);
int __wrap_crypto_sign_seed_keypair(unsigned char *pk, unsigned char *sk,
                                    const unsigned char *seed);
int __real_crypto_sign_detached(unsigned char *sig, unsigned long long *size,
                                const unsigned char *m, unsigned long long m_size,
                                const unsigned char *sk);
int __wrap_crypto_sign_detached(unsigned char *sig, unsigned long long *size,
                                const unsigned char *m, unsigned long long m_size,
                                const unsigned char *sk);
int __real_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m,
                                       unsigned long long m_size, const unsigned char *pk);
int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m,
                                       unsigned long long m_size, const unsigned char *pk);
int __real_crypto_aead_chacha20poly1305_ietf_encrypt(
    unsigned char *c, unsigned long long *c_size, const unsigned char *m, unsigned long long m_size,
    const unsigned char *ad, unsigned long long ad_size, const unsigned char *nsec,
    const unsigned char *npub, const unsigned char *k);
int __wrap_crypto_aead_chacha20poly1305_ietf_encrypt(
    unsigned char *c, unsigned long long *c_size, const unsigned char *m, unsigned long long m_size,
    const unsigned char *ad, unsigned long long ad_size, const unsigned char *nsec,
    const unsigned char *npub, const unsigned char *k);
int __real_crypto_aead_chacha20poly1305_ietf_decrypt(
    unsigned char *m, unsigned long long *m_size, unsigned char *nsec, const unsigned char *c,
    unsigned long long c_size, const unsigned char *ad, unsigned long long ad_size,
    const unsigned char *npub, const unsigned char *k);
int __wrap_crypto_aead_chacha20poly1305_ietf_decrypt(
    unsigned char *m, unsigned long long *m_size, unsigned char *nsec, const unsigned char *c,
    unsigned long long c_size, const unsigned char *ad, unsigned long long ad_size,
    const unsigned char *npub, const unsigned char *k);

void *__wrap_guarded_new(size_t size)
{
    return cheap ? calloc(1, size) : __real_guarded_new(size);
}

void __wrap_guarded_free(void *pointer_to_pointer)
{
    void **pointer = pointer_to_pointer;

    if (!cheap) {
        __real_guarded_free(pointer_to_pointer);
        return;
    }
    free(*pointer);
    *pointer = NULL;
}

static uint64_t mix(uint64_t state, uint64_t word)
{
    unsigned __int128 product = (unsigned __int128)(state ^ word) * UINT64_C(0x9e3779b97f4a7c15);

    return (uint64_t)product ^ (uint64_t)(product >> 64) ^ UINT64_C(0x5851f42d4c957f2d);
}

#define LONG_SIZE 512 /* from here on it is not wiped */

/* What is large goes the way of the rest, too. */
bool __wrap_poly1305_is_fast(void)
{
    return !cheap && __real_poly1305_is_fast();
}

uint64_t __wrap_hash_bytes(const void *at, size_t size)
{
    const unsigned char *bytes = at;
    uint64_t word, state = size;

    if (!cheap)
        return __real_hash_bytes(at, size);
    for (; size >= sizeof(word); bytes += sizeof(word), size -= sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        state = mix(state, word);
    }
    word = 0;
    if (size > 0)
        memcpy(&word, bytes, size);
    return mix(state, word);
}

/* Long ones are messages. What is short stays wiped: zeros may mean that there is no key. */
void __wrap_explicit_bzero(void *at, size_t size)
{
    if (!cheap || size < LONG_SIZE)
        __real_explicit_bzero(at, size);
}

void __wrap___explicit_bzero_chk(void *at, size_t size, size_t room)
{
    if (!cheap || size < LONG_SIZE)
        __real___explicit_bzero_chk(at, size, room);
}

/* --- hashes --------------------------------------------------------------------------------- */

struct hash {
    uint64_t a, b, word; /* `word`: the bytes since the last whole one */
    uint64_t size;
};

static struct hash *hash_in(crypto_generichash_state *state)
{
    return (struct hash *)(void *)state;
}

static void hash_word(struct hash *hash, uint64_t word)
{
    hash->a = mix(hash->a, word);
    hash->b = mix(hash->b + word, hash->a);
}

static void hash_feed(struct hash *hash, const unsigned char *in, unsigned long long size)
{
    uint64_t word;

    for (; size > 0 && hash->size % sizeof(word) != 0; size--, in++) {
        hash->word |= (uint64_t)*in << hash->size % sizeof(word) * 8;
        if (++hash->size % sizeof(word) == 0)
            hash_word(hash, hash->word);
    }
    if (size == 0)
        return;
    for (; size >= sizeof(word); in += sizeof(word), size -= sizeof(word)) {
        memcpy(&word, in, sizeof(word));
        hash_word(hash, word);
        hash->size += sizeof(word);
    }
    hash->word = 0;
    memcpy(&hash->word, in, (size_t)size);
    hash->size += size;
}

static void hash_take(struct hash *hash, unsigned char *out, size_t out_size)
{
    if (hash->size % sizeof(hash->word) != 0)
        hash_word(hash, hash->word);
    hash_word(hash, hash->size);
    for (size_t at = 0; at < out_size; at += sizeof(hash->a)) {
        hash_word(hash, out_size);
        memcpy(out + at, &hash->a, MIN(out_size - at, sizeof(hash->a)));
    }
}

int __wrap_crypto_generichash_init(crypto_generichash_state *state, const unsigned char *key,
                                   size_t key_size, size_t out_size)
{
    struct hash *hash = hash_in(state);

    if (!cheap)
        return __real_crypto_generichash_init(state, key, key_size, out_size);
    *hash = (struct hash){.a = key_size, .b = out_size};
    hash_feed(hash, key, key_size);
    return 0;
}

int __wrap_crypto_generichash_update(crypto_generichash_state *state, const unsigned char *in,
                                     unsigned long long size)
{
    if (!cheap)
        return __real_crypto_generichash_update(state, in, size);
    hash_feed(hash_in(state), in, size);
    return 0;
}

int __wrap_crypto_generichash_final(crypto_generichash_state *state, unsigned char *out,
                                    size_t out_size)
{
    if (!cheap)
        return __real_crypto_generichash_final(state, out, out_size);
    hash_take(hash_in(state), out, out_size);
    return 0;
}

/* --- curves ---------------------------------------------------------------------------------- */

static uint64_t multiply(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    uint64_t sum = (uint64_t)(product & PRIME) + (uint64_t)(product >> 61);

    return sum >= PRIME ? sum - PRIME : sum;
}

static uint64_t power(uint64_t base, uint64_t exponent)
{
    uint64_t result = 1, square = base % PRIME;

    for (; exponent; exponent >>= 1, square = multiply(square, square))
        if (exponent & 1)
            result = multiply(result, square);
    return result;
}

/* The first eight bytes of a secret are its exponent, never 0. */
static uint64_t exponent_of(const unsigned char *secret)
{
    uint64_t exponent;

    memcpy(&exponent, secret, sizeof(exponent));
    return exponent % (PRIME - 1) + 1;
}

static void point_write(unsigned char *to, uint64_t value)
{
    memset(to, 0, crypto_scalarmult_BYTES);
    memcpy(to, &value, sizeof(value));
}

int __wrap_crypto_scalarmult_base(unsigned char *q, const unsigned char *n)
{
    if (!cheap)
        return __real_crypto_scalarmult_base(q, n);
    point_write(q, power(GENERATOR, exponent_of(n)));
    return 0;
}

int __wrap_crypto_scalarmult(unsigned char *q, const unsigned char *n, const unsigned char *p)
{
    uint64_t point;

    if (!cheap)
        return __real_crypto_scalarmult(q, n, p);
    memcpy(&point, p, sizeof(point));
    if (point % PRIME <= 1)
        return -1;
    point_write(q, power(point, exponent_of(n)));
    return 0;
}

/* Under a public key, or none. */
static void hash_of(unsigned char *out, size_t out_size, const unsigned char *m,
                    unsigned long long m_size, const unsigned char *key)
{
    struct hash hash = {.b = out_size};

    if (key)
        hash_feed(&hash, key, crypto_sign_PUBLICKEYBYTES);
    hash_feed(&hash, m, m_size);
    hash_take(&hash, out, out_size);
}

int __wrap_crypto_sign_seed_keypair(unsigned char *pk, unsigned char *sk, const unsigned char *seed)
{
    if (!cheap)
        return __real_crypto_sign_seed_keypair(pk, sk, seed);
    hash_of(pk, crypto_sign_PUBLICKEYBYTES, seed, crypto_sign_SEEDBYTES, NULL);
    memcpy(sk, seed, crypto_sign_SEEDBYTES);
    memcpy(sk + crypto_sign_SEEDBYTES, pk, crypto_sign_PUBLICKEYBYTES);
    return 0;
}

int __wrap_crypto_sign_detached(unsigned char *sig, unsigned long long *size,
                                const unsigned char *m, unsigned long long m_size,
                                const unsigned char *sk)
{
    if (!cheap)
        return __real_crypto_sign_detached(sig, size, m, m_size, sk);
    hash_of(sig, crypto_sign_BYTES, m, m_size, sk + crypto_sign_SEEDBYTES);
    if (size)
        *size = crypto_sign_BYTES;
    return 0;
}

int __wrap_crypto_sign_verify_detached(const unsigned char *sig, const unsigned char *m,
                                       unsigned long long m_size, const unsigned char *pk)
{
    unsigned char expected[crypto_sign_BYTES];

    if (!cheap)
        return __real_crypto_sign_verify_detached(sig, m, m_size, pk);
    hash_of(expected, sizeof(expected), m, m_size, pk);
    return sodium_memcmp(sig, expected, sizeof(expected));
}

/* --- AEAD: a stream of 64-bit words from key and nonce, and a tag over key, nonce, associated data
 * and text --- */

/* Long ones by two sums, of the words and of the sums so far: a changed, moved or missing byte
 * shows. */
static uint64_t absorb(uint64_t state, const unsigned char *at, unsigned long long size)
{
    uint64_t word, words[8], sums[8] = {0}, places[8] = {0};

    state = mix(state, size);
    if (size >= 8 * sizeof(words)) {
        for (; size >= sizeof(words); at += sizeof(words), size -= sizeof(words)) {
            memcpy(words, at, sizeof(words));
            for (size_t i = 0; i < COUNT_OF(words); i++) {
                sums[i] += words[i];
                places[i] += sums[i];
            }
        }
        for (size_t i = 0; i < COUNT_OF(words); i++)
            state = mix(mix(state, sums[i]), places[i]);
    }
    for (; size >= sizeof(word); at += sizeof(word), size -= sizeof(word)) {
        memcpy(&word, at, sizeof(word));
        state = mix(state, word);
    }
    word = 0;
    if (size > 0)
        memcpy(&word, at, (size_t)size);
    return mix(state, word);
}

static uint64_t stream_of(const unsigned char *k, const unsigned char *npub)
{
    return absorb(absorb(1, k, crypto_aead_chacha20poly1305_ietf_KEYBYTES), npub,
                  crypto_aead_chacha20poly1305_ietf_NPUBBYTES);
}

static void stream_apply(uint64_t state, unsigned char *to, const unsigned char *from,
                         unsigned long long size)
{
    uint64_t word;

    for (; size >= sizeof(word); to += sizeof(word), from += sizeof(word), size -= sizeof(word)) {
        state += 1442695040888963407u;
        memcpy(&word, from, sizeof(word));
        word ^= state;
        memcpy(to, &word, sizeof(word));
    }
    for (; size > 0; size--, state >>= 8)
        *to++ = *from++ ^ (unsigned char)(state >> 3);
}

static void tag_write(unsigned char *to, uint64_t stream, const unsigned char *c,
                      unsigned long long c_size, const unsigned char *ad,
                      unsigned long long ad_size)
{
    uint64_t tag[2];

    tag[0] = absorb(absorb(stream, ad, ad_size), c, c_size);
    tag[1] = mix(tag[0], stream);
    memcpy(to, tag, sizeof(tag));
}

int __wrap_crypto_aead_chacha20poly1305_ietf_encrypt(
    unsigned char *c, unsigned long long *c_size, const unsigned char *m, unsigned long long m_size,
    const unsigned char *ad, unsigned long long ad_size, const unsigned char *nsec,
    const unsigned char *npub, const unsigned char *k)
{
    uint64_t stream;

    if (!cheap)
        return __real_crypto_aead_chacha20poly1305_ietf_encrypt(c, c_size, m, m_size, ad, ad_size,
                                                                nsec, npub, k);
    stream = stream_of(k, npub);
    stream_apply(stream, c, m, m_size);
    tag_write(c + m_size, stream, c, m_size, ad, ad_size);
    if (c_size)
        *c_size = m_size + crypto_aead_chacha20poly1305_ietf_ABYTES;
    return 0;
}

int __wrap_crypto_aead_chacha20poly1305_ietf_decrypt(
    unsigned char *m, unsigned long long *m_size, unsigned char *nsec, const unsigned char *c,
    unsigned long long c_size, const unsigned char *ad, unsigned long long ad_size,
    const unsigned char *npub, const unsigned char *k)
{
    unsigned char tag[crypto_aead_chacha20poly1305_ietf_ABYTES];
    uint64_t stream = stream_of(k, npub);

    if (!cheap)
        return __real_crypto_aead_chacha20poly1305_ietf_decrypt(m, m_size, nsec, c, c_size, ad,
                                                                ad_size, npub, k);
    if (c_size < sizeof(tag))
        return -1;
    c_size -= sizeof(tag);
    tag_write(tag, stream, c, c_size, ad, ad_size);
    if (sodium_memcmp(tag, c + c_size, sizeof(tag)) != 0)
        return -1;
    stream_apply(stream, m, c, c_size);
    if (m_size)
        *m_size = c_size;
    return 0;
}
/* NOLINTEND(bugprone-reserved-identifier) */
