/* SPDX-License-Identifier: Apache-2.0 */
/* For LD_PRELOAD: a process whose calendar is TEST_SKEW_S seconds ahead (or behind, with a minus).
 * Other clocks go as they go. */
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *to) __attribute__((visibility("default")));

int clock_gettime(clockid_t id, struct timespec *to)
{
    static int (*real)(clockid_t, struct timespec *);
    const char *skew = getenv("TEST_SKEW_S");
    int r;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    r = real(id, to);
    if (r == 0 && id == CLOCK_REALTIME && skew)
        to->tv_sec += strtol(skew, NULL, 10);
    return r;
}
