/* SPDX-License-Identifier: Apache-2.0 */
/* What the audit log says of another registry: each component and rule that changed, by name. */
#include "vectors.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/sign.h"
#include "trust/changes.h"
#include "trust/document.h"

#define TOLD_MAX 16

static struct secret owner_seed = {{42}};

struct told {
    size_t count;
    struct {
        enum registry_change_kind kind;
        char component[COMPONENT_NAME_MAX + 1];
        char text[1024];
    } of[TOLD_MAX];
};

static void take_change(void *context, const struct registry_change *change)
{
    struct told *told = context;

    assert_true(told->count < TOLD_MAX);
    told->of[told->count].kind = change->kind;
    (void)snprintf(told->of[told->count].component, sizeof(told->of[0].component), "%s",
                   change->component);
    (void)snprintf(told->of[told->count++].text, sizeof(told->of[0].text), "%s", change->text);
}

static struct registry *sign(const struct registry_draft *draft)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    uint8_t public[SIGN_PUBLIC_SIZE], *copy;
    struct registry *registry = NULL;
    struct aico_error err = {0};

    sign_public(&owner_seed, public);
    assert_int_equal(registry_draft_sign(draft, &owner_seed, 1, &text), 0);
    copy = exact_copy(buffer_view(&text));
    if (registry_parse(bytes_of(copy, text.size), public, bytes_text("aico"), &registry, &err) < 0)
        fail_msg("%s", err.text);
    free(copy);
    return registry;
}

static struct identity *identity_of(const char *name, uint8_t first)
{
    const struct secret seed = {{first}};
    struct identity *identity = NULL;

    assert_int_equal(identity_new(name, &seed, 0, &identity), 0);
    return identity;
}

static void add(struct registry_draft *draft, const struct identity *identity, const char *roles)
{
    assert_int_equal(
        registry_draft_add(draft, &(struct component_line){identity->name, identity->public,
                                                           identity->transport_public, roles, 5}),
        0);
}

static void set_rule(struct registry_draft *draft, const char *filter, const char *readers,
                     const char *before)
{
    struct bytes place = bytes_text(before ? before : "");

    assert_int_equal(
        registry_draft_set_rule(
            draft,
            &(struct rule_line){.filter = bytes_text(filter), .publish = "*", .subscribe = readers},
            before ? &place : NULL),
        0);
}

struct world {
    struct identity *a, *b;
    struct registry *former, *next;
    struct registry_draft *draft; /* from `former` */
    struct told told;
};

static void world_init(struct world *w)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *first = registry_draft_new(NULL, bytes_text("aico"));

    *w = (struct world){.a = identity_of("a", 1), .b = identity_of("b", 2)};
    add(first, w->a, "user");
    add(first, w->b, "user,admin");
    set_rule(first, "one/**", "a", NULL);
    set_rule(first, "two/**", "b", NULL);
    w->former = sign(first);
    w->draft = registry_draft_new(w->former, bytes_of(NULL, 0));
    assert_non_null(w->draft);
}

static void world_compare(struct world *w)
{
    registry_unref(&w->next);
    w->next = sign(w->draft);
    w->told.count = 0;
    registry_changes(w->former, w->next, take_change, &w->told);
}

static void world_deinit(struct world *w)
{
    registry_draft_free(&w->draft);
    registry_unref(&w->former);
    registry_unref(&w->next);
    identity_free(&w->a);
    identity_free(&w->b);
}

/* Change @at is @kind of @component, and says @text. */
static void assert_told(const struct world *w, size_t at, enum registry_change_kind kind,
                        const char *component, const char *text)
{
    assert_true(at < w->told.count);
    assert_int_equal(w->told.of[at].kind, kind);
    assert_string_equal(w->told.of[at].component, component);
    if (!strstr(w->told.of[at].text, text))
        fail_msg("\"%s\" is not in: %s", text, w->told.of[at].text);
    assert_non_null(strstr(w->told.of[at].text, "registry 2: "));
}

static void what_is_the_same_is_not_told(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    world_compare(&w);
    assert_int_equal(w.told.count, 0);
    world_deinit(&w);
}

static void a_component_that_came_is_named(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *c = identity_of("c", 3);
    char key[FINGERPRINT_TEXT_SIZE];
    struct world w;

    world_init(&w);
    add(w.draft, c, "user,admin");
    world_compare(&w);
    assert_int_equal(w.told.count, 1);
    assert_told(&w, 0, CHANGE_ADDED, "c", "roles user,admin");
    fingerprint_write(c->public, key);
    assert_told(&w, 0, CHANGE_ADDED, "c", key);
    world_deinit(&w);
}

