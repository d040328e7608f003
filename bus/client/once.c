/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages from outboxes, each once. A publisher that died seals what was not answered again, under
 * a new generation: sequences do not tell such a repetition, the number it gave the message does
 * (docs/decisions/0065). It rises on every topic, so what was sealed later than the highest one
 * seen and has no higher number was there before. What was sealed earlier may come late (a window,
 * a stored message that is wanted again) and is the sequences' to judge.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "client/internal.h"

#define MARKS_MAX 65536 /* then the oldest goes: its topic is one of so many */

struct mark_key {
    uint8_t identity[SIGN_PUBLIC_SIZE];
    uint64_t subscription; /* of stored messages; 0: of what comes live */
    const struct client_topic *topic;
};

/* The message with the highest number. */
struct once_mark {
    UT_hash_handle hh; /* by key, in the order they were made */
    struct mark_key key;
    struct once_place last;
};

static struct once_mark *mark_get(struct client *client, const struct mark_key *key)
{
    struct once_mark *mark = NULL;

    HASH_FIND(hh, client->marks, key, sizeof(*key), mark);
    if (mark)
        return mark;
    if (HASH_COUNT(client->marks) >= MARKS_MAX) {
        mark = client->marks;
        HASH_DEL(client->marks, mark);
        free(mark);
    }
    mark = calloc(1, sizeof(*mark));
    if (!mark)
        return NULL;
    mark->key = *key;
    HASH_ADD(hh, client->marks, key, sizeof(mark->key), mark);
    if (!HASH_ADDED(hh, mark)) {
        free(mark);
        return NULL;
    }
    return mark;
}

static bool is_sealed_later(const struct session_event *event, const struct once_place *last)
{
    return event->generation > last->generation ||
           (event->generation == last->generation && event->sequence > last->sequence);
}

/* Of the publisher @place names; of a durable reader it is kept with what it has settled. NULL
 * without memory. */
static struct once_place *last_of(struct client *client, const struct arrival *arrival,
                                  const struct seen_place *place)
{
    struct once_place *last = seen_once(client, place);
    struct once_mark *mark;
    struct mark_key key;

    if (last)
        return last;
    memset(&key, 0, sizeof(key));
    memcpy(key.identity, place->identity, sizeof(key.identity));
    key.subscription = arrival->stored.number > 0 ? arrival->stored.subscription : 0;
    key.topic = arrival->topic;
    mark = mark_get(client, &key);
    return mark ? &mark->last : NULL;
}

/* The same of the keys its publisher had before: what they sealed and heard no answer for is sealed
 * again with the next. */
static struct once_place last_of_former(struct client *client, const struct arrival *arrival,
                                        struct seen_place place)
{
    const struct component *c = registry_find_identity(client->registry, place.identity);
    struct once_place best = {0};

    while (c && (c = registry_replaced(client->registry, c)) != NULL) {
        const struct once_place *last;

        place.identity = c->identity;
        last = last_of(client, arrival, &place);
        if (last && last->number > best.number)
            best = *last;
    }
    return best;
}

bool once_is_new(struct client *client, const struct session_event *event,
                 const struct arrival *arrival, const struct seen_place *place)
{
    struct once_place *last, before;

    if (event->once == 0 || !event->identity || event->direct || !arrival->topic)
        return true;
    before = last_of_former(client, arrival, *place);
    last = last_of(client, arrival, place);
    if (!last) {
        client_end(client, AICO_ENOMEM, "out of memory");
        return false;
    }
    if (event->once <= before.number && is_sealed_later(event, &before))
        return false;
    if (event->once > last->number) {
        *last = (struct once_place){event->once, event->generation, event->sequence};
        return true;
    }
    return !is_sealed_later(event, last);
}

void once_free(struct client *client)
{
    struct once_mark *mark, *next;

    HASH_ITER(hh, client->marks, mark, next)
    {
        HASH_DEL(client->marks, mark);
        free(mark);
    }
}
