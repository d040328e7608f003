/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's links: who comes, who is gone, and waiting for them. */
#include "transport/router.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "crypto/crypto.h"
#include "transport/internal.h"
#include "transport/router_internal.h"

#define ACCEPTS_MAX 16 /* in a turn */
#define PAUSE_MS 5     /* of a listener when there is no room: no faster than connections may end */
#define EVENTS_MAX 512
#define READS_AWAY_MAX 128
#define PARALLEL_MIN (16 * 1024) /* bytes that are worth the waking of helpers */

/* --- links ---------------------------------------------------------------------------------- */

void link_watch(struct router *router, struct link *link)
{
    uint32_t events = (router->is_closing ? 0 : EPOLLIN) | (link->is_blocked ? EPOLLOUT : 0);
    struct epoll_event event = {.events = events, .data.ptr = link};

    /* It is known to epoll, which needs no memory to change it. */
    (void)epoll_ctl(router->epoll_fd, EPOLL_CTL_MOD, link->fd, &event);
}

static void enter(struct router *router, struct link *link, enum link_state state, int64_t now_ms)
{
    int64_t duration_ms = router->duration_ms[state];

    link->state = state;
    link->until_ms = duration_ms > 0 ? now_ms + duration_ms : MOMENT_NEVER;
    DL_APPEND(router->links[state], link);
}

void link_move(struct router *router, struct link *link, enum link_state state, int64_t now_ms)
{
    bool is_ready = link->is_ready;

    link_unready(router, link);
    DL_DELETE(router->links[link->state], link);
    link->is_let_in |= state == LINK_SILENT;
    enter(router, link, state, now_ms);
    if (is_ready)
        link_ready(router, link);
}

static void link_free(struct link *link)
{
    zmtp_wipe(&link->zmtp);
    free(link);
}

void link_close(struct router *router, struct link *link)
{
    if (link->state == LINK_GONE)
        return;
    link_forget_input(router, link);
    link_forget_output(router, link);
    /* A child of the process may hold a copy, which alone would keep it open, and in epoll. */
    (void)epoll_ctl(router->epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
    (void)shutdown(link->fd, SHUT_RDWR);
    fd_close(&link->fd);
    if (link->is_known) {
        link_move(router, link, LINK_GONE, 0);
        return;
    }
    DL_DELETE(router->links[link->state], link);
    link_free(link);
}

static void link_open(struct router *router, int fd, int64_t now_ms)
{
    struct epoll_event event = {.events = EPOLLIN};
    struct link *link = calloc(1, sizeof(*link));
    uint8_t room[ZMTP_ANSWER_MAX];
    struct writer greeting = writer_over(room, sizeof(room));

    event.data.ptr = link;
    if (!link || epoll_ctl(router->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        free(link);
        (void)close(fd);
        return;
    }
    link->source.kind = SOURCE_LINK;
    link->fd = fd;
    enter(router, link, LINK_SHAKING, now_ms);
    zmtp_await(&link->zmtp, router->public, router->secret, &greeting);
    link_say(router, link, bytes_of(greeting.at, greeting.size));
}

void *link_owner(const struct link *link)
{
    return link->owner;
}

void link_set_owner(struct link *link, void *owner)
{
    link->owner = owner;
}

void router_cut(struct router *router, struct moment now, struct link *link)
{
    if (link->state == LINK_SILENT || link->state == LINK_TALKING)
        link_move(router, link, LINK_LEAVING, now.boot_ms);
}

/* --- who comes ------------------------------------------------------------------------------ */

static void listener_watch(struct router *router, struct listener *listener, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = listener};

    (void)epoll_ctl(router->epoll_fd, EPOLL_CTL_MOD, listener->fd, &event);
}

static void accept_some(struct router *router, struct listener *listener)
{
    int64_t now_ms = moment_now().boot_ms;
    int fd, r = 0;

    for (int i = 0; i < ACCEPTS_MAX && r == 0; i++) {
        r = listen_accept(listener->fd, router->descriptors_max, &fd);
        if (r == 0)
            link_open(router, fd, now_ms);
    }
    if (r == AICO_EFULL) {
        listener->paused_until_ms = now_ms + PAUSE_MS;
        listener_watch(router, listener, 0);
    }
}

static void resume_listeners(struct router *router, int64_t now_ms)
{
    for (struct listener *at = router->listeners; at; at = at->next) {
        if (at->paused_until_ms == 0 || now_ms < at->paused_until_ms)
            continue;
        at->paused_until_ms = 0;
        listener_watch(router, at, EPOLLIN);
    }
}

int router_bind(struct router *router, const char *endpoint, int inherited, char **ret_endpoint,
                struct aico_error *err)
{
    CLEANUP(free_memory)
    struct listener *listener = calloc(1, sizeof(*listener));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = listener};
    char *real = NULL;
    int r;

    if (!listener)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    listener->source.kind = SOURCE_LISTENER;
    r = listen_open(endpoint, inherited, &listener->fd, &real, err);
    if (r < 0)
        return r;
    if (epoll_ctl(router->epoll_fd, EPOLL_CTL_ADD, listener->fd, &event) < 0) {
        r = aico_error_set(err, AICO_ESYSTEM, "%s: %s", endpoint, strerror(errno));
        fd_close(&listener->fd);
        free(real);
        return r;
    }
    *ret_endpoint = real;
    LL_APPEND(router->listeners, listener);
    listener = NULL;
    return 0;
}

