/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The audit log as text: who connected, was refused, kicked, what was administrated. Pure, any
 * thread.
 *
 *   aico-audit 1
 *   namespace NS
 *   broker HEX64            its Ed25519 key
 *   log HEX32               random, of this file
 *   previous HEX64          the chain's end of the file before this one, zeros for the first
 *   1 2026-11-20T20:00:00Z connected frontend ipc:uid=0 0 session 1 begins
 *   head HEX32 1 HEX64 1763668800000 HEX128
 *
 * An entry is NUMBER TIME KIND COMPONENT ADDRESS CODE TEXT; `-` stands for nobody and for no
 * address. A head says: log, entries so far, chain so far, ms since 1970, and SIGN(broker, "audit
 * head", lp8(NS) || log || u64 entries || chain || u64 ms).
 *
 *   chain before the first entry   H(TAG("audit log") || the five lines)
 *   chain after a line             H(TAG("audit line") || chain || the line, its end included),
 * heads too
 *
 * So a change, an insertion and a deletion break the chain, and only the broker can mend it. What a
 * file alone cannot show is that its end is missing, or that the broker itself wrote two: heads
 * that others have seen (witnesses) show that. docs/decisions/0059-audit-log.md.
 */
#ifndef TRUST_AUDIT_H
#define TRUST_AUDIT_H

#include <aico/error.h>

#include "base/buffer.h"
#include "crypto/identity.h"
#include "crypto/sign.h"
#include "trust/registry.h"

#define AUDIT_ID_SIZE 16
#define AUDIT_HASH_SIZE 32
#define AUDIT_TEXT_MAX 900  /* of an entry; more is cut */
#define AUDIT_LINE_MAX 1400 /* of any line, its end included */
#define AUDIT_HEADER_MAX 512

/* Where a log stands. */
struct audit_chain {
    char namespace[NAMESPACE_MAX + 1];
    uint8_t broker[SIGN_PUBLIC_SIZE];
    uint8_t id[AUDIT_ID_SIZE];
    uint8_t previous[AUDIT_HASH_SIZE];
    uint64_t entries;
    uint8_t hash[AUDIT_HASH_SIZE];
};

struct audit_entry {
    int64_t time_ms;       /* since 1970 */
    const char *kind;      /* one word */
    const char *component; /* "": nobody */
    const char *address;   /* "": none */
    int code;              /* 0 or AICO_E... */
    const char *text;      /* control characters become `?` */
};

struct audit_head {
    uint8_t id[AUDIT_ID_SIZE];
    uint64_t entries;
    uint8_t hash[AUDIT_HASH_SIZE];
    uint64_t time_ms;
    uint8_t signature[SIGNATURE_SIZE];
};

/* Begins a log and appends its five lines. 0, AICO_EINVAL (@namespace), AICO_ENOMEM. */
AICO_MUST_USE int audit_begin(struct audit_chain *chain, struct bytes namespace,
                              const struct identity *broker, const uint8_t id[AUDIT_ID_SIZE],
                              const uint8_t previous[AUDIT_HASH_SIZE], struct buffer *to);
/* Appends the next entry. 0, AICO_EINVAL (time), AICO_ENOMEM. */
AICO_MUST_USE int audit_add(struct audit_chain *chain, const struct audit_entry *entry,
                            struct buffer *to);
/* Appends the head of what there is. 0 or AICO_ENOMEM. */
AICO_MUST_USE int audit_sign(struct audit_chain *chain, const struct identity *broker,
                             int64_t now_ms, struct buffer *to);

/* A head's line, without its end. 0 or AICO_EAUDIT. */
AICO_MUST_USE int audit_head_parse(struct bytes line, struct audit_head *ret_head);
/* Whether the broker with @public signed it for @namespace: 0, AICO_ESIGNATURE, AICO_ENOMEM. */
AICO_MUST_USE int audit_head_verify(const struct audit_head *head, struct bytes namespace,
                                    const uint8_t public[SIGN_PUBLIC_SIZE]);

/* What reading a log found. */
struct audit_report {
    struct audit_chain chain; /* at its end: where writing goes on */
    uint64_t signed_entries;  /* covered by the last head */
    struct audit_head last;   /* zeros when there is none */
    size_t whole;             /* bytes up to the end of the last whole line */
};
/* Called for each head that verified. */
typedef void (*audit_saw_head)(void *context, const struct audit_head *head);
/*
 * Reads a whole log of the broker with @public. @saw may be NULL. Text after the last line's end is
 * not part of the log and no error: `whole` tells. 0, AICO_EAUDIT, AICO_ESIGNATURE (a head),
 * AICO_ENAMESPACE, AICO_EBROKERKEY (written by another broker), AICO_ENOMEM; @err names the line.
 */
AICO_MUST_USE int audit_read(struct bytes text, struct bytes namespace,
                             const uint8_t public[SIGN_PUBLIC_SIZE], audit_saw_head saw,
                             void *context, struct audit_report *ret, struct aico_error *err);

#endif
