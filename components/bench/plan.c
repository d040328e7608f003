/* SPDX-License-Identifier: Apache-2.0 */
/* What is to be measured: options, defaults, limits. */
#include <inttypes.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/payload.h"
#include "common/text.h"

#define SIZE_MAX_BYTES ((uint64_t)16 * 1024 * 1024)
#define COUNT_MAX ((uint64_t)1000 * 1000 * 1000)
#define TOPICS_MAX ((uint64_t)1000 * 1000)
#define FILTERS_MAX ((uint64_t)100 * 1000)
#define IDLE_MAX ((uint64_t)5000) /* a registry holds that many components */
#define RATE_MAX ((uint64_t)10 * 1000 * 1000)

/* The defaults of each mode: a run of a few seconds. */
static const struct mode {
    const char *name;
    uint64_t size, count;
    unsigned publishers, readers;
    uint64_t rate;
} modes[] = {
    [BENCH_THROUGHPUT] = {"throughput", 64, 1000000, 1, 1, 0},
    [BENCH_FANOUT] = {"fanout", 64, 500000, 1, 8, 0},
    [BENCH_RTT] = {"rtt", 64, 10000, 1, 1, 0},
    [BENCH_LATENCY] = {"latency", 64, 50000, 1, 4, 10000},
    [BENCH_LOADED] = {"loaded", 64, 5000, 2, 2, 0},
    [BENCH_STORED] = {"stored", 1024, 20000, 1, 0, 0},
    [BENCH_CONNECT] = {"connect", PAYLOAD_SIZE_MIN, 200, 1, 0, 0},
    [BENCH_IDLE] = {"idle", PAYLOAD_SIZE_MIN, 100, 1, 0, 0},
};
#define MODES (sizeof(modes) / sizeof(modes[0]))

static const char *const places[] = {
    [BENCH_PLACE_KERNEL] = "kernel",
    [BENCH_PLACE_ONE] = "one",
    [BENCH_PLACE_BROKER] = "broker",
};

const char *bench_mode_name(enum bench_mode mode)
{
    return modes[mode].name;
}

const char *bench_place_name(enum bench_place place)
{
    return places[place];
}

static int take_place(struct bench_plan *plan, const char *value, struct aico_error *err)
{
    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        if (strcmp(value, places[i]) == 0) {
            plan->place = (enum bench_place)i;
            return 0;
        }
    return aico_error_set(err, AICO_EINVAL, "--place: \"%.40s\" is unknown; kernel, one or broker",
                          value);
}

static int take_number(const char *name, const char *value, uint64_t max, uint64_t *ret,
                       struct aico_error *err)
{
    if (text_number(value, 1, max, ret))
        return 0;
    return aico_error_set(err, AICO_EINVAL, "--%s: \"%.40s\" is no number from 1 to %" PRIu64, name,
                          value, max);
}

int bench_plan_take(struct bench_plan *plan, enum bench_option option, const char *value,
                    struct aico_error *err)
{
    uint64_t number = 0;
    int r = 0;

    switch (option) {
    case BENCH_OPTION_SIZE:
        if (text_size(value, PAYLOAD_SIZE_MIN, SIZE_MAX_BYTES, &plan->size))
            return 0;
        return aico_error_set(err, AICO_EINVAL,
                              "--size: \"%.40s\" is no size from %d (number, time and check of a "
                              "message) to 16MiB",
                              value, PAYLOAD_SIZE_MIN);
    case BENCH_OPTION_COUNT:
        return take_number("count", value, COUNT_MAX, &plan->count, err);
    case BENCH_OPTION_RATE:
        return take_number("rate", value, RATE_MAX, &plan->rate, err);
    case BENCH_OPTION_READERS:
        r = take_number("readers", value, BENCH_WORKERS_MAX / 2, &number, err);
        plan->readers = (unsigned)number;
        return r;
    case BENCH_OPTION_PUBLISHERS:
        r = take_number("publishers", value, BENCH_WORKERS_MAX / 2, &number, err);
        plan->publishers = (unsigned)number;
        return r;
    case BENCH_OPTION_IDLE:
        r = take_number("idle", value, IDLE_MAX, &number, err);
        plan->idle = (unsigned)number;
        return r;
    case BENCH_OPTION_TOPICS:
        return take_number("topics", value, TOPICS_MAX, &plan->topics, err);
    case BENCH_OPTION_FILTERS:
        return take_number("filters", value, FILTERS_MAX, &plan->filters, err);
    case BENCH_OPTION_PLACE:
        return take_place(plan, value, err);
    }
    return AICO_EINTERNAL;
}

