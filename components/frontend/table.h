/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of aico-frontend. */
#ifndef FRONTEND_TABLE_H
#define FRONTEND_TABLE_H

#include "common/connect.h"

enum { OPTION_SCRIPT = CONNECT_END, OPTION_SUB };

extern const struct program frontend_program;

#endif
