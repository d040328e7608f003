/* SPDX-License-Identifier: Apache-2.0 */
/* backup and restore: a copy of the home, and its way back (store/backup.h). */
#include "store/backup.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "keytool/keytool.h"

static void put_report(const struct keytool *k, const char *done,
                       const struct backup_report *report, const struct registry *registry)
{
    char taken[WHEN_SIZE];

    if (k->json) {
        (void)printf("{\"files\":%zu,\"databases\":%zu,\"bytes\":%" PRIu64 ",\"left_out\":%zu,"
                     "\"created\":%" PRId64 ",\"registry\":%" PRIu64 "}\n",
                     report->files, report->databases, report->bytes, report->left_out,
                     report->created_ms, registry_version(registry));
        return;
    }
    (void)printf("%s: %zu files and %zu databases, %" PRIu64 " bytes, of %s, registry %" PRIu64
                 "\n",
                 done, report->files, report->databases, report->bytes,
                 when(report->created_ms, taken), registry_version(registry));
}

int verb_backup(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    struct backup_report report = {0};
    CLEANUP(fd_close)
    int lock = -1;
    int r = home_lock(k, &lock, err); /* no key is half changed */

    if (r == 0)
        r = registry_current(k, &registry, err);
    if (r == 0)
        r = backup_make(k->home, arguments[0], moment_now().real_ms, &report, err);
    if (r < 0)
        return r;
    put_report(k, "backed up", &report, registry);
    if (report.left_out > 0)
        say(k, "%zu files of running components are left out: sessions, outboxes, what was read",
            report.left_out);
    say(k, "%s holds the keys of this home: keep it as you keep them", arguments[0]);
    return 0;
}

/* A later registry than the backup's takes its place: what the owner signs next then follows it. */
static int take_registry(struct keytool *k, struct registry **registry, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *later = NULL;
    CLEANUP(free_memory)
    char *path = home_path(k->home, "registry");
    int r;

    if (!path)
        return out_of_memory(err);
    r = registry_load_file(k->home, OWNER_NAME, registry_namespace(*registry), k->registry, &later,
                           err);
    if (r < 0)
        return r;
    if (registry_version(later) < registry_version(*registry))
        return aico_error_set(err, AICO_EREGISTRYOLD,
                              "%s: version %" PRIu64 ", but the backup has %" PRIu64, k->registry,
                              registry_version(later), registry_version(*registry));
    r = file_write(path, 0644, true, registry_document(later), err);
    if (r == 0)
        r = registry_keep(k->home, OWNER_NAME, later, err);
    if (r < 0)
        return r;
    registry_unref(registry);
    *registry = STEAL(later);
    return 0;
}

int verb_restore(struct keytool *k, char **arguments, int count UNUSED, struct aico_error *err)
{
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    struct backup_report report = {0};
    int r = backup_restore(arguments[0], k->home, &report, err);

    if (r == 0)
        r = registry_current(k, &registry, err);
    if (r == 0 && k->registry)
        r = take_registry(k, &registry, err);
    if (r < 0)
        return r;
    put_report(k, "restored", &report, registry);
    if (!k->registry)
        say(k,
            "if the owner signed a registry after %" PRIu64 ", components that have it say "
            "E_REGISTRY_OLD: take theirs (state/NAME/registry) with --registry",
            registry_version(registry));
    return 0;
}
