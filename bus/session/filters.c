/* SPDX-License-Identifier: Apache-2.0 */
/* A node stands for the levels that lead to it, `star` for a level that is a wildcard. */
#include "session/filters.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/hash.h"

/* The filters that end at a node. */
struct end {
    size_t count;
    uint64_t number;
};

/* What a node is found by: parent and level, one behind the other. */
#define KEY_SIZE_MAX (sizeof(struct filters_node *) + TOPIC_SIZE_MAX)

struct filters_node {
    UT_hash_handle hh;
    struct filters_node *parent, *children, *prev, *next, *star;
    struct end exact, multi; /* multi: with `**` behind it */
    size_t key_size;         /* 0: it is the root or a star */
    uint8_t key[];
};

static size_t key_write(const struct filters_node *parent, struct bytes level,
                        uint8_t key[KEY_SIZE_MAX])
{
    memcpy(key, (const void *)&parent, sizeof(parent));
    bytes_copy(key + sizeof(parent), level);
    return sizeof(parent) + level.size;
}

static struct filters_node *node_child(const struct filters *filters,
                                       const struct filters_node *node, struct bytes level)
{
    struct filters_node *child = NULL;
    uint8_t key[KEY_SIZE_MAX];
    size_t size;

    if (!node->children || level.size > TOPIC_SIZE_MAX)
        return NULL;
    size = key_write(node, level, key);
    HASH_FIND(hh, filters->nodes, key, size, child);
    return child;
}

static struct filters_node *node_add_star(struct filters_node *node)
{
    node->star = calloc(1, sizeof(*node->star));
    if (node->star)
        node->star->parent = node;
    return node->star;
}

static struct filters_node *node_add_child(struct filters *filters, struct filters_node *node,
                                           struct bytes level)
{
    struct filters_node *child = calloc(1, sizeof(*child) + sizeof(node) + level.size);

    if (!child)
        return NULL;
    child->parent = node;
    child->key_size = key_write(node, level, child->key);
    HASH_ADD_KEYPTR(hh, filters->nodes, child->key, child->key_size, child);
    if (!HASH_ADDED(hh, child)) {
        free(child);
        return NULL;
    }
    DL_APPEND(node->children, child);
    return child;
}

/* Frees @node and its parents as far as nothing ends there or below. */
static void node_prune(struct filters *filters, struct filters_node *node)
{
    while (node && node->exact.count + node->multi.count == 0 && !node->children && !node->star) {
        struct filters_node *parent = node->parent;

        if (!parent) {
            filters->root = NULL;
        } else if (node->key_size == 0) {
            parent->star = NULL;
        } else {
            HASH_DEL(filters->nodes, node);
            DL_DELETE(parent->children, node);
        }
        free(node);
        node = parent;
    }
}

/* Where @filter ends; NULL: there is no such place. */
static struct end *find(const struct filters *filters, struct bytes filter,
                        struct filters_node **ret_node)
{
    struct filters_node *node = filters->root;
    struct bytes level;

    while (node && topic_next_level(&filter, &level)) {
        *ret_node = node;
        if (topic_level_is_rest(level))
            return &node->multi;
        node = topic_level_is_one(level) ? node->star : node_child(filters, node, level);
    }
    *ret_node = node;
    return node ? &node->exact : NULL;
}

/* The same, with the way there laid; NULL without memory. */
static struct end *make(struct filters *filters, struct bytes filter)
{
    struct filters_node *node = filters->root, *next;
    struct bytes level;

    if (!node)
        node = filters->root = calloc(1, sizeof(*node));
    while (node && topic_next_level(&filter, &level)) {
        if (topic_level_is_rest(level))
            return &node->multi;
        if (topic_level_is_one(level)) {
            next = node->star ? node->star : node_add_star(node);
        } else {
            next = node_child(filters, node, level);
            next = next ? next : node_add_child(filters, node, level);
        }
        if (!next)
            node_prune(filters, node);
        node = next;
    }
    return node ? &node->exact : NULL;
}

int filters_add(struct filters *filters, struct bytes filter, uint64_t number)
{
    struct end *end = make(filters, filter);

    if (!end)
        return AICO_ENOMEM;
    if (end->count++ == 0)
        end->number = number;
    return 0;
}

void filters_remove(struct filters *filters, struct bytes filter)
{
    struct filters_node *node;
    struct end *end = find(filters, filter, &node);

    assert(end && end->count > 0);
    end->count--;
    node_prune(filters, node);
}

size_t filters_count(const struct filters *filters, struct bytes filter)
{
    struct filters_node *node;
    const struct end *end = find(filters, filter, &node);

    return end ? end->count : 0;
}

static bool is_below(const struct end *end, uint64_t number)
{
    return end->count > 0 && end->number < number;
}

/* @wild: wildcards match the next level, which is not that of a bus's own name. Valid filters have
 * at most TOPIC_LEVELS_MAX levels, which bounds the depth. */
static bool matches(const struct filters *filters, const struct filters_node *node,
                    struct bytes rest, bool wild, uint64_t number)
{
    const struct filters_node *child;
    struct bytes level;

    if (wild && is_below(&node->multi, number))
        return true;
    if (!topic_next_level(&rest, &level))
        return is_below(&node->exact, number);
    child = node_child(filters, node, level);
    if (child && matches(filters, child, rest, true, number))
        return true;
    return wild && node->star && matches(filters, node->star, rest, true, number);
}

bool filters_match_below(const struct filters *filters, struct bytes topic, uint64_t number)
{
    return filters->root &&
           matches(filters, filters->root, topic, !topic_is_internal(topic), number);
}

bool filters_match(const struct filters *filters, struct bytes topic)
{
    return filters_match_below(filters, topic, UINT64_MAX);
}

/* Whether a wildcard stands for the level of @child: those of the bus are hidden at the root. */
static bool is_shown(const struct filters_node *child)
{
    return child->parent->parent || child->key[sizeof(child->parent)] != '$';
}

static bool overlaps(const struct filters *filters, const struct filters_node *node,
                     struct bytes rest, bool wild)
{
    const struct filters_node *child;
    struct bytes level;
    bool is_rest;

    if (wild && node->multi.count > 0)
        return true;
    if (!topic_next_level(&rest, &level))
        return node->exact.count > 0;
    is_rest = topic_level_is_rest(level);
    if (node->star && wild && (is_rest || overlaps(filters, node->star, rest, true)))
        return true;
    if (!is_rest && !topic_level_is_one(level)) {
        child = node_child(filters, node, level);
        return child && overlaps(filters, child, rest, true);
    }
    if (is_rest && node->exact.count > 0)
        return true;
    DL_FOREACH(node->children, child)
    if (is_shown(child) && (is_rest || overlaps(filters, child, rest, true)))
        return true;
    return false;
}

bool filters_overlap(const struct filters *filters, struct bytes filter)
{
    return filters->root && overlaps(filters, filters->root, filter, !topic_is_internal(filter));
}

/* Stars are in no table, so each is freed with its parent. */
static void stars_free(struct filters_node *node)
{
    while (node->star) {
        struct filters_node *star = node->star;

        node->star = star->star;
        free(star);
    }
}

void filters_deinit(struct filters *filters)
{
    struct filters_node *node, *next;

    HASH_ITER(hh, filters->nodes, node, next)
    {
        HASH_DEL(filters->nodes, node);
        stars_free(node);
        free(node);
    }
    if (filters->root)
        stars_free(filters->root);
    free(filters->root);
    filters->root = NULL;
}
