/* SPDX-License-Identifier: Apache-2.0 */
/* libzmq alone: PUB and SUB through a bare XPUB/XSUB proxy, CURVE on every link. The topic is the
 * beginning of the only frame, which is what costs least. Nothing is dropped: senders wait. */
#include <stdlib.h>
#include <string.h>

#include "zmq_peer.h"

struct bench_link {
    void *context, *pub, *sub;
    zmq_msg_t frame;
    int64_t timeout_ms;
};

static void serve(const struct peer_settings *settings)
{
    void *context = zmq_ctx_new();
    void *front = zmq_socket(context, ZMQ_XSUB), *back = zmq_socket(context, ZMQ_XPUB);
    char secret[41], endpoint[64];

    if (!front || !back || !zmq_make_keys(settings, secret) || !zmq_secure_server(front, secret) ||
        !zmq_secure_server(back, secret) || !zmq_set(back, ZMQ_XPUB_NODROP, 1))
        return;
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", settings->port + 1);
    if (zmq_bind(back, endpoint) < 0)
        return;
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", settings->port);
    if (zmq_bind(front, endpoint) == 0)
        (void)zmq_proxy(front, back, NULL);
}

static void *connect_to(struct bench_link *link, const struct peer_settings *settings, int kind,
                        int port)
{
    void *socket = zmq_socket(link->context, kind);
    char endpoint[64];

    (void)snprintf(endpoint, sizeof(endpoint), "tcp://127.0.0.1:%d", port);
    if (!socket || !zmq_secure_client(socket, settings) ||
        (kind == ZMQ_PUB && !zmq_set(socket, ZMQ_XPUB_NODROP, 1)) ||
        zmq_connect(socket, endpoint) < 0)
        return NULL;
    return socket;
}

static int link_open(void *context, const char *name, struct bench_link **ret_link,
                     struct aico_error *err)
{
    const struct peer_settings *settings = context;
    struct bench_link *link = calloc(1, sizeof(*link));

    (void)name;
    if (!link)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    (void)zmq_msg_init(&link->frame);
    link->context = zmq_ctx_new();
    link->pub = connect_to(link, settings, ZMQ_PUB, settings->port);
    link->sub = connect_to(link, settings, ZMQ_SUB, settings->port + 1);
    if (!link->pub || !link->sub)
        return zmq_fail(err, "connecting");
    *ret_link = link;
    return 0;
}

/* A filter that ends in an asterisk is a prefix; a topic ends with a zero. */
static int link_subscribe(struct bench_link *link, const char *topic, struct aico_error *err)
{
    size_t size = strlen(topic);

    size += topic[size - 1] == '*' ? (size_t)-1 : 1;
    return zmq_setsockopt(link->sub, ZMQ_SUBSCRIBE, topic, size) == 0
               ? 0
               : zmq_fail(err, "subscribing");
}

static int link_publish(struct bench_link *link, const char *topic, const void *at, size_t size,
                        struct aico_error *err)
{
    size_t head = strlen(topic) + 1;
    zmq_msg_t frame;
    uint8_t *to;

    if (zmq_msg_init_size(&frame, head + size) < 0)
        return zmq_fail(err, "a frame");
    to = zmq_msg_data(&frame);
    memcpy(to, topic, head);
    memcpy(to + head, at, size);
    return zmq_msg_send(&frame, link->pub, 0) >= 0 ? 0 : zmq_fail(err, "sending");
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
    int r = zmq_take(link->sub, &link->frame, timeout_ms, &link->timeout_ms, err);
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
    (void)zmq_set(l->pub, ZMQ_LINGER, 0);
    (void)zmq_set(l->sub, ZMQ_LINGER, 0);
    (void)zmq_close(l->pub);
    (void)zmq_close(l->sub);
    (void)zmq_ctx_term(l->context);
    free(l);
    *link = NULL;
}

const struct peer peer_zmq_proxy = {
    .name = "zmq-proxy",
    .link = "tcp",
    .serve = serve,
    .driver = {.open = link_open,
               .subscribe = link_subscribe,
               .publish = link_publish,
               .flush = link_flush,
               .receive = link_receive,
               .close = link_close},
};
