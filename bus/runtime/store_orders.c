/* SPDX-License-Identifier: Apache-2.0 */
/* Orders of the broker core to its store: each kind, and a batch of them as transactions. */
#include "runtime/store_orders.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "broker/quota.h"
#include "broker/store.h"
#include "store/streams.h"
#include "wire/stream_record.h"

/* NOLINTBEGIN(misc-redundant-expression): that they are the same is what is asked */
_Static_assert(ROWS_READERS_MAX == STREAMS_READERS_MAX && ROWS_TOPICS_MAX == STREAMS_MARKS_MAX &&
                   ROWS_KEYS_MAX == STREAMS_KEYS_MAX,
               "the core warns of what the store refuses");
/* NOLINTEND(misc-redundant-expression) */

#define ROWS_MAX 1000

/* --- one order ------------------------------------------------------------------------------ */

static int load_statement(void *context, const uint8_t identity[SIGN_PUBLIC_SIZE],
                          struct bytes statement)
{
    return store_statement_put(context, identity, statement);
}

static int load(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    int r = streams_statements(hand->streams, load_statement, &o->out, err);

    return r < 0 ? r : streams_last(hand->streams, &o->number, err);
}

static int load_prekeys(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    return streams_prekeys(hand->streams, load_statement, &o->out, err);
}

static int name_reader(void *context, struct bytes component)
{
    uint8_t room[1 + UINT8_MAX];
    struct writer w = writer_over(room, sizeof(room));

    writer_lp8(&w, component);
    return buffer_append(context, writer_view(&w));
}

static struct keys_refused *find_refused(struct store_hand *hand, const struct store_order *o,
                                         const uint8_t *key_id)
{
    for (size_t i = 0; i < hand->refused_count; i++)
        if (memcmp(hand->refused[i].identity, o->identity, sizeof(o->identity)) == 0 &&
            memcmp(hand->refused[i].key_id, key_id, STORE_KEY_ID_SIZE) == 0)
            return &hand->refused[i];
    return NULL;
}

/* Whether the keys of @o, a KEYS order, found room. */
static void note_keys(struct store_hand *hand, const struct store_order *o, bool is_refused)
{
    struct keys_refused *refused = find_refused(hand, o, o->key_id);

    if (refused && !is_refused)
        *refused = hand->refused[--hand->refused_count];
    if (refused || !is_refused)
        return;
    hand->refused_next %= KEYS_REFUSED_KEPT;
    refused = &hand->refused[hand->refused_count < KEYS_REFUSED_KEPT ? hand->refused_count++
                                                                     : hand->refused_next++];
    memcpy(refused->identity, o->identity, sizeof(refused->identity));
    memcpy(refused->key_id, o->key_id, sizeof(refused->key_id));
}

/* What @o is sealed with was not kept for its readers. 0 or AICO_EQUOTA. */
static int check_keys(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    if (hand->refused_count == 0 || !find_refused(hand, o, o->scope))
        return 0;
    o->value = UINT64_MAX;
    return aico_error_set(err, AICO_EQUOTA,
                          "its keys for readers found no room: %.*s keeps too many of them; let it "
                          "publish on fewer topics, or have fewer readers",
                          (int)o->sender.size, (const char *)o->sender.at);
}

static int put(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    int r;

    struct stored_message m = {
        .stream = o->stream,
        .topic = o->topic,
        .identity = o->identity,
        .sender = o->sender,
        .publish_id = o->publish_id,
        .stored_ms = hand->last_ms = MAX(hand->last_ms, o->now_ms),
        .count = o->count,
        .expires_ms = o->expires_ms,
        .position = o->position,
        .payload = o->data,
    };

    memcpy(m.scope, o->scope, sizeof(m.scope));
    r = check_keys(hand, o, err);
    if (r == 0)
        r = streams_put(hand->streams, &m, &o->number, &o->value, err);
    if (r == 0 && o->names_readers)
        r = streams_readers_of(hand->streams, o->topic, name_reader, &o->out, err);
    return r;
}

