/* SPDX-License-Identifier: Apache-2.0 */
/* A CURVE DEALER for one session. */
#include "transport/dealer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "transport/greeting.h"
#include "transport/internal.h"

#define DEALER_HWM 16
/* No sign of a handshake for so long after connecting: worth asking what listens there. */
#define SUSPICIOUS_AFTER_MS 1000
#define GREETING_MS 700

enum state { CONNECTING, SHAKING, UP, DOWN };

struct dealer {
    void *socket;
    void *monitor;
    struct waiter waiter;
    char *endpoint;
    uint8_t broker_public[32];
    enum state state;
    bool up_told;
    bool asked;         /* what listens there */
    bool is_full;       /* dealer_send() said so and DEALER_WRITABLE was not told since */
    int64_t timeout_ms; /* of the settings */
    int64_t give_up_ms; /* boot_ms at which CONNECTING or SHAKING ends, should libzmq not say */
    int64_t suspicious_ms;
    zmq_msg_t frame; /* lent by dealer_receive() */
    struct aico_error reason;
};

static void go_down(struct dealer *dealer, int code, const char *cause)
{
    if (dealer->state == DOWN)
        return;
    dealer->state = DOWN;
    (void)aico_error_set(&dealer->reason, code, "%s: %s", dealer->endpoint, cause);
}

static const char unreachable[] = "nobody listens there; start it with: aico-broker";
static const char late[] = "the broker did not finish the handshake in time";

static const char other_key[] =
    "a broker answers whose key is not the one in our registry; if it was replaced, get the new "
    "registry from the owner";

/* The link failed before it was up and libzmq does not say why. */
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
        go_down(dealer, AICO_ECLOSED, "the connection was lost in the handshake");
        return;
    }
}

static enum greeting ask(const struct dealer *dealer)
{
    return greeting_ask(dealer->endpoint, dealer->broker_public, GREETING_MS);
}

static void on_handshake_failed_protocol(struct dealer *dealer, uint32_t value)
{
    if (value == ZMQ_PROTOCOL_ERROR_ZMTP_CRYPTOGRAPHIC)
        go_down(dealer, AICO_EBROKERKEY, other_key);
    else
        go_down_by_greeting(dealer, GREETING_OTHER);
}

/* The status of the broker's ZAP handler (zap.h). */
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
    else if (dealer->state != DOWN)
        go_down_by_greeting(dealer, ask(dealer));
}

static void on_event(struct dealer *dealer, uint16_t event, uint32_t value)
{
    int64_t now = moment_now().boot_ms;

    switch (event) {
    case ZMQ_EVENT_CONNECTED:
        if (dealer->state != CONNECTING)
            return;
        dealer->state = SHAKING;
        dealer->give_up_ms = now + dealer->timeout_ms;
        dealer->suspicious_ms = now + SUSPICIOUS_AFTER_MS;
        return;
    case ZMQ_EVENT_HANDSHAKE_SUCCEEDED:
        if (dealer->state != DOWN)
            dealer->state = UP;
        return;
    case ZMQ_EVENT_HANDSHAKE_FAILED_AUTH:
        on_refused_key(dealer, value);
        return;
    case ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL:
        on_handshake_failed_protocol(dealer, value);
        return;
    case ZMQ_EVENT_CLOSED:
    case ZMQ_EVENT_CONNECT_RETRIED: /* it does not retry: RECONNECT_NEVER_MS */
        if (dealer->state == CONNECTING)
            go_down(dealer, AICO_EUNREACHABLE, unreachable);
        return;
    case ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL:
    case ZMQ_EVENT_DISCONNECTED:
        on_lost(dealer);
        return;
    default:
        return;
    }
}

/* Time passed, and libzmq said nothing. */
static void on_time(struct dealer *dealer)
{
    int64_t now = moment_now().boot_ms;

    if (dealer->state == SHAKING && !dealer->asked && now >= dealer->suspicious_ms) {
        enum greeting greeting = ask(dealer);

        dealer->asked = true;
        if (greeting != GREETING_BROKER && greeting != GREETING_BUSY) /* else it may still come */
            go_down_by_greeting(dealer, greeting);
    }
    if (now < dealer->give_up_ms)
        return;
    if (dealer->state == CONNECTING)
        go_down(dealer, AICO_EUNREACHABLE, "no answer; check the address and the network");
    else if (dealer->state == SHAKING)
        go_down(dealer, AICO_ETIMEOUT, late);
}

/* When on_time() has something to do; at most @deadline_ms. */
static int64_t next_time(const struct dealer *dealer, int64_t deadline_ms)
{
    if (dealer->state == CONNECTING)
        return MIN(deadline_ms, dealer->give_up_ms);
    if (dealer->state == SHAKING)
        return MIN(deadline_ms, dealer->asked ? dealer->give_up_ms : dealer->suspicious_ms);
    return deadline_ms;
}

