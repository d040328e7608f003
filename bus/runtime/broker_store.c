/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's message store: a thread that carries out the core's orders, so that the loop never
 * waits for a disk. It takes all that is there at once: everything to be stored is one transaction
 * with one fsync, then come the reads, which see it.
 *
 * The thread owns the store; `lock` guards the two lists.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "broker/store.h"
#include "runtime/broker.h"
#include "store/streams.h"
#include "wire/stream_record.h"

#define STORE_FILE "state/" BROKER_NAME "/messages.db"
#define BATCH_MAX 4096 /* orders of one transaction */
#define TRIM_ROWS 5000 /* deleted in one */
#define SWEEP_MS 3600000

struct store_worker {
    struct streams *streams;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t given;
    const struct wake *wake; /* the loop's */
    struct store_order *orders, *done;
    bool is_over;
    /* The thread's own. */
    int64_t last_ms;  /* a message is not stored at an earlier time than the one before */
    int64_t swept_ms; /* the broker's clock */
};

/* --- one order ------------------------------------------------------------------------------ */

static int load_statement(void *context, const uint8_t identity[SIGN_PUBLIC_SIZE],
                          struct bytes statement)
{
    return store_statement_put(context, identity, statement);
}

static int load(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    int r = streams_statements(w->streams, load_statement, &o->out, err);

    return r < 0 ? r : streams_last(w->streams, &o->number, err);
}

static int load_prekeys(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    return streams_prekeys(w->streams, load_statement, &o->out, err);
}

static int put(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    struct stored_message m = {
        .stream = o->stream,
        .topic = o->topic,
        .identity = o->identity,
        .sender = o->sender,
        .publish_id = o->publish_id,
        .stored_ms = w->last_ms = MAX(w->last_ms, o->now_ms),
        .count = o->count,
        .position = o->position,
        .payload = o->data,
    };

    memcpy(m.scope, o->scope, sizeof(m.scope));
    return streams_put(w->streams, &m, &o->number, err);
}

/* A full mailbox is its own business, and nothing of the message is kept. */
static int put_mail(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    struct stored_mail mail = {
        .message = {.topic = o->topic,
                    .identity = o->identity,
                    .sender = o->sender,
                    .publish_id = o->publish_id,
                    .stored_ms = w->last_ms = MAX(w->last_ms, o->now_ms),
                    .count = 1,
                    .position = o->position,
                    .payload = o->data},
        .receiver = o->receiver,
        .expires_ms = o->expires_ms,
    };
    int r = streams_mail_used(w->streams, o->receiver, &o->value, err);

    if (r < 0)
        return r;
    if (o->value + o->data.size > o->limit)
        return aico_error_set(err, AICO_EQUOTA, "the mailbox is full");
    memcpy(mail.message.scope, o->scope, sizeof(o->scope));
    return streams_mail_put(w->streams, &mail, &o->number, &o->value, err);
}

static int put_value(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    struct stored_value value = {
        .message = {.stream = o->stream,
                    .topic = o->topic,
                    .identity = o->identity,
                    .sender = o->sender,
                    .publish_id = o->publish_id,
                    .stored_ms = w->last_ms = MAX(w->last_ms, o->now_ms),
                    .position = o->position,
                    .payload = o->data},
        .expires_ms = o->expires_ms,
        .limit = o->limit,
        .again = o->again,
    };

    memcpy(value.message.scope, o->scope, sizeof(o->scope));
    return streams_value_put(w->streams, &value, &o->number, &o->value, err);
}

static int trim_values(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    uint64_t removed = 0;
    int r = streams_value_expire(w->streams, o->now_ms, TRIM_ROWS, &removed, &o->more, err);

    o->count = (uint32_t)removed;
    return r;
}

static int drop_values(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    uint64_t removed = 0;

    return streams_value_drop(w->streams, o->identity, &removed, err);
}

static int trim_mail(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    uint64_t removed = 0;
    int r = streams_mail_expire(w->streams, o->now_ms, TRIM_ROWS, &removed, &o->more, err);

    o->count = (uint32_t)removed;
    return r;
}

