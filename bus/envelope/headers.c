/* SPDX-License-Identifier: Apache-2.0 */
/* Header blocks, read and written. Pure, any thread. */
#include <inttypes.h>
#include <stdio.h>

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

void header_write_number(struct writer *to, uint64_t number)
{
    char text[24];
    int size = snprintf(text, sizeof(text), "%" PRIu64, number);

    writer_lp8(to, bytes_text(HEADER_NUMBER));
    writer_lp16(to, bytes_of(text, (size_t)size));
}

bool header_take_number(struct bytes *block, uint64_t *ret_number)
{
    struct header_cursor cursor = header_cursor_over(*block);
    struct bytes key, value;
    uint64_t number = 0;

    if (header_next(&cursor, &key, &value) <= 0 || !bytes_equal_text(key, HEADER_NUMBER) ||
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
