/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which peers get a topic's messages: a trie of filters by level, asked once per topic and change
 * of subscriptions or registry; afterwards the route of a known topic is a look-up.
 *
 * A node stands for the levels that lead to it. `exact` holds the subscriptions that end there,
 * `multi` those that end in `**` right below. `star` is the child for `*`.
 */
#include "broker/internal.h"

struct route_node {
    UT_hash_handle hh; /* among the parent's children, by level */
    struct route_node *parent, *children, *star;
    struct subscription *exact, *multi;
    bool is_star;
    uint8_t size;
    char level[];
};

static struct route_node *node_new(struct route_node *parent, struct bytes level)
{
    struct route_node *node = calloc(1, sizeof(*node) + level.size);

    if (!node)
        return NULL;
    node->parent = parent;
    node->size = (uint8_t)level.size;
    bytes_copy(node->level, level);
    node->is_star = bytes_equal_text(level, "*");
    return node;
}

/* Frees @node and its parents as far as they are empty; the root stays. */
static void node_prune(struct route_node *node)
{
    while (node->parent && !node->exact && !node->multi && !node->children && !node->star) {
        struct route_node *parent = node->parent;

        if (node->is_star)
            parent->star = NULL;
        else
            HASH_DEL(parent->children, node);
        free(node);
        node = parent;
    }
}

static struct route_node *node_child(struct route_node *node, struct bytes level)
{
    struct route_node *child = NULL;

    HASH_FIND(hh, node->children, level.at, level.size, child);
    return child;
}

/* The child of @node for a level of a filter, made if need be. */
static struct route_node *node_make_child(struct route_node *node, struct bytes level)
{
    bool star = bytes_equal_text(level, "*");
    struct route_node *child = star ? node->star : node_child(node, level);

    if (child)
        return child;
    child = node_new(node, level);
    if (!child)
        return NULL;
    if (star) {
        node->star = child;
        return child;
    }
    HASH_ADD_KEYPTR(hh, node->children, child->level, child->size, child);
    if (!HASH_ADDED(hh, child)) {
        free(child);
        return NULL;
    }
    return child;
}

int route_add(struct broker *b, struct subscription *s)
{
    struct bytes rest = bytes_of(s->filter, s->size), level;
    struct route_node *node;

    if (!b->routes)
        b->routes = node_new(NULL, bytes_of(NULL, 0));
    node = b->routes;
    if (!node)
        return AICO_ENOMEM;
    while (topic_next_level(&rest, &level)) {
        struct route_node *child;

        if (bytes_equal_text(level, "**")) {
            s->node = node;
            DL_APPEND(node->multi, s);
            break;
        }
        child = node_make_child(node, level);
        if (!child) {
            node_prune(node);
            return AICO_ENOMEM;
        }
        node = child;
    }
    if (!s->node) {
        s->node = node;
        DL_APPEND(node->exact, s);
    }
    b->subscription_count++;
    b->route_generation++;
    return 0;
}

static bool ends_in_multi(const struct subscription *s)
{
    return s->size >= 2 && memcmp(s->filter + s->size - 2, "**", 2) == 0;
}

void route_remove(struct broker *b, struct subscription *s)
{
    if (ends_in_multi(s))
        DL_DELETE(s->node->multi, s);
    else
        DL_DELETE(s->node->exact, s);
    node_prune(s->node);
    s->node = NULL;
    b->subscription_count--;
    b->route_generation++;
}

struct walk {
    struct broker *broker;
    struct topic *topic;
    uint64_t mark;
    bool internal; /* no wildcard in the first level matches */
    int result;
};

static uint8_t more_careful(uint8_t a, uint8_t b)
{
    static const uint8_t care[] = {
        [SLOW_DROP_OLD] = 0, [SLOW_DROP_NEW] = 1, [SLOW_DISCONNECT] = 2, [SLOW_BLOCK] = 3};

    return care[a] >= care[b] ? a : b;
}

static bool add_reader(struct walk *walk, const struct subscription *s)
{
    struct topic *topic = walk->topic;

    if (topic->reader_count == topic->reader_capacity) {
        size_t capacity = topic->reader_capacity ? 2 * topic->reader_capacity : 4;
        struct recipient *readers = realloc(topic->readers, capacity * sizeof(*readers));

        if (!readers) {
            walk->result = AICO_ENOMEM;
            return false;
        }
        topic->readers = readers;
        topic->reader_capacity = capacity;
    }
    topic->readers[topic->reader_count++] = (struct recipient){
        .peer = s->peer, .policy = s->policy, .serve = s->serve, .queue = s->queue};
    return true;
}

