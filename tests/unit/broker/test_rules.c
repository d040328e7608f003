/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry in force decides, also about what already waits. The property test compares the
 * broker with a model that knows only filters and rules; AICO_TEST_SEED repeats a failing run.
 */
#include "world.h"

#include "wire/topic.h"

static void replace_registry(struct world *w, const char *components, const char *rules)
{
    registry_unref(&w->registry);
    w->registry = registry_make(++w->version, components, rules);
    broker_set_registry(w->broker, w->now, w->registry);
}

static void a_new_registry_is_handed_to_everybody(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    replace_registry(&w, COMPONENTS, RULES);
    pump(&w);
    assert_int_equal(count_items(a, RECORD_REGISTRY), 1);
    assert_int_equal(count_items(b, RECORD_REGISTRY), 1);
    world_deinit(&w);
}

static void a_revoked_component_is_cut_at_once_and_the_others_lose_nothing(void **state)
{
    struct world w;
    struct client *a, *b, *c;
    struct broker_event e;
    struct item *gap;
    uint8_t identity[32];
    int code = 0;
    bool told = false;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    c = connect_as(&w, "c");
    subscribe(b, "open/#");
    subscribe(c, "open/#");
    c->stalled = true;
    publish(a, "open/x", "one");
    publish(b, "open/x", "two");
    replace_registry(&w, "a active user\nb revoked user\nc active user\nd active user\n", RULES);
    pump(&w);
    expect_bye(b, AICO_EREVOKED);
    expect_nothing(b, RECORD_DELIVER);
    c->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    expect_delivered(c, "open/x", "a", "one");
    expect_nothing(c, RECORD_DELIVER); /* what the revoked one had published does not arrive ... */
    assert_int_equal(count_items(c, RECORD_GAP), 1); /* ... and that is told */
    gap = take(c, RECORD_GAP);
    assert_int_equal(gap->code, AICO_EREVOKED);
    item_free(gap);
    identity_of("b", identity);
    assert_null(broker_peer_open(w.broker, w.now, bytes_text("b"), identity, "x", NULL, &code));
    assert_int_equal(code, AICO_EREVOKED);
    while (broker_next_event(w.broker, &e))
        told |= e.kind == BROKER_EVENT_KICKED && e.code == AICO_EREVOKED;
    assert_true(told);
    world_deinit(&w);
}

static void a_subscription_that_is_no_longer_allowed_is_refused_under_its_id(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    id = b->next_id;
    subscribe(b, "up/#");
    subscribe(b, "open/#");
    replace_registry(&w, COMPONENTS,
                     "up/** publish a subscribe admin seal none\n"
                     "open/** publish * subscribe * seal none\n");
    pump(&w);
    expect_refused(b, id, AICO_EDENIED);
    expect_nothing(b, RECORD_REFUSE);
    publish(a, "up/x", "not for b");
    publish(a, "open/x", "for b");
    pump(&w);
    expect_delivered(b, "open/x", "a", "for b");
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void what_waits_and_is_no_longer_allowed_is_dropped_and_reported(void **state)
{
    struct broker_totals totals;
    struct world w;
    struct client *a, *b;
    struct item *gap;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "#");
    b->stalled = true;
    publish(a, "up/x", "one");
    publish(a, "open/x", "two");
    publish(a, "up/x", "three");
    pump(&w); /* the frame was built once and could not be sent */
    replace_registry(&w, COMPONENTS,
                     "up/** publish a subscribe admin seal none\n"
                     "open/** publish * subscribe * seal none\n");
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    expect_delivered(b, "open/x", "a", "two");
    expect_nothing(b, RECORD_DELIVER);
    while ((gap = take(b, RECORD_GAP)) != NULL) {
        assert_int_equal(gap->code, AICO_EDENIED);
        assert_string_equal(gap->topic, "up/x");
        item_free(gap);
    }
    broker_get_totals(w.broker, &totals);
    assert_true(totals.by_topic.dropped[DROP_DENIED] == 2);
    world_deinit(&w);
}

static void a_direct_message_that_is_no_longer_allowed_does_not_arrive(void **state)
{
    struct world w;
    struct client *a, *b;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    b->stalled = true;
    publish_to(a, "b", "open/x", DELIVERY_EVENT, "one");
    publish_to(a, "b", TOPIC_CONTROL, DELIVERY_CONTROL, "handshake");
    replace_registry(&w, COMPONENTS, "open/** publish a subscribe c seal none\n");
    b->stalled = false;
    broker_all_writable(w.broker);
    pump(&w);
    expect_delivered(b, "$bus/control", "a", "handshake");
    expect_nothing(b, RECORD_DELIVER);
    world_deinit(&w);
}

