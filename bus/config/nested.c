/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of the nested shape and its walk. What has no effect here is refused, not ignored. One
 * parse, one thread.
 */
#include "config/nested.h"

#include <string.h>

#include "base/cleanup.h"
#include "config/parse_internal.h"

#define TRANSPORT NESTED_ROOT "."
#define ENCRYPTION NESTED_ROOT ".encryption."

#define ALWAYS "there is no bus in clear"
#define SUITE "algorithms are asserted, not negotiated"
#define LAYOUT "the handshake has this size and no other"
#define UNPACKED "content is not compressed: its size would tell what is in it"

const struct nested_key nested_keys[] = {
    {TRANSPORT "message_bus_encryption", NULL, "true", ALWAYS},
    {TRANSPORT "curve_zmq.enabled", NULL, "true", ALWAYS},
    {TRANSPORT "curve_zmq.authentication_policy", NULL, NULL,
     "the owner's registry alone decides who connects; leave it out"},
    {TRANSPORT "curve_zmq.key_rotation_interval", "key_rotation_interval", NULL, NULL},
    {ENCRYPTION "enabled", NULL, "true", ALWAYS},
    {ENCRYPTION "algorithm", NULL, "XChaCha20-Poly1305", SUITE},
    {ENCRYPTION "identity.key_type", NULL, "Ed25519", SUITE},
    {ENCRYPTION "identity.session_key_type", NULL, "X25519", SUITE},
    {ENCRYPTION "session.timeout_seconds", "session_timeout", NULL, NULL},
    {ENCRYPTION "session.handshake_timeout_seconds", "handshake_timeout", NULL, NULL},
    {ENCRYPTION "session.max_sessions_per_client", NULL, "1",
     "one identity runs in one process at a time"},
    {ENCRYPTION "handshake.challenge_size", NULL, "32", LAYOUT},
    {ENCRYPTION "handshake.nonce_size", NULL, "24", LAYOUT},
    {ENCRYPTION "handshake.signature_algorithm", NULL, "Ed25519", SUITE},
    {ENCRYPTION "message.max_payload_size", "max_message_size", NULL, NULL},
    {ENCRYPTION "message.compression_enabled", NULL, "false", UNPACKED},
    {ENCRYPTION "message.compression_threshold", NULL, NULL, UNPACKED "; leave it out"},
    {ENCRYPTION "client_identification", NULL, NULL,
     "who a client is, its registered key says; leave it out"},
};
const size_t nested_count = COUNT_OF(nested_keys);

static const struct nested_key *nested_find(const char *path)
{
    for (size_t i = 0; i < nested_count; i++)
        if (strcmp(nested_keys[i].path, path) == 0)
            return &nested_keys[i];
    return NULL;
}

static bool nested_is_section(const char *path)
{
    size_t size = strlen(path);

    for (size_t i = 0; i < nested_count; i++)
        if (strncmp(nested_keys[i].path, path, size) == 0 && nested_keys[i].path[size] == '.')
            return true;
    return false;
}

static const char *nested_nearest(const char *name)
{
    const char *names[COUNT_OF(nested_keys) + 1] = {NULL};
    const char *near;

    for (size_t i = 0; i < nested_count; i++)
        names[i] = strrchr(nested_keys[i].path, '.') + 1;
    near = schema_nearest_word(names, name);
    for (size_t i = 0; near && i < nested_count; i++)
        if (names[i] == near)
            return nested_keys[i].path;
    return NULL;
}

static const struct schema_key *flat_key(const char *name)
{
    return schema_find(SCHEMA_SECURITY, "security.transport", name);
}

/* The tree knows keys that are given twice, not two spellings of one. */
static int take_once(struct parse *p, const struct schema_key *key, const char *path,
                     const struct tree_node *entry)
{
    const struct config_origin *origin = origin_of(p, key);

    if (!is_given(origin))
        return take_value(p, key, path, entry);
    (void)problem_add(p->problems, entry->key_place,
                      "key `%s`: line %u says the same in another spelling; keep one of them", path,
                      origin->place.line);
    return 0;
}

/* A word of the nested shape: another spelling of a setting, or something there is no choice of. */
static int take_nested(struct parse *p, const struct nested_key *nested,
                       const struct tree_node *entry)
{
    char shown[VALUE_SHOWN_SIZE];
    bool is_value = entry->kind == TREE_VALUE;

    if (nested->name)
        return take_once(p, flat_key(nested->name), nested->path, entry);
    if (nested->only && is_value && strcmp(entry->text, nested->only) == 0)
        return 0;
    if (nested->only)
        (void)problem_add(p->problems, entry->place, "key `%s`: `%s` is refused: %s; allowed: %s",
                          nested->path, is_value ? value_shown(entry->text, shown) : "a mapping",
                          nested->why, nested->only);
    else
        (void)problem_add(p->problems, entry->key_place, "key `%s`: has no meaning here: %s",
                          nested->path, nested->why);
    return 0;
}

/* Below `transport:` at the top of the file: its own mappings, and beside them every setting that
 * they have no word for, by its name. */
static int walk_nested(struct parse *p, const char *section, const struct tree_node *map)
{
    char path[PATH_SIZE], shown[VALUE_SHOWN_SIZE];
    const struct nested_key *nested;
    const struct schema_key *key;
    const char *near;
    int r = 0;

    for (const struct tree_node *entry = map->first; entry && r == 0; entry = entry->next) {
        (void)snprintf(path, sizeof(path), "%s.%.40s", section, entry->key);
        nested = strchr(entry->key, '.') ? NULL : nested_find(path);
        near = nested_nearest(entry->key);
        key = strcmp(section, NESTED_ROOT) == 0 ? flat_key(entry->key) : NULL;
        if (nested)
            r = take_nested(p, nested, entry);
        else if (strchr(entry->key, '.') || (!nested_is_section(path) && !key))
            (void)problem_add(p->problems, entry->key_place, "key `%s.%s`: unknown%s%s%s", section,
                              value_shown(entry->key, shown), near ? ", did you mean `" : "",
                              near ? near : "", near ? "`?" : "");
        else if (!nested_is_section(path))
            r = take_once(p, key, path, entry);
        else if (entry->kind == TREE_MAP)
            r = walk_nested(p, path, entry);
        else
            require_map(p, path, entry);
    }
    return r;
}

int nested_walk(struct parse *p, const struct tree_node *file, const struct tree_node *entry)
{
    const struct tree_node *other = tree_find(file, "security");

    if (other)
        (void)problem_add(p->problems, entry->key_place,
                          "key `" NESTED_ROOT
                          "`: `security` is in line %u; a file has one of the two shapes",
                          other->key_place.line);
    else if (entry->kind == TREE_MAP)
        return walk_nested(p, NESTED_ROOT, entry);
    else
        require_map(p, NESTED_ROOT, entry);
    return 0;
}
