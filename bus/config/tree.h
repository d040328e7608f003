/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The subset of YAML that configuration files may use, as a tree with places: mappings, lists and
 * single values, one document, UTF-8. Anchors, aliases, tags, directives, tabs and control
 * characters are refused, because none of them is needed and each has surprised somebody.
 *
 * Only tree.c sees libyaml. Owned by one parse, one thread.
 */
#ifndef CONFIG_TREE_H
#define CONFIG_TREE_H

#include "base/bytes.h"
#include "config/problem.h"

#define TREE_DEPTH_MAX 8    /* our schema needs 4 */
#define TREE_NODES_MAX 4096 /* keeps the search for duplicate keys short on hostile input */

enum tree_kind { TREE_VALUE, TREE_LIST, TREE_MAP };

struct tree_node {
    enum tree_kind kind;
    struct place place; /* where the value begins */
    char *key;          /* inside a mapping, else NULL */
    struct place key_place;
    char *text;  /* of a TREE_VALUE, without control characters */
    bool quoted; /* a quoted value is text, whatever it looks like */
    struct tree_node *parent;
    struct tree_node *first; /* entries of a list or mapping, in the order of the file */
    struct tree_node *last;
    struct tree_node *next;
};

/*
 * Parses one file. A syntax problem ends the parse. A key that was given before is recorded in
 * @problems and in the tree, and the parse goes on: whoever takes the tree looks at
 * problems->count.
 *
 * @ret_root  receives the tree, freed by tree_free(); NULL for a file without content
 *
 * Returns 0, AICO_ECONFIG (@problems has the cause) or AICO_ENOMEM.
 */
int tree_parse(struct bytes text, struct problem_list *problems, struct tree_node **ret_root);
/* Frees the node with all below it and sets it to NULL. */
void tree_free(struct tree_node **node);

/* The entry @key of a mapping, or NULL. */
const struct tree_node *tree_find(const struct tree_node *map, const char *key);
/* No value at all: `key:` and nothing, `~` or `null`. */
bool tree_is_empty(const struct tree_node *node);

#endif