/* A full mailbox is its own business, and nothing of the message is kept. */
static int put_mail(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    struct stored_mail mail = {
        .message = {.topic = o->topic,
                    .identity = o->identity,
                    .sender = o->sender,
                    .publish_id = o->publish_id,
                    .stored_ms = hand->last_ms = MAX(hand->last_ms, o->now_ms),
                    .count = 1,
                    .position = o->position,
                    .payload = o->data},
        .receiver = o->receiver,
        .expires_ms = o->expires_ms,
    };
    int r = streams_mail_used(hand->streams, o->receiver, &o->value, err);

    if (r < 0)
        return r;
    if (o->value + o->data.size > o->limit)
        return aico_error_set(err, AICO_EQUOTA, "the mailbox is full");
    memcpy(mail.message.scope, o->scope, sizeof(o->scope));
    return streams_mail_put(hand->streams, &mail, &o->number, &o->value, err);
}

static int put_value(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    struct stored_value value = {
        .message = {.stream = o->stream,
                    .topic = o->topic,
                    .identity = o->identity,
                    .sender = o->sender,
                    .publish_id = o->publish_id,
                    .stored_ms = hand->last_ms = MAX(hand->last_ms, o->now_ms),
                    .position = o->position,
                    .payload = o->data},
        .expires_ms = o->expires_ms,
        .limit = o->limit,
        .again = o->again,
    };

    if (check_keys(hand, o, err) < 0)
        return AICO_EQUOTA;
    memcpy(value.message.scope, o->scope, sizeof(o->scope));
    return streams_value_put(hand->streams, &value, &o->number, &o->value, err);
}

/* Deleted before others are let in: no fewer than come meanwhile. */
static size_t rows_max(const struct store_hand *hand)
{
    return (hand->rows_max > 0 ? hand->rows_max : ROWS_MAX) + hand->stored;
}

static int trim_values(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    uint64_t removed = 0;
    int r = streams_value_expire(hand->streams, o->now_ms, rows_max(hand), &removed, &o->more, err);

    o->count = (uint32_t)removed;
    return r;
}

static int drop_values(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    uint64_t removed = 0;

    return streams_value_drop(hand->streams, o->identity, &removed, err);
}

/* What retention did becomes the order's answer. */
static void take_removed(struct store_order *o, const struct streams_removed *removed)
{
    o->count = (uint32_t)MIN(removed->count, (uint64_t)UINT32_MAX);
    o->missed = removed->missed > 0;
}

static int trim_mail(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    struct streams_removed removed = {0};
    struct streams_mail_place place = {o->expires_ms, o->after};
    int r = streams_mail_expire(hand->streams, o->now_ms, rows_max(hand), o->data, &place, &removed,
                                &o->more, err);

    o->expires_ms = place.expires_ms;
    o->after = place.number;
    take_removed(o, &removed);
    return r;
}

static int expire(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    struct streams_removed removed = {0};
    int r = streams_expire(hand->streams, o->now_ms, rows_max(hand), &removed, &o->more, err);

    hand->void_left = r == 0 && o->more;
    take_removed(o, &removed);
    return r;
}

static int put_keys(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    struct reader entries = reader_over(o->data);
    struct bytes reader, key;
    int r = 0;

    while (r == 0 && record_next_key(&entries, &reader, &key))
        r = streams_put_key(hand->streams, o->identity, o->sender, o->key_id, reader.at, key,
                            o->now_ms, &o->value, err);
    if (r == 0 || r == AICO_EQUOTA)
        note_keys(hand, o, r < 0);
    return r;
}

static int follow(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    struct streams_reader reader = {.floor = o->floor, .below = o->position};
    int r = streams_follow(hand->streams, o->component, o->sender, o->name, o->filter,
                           (enum streams_start)o->start, o->value, &reader, err);

    if (r < 0)
        return r;
    o->reader = reader.id;
    o->floor = reader.floor;
    o->after = reader.handed;
    o->count = (uint32_t)reader.count;
    o->position = reader.below;
    o->more = reader.below > 0;
    return 0;
}

