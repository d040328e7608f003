/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's ROUTER and its links. */
#include "transport/router.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "transport/internal.h"
#include "transport/zap.h"

#define ZAP_ENFORCE_DOMAIN 93 /* compiled into 4.3.4, but named in its draft header only */
#define ROUTING_ID_SIZE 5     /* of the ids libzmq gives: a zero, then a number */
#define BACKLOG 4096
/* Frames, not bytes, so few: the broker's own outboxes are where messages wait. */
#define SEND_HWM 16
#define RECEIVE_HWM 32

#define GONE_DRAIN_MS 100 /* at most so long what a lost link had sent is waited for */
#define TOMB_MS 5000      /* a routing id is still known, to throw away what comes late */
#define CHECK_FIRST_MS 1  /* is its descriptor still open? Asked again after 2, 4, 8... ms */
#define CHECK_LAST_MS 512

/* What a connection may have sent beyond the frames we were given of it: full pipes of libzmq, the
 * handshake, and some more. Whoever sends parts without end is found out by it. */
#define UNSEEN_FRAMES (RECEIVE_HWM + 8)
#define WIRE_OVERHEAD 42 /* of a frame: what CURVE adds, and the head of ZMTP */
#define AUDIT_MS 50      /* between two looks at AUDIT_COUNT descriptors */
#define AUDIT_COUNT 512
#define THROWN_MAX 256 /* messages that are no frames, before the owner gets its turn */

enum link_state {
    LINK_OPEN,
    LINK_SUSPECT, /* new, or a connection of its descriptor's number ended: has it ended? */
    LINK_CUTTING, /* shutdown() at at_ms */
    LINK_CUT,     /* shutdown() is done, libzmq has not closed it yet */
    LINK_GONE,    /* to be named by router_next_gone() */
    LINK_TOMB     /* was named; freed at at_ms */
};

struct link {
    uint8_t routing_id[ROUTING_ID_SIZE];
    enum link_state state;
    int fd;           /* libzmq's; only looked at and shut down, never without comparing cookie.
                         -1: it was closed before the first frame was read */
    uint64_t cookie;  /* SO_COOKIE: tells this connection from later ones of the same number */
    int64_t at_ms;    /* SUSPECT, CUTTING, CUT, GONE, TOMB: what is next is due then */
    int64_t step_ms;  /* SUSPECT, CUT: how long until the next look */
    uint64_t drained; /* GONE: router->drained when it was found out */
    const char *user_id_at; /* libzmq's copy, one per connection: compared by address */
    uint64_t delivered;     /* bytes on the wire of the frames we were given */
    void *owner;
    char user_id[ZAP_USER_ID_MAX + 1];
    char address[ZAP_ADDRESS_MAX + 1];
    struct link *prev, *next; /* in router->gone if LINK_GONE, in router->busy unless LINK_OPEN */
    UT_hash_handle hh;
};

/* A connection that no frame has come from: a stranger, or a component that says nothing. */
struct guest {
    uint64_t cookie; /* 0: none */
    int64_t until_ms;
};

struct router {
    struct transport *transport;
    void *socket;
    void *monitor;
    struct waiter waiter;
    struct link *links;   /* by routing id */
    struct link *last;    /* of the last frame: most frames come in bursts */
    struct link **by_fd;  /* by_fd_count of them, as of guests */
    struct guest *guests; /* by descriptor */
    size_t by_fd_count;
    uint32_t first_id; /* of those libzmq gives, which rise by one a connection */
    uint32_t accepted; /* connections */
    size_t audit_fd;   /* the next to be looked at */
    size_t guest_count;
    int64_t audit_ms;
    int64_t guest_ms; /* how long a guest may stay */
    int64_t bye_ms;
    uint64_t unseen_limit; /* bytes */
    struct link *busy;
    int64_t due_ms; /* the least at_ms of busy, or earlier */
    struct link *gone;
    uint64_t drained; /* how often the socket was found empty */
    zmq_msg_t frame;
    struct router_counters counters;
};

