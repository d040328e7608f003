/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys of stored messages (docs/streams.md, docs/decisions/0047): what a publisher leaves at the
 * broker so that a reader opens its messages when the publisher is gone for good.
 *
 *   Reading, 144 bytes: a component's key for what is sealed for it while it is away
 *     u8 1, u8 type 9, u16 suite, u32 number, u64 created, 32 identity, 32 X25519 key,
 *     64 SIGN(identity, "reading key", lp8(NS) || bytes 0..79)
 *
 *   StoredKey: the secret g_0 of a generation, for one reader
 *     u8 1, u8 type 10, u16 suite, u32 reading number, u64 generation, 12 group id, u8 trailer,
 *     u8 padded, 32 publisher, 32 reader, 32 E, lp16(filter), 48 SEAL(k, 0^24, head, g_0),
 *     64 SIGN(publisher, "stored key", lp8(NS) || every byte before)
 *     head = every byte before SEAL;  S = the key of the Reading
 *     k = KDF(DH(e, S), "stored key seal", H(TAG("stored key transcript") || lp8(NS) || head || S))
 *
 * Pure functions; secrets in memory of the caller.
 */
#ifndef SESSION_STORED_H
#define SESSION_STORED_H

#include "base/buffer.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "envelope/envelope.h"
#include "session/settings.h"

#define READING_SIZE 144
#define STORED_KEY_FIXED 128 /* of a StoredKey before its filter */

/* What a Reading says, once it has verified. */
struct reading {
    uint32_t number;
    int64_t created_ms;
    uint8_t public[DH_PUBLIC_SIZE];
};

/* The Reading of @self for the key @secret. 0 or AICO_ENOMEM. */
AICO_MUST_USE int reading_write(const struct identity *self, struct bytes namespace,
                                const struct reading_key *key, uint8_t to[READING_SIZE]);
/* 0; AICO_ESIZE, AICO_EVERSION, AICO_ETYPE, AICO_ESUITE, AICO_ETARGET (of another than @identity),
 * AICO_ESIGNATURE, AICO_ENOMEM. */
AICO_MUST_USE int reading_verify(struct bytes statement, const uint8_t identity[SIGN_PUBLIC_SIZE],
                                 struct bytes namespace, struct reading *ret_reading);

/* A generation, as its StoredKeys tell it. */
struct stored_generation {
    uint64_t generation;
    uint8_t id[ENVELOPE_KEY_ID_SIZE];
    uint8_t trailer; /* enum envelope_trailer */
    bool padded;
    struct bytes filter; /* borrowed */
};

/* Appends the StoredKey of @generation and @g0 for @reader to @out. 0, AICO_EDH (the reading key is
 * of low order), AICO_ENOMEM. */
AICO_MUST_USE int stored_key_write(const struct identity *self, struct bytes namespace,
                                   struct hedge *hedge, const struct stored_generation *generation,
                                   const struct secret *g0, const uint8_t reader[SIGN_PUBLIC_SIZE],
                                   const struct reading *reading, struct buffer *out);
/*
 * Opens one made by @publisher for @self, which is or was our identity, with one of our reading
 * keys. The group id is checked against what comes out. 0; AICO_ESIZE, AICO_EVERSION, AICO_ETYPE,
 * AICO_ESUITE, AICO_EFORMAT, AICO_ETARGET (another reader), AICO_ESTAMP (another publisher),
 * AICO_ESIGNATURE, AICO_ENOPREKEY (the reading key is erased, or was never ours), AICO_EDH,
 * AICO_EOPEN, AICO_ENOMEM. The filter in
 * @ret_generation is borrowed from @bytes.
 */
AICO_MUST_USE int stored_key_open(struct bytes bytes, const uint8_t self[SIGN_PUBLIC_SIZE],
                                  struct bytes namespace, const uint8_t publisher[SIGN_PUBLIC_SIZE],
                                  const struct reading_keys *keys,
                                  struct stored_generation *ret_generation, struct secret *ret_g0);

#endif
