/* SPDX-License-Identifier: Apache-2.0 */
/* Counters and the status texts made of them. */
#include "base/hex.h"
#include "base/json.h"
#include "broker/internal.h"

#define SLOW_RANKED 10
#define ENTRIES_LOOKED_AT 64 /* of a lane, for whom it holds up */
#define STATS_INTERVAL_MS 1000
#define STATS_COMPONENTS_MAX 100           /* they fit one frame */
#define STATUS_SIZE_MAX (2u * 1024 * 1024) /* a list longer than this is cut, and says so */

const char *broker_drop_name(enum broker_drop cause)
{
    static const char *const names[DROP_CAUSES] = {
        [DROP_SLOW_OLD] = "drop-old",    [DROP_SLOW_NEW] = "drop-new",
        [DROP_LINK_LOST] = "link lost",  [DROP_REVOKED] = "revoked",
        [DROP_DENIED] = "denied",        [DROP_INCOMPLETE] = "incomplete",
        [DROP_MEMORY] = "out of memory", [DROP_EXPIRED] = "expired",
        [DROP_RETENTION] = "retention",  [DROP_PURGED] = "purged",
        [DROP_DEAD] = "dead letter",
    };

    return names[cause];
}

void broker_get_totals(const struct broker *b, struct broker_totals *ret_totals)
{
    *ret_totals = b->totals;
    ret_totals->requests.open = HASH_COUNT(b->requests);
    ret_totals->peers = HASH_COUNT(b->sessions);
    ret_totals->subscriptions = b->subscription_count;
    ret_totals->topics = b->topic_count;
}

/* --- status --------------------------------------------------------------------------------- */

void put_drops(struct json *json, const uint64_t dropped[DROP_CAUSES])
{
    json_open_object(json, "dropped");
    for (int cause = 0; cause < DROP_CAUSES; cause++)
        if (dropped[cause] > 0)
            json_put_u64(json, broker_drop_name((enum broker_drop)cause), dropped[cause]);
    json_close_object(json);
}

static void put_refusals(const struct broker *b, struct json *json)
{
    json_open_object(json, "refused");
    for (size_t code = 1; code < COUNT_OF(b->refused_by_code); code++)
        if (b->refused_by_code[code] > 0)
            json_put_u64(json, aico_error_name(-(int)code), b->refused_by_code[code]);
    json_close_object(json);
}

static void put_registry(const struct broker *b, struct json *json)
{
    char hash[2 * REGISTRY_HASH_SIZE + 1];

    hex_write(bytes_of(registry_hash(b->registry), REGISTRY_HASH_SIZE), hash);
    json_open_object(json, "registry");
    json_put_u64(json, "version", registry_version(b->registry));
    json_put_text(json, "hash", bytes_text(hash));
    json_put_u64(json, "components", registry_component_count(b->registry));
    json_close_object(json);
}

static void put_peer(const struct broker *b, struct json *json, const char *key,
                     const struct broker_peer *peer)
{
    const struct lane *topic = &peer->lanes[LANE_TOPIC], *direct = &peer->lanes[LANE_DIRECT];

    json_open_object(json, key);
    json_put_text(json, "name", bytes_text(peer->member->name));
    json_put_text(json, "address", bytes_text(peer->address));
    json_put_i64(json, "connected_ms", b->now.boot_ms - peer->ready_ms);
    json_put_text(json, "software", bytes_text(peer->software));
    json_put_u64(json, "subscriptions", peer->subscription_count);
    json_put_u64(json, "published", peer->published);
    json_put_u64(json, "refused", peer->refused);
    json_put_u64(json, "delivered", peer->delivered);
    json_put_u64(json, "queued", topic->messages + direct->messages);
    json_put_u64(json, "queued_bytes", topic->bytes + direct->bytes);
    json_put_u64(json, "dropped", peer->dropped);
    json_put_u64(json, "credit", peer->window);
    json_put_u64(json, "bytes_in", peer->bytes_in);
    json_put_u64(json, "bytes_out", peer->bytes_out);
    quota_put_peer(b, json, peer);
    json_close_object(json);
}

static bool is_slower(const struct broker_peer *a, const struct broker_peer *b)
{
    size_t x = a->lanes[LANE_TOPIC].bytes, y = b->lanes[LANE_TOPIC].bytes;

    return x != y ? x > y : a->dropped > b->dropped;
}

bool is_too_long(const struct json *json)
{
    return json->failed || json->out->size > STATUS_SIZE_MAX;
}

/* Whether @e, in the lane of a reader, keeps credit of its publisher back until it was sent. */
static bool holds_credit(const struct entry *e)
{
    return e->message && e->blocking && e->message->owed > 0;
}

