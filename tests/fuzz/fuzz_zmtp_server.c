/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a stranger, or a client that is one, sends to the broker. Input: u8 what, bytes.
 *
 *   what % 4   0 in place of the greeting, 1 of HELLO, 2 of INITIATE, 3 of the messages
 *   what & 4   as the client seals it: the bytes are what is in the box (1 and 3), or the metadata
 *              behind a genuine vouch (2)
 *   what & 8   of INITIATE, with 4: they are all that is in the box, and the vouch is none
 *
 * Whatever comes: no crash, a verdict is asked for only by what a client sealed and vouched for,
 * and nothing is said to what is refused, of which nothing is kept.
 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "crypto/crypto.h"
#include "curve_client.h"
#include "transport/zmtp.h"

#define TEXT_MAX 2048

enum place { GREETING, HELLO, INITIATE, MESSAGES };

struct attempt {
    struct curve_client client;
    struct zmtp server;
    struct secret secret;
    uint8_t said[ZMTP_ANSWER_MAX];
    size_t said_size;
};

static bool is_wiped(const struct zmtp *zmtp)
{
    static const struct zmtp zeros;
    struct zmtp copy;

    memcpy(&copy, zmtp, sizeof(copy));
    memset(&copy.state, 0, sizeof(copy.state));
    return zmtp->state == ZMTP_FAILED && memcmp(&copy, &zeros, sizeof(copy)) == 0;
}

static enum zmtp_shaken hear(struct attempt *a, struct bytes bytes, size_t *ret_taken)
{
    CLEANUP(free_memory)
    uint8_t *copy = copy_of(bytes);
    struct writer w = writer_over(a->said, sizeof(a->said));
    enum zmtp_state before = a->server.state;
    enum zmtp_shaken shaken;

    *ret_taken = 0;
    shaken = zmtp_serve(&a->server, bytes_of(copy, bytes.size), ret_taken, &w);
    require(!w.failed);
    require(*ret_taken <= bytes.size && (shaken == ZMTP_TAKEN) == (*ret_taken > 0));
    require((w.size > 0) == (shaken == ZMTP_TAKEN && before == ZMTP_WAITS_HELLO));
    if (shaken == ZMTP_MORE)
        require(a->server.state == before);
    else if (shaken == ZMTP_TAKEN)
        require(a->server.state == (before == ZMTP_WAITS_GREETING ? ZMTP_WAITS_HELLO : before + 1));
    else
        require(shaken != ZMTP_REFUSED && is_wiped(&a->server));
    a->said_size = w.size;
    return shaken;
}

static void admit(struct attempt *a)
{
    struct writer w = writer_over(a->said, sizeof(a->said));

    require(memcmp(a->server.client_public, a->client.public, 32) == 0);
    zmtp_admit(&a->server, &w);
    require(!w.failed && a->server.state == ZMTP_UP);
    require(client_ready(&a->client, a->said, w.size));
}

static void begin(struct attempt *a, enum place until)
{
    struct writer w = writer_over(a->said, sizeof(a->said));
    uint8_t public[32], heard[CLIENT_ROOM];
    size_t taken;

    require(crypto_box_keypair(public, a->secret.at) == 0);
    client_new(&a->client, public);
    zmtp_await(&a->server, public, &a->secret, &w);
    if (until == GREETING)
        return;
    require(hear(a, bytes_of(heard, client_greeting(heard)), &taken) == ZMTP_TAKEN);
    if (until == HELLO)
        return;
    require(hear(a, bytes_of(heard, client_hello(&a->client, heard)), &taken) == ZMTP_TAKEN);
    require(client_welcome(&a->client, a->said, a->said_size));
    if (until == INITIATE)
        return;
    require(hear(a,
                 bytes_of(heard, client_initiate(&a->client, CLIENT_METADATA, CLIENT_METADATA_SIZE,
                                                 heard)),
                 &taken) == ZMTP_TAKEN);
    admit(a);
}

/* As the client seals it. */
static size_t seal(struct attempt *a, enum place at, bool is_all, struct bytes text, uint8_t *to)
{
    if (at == MESSAGES)
        return client_seal(&a->client, text.at, MIN(text.size, (size_t)TEXT_MAX), to);
    if (at == HELLO) {
        bytes_copy(a->client.hello, bytes_of(text.at, MIN(text.size, sizeof(a->client.hello))));
        return client_hello(&a->client, to);
    }
    if (is_all)
        return client_initiate_of(&a->client, text.at, MIN(text.size, (size_t)TEXT_MAX), to);
    return client_initiate(&a->client, text.at, MIN(text.size, (size_t)CLIENT_METADATA_MAX), to);
}

static bool is_in(struct bytes bytes, const char *text)
{
    size_t size = strlen(text);

    for (size_t i = 0; i + size <= bytes.size; i++)
        if (memcmp(bytes.at + i, text, size) == 0)
            return true;
    return false;
}

/* @text is what was sealed, if anything was. */
static void serve(struct attempt *a, struct bytes bytes, bool is_vouched, struct bytes text)
{
    while (a->server.state != ZMTP_WAITS_VERDICT) {
        enum zmtp_shaken shaken;
        size_t taken;

        shaken = hear(a, bytes, &taken);
        if (shaken == ZMTP_CHOSE_ID)
            require(is_vouched && is_in(text, "DEALER"));
        if (shaken != ZMTP_TAKEN)
            return;
        bytes = bytes_of(bytes.at + taken, bytes.size - taken);
    }
    require(is_vouched && is_in(text, "DEALER"));
    admit(a);
}

static void open_all(struct attempt *a, struct bytes bytes, bool is_sealed, struct bytes text)
{
    CLEANUP(free_memory)
    uint8_t *copy = copy_of(bytes);
    size_t at = 0, head, whole;

    while (zmtp_next(bytes_of(copy + at, bytes.size - at), false, (size_t)TEXT_MAX * 2, &head,
                     &whole) == 0) {
        struct bytes plain, again;
        unsigned flags, same;

        require(head < whole + 1 && whole <= bytes.size - at);
        if (zmtp_open(&a->server, copy + at + head, whole - head, &flags, &plain) < 0)
            return;
        require(is_sealed && flags == text.at[0]);
        require(bytes_equal(plain, bytes_of(text.at + 1, MIN(text.size, (size_t)TEXT_MAX) - 1)));
        again = zmtp_opened(copy + at + head, whole - head, &same);
        require(same == flags && again.at == plain.at && again.size == plain.size);
        at += whole;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_started;
    uint8_t sealed[CLIENT_ROOM];
    bool is_sealed, is_all;
    struct bytes bytes, text;
    struct attempt a;
    enum place at;

    if (size == 0)
        return 0;
    if (!is_started)
        require(crypto_start() == 0);
    is_started = true;
    at = (enum place)(data[0] % 4);
    is_sealed = data[0] & 4 && at != GREETING;
    is_all = data[0] & 8;
    text = bytes = bytes_of(data + 1, size - 1);
    begin(&a, at);
    if (is_sealed)
        bytes = bytes_of(sealed, seal(&a, at, is_all, text, sealed));
    if (at == MESSAGES)
        open_all(&a, bytes, is_sealed, text);
    else
        serve(&a, bytes, is_sealed && at == INITIATE && !is_all, text);
    zmtp_wipe(&a.server);
    require(is_wiped(&a.server));
    return 0;
}
