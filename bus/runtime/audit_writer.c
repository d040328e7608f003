/* SPDX-License-Identifier: Apache-2.0 */
/* The thread behind the audit log. */
#include "runtime/audit_writer.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/bucket.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "store/audit_log.h"

#define SAVE_EVERY_MS 500
#define QUEUE_MAX 4096
#define UNSAVED_MAX (1024u * 1024) /* bytes, while a disk fails; the rest waits in the queue */
/* Whoever is refused, or comes and goes, as often as it likes fills no disk by it. */
#define REFUSALS_PER_S 10
#define REFUSALS_BURST 200
#define SESSIONS_PER_S 200
#define SESSIONS_BURST 4000

struct queued {
    int64_t time_ms;
    enum aico_broker_event_kind kind;
    int code;
    char component[COMPONENT_NAME_MAX + 1];
    char address[128];
    char text[512];
};

struct audit_writer {
    struct identity *broker;
    struct audit_log *log;                        /* the thread's, once it runs */
    struct bucket refusals, registries, sessions; /* the noting thread's */
    pthread_t thread;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t hurried;
    struct queued *queue; /* QUEUE_MAX, a ring */
    size_t first, count;
    uint64_t left_out; /* not queued since the last that was */
    bool is_ending, has_error;
    bool is_hurried; /* something was noted that must not wait */
    struct aico_error error;
    uint8_t head[AUDIT_HEAD_MAX]; /* of what is on the disk, not told yet */
    size_t head_size;
};

/* Whether an event of @kind is noted now. */
static bool is_within_rate(struct audit_writer *w, const struct aico_broker_event *event,
                           int64_t now_ms)
{
    switch (event->kind) {
    case AICO_BROKER_REGISTRY: /* with a code: a component came with another one */
        if (event->code == 0)
            return true;
        return bucket_take(&w->registries, now_ms, REFUSALS_PER_S, REFUSALS_BURST);
    case AICO_BROKER_REFUSED:
    case AICO_BROKER_DENIED:
    case AICO_BROKER_LIMIT:
        return bucket_take(&w->refusals, now_ms, REFUSALS_PER_S, REFUSALS_BURST);
    case AICO_BROKER_CONNECTED:
    case AICO_BROKER_LEFT:
        return bucket_take(&w->sessions, now_ms, SESSIONS_PER_S, SESSIONS_BURST);
    default:
        return true;
    }
}

/* What changes who may do what, or was commanded: a broker that is killed next takes it along as
 * long as it is not saved. These are few, and nobody can make many of them who is no owner or
 * admin.
 */
static bool is_urgent(const struct aico_broker_event *event)
{
    switch (event->kind) {
    case AICO_BROKER_REGISTRY:
        return event->code == 0;
    case AICO_BROKER_ADDED:
    case AICO_BROKER_ROTATED:
    case AICO_BROKER_REVOKED:
    case AICO_BROKER_RETIRED:
    case AICO_BROKER_ADMIN:
        return true;
    default:
        return false;
    }
}

void audit_writer_note(struct audit_writer *w, const struct aico_broker_event *event)
{
    const struct moment now = moment_now();
    struct queued *q;

    if (event->kind == AICO_BROKER_SLOW) /* the ledger counts those */
        return;
    (void)pthread_mutex_lock(&w->lock);
    if (w->count == QUEUE_MAX || !is_within_rate(w, event, now.boot_ms)) {
        w->left_out++;
    } else {
        q = &w->queue[(w->first + w->count++) % QUEUE_MAX];
        *q = (struct queued){.time_ms = now.real_ms, .kind = event->kind, .code = event->code};
        (void)snprintf(q->component, sizeof(q->component), "%s", event->component);
        (void)snprintf(q->address, sizeof(q->address), "%s", event->address);
        (void)snprintf(q->text, sizeof(q->text), "%s", event->text);
    }
    if (is_urgent(event) && !w->is_hurried) {
        w->is_hurried = true;
        (void)pthread_cond_signal(&w->hurried);
    }
    (void)pthread_mutex_unlock(&w->lock);
}

/* --- the thread ---------------------------------------------------------------------------------
 */

static int add(struct audit_log *log, const struct queued *q)
{
    const struct audit_entry entry = {
        .time_ms = q->time_ms,
        .kind = aico_broker_event_name(q->kind),
        .component = q->component,
        .address = q->address,
        .code = q->code,
        .text = q->text,
    };

    return audit_log_add(log, &entry);
}

static int add_left_out(struct audit_log *log, uint64_t left_out)
{
    struct queued q = {.time_ms = moment_now().real_ms, .kind = AICO_BROKER_LOST};

    (void)snprintf(q.text, sizeof(q.text), "%" PRIu64 " entries were left out: too many at once",
                   left_out);
    return add(log, &q);
}

