/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Envelopes of formats 1 and 2: the vectors both ways, and what a broker or another member may do
 * to one (PROTOCOL 14; a test has the name it has there). What needs a sequence, a window or an
 * epoch chain is tested with the session.
 */
#include <stdlib.h>

#include "vectors.h"

#include "base/cleanup.h"
#include "base/hex.h"
#include "base/reader.h"
#include "crypto/kdf.h"
#include "envelope/content.h"
#include "envelope/envelope.h"
#include "envelope/headers.h"
#include "wire/record.h"

#define CONTENT_MAX (16 * 1024 * 1024)
#define ALLOW_BOTH (ENVELOPE_ALLOW(ENVELOPE_FORMAT_MESSAGE) | ENVELOPE_ALLOW(ENVELOPE_FORMAT_BATCH))
#define TOPIC "conversation/user/input/v1"
#define READERS 3

static json_t *vectors;

static void release(struct bytes bytes)
{
    free((void *)(uintptr_t)bytes.at);
}

static struct secret secret_at(json_t *from, const char *path)
{
    struct secret secret;

    vectors_hex_into(from, path, secret.at, SECRET_SIZE);
    return secret;
}

static struct bytes text_at(json_t *from, const char *key)
{
    json_t *text = vectors_at(from, key);

    return bytes_of(json_string_value(text), json_string_length(text));
}

static int64_t int_or(json_t *from, const char *key, int64_t otherwise)
{
    json_t *at = json_object_get(from, key);

    return at ? json_integer_value(at) : otherwise;
}

static int error_named(const char *name)
{
#define NAMED(symbol, number, text, exit_code, sentence)                                           \
    if (strcmp(name, text) == 0)                                                                   \
        return AICO_##symbol;
    AICO_ERRORS(NAMED)
#undef NAMED
    return strcmp(name, "ok") == 0 ? 0 : 1;
}

/*
 * Two ends that know the same, and what a test bends of it. Default: one message without padding
 * or trailer, opened into an exact-size block.
 */
struct ends {
    struct secret k, commit, seed, readers[READERS];
    uint8_t public[SIGN_PUBLIC_SIZE], sender[SIGN_PUBLIC_SIZE], receiver[SIGN_PUBLIC_SIZE];
    uint8_t context[HASH_SIZE];
    struct aead_key key;
    struct envelope_context said;
    struct envelope_seal_input seal;
    struct envelope_open_input open;
    uint8_t wire[4096];
    size_t size;
};

static void ends_hash(struct ends *e)
{
    envelope_context_hash(&e->said, e->context);
}

static void ends_begin(struct ends *e, uint8_t format, bool padded, uint8_t trailer)
{
    static const uint8_t id[ENVELOPE_KEY_ID_SIZE] = "the key's id";

    *e = (struct ends){.k = {{1}}, .seed = {{2}}, .sender = {3}, .receiver = {4}};
    for (uint8_t i = 0; i < READERS; i++)
        e->readers[i].at[0] = (uint8_t)(10 + i);
    sign_public(&e->seed, e->public);
    envelope_commit(&e->k, &e->commit);
    envelope_key_init(&e->key, &e->k, id, 7);
    e->said = (struct envelope_context){.kind = ENVELOPE_CONTEXT_CHANNEL,
                                        .delivery = DELIVERY_EVENT,
                                        .sender = e->sender,
                                        .receiver = e->receiver,
                                        .topic = bytes_text(TOPIC),
                                        .namespace = bytes_text("aico")};
    ends_hash(e);
    e->seal = (struct envelope_seal_input){.key = &e->key,
                                           .time = 1000,
                                           .sequence = 5,
                                           .format = format,
                                           .padded = padded,
                                           .context = e->context,
                                           .content_max = CONTENT_MAX,
                                           .trailer_kind = trailer,
                                           .commit = &e->commit,
                                           .sign_seed = &e->seed,
                                           .sign_public = e->public,
                                           .reader_keys = e->readers,
                                           .reader_count = READERS};
    e->seal.payload = bytes_of("\0\0\0\5hello", 9);
    e->open = (struct envelope_open_input){.key = &e->key,
                                           .context = e->context,
                                           .rule = {ALLOW_BOTH, padded, trailer},
                                           .commit = &e->commit,
                                           .publisher = e->public,
                                           .reader_key = &e->readers[1],
                                           .slot = 1};
}

static void ends_seal(struct ends *e)
{
    struct writer w = writer_over(e->wire, sizeof(e->wire));

    assert_int_equal(envelope_seal(&e->seal, &w), 0);
    e->size = w.size;
}

/* Parses and opens an exact-size copy of @wire; @ret_same tells whether its content is @expected.
 */
static int open_bytes(const struct envelope_open_input *in, struct bytes wire,
                      struct bytes expected, bool *ret_same)
{
    CLEANUP(free_memory)
    uint8_t *copy = exact_copy(wire), *plain = NULL;
    struct bytes content = {0};
    struct envelope e;
    int r;

    r = envelope_parse(bytes_of(copy, wire.size), &e);
    if (r < 0)
        return r;
    plain = malloc(e.sealed.size - AEAD_TAG_SIZE + (e.sealed.size == AEAD_TAG_SIZE));
    memset(plain, 0, e.sealed.size - AEAD_TAG_SIZE);
    r = envelope_open(&e, in, plain, &content);
    for (size_t i = 0; r < 0 && i < e.sealed.size - AEAD_TAG_SIZE; i++)
        assert_int_equal(plain[i], 0); /* no plaintext leaves with a failure */
    if (ret_same)
        *ret_same = r == 0 && bytes_equal(content, expected);
    return r;
}

