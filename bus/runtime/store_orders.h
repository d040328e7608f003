/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out what the broker core orders of its store. No threads and no clock: broker_store.c
 * calls it from its thread, the simulator from its only one.
 */
#ifndef RUNTIME_STORE_ORDERS_H
#define RUNTIME_STORE_ORDERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/store.h"

struct streams;

#define KEYS_REFUSED_KEPT 64

struct store_hand {
    struct streams *streams; /* borrowed */
    int64_t last_ms;         /* a message is not stored at an earlier time than the one before */
    size_t rows_max;         /* deleted by an order beside as many as are stored; 0: some 1,000 */
    size_t stored;           /* orders of this list that store a message */
    bool void_left;          /* of what is void as much is deleted as in one list may be */
    /* Generations whose keys found no room, the latest: what is sealed with them is refused, for
     * its readers could not open it. */
    struct keys_refused {
        uint8_t identity[SIGN_PUBLIC_SIZE], key_id[STORE_KEY_ID_SIZE];
    } refused[KEYS_REFUSED_KEPT];
    size_t refused_count, refused_next;
};

/* All of @list, in its order: neighbours that store share a transaction, and what came of each
 * stands in it. What is deleted is deleted in steps: the order says when there is more. */
void store_orders_carry_out(struct store_hand *hand, struct store_order *list);

#endif
