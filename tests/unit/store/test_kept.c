/* SPDX-License-Identifier: Apache-2.0 */
/* Kept session state: sealed rows, all of a commit or nothing, one process, damage that is named.
 */
#include "vectors.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/aead.h"
#include "crypto/identity.h"
#include "store/file.h"
#include "store/kept.h"

static char home[64], path[128];
static struct identity *identity, *other;

struct rows {
    size_t count;
    char text[4096];
};

static int take(void *to, struct bytes key, struct bytes value)
{
    struct rows *rows = to;
    size_t used = strlen(rows->text);

    rows->count++;
    (void)snprintf(rows->text + used, sizeof(rows->text) - used, "%.*s=%.*s;", (int)key.size,
                   (const char *)key.at, (int)value.size, (const char *)value.at);
    return 0;
}

static int load(struct kept *kept, struct rows *ret_rows, struct aico_error *err)
{
    struct keeper keeper = kept_keeper(kept);

    memset(ret_rows, 0, sizeof(*ret_rows));
    return keeper.load(keeper.context, take, ret_rows, err);
}

static int put(struct kept *kept, const char *key, const char *value)
{
    struct keeper keeper = kept_keeper(kept);
    struct keep_change change = {bytes_text(key), value ? bytes_text(value) : bytes_of(NULL, 0)};

    return keeper.commit(keeper.context, &change, 1, NULL);
}

static struct kept *open_as(const struct identity *as)
{
    struct kept *kept = kept_new(home, "backend", &kept_sessions, as, NULL);
    struct rows rows;

    assert_non_null(kept);
    assert_int_equal(load(kept, &rows, NULL), 0);
    return kept;
}

static void assert_rows(const struct identity *as, const char *expected)
{
    struct kept *kept = kept_new(home, "backend", &kept_sessions, as, NULL);
    struct aico_error err = {0};
    struct rows rows;

    if (load(kept, &rows, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(rows.text, expected);
    kept_free(&kept);
}

static int setup(void **state)
{
    const struct secret seed = {{1}}, second = {{2}};

    (void)state;
    assert_int_equal(crypto_start(), 0);
    (void)snprintf(home, sizeof(home), "/tmp/aico-kept-XXXXXX");
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof(path), "%s/state", home);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof(path), "%s/state/backend/sessions.db", home);
    assert_int_equal(identity_new("backend", &seed, 0, &identity), 0);
    assert_int_equal(identity_new("backend", &second, 0, &other), 0);
    return 0;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    identity_free(&identity);
    identity_free(&other);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", home);
    return system(command) == 0 ? 0 : -1;
}

static void what_was_committed_is_there_in_the_order_of_its_keys(void **state)
{
    struct kept *kept = open_as(identity);

    (void)state;
    assert_int_equal(put(kept, "b", "two"), 0);
    assert_int_equal(put(kept, "a", "one"), 0);
    assert_int_equal(put(kept, "b", "three"), 0);
    assert_int_equal(put(kept, "c", ""), 0);
    assert_int_equal(put(kept, "d", "gone"), 0);
    assert_int_equal(put(kept, "d", NULL), 0);
    kept_free(&kept);
    assert_rows(identity, "a=one;b=three;c=;");
}

static bool file_holds(const char *text)
{
    struct buffer content = {0};
    bool found;

    assert_int_equal(file_read(path, FILE_SECRET, 1 << 24, &content, NULL), 0);
    found = memmem(content.at, content.size, text, strlen(text)) != NULL;
    buffer_deinit(&content);
    return found;
}

static void nothing_lies_in_clear_and_nothing_of_before_stays(void **state)
{
    static const char canary[] = "a canary that must not be read";
    struct buffer before = {0}, after = {0};
    struct kept *kept = open_as(identity);
    char journal[160];
    const uint8_t *at;
    struct stat st;

    (void)state;
    assert_int_equal(put(kept, "the row", canary), 0);
    assert_false(file_holds(canary));
    assert_int_equal(file_read(path, FILE_SECRET, 1 << 24, &before, NULL), 0);
    assert_int_equal(put(kept, "the row", "a canary that comes in its place"), 0);
    assert_int_equal(file_read(path, FILE_SECRET, 1 << 24, &after, NULL), 0);
    (void)snprintf(journal, sizeof(journal), "%s-journal", path);
    assert_true(stat(journal, &st) < 0 || st.st_size == 0);
    (void)snprintf(journal, sizeof(journal), "%s-wal", path);
    assert_true(stat(journal, &st) < 0);
    /* The sealed former value, which stands behind its key, is nowhere in the file any more. */
    at = memmem(before.at, before.size, "the row", 7);
    assert_non_null(at);
    for (size_t piece = 0; piece + 16 <= AEAD_NONCE_SIZE + strlen(canary); piece++)
        assert_null(memmem(after.at, after.size, at + 7 + piece, 16));
    buffer_deinit(&before);
    buffer_deinit(&after);
    kept_free(&kept);
}

