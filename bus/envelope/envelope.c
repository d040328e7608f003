/* SPDX-License-Identifier: Apache-2.0 */
/* The structure of an envelope, its sizes and its context. Pure, any thread. */
#include "base/reader.h"
#include "crypto/kdf.h"
#include "envelope/envelope.h"
#include "envelope/layout.h"

/* m, above which nothing is metadata; 1 and 2 have none because everything stands in the nonce. */
static const struct format {
    size_t metadata_min, metadata_max;
    bool flags;   /* padded and headers may be set */
    bool trailer; /* may have one */
} formats[] = {
    [ENVELOPE_FORMAT_SEED] = {0, ENVELOPE_METADATA_MAX, false, false},
    [ENVELOPE_FORMAT_MESSAGE] = {0, 0, true, true},
    [ENVELOPE_FORMAT_BATCH] = {0, 0, true, true},
    [ENVELOPE_FORMAT_RATCHET] = {32, 32, true, false},
    [ENVELOPE_FORMAT_INIT] = {256, 256, true, false},
};

/* Byte 32: 0 or AICO_EFORMAT. */
static int parse_flags(uint8_t flags, struct envelope *e)
{
    e->format = flags & ENVELOPE_BITS_FORMAT;
    e->padded = flags & ENVELOPE_BIT_PADDED;
    e->headers = flags & ENVELOPE_BIT_HEADERS;
    e->trailer_kind = flags >> ENVELOPE_SHIFT_TRAILER;
    if (e->format > ENVELOPE_FORMAT_INIT || e->trailer_kind > ENVELOPE_TRAILER_SIGNATURE)
        return AICO_EFORMAT;
    if ((e->padded || e->headers) && !formats[e->format].flags)
        return AICO_EFORMAT;
    if (e->trailer_kind != ENVELOPE_TRAILER_NONE && !formats[e->format].trailer)
        return AICO_EFORMAT;
    return 0;
}

static void parse_nonce(struct envelope *e)
{
    struct reader r = reader_over(e->nonce);

    e->key_id = reader_bytes(&r, ENVELOPE_KEY_ID_SIZE);
    if (e->format == ENVELOPE_FORMAT_SEED)
        return;
    e->epoch = reader_u32(&r);
    e->time = reader_u32(&r);
    e->sequence = reader_u32(&r);
}

/* Splits what follows the metadata; its last byte says how long a vector is. */
static int parse_trailer(struct bytes body, struct envelope *e)
{
    size_t size = 0;

    if (e->trailer_kind == ENVELOPE_TRAILER_SIGNATURE)
        size = SIGNATURE_SIZE;
    if (e->trailer_kind == ENVELOPE_TRAILER_VECTOR) {
        e->vector_count = body.at[body.size - 1];
        size = (size_t)e->vector_count * ENVELOPE_SLOT_SIZE + 1;
    }
    if (size > body.size - AEAD_TAG_SIZE)
        return AICO_ESIZE;
    if (e->trailer_kind == ENVELOPE_TRAILER_VECTOR && e->vector_count == 0)
        return AICO_EFORMAT;
    e->sealed = bytes_of(body.at, body.size - size);
    e->trailer = bytes_of(body.at + e->sealed.size, size);
    e->vector = bytes_of(e->trailer.at, (size_t)e->vector_count * ENVELOPE_SLOT_SIZE);
    return 0;
}

int envelope_parse(struct bytes wire, struct envelope *ret)
{
    struct reader r = reader_over(wire);
    struct envelope e = {0};
    size_t metadata_size;
    int result;

    if (wire.size < ENVELOPE_OVERHEAD)
        return AICO_ESIZE;
    if (!bytes_equal_text(reader_bytes(&r, strlen(ENVELOPE_MAGIC)), ENVELOPE_MAGIC))
        return AICO_EMAGIC;
    e.nonce = reader_bytes(&r, ENVELOPE_NONCE_SIZE);
    result = parse_flags(reader_u8(&r), &e);
    if (result < 0)
        return result;
    metadata_size = (size_t)reader_uint(&r, 3);
    if (metadata_size > ENVELOPE_METADATA_MAX || metadata_size > wire.size - ENVELOPE_OVERHEAD)
        return AICO_ESIZE;
    if (metadata_size < formats[e.format].metadata_min ||
        metadata_size > formats[e.format].metadata_max)
        return AICO_EFORMAT;
    e.metadata = reader_bytes(&r, metadata_size);
    e.head = bytes_of(wire.at, ENVELOPE_HEAD_SIZE + metadata_size);
    result = parse_trailer(reader_rest(&r), &e);
    if (result < 0)
        return result;
    e.signed_part = bytes_of(wire.at, e.head.size + e.sealed.size);
    parse_nonce(&e);

    *ret = e;
    return 0;
}

