/* SPDX-License-Identifier: Apache-2.0 */
/* What the applications do, and what goes wrong meanwhile. */
#include <inttypes.h>

#include "sim.h"

static const char *const filters[] = {"g/*",   "g/**",     "s/*",   "s/one", "sig/one", "few/one",
                                      "pad/*", "c/*",      "c/one", "n/*",   "ask/one", "ask/*",
                                      "**",    "nobody/*", "g/one", "v/*",   "v/one",   "w/*",
                                      "q/*",   "q/*",      "st/*",  "sv/*",  "sv/one",  "mail/one"};
#define FILTERS_STORED 4 /* the last: of worlds with a store */

static struct node *any_node(struct world *w)
{
    return &w->nodes[dice_below(&w->dice, NODES)];
}

static size_t any_size(struct world *w)
{
    switch (dice_below(&w->dice, 12)) {
    case 0:
        return 0;
    case 1:
        return dice_below(&w->dice, PAYLOAD_MAX >> w->shrink);
    case 2:
        return dice_below(&w->dice, 70000 >> w->shrink);
    default:
        return dice_below(&w->dice, 600);
    }
}

/* Nothing is stored where there is no store. */
static uint64_t topics(const struct world *w)
{
    return w->stores ? TOPICS : TOPICS - TOPICS_STORED;
}

/* On which something is published: no will is. */
static int any_topic(struct world *w)
{
    int topic = (int)dice_below(&w->dice, topics(w));

    return sim_topics[topic].lane == LANE_WILL ? topic_index("v/one") : topic;
}

/* What is for a mailbox is for one component's. */
static void publish_one(struct world *w, struct node *node, int topic, size_t size)
{
    if (sim_topics[topic].lane == LANE_MAIL)
        mail_publish(node, topic, (int)dice_below(&w->dice, NODES), size, false);
    else
        node_publish(node, topic, -1, size, false);
}

static void publish(struct world *w, struct node *node)
{
    int topic = any_topic(w);
    uint64_t count = dice_one(&w->dice, 3) ? 1 + dice_below(&w->dice, 12) : 1;

    for (uint64_t i = 0; i < count && node->client && !node->over; i++)
        publish_one(w, node, topic, any_size(w));
}

/* More than a reader that stands still is kept. */
static void flood(struct world *w, struct node *node)
{
    int topic = any_topic(w);
    uint64_t count = 10 + dice_below(&w->dice, 20);

    for (uint64_t i = 0; i < count && node->client && !node->over; i++)
        publish_one(w, node, topic, dice_below(&w->dice, w->shrink ? 20000 : 60000));
}

static void restart(struct world *w, struct node *node)
{
    node_stop(node, dice_one(&w->dice, 2));
    node->restart_ms = w->now_ms + (int64_t)dice_below(&w->dice, 3000);
}

static void subscribe(struct world *w, struct node *node)
{
    static const uint8_t policies[] = {SLOW_DROP_OLD, SLOW_DROP_OLD, SLOW_DROP_NEW, SLOW_BLOCK,
                                       SLOW_DISCONNECT};
    const char *filter =
        filters[dice_below(&w->dice, COUNT_OF(filters) - (w->stores ? 0 : FILTERS_STORED))];
    uint8_t policy = policies[dice_below(&w->dice, COUNT_OF(policies))];
    bool serve = strncmp(filter, "ask", 3) == 0 && !dice_one(&w->dice, 4);

    if (is_worker(node) && strcmp(filter, "**") == 0)
        filter = "q/*"; /* who also reads all is no member */

    node_subscribe(node, filter, policy, serve);
}

/* Each roll in a statement of its own: the order of arguments is the compiler's. */
static void publish_to_one(struct world *w, struct node *node)
{
    int topic = (int)dice_below(&w->dice, topics(w)), to = (int)dice_below(&w->dice, NODES);

    if (sim_topics[topic].lane == LANE_STORED || sim_topics[topic].lane == LANE_KEPT)
        topic = topic_index("g/one"); /* of what is stored nothing is for one alone */
    if (sim_topics[topic].lane == LANE_MAIL)
        mail_publish(node, topic, to, any_size(w), false);
    else
        node_publish(node, topic, to, any_size(w), false);
}

