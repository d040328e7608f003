/* SPDX-License-Identifier: Apache-2.0 */
/* The datagrams of sd_notify(3). */
#include "common/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/moment.h"
#include "common/text.h"

#define STATUS_MS 2000 /* a line for people is not worth more */

void notify_send(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t size = path ? strlen(path) : 0;
    int fd;

    if (size < 2 || size >= sizeof(address.sun_path) || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(address.sun_path, path, size);
    if (path[0] == '@') /* an abstract name begins with a zero and has its length */
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    /* Nobody there to tell is no reason to stop. */
    (void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size));
    (void)close(fd);
}

void notify_reloaded(void)
{
    struct timespec now;
    char text[80];

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    (void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
                   (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    notify_send(text);
    notify_send("READY=1");
}

void notify_status(const char *text)
{
    static char before[200];
    static int64_t next_ms;
    char line[sizeof(before) + 8];

    if (steady_ms() < next_ms || strcmp(text, before) == 0)
        return;
    next_ms = steady_ms() + STATUS_MS;
    (void)snprintf(before, sizeof(before), "%s", text);
    (void)snprintf(line, sizeof(line), "STATUS=%s", before);
    notify_send(line);
}

/* Meant for another process where $WATCHDOG_PID names one. */
static int64_t find_interval_ms(void)
{
    const char *text = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    uint64_t us, number;

    if (!text || !text_number(text, 1, INT64_MAX, &us))
        return -1;
    if (pid && (!text_number(pid, 1, INT32_MAX, &number) || (pid_t)number != getpid()))
        return -1;
    return us < 2000 ? 1 : (int64_t)(us / 2000);
}

int64_t notify_interval_ms(void)
{
    static int64_t interval_ms;

    if (interval_ms == 0)
        interval_ms = find_interval_ms();
    return interval_ms;
}

void notify_alive(void)
{
    static int64_t last_ms;
    int64_t now = steady_ms();

    if (notify_interval_ms() < 0 || (last_ms > 0 && now - last_ms < notify_interval_ms()))
        return;
    last_ms = now;
    notify_send("WATCHDOG=1");
}