static int bury(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    int r = streams_bury(hand->streams, o->reader, o->number, o->bury_code, o->attempts, o->data,
                         o->now_ms, err);

    if (r == 0 && o->again)
        r = streams_bury_untold(hand->streams, o->reader, o->number, o->bury_code, err);
    return r < 0 ? r : streams_settle(hand->streams, o->reader, o->number, o->floor, err);
}

static int trim(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    struct streams_removed removed = {0};
    int r = streams_trim(hand->streams, o->stream, &o->limits, o->now_ms, rows_max(hand), &removed,
                         &o->more, err);

    take_removed(o, &removed);
    return r;
}

/* "FILTER [NUMBER]" of a purge. */
static int purge(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    const uint8_t *space = memchr(o->filter.at, ' ', o->filter.size);
    struct bytes stream = o->filter;
    struct streams_removed removed = {0};
    uint64_t up_to = 0;
    int r;

    if (space) {
        stream.size = (size_t)(space - o->filter.at);
        for (const uint8_t *at = space + 1; at < o->filter.at + o->filter.size; at++) {
            if (*at < '0' || *at > '9' || up_to > (uint64_t)INT64_MAX / 10 - 1)
                return aico_error_set(err, AICO_EINVAL, "purge takes a stream and a number");
            up_to = up_to * 10 + (*at - '0');
        }
    }
    r = streams_purge(hand->streams, stream, up_to, &removed, err);
    if (r == 0)
        r = buffer_printf(&o->out, "{\"removed\":%" PRIu64 "}", removed.count);
    o->missed = removed.missed > 0;
    return r;
}

static int ask(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    int r;

    if (bytes_equal_text(o->name, "purge"))
        return purge(hand, o, err);
    if (bytes_equal_text(o->name, "streams"))
        return streams_json(hand->streams, o->filter, &o->out, err);
    r = streams_forget(hand->streams, o->data, o->filter, err);
    return r < 0 ? r : buffer_append_text(&o->out, "{\"forgotten\":true}");
}

struct telling {
    struct buffer *out;
    int code;
};

static bool take_missed(void *context, const struct missed *m)
{
    struct telling *telling = context;

    telling->code =
        store_missed_put(telling->out, &(struct store_missed){
                                           .token = m->token,
                                           .count = m->count,
                                           .number = m->number,
                                           .publish_id = m->publish_id,
                                           .told = m->told,
                                           .code = m->code,
                                           .one = m->one,
                                           .identity = bytes_of(m->identity, SIGN_PUBLIC_SIZE),
                                           .sender = m->sender,
                                           .topic = m->topic,
                                       });
    return telling->code == 0;
}

/* Whose mailbox; NULL: nobody's, it is a reader of streams. */
static const uint8_t *box_of(const struct store_order *o)
{
    return o->reader == 0 ? o->receiver : NULL;
}

static int read_missed(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    struct telling telling = {&o->out, 0};
    struct streams_removed removed = {0};
    int r = 0;

    /* What a reader misses is told before what it gets; of many who ask one has it looked for. */
    if (o->reader > 0 && !hand->void_left)
        r = streams_expire(hand->streams, o->now_ms, rows_max(hand), &removed, &hand->void_left,
                           err);
    take_removed(o, &removed);
    o->missed |= o->reader > 0 && hand->void_left; /* and the rest when it is asked again */
    if (r == 0)
        r = streams_missed(hand->streams, o->reader, box_of(o), o->data, o->name, o->count_max,
                           take_missed, &telling, &o->more, err);

    return r < 0 ? r : telling.code;
}

struct reading {
    struct buffer *out;
    int code;
};

static bool take_row(void *context, const struct stored_message *m)
{
    struct reading *reading = context;

    reading->code = store_row_put(
        reading->out, &(struct store_row){m->number, (uint64_t)m->stored_ms, m->publish_id,
                                          m->count, bytes_of(m->identity, SIGN_PUBLIC_SIZE),
                                          m->sender, m->topic, m->key, m->payload});
    return reading->code == 0;
}

