/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Components that are nothing but a struct sessions, joined by a perfect broker: what one sends the
 * others get at once and in order, unless a test says otherwise. Tests only; one thread.
 */
#ifndef TEST_SESSION_PEERS_NET_H
#define TEST_SESSION_PEERS_NET_H

#include "world.h"

#include "base/hash.h"
#include "envelope/envelope.h"
#include "session/control.h"
#include "session/peers.h"
#include "wire/topic.h"

#define NODES_MAX 8
#define ROUNDS_MAX 10000

struct note {
    struct note *next;
    enum session_event_type type;
    char peer[65], topic[256], text[600];
    struct buffer bytes;
    size_t size;
    uint64_t sequence, first, last, count;
    bool unknown, will;
    int code;
    uint8_t ref[SESSION_REF_SIZE];
    uint8_t delivery;
    void *cookie;
};

struct parcel {
    struct parcel *next;
    int from, to; /* to -1: everybody who is subscribed */
    uint8_t delivery;
    char topic[256];
    bool has_ref;
    uint8_t ref[SESSION_REF_SIZE];
    struct buffer bytes;
};

struct net;
struct node {
    const char *name;
    struct identity *identity;
    struct session_settings settings;
    struct sessions *sessions;
    struct dice dice;
    struct note *notes;
    uint64_t generation; /* persisted */
    bool deaf;           /* does not subscribe */
    int64_t skew_ms;
};

struct net {
    struct node nodes[NODES_MAX];
    int count;
    struct registry *registry;
    struct parcel *parcels;
    int64_t now_ms; /* since START_MS */
    /* Says what the broker does with a parcel: false drops it. */
    bool (*pass)(struct net *net, struct parcel *parcel, void *context);
    void *pass_context;
    size_t handed;        /* parcels */
    bool stamps_identity; /* the broker names the sender's key, not only its name */
};

static inline struct moment net_moment(const struct net *net, const struct node *node)
{
    struct moment now = moment_at(START_MS + net->now_ms);

    now.real_ms += node->skew_ms;
    return now;
}

static inline int net_find(const struct net *net, struct bytes name)
{
    int found = -1;

    /* During a rotation two have a name; the one that runs is meant. */
    for (int i = 0; i < net->count; i++)
        if (bytes_equal_text(name, net->nodes[i].name) && (found < 0 || net->nodes[i].sessions))
            found = i;
    return found;
}

static inline struct parcel *net_post(struct net *net, int from, int to, uint8_t delivery,
                                      struct bytes topic, const uint8_t *ref, struct bytes bytes)
{
    struct parcel *parcel = calloc(1, sizeof(*parcel));

    parcel->from = from;
    parcel->to = to;
    parcel->delivery = delivery;
    bytes_copy(parcel->topic, topic);
    parcel->has_ref = ref != NULL;
    if (ref)
        memcpy(parcel->ref, ref, sizeof(parcel->ref));
    assert_int_equal(buffer_append(&parcel->bytes, bytes), 0);
    LL_APPEND(net->parcels, parcel);
    return parcel;
}

static inline void parcel_free(struct parcel *parcel)
{
    buffer_deinit(&parcel->bytes);
    free(parcel);
}

static inline void net_note(struct node *node, const struct session_event *event)
{
    struct note *note = calloc(1, sizeof(*note));

    note->type = event->type;
    bytes_copy(note->peer, event->peer);
    bytes_copy(note->topic, event->topic);
    assert_int_equal(buffer_append(&note->bytes, event->bytes), 0);
    note->size = event->payload.size;
    bytes_copy(note->text,
               bytes_of(event->payload.at, MIN(event->payload.size, sizeof(note->text) - 1)));
    if (event->type != SESSION_MESSAGE)
        (void)snprintf(note->text, sizeof(note->text), "%s", event->text);
    note->sequence = event->sequence;
    note->first = event->first;
    note->last = event->last;
    note->count = event->count;
    note->unknown = event->unknown;
    note->will = event->will;
    note->code = event->code;
    note->delivery = event->delivery;
    note->cookie = event->cookie;
    memcpy(note->ref, event->ref, sizeof(note->ref));
    LL_APPEND(node->notes, note);
}

/* Takes what the sessions of @at want said. */
static inline void net_drain(struct net *net, int at)
{
    struct node *node = &net->nodes[at];
    struct session_event event;

    while (node->sessions && sessions_next(node->sessions, &event)) {
        if (event.type == SESSION_SEND)
            net_post(net, at, net_find(net, event.peer), DELIVERY_CONTROL,
                     bytes_text(SESSION_TOPIC_CONTROL), NULL, event.bytes);
        else if (event.type == SESSION_SEND_HEADS)
            net_post(net, at, -1, DELIVERY_CONTROL, bytes_text(SESSION_TOPIC_HEADS), NULL,
                     event.bytes);
        else if (event.type == SESSION_PERSIST_GEN)
            node->generation = event.generation;
        else
            net_note(node, &event);
    }
}

