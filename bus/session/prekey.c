/* SPDX-License-Identifier: Apache-2.0 */
/* Prekey statements and Init, sender and receiver side by side. Pure, one owner. */
#include "session/prekey.h"

#include "base/cleanup.h"
#include "base/reader.h"
#include "crypto/dh.h"
#include "crypto/kdf.h"
#include "crypto/sign.h"

#define PREKEY_SUITE 1
#define TYPE_INIT 5
#define TYPE_STATEMENT 6
#define STATEMENT_SIGNED 88
#define INIT_SIGNED 160

/* lp8(NS) */
static struct bytes namespace_of(const struct handshake_context *context,
                                 uint8_t to[1 + NAMESPACE_MAX])
{
    struct writer w = writer_over(to, 1 + NAMESPACE_MAX);

    writer_lp8(&w, context->settings->namespace);
    return writer_view(&w);
}

static int sign(const struct handshake_context *context, const char *label, struct writer *w)
{
    uint8_t namespace[1 + NAMESPACE_MAX];
    struct bytes all = writer_view(w);

    return sign_make_as(&context->self->seed, context->self->public, label,
                        namespace_of(context, namespace), all, writer_reserve(w, SIGNATURE_SIZE));
}

static int verify(const struct handshake_context *context, const uint8_t *signer, const char *label,
                  struct bytes bytes, size_t signed_size)
{
    uint8_t namespace[1 + NAMESPACE_MAX];

    if (context->verifications)
        ++*context->verifications;
    return sign_verify(signer, label, namespace_of(context, namespace),
                       bytes_of(bytes.at, signed_size), bytes.at + signed_size);
}

static void write_head(struct writer *w, uint8_t type)
{
    writer_u8(w, HANDSHAKE_VERSION);
    writer_u8(w, type);
    writer_u16(w, PREKEY_SUITE);
}

static int read_head(struct bytes bytes, uint8_t type, size_t size, struct reader *r)
{
    *r = reader_over(bytes);
    if (bytes.size != size)
        return AICO_ESIZE;
    if (reader_u8(r) != HANDSHAKE_VERSION)
        return AICO_EVERSION;
    if (reader_u8(r) != type)
        return AICO_ETYPE;
    return reader_u16(r) != PREKEY_SUITE ? AICO_ESUITE : 0;
}

/* --- statements ----------------------------------------------------------------------------- */

int prekey_statement_make(const struct handshake_context *context, uint32_t number,
                          int64_t created_ms, const struct secret *secret,
                          uint8_t ret_statement[PREKEY_STATEMENT_SIZE])
{
    struct writer w = writer_over(ret_statement, PREKEY_STATEMENT_SIZE);

    write_head(&w, TYPE_STATEMENT);
    writer_u32(&w, number);
    writer_u64(&w, (uint64_t)created_ms);
    writer_u64(&w, (uint64_t)(created_ms + PREKEY_VALID_MS));
    writer_bytes(&w, bytes_of(context->self->public, SIGN_PUBLIC_SIZE));
    dh_public(secret, writer_reserve(&w, DH_PUBLIC_SIZE));
    return sign(context, "prekey", &w);
}

int prekey_statement_parse(struct bytes bytes, struct prekey_statement *ret)
{
    struct prekey_statement s;
    struct reader r;
    int result = read_head(bytes, TYPE_STATEMENT, PREKEY_STATEMENT_SIZE, &r);

    if (result < 0)
        return result;
    s.number = reader_u32(&r);
    s.created_ms = (int64_t)reader_u64(&r);
    s.expires_ms = (int64_t)reader_u64(&r);
    s.identity = reader_bytes(&r, SIGN_PUBLIC_SIZE).at;
    s.public = reader_bytes(&r, DH_PUBLIC_SIZE).at;
    if (s.created_ms < 0 || s.expires_ms < s.created_ms)
        return AICO_EFORMAT;
    *ret = s;
    return 0;
}

int prekey_statement_check(const struct handshake_context *context, struct moment now,
                           const uint8_t identity[SIGN_PUBLIC_SIZE], struct bytes bytes,
                           struct prekey_statement *ret)
{
    struct prekey_statement s;
    int r = prekey_statement_parse(bytes, &s);

    if (r < 0)
        return r;
    if (memcmp(s.identity, identity, SIGN_PUBLIC_SIZE) != 0)
        return AICO_ETARGET;
    if (now.real_ms > s.expires_ms)
        return AICO_EPREKEYOLD;
    r = verify(context, identity, "prekey", bytes, STATEMENT_SIGNED);
    if (r == 0)
        *ret = s;
    return r;
}

/* --- Init ----------------------------------------------------------------------------------- */

int prekey_init_parse(struct bytes bytes, struct prekey_init *ret)
{
    struct reader r;
    int result = read_head(bytes, TYPE_INIT, RATCHET_INIT_SIZE, &r);

    if (result < 0)
        return result;
    ret->policy = reader_u32(&r);
    ret->time = reader_u64(&r);
    ret->version = reader_u64(&r);
    ret->sender = reader_bytes(&r, SIGN_PUBLIC_SIZE).at;
    ret->receiver = reader_bytes(&r, SIGN_PUBLIC_SIZE).at;
    ret->ephemeral = reader_bytes(&r, DH_PUBLIC_SIZE).at;
    ret->statement = reader_u32(&r);
    ret->one_time = reader_u32(&r);
    ret->statement_hash = reader_bytes(&r, HASH_SIZE).at;
    return 0;
}

