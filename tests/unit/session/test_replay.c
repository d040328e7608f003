/* SPDX-License-Identifier: Apache-2.0 */
/* Replay windows, the gaps they name and epoch chains, each against a naive model. */
#include "world.h"

#include "session/chain.h"
#include "session/replay.h"

#define SEEN_MAX 5000

/* What was reported missing. */
static struct {
    uint64_t first[SEEN_MAX], last[SEEN_MAX];
    size_t count;
} gaps;

static void note_gap(void *context UNUSED, uint64_t first, uint64_t last)
{
    assert_true(gaps.count < SEEN_MAX);
    assert_true(first <= last);
    gaps.first[gaps.count] = first;
    gaps.last[gaps.count++] = last;
}

static const struct gap_sink sink = {note_gap, NULL};

static struct replay replay_from_zero(bool strict)
{
    struct replay r;

    gaps.count = 0;
    replay_init(&r, strict);
    replay_start(&r, 0);
    return r;
}

static int take(struct replay *r, uint32_t sequence)
{
    int code = replay_check(r, sequence);

    if (code == 0)
        replay_move(r, sequence, &sink);
    return code;
}

static void assert_gap(size_t index, uint64_t first, uint64_t last)
{
    assert_true(index < gaps.count);
    assert_int_equal(gaps.first[index], first);
    assert_int_equal(gaps.last[index], last);
}

static void strict_takes_each_number_once_and_in_order(void **state UNUSED)
{
    struct replay r = replay_from_zero(true);

    assert_int_equal(take(&r, 0), 0);
    assert_int_equal(take(&r, 0), AICO_EREPLAY);
    assert_int_equal(take(&r, 4), 0);
    assert_gap(0, 1, 3);
    assert_int_equal(take(&r, 2), AICO_EREPLAY);
    assert_int_equal(take(&r, 5), 0);
    assert_int_equal(gaps.count, 1);
}

static void window_1023_back_once_1024_back_never(void **state UNUSED)
{
    struct replay r = replay_from_zero(false);

    assert_int_equal(take(&r, 0), 0);
    assert_int_equal(take(&r, 2000), 0);
    assert_int_equal(take(&r, 2000 - 1024), AICO_EREPLAY);
    assert_int_equal(take(&r, 2000 - 1023), 0);
    assert_int_equal(take(&r, 2000 - 1023), AICO_EREPLAY);
    assert_int_equal(gaps.count, 1);
    assert_gap(0, 1, 976);
}

static void a_number_at_the_end_of_the_range_is_like_any_other(void **state UNUSED)
{
    for (int strict = 0; strict < 2; strict++) {
        struct replay r = replay_from_zero(strict != 0);

        assert_int_equal(take(&r, UINT32_MAX), 0);
        assert_int_equal(take(&r, UINT32_MAX), AICO_EREPLAY);
        assert_int_equal(gaps.count, 1);
        assert_int_equal(gaps.first[0], 0);
    }
}

static void an_announcement_names_the_tail(void **state UNUSED)
{
    struct replay strict = replay_from_zero(true), window;

    assert_int_equal(take(&strict, 0), 0);
    replay_announce(&strict, 3, &sink);
    assert_gap(0, 1, 2);
    assert_int_equal(take(&strict, 2), AICO_EREPLAY);
    assert_int_equal(take(&strict, 3), 0);
    assert_int_equal(gaps.count, 1);

    /* A window waits for the announcement after, since its numbers may still be on the way. */
    window = replay_from_zero(false);
    assert_int_equal(take(&window, 0), 0);
    replay_announce(&window, 4, &sink);
    assert_int_equal(gaps.count, 0);
    assert_int_equal(take(&window, 2), 0);
    replay_announce(&window, 4, &sink);
    assert_int_equal(gaps.count, 2);
    assert_gap(0, 1, 1);
    assert_gap(1, 3, 3);
    assert_int_equal(take(&window, 1), AICO_EREPLAY);
}

static void the_end_names_everything_missing(void **state UNUSED)
{
    struct replay r = replay_from_zero(false);

    assert_int_equal(take(&r, 1), 0);
    replay_finish(&r, 4, &sink);
    assert_int_equal(gaps.count, 2);
    assert_gap(0, 0, 0);
    assert_gap(1, 2, 3);
}

