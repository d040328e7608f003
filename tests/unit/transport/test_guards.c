/* SPDX-License-Identifier: Apache-2.0 */
/* What peers with every byte under their control can do to the door of the broker: docs/guards.md.
 */

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "curve_client.h"
#include "net.h"
#include "rogue.h"

/* The router again, with another time for handshakes. */
static void router_again(struct net *net, int64_t handshake_ms)
{
    router_free(&net->router, 0);
    (void)unlink(net->ipc + strlen("ipc://"));
    free(STEAL(net->tcp));
    free(STEAL(net->ipc));
    net->handshake_ms = handshake_ms;
    net_router(net);
    net_allow_both(net);
}

static bool shake_with(struct net *net, struct rogue *rogue, const char *endpoint,
                       const struct keys *who, const struct rogue_property *properties)
{
    const struct rogue_keys keys = {net->broker.public, who->public, who->secret.at};

    bool is_let_in;

    serve_begin();
    is_let_in = rogue_shake(rogue, rogue_connect(endpoint), &keys, properties);
    serve_end();
    return is_let_in;
}

static bool greet(int fd)
{
    bool is_greeted;

    serve_begin();
    is_greeted = rogue_greet(fd);
    serve_end();
    return is_greeted;
}

static struct rogue shake(struct net *net, const struct keys *who,
                          const struct rogue_property *properties)
{
    struct rogue rogue = {.fd = -1};

    assert_true(shake_with(net, &rogue, net->tcp, who, properties));
    return rogue;
}

/* Turns of the owner's loop, which takes no frame, until the broker has closed @fd. */
static void expect_closed(struct net *net, int fd)
{
    struct router_input input;
    int64_t end = deadline();

    while (!rogue_is_closed(fd, 5)) {
        assert_true(moment_now().boot_ms < end);
        (void)router_wait(net->router, -1, 1);
        (void)!router_receive(net->router, moment_now(), &input);
        count_gone(net);
    }
}

static void expect_served(struct net *net)
{
    struct dealer *dealer = dial_up(net, net->tcp, &net->bob);

    send_text(dealer, "hello");
    assert_string_equal(router_expect(net).user_id, "bob#2");
    dealer_close(&dealer, 0);
}

static uint64_t counted(struct net *net, size_t offset)
{
    struct router_counters counters;

    router_get_counters(net->router, &counters);
    return *(const uint64_t *)(const void *)((const char *)&counters + offset);
}
#define COUNTED(net, field) counted(net, offsetof(struct router_counters, field))

static void a_forged_user_id_is_not_believed(void **state)
{
    static const struct rogue_property forged[] = {{"User-Id", "bob#2"}, {NULL, NULL}};
    struct net *net = *state;
    struct rogue alice = shake(net, &net->alice, forged);

    assert_true(rogue_send(&alice, 0, "hello", 5));
    assert_string_equal(router_expect(net).user_id, "alice#1");
    rogue_close(&alice);
}

static void a_forged_user_id_of_a_stranger_gets_nowhere(void **state)
{
    static const struct rogue_property forged[] = {{"User-Id", "bob#2"}, {NULL, NULL}};
    struct net *net = *state;
    struct rogue mallory = {.fd = -1};
    struct router_refusal refusal;

    assert_false(shake_with(net, &mallory, net->tcp, &net->mallory, forged));
    assert_true(router_next_refusal(net->router, &refusal));
    assert_memory_equal(refusal.key, net->mallory.public, sizeof(refusal.key));
    rogue_close(&mallory);
}

static void without_a_roster_a_forged_user_id_gets_nowhere(void **state)
{
    static const struct rogue_property forged[] = {{"User-Id", "bob#2"}, {NULL, NULL}};
    struct net *net = *state;
    struct rogue mallory = {.fd = -1};
    struct router_refusal refusal;

    router_free(&net->router, 0);
    (void)unlink(net->ipc + strlen("ipc://"));
    free(STEAL(net->tcp));
    free(STEAL(net->ipc));
    net_router(net);
    assert_false(shake_with(net, &mallory, net->tcp, &net->mallory, forged));
    assert_true(router_next_refusal(net->router, &refusal));
    assert_memory_equal(refusal.key, net->mallory.public, sizeof(refusal.key));
    rogue_close(&mallory);
}

