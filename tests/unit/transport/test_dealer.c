/* SPDX-License-Identifier: Apache-2.0 */
/* The client's link against a real ROUTER: every way it can end has its own code. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <zmq.h>

#include "net.h"
#include "curve_server.h"
#include "random.h"
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
    dealer = dial(stranger.endpoint, &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EUNREACHABLE);
    dealer = dial("ipc:///tmp/aico-no-such-folder/bus.sock", &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EUNREACHABLE);
    dealer = dial("tcp://no-such-host.invalid:8771", &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_EUNREACHABLE);
}

static void a_key_the_broker_does_not_know_is_told_so(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial(net->tcp, &net->mallory, &net->broker);
    struct router_refusal refusal;

    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EUNKNOWN);
    dealer = dial(net->ipc, &net->mallory, &net->broker);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EUNKNOWN);

    /* The broker's log can say whose key it was. */
    assert_true(router_next_refusal(net->router, &refusal));
    assert_memory_equal(refusal.key, net->mallory.public, ROSTER_KEY_SIZE);
    assert_int_equal(strncmp(refusal.address, "127.0.0.1:", strlen("127.0.0.1:")), 0);
}

static void a_broker_with_another_key_is_told_apart(void **state)
{
    struct net *net = *state;
    struct dealer *dealer = dial(net->tcp, &net->alice, &net->mallory);

    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EBROKERKEY);
    dealer = dial(net->ipc, &net->alice, &net->mallory);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EBROKERKEY);
}

static atomic_bool spoils; /* one bit of the frame that carry() brings next from the broker */
#define SPOILED_AT 30      /* it is in the tag, of which there are 16 bytes after 18 others */

/* Carries bytes both ways, @piece at once, until one side ends, or the client has sent @limit. */
static void carry(int client, int broker, size_t piece, size_t limit)
{
    struct pollfd ends[] = {{.fd = client, .events = POLLIN}, {.fd = broker, .events = POLLIN}};
    uint8_t bytes[512];

    for (size_t sent = 0; sent < limit;) {
        assert_true(poll(ends, 2, DEADLINE_MS) > 0);
        for (int from = 0; from < 2; from++) {
            ssize_t size;

            if (!ends[from].revents)
                continue;
            size = read(ends[from].fd, bytes, piece);
            if (size > 0 && from == 1 && atomic_exchange(&spoils, false))
                bytes[MIN(size - 1, SPOILED_AT)] ^= 1;
            if (size <= 0 || write(ends[!from].fd, bytes, (size_t)size) != size)
                return;
            if (from == 0)
                sent += (size_t)size;
        }
    }
}

/* Before the broker at the endpoint that @stranger says; the first connection ends at @limit. */
static void stand_between(struct stranger *stranger, size_t piece, size_t limit)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int client;

    address.sin_port = htons((uint16_t)atoi(strrchr(stranger->says, ':') + 1));
    while ((client = accept(stranger->fd, NULL, NULL)) >= 0) {
        int broker = socket(AF_INET, SOCK_STREAM, 0);

        assert_int_equal(connect(broker, (struct sockaddr *)&address, sizeof(address)), 0);
        carry(client, broker, piece, limit);
        limit = SIZE_MAX;
        (void)close(client);
        (void)close(broker);
    }
}

/* Ends the first connection when its client has begun to speak CURVE:
 * so a broker does it that gives up on a client which is slow or stopped. */
static void *impatient_run(void *context)
{
    stand_between(context, 512, 64 + 100); /* its greeting, and a part of HELLO */
    return NULL;
}

static void a_broker_that_gave_up_on_us_is_not_taken_for_another(void **state)
{
    struct net *net = *state;
    struct stranger stranger = {.says = net->tcp};
    struct dealer *dealer;

    stranger_start_as(&stranger, impatient_run);
    dealer = dial(stranger.endpoint, &net->alice, &net->broker);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_ECLOSED);
    dealer = dial(stranger.endpoint, &net->alice, &net->mallory);
    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_EBROKERKEY);
    stranger_stop(&stranger);
}

static void *dribble_run(void *context)
{
    stand_between(context, 1, SIZE_MAX);
    return NULL;
}

static void a_link_that_comes_byte_by_byte_is_a_link(void **state)
{
    struct net *net = *state;
    struct stranger stranger = {.says = net->tcp};

    stranger_start_as(&stranger, dribble_run);
    frames_pass_both_ways(net, stranger.endpoint);
    stranger_stop(&stranger);
}

static void *spoil_run(void *context)
{
    stand_between(context, 512, SIZE_MAX);
    return NULL;
}

