/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What links send. A link is read into an intake, and what is in it is looked at piece by piece: a
 * step of the handshake, or a frame. The end of one that is not whole goes to the link, which waits
 * for its rest there, so that an intake is everybody's next.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/clock.h"
#include "transport/router_internal.h"

/* Before the owner gets its turn: pieces that are no frame for it, and what a step of a handshake
 * counts for, with its operations of X25519. */
#define BUDGET 256
#define SHAKE_COST 16
#define PASSED_OVER_MAX 8 /* so many links that are let in come before a stranger */

enum { READY_LINKS, READY_STRANGERS };

bool router_has_input(const struct router *router)
{
    for (size_t i = router->intake_at; i < router->intakes_filled; i++)
        if (router->intakes[i].link)
            return true;
    return router->ready[READY_LINKS] || router->ready[READY_STRANGERS];
}

/* --- who is read next ----------------------------------------------------------------------- */

static struct link **ready_list(struct router *router, const struct link *link)
{
    return &router->ready[link->is_let_in ? READY_LINKS : READY_STRANGERS];
}

void link_unready(struct router *router, struct link *link)
{
    if (link->is_ready)
        DL_DELETE2(*ready_list(router, link), link, ready_prev, ready_next);
    link->is_ready = false;
}

void link_ready(struct router *router, struct link *link)
{
    if (!link->is_ready)
        DL_APPEND2(*ready_list(router, link), link, ready_prev, ready_next);
    link->is_ready = true;
}

/* Strangers wait for others, but not for ever. */
static struct link *next_ready(struct router *router)
{
    struct link *link = router->ready[READY_LINKS], *stranger = router->ready[READY_STRANGERS];

    if (!stranger)
        return link;
    if (link && router->passed_over++ < PASSED_OVER_MAX)
        return link;
    router->passed_over = 0;
    return stranger;
}

/* --- reading -------------------------------------------------------------------------------- */

static void forget_first(struct link *link)
{
    free(link->in.at);
    link->in = (struct held){.at = NULL};
    link->begun_size = 0;
}

void link_forget_input(struct router *router, struct link *link)
{
    link_unready(router, link);
    for (size_t i = 0; i < router->intake_count; i++)
        if (router->intakes[i].link == link)
            router->intakes[i].link = NULL;
    forget_first(link);
}

/* Reads what there is, first the rest of what had begun. False: the connection has ended. */
static bool read_some(struct intake *intake, struct link *link, bool *ret_is_all)
{
    struct held *in = &link->in;
    struct iovec parts[2];
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = COUNT_OF(parts)};
    size_t rest = in->capacity - in->end, asked, taken;
    ssize_t got;

    memcpy(intake->at, link->begun, link->begun_size);
    intake->begin = intake->opened = 0;
    intake->end = link->begun_size;
    intake->is_first_opened = false;
    link->begun_size = 0;
    parts[0] = (struct iovec){in->at ? in->at + in->end : NULL, rest};
    parts[1] = (struct iovec){intake->at + intake->end, READ_SIZE - intake->end};
    asked = parts[0].iov_len + parts[1].iov_len;
    do
        got = recvmsg(link->fd, &message, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    *ret_is_all = got < (ssize_t)asked;
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    taken = MIN((size_t)got, rest);
    in->end += taken;
    intake->end += (size_t)got - taken;
    return true;
}

/* Opens what frames there are. Touches nothing but the link and its intake: a helper does it. What
 * is wrong with one is found once more, when it is looked at. */
static void open_all(void *context, size_t index)
{
    const struct router *router = context;
    size_t body_max = router->frame_size_max + ZMTP_BODY_OVERHEAD;
    struct intake *intake = &router->intakes[index];
    struct link *link = intake->link;
    struct bytes plain, rest;
    size_t head, whole;
    unsigned flags;

    if (!link || link->zmtp.state != ZMTP_UP || (link->in.at && link->in.end < link->in.capacity))
        return;
    if (link->in.at) {
        rest = bytes_of(link->in.at, link->in.end);
        if (zmtp_next(rest, false, body_max, &head, &whole) < 0 ||
            zmtp_open(&link->zmtp, link->in.at + head, whole - head, &flags, &plain) < 0)
            return;
        intake->is_first_opened = true;
    }
    while (rest = bytes_of(intake->at + intake->opened, intake->end - intake->opened),
           zmtp_next(rest, false, body_max, &head, &whole) == 0 &&
               zmtp_open(&link->zmtp, intake->at + intake->opened + head, whole - head, &flags,
                         &plain) == 0)
        intake->opened += whole;
}

