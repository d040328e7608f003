/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "transport/internal.h"

#define BACKLOG 4096

static const char tcp[] = "tcp://", ipc[] = "ipc://";

static int bind_error(const char *endpoint, int number, struct aico_error *err)
{
    switch (number) {
    case EADDRINUSE:
        return aico_error_set(err, AICO_EEXISTS, "%s: address in use, by another broker or program",
                              endpoint);
    case EADDRNOTAVAIL:
        return aico_error_set(err, AICO_EINVAL, "%s: this machine has no such address", endpoint);
    default:
        return aico_error_set(err, AICO_ESYSTEM, "%s: %s", endpoint, strerror(number));
    }
}

/* --- addresses ------------------------------------------------------------------------------ */

static int find_address(const char *endpoint, struct addrinfo **ret_list, struct aico_error *err)
{
    struct addrinfo hints = {.ai_family = endpoint[strlen(tcp)] == '[' ? AF_INET6 : AF_INET,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char host[HOST_MAX + 1];
    const char *port;
    int r;

    if (!split_address(endpoint + strlen(tcp), host, &port))
        return aico_error_set(err, AICO_EINVAL, "%s: not an address to listen at", endpoint);
    r = getaddrinfo(strcmp(host, "*") == 0 ? NULL : host, strcmp(port, "*") == 0 ? "0" : port,
                    &hints, ret_list);
    return r == 0 ? 0 : aico_error_set(err, AICO_EINVAL, "%s: %s", endpoint, gai_strerror(r));
}

/* Of a tcp socket; NULL: no memory. */
static char *real_endpoint(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address);
    char host[NI_MAXHOST], port[NI_MAXSERV], *text = NULL;

    if (getsockname(fd, (struct sockaddr *)&address, &size) < 0 ||
        getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0 ||
        asprintf(&text, address.ss_family == AF_INET6 ? "%s[%s]:%s" : "%s%s:%s", tcp, host, port) <
            0)
        return NULL;
    return text;
}

/* --- binding -------------------------------------------------------------------------------- */

static int bind_tcp(const char *endpoint, int *ret_fd, struct aico_error *err)
{
    const int on = 1, off = 0;
    struct addrinfo *list = NULL;
    CLEANUP(fd_close)
    int fd = -1;
    int r = find_address(endpoint, &list, err);

    if (r < 0)
        return r;
    fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* A broker that comes back does not wait for the connections of the one before it. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (list->ai_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) < 0) ||
        bind(fd, list->ai_addr, list->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        r = bind_error(endpoint, errno, err);
    else
        *ret_fd = steal_fd(&fd);
    freeaddrinfo(list);
    return r;
}

static int bind_ipc(const char *endpoint, int *ret_fd, struct aico_error *err)
{
    const char *path = endpoint + strlen(ipc);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    CLEANUP(fd_close)
    int fd = -1;

    if (strlen(path) >= sizeof(address.sun_path))
        return aico_error_set(err, AICO_EINVAL, "%s: path too long for a socket (107 bytes)",
                              endpoint);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (unlink(path) < 0 && errno != ENOENT) ||
        bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
        return bind_error(endpoint, errno, err);
    *ret_fd = steal_fd(&fd);
    return 0;
}

static int inherit(const char *endpoint, int inherited, int *ret_fd, struct aico_error *err)
{
    CLEANUP(fd_close)
    int fd = fcntl(inherited, F_DUPFD_CLOEXEC, 0);
    int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return bind_error(endpoint, errno, err);
    *ret_fd = steal_fd(&fd);
    return 0;
}

int listen_open(const char *endpoint, int inherited, int *ret_fd, char **ret_endpoint,
                struct aico_error *err)
{
    bool is_tcp = strncmp(endpoint, tcp, strlen(tcp)) == 0;
    CLEANUP(fd_close)
    int fd = -1;
    int r;

    if (!is_tcp && strncmp(endpoint, ipc, strlen(ipc)) != 0)
        return aico_error_set(err, AICO_EINVAL, "%s: neither tcp:// nor ipc://", endpoint);
    if (inherited >= 0)
        r = inherit(endpoint, inherited, &fd, err);
    else
        r = is_tcp ? bind_tcp(endpoint, &fd, err) : bind_ipc(endpoint, &fd, err);
    if (r < 0)
        return r;
    *ret_endpoint = is_tcp ? real_endpoint(fd) : strdup(endpoint);
    if (!*ret_endpoint)
        return aico_error_set(err, AICO_ENOMEM, "out of memory");
    *ret_fd = steal_fd(&fd);
    return 0;
}

/* --- who comes ------------------------------------------------------------------------------ */

int listen_accept(int listener, int limit, int *ret_fd)
{
    const int on = 1;
    CLEANUP(fd_close)
    int fd = -1;

    do /* over connections that were given up before they came to their turn */
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0)
        return errno == EAGAIN ? AICO_ENOTFOUND : AICO_EFULL;
    if (fd >= limit)
        return AICO_EFULL;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* ipc has none */
    *ret_fd = steal_fd(&fd);
    return 0;
}

void listen_describe_peer(int fd, char ret_address[LISTEN_ADDRESS_SIZE])
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof(address), who_size;
    char host[64], port[16];
    struct ucred who;

    (void)snprintf(ret_address, LISTEN_ADDRESS_SIZE, "unknown");
    if (getpeername(fd, (struct sockaddr *)&address, &size) < 0)
        return;
    who_size = sizeof(who);
    if (address.ss_family == AF_UNIX) {
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &who_size) == 0)
            (void)snprintf(ret_address, LISTEN_ADDRESS_SIZE, "uid %u, pid %d", (unsigned)who.uid,
                           (int)who.pid);
    } else if (getnameinfo((struct sockaddr *)&address, size, host, sizeof(host), port,
                           sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) == 0) {
        (void)snprintf(ret_address, LISTEN_ADDRESS_SIZE,
                       address.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    }
}
