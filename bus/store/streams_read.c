/* SPDX-License-Identifier: Apache-2.0 */
/* Messages out of the store, and who has read how far. */
#include "base/cleanup.h"
#include "store/streams_internal.h"
#include "wire/topic.h"

#define SCAN_MAX 4000 /* rows a read looks at before it lets others in: some 10 ms */
#define KEY_ID_AT 8   /* in an envelope: behind its magic */
#define MAGIC "AICO-MSG"

/* --- messages ------------------------------------------------------------------------------- */

/* The key of the message in @row for the first of @identities that has one; empty when there is
 * none. It stays valid until *ret_query ends. */
static int find_key(struct streams *s, sqlite3_stmt *row, struct bytes payload,
                    struct bytes identities, sqlite3_stmt **ret_query, struct bytes *ret_key,
                    struct aico_error *err)
{
    sqlite3_stmt *q;
    int r = SQLITE_DONE;

    *ret_key = bytes_of(NULL, 0);
    if (identities.size == 0 || payload.size < KEY_ID_AT + STREAMS_KEY_ID_SIZE ||
        memcmp(payload.at, MAGIC, KEY_ID_AT) != 0)
        return 0;
    q = *ret_query = streams_statement(s, SQL_KEY_FIND, err);
    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, column_number(row, 9));
    bind_bytes(q, 2, bytes_of(payload.at + KEY_ID_AT, STREAMS_KEY_ID_SIZE));
    for (size_t at = 0; r == SQLITE_DONE && at < identities.size; at += SIGN_PUBLIC_SIZE) {
        (void)sqlite3_reset(q);
        bind_bytes(q, 3, bytes_of(identities.at + at, SIGN_PUBLIC_SIZE));
        r = sqlite3_step(q);
    }
    if (r == SQLITE_ROW)
        *ret_key = column_bytes(q, 0);
    return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int streams_hand_out(struct streams *s, sqlite3_stmt *row, struct bytes identities,
                     streams_sink sink, void *context, size_t *ret_size, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *key = NULL;
    struct bytes sender = column_bytes(row, 2);
    struct stored_message m = {
        .number = column_number(row, 0),
        .topic = column_bytes(row, 1),
        .identity = sender.at,
        .sender = column_bytes(row, 3),
        .publish_id = column_number(row, 4),
        .stored_ms = sqlite3_column_int64(row, 5),
        .count = (uint32_t)column_number(row, 6),
        .payload = column_bytes(row, 7),
    };
    int r;

    /* A blob that cannot be read comes as nothing. */
    if (sqlite3_errcode(s->db) == SQLITE_NOMEM || sender.size != SIGN_PUBLIC_SIZE)
        return aico_error_set(err, AICO_ESTOREDAMAGED, "%s: message %llu cannot be read", s->path,
                              (unsigned long long)m.number);
    r = find_key(s, row, m.payload, identities, &key, &m.key, err);
    if (r < 0)
        return r;
    *ret_size = m.payload.size + m.topic.size;
    return sink(context, &m) ? 1 : 0;
}

int streams_number(struct streams *s, enum streams_statement which, uint64_t number,
                   const uint8_t *identity, uint64_t *ret_number, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, which, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    if (identity)
        bind_bytes(q, 1, bytes_of(identity, SIGN_PUBLIC_SIZE));
    else
        bind_number(q, 1, number);
    r = sqlite3_step(q);
    *ret_number = r == SQLITE_ROW ? column_number(q, 0) : 0;
    return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int streams_scan(struct streams *s, sqlite3_stmt *q, const struct streams_query *query,
                 streams_sink sink, void *context, uint64_t *ret_after, bool *ret_more,
                 struct aico_error *err)
{
    size_t count = 0, bytes = 0, scanned = 0;
    int r;

    *ret_after = query->after;
    *ret_more = false;
    while ((r = sqlite3_step(q)) == SQLITE_ROW) {
        size_t size = 0;

        if (count >= query->count_max || bytes >= query->bytes_max || scanned++ >= SCAN_MAX) {
            *ret_more = true;
            return 0;
        }
        if (sqlite3_column_type(q, 8) == SQLITE_NULL &&
            filter_matches(query->filter, column_bytes(q, 1))) {
            r = streams_hand_out(s, q, query->identities, sink, context, &size, err);
            if (r <= 0) {
                *ret_more = true;
                return r;
            }
            count++;
            bytes += size;
        }
        *ret_after = column_number(q, 0);
    }
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int streams_read(struct streams *s, const struct streams_query *query, streams_sink sink,
                 void *context, uint64_t *ret_after, bool *ret_more, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_ITEM_SCAN, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, query->after);
    bind_number(q, 2, query->reader);
    bind_number(q, 3, (uint64_t)query->now_ms);
    return streams_scan(s, q, query, sink, context, ret_after, ret_more, err);
}

int streams_read_one(struct streams *s, uint64_t number, int64_t now_ms, struct bytes identities,
                     streams_sink sink, void *context, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_ITEM_ONE, err);
    size_t size;
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, number);
    bind_number(q, 2, (uint64_t)now_ms);
    r = sqlite3_step(q);
    if (r == SQLITE_DONE)
        return aico_error_set(err, AICO_ENOTFOUND, "message %llu is stored no more",
                              (unsigned long long)number);
    if (r != SQLITE_ROW)
        return streams_fail(s, err);
    r = streams_hand_out(s, q, identities, sink, context, &size, err);
    return r < 0 ? r : 0;
}