/* --- sockets -------------------------------------------------------------------------------- */

static bool is_domain_enforced(void *socket)
{
    int value = 0;
    size_t size = sizeof(value);

    return zmq_getsockopt(socket, ZAP_ENFORCE_DOMAIN, &value, &size) == 0 && value == 1;
}

static bool set_options(void *socket, const struct router_settings *settings)
{
    int64_t size_max = (int64_t)settings->frame_size_max + FRAME_OVERHEAD;

    return socket_set_int(socket, ZMQ_LINGER, 0) &&
           socket_set_int(socket, ZMQ_ROUTER_MANDATORY, 1) &&
           socket_set_int(socket, ZMQ_SNDHWM, SEND_HWM) &&
           socket_set_int(socket, ZMQ_RCVHWM, RECEIVE_HWM) &&
           socket_set_int(socket, ZMQ_BACKLOG, BACKLOG) &&
           socket_set_int(socket, ZMQ_HANDSHAKE_IVL, (int)settings->handshake_ms) &&
           zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &size_max, sizeof(size_max)) == 0 &&
           socket_set_int(socket, ZMQ_CURVE_SERVER, 1) &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, settings->secret->at, SECRET_SIZE) == 0 &&
           zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, ZAP_DOMAIN, strlen(ZAP_DOMAIN)) == 0 &&
           socket_set_int(socket, ZAP_ENFORCE_DOMAIN, 1);
}

static uint32_t id_number(const uint8_t *routing_id)
{
    return (uint32_t)routing_id[1] << 24 | (uint32_t)routing_id[2] << 16 |
           (uint32_t)routing_id[3] << 8 | routing_id[4];
}

/* The number of the first id that libzmq gives, which is of chance: it is given to ourselves. */
static bool learn_first_id(struct router *router)
{
    CLEANUP(socket_close)
    void *own = zmq_socket(router->transport->zmq, ZMQ_DEALER);
    uint8_t id[ROUTING_ID_SIZE] = {0}, byte = 0;
    char name[64];

    (void)snprintf(name, sizeof(name), "inproc://aico-router-%p", (void *)router);
    if (!own || !socket_set_int(own, ZMQ_LINGER, 0) || zmq_bind(router->socket, name) < 0 ||
        zmq_connect(own, name) < 0 || zmq_send(own, &byte, 1, 0) < 0 ||
        zmq_recv(router->socket, id, sizeof(id), 0) != ROUTING_ID_SIZE ||
        zmq_recv(router->socket, &byte, 1, 0) != 1 || zmq_unbind(router->socket, name) < 0)
        return false;
    router->first_id = id_number(id);
    return id[0] == 0;
}

static void router_clean(struct router **router)
{
    router_free(router, 0);
}

int router_new(struct transport *transport, const struct router_settings *settings,
               struct router **ret_router, struct aico_error *err)
{
    CLEANUP(router_clean)
    struct router *router = calloc(1, sizeof(*router));

    if (!router)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    (void)zmq_msg_init(&router->frame);
    router->transport = transport;
    router->due_ms = MOMENT_NEVER;
    router->socket = zmq_socket(transport->zmq, ZMQ_ROUTER);
    if (!router->socket || !set_options(router->socket, settings))
        return aico_error_set(err, AICO_ESYSTEM, "preparing the broker's socket: %s",
                              zmq_strerror(errno));
    /* Without it anybody is let in while no handler answers: never trust that it was taken. */
    if (!is_domain_enforced(router->socket))
        return aico_error_set(err, AICO_ESYSTEM, "this libzmq does not enforce the check of keys");
    if (!learn_first_id(router))
        return aico_error_set(err, AICO_ESYSTEM, "asking libzmq for a routing id: %s",
                              zmq_strerror(errno));
    router->guest_ms = settings->handshake_ms + settings->silent_ms;
    router->bye_ms = settings->bye_ms;
    router->unseen_limit = UNSEEN_FRAMES * (settings->frame_size_max + FRAME_OVERHEAD);
    router->monitor = monitor_open(transport, router->socket,
                                   ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_DISCONNECTED |
                                       ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL);
    if (!router->monitor || !waiter_init(&router->waiter, router->socket, router->monitor))
        return aico_error_set(err, AICO_ESYSTEM, "watching the broker's socket: %s",
                              zmq_strerror(errno));
    router->waiter.busy_us = settings->busy_us;
    *ret_router = STEAL(router);
    return 0;
}

