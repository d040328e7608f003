/* SPDX-License-Identifier: Apache-2.0 */
/* Our own prekeys and what was begun with them. One owner. */
#include "session/shelf.h"

#include "base/cleanup.h"
#include "base/hash.h"
#include "crypto/dh.h"
#include "crypto/kdf.h"

#define PAIR_SIZE (SIGN_PUBLIC_SIZE + DH_PUBLIC_SIZE)

struct one_time {
    uint32_t number;
    struct secret secret;
};

struct statement { /* guarded */
    uint8_t bytes[PREKEY_STATEMENT_SIZE];
    uint32_t number;
    int64_t created_ms, expires_ms;
    struct secret secret;
    uint32_t next; /* number of the next one-time key */
    size_t count;
    struct one_time keys[SHELF_KEPT_MAX]; /* the oldest first */
};

struct seen {
    UT_hash_handle hh;
    uint8_t pair[PAIR_SIZE];
    int64_t until_ms; /* ms since 1970 */
    struct shelf_opened opened;
};

struct shelf {
    struct statement *statements[SHELF_STATEMENTS_MAX]; /* the newest last */
    size_t count;
    struct seen *seen;
};

/* --- life ----------------------------------------------------------------------------------- */

struct shelf *shelf_new(void)
{
    return calloc(1, sizeof(struct shelf));
}

void shelf_free(struct shelf **shelf)
{
    struct seen *seen, *next;

    if (!*shelf)
        return;
    for (size_t i = 0; i < (*shelf)->count; i++)
        guarded_free(&(*shelf)->statements[i]);
    HASH_ITER(hh, (*shelf)->seen, seen, next)
    {
        HASH_DEL((*shelf)->seen, seen);
        free(seen);
    }
    free(*shelf);
    *shelf = NULL;
}

/* The last one; after shelf_renew() it is one of our identity's, not of the one before. */
static struct statement *newest(const struct shelf *shelf)
{
    return shelf->count > 0 ? shelf->statements[shelf->count - 1] : NULL;
}

static struct statement *statement_find(const struct shelf *shelf, uint32_t number)
{
    for (size_t i = 0; i < shelf->count; i++)
        if (shelf->statements[i]->number == number)
            return shelf->statements[i];
    return NULL;
}

static int seen_add(struct shelf *shelf, const uint8_t *pair, int64_t until_ms,
                    const struct shelf_opened *opened)
{
    struct seen *seen = calloc(1, sizeof(*seen));

    if (!seen)
        return AICO_ENOMEM;
    memcpy(seen->pair, pair, PAIR_SIZE);
    seen->until_ms = until_ms;
    seen->opened = *opened;
    HASH_ADD(hh, shelf->seen, pair, PAIR_SIZE, seen);
    if (!HASH_ADDED(hh, seen)) {
        free(seen);
        return AICO_ENOMEM;
    }
    return 0;
}

/* --- rows ----------------------------------------------------------------------------------- */

struct row_key {
    uint8_t at[KEEP_KEY_MAX];
    size_t size;
};

static struct row_key statement_key(uint32_t number)
{
    struct row_key key;
    struct writer w = writer_over(key.at, sizeof(key.at));

    writer_u8(&w, KEEP_STATEMENT);
    writer_u32(&w, number);
    key.size = w.size;
    return key;
}

static struct row_key one_time_key(uint32_t statement, uint32_t number)
{
    struct row_key key;
    struct writer w = writer_over(key.at, sizeof(key.at));

    writer_u8(&w, KEEP_ONE_TIME);
    writer_u32(&w, statement);
    writer_u32(&w, number);
    key.size = w.size;
    return key;
}

static struct row_key seen_key(const uint8_t *pair)
{
    struct row_key key;
    struct writer w = writer_over(key.at, sizeof(key.at));

    writer_u8(&w, KEEP_SEEN);
    writer_bytes(&w, bytes_of(pair, PAIR_SIZE));
    key.size = w.size;
    return key;
}

static struct bytes key_view(const struct row_key *key)
{
    return bytes_of(key->at, key->size);
}