/* Reads the next links that have something, one for each thread; false: nobody has. */
static bool read_next(struct router *router)
{
    struct link *link;
    size_t bytes = 0;

    router->intake_at = router->intakes_filled = 0;
    while (router->intakes_filled < router->intake_count && (link = next_ready(router)) != NULL) {
        struct intake *intake = &router->intakes[router->intakes_filled++];
        bool is_all = true;

        link_unready(router, link);
        intake->link = link;
        if (read_some(intake, link, &is_all)) {
            intake->has_more = !is_all;
            bytes += intake->end + link->in.end;
        } else {
            link_close(router, link);
        }
    }
    for (size_t i = 0; i < router->intakes_filled; i++)
        if (router->intakes[i].link && router->intakes[i].has_more)
            link_ready(router, router->intakes[i].link); /* behind the others */
    if (router->intakes_filled > 1)
        router_do(router, bytes, open_all, router, router->intakes_filled);
    return router->intakes_filled > 0;
}

/* --- pieces --------------------------------------------------------------------------------- */

/* What was not looked at yet; empty when what had begun is still not whole. */
static struct bytes rest_of(const struct intake *intake)
{
    const struct held *in = &intake->link->in;

    if (in->at)
        return bytes_of(in->at, in->end < in->capacity ? 0 : in->end);
    return bytes_of(intake->at + intake->begin, intake->end - intake->begin);
}

/* @size bytes at the front of it have been looked at; they stay until the next router_receive(). */
static void took(struct router *router, struct intake *intake, size_t size)
{
    struct held *in = &intake->link->in;

    if (!in->at) {
        intake->begin += size;
        return;
    }
    router->lent = in->at;
    *in = (struct held){.at = NULL};
}

/* What is left is the begin of something, @whole bytes long; 0: not known. */
static void leave(struct router *router, struct intake *intake, size_t whole)
{
    struct link *link = STEAL(intake->link);
    struct bytes begun = bytes_of(intake->at + intake->begin, intake->end - intake->begin);

    if (link->in.at || begun.size == 0)
        return;
    if (whole == 0) {
        bytes_copy(link->begun, begun);
        link->begun_size = begun.size;
        return;
    }
    link->in.at = malloc(whole);
    if (!link->in.at) {
        link_close(router, link);
        return;
    }
    bytes_copy(link->in.at, begun);
    link->in.end = begun.size;
    link->in.capacity = whole;
}

/* --- handshakes ----------------------------------------------------------------------------- */

static void remember_refusal(struct router *router, const struct link *link)
{
    struct router_refusal *refusal;

    if (router->refusal_count == REFUSALS_MAX) {
        router->refusals_forgotten++;
        return;
    }
    refusal = &router->refusals[(router->refusal_first + router->refusal_count++) % REFUSALS_MAX];
    *refusal = (struct router_refusal){.more = 0};
    memcpy(refusal->key, link->zmtp.client_public, sizeof(refusal->key));
    memcpy(refusal->address, link->address, sizeof(refusal->address));
}

bool router_next_refusal(struct router *router, struct router_refusal *ret_refusal)
{
    if (router->refusal_count == 0)
        return false;
    *ret_refusal = router->refusals[router->refusal_first];
    ret_refusal->more = router->refusals_forgotten;
    router->refusals_forgotten = 0;
    router->refusal_first = (router->refusal_first + 1) % REFUSALS_MAX;
    router->refusal_count--;
    return true;
}

/* Whether the owner of the key is let in, after a look for a newer roster if he is not. */
static int find_in_roster(struct router *router, struct moment now, const struct link *link,
                          const char **ret_user_id)
{
    const uint8_t *key = link->zmtp.client_public;
    int r = roster_find(router->roster, key, now.real_ms, ret_user_id);

    if (r == 0 || !router->look ||
        !bucket_take(&router->looks, now.boot_ms, ROUTER_LOOKS_RATE, ROUTER_LOOKS_RATE))
        return r;
    router->look(router->look_context);
    return roster_find(router->roster, key, now.real_ms, ret_user_id);
}

static void decide(struct router *router, struct moment now, struct link *link,
                   struct writer *answer)
{
    const char *user_id;
    int r = find_in_roster(router, now, link, &user_id);

    listen_describe_peer(link->fd, link->address);
    if (r == 0) {
        (void)snprintf(link->user_id, sizeof(link->user_id), "%s", user_id);
        zmtp_admit(&link->zmtp, answer);
        link_move(router, link, LINK_SILENT, now.boot_ms);
        return;
    }
    remember_refusal(router, link);
    zmtp_refuse(&link->zmtp, r == AICO_EREVOKED ? "500" : "400", answer);
    link_move(router, link, LINK_LEAVING, now.boot_ms);
}