static int bind_error(const char *endpoint, int number, struct aico_error *err)
{
    switch (number) {
    case EADDRINUSE:
        return aico_error_set(err, AICO_EEXISTS, "%s: address in use, by another broker or program",
                              endpoint);
    case EADDRNOTAVAIL:
    case ENODEV:
        return aico_error_set(err, AICO_EINVAL, "%s: this machine has no such address", endpoint);
    case ENAMETOOLONG:
        return aico_error_set(err, AICO_EINVAL, "%s: path too long for a socket (107 bytes)",
                              endpoint);
    default:
        return aico_error_set(err, number == EINVAL ? AICO_EINVAL : AICO_ESYSTEM, "%s: %s",
                              endpoint, zmq_strerror(number));
    }
}

/* libzmq closes what it is given, at some time. With the listener it neither binds nor unlinks. */
static int bind_listener(struct router *router, const char *endpoint, int listener)
{
    int copy = fcntl(listener, F_DUPFD_CLOEXEC, 0);
    int flags = copy < 0 ? -1 : fcntl(copy, F_GETFL);
    int r = -1, saved;

    /* Its I/O thread must not wait for a connection that ended before it was accepted. */
    if (flags >= 0 && fcntl(copy, F_SETFL, flags | O_NONBLOCK) == 0 &&
        socket_set_int(router->socket, ZMQ_USE_FD, copy))
        r = zmq_bind(router->socket, endpoint);
    saved = errno;
    if (r < 0 && copy >= 0)
        (void)close(copy);
    (void)socket_set_int(router->socket, ZMQ_USE_FD, -1);
    errno = saved;
    return r;
}

int router_bind(struct router *router, const char *endpoint, int listener, char **ret_endpoint,
                struct aico_error *err)
{
    static const char local[] = "tcp://localhost:";
    char text[512], real[512];
    size_t size = sizeof(real);
    char *copy;
    int r;

    /* libzmq resolves host names for connecting only. */
    if (strncmp(endpoint, local, strlen(local)) == 0)
        (void)snprintf(text, sizeof(text), "tcp://127.0.0.1:%s", endpoint + strlen(local));
    else
        (void)snprintf(text, sizeof(text), "%s", endpoint);
    if (!socket_set_int(router->socket, ZMQ_IPV6, endpoint_is_ipv6(text)))
        return bind_error(endpoint, errno, err);
    r = listener < 0 ? zmq_bind(router->socket, text) : bind_listener(router, text, listener);
    if (r < 0)
        return bind_error(endpoint, errno, err);
    if (zmq_getsockopt(router->socket, ZMQ_LAST_ENDPOINT, real, &size) < 0)
        (void)snprintf(real, sizeof(real), "%s", text);
    copy = strdup(real);
    if (!copy)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    *ret_endpoint = copy;
    return 0;
}

/* A lost link is named after a look that found nothing left of it: then what is known is too old.
 */
static bool has_input(struct router *router)
{
    if (router->waiter.is_empty && !router->gone)
        return false;
    if (waiter_events(&router->waiter) & ZMQ_POLLIN)
        return true;
    router->drained++;
    return false;
}

unsigned router_wait(struct router *router, int wake_fd, int64_t timeout_ms)
{
    unsigned result = ROUTER_NONE, found;

    if (has_input(router))
        return ROUTER_INPUT;
    found = waiter_poll(router->waiter.fds, wake_fd, timeout_ms, router->waiter.busy_us);
    waiter_polled(&router->waiter, found);
    if (found & WAITER_WOKEN)
        result |= ROUTER_WOKEN;
    if (has_input(router))
        result |= waiter_expects_one(&router->waiter) ? ROUTER_INPUT | ROUTER_ONE : ROUTER_INPUT;
    return result;
}

