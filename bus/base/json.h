/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes JSON text into a struct buffer: commas and escapes are its business, nesting is the
 * caller's. A failure (no memory) stays; check json.failed once at the end. Not thread-safe.
 *
 *   struct json j = json_over(&buffer);
 *   json_open_object(&j, NULL);
 *   json_put_text(&j, "name", name);
 *   json_close_object(&j);
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/buffer.h"

struct json {
    struct buffer *out;
    bool comma; /* a value stands before the next one */
    bool failed;
};

struct json json_over(struct buffer *out);

/* @key: the member's name inside an object, NULL inside an array and for the whole text. */
void json_open_object(struct json *json, const char *key);
void json_close_object(struct json *json);
void json_open_array(struct json *json, const char *key);
void json_close_array(struct json *json);
/* Control characters, quotes and backslashes are escaped; bytes that are not UTF-8 become U+FFFD.
 */
void json_put_text(struct json *json, const char *key, struct bytes text);
void json_put_u64(struct json *json, const char *key, uint64_t value);
void json_put_i64(struct json *json, const char *key, int64_t value);
void json_put_bool(struct json *json, const char *key, bool value);

#endif
