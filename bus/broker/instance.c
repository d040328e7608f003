/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is remembered of a run of a client beyond its link, so that a reconnect neither loses nor
 * doubles anything: the highest id routed, messages in the middle of their fragments, and the
 * refusals that may not have reached it.
 */
#include "broker/internal.h"

static void away_add(struct broker *b, struct instance *instance)
{
    DL_APPEND(b->away_instances, instance);
    instance->member->away_count++;
}

static void away_remove(struct broker *b, struct instance *instance)
{
    DL_DELETE(b->away_instances, instance);
    instance->member->away_count--;
}

/* The oldest of @member that is away. */
static struct instance *oldest_away(struct broker *b, const struct member *member)
{
    struct instance *instance;

    DL_FOREACH(b->away_instances, instance)
    if (instance->member == member)
        return instance;
    return NULL;
}

static struct instance_key key_of(const struct member *member, uint64_t number)
{
    struct instance_key key = {.number = number};

    memcpy(key.identity, member->identity, sizeof(key.identity));
    return key;
}

struct instance *instance_find(struct broker *b, const struct member *member, uint64_t number)
{
    struct instance_key key = key_of(member, number);
    struct instance *instance = NULL;

    HASH_FIND(hh, b->instances, &key, sizeof(key), instance);
    return instance;
}

struct instance *instance_get(struct broker *b, struct member *member, uint64_t number)
{
    struct instance *instance = instance_find(b, member, number);

    if (instance)
        return instance;

    /* Each identity makes room for itself: none can push out what is remembered of others. */
    while (member->away_count >= INSTANCES_PER_MEMBER) {
        struct instance *oldest = oldest_away(b, member);

        instance_free(b, &oldest);
    }
    instance = calloc(1, sizeof(*instance));
    if (!instance)
        return NULL;
    instance->key = key_of(member, number);
    instance->member = member;
    HASH_ADD(hh, b->instances, key, sizeof(instance->key), instance);
    if (!HASH_ADDED(hh, instance)) {
        free(instance);
        return NULL;
    }
    away_add(b, instance);
    return instance;
}

void instance_attach(struct broker *b, struct instance *instance, struct broker_peer *peer)
{
    if (!instance->peer)
        away_remove(b, instance);
    instance->peer = peer;
    instance->will_due_ms = 0;
    peer->instance = instance;
}

void instance_detach(struct broker *b, struct instance *instance)
{
    instance->peer->instance = NULL;
    instance->peer = NULL;
    instance->forget_at_ms = b->now.boot_ms + BROKER_INSTANCE_KEPT_MS;
    away_add(b, instance);
    for (int lane = 0; lane < LANES; lane++)
        if (instance->flights[lane]) {
            instance->flights[lane]->suspended_until_ms = b->now.boot_ms + FLIGHT_SUSPENDED_MS;
            wake_at(b, instance->flights[lane]->suspended_until_ms);
        }
    wake_at(b, instance->forget_at_ms);
}

void instance_free(struct broker *b, struct instance **instance)
{
    struct instance *i = *instance;

    if (!i)
        return;
    for (int lane = 0; lane < LANES; lane++)
        flight_abort(b, i, (enum lane_kind)lane, DROP_INCOMPLETE, AICO_EPEERAWAY);
    if (i->will_due_ms > 0 && !b->draining)
        will_publish(b, i);
    will_free(i);
    if (i->peer)
        i->peer->instance = NULL;
    else
        away_remove(b, i);
    HASH_DEL(b->instances, i);
    stream_instance_free(b, i);
    free(i->refusals);
    free(i);
    *instance = NULL;
}

void instance_refused(struct broker *b, struct instance *instance, uint64_t id, int code,
                      uint32_t rule_line)
{
    instance->last_id = MAX(instance->last_id, id);
    if (!instance->refusals)
        instance->refusals = calloc(REFUSALS_KEPT, sizeof(*instance->refusals));
    if (instance->refusals)
        instance->refusals[instance->refusal_count++ % REFUSALS_KEPT] =
            (struct refusal){id, rule_line, code, b->now.boot_ms};
}

