/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: byte-exact against the vectors, signature before parse, roles and rules. */
#include "vectors.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/sign.h"
#include "trust/document.h"

static json_t *vectors;
static struct secret owner_seed;
static uint8_t owner[SIGN_PUBLIC_SIZE];

static struct bytes vector_document(void)
{
    return bytes_text(vectors_text(vectors, "registry.document"));
}

static int parse(struct bytes document, struct registry **ret)
{
    uint8_t *copy = exact_copy(document);
    int r = registry_parse(bytes_of(copy, document.size), owner, bytes_text("aico"), ret, NULL);

    free(copy);
    return r;
}

/* Signs @body as the owner would and parses it. */
static int parse_signed(const char *body, struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    uint8_t signature[SIGNATURE_SIZE];

    assert_int_equal(
        sign_make(&owner_seed, "registry", bytes_text(body), bytes_of(NULL, 0), signature), 0);
    assert_int_equal(buffer_printf(&text, "%ssignature ", body), 0);
    for (size_t i = 0; i < sizeof(signature); i++)
        assert_int_equal(buffer_printf(&text, "%02x", signature[i]), 0);
    assert_int_equal(buffer_append_text(&text, "\n"), 0);
    return registry_parse(buffer_view(&text), owner, bytes_text("aico"), &registry, err);
}

static void the_vector_parses_and_hashes(void **state UNUSED)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    uint8_t hash[REGISTRY_HASH_SIZE];
    const struct component *studio;

    assert_int_equal(parse(vector_document(), &registry), 0);
    vectors_hex_into(vectors, "registry.hash", hash, sizeof(hash));
    assert_memory_equal(registry_hash(registry), hash, sizeof(hash));
    assert_int_equal(registry_version(registry), 7);
    assert_int_equal(registry_component_count(registry), 4);
    assert_int_equal(registry_rule_count(registry), 2);
    studio = registry_find_name(registry, bytes_text("studio"));
    assert_non_null(studio);
    assert_true(component_has_role(studio, "admin"));
    assert_ptr_equal(registry_find_identity(registry, studio->identity), studio);
    assert_ptr_equal(registry_find_transport(registry, studio->transport), studio);
}

static void signing_again_gives_the_same_bytes(void **state UNUSED)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = NULL;
    CLEANUP(buffer_deinit)
    struct buffer next = {0}, old = {0};
    const char *begin, *end;

    assert_int_equal(parse(vector_document(), &registry), 0);
    draft = registry_draft_new(registry, bytes_of(NULL, 0));
    assert_non_null(draft);
    assert_int_equal(registry_draft_sign(draft, &owner_seed, 1763665200000, &next), 0);
    /* the component and rule lines are the same; version, previous and signature move on */
    begin = strstr(vectors_text(vectors, "registry.document"), "component");
    end = strstr(begin, "signature");
    assert_int_equal(buffer_append(&old, bytes_of(begin, (size_t)(end - begin))), 0);
    assert_non_null(memmem(next.at, next.size, old.at, old.size));
    registry_unref(&registry);
    assert_int_equal(parse(buffer_view(&next), &registry), 0);
    assert_int_equal(registry_version(registry), 8);
}