static void a_chosen_routing_id_is_refused(void **state)
{
    static const struct rogue_property chosen[] = {{"Identity", "exact"}, {NULL, NULL}};
    struct net *net = *state;
    struct rogue alice = {.fd = -1};

    assert_false(shake_with(net, &alice, net->tcp, &net->alice, chosen));
    expect_closed(net, alice.fd);
    assert_int_equal(COUNTED(net, refused_id), 1);
    assert_int_equal(COUNTED(net, links), 0);
    rogue_close(&alice);
    expect_served(net);
}

/* An id that looks like those that libzmq gives. */
static void a_guessed_routing_id_is_refused(void **state)
{
    struct net *net = *state;
    struct rogue alice = {.fd = -1};
    const struct rogue_keys keys = {net->broker.public, net->alice.public, net->alice.secret.at};

    serve_begin();
    assert_false(
        rogue_shake_as(&alice, rogue_connect(net->tcp), &keys, NULL, "\0\x12\x34\x56\x78", 5));
    serve_end();
    expect_closed(net, alice.fd);
    assert_int_equal(COUNTED(net, refused_id), 1);
    assert_int_equal(COUNTED(net, links), 0);
    rogue_close(&alice);
    expect_served(net);
}

static void a_stranger_cannot_announce_more_than_a_frame(void **state)
{
    struct net *net = *state;
    int fd;

    router_again(net, 10 * DEADLINE_MS); /* it is not the time that ends it */
    fd = rogue_connect(net->tcp);
    assert_true(greet(fd));
    assert_true(rogue_claim(fd, 500 * 1024 * 1024));
    expect_closed(net, fd);
    (void)close(fd);
    expect_served(net);
}

static void a_component_cannot_announce_more_than_a_frame(void **state)
{
    struct net *net = *state;
    struct rogue alice = shake(net, &net->alice, NULL);

    assert_true(rogue_send(&alice, 0, "hello", 5));
    (void)router_expect(net);
    assert_true(rogue_claim(alice.fd, FRAME_MAX + 4096));
    expect_closed(net, alice.fd);
    rogue_close(&alice);
    expect_served(net);
}

/* The first is one too many: nothing of a message of parts is kept. */
static void parts_without_end(struct net *net, bool is_known, bool is_to_go)
{
    static uint8_t part[60000];
    struct rogue alice;
    struct router_input input;
    size_t sent = 0;

    net->silent_ms = net->bye_ms = 100 * DEADLINE_MS; /* it is not the time that ends it */
    router_again(net, HANDSHAKE_MS);
    alice = shake(net, &net->alice, NULL);
    if (is_known) {
        assert_true(rogue_send(&alice, 0, "hello", 5));
        input = router_expect(net);
        if (is_to_go)
            router_cut(net->router, moment_now(), input.link);
    }
    while (sent < (size_t)256 * 1024 * 1024 && rogue_send(&alice, ROGUE_MORE, part, sizeof(part))) {
        sent += sizeof(part);
        (void)router_wait(net->router, -1, 0);
        assert_int_equal(router_receive(net->router, moment_now(), &input), AICO_ENOTFOUND);
        count_gone(net);
    }
    assert_true(sent < (size_t)256 * 1024 * 1024);
    assert_int_equal(COUNTED(net, refused_shape), 1);
    rogue_close(&alice);
    expect_served(net);
}

static void a_message_of_parts_without_end_is_cut(void **state)
{
    parts_without_end(*state, true, false);
}

static void so_is_one_that_is_the_first_of_its_link(void **state)
{
    parts_without_end(*state, false, false);
}

