/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mailboxes: the application that listens to its own, its disk, and the promises.
 *
 * What was acknowledged is shown to whom it is for, once: again only to a process whose forerunner
 * had not taken it, and in the order of its sender on its topic. What its time took is told to it.
 * What lies there is never more than a mailbox may hold, and in calm nobody's is full.
 */
#include "base/writer.h"
#include "client/message.h"
#include "session/keep.h"
#include "sim.h"

#define ON_ITS_WAY_MS 10000
#define FILTER "mail/*"

void mail_begin(struct world *w)
{
    if (dice_one(&w->dice, 4))
        w->broker_settings.mailbox_limit = (size_t)20000 << dice_below(&w->dice, 4);
    if (dice_one(&w->dice, 4))
        w->broker_settings.value_limit = (size_t)3000 << dice_below(&w->dice, 4);
}

/* --- its disk --------------------------------------------------------------------------------- */

static int load(void *context, int (*take)(void *to, struct bytes key, struct bytes value),
                void *to, struct aico_error *err)
{
    const struct node *node = context;

    (void)err;
    return rows_read(node->sessions, take, to);
}

static int commit(void *context, const struct keep_change *changes, size_t count,
                  struct aico_error *err)
{
    struct node *node = context;

    (void)err;
    for (size_t i = 0; i < count; i++)
        rows_set(&node->sessions, &changes[i]);
    return 0;
}

void mail_settings(struct node *node, struct session_settings *settings)
{
    struct reading_key *key = &node->reading.items[0];

    if (node->reading.count == 0) {
        node->reading.count = 1;
        *key = (struct reading_key){.number = 1, .created_ms = START_MS};
        for (size_t i = 0; i < SECRET_SIZE; i++)
            key->secret.at[i] = (uint8_t)dice_next(&node->dice);
    }
    node->sessions_keeper = (struct keeper){node, load, commit};
    settings->keeper = &node->sessions_keeper;
    settings->reading_keys = &node->reading;
}

void mail_free(struct node *node)
{
    rows_free(&node->sessions);
}

/* Whether the message that opened as @number is still on the disk of @node. */
static bool is_on_disk(const struct node *node, uint64_t number)
{
    uint8_t room[9];
    struct writer key = writer_over(room, sizeof(room));

    writer_u8(&key, KEEP_INBOX);
    writer_u64(&key, number);
    return rows_have(node->sessions, writer_view(&key));
}

/* --- the application -------------------------------------------------------------------------- */

void mail_lost(struct node *node)
{
    struct world *w = node->world;

    node->listen_ms = w->now_ms;
    if (!w->calm && !dice_one(&w->dice, 3)) /* most of the time it is not there for it */
        node->listen_ms += (int64_t)dice_below(&w->dice, 60000);
    else if (w->calm)
        node->listen_ms += 1000 + (int64_t)dice_below(&w->dice, 5000);
}

void mail_listen(struct node *node)
{
    struct subscription *s = &node->subscriptions[SUBSCRIPTION_MAIL];
    struct ticket *ticket;

    node->listen_ms = MOMENT_NEVER;
    *s = (struct subscription){.used = true, .asked_step = node->world->step};
    (void)snprintf(s->filter, sizeof(s->filter), "%s", FILTER);
    ticket = ticket_new(node, TICKET_SUBSCRIBE, 40000);
    ticket->subscription = SUBSCRIPTION_MAIL;
    sim_note(node->world, "%s: listens to its mailbox", node->name);
    client_subscribe(node->client, node_moment(node), bytes_text(FILTER), SLOW_BLOCK, false,
                     bytes_of(NULL, 0), 40000, ticket);
    node_settle(node);
}

/* Everything up to what it got last. */
void mail_take(struct node *node)
{
    node->take_ms = MOMENT_NEVER;
    sim_note(node->world, "%s: takes its mail up to %llu", node->name,
             (unsigned long long)node->got);
    client_taken(node->client, node_moment(node), node->got);
    node_settle(node);
}

void mail_ended(struct node *node)
{
    struct world *w = node->world;

    node->listen_ms = node->take_ms = MOMENT_NEVER;
    node->got = 0;
    for (size_t i = 0; i < w->message_count; i++) {
        struct sim_message *m = &w->messages[i];

        if (m->lane == LANE_MAIL && m->to == node->index &&
            m->delivered_to[node->index] == node->incarnation)
            m->taken |= !is_on_disk(node, m->kept);
    }
}

void mail_publish(struct node *node, int topic, int to, size_t size, bool closing)
{
    node_publish(node, topic, to, size, closing);
}

void mail_close(struct world *w)
{
    int topic = topic_index("mail/one");

    for (int i = 0; i < NODES; i++) {
        int to = (int)((unsigned)i + 1 + dice_below(&w->dice, NODES - 1)) % NODES;
        struct node *node = &w->nodes[i];

        if (node->client && !node->over && w->nodes[to].client && !w->nodes[to].over &&
            owner_allows(w, w->version, i, to, topic))
            mail_publish(node, topic, to, 40, true);
    }
}

/* --- the promises ----------------------------------------------------------------------------- */

