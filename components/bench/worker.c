/* SPDX-License-Identifier: Apache-2.0 */
/* What publishers and readers do. */
#include "bench/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "bench/payload.h"

#define TIMED_EVERY 16 /* at full speed the clock would take more than the message */
#define WARM_EVERY_MS 10
#define WARM_SHARE 16 /* more readers than so many take longer to hear of each other */
#define TOPIC_SIZE 32

struct job {
    const struct worker_task *task;
    const struct bench_plan *plan;
    struct worker *me;
    struct bench_link *link;
    struct payload_pattern pattern;
    uint8_t *room;  /* plan->size bytes */
    uint64_t *next; /* reader: the number each publisher sends next */
    bool *is_heard; /* reader: who was heard */
    unsigned heard;
    bool is_sealed;             /* what was received last */
    char (*topics)[TOPIC_SIZE]; /* publisher: where it publishes, in turn */
};

/* --- steps ------------------------------------------------------------------------------------ */

/* Tells that we are here and waits for all others; false when the run was given up. */
static bool meet(const struct worker_task *task, enum phase phase)
{
    char byte = WORKER_AT_PHASE;

    if (write(task->say_fd, &byte, 1) != 1)
        return false;
    while (read(task->gates[phase][0], &byte, 1) < 0)
        if (errno != EINTR)
            return false;
    return true;
}

