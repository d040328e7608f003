/* SPDX-License-Identifier: Apache-2.0 */
/* libzmq alone: the plainest broker over a CURVE ROUTER, which forwards one message a frame.
 * A client's frame: 'S' topic 0, or 'P' topic 0 payload; the broker's: topic 0 payload. */
#include <stdlib.h>
#include <string.h>

#include "zmq_peer.h"

#define READERS_MAX 512

struct bench_link {
    void *context, *socket;
    zmq_msg_t frame;
    int64_t timeout_ms;
};

/* --- the broker ------------------------------------------------------------------------------- */

static struct subscription {
    uint8_t id[5];
    char topic[64];
    size_t size; /* of the prefix, or of the topic with its zero */
} subscriptions[READERS_MAX];
static size_t subscription_count;

static void subscribe(const uint8_t id[5], const char *topic)
{
    struct subscription *s = &subscriptions[subscription_count];

    if (subscription_count == READERS_MAX)
        return;
    memcpy(s->id, id, sizeof(s->id));
    (void)snprintf(s->topic, sizeof(s->topic), "%s", topic);
    s->size = strlen(s->topic);
    s->size += s->topic[s->size - 1] == '*' ? (size_t)-1 : 1;
    subscription_count++;
}

/* @frame is 'P' topic 0 payload. A reader without room makes us wait for it. */
static void forward(void *socket, zmq_msg_t *frame)
{
    const char *at = (const char *)zmq_msg_data(frame) + 1;
    size_t size = zmq_msg_size(frame) - 1;

    for (size_t i = 0; i < subscription_count; i++) {
        const struct subscription *s = &subscriptions[i];

        if (size < s->size || memcmp(at, s->topic, s->size) != 0)
            continue;
        if (zmq_send(socket, s->id, sizeof(s->id), ZMQ_SNDMORE) >= 0)
            (void)zmq_send(socket, at, size, 0);
    }
}

static void serve(const struct peer_settings *settings)
{
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_ROUTER);
    char secret[41], endpoint[64];
    zmq_msg_t id, frame;

    (void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", settings->port);
    if (!socket || !zmq_make_keys(settings, secret) || !zmq_secure_server(socket, secret) ||
        !zmq_set(socket, ZMQ_ROUTER_MANDATORY, 1) || zmq_bind(socket, endpoint) < 0)
        return;
    (void)zmq_msg_init(&id);
    (void)zmq_msg_init(&frame);
    while (zmq_msg_recv(&id, socket, 0) >= 0 && zmq_msg_recv(&frame, socket, 0) >= 0) {
        const char *at = zmq_msg_data(&frame);

        if (zmq_msg_size(&id) == 5 && *at == 'S')
            subscribe(zmq_msg_data(&id), at + 1);
        else
            forward(socket, &frame);
    }
}

/* --- a client --------------------------------------------------------------------------------- */

static int link_open(void *context, const char *name, struct bench_link **ret_link,
                     struct aico_error *err)
{
    const struct peer_settings *settings = context;
    struct bench_link *link = calloc(1, sizeof(*link));
    char endpoint[64];

    (void)name;
    if (!link)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", settings->port);
    (void)zmq_msg_init(&link->frame);
    link->context = zmq_ctx_new();
    link->socket = zmq_socket(link->context, ZMQ_DEALER);
    if (!link->socket || !zmq_secure_client(link->socket, settings) ||
        zmq_connect(link->socket, endpoint) < 0)
        return zmq_fail(err, "connecting");
    *ret_link = link;
    return 0;
}

static int give(struct bench_link *link, char kind, const char *topic, const void *at, size_t size,
                struct aico_error *err)
{
    size_t head = strlen(topic) + 1;
    zmq_msg_t frame;
    char *to;

    if (zmq_msg_init_size(&frame, 1 + head + size) < 0)
        return zmq_fail(err, "a frame");
    to = zmq_msg_data(&frame);
    *to = kind;
    memcpy(to + 1, topic, head);
    if (size > 0)
        memcpy(to + 1 + head, at, size);
    return zmq_msg_send(&frame, link->socket, 0) >= 0 ? 0 : zmq_fail(err, "sending");
}

static int link_subscribe(struct bench_link *link, const char *topic, struct aico_error *err)
{
    return give(link, 'S', topic, NULL, 0, err);
}

static int link_publish(struct bench_link *link, const char *topic, const void *at, size_t size,
                        struct aico_error *err)
{
    return give(link, 'P', topic, at, size, err);
}

static int link_flush(struct bench_link *link, struct aico_error *err)
{
    (void)link;
    (void)err;
    return 0; /* it has no answer to wait for */
}

static int link_receive(struct bench_link *link, int64_t timeout_ms, struct bench_received *ret,
                        struct aico_error *err)
{
    int r = zmq_take(link->socket, &link->frame, timeout_ms, &link->timeout_ms, err);
    const char *at;
    size_t head;

    if (r < 0)
        return r;
    at = zmq_msg_data(&link->frame);
    head = strnlen(at, zmq_msg_size(&link->frame)) + 1;
    *ret = (struct bench_received){.at = at + head, .size = zmq_msg_size(&link->frame) - head};
    return 0;
}

static void link_close(struct bench_link **link)
{
    struct bench_link *l = *link;

    (void)zmq_msg_close(&l->frame);
    (void)zmq_set(l->socket, ZMQ_LINGER, 0);
    (void)zmq_close(l->socket);
    (void)zmq_ctx_term(l->context);
    free(l);
    *link = NULL;
}

const struct peer peer_zmq_router = {
    .name = "zmq-router",
    .link = "tcp",
    .serve = serve,
    .driver = {.open = link_open,
               .subscribe = link_subscribe,
               .publish = link_publish,
               .flush = link_flush,
               .receive = link_receive,
               .close = link_close},
};
