/* SPDX-License-Identifier: Apache-2.0 */
/* The broker's links: who gets one, how it ends, and what strangers cannot do. */
#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

#include <zmq.h>

#include "net.h"

/* A hostile or foreign peer: a plain DEALER with a key, under the test's control. */
static void *rogue_open(struct net *net, void *context, const struct keys *who,
                        const char *routing_id)
{
    void *socket = zmq_socket(context, ZMQ_DEALER);
    int none = 0;

    assert_non_null(socket);
    (void)zmq_setsockopt(socket, ZMQ_LINGER, &none, sizeof(none));
    if (routing_id)
        (void)zmq_setsockopt(socket, ZMQ_ROUTING_ID, routing_id, strlen(routing_id));
    (void)zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, net->broker.public, 32);
    (void)zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, who->public, 32);
    (void)zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, who->secret.at, 32);
    assert_int_equal(zmq_connect(socket, net->tcp), 0);
    return socket;
}

/* Runs the router until *counter reaches @want; no frame may reach the owner meanwhile. */
static void expect_counted(struct net *net, const uint64_t *counter,
                           struct router_counters *counters, uint64_t want)
{
    struct router_input input;
    int64_t end = deadline();

    while (*counter < want && moment_now().boot_ms < end) {
        (void)router_wait(net->router, -1, 5);
        assert_int_equal(router_receive(net->router, moment_now(), &input), AICO_ENOTFOUND);
        count_gone(net);
        router_get_counters(net->router, counters);
    }
    assert_true(*counter >= want);
}

static void a_link_is_named_by_its_key_alone(void **state)
{
    struct net *net = *state;
    struct dealer *tcp = dial_up(net, net->tcp, &net->alice);
    struct dealer *ipc = dial_up(net, net->ipc, &net->bob);
    struct router_input input;
    char who[64];

    send_text(tcp, "one");
    input = router_expect(net);
    assert_true(input.is_new);
    assert_string_equal(input.user_id, "alice#1");
    assert_int_equal(strncmp(input.address, "127.0.0.1:", strlen("127.0.0.1:")), 0);

    send_text(ipc, "two");
    input = router_expect(net);
    assert_true(input.is_new);
    assert_string_equal(input.user_id, "bob#2");
    (void)snprintf(who, sizeof(who), "uid %u, pid %d", (unsigned)getuid(), (int)getpid());
    assert_string_equal(input.address, who);

    link_set_owner(input.link, net);
    send_text(ipc, "three");
    input = router_expect(net);
    assert_false(input.is_new);
    assert_ptr_equal(link_owner(input.link), net);
    dealer_close(&tcp, 0);
    dealer_close(&ipc, 0);
}

static void one_component_may_have_two_links(void **state)
{
    struct net *net = *state;
    struct dealer *first = dial_up(net, net->tcp, &net->alice);
    struct dealer *second = dial_up(net, net->ipc, &net->alice);
    struct link *a, *b;

    send_text(first, "one");
    a = router_expect(net).link;
    send_text(second, "two");
    b = router_expect(net).link;
    assert_ptr_not_equal(a, b);
    assert_int_equal(router_send(net->router, a, bytes_text("for the first")), 0);
    assert_int_equal(router_send(net->router, b, bytes_text("for the second")), 0);
    expect_text(first, "for the first");
    expect_text(second, "for the second");
    dealer_close(&first, 0);
    dealer_close(&second, 0);
}

static void a_peer_that_chose_its_routing_id_is_cut(void **state)
{
    struct net *net = *state;
    struct router_counters counters = {0};
    void *context = zmq_ctx_new();
    void *short_id = rogue_open(net, context, &net->alice, "me");
    void *same_size = rogue_open(net, context, &net->bob, "exact");

    (void)zmq_send(short_id, "hello", 5, 0);
    (void)zmq_send(same_size, "hello", 5, 0);
    expect_counted(net, &counters.refused_id, &counters, 2);
    assert_int_equal(counters.links, 0);
    (void)zmq_close(short_id);
    (void)zmq_close(same_size);
    (void)zmq_ctx_term(context);
}

