/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libFuzzer target of the configuration parser. Input: security.yaml, and behind the first zero
 * byte, if there is one, the file of a component. What is accepted must survive being printed.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "config/parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void differs(void *context, const char *key, const char *before, const char *after)
{
    (void)context, (void)key, (void)before, (void)after;
    abort();
}

/* @text is what aico_config_print() made of @before, its two documents. */
static void parse_printed(const struct config_input *first, const struct aico_config *before,
                          struct bytes text)
{
    static const char mark[] = "\n---\n";
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    struct problem_list problems = {0};
    struct config_input input = *first;
    const uint8_t *split = memmem(text.at, text.size, mark, sizeof(mark) - 1);

    if (!split)
        abort();
    input.security.present = input.own.present = true;
    input.security.text = bytes_of(text.at, (size_t)(split - text.at) + 1);
    input.own.text = bytes_of(split + sizeof(mark) - 1,
                              text.size - (size_t)(split - text.at) - (sizeof(mark) - 1));
    if (config_parse(&input, &problems, &config) < 0 ||
        aico_config_compare(before, config, differs, NULL) < 0)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t first_size = zero ? (size_t)(zero - data) : size;
    struct config_input input = {
        "/home/me/.aico",
        "/home/me",
        "backend",
        {"/etc/aico/security.yaml", true, {data, first_size}},
        {"/etc/aico/backend.yaml", zero != NULL, {NULL, 0}},
    };
    CLEANUP(aico_config_free)
    struct aico_config *config = NULL;
    CLEANUP(free_memory)
    char *text = NULL;
    struct problem_list problems = {0};
    size_t text_size;
    FILE *out;

    if (zero)
        input.own.text = bytes_of(zero + 1, size - first_size - 1);
    if (config_parse(&input, &problems, &config) < 0)
        return 0;

    out = open_memstream(&text, &text_size);
    if (!out || aico_config_print(config, out) < 0 || fclose(out) != 0)
        abort();
    parse_printed(&input, config, bytes_of(text, text_size));
    return 0;
}