static void a_reply_that_is_no_longer_allowed_is_refused_and_its_requester_told(void **state)
{
    struct record_publish reply = {.delivery = DELIVERY_REPLY,
                                   .to = NUMBER_BY_NAME,
                                   .to_name = bytes_text("a"),
                                   .topic_name = bytes_text("up/ask"),
                                   .reply = true,
                                   .payload = bytes_text("answer")};
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe_with(b, "up/ask", SLOW_DROP_OLD, true);
    reply.request = publish_to(a, "b", "up/ask", DELIVERY_REQUEST, "question");
    pump(&w);
    expect_delivered(b, "up/ask", "a", "question");
    replace_registry(&w, COMPONENTS, "up/** publish a subscribe c seal none\n");
    pump(&w);
    item_free(take(b, RECORD_REFUSE)); /* its subscription */
    id = send_publish(b, reply);
    pump(&w);
    expect_refused(b, id, AICO_EDENIED);
    expect_refused(a, reply.request, AICO_EDENIED);
    expect_nothing(a, RECORD_DELIVER);
    id = send_publish(b, reply); /* and it waits no more */
    pump(&w);
    expect_refused(b, id, AICO_ENOREQUEST);
    world_deinit(&w);
}

static void a_large_message_stops_when_its_publisher_loses_the_right(void **state)
{
    struct world w;
    struct client *a, *b;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    b = connect_as(&w, "b");
    subscribe(b, "open/#");
    id = publish_fragment(a, "open/x", 0, 100000, 0, 50000);
    pump(&w);
    replace_registry(&w, COMPONENTS, "open/** publish c subscribe * seal none\n");
    publish_fragment(a, "open/x", id, 100000, 50000, 50000);
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    assert_int_equal(count_items(b, RECORD_DELIVER), 1);
    assert_int_equal(count_items(b, RECORD_GAP), 1);
    assert_int_equal(a->kicked, 1);
    world_deinit(&w);
}

static void publishing_follows_the_new_rules_at_once(void **state)
{
    struct world w;
    struct client *a, *c;
    uint64_t id;

    (void)state;
    world_init(&w);
    a = connect_as(&w, "a");
    c = connect_as(&w, "c");
    publish(a, "open/x", "allowed");
    id = publish(c, "up/x", "not allowed");
    pump(&w);
    expect_nothing(a, RECORD_REFUSE);
    expect_refused(c, id, AICO_EDENIED);
    replace_registry(&w, COMPONENTS, "up/** publish c subscribe * seal none\n");
    id = publish(a, "open/x", "not allowed");
    publish(c, "up/x", "allowed");
    pump(&w);
    expect_refused(a, id, AICO_EDENIED);
    expect_nothing(c, RECORD_REFUSE);
    world_deinit(&w);
}

/* --- the property --------------------------------------------------------------------------- */

static uint64_t random_state, seed_running;

static uint32_t below(uint32_t bound)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) % bound);
}

#define PEOPLE 4
#define SUBS_MAX 8
static const char *const people[PEOPLE] = {"a", "b", "c", "d"};
static const char *const levels[] = {"x", "y", "z"};
static const char *const wild[] = {"x", "y", "z", "*", "+"};
static const char *const whos[] = {"*", "a", "b", "a,b", "@even", "@odd", "c,@even", "d"};

struct model {
    struct world w;
    struct client *clients[PEOPLE];
    char subs[PEOPLE][SUBS_MAX][64]; /* by subscription number - first; "" none */
    uint32_t sub_numbers[PEOPLE][SUBS_MAX];
    uint64_t expected[PEOPLE], got[PEOPLE];
    uint64_t last_id[PEOPLE][PEOPLE]; /* reader, sender: order */
    char rules[1024];
};

static void random_filter(char to[64], bool allow_rest)
{
    uint32_t count = 1 + below(3);

    to[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            strcat(to, "/");
        if (allow_rest && i + 1 == count && below(3) == 0)
            strcat(to, below(2) ? "#" : "**");
        else
            strcat(to, allow_rest ? wild[below(COUNT_OF(wild))] : levels[below(COUNT_OF(levels))]);
    }
}

