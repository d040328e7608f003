/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The promises of retained values, last wills and queue groups.
 *
 * A value: a reader is shown none twice and none older than what it was shown while its publisher
 * lives (a new process may be of an older clock), and in the end has the last one of everybody, or
 * was told of a loss. A will: it is marked, is told at most once for
 * each link that ended without a goodbye, and never that of who said goodbye; who dies in calm has
 * it told to every reader. A queue group: of all workers one gets a message, once unless the broker
 * dies (decision 75); what none got while all were there was refused or reported to one of them.
 */
#include "sim.h"
#include "wire/topic.h"

/* Until the last will must have come: the broker waits for who may come back, and a reader without
 * its key asks for it as long as a handshake may take (30 s) before it says that it has none. */
#define DEATH_MS 45000

bool is_worker(const struct node *node)
{
    return node->index < WORKERS;
}

/* --- as they come ----------------------------------------------------------------------------- */

/* Who subscribes again begins anew with values. */
void later_subscribed(struct node *node, const char *filter)
{
    for (int topic = 0; topic < TOPICS; topic++) {
        if (!filter_matches(bytes_text(filter), bytes_text(sim_topics[topic].name)))
            continue;
        for (int i = 0; i < NODES; i++)
            node->shown[i][topic] = 0;
    }
}

void later_value(struct node *reader, const struct aico_message *message,
                 const struct sim_message *m)
{
    struct world *w = reader->world;
    uint32_t number = (uint32_t)(m - w->messages), *shown = &reader->shown[m->sender][m->topic];

    if (message->kind != AICO_MESSAGE_RETAINED)
        sim_fail(w, "%s got value %u as a message", reader->name, number);
    else if (*shown > number && m->incarnation == w->nodes[m->sender].incarnation &&
             w->messages[*shown - 1].incarnation == m->incarnation)
        sim_fail(w, "%s got value %u of %s on %s after value %u", reader->name, number,
                 message->sender, message->topic, *shown - 1);
    *shown = number + 1;
}

void later_will(struct node *reader, const struct aico_message *message, struct sim_message *m)
{
    struct world *w = reader->world;
    const struct node *sender = &w->nodes[m->sender];
    bool lives = sender->client && sender->incarnation == m->incarnation && sender->link &&
                 !sender->link->cut;
    uint32_t number = (uint32_t)(m - w->messages), ends = m->sessions - lives;

    if (!message->will)
        sim_fail(w, "%s was not told that message %u of %s is a will", reader->name, number,
                 message->sender);
    else if (++m->wills_told[reader->index] > ends)
        sim_fail(w, "%s got the will %u of %s %u times, and %u of its links ended", reader->name,
                 number, message->sender, m->wills_told[reader->index], ends);
}

void later_job(struct node *reader, struct sim_message *m)
{
    struct world *w = reader->world;

    /* What a broker that died had handed out no other knows; its sender hands it in again. */
    if (m->has_worker && w->broker_lost_step < m->pushed_step)
        sim_fail(w, "%s got message %u of %s on %s, which another of its group had", reader->name,
                 (uint32_t)(m - w->messages), owner_node_name(m->sender),
                 sim_topics[m->topic].name);
    m->has_worker = true;
}

/* Who was told of a loss of the group's may be another process in the end. */
void later_loss(struct node *reader, int sender, int topic, uint64_t count)
{
    struct told *told = topic < 0 ? NULL : &reader->world->crew_told[sender][topic];

    if (!told || !is_worker(reader))
        return;
    told->unknown |= count == 0;
    told->gaps += count;
}

/* --- broken on purpose ------------------------------------------------------------------------ */

/* Another worker that reads the topic is shown it as well. */
static void give_to_another(struct node *node, struct aico_message *message)
{
    struct world *w = node->world;

    for (int i = 0; i < WORKERS; i++) {
        struct node *other = &w->nodes[i];

        if (other == node || !other->client || other->over ||
            !node_find_subscription(other, message->topic, true))
            continue;
        w->broke = true;
        oracle_tell(other, message);
        return;
    }
}

/* The second one sent in calm. */
static bool is_final(const struct world *w, const struct sim_message *m)
{
    if (!m->closing)
        return false;
    for (const struct sim_message *other = m; other-- > w->messages;)
        if (other->closing && other->sender == m->sender && other->topic == m->topic)
            return true;
    return false;
}

/* Its publisher had been told so. */
static void deny(struct world *w, const struct sim_message *m)
{
    struct sim_message *said = &w->messages[m - w->messages];

    w->broke = said->refused = true;
    said->refused_code = AICO_EQUOTA;
}

bool later_break(struct node *node, struct aico_message *message, const struct sim_message *m)
{
    struct world *w = node->world;
    enum lane lane = m ? m->lane : LANE_NOWHERE;
    bool job = message->kind == AICO_MESSAGE_EVENT && lane == LANE_QUEUE && is_worker(node);

    switch (w->options.breakage) {
    case BREAK_VALUE:
        w->broke = lane == LANE_VALUE && is_final(w, m);
        return !w->broke;
    case BREAK_AGAIN:
        w->broke = message->kind == AICO_MESSAGE_RETAINED;
        if (w->broke)
            oracle_tell(node, message);
        return true;
    case BREAK_JOB:
        w->broke = w->calm && job;
        return !w->broke;
    case BREAK_JOBS:
        if (job)
            give_to_another(node, message);
        return true;
    case BREAK_WILL:
        w->broke = w->calm && message->will;
        return !w->broke;
    case BREAK_WILLS:
        w->broke = message->will;
        if (w->broke)
            oracle_tell(node, message);
        return true;
    case BREAK_UNMARKED:
        w->broke = message->will;
        message->will = false;
        return true;
    case BREAK_DENIED:
        if (lane == LANE_VALUE && m->pushed_step > w->broker_lost_step)
            deny(w, m);
        return true;
    default:
        return true;
    }
}

