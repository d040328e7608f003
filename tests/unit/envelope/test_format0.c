/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Format 0: the seed's envelopes, its nonces, and its metadata, whose one spelling is written and
 * checked. Random metadata comes from a seed that is printed; AICO_TEST_SEED repeats it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "random_metadata.h"
#include "vectors.h"

#include "base/cleanup.h"
#include "crypto/kx.h"
#include "envelope/format0.h"
#include "envelope/metadata.h"

#define ROUNDS 10000
#define CONTENT_MAX 65536

static json_t *session, *seed_vectors;
static uint64_t seed = 20261120;

static void release(struct bytes bytes)
{
    free((void *)(uintptr_t)bytes.at);
}

/* Opens @message and seals the same again: both as in the vector. */
static void both_ways(const struct secret *key, json_t *at, const char *message_key,
                      const char *metadata_key)
{
    struct bytes wire = vectors_hex(at, message_key), plaintext = vectors_hex(at, "plaintext");
    struct bytes metadata = bytes_text(vectors_text(at, metadata_key)), payload;
    struct envelope e;
    uint8_t nonce[ENVELOPE_NONCE_SIZE], *plain, *sealed = malloc(wire.size);
    struct writer w = writer_over(sealed, wire.size);

    assert_int_equal(envelope_parse(wire, &e), 0);
    assert_int_equal(e.format, ENVELOPE_FORMAT_SEED);
    assert_true(bytes_equal(e.metadata, metadata));
    plain = malloc(e.sealed.size - AEAD_TAG_SIZE + 1);
    assert_int_equal(format0_open(&e, key, plain, &payload), 0);
    assert_true(bytes_equal(payload, plaintext));
    assert_int_equal(metadata_check(e.metadata), 0);

    vectors_hex_into(at, "nonce", nonce, sizeof(nonce));
    assert_int_equal(format0_sealed_size(metadata.size, plaintext.size), wire.size);
    assert_int_equal(format0_seal(key, nonce, metadata, plaintext, CONTENT_MAX, &w), 0);
    assert_true(bytes_equal(writer_view(&w), wire));
    assert_int_equal(format0_seal(key, nonce, metadata, plaintext, CONTENT_MAX, &w), AICO_ESIZE);
    free(plain);
    free(sealed);
    release(wire);
    release(plaintext);
}

static void the_seeds_own_envelopes_open_and_are_sealed_alike(void **state)
{
    json_t *at;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(seed_vectors, "cases"), i, at)
    {
        struct secret key;

        vectors_hex_into(at, "key", key.at, SECRET_SIZE);
        both_ways(&key, at, "message", "metadata_bytes");
    }
}

static void the_vectors_of_format_0_hold_both_ways(void **state)
{
    struct secret key;
    json_t *at;
    size_t i;

    (void)state;
    vectors_hex_into(session, "format0.key", key.at, SECRET_SIZE);
    json_array_foreach(vectors_at(session, "format0.cases"), i, at)
        both_ways(&key, at, "envelope", "metadata");
}

/* PROTOCOL 14 row 29 for format 0. */
static void envelope_every_bit(void **state)
{
    struct secret key;
    struct bytes wire = vectors_hex(session, "format0.cases.1.envelope"), payload;
    uint8_t *copy = exact_copy(wire), plain[200];
    struct envelope e;

    (void)state;
    vectors_hex_into(session, "format0.key", key.at, SECRET_SIZE);
    for (size_t bit = 0; bit < 8 * wire.size; bit++) {
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (envelope_parse(bytes_of(copy, wire.size), &e) == 0)
            assert_true(format0_open(&e, &key, plain, &payload) < 0);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(copy);
    release(wire);
}

static void metadata_that_is_not_canonical_is_never_sealed(void **state)
{
    struct secret key = {{1}};
    uint8_t nonce[ENVELOPE_NONCE_SIZE] = {0}, to[600];
    struct writer w = writer_over(to, sizeof(to));
    json_t *at;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(session, "format0.never_emit"), i, at)
    {
        struct bytes text = {(const uint8_t *)json_string_value(at), json_string_length(at)};

        assert_int_equal(metadata_check(text), AICO_EMETADATA);
        assert_int_equal(format0_seal(&key, nonce, text, bytes_text("x"), CONTENT_MAX, &w),
                         AICO_EMETADATA);
    }
    assert_int_equal(w.size, 0);
    assert_int_equal(format0_seal(&key, nonce, bytes_text("{}"), bytes_text("abc"), 2, &w),
                     AICO_ETOOLARGE);
}

