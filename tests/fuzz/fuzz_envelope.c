/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Envelopes. Input: u8 how, bytes.
 *
 *   how % 2 == 0   the bytes are an envelope as the broker hands it over, to a channel and to a
 *                  group reader
 *   how % 2 == 1   the bytes are the plaintext (padding and all) of an envelope sealed by somebody
 *                  who has the key: how & 2 batch, & 4 headers, & 8 padded
 */
#include "fuzz.h"

#include "base/buffer.h"
#include "base/cleanup.h"
#include "crypto/kdf.h"
#include "envelope/content.h"
#include "envelope/headers.h"
#include "session/channel.h"
#include "session/group.h"
#include "wire/record.h"

static const uint8_t self[SIGN_PUBLIC_SIZE] = {1}, peer[SIGN_PUBLIC_SIZE] = {2};
static const struct moment now = {1763668800000, 1000};
static const uint8_t id[CHANNEL_ID_SIZE] = "the key id!";
static const struct secret key = {{9}};

static void ignore(void *context, uint64_t first, uint64_t last)
{
    (void)context;
    require(first <= last);
}

static const struct gap_sink sink = {ignore, NULL};

static struct channel *channel_make(bool strict, bool padded)
{
    struct session_settings settings = session_settings_default();
    struct channel_keys keys = {.send = key, .receive = key, .t0_ms = now.real_ms};
    struct channel *channel = NULL;

    settings.strict_ordering = strict;
    settings.padding = padded;
    memcpy(keys.id, id, sizeof(id));
    memcpy(keys.peer, peer, sizeof(peer));
    require(channel_new(&keys, self, &settings, now, &channel) == 0);
    return channel;
}

static void read_headers(struct bytes block)
{
    struct header_cursor cursor = header_cursor_over(block);
    struct bytes name, value;
    int count = header_block_check(block), n = 0;

    while (header_next(&cursor, &name, &value) > 0)
        n++;
    require(count == AICO_EFORMAT || count == n);
}

static void read_content(const struct envelope *e, struct bytes content)
{
    struct content_cursor cursor = content_cursor_over(content);
    struct bytes one, headers, payload;
    size_t count = 0, seen = 0;

    if (e->format != ENVELOPE_FORMAT_BATCH) {
        if (content_split(content, e->headers, &headers, &payload) == 0)
            read_headers(headers);
        return;
    }
    if (content_batch_check(content, e->headers, &count) < 0)
        return;
    while (content_next(&cursor, &one) > 0) {
        require(content_split(one, e->headers, &headers, &payload) == 0);
        read_headers(headers);
        seen++;
    }
    require(seen == count && count > 0);
}

static void open_in_channel(const struct envelope *e, bool strict)
{
    struct channel *channel = channel_make(strict, e->padded);
    uint8_t *plain = malloc(e->sealed.size);
    struct channel_opened opened;

    require(plain != NULL);
    if (channel_open(channel, now, e, DELIVERY_EVENT, bytes_text("a/b"), NULL, plain, &sink,
                     &opened) == 0) {
        require(opened.content.size <= e->sealed.size - AEAD_TAG_SIZE);
        read_content(e, opened.content);
        require(channel_open(channel, now, e, DELIVERY_EVENT, bytes_text("a/b"), NULL, plain, &sink,
                             &opened) == AICO_EREPLAY);
    }
    channel_tick(channel, (struct moment){now.real_ms, 1000000}, false);
    free(plain);
    channel_free(&channel);
}

static void open_in_group(const struct envelope *e)
{
    static const uint8_t zeros[SECRET_SIZE];
    struct control control = {.type = CONTROL_GROUP_KEY,
                              .filter = bytes_text("a/**"),
                              .generation = (uint64_t)now.real_ms,
                              .chain_key = secret_view(&key),
                              .id = bytes_of(id, sizeof(id)),
                              .authenticity = e->trailer_kind,
                              .reader_key = bytes_of(zeros, sizeof(zeros)),
                              .listed = true};
    struct session_settings settings = session_settings_default();
    struct group_reader *reader = NULL;
    struct group_opened opened;
    uint8_t *plain = malloc(e->sealed.size);
    size_t windows = 0;

    require(plain != NULL);
    require(group_reader_new(self, &settings, peer, e->padded, &control, now, &windows, &reader) ==
            0);
    if (group_open(reader, now, e, DELIVERY_EVENT, bytes_text("a/b"), true, &windows, plain, &sink,
                   &opened) == 0)
        read_content(e, opened.content);
    group_reader_free(&reader, &windows);
    require(windows == 0);
    free(plain);
}

static void receive(struct bytes wire)
{
    uint8_t *copy = copy_of(wire);
    struct envelope e;

    if (envelope_parse(bytes_of(copy, wire.size), &e) == 0) {
        require(e.head.size + e.sealed.size + e.trailer.size == wire.size);
        require(e.sealed.size >= AEAD_TAG_SIZE && e.key_id.size == ENVELOPE_KEY_ID_SIZE);
        open_in_channel(&e, true);
        open_in_channel(&e, false);
        open_in_group(&e);
    }
    free(copy);
}

/* @plain as it stands, under the right key, context and flags. */
static void seal_as(unsigned how, struct bytes plain)
{
    uint8_t *wire = malloc(plain.size + ENVELOPE_OVERHEAD), nonce[ENVELOPE_NONCE_SIZE] = {0};
    struct writer w = writer_over(wire, plain.size + ENVELOPE_OVERHEAD);
    struct aead_key aead;
    uint8_t context[HASH_SIZE], flags;

    require(wire != NULL);
    flags = how & 2 ? ENVELOPE_FORMAT_BATCH : ENVELOPE_FORMAT_MESSAGE;
    flags |= (how & 4 ? 0x10 : 0) | (how & 8 ? 0x20 : 0);
    envelope_key_init(&aead, &key, id, 0);
    envelope_context_hash(&(struct envelope_context){.kind = ENVELOPE_CONTEXT_CHANNEL,
                                                     .sender = peer,
                                                     .receiver = self,
                                                     .topic = bytes_text("a/b"),
                                                     .namespace = bytes_text("aico")},
                          context);
    memcpy(nonce, id, sizeof(id));
    writer_bytes(&w, bytes_text(ENVELOPE_MAGIC));
    writer_bytes(&w, bytes_of(nonce, sizeof(nonce)));
    writer_u8(&w, flags);
    writer_uint(&w, 0, 3);
    aead_key_seal(&aead, nonce + ENVELOPE_PREFIX_SIZE, bytes_of(wire, ENVELOPE_HEAD_SIZE),
                  bytes_of(context, HASH_SIZE), plain, wire + ENVELOPE_HEAD_SIZE);
    receive(bytes_of(wire, plain.size + ENVELOPE_OVERHEAD));
    free(wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    require(crypto_start() == 0);
    if (size == 0)
        return 0;
    if (data[0] % 2 == 0)
        receive(bytes_of(data + 1, size - 1));
    else
        seal_as(data[0], bytes_of(data + 1, size - 1));
    return 0;
}
