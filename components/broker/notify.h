/* SPDX-License-Identifier: Apache-2.0 */
/* Tells systemd how we are, if it started us: sd_notify(3), protocol only. main() thread. */
#ifndef BROKER_NOTIFY_H
#define BROKER_NOTIFY_H

/* Sends "READY=1" or the like to $NOTIFY_SOCKET; does nothing without one. */
void notify_send(const char *state);
/* RELOADING=1 with the time systemd wants, then READY=1. */
void notify_reloaded(void);

#endif
