/* SPDX-License-Identifier: Apache-2.0 */
/* The records of a session that are not messages: its life, subscriptions, questions. */
#include <stdio.h>

#include "broker/internal.h"

/* --- the life of a session ------------------------------------------------------------------ */

static int refuse_hello(struct broker *b, struct broker_peer *peer, int code, const char *text)
{
    peer_end(b, peer, code, text);
    return 0;
}

/* Whether an older session of this name stands in the way; one of the same process does not. */
static bool is_duplicate(struct broker *b, struct broker_peer *peer, uint64_t instance)
{
    struct broker_peer *older = NULL;

    HASH_FIND(hh, b->sessions, peer->member->name, strlen(peer->member->name), older);
    if (!older)
        return false;
    if (older->end_noted) {
        peer_end(b, older, older->end_code, older->end_text);
        return false;
    }
    if (older->member != peer->member || older->instance->key.number != instance)
        return true;
    peer_cut(b, older, AICO_EDUPLICATE, "the same process has connected again");
    return false;
}

static void welcome(struct broker *b, struct broker_peer *peer)
{
    struct record_welcome record = {
        .window = b->settings.publish_window,
        .self = peer->member->number,
        .registry_version = registry_version(b->registry),
        .registry_hash = bytes_of(registry_hash(b->registry), REGISTRY_HASH_SIZE),
        .time_ms = (uint64_t)MAX(b->now.real_ms, (int64_t)0),
        .last_id = instance_welcome_id(b, peer->instance),
        .name = bytes_text(b->self->name),
        .software = bytes_text(b->software),
    };
    struct writer w = control_begin(b, peer, RECORD_HEAD_SIZE + 48 + 256 + 256);

    record_write_welcome(&w, &record);
    control_end(b, peer, &w);
    instance_repeat_refusals(b, peer->instance);
}

static void compare_registries(struct broker *b, struct broker_peer *peer,
                               const struct record_hello *hello)
{
    uint64_t ours = registry_version(b->registry);
    struct bytes hash = bytes_of(registry_hash(b->registry), REGISTRY_HASH_SIZE);

    peer->registry_told = hello->registry_version;
    if (hello->registry_version < ours)
        registry_send_next(b, peer);
    else if (hello->registry_version > ours)
        event(b, BROKER_WARNING, BROKER_EVENT_REGISTRY, peer, AICO_EREGISTRYOLD,
              "has registry version %llu, the broker only %llu",
              (unsigned long long)hello->registry_version, (unsigned long long)ours);
    else if (!bytes_equal(hello->registry_hash, hash))
        event(b, BROKER_ERROR, BROKER_EVENT_REGISTRY, peer, AICO_EEQUIVOCATION,
              "has another registry of version %llu", (unsigned long long)ours);
}

/* A name is connected with another of its keys. Whoever knows the former one hears of it at once:
 * channels with that lead nowhere any more. */
static void announce_rotated(struct broker *b, const struct member *member)
{
    for (size_t i = 1; i <= b->member_count; i++) {
        const struct member *former = b->member_by_number[i];
        struct broker_peer *peer, *next;

        if (former == member || strcmp(former->name, member->name) != 0)
            continue;
        HASH_ITER(hh, b->sessions, peer, next)
        {
            if (peer->member != member && bitmap_has(&peer->components_known, former->number))
                (void)announce_member(b, peer, member);
        }
    }
}

/* Whoever knows @member by its number hears of it anew before the next record that names it: what
 * its former process knew (its channels above all) is gone. */
static void renew_member(struct broker *b, struct member *member, uint64_t instance)
{
    struct broker_peer *peer, *next;
    uint64_t former = member->instance;

    member->instance = instance;
    if (former == 0 || former == instance)
        return;
    HASH_ITER(hh, b->sessions, peer, next)
    {
        if (peer->member != member && bitmap_has(&peer->components_known, member->number))
            (void)bitmap_set(&peer->components_renewed, member->number); /* has room */
    }
}

