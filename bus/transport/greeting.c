/* SPDX-License-Identifier: Apache-2.0 */
/* The greeting of ZMTP 3: https://rfc.zeromq.org/spec/23/ */
#include "transport/greeting.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"

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

static const char mechanism[MECHANISM_SIZE] = "CURVE";

static bool is_ready(int fd, short events, int64_t deadline_ms)
{
    struct pollfd item = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = deadline_ms - moment_now().boot_ms;
        int r = poll(&item, 1, left > 0 ? (int)left : 0);

        if (r > 0)
            return true;
        if (r == 0 || errno != EINTR)
            return false;
    }
}

/* A connected descriptor, or -1. */
static int dial(int family, const struct sockaddr *address, socklen_t size, int64_t deadline_ms)
{
    CLEANUP(fd_close)
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int failure = 0;
    socklen_t failure_size = sizeof(failure);

    if (fd < 0)
        return -1;
    if (connect(fd, address, size) < 0) {
        if (errno != EINPROGRESS || !is_ready(fd, POLLOUT, deadline_ms))
            return -1;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &failure_size) < 0 || failure != 0)
            return -1;
    }
    return steal_fd(&fd);
}

static int dial_path(const char *path, int64_t deadline_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return -1;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    return dial(AF_UNIX, (const struct sockaddr *)&address, sizeof(address), deadline_ms);
}

static int dial_host(const char *text, int64_t deadline_ms)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    char host[256];
    const char *colon = strrchr(text, ':');
    bool in_brackets = text[0] == '[' && colon && colon[-1] == ']';
    int fd = -1;

    if (!colon)
        return -1;
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - text - (in_brackets ? 2 : 0)),
                   text + (in_brackets ? 1 : 0));
    if (getaddrinfo(host, colon + 1, &hints, &list) != 0)
        return -1;
    for (struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
        fd = dial(at->ai_family, at->ai_addr, at->ai_addrlen, deadline_ms);
    freeaddrinfo(list);
    return fd;
}

static enum greeting read_greeting(int fd, int64_t deadline_ms)
{
    uint8_t seen[GREETING_SIZE];
    size_t size = 0;

    while (size < sizeof(seen)) {
        ssize_t got;

        if (!is_ready(fd, POLLIN, deadline_ms))
            return size > 0 ? GREETING_OTHER : GREETING_SILENT;
        got = read(fd, seen + size, sizeof(seen) - size);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return size > 0 ? GREETING_OTHER : GREETING_CLOSED;
        size += (size_t)got;
        if (seen[0] != 0xff)
            return GREETING_OTHER;
    }
    if (seen[AT_SIGNATURE_END] != 0x7f || seen[AT_MAJOR] < 3 ||
        memcmp(seen + AT_MECHANISM, mechanism, MECHANISM_SIZE) != 0)
        return GREETING_OTHER;
    return GREETING_CURVE;
}

enum greeting greeting_ask(const char *endpoint, int64_t timeout_ms)
{
    int64_t deadline_ms = moment_now().boot_ms + timeout_ms;
    uint8_t ours[GREETING_SIZE] = {
        [0] = 0xff, [8] = 1, [AT_SIGNATURE_END] = 0x7f, [AT_MAJOR] = 3, [AT_MAJOR + 1] = 1};
    CLEANUP(fd_close)
    int fd = -1;

    if (strncmp(endpoint, "ipc://", 6) == 0)
        fd = dial_path(endpoint + 6, deadline_ms);
    else if (strncmp(endpoint, "tcp://", 6) == 0)
        fd = dial_host(endpoint + 6, deadline_ms);
    if (fd < 0)
        return GREETING_REFUSED;

    memcpy(ours + AT_MECHANISM, mechanism, MECHANISM_SIZE);
    if (send(fd, ours, sizeof(ours), MSG_NOSIGNAL) != (ssize_t)sizeof(ours))
        return GREETING_CLOSED;
    return read_greeting(fd, deadline_ms);
}
