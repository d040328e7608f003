/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What durable readers and owners of mailboxes will not get: noted in the transaction that removes
 * it, kept until they have been told. Counts by sender, topic and cause, so that a reader that
 * never comes back costs no more than the topics it reads; a message that was handed out stands by
 * itself, since it may be settled yet, and there are no more of those than a reader's window.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/reader.h"
#include "store/streams_internal.h"
#include "wire/topic.h"

/* --- noting --------------------------------------------------------------------------------- */

struct reader_row {
    uint64_t id, floor, handed;
    uint8_t size;
    char filter[TOPIC_SIZE_MAX + 1];
};

struct reader_rows {
    struct reader_row *rows;
    size_t count, capacity;
};

static void reader_rows_free(struct reader_rows *readers)
{
    free(readers->rows);
}

static int add_row(struct reader_rows *readers, sqlite3_stmt *q)
{
    struct bytes filter = column_bytes(q, 1);
    struct reader_row *row;

    if (readers->count == readers->capacity) {
        size_t capacity = MAX(2 * readers->capacity, (size_t)16);
        struct reader_row *rows = realloc(readers->rows, capacity * sizeof(*rows));

        if (!rows)
            return AICO_ENOMEM;
        readers->rows = rows;
        readers->capacity = capacity;
    }
    row = &readers->rows[readers->count++];
    *row = (struct reader_row){column_number(q, 0), column_number(q, 2), column_number(q, 3),
                               (uint8_t)MIN(filter.size, (size_t)TOPIC_SIZE_MAX), ""};
    bytes_copy(row->filter, bytes_of(filter.at, row->size));
    return 0;
}

/* The durable readers that have not settled everything up to @number. */
static int load_readers(struct streams *s, uint64_t number, struct reader_rows *readers,
                        struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_READERS, err);
    int r = SQLITE_ERROR;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, number);
    while ((r = sqlite3_step(q)) == SQLITE_ROW)
        if (add_row(readers, q) < 0)
            return aico_error_set(err, AICO_ENOMEM, "out of memory");
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

static int is_settled(struct streams *s, uint64_t reader, uint64_t number, bool *ret_is,
                      struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_SETTLED_FIND, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, reader);
    bind_number(q, 2, number);
    r = sqlite3_step(q);
    *ret_is = r == SQLITE_ROW;
    return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int missed_add(struct streams *s, uint64_t reader, const uint8_t *box, bool one, int code,
               const struct removed *m, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, one ? SQL_MISSED_ONE : SQL_MISSED_ADD, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, reader);
    bind_bytes(q, 2, bytes_of(box, box ? SIGN_PUBLIC_SIZE : 0));
    bind_number(q, 3, m->sender);
    bind_number(q, 4, m->topic);
    bind_number(q, 5, (uint64_t)-code);
    bind_number(q, 6, m->count);
    bind_number(q, 7, m->number);
    bind_number(q, 8, m->publish_id);
    return streams_run(s, q, err);
}

static int note(struct streams *s, const struct reader_rows *readers, const struct removed *m,
                struct bytes topic, int code, uint64_t *ret_missed, struct aico_error *err)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < readers->count; i++) {
        const struct reader_row *row = &readers->rows[i];
        bool settled = false;

        if (row->floor >= m->number || !filter_matches(bytes_of(row->filter, row->size), topic))
            continue;
        r = is_settled(s, row->id, m->number, &settled, err);
        if (r < 0 || settled)
            continue;
        r = missed_add(s, row->id, NULL, m->number <= row->handed, code, m, err);
        *ret_missed += 1;
    }
    return r;
}

static struct removed removed_of(sqlite3_stmt *q)
{
    return (struct removed){column_number(q, 0), column_number(q, 2), column_number(q, 3),
                            column_number(q, 4), column_number(q, 5)};
}

int missed_note_cut(struct streams *s, uint64_t stream, uint64_t up_to, int code,
                    uint64_t *ret_missed, struct aico_error *err)
{
    CLEANUP(reader_rows_free)
    struct reader_rows readers = {0};
    CLEANUP(statement_end)
    sqlite3_stmt *q = NULL;
    uint64_t floor = UINT64_MAX;
    int r = load_readers(s, up_to, &readers, err);

    if (r < 0 || readers.count == 0)
        return r;
    for (size_t i = 0; i < readers.count; i++)
        floor = MIN(floor, readers.rows[i].floor);
    q = streams_statement(s, SQL_ITEM_GONE, err);
    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, stream);
    bind_number(q, 2, floor);
    bind_number(q, 3, up_to);
    r = SQLITE_ROW;
    while (r == SQLITE_ROW && (r = sqlite3_step(q)) == SQLITE_ROW) {
        struct removed m = removed_of(q);
        int code_of_note = note(s, &readers, &m, column_bytes(q, 1), code, ret_missed, err);

        if (code_of_note < 0)
            return code_of_note;
    }
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int missed_note_one(struct streams *s, const struct removed *m, struct bytes topic, int code,
                    uint64_t *ret_missed, struct aico_error *err)
{
    CLEANUP(reader_rows_free)
    struct reader_rows readers = {0};
    int r = load_readers(s, m->number, &readers, err);

    return r < 0 ? r : note(s, &readers, m, topic, code, ret_missed, err);
}

