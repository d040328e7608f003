/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AICO-MSG, PROTOCOL 5 (docs/protocol.md): parse, seal and open one envelope. No state: which key,
 * sequence, window and right belong to it is the session's business. Pure, no allocation except
 * where E_MEMORY is named, any thread.
 *
 *     0   8  "AICO-MSG"
 *     8  24  nonce: key id (12) || u32 epoch || u32 time || u32 sequence     (format 0: random)
 *    32   1  bits 7..6 trailer | bit 5 padded | bit 4 headers | bits 3..0 format
 *    33   3  metadata size m
 *    36   m  metadata: format 0 JSON; 1 and 2 none; 3 and 4 what a ratchet needs
 *    ..      ciphertext, tag (16)
 *    ..      trailer: signature 64 | vector: 16 x count, then u8 count
 */
#ifndef ENVELOPE_ENVELOPE_H
#define ENVELOPE_ENVELOPE_H

#include <aico/error.h>

#include "base/bytes.h"
#include "base/writer.h"
#include "crypto/aead.h"
#include "crypto/sign.h"

#define ENVELOPE_MAGIC "AICO-MSG"
#define ENVELOPE_HEAD_SIZE 36
#define ENVELOPE_OVERHEAD (ENVELOPE_HEAD_SIZE + AEAD_TAG_SIZE) /* 52 */
#define ENVELOPE_NONCE_SIZE AEAD_NONCE_SIZE
#define ENVELOPE_KEY_ID_SIZE 12
#define ENVELOPE_PREFIX_SIZE 16 /* key id || u32 epoch: what a struct aead_key is made for */
#define ENVELOPE_REF_SIZE 16
#define ENVELOPE_METADATA_MAX 65535
#define ENVELOPE_PADDED_MIN 256
#define ENVELOPE_SLOT_SIZE 16
#define ENVELOPE_VECTOR_MAX 255 /* slots the format can say; publishers use at most 16 */
#define ENVELOPE_NO_SLOT 255    /* a reader without a slot */

enum envelope_format {
    ENVELOPE_FORMAT_SEED = 0,    /* PROTOCOL 5.5, envelope/format0.h */
    ENVELOPE_FORMAT_MESSAGE = 1, /* one message */
    ENVELOPE_FORMAT_BATCH = 2,   /* several, envelope/content.h */
    ENVELOPE_FORMAT_RATCHET = 3, /* metadata: ratchet key (32) */
    ENVELOPE_FORMAT_INIT = 4,    /* metadata: Init (224) || ratchet key (32) */
};

enum envelope_trailer {
    ENVELOPE_TRAILER_NONE = 0,
    ENVELOPE_TRAILER_VECTOR = 1,
    ENVELOPE_TRAILER_SIGNATURE = 2,
};

struct trailers_ahead;

/* The parts of an envelope, borrowed from the bytes it was parsed from. */
struct envelope {
    struct bytes nonce;       /* 24 */
    struct bytes key_id;      /* the first 12 of them */
    struct bytes metadata;    /* m, by format */
    struct bytes sealed;      /* ciphertext and tag, at least the tag */
    struct bytes trailer;     /* all of it; empty without one */
    struct bytes head;        /* bytes 0 .. 36+m-1, associated data */
    struct bytes signed_part; /* everything up to and with the tag */
    struct bytes vector;      /* ENVELOPE_SLOT_SIZE x vector_count */
    uint8_t vector_count;
    uint8_t format;       /* enum envelope_format */
    uint8_t trailer_kind; /* enum envelope_trailer */
    bool padded;
    bool headers;
    uint32_t epoch, time, sequence; /* from the nonce; zeros in format 0 */
};

/*
 * Structure only; nothing in it is authentic yet. In the order of PROTOCOL 5.3: 0, AICO_ESIZE,
 * AICO_EMAGIC, AICO_EFORMAT (format or flags unknown, or not together), AICO_ESIZE (metadata past
 * the end or above 65535), AICO_EFORMAT (metadata of another size than the format's), AICO_ESIZE
 * (trailer past the end), AICO_EFORMAT (vector of no slots). Against envelopes that are too large
 * compare with envelope_size_max() first.
 */
AICO_MUST_USE int envelope_parse(struct bytes wire, struct envelope *ret);

/* PAD of PROTOCOL 5.1: 256, or Padme above; 0 when the result does not fit a size_t. */
size_t envelope_padded_size(size_t size);
/* The size of a whole envelope around @content_size bytes of content; 0 when it has none (no such
 * format, content above 2^32-1, vector_count above ENVELOPE_VECTOR_MAX). Not for format 0. */
size_t envelope_sealed_size(uint8_t format, size_t content_size, bool padded, uint8_t trailer_kind,
                            size_t vector_count);
/* The largest envelope a reader with this max_message_size looks at (PROTOCOL 7). */
size_t envelope_size_max(size_t max_message_size);
/* Where content begins in an envelope that is being sealed: content written there before
 * envelope_seal() is not copied. Not for format 0. */
size_t envelope_content_offset(uint8_t format, bool padded);

enum envelope_context_kind {
    ENVELOPE_CONTEXT_CHANNEL = 1,
    ENVELOPE_CONTEXT_GROUP = 2,
    ENVELOPE_CONTEXT_RATCHET = 3,
};