static int put_keys(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    struct reader entries = reader_over(o->data);
    struct bytes reader, key;
    int r = 0;

    while (r == 0 && record_next_key(&entries, &reader, &key))
        r = streams_put_key(w->streams, o->identity, o->sender, o->key_id, reader.at, key,
                            o->now_ms, err);
    return r;
}

static int follow(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    struct streams_reader reader = {0};
    int r = streams_follow(w->streams, o->component, o->name, o->filter,
                           (enum streams_start)o->start, o->value, &reader, err);

    if (r < 0)
        return r;
    o->reader = reader.id;
    o->floor = reader.floor;
    o->after = reader.handed;
    return 0;
}

static int bury(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    int r = streams_bury(w->streams, o->reader, o->number, o->bury_code, o->attempts, o->data,
                         o->now_ms, err);

    return r < 0 ? r : streams_settle(w->streams, o->reader, o->number, o->floor, err);
}

static int trim(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    uint64_t removed = 0;
    int r = streams_trim(w->streams, o->stream, &o->limits, o->now_ms, TRIM_ROWS, &removed,
                         &o->more, err);

    o->count = (uint32_t)MIN(removed, (uint64_t)UINT32_MAX);
    return r;
}

/* "FILTER [NUMBER]" of a purge. */
static int purge(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    const uint8_t *space = memchr(o->filter.at, ' ', o->filter.size);
    struct bytes stream = o->filter;
    uint64_t up_to = 0, removed = 0;
    int r;

    if (space) {
        stream.size = (size_t)(space - o->filter.at);
        for (const uint8_t *at = space + 1; at < o->filter.at + o->filter.size; at++) {
            if (*at < '0' || *at > '9' || up_to > (uint64_t)INT64_MAX / 10 - 1)
                return aico_error_set(err, AICO_EINVAL, "purge takes a stream and a number");
            up_to = up_to * 10 + (*at - '0');
        }
    }
    r = streams_purge(w->streams, stream, up_to, &removed, err);
    if (r == 0)
        r = buffer_printf(&o->out, "{\"removed\":%" PRIu64 "}", removed);
    return r;
}

