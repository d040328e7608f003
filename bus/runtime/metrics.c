/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread behind the metrics socket. Everything a client can make it hold is bounded: so many
 * clients, so much of a request, so long for it. Beyond CLIENTS_MAX a new one takes the place of
 * the one that has dawdled longest.
 */
#include "runtime/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define CLIENTS_MAX 16
#define BACKLOG 128
#define REQUEST_MAX 4096
#define REQUEST_MS 2000 /* until it has asked */
#define ANSWER_MS 5000  /* until it has the answer */
#define PAUSE_MS 100    /* when there is no descriptor left */
#define LEFT_MAX                                                                                   \
    65536 /* of what a client sent beyond its request: read, for it to end in order                \
           */

enum client_state { CLIENT_FREE, CLIENT_ASKS, CLIENT_WAITS, CLIENT_READS };

struct client {
    enum client_state state;
    int fd;
    int64_t deadline_ms;
    char request[REQUEST_MAX];
    size_t have;
    bool is_head; /* HEAD: the answer without the text */
    struct buffer answer;
    size_t sent;
};

struct metrics {
    struct sockaddr_un address;
    int listener;
    const struct wake *loop;
    struct wake wake; /* the thread's: a text was given, or it should end */
    pthread_t thread;
    bool has_thread;
    atomic_bool is_wanted, is_ending;

    pthread_mutex_t lock; /* of the next two */
    struct buffer given;
    bool is_given;

    /* The thread's. */
    struct buffer text;
    int64_t text_ms; /* when it was given; 0: never */
    int64_t pause_ms;
    struct client clients[CLIENTS_MAX];
};

static int64_t now_ms(void)
{
    return moment_now().boot_ms;
}

/* --- a client ------------------------------------------------------------------------------- */

static void client_close(struct client *c)
{
    if (c->state != CLIENT_FREE)
        (void)close(c->fd);
    buffer_deinit(&c->answer);
    *c = (struct client){.fd = -1};
}

static void answer(struct client *c, const char *status, const char *type, struct bytes text)
{
    bool is_whole = buffer_printf(&c->answer,
                                  "HTTP/1.0 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                                  "Connection: close\r\n\r\n",
                                  status, type, text.size) == 0;

    if (is_whole && !c->is_head)
        is_whole = buffer_append(&c->answer, text) == 0;
    if (!is_whole) {
        client_close(c);
        return;
    }
    c->state = CLIENT_READS;
}

static void answer_error(struct client *c, const char *status, const char *text)
{
    answer(c, status, "text/plain; charset=utf-8", bytes_text(text));
}

/* The line "METHOD TARGET HTTP/1.x", then headers, which say nothing we need to know. */
static void take_request(struct client *c)
{
    char *target, *version, *query;

    c->request[strcspn(c->request, "\r\n")] = '\0';
    target = strchr(c->request, ' ');
    version = target ? strchr(target + 1, ' ') : NULL;
    if (!version || strncmp(version + 1, "HTTP/1.", 7) != 0) {
        answer_error(c, "400 Bad Request", "that is no request of HTTP/1\n");
        return;
    }
    *target++ = *version = '\0';
    query = strchr(target, '?');
    if (query)
        *query = '\0';
    c->is_head = strcmp(c->request, "HEAD") == 0;
    if (!c->is_head && strcmp(c->request, "GET") != 0)
        answer_error(c, "405 Method Not Allowed", "only GET and HEAD\n");
    else if (strcmp(target, "/metrics") != 0)
        answer_error(c, "404 Not Found", "there is only /metrics\n");
    else
        c->state = CLIENT_WAITS;
}

static bool is_complete(const struct client *c)
{
    return memmem(c->request, c->have, "\r\n\r\n", 4) || memmem(c->request, c->have, "\n\n", 2);
}

static void read_request(struct client *c)
{
    ssize_t got = recv(c->fd, c->request + c->have, REQUEST_MAX - 1 - c->have, MSG_DONTWAIT);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        client_close(c);
        return;
    }
    c->have += (size_t)got;
    c->request[c->have] = '\0';
    if (is_complete(c))
        take_request(c);
    else if (c->have == REQUEST_MAX - 1)
        answer_error(c, "431 Request Header Fields Too Large", "at most 4 KiB\n");
    if (c->state != CLIENT_ASKS && c->state != CLIENT_FREE)
        c->deadline_ms = now_ms() + ANSWER_MS;
}

