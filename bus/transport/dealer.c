/* SPDX-License-Identifier: Apache-2.0 */
/* One connection that speaks ZMTP with CURVE; see docs/decisions/0136 for why it is not libzmq's.
 */
#include "transport/dealer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "transport/dial.h"
#include "transport/greeting.h"
#include "transport/internal.h"
#include "transport/zmtp.h"

/* Beside one frame of the largest size: what a read may bring at once. */
#define READ_AHEAD (64 * 1024)
/* Nothing of a handshake for so long after connecting: worth asking what listens there. */
#define SUSPICIOUS_AFTER_MS 1000
#define GREETING_MS 700

enum state { CONNECTING, SHAKING, UP, DOWN };

/* Bytes from `begin` to `end` of a storage that is as large as it ever gets. */
struct pending {
    uint8_t *at;
    size_t begin, end, capacity;
};

struct dealer {
    int fd; /* -1: none */
    enum state state;
    struct dial dial;
    struct zmtp zmtp;
    char *endpoint;
    uint8_t broker_public[32];
    bool up_told;
    bool asked;      /* what listens there */
    bool is_full;    /* dealer_send() said so and DEALER_WRITABLE was not told since */
    bool is_drained; /* nothing is there to read, until poll() says so */
    bool is_deaf;    /* the broker takes nothing more; it is over once what it had sent is read */
    size_t frame_size_max;
    int64_t timeout_ms; /* of the settings */
    int64_t give_up_ms; /* boot_ms at which CONNECTING to this address, or SHAKING, ends */
    unsigned tried;     /* addresses */
    int64_t suspicious_ms;
    int64_t busy_us;
    struct pending in;  /* ... of which what was opened is lent by dealer_receive() */
    struct pending out; /* what of one frame the socket has not taken */
    struct aico_error reason;
};

static struct bytes pending_view(const struct pending *pending)
{
    return bytes_of(pending->at + pending->begin, pending->end - pending->begin);
}

static bool has_pending(const struct pending *pending)
{
    return pending->begin < pending->end;
}

static void pending_clear(struct pending *pending)
{
    pending->begin = pending->end = 0;
}

static void go_down(struct dealer *dealer, int code, const char *cause)
{
    if (dealer->state == DOWN)
        return;
    if (dealer->state != UP)
        zmtp_wipe(&dealer->zmtp);
    dealer->state = DOWN;
    (void)aico_error_set(&dealer->reason, code, "%s: %s", dealer->endpoint, cause);
}

static const char unreachable[] = "nobody listens there; start it with: aico-broker";
static const char late[] = "the broker did not finish the handshake in time";

static const char lost_shaking[] = "the connection was lost in the handshake";
static const char other_key[] =
    "a broker answers whose key is not the one in our registry; if it was replaced, get the new "
    "registry from the owner";

/* The link failed before it was up, and not by what the broker said. */
static void go_down_by_greeting(struct dealer *dealer, enum greeting greeting)
{
    switch (greeting) {
    case GREETING_REFUSED:
        go_down(dealer, AICO_EUNREACHABLE, unreachable);
        return;
    case GREETING_CLOSED:
        go_down(dealer, AICO_ENOTBROKER,
                "something accepts connections and closes them at once: another program, or a "
                "broker that has no room");
        return;
    case GREETING_SILENT:
        go_down(dealer, AICO_ENOTBROKER,
                "something listens but does not answer: another program, or a broker that hangs");
        return;
    case GREETING_OTHER:
        go_down(dealer, AICO_ENOTBROKER, "what listens there is not a broker; check the address");
        return;
    case GREETING_OTHER_KEY:
        go_down(dealer, AICO_EBROKERKEY, other_key);
        return;
    case GREETING_BUSY:
        go_down(dealer, AICO_ETIMEOUT, late);
        return;
    case GREETING_BROKER: /* the broker gives up on who is slower than 3 s, be it stopped */
        go_down(dealer, AICO_ECLOSED, lost_shaking);
        return;
    }
}

static enum greeting ask(const struct dealer *dealer)
{
    return greeting_ask(dealer->endpoint, dealer->broker_public, GREETING_MS);
}

/* The status with which a broker refuses; ours has 400 and 500 (roster.h). */
static void on_refused_key(struct dealer *dealer, uint32_t value)
{
    if (value == 400)
        go_down(dealer, AICO_EUNKNOWN,
                "the broker does not know our key; the owner registers it: aico-keytool add FILE");
    else if (value == 500)
        go_down(dealer, AICO_EREVOKED,
                "the broker's registry has our key as one that is revoked, or was replaced by "
                "another; a new identity is made by: aico-keytool new NAME");
    else
        go_down(dealer, AICO_EUNREACHABLE, "the broker cannot check keys now; see its log");
}

