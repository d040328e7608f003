/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry: who belongs and which rule holds for a topic. PROTOCOL 3 (docs/protocol.md).
 *
 * A struct registry is made from one signed document and never changes; holders share it by
 * reference count. Parsing happens only after the owner's signature verified. Reading is safe from
 * any thread; ref and unref are atomic.
 */
#ifndef TRUST_REGISTRY_H
#define TRUST_REGISTRY_H

#include <aico/error.h>

#include "base/bytes.h"
#include "crypto/crypto.h"
#include "crypto/identity.h"

#define REGISTRY_SIZE_MAX (1024 * 1024)
#define REGISTRY_FORMER_MAX 3 /* keys of a component before the one it dials with */
#define REGISTRY_HASH_SIZE 16 /* H16(TAG("registry hash") || document) */
#define RULE_ID_SIZE 16       /* H16(TAG("rule") || filter) */
#define NAMESPACE_MAX 64
#define ROLE_NAME_MAX 64
#define REGISTRY_ROLE_BROKER "broker" /* the component that is the broker of this bus */
#define REGISTRY_ROLE_ADMIN "admin"   /* may ask the broker about others */

enum component_state { COMPONENT_ACTIVE, COMPONENT_REVOKED, COMPONENT_RETIRED };

/* One `component` line. During a rotation a name has two lines: the new one names the old key. */
struct component {
    char name[COMPONENT_NAME_MAX + 1];
    uint8_t identity[SIGN_PUBLIC_SIZE];
    uint8_t transport[DH_PUBLIC_SIZE];
    enum component_state state;
    uint32_t serial; /* position in the document, from 0: differs for every line of one version */
    char **roles;    /* role_count names */
    size_t role_count;
    int64_t since_ms;
    bool replaces; /* the three fields below are given */
    uint8_t replaces_identity[SIGN_PUBLIC_SIZE];
    int64_t replaces_until_ms;
    uint8_t replaces_signature[SIGNATURE_SIZE];
    bool peer_aico;            /* format 0 of the seed is spoken with it */
    int64_t replaced_until_ms; /* another line replaces this key: until then it is valid; else
                                  INT64_MAX */
};

enum rule_seal { SEAL_CHANNEL, SEAL_GROUP, SEAL_RATCHET, SEAL_NONE };
enum rule_authenticity { AUTHENTICITY_GROUP, AUTHENTICITY_SENDER, AUTHENTICITY_SIGNATURE };

/* A WHO list: `*`, names and `@role`s. */
struct who {
    char **entries; /* "*", "name" or "@role" */
    size_t count;
};

/* What of a topic the broker stores, docs/streams.md; a limit of 0 is none. */
struct rule_store {
    bool on;
    uint64_t age_s, count, bytes; /* at least one limit is given; bytes are those of envelopes */
};
#define RULE_STORE_AGE_MAX ((uint64_t)10 * 366 * 86400)
#define RULE_STORE_MAX ((uint64_t)1 << 50) /* of count and bytes */

/* One `rule` line; `line` is its 1-based line in the document: the name a refusal gives it. The
 * next version may have it in another line: what counts by rule goes by `id`, which is its filter's
 * in every version. */
struct rule {
    struct bytes filter; /* decoded (%XX undone); borrowed from the registry */
    struct bytes text;   /* the whole line; borrowed from the registry */
    size_t line;
    uint8_t id[RULE_ID_SIZE];
    struct who publish;
    struct who subscribe;
    enum rule_seal seal;
    enum rule_authenticity authenticity;
    bool padding;
    uint32_t freshness_s; /* 0: none */
    bool history;
    struct rule_store store;
};

/* `age=SECONDS,count=N,bytes=N`: any of them, in this order. False: something else. */
bool rule_store_parse(struct bytes text, struct rule_store *ret_store);

struct registry; /* opaque; counted */

/*
 * Verifies and parses @document (copied). What somebody in this process holds already, by the same
 * bytes, owner and namespace, is shared: a hundred clients of a process hold one. Any thread.
 *
 * @owner      the pinned owner key
 * @namespace  ours
 * Returns 0 and one reference, AICO_EREGISTRYSIGNATURE (nothing was parsed), AICO_ENAMESPACE,
 * AICO_EREGISTRY (with line and cause in @err), AICO_ESIZE, AICO_ENOMEM.
 */
