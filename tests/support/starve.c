/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that runs out. */
#include "starve.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>

#include <aico/error.h>

static size_t left; /* allocations that succeed before one fails; SIZE_MAX: none fails */
static bool is_armed, counts, has_failed;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *at, size_t size);
void *__real_reallocarray(void *at, size_t count, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
int __real_vasprintf(char **to, const char *format, va_list args);
void *__real_sodium_malloc(size_t size);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *at, size_t size);
void *__wrap_reallocarray(void *at, size_t count, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
int __wrap_asprintf(char **to, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap_vasprintf(char **to, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
void *__wrap_sodium_malloc(size_t size);

static bool fails(void)
{
    if (!counts || left == SIZE_MAX || has_failed)
        return false;
    if (left > 0) {
        left--;
        return false;
    }
    has_failed = true;
    errno = ENOMEM;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *at, size_t size)
{
    return fails() ? NULL : __real_realloc(at, size);
}

void *__wrap_reallocarray(void *at, size_t count, size_t size)
{
    return fails() ? NULL : __real_reallocarray(at, count, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return fails() ? NULL : __real_strndup(text, size);
}

int __wrap_vasprintf(char **to, const char *format, va_list args)
{
    return fails() ? -1 : __real_vasprintf(to, format, args);
}

int __wrap_asprintf(char **to, const char *format, ...)
{
    va_list args;
    int written;

    va_start(args, format);
    written = __wrap_vasprintf(to, format, args);
    va_end(args);
    return written;
}

void *__wrap_sodium_malloc(size_t size)
{
    return fails() ? NULL : __real_sodium_malloc(size);
}

void starve_arm(bool armed)
{
    is_armed = armed;
}

void starve_on(void)
{
    counts = is_armed;
}

void starve_off(void)
{
    counts = false;
}

bool starve_has_failed(void)
{
    return has_failed;
}

size_t starve_each(int (*work)(void *context), void *context, bool may_survive)
{
    for (size_t n = 0;; n++) {
        int r;

        left = n;
        has_failed = counts = false;
        is_armed = true;
        r = work(context);
        is_armed = counts = false;
        left = SIZE_MAX;
        if (!has_failed) {
            if (r != 0)
                fail_msg("with all its memory: %s", aico_error_name(r));
            return n;
        }
        if (r != AICO_ENOMEM && !(may_survive && r == 0))
            fail_msg("allocation %zu failed: %s instead of E_NOMEM", n + 1, aico_error_name(r));
    }
}