/* Who has not read yet that it is to go sends whole frames, which are thrown away. */
static void a_busy_link_that_is_to_go_may_read_why(void **state)
{
    static uint8_t frame[60000];
    struct net *net = *state;
    struct router_input input;
    struct rogue alice;
    struct link *link;

    net->bye_ms = 100 * DEADLINE_MS;
    router_again(net, HANDSHAKE_MS);
    alice = shake(net, &net->alice, NULL);
    assert_true(rogue_send(&alice, 0, "hello", 5));
    link = router_expect(net).link;
    router_cut(net->router, moment_now(), link);
    for (uint64_t i = 0; i < 200; i++) {
        int64_t end = deadline();

        assert_true(rogue_send(&alice, 0, frame, sizeof(frame)));
        while (COUNTED(net, late) <= i && moment_now().boot_ms < end) {
            (void)router_wait(net->router, -1, 5);
            assert_int_equal(router_receive(net->router, moment_now(), &input), AICO_ENOTFOUND);
            count_gone(net);
        }
        assert_int_equal(COUNTED(net, late), i + 1);
    }
    for (int64_t end = moment_now().boot_ms + 200; moment_now().boot_ms < end;) {
        (void)router_wait(net->router, -1, 20);
        count_gone(net);
    }
    assert_int_equal(net->gone, 0);
    rogue_close(&alice);
    router_expect_gone(net, 1);
}

/* While it may still be told why, it may not have us keep what it sends. */
static void and_one_of_a_link_that_is_to_go(void **state)
{
    parts_without_end(*state, true, true);
}

static void who_is_to_go_and_breaks_the_rules_goes_at_once(void **state)
{
    struct net *net = *state;
    struct rogue alice;

    net->bye_ms = 100 * DEADLINE_MS;
    router_again(net, HANDSHAKE_MS);
    alice = shake(net, &net->alice, NULL);
    assert_true(rogue_send(&alice, 0, "hello", 5));
    router_cut(net->router, moment_now(), router_expect(net).link);
    assert_true(rogue_send(&alice, ROGUE_MORE, "two", 3));
    assert_true(rogue_send(&alice, 0, "parts", 5));
    expect_closed(net, alice.fd);
    rogue_close(&alice);
    router_expect_gone(net, 1);
}

/* Much in whole frames is no reason to be cut. */
static void a_busy_link_stays(void **state)
{
    static uint8_t frame[60000];
    struct net *net = *state;
    struct rogue alice = shake(net, &net->alice, NULL);

    for (int i = 0; i < 200; i++) {
        assert_true(rogue_send(&alice, 0, frame, sizeof(frame)));
        assert_int_equal(router_expect(net).frame.size, sizeof(frame));
        count_gone(net);
    }
    for (int64_t end = moment_now().boot_ms + 200; moment_now().boot_ms < end;) {
        (void)router_wait(net->router, -1, 20);
        count_gone(net);
    }
    assert_true(rogue_send(&alice, 0, "still here", 10));
    assert_true(bytes_equal_text(router_expect(net).frame, "still here"));
    assert_int_equal(net->gone, 0);
    rogue_close(&alice);
}

static void a_handshake_that_stops_is_closed_at_every_step(void **state)
{
    struct net *net = *state;
    int silent = rogue_connect(net->tcp), ipc = rogue_connect(net->ipc);
    int greeted = rogue_connect(net->tcp), half = rogue_connect(net->tcp);

    assert_true(greet(greeted));
    assert_true(greet(half));
    assert_true(rogue_claim(half, 200)); /* a HELLO whose bytes do not come */
    expect_closed(net, silent);
    expect_closed(net, ipc);
    expect_closed(net, greeted);
    expect_closed(net, half);
    (void)close(silent);
    (void)close(ipc);
    (void)close(greeted);
    (void)close(half);
    expect_served(net);
}

