/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Retained values: the last one of each topic. What a repetition is known by stands in the row
 * itself, so an earlier value of a sender's run never replaces a later one, however late it comes.
 * Where several senders say one topic, a row of size 0 stays of a value that is gone, with its
 * sender or by its time, until the next is said: no earlier one, said again, takes its place.
 */
#include "base/cleanup.h"
#include "store/streams_internal.h"
#include "wire/topic.h"

#define GONE_SIZE 128 /* what a value that is gone counts for */

/* What a topic has now. */
struct former {
    uint64_t number, size; /* number 0: nothing */
    bool is_own;           /* of the same sender */
    bool is_over;          /* it took the place of another sender's */
    bool is_there;         /* what is put now was there before, or a later one of the same run */
};

static int find_former(struct streams *s, const struct stored_message *m, struct former *ret,
                       struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_VALUE_FORMER, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_text(q, 1, m->topic);
    r = sqlite3_step(q);
    *ret = (struct former){0};
    if (r == SQLITE_ROW) {
        ret->number = column_number(q, 0);
        ret->size = column_number(q, 1);
        ret->is_own = bytes_equal(column_bytes(q, 4), bytes_of(m->identity, SIGN_PUBLIC_SIZE));
        ret->is_over = column_number(q, 5) > 0;
        ret->is_there = ret->is_own && m->position <= column_number(q, 3) &&
                        bytes_equal(column_bytes(q, 2), bytes_of(m->scope, sizeof(m->scope)));
    }
    return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

/* @bytes more (or, wrapped around, less) are @sender's. */
static int grow(struct streams *s, uint64_t sender, uint64_t bytes, uint64_t *ret_held,
                struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_HELD_GROW, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, sender);
    bind_number(q, 2, bytes);
    if (sqlite3_step(q) != SQLITE_ROW)
        return streams_fail(s, err);
    *ret_held = column_number(q, 0);
    return sqlite3_step(q) == SQLITE_DONE ? 0 : streams_fail(s, err);
}

/* @which, SQL_VALUE_DROP or SQL_VALUE_CLEAR, of value @number; its bytes are its sender's no more.
 * *ret_size: how many, 0 when there is none that it is for. */
static int take_out(struct streams *s, enum streams_statement which, uint64_t number,
                    uint64_t *ret_size, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, which, err);
    uint64_t sender = 0, size = 0, gone = 0, held;
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, number);
    r = sqlite3_step(q);
    if (r == SQLITE_ROW) {
        sender = column_number(q, 0);
        size = column_number(q, 1);
        gone = column_number(q, 2);
        r = sqlite3_step(q);
    }
    if (r != SQLITE_DONE)
        return streams_fail(s, err);
    *ret_size = size;
    return size + gone > 0 ? grow(s, sender, 0 - size - gone, &held, err) : 0;
}

/* That it was there stays, and counts. */
static int mark_gone(struct streams *s, uint64_t number, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_VALUE_MARK, err);
    uint64_t sender, held;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, number);
    bind_number(q, 2, GONE_SIZE);
    if (sqlite3_step(q) != SQLITE_ROW)
        return streams_fail(s, err);
    sender = column_number(q, 0);
    return sqlite3_step(q) == SQLITE_DONE ? grow(s, sender, GONE_SIZE, &held, err)
                                          : streams_fail(s, err);
}

/* Its value is gone; that it was later than another sender's stays. */
static int retire(struct streams *s, uint64_t number, uint64_t *ret_size, struct aico_error *err)
{
    int r = take_out(s, SQL_VALUE_CLEAR, number, ret_size, err);

    if (r < 0 || *ret_size == 0)
        return r < 0 ? r : take_out(s, SQL_VALUE_DROP, number, ret_size, err);
    return mark_gone(s, number, err);
}

static int add(struct streams *s, const struct stored_value *value, uint64_t size, bool is_over,
               uint64_t *ret_number, uint64_t *ret_held, struct aico_error *err)
{
    const struct stored_message *m = &value->message;
    struct item_ids ids = {0};
    sqlite3_stmt *q;
    int r = streams_names(s, m, &ids, err);

    if (r == 0)
        r = streams_stream(s, m->stream, &ids.stream, err);
    if (r < 0)
        return r;
    q = streams_statement(s, SQL_VALUE_ADD, err);
    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, ids.topic);
    bind_number(q, 2, ids.stream);
    bind_number(q, 3, ids.sender);
    bind_bytes(q, 4, bytes_of(m->scope, sizeof(m->scope)));
    bind_number(q, 5, m->position);
    bind_number(q, 6, m->publish_id);
    bind_number(q, 7, (uint64_t)m->stored_ms);
    bind_number(q, 8, (uint64_t)value->expires_ms);
    bind_number(q, 9, size);
    bind_number(q, 10, is_over);
    bind_bytes(q, 11, m->payload);
    r = streams_run(s, q, err);
    *ret_number = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return r < 0 ? r : grow(s, ids.sender, size, ret_held, err);
}