int on_hello(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_hello hello;
    struct instance *instance;
    int r = record_parse_hello(record, &hello);

    if (r < 0)
        return r;
    if (hello.version != WIRE_VERSION)
        return refuse_hello(b, peer, AICO_EVERSION, "this broker speaks protocol version 1");
    if (!bytes_equal_text(hello.name, peer->member->name))
        return refuse_hello(b, peer, AICO_ESTAMP, "HELLO names another component than the key");
    if (hello.window < FRAME_SIZE_MAX)
        return refuse_hello(b, peer, AICO_EPROTO, "the window is smaller than one frame");
    if (b->draining)
        return refuse_hello(b, peer, AICO_EDRAIN, "the broker is shutting down");
    if (is_duplicate(b, peer, hello.instance))
        return refuse_hello(b, peer, AICO_EDUPLICATE,
                            "another process is connected with this identity; give each its own: "
                            "aico-keytool new NAME");

    instance = instance_get(b, peer->member, hello.instance);
    peer->software = strndup((const char *)hello.software.at, hello.software.size);
    HASH_ADD_KEYPTR(hh, b->sessions, peer->member->name, strlen(peer->member->name), peer);
    if (!instance || !peer->software || !HASH_ADDED(hh, peer)) {
        if (HASH_ADDED(hh, peer))
            HASH_DEL(b->sessions, peer);
        return refuse_hello(b, peer, AICO_ENOMEM, "the broker is out of memory");
    }
    instance_attach(b, instance, peer);
    instances_restarted(b, instance);
    renew_member(b, peer->member, hello.instance);
    announce_rotated(b, peer->member);
    peer->instance_number = hello.instance;
    peer->window = hello.window;
    peer->publish_window = b->settings.publish_window;
    peer->publish_credit = peer->publish_window;
    peer_become_ready(b, peer);
    welcome(b, peer);
    compare_registries(b, peer, &hello);
    event(b, BROKER_INFO, BROKER_EVENT_CONNECTED, peer, 0, "connected: %s", peer->software);
    presence_online(b, peer);
    statements_tell(b, peer);
    audit_head_tell(b, peer);
    if (instance->untold_code) {
        peer_end_later(b, peer, instance->untold_code,
                       "the connection before this one was ended because it was read too slowly");
        instance->untold_code = 0;
    }
    return 0;
}

int on_bye(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_bye bye;
    int r = record_parse_bye(record, &bye);

    if (r == 0)
        peer_cut(b, peer, 0, "said goodbye");
    return r;
}

int on_ping(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_ping ping;
    struct writer w;
    int r = record_parse_ping(record, &ping);

    if (r < 0)
        return r;
    acknowledge(b, peer); /* who asks has heard of everything before */
    w = control_begin(b, peer, RECORD_HEAD_SIZE + 8);
    record_write_pong(&w, ping.token);
    control_end(b, peer, &w);
    return 0;
}

/* That it came at all is what counts: broker_peer_receive() has noted it. */
int on_pong(struct broker *b UNUSED, struct broker_peer *peer UNUSED, const struct record *record)
{
    struct record_ping pong;

    return record_parse_ping(record, &pong);
}

int on_credit(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_credit credit;
    int r = record_parse_credit(record, &credit);

    if (r < 0)
        return r;
    peer->window = MIN(peer->window + credit.bytes, (uint64_t)UINT32_MAX);
    outbox_queued(b, peer);
    return 0;
}

/* --- subscriptions -------------------------------------------------------------------------- */

static struct subscription *subscription_new(struct broker_peer *peer,
                                             const struct record_subscribe *m, struct bytes filter)
{
    struct subscription *s = calloc(1, sizeof(*s) + filter.size);

    if (!s)
        return NULL;
    s->peer = peer;
    s->id = m->id;
    s->number = m->subscription;
    s->policy = m->policy;
    s->serve = m->serve;
    s->size = (uint8_t)filter.size;
    bytes_copy(s->filter, filter);
    HASH_ADD(hh, peer->subscriptions, number, sizeof(s->number), s);
    if (!HASH_ADDED(hh, s)) {
        free(s);
        return NULL;
    }
    peer->subscription_count++;
    return s;
}

static void subscription_free(struct broker *b, struct subscription *s)
{
    struct broker_peer *peer = s->peer;

    if (s->node)
        route_remove(b, s);
    values_forget(s);
    if (s->queue)
        queue_part(peer, s->queue);
    queue_unref(s->queue);
    HASH_DEL(peer->subscriptions, s);
    peer->subscription_count--;
    free(s);
}

/* Of a session that goes on. */
static void subscription_end(struct broker *b, struct subscription *s)
{
    struct broker_peer *peer = s->peer;
    struct queue *queue = s->queue;

    queue_ref(queue);
    subscription_free(b, s);
    if (queue && !queue_membership(peer, queue))
        queue_left(b, peer, queue);
    queue_unref(queue);
}

