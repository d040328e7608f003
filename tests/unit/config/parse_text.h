/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Configuration files in memory for the tests of this folder. The home is /home/me/.aico, the
 * files are /etc/aico/security.yaml and /etc/aico/NAME.yaml, `~` is /home/me.
 */
#ifndef TEST_CONFIG_PARSE_TEXT_H
#define TEST_CONFIG_PARSE_TEXT_H

#include "vectors.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "config/parse.h"

#define HOME "/home/me/.aico"
#define SECURITY_PATH "/etc/aico/security.yaml"
#define OWN_PATH "/etc/aico/own.yaml"

/* Parses heap copies of exact size. NULL text: no such file; NULL component: no component. */
static inline int parse_bytes(struct bytes security, const char *component, struct bytes own,
                              struct problem_list *problems, struct aico_config **ret_config)
{
    CLEANUP(free_memory)
    uint8_t *security_copy = exact_copy(security);
    CLEANUP(free_memory)
    uint8_t *own_copy = exact_copy(own);
    struct config_input input = {
        HOME,
        "/home/me",
        component,
        {SECURITY_PATH, security.at != NULL, {security_copy, security.size}},
        {OWN_PATH, own.at != NULL, {own_copy, own.size}},
    };

    *problems = (struct problem_list){0};
    return config_parse(&input, problems, ret_config);
}

static inline int parse_texts(const char *security, const char *component, const char *own,
                              struct problem_list *problems, struct aico_config **ret_config)
{
    return parse_bytes(security ? bytes_text(security) : (struct bytes){0}, component,
                       own ? bytes_text(own) : (struct bytes){0}, problems, ret_config);
}

/* The configuration of texts that must be right; aico_config_free() it. */
static inline struct aico_config *accepted(const char *security, const char *component,
                                           const char *own)
{
    struct problem_list problems;
    struct aico_config *config = NULL;
    int r = parse_texts(security, component, own, &problems, &config);

    if (problems.count > 0)
        print_message("%s\n", problems.items[0].error.text);
    assert_int_equal(r, 0);
    assert_int_equal(problems.count, 0);
    assert_non_null(config);
    return config;
}

/* The texts must be refused, and this must be the start of the first reason. */
static inline void refused(const char *security, const char *component, const char *own,
                           const char *reason)
{
    struct problem_list problems;
    struct aico_config *config = NULL;

    assert_int_equal(parse_texts(security, component, own, &problems, &config), AICO_ECONFIG);
    assert_null(config);
    assert_true(problems.count > 0);
    assert_int_equal(problems.items[0].error.code, AICO_ECONFIG);
    if (strncmp(problems.items[0].error.text, reason, strlen(reason)) != 0)
        fail_msg("\n     got: %s\nexpected: %s", problems.items[0].error.text, reason);
}

#endif
