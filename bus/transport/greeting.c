/* SPDX-License-Identifier: Apache-2.0 */
/* Speaks to whoever listens as far as the first message that only the broker can seal. */
#include "transport/greeting.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "crypto/box.h"
#include "transport/dial.h"
#include "transport/zmtp.h"

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

/* GREETING_BROKER: @ret_fd is connected to something. */
static enum greeting connect_to(const char *endpoint, int64_t deadline_ms, int *ret_fd)
{
    CLEANUP(dial_end)
    struct dial dial;
    int r = dial_begin(&dial, endpoint);

    while (r == 0 && (r = dial_next(&dial, ret_fd)) == 0) {
        if (is_ready(*ret_fd, POLLOUT, deadline_ms) && dial_is_connected(&dial, *ret_fd))
            return GREETING_BROKER;
        fd_close(ret_fd);
    }
    return r == AICO_EFULL || r == AICO_ESYSTEM ? GREETING_BUSY : GREETING_REFUSED;
}

/* Of one thread, by /proc: it is running, or would if it were let. */
static bool is_runnable(pid_t process, const char *thread)
{
    char path[64], text[512], *state;
    CLEANUP(fd_close)
    int fd = -1;
    ssize_t size;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%.20s/stat", (int)process, thread);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (size <= 0)
        return false;
    text[size] = '\0';
    state = strrchr(text, ')'); /* behind the name, which may be anything */
    return state && strncmp(state, ") R", 3) == 0;
}

/*
 * Who is silent and sleeps has nothing to say. Who wants the processor, and has not been let for so
 * long, may yet answer: a broker on a machine that does much else. Only a socket of this machine
 * says whose it is.
 */
static bool is_listener_running(int fd)
{
    struct ucred peer = {0};
    socklen_t size = sizeof(peer);
    const struct dirent *thread;
    char path[64];
    bool is_running = false;
    DIR *threads;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 || peer.pid <= 0 ||
        peer.pid == getpid())
        return false;
    (void)snprintf(path, sizeof(path), "/proc/%d/task", (int)peer.pid);
    threads = opendir(path);
    while (threads && !is_running && (thread = readdir(threads)) != NULL)
        is_running = thread->d_name[0] != '.' && is_runnable(peer.pid, thread->d_name);
    if (threads)
        (void)closedir(threads);
    return is_running;
}

static bool send_all(int fd, const struct writer *w)
{
    return send(fd, w->at, w->size, MSG_NOSIGNAL) == (ssize_t)w->size;
}

/* Why it is not known whether it is a broker: nothing more came. */
static enum greeting give_up(int fd, const struct zmtp *zmtp, size_t size, bool has_ended)
{
    if (zmtp->state == ZMTP_WAITS_WELCOME)
        return has_ended ? GREETING_OTHER_KEY : GREETING_BUSY;
    if (size > 0)
        return GREETING_OTHER;
    if (has_ended)
        return GREETING_CLOSED;
    return is_listener_running(fd) ? GREETING_BUSY : GREETING_SILENT;
}

/* Until WELCOME was opened. */
static enum greeting talk(int fd, struct zmtp *zmtp, int64_t deadline_ms)
{
    uint8_t seen[2 * ZMTP_SHAKE_MAX], room[ZMTP_ANSWER_MAX];
    size_t size = 0;

    for (;;) {
        struct writer answer = writer_over(room, sizeof(room));
        size_t taken = 0;
        unsigned status;
        ssize_t got;

        switch (zmtp_shake(zmtp, bytes_of(seen, size), &taken, &answer, &status)) {
        case ZMTP_TAKEN:
            if (zmtp->state == ZMTP_WAITS_READY)
                return GREETING_BROKER;
            if (!send_all(fd, &answer))
                return GREETING_OTHER_KEY;
            size -= taken;
            memmove(seen, seen + taken, size);
            continue;
        case ZMTP_OTHER_KEY:
            return GREETING_OTHER_KEY;
        case ZMTP_OTHER:
        case ZMTP_SPOILED:
        case ZMTP_CHOSE_ID:
        case ZMTP_REFUSED:
            return GREETING_OTHER;
        case ZMTP_MORE:
            break;
        }
        if (size == sizeof(seen))
            return GREETING_OTHER;
        if (!is_ready(fd, POLLIN, deadline_ms))
            return give_up(fd, zmtp, size, false);
        got = read(fd, seen + size, sizeof(seen) - size);
        if (got > 0)
            size += (size_t)got;
        else if (got == 0 || (errno != EINTR && errno != EAGAIN))
            return give_up(fd, zmtp, size, true);
    }
}

enum greeting greeting_ask(const char *endpoint, const uint8_t broker_public[32],
                           int64_t timeout_ms)
{
    int64_t deadline_ms = moment_now().boot_ms + timeout_ms;
    uint8_t public[DH_PUBLIC_SIZE], room[ZMTP_ANSWER_MAX];
    struct writer greeting = writer_over(room, sizeof(room));
    enum greeting result;
    CLEANUP(secret_wipe)
    struct secret secret;
    CLEANUP(zmtp_wipe)
    struct zmtp zmtp;
    CLEANUP(fd_close)
    int fd = -1;

    box_keys(public, &secret);
    zmtp_begin(&zmtp, broker_public, public, &secret, &greeting);
    result = connect_to(endpoint, deadline_ms, &fd);
    if (result != GREETING_BROKER)
        return result;
    if (!send_all(fd, &greeting))
        return GREETING_CLOSED;
    return talk(fd, &zmtp, deadline_ms);
}
