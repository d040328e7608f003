/* SPDX-License-Identifier: Apache-2.0 */
/* Header blocks and batches: what is written is read back, and nothing else is. */
#include <stdlib.h>

#include "vectors.h"

#include "base/cleanup.h"
#include "envelope/content.h"
#include "envelope/headers.h"

static struct bytes none = {NULL, 0};

static int check_block(const void *at, size_t size)
{
    uint8_t *copy = exact_copy(bytes_of(at, size));
    int r = header_block_check(bytes_of(copy, size));

    free(copy);
    return r;
}

static void headers_come_back_in_their_order(void **state)
{
    static const char *const pairs[][2] = {{"trace id", "42"}, {"a", ""}, {"a", "\xc3\xa9"}};
    uint8_t block[100];
    struct writer w = writer_over(block, sizeof(block));
    struct header_cursor cursor;
    struct bytes key, value;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(pairs); i++)
        assert_int_equal(header_write(&w, bytes_text(pairs[i][0]), bytes_text(pairs[i][1])), 0);
    assert_int_equal(header_block_check(writer_view(&w)), 3);
    cursor = header_cursor_over(writer_view(&w));
    for (size_t i = 0; i < COUNT_OF(pairs); i++) {
        assert_int_equal(header_next(&cursor, &key, &value), 1);
        assert_true(bytes_equal_text(key, pairs[i][0]));
        assert_true(bytes_equal_text(value, pairs[i][1]));
    }
    assert_int_equal(header_next(&cursor, &key, &value), 0);
    for (size_t size = 1; size < w.size; size++) /* cut anywhere but between two */
        assert_int_equal(check_block(block, size), size == 13 ? 1 : size == 17 ? 2 : AICO_EFORMAT);
}

static void a_header_of_the_wrong_form_is_refused(void **state)
{
    static char long_value[HEADER_VALUE_MAX + 1];
    uint8_t storage[5000];
    struct writer w = writer_over(storage, sizeof(storage));
    struct bytes v = bytes_text("v");

    (void)state;
    memset(long_value, 'x', sizeof(long_value));
    assert_int_equal(header_write(&w, none, v), AICO_EINVAL);
    assert_int_equal(header_write(&w, bytes_text("a=b"), v), AICO_EINVAL);
    assert_int_equal(header_write(&w, bytes_text("a\n"), v), AICO_EINVAL);
    assert_int_equal(header_write(&w, bytes_text("\xc3\xa9"), v), AICO_EINVAL);
    assert_int_equal(header_write(&w, bytes_text("\x7f"), v), AICO_EINVAL);
    assert_int_equal(header_write(&w, bytes_of(long_value, HEADER_KEY_MAX + 1), v), AICO_EINVAL);
    assert_int_equal(header_write(&w, v, bytes_of(long_value, HEADER_VALUE_MAX + 1)), AICO_EINVAL);
    assert_int_equal(header_write(&w, v, bytes_text("\xff")), AICO_EINVAL);
    assert_int_equal(header_write(&w, v, bytes_text("\xc0\x80")), AICO_EINVAL);
    assert_int_equal(header_write(&w, v, bytes_of("a\0b", 3)), AICO_EINVAL);
    assert_int_equal(w.size, 0);
    assert_int_equal(header_write(&w, bytes_of(long_value, HEADER_KEY_MAX),
                                  bytes_of(long_value, HEADER_VALUE_MAX)),
                     0);
    assert_int_equal(header_block_check(writer_view(&w)), 1);

    assert_int_equal(check_block("", 0), 0);
    assert_int_equal(check_block("\0\0\0", 3), AICO_EFORMAT); /* empty key */
    assert_int_equal(check_block("\1=\0\0", 4), AICO_EFORMAT);
    assert_int_equal(check_block("\1a\0\1\xff", 5), AICO_EFORMAT);
    assert_int_equal(check_block("\1a\0\1\0", 5), AICO_EFORMAT);
    assert_int_equal(check_block("\1a\0\0\0", 5), AICO_EFORMAT); /* a byte behind the last */
}

static void at_most_64_headers_are_read(void **state)
{
    uint8_t block[300];
    struct writer w = writer_over(block, sizeof(block));

    (void)state;
    for (int i = 1; i <= HEADERS_MAX; i++) {
        assert_int_equal(header_write(&w, bytes_text("k"), none), 0);
        assert_int_equal(header_block_check(writer_view(&w)), i);
    }
    assert_int_equal(header_write(&w, bytes_text("k"), none), 0);
    assert_int_equal(header_block_check(writer_view(&w)), AICO_EFORMAT);
}

