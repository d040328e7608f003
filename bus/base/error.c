/* SPDX-License-Identifier: Apache-2.0 */
/* The error table of <aico/error.h> and error texts with context. Any thread. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <aico/error.h>

static const struct error_entry {
    int code;
    const char *name;
    int exit_status;
    const char *text;
} entries[] = {
#define ERROR_ENTRY(symbol, number, name, exit_status, text) {-(number), name, exit_status, text},
    AICO_ERRORS(ERROR_ENTRY)
#undef ERROR_ENTRY
};

static const struct error_entry *find(int code)
{
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        if (entries[i].code == code)
            return &entries[i];
    return NULL;
}

const char *aico_error_string(int code)
{
    const struct error_entry *entry = find(code);

    if (code == 0)
        return "success";
    return entry ? entry->text : "unknown error";
}

const char *aico_error_name(int code)
{
    const struct error_entry *entry = find(code);

    if (code == 0)
        return "OK";
    return entry ? entry->name : "E_?";
}

int aico_error_exit_status(int code)
{
    const struct error_entry *entry = find(code);

    if (code == 0)
        return 0;
    return entry ? entry->exit_status : 1;
}

int aico_error_set(struct aico_error *err, int code, const char *format, ...)
{
    va_list args;

    if (!err)
        return code;
    err->code = code;
    va_start(args, format);
    (void)vsnprintf(err->text, sizeof(err->text), format, args);
    va_end(args);
    return code;
}

int aico_error_prefix(struct aico_error *err, int code, const char *format, ...)
{
    char prefix[256], old[sizeof(err->text)];
    va_list args;

    if (!err)
        return code;
    va_start(args, format);
    (void)vsnprintf(prefix, sizeof(prefix), format, args);
    va_end(args);
    if (err->code != code) /* the callee said nothing: do not keep an older story */
        (void)snprintf(err->text, sizeof(err->text), "%s", aico_error_string(code));
    memcpy(old, err->text, sizeof(old));
    err->code = code;
    (void)snprintf(err->text, sizeof(err->text), "%.200s: %.290s", prefix, old);
    return code;
}