void mail_delivered(struct node *node, struct aico_message *message, struct sim_message *m)
{
    struct world *w = node->world;
    uint32_t number = (uint32_t)(m - w->messages);
    uint32_t *last = &node->mail_order[m->sender][m->topic];
    bool again = m->delivered_to[node->index] > 0;

    m->kept = *message_kept(message);
    if (m->kept == 0)
        sim_fail(w, "%s got message %u of its mailbox, which is not on its disk", node->name,
                 number);
    else if (m->taken)
        sim_fail(w, "%s got message %u of %s again, which it had taken", node->name, number,
                 message->sender);
    else if (!again && number + 1 < *last)
        sim_fail(w, "%s got message %u of %s on %s after message %u", node->name, number,
                 message->sender, message->topic, *last - 1);
    *last = MAX(*last, number + 1);
    node->got = MAX(node->got, m->kept);
    if (node->take_ms == MOMENT_NEVER)
        node->take_ms =
            w->now_ms + (dice_one(&w->dice, 3) ? (int64_t)dice_below(&w->dice, 5000) : 0);
}

void mail_loss(struct node *node, int sender, int topic, uint64_t count)
{
    if (topic < 0 || sim_topics[topic].lane == LANE_MAIL)
        node->mail_told[sender] += MAX(count, (uint64_t)1);
}

/* Whether @m may have left the mailbox unheard: it was on its way to who had just unsubscribed, and
 * waits on its own disk. */
static bool may_have_left(const struct node *node, const struct sim_message *m)
{
    return node->unheard_ms > 0 && m->pushed_ms <= node->unheard_ms + ON_ITS_WAY_MS;
}

/* What surely lies in the mailbox of @to. */
static size_t lying(const struct world *w, int to)
{
    size_t bytes = 0;

    for (size_t i = 0; i < w->message_count; i++) {
        const struct sim_message *m = &w->messages[i];

        if (m->lane == LANE_MAIL && m->to == to && m->settled_step && !m->refused &&
            m->delivered_to[to] == 0 && m->expires_ms == 0 && oracle_allowed_throughout(w, m, to) &&
            w->nodes[to].mail_told[m->sender] == 0 && !may_have_left(&w->nodes[to], m))
            bytes += m->size;
    }
    return bytes;
}

void mail_answered(struct world *w, const struct sim_message *m)
{
    size_t limit = w->broker_settings.mailbox_limit, bytes;

    if (m->lane != LANE_MAIL || m->refused)
        return;
    bytes = lying(w, m->to);
    if (bytes > limit)
        sim_fail(w, "the mailbox of %s holds %zu bytes, and may hold %zu", owner_node_name(m->to),
                 bytes, limit);
}

/* BREAK_MAIL, BREAK_MAILS. */
bool mail_break(struct node *node, struct aico_message *message, const struct sim_message *m)
{
    struct world *w = node->world;

    if (!m || m->lane != LANE_MAIL || message->kind != AICO_MESSAGE_EVENT)
        return true;
    if (w->options.breakage == BREAK_MAIL) {
        /* One that can be neither void nor come again. */
        w->broke = m->expires_ms == 0 && node->client;
        node->got = w->broke ? MAX(node->got, *message_kept(message)) : node->got;
        if (w->broke)
            node->take_ms = w->now_ms;
        return !w->broke;
    }
    w->broke = true;
    oracle_tell(node, message);
    w->messages[m - w->messages].taken = true;
    w->messages[m - w->messages].delivered_to[node->index] = 0;
    return true;
}

/* Whoever is revoked, or loses its right, gives up its ratchets: the other end finds out by the
 * first message of one that does not open, and its application is told. */
static bool was_forbidden_once(const struct world *w, int sender, int reader, int topic)
{
    for (uint64_t v = 1; v <= w->version; v++)
        if (!owner_allows(w, v, sender, reader, topic) ||
            !owner_allows(w, v, reader, sender, topic))
            return true;
    return false;
}

static void account(struct node *reader, int sender)
{
    struct world *w = reader->world;
    uint64_t missing = 0;

    for (size_t i = 0; i < w->message_count && !w->failed; i++) {
        const struct sim_message *m = &w->messages[i];
        bool may_go;

        if (m->lane != LANE_MAIL || m->sender != sender || m->to != reader->index ||
            !m->settled_step)
            continue;
        if (m->closing && m->refused)
            sim_fail(w, "message %zu of %s for the mailbox of %s is refused in calm: %s", i,
                     owner_node_name(sender), reader->name, aico_error_name(m->refused_code));
        if (m->refused || !oracle_allowed_throughout(w, m, reader->index))
            continue;
        w->mail_owed++;
        if (m->delivered_to[reader->index])
            continue;
        may_go = m->expires_ms > 0 || was_forbidden_once(w, sender, reader->index, m->topic);
        missing += may_go;
        if (!may_go)
            sim_fail(w, "%s never got message %zu of %s on %s, which lay in its mailbox",
                     reader->name, i, owner_node_name(sender), sim_topics[m->topic].name);
    }
    w->mail_named += missing;
    if (missing > reader->mail_told[sender])
        sim_fail(w, "%s was told of %llu losses of %s, and misses %llu of its mailbox",
                 reader->name, (unsigned long long)reader->mail_told[sender],
                 owner_node_name(sender), (unsigned long long)missing);
}

void mail_accounts(struct world *w)
{
    for (int i = 0; w->stores && i < NODES && !w->failed; i++) {
        struct node *reader = &w->nodes[i];

        if (!reader->client || reader->over || !owner_may_read(w, i, topic_index("mail/one")))
            continue;
        if (!reader->subscriptions[SUBSCRIPTION_MAIL].live)
            sim_fail(w, "%s does not listen to its mailbox in calm", reader->name);
        for (int sender = 0; sender < NODES; sender++)
            account(reader, sender);
    }
}