static bool is_waited_for(const struct broker_peer *reader, const struct broker_peer *publisher)
{
    const struct entry *e = reader->lanes[LANE_TOPIC].first_message;

    for (size_t i = 0; e && i < ENTRIES_LOOKED_AT; i++, e = e->next)
        if (holds_credit(e) && e->message->sender == publisher->member &&
            e->message->session == publisher->serial)
            return true;
    return false;
}

/* The readers with slow policy block that @publisher waits for: what it asks when it gets no
 * credit. */
static void put_waits_for(const struct broker *b, struct json *json,
                          const struct broker_peer *publisher)
{
    const struct broker_peer *reader;

    json_open_array(json, "waits_for");
    for (reader = b->sessions; reader && !is_too_long(json); reader = reader->hh.next)
        if (is_waited_for(reader, publisher))
            json_put_text(json, NULL, bytes_text(reader->member->name));
    json_close_array(json);
}

/* Who reads slowest: by bytes that wait, then by messages dropped. */
static void put_slow(const struct broker *b, struct json *json)
{
    const struct broker_peer *slow[SLOW_RANKED], *peer;
    size_t count = 0;

    for (peer = b->sessions; peer; peer = peer->hh.next) {
        size_t at = count;

        if (peer->lanes[LANE_TOPIC].bytes == 0 && peer->dropped == 0)
            continue;
        while (at > 0 && is_slower(peer, slow[at - 1]))
            at--;
        if (at == SLOW_RANKED)
            continue;
        count = MIN(count + 1, (size_t)SLOW_RANKED);
        memmove(&slow[at + 1], &slow[at], (count - at - 1) * sizeof(struct broker_peer *));
        slow[at] = peer;
    }
    json_open_array(json, "slow");
    for (size_t i = 0; i < count; i++) {
        json_open_object(json, NULL);
        json_put_text(json, "name", bytes_text(slow[i]->member->name));
        json_put_u64(json, "queued_bytes", slow[i]->lanes[LANE_TOPIC].bytes);
        json_put_u64(json, "queued", slow[i]->lanes[LANE_TOPIC].messages);
        json_put_u64(json, "dropped", slow[i]->dropped);
        json_put_text(json, "address", bytes_text(slow[i]->address));
        json_close_object(json);
    }
    json_close_array(json);
}

static void put_totals(const struct broker *b, struct json *json)
{
    const struct broker_totals *t = &b->totals;

    json_put_u64(json, "peers", HASH_COUNT(b->sessions));
    json_put_u64(json, "subscriptions", b->subscription_count);
    json_put_u64(json, "topics", b->topic_count);
    json_put_u64(json, "published", t->published);
    json_put_u64(json, "direct", t->direct);
    json_put_u64(json, "repeated", t->repeated);
    json_put_u64(json, "stored", t->stored);
    json_put_u64(json, "expired", t->expired);
    json_put_u64(json, "settled", t->settled);
    json_put_u64(json, "dead_letters", t->buried);
    json_put_u64(json, "redelivered", t->redelivered);
    json_put_u64(json, "routed_deliveries", t->by_topic.routed);
    json_put_u64(json, "delivered", t->by_topic.delivered);
    json_put_u64(json, "queued", t->by_topic.queued);
    put_drops(json, t->by_topic.dropped);
    json_put_u64(json, "direct_delivered", t->to_one.delivered);
    json_put_u64(json, "direct_dropped", broker_flow_dropped(&t->to_one));
    json_put_u64(json, "direct_queued", t->to_one.queued);
    json_put_u64(json, "gaps", t->gaps);
    json_put_u64(json, "wills_lost", t->wills_lost);
    put_refusals(b, json);
    quota_put_totals(b, json);
    json_put_u64(json, "bytes_in", t->bytes_in);
    json_put_u64(json, "bytes_out", t->bytes_out);
    json_put_u64(json, "handshakes", t->handshakes);
}

static void put_status(const struct broker *b, struct json *json, const struct broker_peer *self)
{
    json_open_object(json, NULL);
    json_put_text(json, "broker", bytes_text(b->self->name));
    json_put_text(json, "version", bytes_text(b->software));
    json_put_i64(json, "uptime_s", (b->now.boot_ms - b->started.boot_ms) / 1000);
    put_registry(b, json);
    put_totals(b, json);
    /* Names of others are for those who may ask for "peers". */
    if (!self || component_has_role(self->member->component, REGISTRY_ROLE_ADMIN))
        put_slow(b, json);
    if (self) {
        put_peer(b, json, "self", self);
        put_waits_for(b, json, self);
    }
    json_close_object(json);
}

static void put_peers(const struct broker *b, struct json *json, struct bytes name)
{
    const struct broker_peer *peer;

    json_open_array(json, NULL);
    for (peer = b->sessions; peer && !is_too_long(json); peer = peer->hh.next)
        if (name.size == 0 || bytes_equal_text(name, peer->member->name))
            put_peer(b, json, NULL, peer);
    json_close_array(json);
}