static void messages_of_several_parts_and_empty_ones_cut_the_link(void **state)
{
    struct net *net = *state;
    struct router_counters counters = {0};
    void *context = zmq_ctx_new();
    void *parts = rogue_open(net, context, &net->alice, NULL);
    void *empty = rogue_open(net, context, &net->bob, NULL);

    (void)zmq_send(parts, "proper", 6, 0);
    assert_true(router_expect(net).is_new);
    (void)zmq_send(parts, "a", 1, ZMQ_SNDMORE);
    (void)zmq_send(parts, "b", 1, 0);
    expect_counted(net, &counters.refused_shape, &counters, 1);
    router_expect_gone(net, 1);
    (void)zmq_send(empty, "", 0, 0);
    expect_counted(net, &counters.refused_shape, &counters, 2);
    (void)zmq_close(parts);
    (void)zmq_close(empty);
    (void)zmq_ctx_term(context);
}

static void a_message_larger_than_a_frame_ends_the_connection(void **state)
{
    struct net *net = *state;
    static uint8_t big[FRAME_MAX + 1024];
    struct dealer_settings settings = {net->tcp,           net->broker.public, net->alice.public,
                                       &net->alice.secret, sizeof(big),        HANDSHAKE_MS * 4};
    struct aico_error err = {0};
    struct dealer *dealer;

    assert_int_equal(dealer_open(&settings, &dealer, &err), 0);
    (void)dealer_expect(dealer, DEALER_UP);
    send_text(dealer, "hello");
    (void)router_expect(net);
    assert_int_equal(dealer_send(dealer, bytes_of(big, sizeof(big))), 0);
    router_expect_gone(net, 1);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_ECLOSED);
}

static void without_a_roster_nobody_gets_in(void **state)
{
    struct net *net = *state;
    struct dealer *dealer;

    router_free(&net->router, 0);
    (void)unlink(net->ipc + strlen("ipc://"));
    free(STEAL(net->tcp));
    free(STEAL(net->ipc));
    net_router(net);
    dealer = dial(net->tcp, &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_EUNKNOWN);
}

static void a_revoked_key_cannot_come_back_and_others_stay(void **state)
{
    struct net *net = *state;
    struct dealer *alice = dial_up(net, net->tcp, &net->alice);
    struct dealer *bob = dial_up(net, net->tcp, &net->bob);
    const struct keys *who[] = {&net->alice};
    const char *const names[] = {"alice#1"};
    struct link *link;

    send_text(bob, "hello");
    link = router_expect(net).link;
    net_allow(net, who, names, 1);
    router_cut(net->router, moment_now(), link);
    router_expect_gone(net, 1);
    assert_int_equal(down_code(&bob, DEADLINE_MS), AICO_ECLOSED);

    bob = dial(net->tcp, &net->bob, &net->broker);
    assert_int_equal(down_code(&bob, DEADLINE_MS), AICO_EUNKNOWN);
    send_text(alice, "still here");
    assert_true(bytes_equal_text(router_expect(net).frame, "still here"));
    dealer_close(&alice, 0);
}

static void a_key_is_let_in_until_its_time_is_over(void **state)
{
    struct net *net = *state;
    struct roster *roster = roster_new();
    int64_t now = moment_now().real_ms;
    struct dealer *dealer;

    assert_int_equal(roster_add(roster, net->alice.public, "alice#1", now - 1), 0);
    assert_int_equal(roster_add(roster, net->bob.public, "bob#2", now + 60000), 0);
    assert_int_equal(roster_add(roster, net->bob.public, "bob#3", now), AICO_EEXISTS);
    assert_int_equal(roster_add(roster, net->mallory.public, "", now), AICO_EINVAL);
    assert_int_equal(roster_add_former(roster, net->bob.public), AICO_EEXISTS);
    assert_int_equal(roster_add_former(roster, net->mallory.public), 0);
    router_set_roster(net->router, &roster);
    dealer = dial(net->tcp, &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_EREVOKED);
    dealer = dial(net->tcp, &net->mallory, &net->broker);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_EREVOKED);
    dealer = dial_up(net, net->tcp, &net->bob);
    dealer_close(&dealer, 0);
}