/* --- connections ---------------------------------------------------------------------------- */

/* False when @fd is no socket (any more). */
static bool cookie_of(int fd, uint64_t *ret_cookie)
{
    socklen_t size = sizeof(*ret_cookie);

    return fd >= 0 && getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret_cookie, &size) == 0;
}

static bool is_still_open(const struct link *link)
{
    uint64_t cookie;

    return cookie_of(link->fd, &cookie) && cookie == link->cookie;
}

static struct link *link_of_fd(const struct router *router, int fd)
{
    return fd >= 0 && (size_t)fd < router->by_fd_count ? router->by_fd[fd] : NULL;
}

static struct link **list_of(struct router *router, enum link_state state)
{
    return state == LINK_GONE ? &router->gone : state == LINK_OPEN ? NULL : &router->busy;
}

static void set_state(struct router *router, struct link *link, enum link_state state,
                      int64_t at_ms)
{
    struct link **from = list_of(router, link->state), **to = list_of(router, state);

    if (from != to && from)
        DL_DELETE(*from, link);
    if (from != to && to)
        DL_APPEND(*to, link);
    link->state = state;
    link->at_ms = at_ms;
    if (to == &router->busy)
        router->due_ms = MIN(router->due_ms, at_ms);
}

/* Whoever breaks the rules of this layer is told nothing, or no more. */
static void cut_at_once(struct router *router, struct moment now, struct link *link)
{
    if (link->state <= LINK_CUTTING)
        set_state(router, link, LINK_CUTTING, now.boot_ms);
}

/* Makes room for @fd in the tables by descriptor. */
static bool has_room_for_fd(struct router *router, int fd)
{
    size_t count = (size_t)fd + 1, grown = MAX(count, router->by_fd_count * 2);
    struct link **links;
    struct guest *guests;

    if (count <= router->by_fd_count)
        return true;
    links = realloc(router->by_fd, grown * sizeof(struct link *));
    if (!links)
        return false;
    router->by_fd = links;
    guests = realloc(router->guests, grown * sizeof(*guests));
    if (!guests)
        return false;
    router->guests = guests;
    memset(links + router->by_fd_count, 0, (grown - router->by_fd_count) * sizeof(*links));
    memset(guests + router->by_fd_count, 0, (grown - router->by_fd_count) * sizeof(*guests));
    router->by_fd_count = grown;
    return true;
}

static bool remember_fd(struct router *router, struct link *link)
{
    if (!has_room_for_fd(router, link->fd))
        return false;
    router->by_fd[link->fd] = link;
    return true;
}

/* --- guests --------------------------------------------------------------------------------- */

static void guest_forget(struct router *router, int fd)
{
    struct guest *guest = (size_t)fd < router->by_fd_count ? &router->guests[fd] : NULL;

    if (!guest || guest->cookie == 0)
        return;
    guest->cookie = 0;
    router->guest_count--;
}

static void on_accepted(struct router *router, int fd, int64_t now_ms)
{
    int is_listening = 0;
    socklen_t size = sizeof(is_listening);
    struct link *link = link_of_fd(router, fd);
    uint64_t cookie;

    router->accepted++;
    /* It may have ended, and its number be another's, before we hear of it. */
    if (!cookie_of(fd, &cookie) || (link && link->cookie == cookie) ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) < 0 || is_listening ||
        !has_room_for_fd(router, fd))
        return;
    guest_forget(router, fd);
    router->guests[fd] = (struct guest){cookie, now_ms + router->guest_ms};
    router->guest_count++;
}

/* Bytes that came over @fd; 0 where the system does not say, which is on ipc. */
static uint64_t bytes_received(int fd)
{
    struct tcp_info info = {0};
    socklen_t size = sizeof(info);

    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return 0;
    return info.tcpi_bytes_received;
}

