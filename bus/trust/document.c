/* SPDX-License-Identifier: Apache-2.0 */
/* A draft is the document's component and rule lines as text, with what look-ups need beside. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/hex.h"
#include "base/writer.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "trust/document.h"
#include "trust/lines.h"
#include "wire/topic.h"

struct draft_component {
    struct draft_component *prev, *next;
    char name[COMPONENT_NAME_MAX + 1];
    uint8_t identity[SIGN_PUBLIC_SIZE], transport[DH_PUBLIC_SIZE];
    enum component_state state;
    struct buffer roles; /* comma list */
    int64_t since_ms;
    struct buffer replaces; /* " replaces OLD UNTIL SIG", or empty */
    uint8_t replaces_identity[SIGN_PUBLIC_SIZE];
    bool peer_aico;
    int64_t replaced_until_ms; /* INT64_MAX: by no other line */
};

struct draft_rule {
    struct draft_rule *prev, *next;
    struct buffer filter; /* decoded */
    struct buffer words;  /* "publish WHO ... [history]" */
};

struct registry_draft {
    struct buffer namespace;
    uint64_t version; /* of the document this is made from, 0: none */
    uint8_t previous[HASH_SIZE];
    struct buffer owner_next;                 /* its line, or empty */
    uint8_t owner_next_for[SIGN_PUBLIC_SIZE]; /* the owner it is the successor of */
    struct draft_component *components;
    struct draft_rule *rules;
};

static const char *const state_words[] = {"active", "revoked", "retired"};
static const char *const seal_words[] = {"channel", "group", "ratchet", "none"};
static const char *const authenticity_words[] = {"group", "sender", "signature"};

static void component_free(struct draft_component *c)
{
    buffer_deinit(&c->roles);
    buffer_deinit(&c->replaces);
    free(c);
}

static void rule_free(struct draft_rule *rule)
{
    buffer_deinit(&rule->filter);
    buffer_deinit(&rule->words);
    free(rule);
}

void registry_draft_free(struct registry_draft **draft)
{
    struct registry_draft *d = *draft;
    struct draft_component *c, *next_c;
    struct draft_rule *rule, *next_rule;

    *draft = NULL;
    if (!d)
        return;
    DL_FOREACH_SAFE(d->components, c, next_c)
    component_free(c);
    DL_FOREACH_SAFE(d->rules, rule, next_rule)
    rule_free(rule);
    buffer_deinit(&d->namespace);
    buffer_deinit(&d->owner_next);
    free(d);
}

static int put_list(struct buffer *to, char *const *entries, size_t count)
{
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++)
        r = buffer_printf(to, "%s%s", i > 0 ? "," : "", entries[i]);
    return r;
}

static int put_hex(struct buffer *to, const uint8_t *at, size_t size)
{
    char text[2 * SIGNATURE_SIZE + 1];

    hex_write(bytes_of(at, size), text);
    return buffer_append_text(to, text);
}

static struct draft_component *component_new(struct registry_draft *d, const char *name,
                                             const uint8_t *identity, const uint8_t *transport)
{
    struct draft_component *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    (void)snprintf(c->name, sizeof(c->name), "%s", name);
    memcpy(c->identity, identity, SIGN_PUBLIC_SIZE);
    memcpy(c->transport, transport, DH_PUBLIC_SIZE);
    c->replaced_until_ms = INT64_MAX;
    DL_APPEND(d->components, c);
    return c;
}

/* " replaces OLD UNTIL SIG" */
static int put_replaces(struct draft_component *c, const uint8_t *old, int64_t until_ms,
                        const uint8_t *signature)
{
    int r = buffer_append_text(&c->replaces, " replaces ");

    memcpy(c->replaces_identity, old, SIGN_PUBLIC_SIZE);
    if (r == 0)
        r = put_hex(&c->replaces, old, SIGN_PUBLIC_SIZE);
    if (r == 0)
        r = buffer_printf(&c->replaces, " %" PRId64 " ", until_ms);
    return r < 0 ? r : put_hex(&c->replaces, signature, SIGNATURE_SIZE);
}