static void metadata_of_65535_bytes_is_the_largest(void **state)
{
    size_t size = METADATA_SIZE_MAX + 1;
    uint8_t *metadata = malloc(size), *wire = malloc(ENVELOPE_OVERHEAD + size), plain[1];
    uint8_t nonce[ENVELOPE_NONCE_SIZE] = {1};
    struct writer w = writer_over(wire, ENVELOPE_OVERHEAD + size);
    struct secret key = {{1}};
    struct envelope e;
    struct bytes payload;

    (void)state;
    memset(metadata, 'x', size);
    memcpy(metadata, "{\"k\": \"", 7);
    memcpy(metadata + size - 2, "\"}", 2);
    assert_int_equal(
        format0_seal(&key, nonce, bytes_of(metadata, size), bytes_of(NULL, 0), CONTENT_MAX, &w),
        AICO_EMETADATA);
    memcpy(metadata + size - 3, "\"}", 2);
    assert_int_equal(
        format0_seal(&key, nonce, bytes_of(metadata, size - 1), bytes_of(NULL, 0), CONTENT_MAX, &w),
        0);
    assert_int_equal(envelope_parse(writer_view(&w), &e), 0);
    assert_int_equal(format0_open(&e, &key, plain, &payload), 0);
    assert_int_equal(payload.size, 0);
    /* One byte more of metadata, and enough bytes to hold it. */
    memcpy(wire + 33, "\1\0\0", 3);
    memset(wire + w.size, 0, 1);
    assert_int_equal(envelope_parse(bytes_of(wire, w.size + 1), &e), AICO_ESIZE);
    free(metadata);
    free(wire);
}

/* Checks an exact-size heap copy, so that ASan sees a read past its end. */
static int check_text(const char *text)
{
    uint8_t *copy = exact_copy(bytes_text(text));
    int r = metadata_check(bytes_of(copy, strlen(text)));

    free(copy);
    return r;
}

static int parse_text(const char *text, struct metadata_facts *facts)
{
    uint8_t *copy = exact_copy(bytes_text(text));
    int r = metadata_parse(bytes_of(copy, strlen(text)), facts);

    free(copy);
    return r;
}

static void only_the_spelling_python_returns_unchanged_is_canonical(void **state)
{
    static const char *const good[] = {
        "{}",
        "{\"a\": 1}",
        "{\"a\": -1, \"b\": 0, \"c\": 0.0, \"d\": -0.5, \"e\": 0.0001, \"f\": 100000000000000.0}",
        "{\"a\": 123456789012345.0}",
        "{\"a\": 0.000123456789012345}",
        "{\"a\": 123456789012345678901234567890}",
        "{\"a\": [], \"b\": {}, \"c\": [1, [2, {\"a\": null}], true, false]}",
        "{\"\": \"\\u0000\\u001f\\u007f\\u00e9\\ud83d\\ude00\\\"\\\\\\n\\r\\t\\b\\f/\"}",
    };
    static const char *const bad[] = {
        "",
        " {}",
        "{} ",
        "{}x",
        "{ }",
        "[]",
        "1",
        "\"a\"",
        "null",
        "{\"a\":1}",
        "{\"a\" : 1}",
        "{\"a\":  1}",
        "{\"a\": 1,\"b\": 2}",
        "{\"a\": 1 , \"b\": 2}",
        "{\"a\": 1, }",
        "{\"a\": 1,}",
        "{\"a\"}",
        "{\"a\": }",
        "{\"a\": [1,2]}",
        "{\"a\": [1, ]}",
        "{\"a\": [ ]}",
        "{\"a\": 01}",
        "{\"a\": -0}",
        "{\"a\": -0.0}",
        "{\"a\": +1}",
        "{\"a\": .5}",
        "{\"a\": 5.}",
        "{\"a\": 1.50}",
        "{\"a\": 0.00001}",
        "{\"a\": 0.00009}",
        "{\"a\": 1000000000000000.0}",
        "{\"a\": 123456789012345.6}",
        "{\"a\": 0.1234567890123456}",
        "{\"a\": 1e3}",
        "{\"a\": 1E3}",
        "{\"a\": 1.5e3}",
        "{\"a\": NaN}",
        "{\"a\": Infinity}",
        "{\"a\": True}",
        "{\"a\": nul}",
        "{a: 1}",
        "{\"a\": 'b'}",
        "{\"a\": \"\n\"}",
        "{\"a\": \"\\u000a\"}",
        "{\"a\": \"\\u0041\"}",
        "{\"a\": \"\\u0022\"}",
        "{\"a\": \"\\u00E9\"}",
        "{\"a\": \"\\ud83d\"}",
        "{\"a\": \"\\ude00\"}",
        "{\"a\": \"\\ud83d\\ud83d\"}",
        "{\"a\": \"\\ud83dx\"}",
        "{\"a\": \"\\x41\"}",
        "{\"a\": \"\\/\"}",
        "{\"a\": \"\xc3\xa9\"}",
        "{\"a\": \"\x7f\"}",
        "{\"a\": \"b}",
        "{\"a\": \"b\\",
        "{\"a\": \"b\\u00",
        "{\"a\": 1, \"a\": 1}",
        "{\"b\": {\"a\": 1, \"a\": 1}}",
        "{\"\\\"\": 1, \"\\\"\": 1}",
    };
    char digits[4400] = "{\"a\": ";

    (void)state;
    for (size_t i = 0; i < COUNT_OF(good); i++)
        if (check_text(good[i]) != 0)
            fail_msg("refused: %s", good[i]);
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (check_text(bad[i]) != AICO_EMETADATA)
            fail_msg("passed: %s", bad[i]);
    memset(digits + 6, '7', 4301);
    digits[6 + 4300] = '}';
    digits[6 + 4301] = '\0';
    assert_int_equal(check_text(digits), 0);
    memcpy(digits + 6 + 4300, "7}", 3);
    assert_int_equal(check_text(digits), AICO_EMETADATA);
}