static void audit_guest(struct router *router, int fd, int64_t now_ms)
{
    struct guest *guest = &router->guests[fd];
    uint64_t cookie;

    if (guest->cookie == 0)
        return;
    if (!cookie_of(fd, &cookie) || cookie != guest->cookie) {
        guest_forget(router, fd);
    } else if (now_ms >= guest->until_ms || bytes_received(fd) > router->unseen_limit) {
        guest_forget(router, fd);
        (void)shutdown(fd, SHUT_RDWR);
        router->counters.refused_silent++;
    }
}

static void audit_link(struct router *router, struct moment now, struct link *link)
{
    if (link->state > LINK_CUTTING ||
        bytes_received(link->fd) <= link->delivered + router->unseen_limit || !is_still_open(link))
        return;
    router->counters.refused_unseen++;
    cut_at_once(router, now, link);
}

/* Looks at some descriptors, at all of them in turn. */
static void audit(struct router *router, struct moment now)
{
    for (size_t i = 0; i < MIN(router->by_fd_count, (size_t)AUDIT_COUNT); i++) {
        size_t fd = router->audit_fd++ % router->by_fd_count;

        if (router->by_fd[fd])
            audit_link(router, now, router->by_fd[fd]);
        audit_guest(router, (int)fd, now.boot_ms);
    }
    router->audit_ms = now.boot_ms + AUDIT_MS;
}