/* What both ends know without reading it from the envelope. All borrowed. */
struct envelope_context {
    uint8_t kind;            /* enum envelope_context_kind */
    uint8_t delivery;        /* enum delivery of wire/record.h */
    const uint8_t *sender;   /* identity, 32 */
    const uint8_t *receiver; /* identity, 32; NULL (zeros) for a group */
    const uint8_t *ref;      /* 16: the request's key id || u32 sequence; NULL (zeros) otherwise */
    struct bytes topic;      /* at most 65535 bytes */
    struct bytes namespace;  /* 1..64 bytes */
};
/* 0.3 us: keep it per (key, topic). */
void envelope_context_hash(const struct envelope_context *context, uint8_t ret[HASH_SIZE]);

/* The AEAD key of (@key_id, @epoch). */
void envelope_key_init(struct aead_key *key, const struct secret *k,
                       const uint8_t key_id[ENVELOPE_KEY_ID_SIZE], uint32_t epoch);
/* commit of PROTOCOL 5.2; @k is the key envelope_key_init() got (a group's topic key). */
void envelope_commit(const struct secret *k, struct secret *ret_commit);

/* One envelope to seal; zero-initialise. Everything is borrowed for the call. */
struct envelope_seal_input {
    const struct aead_key *key; /* envelope_key_init(): brings key id and epoch of the nonce */
    uint32_t time;              /* ms since t0 */
    uint32_t sequence;          /* the caller never repeats one under a key */
    uint8_t format;             /* 1..4 */
    bool padded;
    bool has_headers;       /* the headers flag; in a batch every item then carries a block */
    const uint8_t *context; /* 32, envelope_context_hash() */
    struct bytes metadata;  /* formats 3 and 4 only, of their exact size */
    struct bytes headers;   /* format other than 2 and has_headers: the block, may be empty */
    struct bytes payload;   /* format 2: items written by envelope/content.h */
    size_t content_max;     /* max_message_size: larger content is refused */
    uint8_t trailer_kind;   /* formats 1 and 2 only; with one, `commit` is set too */
    const struct secret *commit;
    const struct secret *sign_seed; /* signature: the publisher's seed and its public key */
    const uint8_t *sign_public;
    const struct secret *reader_keys; /* vector: 1..255, in the order of the slots */
    size_t reader_count;
    struct trailers_ahead *later; /* vector: its slots are left to trailers_ahead_prove(), if there
                                     is room; NULL: they are written now */
};

/*
 * Appends the envelope to @to. The payload is encrypted straight from where it is (no headers, no
 * padding), else copied once; it is not copied if it already lies in its place in @to's free room
 * (envelope_content_offset(), behind lp16(headers) if there are any). It must not overlap @to's
 * room in any other way.
 *
 * Returns 0, AICO_ETOOLARGE (content), AICO_ESIZE (no room in @to), AICO_EFORMAT (no such format,
 * metadata, trailer or header block), AICO_ENOMEM (signature). On failure @to is unchanged but
 * for its free room.
 */
AICO_MUST_USE int envelope_seal(const struct envelope_seal_input *input, struct writer *to);

/* What the rule and the key say an envelope must look like. */
struct envelope_rule {
    uint8_t formats; /* the allowed ones, ENVELOPE_ALLOW(ENVELOPE_FORMAT_...) joined by | */
    bool padded;
    uint8_t trailer_kind;
};
#define ENVELOPE_ALLOW(format) (1u << (format))

/* The checks of PROTOCOL 5.3 that come before sequence and epoch: 0, AICO_EFORMAT (format not
 * allowed for this key), AICO_EAUTHENTICITY (another trailer, or none), AICO_EPADDING (flag). */
AICO_MUST_USE int envelope_check(const struct envelope *envelope, const struct envelope_rule *rule);

/* How to open one; zero-initialise. Everything is borrowed for the call. */
struct envelope_open_input {
    const struct aead_key *key; /* of the envelope's key id and epoch */
    const uint8_t *context;     /* 32 */
    struct envelope_rule rule;
    const struct secret *commit;        /* with a trailer */
    const uint8_t *publisher;           /* signature: Ed25519 public key */
    const struct secret *reader_key;    /* vector: ours and its slot */
    uint8_t slot;                       /* ENVELOPE_NO_SLOT: we have none */
    const struct trailers_ahead *ahead; /* envelope/ahead.h; NULL: nothing is known */
};

/*
 * Key id and epoch, envelope_check(), OPEN, padding, trailer, in this order.
 *
 * @plain        envelope->sealed.size - AEAD_TAG_SIZE bytes; may be envelope->sealed.at itself
 * @ret_content  the content without padding, borrowed from @plain; see envelope/content.h
 *
 * Returns 0; AICO_EKEY (@key was made for another key id or epoch); what envelope_check() says;
 * AICO_EOPEN, AICO_EPADDING, AICO_ESIGNATURE (the trailer does not verify), AICO_EAUTHENTICITY (a
 * vector without a slot for us) or AICO_ENOMEM. On failure @plain holds zeros, or what it held.
 */
AICO_MUST_USE int envelope_open(const struct envelope *envelope,
                                const struct envelope_open_input *input, uint8_t *plain,
                                struct bytes *ret_content);

#endif