static void on_lost(struct dealer *dealer)
{
    if (dealer->state == UP)
        go_down(dealer, AICO_ECLOSED, "the connection was lost");
    else if (dealer->state != DOWN && moment_now().boot_ms >= dealer->give_up_ms)
        go_down(dealer, AICO_ETIMEOUT, late);
    else if (dealer->state != DOWN && dealer->zmtp.state == ZMTP_WAITS_READY)
        go_down(dealer, AICO_ECLOSED, lost_shaking);
    else if (dealer->state != DOWN)
        go_down_by_greeting(dealer, ask(dealer));
}

/* What comes is not what a broker sends: none of the rest is looked at. */
static void on_bad_frame(struct dealer *dealer, const char *cause)
{
    go_down(dealer, AICO_EPROTO, cause);
    pending_clear(&dealer->in);
}

/* --- bytes ------------------------------------------------------------------------------------ */

static void flush(struct dealer *dealer)
{
    struct pending *out = &dealer->out;

    while (has_pending(out)) {
        ssize_t sent = send(dealer->fd, out->at + out->begin, out->end - out->begin,
                            MSG_NOSIGNAL | MSG_DONTWAIT);

        if (sent >= 0)
            out->begin += (size_t)sent;
        else if (errno == EAGAIN)
            return;
        else if (errno != EINTR) {
            dealer->is_deaf = true;
            dealer->is_drained = false;
            break;
        }
    }
    pending_clear(out);
}

/* Reads what there is, as far as it fits behind what was not taken yet, of which @whole bytes are
 * needed. */
