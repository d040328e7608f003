/* SPDX-License-Identifier: Apache-2.0 */
/* Writes JSON text (RFC 8259). */
#include <inttypes.h>

#include <aico/error.h>

#include "base/json.h"
#include "base/utf8.h"

struct json json_over(struct buffer *out)
{
    return (struct json){.out = out};
}

static void put(struct json *json, struct bytes bytes)
{
    if (!json->failed && buffer_append(json->out, bytes) < 0)
        json->failed = true;
}

static void put_text(struct json *json, const char *text)
{
    put(json, bytes_text(text));
}

static void put_escaped(struct json *json, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    char escape[] = "\\u00__";

    switch (c) {
    case '"':
        put_text(json, "\\\"");
        return;
    case '\\':
        put_text(json, "\\\\");
        return;
    case '\n':
        put_text(json, "\\n");
        return;
    case '\r':
        put_text(json, "\\r");
        return;
    case '\t':
        put_text(json, "\\t");
        return;
    default:
        escape[4] = hex[c >> 4];
        escape[5] = hex[c & 15];
        put_text(json, escape);
    }
}

static void put_string(struct json *json, struct bytes text)
{
    size_t plain = 0; /* bytes that can be copied as they are, up to text.at[plain] */

    put_text(json, "\"");
    while (plain < text.size) {
        struct bytes rest = bytes_of(text.at + plain, text.size - plain);
        uint8_t c = rest.at[0];
        size_t size = utf8_next(rest, NULL);

        if (size > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            plain += size;
            continue;
        }
        put(json, bytes_of(text.at, plain));
        if (size == 0)
            put_text(json, "\\ufffd");
        else
            put_escaped(json, c);
        text = bytes_of(rest.at + 1, rest.size - 1);
        plain = 0;
    }
    put(json, text);
    put_text(json, "\"");
}

static void begin_value(struct json *json, const char *key)
{
    if (json->comma)
        put_text(json, ",");
    if (key) {
        put_string(json, bytes_text(key));
        put_text(json, ":");
    }
    json->comma = true;
}

void json_open_object(struct json *json, const char *key)
{
    begin_value(json, key);
    put_text(json, "{");
    json->comma = false;
}

void json_close_object(struct json *json)
{
    put_text(json, "}");
    json->comma = true;
}

void json_open_array(struct json *json, const char *key)
{
    begin_value(json, key);
    put_text(json, "[");
    json->comma = false;
}

void json_close_array(struct json *json)
{
    put_text(json, "]");
    json->comma = true;
}

void json_put_text(struct json *json, const char *key, struct bytes text)
{
    begin_value(json, key);
    put_string(json, text);
}

void json_put_u64(struct json *json, const char *key, uint64_t value)
{
    begin_value(json, key);
    if (!json->failed && buffer_printf(json->out, "%" PRIu64, value) < 0)
        json->failed = true;
}

void json_put_i64(struct json *json, const char *key, int64_t value)
{
    begin_value(json, key);
    if (!json->failed && buffer_printf(json->out, "%" PRId64, value) < 0)
        json->failed = true;
}

void json_put_bool(struct json *json, const char *key, bool value)
{
    begin_value(json, key);
    put_text(json, value ? "true" : "false");
}
