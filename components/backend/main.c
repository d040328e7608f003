/* SPDX-License-Identifier: Apache-2.0 */
/*
 * aico-backend: collects logs into SQLite, answers questions about them, and takes part in the
 * conversation. One thread; the client library has its own.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/answers.h"
#include "backend/log_store.h"
#include "backend/table.h"
#include "common/connect.h"
#include "common/guard.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/moment.h"
#include "common/notify.h"
#include "common/privilege.h"
#include "common/stop.h"

#define PROGRAM "aico-backend"
#define CONNECT_MS 10000
#define SUBSCRIBE_MS 5000
#define TURN_MS 1000      /* a busy bus does not keep the loop from its other affairs longer */
#define LAST_TAKE_MS 1000 /* for what has arrived when we are told to stop */
#define CLOSE_MS 2000
#define PATH_SIZE 4096

struct backend {
    struct connect_options connect;
    const char *db; /* --db, or NULL */
    struct aico_client *client;
    struct log_store *store;
    int stop_fd;
    int64_t started_ms; /* calendar */
    int64_t steady_started_ms;
    int64_t batch_end_ms; /* steady; 0: no transaction is open */
    uint64_t received;
    uint64_t questions;
};

static int take(void *context, int id, const char *value, struct aico_error *err)
{
    struct backend *backend = context;
    int r = connect_take(&backend->connect, id, value, err);

    if (r > 0)
        backend->db = value;
    return r < 0 ? r : 0;
}

static int commit(struct backend *backend, struct aico_error *err)
{
    backend->batch_end_ms = 0;
    return log_store_commit(backend->store, err);
}

/* After a row was added: the transaction ends by number or age, whichever comes first. */
static int commit_if_due(struct backend *backend, struct aico_error *err)
{
    int64_t now = steady_ms();

    if (backend->batch_end_ms == 0)
        backend->batch_end_ms = now + LOG_BATCH_MS;
    if (log_store_pending(backend->store) >= LOG_BATCH_ROWS || now >= backend->batch_end_ms)
        return commit(backend, err);
    return 0;
}

static int on_log(struct backend *backend, const struct aico_message *message,
                  struct aico_error *err)
{
    int r = log_store_add(backend->store, message, calendar_ms(), err);

    backend->received++;
    return r < 0 ? r : commit_if_due(backend, err);
}

static int on_loss(struct backend *backend, const struct aico_message *message,
                   struct aico_error *err)
{
    int r = log_store_add_loss(backend->store, message, calendar_ms(), err);

    log_write(LOG_WARNING, "%s: %" PRIu64 " messages of %s %s: %s (%s)", message->topic,
              message->count, *message->sender ? message->sender : "an unknown sender",
              message->kind == AICO_MESSAGE_GAP ? "are missing" : "did not open",
              message->text && *message->text ? message->text : aico_error_string(message->code),
              aico_error_name(message->code));
    return r < 0 ? r : commit_if_due(backend, err);
}

/* What could not be said to one asker is noted; only a failing store ends the program. */
static void note_unsaid(const char *topic, int code, const struct aico_error *err)
{
    if (code < 0)
        log_write(LOG_WARNING, "%s: answer not sent: %s (%s)", topic, err->text,
                  aico_error_name(code));
}

static int on_line(struct backend *backend, const struct aico_message *message,
                   struct aico_error *err)
{
    char *text = NULL;
    int r = answer_conversation(backend->store, message->payload, message->size, &text, err);

    if (r < 0)
        return r;
    backend->batch_end_ms = 0; /* asking commits */
    note_unsaid(TOPIC_CONVERSATION_OUTPUT,
                aico_publish(backend->client, TOPIC_CONVERSATION_OUTPUT, text, strlen(text), NULL,
                             NULL, err),
                err);
    free(text);
    return 0;
}

static char *status_text(struct backend *backend)
{
    struct aico_client_stats stats;
    struct backend_numbers numbers = {
        .name = aico_client_name(backend->client),
        .started_ms = backend->started_ms,
        .uptime_ms = (uint64_t)(steady_ms() - backend->steady_started_ms),
        .received = backend->received,
        .questions = backend->questions,
    };

    aico_client_get_stats(backend->client, &stats);
    numbers.reconnects = stats.reconnects;
    return answer_status(backend->store, &numbers);
}

static int on_request(struct backend *backend, const struct aico_message *request,
                      struct aico_error *err)
{
    char *text = NULL;
    int r = 0;

