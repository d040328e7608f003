/* SPDX-License-Identifier: Apache-2.0 */
/* How a registry changes hands and keys: drafts that rotate, retire, give away and name successors.
 */
#include "vectors.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/sign.h"
#include "trust/document.h"

static struct secret owner_seed = {{42}};
static uint8_t owner[SIGN_PUBLIC_SIZE];

/* Signs @draft by @seed and reads it back as every component does. */
static int take(struct registry_draft *draft, const struct secret *seed,
                struct registry **ret_registry, struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t public[SIGN_PUBLIC_SIZE], *copy;
    int r;

    sign_public(seed, public);
    assert_int_equal(registry_draft_sign(draft, seed, 1, &text), 0);
    copy = exact_copy(buffer_view(&text));
    r = registry_parse(bytes_of(copy, text.size), public, bytes_text("aico"), ret_registry, err);
    free(copy);
    return r;
}

static struct identity *identity_of(const char *name, uint8_t first)
{
    const struct secret seed = {{first}};
    struct identity *identity = NULL;

    assert_int_equal(identity_new(name, &seed, 0, &identity), 0);
    return identity;
}

static struct registry *start(const struct identity *identity)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    struct registry *registry = NULL;

    assert_int_equal(
        registry_draft_add(draft, &(struct component_line){identity->name, identity->public,
                                                           identity->transport_public,
                                                           "service,admin", 5}),
        0);
    assert_int_equal(take(draft, &owner_seed, &registry, NULL), 0);
    return registry;
}

/* From @old to @renewed in the next version. */
static void rotate(struct registry **registry, const struct identity *old,
                   const struct identity *renewed, int64_t until_ms)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(*registry, bytes_of(NULL, 0));
    struct registry *next = NULL;
    struct aico_error err = {0};

    assert_int_equal(registry_draft_rotate(draft, old, renewed, 6, until_ms), 0);
    if (take(draft, &owner_seed, &next, &err) < 0)
        fail_msg("%s", err.text);
    registry_unref(registry);
    *registry = next;
}

static bool is_active(const struct registry *registry, const struct identity *identity,
                      int64_t now_ms)
{
    const struct component *c = registry_find_identity(registry, identity->public);

    assert_non_null(c);
    return component_is_active(registry, c, now_ms);
}

static void a_rotation_keeps_roles_and_both_keys_until_its_end(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *old = identity_of("backend", 1), *renewed = identity_of("backend", 2);
    CLEANUP(registry_unref)
    struct registry *registry = start(old);
    const struct component *dials;

    rotate(&registry, old, renewed, 1000);
    dials = registry_find_name(registry, bytes_text("backend"));
    assert_memory_equal(dials->identity, renewed->public, SIGN_PUBLIC_SIZE);
    assert_true(component_has_role(dials, "service") && component_has_role(dials, "admin"));
    assert_int_equal(dials->since_ms, 6);
    assert_true(is_active(registry, old, 1000));
    assert_false(is_active(registry, old, 1001));
    assert_true(is_active(registry, renewed, 1001));
    assert_int_equal(registry_next_change(registry, 1000), 1001);
    assert_int_equal(registry_next_change(registry, 1001), INT64_MAX);
}

/* The first key ends when its own overlap does, not with the second one. */
static void three_keys_in_a_row_end_each_at_its_own_time(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *a = identity_of("backend", 1), *b = identity_of("backend", 2);
    CLEANUP(identity_free)
    struct identity *c = identity_of("backend", 3);
    CLEANUP(registry_unref)
    struct registry *registry = start(a);

    rotate(&registry, a, b, 1000);
    rotate(&registry, b, c, 2000);
    assert_int_equal(registry_component_count(registry), 3);
    assert_true(is_active(registry, a, 1000));
    assert_false(is_active(registry, a, 1001));
    assert_true(is_active(registry, b, 2000));
    assert_false(is_active(registry, b, 2001));
    assert_true(is_active(registry, c, 2001));
    assert_int_equal(registry_next_change(registry, 0), 1001);
    assert_int_equal(registry_next_change(registry, 1001), 2001);
}