static bool is_echo(const struct bench_plan *plan)
{
    return plan->mode == BENCH_RTT || plan->mode == BENCH_LOADED;
}

/* An option that a mode would ignore is a mistake. */
static int check(const struct bench_plan *plan, struct aico_error *err)
{
    const char *name = bench_mode_name(plan->mode);

    if (plan->rate > 0 && plan->mode != BENCH_LATENCY)
        return aico_error_set(err, AICO_EINVAL, "--rate belongs to latency, not to %s", name);
    if (is_echo(plan) && (plan->publishers > 0 || plan->readers > 0))
        return aico_error_set(err, AICO_EINVAL, "%s is between two: no --publishers, --readers",
                              name);
    if (plan->topics + plan->filters > 0 && (is_echo(plan) || plan->mode > BENCH_LATENCY))
        return aico_error_set(err, AICO_EINVAL,
                              "--topics and --filters belong to throughput, fanout and latency");
    if (plan->mode == BENCH_STORED && plan->readers > 0)
        return aico_error_set(err, AICO_EINVAL, "stored: nobody reads, no --readers");
    if (plan->mode >= BENCH_CONNECT && (plan->readers > 0 || plan->size > 0))
        return aico_error_set(err, AICO_EINVAL, "%s sends nothing: no --readers, --size", name);
    if (plan->idle > 0 && plan->mode > BENCH_LATENCY)
        return aico_error_set(err, AICO_EINVAL,
                              "--idle belongs to throughput, fanout, rtt and latency");
    if (plan->mode == BENCH_IDLE && plan->publishers > 0)
        return aico_error_set(err, AICO_EINVAL, "idle: --count says how many connections");
    if (plan->mode == BENCH_IDLE && plan->count > BENCH_WORKERS_MAX)
        return aico_error_set(err, AICO_EINVAL, "idle: --count is at most %d", BENCH_WORKERS_MAX);
    return 0;
}

int bench_plan_finish(struct bench_plan *plan, const char *mode, struct aico_error *err)
{
    const struct mode *m = NULL;
    int r;

    for (size_t i = 0; i < MODES; i++)
        if (strcmp(mode, modes[i].name) == 0) {
            m = &modes[i];
            plan->mode = (enum bench_mode)i;
        }
    if (!m)
        return aico_error_set(err, AICO_EINVAL,
                              "\"%.40s\" is unknown; throughput, fanout, rtt, latency, loaded, "
                              "stored, connect or idle",
                              mode);
    r = check(plan, err);
    if (r < 0)
        return r;
    plan->size = plan->size > 0 ? plan->size : m->size;
    plan->count = plan->count > 0 ? plan->count : m->count;
    plan->publishers = plan->publishers > 0 ? plan->publishers : m->publishers;
    plan->readers = plan->readers > 0 ? plan->readers : m->readers;
    plan->rate = plan->rate > 0 ? plan->rate : m->rate;
    plan->topics = plan->topics > 0 ? plan->topics : 1;
    plan->filters = plan->filters > 0 ? plan->filters : 1;
    if (plan->count < plan->publishers)
        return aico_error_set(err, AICO_EINVAL, "--count: fewer messages than publishers");
    return 0;
}

unsigned bench_name_count(const struct bench_plan *plan)
{
    return plan->mode == BENCH_IDLE ? (unsigned)plan->count
                                    : plan->publishers + plan->readers + plan->idle;
}

void bench_name(const struct bench_plan *plan, unsigned index, char name[BENCH_NAME_SIZE])
{
    unsigned firsts[] = {0, plan->publishers, plan->publishers + plan->readers};
    int kind = 0;

    while (plan->mode < BENCH_CONNECT && kind < 2 && index >= firsts[kind + 1])
        kind++;
    (void)snprintf(name, BENCH_NAME_SIZE, "%c%u", "pri"[kind], 1 + index - firsts[kind]);
}
