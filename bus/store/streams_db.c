/* SPDX-License-Identifier: Apache-2.0 */
/* The file of the message store: opened, its layout, transactions, and what its failures mean. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "store/streams_internal.h"

#define APPLICATION_ID 0x6169636f /* "aico" */
#define LAYOUT 7
#define BUSY_MS 5000
#define CHECKPOINT_PAGES 4000

static const char layout[] =
    "CREATE TABLE stream(id INTEGER PRIMARY KEY, filter TEXT UNIQUE NOT NULL,"
    " count INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE topic(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);"
    "CREATE TABLE sender(id INTEGER PRIMARY KEY, identity BLOB UNIQUE NOT NULL,"
    " name TEXT NOT NULL);"
    /* payload last: it is not read where only the rest is asked for */
    "CREATE TABLE item(number INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL,"
    " topic INTEGER NOT NULL, sender INTEGER NOT NULL, publish_id INTEGER NOT NULL,"
    " stored_ms INTEGER NOT NULL, count INTEGER NOT NULL, size INTEGER NOT NULL,"
    " payload BLOB NOT NULL);"
    "CREATE INDEX item_stream ON item(stream, number);"
    "CREATE TABLE mark(sender INTEGER NOT NULL, topic INTEGER NOT NULL, scope BLOB NOT NULL,"
    " high INTEGER NOT NULL, last INTEGER NOT NULL, at_ms INTEGER NOT NULL,"
    " PRIMARY KEY(sender, scope, topic)) WITHOUT ROWID;"
    "CREATE TABLE reader(id INTEGER PRIMARY KEY AUTOINCREMENT, component TEXT NOT NULL,"
    " name TEXT NOT NULL, filter TEXT NOT NULL, floor INTEGER NOT NULL,"
    " handed INTEGER NOT NULL DEFAULT 0,"
    " UNIQUE(component, name));"
    "CREATE TABLE settled(reader INTEGER NOT NULL, number INTEGER NOT NULL,"
    " PRIMARY KEY(reader, number)) WITHOUT ROWID;"
    "CREATE TABLE dead(reader INTEGER NOT NULL, number INTEGER NOT NULL, code INTEGER NOT NULL,"
    " attempts INTEGER NOT NULL, reason TEXT NOT NULL, at_ms INTEGER NOT NULL,"
    " PRIMARY KEY(reader, number)) WITHOUT ROWID;"
    "CREATE TABLE key(sender INTEGER NOT NULL, key_id BLOB NOT NULL, reader BLOB NOT NULL,"
    " key BLOB NOT NULL, at_ms INTEGER NOT NULL, PRIMARY KEY(sender, key_id, reader))"
    " WITHOUT ROWID;"
    "CREATE TABLE statement(identity BLOB PRIMARY KEY, statement BLOB NOT NULL) WITHOUT ROWID;";

/* What layout 2 has more than layout 1. */
static const char layout_2[] =
    "CREATE TABLE mail(number INTEGER PRIMARY KEY AUTOINCREMENT, receiver BLOB NOT NULL,"
    " topic INTEGER NOT NULL, sender INTEGER NOT NULL, publish_id INTEGER NOT NULL,"
    " stored_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, size INTEGER NOT NULL,"
    " payload BLOB NOT NULL);"
    "CREATE INDEX mail_receiver ON mail(receiver, number);"
    "CREATE INDEX mail_expires ON mail(expires_ms);"
    "CREATE TABLE box(receiver BLOB PRIMARY KEY, bytes INTEGER NOT NULL) WITHOUT ROWID;";

/* What layout 3 has more: the last value of a topic, the bytes of all values of a sender, and what
 * others begin ratchets with. */
static const char layout_3[] =
    "CREATE TABLE value(number INTEGER PRIMARY KEY AUTOINCREMENT, topic INTEGER UNIQUE NOT NULL,"
    " stream INTEGER NOT NULL, sender INTEGER NOT NULL, scope BLOB NOT NULL,"
    " position INTEGER NOT NULL, publish_id INTEGER NOT NULL, stored_ms INTEGER NOT NULL,"
    " expires_ms INTEGER NOT NULL, size INTEGER NOT NULL, payload BLOB NOT NULL);"
    "CREATE INDEX value_sender ON value(sender);"
    "CREATE INDEX value_expires ON value(expires_ms);"
    "CREATE TABLE held(sender INTEGER PRIMARY KEY, bytes INTEGER NOT NULL);"
    "CREATE TABLE prekey(identity BLOB PRIMARY KEY, statement BLOB NOT NULL) WITHOUT ROWID;";

