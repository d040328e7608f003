/* SPDX-License-Identifier: Apache-2.0 */
/* The doctor's first round: folders and files of the home, whose they are and who may touch them.
 */
#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime/doctor.h"

#define OTHERS ((mode_t)(S_IRWXG | S_IRWXO))
#define OTHERS_WRITE ((mode_t)(S_IWGRP | S_IWOTH))

static bool has_end(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);

    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* Whether it belongs to us (or, where that is as good, to root); says so if not. */
static bool check_owner(struct doctor *d, const char *path, const struct stat *st, bool may_be_root)
{
    if (st->st_uid == geteuid() || (may_be_root && st->st_uid == 0))
        return true;
    doctor_find(
        d,
        &(struct aico_finding){
            .level = AICO_FINDING_ERROR, .check = "home", .subject = path, .code = AICO_EOWNER},
        doctor_command(d, "chown -h %d %q", (int64_t)geteuid(), path),
        "belongs to user %u, not to us (%u)", (unsigned)st->st_uid, (unsigned)geteuid());
    return false;
}

/* A mode that lets others, or not even us, do too much or too little. */
static void check_mode(struct doctor *d, const char *path, const struct stat *st, mode_t refused,
                       mode_t needed, enum aico_finding_level level, const char *repair)
{
    bool is_open = (st->st_mode & refused) != 0;

    if (!is_open && (st->st_mode & needed) == needed)
        return;
    doctor_find(d,
                &(struct aico_finding){
                    .level = level, .check = "home", .subject = path, .code = AICO_EMODE},
                doctor_command(d, "chmod %s %q", repair, path), "%s (mode %03o)",
                is_open ? "open to others" : "we may not use it ourselves",
                (unsigned)(st->st_mode & 0777));
}

/* Whether it may be looked into. */
static bool check_folder(struct doctor *d, const char *path, const struct stat *st,
                         enum aico_finding_level level)
{
    if (!S_ISDIR(st->st_mode)) {
        doctor_find(d,
                    &(struct aico_finding){.level = AICO_FINDING_ERROR,
                                           .check = "home",
                                           .subject = path,
                                           .code = AICO_EEXISTS},
                    doctor_command(d, "mv %q %q.aside && mkdir -m 700 %q", path, path, path),
                    "is not a folder");
        return false;
    }
    if (!check_owner(d, path, st, false))
        return false;
    if (st->st_mode & OTHERS_WRITE)
        level = AICO_FINDING_ERROR; /* they could put a file of theirs in the place of ours */
    check_mode(d, path, st, OTHERS, S_IRWXU, level, "700");
    return true;
}

static void check_secret(struct doctor *d, const char *path, const struct stat *st)
{
    if (S_ISLNK(st->st_mode)) {
        doctor_find(d,
                    &(struct aico_finding){.level = AICO_FINDING_ERROR,
                                           .check = "home",
                                           .subject = path,
                                           .code = AICO_ESYMLINK},
                    doctor_command(d, "install -m 600 %q %q.copy && mv -f %q.copy %q", path, path,
                                   path, path),
                    "is a symbolic link; a key file must lie in its place itself");
        return;
    }
    if (check_owner(d, path, st, false))
        check_mode(d, path, st, OTHERS, S_IRUSR, AICO_FINDING_ERROR, "600");
}

static void check_trusted(struct doctor *d, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return; /* its own round says what is wrong with it */
    if (check_owner(d, path, &st, true))
        check_mode(d, path, &st, OTHERS_WRITE, S_IRUSR, AICO_FINDING_ERROR, "u+rw,go-w");
}

/* What is neither a folder nor a key file is trusted or nothing of ours. */
static bool is_trusted_name(const char *name)
{
    return strcmp(name, OWNER_NAME ".public") == 0 || strcmp(name, "registry") == 0 ||
           strcmp(name, "generation") == 0 || strcmp(name, "master.salt") == 0;
}