/* A subscription as one of a group. */
static void take_member(struct walk *walk, const struct subscription *s)
{
    struct topic *topic = walk->topic;

    struct membership *m = queue_membership(s->peer, s->queue);

    if (m->mark == walk->mark) {
        topic->readers[m->index].policy = more_careful(topic->readers[m->index].policy, s->policy);
        topic->readers[m->index].serve |= s->serve;
        return;
    }
    if (s->peer->state != PEER_READY || !may_read(walk->broker, s->peer, topic) ||
        !add_reader(walk, s))
        return;
    m->mark = walk->mark;
    m->index = topic->reader_count - 1;
}

static void take(struct walk *walk, const struct subscription *s)
{
    struct topic *topic = walk->topic;
    struct broker_peer *peer = s->peer;

    work_add(walk->broker, 1);
    if (s->queue) {
        take_member(walk, s);
        return;
    }
    if (peer->mark == walk->mark) {
        if (peer->mark_index != SIZE_MAX) {
            struct recipient *reader = &topic->readers[peer->mark_index];

            reader->policy = more_careful(reader->policy, s->policy);
            reader->serve |= s->serve;
        }
        return;
    }
    peer->mark = walk->mark;
    peer->mark_index = SIZE_MAX;
    if (peer->state != PEER_READY || !may_read(walk->broker, peer, topic))
        return;
    peer->mark_index = topic->reader_count;
    if (!add_reader(walk, s))
        peer->mark_index = SIZE_MAX;
}

/* Who gets all of a topic is no member of a group there: its own subscription brings everything. */
static void drop_members_that_read_all(struct topic *topic, uint64_t mark)
{
    size_t kept = 0;

    for (size_t i = 0; i < topic->reader_count; i++) {
        const struct broker_peer *peer = topic->readers[i].peer;

        if (topic->readers[i].queue && peer->mark == mark && peer->mark_index != SIZE_MAX)
            continue;
        topic->readers[kept++] = topic->readers[i];
    }
    topic->reader_count = kept;
}

static void take_all(struct walk *walk, const struct subscription *list)
{
    const struct subscription *s;

    DL_FOREACH(list, s)
    take(walk, s);
}

/* A topic has at most TOPIC_LEVELS_MAX levels, which bounds the depth. */
static void walk_node(struct walk *walk, struct route_node *node, struct bytes rest)
{
    bool wild = !walk->internal || node->parent;
    struct route_node *child;
    struct bytes level;

    if (wild)
        take_all(walk, node->multi);
    if (!topic_next_level(&rest, &level)) {
        take_all(walk, node->exact);
        return;
    }
    child = node_child(node, level);
    if (child)
        walk_node(walk, child, rest);
    if (node->star && wild)
        walk_node(walk, node->star, rest);
}

int route_update(struct broker *b, struct topic *topic)
{
    struct walk walk = {.broker = b, .topic = topic};

    if (topic->route_generation == b->route_generation)
        return 0;
    walk.mark = ++b->route_mark;
    walk.internal = topic_is_internal(topic_view(topic));
    topic->reader_count = 0;
    if (b->routes)
        walk_node(&walk, b->routes, topic_view(topic));
    drop_members_that_read_all(topic, walk.mark);
    if (walk.result == 0)
        topic->route_generation = b->route_generation;
    return walk.result;
}

struct recipient *route_find(struct topic *topic, const struct broker_peer *peer)
{
    for (size_t i = 0; i < topic->reader_count; i++)
        if (topic->readers[i].peer == peer)
            return &topic->readers[i];
    return NULL;
}

static void node_free(struct route_node *node)
{
    struct route_node *child, *next;

    if (!node)
        return;
    HASH_ITER(hh, node->children, child, next)
    {
        HASH_DEL(node->children, child);
        node_free(child);
    }
    node_free(node->star);
    free(node);
}

void route_free(struct broker *b)
{
    node_free(b->routes);
    b->routes = NULL;
}
