/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker's half of the handshake. Its state stays with the connection, so the cookie, with
 * which a server may have its client keep it, is of chance and only has to come back.
 */
#include <strings.h>

#include "base/cleanup.h"
#include "transport/zmtp_internal.h"

#define INITIATE_PLAIN_MIN (DH_PUBLIC_SIZE + LONG_NONCE_SIZE + VOUCH_SIZE + SECRETBOX_TAG_SIZE)

void zmtp_await(struct zmtp *zmtp, const uint8_t broker_public[32],
                const struct secret *broker_secret, struct writer *answer)
{
    *zmtp = (struct zmtp){.state = ZMTP_WAITS_GREETING, .broker_secret = broker_secret};
    memcpy(zmtp->broker_public, broker_public, sizeof(zmtp->broker_public));
    zmtp_write_greeting(answer);
}

static enum zmtp_shaken on_greeting(struct zmtp *zmtp, struct bytes input, size_t *ret_taken)
{
    enum zmtp_shaken shaken = zmtp_read_greeting(input);

    if (shaken == ZMTP_TAKEN) {
        zmtp->state = ZMTP_WAITS_HELLO;
        *ret_taken = GREETING_SIZE;
    }
    return shaken;
}

/* S' and the cookie, which is all that the client needs to prove who it is. */
static void say_welcome(struct zmtp *zmtp, struct writer *answer)
{
    uint8_t nonce[SECRETBOX_NONCE_SIZE] = "WELCOME-", plain[DH_PUBLIC_SIZE + COOKIE_SIZE];
    uint8_t *tail = nonce + sizeof(nonce) - LONG_NONCE_SIZE;
    uint8_t box[sizeof(plain) + SECRETBOX_TAG_SIZE];

    box_keys(zmtp->once_public, &zmtp->once_secret);
    zmtp_random(zmtp->cookie, sizeof(zmtp->cookie));
    zmtp_random(tail, LONG_NONCE_SIZE);
    memcpy(plain, zmtp->once_public, DH_PUBLIC_SIZE);
    memcpy(plain + DH_PUBLIC_SIZE, zmtp->cookie, COOKIE_SIZE);
    zmtp_seal_with(&zmtp->shared, nonce, plain, sizeof(plain), box);
    zmtp_write_head(answer, FRAME_COMMAND,
                    sizeof(NAME_WELCOME) - 1 + LONG_NONCE_SIZE + sizeof(box));
    writer_bytes(answer, name_of(NAME_WELCOME));
    writer_bytes(answer, bytes_of(tail, LONG_NONCE_SIZE));
    writer_bytes(answer, bytes_of(box, sizeof(box)));
}

static enum zmtp_shaken on_hello(struct zmtp *zmtp, struct bytes body, struct writer *answer)
{
    static const uint8_t zeros[HELLO_PLAIN_SIZE];
    struct reader r = reader_over(body);
    uint8_t plain[HELLO_PLAIN_SIZE];
    uint64_t number;
    struct bytes box;

    if (!take_name(&r, NAME_HELLO) || reader_u8(&r) != 1 || reader_u8(&r) != 0)
        return ZMTP_OTHER;
    (void)reader_bytes(&r, HELLO_FILLER_SIZE);
    reader_copy(&r, zmtp->peer_once, sizeof(zmtp->peer_once));
    number = reader_u64(&r);
    box = reader_bytes(&r, sizeof(plain) + SECRETBOX_TAG_SIZE);
    if (!reader_done(&r) || box_shared(zmtp->broker_secret, zmtp->peer_once, &zmtp->shared) < 0)
        return ZMTP_OTHER;
    if (!zmtp_open_counted(zmtp, "CurveZMQHELLO---", number, box, plain) ||
        memcmp(plain, zeros, sizeof(zeros)) != 0)
        return ZMTP_OTHER_KEY;
    zmtp->received = number;
    say_welcome(zmtp, answer);
    zmtp->state = ZMTP_WAITS_INITIATE;
    return ZMTP_TAKEN;
}

/* Whether C holds its secret and says that C' is its key for this connection to us. */
static bool is_vouched(struct zmtp *zmtp, struct reader *r)
{
    uint8_t nonce[SECRETBOX_NONCE_SIZE] = "VOUCH---", plain[VOUCH_SIZE];
    struct secret shared;
    struct bytes box;
    bool is_genuine;

    reader_copy(r, zmtp->client_public, DH_PUBLIC_SIZE);
    reader_copy(r, nonce + sizeof(nonce) - LONG_NONCE_SIZE, LONG_NONCE_SIZE);
    box = reader_bytes(r, VOUCH_SIZE + SECRETBOX_TAG_SIZE);
    if (r->failed || box_shared(&zmtp->once_secret, zmtp->client_public, &shared) < 0)
        return false;
    is_genuine = zmtp_open_with(&shared, nonce, box, plain);
    secret_wipe(&shared);
    return is_genuine && memcmp(plain, zmtp->peer_once, DH_PUBLIC_SIZE) == 0 &&
           memcmp(plain + DH_PUBLIC_SIZE, zmtp->broker_public, DH_PUBLIC_SIZE) == 0;
}