static int ends_open(const struct ends *e)
{
    bool same = false;
    int r = open_bytes(&e->open, bytes_of(e->wire, e->size), e->seal.payload, &same);

    assert_int_equal(same, r == 0);
    return r;
}

/* Every combination of format, padding and trailer. */
static void for_each_shape(void (*body)(struct ends *e))
{
    static struct ends e;

    for (uint8_t format = ENVELOPE_FORMAT_MESSAGE; format <= ENVELOPE_FORMAT_BATCH; format++)
        for (int padded = 0; padded < 2; padded++)
            for (uint8_t trailer = 0; trailer <= ENVELOPE_TRAILER_SIGNATURE; trailer++) {
                ends_begin(&e, format, padded, trailer);
                ends_seal(&e);
                body(&e);
            }
}

static void opens(struct ends *e)
{
    struct envelope parsed;

    assert_int_equal(ends_open(e), 0);
    assert_int_equal(e->size, envelope_sealed_size(e->seal.format, e->seal.payload.size,
                                                   e->seal.padded, e->seal.trailer_kind, READERS));
    assert_int_equal(envelope_parse(bytes_of(e->wire, e->size), &parsed), 0);
    assert_int_equal(parsed.epoch, 7);
    assert_int_equal(parsed.time, 1000);
    assert_int_equal(parsed.sequence, 5);
    assert_int_equal(parsed.head.size + parsed.sealed.size + parsed.trailer.size, e->size);
    assert_int_equal(parsed.signed_part.size + parsed.trailer.size, e->size);
}

static void what_is_sealed_opens_in_every_shape(void **state)
{
    (void)state;
    for_each_shape(opens);
}

static void every_bit(struct ends *e)
{
    size_t slots = e->seal.trailer_kind == ENVELOPE_TRAILER_VECTOR
                       ? e->size - 1 - READERS * ENVELOPE_SLOT_SIZE
                       : e->size;

    for (size_t bit = 0; bit < 8 * e->size; bit++) {
        bool slot_of_another = bit / 8 >= slots && bit / 8 < e->size - 1 &&
                               (bit / 8 - slots) / ENVELOPE_SLOT_SIZE != e->open.slot;

        e->wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(ends_open(e) == 0, slot_of_another);
        e->wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void envelope_every_bit(void **state)
{
    (void)state;
    for_each_shape(every_bit);
}

static void cut(struct ends *e)
{
    size_t whole = e->size;

    for (e->size = 0; e->size < whole; e->size++) {
        int r = ends_open(e);

        assert_true(r < 0);
        if (e->size < ENVELOPE_OVERHEAD)
            assert_int_equal(r, AICO_ESIZE);
    }
    e->size = whole + 1;
    assert_true(ends_open(e) < 0);
}

static void every_truncation(void **state)
{
    (void)state;
    for_each_shape(cut);
}

static int parse_with(struct ends *e, size_t at, uint8_t value)
{
    struct envelope parsed;
    uint8_t *copy;
    int r;

    copy = exact_copy(bytes_of(e->wire, e->size));
    copy[at] = value;
    r = envelope_parse(bytes_of(copy, e->size), &parsed);
    free(copy);
    return r;
}

static void bounds_of_metadata_and_trailer(void **state)
{
    static struct ends e;
    struct envelope parsed;

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_NONE);
    ends_seal(&e);
    assert_int_equal(parse_with(&e, 33, 1), AICO_ESIZE);   /* m = 65536 */
    assert_int_equal(parse_with(&e, 34, 1), AICO_ESIZE);   /* m = 256, past the end */
    assert_int_equal(parse_with(&e, 35, 9), AICO_EFORMAT); /* m = 9: format 1 has none */
    assert_int_equal(parse_with(&e, 35, 10), AICO_ESIZE);  /* one more than there is */
    assert_int_equal(parse_with(&e, 0, 'a'), AICO_EMAGIC);
    assert_int_equal(parse_with(&e, 32, 0xc1), AICO_EFORMAT); /* both trailers */
    assert_int_equal(parse_with(&e, 32, 0x81), AICO_ESIZE);   /* no room for a signature */
    assert_int_equal(parse_with(&e, 32, 0x10), AICO_EFORMAT); /* format 0 with a flag */
    assert_int_equal(parse_with(&e, 32, 0x20), AICO_EFORMAT);
    assert_int_equal(parse_with(&e, 32, 0x80), AICO_EFORMAT);
    assert_int_equal(parse_with(&e, 32, 0x83), AICO_EFORMAT); /* a ratchet has no trailer */
    assert_int_equal(parse_with(&e, 32, 0x03), AICO_EFORMAT); /* and always metadata */
    assert_int_equal(parse_with(&e, 32, 0x04), AICO_EFORMAT);
    for (uint8_t format = 5; format < 16; format++)
        assert_int_equal(parse_with(&e, 32, format), AICO_EFORMAT);
    e.wire[32] = 0x41; /* what was the tag's last byte now counts slots */
    assert_int_equal(parse_with(&e, e.size - 1, 0), AICO_EFORMAT);
    assert_int_equal(parse_with(&e, e.size - 1, 1), AICO_ESIZE);

    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_VECTOR);
    ends_seal(&e);
    assert_int_equal(parse_with(&e, e.size - 1, READERS), 0);
    assert_int_equal(parse_with(&e, e.size - 1, READERS + 1), AICO_ESIZE);
    assert_int_equal(parse_with(&e, e.size - 1, 255), AICO_ESIZE);
    assert_int_equal(parse_with(&e, e.size - 1, 0), AICO_EFORMAT);
    assert_int_equal(envelope_parse(bytes_of(NULL, 0), &parsed), AICO_ESIZE);
}