static void the_bus_takes_its_own_headers_off_the_front(void **state)
{
    uint8_t block[200];
    struct writer w = writer_over(block, sizeof(block));
    struct bytes rest;
    uint64_t number = 0;
    int64_t until_ms = 0;

    (void)state;
    header_write_number(&w, 7);
    header_write_until(&w, 1763668800000);
    assert_true(w.size <= HEADER_NUMBER_SIZE_MAX + HEADER_UNTIL_SIZE_MAX);
    assert_int_equal(header_write(&w, bytes_text("k"), bytes_text("v")), 0);
    rest = writer_view(&w);
    assert_false(header_take_until(&rest, &until_ms)); /* it is not first */
    assert_true(header_take_number(&rest, &number));
    assert_int_equal(number, 7);
    assert_true(header_take_until(&rest, &until_ms));
    assert_true(until_ms == 1763668800000);
    assert_int_equal(rest.size, 5);
    assert_false(header_take_until(&rest, &until_ms));
    w = writer_over(block, sizeof(block));
    assert_int_equal(header_write(&w, bytes_text("$until"), bytes_text("9999999999999999999")), 0);
    rest = writer_view(&w);
    assert_true(header_take_until(&rest, &until_ms));
    assert_true(until_ms > 0 && until_ms <= INT64_MAX / 2);
}

static void what_is_no_receipt_of_ours_stays_where_it_is(void **state UNUSED)
{
    static const char *const odd[] = {"",
                                      "d",
                                      "x00000000000000010000000000000002",
                                      "d0000000000000001000000000000000",
                                      "d000000000000000100000000000000020",
                                      "D00000000000000010000000000000002",
                                      "d000000000000000100000000000000020000000000000000",
                                      "d00000000000000010000000000000002ffffffffffffffff",
                                      "d0000000000000001000000000000000200000000000001",
                                      "d0000000000000001000000000000000G"};
    const struct header_receipt asked = {RECEIPT_SIGNED, UINT64_MAX, 7, INT64_MAX};
    const struct header_receipt live = {RECEIPT_DELIVERED, 1, 2, 0};
    struct header_receipt got = {0};
    uint8_t block[200];
    struct writer w = writer_over(block, sizeof(block));
    struct bytes rest;

    header_write_receipt(&w, &asked);
    assert_int_equal(w.size, HEADER_RECEIPT_SIZE_MAX);
    header_write_until(&w, 5);
    rest = writer_view(&w);
    assert_true(header_take_receipt(&rest, &got));
    assert_true(got.level == asked.level && got.run == asked.run && got.number == asked.number);
    assert_int_equal(got.until_ms, INT64_MAX);
    assert_false(header_take_receipt(&rest, &got));
    w = writer_over(block, sizeof(block));
    header_write_receipt(&w, &live); /* as it always was */
    assert_int_equal(w.size, HEADER_RECEIPT_SIZE_MAX - 16);
    rest = writer_view(&w);
    assert_true(header_take_receipt(&rest, &got));
    assert_int_equal(got.until_ms, 0);
    for (size_t i = 0; i < COUNT_OF(odd); i++) {
        w = writer_over(block, sizeof(block));
        assert_int_equal(header_write(&w, bytes_text("$receipt"), bytes_text(odd[i])), 0);
        rest = writer_view(&w);
        assert_false(header_take_receipt(&rest, &got));
        assert_int_equal(rest.size, w.size);
    }
}

static int split(const void *at, size_t size, bool flag)
{
    uint8_t *copy = exact_copy(bytes_of(at, size));
    struct bytes headers, payload;
    int r = content_split(bytes_of(copy, size), flag, &headers, &payload);

    if (r == 0)
        assert_int_equal(headers.size + payload.size + (flag ? 2 : 0), size);
    free(copy);
    return r;
}