static void who_was_revoked_or_retired_is_named(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    assert_int_equal(registry_draft_set_state(w.draft, "b", COMPONENT_REVOKED), 0);
    world_compare(&w);
    assert_int_equal(w.told.count, 1);
    assert_told(&w, 0, CHANGE_REVOKED, "b", "is revoked");
    assert_int_equal(registry_draft_set_state(w.draft, "a", COMPONENT_RETIRED), 0);
    world_compare(&w);
    assert_int_equal(w.told.count, 2);
    assert_told(&w, 0, CHANGE_RETIRED, "a", "is retired");
    /* Also who was revoked while it was not there to be cut. */
    registry_unref(&w.former);
    w.former = registry_ref(w.next);
    registry_draft_free(&w.draft);
    w.draft = registry_draft_new(w.former, bytes_of(NULL, 0));
    assert_int_equal(registry_draft_set_state(w.draft, "b", COMPONENT_ACTIVE), 0);
    w.told.count = 0;
    registry_unref(&w.next);
    w.next = sign(w.draft);
    registry_changes(w.former, w.next, take_change, &w.told);
    assert_int_equal(w.told.count, 1);
    assert_non_null(strstr(w.told.of[0].text, "registry 3: "));
    assert_non_null(strstr(w.told.of[0].text, "active again"));
    world_deinit(&w);
}

static void a_rotation_names_both_keys_once(void **state UNUSED)
{
    CLEANUP(identity_free)
    struct identity *renewed = identity_of("a", 9);
    char key[FINGERPRINT_TEXT_SIZE];
    struct world w;

    world_init(&w);
    assert_int_equal(registry_draft_rotate(w.draft, w.a, renewed, 6, 1000), 0);
    world_compare(&w);
    assert_int_equal(w.told.count, 1);
    fingerprint_write(renewed->public, key);
    assert_told(&w, 0, CHANGE_ROTATED, "a", key);
    fingerprint_write(w.a->public, key);
    assert_told(&w, 0, CHANGE_ROTATED, "a", key);
    world_deinit(&w);
}

static void another_transport_key_is_a_rotation(void **state UNUSED)
{
    const struct secret seed = {{1}};
    struct identity *renewed = NULL;
    struct world w;

    world_init(&w);
    assert_int_equal(identity_new("a", &seed, 1, &renewed), 0);
    assert_int_equal(registry_draft_set_transport(w.draft, renewed), 0);
    world_compare(&w);
    assert_int_equal(w.told.count, 1);
    assert_told(&w, 0, CHANGE_ROTATED, "a", "transport key");
    identity_free(&renewed);
    world_deinit(&w);
}

static void who_is_not_listed_any_more_is_named(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    assert_int_equal(registry_draft_remove(w.draft, "a"), 0);
    assert_int_equal(registry_draft_set_peer_aico(w.draft, "b"), 0);
    world_compare(&w);
    assert_int_equal(w.told.count, 2);
    assert_told(&w, 0, CHANGE_OTHER, "b", "format 0");
    assert_told(&w, 1, CHANGE_OTHER, "a", "not listed any more");
    world_deinit(&w);
}

static void rules_that_came_changed_and_went_are_named(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    set_rule(w.draft, "new/**", "a,b", "one/**");
    set_rule(w.draft, "two/**", "a", NULL);
    assert_int_equal(registry_draft_remove_rule(w.draft, bytes_text("one/**")), 0);
    world_compare(&w);
    assert_int_equal(w.told.count, 3);
    assert_told(&w, 0, CHANGE_OTHER, "", "new: rule new/** publish * subscribe a,b ");
    assert_told(&w, 1, CHANGE_OTHER, "", "changed: rule two/** publish * subscribe a ");
    assert_told(&w, 2, CHANGE_OTHER, "", "gone: rule one/** ");
    world_deinit(&w);
}

/* The first that matches decides, so the order is part of what they say. */
static void another_order_of_rules_is_told(void **state UNUSED)
{
    struct world w;

    world_init(&w);
    assert_int_equal(registry_draft_remove_rule(w.draft, bytes_text("two/**")), 0);
    set_rule(w.draft, "two/**", "b", "one/**");
    world_compare(&w);
    assert_int_equal(w.told.count, 1);
    assert_told(&w, 0, CHANGE_OTHER, "", "order of rules");
    world_deinit(&w);
}

static void the_next_owner_is_told(void **state UNUSED)
{
    const struct secret next = {{43}};
    uint8_t public[SIGN_PUBLIC_SIZE];
    char key[FINGERPRINT_TEXT_SIZE];
    struct world w;

    world_init(&w);
    assert_int_equal(registry_draft_set_owner_next(w.draft, &owner_seed, &next), 0);
    world_compare(&w);
    assert_int_equal(w.told.count, 1);
    sign_public(&next, public);
    fingerprint_write(public, key);
    assert_told(&w, 0, CHANGE_OTHER, "", key);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_the_same_is_not_told),
        cmocka_unit_test(a_component_that_came_is_named),
        cmocka_unit_test(who_was_revoked_or_retired_is_named),
        cmocka_unit_test(a_rotation_names_both_keys_once),
        cmocka_unit_test(another_transport_key_is_a_rotation),
        cmocka_unit_test(who_is_not_listed_any_more_is_named),
        cmocka_unit_test(rules_that_came_changed_and_went_are_named),
        cmocka_unit_test(another_order_of_rules_is_told),
        cmocka_unit_test(the_next_owner_is_told),
    };

    if (crypto_start() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