/* --- where a reader begins ------------------------------------------------------------------ */

/* The first message at or above @number; *ret_number 0: there is none. */
static int probe(struct streams *s, uint64_t number, uint64_t *ret_number, int64_t *ret_ms,
                 struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_ITEM_TIME, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, number);
    r = sqlite3_step(q);
    *ret_number = r == SQLITE_ROW ? column_number(q, 0) : 0;
    *ret_ms = r == SQLITE_ROW ? sqlite3_column_int64(q, 1) : 0;
    return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

/* The number before the first message stored at or after @ms: times rise with numbers. */
static int floor_of_time(struct streams *s, int64_t ms, uint64_t last, uint64_t *ret_floor,
                         struct aico_error *err)
{
    uint64_t low = 1, high = last + 1;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2, found = 0;
        int64_t found_ms = 0;
        int r = probe(s, middle, &found, &found_ms, err);

        if (r < 0)
            return r;
        if (found == 0 || found_ms >= ms)
            high = middle;
        else
            low = found + 1;
    }
    *ret_floor = low - 1;
    return 0;
}

/* Looks on below reader->below, from the @last number at first; where nothing matches it begins
 * behind what was the last then. */
static int floor_of_last(struct streams *s, struct bytes filter, uint64_t last,
                         struct streams_reader *reader, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_ITEM_LAST, err);
    uint64_t below = reader->below;
    int r;

    if (!q)
        return streams_fail(s, err);
    if (below == 0) {
        reader->floor = last;
        below = last + 1;
    }
    reader->below = 0;
    bind_number(q, 1, below);
    for (size_t looked = 0; (r = sqlite3_step(q)) == SQLITE_ROW; looked++) {
        if (looked == SCAN_MAX) {
            reader->below = below;
            return 0;
        }
        below = column_number(q, 0);
        if (filter_matches(filter, column_bytes(q, 1))) {
            reader->floor = below - 1;
            return 0;
        }
    }
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

static int find_floor(struct streams *s, struct bytes filter, enum streams_start start,
                      uint64_t value, struct streams_reader *reader, struct aico_error *err)
{
    uint64_t *ret_floor = &reader->floor, last = 0;
    int r = streams_last(s, &last, err);

    if (r < 0)
        return r;
    switch (start) {
    case STREAMS_ALL:
        *ret_floor = 0;
        return 0;
    case STREAMS_TIME:
        return floor_of_time(s, (int64_t)MIN(value, (uint64_t)INT64_MAX), last, ret_floor, err);
    case STREAMS_NUMBER:
        *ret_floor = MIN(value > 0 ? value - 1 : 0, last);
        return 0;
    case STREAMS_LAST:
        return floor_of_last(s, filter, last, reader, err);
    case STREAMS_NEW:
        break;
    }
    *ret_floor = last;
    return 0;
}

/* How many @maker has. */
static int count_readers(struct streams *s, struct bytes maker, uint64_t *ret_count,
                         struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_READER_COUNT, err);

    if (!q)
        return streams_fail(s, err);
    bind_text(q, 1, maker);
    if (sqlite3_step(q) != SQLITE_ROW)
        return streams_fail(s, err);
    *ret_count = column_number(q, 0);
    return 0;
}

static int add_reader(struct streams *s, struct bytes component, struct bytes maker,
                      struct bytes name, struct bytes filter, struct streams_reader *reader,
                      struct aico_error *err)
{
    int r = count_readers(s, maker, &reader->count, err);
    sqlite3_stmt *q;

    if (r < 0)
        return r;
    if (reader->count >= s->limits.readers)
        return aico_error_set(
            err, AICO_EQUOTA,
            "%.*s has %llu durable readers, no more are kept for one component; "
            "%.*s is not: forget one, aico-bus stream forget NAME [--queue GROUP]",
            (int)maker.size, (const char *)maker.at, (unsigned long long)reader->count,
            (int)name.size, (const char *)name.at);
    reader->count++;
    q = streams_statement(s, SQL_READER_ADD, err);
    if (!q)
        return streams_fail(s, err);
    bind_text(q, 5, maker);
    bind_text(q, 1, component);
    bind_text(q, 2, name);
    bind_text(q, 3, filter);
    bind_number(q, 4, reader->floor);
    r = streams_run(s, q, err);
    reader->id = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return r;
}

