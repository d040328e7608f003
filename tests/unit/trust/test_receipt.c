/* SPDX-License-Identifier: Apache-2.0 */
/* What readers sign when they have taken a message. */
#include "vectors.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/sign.h"
#include "trust/receipt.h"

static const struct secret seed = {{7}}, other_seed = {{8}};

static int parse(struct bytes text, struct receipt *ret)
{
    uint8_t *copy = exact_copy(text);
    int r = receipt_parse(bytes_of(copy, text.size), ret, NULL);

    free(copy);
    return r;
}

static struct receipt make(void)
{
    struct receipt receipt = {.namespace = "aico",
                              .sender = "cli",
                              .receiver = "backend",
                              .topic = "a b/100%/c",
                              .run = 0xfedcba9876543210,
                              .number = 7,
                              .taken_ms = 1763668800123,
                              .size = 5};
    CLEANUP(identity_free)
    struct identity *identity = NULL;

    assert_int_equal(identity_new("backend", &seed, 0, &identity), 0);
    sign_public(&other_seed, receipt.sender_public);
    memcpy(receipt.receiver_public, identity->public, SIGN_PUBLIC_SIZE);
    receipt_hash(bytes_text("hello"), receipt.hash);
    assert_int_equal(receipt_sign(&receipt, identity), 0);
    return receipt;
}

static void a_receipt_goes_round(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct receipt receipt = make(), again;

    assert_int_equal(receipt_write(&receipt, &text), 0);
    assert_int_equal(parse(buffer_view(&text), &again), 0);
    assert_memory_equal(&receipt, &again, sizeof(again));
    assert_true(text.size <= RECEIPT_TEXT_MAX);
}

static void every_flipped_bit_and_every_cut_is_refused(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct receipt receipt = make(), again;

    assert_int_equal(receipt_write(&receipt, &text), 0);
    for (size_t bit = 0; bit < 8 * text.size; bit++) {
        int r;

        text.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        r = parse(buffer_view(&text), &again);
        text.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (r != AICO_ESIGNATURE && r != AICO_ERECEIPT)
            fail_msg("bit %zu: %s", bit, aico_error_name(r));
    }
    for (size_t size = 0; size < text.size; size++)
        assert_int_equal(parse(bytes_of(text.at, size), &again), AICO_ERECEIPT);
}

static void another_key_another_message_and_another_label_do_not_fit(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *other = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct receipt good = make(), bad = good;

    assert_int_equal(identity_new("thief", &other_seed, 0, &other), 0);
    assert_int_equal(receipt_sign(&bad, other), AICO_EINVAL);
    memcpy(bad.receiver_public, other->public, SIGN_PUBLIC_SIZE);
    assert_int_equal(receipt_verify(&bad), AICO_ESIGNATURE);
    bad = good;
    bad.number++;
    assert_int_equal(receipt_verify(&bad), AICO_ESIGNATURE);
    bad = good;
    bad.taken_ms++;
    assert_int_equal(receipt_verify(&bad), AICO_ESIGNATURE);
    bad = good;
    bad.topic[0] = 'b';
    assert_int_equal(receipt_verify(&bad), AICO_ESIGNATURE);
    bad = good; /* a signed file is no receipt, whatever its text */
    assert_int_equal(receipt_write(&good, &text), 0);
    text.size -= sizeof("signature ") + 2 * SIGNATURE_SIZE;
    assert_int_equal(sign_make(&seed, "file", buffer_view(&text), bytes_of(NULL, 0), bad.signature),
                     0);
    assert_int_equal(receipt_verify(&bad), AICO_ESIGNATURE);
    assert_int_equal(
        sign_make(&seed, "receipt", buffer_view(&text), bytes_of(NULL, 0), bad.signature), 0);
    assert_int_equal(receipt_verify(&bad), 0);
}

/* tests/vectors/receipt-v1.json was made by tests/interop/aico_peer. */
static void another_implementation_writes_the_same(void **state UNUSED)
{
    json_t *v = vectors_load("receipt-v1.json");
    const char *document = vectors_text(v, "document");
    struct secret sender = {{0}}, receiver = {{0}};
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct receipt receipt = {.number = (uint64_t)vectors_int(v, "number"),
                              .taken_ms = vectors_int(v, "taken_ms")};

    vectors_hex_into(v, "sender_seed", sender.at, SECRET_SIZE);
    vectors_hex_into(v, "receiver_seed", receiver.at, SECRET_SIZE);
    receipt.run = strtoull(vectors_text(v, "run"), NULL, 16);
    receipt.size = strlen(vectors_text(v, "payload"));
    bytes_copy(receipt.namespace, bytes_text(vectors_text(v, "namespace")));
    bytes_copy(receipt.sender, bytes_text(vectors_text(v, "sender")));
    bytes_copy(receipt.receiver, bytes_text(vectors_text(v, "receiver")));
    bytes_copy(receipt.topic, bytes_text(vectors_text(v, "topic")));
    sign_public(&sender, receipt.sender_public);
    sign_public(&receiver, receipt.receiver_public);
    receipt_hash(bytes_text(vectors_text(v, "payload")), receipt.hash);
    assert_int_equal(identity_new(receipt.receiver, &receiver, 0, &identity), 0);
    assert_int_equal(receipt_sign(&receipt, identity), 0);
    assert_int_equal(receipt_write(&receipt, &text), 0);
    assert_true(bytes_equal_text(buffer_view(&text), document));
    assert_int_equal(parse(bytes_text(document), &receipt), 0);
    json_decref(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_receipt_goes_round),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_refused),
        cmocka_unit_test(another_implementation_writes_the_same),
        cmocka_unit_test(another_key_another_message_and_another_label_do_not_fit),
    };

    return crypto_start() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
