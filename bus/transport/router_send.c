/* SPDX-License-Identifier: Apache-2.0 */
/* What links are sent. Alone, the owner's thread seals and sends each frame at once; with helpers,
 * what a turn of its loop wants to send is sealed and sent by all of them at its end. */
#include <errno.h>
#include <sys/socket.h>

#include "transport/router_internal.h"

static bool has_unsent(const struct link *link)
{
    return link->out.begin < link->out.end;
}

static void drop_unsent(struct link *link)
{
    free(link->out.at);
    link->out = (struct held){.at = NULL};
    link->sealed = 0;
}

void link_forget_output(struct router *router, struct link *link)
{
    if (link->is_dirty)
        DL_DELETE2(router->dirty, link, dirty_prev, dirty_next);
    if (link->is_writable)
        DL_DELETE2(router->writable, link, room_prev, room_next);
    link->is_dirty = link->is_writable = false;
    drop_unsent(link);
}

/* Its end is found by who reads, after everything it had sent. */
static void go_deaf(struct link *link)
{
    link->is_deaf = true;
    drop_unsent(link);
    (void)shutdown(link->fd, SHUT_RDWR);
}

/* How much of it the socket took. */
static size_t send_some(struct link *link, const uint8_t *at, size_t size)
{
    ssize_t sent;

    do
        sent = send(link->fd, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN)
        go_deaf(link);
    return sent < 0 ? 0 : (size_t)sent;
}

/* So much room behind what is held; NULL without memory. */
static uint8_t *make_room(struct link *link, size_t size)
{
    struct held *out = &link->out;
    size_t used = out->end - out->begin, capacity;
    uint8_t *grown;

    if (out->capacity - out->end < size) {
        if (out->begin > 0) {
            memmove(out->at, out->at + out->begin, used);
            link->sealed -= out->begin;
            out->begin = 0;
            out->end = used;
        }
        if (out->capacity - used < size) {
            capacity = MAX(used + size, 2 * out->capacity);
            grown = realloc(out->at, capacity);
            if (!grown)
                return NULL;
            out->at = grown;
            out->capacity = capacity;
        }
    }
    return out->at + out->end;
}

/* Seals what is not sealed yet, and sends what the socket takes. Touches nothing but the link: a
 * helper does it. */
static void seal_and_send(struct link *link)
{
    struct held *out = &link->out;

    while (link->sealed < out->end)
        link->sealed += zmtp_seal_written(&link->zmtp, out->at + link->sealed);
    while (has_unsent(link)) {
        size_t sent = send_some(link, out->at + out->begin, out->end - out->begin);

        if (sent == 0)
            return;
        out->begin += sent;
    }
    drop_unsent(link);
}

/* After it was sent what the socket takes. */
static void settle(struct router *router, struct link *link)
{
    if (has_unsent(link) == link->is_blocked)
        return;
    link->is_blocked = !link->is_blocked;
    link_watch(router, link);
}

void link_flush(struct router *router, struct link *link)
{
    if (link->is_dirty)
        DL_DELETE2(router->dirty, link, dirty_prev, dirty_next);
    link->is_dirty = false;
    seal_and_send(link);
    settle(router, link);
}

void link_has_room(struct router *router, struct link *link)
{
    link_flush(router, link);
    if (!link->is_full || has_unsent(link))
        return;
    link->is_full = false;
    if (!link->is_writable)
        DL_APPEND2(router->writable, link, room_prev, room_next);
    link->is_writable = true;
}

bool router_next_writable(struct router *router, struct link **ret_link)
{
    struct link *link = router->writable;

    if (!link)
        return false;
    DL_DELETE2(router->writable, link, room_prev, room_next);
    link->is_writable = false;
    *ret_link = link;
    return true;
}

/* What is sealed, and must leave as a whole. */
static void send_or_keep(struct router *router, struct link *link, struct bytes bytes)
{
    size_t sent = has_unsent(link) ? 0 : send_some(link, bytes.at, bytes.size);
    uint8_t *to;

    if (sent == bytes.size || link->is_deaf)
        return;
    to = make_room(link, bytes.size - sent);
    if (!to) {
        go_deaf(link);
        return;
    }
    memcpy(to, bytes.at + sent, bytes.size - sent);
    link->out.end += bytes.size - sent;
    link->sealed = link->out.end;
    settle(router, link);
}

void link_say(struct router *router, struct link *link, struct bytes bytes)
{
    if (!link->is_deaf && bytes.size > 0)
        send_or_keep(router, link, bytes);
}

/* --- frames --------------------------------------------------------------------------------- */

static void send_now(struct router *router, struct link *link, unsigned flags, struct bytes frame)
{
    size_t size = zmtp_seal(&link->zmtp, flags, frame, router->sealed);

    send_or_keep(router, link, bytes_of(router->sealed, size));
}

static void send_later(struct router *router, struct link *link, unsigned flags, struct bytes frame)
{
    uint8_t *to = make_room(link, frame.size + ZMTP_OVERHEAD);

    if (!to) {
        go_deaf(link);
        return;
    }
    link->out.end += zmtp_write(flags, frame, to);
    if (!link->is_dirty)
        DL_APPEND2(router->dirty, link, dirty_prev, dirty_next);
    link->is_dirty = true;
    if (link->out.end - link->out.begin >= SEND_BATCH)
        link_flush(router, link);
}

/* False: the link is deaf. */
static bool send_message(struct router *router, struct link *link, unsigned flags,
                         struct bytes frame)
{
    if (router->crew)
        send_later(router, link, flags, frame);
    else
        send_now(router, link, flags, frame);
    return !link->is_deaf;
}

int router_send(struct router *router, struct link *link, struct bytes frame)
{
    if (frame.size == 0 || frame.size > router->frame_size_max)
        return AICO_EINVAL;
    if (link->state == LINK_GONE || link->is_deaf || link->zmtp.state != ZMTP_UP)
        return AICO_ECLOSED;
    if (link->is_blocked) {
        link->is_full = true;
        return AICO_EFULL;
    }
    if (!send_message(router, link, 0, frame))
        return AICO_ECLOSED;
    router->counters.frames_out++;
    router->counters.bytes_out += frame.size;
    return 0;
}

void link_answer(struct router *router, struct link *link, struct bytes command)
{
    uint8_t room[ZMTP_ANSWER_MAX];
    struct writer answer = writer_over(room, sizeof(room));

    if (!link->is_deaf && !link->is_blocked && zmtp_pong(command, &answer))
        (void)send_message(router, link, ZMTP_COMMAND, bytes_of(answer.at, answer.size));
}

static void flush_one(void *context, size_t index)
{
    struct link **links = context;

    seal_and_send(links[index]);
}

void router_flush(struct router *router)
{
    struct link *links[64];

    while (router->dirty) {
        size_t count = 0, bytes = 0;

        while (router->dirty && count < COUNT_OF(links)) {
            links[count] = router->dirty;
            bytes += links[count]->out.end - links[count]->out.begin;
            DL_DELETE2(router->dirty, links[count], dirty_prev, dirty_next);
            links[count++]->is_dirty = false;
        }
        router_do(router, bytes, flush_one, links, count);
        for (size_t i = 0; i < count; i++)
            settle(router, links[i]);
    }
}