static void a_bit_that_is_changed_on_the_way_ends_the_link(void **state)
{
    struct net *net = *state;
    struct stranger stranger = {.says = net->tcp};
    struct router_input input;
    struct dealer *dealer;
    struct bytes frame;

    stranger_start_as(&stranger, spoil_run);
    dealer = dial_up(net, stranger.endpoint, &net->alice);
    send_text(dealer, "hello");
    input = router_expect(net);
    atomic_store(&spoils, true);
    assert_int_equal(router_send(net->router, input.link, bytes_text("spoiled")), 0);
    assert_int_equal(router_send(net->router, input.link, bytes_text("not spoiled")), 0);
    (void)dealer_expect(dealer, DEALER_FRAME);
    assert_int_equal(dealer_receive(dealer, &frame), AICO_ENOTFOUND);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EPROTO);
    stranger_stop(&stranger);
}

static void a_name_of_a_host_is_looked_up(void **state)
{
    struct net *net = *state;
    char endpoint[64];

    (void)snprintf(endpoint, sizeof(endpoint), "tcp://localhost%s", strrchr(net->tcp, ':'));
    frames_pass_both_ways(net, endpoint);
}

/* --- a broker that is ours ------------------------------------------------------------------- */

enum misdeed { STALLS, SPOILS_READY, IS_DEAF };

struct fake {
    struct stranger stranger; /* first: what its thread is given */
    struct curve_server server;
    enum misdeed misdeed;
    int fd; /* of the one connection that it serves, IS_DEAF */
};

static size_t hear(int fd, uint8_t *to, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t got = read(fd, to + at, size - at);

        if (got <= 0)
            return 0;
        at += (size_t)got;
    }
    return size;
}

static void say(int fd, const uint8_t *at, size_t size)
{
    assert_int_equal(send(fd, at, size, MSG_NOSIGNAL), size);
}

/* Up to WELCOME, for the first that comes; further ones are left alone. */
static void *fake_run(void *context)
{
    struct fake *fake = context;
    uint8_t bytes[SERVER_ROOM];
    int fd = accept(fake->stranger.fd, NULL, NULL);

    assert_true(fd >= 0);
    say(fd, bytes, server_greeting(bytes));
    assert_int_equal(hear(fd, bytes, 64), 64);
    assert_int_equal(hear(fd, bytes, 202), 202);
    say(fd, bytes, server_welcome(&fake->server, bytes, 202, bytes));
    if (fake->misdeed != STALLS) {
        size_t size;

        assert_int_equal(hear(fd, bytes, 9), 9);
        size = hear(fd, bytes + 9, (size_t)bytes[7] << 8 | bytes[8]);
        assert_true(server_initiate(&fake->server, bytes, 9 + size));
        size = server_ready(&fake->server, "ROUTER", bytes);
        bytes[size - 1] ^= fake->misdeed == SPOILS_READY;
        say(fd, bytes, size);
    }
    if (fake->misdeed == IS_DEAF)
        assert_int_equal(shutdown(fd, SHUT_RD), 0);
    fake->fd = fd;
    return NULL;
}

static struct dealer *fake_dial(struct net *net, struct fake *fake, enum misdeed misdeed)
{
    struct dealer_settings settings = {
        fake->stranger.endpoint, fake->server.public, net->alice.public,
        &net->alice.secret,      FRAME_MAX,           HANDSHAKE_MS * 2};
    struct aico_error err = {0};
    struct dealer *dealer;

    server_new(&fake->server);
    fake->misdeed = misdeed;
    stranger_start_as(&fake->stranger, fake_run);
    assert_int_equal(dealer_open(&settings, &dealer, &err), 0);
    return dealer;
}

static void fake_stop(struct fake *fake)
{
    stranger_stop(&fake->stranger);
    (void)close(fake->fd);
}

/* Who has sealed WELCOME is the broker: another connection that is not served says nothing. */
static void a_broker_that_stalls_is_late_and_no_stranger(void **state)
{
    struct fake fake;
    struct dealer *dealer = fake_dial(*state, &fake, STALLS);

    assert_int_equal(down_code(&dealer, DEADLINE_MS), AICO_ETIMEOUT);
    fake_stop(&fake);
}

static void a_handshake_that_was_disturbed_is_tried_again(void **state)
{
    struct fake fake;
    struct dealer *dealer = fake_dial(*state, &fake, SPOILS_READY);

    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_ECLOSED);
    fake_stop(&fake);
}

