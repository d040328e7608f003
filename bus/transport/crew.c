/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/crew.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/cleanup.h"

struct crew {
    pthread_mutex_t lock;
    pthread_cond_t called; /* there is work, or it is over */
    pthread_cond_t left;   /* a helper has left the work */
    /* under lock */
    bool is_over;
    bool is_open;           /* helpers may begin */
    unsigned working;       /* helpers that have begun */
    unsigned long long job; /* its number */
    /* of a job: written while nobody is working */
    void (*work)(void *context, size_t index);
    void *context;
    size_t count;
    atomic_size_t next; /* index that nobody has taken */
    unsigned helper_count;
    pthread_t helpers[];
};

static void take_pieces(struct crew *crew)
{
    size_t index;

    while ((index = atomic_fetch_add(&crew->next, 1)) < crew->count)
        crew->work(crew->context, index);
}

static void *help(void *argument)
{
    struct crew *crew = argument;
    unsigned long long done = 0;

    (void)pthread_setname_np(pthread_self(), "aico-broker-io");
    (void)pthread_mutex_lock(&crew->lock);
    while (!crew->is_over) {
        if (!crew->is_open || crew->job == done) {
            (void)pthread_cond_wait(&crew->called, &crew->lock);
            continue;
        }
        done = crew->job;
        crew->working++;
        (void)pthread_mutex_unlock(&crew->lock);
        take_pieces(crew);
        (void)pthread_mutex_lock(&crew->lock);
        crew->working--;
        (void)pthread_cond_signal(&crew->left);
    }
    (void)pthread_mutex_unlock(&crew->lock);
    return NULL;
}

void crew_do(struct crew *crew, void (*work)(void *context, size_t index), void *context,
             size_t count)
{
    if (crew->helper_count == 0 || count < 2) {
        for (size_t i = 0; i < count; i++)
            work(context, i);
        return;
    }
    crew->work = work;
    crew->context = context;
    crew->count = count;
    atomic_store(&crew->next, 0);
    (void)pthread_mutex_lock(&crew->lock);
    crew->job++;
    crew->is_open = true;
    (void)pthread_cond_broadcast(&crew->called);
    (void)pthread_mutex_unlock(&crew->lock);
    take_pieces(crew);
    (void)pthread_mutex_lock(&crew->lock);
    crew->is_open = false;
    while (crew->working > 0)
        (void)pthread_cond_wait(&crew->left, &crew->lock);
    (void)pthread_mutex_unlock(&crew->lock);
}

/* The signals of the process are not theirs. */
static bool start_helpers(struct crew *crew, unsigned helpers)
{
    sigset_t all, before;
    bool is_started = true;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    while (is_started && crew->helper_count < helpers) {
        is_started = pthread_create(&crew->helpers[crew->helper_count], NULL, help, crew) == 0;
        crew->helper_count += is_started;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return is_started;
}

int crew_start(unsigned helpers, struct crew **ret_crew)
{
    struct crew *crew = calloc(1, sizeof(*crew) + helpers * sizeof(crew->helpers[0]));

    if (!crew)
        return AICO_ENOMEM;
    (void)pthread_mutex_init(&crew->lock, NULL); /* they need nothing and do not fail */
    (void)pthread_cond_init(&crew->called, NULL);
    (void)pthread_cond_init(&crew->left, NULL);
    if (!start_helpers(crew, helpers)) {
        crew_stop(&crew);
        return AICO_ESYSTEM;
    }
    *ret_crew = crew;
    return 0;
}

void crew_stop(struct crew **crew)
{
    struct crew *c = *crew;

    if (!c)
        return;
    (void)pthread_mutex_lock(&c->lock);
    c->is_over = true;
    (void)pthread_cond_broadcast(&c->called);
    (void)pthread_mutex_unlock(&c->lock);
    for (unsigned i = 0; i < c->helper_count; i++)
        (void)pthread_join(c->helpers[i], NULL);
    (void)pthread_cond_destroy(&c->left);
    (void)pthread_cond_destroy(&c->called);
    (void)pthread_mutex_destroy(&c->lock);
    free(c);
    *crew = NULL;
}
