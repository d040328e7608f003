/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The promises, checked from outside: by what the applications did and were told, by the
 * registries, and by what the broker handed out. It knows nothing of the inside of the cores.
 *
 * At every step: nothing reaches a component the rules exclude; nothing is delivered twice; order
 * holds per sender and topic; sender, topic, headers and payload are what was published; every
 * answer comes in time and belongs to its question; the counters balance.
 * At the end, for every sender, topic and reader: what was published while the reader listened was
 * delivered, refused, or reported missing, by exact number where the messages are numbered.
 */
#include "base/buffer.h"
#include "sim.h"

#define SETTLED_MS 5000 /* after this time on a link its owner knows who else is there */

static void trace(struct world *w, uint64_t word)
{
    w->trace = (w->trace ^ word) * 0x100000001b3u;
}

/* One argument behind the percent sign at @at, from @args. Returns where its conversion ends. */
static const char *trace_argument(struct world *w, const char *at, va_list *args)
{
    int longs = 0;

    for (at++; *at == 'l' || *at == 'z'; at++)
        longs += *at == 'z' ? 2 : 1;
    if (*at == 's')
        for (const char *c = va_arg(*args, const char *); *c; c++)
            trace(w, (uint8_t)*c);
    else if (*at == 'd' || *at == 'u')
        trace(w, longs > 0 ? va_arg(*args, unsigned long long) : va_arg(*args, unsigned));
    else
        abort(); /* no conversion of ours */
    return at;
}

/* Most of a run's time would go into text that nobody reads: only -v makes it. */
void sim_note(struct world *w, const char *text, ...)
{
    va_list args;

    va_start(args, text);
    if (w->options.verbose) {
        (void)printf("%7llu %10.3f  ", (unsigned long long)w->step, (double)w->now_ms / 1000);
        (void)vprintf(text, args);
        (void)printf("\n");
    } else {
        trace(w, (uintptr_t)text);
        trace(w, (uint64_t)w->now_ms);
        for (const char *at = strchr(text, '%'); at; at = strchr(at, '%'))
            at = trace_argument(w, at, &args);
    }
    va_end(args);
}

void sim_fail(struct world *w, const char *text, ...)
{
    va_list args;

    if (w->failed)
        return;
    w->failed = true;
    va_start(args, text);
    (void)vsnprintf(w->failure, sizeof(w->failure), text, args);
    va_end(args);
    sim_note(w, "BROKEN: %s", w->failure);
}

static int node_index(const char *name)
{
    for (int i = 0; i < NODES; i++)
        if (strcmp(owner_node_name(i), name) == 0)
            return i;
    return -1;
}

/* --- exclusion -------------------------------------------------------------------------------- */

/* The broker hands a message out: by the registry in force there, its reader may have it. */
void oracle_handed_out(struct world *w, const struct link *link, const char *sender,
                       const char *topic, const struct record_deliver *deliver)
{
    int from = sender ? node_index(sender) : -1, index = topic ? topic_index(topic) : -1;
    int to = link->node->index;
    bool reply = deliver->delivery == DELIVERY_REPLY;

    if (from < 0 || index < 0)
        sim_fail(w, "the broker hands %s something of nobody", link->node->name);
    else if (!owner_allows(w, w->version, reply ? to : from, reply ? from : to, index))
        sim_fail(w, "the broker hands %s a message of %s on %s, which the rules forbid",
                 link->node->name, sender, topic);
    else
        values_handed_out(link->node, from, index, deliver);
}

/* Whether some registry between the message's and the newest let it pass. */
static bool was_allowed(const struct world *w, const struct sim_message *m, int reader)
{
    bool reply = m->lane == LANE_REPLY;

    for (uint64_t v = m->version; v <= w->version; v++)
        if (owner_allows(w, v, reply ? reader : m->sender, reply ? m->sender : reader, m->topic))
            return true;
    return false;
}

/* --- what an application is told -------------------------------------------------------------- */

static const char *header_value(const struct aico_message *message, const char *key)
{
    for (size_t i = 0; i < message->header_count; i++)
        if (strcmp(message->headers[i].key, key) == 0)
            return message->headers[i].value;
    return NULL;
}

