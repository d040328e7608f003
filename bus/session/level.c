/* SPDX-License-Identifier: Apache-2.0 */
/* What security_level makes of a rule. Pure. */
#include "session/level.h"

bool level_is_maximum(const struct session_settings *settings)
{
    return settings->security_level == LEVEL_MAXIMUM;
}

bool level_ratchets(const struct session_settings *settings, const struct rule *rule)
{
    if (!rule)
        return false;
    return rule->seal == SEAL_RATCHET || (level_is_maximum(settings) && rule->seal != SEAL_NONE);
}

enum rule_authenticity level_authenticity(const struct session_settings *settings,
                                          const struct rule *rule)
{
    return level_is_maximum(settings) ? AUTHENTICITY_SIGNATURE : rule->authenticity;
}

bool level_pads(const struct session_settings *settings, const struct rule *rule)
{
    return rule->padding || level_is_maximum(settings);
}
