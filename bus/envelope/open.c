/* SPDX-License-Identifier: Apache-2.0 */
/* Opens one envelope in the order of PROTOCOL 5.3. Pure, any thread. */
#include "base/cleanup.h"
#include "base/reader.h"
#include "envelope/ahead.h"
#include "envelope/layout.h"

int envelope_check(const struct envelope *e, const struct envelope_rule *rule)
{
    if (!(rule->formats & ENVELOPE_ALLOW(e->format)))
        return AICO_EFORMAT;
    if (e->trailer_kind != rule->trailer_kind)
        return AICO_EAUTHENTICITY;
    if (e->padded != rule->padded)
        return AICO_EPADDING;
    return 0;
}

/* The content inside padded @plain: its size fits, the total is exactly PAD, every filler is zero.
 */
static int strip_padding(struct bytes plain, struct bytes *ret_content)
{
    struct reader r = reader_over(plain);
    struct bytes content = reader_bytes(&r, reader_u32(&r));
    struct bytes filler = reader_rest(&r);
    uint8_t all = 0;

    if (r.failed || envelope_padded_size(PADDING_HEAD_SIZE + content.size) != plain.size)
        return AICO_EPADDING;
    for (size_t i = 0; i < filler.size; i++)
        all |= filler.at[i];
    if (all != 0)
        return AICO_EPADDING;
    *ret_content = content;
    return 0;
}

static int check_vector(const struct envelope *e, const struct envelope_open_input *in,
                        const uint8_t digest[HASH_SIZE])
{
    uint8_t slot[ENVELOPE_SLOT_SIZE];

    if (in->slot == ENVELOPE_NO_SLOT || in->slot >= e->vector_count)
        return AICO_EAUTHENTICITY;
    trailer_slot(in->reader_key, digest, slot);
    if (!secret_equal(slot, e->vector.at + (size_t)in->slot * ENVELOPE_SLOT_SIZE, sizeof(slot)))
        return AICO_ESIGNATURE;
    return 0;
}

static int check_trailer(const struct envelope *e, const struct envelope_open_input *in,
                         const uint8_t digest[HASH_SIZE])
{
    switch (e->trailer_kind) {
    case ENVELOPE_TRAILER_SIGNATURE:
        return sign_verify(in->publisher, "envelope", bytes_of(digest, HASH_SIZE),
                           bytes_of(NULL, 0), e->trailer.at);
    case ENVELOPE_TRAILER_VECTOR:
        return check_vector(e, in, digest);
    default:
        return 0;
    }
}

int envelope_open(const struct envelope *e, const struct envelope_open_input *in, uint8_t *plain,
                  struct bytes *ret_content)
{
    struct bytes content = {plain, e->sealed.size - AEAD_TAG_SIZE};
    uint8_t digest[HASH_SIZE];
    int r;

    if (!bytes_equal(bytes_of(in->key->prefix, ENVELOPE_PREFIX_SIZE),
                     bytes_of(e->nonce.at, ENVELOPE_PREFIX_SIZE)))
        return AICO_EKEY;
    r = envelope_check(e, &in->rule);
    if (r < 0)
        return r;
    if (e->format == ENVELOPE_FORMAT_SEED)
        return AICO_EFORMAT;
    /* Before OPEN only because opening in place overwrites the ciphertext it is made of. */
    if (e->trailer_kind != ENVELOPE_TRAILER_NONE &&
        !(in->ahead &&
          trailers_ahead_find(in->ahead, in->commit, in->context, e->signed_part, digest)))
        trailer_digest(in->commit, in->context, e->signed_part, digest);
    r = aead_key_open(in->key, e->nonce.at + ENVELOPE_PREFIX_SIZE, e->head,
                      bytes_of(in->context, HASH_SIZE), e->sealed, plain);
    if (r < 0)
        return r;
    if (e->padded)
        r = strip_padding(content, &content);
    if (r == 0)
        r = check_trailer(e, in, digest);
    if (r < 0) {
        memory_wipe(plain, e->sealed.size - AEAD_TAG_SIZE);
        return r;
    }
    *ret_content = content;
    return 0;
}
