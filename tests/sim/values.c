/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retained values of rules that store: of each topic one, the last of all its publishers.
 *
 * No reader is shown a publisher's earlier value after a later one, whoever died in between, and
 * none an empty value, which deletes, unless it listened when that was said. In the
 * end values are published, the power goes or the broker or publishers die, and who comes later is
 * shown the last one that was acknowledged, or was told that it does not get it.
 */
#include "sim.h"

#define LATE_MS 60000 /* until who comes later has it */

void values_handed_out(struct node *node, int sender, int topic,
                       const struct record_deliver *deliver)
{
    if (sim_topics[topic].lane == LANE_KEPT && !deliver->kept && !deliver->direct)
        node->listened[sender][topic] = true;
}

void values_delivered(struct node *node, const struct aico_message *message,
                      const struct sim_message *m)
{
    struct world *w = node->world;
    uint32_t number = (uint32_t)(m - w->messages);
    uint32_t *shown = &node->kept_shown[m->sender][m->topic];

    if (message->kind != AICO_MESSAGE_RETAINED)
        sim_fail(w, "%s got value %u as a message", node->name, number);
    else if (number + 1 < *shown)
        sim_fail(w, "%s got value %u of %s on %s after value %u", node->name, number,
                 message->sender, message->topic, *shown - 1);
    else if (m->size == 0 && !node->listened[m->sender][m->topic])
        sim_fail(w, "%s came later and was shown the empty value %u of %s on %s", node->name,
                 number, message->sender, message->topic);
    *shown = node->late[m->topic] = number + 1;
    node->shown[m->sender][m->topic] = number + 1;
}

static bool is_value(const struct sim_message *m, int topic)
{
    return m->lane == LANE_KEPT && m->topic == topic && !m->refused;
}

/* Pushed in values_late(): what was pushed before was stored by then, or never will be. */
static bool is_of_the_end(const struct world *w, const struct sim_message *m)
{
    return w->values_step > 0 && m->pushed_step >= w->values_step;
}

/* Whether @other, which was acknowledged, is surely later than @m, of the same topic. */
static bool is_later(const struct world *w, const struct sim_message *other,
                     const struct sim_message *m)
{
    return (m->settled_step && other->pushed_step > m->settled_step) ||
           (other->sender == m->sender && other > m) ||
           (is_of_the_end(w, other) && !is_of_the_end(w, m));
}

/* Whether @m may be the last value of its topic: none that was acknowledged is surely later. */
static bool may_be_last(const struct world *w, const struct sim_message *m)
{
    for (const struct sim_message *other = w->messages + w->message_count; other-- > w->messages;)
        if (other != m && is_value(other, m->topic) && other->settled_step && is_later(w, other, m))
            return false;
    return true;
}

/* Whether its time may be over, by the clock of anybody. */
static bool may_be_void(const struct world *w, const struct sim_message *m)
{
    return m->expires_ms > 0 && w->now_ms + w->session.synchrony_bound_ms > m->expires_ms;
}

/* The bytes of the values that surely stand and are @sender's. */
static size_t standing(const struct world *w, int sender)
{
    size_t bytes = 0;

    for (int topic = 0; topic < TOPICS; topic++) {
        const struct sim_message *last = NULL;
        int count = 0;

        if (sim_topics[topic].lane != LANE_KEPT)
            continue;
        for (size_t i = 0; i < w->message_count; i++)
            if (is_value(&w->messages[i], topic) && may_be_last(w, &w->messages[i])) {
                last = &w->messages[i];
                count++;
            }
        if (count == 1 && last->sender == sender && last->settled_step && !may_be_void(w, last))
            bytes += last->size;
    }
    return bytes;
}

void values_answered(struct world *w, const struct sim_message *m)
{
    size_t bytes;

    if (m->lane != LANE_KEPT || m->refused || w->broker_settings.value_limit > 1000000)
        return;
    bytes = standing(w, m->sender);
    if (bytes > w->broker_settings.value_limit)
        sim_fail(w, "the values of %s have %zu bytes, and may have %zu", owner_node_name(m->sender),
                 bytes, w->broker_settings.value_limit);
}

/* BREAK_DELETED: somebody is shown it that did not listen when it was said. */
static void show_latecomer(struct world *w, struct aico_message *message,
                           const struct sim_message *m)
{
    for (int i = 0; i < NODES; i++) {
        struct node *node = &w->nodes[i];

        if (!node->client || node->over || i == m->sender || node->listened[m->sender][m->topic] ||
            !owner_allows(w, w->version, m->sender, i, m->topic) ||
            !node_find_subscription(node, message->topic, true))
            continue;
        w->broke = true;
        oracle_tell(node, message);
        return;
    }
}

/* BREAK_LATE, BREAK_DELETED. */
bool values_break(struct node *node, struct aico_message *message, const struct sim_message *m)
{
    struct world *w = node->world;

    if (!m || m->lane != LANE_KEPT)
        return true;
    if (w->options.breakage == BREAK_LATE) {
        w->broke = w->values_step > 0 && message->kind == AICO_MESSAGE_RETAINED &&
                   node->late[m->topic] == 0;
        return !w->broke;
    }
    if (m->size == 0)
        show_latecomer(w, message, m);
    return true;
}

static bool is_by(const struct aico_message *message, const struct aico_message *other)
{
    return strcmp(message->sender, other->sender) == 0;
}