static void a_reader_takes_any_strict_json(void **state)
{
    struct metadata_facts f;

    (void)state;
    assert_int_equal(parse_text("{}", &f), 0);
    assert_false(f.has_timestamp || f.has_topic);
    assert_int_equal(parse_text(" {\"topic\":\"a\\/b\\u00e9\\ud83d\\ude00\" ,\n\"timestamp\" :\t"
                                "1.7636688001259E+9 , \"x\":{\"topic\":1}}\r\n",
                                &f),
                     0);
    assert_int_equal(f.timestamp_ms, 1763668800125);
    assert_true(bytes_equal_text(bytes_of(f.topic, f.topic_size), "a/b\xc3\xa9\xf0\x9f\x98\x80"));
    assert_int_equal(parse_text("{\"t\\u006fpic\": \"\xc3\xa9\", \"timestamp\": -1.5}", &f), 0);
    assert_true(bytes_equal_text(bytes_of(f.topic, f.topic_size), "\xc3\xa9"));
    assert_int_equal(f.timestamp_ms, -1500);
    assert_int_equal(parse_text("{\"timestamp\": 176366880012500000000e-11}", &f), 0);
    assert_int_equal(f.timestamp_ms, 1763668800125);
    assert_int_equal(parse_text("{\"timestamp\": 0e99999}", &f), 0);
    assert_int_equal(f.timestamp_ms, 0);
    assert_int_equal(parse_text("{\"timestamp\": 1e-99999}", &f), 0);
    assert_int_equal(f.timestamp_ms, 0);
}

static void a_reader_refuses_what_has_two_meanings(void **state)
{
    static const char *const bad[] = {
        "{\"topic\": \"a\", \"topic\": \"b\"}",
        "{\"topic\": \"a\", \"t\\u006fpic\": \"b\"}",
        "{\"x\": [{\"k\": 1, \"\\u006b\": 2}]}",
        "{\"topic\": 1}",
        "{\"topic\": null}",
        "{\"topic\": {}}",
        "{\"topic\": \"\\ud800\"}",
        "{\"topic\": \"\xff\"}",
        "{\"topic\": \"\xed\xa0\x80\"}",
        "{\"timestamp\": \"1\"}",
        "{\"timestamp\": null}",
        "{\"timestamp\": [1]}",
        "{\"timestamp\": 1e99999}",
        "{\"timestamp\": 9007199254741.993}",
        "{\"timestamp\": 1e}",
        "{\"timestamp\": NaN}",
        "[{\"timestamp\": 1}]",
        "{\"a\": 1} {\"a\": 1}",
        "{\"a\": 1",
        "",
    };
    struct metadata_facts f;
    char deep[64] = "{\"a\": ";

    (void)state;
    for (size_t i = 0; i < COUNT_OF(bad); i++)
        if (parse_text(bad[i], &f) != AICO_EMETADATA)
            fail_msg("passed: %s", bad[i]);
    memset(deep + 6, '[', 14);
    memset(deep + 20, ']', 14);
    deep[34] = '}';
    assert_int_equal(parse_text(deep, &f), 0);
    memset(deep + 6, '[', 15);
    memset(deep + 21, ']', 15);
    memcpy(deep + 36, "}", 2);
    assert_int_equal(parse_text(deep, &f), 0);
    memset(deep + 6, '[', 16);
    memset(deep + 22, ']', 16);
    memcpy(deep + 38, "}", 2);
    assert_int_equal(parse_text(deep, &f), AICO_EMETADATA);
}

