/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A set of filters that is asked whether one of them matches a topic: a trie by level, so the
 * answer does not take longer because there are thousands of others. Not thread-safe.
 */
#ifndef SESSION_FILTERS_H
#define SESSION_FILTERS_H

#include <aico/error.h>

#include "wire/topic.h"

struct filters_node; /* private */

/* {0}: none. */
struct filters {
    struct filters_node *root;
    struct filters_node *nodes; /* all but the root, by parent and level */
};

/* @filter, valid, as often as it is added, with any spelling of its wildcards; it keeps the @number
 * it was first added with. 0, or AICO_ENOMEM: then nothing has changed. */
AICO_MUST_USE int filters_add(struct filters *filters, struct bytes filter, uint64_t number);
/* Takes back one filters_add() of @filter, which is in. */
void filters_remove(struct filters *filters, struct bytes filter);
/* How often it is in. */
size_t filters_count(const struct filters *filters, struct bytes filter);
/* Whether one matches @topic. */
bool filters_match(const struct filters *filters, struct bytes topic);
/* The same, of those with a number below @number. */
bool filters_match_below(const struct filters *filters, struct bytes topic, uint64_t number);
/* Whether some topic matches @filter and one of them (filter_overlaps()). */
bool filters_overlap(const struct filters *filters, struct bytes filter);
void filters_deinit(struct filters *filters);

#endif
