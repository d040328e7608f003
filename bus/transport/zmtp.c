/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/zmtp.h"

#include "base/cleanup.h"
#include "base/reader.h"
#include "cipher/secretbox.h"
#include "crypto/box.h"
#include "crypto/random.h"

/*
 *   byte[10]  signature   ff, eight of any value, 7f
 *   u8 u8     version     major, minor
 *   byte[20]  mechanism   zero padded
 *   u8        as-server   libzmq leaves it 0
 *   byte[31]  filler      zeros
 */
#define GREETING_SIZE 64
#define AT_SIGNATURE_END 9
#define AT_MAJOR 10
#define AT_MECHANISM 12
#define MECHANISM_SIZE 20

/* A frame: u8 flags, its size as u8 or (FRAME_LONG) u64, its body. With CURVE nothing has a second
 * part: whether a message has is within what is sealed. */
#define FRAME_LONG 2
#define FRAME_COMMAND 4
#define HEAD_SIZE 2
#define LONG_HEAD_SIZE 9

/*
 * The bodies of CurveZMQ; each begins with its name as lp8. A box of n bytes takes n + 16.
 *
 *   HELLO     u8 u8     version   1, 0
 *             byte[72]  filler    zeros
 *             byte[32]  C'
 *             byte[8]   nonce     "CurveZMQHELLO---" and it
 *             box       64 zeros, C' to S
 *   WELCOME   byte[16]  nonce     "WELCOME-" and it
 *             box       S' and a cookie of 96 bytes, S to C'
 *   INITIATE  byte[96]  cookie
 *             byte[8]   nonce     "CurveZMQINITIATE" and it
 *             box       C, byte[16] vouch nonce, vouch, metadata; C' to S'
 *   vouch               "VOUCH---" and its nonce
 *             box       C' and S, C to S'
 *   READY     byte[8]   nonce     "CurveZMQREADY---" and it
 *             box       metadata; S' to C'
 *   ERROR     lp8       status
 *   MESSAGE   byte[8]   nonce     "CurveZMQMESSAGEC" or "...S" and it
 *             box       u8 flags, the frame
 *
 * Short nonces count, from 1, in one row for all that one side sends.
 */
#define NAME_HELLO "\5HELLO"
#define NAME_WELCOME "\7WELCOME"
#define NAME_INITIATE "\10INITIATE"
#define NAME_READY "\5READY"
#define NAME_ERROR "\5ERROR"
#define NAME_MESSAGE "\7MESSAGE"
#define HELLO_FILLER_SIZE 72
#define HELLO_PLAIN_SIZE 64
#define COOKIE_SIZE 96
#define LONG_NONCE_SIZE 16
#define SHORT_NONCE_SIZE 8
#define VOUCH_SIZE (2 * DH_PUBLIC_SIZE)
#define MESSAGE_HEAD_SIZE (sizeof(NAME_MESSAGE) - 1 + SHORT_NONCE_SIZE)
#define MESSAGE_SIZE_MIN (MESSAGE_HEAD_SIZE + SECRETBOX_TAG_SIZE + 1)

/* Metadata: each lp8 name and lp32 value. Of ours the routing id is empty: the broker chooses it.
 */
static const char our_metadata[] = "\13Socket-Type\0\0\0\6DEALER"
                                   "\10Identity\0\0\0\0";
#define METADATA_SIZE (sizeof(our_metadata) - 1)
#define INITIATE_PLAIN_SIZE                                                                        \
    (DH_PUBLIC_SIZE + LONG_NONCE_SIZE + VOUCH_SIZE + SECRETBOX_TAG_SIZE + METADATA_SIZE)

static const char mechanism[MECHANISM_SIZE] = "CURVE";

static struct bytes name_of(const char *name)
{
    return bytes_text(name);
}

static bool take_name(struct reader *r, const char *name)
{
    return bytes_equal(reader_bytes(r, strlen(name)), name_of(name));
}

static void write_head(struct writer *w, unsigned flags, size_t size)
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

/* --- the handshake ---------------------------------------------------------------------------- */