static void a_component_that_never_sends_a_frame_is_closed(void **state)
{
    struct net *net = *state;
    struct rogue tcp, ipc = {.fd = -1};

    net->silent_ms = 500;
    router_again(net, HANDSHAKE_MS);
    tcp = shake(net, &net->alice, NULL);
    assert_true(shake_with(net, &ipc, net->ipc, &net->alice, NULL));
    expect_closed(net, tcp.fd);
    expect_closed(net, ipc.fd);
    assert_int_equal(COUNTED(net, refused_silent), 2);
    rogue_close(&tcp);
    rogue_close(&ipc);
    expect_served(net);
}

static void a_crowd_that_the_owner_does_not_look_at_stops_nothing(void **state)
{
    struct net *net = *state;
    struct dealer *dealer;

    for (int i = 0; i < 1500; i++) {
        int fd = rogue_connect(i % 2 ? net->tcp : net->ipc);

        assert_true(fd >= 0);
        (void)close(fd);
    }
    dealer = dial_up(net, net->tcp, &net->alice);
    send_text(dealer, "hello");
    assert_string_equal(router_expect(net).user_id, "alice#1");
    dealer_close(&dealer, 0);
}

/* Commands are between us and the other side's library; tests/unit/broker/test_session.c shows that
 * one as a message subscribes nothing. */
static void a_subscribe_command_does_not_come(void **state)
{
    static const char command[] = "\11SUBSCRIBEopen/";
    struct net *net = *state;
    struct rogue alice = shake(net, &net->alice, NULL);

    assert_true(rogue_send(&alice, ROGUE_COMMAND, command, strlen(command)));
    assert_true(rogue_send(&alice, 0, "hello", 5));
    assert_true(bytes_equal_text(router_expect(net).frame, "hello"));
    assert_int_equal(COUNTED(net, frames_in), 1);
    rogue_close(&alice);
}

/* The descriptor of a link that is to be cut is closed and given to somebody else first. */
static void the_next_owner_of_a_descriptor_is_not_cut(void **state)
{
    struct net *net = *state;
    struct rogue alice, bob;
    struct link *link;
    int64_t end;
    struct router_input input;

    for (int round = 0; round < 20; round++) {
        alice = shake(net, &net->alice, NULL);
        assert_true(rogue_send(&alice, 0, "hello", 5));
        link = router_expect(net).link;
        router_cut(net->router, moment_now(), link);
        rogue_close(&alice);
        bob = shake(net, &net->bob, NULL);
        for (end = moment_now().boot_ms + 2 * net->bye_ms; moment_now().boot_ms < end;) {
            (void)router_wait(net->router, -1, 1);
            (void)!router_receive(net->router, moment_now(), &input);
            count_gone(net);
        }
        assert_true(rogue_send(&bob, 0, "still here", 10));
        assert_true(bytes_equal_text(router_expect(net).frame, "still here"));
        rogue_close(&bob);
        router_expect_gone(net, (size_t)(2 * round + 2));
    }
}

/* --- what is sent ----------------------------------------------------------------------------- */

static struct link *greeted_link(struct net *net, struct rogue *rogue, const struct keys *who)
{
    *rogue = shake(net, who, NULL);
    assert_true(rogue_send(rogue, 0, "hello", 5));
    return router_expect(net).link;
}

static void fill(struct net *net, struct link *link)
{
    static const uint8_t big[64 * 1024];
    int r;

    while ((r = router_send(net->router, link, bytes_of(big, sizeof(big)))) == 0)
        (void)router_wait(net->router, -1, 0);
    assert_int_equal(r, AICO_EFULL);
}

