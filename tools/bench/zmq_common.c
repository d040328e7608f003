/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "zmq_peer.h"

static void key_path(const struct peer_settings *settings, char path[300])
{
    (void)snprintf(path, 300, "%s/server.%d", settings->folder, settings->port);
}

bool zmq_make_keys(const struct peer_settings *settings, char secret[41])
{
    char public[41], path[300];
    FILE *file;

    key_path(settings, path);
    if (zmq_curve_keypair(public, secret) < 0 || !(file = fopen(path, "we")))
        return false;
    (void)fputs(public, file);
    return fclose(file) == 0;
}

bool zmq_set(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value)) == 0;
}

bool zmq_secure_server(void *socket, const char secret[41])
{
    return zmq_set(socket, ZMQ_CURVE_SERVER, 1) &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 41) == 0;
}

bool zmq_secure_client(void *socket, const struct peer_settings *settings)
{
    char server[41] = "", public[41], secret[41], path[300];
    FILE *file;
    bool is_read;

    key_path(settings, path);
    file = fopen(path, "re");
    if (!file)
        return false;
    is_read = fread(server, 1, 40, file) == 40;
    (void)fclose(file);
    return is_read && zmq_curve_keypair(public, secret) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server, 41) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, public, 41) == 0 &&
           zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, secret, 41) == 0;
}

int zmq_fail(struct aico_error *err, const char *what)
{
    return aico_error_set(err, AICO_ESYSTEM, "%s: %s", what, zmq_strerror(errno));
}

int zmq_take(void *socket, zmq_msg_t *frame, int64_t timeout_ms, int64_t *timeout_now,
             struct aico_error *err)
{
    if (*timeout_now != timeout_ms && !zmq_set(socket, ZMQ_RCVTIMEO, (int)timeout_ms))
        return zmq_fail(err, "a timeout");
    *timeout_now = timeout_ms;
    if (zmq_msg_recv(frame, socket, 0) >= 0)
        return 0;
    return errno == EAGAIN ? AICO_ETIMEOUT : zmq_fail(err, "receiving");
}
