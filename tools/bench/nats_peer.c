/* SPDX-License-Identifier: Apache-2.0 */
/* NATS: Debian's nats-server and libnats, TLS with certificates of both sides. Its limits for slow
 * readers are lifted: a reader that is behind is waited for, not cut off. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nats/nats.h>

#include "peer.h"

struct bench_link {
    natsOptions *options;
    natsConnection *connection;
    natsSubscription *subscription;
    jsCtx *stream; /* stored only */
    natsMsg *last;
    int64_t timeout_ms;
};

/* From 2.10 on it can store before it acknowledges; before that it may be minutes later. */
static bool can_sync(void)
{
    FILE *answer = popen("nats-server --version", "r"); // NOLINT(cert-env33-c): of our own making
    unsigned major = 0, minor = 0;
    bool is_known = answer && fscanf(answer, "nats-server: v%u.%u", &major, &minor) == 2;

    if (answer)
        (void)pclose(answer);
    return is_known && (major > 2 || (major == 2 && minor >= 10));
}

static void serve(const struct peer_settings *settings)
{
    char path[300];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/nats.%d.conf", settings->folder, settings->port);
    file = fopen(path, "we");
    if (!file)
        return;
    (void)fprintf(file,
                  "listen: 127.0.0.1:%d\nmax_payload: 17MB\nmax_pending: 1GB\n"
                  "write_deadline: \"60s\"\n"
                  "tls { cert_file: \"%s/peer.pem\", key_file: \"%s/peer.key\", "
                  "ca_file: \"%s/ca.pem\", verify: true, timeout: 20 }\n",
                  settings->port, settings->folder, settings->folder, settings->folder);
    if (settings->mode == BENCH_STORED)
        (void)fprintf(file, "jetstream { store_dir: \"%s/nats.%d\"%s }\n", settings->folder,
                      settings->port, can_sync() ? ", sync_interval: always" : "");
    if (fclose(file) == 0)
        (void)execlp("nats-server", "nats-server", "-c", path, (char *)NULL);
}

static int fail(struct aico_error *err, const char *what, natsStatus status)
{
    return aico_error_set(err, AICO_ESYSTEM, "%s: %s", what, natsStatus_GetText(status));
}

static natsStatus set_options(struct bench_link *link, const struct peer_settings *settings,
                              const char *name)
{
    char url[64], ca[300], certificate[300], key[300];
    natsStatus s = natsOptions_Create(&link->options);

    (void)snprintf(url, sizeof(url), "tls://127.0.0.1:%d", settings->port);
    (void)snprintf(ca, sizeof(ca), "%s/ca.pem", settings->folder);
    (void)snprintf(certificate, sizeof(certificate), "%s/peer.pem", settings->folder);
    (void)snprintf(key, sizeof(key), "%s/peer.key", settings->folder);
    if (s == NATS_OK)
        s = natsOptions_SetURL(link->options, url);
    if (s == NATS_OK)
        s = natsOptions_SetSecure(link->options, true);
    if (s == NATS_OK)
        s = natsOptions_LoadCATrustedCertificates(link->options, ca);
    if (s == NATS_OK)
        s = natsOptions_LoadCertificatesChain(link->options, certificate, key);
    if (s == NATS_OK)
        s = natsOptions_SetExpectedHostname(link->options, "localhost");
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(link->options, 20000);
    /* What one message at a time wants; many at once are better off with the buffer. */
    if (s == NATS_OK)
        s = natsOptions_SetSendAsap(
            link->options, settings->mode == BENCH_RTT || settings->mode == BENCH_LATENCY ||
                               (settings->mode == BENCH_LOADED && strcmp(name + 1, "1") == 0));
    return s;
}