static void a_changed_or_moved_row_is_damage(void **state)
{
    struct buffer content = {0};
    struct aico_error err = {0};
    struct kept *kept = open_as(identity);
    struct rows rows;
    uint8_t *at;

    (void)state;
    assert_int_equal(put(kept, "moved-1", "one"), 0);
    kept_free(&kept);
    assert_int_equal(file_read(path, FILE_SECRET, 1 << 24, &content, NULL), 0);
    at = memmem(content.at, content.size, "moved-1", 7);
    assert_non_null(at);
    at[6] = '2';
    assert_int_equal(file_write(path, 0600, true, buffer_view(&content), NULL), 0);
    kept = kept_new(home, "backend", &kept_sessions, identity, NULL);
    assert_int_equal(load(kept, &rows, &err), AICO_EKEPTDAMAGED);
    assert_non_null(strstr(err.text, "mv "));
    assert_int_equal(rows.count, 0);
    kept_free(&kept);
    buffer_deinit(&content);
}

static void a_file_of_something_else_is_damage(void **state)
{
    struct aico_error err = {0};
    struct kept *kept = open_as(identity);
    struct rows rows;

    (void)state;
    kept_free(&kept);
    assert_int_equal(
        file_write(path, 0600, true,
                   bytes_text("this is a text and has nothing to do with any database at all"),
                   NULL),
        0);
    kept = kept_new(home, "backend", &kept_sessions, identity, NULL);
    assert_int_equal(load(kept, &rows, &err), AICO_EKEPTDAMAGED);
    kept_free(&kept);
}

static void the_state_of_a_former_key_is_erased(void **state)
{
    struct kept *kept = open_as(identity);

    (void)state;
    assert_int_equal(put(kept, "a", "of the former key"), 0);
    kept_free(&kept);
    kept = open_as(other);
    assert_int_equal(put(kept, "b", "of the next"), 0);
    kept_free(&kept);
    assert_rows(other, "b=of the next;");
}

static void a_second_process_is_told(void **state)
{
    struct kept *kept = open_as(identity),
                *second = kept_new(home, "backend", &kept_sessions, identity, NULL);
    struct aico_error err = {0};
    struct rows rows;

    (void)state;
    assert_int_equal(load(second, &rows, &err), AICO_EKEPTLOCKED);
    assert_non_null(strstr(err.text, "another process"));
    kept_free(&kept);
    assert_int_equal(load(second, &rows, NULL), 0);
    kept_free(&second);
}

/* Guarded memory is zeros in a forked child. */
static struct identity *identity_again(void)
{
    const struct secret seed = {{1}};
    struct identity *again = NULL;

    return identity_new("backend", &seed, 0, &again) == 0 ? again : NULL;
}

/* A process that dies in the middle of its commits leaves whole ones. */
static void a_killed_process_leaves_whole_commits(void **state)
{
    struct rows rows;
    struct kept *kept;
    int pipes[2], status;
    char byte;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    pid = fork();
    if (pid == 0) {
        struct keeper keeper;
        char value[32];

        kept = kept_new(home, "backend", &kept_sessions, identity_again(), NULL);
        (void)!load(kept, &rows, NULL);
        keeper = kept_keeper(kept);
        for (unsigned i = 0;; i++) {
            struct keep_change both[2];

            (void)snprintf(value, sizeof(value), "%u", i);
            both[0] = (struct keep_change){bytes_text("a"), bytes_text(value)};
            both[1] = (struct keep_change){bytes_text("b"), bytes_text(value)};
            (void)!keeper.commit(keeper.context, both, 2, NULL);
            (void)!write(pipes[1], "x", 1);
        }
    }
    (void)close(pipes[1]);
    for (int i = 0; i < 10; i++)
        assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    (void)close(pipes[0]);
    kept = kept_new(home, "backend", &kept_sessions, identity, NULL);
    assert_int_equal(load(kept, &rows, NULL), 0);
    kept_free(&kept);
    {
        unsigned a, b;

        assert_int_equal(sscanf(rows.text, "a=%u;b=%u;", &a, &b), 2);
        assert_int_equal(a, b);
        assert_true(a >= 9);
    }
}

int main(void)
{
#define KEPT_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        KEPT_TEST(what_was_committed_is_there_in_the_order_of_its_keys),
        KEPT_TEST(nothing_lies_in_clear_and_nothing_of_before_stays),
        KEPT_TEST(a_changed_or_moved_row_is_damage),
        KEPT_TEST(a_file_of_something_else_is_damage),
        KEPT_TEST(the_state_of_a_former_key_is_erased),
        KEPT_TEST(a_second_process_is_told),
        KEPT_TEST(a_killed_process_leaves_whole_commits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
