/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's half of CurveZMQ (https://rfc.zeromq.org/spec/26/) in bytes, for tests of the
 * client's half: it says what a broker says, so that a test can change every byte of it. Written
 * apart from the client's half, with libsodium alone.
 */
#ifndef SUPPORT_CURVE_SERVER_H
#define SUPPORT_CURVE_SERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <sodium.h>

struct curve_server {
    uint8_t public[32], secret[32];           /* S, s */
    uint8_t once_public[32], once_secret[32]; /* S', s' */
    uint8_t client_once[32];                  /* C', of HELLO */
    uint8_t client[32];                       /* C, of INITIATE */
    uint8_t shared[32];
    uint64_t sent;
};

#define SERVER_GREETING_SIZE 64
#define SERVER_WELCOME_SIZE (2 + 8 + 16 + 144)
#define SERVER_ROOM 4096 /* bytes, enough for what follows */

static inline void server_new(struct curve_server *server)
{
    memset(server, 0, sizeof(*server));
    crypto_box_keypair(server->public, server->secret);
    crypto_box_keypair(server->once_public, server->once_secret);
}

static inline size_t server_greeting(uint8_t *to)
{
    memset(to, 0, SERVER_GREETING_SIZE);
    to[0] = 0xff;
    to[9] = 0x7f;
    to[10] = 3;
    to[11] = 1;
    memcpy(to + 12, "CURVE", 5);
    return SERVER_GREETING_SIZE;
}

static inline void server_nonce(uint8_t nonce[24], const char *prefix, uint64_t number)
{
    memcpy(nonce, prefix, 16);
    for (int i = 0; i < 8; i++)
        nonce[16 + i] = (uint8_t)(number >> (56 - 8 * i));
}

/* @hello is the client's whole command. The size of WELCOME in @to, 0 if HELLO is not right. */
static inline size_t server_welcome(struct curve_server *server, const uint8_t *hello, size_t size,
                                    uint8_t *to)
{
    uint8_t nonce[24] = "CurveZMQHELLO---", plain[128], zeros[64];
    size_t at = 2 + 6 + 2 + 72;

    if (size != 2 + 200 || memcmp(hello, "\4\310\5HELLO\1", 9) != 0)
        return 0;
    memcpy(server->client_once, hello + at, 32);
    memcpy(nonce + 16, hello + at + 32, 8);
    if (crypto_box_open_easy(zeros, hello + at + 40, 80, nonce, server->client_once,
                             server->secret) != 0)
        return 0;
    memcpy(plain, server->once_public, 32);
    memset(plain + 32, 'k', 96);
    memcpy(to, "\4\250\7WELCOME", 10);
    memcpy(nonce, "WELCOME-", 8);
    memset(nonce + 8, 'w', 16);
    memcpy(to + 10, nonce + 8, 16);
    if (crypto_box_easy(to + 26, plain, sizeof(plain), nonce, server->client_once,
                        server->secret) != 0)
        return 0;
    return SERVER_WELCOME_SIZE;
}

/* Whether @initiate (a whole command) is right in every part; the client's key is kept then. */
static inline bool server_initiate(struct curve_server *server, const uint8_t *initiate,
                                   size_t size)
{
    uint8_t nonce[24] = "CurveZMQINITIATE", plain[512], vouch[64];
    size_t at = 9 + 9, boxed = size - at - 96 - 8;

    if (size < at + 96 + 8 + 16 + 128 || boxed - 16 > sizeof(plain) || initiate[0] != 6 ||
        memcmp(initiate + 9, "\10INITIATE", 9) != 0 || initiate[at] != 'k' ||
        initiate[at + 95] != 'k')
        return false;
    memcpy(nonce + 16, initiate + at + 96, 8);
    if (crypto_box_open_easy(plain, initiate + at + 104, boxed, nonce, server->client_once,
                             server->once_secret) != 0)
        return false;
    memcpy(nonce, "VOUCH---", 8);
    memcpy(nonce + 8, plain + 32, 16);
    if (crypto_box_open_easy(vouch, plain + 48, 80, nonce, plain, server->once_secret) != 0 ||
        memcmp(vouch, server->client_once, 32) != 0 || memcmp(vouch + 32, server->public, 32) != 0)
        return false;
    memcpy(server->client, plain, 32);
    return crypto_box_beforenm(server->shared, server->client_once, server->once_secret) == 0;
}

/* A body of @head, a short nonce and a box of @plain, as a frame of @flags. Its size. */
static inline size_t server_seal(struct curve_server *server, uint8_t flags, const char *head,
                                 const char *prefix, const uint8_t *plain, size_t size, uint8_t *to)
{
    size_t head_size = strlen(head), body = head_size + 8 + 16 + size, at = 0;
    uint8_t nonce[24];

    server_nonce(nonce, prefix, ++server->sent);
    to[at++] = body > 255 ? flags | 2 : flags;
    for (int i = body > 255 ? 7 : 0; i >= 0; i--)
        to[at++] = (uint8_t)(body >> (8 * i));
    memcpy(to + at, head, head_size);
    memcpy(to + at + head_size, nonce + 16, 8);
    (void)crypto_box_easy_afternm(to + at + head_size + 8, plain, size, nonce, server->shared);
    return at + body;
}

static inline size_t server_ready(struct curve_server *server, const char *socket_type, uint8_t *to)
{
    uint8_t metadata[64] = "\13Socket-Type\0\0\0";
    size_t size = strlen(socket_type);

    metadata[15] = (uint8_t)size;
    memcpy(metadata + 16, socket_type, size);
    return server_seal(server, 4, "\5READY", "CurveZMQREADY---", metadata, 16 + size, to);
}

/* @flags: 1 more parts, 2 command. */
static inline size_t server_message(struct curve_server *server, uint8_t flags, const void *plain,
                                    size_t size, uint8_t *to)
{
    uint8_t text[2048];

    text[0] = flags;
    if (size > 0)
        memcpy(text + 1, plain, size);
    return server_seal(server, 0, "\7MESSAGE", "CurveZMQMESSAGES", text, 1 + size, to);
}

#endif
