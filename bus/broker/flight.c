/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages in fragments. Their readers are fixed by the first fragment; later ones are forwarded as
 * they come, so the broker never holds a whole large message for a reader that keeps up. If the
 * publisher's link is lost in the middle, the flight waits: the same instance resends the same
 * bytes, and goes on where it was.
 */
#include "broker/internal.h"

struct flight *flight_new(struct broker *b, struct instance *instance, enum lane_kind lane,
                          const struct record_publish *publish, struct topic *topic,
                          struct member *sender, size_t reader_count)
{
    struct flight *flight =
        calloc(1, sizeof(*flight) + reader_count * sizeof(struct flight_reader));

    if (!flight)
        return NULL;
    flight->refs = 1;
    flight->instance = instance;
    flight->lane = lane;
    flight->id = publish->id;
    flight->total = publish->total;
    flight->delivery = publish->delivery;
    flight->request = publish->request;
    flight->expires_ms = publish->ttl_ms ? b->now.boot_ms + publish->ttl_ms : 0;
    flight->topic = topic;
    flight->sender = sender;
    flight->reader_count = reader_count;
    topic_ref(topic);
    instance->flights[lane] = flight;
    DL_APPEND(b->flights, flight);
    return flight;
}

void flight_unref(struct flight *flight)
{
    if (--flight->refs > 0)
        return;
    for (size_t i = 0; i < flight->reader_count; i++)
        queue_unref(flight->readers[i].queue);
    topic_unref(flight->topic);
    free(flight);
}

void flight_end(struct broker *b, struct instance *instance, enum lane_kind lane)
{
    struct flight *flight = instance->flights[lane];

    if (!flight)
        return;
    instance->flights[lane] = NULL;
    flight->instance = NULL;
    DL_DELETE(b->flights, flight);
    flight_unref(flight);
}

void flight_abort(struct broker *b, struct instance *instance, enum lane_kind lane,
                  enum broker_drop cause, int code)
{
    struct flight *flight = instance->flights[lane];

    if (!flight)
        return;
    for (size_t i = 0; i < flight->reader_count; i++) {
        (void)entries_reserve(b, 1); /* without memory the reader is ended, which tells it too */
        lane_void(b, flight, (uint32_t)i, cause, code);
    }
    instance->last_id = MAX(instance->last_id, flight->id);
    flight_end(b, instance, lane);
}

/* What a refusal of @flight needs of its PUBLISH. */
static struct record_publish publish_of(const struct flight *flight)
{
    return (struct record_publish){.delivery = flight->delivery,
                                   .id = flight->id,
                                   .topic = flight->topic->number,
                                   .to = flight->to ? flight->to->number : 0,
                                   .topic_name = topic_view(flight->topic)};
}

/* The only reader of a direct message has left: its sender is told, the rest of it is not taken. */
static void direct_reader_left(struct broker *b, struct flight *flight, const char *name)
{
    struct record_publish publish = publish_of(flight);
    struct instance *instance = flight->instance;

    instance->last_id = MAX(instance->last_id, flight->id);
    if (instance->peer)
        refuse_publish(b, instance->peer, &publish, AICO_EPEERAWAY, NULL,
                       "%s left before the message was complete", name);
    else
        instance_refused(b, instance, flight->id, AICO_EPEERAWAY, 0);
    flight_end(b, instance, LANE_DIRECT);
}

void flights_forget(struct broker *b, struct broker_peer *peer)
{
    struct flight *flight, *next;

    DL_FOREACH_SAFE(b->flights, flight, next)
    {
        for (size_t i = 0; i < flight->reader_count; i++) {
            struct flight_reader *fr = &flight->readers[i];

            if (fr->peer != peer)
                continue;
            fr->peer = NULL;
            fr->first = fr->last = NULL;
            count_dropped(b, peer, fr->row, DROP_LINK_LOST, 1);
            if (flight->lane == LANE_DIRECT) {
                direct_reader_left(b, flight, peer->member->name);
                break;
            }
        }
    }
}

/* The receiver of a direct flight, the publisher of a topic's. */
static bool flight_may_go_on(struct broker *b, const struct flight *flight)
{
    const struct rule *rule = topic_rule(b, flight->topic);

    if (flight->lane == LANE_DIRECT)
        return may_go(b, LANE_DIRECT, flight->delivery, flight->topic, flight->sender, flight->to);
    return topic_is_internal(topic_view(flight->topic)) ||
           (rule && flight->sender->component &&
            rule_allows(rule, flight->sender->component, RIGHT_PUBLISH));
}

void flights_recheck(struct broker *b)
{
    struct flight *flight, *next;

    DL_FOREACH_SAFE(b->flights, flight, next)
    {
        struct instance *instance = flight->instance;
        struct record_publish publish = publish_of(flight);

        if (!flight->sender->active) {
            flight_abort(b, instance, flight->lane, DROP_REVOKED, AICO_EREVOKED);
            continue;
        }
        if (!flight_may_go_on(b, flight)) {
            const struct rule *rule = topic_rule(b, flight->topic);

            if (instance->peer)
                refuse_publish(b, instance->peer, &publish, AICO_EDENIED, rule,
                               "a new registry forbids this message");
            else
                instance_refused(b, instance, flight->id, AICO_EDENIED,
                                 rule ? (uint32_t)rule->line : 0);
            flight_abort(b, instance, flight->lane, DROP_DENIED, AICO_EDENIED);
            continue;
        }
        for (size_t i = 0; i < flight->reader_count && flight->lane == LANE_TOPIC; i++) {
            struct broker_peer *peer = flight->readers[i].peer;

            if (peer && !may_read(b, peer, flight->topic)) {
                (void)entries_reserve(b, 1);
                lane_void(b, flight, (uint32_t)i, DROP_DENIED, AICO_EDENIED);
            }
        }
    }
}
