/* SPDX-License-Identifier: Apache-2.0 */
/* Messages and keys into the store, and out of it when their time is over. */
#include "base/cleanup.h"
#include "store/streams_internal.h"

#define KEY_ROW 64 /* as in the statements */

/* The id of a row that @find finds by its first value or @add makes; ?2 of @add is @second. */
static int id_of(struct streams *s, enum streams_statement find, enum streams_statement add,
                 bool blob, struct bytes value, struct bytes second, uint64_t *ret_id,
                 struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, find, err);
    sqlite3_stmt *insert;
    int r;

    if (!q)
        return streams_fail(s, err);
    (blob ? bind_bytes : bind_text)(q, 1, value);
    r = sqlite3_step(q);
    if (r == SQLITE_ROW) {
        *ret_id = column_number(q, 0);
        return 0;
    }
    insert = r == SQLITE_DONE ? streams_statement(s, add, err) : NULL;
    if (!insert)
        return streams_fail(s, err);
    (blob ? bind_bytes : bind_text)(insert, 1, value);
    if (second.size > 0)
        bind_text(insert, 2, second);
    r = streams_run(s, insert, err);
    *ret_id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return r;
}

static int sender_id(struct streams *s, const uint8_t *identity, struct bytes name,
                     uint64_t *ret_id, struct aico_error *err)
{
    return id_of(s, SQL_SENDER_FIND, SQL_SENDER_ADD, true, bytes_of(identity, SIGN_PUBLIC_SIZE),
                 name, ret_id, err);
}

int streams_full(struct aico_error *err, struct bytes sender, uint64_t limit, const char *what)
{
    return aico_error_set(err, AICO_EQUOTA, "%.*s: %llu %s, no more are kept of one component",
                          (int)sender.size, (const char *)sender.at, (unsigned long long)limit,
                          what);
}

static int has_mark(struct streams *s, const struct stored_message *m, uint64_t sender,
                    bool *ret_has, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *topic = streams_statement(s, SQL_TOPIC_FIND, err);
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_MARK_FIND, err);
    int r;

    if (!topic || !q)
        return streams_fail(s, err);
    *ret_has = false;
    bind_text(topic, 1, m->topic);
    r = sqlite3_step(topic);
    if (r == SQLITE_ROW) {
        bind_number(q, 1, sender);
        bind_bytes(q, 2, bytes_of(m->scope, sizeof(m->scope)));
        bind_number(q, 3, column_number(topic, 0));
        r = sqlite3_step(q);
        *ret_has = r == SQLITE_ROW;
    }
    return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

/* Counts a mark the sender has not had; AICO_EQUOTA, with nothing done: it has too many. */
static int count_mark(struct streams *s, const struct stored_message *m, uint64_t sender,
                      uint64_t *ret_marks, struct aico_error *err)
{
    uint64_t marks = 0;
    bool has = false;
    int r = has_mark(s, m, sender, &has, err);

    if (r < 0 || has)
        return r;
    r = streams_number(s, SQL_SENDER_MARKS, sender, NULL, &marks, err);
    if (r < 0)
        return r;
    if (marks >= s->limits.marks)
        return streams_full(err, m->sender, s->limits.marks,
                            "topics with stored messages in a day");
    *ret_marks = marks + 1;
    return streams_run_one(s, SQL_SENDER_MARKED, sender, err);
}

/* Moves the sender's mark on the topic; *ret_is_new: it was below. */
static int move_mark(struct streams *s, const struct stored_message *m, const struct item_ids *ids,
                     bool *ret_is_new, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_MARK, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, ids->sender);
    bind_number(q, 2, ids->topic);
    bind_bytes(q, 3, bytes_of(m->scope, sizeof(m->scope)));
    bind_number(q, 4, m->position);
    bind_number(q, 5, INT64_MAX);
    bind_number(q, 6, (uint64_t)m->stored_ms);
    r = streams_run(s, q, err);
    *ret_is_new = sqlite3_changes(s->db) > 0;
    return r;
}

int streams_note_number(struct streams *s, const struct stored_message *m,
                        const struct item_ids *ids, uint64_t number, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_MARK_NUMBER, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, ids->sender);
    bind_number(q, 2, ids->topic);
    bind_bytes(q, 3, bytes_of(m->scope, sizeof(m->scope)));
    bind_number(q, 4, number);
    return streams_run(s, q, err);
}