static void registry_every_bit(void **state UNUSED)
{
    struct bytes document = vector_document();
    uint8_t *copy = exact_copy(document);
    uint64_t parsed = registry_parse_count();

    for (size_t bit = 0; bit < 8 * document.size; bit++) {
        struct registry *registry = NULL;

        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(registry_parse(bytes_of(copy, document.size), owner, bytes_text("aico"),
                                        &registry, NULL),
                         AICO_EREGISTRYSIGNATURE);
        copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    free(copy);
    assert_int_equal(registry_parse_count(), parsed);
}

static void every_truncation_and_trailing_line_is_refused(void **state UNUSED)
{
    CLEANUP(buffer_deinit)
    struct buffer longer = {0};
    struct bytes document = vector_document();
    uint64_t parsed = registry_parse_count();
    struct registry *registry = NULL;

    for (size_t size = 0; size < document.size; size++)
        assert_true(parse(bytes_of(document.at, size), &registry) < 0);
    assert_int_equal(buffer_append(&longer, document), 0);
    assert_int_equal(buffer_append_text(&longer, "rule x\n"), 0);
    assert_int_equal(parse(buffer_view(&longer), &registry), AICO_EREGISTRYSIGNATURE);
    assert_int_equal(registry_parse_count(), parsed);
}

static void what_is_held_already_is_shared(void **state UNUSED)
{
    struct registry *first = NULL, *second = NULL;
    struct bytes document = vector_document();
    uint8_t other[SIGN_PUBLIC_SIZE];
    uint64_t parsed = registry_parse_count();

    memset(other, 9, sizeof(other));
    assert_int_equal(parse(document, &first), 0);
    assert_int_equal(parse(document, &second), 0);
    assert_ptr_equal(first, second);
    assert_int_equal(registry_parse_count(), parsed + 1);

    registry_unref(&second);
    assert_int_equal(registry_parse(document, other, bytes_text("aico"), &second, NULL),
                     AICO_EREGISTRYSIGNATURE);
    assert_int_equal(registry_parse(document, owner, bytes_text("other"), &second, NULL),
                     AICO_ENAMESPACE);
    assert_null(second);

    registry_unref(&first);
    parsed = registry_parse_count();
    assert_int_equal(parse(document, &first), 0);
    assert_int_equal(registry_parse_count(), parsed + 1);
    registry_unref(&first);
}

static void *share_and_release(void *unused)
{
    for (int i = 0; i < 300; i++) {
        struct registry *registry = NULL;

        assert_int_equal(parse(vector_document(), &registry), 0);
        assert_int_equal(registry_component_count(registry), 4);
        registry_unref(&registry);
    }
    return unused;
}

static void threads_share_and_release(void **state UNUSED)
{
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, share_and_release, NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void wrong_owner_and_namespace_are_told_apart(void **state UNUSED)
{
    struct registry *registry = NULL;
    uint8_t other[SIGN_PUBLIC_SIZE];

    memcpy(other, owner, sizeof(other));
    other[0] ^= 1;
    assert_int_equal(registry_parse(vector_document(), other, bytes_text("aico"), &registry, NULL),
                     AICO_EREGISTRYSIGNATURE);
    assert_int_equal(registry_parse(vector_document(), owner, bytes_text("acme"), &registry, NULL),
                     AICO_ENAMESPACE);
    assert_null(registry);
}

static void a_signed_line_that_does_not_fit_is_refused_with_its_number(void **state UNUSED)
{
    static const struct {
        const char *from, *to;
    } changes[] = {
        {"component backend", "component  backend"},
        {"component backend", "component Backend"},
        {"component backend", "component studio"},
        {"active service", "alive service"},
        {"active service", "active service,service"},
        {"1763661600000\n", "01\n"},
        {"e3a5ff", "E3a5ff"},
        {"version 7", "version 07"},
        {"version 7", "version 1"},
        {"issued 17", "issued -17"},
        {"seal group", "seal groups"},
        {"padding none", "padding some"},
        {"freshness 60", "freshness"},
        {"freshness 60", "freshness 60 histori"},
        {"freshness 60", "freshness 60 store"},
        {"freshness 60", "freshness 60 store age=0"},
        {"freshness 60", "freshness 60 store count=1,age=1"},
        {"freshness 60", "freshness 60 store age=1,"},
        {"freshness 60", "freshness 60 store size=1"},
        {"freshness 60", "freshness 60 store age=1 history"},
        {"publish backend,@ui", "publish backend,,@ui"},
        {"rule logs/**", "rule logs/**/x"},
        {"rule logs/**", "rule logs%2f**"},
        {"rule logs/**", "rule conversation/**"},
        {"owner 3a88", "owner 3a89"},
        {"aico-registry 1", "aico-registry 2"},
        {"rule logs/**", "law logs/**"},
        {"component mallory", "rule mallory"},
        {"7fadd9", "e3a5ff59454ef20851dd0462f8f7b46bf6423ff7f24da4fc30736437242d73d6 7fadd9"},
    };
    const char *document = vectors_text(vectors, "registry.document");
    size_t body = (size_t)(strstr(document, "signature") - document);

    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        CLEANUP(buffer_deinit)
        struct buffer text = {0};
        const char *at = strstr(document, changes[i].from);
        struct aico_error err = {0};

        assert_non_null(at);
        assert_int_equal(
            buffer_printf(&text, "%.*s%s%.*s", (int)(at - document), document, changes[i].to,
                          (int)(body - (size_t)(at - document) - strlen(changes[i].from)),
                          at + strlen(changes[i].from)),
            0);
        if (parse_signed((const char *)text.at, &err) != AICO_EREGISTRY ||
            !strstr(err.text, "line "))
            fail_msg("%s -> %s: %s", changes[i].from, changes[i].to, err.text);
    }
}

static struct registry *version_with(const struct registry *from, const char *role)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(from, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct registry *registry = NULL;
    uint8_t key[32] = {1}, transport[32] = {2};

    assert_int_equal(
        registry_draft_add(draft, &(struct component_line){"guest", key, transport, role, 5}), 0);
    assert_int_equal(registry_draft_sign(draft, &owner_seed, 6, &text), 0);
    assert_int_equal(parse(buffer_view(&text), &registry), 0);
    return registry;
}

static void registry_older(void **state UNUSED)
{
    CLEANUP(registry_unref)
    struct registry *v7 = NULL, *v8 = NULL;

    assert_int_equal(parse(vector_document(), &v7), 0);
    v8 = version_with(v7, "ui");
    assert_int_equal(registry_may_replace(v7, 0, NULL, v8), 0);
    assert_int_equal(registry_may_replace(v8, 0, NULL, v7), AICO_EREGISTRYOLD);
    assert_int_equal(registry_may_replace(v8, 0, NULL, v8), AICO_EEXISTS);
    /* after a restart only version and hash are left */
    assert_int_equal(registry_may_replace(NULL, 8, registry_hash(v8), v7), AICO_EREGISTRYOLD);
    assert_int_equal(registry_may_replace(NULL, 8, registry_hash(v8), v8), 0);
}

static void registry_equal_version_other_hash(void **state UNUSED)
{
    CLEANUP(registry_unref)
    struct registry *v7 = NULL, *a = NULL, *b = NULL;

    assert_int_equal(parse(vector_document(), &v7), 0);
    a = version_with(v7, "ui");
    b = version_with(v7, "admin");
    assert_int_equal(registry_may_replace(a, 0, NULL, b), AICO_EEQUIVOCATION);
    assert_int_equal(registry_may_replace(b, 0, NULL, a), AICO_EEQUIVOCATION);
    assert_int_equal(registry_may_replace(NULL, 8, registry_hash(a), b), AICO_EEQUIVOCATION);
}

static void the_first_matching_rule_decides(void **state UNUSED)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    const struct component *backend, *frontend;
    const struct rule *rule;

    assert_int_equal(parse(vector_document(), &registry), 0);
    backend = registry_find_name(registry, bytes_text("backend"));
    frontend = registry_find_name(registry, bytes_text("frontend"));
    rule = registry_rule_for(registry, bytes_text("logs/a/b"));
    assert_non_null(rule);
    assert_int_equal(rule->line, 12);
    assert_true(rule_allows(rule, frontend, RIGHT_PUBLISH));
    assert_false(rule_allows(rule, frontend, RIGHT_SUBSCRIBE));
    assert_true(rule_allows(rule, backend, RIGHT_SUBSCRIBE));
    assert_null(registry_rule_for(registry, bytes_text("other")));

    assert_true(registry_may_subscribe(registry, frontend, bytes_text("**"), &rule));
    assert_false(registry_may_subscribe(registry, frontend, bytes_text("logs/#"), &rule));
    assert_int_equal(rule->line, 12);
    assert_false(registry_may_subscribe(registry, frontend, bytes_text("other/**"), &rule));
    assert_null(rule);
}

