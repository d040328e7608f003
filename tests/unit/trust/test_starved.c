/* SPDX-License-Identifier: Apache-2.0 */
/* Documents without memory: every allocation of each function fails once, and it says E_NOMEM. */
#include "vectors.h"

#include <stdlib.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/sign.h"
#include "starve.h"
#include "trust/document.h"
#include "trust/keydoc.h"

#define NOW_MS 1763668800000

static const struct secret owner_seed = {{7}}, seed = {{3}}, next_seed = {{4}};
static uint8_t owner[SIGN_PUBLIC_SIZE];
static struct identity *alice, *successor;

static int add(struct registry_draft *draft, const struct identity *identity)
{
    return STARVED(
        registry_draft_add(draft, &(struct component_line){.name = identity->name,
                                                           .identity = identity->public,
                                                           .transport = identity->transport_public,
                                                           .roles = "member,reader",
                                                           .since_ms = NOW_MS}));
}

static int set_rule(struct registry_draft *draft)
{
    return STARVED(registry_draft_set_rule(draft,
                                           &(struct rule_line){.filter = bytes_text("a b/**"),
                                                               .publish = "alice,@reader",
                                                               .subscribe = "*",
                                                               .seal = SEAL_GROUP},
                                           NULL));
}

/* Makes, signs and reads a registry, then the one after it. */
static int registries(void *context UNUSED)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *second = NULL;
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    CLEANUP(buffer_deinit)
    struct buffer later = {0};
    int r;

    draft = STARVED(registry_draft_new(NULL, bytes_text("aico")));
    if (!draft)
        return AICO_ENOMEM;
    r = add(draft, alice);
    if (r == 0)
        r = set_rule(draft);
    if (r == 0)
        r = STARVED(registry_draft_set_owner_next(draft, &owner_seed, &next_seed));
    if (r == 0)
        r = STARVED(registry_draft_sign(draft, &owner_seed, NOW_MS, &document));
    if (r == 0)
        r = STARVED(
            registry_parse(buffer_view(&document), owner, bytes_text("aico"), &registry, NULL));
    if (r < 0)
        return r;
    second = STARVED(registry_draft_new(registry, bytes_text("aico")));
    if (!second)
        return AICO_ENOMEM;
    r = STARVED(registry_draft_rotate(second, alice, successor, NOW_MS, NOW_MS + 1000));
    if (r == 0)
        r = STARVED(registry_draft_sign(second, &owner_seed, NOW_MS, &later));
    return r;
}

static int key_documents(void *context UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(buffer_deinit)
    struct buffer public = {0};
    CLEANUP(identity_free)
    struct identity *identity = NULL;
    struct publicdoc doc;
    int r = STARVED(
        keydoc_write("alice", &seed, 0, NOW_MS, bytes_of(NULL, 0), 0, 0, NULL, NULL, &text));

    if (r == 0)
        r = STARVED(keydoc_open(buffer_view(&text), bytes_of(NULL, 0), true, &identity, NULL));
    if (r == 0)
        r = STARVED(publicdoc_write(identity, &public));
    if (r == 0)
        r = STARVED(publicdoc_parse(buffer_view(&public), &doc, NULL));
    return r;
}

static void registries_say_so(void **state UNUSED)
{
    assert_true(starve_each(registries, NULL, false) > 20);
}

static void key_documents_say_so(void **state UNUSED)
{
    assert_true(starve_each(key_documents, NULL, false) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registries_say_so),
        cmocka_unit_test(key_documents_say_so),
    };
    int failed;

    assert_int_equal(crypto_start(), 0);
    sign_public(&owner_seed, owner);
    if (identity_new("alice", &seed, 0, &alice) < 0 ||
        identity_new("alice", &next_seed, 0, &successor) < 0)
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    identity_free(&alice);
    identity_free(&successor);
    return failed;
}
