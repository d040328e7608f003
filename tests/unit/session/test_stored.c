/* SPDX-License-Identifier: Apache-2.0 */
/* Keys left at the broker: they open for the reader they were made for, and for nobody else. */
#include "vectors.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "crypto/dh.h"
#include "crypto/sign.h"
#include "session/group.h"
#include "session/stored.h"

static struct identity *alice, *bob, *mallory;
static struct reading_keys *bobs;
static struct hedge hedge;
static struct secret g0;
static struct stored_generation generation;

static struct bytes ns(void)
{
    return bytes_text("aico");
}

static struct reading reading_of(const struct identity *identity, const struct reading_key *key)
{
    uint8_t statement[READING_SIZE];
    struct reading reading;

    assert_int_equal(reading_write(identity, ns(), key, statement), 0);
    assert_int_equal(
        reading_verify(bytes_of(statement, sizeof(statement)), identity->public, ns(), &reading),
        0);
    return reading;
}

/* @publisher's key of the generation for bob. */
static void make(const struct identity *publisher, struct buffer *out)
{
    struct reading reading = reading_of(bob, &bobs->items[0]);

    assert_int_equal(
        stored_key_write(publisher, ns(), &hedge, &generation, &g0, bob->public, &reading, out), 0);
}

/* From a block of its exact size. */
static int open_as(const struct identity *self, const struct reading_keys *keys,
                   const struct identity *publisher, const char *namespace, struct bytes bytes,
                   struct secret *ret_g0)
{
    struct stored_generation opened;
    uint8_t *exact = malloc(bytes.size > 0 ? bytes.size : 1);
    int r;

    assert_non_null(exact);
    bytes_copy(exact, bytes);
    r = stored_key_open(bytes_of(exact, bytes.size), self->public, bytes_text(namespace),
                        publisher->public, keys, &opened, ret_g0);
    if (r == 0) {
        assert_int_equal(opened.generation, generation.generation);
        assert_int_equal(opened.trailer, generation.trailer);
        assert_true(bytes_equal_text(opened.filter, "a/**"));
    }
    free(exact);
    return r;
}

static void its_reader_opens_it(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer key = {0};
    struct secret opened;

    make(alice, &key);
    assert_int_equal(key.size, STORED_KEY_FIXED + 4 + 48 + 64);
    assert_int_equal(open_as(bob, bobs, alice, "aico", buffer_view(&key), &opened), 0);
    assert_memory_equal(opened.at, g0.at, sizeof(g0.at));
}