static void a_rotated_name_has_two_keys_until_the_overlap_ends(void **state UNUSED)
{
    const char *document = vectors_text(vectors, "registry.document");
    const char *rules = strstr(document, "rule ");
    CLEANUP(registry_unref)
    struct registry *registry = NULL, *next = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(secret_wipe)
    struct secret seed;
    struct identity *renewed = NULL;
    const struct component *old, *new;
    uint8_t signature[SIGNATURE_SIZE];

    vectors_hex_into(vectors, "registry.rotation.new_seed", seed.at, sizeof(seed.at));
    assert_int_equal(identity_new("backend", &seed, 0, &renewed), 0);
    assert_int_equal(buffer_append(&text, bytes_of(document, (size_t)(rules - document))), 0);
    assert_int_equal(buffer_append_text(&text, "component backend "), 0);
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(buffer_printf(&text, "%02x", renewed->public[i]), 0);
    assert_int_equal(buffer_append_text(&text, " "), 0);
    for (size_t i = 0; i < 32; i++)
        assert_int_equal(buffer_printf(&text, "%02x", renewed->transport_public[i]), 0);
    assert_int_equal(
        buffer_printf(&text,
                      " active service 1763665200000 replaces "
                      "e3a5ff59454ef20851dd0462f8f7b46bf6423ff7f24da4fc30736437242d73d6 "
                      "1763755200000 %s peer aico\n",
                      vectors_text(vectors, "registry.rotation.signature")),
        0);
    assert_int_equal(
        sign_make(&owner_seed, "registry", buffer_view(&text), bytes_of(NULL, 0), signature), 0);
    assert_int_equal(buffer_append_text(&text, "signature "), 0);
    for (size_t i = 0; i < sizeof(signature); i++)
        assert_int_equal(buffer_printf(&text, "%02x", signature[i]), 0);
    assert_int_equal(buffer_append_text(&text, "\n"), 0);
    assert_int_equal(parse(buffer_view(&text), &registry), 0);

    new = registry_find_name(registry, bytes_text("backend"));
    assert_memory_equal(new->identity, renewed->public, 32);
    old = registry_find_identity(registry, new->replaces_identity);
    assert_non_null(old);
    assert_true(component_is_active(registry, new, 1763755200001));
    assert_true(component_is_active(registry, old, 1763755200000));
    assert_false(component_is_active(registry, old, 1763755200001));
    identity_free(&renewed);

    /* The next version still has both lines, and the proof of the old key. */
    draft = registry_draft_new(registry, bytes_of(NULL, 0));
    text.size = 0;
    assert_int_equal(registry_draft_sign(draft, &owner_seed, 1, &text), 0);
    assert_int_equal(parse(buffer_view(&text), &next), 0);
    new = registry_find_name(next, bytes_text("backend"));
    assert_true(new->replaces);
    assert_int_equal(new->replaces_until_ms, 1763755200000);
    assert_non_null(registry_find_identity(next, new->replaces_identity));
    assert_true(new->peer_aico);
}

