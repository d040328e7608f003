/* SPDX-License-Identifier: Apache-2.0 */
/* What the store holds, for people. */
#include "base/cleanup.h"
#include "base/json.h"
#include "store/streams_internal.h"

static void put_stream(struct json *j, sqlite3_stmt *q)
{
    json_put_text(j, "stream", column_bytes(q, 0));
    json_put_u64(j, "messages", column_number(q, 1));
    json_put_u64(j, "bytes", column_number(q, 2));
    json_put_u64(j, "first", column_number(q, 3));
    json_put_u64(j, "last", column_number(q, 4));
    json_put_u64(j, "values", column_number(q, 5));
}

static void put_reader(struct json *j, sqlite3_stmt *q)
{
    json_open_object(j, NULL);
    json_put_text(j, "component", column_bytes(q, 0));
    json_put_text(j, "name", column_bytes(q, 1));
    json_put_text(j, "filter", column_bytes(q, 2));
    json_put_u64(j, "settled_up_to", column_number(q, 3));
    json_put_u64(j, "settled_beyond", column_number(q, 4));
    json_close_object(j);
}

static void put_dead(struct json *j, sqlite3_stmt *q)
{
    json_open_object(j, NULL);
    json_put_text(j, "component", column_bytes(q, 0));
    json_put_text(j, "name", column_bytes(q, 1));
    json_put_u64(j, "number", column_number(q, 2));
    json_put_text(j, "topic", column_bytes(q, 7));
    json_put_text(j, "cause", bytes_text(aico_error_name(-(int)column_number(q, 3))));
    json_put_u64(j, "attempts", column_number(q, 4));
    json_put_text(j, "reason", column_bytes(q, 5));
    json_put_i64(j, "at_ms", sqlite3_column_int64(q, 6));
    json_close_object(j);
}

/* A member @key with one object for each row of @which. */
static int put_list(struct streams *s, struct json *j, const char *key,
                    enum streams_statement which, struct bytes stream,
                    void (*put)(struct json *, sqlite3_stmt *), struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, which, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    if (sqlite3_bind_parameter_count(q) > 0)
        bind_text(q, 1, stream);
    json_open_array(j, key);
    while ((r = sqlite3_step(q)) == SQLITE_ROW)
        put(j, q);
    json_close_array(j);
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int streams_json(struct streams *s, struct bytes stream, struct buffer *out, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_LIST, err);
    struct json j = json_over(out);
    size_t count = 0;
    int r;

    if (!q)
        return streams_fail(s, err);
    if (stream.size > 0)
        bind_text(q, 1, stream);
    json_open_array(&j, NULL);
    while ((r = sqlite3_step(q)) == SQLITE_ROW) {
        int failed = 0;

        count++;
        json_open_object(&j, NULL);
        put_stream(&j, q);
        if (stream.size > 0)
            failed = put_list(s, &j, "readers", SQL_LIST_READERS, stream, put_reader, err);
        if (stream.size > 0 && failed == 0)
            failed = put_list(s, &j, "dead", SQL_LIST_DEAD, stream, put_dead, err);
        json_close_object(&j);
        if (failed < 0)
            return failed;
    }
    json_close_array(&j);
    if (r != SQLITE_DONE)
        return streams_fail(s, err);
    if (stream.size > 0 && count == 0)
        return aico_error_set(err, AICO_ENOTFOUND, "nothing is stored for %.*s", (int)stream.size,
                              (const char *)stream.at);
    return j.failed ? AICO_ENOMEM : 0;
}
