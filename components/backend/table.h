/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of aico-backend. */
#ifndef BACKEND_TABLE_H
#define BACKEND_TABLE_H

#include "common/connect.h"

enum { OPTION_DB = CONNECT_END };

extern const struct program backend_program;

#endif
