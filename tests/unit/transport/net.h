/* SPDX-License-Identifier: Apache-2.0 */
/* A real router on loopback and ipc, for the tests of this folder. */
#ifndef TEST_TRANSPORT_NET_H
#define TEST_TRANSPORT_NET_H

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/box.h"
#include "transport/dealer.h"
#include "transport/router.h"
#include "transport/roster.h"
#include "transport/wake.h"

#define FRAME_MAX (96 * 1024)
#define DEADLINE_MS 10000
#define HANDSHAKE_MS 1000

struct keys {
    uint8_t public[32];
    struct secret secret;
};

/* A frame that came while the router was served by a thread. */
struct kept {
    struct kept *next;
    struct router_input input;
    uint8_t bytes[];
};

struct net {
    struct router *router;
    struct keys broker, alice, bob, mallory; /* mallory is not on the roster */
    int64_t handshake_ms, silent_ms, bye_ms;
    unsigned threads;
    char folder[64];
    char *tcp, *ipc;
    size_t gone; /* links named so far */
    pthread_t server;
    struct wake wake;
    atomic_bool is_over;
    struct kept *kept, *taken;
};

static struct net *nets[2]; /* those there are */

/* --- serving: a router does nothing by itself ------------------------------------------------- */

static inline void net_keep(struct net *net, const struct router_input *input)
{
    struct kept *kept = malloc(sizeof(*kept) + input->frame.size), **end = &net->kept;

    while (*end)
        end = &(*end)->next;
    *kept = (struct kept){.input = *input};
    bytes_copy(kept->bytes, input->frame);
    kept->input.frame.at = kept->bytes;
    *end = kept;
}

static inline void *net_serve(void *argument)
{
    struct net *net = argument;
    struct router_input input;

    while (!atomic_load(&net->is_over)) {
        if (router_wait(net->router, net->wake.fd, 1000) & ROUTER_WOKEN)
            wake_clear(&net->wake);
        while (router_receive(net->router, moment_now(), &input) == 0)
            net_keep(net, &input);
    }
    return NULL;
}

/* Between these two the routers are a thread's, so that the test may wait for what they do. */
static inline void serve_begin(void)
{
    for (size_t i = 0; i < COUNT_OF(nets); i++)
        if (nets[i]) {
            atomic_store(&nets[i]->is_over, false);
            assert_int_equal(pthread_create(&nets[i]->server, NULL, net_serve, nets[i]), 0);
        }
}

static inline void serve_end(void)
{
    for (size_t i = 0; i < COUNT_OF(nets); i++)
        if (nets[i]) {
            atomic_store(&nets[i]->is_over, true);
            wake_signal(&nets[i]->wake);
            assert_int_equal(pthread_join(nets[i]->server, NULL), 0);
            wake_clear(&nets[i]->wake);
        }
}

/* --- life ------------------------------------------------------------------------------------- */

static inline void keys_new(struct keys *keys)
{
    box_keys(keys->public, &keys->secret);
}

static inline void net_allow(struct net *net, const struct keys *const *who,
                             const char *const *names, size_t count)
{
    struct roster *roster = roster_new();

    assert_non_null(roster);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(roster_add(roster, who[i]->public, names[i], INT64_MAX), 0);
    router_set_roster(net->router, &roster);
    assert_null(roster);
}

static inline void net_allow_both(struct net *net)
{
    const struct keys *who[] = {&net->alice, &net->bob};
    const char *const names[] = {"alice#1", "bob#2"};

    net_allow(net, who, names, 2);
}

static inline void net_router(struct net *net)
{
    struct router_settings settings = {
        .secret = &net->broker.secret,
        .frame_size_max = FRAME_MAX,
        .handshake_ms = net->handshake_ms,
        .silent_ms = net->silent_ms,
        .bye_ms = net->bye_ms,
        .threads = net->threads,
    };
    struct aico_error err = {0};
    char path[128];

    (void)snprintf(path, sizeof(path), "ipc://%s/bus.sock", net->folder);
    assert_int_equal(router_new(&settings, &net->router, &err), 0);
    assert_int_equal(router_bind(net->router, "tcp://127.0.0.1:*", -1, &net->tcp, &err), 0);
    assert_int_equal(router_bind(net->router, path, -1, &net->ipc, &err), 0);
}

static inline int net_up(void **state)
{
    struct net *net = calloc(1, sizeof(*net));

    assert_non_null(net);
    (void)snprintf(net->folder, sizeof(net->folder), "/tmp/aico-net-XXXXXX");
    assert_non_null(mkdtemp(net->folder));
    net->handshake_ms = HANDSHAKE_MS;
    net->silent_ms = DEADLINE_MS;
    net->bye_ms = 30;
    keys_new(&net->broker);
    keys_new(&net->alice);
    keys_new(&net->bob);
    keys_new(&net->mallory);
    net_router(net);
    net_allow_both(net);
    assert_int_equal(wake_open(&net->wake), 0);
    nets[nets[0] != NULL] = net;
    *state = net;
    return 0;
}

