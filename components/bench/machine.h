/* SPDX-License-Identifier: Apache-2.0 */
/* What a benchmark asks of the machine: places for processes, clocks, memory, and who else is busy.
 * Linux; any thread. */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <aico/error.h>

/* Where processes lie moves a round trip more than anything else, so it is part of the question. */
enum bench_place {
    BENCH_PLACE_KERNEL, /* as the kernel likes */
    BENCH_PLACE_ONE,    /* all on one core */
    BENCH_PLACE_BROKER, /* the broker on a core of its own, all others on the rest */
};

/* Puts the calling thread, and what it starts from now on, where a broker or another process
 * belongs. 0, AICO_ESYSTEM (there are too few cores for it). */
AICO_MUST_USE int machine_place(enum bench_place place, bool is_broker, struct aico_error *err);

int64_t machine_now_ns(void); /* CLOCK_MONOTONIC */
/* CPU seconds of a process with all its threads so far; 0 when it is not there. */
double machine_cpu_s(pid_t pid);
/* Context switches of all its threads so far. */
uint64_t machine_switches(pid_t pid);
/* Resident memory of a process in bytes; 0 when it is not there. */
uint64_t machine_memory(pid_t pid);
/* CPU seconds of everybody on this machine so far, and the number of its cores. */
double machine_busy_s(void);
unsigned machine_cores(void);

#endif
