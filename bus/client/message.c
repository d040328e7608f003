/* SPDX-License-Identifier: Apache-2.0 */
/* Lays a received message out in one block: link, struct, headers, then all text and bytes. The
 * messages of a bundle may lie in another. */
#include <string.h>

#include "base/cleanup.h"
#include "base/pool.h"
#include "client/message.h"
#include "envelope/headers.h"

#define WIRE_PREFIX_MAX 64

/* What the application sees is the inner part. */
struct message_block {
    struct aico_message *next;
    uint64_t kept;
    struct missed_place missed;
    struct reader rest;                    /* of a bundle: messages not taken out yet */
    void *batch;                           /* of the pool: what they lie in; NULL: in this block */
    bool is_bundle, has_headers, has_note; /* a struct read_note is behind this one */
    uint32_t count;
    size_t size; /* of the block, and of the messages in `batch` */
    struct aico_message message;
};

static struct message_block *block_of(struct aico_message *message)
{
    return (struct message_block *)(void *)((char *)message -
                                            offsetof(struct message_block, message));
}

/* Copies @from and a final zero to *@at, and moves it behind them. */
static const char *put_text(uint8_t **at, struct bytes from)
{
    char *text = (char *)*at;

    bytes_copy(text, from);
    text[from.size] = '\0';
    *at += from.size + 1;
    return text;
}

static int count_headers(struct bytes block, size_t *ret_count)
{
    struct header_cursor cursor = header_cursor_over(block);
    struct bytes key, value;
    int r;

    *ret_count = 0;
    while ((r = header_next(&cursor, &key, &value)) > 0)
        ++*ret_count;
    return r;
}

static void put_headers(uint8_t **at, struct bytes block, struct aico_header *headers)
{
    struct header_cursor cursor = header_cursor_over(block);
    struct bytes key, value;

    while (header_next(&cursor, &key, &value) > 0) {
        headers->key = put_text(at, key);
        headers->value = put_text(at, value);
        headers++;
    }
}

struct aico_message *client_message_new(struct pool_taker *taker, const struct message_parts *parts)
{
    size_t header_count, text_size = parts->text ? strlen(parts->text) : 0;
    size_t prefix = MIN(parts->wire.size, (size_t)WIRE_PREFIX_MAX), size;
    struct message_block *block;
    struct aico_header *headers;
    struct aico_message *m;
    uint8_t *at;

    if (count_headers(parts->headers, &header_count) < 0)
        return NULL;
    /* A header grows by two final zeros and shrinks by three bytes of lengths. */
    size = sizeof(*block) + (parts->note ? sizeof(*parts->note) : 0) +
           header_count * sizeof(*headers) + parts->headers.size + parts->topic.size +
           parts->sender.size + parts->payload.size + prefix + text_size + 4;
    block = pool_take(taker, size);
    if (!block)
        return NULL;
    memset(block, 0, sizeof(*block));
    block->count = 1;
    block->size = size;
    m = &block->message;
    headers = (struct aico_header *)(void *)(block + 1);
    if (parts->note) {
        block->has_note = true;
        memcpy(block + 1, parts->note, sizeof(*parts->note));
        headers = (struct aico_header *)(void *)((uint8_t *)(block + 1) + sizeof(*parts->note));
    }
    at = (uint8_t *)(headers + header_count);

    m->kind = parts->kind;
    m->headers = headers;
    m->header_count = header_count;
    put_headers(&at, parts->headers, headers);
    m->topic = put_text(&at, parts->topic);
    m->sender = put_text(&at, parts->sender);
    m->text = put_text(&at, bytes_of(parts->text, text_size));
    m->wire = at;
    m->wire_prefix = prefix;
    m->wire_size = parts->wire.size;
    bytes_copy(at, bytes_of(parts->wire.at, prefix));
    at += prefix;
    m->payload = put_text(&at, parts->payload); /* zero-terminated for the reader's convenience */
    m->size = parts->payload.size;
    return m;
}

