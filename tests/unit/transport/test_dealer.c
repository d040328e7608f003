/* SPDX-License-Identifier: Apache-2.0 */
/* The client's link against a real ROUTER: every way it can end has its own code. */
#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "net.h"
#include "transport/wake.h"

#define TOLD_WITHIN_MS 2000 /* DESIGN: every failure has its code within two seconds */

static void frames_pass_both_ways(struct net *net, const char *endpoint)
{
    struct dealer *dealer = dial_up(net, endpoint, &net->alice);
    struct router_input input;

    send_text(dealer, "hello");
    input = router_expect(net);
    assert_true(bytes_equal_text(input.frame, "hello"));
    assert_int_equal(router_send(net->router, input.link, bytes_text("welcome")), 0);
    expect_text(dealer, "welcome");
    dealer_close(&dealer, 0);
    assert_null(dealer);
}

static void frames_pass_both_ways_over_tcp(void **state)
{
    struct net *net = *state;

    frames_pass_both_ways(net, net->tcp);
}

static void frames_pass_both_ways_over_ipc(void **state)
{
    struct net *net = *state;

    frames_pass_both_ways(net, net->ipc);
}

/* A TCP port that listens and does what a test tells it. */
struct stranger {
    int fd;
    char endpoint[64];
    const char *says; /* NULL: nothing */
    bool closes;
    pthread_t thread;
};

static void *stranger_run(void *context)
{
    struct stranger *stranger = context;
    int list[8], count = 0;

    while (count < 8 && (list[count] = accept(stranger->fd, NULL, NULL)) >= 0) {
        if (stranger->says)
            assert_true(write(list[count], stranger->says, strlen(stranger->says)) > 0);
        if (stranger->closes)
            (void)close(list[count]);
        else
            count++;
    }
    while (count > 0)
        (void)close(list[--count]);
    return NULL;
}

static void stranger_start_as(struct stranger *stranger, void *(*run)(void *))
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);

    stranger->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(stranger->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(stranger->fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(stranger->fd, 8), 0);
    (void)snprintf(stranger->endpoint, sizeof(stranger->endpoint), "tcp://127.0.0.1:%u",
                   (unsigned)ntohs(address.sin_port));
    assert_int_equal(pthread_create(&stranger->thread, NULL, run, stranger), 0);
}

static void stranger_start(struct stranger *stranger)
{
    stranger_start_as(stranger, stranger_run);
}

static void stranger_stop(struct stranger *stranger)
{
    (void)shutdown(stranger->fd, SHUT_RDWR);
    assert_int_equal(pthread_join(stranger->thread, NULL), 0);
    (void)close(stranger->fd);
}

static void nobody_listening_is_unreachable(void **state)
{
    struct net *net = *state;
    struct stranger stranger = {.closes = true};
    struct dealer *dealer;

    stranger_start(&stranger); /* a port that surely is free: it was ours */
    stranger_stop(&stranger);
    dealer = dial(net, stranger.endpoint, &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EUNREACHABLE);
    dealer = dial(net, "ipc:///tmp/aico-no-such-folder/bus.sock", &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EUNREACHABLE);
    dealer = dial(net, "tcp://no-such-host.invalid:8771", &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_EUNREACHABLE);
}

static void a_key_the_broker_does_not_know_is_told_so(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial(net, net->tcp, &net->mallory, &net->broker);
    struct zap_refusal refusal;

    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EUNKNOWN);
    dealer = dial(net, net->ipc, &net->mallory, &net->broker);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EUNKNOWN);

    /* The broker's log can say whose key it was. */
    assert_true(zap_next_refusal(net->zap, &refusal));
    assert_memory_equal(refusal.key, net->mallory.public, ZAP_KEY_SIZE);
    assert_string_equal(refusal.address, "127.0.0.1");
}

static void a_broker_with_another_key_is_told_apart(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial(net, net->tcp, &net->alice, &net->mallory);

    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EBROKERKEY);
    dealer = dial(net, net->ipc, &net->alice, &net->mallory);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EBROKERKEY);
}

/* Carries bytes both ways until one side ends, or the client has sent @limit bytes. */
static void carry(int client, int broker, size_t limit)
{
    struct pollfd ends[] = {{.fd = client, .events = POLLIN}, {.fd = broker, .events = POLLIN}};
    uint8_t bytes[512];

    for (size_t sent = 0; sent < limit;) {
        assert_true(poll(ends, 2, DEADLINE_MS) > 0);
        for (int from = 0; from < 2; from++) {
            ssize_t size;

            if (!ends[from].revents)
                continue;
            size = read(ends[from].fd, bytes, sizeof(bytes));
            if (size <= 0 || write(ends[!from].fd, bytes, (size_t)size) != size)
                return;
            if (from == 0)
                sent += (size_t)size;
        }
    }
}

/* Stands before the broker and ends the first connection when its client has begun to speak CURVE:
 * so a broker does it that gives up on a client which is slow or stopped. */
