/* SPDX-License-Identifier: Apache-2.0 */
/* $LISTEN_PID and $LISTEN_FDS. */
#include "broker/activation.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/text.h"

#define FIRST 3 /* SD_LISTEN_FDS_START */

int activation_take(struct activation *ret_activation, struct aico_error *err)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t number;
    int r = 0;

    ret_activation->count = 0;
    if (pid && count && text_number(pid, 1, INT32_MAX, &number) && (pid_t)number == getpid()) {
        if (!text_number(count, 0, ACTIVATION_MAX, &number))
            r = aico_error_set(err, AICO_ECONFIG, "$LISTEN_FDS: \"%.20s\" is no number up to %d",
                               count, ACTIVATION_MAX);
        for (uint64_t i = 0; r == 0 && i < number; i++) {
            ret_activation->sockets[i] = FIRST + (int)i;
            if (fcntl(FIRST + (int)i, F_SETFD, FD_CLOEXEC) < 0)
                r = aico_error_set(err, AICO_ECONFIG, "$LISTEN_FDS: descriptor %d: %m",
                                   FIRST + (int)i);
        }
        if (r == 0)
            ret_activation->count = (size_t)number;
    }
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    return r;
}
