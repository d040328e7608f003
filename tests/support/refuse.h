/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A system that refuses: the n-th system call of the code under test fails with EIO, for every n
 * there is. The test links with --wrap of each call (tests/CMakeLists.txt); libraries that are
 * linked dynamically are not touched. One thread.
 */
#ifndef TEST_REFUSE_H
#define TEST_REFUSE_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Runs @work with the first call failing, then with the second, until a run makes no more.
 * @check is told what came of each, and which call it was ("fsync"; NULL: none, the last run).
 * Returns how many calls there were.
 */
size_t refuse_each(int (*work)(void *context),
                   void (*check)(void *context, int r, const char *call), void *context);
/* System calls count between the two: what refuse_each() refuses is one of these. */
void refuse_on(void);
void refuse_off(void);

#define REFUSED(call)                                                                              \
    ({                                                                                             \
        refuse_on();                                                                               \
        __typeof__(call) result_ = (call);                                                         \
        refuse_off();                                                                              \
        result_;                                                                                   \
    })

#endif