/* The document of the vectors with @from made @to, signed again. */
static int parse_changed(const char *from, const char *to)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    const char *document = vectors_text(vectors, "registry.document");
    const char *at = strstr(document, from);
    size_t before = (size_t)(at - document), after = before + strlen(from);
    struct aico_error err = {0};
    int r;

    assert_non_null(at);
    assert_int_equal(
        buffer_printf(&text, "%.*s%s%.*s", (int)before, document, to,
                      (int)((size_t)(strstr(document, "signature ") - document) - after),
                      document + after),
        0);
    r = parse_signed((const char *)text.at, &err);
    return r;
}

static void a_key_that_stands_twice_is_refused(void **state UNUSED)
{
    const char *backend =
        vectors_text(json_array_get(vectors_at(vectors, "identity"), 0), "ed25519");
    const char *backend_transport =
        vectors_text(json_array_get(vectors_at(vectors, "identity"), 0), "transport_public_0");
    const char *frontend =
        vectors_text(json_array_get(vectors_at(vectors, "identity"), 1), "ed25519");
    const char *frontend_transport =
        vectors_text(json_array_get(vectors_at(vectors, "identity"), 1), "transport_public_0");

    assert_int_equal(parse_changed(frontend, backend), AICO_EREGISTRY);
    assert_int_equal(parse_changed(frontend_transport, backend_transport), AICO_EREGISTRY);
    assert_int_equal(parse_changed(frontend, frontend), 0);
}

/* A rotation is nobody's word but the old key's, and only for its own name. */
static void a_rotation_nobody_signed_is_refused(void **state UNUSED)
{
    char tail[400];
    const char *old = vectors_text(json_array_get(vectors_at(vectors, "identity"), 0), "ed25519");

    (void)snprintf(tail, sizeof(tail), "active ui 1763661600000 replaces %s 1763755200000 %0128d",
                   old, 1);
    assert_int_equal(parse_changed("active ui 1763661600000", tail), AICO_EREGISTRY);
    (void)snprintf(tail, sizeof(tail), "active ui 1763661600000 replaces %s 1763755200000", old);
    assert_int_equal(parse_changed("active ui 1763661600000", tail), AICO_EREGISTRY);
    assert_int_equal(parse_changed("active ui 1763661600000", "active ui 1763661600000 peer aico"),
                     0);
}

static void an_owner_is_announced_by_its_own_signature_only(void **state UNUSED)
{
    char line[400];
    const char *next = vectors_text(vectors, "registry.owner_next.next");
    const char *signature = vectors_text(vectors, "registry.owner_next.signature");
    const char *component = "component backend";

    (void)snprintf(line, sizeof(line), "owner-next %s %s\ncomponent backend", next, signature);
    assert_int_equal(parse_changed(component, line), 0);
    (void)snprintf(line, sizeof(line), "owner-next %s %.127s0\ncomponent backend", next, signature);
    assert_int_equal(parse_changed(component, line), AICO_EREGISTRY);
    (void)snprintf(line, sizeof(line), "owner-next %s\ncomponent backend", next);
    assert_int_equal(parse_changed(component, line), AICO_EREGISTRY);
    (void)snprintf(line, sizeof(line), "owner-next %.63s %s\ncomponent backend", next, signature);
    assert_int_equal(parse_changed(component, line), AICO_EREGISTRY);
}

