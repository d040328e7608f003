/* SPDX-License-Identifier: Apache-2.0 */
/* How messages look on stdout: lines for people, JSON objects for scripts. */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include "cli/cli.h"

/* One event, retained message or reply, as --raw, --json and --wire ask. */
void print_message(const struct cli *cli, const struct aico_message *message);
/* A GAP, UNOPENED, or STATE: on stdout as JSON, else a note on stderr. */
void print_notice(const struct cli *cli, const struct aico_message *message);

#endif