int prekey_init_verify(const struct handshake_context *context, struct bytes bytes)
{
    struct prekey_init init;
    int r = prekey_init_parse(bytes, &init);

    return r < 0 ? r : verify(context, init.sender, "prekey init", bytes, INIT_SIGNED);
}

static int write_init(const struct handshake_context *context, struct moment now,
                      struct bytes statement, uint32_t one_time_number,
                      const struct secret *ephemeral, uint8_t ret_init[RATCHET_INIT_SIZE])
{
    struct writer w = writer_over(ret_init, RATCHET_INIT_SIZE);
    struct prekey_statement s;
    int r = prekey_statement_parse(statement, &s);

    if (r < 0)
        return r;
    write_head(&w, TYPE_INIT);
    writer_u32(&w, session_policy(context->settings));
    writer_u64(&w, (uint64_t)now.real_ms);
    writer_u64(&w, registry_version(context->registry));
    writer_bytes(&w, bytes_of(context->self->public, SIGN_PUBLIC_SIZE));
    writer_bytes(&w, bytes_of(s.identity, SIGN_PUBLIC_SIZE));
    dh_public(ephemeral, writer_reserve(&w, DH_PUBLIC_SIZE));
    writer_u32(&w, s.number);
    writer_u32(&w, one_time_number);
    hash_n(statement, writer_reserve(&w, HASH_SIZE), HASH_SIZE);
    return sign(context, "prekey init", &w);
}

/* The first rk; @mix and @one_time_shared (NULL: none) are consumed. */
static void derive(const struct handshake_context *context, struct bytes statement,
                   struct bytes init, const uint8_t *one_time, struct secret *mix,
                   struct secret *one_time_shared, struct secret *ret_root)
{
    static const uint8_t none[DH_PUBLIC_SIZE];
    uint8_t namespace[1 + NAMESPACE_MAX], transcript[HASH_SIZE];
    struct hasher h;

    kdf(mix, "prekey mix", one_time_shared ? secret_view(one_time_shared) : bytes_of(NULL, 0), mix);
    if (one_time_shared)
        secret_wipe(one_time_shared);
    if (context->settings->psk)
        kdf(context->settings->psk, "psk", secret_view(mix), mix);
    hasher_begin(&h, HASH_SIZE);
    hasher_tag(&h, "prekey transcript");
    hasher_feed(&h, namespace_of(context, namespace));
    hasher_feed(&h, statement);
    hasher_feed(&h, init);
    hasher_feed(&h, bytes_of(one_time ? one_time : none, DH_PUBLIC_SIZE));
    hasher_end(&h, transcript, HASH_SIZE);
    kdf(mix, "prekey root", bytes_of(transcript, HASH_SIZE), mix);
    kdf(mix, "ratchet", bytes_of(NULL, 0), ret_root);
    secret_wipe(mix);
}

int prekey_start(const struct handshake_context *context, struct moment now, struct bytes statement,
                 uint32_t one_time_number, const uint8_t *one_time, const struct secret *ephemeral,
                 uint8_t ret_init[RATCHET_INIT_SIZE], struct secret *ret_root)
{
    struct prekey_statement s;
    CLEANUP(secret_wipe)
    struct secret mix;
    CLEANUP(secret_wipe)
    struct secret shared;
    int r = prekey_statement_parse(statement, &s);

    if (r == 0)
        r = dh_shared(ephemeral, s.public, &mix);
    if (r == 0 && one_time)
        r = dh_shared(ephemeral, one_time, &shared);
    if (r == 0)
        r = write_init(context, now, statement, one_time ? one_time_number : PREKEY_NO_ONE_TIME,
                       ephemeral, ret_init);
    if (r < 0)
        return r;
    derive(context, statement, bytes_of(ret_init, RATCHET_INIT_SIZE), one_time, &mix,
           one_time ? &shared : NULL, ret_root);
    return 0;
}

int prekey_finish(const struct handshake_context *context, struct bytes statement,
                  const struct secret *secret, const struct secret *one_time, struct bytes init,
                  struct secret *ret_root)
{
    uint8_t one_time_public[DH_PUBLIC_SIZE];
    struct prekey_init i;
    CLEANUP(secret_wipe)
    struct secret mix;
    CLEANUP(secret_wipe)
    struct secret shared;
    int r = prekey_init_parse(init, &i);

    if (r == 0)
        r = dh_shared(secret, i.ephemeral, &mix);
    if (r == 0 && one_time)
        r = dh_shared(one_time, i.ephemeral, &shared);
    if (r < 0)
        return r;
    if (one_time)
        dh_public(one_time, one_time_public);
    derive(context, statement, init, one_time ? one_time_public : NULL, &mix,
           one_time ? &shared : NULL, ret_root);
    return 0;
}