int streams_bury_untold(struct streams *s, uint64_t reader, uint64_t number, int code,
                        struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_ITEM_ROW, err);
    struct removed m;
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, number);
    r = sqlite3_step(q);
    if (r != SQLITE_ROW) /* removed meanwhile: that was noted */
        return r == SQLITE_DONE ? 0 : streams_fail(s, err);
    m = removed_of(q);
    return missed_add(s, reader, NULL, false, code, &m, err);
}

/* --- telling -------------------------------------------------------------------------------- */

static bool is_among(struct bytes numbers, uint64_t number)
{
    size_t low = 0, high = numbers.size / 8;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct reader r = reader_over(bytes_of(numbers.at + 8 * middle, 8));
        uint64_t at = reader_u64(&r);

        if (at == number)
            return true;
        if (at < number)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static int mark_told(struct streams *s, uint64_t token, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_MISSED_TOLD, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, token);
    return streams_run(s, q, err);
}

/* 1: the sink wants more. */
static int tell(struct streams *s, sqlite3_stmt *q, streams_missed_sink sink, void *context,
                struct aico_error *err)
{
    struct bytes identity = column_bytes(q, 1);
    struct missed m = {
        .token = column_number(q, 0),
        .identity = identity.at,
        .sender = column_bytes(q, 2),
        .topic = column_bytes(q, 3),
        .code = -(int)column_number(q, 4),
        .one = column_number(q, 5) > 0,
        .count = column_number(q, 6),
        .number = column_number(q, 7),
        .publish_id = column_number(q, 8),
        .told = column_number(q, 9),
    };
    int r;

    if (identity.size != SIGN_PUBLIC_SIZE)
        return aico_error_set(err, AICO_ESTOREDAMAGED, "%s: a loss cannot be read", s->path);
    if (!sink(context, &m))
        return 0;
    r = mark_told(s, m.token, err);
    return r < 0 ? r : 1;
}

int streams_missed(struct streams *s, uint64_t reader, const uint8_t *box, struct bytes out,
                   struct bytes open, size_t count_max, streams_missed_sink sink, void *context,
                   bool *ret_more, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_MISSED_SCAN, err);
    size_t count = 0;
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, reader);
    bind_bytes(q, 2, bytes_of(box, box ? SIGN_PUBLIC_SIZE : 0));
    *ret_more = false;
    while ((r = sqlite3_step(q)) == SQLITE_ROW) {
        if (is_among(open, column_number(q, 0)) ||
            (column_number(q, 5) > 0 && is_among(out, column_number(q, 7))))
            continue;
        *ret_more = count++ >= count_max;
        r = *ret_more ? 0 : tell(s, q, sink, context, err);
        if (r <= 0)
            return r;
    }
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int streams_missed_take(struct streams *s, uint64_t reader, const uint8_t *box, uint64_t token,
                        struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_MISSED_TAKE, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, token);
    bind_number(q, 2, reader);
    bind_bytes(q, 3, bytes_of(box, box ? SIGN_PUBLIC_SIZE : 0));
    return streams_run(s, q, err);
}

/* --- what is void --------------------------------------------------------------------------- */

static int find_void(struct streams *s, int64_t now_ms, uint64_t *ret_number,
                     struct aico_error *err)
{
    return streams_number(s, SQL_END_VOID, (uint64_t)now_ms, NULL, ret_number, err);
}

int streams_has_void(struct streams *s, int64_t now_ms, bool *ret_has, struct aico_error *err)
{
    uint64_t number = 0;
    int r = find_void(s, now_ms, &number, err);

    *ret_has = number > 0;
    return r;
}

/* Message @number goes, if it is there yet. */
static int expire(struct streams *s, uint64_t number, struct streams_removed *removed,
                  struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_ITEM_ROW, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, number);
    r = sqlite3_step(q);
    if (r != SQLITE_ROW && r != SQLITE_DONE)
        return streams_fail(s, err);
    if (r == SQLITE_ROW) {
        struct removed m = removed_of(q);

        r = missed_note_one(s, &m, column_bytes(q, 1), AICO_EEXPIRED, &removed->missed, err);
        if (r == 0)
            r = streams_grow(s, column_number(q, 6), 0 - m.count, 0 - column_number(q, 7), err);
        removed->count += m.count;
    } else {
        r = 0;
    }
    statement_end(&q);
    if (r == 0)
        r = streams_run_one(s, SQL_ITEM_DROP, number, err);
    return r < 0 ? r : streams_run_one(s, SQL_END_DROP, number, err);
}

int streams_expire(struct streams *s, int64_t now_ms, size_t rows_max, struct streams_removed *ret,
                   bool *ret_more, struct aico_error *err)
{
    struct streams_removed removed = {0};
    uint64_t number = 1;
    size_t rows = 0;
    int r = 0;

    while (r == 0 && number > 0 && rows++ < rows_max) {
        r = find_void(s, now_ms, &number, err);
        if (r == 0 && number > 0)
            r = expire(s, number, &removed, err);
    }
    if (r < 0)
        return r;
    *ret = removed;
    *ret_more = number > 0;
    return 0;
}
