/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor's round through what the programs keep: the message store, ratchets and the outbox of
 * a component, the audit log.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "runtime/doctor.h"
#include "store/audit_log.h"
#include "store/database_check.h"
#include "store/file.h"

#define CHECK "state"

/* --- databases ------------------------------------------------------------------------------ */

struct kept_file {
    const char *who; /* state/WHO/FILE */
    const char *file;
    uint32_t application;
    int code;         /* what a damaged one is called */
    const char *loss; /* what moving it away costs */
};

/* With what SQLite keeps beside it, which belongs to the damaged one. */
static char *move_away(struct doctor *d, const char *path)
{
    return doctor_command(d,
                          "for end in '' -wal -shm -journal; do [ ! -e %q$end ] || mv %q$end "
                          "%q$end.damaged; done",
                          path, path, path);
}

static void look_at_database(struct doctor *d, const struct kept_file *file)
{
    CLEANUP(free_memory)
    char *path = home_path(d->home, "state/%s/%s", file->who, file->file);
    struct aico_error err = {0};
    int r;

    if (!path) {
        d->is_out_of_memory = true;
        return;
    }
    r = database_check(path, file->application, d->timeout_ms, &err);
    if (r == 0)
        doctor_ok(d, CHECK, path, "is whole");
    else if (r == AICO_ETIMEOUT)
        doctor_ok(d, CHECK, path, "is whole as far as we came in %" PRId64 " ms", d->timeout_ms);
    else if (r == AICO_EKEPTLOCKED)
        doctor_ok(d, CHECK, path, "is in use");
    else if (r == AICO_ESTOREDAMAGED)
        doctor_find(
            d,
            &(struct aico_finding){
                .level = AICO_FINDING_ERROR, .check = CHECK, .subject = path, .code = file->code},
            move_away(d, path), "%s; without it, and after a restart, %s", err.text, file->loss);
    else if (r == AICO_ENOMEM)
        d->is_out_of_memory = true;
    else if (r != AICO_ENOTFOUND)
        doctor_find(
            d,
            &(struct aico_finding){
                .level = AICO_FINDING_ERROR, .check = CHECK, .subject = path, .code = AICO_ESYSTEM},
            doctor_command(d, "chmod u+rw %q", path), "cannot be read: %s", err.text);
}

/* --- the audit log -------------------------------------------------------------------------- */

/* The file the broker writes now; those before it are for `aico-keytool audit verify`. */
static void look_at_audit(struct doctor *d)
{
    const struct component *broker = d->registry ? registry_broker(d->registry) : NULL;
    CLEANUP(free_memory)
    char *path = doctor_path(d, AUDIT_FILE_NAME);
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct audit_report report = {0};
    struct aico_error err = {0};
    int r;

    if (!path || !broker || access(path, F_OK) < 0)
        return;
    r = file_read(path, FILE_TRUSTED, 2 * (size_t)AUDIT_FILE_SIZE, &text, &err);
    if (doctor_is_of_home(r) || (r == 0 && text.size == 0)) /* or a broker that has just begun */
        return;
    if (r == 0)
        r = audit_read(buffer_view(&text), registry_namespace(d->registry), broker->identity, NULL,
                       NULL, &report, &err);
    if (r == 0)
        doctor_ok(d, CHECK, path, "%" PRIu64 " entries, %" PRIu64 " signed by the broker",
                  report.chain.entries, report.signed_entries);
    else if (r == AICO_ENOMEM)
        d->is_out_of_memory = true;
    else
        doctor_find(d,
                    &(struct aico_finding){.level = AICO_FINDING_WARNING,
                                           .check = CHECK,
                                           .subject = path,
                                           .code = AICO_EAUDIT},
                    doctor_command(d, "mv %q %q.damaged", path, path),
                    "was changed, or not written by this broker: %s; keep it, and compare it with "
                    "heads noted elsewhere (aico-keytool audit verify --witness)",
                    err.text);
}

void doctor_look_at_state(struct doctor *d)
{
    const struct kept_file files[] = {
        {BROKER_NAME, "messages.db", DATABASE_STREAMS, AICO_ESTOREDAMAGED,
         "the broker begins an empty one: what is stored is not delivered"},
        {d->name, "sessions.db", DATABASE_KEPT, AICO_EKEPTDAMAGED,
         "peers begin new ratchets: what they have under way does not open"},
        {d->name, "outbox.db", DATABASE_KEPT, AICO_EKEPTDAMAGED,
         "what waits there to be sent is not"},
    };

    for (size_t i = 0; i < COUNT_OF(files); i++)
        if (files[i].who)
            look_at_database(d, &files[i]);
    look_at_audit(d);
}