uint64_t instance_acknowledged(const struct instance *instance)
{
    uint64_t id = instance->last_id;

    for (int lane = 0; lane < LANES; lane++)
        if (instance->flights[lane] && instance->flights[lane]->id <= id)
            id = instance->flights[lane]->id - 1;
    return MIN(id, stream_unstored(instance) - 1);
}

/* A refusal older than three keep-alives has been read, or its link would be dead. */
static bool may_be_unread(const struct broker *b, const struct refusal *refusal)
{
    return b->now.boot_ms - refusal->at_ms < 3 * b->settings.keepalive_interval_ms;
}

uint64_t instance_welcome_id(const struct broker *b, const struct instance *instance)
{
    uint64_t id = instance_acknowledged(instance);

    for (size_t i = 0; i < MIN(instance->refusal_count, (size_t)REFUSALS_KEPT); i++)
        if (may_be_unread(b, &instance->refusals[i]) && instance->refusals[i].id <= id)
            id = instance->refusals[i].id - 1;
    return id;
}

void instance_repeat_refusals(struct broker *b, struct instance *instance)
{
    size_t count = MIN(instance->refusal_count, (size_t)REFUSALS_KEPT);

    for (size_t i = instance->refusal_count - count; i < instance->refusal_count; i++) {
        const struct refusal *refusal = &instance->refusals[i % REFUSALS_KEPT];
        struct rule rule = {.line = refusal->rule_line};

        if (may_be_unread(b, refusal))
            refuse(b, instance->peer, refusal->id, refusal->code, &rule,
                   "refused before the connection was lost");
    }
}

void instances_restarted(struct broker *b, const struct instance *fresh)
{
    struct instance *instance;

    DL_FOREACH(b->away_instances, instance)
    {
        if (instance == fresh ||
            memcmp(instance->key.identity, fresh->key.identity, sizeof(fresh->key.identity)) != 0)
            continue;
        for (int lane = 0; lane < LANES; lane++)
            flight_abort(b, instance, (enum lane_kind)lane, DROP_INCOMPLETE, AICO_EPEERAWAY);
        will_publish(b, instance); /* that process will not come back */
    }
}

/* Also of a publisher that came back: a message in clear it does not go on with, since its readers
 * could not tell a repetition, and nothing behind it is acknowledged as long as it is there. */
static void end_suspended(struct broker *b)
{
    struct flight *flight, *next;

    DL_FOREACH_SAFE(b->flights, flight, next)
    {
        struct instance *instance = flight->instance;

        if (flight->suspended_until_ms == 0)
            continue;
        if (flight->suspended_until_ms > b->now.boot_ms) {
            wake_at(b, flight->suspended_until_ms);
            continue;
        }
        instance_refused(b, instance, flight->id, AICO_EEXPIRED, 0);
        flight_abort(b, instance, flight->lane, DROP_INCOMPLETE, AICO_EPEERAWAY);
        if (instance->peer && instance->peer->state == PEER_READY) {
            instance->peer->ack_pending = true; /* of what came behind it */
            acknowledge_soon(b, instance->peer);
        }
    }
}

void instances_sweep(struct broker *b)
{
    struct instance *instance, *next;

    DL_FOREACH_SAFE(b->away_instances, instance, next)
    {
        if (instance->forget_at_ms <= b->now.boot_ms) {
            struct instance *gone = instance;

            instance_free(b, &gone);
            continue;
        }
        wake_at(b, instance->forget_at_ms);
        if (instance->will_due_ms > 0 && b->now.boot_ms >= instance->will_due_ms)
            will_publish(b, instance);
        else if (instance->will_due_ms > 0)
            wake_at(b, instance->will_due_ms);
    }
    end_suspended(b);
}
