/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a component goes on under its next key: all of it or nothing, and only its own. */
#include "vectors.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "store/file.h"
#include "store/former.h"
#include "store/kept.h"
#include "store/sealed.h"

enum { FIRST, SECOND, THIRD, STRANGER, IDENTITIES };

static char home[64];
static struct identity *ids[IDENTITIES];
static struct aico_error err;

static int setup(void **state UNUSED)
{
    char path[128];

    assert_int_equal(crypto_start(), 0);
    (void)snprintf(home, sizeof(home), "/tmp/aico-former-XXXXXX");
    assert_non_null(mkdtemp(home));
    (void)snprintf(path, sizeof(path), "%s/state", home);
    assert_int_equal(mkdir(path, 0700), 0);
    for (int i = 0; i < IDENTITIES; i++) {
        const struct secret seed = {{(uint8_t)(i + 1)}};

        assert_int_equal(identity_new("backend", &seed, 0, &ids[i]), 0);
    }
    return 0;
}

static int teardown(void **state UNUSED)
{
    char command[128];

    for (int i = 0; i < IDENTITIES; i++)
        identity_free(&ids[i]);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", home);
    return system(command) == 0 ? 0 : -1;
}

static struct former_keys *former_of(int who)
{
    struct former_keys *former = NULL;

    if (former_load(home, ids[who], &former, &err) < 0)
        fail_msg("%s", err.text);
    return former;
}

static void rotate(int from, int to)
{
    if (former_leave(home, ids[from], ids[to], &err) < 0)
        fail_msg("%s", err.text);
}

static void save(int who, const char *text)
{
    struct hedge hedge;

    hedge_init(&hedge, &ids[who]->seed, random_system);
    assert_int_equal(sealed_save(home, ids[who], "thing", &hedge, bytes_text(text), NULL), 0);
    hedge_wipe(&hedge);
}

static int load(int who, const struct former_keys *former, const char *expected)
{
    CLEANUP(buffer_deinit)
    struct buffer content = {0};
    int r = sealed_load(home, ids[who], former, "thing", &content, NULL);

    if (r == 0)
        assert_true(bytes_equal_text(buffer_view(&content), expected));
    return r;
}

static void what_a_key_sealed_opens_with_the_next_and_is_sealed_anew(void **state UNUSED)
{
    struct former_keys *former;

    save(FIRST, "secret");
    rotate(FIRST, SECOND);
    former = former_of(SECOND);
    assert_int_equal(former->count, 1);
    assert_int_equal(load(SECOND, NULL, NULL), AICO_EOPEN);
    assert_int_equal(load(SECOND, former, "secret"), 0);
    assert_int_equal(load(SECOND, NULL, "secret"), 0);
    assert_int_equal(load(FIRST, NULL, NULL), AICO_EOPEN);
    guarded_free(&former);
}

static void two_rotations_between_two_starts_are_followed(void **state UNUSED)
{
    struct former_keys *former;

    save(FIRST, "old");
    rotate(FIRST, SECOND);
    rotate(SECOND, THIRD);
    former = former_of(THIRD);
    assert_int_equal(former->count, 2);
    assert_int_equal(load(THIRD, former, "old"), 0);
    guarded_free(&former);
}

static void more_rotations_than_there_is_room_for_keep_the_newest(void **state UNUSED)
{
    struct former_keys *former;

    for (int i = 0; i < FORMER_KEYS_MAX + 2; i++)
        rotate(i % 2 ? SECOND : FIRST, i % 2 ? FIRST : SECOND);
    former = former_of(FIRST);
    assert_int_equal(former->count, FORMER_KEYS_MAX);
    assert_memory_equal(former->items[0].public, ids[SECOND]->public, SIGN_PUBLIC_SIZE);
    guarded_free(&former);
}

