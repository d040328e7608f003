/* SPDX-License-Identifier: Apache-2.0 */
/* Mosquitto: Debian's broker and libmosquitto, QoS 0, TLS 1.3 with certificates of both sides. The
 * client works in the caller's thread, which spares it every hand-over between threads. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/poll.h>
#include <unistd.h>

#include <mosquitto.h>

#include "peer.h"

struct arrived {
    struct arrived *next;
    size_t size;
    uint8_t at[];
};

struct bench_link {
    struct mosquitto *client;
    struct arrived *head, **end, *lent;
    bool is_connected, is_subscribed;
    int qos; /* 1: it is stored, and acknowledged */
    uint64_t published, acknowledged;
};

static void serve(const struct peer_settings *settings)
{
    const char *folder = settings->folder;
    char path[300];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/mosquitto.%d.conf", folder, settings->port);
    file = fopen(path, "we");
    if (!file)
        return;
    /* No limits: QoS 0 is dropped for readers that are behind otherwise. */
    (void)fprintf(file,
                  "listener %d 127.0.0.1\ncafile %s/ca.pem\ncertfile %s/peer.pem\n"
                  "keyfile %s/peer.key\nrequire_certificate true\nallow_anonymous true\n"
                  "tls_version tlsv1.3\nset_tcp_nodelay true\nmax_queued_messages 0\n"
                  "max_queued_bytes 0\nmax_inflight_messages 0\nlog_type error\nuser root\n",
                  settings->port, folder, folder, folder);
    if (settings->mode == BENCH_STORED) /* as soon as it can: after every change */
        (void)fprintf(file,
                      "persistence true\npersistence_file mosquitto.%d.db\n"
                      "persistence_location %s/\nautosave_on_changes true\nautosave_interval 1\n",
                      settings->port, folder);
    else
        (void)fprintf(file, "persistence false\n");
    if (fclose(file) == 0) {
        (void)execlp("mosquitto", "mosquitto", "-c", path, (char *)NULL);
        (void)execl("/usr/sbin/mosquitto", "mosquitto", "-c", path, (char *)NULL);
    }
}

static int fail(struct aico_error *err, const char *what, int code)
{
    return aico_error_set(err, AICO_ESYSTEM, "%s: %s", what, mosquitto_strerror(code));
}

static void on_connect(struct mosquitto *client, void *context, int code)
{
    struct bench_link *link = context;

    (void)client;
    link->is_connected = code == 0;
}

static void on_publish(struct mosquitto *client, void *context, int id)
{
    struct bench_link *link = context;

    (void)client;
    (void)id;
    link->acknowledged++;
}

static void on_subscribe(struct mosquitto *client, void *context, int id, int count, const int *qos)
{
    struct bench_link *link = context;

    (void)client;
    (void)id;
    (void)count;
    (void)qos;
    link->is_subscribed = true;
}

static void on_message(struct mosquitto *client, void *context,
                       const struct mosquitto_message *message)
{
    struct bench_link *link = context;
    struct arrived *arrived = malloc(sizeof(*arrived) + (size_t)message->payloadlen);

    (void)client;
    if (!arrived)
        return; /* shows as a loss */
    arrived->next = NULL;
    arrived->size = (size_t)message->payloadlen;
    memcpy(arrived->at, message->payload, arrived->size);
    *link->end = arrived;
    link->end = &arrived->next;
}

/* Works until @is_done or for ten seconds. */
static int work_until(struct bench_link *link, const bool *is_done, struct aico_error *err)
{
    int64_t end_ns = machine_now_ns() + (int64_t)10 * 1000000000;

    while (!*is_done) {
        int code = mosquitto_loop(link->client, 50, 1);

        if (code != MOSQ_ERR_SUCCESS)
            return fail(err, "connecting", code);
        if (machine_now_ns() > end_ns)
            return aico_error_set(err, AICO_ETIMEOUT, "no answer of the broker");
    }
    return 0;
}

static int connect_as(const struct peer_settings *settings, const char *name, bool is_clean,
                      struct bench_link **ret_link, struct aico_error *err)
{
    struct bench_link *link = calloc(1, sizeof(*link));
    char ca[300], certificate[300], key[300];
    int code;

