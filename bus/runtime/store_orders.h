/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out what the broker core orders of its store. No threads and no clock: broker_store.c
 * calls it from its thread, the simulator from its only one.
 */
#ifndef RUNTIME_STORE_ORDERS_H
#define RUNTIME_STORE_ORDERS_H

#include <stdint.h>

struct store_order;
struct streams;

struct store_hand {
    struct streams *streams; /* borrowed */
    int64_t last_ms;         /* a message is not stored at an earlier time than the one before */
    int64_t swept_ms;        /* the broker's clock */
};

/* All of @list, in its order: neighbours that store share a transaction, and what came of each
 * stands in it. Then what retention has left to delete. */
void store_orders_carry_out(struct store_hand *hand, struct store_order *list);

#endif