/* A socket closed with something unread would be reset under its client. */
static void read_what_is_left(const struct client *c)
{
    char left[4096];
    size_t size = 0;
    ssize_t got;

    while (size < LEFT_MAX && (got = recv(c->fd, left, sizeof(left), MSG_DONTWAIT)) > 0)
        size += (size_t)got;
}

static void write_answer(struct client *c)
{
    ssize_t sent =
        send(c->fd, c->answer.at + c->sent, c->answer.size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (sent > 0)
        c->sent += (size_t)sent;
    if (sent < 0 || c->sent == c->answer.size) {
        read_what_is_left(c);
        client_close(c);
    }
}

/* --- all of them ---------------------------------------------------------------------------- */

/* A free place, or that of the one that should have asked, else read, soonest. */
static struct client *make_room(struct metrics *m)
{
    struct client *oldest = NULL;

    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &m->clients[i];

        if (c->state == CLIENT_FREE)
            return c;
        if (!oldest || (c->state == CLIENT_ASKS && oldest->state != CLIENT_ASKS) ||
            ((c->state == CLIENT_ASKS) == (oldest->state == CLIENT_ASKS) &&
             c->deadline_ms < oldest->deadline_ms))
            oldest = c;
    }
    client_close(oldest);
    return oldest;
}

/*
 * accept(), not accept4(): the program aico-broker turns strangers away by its own accept4() when
 * descriptors run out, and keeps some for files and sockets of ours, which this is.
 */
static void accept_client(struct metrics *m)
{
    int fd = accept(m->listener, NULL, NULL);
    struct client *c;

    if (fd < 0) {
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
            m->pause_ms = now_ms() + PAUSE_MS;
        return;
    }
    (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
    c = make_room(m);
    c->state = CLIENT_ASKS;
    c->fd = fd;
    c->deadline_ms = now_ms() + REQUEST_MS;
}

static void take_given_text(struct metrics *m)
{
    (void)pthread_mutex_lock(&m->lock);
    if (m->is_given) {
        buffer_deinit(&m->text);
        m->text = m->given;
        m->given = (struct buffer){0};
        m->is_given = false;
        m->text_ms = now_ms();
    }
    (void)pthread_mutex_unlock(&m->lock);
}

/* Who waits gets the text if it is new enough, else the loop is asked for another. */
static void serve_waiting(struct metrics *m)
{
    bool is_new = m->text_ms && now_ms() - m->text_ms < 1000 / METRICS_PER_S;

    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &m->clients[i];

        if (c->state != CLIENT_WAITS)
            continue;
        if (is_new)
            answer(c, "200 OK", "text/plain; version=0.0.4; charset=utf-8", buffer_view(&m->text));
        else if (!atomic_exchange(&m->is_wanted, true))
            wake_signal(m->loop);
    }
}

static void end_late(struct metrics *m)
{
    int64_t now = now_ms();

    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &m->clients[i];

        if (c->state == CLIENT_FREE || now < c->deadline_ms)
            continue;
        if (c->state != CLIENT_WAITS) {
            client_close(c);
            continue;
        }
        c->deadline_ms = now + REQUEST_MS;
        answer_error(c, "503 Service Unavailable", "the broker's loop does not answer\n");
    }
}

/* --- the thread ----------------------------------------------------------------------------- */

static int poll_timeout(const struct metrics *m)
{
    int64_t until = MOMENT_NEVER, now = now_ms();

    for (size_t i = 0; i < CLIENTS_MAX; i++)
        if (m->clients[i].state != CLIENT_FREE)
            until = MIN(until, m->clients[i].deadline_ms);
    if (m->pause_ms)
        until = MIN(until, m->pause_ms);
    return until == MOMENT_NEVER ? -1 : (int)MAX(until - now, (int64_t)0);
}