static int ask(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    int r;

    if (bytes_equal_text(o->name, "purge"))
        return purge(w, o, err);
    if (bytes_equal_text(o->name, "streams"))
        return streams_json(w->streams, o->filter, &o->out, err);
    r = streams_forget(w->streams, o->data, o->filter, err);
    return r < 0 ? r : buffer_append_text(&o->out, "{\"forgotten\":true}");
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

static int read_messages(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    struct reading reading = {&o->out, 0};
    struct streams_query query = {
        .after = o->after,
        .filter = o->filter,
        .reader = o->reader,
        .identity = o->identity,
        .count_max = o->count_max,
        .bytes_max = o->bytes_max,
    };
    int r;

    if (o->kind == STORE_READ)
        r = streams_read(w->streams, &query, take_row, &reading, &o->after, &o->more, err);
    else if (o->kind == STORE_VALUE_READ)
        r = streams_value_read(w->streams, &query, o->now_ms, take_row, &reading, &o->after,
                               &o->more, err);
    else if (o->kind == STORE_MAIL_READ)
        r = streams_mail_read(w->streams, &query, o->now_ms, take_row, &reading, &o->after,
                              &o->more, err);
    else
        r = streams_read_one(w->streams, o->number, o->identity, take_row, &reading, err);

    if (r == 0)
        r = reading.code;
    return r == 0 && o->kind == STORE_READ && o->reader > 0 && o->out.size > 0
               ? streams_note_handed(w->streams, o->reader, o->after, err)
               : r;
}

static int carry_out(struct store_worker *w, struct store_order *o, struct aico_error *err)
{
    switch (o->kind) {
    case STORE_LOAD:
        return load(w, o, err);
    case STORE_LOAD_PREKEYS:
        return load_prekeys(w, o, err);
    case STORE_PREKEYS:
        return streams_put_prekey(w->streams, o->identity, o->data, err);
    case STORE_PUT:
        return put(w, o, err);
    case STORE_MAIL:
        return put_mail(w, o, err);
    case STORE_MAIL_TAKE:
        return streams_mail_take(w->streams, o->receiver, o->number, err);
    case STORE_MAIL_TRIM:
        return trim_mail(w, o, err);
    case STORE_VALUE:
        return put_value(w, o, err);
    case STORE_VALUE_DROP:
        return drop_values(w, o, err);
    case STORE_VALUE_TRIM:
        return trim_values(w, o, err);
    case STORE_KEYS:
        return put_keys(w, o, err);
    case STORE_STATEMENT:
        return streams_put_statement(w->streams, o->identity, o->data, err);
    case STORE_FOLLOW:
        return follow(w, o, err);
    case STORE_SETTLE:
        return streams_settle(w->streams, o->reader, o->number, o->floor, err);
    case STORE_BURY:
        return bury(w, o, err);
    case STORE_TRIM:
        return trim(w, o, err);
    case STORE_ASK:
        return ask(w, o, err);
    case STORE_READ:
    case STORE_READ_ONE:
    case STORE_MAIL_READ:
    case STORE_VALUE_READ:
        return read_messages(w, o, err);
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
    return ((o->kind == STORE_MAIL || o->kind == STORE_VALUE) && code == AICO_EQUOTA) ||
           ((o->kind == STORE_ASK || o->kind == STORE_FOLLOW) &&
            (code == AICO_ENOTFOUND || code == AICO_EEXISTS || code == AICO_EINVAL));
}

static void fail(struct store_order *o, int code, const struct aico_error *err)
{
    o->code = code;
    (void)snprintf(o->text, sizeof(o->text), "%.250s",
                   *err->text ? err->text : aico_error_string(code));
}

static void store_all(struct store_worker *w, struct store_order *first, struct store_order *end)
{
    struct aico_error err = {0};
    struct store_order *o;
    int r = streams_begin(w->streams, &err);

    for (o = first; r == 0 && o != end; o = o->next) {
        struct aico_error own = {0};
        int code = carry_out(w, o, &own);

        if (code < 0 && is_own_failure(o, code))
            fail(o, code, &own);
        else if (code < 0)
            err = own, r = code;
    }
    if (r == 0)
        r = streams_commit(w->streams, &err);
    if (r == 0)
        return;
    streams_rollback(w->streams);
    for (o = first; o != end; o = o->next)
        fail(o, r, &err);
}

/* Orders in their order: neighbours that store share a transaction. */
static void carry_out_all(struct store_worker *w, struct store_order *list)
{
    struct store_order *o = list;

    while (o) {
        struct store_order *end = o;

        if (is_read(o)) {
            struct aico_error err = {0};
            int r = carry_out(w, o, &err);

            if (r < 0)
                fail(o, r, &err);
            o = o->next;
            continue;
        }
        while (end && !is_read(end))
            end = end->next;
        store_all(w, o, end);
        o = end;
    }
}

/* Deletions that are not done yet, and once an hour what belongs to nothing any more. Failures are
 * for the next time: what must be told was told by an order. */
static void clean(struct store_worker *w, const struct store_order *list)
{
    const struct store_order *o;

    DL_FOREACH(list, o)
    {
        struct store_order again = {.kind = STORE_TRIM, .stream = o->stream, .limits = o->limits};
        bool more = o->kind == STORE_TRIM && o->code == 0 && o->more;

        for (int i = 0; more && i < 20; i++) {
            again.now_ms = o->now_ms;
            store_all(w, &again, NULL);
            more = again.code == 0 && again.more;
        }
        if (o->kind != STORE_TRIM || o->now_ms - w->swept_ms < SWEEP_MS)
            continue;
        w->swept_ms = o->now_ms;
        if (streams_begin(w->streams, NULL) == 0 &&
            (streams_sweep(w->streams, o->now_ms, NULL) < 0 ||
             streams_commit(w->streams, NULL) < 0))
            streams_rollback(w->streams);
    }
}

static struct store_order *take_batch(struct store_worker *w)
{
    struct store_order *list = w->orders, *o = list;

    for (int i = 1; o && i < BATCH_MAX; i++)
        o = o->next;
    if (o && o->next) { /* the rest is the next batch */
        w->orders = o->next;
        w->orders->prev = list->prev;
        o->next = NULL;
        list->prev = o;
    } else {
        w->orders = NULL;
    }
    return list;
}

static void *work(void *context)
{
    struct store_worker *w = context;

    (void)pthread_mutex_lock(&w->lock);
    for (;;) {
        struct store_order *list;

        while (!w->orders && !w->is_over)
            (void)pthread_cond_wait(&w->given, &w->lock);
        if (!w->orders)
            break;
        list = take_batch(w);
        (void)pthread_mutex_unlock(&w->lock);
        carry_out_all(w, list);
        clean(w, list);
        (void)pthread_mutex_lock(&w->lock);
        DL_CONCAT(w->done, list);
        wake_signal(w->wake);
    }
    (void)pthread_mutex_unlock(&w->lock);
    return NULL;
}

/* --- the loop's side ------------------------------------------------------------------------ */

bool broker_exchange_orders(struct aico_broker *b, struct moment now)
{
    struct store_worker *w = b->store;
    struct store_order *orders = NULL, *done, *order;

    if (!w)
        return false;
    (void)pthread_mutex_lock(&w->lock);
    done = w->done;
    w->done = NULL;
    (void)pthread_mutex_unlock(&w->lock);
    if (done)
        broker_orders_done(b->core, now, done);

    while ((order = broker_next_order(b->core)) != NULL)
        DL_APPEND(orders, order);
    if (orders) {
        (void)pthread_mutex_lock(&w->lock);
        DL_CONCAT(w->orders, orders);
        (void)pthread_cond_signal(&w->given);
        (void)pthread_mutex_unlock(&w->lock);
    }
    return done != NULL;
}

static int start_thread(struct store_worker *w, struct aico_error *err)
{
    sigset_t all, before;
    int r;

    (void)sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return aico_error_set(err, AICO_ESYSTEM, "signal mask");
    r = pthread_create(&w->thread, NULL, work, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r == 0 ? 0 : aico_error_set(err, AICO_ESYSTEM, "starting a thread: %s", strerror(r));
}

static void worker_free(struct store_worker **worker)
{
    struct store_worker *w = *worker;

    if (!w)
        return;
    streams_close(&w->streams);
    (void)pthread_cond_destroy(&w->given);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
    *worker = NULL;
}

int broker_start_store(struct aico_broker *b, struct aico_error *err)
{
    CLEANUP(worker_free)
    struct store_worker *w = calloc(1, sizeof(*w));
    CLEANUP(free_memory)
    char *path = home_path(b->home.config->home, STORE_FILE);
    struct aico_error cause = {0};
    int r;

    if (!w || !path || pthread_mutex_init(&w->lock, NULL) != 0) {
        free(STEAL(w));
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    w->wake = &b->wake;
    if (pthread_cond_init(&w->given, NULL) != 0)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = streams_open(path, &w->streams, &cause);
    if (r < 0) {
        broker_say(b, AICO_LOG_ERROR, AICO_BROKER_LIMIT, NULL, NULL, r,
                   "no messages are stored, publishers of such topics are refused (E_STORE): %s",
                   cause.text);
        return 0;
    }
    r = start_thread(w, err);
    if (r < 0)
        return r;
    b->store = STEAL(w);
    return 0;
}

void broker_stop_store(struct aico_broker *b)
{
    struct store_worker *w = b->store;
    struct store_order *order, *next;

    if (!w)
        return;
    (void)broker_exchange_orders(b, moment_now());
    (void)pthread_mutex_lock(&w->lock);
    w->is_over = true;
    (void)pthread_cond_signal(&w->given);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL);
    (void)broker_exchange_orders(b, moment_now());
    DL_FOREACH_SAFE(w->orders, order, next)
    {
        DL_DELETE(w->orders, order);
        store_order_free(&order);
    }
    worker_free(&b->store);
}