/* Which message of the run this is; NULL: none. */
static struct sim_message *identify(struct world *w, const struct aico_message *message)
{
    const char *text = header_value(message, "n");
    uint32_t number = 0;

    if (text)
        number = (uint32_t)strtoul(text, NULL, 10);
    else if (message->size >= 8)
        memcpy(&number, message->payload, sizeof(number));
    else
        return NULL;
    return number < w->message_count ? &w->messages[number] : NULL;
}

static bool is_intact(const struct world *w, const struct sim_message *m,
                      const struct aico_message *message)
{
    return message->size == m->size &&
           payload_is((uint32_t)(m - w->messages), message->payload, m->size) &&
           (header_value(message, "n") != NULL) == m->has_headers;
}

static void check_order(struct node *reader, const struct sim_message *m, uint32_t number)
{
    bool channel = m->lane != LANE_BY_GROUP && m->lane != LANE_IN_CLEAR && m->lane != LANE_QUEUE &&
                   m->lane != LANE_STORED;
    uint32_t *last = &reader->last_order[m->sender][m->topic][channel];

    if (m->lane == LANE_REQUEST || m->lane == LANE_REPLY ||
        (m->lane == LANE_QUEUE && is_worker(reader)))
        return;
    if (number + 1 <= *last)
        sim_fail(reader->world, "%s got message %u of %s on %s after message %u", reader->name,
                 number, owner_node_name(m->sender), sim_topics[m->topic].name, *last - 1);
    *last = number + 1;
}

static void expect_reply(struct node *node, const struct aico_message *message, uint32_t number)
{
    struct world *w = node->world;
    struct pending_reply *reply, **at = &node->replies;

    if (dice_one(&w->dice, 8))
        return; /* never answers */
    reply = calloc(1, sizeof(*reply));
    if (!reply)
        abort();
    reply->due_ms = w->now_ms + (dice_one(&w->dice, 6) ? (int64_t)dice_below(&w->dice, 20000)
                                                       : (int64_t)dice_below(&w->dice, 50));
    reply->request_id = message->id;
    memcpy(reply->reference, message->reference, sizeof(reply->reference));
    reply->number = number;
    reply->to = w->messages[number].sender;
    reply->topic = w->messages[number].topic;
    while (*at && (*at)->due_ms <= reply->due_ms)
        at = &(*at)->next;
    reply->next = *at;
    *at = reply;
}

static bool is_listening(struct node *reader, const struct sim_message *m)
{
    return node_find_subscription(reader, sim_topics[m->topic].name, false) != NULL;
}

/* By the two clocks and what they may differ by; in clear only the broker counts. */
static bool is_void(const struct node *reader, const struct sim_message *m)
{
    const struct world *w = reader->world;

    return m->expires_ms > 0 && m->lane != LANE_IN_CLEAR &&
           w->now_ms + reader->skew_ms > m->expires_ms + m->skew_ms + w->session.synchrony_bound_ms;
}

