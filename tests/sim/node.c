/* SPDX-License-Identifier: Apache-2.0 */
/* A component: its client core, what its application does, and what it is told. */
#include "envelope/headers.h"
#include "sim.h"
#include "wire/topic.h"

struct moment node_moment(const struct node *node)
{
    return (struct moment){START_MS + node->world->now_ms + node->skew_ms,
                           node->boot_ms + node->world->now_ms};
}

void node_set_clock(struct node *node)
{
    node->skew_ms = (int64_t)dice_below(&node->world->dice, 29000) - 14500;
}

static void dice_source_bytes(void *context, void *to, size_t size)
{
    uint8_t *at = to;

    for (size_t i = 0; i < size; i++)
        at[i] = (uint8_t)dice_next(context);
}

static void dice_source_times(void *context, uint64_t *ret_real_ns, uint64_t *ret_boot_ns,
                              uint64_t *ret_pid)
{
    *ret_real_ns = dice_next(context);
    *ret_boot_ns = 1;
    *ret_pid = 2;
}

/* --- what the core asks of its host ----------------------------------------------------------- */

/* Looked at when the core has returned: it must not be called from inside. */
static void host_deliver(void *context, struct aico_message *message)
{
    struct node *node = context;
    struct inbox *item = malloc(sizeof(*item));

    if (!item)
        abort();
    item->next = NULL;
    item->message = message;
    *node->inbox_end = item;
    node->inbox_end = &item->next;
}

static void host_done(void *context, void *ticket, const struct client_answer *answer)
{
    struct node *node = context;

    if (node->world->options.breakage == BREAK_HANG && !node->world->broke && answer->code == 0 &&
        dice_one(&node->world->dice, 10)) {
        node->world->broke = true;
        return;
    }
    oracle_done(ticket, answer);
}

static int host_persist(void *context, uint64_t generation)
{
    struct node *node = context;

    if (generation <= node->generation)
        sim_fail(node->world, "%s: generation %llu is stored after %llu", node->name,
                 (unsigned long long)generation, (unsigned long long)node->generation);
    node->generation = generation;
    return 0;
}

static void host_registry(void *context, struct registry *registry)
{
    struct node *node = context;

    registry_unref(&node->registry);
    node->registry = registry_ref(registry);
}

static void leave_will(struct node *node);

/* --- life ------------------------------------------------------------------------------------- */

void node_start(struct node *node)
{
    struct world *w = node->world;
    struct client_settings settings = {
        .session = w->session,
        .instance = dice_next(&node->dice) | 1,
        .window = 131072u << dice_below(&w->dice, 4),
        .auto_reconnect = true,
        .wait_for_broker = true,
        .seal_none_allowed = true,
        .software = "sim",
        .replay = w->stores ? book_keeper(node) : NULL,
    };
    struct client_host host = {
        .context = node,
        .deliver = host_deliver,
        .done = host_done,
        .persist_generation = host_persist,
        .registry_changed = host_registry,
        .persist_chains = book_keep_chains,
    };
    struct random_source random = {dice_source_bytes, dice_source_times, &node->dice};
    struct aico_error err = {0};
    int r;

    if (w->stores)
        mail_settings(node, &settings.session);
    /* Whoever was away for long gets the registry by hand. */
    if (!node->registry || !owner_is_active(w, registry_version(node->registry), node->index)) {
        registry_unref(&node->registry);
        node->registry = registry_ref(w->versions[w->version]);
    }
    node->incarnation++;
    node->next_app_id = 1;
    node->dialing = node->backlogged = node->over = node->unanswered = false;
    node->ready_ms = MOMENT_NEVER;
    node->restart_ms = MOMENT_NEVER;
    memset(node->subscriptions, 0, sizeof(node->subscriptions));
    memset(node->told, 0, sizeof(node->told));
    memset(node->shown, 0, sizeof(node->shown));
    memset(node->late, 0, sizeof(node->late));
    memset(node->told_channel, 0, sizeof(node->told_channel));
    memset(node->last_order, 0, sizeof(node->last_order));
    memset(node->published_on, 0, sizeof(node->published_on));
    memset(node->listened, 0, sizeof(node->listened));
    memset(node->asked_step, 0, sizeof(node->asked_step));
    node->tally_received = node->tally_gaps = node->tally_refused = node->tally_unopened = 0;
    node->inbox = NULL;
    node->inbox_end = &node->inbox;
    sim_note(w, "%s: starts, run %u", node->name, node->incarnation);
    r = client_new(&settings, node->identity, node->registry, random, node->generation, &host,
                   node_moment(node), &node->client, &err);
    if (r < 0)
        sim_note(w, "%s: cannot start: %s", node->name, err.text);
    if (r < 0 && r != AICO_EREVOKED)
        sim_fail(w, "%s: cannot start: %s", node->name, err.text);
    if (r < 0) {
        node->restart_ms = w->now_ms + 5000;
        return;
    }
    if (node->chains.size > 0 &&
        client_load_chains(node->client, node_moment(node), buffer_view(&node->chains)) < 0)
        sim_fail(w, "%s: what opens stored messages does not load", node->name);
    leave_will(node);
    node_settle(node);
    node->follow_ms = node->is_durable ? w->now_ms : MOMENT_NEVER;
    if (w->stores)
        mail_lost(node);
    workload_begin(node);
}

