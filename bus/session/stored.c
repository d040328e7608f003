/* SPDX-License-Identifier: Apache-2.0 */
/* Reading keys and what is sealed for them. Pure, any thread. */
#include "session/stored.h"

#include "base/cleanup.h"
#include "base/reader.h"
#include "base/writer.h"
#include "crypto/aead.h"
#include "crypto/dh.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"
#include "session/group.h"

#define STORED_VERSION 1
#define TYPE_READING 9
#define TYPE_STORED_KEY 10
#define SUITE 1
#define READING_SIGNED 80
#define SEALED_SIZE (SECRET_SIZE + AEAD_TAG_SIZE)

static const uint8_t zeros[AEAD_NONCE_SIZE];

/* lp8(NS) */
struct namespace_field {
    uint8_t at[1 + NAMESPACE_MAX];
    size_t size;
};

static struct namespace_field field_of(struct bytes namespace)
{
    struct namespace_field field;
    struct writer w = writer_over(field.at, sizeof(field.at));

    writer_lp8(&w, namespace);
    field.size = w.size;
    return field;
}

/* --- reading keys --------------------------------------------------------------------------- */

int reading_write(const struct identity *self, struct bytes namespace,
                  const struct reading_key *key, uint8_t to[READING_SIZE])
{
    struct namespace_field ns = field_of(namespace);
    struct writer w = writer_over(to, READING_SIZE);
    uint8_t public[DH_PUBLIC_SIZE], *signature;

    dh_public(&key->secret, public);
    writer_u8(&w, STORED_VERSION);
    writer_u8(&w, TYPE_READING);
    writer_u16(&w, SUITE);
    writer_u32(&w, key->number);
    writer_u64(&w, (uint64_t)key->created_ms);
    writer_bytes(&w, bytes_of(self->public, SIGN_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(public, sizeof(public)));
    signature = writer_reserve(&w, SIGNATURE_SIZE);
    return sign_make_as(&self->seed, self->public, "reading key", bytes_of(ns.at, ns.size),
                        bytes_of(to, READING_SIGNED), signature);
}

/* The four bytes every structure of the protocol begins with. */
static int check_head(struct reader *r, uint8_t type)
{
    if (reader_u8(r) != STORED_VERSION)
        return AICO_EVERSION;
    if (reader_u8(r) != type)
        return AICO_ETYPE;
    return reader_u16(r) == SUITE ? 0 : AICO_ESUITE;
}

int reading_verify(struct bytes statement, const uint8_t identity[SIGN_PUBLIC_SIZE],
                   struct bytes namespace, struct reading *ret_reading)
{
    struct namespace_field ns = field_of(namespace);
    struct reader r = reader_over(statement);
    struct reading reading;
    struct bytes owner;
    int code;

    if (statement.size != READING_SIZE)
        return AICO_ESIZE;
    code = check_head(&r, TYPE_READING);
    if (code < 0)
        return code;
    reading.number = reader_u32(&r);
    reading.created_ms = (int64_t)reader_u64(&r);
    owner = reader_bytes(&r, SIGN_PUBLIC_SIZE);
    reader_copy(&r, reading.public, sizeof(reading.public));
    if (!bytes_equal(owner, bytes_of(identity, SIGN_PUBLIC_SIZE)))
        return AICO_ETARGET;
    code = sign_verify(identity, "reading key", bytes_of(ns.at, ns.size),
                       bytes_of(statement.at, READING_SIGNED), statement.at + READING_SIGNED);
    if (code == 0)
        *ret_reading = reading;
    return code;
}

/* --- a generation for one reader ------------------------------------------------------------ */

/* k of a StoredKey with this head, for the reading key @public. */
static int derive(const struct secret *own, const uint8_t *other, const struct namespace_field *ns,
                  struct bytes head, const uint8_t public[DH_PUBLIC_SIZE], struct secret *ret_key)
{
    CLEANUP(secret_wipe)
    struct secret shared;
    uint8_t transcript[HASH_SIZE];
    struct hasher h;
    int r = dh_shared(own, other, &shared);

    if (r < 0)
        return r;
    hasher_begin(&h, sizeof(transcript));
    hasher_tag(&h, "stored key transcript");
    hasher_feed(&h, bytes_of(ns->at, ns->size));
    hasher_feed(&h, head);
    hasher_feed(&h, bytes_of(public, DH_PUBLIC_SIZE));
    hasher_end(&h, transcript, sizeof(transcript));
    kdf(&shared, "stored key seal", bytes_of(transcript, sizeof(transcript)), ret_key);
    return 0;
}

static void write_head(struct writer *w, const struct identity *self,
                       const struct stored_generation *g, const uint8_t reader[SIGN_PUBLIC_SIZE],
                       const struct reading *reading, const struct secret *e)
{
    uint8_t public[DH_PUBLIC_SIZE];

    dh_public(e, public);
    writer_u8(w, STORED_VERSION);
    writer_u8(w, TYPE_STORED_KEY);
    writer_u16(w, SUITE);
    writer_u32(w, reading->number);
    writer_u64(w, g->generation);
    writer_bytes(w, bytes_of(g->id, sizeof(g->id)));
    writer_u8(w, g->trailer);
    writer_u8(w, g->padded);
    writer_bytes(w, bytes_of(self->public, SIGN_PUBLIC_SIZE));
    writer_bytes(w, bytes_of(reader, SIGN_PUBLIC_SIZE));
    writer_bytes(w, bytes_of(public, sizeof(public)));
    writer_lp16(w, g->filter);
}

int stored_key_write(const struct identity *self, struct bytes namespace, struct hedge *hedge,
                     const struct stored_generation *g, const struct secret *g0,
                     const uint8_t reader[SIGN_PUBLIC_SIZE], const struct reading *reading,
                     struct buffer *out)
{
    CLEANUP(secret_wipe)
    struct secret e = {0};
    CLEANUP(secret_wipe)
    struct secret k = {0};
    size_t size = STORED_KEY_FIXED + g->filter.size + SEALED_SIZE + SIGNATURE_SIZE;
    struct namespace_field ns = field_of(namespace);
    struct writer w = writer_over(buffer_reserve(out, size), size);
    struct bytes head;
    uint8_t *sealed;
    int r;

    if (!w.at)
        return AICO_ENOMEM;
    fresh(hedge, "stored key", &e);
    write_head(&w, self, g, reader, reading, &e);
    head = writer_view(&w);
    r = derive(&e, reading->public, &ns, head, reading->public, &k);
    if (r < 0)
        return r;
    sealed = writer_reserve(&w, SEALED_SIZE);
    if (!sealed)
        return AICO_EINTERNAL;
    aead_seal(&k, zeros, head, bytes_of(NULL, 0), secret_view(g0), sealed);
    r = sign_make_as(&self->seed, self->public, "stored key", bytes_of(ns.at, ns.size),
                     writer_view(&w), w.at + w.size);
    if (r == 0)
        out->size += size;
    return r;
}

static const struct reading_key *find_key(const struct reading_keys *keys, uint32_t number)
{
    for (size_t i = 0; keys && i < keys->count; i++)
        if (keys->items[i].number == number)
            return &keys->items[i];
    return NULL;
}

/* The id a group of this secret has. */
static bool id_is_right(const struct stored_generation *g, const uint8_t *publisher,
                        const struct secret *g0)
{
    uint8_t id[ENVELOPE_KEY_ID_SIZE];

    group_derive_id(g0, g->generation, publisher, g->filter, id);
    return secret_equal(id, g->id, sizeof(id));
}

/* What a StoredKey says of itself, before anything of it is believed. */
struct stored_head {
    uint32_t number;
    const uint8_t *e;
    struct bytes head, sealed;
};

static int parse(struct bytes bytes, const uint8_t *identity, const uint8_t *publisher,
                 struct stored_generation *g, struct stored_head *h)
{
    struct reader r = reader_over(bytes);
    int code = check_head(&r, TYPE_STORED_KEY);
    struct bytes by_identity, to;
    uint8_t padded;

    if (code < 0)
        return code;
    h->number = reader_u32(&r);
    g->generation = reader_u64(&r);
    reader_copy(&r, g->id, sizeof(g->id));
    g->trailer = reader_u8(&r);
    padded = reader_u8(&r);
    by_identity = reader_bytes(&r, SIGN_PUBLIC_SIZE);
    to = reader_bytes(&r, SIGN_PUBLIC_SIZE);
    h->e = reader_bytes(&r, DH_PUBLIC_SIZE).at;
    g->filter = reader_lp16(&r);
    h->head = bytes_of(bytes.at, (size_t)(r.failed ? 0 : r.at - bytes.at));
    h->sealed = reader_bytes(&r, SEALED_SIZE);
    (void)reader_bytes(&r, SIGNATURE_SIZE);
    if (!reader_done(&r))
        return AICO_ESIZE;
    if (padded > 1 || g->filter.size == 0 || g->filter.size > TOPIC_SIZE_MAX ||
        g->generation > GENERATION_MAX ||
        (g->trailer != ENVELOPE_TRAILER_SIGNATURE && g->trailer != ENVELOPE_TRAILER_NONE))
        return AICO_EFORMAT;
    g->padded = padded == 1;
    if (!bytes_equal(to, bytes_of(identity, SIGN_PUBLIC_SIZE)))
        return AICO_ETARGET;
    return memcmp(by_identity.at, publisher, SIGN_PUBLIC_SIZE) == 0 ? 0 : AICO_ESTAMP;
}

int stored_key_open(struct bytes bytes, const uint8_t self[SIGN_PUBLIC_SIZE],
                    struct bytes namespace, const uint8_t publisher[SIGN_PUBLIC_SIZE],
                    const struct reading_keys *keys, struct stored_generation *ret_generation,
                    struct secret *ret_g0)
{
    CLEANUP(secret_wipe)
    struct secret k = {0};
    CLEANUP(secret_wipe)
    struct secret g0 = {0};
    struct namespace_field ns = field_of(namespace);
    struct stored_generation g;
    struct stored_head h;
    const struct reading_key *key;
    uint8_t public[DH_PUBLIC_SIZE];
    int r = parse(bytes, self, publisher, &g, &h);

    if (r == 0)
        r = sign_verify(publisher, "stored key", bytes_of(ns.at, ns.size),
                        bytes_of(bytes.at, bytes.size - SIGNATURE_SIZE),
                        bytes.at + bytes.size - SIGNATURE_SIZE);
    if (r < 0)
        return r;
    key = find_key(keys, h.number);
    if (!key)
        return AICO_ENOPREKEY;
    dh_public(&key->secret, public);
    r = derive(&key->secret, h.e, &ns, h.head, public, &k);
    if (r == 0)
        r = aead_open(&k, zeros, h.head, bytes_of(NULL, 0), h.sealed, g0.at);
    if (r == 0 && !id_is_right(&g, publisher, &g0))
        r = AICO_EOPEN;
    if (r < 0)
        return r;
    *ret_generation = g;
    *ret_g0 = g0;
    return 0;
}
