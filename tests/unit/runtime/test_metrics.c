/* SPDX-License-Identifier: Apache-2.0 */
/* The metrics socket without a broker: what it asks of the loop, and what it does when that is
 * slow. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "runtime/metrics.h"

#define DEADLINE_MS 40000

static char folder[] = "/tmp/aico-metrics-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};

struct world {
    struct wake loop;
    struct metrics *metrics;
};

static void open_world(struct world *w)
{
    struct aico_error err = {0};

    *w = (struct world){0};
    assert_int_equal(wake_open(&w->loop), 0);
    if (metrics_start(address.sun_path, &w->loop, &w->metrics, &err) < 0)
        fail_msg("%s", err.text);
}

static void close_world(struct world *w)
{
    metrics_stop(&w->metrics);
    assert_null(w->metrics);
    assert_int_equal(access(address.sun_path, F_OK), -1);
    wake_close(&w->loop);
}

static int ask(void)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    return fd;
}

/* Waits until the loop is woken for a text. */
static void expect_wanted(struct world *w)
{
    struct pollfd fd = {.fd = w->loop.fd, .events = POLLIN};

    while (!metrics_wanted(w->metrics)) {
        assert_int_equal(poll(&fd, 1, DEADLINE_MS), 1);
        wake_clear(&w->loop);
    }
}

static void give(struct world *w, const char *text)
{
    struct buffer buffer = {0};

    assert_int_equal(buffer_append_text(&buffer, text), 0);
    metrics_give(w->metrics, &buffer);
    assert_null(buffer.at);
}

static void expect_answer(int fd, const char *status, const char *body)
{
    char text[1024];
    size_t size = 0;
    ssize_t got;

    while ((got = recv(fd, text + size, sizeof(text) - 1 - size, 0)) > 0)
        size += (size_t)got;
    assert_int_equal(got, 0);
    text[size] = '\0';
    assert_int_equal(strncmp(text, status, strlen(status)), 0);
    assert_string_equal(strstr(text, "\r\n\r\n") + 4, body);
    (void)close(fd);
}

static void all_who_wait_get_one_text(void **state)
{
    struct world w;
    int a, b;

    (void)state;
    open_world(&w);
    assert_false(metrics_wanted(w.metrics));
    a = ask();
    b = ask();
    expect_wanted(&w);
    give(&w, "numbers\n");
    expect_answer(a, "HTTP/1.0 200 OK\r\n", "numbers\n");
    /* The second may have come after the text, and want another. */
    if (poll(&(struct pollfd){.fd = b, .events = POLLIN}, 1, 1000) == 0) {
        expect_wanted(&w);
        give(&w, "numbers\n");
    }
    expect_answer(b, "HTTP/1.0 200 OK\r\n", "numbers\n");
    close_world(&w);
}

/* The text is not there for ever: who comes later wants a new one. */
static void an_old_text_is_not_given(void **state)
{
    struct world w;
    int fd;

    (void)state;
    open_world(&w);
    fd = ask();
    expect_wanted(&w);
    give(&w, "old\n");
    expect_answer(fd, "HTTP/1.0 200 OK\r\n", "old\n");
    (void)poll(NULL, 0, 2 * 1000 / METRICS_PER_S);
    fd = ask();
    expect_wanted(&w);
    give(&w, "new\n");
    expect_answer(fd, "HTTP/1.0 200 OK\r\n", "new\n");
    close_world(&w);
}

static void a_loop_that_hangs_is_told_to_who_asks(void **state)
{
    struct world w;

    (void)state;
    open_world(&w);
    expect_answer(ask(), "HTTP/1.0 503 ", "the broker's loop does not answer\n");
    close_world(&w);
}

static void it_ends_with_clients_that_wait(void **state)
{
    struct world w;
    char byte;
    int fd;

    (void)state;
    open_world(&w);
    fd = ask();
    expect_wanted(&w);
    close_world(&w);
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    (void)close(fd);
}

static void a_path_that_is_taken_or_too_long_is_an_error(void **state)
{
    char path[200];
    struct world w;
    struct metrics *second = NULL;
    struct aico_error err = {0};

    (void)state;
    open_world(&w);
    assert_int_equal(metrics_start(address.sun_path, &w.loop, &second, &err), AICO_ESYSTEM);
    assert_int_equal(access(address.sun_path, F_OK), 0); /* it is the first one's */
    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    assert_int_equal(metrics_start(path, &w.loop, &second, &err), AICO_EINVAL);
    assert_null(second);
    close_world(&w);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/metrics.sock", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_who_wait_get_one_text),
        cmocka_unit_test(an_old_text_is_not_given),
        cmocka_unit_test(a_loop_that_hangs_is_told_to_who_asks),
        cmocka_unit_test(it_ends_with_clients_that_wait),
        cmocka_unit_test(a_path_that_is_taken_or_too_long_is_an_error),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
