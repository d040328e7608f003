/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is inside an envelope, PROTOCOL 5.1.
 *
 *   content = [headers flag: lp16(header block)] payload
 *   batch   = (u32 size || content of one message) repeated, at least once
 *
 * A batch is written item by item into the place where it will be sealed, and checked whole before
 * its first item is handed on. Pure, any thread.
 */
#ifndef ENVELOPE_CONTENT_H
#define ENVELOPE_CONTENT_H

#include <aico/error.h>

#include "base/reader.h"
#include "base/writer.h"

#define BATCH_ITEM_HEAD_SIZE 4

/* Splits @content; @has_headers is the envelope's flag. The block (empty without the flag) was
 * checked. 0 or AICO_EFORMAT. Both results are borrowed from @content. */
AICO_MUST_USE int content_split(struct bytes content, bool has_headers, struct bytes *ret_headers,
                                struct bytes *ret_payload);

/* One message of a batch: its header block (empty: none) and payload, borrowed. */
struct content_item {
    struct bytes headers, payload;
};

/* The size one message takes in a batch. */
size_t content_batch_item_size(bool has_headers, size_t headers_size, size_t payload_size);
/* Appends one message to a batch; 0, AICO_ETOOLARGE (its content is above @content_max), AICO_ESIZE
 * (no room in @batch; nothing was written), AICO_EFORMAT (header block, or one without the flag).
 */
AICO_MUST_USE int content_batch_add(struct writer *batch, bool has_headers, struct bytes headers,
                                    struct bytes payload, size_t content_max);

/* Steps through the messages of a batch: while ((r = content_next(&cursor, &content)) > 0). */
struct content_cursor {
    struct reader reader;
    bool begun;
};
struct content_cursor content_cursor_over(struct bytes batch);
/* 1 and the content of the next message (for content_split()), 0 at the end, AICO_EFORMAT (cut
 * short, or a batch of nothing). */
AICO_MUST_USE int content_next(struct content_cursor *cursor, struct bytes *ret_content);
/* Whether no message of a batch that was checked has headers, but perhaps the first. */
bool content_batch_is_plain(struct bytes batch, bool has_headers);
/* Checks a whole batch, every header block included, and counts its messages; 0 or AICO_EFORMAT. */
AICO_MUST_USE int content_batch_check(struct bytes batch, bool has_headers, size_t *ret_count);

#endif
