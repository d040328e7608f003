/* SPDX-License-Identifier: Apache-2.0 */
/* audit verify: whether the broker's audit log is whole (trust/audit.h). */
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "keytool/keytool.h"
#include "store/audit_log.h"
#include "store/file.h"

#define LOG_SIZE_MAX (64u * 1024 * 1024)
#define WITNESS_SIZE_MAX (16u * 1024 * 1024)
/* A running broker signs twice a second: the end of its log is looked at again for so long. */
#define SIGNED_WITHIN_MS 3000
#define LOOK_EVERY_MS 100

/* A head that somebody saw, in a file of heads. */
struct witness {
    struct audit_head head;
    size_t line;
    char path[200]; /* the file it is from, for people */
    bool is_found;
};

struct verification {
    struct registry *registry;
    const uint8_t *broker; /* its public key */
    struct witness *witnesses;
    size_t witness_count;
    uint64_t entries;
    bool has_previous;
    uint8_t previous[AUDIT_HASH_SIZE]; /* where the file before ended */
    struct audit_head last;
};

static void verification_deinit(struct verification *v)
{
    registry_unref(&v->registry);
    free(v->witnesses);
}

static bool is_same_head(const struct audit_head *a, const struct audit_head *b)
{
    return memcmp(a->id, b->id, sizeof(a->id)) == 0 && a->entries == b->entries &&
           memcmp(a->hash, b->hash, sizeof(a->hash)) == 0; /* public */
}

static void saw_head(void *context, const struct audit_head *head)
{
    struct verification *v = context;

    for (size_t i = 0; i < v->witness_count; i++)
        if (is_same_head(&v->witnesses[i].head, head))
            v->witnesses[i].is_found = true;
}

/* --- witnesses ----------------------------------------------------------------------------------
 */

static int take_witness(struct verification *v, const char *path, size_t number, struct bytes line,
                        struct aico_error *err)
{
    struct witness witness = {.line = number};
    struct witness *grown;

    if (audit_head_parse(line, &witness.head) < 0)
        return aico_error_set(err, AICO_EAUDIT, "%s: line %zu: not a head of an audit log", path,
                              number);
    if (audit_head_verify(&witness.head, registry_namespace(v->registry), v->broker) < 0)
        return aico_error_set(err, AICO_ESIGNATURE,
                              "%s: line %zu: the broker did not sign this head", path, number);
    (void)snprintf(witness.path, sizeof(witness.path), "%s", path);
    grown = reallocarray(v->witnesses, v->witness_count + 1, sizeof(*grown));
    if (!grown)
        return out_of_memory(err);
    v->witnesses = grown;
    v->witnesses[v->witness_count++] = witness;
    return 0;
}

/* Every line of @path that is a head; a log is one of such files, so its other lines are passed
 * over. */
static int read_witnesses(struct verification *v, const char *path, struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    size_t at = 0, number = 1;
    int r = file_read(path, FILE_TRUSTED, WITNESS_SIZE_MAX, &text, err);

    for (; r == 0 && at < text.size; number++) {
        const uint8_t *end = memchr(text.at + at, '\n', text.size - at);
        size_t size = end ? (size_t)(end - text.at) - at : text.size - at;

        if (size > 5 && memcmp(text.at + at, "head ", 5) == 0)
            r = take_witness(v, path, number, bytes_of(text.at + at, size), err);
        at += size + 1;
    }
    return r;
}

static void globbed_free(glob_t *found)
{
    globfree(found);
}

/* @path: a file of heads, or a home: what its components have seen. */
static int read_all_witnesses(struct verification *v, const char *path, struct aico_error *err)
{
    CLEANUP(globbed_free)
    glob_t found = {.gl_pathc = 0};
    CLEANUP(free_memory)
    char *pattern = NULL;
    struct stat st;
    int r = 0;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        pattern = home_path(path, "state/*/witness");
        if (!pattern || glob(pattern, 0, NULL, &found) == GLOB_NOSPACE)
            return out_of_memory(err);
        for (size_t i = 0; r == 0 && i < found.gl_pathc; i++)
            r = read_witnesses(v, found.gl_pathv[i], err);
    } else {
        r = read_witnesses(v, path, err);
    }
    if (r == 0 && v->witness_count == 0)
        return aico_error_set(err, AICO_EAUDIT, "%s: no head of an audit log in it", path);
    return r;
}

/* What a witness saw and no file shows: the log was cut, or the broker wrote two. */
static int check_witnesses(const struct verification *v, struct aico_error *err)
{
    for (size_t i = 0; i < v->witness_count; i++) {
        const struct witness *w = &v->witnesses[i];
        char id[2 * AUDIT_ID_SIZE + 1];

        if (w->is_found)
            continue;
        hex_write(bytes_of(w->head.id, sizeof(w->head.id)), id);
        return aico_error_set(err, AICO_EAUDIT,
                              "%s: line %zu: the broker signed entry %" PRIu64
                              " of log %s, which is not here: the "
                              "log was cut, replaced or forked",
                              w->path, w->line, w->head.entries, id);
    }
    return 0;
}

