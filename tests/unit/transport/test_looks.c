/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How often the broker's socket of ZeroMQ is asked whether it has a frame (docs/decisions/0108),
 * and the client's is read, counted by standing in the place of the functions that do; and that
 * nobody sleeps on a frame because he did not ask.
 */
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "net.h"

#define FRAMES 200
/* One look after the wait and one before the next. Looking for a second frame makes it three; now
 * and then libzmq wakes for something else, and the monitor is asked once in 16 looks. */
#define LOOKS_MAX (FRAMES * 5 / 2)

static int looks;
static _Thread_local int reads; /* those of libzmq are its threads' */
static void *looked_at;         /* the last socket */

#pragma GCC visibility push(default)

#define REAL(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&(name)) real_;                                                          \
        if (!real_)                                                                                \
            real_ = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name);                                  \
        real_;                                                                                     \
    })

int zmq_getsockopt(void *socket, int option, void *ret_value, size_t *size)
{
    if (option == ZMQ_EVENTS) {
        looks++;
        looked_at = socket;
    }
    return REAL(zmq_getsockopt)(socket, option, ret_value, size);
}

int zmq_msg_recv(zmq_msg_t *message, void *socket, int flags)
{
    int r = REAL(zmq_msg_recv)(message, socket, flags);

    if (r < 0 && errno == EAGAIN)
        looks++;
    return r;
}

ssize_t recv(int fd, void *to, size_t size, int flags)
{
    reads++;
    return REAL(recv)(fd, to, size, flags);
}

#pragma GCC visibility pop

static unsigned router_wait_for_input(struct net *net)
{
    int64_t end = deadline();
    unsigned events = ROUTER_NONE;

    while (!(events & ROUTER_INPUT) && moment_now().boot_ms < end)
        events = router_wait(net->router, -1, DEADLINE_MS);
    assert_true(events & ROUTER_INPUT);
    return events;
}

/* Takes what a broker takes in a turn. */
static size_t router_take(struct net *net, unsigned events, struct router_input *ret_input)
{
    size_t count = 0, most = events & ROUTER_ONE ? 1 : SIZE_MAX;

    while (count < most && router_receive(net->router, moment_now(), ret_input) == 0)
        count++;
    return count;
}

static size_t dealer_take(struct dealer *dealer)
{
    size_t count = 0;
    struct bytes frame;

    (void)dealer_expect(dealer, DEALER_FRAME);
    while (dealer_receive(dealer, &frame) == 0)
        count++;
    return count;
}

/* A dealer and its link, over which @count frames have gone one by one in both directions, each
 * side asleep when one came. Returns the looks of the router and the reads of the dealer. */
static struct dealer *talk(struct net *net, int count, struct link **ret_link, int *ret_router,
                           int *ret_dealer)
{
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct router_input input;

    send_text(dealer, "hello");
    *ret_link = router_expect(net).link;
    *ret_router = *ret_dealer = 0;
    for (int i = 0; i < count; i++) {
        looks = 0;
        (void)router_wait(net->router, -1, 0);
        send_text(dealer, "ping");
        assert_int_equal(router_take(net, router_wait_for_input(net), &input), 1);
        *ret_router += looks;

        reads = 0;
        (void)dealer_wait(dealer, -1, 0);
        assert_int_equal(router_send(net->router, *ret_link, bytes_text("pong")), 0);
        assert_int_equal(dealer_take(dealer), 1);
        *ret_dealer += reads;
    }
    return dealer;
}

static void a_frame_that_comes_alone_costs_two_looks_or_one_read(void **state)
{
    int of_router, of_dealer;
    struct link *link;
    struct dealer *dealer = talk(*state, FRAMES, &link, &of_router, &of_dealer);

    print_message("%d frames: %d looks of the router, %d reads of the dealer\n", FRAMES, of_router,
                  of_dealer);
    assert_in_range(of_router, FRAMES, LOOKS_MAX);
    assert_int_equal(of_dealer, FRAMES);
    dealer_close(&dealer, 0);
}

/* Who expected one frame and was wrong sees the others without being woken again. */
static void frames_behind_the_one_expected_are_seen(void **state)
{
    struct net *net = *state;
    int of_router, of_dealer;
    struct router_input input;
    struct link *link;
    struct dealer *dealer = talk(net, 3, &link, &of_router, &of_dealer);
    size_t count = 0;

    for (int i = 0; i < 5; i++) {
        send_text(dealer, "one of five");
        assert_int_equal(router_send(net->router, link, bytes_text("one of five")), 0);
    }
    while (count < 5)
        count += router_take(net, router_wait_for_input(net), &input);
    for (count = 0; count < 5;)
        count += dealer_take(dealer);
    assert_int_equal(count, 5);
    dealer_close(&dealer, 0);
}

/* What tells that something came to the socket that was looked at last. */
static int sign_of_it(void)
{
    int fd = -1;
    size_t size = sizeof(fd);

    assert_int_equal(zmq_getsockopt(looked_at, ZMQ_FD, &fd, &size), 0);
    return fd;
}

static bool is_readable(int fd, int timeout_ms)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};

    return poll(&polled, 1, timeout_ms) > 0;
}

/* libzmq lets a send take the sign of what came if none has done so for a millisecond or so; the
 * signs of room behind it may take further ones. */
static bool is_left(int fd)
{
    (void)poll(NULL, 0, 2);
    return is_readable(fd, 0);
}

static void a_frame_whose_sign_a_send_has_taken_is_seen_by_the_broker(void **state)
{
    struct net *net = *state;
    int of_router, of_dealer, fd;
    struct link *link;
    struct dealer *dealer = talk(net, 1, &link, &of_router, &of_dealer);
    int64_t end = deadline();

    (void)router_wait(net->router, -1, 0); /* and knows that nothing is there */
    fd = sign_of_it();
    send_text(dealer, "ping");
    assert_true(is_readable(fd, DEADLINE_MS));
    while (is_left(fd) && moment_now().boot_ms < end) {
        assert_int_equal(router_send(net->router, link, bytes_text("pong")), 0);
        expect_text(dealer, "pong");
    }
    assert_false(is_readable(fd, 0));
    (void)router_wait_for_input(net);
    dealer_close(&dealer, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, net_up, net_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_frame_that_comes_alone_costs_two_looks_or_one_read),
        TEST(frames_behind_the_one_expected_are_seen),
        TEST(a_frame_whose_sign_a_send_has_taken_is_seen_by_the_broker),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