static void read_some(struct dealer *dealer, size_t whole)
{
    struct pending *in = &dealer->in;
    size_t kept = in->end - in->begin, asked;
    ssize_t got;

    if (kept == 0 || in->capacity - in->end < MAX(READ_AHEAD, whole)) {
        if (kept > 0 && in->begin > 0)
            memmove(in->at, in->at + in->begin, kept);
        in->begin = 0;
        in->end = kept;
    }
    asked = in->capacity - in->end;
    do
        got = recv(dealer->fd, in->at + in->end, asked, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    dealer->is_drained = got < 0 || (size_t)got < asked;
    if (got > 0)
        in->end += (size_t)got;
    else if (got == 0 || errno != EAGAIN)
        on_lost(dealer);
}

/* --- before it is up -------------------------------------------------------------------------- */

/* Begins with the next address, which has its share of the time that is left; @cause: of the last
 * one, when there is none. */
static void try_next(struct dealer *dealer, const char *cause)
{
    int64_t now = moment_now().boot_ms;
    unsigned left = dial_left(&dealer->dial);
    int r;

    fd_close(&dealer->fd);
    r = left > 0 ? dial_next(&dealer->dial, &dealer->fd) : AICO_EUNREACHABLE;
    dealer->give_up_ms = now + dealer->timeout_ms / MAX(left + dealer->tried, 1u);
    dealer->tried++;
    if (r == AICO_EFULL)
        go_down(dealer, AICO_ECLOSED, "too many connect at the same time");
    else if (r == AICO_ESYSTEM)
        go_down(dealer, r, strerror(errno));
    else if (r < 0)
        go_down(dealer, AICO_EUNREACHABLE, cause);
}

/* By what the last address said. */
static void connect_next(struct dealer *dealer)
{
    int failure = dealer->dial.failure;

    if (failure == 0 || failure == ECONNREFUSED || failure == ENOENT)
        try_next(dealer, unreachable);
    else
        try_next(dealer, strerror(failure));
}

/* Time passed, and nothing came. */
static void on_time(struct dealer *dealer)
{
    int64_t now = moment_now().boot_ms;

    if (dealer->state == SHAKING && dealer->zmtp.state == ZMTP_WAITS_GREETING && !dealer->asked &&
        now >= dealer->suspicious_ms) {
        enum greeting greeting = ask(dealer);

        dealer->asked = true;
        if (greeting != GREETING_BROKER && greeting != GREETING_BUSY) /* else it may still come */
            go_down_by_greeting(dealer, greeting);
    }
    if (now < dealer->give_up_ms)
        return;
    if (dealer->state == CONNECTING)
        try_next(dealer, "no answer; check the address and the network");
    else if (dealer->state == SHAKING)
        go_down(dealer, AICO_ETIMEOUT, late);
}

/* When on_time() has something to do; at most @deadline_ms. */
static int64_t next_time(const struct dealer *dealer, int64_t deadline_ms)
{
    if (dealer->state == CONNECTING)
        return MIN(deadline_ms, dealer->give_up_ms);
    if (dealer->state == SHAKING && dealer->zmtp.state == ZMTP_WAITS_GREETING && !dealer->asked)
        return MIN(deadline_ms, dealer->suspicious_ms);
    if (dealer->state == SHAKING)
        return MIN(deadline_ms, dealer->give_up_ms);
    return deadline_ms;
}

static void on_connected(struct dealer *dealer)
{
    int64_t now = moment_now().boot_ms;

    dealer->state = SHAKING;
    dealer->give_up_ms = now + dealer->timeout_ms;
    dealer->suspicious_ms = now + SUSPICIOUS_AFTER_MS;
    flush(dealer); /* our greeting */
}

static void look_connecting(struct dealer *dealer)
{
    struct pollfd polled = {.fd = dealer->fd, .events = POLLOUT};

    if (poll(&polled, 1, 0) <= 0)
        return;
    if (dial_is_connected(&dealer->dial, dealer->fd))
        on_connected(dealer);
    else
        connect_next(dealer);
}

static void shake(struct dealer *dealer)
{
    while (dealer->state == SHAKING) {
        struct pending *out = &dealer->out;
        struct writer answer = writer_over(out->at + out->end, out->capacity - out->end);
        size_t taken = 0;
        unsigned status = 0;

        switch (zmtp_shake(&dealer->zmtp, pending_view(&dealer->in), &taken, &answer, &status)) {
        case ZMTP_MORE:
            if (dealer->is_drained)
                return;
            read_some(dealer, 0);
            break;
        case ZMTP_TAKEN:
            dealer->in.begin += taken;
            dealer->out.end += answer.size;
            flush(dealer);
            if (dealer->zmtp.state == ZMTP_UP)
                dealer->state = UP;
            break;
        case ZMTP_OTHER:
            go_down_by_greeting(dealer, GREETING_OTHER);
            break;
        case ZMTP_OTHER_KEY:
            go_down(dealer, AICO_EBROKERKEY, other_key);
            break;
        case ZMTP_SPOILED:
        case ZMTP_CHOSE_ID:
            go_down(dealer, AICO_ECLOSED, "the handshake was disturbed by something in between");
            break;
        case ZMTP_REFUSED:
            on_refused_key(dealer, status);
            break;
        }
    }
}

/* --- life ------------------------------------------------------------------------------------- */

static void dealer_free(struct dealer **dealer)
{
    dealer_close(dealer, 0);
}

static bool pending_new(struct pending *pending, size_t capacity)
{
    pending->at = malloc(capacity);
    pending->capacity = capacity;
    return pending->at != NULL;
}

/* Room for all that is read and written, and what we say first. */
static int prepare(struct dealer *dealer, const struct dealer_settings *settings)
{
    struct writer greeting;

    dealer->endpoint = strdup(settings->endpoint);
    if (!dealer->endpoint ||
        !pending_new(&dealer->in, settings->frame_size_max + ZMTP_OVERHEAD + READ_AHEAD) ||
        !pending_new(&dealer->out,
                     MAX(settings->frame_size_max + ZMTP_OVERHEAD, (size_t)3 * ZMTP_ANSWER_MAX)))
        return AICO_ENOMEM;
    greeting = writer_over(dealer->out.at, dealer->out.capacity);
    zmtp_begin(&dealer->zmtp, settings->broker_public, settings->my_public, settings->my_secret,
               &greeting);
    dealer->out.end = greeting.size;
    return 0;
}

int dealer_open(const struct dealer_settings *settings, struct dealer **ret_dealer,
                struct aico_error *err)
{
    CLEANUP(dealer_free)
    struct dealer *dealer = calloc(1, sizeof(*dealer));
    int r;

    if (!dealer)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    dealer->fd = -1;
    dealer->frame_size_max = settings->frame_size_max;
    dealer->timeout_ms = MAX(settings->timeout_ms, (int64_t)1);
    memcpy(dealer->broker_public, settings->broker_public, sizeof(dealer->broker_public));
    if (prepare(dealer, settings) < 0)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = dial_begin(&dealer->dial, dealer->endpoint);
    if (r == AICO_EUNREACHABLE)
        go_down(dealer, r, "host not found");
    else if (r < 0)
        return aico_error_set(err, r, "%s: not an address of a broker", dealer->endpoint);
    else
        connect_next(dealer);
    *ret_dealer = STEAL(dealer);
    return 0;
}

/* Gives what is left @linger_ms to leave, and reads on until the other side has ended, too: a
 * connection that is closed with something unread, or is sent something afterwards, throws away
 * what it has not delivered. */
static void say_rest(struct dealer *dealer, int64_t linger_ms)
{
    int64_t end_ms = moment_now().boot_ms + linger_ms, left_ms = linger_ms;
    bool is_said = false;
    ssize_t got;

    do {
        struct pollfd polled = {.fd = dealer->fd, .events = POLLIN};

        if (has_pending(&dealer->out))
            polled.events |= POLLOUT;
        else if (!is_said)
            is_said = shutdown(dealer->fd, SHUT_WR) == 0;
        (void)poll_for(&polled, 1, left_ms, 0);
        flush(dealer);
        got = recv(dealer->fd, dealer->in.at, dealer->in.capacity, MSG_DONTWAIT);
        left_ms = end_ms - moment_now().boot_ms;
    } while (left_ms > 0 && (got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR))));
}

