/* SPDX-License-Identifier: Apache-2.0 */
/* The writer never steps outside its storage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include "base/writer.h"

static void what_is_written_is_big_endian(void **state)
{
    uint8_t room[18];
    struct writer w = writer_over(room, sizeof(room));

    (void)state;
    writer_u8(&w, 1);
    writer_u16(&w, 0x0203);
    writer_u32(&w, 0x04050607);
    writer_u64(&w, 0x08090a0b0c0d0e0fu);
    writer_lp8(&w, bytes_text("ab"));
    assert_false(w.failed);
    assert_memory_equal(room, "\1\2\3\4\5\6\7\x8\x9\xa\xb\xc\xd\xe\xf\2ab", 18);
    assert_int_equal(writer_view(&w).size, 18);
}

static void a_write_past_the_end_writes_nothing_and_fails_for_good(void **state)
{
    uint8_t *room = malloc(3);
    struct writer w = writer_over(room, 3);

    (void)state;
    assert_non_null(room);
    writer_u16(&w, 0xffff);
    writer_u16(&w, 0xffff);
    assert_true(w.failed);
    assert_int_equal(w.size, 2);
    writer_u8(&w, 1);
    assert_int_equal(w.size, 2);
    assert_null(writer_reserve(&w, 0));
    free(room);
}

static void a_text_too_long_for_its_length_fails(void **state)
{
    uint8_t *room = calloc(1, 70000);
    struct writer w = writer_over(room, 70000);

    (void)state;
    assert_non_null(room);
    writer_lp8(&w, bytes_of(room, 256));
    assert_true(w.failed);
    w = writer_over(room, 70000);
    writer_lp16(&w, bytes_of(room, 65536));
    assert_true(w.failed);
    free(room);
}

static void nothing_and_zeros_may_be_written(void **state)
{
    uint8_t room[4] = {9, 9, 9, 9};
    struct writer w = writer_over(room, sizeof(room));

    (void)state;
    writer_bytes(&w, bytes_of(NULL, 0));
    writer_zeros(&w, 3);
    assert_int_equal(w.size, 3);
    assert_memory_equal(room, "\0\0\0\x9", 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_big_endian),
        cmocka_unit_test(a_write_past_the_end_writes_nothing_and_fails_for_good),
        cmocka_unit_test(a_text_too_long_for_its_length_fails),
        cmocka_unit_test(nothing_and_zeros_may_be_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
