/* SPDX-License-Identifier: Apache-2.0 */
/* What both halves of the handshake share and nobody else sees. */
#ifndef TRANSPORT_ZMTP_INTERNAL_H
#define TRANSPORT_ZMTP_INTERNAL_H

#include "base/reader.h"
#include "cipher/secretbox.h"
#include "crypto/box.h"
#include "crypto/random.h"
#include "transport/zmtp.h"

/*
 *   byte[10]  signature   ff, eight of any value, 7f
 *   u8 u8     version     major, minor
 *   byte[20]  mechanism   zero padded
 *   u8        as-server   libzmq leaves it 0
 *   byte[31]  filler      zeros
 */
#define GREETING_SIZE 64
#define AT_SIGNATURE_END 9
#define AT_MAJOR 10
#define AT_MECHANISM 12
#define MECHANISM_SIZE 20

/* A frame: u8 flags, its size as u8 or (FRAME_LONG) u64, its body. With CURVE nothing has a second
 * part: whether a message has is within what is sealed. */
#define FRAME_LONG 2
#define FRAME_COMMAND 4
#define HEAD_SIZE 2
#define LONG_HEAD_SIZE 9

/*
 * The bodies of CurveZMQ; each begins with its name as lp8. A box of n bytes takes n + 16.
 *
 *   HELLO     u8 u8     version   1, 0
 *             byte[72]  filler    zeros
 *             byte[32]  C'
 *             byte[8]   nonce     "CurveZMQHELLO---" and it
 *             box       64 zeros, C' to S
 *   WELCOME   byte[16]  nonce     "WELCOME-" and it
 *             box       S' and a cookie of 96 bytes, S to C'
 *   INITIATE  byte[96]  cookie
 *             byte[8]   nonce     "CurveZMQINITIATE" and it
 *             box       C, byte[16] vouch nonce, vouch, metadata; C' to S'
 *   vouch               "VOUCH---" and its nonce
 *             box       C' and S, C to S'
 *   READY     byte[8]   nonce     "CurveZMQREADY---" and it
 *             box       metadata; S' to C'
 *   ERROR     lp8       status
 *   MESSAGE   byte[8]   nonce     "CurveZMQMESSAGEC" or "...S" and it
 *             box       u8 flags, the frame
 *
 * Short nonces count, from 1, in one row for all that one side sends.
 */
#define NAME_HELLO "\5HELLO"
#define NAME_WELCOME "\7WELCOME"
#define NAME_INITIATE "\10INITIATE"
#define NAME_READY "\5READY"
#define NAME_ERROR "\5ERROR"
#define NAME_MESSAGE "\7MESSAGE"
#define HELLO_FILLER_SIZE 72
#define HELLO_PLAIN_SIZE 64
#define COOKIE_SIZE 96
#define LONG_NONCE_SIZE 16
#define SHORT_NONCE_SIZE 8
#define VOUCH_SIZE (2 * DH_PUBLIC_SIZE)
#define MESSAGE_HEAD_SIZE (sizeof(NAME_MESSAGE) - 1 + SHORT_NONCE_SIZE)
#define MESSAGE_SIZE_MIN (MESSAGE_HEAD_SIZE + SECRETBOX_TAG_SIZE + 1)

/* Metadata: each lp8 name and lp32 value. The broker chooses routing ids, so that of both is empty.
 */
#define PROPERTY_TYPE "Socket-Type"
#define PROPERTY_ID "Identity"
#define METADATA_OF(type) "\13" PROPERTY_TYPE "\0\0\0\6" type "\10" PROPERTY_ID "\0\0\0\0"
#define METADATA_SIZE (sizeof(METADATA_OF("ROUTER")) - 1)

extern const char zmtp_mechanism[MECHANISM_SIZE];

static inline struct bytes name_of(const char *name)
{
    return bytes_text(name);
}

static inline bool take_name(struct reader *r, const char *name)
{
    return bytes_equal(reader_bytes(r, strlen(name)), name_of(name));
}

static inline void zmtp_random(void *to, size_t size)
{
    random_system.bytes(random_system.context, to, size);
}

/* Wipes what is known and returns @why. */
enum zmtp_shaken zmtp_fail(struct zmtp *zmtp, enum zmtp_shaken why);
void zmtp_write_head(struct writer *w, unsigned flags, size_t size);
void zmtp_write_greeting(struct writer *w);
/* ZMTP_TAKEN: a greeting of ZMTP 3 with CURVE is at the front, GREETING_SIZE bytes. */
enum zmtp_shaken zmtp_read_greeting(struct bytes input);

/* A box of @key, as long as @plain and SECRETBOX_TAG_SIZE more. */
void zmtp_seal_with(const struct secret *key, const uint8_t nonce[SECRETBOX_NONCE_SIZE],
                    const uint8_t *plain, size_t size, uint8_t *to);
bool zmtp_open_with(const struct secret *key, const uint8_t nonce[SECRETBOX_NONCE_SIZE],
                    struct bytes box, uint8_t *to);
/* ... of the shared key, with our next number. */
void zmtp_seal_counted(struct zmtp *zmtp, const char *prefix, const uint8_t *plain, size_t size,
                       uint8_t *to);
/* ... with @number of the other side. */
bool zmtp_open_counted(const struct zmtp *zmtp, const char *prefix, uint64_t number,
                       struct bytes box, uint8_t *to);
/* It is up: @outgoing and @incoming are the prefixes of messages. */
void zmtp_go_up(struct zmtp *zmtp, const char *outgoing, const char *incoming);

#endif
