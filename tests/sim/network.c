/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Links between clients and the broker. Each direction is a queue of frames that arrive in order,
 * each late by a random time, and holds a limited number of bytes. A cut link loses what was on its
 * way behind a random frame, and its two ends learn of it at different times.
 */
#include "sim.h"

static struct link *link_new(struct node *node)
{
    struct world *w = node->world;
    struct link *link = calloc(1, sizeof(*link));

    if (!link)
        abort();
    link->node = node;
    link->client_side = link->broker_side = true;
    link->client_notices_ms = link->broker_notices_ms = MOMENT_NEVER;
    link->up.capacity = (size_t)100000 >> w->shrink << dice_below(&w->dice, 5);
    link->down.capacity = (size_t)100000 >> w->shrink << dice_below(&w->dice, 5);
    link->next = w->links;
    w->links = link;
    return link;
}

static void pipe_clear(struct pipe *pipe)
{
    while (pipe->head) {
        struct frame *frame = pipe->head;

        pipe->head = frame->next;
        free(frame);
    }
    pipe->tail = NULL;
    pipe->bytes = 0;
}

static void link_free(struct link *link)
{
    pipe_clear(&link->up);
    pipe_clear(&link->down);
    for (size_t i = 0; i < NUMBERS_MAX; i++) {
        free(link->topics[i]);
        free(link->components[i]);
    }
    free(link);
}

static bool pipe_has_room(const struct pipe *pipe, size_t size)
{
    return pipe->bytes == 0 || pipe->bytes + size <= pipe->capacity;
}

static void pipe_push(struct world *w, struct pipe *pipe, struct bytes bytes)
{
    struct frame *frame = malloc(sizeof(*frame) + bytes.size);
    int64_t due = w->now_ms;

    if (!frame)
        abort();
    if (!dice_one(&w->dice, 3))
        due += (int64_t)dice_below(&w->dice, (uint64_t)(w->calm ? 20 : w->delay_max_ms) + 1);
    frame->next = NULL;
    frame->due_ms = pipe->last_due_ms = MAX(due, pipe->last_due_ms);
    frame->size = bytes.size;
    bytes_copy(frame->data, bytes);
    if (pipe->tail)
        pipe->tail->next = frame;
    else
        pipe->head = frame;
    pipe->tail = frame;
    pipe->bytes += bytes.size;
}

static struct frame *pipe_pop(struct pipe *pipe)
{
    struct frame *frame = pipe->head;

    pipe->head = frame->next;
    if (!pipe->head)
        pipe->tail = NULL;
    pipe->bytes -= frame->size;
    return frame;
}

/* All but a random number of the frames in front is lost. */
static void pipe_cut(struct world *w, struct pipe *pipe)
{
    struct frame *frame = pipe->head;

    while (frame && !dice_one(&w->dice, 3))
        frame = frame->next;
    if (!frame)
        return;
    while (frame->next) {
        struct frame *gone = frame->next;

        frame->next = gone->next;
        pipe->bytes -= gone->size;
        free(gone);
    }
    pipe->tail = frame;
    if (dice_one(&w->dice, 2) && pipe->head == frame)
        pipe_clear(pipe);
}

static int64_t notice(struct world *w, const struct pipe *pipe)
{
    int64_t last = pipe->tail ? pipe->tail->due_ms : w->now_ms;

    return MAX(last, w->now_ms) + (int64_t)dice_below(&w->dice, 200);
}

void link_cut(struct world *w, struct link *link)
{
    if (link->cut)
        return;
    link->cut = true;
    pipe_cut(w, &link->up);
    pipe_cut(w, &link->down);
    if (link->client_side)
        link->client_notices_ms = notice(w, &link->down);
    if (link->broker_side)
        link->broker_notices_ms = notice(w, &link->up);
    link->node->link_lost_step = w->step;
}

/* The client lets go: what it sent may still arrive. */
void link_close_client(struct link *link)
{
    struct world *w = link->node->world;

    link->client_side = false;
    link->client_notices_ms = MOMENT_NEVER;
    link->node->link = NULL;
    link->node->link_lost_step = w->step;
    pipe_clear(&link->down);
    if (link->broker_side && link->broker_notices_ms == MOMENT_NEVER)
        link->broker_notices_ms = notice(w, &link->up);
    link->cut = true;
}