static void what_was_not_listened_to_is_not_missing(void **state UNUSED)
{
    for (int strict = 0; strict < 2; strict++) {
        struct replay r = replay_from_zero(strict != 0);

        assert_int_equal(take(&r, 0), 0);
        replay_skip(&r, 50);
        assert_int_equal(take(&r, 50), 0);
        assert_int_equal(take(&r, 3), AICO_EREPLAY);
        replay_announce(&r, 51, &sink);
        replay_announce(&r, 51, &sink);
        assert_int_equal(gaps.count, 0);
    }
}

/* Whatever arrives in whatever order: every number is delivered once or reported once. */
static void every_number_is_delivered_or_reported_exactly_once(void **state UNUSED)
{
    for (uint64_t seed = 1; seed <= 300; seed++) {
        struct dice dice = {seed};
        bool strict = seed % 2 == 0;
        struct replay r = replay_from_zero(strict);
        uint8_t fate[3000] = {0};
        uint32_t top = 0;
        size_t reported = 0;

        while (top < 2500) {
            uint32_t n = top;

            switch (dice_below(&dice, 8)) {
            case 0:
                n = top + (uint32_t)dice_below(&dice, seed % 5 == 0 ? 1500 : 6);
                break;
            case 1:
            case 2:
                n = top - (uint32_t)dice_below(&dice, MIN(top + 1, 1200u));
                break;
            case 3:
                replay_announce(&r, top, &sink);
                break;
            default:
                break;
            }
            n = MIN(n, 2999u);
            if (take(&r, n) == 0) {
                if (fate[n]++)
                    fail_msg("seed %lu: %u twice", (unsigned long)seed, n);
                top = MAX(top, n + 1);
            }
            for (; reported < gaps.count; reported++)
                for (uint64_t m = gaps.first[reported]; m <= gaps.last[reported]; m++)
                    if (fate[m]++)
                        fail_msg("seed %lu: %lu reported too", (unsigned long)seed,
                                 (unsigned long)m);
        }
        replay_finish(&r, top, &sink);
        for (; reported < gaps.count; reported++)
            for (uint64_t m = gaps.first[reported]; m <= gaps.last[reported]; m++)
                fate[m]++;
        for (uint32_t n = 0; n < top; n++)
            if (fate[n] != 1)
                fail_msg("seed %lu: %u has %u fates", (unsigned long)seed, n, fate[n]);
    }
}

/* --- chains -------------------------------------------------------------------------------------
 */

static const struct secret first_key = {{1, 2, 3}};

static struct secret key_of_epoch(uint32_t epoch)
{
    struct secret key = first_key;

    while (epoch-- > 0)
        kdf(&key, "channel step", bytes_of(NULL, 0), &key);
    return key;
}

static void both_ends_step_to_the_same_keys(void **state UNUSED)
{
    struct chain_sender sender;
    struct chain_receiver receiver;
    struct chain_key found;

    chain_sender_init(&sender, "channel step", &first_key);
    chain_receiver_init(&receiver, "channel step", &first_key, 0, false);
    for (uint32_t epoch = 1; epoch < 20; epoch++) {
        chain_sender_step(&sender);
        assert_int_equal(sender.epoch, epoch);
        assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS), epoch, &found), 0);
        assert_memory_equal(found.key.at, sender.key.at, SECRET_SIZE);
    }
    assert_int_equal(receiver.epoch, 0);
    chain_receiver_move(&receiver, &found, moment_at(START_MS), 30000);
    assert_int_equal(receiver.epoch, 19);
    assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS), 18, &found),
                     AICO_EEPOCHBACK);
}

static void a_jump_over_1024_is_refused(void **state UNUSED)
{
    struct chain_receiver receiver;
    struct chain_key found;
    struct secret key = key_of_epoch(1024);

    chain_receiver_init(&receiver, "channel step", &first_key, 0, false);
    assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS), 1025, &found),
                     AICO_EEPOCHJUMP);
    assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS), UINT32_MAX, &found),
                     AICO_EEPOCHJUMP);
    assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS), 1024, &found), 0);
    assert_memory_equal(found.key.at, key.at, SECRET_SIZE);
}