int streams_value_put(struct streams *s, const struct stored_value *value, uint64_t *ret_number,
                      uint64_t *ret_used, struct aico_error *err)
{
    const struct stored_message *m = &value->message;
    uint64_t size = m->topic.size + m->payload.size, held = 0, number = 0;
    struct former former = {0};
    int r = find_former(s, m, &former, err);

    if (r == 0)
        r = streams_number(s, SQL_HELD_FIND, 0, m->identity, &held, err);
    if (r < 0)
        return r;
    *ret_number = *ret_used = 0;
    if (former.is_there || (value->again && former.number > 0 && !former.is_own))
        return 0;
    if (held - (former.is_own ? former.size : 0) + size > value->limit) {
        *ret_used = held;
        return aico_error_set(err, AICO_EQUOTA, "its sender's values take too much");
    }
    if (former.number > 0)
        r = take_out(s, SQL_VALUE_DROP, former.number, &former.size, err);
    if (r == 0)
        r = add(s, value, size, former.is_over || (former.number > 0 && !former.is_own), &number,
                &held, err);
    if (r < 0)
        return r;
    *ret_number = number;
    *ret_used = held;
    return 0;
}

int streams_value_read(struct streams *s, const struct streams_query *query, int64_t now_ms,
                       streams_sink sink, void *context, uint64_t *ret_after, bool *ret_more,
                       struct aico_error *err)
{
    bool is_one = topic_is_valid(query->filter);
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, is_one ? SQL_VALUE_ONE : SQL_VALUE_SCAN, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, query->after);
    bind_number(q, 2, (uint64_t)now_ms);
    if (is_one)
        bind_text(q, 3, query->filter);
    return streams_scan(s, q, query, sink, context, ret_after, ret_more, err);
}

/* --- deleted ---------------------------------------------------------------------------------- */

/* The first row of @which, with @number, as long as there is one, is taken out by @take; @rows_max
 * at most. *ret_removed: values among them. *ret_more: there is another row. */
static int take_all(struct streams *s, enum streams_statement which, uint64_t number,
                    int (*take)(struct streams *s, uint64_t number, uint64_t *ret_size,
                                struct aico_error *err),
                    size_t rows_max, uint64_t *ret_removed, bool *ret_more, struct aico_error *err)
{
    uint64_t found = 1, removed = 0, size = 0;
    int r = 0;

    for (size_t rows = 0; r == 0 && rows < rows_max; rows++) {
        r = streams_number(s, which, number, NULL, &found, err);
        if (r < 0 || found == 0)
            break;
        r = take(s, found, &size, err);
        removed += size > 0;
    }
    if (r < 0)
        return r;
    *ret_removed = removed;
    *ret_more = found > 0;
    return 0;
}

static int drop(struct streams *s, uint64_t number, uint64_t *ret_size, struct aico_error *err)
{
    return take_out(s, SQL_VALUE_DROP, number, ret_size, err);
}

int streams_values_purge(struct streams *s, uint64_t id, uint64_t *ret_removed,
                         struct aico_error *err)
{
    bool more = false;

    return take_all(s, SQL_VALUE_OF, id, drop, SIZE_MAX, ret_removed, &more, err);
}

int streams_values_forget(struct streams *s, int64_t before_ms, size_t rows_max, bool *ret_more,
                          struct aico_error *err)
{
    uint64_t removed;

    return take_all(s, SQL_VALUE_OLD, (uint64_t)before_ms, drop, rows_max, &removed, ret_more, err);
}

int streams_value_expire(struct streams *s, int64_t now_ms, size_t rows_max, uint64_t *ret_removed,
                         bool *ret_more, struct aico_error *err)
{
    return take_all(s, SQL_VALUE_VOID, (uint64_t)now_ms, retire, rows_max, ret_removed, ret_more,
                    err);
}

int streams_value_drop(struct streams *s, const uint8_t sender[SIGN_PUBLIC_SIZE],
                       uint64_t *ret_removed, struct aico_error *err)
{
    static const enum streams_statement steps[] = {SQL_VALUE_DROP_BY, SQL_VALUE_MARK_BY,
                                                   SQL_VALUE_FREE_BY, SQL_HELD_EMPTY};
    uint64_t removed = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < COUNT_OF(steps); i++) {
        sqlite3_stmt *q = streams_statement(s, steps[i], err);

        if (!q)
            return streams_fail(s, err);
        bind_bytes(q, 1, bytes_of(sender, SIGN_PUBLIC_SIZE));
        r = streams_run(s, q, err);
        if (r == 0 && (steps[i] == SQL_VALUE_DROP_BY || steps[i] == SQL_VALUE_MARK_BY))
            removed += (uint64_t)sqlite3_changes(s->db);
    }
    *ret_removed = removed;
    return r;
}