static void replies_free(struct node *node)
{
    while (node->replies) {
        struct pending_reply *reply = node->replies;

        node->replies = reply->next;
        free(reply);
    }
}

static void inbox_take(struct node *node)
{
    while (node->inbox) {
        struct inbox *item = node->inbox;

        node->inbox = item->next;
        if (!node->inbox)
            node->inbox_end = &node->inbox;
        oracle_delivered(node, item->message);
        free(item);
    }
}

/* Sends everything, and goodbye, into the link as far as it takes it. */
static void say_goodbye(struct node *node)
{
    uint8_t room[64];
    struct writer w = writer_over(room, sizeof(room));

    client_close(node->client, node_moment(node));
    for (int i = 0; i < 100 && node->link; i++) {
        struct bytes frame;

        if (!client_next_frame(node->client, node_moment(node), &frame))
            break;
        node->link->up.capacity = SIZE_MAX / 2;
        client_output(node);
    }
    inbox_take(node);
    if (!node->link || node->link->cut || !client_is_ready(node->client))
        return;
    writer_u8(&w, WIRE_VERSION);
    record_write_bye(&w, &(struct record_bye){.code = 0});
    if (node->link->peer) {
        struct link *link = node->link;

        while (link->up.head && link->peer)
            pipe_up_deliver(node->world, link);
        broker_events(node->world);
        if (link->peer)
            (void)broker_peer_receive(node->world->broker, broker_moment(node->world), link->peer,
                                      writer_view(&w));
        if (node->will && !link->ended) /* taken back; else it was too late */
            node->world->messages[node->will - 1].sessions--;
        node->world->broker_dirty = true;
    }
}

void node_stop(struct node *node, bool orderly)
{
    struct world *w = node->world;

    if (!node->client)
        return;
    sim_note(w, "%s: stops%s", node->name, orderly ? "" : " dead");
    w->node_kills += !orderly && !node->over;
    if (orderly)
        say_goodbye(node);
    if (!orderly && node->link)
        link_cut(w, node->link);
    if (node->link)
        link_close_client(node->link);
    node->dialing = false;
    client_free(&node->client);
    inbox_take(node);
    replies_free(node);
    book_ended(node);
    mail_ended(node);
    registry_unref(&node->registry);
    node->registry = registry_ref(w->versions[w->version]); /* by hand, while it was off */
    if (dice_one(&w->dice, 2) && w->version > 1 &&
        owner_is_active(w, w->version - 1, node->index)) {
        registry_unref(&node->registry); /* or not */
        node->registry = registry_ref(w->versions[w->version - 1]);
    }
}

static void note_end(struct node *node)
{
    struct world *w = node->world;
    const char *text;
    int code;

    if (!client_is_ended(node->client, &code, &text))
        return;
    sim_note(w, "%s: ended: %s: %s", node->name, aico_error_name(code), text);
    if (code != AICO_EREVOKED && code != AICO_EDUPLICATE && code != AICO_EUNKNOWN)
        sim_fail(w, "%s ended: %s: %s", node->name, aico_error_name(code), text);
    node->over = true;
    node->ready_ms = MOMENT_NEVER;
    node->restart_ms = w->now_ms + 1000 + (int64_t)dice_below(&w->dice, 5000);
}

