/* SPDX-License-Identifier: Apache-2.0 */
/* Wakes a thread that waits in poll(): an eventfd. */
#ifndef TRANSPORT_WAKE_H
#define TRANSPORT_WAKE_H

#include <aico/error.h>

struct wake {
    int fd; /* readable from wake_signal() until wake_clear(); -1: closed */
};

/* 0 or AICO_ESYSTEM (no descriptor left), then *ret is closed. */
AICO_MUST_USE int wake_open(struct wake *ret_wake);
void wake_close(struct wake *wake);
/* From any thread and from signal handlers; never blocks, keeps errno. */
void wake_signal(const struct wake *wake);
/* By the thread that waits, before it looks at what it was woken for. */
void wake_clear(const struct wake *wake);

#endif
