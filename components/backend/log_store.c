/* SPDX-License-Identifier: Apache-2.0 */
/* Log messages in SQLite: schema, batched writing, full text query. */
#include "backend/log_store.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/text.h"

#define SCHEMA_VERSION 1
#define APPLICATION_ID 0x4149434f /* "AICO": file(1) and we tell our database from others */

struct log_store {
    sqlite3 *db;
    sqlite3_stmt *insert;
    sqlite3_stmt *insert_text;
    sqlite3_stmt *insert_loss;
    char *path;
    bool in_transaction;
    uint64_t committed; /* rows; what a count(*) would say */
    uint64_t pending;
    uint64_t duplicates;
    uint64_t gaps;
    uint64_t unopened;
};

/*
 * A publisher that starts again counts from the beginning, so its time belongs to what makes a
 * message unique; without a time nothing does. The text index holds no copy of the payloads
 * (content=''), rows are never changed.
 */
static const char schema[] =
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS messages("
    " id INTEGER PRIMARY KEY, sender TEXT NOT NULL, topic TEXT NOT NULL, direct INTEGER NOT NULL,"
    " sequence INTEGER NOT NULL, sent_ms INTEGER NOT NULL, received_ms INTEGER NOT NULL,"
    " payload BLOB NOT NULL);"
    "CREATE UNIQUE INDEX IF NOT EXISTS messages_once"
    " ON messages(sender, topic, sent_ms, sequence, direct) WHERE sent_ms <> 0;"
    "CREATE VIRTUAL TABLE IF NOT EXISTS messages_text"
    " USING fts5(payload, content='', columnsize=0);"
    "CREATE TABLE IF NOT EXISTS losses("
    " id INTEGER PRIMARY KEY, kind TEXT NOT NULL, sender TEXT NOT NULL, topic TEXT NOT NULL,"
    " count INTEGER NOT NULL, cause TEXT NOT NULL, received_ms INTEGER NOT NULL);"
    "PRAGMA application_id=0x4149434f;"
    "PRAGMA user_version=1;"
    "COMMIT;";

static int store_failed(struct log_store *store, struct aico_error *err)
{
    int primary = store->db ? sqlite3_errcode(store->db) & 0xff : SQLITE_NOMEM;
    const char *text = store->db ? sqlite3_errmsg(store->db) : "out of memory";

    if (primary == SQLITE_FULL)
        return aico_error_set(err, AICO_EFULL, "%s: %s; free some space and start again",
                              store->path, text);
    if (primary == SQLITE_NOTADB || primary == SQLITE_CORRUPT)
        return aico_error_set(err, AICO_ECONFIG, "%s: %s; name another file with --db", store->path,
                              text);
    return aico_error_set(err, primary == SQLITE_NOMEM ? AICO_ENOMEM : AICO_ESYSTEM, "%s: %s",
                          store->path, text);
}

/* Makes the folders above @path, for this user only. */
static int make_folders(const char *path, struct aico_error *err)
{
    char *copy = strdup(path);
    int r = 0;

    if (!copy)
        return AICO_ENOMEM;
    for (char *slash = strchr(copy + 1, '/'); slash && r == 0; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            r = aico_error_set(err, AICO_ESYSTEM, "%s: %s", copy, strerror(errno));
        *slash = '/';
    }
    free(copy);
    return r;
}

static int select_number(struct log_store *store, const char *sql, int64_t *ret,
                         struct aico_error *err)
{
    sqlite3_stmt *statement = NULL;
    int r = 0;

    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK ||
        sqlite3_step(statement) != SQLITE_ROW)
        r = store_failed(store, err);
    else
        *ret = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    return r;
}

