/* SPDX-License-Identifier: Apache-2.0 */
/* getpid() asks the kernel once, and in a child anew. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "common/pid.h"

/* From now on the kernel answers getpid() with EPERM; false where it takes no filter. */
static bool refuse_getpid(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT_OF(code), .filter = code};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0 && syscall(SYS_getpid) < 0;
}

/* The status of a child that runs @run, made by the bare system call: no handler of libc knows. */
static int status_in_child(int (*run)(void))
{
    long child = syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    int status = -1;

    if (child == 0)
        _exit(run());
    assert_true(child > 0);
    assert_int_equal(waitpid((pid_t)child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

enum { RIGHT, WRONG, NO_FILTER };

static int is_right(void)
{
    return getpid() == (pid_t)syscall(SYS_getpid) ? RIGHT : WRONG;
}

static int is_remembered(void)
{
    pid_t first = getpid();

    if (!refuse_getpid())
        return NO_FILTER;
    return getpid() == first && first > 0 ? RIGHT : WRONG;
}

static void it_is_the_kernels(void **state UNUSED)
{
    assert_int_equal(is_right(), RIGHT);
    assert_int_equal(is_right(), RIGHT);
}

static void a_child_has_another(void **state UNUSED)
{
    pid_t child = fork();
    int status = -1;

    if (child == 0)
        _exit(is_right());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(status_in_child(is_right), RIGHT);
}

static void the_kernel_is_asked_once(void **state UNUSED)
{
    int status = status_in_child(is_remembered);

    if (status == NO_FILTER)
        skip();
    assert_int_equal(status, RIGHT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_the_kernels),
        cmocka_unit_test(a_child_has_another),
        cmocka_unit_test(the_kernel_is_asked_once),
    };

    pid_remember();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
