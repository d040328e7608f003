/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a ratchet starts while the other end is away, PROTOCOL 9: a signed statement and one-time
 * keys the receiver left with the broker, and the Init that answers them. Pure, one owner.
 *
 *   Statement                                      Init
 *     0   u8  version = 1                            0   u8  version = 1
 *     1   u8  type = 6                               1   u8  type = 5
 *     2   u16 suite = 1                              2   u16 suite = 1
 *     4   u32 number                                 4   u32 policy
 *     8   u64 created                                8   u64 time
 *    16   u64 expires                               16   u64 registry version
 *    24   32  identity                              24   32  sender
 *    56   32  X25519 key (SPK)                      56   32  receiver
 *    88   64  SIGN "prekey" over NS || 0..87        88   32  EK
 *                                                  120   u32 statement number
 *   One-time key: u32 number, 32 X25519 key        124   u32 one-time number (2^32-1: none)
 *                                                  128   32  H(statement)
 *                                                  160   64  SIGN "prekey init" over NS || 0..159
 *
 *   TA   = H(TAG("prekey transcript") || NS || Statement || Init || one-time key or zeros)
 *   mix  = KDF(DH(ek, SPK), "prekey mix", DH(ek, OPK) or "");  with a pre-shared key KDF(psk,
 * "psk", mix) rk   = KDF(KDF(mix, "prekey root", TA), "ratchet", "")
 */
#ifndef SESSION_PREKEY_H
#define SESSION_PREKEY_H

#include "session/handshake.h"
#include "session/ratchet.h"

#define PREKEY_STATEMENT_SIZE 152
#define PREKEY_ONE_TIME_SIZE 36 /* u32 number || key */
#define PREKEY_NO_ONE_TIME UINT32_MAX
#define PREKEY_DAY_MS ((int64_t)24 * 3600 * 1000)
#define PREKEY_NEW_AFTER_MS (7 * PREKEY_DAY_MS)
#define PREKEY_VALID_MS (14 * PREKEY_DAY_MS)
#define PREKEY_KEPT_MS (14 * PREKEY_DAY_MS) /* after it expired */
#define PREKEY_INIT_AGE_MS (14 * PREKEY_DAY_MS)

/* A statement, its fields; pointers borrowed from the bytes. */
struct prekey_statement {
    uint32_t number;
    int64_t created_ms, expires_ms;
    const uint8_t *identity;
    const uint8_t *public; /* SPK */
};
/* Ours, for the key of @secret. 0 or AICO_ENOMEM. */
AICO_MUST_USE int prekey_statement_make(const struct handshake_context *context, uint32_t number,
                                        int64_t created_ms, const struct secret *secret,
                                        uint8_t ret_statement[PREKEY_STATEMENT_SIZE]);
/* Structure: 0, AICO_ESIZE, AICO_EVERSION, AICO_ETYPE, AICO_ESUITE, AICO_EFORMAT (expires before it
 * was created). */
AICO_MUST_USE int prekey_statement_parse(struct bytes bytes, struct prekey_statement *ret);
/* That of @identity, usable now: also AICO_ETARGET (of somebody else), AICO_EPREKEYOLD,
 * AICO_ESIGNATURE. */
AICO_MUST_USE int prekey_statement_check(const struct handshake_context *context, struct moment now,
                                         const uint8_t identity[SIGN_PUBLIC_SIZE],
                                         struct bytes bytes, struct prekey_statement *ret);

/* An Init, its fields; pointers borrowed. */
struct prekey_init {
    uint32_t policy;
    uint64_t time, version;
    const uint8_t *sender, *receiver, *ephemeral;
    uint32_t statement, one_time;
    const uint8_t *statement_hash;
};
/* 0, AICO_ESIZE, AICO_EVERSION, AICO_ETYPE, AICO_ESUITE. */
AICO_MUST_USE int prekey_init_parse(struct bytes bytes, struct prekey_init *ret);
AICO_MUST_USE int prekey_init_verify(const struct handshake_context *context, struct bytes bytes);

/*
 * The sender's side: @statement was checked; @one_time (DH_PUBLIC_SIZE) NULL: there was none;
 * @ephemeral: ek. Writes Init and the first rk. 0, AICO_EDH, AICO_ENOMEM.
 */
AICO_MUST_USE int prekey_start(const struct handshake_context *context, struct moment now,
                               struct bytes statement, uint32_t one_time_number,
                               const uint8_t *one_time, const struct secret *ephemeral,
                               uint8_t ret_init[RATCHET_INIT_SIZE], struct secret *ret_root);
/* The receiver's side: @secret of the statement, @one_time the secret named by Init or NULL. The
 * caller checked everything but the key exchange. 0 or AICO_EDH. */
AICO_MUST_USE int prekey_finish(const struct handshake_context *context, struct bytes statement,
                                const struct secret *secret, const struct secret *one_time,
                                struct bytes init, struct secret *ret_root);
/* t0 of a ratchet that began with an Init of this time. */
static inline int64_t prekey_t0_ms(uint64_t time)
{
    return (int64_t)time - T0_BEFORE_MS;
}

#endif