static int check_version(struct log_store *store, struct aico_error *err)
{
    int64_t application = 0, version = 0, tables = 0;
    int r = select_number(store, "PRAGMA application_id", &application, err);

    if (r == 0)
        r = select_number(store, "PRAGMA user_version", &version, err);
    if (r == 0)
        r = select_number(store, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (r < 0)
        return r;

    if (tables > 0 && application != APPLICATION_ID)
        return aico_error_set(err, AICO_ECONFIG,
                              "%s: a database of another program; name another file with --db",
                              store->path);
    if (version > SCHEMA_VERSION)
        return aico_error_set(err, AICO_ECONFIG,
                              "%s: written by a newer aico-backend (version %lld, we know %d)",
                              store->path, (long long)version, SCHEMA_VERSION);
    return 0;
}

static int read_counters(struct log_store *store, struct aico_error *err)
{
    int64_t rows = 0, gaps = 0, unopened = 0;
    int r = select_number(store, "SELECT count(*) FROM messages", &rows, err);

    if (r == 0)
        r = select_number(store, "SELECT ifnull(sum(count), 0) FROM losses WHERE kind = 'gap'",
                          &gaps, err);
    if (r == 0)
        r = select_number(store, "SELECT ifnull(sum(count), 0) FROM losses WHERE kind <> 'gap'",
                          &unopened, err);
    store->committed = (uint64_t)rows;
    store->gaps = (uint64_t)gaps;
    store->unopened = (uint64_t)unopened;
    return r;
}

static int prepare(struct log_store *store, const char *sql, sqlite3_stmt **ret,
                   struct aico_error *err)
{
    if (sqlite3_prepare_v3(store->db, sql, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL) != SQLITE_OK)
        return store_failed(store, err);
    return 0;
}

static int prepare_all(struct log_store *store, struct aico_error *err)
{
    int r = prepare(store,
                    "INSERT OR IGNORE INTO messages"
                    "(sender, topic, direct, sequence, sent_ms, received_ms, payload)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    &store->insert, err);

    if (r == 0)
        r = prepare(store, "INSERT INTO messages_text(rowid, payload) VALUES(?1, ?2)",
                    &store->insert_text, err);
    if (r == 0)
        r = prepare(store,
                    "INSERT INTO losses(kind, sender, topic, count, cause, received_ms)"
                    " VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
                    &store->insert_loss, err);
    return r;
}

/*
 * synchronous=NORMAL: a crash of the backend or of its machine's programs loses nothing that was
 * committed; a power cut may lose the last transactions, never damage the file. Whoever needs more
 * uses a stored topic: its publisher is told when the message is on disk.
 */
static int open_database(struct log_store *store, struct aico_error *err)
{
    static const char settings[] =
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-16384;"
        "PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=67108864;";
    int r;

    if (sqlite3_open_v2(store->path, &store->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK)
        return store_failed(store, err);
    (void)sqlite3_busy_timeout(store->db, 5000);

    r = check_version(store, err);
    if (r < 0)
        return r;
    if (sqlite3_exec(store->db, settings, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(store->db, schema, NULL, NULL, NULL) != SQLITE_OK)
        return store_failed(store, err);

    r = read_counters(store, err);
    return r < 0 ? r : prepare_all(store, err);
}

int log_store_open(const char *path, struct log_store **ret_store, struct aico_error *err)
{
    struct log_store *store = calloc(1, sizeof(*store));
    int r;

    if (!store || !(store->path = strdup(path))) {
        free(store);
        return aico_error_set(err, AICO_ENOMEM, "%s: out of memory", path);
    }
    r = make_folders(path, err);
    if (r == 0)
        r = open_database(store, err);
    if (r < 0) {
        log_store_close(&store);
        return r;
    }
    *ret_store = store;
    return 0;
}

void log_store_close(struct log_store **store)
{
    struct log_store *s = *store;

    *store = NULL;
    if (!s)
        return;
    (void)sqlite3_finalize(s->insert);
    (void)sqlite3_finalize(s->insert_text);
    (void)sqlite3_finalize(s->insert_loss);
    (void)sqlite3_close(s->db);
    free(s->path);
    free(s);
}

/* Runs a prepared statement to its end and lets go of what was bound to it. */
static int run(struct log_store *store, sqlite3_stmt *statement, struct aico_error *err)
{
    int r = 0;

    if (sqlite3_step(statement) != SQLITE_DONE)
        r = store_failed(store, err);
    (void)sqlite3_reset(statement);
    (void)sqlite3_clear_bindings(statement);
    return r;
}

static int begin(struct log_store *store, struct aico_error *err)
{
    if (store->in_transaction)
        return 0;
    if (sqlite3_exec(store->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return store_failed(store, err);
    store->in_transaction = true;
    return 0;
}

static int give_up(struct log_store *store, int code)
{
    (void)sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL);
    store->in_transaction = false;
    return code;
}

/* What a search should find in a binary payload: its printable ASCII, the rest as blanks. */
static int bind_printable(sqlite3_stmt *statement, int column, const uint8_t *at, size_t size)
{
    char *text = malloc(size + 1);

    if (!text)
        return SQLITE_NOMEM;
    for (size_t i = 0; i < size; i++)
        text[i] = at[i] >= 0x20 && at[i] < 0x7f ? (char)at[i] : ' ';
    return sqlite3_bind_text64(statement, column, text, size, free, SQLITE_UTF8);
}

static int add_text(struct log_store *store, int64_t id, const struct aico_message *m, bool is_text,
                    struct aico_error *err)
{
    int bound;

    (void)sqlite3_bind_int64(store->insert_text, 1, id);
    if (is_text)
        bound = sqlite3_bind_text64(store->insert_text, 2, m->payload, m->size, SQLITE_STATIC,
                                    SQLITE_UTF8);
    else
        bound = bind_printable(store->insert_text, 2, m->payload, m->size);
    if (bound != SQLITE_OK)
        return aico_error_set(err, AICO_ENOMEM, "%s: out of memory", store->path);
    return run(store, store->insert_text, err);
}

static int add_row(struct log_store *store, const struct aico_message *m, int64_t received_ms,
                   struct aico_error *err)
{
    sqlite3_stmt *insert = store->insert;
    bool is_text = m->size > 0 && text_is_utf8(m->payload, m->size);
    int r;

    (void)sqlite3_bind_text(insert, 1, m->sender, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(insert, 2, m->topic, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int(insert, 3, m->direct);
    (void)sqlite3_bind_int64(insert, 4, (int64_t)m->sequence);
    (void)sqlite3_bind_int64(insert, 5, m->sent_ms);
    (void)sqlite3_bind_int64(insert, 6, received_ms);
    if (m->size == 0)
        (void)sqlite3_bind_zeroblob(insert, 7, 0);
    else if (is_text)
        (void)sqlite3_bind_text64(insert, 7, m->payload, m->size, SQLITE_STATIC, SQLITE_UTF8);
    else
        (void)sqlite3_bind_blob64(insert, 7, m->payload, m->size, SQLITE_STATIC);

    r = run(store, insert, err);
    if (r < 0)
        return r;
    if (sqlite3_changes(store->db) == 0) {
        store->duplicates++;
        return 0;
    }
    if (m->size > 0)
        r = add_text(store, sqlite3_last_insert_rowid(store->db), m, is_text, err);
    if (r == 0)
        store->pending++;
    return r;
}

int log_store_add(struct log_store *store, const struct aico_message *message, int64_t received_ms,
                  struct aico_error *err)
{
    int r = begin(store, err);

    if (r == 0)
        r = add_row(store, message, received_ms, err);
    if (r < 0)
        store->pending++; /* it is lost with the others, and counted with them */
    return r < 0 ? give_up(store, r) : 0;
}

int log_store_add_loss(struct log_store *store, const struct aico_message *message,
                       int64_t received_ms, struct aico_error *err)
{
    bool is_gap = message->kind == AICO_MESSAGE_GAP;
    uint64_t count = message->count;
    sqlite3_stmt *insert = store->insert_loss;
    int r = begin(store, err);

    if (r < 0)
        return r;
    (void)sqlite3_bind_text(insert, 1, is_gap ? "gap" : "unopened", -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(insert, 2, message->sender, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(insert, 3, message->topic, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(insert, 4, (int64_t)count);
    (void)sqlite3_bind_text(insert, 5, aico_error_name(message->code), -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(insert, 6, received_ms);
    r = run(store, insert, err);
    if (r < 0)
        return give_up(store, r);

    if (is_gap)
        store->gaps += count;
    else
        store->unopened += count;
    return 0;
}

int log_store_commit(struct log_store *store, struct aico_error *err)
{
    if (!store->in_transaction)
        return 0;
    if (sqlite3_exec(store->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
        int r = store_failed(store, err);

        return give_up(store, r);
    }
    store->in_transaction = false;
    store->committed += store->pending;
    store->pending = 0;
    return 0;
}

/* Size of the database and of the log of changes beside it. */
static int64_t bytes_on_disk(const struct log_store *store)
{
    static const char *const parts[] = {"", "-wal"};
    int64_t bytes = 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        struct stat file;
        char *path = NULL;

        if (asprintf(&path, "%s%s", store->path, parts[i]) < 0)
            return bytes;
        if (stat(path, &file) == 0)
            bytes += file.st_size;
        free(path);
    }
    return bytes;
}

struct log_counters log_store_counters(const struct log_store *store)
{
    return (struct log_counters){
        .stored = store->committed,
        .pending = store->pending,
        .duplicates = store->duplicates,
        .gaps = store->gaps,
        .unopened = store->unopened,
        .bytes = bytes_on_disk(store),
    };
}

uint64_t log_store_pending(const struct log_store *store)
{
    return store->pending;
}

/*
 * Full text queries have a language of their own ("AND", "NEAR(", "*", column names). Each word of
 * the user becomes a quoted phrase, so none of it is understood as that language. The caller
 * frees; NULL when out of memory.
 */
static char *match_expression(const char *text)
{
    /* A word of one quote becomes four, and a blank: five bytes a byte bound it. */
    char *expression = malloc(strlen(text) * 5 + 1);
    char *to = expression;
    bool in_word = false;

    if (!expression)
        return NULL;
    for (; *text; text++) {
        if (strchr(" \t\r\n\v\f", *text)) {
            if (in_word)
                *to++ = '"';
            *to++ = ' ';
            in_word = false;
            continue;
        }
        if (!in_word || *text == '"')
            *to++ = '"';
        if (!in_word && *text == '"')
            *to++ = '"';
        in_word = true;
        *to++ = *text;
    }
    if (in_word)
        *to++ = '"';
    *to = '\0';
    return expression;
}

/* Whether anything but blanks is left to search for. */
static bool has_words(const char *expression)
{
    return strchr(expression, '"') != NULL;
}

/* One text of SQL for counting and reading; everything the user gave is a bound parameter. */
static const char where[] =
    " WHERE (?1 IS NULL OR m.sender = ?1) AND (?2 IS NULL OR m.topic = ?2)"
    " AND (?3 IS NULL OR substr(m.topic, 1, length(?3)) = ?3) AND m.received_ms >= ?4";

/* Binds the parameters of @where and, as ?5, the words. */
static void bind_query(sqlite3_stmt *statement, const struct log_query *query, const char *words)
{
    size_t size = query->topic ? strlen(query->topic) : 0;
    bool is_prefix = size >= 3 && strcmp(query->topic + size - 3, "/**") == 0;

    if (query->sender)
        (void)sqlite3_bind_text(statement, 1, query->sender, -1, SQLITE_STATIC);
    if (is_prefix)
        (void)sqlite3_bind_text(statement, 3, query->topic, (int)size - 2, SQLITE_STATIC);
    else if (query->topic)
        (void)sqlite3_bind_text(statement, 2, query->topic, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(statement, 4, query->since_ms);
    if (words)
        (void)sqlite3_bind_text(statement, 5, words, -1, SQLITE_STATIC);
}

static int count_rows(struct log_store *store, const struct log_query *query, const char *words,
                      uint64_t *ret_count, struct aico_error *err)
{
    char sql[512];
    sqlite3_stmt *statement = NULL;
    int r = 0;

    if (!words && !query->sender && !query->topic && query->since_ms <= 0) {
        *ret_count = store->committed;
        return 0;
    }
    (void)snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s%s%s",
                   words ? "messages_text t JOIN messages m ON m.id = t.rowid" : "messages m",
                   where, words ? " AND messages_text MATCH ?5" : "");
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) == SQLITE_OK) {
        bind_query(statement, query, words);
        if (sqlite3_step(statement) == SQLITE_ROW)
            *ret_count = (uint64_t)sqlite3_column_int64(statement, 0);
        else
            r = store_failed(store, err);
    } else {
        r = store_failed(store, err);
    }
    (void)sqlite3_finalize(statement);
    return r;
}

static struct log_row row_of(sqlite3_stmt *statement)
{
    struct log_row row = {
        .id = sqlite3_column_int64(statement, 0),
        .sender = (const char *)sqlite3_column_text(statement, 1),
        .topic = (const char *)sqlite3_column_text(statement, 2),
        .sequence = sqlite3_column_int64(statement, 3),
        .sent_ms = sqlite3_column_int64(statement, 4),
        .received_ms = sqlite3_column_int64(statement, 5),
        .payload = sqlite3_column_blob(statement, 6),
        .size = (size_t)sqlite3_column_bytes(statement, 6),
    };

    if (!row.payload) /* an empty blob has no address */
        row.payload = "";
    return row;
}

static int read_rows(struct log_store *store, const struct log_query *query, const char *words,
                     log_row_function *each, void *context, struct aico_error *err)
{
    char sql[768];
    sqlite3_stmt *statement = NULL;
    const char *id = words ? "t.rowid" : "m.id"; /* each is read in its own order, unsorted */
    int step = SQLITE_ROW;

    (void)snprintf(sql, sizeof(sql),
                   "SELECT m.id, m.sender, m.topic, m.sequence, m.sent_ms, m.received_ms,"
                   " m.payload FROM %s%s%s AND %s > ?6 ORDER BY %s %s LIMIT ?7",
                   words ? "messages_text t JOIN messages m ON m.id = t.rowid" : "messages m",
                   where, words ? " AND messages_text MATCH ?5" : "", id, id,
                   query->after_id > 0 ? "ASC" : "DESC");
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return store_failed(store, err);
    bind_query(statement, query, words);
    (void)sqlite3_bind_int64(statement, 6, query->after_id);
    (void)sqlite3_bind_int(statement, 7, query->limit);

    while ((step = sqlite3_step(statement)) == SQLITE_ROW) {
        struct log_row row = row_of(statement);

        if (!row.sender || !row.topic || !each(context, &row))
            break;
    }
    if (step != SQLITE_ROW && step != SQLITE_DONE) {
        int r = store_failed(store, err);

        (void)sqlite3_finalize(statement);
        return r;
    }
    (void)sqlite3_finalize(statement);
    return 0;
}

int log_store_query(struct log_store *store, const struct log_query *query, log_row_function *each,
                    void *context, uint64_t *ret_count, struct aico_error *err)
{
    char *words = NULL;
    uint64_t count = 0;
    int r = log_store_commit(store, err);

    if (r < 0)
        return r;
    if (query->text) {
        if (strlen(query->text) > LOG_TEXT_MAX)
            return aico_error_set(err, AICO_EINVAL, "text is longer than %d bytes", LOG_TEXT_MAX);
        words = match_expression(query->text);
        if (!words)
            return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }

    if (words && !has_words(words)) { /* only blanks: no restriction */
        free(words);
        words = NULL;
    }
    r = count_rows(store, query, words, &count, err);
    if (r == 0 && query->limit > 0 && count > 0)
        r = read_rows(store, query, words, each, context, err);
    free(words);
    if (r == 0)
        *ret_count = count;
    return r;
}