/* What layout 4 has more: until when a message is good, of those whose publisher said so, and what
 * durable readers (0: the mailbox of `box`) have not been told yet that they will not get. `one`: a
 * message that was handed out and may still be settled. */
static const char layout_4[] =
    "CREATE TABLE item_end(number INTEGER PRIMARY KEY, expires_ms INTEGER NOT NULL);"
    "CREATE INDEX item_end_expires ON item_end(expires_ms);"
    "CREATE TABLE missed(token INTEGER PRIMARY KEY AUTOINCREMENT, reader INTEGER NOT NULL,"
    " box BLOB NOT NULL, sender INTEGER NOT NULL, topic INTEGER NOT NULL, code INTEGER NOT NULL,"
    " one INTEGER NOT NULL, count INTEGER NOT NULL, number INTEGER NOT NULL,"
    " publish_id INTEGER NOT NULL, told INTEGER NOT NULL DEFAULT 0);"
    "CREATE UNIQUE INDEX missed_open ON missed(reader, box, sender, topic, code)"
    " WHERE one=0 AND told=0;"
    "CREATE INDEX missed_one ON missed(reader, number) WHERE one=1;"
    "CREATE INDEX missed_reader ON missed(reader, box, token);";

/* What layout 5 has more: whether a value took the place of another sender's, now or before. Of
 * those that were there nobody knows. */
static const char layout_5[] = "ALTER TABLE value ADD COLUMN over INTEGER NOT NULL DEFAULT 1;";

/* What layout 6 has more: what each sender has of `mark` and, with 64 bytes a row, of `key`; who
 * made a reader, of a queue group a member (of those that were there nobody knows); and what a
 * value that is gone still counts for. */
static const char layout_6[] =
    "ALTER TABLE sender ADD COLUMN marks INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE sender ADD COLUMN keys INTEGER NOT NULL DEFAULT 0;"
    "UPDATE sender SET marks=(SELECT count(*) FROM mark WHERE mark.sender=sender.id),"
    " keys=(SELECT coalesce(sum(length(key)+64),0) FROM key WHERE key.sender=sender.id);"
    "UPDATE mark SET last=0 WHERE last=9223372036854775807;" /* of mail */
    "ALTER TABLE reader ADD COLUMN maker TEXT NOT NULL DEFAULT '';"
    "UPDATE reader SET maker=component WHERE substr(component,1,1)<>'$';"
    "CREATE INDEX reader_maker ON reader(maker);"
    "ALTER TABLE value ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX value_gone ON value(stored_ms) WHERE size=0;";

/* What layout 7 has more: what tells at once whether a topic or a key is still named. */
static const char layout_7[] = "CREATE INDEX value_scope ON value(sender, scope) WHERE size>0;"
                               "CREATE INDEX mark_topic ON mark(topic);"
                               "CREATE INDEX mail_topic ON mail(topic);"
                               "CREATE INDEX missed_topic ON missed(topic);";

static const char *const sql[SQL_COUNT] = {
#define STREAMS_SQL(name, text) [SQL_##name] = text,
    STREAMS_STATEMENTS(STREAMS_SQL)
#undef STREAMS_SQL
};

/* SQLite tells a full disk from other failures to write, but not this. */
static bool has_size_limit(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
}

int streams_fail(struct streams *s, struct aico_error *err)
{
    const char *cause = sqlite3_errmsg(s->db);

    if (sqlite3_extended_errcode(s->db) == SQLITE_IOERR_FSYNC)
        s->is_unsound = true;
    switch (sqlite3_errcode(s->db) & 0xff) {
    case SQLITE_FULL:
        return aico_error_set(err, AICO_ESTOREFULL,
                              "%s: %s; make room there, or store less: aico-keytool rule set "
                              "--store, aico-bus stream purge",
                              s->path, cause);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return aico_error_set(err, AICO_ESTOREDAMAGED, "%s: %s", s->path, cause);
    case SQLITE_READONLY:
        return aico_error_set(err, AICO_ESTOREREADONLY,
                              "%s: it can only be read: its file system or its mode says so",
                              s->path);
    case SQLITE_NOMEM:
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    case SQLITE_IOERR:
        if (sqlite3_extended_errcode(s->db) == SQLITE_IOERR_WRITE && has_size_limit())
            return aico_error_set(err, AICO_ESTOREFULL,
                                  "%s: the limit on the size of files (ulimit -f) is reached",
                                  s->path);
        return aico_error_set(err, AICO_ESTORE, "%s: %s", s->path, cause);
    default:
        return aico_error_set(err, AICO_ESTORE, "%s: %s", s->path, cause);
    }
}

