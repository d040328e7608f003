/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fresh() of PROTOCOL.md section 1: hedged randomness. The source of raw random bytes and of the
 * times is a table, so that tests and the simulator own it.
 */
#ifndef CRYPTO_RANDOM_H
#define CRYPTO_RANDOM_H

#include "crypto/crypto.h"

struct random_source {
    void (*bytes)(void *context, void *to, size_t size);
    void (*times)(void *context, uint64_t *ret_real_ns, uint64_t *ret_boot_ns, uint64_t *ret_pid);
    void *context;
};
/* randombytes_buf and the system's clocks. */
extern const struct random_source random_system;

/* One per process and identity; keeps the counter. Not thread-safe. Wipe with hedge_wipe(). */
struct hedge {
    struct secret key; /* KDF(seed, "hedge", "") */
    uint64_t counter;
    struct random_source source;
};
void hedge_init(struct hedge *hedge, const struct secret *seed, struct random_source source);
void hedge_wipe(struct hedge *hedge);
void fresh(struct hedge *hedge, const char *purpose, struct secret *ret_out);

#endif