struct aico_message *client_bundle_new(struct pool_taker *taker, const struct message_parts *parts,
                                       void *batch, bool has_headers, uint32_t count)
{
    struct message_parts shell = *parts;
    struct message_block *block;
    struct aico_message *m;

    if (batch)
        shell.payload = bytes_of(NULL, 0);
    m = client_message_new(taker, &shell);
    if (!m)
        return NULL;
    block = block_of(m);
    if (batch) {
        block->batch = batch;
        block->size += parts->payload.size;
        m->payload = parts->payload.at;
        m->size = parts->payload.size;
        ((uint8_t *)batch)[parts->payload.at + parts->payload.size - (uint8_t *)batch] = '\0';
    }
    block->rest = reader_over(bytes_of(m->payload, m->size));
    block->is_bundle = true;
    block->has_headers = has_headers;
    block->count = count;
    return m;
}

uint32_t message_count(const struct aico_message *message)
{
    return block_of((struct aico_message *)(uintptr_t)message)->count;
}

/* The next payload of a bundle, which stays as it is. It was checked when the bundle was made. */
static struct bytes next_payload(const struct message_block *block, struct reader *rest)
{
    struct reader content;

    *rest = block->rest;
    content = reader_over(reader_bytes(rest, reader_u32(rest)));
    if (block->has_headers)
        (void)reader_lp16(&content);
    return reader_rest(&content);
}

void message_settle(struct aico_message *message)
{
    struct message_block *block = block_of(message);
    struct bytes payload;

    if (!block->is_bundle)
        return;
    /* It ends where the batch does, before a zero. */
    payload = next_payload(block, &block->rest);
    message->payload = payload.at;
    message->size = payload.size;
    block->is_bundle = false;
}

/* Where @text, a part of @from, stands in the copy @to. */
static const void *moved(const void *text, const struct message_block *from,
                         const struct message_block *to)
{
    return (const uint8_t *)to + ((const uint8_t *)text - (const uint8_t *)from);
}

/* All before the payload is the same for each message of a bundle, and is copied as it stands. */
struct aico_message *message_split(struct pool_taker *taker, struct aico_message *bundle)
{
    struct message_block *block = block_of(bundle), *copy;
    const uint8_t *head_end = (const uint8_t *)bundle->wire + bundle->wire_prefix;
    size_t head_size = (size_t)(head_end - (const uint8_t *)block);
    struct reader rest;
    struct bytes payload = next_payload(block, &rest);
    struct aico_message *m;
    uint8_t *at;

    copy = pool_take(taker, head_size + payload.size + 1);
    if (!copy)
        return NULL;
    memcpy(copy, block, head_size);
    copy->next = NULL;
    copy->kept = 0;
    copy->rest = (struct reader){0};
    copy->batch = NULL;
    copy->is_bundle = copy->has_headers = false;
    copy->count = 1;
    copy->size = head_size + payload.size + 1;
    m = &copy->message;
    m->headers = (const struct aico_header *)(const void *)(copy + 1);
    m->topic = moved(bundle->topic, block, copy);
    m->sender = moved(bundle->sender, block, copy);
    m->text = moved(bundle->text, block, copy);
    m->wire = moved(bundle->wire, block, copy);
    at = (uint8_t *)copy + head_size;
    m->payload = put_text(&at, payload);
    m->size = payload.size;
    bundle->sequence++;
    block->rest = rest;
    block->count--;
    return m;
}

struct aico_message **message_link(struct aico_message *message)
{
    return &block_of(message)->next;
}

uint64_t *message_kept(struct aico_message *message)
{
    return &block_of(message)->kept;
}

struct missed_place *message_missed(struct aico_message *message)
{
    return &block_of(message)->missed;
}

const struct read_note *message_note(const struct aico_message *message)
{
    const struct message_block *block = block_of((struct aico_message *)(uintptr_t)message);

    return block->has_note ? (const struct read_note *)(const void *)(block + 1) : NULL;
}

size_t message_cost(const struct aico_message *message)
{
    return block_of((struct aico_message *)(uintptr_t)message)->size;
}

void aico_message_free(struct aico_message **message)
{
    if (*message) {
        pool_give(block_of(*message)->batch);
        pool_give(block_of(*message));
    }
    *message = NULL;
}