static void an_object_of_too_many_members_is_refused(void **state)
{
    char *text = malloc(4000);
    size_t size;
    struct metadata_facts f;

    (void)state;
    for (int count = 127; count <= 129; count++) {
        size = (size_t)sprintf(text, "{");
        for (int i = 0; i < count; i++)
            size += (size_t)sprintf(text + size, "%s\"k%d\": 1", i > 0 ? ", " : "", i);
        (void)sprintf(text + size, "}");
        assert_int_equal(parse_text(text, &f), count <= 128 ? 0 : AICO_EMETADATA);
        assert_int_equal(check_text(text), count <= 128 ? 0 : AICO_EMETADATA);
    }
    free(text);
}

/* PROTOCOL 14 row 45, the part in C: jansson is a second opinion on what the text means. */
static void random_metadata_is_canonical_and_comes_back(void **state)
{
    static uint8_t storage[METADATA_SIZE_MAX], again[METADATA_SIZE_MAX + 100];
    uint8_t topic[TOPIC_SIZE_MAX], nonce[ENVELOPE_NONCE_SIZE] = {9}, plain[8];
    struct secret key = {{3}};

    (void)state;
    state_of_random = seed;
    for (size_t round = 0; round < ROUNDS; round++) {
        int64_t ms = (int64_t)below(4102444800000);
        struct bytes name = random_text(topic, below(60)), metadata, payload;
        struct writer w = writer_over(again, sizeof(again));
        struct metadata_facts facts;
        struct envelope e;
        json_error_t error;
        json_t *second;

        assert_int_equal(random_metadata(storage, sizeof(storage), ms, name, &metadata), 0);
        assert_int_equal(format0_seal(&key, nonce, metadata, bytes_text("payload"), 7, &w), 0);
        assert_int_equal(envelope_parse(writer_view(&w), &e), 0);
        assert_int_equal(format0_open(&e, &key, plain, &payload), 0);
        assert_true(bytes_equal_text(payload, "payload"));
        assert_int_equal(metadata_parse(e.metadata, &facts), 0);
        assert_int_equal(facts.timestamp_ms, ms);
        assert_true(bytes_equal(bytes_of(facts.topic, facts.topic_size), name));
        second = json_loadb((const char *)metadata.at, metadata.size,
                            JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
        if (!second)
            fail_msg("jansson: %s at %d", error.text, error.position);
        assert_true(
            bytes_equal(name, bytes_of(json_string_value(json_object_get(second, "topic")),
                                       json_string_length(json_object_get(second, "topic")))));
        json_decref(second);
    }
}

static void damaged_metadata_never_crashes_the_scanner(void **state)
{
    static const char text[] =
        "{\"topic\": \"a/\\u00fc\\ud83d\\ude00\", \"timestamp\": 1763668800.125, \"n\": -1, "
        "\"list\": [1, 2.5, \"x\\n\\\"\\\\/\", {\"k\": null}], \"ok\": true}";
    struct metadata_facts f;

    (void)state;
    state_of_random = seed;
    assert_int_equal(check_text(text), 0);
    for (size_t size = 0; size < strlen(text); size++) {
        uint8_t *copy = exact_copy(bytes_of(text, size));

        assert_int_equal(metadata_parse(bytes_of(copy, size), &f), AICO_EMETADATA);
        assert_int_equal(metadata_check(bytes_of(copy, size)), AICO_EMETADATA);
        free(copy);
    }
    for (size_t round = 0; round < ROUNDS; round++) {
        uint8_t *copy = exact_copy(bytes_text(text));

        for (size_t i = 0; i <= below(4); i++)
            copy[below(strlen(text))] = (uint8_t)random_u64();
        if (metadata_check(bytes_of(copy, strlen(text))) == 0)
            assert_int_equal(metadata_parse(bytes_of(copy, strlen(text)), &f), 0);
        free(copy);
    }
}

static void the_writer_tells_what_it_cannot_write(void **state)
{
    uint8_t storage[40];
    struct metadata_writer m;
    struct bytes metadata;

    (void)state;
    metadata_begin(&m, storage, sizeof(storage));
    metadata_text(&m, "a", bytes_text("\xff"));
    assert_int_equal(metadata_end(&m, &metadata), AICO_EMETADATA);
    metadata_begin(&m, storage, sizeof(storage));
    metadata_number(&m, "a", "1.50");
    assert_int_equal(metadata_end(&m, &metadata), AICO_EMETADATA);
    metadata_begin(&m, storage, sizeof(storage));
    metadata_seconds(&m, "a", -1);
    assert_int_equal(metadata_end(&m, &metadata), AICO_EMETADATA);
    metadata_begin(&m, storage, sizeof(storage));
    metadata_int(&m, "a", 1);
    metadata_int(&m, "a", 2);
    assert_int_equal(metadata_end(&m, &metadata), AICO_EMETADATA);
    metadata_begin(&m, storage, 8);
    metadata_int(&m, "a", 123);
    assert_int_equal(metadata_end(&m, &metadata), AICO_ESIZE);
    metadata_begin(&m, storage, sizeof(storage));
    metadata_seconds(&m, "t", 1763668800000);
    assert_int_equal(metadata_end(&m, &metadata), 0);
    assert_true(bytes_equal_text(metadata, "{\"t\": 1763668800.0}"));
}

static void zero_bytes(void *context, void *to, size_t size)
{
    (void)context;
    memset(to, 0, size);
}

static void zero_times(void *context, uint64_t *real_ns, uint64_t *boot_ns, uint64_t *pid)
{
    (void)context;
    *real_ns = *boot_ns = *pid = 0;
}

static void nonces_never_repeat_and_end_with_a_fork(void **state)
{
    static const struct random_source zeros = {zero_bytes, zero_times, NULL};
    struct secret key = {{1}};
    CLEANUP(hedge_wipe)
    struct hedge hedge;
    struct format0_nonces first, second, forked = {0};
    uint8_t a[ENVELOPE_NONCE_SIZE], b[ENVELOPE_NONCE_SIZE];

    (void)state;
    hedge_init(&hedge, &key, zeros);
    format0_nonces_init(&first, &hedge);
    format0_nonces_init(&second, &hedge);
    assert_memory_not_equal(first.prefix, second.prefix, sizeof(first.prefix));
    assert_int_equal(format0_nonces_next(&first, a), 0);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(format0_nonces_next(&first, b), 0);
        assert_memory_equal(a, b, 16);
        assert_true(memcmp(a, b, sizeof(a)) < 0); /* the counter rises */
        memcpy(a, b, sizeof(a));
    }
    assert_int_equal(format0_nonces_next(&forked, a), AICO_EFORKED);
}

