/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of systemd's journal, as the journal reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/journal.h"
#include "common/log.h"

struct journal {
    char folder[64];
    char path[96];
    int fd;
    char *entry; /* what came last, in a block of its size */
};

static int set_up(void **state)
{
    struct journal *journal = calloc(1, sizeof(*journal));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct aico_error err = {0};

    assert_non_null(journal);
    (void)snprintf(journal->folder, sizeof(journal->folder), "/tmp/aico-journal-XXXXXX");
    assert_non_null(mkdtemp(journal->folder));
    (void)snprintf(journal->path, sizeof(journal->path), "%s/socket", journal->folder);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", journal->path);
    journal->fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    assert_int_equal(bind(journal->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(journal_open(journal->path, &err), 0);
    *state = journal;
    return 0;
}

static int tear_down(void **state)
{
    struct journal *journal = *state;

    journal_close();
    if (journal->fd >= 0)
        (void)close(journal->fd);
    (void)unlink(journal->path);
    (void)rmdir(journal->folder);
    free(journal->entry);
    free(journal);
    return 0;
}

static const char *next_entry(struct journal *journal)
{
    char room[JOURNAL_ENTRY_MAX + 1];
    ssize_t size = recv(journal->fd, room, sizeof(room), MSG_DONTWAIT);

    assert_true(size > 0);
    free(journal->entry);
    journal->entry = strndup(room, (size_t)size);
    assert_non_null(journal->entry);
    return journal->entry;
}

static void an_entry_has_a_line_a_field(void **state)
{
    const struct log_field fields[] = {
        {"event", "connected"}, {"component", "camera"}, {"code", ""}};

    assert_true(journal_send(6, "aico-broker", fields, 3, "it is here"));
    assert_string_equal(next_entry(*state),
                        "PRIORITY=6\nSYSLOG_IDENTIFIER=aico-broker\nMESSAGE=it is here\n"
                        "AICO_EVENT=connected\nAICO_COMPONENT=camera\n");
}

/* A stranger's text must not become a field. */
static void a_newline_in_a_value_makes_no_field(void **state)
{
    const struct log_field fields[] = {{"component", "x\nPRIORITY=0"}};
    const char *entry;

    assert_true(journal_send(4, "aico-broker", fields, 1, "one\n_UID=0\ntwo"));
    entry = next_entry(*state);
    assert_null(strstr(entry, "\n_UID="));
    assert_null(strstr(entry, "\nPRIORITY=0"));
    assert_non_null(strstr(entry, "MESSAGE=one\\n_UID=0\\ntwo\n"));
}

static void an_entry_that_is_too_large_is_not_sent(void **state)
{
    char *text = malloc(JOURNAL_ENTRY_MAX + 1);
    struct journal *journal = *state;
    char room[16];

    assert_non_null(text);
    memset(text, 'a', JOURNAL_ENTRY_MAX);
    text[JOURNAL_ENTRY_MAX] = '\0';
    assert_false(journal_send(6, "aico-broker", NULL, 0, text));
    assert_int_equal(recv(journal->fd, room, sizeof(room), MSG_DONTWAIT), -1);
    free(text);
}

static void a_journal_that_does_not_keep_up_is_not_waited_for(void **state)
{
    int sent = 0;

    (void)state;
    while (sent < 100000 && journal_send(6, "aico-broker", NULL, 0, "again"))
        sent++;
    assert_true(sent > 0 && sent < 100000);
}

static void a_journal_that_is_gone_takes_nothing(void **state)
{
    struct journal *journal = *state;

    (void)close(journal->fd);
    journal->fd = -1;
    assert_false(journal_send(6, "aico-broker", NULL, 0, "hello"));
}

static void no_journal_is_an_error_with_its_place(void **state)
{
    struct aico_error err = {0};

    (void)state;
    assert_int_equal(journal_open("/nonexistent/socket", &err), AICO_ESYSTEM);
    assert_non_null(strstr(err.text, "/nonexistent/socket"));
    assert_false(journal_send(6, "aico-broker", NULL, 0, "hello"));
}

static void levels_and_formats_have_names(void **state)
{
    enum log_level level = LOG_INFO;
    enum log_format format = LOG_TEXT;

    (void)state;
    assert_true(log_level_parse("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_false(log_level_parse("loud", &level));
    assert_true(log_format_parse("journal", &format));
    assert_int_equal(format, LOG_JOURNAL);
    assert_false(log_format_parse("xml", &format));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_entry_has_a_line_a_field, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_newline_in_a_value_makes_no_field, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_that_is_too_large_is_not_sent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_journal_that_does_not_keep_up_is_not_waited_for, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_journal_that_is_gone_takes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_journal_is_an_error_with_its_place, set_up, tear_down),
        cmocka_unit_test(levels_and_formats_have_names),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
