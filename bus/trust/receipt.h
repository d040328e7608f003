/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a reader signs when its application has taken a message: as text, so that whoever holds the
 * registry can check it later without the bus (decision 80). Pure; any thread.
 *
 *   aico-receipt 1
 *   namespace NS
 *   sender NAME HEX64       who published, and its key
 *   receiver NAME HEX64     who took it, and its key
 *   topic TOPIC             space, '%' and control bytes are written %XX
 *   message RUN16 NUMBER16  hexadecimal: the publisher's run, and the message's number in it
 *   taken MS                since 1970, by the receiver's clock
 *   size N
 *   hash HEX128             BLAKE2b, 64 bytes, of the payload
 *   signature HEX128        SIGN(receiver, "receipt", every byte before this line)
 */
#ifndef TRUST_RECEIPT_H
#define TRUST_RECEIPT_H

#include <aico/error.h>

#include "base/buffer.h"
#include "crypto/identity.h"
#include "trust/registry.h"
#include "wire/topic.h"

#define RECEIPT_HASH_SIZE 64
#define RECEIPT_TEXT_MAX 2048

struct receipt {
    char namespace[NAMESPACE_MAX + 1];
    char sender[COMPONENT_NAME_MAX + 1], receiver[COMPONENT_NAME_MAX + 1];
    uint8_t sender_public[SIGN_PUBLIC_SIZE], receiver_public[SIGN_PUBLIC_SIZE];
    char topic[TOPIC_SIZE_MAX + 1];
    uint64_t run, number;
    int64_t taken_ms;
    uint64_t size;
    uint8_t hash[RECEIPT_HASH_SIZE];
    uint8_t signature[SIGNATURE_SIZE];
};

void receipt_hash(struct bytes payload, uint8_t ret_hash[RECEIPT_HASH_SIZE]);
/* Sets the signature by @identity, whose key must be the receiver's: AICO_EINVAL; AICO_ENOMEM. */
AICO_MUST_USE int receipt_sign(struct receipt *receipt, const struct identity *identity);
/* Whether the signature is by the receiver's key: 0, AICO_ESIGNATURE, AICO_ENOMEM. Whose that key
 * is, is left to the caller. */
AICO_MUST_USE int receipt_verify(const struct receipt *receipt);
/* Appends the text. 0 or AICO_ENOMEM. */
AICO_MUST_USE int receipt_write(const struct receipt *receipt, struct buffer *ret_text);
/* 0, AICO_ERECEIPT (form), AICO_ESIGNATURE, AICO_ENOMEM. */
AICO_MUST_USE int receipt_parse(struct bytes document, struct receipt *ret, struct aico_error *err);

#endif
