/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a channel goes on after a restart without a handshake, PROTOCOL 4 (Resume): pure functions.
 * Who may, and when, is session/peers_resume.c's business. Any thread.
 *
 *   Resume1, dialer to listener                      Resume2, listener to dialer
 *     0  u8  version = 1                               0  u8  version = 1
 *     1  u8  type = 7                                  1  u8  type = 8
 *     2  u16 0                                         2  u16 0
 *     4  12  id of the channel that was                4  12  the same
 *    16  32  nonce                                    16  32  nonce
 *    48  32  MAC(KDF(rs, "resume dialer"), 0..47)     48  32  MAC(KDF(rs, "resume listener"),
 *                                                             Resume1 || 0..47)
 *
 * rs is the channel's resumption secret. Both nonces are in the keys that follow from it, so no
 * copy of rs, however old, leads to keys that were used before.
 */
#ifndef SESSION_RESUME_H
#define SESSION_RESUME_H

#include "session/handshake.h"

#define RESUME_SIZE 80
#define RESUME_NONCE_SIZE 32

/* What both ends of a channel have of it. */
struct resume_secret {
    uint8_t id[CHANNEL_ID_SIZE];
    struct secret secret;
};

/* Writes Resume1. */
void resume_ask(const struct resume_secret *from, const uint8_t nonce[RESUME_NONCE_SIZE],
                uint8_t ret_resume1[RESUME_SIZE]);
/* The channel @resume1 names (CHANNEL_ID_SIZE); NULL: it is none. */
const uint8_t *resume_named(struct bytes resume1);
/* Checks Resume1, writes Resume2, makes the keys. AICO_ESIZE, AICO_EVERSION, AICO_ETYPE,
 * AICO_ECONTINUATION (another channel), AICO_ECONFIRM. */
AICO_MUST_USE int resume_answer(const struct resume_secret *from, struct bytes resume1,
                                const uint8_t nonce[RESUME_NONCE_SIZE],
                                uint8_t ret_resume2[RESUME_SIZE], struct channel_keys *ret_keys);
/* Checks Resume2 as the answer to @resume1 (RESUME_SIZE), makes the keys. The same codes. */
AICO_MUST_USE int resume_finish(const struct resume_secret *from, const uint8_t *resume1,
                                struct bytes resume2, struct channel_keys *ret_keys);
/* Of @ret_keys they set id, send, receive, resume and dialer; the rest is the caller's. */

#endif
