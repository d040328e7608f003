/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One setting: from its text in a file into its field, and back. No I/O; any thread, as long as
 * the configuration written to is the thread's own.
 */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include <aico/config.h>

#include "config/schema.h"
#include "config/tree.h"

#define VALUE_WHY_SIZE 256
#define VALUE_SHOWN_SIZE 72

/* What paths are relative to. All borrowed. */
struct value_context {
    const char *home;      /* absolute */
    const char *user_home; /* for `~`; NULL: not known, and `~` is refused */
    const char *folder;    /* of the file, absolute; NULL while defaults are read */
};

/*
 * Checks @node and stores it in its field of @config, freeing what was there.
 *
 * @ret_place  on AICO_ECONFIG: the place of the cause, which for lists is one entry
 * @why        on AICO_ECONFIG: what is wrong, of VALUE_WHY_SIZE bytes: "59 is out of range"
 *
 * Returns 0, AICO_ECONFIG or AICO_ENOMEM.
 */
int value_read(const struct schema_key *key, const struct tree_node *node,
               const struct value_context *context, struct aico_config *config,
               struct place *ret_place, char *why);

/* The value as it would stand in a file, e.g. `3600` or `"/a b"`; free() it. "" when the field is
 * empty and the key has no word for that. NULL without memory. Not for SCHEMA_UNSTORED. */
char *value_text(const struct schema_key *key, const struct aico_config *config);

/* @text for a message, shortened between characters; returns @to of VALUE_SHOWN_SIZE. */
const char *value_shown(const char *text, char *to);

bool value_is_component_name(const char *text);
void value_list_deinit(struct aico_config_list *list);
/* Appends a copy. 0 or AICO_ENOMEM. */
int value_list_add(struct aico_config_list *list, const char *text);

#endif