void zmtp_begin(struct zmtp *zmtp, const uint8_t broker_public[32], const uint8_t my_public[32],
                const struct secret *my_secret, struct writer *answer)
{
    static const uint8_t signature[] = {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1};

    *zmtp = (struct zmtp){.state = ZMTP_WAITS_GREETING, .my_secret = *my_secret};
    memcpy(zmtp->broker_public, broker_public, sizeof(zmtp->broker_public));
    memcpy(zmtp->my_public, my_public, sizeof(zmtp->my_public));
    box_keys(zmtp->once_public, &zmtp->once_secret);
    writer_bytes(answer, bytes_of(signature, sizeof(signature)));
    writer_bytes(answer, bytes_of(mechanism, sizeof(mechanism)));
    writer_zeros(answer, GREETING_SIZE - sizeof(signature) - sizeof(mechanism));
}

void zmtp_wipe(struct zmtp *zmtp)
{
    memory_wipe(zmtp, sizeof(*zmtp));
    zmtp->state = ZMTP_FAILED;
}

static enum zmtp_shaken fail(struct zmtp *zmtp, enum zmtp_shaken why)
{
    zmtp_wipe(zmtp);
    return why;
}

static void seal_with(const struct secret *key, const uint8_t nonce[SECRETBOX_NONCE_SIZE],
                      const uint8_t *plain, size_t size, uint8_t *to)
{
    struct secret subkey;

    secretbox_subkey(key->at, nonce, &subkey);
    secretbox_seal(&subkey, nonce + SECRETBOX_PREFIX_SIZE, plain, size, to);
    secret_wipe(&subkey);
}

/* A box of our key of this connection, with the next number. */
static void seal_counted(struct zmtp *zmtp, const char *prefix, const uint8_t *plain, size_t size,
                         uint8_t *to)
{
    uint8_t nonce[SECRETBOX_NONCE_SIZE];
    struct writer w = writer_over(nonce, sizeof(nonce));

    writer_bytes(&w, bytes_of(prefix, SECRETBOX_PREFIX_SIZE));
    writer_u64(&w, ++zmtp->sent);
    seal_with(&zmtp->shared, nonce, plain, size, to);
}

