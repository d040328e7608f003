/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may do what, by the registry in force, and how a refusal is told: code, deciding rule, and
 * what would repair it.
 */
#include <stdarg.h>
#include <stdio.h>

#include "broker/internal.h"

#define ENVELOPE_MAGIC "AICO-MSG"
#define DENIED_LOG_INTERVAL_MS 1000

const struct rule *topic_rule(struct broker *b, struct topic *topic)
{
    if (topic->rule_generation != b->registry_generation) {
        topic->rule = topic_is_internal(topic_view(topic))
                          ? NULL
                          : registry_rule_for(b->registry, topic_view(topic));
        topic->rule_generation = b->registry_generation;
        topic->publisher = NULL;
    }
    return topic->rule;
}

bool may_publish(struct broker *b, struct broker_peer *peer, struct topic *topic)
{
    const struct rule *rule = topic_rule(b, topic);

    if (topic->publisher == peer->member)
        return true;
    if (!rule || !rule_allows(rule, peer->member->component, RIGHT_PUBLISH))
        return false;
    topic->publisher = peer->member;
    return true;
}

static bool is_presence(struct bytes topic)
{
    size_t size = strlen(TOPIC_PRESENCE_PREFIX);

    return topic.size > size && memcmp(topic.at, TOPIC_PRESENCE_PREFIX, size) == 0;
}

/* What `aico-bus peers` shows, so for the same role; a rule of this very name may say otherwise. */
static bool may_read_stats(const struct broker *b, const struct broker_peer *peer,
                           const struct rule **ret_rule)
{
    *ret_rule = registry_rule_named(b->registry, bytes_text(TOPIC_STATS));
    return *ret_rule ? rule_allows(*ret_rule, peer->member->component, RIGHT_SUBSCRIBE)
                     : component_has_role(peer->member->component, REGISTRY_ROLE_ADMIN);
}

bool may_read(struct broker *b, const struct broker_peer *peer, struct topic *topic)
{
    const struct rule *rule = topic_rule(b, topic);

    if (bytes_equal_text(topic_view(topic), TOPIC_STATS))
        return may_read_stats(b, peer, &rule);
    if (topic_is_internal(topic_view(topic)))
        return topic->number == TOPIC_NUMBER_HEADS || is_presence(topic_view(topic));
    return rule && rule_allows(rule, peer->member->component, RIGHT_SUBSCRIBE);
}

bool may_subscribe(struct broker *b, const struct broker_peer *peer, struct bytes filter,
                   const struct rule **ret_rule)
{
    if (bytes_equal_text(filter, TOPIC_STATS))
        return may_read_stats(b, peer, ret_rule);
    if (topic_is_internal(filter)) {
        *ret_rule = NULL;
        return bytes_equal_text(filter, TOPIC_HEADS) || is_presence(filter);
    }
    return registry_may_subscribe(b->registry, peer->member->component, filter, ret_rule);
}

bool may_go(struct broker *b, enum lane_kind lane, uint8_t delivery, struct topic *topic,
            const struct member *from, const struct member *to)
{
    const struct rule *rule = topic_rule(b, topic);

    if (from == b->self || topic_is_internal(topic_view(topic)))
        return true;
    if (!rule || !from->component || !to->component)
        return false;
    if (lane == LANE_DIRECT && delivery == DELIVERY_REPLY) /* the right was the request's */
        return rule_allows(rule, to->component, RIGHT_PUBLISH) &&
               rule_allows(rule, from->component, RIGHT_SUBSCRIBE);
    return rule_allows(rule, from->component, RIGHT_PUBLISH) &&
           rule_allows(rule, to->component, RIGHT_SUBSCRIBE);
}

/* The broker cannot open an envelope, but it can see that there is one: where a rule demands
 * sealing, nothing crosses in clear by accident. */
bool is_sealed_enough(const struct rule *rule, struct bytes payload)
{
    size_t size = strlen(ENVELOPE_MAGIC);

    return !rule || rule->seal == SEAL_NONE ||
           (payload.size >= size && memcmp(payload.at, ENVELOPE_MAGIC, size) == 0);
}