static void every_bit_counts(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer key = {0};
    struct secret opened;

    make(alice, &key);
    for (size_t bit = 0; bit < 8 * key.size; bit++) {
        key.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(open_as(bob, bobs, alice, "aico", buffer_view(&key), &opened) < 0);
        key.at[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t size = 0; size < key.size; size++)
        assert_true(open_as(bob, bobs, alice, "aico", bytes_of(key.at, size), &opened) < 0);
}

static void it_is_bound_to_publisher_reader_and_namespace(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer key = {0};
    struct secret opened;

    make(alice, &key);
    assert_int_equal(open_as(bob, bobs, mallory, "aico", buffer_view(&key), &opened), AICO_ESTAMP);
    assert_int_equal(open_as(mallory, bobs, alice, "aico", buffer_view(&key), &opened),
                     AICO_ETARGET);
    assert_int_equal(open_as(bob, bobs, alice, "acme", buffer_view(&key), &opened),
                     AICO_ESIGNATURE);
}

/* A member hands out somebody's secret as a group of its own: the id does not come out. */
static void a_secret_that_is_not_of_this_group_is_refused(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer key = {0};
    struct secret opened;

    make(mallory, &key); /* signed by mallory, the group id is alice's */
    assert_int_equal(open_as(bob, bobs, mallory, "aico", buffer_view(&key), &opened), AICO_EOPEN);
}

static void an_erased_reading_key_opens_nothing(void **state UNUSED)
{
    CLEANUP(guarded_free)
    struct reading_keys *later = guarded_new(sizeof(*later));
    CLEANUP(buffer_deinit)
    struct buffer key = {0};
    struct secret opened;

    assert_non_null(later);
    make(alice, &key);
    later->count = 1;
    later->items[0] = bobs->items[1];
    assert_int_equal(open_as(bob, later, alice, "aico", buffer_view(&key), &opened),
                     AICO_ENOPREKEY);
    later->items[0].number = bobs->items[0].number; /* another key of the same number */
    assert_int_equal(open_as(bob, later, alice, "aico", buffer_view(&key), &opened), AICO_EOPEN);
    assert_int_equal(open_as(bob, NULL, alice, "aico", buffer_view(&key), &opened), AICO_ENOPREKEY);
}

static void a_reading_is_its_owners_word(void **state UNUSED)
{
    uint8_t statement[READING_SIZE];
    struct reading reading;

    assert_int_equal(reading_write(bob, ns(), &bobs->items[0], statement), 0);
    for (size_t bit = 0; bit < 8 * sizeof(statement); bit++) {
        statement[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_true(reading_verify(bytes_of(statement, sizeof(statement)), bob->public, ns(),
                                   &reading) < 0);
        statement[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_int_equal(
        reading_verify(bytes_of(statement, sizeof(statement)), alice->public, ns(), &reading),
        AICO_ETARGET);
    assert_int_equal(reading_verify(bytes_of(statement, sizeof(statement)), bob->public,
                                    bytes_text("acme"), &reading),
                     AICO_ESIGNATURE);
    assert_int_equal(
        reading_verify(bytes_of(statement, sizeof(statement) - 1), bob->public, ns(), &reading),
        AICO_ESIZE);
}

static void a_reading_key_of_low_order_is_refused(void **state UNUSED)
{
    struct reading low = {.number = 1};
    CLEANUP(buffer_deinit)
    struct buffer key = {0};

    assert_int_equal(
        stored_key_write(alice, ns(), &hedge, &generation, &g0, bob->public, &low, &key), AICO_EDH);
    assert_int_equal(key.size, 0);
}

static void two_keys_for_one_reader_share_nothing(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer first = {0}, second = {0};
    size_t sealed = STORED_KEY_FIXED + 4;

    make(alice, &first);
    make(alice, &second);
    assert_memory_not_equal(first.at + sealed, second.at + sealed, 48);
    buffer_deinit(&second);
}

static struct identity *person(const char *name, uint8_t byte)
{
    struct secret seed = {{byte}};
    struct identity *identity = NULL;

    assert_int_equal(identity_new(name, &seed, 0, &identity), 0);
    return identity;
}

static int set_up(void **state UNUSED)
{
    static const struct secret seed = {{9}};

    if (crypto_start() < 0 || !(bobs = guarded_new(sizeof(*bobs))))
        return -1;
    alice = person("alice", 1);
    bob = person("bob", 2);
    mallory = person("mallory", 3);
    hedge_init(&hedge, &seed, random_system);
    bobs->count = 2;
    for (uint32_t i = 0; i < 2; i++) {
        bobs->items[i] = (struct reading_key){.number = i + 1, .created_ms = 1000 + i};
        fresh(&hedge, "reading key", &bobs->items[i].secret);
    }
    fresh(&hedge, "group", &g0);
    generation = (struct stored_generation){.generation = 1763668800000,
                                            .trailer = ENVELOPE_TRAILER_SIGNATURE,
                                            .filter = bytes_text("a/**")};
    group_derive_id(&g0, generation.generation, alice->public, generation.filter, generation.id);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    identity_free(&alice);
    identity_free(&bob);
    identity_free(&mallory);
    guarded_free(&bobs);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_reader_opens_it),
        cmocka_unit_test(every_bit_counts),
        cmocka_unit_test(it_is_bound_to_publisher_reader_and_namespace),
        cmocka_unit_test(a_secret_that_is_not_of_this_group_is_refused),
        cmocka_unit_test(an_erased_reading_key_opens_nothing),
        cmocka_unit_test(a_reading_is_its_owners_word),
        cmocka_unit_test(a_reading_key_of_low_order_is_refused),
        cmocka_unit_test(two_keys_for_one_reader_share_nothing),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