void link_close_broker(struct world *w, struct link *link)
{
    if (link->peer && w->broker)
        broker_peer_gone(w->broker, broker_moment(w), link->peer);
    link->peer = NULL;
    link->broker_side = false;
    link->broker_notices_ms = MOMENT_NEVER;
    link->node->link_lost_step = w->step;
    pipe_clear(&link->up);
    if (link->client_side && link->client_notices_ms == MOMENT_NEVER)
        link->client_notices_ms = notice(w, &link->down);
    link->cut = true;
    w->broker_dirty = true;
}

void links_sweep(struct world *w)
{
    for (struct link **at = &w->links; *at;) {
        struct link *link = *at;

        if (link->client_side || link->broker_side) {
            at = &link->next;
            continue;
        }
        *at = link->next;
        link_free(link);
    }
}

void links_free(struct world *w)
{
    while (w->links) {
        struct link *link = w->links;

        w->links = link->next;
        link_free(link);
    }
}

/* The transport's handshake is over. */
void link_connect(struct node *node)
{
    struct world *w = node->world;
    struct link *link;
    int code = AICO_EUNREACHABLE;

    node->dialing = false;
    if (!node->client)
        return;
    if (!w->broker) {
        client_link_down(node->client, node_moment(node), code, "nobody listens");
        node_settle(node);
        return;
    }
    link = link_new(node);
    link->peer = broker_peer_open(w->broker, broker_moment(w), bytes_text(node->name),
                                  node->identity->public, "sim", link, &code);
    if (!link->peer) {
        /* What the transport says of a key the broker does not take. */
        link->client_side = link->broker_side = false;
        sim_note(w, "%s: the broker takes no link: %s", node->name, aico_error_name(code));
        client_link_down(node->client, node_moment(node), code, "not taken");
        node_settle(node);
        return;
    }
    node->link = link;
    w->reconnects++;
    if (node->will)
        w->messages[node->will - 1].sessions++;
    sim_note(w, "%s: link up", node->name);
    client_link_up(node->client, node_moment(node));
    node_settle(node);
    w->broker_dirty = true;
}

void pipe_up_deliver(struct world *w, struct link *link)
{
    struct frame *frame = pipe_pop(&link->up);

    sim_note(w, "%s -> broker %zu", link->node->name, frame->size);
    (void)broker_peer_receive(w->broker, broker_moment(w), link->peer,
                              bytes_of(frame->data, frame->size));
    w->broker_dirty = true;
    link->node->dirty = true; /* there is room again */
    free(frame);
}

void pipe_down_deliver(struct world *w, struct link *link)
{
    struct frame *frame = pipe_pop(&link->down);
    struct node *node = link->node;
    int r;

    sim_note(w, "broker -> %s %zu", node->name, frame->size);
    r = client_receive(node->client, node_moment(node), bytes_of(frame->data, frame->size));
    free(frame);
    if (link->peer && link->broker_blocked) {
        link->broker_blocked = false;
        broker_peer_writable(w->broker, link->peer);
        w->broker_dirty = true;
    }
    if (r < 0)
        sim_note(w, "%s: leaves the link: %s", node->name, aico_error_name(r));
    if (r == AICO_EPROTO)
        sim_fail(w, "%s: the broker broke the protocol", node->name);
    node_settle(node);
}

/* One frame of a client, if it has one. */
void client_output(struct node *node)
{
    struct world *w = node->world;
    struct bytes frame;

    node->dirty = false;
    node->touched = true;
    if (!node->client || !node->link)
        return;
    if (!client_next_frame(node->client, node_moment(node), &frame)) {
        node_settle(node);
        node->dirty = false;
        return;
    }
    if (!pipe_has_room(&node->link->up, frame.size))
        return; /* again when there is */
    if (!node->link->cut)
        pipe_push(w, &node->link->up, frame);
    client_frame_sent(node->client, node_moment(node));
    node_settle(node);
}

/* --- what the broker hands out ---------------------------------------------------------------- */

static void learn(char **names, uint32_t number, struct bytes name)
{
    if (number >= NUMBERS_MAX)
        abort();
    free(names[number]);
    names[number] = strndup((const char *)name.at, name.size);
}