void dealer_close(struct dealer **dealer, int64_t linger_ms)
{
    struct dealer *d = *dealer;

    if (!d)
        return;
    if (d->state == UP && linger_ms > 0)
        say_rest(d, linger_ms);
    fd_close(&d->fd);
    dial_end(&d->dial);
    zmtp_wipe(&d->zmtp);
    free(d->endpoint);
    free(d->in.at);
    free(d->out.at);
    free(d);
    *dealer = NULL;
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* Whether the next frame is here as a whole; reads as long as there is something and it is not. */
static bool next_frame(struct dealer *dealer, size_t *ret_head, size_t *ret_whole)
{
    int r;

    while ((r = zmtp_next(pending_view(&dealer->in), false,
                          dealer->frame_size_max + ZMTP_BODY_OVERHEAD, ret_head, ret_whole)) ==
               AICO_ENOTFOUND &&
           dealer->state == UP && !dealer->is_drained)
        read_some(dealer, *ret_whole);

    if (r == AICO_ETOOLARGE)
        on_bad_frame(dealer, "the broker sent a frame that is larger than any of the bus");
    else if (r == AICO_EPROTO)
        on_bad_frame(dealer, "the broker sent something that is not a frame");
    return r == 0;
}

bool dealer_has_frame(struct dealer *dealer)
{
    size_t head, whole;

    return dealer->up_told && next_frame(dealer, &head, &whole);
}

unsigned dealer_look(struct dealer *dealer)
{
    unsigned result = DEALER_NONE;

    if (dealer->state == CONNECTING)
        look_connecting(dealer);
    if (dealer->state == SHAKING)
        shake(dealer);
    if (dealer->state == CONNECTING || dealer->state == SHAKING)
        on_time(dealer);

    if (dealer->state == UP && !dealer->up_told) {
        dealer->up_told = true;
        result |= DEALER_UP;
    }
    if (dealer_has_frame(dealer))
        result |= DEALER_FRAME;
    else if (dealer->is_deaf)
        on_lost(dealer);
    if (dealer->state == UP && dealer->is_full && !has_pending(&dealer->out)) {
        dealer->is_full = false;
        result |= DEALER_WRITABLE;
    }
    if (dealer->state == DOWN && !(result & DEALER_FRAME))
        result |= DEALER_DOWN;
    return result;
}

unsigned dealer_peek(struct dealer *dealer)
{
    dealer->is_drained = false;
    return dealer_look(dealer);
}

struct pollfd dealer_interest(const struct dealer *dealer)
{
    short events = dealer->state == CONNECTING ? 0 : POLLIN;

    if (dealer->state == CONNECTING || has_pending(&dealer->out))
        events |= POLLOUT;
    return (struct pollfd){.fd = dealer->fd, .events = events};
}

enum found { FOUND_READY = 1, FOUND_WOKEN = 2, FOUND_FAILED = 4 };

static unsigned sleep_busily(struct pollfd interest, int wake_fd, int64_t timeout_ms,
                             int64_t busy_us)
{
    struct pollfd polled[] = {interest, {.fd = wake_fd, .events = POLLIN}};

    if (poll_for(polled, COUNT_OF(polled), timeout_ms, busy_us) < 0)
        return errno == EINTR ? 0 : FOUND_FAILED;
    return (polled[0].revents ? FOUND_READY : 0) | (polled[1].revents ? FOUND_WOKEN : 0);
}

unsigned dealer_sleep(struct pollfd interest, int wake_fd, int64_t timeout_ms)
{
    return sleep_busily(interest, wake_fd, timeout_ms, 0);
}

unsigned dealer_slept(struct dealer *dealer, unsigned found)
{
    if (found & FOUND_FAILED)
        go_down(dealer, AICO_ESYSTEM, "the system does not let us wait for the connection");
    if (found & FOUND_READY) {
        dealer->is_drained = false;
        if (dealer->state != CONNECTING)
            flush(dealer);
    }
    return dealer_look(dealer) | (found & FOUND_WOKEN ? DEALER_WOKEN : DEALER_NONE);
}

unsigned dealer_wait(struct dealer *dealer, int wake_fd, int64_t timeout_ms)
{
    unsigned result = dealer_look(dealer);
    int64_t now, deadline_ms;
    bool is_last = false;

    if (result != DEALER_NONE)
        return result;
    now = moment_now().boot_ms;
    deadline_ms = timeout_ms < 0 ? MOMENT_NEVER : now + timeout_ms;
    for (;;) {
        int64_t until_ms = next_time(dealer, deadline_ms);
        int64_t wait_ms = until_ms == MOMENT_NEVER ? -1 : MAX(until_ms - now, (int64_t)0);

        is_last = deadline_ms <= now;
        result = dealer_slept(
            dealer, sleep_busily(dealer_interest(dealer), wake_fd, wait_ms, dealer->busy_us));
        if (result != DEALER_NONE || is_last)
            return result;
        now = moment_now().boot_ms;
    }
}

void dealer_set_busy_poll(struct dealer *dealer, int64_t us)
{
    dealer->busy_us = us;
}

bool dealer_is_up(const struct dealer *dealer)
{
    return dealer->state == UP;
}

bool dealer_has_unsent(const struct dealer *dealer)
{
    return has_pending(&dealer->out) || dealer->is_deaf;
}

int dealer_reason(const struct dealer *dealer, struct aico_error *err)
{
    if (dealer->state != DOWN)
        return 0;
    return aico_error_set(err, dealer->reason.code, "%s", dealer->reason.text);
}

/* --- frames ----------------------------------------------------------------------------------- */

static void put_frame(struct dealer *dealer, unsigned flags, struct bytes frame)
{
    struct pending *out = &dealer->out;

    out->end += zmtp_seal(&dealer->zmtp, flags, frame, out->at + out->end);
    flush(dealer);
}

int dealer_send(struct dealer *dealer, struct bytes frame)
{
    if (frame.size == 0 || frame.size > dealer->frame_size_max)
        return AICO_EINVAL;
    if (dealer->state != UP)
        return AICO_ECLOSED;
    flush(dealer);
    if (dealer->is_deaf)
        return AICO_ECLOSED;
    if (has_pending(&dealer->out)) {
        dealer->is_full = true;
        return AICO_EFULL;
    }
    put_frame(dealer, 0, frame);
    return 0;
}

/* Whoever has something of ours to read does not have to ask. */
static void on_command(struct dealer *dealer, struct bytes command)
{
    uint8_t room[ZMTP_ANSWER_MAX];
    struct writer answer = writer_over(room, sizeof(room));

    if (dealer->state == UP && !has_pending(&dealer->out) && zmtp_pong(command, &answer))
        put_frame(dealer, ZMTP_COMMAND, writer_view(&answer));
}

int dealer_receive(struct dealer *dealer, struct bytes *ret_frame)
{
    size_t head, whole;
    unsigned flags;

    while (dealer->up_told && next_frame(dealer, &head, &whole)) {
        uint8_t *at = dealer->in.at + dealer->in.begin;
        int r = zmtp_open(&dealer->zmtp, at + head, whole - head, &flags, ret_frame);

        dealer->in.begin += whole;
        if (r < 0)
            on_bad_frame(dealer, "what came was not sealed by the broker, or came twice");
        else if (flags & ZMTP_COMMAND)
            on_command(dealer, *ret_frame);
        else if (flags & ZMTP_PART_MORE || ret_frame->size == 0)
            on_bad_frame(dealer, "the broker sent something that is not a frame");
        else
            return 0;
    }
    return AICO_ENOTFOUND;
}
