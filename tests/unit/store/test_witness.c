/* SPDX-License-Identifier: Apache-2.0 */
/* Heads of the audit log that a component has seen: what it keeps of them, and what it says of
 * them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "store/file.h"
#include "store/witness.h"

#define START_MS 1763668800000
#define HOUR_MS ((int64_t)3600 * 1000)

static char home[64], path[128];
static struct identity *broker;

static int setup(void **state UNUSED)
{
    const struct secret seed = {{1}};
    char command[200];

    assert_int_equal(crypto_start(), 0);
    (void)snprintf(home, sizeof(home), "/tmp/aico-witness-XXXXXX");
    assert_non_null(mkdtemp(home));
    (void)snprintf(command, sizeof(command), "umask 077; mkdir -p '%s/state/shop'", home);
    assert_int_equal(system(command), 0);
    (void)snprintf(path, sizeof(path), "%s/state/shop/witness", home);
    return identity_new("broker", &seed, 0, &broker);
}

static int teardown(void **state UNUSED)
{
    char command[200];

    identity_free(&broker);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", home);
    return system(command);
}

/* A log of @entries entries, whose text is @text, signed at @ms. */
static void head_of(uint8_t log, size_t entries, const char *text, int64_t ms, struct buffer *ret)
{
    const uint8_t id[AUDIT_ID_SIZE] = {log}, zeros[AUDIT_HASH_SIZE] = {0};
    struct buffer whole = {0};
    struct audit_chain chain;
    size_t at;

    ret->size = 0;
    assert_int_equal(audit_begin(&chain, bytes_text("aico"), broker, id, zeros, &whole), 0);
    for (size_t i = 0; i < entries; i++)
        assert_int_equal(audit_add(&chain,
                                   &(struct audit_entry){.time_ms = START_MS,
                                                         .kind = "connected",
                                                         .component = "shop",
                                                         .address = "",
                                                         .text = text},
                                   &whole),
                         0);
    at = whole.size;
    assert_int_equal(audit_sign(&chain, broker, ms, &whole), 0);
    assert_int_equal(buffer_append(ret, bytes_of(whole.at + at, whole.size - at - 1)), 0);
    buffer_deinit(&whole);
}

static int saw(uint8_t log, size_t entries, const char *text, int64_t ms)
{
    struct buffer line = {0};
    struct aico_error err = {0};
    int r;

    head_of(log, entries, text, ms, &line);
    r = witness_keep(home, "shop", bytes_text("aico"), broker->public, buffer_view(&line), &err);
    buffer_deinit(&line);
    return r;
}

static size_t kept(void)
{
    struct buffer text = {0};
    size_t count = 0;

    assert_int_equal(file_read(path, FILE_SECRET, 1 << 20, &text, NULL), 0);
    for (size_t i = 0; i < text.size; i++)
        count += text.at[i] == '\n';
    buffer_deinit(&text);
    return count;
}

static void a_head_is_kept_once(void **state UNUSED)
{
    assert_int_equal(saw(1, 3, "a", START_MS), 0);
    assert_int_equal(saw(1, 3, "a", START_MS), 0);
    assert_int_equal(kept(), 1);
}

static void the_newest_is_kept_and_one_in_six_hours(void **state UNUSED)
{
    for (size_t i = 0; i < 25; i++)
        assert_int_equal(saw(1, 3 + i, "a", START_MS + (int64_t)i * HOUR_MS), 0);
    assert_int_equal(kept(), 6); /* hours 0, 6, 12, 18, 24: and the first beside its neighbour */
}

static void an_end_that_goes_back_is_told(void **state UNUSED)
{
    assert_int_equal(saw(1, 3, "a", START_MS), 0);
    assert_int_equal(saw(1, 2, "a", START_MS + 1), AICO_EAUDIT);
    assert_int_equal(kept(), 2);
}

static void two_of_one_length_are_told(void **state UNUSED)
{
    assert_int_equal(saw(1, 3, "a", START_MS), 0);
    assert_int_equal(saw(1, 3, "b", START_MS + 1), AICO_EAUDIT);
    assert_int_equal(kept(), 2);
}

static void another_log_is_no_contradiction(void **state UNUSED)
{
    assert_int_equal(saw(1, 3, "a", START_MS), 0);
    assert_int_equal(saw(2, 1, "a", START_MS + 1), 0);
    assert_int_equal(kept(), 2);
}

static void what_the_broker_did_not_sign_is_not_kept(void **state UNUSED)
{
    const uint8_t somebody[SIGN_PUBLIC_SIZE] = {9};
    struct buffer line = {0};

    head_of(1, 3, "a", START_MS, &line);
    assert_int_equal(
        witness_keep(home, "shop", bytes_text("aico"), somebody, buffer_view(&line), NULL),
        AICO_ESIGNATURE);
    assert_int_equal(
        witness_keep(home, "shop", bytes_text("other"), broker->public, buffer_view(&line), NULL),
        AICO_ESIGNATURE);
    assert_int_equal(witness_keep(home, "shop", bytes_text("aico"), broker->public,
                                  bytes_text("head of nothing"), NULL),
                     AICO_EAUDIT);
    assert_false(file_changed(path, &(struct file_stamp){0}));
    buffer_deinit(&line);
}

static void the_file_does_not_grow_without_end(void **state UNUSED)
{
    for (size_t i = 0; i < WITNESS_LINES + 20; i++)
        assert_int_equal(saw(1, 1 + i, "a", START_MS + (int64_t)i * 7 * HOUR_MS), 0);
    assert_int_equal(kept(), WITNESS_LINES);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_head_is_kept_once),
        TEST(the_newest_is_kept_and_one_in_six_hours),
        TEST(an_end_that_goes_back_is_told),
        TEST(two_of_one_length_are_told),
        TEST(another_log_is_no_contradiction),
        TEST(what_the_broker_did_not_sign_is_not_kept),
        TEST(the_file_does_not_grow_without_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