    backend->questions++;
    if (strcmp(request->topic, TOPIC_STATUS) == 0) {
        text = status_text(backend);
    } else {
        r = answer_log_query(backend->store, request->payload, request->size, &text, err);
        backend->batch_end_ms = 0; /* asking commits */
    }
    if (r == 0 && !text)
        r = aico_error_set(err, AICO_ENOMEM, "out of memory");
    if (r < 0)
        return r;

    log_write(LOG_DEBUG, "%s asked %s", request->sender, request->topic);
    note_unsaid(request->topic, aico_reply(backend->client, request, text, strlen(text), err), err);
    free(text);
    return 0;
}

static int on_message(struct backend *backend, const struct aico_message *message,
                      struct aico_error *err)
{
    switch (message->kind) {
    case AICO_MESSAGE_EVENT:
        if (strncmp(message->topic, "logs/", 5) == 0)
            return on_log(backend, message, err);
        if (strcmp(message->topic, TOPIC_CONVERSATION_INPUT) == 0)
            return on_line(backend, message, err);
        return 0;
    case AICO_MESSAGE_REQUEST:
        return on_request(backend, message, err);
    case AICO_MESSAGE_GAP:
    case AICO_MESSAGE_UNOPENED:
        return on_loss(backend, message, err);
    case AICO_MESSAGE_RECEIPT: /* it asks for none */
        return 0;
    case AICO_MESSAGE_REFUSED:
        log_write(LOG_WARNING, "%s: refused: %s (%s)", message->topic, message->text,
                  aico_error_name(message->code));
        return 0;
    case AICO_MESSAGE_STATE:
        if (message->code == 0)
            log_write(LOG_INFO, "connected");
        else
            log_write(LOG_WARNING, "connection lost: %s (%s)", message->text,
                      aico_error_name(message->code));
        return 0;
    default:
        return 0;
    }
}

/* Takes messages until none is waiting, a signal came (unless @is_last) or @end_ms is over. */
static int take_messages(struct backend *backend, bool is_last, int64_t end_ms,
                         struct aico_error *err)
{
    while ((is_last || stop_signal() == 0) && (end_ms < 0 || steady_ms() < end_ms)) {
        struct aico_message *message = NULL;
        int r = aico_receive(backend->client, 0, &message, err);

        if (r == AICO_ETIMEOUT)
            return 0;
        if (r < 0)
            return r;
        r = on_message(backend, message, err);
        aico_message_free(&message);
        if (r < 0)
            return r;
    }
    return 0;
}

static int wait_for_more(struct backend *backend, struct aico_error *err)
{
    struct pollfd fds[] = {
        {.fd = aico_client_fd(backend->client), .events = POLLIN},
        {.fd = backend->stop_fd, .events = POLLIN},
    };
    int64_t left = backend->batch_end_ms == 0 ? -1 : backend->batch_end_ms - steady_ms();
    int64_t alive_ms = notify_interval_ms();

    if (backend->batch_end_ms != 0 && left <= 0)
        return commit(backend, err);
    if (alive_ms > 0 && (left < 0 || left > alive_ms))
        left = alive_ms;
    if (poll(fds, 2, (int)left) < 0 && errno != EINTR)
        return aico_error_set(err, AICO_ESYSTEM, "poll: %s", strerror(errno));
    return 0;
}

/* After a turn of the loop, so that the watchdog hears of a loop that turns. */
static void tell_state(const struct backend *backend)
{
    char text[100];

    notify_alive();
    (void)snprintf(text, sizeof(text), "%" PRIu64 " log messages taken, %" PRIu64 " questions",
                   backend->received, backend->questions);
    notify_status(text);
}

static int run(struct backend *backend, struct aico_error *err)
{
    int r = 0;

    while (r == 0 && stop_signal() == 0) {
        r = take_messages(backend, false, steady_ms() + TURN_MS, err);
        if (r == 0)
            r = wait_for_more(backend, err);
        tell_state(backend);
    }
    if (r == 0) {
        log_write(LOG_INFO, "signal %d: storing what has arrived", stop_signal());
        notify_send("STOPPING=1");
        r = take_messages(backend, true, steady_ms() + LAST_TAKE_MS, err);
    }
    return r;
}

struct subscription {
    const char *filter;
    struct aico_subscribe_options options;
    bool is_needed; /* without it the backend has no purpose */
};

/* The conversation and the status are extras that a registry may leave out. */
static const struct subscription subscriptions[] = {
    {TOPIC_LOGS, {.slow_policy = AICO_SLOW_BLOCK}, true},
    {TOPIC_LOG_QUERY, {.serve = true}, true},
    {TOPIC_STATUS, {.serve = true}, false},
    {TOPIC_CONVERSATION_INPUT, {.slow_policy = AICO_SLOW_DROP_OLD}, false},
};