/* --- waiting -------------------------------------------------------------------------------- */

static void watch_wake(struct router *router, int wake_fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &router->wake};

    if (wake_fd < 0 || wake_fd == router->wake_fd)
        return;
    if (epoll_ctl(router->epoll_fd, EPOLL_CTL_ADD, wake_fd, &event) == 0)
        router->wake_fd = wake_fd;
}

struct look {
    struct router *router;
    struct epoll_event events[EVENTS_MAX];
};

static int look_at_epoll(void *context, int timeout_ms)
{
    struct look *look = context;

    return epoll_wait(look->router->epoll_fd, look->events, EVENTS_MAX, timeout_ms);
}

static void on_link(struct router *router, struct link *link, uint32_t events)
{
    if (events & EPOLLOUT)
        link_has_room(router, link);
    if (events & ~(uint32_t)EPOLLOUT) /* its end, too, is found by reading */
        link_ready(router, link);
}

unsigned router_wait(struct router *router, int wake_fd, int64_t timeout_ms)
{
    struct look look;
    unsigned result = ROUTER_NONE;
    int count;

    router_flush(router);
    watch_wake(router, wake_fd);
    if (router_has_input(router) || router->writable)
        timeout_ms = 0;
    look.router = router;
    count = wait_for(look_at_epoll, &look, timeout_ms, timeout_ms == 0 ? 0 : router->busy_us);
    for (int i = 0; i < count; i++) {
        void *at = look.events[i].data.ptr; /* a source is the first of what it is of */
        const struct source *source = at;

        /* Nothing is freed meanwhile. */
        if (source->kind == SOURCE_WAKE)
            result |= ROUTER_WOKEN;
        else if (source->kind == SOURCE_LISTENER)
            accept_some(router, at);
        else
            on_link(router, at, look.events[i].events);
    }
    return result | (router_has_input(router) ? ROUTER_INPUT : ROUTER_NONE);
}

void router_do(struct router *router, size_t bytes, void (*work)(void *context, size_t index),
               void *context, size_t count)
{
    if (bytes >= PARALLEL_MIN)
        crew_do(router->crew, work, context, count);
    else
        for (size_t i = 0; i < count; i++)
            work(context, i);
}

/* --- time ----------------------------------------------------------------------------------- */

/* What is closed with something unread throws away what it has not delivered; who goes on writing
 * cannot hold us up. */
static void read_away(const struct link *link)
{
    uint8_t away[16 * 1024]; /* in an intake there may be frames of others */

    for (int i = 0; i < READS_AWAY_MAX; i++)
        if (recv(link->fd, away, sizeof(away), MSG_DONTWAIT) <= 0)
            return;
}

static void pass_time(struct router *router, int64_t now_ms)
{
    static const enum link_state bounded[] = {LINK_SHAKING, LINK_SILENT, LINK_LEAVING};

    for (size_t i = 0; i < COUNT_OF(bounded); i++) {
        struct link *link;

        while ((link = router->links[bounded[i]]) != NULL && now_ms >= link->until_ms) {
            router->counters.refused_silent += link->state == LINK_SILENT;
            if (link->state == LINK_LEAVING)
                read_away(link);
            link_close(router, link);
        }
    }
    resume_listeners(router, now_ms);
}

static void forget_named(struct router *router)
{
    if (router->named)
        link_free(STEAL(router->named));
}

bool router_next_gone(struct router *router, struct moment now, struct link **ret_link)
{
    struct link *link;

    forget_named(router);
    pass_time(router, now.boot_ms);
    link = router->links[LINK_GONE];
    if (!link)
        return false;
    DL_DELETE(router->links[LINK_GONE], link);
    *ret_link = router->named = link;
    return true;
}

int64_t router_deadline(const struct router *router)
{
    int64_t deadline_ms = MOMENT_NEVER;

    if (router->links[LINK_GONE])
        return 0;
    for (size_t i = 0; i < LINK_STATES; i++)
        if (router->links[i])
            deadline_ms = MIN(deadline_ms, router->links[i]->until_ms);
    for (const struct listener *at = router->listeners; at; at = at->next)
        if (at->paused_until_ms > 0)
            deadline_ms = MIN(deadline_ms, at->paused_until_ms);
    return deadline_ms;
}

/* --- who is let in -------------------------------------------------------------------------- */

void router_set_roster(struct router *router, struct roster **roster)
{
    roster_free(&router->roster);
    router->roster = STEAL(*roster);
}

void router_set_look(struct router *router, void (*look)(void *context), void *context)
{
    router->look = look;
    router->look_context = context;
}

void router_get_counters(const struct router *router, struct router_counters *ret_counters)
{
    *ret_counters = router->counters;
}