static void a_lost_link_is_named_after_all_it_had_sent(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct router_input input;
    int64_t end = deadline();
    size_t count = 0;

    for (int i = 0; i < 10; i++)
        send_text(dealer, "one of ten");
    dealer_close(&dealer, 1); /* it is all in the socket */
    while (net->gone == 0 && moment_now().boot_ms < end) {
        (void)router_wait(net->router, -1, 5);
        while (router_receive(net->router, moment_now(), &input) == 0) {
            assert_int_equal(net->gone, 0);
            count++;
        }
        count_gone(net);
    }
    assert_int_equal(net->gone, 1);
    assert_int_equal(count, 10);
}

static void frames_of_a_cut_link_are_thrown_away(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct router_counters counters = {0};

    send_text(dealer, "hello");
    router_cut(net->router, moment_now(), router_expect(net).link);
    send_text(dealer, "once more");
    expect_counted(net, &counters.late, &counters, 1);
    router_expect_gone(net, 1);
    dealer_close(&dealer, 0);
}

/* What is said to it last waits for its reading. */
static void a_link_that_is_cut_is_told_why_first(void **state)
{
    static const uint8_t filler[FRAME_MAX];
    struct net *net = *state;
    struct dealer *dealer;
    struct link *link;
    struct bytes frame;
    int64_t end;

    router_free(&net->router, 0);
    free(STEAL(net->tcp));
    free(STEAL(net->ipc));
    net->bye_ms = DEADLINE_MS;
    net_router(net);
    net_allow_both(net);
    dealer = dial_up(net, net->tcp, &net->alice);
    send_text(dealer, "hello");
    link = router_expect(net).link;
    while (router_send(net->router, link, bytes_of(filler, sizeof(filler))) == 0)
        (void)router_wait(net->router, -1, 1);
    do { /* until there is room again, by what is read */
        (void)dealer_expect(dealer, DEALER_FRAME);
        assert_int_equal(dealer_receive(dealer, &frame), 0);
        (void)router_wait(net->router, -1, 1);
    } while (router_send(net->router, link, bytes_text("bye")) != 0);
    router_cut(net->router, moment_now(), link);
    for (end = moment_now().boot_ms + 100; moment_now().boot_ms < end; count_gone(net))
        (void)router_wait(net->router, -1, 1);
    do {
        (void)dealer_expect(dealer, DEALER_FRAME);
        assert_int_equal(dealer_receive(dealer, &frame), 0);
    } while (frame.size == sizeof(filler));
    assert_true(bytes_equal_text(frame, "bye"));
    end = moment_now().boot_ms + net->bye_ms / 2;
    dealer_close(&dealer, 0);
    router_expect_gone(net, 1); /* who goes is not waited for */
    assert_true(moment_now().boot_ms < end);
}

static void a_gone_link_takes_nothing(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct router_input input;
    struct link *link;
    int64_t end = deadline();
    int r = 0;

    send_text(dealer, "hello");
    link = router_expect(net).link;
    dealer_close(&dealer, 0);
    while ((r == 0 || r == AICO_EFULL) && moment_now().boot_ms < end) {
        r = router_send(net->router, link, bytes_text("anybody there?"));
        (void)router_wait(net->router, -1, 5);
        (void)!router_receive(net->router, moment_now(), &input);
    }
    assert_int_equal(r, AICO_ECLOSED);
    router_expect_gone(net, 1);
}

static void a_full_link_does_not_hold_up_another(void **state)
{
    struct net *net = *state;
    struct dealer *slow = dial_up(net, net->tcp, &net->alice);
    struct dealer *quick = dial_up(net, net->tcp, &net->bob);
    static uint8_t big[64 * 1024];
    struct link *full, *other;
    size_t sent = 0;
    int64_t end = deadline();
    int r = 0;

    send_text(slow, "hello");
    full = router_expect(net).link;
    send_text(quick, "hello");
    other = router_expect(net).link;
    while (r == 0 && sent < 10000) {
        r = router_send(net->router, full, bytes_of(big, sizeof(big)));
        sent += r == 0;
    }
    assert_int_equal(r, AICO_EFULL);
    assert_int_equal(router_send(net->router, other, bytes_text("no waiting")), 0);
    expect_text(quick, "no waiting");

    /* Nothing of what was taken is lost, and then there is room again. */
    for (size_t received = 0; received < sent && moment_now().boot_ms < end;) {
        struct bytes frame;

        (void)router_wait(net->router, -1, 0);
        (void)dealer_wait(slow, -1, 5);
        while (dealer_receive(slow, &frame) == 0)
            received++;
        if (received == sent)
            sent = 0;
    }
    assert_int_equal(sent, 0);
    while ((r = router_send(net->router, full, bytes_text("again"))) == AICO_EFULL &&
           moment_now().boot_ms < end)
        (void)router_wait(net->router, -1, 1);
    assert_int_equal(r, 0);
    expect_text(slow, "again");
    dealer_close(&slow, 0);
    dealer_close(&quick, 0);
}