static void what_was_replaced_retires(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *a = identity_of("backend", 1), *b = identity_of("backend", 2);
    CLEANUP(registry_unref)
    struct registry *registry = start(a), *next = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = NULL;

    rotate(&registry, a, b, 1000);
    draft = registry_draft_new(registry, bytes_of(NULL, 0));
    registry_draft_retire_replaced(draft, 1000);
    assert_int_equal(take(draft, &owner_seed, &next, NULL), 0);
    assert_int_equal(registry_find_identity(next, a->public)->state, COMPONENT_ACTIVE);
    registry_unref(&next);
    registry_draft_retire_replaced(draft, 1001);
    assert_int_equal(take(draft, &owner_seed, &next, NULL), 0);
    assert_int_equal(registry_find_identity(next, a->public)->state, COMPONENT_RETIRED);
    assert_int_equal(registry_find_identity(next, b->public)->state, COMPONENT_ACTIVE);
}

#define KEYS (REGISTRY_FORMER_MAX + 3)

/* One key after the other, each retired when the next but one comes; the third valid until
 * @third_until_ms. */
static struct registry *many_keys(struct identity *ret_keys[KEYS], int64_t third_until_ms)
{
    struct registry *registry = NULL;

    for (uint8_t i = 0; i < KEYS; i++) {
        CLEANUP(registry_draft_free)
        struct registry_draft *draft = NULL;

        ret_keys[i] = identity_of("backend", i + 1);
        if (i == 0) {
            registry = start(ret_keys[i]);
            continue;
        }
        draft = registry_draft_new(registry, bytes_of(NULL, 0));
        registry_draft_retire_replaced(draft, 10 * i);
        assert_int_equal(registry_draft_rotate(draft, ret_keys[i - 1], ret_keys[i], 10 * i,
                                               i == 3 ? third_until_ms : 10 * i + 5),
                         0);
        registry_unref(&registry);
        assert_int_equal(take(draft, &owner_seed, &registry, NULL), 0);
    }
    return registry;
}

static void free_keys(struct identity *keys[KEYS])
{
    for (size_t i = 0; i < KEYS; i++)
        identity_free(&keys[i]);
}

/* They say whose what was stored for them is now. */
static void the_last_keys_stay_and_lead_from_one_to_the_one_before(void **state UNUSED)
{
    struct identity *keys[KEYS];
    CLEANUP(registry_unref)
    struct registry *registry = many_keys(keys, 35);
    const struct component *c = registry_find_name(registry, bytes_text("backend"));

    assert_int_equal(registry_component_count(registry), 1 + REGISTRY_FORMER_MAX);
    for (size_t i = 0; i <= REGISTRY_FORMER_MAX; i++, c = registry_replaced(registry, c)) {
        assert_non_null(c);
        assert_memory_equal(c->identity, keys[KEYS - 1 - i]->public, SIGN_PUBLIC_SIZE);
    }
    assert_null(c);
    free_keys(keys);
}

/* Whoever followed them would not come to an end. */
static void keys_that_replace_one_another_in_a_ring_are_refused(void **state UNUSED)
{
    struct identity *keys[KEYS];
    CLEANUP(registry_unref)
    struct registry *registry = many_keys(keys, 9000), *ring = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(registry, bytes_of(NULL, 0));
    const struct component *first = registry_component_at(registry, 0);
    struct aico_error err = {0};

    assert_null(registry_replaced(registry, first)); /* its line has gone: it may stand again */
    assert_memory_equal(first->replaces_identity, keys[1]->public, SIGN_PUBLIC_SIZE);
    assert_int_equal(registry_draft_rotate(draft, keys[KEYS - 1], keys[1], 99, 99), 0);
    assert_int_equal(take(draft, &owner_seed, &ring, &err), AICO_EREGISTRY);
    assert_non_null(strstr(err.text, "in a ring"));
    free_keys(keys);
}

