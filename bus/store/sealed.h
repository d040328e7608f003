/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small secrets of one component in its state (state/NAME/FILE, mode 0600), sealed with its storage
 * key: 24 bytes nonce || SEAL(KDF(storage, "state " FILE, ""), nonce, FILE, content). Written in
 * one step, fsynced.
 */
#ifndef STORE_SEALED_H
#define STORE_SEALED_H

#include "base/buffer.h"
#include "crypto/identity.h"
#include "crypto/random.h"
#include "store/former.h"

#define SEALED_FILE_MAX ((size_t)1 << 20)

/* Appends the content to @ret_content (wipe it). What only one of @former (NULL: none) opens is
 * sealed for @identity from then on. 0, AICO_ENOTFOUND, AICO_EOPEN (of another identity, or
 * damaged: the repair is in @err), what file_read() and sealed_save() say, AICO_ENOMEM. */
AICO_MUST_USE int sealed_load(const char *home, const struct identity *identity,
                              const struct former_keys *former, const char *file,
                              struct buffer *ret_content, struct aico_error *err);
/* 0, what file_write() says, AICO_ENOMEM. */
AICO_MUST_USE int sealed_save(const char *home, const struct identity *identity, const char *file,
                              struct hedge *hedge, struct bytes content, struct aico_error *err);

#endif
