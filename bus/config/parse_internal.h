/* SPDX-License-Identifier: Apache-2.0 */
/* What parse.c shares with the walker of the other shape, nested.c. One parse, one thread. */
#ifndef CONFIG_PARSE_INTERNAL_H
#define CONFIG_PARSE_INTERNAL_H

#include "config/parse.h"
#include "config/tree.h"
#include "config/value.h"

#define PATH_SIZE 96

struct parse {
    const struct config_input *input;
    struct problem_list *problems;
    struct aico_config *config;
    struct value_context context;
    enum schema_file file;
};

/* Where the value of @key came from, to be written. */
struct config_origin *origin_of(const struct parse *p, const struct schema_key *key);
/* In a file, or implied by another setting. */
bool is_given(const struct config_origin *origin);
/* Checks and stores one setting; @path is the key as it is spelled in the file. What is wrong is
 * added to the problems. 0 or AICO_ENOMEM. */
int take_value(struct parse *p, const struct schema_key *key, const char *path,
               const struct tree_node *node);
/* @entry should have been a mapping. */
void require_map(struct parse *p, const char *path, const struct tree_node *entry);

#endif
