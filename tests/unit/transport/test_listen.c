/* SPDX-License-Identifier: Apache-2.0 */
/* Who comes where the broker listens: with few descriptors left he is turned away. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "transport/listen.h"

#define FILES 128
#define GIVEN (FILES - 64)

struct place {
    union {
        struct sockaddr any;
        struct sockaddr_in tcp;
        struct sockaddr_un ipc;
    } address;
    socklen_t size;
    int listener;
};

static void listen_tcp(struct place *p)
{
    *p = (struct place){.size = sizeof(p->address.tcp)};
    p->address.tcp =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(p->listener, &p->address.any, p->size), 0);
    assert_int_equal(getsockname(p->listener, &p->address.any, &p->size), 0);
    assert_int_equal(listen(p->listener, FILES), 0);
}

/* An abstract address: nothing is left in the file system. */
static void listen_ipc(struct place *p)
{
    *p = (struct place){.size = sizeof(p->address.ipc)};
    p->address.ipc.sun_family = AF_UNIX;
    (void)snprintf(p->address.ipc.sun_path + 1, sizeof(p->address.ipc.sun_path) - 1,
                   "aico-test-accept-%d", (int)getpid());
    p->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(p->listener, &p->address.any, p->size), 0);
    assert_int_equal(listen(p->listener, FILES), 0);
}

static int dial(const struct place *p)
{
    int fd = socket(p->address.any.sa_family, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &p->address.any, p->size), 0);
    return fd;
}

static int take(const struct place *p)
{
    int fd = -1;

    assert_int_equal(listen_accept(p->listener, GIVEN, &fd), 0);
    return fd;
}

static void expect_turned_away(const struct place *p)
{
    int fd = -1;

    assert_int_equal(listen_accept(p->listener, GIVEN, &fd), AICO_EFULL);
    assert_int_equal(fd, -1);
}

static void expect_closed(int fd)
{
    char byte;

    assert_true(recv(fd, &byte, 1, 0) <= 0);
    (void)close(fd);
}

static void strangers_get_what_is_not_kept(struct place *p)
{
    int clients[FILES], accepted[FILES], count = 0, last;
    char byte;

    for (;; count++) {
        clients[count] = dial(p);
        if (clients[count] >= GIVEN - 1)
            break;
        accepted[count] = take(p);
        assert_true(accepted[count] >= 0 && accepted[count] < GIVEN);
    }
    assert_true(count > 5);
    expect_turned_away(p);
    expect_closed(clients[count]);

    /* Those before go on, and when one has gone another gets in. */
    assert_int_equal(send(clients[0], "x", 1, 0), 1);
    assert_int_equal(recv(accepted[0], &byte, 1, 0), 1);
    (void)close(clients[1]);
    (void)close(accepted[1]);
    clients[1] = dial(p);
    accepted[1] = take(p);
    assert_true(accepted[1] >= 0);

    /* Files of ours take the rest: nothing is left even to turn somebody away. */
    last = dial(p);
    for (int i = 0; i < FILES && open("/dev/null", O_RDONLY) >= 0; i++)
        continue;
    expect_turned_away(p);
    (void)close(last);
    for (int fd = 3; fd < FILES; fd++)
        if (fd != p->listener)
            (void)close(fd);
}

static void on_tcp_strangers_get_what_is_not_kept(void **state)
{
    struct place p;

    (void)state;
    listen_tcp(&p);
    strangers_get_what_is_not_kept(&p);
    (void)close(p.listener);
}

static void on_ipc_strangers_get_what_is_not_kept(void **state)
{
    struct place p;

    (void)state;
    listen_ipc(&p);
    strangers_get_what_is_not_kept(&p);
    (void)close(p.listener);
}

static void nobody_is_no_reason_to_wait(void **state)
{
    struct place p;
    int fd = -1;

    (void)state;
    listen_tcp(&p);
    assert_int_equal(listen_accept(p.listener, GIVEN, &fd), AICO_ENOTFOUND);
    (void)close(p.listener);
}

/* --- where it listens ----------------------------------------------------------------------- */

