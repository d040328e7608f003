/* SPDX-License-Identifier: Apache-2.0 */
/* Steps through documents of `WORD REST\n` lines. */
#include <stdlib.h>
#include <time.h>

#include <aico/error.h>

#include "base/hex.h"
#include "trust/lines.h"

bool line_is(struct lines *lines, const char *word, struct bytes *ret_value)
{
    size_t word_size = strlen(word);
    const uint8_t *end =
        lines->rest.size > 0 ? memchr(lines->rest.at, '\n', lines->rest.size) : NULL;
    size_t size = end ? (size_t)(end - lines->rest.at) : 0;

    lines->number++;
    if (!end || size < word_size + 2 || memcmp(lines->rest.at, word, word_size) != 0 ||
        lines->rest.at[word_size] != ' ')
        return false;
    *ret_value = bytes_of(lines->rest.at + word_size + 1, size - word_size - 1);
    lines->rest = bytes_of(end + 1, lines->rest.size - size - 1);
    return true;
}

bool lines_decimal(struct bytes text, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (text.size == 0 || text.size > 19 || (text.size > 1 && text.at[0] == '0'))
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(text.at[i] - '0');
    }
    *ret_value = value;
    return value <= max;
}

struct bytes lines_word(struct bytes *text)
{
    const uint8_t *space = text->size > 0 ? memchr(text->at, ' ', text->size) : NULL;
    struct bytes word = *text;

    if (!space) {
        *text = bytes_of(NULL, 0);
        return word;
    }
    word.size = (size_t)(space - text->at);
    *text = bytes_of(space + 1, text->size - word.size - 1);
    return word;
}

int64_t lines_time(struct bytes text)
{
    static const char form[] = "dddd-dd-ddTdd:dd:ddZ";
    char copy[TIME_TEXT_SIZE], again[TIME_TEXT_SIZE];
    struct tm tm = {0};
    int64_t ms;

    if (text.size != sizeof(form) - 1)
        return -1;
    for (size_t i = 0; i < text.size; i++)
        if (form[i] == 'd' ? text.at[i] < '0' || text.at[i] > '9' : text.at[i] != (uint8_t)form[i])
            return -1;
    bytes_copy(copy, text);
    copy[text.size] = '\0';
    if (!strptime(copy, "%Y-%m-%dT%H:%M:%SZ", &tm))
        return -1;
    ms = (int64_t)timegm(&tm) * 1000;
    /* February 30 is no date: what is read must be what is written. */
    return ms >= 0 && time_write(ms, again) == 0 && strcmp(copy, again) == 0 ? ms : -1;
}

int time_write(int64_t ms, char to[TIME_TEXT_SIZE])
{
    time_t seconds = (time_t)(ms / 1000);
    char text[64];
    struct tm tm;

    if (ms < 0 || !gmtime_r(&seconds, &tm) ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) != TIME_TEXT_SIZE - 1)
        return AICO_EINVAL;
    memcpy(to, text, TIME_TEXT_SIZE);
    return 0;
}

int put_hex_line(struct buffer *to, const char *word, const void *at, size_t size)
{
    uint8_t *hex;
    int r = buffer_printf(to, "%s ", word);

    if (r < 0)
        return r;
    hex = buffer_reserve(to, 2 * size + 1);
    if (!hex)
        return AICO_ENOMEM;
    hex_write(bytes_of(at, size), (char *)hex);
    to->size += 2 * size;
    return buffer_append_text(to, "\n");
}

int put_encoded(struct buffer *to, struct bytes text)
{
    int r = 0;

    for (size_t i = 0; i < text.size && r == 0; i++) {
        uint8_t c = text.at[i];

        if (c <= 0x20 || c == '%' || c == 0x7f)
            r = buffer_printf(to, "%%%02X", c);
        else
            r = buffer_append(to, bytes_of(&c, 1));
    }
    return r;
}

bool lines_decode(struct bytes text, char *to, size_t max, size_t *ret_size)
{
    static const char digits[] = "0123456789ABCDEF";
    size_t size = 0;

    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.at[i];

        if (c == '%') {
            const char *high, *low;

            if (i + 2 >= text.size || !text.at[i + 1] || !text.at[i + 2])
                return false;
            high = strchr(digits, text.at[i + 1]);
            low = strchr(digits, text.at[i + 2]);
            if (!high || !low)
                return false;
            c = (uint8_t)((high - digits) * 16 + (low - digits));
            if (c > 0x20 && c != '%' && c != 0x7f)
                return false;
            i += 2;
        }
        if (size == max)
            return false;
        to[size++] = (char)c;
    }
    *ret_size = size;
    return true;
}
