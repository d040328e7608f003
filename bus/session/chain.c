/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Epoch keys of one direction. One owner, not thread-safe.
 *
 * Structs that hold keys are filled field by field: a compound literal would be built on the stack
 * first and leave its copy of the key there.
 */
#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "session/chain.h"

static void step_key(const char *label, struct secret *key)
{
    kdf(key, label, bytes_of(NULL, 0), key);
}

void chain_sender_init(struct chain_sender *chain, const char *label, const struct secret *key)
{
    memset(chain, 0, sizeof(*chain));
    chain->label = label;
    chain->key = *key;
}

int64_t chain_sender_deadline(const struct chain_sender *chain, int64_t epoch_ms)
{
    return chain->sealed > 0 ? chain->started_ms + epoch_ms : MOMENT_NEVER;
}

bool chain_sender_is_due(const struct chain_sender *chain, struct moment now, int64_t epoch_ms)
{
    return chain->sealed >= CHAIN_ENVELOPES_MAX ||
           now.boot_ms >= chain_sender_deadline(chain, epoch_ms);
}

void chain_sender_step(struct chain_sender *chain)
{
    step_key(chain->label, &chain->key);
    chain->epoch++;
    chain->sealed = 0;
}

void chain_sender_count(struct chain_sender *chain, struct moment now)
{
    if (chain->sealed++ == 0)
        chain->started_ms = now.boot_ms;
}

void chain_receiver_init(struct chain_receiver *chain, const char *label, const struct secret *key,
                         uint32_t epoch, bool windowed)
{
    memset(chain, 0, sizeof(*chain));
    chain->label = label;
    chain->key = *key;
    chain->epoch = epoch;
    chain->windowed = windowed;
}

void chain_key_wipe(struct chain_key *key)
{
    memory_wipe(key, sizeof(*key));
}

int chain_receiver_find(const struct chain_receiver *chain, struct moment now, uint32_t epoch,
                        struct chain_key *ret_key)
{
    if (epoch < chain->epoch) {
        for (size_t i = 0; i < CHAIN_KEPT; i++) {
            const struct chain_old *old = &chain->old[i];

            if (old->until_ms > now.boot_ms && old->epoch == epoch) {
                memset(ret_key, 0, sizeof(*ret_key));
                ret_key->epoch = epoch;
                ret_key->key = old->key;
                return 0;
            }
        }
        return AICO_EEPOCHBACK;
    }
    if (epoch - chain->epoch > CHAIN_JUMP_MAX)
        return AICO_EEPOCHJUMP;
    memset(ret_key, 0, sizeof(*ret_key));
    ret_key->epoch = epoch;
    ret_key->steps = epoch - chain->epoch;
    ret_key->key = chain->key;
    for (uint32_t i = 0; i < ret_key->steps; i++) {
        ret_key->before[1] = ret_key->before[0];
        ret_key->before[0] = ret_key->key;
        step_key(chain->label, &ret_key->key);
    }
    return 0;
}

static void keep(struct chain_receiver *chain, const struct secret *key, uint32_t epoch,
                 int64_t until_ms)
{
    chain->old[1] = chain->old[0];
    chain->old[0].key = *key;
    chain->old[0].epoch = epoch;
    chain->old[0].until_ms = until_ms;
}

void chain_receiver_move(struct chain_receiver *chain, const struct chain_key *key,
                         struct moment now, int64_t keep_ms)
{
    if (key->epoch < chain->epoch)
        return;
    if (chain->windowed) {
        if (key->steps > 1)
            keep(chain, &key->before[1], key->epoch - 2, now.boot_ms + keep_ms);
        if (key->steps > 0)
            keep(chain, &key->before[0], key->epoch - 1, now.boot_ms + keep_ms);
    }
    chain->key = key->key;
    chain->epoch = key->epoch;
    chain->opened = true;
    chain->heard_ms = now.boot_ms;
}

int64_t chain_receiver_deadline(const struct chain_receiver *chain, int64_t epoch_ms,
                                bool backlogged)
{
    int64_t deadline = MOMENT_NEVER;

    if (chain->opened && !backlogged)
        deadline = chain->heard_ms + epoch_ms + CHAIN_IDLE_EXTRA_MS;
    for (size_t i = 0; i < CHAIN_KEPT; i++)
        if (chain->old[i].until_ms)
            deadline = MIN(deadline, chain->old[i].until_ms);
    return deadline;
}

bool chain_receiver_tick(struct chain_receiver *chain, struct moment now, int64_t epoch_ms,
                         int64_t keep_ms, bool backlogged)
{
    for (size_t i = 0; i < CHAIN_KEPT; i++)
        if (chain->old[i].until_ms && chain->old[i].until_ms <= now.boot_ms)
            memory_wipe(&chain->old[i], sizeof(chain->old[i]));
    if (!chain->opened || backlogged ||
        now.boot_ms < chain->heard_ms + epoch_ms + CHAIN_IDLE_EXTRA_MS)
        return false;
    if (chain->windowed)
        keep(chain, &chain->key, chain->epoch, now.boot_ms + keep_ms);
    step_key(chain->label, &chain->key);
    chain->epoch++;
    chain->opened = false;
    return true;
}
