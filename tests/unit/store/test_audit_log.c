/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log's files: a disk that fails loses nothing and leaves nothing half written, a large
 * file is followed by another that goes on where it ended. */
#include "vectors.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "store/audit_log.h"
#include "store/file.h"

#define NS bytes_text("aico")
#define NOW 1763668800000

struct world {
    char home[64];
    struct identity *broker;
    struct audit_log *log;
};

static void open_log(struct world *w)
{
    struct aico_error err = {0};

    assert_int_equal(audit_log_open(w->home, NS, w->broker, NOW, &w->log, &err), 0);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const struct secret seed = {{9}};

    assert_non_null(w);
    assert_int_equal(crypto_start(), 0);
    (void)snprintf(w->home, sizeof(w->home), "/tmp/aico-audit-XXXXXX");
    assert_non_null(mkdtemp(w->home));
    assert_int_equal(identity_new("broker", &seed, 0, &w->broker), 0);
    open_log(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[128];

    audit_log_close(&w->log);
    identity_free(&w->broker);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", w->home);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static void add(struct world *w, int count)
{
    const struct audit_entry entry = {.time_ms = NOW,
                                      .kind = "connected",
                                      .component = "cli",
                                      .address = "",
                                      .text = "session begins"};

    for (int i = 0; i < count; i++)
        assert_int_equal(audit_log_add(w->log, &entry), 0);
}

static struct audit_report report_of(const struct world *w, const char *name)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    struct audit_report report;
    struct aico_error err = {0};
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/log/%s", w->home, name);
    assert_int_equal(file_read(path, FILE_SECRET, 64u << 20, &text, &err), 0);
    assert_int_equal(
        audit_read(bytes_of(text.at, text.size), NS, w->broker->public, NULL, NULL, &report, &err),
        0);
    assert_int_equal(report.whole, text.size);
    return report;
}

static void limit_file_size(rlim_t size)
{
    struct rlimit limit;

    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = size;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_costs_no_entry(void **state)
{
    struct world *w = *state;
    struct aico_error err = {0};
    struct audit_report report;

    (void)signal(SIGXFSZ, SIG_IGN);
    add(w, 3);
    assert_int_equal(audit_log_save(w->log, NOW, NULL, &err), 0);
    add(w, 100);
    limit_file_size(1000); /* in the middle of what is to be written */
    assert_int_equal(audit_log_save(w->log, NOW, NULL, &err), AICO_ESYSTEM);
    limit_file_size(RLIM_INFINITY);
    assert_int_equal(report_of(w, "audit").signed_entries, 3);

    add(w, 1);
    assert_int_equal(audit_log_save(w->log, NOW, NULL, &err), 0);
    report = report_of(w, "audit");
    assert_int_equal(report.chain.entries, 104);
    assert_int_equal(report.signed_entries, 104);
}

static void a_log_goes_on_after_it_was_closed(void **state)
{
    struct world *w = *state;
    struct aico_error err = {0};

    add(w, 2);
    assert_int_equal(audit_log_save(w->log, NOW, NULL, &err), 0);
    add(w, 5); /* not saved: gone, and no part of it in the file */
    audit_log_close(&w->log);
    open_log(w);
    add(w, 1);
    assert_int_equal(audit_log_save(w->log, NOW, NULL, &err), 0);
    assert_int_equal(report_of(w, "audit").signed_entries, 3);
}

static void a_large_file_is_followed_by_another(void **state)
{
    struct world *w = *state;
    struct aico_error err = {0};
    struct audit_report first, second;
    CLEANUP(audit_files_deinit)
    struct audit_files files = {NULL, 0};

    for (int i = 0; i < 11; i++) {
        add(w, 30000);
        assert_int_equal(audit_log_save(w->log, NOW, NULL, &err), 0);
    }
    add(w, 1);
    assert_int_equal(audit_log_save(w->log, NOW, NULL, &err), 0);
    first = report_of(w, "audit.1");
    second = report_of(w, "audit");
    assert_memory_equal(second.chain.previous, first.chain.hash, AUDIT_HASH_SIZE);
    assert_int_equal(first.signed_entries + second.signed_entries, 330001);
    assert_int_equal(audit_files_list(w->home, &files, &err), 0);
    assert_int_equal(files.count, 2);
    assert_non_null(strstr(files.paths[0], "audit.1"));
}

/* No file can be opened any more, as when a broker has too many connections. */
static int save_without_descriptors(struct world *w)
{
    struct rlimit before, none;
    int r;

    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    r = audit_log_save(w->log, NOW, NULL, NULL);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    return r;
}

static void a_large_file_takes_no_earlier_ones_place(void **state)
{
    struct world *w = *state;
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/log/audit.1", w->home);
    assert_int_equal(file_write(path, 0600, false, bytes_text("earlier"), NULL), 0);
    for (int i = 0; i < 11; i++) {
        int r;

        add(w, 30000);
        r = save_without_descriptors(w);
        assert_true(r == 0 || r == AICO_ESYSTEM); /* it is saved, and no new file was begun */
    }
    assert_int_equal(report_of(w, "audit").signed_entries, 330000);
    add(w, 1);
    assert_int_equal(audit_log_save(w->log, NOW, NULL, NULL), 0); /* it is made up for */
    assert_int_equal(report_of(w, "audit.2").signed_entries, 330001);
    assert_int_equal(file_read(path, FILE_SECRET, 64, &text, NULL), 0);
    assert_true(bytes_equal_text(buffer_view(&text), "earlier"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_full_disk_costs_no_entry, setup, teardown),
        cmocka_unit_test_setup_teardown(a_log_goes_on_after_it_was_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_file_is_followed_by_another, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_file_takes_no_earlier_ones_place, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
