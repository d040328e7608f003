/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The last value of each topic, in memory. A new subscriber is sent it at once: in clear it is the
 * value; sealed it says that there is one, and the reader asks the publisher to seal it again for
 * it (decision 43), because old keys are given to nobody.
 */
#include "broker/internal.h"

static struct retained *find(struct broker *b, struct bytes topic)
{
    struct retained *r = NULL;

    HASH_FIND(hh, b->retained, topic.at, topic.size, r);
    return r;
}

static void forget(struct broker *b, struct retained *r)
{
    HASH_DEL(b->retained, r);
    b->retained_bytes -= r->message->size;
    message_unref(r->message);
    free(r);
}

void retained_forget(struct broker *b, const struct topic *topic)
{
    struct retained *r = find(b, topic_view(topic));

    if (r)
        forget(b, r);
}

bool retained_has_room(struct broker *b, struct broker_peer *peer, const struct record_publish *p,
                       const struct topic *topic)
{
    const struct retained *former = find(b, topic_view(topic));
    size_t bytes = b->retained_bytes - (former ? former->message->size : 0) + p->payload.size;

    if (!former && HASH_COUNT(b->retained) >= b->settings.max_retained) {
        refuse_publish(b, peer, p, AICO_EFULL, topic->rule,
                       "the broker keeps the values of %zu topics and no more; raise "
                       "broker.max_retained in security.yaml",
                       b->settings.max_retained);
        return false;
    }
    if (bytes > b->settings.retained_limit) {
        refuse_publish(
            b, peer, p, AICO_EFULL, topic->rule,
            "the values the broker keeps would take %zu bytes, it has room for %zu; raise "
            "broker.retained_limit in security.yaml",
            bytes, b->settings.retained_limit);
        return false;
    }
    return true;
}

static void note_expiry(struct broker *b, int64_t expires_ms)
{
    if (expires_ms == 0)
        return;
    if (b->retained_expires_ms == 0 || expires_ms < b->retained_expires_ms)
        b->retained_expires_ms = expires_ms;
    wake_at(b, expires_ms);
}

bool retained_is_of_another(struct broker *b, const struct topic *topic,
                            const struct member *sender)
{
    const struct retained *r = find(b, topic_view(topic));

    return r && r->message->sender != sender;
}

int retained_keep(struct broker *b, const struct record_deliver *deliver, struct topic *topic,
                  struct member *sender, int64_t expires_ms)
{
    struct record_deliver kept = *deliver;
    struct retained *former = find(b, topic_view(topic)), *r = calloc(1, sizeof(*r));
    struct bytes name;

    kept.kept = true;
    if (r)
        r->message = message_new(b, &kept, topic, sender);
    if (!r || !r->message) {
        free(r);
        return AICO_ENOMEM;
    }
    r->message->kept = true;
    r->message->expires_ms = expires_ms;
    if (former)
        forget(b, former);
    name = topic_view(topic); /* its message refers to the topic */
    HASH_ADD_KEYPTR(hh, b->retained, name.at, name.size, r);
    if (!HASH_ADDED(hh, r)) {
        message_unref(r->message);
        free(r);
        return AICO_ENOMEM;
    }
    b->retained_bytes += r->message->size;
    note_expiry(b, expires_ms);
    return 0;
}

static void send(struct broker *b, struct broker_peer *peer, const struct subscription *s,
                 const struct retained *r)
{
    struct message *message = r->message;
    struct topic *topic = message->topic;
    struct ledger_row *row;

    if (message->sender == peer->member || !may_read(b, peer, topic) ||
        (message->expires_ms && b->now.boot_ms >= message->expires_ms))
        return;
    if (entries_reserve(b, 1) < 0) {
        peer_end_later(b, peer, AICO_ENOMEM, "no memory for the values of its topics");
        return;
    }
    row = ledger_row(b, message->sender, topic_rule(b, topic), peer->member);
    count_routed(b, peer, row, 1);
    lane_push(b, peer, LANE_TOPIC, message, kept_policy(s), row, NULL, NULL, 0);
}

void retained_catch_up(struct broker *b, struct broker_peer *peer, const struct subscription *s)
{
    struct bytes filter = bytes_of(s->filter, s->size);
    const struct retained *r, *next;

    if (s->queue) /* one of many needs no value of its own */
        return;
    r = find(b, filter);
    if (r) {
        send(b, peer, s, r);
        return;
    }
    for (r = b->retained; r; r = next) {
        next = r->hh.next;
        if (filter_matches(filter, topic_view(r->message->topic)))
            send(b, peer, s, r);
    }
}

void retained_sweep(struct broker *b, bool recheck)
{
    struct retained *r, *next;

    if (!recheck && (b->retained_expires_ms == 0 || b->now.boot_ms < b->retained_expires_ms))
        return;
    b->retained_expires_ms = 0;
    HASH_ITER(hh, b->retained, r, next)
    {
        const struct message *m = r->message;
        const struct rule *rule = topic_rule(b, m->topic);

        if ((m->expires_ms && b->now.boot_ms >= m->expires_ms) || !m->sender->active || !rule ||
            !rule_allows(rule, m->sender->component, RIGHT_PUBLISH))
            forget(b, r);
        else
            note_expiry(b, m->expires_ms);
    }
}

void retained_free(struct broker *b)
{
    struct retained *r, *next;

    HASH_ITER(hh, b->retained, r, next)
    {
        forget(b, r);
    }
}