AICO_MUST_USE int registry_parse(struct bytes document, const uint8_t owner[SIGN_PUBLIC_SIZE],
                                 struct bytes namespace, struct registry **ret_registry,
                                 struct aico_error *err);
struct registry *registry_ref(struct registry *registry);
void registry_unref(struct registry **registry);
/* How often the parser proper ran in this process: tests prove that a forged document never
 * reaches it. */
uint64_t registry_parse_count(void);

/*
 * Whether @next may take the place of @current (NULL: nothing accepted yet; @floor_version and
 * @floor_hash then say what was accepted before, zeros if nothing). 0 (take it), AICO_EEXISTS (the
 * same document), AICO_EREGISTRYOLD, AICO_EEQUIVOCATION.
 */
int registry_may_replace(const struct registry *current, uint64_t floor_version,
                         const uint8_t floor_hash[REGISTRY_HASH_SIZE], const struct registry *next);

struct bytes registry_document(const struct registry *registry);
struct bytes registry_namespace(const struct registry *registry);
uint64_t registry_version(const struct registry *registry);
int64_t registry_issued_ms(const struct registry *registry);
const uint8_t *registry_hash(const struct registry *registry);  /* REGISTRY_HASH_SIZE */
const uint8_t *registry_owner(const struct registry *registry); /* SIGN_PUBLIC_SIZE */
/* The announced next owner key and its proof (SIGNATURE_SIZE), which was verified; NULL if none. */
const uint8_t *registry_owner_next(const struct registry *registry);
const uint8_t *registry_owner_next_signature(const struct registry *registry);
/* The first time after @now_ms at which a key that was replaced is valid no more; INT64_MAX if
 * nothing of that kind is due. */
int64_t registry_next_change(const struct registry *registry, int64_t now_ms);

size_t registry_component_count(const struct registry *registry);
const struct component *registry_component_at(const struct registry *registry, size_t index);
/* The line of @name that dials now (not the one being replaced); NULL when absent. O(1). */
const struct component *registry_find_name(const struct registry *registry, struct bytes name);
/* By Ed25519 identity or X25519 transport key, any line, whatever its state; NULL when absent. */
const struct component *registry_find_identity(const struct registry *registry,
                                               const uint8_t identity[SIGN_PUBLIC_SIZE]);
const struct component *registry_find_transport(const struct registry *registry,
                                                const uint8_t transport[DH_PUBLIC_SIZE]);
/* The line whose key @component's took the place of, by its word and the owner's; NULL: none, or it
 * was revoked. That of the line it returns is the one before, and so on; they end. */
const struct component *registry_replaced(const struct registry *registry,
                                          const struct component *component);
/* The active component with role `broker`; NULL when none. */
const struct component *registry_broker(const struct registry *registry);
/* Active now: state active, and not a line whose replacement's overlap has ended at @now_ms. */
bool component_is_active(const struct registry *registry, const struct component *component,
                         int64_t now_ms);
bool component_has_role(const struct component *component, const char *role);

size_t registry_rule_count(const struct registry *registry);
const struct rule *registry_rule_at(const struct registry *registry, size_t index);
/* The first rule whose filter matches @topic; NULL: nobody may do anything with it. */
const struct rule *registry_rule_for(const struct registry *registry, struct bytes topic);
/* The rule whose filter is exactly @filter. */
const struct rule *registry_rule_named(const struct registry *registry, struct bytes filter);

enum right { RIGHT_PUBLISH, RIGHT_SUBSCRIBE };
/* Whether @rule gives @component the @right (membership only: the caller checks that it is
 * active). */
bool rule_allows(const struct rule *rule, const struct component *component, enum right right);
/*
 * Whether @component may subscribe to @filter: true if some rule that can decide for a topic
 * @filter matches allows it (the broker then checks every topic again when it routes, so a
 * wildcard shows exactly what the rules allow). Walks the rules in order, skips those that do not
 * overlap @filter, stops after one that covers @filter wholly. *ret_rule gets the rule that allowed
 * it, else the last one that overlapped (NULL: no rule overlaps, so default deny).
 */
bool registry_may_subscribe(const struct registry *registry, const struct component *component,
                            struct bytes filter, const struct rule **ret_rule);

#endif
