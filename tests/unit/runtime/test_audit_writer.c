/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the audit log's thread saves at once, and what it leaves out. Its wait for the next time is
 * wrapped and has no end here, and what ends it is counted (tests/CMakeLists.txt): what is saved
 * was hurried, or is at the end.
 */
#include "vectors.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "runtime/audit_writer.h"

#define NS bytes_text("aico")
#define DEADLINE_MS 20000

int __wrap_pthread_cond_timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    (void)until;
    return pthread_cond_wait(cond, mutex);
}

int __real_pthread_cond_signal(pthread_cond_t *);
int __wrap_pthread_cond_signal(pthread_cond_t *);

static _Atomic unsigned hurries; /* of the thread */

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
    hurries++;
    return __real_pthread_cond_signal(cond);
}

struct world {
    char home[64];
    struct audit_writer *writer;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const struct secret seed = {{9}};
    struct identity *broker = NULL;

    assert_non_null(w);
    assert_int_equal(crypto_start(), 0);
    (void)snprintf(w->home, sizeof(w->home), "/tmp/aico-audit-XXXXXX");
    assert_non_null(mkdtemp(w->home));
    assert_int_equal(identity_new("broker", &seed, 0, &broker), 0);
    assert_int_equal(audit_writer_start(w->home, NS, &broker, &w->writer, NULL), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[128];

    audit_writer_stop(&w->writer);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", w->home);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static void note(struct world *w, enum aico_broker_event_kind kind, int code, const char *text)
{
    const struct aico_broker_event event = {
        .kind = kind, .code = code, .component = "frontend", .address = "ipc", .text = text};

    audit_writer_note(w->writer, &event);
}

/* How many lines of the log have @text. */
static size_t count_lines(const struct world *w, const char *text)
{
    char path[96], line[1024];
    size_t count = 0;
    FILE *log;

    (void)snprintf(path, sizeof(path), "%s/log/audit", w->home);
    log = fopen(path, "r");
    while (log && fgets(line, sizeof(line), log))
        count += strstr(line, text) != NULL;
    if (log)
        (void)fclose(log);
    return count;
}

static bool is_saved_by_itself(const struct world *w, const char *text)
{
    int64_t end_ms = moment_now().boot_ms + DEADLINE_MS;

    while (count_lines(w, text) == 0) {
        if (moment_now().boot_ms > end_ms)
            return false;
        (void)poll(NULL, 0, 1);
    }
    return true;
}

static void what_changes_who_may_do_what_does_not_wait(void **state)
{
    static const enum aico_broker_event_kind urgent[] = {
        AICO_BROKER_REGISTRY, AICO_BROKER_ADDED,   AICO_BROKER_ROTATED,
        AICO_BROKER_REVOKED,  AICO_BROKER_RETIRED, AICO_BROKER_ADMIN,
    };
    struct world *w = *state;
    char text[32];

    for (size_t i = 0; i < COUNT_OF(urgent); i++) {
        (void)snprintf(text, sizeof(text), "urgent %zu", i);
        note(w, urgent[i], 0, text);
        if (!is_saved_by_itself(w, text))
            fail_msg("kind %d waits", (int)urgent[i]);
    }
}

/* ... since who is refused all the time would else hide the one word about a forked registry. */
static void refusals_leave_room_for_other_registries(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 1000; i++)
        note(w, AICO_BROKER_DENIED, AICO_EDENIED, "denied");
    note(w, AICO_BROKER_REGISTRY, AICO_EEQUIVOCATION, "forked");
    audit_writer_stop(&w->writer);
    assert_int_equal(count_lines(w, "forked"), 1);
}

/* Nobody who comes and goes, or says something wrong, has the disk synced for each. */
static void what_anybody_can_cause_waits_for_the_next_time(void **state)
{
    struct world *w = *state;
    unsigned before = hurries;

    note(w, AICO_BROKER_CONNECTED, 0, "patient 1");
    note(w, AICO_BROKER_REFUSED, AICO_EREVOKED, "patient 2");
    note(w, AICO_BROKER_REGISTRY, AICO_EREGISTRYOLD, "patient 3");
    assert_int_equal(hurries, before);
    audit_writer_stop(&w->writer);
    assert_int_equal(count_lines(w, "patient"), 3);
}

static void who_comes_with_another_registry_fills_no_disk(void **state)
{
    struct world *w = *state;

    for (int i = 0; i < 1000; i++)
        note(w, AICO_BROKER_REGISTRY, AICO_EREGISTRYOLD, "has registry 1");
    audit_writer_stop(&w->writer);
    assert_in_range(count_lines(w, "has registry 1"), 200, 300);
    assert_int_equal(count_lines(w, "entries were left out"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_changes_who_may_do_what_does_not_wait, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_anybody_can_cause_waits_for_the_next_time, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(refusals_leave_room_for_other_registries, setup, teardown),
        cmocka_unit_test_setup_teardown(who_comes_with_another_registry_fills_no_disk, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
