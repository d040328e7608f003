/* SPDX-License-Identifier: Apache-2.0 */
/* A set of filters answers as each of them does by itself (wire/topic.h), whatever was added to it
 * and taken back. The seed of a run is printed; AICO_TEST_SEED repeats it. */
#include "vectors.h"

#include "random.h"

#include "base/cleanup.h"
#include "session/filters.h"

#define MEMBERS_MAX 60
#define ROUNDS 400
#define QUESTIONS 60

/* Few levels of few names, so that much matches. */
static struct bytes make(char to[TOPIC_SIZE_MAX + 1], bool wild)
{
    static const char *const names[] = {"a", "b", "ab", "$bus", "c"};
    static const char *const rests[] = {"*", "+", "**", "#"}; /* the latter at the end */
    size_t levels = 1 + random_u64() % 4;

    to[0] = '\0';
    for (size_t i = 0; i < levels; i++) {
        const char *name = names[random_u64() % (i == 0 ? 5 : 3)];

        if (wild && random_u64() % 4 == 0)
            name = rests[i + 1 == levels ? random_u64() % 4 : random_u64() % 2];
        if (i > 0)
            strcat(to, "/");
        strcat(to, name);
    }
    return bytes_text(to);
}

/* The plain way. A filter is the same whatever spelling its wildcards have. */
static struct member {
    char filter[TOPIC_SIZE_MAX + 1];
    uint64_t number;
    size_t count;
} members[MEMBERS_MAX];
static size_t member_count;

static struct member *member_of(struct bytes filter)
{
    for (size_t i = 0; i < member_count; i++)
        if (members[i].count > 0 && filter_covers(filter, bytes_text(members[i].filter)) &&
            filter_covers(bytes_text(members[i].filter), filter))
            return &members[i];
    return NULL;
}

static uint64_t first(struct bytes topic)
{
    uint64_t number = UINT64_MAX;

    for (size_t i = 0; i < member_count; i++)
        if (members[i].count > 0 && filter_matches(bytes_text(members[i].filter), topic))
            number = MIN(number, members[i].number);
    return number;
}

static bool overlaps(struct bytes filter)
{
    for (size_t i = 0; i < member_count; i++)
        if (members[i].count > 0 && filter_overlaps(bytes_text(members[i].filter), filter))
            return true;
    return false;
}

static void add(struct filters *filters, uint64_t number)
{
    char text[TOPIC_SIZE_MAX + 1];
    struct bytes filter = make(text, true);
    struct member *member = member_of(filter);

    if (!member && member_count == MEMBERS_MAX)
        return;
    assert_int_equal(filters_add(filters, filter, number), 0);
    if (!member) {
        member = &members[member_count++];
        *member = (struct member){.number = number};
        strcpy(member->filter, text);
    }
    member->count++;
}

static void ask(const struct filters *filters)
{
    char text[TOPIC_SIZE_MAX + 1];
    struct bytes topic = make(text, false), filter;

    assert_int_equal(filters_match(filters, topic), first(topic) != UINT64_MAX);
    if (first(topic) != UINT64_MAX) {
        assert_false(filters_match_below(filters, topic, first(topic)));
        assert_true(filters_match_below(filters, topic, first(topic) + 1));
    }
    filter = make(text, random_u64() % 3 > 0);
    if (filters_overlap(filters, filter) != overlaps(filter))
        fail_msg("%s", text);
    assert_int_equal(filters_count(filters, filter),
                     member_of(filter) ? member_of(filter)->count : 0);
}

static void a_set_answers_as_its_members_do(void **state UNUSED)
{
    for (int round = 0; round < ROUNDS; round++) {
        CLEANUP(filters_deinit)
        struct filters filters = {0};
        size_t most = 1 + random_u64() % MEMBERS_MAX;

        member_count = 0;
        for (uint64_t number = 0; number < most; number++) {
            struct member *member;

            add(&filters, number);
            ask(&filters);
            member = member_count > 0 && random_u64() % 3 == 0
                         ? &members[random_u64() % member_count]
                         : NULL;
            if (member && member->count > 0) {
                filters_remove(&filters, bytes_text(member->filter));
                member->count--;
            }
        }
        for (int i = 0; i < QUESTIONS; i++)
            ask(&filters);
        for (size_t i = 0; i < member_count; i++)
            for (; members[i].count > 0; members[i].count--)
                filters_remove(&filters, bytes_text(members[i].filter));
        assert_null(filters.root); /* nothing is left of it */
    }
}

/* As deep as a topic may be, and at each level two ways that both go on: where an answer takes a
 * time that doubles with each level, this does not end. */
static void the_deepest_takes_no_longer(void **state UNUSED)
{
    CLEANUP(filters_deinit)
    struct filters filters = {0};
    char text[TOPIC_SIZE_MAX + 1] = "a", other[TOPIC_SIZE_MAX + 1] = "*";

    for (int i = 1; i < TOPIC_LEVELS_MAX; i++) {
        strcat(text, "/a");
        strcat(other, "/*");
    }
    assert_int_equal(filters_add(&filters, bytes_text(text), 7), 0);
    assert_int_equal(filters_add(&filters, bytes_text(other), 3), 0);
    assert_true(filters_match(&filters, bytes_text(text)));
    assert_true(filters_match_below(&filters, bytes_text(text), 4));
    assert_false(filters_match_below(&filters, bytes_text(text), 3));
    assert_true(filters_overlap(&filters, bytes_text(text)));
    text[strlen(text) - 1] = 'b';
    assert_true(filters_match(&filters, bytes_text(text)));
    filters_remove(&filters, bytes_text(other));
    assert_false(filters_match(&filters, bytes_text(text)));
}

static int start(void **state UNUSED)
{
    random_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_answers_as_its_members_do),
        cmocka_unit_test(the_deepest_takes_no_longer),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
