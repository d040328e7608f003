/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out: the n-th allocation of the code under test fails, for every n there is. The
 * test links with --wrap of each allocating function (tests/CMakeLists.txt); libraries that are
 * linked dynamically are not touched. One thread.
 */
#ifndef TEST_STARVE_H
#define TEST_STARVE_H

#include <stdbool.h>
#include <stddef.h>

/* Memory is short from now on, or not any more: what STARVED() runs counts in between. */
void starve_arm(bool armed);
/* What STARVED() does: allocations count between the two. Not nested. */
void starve_on(void);
void starve_off(void);
/* Whether the allocation that was to fail in this run has been asked for. */
bool starve_has_failed(void);

/*
 * Runs @work with the first allocation failing, then with the second, until a run asks for no more.
 * Its result is AICO_ENOMEM where an allocation failed, unless @may_survive, and 0 in the last run.
 * Returns how many runs failed an allocation.
 */
size_t starve_each(int (*work)(void *context), void *context, bool may_survive);

/* Runs an expression or a call without result of the code under test. */
#define STARVED(call)                                                                              \
    ({                                                                                             \
        starve_on();                                                                               \
        __typeof__(call) result_ = (call);                                                         \
        starve_off();                                                                              \
        result_;                                                                                   \
    })
#define STARVED_VOID(call)                                                                         \
    ({                                                                                             \
        starve_on();                                                                               \
        (call);                                                                                    \
        starve_off();                                                                              \
    })

#endif