static void *impatient_run(void *context)
{
    struct stranger *stranger = context;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    size_t limit = 64 + 100; /* its greeting, and a part of HELLO */
    int client;

    address.sin_port = htons((uint16_t)atoi(strrchr(stranger->says, ':') + 1));
    while ((client = accept(stranger->fd, NULL, NULL)) >= 0) {
        int broker = socket(AF_INET, SOCK_STREAM, 0);

        assert_int_equal(connect(broker, (struct sockaddr *)&address, sizeof(address)), 0);
        carry(client, broker, limit);
        limit = SIZE_MAX;
        (void)close(client);
        (void)close(broker);
    }
    return NULL;
}

static void a_broker_that_gave_up_on_us_is_not_taken_for_another(void **state)
{
    struct net *net = *state;
    struct stranger stranger = {.says = net->tcp};
    struct dealer *dealer;

    stranger_start_as(&stranger, impatient_run);
    dealer = dial(net, stranger.endpoint, &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_ECLOSED);
    dealer = dial(net, stranger.endpoint, &net->alice, &net->mallory);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_EBROKERKEY);
    stranger_stop(&stranger);
}

static void expect_not_broker(struct net *net, struct stranger *stranger)
{
    struct dealer *dealer;

    stranger_start(stranger);
    dealer = dial(net, stranger->endpoint, &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_ENOTBROKER);
    stranger_stop(stranger);
}

static void a_web_server_is_not_a_broker(void **state)
{
    struct stranger stranger = {.says = "HTTP/1.1 400 Bad Request\r\n\r\n", .closes = true};

    expect_not_broker(*state, &stranger);
}

static void a_mail_server_is_not_a_broker(void **state)
{
    struct stranger stranger = {.says = "220 mail.example ESMTP ready and waiting for the client "
                                        "to say something that makes sense\r\n"};

    expect_not_broker(*state, &stranger);
}

static void a_silent_port_is_not_a_broker(void **state)
{
    struct stranger stranger = {.says = NULL};

    expect_not_broker(*state, &stranger);
}

/* Another process that listens at @path and accepts nobody. It ends with us. */
static pid_t listen_elsewhere(const char *path, bool is_busy)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int ready[2];
    char byte;
    pid_t child;

    assert_int_equal(pipe(ready), 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 8) < 0 ||
            write(ready[1], "r", 1) != 1)
            _exit(1);
        while (true)
            if (!is_busy)
                (void)pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    (void)close(ready[1]);
    return child;
}

/* It may be a broker that is not let. Who sleeps, or was stopped, is told from it at once. */
static void who_has_not_got_to_it_is_waited_for(void **state)
{
    struct net *net = *state;
    char path[sizeof(((struct sockaddr_un *)0)->sun_path)], endpoint[160];

    (void)snprintf(path, sizeof(path), "%s.elsewhere", net->ipc + strlen("ipc://"));
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s", path);
    for (int i = 0; i < 3; i++) {
        bool is_busy = i == 0;
        pid_t child = listen_elsewhere(path, i != 1);
        struct dealer *dealer;

        if (i == 2)
            assert_int_equal(kill(child, SIGSTOP), 0);
        dealer = dial(net, endpoint, &net->alice, &net->broker);
        assert_int_equal(down_code(&dealer, is_busy ? DEADLINE_MS : TOLD_WITHIN_MS),
                         is_busy ? AICO_ETIMEOUT : AICO_ENOTBROKER);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        assert_int_equal(unlink(path), 0);
    }
}

static void a_port_that_closes_at_once_is_not_a_broker(void **state)
{
    struct stranger stranger = {.closes = true};

    expect_not_broker(*state, &stranger);
}

static void a_zeromq_socket_without_curve_is_not_a_broker(void **state)
{
    struct net *net = *state;
    void *context = zmq_ctx_new(), *plain = zmq_socket(context, ZMQ_ROUTER);
    char endpoint[128];
    size_t size = sizeof(endpoint);
    struct dealer *dealer;

    assert_int_equal(zmq_bind(plain, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(plain, ZMQ_LAST_ENDPOINT, endpoint, &size), 0);
    dealer = dial(net, endpoint, &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_ENOTBROKER);
    (void)zmq_close(plain);
    (void)zmq_ctx_term(context);
}

static void a_lost_link_is_closed_and_is_not_made_again(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);

    send_text(dealer, "hello");
    router_cut(net->router, moment_now(), router_expect(net).link);
    router_expect_gone(net, 1);
    assert_int_equal(dealer_expect(dealer, DEALER_DOWN), DEALER_DOWN);
    assert_int_equal(dealer_reason(dealer, NULL), AICO_ECLOSED);
    assert_int_equal(dealer_send(dealer, bytes_text("more")), AICO_ECLOSED);
    /* Nobody comes back. */
    assert_int_equal(router_wait(net->router, -1, 300), ROUTER_NONE);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_ECLOSED);
}

