/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses of the bus, and the paths in a configuration. No I/O, any thread. */
#ifndef CONFIG_ENDPOINT_H
#define CONFIG_ENDPOINT_H

#include "config/value.h"

/*
 * Expands `~` and ${AICO_HOME} and makes the path absolute.
 *
 * @ret_path  free() it
 * @why       as in value_read()
 *
 * Returns 0, AICO_ECONFIG or AICO_ENOMEM.
 */
int endpoint_expand_path(const char *text, const struct value_context *context, char **ret_path,
                         char *why);

/*
 * Checks "ipc:///path" or "tcp://host:port", and if @may_be_bare also "host:port".
 *
 * @ret_endpoint  with its scheme and its path expanded; free() it
 *
 * Returns as endpoint_expand_path().
 */
int endpoint_parse(const char *text, bool may_be_bare, const struct value_context *context,
                   char **ret_endpoint, char *why);

/* Is it an address to listen on only: the host is `*`, 0.0.0.0 or [::]? */
bool endpoint_is_wildcard(const char *endpoint);
/* The endpoint to connect to for one that is listened on; free() it. NULL without memory. */
char *endpoint_to_connect(const char *endpoint);
/* "tcp" and "ipc" endpoints take each other's place only within their kind. */
bool endpoint_same_kind(const char *a, const char *b);

#endif