static int copy_component(struct registry_draft *d, const struct component *from)
{
    struct draft_component *c = component_new(d, from->name, from->identity, from->transport);

    if (!c)
        return AICO_ENOMEM;
    c->state = from->state;
    c->since_ms = from->since_ms;
    c->peer_aico = from->peer_aico;
    c->replaced_until_ms = from->replaced_until_ms;
    if (put_list(&c->roles, from->roles, from->role_count) < 0)
        return AICO_ENOMEM;
    return from->replaces ? put_replaces(c, from->replaces_identity, from->replaces_until_ms,
                                         from->replaces_signature)
                          : 0;
}

static int put_owner_next(struct registry_draft *d, const uint8_t *owner, const uint8_t *next,
                          const uint8_t *signature)
{
    int r = buffer_append_text(&d->owner_next, "owner-next ");

    memcpy(d->owner_next_for, owner, SIGN_PUBLIC_SIZE);
    if (r == 0)
        r = put_hex(&d->owner_next, next, SIGN_PUBLIC_SIZE);
    if (r == 0)
        r = buffer_append_text(&d->owner_next, " ");
    if (r == 0)
        r = put_hex(&d->owner_next, signature, SIGNATURE_SIZE);
    return r < 0 ? r : buffer_append_text(&d->owner_next, "\n");
}

static int put_store(struct buffer *words, const struct rule_store *store)
{
    const char *before = " store ";
    int r = 0;

    if (store->age_s > 0) {
        r = buffer_printf(words, "%sage=%" PRIu64, before, store->age_s);
        before = ",";
    }
    if (r == 0 && store->count > 0) {
        r = buffer_printf(words, "%scount=%" PRIu64, before, store->count);
        before = ",";
    }
    if (r == 0 && store->bytes > 0)
        r = buffer_printf(words, "%sbytes=%" PRIu64, before, store->bytes);
    return r;
}

/* publish WHO subscribe WHO are in @words already; the rest follows. */
static int put_rule_words(struct buffer *words, enum rule_seal seal,
                          enum rule_authenticity authenticity, bool padding, uint32_t freshness_s,
                          bool history, const struct rule_store *store)
{
    int r = buffer_printf(words, " seal %s authenticity %s padding %s freshness %" PRIu32 "%s",
                          seal_words[seal], authenticity_words[authenticity],
                          padding ? "padme" : "none", freshness_s, history ? " history" : "");

    return r == 0 && store->on ? put_store(words, store) : r;
}

static int copy_rule(struct registry_draft *d, const struct rule *from)
{
    struct draft_rule *rule = calloc(1, sizeof(*rule));
    int r;

    if (!rule)
        return AICO_ENOMEM;
    DL_APPEND(d->rules, rule);
    r = buffer_append(&rule->filter, from->filter);
    if (r == 0)
        r = buffer_append_text(&rule->words, "publish ");
    if (r == 0)
        r = put_list(&rule->words, from->publish.entries, from->publish.count);
    if (r == 0)
        r = buffer_append_text(&rule->words, " subscribe ");
    if (r == 0)
        r = put_list(&rule->words, from->subscribe.entries, from->subscribe.count);
    if (r == 0)
        r = put_rule_words(&rule->words, from->seal, from->authenticity, from->padding,
                           from->freshness_s, from->history, &from->store);
    return r;
}

struct registry_draft *registry_draft_new(const struct registry *current, struct bytes namespace)
{
    CLEANUP(registry_draft_free)
    struct registry_draft *d = calloc(1, sizeof(*d));

    if (!d || buffer_append(&d->namespace, current ? registry_namespace(current) : namespace) < 0)
        return NULL;
    if (!current)
        return STEAL(d);
    d->version = registry_version(current);
    hash_n(registry_document(current), d->previous, sizeof(d->previous));
    if (registry_owner_next(current) &&
        put_owner_next(d, registry_owner(current), registry_owner_next(current),
                       registry_owner_next_signature(current)) < 0)
        return NULL;
    for (size_t i = 0; i < registry_component_count(current); i++)
        if (copy_component(d, registry_component_at(current, i)) < 0)
            return NULL;
    for (size_t i = 0; i < registry_rule_count(current); i++)
        if (copy_rule(d, registry_rule_at(current, i)) < 0)
            return NULL;
    return STEAL(d);
}

