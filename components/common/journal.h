/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Log entries with fields for systemd's journal, in its own protocol: one datagram an entry, a line
 * "NAME=value" a field (systemd.io/JOURNAL_NATIVE_PROTOCOL). One journal a process, opened by
 * main().
 */
#ifndef COMMON_JOURNAL_H
#define COMMON_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>

#include <aico/error.h>

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define JOURNAL_ENTRY_MAX 8192

struct log_field;

/* @path: JOURNAL_SOCKET, but for tests. 0, or AICO_ESYSTEM when no journal listens there. */
AICO_MUST_USE int journal_open(const char *path, struct aico_error *err);
/*
 * Sends one entry; never waits. Each field becomes AICO_NAME in upper case.
 *
 * @priority    of syslog(3): 3 error, 4 warning, 6 info, 7 debug
 * @identifier  SYSLOG_IDENTIFIER: the program
 *
 * False when the journal did not take it: it is gone, does not keep up, or the entry is larger than
 * JOURNAL_ENTRY_MAX. Any thread.
 */
bool journal_send(int priority, const char *identifier, const struct log_field *fields,
                  size_t count, const char *text);
void journal_close(void);

#endif