static void the_announced_owner_is_verified(void **state UNUSED)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(secret_wipe)
    struct secret next;
    uint8_t expected[SIGN_PUBLIC_SIZE];

    vectors_hex_into(vectors, "registry.owner_next.next_seed", next.at, sizeof(next.at));
    vectors_hex_into(vectors, "registry.owner_next.next", expected, sizeof(expected));
    assert_int_equal(registry_draft_set_owner_next(draft, &owner_seed, &next), 0);
    assert_int_equal(registry_draft_sign(draft, &owner_seed, 1, &text), 0);
    assert_non_null(
        memmem(text.at, text.size, vectors_text(vectors, "registry.owner_next.signature"), 128));
    assert_int_equal(parse(buffer_view(&text), &registry), 0);
    assert_memory_equal(registry_owner_next(registry), expected, sizeof(expected));
}

static void rules_are_set_in_place_before_or_behind(void **state UNUSED)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text("aico"));
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct rule_line rule = {bytes_text("a/**"),  "*",  "@ui,bob", SEAL_GROUP,
                             AUTHENTICITY_SENDER, true, 60,        true,
                             {true, 86400, 0, 1}};
    struct bytes anchor = bytes_text("a/**");

    assert_int_equal(registry_draft_set_rule(draft, &rule, NULL), 0);
    rule.filter = bytes_text("a/with space%");
    assert_int_equal(registry_draft_set_rule(draft, &rule, &anchor), 0);
    rule.filter = bytes_text("a/**");
    rule.padding = false;
    assert_int_equal(registry_draft_set_rule(draft, &rule, NULL), 0);
    rule.filter = bytes_text("a/**/b");
    assert_int_equal(registry_draft_set_rule(draft, &rule, NULL), AICO_ETOPIC);
    assert_int_equal(registry_draft_sign(draft, &owner_seed, 1, &text), 0);
    assert_int_equal(parse(buffer_view(&text), &registry), 0);
    assert_int_equal(registry_rule_count(registry), 2);
    assert_true(bytes_equal_text(registry_rule_at(registry, 0)->filter, "a/with space%"));
    assert_false(registry_rule_at(registry, 1)->padding);
    assert_true(registry_rule_at(registry, 1)->history);
    assert_true(registry_rule_at(registry, 1)->store.on);
    assert_int_equal(registry_rule_at(registry, 1)->store.age_s, 86400);
    assert_int_equal(registry_rule_at(registry, 1)->store.count, 0);
    assert_int_equal(registry_rule_at(registry, 1)->store.bytes, 1);
    assert_int_equal(registry_draft_remove_rule(draft, bytes_text("a/**")), 0);
    assert_int_equal(registry_draft_remove_rule(draft, bytes_text("a/**")), AICO_ENOTFOUND);
}

static int load(void **state UNUSED)
{
    vectors = vectors_load("session-v1.json");
    vectors_hex_into(vectors, "registry.owner", owner, sizeof(owner));
    vectors_hex_into(vectors, "registry.owner_seed", owner_seed.at, sizeof(owner_seed.at));
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
        cmocka_unit_test(the_vector_parses_and_hashes),
        cmocka_unit_test(signing_again_gives_the_same_bytes),
        cmocka_unit_test(registry_every_bit),
        cmocka_unit_test(every_truncation_and_trailing_line_is_refused),
        cmocka_unit_test(wrong_owner_and_namespace_are_told_apart),
        cmocka_unit_test(a_signed_line_that_does_not_fit_is_refused_with_its_number),
        cmocka_unit_test(registry_older),
        cmocka_unit_test(registry_equal_version_other_hash),
        cmocka_unit_test(the_first_matching_rule_decides),
        cmocka_unit_test(a_rotated_name_has_two_keys_until_the_overlap_ends),
        cmocka_unit_test(a_key_that_stands_twice_is_refused),
        cmocka_unit_test(a_rotation_nobody_signed_is_refused),
        cmocka_unit_test(what_is_held_already_is_shared),
        cmocka_unit_test(threads_share_and_release),
        cmocka_unit_test(an_owner_is_announced_by_its_own_signature_only),
        cmocka_unit_test(the_announced_owner_is_verified),
        cmocka_unit_test(rules_are_set_in_place_before_or_behind),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
