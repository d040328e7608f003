/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What durable readers have settled, by the envelopes themselves: kept across restarts, so that a
 * broker that gives a stored message again, under whatever number, is noticed when both ends were
 * restarted meanwhile (docs/decisions/0066). One row of a struct keeper by reader, publisher,
 * topic:
 *
 *   key     lp8 name of the durable reader, 32 publisher, lp8 topic
 *   value   u8 1, u64 number, u64 generation, u64 sequence: the highest of the publisher's outbox,
 *           u64 generation: everything before it is settled,
 *           u16 count, count x (u64 generation, u32 first, u32 last): settled envelopes, rising
 *
 * Of stored values only where the last one that was shown had been sealed, in the place of what is
 * from an outbox, under the name VALUES_NAME (docs/decisions/0085).
 *
 * On the disk before the broker hears of it: seen_commit() runs before each frame.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/reader.h"
#include "client/internal.h"

#define VALUES_NAME "\x01values" /* where the last values that were shown stand */
#define SEEN_MAX 65536 /* topics of readers; what comes on further ones is not known again */
/* Of one topic; then the oldest hole in which the application holds nothing counts as settled. */
#define RANGES_KEPT 512
#define RANGES_MAX ((size_t)UINT16_MAX) /* with those in which it does */
#define ROW_VERSION 1
#define RANGE_SIZE 16
#define ROW_HEAD_SIZE (1 + 4 * 8 + 2)

struct seen_range {
    uint64_t generation;
    uint32_t first, last;
};

struct seen {
    UT_hash_handle hh;  /* by key */
    struct seen *dirty; /* client->seen_dirty */
    bool is_dirty;
    struct once_place once;
    uint64_t floor; /* envelopes of earlier generations are settled */
    struct seen_range *ranges;
    size_t count, room;
    size_t key_size;
    uint8_t key[];
};

/* --- one topic -------------------------------------------------------------------------------- */

static bool range_before(const struct seen_range *range, uint64_t generation, uint32_t sequence)
{
    return range->generation < generation ||
           (range->generation == generation && range->last < sequence);
}

/* The first range that does not end before the envelope. */
static size_t range_find(const struct seen *seen, uint64_t generation, uint32_t sequence)
{
    size_t at = 0;

    while (at < seen->count && range_before(&seen->ranges[at], generation, sequence))
        at++;
    return at;
}

static bool seen_holds(const struct seen *seen, uint64_t generation, uint32_t sequence)
{
    size_t at = range_find(seen, generation, sequence);

    return generation < seen->floor ||
           (at < seen->count && seen->ranges[at].generation == generation &&
            seen->ranges[at].first <= sequence);
}

static void range_remove(struct seen *seen, size_t at)
{
    seen->count--;
    memmove(&seen->ranges[at], &seen->ranges[at + 1], (seen->count - at) * sizeof(seen->ranges[0]));
}

/* Joins @at and the range after it where nothing is between them. */
static void range_join(struct seen *seen, size_t at)
{
    struct seen_range *range = &seen->ranges[at];

    if (at + 1 >= seen->count || range[1].generation != range->generation ||
        range[1].first != range->last + 1)
        return;
    range->last = range[1].last;
    range_remove(seen, at + 1);
}

/* --- holes ------------------------------------------------------------------------------------ */

/* Hole @at is what lies between range @at and the next, hole 0 of two generations also what lies
 * before: what the floor then settles. */
struct holes {
    const struct seen *seen;
    const struct seen_place *place; /* of the topic */
    uint8_t held[RANGES_MAX / 8 + 1];
};

static bool is_within(const struct seen *seen, size_t at)
{
    return seen->ranges[at].generation == seen->ranges[at + 1].generation;
}

/* What the application holds may come again, if it dies. */
static void hole_of(void *context, const struct seen_place *open)
{
    struct holes *holes = context;
    const struct seen *seen = holes->seen;
    size_t at;

    if (open->generation == 0 ||
        !bytes_equal(topic_name(open->topic), topic_name(holes->place->topic)) ||
        memcmp(open->identity, holes->place->identity, SIGN_PUBLIC_SIZE) != 0 ||
        seen_holds(seen, open->generation, open->sequence))
        return;
    at = range_find(seen, open->generation, open->sequence);
    if (at == 0 && is_within(seen, 0)) /* before all of them */
        return;
    at = at > 0 ? at - 1 : 0;
    holes->held[at / 8] |= (uint8_t)(1u << at % 8);
}

static void hole_settle(struct seen *seen, size_t at)
{
    struct seen_range *range = &seen->ranges[at];

    if (is_within(seen, at)) {
        range->last = range[1].last;
        range_remove(seen, at + 1);
        return;
    }
    seen->floor = range[1].generation;
    range_remove(seen, at);
}

/* The oldest hole that may be given up: what is missing there was buried long ago, or has expired.
 * One between generations only after all before it. */
