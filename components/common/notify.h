/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tells systemd how the service is, as sd_notify(3): nothing happens without $NOTIFY_SOCKET. The
 * main loop calls notify_alive() in its turns, so that the watchdog of the unit bites when it
 * hangs. By the thread of the loop.
 */
#ifndef COMMON_NOTIFY_H
#define COMMON_NOTIFY_H

#include <stdint.h>

/* One or more lines "NAME=value". */
void notify_send(const char *state);
/* RELOADING=1 with the time it has now, then READY=1. */
void notify_reloaded(void);
/* A line for `systemctl status`; sent when it is another one than before, at
 * most every two seconds. */
void notify_status(const char *text);
/* WATCHDOG=1 when half of $WATCHDOG_USEC is over since the last one. */
void notify_alive(void);
/* How often notify_alive() wants to be called, ms; -1: there is no watchdog. */
int64_t notify_interval_ms(void);

#endif