static int load(void **state)
{
    const char *text = getenv("AICO_TEST_SEED");

    (void)state;
    if (text)
        seed = strtoull(text, NULL, 0);
    print_message("AICO_TEST_SEED=%llu\n", (unsigned long long)seed);
    session = vectors_load("session-v1.json");
    seed_vectors = vectors_load("aico-msg-vectors.json");
    return crypto_start();
}

static int unload(void **state)
{
    (void)state;
    json_decref(session);
    json_decref(seed_vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_seeds_own_envelopes_open_and_are_sealed_alike),
        cmocka_unit_test(the_vectors_of_format_0_hold_both_ways),
        cmocka_unit_test(envelope_every_bit),
        cmocka_unit_test(metadata_that_is_not_canonical_is_never_sealed),
        cmocka_unit_test(metadata_of_65535_bytes_is_the_largest),
        cmocka_unit_test(only_the_spelling_python_returns_unchanged_is_canonical),
        cmocka_unit_test(a_reader_takes_any_strict_json),
        cmocka_unit_test(a_reader_refuses_what_has_two_meanings),
        cmocka_unit_test(an_object_of_too_many_members_is_refused),
        cmocka_unit_test(random_metadata_is_canonical_and_comes_back),
        cmocka_unit_test(damaged_metadata_never_crashes_the_scanner),
        cmocka_unit_test(the_writer_tells_what_it_cannot_write),
        cmocka_unit_test(nonces_never_repeat_and_end_with_a_fork),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