static void hole_give_up(struct client *client, struct seen *seen, const struct seen_place *place)
{
    struct holes holes = {.seen = seen, .place = place};

    follow_visit_open(client, place->durable, hole_of, &holes);
    for (size_t at = 0; at + 1 < seen->count; at++) {
        if (holes.held[at / 8] & 1u << at % 8 || (at > 0 && !is_within(seen, at)))
            continue;
        hole_settle(seen, at);
        return;
    }
}

/* Whether one more fits; else it will not be known if it comes again. */
static bool has_room(struct seen *seen)
{
    size_t room = seen->room > 0 ? 2 * seen->room : 4;
    struct seen_range *ranges;

    if (seen->count < seen->room)
        return true;
    if (seen->count >= RANGES_MAX)
        return false;
    ranges = reallocarray(seen->ranges, room, sizeof(*ranges));
    if (!ranges)
        return false;
    seen->ranges = ranges;
    seen->room = room;
    return true;
}

static void seen_insert(struct seen *seen, uint64_t generation, uint32_t sequence)
{
    size_t at = range_find(seen, generation, sequence);

    memmove(&seen->ranges[at + 1], &seen->ranges[at], (seen->count - at) * sizeof(seen->ranges[0]));
    seen->ranges[at] = (struct seen_range){generation, sequence, sequence};
    seen->count++;
    range_join(seen, at);
    if (at > 0)
        range_join(seen, at - 1);
}

/* --- all of them ------------------------------------------------------------------------------ */

static struct seen *seen_by_key(struct client *client, struct bytes key)
{
    struct seen *seen = NULL;

    HASH_FIND(hh, client->seen, key.at, key.size, seen);
    if (seen || HASH_COUNT(client->seen) >= SEEN_MAX)
        return seen;
    seen = calloc(1, sizeof(*seen) + key.size);
    if (!seen)
        return NULL;
    seen->key_size = key.size;
    bytes_copy(seen->key, key);
    HASH_ADD(hh, client->seen, key, seen->key_size, seen);
    if (!HASH_ADDED(hh, seen)) {
        free(seen);
        return NULL;
    }
    return seen;
}

static void forget(struct client *client, struct seen *seen)
{
    HASH_DEL(client->seen, seen);
    free(seen->ranges);
    free(seen);
}

/* NULL: none is kept, or there are too many. */
static struct seen *seen_of(struct client *client, const struct seen_place *place)
{
    uint8_t room[1 + DURABLE_NAME_MAX + SIGN_PUBLIC_SIZE + 1 + TOPIC_SIZE_MAX];
    struct writer w = writer_over(room, sizeof(room));

    if (!client->seen_loaded || place->durable.size == 0 || place->generation == 0)
        return NULL;
    writer_lp8(&w, place->durable);
    writer_bytes(&w, bytes_of(place->identity, SIGN_PUBLIC_SIZE));
    writer_lp8(&w, topic_name(place->topic));
    return seen_by_key(client, writer_view(&w));
}

static void mark_dirty(struct client *client, struct seen *seen)
{
    if (seen->is_dirty)
        return;
    seen->is_dirty = true;
    seen->dirty = client->seen_dirty;
    client->seen_dirty = seen;
}

bool seen_is_settled(struct client *client, const struct seen_place *place)
{
    const struct seen *seen = seen_of(client, place);

    return seen && seen_holds(seen, place->generation, place->sequence);
}

void seen_settled(struct client *client, const struct seen_place *place)
{
    struct seen *seen = seen_of(client, place);

    if (!seen || seen_holds(seen, place->generation, place->sequence) || !has_room(seen))
        return;
    seen_insert(seen, place->generation, place->sequence);
    if (seen->count > RANGES_KEPT)
        hole_give_up(client, seen, place);
    mark_dirty(client, seen);
}

struct once_place *seen_once(struct client *client, const struct seen_place *place)
{
    struct seen *seen = seen_of(client, place);

    return seen ? &seen->once : NULL;
}

bool seen_is_latest(struct client *client, struct seen_place place)
{
    struct aico_error err = {0};
    struct seen *seen;
    int r = seen_load(client, &err);

    if (r < 0 && !client->seen_failed) {
        client->seen_failed = true;
        deliver_state(client, r, err.text);
    }
    place.durable = bytes_text(VALUES_NAME);
    seen = seen_of(client, &place);
    if (!seen)
        return true;
    if (place.generation < seen->once.generation ||
        (place.generation == seen->once.generation && place.sequence < seen->once.sequence))
        return false;
    if (place.generation > seen->once.generation || place.sequence > seen->once.sequence) {
        seen->once = (struct once_place){0, place.generation, place.sequence};
        mark_dirty(client, seen);
    }
    return true;
}

/* --- the disk --------------------------------------------------------------------------------- */

static size_t row_size(const struct seen *seen)
{
    return ROW_HEAD_SIZE + seen->count * RANGE_SIZE;
}