static void a_window_keeps_the_last_two_epochs_for_a_while(void **state UNUSED)
{
    struct chain_receiver receiver;
    struct chain_key found;
    struct secret key;

    chain_receiver_init(&receiver, "channel step", &first_key, 0, true);
    assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS), 5, &found), 0);
    chain_receiver_move(&receiver, &found, moment_at(START_MS), 30000);
    for (uint32_t epoch = 3; epoch <= 4; epoch++) {
        key = key_of_epoch(epoch);
        assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS + 29999), epoch, &found),
                         0);
        assert_memory_equal(found.key.at, key.at, SECRET_SIZE);
        assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS + 30000), epoch, &found),
                         AICO_EEPOCHBACK);
    }
    assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS), 2, &found),
                     AICO_EEPOCHBACK);
    (void)chain_receiver_tick(&receiver, moment_at(START_MS + 30000), 60000, 30000, false);
    key = key_of_epoch(4);
    assert_null(memmem(&receiver, sizeof(receiver), key.at, SECRET_SIZE));
}

static void an_idle_reader_steps_once(void **state UNUSED)
{
    struct chain_receiver receiver;
    struct chain_key found;

    chain_receiver_init(&receiver, "channel step", &first_key, 0, false);
    /* Nothing opened yet: it does not. */
    assert_false(chain_receiver_tick(&receiver, moment_at(START_MS + 900000), 60000, 30000, false));
    assert_int_equal(chain_receiver_find(&receiver, moment_at(START_MS), 0, &found), 0);
    chain_receiver_move(&receiver, &found, moment_at(START_MS), 30000);
    assert_int_equal(chain_receiver_deadline(&receiver, 60000, false),
                     moment_at(START_MS + 90000).boot_ms);
    assert_int_equal(chain_receiver_deadline(&receiver, 60000, true), MOMENT_NEVER);
    assert_false(chain_receiver_tick(&receiver, moment_at(START_MS + 89999), 60000, 30000, false));
    assert_false(chain_receiver_tick(&receiver, moment_at(START_MS + 95000), 60000, 30000, true));
    assert_true(chain_receiver_tick(&receiver, moment_at(START_MS + 90000), 60000, 30000, false));
    assert_false(chain_receiver_tick(&receiver, moment_at(START_MS + 990000), 60000, 30000, false));
    assert_int_equal(receiver.epoch, 1);
    assert_null(memmem(&receiver, sizeof(receiver), first_key.at, SECRET_SIZE));
}

static void an_epoch_ends_by_count_or_time_but_only_if_used(void **state UNUSED)
{
    struct chain_sender sender;

    chain_sender_init(&sender, "channel step", &first_key);
    assert_false(chain_sender_is_due(&sender, moment_at(START_MS + 1000000), 60000));
    chain_sender_count(&sender, moment_at(START_MS));
    assert_false(chain_sender_is_due(&sender, moment_at(START_MS + 59999), 60000));
    assert_true(chain_sender_is_due(&sender, moment_at(START_MS + 60000), 60000));
    for (int i = 1; i < CHAIN_ENVELOPES_MAX; i++) {
        assert_false(chain_sender_is_due(&sender, moment_at(START_MS), 60000));
        chain_sender_count(&sender, moment_at(START_MS));
    }
    assert_true(chain_sender_is_due(&sender, moment_at(START_MS), 60000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_takes_each_number_once_and_in_order),
        cmocka_unit_test(window_1023_back_once_1024_back_never),
        cmocka_unit_test(a_number_at_the_end_of_the_range_is_like_any_other),
        cmocka_unit_test(an_announcement_names_the_tail),
        cmocka_unit_test(the_end_names_everything_missing),
        cmocka_unit_test(what_was_not_listened_to_is_not_missing),
        cmocka_unit_test(every_number_is_delivered_or_reported_exactly_once),
        cmocka_unit_test(both_ends_step_to_the_same_keys),
        cmocka_unit_test(a_jump_over_1024_is_refused),
        cmocka_unit_test(a_window_keeps_the_last_two_epochs_for_a_while),
        cmocka_unit_test(an_idle_reader_steps_once),
        cmocka_unit_test(an_epoch_ends_by_count_or_time_but_only_if_used),
    };

    return cmocka_run_group_tests_name("session/replay", tests, NULL, NULL);
}
