/* SPDX-License-Identifier: Apache-2.0 */
/* Kept session state in SQLite: opening, sealing, one transaction a commit. */
#include "store/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "crypto/aead.h"
#include "crypto/kdf.h"
#include "crypto/random.h"
#include "store/file.h"
#include "store/home.h"

#define SCHEMA_VERSION 1
#define LOCK_WAIT_MS 1000 /* a predecessor that is just ending */

const struct kept_kind kept_sessions = {"sessions", "kept seal", "peers then begin new ratchets",
                                        false};
const struct kept_kind kept_outbox = {"outbox", "outbox seal", "what it holds is then not sent",
                                      true};

const struct kept_kind kept_replay = {
    "replay", "replay seal", "what was read before is then not known when it comes again", false};

struct kept {
    const struct kept_kind *kind;
    char *folder, *path, *lock_path;
    const struct identity *identity;
    const struct former_keys *former; /* NULL: none */
    struct secret *key;               /* guarded */
    sqlite3 *db;                      /* NULL: not opened */
    sqlite3_stmt *put, *drop;
    int lock; /* -1: not held */
};

static const char pragmas[] = "PRAGMA locking_mode=EXCLUSIVE;"
                              "PRAGMA journal_mode=TRUNCATE;"
                              "PRAGMA synchronous=FULL;"
                              "PRAGMA secure_delete=ON;"
                              "PRAGMA temp_store=MEMORY;";

static const char schema[] =
    "BEGIN EXCLUSIVE;"
    "CREATE TABLE IF NOT EXISTS owner(identity BLOB PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS kept(key BLOB PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;"
    "PRAGMA application_id=0x4149434b;" /* "AICK" */
    "PRAGMA user_version=1;"
    "COMMIT;";

/* --- errors --------------------------------------------------------------------------------- */

static int damaged(const struct kept *kept, const char *cause, struct aico_error *err)
{
    return aico_error_set(err, AICO_EKEPTDAMAGED, "%s: %s; move it away (mv %s %s.damaged): %s",
                          kept->path, cause, kept->path, kept->path, kept->kind->loss);
}

static int failed(const struct kept *kept, struct aico_error *err)
{
    int code = kept->db ? sqlite3_extended_errcode(kept->db) & 0xff : SQLITE_NOMEM;
    const char *text = kept->db ? sqlite3_errmsg(kept->db) : "out of memory";

    switch (code) {
    case SQLITE_FULL:
        return aico_error_set(err, AICO_EFULL, "%s: %s; free some space", kept->path, text);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_SCHEMA:
    case SQLITE_ERROR:
        return damaged(kept, text, err);
    case SQLITE_NOMEM:
        return aico_error_set(err, AICO_ENOMEM, "%s: out of memory", kept->path);
    default:
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", kept->path, text);
    }
}

/* --- life ----------------------------------------------------------------------------------- */

struct kept *kept_new(const char *home, const char *name, const struct kept_kind *kind,
                      const struct identity *identity, const struct former_keys *former)
{
    CLEANUP(kept_free)
    struct kept *kept = calloc(1, sizeof(*kept));

    if (!kept)
        return NULL;
    kept->lock = -1;
    kept->kind = kind;
    kept->identity = identity;
    kept->former = former;
    kept->folder = home_path(home, "state/%s", name);
    kept->path = home_path(home, "state/%s/%s.db", name, kind->file);
    kept->lock_path = home_path(home, "state/%s/%s.lock", name, kind->file);
    kept->key = guarded_new(sizeof(*kept->key));
    if (!kept->folder || !kept->path || !kept->lock_path || !kept->key)
        return NULL;
    kdf(&identity->storage, kind->label, bytes_of(NULL, 0), kept->key);
    return STEAL(kept);
}

static void close_database(struct kept *kept)
{
    (void)sqlite3_finalize(kept->put);
    (void)sqlite3_finalize(kept->drop);
    (void)sqlite3_close(kept->db);
    kept->put = kept->drop = NULL;
    kept->db = NULL;
    fd_close(&kept->lock);
}

void kept_free(struct kept **kept)
{
    if (!*kept)
        return;
    close_database(*kept);
    guarded_free(&(*kept)->key);
    free((*kept)->folder);
    free((*kept)->path);
    free((*kept)->lock_path);
    free(*kept);
    *kept = NULL;
}

/* --- opening -------------------------------------------------------------------------------- */

static int take_lock(struct kept *kept, struct aico_error *err)
{
    int r = file_lock(kept->lock_path, LOCK_WAIT_MS, &kept->lock, err);

    return r == AICO_ETIMEOUT
               ? aico_error_set(err, AICO_EKEPTLOCKED,
                                "%s: another process runs with this identity; give each its own: "
                                "aico-keytool new NAME",
                                kept->lock_path)
               : r;
}