static int read_messages(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    struct reading reading = {&o->out, 0};
    struct streams_query query = {
        .after = o->after,
        .filter = o->filter,
        .reader = o->reader,
        .identities = o->kind == STORE_MAIL_READ ? bytes_of(o->receiver, SIGN_PUBLIC_SIZE)
                                                 : bytes_of(o->readers, o->readers_size),
        .now_ms = o->now_ms,
        .count_max = o->count_max,
        .bytes_max = o->bytes_max,
    };
    int r;

    if (o->kind == STORE_READ)
        r = streams_read(hand->streams, &query, take_row, &reading, &o->after, &o->more, err);
    else if (o->kind == STORE_VALUE_READ)
        r = streams_value_read(hand->streams, &query, o->now_ms, take_row, &reading, &o->after,
                               &o->more, err);
    else if (o->kind == STORE_MAIL_READ)
        r = streams_mail_read(hand->streams, &query, o->now_ms, take_row, &reading, &o->after,
                              &o->more, err);
    else
        r = streams_read_one(hand->streams, o->number, o->now_ms, query.identities, take_row,
                             &reading, err);

    if (r == 0)
        r = reading.code;
    return r == 0 && o->kind == STORE_READ && o->reader > 0 && o->out.size > 0
               ? streams_note_handed(hand->streams, o->reader, o->after, err)
               : r;
}

static int carry_out(struct store_hand *hand, struct store_order *o, struct aico_error *err)
{
    switch (o->kind) {
    case STORE_LOAD:
        return load(hand, o, err);
    case STORE_LOAD_PREKEYS:
        return load_prekeys(hand, o, err);
    case STORE_PREKEYS:
        return streams_put_prekey(hand->streams, o->identity, o->data, err);
    case STORE_PUT:
        return put(hand, o, err);
    case STORE_MAIL:
        return put_mail(hand, o, err);
    case STORE_MAIL_INHERIT:
        return streams_mail_inherit(hand->streams, o->receiver, o->identity, err);
    case STORE_MAIL_TAKE:
        return o->bury_code < 0 ? streams_mail_bury(hand->streams, o->receiver, o->number,
                                                    o->bury_code, &o->missed, err)
                                : streams_mail_take(hand->streams, o->receiver, o->number, err);
    case STORE_MAIL_TRIM:
        return trim_mail(hand, o, err);
    case STORE_VALUE:
        return put_value(hand, o, err);
    case STORE_VALUE_DROP:
        return drop_values(hand, o, err);
    case STORE_VALUE_TRIM:
        return trim_values(hand, o, err);
    case STORE_SWEEP:
        return streams_sweep(hand->streams, o->now_ms, rows_max(hand), &o->more, err);
    case STORE_KEYS:
        return put_keys(hand, o, err);
    case STORE_STATEMENT:
        return streams_put_statement(hand->streams, o->identity, o->data, err);
    case STORE_FOLLOW:
        return follow(hand, o, err);
    case STORE_SETTLE:
        return streams_settle(hand->streams, o->reader, o->number, o->floor, err);
    case STORE_BURY:
        return bury(hand, o, err);
    case STORE_TRIM:
        return trim(hand, o, err);
    case STORE_EXPIRE:
        return expire(hand, o, err);
    case STORE_MISSED:
        return read_missed(hand, o, err);
    case STORE_MISSED_TAKE:
        return streams_missed_take(hand->streams, o->reader, box_of(o), o->number, err);
    case STORE_ASK:
        return ask(hand, o, err);
    case STORE_READ:
    case STORE_READ_ONE:
    case STORE_MAIL_READ:
    case STORE_VALUE_READ:
        return read_messages(hand, o, err);
    }
    return AICO_EINTERNAL;
}

/* --- a batch -------------------------------------------------------------------------------- */

