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

/* At @to there is room for all of it. */
static void write_item(uint8_t *to, size_t size, bool has_headers, struct bytes headers,
                       struct bytes payload)
{
    struct writer head = writer_over(to, BATCH_ITEM_HEAD_SIZE + 2);

    writer_u32(&head, (uint32_t)size);
    if (has_headers) {
        writer_u16(&head, (uint16_t)headers.size);
        bytes_copy(to + head.size, headers);
    }
    bytes_copy(to + head.size + headers.size, payload);
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
    write_item(writer_reserve(batch, size), size - BATCH_ITEM_HEAD_SIZE, has_headers, headers,
               payload);
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

/* Of the content of a message that is headed: its block is empty, as of most. */
static bool is_unheaded(struct bytes content)
{
    return content.size >= 2 && (content.at[0] | content.at[1]) == 0;
}

int content_batch_check(struct bytes batch, bool has_headers, size_t *ret_count)
{
    struct reader r = reader_over(batch);
    struct bytes content, headers, payload;
    size_t count = 0;

    do {
        content = reader_bytes(&r, reader_u32(&r));
        if (r.failed || (has_headers && !is_unheaded(content) &&
                         content_split(content, true, &headers, &payload) < 0))
            return AICO_EFORMAT;
        count++;
    } while (r.left > 0);
    *ret_count = count;
    return 0;
}