static bool is_on(const struct aico_message *message, const struct aico_message *other)
{
    return strcmp(message->topic, other->topic) == 0;
}

static void show_held(struct world *w, struct node *node)
{
    oracle_tell(node, w->held);
    aico_message_free(&w->held);
}

/* BREAK_REVIVED: the last one of a publisher is held back until the end, and shown behind another's
 * later one. */
bool values_hold(struct node *node, struct aico_message *message, const struct sim_message *m)
{
    struct world *w = node->world;

    if (w->options.breakage != BREAK_REVIVED || w->broke || !m || m->lane != LANE_KEPT ||
        message->kind != AICO_MESSAGE_RETAINED || m->size == 0 ||
        (w->held && (w->held_by != node->index || !is_on(message, w->held))))
        return false;
    if (w->values_step == 0) {
        if (w->held && !is_by(message, w->held))
            return false;
        if (w->held)
            show_held(w, node);
        w->held = message;
        w->held_by = node->index;
        return true;
    }
    if (!w->held || is_by(message, w->held))
        return false;
    w->broke = true;
    oracle_tell(node, message);
    aico_message_free(&message);
    show_held(w, node);
    return true;
}

/* --- who comes later -------------------------------------------------------------------------- */

static bool is_there(const struct node *node)
{
    return node->client && !node->over && client_is_ready(node->client);
}

static bool is_publisher(const struct world *w, int i)
{
    return owner_allows(w, w->version, i, NODES - 1, topic_index("sv/one")) ||
           owner_allows(w, w->version, i, NODES - 2, topic_index("sv/one")) ||
           owner_allows(w, w->version, i, NODES - 3, topic_index("sv/one"));
}

/* One in five deletes. */
static void publish_last(struct world *w)
{
    for (int i = 0; i < NODES; i++) {
        struct node *node = &w->nodes[i];
        const char *topic = dice_one(&w->dice, 2) ? "sv/one" : "sv/two";

        if (is_there(node) && is_publisher(w, i)) {
            size_t size = dice_below(&w->dice, 500);

            node_publish(node, topic_index(topic), -1, size < 100 ? 0 : size, false);
        }
    }
    schedule_run(w, w->now_ms + (int64_t)dice_below(&w->dice, 200));
}

/* Some die for good, the broker perhaps, and every reader. */
static void die(struct world *w)
{
    if (w->broker && dice_one(&w->dice, 2))
        broker_stop(w, dice_one(&w->dice, 2) ? STORE_END_POWER : STORE_END_KILLED);
    for (int i = 0; i < NODES; i++) {
        struct node *node = &w->nodes[i];
        bool reads = owner_may_read(w, i, topic_index("sv/one"));

        if (!node->client || node->over || (!reads && !dice_one(&w->dice, 2)))
            continue;
        node_stop(node, false);
        node->restart_ms = w->now_ms + (reads ? 1000 : 10 * LATE_MS);
    }
}

/* Whether who may read @m now is shown it: it went when its publisher was revoked. */
static bool still_stands(const struct world *w, const struct sim_message *m, int reader)
{
    for (uint64_t v = m->version; v <= w->version; v++)
        if (!owner_is_active(w, v, m->sender))
            return false;
    return owner_allows(w, w->version, m->sender, reader, m->topic);
}

/* What is shown is one that may be the last; nothing only where the last one may be empty or void
 * (there is none any more) or may be forbidden it. */
static void account(struct node *reader, int topic)
{
    struct world *w = reader->world;
    uint32_t shown = reader->late[topic];
    bool acknowledged = false, none = false, told = false;

    for (size_t i = 0; i < w->message_count; i++) {
        const struct sim_message *m = &w->messages[i];

        if (!is_value(m, topic) || !may_be_last(w, m))
            continue;
        acknowledged |= m->settled_step > 0;
        none |= m->size == 0 || may_be_void(w, m) || !still_stands(w, m, reader->index);
        told |= reader->told[m->sender][topic].step > 0;
        if (shown == i + 1) {
            w->values_owed++;
            return;
        }
    }
    if (shown > 0)
        sim_fail(w, "%s came later and was shown value %u on %s, which is not the last",
                 reader->name, shown - 1, sim_topics[topic].name);
    else if (acknowledged && !none && !told)
        sim_fail(w, "%s came later and was shown no value on %s", reader->name,
                 sim_topics[topic].name);
    w->values_named += acknowledged && told;
}

void values_late(struct world *w)
{
    if (!w->stores)
        return;
    w->values_step = w->step;
    for (int i = 0; i < NODES; i++)
        memset(w->nodes[i].late, 0, sizeof(w->nodes[i].late));
    publish_last(w);
    die(w);
    schedule_run(w, w->now_ms + LATE_MS / 2);
    for (int i = 0; i < NODES && !w->failed; i++)
        if (is_there(&w->nodes[i]) && owner_may_read(w, i, topic_index("sv/one")))
            node_subscribe(&w->nodes[i], "sv/*", SLOW_BLOCK, false);
    schedule_run(w, w->now_ms + LATE_MS);
    for (int i = 0; i < NODES && !w->failed; i++)
        for (int topic = 0; topic < TOPICS && !w->failed; topic++)
            if (sim_topics[topic].lane == LANE_KEPT && is_there(&w->nodes[i]) &&
                owner_may_read(w, i, topic) &&
                node_find_subscription(&w->nodes[i], sim_topics[topic].name, true))
                account(&w->nodes[i], topic);
}
