/* SPDX-License-Identifier: Apache-2.0 */
/* Hexadecimal without table look-ups or branches on the digits. */
#include "base/hex.h"

static char digit(unsigned value)
{
    /* 0..9 -> '0'.., 10..15 -> 'a'..: adds 39 exactly when value > 9 */
    return (char)(value + '0' + ((9u - value) >> 8 & 39u));
}

void hex_write(struct bytes bytes, char *to)
{
    for (size_t i = 0; i < bytes.size; i++) {
        to[2 * i] = digit(bytes.at[i] >> 4);
        to[2 * i + 1] = digit(bytes.at[i] & 15);
    }
    to[2 * bytes.size] = '\0';
}

/* All ones when @low <= c <= @high, else zero; c and bounds below 256. */
static unsigned in_range(unsigned c, unsigned low, unsigned high)
{
    return ~(((c - low) | (high - c)) >> 8) & 0xffu;
}

bool hex_parse(struct bytes text, void *to, size_t size)
{
    uint8_t *out = to;
    unsigned bad = 0;

    if (text.size != 2 * size)
        return false;
    for (size_t i = 0; i < size; i++) {
        unsigned value = 0;

        for (size_t k = 0; k < 2; k++) {
            unsigned c = text.at[2 * i + k];
            unsigned is_digit = in_range(c, '0', '9'), is_letter = in_range(c, 'a', 'f');

            bad |= ~(is_digit | is_letter) & 0xffu;
            value = value << 4 | (is_digit & (c - '0')) | (is_letter & (c - 'a' + 10));
        }
        out[i] = (uint8_t)value;
    }
    return bad == 0;
}