/* Descriptor numbers are given again at once: the loss of one must never be taken for another's. */
static void in_a_crowd_that_comes_and_goes_every_loss_is_named_once(void **state)
{
    enum { ROUNDS = 60 };
    struct net *net = *state;
    struct dealer *stays = dial_up(net, net->tcp, &net->bob);
    struct router_counters counters;
    struct link *kept;
    size_t seen = 0;
    char text[32];

    send_text(stays, "hello");
    kept = router_expect(net).link;
    for (int round = 0; round < ROUNDS; round++) {
        struct dealer *dealer = dial_up(net, round % 3 ? net->tcp : net->ipc, &net->alice);

        (void)snprintf(text, sizeof(text), "round %d", round);
        send_text(dealer, text);
        /* Every second one is gone before the router looks at it. */
        for (bool is_read = round % 2 > 0; !is_read; seen++) {
            struct router_input input = router_expect(net);

            assert_true(input.is_new);
            is_read = bytes_equal_text(input.frame, text);
        }
        if (round % 2)
            close_served(&dealer);
        else
            dealer_close(&dealer, 0);
    }
    while (seen++ < ROUNDS)
        assert_true(router_expect(net).is_new);
    router_expect_gone(net, ROUNDS);
    send_text(stays, "still here");
    assert_ptr_equal(router_expect(net).link, kept);
    router_expect_gone(net, ROUNDS);
    router_get_counters(net->router, &counters);
    assert_int_equal(counters.links, ROUNDS + 1);
    assert_int_equal(counters.late, 0);
    dealer_close(&stays, 0);
}

static void a_stranger_that_says_nothing_is_closed(void **state)
{
    struct net *net = *state;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int64_t end = deadline();
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    char greeting[64];
    ssize_t got = 0;

    address.sin_port = htons((uint16_t)strtoul(strrchr(net->tcp, ':') + 1, NULL, 10));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    do {
        (void)router_wait(net->router, -1, 5);
        count_gone(net);
        got = recv(fd, greeting, sizeof(greeting), MSG_DONTWAIT);
    } while (got != 0 && moment_now().boot_ms < end);
    assert_int_equal(got, 0);
    (void)close(fd);
}

static void a_bound_address_is_in_use(void **state)
{
    struct net *net = *state;
    struct router_settings settings = {&net->broker.secret, FRAME_MAX, HANDSHAKE_MS, DEADLINE_MS};
    struct router *second = NULL;
    char *endpoint = NULL;
    struct aico_error err = {0};

    assert_int_equal(router_new(&settings, &second, &err), 0);
    assert_int_equal(router_bind(second, net->tcp, -1, &endpoint, &err), AICO_EEXISTS);
    assert_non_null(strstr(err.text, "in use"));
    assert_int_equal(router_bind(second, "tcp://203.0.113.7:1", -1, &endpoint, &err), AICO_EINVAL);
    assert_int_equal(router_bind(second, "tcp://localhost:*", -1, &endpoint, &err), 0);
    assert_non_null(strstr(endpoint, "tcp://127.0.0.1:"));
    free(endpoint);
    router_free(&second, 0);
}

static void two_brokers_live_in_one_process(void **state)
{
    struct net *net = *state;
    void *other_state = NULL;
    struct net *other;
    struct dealer *here, *there;

    assert_int_equal(net_up(&other_state), 0);
    other = other_state;
    here = dial_up(net, net->tcp, &net->alice);
    there = dial_up(other, other->tcp, &other->alice);
    send_text(here, "here");
    send_text(there, "there");
    assert_true(bytes_equal_text(router_expect(net).frame, "here"));
    assert_true(bytes_equal_text(router_expect(other).frame, "there"));
    dealer_close(&here, 0);
    dealer_close(&there, 0);
    assert_int_equal(net_down(&other_state), 0);
}

