/* SPDX-License-Identifier: Apache-2.0 */
/* Collects records into one frame. */
#include "wire/batch.h"

void batch_begin(struct batch *batch, void *storage)
{
    batch->frame = writer_over(storage, FRAME_SIZE_MAX);
    batch->count = 0;
    writer_u8(&batch->frame, WIRE_VERSION);
}

bool batch_is_empty(const struct batch *batch)
{
    return batch->count == 0;
}

bool batch_has_room(const struct batch *batch, size_t size)
{
    size_t limit = batch->count == 0 ? FRAME_SIZE_MAX : FRAME_BATCH_SIZE;

    return batch->frame.size <= limit && size <= limit - batch->frame.size;
}

struct writer *batch_writer(struct batch *batch, size_t size)
{
    if (!batch_has_room(batch, size))
        return NULL;
    batch->count++;
    return &batch->frame;
}

bool batch_add(struct batch *batch, struct bytes record)
{
    struct writer *w = batch_writer(batch, record.size);

    if (w)
        writer_bytes(w, record);
    return w != NULL;
}

struct bytes batch_frame(const struct batch *batch)
{
    return writer_view(&batch->frame);
}
