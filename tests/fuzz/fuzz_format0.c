/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Format 0 and its metadata. Input: metadata, and behind the first zero byte a payload. Every text
 * may come from a peer; what is canonical must be strict JSON, be sealed, and open to the same.
 */
#include "fuzz.h"

#include "envelope/format0.h"
#include "envelope/metadata.h"

static const struct secret key = {{3}};

/* What a peer sent, as it stands: structure, metadata, OPEN. */
static void receive(struct bytes wire)
{
    uint8_t *copy = copy_of(wire);
    struct metadata_facts facts;
    struct bytes payload;
    struct envelope e;

    if (envelope_parse(bytes_of(copy, wire.size), &e) == 0 && e.format == ENVELOPE_FORMAT_SEED) {
        uint8_t *plain = malloc(e.sealed.size);

        require(plain != NULL);
        (void)!metadata_parse(e.metadata, &facts);
        (void)!format0_open(&e, &key, plain, &payload);
        free(plain);
    }
    free(copy);
}

static void seal_and_open(struct bytes metadata, struct bytes payload, bool canonical)
{
    static const uint8_t nonce[ENVELOPE_NONCE_SIZE] = {1};
    size_t size = format0_sealed_size(metadata.size, payload.size);
    uint8_t *wire = malloc(size), *plain = malloc(payload.size + 1);
    struct writer w = writer_over(wire, size);
    struct bytes opened;
    struct envelope e;
    int r;

    require(wire && plain);
    r = format0_seal(&key, nonce, metadata, payload, payload.size, &w);
    require((r == 0) == canonical);
    if (r == 0) {
        require(envelope_parse(writer_view(&w), &e) == 0);
        require(bytes_equal(e.metadata, metadata));
        require(format0_open(&e, &key, plain, &opened) == 0);
        require(bytes_equal(opened, payload));
        wire[w.size - 1] ^= 1;
        require(format0_open(&e, &key, plain, &opened) == AICO_EOPEN);
    }
    free(wire);
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
    size_t first = zero ? (size_t)(zero - data) : size;
    uint8_t *copy = copy_of(bytes_of(data, first));
    struct bytes metadata = {copy, first};
    struct metadata_facts facts;
    bool canonical;

    require(crypto_start() == 0);
    receive(bytes_of(data, size));
    canonical = metadata_check(metadata) == 0;
    if (metadata_parse(metadata, &facts) == 0) {
        require(!facts.has_topic || facts.topic_size <= sizeof(facts.topic));
        require(first <= METADATA_SIZE_MAX);
    }
    seal_and_open(metadata, zero ? bytes_of(zero + 1, size - first - 1) : bytes_of(NULL, 0),
                  canonical);
    free(copy);
    return 0;
}
