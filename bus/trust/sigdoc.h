/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Detached signatures of files, and the salt of a master passphrase, as text. Pure; any thread.
 * docs/decisions/0020-portable-keys-and-signatures.md says why they look like this.
 */
#ifndef TRUST_SIGDOC_H
#define TRUST_SIGDOC_H

#include <aico/error.h>

#include "base/buffer.h"
#include "crypto/identity.h"

#define SIGDOC_SIZE_MAX 1024

/*
 *   aico-signature 1
 *   namespace NS
 *   name NAME
 *   public HEX64
 *   created 2026-11-20T20:00:00Z
 *   size N
 *   hash HEX128             BLAKE2b, 64 bytes, of the file
 *   signature HEX128        SIGN(seed, "file", every byte before this line)
 */
#define FILE_HASH_SIZE 64

struct sigdoc {
    char namespace[64 + 1];
    char name[COMPONENT_NAME_MAX + 1];
    uint8_t public[SIGN_PUBLIC_SIZE];
    int64_t created_ms;
    uint64_t size;
    uint8_t hash[FILE_HASH_SIZE];
};

/* Appends the signature of a file of @size bytes and @hash by @identity. 0, AICO_EINVAL
 * (@namespace or time), AICO_ENOMEM. */
AICO_MUST_USE int sigdoc_write(const struct identity *identity, struct bytes namespace,
                               int64_t created_ms, uint64_t size,
                               const uint8_t hash[FILE_HASH_SIZE], struct buffer *ret_text);
/* 0, AICO_ESIGNATUREFILE (form), AICO_ESIGNATURE (not by the key it names). Who that key belongs
 * to, and whether the file is this one, is left to the caller. */
AICO_MUST_USE int sigdoc_parse(struct bytes text, struct sigdoc *ret, struct aico_error *err);

/*
 *   aico-master 1
 *   argon2id OPS MEM SALT32
 *   verifier HEX32          first 16 bytes of KDF(master, "master verifier", "")
 *
 * Nothing of it is secret. The numbers are kept so that a later version with other defaults still
 * derives the same keys; the verifier tells a slip of the passphrase from another key.
 */
struct masterdoc {
    uint64_t ops, mem_bytes;
    uint8_t salt[16];
    uint8_t verifier[16];
};
AICO_MUST_USE int masterdoc_write(const struct masterdoc *doc, struct buffer *ret_text);
/* 0 or AICO_EMASTERFILE. */
AICO_MUST_USE int masterdoc_parse(struct bytes text, struct masterdoc *ret, struct aico_error *err);
/* The master secret of @passphrase, and its verifier. Errors of passphrase_key(). */
AICO_MUST_USE int master_open(const struct masterdoc *doc, struct bytes passphrase,
                              struct secret *ret_master, uint8_t ret_verifier[16]);

#endif
