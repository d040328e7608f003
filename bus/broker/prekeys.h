/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory of prekeys: what a component left with the broker so that others can begin a
 * ratchet with it while it is away (PROTOCOL 9). Statements are stored; one-time keys are in memory
 * alone, so that no restored store can give one twice (decision 0086): whoever connects again
 * leaves new ones. The broker verifies nothing but whose it is; those who fetch it do.
 */
#ifndef BROKER_PREKEYS_H
#define BROKER_PREKEYS_H

#include "wire/record.h"

struct broker;
struct broker_peer;
struct member;
struct store_order;

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
/* Asks the store what was left before. 0 or AICO_ENOMEM. */
int prekeys_start(struct broker *broker);
void prekeys_loaded(struct broker *broker, struct store_order *order);
void prekeys_free(struct broker *broker);

#endif