/* Opens what was sealed for @e's context under another one. */
static void assert_bound(struct ends *e)
{
    ends_hash(e);
    assert_int_equal(ends_open(e), AICO_EOPEN);
}

static void move_topic(void **state)
{
    static const struct {
        const char *topic;
        size_t size;
    } others[] = {
        {TOPIC "\0", sizeof(TOPIC)}, /* a zero byte more */
        {TOPIC, sizeof(TOPIC) - 2},  /* a prefix */
        {"conversation/user/input/v2", 26}, {"", 0}, {"conversation/user/input/v1/x", 28},
    };
    static struct ends e;

    (void)state;
    for (size_t i = 0; i < COUNT_OF(others); i++) {
        ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_NONE);
        ends_seal(&e);
        e.said.topic = bytes_of(others[i].topic, others[i].size);
        assert_bound(&e);
    }
}

static void stamp_another_sender(void **state)
{
    static struct ends e;

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_NONE);
    ends_seal(&e);
    e.sender[31] = 1;
    assert_bound(&e);
    e.sender[31] = 0;
    e.said.namespace = bytes_text("other");
    assert_bound(&e);
    e.said.namespace = bytes_text("aico");
    e.said.kind = ENVELOPE_CONTEXT_GROUP;
    assert_bound(&e);
    e.said.receiver = NULL;
    assert_bound(&e);
    e.said.kind = ENVELOPE_CONTEXT_CHANNEL;
    e.said.receiver = e.receiver;
    ends_hash(&e);
    assert_int_equal(ends_open(&e), 0);
}

static void event_as_retained(void **state)
{
    static struct ends e;

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_NONE);
    ends_seal(&e);
    for (uint8_t delivery = DELIVERY_RETAINED; delivery <= DELIVERY_CONTROL; delivery++) {
        e.said.delivery = delivery;
        assert_bound(&e);
    }
}

static void event_as_reply(void **state)
{
    static const uint8_t ref[ENVELOPE_REF_SIZE] = {1};
    static struct ends e;

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_NONE);
    ends_seal(&e);
    e.said.delivery = DELIVERY_REPLY;
    assert_bound(&e);
    e.said.ref = ref;
    assert_bound(&e);
}

static void swap_replies(void **state)
{
    static const uint8_t refs[2][ENVELOPE_REF_SIZE] = {{1}, {2}};
    static struct ends e[2];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        ends_begin(&e[i], ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_NONE);
        e[i].said.delivery = DELIVERY_REPLY;
        e[i].said.ref = refs[i];
        ends_hash(&e[i]);
        e[i].seal.sequence = (uint32_t)i;
        ends_seal(&e[i]);
        assert_int_equal(ends_open(&e[i]), 0);
        e[i].said.ref = refs[1 - i];
        assert_bound(&e[i]);
    }
}

static void reflect_envelope(void **state)
{
    static struct ends e;
    struct secret back = {{99}};

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_NONE);
    ends_seal(&e);
    /* The sender gets it back: it opens what comes with the peer's key and the peer as sender. */
    aead_key_init(&e.key, &back, e.key.prefix);
    assert_int_equal(ends_open(&e), AICO_EOPEN);
    aead_key_init(&e.key, &e.k, e.key.prefix);
    e.said.sender = e.receiver;
    e.said.receiver = e.sender;
    assert_bound(&e);
}

static void a_key_of_another_epoch_is_no_key(void **state)
{
    static struct ends e;

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_NONE);
    ends_seal(&e);
    envelope_key_init(&e.key, &e.k, e.key.prefix, 8);
    assert_int_equal(ends_open(&e), AICO_EKEY);
    e.wire[8] ^= 1;
    envelope_key_init(&e.key, &e.k, e.key.prefix, 7);
    assert_int_equal(ends_open(&e), AICO_EKEY);
}

/* Seals @plain as if it were padded content. */
static int open_padded(const uint8_t *plain, size_t size)
{
    static struct ends e;
    struct writer w = writer_over(e.wire, sizeof(e.wire));
    struct envelope parsed;
    uint8_t *opened;
    struct bytes content;
    int r;

    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_NONE);
    e.seal.payload = bytes_of(plain, size);
    assert_int_equal(envelope_seal(&e.seal, &w), 0);
    e.wire[32] |= 0x20;
    aead_key_seal(&e.key, e.wire + 24, bytes_of(e.wire, ENVELOPE_HEAD_SIZE),
                  bytes_of(e.context, HASH_SIZE), bytes_of(plain, size),
                  e.wire + ENVELOPE_HEAD_SIZE);
    e.open.rule.padded = true;
    assert_int_equal(envelope_parse(writer_view(&w), &parsed), 0);
    opened = malloc(size + 1);
    r = envelope_open(&parsed, &e.open, opened, &content);
    free(opened);
    return r;
}