static void row_write(const struct seen *seen, struct writer *w)
{
    writer_u8(w, ROW_VERSION);
    writer_u64(w, seen->once.number);
    writer_u64(w, seen->once.generation);
    writer_u64(w, seen->once.sequence);
    writer_u64(w, seen->floor);
    writer_u16(w, (uint16_t)seen->count);
    for (size_t i = 0; i < seen->count; i++) {
        writer_u64(w, seen->ranges[i].generation);
        writer_u32(w, seen->ranges[i].first);
        writer_u32(w, seen->ranges[i].last);
    }
}

static int take_row(void *context, struct bytes key, struct bytes value)
{
    struct client *client = context;
    struct reader r = reader_over(value);
    uint8_t version = reader_u8(&r);
    struct seen *seen = seen_by_key(client, key);
    size_t count;

    if (!seen)
        return HASH_COUNT(client->seen) >= SEEN_MAX ? 0 : AICO_ENOMEM;
    seen->once.number = reader_u64(&r);
    seen->once.generation = reader_u64(&r);
    seen->once.sequence = reader_u64(&r);
    seen->floor = reader_u64(&r);
    count = reader_u16(&r);
    if (version != ROW_VERSION || r.failed || r.left != count * RANGE_SIZE) {
        forget(client, seen);
        return AICO_EFORMAT;
    }
    seen->ranges = calloc(MAX(count, (size_t)1), sizeof(*seen->ranges));
    if (!seen->ranges) {
        forget(client, seen);
        return AICO_ENOMEM;
    }
    seen->count = seen->room = count;
    for (size_t i = 0; i < seen->count; i++) {
        seen->ranges[i].generation = reader_u64(&r);
        seen->ranges[i].first = reader_u32(&r);
        seen->ranges[i].last = reader_u32(&r);
    }
    return 0;
}

int seen_load(struct client *client, struct aico_error *err)
{
    const struct keeper *keeper = client->settings.replay;
    int r;

    if (client->seen_loaded || !keeper)
        return 0;
    r = keeper->load(keeper->context, take_row, client, err);
    client->seen_loaded = r == 0;
    return r;
}

static int commit_some(struct client *client, struct aico_error *err)
{
    enum { ROWS_MAX = 32 };
    const struct keeper *keeper = client->settings.replay;
    struct keep_change changes[ROWS_MAX];
    CLEANUP(free_memory)
    uint8_t *room = NULL;
    size_t count = 0, size = 0, used = 0;

    for (const struct seen *s = client->seen_dirty; s && count < ROWS_MAX; s = s->dirty, count++)
        size += row_size(s);
    room = malloc(size);
    if (!room)
        return AICO_ENOMEM;
    for (count = 0; client->seen_dirty && count < ROWS_MAX; used += changes[count++].value.size) {
        struct seen *seen = client->seen_dirty;
        struct writer w = writer_over(room + used, row_size(seen));

        client->seen_dirty = seen->dirty;
        seen->is_dirty = false;
        row_write(seen, &w);
        changes[count] = (struct keep_change){bytes_of(seen->key, seen->key_size), writer_view(&w)};
    }
    return keeper->commit(keeper->context, changes, count, err);
}

void seen_commit(struct client *client)
{
    char text[HINT_SIZE_MAX + 1];

    while (client->seen_dirty) {
        struct aico_error err = {0};
        int r = commit_some(client, &err);

        if (r == 0) {
            client->seen_failed = false;
        } else if (!client->seen_failed) {
            /* They are settled here all the same; only after a restart they are not known. */
            client->seen_failed = true;
            (void)snprintf(text, sizeof(text), "what was read cannot be kept: %.250s", err.text);
            deliver_state(client, r, text);
        }
    }
}

static int forget_all(struct client *client, struct bytes durable, struct aico_error *err)
{
    const struct keeper *keeper = client->settings.replay;
    struct seen *seen, *next;
    int r = seen_load(client, err);

    if (r == 0)
        seen_commit(client);
    HASH_ITER(hh, client->seen, seen, next)
    {
        struct reader name = reader_over(bytes_of(seen->key, seen->key_size));
        struct keep_change change = {.key = bytes_of(seen->key, seen->key_size)};

        if (r < 0 || !bytes_equal(reader_lp8(&name), durable))
            continue;
        r = keeper->commit(keeper->context, &change, 1, err);
        forget(client, seen);
    }
    return r;
}

void seen_forget(struct client *client, struct bytes durable)
{
    struct aico_error err = {0};
    char text[HINT_SIZE_MAX + 1];
    int r = client->settings.replay ? forget_all(client, durable, &err) : 0;

    if (r == 0)
        return;
    (void)snprintf(text, sizeof(text), "what %.*s has read cannot be forgotten here: %.190s",
                   (int)MIN(durable.size, (size_t)DURABLE_NAME_MAX), (const char *)durable.at,
                   err.text);
    deliver_state(client, r, text);
}

void seen_free(struct client *client)
{
    struct seen *seen, *next;

    HASH_ITER(hh, client->seen, seen, next)
    forget(client, seen);
}
