/* SPDX-License-Identifier: Apache-2.0 */
/* Heads that were seen. */
#include "store/witness.h"

#include <inttypes.h>
#include <string.h>

#include "base/cleanup.h"
#include "store/home.h"

#define APART_MS ((uint64_t)6 * 3600 * 1000)
#define FILE_SIZE_MAX ((size_t)WITNESS_LINES * 2 * AUDIT_LINE_MAX)

static struct bytes audit_head_id(const struct audit_head *head)
{
    return bytes_of(head->id, sizeof(head->id));
}

/* Lines of the file, its newest ones last. */
struct lines {
    struct bytes at[2 * WITNESS_LINES];
    size_t count;
};

static void split(struct bytes text, struct lines *lines)
{
    while (text.size > 0 && lines->count < COUNT_OF(lines->at)) {
        const uint8_t *end = memchr(text.at, '\n', text.size);
        size_t size = end ? (size_t)(end - text.at) : text.size;

        if (size > 0)
            lines->at[lines->count++] = bytes_of(text.at, size);
        size += end != NULL;
        text = bytes_of(text.at + size, text.size - size);
    }
}

static bool is_same_line(struct bytes audit_line, struct bytes other)
{
    return bytes_equal(audit_line, other);
}

static bool is_same_log(const struct audit_head *a, const struct audit_head *b)
{
    return bytes_equal(audit_head_id(a), audit_head_id(b));
}

/* Whether a log that had ended with @seen cannot end with @now. */
static bool contradicts(const struct audit_head *seen, const struct audit_head *now)
{
    return is_same_log(seen, now) && (now->entries < seen->entries ||
                                      (now->entries == seen->entries &&
                                       memcmp(seen->hash, now->hash, sizeof(seen->hash)) != 0));
}

/* The last line is given up for a newer one when the one before it is near enough. */
static bool is_superseded(const struct lines *lines, const struct audit_head *last,
                          const struct audit_head *now)
{
    struct audit_head before;

    return lines->count >= 2 && is_same_log(last, now) &&
           audit_head_parse(lines->at[lines->count - 2], &before) == 0 &&
           is_same_log(&before, now) && now->time_ms - before.time_ms < APART_MS;
}

static int write_lines(const char *path, const struct lines *lines, struct bytes line,
                       struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    size_t first = lines->count >= WITNESS_LINES ? lines->count - WITNESS_LINES + 1 : 0;
    int r = 0;

    for (size_t i = first; r == 0 && i < lines->count; i++)
        if ((r = buffer_append(&text, lines->at[i])) == 0)
            r = buffer_append_text(&text, "\n");
    if (r == 0)
        r = buffer_append(&text, line);
    if (r == 0)
        r = buffer_append_text(&text, "\n");
    return r < 0 ? aico_error_set(err, AICO_ENOMEM, "out of memory")
                 : file_write(path, 0600, true, buffer_view(&text), err);
}

static int say_contradiction(const char *path, const struct audit_head *seen,
                             const struct audit_head *now, struct aico_error *err)
{
    return aico_error_set(err, AICO_EAUDIT,
                          "the broker shows an audit log with %" PRIu64
                          " entries that is not the one it showed with %" PRIu64
                          ": it was cut, replaced or forked; both heads are in %s",
                          now->entries, seen->entries, path);
}

int witness_keep(const char *home, const char *name, struct bytes namespace,
                 const uint8_t broker[SIGN_PUBLIC_SIZE], struct bytes line, struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = home_path(home, "state/%s/witness", name);
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct audit_head now, last;
    struct lines lines = {.count = 0};
    bool is_contradicted = false;
    int r = path ? 0 : AICO_ENOMEM;

    if (r < 0 || audit_head_parse(line, &now) < 0)
        return aico_error_set(err, r < 0 ? r : AICO_EAUDIT,
                              "the broker shows no head of an audit log");
    r = audit_head_verify(&now, namespace, broker);
    if (r < 0)
        return aico_error_set(err, r, "a head of the audit log is not signed by the broker");
    r = file_read(path, FILE_SECRET, FILE_SIZE_MAX, &text, err);
    if (r < 0 && r != AICO_ENOTFOUND)
        return r;
    split(buffer_view(&text), &lines);
    if (lines.count > 0 && is_same_line(lines.at[lines.count - 1], line))
        return 0;
    if (lines.count > 0 && audit_head_parse(lines.at[lines.count - 1], &last) == 0) {
        is_contradicted = contradicts(&last, &now);
        if (!is_contradicted && is_superseded(&lines, &last, &now))
            lines.count--;
    }
    r = write_lines(path, &lines, line, err);
    return r == 0 && is_contradicted ? say_contradiction(path, &last, &now, err) : r;
}
