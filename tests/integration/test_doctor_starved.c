/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The doctor without memory: each allocation fails once. It says so, or says what it would have
 * said; it never finds what is not there. The home is spoilt in many ways, so that there is much to
 * put into words, and no broker and no component of it run: one thread.
 */
#include "findings.h"

#include <sys/stat.h>
#include <unistd.h>

#include "starve.h"

#define KEY "identities/alice.key"
#define FAULTS_MAX 64

static struct world *world;
static struct finding expected[FAULTS_MAX];
static size_t expected_count, told_count;
static bool is_recording;

static bool is_expected(const struct aico_finding *f)
{
    for (size_t i = 0; i < expected_count; i++)
        if (expected[i].code == f->code && strcmp(expected[i].check, f->check) == 0 &&
            strcmp(expected[i].subject, f->subject) == 0)
            return true;
    return false;
}

/* What goes wrong is told with the cause, which is the lack of memory then. */
static void take(void *context, const struct aico_finding *f)
{
    struct finding *copy = &expected[expected_count];

    (void)context;
    starve_off();
    told_count++;
    if (is_recording) {
        assert_true(++expected_count < FAULTS_MAX);
        copy->code = f->code;
        (void)snprintf(copy->check, sizeof(copy->check), "%s", f->check);
        (void)snprintf(copy->subject, sizeof(copy->subject), "%s", f->subject);
    } else if (f->level >= AICO_FINDING_WARNING && f->code != AICO_ENOMEM && !is_expected(f)) {
        fail_msg("without memory: %s %s %s: %s", f->check, aico_error_name(f->code), f->subject,
                 f->cause);
    }
    starve_on();
}

static int work(void *context)
{
    static const char *const topics[] = {"logs/x", "private/x", "robots/hello"};
    const struct aico_doctor_options options = {.home = world->home,
                                                .identity = "carol",
                                                .publish = topics,
                                                .publish_count = 3,
                                                .subscribe = topics,
                                                .subscribe_count = 3,
                                                .found = take};
    struct aico_error err = {0};
    int r;

    (void)context;
    told_count = 0;
    r = STARVED(aico_doctor(&options, WAIT_MS, &err));
    assert_true(starve_has_failed() || told_count == expected_count || is_recording);
    return r == AICO_ENOMEM ? r : 0;
}

static void it_says_so_or_what_it_says_with_memory(void **state)
{
    (void)state;
    is_recording = true;
    assert_int_equal(work(NULL), 0);
    is_recording = false;
    assert_true(expected_count > 10);
    assert_true(starve_each(work, NULL, true) > 100);
}

static int set_up(void **state)
{
    (void)unsetenv("AICO_IDENTITY");
    if (world_new(state) < 0)
        return -1;
    world = *state;
    world_stop(world, true);
    assert_int_equal(rename(at_home(world, "identities/carol.key"),
                            at_home(world, "identities/carol.key.saved")),
                     0);
    assert_int_equal(unlink(at_home(world, "broker.key")), 0);
    assert_int_equal(chmod(at_home(world, KEY), 0644), 0);
    assert_int_equal(mkdir(at_home(world, "config"), 0700), 0);
    write_text(world, "config/bob.yaml", "auto_reconect: true\n");
    write_text(world, "state/broker/messages.db", "no database, however long one reads in it\n");
    spoil_file(at_home(world, "log/audit"));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(it_says_so_or_what_it_says_with_memory, set_up, world_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
