/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the system's clocks for runtime and programs. Any thread. */
#include <time.h>

#include "base/clock.h"

static int64_t read_ms(clockid_t clock)
{
    struct timespec t = {0};

    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct moment moment_now(void)
{
    return (struct moment){read_ms(CLOCK_REALTIME), read_ms(CLOCK_BOOTTIME)};
}