/* What writes nothing wants no transaction, and succeeds where none can be begun. */
static bool is_read(const struct store_order *o)
{
    return o->kind == STORE_READ || o->kind == STORE_READ_ONE || o->kind == STORE_MAIL_READ ||
           o->kind == STORE_VALUE_READ || o->kind == STORE_LOAD || o->kind == STORE_LOAD_PREKEYS ||
           (o->kind == STORE_FOLLOW && o->name.size == 0) ||
           (o->kind == STORE_ASK && bytes_equal_text(o->name, "streams"));
}

/* What a question got wrong is its own business; every other failure is the batch's. */
static bool is_own_failure(const struct store_order *o, int code)
{
    return ((o->kind == STORE_PUT || o->kind == STORE_MAIL || o->kind == STORE_VALUE ||
             o->kind == STORE_KEYS || o->kind == STORE_FOLLOW) &&
            code == AICO_EQUOTA) ||
           ((o->kind == STORE_ASK || o->kind == STORE_FOLLOW) &&
            (code == AICO_ENOTFOUND || code == AICO_EEXISTS || code == AICO_EINVAL));
}

static void fail(struct store_order *o, int code, const struct aico_error *err)
{
    o->code = code;
    (void)snprintf(o->text, sizeof(o->text), "%.250s",
                   *err->text ? err->text : aico_error_string(code));
}

static void store_all(struct store_hand *hand, struct store_order *first, struct store_order *end)
{
    struct aico_error err = {0};
    struct store_order *o;
    int r = streams_begin(hand->streams, &err);

    for (o = first; r == 0 && o != end; o = o->next) {
        struct aico_error own = {0};
        int code = carry_out(hand, o, &own);

        if (code < 0 && is_own_failure(o, code))
            fail(o, code, &own);
        else if (code < 0)
            err = own, r = code;
    }
    if (r == 0)
        r = streams_commit(hand->streams, &err);
    if (r == 0)
        return;
    streams_rollback(hand->streams);
    for (o = first; o != end; o = o->next)
        fail(o, r, &err);
}

/*
 * What is void is removed before a durable reader would pass over it: its place must not move on
 * before it is noted that it misses something. One that is not kept reads on where nothing can be
 * written; it is not shown what is void either.
 */
static int expire_first(struct store_hand *hand, struct store_order *o, bool *ret_more,
                        struct aico_error *err)
{
    struct store_order first = {.kind = STORE_EXPIRE, .now_ms = o->now_ms};
    bool has = false;
    int r = o->kind == STORE_READ && o->reader > 0
                ? streams_has_void(hand->streams, o->now_ms, &has, err)
                : 0;

    *ret_more = false;
    if (r < 0 || !has)
        return r;
    store_all(hand, &first, NULL);
    if (first.code < 0)
        return aico_error_set(err, first.code, "%s", first.text);
    o->missed |= first.missed;
    *ret_more = first.more;
    return 0;
}

static void read_one(struct store_hand *hand, struct store_order *o)
{
    struct aico_error err = {0};
    bool more = false;
    int r = expire_first(hand, o, &more, &err);

    if (r == 0 && more)
        o->more = true; /* and nothing is read yet: *after is where it was */
    else if (r == 0)
        r = carry_out(hand, o, &err);
    if (r < 0)
        fail(o, r, &err);
}

/* Orders in their order: neighbours that store share a transaction. */
static void carry_out_all(struct store_hand *hand, struct store_order *list)
{
    struct store_order *o = list;

    while (o) {
        struct store_order *end = o;

        if (is_read(o)) {
            read_one(hand, o);
            o = o->next;
            continue;
        }
        while (end && !is_read(end))
            end = end->next;
        store_all(hand, o, end);
        o = end;
    }
}

void store_orders_carry_out(struct store_hand *hand, struct store_order *list)
{
    const struct store_order *o;

    hand->stored = 0;
    hand->void_left = false;
    DL_FOREACH(list, o)
    hand->stored += o->kind == STORE_PUT;
    carry_out_all(hand, list);
}
