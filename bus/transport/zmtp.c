/* SPDX-License-Identifier: Apache-2.0 */
/* What both sides of ZMTP with CurveZMQ do: frames, and the messages of a link that is up. */
#include "transport/zmtp.h"

#include "base/cleanup.h"
#include "transport/zmtp_internal.h"

const char zmtp_mechanism[MECHANISM_SIZE] = "CURVE";

void zmtp_write_head(struct writer *w, unsigned flags, size_t size)
{
    bool is_long = size > UINT8_MAX;

    writer_u8(w, (uint8_t)(flags | (is_long ? FRAME_LONG : 0)));
    if (is_long)
        writer_u64(w, size);
    else
        writer_u8(w, (uint8_t)size);
}

int zmtp_next(struct bytes input, bool is_command, size_t body_max, size_t *ret_head,
              size_t *ret_whole)
{
    struct reader r = reader_over(input);
    unsigned flags = reader_u8(&r);
    uint64_t size = flags & FRAME_LONG ? reader_u64(&r) : reader_u8(&r);

    *ret_whole = 0;
    if (input.size > 0 && (flags & ~(unsigned)FRAME_LONG) != (is_command ? FRAME_COMMAND : 0))
        return AICO_EPROTO;
    if (r.failed)
        return AICO_ENOTFOUND;
    if (size > body_max)
        return AICO_ETOOLARGE;
    *ret_head = flags & FRAME_LONG ? LONG_HEAD_SIZE : HEAD_SIZE;
    *ret_whole = *ret_head + (size_t)size;
    return *ret_whole <= input.size ? 0 : AICO_ENOTFOUND;
}

/* --- the handshake, of both ------------------------------------------------------------------- */

void zmtp_wipe(struct zmtp *zmtp)
{
    memory_wipe(zmtp, sizeof(*zmtp));
    zmtp->state = ZMTP_FAILED;
}

enum zmtp_shaken zmtp_fail(struct zmtp *zmtp, enum zmtp_shaken why)
{
    zmtp_wipe(zmtp);
    return why;
}

void zmtp_write_greeting(struct writer *w)
{
    static const uint8_t signature[] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1};

    writer_bytes(w, bytes_of(signature, sizeof(signature)));
    writer_bytes(w, bytes_of(zmtp_mechanism, MECHANISM_SIZE));
    writer_zeros(w, GREETING_SIZE - sizeof(signature) - MECHANISM_SIZE);
}

enum zmtp_shaken zmtp_read_greeting(struct bytes input)
{
    /* What is no greeting is told by its first byte. */
    if (input.size > 0 && input.at[0] != 0xff)
        return ZMTP_OTHER;
    if (input.size < GREETING_SIZE)
        return ZMTP_MORE;
    if (input.at[AT_SIGNATURE_END] != 0x7f || input.at[AT_MAJOR] < 3 ||
        memcmp(input.at + AT_MECHANISM, zmtp_mechanism, MECHANISM_SIZE) != 0)
        return ZMTP_OTHER;
    return ZMTP_TAKEN;
}

void zmtp_seal_with(const struct secret *key, const uint8_t nonce[SECRETBOX_NONCE_SIZE],
                    const uint8_t *plain, size_t size, uint8_t *to)
{
    struct secret subkey;

    secretbox_subkey(key->at, nonce, &subkey);
    secretbox_seal(&subkey, nonce + SECRETBOX_PREFIX_SIZE, plain, size, to);
    secret_wipe(&subkey);
}

bool zmtp_open_with(const struct secret *key, const uint8_t nonce[SECRETBOX_NONCE_SIZE],
                    struct bytes box, uint8_t *to)
{
    struct secret subkey;
    bool is_genuine;

    secretbox_subkey(key->at, nonce, &subkey);
    is_genuine = secretbox_open(&subkey, nonce + SECRETBOX_PREFIX_SIZE, box.at,
                                box.size - SECRETBOX_TAG_SIZE, to);
    secret_wipe(&subkey);
    return is_genuine;
}

static void nonce_counted(uint8_t nonce[SECRETBOX_NONCE_SIZE], const char *prefix, uint64_t number)
{
    struct writer w = writer_over(nonce, SECRETBOX_NONCE_SIZE);

    writer_bytes(&w, bytes_of(prefix, SECRETBOX_PREFIX_SIZE));
    writer_u64(&w, number);
}

void zmtp_seal_counted(struct zmtp *zmtp, const char *prefix, const uint8_t *plain, size_t size,
                       uint8_t *to)
{
    uint8_t nonce[SECRETBOX_NONCE_SIZE];

    nonce_counted(nonce, prefix, ++zmtp->sent);
    zmtp_seal_with(&zmtp->shared, nonce, plain, size, to);
}