static void request(struct world *w, struct node *node)
{
    const char *topic = dice_one(&w->dice, 2) ? "ask/one" : "ask/two";
    int64_t timeout = 1 + (int64_t)dice_below(&w->dice, 40000);

    node_request(node, topic_index(topic), any_size(w), timeout);
}

void workload_begin(struct node *node)
{
    struct world *w = node->world;

    for (uint64_t i = dice_below(&w->dice, 4); i > 0 && !w->calm; i--)
        subscribe(w, node);
    if (!w->calm && dice_one(&w->dice, 2))
        node_subscribe(node, "ask/*", SLOW_DROP_OLD, true);
}

static void unsubscribe(struct world *w, struct node *node)
{
    int i = (int)dice_below(&w->dice, w->stores ? SUBSCRIPTIONS : SUBSCRIPTION_DURABLE);

    if (node->subscriptions[i].used && node->subscriptions[i].live)
        node_unsubscribe(node, i);
}

static void ask_core(struct world *w, struct node *node)
{
    int64_t timeout = 1 + (int64_t)dice_below(&w->dice, 30000);
    struct ticket *ticket = ticket_new(node, TICKET_OTHER, timeout);

    switch (dice_below(&w->dice, 3)) {
    case 0:
        client_flush(node->client, node_moment(node), node->next_app_id - 1, timeout, ticket);
        break;
    case 1:
        client_query(node->client, node_moment(node), bytes_text("status"), bytes_of(NULL, 0),
                     timeout, ticket);
        break;
    default:
        client_ping(node->client, node_moment(node), bytes_of(NULL, 0), timeout, ticket);
        break;
    }
    node_settle(node);
}

static void backlog(struct world *w, struct node *node)
{
    sim_note(w, "%s: stops reading", node->name);
    node->backlogged = true;
    node->backlog_until_ms = w->now_ms + (int64_t)dice_below(&w->dice, 60000);
    client_set_backlogged(node->client, true);
    node_settle(node);
}

static void broker_trouble(struct world *w)
{
    if (!w->broker)
        return;
    if (dice_one(&w->dice, 3)) {
        sim_note(w, "broker: drains");
        w->draining = true;
        broker_drain(w->broker, broker_moment(w), 2000);
        w->broker_dirty = true;
    } else {
        broker_stop(w, w->stores && dice_one(&w->dice, 2) ? STORE_END_POWER : STORE_END_KILLED);
    }
}

static void step_clock(struct world *w, struct node *node)
{
    int64_t before_ms = node->skew_ms;

    node_set_clock(node);
    sim_note(w, "%s: its clock steps by %" PRId64 " ms", node->name, node->skew_ms - before_ms);
}

void workload_act(struct world *w)
{
    struct node *node = any_node(w);
    uint64_t roll = dice_below(&w->dice, 1000);

    if (roll >= 985) {
        owner_change(w);
        return;
    }
    if (roll >= 978) {
        broker_trouble(w);
        return;
    }
    if (!node->client || node->over)
        return;
    if (roll < 20)
        flood(w, node);
    else if (roll < 480)
        publish(w, node);
    else if (roll < 560)
        publish_to_one(w, node);
    else if (roll < 650)
        request(w, node);
    else if (roll < 780)
        subscribe(w, node);
    else if (roll < 820)
        unsubscribe(w, node);
    else if (roll < 870)
        ask_core(w, node);
    else if (roll < 900)
        backlog(w, node);
    else if (roll < 950 && node->link)
        link_cut(w, node->link);
    else if (roll < 960)
        step_clock(w, node);
    else
        restart(w, node);
}

void workload_calm(struct world *w)
{
    sim_note(w, "calm");
    w->calm = true;
    if (w->draining && w->broker)
        broker_stop(w, STORE_END_ORDERLY);
    for (struct link *link = w->links; link; link = link->next)
        link->up.capacity = link->down.capacity = SIZE_MAX / 2;
    for (int i = 0; i < NODES; i++)
        w->nodes[i].backlog_until_ms = w->now_ms;
}

void workload_close(struct world *w)
{
    sim_note(w, "closing messages");
    for (int i = 0; i < NODES; i++)
        for (int topic = 0; topic < TOPICS && w->nodes[i].client && !w->nodes[i].over; topic++)
            if (w->nodes[i].published_on[topic])
                node_publish(&w->nodes[i], topic, -1, 40, true);
    if (w->stores)
        mail_close(w);
}
