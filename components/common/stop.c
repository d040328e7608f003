/* SPDX-License-Identifier: Apache-2.0 */
/* Signals that end a program, turned into a readable descriptor. */
#include "common/stop.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <aico/error.h>

static volatile sig_atomic_t arrived;
static int stop_fd = -1;

/* Only async-signal-safe calls; errno belongs to the code that was interrupted. */
static void on_signal(int signal_number)
{
    int saved = errno;
    uint64_t one = 1;

    arrived = signal_number;
    if (write(stop_fd, &one, sizeof(one)) < 0)
        arrived = signal_number; /* the counter is full: the descriptor is readable already */
    errno = saved;
}

int stop_open(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction action = {0};

    stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0)
        return AICO_ESYSTEM;

    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART | SA_RESETHAND;
    (void)sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
        struct sigaction before;

        if (sigaction(signals[i], NULL, &before) < 0)
            return AICO_ESYSTEM;
        if (before.sa_handler == SIG_IGN) /* nohup, or a script's background job */
            continue;
        if (sigaction(signals[i], &action, NULL) < 0)
            return AICO_ESYSTEM;
    }
    return stop_fd;
}

int stop_signal(void)
{
    return arrived;
}