static void put_statement(const struct statement *statement, struct keep_batch *batch)
{
    uint8_t room[PREKEY_STATEMENT_SIZE + SECRET_SIZE + 4];
    struct row_key key = statement_key(statement->number);
    struct writer w = writer_over(room, sizeof(room));

    writer_bytes(&w, bytes_of(statement->bytes, PREKEY_STATEMENT_SIZE));
    writer_bytes(&w, secret_view(&statement->secret));
    writer_u32(&w, statement->next);
    keep_put(batch, key_view(&key), writer_view(&w));
    memory_wipe(room, sizeof(room));
}

/* Where statement @number is, or is put so that numbers rise; NULL: no memory, or too many. */
static struct statement *statement_place(struct shelf *shelf, uint32_t number)
{
    struct statement *statement = statement_find(shelf, number);
    size_t at = shelf->count;

    if (statement || shelf->count == SHELF_STATEMENTS_MAX)
        return statement;
    statement = guarded_new(sizeof(*statement));
    if (!statement)
        return NULL;
    statement->number = number;
    for (; at > 0 && shelf->statements[at - 1]->number > number; at--)
        shelf->statements[at] = shelf->statements[at - 1];
    shelf->statements[at] = statement;
    shelf->count++;
    return statement;
}

static int take_statement(struct shelf *shelf, struct bytes key, struct bytes value)
{
    struct reader k = reader_over(key), v = reader_over(value);
    struct bytes bytes = reader_bytes(&v, PREKEY_STATEMENT_SIZE);
    struct prekey_statement parsed;
    struct statement *statement;

    (void)reader_u8(&k);
    if (v.failed || prekey_statement_parse(bytes, &parsed) < 0 || parsed.number != reader_u32(&k) ||
        !reader_done(&k))
        return AICO_EFORMAT;
    statement = statement_place(shelf, parsed.number);
    if (!statement)
        return shelf->count == SHELF_STATEMENTS_MAX ? AICO_EFORMAT : AICO_ENOMEM;
    bytes_copy(statement->bytes, bytes);
    statement->created_ms = parsed.created_ms;
    statement->expires_ms = parsed.expires_ms;
    reader_copy(&v, statement->secret.at, SECRET_SIZE);
    statement->next = reader_u32(&v);
    return reader_done(&v) ? 0 : AICO_EFORMAT;
}

static int take_one_time(struct shelf *shelf, struct bytes key, struct bytes value)
{
    struct reader k = reader_over(key);
    struct statement *statement;
    struct one_time *one_time;
    uint32_t number, of;

    (void)reader_u8(&k);
    of = reader_u32(&k);
    number = reader_u32(&k);
    if (!reader_done(&k) || value.size != SECRET_SIZE)
        return AICO_EFORMAT;
    statement = statement_place(shelf, of);
    if (!statement)
        return shelf->count == SHELF_STATEMENTS_MAX ? AICO_EFORMAT : AICO_ENOMEM;
    if (statement->count == SHELF_KEPT_MAX)
        return AICO_EFORMAT;
    one_time = &statement->keys[statement->count++];
    one_time->number = number;
    bytes_copy(one_time->secret.at, value);
    return 0;
}

static int take_seen(struct shelf *shelf, struct bytes key, struct bytes value)
{
    struct reader v = reader_over(value);
    int64_t until_ms = (int64_t)reader_u64(&v);
    struct shelf_opened opened = {0};

    if (v.left > 0) { /* older rows end here */
        opened.next = reader_u32(&v);
        opened.newest_ms = (int64_t)reader_u64(&v);
    }
    if (key.size != 1 + PAIR_SIZE || !reader_done(&v))
        return AICO_EFORMAT;
    return seen_add(shelf, key.at + 1, until_ms, &opened);
}

int shelf_take_row(struct shelf *shelf, struct bytes key, struct bytes value)
{
    switch (key.size > 0 ? key.at[0] : 0) {
    case KEEP_STATEMENT:
        return take_statement(shelf, key, value);
    case KEEP_ONE_TIME:
        return take_one_time(shelf, key, value);
    case KEEP_SEEN:
        return take_seen(shelf, key, value);
    default:
        return AICO_EFORMAT;
    }
}

/* --- statements ----------------------------------------------------------------------------- */

static void one_time_drop(struct statement *statement, size_t at, struct keep_batch *batch)
{
    struct row_key key = one_time_key(statement->number, statement->keys[at].number);

    keep_drop(batch, key_view(&key));
    memmove(&statement->keys[at], &statement->keys[at + 1],
            (statement->count - at - 1) * sizeof(statement->keys[0]));
    statement->count--;
    memory_wipe(&statement->keys[statement->count], sizeof(statement->keys[0]));
}

