/* SPDX-License-Identifier: Apache-2.0 */
/* The benchmark's own honesty: percentiles, checks of messages, and whole runs over a pretended bus
 * that loses, doubles and changes them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bench/bench.h"
#include "bench/payload.h"

/* --- percentiles ------------------------------------------------------------------------------ */

static void quantiles_are_exact_to_one_percent(void **state)
{
    static struct histogram h;

    (void)state;
    for (uint64_t i = 1; i <= 100000; i++)
        histogram_add(&h, i * 1000);
    for (int percent = 1; percent <= 100; percent++) {
        double want = percent * 1e6, got = (double)histogram_quantile(&h, percent / 100.0);

        assert_true(got >= want && got <= want * 1.01);
    }
    assert_int_equal(histogram_quantile(&h, 1), 100000000);
}

static void extreme_values_are_counted(void **state)
{
    static struct histogram h;

    (void)state;
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    histogram_add(&h, 0);
    histogram_add(&h, 1);
    histogram_add(&h, UINT64_MAX);
    assert_int_equal(histogram_quantile(&h, 0.01), 0);
    assert_int_equal(histogram_quantile(&h, 0.5), 1);
    assert_true(histogram_quantile(&h, 1) == UINT64_MAX);
}

static void two_histograms_add_up(void **state)
{
    static struct histogram a, b;

    (void)state;
    for (int i = 0; i < 90; i++)
        histogram_add(&a, 10);
    for (int i = 0; i < 10; i++)
        histogram_add(&b, 100);
    histogram_merge(&a, &b);
    assert_int_equal(a.count, 100);
    assert_int_equal(histogram_quantile(&a, 0.9), 10);
    assert_int_equal(histogram_quantile(&a, 0.91), 100);
}

/* --- messages --------------------------------------------------------------------------------- */

static void every_changed_byte_is_noticed(void **state)
{
    enum { SIZE = 300 };
    struct payload_pattern pattern;
    struct payload p = {.publisher = 3, .kind = PAYLOAD_DATA, .number = 77, .time_ns = 5}, got;
    uint8_t *message = malloc(SIZE);

    (void)state;
    assert_int_equal(payload_pattern_init(&pattern, SIZE), 0);
    payload_write(&pattern, &p, message, SIZE);
    assert_true(payload_read(&pattern, message, SIZE, SIZE, &got));
    assert_memory_equal(&got, &p, sizeof(p));
    for (size_t i = 0; i < SIZE; i++) {
        message[i] ^= 1;
        assert_false(payload_read(&pattern, message, SIZE, SIZE, &got));
        message[i] ^= 1;
    }
    assert_false(payload_read(&pattern, message, SIZE - 1, SIZE, &got));
    payload_pattern_deinit(&pattern);
    free(message);
}

/* --- a bus of pipes --------------------------------------------------------------------------- */

#define READERS 2

enum fault { FAULT_NONE, FAULT_LOSS, FAULT_DOUBLE, FAULT_CHANGE, FAULT_CUT, FAULT_ERROR };

struct bus {
    enum fault fault;
    int pipes[READERS][2];
};
struct bench_link {
    struct bus *bus;
    int reader;
    unsigned sent;
    uint8_t room[256];
};

static int bus_open(void *context, const char *name, struct bench_link **ret_link,
                    struct aico_error *err)
{
    struct bench_link *link = calloc(1, sizeof(*link));

    (void)err;
    assert_non_null(link);
    link->bus = context;
    link->reader = name[0] == 'r' ? atoi(name + 1) - 1 : -1; // NOLINT(cert-err34-c): our own name
    *ret_link = link;
    return 0;
}

static int bus_subscribe(struct bench_link *link, const char *topic, struct aico_error *err)
{
    (void)link;
    (void)err;
    return strcmp(topic, BENCH_TOPIC_ALL) == 0 ? 0 : AICO_ETOPIC;
}

static void give(struct bench_link *link, const void *at, size_t size)
{
    for (int i = 0; i < READERS; i++)
        if (write(link->bus->pipes[i][1], at, size) != (ssize_t)size)
            _exit(3);
}

static int bus_publish(struct bench_link *link, const char *topic, const void *at, size_t size,
                       struct aico_error *err)
{
    bool is_time = ++link->sent == 150; /* past the first messages, before the last */
    uint8_t changed[64];

    (void)topic;
    assert_int_equal(size, sizeof(changed));
    memcpy(changed, at, size);
    if (is_time && link->bus->fault == FAULT_ERROR)
        return aico_error_set(err, AICO_EDENIED, "no more");
    if (is_time && link->bus->fault == FAULT_LOSS)
        return 0;
    if (is_time && link->bus->fault == FAULT_DOUBLE)
        give(link, at, size);
    if (is_time && link->bus->fault == FAULT_CHANGE)
        changed[50] ^= 4;
    if (link->sent >= 150 && link->bus->fault == FAULT_CUT)
        return 0;
    give(link, changed, size);
    return 0;
}

static int bus_flush(struct bench_link *link, struct aico_error *err)
{
    (void)link;
    (void)err;
    return 0;
}

static int bus_receive(struct bench_link *link, int64_t timeout_ms, struct bench_received *ret,
                       struct aico_error *err)
{
    int fd = link->bus->pipes[link->reader][0];
    int64_t end_ns = machine_now_ns() + timeout_ms * 1000000;
    ssize_t got;

    (void)err;
    while ((got = read(fd, link->room, 64)) < 0 && errno == EAGAIN) {
        struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

        if (machine_now_ns() > end_ns)
            return AICO_ETIMEOUT;
        (void)poll(&poll_fd, 1, (int)timeout_ms);
    }
    assert_int_equal(got, 64);
    *ret = (struct bench_received){.at = link->room, .size = 64};
    return 0;
}

