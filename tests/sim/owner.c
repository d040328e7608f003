/* SPDX-License-Identifier: Apache-2.0 */
/* The owner of the simulated bus: identities, registries, and how they change. */
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "sim.h"
#include "trust/document.h"

#define NAMESPACE "aico"

const struct sim_topic sim_topics[TOPICS] = {
    {"g/one", LANE_BY_GROUP},     {"g/two", LANE_BY_GROUP},   {"g/deep/x", LANE_BY_GROUP},
    {"s/one", LANE_BY_GROUP},     {"s/two", LANE_BY_GROUP},   {"sig/one", LANE_BY_GROUP},
    {"few/one", LANE_BY_GROUP},   {"pad/one", LANE_BY_GROUP}, {"c/one", LANE_TO_READERS},
    {"c/two", LANE_TO_READERS},   {"n/one", LANE_IN_CLEAR},   {"ask/one", LANE_TO_READERS},
    {"ask/two", LANE_TO_READERS}, {"nobody/x", LANE_NOWHERE}, {"v/one", LANE_VALUE},
    {"v/two", LANE_VALUE},        {"w/one", LANE_WILL},       {"q/one", LANE_QUEUE},
    {"q/two", LANE_QUEUE},        {"st/one", LANE_STORED},    {"st/two", LANE_STORED},
    {"mail/one", LANE_MAIL},      {"mail/two", LANE_MAIL},    {"sv/one", LANE_KEPT},
    {"sv/two", LANE_KEPT},
};

static const char *const names[NODES] = {"alpha", "beta", "gamma", "delta", "echo", "foxtrot"};
static struct identity *identities[NODES + 1]; /* the last is the broker's */

int topic_index(const char *name)
{
    for (int i = 0; i < TOPICS; i++)
        if (strcmp(sim_topics[i].name, name) == 0)
            return i;
    return -1;
}

const char *owner_node_name(int node)
{
    return node < NODES ? names[node] : "broker";
}

struct identity *owner_identity(int node)
{
    struct secret seed;

    if (identities[node])
        return identities[node];
    hash_n(bytes_text(owner_node_name(node)), seed.at, SECRET_SIZE);
    if (identity_new(owner_node_name(node), &seed, 0, &identities[node]) < 0)
        abort();
    return identities[node];
}

void owner_identities_free(void)
{
    for (int i = 0; i <= NODES; i++)
        identity_free(&identities[i]);
}

static const struct secret owner = {{7}};

#define RULES_STORED 3 /* the first, which only worlds with a store have */
#define PUBLISHERS "alpha,beta,gamma"
#define READERS "delta,echo,foxtrot"

static const struct default_rule {
    const char *filter, *publish, *subscribe;
    enum rule_seal seal;
    enum rule_authenticity authenticity;
    bool padding, stores;
} rules[] = {
    /* Nobody does both: what it published is never sealed for itself. */
    {"st/**", PUBLISHERS, READERS, SEAL_GROUP, AUTHENTICITY_SENDER, false, true},
    {"sv/**", PUBLISHERS, READERS, SEAL_GROUP, AUTHENTICITY_SENDER, false, true},
    {"mail/**", "*", "*", SEAL_RATCHET, AUTHENTICITY_SENDER, false},
    {"g/**", "*", "*", SEAL_GROUP, AUTHENTICITY_GROUP, false},
    {"s/**", "alpha,beta,gamma", "*", SEAL_GROUP, AUTHENTICITY_SENDER, false},
    {"sig/**", "*", "*", SEAL_GROUP, AUTHENTICITY_SIGNATURE, false},
    {"few/**", "alpha,delta", "beta,gamma", SEAL_GROUP, AUTHENTICITY_SENDER, false},
    {"pad/**", "*", "@reader", SEAL_GROUP, AUTHENTICITY_SENDER, true},
    {"c/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER, false},
    {"n/**", "*", "*", SEAL_NONE, AUTHENTICITY_GROUP, false},
    {"ask/**", "*", "*", SEAL_CHANNEL, AUTHENTICITY_SENDER, false},
    {"v/**", "*", "*", SEAL_GROUP, AUTHENTICITY_SENDER, false},
    {"w/**", "*", "*", SEAL_GROUP, AUTHENTICITY_SENDER, false},
    {"q/**", "*", "*", SEAL_GROUP, AUTHENTICITY_SENDER, false},
};

static size_t first_rule(const struct world *w)
{
    return w->stores ? 0 : RULES_STORED;
}

static void put_rule(struct registry_draft *draft, const struct default_rule *rule,
                     const char *publish, const char *subscribe)
{
    if (registry_draft_set_rule(
            draft,
            &(struct rule_line){.filter = bytes_text(rule->filter),
                                .publish = publish,
                                .subscribe = subscribe,
                                .seal = rule->seal,
                                .authenticity = rule->authenticity,
                                .padding = rule->padding,
                                .history = rule->stores,
                                .store = {.on = rule->stores, .count = 100000 * rule->stores}},
            NULL) < 0)
        abort();
}

/* Signs @draft: the next version. */
static void publish_version(struct world *w, struct registry_draft *draft)
{
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    uint8_t public[SIGN_PUBLIC_SIZE];
    struct aico_error err = {0};

    sign_public(&owner, public);
    if (w->version + 1 >= VERSIONS_MAX ||
        registry_draft_sign(draft, &owner, START_MS + w->now_ms, &document) < 0 ||
        registry_parse(buffer_view(&document), public, bytes_text(NAMESPACE),
                       &w->versions[w->version + 1], &err) < 0) {
        (void)fprintf(stderr, "registry: %s\n", err.text);
        abort();
    }
    w->version++;
}

void owner_begin(struct world *w)
{
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text(NAMESPACE));

    for (int i = 0; i <= NODES; i++) {
        const struct identity *identity = owner_identity(i);

        if (registry_draft_add(draft,
                               &(struct component_line){.name = identity->name,
                                                        .identity = identity->public,
                                                        .transport = identity->transport_public,
                                                        .roles = i == NODES ? "broker"
                                                                 : i % 2    ? "reader"
                                                                            : "admin",
                                                        .since_ms = START_MS}) < 0)
            abort();
    }
    for (size_t i = first_rule(w); i < COUNT_OF(rules); i++)
        put_rule(draft, &rules[i], rules[i].publish, rules[i].subscribe);
    publish_version(w, draft);
    registry_draft_free(&draft);
}