static int open_at(const char *endpoint, char real[128])
{
    struct aico_error err = {0};
    char *text = NULL;
    int fd = -1, r = listen_open(endpoint, -1, &fd, &text, &err);

    if (r < 0) {
        assert_int_equal(fd, -1);
        assert_null(text);
        assert_non_null(strstr(err.text, endpoint));
        return r;
    }
    (void)snprintf(real, 128, "%s", text);
    free(text);
    return fd;
}

/* Opened, it is really at @prefix and some port. */
static void expect_at(const char *endpoint, const char *prefix)
{
    char real[128];
    int fd = open_at(endpoint, real);

    assert_true(fd >= 0);
    assert_int_equal(strncmp(real, prefix, strlen(prefix)), 0);
    assert_true(strtol(real + strlen(prefix), NULL, 10) > 0);
    (void)close(fd);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0;

    (void)close(fd);
    return has;
}

static void addresses_of_all_kinds(void **state)
{
    (void)state;
    expect_at("tcp://127.0.0.1:0", "tcp://127.0.0.1:");
    expect_at("tcp://127.0.0.1:*", "tcp://127.0.0.1:");
    expect_at("tcp://localhost:0", "tcp://127.0.0.1:");
    expect_at("tcp://*:0", "tcp://0.0.0.0:");
    if (has_ipv6())
        expect_at("tcp://[::1]:0", "tcp://[::1]:");
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const wrong[] = {
        "udp://127.0.0.1:1",   "tcp://",          "tcp://127.0.0.1",   "tcp://:1",
        "tcp://[::1:1",        "tcp://::1]:1",    "tcp://127.0.0.1:x", "tcp://no-such.invalid:1",
        "tcp://203.0.113.7:1", "127.0.0.1:12345",
    };
    char path[160] = "ipc:///tmp/", real[128];

    (void)state;
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_int_equal(open_at(wrong[i], real), AICO_EINVAL);
    memset(path + strlen(path), 'x', 120);
    assert_int_equal(open_at(path, real), AICO_EINVAL);
    assert_int_equal(open_at("ipc:///no-such-folder/bus.sock", real), AICO_ESYSTEM);
}

static void a_port_is_one_listeners(void **state)
{
    char real[128], again[128];
    int fd = open_at("tcp://127.0.0.1:0", real);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(open_at(real, again), AICO_EEXISTS);
    (void)close(fd);
}

static void what_lies_at_a_path_is_replaced(void **state)
{
    char folder[] = "/tmp/aico-listen-XXXXXX", endpoint[64], real[128];
    int first, second;

    (void)state;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(endpoint, sizeof(endpoint), "ipc://%s/bus.sock", folder);
    first = open_at(endpoint, real);
    assert_true(first >= 0);
    assert_string_equal(real, endpoint);
    second = open_at(endpoint, real);
    assert_true(second >= 0);
    (void)close(first);
    (void)close(second);
    assert_int_equal(unlink(endpoint + strlen("ipc://")), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void an_inherited_one_is_used_as_it_is(void **state)
{
    struct aico_error err = {0};
    char *real = NULL;
    struct place p;
    int fd = -1, client;

    (void)state;
    listen_tcp(&p);
    assert_int_equal(listen_open("tcp://127.0.0.1:1", p.listener, &fd, &real, &err), 0);
    assert_int_equal(strtol(strrchr(real, ':') + 1, NULL, 10), ntohs(p.address.tcp.sin_port));
    client = dial(&p);
    (void)close(p.listener);
    p.listener = fd;
    (void)close(take(&p));
    (void)close(client);
    (void)close(fd);
    free(real);
    assert_int_equal(listen_open("tcp://127.0.0.1:1", 999, &fd, &real, &err), AICO_ESYSTEM);
}

static int start(void **state)
{
    struct rlimit files = {FILES, FILES};

    (void)state;
    for (int fd = 3; fd < 1024; fd++) /* what whoever runs us has left open */
        (void)close(fd);
    return setrlimit(RLIMIT_NOFILE, &files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_tcp_strangers_get_what_is_not_kept),
        cmocka_unit_test(on_ipc_strangers_get_what_is_not_kept),
        cmocka_unit_test(nobody_is_no_reason_to_wait),
        cmocka_unit_test(addresses_of_all_kinds),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(a_port_is_one_listeners),
        cmocka_unit_test(what_lies_at_a_path_is_replaced),
        cmocka_unit_test(an_inherited_one_is_used_as_it_is),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
