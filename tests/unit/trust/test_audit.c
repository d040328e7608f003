/* SPDX-License-Identifier: Apache-2.0 */
/* The audit log: what is written reads back, and nothing that was done to it passes. */
#include "vectors.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "trust/audit.h"

#define NS bytes_text("aico")
#define ENTRIES 60
#define MUTATIONS 5000

struct world {
    struct identity *broker;
    struct audit_chain chain;
    struct buffer text;
    uint64_t dice;
};

static uint64_t roll(struct world *w, uint64_t below)
{
    w->dice = w->dice * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (w->dice >> 33) % below;
}

static void add(struct world *w, const char *text)
{
    const struct audit_entry entry = {.time_ms = 1763668800000 + (int64_t)w->chain.entries * 1000,
                                      .kind = "connected",
                                      .component = "frontend",
                                      .address = "",
                                      .text = text};

    assert_int_equal(audit_add(&w->chain, &entry, &w->text), 0);
}

static void sign(struct world *w)
{
    assert_int_equal(audit_sign(&w->chain, w->broker, 1763668800000, &w->text), 0);
}

static void begin(struct world *w)
{
    const uint8_t id[AUDIT_ID_SIZE] = {1, 2, 3}, previous[AUDIT_HASH_SIZE] = {0};

    w->text.size = 0;
    assert_int_equal(audit_begin(&w->chain, NS, w->broker, id, previous, &w->text), 0);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    const struct secret seed = {{9}};

    assert_non_null(w);
    assert_int_equal(crypto_start(), 0);
    assert_int_equal(identity_new("broker", &seed, 0, &w->broker), 0);
    begin(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    buffer_deinit(&w->text);
    identity_free(&w->broker);
    free(w);
    return 0;
}

static int read_text(const struct world *w, struct bytes text, struct audit_report *ret)
{
    struct aico_error err = {0};
    uint8_t *copy = exact_copy(text);
    int r = audit_read(bytes_of(copy, text.size), NS, w->broker->public, NULL, NULL, ret, &err);

    free(copy);
    return r;
}

static struct bytes written(const struct world *w)
{
    return bytes_of(w->text.at, w->text.size);
}

static void what_is_written_reads_back_and_goes_on(void **state)
{
    struct world *w = *state;
    struct audit_report report;

    for (int i = 0; i < 3; i++)
        add(w, "session begins");
    sign(w);
    add(w, "left");
    assert_int_equal(read_text(w, written(w), &report), 0);
    assert_int_equal(report.chain.entries, 4);
    assert_int_equal(report.signed_entries, 3);
    assert_int_equal(report.whole, w->text.size);
    assert_memory_equal(report.chain.hash, w->chain.hash, AUDIT_HASH_SIZE);

    w->chain = report.chain; /* as a broker that was started again */
    add(w, "connected again");
    sign(w);
    assert_int_equal(read_text(w, written(w), &report), 0);
    assert_int_equal(report.signed_entries, 5);
}

static void a_text_of_a_peer_stays_in_its_line(void **state)
{
    struct world *w = *state;
    struct audit_report report;
    char large[2000];

    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    add(w, "refused: a\n2 2026-11-20T20:00:00Z connected admin - 0 forged\r\n");
    add(w, large);
    add(w, "");
    sign(w);
    assert_int_equal(read_text(w, written(w), &report), 0);
    assert_int_equal(report.signed_entries, 3);
}

static void a_line_that_a_crash_tore_is_no_part_of_it(void **state)
{
    struct world *w = *state;
    struct audit_report report;
    size_t whole;

    add(w, "one");
    sign(w);
    whole = w->text.size;
    add(w, "two");
    assert_int_equal(read_text(w, bytes_of(w->text.at, w->text.size - 1), &report), 0);
    assert_int_equal(report.whole, whole);
    assert_int_equal(report.signed_entries, 1);
}

static void another_brokers_log_is_refused(void **state)
{
    struct world *w = *state;
    struct audit_report report;
    struct aico_error err = {0};
    const uint8_t other[SIGN_PUBLIC_SIZE] = {1};

    add(w, "one");
    sign(w);
    assert_int_equal(audit_read(written(w), NS, other, NULL, NULL, &report, &err), AICO_EBROKERKEY);
    assert_int_equal(
        audit_read(written(w), bytes_text("other"), w->broker->public, NULL, NULL, &report, &err),
        AICO_ENAMESPACE);
}

static void a_head_of_another_namespace_does_not_verify(void **state)
{
    struct world *w = *state;
    struct audit_report report;

    add(w, "one");
    sign(w);
    assert_int_equal(read_text(w, written(w), &report), 0);
    assert_int_equal(audit_head_verify(&report.last, NS, w->broker->public), 0);
    assert_int_equal(audit_head_verify(&report.last, bytes_text("other"), w->broker->public),
                     AICO_ESIGNATURE);
}

/* --- mutations ----------------------------------------------------------------------------------
 */

/* Where line @index begins; the end of the text past the last. */
static size_t line_at(struct bytes text, size_t index)
{
    size_t at = 0;

    for (; index > 0 && at < text.size; index--)
        at = (size_t)((const uint8_t *)memchr(text.at + at, '\n', text.size - at) - text.at) + 1;
    return at;
}

static size_t line_count(struct bytes text)
{
    size_t count = 0;

    for (size_t i = 0; i < text.size; i++)
        count += text.at[i] == '\n';
    return count;
}

static void put(struct buffer *to, struct bytes from, size_t begin, size_t end)
{
    assert_int_equal(buffer_append(to, bytes_of(from.at + begin, end - begin)), 0);
}

/* A log that someone who has no key of the broker's made of @from. */
static void mutate(struct world *w, struct bytes from, struct buffer *to)
{
    size_t lines = line_count(from), a = roll(w, lines), b = roll(w, lines);
    size_t a1 = line_at(from, a), a2 = line_at(from, a + 1), b1 = line_at(from, b),
           b2 = line_at(from, b + 1);

    to->size = 0;
    switch (roll(w, 6)) {
    case 0: /* one bit */
        put(to, from, 0, from.size);
        to->at[roll(w, from.size)] ^= (uint8_t)(1u << roll(w, 8));
        break;
    case 1: /* a run of lines gone */
        put(to, from, 0, MIN(a1, b1));
        put(to, from, MAX(a2, b2), from.size);
        break;
    case 2: /* the end gone, within a line or after one */
        put(to, from, 0, roll(w, 2) ? a1 : roll(w, from.size));
        break;
    case 3: /* a line twice, there or elsewhere */
        put(to, from, 0, a2);
        put(to, from, b1, b2);
        put(to, from, a2, from.size);
        break;
    case 4: /* a byte gone or added */
        b = roll(w, from.size);
        put(to, from, 0, b);
        if (roll(w, 2))
            put(to, from, b, b + 1);
        put(to, from, MIN(b + roll(w, 2), from.size), from.size);
        break;
    default: { /* a fork: the same beginning, other entries, the last head kept */
        struct audit_chain chain;
        struct audit_report report;

        a = line_at(from, 5 + roll(w, lines - 6));
        assert_int_equal(read_text(w, bytes_of(from.at, a), &report), 0);
        chain = report.chain;
        put(to, from, 0, a);
        while (chain.entries < ENTRIES)
            assert_int_equal(audit_add(&chain,
                                       &(struct audit_entry){.time_ms = 1763668800000,
                                                             .kind = "left",
                                                             .component = "backend",
                                                             .address = "",
                                                             .text = "forged"},
                                       to),
                             0);
        put(to, from, line_at(from, lines - 1), from.size);
        break;
    }
    }
}

static void every_change_deletion_truncation_and_fork_is_found(void **state)
{
    struct world *w = *state;
    CLEANUP(buffer_deinit)
    struct buffer changed = {0};
    struct audit_report report;
    struct audit_head witness;
    int same = 0;

    for (int i = 0; i < ENTRIES; i++) {
        add(w, "session begins");
        if (roll(w, 5) == 0 || i == ENTRIES - 1)
            sign(w);
    }
    assert_int_equal(read_text(w, written(w), &report), 0);
    witness = report.last;
    for (int i = 0; i < MUTATIONS; i++) {
        int r;

        mutate(w, written(w), &changed);
        if (changed.size == w->text.size && memcmp(changed.at, w->text.at, changed.size) == 0) {
            same++;
            continue;
        }
        r = read_text(w, bytes_of(changed.at, changed.size), &report);
        if (r == 0 && report.whole == changed.size &&
            memcmp(&report.last, &witness, sizeof(witness)) == 0)
            fail_msg("change %d was not found", i);
    }
    assert_true(same < MUTATIONS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_reads_back_and_goes_on, setup, teardown),
        cmocka_unit_test_setup_teardown(a_text_of_a_peer_stays_in_its_line, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_that_a_crash_tore_is_no_part_of_it, setup, teardown),
        cmocka_unit_test_setup_teardown(another_brokers_log_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_head_of_another_namespace_does_not_verify, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(every_change_deletion_truncation_and_fork_is_found, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
