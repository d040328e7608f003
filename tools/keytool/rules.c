/* SPDX-License-Identifier: Apache-2.0 */
/* rule set, rule list, rule remove, may. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "common/text.h"
#include "keytool/keytool.h"
#include "wire/topic.h"

static const char *const seals[] = {"channel", "group", "ratchet", "none"};
static const char *const authenticities[] = {"group", "sender", "signature"};
static const char *const paddings[] = {"none", "padme"};

void put_json_text(const char *text, size_t size)
{
    (void)putchar('"');
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\')
            (void)printf("\\%c", c);
        else if (c < 0x20)
            (void)printf("\\u%04x", c);
        else
            (void)putchar(c);
    }
    (void)putchar('"');
}

/* The index of @word (NULL: @fallback) among @words. */
static int choose(const char *option, const char *word, const char *const *words, size_t count,
                  unsigned fallback, unsigned *ret, struct aico_error *err)
{
    *ret = fallback;
    if (!word)
        return 0;
    for (size_t i = 0; i < count; i++)
        if (strcmp(word, words[i]) == 0) {
            *ret = (unsigned)i;
            return 0;
        }
    return aico_error_set(err, AICO_EINVAL, "--%s: '%s' is unknown; %s, %s%s%s", option, word,
                          words[0], words[1], count > 2 ? ", " : "", count > 2 ? words[2] : "");
}

static void put_who(const struct who *who, const char *between)
{
    for (size_t i = 0; i < who->count; i++)
        (void)printf("%s%s", i > 0 ? between : "", who->entries[i]);
}

/* One limit of a `store`, if there is one. */
static void put_limit(const char *before, const char *key, uint64_t limit, const char *unit)
{
    if (limit > 0)
        (void)printf("%s%s%" PRIu64 "%s", before, key, limit, unit);
}

static void put_store(const struct rule_store *store, bool json)
{
    if (!store->on)
        return;
    if (json) {
        (void)printf(",\"store\":{\"on\":true");
        put_limit(",", "\"age_s\":", store->age_s, "");
        put_limit(",", "\"count\":", store->count, "");
        put_limit(",", "\"bytes\":", store->bytes, "");
        (void)putchar('}');
        return;
    }
    (void)printf(" store ");
    put_limit("", "age=", store->age_s, "s");
    put_limit(store->age_s > 0 ? "," : "", "count=", store->count, "");
    put_limit(store->age_s > 0 || store->count > 0 ? "," : "", "bytes=", store->bytes, "");
}

static void put_rule(const struct keytool *k, const struct rule *rule)
{
    if (!k->json) {
        (void)printf("%-24.*s publish ", (int)rule->filter.size, (const char *)rule->filter.at);
        put_who(&rule->publish, ",");
        (void)printf(" subscribe ");
        put_who(&rule->subscribe, ",");
        (void)printf(" seal %s authenticity %s padding %s freshness %" PRIu32 "%s",
                     seals[rule->seal], authenticities[rule->authenticity], paddings[rule->padding],
                     rule->freshness_s, rule->history ? " history" : "");
        put_store(&rule->store, false);
        (void)putchar('\n');
        return;
    }
    (void)printf("{\"line\":%zu,\"filter\":", rule->line);
    put_json_text((const char *)rule->filter.at, rule->filter.size);
    (void)printf(",\"publish\":[\"");
    put_who(&rule->publish, "\",\"");
    (void)printf("\"],\"subscribe\":[\"");
    put_who(&rule->subscribe, "\",\"");
    (void)printf("\"],\"seal\":\"%s\",\"authenticity\":\"%s\",\"padding\":\"%s\","
                 "\"freshness_s\":%" PRIu32 ",\"history\":%s",
                 seals[rule->seal], authenticities[rule->authenticity], paddings[rule->padding],
                 rule->freshness_s, rule->history ? "true" : "false");
    put_store(&rule->store, true);
    (void)puts("}");
}

int verb_rule_list(struct keytool *k, char **arguments UNUSED, int count UNUSED,
                   struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    int r = registry_current(k, &registry, err);

    for (size_t i = 0; r == 0 && i < registry_rule_count(registry); i++)
        put_rule(k, registry_rule_at(registry, i));
    return r;
}