static struct bench_use own_use(void)
{
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    return (struct bench_use){
        .cpu_s = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                 (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
        .switches = (uint64_t)usage.ru_nvcsw + (uint64_t)usage.ru_nivcsw,
    };
}

static void sleep_until(int64_t at_ns)
{
    struct timespec t = {.tv_sec = (time_t)(at_ns / 1000000000),
                         .tv_nsec = (long)(at_ns % 1000000000)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        continue;
}

static int publish(struct job *job, const char *topic, enum payload_kind kind, uint64_t number,
                   int64_t due_ns, struct aico_error *err)
{
    struct payload payload = {
        .publisher = job->me->index, .kind = kind, .number = number, .time_ns = (uint64_t)due_ns};

    payload_write(&job->pattern, &payload, job->room, job->plan->size);
    return job->task->driver->publish(job->link, topic, job->room, job->plan->size, err);
}

/* 0 with a sound message of @ret; 1: something was lost or changed, and is counted; a code. */
static int receive(struct job *job, int64_t timeout_ms, struct payload *ret, struct aico_error *err)
{
    struct bench_received got = {0};
    int r = job->task->driver->receive(job->link, timeout_ms, &got, err);

    if (r < 0)
        return r;
    if (!got.at)
        return 1;
    job->is_sealed = got.is_sealed;
    if (!payload_read(&job->pattern, got.at, got.size, job->plan->size, ret) ||
        ret->publisher >= job->plan->publishers) {
        job->me->corrupted++;
        return 1;
    }
    return 0;
}

/* --- before the start ------------------------------------------------------------------------- */

/* The two of a loaded run that send and receive as fast as it goes. */
static bool is_load(const struct job *job)
{
    return job->plan->mode == BENCH_LOADED && job->me->index == 1;
}

/* The two that ask and answer. */
static bool is_echo(const struct job *job)
{
    return job->plan->mode == BENCH_RTT || (job->plan->mode == BENCH_LOADED && job->me->index == 0);
}

static const char *topic_of(const struct job *job, uint64_t number)
{
    return job->topics[job->plan->topics > 1 ? number % job->plan->topics : 0];
}

static bool readers_are_warm(const struct job *job)
{
    return atomic_load(&job->task->shared->warm_readers) == job->plan->readers;
}

/* How often it is looked whether all are warm: hundreds must not take the broker's time by it. */
static int64_t warm_look_ms(const struct job *job)
{
    return (int64_t)WARM_EVERY_MS * (1 + job->plan->readers / WARM_SHARE);
}

static int late(const struct job *job, const char *what, struct aico_error *err)
{
    return aico_error_set(err, AICO_ETIMEOUT, "%s within %" PRId64 " ms", what,
                          job->plan->timeout_ms);
}

static int warm_publisher(struct job *job, struct aico_error *err)
{
    int64_t end_ns = machine_now_ns() + job->plan->timeout_ms * 1000000;
    int r = 0;

    for (uint64_t i = 0; r == 0 && !readers_are_warm(job); i++) {
        if (machine_now_ns() > end_ns)
            return late(job, "the readers did not hear the first messages", err);
        r = publish(job, topic_of(job, i), PAYLOAD_WARM, i, 0, err);
        if (i + 1 < job->plan->topics)
            continue;
        if (r == 0)
            r = job->task->driver->flush(job->link, err);
        sleep_until(machine_now_ns() + warm_look_ms(job) * 1000000);
    }
    return r;
}

/* Until every topic was heard. Goes on reading until the others are as far: a publisher must not
 * wait for room meanwhile. */
static int warm_reader(struct job *job, struct aico_error *err)
{
    unsigned all = is_load(job) ? 1 : job->plan->publishers;
    int64_t end_ns = machine_now_ns() + job->plan->timeout_ms * 1000000;

    while (!readers_are_warm(job)) {
        struct payload payload;
        int r = receive(job, warm_look_ms(job), &payload, err);

        if (r < 0 && r != AICO_ETIMEOUT)
            return r;
        if (machine_now_ns() > end_ns)
            return late(job, "not every publisher was heard", err);
        if (r != 0 || payload.number + 1 < job->plan->topics || job->is_heard[payload.publisher])
            continue;
        job->is_heard[payload.publisher] = true;
        if (++job->heard == all)
            (void)atomic_fetch_add(&job->task->shared->warm_readers, 1);
    }
    return 0;
}

/* --- work ------------------------------------------------------------------------------------- */

/* Latency: each message has a time at which it is due, and its delay counts from then, whoever was
 * late: a publisher that was held up must not hide it. */
static int run_publisher(struct job *job, struct aico_error *err)
{
    const struct bench_plan *plan = job->plan;
    double gap_ns = plan->rate > 0 ? 1e9 * plan->publishers / (double)plan->rate : 0;
    int64_t start_ns = machine_now_ns();
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < job->me->count; i++) {
        int64_t due_ns = start_ns + (int64_t)((double)i * gap_ns);

        if (plan->rate == 0)
            due_ns = i % TIMED_EVERY == 0 ? machine_now_ns() : 0;
        else if (machine_now_ns() < due_ns)
            sleep_until(due_ns);
        r = publish(job, topic_of(job, i), PAYLOAD_DATA, i, due_ns, err);
        job->me->sent += r == 0;
    }
    return r < 0 ? r : job->task->driver->flush(job->link, err);
}

/* How many messages publisher @index sends. */
static uint64_t share_of(const struct bench_plan *plan, unsigned index)
{
    return plan->count / plan->publishers + (index < plan->count % plan->publishers);
}

static void take(struct job *job, const struct payload *payload)
{
    struct worker *me = job->me;
    uint64_t *next = &job->next[payload->publisher];

    if (payload->number < *next) {
        me->doubled++;
        return;
    }
    me->lost += payload->number - *next;
    *next = payload->number + 1;
    me->delivered++;
    me->sealed += job->is_sealed;
    if (payload->time_ns > 0)
        histogram_add(&me->latency, (uint64_t)(machine_now_ns() - (int64_t)payload->time_ns));
}

/* Until the last message of every publisher. When nothing comes any more the rest is lost, and
 * the run with it: publishers may wait for us for ever. */
static int run_reader(struct job *job, struct aico_error *err)
{
    const struct bench_plan *plan = job->plan;
    struct worker *me = job->me;
    int r = 0;

    while (r >= 0 && me->delivered + me->lost < plan->count) {
        struct payload payload;

        r = receive(job, plan->timeout_ms, &payload, err);
        if (r == 0 && payload.kind == PAYLOAD_DATA)
            take(job, &payload);
    }
    for (unsigned i = 0; i < plan->publishers; i++)
        me->lost += share_of(plan, i) - job->next[i];
    if (r == AICO_ETIMEOUT)
        return aico_error_set(err, r,
                              "nothing came for %" PRId64 " ms, %" PRIu64 " of %" PRIu64
                              " messages are missing",
                              plan->timeout_ms, me->lost, plan->count);
    return r < 0 ? r : 0;
}

/* Receives until a message of @kind came. */
static int await(struct job *job, enum payload_kind kind, int64_t timeout_ms, struct payload *ret,
                 struct aico_error *err)
{
    int r;

