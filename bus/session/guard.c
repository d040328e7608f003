/* SPDX-License-Identifier: Apache-2.0 */
/* Token buckets and the replay cache of handshakes. One owner, not thread-safe. */
#include <stdlib.h>

#include "base/hash.h"
#include "base/bucket.h"
#include "session/guard.h"

#define DIALER_PER_SECOND 10
#define DIALER_BURST 20
#define ALL_PER_SECOND 2000
#define ALL_BURST 2000

struct guard_dialer {
    UT_hash_handle hh;
    uint8_t identity[SIGN_PUBLIC_SIZE];
    struct bucket bucket;
};

struct guard_pair {
    UT_hash_handle hh; /* in the order of entering, so the oldest comes first */
    uint8_t pair[SIGN_PUBLIC_SIZE + DH_PUBLIC_SIZE];
    int64_t until_ms;
};

struct guard {
    int64_t keep_ms;
    struct bucket all;
    struct guard_dialer *dialers;
    struct guard_pair *pairs;
};

struct guard *guard_new(int64_t keep_ms)
{
    struct guard *guard = calloc(1, sizeof(*guard));

    if (guard)
        guard->keep_ms = keep_ms;
    return guard;
}

void guard_free(struct guard **guard)
{
    struct guard_dialer *dialer, *next_dialer;
    struct guard_pair *pair, *next_pair;

    if (!*guard)
        return;
    HASH_ITER(hh, (*guard)->dialers, dialer, next_dialer)
    {
        HASH_DEL((*guard)->dialers, dialer);
        free(dialer);
    }
    HASH_ITER(hh, (*guard)->pairs, pair, next_pair)
    {
        HASH_DEL((*guard)->pairs, pair);
        free(pair);
    }
    free(*guard);
    *guard = NULL;
}

static struct guard_dialer *dialer_of(struct guard *guard, const uint8_t *identity)
{
    struct guard_dialer *dialer;

    HASH_FIND(hh, guard->dialers, identity, SIGN_PUBLIC_SIZE, dialer);
    if (dialer)
        return dialer;
    dialer = calloc(1, sizeof(*dialer));
    if (!dialer)
        return NULL;
    memcpy(dialer->identity, identity, SIGN_PUBLIC_SIZE);
    HASH_ADD(hh, guard->dialers, identity, SIGN_PUBLIC_SIZE, dialer);
    if (!HASH_ADDED(hh, dialer)) {
        free(dialer);
        return NULL;
    }
    return dialer;
}

int guard_admit(struct guard *guard, struct moment now, const uint8_t dialer[SIGN_PUBLIC_SIZE],
                size_t half_open)
{
    struct guard_dialer *known = dialer_of(guard, dialer);

    if (!known)
        return AICO_ENOMEM;
    /* The dialer's own first: one that floods must not empty the common bucket. */
    if (!bucket_take(&known->bucket, now.boot_ms, DIALER_PER_SECOND, DIALER_BURST) ||
        !bucket_take(&guard->all, now.boot_ms, ALL_PER_SECOND, ALL_BURST) ||
        half_open >= HALF_OPEN_MAX)
        return AICO_ERATE;
    return 0;
}

static void forget_old(struct guard *guard, struct moment now)
{
    struct guard_pair *pair, *next;

    HASH_ITER(hh, guard->pairs, pair, next)
    {
        if (pair->until_ms >= now.boot_ms)
            return;
        HASH_DEL(guard->pairs, pair);
        free(pair);
    }
}

bool guard_has_seen(struct guard *guard, struct moment now, const uint8_t dialer[SIGN_PUBLIC_SIZE],
                    const uint8_t ephemeral[DH_PUBLIC_SIZE])
{
    uint8_t key[SIGN_PUBLIC_SIZE + DH_PUBLIC_SIZE];
    struct guard_pair *pair;

    forget_old(guard, now);
    memcpy(key, dialer, SIGN_PUBLIC_SIZE);
    memcpy(key + SIGN_PUBLIC_SIZE, ephemeral, DH_PUBLIC_SIZE);
    HASH_FIND(hh, guard->pairs, key, sizeof(key), pair);
    return pair != NULL;
}

int guard_enter(struct guard *guard, struct moment now, const uint8_t dialer[SIGN_PUBLIC_SIZE],
                const uint8_t ephemeral[DH_PUBLIC_SIZE])
{
    struct guard_pair *pair = calloc(1, sizeof(*pair));

    if (!pair)
        return AICO_ENOMEM;
    memcpy(pair->pair, dialer, SIGN_PUBLIC_SIZE);
    memcpy(pair->pair + SIGN_PUBLIC_SIZE, ephemeral, DH_PUBLIC_SIZE);
    pair->until_ms = now.boot_ms + guard->keep_ms;
    HASH_ADD(hh, guard->pairs, pair, sizeof(pair->pair), pair);
    if (!HASH_ADDED(hh, pair)) {
        free(pair);
        return AICO_ENOMEM;
    }
    return 0;
}
