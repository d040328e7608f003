/* SPDX-License-Identifier: Apache-2.0 */
/* Reads tests/vectors with jansson. */
#include "vectors.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

json_t *vectors_load(const char *file)
{
    char path[512];
    json_error_t error;
    json_t *root;

    (void)snprintf(path, sizeof(path), "%s/%s", AICO_VECTORS_DIR, file);
    root = json_load_file(path, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!root)
        fail_msg("%s:%d: %s", path, error.line, error.text);
    return root;
}

json_t *vectors_at(json_t *from, const char *path)
{
    char *copy = strdup(path), *rest = copy, *key;
    json_t *at = from;

    while (at && (key = strsep(&rest, ".")) != NULL)
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(key, NULL, 10))
                               : json_object_get(at, key);
    free(copy);
    if (!at)
        fail_msg("no vector %s", path);
    return at;
}

const char *vectors_text(json_t *from, const char *path)
{
    const char *text = json_string_value(vectors_at(from, path));

    if (!text)
        fail_msg("vector %s is not text", path);
    return text;
}

int64_t vectors_int(json_t *from, const char *path)
{
    return json_integer_value(vectors_at(from, path));
}

struct bytes vectors_hex(json_t *from, const char *path)
{
    const char *text = vectors_text(from, path);
    size_t size = strlen(text) / 2;
    uint8_t *at = malloc(size ? size : 1);

    assert_non_null(at);
    if (!hex_parse(bytes_text(text), at, size))
        fail_msg("vector %s is not hex", path);
    return bytes_of(at, size);
}

void vectors_hex_into(json_t *from, const char *path, void *to, size_t size)
{
    if (!hex_parse(bytes_text(vectors_text(from, path)), to, size))
        fail_msg("vector %s is not %zu bytes of hex", path, size);
}

uint8_t *exact_copy(struct bytes bytes)
{
    uint8_t *at = malloc(bytes.size ? bytes.size : 1);

    assert_non_null(at);
    bytes_copy(at, bytes);
    return at;
}