static inline int net_down(void **state)
{
    struct net *net = *state;

    nets[nets[0] != net] = NULL;
    router_free(&net->router, 0);
    wake_close(&net->wake);
    free(net->taken);
    while ((net->taken = net->kept) != NULL) {
        net->kept = net->kept->next;
        free(net->taken);
    }
    (void)unlink(net->ipc + strlen("ipc://"));
    assert_int_equal(rmdir(net->folder), 0);
    free(net->tcp);
    free(net->ipc);
    free(net);
    return 0;
}

/* The same with two threads that help the router. */
static inline int net_up_with_helpers(void **state)
{
    struct net *net;

    if (net_up(state) < 0)
        return -1;
    net = *state;
    router_free(&net->router, 0);
    free(STEAL(net->tcp));
    free(STEAL(net->ipc));
    net->threads = 3;
    net_router(net);
    net_allow_both(net);
    return 0;
}

static inline struct dealer *dial(const char *endpoint, const struct keys *who,
                                  const struct keys *broker)
{
    struct dealer_settings settings = {endpoint,     broker->public, who->public,
                                       &who->secret, FRAME_MAX,      HANDSHAKE_MS * 4};
    struct dealer *dealer = NULL;
    struct aico_error err = {0};

    assert_int_equal(dealer_open(&settings, &dealer, &err), 0);
    return dealer;
}

static inline int64_t deadline(void)
{
    return moment_now().boot_ms + DEADLINE_MS;
}

/* Waits for any of @events; fails the test at the deadline. */
static inline unsigned dealer_expect(struct dealer *dealer, unsigned events)
{
    int64_t end = deadline();
    unsigned happened = DEALER_NONE;

    serve_begin();
    while (!(happened & (events | DEALER_DOWN)) && moment_now().boot_ms < end)
        happened = dealer_wait(dealer, -1, 50);
    serve_end();
    if (happened & events)
        return happened;
    if (happened & DEALER_DOWN)
        fail_msg("down: %d", dealer_reason(dealer, NULL));
    fail_msg("none of the events %u came in time", events);
    return 0;
}

static inline struct dealer *dial_up(struct net *net, const char *endpoint, const struct keys *who)
{
    struct dealer *dealer = dial(endpoint, who, &net->broker);

    assert_true(dealer_expect(dealer, DEALER_UP) & DEALER_UP);
    assert_true(dealer_is_up(dealer));
    return dealer;
}

/* What it has sent leaves first: for that, the routers must take it. */
static inline void close_served(struct dealer **dealer)
{
    serve_begin();
    dealer_close(dealer, DEADLINE_MS);
    serve_end();
}

/* Turns of the router until @fd, a stranger's, has been sent its greeting. */
static inline void await_greeting(struct net *net, int fd)
{
    char greeting[64];
    int64_t end = deadline();

    while (recv(fd, greeting, sizeof(greeting), MSG_DONTWAIT) != sizeof(greeting)) {
        assert_true(moment_now().boot_ms < end);
        (void)router_wait(net->router, -1, 5);
    }
}

/* One turn of a broker's loop that only names lost links. */
static inline void count_gone(struct net *net)
{
    struct link *link;

    while (router_next_gone(net->router, moment_now(), &link))
        net->gone++;
}

/* The next frame the router gets; fails the test at the deadline. */
static inline struct router_input router_expect(struct net *net)
{
    struct router_input input = {0};
    int64_t end = deadline();

    while (moment_now().boot_ms < end) {
        free(STEAL(net->taken));
        if (net->kept) {
            net->taken = net->kept;
            net->kept = net->kept->next;
            return net->taken->input;
        }
        (void)router_wait(net->router, -1, 20);
        if (router_receive(net->router, moment_now(), &input) == 0)
            return input;
        count_gone(net);
    }
    fail_msg("no frame came in time");
    return input;
}

/* Runs the router, with every frame thrown away, until @count links were named gone. */
static inline void router_expect_gone(struct net *net, size_t count)
{
    struct router_input input;
    int64_t end = deadline();

    while (net->gone < count && moment_now().boot_ms < end) {
        (void)router_wait(net->router, -1, 5);
        while (router_receive(net->router, moment_now(), &input) == 0)
            continue;
        count_gone(net);
    }
    assert_int_equal(net->gone, count);
}

static inline void send_text(struct dealer *dealer, const char *text)
{
    assert_int_equal(dealer_send(dealer, bytes_text(text)), 0);
}

static inline void expect_text(struct dealer *dealer, const char *text)
{
    struct bytes frame;

    (void)dealer_expect(dealer, DEALER_FRAME);
    assert_int_equal(dealer_receive(dealer, &frame), 0);
    assert_true(bytes_equal_text(frame, text));
}

/* The reason a dealer goes down for; fails the test at the deadline. */
static inline int down_code(struct dealer **dealer, int64_t within_ms)
{
    int64_t end = moment_now().boot_ms + within_ms;
    struct aico_error err = {0};
    int code = 0;

    serve_begin();
    while (moment_now().boot_ms < end && !(dealer_wait(*dealer, -1, 20) & DEALER_DOWN))
        continue;
    serve_end();
    code = dealer_reason(*dealer, &err);
    if (code == 0)
        fail_msg("still not down after %lld ms", (long long)within_ms);
    assert_true(strlen(err.text) > 0);
    dealer_close(dealer, 0);
    return code;
}

#endif
