/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of prekeys: what a component left with the broker so that others can begin a
 * ratchet with it while it is away (PROTOCOL 9). In memory: whoever connects again leaves it again.
 * The broker verifies nothing but whose it is; those who fetch it do.
 */
#ifndef BROKER_PREKEYS_H
#define BROKER_PREKEYS_H

#include "wire/record.h"

struct broker;
struct broker_peer;
struct member;

/* A statement and the one-time keys that were not given out. */
struct prekeys {
    uint32_t number;
    uint8_t statement[STATEMENT_SIZE];
    size_t count;
    uint8_t keys[PREKEYS_MAX][ONE_TIME_SIZE]; /* the oldest first */
};

int on_prekeys(struct broker *broker, struct broker_peer *peer, const struct record *record);
int on_bundle(struct broker *broker, struct broker_peer *peer, const struct record *record);
/* @member is no longer active: what it left goes. */
void prekeys_forget(struct member *member);

#endif
