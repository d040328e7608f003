/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queue groups on streams: several readers that share one place (decision 0087). What is read next,
 * or was given back, goes to the member with the fewest messages; each is with one member at a
 * time, and comes to another one when its deadline passes, or its member goes away or wants it
 * again. The group itself is a durable reader that is never there: in its list stands what was
 * given back.
 */
#include "broker/stream.h"

#define STEP 32 /* messages read for a member at a time */

size_t group_members(struct broker *b, const struct durable *group)
{
    struct durable *d;
    size_t count = 0;

    DL_FOREACH(b->streams.durables, d)
    count += d->group == group;
    return count;
}

bool group_left(struct broker *b, struct durable *group)
{
    if (group->own.known || group_members(b, group) > 0)
        return true;
    durable_free(b, group); /* before its members in the list: who walks that goes on behind it */
    return false;
}

/* Names of components do not begin so. */
static struct bytes own_name(struct bytes queue, char room[COMPONENT_NAME_MAX + 2])
{
    room[0] = '$';
    bytes_copy(room + 1, queue);
    return bytes_of(room, queue.size + 1);
}

struct durable *group_get(struct broker *b, struct broker_peer *peer, const struct record_follow *m,
                          struct bytes filter)
{
    char room[COMPONENT_NAME_MAX + 2];
    struct bytes name = own_name(m->queue, room);
    struct durable *group = durable_by_name(b, name, m->name);

    if (group && !bytes_equal(bytes_of(group->filter, group->size), filter)) {
        if (group_members(b, group) > 0) {
            refuse(b, peer, m->id, AICO_EEXISTS, NULL,
                   "the group's reader of this name reads %.*s; take another name, or forget it",
                   (int)group->size, group->filter);
            return NULL;
        }
        durable_free(b, group); /* the store says what it thinks of that */
        group = NULL;
    }
    if (!group)
        group = durable_new(b, name, m->name, filter);
    if (group)
        group->is_group = true;
    else
        refuse(b, peer, m->id, AICO_ENOMEM, NULL, "the broker is out of memory");
    return group;
}

void group_return(struct broker *b, struct durable *member, struct handed *h)
{
    handed_take(member, h);
    h->last = member->handle;
    h->deadline_ms = 0; /* now */
    if (handed_insert(member->group, h))
        return;
    event(b, BROKER_ERROR, BROKER_EVENT_LIMIT, NULL, AICO_ENOMEM,
          "no memory to give message %llu to another member: it comes again after a restart",
          (unsigned long long)h->number);
    free(h);
}

static bool has_room(const struct broker *b, const struct durable *d)
{
    return d->is_member && d->peer && d->peer->state == PEER_READY && !d->peer->end_noted &&
           HASH_COUNT(d->handed) < d->window &&
           d->peer->lanes[LANE_TOPIC].bytes <= b->settings.outbox_limit / 2;
}

/* With fewer messages, among equals the one whose turn is longer ago. */
static bool is_better(const struct durable *d, const struct durable *best)
{
    size_t have = HASH_COUNT(d->handed), other = best ? HASH_COUNT(best->handed) : SIZE_MAX;

    return have < other || (have == other && d->turn < best->turn);
}

/* Who gets the next one, and not @last while there is another one. */
static struct durable *choose(struct broker *b, struct durable *group, uint64_t last)
{
    struct durable *d, *best = NULL, *same = NULL;

    DL_FOREACH(b->streams.durables, d)
    {
        if (d->group != group || !has_room(b, d))
            continue;
        if (d->handle == last)
            same = d;
        else if (is_better(d, best))
            best = d;
    }
    best = best ? best : same;
    if (best)
        best->turn = ++group->turn;
    return best;
}

/* What was given back comes first: it is older. False: nobody has room, or it is of no use. */
static bool give_back(struct broker *b, struct durable *group)
{
    struct handed *h = group->handed_first;
    struct durable *d = choose(b, group, h->last);

    if (!d)
        return false;
    handed_take(group, h);
    if (!handed_insert(d, h)) {
        free(h);
        return false;
    }
    durable_ask_again(b, d, h);
    return h->deadline_ms == MOMENT_NEVER;
}

void group_pump(struct broker *b, struct durable *group)
{
    struct durable *d;

    if (!group->own.known || b->draining)
        return;
    while (group->handed_first)
        if (!give_back(b, group))
            return;
    if (group->own.reading || !group->own.more)
        return;
    d = choose(b, group, 0);
    if (d)
        durable_read_on(b, d, MIN((size_t)STEP, d->window - (size_t)HASH_COUNT(d->handed)));
}

uint64_t group_floor(struct broker *b, const struct durable *group)
{
    uint64_t floor = group->own.position;
    struct durable *d;

    DL_FOREACH(b->streams.durables, d)
    if ((d == group || d->group == group) && d->handed_first)
        floor = MIN(floor, d->handed_first->number - 1);
    return floor;
}
