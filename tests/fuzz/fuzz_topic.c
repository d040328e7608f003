/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topics and filters. Input: two texts, split by the first zero byte. Matching must equal a naive
 * matcher, and overlap and cover must not contradict it.
 */
#include "fuzz.h"

#include "base/utf8.h"
#include "wire/topic.h"

static bool is(struct bytes level, const char *a, const char *b)
{
    return bytes_equal_text(level, a) || bytes_equal_text(level, b);
}

/* Level by level, straight from the definition. */
static bool naive(struct bytes filter, struct bytes topic)
{
    struct bytes f = {0}, t = {0};
    bool has_f = topic_next_level(&filter, &f), has_t = topic_next_level(&topic, &t);

    if (!has_f)
        return !has_t;
    if (is(f, "**", "#"))
        return true;
    if (!has_t || !(is(f, "*", "+") || bytes_equal(f, t)))
        return false;
    return naive(filter, topic);
}

static void check_canonical(struct bytes filter, struct bytes topic)
{
    char canonical[TOPIC_SIZE_MAX + 1], again[TOPIC_SIZE_MAX + 1];
    size_t size = filter_canonical(filter, canonical);
    struct bytes same;

    if (size == 0)
        return;
    same = bytes_of(canonical, size);
    require(filter_is_valid(same));
    require(filter_canonical(same, again) == size && memcmp(canonical, again, size) == 0);
    require(filter_covers(filter, same) && filter_covers(same, filter));
    if (topic.size > 0)
        require(filter_matches(filter, topic) == filter_matches(same, topic));
}

static void check_pair(struct bytes a, struct bytes b)
{
    require(filter_overlaps(a, b) == filter_overlaps(b, a));
    require(filter_overlaps(a, a) && filter_covers(a, a));
    require(!filter_covers(a, b) || filter_overlaps(a, b));
    if (!filter_has_wildcard(b)) {
        require(filter_matches(a, b) == filter_covers(a, b));
        require(filter_matches(a, b) == filter_overlaps(a, b));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t first = zero ? (size_t)(zero - data) : size;
    uint8_t *left = copy_of(bytes_of(data, first));
    uint8_t *right = copy_of(zero ? bytes_of(zero + 1, size - first - 1) : bytes_of(NULL, 0));
    struct bytes a = {left, first}, b = {right, zero ? size - first - 1 : 0};

    if (topic_is_valid(a)) {
        require(a.size >= 1 && a.size <= TOPIC_SIZE_MAX && utf8_is_valid(a));
        require(filter_is_valid(a) && !filter_has_wildcard(a));
        require(topic_is_internal(a) == (a.at[0] == '$'));
    }
    if (filter_is_valid(a)) {
        bool valid = topic_is_valid(b);

        require(filter_has_wildcard(a) != topic_is_valid(a));
        check_canonical(a, valid ? b : bytes_of(NULL, 0));
        if (valid) {
            bool expected = naive(a, b);
            struct bytes rest = a, level;

            if (topic_is_internal(b) && topic_next_level(&rest, &level) &&
                (is(level, "**", "#") || is(level, "*", "+")))
                expected = false;
            require(filter_matches(a, b) == expected);
        }
        if (filter_is_valid(b))
            check_pair(a, b);
    }
    free(left);
    free(right);
    return 0;
}
