/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's half of CurveZMQ (https://rfc.zeromq.org/spec/26/) in bytes, for tests of the
 * server's half: it says what a client says, so that a test can change every byte of it, and vouch
 * wrongly. Written apart from the server's half, with libsodium alone.
 */
#ifndef SUPPORT_CURVE_CLIENT_H
#define SUPPORT_CURVE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <sodium.h>

struct curve_client {
    uint8_t broker[32];                       /* S */
    uint8_t public[32], secret[32];           /* C that is named, c that vouches */
    uint8_t once_public[32], once_secret[32]; /* C', c' */
    uint8_t hello[64];                        /* what is in the box of HELLO: zeros */
    uint8_t vouched[64];                      /* what the vouch says: C', S */
    uint8_t broker_once[32], cookie[96];      /* S', of WELCOME */
    uint8_t shared[32];                       /* by c' and S' */
    uint64_t sent, received;                  /* the numbers of the last ones */
};

#define CLIENT_GREETING_SIZE 64
#define CLIENT_HELLO_SIZE (2 + 200)
#define CLIENT_AT_FILLER 10 /* in the frame of HELLO */
#define CLIENT_AT_ONCE (CLIENT_AT_FILLER + 72)
#define CLIENT_METADATA_MAX 1024
#define CLIENT_OVERHEAD (9 + 16 + 16 + 1) /* bytes that a message gains at most */
#define CLIENT_ROOM 4096                  /* bytes, enough for what the handshake makes */

#define CLIENT_METADATA "\13Socket-Type\0\0\0\6DEALER\10Identity\0\0\0\0"
#define CLIENT_METADATA_SIZE (sizeof(CLIENT_METADATA) - 1)

/* With new keys, for the broker of @broker. */
static inline void client_new(struct curve_client *client, const uint8_t broker[32])
{
    memset(client, 0, sizeof(*client));
    memcpy(client->broker, broker, 32);
    crypto_box_keypair(client->public, client->secret);
    crypto_box_keypair(client->once_public, client->once_secret);
    memcpy(client->vouched, client->once_public, 32);
    memcpy(client->vouched + 32, broker, 32);
}

static inline size_t client_greeting(uint8_t *to)
{
    memset(to, 0, CLIENT_GREETING_SIZE);
    to[0] = 0xff;
    to[9] = 0x7f;
    to[10] = 3;
    to[11] = 1;
    memcpy(to + 12, "CURVE", 5);
    return CLIENT_GREETING_SIZE;
}

static inline void client_put_number(uint8_t to[8], uint64_t number)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(number >> (56 - 8 * i));
}

/* The head of a frame; its size. */
static inline size_t client_put_head(uint8_t *to, uint8_t flags, size_t body)
{
    if (body <= 255) {
        to[0] = flags;
        to[1] = (uint8_t)body;
        return 2;
    }
    to[0] = flags | 2;
    client_put_number(to + 1, body);
    return 9;
}

/* HELLO with a box of @key, which is by c' and S. */
static inline size_t client_hello_by(struct curve_client *client, const uint8_t key[32],
                                     uint8_t *to)
{
    uint8_t nonce[24] = "CurveZMQHELLO---";

    memset(to, 0, CLIENT_HELLO_SIZE);
    memcpy(to, "\4\310\5HELLO\1", 9);
    memcpy(to + CLIENT_AT_ONCE, client->once_public, 32);
    client_put_number(nonce + 16, ++client->sent);
    memcpy(to + CLIENT_AT_ONCE + 32, nonce + 16, 8);
    (void)crypto_box_easy_afternm(to + CLIENT_AT_ONCE + 40, client->hello, 64, nonce, key);
    return CLIENT_HELLO_SIZE;
}

static inline size_t client_hello(struct curve_client *client, uint8_t *to)
{
    uint8_t key[32];

    if (crypto_box_beforenm(key, client->broker, client->once_secret) != 0)
        return 0;
    return client_hello_by(client, key, to);
}

/* Whether @welcome, a whole command, is right in every part; what it says is kept then. */
static inline bool client_welcome(struct curve_client *client, const uint8_t *welcome, size_t size)
{
    uint8_t nonce[24] = "WELCOME-", plain[128];

    if (size != 2 + 8 + 16 + 144 || memcmp(welcome, "\4\250\7WELCOME", 10) != 0)
        return false;
    memcpy(nonce + 8, welcome + 10, 16);
    if (crypto_box_open_easy(plain, welcome + 26, 144, nonce, client->broker,
                             client->once_secret) != 0)
        return false;
    memcpy(client->broker_once, plain, 32);
    memcpy(client->cookie, plain + 32, 96);
    return crypto_box_beforenm(client->shared, client->broker_once, client->once_secret) == 0;
}