static inline void net_hand(struct net *net, const struct parcel *parcel, int to)
{
    struct node *node = &net->nodes[to], *from = &net->nodes[parcel->from];
    uint8_t *copy = calloc(1, parcel->bytes.size ? parcel->bytes.size : 1);
    struct bytes bytes = bytes_of(copy, parcel->bytes.size), topic = bytes_text(parcel->topic);
    struct moment now = net_moment(net, node);
    const uint8_t *identity = net->stamps_identity ? from->identity->public : NULL;

    bytes_copy(copy, buffer_view(&parcel->bytes));
    if (!node->sessions) {
        free(copy);
        return;
    }
    if (parcel->to >= 0)
        sessions_receive_direct(node->sessions, now, bytes_text(from->name), identity, topic,
                                parcel->delivery, bytes, parcel->has_ref ? parcel->ref : NULL,
                                NULL);
    else
        sessions_receive_group(node->sessions, now, bytes_text(from->name), identity, topic,
                               parcel->delivery, bytes, NULL);
    free(copy);
    net->handed++;
    net_drain(net, to);
}

static inline void net_drain_all(struct net *net)
{
    for (int i = 0; i < net->count; i++)
        net_drain(net, i);
}

/* Hands on what was said first; false: nothing was. */
static inline bool net_step(struct net *net)
{
    struct parcel *parcel = net->parcels;

    if (!parcel)
        return false;
    LL_DELETE(net->parcels, parcel);
    if (!net->pass || net->pass(net, parcel, net->pass_context))
        for (int to = 0; to < net->count; to++)
            if (parcel->to == to || (parcel->to < 0 && to != parcel->from && !net->nodes[to].deaf))
                net_hand(net, parcel, to);
    parcel_free(parcel);
    return true;
}

/* Hands everything on until nobody says anything any more. */
static inline void net_run(struct net *net)
{
    int rounds = 0;

    net_drain_all(net);
    while (net_step(net))
        assert_true(++rounds < ROUNDS_MAX);
}

/* Everybody does what is due now. */
static inline void net_tick(struct net *net)
{
    for (int i = 0; i < net->count; i++)
        if (net->nodes[i].sessions)
            sessions_tick(net->nodes[i].sessions, net_moment(net, &net->nodes[i]));
}

/* Lets time run to @ms after the start; everybody's timers in their order. */
static inline void net_advance(struct net *net, int64_t ms)
{
    int64_t until = net->now_ms + ms;
    int rounds = 0;

    net_run(net);
    for (;;) {
        int64_t next = until;

        assert_true(++rounds < ROUNDS_MAX);
        for (int i = 0; i < net->count; i++)
            if (net->nodes[i].sessions) {
                int64_t deadline = sessions_deadline(net->nodes[i].sessions);

                if (deadline != MOMENT_NEVER)
                    next = MIN(next, MAX(deadline - moment_at(START_MS).boot_ms, net->now_ms));
            }
        net->now_ms = MIN(MAX(next, net->now_ms), until);
        net_tick(net);
        net_run(net);
        if (net->now_ms >= until)
            return;
    }
}

static inline void net_start_node(struct net *net, int at)
{
    struct node *node = &net->nodes[at];
    struct aico_error err = {0};

    assert_int_equal(sessions_new(&node->settings, node->identity, net->registry,
                                  dice_source(&node->dice), node->generation, net_moment(net, node),
                                  &node->sessions, &err),
                     0);
}

static inline void net_stop_node(struct net *net, int at)
{
    sessions_free(&net->nodes[at].sessions);
}

static inline void net_forget_notes(struct net *net)
{
    for (int i = 0; i < net->count; i++) {
        struct note *note, *next;

        LL_FOREACH_SAFE(net->nodes[i].notes, note, next)
        {
            buffer_deinit(&note->bytes);
            free(note);
        }
        net->nodes[i].notes = NULL;
    }
}