/* In run/ a socket lies; something else in its place keeps the broker from starting. */
static void check_socket(struct doctor *d, const char *path, const struct stat *st)
{
    if (S_ISSOCK(st->st_mode))
        return;
    doctor_find(
        d,
        &(struct aico_finding){
            .level = AICO_FINDING_ERROR, .check = "home", .subject = path, .code = AICO_EEXISTS},
        doctor_command(d, "mv %q %q.aside", path, path),
        "lies where the broker's socket has to be");
}

static void look_through(struct doctor *d, const char *folder, int depth);

static void look_at(struct doctor *d, const char *folder, const char *name, int depth)
{
    CLEANUP(free_memory)
    char *path = home_path(folder, "%s", name);
    struct stat st;

    if (!path) {
        d->is_out_of_memory = true;
        return;
    }
    if (lstat(path, &st) < 0)
        return;
    if (strstr(name, ".key") && !S_ISDIR(st.st_mode))
        check_secret(d, path, &st);
    else if (has_end(name, ".sock"))
        check_socket(d, path, &st);
    else if (is_trusted_name(name) || has_end(folder, "/succession"))
        check_trusted(d, path);
    else if (S_ISDIR(st.st_mode) && depth > 0 &&
             check_folder(d, path, &st,
                          has_end(folder, "/state") ? AICO_FINDING_ERROR : AICO_FINDING_WARNING))
        look_through(d, path, depth - 1);
}

static void look_through(struct doctor *d, const char *folder, int depth)
{
    DIR *stream = opendir(folder);
    const struct dirent *entry;

    while (stream && (entry = readdir(stream)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            look_at(d, folder, entry->d_name, depth);
    if (stream)
        (void)closedir(stream);
}

/* Broker and components refuse to work in these when they are open. */
static void look_at_folders(struct doctor *d)
{
    static const struct {
        const char *name;
        enum aico_finding_level level;
    } folders[] = {{"run", AICO_FINDING_ERROR},
                   {"state", AICO_FINDING_ERROR},
                   {"identities", AICO_FINDING_WARNING},
                   {"log", AICO_FINDING_WARNING}};

    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        CLEANUP(free_memory)
        char *path = doctor_path(d, folders[i].name);
        struct stat st;

        if (path && lstat(path, &st) == 0 && check_folder(d, path, &st, folders[i].level))
            look_through(d, path, 2);
    }
}

static bool look_at_home_itself(struct doctor *d)
{
    struct stat st;

    if (stat(d->home, &st) < 0) {
        bool is_missing = errno == ENOENT || errno == ENOTDIR;

        doctor_find(d,
                    &(struct aico_finding){.level = AICO_FINDING_ERROR,
                                           .check = "home",
                                           .code = is_missing ? AICO_ENOTFOUND : AICO_ESYSTEM},
                    is_missing ? doctor_command(d, "aico-keytool --home %q init --starter", d->home)
                               : NULL,
                    "no home of a bus there: %s", strerror(errno));
        return false;
    }
    if (S_ISDIR(st.st_mode) && st.st_uid != geteuid()) {
        doctor_find(d,
                    &(struct aico_finding){
                        .level = AICO_FINDING_ERROR, .check = "home", .code = AICO_EOWNER},
                    doctor_command(d, "chown -R -h --from=%d %d %q", (int64_t)st.st_uid,
                                   (int64_t)geteuid(), d->home),
                    "the home belongs to user %u, and we are %u: run this as that user, or take "
                    "the home over",
                    (unsigned)st.st_uid, (unsigned)geteuid());
        return false;
    }
    return check_folder(d, d->home, &st, AICO_FINDING_WARNING);
}

bool doctor_look_at_home(struct doctor *d)
{
    size_t before = d->count;

    if (!look_at_home_itself(d))
        return false;
    look_through(d, d->home, 0); /* its files */
    look_at_folders(d);
    if (d->count == before)
        doctor_ok(d, "home", d->home, "is ours and closed to others, and so is what lies in it");
    return true;
}
