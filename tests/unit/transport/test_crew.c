/* SPDX-License-Identifier: Apache-2.0 */
/* Threads that help: each piece is done once, by several, and none is left when it is over. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "transport/crew.h"

#define PIECES 100
#define JOBS 2000
#define DEADLINE_S 10

struct job {
    int done[PIECES]; /* not atomic: each is one thread's, and then ours */
    atomic_int working, most;
    pthread_mutex_t lock;
    pthread_cond_t met;
    int wanted; /* threads that must be at it at once; 0: no matter */
};

static void piece(void *context, size_t index)
{
    struct job *job = context;

    job->done[index]++;
}

/* Waits until so many are at it. */
static void meet(void *context, size_t index)
{
    struct job *job = context;
    struct timespec until;

    job->done[index]++;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DEADLINE_S;
    (void)pthread_mutex_lock(&job->lock);
    if (atomic_fetch_add(&job->working, 1) + 1 > atomic_load(&job->most))
        atomic_store(&job->most, atomic_load(&job->working));
    (void)pthread_cond_broadcast(&job->met);
    while (atomic_load(&job->most) < job->wanted &&
           pthread_cond_timedwait(&job->met, &job->lock, &until) == 0)
        continue;
    (void)atomic_fetch_sub(&job->working, 1);
    (void)pthread_mutex_unlock(&job->lock);
}

static void every_piece_is_done_once(void **state UNUSED)
{
    for (unsigned helpers = 0; helpers < 4; helpers++) {
        struct crew *crew = NULL;

        assert_int_equal(crew_start(helpers, &crew), 0);
        for (size_t i = 0; i < JOBS; i++) {
            struct job job = {.wanted = 0};
            size_t count = i % (PIECES + 1);

            crew_do(crew, piece, &job, count);
            for (size_t at = 0; at < PIECES; at++)
                assert_int_equal(job.done[at], at < count);
        }
        crew_stop(&crew);
        assert_null(crew);
    }
}

static void the_helpers_take_part(void **state UNUSED)
{
    struct crew *crew = NULL;

    assert_int_equal(crew_start(2, &crew), 0);
    for (int i = 0; i < 20; i++) {
        struct job job = {
            .lock = PTHREAD_MUTEX_INITIALIZER, .met = PTHREAD_COND_INITIALIZER, .wanted = 3};

        crew_do(crew, meet, &job, 3);
        assert_int_equal(atomic_load(&job.most), 3);
    }
    crew_stop(&crew);
}

static void no_crew_is_stopped_without_harm(void **state UNUSED)
{
    struct crew *crew = NULL;

    crew_stop(&crew);
    assert_int_equal(crew_start(0, &crew), 0);
    crew_stop(&crew);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_is_done_once),
        cmocka_unit_test(the_helpers_take_part),
        cmocka_unit_test(no_crew_is_stopped_without_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
