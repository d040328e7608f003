/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two times of the bus. State machines are given a struct moment and never ask for the time
 * themselves, so that the simulator owns it. Only runtime and programs call moment_now().
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define MOMENT_NEVER INT64_MAX

struct moment {
    int64_t real_ms; /* CLOCK_REALTIME, ms since 1970 UTC: goes into messages */
    int64_t boot_ms; /* CLOCK_BOOTTIME, ms: every timer and deadline */
};

struct moment moment_now(void);

#endif
