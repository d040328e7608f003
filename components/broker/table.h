/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of aico-broker. */
#ifndef BROKER_TABLE_H
#define BROKER_TABLE_H

#include "common/connect.h"

enum { OPTION_CHECK = CONNECT_END, OPTION_PRINT_CONFIG };

extern const struct program broker_program;

#endif