static void shake(struct router *router, struct moment now, struct intake *intake)
{
    struct link *link = intake->link;
    struct bytes rest = rest_of(intake);
    uint8_t room[ZMTP_ANSWER_MAX];
    struct writer answer = writer_over(room, sizeof(room));
    size_t taken = 0, head = 0, whole = 0;

    switch (rest.size == 0 ? ZMTP_MORE : zmtp_serve(&link->zmtp, rest, &taken, &answer)) {
    case ZMTP_MORE:
        if (link->zmtp.state != ZMTP_WAITS_GREETING)
            (void)!zmtp_next(rest, true, ZMTP_SHAKE_MAX, &head, &whole);
        leave(router, intake, whole);
        return;
    case ZMTP_TAKEN:
        took(router, intake, taken);
        if (link->zmtp.state == ZMTP_WAITS_VERDICT)
            decide(router, now, link, &answer);
        link_say(router, link, bytes_of(answer.at, answer.size));
        return;
    case ZMTP_OTHER_KEY:
        router->counters.refused_cipher++;
        break;
    case ZMTP_CHOSE_ID:
        router->counters.refused_id++;
        break;
    case ZMTP_OTHER:
    case ZMTP_SPOILED:
    case ZMTP_REFUSED:
        break;
    }
    link_close(router, link);
}

/* --- frames --------------------------------------------------------------------------------- */

static bool is_opened(const struct intake *intake)
{
    return intake->link->in.at ? intake->is_first_opened : intake->begin < intake->opened;
}

/* The next MESSAGE of a link that is up. False: there is none; then the intake is done with, or the
 * link closed, since what it sent is not one. */
static bool take_message(struct router *router, struct intake *intake, unsigned *ret_flags,
                         struct bytes *ret_plain)
{
    struct link *link = intake->link;
    struct bytes rest = rest_of(intake);
    size_t head = 0, whole = 0;
    int r = rest.size == 0 ? AICO_ENOTFOUND
                           : zmtp_next(rest, false, router->frame_size_max + ZMTP_BODY_OVERHEAD,
                                       &head, &whole);

    if (r == AICO_ENOTFOUND) {
        leave(router, intake, whole);
        return false;
    }
    if (r == 0 && is_opened(intake))
        *ret_plain = zmtp_opened(rest.at + head, whole - head, ret_flags);
    else if (r == 0)
        r = zmtp_open(&link->zmtp, (uint8_t *)rest.at + head, whole - head, ret_flags, ret_plain);
    if (r == 0)
        took(router, intake, whole);
    else
        link_close(router, link);
    return r == 0;
}

/* False: it is not for the owner. */
static bool take_frame(struct router *router, struct moment now, struct intake *intake,
                       struct router_input *ret_input)
{
    struct link *link = intake->link;
    struct bytes plain;
    unsigned flags;

    if (!take_message(router, intake, &flags, &plain))
        return false;
    if (flags & ZMTP_PART_MORE || (plain.size == 0 && !(flags & ZMTP_COMMAND))) {
        router->counters.refused_shape++;
        link_close(router, link);
        return false;
    }
    if (flags & ZMTP_COMMAND) {
        link_answer(router, link, plain);
        return false;
    }
    if (link->state == LINK_LEAVING) {
        router->counters.late++;
        return false;
    }
    *ret_input = (struct router_input){link, !link->is_known, link->user_id, link->address, plain};
    if (!link->is_known) {
        link->is_known = true;
        link_move(router, link, LINK_TALKING, now.boot_ms);
        router->counters.links++;
    }
    router->counters.frames_in++;
    router->counters.bytes_in += plain.size;
    return true;
}

int router_receive(struct router *router, struct moment now, struct router_input *ret_input)
{
    free(STEAL(router->lent));
    for (int budget = BUDGET; budget > 0; budget--) {
        struct intake *intake = &router->intakes[router->intake_at];

        if (!intake->link) {
            if (++router->intake_at >= router->intakes_filled && !read_next(router))
                break;
        } else if (intake->link->state == LINK_SHAKING) {
            shake(router, now, intake);
            budget -= SHAKE_COST;
        } else if (!intake->link->is_let_in) {
            forget_first(intake->link); /* who was refused may say what he wants */
            intake->link = NULL;
            budget -= SHAKE_COST;
        } else if (take_frame(router, now, intake, ret_input)) {
            return 0;
        }
        free(STEAL(router->lent));
    }
    return AICO_ENOTFOUND;
}
