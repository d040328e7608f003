/* SPDX-License-Identifier: Apache-2.0 */
/* The outbox: rows of store/kept.h, one a message. */
#include "runtime/client_outbox.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/reader.h"
#include "base/writer.h"
#include "client/client.h"
#include "envelope/headers.h"
#include "store/kept.h"
#include "wire/record.h"
#include "wire/topic.h"

#define ROW_VERSION 1
#define ROW_FIXED (1 + 8 + 1 + 2)
#define NUMBER_SIZE 8
#define OUTBOX_RECEIPT_MS 30000 /* for what a former run wanted; as if it had not said how long */
#define ERASE_MANY 256          /* answered messages are erased together */

/* A message that was accepted and not answered. */
struct waiting {
    uint64_t id, number;
    size_t cost;
};

struct outbox {
    struct kept *kept;
    struct keeper keeper;
    size_t restored, restored_bytes;
    pthread_mutex_t lock;
    /* --- guarded by lock --- */
    uint64_t last_number;
    struct fifo waiting;       /* struct waiting, in the order of their ids */
    uint64_t done[ERASE_MANY]; /* numbers that were answered and are still in the file */
    size_t done_count;
};

size_t outbox_cost(size_t topic_size, size_t headers_size, size_t payload_size)
{
    return ROW_FIXED + topic_size + headers_size + payload_size;
}

static void lock(struct outbox *outbox)
{
    (void)pthread_mutex_lock(&outbox->lock);
}

static void unlock(struct outbox *outbox)
{
    (void)pthread_mutex_unlock(&outbox->lock);
}

static void number_write(uint64_t number, uint8_t to[NUMBER_SIZE])
{
    struct writer w = writer_over(to, NUMBER_SIZE);

    writer_u64(&w, number);
}

/* --- what is there ---------------------------------------------------------------------------- */

static int wait_for_answer(struct outbox *outbox, uint64_t id, uint64_t number, size_t cost)
{
    struct waiting *waiting = fifo_push(&outbox->waiting, sizeof(*waiting));

    if (!waiting)
        return AICO_ENOMEM;
    *waiting = (struct waiting){id, number, cost};
    return 0;
}

struct loading {
    struct outbox *outbox;
    struct fifo *queue;
    struct moment now;
};

/* Whether receipts of it are still worth waiting for: for the run that sends it, under the number
 * that the former one gave. */
static uint8_t receipt_of(struct bytes headers, struct moment now)
{
    struct header_receipt receipt = {0};
    uint64_t once;

    (void)header_take_once(&headers, &once);
    if (!header_take_receipt(&headers, &receipt))
        return RECEIPT_NONE;
    return receipt.until_ms == 0 || receipt.until_ms > now.real_ms ? (uint8_t)receipt.level
                                                                   : RECEIPT_NONE;
}

/* One row into the queue. */
static int take_row(void *context, struct bytes key, struct bytes value)
{
    struct loading *loading = context;
    struct outbox *outbox = loading->outbox;
    struct reader name = reader_over(key), r = reader_over(value);
    uint64_t number = reader_u64(&name);
    uint8_t version = reader_u8(&r);
    int64_t until_ms = (int64_t)reader_u64(&r);
    struct bytes topic = reader_lp8(&r), headers = reader_lp16(&r), payload = reader_rest(&r);
    struct outgoing out = {.id = outbox->restored + 1,
                           .delivery = DELIVERY_EVENT,
                           .topic_size = (uint8_t)topic.size,
                           .headers_size = (uint16_t)headers.size,
                           .payload_size = (uint32_t)payload.size};
    void *block;

    if (!reader_done(&name) || r.failed || version != ROW_VERSION || until_ms < 0 ||
        !topic_is_valid(topic))
        return AICO_EFORMAT;
    if (until_ms > 0) /* at least 1: 0 would be for ever */
        out.expires_ms = MAX(loading->now.boot_ms + (until_ms - loading->now.real_ms), (int64_t)1);
    out.receipt = receipt_of(headers, loading->now);
    out.receipt_ms = OUTBOX_RECEIPT_MS;
    block = fifo_push(loading->queue, outgoing_size(&out));
    if (!block || wait_for_answer(outbox, out.id, number, value.size) < 0)
        return AICO_ENOMEM;
    outbox->restored++;
    outbox->restored_bytes += value.size;
    outgoing_write(block, &out, topic, bytes_of(NULL, 0), headers, payload);
    outbox->last_number = MAX(outbox->last_number, number);
    return 0;
}

static struct outbox *outbox_new(const char *home, const struct identity *identity,
                                 const struct former_keys *former)
{
    struct outbox *outbox = calloc(1, sizeof(*outbox));

    if (!outbox)
        return NULL;
    if (pthread_mutex_init(&outbox->lock, NULL) != 0) {
        free(outbox);
        return NULL;
    }
    outbox->kept = kept_new(home, identity->name, &kept_outbox, identity, former);
    if (!outbox->kept)
        outbox_close(&outbox);
    return outbox;
}