/* From here on it is known that everything pushed so far was answered. */
static void note_answered(struct node *node)
{
    struct world *w = node->world;

    if (!node->unanswered || client_queued(node->client) > 0 ||
        client_unacknowledged(node->client) > 0)
        return;
    node->unanswered = false;
    for (size_t i = w->message_count; i-- > 0;) {
        struct sim_message *m = &w->messages[i];

        if (m->sender != node->index || m->incarnation != node->incarnation)
            continue;
        if (m->settled_step)
            break;
        m->settled_step = w->step;
        m->settled_version = registry_version(client_registry(node->client));
        mail_answered(w, m);
        values_answered(w, m);
    }
}

void node_settle(struct node *node)
{
    struct world *w = node->world;

    node->dirty = node->touched = true;
    inbox_take(node);
    if (!node->client || node->over)
        return;
    note_end(node);
    if (node->link && !client_has_link(node->client))
        link_close_client(node->link);
    if (node->over)
        return;
    if (!client_is_ready(node->client))
        node->ready_ms = MOMENT_NEVER;
    else if (node->ready_ms == MOMENT_NEVER)
        node->ready_ms = w->now_ms;
    if (client_wants_link(node->client, node_moment(node))) {
        node->dialing = true;
        node->connect_ms = w->now_ms + (int64_t)dice_below(&w->dice, 100);
    }
    note_answered(node);
    oracle_node(node);
}

/* --- what the application does ---------------------------------------------------------------- */

struct ticket *ticket_new(struct node *node, enum ticket_kind kind, int64_t timeout_ms)
{
    struct ticket *ticket = calloc(1, sizeof(*ticket));

    if (!ticket)
        abort();
    ticket->node = node;
    ticket->kind = kind;
    ticket->incarnation = node->incarnation;
    ticket->deadline_ms = node->world->now_ms + timeout_ms;
    ticket->next = node->world->tickets;
    node->world->tickets = ticket;
    return ticket;
}

/* Payloads are pieces of one long row of random bytes, beginning at different places, behind number
 * and size. */
#define PAYLOAD_PLACES (1u << 16)

static const uint8_t *payload_row(void)
{
    static uint8_t row[PAYLOAD_PLACES + PAYLOAD_MAX];
    static bool is_filled;
    struct dice dice = {1};

    if (!is_filled)
        dice_source_bytes(&dice, row, sizeof(row));
    is_filled = true;
    return row;
}

static const uint8_t *payload_piece(uint32_t number)
{
    return payload_row() + number * 40503u % PAYLOAD_PLACES;
}

void payload_write(uint32_t number, uint8_t *to, size_t size)
{
    uint32_t head[2] = {number, (uint32_t)size};

    memcpy(to, payload_piece(number), size);
    if (size >= sizeof(head))
        memcpy(to, head, sizeof(head));
}

bool payload_is(uint32_t number, const uint8_t *at, size_t size)
{
    uint32_t head[2] = {number, (uint32_t)size};
    size_t behind = size >= sizeof(head) ? sizeof(head) : 0;

    return memcmp(at, head, behind) == 0 &&
           memcmp(at + behind, payload_piece(number) + behind, size - behind) == 0;
}

static struct sim_message *message_new(struct node *node, int topic, enum lane lane, size_t size)
{
    struct world *w = node->world;
    struct sim_message *m;

    if (w->message_count == w->message_capacity) {
        w->message_capacity = MAX(w->message_capacity * 2, (size_t)1024);
        w->messages = realloc(w->messages, w->message_capacity * sizeof(*w->messages));
        if (!w->messages)
            abort();
    }
    node->unanswered = true;
    m = &w->messages[w->message_count++];
    *m = (struct sim_message){
        .sender = (uint8_t)node->index,
        .topic = (uint8_t)topic,
        .lane = (uint8_t)lane,
        .to = -1,
        .incarnation = node->incarnation,
        .size = (uint32_t)size,
        .pushed_step = w->step,
        .pushed_ms = w->now_ms,
        .version = registry_version(client_registry(node->client)),
    };
    if (lane == LANE_STORED)
        book_new(m);
    return m;
}

