/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Topics and filters (docs/protocol.md "Topics"). A topic is 1..255 bytes of UTF-8, 1..32 levels
 * split by '/', no empty level, no control characters, no '*', '+', '#'. A filter may also have `*`
 * or `+` as a whole level (exactly one level) and, as its last level, `**` or `#` (any number of
 * trailing levels, also none: `a/#`, as in MQTT, matches a, a/b and a/b/c). Names that
 * begin with `$` belong to the bus; no wildcard in the first level matches them. Pure, no
 * allocation, any thread.
 */
#ifndef WIRE_TOPIC_H
#define WIRE_TOPIC_H

#include "base/bytes.h"

#define TOPIC_SIZE_MAX 255
#define TOPIC_LEVELS_MAX 32

bool topic_is_valid(struct bytes topic);
bool filter_is_valid(struct bytes filter);
/* Whether @filter (valid) contains a wildcard; one without is a topic. */
bool filter_has_wildcard(struct bytes filter);
/* Both valid. */
bool filter_matches(struct bytes filter, struct bytes topic);
/* Whether some topic matches both; whether every topic of @inner matches @outer. */
bool filter_overlaps(struct bytes a, struct bytes b);
bool filter_covers(struct bytes outer, struct bytes inner);
/* Begins with '$'. */
bool topic_is_internal(struct bytes topic);
/* Writes @filter with `+` as `*` and `#` as `**`: the one spelling used inside; same-or-one-longer.
 * Returns its size, or 0 if it would pass TOPIC_SIZE_MAX. */
size_t filter_canonical(struct bytes filter, char to[TOPIC_SIZE_MAX + 1]);

/* Whether a level of a valid filter is `*` or `+`; `**` or `#`. */
bool topic_level_is_one(struct bytes level);
bool topic_level_is_rest(struct bytes level);
/* Steps through levels: while (topic_next_level(&rest, &level)). */
bool topic_next_level(struct bytes *rest, struct bytes *ret_level);

#endif