static int add_item(struct streams *s, const struct stored_message *m, const struct item_ids *ids,
                    uint64_t *ret_number, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_ITEM_ADD, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, ids->stream);
    bind_number(q, 2, ids->topic);
    bind_number(q, 3, ids->sender);
    bind_number(q, 4, m->publish_id);
    bind_number(q, 5, (uint64_t)m->stored_ms);
    bind_number(q, 6, m->count);
    bind_number(q, 7, m->payload.size);
    bind_bytes(q, 8, m->payload);
    r = streams_run(s, q, err);
    *ret_number = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return r;
}

int streams_grow(struct streams *s, uint64_t stream, uint64_t count, uint64_t bytes,
                 struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_STREAM_GROW, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, stream);
    bind_number(q, 2, count);
    bind_number(q, 3, bytes);
    return streams_run(s, q, err);
}

int streams_names(struct streams *s, const struct stored_message *m, struct item_ids *ids,
                  struct aico_error *err)
{
    int r = sender_id(s, m->identity, m->sender, &ids->sender, err);

    return r < 0 ? r
                 : id_of(s, SQL_TOPIC_FIND, SQL_TOPIC_ADD, false, m->topic, bytes_of(NULL, 0),
                         &ids->topic, err);
}

int streams_ids(struct streams *s, const struct stored_message *m, struct item_ids *ids,
                bool *ret_is_new, struct aico_error *err)
{
    int r = sender_id(s, m->identity, m->sender, &ids->sender, err);

    if (r == 0)
        r = count_mark(s, m, ids->sender, &ids->marks, err);
    if (r == 0)
        r = streams_names(s, m, ids, err);
    return r < 0 ? r : move_mark(s, m, ids, ret_is_new, err);
}

int streams_stream(struct streams *s, struct bytes filter, uint64_t *ret_id, struct aico_error *err)
{
    return id_of(s, SQL_STREAM_FIND, SQL_STREAM_ADD, false, filter, bytes_of(NULL, 0), ret_id, err);
}

static int add_end(struct streams *s, uint64_t number, int64_t expires_ms, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_END_ADD, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, number);
    bind_number(q, 2, (uint64_t)expires_ms);
    return streams_run(s, q, err);
}

int streams_put(struct streams *s, const struct stored_message *m, uint64_t *ret_number,
                uint64_t *ret_marks, struct aico_error *err)
{
    struct item_ids ids = {0};
    bool is_new = false;
    int r = streams_ids(s, m, &ids, &is_new, err);

    if (r < 0)
        return r;
    *ret_number = 0;
    if (ret_marks)
        *ret_marks = ids.marks;
    if (!is_new)
        return 0;
    r = streams_stream(s, m->stream, &ids.stream, err);
    if (r == 0)
        r = add_item(s, m, &ids, ret_number, err);
    if (r == 0)
        r = streams_note_number(s, m, &ids, *ret_number, err);
    if (r == 0 && m->expires_ms > 0)
        r = add_end(s, *ret_number, m->expires_ms, err);
    if (r == 0)
        r = streams_grow(s, ids.stream, m->count, m->payload.size, err);
    return r;
}

/* --- keys ----------------------------------------------------------------------------------- */

/* What is there of it, for *ret_size. */
static int key_size(struct streams *s, uint64_t sender, const uint8_t *key_id,
                    const uint8_t *reader, uint64_t *ret_size, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_KEY_SIZE, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, sender);
    bind_bytes(q, 2, bytes_of(key_id, STREAMS_KEY_ID_SIZE));
    bind_bytes(q, 3, bytes_of(reader, SIGN_PUBLIC_SIZE));
    r = sqlite3_step(q);
    *ret_size = r == SQLITE_ROW ? column_number(q, 0) : 0;
    return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

/* Counts a key of @size bytes for its sender, in place of what is there. */
static int count_key(struct streams *s, uint64_t sender, struct bytes name, const uint8_t *key_id,
                     const uint8_t *reader, uint64_t size, uint64_t *ret_used,
                     struct aico_error *err)
{
    uint64_t former = 0, used = 0;
    sqlite3_stmt *q;
    int r = key_size(s, sender, key_id, reader, &former, err);

