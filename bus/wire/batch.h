/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Collects records into one frame. A frame of several records is closed at FRAME_BATCH_SIZE, where
 * the cost of a frame no longer counts; one record alone may fill FRAME_SIZE_MAX.
 * Works in the caller's storage; not thread-safe.
 */
#ifndef WIRE_BATCH_H
#define WIRE_BATCH_H

#include "wire/record.h"

struct batch {
    struct writer frame;
    size_t count; /* records in it */
};

/* An empty frame in @storage of FRAME_SIZE_MAX bytes, borrowed as long as the batch is used. */
void batch_begin(struct batch *batch, void *storage);
bool batch_is_empty(const struct batch *batch);
/* Whether a record of @size bytes, head included, still goes into this frame. Always true in an
 * empty frame for a record that any frame can hold. */
bool batch_has_room(const struct batch *batch, size_t size);
/* Where to write records of @size bytes in all, which stay in one frame; NULL without room. They
 * count as one. */
struct writer *batch_writer(struct batch *batch, size_t size);
/* Appends one whole record and returns true, or false without room; then nothing has changed. */
bool batch_add(struct batch *batch, struct bytes record);
/* The frame so far, version byte included; borrowed from the storage. */
struct bytes batch_frame(const struct batch *batch);

#endif