static void padding_is_checked_exactly(void **state)
{
    uint8_t plain[600] = {0, 0, 0, 100};
    static struct ends e;

    (void)state;
    memset(plain + 4, 'x', 100);
    assert_int_equal(open_padded(plain, 256), 0);
    for (size_t i = 104; i < 256; i += 151) { /* the first and the last filler byte */
        plain[i] = 1;
        assert_int_equal(open_padded(plain, 256), AICO_EPADDING);
        plain[i] = 0;
    }
    assert_int_equal(open_padded(plain, 272), AICO_EPADDING); /* not minimal */
    assert_int_equal(open_padded(plain, 255), AICO_EPADDING);
    assert_int_equal(open_padded(plain, 104), AICO_EPADDING);
    for (size_t size = 0; size < 4; size++)
        assert_int_equal(open_padded(plain, size), AICO_EPADDING);
    plain[3] = 252;
    assert_int_equal(open_padded(plain, 256), 0);
    plain[3] = 253; /* size past the end */
    assert_int_equal(open_padded(plain, 256), AICO_EPADDING);
    memset(plain, 0xff, 4);
    assert_int_equal(open_padded(plain, 256), AICO_EPADDING);

    for (int padded = 0; padded < 2; padded++) { /* the flag against the rule */
        ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, padded, ENVELOPE_TRAILER_NONE);
        ends_seal(&e);
        e.open.rule.padded = !padded;
        assert_int_equal(ends_open(&e), AICO_EPADDING);
    }
}

static void padded_sizes_are_padme(void **state)
{
    json_t *pair;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(vectors, "primitives.padded_size"), i, pair)
        assert_int_equal(envelope_padded_size((size_t)json_integer_value(json_array_get(pair, 0))),
                         json_integer_value(json_array_get(pair, 1)));
    for (size_t size = 0; size < 100000; size++) {
        size_t padded = envelope_padded_size(size);

        assert_true(padded >= size && padded >= 256 && padded <= MAX(256, size + size / 8));
        assert_int_equal(envelope_padded_size(padded), padded);
    }
    assert_int_equal(envelope_padded_size(SIZE_MAX), 0);
    assert_true(envelope_size_max(SIZE_MAX) > SIZE_MAX / 4);
    assert_int_equal(envelope_size_max(16777216), 17301504 + 65535 + 52 + 1 + 16 * 255);
}

static void strip_signature(void **state)
{
    static struct ends e;

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_SIGNATURE);
    ends_seal(&e);
    e.wire[32] &= 0x3f;
    e.size -= SIGNATURE_SIZE;
    assert_int_equal(ends_open(&e), AICO_EAUTHENTICITY);
    /* Also where the rule asks for nothing: the flag is part of what was sealed. */
    e.open.rule.trailer_kind = ENVELOPE_TRAILER_NONE;
    assert_int_equal(ends_open(&e), AICO_EOPEN);
}

static void vector_instead_of_signature(void **state)
{
    static struct ends e;

    (void)state;
    for (uint8_t due = 0; due <= ENVELOPE_TRAILER_SIGNATURE; due++)
        for (uint8_t there = 0; there <= ENVELOPE_TRAILER_SIGNATURE; there++) {
            ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, there);
            ends_seal(&e);
            e.open.rule.trailer_kind = due;
            assert_int_equal(ends_open(&e), due == there ? 0 : AICO_EAUTHENTICITY);
        }
}

static void a_vector_proves_to_each_reader_alone(void **state)
{
    static struct ends e;

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, ENVELOPE_TRAILER_VECTOR);
    ends_seal(&e);
    for (uint8_t key = 0; key < READERS; key++)
        for (uint8_t slot = 0; slot < READERS; slot++) {
            e.open.reader_key = &e.readers[key];
            e.open.slot = slot;
            assert_int_equal(ends_open(&e), key == slot ? 0 : AICO_ESIGNATURE);
        }
    e.open.slot = READERS;
    assert_int_equal(ends_open(&e), AICO_EAUTHENTICITY);
    e.open.slot = ENVELOPE_NO_SLOT;
    e.open.reader_key = NULL;
    assert_int_equal(ends_open(&e), AICO_EAUTHENTICITY);
}

/* PROTOCOL 14 row 49, without the group around it: whoever holds the topic key but not the proof.
 */
static void member_forges(void **state)
{
    static struct ends e;

    (void)state;
    for (uint8_t trailer = 0; trailer <= ENVELOPE_TRAILER_SIGNATURE; trailer++) {
        struct secret own_seed = {{77}};
        uint8_t own_public[SIGN_PUBLIC_SIZE];

        sign_public(&own_seed, own_public);
        ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, false, trailer);
        e.seal.sign_seed = &own_seed;
        e.seal.sign_public = own_public;
        e.readers[1].at[5] = 1; /* a guess of the other reader's key */
        ends_seal(&e);
        e.readers[1].at[5] = 0;
        assert_int_equal(ends_open(&e), trailer == 0 ? 0 : AICO_ESIGNATURE);
    }
}

/*
 * PROTOCOL 14 row 55. Ciphertext and tag that open under both keys: two blocks were solved for so
 * that the Poly1305 equations of both have the same result (a malicious publisher can do that). It
 * could show two readers two contents with one valid signature, if that bound the tag only.
 */