static void check_message(struct node *reader, struct aico_message *message)
{
    struct world *w = reader->world;
    struct sim_message *m = identify(w, message);
    uint32_t number = m ? (uint32_t)(m - w->messages) : 0;

    if (!m) {
        sim_fail(w, "%s got a message nobody sent, from %s on %s", reader->name, message->sender,
                 message->topic);
        return;
    }
    sim_note(w, "%s: gets message %u of %s on %s", reader->name, number, message->sender,
             message->topic);
    if (strcmp(message->sender, owner_node_name(m->sender)) != 0)
        sim_fail(w, "%s was told that message %u of %s is of %s", reader->name, number,
                 owner_node_name(m->sender), message->sender);
    else if (strcmp(message->topic, sim_topics[m->topic].name) != 0)
        sim_fail(w, "%s was told that message %u on %s is on %s", reader->name, number,
                 sim_topics[m->topic].name, message->topic);
    else if (!is_intact(w, m, message))
        sim_fail(w, "%s got message %u of %s changed", reader->name, number, message->sender);
    else if (message->sealed != (m->lane != LANE_IN_CLEAR))
        sim_fail(w, "%s got message %u %s", reader->name, number,
                 message->sealed ? "sealed" : "in clear");
    else if (m->sender == reader->index || (m->to >= 0 && m->to != reader->index))
        sim_fail(w, "%s got message %u, which was for another", reader->name, number);
    else if (!was_allowed(w, m, reader->index))
        sim_fail(w, "%s got message %u of %s on %s, which the rules forbid", reader->name, number,
                 message->sender, message->topic);
    else if (m->delivered_to[reader->index] == reader->incarnation && message->number == 0 &&
             m->lane != LANE_VALUE && m->lane != LANE_KEPT && m->lane != LANE_WILL)
        sim_fail(w, "%s got message %u of %s on %s twice", reader->name, number, message->sender,
                 message->topic);
    else if (!is_listening(reader, m))
        sim_fail(w, "%s got message %u on %s without a subscription", reader->name, number,
                 message->topic);
    else if (m->refused && m->refused_code != AICO_ECLOSED && m->pushed_step > w->broker_lost_step)
        sim_fail(w, "%s got message %u of %s, which was refused: %s", reader->name, number,
                 message->sender, aico_error_name(m->refused_code));
    else if (is_void(reader, m))
        sim_fail(w, "%s got message %u of %s after its time to live", reader->name, number,
                 message->sender);
    if (w->failed)
        return;
    if (message->number > 0) {
        book_delivered(reader, message, m);
        w->deliveries++;
        return;
    }
    if (m->lane == LANE_VALUE)
        later_value(reader, message, m);
    else if (m->lane == LANE_KEPT)
        values_delivered(reader, message, m);
    else if (m->lane == LANE_MAIL)
        mail_delivered(reader, message, m);
    else if (m->lane == LANE_WILL)
        later_will(reader, message, m);
    else
        check_order(reader, m, number);
    if (m->lane == LANE_QUEUE && is_worker(reader))
        later_job(reader, m);
    if (message->will && m->lane != LANE_WILL)
        sim_fail(w, "%s was told that message %u of %s is a will", reader->name, number,
                 message->sender);
    m->delivered_to[reader->index] = reader->incarnation;
    w->deliveries++;
    if (message->kind == AICO_MESSAGE_REQUEST)
        expect_reply(reader, message, number);
}

static void note_loss(struct node *reader, const struct aico_message *message)
{
    struct world *w = reader->world;
    int sender = node_index(message->sender), topic = topic_index(message->topic);
    bool gap = message->kind == AICO_MESSAGE_GAP;
    uint64_t count = message->count;
    struct told *told;

    sim_note(w, "%s: %s %llu of %s on %s%s: %s", reader->name, gap ? "misses" : "could not open",
             (unsigned long long)count, message->sender, message->topic,
             message->direct ? " (direct)" : "", message->text);
    if (sender < 0) {
        sim_fail(w, "%s was told of a loss of nobody's (%s)", reader->name, message->sender);
        return;
    }
    told =
        topic < 0 || message->direct ? &reader->told_channel[sender] : &reader->told[sender][topic];
    reader->stored_unopened |= !gap && topic >= 0 && sim_topics[topic].lane == LANE_STORED;
    told->step = w->step;
    later_loss(reader, sender, topic, count);
    mail_loss(reader, sender, topic, count);
    if (gap && count == 0)
        told->unknown = true;
    else if (gap)
        told->gaps += count;
    else
        told->unopened += message->count;
    w->losses += count;
}