/* It asks whether we are there between the room that it has again and our look for it. */
static void expect_named_in_spite_of_pings(struct net *net, unsigned threads)
{
    static const char ping[] = "\4PING\0\0";
    struct router_input input;
    struct rogue alice;
    struct link *link, *named = NULL;
    int64_t end = deadline();

    net->threads = threads;
    router_again(net, HANDSHAKE_MS);
    link = greeted_link(net, &alice, &net->alice);
    fill(net, link);
    while (!named && moment_now().boot_ms < end) {
        (void)rogue_drain(alice.fd);
        assert_true(rogue_send(&alice, ROGUE_COMMAND, ping, sizeof(ping) - 1));
        (void)router_wait(net->router, -1, 5);
        assert_int_equal(router_receive(net->router, moment_now(), &input), AICO_ENOTFOUND);
        (void)router_next_writable(net->router, &named);
    }
    assert_ptr_equal(named, link);
    rogue_close(&alice);
}

static void a_link_that_was_full_is_named_whatever_else_it_says(void **state)
{
    expect_named_in_spite_of_pings(*state, 1);
    expect_named_in_spite_of_pings(*state, 2);
}

static void a_link_is_named_once_however_often_it_was_full(void **state)
{
    struct net *net = *state;
    struct rogue rogues[2];
    struct link *links[2], *named;
    size_t count = 0;

    links[0] = greeted_link(net, &rogues[0], &net->alice);
    links[1] = greeted_link(net, &rogues[1], &net->bob);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 2 - round; i++)
            fill(net, links[i]);
        for (int64_t end = moment_now().boot_ms + 100; moment_now().boot_ms < end;) {
            for (int i = 0; i < 2; i++)
                (void)rogue_drain(rogues[i].fd);
            (void)router_wait(net->router, -1, 5);
        }
    }
    while (count < 2 && router_next_writable(net->router, &named))
        assert_ptr_equal(named, links[count++]);
    assert_int_equal(count, 2);
    assert_false(router_next_writable(net->router, &named));
    rogue_close(&rogues[0]);
    rogue_close(&rogues[1]);
}

struct reader {
    int fd;
    size_t got;
};

static void *read_to_the_end(void *argument)
{
    static uint8_t room[64 * 1024];
    struct reader *reader = argument;
    ssize_t got;

    while ((got = recv(reader->fd, room, sizeof(room), 0)) > 0)
        reader->got += (size_t)got;
    return NULL;
}

static void who_does_not_read_takes_no_others_rest(void **state)
{
    static const uint8_t big[64 * 1024];
    struct net *net = *state;
    struct rogue deaf, other;
    struct link *link = greeted_link(net, &deaf, &net->alice);
    struct reader reader = {.got = 0};
    pthread_t thread;
    size_t sent = 0;

    fill(net, link);
    link = greeted_link(net, &other, &net->bob);
    while (router_send(net->router, link, bytes_of(big, sizeof(big))) == 0)
        sent += sizeof(big) + 9 + 33;
    reader.fd = other.fd;
    assert_int_equal(pthread_create(&thread, NULL, read_to_the_end, &reader), 0);
    router_free(&net->router, 500);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(reader.got, sent);
    rogue_close(&deaf);
    rogue_close(&other);
}

/* --- who was refused, or is gone -------------------------------------------------------------- */

static void who_was_refused_comes_after_who_was_not(void **state)
{
    enum { REFUSED = 150 };
    static const uint8_t noise[1024];
    struct net *net = *state;
    struct rogue alice, refused[REFUSED];
    struct router_input input;

    net->bye_ms = DEADLINE_MS;
    router_again(net, HANDSHAKE_MS);
    (void)greeted_link(net, &alice, &net->alice);
    for (int i = 0; i < REFUSED; i++)
        assert_false(shake_with(net, &refused[i], net->tcp, &net->mallory, NULL));
    for (int i = 0; i < REFUSED; i++)
        assert_true(send(refused[i].fd, noise, sizeof(noise), MSG_NOSIGNAL) > 0);
    (void)router_wait(net->router, -1, 0); /* what was sent over loopback is there */
    assert_true(rogue_send(&alice, 0, "first", 5));
    (void)router_wait(net->router, -1, 1000);
    assert_int_equal(router_receive(net->router, moment_now(), &input), 0);
    assert_true(bytes_equal_text(input.frame, "first"));
    for (int i = 0; i < REFUSED; i++)
        rogue_close(&refused[i]);
    rogue_close(&alice);
}