static void write_address(int fd, const char *fallback, char *to, size_t size)
{
    struct sockaddr_storage address = {0};
    socklen_t address_size = sizeof(address);
    struct ucred who;
    socklen_t who_size = sizeof(who);
    char host[64], port[16];

    (void)snprintf(to, size, "%s", fallback ? fallback : "unknown");
    if (getpeername(fd, (struct sockaddr *)&address, &address_size) < 0)
        return;
    if (address.ss_family == AF_UNIX) {
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_size) == 0)
            (void)snprintf(to, size, "uid %u, pid %d", (unsigned)who.uid, (int)who.pid);
    } else if (getnameinfo((struct sockaddr *)&address, address_size, host, sizeof(host), port,
                           sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        (void)snprintf(to, size, address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    }
}

/* --- links ---------------------------------------------------------------------------------- */

static void link_is_gone(struct router *router, struct link *link, int64_t now_ms)
{
    if (link->state == LINK_GONE || link->state == LINK_TOMB)
        return;
    if (link_of_fd(router, link->fd) == link)
        router->by_fd[link->fd] = NULL;
    link->drained = router->drained;
    set_state(router, link, LINK_GONE, now_ms + GONE_DRAIN_MS);
}

static void link_free(struct router *router, struct link *link)
{
    set_state(router, link, LINK_OPEN, 0); /* leaves its list */
    if (router->last == link)
        router->last = NULL;
    if (link_of_fd(router, link->fd) == link)
        router->by_fd[link->fd] = NULL;
    HASH_DEL(router->links, link);
    free(link);
}

static void suspect(struct router *router, struct link *link, int64_t now_ms)
{
    link->step_ms = CHECK_FIRST_MS;
    set_state(router, link, LINK_SUSPECT, now_ms + link->step_ms);
}

static bool keep_link(struct router *router, struct link *link, int64_t now_ms)
{
    struct link *former = link_of_fd(router, link->fd);

    if (link->fd >= 0 && !remember_fd(router, link))
        return false;
    /* The number was free to be given again, so the connection that had it has ended. */
    if (former)
        link_is_gone(router, former, now_ms);
    if (link->fd >= 0) {
        router->by_fd[link->fd] = link;
        guest_forget(router, link->fd);
    }
    HASH_ADD(hh, router->links, routing_id, ROUTING_ID_SIZE, link);
    if (HASH_ADDED(hh, link))
        return true;
    if (link->fd >= 0)
        router->by_fd[link->fd] = NULL;
    return false;
}

/*
 * A frame of an unknown routing id: a new link, or NULL. Its connection may have ended before we
 * came to read what it sent: then it is gone from the start, to be named after that. Or its end was
 * told already, when there was no link to know of it, and its descriptor is about to be closed: so
 * every new link is looked at again.
 */
static struct link *link_new(struct router *router, const uint8_t *routing_id, zmq_msg_t *message,
                             const char *user_id, int64_t now_ms)
{
    struct link *link = calloc(1, sizeof(*link));

    if (!link)
        return NULL;
    memcpy(link->routing_id, routing_id, ROUTING_ID_SIZE);
    link->fd = zmq_msg_get(message, ZMQ_SRCFD);
    if (!cookie_of(link->fd, &link->cookie))
        link->fd = -1;
    link->user_id_at = user_id;
    (void)snprintf(link->user_id, sizeof(link->user_id), "%s", user_id);
    write_address(link->fd, zmq_msg_gets(message, "Peer-Address"), link->address,
                  sizeof(link->address));
    if (!keep_link(router, link, now_ms)) {
        free(link);
        return NULL;
    }
    if (link->fd < 0)
        link_is_gone(router, link, now_ms);
    else
        suspect(router, link, now_ms);
    router->counters.links++;
    return link;
}

void *link_owner(const struct link *link)
{
    return link->owner;
}

void link_set_owner(struct link *link, void *owner)
{
    link->owner = owner;
}

/* --- receiving ------------------------------------------------------------------------------ */

/* Ends the connection a message came from, which is no link of ours. Its descriptor may have been
 * closed and given to another since: never one that belongs to a link. */
static void cut_stranger(struct router *router, zmq_msg_t *message)
{
    int fd = zmq_msg_get(message, ZMQ_SRCFD);
    struct link *link = link_of_fd(router, fd);

    if (fd >= 0 && !(link && is_still_open(link)))
        (void)shutdown(fd, SHUT_RDWR);
}

/* One message: its routing id and its only payload part in router->frame. 0; 1: it was no frame and
 * was thrown away; AICO_ENOTFOUND. */
static int read_message(struct router *router, uint8_t *routing_id, size_t *ret_id_size)
{
    zmq_msg_t *frame = &router->frame;
    size_t parts = 0, size;
    int r;

    do {
        do
            r = zmq_msg_recv(frame, router->socket, ZMQ_DONTWAIT);
        while (r < 0 && errno == EINTR);
        if (r < 0) {
            if (errno == EAGAIN)
                waiter_received(&router->waiter, false);
            return AICO_ENOTFOUND;
        }
        if (parts++ == 0) {
            size = zmq_msg_size(frame);
            *ret_id_size = size;
            memcpy(routing_id, zmq_msg_data(frame), MIN(size, (size_t)ROUTING_ID_SIZE));
        }
    } while (zmq_msg_more(frame));
    waiter_received(&router->waiter, true);
    if (parts == 2 && zmq_msg_size(frame) > 0)
        return 0;
    router->counters.refused_shape++;
    return 1;
}

static struct link *find_link(struct router *router, const uint8_t *routing_id)
{
    struct link *link = router->last;

    if (link && memcmp(link->routing_id, routing_id, ROUTING_ID_SIZE) == 0)
        return link;
    HASH_FIND(hh, router->links, routing_id, ROUTING_ID_SIZE, link);
    if (link)
        router->last = link;
    return link;
}

/* What libzmq says of its connections. */
/*
 * Some connection of this number has ended. Its descriptor is closed a moment after libzmq says so,
 * so an unchanged cookie proves nothing yet; and it may have been a stranger who had the number
 * before our link.
 */
static void on_disconnected(struct router *router, int fd, int64_t now_ms)
{
    struct link *link = link_of_fd(router, fd);

    if (!link)
        return;
    if (!is_still_open(link)) {
        link_is_gone(router, link, now_ms);
    } else if (link->state <= LINK_SUSPECT) {
        suspect(router, link, now_ms);
    } else if (link->state == LINK_CUTTING) {
        set_state(router, link, LINK_CUTTING, now_ms); /* it has gone by itself */
    }
}

static void read_monitor(struct router *router, int64_t now_ms)
{
    uint16_t event;
    uint32_t value;

    while (waiter_next_event(&router->waiter, &event, &value))
        if (event == ZMQ_EVENT_ACCEPTED)
            on_accepted(router, (int)value, now_ms);
        else if (event == ZMQ_EVENT_DISCONNECTED)
            on_disconnected(router, (int)value, now_ms);
        else if (value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)
            router->counters.refused_cipher++;
}

/* Whether libzmq has given this id: it looks like one, and there were so many connections. The
 * property says nothing of ids that begin with a zero. */
static bool is_given_id(struct router *router, const uint8_t *routing_id, size_t size,
                        int64_t now_ms)
{
    const char *chosen = zmq_msg_gets(&router->frame, "Identity");
    uint32_t number;

    if (size != ROUTING_ID_SIZE || routing_id[0] != 0 || (chosen && *chosen))
        return false;
    number = id_number(routing_id) - router->first_id;
    if (number > router->accepted) {
        router->waiter.is_monitor_due = true;
        read_monitor(router, now_ms);
    }
    return number > 0 && number <= router->accepted;
}

/* The link of router->frame, or NULL: thrown away. */
static struct link *accept_frame(struct router *router, const uint8_t *routing_id, size_t id_size,
                                 struct moment now, bool *ret_is_new)
{
    zmq_msg_t *frame = &router->frame;
    const char *user_id = zmq_msg_gets(frame, "User-Id");
    struct link *link;

    if (!user_id || !*user_id || strlen(user_id) > ZAP_USER_ID_MAX) {
        router->counters.refused_user++;
        cut_stranger(router, frame);
        return NULL;
    }
    link = find_link(router, routing_id);
    if (id_size != ROUTING_ID_SIZE ||
        (!link && !is_given_id(router, routing_id, id_size, now.boot_ms))) {
        router->counters.refused_id++;
        cut_stranger(router, frame);
        return NULL;
    }
    *ret_is_new = !link;
    if (!link)
        link = link_new(router, routing_id, frame, user_id, now.boot_ms);
    if (!link || link->user_id_at != user_id || link->state > LINK_SUSPECT) {
        /* What a lost link had sent before is still wanted. */
        if (link && link->user_id_at == user_id && link->state == LINK_GONE)
            return link;
        if (link) /* what is thrown away has been seen all the same */
            link->delivered += zmq_msg_size(frame) + WIRE_OVERHEAD;
        router->counters.late++;
        return NULL;
    }
    return link;
}

int router_receive(struct router *router, struct moment now, struct router_input *ret_input)
{
    for (int thrown = 0; thrown < THROWN_MAX; thrown++) {
        uint8_t routing_id[ROUTING_ID_SIZE] = {0};
        size_t id_size = 0;
        bool is_new = false;
        struct link *link;
        int r = read_message(router, routing_id, &id_size);

        if (r < 0) {
            router->drained++;
            return r;
        }
        if (r > 0) {
            link = find_link(router, routing_id);
            if (link && id_size == ROUTING_ID_SIZE)
                cut_at_once(router, now, link);
            else
                cut_stranger(router, &router->frame);
            continue;
        }
        link = accept_frame(router, routing_id, id_size, now, &is_new);
        if (!link)
            continue;
        router->counters.frames_in++;
        router->counters.bytes_in += zmq_msg_size(&router->frame);
        link->delivered += zmq_msg_size(&router->frame) + WIRE_OVERHEAD;
        *ret_input = (struct router_input){
            .link = link,
            .is_new = is_new,
            .user_id = link->user_id,
            .address = link->address,
            .frame = bytes_of(zmq_msg_data(&router->frame), zmq_msg_size(&router->frame)),
        };
        return 0;
    }
    return AICO_ENOTFOUND; /* for now */
}

/* --- sending -------------------------------------------------------------------------------- */

static int send_part(struct router *router, const void *at, size_t size, int flags)
{
    int r;

    do
        r = zmq_send(router->socket, at, size, flags | ZMQ_DONTWAIT);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -1 : 0;
}

int router_send(struct router *router, struct link *link, struct bytes frame)
{
    if (link->state >= LINK_CUT)
        return AICO_ECLOSED;
    waiter_sent(&router->waiter);
    /* Only the first part can be refused: then nothing of the message was taken. */
    if (send_part(router, link->routing_id, ROUTING_ID_SIZE, ZMQ_SNDMORE) < 0) {
        if (errno == EAGAIN)
            return AICO_EFULL;
        if (errno == ENOMEM)
            return AICO_ENOMEM;
        link_is_gone(router, link, moment_now().boot_ms);
        return AICO_ECLOSED;
    }
    if (send_part(router, frame.at, frame.size, 0) < 0)
        return errno == ENOMEM ? AICO_ENOMEM : AICO_ECLOSED;
    router->counters.frames_out++;
    router->counters.bytes_out += frame.size;
    return 0;
}

/* --- ends ----------------------------------------------------------------------------------- */

void router_cut(struct router *router, struct moment now, struct link *link)
{
    if (link->state <= LINK_SUSPECT)
        set_state(router, link, LINK_CUTTING, now.boot_ms + router->bye_ms);
}

static void look_again(struct router *router, struct link *link, int64_t now_ms)
{
    link->step_ms *= 2;
    if (!is_still_open(link) || (link->state == LINK_CUT && link->step_ms > CHECK_LAST_MS))
        link_is_gone(router, link, now_ms);
    else if (link->step_ms > CHECK_LAST_MS)
        set_state(router, link, LINK_OPEN, 0);
    else
        set_state(router, link, link->state, now_ms + link->step_ms);
}

static void shut(struct router *router, struct link *link, int64_t now_ms)
{
    if (!is_still_open(link)) {
        link_is_gone(router, link, now_ms);
        return;
    }
    (void)shutdown(link->fd, SHUT_RDWR);
    link->step_ms = CHECK_FIRST_MS;
    set_state(router, link, LINK_CUT, now_ms + link->step_ms);
}

static void pass_time(struct router *router, int64_t now_ms)
{
    struct link *link, *next;

    router->due_ms = MOMENT_NEVER;
    DL_FOREACH_SAFE(router->busy, link, next)
    {
        if (now_ms < link->at_ms)
            router->due_ms = MIN(router->due_ms, link->at_ms);
        else if (link->state == LINK_CUTTING)
            shut(router, link, now_ms);
        else if (link->state == LINK_TOMB)
            link_free(router, link);
        else
            look_again(router, link, now_ms);
    }
}

bool router_next_gone(struct router *router, struct moment now, struct link **ret_link)
{
    struct link *link;

    read_monitor(router, now.boot_ms);
    if (now.boot_ms >= router->audit_ms)
        audit(router, now);
    if (now.boot_ms >= router->due_ms)
        pass_time(router, now.boot_ms);

    /* Named when the socket was empty after its loss was seen: then nothing of it is left there. */
    link = router->gone;
    if (!link || (router->drained == link->drained && now.boot_ms < link->at_ms))
        return false;
    set_state(router, link, LINK_TOMB, now.boot_ms + TOMB_MS);
    *ret_link = link;
    return true;
}

int64_t router_deadline(const struct router *router)
{
    if (router->gone)
        return 0;
    return router->links || router->guest_count > 0 ? MIN(router->due_ms, router->audit_ms)
                                                    : router->due_ms;
}

void router_get_counters(const struct router *router, struct router_counters *ret_counters)
{
    *ret_counters = router->counters;
}

void router_free(struct router **router, int64_t linger_ms)
{
    struct router *r = *router;
    struct link *link, *next;

    if (!r)
        return;
    HASH_ITER(hh, r->links, link, next)
    link_free(r, link);
    if (r->socket) {
        (void)zmq_socket_monitor(r->socket, NULL, 0);
        (void)socket_set_int(r->socket, ZMQ_LINGER, (int)linger_ms);
    }
    socket_close(&r->socket);
    socket_close(&r->monitor);
    (void)zmq_msg_close(&r->frame);
    free(r->by_fd);
    free(r->guests);
    free(r);
    *router = NULL;
}