static void one_ciphertext_for_two_keys(void **state)
{
    static const char collision[] =
        "8ad1c2d60c91454f880ac64fb4043f3997ba9ce5b8999df8ddf9fe48841aae69"
        "1bdde03b52d528eade7b292ca944b4dd";
    static const uint8_t nonce[ENVELOPE_NONCE_SIZE] = "two-keys-55.\0\0\0\0\0\0\0\1\0\0\0";
    uint8_t wire[ENVELOPE_OVERHEAD + 32 + SIGNATURE_SIZE] = ENVELOPE_MAGIC, context[HASH_SIZE];
    uint8_t plain[2][32], public[SIGN_PUBLIC_SIZE], digest[HASH_SIZE];
    struct secret seed = {{5}}, k[2], commit[2];
    struct aead_key key[2];
    struct envelope parsed;
    struct bytes content;
    struct hasher h;

    (void)state;
    memcpy(wire + 8, nonce, sizeof(nonce));
    wire[32] = 0x81;
    assert_true(hex_parse(bytes_text(collision), wire + 36, 48));
    memset(context, 3, sizeof(context));
    sign_public(&seed, public);
    for (size_t i = 0; i < 2; i++) {
        memset(k[i].at, (int)i + 1, SECRET_SIZE);
        envelope_commit(&k[i], &commit[i]);
        envelope_key_init(&key[i], &k[i], nonce, 0);
        assert_int_equal(aead_key_open(&key[i], nonce + 16, bytes_of(wire, 36),
                                       bytes_of(context, HASH_SIZE), bytes_of(wire + 36, 48),
                                       plain[i]),
                         0);
    }
    assert_memory_not_equal(plain[0], plain[1], 32);

    /* The publisher signs it for the first key; spelled out, as it would by hand. */
    hasher_begin(&h, HASH_SIZE);
    hasher_tag(&h, "signature");
    hasher_feed(&h, secret_view(&commit[0]));
    hasher_feed(&h, bytes_of(context, HASH_SIZE));
    hasher_feed(&h, bytes_of(wire, 36 + 48));
    hasher_end(&h, digest, HASH_SIZE);
    assert_int_equal(sign_make(&seed, "envelope", bytes_of(digest, HASH_SIZE), bytes_of(NULL, 0),
                               wire + 36 + 48),
                     0);
    assert_int_equal(envelope_parse(bytes_of(wire, sizeof(wire)), &parsed), 0);
    for (size_t i = 0; i < 2; i++) {
        struct envelope_open_input in = {.key = &key[i],
                                         .context = context,
                                         .rule = {ALLOW_BOTH, false, ENVELOPE_TRAILER_SIGNATURE},
                                         .commit = &commit[i],
                                         .publisher = public};

        assert_int_equal(envelope_open(&parsed, &in, plain[0], &content),
                         i == 0 ? 0 : AICO_ESIGNATURE);
    }
}

static void a_format_the_key_is_not_for_is_refused(void **state)
{
    static struct ends e;

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_BATCH, false, ENVELOPE_TRAILER_NONE);
    ends_seal(&e);
    e.open.rule.formats = ENVELOPE_ALLOW(ENVELOPE_FORMAT_MESSAGE);
    assert_int_equal(ends_open(&e), AICO_EFORMAT);
    e.open.rule.formats = ENVELOPE_ALLOW(ENVELOPE_FORMAT_BATCH);
    assert_int_equal(ends_open(&e), 0);
}

static void sealing_refuses_what_no_reader_would_take(void **state)
{
    static struct ends e;
    struct writer w = writer_over(e.wire, sizeof(e.wire));

    (void)state;
    ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, true, ENVELOPE_TRAILER_NONE);
    e.seal.content_max = e.seal.payload.size;
    assert_int_equal(envelope_seal(&e.seal, &w), 0);
    w.size = 0;
    e.seal.has_headers = true; /* two bytes more */
    assert_int_equal(envelope_seal(&e.seal, &w), AICO_ETOOLARGE);
    e.seal.content_max = 100;
    e.seal.headers = bytes_text("no header block");
    assert_int_equal(envelope_seal(&e.seal, &w), AICO_EFORMAT);
    e.seal.has_headers = false;
    assert_int_equal(envelope_seal(&e.seal, &w), AICO_EFORMAT);
    e.seal.headers = bytes_of(NULL, 0);
    e.seal.metadata = bytes_text("x");
    assert_int_equal(envelope_seal(&e.seal, &w), AICO_EFORMAT);
    e.seal.metadata = bytes_of(NULL, 0);
    w.capacity = 52 + 256 - 1;
    assert_int_equal(envelope_seal(&e.seal, &w), AICO_ESIZE);
    w.capacity++;
    assert_int_equal(envelope_seal(&e.seal, &w), 0);
    w = writer_over(e.wire, sizeof(e.wire));
    for (int format = 0; format < 256; format++) {
        e.seal.format = (uint8_t)format;
        if (format != ENVELOPE_FORMAT_MESSAGE && format != ENVELOPE_FORMAT_BATCH)
            assert_int_equal(envelope_seal(&e.seal, &w), AICO_EFORMAT);
    }
    e.seal.format = ENVELOPE_FORMAT_BATCH;
    e.seal.payload = bytes_of(NULL, 0); /* a batch of nothing */
    assert_int_equal(envelope_seal(&e.seal, &w), AICO_EFORMAT);
    e.seal.format = ENVELOPE_FORMAT_MESSAGE;
    e.seal.trailer_kind = ENVELOPE_TRAILER_VECTOR;
    e.seal.reader_count = 0;
    assert_int_equal(envelope_seal(&e.seal, &w), AICO_EFORMAT);
    e.seal.reader_count = 256;
    assert_int_equal(envelope_seal(&e.seal, &w), AICO_EFORMAT);
    e.seal.trailer_kind = 3;
    assert_int_equal(envelope_seal(&e.seal, &w), AICO_EFORMAT);
    assert_int_equal(w.size, 0);
}

