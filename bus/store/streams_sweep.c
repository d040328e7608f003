/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What belongs to nothing any more: marks, keys, dead letters and topics, table by table in the
 * order of their primary keys, some rows at a time. So no call takes longer because there is much.
 */
#include "base/cleanup.h"
#include "store/streams_internal.h"

#define KEPT_MS ((int64_t)24 * 3600 * 1000) /* counts and keys, after their last message */
#define GONE_MS (30 * KEPT_MS)              /* that a value was there */

/* Each message has the mark of its topic, so what no mark names has none. */
static const struct {
    enum streams_statement end, sweep, count; /* count: what a row was counted for at its sender */
} tables[] = {
    {SQL_MARK_END, SQL_MARK_SWEEP, SQL_SENDER_UNMARKED},
    {SQL_KEY_END, SQL_KEY_SWEEP, SQL_SENDER_KEYED},
    {SQL_DEAD_END, SQL_DEAD_SWEEP, 0},
    {SQL_TOPIC_END, SQL_TOPIC_SWEEP, 0},
};

static void place_free(struct sweep_place *place)
{
    for (int i = 0; i < SWEEP_COLUMNS; i++)
        sqlite3_value_free(place->at[i]);
    *place = (struct sweep_place){0};
}

void sweep_end(struct streams *s)
{
    place_free(&s->sweep.place);
    s->sweep.table = 0;
}

/* From ?@index on; @without: what is bound for no row. */
static void bind_place(sqlite3_stmt *q, int index, const struct sweep_place *place, int64_t without)
{
    int count = sqlite3_bind_parameter_count(q);

    for (int i = 0; i < SWEEP_COLUMNS && index + i <= count; i++) {
        if (place->at[i])
            (void)sqlite3_bind_value(q, index + i, place->at[i]);
        else
            (void)sqlite3_bind_int64(q, index + i, without);
    }
}

/* The last of the next @rows_max rows; none (NULL) when there are fewer. */
static int find_end(struct streams *s, size_t rows_max, struct sweep_place *ret_end,
                    struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, tables[s->sweep.table].end, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_place(q, 1, &s->sweep.place, -1);
    bind_number(q, 4, rows_max - 1);
    r = sqlite3_step(q);
    if (r == SQLITE_DONE)
        return 0;
    if (r != SQLITE_ROW)
        return streams_fail(s, err);
    for (int i = 0; i < SWEEP_COLUMNS; i++) {
        ret_end->at[i] = sqlite3_value_dup(sqlite3_column_value(q, i));
        if (!ret_end->at[i])
            return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    return 0;
}

static int uncount(struct streams *s, uint64_t sender, int64_t by, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, tables[s->sweep.table].count, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, sender);
    if (sqlite3_bind_parameter_count(q) > 1)
        (void)sqlite3_bind_int64(q, 2, by);
    return streams_run(s, q, err);
}

/* Up to @end. The rows of RETURNING come when all of them have been deleted. */
static int sweep_to(struct streams *s, const struct sweep_place *end, int64_t before_ms,
                    struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, tables[s->sweep.table].sweep, err);
    int r, code = 0;

    if (!q)
        return streams_fail(s, err);
    bind_place(q, 1, &s->sweep.place, -1);
    bind_place(q, 4, end, INT64_MAX);
    if (sqlite3_bind_parameter_count(q) >= 7)
        (void)sqlite3_bind_int64(q, 7, before_ms);
    while ((r = sqlite3_step(q)) == SQLITE_ROW && code == 0)
        code = uncount(s, column_number(q, 0), sqlite3_column_int64(q, 1), err);
    if (code < 0)
        return code;
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int streams_sweep(struct streams *s, int64_t now_ms, size_t rows_max, bool *ret_more,
                  struct aico_error *err)
{
    CLEANUP(place_free)
    struct sweep_place end = {0};
    bool is_first = s->sweep.table == 0 && !s->sweep.place.at[0];
    int r = 0;

    *ret_more = false;
    if (is_first)
        r = streams_values_forget(s, now_ms - GONE_MS, rows_max, ret_more, err);
    if (*ret_more)
        return r;
    if (r == 0)
        r = find_end(s, rows_max, &end, err);
    if (r == 0)
        r = sweep_to(s, &end, now_ms - KEPT_MS, err);
    place_free(&s->sweep.place);
    if (r < 0) {
        sweep_end(s);
        return r;
    }
    if (end.at[0]) {
        s->sweep.place = end;
        end = (struct sweep_place){0};
    } else {
        s->sweep.table++;
    }
    *ret_more = s->sweep.table < COUNT_OF(tables);
    if (!*ret_more)
        s->sweep.table = 0;
    return 0;
}
