/* SPDX-License-Identifier: Apache-2.0 */
/* Starts the processes of a run, keeps them in step, and adds up what they found. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/worker.h"

#define LOOK_MS 200      /* between two looks whether a process has died */
#define CONNECTING_MAX 8 /* at once: a handshake that waits for hundreds looks like none */

struct run {
    const struct bench_plan *plan;
    const struct bench_driver *driver;
    unsigned count; /* of workers */
    struct shared *shared;
    size_t shared_size;
    pid_t *pids;             /* 0: not there (any more) */
    int say[2];              /* worker to us */
    int gates[PHASES][2];    /* closed by us when all are there */
    struct bench_use broker; /* at PHASE_GO */
    uint64_t memory;         /* of the broker before the first connection */
    double busy_s, own_s;    /* CPU of everybody, and of us with our workers and the broker */
    int64_t go_ns;
};

/* --- processes -------------------------------------------------------------------------------- */

static void become_worker(const struct run *run, unsigned index)
{
    struct worker_task task = {
        .plan = run->plan,
        .driver = run->driver,
        .shared = run->shared,
        .me = &run->shared->workers[index],
        .say_fd = run->say[1],
        .gates = (const int(*)[2])run->gates,
    };

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)signal(SIGINT, SIG_IGN); /* who started us decides */
    (void)signal(SIGTERM, SIG_DFL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)close(run->say[0]);
    for (int i = 0; i < PHASES; i++)
        (void)close(run->gates[i][1]);
    worker_run(&task);
    _exit(task.me->code < 0 ? 1 : 0);
}

static int start_workers(struct run *run, struct aico_error *err)
{
    unsigned publishers = run->plan->publishers;
    unsigned busy = publishers + run->plan->readers;

    for (unsigned i = 0; i < run->count; i++) {
        struct worker *w = &run->shared->workers[i];
        pid_t pid;

        w->is_idle = i >= busy;
        w->is_reader = !w->is_idle && i >= publishers;
        w->index = w->is_idle ? i - busy : w->is_reader ? i - publishers : i;
        pid = fork();
        if (pid < 0)
            return aico_error_set(err, AICO_ESYSTEM, "starting a process: %s", strerror(errno));
        if (pid == 0)
            become_worker(run, i);
        run->pids[i] = pid;
    }
    return 0;
}

static void end_workers(struct run *run, bool is_forced)
{
    for (unsigned i = 0; i < run->count; i++)
        if (run->pids[i] > 0 && is_forced)
            (void)kill(run->pids[i], SIGKILL);
    for (unsigned i = 0; i < run->count; i++)
        if (run->pids[i] > 0)
            while (waitpid(run->pids[i], NULL, 0) < 0 && errno == EINTR)
                continue;
}

static int worker_error(const struct run *run, unsigned index, struct aico_error *err)
{
    const struct worker *w = &run->shared->workers[index];

    return aico_error_set(err, w->code, "%s %u: %s",
                          w->is_idle     ? "idle"
                          : w->is_reader ? "reader"
                                         : "publisher",
                          w->index + 1, w->text);
}