static void put_topic(struct json *json, const struct broker *b, const struct topic *topic)
{
    const struct rule *rule = topic_is_internal(topic_view(topic))
                                  ? NULL
                                  : registry_rule_for(b->registry, topic_view(topic));
    bool fresh = topic->route_generation == b->route_generation;

    json_open_object(json, NULL);
    json_put_text(json, "topic", topic_view(topic));
    json_put_text(json, "rule", rule ? rule->filter : bytes_of(NULL, 0));
    json_put_u64(json, "rule_line", rule ? rule->line : 0);
    json_put_u64(json, "messages", topic->messages);
    json_put_u64(json, "bytes", topic->bytes);
    /* Counted when something was last published after the subscriptions had changed. */
    json_put_u64(json, "readers", fresh || topic->route_generation ? topic->reader_count : 0);
    json_close_object(json);
}

static void put_topics(const struct broker *b, struct json *json, struct bytes filter)
{
    size_t left = 0;

    json_open_array(json, NULL);
    for (size_t i = 1; i <= b->topic_count; i++) {
        const struct topic *topic = b->topic_by_number[i];

        if (topic->messages == 0 || (filter.size > 0 && !filter_matches(filter, topic_view(topic))))
            continue;
        if (is_too_long(json))
            left++;
        else
            put_topic(json, b, topic);
    }
    if (left > 0) {
        json_open_object(json, NULL);
        json_put_u64(json, "more", left);
        json_close_object(json);
    }
    json_close_array(json);
}

/* --- $bus/stats ----------------------------------------------------------------------------- */

static void put_numbers(const struct broker *b, struct json *json)
{
    const struct broker_peer *peer;
    size_t count = 0;

    json_open_object(json, NULL);
    json_put_i64(json, "time_ms", b->now.real_ms);
    json_put_i64(json, "uptime_ms", b->now.boot_ms - b->started.boot_ms);
    put_totals(b, json);
    put_slow(b, json);
    json_open_array(json, "components");
    for (peer = b->sessions; peer && count < STATS_COMPONENTS_MAX; peer = peer->hh.next, count++)
        put_peer(b, json, NULL, peer);
    json_close_array(json);
    json_put_u64(json, "components_left_out", HASH_COUNT(b->sessions) - count);
    json_close_object(json);
}

void stats_wanted(struct broker *b)
{
    b->stats_at_ms = b->now.boot_ms;
    wake_at(b, b->now.boot_ms);
}

void stats_tick(struct broker *b)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct json json = json_over(&text);
    struct topic *topic;

    if (b->stats_at_ms == 0 || b->now.boot_ms < b->stats_at_ms) {
        if (b->stats_at_ms > 0)
            wake_at(b, b->stats_at_ms);
        return;
    }
    b->stats_at_ms = 0;
    topic = topic_get(b, bytes_text(TOPIC_STATS), true);
    if (!topic)
        return;
    if (route_update(b, topic) == 0 && topic->reader_count > 0) {
        put_numbers(b, &json);
        if (!json.failed)
            publish_own(b, bytes_text(TOPIC_STATS), buffer_view(&text), NULL, false);
        b->stats_at_ms = b->now.boot_ms + STATS_INTERVAL_MS;
        wake_at(b, b->stats_at_ms);
    }
    topic_unref(topic);
}

/* --- answers -------------------------------------------------------------------------------- */

int status_json(const struct broker *b, const struct broker_peer *peer, struct bytes what,
                struct bytes filter, struct buffer *out)
{
    char canonical[TOPIC_SIZE_MAX + 1];
    struct json json = json_over(out);
    size_t before = out->size;

    if (bytes_equal_text(what, "status")) {
        put_status(b, &json, peer);
    } else if (bytes_equal_text(what, "peers")) {
        put_peers(b, &json, filter);
    } else if (bytes_equal_text(what, "topics")) {
        if (filter.size > 0 && !filter_is_valid(filter))
            return AICO_ETOPIC;
        if (filter.size > 0)
            filter = bytes_of(canonical, filter_canonical(filter, canonical));
        put_topics(b, &json, filter);
    } else if (bytes_equal_text(what, "ledger")) {
        ledger_json(b, &json);
    } else {
        return AICO_EINVAL;
    }
    if (!json.failed)
        return 0;
    out->size = before;
    return AICO_ENOMEM;
}

int broker_status_json(const struct broker *b, struct moment now, struct bytes what,
                       struct bytes filter, struct buffer *out)
{
    (void)now; /* the time of the last call is as good and needs no change of @b */
    return status_json(b, NULL, what, filter, out);
}