static void random_rules(struct model *m)
{
    uint32_t count = 1 + below(5);
    char filters[8][64], filter[64];
    size_t used = 0;

    m->rules[0] = 0;
    for (uint32_t i = 0; i < count; i++) {
        char canonical[TOPIC_SIZE_MAX + 1];
        bool again = false;

        random_filter(filter, true);
        (void)filter_canonical(bytes_text(filter), canonical);
        canonical[filter_canonical(bytes_text(filter), canonical)] = 0;
        for (size_t k = 0; k < used; k++)
            again |= strcmp(filters[k], canonical) == 0;
        if (again)
            continue;
        strcpy(filters[used++], canonical);
        (void)snprintf(m->rules + strlen(m->rules), sizeof(m->rules) - strlen(m->rules),
                       "%s publish %s subscribe %s seal none\n", canonical,
                       whos[below(COUNT_OF(whos))], whos[below(COUNT_OF(whos))]);
    }
}

#define PEOPLE_LINES "a active odd\nb active even\nc active odd\nd active even\n"

static bool model_allows(const struct model *m, int who, const char *topic, enum right right)
{
    const struct rule *rule = registry_rule_for(m->w.registry, bytes_text(topic));

    return rule &&
           rule_allows(rule, registry_find_name(m->w.registry, bytes_text(people[who])), right);
}

static int who_is(const char *name)
{
    for (int i = 0; i < PEOPLE; i++)
        if (strcmp(people[i], name) == 0)
            return i;
    return -1;
}

/* Everything the clients have received since the last look: allowed, ordered, counted. */
static void look(struct model *m)
{
    for (int i = 0; i < PEOPLE; i++) {
        struct client *c = m->clients[i];

        for (struct item *item = c->items; item; item = item->next) {
            int sender = item->type == RECORD_DELIVER || item->type == RECORD_GAP
                             ? who_is(item->sender)
                             : -1;

            if (sender < 0)
                continue;
            if (item->type == RECORD_GAP) {
                m->got[i] += item->count;
                continue;
            }
            m->got[i]++;
            assert_int_not_equal(sender, i);
            if (!model_allows(m, i, item->topic, RIGHT_SUBSCRIBE) ||
                !model_allows(m, sender, item->topic, RIGHT_PUBLISH))
                fail_msg("%s got %s from %s, rules:\n%s", people[i], item->topic, item->sender,
                         m->rules);
            assert_true(item->id > m->last_id[i][sender]);
            m->last_id[i][sender] = item->id;
        }
        drop_items(c);
    }
}

static void model_pump(struct model *m)
{
    pump(&m->w);
    look(m);
}

static void drop_forbidden_subscriptions(struct model *m)
{
    for (int i = 0; i < PEOPLE; i++)
        for (int k = 0; k < SUBS_MAX; k++) {
            const struct rule *rule;

            if (m->subs[i][k][0] &&
                !registry_may_subscribe(m->w.registry,
                                        registry_find_name(m->w.registry, bytes_text(people[i])),
                                        bytes_text(m->subs[i][k]), &rule))
                m->subs[i][k][0] = 0;
        }
}

static void do_subscribe(struct model *m, int i)
{
    int slot = (int)below(SUBS_MAX);
    struct client *c = m->clients[i];
    const struct rule *rule;
    char filter[64];

    if (m->subs[i][slot][0]) {
        struct writer w = frame_begin();

        record_write_unsubscribe(&w, c->next_id++, m->sub_numbers[i][slot]);
        client_send(c, &w);
        m->subs[i][slot][0] = 0;
        return;
    }
    random_filter(filter, true);
    m->sub_numbers[i][slot] = c->next_subscription;
    send_subscribe(c, filter, (uint8_t)below(2), false);
    if (registry_may_subscribe(m->w.registry,
                               registry_find_name(m->w.registry, bytes_text(people[i])),
                               bytes_text(filter), &rule))
        strcpy(m->subs[i][slot], filter);
}

