/* SPDX-License-Identifier: Apache-2.0 */
/* Linux: affinities, CPU clocks of other processes, /proc. */
#include "bench/machine.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

int machine_place(enum bench_place place, bool is_broker, struct aico_error *err)
{
    cpu_set_t allowed, wanted;
    int first = -1;

    if (place == BENCH_PLACE_KERNEL)
        return 0;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "reading the cores: %s", strerror(errno));
    for (int i = 0; i < CPU_SETSIZE && first < 0; i++)
        if (CPU_ISSET(i, &allowed))
            first = i;
    if (place == BENCH_PLACE_BROKER && CPU_COUNT(&allowed) < 2)
        return aico_error_set(err, AICO_ESYSTEM, "--place broker needs two cores, there is one");

    CPU_ZERO(&wanted);
    CPU_SET(first, &wanted);
    if (place == BENCH_PLACE_BROKER && !is_broker)
        CPU_XOR(&wanted, &wanted, &allowed);
    if (sched_setaffinity(0, sizeof(wanted), &wanted) < 0)
        return aico_error_set(err, AICO_ESYSTEM, "choosing a core: %s", strerror(errno));
    return 0;
}

int64_t machine_now_ns(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

double machine_cpu_s(pid_t pid)
{
    struct timespec t = {0};
    clockid_t clock;

    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) < 0)
        return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Both lines of a thread's status: voluntary_ctxt_switches and nonvoluntary_ctxt_switches. */
static uint64_t switches_of(const char *path)
{
    static const char name[] = "voluntary_ctxt_switches:";
    FILE *file = fopen(path, "re");
    char line[256];
    uint64_t sum = 0;

    while (file && fgets(line, sizeof(line), file)) {
        const char *at = strstr(line, name);

        if (at)
            sum += strtoull(at + strlen(name), NULL, 10);
    }
    if (file)
        (void)fclose(file);
    return sum;
}

uint64_t machine_switches(pid_t pid)
{
    char path[320];
    struct dirent *entry;
    uint64_t sum = 0;
    DIR *tasks;

    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    tasks = pid > 0 ? opendir(path) : NULL;
    while (tasks && (entry = readdir(tasks)) != NULL) { // NOLINT(concurrency-mt-unsafe): ours alone
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%s/status", (int)pid, entry->d_name);
        if (entry->d_name[0] != '.')
            sum += switches_of(path);
    }
    if (tasks)
        (void)closedir(tasks);
    return sum;
}

uint64_t machine_memory(pid_t pid)
{
    char path[64];
    unsigned long long pages = 0;
    FILE *file;

    (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1) // NOLINT(cert-err34-c): the kernel wrote it
        pages = 0;
    (void)fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The first line of /proc/stat: user nice system idle iowait irq softirq steal, in ticks. */
double machine_busy_s(void)
{
    unsigned long long n[8] = {0};
    FILE *file = fopen("/proc/stat", "re");
    int fields;

    if (!file)
        return 0;
    // NOLINTNEXTLINE(cert-err34-c): the kernel wrote it
    fields = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &n[0], &n[1], &n[2], &n[3],
                    &n[4], &n[5], &n[6], &n[7]);
    (void)fclose(file);
    if (fields != 8)
        return 0;
    return (double)(n[0] + n[1] + n[2] + n[5] + n[6] + n[7]) / (double)sysconf(_SC_CLK_TCK);
}

unsigned machine_cores(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);

    return count > 0 ? (unsigned)count : 1;
}