static void note_refusal(struct node *node, const struct aico_message *message)
{
    struct world *w = node->world;

    sim_note(w, "%s: message (%llu) on %s is refused: %s: %s", node->name,
             (unsigned long long)message->id, message->topic, aico_error_name(message->code),
             message->text);
    w->refusals++;
    if (message->id == 0 && strcmp(message->topic, "w/one") == 0) {
        node->will = 0;
        return;
    }
    if (message->id == 0) { /* a subscription that a new registry ended */
        for (int i = 0; i < SUBSCRIPTIONS; i++) {
            struct subscription *s = &node->subscriptions[i];

            if (s->used && s->live && strcmp(s->filter, message->topic) == 0) {
                s->used = false;
                if (s->durable)
                    book_lost(node);
                if (i == SUBSCRIPTION_MAIL)
                    mail_lost(node);
                return;
            }
        }
        sim_fail(w, "%s was told that it no longer reads %s, which it did not", node->name,
                 message->topic);
        return;
    }
    for (size_t i = w->message_count; i-- > 0;) {
        struct sim_message *m = &w->messages[i];

        if (m->sender != node->index || m->incarnation != node->incarnation ||
            m->app_id != message->id || m->lane == LANE_REQUEST)
            continue;
        for (int r = 0; r < NODES && m->lane == LANE_TO_READERS; r++) {
            size_t size = strlen(owner_node_name(r));

            if (strncmp(message->text, owner_node_name(r), size) == 0 &&
                strncmp(message->text + size, " did not get it", 15) == 0) {
                m->copy_refused[r] = true;
                return;
            }
        }
        if (m->refused)
            sim_fail(w, "%s was told twice that message %zu was refused", node->name, i);
        m->refused = true;
        m->refused_code = message->code;
        node->tally_refused++;
        return;
    }
    sim_fail(w, "%s was told that message (%llu) was refused, which it never sent", node->name,
             (unsigned long long)message->id);
}

void oracle_tell(struct node *node, struct aico_message *message)
{
    switch (message->kind) {
    case AICO_MESSAGE_EVENT:
    case AICO_MESSAGE_RETAINED:
    case AICO_MESSAGE_REQUEST:
        check_message(node, message);
        break;
    case AICO_MESSAGE_GAP:
    case AICO_MESSAGE_UNOPENED:
        note_loss(node, message);
        break;
    case AICO_MESSAGE_REFUSED:
        note_refusal(node, message);
        break;
    case AICO_MESSAGE_STATE:
        sim_note(node->world, "%s: %s: %s", node->name, aico_error_name(message->code),
                 message->text);
        break;
    case AICO_MESSAGE_RECEIPT: /* nobody here asks */
        sim_fail(node->world, "%s got a receipt", node->name);
        break;
    case AICO_MESSAGE_REPLY:
        sim_fail(node->world, "%s got a reply as a message", node->name);
        break;
    }
}

/* --- promises broken on purpose --------------------------------------------------------------- */

/* A message that the rules keep from @node is shown to it. */
static void leak(struct world *w, struct aico_message *message)
{
    const struct sim_message *m = identify(w, message);

    for (int i = 0; m && i < NODES; i++) {
        struct node *node = &w->nodes[i];

        if (!node->client || node->over || i == m->sender || was_allowed(w, m, i))
            continue;
        w->broke = true;
        oracle_tell(node, message);
        return;
    }
}

/* A counted loss of a slow reader that is there, near the end, so that no later restart makes the
 * count uncertain again. */
static bool is_late_gap(const struct world *w, const struct aico_message *message)
{
    return message->kind == AICO_MESSAGE_GAP && !message->direct &&
           topic_index(message->topic) >= 0 && message->code != AICO_ENOTFOUND &&
           message->code != AICO_EEXPIRED && (w->calm || w->actions * 3 > w->options.steps * 2);
}

/* Whether @message, which came, is shown as it is. */
static bool break_message(struct node *node, struct aico_message *message)
{
    struct world *w = node->world;
    bool event = message->kind == AICO_MESSAGE_EVENT;
    const struct sim_message *m = event ? identify(w, message) : NULL;

    if (w->broke || (w->message_count < 20 && !w->calm))
        return true;
    switch (w->options.breakage) {
    case BREAK_DUPLICATE:
        if (event) {
            w->broke = true;
            oracle_tell(node, message);
        }
        return true;
    case BREAK_LOSS:
        /* One that must come: sealed, in calm. */
        w->broke = event && w->calm && m && m->lane == LANE_BY_GROUP;
        return !w->broke;
    case BREAK_SENDER:
        w->broke = event;
        if (event)
            message->sender = strcmp(message->sender, "alpha") == 0 ? "beta" : "alpha";
        return true;
    case BREAK_TOPIC:
        w->broke = event;
        if (event)
            message->topic = strcmp(message->topic, "g/one") == 0 ? "g/two" : "g/one";
        return true;
    case BREAK_PAYLOAD:
        w->broke = event && message->size > 8;
        if (w->broke)
            *((uint8_t *)(uintptr_t)message->payload + message->size - 1) ^= 1;
        return true;
    case BREAK_LEAK:
        if (event)
            leak(w, message);
        return true;
    case BREAK_GAP:
        w->broke = is_late_gap(w, message);
        return !w->broke;
    case BREAK_DOUBLE:
        w->broke = is_late_gap(w, message);
        if (w->broke)
            oracle_tell(node, message);
        return true;
    case BREAK_REFUSAL:
        w->broke = message->kind == AICO_MESSAGE_REFUSED && message->id > 0;
        return !w->broke;
    case BREAK_FORGOTTEN:
    case BREAK_REPEAT:
        return book_break(node, message);
    case BREAK_MAIL:
    case BREAK_MAILS:
        return mail_break(node, message, identify(w, message));
    case BREAK_LATE:
    case BREAK_DELETED:
        return values_break(node, message, identify(w, message));
    default:
        return later_break(node, message, identify(w, message));
    }
}