int registry_draft_add(struct registry_draft *draft, const struct component_line *line)
{
    struct draft_component *c;

    DL_FOREACH(draft->components, c)
    if (strcmp(c->name, line->name) == 0 ||
        memcmp(c->identity, line->identity, SIGN_PUBLIC_SIZE) == 0 ||
        memcmp(c->transport, line->transport, DH_PUBLIC_SIZE) == 0)
        return AICO_EEXISTS;
    c = component_new(draft, line->name, line->identity, line->transport);
    if (!c)
        return AICO_ENOMEM;
    c->since_ms = line->since_ms;
    return buffer_append_text(&c->roles, line->roles);
}

int registry_draft_set_state(struct registry_draft *draft, const char *name,
                             enum component_state state)
{
    struct draft_component *c;
    int r = AICO_ENOTFOUND;

    DL_FOREACH(draft->components, c)
    if (strcmp(c->name, name) == 0) {
        c->state = state;
        r = 0;
    }
    return r;
}

int registry_draft_set_peer_aico(struct registry_draft *draft, const char *name)
{
    struct draft_component *c;
    int r = AICO_ENOTFOUND;

    DL_FOREACH(draft->components, c)
    if (strcmp(c->name, name) == 0 && c->replaced_until_ms == INT64_MAX) {
        c->peer_aico = true;
        r = 0;
    }
    return r;
}

static void component_remove(struct registry_draft *draft, struct draft_component *c)
{
    DL_DELETE(draft->components, c);
    component_free(c);
}

int registry_draft_remove(struct registry_draft *draft, const char *name)
{
    struct draft_component *c, *next;
    int r = AICO_ENOTFOUND;

    DL_FOREACH_SAFE(draft->components, c, next)
    if (strcmp(c->name, name) == 0) {
        component_remove(draft, c);
        r = 0;
    }
    return r;
}

void registry_draft_retire_replaced(struct registry_draft *draft, int64_t now_ms)
{
    struct draft_component *c;

    DL_FOREACH(draft->components, c)
    if (c->state == COMPONENT_ACTIVE && now_ms > c->replaced_until_ms)
        c->state = COMPONENT_RETIRED;
}

static struct draft_component *find_identity(struct registry_draft *draft, const uint8_t *identity)
{
    struct draft_component *c;

    DL_FOREACH(draft->components, c)
    if (memcmp(c->identity, identity, SIGN_PUBLIC_SIZE) == 0)
        return c;
    return NULL;
}

static bool has_transport(const struct registry_draft *draft, const uint8_t *transport)
{
    const struct draft_component *c;

    DL_FOREACH(draft->components, c)
    if (memcmp(c->transport, transport, DH_PUBLIC_SIZE) == 0)
        return true;
    return false;
}

int registry_draft_set_transport(struct registry_draft *draft, const struct identity *identity)
{
    struct draft_component *c = find_identity(draft, identity->public);

    if (!c)
        return AICO_ENOTFOUND;
    if (has_transport(draft, identity->transport_public))
        return AICO_EEXISTS;
    memcpy(c->transport, identity->transport_public, DH_PUBLIC_SIZE);
    return 0;
}

static struct draft_rule *find_rule(struct registry_draft *draft, struct bytes filter)
{
    struct draft_rule *rule;

    DL_FOREACH(draft->rules, rule)
    if (bytes_equal(buffer_view(&rule->filter), filter))
        return rule;
    return NULL;
}

int registry_draft_set_rule(struct registry_draft *draft, const struct rule_line *line,
                            const struct bytes *before)
{
    struct draft_rule *rule = find_rule(draft, line->filter), *anchor = NULL;
    struct buffer words = {0};
    int r;

    if (!filter_is_valid(line->filter))
        return AICO_ETOPIC;
    if (before && !(anchor = find_rule(draft, *before)))
        return AICO_ENOTFOUND;
    r = buffer_printf(&words, "publish %s subscribe %s", line->publish, line->subscribe);
    if (r == 0)
        r = put_rule_words(&words, line->seal, line->authenticity, line->padding, line->freshness_s,
                           line->history, &line->store);
    if (r == 0 && !rule) {
        rule = calloc(1, sizeof(*rule));
        if (!rule || (r = buffer_append(&rule->filter, line->filter)) < 0) {
            free(rule);
            rule = NULL;
            r = AICO_ENOMEM;
        } else if (anchor) {
            DL_PREPEND_ELEM(draft->rules, anchor, rule);
        } else {
            DL_APPEND(draft->rules, rule);
        }
    }
    if (r < 0) {
        buffer_deinit(&words);
        return r;
    }
    buffer_deinit(&rule->words);
    rule->words = words;
    return 0;
}