/* A random list of names, never empty; of @among. */
static void random_who(struct world *w, unsigned among, char to[80])
{
    uint64_t mask = (1 + dice_below(&w->dice, (1u << NODES) - 1)) & among;
    size_t size = 0;

    if (mask == 0)
        mask = among;

    for (int i = 0; i < NODES; i++)
        if (mask & 1u << i)
            size += (size_t)snprintf(to + size, 80 - size, "%s%s", size ? "," : "", names[i]);
}

bool owner_is_active(const struct world *w, uint64_t version, int node)
{
    const struct component *c =
        registry_find_name(w->versions[version], bytes_text(owner_node_name(node)));

    return c && component_is_active(w->versions[version], c, START_MS + w->now_ms);
}

static int active_count(const struct world *w)
{
    int count = 0;

    for (int i = 0; i < NODES; i++)
        count += owner_is_active(w, w->version, i);
    return count;
}

static void set_state(struct registry_draft *draft, int node, enum component_state state)
{
    if (registry_draft_set_state(draft, names[node], state) < 0)
        abort();
}

void owner_change(struct world *w)
{
    struct registry_draft *draft =
        registry_draft_new(w->versions[w->version], bytes_text(NAMESPACE));
    size_t first = first_rule(w);
    const struct default_rule *rule = &rules[first + dice_below(&w->dice, COUNT_OF(rules) - first)];
    unsigned all = (1u << NODES) - 1, publishers = rule->stores ? 7 : all;
    int node = (int)dice_below(&w->dice, NODES);
    char who[80], writers[80];

    if (w->version + 2 >= VERSIONS_MAX) {
        registry_draft_free(&draft);
        return;
    }
    random_who(w, rule->stores ? all - publishers : all, who);
    if (rule->stores)
        random_who(w, publishers, writers);
    else
        memcpy(writers, who, sizeof(writers));
    switch (dice_below(&w->dice, 6)) {
    case 0:
        if (active_count(w) > 3 && owner_is_active(w, w->version, node)) {
            sim_note(w, "owner: %s is revoked", names[node]);
            set_state(draft, node, COMPONENT_REVOKED);
            break;
        }
        /* fall through */
    case 1:
        sim_note(w, "owner: everybody is active");
        for (int i = 0; i < NODES; i++)
            set_state(draft, i, COMPONENT_ACTIVE);
        break;
    case 2:
        sim_note(w, "owner: %s may be read by %s", rule->filter, who);
        put_rule(draft, rule, rule->publish, who);
        break;
    case 3:
        sim_note(w, "owner: %s may be written by %s", rule->filter, writers);
        put_rule(draft, rule, writers, rule->subscribe);
        break;
    default:
        sim_note(w, "owner: %s as at first", rule->filter);
        put_rule(draft, rule, rule->publish, rule->subscribe);
        break;
    }
    publish_version(w, draft);
    registry_draft_free(&draft);
    if (w->broker)
        broker_set_registry(w->broker, broker_moment(w), w->versions[w->version]);
    w->broker_dirty = true;
}

void owner_end(struct world *w)
{
    for (uint64_t v = 1; v <= w->version; v++)
        registry_unref(&w->versions[v]);
}

bool owner_allows(const struct world *w, uint64_t version, int sender, int reader, int topic)
{
    const struct registry *registry = w->versions[version];
    const struct rule *rule = registry_rule_for(registry, bytes_text(sim_topics[topic].name));
    const struct component *from = registry_find_name(registry, bytes_text(names[sender]));
    const struct component *to = registry_find_name(registry, bytes_text(names[reader]));

    return rule && from && to && component_is_active(registry, from, START_MS + w->now_ms) &&
           component_is_active(registry, to, START_MS + w->now_ms) &&
           rule_allows(rule, from, RIGHT_PUBLISH) && rule_allows(rule, to, RIGHT_SUBSCRIBE);
}

bool owner_may_read(const struct world *w, int reader, int topic)
{
    const struct registry *registry = w->versions[w->version];
    const struct rule *rule = registry_rule_for(registry, bytes_text(sim_topics[topic].name));
    const struct component *to = registry_find_name(registry, bytes_text(names[reader]));

    return rule && to && component_is_active(registry, to, START_MS + w->now_ms) &&
           rule_allows(rule, to, RIGHT_SUBSCRIBE);
}