/* BREAK_SWAP: of messages; BREAK_OLDER: of stored values. */
static bool may_change_places(struct world *w, const struct aico_message *message)
{
    const struct sim_message *m;

    if (w->broke)
        return false;
    if (w->options.breakage == BREAK_SWAP)
        return message->kind == AICO_MESSAGE_EVENT;
    if (w->options.breakage != BREAK_OLDER || message->kind != AICO_MESSAGE_RETAINED)
        return false;
    m = identify(w, message);
    return m && m->lane == LANE_KEPT;
}

/* Holds one message back until the next of the same sender and topic came. */
static bool swap(struct node *node, struct aico_message *message)
{
    struct world *w = node->world;

    if (!may_change_places(w, message))
        return false;
    if (!w->held) {
        w->held = message;
        w->held_by = node->index;
        return true;
    }
    if (w->held_by != node->index || strcmp(w->held->sender, message->sender) != 0 ||
        strcmp(w->held->topic, message->topic) != 0 || w->held->direct != message->direct)
        return false;
    w->broke = true;
    oracle_tell(node, message);
    oracle_tell(node, w->held);
    aico_message_free(&w->held);
    aico_message_free(&message);
    return true;
}

void oracle_delivered(struct node *node, struct aico_message *message)
{
    node->tally_received += message->kind == AICO_MESSAGE_EVENT ||
                            message->kind == AICO_MESSAGE_RETAINED ||
                            message->kind == AICO_MESSAGE_REQUEST;
    node->tally_gaps += message->kind == AICO_MESSAGE_GAP ? message->count : 0;
    node->tally_unopened += message->kind == AICO_MESSAGE_UNOPENED ? message->count : 0;
    if (swap(node, message) || values_hold(node, message, identify(node->world, message)))
        return;
    if (break_message(node, message))
        oracle_tell(node, message);
    aico_message_free(&message);
}

/* --- answers ---------------------------------------------------------------------------------- */

static void check_reply(struct ticket *ticket, struct aico_message *message)
{
    struct world *w = ticket->node->world;
    struct sim_message *m = identify(w, message);
    uint32_t request = ticket->number;

    if (w->options.breakage == BREAK_REPLY && !w->broke) {
        w->broke = true;
        request++;
    }
    if (!m || m->lane != LANE_REPLY || m->answers != request + 1)
        sim_fail(w, "%s got the reply to another request than %u", ticket->node->name, request);
    else if (!is_intact(w, m, message))
        sim_fail(w, "%s got a changed reply", ticket->node->name);
    else if (strcmp(message->sender, owner_node_name(m->sender)) != 0)
        sim_fail(w, "%s was told the wrong sender of a reply", ticket->node->name);
    else if (m->delivered_to[ticket->node->index])
        sim_fail(w, "%s got a reply twice", ticket->node->name);
    else
        m->delivered_to[ticket->node->index] = ticket->incarnation;
    w->replies++;
}