int registry_draft_remove_rule(struct registry_draft *draft, struct bytes filter)
{
    struct draft_rule *rule = find_rule(draft, filter);

    if (!rule)
        return AICO_ENOTFOUND;
    DL_DELETE(draft->rules, rule);
    rule_free(rule);
    return 0;
}

/* lp8(NS) */
static struct bytes namespace_lp8(const struct registry_draft *draft, uint8_t to[1 + NAMESPACE_MAX])
{
    to[0] = (uint8_t)draft->namespace.size;
    bytes_copy(to + 1, buffer_view(&draft->namespace));
    return bytes_of(to, 1 + draft->namespace.size);
}

int registry_draft_set_owner_next(struct registry_draft *draft, const struct secret *owner_seed,
                                  const struct secret *next_seed)
{
    uint8_t owner[SIGN_PUBLIC_SIZE], next[SIGN_PUBLIC_SIZE], signature[SIGNATURE_SIZE];
    uint8_t ns[1 + NAMESPACE_MAX];
    int r;

    sign_public(owner_seed, owner);
    sign_public(next_seed, next);
    r = sign_make(next_seed, "owner", namespace_lp8(draft, ns), bytes_of(owner, sizeof(owner)),
                  signature);
    if (r < 0)
        return r;
    draft->owner_next.size = 0;
    return put_owner_next(draft, owner, next, signature);
}

