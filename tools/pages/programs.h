/* SPDX-License-Identifier: Apache-2.0 */
/* The command lines of all programs; what their ids mean stands in each program's own table.h. */
#ifndef PAGES_PROGRAMS_H
#define PAGES_PROGRAMS_H

#include "common/options.h"

extern const struct program cli_program, keytool_program, frontend_program, broker_program,
    backend_program;

static const struct program *const programs[] = {&cli_program, &keytool_program, &frontend_program,
                                                 &broker_program, &backend_program};
#define PROGRAM_COUNT (sizeof(programs) / sizeof(programs[0]))

#endif