/* Everybody of @names, with rules by @rules; the registry is signed at once. */
static inline void net_open(struct net *net, const char *const *names, int count,
                            void (*rules)(struct registry_draft *draft))
{
    CLEANUP(registry_draft_free)
    struct registry_draft *draft = registry_draft_new(NULL, bytes_text(NAMESPACE));

    memset(net, 0, sizeof(*net));
    net->count = count;
    for (int i = 0; i < count; i++) {
        struct node *node = &net->nodes[i];

        node->name = names[i];
        node->identity = identity_make(names[i]);
        node->settings = session_settings_default();
        node->dice.state = (uint64_t)i + 1;
        draft_add(draft, node->identity, "member");
    }
    rules(draft);
    net->registry = registry_make(draft);
    for (int i = 0; i < count; i++)
        net_start_node(net, i);
}

static inline void net_close(struct net *net)
{
    struct parcel *parcel;

    for (int i = 0; i < net->count; i++) {
        net_stop_node(net, i);
        identity_free(&net->nodes[i].identity);
    }
    net_forget_notes(net);
    while ((parcel = net->parcels) != NULL) {
        LL_DELETE(net->parcels, parcel);
        parcel_free(parcel);
    }
    registry_unref(&net->registry);
}

/* --- what tests say and look for -------------------------------------------------------------- */

/* Publishes for the readers of @topic; 0 or the error. */
static inline int net_publish(struct net *net, int from, const char *topic, const char *text)
{
    struct node *node = &net->nodes[from];
    size_t size = sessions_envelope_size(node->sessions, 0, strlen(text));
    uint8_t *room = malloc(size);
    struct writer w = writer_over(room, size);
    int r = sessions_seal_group(node->sessions, net_moment(net, node), bytes_text(topic),
                                DELIVERY_EVENT, bytes_of(NULL, 0), bytes_text(text), &w);

    net_drain(net, from);
    if (r == 0)
        net_post(net, from, -1, DELIVERY_EVENT, bytes_text(topic), NULL, writer_view(&w));
    free(room);
    return r;
}

/* Says @text to @to alone; the way must stand. @ref: a reply's, ret_ref: this message's. */
static inline int net_say(struct net *net, int from, int to, const char *topic, uint8_t delivery,
                          const uint8_t *ref, const char *text, uint8_t *ret_ref)
{
    struct node *node = &net->nodes[from];
    size_t size = sessions_direct_size(node->sessions, net_moment(net, node),
                                       bytes_text(net->nodes[to].name), 0, strlen(text));
    uint8_t *room = malloc(size);
    struct writer w = writer_over(room, size);
    int r = sessions_seal_direct(node->sessions, net_moment(net, node),
                                 bytes_text(net->nodes[to].name), bytes_text(topic), delivery, ref,
                                 bytes_of(NULL, 0), bytes_text(text), &w, ret_ref);

    net_drain(net, from);
    if (r == 0)
        net_post(net, from, to, delivery, bytes_text(topic), ref, writer_view(&w));
    free(room);
    return r;
}

static inline int net_dial(struct net *net, int from, int to)
{
    struct node *node = &net->nodes[from];

    return sessions_dial(node->sessions, net_moment(net, node), bytes_text(net->nodes[to].name));
}

/* Prepares @topic and lets it become ready. */
static inline void net_prepare(struct net *net, int from, const char *topic)
{
    struct node *node = &net->nodes[from];
    int r = sessions_prepare_group(node->sessions, net_moment(net, node), bytes_text(topic));

    assert_true(r == 0 || r == AICO_ESTATE);
    net_advance(net, r == 0 ? 0 : 2000);
    assert_int_equal(
        sessions_prepare_group(node->sessions, net_moment(net, node), bytes_text(topic)), 0);
}

static inline size_t count_notes(const struct net *net, int at, enum session_event_type type)
{
    const struct note *note;
    size_t count = 0;

    LL_FOREACH(net->nodes[at].notes, note)
    count += note->type == type;
    return count;
}

/* The @index-th note of @type at @at; fails when there is none. */
static inline const struct note *note_at(const struct net *net, int at,
                                         enum session_event_type type, size_t index)
{
    const struct note *note;

    LL_FOREACH(net->nodes[at].notes, note)
    if (note->type == type && index-- == 0)
        return note;
    fail_msg("%s has no such note of type %d", net->nodes[at].name, type);
    return NULL;
}

#define assert_heard(net, at, index, expected)                                                     \
    assert_string_equal(note_at(net, at, SESSION_MESSAGE, index)->text, expected)

/* Another registry for everybody but those in @without (a bit each). */
static inline void net_set_registry(struct net *net, struct registry *registry, unsigned without)
{
    registry_unref(&net->registry);
    net->registry = registry;
    for (int i = 0; i < net->count; i++)
        if (!(without >> i & 1) && net->nodes[i].sessions)
            sessions_set_registry(net->nodes[i].sessions, net_moment(net, &net->nodes[i]),
                                  registry);
    net_drain_all(net);
}

#endif
