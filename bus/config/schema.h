/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every setting there is, in one table: the only place of names, defaults, ranges and meanings.
 * Constant, any thread.
 */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum schema_file { SCHEMA_SECURITY, SCHEMA_COMPONENT };

enum schema_type {
    SCHEMA_WORD,      /* one of `words`; int, its position there */
    SCHEMA_BOOL,      /* bool */
    SCHEMA_NUMBER,    /* int64_t */
    SCHEMA_SECONDS,   /* int64_t in milliseconds; `min` and `max` in seconds */
    SCHEMA_BYTES,     /* int64_t in bytes */
    SCHEMA_NAMESPACE, /* char * */
    SCHEMA_PATH,      /* char *, expanded; NULL for "none" where that is the default */
    SCHEMA_ADDRESS,   /* char *, an endpoint made of host:port, tcp:// or ipc:// */
    SCHEMA_ENDPOINTS, /* struct aico_config_list, 1..SCHEMA_ENDPOINTS_MAX */
    SCHEMA_NAMES,     /* struct aico_config_list of component names */
};

#define SCHEMA_ENDPOINTS_MAX 16
#define SCHEMA_NAMES_MAX 1024
#define SCHEMA_UNSTORED SIZE_MAX /* only one value exists: it is checked, not kept */

/* What a changed value does to a broker that runs. */
enum schema_reload {
    RELOAD_RESTART,    /* nothing before its next start */
    RELOAD_BROKER,     /* it is in force after a reload */
    RELOAD_COMPONENTS, /* the broker does not use it: components read it when they start */
};

struct schema_key {
    enum schema_file file;
    const char
        *section; /* the mappings it stands in: "security.transport"; "" is the file itself */
    const char *name;
    enum schema_type type;
    size_t offset; /* of the field in struct aico_config, or SCHEMA_UNSTORED */
    const char
        *initial;     /* the default as it would stand in the file; NULL: the field stays empty */
    int64_t min, max; /* of SCHEMA_NUMBER, _SECONDS, _BYTES */
    const char *zero; /* what 0 means when it is allowed beside min..max, or instead of a count */
    const char *const *words;
    const char *at_maximum; /* the value that security_level maximum implies */
    bool not_for_broker;
    enum schema_reload reload;
    const char *shown_by; /* the tests that change this key alone and see its effect:
                             "system/settings.sh:test", FILE below tests/, separated by blanks */
    const char *help;     /* one or two sentences; for `initial` NULL also what that means */
};

extern const struct schema_key schema_keys[];
extern const size_t schema_count;

/* The row of that file, section and name, or NULL. @section NULL: whichever it is. */
const struct schema_key *schema_find(enum schema_file file, const char *section, const char *name);
/* The row of "security.transport.padding", as schema_path() writes it, or NULL. */
const struct schema_key *schema_find_path(const char *path);
/* Is @path ("security", "security.transport") a mapping that holds keys or mappings of @file? */
bool schema_is_section(enum schema_file file, const char *path);
/* "security.transport.padding" into @to; returns @to. */
const char *schema_path(const struct schema_key *key, char *to, size_t size);
/* "an integer, 60..604800 seconds, or with a unit: 90s, 10m, 24h, 7d" into @to; returns @to. */
const char *schema_allowed(const struct schema_key *key, char *to, size_t size);

/*
 * The key or section that whoever wrote "section.name" most likely meant, as its path, into @to.
 * False when nothing is near.
 */
bool schema_nearest(enum schema_file file, const char *section, const char *name, char *to,
                    size_t size);
/* The nearest of a NULL-terminated list of words, or NULL. */
const char *schema_nearest_word(const char *const *words, const char *text);

#endif