static natsStatus make_stream(struct bench_link *link)
{
    const char *subjects[] = {"bench.>"};
    jsStreamConfig config;
    natsStatus s = natsConnection_JetStream(&link->stream, link->connection, NULL);

    if (s == NATS_OK)
        s = jsStreamConfig_Init(&config);
    if (s != NATS_OK)
        return s;
    config.Name = "BENCH";
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    return js_AddStream(NULL, link->stream, &config, NULL, NULL);
}

static int link_open(void *context, const char *name, struct bench_link **ret_link,
                     struct aico_error *err)
{
    struct bench_link *link = calloc(1, sizeof(*link));
    natsStatus s;

    if (!link)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    s = set_options(link, context, name);
    if (s == NATS_OK)
        s = natsConnection_Connect(&link->connection, link->options);
    if (s == NATS_OK && ((const struct peer_settings *)context)->mode == BENCH_STORED)
        s = make_stream(link);
    if (s != NATS_OK)
        return fail(err, "connecting", s);
    *ret_link = link;
    return 0;
}

/* Levels are split by dots. */
static void write_subject(char *to, size_t size, const char *topic)
{
    (void)snprintf(to, size, "%s", topic);
    for (char *at = to; *at; at++)
        if (*at == '/')
            *at = '.';
}

static int link_subscribe(struct bench_link *link, const char *topic, struct aico_error *err)
{
    char subject[64];
    natsStatus s;

    write_subject(subject, sizeof(subject), topic);
    s = natsConnection_SubscribeSync(&link->subscription, link->connection, subject);
    if (s == NATS_OK)
        s = natsSubscription_SetPendingLimits(link->subscription, -1, -1);
    if (s == NATS_OK)
        s = natsConnection_FlushTimeout(link->connection, 20000);
    return s == NATS_OK ? 0 : fail(err, "subscribing", s);
}

static int link_publish(struct bench_link *link, const char *topic, const void *at, size_t size,
                        struct aico_error *err)
{
    char subject[64];
    natsStatus s;

    write_subject(subject, sizeof(subject), topic);
    s = link->stream ? js_PublishAsync(link->stream, subject, at, (int)size, NULL)
                     : natsConnection_Publish(link->connection, subject, at, (int)size);
    return s == NATS_OK ? 0 : fail(err, "publishing", s);
}

static int link_flush(struct bench_link *link, struct aico_error *err)
{
    natsStatus s = link->stream ? js_PublishAsyncComplete(link->stream, NULL)
                                : natsConnection_FlushTimeout(link->connection, 60000);

    return s == NATS_OK ? 0 : fail(err, "flushing", s);
}

static int link_receive(struct bench_link *link, int64_t timeout_ms, struct bench_received *ret,
                        struct aico_error *err)
{
    natsStatus s;

    natsMsg_Destroy(link->last);
    link->last = NULL;
    s = natsSubscription_NextMsg(&link->last, link->subscription, timeout_ms);
    if (s == NATS_TIMEOUT)
        return AICO_ETIMEOUT;
    if (s == NATS_SLOW_CONSUMER) { /* something was dropped: the numbers show how much */
        *ret = (struct bench_received){0};
        return 0;
    }
    if (s != NATS_OK)
        return fail(err, "receiving", s);
    *ret = (struct bench_received){.at = natsMsg_GetData(link->last),
                                   .size = (size_t)natsMsg_GetDataLength(link->last)};
    return 0;
}

static void link_close(struct bench_link **link)
{
    struct bench_link *l = *link;

    natsMsg_Destroy(l->last);
    natsSubscription_Destroy(l->subscription);
    jsCtx_Destroy(l->stream);
    natsConnection_Destroy(l->connection);
    natsOptions_Destroy(l->options);
    free(l);
    *link = NULL;
}

const struct peer peer_nats = {
    .name = "nats",
    .link = "tcp",
    .serve = serve,
    .driver = {.open = link_open,
               .subscribe = link_subscribe,
               .publish = link_publish,
               .flush = link_flush,
               .receive = link_receive,
               .close = link_close},
};
