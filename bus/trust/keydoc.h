/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Key files and public identity files as text: PROTOCOL 2. Pure; reading and writing the files
 * themselves is store's. Any thread.
 */
#ifndef TRUST_KEYDOC_H
#define TRUST_KEYDOC_H

#include "base/buffer.h"
#include "crypto/identity.h"

#define KEYDOC_SIZE_MAX 4096
#define KEYDOC_OPS_DEFAULT 3
#define KEYDOC_MEM_DEFAULT (256u * 1024 * 1024)
#define KEYDOC_OPS_FLOOR 2
#define KEYDOC_MEM_FLOOR (64u * 1024 * 1024)
#define KEYDOC_OPS_MAX 20
#define KEYDOC_MEM_MAX ((uint64_t)4 * 1024 * 1024 * 1024)

/* What a key file says without its secret being opened. */
struct keydoc {
    char name[COMPONENT_NAME_MAX + 1];
    char created[21]; /* 2026-11-20T20:00:00Z */
    int64_t created_ms;
    uint8_t public[SIGN_PUBLIC_SIZE];
    uint32_t transport_number;
    bool is_protected;
    uint64_t ops, mem_bytes; /* is_protected */
    uint8_t salt[16];
};

/* Checks form and checksum, not the secret. 0, AICO_EKEYFILE (not this format: line in @err),
 * AICO_EKEYFILEDAMAGED. */
AICO_MUST_USE int keydoc_inspect(struct bytes text, struct keydoc *ret, struct aico_error *err);

/*
 * Opens the secret.
 *
 * @passphrase  empty when none was given
 * @floors      refuse a protection weaker than KEYDOC_..._FLOOR (AICO_EKEYFILE)
 * Returns 0, AICO_EKEYFILE, AICO_EKEYFILEDAMAGED (check), AICO_EPASSPHRASE (verifier, or none
 * given), AICO_EKEYFILEMISMATCH (public key of another seed), AICO_ENOMEM.
 */
AICO_MUST_USE int keydoc_open(struct bytes text, struct bytes passphrase, bool floors,
                              struct identity **ret_identity, struct aico_error *err);

/* Appends the key file of @seed. @passphrase empty: protection none. @salt and @nonce are random,
 * from the caller; only used with a passphrase. 0, AICO_EINVAL (name), AICO_ENOMEM. */
AICO_MUST_USE int keydoc_write(const char *name, const struct secret *seed,
                               uint32_t transport_number, int64_t created_ms,
                               struct bytes passphrase, uint64_t ops, uint64_t mem_bytes,
                               const uint8_t salt[16], const uint8_t nonce[24],
                               struct buffer *ret_text);

/* A component's public identity, to be handed to another machine. */
struct publicdoc {
    char name[COMPONENT_NAME_MAX + 1];
    uint8_t public[SIGN_PUBLIC_SIZE];
    uint8_t transport[DH_PUBLIC_SIZE];
};
AICO_MUST_USE int publicdoc_write(const struct identity *identity, struct buffer *ret_text);
/* 0, AICO_EPUBLICFILE (form), AICO_ESIGNATURE (not signed by the key it names). */
AICO_MUST_USE int publicdoc_parse(struct bytes text, struct publicdoc *ret, struct aico_error *err);

#endif
