/* SPDX-License-Identifier: Apache-2.0 */
/* Every primitive against tests/vectors/session-v1.json. */
#include <stdlib.h>

#include <sodium.h>

#include "vectors.h"

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/writer.h"
#include "crypto/aead.h"
#include "crypto/dh.h"
#include "crypto/identity.h"
#include "crypto/kdf.h"
#include "crypto/kx.h"
#include "crypto/random.h"
#include "crypto/sign.h"

static json_t *vectors;

static struct secret secret_at(json_t *from, const char *path)
{
    struct secret secret;

    vectors_hex_into(from, path, secret.at, SECRET_SIZE);
    return secret;
}

static void assert_hex(const void *at, size_t size, json_t *from, const char *path)
{
    struct bytes expected = vectors_hex(from, path);

    assert_int_equal(size, expected.size);
    assert_memory_equal(at, expected.at, size);
    free((void *)(uintptr_t)expected.at);
}

static void a_hash_is_blake2b(void **state)
{
    json_t *at;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(vectors, "primitives.H"), i, at)
    {
        struct bytes x = vectors_hex(at, "x");
        uint8_t out[HASH_SIZE];

        hash_n(x, out, sizeof(out));
        assert_hex(out, sizeof(out), at, "out");
        free((void *)(uintptr_t)x.at);
    }
}

static void kdf_binds_its_label(void **state)
{
    json_t *at;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(vectors, "primitives.KDF"), i, at)
    {
        struct secret k = secret_at(at, "k"), out;
        struct bytes x = vectors_hex(at, "x");

        kdf(&k, vectors_text(at, "label"), x, &out);
        assert_hex(out.at, SECRET_SIZE, at, "out");
        for (size_t cut = 0; cut <= x.size; cut++) {
            kdf2(&k, vectors_text(at, "label"), bytes_of(x.at, cut),
                 bytes_of(x.at + cut, x.size - cut), &out);
            assert_hex(out.at, SECRET_SIZE, at, "out");
        }
        kdf(&k, vectors_text(at, "label"), x, &k); /* may replace its own key */
        assert_hex(k.at, SECRET_SIZE, at, "out");
        free((void *)(uintptr_t)x.at);
    }
}