sqlite3_stmt *streams_statement(struct streams *s, enum streams_statement which,
                                struct aico_error *err)
{
    sqlite3_stmt **q = &s->statements[which];

    if (!*q && sqlite3_prepare_v3(s->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, q, NULL) !=
                   SQLITE_OK) {
        (void)streams_fail(s, err);
        return NULL;
    }
    return *q;
}

void statement_end(sqlite3_stmt **statement)
{
    if (!*statement)
        return;
    (void)sqlite3_reset(*statement);
    (void)sqlite3_clear_bindings(*statement);
}

/* NULL is another thing than nothing. */
void bind_bytes(sqlite3_stmt *q, int index, struct bytes bytes)
{
    (void)sqlite3_bind_blob64(q, index, bytes.at ? bytes.at : (const uint8_t *)"", bytes.size,
                              SQLITE_STATIC);
}

void bind_text(sqlite3_stmt *q, int index, struct bytes text)
{
    (void)sqlite3_bind_text64(q, index, text.at ? (const char *)text.at : "", text.size,
                              SQLITE_STATIC, SQLITE_UTF8);
}

void bind_number(sqlite3_stmt *q, int index, uint64_t number)
{
    (void)sqlite3_bind_int64(q, index, (sqlite3_int64)number);
}

struct bytes column_bytes(sqlite3_stmt *q, int index)
{
    const void *at = sqlite3_column_blob(q, index);

    return bytes_of(at, (size_t)sqlite3_column_bytes(q, index));
}

uint64_t column_number(sqlite3_stmt *q, int index)
{
    return (uint64_t)sqlite3_column_int64(q, index);
}

int streams_run(struct streams *s, sqlite3_stmt *q, struct aico_error *err)
{
    int r = sqlite3_step(q) == SQLITE_DONE ? 0 : streams_fail(s, err);

    statement_end(&q);
    return r;
}

int streams_run_one(struct streams *s, enum streams_statement which, uint64_t number,
                    struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, which, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, number);
    return streams_run(s, q, err);
}

int streams_text(struct streams *s, const char *text, struct aico_error *err)
{
    return sqlite3_exec(s->db, text, NULL, NULL, NULL) == SQLITE_OK ? 0 : streams_fail(s, err);
}