/* Takes at most one entry out of the queue; false when there is none. */
static bool take(struct audit_writer *w, struct queued *ret, uint64_t *ret_left_out)
{
    bool is_there;

    (void)pthread_mutex_lock(&w->lock);
    is_there = w->count > 0;
    if (is_there) {
        *ret = w->queue[w->first];
        w->first = (w->first + 1) % QUEUE_MAX;
        w->count--;
    }
    *ret_left_out = is_there ? 0 : w->left_out;
    if (!is_there)
        w->left_out = 0;
    (void)pthread_mutex_unlock(&w->lock);
    return is_there;
}

/* Once for each change: a disk that stays full is said once. */
static void tell(struct audit_writer *w, int r, const struct aico_error *err)
{
    (void)pthread_mutex_lock(&w->lock);
    if (w->error.code != r) {
        w->error = *err;
        w->error.code = r;
        w->has_error = true;
    }
    (void)pthread_mutex_unlock(&w->lock);
}

/* For witnesses: only what is on the disk. */
static void keep_head(struct audit_writer *w, struct bytes head)
{
    if (head.size == 0 || head.size > sizeof(w->head))
        return;
    (void)pthread_mutex_lock(&w->lock);
    bytes_copy(w->head, head);
    w->head_size = head.size;
    (void)pthread_mutex_unlock(&w->lock);
}

static void save(struct audit_writer *w)
{
    CLEANUP(buffer_deinit)
    struct buffer head = {0};
    struct aico_error err = {0};
    struct queued q;
    uint64_t left_out = 0;
    int r = 0;

    while (r == 0 && audit_log_unsaved(w->log) < UNSAVED_MAX && take(w, &q, &left_out))
        r = add(w->log, &q);
    if (r == 0 && left_out > 0)
        r = add_left_out(w->log, left_out);
    if (r == 0)
        r = audit_log_save(w->log, moment_now().real_ms, &head, &err);
    if (r == 0)
        keep_head(w, buffer_view(&head));
    tell(w, r, &err);
}

/* Waits for the end or the next time to save; false at the end. */
static bool wait_to_save(struct audit_writer *w)
{
    struct timespec until;
    bool is_ending;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += SAVE_EVERY_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    (void)pthread_mutex_lock(&w->lock);
    while (!w->is_ending && !w->is_hurried &&
           pthread_cond_timedwait(&w->hurried, &w->lock, &until) == 0)
        ;
    is_ending = w->is_ending;
    w->is_hurried = false;
    (void)pthread_mutex_unlock(&w->lock);
    return !is_ending;
}

static void *run(void *context)
{
    struct audit_writer *w = context;

    while (wait_to_save(w))
        save(w);
    save(w);
    return NULL;
}

/* --- life ---------------------------------------------------------------------------------------
 */

static void writer_free(struct audit_writer **writer)
{
    struct audit_writer *w = *writer;

    if (!w)
        return;
    audit_log_close(&w->log);
    identity_free(&w->broker);
    (void)pthread_mutex_destroy(&w->lock);
    (void)pthread_cond_destroy(&w->hurried);
    free(w->queue);
    free(w);
    *writer = NULL;
}

static struct audit_writer *writer_new(void)
{
    struct audit_writer *w = calloc(1, sizeof(*w));
    pthread_condattr_t attributes;

    if (!w)
        return NULL;
    w->queue = calloc(QUEUE_MAX, sizeof(*w->queue));
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&w->hurried, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return w;
}

int audit_writer_start(const char *home, struct bytes namespace, struct identity **broker,
                       struct audit_writer **ret_writer, struct aico_error *err)
{
    CLEANUP(writer_free)
    struct audit_writer *w = writer_new();
    sigset_t all, before;
    int r;

    if (!w || !w->queue) {
        identity_free(broker);
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    }
    w->broker = STEAL(*broker);
    r = audit_log_open(home, namespace, w->broker, moment_now().real_ms, &w->log, err);
    if (r < 0)
        return r;
    /* Signals are for the threads of the program. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&w->thread, NULL, run, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0)
        return aico_error_set(err, AICO_ESYSTEM, "no thread left for the audit log");
    *ret_writer = STEAL(w);
    return 0;
}

size_t audit_writer_next_head(struct audit_writer *w, uint8_t to[AUDIT_HEAD_MAX])
{
    size_t size;

    (void)pthread_mutex_lock(&w->lock);
    size = w->head_size;
    memcpy(to, w->head, size);
    w->head_size = 0;
    (void)pthread_mutex_unlock(&w->lock);
    return size;
}

bool audit_writer_next_error(struct audit_writer *w, struct aico_error *ret_error)
{
    bool has_error;

    (void)pthread_mutex_lock(&w->lock);
    has_error = w->has_error;
    if (has_error)
        *ret_error = w->error;
    w->has_error = false;
    (void)pthread_mutex_unlock(&w->lock);
    return has_error;
}

void audit_writer_stop(struct audit_writer **writer)
{
    struct audit_writer *w = *writer;

    if (!w)
        return;
    (void)pthread_mutex_lock(&w->lock);
    w->is_ending = true;
    (void)pthread_cond_signal(&w->hurried);
    (void)pthread_mutex_unlock(&w->lock);
    (void)pthread_join(w->thread, NULL);
    writer_free(writer);
}
