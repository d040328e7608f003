/* SPDX-License-Identifier: Apache-2.0 */
/* Test vectors (tests/vectors) by path, for tests only: a missing key fails the test. */
#ifndef SUPPORT_VECTORS_H
#define SUPPORT_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* keep: cmocka needs the above first */
#include <cmocka.h>
#include <jansson.h>

#include "base/bytes.h"

/* The whole file "session-v1.json" etc.; freed by json_decref(). */
json_t *vectors_load(const char *file);
/* Walks "handshake.hello1" or "group.vector.cases.0.envelope". */
json_t *vectors_at(json_t *from, const char *path);
const char *vectors_text(json_t *from, const char *path);
int64_t vectors_int(json_t *from, const char *path);
/* Hex decoded into a heap block of exactly its size (so ASan sees one byte too far). */
struct bytes vectors_hex(json_t *from, const char *path);
void vectors_hex_into(json_t *from, const char *path, void *to, size_t size);
/* A heap copy of exactly @bytes; free() it. */
uint8_t *exact_copy(struct bytes bytes);

#endif
