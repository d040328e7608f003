/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets that systemd listened on before it started us, as sd_listen_fds(3). */
#ifndef BROKER_ACTIVATION_H
#define BROKER_ACTIVATION_H

#include <stddef.h>

#include <aico/error.h>

#define ACTIVATION_MAX 16

struct activation {
    int sockets[ACTIVATION_MAX];
    size_t count; /* 0: we were started without any */
};

/* Takes them out of the environment, so that nothing we start believes they are its own. Before any
 * thread runs. 0, or AICO_ECONFIG (more than ACTIVATION_MAX, or a number that is none). */
AICO_MUST_USE int activation_take(struct activation *ret_activation, struct aico_error *err);

#endif