static int pragma_number(struct streams *s, const char *text, int64_t *ret, struct aico_error *err)
{
    sqlite3_stmt *q = NULL;
    int r = 0;

    if (sqlite3_prepare_v2(s->db, text, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW)
        *ret = sqlite3_column_int64(q, 0);
    else
        r = streams_fail(s, err);
    (void)sqlite3_finalize(q);
    return r;
}

/* Of an empty file (@version 0), or of one of an earlier layout. */
static int make_layout(struct streams *s, int64_t version, struct aico_error *err)
{
    static const char *const layouts[LAYOUT] = {layout,   layout_2, layout_3, layout_4,
                                                layout_5, layout_6, layout_7};
    char text[128];
    int r = streams_text(s, "BEGIN IMMEDIATE", err);

    for (int64_t i = version; r == 0 && i < LAYOUT; i++)
        r = streams_text(s, layouts[i], err);
    (void)snprintf(text, sizeof(text), "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
                   APPLICATION_ID, LAYOUT);
    if (r == 0)
        r = streams_text(s, text, err);
    if (r < 0)
        streams_rollback(s);
    return r;
}

/* What a later layout has more, without the indexes: empty, and gone with the connection. */
static int lay_tables_over(struct streams *s, const char *more, struct aico_error *err)
{
    static const char prefix[] = "CREATE TABLE ";
    int r = 0;

    while (r == 0 && *more) {
        int size = (int)strcspn(more, ";");
        bool is_table = strncmp(more, prefix, sizeof(prefix) - 1) == 0;
        char text[1024];
        int need =
            snprintf(text, sizeof(text), "CREATE TEMP TABLE %.*s",
                     is_table ? size - (int)sizeof(prefix) + 1 : 0, more + sizeof(prefix) - 1);

        if (need < 0 || (size_t)need >= sizeof(text)) /* they are those above, and shorter */
            return AICO_EINTERNAL;
        if (is_table)
            r = streams_text(s, text, err);
        more += more[size] ? size + 1 : size;
    }
    return r;
}

/*
 * A file of layout @version that can only be read cannot be taken over. What its layout lacks lies
 * beside it, in memory and empty, so that everything can be read as ever; nothing is written, or it
 * would count as stored there.
 */
static int lay_over(struct streams *s, int64_t version, struct aico_error *err)
{
    int r = 0;

    if (version < 2)
        r = lay_tables_over(s, layout_2, err);
    if (r == 0 && version < 3)
        r = lay_tables_over(s, layout_3, err);
    if (r == 0 && version < 4)
        r = lay_tables_over(s, layout_4, err);
    if (r == 0 && version < 5) /* what layout 6 has more is of no use to who only reads */
        r = streams_text(s,
                         version < 3 ? layout_5
                                     : "CREATE TEMP VIEW value AS SELECT *, 1 AS over FROM "
                                       "main.value",
                         err);
    if (r == 0)
        r = streams_text(s, "PRAGMA query_only=1", err);
    s->older = version;
    return r;
}

static int check_layout(struct streams *s, struct aico_error *err)
{
    int64_t application = 0, version = 0, tables = 0;
    int r = pragma_number(s, "PRAGMA application_id", &application, err);

    if (r == 0)
        r = pragma_number(s, "PRAGMA user_version", &version, err);
    if (r == 0)
        r = pragma_number(s, "SELECT count(*) FROM sqlite_schema", &tables, err);
    if (r < 0)
        return r;
    if (tables == 0)
        return make_layout(s, 0, err);
    if (application != APPLICATION_ID)
        return aico_error_set(err, AICO_ESTOREDAMAGED, "%s: not a message store of ours", s->path);
    if (version >= 1 && version < LAYOUT) {
        r = make_layout(s, version, err);
        return r == AICO_ESTOREREADONLY ? lay_over(s, version, err) : r;
    }
    if (version != LAYOUT)
        return aico_error_set(err, AICO_EVERSION, "%s: layout %lld, this program knows %d", s->path,
                              (long long)version, LAYOUT);
    return 0;
}

/* Mode 0600 from the first moment; SQLite gives the WAL the same. */
static int make_file(const char *path, struct aico_error *err)
{
    CLEANUP(fd_close)
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;

    if (fd < 0 && (errno == EROFS || errno == EACCES))
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return aico_error_set(err, errno == ENOSPC ? AICO_ESTOREFULL : AICO_ESTORE, "%s: %s", path,
                              strerror(errno));
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return aico_error_set(err, AICO_EMODE, "%s: others can read it (mode %03o), run: chmod 600",
                              path, (unsigned)(st.st_mode & 0777));
    return 0;
}

/* The log goes into the file when it has grown. The transaction stands, whatever comes of that. */
static int on_committed(void *context, sqlite3 *db, const char *schema, int pages)
{
    struct streams *s = context;

    if (pages >= CHECKPOINT_PAGES &&
        sqlite3_wal_checkpoint_v2(db, schema, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) != SQLITE_OK)
        s->is_unsound = true;
    return SQLITE_OK;
}

/*
 * After a sync that failed nobody knows which of the pages written before it are on the disk, and a
 * later sync that succeeds does not say it: the system may have dropped them. What was not waited
 * for in the log, streams_note_handed(), would be a hole before everything committed behind it. So
 * nothing is stored before all of the log is in the file, and the log begins anew.
 */
static int make_sound(struct streams *s, struct aico_error *err)
{
    if (!s->is_unsound)
        return 0;
    if (sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK)
        return streams_fail(s, err);
    s->is_unsound = false;
    return 0;
}

static int open_database(struct streams *s, const char *path, int flags, struct aico_error *err)
{
    if (sqlite3_open_v2(path, &s->db, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL) !=
        SQLITE_OK)
        return s->db ? streams_fail(s, err) : aico_error_set(err, AICO_ENOMEM, "out of memory");
    (void)sqlite3_extended_result_codes(s->db, 1);
    (void)sqlite3_busy_timeout(s->db, BUSY_MS);
    return streams_text(s,
                        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                        "PRAGMA foreign_keys=OFF; PRAGMA trusted_schema=OFF;",
                        err);
}

/* SQLite makes a log beside the file also to read it, unless it is told that nobody writes. */
static bool needs_a_log(const struct streams *s)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);
    char log[PATH_MAX];
    int is_there = 1;

    return (sqlite3_errcode(s->db) & 0xff) == SQLITE_CANTOPEN &&
           snprintf(log, sizeof(log), "%s-wal", s->path) < (int)sizeof(log) &&
           vfs->xAccess(vfs, log, SQLITE_ACCESS_EXISTS, &is_there) == SQLITE_OK && !is_there;
}

