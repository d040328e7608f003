/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files in memory into a configuration: what aico_config_load() does after reading. No I/O, so
 * that tests and fuzzers reach everything. One thread.
 */
#ifndef CONFIG_PARSE_H
#define CONFIG_PARSE_H

#include <aico/config.h>

#include "base/bytes.h"
#include "config/problem.h"
#include "config/schema.h"

/* One file as read; all borrowed. */
struct config_source {
    const char *path; /* absolute: it names the file in messages and anchors relative paths */
    bool present;     /* false: there is no such file, all its keys are at their defaults */
    struct bytes text;
};

struct config_input {
    const char *home;      /* absolute, without a final slash */
    const char *user_home; /* what `~` stands for; NULL: `~` is refused */
    const char *component; /* a valid name; NULL: none, and `own` is not looked at */
    struct config_source security;
    struct config_source own; /* the component's file */
};

enum config_origin_kind { ORIGIN_DEFAULT, ORIGIN_SECURITY, ORIGIN_COMPONENT, ORIGIN_IMPLIED };

struct config_origin {
    enum config_origin_kind kind;
    struct place place; /* with the two kinds that are files */
};

/* Where each value came from; `of` is indexed like schema_keys. */
struct aico_config_origins {
    char *component_file; /* where it is or would be; NULL without component */
    struct config_origin of[];
};

/*
 * Checks everything and completes it with defaults.
 *
 * @problems    zero-initialised; in the order of the files on return
 * @ret_config  freed by aico_config_free()
 *
 * Returns 0, AICO_ECONFIG (@problems is not empty) or AICO_ENOMEM.
 */
int config_parse(const struct config_input *input, struct problem_list *problems,
                 struct aico_config **ret_config);

#endif