static void a_ratchet_envelope_carries_its_metadata(void **state)
{
    static const uint8_t metadata[256] = {1, 2, 3};
    static struct ends e;

    (void)state;
    for (uint8_t format = ENVELOPE_FORMAT_RATCHET; format <= ENVELOPE_FORMAT_INIT; format++) {
        size_t size = format == ENVELOPE_FORMAT_RATCHET ? 32 : 256;

        ends_begin(&e, format, false, ENVELOPE_TRAILER_NONE);
        e.seal.metadata = bytes_of(metadata, size);
        ends_seal(&e);
        assert_int_equal(e.size, ENVELOPE_OVERHEAD + size + e.seal.payload.size);
        assert_int_equal(ends_open(&e), AICO_EFORMAT);
        e.open.rule.formats = (uint8_t)ENVELOPE_ALLOW(format);
        assert_int_equal(ends_open(&e), 0);
        e.wire[36 + size - 1] ^= 1;
        assert_int_equal(ends_open(&e), AICO_EOPEN);
    }
}

static void content_in_its_place_is_sealed_and_opened_there(void **state)
{
    static struct ends e, apart;
    struct bytes headers = {(const uint8_t *)"\1k\0\1v", 5};

    (void)state;
    for (int padded = 0; padded < 2; padded++)
        for (int with = 0; with < 2; with++) {
            struct envelope_open_input in;
            struct envelope parsed;
            struct bytes content;
            struct writer w = writer_over(e.wire, sizeof(e.wire));
            size_t at = envelope_content_offset(ENVELOPE_FORMAT_MESSAGE, padded);

            ends_begin(&apart, ENVELOPE_FORMAT_MESSAGE, padded, ENVELOPE_TRAILER_SIGNATURE);
            apart.seal.has_headers = with;
            apart.seal.headers = with ? headers : bytes_of(NULL, 0);
            ends_seal(&apart);
            ends_begin(&e, ENVELOPE_FORMAT_MESSAGE, padded, ENVELOPE_TRAILER_SIGNATURE);
            e.seal.has_headers = with;
            e.seal.headers = apart.seal.headers;
            at += with ? 2 + headers.size : 0;
            bytes_copy(e.wire + at, e.seal.payload);
            e.seal.payload.at = e.wire + at;
            assert_int_equal(envelope_seal(&e.seal, &w), 0);
            assert_true(bytes_equal(writer_view(&w), bytes_of(apart.wire, apart.size)));

            in = apart.open;
            assert_int_equal(envelope_parse(writer_view(&w), &parsed), 0);
            assert_int_equal(
                envelope_open(&parsed, &in, (uint8_t *)(uintptr_t)parsed.sealed.at, &content), 0);
            assert_int_equal(content_split(content, with, &headers, &content), 0);
            assert_true(bytes_equal(content, apart.seal.payload));
            headers = bytes_of("\1k\0\1v", 5);
        }
}

/* The ends of the handshake in the vectors. */
struct channel {
    uint8_t dialer[SIGN_PUBLIC_SIZE], listener[SIGN_PUBLIC_SIZE];
    uint8_t id[ENVELOPE_KEY_ID_SIZE];
};

static struct channel vector_channel(void)
{
    struct channel c;
    struct secret seed = secret_at(vectors, "handshake.dialer_seed");

    sign_public(&seed, c.dialer);
    seed = secret_at(vectors, "handshake.listener_seed");
    sign_public(&seed, c.listener);
    vectors_hex_into(vectors, "handshake.id", c.id, sizeof(c.id));
    return c;
}

static struct secret key_of_epoch(struct secret k, const char *step, int64_t epoch)
{
    for (; epoch > 0; epoch--)
        kdf(&k, step, bytes_of(NULL, 0), &k);
    return k;
}

/* Seals @content as @wire says and expects exactly @wire. */
static void assert_sealed_alike(struct bytes wire, struct envelope_seal_input *in)
{
    struct envelope e;
    uint8_t *to = malloc(wire.size);
    struct writer w = writer_over(to, wire.size);

    assert_int_equal(envelope_parse(wire, &e), 0);
    in->time = e.time;
    in->sequence = e.sequence;
    in->format = e.format;
    in->padded = e.padded;
    in->has_headers = e.headers;
    in->trailer_kind = e.trailer_kind;
    in->content_max = CONTENT_MAX;
    assert_int_equal(envelope_seal(in, &w), 0);
    assert_true(bytes_equal(writer_view(&w), wire));
    free(to);
}