void subscriptions_free(struct broker *b, struct broker_peer *peer)
{
    struct subscription *s, *next;

    HASH_ITER(hh, peer->subscriptions, s, next)
    subscription_free(b, s);
}

void answer_ok(struct broker *b, struct broker_peer *peer, uint64_t id, uint32_t value)
{
    struct writer w = control_begin(b, peer, RECORD_HEAD_SIZE + 12);

    record_write_ok(&w, id, value);
    control_end(b, peer, &w);
}

/* Whether messages under @filter can go to one of several; false: refused. */
static bool may_queue(struct broker *b, struct broker_peer *peer, const struct record_subscribe *m,
                      struct bytes filter)
{
    if (m->queue.size > QUEUE_NAME_MAX) {
        refuse(b, peer, m->id, AICO_EINVAL, NULL, "the name of a queue group has 1..%d bytes",
               QUEUE_NAME_MAX);
        return false;
    }
    if (topic_is_internal(filter)) {
        refuse(b, peer, m->id, AICO_EINVAL, NULL, "the bus's own topics have no queue groups");
        return false;
    }
    for (size_t i = 0; i < registry_rule_count(b->registry); i++) {
        const struct rule *rule = registry_rule_at(b->registry, i);

        if ((rule->seal != SEAL_CHANNEL && rule->seal != SEAL_RATCHET) ||
            !filter_overlaps(rule->filter, filter))
            continue;
        refuse(b, peer, m->id, AICO_EINVAL, rule,
               "what is sealed for each reader alone cannot go to one of several; use a narrower "
               "filter");
        return false;
    }
    return true;
}

int on_subscribe(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    char canonical[TOPIC_SIZE_MAX + 1], hint[QUOTA_HINT_SIZE];
    const struct rule *rule = NULL;
    struct subscription *s = NULL;
    struct queue *queue = NULL;
    struct record_subscribe m;
    struct bytes filter;
    int r = record_parse_subscribe(record, &m);

    if (r < 0)
        return r;
    work_add(b, WORK_SUBSCRIBE);
    HASH_FIND(hh, peer->subscriptions, &m.subscription, sizeof(m.subscription), s);
    if (s)
        return AICO_EPROTO;
    filter =
        bytes_of(canonical, filter_is_valid(m.filter) ? filter_canonical(m.filter, canonical) : 0);
    if (filter.size == 0) {
        refuse(b, peer, m.id, AICO_ETOPIC, NULL,
               "a filter has whole levels as wildcards: * or + for one, ** or # for the rest");
        return 0;
    }
    if (m.queue.size > 0 && !may_queue(b, peer, &m, filter))
        return 0;
    if (!quota_allows(b, peer->member, peer, QUOTA_SUBSCRIPTIONS, peer->subscription_count)) {
        refuse(b, peer, m.id, AICO_EQUOTA, NULL, "%s", quota_hint(b, QUOTA_SUBSCRIPTIONS, hint));
        return 0;
    }
    if (!may_subscribe(b, peer, filter, &rule)) {
        refuse_denied(b, peer, m.id, NULL, rule, filter);
        return 0;
    }
    if (m.queue.size > 0) {
        queue = queue_get(b, m.queue);
        r = queue ? queue_join(peer, queue) : AICO_ENOMEM;
    }
    if (r == AICO_EQUOTA) {
        queue_unref(queue);
        refuse(b, peer, m.id, r, NULL, "one component is in at most %d queue groups at a time",
               QUEUE_GROUPS_MAX);
        return 0;
    }
    s = r == 0 ? subscription_new(peer, &m, filter) : NULL;
    if (s)
        s->queue = queue;
    if (!s || route_add(b, s) < 0) {
        if (s) {
            subscription_free(b, s);
        } else if (queue) {
            if (r == 0)
                queue_part(peer, queue);
            queue_unref(queue);
        }
        refuse(b, peer, m.id, AICO_ENOMEM, NULL, "the broker is out of memory");
        return 0;
    }
    answer_ok(b, peer, m.id, m.subscription);
    retained_catch_up(b, peer, s);
    values_catch_up(b, peer, s);
    mailbox_open(b, peer);
    if (topic_is_internal(filter))
        presence_catch_up(b, peer, filter);
    if (bytes_equal_text(filter, TOPIC_STATS))
        stats_wanted(b);
    return 0;
}

