/* SPDX-License-Identifier: Apache-2.0 */
/* One process of a benchmark, and the memory it shares with the one that started it. */
#ifndef BENCH_WORKER_H
#define BENCH_WORKER_H

#include <semaphore.h>
#include <stdatomic.h>

#include "bench/bench.h"

/* All wait for each other before each; what lies between PHASE_GO and PHASE_OVER is measured. */
enum phase {
    PHASE_CONNECT, /* nobody is connected */
    PHASE_WARM,    /* all are connected and subscribed */
    PHASE_GO,      /* every reader has heard every publisher */
    PHASE_OVER,    /* all is done */
    PHASES
};

#define WORKER_IDLE_EACH 100 /* connections beside the work that one process holds */

struct worker {
    bool is_reader, is_idle; /* neither: a publisher */
    unsigned index;          /* among those of its kind */
    uint64_t count;          /* publisher: messages to send */

    /* What became of it; read when the process has said that it is done. */
    int code;
    char text[496];
    uint64_t sent, delivered, sealed, lost, doubled, corrupted;
    int64_t begin_ns, end_ns;
    struct bench_use use;
    struct histogram latency;
};

struct shared {
    atomic_uint warm_readers; /* readers that have heard every publisher */
    sem_t may_connect;        /* so many more may connect now */
    atomic_bool is_asked;     /* loaded: every question was answered */
    atomic_bool is_unloaded;  /* loaded: the load has stopped */
    struct worker workers[];
};

struct worker_task {
    const struct bench_plan *plan;
    const struct bench_driver *driver;
    struct shared *shared;
    struct worker *me;
    int say_fd;            /* a byte of ours: we are at the next phase, or have failed */
    const int (*gates)[2]; /* pipes, one a phase: its end lets all through who wait there */
};

#define WORKER_AT_PHASE 'p'
#define WORKER_FAILED 'f'

/* Runs to the end; the process must end then. */
void worker_run(const struct worker_task *task);

#endif
