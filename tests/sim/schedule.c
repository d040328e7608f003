/* SPDX-License-Identifier: Apache-2.0 */
/* Which of the things that may happen happens next; time moves on when none may. */
#include "sim.h"

#define MAY_MAX 256
#define STEPS_WITHOUT_TIME 200000

struct moment broker_moment(const struct world *w)
{
    return (struct moment){START_MS + w->now_ms, 1000000 + w->now_ms};
}

enum what {
    PIPE_UP,
    PIPE_DOWN,
    CLIENT_NOTICES,
    BROKER_NOTICES,
    CLIENT_OUTPUT,
    BROKER_OUTPUT,
    CLIENT_TICK,
    BROKER_TICK,
    BROKER_START,
    CONNECT,
    REPLY,
    FOLLOW,
    SETTLE,
    LISTEN,
    TAKE,
    STORE_WORK,
    STORE_ANSWER,
    READ_AGAIN,
    RESTART,
    ACTION,
};

struct may {
    enum what what;
    struct link *link;
    struct node *node;
};

struct list {
    struct may all[MAY_MAX];
    size_t count;
    int64_t now_ms, next_ms; /* of what may not happen yet, the first */
};

static void may(struct list *list, int64_t due_ms, enum what what, struct node *node,
                struct link *link)
{
    if (due_ms > list->now_ms)
        list->next_ms = MIN(list->next_ms, due_ms);
    else if (list->count < MAY_MAX)
        list->all[list->count++] = (struct may){what, link, node};
}

static void look_at_links(const struct world *w, struct list *list)
{
    for (struct link *link = w->links; link; link = link->next) {
        if (link->up.head && link->peer)
            may(list, link->up.head->due_ms, PIPE_UP, link->node, link);
        else if (link->broker_side && link->broker_notices_ms != MOMENT_NEVER)
            may(list, link->broker_notices_ms, BROKER_NOTICES, link->node, link);
        if (link->down.head && link->client_side)
            may(list, link->down.head->due_ms, PIPE_DOWN, link->node, link);
        else if (link->client_side && link->client_notices_ms != MOMENT_NEVER)
            may(list, link->client_notices_ms, CLIENT_NOTICES, link->node, link);
    }
}

static void look_at_node(const struct world *w, struct list *list, struct node *node)
{
    if (!node->client || node->over) {
        may(list, node->restart_ms, RESTART, node, NULL);
        return;
    }
    if (node->dirty && node->link)
        may(list, w->now_ms, CLIENT_OUTPUT, node, NULL);
    if (node->dialing)
        may(list, node->connect_ms, CONNECT, node, NULL);
    if (node->touched)
        node->deadline_ms = client_deadline(node->client);
    node->touched = false;
    if (node->deadline_ms != MOMENT_NEVER)
        may(list, node->deadline_ms - node->boot_ms, CLIENT_TICK, node, NULL);
    if (node->replies)
        may(list, node->replies->due_ms, REPLY, node, NULL);
    if (node->follow_ms != MOMENT_NEVER)
        may(list, node->follow_ms, FOLLOW, node, NULL);
    if (node->settling)
        may(list, book_settle_due(node), SETTLE, node, NULL);
    if (node->listen_ms != MOMENT_NEVER)
        may(list, node->listen_ms, LISTEN, node, NULL);
    if (node->take_ms != MOMENT_NEVER)
        may(list, node->take_ms, TAKE, node, NULL);
    if (node->backlogged)
        may(list, node->backlog_until_ms, READ_AGAIN, node, NULL);
}

static void look_at_store(const struct world *w, struct list *list)
{
    int64_t due_ms;

    if (store_is_due(w, STORE_STAGE_WORK, &due_ms))
        may(list, due_ms, STORE_WORK, NULL, NULL);
    if (store_is_due(w, STORE_STAGE_ANSWER, &due_ms))
        may(list, due_ms, STORE_ANSWER, NULL, NULL);
}