int streams_follow(struct streams *s, struct bytes component, struct bytes maker, struct bytes name,
                   struct bytes filter, enum streams_start start, uint64_t value,
                   struct streams_reader *reader, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_READER_FIND, err);
    int r;

    if (start != STREAMS_LAST)
        *reader = (struct streams_reader){0};
    if (!q)
        return streams_fail(s, err);
    bind_text(q, 1, component);
    bind_text(q, 2, name);
    r = sqlite3_step(q);
    if (r == SQLITE_ROW) {
        struct bytes known = column_bytes(q, 1);

        if (!bytes_equal(known, filter))
            return aico_error_set(err, AICO_EEXISTS,
                                  "durable reader %.*s reads %.*s; take another name, or forget it",
                                  (int)name.size, (const char *)name.at, (int)known.size,
                                  (const char *)known.at);
        *reader = (struct streams_reader){.id = column_number(q, 0),
                                          .floor = column_number(q, 2),
                                          .existed = true,
                                          .handed = column_number(q, 3)};
        return 0;
    }
    r = r == SQLITE_DONE ? find_floor(s, filter, start, value, reader, err) : streams_fail(s, err);
    if (r == 0 && name.size > 0 && reader->below == 0)
        r = add_reader(s, component, maker, name, filter, reader, err);
    return r;
}

/* --- how far it is -------------------------------------------------------------------------- */

static int run_two(struct streams *s, enum streams_statement which, uint64_t reader,
                   uint64_t number, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, which, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, reader);
    bind_number(q, 2, number);
    return streams_run(s, q, err);
}

int streams_note_handed(struct streams *s, uint64_t reader, uint64_t number, struct aico_error *err)
{
    /* Without fsync: what a later power cut forgets is that a reader may have seen it. */
    int r = streams_text(s, "PRAGMA synchronous=NORMAL", err);

    if (r == 0)
        r = run_two(s, SQL_READER_HANDED, reader, number, err);
    return streams_text(s, "PRAGMA synchronous=FULL", r < 0 ? NULL : err) < 0 ? AICO_ESTORE : r;
}

int streams_settle(struct streams *s, uint64_t reader, uint64_t number, uint64_t floor,
                   struct aico_error *err)
{
    int r = 0;

    if (number > floor)
        r = run_two(s, SQL_SETTLED_ADD, reader, number, err);
    if (r == 0)
        r = run_two(s, SQL_READER_FLOOR, reader, floor, err);
    if (r == 0)
        r = run_two(s, SQL_SETTLED_CUT, reader, floor, err);
    return r < 0 ? r : run_two(s, SQL_MISSED_GOT, reader, number, err);
}

int streams_bury(struct streams *s, uint64_t reader, uint64_t number, int code, uint32_t attempts,
                 struct bytes reason, int64_t now_ms, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, SQL_DEAD_ADD, err);

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, reader);
    bind_number(q, 2, number);
    bind_number(q, 3, (uint64_t)-code);
    bind_number(q, 4, attempts);
    bind_text(q, 5, reason);
    bind_number(q, 6, (uint64_t)now_ms);
    return streams_run(s, q, err);
}

int streams_readers_of(struct streams *s, struct bytes topic, streams_component_sink sink,
                       void *context, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_READERS_ALL, err);
    int r = SQLITE_ERROR;

    if (!q)
        return streams_fail(s, err);
    while ((r = sqlite3_step(q)) == SQLITE_ROW)
        if (filter_matches(column_bytes(q, 1), topic) && sink(context, column_bytes(q, 0)) < 0)
            return aico_error_set(err, AICO_ENOMEM, "out of memory");
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

int streams_forget(struct streams *s, struct bytes component, struct bytes name,
                   struct aico_error *err)
{
    static const enum streams_statement drops[] = {SQL_DEAD_DROP, SQL_MISSED_FORGET};
    uint64_t id = 0;
    sqlite3_stmt *q = streams_statement(s, SQL_READER_DROP, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_text(q, 1, component);
    bind_text(q, 2, name);
    r = sqlite3_step(q);
    if (r == SQLITE_ROW)
        id = column_number(q, 0);
    if (r == SQLITE_ROW)
        r = sqlite3_step(q);
    statement_end(&q);
    if (r != SQLITE_DONE)
        return streams_fail(s, err);
    if (id == 0)
        return aico_error_set(err, AICO_ENOTFOUND, "%.*s has no durable reader %.*s",
                              (int)component.size, (const char *)component.at, (int)name.size,
                              (const char *)name.at);
    r = run_two(s, SQL_SETTLED_CUT, id, INT64_MAX, err);
    for (size_t i = 0; r == 0 && i < COUNT_OF(drops); i++) {
        q = streams_statement(s, drops[i], err);
        if (!q)
            return streams_fail(s, err);
        bind_number(q, 1, id);
        r = streams_run(s, q, err);
    }
    return r;
}
