/* SPDX-License-Identifier: Apache-2.0 */
/* See quota.h. */
#include "broker/quota.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"
#include "broker/internal.h"

#define NEAR_PERCENT 80
#define LOG_INTERVAL_MS 60000 /* a component at its limit is one line a minute and quota */

static const struct quota_entry {
    const char *key;
    const char *what; /* follows the number */
    size_t offset;    /* of a size_t in struct broker_settings */
} entries[QUOTAS] = {
#define LIMIT(field) offsetof(struct broker_settings, field)
    [QUOTA_CONNECTIONS] = {"max_connections_per_component", "connections",
                           LIMIT(max_connections_per_component)},
    [QUOTA_SUBSCRIPTIONS] = {"max_subscriptions", "subscriptions", LIMIT(max_subscriptions)},
    [QUOTA_REQUESTS] = {"max_requests", "requests without a reply", LIMIT(max_requests)},
    [QUOTA_PUBLISH_RATE] = {"publish_rate", "records a second", LIMIT(publish_rate)},
    [QUOTA_OUTBOX] = {"outbox_limit", "bytes waiting to be read", LIMIT(outbox_limit)},
    [QUOTA_MAILBOX] = {"mailbox_limit", "bytes in the mailbox", LIMIT(mailbox_limit)},
    [QUOTA_VALUES] = {"value_limit", "bytes of stored values", LIMIT(value_limit)},
#undef LIMIT
};

const char *quota_key(enum quota quota)
{
    return entries[quota].key;
}

uint64_t quota_limit(const struct broker *b, enum quota quota)
{
    return *(const size_t *)(const void *)((const char *)&b->settings + entries[quota].offset);
}

const char *quota_hint(const struct broker *b, enum quota quota, char to[QUOTA_HINT_SIZE])
{
    (void)snprintf(to, QUOTA_HINT_SIZE,
                   "%s: %" PRIu64
                   " %s for one component, all in use; use fewer, or raise broker.%s in "
                   "security.yaml",
                   quota_key(quota), quota_limit(b, quota), entries[quota].what, quota_key(quota));
    return to;
}

/* Whether it is time for a line about it; @at_ms is when the last one was written, 0: never. */
static bool may_log(const struct broker *b, int64_t *at_ms)
{
    if (*at_ms && b->now.boot_ms - *at_ms < LOG_INTERVAL_MS)
        return false;
    *at_ms = MAX(b->now.boot_ms, (int64_t)1);
    return true;
}

void quota_watch(struct broker *b, struct member *member, const struct broker_peer *peer,
                 enum quota quota, uint64_t used)
{
    struct quota_state *state = &member->quotas.states[quota];
    uint64_t limit = quota_limit(b, quota);

    if (limit == 0 || used < limit - limit * (100 - NEAR_PERCENT) / 100)
        return;
    if (!state->was_warned) {
        state->was_warned = true;
        b->quota_warnings[quota]++;
    }
    if (may_log(b, &state->warned_ms))
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, peer, AICO_EQUOTA,
              "%s: %" PRIu64 " of %" PRIu64 " %s in use by %s", quota_key(quota), used, limit,
              entries[quota].what, member->name);
}

bool quota_allows(struct broker *b, struct member *member, const struct broker_peer *peer,
                  enum quota quota, uint64_t used)
{
    struct quota_state *state = &member->quotas.states[quota];
    uint64_t limit = quota_limit(b, quota);
    char hint[QUOTA_HINT_SIZE];

    if (limit == 0)
        return true;
    if (used < limit) {
        quota_watch(b, member, peer, quota, used + 1);
        return true;
    }
    state->refused++;
    b->quota_refusals[quota]++;
    if (may_log(b, &state->refused_ms))
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, peer, AICO_EQUOTA, "%s is refused more: %s",
              member->name, quota_hint(b, quota, hint));
    return false;
}

bool quota_take_publish(struct broker *b, struct broker_peer *peer)
{
    struct bucket *bucket = &peer->member->quotas.publish;
    int64_t rate = (int64_t)b->settings.publish_rate;

    if (rate == 0)
        return true;
    bucket_refill(bucket, b->now.boot_ms, rate);
    if (!quota_allows(b, peer->member, peer, QUOTA_PUBLISH_RATE,
                      (uint64_t)bucket_spent(bucket) + (bucket->spent % 1000 > 0)))
        return false;
    return bucket_take(bucket, b->now.boot_ms, rate, rate);
}

