/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Last wills: one message a run of a client leaves here, sealed by itself beforehand, which is
 * published when its session ends without BYE and it does not come back within WILL_GRACE_MS
 * (decision 44). It belongs to the instance, so that a lost link alone does not trigger it.
 */
#include "broker/internal.h"

void will_free(struct instance *instance)
{
    if (!instance->will)
        return;
    topic_unref(instance->will->topic);
    free(instance->will);
    instance->will = NULL;
}

static struct will *will_new(struct broker *b, const struct record_will *m, struct topic *topic)
{
    struct will *will = malloc(sizeof(*will) + m->payload.size);

    (void)b;
    if (!will)
        return NULL;
    will->topic = topic;
    will->id = m->id;
    will->size = m->payload.size;
    bytes_copy(will->payload, m->payload);
    topic_ref(topic);
    return will;
}

/* The topic by number must have been announced to this peer, as in PUBLISH. NULL: refused, unless
 * *ret_code says that it is a breach. */
static struct topic *topic_of(struct broker *b, struct broker_peer *peer,
                              const struct record_will *m, int *ret_code)
{
    struct topic *topic = m->topic ? topic_by_number(b, m->topic) : topic_find(b, m->topic_name);

    *ret_code = 0;
    if (m->topic && (!topic || !bitmap_has(&peer->topics_known, m->topic))) {
        *ret_code = AICO_EPROTO;
        return NULL;
    }
    if (!topic && !topic_is_valid(m->topic_name)) {
        refuse(b, peer, m->id, AICO_ETOPIC, NULL, "not a topic");
        return NULL;
    }
    if (topic)
        topic_ref(topic);
    else
        topic = topic_get(b, m->topic_name, false);
    if (!topic)
        refuse(b, peer, m->id, AICO_ENOMEM, NULL, "the broker is out of memory");
    return topic;
}

int on_will(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_will m;
    struct will *will;
    struct topic *topic;
    int r = record_parse_will(record, &m);

    if (r < 0)
        return r;
    topic = topic_of(b, peer, &m, &r);
    if (!topic)
        return r;
    if (topic_is_internal(topic_view(topic)) || !may_publish(b, peer, topic)) {
        struct record_publish publish = {.id = m.id};

        refuse_denied(b, peer, m.id, &publish, topic_rule(b, topic), topic_view(topic));
    } else if (m.payload.size > 0 && !is_sealed_enough(topic_rule(b, topic), m.payload)) {
        refuse(b, peer, m.id, AICO_EDENIED, topic_rule(b, topic),
               "the rule demands sealed messages: this will is no AICO-MSG envelope");
    } else {
        will = m.payload.size > 0 ? will_new(b, &m, topic) : NULL;
        if (m.payload.size > 0 && !will) {
            refuse(b, peer, m.id, AICO_ENOMEM, NULL, "the broker is out of memory");
        } else {
            will_free(peer->instance);
            peer->instance->will = will;
            answer_ok(b, peer, m.id, 0);
        }
    }
    topic_unref(topic);
    return 0;
}

void will_session_ended(struct broker *b, struct instance *instance, int code)
{
    if (!instance->will)
        return;
    if (code == 0 || code == AICO_EDRAIN || b->draining) {
        will_free(instance); /* in order, or it goes with its client to the next broker */
        return;
    }
    /* Who was sent away does not come back. */
    instance->will_due_ms = b->now.boot_ms + (code == AICO_EKICKED ? 0 : WILL_GRACE_MS);
    wake_at(b, instance->will_due_ms);
}

static void route(struct broker *b, struct topic *topic, struct member *sender,
                  struct message *message)
{
    for (size_t i = 0; i < topic->reader_count; i++) {
        struct recipient *reader = &topic->readers[i];
        struct ledger_row *row;

        if (reader->peer->member == sender || !queue_lets(reader))
            continue;
        row = ledger_row(b, sender, topic_rule(b, topic), reader->peer->member);
        count_routed(b, reader->peer, row, 1);
        lane_push(b, reader->peer, LANE_TOPIC, message, reader->policy, row, reader->queue, NULL,
                  0);
    }
}

/* There is no memory for it: its readers, as far as they are known, do not get it. */
static void lose(struct broker *b, struct topic *topic, struct member *sender)
{
    const struct rule *rule = topic_rule(b, topic);
    bool is_known = route_update(b, topic) == 0;

    if (is_known)
        queue_choose(b, topic, sender->peer, NULL);
    for (size_t i = 0; is_known && i < topic->reader_count; i++) {
        struct recipient *reader = &topic->readers[i];
        struct ledger_row *row;

        if (!recipient_gets(reader, sender->peer))
            continue;
        row = ledger_row(b, sender, rule, reader->peer->member);
        count_routed(b, reader->peer, row, 1);
        count_dropped(b, reader->peer, row, DROP_MEMORY, 1);
    }
    if (!is_known) {
        struct ledger_row *row = ledger_row(b, sender, rule, NULL);

        count_routed(b, NULL, row, 1);
        count_dropped(b, NULL, row, DROP_MEMORY, 1);
    }
    b->totals.wills_lost++;
}

/* To everybody who listens; false: it is lost. */
static bool say(struct broker *b, struct topic *topic, struct member *sender,
                const struct record_deliver *deliver)
{
    struct message *message = NULL;

    count_published(b, sender, topic_rule(b, topic), 1);
    topic->messages++;
    if (route_update(b, topic) == 0 && entries_reserve(b, topic->reader_count) == 0)
        message = message_new(b, deliver, topic, sender);
    if (!message) {
        lose(b, topic, sender);
        return false;
    }
    message->kept = true;
    topic->bytes += message->size;
    queue_choose(b, topic, sender->peer, NULL);
    route(b, topic, sender, message);
    message_unref(message);
    return true;
}

void will_publish(struct broker *b, struct instance *instance)
{
    struct will *will = instance->will;
    struct member *sender = NULL;
    struct record_deliver deliver;
    const struct rule *rule;
    struct topic *topic;
    bool is_said;

    instance->will_due_ms = 0;
    if (!will)
        return;
    topic = will->topic;
    rule = topic_rule(b, topic);
    HASH_FIND(hh, b->members, instance->key.identity, sizeof(instance->key.identity), sender);
    if (sender && sender->active && rule && rule_allows(rule, sender->component, RIGHT_PUBLISH)) {
        deliver = (struct record_deliver){
            .delivery = DELIVERY_EVENT,
            .id = will->id,
            .topic = topic->number,
            .sender = sender->number,
            .kept = true,
            .topic_name = topic_view(topic),
            .total = (uint32_t)will->size,
            .payload = bytes_of(will->payload, will->size),
        };
        is_said = say(b, topic, sender, &deliver);
        event(b, is_said ? BROKER_INFO : BROKER_ERROR, BROKER_EVENT_LEFT, NULL,
              is_said ? 0 : AICO_ENOMEM, "%s: its last will on %.*s %s", sender->name,
              (int)topic->size, topic->name,
              is_said ? "is published" : "is lost: the broker is out of memory");
    } else {
        event(b, BROKER_NOTICE, BROKER_EVENT_DENIED, NULL, AICO_EDENIED,
              "%s: its last will on %.*s is not published: the registry does not let it",
              sender ? sender->name : "a component", (int)topic->size, topic->name);
    }
    will_free(instance);
}