    if (r == 0)
        r = streams_number(s, SQL_SENDER_KEYS, sender, NULL, &used, err);
    if (r < 0)
        return r;
    used = used - former + size;
    if (ret_used)
        *ret_used = used;
    if (former == size)
        return 0;
    if (size > former && used > s->limits.keys)
        return streams_full(err, name, s->limits.keys,
                            "bytes of keys for readers of stored messages");
    q = streams_statement(s, SQL_SENDER_KEYED, err);
    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, sender);
    bind_number(q, 2, size - former);
    return streams_run(s, q, err);
}

int streams_put_key(struct streams *s, const uint8_t sender[SIGN_PUBLIC_SIZE], struct bytes name,
                    const uint8_t key_id[STREAMS_KEY_ID_SIZE],
                    const uint8_t reader[SIGN_PUBLIC_SIZE], struct bytes key, int64_t now_ms,
                    uint64_t *ret_used, struct aico_error *err)
{
    uint64_t id = 0;
    sqlite3_stmt *q;
    int r = sender_id(s, sender, name, &id, err);

    if (r == 0)
        r = count_key(s, id, name, key_id, reader, key.size + KEY_ROW, ret_used, err);
    if (r < 0)
        return r;
    q = streams_statement(s, SQL_KEY_ADD, err);
    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, id);
    bind_bytes(q, 2, bytes_of(key_id, STREAMS_KEY_ID_SIZE));
    bind_bytes(q, 3, bytes_of(reader, SIGN_PUBLIC_SIZE));
    bind_bytes(q, 4, key);
    bind_number(q, 5, (uint64_t)now_ms);
    return streams_run(s, q, err);
}

static int put_public(struct streams *s, enum streams_statement which, const uint8_t *identity,
                      struct bytes statement, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, which, err);

    if (!q)
        return streams_fail(s, err);
    bind_bytes(q, 1, bytes_of(identity, SIGN_PUBLIC_SIZE));
    if (statement.size > 0)
        bind_bytes(q, 2, statement);
    return streams_run(s, q, err);
}

int streams_put_statement(struct streams *s, const uint8_t identity[SIGN_PUBLIC_SIZE],
                          struct bytes statement, struct aico_error *err)
{
    return put_public(s, SQL_STATEMENT_ADD, identity, statement, err);
}

int streams_put_prekey(struct streams *s, const uint8_t identity[SIGN_PUBLIC_SIZE],
                       struct bytes statement, struct aico_error *err)
{
    return put_public(s, statement.size > 0 ? SQL_PREKEY_ADD : SQL_PREKEY_DROP, identity, statement,
                      err);
}

static int read_public(struct streams *s, enum streams_statement which, streams_statement_sink sink,
                       void *context, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, which, err);
    int r = q ? 0 : SQLITE_ERROR;

    while (r == 0 && (r = sqlite3_step(q)) == SQLITE_ROW) {
        struct bytes identity = column_bytes(q, 0);

        r = 0;
        if (identity.size == SIGN_PUBLIC_SIZE)
            r = sink(context, identity.at, column_bytes(q, 1));
        if (r < 0)
            return r;
    }
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int streams_statements(struct streams *s, streams_statement_sink sink, void *context,
                       struct aico_error *err)
{
    return read_public(s, SQL_STATEMENT_ALL, sink, context, err);
}

int streams_prekeys(struct streams *s, streams_statement_sink sink, void *context,
                    struct aico_error *err)
{
    return read_public(s, SQL_PREKEY_ALL, sink, context, err);
}

/* --- retention ------------------------------------------------------------------------------ */

/* What is in a stream, and what of it goes. */
struct extent {
    uint64_t id, count, bytes;
    uint64_t cut, cut_count, cut_bytes;
};

static int find_stream(struct streams *s, struct bytes stream, struct extent *ret,
                       struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_STREAM_FIND, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_text(q, 1, stream);
    r = sqlite3_step(q);
    if (r == SQLITE_DONE)
        return aico_error_set(err, AICO_ENOTFOUND, "nothing is stored for %.*s", (int)stream.size,
                              (const char *)stream.at);
    if (r != SQLITE_ROW)
        return streams_fail(s, err);
    *ret = (struct extent){column_number(q, 0), column_number(q, 1), column_number(q, 2), 0, 0, 0};
    return 0;
}

