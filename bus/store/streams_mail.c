/* SPDX-License-Identifier: Apache-2.0 */
/* Mailboxes: messages for one component each, until it has taken them or their time is over. */
#include "base/cleanup.h"
#include "store/streams_internal.h"

/* @bytes more (or, wrapped around, less) are in the mailbox of @receiver; *ret_used: with them. */
static int grow(struct streams *s, const uint8_t *receiver, uint64_t bytes, uint64_t *ret_used,
                struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_BOX_GROW, err);

    if (!q)
        return streams_fail(s, err);
    bind_bytes(q, 1, bytes_of(receiver, SIGN_PUBLIC_SIZE));
    bind_number(q, 2, bytes);
    if (sqlite3_step(q) != SQLITE_ROW)
        return streams_fail(s, err);
    *ret_used = column_number(q, 0);
    return sqlite3_step(q) == SQLITE_DONE ? 0 : streams_fail(s, err);
}

static int add(struct streams *s, const struct stored_mail *mail, uint64_t topic, uint64_t sender,
               uint64_t *ret_number, struct aico_error *err)
{
    const struct stored_message *m = &mail->message;
    sqlite3_stmt *q = streams_statement(s, SQL_MAIL_ADD, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_bytes(q, 1, bytes_of(mail->receiver, SIGN_PUBLIC_SIZE));
    bind_number(q, 2, topic);
    bind_number(q, 3, sender);
    bind_number(q, 4, m->publish_id);
    bind_number(q, 5, (uint64_t)m->stored_ms);
    bind_number(q, 6, (uint64_t)mail->expires_ms);
    bind_number(q, 7, m->payload.size);
    bind_bytes(q, 8, m->payload);
    r = streams_run(s, q, err);
    *ret_number = (uint64_t)sqlite3_last_insert_rowid(s->db);
    return r;
}

int streams_mail_put(struct streams *s, const struct stored_mail *mail, uint64_t *ret_number,
                     uint64_t *ret_used, struct aico_error *err)
{
    const struct stored_message *m = &mail->message;
    struct item_ids ids = {0};
    bool is_new = false;
    uint64_t used = 0;
    int r = streams_ids(s, m, &ids, &is_new, err);

    if (r < 0)
        return r;
    *ret_number = *ret_used = 0;
    if (!is_new)
        return 0;
    r = grow(s, mail->receiver, m->payload.size, &used, err);
    if (r == 0)
        r = streams_note_number(s, m, &ids, 0, err);
    if (r == 0)
        r = add(s, mail, ids.topic, ids.sender, ret_number, err);
    if (r == 0)
        *ret_used = used;
    return r;
}

int streams_mail_used(struct streams *s, const uint8_t receiver[SIGN_PUBLIC_SIZE],
                      uint64_t *ret_used, struct aico_error *err)
{
    return streams_number(s, SQL_BOX_FIND, 0, receiver, ret_used, err);
}

int streams_mail_read(struct streams *s, const struct streams_query *query, int64_t now_ms,
                      streams_sink sink, void *context, uint64_t *ret_after, bool *ret_more,
                      struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_MAIL_SCAN, err);
    size_t count = 0, bytes = 0;
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_bytes(q, 1, bytes_of(query->identities.at, SIGN_PUBLIC_SIZE));
    bind_number(q, 2, query->after);
    bind_number(q, 3, (uint64_t)now_ms);
    *ret_after = query->after;
    *ret_more = false;
    while ((r = sqlite3_step(q)) == SQLITE_ROW) {
        size_t size = 0;
        int more;

        if (count++ >= query->count_max || bytes >= query->bytes_max) {
            *ret_more = true;
            return 0;
        }
        more = streams_hand_out(s, q, bytes_of(NULL, 0), sink, context, &size, err);
        if (more <= 0) {
            *ret_more = true;
            return more;
        }
        bytes += size;
        *ret_after = column_number(q, 0);
    }
    return r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

/* *ret_removed with number 0: it was not there. */
static int take_out(struct streams *s, const uint8_t receiver[SIGN_PUBLIC_SIZE], uint64_t number,
                    struct removed *ret_removed, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_MAIL_TAKE, err);
    uint64_t size = 0, used;
    int r;

    *ret_removed = (struct removed){0};
    if (!q)
        return streams_fail(s, err);
    bind_bytes(q, 1, bytes_of(receiver, SIGN_PUBLIC_SIZE));
    bind_number(q, 2, number);
    r = sqlite3_step(q);
    if (r == SQLITE_ROW) {
        size = column_number(q, 0);
        *ret_removed = (struct removed){number, column_number(q, 1), column_number(q, 2), 1,
                                        column_number(q, 3)};
        r = sqlite3_step(q);
    }
    if (r != SQLITE_DONE)
        return streams_fail(s, err);
    return size > 0 ? grow(s, receiver, 0 - size, &used, err) : 0;
}

