/* SPDX-License-Identifier: Apache-2.0 */
/* Commands that answer requests: bytes both ways, a deadline, nothing left running. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/exec.h"

struct ran {
    uint8_t *output;
    size_t size;
    int status;
};

static int run(const char *command, const void *payload, size_t size, int64_t timeout_ms,
               struct ran *ret)
{
    struct aico_message request = {
        .topic = "system/echo/v1", .sender = "cli", .payload = payload, .size = size};

    *ret = (struct ran){0};
    return exec_run(command, &request, timeout_ms, -1, &ret->output, &ret->size, &ret->status,
                    NULL);
}

static void the_question_goes_in_and_the_answer_comes_out(void **state)
{
    struct ran ran;

    (void)state;
    assert_int_equal(run("tr a-z A-Z; echo $AICO_TOPIC $AICO_SENDER", "hello ", 6, 10000, &ran), 0);
    assert_int_equal(ran.size, strlen("HELLO system/echo/v1 cli\n"));
    assert_memory_equal(ran.output, "HELLO system/echo/v1 cli\n", ran.size);
    assert_int_equal(ran.status, 0);
    free(ran.output);
}

static void much_more_than_a_pipe_holds_passes_both_ways(void **state)
{
    size_t size = 3 * 1024 * 1024;
    uint8_t *payload = malloc(size);
    struct ran ran;

    (void)state;
    for (size_t i = 0; i < size; i++)
        payload[i] = (uint8_t)(i * 31 >> 2);
    assert_int_equal(run("cat", payload, size, 20000, &ran), 0);
    assert_int_equal(ran.size, size);
    assert_memory_equal(ran.output, payload, size);
    free(ran.output);
    free(payload);
}

static void a_command_need_not_read_its_question(void **state)
{
    size_t size = 1024 * 1024;
    uint8_t *payload = calloc(1, size);
    struct ran ran;

    (void)state;
    assert_int_equal(run("exec 0<&-; echo no", payload, size, 10000, &ran), 0);
    assert_memory_equal(ran.output, "no\n", 3);
    free(ran.output);
    free(payload);
}

static void its_exit_status_is_told(void **state)
{
    struct ran ran;

    (void)state;
    assert_int_equal(run("exit 3", "", 0, 10000, &ran), 0);
    assert_int_equal(ran.status, 3);
    free(ran.output);
    assert_int_equal(run("kill -TERM $$", "", 0, 10000, &ran), 0);
    assert_int_equal(ran.status, 128 + SIGTERM);
    free(ran.output);
}

static void a_command_that_never_ends_is_killed(void **state)
{
    struct ran ran;

    (void)state;
    assert_int_equal(run("cat /dev/zero | head -c 10; sleep 600", "", 0, 300, &ran), AICO_ETIMEOUT);
    assert_null(ran.output);
}

static void a_command_that_never_stops_talking_is_killed(void **state)
{
    struct ran ran;

    (void)state;
    assert_int_equal(run("cat /dev/zero", "", 0, 20000, &ran), AICO_ETOOLARGE);
    assert_null(ran.output);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_question_goes_in_and_the_answer_comes_out),
        cmocka_unit_test(much_more_than_a_pipe_holds_passes_both_ways),
        cmocka_unit_test(a_command_need_not_read_its_question),
        cmocka_unit_test(its_exit_status_is_told),
        cmocka_unit_test(a_command_that_never_ends_is_killed),
        cmocka_unit_test(a_command_that_never_stops_talking_is_killed),
    };

    (void)signal(SIGPIPE, SIG_IGN); /* as `aico-bus reply` does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
