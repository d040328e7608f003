/* SPDX-License-Identifier: Apache-2.0 */
/* The files of the audit log. */
#include "store/audit_log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "crypto/random.h"
#include "store/file.h"
#include "store/home.h"

#define FILE_READ_MAX (2u * AUDIT_FILE_SIZE) /* the last save before a new file may be large */

struct audit_log {
    char *path;
    int fd;
    uint64_t size; /* of the file: what was saved */
    const struct identity *broker;
    struct audit_chain chain;
    struct buffer unsaved;
};

static int system_error(struct aico_error *err, const char *path)
{
    return aico_error_set(err, AICO_ESYSTEM, "%s: %s", path, strerror(errno));
}

/* --- the files there are ------------------------------------------------------------------------
 */

/* The N of a file name audit.N; 0 for any other. */
static unsigned long file_number(const char *name)
{
    char again[32];
    unsigned long number = 0;

    if (sscanf(name, "audit.%lu", &number) != 1 || number == 0)
        return 0;
    (void)snprintf(again, sizeof(again), "audit.%lu", number);
    return strcmp(again, name) == 0 ? number : 0;
}

/* The highest number there is; 0: none. A folder that cannot be read is a failure: a number that is
 * taken would be given again, and the file of that number be lost. */
static int last_number(const char *folder, unsigned long *ret_number, struct aico_error *err)
{
    struct dirent *entry;
    DIR *dir = opendir(folder);
    int r;

    *ret_number = 0;
    if (!dir)
        return errno == ENOENT ? 0 : system_error(err, folder);
    while (errno = 0, (entry = readdir(dir)) != NULL)
        *ret_number = MAX(*ret_number, file_number(entry->d_name));
    r = errno == 0 ? 0 : system_error(err, folder);
    (void)closedir(dir);
    return r;
}

void audit_files_deinit(struct audit_files *files)
{
    for (size_t i = 0; i < files->count; i++)
        free(files->paths[i]);
    free(files->paths);
    *files = (struct audit_files){NULL, 0};
}

/* A file that is not there is left out: whoever rotates logs may have put it elsewhere. */
static int list_one(struct audit_files *files, char *path)
{
    char **paths;

    if (!path)
        return AICO_ENOMEM;
    if (access(path, F_OK) < 0) {
        free(path);
        return 0;
    }
    paths = reallocarray(files->paths, files->count + 1, sizeof(*paths));
    if (!paths) {
        free(path);
        return AICO_ENOMEM;
    }
    files->paths = paths;
    files->paths[files->count++] = path;
    return 0;
}

int audit_files_list(const char *home, struct audit_files *ret_files, struct aico_error *err)
{
    CLEANUP(audit_files_deinit)
    struct audit_files files = {NULL, 0};
    CLEANUP(free_memory)
    char *folder = home_path(home, "log");
    unsigned long last;
    int r = folder ? last_number(folder, &last, err) : AICO_ENOMEM;

    for (unsigned long i = 1; r == 0 && i <= last; i++)
        r = list_one(&files, home_path(home, AUDIT_FILE_NAME ".%lu", i));
    if (r == 0)
        r = list_one(&files, home_path(home, AUDIT_FILE_NAME));
    if (r == AICO_ENOMEM)
        return aico_error_set(err, r, "out of memory");
    if (r < 0)
        return r;
    if (files.count == 0)
        return aico_error_set(err, AICO_ENOTFOUND,
                              "%s/" AUDIT_FILE_NAME ": no broker of this home has run yet", home);
    *ret_files = files;
    files = (struct audit_files){NULL, 0};
    return 0;
}

/* --- opening ------------------------------------------------------------------------------------
 */

/* Where the chain of the newest earlier file ended; zeros when there is none that verifies. */
static void end_of_earlier(const struct audit_log *log, struct bytes namespace, unsigned long last,
                           uint8_t ret_hash[AUDIT_HASH_SIZE])
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    CLEANUP(free_memory)
    char *path = NULL;
    struct audit_report report;

    memset(ret_hash, 0, AUDIT_HASH_SIZE);
    if (last == 0 || asprintf(&path, "%s.%lu", log->path, last) < 0)
        return;
    if (file_read(path, FILE_SECRET, FILE_READ_MAX, &text, NULL) == 0 &&
        audit_read(bytes_of(text.at, text.size), namespace, log->broker->public, NULL, NULL,
                   &report, NULL) == 0)
        memcpy(ret_hash, report.chain.hash, AUDIT_HASH_SIZE);
}

/* A file of its own name, empty so far; its first lines are saved with the first entries. */
static int begin_file(struct audit_log *log, struct bytes namespace,
                      const uint8_t previous[AUDIT_HASH_SIZE], struct aico_error *err)
{
    const size_t unsaved = log->unsaved.size;
    uint8_t id[AUDIT_ID_SIZE];
    struct audit_chain chain;
    int r, fd;

    random_system.bytes(random_system.context, id, sizeof(id));
    r = audit_begin(&chain, namespace, log->broker, id, previous, &log->unsaved);
    if (r < 0)
        return aico_error_set(err, r, "%s: cannot be begun", log->path);
    fd = open(log->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        log->unsaved.size = unsaved;
        return system_error(err, log->path);
    }
    fd_close(&log->fd);
    log->fd = fd;
    log->size = 0;
    log->chain = chain;
    return 0;
}

static int note(struct audit_log *log, int64_t now_ms, const char *kind, int code, const char *text)
{
    const struct audit_entry entry = {.time_ms = now_ms,
                                      .kind = kind,
                                      .component = "",
                                      .address = "",
                                      .code = code,
                                      .text = text};

    return audit_log_add(log, &entry);
}