void oracle_done(struct ticket *ticket, const struct client_answer *answer)
{
    struct node *node = ticket->node;
    struct world *w = node->world;
    struct subscription *s = &node->subscriptions[ticket->subscription];
    struct aico_message *reply = answer->message;

    sim_note(w, "%s: done %d: %s: %s", node->name, (int)ticket->kind, aico_error_name(answer->code),
             answer->text);
    if (ticket->done)
        sim_fail(w, "%s: an operation ended twice", node->name);
    if (w->now_ms > ticket->deadline_ms)
        sim_fail(w, "%s: an operation ended %lld ms late", node->name,
                 (long long)(w->now_ms - ticket->deadline_ms));
    ticket->done = true;
    ticket->code = answer->code;
    if (ticket->kind == TICKET_SUBSCRIBE && ticket->incarnation == node->incarnation) {
        s->used = answer->code == 0;
        s->live = answer->code == 0;
        s->number = answer->subscription;
        s->live_step = w->step;
        if (s->durable && !s->live)
            book_lost(node);
        if (ticket->subscription == SUBSCRIPTION_MAIL && !s->live)
            mail_lost(node);
    }
    if (ticket->kind == TICKET_REQUEST && answer->code == 0)
        check_reply(ticket, reply);
    if (reply)
        aico_message_free(&reply);
}

/* --- at every step ---------------------------------------------------------------------------- */

static void check_broker(struct world *w)
{
    struct broker_totals t;

    broker_get_totals(w->broker, &t);
    if (!broker_totals_balance(&t))
        sim_fail(w,
                 "broker: routed %llu, delivered %llu, dropped %llu, queued %llu; to one component "
                 "%llu, %llu, %llu, %llu; requests %llu, answered %llu, not %llu, open %llu",
                 (unsigned long long)t.by_topic.routed, (unsigned long long)t.by_topic.delivered,
                 (unsigned long long)broker_flow_dropped(&t.by_topic),
                 (unsigned long long)t.by_topic.queued, (unsigned long long)t.to_one.routed,
                 (unsigned long long)t.to_one.delivered,
                 (unsigned long long)broker_flow_dropped(&t.to_one),
                 (unsigned long long)t.to_one.queued, (unsigned long long)t.requests.asked,
                 (unsigned long long)t.requests.answered, (unsigned long long)t.requests.unanswered,
                 (unsigned long long)t.requests.open);
    book_check_books(w, &t);
}

void oracle_step(struct world *w)
{
    struct ticket **at = &w->tickets;

    if (w->broker && w->step % 16 == 0)
        check_broker(w);
    while (*at) {
        struct ticket *ticket = *at;

        if (!ticket->done && w->now_ms > ticket->deadline_ms) {
            sim_fail(w, "%s: an operation (%d) hangs", ticket->node->name, (int)ticket->kind);
            return;
        }
        if (ticket->done) {
            *at = ticket->next;
            free(ticket);
        } else {
            at = &ticket->next;
        }
    }
}

/* What the client says of itself is what happened. */
void oracle_node(struct node *node)
{
    struct world *w = node->world;
    struct aico_client_stats stats;

    client_get_stats(node->client, &stats);
    /* More while copies for readers wait as well: of those at the end. */
    if (stats.published > stats.acknowledged + stats.refused + stats.queued + stats.unacknowledged)
        sim_fail(w, "%s: published %llu, acknowledged %llu, refused %llu, queued %llu, sent %llu",
                 node->name, (unsigned long long)stats.published,
                 (unsigned long long)stats.acknowledged, (unsigned long long)stats.refused,
                 (unsigned long long)stats.queued, (unsigned long long)stats.unacknowledged);
    if (stats.refused != node->tally_refused)
        sim_fail(w, "%s counts %llu refused, was told of %llu", node->name,
                 (unsigned long long)stats.refused, (unsigned long long)node->tally_refused);
    if (stats.received != node->tally_received || stats.gaps != node->tally_gaps ||
        stats.unopened != node->tally_unopened)
        sim_fail(w, "%s counts received %llu gaps %llu unopened %llu, was told %llu %llu %llu",
                 node->name, (unsigned long long)stats.received, (unsigned long long)stats.gaps,
                 (unsigned long long)stats.unopened, (unsigned long long)node->tally_received,
                 (unsigned long long)node->tally_gaps, (unsigned long long)node->tally_unopened);
}

/* --- at the end ------------------------------------------------------------------------------- */

