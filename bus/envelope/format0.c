/* SPDX-License-Identifier: Apache-2.0 */
/* Format 0: nonces, seal, open. Pure, any thread. */
#include "base/cleanup.h"
#include "envelope/format0.h"
#include "envelope/metadata.h"

void format0_nonces_init(struct format0_nonces *nonces, struct hedge *hedge)
{
    CLEANUP(secret_wipe)
    struct secret random;

    fresh(hedge, "nonce", &random);
    memcpy(nonces->prefix, random.at, sizeof(nonces->prefix));
    nonces->counter = 1;
}

int format0_nonces_next(struct format0_nonces *nonces, uint8_t ret_nonce[ENVELOPE_NONCE_SIZE])
{
    struct writer w = writer_over(ret_nonce, ENVELOPE_NONCE_SIZE);

    if (nonces->counter == 0)
        return AICO_EFORKED;
    writer_bytes(&w, bytes_of(nonces->prefix, sizeof(nonces->prefix)));
    writer_u64(&w, nonces->counter++);
    return 0;
}

size_t format0_sealed_size(size_t metadata_size, size_t payload_size)
{
    return ENVELOPE_OVERHEAD + metadata_size + payload_size;
}

int format0_seal(const struct secret *key, const uint8_t nonce[ENVELOPE_NONCE_SIZE],
                 struct bytes metadata, struct bytes payload, size_t content_max, struct writer *to)
{
    size_t size = format0_sealed_size(metadata.size, payload.size);
    struct writer w;

    if (metadata_check(metadata) < 0)
        return AICO_EMETADATA;
    if (payload.size > content_max || payload.size > SIZE_MAX / 2)
        return AICO_ETOOLARGE;
    if (to->failed || size > to->capacity - to->size)
        return AICO_ESIZE;

    w = writer_over(to->at + to->size, size);
    writer_bytes(&w, bytes_text(ENVELOPE_MAGIC));
    writer_bytes(&w, bytes_of(nonce, ENVELOPE_NONCE_SIZE));
    writer_u8(&w, ENVELOPE_FORMAT_SEED);
    writer_uint(&w, metadata.size, 3);
    writer_bytes(&w, metadata);
    aead_seal(key, nonce, metadata, bytes_of(NULL, 0), payload, w.at + w.size);
    to->size += size;
    return 0;
}

int format0_open(const struct envelope *envelope, const struct secret *key, uint8_t *plain,
                 struct bytes *ret_payload)
{
    int r;

    if (envelope->format != ENVELOPE_FORMAT_SEED)
        return AICO_EFORMAT;
    r = aead_open(key, envelope->nonce.at, envelope->metadata, bytes_of(NULL, 0), envelope->sealed,
                  plain);
    if (r < 0)
        return r;
    *ret_payload = bytes_of(plain, envelope->sealed.size - AEAD_TAG_SIZE);
    return 0;
}