static void a_mac_verifies_and_nothing_else_does(void **state)
{
    struct secret k = secret_at(vectors, "primitives.MAC.k");
    struct bytes x = vectors_hex(vectors, "primitives.MAC.x");
    uint8_t out[HASH_SIZE];

    (void)state;
    mac(&k, x, out);
    assert_hex(out, sizeof(out), vectors, "primitives.MAC.out");
    assert_true(mac_verify(&k, x, out));
    for (size_t bit = 0; bit < 8 * sizeof(out); bit++) {
        out[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(mac_verify(&k, x, out));
        out[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free((void *)(uintptr_t)x.at);
}

static void vector_bytes(void *context, void *to, size_t size)
{
    (void)context;
    vectors_hex_into(vectors, "primitives.fresh.random", to, size);
}

static void vector_times(void *context, uint64_t *real_ns, uint64_t *boot_ns, uint64_t *pid)
{
    (void)context;
    *real_ns = (uint64_t)vectors_int(vectors, "primitives.fresh.real_ns");
    *boot_ns = (uint64_t)vectors_int(vectors, "primitives.fresh.boot_ns");
    *pid = (uint64_t)vectors_int(vectors, "primitives.fresh.pid");
}

static const struct random_source constant_source = {vector_bytes, vector_times, NULL};

static void fresh_is_as_specified(void **state)
{
    struct secret seed = secret_at(vectors, "primitives.fresh.seed"), out;
    CLEANUP(hedge_wipe)
    struct hedge hedge;

    (void)state;
    hedge_init(&hedge, &seed, constant_source);
    hedge.counter = (uint64_t)vectors_int(vectors, "primitives.fresh.count");
    fresh(&hedge, vectors_text(vectors, "primitives.fresh.purpose"), &out);
    assert_hex(out.at, SECRET_SIZE, vectors, "primitives.fresh.out");
}

/* PROTOCOL 14 row 65, as far as it concerns the generator itself. */
static void a_constant_generator_still_gives_different_secrets(void **state)
{
    struct secret seed = secret_at(vectors, "primitives.fresh.seed"), out[3], other;
    CLEANUP(hedge_wipe)
    struct hedge hedge, hedge_of_other;

    (void)state;
    hedge_init(&hedge, &seed, constant_source);
    fresh(&hedge, "ephemeral", &out[0]);
    fresh(&hedge, "ephemeral", &out[1]);
    fresh(&hedge, "challenge", &out[2]);
    seed.at[0] ^= 1;
    hedge_init(&hedge_of_other, &seed, constant_source);
    fresh(&hedge_of_other, "ephemeral", &other);
    assert_memory_not_equal(out[0].at, out[1].at, SECRET_SIZE);
    assert_memory_not_equal(out[0].at, out[2].at, SECRET_SIZE);
    assert_memory_not_equal(out[0].at, other.at, SECRET_SIZE);
}

static void an_identity_is_derived_from_its_seed(void **state)
{
    json_t *at;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(vectors, "identity"), i, at)
    {
        struct secret seed = secret_at(at, "seed");
        CLEANUP(identity_free)
        struct identity *first = NULL, *second = NULL;
        char fingerprint[FINGERPRINT_TEXT_SIZE];

        assert_int_equal(identity_new(vectors_text(at, "name"), &seed, 0, &first), 0);
        assert_int_equal(identity_new(vectors_text(at, "name"), &seed, 1, &second), 0);
        assert_string_equal(first->name, vectors_text(at, "name"));
        assert_hex(first->public, SIGN_PUBLIC_SIZE, at, "ed25519");
        assert_hex(first->storage.at, SECRET_SIZE, at, "storage");
        assert_hex(first->transport_secret.at, SECRET_SIZE, at, "transport_secret_0");
        assert_hex(first->transport_public, DH_PUBLIC_SIZE, at, "transport_public_0");
        assert_hex(second->transport_secret.at, SECRET_SIZE, at, "transport_secret_1");
        fingerprint_write(first->public, fingerprint);
        assert_string_equal(fingerprint, vectors_text(at, "fingerprint"));
    }
}

/* PROTOCOL 14 row 64: whoever holds the transport key holds nothing of the identity. */
static void the_transport_key_is_not_the_signing_scalar(void **state)
{
    json_t *at;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(vectors, "identity"), i, at)
    {
        struct secret seed = secret_at(at, "seed"), transport, scalar;
        uint8_t public[SIGN_PUBLIC_SIZE], sign_key[crypto_sign_SECRETKEYBYTES];

        transport = secret_at(at, "transport_secret_0");
        transport.at[0] &= 248; /* as X25519 uses it */
        transport.at[31] = (uint8_t)((transport.at[31] & 127) | 64);
        assert_int_equal(crypto_sign_seed_keypair(public, sign_key, seed.at), 0);
        assert_int_equal(crypto_sign_ed25519_sk_to_curve25519(scalar.at, sign_key), 0);
        assert_memory_not_equal(transport.at, scalar.at, SECRET_SIZE);
        assert_memory_not_equal(transport.at, seed.at, SECRET_SIZE);
    }
}

static void a_name_has_only_the_characters_of_names(void **state)
{
    static const char *const good[] = {"a", "backend", "0", "a.b_c-d", "owner"};
    static const char *const bad[] = {"", "-a", ".a", "_a", "A", "a b", "$bus", "a/b", "a\n", "ü"};
    char longest[COMPONENT_NAME_MAX + 2];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        assert_true(component_name_is_valid(bytes_text(good[i])));
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_false(component_name_is_valid(bytes_text(bad[i])));
    memset(longest, 'a', sizeof(longest));
    assert_true(component_name_is_valid(bytes_of(longest, COMPONENT_NAME_MAX)));
    assert_false(component_name_is_valid(bytes_of(longest, COMPONENT_NAME_MAX + 1)));
}

static void a_master_passphrase_gives_every_component_its_seed(void **state)
{
    const char *passphrase = vectors_text(vectors, "master.passphrase"), *name;
    struct secret master, seed;
    uint8_t salt[16];
    json_t *expected;

    (void)state;
    vectors_hex_into(vectors, "master.salt", salt, sizeof(salt));
    assert_int_equal(passphrase_key(bytes_text(passphrase), salt,
                                    (uint64_t)vectors_int(vectors, "master.ops"),
                                    (uint64_t)vectors_int(vectors, "master.mem"), &master),
                     0);
    assert_hex(master.at, SECRET_SIZE, vectors, "master.master");
    json_object_foreach(vectors_at(vectors, "master.component"), name, expected)
    {
        char hex[2 * SECRET_SIZE + 1];

        master_component_seed(&master, name, &seed);
        hex_write(secret_view(&seed), hex);
        assert_string_equal(hex, json_string_value(expected));
    }
    assert_int_equal(passphrase_key(bytes_text(passphrase), salt, 0, 8388608, &seed), AICO_EINVAL);
    assert_int_equal(passphrase_key(bytes_text(passphrase), salt, 1, 1, &seed), AICO_EINVAL);
}

static void sealing_is_xchacha20_poly1305(void **state)
{
    struct secret key = secret_at(vectors, "cached_subkey.key");
    struct bytes ad = vectors_hex(vectors, "cached_subkey.ad");
    struct bytes m = vectors_hex(vectors, "cached_subkey.m");
    uint8_t nonce[AEAD_NONCE_SIZE], sealed[64], plain[64];
    struct aead_key prepared;
    size_t size = m.size + AEAD_TAG_SIZE;

    (void)state;
    vectors_hex_into(vectors, "cached_subkey.nonce", nonce, sizeof(nonce));
    aead_seal(&key, nonce, ad, bytes_of(NULL, 0), m, sealed);
    assert_hex(sealed, size, vectors, "cached_subkey.out");
    aead_key_init(&prepared, &key, nonce);
    assert_hex(prepared.subkey.at, SECRET_SIZE, vectors, "cached_subkey.subkey");
    memset(sealed, 0, sizeof(sealed));
    aead_key_seal(&prepared, nonce + 16, bytes_of(ad.at, 1), bytes_of(ad.at + 1, ad.size - 1), m,
                  sealed);
    assert_hex(sealed, size, vectors, "cached_subkey.out");
    assert_int_equal(aead_open(&key, nonce, ad, bytes_of(NULL, 0), bytes_of(sealed, size), plain),
                     0);
    assert_memory_equal(plain, m.at, m.size);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_equal(
            aead_open(&key, nonce, ad, bytes_of(NULL, 0), bytes_of(sealed, cut), plain),
            AICO_EOPEN);
    aead_key_wipe(&prepared);
    free((void *)(uintptr_t)ad.at);
    free((void *)(uintptr_t)m.at);
}

static void the_static_agreement_of_format_0_is_crypto_kx(void **state)
{
    struct secret client = secret_at(vectors, "format0.static_kx.client_seed");
    struct secret server = secret_at(vectors, "format0.static_kx.server_seed"), rx, tx;
    uint8_t client_public[SIGN_PUBLIC_SIZE], server_public[SIGN_PUBLIC_SIZE];
    uint8_t low_order[SIGN_PUBLIC_SIZE] = {1};

    (void)state;
    sign_public(&client, client_public);
    sign_public(&server, server_public);
    assert_int_equal(kx_static(&client, server_public, true, &rx, &tx), 0);
    assert_hex(rx.at, SECRET_SIZE, vectors, "format0.static_kx.client_rx");
    assert_hex(tx.at, SECRET_SIZE, vectors, "format0.static_kx.client_tx");
    assert_int_equal(kx_static(&server, client_public, false, &rx, &tx), 0);
    assert_hex(tx.at, SECRET_SIZE, vectors, "format0.static_kx.client_rx");
    assert_hex(rx.at, SECRET_SIZE, vectors, "format0.static_kx.client_tx");
    assert_int_equal(kx_static(&client, low_order, true, &rx, &tx), AICO_EDH);
}

static int load(void **state)
{
    (void)state;
    vectors = vectors_load("session-v1.json");
    return crypto_start();
}

static int unload(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hash_is_blake2b),
        cmocka_unit_test(kdf_binds_its_label),
        cmocka_unit_test(a_mac_verifies_and_nothing_else_does),
        cmocka_unit_test(fresh_is_as_specified),
        cmocka_unit_test(a_constant_generator_still_gives_different_secrets),
        cmocka_unit_test(an_identity_is_derived_from_its_seed),
        cmocka_unit_test(the_transport_key_is_not_the_signing_scalar),
        cmocka_unit_test(a_name_has_only_the_characters_of_names),
        cmocka_unit_test(a_master_passphrase_gives_every_component_its_seed),
        cmocka_unit_test(sealing_is_xchacha20_poly1305),
        cmocka_unit_test(the_static_agreement_of_format_0_is_crypto_kx),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
