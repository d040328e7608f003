/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Benchmarks of a message bus: publishers and readers as processes of their own over any bus that a
 * driver speaks, so that ours and others are measured by the same code.
 *
 *   plan.c     what is to be measured, from options
 *   run.c      starts the processes, keeps them in step, collects
 *   worker.c   what each of them does
 *   report.c   table and JSON
 *   svg.c      a picture of latency by rate
 *
 * A run: all connect and subscribe; publishers send until every reader has heard each of them (keys
 * and routes are there then); all start together; what was lost, doubled or changed is counted.
 * main() only; the process must not have opened a client or started a thread before bench_run().
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <aico/error.h>

#include "bench/histogram.h"
#include "bench/machine.h"

#define BENCH_WORKERS_MAX 1024

enum bench_mode {
    BENCH_THROUGHPUT, /* as fast as it goes; without loss */
    BENCH_FANOUT,     /* the same with 8 readers unless told otherwise */
    BENCH_RTT,        /* one message outstanding, there and back */
    BENCH_LATENCY,    /* one way, at a rate */
    BENCH_LOADED,     /* round trips of two while two others send as fast as it goes */
    BENCH_STORED,     /* published and acknowledged when stored */
    BENCH_CONNECT,    /* connections opened and closed */
    BENCH_IDLE,       /* memory of the broker per connection that does nothing */
};

struct bench_plan {
    enum bench_mode mode;
    uint64_t size;  /* bytes of a message */
    uint64_t count; /* messages of all publishers together; rtt: round trips; connections */
    unsigned publishers, readers;
    unsigned idle;    /* connections beside them that do nothing */
    uint64_t rate;    /* latency: messages/s of all publishers together */
    uint64_t topics;  /* of each publisher, in turn */
    uint64_t filters; /* of each reader; all but one match nothing */
    enum bench_place place;
    int64_t timeout_ms; /* nothing arrives for so long: the rest is lost */
    pid_t broker;       /* 0: not ours, nothing is known of its CPU and memory */
    int stop_fd;        /* readable: end at once; -1 */
};

/* A bus. Functions run in the worker processes; 0 or a negative code with the cause in @err. */
struct bench_link; /* a driver's own */
struct bench_received {
    const void *at; /* borrowed until the next receive; NULL: not a message */
    size_t size;
    bool is_sealed; /* end to end: the broker could not read it */
};
struct bench_driver {
    void *context; /* handed to open */
    /* @name: unique among the workers of a run: "p1", "r3"... */
    int (*open)(void *context, const char *name, struct bench_link **ret_link,
                struct aico_error *err);
    /* @topic: BENCH_TOPIC_ALL or one by name; levels split by '/', '*' stands for one level. */
    int (*subscribe)(struct bench_link *link, const char *topic, struct aico_error *err);
    /* Waits for room. */
    int (*publish)(struct bench_link *link, const char *topic, const void *at, size_t size,
                   struct aico_error *err);
    /* All that was published has been handed to the broker. */
    int (*flush)(struct bench_link *link, struct aico_error *err);
    /* AICO_ETIMEOUT: nothing came. */
    int (*receive)(struct bench_link *link, int64_t timeout_ms, struct bench_received *ret,
                   struct aico_error *err);
    void (*close)(struct bench_link **link);
};
#define BENCH_TOPIC_ALL "bench/data/*"
#define BENCH_TOPIC_NONE "bench/none/%u" /* nobody publishes there */
#define BENCH_TOPIC_PING "bench/ping"
#define BENCH_TOPIC_PONG "bench/pong"

/* What one kind of process used, all of them together. */
struct bench_use {
    double cpu_s;
    uint64_t switches; /* context switches */
};

struct bench_result {
    uint64_t sent, delivered; /* connect: connections; idle: connections */
    uint64_t sealed;          /* of those delivered */
    uint64_t lost, doubled, corrupted;
    double seconds;
    struct bench_use publisher, reader, broker;
    bool has_broker;          /* it is ours to look at */
    uint64_t memory_per_link; /* idle: bytes of the broker */
    double others;            /* share of all cores that others took meanwhile, 0..1 */
    struct histogram latency; /* ns */
};

/* --- plan.c --- */

enum bench_option {
    BENCH_OPTION_SIZE,
    BENCH_OPTION_COUNT,
    BENCH_OPTION_READERS,
    BENCH_OPTION_PUBLISHERS,
    BENCH_OPTION_IDLE,
    BENCH_OPTION_RATE,
    BENCH_OPTION_PLACE,
    BENCH_OPTION_TOPICS,
    BENCH_OPTION_FILTERS,
};

/* Nothing given: everything 0. */
AICO_MUST_USE int bench_plan_take(struct bench_plan *plan, enum bench_option option,
                                  const char *value, struct aico_error *err);
/* Names the mode, fills in what was not given, and checks. AICO_EINVAL. */
AICO_MUST_USE int bench_plan_finish(struct bench_plan *plan, const char *mode,
                                    struct aico_error *err);
const char *bench_mode_name(enum bench_mode mode);
const char *bench_place_name(enum bench_place place);
/* How many connections of different names the run makes, and the name of each ("p1"..., then
 * "r1"..., then "i1"...). */
#define BENCH_NAME_SIZE 16
unsigned bench_name_count(const struct bench_plan *plan);
void bench_name(const struct bench_plan *plan, unsigned index, char name[BENCH_NAME_SIZE]);

/* --- run.c --- */

/*
 * Runs @plan over @driver.
 *
 * @ret_result  large; heap or static memory
 *
 * 0, also when messages were lost (see the result); the first error of a worker, its name in @err;
 * AICO_EINTERNAL when one died; AICO_ECLOSED when it was stopped; AICO_ESYSTEM.
 */
AICO_MUST_USE int bench_run(const struct bench_plan *plan, const struct bench_driver *driver,
                            struct bench_result *ret_result, struct aico_error *err);

/* --- report.c --- */

struct bench_label {
    const char *bus;  /* "aico", "nats"... */
    const char *seal; /* the rule's word for it: "group", "none" */
    const char *link; /* "ipc", "tcp" */
};
/* Lost, doubled or changed messages: such a run proves nothing. */
bool bench_result_is_whole(const struct bench_result *result);
void bench_print_json(const struct bench_plan *plan, const struct bench_label *label,
                      const struct bench_result *result, FILE *to);
void bench_print_table(const struct bench_plan *plan, const struct bench_label *label,
                       const struct bench_result *result, FILE *to);

/* --- svg.c --- */

struct bench_point {
    double rate; /* messages/s */
    double p50_us, p99_us, p999_us;
};
/* A picture of latency by rate, both axes logarithmic. 0 or AICO_ESYSTEM. */
AICO_MUST_USE int bench_write_svg(const char *path, const char *title,
                                  const struct bench_point *points, size_t count,
                                  struct aico_error *err);

#endif
