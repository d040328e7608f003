/* SPDX-License-Identifier: Apache-2.0 */
/* Defaults and the policy word. Pure, any thread. */
#include <stdio.h>

#include "base/cleanup.h"
#include "session/level.h"

struct session_settings session_settings_default(void)
{
    return (struct session_settings){
        .namespace = bytes_text("aico"),
        .strict_ordering = true,
        .fresh_handshake = true,
        .security_level = 1,
        .synchrony_bound_ms = 30000,
        .handshake_timeout_ms = 30000,
        .keepalive_interval_ms = 60000,
        .key_rotation_interval_ms = 86400000,
        .session_timeout_ms = 3600000,
        .group_epoch_ms = 60000,
        .max_message_size = 16777216,
        .max_skipped_messages = 1000,
        .ratchet_inbox_max = 65536,
        .connection_retry_limit = 3,
    };
}

uint32_t session_policy(const struct session_settings *settings)
{
    uint32_t policy = (uint32_t)(settings->security_level & 3) << POLICY_LEVEL_SHIFT;

    if (settings->strict_ordering)
        policy |= POLICY_STRICT;
    if (settings->fresh_handshake)
        policy |= POLICY_FRESH;
    if (settings->key_reuse)
        policy |= POLICY_REUSE;
    if (settings->padding)
        policy |= POLICY_PADDED;
    if (settings->psk)
        policy |= POLICY_PSK;
    if (level_is_maximum(settings))
        policy |= POLICY_RATCHET;
    return policy;
}

void session_policy_text(uint32_t bits, char *to, size_t size)
{
    static const struct {
        uint32_t bits;
        const char *name;
    } names[] = {
        {POLICY_STRICT, "enforce_message_ordering"},
        {POLICY_FRESH, "require_fresh_handshake"},
        {POLICY_REUSE, "allow_key_reuse"},
        {POLICY_PADDED, "padding"},
        {POLICY_PSK, "psk_file"},
        {POLICY_RATCHET, "channel ratchet"},
        {3u << POLICY_LEVEL_SHIFT, "security_level"},
        {~0x33fu, "bits of a later version"},
    };
    size_t used = 0;

    if (size == 0)
        return;
    to[0] = '\0';
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        int n;

        if (!(bits & names[i].bits) || used >= size)
            continue;
        n = snprintf(to + used, size - used, "%s%s", used > 0 ? ", " : "", names[i].name);
        used += n > 0 ? (size_t)n : 0;
    }
}