/* It neither reads nor ends: whatever cannot be sent ends the link. */
static void a_broker_that_reads_no_more_is_lost(void **state)
{
    static uint8_t big[64 * 1024];
    int64_t end = deadline();
    struct fake fake;
    struct dealer *dealer = fake_dial(*state, &fake, IS_DEAF);

    (void)dealer_expect(dealer, DEALER_UP);
    assert_int_equal(pthread_join(fake.stranger.thread, NULL), 0);
    (void)close(fake.fd); /* with what it was sent unread: the kernel says so at the next */
    while (dealer_send(dealer, bytes_of(big, sizeof(big))) != AICO_ECLOSED &&
           moment_now().boot_ms < end)
        (void)dealer_wait(dealer, -1, 10);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_ECLOSED);
    (void)close(fake.stranger.fd);
}

/* --- addresses -------------------------------------------------------------------------------- */

#define TWO "two.test" /* a host of two addresses, of which the first does not answer */
#define SILENT "127.0.0.2"

#pragma GCC visibility push(default)

int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                struct addrinfo **ret_list)
{
    static __typeof__(&getaddrinfo) real;
    int r;

    if (!real)
        real = (__typeof__(&getaddrinfo))dlsym(RTLD_NEXT, "getaddrinfo");
    if (strcmp(host, TWO) != 0)
        return real(host, port, hints, ret_list);
    r = real(SILENT, port, hints, ret_list);
    return r != 0 ? r : real("127.0.0.1", port, hints, &(*ret_list)->ai_next);
}

#pragma GCC visibility pop

/* A listener whose queue is full, so that nobody who comes is answered. */
static void be_silent(const char *tcp, int ret_fds[8])
{
    struct sockaddr_in address = {.sin_family = AF_INET};

    assert_int_equal(inet_pton(AF_INET, SILENT, &address.sin_addr), 1);
    address.sin_port = htons((uint16_t)atoi(strrchr(tcp, ':') + 1));
    for (int i = 0; i < 8; i++) {
        ret_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (i == 0) {
            assert_int_equal(bind(ret_fds[i], (struct sockaddr *)&address, sizeof(address)), 0);
            assert_int_equal(listen(ret_fds[i], 0), 0);
        } else {
            (void)!connect(ret_fds[i], (struct sockaddr *)&address, sizeof(address));
        }
    }
}

static void an_address_that_does_not_answer_is_followed_by_the_next(void **state)
{
    struct net *net = *state;
    char endpoint[64];
    int fds[8];

    be_silent(net->tcp, fds);
    (void)snprintf(endpoint, sizeof(endpoint), "tcp://" TWO "%s", strrchr(net->tcp, ':'));
    frames_pass_both_ways(net, endpoint);
    for (int i = 0; i < 8; i++)
        (void)close(fds[i]);
}

static void expect_not_broker(struct net *net, struct stranger *stranger)
{
    struct dealer *dealer;

    stranger_start(stranger);
    dealer = dial(stranger->endpoint, &net->alice, &net->broker);
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
        dealer = dial(endpoint, &net->alice, &net->broker);
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
    dealer = dial(endpoint, &net->alice, &net->broker);
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
    unsigned told = DEALER_NONE;
    int64_t end = deadline();
    int r;

    while ((r = dealer_send(dealer, bytes_of(big, sizeof(big)))) == 0)
        sent++;
    assert_int_equal(r, AICO_EFULL);
    assert_true(sent > 0);
    assert_true(dealer_has_unsent(dealer));
    while (received < sent && moment_now().boot_ms < end) {
        (void)router_wait(net->router, -1, 10);
        while (router_receive(net->router, moment_now(), &input) == 0)
            received++;
        told |= dealer_wait(dealer, -1, 0); /* what the socket did not take leaves here */
    }
    assert_int_equal(received, sent);
    assert_false(dealer_has_unsent(dealer));
    assert_int_equal(told, DEALER_WRITABLE);
    assert_int_equal(dealer_wait(dealer, -1, 0), DEALER_NONE);
    send_text(dealer, "again");
    assert_true(bytes_equal_text(router_expect(net).frame, "again"));
    dealer_close(&dealer, 0);
}

