/* SPDX-License-Identifier: Apache-2.0 */
/* Backup and restore of a home. */
#include "store/backup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/hex.h"
#include "crypto/kdf.h"
#include "store/file.h"

#define FILE_SIZE_MAX ((size_t)64 * 1024 * 1024)
#define MANIFEST_SIZE_MAX ((size_t)16 * 1024 * 1024)
#define DEPTH_MAX 8
#define PIECE_SIZE 65536
#define BUSY_MS 5000 /* for a database that is being written */

#define MAGIC "aico-backup 1\n"

static char *join(const char *folder, const char *name)
{
    char *path;

    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static int no_memory(struct aico_error *err)
{
    return aico_error_set(err, AICO_ENOMEM, "out of memory");
}

static int failed(struct aico_error *err, const char *path)
{
    return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
}

static bool ends_with(const char *name, const char *end)
{
    size_t size = strlen(name), end_size = strlen(end);

    return size >= end_size && strcmp(name + size - end_size, end) == 0;
}

/* --- what belongs to a backup ----------------------------------------------------------------- */

enum part { PART_FILE, PART_DATABASE, PART_LEFT_OUT, PART_NOTHING };

/* The last six characters of what file_write() is just making are its own. */
static bool is_temporary(const char *name)
{
    static const char *const whole[] = {".key.", "registry.", "generation.", ".public."};
    const char *dot = strrchr(name, '.');

    if (!dot || strlen(dot + 1) != 6)
        return false;
    for (size_t i = 0; i < COUNT_OF(whole); i++)
        if (strstr(name, whole[i]))
            return true;
    return false;
}

/* @path: below the home. */
static enum part part_of(const char *path, const char *name)
{
    static const char *const without[] = {"sessions.db", "outbox.db", "replay.db"};

    if (strncmp(path, "run/", 4) == 0 || ends_with(name, ".lock") || ends_with(name, "-journal") ||
        ends_with(name, "-wal") || ends_with(name, "-shm") || is_temporary(name))
        return PART_NOTHING;
    if (strncmp(path, "log/", 4) == 0 && strncmp(name, "audit", 5) != 0)
        return PART_NOTHING;
    for (size_t i = 0; i < COUNT_OF(without); i++)
        if (strcmp(name, without[i]) == 0)
            return PART_LEFT_OUT;
    return ends_with(name, ".db") ? PART_DATABASE : PART_FILE;
}

/* --- one file --------------------------------------------------------------------------------- */

/* Hash, size and mode of @path, read in pieces. */
static int measure(const char *path, uint8_t ret_hash[HASH_SIZE], uint64_t *ret_size,
                   mode_t *ret_mode, struct aico_error *err)
{
    CLEANUP(fd_close)
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    CLEANUP(free_memory)
    uint8_t *piece = malloc(PIECE_SIZE);
    struct hasher hasher;
    struct stat st;
    ssize_t got;

    if (!piece)
        return no_memory(err);
    if (fd < 0 || fstat(fd, &st) < 0)
        return failed(err, path);
    *ret_size = 0;
    *ret_mode = st.st_mode & 0777;
    hasher_begin(&hasher, HASH_SIZE);
    hasher_tag(&hasher, "backup file");
    while ((got = read(fd, piece, PIECE_SIZE)) > 0) {
        hasher_feed(&hasher, bytes_of(piece, (size_t)got));
        *ret_size += (uint64_t)got;
    }
    memory_wipe(piece, PIECE_SIZE); /* it may have been a key */
    hasher_end(&hasher, ret_hash, HASH_SIZE);
    return got < 0 ? failed(err, path) : 0;
}

static int copy_file(const char *from, const char *to, struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer content = {0};
    struct stat st;
    int r;

    if (stat(from, &st) < 0)
        return failed(err, from);
    r = file_read(from, FILE_TRUSTED, FILE_SIZE_MAX, &content, err);
    return r < 0 ? r : file_write(to, st.st_mode & 0777, false, buffer_view(&content), err);
}

static int say_sqlite(sqlite3 *db, const char *path, struct aico_error *err)
{
    int code = db ? sqlite3_extended_errcode(db) & 0xff : SQLITE_NOMEM;
    const char *text = db ? sqlite3_errmsg(db) : "out of memory";

    if (code == SQLITE_FULL)
        return aico_error_set(err, AICO_EFULL, "%s: %s; free some space", path, text);
    return aico_error_set(err, AICO_EBACKUP, "%s: %s%s", path, text,
                          code == SQLITE_BUSY ? "; another process holds it: stop it" : "");
}

static int copy_pages(sqlite3 *source, sqlite3 *target, const char *from, const char *to,
                      struct aico_error *err)
{
    sqlite3_backup *backup = sqlite3_backup_init(target, "main", source, "main");
    int r;

    if (!backup)
        return say_sqlite(target, to, err);
    do {
        r = sqlite3_backup_step(backup, -1); /* all at once: a state of one moment */
        if (r == SQLITE_BUSY || r == SQLITE_LOCKED)
            sqlite3_sleep(50);
    } while (r == SQLITE_BUSY || r == SQLITE_LOCKED);
    if (sqlite3_backup_finish(backup) != SQLITE_OK || r != SQLITE_DONE)
        return say_sqlite(r == SQLITE_DONE || r == SQLITE_FULL ? target : source,
                          r == SQLITE_FULL ? to : from, err);
    /* One file, whatever the journal of the source is. */
    return sqlite3_exec(target, "PRAGMA journal_mode=DELETE", NULL, NULL, NULL) == SQLITE_OK
               ? 0
               : say_sqlite(target, to, err);
}

static int copy_database(const char *from, const char *to, struct aico_error *err)
{
    sqlite3 *source = NULL, *target = NULL;
    CLEANUP(fd_close)
    int fd = open(to, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int r = 0;

    if (fd < 0)
        return failed(err, to);
    if (sqlite3_open_v2(from, &source, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL) !=
        SQLITE_OK)
        r = say_sqlite(source, from, err);
    else if (sqlite3_open_v2(to, &target, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        r = say_sqlite(target, to, err);
    if (r == 0) {
        (void)sqlite3_busy_timeout(source, BUSY_MS);
        r = copy_pages(source, target, from, to, err);
    }
    (void)sqlite3_close(source);
    if (sqlite3_close(target) != SQLITE_OK && r == 0)
        r = aico_error_set(err, AICO_EBACKUP, "%s: it cannot be closed", to);
    return r == 0 && fsync(fd) < 0 ? failed(err, to) : r;
}

/* --- making ----------------------------------------------------------------------------------- */

struct making {
    const char *home, *files;
    struct buffer manifest;
    struct backup_report *report;
};

static int note_file(struct making *m, const char *path, const char *copy, struct aico_error *err)
{
    uint8_t hash[HASH_SIZE];
    char hex[2 * HASH_SIZE + 1];
    uint64_t size;
    mode_t mode;
    int r = measure(copy, hash, &size, &mode, err);

    if (r < 0)
        return r;
    hex_write(bytes_of(hash, sizeof(hash)), hex);
    m->report->bytes += size;
    return buffer_printf(&m->manifest, "file %" PRIu64 " %03o %s %s\n", size, (unsigned)mode, hex,
                         path) < 0
               ? no_memory(err)
               : 0;
}

static int take_file(struct making *m, const char *path, const char *name, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *from = join(m->home, path);
    CLEANUP(free_memory)
    char *to = join(m->files, path);
    enum part part = part_of(path, name);
    int r;

    if (!from || !to)
        return no_memory(err);
    if (part == PART_NOTHING)
        return 0;
    if (part == PART_LEFT_OUT) {
        m->report->left_out++;
        return buffer_printf(&m->manifest, "without %s\n", path) < 0 ? no_memory(err) : 0;
    }
    r = part == PART_DATABASE ? copy_database(from, to, err) : copy_file(from, to, err);
    if (r == AICO_ENOTFOUND && part == PART_FILE)
        return 0; /* gone since the folder was read */
    if (r < 0)
        return r;
    *(part == PART_DATABASE ? &m->report->databases : &m->report->files) += 1;
    return note_file(m, path, to, err);
}

static void close_folder(DIR **folder)
{
    if (*folder)
        (void)closedir(*folder);
}

/* The next entry but "." and "..". 1, 0 (there is none), or the error. */
static int next_entry(DIR *folder, const char *path, const char **ret_name, struct aico_error *err)
{
    const struct dirent *entry;

    do {
        errno = 0;
        entry = readdir(folder);
    } while (entry && (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0));
    if (!entry)
        return errno == 0 ? 0 : failed(err, path);
    *ret_name = entry->d_name;
    return 1;
}

static int take_entry(struct making *m, const char *path, const char *name, int depth,
                      struct aico_error *err);

/* All of HOME/@path; "" is the home. */
static int take_folder(struct making *m, const char *path, int depth, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *from = join(m->home, path);
    CLEANUP(free_memory)
    char *to = join(m->files, path);
    CLEANUP(close_folder)
    DIR *folder = from ? opendir(from) : NULL;
    const char *name = NULL;
    int r;

    if (!from || !to)
        return no_memory(err);
    if (!folder)
        return errno == ENOENT ? aico_error_set(err, AICO_ENOTFOUND, "%s: no such folder", from)
                               : failed(err, from);
    if (depth > DEPTH_MAX)
        return aico_error_set(err, AICO_EBACKUP, "%s: too deep for a home", from);
    r = folder_make(to, err);
    while (r == 0 && (r = next_entry(folder, from, &name, err)) > 0) {
        CLEANUP(free_memory)
        char *below = path[0] ? join(path, name) : strdup(name);

        r = below ? take_entry(m, below, name, depth, err) : no_memory(err);
    }
    return r;
}

static int take_entry(struct making *m, const char *path, const char *name, int depth,
                      struct aico_error *err)
{
    CLEANUP(free_memory)
    char *from = join(m->home, path);
    struct stat st;

    if (!from)
        return no_memory(err);
    if (lstat(from, &st) < 0)
        return errno == ENOENT ? 0 : failed(err, from);
    for (const char *at = name; *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            return aico_error_set(err, AICO_EBACKUP, "%s: a name with control characters", from);
    if (S_ISDIR(st.st_mode))
        return strcmp(path, "run") == 0 ? 0 : take_folder(m, path, depth + 1, err);
    return S_ISREG(st.st_mode) ? take_file(m, path, name, err) : 0;
}

int backup_make(const char *home, const char *dir, int64_t now_ms, struct backup_report *ret_report,
                struct aico_error *err)
{
    CLEANUP(free_memory)
    char *files = join(dir, "files");
    CLEANUP(free_memory)
    char *manifest = join(dir, "manifest");
    struct backup_report report = {.created_ms = now_ms};
    struct making m = {.home = home, .files = files, .report = &report};
    int r = 0;

    if (!files || !manifest)
        return no_memory(err);
    if (mkdir(dir, 0700) < 0)
        return errno == EEXIST ? aico_error_set(err, AICO_EEXISTS, "%s: exists already", dir)
                               : failed(err, dir);
    if (buffer_printf(&m.manifest, MAGIC "created %" PRId64 "\n", now_ms) < 0)
        r = no_memory(err);
    if (r == 0)
        r = take_folder(&m, "", 0, err);
    if (r == 0 && buffer_append_text(&m.manifest, "end\n") < 0)
        r = no_memory(err);
    if (r == 0)
        r = file_write(manifest, 0600, false, buffer_view(&m.manifest), err);
    buffer_deinit(&m.manifest);
    if (r == 0)
        *ret_report = report;
    return r;
}

/* --- restoring -------------------------------------------------------------------------------- */

/* One `file` line. */
struct listed {
    uint64_t size;
    unsigned mode;
    uint8_t hash[HASH_SIZE];
    char *path; /* in the line, which was cut there */
};

/* Below the home, whatever the manifest says. */
static bool is_inside(const char *path)
{
    if (path[0] == '/' || path[0] == '\0')
        return false;
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        if (strncmp(at, "../", 3) == 0 || strcmp(at, "..") == 0 || *at == '/' || *at == '\0')
            return false;
    }
    return true;
}

static bool parse_listed(char *line, struct listed *ret)
{
    char hex[2 * HASH_SIZE + 1];
    int used = 0;

    if (sscanf(line, "file %" SCNu64 " %3o %64[0-9a-f] %n", &ret->size, &ret->mode, hex, &used) !=
            3 ||
        used == 0 || !hex_parse(bytes_text(hex), ret->hash, HASH_SIZE))
        return false;
    ret->path = line + used;
    return is_inside(ret->path);
}

static int damaged(struct aico_error *err, const char *path, const char *why)
{
    return aico_error_set(err, AICO_EBACKUP, "%s: %s; take another backup", path, why);
}

struct restoring {
    const char *files, *home, *manifest;
    struct backup_report *report;
    bool is_writing; /* false: only looks */
};

/* The folders above @path, below @home. */
static int make_folders(const char *home, const char *path, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *folder = join(home, path);
    char *at;
    int r = 0;

    if (!folder)
        return no_memory(err);
    for (at = folder + strlen(home) + 1; r == 0 && (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        r = folder_make(folder, err);
        *at = '/';
    }
    return r;
}

static int restore_file(struct restoring *s, const struct listed *listed, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *from = join(s->files, listed->path);
    CLEANUP(free_memory)
    char *to = join(s->home, listed->path);
    uint8_t hash[HASH_SIZE] = {0};
    uint64_t size = 0;
    mode_t mode = 0;
    int r;

    if (!from || !to)
        return no_memory(err);
    if (s->is_writing) {
        bool is_database = ends_with(listed->path, ".db");

        r = make_folders(s->home, listed->path, err);
        if (r == 0)
            r = is_database ? copy_database(from, to, err) : copy_file(from, to, err);
        if (r == 0 && chmod(to, listed->mode) < 0)
            r = failed(err, to);
        return r;
    }
    r = measure(from, hash, &size, &mode, err);
    if (r < 0 && access(from, F_OK) == 0)
        return r;
    if (r < 0)
        return aico_error_set(err, AICO_EBACKUP, "%s: it is in the manifest and not here", from);
    if (size != listed->size || memcmp(hash, listed->hash, HASH_SIZE) != 0) /* public */
        return damaged(err, from, "it is not what was backed up");
    s->report->bytes += size;
    *(ends_with(listed->path, ".db") ? &s->report->databases : &s->report->files) += 1;
    return 0;
}

/* Every line of the manifest, which @text is a copy of; it is cut up. */
static int walk(struct restoring *s, char *text, struct aico_error *err)
{
    char *rest = NULL, *line = strtok_r(text, "\n", &rest);
    bool has_ended = false;
    int r = 0;

    if (!line || strcmp(line, "aico-backup 1") != 0)
        return damaged(err, s->manifest, "not the manifest of a backup");
    while (r == 0 && (line = strtok_r(NULL, "\n", &rest)) != NULL) {
        struct listed listed;

        if (has_ended)
            return damaged(err, s->manifest, "there is something behind its end");
        if (strcmp(line, "end") == 0)
            has_ended = true;
        else if (strncmp(line, "without ", 8) == 0)
            s->report->left_out += !s->is_writing;
        else if (sscanf(line, "created %" SCNd64, &s->report->created_ms) == 1)
            continue;
        else if (parse_listed(line, &listed))
            r = restore_file(s, &listed, err);
        else
            return damaged(err, s->manifest, "a line does not parse");
    }
    return r == 0 && !has_ended ? damaged(err, s->manifest, "its end is missing") : r;
}

static int check_empty(const char *home, struct aico_error *err)
{
    CLEANUP(close_folder)
    DIR *folder = opendir(home);
    const char *name = NULL;
    int r;

    if (!folder)
        return errno == ENOENT ? 0 : failed(err, home);
    r = next_entry(folder, home, &name, err);
    return r > 0 ? aico_error_set(err, AICO_EEXISTS,
                                  "%s: there is something in it; stop what runs there and move it "
                                  "away: mv '%s' '%s.before'",
                                  home, home, home)
                 : r;
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_one, DEPTH_MAX, FTW_DEPTH | FTW_PHYS);
}

/* Where a home grows until it is whole. */
static char *partial_of(const char *home)
{
    size_t size = strlen(home);
    char *path;

    while (size > 1 && home[size - 1] == '/')
        size--;
    return asprintf(&path, "%.*s.restoring", (int)size, home) < 0 ? NULL : path;
}

/* All of @text, its files known to be sound, becomes @home. */
static int write_home(struct restoring *s, const char *text, const char *home,
                      struct aico_error *err)
{
    CLEANUP(free_memory)
    char *copy = strdup(text);
    CLEANUP(free_memory)
    char *partial = partial_of(home);
    int r;

    if (!copy || !partial)
        return no_memory(err);
    remove_tree(partial); /* of one that was killed */
    s->home = partial;
    s->is_writing = true;
    r = folder_make(partial, err);
    if (r == 0)
        r = walk(s, copy, err);
    if (r == 0)
        r = file_switch(home, partial, NULL, err);
    if (r < 0)
        remove_tree(partial);
    return r;
}

int backup_restore(const char *dir, const char *home, struct backup_report *ret_report,
                   struct aico_error *err)
{
    CLEANUP(free_memory)
    char *files = join(dir, "files");
    CLEANUP(free_memory)
    char *manifest = join(dir, "manifest");
    CLEANUP(free_memory)
    char *copy = NULL;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct backup_report report = {0};
    struct restoring s = {.files = files, .home = home, .manifest = manifest, .report = &report};
    int r;

    if (!files || !manifest)
        return no_memory(err);
    r = file_read(manifest, FILE_TRUSTED, MANIFEST_SIZE_MAX, &text, err);
    if (r == AICO_ENOTFOUND)
        return aico_error_set(err, AICO_EBACKUP, "%s: no backup, or one that was not finished",
                              manifest);
    if (r == 0)
        r = check_empty(home, err);
    if (r == 0 &&
        (buffer_append(&text, bytes_of("", 1)) < 0 || !(copy = strdup((const char *)text.at))))
        r = no_memory(err);
    /* All of it is looked at before anything is written. */
    if (r == 0)
        r = walk(&s, copy, err);
    if (r == 0)
        r = write_home(&s, (const char *)text.at, home, err);
    if (r == 0)
        *ret_report = report;
    return r;
}
