/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8, read and written one character at a time. Pure, any thread. */
#include "base/utf8.h"

size_t utf8_next(struct bytes text, uint32_t *ret_code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t code;
    size_t size;

    if (text.size == 0)
        return 0;
    code = text.at[0];
    size = code < 0x80   ? 1
           : code < 0xc2 ? 0
           : code < 0xe0 ? 2
           : code < 0xf0 ? 3
           : code < 0xf5 ? 4
                         : 0;
    if (size == 0 || size > text.size)
        return 0;
    if (size > 1)
        code &= 0x7fu >> size;
    for (size_t i = 1; i < size; i++) {
        if ((text.at[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (text.at[i] & 0x3f);
    }
    if (code < smallest[size] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
        return 0;
    if (ret_code)
        *ret_code = code;
    return size;
}

bool utf8_is_valid(struct bytes text)
{
    while (text.size > 0) {
        size_t size = utf8_next(text, NULL);

        if (size == 0)
            return false;
        text.at += size;
        text.size -= size;
    }
    return true;
}

size_t utf8_write(uint32_t code, uint8_t to[4])
{
    static const uint8_t first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    size_t size = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;

    if (size == 1) {
        to[0] = (uint8_t)code;
        return 1;
    }
    for (size_t i = size - 1; i > 0; i--) {
        to[i] = (uint8_t)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    to[0] = (uint8_t)(first[size] | code);
    return size;
}
