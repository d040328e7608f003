/* SPDX-License-Identifier: Apache-2.0 */
/* Backup and restore of a home: all that belongs to it comes back, or nothing is written. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "store/backup.h"
#include "store/file.h"

#define NOW_MS 1763668800000

static char place[64], home[80], copy[80], back[80];

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *format, ...)
{
    char command[500];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

static bool holds(const char *command)
{
    return system(command) == 0;
}

/* Whether HOME/@path is in @back as it was. */
static bool is_back(const char *path)
{
    char command[2048];

    (void)snprintf(command, sizeof(command),
                   "cmp -s '%s/%s' '%s/%s' && [ \"$(stat -c %%a '%s/%s')\" = \"$(stat -c %%a "
                   "'%s/%s')\" ]",
                   home, path, back, path, home, path, back, path);
    return holds(command);
}

static bool is_there(const char *path)
{
    char whole[200];

    (void)snprintf(whole, sizeof(whole), "%s/%s", back, path);
    return access(whole, F_OK) == 0;
}

static int setup(void **state UNUSED)
{
    assert_int_equal(crypto_start(), 0);
    (void)snprintf(place, sizeof(place), "/tmp/aico-backup-XXXXXX");
    assert_non_null(mkdtemp(place));
    (void)snprintf(home, sizeof(home), "%s/home", place);
    (void)snprintf(copy, sizeof(copy), "%s/copy", place);
    (void)snprintf(back, sizeof(back), "%s/back", place);
    run("umask 077; mkdir -p %s/identities %s/state/shop %s/run %s/log", home, home, home, home);
    run("umask 077; cd %s; echo key >identities/shop.key; echo owner >owner.key; chmod 400 "
        "owner.key; "
        "echo r >registry; chmod 644 registry; echo 7 >state/shop/generation; echo a >log/audit; "
        "echo b >log/broker.log; echo s >state/shop/sessions.db; echo o >state/shop/outbox.db; "
        "echo x >run/bus.sock; echo l >state/shop/sessions.lock",
        home);
    return 0;
}

static int teardown(void **state UNUSED)
{
    run("rm -rf %s", place);
    return 0;
}

static int make(struct backup_report *report)
{
    struct aico_error err = {0};
    int r = backup_make(home, copy, NOW_MS, report, &err);

    if (r < 0)
        print_message("%s\n", err.text);
    return r;
}

static int restore(struct aico_error *err)
{
    struct backup_report report;

    return backup_restore(copy, back, &report, err);
}

static void what_belongs_to_a_home_comes_back_as_it_was(void **state UNUSED)
{
    struct backup_report report, restored;

    assert_int_equal(make(&report), 0);
    assert_int_equal(report.files, 5);
    assert_int_equal(report.left_out, 2);
    assert_int_equal(backup_restore(copy, back, &restored, NULL), 0);
    assert_int_equal(restored.files, 5);
    assert_int_equal(restored.left_out, 2);
    assert_int_equal(restored.created_ms, NOW_MS);
    assert_true(is_back("identities/shop.key"));
    assert_true(is_back("owner.key"));
    assert_true(is_back("registry"));
    assert_true(is_back("state/shop/generation"));
    assert_true(is_back("log/audit"));
}

static void sessions_locks_and_sockets_do_not_come_back(void **state UNUSED)
{
    struct backup_report report;

    assert_int_equal(make(&report), 0);
    assert_int_equal(restore(NULL), 0);
    assert_false(is_there("state/shop/sessions.db"));
    assert_false(is_there("state/shop/outbox.db"));
    assert_false(is_there("state/shop/sessions.lock"));
    assert_false(is_there("run"));
    assert_false(is_there("log/broker.log"));
}

static int64_t rows_of(const char *path)
{
    sqlite3_stmt *statement = NULL;
    sqlite3 *db = NULL;
    int64_t rows;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT count(*) FROM t", -1, &statement, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
    rows = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(db);
    return rows;
}

