/* SPDX-License-Identifier: Apache-2.0 */
/* SQLite's own check of a file, opened to be read only. */
#include "store/database_check.h"

#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define LOOK_EVERY 10000 /* steps of SQLite's machine, about a millisecond */

struct check {
    const char *path;
    sqlite3 *db;
    int64_t until_ms;
};

static void check_deinit(struct check *c)
{
    (void)sqlite3_close(c->db);
}

static int is_late(void *context)
{
    const struct check *c = context;

    return moment_now().boot_ms >= c->until_ms;
}

static int failed(const struct check *c, struct aico_error *err)
{
    switch (sqlite3_errcode(c->db) & 0xff) {
    case SQLITE_INTERRUPT:
        return AICO_ETIMEOUT;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return AICO_EKEPTLOCKED;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return aico_error_set(err, AICO_ESTOREDAMAGED, "%s", sqlite3_errmsg(c->db));
    case SQLITE_NOMEM:
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    default:
        return aico_error_set(err, AICO_ESYSTEM, "%s", sqlite3_errmsg(c->db));
    }
}

static int check_application(const struct check *c, uint32_t application, struct aico_error *err)
{
    sqlite3_stmt *q = NULL;
    uint32_t found = 0;
    int r = sqlite3_prepare_v2(c->db, "PRAGMA application_id", -1, &q, NULL);

    if (r == SQLITE_OK)
        r = sqlite3_step(q);
    if (r == SQLITE_ROW)
        found = (uint32_t)sqlite3_column_int64(q, 0);
    (void)sqlite3_finalize(q);
    if (r != SQLITE_ROW)
        return failed(c, err);
    if (found != application)
        return aico_error_set(err, AICO_ESTOREDAMAGED, "it is a file of another program");
    return 0;
}

/* Its first finding is enough: "ok" is none. */
static int check_pages(const struct check *c, struct aico_error *err)
{
    sqlite3_stmt *q = NULL;
    int r = sqlite3_prepare_v2(c->db, "PRAGMA quick_check(1)", -1, &q, NULL), code = 0;
    const char *text;

    if (r == SQLITE_OK)
        r = sqlite3_step(q);
    if (r == SQLITE_ROW) {
        text = (const char *)sqlite3_column_text(q, 0);
        if (!text || strcmp(text, "ok") != 0)
            code = aico_error_set(err, AICO_ESTOREDAMAGED, "%.200s", text ? text : "damaged");
    } else {
        code = failed(c, err);
    }
    (void)sqlite3_finalize(q);
    return code;
}

int database_check(const char *path, uint32_t application, int64_t timeout_ms,
                   struct aico_error *err)
{
    CLEANUP(check_deinit)
    struct check c = {.path = path, .until_ms = moment_now().boot_ms + timeout_ms};
    int r;

    if (access(path, F_OK) < 0)
        return AICO_ENOTFOUND;
    if (sqlite3_open_v2(path, &c.db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
        return failed(&c, err);
    sqlite3_progress_handler(c.db, LOOK_EVERY, is_late, &c);
    r = check_application(&c, application, err);
    return r < 0 ? r : check_pages(&c, err);
}