    do
        r = receive(job, timeout_ms, ret, err);
    while (r == 1 || (r == 0 && ret->kind != kind));
    return r;
}

static int answer(struct job *job, const struct payload *payload, struct aico_error *err)
{
    return publish(job, BENCH_TOPIC_PONG, payload->kind, payload->number, (int64_t)payload->time_ns,
                   err);
}

/* The end that answers, until the other one has heard an answer. */
static int warm_echo(struct job *job, struct aico_error *err)
{
    int64_t end_ns = machine_now_ns() + job->plan->timeout_ms * 1000000;

    while (!readers_are_warm(job)) {
        struct payload payload;
        int r = receive(job, WARM_EVERY_MS, &payload, err);

        if (machine_now_ns() > end_ns)
            return late(job, "no question came through", err);
        if (r == 0)
            r = answer(job, &payload, err);
        if (r < 0 && r != AICO_ETIMEOUT)
            return r;
    }
    return 0;
}

static int run_echo(struct job *job, struct aico_error *err)
{
    while (job->me->delivered < job->plan->count) {
        struct payload payload = {0};
        int r = await(job, PAYLOAD_DATA, job->plan->timeout_ms, &payload, err);

        if (r == 0)
            r = answer(job, &payload, err);
        if (r < 0)
            return r;
        job->me->delivered++;
        job->me->sealed += job->is_sealed;
    }
    return 0;
}

static int warm_asker(struct job *job, struct aico_error *err)
{
    int64_t end_ns = machine_now_ns() + job->plan->timeout_ms * 1000000;
    int r = AICO_ETIMEOUT;

    for (uint64_t i = 0; r == AICO_ETIMEOUT; i++) {
        struct payload payload;

        if (machine_now_ns() > end_ns)
            return late(job, "no answer came back", err);
        r = publish(job, BENCH_TOPIC_PING, PAYLOAD_WARM, i, 0, err);
        if (r == 0)
            r = await(job, PAYLOAD_WARM, 5 * WARM_EVERY_MS, &payload, err);
    }
    (void)atomic_fetch_add(&job->task->shared->warm_readers, 1);
    return r;
}

static int run_asker(struct job *job, struct aico_error *err)
{
    struct worker *me = job->me;

    for (uint64_t i = 0; i < me->count; i++) {
        int64_t start_ns = machine_now_ns(), end_ns;
        struct payload payload = {0};
        int r = publish(job, BENCH_TOPIC_PING, PAYLOAD_DATA, i, start_ns, err);

        if (r == 0)
            r = await(job, PAYLOAD_DATA, job->plan->timeout_ms, &payload, err);
        if (r == AICO_ETIMEOUT)
            return aico_error_set(err, r,
                                  "round trip %" PRIu64 " did not come back in %" PRId64 " ms",
                                  i + 1, job->plan->timeout_ms);
        if (r < 0)
            return r;
        end_ns = machine_now_ns();
        me->lost += payload.number > i;
        me->doubled += payload.number < i;
        me->sent++;
        histogram_add(&me->latency, (uint64_t)(end_ns - start_ns));
    }
    atomic_store(&job->task->shared->is_asked, true);
    return 0;
}

/* As fast as it goes, until the others have what they need. */
static int run_load(struct job *job, struct aico_error *err)
{
    int r = 0;

    /* One at least, which the other end waits for. */
    for (uint64_t i = 0; r == 0 && (i == 0 || !atomic_load(&job->task->shared->is_asked)); i++)
        r = publish(job, topic_of(job, i), PAYLOAD_DATA, i, 0, err);
    atomic_store(&job->task->shared->is_unloaded, true);
    return r;
}

static int run_drain(struct job *job, struct aico_error *err)
{
    int64_t end_ns = 0;

    while (!atomic_load(&job->task->shared->is_unloaded) || job->me->delivered == 0) {
        struct payload payload;
        int r = receive(job, WARM_EVERY_MS, &payload, err);

        if (r < 0 && r != AICO_ETIMEOUT)
            return r;
        if (end_ns == 0 && atomic_load(&job->task->shared->is_unloaded))
            end_ns = machine_now_ns() + job->plan->timeout_ms * 1000000;
        if (end_ns > 0 && machine_now_ns() > end_ns)
            return late(job, "nothing of the load came", err);
        if (r == 0 && payload.kind == PAYLOAD_DATA) {
            job->me->delivered++;
            job->me->sealed += job->is_sealed;
        }
    }
    return 0;
}

static int run_connect(struct job *job, struct aico_error *err)
{
    const struct bench_driver *driver = job->task->driver;
    char name[BENCH_NAME_SIZE];

    bench_name(job->plan, job->me->index, name);
    for (uint64_t i = 0; i < job->me->count; i++) {
        int64_t start_ns = machine_now_ns();
        int r = driver->open(driver->context, name, &job->link, err);

        if (r < 0)
            return r;
        histogram_add(&job->me->latency, (uint64_t)(machine_now_ns() - start_ns));
        driver->close(&job->link);
        job->me->sent++;
    }
    return 0;
}

/* --- a whole worker --------------------------------------------------------------------------- */

static int name_topics(struct job *job, struct aico_error *err)
{
    uint64_t count = job->plan->topics > 1 ? job->plan->topics : 1;

    job->topics = malloc(count * sizeof(*job->topics));
    if (!job->topics)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    for (uint64_t i = 0; i < count; i++)
        (void)snprintf(job->topics[i], TOPIC_SIZE,
                       count == 1 ? "bench/data/%u" : "bench/data/%u-%u", job->me->index,
                       (unsigned)i);
    return 0;
}

static int prepare(struct job *job, struct aico_error *err)
{
    const struct bench_plan *plan = job->plan;
    int r = name_topics(job, err);

    if (r < 0)
        return r;

    job->room = malloc(plan->size);
    job->next = calloc(plan->publishers, sizeof(*job->next));
    job->is_heard = calloc(plan->publishers, sizeof(*job->is_heard));
    if (!job->room || !job->next || !job->is_heard ||
        payload_pattern_init(&job->pattern, plan->size) < 0)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    job->me->count = job->me->is_reader || job->me->is_idle ? 0 : share_of(plan, job->me->index);
    if (plan->mode == BENCH_LOADED)
        job->me->count = plan->count;
    return machine_place(plan->place, false, err);
}

/* Filters that match nothing, before the one that does. */
static int subscribe_all(struct job *job, struct aico_error *err)
{
    const struct bench_driver *driver = job->task->driver;
    char filter[TOPIC_SIZE];
    int r = 0;

    for (unsigned i = 1; r == 0 && i < job->plan->filters; i++) {
        (void)snprintf(filter, sizeof(filter), BENCH_TOPIC_NONE, i);
        r = driver->subscribe(job->link, filter, err);
    }
    return r < 0 ? r : driver->subscribe(job->link, BENCH_TOPIC_ALL, err);
}

/* Sleeps until it is our turn: hundreds that look again and again leave the broker no time. */
static void connect_begin(struct shared *shared)
{
    while (sem_wait(&shared->may_connect) < 0)
        if (errno != EINTR)
            return;
}

/* Connections that do nothing, from the one named @first on, held to the end of the process. */
static int hold_links(struct job *job, unsigned first, unsigned count, struct aico_error *err)
{
    const struct bench_driver *driver = job->task->driver;

    for (unsigned i = 0; i < count; i++) {
        struct bench_link *link = NULL;
        char name[BENCH_NAME_SIZE];
        int r;

        bench_name(job->plan, first + i, name);
        r = driver->open(driver->context, name, &link, err);
        if (r < 0)
            return r;
        job->me->sent++;
    }
    return 0;
}

/* Those beside the work: the last worker has the rest. */
static int connect_idle(struct job *job, struct aico_error *err)
{
    const struct bench_plan *plan = job->plan;
    unsigned before = job->me->index * WORKER_IDLE_EACH, left = plan->idle - before;

    return hold_links(job, plan->publishers + plan->readers + before,
                      left < WORKER_IDLE_EACH ? left : WORKER_IDLE_EACH, err);
}

static int connect_link(struct job *job, struct aico_error *err)
{
    const struct bench_driver *driver = job->task->driver;
    bool is_rtt = is_echo(job), is_reader = job->me->is_reader;
    char name[BENCH_NAME_SIZE];
    int r;

    if (job->plan->mode >= BENCH_CONNECT)
        return 0;
    if (job->me->is_idle)
        return connect_idle(job, err);
    bench_name(job->plan, job->me->index + (is_reader ? job->plan->publishers : 0), name);
    r = driver->open(driver->context, name, &job->link, err);
    if (r == 0 && is_reader)
        r = is_rtt ? driver->subscribe(job->link, BENCH_TOPIC_PING, err) : subscribe_all(job, err);
    else if (r == 0 && is_rtt)
        r = driver->subscribe(job->link, BENCH_TOPIC_PONG, err);
    return r;
}

static int warm_store(struct job *job, struct aico_error *err)
{
    int r = publish(job, topic_of(job, 0), PAYLOAD_WARM, 0, 0, err);

    return r < 0 ? r : job->task->driver->flush(job->link, err);
}

static int warm_up(struct job *job, struct aico_error *err)
{
    if (job->me->is_idle)
        return 0;
    if (is_echo(job))
        return job->me->is_reader ? warm_echo(job, err) : warm_asker(job, err);
    switch (job->plan->mode) {
    case BENCH_STORED:
        return warm_store(job, err);
    case BENCH_IDLE:
        return hold_links(job, 0, (unsigned)job->plan->count, err);
    case BENCH_CONNECT:
        return 0;
    default:
        return job->me->is_reader ? warm_reader(job, err) : warm_publisher(job, err);
    }
}

static int work(struct job *job, struct aico_error *err)
{
    if (job->me->is_idle)
        return 0;
    if (is_echo(job))
        return job->me->is_reader ? run_echo(job, err) : run_asker(job, err);
    if (is_load(job))
        return job->me->is_reader ? run_drain(job, err) : run_load(job, err);
    switch (job->plan->mode) {
    case BENCH_CONNECT:
        return run_connect(job, err);
    case BENCH_IDLE:
        return 0;
    default:
        return job->me->is_reader ? run_reader(job, err) : run_publisher(job, err);
    }
}

static int measure(struct job *job, struct aico_error *err)
{
    struct worker *me = job->me;
    struct bench_use before = own_use(), after;
    int r;

    me->corrupted = 0;
    me->begin_ns = machine_now_ns();
    me->end_ns = 0;
    r = work(job, err);
    if (me->end_ns == 0)
        me->end_ns = machine_now_ns();
    after = own_use();
    me->use.cpu_s = after.cpu_s - before.cpu_s;
    me->use.switches = after.switches - before.switches;
    return r;
}

static int live(struct job *job, struct aico_error *err)
{
    int r = prepare(job, err);

    if (r < 0 || !meet(job->task, PHASE_CONNECT))
        return r;
    connect_begin(job->task->shared);
    r = connect_link(job, err);
    (void)sem_post(&job->task->shared->may_connect);
    if (r < 0 || !meet(job->task, PHASE_WARM))
        return r;
    r = warm_up(job, err);
    if (r < 0 || !meet(job->task, PHASE_GO))
        return r;
    r = measure(job, err);
    if (r == 0)
        (void)meet(job->task, PHASE_OVER);
    return r;
}

void worker_run(const struct worker_task *task)
{
    struct job job = {.task = task, .plan = task->plan, .me = task->me};
    struct aico_error err = {0};
    char byte = WORKER_FAILED;
    int r;

    (void)prctl(PR_SET_TIMERSLACK, 1000UL);
    r = live(&job, &err);
    if (r < 0) {
        task->me->code = r;
        (void)snprintf(task->me->text, sizeof(task->me->text), "%s",
                       *err.text ? err.text : aico_error_string(r));
        (void)!write(task->say_fd, &byte, 1);
    }
    if (job.link)
        task->driver->close(&job.link);
    payload_pattern_deinit(&job.pattern);
    free(job.topics);
    free(job.room);
    free(job.next);
    free(job.is_heard);
}
