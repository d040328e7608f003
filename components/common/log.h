/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log of a program, one entry an event:
 *
 *   text     2026-11-20T20:00:00.123Z info broker: ready      a line on stderr
 *   json     {"time","level","program",FIELDS,"text"}         a line on stderr
 *   journal  PRIORITY, SYSLOG_IDENTIFIER, MESSAGE, AICO_...   fields for systemd's journal
 *
 * Only programs log; the library never does. Text that came from elsewhere is escaped here. Set up
 * once in main(); log_write() from any thread.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include <aico/error.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON, LOG_JOURNAL };

/* "error", "warning", "info", "debug"; "text", "json", "journal". False for other words. */
bool log_level_parse(const char *word, enum log_level *ret);
bool log_format_parse(const char *word, enum log_format *ret);

/* @program, "broker", is borrowed for good; the journal knows it as aico-broker. Entries above
 * @level are not written. 0, or AICO_ESYSTEM when no journal listens: then the log is text. Before
 * this: info, text. */
AICO_MUST_USE int log_open(const char *program, enum log_level level, enum log_format format,
                           struct aico_error *err);
/* From the next entry on. */
void log_set_level(enum log_level level);
bool log_is_written(enum log_level level);
bool log_has_fields(void); /* json or journal */
/* Writes one entry; the text is cut at 1000 bytes. No secrets. What the journal does not take is
 * written to stderr as text. */
void log_write(enum log_level level, const char *format, ...) AICO_PRINTF(2, 3);

/* A member of an entry beside the text; an empty value is left out. */
struct log_field {
    const char *name;
    const char *value;
};
/* As log_write(); as text the fields are not shown. */
void log_write_fields(enum log_level level, const struct log_field *fields, size_t count,
                      const char *format, ...) AICO_PRINTF(4, 5);

#endif