/* Whether an application may say until when it is good. */
static bool may_expire(const struct sim_message *m)
{
    return !m->closing &&
           (m->lane == LANE_BY_GROUP || m->lane == LANE_IN_CLEAR || m->lane == LANE_TO_READERS ||
            m->lane == LANE_TO_ONE || m->lane == LANE_MAIL || m->lane == LANE_KEPT);
}

static uint8_t delivery_of(const struct sim_message *m)
{
    switch (m->lane) {
    case LANE_VALUE:
    case LANE_KEPT:
        return DELIVERY_RETAINED;
    case LANE_MAIL:
        return DELIVERY_MAILBOX;
    default:
        return DELIVERY_EVENT;
    }
}

static void push(struct node *node, struct sim_message *m, const char *to,
                 const struct pending_reply *reply)
{
    struct world *w = node->world;
    uint32_t number = (uint32_t)(m - w->messages);
    struct bytes topic = bytes_text(sim_topics[m->topic].name);
    CLEANUP(free_memory)
    uint8_t *payload = malloc(m->size + 1);
    uint8_t room[256];
    struct writer headers = writer_over(room, sizeof(room));
    struct outgoing head = {0};
    struct fifo queue = {0};
    uint32_t ttl_ms =
        may_expire(m) && dice_one(&w->dice, 8) ? 1 + (uint32_t)dice_below(&w->dice, 20000) : 0;
    char text[16];

    if (!payload)
        abort();
    payload_write(number, payload, m->size);
    m->has_headers = m->lane != LANE_IN_CLEAR && (m->size < 8 || dice_one(&w->dice, 5));
    m->skew_ms = node->skew_ms;
    if (ttl_ms > 0)
        m->expires_ms = w->now_ms + ttl_ms;
    if (ttl_ms > 0 && m->lane != LANE_IN_CLEAR)
        header_write_until(&headers, node_moment(node).real_ms + ttl_ms);
    if (m->has_headers) {
        (void)snprintf(text, sizeof(text), "%u", number);
        if (header_write(&headers, bytes_text("n"), bytes_text(text)) < 0)
            abort();
    }
    m->app_id = node->next_app_id++;
    head = (struct outgoing){
        .id = m->app_id,
        .payload_size = m->size,
        .headers_size = (uint16_t)headers.size,
        .topic_size = (uint8_t)topic.size,
        .to_size = (uint8_t)(to ? strlen(to) : 0),
        .delivery = reply ? DELIVERY_REPLY : delivery_of(m),
    };
    if (ttl_ms > 0)
        head.expires_ms = node_moment(node).boot_ms + ttl_ms;
    if (reply) {
        head.request = reply->request_id;
        memcpy(head.ref, reply->reference, sizeof(head.ref));
    }
    outgoing_write(fifo_push(&queue, outgoing_size(&head)), &head, topic,
                   to ? bytes_text(to) : bytes_of(NULL, 0), writer_view(&headers),
                   bytes_of(payload, m->size));
    sim_note(w, "%s: message %u (%llu) on %s%s%s, %u bytes", node->name, number,
             (unsigned long long)m->app_id, sim_topics[m->topic].name, to ? " to " : "",
             to ? to : "", m->size);
    client_push(node->client, &queue);
    fifo_deinit(&queue);
    node_settle(node);
}

/* Every other run does; before the first link. */
static void leave_will(struct node *node)
{
    struct world *w = node->world;
    struct sim_message *m;
    uint8_t payload[100];

    node->will = 0;
    if (!dice_one(&w->dice, 2))
        return;
    m = message_new(node, topic_index("w/one"), LANE_WILL,
                    8 + dice_below(&w->dice, sizeof(payload) - 8));
    node->will = (uint32_t)(m - w->messages) + 1;
    payload_write(node->will - 1, payload, m->size);
    sim_note(w, "%s: leaves message %u as its will", node->name, node->will - 1);
    if (client_set_will(node->client, bytes_text("w/one"), bytes_of(payload, m->size)) < 0)
        abort();
}