void quota_watch_rows(struct broker *b, struct member *member, enum rows kind, uint64_t used,
                      bool is_refused)
{
    static const struct {
        const char *what;
        uint64_t limit;
    } kinds[ROW_KINDS] = {
        [ROWS_READERS] = {"durable readers", ROWS_READERS_MAX},
        [ROWS_TOPICS] = {"topics with stored messages", ROWS_TOPICS_MAX},
        [ROWS_KEYS] = {"bytes of keys for readers of stored messages", ROWS_KEYS_MAX},
    };
    struct quotas *quotas = &member->quotas;

    if (!is_refused && used < kinds[kind].limit / 100 * NEAR_PERCENT)
        return;
    if (may_log(b, is_refused ? &quotas->rows_refused_ms[kind] : &quotas->rows_warned_ms[kind]))
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, NULL, AICO_EQUOTA,
              "%s %s %s: %" PRIu64 " of at most %" PRIu64, member->name,
              is_refused ? "is refused more" : "has", kinds[kind].what,
              is_refused ? kinds[kind].limit : used, kinds[kind].limit);
}

bool quota_take_scarce(struct broker *b, struct broker_peer *peer, enum scarce scarce,
                       const struct rule *rule)
{
    static const char *const names[SCARCES] = {
        [SCARCE_READING] = "READING", [SCARCE_PREKEYS] = "PREKEYS"};
    struct scarce_state *state = &peer->member->quotas.scarce[scarce];
    char text[HINT_SIZE_MAX + 1];

    if (!bucket_take(&state->bucket, b->now.boot_ms, 1, SCARCE_BURST)) {
        (void)snprintf(text, sizeof(text),
                       "%s: at most %d other ones at once and 1 a second; rule %.*s (registry "
                       "line %zu)",
                       names[scarce], SCARCE_BURST, rule ? (int)rule->filter.size : 1,
                       rule ? (const char *)rule->filter.at : "-", rule ? rule->line : 0);
        peer_end_later(b, peer, AICO_ERATE, text);
        return false;
    }
    if (bucket_spent(&state->bucket) >= SCARCE_BURST * NEAR_PERCENT / 100 &&
        may_log(b, &state->warned_ms))
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, peer, AICO_ERATE,
              "%s: %s has changed its own %lld times at once, at most %d are taken", names[scarce],
              peer->member->name, (long long)bucket_spent(&state->bucket), SCARCE_BURST);
    return true;
}

void quota_watch_links(struct broker *b)
{
    size_t limit = b->settings.max_connections;

    if (b->peer_count >= limit - limit * (100 - NEAR_PERCENT) / 100 &&
        may_log(b, &b->links_warned_ms))
        event(b, BROKER_WARNING, BROKER_EVENT_LIMIT, NULL, AICO_EQUOTA,
              "max_connections: %zu of %zu connections in use", b->peer_count, limit);
}

/* --- statistics ----------------------------------------------------------------------------- */

static void put_by_key(struct json *json, const char *name, const uint64_t counts[QUOTAS])
{
    json_open_object(json, name);
    for (int quota = 0; quota < QUOTAS; quota++)
        if (counts[quota] > 0)
            json_put_u64(json, quota_key((enum quota)quota), counts[quota]);
    json_close_object(json);
}

void quota_put_totals(const struct broker *b, struct json *json)
{
    put_by_key(json, "quota_warnings", b->quota_warnings);
    put_by_key(json, "quota_refusals", b->quota_refusals);
}

void quota_put_peer(const struct broker *b, struct json *json, const struct broker_peer *peer)
{
    const struct quotas *quotas = &peer->member->quotas;
    const uint64_t used[QUOTAS] = {
        [QUOTA_CONNECTIONS] = quotas->links,
        [QUOTA_SUBSCRIPTIONS] = peer->subscription_count,
        [QUOTA_REQUESTS] = peer->request_count,
        [QUOTA_PUBLISH_RATE] = (uint64_t)bucket_spent(&quotas->publish),
        [QUOTA_OUTBOX] = peer->lanes[LANE_TOPIC].bytes,
        [QUOTA_MAILBOX] = peer->member->mailbox_used,
        [QUOTA_VALUES] = peer->member->values_used,
    };

    json_open_array(json, "limits");
    for (int quota = 0; quota < QUOTAS; quota++) {
        if (quota_limit(b, (enum quota)quota) == 0)
            continue;
        json_open_object(json, NULL);
        json_put_text(json, "key", bytes_text(quota_key((enum quota)quota)));
        json_put_u64(json, "limit", quota_limit(b, (enum quota)quota));
        json_put_u64(json, "used", used[quota]);
        json_put_u64(json, "refused", quotas->states[quota].refused);
        json_close_object(json);
    }
    json_close_array(json);
}