/* Both sides of a link by turns, until each has what the other one sent. */
static void frames_of_any_size_come_as_they_were(void **state)
{
    struct net *net = *state;
    static uint8_t text[FRAME_MAX];
    enum { COUNT = 300 };
    size_t sizes[2][COUNT];

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * i >> 3);
    for (int way = 0; way < 2; way++)
        for (int i = 0; i < COUNT; i++)
            sizes[way][i] = 1 + random_u64() % (random_u64() % 2 ? 300 : FRAME_MAX);
    for (int over = 0; over < 2; over++) {
        struct dealer *dealer = dial_up(net, over ? net->tcp : net->ipc, &net->alice);
        size_t sent[2] = {0}, came[2] = {0};
        struct router_input input;
        struct link *link = NULL;
        struct bytes frame;
        int64_t end = deadline();

        while ((came[0] < COUNT || came[1] < COUNT) && moment_now().boot_ms < end) {
            (void)dealer_wait(dealer, -1, 0);
            for (int i = 0; i < 3 && sent[0] < COUNT; i++)
                sent[0] += dealer_send(dealer, bytes_of(text, sizes[0][sent[0]])) == 0;
            (void)router_wait(net->router, -1, 1);
            while (router_receive(net->router, moment_now(), &input) == 0) {
                link = input.link;
                assert_true(bytes_equal(input.frame, bytes_of(text, sizes[0][came[0]++])));
            }
            for (int i = 0; i < 3 && link && sent[1] < COUNT; i++)
                sent[1] += router_send(net->router, link, bytes_of(text, sizes[1][sent[1]])) == 0;
            while (dealer_receive(dealer, &frame) == 0)
                assert_true(bytes_equal(frame, bytes_of(text, sizes[1][came[1]++])));
        }
        assert_int_equal(came[0], COUNT);
        assert_int_equal(came[1], COUNT);
        dealer_close(&dealer, 0);
    }
}

struct drain {
    struct net *net;
    struct link *answered; /* without end meanwhile; NULL: nobody */
    size_t wanted, came;
    atomic_bool is_over;
};

static void *drain_run(void *context)
{
    static const uint8_t answer[FRAME_MAX];
    struct drain *drain = context;
    struct router_input input;
    int64_t end = deadline();

    while (!atomic_load(&drain->is_over) && moment_now().boot_ms < end) {
        (void)router_wait(drain->net->router, -1, 10);
        if (drain->answered)
            (void)!router_send(drain->net->router, drain->answered, bytes_of(answer, FRAME_MAX));
        while (router_receive(drain->net->router, moment_now(), &input) == 0)
            drain->came++;
    }
    return NULL;
}