static int set_options(void *socket, const struct dealer_settings *settings)
{
    int timeout = (int)MIN(settings->timeout_ms, (int64_t)INT32_MAX);
    int64_t size_max = (int64_t)settings->frame_size_max + FRAME_OVERHEAD;
    bool is_set = socket_set_int(socket, ZMQ_LINGER, 0) &&
                  socket_set_int(socket, ZMQ_SNDHWM, DEALER_HWM) &&
                  socket_set_int(socket, ZMQ_RCVHWM, DEALER_HWM) &&
                  socket_set_int(socket, ZMQ_RECONNECT_IVL, RECONNECT_NEVER_MS) &&
                  socket_set_int(socket, ZMQ_CONNECT_TIMEOUT, timeout) &&
                  socket_set_int(socket, ZMQ_HANDSHAKE_IVL, timeout) &&
                  socket_set_int(socket, ZMQ_IPV6, endpoint_is_ipv6(settings->endpoint)) &&
                  zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &size_max, sizeof(size_max)) == 0;

    is_set = is_set &&
             zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, settings->broker_public, 32) == 0 &&
             zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, settings->my_public, 32) == 0 &&
             zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, settings->my_secret->at, 32) == 0;
    return is_set ? 0 : AICO_ESYSTEM;
}

static int connect_socket(struct dealer *dealer, struct aico_error *err)
{
    if (zmq_connect(dealer->socket, dealer->endpoint) == 0)
        return 0;
    if (errno == ENODEV || errno == EHOSTUNREACH)
        return aico_error_set(err, AICO_EUNREACHABLE, "%s: host not found", dealer->endpoint);
    return aico_error_set(err, errno == EMFILE ? AICO_ESYSTEM : AICO_EINVAL, "%s: %s",
                          dealer->endpoint, zmq_strerror(errno));
}

static void dealer_free(struct dealer **dealer)
{
    dealer_close(dealer, 0);
}

int dealer_open(struct transport *transport, const struct dealer_settings *settings,
                struct dealer **ret_dealer, struct aico_error *err)
{
    CLEANUP(dealer_free)
    struct dealer *dealer = calloc(1, sizeof(*dealer));
    int r;

    if (!dealer)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    (void)zmq_msg_init(&dealer->frame);
    dealer->timeout_ms = MAX(settings->timeout_ms, (int64_t)1);
    dealer->give_up_ms = moment_now().boot_ms + dealer->timeout_ms;
    memcpy(dealer->broker_public, settings->broker_public, sizeof(dealer->broker_public));
    dealer->endpoint = strdup(settings->endpoint);
    if (!dealer->endpoint)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");