void oracle_calm(struct world *w)
{
    for (int i = 0; i < NODES && !w->failed; i++) {
        struct node *node = &w->nodes[i];

        if (!owner_is_active(w, w->version, i))
            continue;
        if (!node->client || node->over || !client_is_ready(node->client))
            sim_fail(w, "%s is not connected in calm", node->name);
        else if (client_queued(node->client) > 0 || client_unacknowledged(node->client) > 0)
            sim_fail(w, "%s: %zu messages queued, %zu unanswered in calm", node->name,
                     client_queued(node->client), client_unacknowledged(node->client));
    }
}

enum owed {
    OWED,    /* must have been delivered or reported */
    MAYBE,   /* both is right */
    NOT_OWED /* must not be reported */
};

bool oracle_allowed_throughout(const struct world *w, const struct sim_message *m, int reader)
{
    for (uint64_t v = m->version; v <= w->version; v++)
        if (!owner_allows(w, v, m->sender, reader, m->topic))
            return false;
    return true;
}

/* Whether @reader may not have been there when @m came. */
bool oracle_was_away(const struct node *reader, const struct sim_message *m)
{
    return reader->link_lost_step >= m->pushed_step ||
           m->pushed_ms - reader->ready_ms <= SETTLED_MS;
}

/* Whether @other, of the same sender and topic, was surely sealed in the same generation as @m, and
 * @reader got it. */
static bool is_neighbour(const struct node *reader, const struct sim_message *m,
                         const struct sim_message *other)
{
    return other->sender == m->sender && other->topic == m->topic && other->to < 0 &&
           other->incarnation == m->incarnation && other->version == m->settled_version &&
           other->settled_version == m->settled_version &&
           other->delivered_to[reader->index] == reader->incarnation;
}

/* Whether @reader got a message before @m and one after it, so that it sees what lies between. */
static bool is_between(const struct node *reader, const struct sim_message *m)
{
    const struct world *w = reader->world;
    bool before = false, after = false;

    if (w->rotates)
        return false;
    for (const struct sim_message *other = m; !before && other-- > w->messages;)
        before = is_neighbour(reader, m, other);
    for (const struct sim_message *other = m + 1;
         before && !after && other < w->messages + w->message_count; other++)
        after = is_neighbour(reader, m, other);
    return after;
}

static enum owed owed_to(struct node *reader, const struct sim_message *m)
{
    struct world *w = reader->world;
    const struct node *sender = &w->nodes[m->sender];
    const char *topic = sim_topics[m->topic].name;
    uint64_t asked_step = reader->asked_step[m->topic];
    const struct subscription *live = node_find_subscription(reader, topic, true);

    if (!asked_step || (m->settled_step && m->settled_step < asked_step))
        return NOT_OWED;
    if (!live || m->pushed_step < live->live_step || m->incarnation != sender->incarnation ||
        !sender->client || sender->over || m->refused ||
        !oracle_allowed_throughout(w, m, reader->index))
        return MAYBE;
    if (!oracle_was_away(reader, m))
        return OWED;
    /* Only what is numbered can be missed by who was away, and only between two it got: of what it
     * has never heard anything, or of the end of a generation that is over, it cannot know. */
    return m->lane != LANE_IN_CLEAR && is_between(reader, m) ? OWED : MAYBE;
}

/* By subscription: exact. */
static void account_topic(struct node *reader, int sender, int topic)
{
    struct world *w = reader->world;
    const struct told *told = &reader->told[sender][topic];
    uint64_t missing = 0, maybe = 0, had = 0, count = told->gaps + told->unopened;
    uint32_t example = 0;

    for (size_t i = 0; i < w->message_count; i++) {
        const struct sim_message *m = &w->messages[i];

        if (m->sender != sender || sender == reader->index || m->topic != topic || m->to >= 0)
            continue;
        if (m->delivered_to[reader->index] == reader->incarnation) {
            had += m->unanswered && m->expires_ms > 0;
            continue;
        }
        switch (owed_to(reader, m)) {
        case OWED:
            missing++;
            example = (uint32_t)i;
            if (m->closing)
                sim_fail(w, "%s did not get message %zu of %s on %s, sent in calm", reader->name, i,
                         owner_node_name(sender), sim_topics[topic].name);
            break;
        case MAYBE:
            maybe++;
            break;
        case NOT_OWED:
            break;
        }
    }
    if (!told->unknown && count < missing)
        sim_fail(w, "%s misses %llu of %s on %s (message %u), and was told of %llu", reader->name,
                 (unsigned long long)missing, owner_node_name(sender), sim_topics[topic].name,
                 example, (unsigned long long)count);
    /* Handed in again to the next broker, where its time was over: decision 76. */
    if (count > missing + maybe + had)
        sim_fail(w, "%s was told that %llu of %s on %s are missing, and misses %llu", reader->name,
                 (unsigned long long)count, owner_node_name(sender), sim_topics[topic].name,
                 (unsigned long long)(missing + maybe));
}