int outbox_open(const char *home, const struct identity *identity, const struct former_keys *former,
                uint64_t last_generation, struct moment now, struct fifo *queue,
                struct outbox **ret_outbox, struct aico_error *err)
{
    CLEANUP(outbox_close)
    struct outbox *outbox = outbox_new(home, identity, former);
    struct loading loading = {outbox, queue, now};
    int r;

    if (!outbox)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    outbox->keeper = kept_keeper(outbox->kept);
    r = outbox->keeper.load(outbox->keeper.context, take_row, &loading, err);
    if (r < 0)
        return r;
    /* In microseconds, so that a file that was put back to an older state, or lost, does not give
     * a number a second time: nobody accepts a message a microsecond for long. */
    outbox->last_number = MAX(outbox->last_number, (uint64_t)MAX(now.real_ms, (int64_t)0) * 1000);
    outbox->last_number = MAX(outbox->last_number, last_generation * 1000);
    *ret_outbox = STEAL(outbox);
    return 0;
}

/* --- accepting -------------------------------------------------------------------------------- */

uint64_t outbox_begin(struct outbox *outbox)
{
    lock(outbox);
    return ++outbox->last_number;
}

void outbox_end(struct outbox *outbox, uint64_t number, uint64_t id, size_t cost)
{
    /* Without memory it stays in the file: the next start sends it again, and it is known. */
    if (id > 0)
        (void)!wait_for_answer(outbox, id, number, cost);
    unlock(outbox);
}

/* In one transaction: @put, if any, and the end of all that was answered. */
static int commit(struct outbox *outbox, const struct keep_change *put, struct aico_error *err)
{
    struct keep_change changes[ERASE_MANY + 1];
    uint8_t keys[ERASE_MANY][NUMBER_SIZE];
    size_t count = 0;
    int r;

    for (size_t i = 0; i < outbox->done_count; i++) {
        number_write(outbox->done[i], keys[i]);
        changes[count++] = (struct keep_change){.key = bytes_of(keys[i], NUMBER_SIZE)};
    }
    if (put)
        changes[count++] = *put;
    r = outbox->keeper.commit(outbox->keeper.context, changes, count, err);
    if (r == 0)
        outbox->done_count = 0;
    return r;
}

int outbox_put(struct outbox *outbox, uint64_t number, int64_t until_ms, struct bytes topic,
               struct bytes headers, struct bytes payload, struct aico_error *err)
{
    size_t cost = outbox_cost(topic.size, headers.size, payload.size);
    uint8_t key[NUMBER_SIZE];
    CLEANUP(buffer_wipe_deinit)
    struct buffer row = {0};
    struct writer w = writer_over(buffer_reserve(&row, cost), cost);
    int r;

    if (!w.at)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    writer_u8(&w, ROW_VERSION);
    writer_u64(&w, (uint64_t)until_ms);
    writer_lp8(&w, topic);
    writer_lp16(&w, headers);
    writer_bytes(&w, payload);
    row.size = w.size;
    number_write(number, key);
    r = commit(outbox,
               &(struct keep_change){bytes_of(key, NUMBER_SIZE), bytes_of(row.at, row.size)}, err);
    return r < 0 ? aico_error_prefix(err, r, "outbox") : 0;
}

/* --- answers ---------------------------------------------------------------------------------- */

static void erase_done(struct outbox *outbox)
{
    /* What cannot be erased now is sent again by the next start, and known by its number. */
    if (outbox->done_count > 0 && commit(outbox, NULL, NULL) < 0)
        outbox->done_count = 0;
}

size_t outbox_answered(struct outbox *outbox, uint64_t before, bool is_idle)
{
    struct waiting *waiting;
    size_t bytes = 0;

    lock(outbox);
    while ((waiting = fifo_front(&outbox->waiting, NULL)) != NULL && waiting->id < before) {
        if (outbox->done_count == ERASE_MANY)
            erase_done(outbox);
        outbox->done[outbox->done_count++] = waiting->number;
        bytes += waiting->cost;
        fifo_pop(&outbox->waiting);
    }
    if (is_idle)
        erase_done(outbox);
    unlock(outbox);
    return bytes;
}

size_t outbox_restored(const struct outbox *outbox, size_t *ret_bytes)
{
    *ret_bytes = outbox->restored_bytes;
    return outbox->restored;
}

void outbox_close(struct outbox **outbox)
{
    struct outbox *o = *outbox;

    if (!o)
        return;
    if (o->kept)
        erase_done(o);
    kept_free(&o->kept);
    fifo_deinit(&o->waiting);
    (void)pthread_mutex_destroy(&o->lock);
    free(o);
    *outbox = NULL;
}
