/* SPDX-License-Identifier: Apache-2.0 */
/* Topics and filters against a naive matcher and against enumeration of a small alphabet. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "wire/topic.h"

static bool valid(const char *topic)
{
    return topic_is_valid(bytes_text(topic));
}

static bool matches(const char *filter, const char *topic)
{
    return filter_matches(bytes_text(filter), bytes_text(topic));
}

static void topics_are_levels_of_utf8(void **state UNUSED)
{
    assert_true(valid("conversation/user/input/v1"));
    assert_true(valid("a"));
    assert_true(valid("gr\xc3\xbc\xc3\x9f/\xf0\x9f\x98\x80"));
    assert_true(valid("$bus/control"));
    assert_false(valid(""));
    assert_false(valid("/a"));
    assert_false(valid("a/"));
    assert_false(valid("a//b"));
    assert_false(valid("a/*"));
    assert_false(valid("a/b+"));
    assert_false(valid("a#"));
    assert_false(valid("a\nb"));
    assert_false(valid("a\x7f"));
    assert_false(valid("\xc2\x85"));
    assert_false(valid("\xc0\xaf"));
    assert_false(valid("\xed\xa0\x80"));
    assert_false(valid("\xf4\x90\x80\x80"));
    assert_false(valid("\xe2\x82"));
    assert_false(topic_is_valid(bytes_of("a\0b", 3)));
}

static void size_and_levels_have_limits(void **state UNUSED)
{
    uint8_t text[256];

    memset(text, 'a', sizeof(text));
    assert_true(topic_is_valid(bytes_of(text, 255)));
    assert_false(topic_is_valid(bytes_of(text, 256)));
    for (size_t i = 1; i < 64; i += 2)
        text[i] = '/';
    assert_true(topic_is_valid(bytes_of(text, 63)));
    assert_false(topic_is_valid(bytes_of(text, 65)));
}

static void wildcards_stand_for_levels(void **state UNUSED)
{
    assert_true(filter_is_valid(bytes_text("a/*/c/**")));
    assert_true(filter_is_valid(bytes_text("+/b/#")));
    assert_false(filter_is_valid(bytes_text("a/**/c")));
    assert_false(filter_is_valid(bytes_text("a/b*")));
    assert_false(filter_is_valid(bytes_text("a/***")));
    assert_true(matches("a/*", "a/b"));
    assert_false(matches("a/*", "a"));
    assert_false(matches("a/*", "a/b/c"));
    assert_true(matches("a/**", "a"));
    assert_true(matches("a/#", "a/b/c"));
    assert_false(matches("a/**", "ab"));
    assert_false(matches("a", "a/b"));
    assert_true(matches("**", "a/b"));
}

static void names_of_the_bus_need_their_dollar(void **state UNUSED)
{
    assert_false(matches("**", "$bus/heads"));
    assert_false(matches("*/heads", "$bus/heads"));
    assert_true(matches("$bus/*", "$bus/heads"));
    assert_false(filter_overlaps(bytes_text("**"), bytes_text("$bus/heads")));
    assert_false(filter_covers(bytes_text("#"), bytes_text("$bus/**")));
}

static void canonical_is_one_spelling(void **state UNUSED)
{
    char to[TOPIC_SIZE_MAX + 1];

    assert_int_equal(filter_canonical(bytes_text("+/b/#"), to), 6);
    assert_string_equal(to, "*/b/**");
}

/* Random text over a tiny alphabet, so that collisions are common. */
static size_t random_levels(char *to, bool wildcards)
{
    size_t levels = 1 + (size_t)(rand() % 4), size = 0;

    for (size_t i = 0; i < levels; i++) {
        int r = rand() % (wildcards ? 7 : 3);

        if (size > 0)
            to[size++] = '/';
        if (r < 3)
            to[size++] = (char)('a' + r);
        else if (r < 5)
            to[size++] = r == 3 ? '*' : '+';
        else if (i + 1 == levels)
            to[size++] = '#';
        else
            to[size++] = 'a';
    }
    to[size] = '\0';
    return size;
}

static bool naive(const char *filter, const char *topic)
{
    size_t f = strcspn(filter, "/"), t = strcspn(topic, "/");

    if (strcmp(filter, "#") == 0)
        return true;
    if (*filter == '\0' || *topic == '\0')
        return *filter == *topic;
    if (!(f == 1 && (*filter == '*' || *filter == '+')) &&
        !(f == t && strncmp(filter, topic, f) == 0))
        return false;
    filter += f;
    topic += t;
    if (*topic == '\0' && strcmp(filter, "/#") == 0)
        return true;
    return naive(filter + (*filter == '/'), topic + (*topic == '/'));
}

static void matching_equals_a_naive_matcher(void **state UNUSED)
{
    char filter[32], topic[32];

    srand(7);
    for (int i = 0; i < 200000; i++) {
        (void)random_levels(filter, true);
        (void)random_levels(topic, false);
        if (matches(filter, topic) != naive(filter, topic))
            fail_msg("%s against %s", filter, topic);
    }
}

/* All topics of up to five levels over {a, b, c, d}: d stands for every name no filter mentions. */
static void enumerate(const char *a, const char *b, bool *overlap, bool *covers)
{
    *overlap = false;
    *covers = true;
    for (int levels = 1, count = 4; levels <= 5; levels++, count *= 4) {
        for (int n = 0; n < count; n++) {
            char topic[16];
            int rest = n;
            bool in_a, in_b;

            for (int i = 0; i < levels; i++, rest /= 4) {
                topic[2 * i] = (char)('a' + rest % 4);
                topic[2 * i + 1] = i + 1 < levels ? '/' : '\0';
            }
            in_a = matches(a, topic);
            in_b = matches(b, topic);
            *overlap |= in_a && in_b;
            *covers &= !in_b || in_a;
        }
    }
}

static void overlap_and_cover_equal_enumeration(void **state UNUSED)
{
    char a[32], b[32];

    srand(11);
    for (int i = 0; i < 400; i++) {
        bool overlap, covers;

        (void)random_levels(a, true);
        (void)random_levels(b, true);
        enumerate(a, b, &overlap, &covers);
        if (filter_overlaps(bytes_text(a), bytes_text(b)) != overlap)
            fail_msg("overlap of %s and %s", a, b);
        if (filter_covers(bytes_text(a), bytes_text(b)) != covers)
            fail_msg("%s covers %s", a, b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_levels_of_utf8),
        cmocka_unit_test(size_and_levels_have_limits),
        cmocka_unit_test(wildcards_stand_for_levels),
        cmocka_unit_test(names_of_the_bus_need_their_dollar),
        cmocka_unit_test(canonical_is_one_spelling),
        cmocka_unit_test(matching_equals_a_naive_matcher),
        cmocka_unit_test(overlap_and_cover_equal_enumeration),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