static void statement_erase(struct shelf *shelf, size_t at, struct keep_batch *batch)
{
    struct statement *statement = shelf->statements[at];
    struct row_key key = statement_key(statement->number);

    while (statement->count > 0)
        one_time_drop(statement, statement->count - 1, batch);
    keep_drop(batch, key_view(&key));
    guarded_free(&shelf->statements[at]);
    for (; at + 1 < shelf->count; at++)
        shelf->statements[at] = shelf->statements[at + 1];
    shelf->count--;
}

static void erase_old(struct shelf *shelf, struct moment now, struct keep_batch *batch)
{
    struct seen *seen, *next;

    while (shelf->count > 0 && (shelf->count == SHELF_STATEMENTS_MAX ||
                                now.real_ms >= shelf->statements[0]->expires_ms + PREKEY_KEPT_MS))
        statement_erase(shelf, 0, batch);
    HASH_ITER(hh, shelf->seen, seen, next)
    {
        struct row_key key = seen_key(seen->pair);

        if (now.real_ms < seen->until_ms)
            continue;
        keep_drop(batch, key_view(&key));
        HASH_DEL(shelf->seen, seen);
        free(seen);
    }
}

/* Made by the key we have now. */
static bool is_own(const struct statement *statement, const struct identity *self)
{
    struct prekey_statement parsed;

    return prekey_statement_parse(bytes_of(statement->bytes, PREKEY_STATEMENT_SIZE), &parsed) ==
               0 &&
           memcmp(parsed.identity, self->public, SIGN_PUBLIC_SIZE) == 0;
}

int shelf_renew(struct shelf *shelf, const struct handshake_context *context, struct hedge *hedge,
                struct moment now, struct keep_batch *batch)
{
    const struct statement *last = newest(shelf);
    bool is_ours = last && is_own(last, context->self);
    struct statement *statement;
    uint32_t number = (uint32_t)(now.real_ms / 1000);
    int r;

    if (is_ours && now.real_ms < shelf_deadline(shelf))
        return 0;
    erase_old(shelf, now, batch);
    last = newest(shelf);
    if (is_ours && last && now.real_ms < last->created_ms + PREKEY_NEW_AFTER_MS)
        return 0;
    /* Above all that a lost disk may have used before. */
    if (last && number <= last->number)
        number = last->number + 1;
    statement = statement_place(shelf, number);
    if (!statement)
        return AICO_ENOMEM;
    fresh(hedge, "prekey", &statement->secret);
    statement->created_ms = now.real_ms;
    statement->expires_ms = now.real_ms + PREKEY_VALID_MS;
    r = prekey_statement_make(context, number, now.real_ms, &statement->secret, statement->bytes);
    if (r < 0) {
        guarded_free(&shelf->statements[--shelf->count]);
        return r;
    }
    put_statement(statement, batch);
    return 1;
}

int64_t shelf_deadline(const struct shelf *shelf)
{
    if (shelf->count == 0)
        return INT64_MAX;
    return MIN(newest(shelf)->created_ms + PREKEY_NEW_AFTER_MS,
               shelf->statements[0]->expires_ms + PREKEY_KEPT_MS);
}

const uint8_t *shelf_statement(const struct shelf *shelf, uint32_t *ret_number)
{
    const struct statement *statement = newest(shelf);

    if (!statement)
        return NULL;
    *ret_number = statement->number;
    return statement->bytes;
}

int shelf_refill(struct shelf *shelf, struct hedge *hedge, size_t count, struct keep_batch *batch,
                 struct buffer *to)
{
    struct statement *statement = newest(shelf);
    struct writer w =
        writer_over(buffer_reserve(to, count * PREKEY_ONE_TIME_SIZE), count * PREKEY_ONE_TIME_SIZE);

