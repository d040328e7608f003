/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that parse and write records share. Not included outside bus/wire. */
#ifndef WIRE_RECORD_INTERNAL_H
#define WIRE_RECORD_INTERNAL_H

#include "wire/record.h"

/* Begins to parse @record: the reader has failed from the start when type, flags or aux are not
 * what this type may have. */
struct reader record_body(const struct record *record, enum record_type type, uint8_t flags,
                          uint16_t aux);
/* Where a record begins: its size is filled in by record_end(). */
size_t record_begin(struct writer *w, enum record_type type, uint8_t flags, uint16_t aux);
void record_end(struct writer *w, size_t begin);
/* Fields of exactly @size bytes; a writer given another size has failed. */
void record_write_exact(struct writer *w, struct bytes bytes, size_t size);

#endif
