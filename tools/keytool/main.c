/* SPDX-License-Identifier: Apache-2.0 */
/* aico-keytool: identities, registry, rules. Links no network code. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "common/guard.h"
#include "crypto/crypto.h"
#include "keytool/keytool.h"
#include "keytool/table.h"

static int (*const functions[])(struct keytool *, char **, int, struct aico_error *) = {
#define FUNCTION(id, function) [VERB_##id] = function,
    KEYTOOL_VERBS(FUNCTION)
#undef FUNCTION
};

static int parse_number(const char *text, int *ret)
{
    char *end;
    long value = strtol(text, &end, 10);

    if (*text < '0' || *text > '9' || *end || value > 1000000)
        return AICO_EINVAL;
    *ret = (int)value;
    return 0;
}

static int take_role(struct keytool *k, const char *role, struct aico_error *err)
{
    if (!component_name_is_valid(bytes_text(role)))
        return aico_error_set(err, AICO_EINVAL, "'%s' is not a role: a-z, 0-9, '.', '_', '-'",
                              role);
    return buffer_printf(&k->roles, "%s%s", k->roles.size > 0 ? "," : "", role);
}

static int take(void *context, int id, const char *value, struct aico_error *err)
{
    struct keytool *k = context;
    const struct {
        int id;
        const char **to;
    } texts[] = {
        {OPTION_HOME, &k->home_option},
        {OPTION_NAMESPACE, &k->namespace},
        {OPTION_REASON, &k->reason},
        {OPTION_PASSPHRASE_FILE, &k->key.file},
        {OPTION_OWNER_PASSPHRASE_FILE, &k->owner.file},
        {OPTION_NEW_PASSPHRASE_FILE, &k->next.file},
        {OPTION_MASTER_PASSPHRASE_FILE, &k->master.file},
        {OPTION_OWNER_KEY, &k->owner_key},
        {OPTION_PEER, &k->peer},
        {OPTION_OVERLAP, &k->overlap},
        {OPTION_AS, &k->as},
        {OPTION_BY, &k->by},
        {OPTION_OUT, &k->out},
        {OPTION_SIGNATURE, &k->signature},
        {OPTION_CONTENT, &k->content},
        {OPTION_WITNESS, &k->witness},
        {OPTION_REGISTRY, &k->registry},
        {OPTION_PUBLISH, &k->publish},
        {OPTION_SUBSCRIBE, &k->subscribe},
        {OPTION_SEAL, &k->seal},
        {OPTION_AUTHENTICITY, &k->authenticity},
        {OPTION_PADDING, &k->padding},
        {OPTION_FRESHNESS, &k->freshness},
        {OPTION_STORE, &k->store},
        {OPTION_BEFORE, &k->before},
    };
    const struct {
        int id;
        bool *to;
    } flags[] = {
        {OPTION_STARTER, &k->starter},     {OPTION_JSON, &k->json},
        {OPTION_QUIET, &k->quiet},         {OPTION_UNPROTECTED, &k->unprotected},
        {OPTION_TRANSPORT, &k->transport}, {OPTION_PREPARE, &k->prepare},
        {OPTION_SWITCH, &k->switch_over},  {OPTION_HISTORY, &k->history},
    };
    const struct {
        int id;
        int *to;
    } descriptors[] = {
        {OPTION_PASSPHRASE_FD, &k->key.fd},
        {OPTION_OWNER_PASSPHRASE_FD, &k->owner.fd},
        {OPTION_NEW_PASSPHRASE_FD, &k->next.fd},
        {OPTION_MASTER_PASSPHRASE_FD, &k->master.fd},
    };

    for (size_t i = 0; i < COUNT_OF(texts); i++)
        if (texts[i].id == id)
            *texts[i].to = value;
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (flags[i].id == id)
            *flags[i].to = true;
    if (id == OPTION_ROLE)
        return take_role(k, value, err);
    for (size_t i = 0; i < COUNT_OF(descriptors); i++)
        if (descriptors[i].id == id && parse_number(value, descriptors[i].to) < 0)
            return aico_error_set(err, AICO_EINVAL, "'%s' is not the number of a descriptor",
                                  value);
    return 0;
}

void say(const struct keytool *k, const char *format, ...)
{
    va_list args;

    if (k->quiet)
        return;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
}

int main(int argc, char **argv)
{
    struct keytool k = {
        .namespace = "aico", .key.fd = -1, .owner.fd = -1, .next.fd = -1, .master.fd = -1};
    struct aico_error err = {0};
    struct command command = {0};
    int r;

    guard_process();
    guard_files();
    r = options_parse(&keytool_program, argc, argv, take, &k, &command, &err);
    if (r > 0)
        return 0;
    if (r == 0)
        r = crypto_start();
    if (r == 0) {
        k.home = home_find(k.home_option, &err);
        r = k.home ? 0 : err.code;
    }
    if (r == 0)
        r = functions[command.verb - keytool_program.verbs](&k, command.arguments, command.count,
                                                            &err);
    if (r == 0 && (fflush(stdout) != 0 || ferror(stdout)))
        r = aico_error_set(&err, AICO_ESYSTEM, "standard output cannot be written");
    if (r < 0)
        (void)fprintf(stderr, "aico-keytool%s%s: %s (%s)\n", command.verb ? " " : "",
                      command.verb ? command.verb->name : "",
                      err.text[0] ? err.text : aico_error_string(r), aico_error_name(r));
    buffer_deinit(&k.roles);
    free(k.home);
    return aico_error_exit_status(r);
}