static void on_signal(int number)
{
    (void)number;
}

static void signal_handlers_are_left_alone(void **state)
{
    struct net *net = *state;
    struct router_settings settings = {.secret = &net->broker.secret, .threads = 3};
    struct sigaction mine = {.sa_handler = on_signal}, after;
    struct router *router = NULL;
    struct aico_error err = {0};
    sigset_t mask;

    assert_int_equal(sigaction(SIGTERM, &mine, NULL), 0);
    assert_int_equal(router_new(&settings, &router, &err), 0);
    assert_int_equal(sigaction(SIGTERM, NULL, &after), 0);
    assert_ptr_equal(after.sa_handler, on_signal);
    assert_int_equal(sigaction(SIGINT, NULL, &after), 0);
    assert_ptr_equal(after.sa_handler, SIG_DFL);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    assert_false(sigismember(&mask, SIGTERM));
    router_free(&router, 0);
    (void)signal(SIGTERM, SIG_DFL);
}

struct looking {
    struct net *net;
    const struct keys *who; /* NULL: there is nothing newer */
    size_t looks;
};

static void look_for_newer(void *context)
{
    struct looking *looking = context;
    const char *const names[] = {"mallory#3"};

    looking->looks++;
    if (looking->who)
        net_allow(looking->net, &looking->who, names, 1);
}

static void a_newer_roster_is_looked_for_before_a_key_is_refused(void **state)
{
    struct net *net = *state;
    struct looking looking = {.net = net, .who = &net->mallory};
    struct dealer *dealer;

    router_set_look(net->router, look_for_newer, &looking);
    dealer = dial_up(net, net->tcp, &net->mallory);
    send_text(dealer, "hello");
    assert_string_equal(router_expect(net).user_id, "mallory#3");
    assert_int_equal(looking.looks, 1);
    dealer_close(&dealer, 0);
}

static void strangers_make_us_look_so_often_and_no_more(void **state)
{
    struct net *net = *state;
    struct looking looking = {.net = net};
    int64_t begin = moment_now().boot_ms, took_ms;
    size_t most;

    router_set_look(net->router, look_for_newer, &looking);
    for (int i = 0; i < 3 * ROUTER_LOOKS_RATE; i++) {
        struct dealer *dealer = dial(net->tcp, &net->mallory, &net->broker);

        assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_EUNKNOWN);
    }
    took_ms = moment_now().boot_ms - begin;
    most = ROUTER_LOOKS_RATE + (size_t)(took_ms * ROUTER_LOOKS_RATE / 1000) + 1;
    assert_in_range(looking.looks, ROUTER_LOOKS_RATE, most);
}

/* --- fairness ------------------------------------------------------------------------------- */

static int stranger_begin(const struct net *net)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    static const uint8_t greeting[64] = {[0] = 0xff, [9] = 0x7f, [10] = 3, [11] = 1, [12] = 'C',
                                         'U',        'R',        'V',      'E'};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    address.sin_port = htons((uint16_t)strtoul(strrchr(net->tcp, ':') + 1, NULL, 10));
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, greeting, sizeof(greeting), 0), sizeof(greeting));
    return fd;
}

static void a_frame_comes_before_what_strangers_say(void **state)
{
    enum { STRANGERS = 100 };
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct router_input input;
    int fds[STRANGERS];

    for (int i = 0; i < STRANGERS; i++)
        fds[i] = stranger_begin(net);
    for (int i = 0; i < STRANGERS; i++)
        await_greeting(net, fds[i]); /* all are there, and nobody was heard */
    send_text(dealer, "hello");
    assert_true(router_wait(net->router, -1, 1000) & ROUTER_INPUT);
    assert_int_equal(router_receive(net->router, moment_now(), &input), 0);
    assert_true(bytes_equal_text(input.frame, "hello"));
    for (int i = 0; i < STRANGERS; i++)
        (void)close(fds[i]);
    dealer_close(&dealer, 0);
}