/* Nobody else may read it, from its first byte on. */
static int make_file(const struct kept *kept, struct aico_error *err)
{
    CLEANUP(fd_close)
    int fd = open(kept->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

    return fd < 0 ? aico_error_set(err, AICO_ESYSTEM, "%s: %s", kept->path, strerror(errno)) : 0;
}

static int check_version(const struct kept *kept, struct aico_error *err)
{
    sqlite3_stmt *statement = NULL;
    int r = 0;

    if (sqlite3_prepare_v2(kept->db, "PRAGMA user_version", -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        r = failed(kept, err);
    else if (sqlite3_column_int(statement, 0) > SCHEMA_VERSION)
        r = aico_error_set(err, AICO_EVERSION, "%s: written by a newer version", kept->path);
    (void)sqlite3_finalize(statement);
    return r;
}

static bool run_with_identity(struct kept *kept, const char *sql)
{
    sqlite3_stmt *statement = NULL;
    bool ok = sqlite3_prepare_v2(kept->db, sql, -1, &statement, NULL) == SQLITE_OK &&
              sqlite3_bind_blob(statement, 1, kept->identity->public, SIGN_PUBLIC_SIZE,
                                SQLITE_STATIC) == SQLITE_OK &&
              sqlite3_step(statement) == SQLITE_DONE;

    (void)sqlite3_finalize(statement);
    return ok;
}

/* How many rows are there although the file belongs to another key. */
static int count_foreign(struct kept *kept, int64_t *ret_count, struct aico_error *err)
{
    sqlite3_stmt *statement = NULL;
    int r = sqlite3_prepare_v2(kept->db,
                               "SELECT count(*) FROM kept WHERE ?1 NOT IN (SELECT identity FROM "
                               "owner) AND EXISTS (SELECT 1 FROM owner)",
                               -1, &statement, NULL);

    if (r == SQLITE_OK)
        r = sqlite3_bind_blob(statement, 1, kept->identity->public, SIGN_PUBLIC_SIZE,
                              SQLITE_STATIC);
    if (r == SQLITE_OK)
        r = sqlite3_step(statement);
    if (r == SQLITE_ROW)
        *ret_count = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    return r == SQLITE_ROW ? 0 : failed(kept, err);
}

static int refuse_foreign(struct kept *kept, struct aico_error *err)
{
    int64_t count = 0;
    int r = count_foreign(kept, &count, err);

    if (r < 0 || count == 0)
        return r;
    return aico_error_set(err, AICO_EOPEN,
                          "%s: %lld rows are sealed with a former key of %s; put that key back, or "
                          "move the file away (mv %s %s.former): %s",
                          kept->path, (long long)count, kept->identity->name, kept->path,
                          kept->path, kept->kind->loss);
}

/* The former key of this component that the file belongs to; NULL: it does not. */
static int find_former(struct kept *kept, const struct identity **ret_former,
                       struct aico_error *err)
{
    sqlite3_stmt *owner = NULL;
    int step = SQLITE_DONE;

    *ret_former = NULL;
    if (!kept->former)
        return 0;
    if (sqlite3_prepare_v2(kept->db, "SELECT identity FROM owner", -1, &owner, NULL) != SQLITE_OK)
        return failed(kept, err);
    while (!*ret_former && (step = sqlite3_step(owner)) == SQLITE_ROW) {
        struct bytes identity =
            bytes_of(sqlite3_column_blob(owner, 0), (size_t)sqlite3_column_bytes(owner, 0));

        for (size_t i = 0; i < kept->former->count; i++)
            if (bytes_equal(identity, bytes_of(kept->former->items[i].public, SIGN_PUBLIC_SIZE)))
                *ret_former = &kept->former->items[i];
    }
    (void)sqlite3_finalize(owner);
    return *ret_former || step == SQLITE_DONE ? 0 : failed(kept, err);
}

/* Whose rows there are now. */
static int claim(struct kept *kept, struct aico_error *err)
{
    static const char *const steps[] = {"DELETE FROM owner WHERE identity <> ?1",
                                        "INSERT OR IGNORE INTO owner VALUES(?1)"};
    bool ok = true;

    for (size_t i = 0; ok && i < COUNT_OF(steps); i++)
        ok = run_with_identity(kept, steps[i]);
    return ok ? 0 : failed(kept, err);
}

/* Rows of a key that is none of ours cannot be opened: they go. */
static int erase_foreign(struct kept *kept, struct aico_error *err)
{
    return run_with_identity(kept, "DELETE FROM kept WHERE ?1 NOT IN (SELECT identity FROM owner)")
               ? 0
               : failed(kept, err);
}

/* --- rows ----------------------------------------------------------------------------------- */

static struct bytes column(sqlite3_stmt *row, int index)
{
    const void *at = sqlite3_column_blob(row, index);

    return bytes_of(at, (size_t)sqlite3_column_bytes(row, index));
}

/* What the row holds, in @ret_plain: wipe it. */
static int open_row(const struct kept *kept, const struct secret *seal, sqlite3_stmt *row,
                    struct buffer *ret_plain, struct aico_error *err)
{
    struct bytes value = column(row, 1);
    size_t size = value.size - AEAD_NONCE_SIZE - AEAD_TAG_SIZE;
    uint8_t *to;

    if (value.size < AEAD_NONCE_SIZE + AEAD_TAG_SIZE)
        return damaged(kept, "a row is cut short", err);
    to = buffer_reserve(ret_plain, size + 1);
    if (!to)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    if (aead_open(seal, value.at, column(row, 0), bytes_of(NULL, 0),
                  bytes_of(value.at + AEAD_NONCE_SIZE, value.size - AEAD_NONCE_SIZE), to) < 0)
        return damaged(kept, "a row was changed", err);
    ret_plain->size = size;
    return 0;
}

static int take_row(const struct kept *kept, sqlite3_stmt *row,
                    int (*take)(void *to, struct bytes key, struct bytes value), void *to,
                    struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer plain = {0};
    int r = open_row(kept, kept->key, row, &plain, err);

    if (r < 0)
        return r;
    r = take(to, column(row, 0), buffer_view(&plain));
    if (r == AICO_EFORMAT)
        return damaged(kept, "a row does not parse", err);
    return r < 0 ? aico_error_set(err, r, "%s: %s", kept->path, aico_error_string(r)) : 0;
}

static int put_row(struct kept *kept, const struct keep_change *change)
{
    size_t size = AEAD_NONCE_SIZE + change->value.size + AEAD_TAG_SIZE;
    CLEANUP(free_memory)
    uint8_t *sealed = malloc(size);
    int r;

    if (!sealed)
        return SQLITE_NOMEM;
    random_system.bytes(random_system.context, sealed, AEAD_NONCE_SIZE);
    aead_seal(kept->key, sealed, change->key, bytes_of(NULL, 0), change->value,
              sealed + AEAD_NONCE_SIZE);
    (void)sqlite3_bind_blob(kept->put, 1, change->key.at, (int)change->key.size, SQLITE_STATIC);
    r = sqlite3_bind_blob(kept->put, 2, sealed, (int)size, SQLITE_STATIC);
    if (r == SQLITE_OK)
        r = sqlite3_step(kept->put);
    (void)sqlite3_reset(kept->put);
    (void)sqlite3_clear_bindings(kept->put);
    return r;
}

static int drop_row(struct kept *kept, const struct keep_change *change)
{
    int r = sqlite3_bind_blob(kept->drop, 1, change->key.at, (int)change->key.size, SQLITE_STATIC);

    if (r == SQLITE_OK)
        r = sqlite3_step(kept->drop);
    (void)sqlite3_reset(kept->drop);
    (void)sqlite3_clear_bindings(kept->drop);
    return r;
}

/* --- another key ---------------------------------------------------------------------------- */

/* The first row behind @after, opened with @seal, is sealed with our key. *ret_key: of that row,
 * the caller's; empty: there was none. */
static int reseal_next(struct kept *kept, sqlite3_stmt *next, const struct secret *seal,
                       struct buffer *key, bool *ret_more, struct aico_error *err)
{
    CLEANUP(buffer_wipe_deinit)
    struct buffer plain = {0};
    struct keep_change change;
    int step, r;

    (void)sqlite3_bind_blob(next, 1, key->at ? key->at : (const uint8_t *)"", (int)key->size,
                            SQLITE_TRANSIENT);
    step = sqlite3_step(next);
    *ret_more = step == SQLITE_ROW;
    if (!*ret_more)
        return step == SQLITE_DONE ? 0 : failed(kept, err);
    r = open_row(kept, seal, next, &plain, err);
    if (r < 0)
        return r;
    key->size = 0;
    if (buffer_append(key, column(next, 0)) < 0)
        return aico_error_set(err, AICO_ENOMEM, "%s: out of memory", kept->path);
    (void)sqlite3_reset(next);
    change = (struct keep_change){buffer_view(key), buffer_view(&plain)};
    return put_row(kept, &change) == SQLITE_DONE ? 0 : failed(kept, err);
}

static int reseal(struct kept *kept, const struct identity *former, struct aico_error *err)
{
    CLEANUP(secret_wipe)
    struct secret seal = {0};
    CLEANUP(buffer_deinit)
    struct buffer key = {0};
    sqlite3_stmt *next = NULL;
    bool more = true;
    int r = 0;

    kdf(&former->storage, kept->kind->label, bytes_of(NULL, 0), &seal);
    if (sqlite3_prepare_v2(kept->db,
                           "SELECT key, value FROM kept WHERE key > ?1 ORDER BY key LIMIT 1", -1,
                           &next, NULL) != SQLITE_OK)
        return failed(kept, err);
    while (r == 0 && more)
        r = reseal_next(kept, next, &seal, &key, &more, err);
    (void)sqlite3_finalize(next);
    return r;
}

/* Makes the file one of our key, in one transaction: before it, it is wholly of the former one. */
static int take_over(struct kept *kept, struct aico_error *err)
{
    const struct identity *former = NULL;
    int r = 0;

    if (sqlite3_exec(kept->db, "BEGIN EXCLUSIVE", NULL, NULL, NULL) != SQLITE_OK)
        return failed(kept, err);
    r = find_former(kept, &former, err);
    if (r == 0 && former)
        r = reseal(kept, former, err);
    else if (r == 0)
        r = kept->kind->is_refused ? refuse_foreign(kept, err) : erase_foreign(kept, err);
    if (r == 0)
        r = claim(kept, err);
    if (r == 0 && sqlite3_exec(kept->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        r = failed(kept, err);
    if (r < 0)
        (void)sqlite3_exec(kept->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

static int open_database(struct kept *kept, struct aico_error *err)
{
    int r = folder_make(kept->folder, err);

    if (r == 0)
        r = take_lock(kept, err);
    if (r == 0)
        r = make_file(kept, err);
    if (r < 0)
        return r;
    if (sqlite3_open_v2(kept->path, &kept->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW,
                        NULL) != SQLITE_OK ||
        sqlite3_exec(kept->db, pragmas, NULL, NULL, NULL) != SQLITE_OK)
        return failed(kept, err);
    r = check_version(kept, err);
    if (r < 0)
        return r;
    if (sqlite3_exec(kept->db, schema, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(kept->db, "INSERT OR REPLACE INTO kept VALUES(?1, ?2)", -1,
                           SQLITE_PREPARE_PERSISTENT, &kept->put, NULL) != SQLITE_OK ||
        sqlite3_prepare_v3(kept->db, "DELETE FROM kept WHERE key = ?1", -1,
                           SQLITE_PREPARE_PERSISTENT, &kept->drop, NULL) != SQLITE_OK)
        return failed(kept, err);
    return take_over(kept, err);
}

/* --- the keeper ----------------------------------------------------------------------------- */

static int on_load(void *context, int (*take)(void *to, struct bytes key, struct bytes value),
                   void *to, struct aico_error *err)
{
    struct kept *kept = context;
    sqlite3_stmt *rows = NULL;
    int r = kept->db ? 0 : open_database(kept, err), step = SQLITE_DONE;

    if (r < 0) {
        close_database(kept);
        return r;
    }
    if (sqlite3_prepare_v2(kept->db, "SELECT key, value FROM kept ORDER BY key", -1, &rows, NULL) !=
        SQLITE_OK)
        r = failed(kept, err);
    while (r == 0 && (step = sqlite3_step(rows)) == SQLITE_ROW)
        r = take_row(kept, rows, take, to, err);
    if (r == 0 && step != SQLITE_DONE)
        r = failed(kept, err);
    (void)sqlite3_finalize(rows);
    return r;
}

static int on_commit(void *context, const struct keep_change *changes, size_t count,
                     struct aico_error *err)
{
    struct kept *kept = context;
    int r;

    if (!kept->db)
        return aico_error_set(err, AICO_ESTATE, "%s: not open", kept->path);
    if (sqlite3_exec(kept->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return failed(kept, err);
    for (size_t i = 0; i < count; i++) {
        int step = changes[i].value.at ? put_row(kept, &changes[i]) : drop_row(kept, &changes[i]);

        if (step == SQLITE_DONE)
            continue;
        r = step == SQLITE_NOMEM ? aico_error_set(err, AICO_ENOMEM, "%s: out of memory", kept->path)
                                 : failed(kept, err);
        (void)sqlite3_exec(kept->db, "ROLLBACK", NULL, NULL, NULL);
        return r;
    }
    if (sqlite3_exec(kept->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
        return 0;
    r = failed(kept, err);
    (void)sqlite3_exec(kept->db, "ROLLBACK", NULL, NULL, NULL);
    return r;
}

struct keeper kept_keeper(struct kept *kept)
{
    return (struct keeper){kept, on_load, on_commit};
}
