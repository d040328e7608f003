/* SPDX-License-Identifier: Apache-2.0 */
/* Log lines on stderr, text or JSON. */
#include "common/log.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/text.h"

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static const char *log_program = "aico";
static enum log_level log_level = LOG_INFO;
static bool log_is_json;

void log_open(const char *program, enum log_level level, bool is_json)
{
    log_program = program;
    log_level = level;
    log_is_json = is_json;
}

bool log_is_written(enum log_level level)
{
    return level <= log_level;
}

/* A JSON string: quotes, backslashes and controls escaped; bytes that are not UTF-8 replaced. */
static void write_json_text(FILE *to, const char *text)
{
    bool is_utf8 = text_is_utf8(text, strlen(text));

    (void)fputc('"', to);
    for (const uint8_t *at = (const uint8_t *)text; *at; at++) {
        if (*at == '"' || *at == '\\')
            (void)fprintf(to, "\\%c", *at);
        else if (*at < 0x20 || *at == 0x7f)
            (void)fprintf(to, "\\u%04x", *at);
        else
            (void)fputc(*at < 0x80 || is_utf8 ? *at : '?', to);
    }
    (void)fputc('"', to);
}

static void write_json(FILE *to, const char *stamp, enum log_level level,
                       const struct log_field *fields, size_t count, const char *text)
{
    (void)fprintf(to, "{\"time\":\"%s\",\"level\":\"%s\",\"program\":\"%s\",", stamp,
                  level_names[level], log_program);
    for (size_t i = 0; i < count; i++) {
        if (!*fields[i].value)
            continue;
        (void)fprintf(to, "\"%s\":", fields[i].name);
        write_json_text(to, fields[i].value);
        (void)fputc(',', to);
    }
    (void)fputs("\"text\":", to);
    write_json_text(to, text);
    (void)fputs("}\n", to);
}

static AICO_PRINTF(4, 0) void write_line(enum log_level level, const struct log_field *fields,
                                         size_t count, const char *format, va_list args)
{
    char text[1000], seconds[40], stamp[48], *line = NULL;
    size_t size = 0;
    struct timespec now;
    struct tm utc;
    FILE *to;

    if (!log_is_written(level))
        return;
    (void)vsnprintf(text, sizeof(text), format, args);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    (void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(stamp, sizeof(stamp), "%s.%03dZ", seconds, (int)(now.tv_nsec / 1000000));

    /* Put together first and written in one call, so that lines of threads do not mix. */
    to = open_memstream(&line, &size);
    if (!to)
        return;
    if (log_is_json) {
        write_json(to, stamp, level, fields, count, text);
    } else {
        (void)fprintf(to, "%s %s %s: ", stamp, level_names[level], log_program);
        text_write_escaped(to, text, strlen(text));
        (void)fputc('\n', to);
    }
    if (fclose(to) == 0 && line)
        (void)fwrite(line, 1, size, stderr);
    free(line);
}

void log_write(enum log_level level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_line(level, NULL, 0, format, args);
    va_end(args);
}

void log_write_fields(enum log_level level, const struct log_field *fields, size_t count,
                      const char *format, ...)
{
    va_list args;

    va_start(args, format);
    write_line(level, fields, count, format, args);
    va_end(args);
}
