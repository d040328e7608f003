/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What trailers prove, hashed ahead: it is what is hashed when it is needed, is found by all it was
 * made of and by nothing less, and an envelope opens, or is refused, with it as without. The seed
 * of a run is printed; AICO_TEST_SEED repeats it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "envelope/ahead.h"
#include "envelope/content.h"
#include "envelope/layout.h"
#include "random.h"

#define SIZE 9000
#define READERS 3
#define ROUNDS 400

static struct trailers_ahead ahead;
static uint8_t wires[HASHES_AT_ONCE][SIZE];
static struct envelope envelopes[HASHES_AT_ONCE];
static struct secret commits[HASHES_AT_ONCE];
static uint8_t contexts[HASHES_AT_ONCE][HASH_SIZE];

static void hashes_at_once_are_the_same(void **state UNUSED)
{
    static uint8_t room[SIZE];
    struct hash_input inputs[HASHES_AT_ONCE];
    uint8_t hashes[HASHES_AT_ONCE][HASH_SIZE], expected[HASH_SIZE];

    random_fill(room, sizeof(room));
    for (int round = 0; round < ROUNDS; round++) {
        size_t count = 1 + random_u64() % HASHES_AT_ONCE;

        for (size_t i = 0; i < count; i++)
            inputs[i] = (struct hash_input){bytes_of(room, random_u64() % 33),
                                            bytes_of(room + 100, random_u64() % 33),
                                            bytes_of(room + 200 + i, random_u64() % (SIZE - 300))};
        hash_tagged_many("wenty bytes, a label", inputs, count, hashes);
        for (size_t i = 0; i < count; i++) {
            struct hasher h;

            hasher_begin(&h, HASH_SIZE);
            hasher_tag(&h, "wenty bytes, a label");
            hasher_feed(&h, inputs[i].a);
            hasher_feed(&h, inputs[i].b);
            hasher_feed(&h, inputs[i].body);
            hasher_end(&h, expected, HASH_SIZE);
            assert_memory_equal(hashes[i], expected, HASH_SIZE);
        }
    }
}

/* Four that nobody sealed: a hash asks nothing. */
static void add_four(size_t size)
{
    trailers_ahead_forget(&ahead);
    random_fill(commits, sizeof(commits));
    random_fill(contexts, sizeof(contexts));
    for (size_t i = 0; i < HASHES_AT_ONCE; i++) {
        random_fill(wires[i], size);
        envelopes[i] = (struct envelope){.signed_part = bytes_of(wires[i], size)};
        assert_true(
            trailers_ahead_add(&ahead, &commits[i], contexts[i], envelopes[i].signed_part, NULL));
    }
}

static bool is_known(size_t i)
{
    uint8_t digest[HASH_SIZE], expected[HASH_SIZE];

    if (!trailers_ahead_find(&ahead, &commits[i], contexts[i], envelopes[i].signed_part, digest))
        return false;
    trailer_digest(&commits[i], contexts[i], envelopes[i].signed_part, expected);
    assert_memory_equal(digest, expected, HASH_SIZE);
    return true;
}

static void it_is_found_by_all_it_was_made_of(void **state UNUSED)
{
    static const struct trailers_ahead nothing;

    add_four(3000);
    assert_false(
        trailers_ahead_add(&ahead, &commits[0], contexts[0], envelopes[0].signed_part, NULL));
    assert_false(is_known(0)); /* not hashed yet */
    trailers_ahead_hash(&ahead);
    for (size_t i = 0; i < HASHES_AT_ONCE; i++) {
        assert_true(is_known(i));
        commits[i].at[i * 9] ^= 1;
        assert_false(is_known(i));
        commits[i].at[i * 9] ^= 1;
        contexts[i][i * 9] ^= 1;
        assert_false(is_known(i));
        contexts[i][i * 9] ^= 1;
        envelopes[i].signed_part.size--;
        assert_false(is_known(i));
        envelopes[i].signed_part.size += 2;
        assert_false(is_known(i));
        envelopes[i].signed_part.size--;
        envelopes[i].signed_part.at++;
        assert_false(is_known(i));
        envelopes[i].signed_part.at--;
        assert_true(is_known(i));
    }
    trailers_ahead_forget(&ahead);
    assert_false(is_known(0));
    assert_memory_equal(&ahead, &nothing, sizeof(nothing)); /* and no commit stays */
}

