/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of the frontend: one table for a person's /lines and for scripts. */
#ifndef FRONTEND_COMMAND_H
#define FRONTEND_COMMAND_H

#include "frontend/session.h"

enum outcome {
    OUTCOME_DONE,
    OUTCOME_QUIT,
    OUTCOME_UNMET, /* "wait" or "expect" was disappointed; why is in @err */
};

/*
 * Runs "NAME ARGUMENT" and prints its result on stdout.
 *
 * Returns 0 and how it went, or a code with its text in @err: AICO_EINVAL (no such command, an
 * argument is missing), or what the bus answered.
 */
int command_run(struct session *session, const char *line, enum outcome *ret_outcome,
                struct aico_error *err);

#endif
