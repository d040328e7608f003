/* SPDX-License-Identifier: Apache-2.0 */
/* A home and a broker for one benchmark, gone when it ends. main() only. */
#ifndef CLI_BENCH_HOME_H
#define CLI_BENCH_HOME_H

#include "bench/bench.h"

#define BENCH_IDENTITY "bench-" /* a worker's identity is this and its name: bench-p1 */
#define BENCH_FILTER "bench/**" /* the rule of what publishers say to readers */

/* How the bus of its own is set up; zeroed: as it comes. */
struct bench_bus {
    const char *seal;        /* word of `aico-keytool rule set --seal`; NULL: group */
    const char *link;        /* "ipc", or "tcp" on the loopback; NULL: ipc */
    const char *io_threads;  /* of the broker, NULL: its default */
    const char *busy_poll;   /* us, of every component, NULL: its default */
    const char *busy_broker; /* the same of the broker */
};

struct bench_home {
    char folder[256];   /* holds it and the logs; "": none */
    char home[264];     /* $AICO_HOME */
    char endpoint[300]; /* of the broker, for clients */
    pid_t broker;       /* 0: none */
};

/*
 * Makes a home in $TMPDIR (/tmp) with an identity for every worker of @plan and a rule each for
 * what publishers say to readers and what these answer, by the aico-keytool beside this program,
 * and starts the aico-broker there.
 *
 * bench_home_close() is due in any case. 0, AICO_ESYSTEM, AICO_EINVAL, AICO_EUNREACHABLE.
 */
AICO_MUST_USE int bench_home_open(struct bench_home *home, const struct bench_plan *plan,
                                  const struct bench_bus *bus, struct aico_error *err);
/* Ends the broker and removes the folder. */
void bench_home_close(struct bench_home *home);

#endif