static void the_channel_vectors_hold_both_ways(void **state)
{
    struct channel c = vector_channel();
    json_t *at;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(vectors, "channel.cases"), i, at)
    {
        bool dialer = strcmp(vectors_text(at, "direction"), "dialer") == 0;
        struct bytes wire = vectors_hex(at, "envelope"), content = vectors_hex(at, "content");
        struct secret k =
            key_of_epoch(secret_at(vectors, dialer ? "handshake.k_dl" : "handshake.k_ld"),
                         "channel step", vectors_int(at, "epoch"));
        uint8_t ref[ENVELOPE_REF_SIZE] = {0}, context[HASH_SIZE], expected[SECRET_SIZE];
        struct aead_key key;
        bool same, padded = json_is_true(json_object_get(at, "padded"));
        struct envelope_open_input open = {
            .key = &key, .context = context, .rule = {ALLOW_BOTH, padded, ENVELOPE_TRAILER_NONE}};
        struct envelope_seal_input seal = {.key = &key, .context = context, .payload = content};

        if (json_object_get(at, "ref"))
            vectors_hex_into(at, "ref", ref, sizeof(ref));
        envelope_context_hash(
            &(struct envelope_context){.kind = ENVELOPE_CONTEXT_CHANNEL,
                                       .delivery = (uint8_t)vectors_int(at, "delivery"),
                                       .sender = dialer ? c.dialer : c.listener,
                                       .receiver = dialer ? c.listener : c.dialer,
                                       .ref = ref,
                                       .topic = text_at(at, "topic"),
                                       .namespace = bytes_text("aico")},
            context);
        if (json_object_get(at, "context")) {
            vectors_hex_into(at, "context", expected, HASH_SIZE);
            assert_memory_equal(context, expected, HASH_SIZE);
        }
        if (json_object_get(at, "key")) {
            vectors_hex_into(at, "key", expected, SECRET_SIZE);
            assert_memory_equal(k.at, expected, SECRET_SIZE);
        }
        envelope_key_init(&key, &k, c.id, (uint32_t)vectors_int(at, "epoch"));
        assert_int_equal(open_bytes(&open, wire, content, &same), 0);
        assert_true(same);
        assert_sealed_alike(wire, &seal);
        release(wire);
        release(content);
    }
}

/* Replay and epoch reach are the session's: those cases only have to open here. */
static int expected_here(const char *name)
{
    int code = error_named(name);

    return code == AICO_EREPLAY || code == AICO_EEPOCHJUMP ? 0 : code;
}

static void channel_negative(void **state)
{
    struct channel c = vector_channel();
    json_t *at;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(vectors, "channel_negative"), i, at)
    {
        struct bytes wire = vectors_hex(at, "envelope");
        struct envelope e = {0};
        int parsed = envelope_parse(wire, &e);
        struct secret k =
            key_of_epoch(secret_at(vectors, "handshake.k_dl"), "channel step", e.epoch);
        uint8_t context[HASH_SIZE];
        struct aead_key key;
        struct envelope_open_input open = {
            .key = &key,
            .context = context,
            .rule = {ALLOW_BOTH, json_is_true(vectors_at(at, "padded")), ENVELOPE_TRAILER_NONE}};
        int r;

        envelope_context_hash(
            &(struct envelope_context){.kind = ENVELOPE_CONTEXT_CHANNEL,
                                       .delivery = (uint8_t)vectors_int(at, "delivery"),
                                       .sender = c.dialer,
                                       .receiver = c.listener,
                                       .topic = text_at(at, "topic"),
                                       .namespace = bytes_text("aico")},
            context);
        envelope_key_init(&key, &k, c.id, e.epoch);
        r = open_bytes(&open, wire, bytes_of(NULL, 0), NULL);
        if (r != expected_here(vectors_text(at, "expect")))
            fail_msg("%s: %s", vectors_text(at, "name"), aico_error_name(r));
        assert_true(parsed == 0 || r == parsed);
        release(wire);
    }
}

static const struct group_shape {
    const char *name;
    uint8_t trailer;
} groups[] = {
    {"group", ENVELOPE_TRAILER_NONE},
    {"vector", ENVELOPE_TRAILER_VECTOR},
    {"signature", ENVELOPE_TRAILER_SIGNATURE},
};

static void group_case(json_t *group, json_t *at, uint8_t trailer)
{
    struct bytes wire = vectors_hex(at, "envelope"), content = vectors_hex(at, "content");
    struct secret k = key_of_epoch(secret_at(group, "g0"), "group step", vectors_int(at, "epoch"));
    struct secret vk = secret_at(group, "vk"), seed = secret_at(group, "publisher_seed"), commit;
    struct secret readers[2];
    uint8_t gid[ENVELOPE_KEY_ID_SIZE], public[SIGN_PUBLIC_SIZE], context[HASH_SIZE];
    uint8_t identity[SIGN_PUBLIC_SIZE];
    struct aead_key key;
    struct envelope_open_input open = {.key = &key,
                                       .context = context,
                                       .rule = {ALLOW_BOTH, false, trailer},
                                       .commit = &commit,
                                       .publisher = public};
    struct envelope_seal_input seal = {.key = &key,
                                       .context = context,
                                       .payload = content,
                                       .commit = &commit,
                                       .sign_seed = &seed,
                                       .sign_public = public,
                                       .reader_keys = readers,
                                       .reader_count = 2};

    kdf(&k, "group topic", text_at(at, "topic"), &k);
    envelope_commit(&k, &commit);
    sign_public(&seed, public);
    vectors_hex_into(group, "gid", gid, sizeof(gid));
    envelope_key_init(&key, &k, gid, (uint32_t)vectors_int(at, "epoch"));
    envelope_context_hash(&(struct envelope_context){.kind = ENVELOPE_CONTEXT_GROUP,
                                                     .delivery = (uint8_t)int_or(at, "delivery", 0),
                                                     .sender = public,
                                                     .topic = text_at(at, "topic"),
                                                     .namespace = bytes_text("aico")},
                          context);
    for (uint8_t i = 0; i < 2; i++) {
        bool same;

        vectors_hex_into(group, i == 0 ? "readers.0" : "readers.1", identity, sizeof(identity));
        kdf(&vk, "group reader", bytes_of(identity, sizeof(identity)), &readers[i]);
        open.reader_key = &readers[i];
        open.slot = i;
        assert_int_equal(open_bytes(&open, wire, content, &same), 0);
        assert_true(same);
    }
    assert_sealed_alike(wire, &seal);
    release(wire);
    release(content);
}

