/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "transport/internal.h"

#define PORT_MAX 65535

static int find_path(struct dial *dial, const char *path)
{
    if (path[0] == '\0' || strlen(path) >= sizeof(dial->path.sun_path))
        return AICO_EINVAL;
    dial->path.sun_family = AF_UNIX;
    (void)snprintf(dial->path.sun_path, sizeof(dial->path.sun_path), "%s", path);
    dial->path_info = (struct addrinfo){.ai_family = AF_UNIX,
                                        .ai_addr = (struct sockaddr *)&dial->path,
                                        .ai_addrlen = sizeof(dial->path)};
    dial->next = &dial->path_info;
    return 0;
}

static bool look_up(struct dial *dial, const char *host, const char *port, int family)
{
    struct addrinfo hints = {
        .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};

    if (getaddrinfo(host, port, &hints, &dial->list) != 0)
        dial->list = NULL;
    dial->next = dial->list;
    return dial->list != NULL;
}

bool split_address(const char *text, char ret_host[HOST_MAX + 1], const char **ret_port)
{
    const char *colon = strrchr(text, ':');
    size_t size = colon ? (size_t)(colon - text) : 0;
    bool is_bracketed = text[0] == '[';

    if (size == 0 || size > HOST_MAX || is_bracketed != (text[size - 1] == ']'))
        return false;
    (void)snprintf(ret_host, HOST_MAX + 1, "%.*s", (int)(size - (is_bracketed ? 2 : 0)),
                   text + (is_bracketed ? 1 : 0));
    *ret_port = colon + 1;
    return true;
}

static int find_host(struct dial *dial, const char *text)
{
    char host[HOST_MAX + 1], *end = NULL;
    const char *port;
    unsigned long number;

    if (!split_address(text, host, &port))
        return AICO_EINVAL;
    number = strtoul(port, &end, 10);
    if (number == 0 || number > PORT_MAX || *end != '\0')
        return AICO_EINVAL;
    return (text[0] != '[' && look_up(dial, host, port, AF_INET)) ||
                   look_up(dial, host, port, AF_INET6)
               ? 0
               : AICO_EUNREACHABLE;
}

int dial_begin(struct dial *ret_dial, const char *endpoint)
{
    *ret_dial = (struct dial){.list = NULL};
    if (strncmp(endpoint, "ipc://", strlen("ipc://")) == 0)
        return find_path(ret_dial, endpoint + strlen("ipc://"));
    if (strncmp(endpoint, "tcp://", strlen("tcp://")) == 0)
        return find_host(ret_dial, endpoint + strlen("tcp://"));
    return AICO_EINVAL;
}

int dial_next(struct dial *dial, int *ret_fd)
{
    const int on = 1;

    for (const struct addrinfo *at; (at = dial->next) != NULL;) {
        CLEANUP(fd_close)
        int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        dial->next = at->ai_next;
        if (fd < 0 && errno == EAFNOSUPPORT)
            continue;
        if (fd < 0)
            return AICO_ESYSTEM;
        if (at->ai_family != AF_UNIX)
            (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (connect(fd, at->ai_addr, at->ai_addrlen) == 0 || errno == EINPROGRESS ||
            errno == EINTR) {
            *ret_fd = steal_fd(&fd);
            return 0;
        }
        if (errno == EAGAIN)
            return AICO_EFULL;
        dial->failure = errno;
    }
    return AICO_EUNREACHABLE;
}

bool dial_is_connected(struct dial *dial, int fd)
{
    int failure = 0;
    socklen_t size = sizeof(failure);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size) < 0)
        failure = errno;
    if (failure != 0)
        dial->failure = failure;
    return failure == 0;
}

unsigned dial_left(const struct dial *dial)
{
    unsigned count = 0;

    for (const struct addrinfo *at = dial->next; at; at = at->ai_next)
        count++;
    return count;
}

void dial_end(struct dial *dial)
{
    if (dial->list)
        freeaddrinfo(dial->list);
    *dial = (struct dial){.list = NULL};
}