/* Over a channel, while it lasted. */
static bool is_owed_directly(struct node *reader, const struct sim_message *m)
{
    struct world *w = reader->world;
    const struct node *sender = &w->nodes[m->sender];
    const struct subscription *live =
        node_find_subscription(reader, sim_topics[m->topic].name, true);

    if (!live || m->pushed_step < live->live_step || m->incarnation != sender->incarnation ||
        !sender->client || sender->over || m->refused || m->copy_refused[reader->index] ||
        !oracle_allowed_throughout(w, m, reader->index))
        return false;
    return reader->link_lost_step < m->pushed_step && sender->link_lost_step < m->pushed_step &&
           m->pushed_ms - reader->ready_ms > SETTLED_MS &&
           m->pushed_ms - sender->ready_ms > SETTLED_MS;
}

static void account_channel(struct node *reader, int sender)
{
    struct world *w = reader->world;
    const struct told *told = &reader->told_channel[sender];
    uint64_t missing = 0;
    uint32_t example = 0;

    for (size_t i = 0; i < w->message_count; i++) {
        const struct sim_message *m = &w->messages[i];

        if (m->sender != sender || sender == reader->index ||
            (m->lane != LANE_TO_READERS && m->lane != LANE_TO_ONE) ||
            (m->to >= 0 && m->to != reader->index) ||
            m->delivered_to[reader->index] == reader->incarnation || !is_owed_directly(reader, m))
            continue;
        missing++;
        example = (uint32_t)i;
    }
    if (!told->unknown && told->gaps + told->unopened < missing)
        sim_fail(w, "%s misses %llu direct of %s (message %u), and was told of %llu", reader->name,
                 (unsigned long long)missing, owner_node_name(sender), example,
                 (unsigned long long)(told->gaps + told->unopened));
}

/* Refused messages are told to who published them: the client's count, message by message. */
static void account_refusals(struct node *node)
{
    struct world *w = node->world;
    struct aico_client_stats stats;
    uint64_t told = 0;

    client_get_stats(node->client, &stats);
    for (size_t i = 0; i < w->message_count; i++)
        told += w->messages[i].sender == node->index && w->messages[i].refused &&
                w->messages[i].incarnation == node->incarnation;
    if (told != stats.refused)
        sim_fail(w, "%s: %llu messages were refused, %llu refusals were told", node->name,
                 (unsigned long long)stats.refused, (unsigned long long)told);
    if (stats.published != stats.acknowledged + stats.refused)
        sim_fail(w, "%s: published %llu, acknowledged %llu, refused %llu", node->name,
                 (unsigned long long)stats.published, (unsigned long long)stats.acknowledged,
                 (unsigned long long)stats.refused);
}

void oracle_accounts(struct world *w)
{
    for (int i = 0; i < NODES && !w->failed; i++) {
        struct node *reader = &w->nodes[i];

        if (!reader->client || reader->over)
            continue;
        account_refusals(reader);
        for (int sender = 0; sender < NODES; sender++) {
            account_channel(reader, sender);
            for (int topic = 0; topic < TOPICS; topic++)
                if (sim_topics[topic].lane == LANE_BY_GROUP ||
                    sim_topics[topic].lane == LANE_IN_CLEAR ||
                    (sim_topics[topic].lane == LANE_QUEUE && !is_worker(reader)))
                    account_topic(reader, sender, topic);
        }
    }
    if (w->broker)
        check_broker(w);
}
