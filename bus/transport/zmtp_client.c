/* SPDX-License-Identifier: Apache-2.0 */
/* The client's half of the handshake. */
#include "base/cleanup.h"
#include "transport/zmtp_internal.h"

#define INITIATE_PLAIN_SIZE                                                                        \
    (DH_PUBLIC_SIZE + LONG_NONCE_SIZE + VOUCH_SIZE + SECRETBOX_TAG_SIZE + METADATA_SIZE)

void zmtp_begin(struct zmtp *zmtp, const uint8_t broker_public[32], const uint8_t my_public[32],
                const struct secret *my_secret, struct writer *answer)
{
    *zmtp = (struct zmtp){.state = ZMTP_WAITS_GREETING, .my_secret = *my_secret};
    memcpy(zmtp->broker_public, broker_public, sizeof(zmtp->broker_public));
    memcpy(zmtp->client_public, my_public, sizeof(zmtp->client_public));
    box_keys(zmtp->once_public, &zmtp->once_secret);
    zmtp_write_greeting(answer);
}

/* HELLO. Fails for a broker key of low order, which no registry has. */
static bool say_hello(struct zmtp *zmtp, struct writer *answer)
{
    static const uint8_t zeros[HELLO_PLAIN_SIZE];
    uint8_t box[HELLO_PLAIN_SIZE + SECRETBOX_TAG_SIZE];

    if (box_shared(&zmtp->once_secret, zmtp->broker_public, &zmtp->shared) < 0)
        return false;
    zmtp_seal_counted(zmtp, "CurveZMQHELLO---", zeros, sizeof(zeros), box);
    zmtp_write_head(answer, FRAME_COMMAND,
                    sizeof(NAME_HELLO) - 1 + 2 + HELLO_FILLER_SIZE + DH_PUBLIC_SIZE +
                        SHORT_NONCE_SIZE + sizeof(box));
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
    enum zmtp_shaken shaken = zmtp_read_greeting(input);

    if (shaken != ZMTP_TAKEN)
        return shaken == ZMTP_MORE ? shaken : zmtp_fail(zmtp, shaken);
    if (!say_hello(zmtp, answer))
        return zmtp_fail(zmtp, ZMTP_OTHER_KEY);
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
    zmtp_random(nonce + sizeof(nonce) - LONG_NONCE_SIZE, LONG_NONCE_SIZE);
    memcpy(plain, zmtp->once_public, DH_PUBLIC_SIZE);
    memcpy(plain + DH_PUBLIC_SIZE, zmtp->broker_public, DH_PUBLIC_SIZE);
    zmtp_seal_with(&shared, nonce, plain, sizeof(plain), box);
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

    writer_bytes(&w, bytes_of(zmtp->client_public, DH_PUBLIC_SIZE));
    if (box_shared(&zmtp->once_secret, broker_once, &zmtp->shared) < 0 ||
        !seal_vouch(zmtp, broker_once, &w))
        return false;
    writer_bytes(&w, bytes_of(METADATA_OF("DEALER"), METADATA_SIZE));
    zmtp_seal_counted(zmtp, "CurveZMQINITIATE", plain, w.size, box);
    zmtp_write_head(answer, FRAME_COMMAND,
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
    if (!zmtp_open_with(&zmtp->shared, nonce, box, plain))
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
    uint8_t plain[ZMTP_SHAKE_MAX];
    uint64_t number = reader_u64(r);
    struct bytes box = reader_rest(r);

    if (!zmtp_open_counted(zmtp, "CurveZMQREADY---", number, box, plain))
        return ZMTP_SPOILED;
    if (!is_of_router(bytes_of(plain, box.size - SECRETBOX_TAG_SIZE)))
        return ZMTP_OTHER;
    zmtp->received = number;
    zmtp_go_up(zmtp, "CurveZMQMESSAGEC", "CurveZMQMESSAGES");
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
        return zmtp_fail(zmtp, zmtp->state == ZMTP_WAITS_READY ? ZMTP_SPOILED : ZMTP_OTHER);
    body = bytes_of(input.at + head, whole - head);
    if (zmtp->state == ZMTP_WAITS_WELCOME)
        shaken = on_welcome(zmtp, body, answer);
    else
        shaken = on_ready_or_error(zmtp, body, ret_status);
    if (shaken != ZMTP_TAKEN)
        return zmtp_fail(zmtp, shaken);
    *ret_taken = whole;
    return ZMTP_TAKEN;
}