/* One KEY=VALUE of --store. */
static bool take_limit(const char *text, struct rule_store *store)
{
    int64_t age_ms;

    if (strncmp(text, "age=", 4) == 0 && store->age_s == 0 && text_duration(text + 4, &age_ms) &&
        age_ms >= 1000 && (uint64_t)age_ms / 1000 <= RULE_STORE_AGE_MAX) {
        store->age_s = (uint64_t)age_ms / 1000;
        return true;
    }
    return (strncmp(text, "count=", 6) == 0 && store->count == 0 &&
            text_number(text + 6, 1, RULE_STORE_MAX, &store->count)) ||
           (strncmp(text, "bytes=", 6) == 0 && store->bytes == 0 &&
            text_size(text + 6, 1, RULE_STORE_MAX, &store->bytes));
}

static int parse_store(const char *text, unsigned seal, struct rule_store *ret,
                       struct aico_error *err)
{
    CLEANUP(free_memory)
    char *copy = strdup(text);
    char *rest = copy, *word;
    struct rule_store store = {.on = true};

    if (!copy)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    while ((word = strsep(&rest, ",")) != NULL)
        if (!take_limit(word, &store))
            return aico_error_set(
                err, AICO_EINVAL,
                "--store: '%.40s' is no limit; write age=7d,count=100000,bytes=1G, "
                "any of them, each once",
                word);
    if (seal != SEAL_GROUP && seal != SEAL_NONE)
        return aico_error_set(err, AICO_EINVAL,
                              "--store needs --seal group: what is sealed for a channel cannot be "
                              "opened later");
    *ret = store;
    return 0;
}

static int parse_rule(struct keytool *k, struct bytes filter, struct rule_line *ret,
                      struct aico_error *err)
{
    unsigned seal, authenticity, padding;
    struct rule_store store = {0};
    unsigned long freshness = 0;
    char *end = NULL;
    int r;

    if (!filter_is_valid(filter))
        return aico_error_set(err, AICO_ETOPIC,
                              "'%.*s' is not a filter: levels split by '/', * for one level, ** at "
                              "the end for any number",
                              (int)filter.size, (const char *)filter.at);
    if (!k->publish || !k->subscribe)
        return aico_error_set(err, AICO_EINVAL, "say who: --publish WHO,.. and --subscribe WHO,..");
    if ((r = choose("seal", k->seal, seals, COUNT_OF(seals), SEAL_GROUP, &seal, err)) < 0 ||
        (r = choose("authenticity", k->authenticity, authenticities, COUNT_OF(authenticities),
                    AUTHENTICITY_SENDER, &authenticity, err)) < 0 ||
        (r = choose("padding", k->padding, paddings, COUNT_OF(paddings), 0, &padding, err)) < 0)
        return r;
    if (k->freshness) {
        freshness = strtoul(k->freshness, &end, 10);
        if (k->freshness[0] < '0' || k->freshness[0] > '9' || *end || freshness > UINT32_MAX)
            return aico_error_set(err, AICO_EINVAL, "--freshness takes seconds");
    }
    if (k->store && (r = parse_store(k->store, seal, &store, err)) < 0)
        return r;
    *ret = (struct rule_line){
        .filter = filter,
        .publish = k->publish,
        .subscribe = k->subscribe,
        .seal = (enum rule_seal)seal,
        .authenticity = (enum rule_authenticity)authenticity,
        .padding = padding == 1,
        .freshness_s = (uint32_t)freshness,
        .history = k->history,
        .store = store,
    };
    return 0;
}

/* Names in a WHO list that nobody has are most often slips: they are allowed, but told. */
static void warn_unknown(struct keytool *k, const struct registry *registry, const char *list)
{
    CLEANUP(free_memory)
    char *copy = strdup(list);
    char *rest = copy, *who;

    while (rest && (who = strsep(&rest, ",")) != NULL)
        if (who[0] != '*' && who[0] != '@' && !registry_find_name(registry, bytes_text(who)))
            say(k, "note: %s is not registered yet", who);
}

