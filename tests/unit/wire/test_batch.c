/* SPDX-License-Identifier: Apache-2.0 */
/* Frames: when records share one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "wire/batch.h"

static uint8_t *storage;
static uint8_t record[FRAME_SIZE_MAX];

static void an_empty_batch_is_a_frame_without_records(void **state)
{
    struct batch batch;
    struct reader r;
    struct record out;

    (void)state;
    batch_begin(&batch, storage);
    assert_true(batch_is_empty(&batch));
    assert_int_equal(batch_frame(&batch).size, 1);
    assert_int_equal(frame_open(batch_frame(&batch), &r), 0);
    assert_int_equal(frame_next(&r, &out), 0);
}

static void several_records_close_the_frame_at_the_batch_size(void **state)
{
    struct batch batch;
    size_t count = 0;

    (void)state;
    batch_begin(&batch, storage);
    while (batch_add(&batch, bytes_of(record, 1000)))
        count++;
    assert_int_equal(count, (FRAME_BATCH_SIZE - 1) / 1000);
    assert_true(batch_frame(&batch).size <= FRAME_BATCH_SIZE);
    assert_int_equal(batch.count, count);
}

static void one_large_record_may_fill_the_largest_frame(void **state)
{
    struct batch batch;

    (void)state;
    batch_begin(&batch, storage);
    assert_true(batch_add(&batch, bytes_of(record, FRAME_SIZE_MAX - 1)));
    assert_int_equal(batch_frame(&batch).size, FRAME_SIZE_MAX);
    assert_false(batch_add(&batch, bytes_of(record, 1)));
    assert_int_equal(batch_frame(&batch).size, FRAME_SIZE_MAX);
}

static void a_record_no_frame_can_hold_is_refused(void **state)
{
    struct batch batch;

    (void)state;
    batch_begin(&batch, storage);
    assert_false(batch_add(&batch, bytes_of(record, FRAME_SIZE_MAX)));
    assert_true(batch_is_empty(&batch));
}

static void a_large_record_behind_a_small_one_waits_for_the_next_frame(void **state)
{
    struct batch batch;

    (void)state;
    batch_begin(&batch, storage);
    assert_true(batch_add(&batch, bytes_of(record, 10000)));
    assert_false(batch_add(&batch, bytes_of(record, FRAGMENT_SIZE_MAX)));
    assert_int_equal(batch_frame(&batch).size, 10001);
}

static int make_storage(void **state)
{
    (void)state;
    storage = malloc(FRAME_SIZE_MAX);
    return storage ? 0 : -1;
}

static int free_storage(void **state)
{
    (void)state;
    free(storage);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_batch_is_a_frame_without_records),
        cmocka_unit_test(several_records_close_the_frame_at_the_batch_size),
        cmocka_unit_test(one_large_record_may_fill_the_largest_frame),
        cmocka_unit_test(a_record_no_frame_can_hold_is_refused),
        cmocka_unit_test(a_large_record_behind_a_small_one_waits_for_the_next_frame),
    };

    return cmocka_run_group_tests(tests, make_storage, free_storage);
}
