/* SPDX-License-Identifier: Apache-2.0 */
/* Topics and components and their broker-wide numbers. */
#include "broker/internal.h"

struct bytes topic_view(const struct topic *topic)
{
    return bytes_of(topic->name, topic->size);
}

static struct topic *topic_new(struct bytes name)
{
    struct topic *topic = calloc(1, sizeof(*topic) + name.size + 1);

    if (!topic)
        return NULL;
    topic->size = (uint8_t)name.size;
    bytes_copy(topic->name, name);
    return topic;
}

static void topic_free(struct topic *topic)
{
    free(topic->readers);
    free(topic);
}

struct topic *topic_find(struct broker *b, struct bytes name)
{
    struct topic *topic = NULL;

    HASH_FIND(hh, b->topics, name.at, name.size, topic);
    return topic;
}

/* Makes room for one more pointer in a table whose index 0 stays unused. */
static int table_grow(void *table, size_t count, size_t *capacity)
{
    void **at = *(void ***)table;
    size_t want = *capacity ? 2 * *capacity : 64;

    if (count < *capacity)
        return 0;
    at = realloc(at, want * sizeof(*at));
    if (!at)
        return AICO_ENOMEM;
    *(void ***)table = at;
    *capacity = want;
    return 0;
}

/* Gives @topic the next number; false leaves it without. */
static bool topic_number(struct broker *b, struct topic *topic)
{
    size_t number = b->topic_count + 1;

    if (b->topic_count >= b->settings.max_topics ||
        table_grow(&b->topic_by_number, number, &b->topic_capacity) < 0)
        return false;
    HASH_ADD_KEYPTR(hh, b->topics, topic->name, topic->size, topic);
    if (!HASH_ADDED(hh, topic))
        return false;
    topic->number = (uint32_t)number;
    b->topic_by_number[number] = topic;
    b->topic_count++;
    if (b->topic_count == b->settings.max_topics)
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, NULL, AICO_EQUOTA,
              "%zu topics have numbers; further ones are sent by name, which is slower "
              "(max_topics)",
              b->topic_count);
    return true;
}

struct topic *topic_get(struct broker *b, struct bytes name, bool number)
{
    struct topic *topic = topic_find(b, name);

    if (topic)
        return topic;
    topic = topic_new(name);
    if (topic && (!number || !topic_number(b, topic)))
        topic->refs = 1;
    return topic;
}

void topic_ref(struct topic *topic)
{
    if (topic->number == 0)
        topic->refs++;
}

void topic_unref(struct topic *topic)
{
    if (topic && topic->number == 0 && --topic->refs == 0)
        topic_free(topic);
}

struct topic *topic_by_number(struct broker *b, uint32_t number)
{
    return number >= 1 && number <= b->topic_count ? b->topic_by_number[number] : NULL;
}

struct member *member_by_number(struct broker *b, uint32_t number)
{
    return number >= 1 && number <= b->member_count ? b->member_by_number[number] : NULL;
}

static void member_refresh(struct broker *b, struct member *member)
{
    member->component = registry_find_identity(b->registry, member->identity);
    member->active = member->component && strcmp(member->component->name, member->name) == 0 &&
                     component_is_active(b->registry, member->component, b->now.real_ms);
    if (!member->active)
        prekeys_forget(member);
}

void members_refresh(struct broker *b)
{
    for (size_t i = 1; i <= b->member_count; i++)
        member_refresh(b, b->member_by_number[i]);
}

struct member *member_find(struct broker *b, const uint8_t identity[32])
{
    struct member *member = NULL;

    HASH_FIND(hh, b->members, identity, SIGN_PUBLIC_SIZE, member);
    return member;
}

struct member *member_get(struct broker *b, struct bytes name, const uint8_t identity[32])
{
    size_t number = b->member_count + 1;
    struct member *member = member_find(b, identity);

    if (member)
        return member;
    if (name.size > COMPONENT_NAME_MAX ||
        table_grow(&b->member_by_number, number, &b->member_capacity) < 0)
        return NULL;
    member = calloc(1, sizeof(*member));
    if (!member)
        return NULL;
    memcpy(member->identity, identity, sizeof(member->identity));
    bytes_copy(member->name, name);
    HASH_ADD(hh, b->members, identity, sizeof(member->identity), member);
    if (!HASH_ADDED(hh, member)) {
        free(member);
        return NULL;
    }
    member->number = (uint32_t)number;
    b->member_by_number[number] = member;
    b->member_count++;
    member_refresh(b, member);
    return member;
}

bool bitmap_has(const struct bitmap *bitmap, uint32_t number)
{
    size_t word = number / 64;

    return word < bitmap->word_count && bitmap->words[word] >> number % 64 & 1;
}

int bitmap_set(struct bitmap *bitmap, uint32_t number)
{
    size_t word = number / 64, count = bitmap->word_count ? bitmap->word_count : 1;
    uint64_t *words;

    if (word >= bitmap->word_count) {
        while (count <= word)
            count *= 2;
        words = realloc(bitmap->words, count * sizeof(*words));
        if (!words)
            return AICO_ENOMEM;
        memset(words + bitmap->word_count, 0, (count - bitmap->word_count) * sizeof(*words));
        bitmap->words = words;
        bitmap->word_count = count;
    }
    bitmap->words[word] |= (uint64_t)1 << number % 64;
    return 0;
}

void bitmap_clear(struct bitmap *bitmap, uint32_t number)
{
    if (number / 64 < bitmap->word_count)
        bitmap->words[number / 64] &= ~((uint64_t)1 << number % 64);
}

void names_free(struct broker *b)
{
    HASH_CLEAR(hh, b->topics);
    HASH_CLEAR(hh, b->members);
    for (size_t i = 1; i <= b->topic_count; i++)
        topic_free(b->topic_by_number[i]);
    for (size_t i = 1; i <= b->member_count; i++) {
        prekeys_forget(b->member_by_number[i]);
        free(b->member_by_number[i]);
    }
    free(b->topic_by_number);
    free(b->member_by_number);
}
