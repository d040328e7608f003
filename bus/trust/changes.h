/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What one registry has that the one before had not, for the audit log: who came, went, has another
 * key, and which rules are others. Pure, any thread.
 */
#ifndef TRUST_CHANGES_H
#define TRUST_CHANGES_H

#include "trust/registry.h"

enum registry_change_kind {
    CHANGE_ADDED,   /* a component */
    CHANGE_ROTATED, /* another identity, or another transport key, of a component */
    CHANGE_REVOKED,
    CHANGE_RETIRED,
    CHANGE_OTHER, /* roles, rules, the owner, and what a component is besides */
};

struct registry_change {
    enum registry_change_kind kind;
    const char *component; /* its name; "": of no component */
    const char *text;      /* one line, with the version of the later registry */
};

/* Both are valid during the call. */
typedef void (*registry_saw_change)(void *context, const struct registry_change *change);

/*
 * Calls @saw for each component line and each rule of @next that differs from @former, for each
 * that is in one of them only, and for another owner. A rotation is one change, of the line that
 * came.
 */
void registry_changes(const struct registry *former, const struct registry *next,
                      registry_saw_change saw, void *context);

#endif