int streams_mail_take(struct streams *s, const uint8_t receiver[SIGN_PUBLIC_SIZE], uint64_t number,
                      struct aico_error *err)
{
    struct removed removed;

    return take_out(s, receiver, number, &removed, err);
}

int streams_mail_bury(struct streams *s, const uint8_t receiver[SIGN_PUBLIC_SIZE], uint64_t number,
                      int code, bool *ret_missed, struct aico_error *err)
{
    struct removed removed;
    int r = take_out(s, receiver, number, &removed, err);

    *ret_missed = r == 0 && removed.number > 0;
    return *ret_missed ? missed_add(s, 0, receiver, false, code, &removed, err) : r;
}

static int inherit(struct streams *s, enum streams_statement which, const uint8_t *receiver,
                   const uint8_t *former, struct aico_error *err)
{
    sqlite3_stmt *q = streams_statement(s, which, err);

    if (!q)
        return streams_fail(s, err);
    bind_bytes(q, 1, bytes_of(receiver, SIGN_PUBLIC_SIZE));
    bind_bytes(q, 2, bytes_of(former, SIGN_PUBLIC_SIZE));
    return streams_run(s, q, err);
}

int streams_mail_inherit(struct streams *s, const uint8_t receiver[SIGN_PUBLIC_SIZE],
                         const uint8_t former[SIGN_PUBLIC_SIZE], struct aico_error *err)
{
    uint64_t size = 0, used;
    int r = streams_mail_used(s, former, &size, err);

    if (r == 0 && size > 0)
        r = inherit(s, SQL_MAIL_INHERIT, receiver, former, err);
    if (r == 0 && size > 0)
        r = grow(s, receiver, size, &used, err);
    if (r == 0 && size > 0)
        r = grow(s, former, 0 - size, &used, err);
    return r < 0 ? r : inherit(s, SQL_MISSED_INHERIT, receiver, former, err);
}

struct void_mail {
    struct removed removed; /* number 0: there is none */
    uint8_t receiver[SIGN_PUBLIC_SIZE];
};

/* The first message behind @place that is void; @place moves to it. */
static int find_void(struct streams *s, int64_t now_ms, struct streams_mail_place *place,
                     struct void_mail *ret, struct aico_error *err)
{
    CLEANUP(statement_end)
    sqlite3_stmt *q = streams_statement(s, SQL_MAIL_VOID, err);
    int r;

    if (!q)
        return streams_fail(s, err);
    bind_number(q, 1, (uint64_t)now_ms);
    bind_number(q, 2, (uint64_t)place->expires_ms);
    bind_number(q, 3, place->number);
    r = sqlite3_step(q);
    *ret = (struct void_mail){0};
    if (r == SQLITE_ROW && column_bytes(q, 1).size == SIGN_PUBLIC_SIZE) {
        ret->removed = (struct removed){column_number(q, 0), column_number(q, 2),
                                        column_number(q, 3), 1, column_number(q, 4)};
        memcpy(ret->receiver, column_bytes(q, 1).at, SIGN_PUBLIC_SIZE);
        *place = (struct streams_mail_place){(int64_t)column_number(q, 5), ret->removed.number};
    }
    return r == SQLITE_ROW || r == SQLITE_DONE ? 0 : streams_fail(s, err);
}

static bool is_spared(struct bytes spared, const uint8_t identity[SIGN_PUBLIC_SIZE])
{
    for (size_t at = 0; at + SIGN_PUBLIC_SIZE <= spared.size; at += SIGN_PUBLIC_SIZE)
        if (memcmp(spared.at + at, identity, SIGN_PUBLIC_SIZE) == 0)
            return true;
    return false;
}

int streams_mail_expire(struct streams *s, int64_t now_ms, size_t rows_max, struct bytes spared,
                        struct streams_mail_place *place, struct streams_removed *ret,
                        bool *ret_more, struct aico_error *err)
{
    struct void_mail mail = {0};
    struct streams_removed removed = {0};
    size_t rows = 0;
    int r;

    do {
        r = find_void(s, now_ms, place, &mail, err);
        if (r < 0 || mail.removed.number == 0 || is_spared(spared, mail.receiver))
            continue;
        r = streams_mail_take(s, mail.receiver, mail.removed.number, err);
        if (r == 0)
            r = missed_add(s, 0, mail.receiver, false, AICO_EEXPIRED, &mail.removed, err);
        removed.count++;
        removed.missed++;
    } while (r == 0 && mail.removed.number > 0 && ++rows < rows_max);
    if (r < 0)
        return r;
    *ret = removed;
    *ret_more = mail.removed.number > 0;
    return 0;
}