/* As a broker that was stopped leaves it: all is in the file, and no log can be made. The lock of
 * the home says that no other broker writes it meanwhile. */
static int open_without_log(struct streams *s, struct aico_error *err)
{
    CLEANUP(buffer_deinit)
    struct buffer uri = {0};
    int r = buffer_append_text(&uri, "file:");

    for (const char *c = s->path; r == 0 && *c; c++)
        r = strchr("%?#", *c) ? buffer_printf(&uri, "%%%02x", (unsigned char)*c)
                              : buffer_append(&uri, bytes_of(c, 1));
    if (r == 0)
        r = buffer_append(&uri, bytes_of("?immutable=1", sizeof("?immutable=1")));
    if (r < 0)
        return aico_error_set(err, r, "out of memory");
    (void)sqlite3_close(s->db);
    s->db = NULL;
    return open_database(s, (const char *)uri.at, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err);
}

int streams_open(const char *path, struct streams **ret_streams, struct aico_error *err)
{
    CLEANUP(streams_close)
    struct streams *s = calloc(1, sizeof(*s));
    int r = make_file(path, err);

    if (r < 0)
        return r;
    if (!s || !(s->path = strdup(path)))
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    s->limits = (struct streams_limits){STREAMS_READERS_MAX, STREAMS_MARKS_MAX, STREAMS_KEYS_MAX};
    r = open_database(s, path, SQLITE_OPEN_READWRITE, err);
    if (r < 0 && s->db && needs_a_log(s))
        r = open_without_log(s, err);
    if (r == 0)
        r = check_layout(s, err);
    (void)sqlite3_wal_hook(s->db, on_committed, s);
    if (r < 0)
        return r;
    *ret_streams = STEAL(s);
    return 0;
}

void streams_limit(struct streams *s, const struct streams_limits *limits)
{
    s->limits = *limits;
}

void streams_close(struct streams **streams)
{
    struct streams *s = *streams;

    if (!s)
        return;
    for (size_t i = 0; i < SQL_COUNT; i++)
        (void)sqlite3_finalize(s->statements[i]);
    (void)sqlite3_close(s->db);
    sweep_end(s);
    free(s->path);
    free(s);
    *streams = NULL;
}

int streams_begin(struct streams *s, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_BEGIN, err);
    int r = make_sound(s, err);

    if (r < 0)
        return r;
    if (s->older > 0)
        return aico_error_set(err, AICO_ESTOREREADONLY,
                              "%s: it can only be read, and has layout %lld, which a start takes "
                              "over where it can be written",
                              s->path, (long long)s->older);
    return q ? streams_run(s, q, err) : streams_fail(s, err);
}

int streams_commit(struct streams *s, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_COMMIT, err);

    return q ? streams_run(s, q, err) : streams_fail(s, err);
}

void streams_rollback(struct streams *s)
{
    if (!sqlite3_get_autocommit(s->db))
        (void)sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
}

int streams_last(struct streams *s, uint64_t *ret_number, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_LAST, err);
    int r = q ? sqlite3_step(q) : SQLITE_ERROR;

    if (r != SQLITE_ROW && r != SQLITE_DONE)
        return streams_fail(s, err);
    *ret_number = r == SQLITE_ROW ? column_number(q, 0) : 0;
    return 0;
}
