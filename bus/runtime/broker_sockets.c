/* SPDX-License-Identifier: Apache-2.0 */
/* Listening sockets that somebody else made, a service manager for one, and which endpoint each is.
 */
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "runtime/broker.h"

#define INHERITED_MAX 64
#define ADDRESS_SIZE 160 /* of an endpoint: a path has at most 107 bytes, a host 45 */

struct inherited {
    int fd;
    char address[ADDRESS_SIZE]; /* as an endpoint */
    bool is_taken;
};

static const char ipc[] = "ipc://";

/* Where @fd listens, as an endpoint; false when it does not. */
static bool write_address(int fd, char to[ADDRESS_SIZE])
{
    union {
        struct sockaddr any;
        struct sockaddr_un un;
        struct sockaddr_storage room;
    } address = {0};
    socklen_t size = sizeof(address), flag_size = sizeof(int);
    char host[64], port[16];
    int is_listening = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &flag_size) < 0 || !is_listening ||
        getsockname(fd, &address.any, &size) < 0)
        return false;
    if (address.any.sa_family == AF_UNIX && address.un.sun_path[0] == '/') {
        (void)snprintf(to, ADDRESS_SIZE, "%s%.*s", ipc, (int)sizeof(address.un.sun_path),
                       address.un.sun_path);
        return true;
    }
    if ((address.any.sa_family != AF_INET && address.any.sa_family != AF_INET6) ||
        getnameinfo(&address.any, size, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return false;
    (void)snprintf(to, ADDRESS_SIZE,
                   address.any.sa_family == AF_INET ? "tcp://%s:%s" : "tcp://[%s]:%s", host, port);
    return true;
}

static bool is_same_path(const char *a, const char *b)
{
    char real_a[PATH_MAX], real_b[PATH_MAX];

    return realpath(a, real_a) && realpath(b, real_b) && strcmp(real_a, real_b) == 0;
}

/* Whether @endpoint, as somebody wrote it, is @address: "tcp://HOST:..." may name the host
 * otherwise. */
static bool is_at(const char *endpoint, const char *address)
{
    static const struct {
        const char *written, *real;
    } hosts[] = {
        {"tcp://localhost:", "tcp://127.0.0.1:"},
        {"tcp://*:", "tcp://0.0.0.0:"},
        {"tcp://*:", "tcp://[::]:"},
    };

    if (strcmp(endpoint, address) == 0)
        return true;
    if (strncmp(endpoint, ipc, strlen(ipc)) == 0 && strncmp(address, ipc, strlen(ipc)) == 0)
        return is_same_path(endpoint + strlen(ipc), address + strlen(ipc));
    for (size_t i = 0; i < COUNT_OF(hosts); i++) {
        size_t written = strlen(hosts[i].written), real = strlen(hosts[i].real);

        if (strncmp(endpoint, hosts[i].written, written) == 0 &&
            strncmp(address, hosts[i].real, real) == 0 &&
            strcmp(endpoint + written, address + real) == 0)
            return true;
    }
    return false;
}

int broker_inherit(struct aico_broker *b, const struct aico_broker_options *options,
                   struct aico_error *err)
{
    int r = 0;

    if (options->socket_count == 0)
        return 0;
    b->inherited = calloc(options->socket_count, sizeof(*b->inherited));
    if (!b->inherited || options->socket_count > INHERITED_MAX) {
        for (size_t i = 0; i < options->socket_count; i++)
            (void)close(options->sockets[i]);
        return aico_error_set(err, b->inherited ? AICO_EINVAL : AICO_ENOMEM,
                              "%zu sockets are more than can be taken over", options->socket_count);
    }
    b->inherited_count = options->socket_count;
    for (size_t i = 0; i < options->socket_count; i++) {
        b->inherited[i].fd = options->sockets[i];
        if (!write_address(options->sockets[i], b->inherited[i].address) && r == 0)
            r = aico_error_set(err, AICO_EINVAL,
                               "descriptor %d, which was handed over, is no listening socket of a "
                               "path or a tcp port",
                               options->sockets[i]);
    }
    return r;
}

int broker_find_inherited(struct aico_broker *b, const char *endpoint)
{
    for (size_t i = 0; i < b->inherited_count; i++) {
        if (!b->inherited[i].is_taken && is_at(endpoint, b->inherited[i].address)) {
            b->inherited[i].is_taken = true;
            return b->inherited[i].fd;
        }
    }
    return -1;
}

bool broker_is_inherited(const struct aico_broker *b, const char *endpoint)
{
    for (size_t i = 0; i < b->inherited_count; i++)
        if (b->inherited[i].is_taken && is_at(endpoint, b->inherited[i].address))
            return true;
    return false;
}

int broker_check_inherited(const struct aico_broker *b, struct aico_error *err)
{
    for (size_t i = 0; i < b->inherited_count; i++)
        if (!b->inherited[i].is_taken)
            return aico_error_set(err, AICO_EINVAL,
                                  "%s was handed over, but is none of the endpoints in %s; add it "
                                  "there or take it out of the socket unit",
                                  b->inherited[i].address, b->home.config->security_file);
    return 0;
}

void broker_close_inherited(struct aico_broker *b)
{
    for (size_t i = 0; i < b->inherited_count; i++)
        (void)close(b->inherited[i].fd);
    free(b->inherited);
    b->inherited = NULL;
    b->inherited_count = 0;
}
