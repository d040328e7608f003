/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INT, TERM and HUP as a readable descriptor, so that a program ends at a place of its choosing.
 * Process-wide by nature (signal handlers are); called from main().
 */
#ifndef COMMON_STOP_H
#define COMMON_STOP_H

/* Takes the signals over and returns a descriptor that becomes readable when one arrives, or a
 * negative AICO_E... A second signal ends the process at once: a stuck program can be stopped. */
int stop_open(void);
/* The signal that arrived, 0 if none. */
int stop_signal(void);

#endif
