/* SPDX-License-Identifier: Apache-2.0 */
/* Detached signatures, and the salt of a master passphrase. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/sign.h"
#include "trust/keydoc.h"
#include "trust/sigdoc.h"

static const struct secret seed = {{7}};
static const uint8_t hash[FILE_HASH_SIZE] = {1, 2, 3};

static int parse(struct bytes text, struct sigdoc *ret)
{
    uint8_t *copy = exact_copy(text);
    int r = sigdoc_parse(bytes_of(copy, text.size), ret, NULL);

    free(copy);
    return r;
}

static void sign_it(struct buffer *text)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;

    assert_int_equal(identity_new("backend", &seed, 0, &identity), 0);
    assert_int_equal(sigdoc_write(identity, bytes_text("aico"), 1795204800000, 1234, hash, text),
                     0);
}

static void a_signature_goes_round(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct sigdoc doc;
    uint8_t public[SIGN_PUBLIC_SIZE];

    sign_it(&text);
    assert_int_equal(parse(buffer_view(&text), &doc), 0);
    sign_public(&seed, public);
    assert_memory_equal(doc.public, public, sizeof(public));
    assert_memory_equal(doc.hash, hash, sizeof(hash));
    assert_string_equal(doc.name, "backend");
    assert_string_equal(doc.namespace, "aico");
    assert_int_equal(doc.size, 1234);
    assert_int_equal(doc.created_ms, 1795204800000);
}

static void every_flipped_bit_and_every_cut_is_refused(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct sigdoc doc;

    sign_it(&text);
    for (size_t bit = 0; bit < 8 * text.size; bit++) {
        int r;

        text.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = parse(buffer_view(&text), &doc);
        text.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (r != AICO_ESIGNATURE && r != AICO_ESIGNATUREFILE)
            fail_msg("bit %zu: %s", bit, aico_error_name(r));
    }
    for (size_t size = 0; size < text.size; size++)
        assert_int_equal(parse(bytes_of(text.at, size), &doc), AICO_ESIGNATUREFILE);
    assert_int_equal(buffer_append_text(&text, "x\n"), 0);
    assert_int_equal(parse(buffer_view(&text), &doc), AICO_ESIGNATUREFILE);
}

/* Nothing made for another purpose verifies as the signature of a file. */
static void a_signature_of_another_label_does_not_verify(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t signature[SIGNATURE_SIZE];
    struct sigdoc doc;
    size_t signed_size;

    sign_it(&text);
    signed_size = text.size - (sizeof("signature \n") - 1) - 2 * sizeof(signature);
    assert_int_equal(
        sign_make(&seed, "public", bytes_of(text.at, signed_size), bytes_of(NULL, 0), signature),
        0);
    for (size_t i = 0; i < sizeof(signature); i++)
        (void)snprintf((char *)text.at + signed_size + 10 + 2 * i, 3, "%02x", signature[i]);
    text.at[text.size - 1] = '\n';
    assert_int_equal(parse(buffer_view(&text), &doc), AICO_ESIGNATURE);
}

static void a_namespace_with_a_blank_is_not_signed(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};

    assert_int_equal(identity_new("backend", &seed, 0, &identity), 0);
    assert_int_equal(sigdoc_write(identity, bytes_text("a b"), 1, 1, hash, &text), AICO_EINVAL);
    assert_int_equal(sigdoc_write(identity, bytes_text(""), 1, 1, hash, &text), AICO_EINVAL);
    assert_int_equal(sigdoc_write(identity, bytes_text("a"), -1, 1, hash, &text), AICO_EINVAL);
}

static const struct masterdoc weak = {KEYDOC_OPS_FLOOR, KEYDOC_MEM_FLOOR, {1, 2}, {0}};

static void the_salt_goes_round_and_tells_a_slip(void **state UNUSED)
{
    CLEANUP(secret_wipe)
    struct secret master = {0}, again = {0};
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct masterdoc doc = weak, read;
    uint8_t verifier[16];

    assert_int_equal(master_open(&doc, bytes_text("pass word"), &master, doc.verifier), 0);
    assert_int_equal(masterdoc_write(&doc, &text), 0);
    assert_int_equal(masterdoc_parse(buffer_view(&text), &read, NULL), 0);
    assert_memory_equal(&read, &doc, sizeof(doc));
    assert_int_equal(master_open(&read, bytes_text("pass word"), &again, verifier), 0);
    assert_memory_equal(again.at, master.at, sizeof(master.at));
    assert_memory_equal(verifier, read.verifier, sizeof(verifier));
    assert_int_equal(master_open(&read, bytes_text("pass wore"), &again, verifier), 0);
    assert_memory_not_equal(verifier, read.verifier, sizeof(verifier));
}

static void a_salt_file_of_another_form_or_too_weak_is_refused(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0}, bad = {0};
    struct masterdoc doc = weak, read;

    assert_int_equal(masterdoc_write(&doc, &text), 0);
    for (size_t size = 0; size < text.size; size++) {
        uint8_t *copy = exact_copy(bytes_of(text.at, size));

        assert_int_equal(masterdoc_parse(bytes_of(copy, size), &read, NULL), AICO_EMASTERFILE);
        free(copy);
    }
    doc.ops = KEYDOC_OPS_FLOOR - 1;
    assert_int_equal(masterdoc_write(&doc, &bad), 0);
    assert_int_equal(masterdoc_parse(buffer_view(&bad), &read, NULL), AICO_EMASTERFILE);
}

static int load(void **state UNUSED)
{
    return crypto_start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signature_goes_round),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_refused),
        cmocka_unit_test(a_signature_of_another_label_does_not_verify),
        cmocka_unit_test(a_namespace_with_a_blank_is_not_signed),
        cmocka_unit_test(the_salt_goes_round_and_tells_a_slip),
        cmocka_unit_test(a_salt_file_of_another_form_or_too_weak_is_refused),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
