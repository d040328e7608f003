/* SPDX-License-Identifier: Apache-2.0 */
/* One ZeroMQ context, and what all sockets of it need. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "transport/internal.h"

int transport_new(int io_threads, struct transport **ret_transport)
{
    CLEANUP(free_memory)
    struct transport *transport = NULL;

    if (io_threads < 1 || io_threads > 16)
        return AICO_EINVAL;
    transport = calloc(1, sizeof(*transport));
    if (!transport)
        return AICO_ENOMEM;
    transport->zmq = zmq_ctx_new();
    if (!transport->zmq)
        return AICO_ESYSTEM;
    (void)zmq_ctx_set(transport->zmq, ZMQ_IO_THREADS, io_threads);
    *ret_transport = STEAL(transport);
    return 0;
}

void transport_free(struct transport **transport)
{
    if (!*transport)
        return;
    while (zmq_ctx_term((*transport)->zmq) < 0 && errno == EINTR)
        continue;
    free(*transport);
    *transport = NULL;
}

bool endpoint_is_ipv6(const char *endpoint)
{
    return strncmp(endpoint, "tcp://[", strlen("tcp://[")) == 0;
}

void *monitor_open(struct transport *transport, void *socket, int events)
{
    CLEANUP(socket_close)
    void *monitor = NULL;
    char name[64];

    (void)snprintf(name, sizeof(name), "inproc://aico-monitor-%lu", transport->next_number++);
    if (zmq_socket_monitor(socket, name, events) < 0)
        return NULL;
    monitor = zmq_socket(transport->zmq, ZMQ_PAIR);
    if (!monitor || !socket_set_int(monitor, ZMQ_RCVHWM, 0) ||
        !socket_set_int(monitor, ZMQ_LINGER, 0) || zmq_connect(monitor, name) < 0)
        return NULL;
    return STEAL(monitor);
}

bool monitor_next(void *monitor, uint16_t *ret_event, uint32_t *ret_value)
{
    zmq_msg_t part;
    bool is_event = false, is_first = true, more = true;

    while (more) {
        (void)zmq_msg_init(&part);
        if (zmq_msg_recv(&part, monitor, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(&part);
            if (errno == EINTR)
                continue;
            return false;
        }
        /* u16 event, u32 value in the order of this machine; then a part with the endpoint. */
        if (is_first && zmq_msg_size(&part) >= sizeof(*ret_event) + sizeof(*ret_value)) {
            const uint8_t *at = zmq_msg_data(&part);

            memcpy(ret_event, at, sizeof(*ret_event));
            memcpy(ret_value, at + sizeof(*ret_event), sizeof(*ret_value));
            is_event = true;
        }
        is_first = false;
        more = zmq_msg_more(&part);
        (void)zmq_msg_close(&part);
    }
    return is_event;
}