static void nobody_elses_word_is_taken(void **state UNUSED)
{
    struct former_keys *former;
    char from[160], to[160];

    save(STRANGER, "not ours");
    rotate(FIRST, SECOND);
    former = former_of(SECOND);
    assert_int_equal(load(SECOND, former, NULL), AICO_EOPEN);
    guarded_free(&former);
    assert_null(former_of(STRANGER)); /* left for another */
    rotate(FIRST, STRANGER);          /* and a file under another's name is not believed */
    (void)snprintf(from, sizeof(from), "mv %s/state/backend/former-%02x%02x%02x%02x ", home,
                   ids[STRANGER]->public[0], ids[STRANGER] -> public[1], ids[STRANGER] -> public[2],
                   ids[STRANGER] -> public[3]);
    (void)snprintf(to, sizeof(to), "%s/state/backend/former-%02x%02x%02x%02x", home,
                   ids[SECOND]->public[0], ids[SECOND] -> public[1], ids[SECOND] -> public[2],
                   ids[SECOND] -> public[3]);
    strcat(from, to);
    assert_int_equal(system(from), 0);
    assert_int_equal(former_load(home, ids[SECOND], &former, &err), AICO_EOPEN);
    assert_int_equal(former_erase(home, "backend", ids[SECOND]->public, NULL), 0);
    assert_null(former_of(SECOND));
    assert_int_equal(former_erase(home, "backend", ids[SECOND]->public, NULL), 0);
}

/* --- databases ------------------------------------------------------------------------------ */

static int count(void *to, struct bytes key UNUSED, struct bytes value)
{
    ++*(size_t *)to;
    assert_int_equal(value.size, 4);
    return 0;
}

/* Loads what there is, and appends @more rows. */
static int rows(int who, const struct former_keys *former, const struct kept_kind *kind,
                size_t more, size_t *ret_count)
{
    struct kept *kept = kept_new(home, "backend", kind, ids[who], former);
    struct keeper keeper = kept_keeper(kept);
    int r;

    *ret_count = 0;
    r = keeper.load(keeper.context, count, ret_count, &err);
    for (size_t i = 0; r == 0 && i < more; i++) {
        uint8_t key = (uint8_t)i;

        r = keeper.commit(keeper.context,
                          &(struct keep_change){bytes_of(&key, 1), bytes_of("text", 4)}, 1, &err);
    }
    kept_free(&kept);
    return r;
}

static void rows_go_on_under_the_next_key(void **state UNUSED)
{
    static const struct kept_kind *const kinds[] = {&kept_outbox, &kept_replay};
    struct former_keys *former;
    size_t found;

    rotate(FIRST, SECOND);
    former = former_of(SECOND);
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        assert_int_equal(rows(FIRST, NULL, kinds[i], 40, &found), 0);
        assert_int_equal(rows(SECOND, former, kinds[i], 0, &found), 0);
        assert_int_equal(found, 40);
        assert_int_equal(rows(SECOND, NULL, kinds[i], 0, &found), 0);
        assert_int_equal(found, 40);
    }
    assert_int_equal(rows(FIRST, NULL, &kept_outbox, 0, &found), AICO_EOPEN);
    guarded_free(&former);
}

/* One row is damaged: nothing changes, and the former key opens what it did. */
static void rows_that_do_not_open_leave_the_file_as_it_was(void **state UNUSED)
{
    struct former_keys *former;
    struct buffer before = {0}, after = {0};
    char path[128];
    size_t found;
    uint8_t *at;

    rotate(FIRST, SECOND);
    former = former_of(SECOND);
    assert_int_equal(rows(FIRST, NULL, &kept_outbox, 40, &found), 0);
    (void)snprintf(path, sizeof(path), "%s/state/backend/outbox.db", home);
    assert_int_equal(file_read(path, FILE_SECRET, 1 << 24, &before, NULL), 0);
    at = before.at + before.size - 1; /* the first row of a page stands at its end */
    *at ^= 1;
    assert_int_equal(file_write(path, 0600, true, buffer_view(&before), NULL), 0);
    assert_int_equal(rows(SECOND, former, &kept_outbox, 0, &found), AICO_EKEPTDAMAGED);
    assert_int_equal(file_read(path, FILE_SECRET, 1 << 24, &after, NULL), 0);
    after.at[after.size - 1] ^= 1;
    assert_int_equal(file_write(path, 0600, true, buffer_view(&after), NULL), 0);
    assert_int_equal(rows(FIRST, NULL, &kept_outbox, 0, &found), 0);
    assert_int_equal(found, 40);
    buffer_deinit(&before);
    buffer_deinit(&after);
    guarded_free(&former);
}

#define FORMER_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FORMER_TEST(what_a_key_sealed_opens_with_the_next_and_is_sealed_anew),
        FORMER_TEST(two_rotations_between_two_starts_are_followed),
        FORMER_TEST(more_rotations_than_there_is_room_for_keep_the_newest),
        FORMER_TEST(nobody_elses_word_is_taken),
        FORMER_TEST(rows_go_on_under_the_next_key),
        FORMER_TEST(rows_that_do_not_open_leave_the_file_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
