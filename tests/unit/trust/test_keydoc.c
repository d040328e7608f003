/* SPDX-License-Identifier: Apache-2.0 */
/* Key files and public identity files as text, against the vectors. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "trust/keydoc.h"

static json_t *vectors;

static int open_text(struct bytes text, const char *passphrase, struct identity **ret)
{
    uint8_t *copy = exact_copy(text);
    int r = keydoc_open(bytes_of(copy, text.size), bytes_text(passphrase), false, ret, NULL);

    free(copy);
    return r;
}

static void the_plain_vector_opens_and_is_written_again(void **state UNUSED)
{
    const char *text = vectors_text(vectors, "keyfile.plain");
    CLEANUP(buffer_deinit)
    struct buffer again = {0};
    struct identity *identity = NULL;

    assert_int_equal(open_text(bytes_text(text), "", &identity), 0);
    assert_string_equal(identity->name, "backend");
    assert_int_equal(keydoc_write("backend", &identity->seed, 0, 1795204800000, bytes_of(NULL, 0),
                                  0, 0, NULL, NULL, &again),
                     0);
    assert_true(bytes_equal_text(buffer_view(&again), text));
    identity_free(&identity);
}

static void the_protected_vector_needs_its_passphrase(void **state UNUSED)
{
    struct bytes text = bytes_text(vectors_text(vectors, "keyfile.encrypted"));
    struct identity *identity = NULL;

    assert_int_equal(open_text(text, "", &identity), AICO_EPASSPHRASE);
    assert_int_equal(open_text(text, "pass wore", &identity), AICO_EPASSPHRASE);
    assert_int_equal(open_text(text, vectors_text(vectors, "keyfile.passphrase"), &identity), 0);
    assert_string_equal(identity->name, "backend");
    identity_free(&identity);
    assert_int_equal(keydoc_open(text, bytes_text("pass word"), true, &identity, NULL),
                     AICO_EKEYFILE); /* 8 MiB is below the floor */
}

static void a_foreign_public_key_is_named(void **state UNUSED)
{
    struct identity *identity = NULL;

    assert_int_equal(
        open_text(bytes_text(vectors_text(vectors, "keyfile.mismatch")), "", &identity),
        AICO_EKEYFILEMISMATCH);
    assert_null(identity);
}

static void every_flipped_bit_is_damage(void **state UNUSED)
{
    struct bytes text = bytes_text(vectors_text(vectors, "keyfile.plain"));
    uint8_t *copy = exact_copy(text);

    for (size_t bit = 0; bit < 8 * text.size; bit++) {
        struct identity *identity = NULL;
        int r;

        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = keydoc_open(bytes_of(copy, text.size), bytes_of(NULL, 0), false, &identity, NULL);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (r != (bit < 80 ? AICO_EKEYFILE : AICO_EKEYFILEDAMAGED))
            fail_msg("bit %zu: %s", bit, aico_error_name(r));
    }
    for (size_t size = 0; size < text.size; size++) {
        struct identity *identity = NULL;

        assert_true(open_text(bytes_of(text.at, size), "", &identity) < 0);
    }
    free(copy);
}

static void a_protected_key_goes_round(void **state UNUSED)
{
    const uint8_t salt[16] = {1}, nonce[24] = {2};
    const struct secret seed = {{3}};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct identity *identity = NULL;
    struct keydoc doc;

    assert_int_equal(keydoc_write("cli", &seed, 4, 0, bytes_text("correct horse"), 1, 8192 * 1024,
                                  salt, nonce, &text),
                     0);
    assert_int_equal(keydoc_inspect(buffer_view(&text), &doc, NULL), 0);
    assert_true(doc.is_protected);
    assert_int_equal(doc.transport_number, 4);
    assert_string_equal(doc.created, "1970-01-01T00:00:00Z");
    assert_int_equal(open_text(buffer_view(&text), "correct horse", &identity), 0);
    assert_memory_equal(identity->seed.at, seed.at, sizeof(seed.at));
    identity_free(&identity);
    assert_int_equal(keydoc_write("No", &seed, 0, 0, bytes_of(NULL, 0), 0, 0, NULL, NULL, &text),
                     AICO_EINVAL);
}

static void the_public_vector_parses_and_is_written_again(void **state UNUSED)
{
    const char *text = vectors_text(vectors, "registry.public_file_backend");
    CLEANUP(buffer_deinit)
    struct buffer again = {0};
    struct identity *identity = NULL;
    struct publicdoc doc;
    char *forged;

    assert_int_equal(publicdoc_parse(bytes_text(text), &doc, NULL), 0);
    assert_string_equal(doc.name, "backend");
    assert_int_equal(open_text(bytes_text(vectors_text(vectors, "keyfile.plain")), "", &identity),
                     0);
    assert_int_equal(publicdoc_write(identity, &again), 0);
    assert_true(bytes_equal_text(buffer_view(&again), text));
    identity_free(&identity);

    forged = strdup(text);
    *strstr(forged, "backend") = 'c';
    assert_int_equal(publicdoc_parse(bytes_text(forged), &doc, NULL), AICO_ESIGNATURE);
    free(forged);
    for (size_t size = 0; size < strlen(text); size++)
        assert_true(publicdoc_parse(bytes_of(text, size), &doc, NULL) < 0);
}

static int load(void **state UNUSED)
{
    vectors = vectors_load("session-v1.json");
    return crypto_start();
}

static int unload(void **state UNUSED)
{
    json_decref(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_plain_vector_opens_and_is_written_again),
        cmocka_unit_test(the_protected_vector_needs_its_passphrase),
        cmocka_unit_test(a_foreign_public_key_is_named),
        cmocka_unit_test(every_flipped_bit_is_damage),
        cmocka_unit_test(a_protected_key_goes_round),
        cmocka_unit_test(the_public_vector_parses_and_is_written_again),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