static void poll_all(struct metrics *m)
{
    struct pollfd fds[CLIENTS_MAX + 2] = {
        {.fd = m->wake.fd, .events = POLLIN},
        {.fd = m->pause_ms ? -1 : m->listener, .events = POLLIN},
    };

    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        const struct client *c = &m->clients[i];

        fds[i + 2].fd = c->state == CLIENT_FREE || c->state == CLIENT_WAITS ? -1 : c->fd;
        fds[i + 2].events = c->state == CLIENT_READS ? POLLOUT : POLLIN;
    }
    if (poll(fds, CLIENTS_MAX + 2, poll_timeout(m)) < 0)
        return;
    if (fds[0].revents)
        wake_clear(&m->wake);
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        struct client *c = &m->clients[i];

        if (fds[i + 2].revents && c->state == CLIENT_ASKS)
            read_request(c);
        else if (fds[i + 2].revents && c->state == CLIENT_READS)
            write_answer(c);
    }
    if (fds[1].revents)
        accept_client(m);
}

static void *run(void *context)
{
    struct metrics *m = context;

    while (!atomic_load(&m->is_ending)) {
        poll_all(m);
        if (m->pause_ms && now_ms() >= m->pause_ms)
            m->pause_ms = 0;
        take_given_text(m);
        serve_waiting(m);
        end_late(m);
    }
    return NULL;
}

/* --- life ----------------------------------------------------------------------------------- */

bool metrics_wanted(struct metrics *m)
{
    return m && atomic_load(&m->is_wanted);
}

void metrics_give(struct metrics *m, struct buffer *text)
{
    (void)pthread_mutex_lock(&m->lock);
    buffer_deinit(&m->given);
    m->given = *text;
    m->is_given = true;
    atomic_store(&m->is_wanted, false);
    (void)pthread_mutex_unlock(&m->lock);
    *text = (struct buffer){0};
    wake_signal(&m->wake);
}

void metrics_stop(struct metrics **metrics)
{
    struct metrics *m = *metrics;

    if (!m)
        return;
    if (m->has_thread) {
        atomic_store(&m->is_ending, true);
        wake_signal(&m->wake);
        (void)pthread_join(m->thread, NULL);
        (void)unlink(m->address.sun_path);
    }
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        client_close(&m->clients[i]);
    fd_close(&m->listener);
    wake_close(&m->wake);
    buffer_deinit(&m->given);
    buffer_deinit(&m->text);
    (void)pthread_mutex_destroy(&m->lock);
    free(m);
    *metrics = NULL;
}

static int listen_at(struct metrics *m, struct aico_error *err)
{
    const char *path = m->address.sun_path;

    m->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The mode of the descriptor becomes that of the file. */
    if (m->listener < 0 || fchmod(m->listener, S_IRUSR | S_IWUSR) < 0 ||
        bind(m->listener, (const struct sockaddr *)&m->address, sizeof(m->address)) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
    if (listen(m->listener, BACKLOG) < 0) {
        (void)aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
        (void)unlink(path);
        return AICO_ESYSTEM;
    }
    return 0;
}

static int start_thread(struct metrics *m, struct aico_error *err)
{
    sigset_t all, before;
    int r;

    /* Signals are for the threads of the program. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&m->thread, NULL, run, m);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    m->has_thread = r == 0;
    if (r == 0)
        return 0;
    (void)unlink(m->address.sun_path);
    return aico_error_set(err, AICO_ESYSTEM, "no thread left for %s", m->address.sun_path);
}

int metrics_start(const char *path, const struct wake *loop, struct metrics **ret_metrics,
                  struct aico_error *err)
{
    CLEANUP(metrics_stop)
    struct metrics *m = calloc(1, sizeof(*m));
    int r;

    if (!m)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    m->listener = m->wake.fd = -1;
    m->loop = loop;
    m->address.sun_family = AF_UNIX;
    (void)pthread_mutex_init(&m->lock, NULL);
    if (strlen(path) >= sizeof(m->address.sun_path))
        return aico_error_set(err, AICO_EINVAL, "%s: path too long for a socket (107 bytes)", path);
    (void)snprintf(m->address.sun_path, sizeof(m->address.sun_path), "%s", path);
    if (wake_open(&m->wake) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "no descriptor left");
    r = listen_at(m, err);
    if (r == 0)
        r = start_thread(m, err);
    if (r < 0)
        return r;
    *ret_metrics = STEAL(m);
    return 0;
}