    dealer->socket = zmq_socket(transport->zmq, ZMQ_DEALER);
    if (!dealer->socket || set_options(dealer->socket, settings) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "preparing a socket: %s", zmq_strerror(errno));
    dealer->monitor =
        monitor_open(transport, dealer->socket,
                     ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CONNECT_RETRIED | ZMQ_EVENT_CLOSED |
                         ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_SUCCEEDED |
                         ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                         ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
    if (!dealer->monitor || !waiter_init(&dealer->waiter, dealer->socket, dealer->monitor))
        return aico_error_set(err, AICO_ESYSTEM, "watching a socket: %s", zmq_strerror(errno));
    r = connect_socket(dealer, err);
    if (r < 0)
        return r;

    *ret_dealer = STEAL(dealer);
    return 0;
}

unsigned dealer_look(struct dealer *dealer)
{
    unsigned result = DEALER_NONE;
    uint16_t event;
    uint32_t value;
    int events;

    while (waiter_next_event(&dealer->waiter, &event, &value))
        on_event(dealer, event, value);
    on_time(dealer);

    /* Asked after the monitor: what arrived before the link was lost is seen before its loss. */
    if (dealer->state == UP && dealer->up_told && !dealer->is_full)
        events = waiter_has_input(&dealer->waiter) ? ZMQ_POLLIN : 0;
    else
        events = waiter_events(&dealer->waiter);
    if (dealer->state == UP && !dealer->up_told) {
        dealer->up_told = true;
        result |= DEALER_UP;
    }
    if (events & ZMQ_POLLIN)
        result |= waiter_expects_one(&dealer->waiter) ? DEALER_FRAME | DEALER_ONE : DEALER_FRAME;
    if (dealer->state == UP && dealer->is_full && events & ZMQ_POLLOUT) {
        dealer->is_full = false;
        result |= DEALER_WRITABLE;
    }
    if (dealer->state == DOWN && !(events & ZMQ_POLLIN))
        result |= DEALER_DOWN;
    return result;
}

bool dealer_has_frame(struct dealer *dealer)
{
    return waiter_has_input(&dealer->waiter);
}

void dealer_get_fds(const struct dealer *dealer, int ret_fds[2])
{
    memcpy(ret_fds, dealer->waiter.fds, sizeof(dealer->waiter.fds));
}

unsigned dealer_sleep(const int fds[2], int wake_fd, int64_t timeout_ms)
{
    return waiter_poll(fds, wake_fd, timeout_ms, 0);
}

unsigned dealer_slept(struct dealer *dealer, unsigned found)
{
    waiter_polled(&dealer->waiter, found);
    if (found & WAITER_FAILED)
        go_down(dealer, AICO_ESYSTEM, zmq_strerror(errno));
    return dealer_look(dealer) | (found & WAITER_WOKEN ? DEALER_WOKEN : DEALER_NONE);
}

unsigned dealer_wait(struct dealer *dealer, int wake_fd, int64_t timeout_ms)
{
    int64_t now = moment_now().boot_ms;
    int64_t deadline_ms = timeout_ms < 0 ? MOMENT_NEVER : now + timeout_ms;
    unsigned result = dealer_look(dealer);
    bool is_last = false;

    while (result == DEALER_NONE && !is_last) {
        int64_t until_ms = next_time(dealer, deadline_ms);
        int64_t wait_ms = until_ms == MOMENT_NEVER ? -1 : MAX(until_ms - now, (int64_t)0);

        is_last = deadline_ms <= now;
        result = dealer_slept(
            dealer, waiter_poll(dealer->waiter.fds, wake_fd, wait_ms, dealer->waiter.busy_us));
        now = moment_now().boot_ms;
    }
    return result;
}

void dealer_set_busy_poll(struct dealer *dealer, int64_t us)
{
    dealer->waiter.busy_us = us;
}

bool dealer_is_up(const struct dealer *dealer)
{
    return dealer->state == UP;
}

int dealer_reason(const struct dealer *dealer, struct aico_error *err)
{
    if (dealer->state != DOWN)
        return 0;
    return aico_error_set(err, dealer->reason.code, "%s", dealer->reason.text);
}

int dealer_send(struct dealer *dealer, struct bytes frame)
{
    int r;

    if (frame.size == 0)
        return AICO_EINVAL;
    if (dealer->state != UP)
        return AICO_ECLOSED;
    waiter_sent(&dealer->waiter);
    do
        r = zmq_send(dealer->socket, frame.at, frame.size, ZMQ_DONTWAIT);
    while (r < 0 && errno == EINTR);
    if (r >= 0)
        return 0;
    if (errno == ENOMEM)
        return AICO_ENOMEM;
    if (errno != EAGAIN)
        return AICO_ECLOSED;
    dealer->is_full = true;
    return AICO_EFULL;
}

/* Reads what is left of a message in several parts, which a broker never sends. */
static void skip_parts(struct dealer *dealer)
{
    while (zmq_msg_more(&dealer->frame))
        if (zmq_msg_recv(&dealer->frame, dealer->socket, ZMQ_DONTWAIT) < 0 && errno != EINTR)
            return;
}

int dealer_receive(struct dealer *dealer, struct bytes *ret_frame)
{
    int r;

    do
        r = zmq_msg_recv(&dealer->frame, dealer->socket, ZMQ_DONTWAIT);
    while (r < 0 && errno == EINTR);
    if (r < 0) {
        if (errno == EAGAIN)
            waiter_received(&dealer->waiter, false);
        return AICO_ENOTFOUND;
    }
    waiter_received(&dealer->waiter, true);
    if (zmq_msg_more(&dealer->frame) || zmq_msg_size(&dealer->frame) == 0) {
        skip_parts(dealer);
        go_down(dealer, AICO_EPROTO, "the broker sent something that is not a frame");
        return AICO_ENOTFOUND;
    }
    *ret_frame = bytes_of(zmq_msg_data(&dealer->frame), zmq_msg_size(&dealer->frame));
    return 0;
}

void dealer_close(struct dealer **dealer, int64_t linger_ms)
{
    struct dealer *d = *dealer;

    if (!d)
        return;
    if (d->socket) {
        (void)zmq_socket_monitor(d->socket, NULL, 0);
        (void)socket_set_int(d->socket, ZMQ_LINGER, (int)MIN(linger_ms, (int64_t)INT32_MAX));
    }
    socket_close(&d->socket);
    socket_close(&d->monitor);
    (void)zmq_msg_close(&d->frame);
    free(d->endpoint);
    free(d);
    *dealer = NULL;
}