static bool is_beyond(const struct extent *e, const struct rule_store *limits, int64_t stored_ms,
                      int64_t now_ms)
{
    return (limits->count > 0 && e->count - e->cut_count > limits->count) ||
           (limits->bytes > 0 && e->bytes - e->cut_bytes > limits->bytes) ||
           (limits->age_s > 0 && stored_ms + (int64_t)limits->age_s * 1000 < now_ms);
}

/* Walks from the front of the stream as long as what stands there has to go. */
static int measure(struct streams *s, struct extent *e, const struct rule_store *limits,
                   int64_t now_ms, size_t rows_max, bool *ret_more, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_ITEM_FRONT, err);
    size_t rows = 0;
    int r = SQLITE_ERROR;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, e->id);
    bind_number(q, 2, rows_max);
    while ((r = sqlite3_step(q)) == SQLITE_ROW &&
           is_beyond(e, limits, sqlite3_column_int64(q, 2), now_ms)) {
        e->cut = column_number(q, 0);
        e->cut_bytes += column_number(q, 1);
        e->cut_count += column_number(q, 3);
        rows++;
    }
    if (r != SQLITE_ROW && r != SQLITE_DONE)
        return streams_fail(s, err);
    *ret_more = rows == rows_max;
    return 0;
}

/* @code: why, for the readers that have not got it. */
static int cut(struct streams *s, const struct extent *e, int code, uint64_t *ret_missed,
               struct aico_error *err)
{
    static const enum streams_statement cuts[] = {SQL_END_CUT, SQL_ITEM_CUT};
    int r = missed_note_cut(s, e->id, e->cut, code, ret_missed, err);

    for (size_t i = 0; r == 0 && i < COUNT_OF(cuts); i++) {
        sqlite3_stmt *q = streams_statement(s, cuts[i], err);

        if (!q)
            return streams_fail(s, err);
        bind_number(q, 1, e->id);
        bind_number(q, 2, e->cut);
        r = streams_run(s, q, err);
    }
    return r < 0 ? r : streams_grow(s, e->id, 0 - e->cut_count, 0 - e->cut_bytes, err);
}

int streams_trim(struct streams *s, struct bytes stream, const struct rule_store *limits,
                 int64_t now_ms, size_t rows_max, struct streams_removed *ret, bool *ret_more,
                 struct aico_error *err)
{
    struct extent e = {0};
    uint64_t missed = 0;
    bool more = false;
    int r = find_stream(s, stream, &e, err);

    *ret = (struct streams_removed){0};
    *ret_more = false;
    if (r == AICO_ENOTFOUND)
        return 0;
    if (r == 0)
        r = measure(s, &e, limits, now_ms, rows_max, &more, err);
    if (r == 0 && e.cut > 0)
        r = cut(s, &e, AICO_ERETENTION, &missed, err);
    if (r < 0)
        return r;
    *ret = (struct streams_removed){e.cut_count, missed};
    *ret_more = more;
    return 0;
}

static int sum_up_to(struct streams *s, struct extent *e, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_ITEM_SUM, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, e->id);
    bind_number(q, 2, e->cut);
    if (sqlite3_step(q) != SQLITE_ROW)
        return streams_fail(s, err);
    e->cut_count = column_number(q, 0);
    e->cut_bytes = column_number(q, 1);
    return 0;
}

int streams_purge(struct streams *s, struct bytes stream, uint64_t up_to,
                  struct streams_removed *ret, struct aico_error *err)
{
    struct extent e = {0};
    uint64_t values = 0, missed = 0;
    int r = find_stream(s, stream, &e, err);

    if (r < 0)
        return r;
    e.cut = up_to > 0 ? MIN(up_to, (uint64_t)INT64_MAX) : (uint64_t)INT64_MAX;
    r = sum_up_to(s, &e, err);
    if (r == 0)
        r = cut(s, &e, AICO_EPURGED, &missed, err);
    if (r == 0 && up_to == 0)
        r = streams_values_purge(s, e.id, &values, err);
    if (r == 0)
        *ret = (struct streams_removed){e.cut_count + values, missed};
    return r;
}