/* What does not verify stays as evidence. */
static int put_aside(struct audit_log *log, struct bytes namespace, int64_t now_ms,
                     const struct aico_error *why, struct aico_error *err)
{
    static const uint8_t none[AUDIT_HASH_SIZE];
    CLEANUP(free_memory)
    char *aside = NULL;
    char text[AUDIT_TEXT_MAX];
    int r;

    if (asprintf(&aside, "%s.damaged-%" PRId64, log->path, now_ms) < 0)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    if (rename(log->path, aside) < 0)
        return system_error(err, log->path);
    r = begin_file(log, namespace, none, err);
    (void)snprintf(text, sizeof(text), "the log before this one does not verify and lies in %s: %s",
                   aside, why->text);
    return r < 0 ? r : note(log, now_ms, "damaged", why->code, text);
}

static int go_on(struct audit_log *log, struct bytes namespace, int64_t now_ms,
                 struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct aico_error why = {0};
    struct audit_report report;
    int r = file_read(log->path, FILE_SECRET, FILE_READ_MAX, &text, err);

    if (r < 0 && r != AICO_ESIZE)
        return r;
    if (r < 0)
        (void)aico_error_set(&why, r, "larger than %u bytes", FILE_READ_MAX);
    else
        r = audit_read(bytes_of(text.at, text.size), namespace, log->broker->public, NULL, NULL,
                       &report, &why);
    if (r < 0)
        return put_aside(log, namespace, now_ms, &why, err);
    log->fd = open(log->path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (log->fd < 0 || ftruncate(log->fd, (off_t)report.whole) < 0)
        return system_error(err, log->path);
    log->size = report.whole;
    log->chain = report.chain;
    if (report.whole < text.size)
        return note(log, now_ms, "torn", 0, "a line that was only half written was cut off");
    return 0;
}

int audit_log_open(const char *home, struct bytes namespace, const struct identity *broker,
                   int64_t now_ms, struct audit_log **ret_log, struct aico_error *err)
{
    CLEANUP(audit_log_close)
    struct audit_log *log = calloc(1, sizeof(*log));
    CLEANUP(free_memory)
    char *folder = home_path(home, "log");
    uint8_t previous[AUDIT_HASH_SIZE];
    int r;

    if (!log || !folder) {
        free(STEAL(log));
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    log->fd = -1;
    log->broker = broker;
    log->path = home_path(home, AUDIT_FILE_NAME);
    if (!log->path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = folder_make(folder, err);
    if (r < 0)
        return r;
    if (access(log->path, F_OK) == 0) {
        r = go_on(log, namespace, now_ms, err);
    } else {
        unsigned long last;

        r = last_number(folder, &last, err);
        if (r == 0) {
            end_of_earlier(log, namespace, last, previous);
            r = begin_file(log, namespace, previous, err);
        }
    }
    if (r < 0)
        return r;
    *ret_log = STEAL(log);
    return 0;
}

void audit_log_close(struct audit_log **log)
{
    if (!*log)
        return;
    fd_close(&(*log)->fd);
    buffer_deinit(&(*log)->unsaved);
    free((*log)->path);
    free(*log);
    *log = NULL;
}

/* --- writing ------------------------------------------------------------------------------------
 */

int audit_log_add(struct audit_log *log, const struct audit_entry *entry)
{
    return audit_add(&log->chain, entry, &log->unsaved);
}

size_t audit_log_unsaved(const struct audit_log *log)
{
    return log->unsaved.size;
}

static int append(struct audit_log *log, struct aico_error *err)
{
    size_t done = 0;

    while (done < log->unsaved.size) {
        ssize_t n = pwrite(log->fd, log->unsaved.at + done, log->unsaved.size - done,
                           (off_t)(log->size + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    if (done < log->unsaved.size || fdatasync(log->fd) < 0) {
        int r = system_error(err, log->path);

        (void)!ftruncate(log->fd, (off_t)log->size);
        return r;
    }
    log->size += done;
    log->unsaved.size = 0;
    return 0;
}

/* The file has become large: it gets a number, and another goes on where it ended. When that fails
 * the large one is the one that is written to, and the next save tries again. */
static int begin_next(struct audit_log *log, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *earlier = NULL;
    CLEANUP(free_memory)
    char *folder = strndup(log->path, strlen(log->path) - strlen("/audit"));
    unsigned long last;
    int r = folder ? last_number(folder, &last, err) : AICO_ENOMEM;

    if (r == 0 && asprintf(&earlier, "%s.%lu", log->path, last + 1) < 0)
        r = AICO_ENOMEM;
    if (r == AICO_ENOMEM)
        return aico_error_set(err, r, "out of memory");
    if (r < 0)
        return r;
    if (rename(log->path, earlier) < 0)
        return system_error(err, log->path);
    r = begin_file(log, bytes_text(log->chain.namespace), log->chain.hash, err);
    if (r < 0)
        (void)!rename(earlier, log->path);
    return r;
}

int audit_log_save(struct audit_log *log, int64_t now_ms, struct buffer *ret_head,
                   struct aico_error *err)
{
    const struct audit_chain before = log->chain;
    const size_t size = log->unsaved.size;
    int r;

    if (size == 0)
        return 0;
    r = audit_sign(&log->chain, log->broker, now_ms, &log->unsaved);
    if (r < 0)
        (void)aico_error_set(err, r, "%s: cannot be signed", log->path);
    else if (ret_head)
        r = buffer_append(ret_head, bytes_of(log->unsaved.at + size, log->unsaved.size - size - 1));
    if (r == 0)
        r = append(log, err);
    if (r < 0) {
        log->chain = before;
        log->unsaved.size = size;
        return r;
    }
    if (log->size >= AUDIT_FILE_SIZE)
        return begin_next(log, err);
    return 0;
}
