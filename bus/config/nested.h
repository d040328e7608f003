/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The second shape of security.yaml: `transport:` without `security:` above it, and the settings of
 * encryption in mappings below (docs/decisions/0033).
 */
#ifndef CONFIG_NESTED_H
#define CONFIG_NESTED_H

#include <stddef.h>

#define NESTED_ROOT "transport"

struct nested_key {
    const char *path; /* "transport.encryption.session.timeout_seconds" */
    const char *name; /* the key of security.transport it is another spelling of; NULL: none */
    const char *only; /* the one value that is accepted, as in the file; NULL: none is */
    const char *why;  /* without `name`: why there is no choice */
};

extern const struct nested_key nested_keys[];
extern const size_t nested_count;

struct parse;
struct tree_node;

/*
 * Takes the settings of @entry, the root `transport:` of @file. What is wrong is added to the
 * problems of the parse. 0 or AICO_ENOMEM.
 */
int nested_walk(struct parse *p, const struct tree_node *file, const struct tree_node *entry);

#endif
