/* SPDX-License-Identifier: Apache-2.0 */
/* Text for people: parsing of small values, escaping, base64. */
#include "common/text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Digits and one of @units: false on anything else or when the product passes @max. */
static bool number_with_unit(const char *text, const struct unit *units, uint64_t max,
                             uint64_t *ret)
{
    uint64_t value = 0;
    const char *at = text;

    for (; *at >= '0' && *at <= '9'; at++) {
        if (value > (UINT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(*at - '0');
    }
    if (at == text)
        return false;

    for (; units->name; units++) {
        if (strcmp(at, units->name) != 0)
            continue;
        if (value > max / units->factor)
            return false;
        *ret = value * units->factor;
        return true;
    }
    return false;
}

bool text_duration(const char *text, int64_t *ret_ms)
{
    static const struct unit units[] = {{"ms", 1},          {"s", 1000},     {"m", 60000},
                                        {"h", 3600 * 1000}, {"d", 86400000}, {NULL, 0}};
    uint64_t ms;

    if (!number_with_unit(text, units, INT64_MAX / 4, &ms))
        return false;
    *ret_ms = (int64_t)ms;
    return true;
}

bool text_moment(const char *text, int64_t *ret_ms)
{
    struct tm time = {0};
    struct timespec now = {0};
    int64_t ago_ms;
    const char *end;

    if (text_duration(text, &ago_ms)) {
        (void)clock_gettime(CLOCK_REALTIME, &now);
        *ret_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 - ago_ms;
        return *ret_ms >= 0;
    }
    end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &time);
    if (!end || *end)
        return false;
    *ret_ms = (int64_t)timegm(&time) * 1000;
    return *ret_ms >= 0;
}

bool text_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    static const struct unit units[] = {{"", 1}, {NULL, 0}};
    uint64_t value;

    if (!number_with_unit(text, units, max, &value) || value < min)
        return false;
    *ret = value;
    return true;
}

bool text_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    static const struct unit units[] = {{"", 1},
                                        {"k", 1024},
                                        {"K", 1024},
                                        {"KiB", 1024},
                                        {"M", 1024 * 1024},
                                        {"MiB", 1024 * 1024},
                                        {"G", 1024 * 1024 * 1024},
                                        {"GiB", 1024 * 1024 * 1024},
                                        {NULL, 0}};
    uint64_t value;

    if (!number_with_unit(text, units, max, &value) || value < min)
        return false;
    *ret = value;
    return true;
}

/* Size of the UTF-8 character at @at and its code point; 0 when it is malformed. */
static size_t utf8_next(const uint8_t *at, size_t left, uint32_t *ret_point)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t point;
    size_t size;

    if (at[0] < 0x80) {
        *ret_point = at[0];
        return 1;
    }
    if (at[0] >= 0xc2 && at[0] <= 0xdf) {
        size = 2;
        point = at[0] & 0x1fu;
    } else if ((at[0] & 0xf0) == 0xe0) {
        size = 3;
        point = at[0] & 0x0fu;
    } else if (at[0] >= 0xf0 && at[0] <= 0xf4) {
        size = 4;
        point = at[0] & 0x07u;
    } else {
        return 0;
    }
    if (size > left)
        return 0;
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (at[i] & 0x3fu);
    }
    if (point < smallest[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff))
        return 0;

    *ret_point = point;
    return size;
}

bool text_is_utf8(const void *at, size_t size)
{
    const uint8_t *bytes = at;
    uint32_t point;

    for (size_t i = 0; i < size;) {
        size_t step = utf8_next(bytes + i, size - i, &point);

        if (step == 0 || point == 0)
            return false;
        i += step;
    }
    return true;
}

/* C0, DEL, C1, line separators, and the characters that turn or hide what follows. */
static bool is_dangerous(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x200e || point == 0x200f ||
           point == 0x061c || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

static void write_replacement(FILE *to, uint32_t point, bool is_byte)
{
    if (point == '\n')
        (void)fputs("\\n", to);
    else if (point == '\t')
        (void)fputs("\\t", to);
    else if (point == '\r')
        (void)fputs("\\r", to);
    else if (is_byte || point < 0x80)
        (void)fprintf(to, "\\x%02x", (unsigned)point);
    else
        (void)fprintf(to, "\\u{%x}", (unsigned)point);
}

void text_write_escaped(FILE *to, const void *at, size_t size)
{
    const uint8_t *bytes = at;
    size_t clean = 0; /* bytes [clean, i) need no escape and are not written yet */
    uint32_t point;

    for (size_t i = 0; i < size;) {
        size_t step = utf8_next(bytes + i, size - i, &point);

        if (step > 0 && !is_dangerous(point)) {
            i += step;
            continue;
        }
        if (i > clean)
            (void)fwrite(bytes + clean, 1, i - clean, to);
        write_replacement(to, step > 0 ? point : bytes[i], step == 0);
        i += step > 0 ? step : 1;
        clean = i;
    }
    if (size > clean)
        (void)fwrite(bytes + clean, 1, size - clean, to);
}

char *text_base64(const void *at, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *bytes = at;
    char *text = malloc((size + 2) / 3 * 4 + 1);
    char *to = text;

    if (!text)
        return NULL;

    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        uint32_t group = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0);

        *to++ = digits[group >> 18];
        *to++ = digits[group >> 12 & 63];
        *to++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *to++ = left > 2 ? digits[group & 63] : '=';
    }
    *to = '\0';
    return text;
}
