/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes registry documents: the next version is made from the current one, changed, and signed by
 * the owner. PROTOCOL 3. Not thread-safe; used by the keytool and by tests.
 */
#ifndef TRUST_DOCUMENT_H
#define TRUST_DOCUMENT_H

#include "base/buffer.h"
#include "trust/registry.h"

struct registry_draft; /* opaque; registry_draft_new() .. registry_draft_free() */

/* What a new component line says; everything is copied. */
struct component_line {
    const char *name;
    const uint8_t *identity;  /* SIGN_PUBLIC_SIZE */
    const uint8_t *transport; /* DH_PUBLIC_SIZE */
    const char *roles;        /* comma list, at least one */
    int64_t since_ms;
};

/* What a rule says; everything is copied. */
struct rule_line {
    struct bytes filter;
    const char *publish, *subscribe; /* comma lists of WHO */
    enum rule_seal seal;
    enum rule_authenticity authenticity;
    bool padding;
    uint32_t freshness_s;
    bool history;
    struct rule_store store;
};

/* From @current (borrowed during the call), or an empty one of @namespace when NULL. NULL without
 * memory. */
struct registry_draft *registry_draft_new(const struct registry *current, struct bytes namespace);
void registry_draft_free(struct registry_draft **draft);

/* 0, AICO_EEXISTS (name or key stands there already), AICO_ENOMEM. */
AICO_MUST_USE int registry_draft_add(struct registry_draft *draft,
                                     const struct component_line *line);
/* Every line of @name. 0, AICO_ENOTFOUND. */
AICO_MUST_USE int registry_draft_set_state(struct registry_draft *draft, const char *name,
                                           enum component_state state);
/* The line of @name that dials is marked `peer aico`. 0, AICO_ENOTFOUND, AICO_ENOMEM. */
AICO_MUST_USE int registry_draft_set_peer_aico(struct registry_draft *draft, const char *name);
/* Takes every line of @name out: for a name that is given away again. 0, AICO_ENOTFOUND. */
AICO_MUST_USE int registry_draft_remove(struct registry_draft *draft, const char *name);
/* Lines whose key was replaced and is valid no more at @now_ms become `retired`. */
void registry_draft_retire_replaced(struct registry_draft *draft, int64_t now_ms);
/*
 * The next key of a component: a line for @renewed behind that of @old, which stays valid until
 * @until_ms (by the old key's own signature), with the same roles and marks. Of the retired
 * lines of the name the last REGISTRY_FORMER_MAX stay. 0, AICO_ENOTFOUND (no active line of @old),
 * AICO_EEXISTS (@renewed stands there already), AICO_ENOMEM.
 */
AICO_MUST_USE int registry_draft_rotate(struct registry_draft *draft, const struct identity *old,
                                        const struct identity *renewed, int64_t since_ms,
                                        int64_t until_ms);
/* Another transport key of the same identity (`transport` n+1); the former is valid no more.
 * 0, AICO_ENOTFOUND, AICO_EEXISTS. */
AICO_MUST_USE int registry_draft_set_transport(struct registry_draft *draft,
                                               const struct identity *identity);
/* Replaces the rule of the same filter in place; else appends it, or puts it before the rule of
 * @before (NULL: the end). 0, AICO_ETOPIC, AICO_ENOTFOUND (@before), AICO_ENOMEM. */
AICO_MUST_USE int registry_draft_set_rule(struct registry_draft *draft,
                                          const struct rule_line *line, const struct bytes *before);
/* 0 or AICO_ENOTFOUND. */
AICO_MUST_USE int registry_draft_remove_rule(struct registry_draft *draft, struct bytes filter);
/* Announces the next owner: @next_seed signs for the current owner. Later drafts keep the
 * announcement as long as the same owner signs them. */
AICO_MUST_USE int registry_draft_set_owner_next(struct registry_draft *draft,
                                                const struct secret *owner_seed,
                                                const struct secret *next_seed);

/*
 * Appends the whole signed document to @ret_document: version + 1, previous = H(current document).
 * 0, AICO_ENOMEM, AICO_ESIZE (over REGISTRY_SIZE_MAX).
 */
AICO_MUST_USE int registry_draft_sign(const struct registry_draft *draft,
                                      const struct secret *owner_seed, int64_t issued_ms,
                                      struct buffer *ret_document);

#endif