    if (!w.at || !statement)
        return AICO_ENOMEM;
    while (statement->count > SHELF_KEPT_MAX - count)
        one_time_drop(statement, 0, batch);
    for (size_t i = 0; i < count; i++) {
        struct one_time *one_time = &statement->keys[statement->count++];
        struct row_key key = one_time_key(statement->number, statement->next);

        one_time->number = statement->next++;
        fresh(hedge, "prekey", &one_time->secret);
        keep_put(batch, key_view(&key), secret_view(&one_time->secret));
        writer_u32(&w, one_time->number);
        dh_public(&one_time->secret, writer_reserve(&w, DH_PUBLIC_SIZE));
    }
    put_statement(statement, batch);
    to->size += w.size;
    return 0;
}

/* --- what others begin ---------------------------------------------------------------------- */

static const struct one_time *one_time_find(const struct statement *statement, uint32_t number)
{
    for (size_t i = 0; i < statement->count; i++)
        if (statement->keys[i].number == number)
            return &statement->keys[i];
    return NULL;
}

static void pair_of(const struct prekey_init *init, uint8_t pair[PAIR_SIZE])
{
    memcpy(pair, init->sender, SIGN_PUBLIC_SIZE);
    memcpy(pair + SIGN_PUBLIC_SIZE, init->ephemeral, DH_PUBLIC_SIZE);
}

static struct seen *seen_find(const struct shelf *shelf, const struct prekey_init *init)
{
    struct seen *seen;
    uint8_t pair[PAIR_SIZE];

    pair_of(init, pair);
    HASH_FIND(hh, shelf->seen, pair, PAIR_SIZE, seen);
    return seen;
}

static void put_seen(const struct seen *seen, struct keep_batch *batch)
{
    struct row_key key = seen_key(seen->pair);
    uint8_t value[8 + 4 + 8];
    struct writer w = writer_over(value, sizeof(value));

    writer_u64(&w, (uint64_t)seen->until_ms);
    writer_u32(&w, seen->opened.next);
    writer_u64(&w, (uint64_t)seen->opened.newest_ms);
    keep_put(batch, key_view(&key), writer_view(&w));
}

int shelf_find(const struct shelf *shelf, const struct prekey_init *init,
               struct shelf_found *ret_found)
{
    const struct statement *statement = statement_find(shelf, init->statement);
    const struct one_time *one_time = NULL;
    uint8_t hash[HASH_SIZE];

    if (!statement)
        return AICO_EPREKEYOLD;
    hash_n(bytes_of(statement->bytes, PREKEY_STATEMENT_SIZE), hash, HASH_SIZE);
    if (memcmp(hash, init->statement_hash, HASH_SIZE) != 0)
        return AICO_EPREKEYOLD;
    if (seen_find(shelf, init))
        return AICO_EREPLAY;
    if (HASH_COUNT(shelf->seen) >= SHELF_SEEN_MAX)
        return AICO_ELIMIT;
    if (init->one_time != PREKEY_NO_ONE_TIME) {
        one_time = one_time_find(statement, init->one_time);
        if (!one_time)
            return AICO_EPREKEYUSED;
    }
    *ret_found = (struct shelf_found){statement->bytes, &statement->secret,
                                      one_time ? &one_time->secret : NULL};
    return 0;
}

int shelf_spend(struct shelf *shelf, const struct prekey_init *init,
                const struct shelf_opened *opened, struct keep_batch *batch)
{
    struct statement *statement = statement_find(shelf, init->statement);
    const struct one_time *one_time = one_time_find(statement, init->one_time);
    int64_t until_ms = statement->expires_ms + PREKEY_KEPT_MS;
    uint8_t pair[PAIR_SIZE];
    int r;

    pair_of(init, pair);
    r = seen_add(shelf, pair, until_ms, opened);
    if (r < 0)
        return r;
    put_seen(seen_find(shelf, init), batch);
    if (one_time)
        one_time_drop(statement, (size_t)(one_time - statement->keys), batch);
    return 0;
}

void shelf_give_up(struct shelf *shelf, const struct prekey_init *init,
                   const struct shelf_opened *opened, struct keep_batch *batch)
{
    struct seen *seen = seen_find(shelf, init);

    if (!seen)
        return;
    seen->opened = *opened;
    put_seen(seen, batch);
}

bool shelf_has_opened(const struct shelf *shelf, const struct prekey_init *init, uint32_t number,
                      int64_t sent_ms)
{
    const struct seen *seen = seen_find(shelf, init);

    return seen && number < seen->opened.next && sent_ms <= seen->opened.newest_ms;
}