/* Beside one that is far longer than the others all of them would wait. */
static void what_is_not_worth_it_is_not_hashed(void **state UNUSED)
{
    add_four(SIZE);
    for (size_t i = 1; i < HASHES_AT_ONCE; i++)
        ahead.of[i].signed_part.size = envelopes[i].signed_part.size = SIZE / 4;
    trailers_ahead_hash(&ahead);
    for (size_t i = 0; i < HASHES_AT_ONCE; i++)
        assert_false(is_known(i));
    trailers_ahead_forget(&ahead);
    trailers_ahead_hash(&ahead); /* of nothing */
    assert_true(
        trailers_ahead_add(&ahead, &commits[0], contexts[0], envelopes[0].signed_part, NULL));
    trailers_ahead_hash(&ahead); /* of one */
    assert_false(is_known(0));
}

/* What comes after the others were hashed is not taken for hashed as well. */
static void nothing_is_added_to_what_is_hashed(void **state UNUSED)
{
    add_four(1000);
    ahead.count = 2;
    trailers_ahead_hash(&ahead);
    assert_true(is_known(0) && is_known(1));
    assert_false(
        trailers_ahead_add(&ahead, &commits[2], contexts[2], envelopes[2].signed_part, NULL));
    assert_false(is_known(2));
}

/* An envelope of a group of three, of @size bytes of content, in wires[@i]. */
static void seal(size_t i, size_t size, const struct aead_key *key,
                 const struct secret readers[READERS])
{
    static uint8_t payload[SIZE];
    struct writer w = writer_over(wires[i], SIZE);
    struct envelope_seal_input in = {.key = key,
                                     .sequence = (uint32_t)i,
                                     .format = ENVELOPE_FORMAT_MESSAGE,
                                     .context = contexts[i],
                                     .payload = bytes_of(payload, size),
                                     .content_max = SIZE,
                                     .trailer_kind = ENVELOPE_TRAILER_VECTOR,
                                     .commit = &commits[i],
                                     .reader_keys = readers,
                                     .reader_count = READERS};

    random_fill(payload, size);
    assert_int_equal(envelope_seal(&in, &w), 0);
    /* Now and then somebody has been at it. */
    if (random_u64() % 3 == 0)
        wires[i][random_u64() % w.size] ^= (uint8_t)(1u << random_u64() % 8);
    if (envelope_parse(bytes_of(wires[i], w.size), &envelopes[i]) < 0)
        envelopes[i] = (struct envelope){0};
}

static void an_envelope_opens_with_it_as_without(void **state UNUSED)
{
    static uint8_t plain[SIZE], other[SIZE];
    size_t opened = 0, refused = 0;

    for (int round = 0; round < ROUNDS; round++) {
        struct secret readers[READERS], k;
        uint8_t id[ENVELOPE_KEY_ID_SIZE];
        struct aead_key key;

        random_fill(readers, sizeof(readers));
        random_fill(&k, sizeof(k));
        random_fill(id, sizeof(id));
        random_fill(commits, sizeof(commits));
        random_fill(contexts, sizeof(contexts));
        envelope_key_init(&key, &k, id, 7);
        trailers_ahead_forget(&ahead);
        for (size_t i = 0; i < HASHES_AT_ONCE; i++) {
            seal(i, 2000 + random_u64() % 6000, &key, readers);
            if (envelopes[i].signed_part.size > 0)
                assert_true(trailers_ahead_add(&ahead, &commits[i], contexts[i],
                                               envelopes[i].signed_part, NULL));
        }
        trailers_ahead_hash(&ahead);
        for (size_t i = 0; i < HASHES_AT_ONCE; i++) {
            struct envelope_open_input in = {
                .key = &key,
                .context = contexts[i],
                .rule = {ENVELOPE_ALLOW(ENVELOPE_FORMAT_MESSAGE), false, ENVELOPE_TRAILER_VECTOR},
                .commit = &commits[i],
                .reader_key = &readers[1],
                .slot = 1};
            struct bytes content = {0}, again = {0};
            int r, r_ahead;

            if (envelopes[i].signed_part.size == 0)
                continue;
            r = envelope_open(&envelopes[i], &in, plain, &content);
            in.ahead = &ahead;
            r_ahead = envelope_open(&envelopes[i], &in, other, &again);
            assert_int_equal(r_ahead, r);
            opened += r == 0;
            refused += r < 0;
            if (r == 0)
                assert_memory_equal(content.at, again.at, content.size);
        }
    }
    assert_true(opened > ROUNDS && refused > ROUNDS / 2);
}

static int start(void **state UNUSED)
{
    if (crypto_start() < 0)
        return -1;
    random_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_at_once_are_the_same),
        cmocka_unit_test(it_is_found_by_all_it_was_made_of),
        cmocka_unit_test(what_is_not_worth_it_is_not_hashed),
        cmocka_unit_test(nothing_is_added_to_what_is_hashed),
        cmocka_unit_test(an_envelope_opens_with_it_as_without),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
