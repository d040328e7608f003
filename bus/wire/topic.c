/* SPDX-License-Identifier: Apache-2.0 */
/* Topics and filters, level by level. */
#include "wire/topic.h"

#include "base/utf8.h"

bool topic_next_level(struct bytes *rest, struct bytes *ret_level)
{
    const uint8_t *slash;

    if (!rest->at)
        return false;
    slash = rest->size > 0 ? memchr(rest->at, '/', rest->size) : NULL;
    if (!slash) {
        *ret_level = *rest;
        *rest = bytes_of(NULL, 0);
        return true;
    }
    *ret_level = bytes_of(rest->at, (size_t)(slash - rest->at));
    *rest = bytes_of(slash + 1, rest->size - ret_level->size - 1);
    return true;
}

bool topic_level_is_one(struct bytes level)
{
    return level.size == 1 && (level.at[0] == '*' || level.at[0] == '+');
}

bool topic_level_is_rest(struct bytes level)
{
    return (level.size == 1 && level.at[0] == '#') ||
           (level.size == 2 && level.at[0] == '*' && level.at[1] == '*');
}

/* A level without wildcards: UTF-8, no control characters, none of * + #. */
static bool is_plain(struct bytes level)
{
    if (level.size == 0)
        return false;
    while (level.size > 0) {
        uint32_t code;
        size_t size = utf8_next(level, &code);

        if (size == 0 || code < 0x20 || (code >= 0x7f && code < 0xa0))
            return false;
        if (code == '*' || code == '+' || code == '#')
            return false;
        level = bytes_of(level.at + size, level.size - size);
    }
    return true;
}

static bool is_valid(struct bytes text, bool wildcards)
{
    struct bytes rest = text, level;
    size_t count = 0;

    if (text.size == 0 || text.size > TOPIC_SIZE_MAX)
        return false;
    while (topic_next_level(&rest, &level)) {
        if (++count > TOPIC_LEVELS_MAX)
            return false;
        if (wildcards && (topic_level_is_one(level) || (topic_level_is_rest(level) && !rest.at)))
            continue;
        if (!is_plain(level))
            return false;
    }
    return true;
}

bool topic_is_valid(struct bytes topic)
{
    return is_valid(topic, false);
}

bool filter_is_valid(struct bytes filter)
{
    return is_valid(filter, true);
}

bool filter_has_wildcard(struct bytes filter)
{
    struct bytes rest = filter, level;

    while (topic_next_level(&rest, &level))
        if (topic_level_is_one(level) || topic_level_is_rest(level))
            return true;
    return false;
}

bool topic_is_internal(struct bytes topic)
{
    return topic.size > 0 && topic.at[0] == '$';
}

/* Whether the first level hides names of the bus: it is a wildcard. */
static bool begins_wild(struct bytes filter)
{
    struct bytes rest = filter, level = {0};

    return topic_next_level(&rest, &level) &&
           (topic_level_is_one(level) || topic_level_is_rest(level));
}

bool filter_matches(struct bytes filter, struct bytes topic)
{
    struct bytes f = filter, t = topic, filter_level, topic_level;

    if (topic_is_internal(topic) && begins_wild(filter))
        return false;
    while (topic_next_level(&f, &filter_level)) {
        if (topic_level_is_rest(filter_level))
            return true;
        if (!topic_next_level(&t, &topic_level))
            return false;
        if (!topic_level_is_one(filter_level) && !bytes_equal(filter_level, topic_level))
            return false;
    }
    return t.at == NULL;
}

bool filter_overlaps(struct bytes a, struct bytes b)
{
    struct bytes rest_a = a, rest_b = b, level_a = {0}, level_b = {0};

    if ((topic_is_internal(a) && begins_wild(b)) || (topic_is_internal(b) && begins_wild(a)))
        return false;
    for (;;) {
        bool more_a = topic_next_level(&rest_a, &level_a);
        bool more_b = topic_next_level(&rest_b, &level_b);

        if ((more_a && topic_level_is_rest(level_a)) || (more_b && topic_level_is_rest(level_b)))
            return true; /* the other one's levels so far matched; the rest is free */
        if (!more_a || !more_b)
            return more_a == more_b;
        if (!topic_level_is_one(level_a) && !topic_level_is_one(level_b) &&
            !bytes_equal(level_a, level_b))
            return false;
    }
}

bool filter_covers(struct bytes outer, struct bytes inner)
{
    struct bytes rest_outer = outer, rest_inner = inner, level_outer = {0}, level_inner = {0};

    if (topic_is_internal(inner) && begins_wild(outer))
        return false;
    for (;;) {
        bool more_outer = topic_next_level(&rest_outer, &level_outer);
        bool more_inner = topic_next_level(&rest_inner, &level_inner);

        if (more_outer && topic_level_is_rest(level_outer))
            return true;
        if (!more_outer || !more_inner)
            return more_outer == more_inner;
        if (topic_level_is_rest(level_inner)) /* may stand for levels that outer does not allow */
            return false;
        if (!topic_level_is_one(level_outer) &&
            (topic_level_is_one(level_inner) || !bytes_equal(level_outer, level_inner)))
            return false;
    }
}

size_t filter_canonical(struct bytes filter, char to[TOPIC_SIZE_MAX + 1])
{
    struct bytes rest = filter, level;
    size_t size = 0;

    while (topic_next_level(&rest, &level)) {
        if (topic_level_is_one(level))
            level = bytes_text("*");
        else if (topic_level_is_rest(level))
            level = bytes_text("**");
        if (size + level.size + (size > 0) > TOPIC_SIZE_MAX)
            return 0;
        if (size > 0)
            to[size++] = '/';
        bytes_copy(to + size, level);
        size += level.size;
    }
    to[size] = '\0';
    return size;
}
