/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor's round through the registry: the pinned owner, the home's file, and what broker,
 * keytool and components of this home have accepted of it (state/NAME/registry).
 */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "runtime/doctor.h"

#define CHECK "registry"

/* The newest of the copies that were accepted here. */
struct kept {
    struct registry *registry; /* NULL: none verifies */
    char *path;
};

static void kept_deinit(struct kept *kept)
{
    registry_unref(&kept->registry);
    free(kept->path);
}

static int load(struct doctor *d, const char *name, const char *path, struct registry **ret,
                struct aico_error *err)
{
    return registry_load_file(d->home, name, bytes_text(d->namespace), path, ret, err);
}

/* --- the pinned owner ----------------------------------------------------------------------- */

static bool look_at_owner(struct doctor *d)
{
    CLEANUP(free_memory)
    char *path = doctor_path(d, OWNER_NAME ".public");
    uint8_t pinned[SIGN_PUBLIC_SIZE];
    struct aico_error err = {0};
    int r = path ? home_owner(d->home, pinned, &err) : AICO_ENOMEM;

    if (r == 0 || !path)
        return r == 0;
    if (doctor_is_of_home(r))
        return false;
    doctor_find(d,
                &(struct aico_finding){.level = AICO_FINDING_ERROR,
                                       .check = CHECK,
                                       .subject = path,
                                       .code = r,
                                       .for_owner = !d->is_owner_here},
                d->is_owner_here
                    ? doctor_keytool(d, "public " OWNER_NAME " >%q", path)
                    : doctor_keytool(d, "public " OWNER_NAME " >" OWNER_NAME ".public"),
                r == AICO_ENOTFOUND ? "the owner's public identity is missing: nothing says whom "
                                      "this home belongs to"
                                    : "the owner's public identity does not read: %s",
                err.text);
    return false;
}

/* --- copies --------------------------------------------------------------------------------- */

static void look_at_copy(struct doctor *d, const char *name, struct kept *best)
{
    CLEANUP(free_memory)
    char *path = home_path(d->home, "state/%s/registry", name);
    CLEANUP(free_memory)
    char *home_registry = doctor_path(d, "registry");
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    struct aico_error err = {0};
    int r = path && home_registry ? load(d, name, path, &registry, &err) : AICO_ENOMEM;

    if (r == AICO_ENOTFOUND || r == AICO_ENOMEM || doctor_is_of_home(r))
        return;
    if (r < 0) {
        doctor_find(d,
                    &(struct aico_finding){
                        .level = AICO_FINDING_ERROR, .check = CHECK, .subject = path, .code = r},
                    doctor_command(d, "rm -f %q", path),
                    "the copy that %s accepted last does not read: %s", name, err.text);
        return;
    }
    if (best->registry && registry_version(best->registry) >= registry_version(registry) &&
        strcmp(name, OWNER_NAME) != 0) /* of two of one version, the one signed here */
        return;
    registry_unref(&best->registry);
    best->registry = STEAL(registry);
    free(best->path);
    best->path = STEAL(path);
}

static void look_at_copies(struct doctor *d, struct kept *ret_best)
{
    CLEANUP(free_memory)
    char *folder = doctor_path(d, "state");
    DIR *stream = folder ? opendir(folder) : NULL;
    const struct dirent *entry;

    while (stream && (entry = readdir(stream)) != NULL) {
        CLEANUP(free_memory)
        char *path = home_path(folder, "%s", entry->d_name);
        struct stat st;

        if (component_name_is_valid(bytes_text(entry->d_name)) && path && stat(path, &st) == 0 &&
            S_ISDIR(st.st_mode))
            look_at_copy(d, entry->d_name, ret_best);
    }
    if (stream)
        (void)closedir(stream);
}

static void look_at_generation(struct doctor *d)
{
    CLEANUP(free_memory)
    char *path = home_path(d->home, "state/%s/generation", d->name);
    struct aico_error err = {0};
    uint64_t generation;
    int r = path ? generation_load(d->home, d->name, &generation, &err) : 0;

    if (r == 0 || doctor_is_of_home(r))
        return;
    /* A new one begins with the time, later than what was used as long as the clock is right. */
    doctor_find(d,
                &(struct aico_finding){
                    .level = AICO_FINDING_ERROR, .check = CHECK, .subject = path, .code = r},
                doctor_command(d, "rm -f %q", path),
                "the number of the last generation does not read");
}

/* --- the home's file ------------------------------------------------------------------------ */

static void report_broken(struct doctor *d, const char *path, int code, const char *text,
                          const struct kept *best)
{
    bool has_copy = best->registry != NULL;

    doctor_find(d,
                &(struct aico_finding){
                    .level = AICO_FINDING_ERROR, .check = CHECK, .subject = path, .code = code},
                has_copy ? doctor_command(d, "cp %q %q", best->path, path) : NULL, "%s%s",
                code == AICO_ENOTFOUND ? "the registry is missing" : text,
                has_copy ? "" : "; get it from the owner again");
}

