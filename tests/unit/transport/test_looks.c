/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a frame costs each side: system calls, counted by standing in the place of the functions
 * that make them.
 */
#include <dlfcn.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "net.h"

#define FRAMES 200

static int waits, router_reads, dealer_reads, sends;

#pragma GCC visibility push(default)

#define REAL(name)                                                                                 \
    ({                                                                                             \
        static __typeof__(&(name)) real_;                                                          \
        if (!real_)                                                                                \
            real_ = (__typeof__(&(name)))dlsym(RTLD_NEXT, #name);                                  \
        real_;                                                                                     \
    })

int epoll_wait(int epoll_fd, struct epoll_event *events, int max, int timeout_ms)
{
    waits++;
    return REAL(epoll_wait)(epoll_fd, events, max, timeout_ms);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    router_reads++;
    return REAL(recvmsg)(fd, message, flags);
}

ssize_t recv(int fd, void *to, size_t size, int flags)
{
    dealer_reads++;
    return REAL(recv)(fd, to, size, flags);
}

ssize_t send(int fd, const void *at, size_t size, int flags)
{
    sends++;
    return REAL(send)(fd, at, size, flags);
}

#pragma GCC visibility pop

static size_t router_take(struct net *net, struct router_input *ret_input)
{
    int64_t end = deadline();
    size_t count = 0;

    while (!(router_wait(net->router, -1, DEADLINE_MS) & ROUTER_INPUT))
        assert_true(moment_now().boot_ms < end);
    while (router_receive(net->router, moment_now(), ret_input) == 0)
        count++;
    return count;
}

/* Without the router, which is not asked. */
static size_t dealer_take(struct dealer *dealer)
{
    int64_t end = deadline();
    size_t count = 0;
    struct bytes frame;

    while (!(dealer_wait(dealer, -1, DEADLINE_MS) & DEALER_FRAME))
        assert_true(moment_now().boot_ms < end);
    while (dealer_receive(dealer, &frame) == 0)
        count++;
    return count;
}

static void a_frame_costs_a_wait_a_read_and_a_send(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct router_input input;
    struct link *link;

    send_text(dealer, "hello");
    link = router_expect(net).link;
    (void)router_wait(net->router, -1, 0);
    waits = router_reads = dealer_reads = sends = 0;
    for (int i = 0; i < FRAMES; i++) {
        send_text(dealer, "ping");
        assert_int_equal(router_take(net, &input), 1);
        (void)dealer_wait(dealer, -1, 0);
        assert_int_equal(router_send(net->router, link, bytes_text("pong")), 0);
        assert_int_equal(dealer_take(dealer), 1);
    }
    assert_int_equal(waits, FRAMES);
    assert_int_equal(router_reads, FRAMES);
    assert_int_equal(dealer_reads, FRAMES);
    assert_int_equal(sends, 2 * FRAMES);
    dealer_close(&dealer, 0);
}

/* ... and several that wait already cost one read. */
static void frames_that_wait_come_with_one_read(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct router_input input;
    struct link *link;
    size_t count;

    send_text(dealer, "hello");
    link = router_expect(net).link;
    for (int i = 0; i < 5; i++) {
        send_text(dealer, "one of five");
        assert_int_equal(router_send(net->router, link, bytes_text("one of five")), 0);
    }
    router_reads = dealer_reads = 0;
    for (count = 0; count < 5;)
        count += router_take(net, &input);
    for (count = 0; count < 5;)
        count += dealer_take(dealer);
    assert_int_equal(count, 5);
    assert_int_equal(router_reads, 1);
    assert_int_equal(dealer_reads, 1);
    dealer_close(&dealer, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, net_up, net_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_frame_costs_a_wait_a_read_and_a_send),
        TEST(frames_that_wait_come_with_one_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