static void look(struct world *w, struct list *list)
{
    list->count = 0;
    list->now_ms = w->now_ms;
    list->next_ms = MOMENT_NEVER;
    look_at_links(w, list);
    for (int i = 0; i < NODES; i++)
        look_at_node(w, list, &w->nodes[i]);
    if (!w->broker) {
        may(list, w->broker_start_ms, BROKER_START, NULL, NULL);
    } else {
        look_at_store(w, list);
        if (w->broker_dirty)
            may(list, w->now_ms, BROKER_OUTPUT, NULL, NULL);
        if (broker_deadline(w->broker) != MOMENT_NEVER)
            may(list, broker_deadline(w->broker) - 1000000, BROKER_TICK, NULL, NULL);
    }
    if (!w->calm)
        may(list, w->next_action_ms, ACTION, NULL, NULL);
}

static void read_again(struct node *node)
{
    sim_note(node->world, "%s: reads again", node->name);
    node->backlogged = false;
    client_set_backlogged(node->client, false);
    node_settle(node);
}

static void happen(struct world *w, const struct may *one)
{
    struct node *node = one->node;
    struct pending_reply *reply;

    switch (one->what) {
    case PIPE_UP:
        pipe_up_deliver(w, one->link);
        break;
    case PIPE_DOWN:
        pipe_down_deliver(w, one->link);
        break;
    case BROKER_NOTICES:
        sim_note(w, "broker: sees that %s is gone", node->name);
        link_close_broker(w, one->link);
        break;
    case CLIENT_NOTICES:
        sim_note(w, "%s: link down", node->name);
        link_close_client(one->link);
        client_link_down(node->client, node_moment(node), AICO_EUNREACHABLE, "link lost");
        node_settle(node);
        break;
    case CLIENT_OUTPUT:
        client_output(node);
        break;
    case BROKER_OUTPUT:
        broker_output(w);
        break;
    case CLIENT_TICK:
        client_tick(node->client, node_moment(node));
        node_settle(node);
        break;
    case BROKER_TICK:
        broker_tick(w->broker, broker_moment(w));
        w->broker_dirty = true;
        break;
    case BROKER_START:
        broker_start(w);
        break;
    case CONNECT:
        link_connect(node);
        break;
    case REPLY:
        reply = node->replies;
        node->replies = reply->next;
        node_reply(node, reply);
        free(reply);
        break;
    case FOLLOW:
        book_follow(node);
        break;
    case SETTLE:
        book_settle(node);
        break;
    case LISTEN:
        mail_listen(node);
        break;
    case TAKE:
        mail_take(node);
        break;
    case STORE_WORK:
        store_work(w);
        break;
    case STORE_ANSWER:
        store_answer(w);
        break;
    case READ_AGAIN:
        read_again(node);
        break;
    case RESTART:
        node_stop(node, false);
        if (owner_is_active(w, w->version, node->index))
            node_start(node);
        else
            node->restart_ms = w->now_ms + 5000;
        break;
    case ACTION:
        w->actions++;
        workload_act(w);
        w->next_action_ms =
            w->now_ms + (dice_one(&w->dice, 3) ? 0 : (int64_t)dice_below(&w->dice, 400));
        if (dice_one(&w->dice, 60))
            w->next_action_ms += (int64_t)dice_below(&w->dice, 90000);
        break;
    }
}

void schedule_run(struct world *w, int64_t until_ms)
{
    uint64_t at_once = 0;
    struct list list;

    while (!w->failed && (until_ms != MOMENT_NEVER || w->actions < w->options.steps)) {
        look(w, &list);
        if (list.count == 0) {
            int64_t next = MIN(list.next_ms, until_ms);

            if (next == MOMENT_NEVER) {
                sim_fail(w, "nothing can happen any more");
                return;
            }
            w->now_ms = next;
            at_once = 0;
            if (next == until_ms)
                return;
            continue;
        }
        if (++at_once > STEPS_WITHOUT_TIME) {
            sim_fail(w, "time stands still: what is due stays due (%d)", (int)list.all[0].what);
            return;
        }
        w->step++;
        happen(w, &list.all[dice_below(&w->dice, list.count)]);
        links_sweep(w);
        oracle_step(w);
    }
}
