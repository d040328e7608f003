/* SPDX-License-Identifier: Apache-2.0 */
/* The content of envelopes: header block and payload, one or many. Pure, any thread. */
#include "envelope/content.h"
#include "envelope/headers.h"

int content_split(struct bytes content, bool has_headers, struct bytes *ret_headers,
                  struct bytes *ret_payload)
{
    struct reader r = reader_over(content);
    struct bytes headers = {0};

    if (has_headers)
        headers = reader_lp16(&r);
    if (r.failed || (headers.size > 0 && header_block_check(headers) < 0))
        return AICO_EFORMAT;
    *ret_headers = headers;
    *ret_payload = reader_rest(&r);
    return 0;
}

size_t content_batch_item_size(bool has_headers, size_t headers_size, size_t payload_size)
{
    return BATCH_ITEM_HEAD_SIZE + (has_headers ? 2 + headers_size : 0) + payload_size;
}

int content_batch_add(struct writer *batch, bool has_headers, struct bytes headers,
                      struct bytes payload, size_t content_max)
{
    size_t size;

    if (headers.size > 0 && (!has_headers || header_block_check(headers) < 0))
        return AICO_EFORMAT;
    if (payload.size > UINT32_MAX / 2 || payload.size > content_max)
        return AICO_ETOOLARGE;
    size = content_batch_item_size(has_headers, headers.size, payload.size);
    if (size - BATCH_ITEM_HEAD_SIZE > content_max)
        return AICO_ETOOLARGE;
    if (batch->failed || size > batch->capacity - batch->size)
        return AICO_ESIZE;
    writer_u32(batch, (uint32_t)(size - BATCH_ITEM_HEAD_SIZE));
    if (has_headers)
        writer_lp16(batch, headers);
    writer_bytes(batch, payload);
    return 0;
}

struct content_cursor content_cursor_over(struct bytes batch)
{
    return (struct content_cursor){.reader = reader_over(batch)};
}

int content_next(struct content_cursor *cursor, struct bytes *ret_content)
{
    struct bytes content;

    if (cursor->begun && reader_done(&cursor->reader))
        return 0;
    cursor->begun = true;
    content = reader_bytes(&cursor->reader, reader_u32(&cursor->reader));
    if (cursor->reader.failed)
        return AICO_EFORMAT;
    *ret_content = content;
    return 1;
}

bool content_batch_is_plain(struct bytes batch, bool has_headers)
{
    struct content_cursor cursor = content_cursor_over(batch);
    struct bytes content;
    size_t rest = 0;

    if (!has_headers)
        return true;
    (void)!content_next(&cursor, &content);
    while (content_next(&cursor, &content) > 0)
        rest |= (size_t)content.at[0] | content.at[1];
    return rest == 0;
}

int content_batch_check(struct bytes batch, bool has_headers, size_t *ret_count)
{
    struct content_cursor cursor = content_cursor_over(batch);
    struct bytes content, headers, payload;
    size_t count = 0;
    int r;

    while ((r = content_next(&cursor, &content)) > 0) {
        r = content_split(content, has_headers, &headers, &payload);
        if (r < 0)
            return r;
        count++;
    }
    if (r < 0)
        return r;
    *ret_count = count;
    return 0;
}
