/* SPDX-License-Identifier: Apache-2.0 */
#include "trust/changes.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 900 /* what an entry of the audit log holds */

struct comparison {
    const struct registry *former, *next;
    registry_saw_change saw;
    void *context;
};

/* "registry 7: ..." */
__attribute__((format(printf, 4, 5))) static void tell(const struct comparison *c,
                                                       enum registry_change_kind kind,
                                                       const char *component, const char *format,
                                                       ...)
{
    char text[TEXT_MAX + 1];
    va_list args;
    int size = snprintf(text, sizeof(text), "registry %" PRIu64 ": ", registry_version(c->next));

    va_start(args, format);
    (void)vsnprintf(text + size, sizeof(text) - (size_t)size, format, args);
    va_end(args);
    c->saw(c->context,
           &(struct registry_change){.kind = kind, .component = component, .text = text});
}

/* --- components ------------------------------------------------------------------------------- */

static void join_roles(const struct component *component, char *to, size_t size)
{
    size_t used = 0;

    *to = '\0';
    for (size_t i = 0; i < component->role_count && used < size; i++)
        used +=
            (size_t)snprintf(to + used, size - used, "%s%s", i > 0 ? "," : "", component->roles[i]);
}

static void tell_new_line(const struct comparison *c, const struct component *is)
{
    char key[FINGERPRINT_TEXT_SIZE], former[FINGERPRINT_TEXT_SIZE], roles[400];

    fingerprint_write(is->identity, key);
    if (is->replaces) {
        fingerprint_write(is->replaces_identity, former);
        tell(c, CHANGE_ROTATED, is->name, "key %s takes the place of %s", key, former);
        return;
    }
    join_roles(is, roles, sizeof(roles));
    tell(c, CHANGE_ADDED, is->name, "key %s, roles %s", key, roles);
}

static void tell_state(const struct comparison *c, const struct component *is)
{
    char key[FINGERPRINT_TEXT_SIZE];

    fingerprint_write(is->identity, key);
    if (is->state == COMPONENT_REVOKED)
        tell(c, CHANGE_REVOKED, is->name, "key %s is revoked", key);
    else if (is->state == COMPONENT_RETIRED)
        tell(c, CHANGE_RETIRED, is->name, "key %s is retired", key);
    else
        tell(c, CHANGE_OTHER, is->name, "key %s is active again", key);
}

static void compare_line(const struct comparison *c, const struct component *was,
                         const struct component *is)
{
    char key[FINGERPRINT_TEXT_SIZE], roles[400], former_roles[400];

    if (was->state != is->state)
        tell_state(c, is);
    if (memcmp(was->transport, is->transport, DH_PUBLIC_SIZE) != 0) {
        fingerprint_write(is->identity, key);
        tell(c, CHANGE_ROTATED, is->name, "another transport key of %s", key);
    }
    join_roles(was, former_roles, sizeof(former_roles));
    join_roles(is, roles, sizeof(roles));
    if (strcmp(former_roles, roles) != 0)
        tell(c, CHANGE_OTHER, is->name, "roles %s, before: %s", roles, former_roles);
    if (was->peer_aico != is->peer_aico)
        tell(c, CHANGE_OTHER, is->name,
             is->peer_aico ? "is spoken with in format 0" : "is not spoken with in format 0");
    if (strcmp(was->name, is->name) != 0)
        tell(c, CHANGE_OTHER, is->name, "was named %s", was->name);
}

static void compare_components(const struct comparison *c)
{
    char key[FINGERPRINT_TEXT_SIZE];

    for (size_t i = 0; i < registry_component_count(c->next); i++) {
        const struct component *is = registry_component_at(c->next, i);
        const struct component *was = registry_find_identity(c->former, is->identity);

        if (was)
            compare_line(c, was, is);
        else
            tell_new_line(c, is);
    }
    for (size_t i = 0; i < registry_component_count(c->former); i++) {
        const struct component *was = registry_component_at(c->former, i);

        if (registry_find_identity(c->next, was->identity))
            continue;
        fingerprint_write(was->identity, key);
        tell(c, CHANGE_OTHER, was->name, "key %s is not listed any more", key);
    }
}

/* --- rules ------------------------------------------------------------------------------------ */

/* Rules mostly keep their order: it is probably the one at *@from, which moves behind it. Its
 * place, or SIZE_MAX. */
static size_t find_rule(const struct registry *registry, const struct rule *rule, size_t *from)
{
    size_t count = registry_rule_count(registry);

    for (size_t i = 0; i < count; i++) {
        size_t at = (*from + i) % count;

        if (memcmp(registry_rule_at(registry, at)->id, rule->id, RULE_ID_SIZE) != 0)
            continue;
        *from = at + 1;
        return at;
    }
    return SIZE_MAX;
}

static void tell_rule(const struct comparison *c, const struct rule *rule, const char *what)
{
    tell(c, CHANGE_OTHER, "", "%s: %.*s", what, (int)rule->text.size, (const char *)rule->text.at);
}

static void compare_rules(const struct comparison *c)
{
    const struct rule *moved = NULL;
    size_t from = 0, last = 0;

    for (size_t i = 0; i < registry_rule_count(c->next); i++) {
        const struct rule *is = registry_rule_at(c->next, i);
        size_t at = find_rule(c->former, is, &from);

        if (at == SIZE_MAX) {
            tell_rule(c, is, "new");
            continue;
        }
        if (at < last && !moved)
            moved = is;
        last = at;
        if (!bytes_equal(registry_rule_at(c->former, at)->text, is->text))
            tell_rule(c, is, "changed");
    }
    if (moved)
        tell_rule(c, moved, "the order of rules is another one, from here on");
    from = 0;
    for (size_t i = 0; i < registry_rule_count(c->former); i++)
        if (find_rule(c->next, registry_rule_at(c->former, i), &from) == SIZE_MAX)
            tell_rule(c, registry_rule_at(c->former, i), "gone");
}

/* --- the owner -------------------------------------------------------------------------------- */

static void compare_owners(const struct comparison *c)
{
    const uint8_t *named = registry_owner_next(c->next), *before = registry_owner_next(c->former);
    char was[FINGERPRINT_TEXT_SIZE], is[FINGERPRINT_TEXT_SIZE];

    if (memcmp(registry_owner(c->former), registry_owner(c->next), SIGN_PUBLIC_SIZE) != 0) {
        fingerprint_write(registry_owner(c->former), was);
        fingerprint_write(registry_owner(c->next), is);
        tell(c, CHANGE_OTHER, "", "owner %s follows %s", is, was);
    }
    if (named && (!before || memcmp(named, before, SIGN_PUBLIC_SIZE) != 0)) {
        fingerprint_write(named, is);
        tell(c, CHANGE_OTHER, "", "the next owner will be %s", is);
    }
}

void registry_changes(const struct registry *former, const struct registry *next,
                      registry_saw_change saw, void *context)
{
    const struct comparison c = {former, next, saw, context};

    compare_owners(&c);
    compare_components(&c);
    compare_rules(&c);
}
