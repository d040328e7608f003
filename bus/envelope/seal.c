/* SPDX-License-Identifier: Apache-2.0 */
/* Seals one envelope straight into the caller's storage. Pure, any thread. */
#include "envelope/headers.h"
#include "envelope/ahead.h"
#include "envelope/layout.h"

/* 0 when the parts of @in fit together, else AICO_EFORMAT. */
static int check_input(const struct envelope_seal_input *in)
{
    bool block = in->has_headers && in->format != ENVELOPE_FORMAT_BATCH;
    bool grouped = in->format == ENVELOPE_FORMAT_MESSAGE || in->format == ENVELOPE_FORMAT_BATCH;

    if (in->format < ENVELOPE_FORMAT_MESSAGE || in->format > ENVELOPE_FORMAT_INIT)
        return AICO_EFORMAT;
    if (ENVELOPE_HEAD_SIZE + in->metadata.size != envelope_content_offset(in->format, false))
        return AICO_EFORMAT;
    if (block ? header_block_check(in->headers) < 0 : in->headers.size > 0)
        return AICO_EFORMAT;
    if (in->format == ENVELOPE_FORMAT_BATCH && in->payload.size == 0)
        return AICO_EFORMAT;
    switch (in->trailer_kind) {
    case ENVELOPE_TRAILER_NONE:
        return 0;
    case ENVELOPE_TRAILER_SIGNATURE:
        return grouped && in->commit && in->sign_seed && in->sign_public ? 0 : AICO_EFORMAT;
    case ENVELOPE_TRAILER_VECTOR:
        return grouped && in->commit && in->reader_keys && in->reader_count >= 1 &&
                       in->reader_count <= ENVELOPE_VECTOR_MAX
                   ? 0
                   : AICO_EFORMAT;
    default:
        return AICO_EFORMAT;
    }
}

static void write_head(struct writer *w, const struct envelope_seal_input *in)
{
    uint8_t flags = (uint8_t)(in->format | in->trailer_kind << ENVELOPE_SHIFT_TRAILER);

    if (in->padded)
        flags |= ENVELOPE_BIT_PADDED;
    if (in->has_headers)
        flags |= ENVELOPE_BIT_HEADERS;
    writer_bytes(w, bytes_text(ENVELOPE_MAGIC));
    writer_bytes(w, bytes_of(in->key->prefix, sizeof(in->key->prefix)));
    writer_u32(w, in->time);
    writer_u32(w, in->sequence);
    writer_u8(w, flags);
    writer_uint(w, in->metadata.size, 3);
    writer_bytes(w, in->metadata);
}

/* Puts the bytes to encrypt together where their ciphertext will stand. Only what is not already
 * there is written, and only behind a payload that is. */
static struct bytes write_plain(uint8_t *to, size_t size, size_t content_size,
                                const struct envelope_seal_input *in)
{
    struct writer w = writer_over(to, size);

    if (in->padded)
        writer_u32(&w, (uint32_t)content_size);
    if (in->has_headers && in->format != ENVELOPE_FORMAT_BATCH)
        writer_lp16(&w, in->headers);
    if (in->payload.at == to + w.size)
        (void)writer_reserve(&w, in->payload.size);
    else
        writer_bytes(&w, in->payload);
    writer_zeros(&w, size - w.size);
    return bytes_of(to, size);
}

/* The trailer of the @w->size bytes written so far. */
static int write_trailer(struct writer *w, const struct envelope_seal_input *in)
{
    uint8_t digest[HASH_SIZE];

    if (in->trailer_kind == ENVELOPE_TRAILER_NONE)
        return 0;
    if (in->trailer_kind == ENVELOPE_TRAILER_VECTOR && in->later &&
        trailers_ahead_add(in->later, in->commit, in->context, writer_view(w), w->at + w->size)) {
        writer_zeros(w, in->reader_count * ENVELOPE_SLOT_SIZE);
        writer_u8(w, (uint8_t)in->reader_count);
        return 0;
    }
    trailer_digest(in->commit, in->context, writer_view(w), digest);
    if (in->trailer_kind == ENVELOPE_TRAILER_SIGNATURE)
        return sign_make_as(in->sign_seed, in->sign_public, "envelope",
                            bytes_of(digest, sizeof(digest)), bytes_of(NULL, 0),
                            writer_reserve(w, SIGNATURE_SIZE));
    for (size_t i = 0; i < in->reader_count; i++)
        trailer_slot(&in->reader_keys[i], digest, writer_reserve(w, ENVELOPE_SLOT_SIZE));
    writer_u8(w, (uint8_t)in->reader_count);
    return 0;
}

int envelope_seal(const struct envelope_seal_input *in, struct writer *to)
{
    bool block = in->has_headers && in->format != ENVELOPE_FORMAT_BATCH;
    size_t content_size = in->payload.size, plain_size, size;
    struct bytes plain = in->payload;
    struct writer w;
    uint8_t *sealed;
    int r;

    r = check_input(in);
    if (r < 0)
        return r;
    if (content_size > in->content_max)
        return AICO_ETOOLARGE;
    if (block)
        content_size += 2 + in->headers.size;
    if (content_size > in->content_max)
        return AICO_ETOOLARGE;
    size = envelope_sealed_size(in->format, content_size, in->padded, in->trailer_kind,
                                in->reader_count);
    if (size == 0)
        return AICO_ETOOLARGE;
    if (to->failed || size > to->capacity - to->size)
        return AICO_ESIZE;

    w = writer_over(to->at + to->size, size);
    write_head(&w, in);
    plain_size = in->padded ? envelope_padded_size(PADDING_HEAD_SIZE + content_size) : content_size;
    sealed = writer_reserve(&w, plain_size + AEAD_TAG_SIZE);
    if (in->padded || block)
        plain = write_plain(sealed, plain_size, content_size, in);
    aead_key_seal(in->key, w.at + 8 + ENVELOPE_PREFIX_SIZE, bytes_of(w.at, (size_t)(sealed - w.at)),
                  bytes_of(in->context, HASH_SIZE), plain, sealed);
    r = write_trailer(&w, in);
    if (r < 0)
        return r;
    to->size += size;
    return 0;
}