static bool is_name(struct bytes name, const char *of)
{
    return name.size == strlen(of) && strncasecmp((const char *)name.at, of, name.size) == 0;
}

/* Whether a DEALER says that it is one, and has left its routing id to us. */
static enum zmtp_shaken judge_metadata(struct reader *r)
{
    bool is_dealer = false, has_chosen = false;

    while (!r->failed && r->left > 0) {
        struct bytes name = reader_lp8(r);
        struct bytes value = reader_bytes(r, reader_u32(r));

        is_dealer |= is_name(name, PROPERTY_TYPE) && bytes_equal_text(value, "DEALER");
        has_chosen |= is_name(name, PROPERTY_ID) && value.size > 0;
    }
    if (r->failed || !is_dealer)
        return ZMTP_SPOILED;
    return has_chosen ? ZMTP_CHOSE_ID : ZMTP_TAKEN;
}

static enum zmtp_shaken on_initiate(struct zmtp *zmtp, struct bytes body)
{
    struct reader r = reader_over(body), inner;
    uint8_t plain[ZMTP_SHAKE_MAX];
    enum zmtp_shaken shaken;
    uint64_t number;
    struct bytes box;

    if (!take_name(&r, NAME_INITIATE) ||
        !bytes_equal(reader_bytes(&r, COOKIE_SIZE), bytes_of(zmtp->cookie, COOKIE_SIZE)))
        return ZMTP_SPOILED;
    number = reader_u64(&r);
    box = reader_rest(&r);
    if (r.failed || number != zmtp->received + 1 ||
        box.size < INITIATE_PLAIN_MIN + SECRETBOX_TAG_SIZE ||
        box_shared(&zmtp->once_secret, zmtp->peer_once, &zmtp->shared) < 0 ||
        !zmtp_open_counted(zmtp, "CurveZMQINITIATE", number, box, plain))
        return ZMTP_SPOILED;
    inner = reader_over(bytes_of(plain, box.size - SECRETBOX_TAG_SIZE));
    if (!is_vouched(zmtp, &inner))
        return ZMTP_SPOILED;
    shaken = judge_metadata(&inner);
    if (shaken != ZMTP_TAKEN)
        return shaken;
    secret_wipe(&zmtp->once_secret);
    zmtp->received = number;
    zmtp->state = ZMTP_WAITS_VERDICT;
    return ZMTP_TAKEN;
}

enum zmtp_shaken zmtp_serve(struct zmtp *zmtp, struct bytes input, size_t *ret_taken,
                            struct writer *answer)
{
    enum zmtp_shaken shaken;
    size_t head, whole;
    struct bytes body;
    int r;

    if (zmtp->state == ZMTP_WAITS_GREETING) {
        shaken = on_greeting(zmtp, input, ret_taken);
        return shaken == ZMTP_OTHER ? zmtp_fail(zmtp, shaken) : shaken;
    }
    r = zmtp_next(input, true, ZMTP_SHAKE_MAX, &head, &whole);
    if (r == AICO_ENOTFOUND)
        return ZMTP_MORE;
    if (r < 0)
        return zmtp_fail(zmtp, zmtp->state == ZMTP_WAITS_INITIATE ? ZMTP_SPOILED : ZMTP_OTHER);
    body = bytes_of(input.at + head, whole - head);
    shaken =
        zmtp->state == ZMTP_WAITS_HELLO ? on_hello(zmtp, body, answer) : on_initiate(zmtp, body);
    if (shaken != ZMTP_TAKEN)
        return zmtp_fail(zmtp, shaken);
    *ret_taken = whole;
    return ZMTP_TAKEN;
}

void zmtp_admit(struct zmtp *zmtp, struct writer *answer)
{
    static const char metadata[] = METADATA_OF("ROUTER");
    uint8_t box[METADATA_SIZE + SECRETBOX_TAG_SIZE];

    zmtp_seal_counted(zmtp, "CurveZMQREADY---", (const uint8_t *)metadata, METADATA_SIZE, box);
    zmtp_write_head(answer, FRAME_COMMAND, sizeof(NAME_READY) - 1 + SHORT_NONCE_SIZE + sizeof(box));
    writer_bytes(answer, name_of(NAME_READY));
    writer_u64(answer, zmtp->sent);
    writer_bytes(answer, bytes_of(box, sizeof(box)));
    zmtp_go_up(zmtp, "CurveZMQMESSAGES", "CurveZMQMESSAGEC");
}

void zmtp_refuse(struct zmtp *zmtp, const char status[4], struct writer *answer)
{
    zmtp_write_head(answer, FRAME_COMMAND, sizeof(NAME_ERROR) - 1 + 1 + strlen(status));
    writer_bytes(answer, name_of(NAME_ERROR));
    writer_u8(answer, (uint8_t)strlen(status));
    writer_bytes(answer, bytes_text(status));
    zmtp_wipe(zmtp);
}