static int subscribe_all(struct backend *backend, struct aico_error *err)
{
    for (size_t i = 0; i < sizeof(subscriptions) / sizeof(subscriptions[0]); i++) {
        const struct subscription *s = &subscriptions[i];
        uint32_t number;
        int r = aico_subscribe(backend->client, s->filter, &s->options,
                               connect_timeout(&backend->connect, SUBSCRIBE_MS), &number, err);

        if (r == AICO_EDENIED && !s->is_needed) {
            log_write(LOG_WARNING, "%s: %s; going on without it", s->filter, err->text);
            continue;
        }
        if (r < 0)
            return aico_error_prefix(err, r, "subscribing to %s", s->filter);
    }
    return 0;
}

/* --db, or state/NAME/logs.db of the home that the library uses. */
static int database_path(const struct backend *backend, char path[PATH_SIZE],
                         struct aico_error *err)
{
    const char *home = backend->connect.client.home, *user = getenv("HOME");
    int size;

    if (!home)
        home = getenv("AICO_HOME");
    if (backend->db)
        size = snprintf(path, PATH_SIZE, "%s", backend->db);
    else if (home && *home)
        size = snprintf(path, PATH_SIZE, "%s/state/%s/logs.db", home,
                        aico_client_name(backend->client));
    else
        size = snprintf(path, PATH_SIZE, "%s/.aico/state/%s/logs.db", user ? user : "",
                        aico_client_name(backend->client));
    if (size < 0 || size >= PATH_SIZE)
        return aico_error_set(err, AICO_EINVAL, "the path of the database is too long");
    return 0;
}

static int start(struct backend *backend, struct aico_error *err)
{
    char path[PATH_SIZE];
    int r = connect_open(&backend->connect, connect_timeout(&backend->connect, CONNECT_MS),
                         &backend->client, err);

    if (r == 0)
        r = backend->stop_fd = stop_open();
    if (r >= 0)
        r = database_path(backend, path, err);
    if (r == 0)
        r = log_store_open(path, &backend->store, err);
    if (r == 0)
        r = subscribe_all(backend, err);
    if (r < 0)
        return r;

    log_write(LOG_INFO, "ready: %s collects %s in %s", aico_client_name(backend->client),
              TOPIC_LOGS, path);
    connect_ready(&backend->connect);
    notify_send("READY=1");
    return 0;
}

/* Stores and sends what is left. Returns the exit status. */
static int finish(struct backend *backend, int r, struct aico_error *err)
{
    struct aico_unsent left = {0};
    uint64_t lost = 0;

    if (backend->store) {
        struct aico_error commit_err = {0};
        int committed = log_store_commit(backend->store, r < 0 ? &commit_err : err);

        lost = log_store_pending(backend->store);
        if (r == 0)
            r = committed;
    }
    (void)aico_client_close(&backend->client, CLOSE_MS, &left);
    if (left.unread + lost > 0)
        log_write(LOG_WARNING, "%" PRIu64 " messages had arrived and are not stored",
                  left.unread + lost);
    log_store_close(&backend->store);
    if (r < 0)
        return connect_fail(PROGRAM, r, err);

    log_write(LOG_INFO, "stopped");
    return 0;
}

int main(int argc, char **argv)
{
    struct backend backend = {.connect = CONNECT_OPTIONS_INIT, .stop_fd = -1};
    struct command command;
    struct aico_error err = {0};
    int r;

    memory_keep_freed(MEMORY_OF_MESSAGES);
    guard_process();
    guard_files();
    r = options_parse(&backend_program, argc, argv, take, &backend, &command, &err);
    if (r > 0)
        return 0;
    if (r < 0)
        return connect_report(PROGRAM, NULL, r, &err);

    if (backend.connect.user && (r = privilege_drop(backend.connect.user, &err)) < 0)
        return connect_report(PROGRAM, NULL, r, &err);
    guard_process(); /* another user is dumpable again */
    r = connect_log(&backend.connect, "backend", &err);
    if (r < 0)
        return connect_report(PROGRAM, NULL, r, &err);
    if (!backend.connect.client.identity && !getenv("AICO_IDENTITY"))
        backend.connect.client.identity = "backend";
    backend.connect.client.software = PROGRAM " " AICO_VERSION;
    backend.connect.client.wait_for_broker = true;
    backend.started_ms = calendar_ms();
    backend.steady_started_ms = steady_ms();

    r = start(&backend, &err);
    if (r == 0)
        r = run(&backend, &err);
    return finish(&backend, r, &err);
}
