/* SPDX-License-Identifier: Apache-2.0 */
/* Opening and closing a client, and what all its functions wait with. */
#include "runtime/client.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "base/cleanup.h"

/* --- waiting -------------------------------------------------------------------------------- */

int64_t wait_clock_us(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t wait_clock_ms(void)
{
    return wait_clock_us() / 1000;
}

int64_t wait_deadline(int64_t timeout_ms)
{
    int64_t now = wait_clock_ms();

    return timeout_ms < 0 || timeout_ms > MOMENT_NEVER - now ? MOMENT_NEVER : now + timeout_ms;
}

int wait_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    int r;

    if (pthread_condattr_init(&attributes) != 0)
        return AICO_ENOMEM;
    r = pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    if (r == 0)
        r = pthread_cond_init(cond, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return r == 0 ? 0 : AICO_ENOMEM;
}

bool client_wait(struct aico_client *c, pthread_cond_t *cond, int64_t deadline_ms)
{
    struct timespec t = {.tv_sec = (time_t)(deadline_ms / 1000),
                         .tv_nsec = (long)(deadline_ms % 1000) * 1000000};

    if (deadline_ms == MOMENT_NEVER)
        return pthread_cond_wait(cond, &c->lock) == 0;
    return pthread_cond_timedwait(cond, &c->lock, &t) != ETIMEDOUT;
}

void client_lock(struct aico_client *c)
{
    (void)pthread_mutex_lock(&c->lock);
}

void client_unlock(struct aico_client *c)
{
    (void)pthread_mutex_unlock(&c->lock);
}

void client_wake(struct aico_client *c)
{
    if (c->is_woken)
        return;
    c->is_woken = true;
    wake_signal(client_who_drives(c));
}

void client_enter(struct aico_client *c)
{
    c->callers++;
}

void client_leave(struct aico_client *c)
{
    if (--c->callers == 0 && c->is_closing) /* who waits for it began by saying so */
        (void)pthread_cond_broadcast(&c->left);
}

int client_check(const struct aico_client *c, struct aico_error *err)
{
    if (c->is_over)
        return aico_error_set(err, c->over_code, "%s", c->over_text);
    if (c->is_closing)
        return aico_error_set(err, AICO_ECLOSED, "the client is being closed");
    return 0;
}

/* --- opening -------------------------------------------------------------------------------- */

static int init_locks(struct aico_client *c, struct aico_error *err)
{
    int r = pthread_mutex_init(&c->lock, NULL) == 0 ? 0 : AICO_ENOMEM;

    /* One that fails leaves nothing behind that would have to be destroyed (NPTL). */
    if (r == 0)
        r = wait_cond_init(&c->changed);
    if (r == 0)
        r = wait_cond_init(&c->arrived);
    if (r == 0)
        r = wait_cond_init(&c->has_room);
    if (r == 0)
        r = wait_cond_init(&c->left);
    if (r == 0)
        r = wait_cond_init(&c->returned);
    return r < 0 ? aico_error_set(err, r, "out of memory") : 0;
}

static struct aico_client *client_alloc(void)
{
    struct aico_client *c = calloc(1, sizeof(*c));

    if (!c)
        return NULL;
    c->wake.fd = c->ready.fd = c->drive.wake.fd = c->drive.timer_fd = -1;
    c->drive.is_taken = true; /* by the thread, which begins soon */
    c->drive.calm = CLIENT_CALM_TURNS;
    c->asked_end = &c->asked;
    c->next_id = 1;
    return c;
}

/* Frees @c, whose thread has ended or never began. */
static void client_dispose(struct aico_client **client)
{
    struct aico_client *c = *client;

    if (!c)
        return;
    client_thread_deinit(c);
    inbox_deinit(&c->inbox);
    fifo_deinit(&c->queue);
    pool_taker_deinit(&c->messages);
    fifo_deinit(&c->settled);
    fifo_deinit(&c->read);
    fifo_deinit(&c->missed);
    registry_unref(&c->registry);
    client_home_deinit(&c->home);
    wake_close(&c->wake);
    wake_close(&c->ready);
    drive_close(&c->drive);
    (void)pthread_cond_destroy(&c->changed);
    (void)pthread_cond_destroy(&c->arrived);
    (void)pthread_cond_destroy(&c->has_room);
    (void)pthread_cond_destroy(&c->left);
    (void)pthread_cond_destroy(&c->returned);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    *client = NULL;
}

/* The thread takes no signal: the application's handlers run on the application's threads. */
static int start_thread(struct aico_client *c, struct aico_error *err)
{
    sigset_t all, before;
    int r;

    (void)sigfillset(&all);
    if (pthread_sigmask(SIG_SETMASK, &all, &before) != 0)
        return aico_error_set(err, AICO_ESYSTEM, "signal mask");
    r = pthread_create(&c->thread, NULL, client_thread, c);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        return aico_error_set(err, AICO_ESYSTEM, "starting a thread: %s", strerror(r));
    c->has_thread = true;
    (void)pthread_setname_np(c->thread, "aico-client"); /* what top and perf show */
    return 0;
}

static int wait_until_ready(struct aico_client *c, int64_t deadline_ms, struct aico_error *err)
{
    int r = 0;

    client_lock(c);
    while (!c->is_ready && !c->is_over && client_wait(c, &c->changed, deadline_ms))
        ;
    if (c->is_over)
        r = aico_error_set(err, c->over_code, "%s", c->over_text);
    else if (c->outbox)
        ; /* it takes messages without a broker */
    else if (!c->is_ready && c->down_code < 0)
        r = aico_error_set(err, c->down_code, "%s", c->down_text);
    else if (!c->is_ready)
        r = aico_error_set(err, AICO_ETIMEOUT, "%s: the broker did not answer in time",
                           c->home.endpoint);
    client_unlock(c);
    return r;
}

static void close_at_once(struct aico_client **client)
{
    (void)aico_client_close(client, 0, NULL);
}

int aico_client_open(const struct aico_client_options *options, int64_t timeout_ms,
                     struct aico_client **ret_client, struct aico_error *err)
{
    static const struct aico_client_options defaults;
    int64_t opened_ms, deadline_ms;
    struct aico_client *fresh = client_alloc();
    int r;

    if (!options)
        options = &defaults;
    if (!fresh)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    r = init_locks(fresh, err);
    if (r == 0 && (wake_open(&fresh->wake) < 0 || wake_open(&fresh->ready) < 0 ||
                   drive_open(&fresh->drive) < 0))
        r = aico_error_set(err, AICO_ESYSTEM, "no descriptor left");
    if (r == 0)
        r = client_home_load(options, &fresh->home, err);
    opened_ms = wait_clock_ms(); /* a passphrase took its own second, on a busy machine several */
    if (r == 0)
        r = client_thread_prepare(fresh, options, err);
    if (r == 0)
        r = start_thread(fresh, err);
    if (r < 0) {
        client_dispose(&fresh);
        return r;
    }

    CLEANUP(close_at_once)
    struct aico_client *c = fresh;

    if (timeout_ms < 0)
        timeout_ms = c->home.config->handshake_timeout_ms;
    deadline_ms = timeout_ms > MOMENT_NEVER - opened_ms ? MOMENT_NEVER : opened_ms + timeout_ms;
    r = wait_until_ready(c, deadline_ms, err);
    if (r < 0)
        return r;
    *ret_client = STEAL(c);
    return 0;
}

/* --- closing -------------------------------------------------------------------------------- */

int aico_client_close(struct aico_client **client, int64_t timeout_ms,
                      struct aico_unsent *ret_unsent)
{
    struct aico_client *c = *client;
    struct aico_unsent unsent = {0};

    if (!c) {
        if (ret_unsent)
            *ret_unsent = unsent;
        return 0;
    }
    client_lock(c);
    c->is_closing = true;
    c->close_ms = wait_deadline(timeout_ms);
    (void)pthread_cond_broadcast(&c->arrived);
    (void)pthread_cond_broadcast(&c->has_room);
    wake_signal(&c->wake);       /* whoever drives lets go */
    wake_signal(&c->drive.wake); /* of what the thread has to do now */
    client_unlock(c);
    (void)pthread_join(c->thread, NULL);

    client_lock(c);
    while (c->callers > 0) /* they were told that it is over */
        (void)client_wait(c, &c->left, MOMENT_NEVER);
    unsent.unsent = c->queue.count + c->unsent;
    unsent.unacknowledged = c->unacknowledged;
    unsent.unread = c->inbox.messages;
    unsent.keyless = c->keyless;
    bytes_copy(unsent.keyless_name, bytes_text(c->keyless_name));
    client_unlock(c);
    client_dispose(client);
    if (ret_unsent)
        *ret_unsent = unsent;
    return unsent.unsent + unsent.unacknowledged + unsent.keyless > 0 ? AICO_ETIMEOUT : 0;
}

/* --- looking -------------------------------------------------------------------------------- */

/* Keeping it up to date costs two system calls a message, so only for who has asked. */
int aico_client_fd(const struct aico_client *client)
{
    struct aico_client *c = (struct aico_client *)(uintptr_t)client;

    client_lock(c);
    if (!c->is_watched && (c->inbox.head || c->is_over))
        wake_signal(&c->ready);
    c->is_watched = true;
    if (!c->drive.is_taken)
        wake_signal(&c->drive.wake);
    client_unlock(c);
    return c->ready.fd;
}

const char *aico_client_name(const struct aico_client *c)
{
    return c->home.identity->name;
}

void aico_client_get_stats(struct aico_client *c, struct aico_client_stats *ret_stats)
{
    client_lock(c);
    *ret_stats = c->stats;
    ret_stats->published = c->next_id - 1; /* also what the thread has taken but not counted yet */
    ret_stats->queued = c->queue.count + c->unsent;
    ret_stats->received -= c->inbox.dropped;
    ret_stats->gaps += c->inbox.dropped;
    client_unlock(c);
}