/* INITIATE with @plain in its box: C, a nonce, the vouch, metadata. */
static inline size_t client_initiate_of(struct curve_client *client, const uint8_t *plain,
                                        size_t size, uint8_t *to)
{
    uint8_t nonce[24] = "CurveZMQINITIATE";
    size_t at = client_put_head(to, 4, 9 + 96 + 8 + 16 + size);

    memcpy(to + at, "\10INITIATE", 9);
    memcpy(to + at + 9, client->cookie, 96);
    client_put_number(nonce + 16, ++client->sent);
    memcpy(to + at + 105, nonce + 16, 8);
    (void)crypto_box_easy_afternm(to + at + 113, plain, size, nonce, client->shared);
    return at + 129 + size;
}

/* INITIATE with a vouch in a box of @key, which is by c and S'. */
static inline size_t client_initiate_by(struct curve_client *client, const uint8_t key[32],
                                        const void *metadata, size_t size, uint8_t *to)
{
    uint8_t nonce[24] = "VOUCH---", plain[128 + CLIENT_METADATA_MAX];

    memcpy(plain, client->public, 32);
    randombytes_buf(nonce + 8, 16);
    memcpy(plain + 32, nonce + 8, 16);
    (void)crypto_box_easy_afternm(plain + 48, client->vouched, 64, nonce, key);
    if (size > 0)
        memcpy(plain + 128, metadata, size);
    return client_initiate_of(client, plain, 128 + size, to);
}

static inline size_t client_initiate(struct curve_client *client, const void *metadata, size_t size,
                                     uint8_t *to)
{
    uint8_t key[32];

    if (crypto_box_beforenm(key, client->broker_once, client->secret) != 0)
        return 0;
    return client_initiate_by(client, key, metadata, size, to);
}

/* Opens the box behind @head in a body whose number is the next. The size of @to, -1: it is not. */
static inline int64_t client_open_body(struct curve_client *client, const char *head,
                                       const char *prefix, const uint8_t *body, size_t size,
                                       uint8_t *to)
{
    size_t head_size = strlen(head);
    uint8_t nonce[24];

    memcpy(nonce, prefix, 16);
    client_put_number(nonce + 16, client->received + 1);
    if (size < head_size + 8 + 16 || memcmp(body, head, head_size) != 0 ||
        memcmp(body + head_size, nonce + 16, 8) != 0 ||
        crypto_box_open_easy_afternm(to, body + head_size + 8, size - head_size - 8, nonce,
                                     client->shared) != 0)
        return -1;
    client->received++;
    return (int64_t)(size - head_size - 24);
}

/* Whether @ready, a whole command, says that a ROUTER lets us in. */
static inline bool client_ready(struct curve_client *client, const uint8_t *ready, size_t size)
{
    static const char metadata[] = "\13Socket-Type\0\0\0\6ROUTER\10Identity\0\0\0\0";
    uint8_t plain[256];

    return size > 2 && ready[0] == 4 && ready[1] == size - 2 &&
           client_open_body(client, "\5READY", "CurveZMQREADY---", ready + 2, size - 2, plain) ==
               (int64_t)sizeof(metadata) - 1 &&
           memcmp(plain, metadata, sizeof(metadata) - 1) == 0;
}

/* A MESSAGE of @plain, whose first byte are its flags; @size + CLIENT_OVERHEAD bytes of room. */
static inline size_t client_seal(struct curve_client *client, const void *plain, size_t size,
                                 uint8_t *to)
{
    size_t at = client_put_head(to, 0, 16 + 16 + size);
    uint8_t nonce[24] = "CurveZMQMESSAGEC";

    memcpy(to + at, "\7MESSAGE", 8);
    client_put_number(nonce + 16, ++client->sent);
    memcpy(to + at + 8, nonce + 16, 8);
    (void)crypto_box_easy_afternm(to + at + 16, plain, size, nonce, client->shared);
    return at + 32 + size;
}

/* Opens a MESSAGE, a whole frame. The size of @to, which begins with the flags; -1: it is none. */
static inline int64_t client_open(struct curve_client *client, const uint8_t *frame, size_t size,
                                  uint8_t *to)
{
    uint8_t head[9];
    size_t at = size > 2 + 255 ? 9 : 2;

    if (size < at || client_put_head(head, 0, size - at) != at || memcmp(frame, head, at) != 0)
        return -1;
    return client_open_body(client, "\7MESSAGE", "CurveZMQMESSAGES", frame + at, size - at, to);
}

#endif
