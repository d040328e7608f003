/* SPDX-License-Identifier: Apache-2.0 */
/* Backup and restore when the system refuses a call: what says it is done is
 * whole. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "refuse.h"
#include "store/backup.h"
#include "store/streams.h"

#define NOW_MS 1763668800000

static char place[] = "/tmp/aico-refused-XXXXXX";
static char home[64], copy[64], back[64];
static struct aico_error err;
static struct backup_report report;

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int run(const char *format, ...)
{
    char command[500];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    return system(command);
}

static bool is_whole(void)
{
    return run("cd %s && for at in identities/a.key owner.key registry "
               "state/a/generation; do "
               "cmp -s $at %s/$at || exit 1; done; test -s "
               "%s/state/broker/messages.db",
               home, back, back) == 0;
}

static int make(void *context UNUSED)
{
    assert_int_equal(run("rm -rf %s %s", copy, back), 0);
    return REFUSED(backup_make(home, copy, NOW_MS, &report, &err));
}

/* One that was not finished is never taken for a backup. */
static void whole_or_none(void *context UNUSED, int r, const char *call)
{
    int restored = backup_restore(copy, back, &report, &err);

    if (r == 0 && (restored < 0 || !is_whole()))
        fail_msg("%s was refused, and what was said to be done is not whole: %s",
                 call ? call : "nothing", err.text);
    if (r < 0 && call && restored == 0 && !is_whole())
        fail_msg("%s was refused, and a part of it came back", call);
    assert_true(call || r == 0);
}

static int restore(void *context UNUSED)
{
    assert_int_equal(run("rm -rf %s", back), 0);
    return REFUSED(backup_restore(copy, back, &report, &err));
}

static void all_is_back_or_it_says_so(void *context UNUSED, int r, const char *call)
{
    if (r == 0 && !is_whole())
        fail_msg("%s was refused, and not all is back", call ? call : "nothing");
    if (!call)
        assert_int_equal(r, 0);
    if (r < 0) /* the backup is what it was: nothing says that it is damaged */
        assert_null(strstr(err.text, "take another backup"));
}

/* What is in the way is seen, or that nobody could look. */
static int restore_over(void *context UNUSED)
{
    assert_int_equal(run("rm -rf %s; mkdir -m 700 %s; echo mine >%s/registry", back, back, back),
                     0);
    return REFUSED(backup_restore(copy, back, &report, &err));
}

static void what_is_there_stays(void *context UNUSED, int r, const char *call)
{
    assert_true(r < 0);
    if (!call)
        assert_int_equal(r, AICO_EEXISTS);
    assert_int_equal(run("grep -q mine %s/registry", back), 0);
}

static void a_backup_is_whole_or_none(void **state UNUSED)
{
    assert_true(refuse_each(make, whole_or_none, NULL) > 30);
    assert_true(refuse_each(restore, all_is_back_or_it_says_so, NULL) > 30);
    assert_true(refuse_each(restore_over, what_is_there_stays, NULL) > 3);
}

static int set_up(void **state UNUSED)
{
    struct streams *streams = NULL;
    char path[128];

    assert_int_equal(crypto_start(), 0);
    assert_non_null(mkdtemp(place));
    (void)snprintf(home, sizeof(home), "%s/home", place);
    (void)snprintf(copy, sizeof(copy), "%s/copy", place);
    (void)snprintf(back, sizeof(back), "%s/back", place);
    assert_int_equal(run("umask 077; mkdir -p %s/identities %s/state/a "
                         "%s/state/broker; cd %s; "
                         "echo key >identities/a.key; echo owner >owner.key; "
                         "echo r >registry; "
                         "echo 7 >state/a/generation",
                         home, home, home, home),
                     0);
    (void)snprintf(path, sizeof(path), "%s/state/broker/messages.db", home);
    assert_int_equal(streams_open(path, &streams, NULL), 0);
    streams_close(&streams);
    return 0;
}

static int tear_down(void **state UNUSED)
{
    return run("rm -rf %s", place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_backup_is_whole_or_none)};

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