static bool open_with(const struct secret *key, const uint8_t nonce[SECRETBOX_NONCE_SIZE],
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

/* HELLO. Fails for a broker key of low order, which no registry has. */
static bool say_hello(struct zmtp *zmtp, struct writer *answer)
{
    static const uint8_t zeros[HELLO_PLAIN_SIZE];
    uint8_t box[HELLO_PLAIN_SIZE + SECRETBOX_TAG_SIZE];

    if (box_shared(&zmtp->once_secret, zmtp->broker_public, &zmtp->shared) < 0)
        return false;
    seal_counted(zmtp, "CurveZMQHELLO---", zeros, sizeof(zeros), box);
    write_head(answer, FRAME_COMMAND,
               sizeof(NAME_HELLO) - 1 + 2 + HELLO_FILLER_SIZE + DH_PUBLIC_SIZE + SHORT_NONCE_SIZE +
                   sizeof(box));
    writer_bytes(answer, name_of(NAME_HELLO));
    writer_u8(answer, 1);
    writer_u8(answer, 0);
    writer_zeros(answer, HELLO_FILLER_SIZE);
    writer_bytes(answer, bytes_of(zmtp->once_public, DH_PUBLIC_SIZE));
    writer_u64(answer, zmtp->sent);
    writer_bytes(answer, bytes_of(box, sizeof(box)));
    return true;
}

static enum zmtp_shaken on_greeting(struct zmtp *zmtp, struct bytes input, size_t *ret_taken,
                                    struct writer *answer)
{
    /* What is no greeting is told by its first byte. */
    if (input.size > 0 && input.at[0] != 0xff)
        return fail(zmtp, ZMTP_OTHER);
    if (input.size < GREETING_SIZE)
        return ZMTP_MORE;
    if (input.at[AT_SIGNATURE_END] != 0x7f || input.at[AT_MAJOR] < 3 ||
        memcmp(input.at + AT_MECHANISM, mechanism, sizeof(mechanism)) != 0)
        return fail(zmtp, ZMTP_OTHER);
    if (!say_hello(zmtp, answer))
        return fail(zmtp, ZMTP_OTHER_KEY);
    zmtp->state = ZMTP_WAITS_WELCOME;
    *ret_taken = GREETING_SIZE;
    return ZMTP_TAKEN;
}

/* What proves that the key of this connection is ours. */
static bool seal_vouch(const struct zmtp *zmtp, const uint8_t broker_once[DH_PUBLIC_SIZE],
                       struct writer *w)
{
    uint8_t nonce[SECRETBOX_NONCE_SIZE] = "VOUCH---", plain[VOUCH_SIZE];
    uint8_t box[VOUCH_SIZE + SECRETBOX_TAG_SIZE];
    struct secret shared;

    if (box_shared(&zmtp->my_secret, broker_once, &shared) < 0)
        return false;
    random_system.bytes(random_system.context, nonce + sizeof(nonce) - LONG_NONCE_SIZE,
                        LONG_NONCE_SIZE);
    memcpy(plain, zmtp->once_public, DH_PUBLIC_SIZE);
    memcpy(plain + DH_PUBLIC_SIZE, zmtp->broker_public, DH_PUBLIC_SIZE);
    seal_with(&shared, nonce, plain, sizeof(plain), box);
    secret_wipe(&shared);
    writer_bytes(w, bytes_of(nonce + sizeof(nonce) - LONG_NONCE_SIZE, LONG_NONCE_SIZE));
    writer_bytes(w, bytes_of(box, sizeof(box)));
    return true;
}

static bool say_initiate(struct zmtp *zmtp, const uint8_t broker_once[DH_PUBLIC_SIZE],
                         struct bytes cookie, struct writer *answer)
{
    uint8_t plain[INITIATE_PLAIN_SIZE], box[INITIATE_PLAIN_SIZE + SECRETBOX_TAG_SIZE];
    struct writer w = writer_over(plain, sizeof(plain));

    writer_bytes(&w, bytes_of(zmtp->my_public, DH_PUBLIC_SIZE));
    if (box_shared(&zmtp->once_secret, broker_once, &zmtp->shared) < 0 ||
        !seal_vouch(zmtp, broker_once, &w))
        return false;
    writer_bytes(&w, bytes_of(our_metadata, METADATA_SIZE));
    seal_counted(zmtp, "CurveZMQINITIATE", plain, w.size, box);
    write_head(answer, FRAME_COMMAND,
               sizeof(NAME_INITIATE) - 1 + COOKIE_SIZE + SHORT_NONCE_SIZE + sizeof(box));
    writer_bytes(answer, name_of(NAME_INITIATE));
    writer_bytes(answer, cookie);
    writer_u64(answer, zmtp->sent);
    writer_bytes(answer, bytes_of(box, sizeof(box)));
    return true;
}

static enum zmtp_shaken on_welcome(struct zmtp *zmtp, struct bytes body, struct writer *answer)
{
    struct reader r = reader_over(body);
    uint8_t nonce[SECRETBOX_NONCE_SIZE] = "WELCOME-", plain[DH_PUBLIC_SIZE + COOKIE_SIZE];
    struct bytes box;

    if (!take_name(&r, NAME_WELCOME))
        return ZMTP_OTHER;
    bytes_copy(nonce + sizeof(nonce) - LONG_NONCE_SIZE, reader_bytes(&r, LONG_NONCE_SIZE));
    box = reader_bytes(&r, sizeof(plain) + SECRETBOX_TAG_SIZE);
    if (!reader_done(&r))
        return ZMTP_OTHER;
    if (!open_with(&zmtp->shared, nonce, box, plain))
        return ZMTP_OTHER_KEY;
    if (!say_initiate(zmtp, plain, bytes_of(plain + DH_PUBLIC_SIZE, COOKIE_SIZE), answer))
        return ZMTP_SPOILED;
    secret_wipe(&zmtp->my_secret);
    secret_wipe(&zmtp->once_secret);
    zmtp->state = ZMTP_WAITS_READY;
    return ZMTP_TAKEN;
}

/* Whether it is a ROUTER that we talk to. */
static bool is_of_router(struct bytes metadata)
{
    struct reader r = reader_over(metadata);
    bool is_router = false;

    while (!r.failed && r.left > 0) {
        struct bytes name = reader_lp8(&r);
        struct bytes value = reader_bytes(&r, reader_u32(&r));

        is_router |= bytes_equal_text(name, "Socket-Type") && bytes_equal_text(value, "ROUTER");
    }
    return !r.failed && is_router;
}

static enum zmtp_shaken on_ready(struct zmtp *zmtp, struct reader *r)
{
    uint8_t nonce[SECRETBOX_NONCE_SIZE] = "CurveZMQREADY---", plain[ZMTP_SHAKE_MAX];
    uint64_t number = reader_u64(r);
    struct writer w = writer_over(nonce + SECRETBOX_PREFIX_SIZE, SHORT_NONCE_SIZE);
    struct bytes box = reader_rest(r);

    writer_u64(&w, number);
    if (box.size < SECRETBOX_TAG_SIZE || !open_with(&zmtp->shared, nonce, box, plain))
        return ZMTP_SPOILED;
    if (!is_of_router(bytes_of(plain, box.size - SECRETBOX_TAG_SIZE)))
        return ZMTP_OTHER;
    zmtp->received = number;
    secretbox_subkey(zmtp->shared.at, (const uint8_t *)"CurveZMQMESSAGEC", &zmtp->to_broker);
    secretbox_subkey(zmtp->shared.at, (const uint8_t *)"CurveZMQMESSAGES", &zmtp->from_broker);
    secret_wipe(&zmtp->shared);
    zmtp->state = ZMTP_UP;
    return ZMTP_TAKEN;
}

#define STATUS_DIGITS 3

static bool is_status(struct bytes text, unsigned *ret_status)
{
    *ret_status = 0;
    for (size_t i = 0; i < MIN(text.size, (size_t)STATUS_DIGITS); i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        *ret_status = 10 * *ret_status + (unsigned)(text.at[i] - '0');
    }
    return text.size == STATUS_DIGITS;
}

static enum zmtp_shaken on_ready_or_error(struct zmtp *zmtp, struct bytes body,
                                          unsigned *ret_status)
{
    struct reader ready = reader_over(body), error = ready;

    if (take_name(&ready, NAME_READY))
        return on_ready(zmtp, &ready);
    if (take_name(&error, NAME_ERROR) && is_status(reader_lp8(&error), ret_status) &&
        reader_done(&error))
        return ZMTP_REFUSED;
    return ZMTP_SPOILED;
}

enum zmtp_shaken zmtp_shake(struct zmtp *zmtp, struct bytes input, size_t *ret_taken,
                            struct writer *answer, unsigned *ret_status)
{
    enum zmtp_shaken shaken;
    size_t head, whole;
    struct bytes body;
    int r;

    if (zmtp->state == ZMTP_WAITS_GREETING)
        return on_greeting(zmtp, input, ret_taken, answer);
    r = zmtp_next(input, true, ZMTP_SHAKE_MAX, &head, &whole);
    if (r == AICO_ENOTFOUND)
        return ZMTP_MORE;
    if (r < 0)
        return fail(zmtp, zmtp->state == ZMTP_WAITS_READY ? ZMTP_SPOILED : ZMTP_OTHER);
    body = bytes_of(input.at + head, whole - head);
    if (zmtp->state == ZMTP_WAITS_WELCOME)
        shaken = on_welcome(zmtp, body, answer);
    else
        shaken = on_ready_or_error(zmtp, body, ret_status);
    if (shaken != ZMTP_TAKEN)
        return fail(zmtp, shaken);
    *ret_taken = whole;
    return ZMTP_TAKEN;
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
    if (!secretbox_open(&zmtp->from_broker, body + MESSAGE_HEAD_SIZE - SHORT_NONCE_SIZE, box,
                        plain_size, box + SECRETBOX_TAG_SIZE))
        return AICO_EAUTHENTICITY;
    zmtp->received = number;
    *ret_flags = box[SECRETBOX_TAG_SIZE];
    *ret_plain = bytes_of(box + SECRETBOX_TAG_SIZE + 1, plain_size - 1);
    return 0;
}

size_t zmtp_seal(struct zmtp *zmtp, unsigned flags, struct bytes plain, uint8_t *to)
{
    struct writer w = writer_over(to, plain.size + ZMTP_OVERHEAD);
    uint8_t *nonce, *box;

    write_head(&w, 0, MESSAGE_SIZE_MIN + plain.size);
    writer_bytes(&w, name_of(NAME_MESSAGE));
    nonce = to + w.size;
    writer_u64(&w, ++zmtp->sent);
    box = to + w.size;
    box[SECRETBOX_TAG_SIZE] = (uint8_t)flags;
    bytes_copy(box + SECRETBOX_TAG_SIZE + 1, plain);
    secretbox_seal(&zmtp->to_broker, nonce, box + SECRETBOX_TAG_SIZE, 1 + plain.size, box);
    return w.size + SECRETBOX_TAG_SIZE + 1 + plain.size;
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