void node_publish(struct node *node, int topic, int to, size_t size, bool closing)
{
    enum lane lane = sim_topics[topic].lane;
    struct sim_message *m;

    if (to >= 0 && lane != LANE_NOWHERE && lane != LANE_MAIL)
        lane = LANE_TO_ONE;
    m = message_new(node, topic, lane, lane == LANE_IN_CLEAR ? MAX(size, (size_t)8) : size);
    m->to = (int8_t)to;
    m->closing = closing;
    if (to < 0)
        node->published_on[topic] = true;
    push(node, m, to >= 0 ? owner_node_name(to) : NULL, NULL);
}

void node_reply(struct node *node, struct pending_reply *reply)
{
    struct sim_message *m =
        message_new(node, reply->topic, LANE_REPLY, 8 + dice_below(&node->world->dice, 300));

    m->to = (int8_t)reply->to;
    m->answers = reply->number + 1;
    push(node, m, owner_node_name(reply->to), reply);
}

void node_request(struct node *node, int topic, size_t size, int64_t timeout_ms)
{
    struct world *w = node->world;
    struct sim_message *m = message_new(node, topic, LANE_REQUEST, MAX(size, (size_t)8));
    struct ticket *ticket = ticket_new(node, TICKET_REQUEST, timeout_ms);
    CLEANUP(free_memory)
    uint8_t *payload = malloc(m->size);

    if (!payload)
        abort();
    ticket->number = (uint32_t)(m - w->messages);
    payload_write(ticket->number, payload, m->size);
    w->requests++;
    sim_note(w, "%s: request %u on %s, %u bytes", node->name, ticket->number,
             sim_topics[topic].name, m->size);
    client_request(node->client, node_moment(node), bytes_text(sim_topics[topic].name),
                   bytes_of(payload, m->size), timeout_ms, ticket);
    node_settle(node);
}

void node_subscribe(struct node *node, const char *filter, uint8_t policy, bool serve)
{
    struct subscription *s = node->subscriptions;
    struct ticket *ticket;

    while (s < node->subscriptions + SUBSCRIPTION_DURABLE && s->used)
        s++;
    if (s == node->subscriptions + SUBSCRIPTION_DURABLE)
        return;
    *s = (struct subscription){
        .used = true, .policy = policy, .serve = serve, .asked_step = node->world->step};
    (void)snprintf(s->filter, sizeof(s->filter), "%s", filter);
    for (int topic = 0; topic < TOPICS; topic++)
        if (!node->asked_step[topic] &&
            filter_matches(bytes_text(filter), bytes_text(sim_topics[topic].name)))
            node->asked_step[topic] = node->world->step + 1;
    ticket = ticket_new(node, TICKET_SUBSCRIBE, 40000);
    ticket->subscription = (int)(s - node->subscriptions);
    sim_note(node->world, "%s: subscribes to %s, policy %u%s", node->name, filter, policy,
             serve ? ", serves" : "");
    later_subscribed(node, filter);
    client_subscribe(node->client, node_moment(node), bytes_text(filter), policy, serve,
                     is_worker(node) && filter[0] == 'q' ? bytes_text("crew") : bytes_of(NULL, 0),
                     40000, ticket);
    node_settle(node);
}

void node_unsubscribe(struct node *node, int index)
{
    struct subscription *s = &node->subscriptions[index];
    struct ticket *ticket = ticket_new(node, TICKET_UNSUBSCRIBE, 40000);
    uint32_t number = s->number;

    sim_note(node->world, "%s: unsubscribes from %s", node->name, s->filter);
    s->used = false;
    if (s->durable)
        book_lost(node);
    if (index == SUBSCRIPTION_MAIL) {
        mail_lost(node);
        node->unheard_ms = node->world->now_ms;
    }
    client_unsubscribe(node->client, node_moment(node), number, 40000, ticket);
    node_settle(node);
}

/* @live: only one the broker has answered. The longest-standing one. */
struct subscription *node_find_subscription(struct node *node, const char *topic, bool live)
{
    struct subscription *found = NULL;

    for (int i = 0; i < SUBSCRIPTIONS; i++) {
        struct subscription *s = &node->subscriptions[i];

        if (!s->used || (live && !s->live) ||
            !filter_matches(bytes_text(s->filter), bytes_text(topic)))
            continue;
        if (!found || (live ? s->live_step < found->live_step : s->asked_step < found->asked_step))
            found = s;
    }
    return found;
}
