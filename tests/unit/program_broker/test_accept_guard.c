/* SPDX-License-Identifier: Apache-2.0 */
/* accept4() of aico-broker: with few descriptors left it turns away, and never fails as libzmq
 * cannot bear. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "broker/accept_guard.h"

#define FILES 128
#define GIVEN (FILES - 64) /* accept_guard.c keeps 64 */
#define PAUSE_MIN_US 4000  /* it waits 5 ms before it says so */

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

static int64_t now_us(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* The next one is turned away with the only error that libzmq goes on after, and not in a hurry. */
static void expect_turned_away(const struct place *p)
{
    int64_t start = now_us();

    errno = 0;
    assert_int_equal(accept4(p->listener, NULL, NULL, SOCK_CLOEXEC), -1);
    assert_int_equal(errno, ECONNABORTED);
    assert_true(now_us() - start >= PAUSE_MIN_US);
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
        accepted[count] = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
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
    accepted[1] = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC);
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

static void other_errors_are_as_they_were(void **state)
{
    struct place p;

    (void)state;
    listen_tcp(&p);
    errno = 0;
    assert_int_equal(accept4(p.listener, NULL, NULL, 0), -1);
    assert_int_equal(errno, EAGAIN);
    (void)close(p.listener);
    errno = 0;
    assert_int_equal(accept4(p.listener, NULL, NULL, 0), -1);
    assert_int_equal(errno, EBADF);
}

static int start(void **state)
{
    struct rlimit files = {FILES, FILES};

    (void)state;
    for (int fd = 3; fd < 1024; fd++) /* what whoever runs us has left open */
        (void)close(fd);
    if (setrlimit(RLIMIT_NOFILE, &files) < 0)
        return -1;
    accept_guard_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_tcp_strangers_get_what_is_not_kept),
        cmocka_unit_test(on_ipc_strangers_get_what_is_not_kept),
        cmocka_unit_test(other_errors_are_as_they_were),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
