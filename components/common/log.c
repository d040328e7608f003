/* SPDX-License-Identifier: Apache-2.0 */
/* Log entries: lines on stderr, text or JSON, or entries of the journal. */
#include "common/log.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/journal.h"
#include "common/text.h"

#define WORDS(words) (sizeof(words) / sizeof((words)[0]))

static const char *const level_names[] = {"error", "warning", "info", "debug"};
static const char *const format_names[] = {"text", "json", "journal"};
static const int priorities[] = {3, 4, 6, 7}; /* of syslog(3) */

static const char *log_program = "aico";
static enum log_level log_level = LOG_INFO;
static enum log_format log_format = LOG_TEXT;

static bool find_word(const char *const *words, size_t count, const char *word, size_t *ret)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(words[i], word) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

bool log_level_parse(const char *word, enum log_level *ret)
{
    size_t index;

    if (!find_word(level_names, WORDS(level_names), word, &index))
        return false;
    *ret = (enum log_level)index;
    return true;
}

bool log_format_parse(const char *word, enum log_format *ret)
{
    size_t index;

    if (!find_word(format_names, WORDS(format_names), word, &index))
        return false;
    *ret = (enum log_format)index;
    return true;
}

int log_open(const char *program, enum log_level level, enum log_format format,
             struct aico_error *err)
{
    int r = format == LOG_JOURNAL ? journal_open(JOURNAL_SOCKET, err) : 0;

    log_program = program;
    log_level = level;
    log_format = r < 0 ? LOG_TEXT : format;
    return r;
}

bool log_has_fields(void)
{
    return log_format != LOG_TEXT;
}

void log_set_level(enum log_level level)
{
    log_level = level;
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

static void write_stamp(char *to, size_t size)
{
    char seconds[40];
    struct timespec now;
    struct tm utc;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &utc);
    (void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(to, size, "%s.%03dZ", seconds, (int)(now.tv_nsec / 1000000));
}

static bool write_journal(enum log_level level, const struct log_field *fields, size_t count,
                          const char *text)
{
    char identifier[64];

    (void)snprintf(identifier, sizeof(identifier), "aico-%s", log_program);
    return journal_send(priorities[level], identifier, fields, count, text);
}

static AICO_PRINTF(4, 0) void write_line(enum log_level level, const struct log_field *fields,
                                         size_t count, const char *format, va_list args)
{
    char text[1000], stamp[48], *line = NULL;
    size_t size = 0;
    FILE *to;

    if (!log_is_written(level))
        return;
    (void)vsnprintf(text, sizeof(text), format, args);
    if (log_format == LOG_JOURNAL && write_journal(level, fields, count, text))
        return;

    /* Put together first and written in one call, so that lines of threads do not mix. */
    write_stamp(stamp, sizeof(stamp));
    to = open_memstream(&line, &size);
    if (!to)
        return;
    if (log_format == LOG_JSON) {
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
