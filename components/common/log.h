/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a program: one line an event on stderr, as text
 *
 *   2026-11-20T20:00:00.123Z info broker: ready
 *
 * or as JSON {"time","level","program","text"} and what else there is to tell. Only programs log;
 * the library never does. Text that came from elsewhere is escaped here. Set up once in main();
 * log_write() from any thread.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include <aico/error.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* @program is borrowed for good. Lines above @level are not written. Before this: info, text. */
void log_open(const char *program, enum log_level level, bool is_json);
bool log_is_written(enum log_level level);
/* Writes one line; the text is cut at 1000 bytes. No secrets. */
void log_write(enum log_level level, const char *format, ...) AICO_PRINTF(2, 3);

/* A member of a JSON line beside the text; an empty value is left out. */
struct log_field {
    const char *name;
    const char *value;
};
/* As log_write(); as text the fields are not shown. */
void log_write_fields(enum log_level level, const struct log_field *fields, size_t count,
                      const char *format, ...) AICO_PRINTF(4, 5);

#endif