static void write_refuse(struct broker *b, struct broker_peer *peer, uint64_t id, int code,
                         const struct rule *rule, const char *hint)
{
    struct record_refuse record = {
        .code = (uint16_t)-code,
        .id = id,
        .rule_line = rule ? (uint32_t)rule->line : 0,
        .filter = rule ? rule->filter : bytes_of(NULL, 0),
        .hint = bytes_text(hint),
    };
    struct writer w =
        control_begin(b, peer, RECORD_HEAD_SIZE + 8 + 4 + 1 + 255 + 2 + HINT_SIZE_MAX);

    work_add(b, WORK_REFUSE);
    record_write_refuse(&w, &record);
    control_end(b, peer, &w);
    if (-code < (int)COUNT_OF(b->refused_by_code))
        b->refused_by_code[-code]++;
}

void refuse(struct broker *b, struct broker_peer *peer, uint64_t id, int code,
            const struct rule *rule, const char *hint, ...)
{
    char text[HINT_SIZE_MAX + 1];
    va_list args;

    va_start(args, hint);
    (void)vsnprintf(text, sizeof(text), hint, args);
    va_end(args);
    write_refuse(b, peer, id, code, rule, text);
}

void refuse_publish(struct broker *b, struct broker_peer *peer, const struct record_publish *p,
                    int code, const struct rule *rule, const char *hint, ...)
{
    char text[HINT_SIZE_MAX + 1];
    va_list args;

    va_start(args, hint);
    (void)vsnprintf(text, sizeof(text), hint, args);
    va_end(args);
    write_refuse(b, peer, p->id, code, rule, text);
    instance_refused(b, peer->instance, p->id, code, rule ? (uint32_t)rule->line : 0);
    count_refused(b, refused_row(b, peer->member, p, rule), code);
    peer->refused++;
}

/* A peer that is denied a thousand times a second is one line a second in the log. */
static void log_denied(struct broker *b, struct broker_peer *peer, const char *what,
                       const struct rule *rule, struct bytes topic)
{
    if (b->now.boot_ms - peer->denied_logged_ms < DENIED_LOG_INTERVAL_MS) {
        peer->denied_unlogged++;
        return;
    }
    event(b, BROKER_NOTICE, BROKER_EVENT_DENIED, peer, AICO_EDENIED,
          "may not %s %.*s: %s%.*s (registry line %zu); %u more since the last such line", what,
          (int)topic.size, (const char *)topic.at, rule ? "rule " : "no rule matches",
          rule ? (int)rule->filter.size : 0, rule ? (const char *)rule->filter.at : "",
          rule ? rule->line : 0, peer->denied_unlogged);
    peer->denied_logged_ms = b->now.boot_ms;
    peer->denied_unlogged = 0;
}

void log_unanswered(struct broker *b, struct broker_peer *peer, const char *record)
{
    log_denied(b, peer, "send", NULL, bytes_text(record));
    if (-AICO_EDENIED < (int)COUNT_OF(b->refused_by_code))
        b->refused_by_code[-AICO_EDENIED]++;
}

bool is_ahead(const struct broker *b, const struct broker_peer *peer)
{
    return peer->registry_told > registry_version(b->registry);
}

void refuse_denied(struct broker *b, struct broker_peer *peer, uint64_t id,
                   const struct record_publish *publish, const struct rule *rule,
                   struct bytes topic)
{
    const char *what = publish ? "publish" : "subscribe";
    char text[HINT_SIZE_MAX + 1];

    if (bytes_equal_text(topic, TOPIC_STATS) && !publish)
        (void)snprintf(text, sizeof(text),
                       "only role " REGISTRY_ROLE_ADMIN
                       " may; ask the owner: aico-keytool rule set "
                       "'" TOPIC_STATS "' --publish broker --subscribe WHO");
    else if (topic_is_internal(topic))
        (void)snprintf(text, sizeof(text),
                       "names that begin with $ belong to the bus; " TOPIC_PRESENCE_PREFIX
                       "NAME may be subscribed to");
    else if (rule)
        (void)snprintf(
            text, sizeof(text),
            "%s may not %s here; ask the owner: aico-keytool rule set '%.*s' --%s %s,...",
            peer->member->name, what, (int)rule->filter.size, (const char *)rule->filter.at, what,
            peer->member->name);
    else
        (void)snprintf(text, sizeof(text),
                       "no rule matches, so nobody may; ask the owner: aico-keytool rule set "
                       "'%.*s' --publish WHO --subscribe WHO",
                       (int)topic.size, (const char *)topic.at);
    log_denied(b, peer, what, rule, topic);
    if (publish)
        refuse_publish(b, peer, publish, AICO_EDENIED, rule, "%s", text);
    else
        refuse(b, peer, id, AICO_EDENIED, rule, "%s", text);
}