static void the_group_vectors_hold_both_ways(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(groups); i++) {
        json_t *group = vectors_at(vectors_at(vectors, "group"), groups[i].name), *at;
        size_t j;

        json_array_foreach(vectors_at(group, "cases"), j, at)
            group_case(group, at, groups[i].trailer);
    }
}

/* A reader that was given GROUP_KEY (PROTOCOL 8) by the publisher the case names. */
static int open_with_key_message(json_t *at)
{
    static const uint8_t trailer_of[] = {ENVELOPE_TRAILER_NONE, ENVELOPE_TRAILER_VECTOR,
                                         ENVELOPE_TRAILER_SIGNATURE};
    struct bytes message = vectors_hex(at, "key_message"), wire = vectors_hex(at, "envelope");
    struct reader r = reader_over(message);
    struct secret k, commit, reader_key;
    uint8_t gid[ENVELOPE_KEY_ID_SIZE], publisher[SIGN_PUBLIC_SIZE], context[HASH_SIZE];
    struct aead_key key;
    struct envelope_open_input open = {.key = &key,
                                       .context = context,
                                       .commit = &commit,
                                       .publisher = publisher,
                                       .reader_key = &reader_key};
    uint32_t epoch;
    int result;

    (void)reader_u8(&r);
    open.rule = (struct envelope_rule){ALLOW_BOTH, false, trailer_of[reader_u8(&r)]};
    (void)reader_lp16(&r);
    (void)reader_u64(&r);
    epoch = reader_u32(&r);
    reader_copy(&r, k.at, SECRET_SIZE);
    reader_copy(&r, gid, sizeof(gid));
    open.slot = reader_u8(&r);
    reader_copy(&r, reader_key.at, SECRET_SIZE);
    assert_false(r.failed);
    kdf(&k, "group topic", text_at(at, "topic"), &k);
    envelope_commit(&k, &commit);
    envelope_key_init(&key, &k, gid, epoch);
    vectors_hex_into(at, "publisher", publisher, sizeof(publisher));
    envelope_context_hash(
        &(struct envelope_context){.kind = ENVELOPE_CONTEXT_GROUP,
                                   .delivery = (uint8_t)vectors_int(at, "delivery"),
                                   .sender = publisher,
                                   .topic = text_at(at, "topic"),
                                   .namespace = bytes_text("aico")},
        context);
    result = open_bytes(&open, wire, bytes_of(NULL, 0), NULL);
    release(message);
    release(wire);
    return result;
}

static void group_negative(void **state)
{
    json_t *at;
    size_t i;

    (void)state;
    json_array_foreach(vectors_at(vectors, "group_negative"), i, at)
    {
        int r = open_with_key_message(at);

        if (r != expected_here(vectors_text(at, "expect")))
            fail_msg("%s: %s", vectors_text(at, "name"), aico_error_name(r));
    }
}

static int load(void **state)
{
    (void)state;
    vectors = vectors_load("session-v1.json");
    return crypto_start();
}

static int unload(void **state)
{
    (void)state;
    json_decref(vectors);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_channel_vectors_hold_both_ways),
        cmocka_unit_test(the_group_vectors_hold_both_ways),
        cmocka_unit_test(channel_negative),
        cmocka_unit_test(group_negative),
        cmocka_unit_test(what_is_sealed_opens_in_every_shape),
        cmocka_unit_test(envelope_every_bit),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(bounds_of_metadata_and_trailer),
        cmocka_unit_test(move_topic),
        cmocka_unit_test(stamp_another_sender),
        cmocka_unit_test(event_as_retained),
        cmocka_unit_test(event_as_reply),
        cmocka_unit_test(swap_replies),
        cmocka_unit_test(reflect_envelope),
        cmocka_unit_test(a_key_of_another_epoch_is_no_key),
        cmocka_unit_test(padding_is_checked_exactly),
        cmocka_unit_test(padded_sizes_are_padme),
        cmocka_unit_test(strip_signature),
        cmocka_unit_test(vector_instead_of_signature),
        cmocka_unit_test(a_vector_proves_to_each_reader_alone),
        cmocka_unit_test(member_forges),
        cmocka_unit_test(one_ciphertext_for_two_keys),
        cmocka_unit_test(a_format_the_key_is_not_for_is_refused),
        cmocka_unit_test(sealing_refuses_what_no_reader_would_take),
        cmocka_unit_test(a_ratchet_envelope_carries_its_metadata),
        cmocka_unit_test(content_in_its_place_is_sealed_and_opened_there),
    };

    return cmocka_run_group_tests(tests, load, unload);
}
