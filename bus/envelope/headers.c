/* SPDX-License-Identifier: Apache-2.0 */
/* Header blocks, read and written. Pure, any thread. */
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "envelope/headers.h"

bool header_key_is_valid(struct bytes key)
{
    if (key.size < 1 || key.size > HEADER_KEY_MAX)
        return false;
    for (size_t i = 0; i < key.size; i++)
        if (key.at[i] < ' ' || key.at[i] > '~' || key.at[i] == '=')
            return false;
    return true;
}

bool header_value_is_valid(struct bytes value)
{
    /* Applications get values as C strings: one with a zero would not arrive as it was sent. */
    return value.size <= HEADER_VALUE_MAX &&
           (value.size == 0 || !memchr(value.at, 0, value.size)) && utf8_is_valid(value);
}

/* One of the bus's own headers, whose value is a number. */
static void write_number(struct writer *to, const char *key, uint64_t number)
{
    char text[24];
    int size = snprintf(text, sizeof(text), "%" PRIu64, number);

    writer_lp8(to, bytes_text(key));
    writer_lp16(to, bytes_of(text, (size_t)size));
}

static bool take_number(struct bytes *block, const char *name, uint64_t *ret_number)
{
    struct header_cursor cursor = header_cursor_over(*block);
    struct bytes key, value;
    uint64_t number = 0;

    if (header_next(&cursor, &key, &value) <= 0 || !bytes_equal_text(key, name) ||
        value.size == 0 || value.size > 19)
        return false;
    for (size_t i = 0; i < value.size; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(value.at[i] - '0');
    }
    *block = reader_rest(&cursor.reader);
    *ret_number = number;
    return true;
}

void header_write_number(struct writer *to, uint64_t number)
{
    write_number(to, HEADER_NUMBER, number);
}

bool header_take_number(struct bytes *block, uint64_t *ret_number)
{
    return take_number(block, HEADER_NUMBER, ret_number);
}

void header_write_value(struct writer *to, uint64_t value)
{
    write_number(to, HEADER_VALUE, value);
}

bool header_take_value(struct bytes *block, uint64_t *ret_value)
{
    return take_number(block, HEADER_VALUE, ret_value);
}

void header_write_once(struct writer *to, uint64_t number)
{
    write_number(to, HEADER_ONCE, number);
}

bool header_take_once(struct bytes *block, uint64_t *ret_number)
{
    return take_number(block, HEADER_ONCE, ret_number);
}

void header_write_receipt(struct writer *to, const struct header_receipt *receipt)
{
    char text[64];
    int size = snprintf(text, sizeof(text), "%c%016" PRIx64 "%016" PRIx64 "%016" PRIx64,
                        receipt->level == RECEIPT_SIGNED ? 's' : 'd', receipt->run, receipt->number,
                        (uint64_t)receipt->until_ms);

    size -= receipt->until_ms > 0 ? 0 : 16;

    writer_lp8(to, bytes_text(HEADER_RECEIPT));
    writer_lp16(to, bytes_of(text, (size_t)size));
}

bool header_take_receipt(struct bytes *block, struct header_receipt *ret_receipt)
{
    struct header_cursor cursor = header_cursor_over(*block);
    struct header_receipt receipt = {0};
    struct bytes key, value;
    uint8_t raw[24] = {0};
    struct reader r = reader_over(bytes_of(raw, sizeof(raw)));
    bool is_stored;

    if (header_next(&cursor, &key, &value) <= 0 || !bytes_equal_text(key, HEADER_RECEIPT))
        return false;
    is_stored = value.size == 1 + 2 * sizeof(raw);
    if ((!is_stored && value.size != 1 + 2 * 16) || (value.at[0] != 'd' && value.at[0] != 's') ||
        !hex_parse(bytes_of(value.at + 1, value.size - 1), raw, (value.size - 1) / 2))
        return false;
    receipt.level = value.at[0] == 's' ? RECEIPT_SIGNED : RECEIPT_DELIVERED;
    receipt.run = reader_u64(&r);
    receipt.number = reader_u64(&r);
    receipt.until_ms = (int64_t)reader_u64(&r);
    if (is_stored && receipt.until_ms <= 0)
        return false;
    *block = reader_rest(&cursor.reader);
    *ret_receipt = receipt;
    return true;
}

void header_write_until(struct writer *to, int64_t until_ms)
{
    write_number(to, HEADER_UNTIL, (uint64_t)MAX(until_ms, (int64_t)0));
}

bool header_take_until(struct bytes *block, int64_t *ret_until_ms)
{
    uint64_t until;

    /* At most 19 digits, but above the largest time there is: no end at all. */
    if (!take_number(block, HEADER_UNTIL, &until))
        return false;
    *ret_until_ms = (int64_t)MIN(until, (uint64_t)INT64_MAX / 2);
    return true;
}

struct header_cursor header_cursor_over(struct bytes block)
{
    return (struct header_cursor){.reader = reader_over(block)};
}

int header_next(struct header_cursor *cursor, struct bytes *ret_key, struct bytes *ret_value)
{
    struct bytes key, value;

    if (reader_done(&cursor->reader))
        return 0;
    if (cursor->count >= HEADERS_MAX)
        return AICO_EFORMAT;
    key = reader_lp8(&cursor->reader);
    value = reader_lp16(&cursor->reader);
    if (cursor->reader.failed || !header_key_is_valid(key) || !header_value_is_valid(value)) {
        cursor->reader.failed = true;
        return AICO_EFORMAT;
    }
    cursor->count++;
    *ret_key = key;
    *ret_value = value;
    return 1;
}

int header_block_check(struct bytes block)
{
    struct header_cursor cursor = header_cursor_over(block);
    struct bytes key, value;
    int r;

    if (block.size > HEADER_BLOCK_MAX)
        return AICO_EFORMAT;
    while ((r = header_next(&cursor, &key, &value)) > 0)
        ;
    return r < 0 ? r : (int)cursor.count;
}

int header_write(struct writer *to, struct bytes key, struct bytes value)
{
    if (!header_key_is_valid(key) || !header_value_is_valid(value))
        return AICO_EINVAL;
    writer_lp8(to, key);
    writer_lp16(to, value);
    return 0;
}