static int find_error(struct run *run, struct aico_error *err)
{
    for (unsigned i = 0; i < run->count; i++)
        if (run->shared->workers[i].code < 0)
            return worker_error(run, i, err);
    for (unsigned i = 0; i < run->count; i++) {
        int status;

        if (run->pids[i] <= 0 || waitpid(run->pids[i], &status, WNOHANG) != run->pids[i])
            continue;
        run->pids[i] = 0;
        if (run->shared->workers[i].code < 0)
            return worker_error(run, i, err);
        return aico_error_set(err, AICO_EINTERNAL, "a process of the benchmark died (%s %d)",
                              WIFSIGNALED(status) ? "signal" : "status",
                              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return 0;
}

/* Waits until every worker is at the next phase. */
static int gather(struct run *run, struct aico_error *err)
{
    struct pollfd fds[] = {{.fd = run->say[0], .events = POLLIN},
                           {.fd = run->plan->stop_fd, .events = POLLIN}};
    unsigned here = 0;

    while (here < run->count) {
        char bytes[64];
        ssize_t got;
        int r, ready = poll(fds, 2, LOOK_MS);

        if (ready > 0 && fds[1].revents)
            return aico_error_set(err, AICO_ECLOSED, "stopped");
        if (ready <= 0 || !fds[0].revents) {
            r = find_error(run, err);
            if (r < 0)
                return r;
            continue;
        }
        got = read(run->say[0], bytes,
                   run->count - here < sizeof(bytes) ? run->count - here : sizeof(bytes));
        if (got > 0 && memchr(bytes, WORKER_FAILED, (size_t)got))
            return find_error(run, err);
        if (got > 0)
            here += (unsigned)got;
    }
    return 0;
}

static void end_pipe(int fds[2])
{
    for (int i = 0; i < 2; i++) {
        if (fds[i] >= 0)
            (void)close(fds[i]);
        fds[i] = -1;
    }
}

/* --- measuring -------------------------------------------------------------------------------- */

static double own_cpu_s(const struct run *run)
{
    double sum = machine_cpu_s(getpid()) + machine_cpu_s(run->plan->broker);

    for (unsigned i = 0; i < run->count; i++)
        sum += machine_cpu_s(run->pids[i]);
    return sum;
}

static struct bench_use broker_use(const struct run *run)
{
    return (struct bench_use){.cpu_s = machine_cpu_s(run->plan->broker),
                              .switches = machine_switches(run->plan->broker)};
}

static void begin(struct run *run)
{
    run->broker = broker_use(run);
    run->own_s = own_cpu_s(run);
    run->busy_s = machine_busy_s();
    run->go_ns = machine_now_ns();
}

static void finish(const struct run *run, struct bench_result *result)
{
    double wall_s = (double)(machine_now_ns() - run->go_ns) / 1e9;
    double others_s = machine_busy_s() - run->busy_s - (own_cpu_s(run) - run->own_s);

    struct bench_use broker = broker_use(run);

    result->has_broker = run->plan->broker > 0;
    result->broker.cpu_s = broker.cpu_s - run->broker.cpu_s;
    result->broker.switches = broker.switches - run->broker.switches;
    if (wall_s > 0 && others_s > 0)
        result->others = others_s / (wall_s * machine_cores());
}

static void add_up(const struct run *run, struct bench_result *result)
{
    int64_t begin_ns = INT64_MAX, end_ns = 0;

    for (unsigned i = 0; i < run->count; i++) {
        const struct worker *w = &run->shared->workers[i];
        struct bench_use *use = w->is_reader ? &result->reader : &result->publisher;

        if (w->is_idle)
            continue;
        if (!w->is_reader && w->begin_ns < begin_ns)
            begin_ns = w->begin_ns;
        if (w->end_ns > end_ns)
            end_ns = w->end_ns;
        result->sent += w->sent;
        result->delivered += w->delivered;
        result->sealed += w->sealed;
        result->lost += w->lost;
        result->doubled += w->doubled;
        result->corrupted += w->corrupted;
        use->cpu_s += w->use.cpu_s;
        use->switches += w->use.switches;
        histogram_merge(&result->latency, &w->latency);
    }
    result->seconds = (double)(end_ns - begin_ns) / 1e9;
}

/* By how much the broker is larger than it was. */
static uint64_t grown(const struct run *run)
{
    uint64_t now = machine_memory(run->plan->broker);

    return now > run->memory ? now - run->memory : 0;
}

static int go_through(struct run *run, struct bench_result *result, struct aico_error *err)
{
    for (enum phase phase = PHASE_CONNECT; phase < PHASES; phase++) {
        int r = gather(run, err);

        if (r < 0)
            return r;
        if (phase == PHASE_CONNECT)
            run->memory = machine_memory(run->plan->broker);
        if (phase == PHASE_GO)
            begin(run);
        if (phase == PHASE_OVER)
            finish(run, result);
        if (phase == PHASE_GO && run->plan->mode == BENCH_IDLE && run->plan->broker > 0)
            result->memory_per_link = grown(run) / run->plan->count;
        end_pipe(run->gates[phase]);
    }
    add_up(run, result);
    return 0;
}

/* --- a whole run ------------------------------------------------------------------------------ */

static int make_room(struct run *run, struct aico_error *err)
{
    void *shared;

    for (int i = 0; i < PHASES; i++)
        run->gates[i][0] = run->gates[i][1] = -1;
    run->say[0] = run->say[1] = -1;
    run->count = run->plan->publishers + run->plan->readers +
                 (run->plan->idle + WORKER_IDLE_EACH - 1) / WORKER_IDLE_EACH;
    run->shared_size = sizeof(struct shared) + run->count * sizeof(struct worker);
    shared =
        mmap(NULL, run->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    run->shared = shared;
    if (sem_init(&run->shared->may_connect, 1, CONNECTING_MAX) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "a semaphore: %s", strerror(errno));
    run->pids = calloc(run->count, sizeof(*run->pids));
    if (!run->pids)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    for (int i = 0; i < PHASES; i++)
        if (pipe(run->gates[i]) < 0)
            return aico_error_set(err, AICO_ESYSTEM, "a pipe: %s", strerror(errno));
    return pipe(run->say) == 0 ? 0
                               : aico_error_set(err, AICO_ESYSTEM, "a pipe: %s", strerror(errno));
}

static void release(struct run *run)
{
    if (run->shared)
        (void)munmap(run->shared, run->shared_size);
    free(run->pids);
    end_pipe(run->say);
    for (int i = 0; i < PHASES; i++)
        end_pipe(run->gates[i]);
}

int bench_run(const struct bench_plan *plan, const struct bench_driver *driver,
              struct bench_result *ret_result, struct aico_error *err)
{
    struct run run = {.plan = plan, .driver = driver};
    int r = make_room(&run, err);

    memset(ret_result, 0, sizeof(*ret_result));
    if (r == 0)
        r = start_workers(&run, err);
    if (r == 0)
        r = go_through(&run, ret_result, err);
    if (run.pids)
        end_workers(&run, r < 0);
    release(&run);
    return r;
}
