/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry document, PROTOCOL 3: signature first, then a strict parse, then look-ups.
 *
 *   aico-registry 1
 *   namespace NS
 *   version N                          u64, at least 1
 *   issued MS
 *   owner HEX64
 *   previous HEX64                     zeros in version 1, and only there
 *   owner-next HEX64 HEX128            optional
 *   component ...                      any number
 *   rule ...                           any number
 *   signature HEX128                   the document ends here
 *
 * Fields are separated by exactly one space, lines end with one \n. A struct registry is written
 * once by registry_parse() and then only read; its count is atomic. Who parses what another holder
 * in this process has parsed gets the same one.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <utlist.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "base/hex.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "trust/lines.h"
#include "trust/registry.h"
#include "wire/topic.h"

#define SIGNATURE_LINE "signature "
#define SIGNATURE_LINE_SIZE (sizeof(SIGNATURE_LINE) - 1 + 2 * SIGNATURE_SIZE + 1)
#define FIELDS_MAX 24

/* A component line with its places in the three tables. */
struct component_entry {
    struct component component;
    UT_hash_handle by_name, by_identity, by_transport;
};

struct rule_entry {
    struct rule rule;
    char filter[TOPIC_SIZE_MAX + 1];
};

struct registry {
    atomic_uint count;
    struct registry *prev, *next; /* in `live`, under live_lock */
    bool is_live;                 /* in it */
    uint8_t *document;
    size_t document_size;
    struct bytes namespace;
    uint64_t version;
    int64_t issued_ms;
    uint8_t hash[REGISTRY_HASH_SIZE];
    uint8_t owner[SIGN_PUBLIC_SIZE];
    uint8_t owner_next[SIGN_PUBLIC_SIZE], owner_next_signature[SIGNATURE_SIZE];
    bool has_owner_next;
    struct component_entry **components;
    size_t component_count;
    struct rule_entry **rules;
    size_t rule_count;
    struct component_entry *by_name, *by_identity, *by_transport;
};

/* Where the parser is; every refusal names the line. */
struct parser {
    struct registry *registry;
    struct bytes rest; /* lines not yet read */
    size_t line;       /* 1-based, of the fields below */
    struct bytes fields[FIELDS_MAX];
    size_t count;
    struct aico_error *err;
};

static atomic_uint_fast64_t parse_count;

uint64_t registry_parse_count(void)
{
    return atomic_load(&parse_count);
}

static int refuse(const struct parser *p, const char *what)
{
    return aico_error_set(p->err, AICO_EREGISTRY, "registry line %zu: %s", p->line, what);
}

/* Reads the next line into fields. 1, 0 at the end, or AICO_EREGISTRY. */
static int next_line(struct parser *p)
{
    const uint8_t *end = p->rest.size > 0 ? memchr(p->rest.at, '\n', p->rest.size) : NULL;
    struct bytes line;

    p->line++;
    p->count = 0;
    if (p->rest.size == 0)
        return 0;
    if (!end)
        return refuse(p, "does not end with a newline");
    line = bytes_of(p->rest.at, (size_t)(end - p->rest.at));
    p->rest = bytes_of(end + 1, p->rest.size - line.size - 1);

    for (size_t from = 0, i = 0; i <= line.size; i++) {
        if (i < line.size && line.at[i] != ' ') {
            if (line.at[i] < 0x20 || line.at[i] == 0x7f)
                return refuse(p, "control character");
            continue;
        }
        if (i == from)
            return refuse(p, "fields are separated by exactly one space");
        if (p->count == FIELDS_MAX)
            return refuse(p, "too many fields");
        p->fields[p->count++] = bytes_of(line.at + from, i - from);
        from = i + 1;
    }
    return 1;
}

static bool field_is(const struct parser *p, size_t index, const char *text)
{
    return index < p->count && bytes_equal_text(p->fields[index], text);
}

