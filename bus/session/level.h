/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What security_level makes of a rule (PROTOCOL 7, docs/decisions/0100). Below maximum a rule is
 * what it says; at maximum what goes to one component is ratcheted, groups sign and are padded, and
 * format 0 is not spoken. Pure, any thread.
 */
#ifndef SESSION_LEVEL_H
#define SESSION_LEVEL_H

#include "session/settings.h"
#include "trust/registry.h"

#define LEVEL_MAXIMUM 2 /* session_settings.security_level */

bool level_is_maximum(const struct session_settings *settings);
/* Whether a message to one component on a topic of @rule (NULL: no) goes over a ratchet. */
bool level_ratchets(const struct session_settings *settings, const struct rule *rule);
enum rule_authenticity level_authenticity(const struct session_settings *settings,
                                          const struct rule *rule);
/* Whether groups of @rule are padded. */
bool level_pads(const struct session_settings *settings, const struct rule *rule);

#endif