/* --- logs ---------------------------------------------------------------------------------------
 */

static int read_log(struct verification *v, const char *path, struct audit_report *ret,
                    size_t *ret_size, struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct aico_error why = {0};
    int r = file_read(path, FILE_TRUSTED, LOG_SIZE_MAX, &text, err);

    if (r < 0)
        return r;
    r = audit_read(bytes_of(text.at, text.size), registry_namespace(v->registry), v->broker,
                   saw_head, v, ret, &why);
    if (r < 0)
        return aico_error_set(err, r, "%s: %s", path, why.text);
    *ret_size = text.size;
    return 0;
}

static void look_later(void)
{
    const struct timespec pause = {.tv_nsec = LOOK_EVERY_MS * 1000000L};

    (void)nanosleep(&pause, NULL);
}

/* One file. Of the last one of a running broker the end may not be signed yet. */
static int verify_log(struct verification *v, const char *path, bool is_last,
                      struct aico_error *err)
{
    struct audit_report report;
    size_t size = 0;
    int r;

    for (int waited = 0;; waited += LOOK_EVERY_MS) {
        r = read_log(v, path, &report, &size, err);
        if (r < 0 || (report.whole == size && report.signed_entries == report.chain.entries))
            break;
        if (!is_last || waited >= SIGNED_WITHIN_MS)
            break;
        look_later();
    }
    if (r < 0)
        return r;
    if (report.whole != size)
        return aico_error_set(err, AICO_EAUDIT, "%s: its last line is not whole", path);
    if (report.signed_entries != report.chain.entries)
        return aico_error_set(err, AICO_EAUDIT,
                              "%s: nobody signed entries %" PRIu64 " to %" PRIu64
                              ": the broker was killed, or they were added or the end was cut",
                              path, report.signed_entries + 1, report.chain.entries);
    if (v->has_previous && memcmp(report.chain.previous, v->previous, AUDIT_HASH_SIZE) != 0)
        return aico_error_set(err, AICO_EAUDIT, "%s: does not go on where the file before it ended",
                              path);
    memcpy(v->previous, report.chain.hash, AUDIT_HASH_SIZE);
    v->has_previous = true;
    v->entries += report.chain.entries;
    v->last = report.last;
    return 0;
}

static void put_result(const struct keytool *k, const struct verification *v, size_t files)
{
    char id[2 * AUDIT_ID_SIZE + 1], hash[2 * AUDIT_HASH_SIZE + 1];

    hex_write(bytes_of(v->last.id, sizeof(v->last.id)), id);
    hex_write(bytes_of(v->last.hash, sizeof(v->last.hash)), hash);
    if (k->json)
        (void)printf("{\"files\":%zu,\"entries\":%" PRIu64
                     ",\"witnesses\":%zu,\"log\":\"%s\",\"head\":\"%s\"}\n",
                     files, v->entries, v->witness_count, id, hash);
    else
        (void)printf(
            "%" PRIu64
            " entries in %zu file%s, all signed by the broker; %zu witnessed head%s found\n",
            v->entries, files, files == 1 ? "" : "s", v->witness_count,
            v->witness_count == 1 ? "" : "s");
    if (v->witness_count == 0)
        say(k,
            "without --witness a missing end cannot be seen: --witness %s asks what components saw",
            k->home);
}

int verb_audit_verify(struct keytool *k, char **arguments, int count, struct aico_error *err)
{
    CLEANUP(verification_deinit)
    struct verification v = {.registry = NULL};
    CLEANUP(audit_files_deinit)
    struct audit_files files = {NULL, 0};
    const struct component *broker;
    int r = registry_current(k, &v.registry, err);

    if (r < 0)
        return r;
    broker = registry_broker(v.registry);
    if (!broker)
        return aico_error_set(err, AICO_EBROKERKEY, "the registry names no broker");
    v.broker = broker->identity;
    if (k->witness && (r = read_all_witnesses(&v, k->witness, err)) < 0)
        return r;
    if (count == 0 && (r = audit_files_list(k->home, &files, err)) < 0)
        return r;
    for (size_t i = 0; r == 0 && i < files.count; i++)
        r = verify_log(&v, files.paths[i], i + 1 == files.count, err);
    for (int i = 0; r == 0 && i < count; i++)
        r = verify_log(&v, arguments[i], i + 1 == count, err);
    if (r == 0 && k->witness)
        r = check_witnesses(&v, err);
    if (r == 0)
        put_result(k, &v, count > 0 ? (size_t)count : files.count);
    return r;
}
