/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger, or a broker that is one, sends to a client. Input: u8 what, bytes.
 *
 *   what % 4   0 in place of the greeting, 1 of WELCOME, 2 of READY, 3 of the messages
 *   what & 4   as the broker seals it: the bytes are what is in the box (1 to 3)
 *
 * Whatever comes: no crash, the client is up only by what the broker sealed, and says nothing to
 * what it refuses.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "curve_server.h"
#include "transport/zmtp.h"

#define TEXT_MAX 1024

struct attempt {
    struct curve_server server;
    struct zmtp client;
    uint8_t said[ZMTP_ANSWER_MAX];
    size_t said_size;
};

static enum zmtp_shaken hear(struct attempt *a, struct bytes bytes, size_t *ret_taken)
{
    CLEANUP(free_memory)
    uint8_t *copy = copy_of(bytes);
    struct writer w = writer_over(a->said, sizeof(a->said));
    enum zmtp_state before = a->client.state;
    enum zmtp_shaken shaken;
    unsigned status;

    *ret_taken = 0;
    shaken = zmtp_shake(&a->client, bytes_of(copy, bytes.size), ret_taken, &w, &status);
    require(!w.failed);
    require(shaken == ZMTP_TAKEN || w.size == 0);
    require(*ret_taken <= bytes.size && (shaken == ZMTP_TAKEN) == (*ret_taken > 0));
    require(a->client.state == (shaken == ZMTP_MORE    ? before
                                : shaken == ZMTP_TAKEN ? before + 1
                                                       : ZMTP_FAILED));
    a->said_size = w.size;
    return shaken;
}

static void begin(struct attempt *a, enum zmtp_state until)
{
    struct writer w = writer_over(a->said, sizeof(a->said));
    uint8_t public[32], heard[SERVER_ROOM];
    struct secret secret;
    size_t taken;

    server_new(&a->server);
    require(crypto_box_keypair(public, secret.at) == 0);
    zmtp_begin(&a->client, a->server.public, public, &secret, &w);
    if (until == ZMTP_WAITS_GREETING)
        return;
    require(hear(a, bytes_of(heard, server_greeting(heard)), &taken) == ZMTP_TAKEN);
    if (until == ZMTP_WAITS_WELCOME)
        return;
    require(hear(a, bytes_of(heard, server_welcome(&a->server, a->said, a->said_size, heard)),
                 &taken) == ZMTP_TAKEN);
    require(server_initiate(&a->server, a->said, a->said_size));
    if (until == ZMTP_WAITS_READY)
        return;
    require(hear(a, bytes_of(heard, server_ready(&a->server, "ROUTER", heard)), &taken) ==
            ZMTP_TAKEN);
}

/* As the broker seals it. */
static size_t seal(struct attempt *a, enum zmtp_state at, struct bytes text, uint8_t *to)
{
    uint8_t nonce[24] = "WELCOME-", plain[128] = {0};
    size_t size = MIN(text.size, sizeof(plain));

    text.size = MIN(text.size, (size_t)TEXT_MAX);
    if (at == ZMTP_WAITS_READY)
        return server_seal(&a->server, 4, "\5READY", "CurveZMQREADY---", text.at, text.size, to);
    if (at == ZMTP_UP)
        return server_seal(&a->server, 0, "\7MESSAGE", "CurveZMQMESSAGES", text.at, text.size, to);
    memcpy(to, "\4\250\7WELCOME", 10);
    memset(to + 10, 0, 16);
    bytes_copy(plain, bytes_of(text.at, size));
    memcpy(a->server.client_once, a->said + 2 + 6 + 2 + 72, 32);
    require(crypto_box_easy(to + 26, plain, sizeof(plain), nonce, a->server.client_once,
                            a->server.secret) == 0);
    return SERVER_WELCOME_SIZE;
}

static void shake(struct attempt *a, struct bytes bytes, bool is_sealed)
{
    while (a->client.state != ZMTP_UP) {
        size_t taken;

        if (hear(a, bytes, &taken) != ZMTP_TAKEN)
            return;
        bytes = bytes_of(bytes.at + taken, bytes.size - taken);
    }
    require(is_sealed);
}

static void open_all(struct attempt *a, struct bytes bytes, bool is_sealed)
{
    CLEANUP(free_memory)
    uint8_t *copy = copy_of(bytes);
    size_t at = 0, head, whole;

    while (zmtp_next(bytes_of(copy + at, bytes.size - at), false, TEXT_MAX * 2, &head, &whole) ==
           0) {
        uint8_t room[ZMTP_ANSWER_MAX];
        struct writer answer = writer_over(room, sizeof(room));
        struct bytes plain;
        unsigned flags;

        require(head < whole + 1 && whole <= bytes.size - at);
        if (zmtp_open(&a->client, copy + at + head, whole - head, &flags, &plain) < 0)
            return;
        require(is_sealed);
        require(plain.at >= copy + at && plain.at + plain.size == copy + at + whole);
        (void)zmtp_pong(plain, &answer);
        require(!answer.failed);
        at += whole;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_started;
    uint8_t sealed[SERVER_ROOM];
    struct attempt a;
    enum zmtp_state at;
    struct bytes bytes;
    bool is_sealed;

    if (size == 0)
        return 0;
    if (!is_started)
        require(crypto_start() == 0);
    is_started = true;
    at = (enum zmtp_state)(data[0] % 4);
    is_sealed = data[0] & 4 && at != ZMTP_WAITS_GREETING;
    bytes = bytes_of(data + 1, size - 1);
    begin(&a, at);
    if (is_sealed)
        bytes = bytes_of(sealed, seal(&a, at, bytes, sealed));
    if (at == ZMTP_UP)
        open_all(&a, bytes, is_sealed);
    else
        shake(&a, bytes, is_sealed);
    zmtp_wipe(&a.client);
    return 0;
}