static void report_namespace(struct doctor *d, const char *path, const char *text,
                             const struct kept *best)
{
    CLEANUP(free_memory)
    char *claimed = NULL;
    CLEANUP(registry_unref)
    struct registry *registry = NULL;
    CLEANUP(buffer_deinit)
    struct buffer document = {0};
    static const char word[] = "aico-registry 1\nnamespace ";
    char *repair = NULL;

    if (best->registry) { /* the settings are right, the file is not */
        report_broken(d, path, AICO_ENAMESPACE, text, best);
        return;
    }
    if (file_read(path, FILE_TRUSTED, REGISTRY_SIZE_MAX, &document, NULL) == 0 &&
        document.size > sizeof(word)) {
        const char *at = (const char *)document.at + sizeof(word) - 1;
        const char *end = memchr(at, '\n', document.size - sizeof(word) + 1);

        claimed = end ? strndup(at, (size_t)(end - at)) : NULL;
    }
    if (claimed &&
        registry_load_file(d->home, OWNER_NAME, bytes_text(claimed), path, &registry, NULL) == 0 &&
        strpbrk(claimed, "/\\&'\"") == NULL && d->config)
        repair = doctor_command(d, "sed -i 's/^\\( *namespace:\\).*/\\1 %s/' %q", claimed,
                                d->config->security_file);
    doctor_find(
        d,
        &(struct aico_finding){
            .level = AICO_FINDING_ERROR, .check = CHECK, .subject = path, .code = AICO_ENAMESPACE},
        repair, "the registry is of namespace %s, the settings say %s", claimed ? claimed : "?",
        d->namespace);
}

static char *renew(struct doctor *d)
{
    return doctor_keytool(d, "renew");
}

/* Accepted once and the home's file now, of one version: which is the owner's word? */
static void report_fork(struct doctor *d, const char *path, const char *text,
                        const struct registry *file, const struct kept *best)
{
    bool is_ours =
        best->registry && registry_version(best->registry) == registry_version(file) &&
        memcmp(registry_hash(best->registry), registry_hash(file), REGISTRY_HASH_SIZE) == 0;

    if (best->registry && !is_ours && registry_version(best->registry) >= registry_version(file)) {
        report_broken(d, path, AICO_EEQUIVOCATION, text, best);
        return;
    }
    doctor_find(d,
                &(struct aico_finding){.level = AICO_FINDING_ERROR,
                                       .check = CHECK,
                                       .subject = path,
                                       .code = AICO_EEQUIVOCATION,
                                       .for_owner = !d->is_owner_here},
                renew(d), "%s; two copies of the owner's key are in use: keep one", text);
}

static void look_at_age(struct doctor *d, const char *path)
{
    int64_t issued = registry_issued_ms(d->registry), now = moment_now().real_ms;
    int64_t bound = d->config ? d->config->synchrony_bound_ms : 0;
    int64_t max = d->config ? d->config->registry_max_age_ms : 0;

    if (issued > now + bound)
        doctor_find(d,
                    &(struct aico_finding){.level = AICO_FINDING_ERROR,
                                           .check = "clock",
                                           .subject = path,
                                           .code = AICO_ECLOCK},
                    doctor_command(d, "timedatectl set-ntp true"),
                    "the registry was signed %" PRId64
                    " s from now: our clock is behind, or the owner's was ahead",
                    (issued - now) / 1000);
    if (max == 0 || now - issued <= max - max / 5)
        return;
    doctor_find(d,
                &(struct aico_finding){.level = now - issued > max ? AICO_FINDING_ERROR
                                                                   : AICO_FINDING_WARNING,
                                       .check = CHECK,
                                       .subject = path,
                                       .code = AICO_EREGISTRYSTALE,
                                       .for_owner = !d->is_owner_here},
                renew(d),
                "issued %" PRId64 " s ago, registry_max_age is %" PRId64
                " s: beyond it no handshake is begun",
                (now - issued) / 1000, max / 1000);
}

static void look_at_version(struct doctor *d, const char *path, const struct registry *file,
                            const struct kept *best)
{
    if (!best->registry || registry_version(best->registry) <= registry_version(file))
        return;
    doctor_find(d,
                &(struct aico_finding){.level = AICO_FINDING_WARNING,
                                       .check = CHECK,
                                       .subject = path,
                                       .code = AICO_EREGISTRYOLD},
                doctor_command(d, "cp %q %q", best->path, path),
                "version %" PRIu64 " is older than %" PRIu64
                ", which was accepted in this home: who has not seen that yet believes the revoked",
                registry_version(file), registry_version(best->registry));
}

static void take(struct doctor *d, const char *path, const struct registry *file,
                 const struct kept *best, size_t before)
{
    struct aico_error err = {0};
    int r = registry_load(d->home, d->name ? d->name : OWNER_NAME, bytes_text(d->namespace),
                          &d->registry, &err);

    if (r == AICO_EEQUIVOCATION) {
        report_fork(d, path, err.text, file, best);
        return;
    }
    if (r < 0) { /* else by a copy of ours, which was reported */
        if (d->count == before && !doctor_is_of_home(r))
            report_broken(d, path, r, err.text, best);
        return;
    }
    look_at_version(d, path, file, best);
    look_at_age(d, path);
}

void doctor_look_at_registry(struct doctor *d)
{
    CLEANUP(free_memory)
    char *path = doctor_path(d, "registry");
    CLEANUP(kept_deinit)
    struct kept best = {0};
    CLEANUP(registry_unref)
    struct registry *file = NULL;
    struct aico_error err = {0};
    size_t before = d->count;
    int r;

    if (!path || !d->namespace || !look_at_owner(d))
        return;
    look_at_copies(d, &best);
    if (d->name)
        look_at_generation(d);
    r = load(d, d->name ? d->name : OWNER_NAME, path, &file, &err);
    if (r == AICO_ENAMESPACE)
        report_namespace(d, path, err.text, &best);
    else if (r < 0 && !doctor_is_of_home(r))
        report_broken(d, path, r, err.text, &best);
    else if (r == 0)
        take(d, path, file, &best, before);
    if (d->registry && d->count == before)
        doctor_ok(d, CHECK, path, "version %" PRIu64 ", %zu components, signed by the owner",
                  registry_version(d->registry), registry_component_count(d->registry));
}
