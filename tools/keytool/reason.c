/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HOME/revocations: why somebody was revoked, for the record. The registry has no room for it, and
 * is everybody's. One line a key, the oldest first:
 *
 *   VERSION TIME NAME IDENTITY REASON     of the registry, UTC, 64 hex digits, the rest of the line
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "keytool/keytool.h"
#include "store/file.h"

#define RECORD_SIZE_MAX ((size_t)16 * 1024 * 1024)
#define REASON_SIZE_MAX 500

int reason_check(const char *reason, struct aico_error *err)
{
    struct bytes text = bytes_text(reason ? reason : "");

    if (text.size == 0)
        return aico_error_set(err, AICO_EINVAL, "say why: --reason TEXT");
    if (text.size > REASON_SIZE_MAX)
        return aico_error_set(err, AICO_EINVAL, "--reason: at most %d bytes", REASON_SIZE_MAX);
    if (!utf8_is_valid(text))
        return aico_error_set(err, AICO_EINVAL, "--reason: not UTF-8");
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] < 0x20 || text.at[i] == 0x7f)
            return aico_error_set(err, AICO_EINVAL, "--reason: one line, no control characters");
    return 0;
}

/* What is there; empty when there is none. */
static int record_read(const struct keytool *k, char **ret_path, struct buffer *ret,
                       struct aico_error *err)
{
    int r;

    *ret_path = home_path(k->home, "revocations");
    if (!*ret_path)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = file_read(*ret_path, FILE_TRUSTED, RECORD_SIZE_MAX, ret, err);
    return r == AICO_ENOTFOUND ? 0 : r;
}

int reason_note(const struct keytool *k, const struct change *change, const char *name,
                struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = NULL;
    CLEANUP(buffer_deinit)
    struct buffer record = {0};
    char identity[65], time[WHEN_SIZE];
    int r = record_read(k, &path, &record, err);

    if (r < 0)
        return r;
    for (size_t i = 0; r == 0 && i < registry_component_count(change->current); i++) {
        const struct component *c = registry_component_at(change->current, i);

        if (strcmp(c->name, name) != 0 || c->state != COMPONENT_ACTIVE)
            continue;
        hex_write(bytes_of(c->identity, sizeof(c->identity)), identity);
        r = buffer_printf(&record, "%" PRIu64 " %s %s %s %s\n", change->version,
                          when(moment_now().real_ms, time), name, identity, k->reason);
    }
    if (r < 0)
        return aico_error_set(err, r, "out of memory");
    return file_write(path, 0600, true, buffer_view(&record), err);
}

int reason_find(const struct keytool *k, const struct component *c, char **ret_reason,
                struct aico_error *err)
{
    CLEANUP(free_memory)
    char *path = NULL;
    CLEANUP(buffer_deinit)
    struct buffer record = {0};
    char identity[65], of_line[65];
    int r = record_read(k, &path, &record, err);
    const char *line, *found = NULL;

    *ret_reason = NULL;
    if (r == 0 && buffer_append(&record, bytes_of("", 1)) < 0)
        r = aico_error_set(err, AICO_ENOMEM, "out of memory");
    if (r < 0)
        return r;
    hex_write(bytes_of(c->identity, sizeof(c->identity)), identity);
    for (line = (const char *)record.at; *line; line += strcspn(line, "\n"), line += *line != 0) {
        int before = 0;

        if (sscanf(line, "%*s %*s %*s %64s %n", of_line, &before) == 1 && before > 0 &&
            strcmp(of_line, identity) == 0)
            found = line + before;
    }
    if (!found)
        return 0;
    *ret_reason = strndup(found, strcspn(found, "\n"));
    return *ret_reason ? 0 : aico_error_set(err, AICO_ENOMEM, "out of memory");
}