static void what_was_sent_before_a_cut_is_read_before_the_loss(void **state)
{
    struct net *net = *state;

    for (int i = 0; i < 20; i++) {
        struct dealer *dealer = dial_up(net, i % 2 ? net->tcp : net->ipc, &net->alice);
        struct link *link;

        send_text(dealer, "hello");
        link = router_expect(net).link;
        assert_int_equal(router_send(net->router, link, bytes_text("bye")), 0);
        router_cut(net->router, moment_now(), link);
        router_expect_gone(net, (size_t)i + 1);
        /* Looked at only now: the loss and the frame are both waiting. */
        expect_text(dealer, "bye");
        assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_ECLOSED);
    }
}

static void a_full_link_says_so_and_tells_when_there_is_room(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    static uint8_t big[64 * 1024];
    struct router_input input;
    size_t sent = 0, received = 0;
    int64_t end = deadline();
    int r;

    while ((r = dealer_send(dealer, bytes_of(big, sizeof(big)))) == 0)
        sent++;
    assert_int_equal(r, AICO_EFULL);
    assert_true(sent > 0);
    while (received < sent && moment_now().boot_ms < end) {
        (void)router_wait(net->router, -1, 10);
        while (router_receive(net->router, moment_now(), &input) == 0)
            received++;
    }
    assert_int_equal(received, sent);
    assert_true(dealer_expect(dealer, DEALER_WRITABLE) & DEALER_WRITABLE);
    assert_int_equal(dealer_wait(dealer, -1, 0), DEALER_NONE);
    send_text(dealer, "again");
    assert_true(bytes_equal_text(router_expect(net).frame, "again"));
    dealer_close(&dealer, 0);
}

static void something_that_is_no_frame_ends_the_link(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct bytes frame;

    send_text(dealer, "hello");
    assert_int_equal(router_send(net->router, router_expect(net).link, bytes_of("", 0)), 0);
    (void)dealer_expect(dealer, DEALER_FRAME);
    assert_int_equal(dealer_receive(dealer, &frame), AICO_ENOTFOUND);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EPROTO);
}

static void a_frame_larger_than_allowed_ends_the_link(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    static uint8_t big[FRAME_MAX * 2];

    send_text(dealer, "hello");
    assert_int_equal(router_send(net->router, router_expect(net).link, bytes_of(big, sizeof(big))),
                     0);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_ECLOSED);
}

static void *wake_run(void *context)
{
    wake_signal(context);
    return NULL;
}

static void another_thread_wakes_a_waiting_dealer(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct wake wake;
    pthread_t thread;

    assert_int_equal(wake_open(&wake), 0);
    assert_int_equal(pthread_create(&thread, NULL, wake_run, &wake), 0);
    assert_int_equal(dealer_wait(dealer, wake.fd, DEADLINE_MS), DEALER_WOKEN);
    wake_clear(&wake);
    assert_int_equal(dealer_wait(dealer, wake.fd, 0), DEALER_NONE);
    assert_int_equal(pthread_join(thread, NULL), 0);
    wake_close(&wake);
    dealer_close(&dealer, 0);
}

static void an_address_that_is_none_is_refused_at_once(void **state)
{
    struct net *net = *state;
    struct dealer_settings settings = {"udp://somewhere",  net->broker.public, net->alice.public,
                                       &net->alice.secret, FRAME_MAX,          1000};
    struct dealer *dealer = NULL;
    struct aico_error err = {0};

    assert_int_equal(dealer_open(net->client, &settings, &dealer, &err), AICO_EINVAL);
    assert_null(dealer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, net_up, net_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_pass_both_ways_over_tcp),
        TEST(frames_pass_both_ways_over_ipc),
        TEST(nobody_listening_is_unreachable),
        TEST(a_key_the_broker_does_not_know_is_told_so),
        TEST(a_broker_with_another_key_is_told_apart),
        TEST(a_broker_that_gave_up_on_us_is_not_taken_for_another),
        TEST(a_web_server_is_not_a_broker),
        TEST(a_mail_server_is_not_a_broker),
        TEST(a_silent_port_is_not_a_broker),
        TEST(who_has_not_got_to_it_is_waited_for),
        TEST(a_port_that_closes_at_once_is_not_a_broker),
        TEST(a_zeromq_socket_without_curve_is_not_a_broker),
        TEST(a_lost_link_is_closed_and_is_not_made_again),
        TEST(what_was_sent_before_a_cut_is_read_before_the_loss),
        TEST(a_full_link_says_so_and_tells_when_there_is_room),
        TEST(something_that_is_no_frame_ends_the_link),
        TEST(a_frame_larger_than_allowed_ends_the_link),
        TEST(another_thread_wakes_a_waiting_dealer),
        TEST(an_address_that_is_none_is_refused_at_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
