/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registries. Input: a document without its signature line. It is parsed as it stands, and signed
 * by an owner whose key it may name; what parses must decide without contradiction and come out of
 * a draft as a document that parses to the same.
 */
#include "fuzz.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "crypto/sign.h"
#include "trust/document.h"
#include "trust/registry.h"
#include "wire/topic.h"

static const struct secret owner_seed = {{7}};
static uint8_t owner[SIGN_PUBLIC_SIZE];

static void ask(const struct registry *registry)
{
    for (size_t i = 0; i < registry_component_count(registry); i++) {
        const struct component *c = registry_component_at(registry, i);
        const struct rule *rule;

        require(registry_find_identity(registry, c->identity) == c);
        require(registry_find_transport(registry, c->transport) == c);
        require(registry_find_name(registry, bytes_text(c->name)) != NULL);
        (void)component_is_active(registry, c, 0);
        (void)component_has_role(c, REGISTRY_ROLE_ADMIN);
        for (size_t n = 0; n < registry_rule_count(registry) && n < 8; n++)
            (void)registry_may_subscribe(registry, c, registry_rule_at(registry, n)->filter, &rule);
    }
    for (size_t i = 0; i < registry_rule_count(registry); i++) {
        const struct rule *rule = registry_rule_at(registry, i);

        require(filter_is_valid(rule->filter));
        require(registry_rule_named(registry, rule->filter) == rule);
        if (!filter_has_wildcard(rule->filter))
            require(registry_rule_for(registry, rule->filter) != NULL);
    }
    (void)registry_broker(registry);
}

static void write_again(const struct registry *registry)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(registry, bytes_of(NULL, 0));
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(registry_unref)
    struct registry *next = NULL;
    int r;

    require(draft != NULL);
    r = registry_draft_sign(draft, &owner_seed, registry_issued_ms(registry), &text);
    if (r == AICO_ESIZE || registry_version(registry) == UINT64_MAX)
        return;
    require(r == 0);
    require(registry_parse(buffer_view(&text), owner, registry_namespace(registry), &next, NULL) ==
            0);
    require(registry_component_count(next) == registry_component_count(registry));
    require(registry_rule_count(next) == registry_rule_count(registry));
    require(registry_may_replace(registry, 0, NULL, next) == 0);
    require(registry_may_replace(next, 0, NULL, registry) == AICO_EREGISTRYOLD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    uint8_t signature[SIGNATURE_SIZE], *copy = copy_of(bytes_of(data, size));
    char hex[2 * SIGNATURE_SIZE + 1];
    uint64_t parsed;

    require(crypto_start() == 0);
    sign_public(&owner_seed, owner);
    parsed = registry_parse_count();
    require(registry_parse(bytes_of(copy, size), owner, bytes_text("aico"), &registry, NULL) < 0);
    require(registry_parse_count() == parsed);
    free(copy);

    require(sign_make(&owner_seed, "registry", bytes_of(data, size), bytes_of(NULL, 0),
                      signature) == 0);
    hex_write(bytes_of(signature, sizeof(signature)), hex);
    require(buffer_append(&text, bytes_of(data, size)) == 0);
    require(buffer_printf(&text, "signature %s\n", hex) == 0);
    if (registry_parse(buffer_view(&text), owner, bytes_text("aico"), &registry, NULL) < 0)
        return 0;
    ask(registry);
    write_again(registry);
    return 0;
}