    if (!link)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    link->end = &link->head;
    (void)mosquitto_lib_init();
    link->client = mosquitto_new(name, is_clean, link);
    if (!link->client)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    mosquitto_connect_callback_set(link->client, on_connect);
    mosquitto_subscribe_callback_set(link->client, on_subscribe);
    mosquitto_message_callback_set(link->client, on_message);
    mosquitto_publish_callback_set(link->client, on_publish);
    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", settings->folder);
    (void)snprintf(certificate, sizeof(certificate), "%s/peer.pem", settings->folder);
    (void)snprintf(key, sizeof(key), "%s/peer.key", settings->folder);
    code = mosquitto_tls_set(link->client, ca, NULL, certificate, key, NULL);
    if (code == MOSQ_ERR_SUCCESS)
        code = mosquitto_tls_opts_set(link->client, 1, "tlsv1.3", NULL);
    if (code == MOSQ_ERR_SUCCESS)
        code = mosquitto_int_option(link->client, MOSQ_OPT_TCP_NODELAY, 1);
    if (code == MOSQ_ERR_SUCCESS)
        code = mosquitto_connect(link->client, "localhost", settings->port, 600);
    if (code != MOSQ_ERR_SUCCESS)
        return fail(err, "connecting", code);
    *ret_link = link;
    return work_until(link, &link->is_connected, err);
}

static int link_subscribe(struct bench_link *link, const char *topic, struct aico_error *err);
static void link_close(struct bench_link **link);

/* Who is away, for whom messages are stored. */
static int leave_reader(const struct peer_settings *settings, struct aico_error *err)
{
    struct bench_link *link = NULL;
    int r = connect_as(settings, "away", false, &link, err);

    if (r == 0) {
        link->qos = 1;
        r = link_subscribe(link, BENCH_TOPIC_ALL, err);
    }
    if (link)
        link_close(&link);
    return r;
}

static int link_open(void *context, const char *name, struct bench_link **ret_link,
                     struct aico_error *err)
{
    const struct peer_settings *settings = context;
    int r = settings->mode == BENCH_STORED ? leave_reader(settings, err) : 0;

    if (r == 0)
        r = connect_as(settings, name, true, ret_link, err);
    if (r == 0)
        (*ret_link)->qos = settings->mode == BENCH_STORED;
    return r;
}

static int link_subscribe(struct bench_link *link, const char *topic, struct aico_error *err)
{
    char filter[64];
    int code;

    (void)snprintf(filter, sizeof(filter), "%s", topic);
    for (char *at = filter; *at; at++)
        if (*at == '*')
            *at = '+';
    code = mosquitto_subscribe(link->client, NULL, filter, link->qos);
    if (code != MOSQ_ERR_SUCCESS)
        return fail(err, "subscribing", code);
    return work_until(link, &link->is_subscribed, err);
}

static int link_flush(struct bench_link *link, struct aico_error *err)
{
    while (mosquitto_want_write(link->client) ||
           (link->qos == 1 && link->acknowledged < link->published)) {
        int code = mosquitto_loop(link->client, 50, 1);

        if (code != MOSQ_ERR_SUCCESS)
            return fail(err, "sending", code);
    }
    return 0;
}

static int link_publish(struct bench_link *link, const char *topic, const void *at, size_t size,
                        struct aico_error *err)
{
    int code = mosquitto_publish(link->client, NULL, topic, (int)size, at, link->qos, false);

    link->published++;
    if (code == MOSQ_ERR_SUCCESS && link->qos == 1) /* what is acknowledged meanwhile */
        code = mosquitto_loop(link->client, 0, 1);
    if (code != MOSQ_ERR_SUCCESS)
        return fail(err, "publishing", code);
    return link->qos == 1 ? 0 : link_flush(link, err);
}

static int link_receive(struct bench_link *link, int64_t timeout_ms, struct bench_received *ret,
                        struct aico_error *err)
{
    int64_t end_ns = machine_now_ns() + timeout_ms * 1000000;

    free(link->lent);
    link->lent = NULL;
    while (!link->head) {
        int64_t left_ms = (end_ns - machine_now_ns()) / 1000000;
        int code = mosquitto_loop(link->client, left_ms > 0 ? (int)left_ms : 0, 1);

        if (code != MOSQ_ERR_SUCCESS)
            return fail(err, "receiving", code);
        if (!link->head && machine_now_ns() >= end_ns)
            return AICO_ETIMEOUT;
    }
    link->lent = link->head;
    link->head = link->head->next;
    if (!link->head)
        link->end = &link->head;
    *ret = (struct bench_received){.at = link->lent->at, .size = link->lent->size};
    return 0;
}

static void link_close(struct bench_link **link)
{
    struct bench_link *l = *link;

    (void)mosquitto_disconnect(l->client);
    mosquitto_destroy(l->client);
    while (l->head) {
        struct arrived *next = l->head->next;

        free(l->head);
        l->head = next;
    }
    free(l->lent);
    free(l);
    *link = NULL;
}

const struct peer peer_mosquitto = {
    .name = "mosquitto",
    .link = "tcp",
    .serve = serve,
    .driver = {.open = link_open,
               .subscribe = link_subscribe,
               .publish = link_publish,
               .flush = link_flush,
               .receive = link_receive,
               .close = link_close},
};