int on_unsubscribe(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_unsubscribe m;
    struct subscription *s = NULL;
    int r = record_parse_unsubscribe(record, &m);

    if (r < 0)
        return r;
    if (durable_unfollow(b, peer, m.subscription)) {
        answer_ok(b, peer, m.id, m.subscription);
        return 0;
    }
    HASH_FIND(hh, peer->subscriptions, &m.subscription, sizeof(m.subscription), s);
    if (!s) {
        /* A registry change may have ended it while this was on its way. */
        refuse(b, peer, m.id, AICO_ENOTFOUND, NULL, "no such subscription");
        return 0;
    }
    subscription_end(b, s);
    answer_ok(b, peer, m.id, m.subscription);
    return 0;
}

void subscriptions_recheck(struct broker *b, struct broker_peer *peer)
{
    struct subscription *s, *next;

    HASH_ITER(hh, peer->subscriptions, s, next)
    {
        struct bytes filter = bytes_of(s->filter, s->size);
        const struct rule *rule = NULL;

        if (may_subscribe(b, peer, filter, &rule))
            continue;
        refuse_denied(b, peer, s->id, NULL, rule, filter);
        subscription_end(b, s);
    }
}

/* --- questions ------------------------------------------------------------------------------ */

/* The next of those who serve @topic, other than @asker; NULL when nobody does. */
static struct broker_peer *next_server(struct topic *topic, const struct broker_peer *asker)
{
    for (size_t i = 0; i < topic->reader_count; i++) {
        struct recipient *reader = &topic->readers[topic->next_server++ % topic->reader_count];

        if (reader->serve && reader->peer != asker && reader->peer->state == PEER_READY &&
            !reader->peer->end_noted)
            return reader->peer;
    }
    return NULL;
}

/* A request that found nobody to go to. */
static void count_unresolved(struct broker *b, const struct broker_peer *peer,
                             const struct rule *rule, int code)
{
    struct ledger_row *row = direct_row(b, peer->member, rule, NULL, LEDGER_REQUEST);

    count_asked(b, row);
    count_request_ended(b, row, code);
}

/* The topic of a RESOLVE if @peer may publish there, else it was refused. */
static struct topic *resolvable(struct broker *b, struct broker_peer *peer,
                                const struct record_resolve *m)
{
    const struct rule *rule;
    struct topic *topic;

    if (!topic_is_valid(m->topic)) {
        count_unresolved(b, peer, NULL, AICO_ETOPIC);
        refuse(b, peer, m->id, AICO_ETOPIC, NULL, "not a topic");
        return NULL;
    }
    rule = topic_is_internal(m->topic) ? NULL : registry_rule_for(b->registry, m->topic);
    if (!rule || !rule_allows(rule, peer->member->component, RIGHT_PUBLISH)) {
        count_unresolved(b, peer, rule, AICO_EDENIED);
        refuse(b, peer, m->id, AICO_EDENIED, rule, "%s may not publish here", peer->member->name);
        return NULL;
    }
    topic = topic_find(b, m->topic);
    if (topic)
        topic_ref(topic);
    else
        topic = topic_get(b, m->topic, true);
    if (!topic || route_update(b, topic) < 0) {
        topic_unref(topic);
        count_unresolved(b, peer, rule, AICO_ENOMEM);
        refuse(b, peer, m->id, AICO_ENOMEM, NULL, "the broker is out of memory");
        return NULL;
    }
    return topic;
}

int on_resolve(struct broker *b, struct broker_peer *peer, const struct record *record)
{
    struct record_resolve m;
    struct broker_peer *server;
    struct topic *topic;
    struct writer w;
    int r = record_parse_resolve(record, &m);

    if (r < 0)
        return r;
    topic = resolvable(b, peer, &m);
    if (!topic)
        return 0;
    server = next_server(topic, peer);
    if (!server) {
        count_unresolved(b, peer, topic_rule(b, topic), AICO_ENORESPONDER);
        refuse(b, peer, m.id, AICO_ENORESPONDER, NULL, "nobody who is connected serves %.*s",
               (int)m.topic.size, (const char *)m.topic.at);
    } else {
        if (announce_member(b, peer, server->member) < 0)
            peer_end_later(b, peer, AICO_ENOMEM, "no memory to name a component");
        w = control_begin(b, peer, RECORD_HEAD_SIZE + 12);
        record_write_resolved(&w, m.id, server->member->number);
        control_end(b, peer, &w);
    }
    topic_unref(topic);
    return 0;
}