/* SIGN(old, "rotate", lp8(NS) || lp8(name) || new Ed25519 || new X25519 || u64 UNTIL) */
static int sign_rotation(const struct registry_draft *draft, const struct identity *old,
                         const struct identity *renewed, int64_t until_ms,
                         uint8_t ret_signature[SIGNATURE_SIZE])
{
    uint8_t text[1 + COMPONENT_NAME_MAX + SIGN_PUBLIC_SIZE + DH_PUBLIC_SIZE + 8];
    uint8_t ns[1 + NAMESPACE_MAX];
    struct writer w = writer_over(text, sizeof(text));

    writer_lp8(&w, bytes_text(old->name));
    writer_bytes(&w, bytes_of(renewed->public, SIGN_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(renewed->transport_public, DH_PUBLIC_SIZE));
    writer_u64(&w, (uint64_t)until_ms);
    return sign_make(&old->seed, "rotate", namespace_lp8(draft, ns), writer_view(&w),
                     ret_signature);
}

/* Of the lines of @name all but the last REGISTRY_FORMER_MAX go, from the oldest on, if they are
 * retired: a line stays as long as it says until when the one before it is valid. The others say
 * whose what was stored for them is now (docs/decisions/0120). */
static void drop_retired(struct registry_draft *draft, const char *name)
{
    struct draft_component *c, *next;
    size_t count = 0;

    DL_FOREACH(draft->components, c)
    count += strcmp(c->name, name) == 0;
    DL_FOREACH_SAFE(draft->components, c, next)
    if (count > REGISTRY_FORMER_MAX && strcmp(c->name, name) == 0 &&
        c->state == COMPONENT_RETIRED &&
        !(c->replaces.size > 0 && find_identity(draft, c->replaces_identity))) {
        component_remove(draft, c);
        count--;
    }
}

int registry_draft_rotate(struct registry_draft *draft, const struct identity *old,
                          const struct identity *renewed, int64_t since_ms, int64_t until_ms)
{
    struct draft_component *from = find_identity(draft, old->public), *c;
    uint8_t signature[SIGNATURE_SIZE];
    int r;

    if (!from || from->state != COMPONENT_ACTIVE || from->replaced_until_ms != INT64_MAX)
        return AICO_ENOTFOUND;
    if (find_identity(draft, renewed->public) || has_transport(draft, renewed->transport_public))
        return AICO_EEXISTS;
    r = sign_rotation(draft, old, renewed, until_ms, signature);
    if (r < 0)
        return r;
    drop_retired(draft, from->name);
    c = component_new(draft, from->name, renewed->public, renewed->transport_public);
    if (!c)
        return AICO_ENOMEM;
    c->since_ms = since_ms;
    c->peer_aico = from->peer_aico;
    from->replaced_until_ms = until_ms;
    r = buffer_append(&c->roles, buffer_view(&from->roles));
    return r < 0 ? r : put_replaces(c, old->public, until_ms, signature);
}

static int put_head(const struct registry_draft *draft, const uint8_t owner[SIGN_PUBLIC_SIZE],
                    int64_t issued_ms, struct buffer *to)
{
    int r = buffer_printf(
        to, "aico-registry 1\nnamespace %.*s\nversion %" PRIu64 "\nissued %" PRId64 "\nowner ",
        (int)draft->namespace.size, (const char *)draft->namespace.at, draft->version + 1,
        issued_ms);

    if (r == 0)
        r = put_hex(to, owner, SIGN_PUBLIC_SIZE);
    if (r == 0)
        r = buffer_append_text(to, "\nprevious ");
    if (r == 0)
        r = put_hex(to, draft->previous, sizeof(draft->previous));
    if (r == 0)
        r = buffer_append_text(to, "\n");
    if (r < 0 || memcmp(draft->owner_next_for, owner, SIGN_PUBLIC_SIZE) != 0)
        return r; /* a successor names its own */
    return buffer_append(to, buffer_view(&draft->owner_next));
}

static int put_component(const struct draft_component *c, struct buffer *to)
{
    int r = buffer_printf(to, "component %s ", c->name);

    if (r == 0)
        r = put_hex(to, c->identity, sizeof(c->identity));
    if (r == 0)
        r = buffer_append_text(to, " ");
    if (r == 0)
        r = put_hex(to, c->transport, sizeof(c->transport));
    if (r == 0)
        r = buffer_printf(to, " %s ", state_words[c->state]);
    if (r == 0)
        r = buffer_append(to, buffer_view(&c->roles));
    if (r == 0)
        r = buffer_printf(to, " %" PRId64, c->since_ms);
    if (r == 0)
        r = buffer_append(to, buffer_view(&c->replaces));
    return r < 0 ? r : buffer_append_text(to, c->peer_aico ? " peer aico\n" : "\n");
}

static int put_rule(const struct draft_rule *rule, struct buffer *to)
{
    int r = buffer_append_text(to, "rule ");

    if (r == 0)
        r = put_encoded(to, buffer_view(&rule->filter));
    if (r == 0)
        r = buffer_append_text(to, " ");
    if (r == 0)
        r = buffer_append(to, buffer_view(&rule->words));
    return r < 0 ? r : buffer_append_text(to, "\n");
}

int registry_draft_sign(const struct registry_draft *draft, const struct secret *owner_seed,
                        int64_t issued_ms, struct buffer *ret_document)
{
    uint8_t owner[SIGN_PUBLIC_SIZE], signature[SIGNATURE_SIZE];
    size_t begin = ret_document->size;
    const struct draft_component *c;
    const struct draft_rule *rule;
    int r;

    sign_public(owner_seed, owner);
    r = put_head(draft, owner, issued_ms, ret_document);
    DL_FOREACH(draft->components, c)
    if (r == 0)
        r = put_component(c, ret_document);
    DL_FOREACH(draft->rules, rule)
    if (r == 0)
        r = put_rule(rule, ret_document);
    if (r == 0)
        r = sign_make(owner_seed, "registry",
                      bytes_of(ret_document->at + begin, ret_document->size - begin),
                      bytes_of(NULL, 0), signature);
    if (r == 0)
        r = buffer_append_text(ret_document, "signature ");
    if (r == 0)
        r = put_hex(ret_document, signature, sizeof(signature));
    if (r == 0)
        r = buffer_append_text(ret_document, "\n");
    if (r == 0 && ret_document->size - begin > REGISTRY_SIZE_MAX)
        r = AICO_ESIZE;
    if (r < 0)
        ret_document->size = begin;
    return r;
}