/* --- at the end ------------------------------------------------------------------------------- */

static bool is_there(const struct node *node)
{
    return node->client && !node->over && client_is_ready(node->client);
}

/* The last value of @sender's process; NULL: it has none. */
static const struct sim_message *last_value(const struct world *w, int sender, int topic)
{
    for (size_t i = w->message_count; i-- > 0;) {
        const struct sim_message *m = &w->messages[i];

        if (m->sender == sender && m->topic == topic && m->lane == LANE_VALUE && !m->refused)
            return m->incarnation == w->nodes[sender].incarnation ? m : NULL;
    }
    return NULL;
}

static void account_value(struct node *reader, int sender, int topic)
{
    struct world *w = reader->world;
    const struct sim_message *m = last_value(w, sender, topic);
    const struct told *told = &reader->told[sender][topic];

    if (sender == reader->index || !m || !is_there(reader) || !is_there(&w->nodes[sender]) ||
        !node_find_subscription(reader, sim_topics[topic].name, true) ||
        !oracle_allowed_throughout(w, m, reader->index) || told->step > m->pushed_step ||
        reader->told_channel[sender].step > m->pushed_step)
        return;
    if (reader->shown[sender][topic] != (uint32_t)(m - w->messages) + 1)
        sim_fail(w, "%s does not have the last value of %s on %s, %u", reader->name,
                 owner_node_name(sender), sim_topics[topic].name, (uint32_t)(m - w->messages));
}

/* Whether every worker was there, or had nothing to do with it, when @m came. */
static bool is_owed_to_crew(struct world *w, const struct sim_message *m)
{
    const struct node *sender = &w->nodes[m->sender];
    int members = 0;

    if (m->incarnation != sender->incarnation || !is_there(sender) || m->refused)
        return false;
    for (int i = 0; i < WORKERS; i++) {
        struct node *worker = &w->nodes[i];
        const struct subscription *live =
            node_find_subscription(worker, sim_topics[m->topic].name, true);

        if (worker == sender || (!worker->asked_step[m->topic] && is_there(worker)))
            continue;
        if (!live || !is_there(worker) || m->pushed_step < live->live_step ||
            oracle_was_away(worker, m) || !oracle_allowed_throughout(w, m, i))
            return false;
        members++;
    }
    return members > 0;
}

static void account_crew(struct world *w, int sender, int topic)
{
    uint64_t missing = 0, told = w->crew_told[sender][topic].gaps;
    uint32_t example = 0;

    if (w->crew_told[sender][topic].unknown)
        return;
    for (size_t i = 0; i < w->message_count; i++) {
        const struct sim_message *m = &w->messages[i];

        if (m->sender != sender || m->topic != topic || m->lane != LANE_QUEUE || m->has_worker ||
            !is_owed_to_crew(w, m))
            continue;
        missing++;
        example = (uint32_t)i;
    }
    if (told < missing)
        sim_fail(w, "no worker got %llu of %s on %s (message %u), and they were told of %llu",
                 (unsigned long long)missing, owner_node_name(sender), sim_topics[topic].name,
                 example, (unsigned long long)told);
}

void later_accounts(struct world *w)
{
    for (int sender = 0; sender < NODES && !w->failed; sender++)
        for (int topic = 0; topic < TOPICS && !w->failed; topic++) {
            if (sim_topics[topic].lane == LANE_QUEUE)
                account_crew(w, sender, topic);
            for (int i = 0; i < NODES && sim_topics[topic].lane == LANE_VALUE; i++)
                account_value(&w->nodes[i], sender, topic);
        }
}

/* Whoever leaves a will and is there; NULL. */
static struct node *find_victim(struct world *w)
{
    uint64_t first = dice_below(&w->dice, NODES);

    for (uint64_t i = 0; i < NODES; i++) {
        struct node *node = &w->nodes[(first + i) % NODES];

        if (node->will && is_there(node))
            return node;
    }
    return NULL;
}

void later_death(struct world *w)
{
    struct node *victim = find_victim(w);
    int topic = topic_index("w/one");
    const struct sim_message *m;
    uint64_t step = w->step;
    uint8_t before[NODES];

    if (!victim)
        return;
    m = &w->messages[victim->will - 1];
    memcpy(before, m->wills_told, sizeof(before));
    node_stop(victim, false);
    schedule_run(w, w->now_ms + DEATH_MS);
    m = &w->messages[victim->will - 1];
    for (int i = 0; i < NODES && !w->failed; i++) {
        struct node *reader = &w->nodes[i];

        if (reader == victim || !is_there(reader) ||
            !node_find_subscription(reader, sim_topics[topic].name, true) ||
            !owner_allows(w, w->version, victim->index, i, topic) ||
            reader->told[victim->index][topic].step > step)
            continue;
        if (m->wills_told[i] == before[i])
            sim_fail(w, "%s was not told the last will of %s, %u", reader->name, victim->name,
                     victim->will - 1);
    }
}
