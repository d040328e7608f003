/* SPDX-License-Identifier: Apache-2.0 */
/* Topics and components by name and by the numbers the broker gives them in this session. */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"

/* A broker that names more than this many numbers is not working with us. */
#define NUMBERS_MAX (4u * 1024 * 1024)

struct bytes topic_name(const struct client_topic *topic)
{
    return bytes_of(topic->name, topic->size);
}

struct client_topic *client_topic_get(struct client *client, struct bytes name)
{
    struct client_topic *topic = NULL;

    HASH_FIND(hh, client->topics, name.at, name.size, topic);
    if (topic || !topic_is_valid(name))
        return topic;
    topic = calloc(1, sizeof(*topic) + name.size + 1);
    if (!topic)
        return NULL;
    topic->size = (uint8_t)name.size;
    bytes_copy(topic->name, name);
    HASH_ADD_KEYPTR(hh, client->topics, topic->name, topic->size, topic);
    if (!HASH_ADDED(hh, topic)) {
        free(topic);
        return NULL;
    }
    return topic;
}

/* @array, of pointers, made long enough for index @number; NULL without memory, and then it is as
 * it was. */
static void *numbers_grow(void *array, size_t *count, size_t size, uint32_t number)
{
    size_t want = *count ? *count : 64;
    uint8_t *grown;

    if (number < *count)
        return array;
    while (want <= number)
        want *= 2;
    grown = realloc(array, want * size);
    if (!grown)
        return NULL;
    memset(grown + *count * size, 0, (want - *count) * size);
    *count = want;
    return grown;
}

struct client_topic *topic_number_find(struct client *client, uint32_t number)
{
    /* Nobody needs to be told these. */
    if (number == TOPIC_NUMBER_CONTROL)
        return client_topic_get(client, bytes_text(TOPIC_CONTROL));
    if (number == TOPIC_NUMBER_HEADS)
        return client_topic_get(client, bytes_text(TOPIC_HEADS));
    return number < client->topic_numbers ? client->topic_by_number[number] : NULL;
}

int topic_number_set(struct client *client, uint32_t number, struct bytes name)
{
    struct client_topic *topic, **grown;

    if (number == 0 || number >= NUMBERS_MAX || topic_number_find(client, number))
        return AICO_EPROTO;
    grown = numbers_grow(client->topic_by_number, &client->topic_numbers, sizeof(*grown), number);
    if (!grown)
        return AICO_ENOMEM;
    client->topic_by_number = grown;
    topic = client_topic_get(client, name);
    if (!topic)
        return topic_is_valid(name) ? AICO_ENOMEM : AICO_EPROTO;
    topic->number = number;
    client->topic_by_number[number] = topic;
    return 0;
}

const struct rule *client_topic_rule(struct client *client, struct client_topic *topic)
{
    if (topic->seal_generation != client->rule_generation) {
        topic->rule = registry_rule_for(client->registry, topic_name(topic));
        topic->seal_generation = client->rule_generation;
    }
    return topic->rule;
}

bool topic_is_subscribed(struct client *client, struct client_topic *topic)
{
    if (topic->match_generation == client->match_generation)
        return topic->subscribed;
    topic->subscribed = filters_match(&client->heard[0], topic_name(topic)) ||
                        filters_match(&client->heard[1], topic_name(topic));
    topic->match_generation = client->match_generation;
    return topic->subscribed;
}

struct client_component *component_get(struct client *client, struct bytes name)
{
    struct client_component *component = NULL;

    HASH_FIND(hh, client->components, name.at, name.size, component);
    if (component || !component_name_is_valid(name))
        return component;
    component = calloc(1, sizeof(*component));
    if (!component)
        return NULL;
    bytes_copy(component->name, name);
    HASH_ADD_KEYPTR(hh, client->components, component->name, name.size, component);
    if (!HASH_ADDED(hh, component)) {
        free(component);
        return NULL;
    }
    return component;
}

struct client_component *component_number_find(struct client *client, uint32_t number)
{
    return number < client->component_numbers ? client->component_by_number[number].component
                                              : NULL;
}

const uint8_t *component_number_identity(const struct client *client, uint32_t number)
{
    return client->component_by_number[number].identity;
}

/* Told again in one session, it is another process than before. */
int component_number_set(struct client *client, struct moment now,
                         const struct record_component *record)
{
    struct client_component *component;
    struct client_number *grown, *entry;

    if (record->number == 0 || record->number >= NUMBERS_MAX)
        return AICO_EPROTO;
    grown = numbers_grow(client->component_by_number, &client->component_numbers, sizeof(*grown),
                         record->number);
    if (!grown)
        return AICO_ENOMEM;
    client->component_by_number = grown;
    entry = &grown[record->number];
    component = component_get(client, record->name);
    if (!component)
        return component_name_is_valid(record->name) ? AICO_ENOMEM : AICO_EPROTO;
    if (entry->component == component) {
        values_renewed(component);
        sessions_peer_renewed(client->sessions, now, record->name);
    }
    if (component->has_identity &&
        !bytes_equal(record->identity, bytes_of(component->identity, sizeof(component->identity))))
        sessions_peer_identity(client->sessions, now, record->name, record->identity.at);
    component->number = record->number;
    memcpy(component->identity, record->identity.at, sizeof(component->identity));
    component->has_identity = true;
    memcpy(entry->identity, record->identity.at, sizeof(entry->identity));
    entry->component = component;
    return 0;
}

void names_forget_numbers(struct client *client)
{
    struct client_component *component, *next_component;
    struct client_topic *topic, *next_topic;

    HASH_ITER(hh, client->topics, topic, next_topic)
    topic->number = 0;
    HASH_ITER(hh, client->components, component, next_component)
    component->number = 0;
    if (client->topic_numbers > 0)
        memset(client->topic_by_number, 0, client->topic_numbers * sizeof(struct client_topic *));
    if (client->component_numbers > 0)
        memset(client->component_by_number, 0,
               client->component_numbers * sizeof(struct client_number));
}

void client_names_free(struct client *client)
{
    struct client_component *component, *next_component;
    struct client_topic *topic, *next_topic;

    HASH_ITER(hh, client->topics, topic, next_topic)
    {
        HASH_DEL(client->topics, topic);
        free(topic);
    }
    HASH_ITER(hh, client->components, component, next_component)
    {
        HASH_DEL(client->components, component);
        free(component);
    }
    free(client->topic_by_number);
    free(client->component_by_number);
}