static void expect_all_leaves(struct net *net, bool is_answered)
{
    static uint8_t big[64 * 1024];
    struct dealer *dealer = dial_up(net, net->tcp, &net->alice);
    struct drain drain = {.net = net};
    pthread_t thread;

    send_text(dealer, "hello");
    drain.answered = router_expect(net).link;
    if (!is_answered)
        drain.answered = NULL;
    while (dealer_send(dealer, bytes_of(big, sizeof(big))) == 0)
        drain.wanted++;
    assert_true(dealer_has_unsent(dealer));
    assert_int_equal(pthread_create(&thread, NULL, drain_run, &drain), 0);
    dealer_close(&dealer, DEADLINE_MS);
    atomic_store(&drain.is_over, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(drain.came, drain.wanted);
}

static void what_was_sent_leaves_before_the_end_if_it_is_let(void **state)
{
    expect_all_leaves(*state, false);
}

/* A connection that is closed is reset by what still comes, and what it had sent is thrown away. */
static void and_whatever_comes_meanwhile(void **state)
{
    for (int round = 0; round < 5; round++)
        expect_all_leaves(*state, true);
}

/* A broker that is libzmq's ROUTER, and no friend of its clients. */
struct foreign {
    void *context, *router;
    char endpoint[128];
};

static void foreign_new(struct foreign *foreign, const struct net *net)
{
    static const int yes = 1, often_ms = 20, silent_ms = 200;
    size_t size = sizeof(foreign->endpoint);
    void *router;

    foreign->context = zmq_ctx_new();
    foreign->router = router = zmq_socket(foreign->context, ZMQ_ROUTER);
    assert_int_equal(zmq_setsockopt(router, ZMQ_CURVE_SERVER, &yes, sizeof(yes)), 0);
    assert_int_equal(zmq_setsockopt(router, ZMQ_CURVE_SECRETKEY, net->broker.secret.at, 32), 0);
    assert_int_equal(zmq_setsockopt(router, ZMQ_HEARTBEAT_IVL, &often_ms, sizeof(int)), 0);
    assert_int_equal(zmq_setsockopt(router, ZMQ_HEARTBEAT_TIMEOUT, &silent_ms, sizeof(int)), 0);
    assert_int_equal(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
    assert_int_equal(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, foreign->endpoint, &size), 0);
}

static void foreign_free(struct foreign *foreign)
{
    static const int none = 0;

    (void)zmq_setsockopt(foreign->router, ZMQ_LINGER, &none, sizeof(none));
    (void)zmq_close(foreign->router);
    (void)zmq_ctx_term(foreign->context);
}

/* It cuts who does not answer for 200 ms. */
static void who_asks_whether_we_are_there_is_answered(void **state)
{
    struct net *net = *state;
    struct foreign foreign;
    struct dealer *dealer;
    char text[128];
    int64_t end;

    foreign_new(&foreign, net);
    dealer = dial_up(net, foreign.endpoint, &net->alice);
    end = moment_now().boot_ms + 600;
    while (moment_now().boot_ms < end) {
        struct bytes frame;

        assert_false(dealer_wait(dealer, -1, 10) & DEALER_DOWN);
        assert_int_equal(dealer_receive(dealer, &frame), AICO_ENOTFOUND);
    }
    send_text(dealer, "still here");
    assert_int_equal(zmq_recv(foreign.router, text, sizeof(text), 0), 5); /* its routing id */
    assert_int_equal(zmq_recv(foreign.router, text, sizeof(text), 0), 10);
    dealer_close(&dealer, 0);
    foreign_free(&foreign);
}

/* What a broker that is none of ours sends @size bytes of. */
static void expect_spoiled(struct net *net, size_t size)
{
    static uint8_t bytes[FRAME_MAX * 2];
    struct foreign foreign;
    struct dealer *dealer;
    struct bytes frame;
    char id[8], text[8];

    foreign_new(&foreign, net);
    dealer = dial_up(net, foreign.endpoint, &net->alice);
    send_text(dealer, "hello");
    assert_int_equal(zmq_recv(foreign.router, id, sizeof(id), 0), 5);
    assert_int_equal(zmq_recv(foreign.router, text, sizeof(text), 0), 5);
    assert_int_equal(zmq_send(foreign.router, id, 5, ZMQ_SNDMORE), 5);
    assert_int_equal(zmq_send(foreign.router, bytes, size, 0), size);
    (void)dealer_expect(dealer, DEALER_FRAME | DEALER_DOWN);
    assert_int_equal(dealer_receive(dealer, &frame), AICO_ENOTFOUND);
    assert_int_equal(down_code(&dealer, TOLD_WITHIN_MS), AICO_EPROTO);
    foreign_free(&foreign);
}

static void something_that_is_no_frame_ends_the_link(void **state)
{
    expect_spoiled(*state, 0);
}

static void a_frame_larger_than_allowed_ends_the_link(void **state)
{
    expect_spoiled(*state, (size_t)FRAME_MAX * 2);
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
    static const char *const wrong[] = {
        "udp://somewhere",  "tcp://:8771",      "tcp://[::1:8771", "tcp://127.0.0.1",
        "tcp://host:0",     "tcp://host:65536", "tcp://host:http", "tcp://::1]:8771",
        "tcp://host:8771x", "ipc://",           "ipc:/run/bus",    "",
    };
    struct net *net = *state;

    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct dealer_settings settings = {
            wrong[i], net->broker.public, net->alice.public, &net->alice.secret, FRAME_MAX, 1000};
        struct dealer *dealer = NULL;
        struct aico_error err = {0};

        assert_int_equal(dealer_open(&settings, &dealer, &err), AICO_EINVAL);
        assert_null(dealer);
        assert_non_null(strstr(err.text, wrong[i]));
    }
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
        TEST(a_link_that_comes_byte_by_byte_is_a_link),
        TEST(a_bit_that_is_changed_on_the_way_ends_the_link),
        TEST(a_name_of_a_host_is_looked_up),
        TEST(frames_of_any_size_come_as_they_were),
        TEST(what_was_sent_leaves_before_the_end_if_it_is_let),
        TEST(and_whatever_comes_meanwhile),
        TEST(who_asks_whether_we_are_there_is_answered),
        TEST(a_broker_that_stalls_is_late_and_no_stranger),
        TEST(a_handshake_that_was_disturbed_is_tried_again),
        TEST(a_broker_that_reads_no_more_is_lost),
        TEST(an_address_that_does_not_answer_is_followed_by_the_next),
        TEST(something_that_is_no_frame_ends_the_link),
        TEST(a_frame_larger_than_allowed_ends_the_link),
        TEST(another_thread_wakes_a_waiting_dealer),
        TEST(an_address_that_is_none_is_refused_at_once),
    };

    random_start();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