static void content_is_split_as_the_flag_says(void **state)
{
    struct bytes headers, payload;

    (void)state;
    assert_int_equal(content_split(bytes_of("\0\4\1a\0\0xyz", 9), true, &headers, &payload), 0);
    assert_int_equal(headers.size, 4);
    assert_true(bytes_equal_text(payload, "xyz"));
    assert_int_equal(content_split(bytes_text("xyz"), false, &headers, &payload), 0);
    assert_int_equal(headers.size, 0);
    assert_true(bytes_equal_text(payload, "xyz"));
    assert_int_equal(split("", 0, false), 0);
    assert_int_equal(split("", 0, true), AICO_EFORMAT);
    assert_int_equal(split("\0", 1, true), AICO_EFORMAT);
    assert_int_equal(split("\0\0", 2, true), 0);
    assert_int_equal(split("\0\4\1a\0", 5, true), AICO_EFORMAT);
    assert_int_equal(split("\0\4\1=\0\0", 6, true), AICO_EFORMAT);
}

static void a_batch_gives_back_its_messages(void **state)
{
    static const char *const texts[] = {"one", "", "three"};
    uint8_t storage[100];
    size_t count;

    (void)state;
    for (int flag = 0; flag < 2; flag++) {
        struct bytes block = flag ? bytes_of("\1k\0\1v", 5) : none, content, headers, payload;
        struct writer w = writer_over(storage, sizeof(storage));
        struct content_cursor cursor;

        for (size_t i = 0; i < COUNT_OF(texts); i++) {
            size_t before = w.size;

            assert_int_equal(content_batch_add(&w, flag, block, bytes_text(texts[i]), 100), 0);
            assert_int_equal(w.size - before,
                             content_batch_item_size(flag, block.size, strlen(texts[i])));
        }
        assert_int_equal(content_batch_check(writer_view(&w), flag, &count), 0);
        assert_int_equal(count, 3);
        cursor = content_cursor_over(writer_view(&w));
        for (size_t i = 0; i < COUNT_OF(texts); i++) {
            assert_int_equal(content_next(&cursor, &content), 1);
            assert_int_equal(content_split(content, flag, &headers, &payload), 0);
            assert_true(bytes_equal(headers, block));
            assert_true(bytes_equal_text(payload, texts[i]));
        }
        assert_int_equal(content_next(&cursor, &content), 0);
    }
}

static void a_batch_that_is_cut_or_empty_is_refused(void **state)
{
    struct bytes batch = bytes_of("\0\0\0\3one\0\0\0\0\0\0\0\5three", 20), headers;
    size_t count;

    (void)state;
    for (size_t size = 0; size <= batch.size; size++) {
        uint8_t *copy = exact_copy(bytes_of(batch.at, size));
        bool whole = size == 7 || size == 11 || size == 20;

        assert_int_equal(content_batch_check(bytes_of(copy, size), false, &count),
                         whole ? 0 : AICO_EFORMAT);
        free(copy);
    }
    assert_int_equal(content_batch_check(batch, true, &headers.size), AICO_EFORMAT);
    assert_int_equal(content_batch_check(bytes_of("\xff\xff\xff\xff", 4), false, &count),
                     AICO_EFORMAT);
}

static void a_message_too_large_for_the_bus_or_the_room_is_not_added(void **state)
{
    uint8_t storage[12];
    struct writer w = writer_over(storage, sizeof(storage));

    (void)state;
    assert_int_equal(content_batch_add(&w, false, none, bytes_text("12345"), 4), AICO_ETOOLARGE);
    assert_int_equal(content_batch_add(&w, true, none, bytes_text("12345"), 6), AICO_ETOOLARGE);
    assert_int_equal(content_batch_add(&w, false, bytes_text("x"), none, 6), AICO_EFORMAT);
    assert_int_equal(content_batch_add(&w, false, none, bytes_text("123456789"), 10), AICO_ESIZE);
    assert_int_equal(w.size, 0);
    assert_int_equal(content_batch_add(&w, false, none, bytes_text("12345678"), 8), 0);
    assert_false(w.failed);
    assert_int_equal(content_batch_add(&w, false, none, none, 8), AICO_ESIZE);
    assert_int_equal(w.size, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_come_back_in_their_order),
        cmocka_unit_test(a_header_of_the_wrong_form_is_refused),
        cmocka_unit_test(at_most_64_headers_are_read),
        cmocka_unit_test(the_bus_takes_its_own_headers_off_the_front),
        cmocka_unit_test(what_is_no_receipt_of_ours_stays_where_it_is),
        cmocka_unit_test(content_is_split_as_the_flag_says),
        cmocka_unit_test(a_batch_gives_back_its_messages),
        cmocka_unit_test(a_batch_that_is_cut_or_empty_is_refused),
        cmocka_unit_test(a_message_too_large_for_the_bus_or_the_room_is_not_added),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