/* --- life ----------------------------------------------------------------------------------- */

static int descriptors_max(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur > INT_MAX)
        return INT_MAX;
    return (int)files.rlim_cur - ROUTER_DESCRIPTORS_KEPT;
}

static bool prepare(struct router *router, unsigned threads)
{
    router->sealed = malloc(router->frame_size_max + ZMTP_OVERHEAD);
    router->intake_count = MAX(threads, 1u);
    router->intakes = calloc(router->intake_count, sizeof(*router->intakes));
    if (!router->sealed || !router->intakes)
        return false;
    for (size_t i = 0; i < router->intake_count; i++)
        if ((router->intakes[i].at = malloc(READ_SIZE)) == NULL)
            return false;
    return true;
}

static void router_clean(struct router **router)
{
    router_free(router, 0);
}

int router_new(const struct router_settings *settings, struct router **ret_router,
               struct aico_error *err)
{
    CLEANUP(router_clean)
    struct router *router = calloc(1, sizeof(*router));
    int r;

    if (!router)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    router->epoll_fd = router->wake_fd = -1;
    router->secret = guarded_new(sizeof(*router->secret));
    if (!router->secret)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    *router->secret = *settings->secret;
    dh_public(router->secret, router->public);
    router->frame_size_max = settings->frame_size_max;
    router->duration_ms[LINK_SHAKING] = settings->handshake_ms;
    router->duration_ms[LINK_SILENT] = settings->silent_ms;
    router->duration_ms[LINK_LEAVING] = settings->bye_ms;
    router->busy_us = settings->busy_us;
    router->descriptors_max = descriptors_max();
    router->wake.kind = SOURCE_WAKE;
    if (!prepare(router, settings->threads))
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    router->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (router->epoll_fd < 0)
        return aico_error_set(err, AICO_ESYSTEM, "watching the broker's sockets: %s",
                              strerror(errno));
    if (settings->threads > 1) {
        r = crew_start(settings->threads - 1, &router->crew);
        if (r < 0)
            return aico_error_set(err, r, "starting the threads of the broker: %s",
                                  aico_error_string(r));
    }
    *ret_router = STEAL(router);
    return 0;
}

/* From now on epoll tells of links that have something to send, and of their room only. Returns how
 * many they are. */
static size_t watch_blocked(struct router *router)
{
    size_t count = 0;

    router->is_closing = true;
    if (router->wake_fd >= 0)
        (void)epoll_ctl(router->epoll_fd, EPOLL_CTL_DEL, router->wake_fd, NULL);
    for (struct listener *at = router->listeners; at; at = at->next)
        (void)epoll_ctl(router->epoll_fd, EPOLL_CTL_DEL, at->fd, NULL);
    for (size_t i = 0; i < LINK_GONE; i++)
        for (struct link *at = router->links[i]; at; at = at->next) {
            count += at->is_blocked;
            if (at->is_blocked)
                link_watch(router, at);
            else
                (void)epoll_ctl(router->epoll_fd, EPOLL_CTL_DEL, at->fd, NULL);
        }
    return count;
}

/* Gives what was sent @linger_ms to leave. */
static void say_rest(struct router *router, int64_t linger_ms)
{
    int64_t end_ms = moment_now().boot_ms + linger_ms, left_ms = linger_ms;
    struct look look = {.router = router};
    size_t blocked;

    router_flush(router);
    blocked = watch_blocked(router);
    while (blocked > 0 && left_ms > 0) {
        int count = wait_for(look_at_epoll, &look, left_ms, 0);

        for (int i = 0; i < count; i++) {
            struct link *link = look.events[i].data.ptr;

            link_flush(router, link);
            if (link->is_blocked)
                continue;
            (void)epoll_ctl(router->epoll_fd, EPOLL_CTL_DEL, link->fd, NULL);
            blocked--;
        }
        left_ms = end_ms - moment_now().boot_ms;
    }
}

static void close_links(struct router *router)
{
    forget_named(router);
    for (size_t i = 0; i < LINK_STATES; i++) {
        struct link *link, *next;

        DL_FOREACH_SAFE(router->links[i], link, next)
        {
            if (link->state == LINK_GONE) {
                link_free(link);
                continue;
            }
            read_away(link);
            link->is_known = false; /* nobody is told any more */
            link_close(router, link);
        }
    }
}

void router_free(struct router **router, int64_t linger_ms)
{
    struct router *r = *router;
    struct listener *listener, *next;

    if (!r)
        return;
    if (linger_ms > 0)
        say_rest(r, linger_ms);
    if (r->intakes)
        close_links(r);
    LL_FOREACH_SAFE(r->listeners, listener, next)
    {
        fd_close(&listener->fd);
        free(listener);
    }
    crew_stop(&r->crew);
    fd_close(&r->epoll_fd);
    for (size_t i = 0; r->intakes && i < r->intake_count; i++)
        free(r->intakes[i].at);
    free(r->intakes);
    free(r->sealed);
    free(r->lent);
    roster_free(&r->roster);
    guarded_free(&r->secret);
    free(r);
    *router = NULL;
}