/* Its log is not checkpointed, and another transaction is under way. */
static void a_database_is_copied_while_it_is_written(void **state UNUSED)
{
    struct backup_report report;
    char path[160];
    sqlite3 *db = NULL;

    run("umask 077; mkdir %s/state/broker", home);
    (void)snprintf(path, sizeof(path), "%s/state/broker/messages.db", home);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db,
                                  "PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE "
                                  "TABLE t(a); INSERT INTO t VALUES(1); INSERT INTO t VALUES(2); "
                                  "BEGIN; INSERT INTO t VALUES(3);",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    assert_int_equal(make(&report), 0);
    assert_int_equal(report.databases, 1);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(db);
    assert_int_equal(restore(NULL), 0);
    (void)snprintf(path, sizeof(path), "%s/state/broker/messages.db", back);
    assert_int_equal(rows_of(path), 2);
}

static void whatever_is_wrong_with_it_nothing_is_written(void **state UNUSED)
{
    static const char *const harm[] = {
        "printf x | dd of=files/identities/shop.key bs=1 seek=1 conv=notrunc 2>/dev/null",
        "truncate -s 3 files/identities/shop.key",
        "echo more >>files/state/shop/generation",
        "rm files/registry",
        "rm manifest",
        "sed -i /^end/d manifest",
        "sed -i '1s/1/2/' manifest",
        "sed -i 's/ registry$/ registr/' manifest",
        "sed -i '3s/^file/fool/' manifest",
        "echo more >>manifest",
        "sed -i 's| registry$| ../registry|' manifest",
        "sed -i 's| registry$| a/../../registry|' manifest",
        "sed -i 's| registry$| /tmp/registry|' manifest",
    };
    struct backup_report report;

    for (size_t i = 0; i < COUNT_OF(harm); i++) {
        struct aico_error err = {0};

        assert_int_equal(make(&report), 0);
        run("cd %s && %s", copy, harm[i]);
        if (restore(&err) != AICO_EBACKUP)
            fail_msg("%s: %s", harm[i], err.text);
        assert_int_not_equal(access(back, F_OK), 0);
        run("rm -rf %s", copy);
    }
}

/* All files are what was backed up, and writing them fails at the last one. */
static void what_fails_half_way_leaves_no_half_a_home(void **state UNUSED)
{
    static const char *const harm[] = {
        "grep ' registry$' manifest >last; sed -i /^end/d manifest; cat last >>manifest",
        "grep ' registry$' manifest | sed 's| registry$| ./registry|' >last; sed -i /^end/d "
        "manifest; cat last >>manifest",
    };
    struct backup_report report;

    for (size_t i = 0; i < COUNT_OF(harm); i++)
        for (int exists = 0; exists < 2; exists++) {
            assert_int_equal(make(&report), 0);
            run("cd %s && %s; echo end >>manifest", copy, harm[i]);
            if (exists)
                run("mkdir -m 700 %s", back);
            assert_true(restore(NULL) < 0);
            assert_int_equal(access(back, F_OK) == 0, exists);
            run("test ! -e %s.restoring && test ! -e %s/registry", back, back);
            run("rm -rf %s %s", copy, back);
        }
    /* One that was killed in the middle. */
    assert_int_equal(make(&report), 0);
    run("mkdir -m 700 %s.restoring; touch %s.restoring/registry", back, back);
    assert_int_equal(restore(NULL), 0);
    assert_true(is_back("registry"));
}

static void nothing_is_overwritten(void **state UNUSED)
{
    struct backup_report report;

    assert_int_equal(make(&report), 0);
    assert_int_equal(make(&report), AICO_EEXISTS);
    run("mkdir -m 700 %s; echo mine >%s/registry", back, back);
    assert_int_equal(restore(NULL), AICO_EEXISTS);
    run("grep -q mine %s/registry; rm %s/registry", back, back);
    assert_int_equal(restore(NULL), 0); /* it is empty now */
}

static void a_home_that_is_not_there_is_named(void **state UNUSED)
{
    struct backup_report report;

    run("rm -rf %s", home);
    assert_int_equal(make(&report), AICO_ENOTFOUND);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_belongs_to_a_home_comes_back_as_it_was),
        TEST(sessions_locks_and_sockets_do_not_come_back),
        TEST(a_database_is_copied_while_it_is_written),
        TEST(whatever_is_wrong_with_it_nothing_is_written),
        TEST(what_fails_half_way_leaves_no_half_a_home),
        TEST(nothing_is_overwritten),
        TEST(a_home_that_is_not_there_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