static void bus_close(struct bench_link **link)
{
    free(*link);
    *link = NULL;
}

static int run(enum fault fault, struct bench_result *ret, struct aico_error *err)
{
    struct bus bus = {.fault = fault};
    struct bench_driver driver = {.context = &bus,
                                  .open = bus_open,
                                  .subscribe = bus_subscribe,
                                  .publish = bus_publish,
                                  .flush = bus_flush,
                                  .receive = bus_receive,
                                  .close = bus_close};
    struct bench_plan plan = {.count = 400, .readers = READERS, .timeout_ms = 20000, .stop_fd = -1};
    int r;

    if (fault == FAULT_CUT) /* that nothing comes any more shows by time alone */
        plan.timeout_ms = 2000;
    assert_int_equal(bench_plan_finish(&plan, "throughput", NULL), 0);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pipe(bus.pipes[i]), 0);
        assert_int_equal(fcntl(bus.pipes[i][0], F_SETFL, O_NONBLOCK), 0);
    }
    r = bench_run(&plan, &driver, ret, err);
    for (int i = 0; i < READERS; i++) {
        (void)close(bus.pipes[i][0]);
        (void)close(bus.pipes[i][1]);
    }
    return r;
}

static void a_sound_run_is_whole(void **state)
{
    static struct bench_result result;

    (void)state;
    assert_int_equal(run(FAULT_NONE, &result, NULL), 0);
    assert_true(bench_result_is_whole(&result));
    assert_int_equal(result.sent, 400);
    assert_int_equal(result.delivered, 400 * READERS);
    assert_int_equal(result.latency.count, 400 / 16 * READERS); /* timed: every 16th */
    assert_true(result.seconds > 0 && result.publisher.cpu_s > 0);
    assert_false(result.has_broker);
}

static void a_lost_message_is_counted(void **state)
{
    static struct bench_result result;

    (void)state;
    assert_int_equal(run(FAULT_LOSS, &result, NULL), 0);
    assert_int_equal(result.lost, READERS);
    assert_false(bench_result_is_whole(&result));
}

static void a_doubled_message_is_counted(void **state)
{
    static struct bench_result result;

    (void)state;
    assert_int_equal(run(FAULT_DOUBLE, &result, NULL), 0);
    assert_int_equal(result.doubled, READERS);
    assert_int_equal(result.lost, 0);
    assert_false(bench_result_is_whole(&result));
}

static void a_changed_message_is_counted(void **state)
{
    static struct bench_result result;

    (void)state;
    assert_int_equal(run(FAULT_CHANGE, &result, NULL), 0);
    assert_int_equal(result.corrupted, READERS);
    assert_false(bench_result_is_whole(&result));
}

static void what_never_comes_ends_the_run(void **state)
{
    static struct bench_result result;
    struct aico_error err = {0};

    (void)state;
    assert_int_equal(run(FAULT_CUT, &result, &err), AICO_ETIMEOUT);
    assert_non_null(strstr(err.text, "of 400 messages are missing"));
}

static void an_error_of_a_worker_ends_the_run_by_name(void **state)
{
    static struct bench_result result;
    struct aico_error err = {0};

    (void)state;
    assert_int_equal(run(FAULT_ERROR, &result, &err), AICO_EDENIED);
    assert_string_equal(err.text, "publisher 1: no more");
}

/* --- plans ------------------------------------------------------------------------------------ */

static void an_option_that_a_workload_would_ignore_is_refused(void **state)
{
    struct bench_plan plan = {.rate = 5};
    struct aico_error err = {0};

    (void)state;
    assert_int_equal(bench_plan_finish(&plan, "rtt", &err), AICO_EINVAL);
    plan = (struct bench_plan){.readers = 2};
    assert_int_equal(bench_plan_finish(&plan, "connect", &err), AICO_EINVAL);
    plan = (struct bench_plan){.readers = 2};
    assert_int_equal(bench_plan_finish(&plan, "stored", &err), AICO_EINVAL);
    plan = (struct bench_plan){.publishers = 3};
    assert_int_equal(bench_plan_finish(&plan, "loaded", &err), AICO_EINVAL);
    plan = (struct bench_plan){.topics = 2};
    assert_int_equal(bench_plan_finish(&plan, "rtt", &err), AICO_EINVAL);
    plan = (struct bench_plan){.count = 1, .publishers = 2};
    assert_int_equal(bench_plan_finish(&plan, "throughput", &err), AICO_EINVAL);
    plan = (struct bench_plan){0};
    assert_int_equal(bench_plan_finish(&plan, "speed", &err), AICO_EINVAL);
    assert_int_equal(bench_plan_take(&plan, BENCH_OPTION_SIZE, "31", &err), AICO_EINVAL);
    assert_int_equal(bench_plan_take(&plan, BENCH_OPTION_PLACE, "moon", &err), AICO_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantiles_are_exact_to_one_percent),
        cmocka_unit_test(extreme_values_are_counted),
        cmocka_unit_test(two_histograms_add_up),
        cmocka_unit_test(every_changed_byte_is_noticed),
        cmocka_unit_test(a_sound_run_is_whole),
        cmocka_unit_test(a_lost_message_is_counted),
        cmocka_unit_test(a_doubled_message_is_counted),
        cmocka_unit_test(a_changed_message_is_counted),
        cmocka_unit_test(what_never_comes_ends_the_run),
        cmocka_unit_test(an_error_of_a_worker_ends_the_run_by_name),
        cmocka_unit_test(an_option_that_a_workload_would_ignore_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
