/* SPDX-License-Identifier: Apache-2.0 */
/* The doctor's round through what the system grants: descriptors, locked memory, disk. */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/statvfs.h>

#include "base/cleanup.h"
#include "runtime/doctor.h"

#define CHECK "limits"
#define DESCRIPTORS_NEEDED 64
#define LOCKED_NEEDED (64 * 1024) /* bytes; what a process holds of secrets at least */
#define DISK_NEEDED (1024 * 1024)
#define DISK_WANTED (64 * 1024 * 1024)

static void look_at_rlimits(struct doctor *d)
{
    static const struct {
        const char *subject, *cause, *repair;
        int resource;
        rlim_t needed;
        enum aico_finding_level level;
    } limits[] = {
        {"open files", "a component needs about 64 descriptors, we may open", "ulimit -Sn 1024",
         RLIMIT_NOFILE, DESCRIPTORS_NEEDED, AICO_FINDING_ERROR},
        {"locked memory", "secrets may be written to swap: bytes that may be locked",
         "ulimit -Sl \"$(ulimit -Hl)\"", RLIMIT_MEMLOCK, LOCKED_NEEDED, AICO_FINDING_WARNING},
    };

    for (size_t i = 0; i < COUNT_OF(limits); i++) {
        struct rlimit limit;

        if (getrlimit(limits[i].resource, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY ||
            limit.rlim_cur >= limits[i].needed)
            continue;
        doctor_find(d,
                    &(struct aico_finding){.level = limits[i].level,
                                           .check = CHECK,
                                           .subject = limits[i].subject,
                                           .code = AICO_ELIMIT},
                    doctor_command(d, limits[i].repair), "%s %" PRIu64, limits[i].cause,
                    (uint64_t)limit.rlim_cur);
    }
}

static void look_at_disk(struct doctor *d)
{
    struct statvfs fs;
    uint64_t left;

    if (statvfs(d->home, &fs) < 0)
        return;
    left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (left >= DISK_WANTED && (fs.f_files == 0 || fs.f_favail >= 64))
        return;
    doctor_find(
        d,
        &(struct aico_finding){.level = left < DISK_NEEDED || (fs.f_files > 0 && fs.f_favail == 0)
                                            ? AICO_FINDING_ERROR
                                            : AICO_FINDING_WARNING,
                               .check = CHECK,
                               .code = AICO_ESYSTEM},
        NULL, "%" PRIu64 " KiB and %" PRIu64 " files are left on its disk", left / 1024,
        (uint64_t)fs.f_favail);
}

/* The broker may have fewer descriptors than it promises connections. */
static void look_at_broker_process(struct doctor *d)
{
    int64_t process = doctor_broker_process(d);
    CLEANUP(file_close)
    FILE *file = NULL;
    char path[64], line[256];
    long long soft = -1;

    if (process <= 0 || !d->config)
        return;
    (void)snprintf(path, sizeof(path), "/proc/%" PRId64 "/limits", process);
    file = fopen(path, "re");
    while (file && soft < 0 && fgets(line, sizeof(line), file))
        (void)sscanf(line, "Max open files %lld", &soft);
    if (soft < 0 || soft >= d->config->max_connections)
        return;
    doctor_find(
        d,
        &(struct aico_finding){
            .level = AICO_FINDING_NOTE, .check = CHECK, .subject = "broker", .code = AICO_ELIMIT},
        NULL,
        "max_connections is %" PRId64 ", but the broker may open %lld files; start it with "
        "a higher ulimit -n, or lower the setting",
        d->config->max_connections, soft);
}

void doctor_look_at_limits(struct doctor *d)
{
    size_t before = d->count;

    look_at_rlimits(d);
    look_at_disk(d);
    look_at_broker_process(d);
    if (d->count == before)
        doctor_ok(d, CHECK, NULL, "descriptors, locked memory and disk suffice");
}
