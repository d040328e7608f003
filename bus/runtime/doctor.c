/* SPDX-License-Identifier: Apache-2.0 */
/* The doctor: one round after the other, and how a finding is put into words. */
#include "runtime/doctor.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/crypto.h"

const char *aico_finding_level_name(enum aico_finding_level level)
{
    static const char *const names[] = {"ok", "note", "warning", "error"};

    return (size_t)level < COUNT_OF(names) ? names[level] : "unknown";
}

/* --- findings ------------------------------------------------------------------------------- */

static __attribute__((format(printf, 4, 0))) void report(struct doctor *d,
                                                         const struct aico_finding *finding,
                                                         const char *repair, const char *format,
                                                         va_list args)
{
    struct aico_finding whole = *finding;
    char cause[1024];

    (void)vsnprintf(cause, sizeof(cause), format, args);
    whole.cause = cause;
    whole.repair = repair ? repair : "";
    if (!whole.subject)
        whole.subject = d->home;
    if (whole.level >= AICO_FINDING_WARNING)
        d->count++;
    if (whole.level == AICO_FINDING_ERROR && d->code == 0)
        d->code = whole.code;
    d->options->found(d->options->context, &whole);
}

void doctor_find(struct doctor *d, const struct aico_finding *finding, char *repair,
                 const char *format, ...)
{
    va_list args;

    va_start(args, format);
    report(d, finding, repair, format, args);
    va_end(args);
    free(repair);
}

void doctor_ok(struct doctor *d, const char *check, const char *subject, const char *format, ...)
{
    const struct aico_finding finding = {.check = check, .subject = subject};
    va_list args;

    va_start(args, format);
    report(d, &finding, NULL, format, args);
    va_end(args);
}

/* --- commands ------------------------------------------------------------------------------- */

static int append_quoted(struct buffer *to, const char *text)
{
    int r = buffer_append_text(to, "'");

    for (const char *at = text; r == 0 && *at; at++)
        r = *at == '\'' ? buffer_append_text(to, "'\\''") : buffer_append(to, bytes_of(at, 1));
    return r < 0 ? r : buffer_append_text(to, "'");
}

static int append_command(struct buffer *to, const char *format, va_list args)
{
    int r = 0;

    for (const char *at = format; r == 0 && *at; at++) {
        if (*at != '%') {
            r = buffer_append(to, bytes_of(at, 1));
            continue;
        }
        at++;
        if (*at == 'q')
            r = append_quoted(to, va_arg(args, const char *));
        else if (*at == 's')
            r = buffer_append_text(to, va_arg(args, const char *));
        else if (*at == 'd')
            r = buffer_printf(to, "%" PRId64, va_arg(args, int64_t));
        else
            r = buffer_append(to, bytes_of(at, 1));
    }
    return r;
}

static char *command(struct doctor *d, bool by_keytool, const char *format, va_list args)
{
    CLEANUP(buffer_deinit)
    struct buffer text = {0};
    int r = 0;

    if (by_keytool)
        r = buffer_append_text(&text, "aico-keytool ");
    if (r == 0 && by_keytool && d->is_owner_here) {
        r = buffer_append_text(&text, "--home ");
        if (r == 0)
            r = append_quoted(&text, d->home);
        if (r == 0)
            r = buffer_append_text(&text, " ");
    }
    if (r == 0)
        r = append_command(&text, format, args);
    if (r == 0)
        r = buffer_append(&text, bytes_of("", 1));
    if (r < 0) {
        d->is_out_of_memory = true;
        return NULL;
    }
    return (char *)STEAL(text.at);
}

char *doctor_command(struct doctor *d, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = command(d, false, format, args);
    va_end(args);
    return text;
}

char *doctor_keytool(struct doctor *d, const char *format, ...)
{
    va_list args;
    char *text;

    va_start(args, format);
    text = command(d, true, format, args);
    va_end(args);
    return text;
}

char *doctor_path(struct doctor *d, const char *name)
{
    char *path = home_path(d->home, "%s", name);

    if (!path)
        d->is_out_of_memory = true;
    return path;
}

/* --- rounds --------------------------------------------------------------------------------- */

static void doctor_deinit(struct doctor *d)
{
    free(d->home);
    free(d->namespace);
    aico_config_free(&d->config);
    registry_unref(&d->registry);
    identity_free(&d->identity);
}

static const char *find_name(const struct aico_doctor_options *options)
{
    const char *name = options->identity ? options->identity : getenv("AICO_IDENTITY");

    return name && *name ? name : NULL;
}

int aico_doctor(const struct aico_doctor_options *options, int64_t timeout_ms,
                struct aico_error *err)
{
    CLEANUP(doctor_deinit)
    struct doctor d = {.options = options, .timeout_ms = timeout_ms, .name = find_name(options)};
    CLEANUP(free_memory)
    char *owner = NULL;
    int r = crypto_start();

    if (r < 0)
        return aico_error_set(err, r, "the cryptographic library does not start");
    if (d.name && !component_name_is_valid(bytes_text(d.name)))
        return aico_error_set(err, AICO_EINVAL, "'%s' is not a component's name", d.name);
    d.home = home_find(options->home, err);
    if (!d.home)
        return err ? err->code : AICO_EINVAL;
    owner = doctor_path(&d, OWNER_NAME ".key");
    d.is_owner_here = owner && access(owner, F_OK) == 0;

    if (doctor_look_at_home(&d)) {
        doctor_look_at_config(&d);
        doctor_look_at_registry(&d);
        doctor_look_at_keys(&d);
        doctor_look_at_state(&d);
        doctor_look_at_limits(&d);
        doctor_look_at_rules(&d);
        doctor_look_at_broker(&d);
    }
    return d.is_out_of_memory ? aico_error_set(err, AICO_ENOMEM, "out of memory") : d.code;
}
