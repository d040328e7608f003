/* SPDX-License-Identifier: Apache-2.0 */
/* Writes canonical metadata and reads a peer's. Pure, any thread. */
#include <inttypes.h>
#include <stdio.h>

#include "base/utf8.h"
#include "envelope/metadata.h"
#include "envelope/scan.h"

#define MS_MAX ((int64_t)1 << 53)

static void put(struct metadata_writer *m, const char *text)
{
    writer_bytes(&m->out, bytes_text(text));
}

static void put_unit(struct metadata_writer *m, uint32_t unit)
{
    char escape[8];

    (void)snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)(unit & 0xffff));
    put(m, escape);
}

static void put_character(struct metadata_writer *m, uint32_t code)
{
    static const char codes[] = "\"\\\n\r\t\b\f";
    static const char *const escapes[] = {"\\\"", "\\\\", "\\n", "\\r", "\\t", "\\b", "\\f"};
    const char *found = code != 0 && code < 0x80 ? strchr(codes, (int)code) : NULL;

    if (found) {
        put(m, escapes[found - codes]);
    } else if (code >= ' ' && code <= '~') {
        writer_u8(&m->out, (uint8_t)code);
    } else if (code < 0x10000) {
        put_unit(m, code);
    } else {
        put_unit(m, 0xd800 + ((code - 0x10000) >> 10));
        put_unit(m, 0xdc00 + ((code - 0x10000) & 0x3ff));
    }
}

static void put_string(struct metadata_writer *m, struct bytes utf8)
{
    uint32_t code;

    put(m, "\"");
    while (utf8.size > 0) {
        size_t size = utf8_next(utf8, &code);

        if (size == 0) {
            m->wrong = true;
            return;
        }
        put_character(m, code);
        utf8 = bytes_of(utf8.at + size, utf8.size - size);
    }
    put(m, "\"");
}

/* What stands before a value. */
static void put_key(struct metadata_writer *m, const char *key)
{
    if (m->comma)
        put(m, ", ");
    m->comma = true;
    if (key) {
        put_string(m, bytes_text(key));
        put(m, ": ");
    }
}

static void open_with(struct metadata_writer *m, const char *key, const char *bracket)
{
    put_key(m, key);
    put(m, bracket);
    m->comma = false;
}

static void close_with(struct metadata_writer *m, const char *bracket)
{
    put(m, bracket);
    m->comma = true;
}

void metadata_begin(struct metadata_writer *m, void *storage, size_t capacity)
{
    *m = (struct metadata_writer){.out = writer_over(storage, capacity)};
    put(m, "{");
}

void metadata_object(struct metadata_writer *m, const char *key)
{
    open_with(m, key, "{");
}

void metadata_end_object(struct metadata_writer *m)
{
    close_with(m, "}");
}

void metadata_array(struct metadata_writer *m, const char *key)
{
    open_with(m, key, "[");
}

void metadata_end_array(struct metadata_writer *m)
{
    close_with(m, "]");
}

void metadata_text(struct metadata_writer *m, const char *key, struct bytes utf8)
{
    put_key(m, key);
    put_string(m, utf8);
}

void metadata_number(struct metadata_writer *m, const char *key, const char *text)
{
    put_key(m, key);
    put(m, text);
}

void metadata_int(struct metadata_writer *m, const char *key, int64_t value)
{
    char text[24];

    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    metadata_number(m, key, text);
}

void metadata_seconds(struct metadata_writer *m, const char *key, int64_t ms)
{
    char text[32];
    size_t size;

    if (ms < 0) {
        m->wrong = true;
        return;
    }
    (void)snprintf(text, sizeof(text), "%" PRId64 ".%03d", ms / 1000, (int)(ms % 1000));
    for (size = strlen(text); text[size - 1] == '0' && text[size - 2] != '.'; size--)
        text[size - 1] = '\0';
    metadata_number(m, key, text);
}

void metadata_bool(struct metadata_writer *m, const char *key, bool value)
{
    metadata_number(m, key, value ? "true" : "false");
}

void metadata_null(struct metadata_writer *m, const char *key)
{
    metadata_number(m, key, "null");
}

int metadata_end(struct metadata_writer *m, struct bytes *ret_metadata)
{
    int r;

    put(m, "}");
    if (m->wrong)
        return AICO_EMETADATA;
    if (m->out.failed)
        return AICO_ESIZE;
    r = metadata_check(writer_view(&m->out));
    if (r < 0)
        return r;
    *ret_metadata = writer_view(&m->out);
    return 0;
}

int metadata_check(struct bytes metadata)
{
    return scan_metadata(metadata, true, NULL, 0) ? 0 : AICO_EMETADATA;
}

/* A decimal number, value = digits x 10^exponent. */
struct decimal {
    bool negative;
    uint64_t digits;
    int exponent;
};

/* Past 18 digits they no longer count, only their place does. */
static void add_digit(struct decimal *d, uint8_t c, bool fraction)
{
    if (d->digits < 100000000000000000u) {
        d->digits = d->digits * 10 + (uint64_t)(c - '0');
        d->exponent -= fraction;
    } else {
        d->exponent += !fraction;
    }
}

/* @text is a number of JSON, checked before; anything else gives false. */
static bool decimal_parse(struct bytes text, struct decimal *d)
{
    size_t i = text.size > 0 && text.at[0] == '-';
    bool fraction = false, negative_exponent = false;
    int exponent = 0;

    d->negative = i > 0;
    if (i == text.size || text.at[i] < '0' || text.at[i] > '9')
        return false;
    for (; i < text.size && (text.at[i] | 0x20) != 'e'; i++) {
        if (text.at[i] == '.')
            fraction = true;
        else
            add_digit(d, text.at[i], fraction);
    }
    for (i++; i < text.size; i++) {
        if (text.at[i] == '-')
            negative_exponent = true;
        else if (text.at[i] != '+' && exponent < 100000)
            exponent = exponent * 10 + (text.at[i] - '0');
    }
    d->exponent += negative_exponent ? -exponent : exponent;
    return true;
}

/* Seconds in decimal to whole ms; false past +-MS_MAX. */
static bool decimal_ms(struct decimal d, int64_t *ret_ms)
{
    int64_t ms;

    d.exponent += 3;
    for (; d.exponent > 0 && d.digits > 0; d.exponent--) {
        if (d.digits > (uint64_t)MS_MAX / 10)
            return false;
        d.digits *= 10;
    }
    for (; d.exponent < 0 && d.digits > 0; d.exponent++)
        d.digits /= 10;
    if (d.digits > (uint64_t)MS_MAX)
        return false;
    ms = (int64_t)d.digits;
    *ret_ms = d.negative ? -ms : ms;
    return true;
}

int metadata_parse(struct bytes metadata, struct metadata_facts *ret)
{
    struct scan_wanted wanted[] = {{.name = "timestamp"}, {.name = "topic"}};
    struct metadata_facts facts = {0};
    struct decimal timestamp = {0};

    if (!scan_metadata(metadata, false, wanted, 2))
        return AICO_EMETADATA;
    if (wanted[0].value.size > 0) {
        if (!decimal_parse(wanted[0].value, &timestamp) ||
            !decimal_ms(timestamp, &facts.timestamp_ms))
            return AICO_EMETADATA;
        facts.has_timestamp = true;
    }
    if (wanted[1].value.size > 0) {
        if (!scan_text(wanted[1].value, facts.topic, sizeof(facts.topic), &facts.topic_size))
            return AICO_EMETADATA;
        facts.has_topic = true;
    }
    *ret = facts;
    return 0;
}
