/* SPDX-License-Identifier: Apache-2.0 */
/* Which topics lie under a filter. Pure; any thread. */
#ifndef FRONTEND_FILTER_H
#define FRONTEND_FILTER_H

#include <stdbool.h>

/* * or + stands for one level, ** or #, at the end, for any number of levels, also none. */
bool filter_matches(const char *filter, const char *topic);

#endif