/* The first outlives the second, whose line says until when: it cannot go before. */
static void a_retired_line_stays_as_long_as_it_ends_another(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *a = identity_of("backend", 1), *b = identity_of("backend", 2);
    CLEANUP(identity_free)
    struct identity *c = identity_of("backend", 3), *d = identity_of("backend", 4);
    CLEANUP(registry_unref)
    struct registry *registry = start(a), *next = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = NULL;

    rotate(&registry, a, b, 1000);
    rotate(&registry, b, c, 10);
    draft = registry_draft_new(registry, bytes_of(NULL, 0));
    registry_draft_retire_replaced(draft, 11);
    assert_int_equal(registry_draft_rotate(draft, c, d, 12, 500), 0);
    assert_int_equal(take(draft, &owner_seed, &next, NULL), 0);
    assert_int_equal(registry_find_identity(next, b->public)->state, COMPONENT_RETIRED);
    assert_true(is_active(next, a, 1000));
    assert_false(is_active(next, a, 1001));
    assert_true(is_active(next, d, 1001));
}

static void only_the_key_that_dials_can_be_rotated(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *a = identity_of("backend", 1), *b = identity_of("backend", 2);
    CLEANUP(identity_free)
    struct identity *c = identity_of("backend", 3);
    CLEANUP(registry_unref)
    struct registry *registry = start(a);
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = NULL;

    rotate(&registry, a, b, 1000);
    draft = registry_draft_new(registry, bytes_of(NULL, 0));
    assert_int_equal(registry_draft_rotate(draft, a, c, 6, 2000), AICO_ENOTFOUND);
    assert_int_equal(registry_draft_rotate(draft, c, a, 6, 2000), AICO_ENOTFOUND);
    assert_int_equal(registry_draft_rotate(draft, b, a, 6, 2000), AICO_EEXISTS);
    assert_int_equal(registry_draft_set_state(draft, "backend", COMPONENT_REVOKED), 0);
    assert_int_equal(registry_draft_rotate(draft, b, c, 6, 2000), AICO_ENOTFOUND);
}

static void a_rotation_the_old_key_did_not_sign_is_refused(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *old = identity_of("backend", 1), *renewed = identity_of("backend", 2);
    CLEANUP(identity_free)
    struct identity *thief = identity_of("backend", 9);
    CLEANUP(registry_unref)
    struct registry *registry = start(old), *next = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(registry, bytes_of(NULL, 0));
    struct aico_error err = {0};

    memcpy(thief->public, old->public, SIGN_PUBLIC_SIZE); /* says so, and signs with its own */
    assert_int_equal(registry_draft_rotate(draft, thief, renewed, 6, 1000), 0);
    assert_int_equal(take(draft, &owner_seed, &next, &err), AICO_EREGISTRY);
    assert_non_null(strstr(err.text, "did not sign this rotation"));
}

static void a_transport_key_changes_alone(void **state UNUSED)
{
    const struct secret seed = {{1}};
    CLEANUP(identity_free)
    struct identity *old = identity_of("broker", 1), *renewed = NULL;
    CLEANUP(registry_unref)
    struct registry *registry = start(old), *next = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(registry, bytes_of(NULL, 0));

    assert_int_equal(identity_new("broker", &seed, 1, &renewed), 0);
    assert_int_equal(registry_draft_set_transport(draft, old), AICO_EEXISTS);
    assert_int_equal(registry_draft_set_transport(draft, renewed), 0);
    assert_int_equal(take(draft, &owner_seed, &next, NULL), 0);
    assert_null(registry_find_transport(next, old->transport_public));
    assert_non_null(registry_find_transport(next, renewed->transport_public));
    assert_memory_equal(registry_find_identity(next, old->public)->transport,
                        renewed->transport_public, DH_PUBLIC_SIZE);
}