/* ... and between two frames so many of their steps are made. */
static void handshakes_are_made_in_portions(void **state)
{
    enum { STRANGERS = 40 };
    struct net *net = *state;
    struct router_input input;
    int fds[STRANGERS], portions = 0;

    for (int i = 0; i < STRANGERS; i++)
        fds[i] = stranger_begin(net);
    for (int i = 0; i < STRANGERS; i++)
        await_greeting(net, fds[i]);
    while (router_wait(net->router, -1, 0) & ROUTER_INPUT) {
        assert_int_equal(router_receive(net->router, moment_now(), &input), AICO_ENOTFOUND);
        portions++;
    }
    assert_true(portions >= 3);
    for (int i = 0; i < STRANGERS; i++)
        (void)close(fds[i]);
}

/* One that always has something does not keep others out, nor another link from being heard. */
static void who_never_stops_does_not_shut_others_out(void **state)
{
    struct net *net = *state;
    static uint8_t big[FRAME_MAX];
    struct dealer *busy = dial_up(net, net->tcp, &net->alice), *other;
    struct router_input input;
    int64_t end = deadline();
    bool is_heard = false, has_sent = false;

    other = dial(net->tcp, &net->bob, &net->broker);
    while (!is_heard && moment_now().boot_ms < end) {
        while (dealer_send(busy, bytes_of(big, sizeof(big))) == 0)
            continue;
        (void)dealer_peek(busy);
        assert_true(router_wait(net->router, -1, 1000) & ROUTER_INPUT);
        if (router_receive(net->router, moment_now(), &input) == 0)
            is_heard = bytes_equal_text(input.frame, "me too");
        if (dealer_peek(other) & DEALER_UP)
            has_sent = dealer_send(other, bytes_text("me too")) == 0;
    }
    assert_true(has_sent);
    assert_true(is_heard);
    dealer_close(&busy, 0);
    dealer_close(&other, 0);
}

#define HELPED(name)                                                                               \
    {                                                                                              \
#name "_with_helpers", name, net_up_with_helpers, net_down, NULL                           \
    }
#define TEST(name) cmocka_unit_test_setup_teardown(name, net_up, net_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_link_is_named_by_its_key_alone),
        TEST(one_component_may_have_two_links),
        TEST(a_peer_that_chose_its_routing_id_is_cut),
        TEST(messages_of_several_parts_and_empty_ones_cut_the_link),
        TEST(a_message_larger_than_a_frame_ends_the_connection),
        TEST(without_a_roster_nobody_gets_in),
        TEST(a_revoked_key_cannot_come_back_and_others_stay),
        TEST(a_key_is_let_in_until_its_time_is_over),
        TEST(a_lost_link_is_named_after_all_it_had_sent),
        TEST(frames_of_a_cut_link_are_thrown_away),
        TEST(a_link_that_is_cut_is_told_why_first),
        TEST(a_gone_link_takes_nothing),
        TEST(a_full_link_does_not_hold_up_another),
        TEST(in_a_crowd_that_comes_and_goes_every_loss_is_named_once),
        TEST(a_stranger_that_says_nothing_is_closed),
        TEST(a_bound_address_is_in_use),
        TEST(two_brokers_live_in_one_process),
        TEST(signal_handlers_are_left_alone),
        TEST(a_newer_roster_is_looked_for_before_a_key_is_refused),
        TEST(strangers_make_us_look_so_often_and_no_more),
        TEST(a_frame_comes_before_what_strangers_say),
        TEST(handshakes_are_made_in_portions),
        TEST(who_never_stops_does_not_shut_others_out),
        HELPED(one_component_may_have_two_links),
        HELPED(a_message_larger_than_a_frame_ends_the_connection),
        HELPED(a_lost_link_is_named_after_all_it_had_sent),
        HELPED(frames_of_a_cut_link_are_thrown_away),
        HELPED(a_gone_link_takes_nothing),
        HELPED(a_full_link_does_not_hold_up_another),
        HELPED(in_a_crowd_that_comes_and_goes_every_loss_is_named_once),
        HELPED(who_never_stops_does_not_shut_others_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