static void do_publish(struct model *m, int i)
{
    struct broker_totals before, after;
    uint64_t readers = 0;
    char topic[64];
    bool allowed;

    random_filter(topic, false);
    allowed = model_allows(m, i, topic, RIGHT_PUBLISH);
    for (int r = 0; allowed && r < PEOPLE; r++) {
        bool match = false;

        for (int k = 0; k < SUBS_MAX; k++)
            match |=
                m->subs[r][k][0] && filter_matches(bytes_text(m->subs[r][k]), bytes_text(topic));
        if (r == i || !match || !model_allows(m, r, topic, RIGHT_SUBSCRIBE))
            continue;
        m->expected[r]++;
        readers++;
    }
    broker_get_totals(m->w.broker, &before);
    publish_size(m->clients[i], topic, below(8) == 0 ? 30000 : 100);
    broker_get_totals(m->w.broker, &after);
    assert_true(after.published - before.published == (allowed ? 1 : 0));
    assert_true(after.refused - before.refused == (allowed ? 0 : 1));
    if (after.by_topic.routed - before.by_topic.routed != readers)
        fail_msg("%s on %s: %llu readers, the model says %llu; rules:\n%s", people[i], topic,
                 (unsigned long long)(after.by_topic.routed - before.by_topic.routed),
                 (unsigned long long)readers, m->rules);
}

static void do_reconnect(struct model *m, int i)
{
    struct client *c = m->clients[i];

    client_lose_link(c);
    c->stalled = false;
    memset(m->subs[i], 0, sizeof(m->subs[i]));
    m->expected[i] = m->got[i] = 0; /* what waited went with the link */
    client_go(c);
    look(m);
}

static void run_model(uint64_t seed)
{
    struct broker_settings settings;
    static struct model m;

    m = (struct model){0};
    random_state = seed;
    broker_settings_default(&settings);
    settings.outbox_limit = 200 * 1024;
    random_rules(&m);
    world_init_with(&m.w, &settings, PEOPLE_LINES, m.rules);
    for (int i = 0; i < PEOPLE; i++)
        m.clients[i] = connect_as(&m.w, people[i]);
    for (int step = 0; step < 400; step++) {
        int i = (int)below(PEOPLE);
        uint32_t what = below(100);

        if (what < 20) {
            do_subscribe(&m, i);
        } else if (what < 85) {
            do_publish(&m, i);
        } else if (what < 93) {
            m.clients[i]->stalled = !m.clients[i]->stalled;
            if (!m.clients[i]->stalled)
                broker_peer_writable(m.w.broker, m.clients[i]->peer);
        } else if (what < 96) {
            do_reconnect(&m, i);
        } else {
            random_rules(&m);
            replace_registry(&m.w, PEOPLE_LINES, m.rules);
            drop_forbidden_subscriptions(&m);
        }
        model_pump(&m);
    }
    for (int i = 0; i < PEOPLE; i++)
        m.clients[i]->stalled = false;
    broker_all_writable(m.w.broker);
    model_pump(&m);
    for (int i = 0; i < PEOPLE; i++)
        if (m.expected[i] != m.got[i])
            fail_msg("%s: %llu expected, %llu delivered or reported", people[i],
                     (unsigned long long)m.expected[i], (unsigned long long)m.got[i]);
    world_deinit(&m.w);
}

static void nothing_the_rules_exclude_is_ever_delivered_and_nothing_is_lost_silently(void **state)
{
    const char *given = getenv("AICO_TEST_SEED");
    uint64_t first = given ? strtoull(given, NULL, 0) : 1, count = given ? 1 : 150;

    (void)state;
    for (seed_running = first; seed_running < first + count; seed_running++)
        run_model(seed_running);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_registry_is_handed_to_everybody),
        cmocka_unit_test(a_revoked_component_is_cut_at_once_and_the_others_lose_nothing),
        cmocka_unit_test(a_subscription_that_is_no_longer_allowed_is_refused_under_its_id),
        cmocka_unit_test(what_waits_and_is_no_longer_allowed_is_dropped_and_reported),
        cmocka_unit_test(a_direct_message_that_is_no_longer_allowed_does_not_arrive),
        cmocka_unit_test(a_reply_that_is_no_longer_allowed_is_refused_and_its_requester_told),
        cmocka_unit_test(a_large_message_stops_when_its_publisher_loses_the_right),
        cmocka_unit_test(publishing_follows_the_new_rules_at_once),
        cmocka_unit_test(nothing_the_rules_exclude_is_ever_delivered_and_nothing_is_lost_silently),
    };

    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    if (failed)
        (void)fprintf(stderr, "last seed: %llu\n", (unsigned long long)seed_running);
    return failed;
}