int verb_rule_set(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *filter = arguments[0];
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    char canonical[TOPIC_SIZE_MAX + 1], before[TOPIC_SIZE_MAX + 1];
    struct bytes before_view = {0};
    struct rule_line rule = {0};
    int r = parse_rule(k, bytes_text(filter), &rule, err);

    if (r < 0)
        return r;
    rule.filter = bytes_of(canonical, filter_canonical(rule.filter, canonical));
    if (rule.filter.size == 0)
        return aico_error_set(err, AICO_ETOPIC, "'%s' is too long", filter);
    if (k->before && !filter_is_valid(bytes_text(k->before)))
        return aico_error_set(err, AICO_ETOPIC, "--before: '%s' is not a filter", k->before);
    if (k->before)
        before_view = bytes_of(before, filter_canonical(bytes_text(k->before), before));
    r = change_begin(k, &change, err);
    if (r < 0)
        return r;
    r = registry_draft_set_rule(change.draft, &rule, k->before ? &before_view : NULL);
    if (r == AICO_ENOTFOUND)
        return aico_error_set(err, r, "--before: there is no rule %s, see: aico-keytool rule list",
                              before);
    if (r == 0)
        r = change_commit(k, &change, err);
    if (r < 0)
        return r;
    warn_unknown(k, change.current, k->publish);
    warn_unknown(k, change.current, k->subscribe);
    say(k, "rule %s set in version %" PRIu64 "; try: aico-keytool may NAME publish TOPIC",
        canonical, change.version);
    return 0;
}

int verb_rule_remove(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    const char *filter = arguments[0];
    CLEANUP(change_end)
    struct change change = {.lock = -1};
    char canonical[TOPIC_SIZE_MAX + 1];
    int r;

    if (!filter_is_valid(bytes_text(filter)))
        return aico_error_set(err, AICO_ETOPIC, "'%s' is not a filter", filter);
    r = change_begin(k, &change, err);
    if (r < 0)
        return r;
    r = registry_draft_remove_rule(
        change.draft, bytes_of(canonical, filter_canonical(bytes_text(filter), canonical)));
    if (r == AICO_ENOTFOUND)
        return aico_error_set(err, r, "there is no rule %s, see: aico-keytool rule list", filter);
    r = change_commit(k, &change, err);
    if (r == 0)
        say(k, "rule %s removed in version %" PRIu64, canonical, change.version);
    return r;
}

int verb_may(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    const char *name = arguments[0], *what = arguments[1];
    struct bytes topic = bytes_text(arguments[2]);
    bool publish = strcmp(what, "publish") == 0, allowed = false;
    const struct rule *rule = NULL;
    const struct component *c;
    int r;

    if (!publish && strcmp(what, "subscribe") != 0)
        return aico_error_set(err, AICO_EINVAL, "'%s' is neither publish nor subscribe", what);
    if (publish ? !topic_is_valid(topic) : !filter_is_valid(topic))
        return aico_error_set(err, AICO_ETOPIC, "'%s' is not a topic", arguments[2]);
    r = registry_current(k, &registry, err);
    if (r < 0)
        return r;
    c = registry_find_name(registry, bytes_text(name));
    if (!c)
        return aico_error_set(err, AICO_EPEERUNKNOWN, "%s is not registered", name);
    if (publish) {
        rule = registry_rule_for(registry, topic);
        allowed = rule && rule_allows(rule, c, RIGHT_PUBLISH);
    } else {
        allowed = registry_may_subscribe(registry, c, topic, &rule);
    }
    if (!component_is_active(registry, c, moment_now().real_ms))
        allowed = false;
    if (k->json) {
        (void)printf("{\"allowed\":%s,\"state\":\"%s\",\"line\":%zu,\"filter\":",
                     allowed ? "true" : "false", state_word(c), rule ? rule->line : 0);
        put_json_text(rule ? (const char *)rule->filter.at : "", rule ? rule->filter.size : 0);
        (void)puts("}");
    } else if (c->state != COMPONENT_ACTIVE) {
        (void)printf("no: %s is %s\n", name, state_word(c));
    } else if (rule) {
        (void)printf("%s: registry line %zu: rule %.*s\n", allowed ? "yes" : "no", rule->line,
                     (int)rule->filter.size, (const char *)rule->filter.at);
    } else {
        (void)printf("no: no rule matches %s\n", arguments[2]);
    }
    if (!allowed && c->state != COMPONENT_ACTIVE)
        return aico_error_set(err, AICO_EDENIED, "%s is %s and may do nothing", name,
                              state_word(c));
    return allowed ? 0
                   : aico_error_set(err, AICO_EDENIED,
                                    "%s may not %s %s, change it: aico-keytool "
                                    "rule set '%s' --publish .. --subscribe ..",
                                    name, what, arguments[2], arguments[2]);
}