bool zmtp_open_counted(const struct zmtp *zmtp, const char *prefix, uint64_t number,
                       struct bytes box, uint8_t *to)
{
    uint8_t nonce[SECRETBOX_NONCE_SIZE];

    if (box.size < SECRETBOX_TAG_SIZE)
        return false;
    nonce_counted(nonce, prefix, number);
    return zmtp_open_with(&zmtp->shared, nonce, box, to);
}

void zmtp_go_up(struct zmtp *zmtp, const char *outgoing, const char *incoming)
{
    secretbox_subkey(zmtp->shared.at, (const uint8_t *)outgoing, &zmtp->outgoing);
    secretbox_subkey(zmtp->shared.at, (const uint8_t *)incoming, &zmtp->incoming);
    secret_wipe(&zmtp->shared);
    zmtp->state = ZMTP_UP;
}

/* --- when it is up ---------------------------------------------------------------------------- */

int zmtp_open(struct zmtp *zmtp, uint8_t *body, size_t size, unsigned *ret_flags,
              struct bytes *ret_plain)
{
    struct reader r = reader_over(bytes_of(body, size));
    uint8_t *box = body + MESSAGE_HEAD_SIZE;
    size_t plain_size;
    uint64_t number;

    if (!take_name(&r, NAME_MESSAGE) || size < MESSAGE_SIZE_MIN)
        return AICO_EPROTO;
    number = reader_u64(&r);
    if (number != zmtp->received + 1)
        return AICO_EPROTO;
    plain_size = size - MESSAGE_HEAD_SIZE - SECRETBOX_TAG_SIZE;
    if (!secretbox_open(&zmtp->incoming, body + MESSAGE_HEAD_SIZE - SHORT_NONCE_SIZE, box,
                        plain_size, box + SECRETBOX_TAG_SIZE))
        return AICO_EAUTHENTICITY;
    zmtp->received = number;
    *ret_flags = box[SECRETBOX_TAG_SIZE];
    *ret_plain = bytes_of(box + SECRETBOX_TAG_SIZE + 1, plain_size - 1);
    return 0;
}

struct bytes zmtp_opened(const uint8_t *body, size_t size, unsigned *ret_flags)
{
    const uint8_t *plain = body + MESSAGE_HEAD_SIZE + SECRETBOX_TAG_SIZE;

    *ret_flags = plain[0];
    return bytes_of(plain + 1, size - MESSAGE_SIZE_MIN);
}

size_t zmtp_write(unsigned flags, struct bytes plain, uint8_t *to)
{
    struct writer w = writer_over(to, plain.size + ZMTP_OVERHEAD);

    zmtp_write_head(&w, 0, MESSAGE_SIZE_MIN + plain.size);
    writer_bytes(&w, name_of(NAME_MESSAGE));
    (void)writer_reserve(&w, SHORT_NONCE_SIZE + SECRETBOX_TAG_SIZE);
    writer_u8(&w, (uint8_t)flags);
    writer_bytes(&w, plain);
    return w.size;
}

size_t zmtp_seal_written(struct zmtp *zmtp, uint8_t *at)
{
    struct bytes all = bytes_of(at, LONG_HEAD_SIZE + 1);
    size_t head = 0, whole = 0, plain_size;
    struct writer nonce;
    uint8_t *box;

    (void)!zmtp_next(all, false, SIZE_MAX - LONG_HEAD_SIZE, &head, &whole); /* it is ours */
    nonce = writer_over(at + head + sizeof(NAME_MESSAGE) - 1, SHORT_NONCE_SIZE);
    writer_u64(&nonce, ++zmtp->sent);
    box = at + head + MESSAGE_HEAD_SIZE;
    plain_size = whole - head - MESSAGE_HEAD_SIZE - SECRETBOX_TAG_SIZE;
    secretbox_seal(&zmtp->outgoing, nonce.at, box + SECRETBOX_TAG_SIZE, plain_size, box);
    return whole;
}

size_t zmtp_seal(struct zmtp *zmtp, unsigned flags, struct bytes plain, uint8_t *to)
{
    (void)zmtp_write(flags, plain, to);
    return zmtp_seal_written(zmtp, to);
}

/*
 *   PING  lp8 name, u16 time to live in tenths of seconds, up to 16 bytes that PONG repeats
 */
#define PING_CONTEXT_MAX 16

bool zmtp_pong(struct bytes command, struct writer *answer)
{
    struct reader r = reader_over(command);
    struct bytes context;

    if (!take_name(&r, "\4PING"))
        return false;
    (void)reader_u16(&r);
    context = reader_rest(&r);
    if (r.failed || context.size > PING_CONTEXT_MAX)
        return false;
    writer_bytes(answer, name_of("\4PONG"));
    writer_bytes(answer, context);
    return true;
}
