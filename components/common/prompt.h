/* SPDX-License-Identifier: Apache-2.0 */
/* Asking the person at the terminal for what must not be seen. main() only. */
#ifndef COMMON_PROMPT_H
#define COMMON_PROMPT_H

#include <stdbool.h>
#include <stddef.h>

#include <aico/error.h>

#define PROMPT_MAX 1024 /* bytes of an answer */

/* Whether there is a person: standard input is a terminal. */
bool prompt_may_ask(void);
/*
 * Shows `PROMPT: ` on /dev/tty and reads one line with the echo off. A signal that would end or
 * stop the program puts the terminal back first.
 *
 * @to  room for PROMPT_MAX + 1 bytes; the caller erases it, also on failure
 *
 * Returns 0 with the line, without its end; AICO_ESTATE (a signal came, and the program goes on),
 * AICO_EINVAL (longer than PROMPT_MAX), AICO_ESYSTEM.
 */
AICO_MUST_USE int prompt_hidden(const char *prompt, char *to, struct aico_error *err);

#endif