static void look_at_record(struct world *w, struct link *link, const struct record *record)
{
    struct record_component component;
    struct record_deliver deliver;
    struct record_topic topic;
    char name[256] = "";

    if (record->type == RECORD_TOPIC && record_parse_topic(record, &topic) == 0)
        learn(link->topics, topic.number, topic.topic);
    if (record->type == RECORD_COMPONENT && record_parse_component(record, &component) == 0)
        learn(link->components, component.number, component.name);
    if (record->type != RECORD_DELIVER || record_parse_deliver(record, &deliver) < 0 ||
        deliver.sender == COMPONENT_NUMBER_BROKER || deliver.topic == TOPIC_NUMBER_CONTROL ||
        deliver.topic == TOPIC_NUMBER_HEADS)
        return;
    if (deliver.topic == 0)
        bytes_copy(name, deliver.topic_name);
    oracle_handed_out(w, link, link->components[deliver.sender],
                      deliver.topic ? link->topics[deliver.topic] : name, &deliver);
}

static void look_at_frame(struct world *w, struct link *link, struct bytes frame)
{
    struct record record;
    struct reader records;

    if (frame_open(frame, &records) < 0)
        sim_fail(w, "the broker made a frame that does not open");
    while (!w->failed && frame_next(&records, &record) == 1)
        look_at_record(w, link, &record);
}

/* The oldest session of @name that the broker has ended by itself. */
static void note_ended(struct world *w, const char *name)
{
    struct link *ended = NULL;

    for (struct link *link = w->links; link; link = link->next)
        if (link->peer && !link->ended && strcmp(link->node->name, name) == 0)
            ended = link;
    if (ended)
        ended->ended = true;
}

void broker_events(struct world *w)
{
    struct broker_event event;

    while (broker_next_event(w->broker, &event)) {
        if (event.kind != BROKER_EVENT_DENIED)
            sim_note(w, "broker: %s %s", event.name, event.text);
        if (event.kind == BROKER_EVENT_KICKED)
            note_ended(w, event.name);
    }
}

/* One frame, or one link to cut. */
void broker_output(struct world *w)
{
    struct broker_peer *peer;
    struct bytes frame;
    struct link *link;
    bool has_more;
    int code;

    broker_events(w);
    has_more = broker_work(w->broker, broker_moment(w));
    store_take(w);
    if (broker_next_frame(w->broker, broker_moment(w), &peer, &frame)) {
        link = broker_peer_cookie(peer);
        if (!link->cut && !pipe_has_room(&link->down, frame.size)) {
            link->broker_blocked = true;
            broker_frame_blocked(w->broker, peer);
            return;
        }
        look_at_frame(w, link, frame);
        if (!link->cut)
            pipe_push(w, &link->down, frame);
        broker_frame_sent(w->broker, peer);
    } else if (broker_next_kick(w->broker, broker_moment(w), &peer, &code)) {
        link = broker_peer_cookie(peer);
        sim_note(w, "broker: cuts %s: %s", link->node->name, aico_error_name(code));
        link_close_broker(w, link);
    } else {
        w->broker_dirty = has_more;
        if (w->draining && broker_is_drained(w->broker))
            broker_stop(w, STORE_END_ORDERLY);
    }
}

void broker_start(struct world *w)
{
    sim_note(w, "broker: starts");
    if (broker_new(&w->broker_settings, w->versions[w->version], broker_moment(w), &w->broker) < 0)
        abort();
    store_start(w);
    w->draining = false;
    w->broker_dirty = true;
}

void broker_stop(struct world *w, enum store_end end)
{
    sim_note(w, "broker: stops%s",
             end == STORE_END_KILLED  ? " dead"
             : end == STORE_END_POWER ? " without power"
                                      : "");
    w->broker_kills += end != STORE_END_ORDERLY;
    w->power_cuts += end == STORE_END_POWER;
    for (struct link *link = w->links; link; link = link->next) {
        if (!link->broker_side)
            continue;
        link->peer = NULL; /* freed with the broker */
        link->broker_side = false;
        link->broker_notices_ms = MOMENT_NEVER;
        link->node->link_lost_step = w->step;
        if (!link->cut) {
            link->cut = true;
            pipe_cut(w, &link->down);
            if (link->client_side)
                link->client_notices_ms = notice(w, &link->down);
        }
    }
    store_stop(w, end);
    broker_free(&w->broker);
    for (size_t i = 0; i < w->message_count; i++)
        w->messages[i].unanswered |= w->messages[i].settled_step == 0;
    w->broker_lost_step = w->step;
    w->broker_start_ms = w->now_ms + (int64_t)dice_below(&w->dice, 8000);
    w->broker_dirty = false;
}
