/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's message store: a thread that carries out the core's orders, so that the loop never
 * waits for a disk. It takes all that is there at once: everything to be stored is one transaction
 * with one fsync, then come the reads, which see it.
 *
 * The thread owns the store; `lock` guards the two lists.
 */
#include <signal.h>

#include "base/cleanup.h"
#include "base/hash.h"
#include "broker/store.h"
#include "runtime/broker.h"
#include "runtime/store_orders.h"
#include "store/streams.h"

#define STORE_FILE "state/" BROKER_NAME "/messages.db"
#define BATCH_MAX 4096 /* orders of one transaction */

struct store_worker {
    struct streams *streams;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t given;
    const struct wake *wake; /* the loop's */
    struct store_order *orders, *done;
    bool is_over;
    struct store_hand hand; /* the thread's own */
};

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
        store_orders_carry_out(&w->hand, list);
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
    w->hand.streams = w->streams;
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