size_t envelope_padded_size(size_t size)
{
    unsigned exponent, kept;
    size_t mask;

    if (size <= ENVELOPE_PADDED_MIN)
        return ENVELOPE_PADDED_MIN;
    exponent = 63u - (unsigned)__builtin_clzll(size); /* E = floor(log2 size) */
    kept = 32u - (unsigned)__builtin_clz(exponent);   /* S = floor(log2 E) + 1 */
    mask = ((size_t)1 << (exponent - kept)) - 1;
    return size > SIZE_MAX - mask ? 0 : (size + mask) & ~mask;
}

size_t envelope_sealed_size(uint8_t format, size_t content_size, bool padded, uint8_t trailer_kind,
                            size_t vector_count)
{
    size_t size = content_size;

    if (format < ENVELOPE_FORMAT_MESSAGE || format > ENVELOPE_FORMAT_INIT)
        return 0;
    if (content_size > UINT32_MAX || vector_count > ENVELOPE_VECTOR_MAX ||
        content_size > SIZE_MAX / 4)
        return 0;
    if (padded)
        size = envelope_padded_size(PADDING_HEAD_SIZE + content_size);
    size += ENVELOPE_OVERHEAD + formats[format].metadata_min;
    if (trailer_kind == ENVELOPE_TRAILER_SIGNATURE)
        size += SIGNATURE_SIZE;
    else if (trailer_kind == ENVELOPE_TRAILER_VECTOR)
        size += vector_count * ENVELOPE_SLOT_SIZE + 1;
    return size;
}

size_t envelope_size_max(size_t max_message_size)
{
    size_t padded = max_message_size > SIZE_MAX / 4
                        ? SIZE_MAX / 2
                        : envelope_padded_size(PADDING_HEAD_SIZE + max_message_size);

    return padded + ENVELOPE_METADATA_MAX + ENVELOPE_OVERHEAD + 1 +
           (size_t)ENVELOPE_SLOT_SIZE * ENVELOPE_VECTOR_MAX;
}

size_t envelope_content_offset(uint8_t format, bool padded)
{
    size_t metadata = format <= ENVELOPE_FORMAT_INIT ? formats[format].metadata_min : 0;

    return ENVELOPE_HEAD_SIZE + metadata + (padded ? PADDING_HEAD_SIZE : 0);
}

void envelope_context_hash(const struct envelope_context *context, uint8_t ret[HASH_SIZE])
{
    static const uint8_t zeros[HASH_SIZE];
    const uint8_t namespace_size = (uint8_t)context->namespace.size;
    const uint8_t kind_delivery[2] = {context->kind, context->delivery};
    const uint8_t topic_size[2] = {(uint8_t)(context->topic.size >> 8),
                                   (uint8_t)context->topic.size};
    const uint8_t *receiver = context->receiver ? context->receiver : zeros;
    const uint8_t *ref = context->ref ? context->ref : zeros;
    struct hasher h;

    hasher_begin(&h, HASH_SIZE);
    hasher_tag(&h, "context");
    hasher_feed(&h, bytes_of(&namespace_size, 1));
    hasher_feed(&h, context->namespace);
    hasher_feed(&h, bytes_of(kind_delivery, sizeof(kind_delivery)));
    hasher_feed(&h, bytes_of(context->sender, SIGN_PUBLIC_SIZE));
    hasher_feed(&h, bytes_of(receiver, SIGN_PUBLIC_SIZE));
    hasher_feed(&h, bytes_of(ref, ENVELOPE_REF_SIZE));
    hasher_feed(&h, bytes_of(topic_size, sizeof(topic_size)));
    hasher_feed(&h, context->topic);
    hasher_end(&h, ret, HASH_SIZE);
}

void envelope_key_init(struct aead_key *key, const struct secret *k,
                       const uint8_t key_id[ENVELOPE_KEY_ID_SIZE], uint32_t epoch)
{
    uint8_t prefix[ENVELOPE_PREFIX_SIZE];
    struct writer w = writer_over(prefix, sizeof(prefix));

    writer_bytes(&w, bytes_of(key_id, ENVELOPE_KEY_ID_SIZE));
    writer_u32(&w, epoch);
    aead_key_init(key, k, prefix);
}

void envelope_commit(const struct secret *k, struct secret *ret_commit)
{
    kdf(k, "commit", bytes_of(NULL, 0), ret_commit);
}