static void a_name_can_be_given_away_again(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *lost = identity_of("studio", 1), *renewed = identity_of("studio", 2);
    CLEANUP(registry_unref)
    struct registry *registry = start(lost), *next = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(registry, bytes_of(NULL, 0));
    const struct component_line line = {"studio", renewed->public, renewed->transport_public, "ui",
                                        7};

    assert_int_equal(registry_draft_add(draft, &line), AICO_EEXISTS);
    assert_int_equal(registry_draft_remove(draft, "nobody"), AICO_ENOTFOUND);
    assert_int_equal(registry_draft_remove(draft, "studio"), 0);
    assert_int_equal(registry_draft_add(draft, &line), 0);
    assert_int_equal(take(draft, &owner_seed, &next, NULL), 0);
    assert_null(registry_find_identity(next, lost->public));
}

static void a_component_is_marked_as_speaking_the_seeds_format(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *old = identity_of("seed", 1), *renewed = identity_of("seed", 2);
    CLEANUP(registry_unref)
    struct registry *registry = start(old), *next = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(registry, bytes_of(NULL, 0));

    assert_int_equal(registry_draft_set_peer_aico(draft, "nobody"), AICO_ENOTFOUND);
    assert_int_equal(registry_draft_set_peer_aico(draft, "seed"), 0);
    assert_int_equal(take(draft, &owner_seed, &next, NULL), 0);
    assert_true(registry_find_name(next, bytes_text("seed"))->peer_aico);
    rotate(&next, old, renewed, 1000); /* its mark goes on to the next key */
    assert_true(registry_find_name(next, bytes_text("seed"))->peer_aico);
    assert_true(registry_find_identity(next, old->public)->peer_aico);
}

static void the_next_owner_stays_announced_until_it_signs(void **state UNUSED)
{
    const struct secret second = {{43}}, third = {{44}};
    CLEANUP(identity_free)
    struct identity *backend = identity_of("backend", 1);
    CLEANUP(registry_unref)
    struct registry *registry = start(backend), *next = NULL, *last = NULL;
    uint8_t public[SIGN_PUBLIC_SIZE];
    struct registry_draft *draft = registry_draft_new(registry, bytes_of(NULL, 0));

    sign_public(&second, public);
    assert_int_equal(registry_draft_set_owner_next(draft, &owner_seed, &second), 0);
    assert_int_equal(take(draft, &owner_seed, &next, NULL), 0);
    registry_draft_free(&draft);

    /* A change in between, by the same owner. */
    draft = registry_draft_new(next, bytes_of(NULL, 0));
    assert_int_equal(take(draft, &owner_seed, &last, NULL), 0);
    assert_memory_equal(registry_owner_next(last), public, sizeof(public));
    registry_unref(&next);

    /* The successor signs, and names nobody until it is told to. */
    assert_int_equal(take(draft, &second, &next, NULL), 0);
    assert_null(registry_owner_next(next));
    assert_null(registry_owner_next_signature(next));
    assert_int_equal(registry_draft_set_owner_next(draft, &second, &third), 0);
    registry_unref(&next);
    assert_int_equal(take(draft, &second, &next, NULL), 0);
    sign_public(&third, public);
    assert_memory_equal(registry_owner_next(next), public, sizeof(public));
    registry_draft_free(&draft);
}

static int load(void **state UNUSED)
{
    sign_public(&owner_seed, owner);
    return crypto_start();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rotation_keeps_roles_and_both_keys_until_its_end),
        cmocka_unit_test(three_keys_in_a_row_end_each_at_its_own_time),
        cmocka_unit_test(what_was_replaced_retires),
        cmocka_unit_test(the_last_keys_stay_and_lead_from_one_to_the_one_before),
        cmocka_unit_test(keys_that_replace_one_another_in_a_ring_are_refused),
        cmocka_unit_test(a_retired_line_stays_as_long_as_it_ends_another),
        cmocka_unit_test(only_the_key_that_dials_can_be_rotated),
        cmocka_unit_test(a_rotation_the_old_key_did_not_sign_is_refused),
        cmocka_unit_test(a_transport_key_changes_alone),
        cmocka_unit_test(a_name_can_be_given_away_again),
        cmocka_unit_test(a_component_is_marked_as_speaking_the_seeds_format),
        cmocka_unit_test(the_next_owner_stays_announced_until_it_signs),
    };

    return cmocka_run_group_tests(tests, load, NULL);
}