/* What is read away from one that is closed must not lie where a frame of another waits. */
static void expect_untouched(struct net *net, unsigned threads)
{
    enum { FRAMES = 40 };
    static uint8_t noise[200 * 1024];
    struct rogue alice, bob, mallory;
    struct moment later;
    struct link *gone;

    net->threads = threads;
    net->bye_ms = DEADLINE_MS;
    router_again(net, HANDSHAKE_MS);
    (void)greeted_link(net, &alice, &net->alice);
    (void)greeted_link(net, &bob, &net->bob);
    assert_false(shake_with(net, &mallory, net->ipc, &net->mallory, NULL));
    for (int i = 0; i < FRAMES; i++) {
        uint8_t text[2000];

        memset(text, i, sizeof(text));
        assert_true(rogue_send(&alice, 0, text, sizeof(text)));
        assert_true(rogue_send(&bob, 0, text, sizeof(text)));
    }
    for (int i = 0; i < 2 * FRAMES; i++) {
        struct router_input input = router_expect(net);

        assert_int_equal(input.frame.size, 2000);
        assert_int_equal(input.frame.at[0], input.frame.at[1999]);
        if (i > 0)
            continue;
        memset(noise, 0xee, sizeof(noise));
        while (send(mallory.fd, noise, sizeof(noise), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
            continue;
        later = moment_now();
        later.boot_ms += 2 * net->bye_ms;
        assert_false(router_next_gone(net->router, later, &gone));
        assert_int_equal(input.frame.at[0], input.frame.at[1999]); /* it is still lent */
    }
    assert_int_equal(COUNTED(net, frames_in), 2 + 2 * FRAMES);
    rogue_close(&alice);
    rogue_close(&bob);
    rogue_close(&mallory);
}

static void what_is_read_away_touches_no_frame(void **state)
{
    expect_untouched(*state, 1);
    expect_untouched(*state, 2);
}

static bool talk(int fd, const uint8_t *said, size_t said_size, uint8_t *heard, size_t heard_size)
{
    bool is_heard;

    serve_begin();
    is_heard = send(fd, said, said_size, MSG_NOSIGNAL) == (ssize_t)said_size &&
               recv(fd, heard, heard_size, MSG_WAITALL) == (ssize_t)heard_size;
    serve_end();
    return is_heard;
}

/* More than is read at once, behind INITIATE and before READY. */
static void who_says_much_with_his_handshake_is_heard(void **state)
{
    enum { FRAMES = 3, SIZE = 50000 };
    static uint8_t text[1 + SIZE], said[CLIENT_ROOM + FRAMES * (1 + SIZE + CLIENT_OVERHEAD)];
    struct net *net = *state;
    struct curve_client client;
    uint8_t heard[CLIENT_GREETING_SIZE + 170];
    int fd = rogue_connect(net->ipc);
    size_t size;

    client_new(&client, net->broker.public);
    memcpy(client.public, net->alice.public, 32);
    memcpy(client.secret, net->alice.secret.at, 32);
    size = client_greeting(said);
    size += client_hello(&client, said + size);
    assert_true(talk(fd, said, size, heard, sizeof(heard)));
    assert_true(client_welcome(&client, heard + CLIENT_GREETING_SIZE, 170));
    size = client_initiate(&client, CLIENT_METADATA, CLIENT_METADATA_SIZE, said);
    for (int i = 0; i < FRAMES; i++) {
        memset(text + 1, i, SIZE);
        size += client_seal(&client, text, sizeof(text), said + size);
    }
    assert_int_equal(send(fd, said, size, MSG_NOSIGNAL), size);
    for (int i = 0; i < FRAMES; i++) {
        struct router_input input = router_expect(net);

        assert_string_equal(input.user_id, "alice#1");
        assert_int_equal(input.frame.size, SIZE);
        assert_int_equal(input.frame.at[0], i);
        assert_int_equal(input.frame.at[SIZE - 1], i);
    }
    (void)close(fd);
    expect_served(net);
}

static int lowest_free_descriptor(void)
{
    int fd = dup(STDERR_FILENO);

    (void)close(fd);
    return fd;
}

static void a_listener_that_had_no_room_goes_on(void **state)
{
    enum { MOST = 40 };
    struct net *net = *state;
    struct rlimit before, few;
    int fds[MOST], count = 0;
    bool is_full = false, is_greeted = false;
    char byte;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = (rlim_t)lowest_free_descriptor() + 64 + 12;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    router_again(net, 100 * DEADLINE_MS);
    while (!is_full && count < MOST) {
        fds[count] = rogue_connect(net->tcp);
        for (int i = 0; i < 5 && !is_full; i++) {
            (void)router_wait(net->router, -1, 5);
            count_gone(net);
            is_full = rogue_is_closed(fds[count], 0);
        }
        count++;
    }
    assert_true(is_full && count > 2);
    while (count > 0)
        (void)close(fds[--count]);
    fds[0] = rogue_connect(net->tcp);
    for (int64_t end = deadline(); moment_now().boot_ms < end && !is_greeted;) {
        (void)router_wait(net->router, -1, 5);
        count_gone(net);
        is_greeted = recv(fds[0], &byte, 1, MSG_DONTWAIT) == 1;
    }
    assert_true(is_greeted);
    (void)close(fds[0]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* A child of the process holds what was open when it was made. */
static void what_a_child_holds_is_closed_all_the_same(void **state)
{
    struct net *net = *state;
    int fd = rogue_connect(net->tcp), ends[2];
    char byte;
    pid_t child;

    await_greeting(net, fd);
    assert_int_equal(pipe(ends), 0);
    child = fork();
    if (child == 0) {
        (void)close(fd);
        (void)close(ends[1]);
        (void)!read(ends[0], &byte, 1);
        _exit(0);
    }
    expect_closed(net, fd); /* its handshake has taken too long */
    (void)send(fd, "anybody?", 8, MSG_NOSIGNAL);
    expect_served(net);
    (void)close(ends[1]);
    (void)close(ends[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    (void)close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, net_up, net_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_forged_user_id_is_not_believed),
        TEST(a_forged_user_id_of_a_stranger_gets_nowhere),
        TEST(without_a_roster_a_forged_user_id_gets_nowhere),
        TEST(a_chosen_routing_id_is_refused),
        TEST(a_guessed_routing_id_is_refused),
        TEST(a_stranger_cannot_announce_more_than_a_frame),
        TEST(a_component_cannot_announce_more_than_a_frame),
        TEST(a_message_of_parts_without_end_is_cut),
        TEST(so_is_one_that_is_the_first_of_its_link),
        TEST(a_busy_link_that_is_to_go_may_read_why),
        TEST(and_one_of_a_link_that_is_to_go),
        TEST(who_is_to_go_and_breaks_the_rules_goes_at_once),
        TEST(a_busy_link_stays),
        TEST(a_handshake_that_stops_is_closed_at_every_step),
        TEST(a_component_that_never_sends_a_frame_is_closed),
        TEST(a_crowd_that_the_owner_does_not_look_at_stops_nothing),
        TEST(a_subscribe_command_does_not_come),
        TEST(the_next_owner_of_a_descriptor_is_not_cut),
        TEST(a_link_that_was_full_is_named_whatever_else_it_says),
        TEST(a_link_is_named_once_however_often_it_was_full),
        TEST(who_does_not_read_takes_no_others_rest),
        TEST(who_was_refused_comes_after_who_was_not),
        TEST(what_a_child_holds_is_closed_all_the_same),
        TEST(who_says_much_with_his_handshake_is_heard),
        TEST(what_is_read_away_touches_no_frame),
        TEST(a_listener_that_had_no_room_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
