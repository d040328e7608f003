/* SPDX-License-Identifier: Apache-2.0 */
/* What the session layer must know of the configuration: PROTOCOL 7. Plain data, any thread. */
#ifndef SESSION_SETTINGS_H
#define SESSION_SETTINGS_H

#include "base/bytes.h"
#include "base/secret.h"

/* Bits of the policy both ends of a channel must agree on (PROTOCOL 4). */
#define POLICY_STRICT 0x001u
#define POLICY_FRESH 0x002u
#define POLICY_REUSE 0x004u
#define POLICY_PADDED 0x008u
#define POLICY_PSK 0x010u
#define POLICY_RATCHET 0x020u
#define POLICY_LEVEL_SHIFT 8

/* A key of ours that stored messages are sealed for; session/stored.h. */
struct reading_key {
    uint32_t number;
    int64_t created_ms;
    struct secret secret;
};

#define READING_KEYS_MAX 64

/* In guarded memory; the last one is the one that others are given. */
struct reading_keys {
    size_t count;
    struct reading_key items[READING_KEYS_MAX];
};
struct keeper;

/* Everything the pointers name is borrowed and outlives whoever holds the settings. */
struct session_settings {
    struct bytes namespace;                  /* 1..64 bytes */
    bool strict_ordering;                    /* enforce_message_ordering */
    bool fresh_handshake;                    /* require_fresh_handshake */
    bool key_reuse;                          /* allow_key_reuse */
    bool padding;                            /* padme on channels */
    uint8_t security_level;                  /* 0 standard, 1 high, 2 maximum */
    const struct secret *psk;                /* NULL: none */
    const struct reading_keys *reading_keys; /* NULL: nothing is sealed for us while we are away */
    int64_t synchrony_bound_ms;              /* 30,000 unless configured; the bound itself passes */
    int64_t handshake_timeout_ms;
    int64_t keepalive_interval_ms;
    int64_t key_rotation_interval_ms;
    int64_t session_timeout_ms;
    int64_t group_epoch_ms;
    int64_t registry_max_age_ms;     /* 0: off */
    size_t max_message_size;         /* bytes of content */
    size_t max_skipped_messages;     /* numbers of one chain of a ratchet that may be missing */
    size_t ratchet_inbox_max;        /* opened messages that an application does not take */
    const struct keeper *keeper;     /* session/keep.h; NULL: nothing is kept, and no ratchets */
    uint32_t connection_retry_limit; /* handshakes to one peer before it is given up; 0: none */
    const char *const *allowed_components; /* names; NULL: all of the registry */
    size_t allowed_count;
};

/* The defaults of PROTOCOL 7 in the namespace "aico". */
struct session_settings session_settings_default(void);
/* The policy word of a Hello. */
uint32_t session_policy(const struct session_settings *settings);
/* Writes the names of the bits of @bits ("ordering, padding") for people; always terminated. */
void session_policy_text(uint32_t bits, char *to, size_t size);

#endif