/* Canonical decimal: no sign, no leading zero. */
static bool number(struct bytes text, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (text.size == 0 || (text.size > 1 && text.at[0] == '0'))
        return false;
    for (size_t i = 0; i < text.size; i++) {
        uint64_t digit = (uint64_t)text.at[i] - '0';

        if (digit > 9 || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

/* The next line must be `KEY` and @count fields after it. */
static int expect(struct parser *p, const char *key, size_t count)
{
    int r = next_line(p);

    if (r < 0)
        return r;
    if (r == 0 || !field_is(p, 0, key) || p->count != count + 1)
        return aico_error_set(p->err, AICO_EREGISTRY, "registry line %zu: expected '%s' and %zu %s",
                              p->line, key, count, count == 1 ? "field" : "fields");
    return 0;
}

static char *text_copy(struct bytes text)
{
    char *copy = malloc(text.size + 1);

    if (copy) {
        bytes_copy(copy, text);
        copy[text.size] = '\0';
    }
    return copy;
}

/* A comma list into strings; every entry must pass @is_valid, none may come twice. */
static int parse_list(struct parser *p, struct bytes text, bool (*is_valid)(struct bytes),
                      const char *what, char ***ret_entries, size_t *ret_count)
{
    size_t count = 1;

    for (size_t i = 0; i < text.size; i++)
        count += text.at[i] == ',';
    *ret_entries = calloc(count, sizeof(char *));
    if (!*ret_entries)
        return AICO_ENOMEM;
    for (size_t i = 0, from = 0; i <= text.size; i++) {
        struct bytes entry = bytes_of(text.at + from, i - from);

        if (i < text.size && text.at[i] != ',')
            continue;
        if (!is_valid(entry))
            return refuse(p, what);
        for (size_t k = 0; k < *ret_count; k++)
            if (bytes_equal_text(entry, (*ret_entries)[k]))
                return refuse(p, "the same name twice in a list");
        (*ret_entries)[*ret_count] = text_copy(entry);
        if (!(*ret_entries)[*ret_count])
            return AICO_ENOMEM;
        ++*ret_count;
        from = i + 1;
    }
    return 0;
}

static bool is_role(struct bytes text)
{
    return component_name_is_valid(text);
}

static bool is_who(struct bytes text)
{
    if (bytes_equal_text(text, "*"))
        return true;
    if (text.size > 1 && text.at[0] == '@')
        return is_role(bytes_of(text.at + 1, text.size - 1));
    return component_name_is_valid(text);
}

/* `previous` is the hash of the document before: nothing in version 1. */
static int parse_head(struct parser *p, struct bytes namespace)
{
    static const uint8_t zeros[HASH_SIZE];
    struct registry *g = p->registry;
    uint8_t key[HASH_SIZE];
    uint64_t value;
    int r = expect(p, "aico-registry", 1);

    if (r < 0)
        return r;
    if (!field_is(p, 1, "1"))
        return refuse(p, "only format 1 is known");
    if ((r = expect(p, "namespace", 1)) < 0)
        return r;
    if (!bytes_equal(p->fields[1], namespace))
        return aico_error_set(
            p->err, AICO_ENAMESPACE, "registry line %zu: namespace is %.*s, ours is %.*s", p->line,
            (int)MIN(p->fields[1].size, (size_t)NAMESPACE_MAX), (const char *)p->fields[1].at,
            (int)namespace.size, (const char *)namespace.at);
    g->namespace = p->fields[1];
    if ((r = expect(p, "version", 1)) < 0)
        return r;
    if (!number(p->fields[1], UINT64_MAX, &g->version) || g->version == 0)
        return refuse(p, "version is a number from 1");
    if ((r = expect(p, "issued", 1)) < 0)
        return r;
    if (!number(p->fields[1], INT64_MAX, &value))
        return refuse(p, "issued is a time in ms");
    g->issued_ms = (int64_t)value;
    if ((r = expect(p, "owner", 1)) < 0)
        return r;
    if (!hex_parse(p->fields[1], key, sizeof(key)) || memcmp(key, g->owner, sizeof(key)) != 0)
        return refuse(p, "owner is not the key that signed");
    if ((r = expect(p, "previous", 1)) < 0)
        return r;
    if (!hex_parse(p->fields[1], key, sizeof(key)))
        return refuse(p, "previous is 64 hex digits");
    if ((memcmp(key, zeros, sizeof(key)) == 0) != (g->version == 1))
        return refuse(p, "previous is zeros in version 1 and only there");
    return 0;
}

/* SIGN(next, "owner", lp8(NS) || current owner key) */
static int parse_owner_next(struct parser *p)
{
    struct registry *g = p->registry;
    uint8_t text[1 + NAMESPACE_MAX];

    if (p->count != 3 || !hex_parse(p->fields[1], g->owner_next, SIGN_PUBLIC_SIZE) ||
        !hex_parse(p->fields[2], g->owner_next_signature, SIGNATURE_SIZE))
        return refuse(p, "owner-next takes a key and a signature in hex");
    text[0] = (uint8_t)g->namespace.size;
    bytes_copy(text + 1, g->namespace);
    if (sign_verify(g->owner_next, "owner", bytes_of(text, 1 + g->namespace.size),
                    bytes_of(g->owner, SIGN_PUBLIC_SIZE), g->owner_next_signature) < 0)
        return refuse(p, "owner-next did not sign for this owner");
    g->has_owner_next = true;
    return 0;
}

static int parse_state(struct bytes text, enum component_state *ret_state)
{
    static const char *const states[] = {"active", "revoked", "retired"};

    for (size_t i = 0; i < COUNT_OF(states); i++)
        if (bytes_equal_text(text, states[i])) {
            *ret_state = (enum component_state)i;
            return 0;
        }
    return AICO_EREGISTRY;
}

/* SIGN(old, "rotate", lp8(NS) || lp8(name) || new Ed25519 || new X25519 || u64 UNTIL) */
static int verify_rotation(const struct parser *p, const struct component *c)
{
    uint8_t text[1 + NAMESPACE_MAX + 1 + COMPONENT_NAME_MAX + 32 + 32 + 8], *at = text;
    struct bytes ns = p->registry->namespace;
    size_t name_size = strlen(c->name);

    *at++ = (uint8_t)ns.size;
    bytes_copy(at, ns);
    at += ns.size;
    *at++ = (uint8_t)name_size;
    memcpy(at, c->name, name_size);
    at += name_size;
    memcpy(at, c->identity, 32);
    memcpy(at + 32, c->transport, 32);
    at += 64;
    for (int i = 7; i >= 0; i--)
        *at++ = (uint8_t)((uint64_t)c->replaces_until_ms >> (8 * i));
    return sign_verify(c->replaces_identity, "rotate", bytes_of(text, (size_t)(at - text)),
                       bytes_of(NULL, 0), c->replaces_signature);
}

/* What may follow SINCE: `replaces OLD UNTIL SIG` and then `peer aico`. */
static int parse_component_tail(struct parser *p, struct component *c)
{
    size_t at = 7;
    uint64_t until;

    if (field_is(p, at, "replaces")) {
        if (p->count < at + 4 ||
            !hex_parse(p->fields[at + 1], c->replaces_identity, SIGN_PUBLIC_SIZE) ||
            !number(p->fields[at + 2], INT64_MAX, &until) ||
            !hex_parse(p->fields[at + 3], c->replaces_signature, SIGNATURE_SIZE))
            return refuse(p, "replaces takes the old key, a time and a signature");
        c->replaces = true;
        c->replaces_until_ms = (int64_t)until;
        if (verify_rotation(p, c) < 0)
            return refuse(p, "the old key did not sign this rotation");
        at += 4;
    }
    if (field_is(p, at, "peer") && field_is(p, at + 1, "aico")) {
        c->peer_aico = true;
        at += 2;
    }
    return at == p->count ? 0 : refuse(p, "unknown word after the component");
}

/* Adds @entry to the tables. A name may stand twice only when one line replaces the other's key. */
static int index_component(struct parser *p, struct component_entry *entry)
{
    struct registry *g = p->registry;
    struct component *c = &entry->component;
    struct component_entry *same = NULL;
    size_t name_size = strlen(c->name);

    HASH_FIND(by_identity, g->by_identity, c->identity, SIGN_PUBLIC_SIZE, same);
    if (same)
        return refuse(p, "this identity key stands twice");
    HASH_FIND(by_transport, g->by_transport, c->transport, DH_PUBLIC_SIZE, same);
    if (same)
        return refuse(p, "this transport key stands twice");
    HASH_ADD_KEYPTR(by_identity, g->by_identity, c->identity, SIGN_PUBLIC_SIZE, entry);
    HASH_ADD_KEYPTR(by_transport, g->by_transport, c->transport, DH_PUBLIC_SIZE, entry);

    HASH_FIND(by_name, g->by_name, c->name, name_size, same);
    if (same) {
        bool new_replaces = c->replaces && memcmp(c->replaces_identity, same->component.identity,
                                                  SIGN_PUBLIC_SIZE) == 0;
        bool old_replaces = same->component.replaces && memcmp(same->component.replaces_identity,
                                                               c->identity, SIGN_PUBLIC_SIZE) == 0;

        if (new_replaces == old_replaces)
            return refuse(p, "this name stands twice and neither line replaces the other's key");
        if (old_replaces)
            return 0; /* the line that dials now is in the table already */
        HASH_DELETE(by_name, g->by_name, same);
    }
    HASH_ADD_KEYPTR(by_name, g->by_name, c->name, name_size, entry);
    return HASH_ADDED(by_name, entry) && HASH_ADDED(by_identity, entry) &&
                   HASH_ADDED(by_transport, entry)
               ? 0
               : AICO_ENOMEM;
}

static int parse_component(struct parser *p)
{
    struct registry *g = p->registry;
    struct component_entry *entry, **grown;
    struct component *c;
    uint64_t since;
    int r;

    if (p->count < 7)
        return refuse(p, "component takes a name, two keys, a state, roles and a time");
    grown = realloc(g->components, (g->component_count + 1) * sizeof(struct component_entry *));
    entry = calloc(1, sizeof(*entry));
    if (grown)
        g->components = grown;
    if (!grown || !entry) {
        free(entry);
        return AICO_ENOMEM;
    }
    c = &entry->component;
    c->serial = (uint32_t)g->component_count;
    g->components[g->component_count++] = entry;
    c->replaced_until_ms = INT64_MAX;

    if (!component_name_is_valid(p->fields[1]))
        return refuse(p, "not a component name");
    bytes_copy(c->name, p->fields[1]);
    if (!hex_parse(p->fields[2], c->identity, SIGN_PUBLIC_SIZE) ||
        !hex_parse(p->fields[3], c->transport, DH_PUBLIC_SIZE))
        return refuse(p, "keys are 64 lower-case hex digits");
    if (parse_state(p->fields[4], &c->state) < 0)
        return refuse(p, "state is active, revoked or retired");
    r = parse_list(p, p->fields[5], is_role, "not a role name", &c->roles, &c->role_count);
    if (r < 0)
        return r;
    if (!number(p->fields[6], INT64_MAX, &since))
        return refuse(p, "since is a time in ms");
    c->since_ms = (int64_t)since;
    r = parse_component_tail(p, c);
    return r < 0 ? r : index_component(p, entry);
}

static bool decode_filter(struct bytes text, char to[TOPIC_SIZE_MAX + 1], size_t *ret_size)
{
    return lines_decode(text, to, TOPIC_SIZE_MAX, ret_size) &&
           filter_is_valid(bytes_of(to, *ret_size));
}

/* The word after @key at @at must be one of @words; its index. */
static int parse_word(struct parser *p, size_t at, const char *key, const char *const *words,
                      size_t count, unsigned *ret_index)
{
    if (!field_is(p, at, key))
        return aico_error_set(p->err, AICO_EREGISTRY, "registry line %zu: expected '%s'", p->line,
                              key);
    for (size_t i = 0; i < count; i++)
        if (field_is(p, at + 1, words[i])) {
            *ret_index = (unsigned)i;
            return 0;
        }
    return aico_error_set(p->err, AICO_EREGISTRY, "registry line %zu: unknown %s", p->line, key);
}

/* `WORD=NUMBER` at the front of @rest, and the comma behind it if more follows. */
static bool take_limit(struct bytes *rest, const char *word, uint64_t max, uint64_t *ret)
{
    size_t size = strlen(word), end;
    struct bytes digits;

    if (rest->size <= size || memcmp(rest->at, word, size) != 0)
        return true;
    for (end = size; end < rest->size && rest->at[end] != ','; end++)
        ;
    digits = bytes_of(rest->at + size, end - size);
    if (!number(digits, max, ret) || *ret == 0 || end + 1 == rest->size)
        return false;
    end += end < rest->size;
    *rest = bytes_of(rest->at + end, rest->size - end);
    return true;
}

bool rule_store_parse(struct bytes text, struct rule_store *ret_store)
{
    struct rule_store store = {.on = text.size > 0};

    if (!store.on || !take_limit(&text, "age=", RULE_STORE_AGE_MAX, &store.age_s) ||
        !take_limit(&text, "count=", RULE_STORE_MAX, &store.count) ||
        !take_limit(&text, "bytes=", RULE_STORE_MAX, &store.bytes) || text.size > 0)
        return false;
    *ret_store = store;
    return true;
}

/* `[history] [store LIMITS]` behind freshness. */
static int parse_rule_tail(struct parser *p, struct rule *rule)
{
    size_t at = 14;

    rule->history = field_is(p, at, "history");
    at += rule->history;
    if (field_is(p, at, "store")) {
        if (at + 1 >= p->count || !rule_store_parse(p->fields[at + 1], &rule->store))
            return refuse(p, "store takes age=SECONDS,count=N,bytes=N, one of them at least");
        if (rule->seal == SEAL_CHANNEL || rule->seal == SEAL_RATCHET)
            return refuse(p, "store needs seal group or none: nobody could open it later");
        at += 2;
    }
    return p->count == at ? 0 : refuse(p, "unknown word after the rule");
}

static int parse_rule_words(struct parser *p, struct rule *rule)
{
    static const char *const seals[] = {"channel", "group", "ratchet", "none"};
    static const char *const authenticities[] = {"group", "sender", "signature"};
    static const char *const paddings[] = {"none", "padme"};
    unsigned seal = 0, authenticity = 0, padding = 0;
    uint64_t freshness;
    int r;

    if ((r = parse_word(p, 6, "seal", seals, COUNT_OF(seals), &seal)) < 0 ||
        (r = parse_word(p, 8, "authenticity", authenticities, COUNT_OF(authenticities),
                        &authenticity)) < 0 ||
        (r = parse_word(p, 10, "padding", paddings, COUNT_OF(paddings), &padding)) < 0)
        return r;
    if (!field_is(p, 12, "freshness") || !number(p->fields[13], UINT32_MAX, &freshness))
        return refuse(p, "freshness takes seconds");
    rule->seal = (enum rule_seal)seal;
    rule->authenticity = (enum rule_authenticity)authenticity;
    rule->padding = padding == 1;
    rule->freshness_s = (uint32_t)freshness;
    return parse_rule_tail(p, rule);
}

static int parse_rule(struct parser *p)
{
    struct registry *g = p->registry;
    struct rule_entry *entry, **grown;
    size_t size;
    int r;

    if (p->count < 14)
        return refuse(p, "rule takes a filter, publish, subscribe, seal, authenticity, padding and "
                         "freshness");
    grown = realloc(g->rules, (g->rule_count + 1) * sizeof(struct rule_entry *));
    entry = calloc(1, sizeof(*entry));
    if (grown)
        g->rules = grown;
    if (!grown || !entry) {
        free(entry);
        return AICO_ENOMEM;
    }
    g->rules[g->rule_count++] = entry;
    entry->rule.line = p->line;
    entry->rule.text = bytes_of(p->fields[0].at, (size_t)(p->rest.at - p->fields[0].at) - 1);

    if (!decode_filter(p->fields[1], entry->filter, &size))
        return refuse(p, "not a filter");
    entry->rule.filter = bytes_of(entry->filter, size);
    hash_tagged_n("rule", entry->rule.filter, entry->rule.id, sizeof(entry->rule.id));
    for (size_t i = 0; i + 1 < g->rule_count; i++)
        if (bytes_equal(g->rules[i]->rule.filter, entry->rule.filter))
            return refuse(p, "this filter has a rule already");
    if (!field_is(p, 2, "publish") || !field_is(p, 4, "subscribe"))
        return refuse(p, "expected publish WHO subscribe WHO");
    r = parse_list(p, p->fields[3], is_who, "WHO is *, a name or @role",
                   &entry->rule.publish.entries, &entry->rule.publish.count);
    if (r == 0)
        r = parse_list(p, p->fields[5], is_who, "WHO is *, a name or @role",
                       &entry->rule.subscribe.entries, &entry->rule.subscribe.count);
    return r < 0 ? r : parse_rule_words(p, &entry->rule);
}

/* Whoever follows the keys before @c comes to an end. */
static bool replaces_itself(const struct registry *g, const struct component *c)
{
    const struct component *former = c;

    for (size_t steps = 0; former && former->replaces; steps++) {
        if (steps == g->component_count)
            return true;
        former = registry_find_identity(g, former->replaces_identity);
    }
    return false;
}

/* A line that replaces a key may only replace one of its own name, which then has an end. */
static int check_rotations(struct parser *p)
{
    const struct registry *g = p->registry;

    for (size_t i = 0; i < g->component_count; i++) {
        const struct component *c = &g->components[i]->component;
        struct component_entry *old = NULL;

        if (replaces_itself(g, c))
            return refuse(p, "keys that replace one another in a ring");

        if (!c->replaces)
            continue;
        HASH_FIND(by_identity, g->by_identity, c->replaces_identity, SIGN_PUBLIC_SIZE, old);
        if (!old)
            continue;
        if (strcmp(old->component.name, c->name) != 0)
            return refuse(p, "a component replaces the key of another one");
        old->component.replaced_until_ms =
            MIN(old->component.replaced_until_ms, c->replaces_until_ms);
    }
    return 0;
}

static int parse_body(struct parser *p)
{
    bool rules_began = false;
    int r;

    while ((r = next_line(p)) > 0) {
        bool is_first = p->registry->component_count == 0 && !rules_began;

        if (field_is(p, 0, "owner-next") && is_first && !p->registry->has_owner_next)
            r = parse_owner_next(p);
        else if (field_is(p, 0, "component") && !rules_began)
            r = parse_component(p);
        else if (field_is(p, 0, "rule"))
            r = parse_rule(p), rules_began = true;
        else
            r = refuse(p, "unknown word, or a line out of order");
        if (r < 0)
            return r;
    }
    return r < 0 ? r : check_rotations(p);
}

/* The signature line stands at the very end; everything before it is signed. */
static int verify(struct bytes document, const uint8_t owner[SIGN_PUBLIC_SIZE],
                  struct bytes *ret_signed)
{
    uint8_t signature[SIGNATURE_SIZE];
    struct bytes line;
    int r;

    if (document.size > REGISTRY_SIZE_MAX || document.size < SIGNATURE_LINE_SIZE + 1)
        return AICO_ESIZE;
    line = bytes_of(document.at + document.size - SIGNATURE_LINE_SIZE, SIGNATURE_LINE_SIZE);
    if (line.at[-1] != '\n' || line.at[line.size - 1] != '\n' ||
        memcmp(line.at, SIGNATURE_LINE, sizeof(SIGNATURE_LINE) - 1) != 0 ||
        !hex_parse(bytes_of(line.at + sizeof(SIGNATURE_LINE) - 1, 2 * SIGNATURE_SIZE), signature,
                   sizeof(signature)))
        return AICO_EREGISTRYSIGNATURE;
    *ret_signed = bytes_of(document.at, document.size - SIGNATURE_LINE_SIZE);
    r = sign_verify(owner, "registry", *ret_signed, bytes_of(NULL, 0), signature);
    return r == AICO_ESIGNATURE ? AICO_EREGISTRYSIGNATURE : r;
}

/* --- those this process holds ----------------------------------------------------------------- */

/* Who finds it taken parses a registry of its own: nobody waits to open a client, and a process
 * that was forked while it was taken goes on without sharing. */
static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static struct registry *live;

static bool is_same(const struct registry *g, struct bytes document,
                    const uint8_t owner[SIGN_PUBLIC_SIZE], struct bytes namespace)
{
    return bytes_equal(bytes_of(g->document, g->document_size), document) &&
           memcmp(g->owner, owner, SIGN_PUBLIC_SIZE) == 0 && bytes_equal(g->namespace, namespace);
}

static struct registry *live_find(struct bytes document, const uint8_t owner[SIGN_PUBLIC_SIZE],
                                  struct bytes namespace)
{
    struct registry *g;

    if (pthread_mutex_trylock(&live_lock) != 0)
        return NULL;
    for (g = live; g; g = g->next)
        if (is_same(g, document, owner, namespace))
            break;
    if (g)
        (void)registry_ref(g);
    (void)pthread_mutex_unlock(&live_lock);
    return g;
}

static void live_add(struct registry *g)
{
    if (pthread_mutex_trylock(&live_lock) != 0)
        return;
    g->is_live = true;
    DL_PREPEND(live, g);
    (void)pthread_mutex_unlock(&live_lock);
}

/* Lets go of one reference; whether it was the last. What is in the list has one. */
static bool live_release(struct registry *g)
{
    bool is_last;

    if (!g->is_live)
        return atomic_fetch_sub(&g->count, 1) == 1;
    (void)pthread_mutex_lock(&live_lock);
    is_last = atomic_fetch_sub(&g->count, 1) == 1;
    if (is_last)
        DL_DELETE(live, g);
    (void)pthread_mutex_unlock(&live_lock);
    return is_last;
}

int registry_parse(struct bytes document, const uint8_t owner[SIGN_PUBLIC_SIZE],
                   struct bytes namespace, struct registry **ret_registry, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *g = NULL;
    struct parser p = {.err = err};
    struct bytes signed_part;
    int r;

    g = live_find(document, owner, namespace);
    if (g) {
        *ret_registry = STEAL(g);
        return 0;
    }
    r = verify(document, owner, &signed_part);
    if (r < 0)
        return aico_error_set(err, r, "registry: %s", aico_error_string(r));

    g = calloc(1, sizeof(*g));
    if (!g)
        return aico_error_set(err, AICO_ENOMEM, "registry: out of memory");
    atomic_init(&g->count, 1);
    memcpy(g->owner, owner, SIGN_PUBLIC_SIZE);
    g->document = malloc(document.size);
    if (!g->document)
        return aico_error_set(err, AICO_ENOMEM, "registry: out of memory");
    bytes_copy(g->document, document);
    g->document_size = document.size;
    hash_tagged_n("registry hash", document, g->hash, sizeof(g->hash));

    atomic_fetch_add(&parse_count, 1);
    p.registry = g;
    p.rest = bytes_of(g->document, signed_part.size);
    r = parse_head(&p, namespace);
    if (r == 0)
        r = parse_body(&p);
    if (r == AICO_ENOMEM)
        (void)aico_error_set(err, r, "registry: out of memory");
    if (r < 0)
        return r;
    live_add(g);
    *ret_registry = STEAL(g);
    return 0;
}

struct registry *registry_ref(struct registry *registry)
{
    atomic_fetch_add(&registry->count, 1);
    return registry;
}

static void list_free(char **entries, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(entries[i]);
    free(entries);
}

void registry_unref(struct registry **registry)
{
    struct registry *g = *registry;

    *registry = NULL;
    if (!g || !live_release(g))
        return;
    HASH_CLEAR(by_name, g->by_name);
    HASH_CLEAR(by_identity, g->by_identity);
    HASH_CLEAR(by_transport, g->by_transport);
    for (size_t i = 0; i < g->component_count; i++) {
        list_free(g->components[i]->component.roles, g->components[i]->component.role_count);
        free(g->components[i]);
    }
    for (size_t i = 0; i < g->rule_count; i++) {
        list_free(g->rules[i]->rule.publish.entries, g->rules[i]->rule.publish.count);
        list_free(g->rules[i]->rule.subscribe.entries, g->rules[i]->rule.subscribe.count);
        free(g->rules[i]);
    }
    free(g->components);
    free(g->rules);
    free(g->document);
    free(g);
}

int registry_may_replace(const struct registry *current, uint64_t floor_version,
                         const uint8_t floor_hash[REGISTRY_HASH_SIZE], const struct registry *next)
{
    uint64_t version = current ? current->version : floor_version;
    const uint8_t *hash = current ? current->hash : floor_hash;

    if (current && current->version < floor_version) {
        version = floor_version;
        hash = floor_hash;
    }
    if (next->version < version)
        return AICO_EREGISTRYOLD;
    if (next->version > version)
        return 0;
    if (memcmp(next->hash, hash, REGISTRY_HASH_SIZE) != 0)
        return AICO_EEQUIVOCATION;
    return current ? AICO_EEXISTS : 0;
}

struct bytes registry_document(const struct registry *registry)
{
    return bytes_of(registry->document, registry->document_size);
}

struct bytes registry_namespace(const struct registry *registry)
{
    return registry->namespace;
}

uint64_t registry_version(const struct registry *registry)
{
    return registry->version;
}

int64_t registry_issued_ms(const struct registry *registry)
{
    return registry->issued_ms;
}

const uint8_t *registry_hash(const struct registry *registry)
{
    return registry->hash;
}

const uint8_t *registry_owner(const struct registry *registry)
{
    return registry->owner;
}

const uint8_t *registry_owner_next(const struct registry *registry)
{
    return registry->has_owner_next ? registry->owner_next : NULL;
}

const uint8_t *registry_owner_next_signature(const struct registry *registry)
{
    return registry->has_owner_next ? registry->owner_next_signature : NULL;
}

int64_t registry_next_change(const struct registry *registry, int64_t now_ms)
{
    int64_t next = INT64_MAX;

    for (size_t i = 0; i < registry->component_count; i++) {
        int64_t until = registry->components[i]->component.replaced_until_ms;

        if (until < INT64_MAX && until >= now_ms)
            next = MIN(next, until + 1);
    }
    return next;
}

size_t registry_component_count(const struct registry *registry)
{
    return registry->component_count;
}

const struct component *registry_component_at(const struct registry *registry, size_t index)
{
    return &registry->components[index]->component;
}

const struct component *registry_find_name(const struct registry *registry, struct bytes name)
{
    struct component_entry *entry = NULL;

    HASH_FIND(by_name, registry->by_name, name.at, name.size, entry);
    return entry ? &entry->component : NULL;
}

const struct component *registry_find_identity(const struct registry *registry,
                                               const uint8_t identity[SIGN_PUBLIC_SIZE])
{
    struct component_entry *entry = NULL;

    HASH_FIND(by_identity, registry->by_identity, identity, SIGN_PUBLIC_SIZE, entry);
    return entry ? &entry->component : NULL;
}

const struct component *registry_find_transport(const struct registry *registry,
                                                const uint8_t transport[DH_PUBLIC_SIZE])
{
    struct component_entry *entry = NULL;

    HASH_FIND(by_transport, registry->by_transport, transport, DH_PUBLIC_SIZE, entry);
    return entry ? &entry->component : NULL;
}

const struct component *registry_replaced(const struct registry *registry,
                                          const struct component *component)
{
    const struct component *former =
        component->replaces ? registry_find_identity(registry, component->replaces_identity) : NULL;

    return former && former->state != COMPONENT_REVOKED ? former : NULL;
}

const struct component *registry_broker(const struct registry *registry)
{
    for (size_t i = 0; i < registry->component_count; i++) {
        const struct component *c = &registry->components[i]->component;

        if (c->state == COMPONENT_ACTIVE && component_has_role(c, REGISTRY_ROLE_BROKER) &&
            registry_find_name(registry, bytes_text(c->name)) == c)
            return c;
    }
    return NULL;
}

bool component_is_active(const struct registry *registry, const struct component *component,
                         int64_t now_ms)
{
    (void)registry;
    return component->state == COMPONENT_ACTIVE && now_ms <= component->replaced_until_ms;
}

bool component_has_role(const struct component *component, const char *role)
{
    for (size_t i = 0; i < component->role_count; i++)
        if (strcmp(component->roles[i], role) == 0)
            return true;
    return false;
}

size_t registry_rule_count(const struct registry *registry)
{
    return registry->rule_count;
}

const struct rule *registry_rule_at(const struct registry *registry, size_t index)
{
    return &registry->rules[index]->rule;
}

const struct rule *registry_rule_for(const struct registry *registry, struct bytes topic)
{
    for (size_t i = 0; i < registry->rule_count; i++)
        if (filter_matches(registry->rules[i]->rule.filter, topic))
            return &registry->rules[i]->rule;
    return NULL;
}

const struct rule *registry_rule_named(const struct registry *registry, struct bytes filter)
{
    for (size_t i = 0; i < registry->rule_count; i++)
        if (bytes_equal(registry->rules[i]->rule.filter, filter))
            return &registry->rules[i]->rule;
    return NULL;
}

bool rule_allows(const struct rule *rule, const struct component *component, enum right right)
{
    const struct who *who = right == RIGHT_PUBLISH ? &rule->publish : &rule->subscribe;

    for (size_t i = 0; i < who->count; i++) {
        const char *entry = who->entries[i];

        if (strcmp(entry, "*") == 0 || strcmp(entry, component->name) == 0 ||
            (entry[0] == '@' && component_has_role(component, entry + 1)))
            return true;
    }
    return false;
}

bool registry_may_subscribe(const struct registry *registry, const struct component *component,
                            struct bytes filter, const struct rule **ret_rule)
{
    *ret_rule = NULL;
    for (size_t i = 0; i < registry->rule_count; i++) {
        const struct rule *rule = &registry->rules[i]->rule;

        if (!filter_overlaps(rule->filter, filter))
            continue;
        *ret_rule = rule;
        if (rule_allows(rule, component, RIGHT_SUBSCRIBE))
            return true;
        if (filter_covers(rule->filter, filter))
            return false;
    }
    return false;
}
