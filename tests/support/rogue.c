/* SPDX-License-Identifier: Apache-2.0 */
/* See rogue.h. */
#include "rogue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <sodium.h>

#define MESSAGE_MAX ((size_t)1024 * 1024)
#define FLAG_LARGE 2
#define FLAG_COMMAND 4
#define WAIT_MS 20000

int rogue_connect(const char *endpoint)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in host = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool is_ipc = strncmp(endpoint, "ipc://", 6) == 0;
    int fd = socket(is_ipc ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return -1;
    if (is_ipc) {
        (void)snprintf(path.sun_path, sizeof(path.sun_path), "%s", endpoint + 6);
        r = connect(fd, (struct sockaddr *)&path, sizeof(path));
    } else {
        host.sin_port = htons((uint16_t)strtoul(strrchr(endpoint, ':') + 1, NULL, 10));
        r = connect(fd, (struct sockaddr *)&host, sizeof(host));
    }
    if (r == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static bool write_all(int fd, const void *at, size_t size)
{
    const uint8_t *next = at;

    while (size > 0) {
        struct pollfd item = {.fd = fd, .events = POLLOUT | POLLRDHUP};
        ssize_t sent = send(fd, next, size, MSG_NOSIGNAL | MSG_DONTWAIT);

        /* A peer that has closed may leave us with a window of nothing: its end is what counts. */
        if (sent < 0 && errno == EAGAIN &&
            (poll(&item, 1, WAIT_MS) <= 0 || item.revents & POLLRDHUP))
            return false;
        if (sent < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (sent <= 0)
            return false;
        next += sent;
        size -= (size_t)sent;
    }
    return true;
}

static bool read_all(int fd, void *to, size_t size)
{
    uint8_t *next = to;

    while (size > 0) {
        struct pollfd item = {.fd = fd, .events = POLLIN};
        ssize_t got = poll(&item, 1, WAIT_MS) == 1 ? read(fd, next, size) : 0;

        if (got <= 0)
            return false;
        next += got;
        size -= (size_t)got;
    }
    return true;
}

static void put_u64(uint8_t *to, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        to[i] = (uint8_t)value;
}

/* The head of a frame of ZMTP; returns its size. */
static size_t frame_head(uint8_t head[9], uint8_t flags, uint64_t size)
{
    if (size > 255) {
        head[0] = flags | FLAG_LARGE;
        put_u64(head + 1, size);
        return 9;
    }
    head[0] = flags;
    head[1] = (uint8_t)size;
    return 2;
}

static bool send_frame(int fd, uint8_t flags, const void *at, size_t size)
{
    uint8_t head[9];

    return write_all(fd, head, frame_head(head, flags, size)) && write_all(fd, at, size);
}

/* A command of the handshake that begins with @name; its size, 0: it was not that. */
static size_t read_command(int fd, const char *name, uint8_t *to, size_t room)
{
    uint8_t head[9];
    uint64_t size = 0;

    if (!read_all(fd, head, 2))
        return 0;
    if (head[0] & FLAG_LARGE) {
        if (!read_all(fd, head + 2, 7))
            return 0;
        for (int i = 1; i < 9; i++)
            size = size << 8 | head[i];
    } else {
        size = head[1];
    }
    if (size > room || size < strlen(name) || !read_all(fd, to, size) ||
        memcmp(to, name, strlen(name)) != 0)
        return 0;
    return size;
}

/* 24 bytes: a prefix and the rest, which is a counter of 8 bytes or 16 of chance. */
static void nonce_make(uint8_t nonce[24], const char *prefix, const uint8_t *rest)
{
    size_t size = strlen(prefix);

    memcpy(nonce, prefix, size);
    memcpy(nonce + size, rest, 24 - size);
}

bool rogue_greet(int fd)
{
    uint8_t ours[64] = {[0] = 0xff, [9] = 0x7f, [10] = 3, [11] = 1, [12] = 'C', 'U', 'R', 'V', 'E'};
    uint8_t theirs[64];

    return write_all(fd, ours, sizeof(ours)) && read_all(fd, theirs, sizeof(theirs));
}

static size_t put_property(uint8_t *to, const char *name, const void *value, size_t value_size)
{
    size_t name_size = strlen(name);

    to[0] = (uint8_t)name_size;
    memcpy(to + 1, name, name_size);
    memset(to + 1 + name_size, 0, 3);
    to[4 + name_size] = (uint8_t)value_size;
    memcpy(to + 5 + name_size, value, value_size);
    return 5 + name_size + value_size;
}

static bool say_hello(struct rogue *rogue, const struct rogue_keys *keys,
                      const uint8_t ephemeral[32], const uint8_t ephemeral_secret[32])
{
    static const uint8_t zeros[64];
    uint8_t hello[200] = "\5HELLO\1", nonce[24];

    memcpy(hello + 80, ephemeral, 32);
    put_u64(hello + 112, rogue->nonce++);
    nonce_make(nonce, "CurveZMQHELLO---", hello + 112);
    return crypto_box_easy(hello + 120, zeros, sizeof(zeros), nonce, keys->server,
                           ephemeral_secret) == 0 &&
           send_frame(rogue->fd, FLAG_COMMAND, hello, sizeof(hello));
}

bool rogue_shake(struct rogue *rogue, int fd, const struct rogue_keys *keys,
                 const struct rogue_property *properties)
{
    return rogue_shake_as(rogue, fd, keys, properties, "", 0);
}

bool rogue_shake_as(struct rogue *rogue, int fd, const struct rogue_keys *keys,
                    const struct rogue_property *properties, const void *id, size_t id_size)
{
    uint8_t own[32], own_secret[32], welcome[256], plain[128], vouch[64], nonce[24], ready[1024];
    uint8_t inner[2048], initiate[2304] = "\10INITIATE";
    size_t size;

    *rogue = (struct rogue){.fd = fd, .nonce = 1};
    if (fd < 0 || sodium_init() < 0 || crypto_box_keypair(own, own_secret) < 0 ||
        !rogue_greet(fd) || !say_hello(rogue, keys, own, own_secret) ||
        read_command(fd, "\7WELCOME", welcome, sizeof(welcome)) != 168)
        return false;
    nonce_make(nonce, "WELCOME-", welcome + 8);
    if (crypto_box_open_easy(plain, welcome + 24, 144, nonce, keys->server, own_secret) < 0 ||
        crypto_box_beforenm(rogue->shared, plain, own_secret) < 0)
        return false;

    memcpy(vouch, own, 32);
    memcpy(vouch + 32, keys->server, 32);
    memcpy(inner, keys->public, 32);
    randombytes_buf(inner + 32, 16);
    nonce_make(nonce, "VOUCH---", inner + 32);
    if (crypto_box_easy(inner + 48, vouch, sizeof(vouch), nonce, plain, keys->secret) < 0)
        return false;
    size = 128;
    for (; properties && properties->name; properties++)
        size += put_property(inner + size, properties->name, properties->value,
                             strlen(properties->value));
    size += put_property(inner + size, "Socket-Type", "DEALER", 6);
    size += put_property(inner + size, "Identity", id, id_size);

    memcpy(initiate + 9, plain + 32, 96);
    put_u64(initiate + 105, rogue->nonce++);
    nonce_make(nonce, "CurveZMQINITIATE", initiate + 105);
    return crypto_box_easy_afternm(initiate + 113, inner, size, nonce, rogue->shared) == 0 &&
           send_frame(fd, FLAG_COMMAND, initiate, 113 + size + 16) &&
           read_command(fd, "\5READY", ready, sizeof(ready)) > 0;
}

bool rogue_send(struct rogue *rogue, uint8_t flags, const void *at, size_t size)
{
    uint8_t *plain = malloc(1 + size), *sealed = malloc(16 + 17 + size), nonce[24];
    bool is_sent = false;

    if (plain && sealed && size <= MESSAGE_MAX) {
        plain[0] = flags;
        memcpy(plain + 1, at, size);
        memcpy(sealed, "\7MESSAGE", 8);
        put_u64(sealed + 8, rogue->nonce++);
        nonce_make(nonce, "CurveZMQMESSAGEC", sealed + 8);
        is_sent =
            crypto_box_easy_afternm(sealed + 16, plain, 1 + size, nonce, rogue->shared) == 0 &&
            send_frame(rogue->fd, 0, sealed, 16 + 17 + size);
    }
    free(plain);
    free(sealed);
    return is_sent;
}

bool rogue_claim(int fd, uint64_t size)
{
    uint8_t head[9];

    return write_all(fd, head, frame_head(head, 0, size));
}

bool rogue_drain(int fd)
{
    static uint8_t room[65536];
    ssize_t got;

    do
        got = recv(fd, room, sizeof(room), MSG_DONTWAIT);
    while (got > 0 || (got < 0 && errno == EINTR));
    return got < 0 && errno == EAGAIN;
}

bool rogue_is_closed(int fd, int timeout_ms)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};

    while (rogue_drain(fd))
        if (poll(&item, 1, timeout_ms) == 0)
            return false;
    return true;
}

void rogue_close(struct rogue *rogue)
{
    if (rogue->fd >= 0)
        (void)close(rogue->fd);
    rogue->fd = -1;
}
