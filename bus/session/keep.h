/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the sessions need to find again after a restart, as rows of a struct keeper.
 *
 *   'r' || identity (32) || ratchet id (12)        u64 time of its Init || state (ratchet_write())
 *   's' || u32 statement                           Statement (152) || secret (32)
 *   'o' || u32 statement || u32 number             secret (32)
 *   'e' || identity (32) || EK (32)                u64 ms since 1970: seen, forgotten then || what
 *                                                  it opened: u32 below this number || u64 until
 *   'i' || u64 number                              a message that was opened and not yet taken
 *   'h' || identity (32)                           what a channel goes on from (peers_resume.c):
 *                                                  own identity (32) || channel id (12) ||
 *                                                  u32 policy || check of the pre-shared key (8) ||
 *                                                  u64 time || u64 registry version || u64 t0 ||
 *                                                  u64 handshake || u64 until || secret (32)
 */
#ifndef SESSION_KEEP_H
#define SESSION_KEEP_H

#include <aico/error.h>

#include "base/buffer.h"
#include "base/keeper.h"
#include "base/reader.h"
#include "base/writer.h"

#define KEEP_RATCHET 'r'
#define KEEP_STATEMENT 's'
#define KEEP_ONE_TIME 'o'
#define KEEP_SEEN 'e'
#define KEEP_INBOX 'i'
#define KEEP_RESUME 'h'
#define KEEP_RESUME_SIZE 128
#define KEEP_KEY_MAX 80

/* Changes on their way to one commit. Zero-initialised is empty. One owner. */
struct keep_batch {
    struct buffer bytes; /* key and value of each, wiped */
    struct keep_item {
        uint32_t key_size, value_size;
        bool removed;
    } * items;
    size_t count, capacity;
    bool failed; /* without memory: the commit will say so */
};
void keep_put(struct keep_batch *batch, struct bytes key, struct bytes value);
void keep_drop(struct keep_batch *batch, struct bytes key);
/* Commits and empties @batch; an empty one is 0 without a write. AICO_ENOMEM, or what the keeper
 * says. */
AICO_MUST_USE int keep_commit(struct keep_batch *batch, const struct keeper *keeper,
                              struct aico_error *err);
void keep_batch_deinit(struct keep_batch *batch);

#endif
