/* SPDX-License-Identifier: Apache-2.0 */
/* The doctor's round through the rules: a dry run of what the component wants to say and hear. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "runtime/doctor.h"
#include "wire/topic.h"

#define CHECK "rules"

static const char *const seals[] = {[SEAL_CHANNEL] = "channel",
                                    [SEAL_GROUP] = "group",
                                    [SEAL_RATCHET] = "ratchet",
                                    [SEAL_NONE] = "none"};
static const char *const authenticities[] = {[AUTHENTICITY_GROUP] = "group",
                                             [AUTHENTICITY_SENDER] = "sender",
                                             [AUTHENTICITY_SIGNATURE] = "signature"};

/* "a,@b,NAME"; memory of the caller. @name NULL: nobody more. */
static char *who_with(struct doctor *d, const struct who *who, const char *name)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r = 0;

    for (size_t i = 0; r == 0 && i < who->count; i++)
        r = buffer_printf(&text, "%s%s", i > 0 ? "," : "", who->entries[i]);
    if (r == 0 && name)
        r = buffer_printf(&text, "%s%s", who->count > 0 ? "," : "", name);
    if (r == 0)
        r = buffer_append(&text, bytes_of("", 1));
    if (r < 0) {
        d->is_out_of_memory = true;
        return NULL;
    }
    return (char *)STEAL(text.at);
}

/* The rule as it is, but for what differs. */
static char *set_rule(struct doctor *d, const struct rule *rule, const char *publisher,
                      const char *subscriber, enum rule_seal seal)
{
    CLEANUP(free_memory)
    char *publish = who_with(d, &rule->publish, publisher);
    CLEANUP(free_memory)
    char *subscribe = who_with(d, &rule->subscribe, subscriber);
    CLEANUP(free_memory)
    char *filter = strndup((const char *)rule->filter.at, rule->filter.size);

    if (!publish || !subscribe || !filter)
        return NULL;
    return doctor_keytool(d,
                          "rule set %q --publish %q --subscribe %q --seal %s --authenticity %s "
                          "--padding %s --freshness %d",
                          filter, publish, subscribe, seals[seal],
                          authenticities[rule->authenticity], rule->padding ? "padme" : "none",
                          (int64_t)rule->freshness_s);
}

static void deny(struct doctor *d, const char *topic, const struct rule *rule, bool is_publish)
{
    char *repair = rule ? set_rule(d, rule, is_publish ? d->name : NULL,
                                   is_publish ? NULL : d->name, rule->seal)
                        : doctor_keytool(d, "rule set %q --publish %s --subscribe %s", topic,
                                         d->name, d->name);
    const struct aico_finding finding = {.level = AICO_FINDING_ERROR,
                                         .check = CHECK,
                                         .subject = topic,
                                         .code = AICO_EDENIED,
                                         .for_owner = !d->is_owner_here};
    const char *verb = is_publish ? "publish" : "subscribe";

    if (rule)
        doctor_find(d, &finding, repair, "%s may not %s: rule %.*s in line %zu of the registry",
                    d->name, verb, (int)rule->filter.size, (const char *)rule->filter.at,
                    rule->line);
    else
        doctor_find(d, &finding, repair, "nobody may %s: no rule of the registry matches", verb);
}

static void bad_topic(struct doctor *d, const char *topic)
{
    doctor_find(
        d,
        &(struct aico_finding){
            .level = AICO_FINDING_ERROR, .check = CHECK, .subject = topic, .code = AICO_ETOPIC},
        NULL, "not a topic: levels split by '/', 1..255 bytes");
}

static void try_publish(struct doctor *d, const struct component *me, const char *topic)
{
    const struct rule *rule;

    if (!topic_is_valid(bytes_text(topic))) {
        bad_topic(d, topic);
        return;
    }
    rule = registry_rule_for(d->registry, bytes_text(topic));
    if (rule && rule_allows(rule, me, RIGHT_PUBLISH))
        doctor_ok(d, CHECK, topic, "%s may publish: rule %.*s", d->name, (int)rule->filter.size,
                  (const char *)rule->filter.at);
    else
        deny(d, topic, rule, true);
}

static void try_subscribe(struct doctor *d, const struct component *me, const char *filter)
{
    const struct rule *rule = NULL;

    if (!filter_is_valid(bytes_text(filter)))
        bad_topic(d, filter);
    else if (registry_may_subscribe(d->registry, me, bytes_text(filter), &rule))
        doctor_ok(d, CHECK, filter, "%s may subscribe: rule %.*s", d->name, (int)rule->filter.size,
                  (const char *)rule->filter.at);
    else
        deny(d, filter, rule, false);
}

/* Rules that the settings forbid to use. */
static void look_at_seals(struct doctor *d)
{
    if (!d->config || d->config->security_level == AICO_SECURITY_STANDARD)
        return;
    for (size_t i = 0; i < registry_rule_count(d->registry); i++) {
        const struct rule *rule = registry_rule_at(d->registry, i);
        CLEANUP(free_memory)
        char *filter = strndup((const char *)rule->filter.at, rule->filter.size);

        if (rule->seal != SEAL_NONE || !filter)
            continue;
        doctor_find(d,
                    &(struct aico_finding){.level = AICO_FINDING_WARNING,
                                           .check = CHECK,
                                           .subject = filter,
                                           .code = AICO_EPOLICY,
                                           .for_owner = !d->is_owner_here},
                    set_rule(d, rule, NULL, NULL, SEAL_GROUP),
                    "the rule says seal none, which only security_level standard allows: nobody "
                    "can publish there");
    }
}

void doctor_look_at_rules(struct doctor *d)
{
    const struct aico_doctor_options *options = d->options;
    const struct component *me;

    if (!d->registry)
        return;
    look_at_seals(d);
    me = d->name ? registry_find_name(d->registry, bytes_text(d->name)) : NULL;
    if (!me)
        return; /* told by the round through the keys */
    for (size_t i = 0; i < options->publish_count; i++)
        try_publish(d, me, options->publish[i]);
    for (size_t i = 0; i < options->subscribe_count; i++)
        try_subscribe(d, me, options->subscribe[i]);
}
